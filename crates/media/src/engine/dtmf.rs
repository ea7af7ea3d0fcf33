//! Telephone-events (RFC 4733): one digit per key press, however many packets it has, and whatever SSRC they come with.

use std::time::Duration;

use base::Instant;

/// An event without a packet for this time has ended: its end packets were lost. More than the packet interval (RFC 4733 §2.5.1.2) with jitter.
const END_TIMEOUT: Duration = Duration::from_millis(150);
/// A packet with an earlier timestamp is late within this time; after it, the timestamps have started over.
const REORDERING: Duration = Duration::from_millis(500);

/// A key press.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DtmfDigit {
    pub(super) digit: char,
    pub(super) millis: u16,
}

/// Follows the telephone-events of one peer.
#[derive(Debug, Default)]
pub(super) struct EventDetector {
    current: Option<Event>,
    has_seen_events: bool,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    ssrc: u32,
    code: u8,
    /// RTP timestamp of the event's start, the same in all its packets (RFC 4733 §2.2.1).
    timestamp: u32,
    duration: u16,
    /// Arrival of its last packet.
    last: Instant,
    reported: bool,
}

impl Event {
    fn report(&mut self) -> Option<DtmfDigit> {
        if std::mem::replace(&mut self.reported, true) {
            return None;
        }
        let digit = "0123456789*#ABCD".chars().nth(usize::from(self.code))?;
        Some(DtmfDigit { digit, millis: self.duration / 8 })
    }
}

impl EventDetector {
    /// Handle an event packet. Returns at most one digit: this one, or the previous one if its end packets were lost.
    pub(super) fn on_event(
        &mut self,
        now: Instant,
        ssrc: u32,
        timestamp: u32,
        payload: &[u8],
    ) -> Option<DtmfDigit> {
        self.has_seen_events = true;
        let [code, flags, d0, d1] = *payload.first_chunk::<4>()?;
        let duration = u16::from_be_bytes([d0, d1]);
        let ends = flags & 0x80 != 0;
        if let Some(event) = self.current.as_mut().filter(|event| event.ssrc == ssrc) {
            let age = timestamp.wrapping_sub(event.timestamp);
            if age == 0 && event.code == code {
                (event.duration, event.last) = (event.duration.max(duration), now);
                return if ends { event.report() } else { None };
            }
            if age as i32 <= 0 && now.since(event.last) < REORDERING {
                return None; // a late packet of an earlier event
            }
        }
        let event = Event { ssrc, code, timestamp, duration, last: now, reported: false };
        let lost = self.current.replace(event).as_mut().and_then(Event::report);
        let this = self.current.as_mut().filter(|_| ends && lost.is_none()).and_then(Event::report);
        lost.or(this)
    }

    /// Handle the arrival of an audio packet: an event whose end should have come by now has ended.
    pub(super) fn on_audio(&mut self, now: Instant) -> Option<DtmfDigit> {
        let event = self.current.as_mut().filter(|event| !event.reported)?;
        if now.since(event.last) > END_TIMEOUT { event.report() } else { None }
    }

    /// The timestamps of an SSRC have started over: later ones cannot be compared with those of its last event.
    pub(super) fn on_restart(&mut self, ssrc: u32) -> Option<DtmfDigit> {
        self.current.take_if(|event| event.ssrc == ssrc).as_mut().and_then(Event::report)
    }

    /// Whether the peer has sent telephone-events.
    pub(super) fn has_seen_events(&self) -> bool {
        self.has_seen_events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    /// An event packet that arrives `ms` after the start.
    fn event(
        detector: &mut EventDetector,
        ms: u64,
        code: u8,
        timestamp: u32,
        duration: u16,
        end: u8,
    ) -> Option<DtmfDigit> {
        let [d0, d1] = duration.to_be_bytes();
        detector.on_event(at(ms), 1, timestamp, &[code, (end << 7) | 0x0a, d0, d1])
    }

    #[test]
    fn three_end_packets_are_one_digit() {
        let mut detector = EventDetector::default();
        assert_eq!(event(&mut detector, 0, 11, 1_000, 160, 0), None);
        assert_eq!(event(&mut detector, 80, 11, 1_000, 800, 1), Some(DtmfDigit { digit: '#', millis: 100 }));
        assert_eq!(event(&mut detector, 100, 11, 1_000, 800, 1), None);
        assert_eq!(event(&mut detector, 100, 11, 1_000, 640, 0), None);
        // The same key again is a new event; a packet of the first event is late.
        assert_eq!(event(&mut detector, 250, 11, 3_000, 800, 1).map(|p| p.digit), Some('#'));
        assert_eq!(event(&mut detector, 260, 11, 1_000, 800, 1), None);
        // Timestamps that start over.
        assert_eq!(event(&mut detector, 900, 12, 500, 800, 1).map(|p| p.digit), Some('A'));
        assert_eq!(detector.on_restart(1), None);
        assert_eq!(event(&mut detector, 950, 13, 100, 800, 1).map(|p| p.digit), Some('B'));
    }

    #[test]
    fn a_digit_whose_end_packets_were_lost_is_reported_with_a_later_packet() {
        let mut detector = EventDetector::default();
        event(&mut detector, 0, 1, 1_000, 400, 0);
        assert_eq!(detector.on_audio(at(100)), None);
        assert_eq!(detector.on_audio(at(160)), Some(DtmfDigit { digit: '1', millis: 50 }));
        assert_eq!(detector.on_audio(at(180)), None);
        event(&mut detector, 400, 2, 4_000, 400, 0);
        assert_eq!(event(&mut detector, 1_000, 3, 9_000, 160, 0), Some(DtmfDigit { digit: '2', millis: 50 }));
        assert_eq!(event(&mut detector, 3_000, 16, 20_000, 160, 1).map(|p| p.digit), Some('3'));
        assert_eq!(detector.on_event(at(3_000), 1, 1, &[1, 2]), None);
        event(&mut detector, 4_000, 4, 30_000, 400, 0);
        assert_eq!(detector.on_restart(2), None, "another SSRC");
        assert_eq!(detector.on_restart(1).map(|p| p.digit), Some('4'));
    }
}
