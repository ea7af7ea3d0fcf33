//! Pairs of ports, bound ahead of need at random places of the range: the switch hands out only what is really ours.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ::base::{Chance, Instant};
use ::media::Channel;

use super::MediaConfig;
use super::socket::MediaSocket;

/// Pairs kept free per listener: a burst of calls within one turn of the worker.
const FREE: usize = 64;
/// Pairs bound in one turn: packets wait meanwhile.
const BINDS_PER_TURN: usize = 16;
/// A closed stream's ports rest so long before another call gets them: the peer's last packets are over by then.
const QUARANTINE: Duration = Duration::from_secs(3);
/// Ports whose rest ends within so long go back together: the worker and the switch are woken once for all of them.
const GATHER_MICROS: u64 = 250_000;
/// After a bind failed, others of the range are tried at once, and that one after so long.
const RETRY: Duration = Duration::from_secs(30);

/// An even port and the odd one above it.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) rtp: MediaSocket,
    pub(super) rtcp: MediaSocket,
    listener: u16,
    port: u16,
}

impl Pair {
    #[inline]
    pub(super) fn socket(&self, channel: Channel) -> &MediaSocket {
        match channel {
            Channel::Rtp => &self.rtp,
            Channel::Rtcp => &self.rtcp,
        }
    }
}

/// The ports of one worker.
#[derive(Debug)]
pub(super) struct PortPool {
    listeners: Vec<Listener>,
    /// Even ports that are not bound.
    unbound: Vec<u16>,
    /// Even ports that somebody else has bound, and when to try them again.
    foreign: VecDeque<(Instant, u16)>,
    /// Bound, and known to the switch as free.
    free: BTreeMap<u16, Pair>,
    resting: VecDeque<(Instant, Pair)>,
    chance: Chance,
}

#[derive(Debug)]
struct Listener {
    index: u16,
    address: IpAddr,
    free: usize,
    /// Binding failed for another reason than a taken port (no descriptors, an address that is gone): not before then again.
    paused: Instant,
}

impl PortPool {
    /// The share of the range that worker `number` of `count` has.
    pub(super) fn new(config: &MediaConfig, number: usize, count: usize, chance: Chance) -> PortPool {
        let pairs = config.ports.clone().filter(|p| p % 2 == 0 && *p != 0 && p < config.ports.end());
        let listener = |(index, address): &(u16, IpAddr)| Listener {
            index: *index,
            address: *address,
            free: 0,
            paused: Instant::ZERO,
        };
        PortPool {
            listeners: config.listeners.iter().map(listener).collect(),
            unbound: pairs.skip(number).step_by(count).collect(),
            foreign: VecDeque::new(),
            free: BTreeMap::new(),
            resting: VecDeque::new(),
            chance,
        }
    }

    /// A stream begins on this port.
    pub(super) fn take(&mut self, port: u16) -> Option<Pair> {
        let pair = self.free.remove(&port)?;
        if let Some(listener) = self.listeners.iter_mut().find(|l| l.index == pair.listener) {
            listener.free -= 1;
        }
        pair.rtp.open();
        pair.rtcp.open();
        Some(pair)
    }

    /// A stream is over.
    pub(super) fn rest(&mut self, now: Instant, pair: Pair) {
        pair.rtp.idle();
        pair.rtcp.idle();
        let rested = (now + QUARANTINE).as_micros().next_multiple_of(GATHER_MICROS);
        self.resting.push_back((Instant::from_micros(rested), pair));
    }

