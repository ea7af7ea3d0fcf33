//! Pool of RTP/RTCP port pairs, bound ahead of need at random places of the range: the switch is offered only ports that are really bound.
//!
//! A call takes a pair for each leg at once, and the worker that would bind more may not be scheduled for a while: so the free pairs must last
//! until then, and their number follows the demand. If the range itself runs out, the quarantine is shortened instead.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ::base::{Instant, Rng};
use ::media::Component;
use rustix::process::{Resource, getrlimit};

use super::config::MediaConfig;
use super::socket::MediaSocket;

/// Pairs kept free per address without demand, by all workers together: 500 calls of two legs that start before a worker is scheduled. That is
/// more than the switch can start in the 100 ms that a real-time scheduler may keep a worker waiting. A bound idle socket is 2.4 KB of kernel
/// memory.
const MIN_FREE: usize = 1_024;
/// Minimum per worker with many workers: calls choose the worker with most free pairs.
const MIN_FREE_PER_WORKER: usize = 64;
/// A free pair costs two file descriptors; free pairs use at most one descriptor in so many of the process limit.
const FILES_PER_FREE_PAIR: u64 = 8;
/// Pairs bound per iteration while demand is high: packets wait meanwhile.
const URGENT_BINDS: usize = 64;
/// Pairs bound per iteration without demand, and the pause after it: binding all free pairs takes 50 ms of CPU time, and threads that share the
/// CPU must not wait for that.
const RELAXED_BINDS: usize = 8;
const RELAXED_PAUSE: Duration = Duration::from_millis(2);
/// How long a closed stream's ports are not reused: the peer's last packets have arrived by then.
const QUARANTINE: Duration = Duration::from_secs(3);
/// The same when free ports run out: a lost BYE is retransmitted by then (T1 of RFC 3261), and the new stream ignores later packets, because
/// their source is not its peer's.
const SHORT_QUARANTINE: Duration = Duration::from_millis(500);
/// Free ports are scarce if fewer than one in so many of the range are free (or fewer than [`MIN_FREE`]).
const SCARCE: usize = 8;
/// Quarantines that end within this time end together: the worker and the switch are woken once for all of them.
const GATHER_MICROS: u64 = 250_000;
/// A port that could not be bound is retried after this time; others of the range are tried at once.
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
    pub(super) fn socket(&self, component: Component) -> &MediaSocket {
        match component {
            Component::Rtp => &self.rtp,
            Component::Rtcp => &self.rtcp,
        }
    }
}

/// The port pairs of one worker.
#[derive(Debug)]
pub(super) struct PortPool {
    addresses: Vec<BindAddress>,
    /// Even ports that are not bound.
    unbound: Vec<u16>,
    /// Even ports bound by another program, and when to retry them.
    in_use: VecDeque<(Instant, u16)>,
    /// Bound pairs that were reported to the switch as free.
    free: BTreeMap<u16, Pair>,
    limits: Limits,
    rng: Rng,
}

/// Numbers of pairs that one worker keeps free for one address.
#[derive(Clone, Copy, Debug)]
struct Limits {
    min_free: usize,
    max_free: usize,
    /// With fewer free pairs the quarantine is shortened.
    scarce: usize,
}

impl Limits {
    /// For one of `workers`, whose share of the range is `range` pairs, with a process limit of `files` descriptors.
    fn new(workers: usize, range: usize, files: Option<u64>) -> Limits {
        let files = files
            .map_or(usize::MAX, |files| usize::try_from(files / FILES_PER_FREE_PAIR).unwrap_or(usize::MAX));
        let max_free = (files / workers).max(1);
        let min_free = (MIN_FREE / workers).max(MIN_FREE_PER_WORKER).min(max_free);
        Limits { min_free, max_free, scarce: (range / SCARCE).clamp(1, min_free) }
    }
}

/// One bind address. Listeners that share it (SIP over UDP and over TCP) share its ports, which are reported for the first of them.
#[derive(Debug)]
struct BindAddress {
    index: u16,
    address: IpAddr,
    free: usize,
    demand: Demand,
    /// Bind until the target is reached; hysteresis, instead of one bind per taken pair.
    filling: bool,
    /// When to bind the next ones without urgency.
    next: Instant,
    /// Pairs of closed streams, and since when.
    quarantined: VecDeque<(Instant, Pair)>,
    /// After a bind error other than a port in use (no descriptors, an address that is gone): no attempt before this time.
    paused: Instant,
}

