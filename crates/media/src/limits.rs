//! Every limit of this crate, with the reason for it.

/// Bytes of an RTP or RTCP packet: what fits an Ethernet frame.
pub const PACKET_BYTES: usize = 1500;
/// Bytes of a session description.
pub const SDP_BYTES: usize = 64 * 1024;
/// Media sections of a description.
pub const SDP_MEDIA: usize = 16;
/// Payload types of one media section.
pub const SDP_PAYLOADS: usize = 64;
/// Lines of a description; a browser's longest stay below 300.
pub const SDP_LINES: usize = 1_000;
/// Packets in sequence before a source that SDP did not name is believed: within the five of the set-up race, and more than a spray sends.
pub const SOURCE_RUN: u8 = 4;
/// The same where SDP names the host that signals, but another port of it: half a second, which a phone whose port a NAT moved can bear.
pub const PATIENT_RUN: u8 = 24;
/// Unnamed sources that are watched at once.
pub const SOURCE_CANDIDATES: usize = 4;
/// Packets per second and stream: ten times what 20 ms of audio needs. Caps a flood, and a loop that somebody builds out of our own ports.
pub const PACKETS_PER_SECOND: u16 = 500;
/// Streams that one tick serves; the rest comes with the next.
pub const TICK_STREAMS: usize = 256;
/// Packets that a late tone may make up for in one tick; what is later is skipped.
pub const TONE_CATCH_UP: u32 = 3;
/// Clips that wait for their turn on one stream: the longest announcement is a sentence of numbers.
pub const PLAY_QUEUE: usize = 64;
/// Samples of a recording's block: 100 ms at 8 kHz.
pub const RECORD_BLOCK: usize = 800;
/// Samples that a recording waits for late packets: 300 ms, beyond what a phone's own buffer rides out.
pub const RECORD_PATIENCE: u64 = 2_400;
/// Samples that a recording holds of each side: its patience, a block, and packets that come in a burst.
pub const RECORD_WINDOW: usize = 16_384;
/// Samples by which a peer's audio may come before its time until it is placed anew: 200 ms, what the first packet may have been late.
pub const RECORD_DRIFT: u64 = 1_600;
/// Recordings of one worker.
pub const RECORDINGS: usize = 4_096;
