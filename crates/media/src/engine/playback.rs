//! Clips of streams: queue, play and stop.

use std::sync::Arc;

use base::Now;

use super::Engine;
use super::api::{Component, MediaEvent, MediaSink, PlayId, Source, StreamId};
use super::g711::Law;
use super::tone_generator::{Catchup, FRAME, SAMPLES, build_packet, frames_due};
use crate::limits::PLAY_QUEUE;

impl Engine {
    pub(super) fn enqueue_clip(
        &mut self,
        now: Now,
        id: StreamId,
        play: PlayId,
        clip: Arc<[i16]>,
        events: &mut Vec<MediaEvent>,
    ) {
        let Some((slot, stream)) = self.find(id) else { return };
        if stream.play_queue.queue.len() >= PLAY_QUEUE {
            // A caller that waits for the end of the clip must not wait forever.
            events.push(MediaEvent::PlaybackFinished { stream: id, play });
            return;
        }
        let first = stream.play_queue.is_empty();
        stream.play_queue.queue.push_back((play, clip));
        if first {
            stream.play_queue.due = now.instant;
            self.on_queue_toggled(now, slot);
        }
    }

    pub(super) fn stop_playback(&mut self, now: Now, id: StreamId) {
        let Some((slot, stream)) = self.find(id) else { return };
        if !stream.play_queue.is_empty() {
            stream.play_queue.clear();
            self.on_queue_toggled(now, slot);
        }
    }

    /// The play queue has become empty or non-empty: switch between the stream's source and its clips.
    fn on_queue_toggled(&mut self, now: Now, slot: usize) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        stream.sender.change_source();
        if let Some(player) = &mut stream.tone_player {
            player.resume(now.instant);
        }
        if let Source::Stream(source) = stream.source {
            self.rebuild_route(source);
        }
        self.schedule(slot);
    }

    /// Send the frames that are due. If nothing may be sent to the peer, or it accepts neither G.711 codec, the clips run without being sent.
    pub(super) fn send_clip_frames(
        &mut self,
        now: Now,
        slot: usize,
        out: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        let Engine { streams, rng, .. } = self;
        let Some(stream) = streams.get_mut(slot) else { return };
        let Some(negotiation) = &stream.negotiation else {
            stream.play_queue.due = now.instant + FRAME; // not negotiated yet: the clips wait
            return;
        };
        let (frames, catchup) = frames_due(&mut stream.play_queue.due, now.instant);
        if catchup == Catchup::Skipped {
            stream.sender.change_source();
        }
        let (law, payload_type) = negotiation.law.unwrap_or((Law::Mu, 0));
        let to = negotiation.target.filter(|_| negotiation.law.is_some());
        let id = stream.id;
        for _ in 0..frames {
            if stream.play_queue.is_empty() {
                break;
            }
            let mut frame = [0; SAMPLES];
            stream
                .play_queue
                .fill(law, &mut frame, |play| events.push(MediaEvent::PlaybackFinished { stream: id, play }));
            if let Some(to) = to {
                let header = stream.sender.generate(now.instant, SAMPLES as u32, payload_type, rng);
                out.send(id, Component::Rtp, to, &build_packet(&header, &frame));
            }
        }
        if stream.play_queue.is_empty() {
            self.on_queue_toggled(now, slot);
        }
    }
}
