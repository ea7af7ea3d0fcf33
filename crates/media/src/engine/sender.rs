//! The outgoing RTP stream to one peer: one SSRC with continuous sequence numbers and timestamps, whatever the source.

use std::time::Duration;

use base::{Instant, Rng};

use super::api::StreamId;
use super::rtp::{self, Header};

/// Packets after a change of source during which a packet from before the change may still arrive.
const LATE_WINDOW: u8 = 50;
/// Minimum difference of timestamps between the last packet of the old source and the first one of the new source.
const FRAME: Duration = Duration::from_millis(20);

/// The source of the last packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    None,
    Generated,
    Relayed { stream: StreamId, ssrc: u32 },
}

/// State of the outgoing RTP stream.
#[derive(Debug)]
pub(super) struct RtpSender {
    /// Our SSRC towards this peer, constant for the whole call.
    pub(super) ssrc: u32,
    /// Packets sent.
    pub(super) packets: u64,
    /// Payload octets sent, as counted by sender reports.
    pub(super) octets: u32,
    clock: u32,
    origin: Origin,
    newest: Option<Newest>,
    /// Offsets added to the sequence numbers and timestamps of the relayed peer.
    sequence_offset: u16,
    timestamp_offset: u32,
    /// First sequence number since the last change of source, and the number of packets since.
    first_sequence: u16,
    packets_since: u8,
    /// The last telephone-event relayed.
    event: Option<RelayedEvent>,
}

/// Which sequence a relayed telephone-event is numbered in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EventNumbering {
    /// In that of the audio, as RFC 4733 §2.5.1 wants.
    Audio,
    /// In one of its own, under an SSRC of its own or not: sent by some gateways beside the audio.
    Own,
}

/// A telephone-event: all its packets are sent with one timestamp (RFC 4733 §2.2.1).
#[derive(Clone, Copy, Debug)]
struct RelayedEvent {
    stream: StreamId,
    ssrc: u32,
    /// Timestamp in the received packets.
    received: u32,
    /// Timestamp in the sent packets.
    sent: u32,
}

/// The packet with the highest sequence number so far.
#[derive(Clone, Copy, Debug)]
struct Newest {
    sequence: u16,
    timestamp: u32,
    at: Instant,
}

impl RtpSender {
    pub(super) fn new(rng: &mut Rng) -> RtpSender {
        RtpSender {
            ssrc: rng.u64() as u32,
            packets: 0,
            octets: 0,
            clock: 8_000,
            origin: Origin::None,
            newest: None,
            sequence_offset: 0,
            timestamp_offset: 0,
            first_sequence: 0,
            packets_since: 0,
            event: None,
        }
    }

    /// Set the RTP clock rate of the negotiated codec, in Hz.
    pub(super) fn set_clock(&mut self, clock: u32) {
        self.clock = clock;
    }

    /// The next packet comes from a new source.
    pub(super) fn change_source(&mut self) {
        self.origin = Origin::None;
    }

    /// Offset added to timestamps of the relayed peer.
    pub(super) fn timestamp_offset(&self) -> u32 {
        self.timestamp_offset
    }

    /// Offset added to sequence numbers of the relayed peer.
    pub(super) fn sequence_offset(&self) -> u16 {
        self.sequence_offset
    }

    /// Timestamp of audio that would be sent now. `None` before the first packet.
    pub(super) fn timestamp_at(&self, now: Instant) -> Option<u32> {
        let newest = self.newest?;
        Some(newest.timestamp.wrapping_add(self.ticks(now.since(newest.at))))
    }

    fn ticks(&self, time: Duration) -> u32 {
        (time.as_micros() as u64).wrapping_mul(u64::from(self.clock)).wrapping_div(1_000_000) as u32
    }

    /// Sequence number and timestamp that continue the stream now.
    fn continuation(&self, now: Instant) -> Option<(u16, u32)> {
        let newest = self.newest?;
        let gap = now.since(newest.at).max(FRAME);
        Some((newest.sequence.wrapping_add(1), newest.timestamp.wrapping_add(self.ticks(gap))))
    }

    /// Translate the header of a relayed packet. `None`: the packet is from before the last change of source. A source that starts its sequence
    /// numbers over under the same SSRC (RFC 3550 §A.1) counts as a new one.
    pub(super) fn relay(&mut self, now: Instant, stream: StreamId, header: &mut Header) -> Option<()> {
        let origin = Origin::Relayed { stream, ssrc: header.ssrc };
        if self.origin != origin || self.has_restarted(header.sequence) {
            // The first source keeps its sequence numbers and timestamps, so an undisturbed call is relayed unchanged.
            let (sequence, timestamp) = self.continuation(now).unwrap_or((header.sequence, header.timestamp));
            self.sequence_offset = sequence.wrapping_sub(header.sequence);
            self.timestamp_offset = timestamp.wrapping_sub(header.timestamp);
            self.start_source(origin, sequence);
            header.marker = true;
        }
        header.sequence = header.sequence.wrapping_add(self.sequence_offset);
        header.timestamp = header.timestamp.wrapping_add(self.timestamp_offset);
        header.ssrc = self.ssrc;
        if self.packets_since < LATE_WINDOW {
            self.packets_since += 1;
            if is_before(header.sequence, self.first_sequence) {
                return None;
            }
        }
        self.record_sent(now, header);
        Some(())
    }

