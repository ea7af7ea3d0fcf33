//! Limits of the server crate, each with its reason.

use std::time::Duration;

/// Datagrams read from one socket per loop iteration, so that the other sockets get their share.
pub const DATAGRAMS_PER_ITERATION: usize = 64;
/// Messages, and connection events, handled per loop iteration (each).
pub const INPUTS_PER_ITERATION: usize = 256;
/// Events of connections that may wait for the switch thread; beyond it connections stop reading.
pub const FRAMES_IN_FLIGHT: usize = 4096;
/// Commands that may wait for the switch thread; beyond it commands are refused.
pub const COMMANDS_IN_FLIGHT: usize = 4096;
/// Messages that may wait for a slow connection; one more closes the connection.
pub const FRAMES_PER_CONNECTION: usize = 256;
/// Outbound connections to trunk hosts: more than any site has hosts.
pub const OUTBOUND_CONNECTIONS: usize = 256;
/// Connect timeout to a trunk host; the switch fails over to another host earlier.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a command: the switch answers in microseconds unless its thread has ended.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// Receive buffer of a UDP listener, bytes: half a second of a registration flood.
pub const SOCKET_BUFFER: usize = 8 * 1024 * 1024;
/// Delivery errors (ICMP) read from one socket per loop iteration.
pub const ERRORS_PER_ITERATION: usize = 32;
/// Bytes of a journal segment at which the next one is started.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes that are allocated on the disk ahead of the journal's end: some 25,000 registrations.
pub const JOURNAL_AHEAD: u64 = 8 * 1024 * 1024;
/// Allocation step, bytes.
pub const JOURNAL_STEP: u64 = 1024 * 1024;
/// Below this many allocated bytes no new calls or registrations are accepted: the rest is reserved for calls that are up.
pub const JOURNAL_RESERVED: u64 = 2 * 1024 * 1024;
/// Bytes of records that may wait in memory while the journal cannot be written.
pub const JOURNAL_BUFFER: usize = 8 * 1024 * 1024;
/// Closed journal segments that may wait for the database; beyond it they are compacted.
pub const SEGMENTS_WAITING: usize = 4;
/// Calls, recordings and call events that wait for the database in memory: a few tens of megabytes with their ladders. Further ones are read
/// from the journal again.
pub const CALLS_WAITING: usize = 5_000;
/// Bytes of one journal record: the largest is a ladder.
pub const RECORD_BYTES: usize = 1024 * 1024;
/// Connections to the API, in total.
pub const HTTP_CONNECTIONS: u32 = 1024;
/// Connections to the API per source address: a proxy may need many, but no single source may use all.
pub const HTTP_CONNECTIONS_PER_SOURCE: u32 = 256;
/// A request's header must be complete after this time, and a keep-alive connection must send its next request within it.
pub const HTTP_HEAD: Duration = Duration::from_secs(10);
/// Occurrences without an owner that are taken over per sweep.
pub const OCCURRENCES_PER_SWEEP: u32 = 100;
/// How long a graceful stop waits for calls to end.
pub const DRAIN: Duration = Duration::from_secs(30);

/// Limits of one connection (slowloris, idle connections, connection floods).
#[derive(Clone, Copy, Debug)]
pub struct ConnLimits {
    /// A message that has started must be complete after this time (slowloris).
    pub head: Duration,
    /// Idle timeout of a connection before its peer has authenticated.
    pub unauthenticated_idle: Duration,
    /// Idle timeout of an authenticated connection; keep-alives count as traffic.
    pub idle: Duration,
    /// Write timeout of one message.
    pub write: Duration,
    /// Connections per source address.
    pub per_source: u32,
    /// Connections in total.
    pub total: u32,
}

impl Default for ConnLimits {
    fn default() -> Self {
        ConnLimits {
            head: Duration::from_secs(10),
            unauthenticated_idle: Duration::from_secs(30),
            idle: Duration::from_secs(30 * 60),
            write: Duration::from_secs(10),
            per_source: 32,
            total: 10_000,
        }
    }
}
