//! Who of us listens in on a stream: recordings, and ears for keys that are sent as tones. A stream without a tap pays one look for it.

use std::collections::BTreeMap;

use base::Now;
use smallvec::SmallVec;

use super::api::{MediaEvent, RecordingId, StreamId};
use super::dtmf::DtmfDigit;
use super::g711::Law;
use super::recording::Recording;
use super::rtp::Header;
use super::tones::ToneDetector;
use crate::limits::PACKET_BYTES;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tap {
    pub(super) recordings: SmallVec<[RecordingId; 2]>,
    pub(super) ear: Option<Box<ToneDetector>>,
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

    pub(super) fn is_idle(&self) -> bool {
        self.recordings.is_empty() && self.ear.is_none()
    }
}
