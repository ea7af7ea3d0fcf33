//! Every limit of this crate, with the reason for it.

use std::time::Duration;

/// Bytes of a head (start line and headers): room for any phone's message, no room for a flood.
pub const HEAD_BYTES: usize = 64 * 1024;
/// Bytes of a body.
pub const BODY_BYTES: usize = 256 * 1024;
/// Bytes of a body on a connection whose peer has not proved who it is: descriptions are a few kilobytes long, and thousands of strangers may
/// each hold so much.
pub const STRANGER_BODY_BYTES: usize = 16 * 1024;
/// Header lines of one message.
pub const HEADERS: usize = 256;
/// Via values of one message: Max-Forwards begins at 70, so nothing honest has more.
pub const VIAS: usize = 70;
/// Bytes of a method: RFC 4475 §3.1.1.2 has one of 43, and no real one comes near.
pub const METHOD_BYTES: usize = 64;
/// Bytes of a URI.
pub const URI_BYTES: usize = 8 * 1024;
/// Bytes of an Authorization value: four times what the longest client writes.
pub const CREDENTIALS_BYTES: usize = 4 * 1024;
/// Nonces whose counts are remembered at once; beyond it the oldest is forgotten, and its next use is answered `stale=true`.
pub const NONCES: usize = 262_144;
/// Transactions alive at once; beyond it new requests get 503.
pub const TRANSACTIONS: usize = 200_000;
/// INVITE sessions alive at once; beyond it new INVITEs get 503.
pub const SESSIONS: usize = 50_000;
/// Subscriptions alive at once; beyond it new ones get 503.
pub const SUBSCRIPTIONS: usize = 50_000;
/// Early dialogs that one INVITE of ours may open; later ones are ignored until one answers.
pub const EARLY_DIALOGS: usize = 16;
/// Final answers kept for retransmitted requests that opened no transaction (REGISTER).
pub const ANSWER_RING: usize = 16_384;
/// Bytes of an answer that is kept there: ten contacts fit, and a full ring stays below 64 MB.
pub const ANSWER_BYTES: usize = 4 * 1024;
/// What a stranger's datagram is answered with is at most so many times as long: we are no amplifier (security.md row 12).
pub const ANSWER_FACTOR: usize = 3;
/// How many answers an address gets that has never shown a password: 500 a second on the average. With 700 bytes for a challenge that is
/// 3 Mbit/s, which no line notices that is worth flooding, and whoever wants it sent must send half of it or more himself.
pub const ANSWER_INTERVAL: Duration = Duration::from_millis(2);
/// How far ahead of that average it may be: 20,000 answers at once. So many phones may come back behind one address in the same instant
/// (power failed in a building) and all be asked, before the first of them has answered; from then on none is counted.
pub const ANSWER_CREDIT: Duration = Duration::from_secs(40);
/// How long an address counts as that of a real phone after a password was shown from there: the longest registration, so that an office
/// whose phones are registered is never a stranger.
pub const PROOF_HOLDS: Duration = Duration::from_hours(2);
/// Addresses that are remembered for that, in each of two generations: some 5 MB in all. A forgotten stranger begins anew.
pub const ANSWER_SOURCES: usize = 65_536;
/// DNS lookups under way at once; beyond it a name counts as unreachable.
pub const LOOKUPS: usize = 10_000;
/// Questions that one lookup may ask: a hostile zone shall not make us walk for ever.
pub const QUESTIONS: usize = 24;
/// Candidates that one lookup yields.
pub const CANDIDATES: usize = 16;
/// DNS answers kept at once; beyond it the first to expire is forgotten.
pub const DNS_ANSWERS: usize = 4_096;
/// Addresses remembered as unreachable.
pub const PENALTIES: usize = 1_024;
