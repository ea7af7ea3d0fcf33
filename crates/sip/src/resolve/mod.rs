//! Where a request for a URI can be sent (RFC 3263), as pure questions and answers: the shell asks the DNS once for each question, and
//! knows nothing of retries, caches or the order of candidates.
//!
//! [`Resolver::ask`] begins a lookup. While it says [`Step::Ask`], put the question to the DNS and bring what came of it to
//! [`Resolver::answer`]; at [`Step::Wait`] come back with [`Resolver::restore_dialog`] at that time; [`Step::Done`] ends it.

mod cache;
mod select;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, KeyedHash, KeyedMap, Rng};

use crate::{Transport, Uri, limits};
use cache::Cache;
use select::Goal;

/// One question to the DNS. Names are in lower case, without the dot at the end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Question {
    /// NAPTR records of a domain.
    Naptr(String),
    /// SRV records of a name like `_sip._udp.example.org`.
    Srv(String),
    /// A and AAAA records of a host.
    Address(String),
}

/// A record that answers a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// NAPTR (RFC 3263 §4.1): only those with the flag `s` are of use.
    Naptr {
        /// Lower ones first.
        order: u16,
        /// Among equal orders, lower ones first.
        preference: u16,
        /// `s`, in either case.
        flags: String,
        /// `SIP+D2U`, `SIP+D2T`, `SIPS+D2T`, ….
        service: String,
        /// The name to ask SRV records of.
        replacement: String,
    },
    /// SRV (RFC 2782).
    Srv {
        /// Lower ones first.
        priority: u16,
        /// How often one of equal priority is taken first.
        weight: u16,
        /// The port.
        port: u16,
        /// The host; `.` where the service is not offered.
        target: String,
    },
    /// A or AAAA.
    Address(IpAddr),
}

/// What came of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// These records, good for the least of their times to live.
    Found {
        /// The records.
        records: Vec<Record>,
        /// For how long.
        ttl: Duration,
    },
    /// The name does not exist, or has no such records.
    Nothing {
        /// For how long that is known (RFC 2308).
        ttl: Duration,
    },
    /// No answer, or SERVFAIL: asked again later.
    Failed,
}

/// One address that a request can be sent to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Candidate {
    /// How.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// One lookup under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LookupId(u64);

/// What a lookup needs next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Put this question to the DNS, once.
    Ask(Question),
    /// The DNS did not answer: come back then with [`Resolver::restore_dialog`].
    Wait(Instant),
    /// The lookup is over. Try these in order; where there is none, the URI cannot be reached now.
    Done(Vec<Candidate>),
}

/// How often a question that gets no answer is put.
const TRIES: u8 = 3;
/// The wait after the first failure; it doubles.
const BACK_OFF: Duration = Duration::from_millis(500);
/// How long a failed question counts as answered by nothing.
const FAILURE_TTL: Duration = Duration::from_secs(10);
/// How long an address that failed is tried last.
const PENALTY: Duration = Duration::from_secs(30);

type Records = Arc<[Record]>;

#[derive(Debug)]
struct Lookup {
    goal: Goal,
    /// Answers of this lookup: they hold to its end, however short their time to live.
    known: BTreeMap<Question, Records>,
    asking: Option<Question>,
    tries: u8,
    /// Draws the order of SRV records, alike each time that the lookup goes on.
    seed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Resolver {
    transports: Vec<Transport>,
    cache: Cache,
    lookups: BTreeMap<LookupId, Lookup>,
    /// Addresses that failed, until when they come last.
    penalties: KeyedMap<Candidate, Instant>,
    serial: u64,
    rng: Rng,
}

impl Resolver {
    /// A resolver that knows nothing yet, for these transports, the preferred one first.
    pub fn new(transports: Vec<Transport>, mut rng: Rng) -> Resolver {
        let (cache, penalties) = (Cache::new(&mut rng), KeyedMap::with_hasher(KeyedHash::new(&mut rng)));
        Resolver { transports, cache, lookups: BTreeMap::new(), penalties, serial: 0, rng }
    }

    /// Begin a lookup. Beyond the cap on lookups there are no candidates.
    pub fn ask(&mut self, now: Instant, uri: &Uri) -> (LookupId, Step) {
        self.serial += 1;
        let id = LookupId(self.serial);
        let Some(goal) = Goal::of(uri) else { return (id, Step::Done(Vec::new())) };
        if self.lookups.len() >= limits::LOOKUPS {
            return (id, Step::Done(Vec::new()));
        }
        let seed = self.rng.u64();
        self.lookups.insert(id, Lookup { goal, known: BTreeMap::new(), asking: None, tries: 0, seed });
        (id, self.step(now, id))
    }

    /// What came of the question that the lookup asked.
    pub fn answer(&mut self, now: Instant, id: LookupId, answer: Answer) -> Step {
        let Some(lookup) = self.lookups.get_mut(&id) else { return Step::Done(Vec::new()) };
        let Some(question) = lookup.asking.take() else { return self.step(now, id) };
        let (records, ttl): (Records, Duration) = match answer {
            Answer::Found { records, ttl } => (records.into(), ttl),
            Answer::Nothing { ttl } => (Arc::from([]), ttl.min(cache::NOTHING_TTL)),
            Answer::Failed => match self.cache.last(&question) {
                Some(records) => (records, FAILURE_TTL),
                None => {
                    lookup.tries += 1;
                    if lookup.tries < TRIES {
                        let wait = BACK_OFF * (1 << (lookup.tries - 1));
                        return Step::Wait(now + wait);
                    }
                    (Arc::from([]), FAILURE_TTL)
                }
            },
        };
        lookup.tries = 0;
        lookup.known.insert(question.clone(), records.clone());
        self.cache.keep(now, question, records, ttl);
        self.step(now, id)
    }

    /// Go on after [`Step::Wait`].
    pub fn resume(&mut self, now: Instant, id: LookupId) -> Step {
        self.step(now, id)
    }

    /// A candidate could not be reached: for a while it comes behind the others (RFC 3263 §4.3).
    pub fn failed(&mut self, now: Instant, candidate: Candidate) {
        if self.penalties.len() >= limits::PENALTIES {
            self.penalties.retain(|_, until| *until > now);
        }
        if self.penalties.len() < limits::PENALTIES {
            self.penalties.insert(candidate, now + PENALTY);
        }
    }

    /// Lookups under way, and answers kept.
    pub fn census(&self) -> (usize, usize) {
        (self.lookups.len(), self.cache.len())
    }

    fn step(&mut self, now: Instant, id: LookupId) -> Step {
        let Some(lookup) = self.lookups.get_mut(&id) else { return Step::Done(Vec::new()) };
        let mut rng = Rng::from_number(lookup.seed);
        let enough = lookup.known.len() >= limits::QUESTIONS;
        let (cache, known) = (&self.cache, &mut lookup.known);
        let mut recall = |question: Question| {
            if let Some(records) = known.get(&question) {
                return Ok(records.clone());
            }
            match cache.find(now, &question) {
                Some(records) => {
                    known.insert(question, records.clone());
                    Ok(records)
                }
                None if enough => Ok(Arc::from([])),
                None => Err(question),
            }
        };
        match select::candidates(&lookup.goal, &self.transports, &mut recall, &mut rng) {
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
