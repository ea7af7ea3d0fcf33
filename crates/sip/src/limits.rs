//! Every limit of this crate, with its reason.

use std::time::Duration;

/// Maximum length of a message head (start line and headers), in bytes. Larger than what any phone sends.
pub const HEAD_BYTES: usize = 64 * 1024;
/// Maximum length of a body, in bytes.
pub const BODY_BYTES: usize = 256 * 1024;
/// Maximum length of a body on a connection whose peer has not authenticated, in bytes. SDP is a few kilobytes long, and thousands of unauthenticated
/// connections may each buffer one body.
pub const UNAUTHENTICATED_BODY_BYTES: usize = 16 * 1024;
/// Maximum number of parts of a multipart body; later ones are ignored.
pub const BODY_PARTS: usize = 32;
/// Maximum nesting of multipart bodies; deeper ones stay whole.
pub const BODY_DEPTH: usize = 4;
/// Maximum number of header lines in one message.
pub const HEADERS: usize = 256;
/// Maximum number of Via values in one message. Max-Forwards starts at 70, so no legitimate message has more.
pub const VIAS: usize = 70;
/// Maximum length of a method name, in bytes. RFC 4475 §3.1.1.2 has one of 43; real ones are much shorter.
pub const METHOD_BYTES: usize = 64;
/// Maximum length of a URI, in bytes.
pub const URI_BYTES: usize = 8 * 1024;
/// Maximum length of an Authorization value, in bytes: four times that of the most verbose client.
pub const CREDENTIALS_BYTES: usize = 4 * 1024;
/// Maximum number of nonces whose nonce counts are stored. Beyond it the oldest is evicted, and its next use is answered `stale=true`.
pub const NONCES: usize = 262_144;
/// Maximum number of concurrent transactions. Beyond it new requests get 503.
pub const TRANSACTIONS: usize = 200_000;
/// Maximum number of concurrent INVITE sessions. Beyond it new INVITEs get 503.
pub const SESSIONS: usize = 50_000;
/// Maximum number of concurrent subscriptions. Beyond it new ones get 503.
pub const SUBSCRIPTIONS: usize = 50_000;
/// Maximum number of early dialogs per INVITE that we sent. Later ones are ignored until one of them answers.
pub const EARLY_DIALOGS: usize = 16;
/// Maximum number of cached final responses to requests without a transaction (REGISTER).
pub const CACHED_RESPONSES: usize = 16_384;
/// Maximum length of a cached response, in bytes: room for ten contacts. A full cache stays below 64 MB.
pub const CACHED_RESPONSE_BYTES: usize = 4 * 1024;
/// A response to an unauthenticated UDP request is at most this many times as long as the request, so that we do not amplify attacks (security.md row
/// 12).
pub const RESPONSE_FACTOR: usize = 3;
/// Average interval between responses to a source that has never authenticated: 500 responses a second. With 700 bytes for a challenge that is 3
/// Mbit/s, too little to flood any link, and an attacker has to send at least half of it.
pub const RESPONSE_INTERVAL: Duration = Duration::from_millis(2);
/// How far ahead of that average a source may be: a burst of 20,000 responses. So many phones behind one address may reconnect at the same instant
/// (power restored in a building) and all be challenged before the first one has authenticated; from then on the source is not limited.
pub const RESPONSE_BURST: Duration = Duration::from_secs(40);
/// How long a source stays exempt after a successful authentication: the longest registration lifetime, so that an office with registered phones is
/// never limited.
pub const AUTH_MEMORY: Duration = Duration::from_hours(2);
/// Maximum number of sources stored for the limiter, in each of two generations: about 5 MB in total. An evicted source starts anew.
pub const RESPONSE_SOURCES: usize = 65_536;
/// Maximum number of concurrent DNS lookups. Beyond it a name counts as unreachable.
pub const LOOKUPS: usize = 10_000;
/// Maximum number of DNS questions per lookup, so that a hostile zone cannot make a lookup endless.
pub const QUESTIONS: usize = 24;
/// Maximum number of candidates that one lookup returns.
pub const CANDIDATES: usize = 16;
/// Maximum number of cached DNS answers. Beyond it the one that expires first is evicted.
pub const DNS_ANSWERS: usize = 4_096;
/// Maximum number of addresses marked as unreachable.
pub const PENALTIES: usize = 1_024;