    /// Translate the header of a relayed telephone-event. `None`: as for [`RtpSender::relay`].
    pub(super) fn relay_event(
        &mut self,
        now: Instant,
        stream: StreamId,
        numbering: EventNumbering,
        header: &mut Header,
    ) -> Option<()> {
        let (ssrc, received) = (header.ssrc, header.timestamp);
        let before = self.event.filter(|event| (event.stream, event.ssrc) == (stream, ssrc));
        match numbering {
            EventNumbering::Audio => self.relay(now, stream, header)?,
            EventNumbering::Own => self.insert(now, before, header),
        }
        if let Some(event) = before.filter(|event| event.received == received) {
            header.timestamp = event.sent;
        }
        self.event = Some(RelayedEvent { stream, ssrc, received, sent: header.timestamp });
        Some(())
    }

    /// Number a packet between those of the source. Its timestamp is that of its arrival, unless the one that follows from `before`, the
    /// previous event, is near it: segments of a long event refer to each other (RFC 4733 §2.5.1.3).
    fn insert(&mut self, now: Instant, before: Option<RelayedEvent>, header: &mut Header) {
        if let Some(newest) = &mut self.newest {
            newest.sequence = newest.sequence.wrapping_add(1);
            header.sequence = newest.sequence;
            if matches!(self.origin, Origin::Relayed { .. }) {
                self.sequence_offset = self.sequence_offset.wrapping_add(1);
            }
        }
        let arrival = self.timestamp_at(now).unwrap_or(header.timestamp);
        let following = before.map(|event| {
            let sent = event.sent.wrapping_add(header.timestamp.wrapping_sub(event.received));
            let is_near = (sent.wrapping_sub(arrival) as i32).unsigned_abs() < self.clock;
            let is_later = (sent.wrapping_sub(event.sent) as i32) > 0;
            let at_least = event.sent.wrapping_add(self.ticks(FRAME));
            match (is_near && is_later, (arrival.wrapping_sub(at_least) as i32) < 0) {
                (true, _) => sent,
                (false, true) => at_least, // two events have two timestamps
                (false, false) => arrival,
            }
        });
        header.timestamp = following.unwrap_or(arrival);
        header.ssrc = self.ssrc;
        self.count_sent(header);
        if self.newest.is_none() {
            self.newest = Some(Newest { sequence: header.sequence, timestamp: header.timestamp, at: now });
        }
    }

    /// Whether a packet of the present source is far out of the sequence sent so far.
    fn has_restarted(&self, sequence: u16) -> bool {
        let sequence = sequence.wrapping_add(self.sequence_offset);
        self.newest.is_some_and(|newest| rtp::is_out_of_sequence(newest.sequence, sequence))
    }

    /// A packet of the relayed peer is not forwarded: close the gap in the sequence numbers.
    pub(super) fn skip(&mut self, stream: StreamId, ssrc: u32) {
        if self.origin == (Origin::Relayed { stream, ssrc }) {
            self.sequence_offset = self.sequence_offset.wrapping_sub(1);
        }
    }

    /// Header of a generated packet with `samples` samples.
    pub(super) fn generate(&mut self, now: Instant, samples: u32, payload_type: u8, rng: &mut Rng) -> Header {
        let is_first = self.origin != Origin::Generated;
        let (sequence, timestamp) = match self.newest {
            Some(last) if !is_first => (last.sequence.wrapping_add(1), last.timestamp.wrapping_add(samples)),
            Some(_) | None => {
                self.continuation(now).unwrap_or_else(|| (rng.u64() as u16 >> 1, rng.u64() as u32))
            }
        };
        if is_first {
            self.start_source(Origin::Generated, sequence);
        }
        let header =
            Header { marker: is_first, payload_type, sequence, timestamp, ssrc: self.ssrc, payload: 0..0 };
        self.record_sent(now, &header);
        header
    }

    fn start_source(&mut self, origin: Origin, sequence: u16) {
        (self.origin, self.first_sequence, self.packets_since) = (origin, sequence, 0);
    }

    fn count_sent(&mut self, header: &Header) {
        self.packets += 1;
        self.octets = self.octets.wrapping_add(header.payload.len() as u32);
    }

    fn record_sent(&mut self, now: Instant, header: &Header) {
        self.count_sent(header);
        if self.newest.is_none_or(|n| !is_before(header.sequence, n.sequence)) {
            self.newest = Some(Newest { sequence: header.sequence, timestamp: header.timestamp, at: now });
        }
    }
}

/// Whether `a` precedes `b`, modulo 2^16.
fn is_before(a: u16, b: u16) -> bool {
    (a.wrapping_sub(b) as i16) < 0
}
