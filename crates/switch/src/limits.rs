//! Every limit of this crate, with the reason for it.

/// Contacts of one address of record.
pub const BINDINGS_PER_AOR: usize = 10;
/// Bytes of a Contact URI. Phones write 100 to 200; the URI is part of a row's key, which PostgreSQL limits to 2,704 bytes in total.
pub const CONTACT_BYTES: usize = 1024;
/// Path URIs of one binding (RFC 3327): the proxies between a phone and the server.
pub const PATHS: usize = 8;
/// Bindings in total, as many as fit the memory of a small machine.
pub const BINDINGS: usize = 500_000;
/// Simultaneous calls.
pub const CALLS: usize = 20_000;
/// Diversions of one call (S71).
pub const DIVERSIONS: usize = 5;
/// Legs of one call, including ended ones: five diversions to extensions with several phones each.
pub const LEGS_PER_CALL: usize = 64;
/// Interval of the journal's liveness records while calls are up. After a crash, a call's CDR ends at most this much too early.
pub const ALIVE: std::time::Duration = std::time::Duration::from_millis(500);
/// Bytes of a call's SIP ladder; messages that do not fit are not kept.
pub const LADDER_BYTES: usize = 64 * 1024;
/// Maximum length of a voicemail message (S72).
pub const MESSAGE: std::time::Duration = std::time::Duration::from_secs(180);
/// Maximum length of a greeting.
pub const GREETING: std::time::Duration = std::time::Duration::from_secs(60);
/// Silence that ends a voicemail recording.
pub const QUIET: std::time::Duration = std::time::Duration::from_secs(5);
/// Milliseconds of sound below which a recording counts as empty: a cough, or the handset being put down.
pub const SOUND_MILLIS: u32 = 500;
/// Minimum duration in milliseconds of an in-band DTMF tone while the caller speaks. A key press lasts 100 ms or more; speech that imitates a
/// tone is shorter.
pub const KEY_WITHIN_SPEECH_MILLIS: u16 = 60;
/// Messages listed by the voicemail menu: numbers are spoken up to 99.
pub const MENU_ENTRIES: usize = 99;
/// MWI subscriptions of one account.
pub const SUBSCRIPTIONS_PER_ACCOUNT: usize = 100;
/// Pending NOTIFY requests to phones without a subscription.
pub const NOTIFIES: usize = 10_000;
/// Source and account entries kept per table of the guard.
pub const GUARD_ENTRIES: usize = 65_536;
/// Wrong answers per minute from one source against one account.
pub const WRONG_PER_PAIR: u32 = 10;
/// Wrong answers per minute from one source.
pub const WRONG_PER_SOURCE: u32 = 100;
/// Wrong answers and bans reported as events per minute.
pub const WRONG_ANSWERS_TOLD: u32 = 60;
/// Bans kept for listing.
pub const BANS_LISTED: usize = 1_000;
/// Closed flows remembered: more than the connections a server has open at once.
pub const DEAD_FLOWS: usize = 65_536;
/// How long a call waits for a phone whose connection closed. Phones reconnect within a second or two; a caller in silence hangs up
/// after about five.
pub const FLOW_RETURN: std::time::Duration = std::time::Duration::from_secs(5);
/// Click-to-call calls that wait for a device at the same time.
pub const WAITING: usize = 1_000;
/// Bytes of an INFO body relayed between the parties: a DTMF digit, or a request for a video picture update.
pub const INFO_BYTES: usize = 1024;
/// How long a call waits on a trunk that limits calls per second; callers do not wait longer.
pub const TRUNK_QUEUE: std::time::Duration = std::time::Duration::from_secs(5);
/// Hosts tried per outbound call; callers do not wait for more.
pub const TRUNK_ATTEMPTS: u8 = 8;
/// Due items of one kind handled per tick; the next tick follows at once.
pub const TICK_BATCH: usize = 256;
/// Steps of long tasks done per tick.
pub const BACKLOG_BATCH: usize = 64;
/// Calls in one [`crate::Reply::Calls`].
pub const CALLS_LISTED: usize = 256;
/// User names examined by one [`crate::Command::Registrations`].
pub const NAMES_LISTED: usize = 1_000;
/// Recordings at the same time, including those whose files are being closed.
pub const RECORDINGS: usize = 4_096;
