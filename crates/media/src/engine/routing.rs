//! Commands and ticks of streams: open, negotiate, set the source, send tones and reports, close.

use std::net::IpAddr;

use base::Now;

use super::Engine;
use super::api::{Component, DtmfMode, MediaEvent, MediaSink, Source, StreamId};
use super::rtcp::MAX_REPORT;
use super::stream::Stream;
use super::tap::Tap;
use super::tone_generator::{Catchup, SAMPLES, TonePlayer, build_packet};
use crate::sdp::Negotiated;

impl Engine {
    pub(super) fn open(
        &mut self,
        now: Now,
        id: StreamId,
        out: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        self.close(now, id, out, events);
        let slot = self.streams.insert(Stream::new(now, id, &mut self.rng));
        self.slots.insert(id, slot);
        self.rebuild_route(id);
    }

    pub(super) fn negotiated(
        &mut self,
        now: Now,
        id: StreamId,
        signalling: IpAddr,
        negotiated: Box<Negotiated>,
    ) {
        let Some((slot, stream)) = self.find(id) else { return };
        stream.negotiate(now, signalling, negotiated);
        let source = stream.source;
        self.rebuild_route(id);
        if let Source::Stream(source) = source {
            self.rebuild_route(source);
        }
        self.schedule(slot);
    }

    pub(super) fn set_source(&mut self, now: Now, id: StreamId, source: Source) {
        let Some((slot, stream)) = self.find(id) else { return };
        // An echo has the stream itself as its source.
        let source = if source == Source::Echo { Source::Stream(id) } else { source };
        if stream.source == source {
            return;
        }
        let before = std::mem::replace(&mut stream.source, source);
        stream.sender.change_source();
        stream.tone_player = match source {
            Source::Nothing | Source::Stream(_) | Source::Echo => None,
            Source::Tone(tone) => Some(TonePlayer::new(Some(tone), now.instant)),
            Source::Silence => Some(TonePlayer::new(None, now.instant)),
        };
        if let Source::Stream(before) = before {
            self.unsubscribe(before, slot);
            self.rebuild_route(before);
        }
        if let Source::Stream(source) = source {
            self.subscribers.entry(source).or_default().push(slot);
            self.rebuild_route(source);
        }
        self.schedule(slot);
    }

    pub(super) fn close(
        &mut self,
        now: Now,
        id: StreamId,
        out: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        self.detach_from_recordings(now, id, out, events);
        let Some(slot) = self.slots.remove(&id) else { return };
        let Some(stream) = self.streams.try_remove(slot) else { return };
        if let Some(due) = stream.due {
            self.timers.remove(&(due, slot));
        }
        if let Source::Stream(source) = stream.source {
            self.unsubscribe(source, slot);
            self.rebuild_route(source);
        }
        // The listeners lose their source; the id may be reused by another call.
        for listener in self.subscribers.remove(&id).unwrap_or_default() {
            if let Some(listener) = self.streams.get_mut(listener) {
                listener.source = Source::Nothing;
                listener.sender.change_source();
            }
        }
        events.push(MediaEvent::Closed { stream: id, report: stream.report() });
    }

    pub(super) fn find(&mut self, id: StreamId) -> Option<(usize, &mut Stream)> {
        let slot = *self.slots.get(&id)?;
        Some((slot, self.streams.get_mut(slot)?))
    }

    fn unsubscribe(&mut self, source: StreamId, slot: usize) {
        if let Some(subscribers) = self.subscribers.get_mut(&source) {
            subscribers.retain(|s| *s != slot);
            if subscribers.is_empty() {
                self.subscribers.remove(&source);
            }
        }
    }

    /// Find the listener of a stream and how packets are forwarded to it. A listener that hears a clip receives nothing meanwhile.
    pub(super) fn rebuild_route(&mut self, id: StreamId) {
        let is_free = |slot: &&usize| self.streams.get(**slot).is_some_and(|s| s.play_queue.is_empty());
        let listener =
            self.subscribers.get(&id).and_then(|subscribers| subscribers.iter().rev().find(is_free).copied());
        let listener_media =
            listener.and_then(|slot| self.streams.get(slot)).and_then(|l| l.negotiation.as_ref());
        let listener_media = listener_media.map(|negotiation| negotiation.negotiated.clone());
        if let Some((_, stream)) = self.find(id) {
            stream.sink = listener;
            stream.rebuild_routes(listener_media.as_deref());
        }
    }

