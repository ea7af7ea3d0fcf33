//! Receive statistics (RFC 3550 §A.1, §A.3, §A.8) and the listening quality derived from them (ITU-T G.107).

use base::Instant;

use super::rtp::{self, Header};

/// Statistics of the packets received from a peer.
#[derive(Debug, Default)]
pub(super) struct ReceiveStats {
    /// Accepted packets.
    pub(super) received: u64,
    /// The current sequence.
    current: Option<Sequence>,
    /// Expected and received packets of the sequences before.
    previous: (u64, u64),
    /// Expected and received packets at the time of the last report.
    reported: (u64, u64),
    /// Jitter in RTP timestamp units, times 16.
    jitter: u32,
    transit: Option<u32>,
}

#[derive(Debug)]
struct Sequence {
    base: u32,
    /// Extended highest sequence number: the upper 16 bits count the cycles.
    highest: u32,
    received: u64,
    /// The sequence number that would confirm a restart of the sender (`bad_seq` of RFC 3550 §A.1).
    bad_seq: Option<u16>,
}

impl Sequence {
    fn new(sequence: u16) -> Sequence {
        // Starts with one cycle, so that a packet from before the first one does not underflow.
        let base = 0x1_0000 | u32::from(sequence);
        Sequence { base, highest: base, received: 1, bad_seq: None }
    }

    fn expected(&self) -> u64 {
        u64::from(self.highest.wrapping_sub(self.base)) + 1
    }
}

impl ReceiveStats {
    /// Count a packet.
    pub(super) fn on_packet(
        &mut self,
        now: Instant,
        header: &Header,
        clock: u32,
        timestamps: Timestamps,
    ) -> SequenceCheck {
        let check = self.check_sequence(header.sequence);
        if check == SequenceCheck::Invalid {
            return check;
        }
        self.received += 1;
        if timestamps == Timestamps::Advancing {
            self.update_jitter(now, header.timestamp, clock);
        }
        check
    }

    /// Count a packet that does not have a number of the audio's sequence.
    pub(super) fn on_unnumbered_packet(&mut self) {
        self.received += 1;
    }

    /// Whether a number is neither the next one of the current sequence, after a loss, nor that of a late packet.
    pub(super) fn is_out_of_sequence(&self, sequence: u16) -> bool {
        self.current.as_ref().is_some_and(|current| rtp::is_out_of_sequence(current.highest as u16, sequence))
    }

    fn check_sequence(&mut self, sequence: u16) -> SequenceCheck {
        let Some(current) = &mut self.current else {
            self.current = Some(Sequence::new(sequence));
            return SequenceCheck::Valid;
        };
        if rtp::is_out_of_sequence(current.highest as u16, sequence) {
            // Two packets in sequence after a jump: the sender has restarted.
            if current.bad_seq != Some(sequence) {
                current.bad_seq = Some(sequence.wrapping_add(1));
                return SequenceCheck::Invalid;
            }
            self.restart();
            self.current = Some(Sequence::new(sequence));
            return SequenceCheck::Restarted;
        }
        let ahead = sequence.wrapping_sub(current.highest as u16) as i16;
        current.highest = current.highest.wrapping_add(u32::from(ahead.max(0) as u16));
        current.received += 1;
        SequenceCheck::Valid
    }

