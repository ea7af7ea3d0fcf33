//! DNS lookups of carrier hosts (RFC 3263). The core keeps the resolver state and the shell performs the queries; concurrent lookups share a query.

use std::collections::{BTreeMap, VecDeque};

use base::{Instant, Rng};
use model::{TrunkHost, TrunkId};
use sip::resolve::{Answer, Candidate, LookupId, Question, Resolver, Step};
use sip::{Transport, Uri};

use super::{Alarm, Trunks};
use crate::Output;
use crate::call::CallKey;

/// The consumer of a lookup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    Call { call: CallKey, attempt: u64 },
    Probe { trunk: TrunkId, host: String },
    Register(TrunkId),
}

/// The resolver and its pending lookups.
#[derive(Debug)]
pub(crate) struct Lookups {
    resolver: Resolver,
    purposes: BTreeMap<LookupId, Purpose>,
    /// Queries in progress by token, each with the lookups that wait for it; the same question is not sent twice at a time.
    questions: BTreeMap<u64, (Question, Vec<LookupId>)>,
    token: u64,
}

impl Lookups {
    pub(super) fn new(rng: Rng) -> Lookups {
        // UDP first: it is the default when neither the URI nor DNS specifies a transport (RFC 3263 §4.1).
        let transports = vec![Transport::Udp, Transport::Tcp, Transport::Tls];
        Lookups {
            resolver: Resolver::new(transports, rng),
            purposes: BTreeMap::new(),
            questions: BTreeMap::new(),
            token: 0,
        }
    }

    fn ask(&mut self, id: LookupId, question: Question, out: &mut Vec<Output>) {
        let asked = self.questions.values_mut().find(|(same, _)| *same == question);
        if let Some((_, waiting)) = asked {
            waiting.push(id);
            return;
        }
        self.token += 1;
        self.questions.insert(self.token, (question.clone(), vec![id]));
        out.push(Output::Resolve { token: self.token, question });
    }
}

impl Trunks {
    /// Resolve a host. Returns the addresses if they are known, empty for an invalid host. `None` when a query is needed: `purpose` is returned
    /// with the addresses by [`Trunks::take_answer`] or [`Trunks::go_on`].
    pub(super) fn look_up(
        &mut self,
        now: Instant,
        host: &TrunkHost,
        purpose: Purpose,
        out: &mut Vec<Output>,
    ) -> Option<Vec<Candidate>> {
        let Ok(uri) = Uri::parse(host_uri(None, host).into()) else { return Some(Vec::new()) };
        let (id, step) = self.lookups.resolver.ask(now, &uri);
        self.lookups.purposes.insert(id, purpose);
        let done = self.step(id, step, out);
        done.map(|(_, candidates)| candidates)
    }

    fn step(&mut self, id: LookupId, step: Step, out: &mut Vec<Output>) -> Option<(Purpose, Vec<Candidate>)> {
        match step {
            Step::Ask(question) => self.lookups.ask(id, question, out),
            Step::Wait(until) => self.set(until, Alarm::Lookup(id)),
            Step::Done(candidates) => return Some((self.lookups.purposes.remove(&id)?, candidates)),
        }
        None
    }

    /// Resume a lookup after its wait time.
    pub(crate) fn go_on(
        &mut self,
        now: Instant,
        id: LookupId,
        out: &mut Vec<Output>,
    ) -> Option<(Purpose, Vec<Candidate>)> {
        let step = self.lookups.resolver.resume(now, id);
        self.step(id, step, out)
    }

    /// Report an unreachable address: for a while it is sorted behind the other addresses of its name.
    pub(super) fn lookups_failed(&mut self, now: Instant, address: Candidate) {
        self.lookups.resolver.failed(now, address);
    }

    /// Remove the query with this token and return the lookups that wait for it.
    pub(crate) fn answered(&mut self, token: u64) -> VecDeque<LookupId> {
        self.lookups.questions.remove(&token).map_or_else(VecDeque::new, |(_, waiting)| waiting.into())
    }

    /// Pass an answer to one of the lookups that wait for it. Returns the purpose and the addresses when the lookup is complete.
    pub(crate) fn take_answer(
        &mut self,
        now: Instant,
        id: LookupId,
        answer: &Answer,
        out: &mut Vec<Output>,
    ) -> Option<(Purpose, Vec<Candidate>)> {
        let step = self.lookups.resolver.answer(now, id, answer.clone());
        self.step(id, step, out)
    }
}

/// The SIP URI of a user at a carrier host, or of the host itself if `user` is `None`.
pub(super) fn host_uri(user: Option<&str>, host: &TrunkHost) -> String {
    let user = user.map(|user| format!("{}@", crate::call::escaped(user))).unwrap_or_default();
    let port = host.port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("sip:{user}{}{port};transport={}", host.in_uri(), host.transport.as_str())
}
