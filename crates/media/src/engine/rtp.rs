//! The RTP header (RFC 3550 §5.1): parsing untrusted packets, and rewriting in place.

use std::ops::Range;

/// The fields of an RTP header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) marker: bool,
    pub(super) payload_type: u8,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    /// Range of the payload, without header extension and padding.
    pub(super) payload: Range<usize>,
}

/// What a payload type carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum PayloadKind {
    /// Not negotiated.
    #[default]
    Unknown,
    Audio,
    /// telephone-event/8000.
    Event,
}

/// A jump of the sequence number by this much is a restart of the sender, not loss (RFC 3550 §A.1).
const MAX_DROPOUT: u16 = 3_000;
/// A packet at most this far behind is late; one further behind is a restart of the sender (RFC 3550 §A.1).
const MAX_MISORDER: u16 = 100;

/// Whether `sequence` neither follows `highest` after a loss nor is a late packet (RFC 3550 §A.1).
pub(super) fn is_out_of_sequence(highest: u16, sequence: u16) -> bool {
    let ahead = sequence.wrapping_sub(highest);
    (MAX_DROPOUT..=u16::MAX - MAX_MISORDER).contains(&ahead)
}

/// Bytes of a header without CSRC list and extension.
pub(super) const HEADER: usize = 12;

/// Whether a packet on a shared port is RTCP (RFC 5761 §4).
pub(super) fn is_rtcp(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|second| (192..=223).contains(second))
}

/// Parse a header. `None`: not RTP.
pub(super) fn parse(packet: &[u8]) -> Option<Header> {
    let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *packet.first_chunk::<HEADER>()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut start = HEADER + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let [_, _, high, low] = *packet.get(start..)?.first_chunk::<4>()?;
        start += 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
    }
    let padding = if first & 0x20 == 0 { 0 } else { usize::from(*packet.last()?) };
    let end = packet.len().checked_sub(padding)?;
    if start > end {
        return None;
    }
    Some(Header {
        marker: second & 0x80 != 0,
        payload_type: second & 0x7f,
        sequence: u16::from_be_bytes([s0, s1]),
        timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
        ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
        payload: start..end,
    })
}

/// Overwrite the fields of a packet's header with `header`. Version, padding, extension and CSRC bits stay as they are.
pub(super) fn rewrite(packet: &mut [u8], header: &Header) {
    let Some(bytes) = packet.first_chunk_mut::<HEADER>() else { return };
    let [s0, s1] = header.sequence.to_be_bytes();
    let [t0, t1, t2, t3] = header.timestamp.to_be_bytes();
    let [c0, c1, c2, c3] = header.ssrc.to_be_bytes();
    let second = u8::from(header.marker) << 7 | header.payload_type;
    let [first, ..] = *bytes;
    *bytes = [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_csrc_and_padding_are_not_payload() {
        let mut packet =
            vec![0xb1, 0x80, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9, 9, 9, 0xbe, 0xde, 0, 1, 7, 7, 7, 7];
        packet.extend([1, 2, 3, 0, 0, 3]);
        let header = parse(&packet).unwrap();
        assert_eq!(
            (header.payload.clone(), header.marker, header.sequence, header.ssrc),
            (24..27, true, 1, 3)
        );
        packet.truncate(23);
        assert_eq!(parse(&packet), None);
        assert_eq!(parse(&[0x80; 11]), None);
        assert_eq!(parse(&[0x40; 40]), None);
    }

    #[test]
    fn rewriting_leaves_the_first_byte_and_the_payload() {
        let mut packet = [0x81; 20];
        let header =
            Header { marker: true, payload_type: 8, sequence: 7, timestamp: 9, ssrc: 11, payload: 16..20 };
        rewrite(&mut packet, &header);
        assert_eq!((parse(&packet), packet[0], packet[16]), (Some(header), 0x81, 0x81));
    }
}
