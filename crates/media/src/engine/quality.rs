//! How well a peer is received (RFC 3550 §A.1, §A.3, §A.8) and what that is worth to an ear (ITU-T G.107).

use base::Instant;

use super::rtp::Header;

/// A jump forward of so many packets is a new beginning, not loss.
const MAX_DROPOUT: u16 = 3_000;
/// A packet this far behind is late; further behind it is a new beginning.
const MAX_MISORDER: u16 = 100;

/// What arrived of a peer's packets.
#[derive(Debug, Default)]
pub(super) struct ReceiveStats {
    /// Packets accepted, all in all.
    pub(super) received: u64,
    /// The numbering that runs at present.
    run: Option<Run>,
    /// Expected and received of the numberings before.
    past: (u64, u64),
    /// Expected and received when the last report was made.
    reported: (u64, u64),
    /// RTP timestamp units, times 16.
    jitter: u32,
    transit: Option<u32>,
}

#[derive(Debug)]
struct Run {
    base: u32,
    /// The highest sequence number, with the wraps above it.
    highest: u32,
    received: u64,
    /// Where a new beginning would continue.
    suspect: Option<u16>,
}

impl Run {
    fn begin(sequence: u16) -> Run {
        // One circle above zero, so that a first packet may turn out to be late.
        let base = 0x1_0000 | u32::from(sequence);
        Run { base, highest: base, received: 1, suspect: None }
    }

    fn expected(&self) -> u64 {
        u64::from(self.highest.wrapping_sub(self.base)) + 1
    }
}

impl ReceiveStats {
    /// Take a packet's numbers.
    pub(super) fn take(&mut self, now: Instant, header: &Header, clock: u32, paced: Paced) {
        self.received += 1;
        self.count(header.sequence);
        if paced == Paced::Yes {
            self.time(now, header.timestamp, clock);
        }
    }

    fn count(&mut self, sequence: u16) {
        let Some(run) = &mut self.run else {
            self.run = Some(Run::begin(sequence));
            return;
        };
        let ahead = sequence.wrapping_sub(run.highest as u16);
        if ahead < MAX_DROPOUT {
            run.highest = run.highest.wrapping_add(u32::from(ahead));
        } else if ahead <= u16::MAX - MAX_MISORDER {
            // Two in a row so far off: the peer counts anew.
            if run.suspect != Some(sequence) {
                run.suspect = Some(sequence.wrapping_add(1));
                return;
            }
            self.restart();
            self.run = Some(Run::begin(sequence));
            return;
        }
        run.received += 1;
    }

    fn time(&mut self, now: Instant, timestamp: u32, clock: u32) {
        let arrival = now.as_micros().wrapping_mul(u64::from(clock)).wrapping_div(1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(before) = self.transit {
            let moved = (transit.wrapping_sub(before) as i32).unsigned_abs().min(clock);
            self.jitter = (self.jitter + moved).saturating_sub((self.jitter + 8) >> 4);
        }
        self.transit = Some(transit);
    }

    /// The numbering ends: another source, or a pause in which packets were refused.
    pub(super) fn restart(&mut self) {
        self.past = self.totals();
        (self.run, self.transit) = (None, None);
    }

    /// Expected and received.
    fn totals(&self) -> (u64, u64) {
        let (expected, received) = self.run.as_ref().map_or((0, 0), |r| (r.expected(), r.received));
        (self.past.0 + expected, self.past.1 + received)
    }

    /// Packets that never arrived.
    pub(super) fn lost(&self) -> u64 {
        let (expected, received) = self.totals();
        expected.saturating_sub(received)
    }

    /// The part that never arrived.
    pub(super) fn loss(&self) -> f32 {
        let expected = self.totals().0;
        if expected == 0 { 0.0 } else { self.lost() as f32 / expected as f32 }
    }

    /// In timestamp units.
    pub(super) fn jitter(&self) -> u32 {
        self.jitter >> 4
    }

    /// The highest sequence number with its wraps, as reports want it.
    pub(super) fn highest(&self) -> u32 {
        self.run.as_ref().map_or(0, |run| run.highest.wrapping_sub(0x1_0000))
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

/// Whether a packet's timestamp moves with its time of arrival: that of an event stands still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Paced {
    Yes,
    No,
}

/// Mean opinion score from the E-model with its default values (ITU-T G.107: R₀ and simultaneous impairments at their defaults give 93.2;
/// Ie 0, Bpl 4.3, random loss; delay by its usual piecewise line), for a loss out of 1 and a one-way delay.
pub(super) fn mos(loss: f32, delay_ms: f32) -> f32 {
    const BPL: f32 = 4.3;
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    let equipment = 95.0 * percent / (percent + BPL);
    let delay = 0.024 * delay_ms + if delay_ms > 177.3 { 0.11 * (delay_ms - 177.3) } else { 0.0 };
    let r = (93.2 - equipment - delay).clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

/// The delay that a listener feels on one leg: half the round trip, a packet, and a buffer that rides out the jitter.
pub(super) fn one_way_ms(rtt_us: u32, jitter_us: u32) -> f32 {
    rtt_us as f32 / 2_000.0 + 20.0 + 2.0 * jitter_us as f32 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(sequences: impl IntoIterator<Item = u16>) -> ReceiveStats {
        let mut reception = ReceiveStats::default();
        for (n, sequence) in sequences.into_iter().enumerate() {
            let header = Header {
                marker: false,
                payload_type: 0,
                sequence,
                timestamp: 160 * n as u32,
                ssrc: 1,
                payload: 0..0,
            };
            reception.take(Instant::from_micros(n as u64 * 20_000), &header, 8_000, Paced::Yes);
        }
        reception
    }

    #[test]
    fn loss_is_counted_across_the_wrap_and_not_across_a_new_beginning() {
        let wrapped = receive((65_500..=65_535).chain(0..10).filter(|n| n % 10 != 5));
        assert_eq!((wrapped.received, wrapped.lost()), (41, 5));
        assert_eq!(wrapped.highest(), 0x1_0009);
        assert_eq!(receive((0..50).chain(30_000..30_050)).lost(), 0);
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
