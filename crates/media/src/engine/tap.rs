//! Consumers of a stream's decoded audio: recordings and in-band DTMF detection. A stream without a tap pays one check per packet.

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

/// The tap of one stream.
#[derive(Debug, Default)]
pub(super) struct Tap {
    pub(super) recordings: SmallVec<[RecordingId; 2]>,
    pub(super) tone_detector: Option<Box<ToneDetector>>,
}

impl Tap {
    /// Handle a packet with audio or an event. Codecs other than G.711 are not decoded and are silence in recordings.
    pub(super) fn on_packet(
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
                recording.on_audio(now.instant, stream, header, audio);
            }
        }
        if let Some(detector) = &mut self.tone_detector {
            detector.on_audio(header.timestamp, audio, |DtmfDigit { digit, millis }| {
                events.push(MediaEvent::Digit { stream, digit, millis });
            });
        }
    }

    /// The peer sends telephone-events: a tone in the audio would be the same key press again.
    pub(super) fn stop_tone_detection(&mut self) {
        self.tone_detector = None;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.recordings.is_empty() && self.tone_detector.is_none()
    }
}
