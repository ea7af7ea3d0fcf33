//! From a carrier's name to addresses: the core asks and waits, the shell puts each question to the DNS once.

use std::collections::{BTreeMap, VecDeque};

use base::{Instant, Rng};
use model::{TrunkHost, TrunkId};
use sip::resolve::{Answer, Candidate, LookupId, Question, Resolver, Step};
use sip::{Transport, Uri};

use super::{Alarm, Trunks};
use crate::Output;
use crate::call::CallKey;

/// Who waits for addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    Call { call: CallKey, attempt: u64 },
    Probe { trunk: TrunkId, host: String },
    Register(TrunkId),
}

/// The resolver and everybody who waits for it.
#[derive(Debug)]
pub(crate) struct Lookups {
    resolver: Resolver,
    purposes: BTreeMap<LookupId, Purpose>,
    /// Questions that the shell works on, by their tokens, and the lookups that wait for them: one question is put once.
    questions: BTreeMap<u64, (Question, Vec<LookupId>)>,
    token: u64,
}

impl Lookups {
    pub(super) fn new(rng: Rng) -> Lookups {
        // UDP first: what nothing says otherwise about is spoken with in datagrams (RFC 3263 §4.1).
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
    /// Look a host up. What is known is answered at once; else the purpose comes back later with the addresses.
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

    /// Go on with a lookup after a pause.
    pub(crate) fn go_on(
        &mut self,
        now: Instant,
        id: LookupId,
        out: &mut Vec<Output>,
    ) -> Option<(Purpose, Vec<Candidate>)> {
        let step = self.lookups.resolver.resume(now, id);
        self.step(id, step, out)
    }

    /// An address could not be reached: for a while it comes behind the others of its name.
    pub(super) fn lookups_failed(&mut self, now: Instant, address: Candidate) {
        self.lookups.resolver.failed(now, address);
    }

    /// The lookups that wait for the answer with this token.
    pub(crate) fn answered(&mut self, token: u64) -> VecDeque<LookupId> {
        self.lookups.questions.remove(&token).map_or_else(VecDeque::new, |(_, waiting)| waiting.into())
    }

    /// Give an answer to one of the lookups that wait for it.
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

/// The URI of a user at a carrier, or of the carrier itself.
pub(super) fn host_uri(user: Option<&str>, host: &TrunkHost) -> String {
    let user = user.map(|user| format!("{}@", crate::call::escaped(user))).unwrap_or_default();
    let port = host.port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("sip:{user}{}{port};transport={}", host.in_uri(), host.transport.as_str())
}