impl BindAddress {
    fn new(index: u16, address: IpAddr) -> BindAddress {
        let (demand, quarantined) = (Demand::default(), VecDeque::new());
        let (next, paused) = (Instant::ZERO, Instant::ZERO);
        BindAddress { index, address, free: 0, demand, filling: true, next, quarantined, paused }
    }

    /// Target number of free pairs: half of those taken per second, at least the minimum.
    fn target(&self, limits: Limits) -> usize {
        (self.demand.per_second / 2).clamp(limits.min_free, limits.max_free)
    }

    /// Start binding when a quarter is missing, and stop at the target.
    fn update_filling(&mut self, limits: Limits) {
        let target = self.target(limits);
        self.filling = if self.filling { self.free < target } else { self.free < target - target / 4 };
    }

    /// Whether calls could take all free pairs before more are bound at the relaxed rate.
    fn is_urgent(&self, limits: Limits) -> bool {
        let target = self.target(limits);
        self.free < target / 4 || (self.demand.per_second > 0 && self.free < target * 3 / 4)
    }

    /// When to bind more; `None` if the target is reached.
    fn due(&self, limits: Limits) -> Option<Instant> {
        let at = if self.is_urgent(limits) { self.paused } else { self.paused.max(self.next) };
        self.filling.then_some(at)
    }

    /// The number of free pairs below which they are scarce, if no more can be bound.
    fn scarce(&self, unbound: &[u16], limits: Limits) -> usize {
        if unbound.is_empty() || self.paused > Instant::ZERO { limits.scarce } else { 0 }
    }

    /// When the oldest quarantine ends: the short one with fewer than `scarce` free pairs, else rounded up to be released with others.
    fn released_at(&self, scarce: usize) -> Option<Instant> {
        let (since, _) = self.quarantined.front()?;
        if self.free < scarce {
            return Some(*since + SHORT_QUARANTINE);
        }
        let released_at = (*since + QUARANTINE).as_micros().next_multiple_of(GATHER_MICROS);
        Some(Instant::from_micros(released_at))
    }
}

/// Pairs taken per second: the larger count of this second and the last.
#[derive(Debug, Default)]
struct Demand {
    second: u64,
    taken: usize,
    previous: usize,
    per_second: usize,
}

impl Demand {
    fn count(&mut self, now: Instant, taken: usize) {
        let second = now.as_micros() / 1_000_000;
        if second != self.second {
            self.previous = if second == self.second + 1 { self.taken } else { 0 };
            (self.second, self.taken) = (second, 0);
        }
        self.taken += taken;
        self.per_second = self.previous.max(self.taken);
    }
}

impl PortPool {
    /// The share of worker `number` of `count`.
    pub(super) fn new(config: &MediaConfig, number: usize, count: usize, rng: Rng) -> PortPool {
        let pairs = config.ports.clone().filter(|p| p % 2 == 0 && *p != 0 && p < config.ports.end());
        let unbound: Vec<u16> = pairs.skip(number).step_by(count).collect();
        let mut addresses: Vec<BindAddress> = Vec::new();
        for (index, address) in &config.listeners {
            if addresses.iter().all(|known| known.address != *address) {
                addresses.push(BindAddress::new(*index, *address));
            }
        }
        let files = getrlimit(Resource::Nofile).current;
        let limits = Limits::new(count, unbound.len(), files);
        PortPool { addresses, unbound, in_use: VecDeque::new(), free: BTreeMap::new(), limits, rng }
    }

    /// Take a free pair for a stream.
    pub(super) fn take(&mut self, now: Instant, port: u16) -> Option<Pair> {
        let pair = self.free.remove(&port)?;
        if let Some(listener) = self.addresses.iter_mut().find(|l| l.index == pair.listener) {
            listener.free -= 1;
            listener.demand.count(now, 1);
            listener.update_filling(self.limits);
        }
        pair.rtp.open();
        pair.rtcp.open();
        Some(pair)
    }

