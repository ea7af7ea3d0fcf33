//! The four transaction state machines of RFC 3261 §17 with RFC 6026.
//!
//! A transaction stores the bytes of its messages and retransmits them unchanged. Events for a session or a request are returned as
//! [`ResponseOutcome`], [`Expired`] or [`AckOutcome`]; everything else is handled here.

mod client;
mod key;
mod server;
mod timers;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use base::{Instant, KeyedHash, KeyedMap, Rng};
use slab::Slab;

pub(crate) use client::{Client, ClientId, Owner, ResponseOutcome};
pub(crate) use key::{Key, Keys};
pub(crate) use server::{AckOutcome, Server, ServerId};
pub(crate) use timers::{Timer, Timers};

use crate::{Flow, SessionId};

/// The timers of RFC 3261's table 4, all multiples of T1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimerValues {
    /// RTT estimate.
    pub(crate) t1: Duration,
    /// Maximum retransmission interval for non-INVITE requests and INVITE responses.
    pub(crate) t2: Duration,
    /// Maximum time that a message stays in the network.
    pub(crate) t4: Duration,
    /// 64·T1: timers B, D, F, H, J, L and M.
    pub(crate) timeout: Duration,
}

impl TimerValues {
    fn new(t1: Duration) -> Self {
        TimerValues { t1, t2: t1 * 8, t4: t1 * 10, timeout: t1 * 64 }
    }
}

/// A transaction that timed out, if its user must know.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expired {
    /// No response: Timer B or F (408).
    Client { tx: ClientId, owner: Owner },
    /// Our rejection of an INVITE was never acknowledged: Timer H.
    Server { tx: ServerId, session: Option<SessionId> },
}

/// All transactions, and the timer queue of the endpoint.
#[derive(Debug)]
pub(crate) struct Transactions {
    clients: Slab<Client>,
    servers: Slab<Server>,
    client_keys: KeyedMap<Key, u32>,
    server_keys: KeyedMap<Key, u32>,
    /// INVITEs by merge key, to detect the same request arriving over another path (RFC 3261 §8.2.2.2).
    merged: KeyedMap<Key, u32>,
    /// Client transactions by flow and destination, to find those affected by a transport failure.
    by_destination: BTreeSet<(Flow, SocketAddr, u32)>,
    serial: u32,
    pub(crate) timers: Timers,
    pub(crate) timer_values: TimerValues,
    buf: Vec<u8>,
}

impl Transactions {
    pub(crate) fn new(t1: Duration, rng: &mut Rng) -> Self {
        let hash = KeyedHash::new(rng);
        Transactions {
            clients: Slab::new(),
            servers: Slab::new(),
            client_keys: KeyedMap::with_hasher(hash),
            server_keys: KeyedMap::with_hasher(hash),
            merged: KeyedMap::with_hasher(hash),
            by_destination: BTreeSet::new(),
            serial: 0,
            timers: Timers::default(),
            timer_values: TimerValues::new(t1),
            buf: Vec::new(),
        }
    }

    /// Number of transactions.
    pub(crate) fn len(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }
}

/// A retransmission schedule: the next time, and the interval before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retransmission {
    pub(crate) at: Instant,
    pub(crate) interval: Duration,
}

impl Retransmission {
    pub(crate) fn first(now: Instant, t1: Duration) -> Self {
        Retransmission { at: now + t1, interval: t1 }
    }

    /// The following retransmission: twice the interval, at most `cap`.
    pub(crate) fn next(self, now: Instant, cap: Duration) -> Self {
        let interval = (self.interval * 2).min(cap);
        Retransmission { at: now + interval, interval }
    }
}
