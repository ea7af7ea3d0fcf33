//! Telephone-events (RFC 4733): one digit per key press, however many packets it has.

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
}

#[derive(Clone, Copy, Debug)]
struct Event {
    code: u8,
    /// RTP timestamp of the event's start, the same in all its packets (RFC 4733 §2.2.1).
    timestamp: u32,
    duration: u16,
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
    pub(super) fn on_event(&mut self, timestamp: u32, payload: &[u8]) -> Option<DtmfDigit> {
        let [code, flags, d0, d1] = *payload.first_chunk::<4>()?;
        let duration = u16::from_be_bytes([d0, d1]);
        let ends = flags & 0x80 != 0;
        if let Some(event) = &mut self.current {
            let age = timestamp.wrapping_sub(event.timestamp);
            if age == 0 && event.code == code {
                event.duration = event.duration.max(duration);
                return if ends { event.report() } else { None };
            }
            if age as i32 <= 0 {
                return None; // a late packet of an earlier event
            }
        }
        let mut before = self.current.replace(Event { code, timestamp, duration, reported: false });
        let lost = before.as_mut().and_then(Event::report);
        let this = self.current.as_mut().filter(|_| ends && lost.is_none()).and_then(Event::report);
        lost.or(this)
    }

    /// Handle the timestamp of an audio packet: an event whose end should have come by now has ended.
    pub(super) fn on_audio(&mut self, timestamp: u32) -> Option<DtmfDigit> {
        let event = self.current.as_mut().filter(|e| !e.reported)?;
        let elapsed = timestamp.wrapping_sub(event.timestamp) as i32;
        // Three packets later than the event's known duration: beyond reordering.
        if elapsed > i32::from(event.duration) + 480 { event.report() } else { None }
    }

    /// Whether the peer has sent telephone-events.
    pub(super) fn has_seen_events(&self) -> bool {
        self.current.is_some()
    }

    /// The source has changed.
    pub(super) fn reset(&mut self) {
        self.current = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(
        detector: &mut EventDetector,
        code: u8,
        timestamp: u32,
        duration: u16,
        end: u8,
    ) -> Option<DtmfDigit> {
        let [d0, d1] = duration.to_be_bytes();
        detector.on_event(timestamp, &[code, (end << 7) | 0x0a, d0, d1])
    }

    #[test]
    fn three_end_packets_are_one_digit() {
        let mut detector = EventDetector::default();
        assert_eq!(event(&mut detector, 11, 1_000, 160, 0), None);
        assert_eq!(event(&mut detector, 11, 1_000, 800, 1), Some(DtmfDigit { digit: '#', millis: 100 }));
        assert_eq!(event(&mut detector, 11, 1_000, 800, 1), None);
        assert_eq!(event(&mut detector, 11, 1_000, 640, 0), None);
        // The same key again is a new event; a packet of the first event is late.
        assert_eq!(event(&mut detector, 11, 3_000, 800, 1).map(|p| p.digit), Some('#'));
        assert_eq!(event(&mut detector, 11, 1_000, 800, 1), None);
    }

    #[test]
    fn a_digit_whose_end_packets_were_lost_is_reported_with_a_later_packet() {
        let mut detector = EventDetector::default();
        event(&mut detector, 1, 1_000, 400, 0);
        assert_eq!(detector.on_audio(1_700), None);
        assert_eq!(detector.on_audio(2_000), Some(DtmfDigit { digit: '1', millis: 50 }));
        assert_eq!(detector.on_audio(2_160), None);
        event(&mut detector, 2, 4_000, 400, 0);
        assert_eq!(event(&mut detector, 3, 9_000, 160, 0), Some(DtmfDigit { digit: '2', millis: 50 }));
        assert_eq!(event(&mut detector, 16, 20_000, 160, 1).map(|p| p.digit), Some('3'));
        assert_eq!(detector.on_event(1, &[1, 2]), None);
    }
}