    fn update_jitter(&mut self, now: Instant, timestamp: u32, clock: u32) {
        let arrival = now.as_micros().wrapping_mul(u64::from(clock)).wrapping_div(1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(before) = self.transit {
            let moved = (transit.wrapping_sub(before) as i32).unsigned_abs().min(clock);
            self.jitter = (self.jitter + moved).saturating_sub((self.jitter + 8) >> 4);
        }
        self.transit = Some(transit);
    }

    /// End the current sequence: another source, or a pause during which packets were rejected.
    pub(super) fn restart(&mut self) {
        self.previous = self.totals();
        (self.current, self.transit) = (None, None);
    }

    /// Expected and received packets.
    fn totals(&self) -> (u64, u64) {
        let (expected, received) = self.current.as_ref().map_or((0, 0), |r| (r.expected(), r.received));
        (self.previous.0 + expected, self.previous.1 + received)
    }

    /// Lost packets.
    pub(super) fn lost(&self) -> u64 {
        let (expected, received) = self.totals();
        expected.saturating_sub(received)
    }

    /// Lost packets as a fraction of the expected ones, 0 to 1.
    pub(super) fn loss(&self) -> f32 {
        let expected = self.totals().0;
        if expected == 0 { 0.0 } else { self.lost() as f32 / expected as f32 }
    }

    /// Jitter in timestamp units.
    pub(super) fn jitter(&self) -> u32 {
        self.jitter >> 4
    }

    /// Extended highest sequence number received, for report blocks.
    pub(super) fn highest(&self) -> u32 {
        self.current.as_ref().map_or(0, |current| current.highest.wrapping_sub(0x1_0000))
    }

    /// Loss since the last report, in 1/256 (RFC 3550 §A.3).
    pub(super) fn interval_loss(&mut self) -> u8 {
        let totals = self.totals();
        let expected = totals.0.saturating_sub(self.reported.0);
        let received = totals.1.saturating_sub(self.reported.1);
        self.reported = totals;
        let lost = expected.saturating_sub(received);
        (lost << 8).checked_div(expected).map_or(0, |f| f.min(255) as u8)
    }
}

/// Result of checking a sequence number (RFC 3550 §A.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SequenceCheck {
    /// In sequence, after a loss, or late.
    Valid,
    /// The first packet after a jump: dropped, because it may be a stray one.
    Invalid,
    /// The second packet after a jump: the sender has started its numbers over.
    Restarted,
}

/// Whether the timestamps of a packet kind advance with time: all packets of one telephone-event have the same timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timestamps {
    Advancing,
    Constant,
}

/// Mean opinion score from the E-model with its default values (ITU-T G.107: R₀ and simultaneous impairments at their defaults give 93.2;
/// Ie 0, Bpl 4.3, random loss; delay by the usual piecewise linear approximation). `loss` is 0 to 1, `delay_ms` is one way.
pub(super) fn mos(loss: f32, delay_ms: f32) -> f32 {
    const BPL: f32 = 4.3;
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    let equipment = 95.0 * percent / (percent + BPL);
    let delay = 0.024 * delay_ms + if delay_ms > 177.3 { 0.11 * (delay_ms - 177.3) } else { 0.0 };
    let r = (93.2 - equipment - delay).clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

/// One-way delay of one leg in milliseconds: half the round-trip time, one packet, and a jitter buffer of twice the jitter.
pub(super) fn one_way_ms(rtt_us: u32, jitter_us: u32) -> f32 {
    rtt_us as f32 / 2_000.0 + 20.0 + 2.0 * jitter_us as f32 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(sequences: impl IntoIterator<Item = u16>) -> ReceiveStats {
        let mut stats = ReceiveStats::default();
        for (n, sequence) in sequences.into_iter().enumerate() {
            let header = Header {
                marker: false,
                payload_type: 0,
                sequence,
                timestamp: 160 * n as u32,
                ssrc: 1,
                payload: 0..0,
            };
            stats.on_packet(Instant::from_micros(n as u64 * 20_000), &header, 8_000, Timestamps::Advancing);
        }
        stats
    }

    #[test]
    fn loss_is_counted_across_the_wrap_and_not_across_a_restart() {
        let wrapped = receive((65_500..=65_535).chain(0..10).filter(|n| n % 10 != 5));
        assert_eq!((wrapped.received, wrapped.lost()), (41, 5));
        assert_eq!(wrapped.highest(), 0x1_0009);
        let restarted = receive((0..50).chain(30_000..30_050));
        assert_eq!((restarted.received, restarted.lost()), (99, 0));
        let stray = receive((0..50).chain([30_000]).chain(50..100));
        assert_eq!((stray.received, stray.lost()), (100, 0));
        assert_eq!(receive([5, 4, 3, 6, 7]).lost(), 0);
        assert_eq!(receive((0..100).filter(|n| n % 4 != 1)).interval_loss(), 64);
    }

    #[test]
    fn steady_packets_have_no_jitter() {
        assert_eq!(receive(0..100).jitter(), 0);
    }

    #[test]
    fn the_e_model_gives_its_published_values() {
        assert!((mos(0.0, 0.0) - 4.41).abs() < 0.01); // ITU-T G.107: R = 93.2
        assert!((mos(0.0, 400.0) - 3.05).abs() < 0.05, "{}", mos(0.0, 400.0));
        assert!(mos(0.01, 20.0) < 4.0 && mos(0.05, 20.0) < 2.5);
        assert!((mos(1.0, 1_000.0) - 1.0).abs() < f32::EPSILON);
    }
}
