//! Timeouts and sizes of database requests.

use std::time::Duration;

/// How long a request waits for SQLite's writer before it fails: an import may hold it for seconds.
pub(crate) const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// SQLite connections for reading, beside the one writer.
pub(crate) const SQLITE_READERS: u32 = 4;
/// Page cache of each reader, as SQLite's `cache_size`: 512 KiB.
pub(crate) const SQLITE_READER_CACHE: &str = "-512";
/// Timeout to acquire a PostgreSQL connection: an API request fails within a second while the database is unreachable.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(700);
/// How long requests fail at once after PostgreSQL was found unreachable.
pub(crate) const CIRCUIT_OPEN: Duration = Duration::from_millis(300);
/// Timeout of one statement. (A connection that answered seldom fails in the middle of its work.)
pub(crate) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of the first connection to PostgreSQL.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// PostgreSQL connections of one node: for the journal feeder, the directory service, and some readers.
pub(crate) const MAX_CONNECTIONS: u32 = 8;
/// Maximum number of calls that match a number prefix, called or calling, to sort all of them for a page.
pub(crate) const FEW_CALLS: u32 = 2000;
/// Number of the newest calls scanned for each row of a page, where more calls match the prefix.
pub(crate) const SCAN_FACTOR: u32 = 120;
/// Maximum number of distinct numbers with one prefix whose newest calls are merged for a page: each is an arm of the statement.
pub(crate) const FEW_NUMBERS: u32 = 16;
/// Bytes of a number that are stored with its call: PostgreSQL refuses index entries of more than 2,704 bytes, and a record that it refuses
/// would block all later ones.
pub(crate) const NUMBER_BYTES: usize = 255;
/// Parameters of one statement of a copy; PostgreSQL's maximum is 65,535.
pub(crate) const COPY_PARAMETERS: usize = 8_000;
