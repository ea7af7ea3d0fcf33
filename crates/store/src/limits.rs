//! How long the database is waited for, and how much is asked of it at once.

use std::time::Duration;

/// How long a request waits for its turn with SQLite before it is told that there is none: an import may hold the writer for seconds.
pub(crate) const LITE_PATIENCE: Duration = Duration::from_secs(5);
/// Readers beside the one writer of SQLite.
pub(crate) const LITE_READERS: u32 = 4;
/// What each of them keeps of the database's pages, in SQLite's words: 512 KiB.
pub(crate) const LITE_READER_CACHE: &str = "-512";
/// How long PostgreSQL may take to give a connection that answers: who asks the API is told within a second that the database is away.
pub(crate) const PATIENCE: Duration = Duration::from_millis(700);
/// For so long nobody asks a PostgreSQL again that was just found away.
pub(crate) const BREATH: Duration = Duration::from_millis(300);
/// How long one statement may take. (A connection that did answer seldom stops in the middle of its work.)
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// How long the first connection to PostgreSQL may take.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);
/// Connections to PostgreSQL of one node: the feeder's, the office's, and some readers'.
pub(crate) const CONNECTIONS: u32 = 8;
/// Calls of one number's prefix, made and received, that are sorted for a page.
pub(crate) const RARE: u32 = 2000;
/// The newest calls that are looked through for each one of a page, where a prefix is not rare.
pub(crate) const LOOKED_THROUGH: u32 = 120;
/// Numbers with one prefix, called or calling, whose newest calls are merged for a page: an arm of the statement for each.
pub(crate) const FEW_NUMBERS: u32 = 16;
/// Bytes of a number that are kept with its call: PostgreSQL indexes nothing that has more than 2,704 with all that stands beside it, and a
/// record that it refuses would keep all later ones waiting.
pub(crate) const NUMBER_BYTES: usize = 255;
/// Values in one statement of a move: PostgreSQL takes 65,535.
pub(crate) const MOVED_VALUES: usize = 8_000;