    /// When [`PortPool::refill`] has something to do; `None` while nothing is missing.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let wanting = self.listeners.iter().filter(|l| l.free < FREE).map(|l| l.paused).min();
        let missing = wanting.filter(|_| !self.unbound.is_empty());
        let rested = self.resting.front().map(|(at, _)| *at);
        let foreign = self.foreign.front().map(|(at, _)| *at).filter(|_| wanting.is_some());
        [missing, rested, foreign].into_iter().flatten().min()
    }

    /// Take back what has rested and bind what is missing, a bounded number; `told` gets listener and port of what is free now.
    pub(super) fn refill(&mut self, now: Instant, mut told: impl FnMut(u16, u16)) {
        while let Some((_, pair)) = self.resting.pop_front_if(|(at, _)| *at <= now) {
            told(pair.listener, pair.port);
            self.put(pair);
        }
        while let Some((_, port)) = self.foreign.pop_front_if(|(at, _)| *at <= now) {
            self.unbound.push(port);
        }
        for _ in 0..BINDS_PER_TURN {
            // The poorest first, so that a small range is shared.
            let wanting = self.listeners.iter_mut().filter(|l| l.free < FREE && l.paused <= now);
            let Some(poorest) = wanting.min_by_key(|l| l.free) else { return };
            if self.unbound.is_empty() {
                return;
            }
            let port = self.unbound.swap_remove(self.chance.below(self.unbound.len() as u64) as usize);
            match bind(poorest.index, poorest.address, port) {
                Ok(pair) => {
                    told(pair.listener, pair.port);
                    self.put(pair);
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    tracing::debug!(port, "another program has an RTP port of our range");
                    self.foreign.push_back((now + RETRY, port));
                }
                Err(error) => {
                    tracing::error!(port, %error, "RTP ports cannot be bound");
                    self.unbound.push(port);
                    poorest.paused = now + RETRY;
                }
            }
        }
    }

    /// Pairs that are free, that rest, and that are not bound.
    pub(super) fn count(&self) -> (u64, u64, u64) {
        let unbound = self.unbound.len() + self.foreign.len();
        (self.free.len() as u64, self.resting.len() as u64, unbound as u64)
    }

    fn put(&mut self, pair: Pair) {
        if let Some(listener) = self.listeners.iter_mut().find(|l| l.index == pair.listener) {
            listener.free += 1;
        }
        self.free.insert(pair.port, pair);
    }
}

fn bind(listener: u16, address: IpAddr, port: u16) -> std::io::Result<Pair> {
    let rtp = MediaSocket::bind(SocketAddr::new(address, port))?;
    let rtcp = MediaSocket::bind(SocketAddr::new(address, port + 1))?;
    Ok(Pair { rtp, rtcp, listener, port })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn pool(ports: std::ops::RangeInclusive<u16>, listeners: &[(u16, [u8; 4])]) -> PortPool {
        let listeners = listeners.iter().map(|(n, a)| (*n, IpAddr::from(*a))).collect();
        PortPool::new(
            &MediaConfig { listeners, ports, workers: 1, ring: false, recordings: None },
            0,
            1,
            Chance::from_number(1),
        )
    }

    fn refill(pool: &mut PortPool, now: Instant) -> Vec<(u16, u16)> {
        let mut told = Vec::new();
        pool.refill(now, |listener, port| told.push((listener, port)));
        told
    }

    #[test]
    fn a_small_range_is_shared_and_its_ports_return_after_a_rest() {
        let mut pool = pool(21_001..=21_012, &[(0, [127, 0, 0, 1]), (3, [127, 0, 0, 2])]);
        let told = refill(&mut pool, Instant::ZERO);
        assert!(told.iter().all(|(_, port)| port % 2 == 0 && (21_002..=21_010).contains(port)), "{told:?}");
        assert_eq!(told.len(), 5);
        assert!(told.iter().filter(|(l, _)| *l == 3).count() >= 2);
        let pair = pool.take(told[0].1).unwrap();
        assert!(pool.take(told[0].1).is_none());
        pool.rest(Instant::ZERO, pair);
        assert!(refill(&mut pool, Instant::ZERO).is_empty());
        let later = pool.deadline().unwrap();
        assert_eq!(refill(&mut pool, later), [told[0]]);
        assert!(pool.take(told[0].1).is_some());
    }

    #[test]
    fn an_address_that_is_not_ours_is_tried_again_and_again_but_slowly() {
        let mut pool = pool(21_200..=21_219, &[(0, [192, 0, 2, 1]), (1, [127, 0, 0, 1])]);
        // The other listener is served meanwhile.
        assert!(refill(&mut pool, Instant::ZERO).iter().all(|(listener, _)| *listener == 1));
        assert_eq!((pool.free.len(), pool.unbound.len()), (10, 0));
        let gone = pool.listeners.iter().find(|l| l.index == 0).unwrap();
        assert_eq!((gone.free, gone.paused), (0, Instant::ZERO + RETRY));
    }

    #[test]
    fn a_port_that_another_program_holds_is_left_out() {
        let held = UdpSocket::bind("127.0.0.1:21105").unwrap();
        let mut pool = pool(21_104..=21_107, &[(0, [127, 0, 0, 1])]);
        assert_eq!(refill(&mut pool, Instant::ZERO), [(0, 21_106)]);
        drop(held);
        let later = pool.deadline().unwrap();
        assert_eq!(refill(&mut pool, later), [(0, 21_104)]);
    }
}
