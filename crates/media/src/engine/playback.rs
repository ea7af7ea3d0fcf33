//! Clips that a peer hears one after the other: announcements, digits, a beep.

use std::collections::VecDeque;
use std::sync::Arc;

use base::{Instant, Now};

use super::g711::Law;
use super::tap::PlayId;
use super::tone_generator::{Catchup, FRAME, SAMPLES, frames_due, packed};
use super::{Component, Engine, MediaEvent, MediaSink, Source, StreamId};
use crate::limits::PLAY_QUEUE;

/// What is still to be played on one stream.
#[derive(Debug, Default)]
pub(super) struct PlayQueue {
    queue: VecDeque<(PlayId, Arc<[i16]>)>,
    /// Samples of the first one that were played.
    position: usize,
    due: Instant,
}

impl PlayQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn due(&self) -> Option<Instant> {
        (!self.is_empty()).then_some(self.due)
    }

    fn clear(&mut self) {
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
    fn fill(&mut self, law: Law, frame: &mut [u8; SAMPLES], mut played: impl FnMut(PlayId)) {
        for byte in frame.iter_mut() {
            let sample = self.current(&mut played);
            self.position += usize::from(sample.is_some());
            *byte = sample.map_or(law.silence(), |sample| law.encode(sample));
        }
        // One that ends with the frame is over now, not with the next one.
        self.current(&mut played);
    }
}

impl Engine {
    pub(super) fn begin_clip(
        &mut self,
        now: Now,
        id: StreamId,
        play: PlayId,
        clip: Arc<[i16]>,
        events: &mut Vec<MediaEvent>,
    ) {
        let Some((slot, stream)) = self.find(id) else { return };
        if stream.clips.queue.len() >= PLAY_QUEUE {
            // Whoever waits for its end shall not wait for ever.
            events.push(MediaEvent::PlaybackFinished { stream: id, play });
            return;
        }
        let first = stream.clips.is_empty();
        stream.clips.queue.push_back((play, clip));
        if first {
            stream.clips.due = now.instant;
            self.turn(now, slot);
        }
    }

    pub(super) fn stop_clips(&mut self, now: Now, id: StreamId) {
        let Some((slot, stream)) = self.find(id) else { return };
        if !stream.clips.is_empty() {
            stream.clips.clear();
            self.turn(now, slot);
        }
    }

    /// From the source to clips, or back.
    fn turn(&mut self, now: Now, slot: usize) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        stream.output.switch();
        if let Some(play) = &mut stream.play {
            play.resume(now.instant);
        }
        if let Source::Stream(source) = stream.source {
            self.rebuild_route(source);
        }
        self.schedule(slot);
    }

    /// Send what is due. Where the peer may not be sent to, or knows neither law, the clips pass unheard.
    pub(super) fn play_clips(
        &mut self,
        now: Now,
        slot: usize,
        wire: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        let Engine { streams, rng, .. } = self;
        let Some(stream) = streams.get_mut(slot) else { return };
        let Some(agreed) = &stream.agreed else {
            stream.clips.due = now.instant + FRAME; // nothing is agreed yet: they wait
            return;
        };
        let (frames, lag) = frames_due(&mut stream.clips.due, now.instant);
        if lag == Catchup::Skipped {
            stream.output.switch();
        }
        let (law, payload_type) = agreed.law.unwrap_or((Law::Mu, 0));
        let to = agreed.target.filter(|_| agreed.law.is_some());
        let id = stream.id;
        for _ in 0..frames {
            if stream.clips.is_empty() {
                break;
            }
            let mut frame = [0; SAMPLES];
            stream
                .clips
                .fill(law, &mut frame, |play| events.push(MediaEvent::PlaybackFinished { stream: id, play }));
            if let Some(to) = to {
                let header = stream.output.own(now.instant, SAMPLES as u32, payload_type, rng);
                wire.send(id, Component::Rtp, to, &packed(&header, &frame));
            }
        }
        if stream.clips.is_empty() {
            self.turn(now, slot);
        }
    }
}
