//! Locating SIP servers (RFC 3263) without I/O: the caller sends each DNS question once, and this module does retries, caching and the order of
//! candidates.
//!
//! [`Resolver::ask`] starts a lookup. While it returns [`Step::Ask`], send the question to the DNS and pass the result to [`Resolver::answer`]; after
//! [`Step::Wait`] call [`Resolver::resume`] at that time; [`Step::Done`] ends the lookup.

mod cache;
mod select;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, KeyedHash, KeyedMap, Rng};

use crate::{Transport, Uri, limits};
use cache::Cache;
use select::Destination;

/// A DNS question. Names are in lower case, without the trailing dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Question {
    /// NAPTR records of a domain.
    Naptr(String),
    /// SRV records of a name like `_sip._udp.example.org`.
    Srv(String),
    /// A and AAAA records of a host.
    Address(String),
}

/// A DNS record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// NAPTR (RFC 3263 §4.1); only records with the flag `s` are used.
    Naptr {
        /// Lower values first.
        order: u16,
        /// Lower values first among equal orders.
        preference: u16,
        /// `s`, case-insensitive.
        flags: String,
        /// `SIP+D2U`, `SIP+D2T`, `SIPS+D2T`, ….
        service: String,
        /// The name for the SRV question.
        replacement: String,
    },
    /// SRV (RFC 2782).
    Srv {
        /// Lower values first.
        priority: u16,
        /// Relative probability of being first among equal priorities.
        weight: u16,
        /// The port.
        port: u16,
        /// The host; `.` if the service is not offered.
        target: String,
    },
    /// A or AAAA.
    Address(IpAddr),
}

/// The result of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Records exist.
    Found {
        /// The records.
        records: Vec<Record>,
        /// The lowest TTL among them.
        ttl: Duration,
    },
    /// The name does not exist, or has no such records.
    Nothing {
        /// TTL of the negative answer (RFC 2308).
        ttl: Duration,
    },
    /// No answer, or SERVFAIL: asked again later.
    Failed,
}

/// A destination for a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Candidate {
    /// The transport protocol.
    pub transport: Transport,
    /// IP address and port.
    pub address: SocketAddr,
}

/// Id of a lookup. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LookupId(u64);

/// The next step of a lookup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Send this question to the DNS, once.
    Ask(Question),
    /// The DNS did not answer: call [`Resolver::resume`] at this time.
    Wait(Instant),
    /// The lookup is complete. Try these in order; if empty, the URI is unreachable now.
    Done(Vec<Candidate>),
}

/// Number of attempts per question.
const MAX_TRIES: u8 = 3;
/// Delay after the first failure; it doubles.
const BACK_OFF: Duration = Duration::from_millis(500);
/// How long a failed question counts as a negative answer.
const FAILURE_TTL: Duration = Duration::from_secs(10);
/// How long an unreachable address is sorted last.
const PENALTY_TIME: Duration = Duration::from_secs(30);

type Records = Arc<[Record]>;

#[derive(Debug)]
struct Lookup {
    destination: Destination,
    /// Answers used by this lookup: valid until it ends, however short their TTL.
    known: BTreeMap<Question, Records>,
    asking: Option<Question>,
    tries: u8,
    /// Seed for the order of SRV records, so that it is the same at each step of the lookup.
    seed: u64,
}

/// Locates SIP servers: cache of DNS answers, lookups in progress, and penalties of unreachable addresses.
#[derive(Debug)]
pub struct Resolver {
    transports: Vec<Transport>,
    cache: Cache,
    lookups: BTreeMap<LookupId, Lookup>,
    /// Unreachable candidates, with the time until which they are sorted last.
    penalties: KeyedMap<Candidate, Instant>,
    serial: u64,
    rng: Rng,
}

