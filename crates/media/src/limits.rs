//! Limits of this crate, each with its reason.

/// Bytes of an RTP or RTCP packet: what fits an Ethernet frame.
pub const PACKET_BYTES: usize = 1500;
/// Bytes of a session description.
pub const SDP_BYTES: usize = 64 * 1024;
/// Media sections of a description.
pub const SDP_MEDIA: usize = 16;
/// Payload types of one media section.
pub const SDP_PAYLOADS: usize = 64;
/// Lines of a session description; the longest ones of browsers stay below 300.
pub const SDP_LINES: usize = 1_000;
/// Packets in sequence before an address that SDP did not name is latched: fewer than the five packets of call set-up in which a phone has to be
/// heard, and more than an attacker who sprays ports sends from one address.
pub const PROBATION: u8 = 4;
/// The same for another port of the host that both SDP and signalling name: half a second, acceptable for a phone whose port was changed by a NAT.
pub const NAT_PROBATION: u8 = 24;
/// The same for a host that neither SDP nor signalling names, where SDP's address is private and silent (media behind an edge proxy): a second.
pub const UNNAMED_PROBATION: u8 = 50;
/// Unlatched source addresses that are tracked at the same time.
pub const LATCH_CANDIDATES: usize = 4;
/// Packets per second and stream: ten times the rate of 20 ms packets. Bounds a flood, and a loop between two of our own ports.
pub const PACKETS_PER_SECOND: u16 = 500;
/// Streams handled in one tick; the others follow in the next one.
pub const TICK_STREAMS: usize = 256;
/// Packets that a late tone sends at once to catch up; anything older is skipped.
pub const TONE_CATCH_UP: u32 = 3;
/// Queued clips of one stream: the longest announcement is a sentence with numbers.
pub const PLAY_QUEUE: usize = 64;
/// Samples of a recording's block: 100 ms at 8 kHz.
pub const RECORD_BLOCK: usize = 800;
/// Samples that a recording waits for late packets: 300 ms, more than the jitter buffer of a phone.
pub const RECORD_LATENESS: u64 = 2_400;
/// Samples buffered per channel of a recording: the wait for late packets, a block, and a burst of packets.
pub const RECORD_WINDOW: usize = 16_384;
/// Samples by which a timestamp may be ahead of the clock before the channel is aligned anew: 200 ms, by which the first packet may have been late.
pub const RECORD_DRIFT: u64 = 1_600;
/// Recordings of one worker at the same time.
pub const RECORDINGS: usize = 4_096;