    /// Update the timer entry of a stream.
    pub(super) fn schedule(&mut self, slot: usize) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let due = stream.next_due(Engine::SILENCE);
        if let Some(before) = std::mem::replace(&mut stream.due, due) {
            self.timers.remove(&(before, slot));
        }
        self.timers.extend(due.map(|due| (due, slot)));
    }

    /// Do what is due for one stream.
    pub(super) fn tick_stream(
        &mut self,
        now: Now,
        slot: usize,
        out: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        if self.streams.get(slot).is_some_and(|stream| stream.play_queue.is_empty()) {
            self.send_tone_frames(now, slot, out);
        } else {
            self.send_clip_frames(now, slot, out, events);
        }
        self.send_rtcp_report(now, slot, out);
        if let Some(stream) = self.streams.get_mut(slot) {
            let expected = stream.negotiation.as_ref().is_some_and(|a| a.receives) && !stream.timeout_raised;
            if expected && now.instant.since(stream.last_received) >= Engine::SILENCE {
                stream.timeout_raised = true;
                events.push(MediaEvent::RtpTimeout { stream: stream.id });
            }
        }
        self.schedule(slot);
    }

    fn send_tone_frames(&mut self, now: Now, slot: usize, out: &mut impl MediaSink) {
        let Engine { streams, tones, rng, .. } = self;
        let Some(stream) = streams.get_mut(slot) else { return };
        let Some(player) = &mut stream.tone_player else { return };
        let (frames, catchup) = player.frames_due(now.instant);
        if catchup == Catchup::Skipped {
            stream.sender.change_source();
        }
        let Some(negotiation) = &stream.negotiation else { return };
        let (Some(to), Some((law, payload_type))) = (negotiation.target, negotiation.law) else { return };
        for _ in 0..frames {
            let mut frame = [0; SAMPLES];
            player.fill(tones, law, &mut frame);
            let header = stream.sender.generate(now.instant, SAMPLES as u32, payload_type, rng);
            out.send(stream.id, Component::Rtp, to, &build_packet(&header, &frame));
        }
    }

    fn send_rtcp_report(&mut self, now: Now, slot: usize, out: &mut impl MediaSink) {
        let Engine { streams, rng, .. } = self;
        let Some(stream) = streams.get_mut(slot) else { return };
        if stream.rtcp.due > now.instant {
            return;
        }
        let target = stream.rtcp_target();
        let peer = stream.negotiation.as_ref().and_then(|a| a.latch.ssrc());
        let received = peer.map(|ssrc| (ssrc, &mut stream.receive_stats));
        let mut report = [0; MAX_REPORT];
        let length = stream.rtcp.report(now, &stream.sender, received, rng, &mut report);
        if let (Some((channel, to)), Some(packet)) = (target, length.and_then(|n| report.get(..n))) {
            out.send(stream.id, channel, to, packet);
        }
    }

    /// Change the tap of a stream. A tap without consumers is removed. `false` if the stream is not open.
    pub(super) fn update_tap(&mut self, stream: StreamId, change: impl FnOnce(&mut Tap)) -> bool {
        let Some((_, stream)) = self.find(stream) else { return false };
        let mut tap = stream.tap.take().unwrap_or_default();
        change(&mut tap);
        stream.tap = Some(tap).filter(|tap| !tap.is_idle());
        true
    }

    pub(super) fn set_dtmf_mode(&mut self, stream: StreamId, mode: DtmfMode) {
        let sends_events =
            self.find(stream).is_some_and(|(_, stream)| stream.event_detector.has_seen_events());
        self.update_tap(stream, |tap| match mode {
            DtmfMode::Tones if sends_events => tap.tone_detector = None,
            DtmfMode::Tones => _ = tap.tone_detector.get_or_insert_default(),
            DtmfMode::Events => tap.tone_detector = None,
        });
    }
}
