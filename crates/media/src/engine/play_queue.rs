//! Clips that a peer hears one after the other: announcements, digits, a beep.

use std::collections::VecDeque;
use std::sync::Arc;

use base::Instant;

use super::api::PlayId;
use super::g711::Law;
use super::tone_generator::SAMPLES;

/// What is still to be played on one stream.
#[derive(Debug, Default)]
pub(super) struct PlayQueue {
    pub(super) queue: VecDeque<(PlayId, Arc<[i16]>)>,
    /// Samples of the first one that were played.
    position: usize,
    pub(super) due: Instant,
}

impl PlayQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn due(&self) -> Option<Instant> {
        (!self.is_empty()).then_some(self.due)
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.position = 0;
    }

    /// The next sample. `played` is told of every clip that is over.
    fn current(&mut self, played: &mut impl FnMut(PlayId)) -> Option<i16> {
        loop {
            let (play, clip) = self.queue.front()?;
            if let Some(sample) = clip.get(self.position) {
                return Some(*sample);
            }
            played(*play);
            self.queue.pop_front();
            self.position = 0;
        }
    }

    /// The next 20 ms, silence after the last clip.
    pub(super) fn fill(&mut self, law: Law, frame: &mut [u8; SAMPLES], mut played: impl FnMut(PlayId)) {
        for byte in frame.iter_mut() {
            let sample = self.current(&mut played);
            self.position += usize::from(sample.is_some());
            *byte = sample.map_or(law.silence(), |sample| law.encode(sample));
        }
        // One that ends with the frame is over now, not with the next one.
        self.current(&mut played);
    }
}
