//! Commands and ticks of streams: open, negotiate, set the source, send tones and reports, close.

use std::net::IpAddr;

use base::Now;

use super::Engine;
use super::api::{Component, DtmfMode, MediaEvent, MediaSink, Source, StreamId};
use super::rtcp::REPORT;
use super::stream::Stream;
use super::tap::Tap;
use super::tone_generator::{Catchup, SAMPLES, TonePlayer, packed};
use crate::sdp::Negotiated;

impl Engine {
    pub(super) fn open(
        &mut self,
        now: Now,
        id: StreamId,
        wire: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        self.close(now, id, wire, events);
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
        stream.agree(now, signalling, negotiated);
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
        stream.output.switch();
        stream.play = match source {
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
        wire: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        self.leave_recordings(now, id, wire, events);
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
                listener.output.switch();
            }
        }
        events.push(MediaEvent::Closed { stream: id, report: stream.report() });
    }

    pub(super) fn find(&mut self, id: StreamId) -> Option<(usize, &mut Stream)> {
        let slot = *self.slots.get(&id)?;
        Some((slot, self.streams.get_mut(slot)?))
    }

    fn unsubscribe(&mut self, source: StreamId, slot: usize) {
        if let Some(wishes) = self.subscribers.get_mut(&source) {
            wishes.retain(|s| *s != slot);
            if wishes.is_empty() {
                self.subscribers.remove(&source);
            }
        }
    }

    /// Find the listener of a stream and how packets are forwarded to it. A listener that hears a clip receives nothing meanwhile.
    pub(super) fn rebuild_route(&mut self, id: StreamId) {
        let free = |slot: &&usize| self.streams.get(**slot).is_some_and(|s| s.clips.is_empty());
        let listener = self.subscribers.get(&id).and_then(|wishes| wishes.iter().rev().find(free).copied());
        let heard_as = listener.and_then(|slot| self.streams.get(slot)).and_then(|l| l.agreed.as_ref());
        let heard_as = heard_as.map(|agreed| agreed.negotiated.clone());
        if let Some((_, stream)) = self.find(id) {
            stream.sink = listener;
            stream.route(heard_as.as_deref());
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
        wire: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        if self.streams.get(slot).is_some_and(|stream| stream.clips.is_empty()) {
            self.play(now, slot, wire);
        } else {
            self.play_clips(now, slot, wire, events);
        }
        self.report(now, slot, wire);
        if let Some(stream) = self.streams.get_mut(slot) {
            let expected = stream.agreed.as_ref().is_some_and(|a| a.receives) && !stream.silent;
            if expected && now.instant.since(stream.heard) >= Engine::SILENCE {
                stream.silent = true;
                events.push(MediaEvent::RtpTimeout { stream: stream.id });
            }
        }
        self.schedule(slot);
    }

    fn play(&mut self, now: Now, slot: usize, wire: &mut impl MediaSink) {
        let Engine { streams, sounds, rng, .. } = self;
        let Some(stream) = streams.get_mut(slot) else { return };
        let Some(play) = &mut stream.play else { return };
        let (frames, lag) = play.frames_due(now.instant);
        if lag == Catchup::Skipped {
            stream.output.switch();
        }
        let Some(agreed) = &stream.agreed else { return };
        let (Some(to), Some((law, payload_type))) = (agreed.target, agreed.law) else { return };
        for _ in 0..frames {
            let mut frame = [0; SAMPLES];
            play.fill(sounds, law, &mut frame);
            let header = stream.output.own(now.instant, SAMPLES as u32, payload_type, rng);
            wire.send(stream.id, Component::Rtp, to, &packed(&header, &frame));
        }
    }

    fn report(&mut self, now: Now, slot: usize, wire: &mut impl MediaSink) {
        let Engine { streams, rng, .. } = self;
        let Some(stream) = streams.get_mut(slot) else { return };
        if stream.rtcp.due > now.instant {
            return;
        }
        let target = stream.rtcp_target();
        let peer = stream.agreed.as_ref().and_then(|a| a.lock.ssrc());
        let heard = peer.map(|ssrc| (ssrc, &mut stream.reception));
        let mut report = [0; REPORT];
        let length = stream.rtcp.report(now, &stream.output, heard, rng, &mut report);
        if let (Some((channel, to)), Some(packet)) = (target, length.and_then(|n| report.get(..n))) {
            wire.send(stream.id, channel, to, packet);
        }
    }

    /// Change the tap of a stream. A tap without consumers is removed. `false` if the stream is not open.
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
