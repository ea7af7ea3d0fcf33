//! The play queue of a stream: clips that are played one after the other (prompts, digits, beeps).

use std::collections::VecDeque;
use std::sync::Arc;

use base::Instant;

use super::api::PlayId;
use super::g711::Law;
use super::tone_generator::SAMPLES;

/// Clips of one stream that are not yet played to the end.
#[derive(Debug, Default)]
pub(super) struct PlayQueue {
    pub(super) queue: VecDeque<(PlayId, Arc<[i16]>)>,
    /// Samples of the first clip that were played.
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

    /// The next sample. `played` is called for each clip that ends before it.
    fn next_sample(&mut self, played: &mut impl FnMut(PlayId)) -> Option<i16> {
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

    /// Fill the next 20 ms, with silence after the last clip.
    pub(super) fn fill(&mut self, law: Law, frame: &mut [u8; SAMPLES], mut played: impl FnMut(PlayId)) {
        for byte in frame.iter_mut() {
            let sample = self.next_sample(&mut played);
            self.position += usize::from(sample.is_some());
            *byte = sample.map_or(law.silence(), |sample| law.encode(sample));
        }
        // A clip that ends with this frame is finished now, not with the next frame.
        self.next_sample(&mut played);
    }
}
