//! Who of us listens in on a stream: recordings, and ears for keys that are sent as tones. A stream without a tap pays one look for it.

use std::collections::BTreeMap;

use base::Now;
use smallvec::SmallVec;

use super::dtmf::DtmfDigit;
use super::g711::Law;
use super::recorder::{Recording, RecordingId};
use super::rtp::Header;
use super::tones::ToneDetector;
use super::{Engine, MediaEvent, StreamId};
use crate::limits::PACKET_BYTES;

/// A clip that is played; chosen by whoever plays it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PlayId(pub u32);

/// Which presses of keys are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtmfMode {
    /// Those that come as events (RFC 4733).
    Events,
    /// Those, and tones in the audio of a peer that has not sent an event yet: it costs a little, and voices may be taken for keys, so only
    /// while somebody waits for keys.
    Tones,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tap {
    pub(super) recordings: SmallVec<[RecordingId; 2]>,
    ear: Option<Box<ToneDetector>>,
}

impl Tap {
    /// A packet with audio or an event arrived. What is in no law of ours is not understood, and stays silence.
    pub(super) fn hear(
        &mut self,
        now: Now,
        stream: StreamId,
        law: Option<Law>,
        header: &Header,
        payload: &[u8],
        recordings: &mut BTreeMap<RecordingId, Recording>,
        events: &mut Vec<MediaEvent>,
    ) {
        let Some(law) = law else { return };
        let mut audio = [0; PACKET_BYTES];
        for (sample, byte) in audio.iter_mut().zip(payload) {
            *sample = law.decode(*byte);
        }
        let audio = audio.get(..payload.len()).unwrap_or_default();
        for id in &self.recordings {
            if let Some(recording) = recordings.get_mut(id) {
                recording.hear(now.instant, stream, header, audio);
            }
        }
        if let Some(ear) = &mut self.ear {
            ear.hear(header.timestamp, audio, |DtmfDigit { digit, millis }| {
                events.push(MediaEvent::Digit { stream, digit, millis });
            });
        }
    }

    /// The peer sends its keys as events: a tone beside them would be the same press again.
    pub(super) fn stop_ear(&mut self) {
        self.ear = None;
    }

    fn is_idle(&self) -> bool {
        self.recordings.is_empty() && self.ear.is_none()
    }
}

impl Engine {
    /// Change the tap of a stream, which comes and goes with its users; `false` where there is no such stream.
    pub(super) fn tap(&mut self, stream: StreamId, change: impl FnOnce(&mut Tap)) -> bool {
        let Some((_, stream)) = self.find(stream) else { return false };
        let mut tap = stream.tap.take().unwrap_or_default();
        change(&mut tap);
        stream.tap = Some(tap).filter(|tap| !tap.is_idle());
        true
    }

    pub(super) fn listen(&mut self, stream: StreamId, digits: DtmfMode) {
        let sends_events = self.find(stream).is_some_and(|(_, stream)| stream.detector.has_heard());
        self.tap(stream, |tap| match digits {
            DtmfMode::Tones if sends_events => tap.ear = None,
            DtmfMode::Tones => _ = tap.ear.get_or_insert_default(),
            DtmfMode::Events => tap.ear = None,
        });
    }
}
