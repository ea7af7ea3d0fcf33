//! Pairs of ports, bound ahead of need at random places of the range: the switch hands out only what is really ours.
//!
//! A call takes a pair for each leg at once, and the worker that would bind more may be without a processor for a while: so what lies ready
//! must last until it has its turn, and follows what is being taken. Where the range itself runs out, ports rest shorter instead.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ::base::{Instant, Rng};
use ::media::Component;
use rustix::process::{Resource, getrlimit};

use super::MediaConfig;
use super::socket::MediaSocket;

/// Pairs kept free per address at rest, by all workers together: 500 calls of two legs that begin before a worker has its turn, which is more
/// than the exchange can begin in the 100 ms that a real-time scheduler lets a worker wait. A socket that is only bound is 2.4 KB of the kernel's.
const FREE_AT_REST: usize = 1_024;
/// What each of many workers keeps at least: calls choose the worker that has most.
const FREE_PER_WORKER: usize = 64;
/// Pairs that lie free cost two files each; they shall not use up the process's share: one of so many files.
const FILES_PER_FREE_PAIR: u64 = 8;
/// Pairs bound in one iteration while calls take many: packets wait meanwhile.
const BINDS_PER_TURN: usize = 64;
/// The same while there is no hurry, and the pause after it: binding all that lies ready at rest takes 50 ms of a processor, and whoever shares
/// it with this worker shall not wait for that.
const BINDS_AT_LEISURE: usize = 8;
const LEISURE: Duration = Duration::from_millis(2);
/// A closed stream's ports rest so long before another call gets them: the peer's last packets are over by then.
const QUARANTINE: Duration = Duration::from_secs(3);
/// The same where free ports run out: a BYE that was lost is sent again by then (T1 of RFC 3261), and of packets that come even later the new
/// stream believes none, since their source is not its peer's.
const SHORT_QUARANTINE: Duration = Duration::from_millis(500);
/// Free ports run out where fewer of the range are free than one of so many (or than at rest).
const SCARCE: usize = 8;
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
    pub(super) fn socket(&self, channel: Component) -> &MediaSocket {
        match channel {
            Component::Rtp => &self.rtp,
            Component::Rtcp => &self.rtcp,
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
    limits: Limits,
    rng: Rng,
}

/// How many pairs one worker keeps free for one address.
#[derive(Clone, Copy, Debug)]
struct Limits {
    at_rest: usize,
    most: usize,
    /// With fewer, ports rest shorter.
    scarce: usize,
}

impl Limits {
    /// For one of `workers`, which has `range` pairs, in a process that may open so many files.
    fn new(workers: usize, range: usize, files: Option<u64>) -> Limits {
        let files = files
            .map_or(usize::MAX, |files| usize::try_from(files / FILES_PER_FREE_PAIR).unwrap_or(usize::MAX));
        let most = (files / workers).max(1);
        let at_rest = (FREE_AT_REST / workers).max(FREE_PER_WORKER).min(most);
        Limits { at_rest, most, scarce: (range / SCARCE).clamp(1, at_rest) }
    }
}

/// One address that ports are bound on. Listeners that share it (SIP over UDP and over TCP) share its ports: they are told for the first of them.
#[derive(Debug)]
struct Listener {
    index: u16,
    address: IpAddr,
    free: usize,
    demand: Demand,
    /// Bind more until there are enough: not one for each that is taken.
    filling: bool,
    /// When to bind the next ones, where that is not urgent.
    next: Instant,
    /// Closed streams' pairs, and since when.
    resting: VecDeque<(Instant, Pair)>,
    /// Binding failed for another reason than a taken port (no descriptors, an address that is gone): not before then again.
    paused: Instant,
}

impl Listener {
    fn new(index: u16, address: IpAddr) -> Listener {
        let (demand, resting) = (Demand::default(), VecDeque::new());
        let (next, paused) = (Instant::ZERO, Instant::ZERO);
        Listener { index, address, free: 0, demand, filling: true, next, resting, paused }
    }

    /// Pairs that should be free: half of what a second takes, and never fewer than at rest.
    fn wanted(&self, limits: Limits) -> usize {
        (self.demand.per_second / 2).clamp(limits.at_rest, limits.most)
    }

    /// Begin to bind with a quarter gone, and go on until nothing is missing.
    fn judge(&mut self, limits: Limits) {
        let wanted = self.wanted(limits);
        self.filling = if self.filling { self.free < wanted } else { self.free < wanted - wanted / 4 };
    }

    /// Whether calls could take what lies ready before more is bound at leisure.
    fn is_urgent(&self, limits: Limits) -> bool {
        let wanted = self.wanted(limits);
        self.free < wanted / 4 || (self.demand.per_second > 0 && self.free < wanted * 3 / 4)
    }

    /// When to bind more; `None` while nothing is missing.
    fn due(&self, limits: Limits) -> Option<Instant> {
        let at = if self.is_urgent(limits) { self.paused } else { self.paused.max(self.next) };
        self.filling.then_some(at)
    }

    /// Fewer free pairs than this are too few, where no more can be bound.
    fn scarce(&self, unbound: &[u16], limits: Limits) -> usize {
        if unbound.is_empty() || self.paused > Instant::ZERO { limits.scarce } else { 0 }
    }

    /// When the pair that rests longest may be used again: with fewer than `scarce`, as soon as it can be borne; else with others.
    fn rested(&self, scarce: usize) -> Option<Instant> {
        let (since, _) = self.resting.front()?;
        if self.free < scarce {
            return Some(*since + SHORT_QUARANTINE);
        }
        let rested = (*since + QUARANTINE).as_micros().next_multiple_of(GATHER_MICROS);
        Some(Instant::from_micros(rested))
    }
}

/// Pairs taken in a second: the larger count of this one and the last.
#[derive(Debug, Default)]
struct Demand {
    second: u64,
    taken: usize,
    before: usize,
    per_second: usize,
}

impl Demand {
    fn note(&mut self, now: Instant, taken: usize) {
        let second = now.as_micros() / 1_000_000;
        if second != self.second {
            self.before = if second == self.second + 1 { self.taken } else { 0 };
            (self.second, self.taken) = (second, 0);
        }
        self.taken += taken;
        self.per_second = self.before.max(self.taken);
    }
}

impl PortPool {
    /// The share of the range that worker `number` of `count` has.
    pub(super) fn new(config: &MediaConfig, number: usize, count: usize, rng: Rng) -> PortPool {
        let pairs = config.ports.clone().filter(|p| p % 2 == 0 && *p != 0 && p < config.ports.end());
        let unbound: Vec<u16> = pairs.skip(number).step_by(count).collect();
        let mut listeners: Vec<Listener> = Vec::new();
        for (index, address) in &config.listeners {
            if listeners.iter().all(|known| known.address != *address) {
                listeners.push(Listener::new(*index, *address));
            }
        }
        let files = getrlimit(Resource::Nofile).current;
        let limits = Limits::new(count, unbound.len(), files);
        PortPool { listeners, unbound, foreign: VecDeque::new(), free: BTreeMap::new(), limits, rng }
    }

    /// A stream begins on this port.
    pub(super) fn take(&mut self, now: Instant, port: u16) -> Option<Pair> {
        let pair = self.free.remove(&port)?;
        if let Some(listener) = self.listeners.iter_mut().find(|l| l.index == pair.listener) {
            listener.free -= 1;
            listener.demand.note(now, 1);
            listener.judge(self.limits);
        }
        pair.rtp.open();
        pair.rtcp.open();
        Some(pair)
    }

    /// A stream is over.
    pub(super) fn rest(&mut self, now: Instant, pair: Pair) {
        pair.rtp.idle();
        pair.rtcp.idle();
        if let Some(listener) = self.listeners.iter_mut().find(|l| l.index == pair.listener) {
            listener.resting.push_back((now, pair));
        }
    }

    /// When [`PortPool::refill`] has something to do; `None` while nothing is missing.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let wanting = self.listeners.iter().filter_map(|l| l.due(self.limits)).min();
        let missing = wanting.filter(|_| !self.unbound.is_empty());
        let rested =
            self.listeners.iter().filter_map(|l| l.rested(l.scarce(&self.unbound, self.limits))).min();
        let foreign = self.foreign.front().map(|(at, _)| *at).filter(|_| wanting.is_some());
        [missing, rested, foreign].into_iter().flatten().min()
    }

    /// Take back what has rested and bind what is missing, a bounded number; `told` gets listener and port of what is free now.
    pub(super) fn refill(&mut self, now: Instant, mut told: impl FnMut(u16, u16)) {
        while let Some((_, port)) = self.foreign.pop_front_if(|(at, _)| *at <= now) {
            self.unbound.push(port);
        }
        let limits = self.limits;
        for listener in &mut self.listeners {
            listener.demand.note(now, 0);
            // What has to be taken back early comes as a lump as well, since the switch is woken for it.
            let scarce = listener.scarce(&self.unbound, limits);
            let scarce = if listener.free < scarce { scarce + scarce / 4 } else { 0 };
            while listener.rested(scarce).is_some_and(|at| at <= now) {
                let Some((_, pair)) = listener.resting.pop_front() else { break };
                listener.free += 1;
                told(pair.listener, pair.port);
                self.free.insert(pair.port, pair);
            }
            listener.judge(limits);
        }
        let urgent = self.listeners.iter().any(|l| l.filling && l.is_urgent(limits));
        for _ in 0..if urgent { BINDS_PER_TURN } else { BINDS_AT_LEISURE } {
            // The poorest first, so that a small range is shared.
            let wanting = self.listeners.iter_mut().filter(|l| l.due(limits).is_some_and(|at| at <= now));
            let Some(poorest) = wanting.min_by_key(|l| l.free) else { return };
            if self.unbound.is_empty() {
                return;
            }
            let port = self.unbound.swap_remove(self.rng.below(self.unbound.len() as u64) as usize);
            match bind(poorest.index, poorest.address, port) {
                Ok(pair) => {
                    poorest.paused = Instant::ZERO;
                    poorest.free += 1;
                    poorest.judge(limits);
                    told(pair.listener, pair.port);
                    self.free.insert(pair.port, pair);
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
        for listener in self.listeners.iter_mut().filter(|l| l.filling) {
            listener.next = now + LEISURE;
        }
    }

    /// Pairs that are free, that rest, and that are not bound.
    pub(super) fn count(&self) -> (u64, u64, u64) {
        let resting = self.listeners.iter().map(|l| l.resting.len()).sum::<usize>();
        let unbound = self.unbound.len() + self.foreign.len();
        (self.free.len() as u64, resting as u64, unbound as u64)
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
            Rng::from_number(1),
        )
    }

    fn refill(pool: &mut PortPool, now: Instant) -> Vec<(u16, u16)> {
        let (mut told, mut at) = (Vec::new(), now);
        while at <= now + LEISURE * 100 {
            pool.refill(at, |listener, port| told.push((listener, port)));
            match pool.deadline() {
                Some(next) if next > at => at = next,
                Some(_) => {}
                None => break,
            }
        }
        told
    }

    #[test]
    fn a_small_range_is_shared_and_its_ports_return_after_a_rest() {
        let mut pool = pool(21_001..=21_012, &[(0, [127, 0, 0, 1]), (3, [127, 0, 0, 2])]);
        let told = refill(&mut pool, Instant::ZERO);
        assert!(told.iter().all(|(_, port)| port % 2 == 0 && (21_002..=21_010).contains(port)), "{told:?}");
        assert_eq!(told.len(), 5);
        assert!(told.iter().filter(|(l, _)| *l == 3).count() >= 2);
        let pair = pool.take(Instant::ZERO, told[0].1).unwrap();
        assert!(pool.take(Instant::ZERO, told[0].1).is_none());
        pool.rest(Instant::ZERO, pair);
        assert!(refill(&mut pool, Instant::ZERO).is_empty());
        let later = pool.deadline().unwrap();
        assert_eq!(refill(&mut pool, later), [told[0]]);
        assert!(later >= Instant::ZERO + QUARANTINE && pool.take(later, told[0].1).is_some());
    }

    #[test]
    fn what_lies_ready_depends_on_workers_files_and_the_range() {
        let limits = |workers, range, files| {
            let Limits { at_rest, most, scarce } = Limits::new(workers, range, files);
            (at_rest, most.min(9_999), scarce)
        };
        assert_eq!(limits(1, 5_000, None), (1_024, 9_999, 625));
        assert_eq!(limits(30, 166, Some(524_288)), (64, 2_184, 20));
        assert_eq!(limits(1, 5_000, Some(1_024)), (128, 128, 128), "256 of 1,024 files");
        assert_eq!(limits(64, 1, Some(1_024)), (2, 2, 1));
    }

    #[test]
    fn listeners_of_one_address_share_its_ports() {
        let mut pool = pool(21_300..=21_339, &[(2, [127, 0, 0, 1]), (3, [127, 0, 0, 1])]);
        assert!(refill(&mut pool, Instant::ZERO).iter().all(|(listener, _)| *listener == 2));
        assert_eq!((pool.listeners.len(), pool.free.len()), (1, 20));
    }

    #[test]
    fn ports_are_bound_in_lumps_and_more_lie_ready_the_more_are_taken() {
        let mut pool = pool(21_400..=21_799, &[(0, [127, 0, 0, 1])]);
        pool.limits = Limits { at_rest: 32, most: 100, scarce: 8 };
        let mut free: VecDeque<u16> = refill(&mut pool, Instant::ZERO).into_iter().map(|(_, p)| p).collect();
        assert_eq!((free.len(), pool.deadline()), (32, None));
        let mut taken = Vec::new();
        let mut take = |pool: &mut PortPool, now: Instant, count: usize| {
            taken.extend(free.drain(..count).map(|port| pool.take(now, port).unwrap()));
            if pool.deadline().is_some_and(|at| at <= now) {
                free.extend(refill(pool, now).into_iter().map(|(_, port)| port));
            }
            free.len()
        };
        assert_eq!(take(&mut pool, Instant::ZERO, 8), 24, "nobody is woken for a few");
        assert_eq!(take(&mut pool, Instant::ZERO, 1), 32);
        // 80 in a second: half as many lie ready, and do for as long as that goes on.
        for (n, ready) in [(1, 31), (31, 32), (30, 35), (9, 40)] {
            assert_eq!(take(&mut pool, Instant::ZERO, n), ready, "after {n}");
        }
        let later = Instant::from_micros(1_500_000);
        assert_eq!((take(&mut pool, later, 12), pool.listeners[0].demand.per_second), (40, 80));
        // A second without calls later what is there at rest suffices.
        assert_eq!(take(&mut pool, Instant::from_micros(3_000_000), 14), 26);
    }

    /// The default range has 5,000 pairs, and 2,000 calls a second take 4,000: here a twelfth of both.
    #[test]
    fn short_calls_at_four_fifths_of_the_range_a_second_find_ports_that_have_rested() {
        let mut pool = pool(22_800..=23_633, &[(0, [127, 0, 0, 1])]);
        pool.limits = Limits::new(1, 416, Some(10_000));
        let (mut free, mut calls) = (VecDeque::new(), VecDeque::new());
        let mut closed: BTreeMap<u16, Instant> = BTreeMap::new();
        let mut shortest = QUARANTINE;
        for millis in 0..6_000 {
            let now = Instant::from_micros(millis * 1_000);
            if pool.deadline().is_some_and(|at| at <= now) {
                free.extend(refill(&mut pool, now).into_iter().map(|(_, port)| port));
            }
            while let Some((_, pair)) = calls.pop_front_if(|(over, _)| *over <= now) {
                let pair: Pair = pair;
                closed.insert(pair.port, now);
                pool.rest(now, pair);
            }
            for _ in 0..millis * 333 / 1_000 - (millis.max(1) - 1) * 333 / 1_000 {
                let port = free.pop_front().unwrap_or_else(|| panic!("no port after {millis} ms"));
                if let Some(since) = closed.get(&port) {
                    shortest = shortest.min(now.since(*since));
                }
                calls.push_back((now + Duration::from_millis(100), pool.take(now, port).unwrap()));
            }
        }
        assert!((SHORT_QUARANTINE..QUARANTINE).contains(&shortest), "{shortest:?}");
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
