//! Every limit of the shell, with the reason for it.

use std::time::Duration;

/// Datagrams that are taken from one socket before the others have their turn.
pub const DATAGRAMS_PER_TURN: usize = 64;
/// Commands, frames and media events, each, that are taken in one turn.
pub const INPUTS_PER_TURN: usize = 256;
/// Frames that connections may have in flight towards the exchange; beyond it they stop reading.
pub const FRAMES_IN_FLIGHT: usize = 4096;
/// Commands that may wait for the exchange; beyond it the asker is told that we are busy.
pub const COMMANDS_IN_FLIGHT: usize = 4096;
/// Messages that may wait for a slow connection; one more closes it.
pub const FRAMES_PER_CONNECTION: usize = 256;
/// Connections to carriers that we have opened ourselves: more than any house has hosts of trunks.
pub const DIALLED: usize = 256;
/// How long a carrier may take to accept one; the exchange turns to another host before.
pub const DIAL: Duration = Duration::from_secs(5);
/// How long a command waits for its answer: the exchange answers in microseconds unless it is gone.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that the kernel holds for a UDP listener: half a second of a flood of registrations.
pub const SOCKET_BUFFER: usize = 8 * 1024 * 1024;
/// Delivery errors that are read from one socket in one turn.
pub const ERRORS_PER_TURN: usize = 32;
/// Bytes of a journal segment before the next one begins.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes that are allocated on the disk ahead of what the journal has written: some 25,000 registrations.
pub const JOURNAL_AHEAD: u64 = 8 * 1024 * 1024;
/// … in steps of so many.
pub const JOURNAL_STEP: u64 = 1024 * 1024;
/// The last of them are for the calls that are up: below, nothing new is taken on.
pub const JOURNAL_LAST: u64 = 2 * 1024 * 1024;
/// Bytes of records that wait in memory for a journal that cannot be written at all.
pub const JOURNAL_OWED: usize = 8 * 1024 * 1024;
/// Closed journal segments that may wait for the database before they are rewritten without what is outdated.
pub const SEGMENTS_WAITING: usize = 4;
/// Calls, recordings and notes that wait for the database in memory: a few tens of megabytes with their ladders. More are read from the journal again.
pub const CALLS_WAITING: usize = 5_000;
/// Bytes of one journal record: the largest is a ladder.
pub const RECORD_BYTES: usize = 1024 * 1024;
/// Connections to the API at once.
pub const HTTP_CONNECTIONS: u32 = 1024;
/// The same of one source: a proxy in front of us may have many, and nobody may have all.
pub const HTTP_CONNECTIONS_PER_SOURCE: u32 = 256;
/// A request's head must be complete after this, and a kept connection must ask again within it.
pub const HTTP_HEAD: Duration = Duration::from_secs(10);
/// Occurrences that nobody holds, taken over in one turn.
pub const OCCURRENCES_PER_SWEEP: u32 = 100;
/// How long calls may take to end when the process is asked to stop.
pub const DRAIN: Duration = Duration::from_secs(30);

/// What one connection may do (security.md row 16).
#[derive(Clone, Copy, Debug)]
pub struct ConnLimits {
    /// A message that has begun must be complete after this (slowloris).
    pub head: Duration,
    /// A connection that has not registered may be silent for so long.
    pub stranger_idle: Duration,
    /// One that has registered may be silent for so long; keep-alives count as speech.
    pub idle: Duration,
    /// A message of ours must have left after this.
    pub write: Duration,
    /// Connections of one source address.
    pub per_source: u32,
    /// Connections in all.
    pub total: u32,
}

impl Default for ConnLimits {
    fn default() -> Self {
        ConnLimits {
            head: Duration::from_secs(10),
            stranger_idle: Duration::from_secs(30),
            idle: Duration::from_secs(30 * 60),
            write: Duration::from_secs(10),
            per_source: 32,
            total: 10_000,
        }
    }
}
