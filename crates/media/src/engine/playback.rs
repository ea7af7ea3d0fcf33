//! Clips of streams: queue, play and stop.

use std::sync::Arc;

use base::Now;

use super::Engine;
use super::api::{Component, MediaEvent, MediaSink, PlayId, Source, StreamId};
use super::g711::Law;
use super::tone_generator::{Catchup, FRAME, SAMPLES, frames_due, packed};
use crate::limits::PLAY_QUEUE;

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
            // A caller that waits for the end of the clip must not wait forever.
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

    /// The play queue has become empty or non-empty: switch between the stream's source and its clips.
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

    /// Send the frames that are due. If nothing may be sent to the peer, or it accepts neither G.711 codec, the clips run without being sent.
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
            stream.clips.due = now.instant + FRAME; // not negotiated yet: the clips wait
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
