//! Every limit of this crate, with the reason for it.

/// Contacts of one address of record (security.md row 6).
pub const BINDINGS_PER_AOR: usize = 10;
/// Bytes of a contact's URI: phones write a hundred or two, and it is the key of a row, of which PostgreSQL takes 2,704 bytes with all that
/// stands beside it.
pub const CONTACT_BYTES: usize = 1024;
/// Path URIs of one binding: proxies between a phone and us.
pub const PATHS: usize = 8;
/// Bindings in all: what the memory of a small machine holds.
pub const BINDINGS: usize = 500_000;
/// Calls alive at once.
pub const CALLS: usize = 20_000;
/// Diversions of one call (S71).
pub const DIVERSIONS: usize = 5;
/// Legs of one call, those that are over too: five diversions to extensions with several phones each.
pub const LEGS_PER_CALL: usize = 64;
/// Between two records of the journal that say that we live: by less than a second a call that a crash has ended may be too short.
pub const ALIVE: std::time::Duration = std::time::Duration::from_millis(500);
/// Bytes of a call's ladder; older messages stay, later ones are counted only.
pub const LADDER_BYTES: usize = 64 * 1024;
/// The longest message (S72).
pub const MESSAGE: std::time::Duration = std::time::Duration::from_secs(180);
/// The longest greeting.
pub const GREETING: std::time::Duration = std::time::Duration::from_secs(60);
/// Silence that ends a message.
pub const QUIET: std::time::Duration = std::time::Duration::from_secs(5);
/// Milliseconds of sound below which nobody has said anything: a cough, a receiver that is put down.
pub const SOUND_MILLIS: u32 = 500;
/// How long a key has to be held that comes as a tone while a message is spoken: a person presses for a tenth of a second and more, what a
/// voice imitates is shorter.
pub const KEY_WITHIN_SPEECH_MILLIS: u16 = 60;
/// Messages that a menu walks through: numbers are spoken up to 99.
pub const MENU_ENTRIES: usize = 99;
/// Subscriptions of one account (security.md row 14).
pub const SUBSCRIPTIONS_PER_ACCOUNT: usize = 100;
/// NOTIFYs under way to phones that did not subscribe.
pub const NOTIFIES: usize = 10_000;
/// Sources and accounts that the guard remembers.
pub const GUARD_ENTRIES: usize = 65_536;
/// Wrong answers a minute from one source against one account.
pub const WRONG_PER_PAIR: u32 = 10;
/// Wrong answers a minute from one source.
pub const WRONG_PER_SOURCE: u32 = 100;
/// Wrong answers, and bans, that are told as events in one minute.
pub const WRONG_ANSWERS_TOLD: u32 = 60;
/// Bans that can be listed at once: more than anybody reads.
pub const BANS_LISTED: usize = 1_000;
/// Connections remembered as gone: more than a server holds at once.
pub const DEAD_FLOWS: usize = 65_536;
/// How long a call waits for a phone whose connection broke: phones come back within a second or two, and a caller who hears nothing
/// hangs up after about five.
pub const FLOW_RETURN: std::time::Duration = std::time::Duration::from_secs(5);
/// Click-to-calls that wait for a device at once.
pub const WAITING: usize = 1_000;
/// Bytes of an INFO that goes from one party to the other: a digit, or a wish for a picture.
pub const INFO_BYTES: usize = 1024;
/// How long a call waits for its turn on a trunk that takes so many a second: longer than that, people hang up.
pub const TRUNK_QUEUE: std::time::Duration = std::time::Duration::from_secs(5);
/// Hosts that one call tries at most: nobody waits for more.
pub const TRUNK_ATTEMPTS: u8 = 8;
/// Things of one kind that are due and that one tick does; the next follows at once.
pub const TICK_BATCH: usize = 256;
/// Parts of long tasks that one tick does.
pub const BACKLOG_BATCH: usize = 64;
/// Calls in one answer to [`crate::Command::Calls`].
pub const CALLS_LISTED: usize = 256;
/// User names that one [`crate::Command::Registrations`] looks at.
pub const NAMES_LISTED: usize = 1_000;
/// Recordings that run at once, and those whose files are being closed.
pub const RECORDINGS: usize = 4_096;