impl Resolver {
    /// A resolver with an empty cache, for these transports in order of preference.
    pub fn new(transports: Vec<Transport>, mut rng: Rng) -> Resolver {
        let (cache, penalties) = (Cache::new(&mut rng), KeyedMap::with_hasher(KeyedHash::new(&mut rng)));
        Resolver { transports, cache, lookups: BTreeMap::new(), penalties, serial: 0, rng }
    }

    /// Start a lookup. Beyond the limit on lookups it returns no candidates.
    pub fn ask(&mut self, now: Instant, uri: &Uri) -> (LookupId, Step) {
        self.serial += 1;
        let id = LookupId(self.serial);
        let Some(destination) = Destination::of(uri) else { return (id, Step::Done(Vec::new())) };
        if self.lookups.len() >= limits::LOOKUPS {
            return (id, Step::Done(Vec::new()));
        }
        let seed = self.rng.u64();
        self.lookups.insert(id, Lookup { destination, known: BTreeMap::new(), asking: None, tries: 0, seed });
        (id, self.step(now, id))
    }

    /// Pass the result of the question that the lookup asked.
    pub fn answer(&mut self, now: Instant, id: LookupId, answer: Answer) -> Step {
        let Some(lookup) = self.lookups.get_mut(&id) else { return Step::Done(Vec::new()) };
        let Some(question) = lookup.asking.take() else { return self.step(now, id) };
        let (records, ttl): (Records, Duration) = match answer {
            Answer::Found { records, ttl } => (records.into(), ttl),
            Answer::Nothing { ttl } => (Arc::from([]), ttl.min(cache::MAX_NEGATIVE_TTL)),
            Answer::Failed => match self.cache.get_stale(&question) {
                Some(records) => (records, FAILURE_TTL),
                None => {
                    lookup.tries += 1;
                    if lookup.tries < MAX_TRIES {
                        let wait = BACK_OFF * (1 << (lookup.tries - 1));
                        return Step::Wait(now + wait);
                    }
                    (Arc::from([]), FAILURE_TTL)
                }
            },
        };
        lookup.tries = 0;
        lookup.known.insert(question.clone(), records.clone());
        self.cache.insert(now, question, records, ttl);
        self.step(now, id)
    }

    /// Continue after [`Step::Wait`].
    pub fn resume(&mut self, now: Instant, id: LookupId) -> Step {
        self.step(now, id)
    }

    /// A candidate is unreachable: sort it after the others for a while (RFC 3263 §4.3).
    pub fn failed(&mut self, now: Instant, candidate: Candidate) {
        if self.penalties.len() >= limits::PENALTIES {
            self.penalties.retain(|_, until| *until > now);
        }
        if self.penalties.len() < limits::PENALTIES {
            self.penalties.insert(candidate, now + PENALTY_TIME);
        }
    }

    /// The number of lookups in progress and of cached answers.
    pub fn counts(&self) -> (usize, usize) {
        (self.lookups.len(), self.cache.len())
    }

    fn step(&mut self, now: Instant, id: LookupId) -> Step {
        let Some(lookup) = self.lookups.get_mut(&id) else { return Step::Done(Vec::new()) };
        let mut rng = Rng::from_number(lookup.seed);
        let over_limit = lookup.known.len() >= limits::QUESTIONS;
        let (cache, known) = (&self.cache, &mut lookup.known);
        let mut known_answer = |question: Question| {
            if let Some(records) = known.get(&question) {
                return Ok(records.clone());
            }
            match cache.get(now, &question) {
                Some(records) => {
                    known.insert(question, records.clone());
                    Ok(records)
                }
                None if over_limit => Ok(Arc::from([])),
                None => Err(question),
            }
        };
        match select::candidates(&lookup.destination, &self.transports, &mut known_answer, &mut rng) {
            Ok(mut candidates) => {
                self.lookups.remove(&id);
                let penalties = &self.penalties;
                candidates.sort_by_key(|one| penalties.get(one).is_some_and(|until| *until > now));
                Step::Done(candidates)
            }
            Err(question) => {
                lookup.asking = Some(question.clone());
                Step::Ask(question)
            }
        }
    }
}
