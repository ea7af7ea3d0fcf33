//! The path of one received packet: check the source, update statistics and DTMF, feed the tap, rewrite for the listener.

use std::net::SocketAddr;

use base::Now;

use super::Engine;
use super::api::{Component, Forward, MediaEvent};
use super::dtmf::DtmfDigit;
use super::g711;
use super::latching::Verdict;
use super::quality::{SequenceCheck, Timestamps};
use super::rtcp::Translation;
use super::rtp::{self, PayloadKind};
use super::sender::EventNumbering;
use super::stream::{Forwarding, Stream};
use crate::limits::PACKET_BYTES;

impl Engine {
    pub(super) fn relay_rtp(
        &mut self,
        now: Now,
        slot: usize,
        from: SocketAddr,
        packet: &mut [u8],
        events: &mut Vec<MediaEvent>,
    ) -> Option<Forward> {
        let stream = self.streams.get_mut(slot)?;
        let Some(Accepted { mut header, forwarding, content }) = accept(stream, now, from, packet, events)
        else {
            stream.refused += 1;
            self.refused += 1;
            return None;
        };
        if let Some(tap) = &mut stream.tap {
            let law =
                stream.negotiation.as_ref().and_then(|negotiation| negotiation.law_of(header.payload_type));
            let audio = packet.get(header.payload.clone()).unwrap_or_default();
            tap.on_packet(now, stream.id, law, &header, audio, &mut self.recordings, events);
        }
        let (id, ssrc, listener) = (stream.id, header.ssrc, stream.sink?);
        let listener = self.streams.get_mut(listener)?;
        let Some(to) = listener.negotiation.as_ref()?.target else {
            listener.sender.change_source(); // after a hold, the missed packets count as a pause and not as loss
            return None;
        };
        match forwarding {
            Forwarding::Nowhere => {
                if content != Content::Event(EventNumbering::Own) {
                    listener.sender.skip(id, ssrc);
                }
                return None;
            }
            Forwarding::Same(payload_type) => header.payload_type = payload_type,
            Forwarding::Transcoded(law, payload_type) => {
                header.payload_type = payload_type;
                g711::transcode(packet.get_mut(header.payload.clone())?, law);
            }
        }
        match content {
            Content::Audio => listener.sender.relay(now.instant, id, &mut header)?,
            Content::Event(numbering) => {
                listener.sender.relay_event(now.instant, id, numbering, &mut header)?;
            }
        }
        rtp::rewrite(packet, &header);
        Some(Forward { stream: listener.id, channel: Component::Rtp, to, len: packet.len() })
    }

    pub(super) fn relay_rtcp(
        &mut self,
        now: Now,
        slot: usize,
        from: SocketAddr,
        packet: &mut [u8],
    ) -> Option<Forward> {
        let stream = self.streams.get_mut(slot)?;
        let negotiation = stream.negotiation.as_mut()?;
        let accepted = negotiation.latch.accepts_rtcp(now.instant, from, negotiation.mux);
        if !accepted
            || stream.exceeds_rate_limit(now.instant)
            || !stream.rtcp.on_compound(now.instant, packet, stream.sender.ssrc)
        {
            stream.refused += 1;
            self.refused += 1;
            return None;
        }
        // RTCP is forwarded only between two streams that are each other's source: otherwise it reports packets that the listener never sent.
        let other = stream.sink.filter(|other| *other != slot)?;
        let (ssrc, sequence_offset) = (stream.sender.ssrc, stream.sender.sequence_offset());
        let listener = self.streams.get_mut(other).filter(|l| l.sink == Some(slot))?;
        let translation = Translation {
            sender_ssrc: listener.sender.ssrc,
            timestamp_offset: listener.sender.timestamp_offset(),
            block_ssrc: (ssrc, listener.negotiation.as_ref()?.latch.ssrc()?),
            sequence_offset,
        };
        let (channel, to) = listener.rtcp_target()?;
        let len = listener.rtcp.translate(now.instant, packet, translation)?;
        Some(Forward { stream: listener.id, channel, to, len })
    }
}

/// A packet of the peer.
struct Accepted {
    header: rtp::Header,
    forwarding: Forwarding,
    content: Content,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Audio,
    Event(EventNumbering),
}

/// Check a packet's source and payload type and update the stream's state. `None`: rejected.
fn accept(
    stream: &mut Stream,
    now: Now,
    from: SocketAddr,
    packet: &[u8],
    events: &mut Vec<MediaEvent>,
) -> Option<Accepted> {
    if packet.len() > PACKET_BYTES {
        return None;
    }
    let header = rtp::parse(packet)?;
    let route = *stream.routes.get(usize::from(header.payload_type))?;
    if route.kind == PayloadKind::Unknown {
        return None;
    }
    let negotiation = stream.negotiation.as_mut()?;
    let (receives, clock) = (negotiation.receives, negotiation.clock);
    match negotiation.latch.check(now.instant, from, &header, route.kind) {
        Verdict::Accept => {}
        Verdict::Latched => {
            stream.receive_stats.restart();
            stream.update_target();
        }
        Verdict::Reject => return None,
    }
    let audio_ssrc = stream.negotiation.as_ref().and_then(|negotiation| negotiation.latch.ssrc());
    // Only packets of the latched source count, so that others cannot exhaust the rate limit.
    if stream.exceeds_rate_limit(now.instant) {
        return None;
    }
    if !receives {
        stream.receive_stats.restart();
        return None;
    }
    let stats = &mut stream.receive_stats;
    let content = match route.kind {
        PayloadKind::Audio | PayloadKind::Unknown => Content::Audio,
        PayloadKind::Event
            if audio_ssrc != Some(header.ssrc) || stats.is_out_of_sequence(header.sequence) =>
        {
            Content::Event(EventNumbering::Own)
        }
        PayloadKind::Event => Content::Event(EventNumbering::Audio),
    };
    let check = match content {
        Content::Audio => stats.on_packet(now.instant, &header, clock, Timestamps::Advancing),
        Content::Event(EventNumbering::Audio) => {
            stats.on_packet(now.instant, &header, clock, Timestamps::Constant)
        }
        Content::Event(EventNumbering::Own) => {
            stats.on_unnumbered_packet();
            SequenceCheck::Valid
        }
    };
    let restarted = match check {
        SequenceCheck::Valid => None,
        SequenceCheck::Invalid => return None,
        SequenceCheck::Restarted => stream.event_detector.on_restart(header.ssrc),
    };
    (stream.last_received, stream.timeout_raised) = (now.instant, false);
    let digit = match content {
        Content::Event(_) => {
            let payload = packet.get(header.payload.clone()).unwrap_or_default();
            stream.tap.iter_mut().for_each(|tap| tap.stop_tone_detection());
            stream.event_detector.on_event(now.instant, header.ssrc, header.timestamp, payload)
        }
        Content::Audio => stream.event_detector.on_audio(now.instant),
    };
    for DtmfDigit { digit, millis } in restarted.into_iter().chain(digit) {
        events.push(MediaEvent::Digit { stream: stream.id, digit, millis });
    }
    Some(Accepted { header, forwarding: route.forwarding, content })
}