    /// Put the pair of a closed stream into quarantine.
    pub(super) fn quarantine(&mut self, now: Instant, pair: Pair) {
        pair.rtp.idle();
        pair.rtcp.idle();
        if let Some(listener) = self.addresses.iter_mut().find(|l| l.index == pair.listener) {
            listener.quarantined.push_back((now, pair));
        }
    }

    /// When [`PortPool::refill`] has something to do; `None` if not.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let filling = self.addresses.iter().filter_map(|l| l.due(self.limits)).min();
        let missing = filling.filter(|_| !self.unbound.is_empty());
        let released_at =
            self.addresses.iter().filter_map(|l| l.released_at(l.scarce(&self.unbound, self.limits))).min();
        let in_use = self.in_use.front().map(|(at, _)| *at).filter(|_| filling.is_some());
        [missing, released_at, in_use].into_iter().flatten().min()
    }

    /// Release pairs from quarantine and bind missing ones, a bounded number; `on_free` gets listener and port of each pair that is free now.
    pub(super) fn refill(&mut self, now: Instant, mut on_free: impl FnMut(u16, u16)) {
        while let Some((_, port)) = self.in_use.pop_front_if(|(at, _)| *at <= now) {
            self.unbound.push(port);
        }
        let limits = self.limits;
        for listener in &mut self.addresses {
            listener.demand.count(now, 0);
            // Early releases are done in groups too, because each wakes the switch.
            let scarce = listener.scarce(&self.unbound, limits);
            let scarce = if listener.free < scarce { scarce + scarce / 4 } else { 0 };
            while listener.released_at(scarce).is_some_and(|at| at <= now) {
                let Some((_, pair)) = listener.quarantined.pop_front() else { break };
                listener.free += 1;
                on_free(pair.listener, pair.port);
                self.free.insert(pair.port, pair);
            }
            listener.update_filling(limits);
        }
        let urgent = self.addresses.iter().any(|l| l.filling && l.is_urgent(limits));
        for _ in 0..if urgent { URGENT_BINDS } else { RELAXED_BINDS } {
            // The address with fewest free pairs first, so that a small range is shared.
            let filling = self.addresses.iter_mut().filter(|l| l.due(limits).is_some_and(|at| at <= now));
            let Some(neediest) = filling.min_by_key(|l| l.free) else { return };
            if self.unbound.is_empty() {
                return;
            }
            let port = self.unbound.swap_remove(self.rng.below(self.unbound.len() as u64) as usize);
            match bind(neediest.index, neediest.address, port) {
                Ok(pair) => {
                    neediest.paused = Instant::ZERO;
                    neediest.free += 1;
                    neediest.update_filling(limits);
                    on_free(pair.listener, pair.port);
                    self.free.insert(pair.port, pair);
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    tracing::debug!(port, "an RTP port is in use by another program");
                    self.in_use.push_back((now + RETRY, port));
                }
                Err(error) => {
                    tracing::error!(port, %error, "RTP ports cannot be bound");
                    self.unbound.push(port);
                    neediest.paused = now + RETRY;
                }
            }
        }
        for listener in self.addresses.iter_mut().filter(|l| l.filling) {
            listener.next = now + RELAXED_PAUSE;
        }
    }

    /// Numbers of pairs that are free, in quarantine, and not bound.
    pub(super) fn count(&self) -> (u64, u64, u64) {
        let quarantined = self.addresses.iter().map(|l| l.quarantined.len()).sum::<usize>();
        let unbound = self.unbound.len() + self.in_use.len();
        (self.free.len() as u64, quarantined as u64, unbound as u64)
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

    fn pool(ports: std::ops::RangeInclusive<u16>, addresses: &[(u16, [u8; 4])]) -> PortPool {
        let listeners = addresses.iter().map(|(n, a)| (*n, IpAddr::from(*a))).collect();
        PortPool::new(
            &MediaConfig { listeners, ports, workers: 1, io_uring: false, recordings: None },
            0,
            1,
            Rng::from_number(1),
        )
    }

    fn refill(pool: &mut PortPool, now: Instant) -> Vec<(u16, u16)> {
        let (mut on_free, mut at) = (Vec::new(), now);
        while at <= now + RELAXED_PAUSE * 100 {
            pool.refill(at, |listener, port| on_free.push((listener, port)));
            match pool.deadline() {
                Some(next) if next > at => at = next,
                Some(_) => {}
                None => break,
            }
        }
        on_free
    }

    #[test]
    fn a_small_range_is_shared_and_its_ports_return_after_quarantine() {
        let mut pool = pool(21_001..=21_012, &[(0, [127, 0, 0, 1]), (3, [127, 0, 0, 2])]);
        let on_free = refill(&mut pool, Instant::ZERO);
        assert!(
            on_free.iter().all(|(_, port)| port % 2 == 0 && (21_002..=21_010).contains(port)),
            "{on_free:?}"
        );
        assert_eq!(on_free.len(), 5);
        assert!(on_free.iter().filter(|(l, _)| *l == 3).count() >= 2);
        let pair = pool.take(Instant::ZERO, on_free[0].1).unwrap();
        assert!(pool.take(Instant::ZERO, on_free[0].1).is_none());
        pool.quarantine(Instant::ZERO, pair);
        assert!(refill(&mut pool, Instant::ZERO).is_empty());
        let later = pool.deadline().unwrap();
        assert_eq!(refill(&mut pool, later), [on_free[0]]);
        assert!(later >= Instant::ZERO + QUARANTINE && pool.take(later, on_free[0].1).is_some());
    }

    #[test]
    fn the_free_pairs_depend_on_workers_files_and_the_range() {
        let limits = |workers, range, files| {
            let Limits { min_free, max_free, scarce } = Limits::new(workers, range, files);
            (min_free, max_free.min(9_999), scarce)
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
        assert_eq!((pool.addresses.len(), pool.free.len()), (1, 20));
    }

    #[test]
    fn ports_are_bound_in_groups_and_more_are_kept_free_under_demand() {
        let mut pool = pool(21_400..=21_799, &[(0, [127, 0, 0, 1])]);
        pool.limits = Limits { min_free: 32, max_free: 100, scarce: 8 };
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
        assert_eq!(take(&mut pool, Instant::ZERO, 8), 24, "no wake-up for a few");
        assert_eq!(take(&mut pool, Instant::ZERO, 1), 32);
        // 80 in a second: half as many are kept free, for as long as the demand lasts.
        for (n, ready) in [(1, 31), (31, 32), (30, 35), (9, 40)] {
            assert_eq!(take(&mut pool, Instant::ZERO, n), ready, "after {n}");
        }
        let later = Instant::from_micros(1_500_000);
        assert_eq!((take(&mut pool, later, 12), pool.addresses[0].demand.per_second), (40, 80));
        // A second without calls later the minimum suffices.
        assert_eq!(take(&mut pool, Instant::from_micros(3_000_000), 14), 26);
    }

    /// The default range has 5,000 pairs, and 2,000 calls a second take 4,000: here a twelfth of both.
    #[test]
    fn short_calls_at_four_fifths_of_the_range_a_second_get_ports_after_quarantine() {
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
                pool.quarantine(now, pair);
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
    fn an_address_that_is_not_ours_is_retried_slowly() {
        let mut pool = pool(21_200..=21_219, &[(0, [192, 0, 2, 1]), (1, [127, 0, 0, 1])]);
        // The other address is served meanwhile.
        assert!(refill(&mut pool, Instant::ZERO).iter().all(|(listener, _)| *listener == 1));
        assert_eq!((pool.free.len(), pool.unbound.len()), (10, 0));
        let gone = pool.addresses.iter().find(|l| l.index == 0).unwrap();
        assert_eq!((gone.free, gone.paused), (0, Instant::ZERO + RETRY));
    }

    #[test]
    fn a_port_that_another_program_uses_is_skipped() {
        let held = UdpSocket::bind("127.0.0.1:21105").unwrap();
        let mut pool = pool(21_104..=21_107, &[(0, [127, 0, 0, 1])]);
        assert_eq!(refill(&mut pool, Instant::ZERO), [(0, 21_106)]);
        drop(held);
        let later = pool.deadline().unwrap();
        assert_eq!(refill(&mut pool, later), [(0, 21_104)]);
    }
}
