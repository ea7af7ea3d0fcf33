//! The SIP endpoint: owns the transactions and the sessions, and only dispatches between them.

mod admission;
mod context;
mod receive;
mod request;
mod response_cache;
mod response_limit;
mod stateless;
mod stun;
mod subscribe;

use std::sync::Arc;
use std::time::Duration;

use base::{Instant, KeyedHash, KeyedMap, Now, Rng};
use bytes::Bytes;
use slab::Slab;

use crate::session::{self, HangupParams, InviteParams, Session, SessionEvent, SessionId};
use crate::subscription::{SubscriptionEvent, SubscriptionId, Subscriptions};
use crate::transaction::{Expired, Key, Timer};
use crate::{Flow, Headers, Hop, Message, Method, Reply, limits, wire};

pub(crate) use context::{Core, Cx, RequestSpec, ServerRequest, contact_lines};
use request::PendingRequest;
pub use request::{Request, RequestId};
use response_cache::ResponseCache;
use response_limit::ResponseLimiter;
use stateless::Peer;

/// What the endpoint must know before the first message.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Server and User-Agent header; nothing is written where `None`.
    pub software: Option<String>,
    /// Begins every tag, branch and Call-ID of ours: node and shard, so that in-dialog traffic finds its owner.
    pub id_prefix: String,
    /// T1 (RFC 3261 §17.1.1.1), 500 ms; the other timers follow from it.
    pub t1: Duration,
    /// Session-Expires that we ask for (RFC 4028), 1800 s.
    pub session_expires: Duration,
    /// Min-SE that we insist on, 90 s.
    pub min_se: Duration,
    /// The methods that are done here, as Allow lists them. Requests outside dialogs with another one come up uninspected.
    pub allow: Arc<str>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            software: Some("Centralita".into()),
            id_prefix: "0".into(),
            t1: Duration::from_millis(500),
            session_expires: Duration::from_secs(1800),
            min_se: Duration::from_secs(90),
            allow: "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, INFO, SUBSCRIBE".into(),
        }
    }
}

/// What happens to the endpoint.
#[derive(Clone, Debug)]
pub enum Input {
    /// A datagram, or one frame of a stream ([`crate::Framer`]).
    Packet {
        /// Where it came from.
        hop: Hop,
        /// What it says.
        bytes: Bytes,
    },
    /// A connection is gone.
    FlowClosed(Flow),
    /// A transmission failed (ICMP port unreachable, connection refused).
    Unreachable(Hop),
    /// The deadline has come.
    Tick,
}

/// What follows from it.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this.
    Transmit {
        /// Where to.
        hop: Hop,
        /// The whole message.
        bytes: Bytes,
        /// The session that it belongs to, for the ladder.
        session: Option<SessionId>,
    },
    /// A message that came in belongs to this session, for the ladder. The INVITE that opens a session is not repeated here.
    Received {
        /// The session.
        session: SessionId,
        /// Where it came from.
        hop: Hop,
        /// The whole message.
        bytes: Bytes,
    },
    /// Something that the user of the endpoint decides about.
    Event(Event),
}

/// A request that nothing is kept for yet.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Where it came from.
    pub hop: Hop,
    /// The request.
    pub message: Message,
}

/// What the user of the endpoint decides about.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request outside any session: REGISTER, OPTIONS, an initial INVITE, …. It has passed RFC 3261 §8.2 (scheme, Max-Forwards, Require,
    /// merged requests), unless its method is none of [`Config::allow`], and is no retransmission that we can tell. Answer it now, with [`Endpoint::respond_stateless`], [`Endpoint::respond_cached`] or
    /// [`Endpoint::start_uas`].
    Request(Incoming),
    /// Something happened in a session.
    Session {
        /// Which.
        session: SessionId,
        /// What.
        event: SessionEvent,
    },
    /// A request within a session, tags and all, that came from another host than the session's peer: a phone that has moved, or somebody
    /// who read along. Ask it who it is ([`Endpoint::respond_stateless`]), and hand it back with [`Endpoint::accept_source`] once it has proved to be the peer.
    SourceChanged {
        /// The session whose tags it has.
        session: SessionId,
        /// The request; never an ACK or a CANCEL, which cannot be asked and count for nothing.
        request: Incoming,
    },
    /// Something happened to a subscription that somebody has with us.
    Subscription {
        /// Which.
        subscription: SubscriptionId,
        /// What.
        event: SubscriptionEvent,
    },
    /// A request of ours got its final answer; `None` is a time-out or a broken transport.
    Response {
        /// Which.
        request: RequestId,
        /// The answer.
        response: Option<Message>,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Endpoint {
    core: Core,
    sessions: Slab<Session>,
    dialogs: KeyedMap<Key, u32>,
    subscriptions: Subscriptions,
    subscribed: KeyedMap<Key, u32>,
    ring: ResponseCache,
    budget: ResponseLimiter,
    /// Requests of ours outside sessions that wait for their answer.
    asked: KeyedMap<RequestId, PendingRequest>,
    /// Sessions and requests ever begun.
    serial: u64,
}

/// Bits of a [`SessionId`] that name the slot; the rest is a serial number.
const SLOT_BITS: u32 = 20;
/// Alarms that one tick rings at most.
const TICK_BATCH: usize = 256;

impl Endpoint {
    /// An endpoint without transactions.
    pub fn new(config: Config, mut rng: Rng) -> Endpoint {
        let ring = ResponseCache::new(&mut rng);
        let hash = KeyedHash::new(&mut rng);
        let budget = ResponseLimiter::new(&mut rng);
        Endpoint {
            core: Core::new(config, rng),
            sessions: Slab::new(),
            dialogs: KeyedMap::with_hasher(hash),
            subscriptions: Subscriptions::default(),
            subscribed: KeyedMap::with_hasher(hash),
            ring,
            budget,
            asked: KeyedMap::with_hasher(hash),
            serial: 0,
        }
    }

    /// Absorb one input; append every consequence to `out`.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        let now = now.instant;
        match input {
            Input::Packet { hop, bytes } => self.on_packet(now, hop, bytes, out),
            Input::FlowClosed(flow) => self.on_broken(now, flow, None, out),
            Input::Unreachable(hop) => self.on_broken(now, hop.flow, Some(hop), out),
            Input::Tick => self.on_tick(now, out),
        }
    }

    /// When to come back with [`Input::Tick`] if nothing else happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.core.transactions.alarms.next()
    }

    /// Transactions and sessions alive, for metrics and for the oracle that says nothing survives.
    pub fn counts(&self) -> (usize, usize) {
        (self.core.transactions.len(), self.sessions.len())
    }

    /// Answers that strangers did not get since their address had had its share.
    pub fn suppressed_responses(&self) -> u64 {
        self.budget.withheld
    }

    fn on_tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        for _ in 0..TICK_BATCH {
            let Some(alarm) = self.core.transactions.alarms.pop(now) else { break };
            let expired = match alarm {
                Timer::Client(slot) => self.core.transactions.fire_client(now, slot, out),
                Timer::Server(slot) => self.core.transactions.fire_server(now, slot, out),
                Timer::Session(slot) => {
                    if let Some(session) = self.sessions.get_mut(slot as usize) {
                        session.timer_at = None;
                        let id = session.id;
                        self.with(now, id, out, Session::tick);
                    }
                    None
                }
                Timer::Subscription(slot) => {
                    self.subscription_expired(now, slot, out);
                    None
                }
            };
            match expired {
                Some(Expired::Client { tx, owner }) => self.on_lost(now, tx, owner, 408, out),
                Some(Expired::Server { tx, session: Some(id) }) => {
                    self.with(now, id, out, |session, cx| session.on_refusal_done(cx, tx));
                }
                Some(Expired::Server { session: None, .. }) | None => {}
            }
        }
    }

    // ---- requests outside sessions -------------------------------------------------------------------------------------------

    /// Answer anybody without keeping anything: a retransmission is judged anew. Over UDP the answer is never much longer than the request,
    /// and an address that never proved a password gets only so many. The To-tag is derived from the request, so that it is the same.
    /// ACKs to such an answer to INVITE are absorbed without state.
    pub fn respond_stateless(
        &mut self,
        now: Now,
        request: &Incoming,
        reply: Reply<'_>,
        out: &mut Vec<Output>,
    ) {
        self.answer_stateless(
            now.instant,
            &request.message,
            &request.hop,
            Peer::Unauthenticated,
            reply,
            None,
            None,
            out,
        );
    }

    /// Answer somebody who has proved who he is, and keep the answer in a capped ring for retransmissions of the request.
    pub fn respond_cached(&mut self, now: Now, request: &Incoming, reply: Reply<'_>, out: &mut Vec<Output>) {
        self.budget.proved(now.instant, request.hop.remote.ip());
        let bytes = self.answer_stateless(
            now.instant,
            &request.message,
            &request.hop,
            Peer::Authenticated,
            reply,
            None,
            None,
            out,
        );
        let key = self.core.keys.answer(&request.message, request.hop.remote);
        let until = now.instant + self.core.transactions.times.long;
        self.ring.keep(now.instant, until, key, bytes);
    }

    /// Let a session deal with the request of an [`Event::SourceChanged`]; from now on its peer is where that came from.
    pub fn accept_source(&mut self, now: Now, session: SessionId, request: Incoming, out: &mut Vec<Output>) {
        self.serve_within(now.instant, session, request, out);
    }

    // ---- sessions ------------------------------------------------------------------------------------------------------------

    /// Take up an INVITE: its transaction begins, 100 is sent. `None` where it is not taken up: the cap is reached and 503 was sent, or its
    /// Session-Expires is below our Min-SE and 422 was sent (RFC 4028 §9).
    pub fn start_uas(&mut self, now: Now, invite: Incoming, out: &mut Vec<Output>) -> Option<SessionId> {
        if let Some(least) = session::too_small(&self.core.config, &invite.message) {
            let mut lines = Headers::new();
            lines.add("Min-SE", least);
            self.respond_cached(now, &invite, Reply::new(422).lines(&lines), out);
            return None;
        }
        let Incoming { hop, message } = invite;
        let id = self.next_session();
        let key = self.core.keys.server(&message, &Method::Invite, hop.remote.ip());
        let merged = self.core.keys.merged(&message);
        let back = wire::reply_hop(&message, &hop);
        let tx = match id {
            Some(id) => self.core.transactions.new_server(key, Some(merged), back, true, Some(id)),
            None => None,
        };
        let (Some(id), Some(tx)) = (id, tx) else {
            let mut lines = Headers::new();
            lines.add("Retry-After", 5 + self.core.rng.below(6));
            self.respond_cached(now, &Incoming { hop, message }, Reply::new(503).lines(&lines), out);
            return None;
        };
        self.budget.proved(now.instant, hop.remote.ip());
        let mut cx = Cx { now: now.instant, core: &mut self.core, out };
        let session = session::receive(&mut cx, id, ServerRequest { tx, request: message, hop });
        self.keep(session);
        Some(id)
    }

    /// Send an INVITE. `None` where the cap is reached.
    pub fn connect(&mut self, now: Now, connect: InviteParams, out: &mut Vec<Output>) -> Option<SessionId> {
        let id = self.next_session()?;
        let mut cx = Cx { now: now.instant, core: &mut self.core, out };
        let session = session::connect(&mut cx, id, connect)?;
        self.keep(session);
        Some(id)
    }

    /// Send 180 or 183 (181, 182) for an incoming session; reliably (RFC 3262) where the caller requires it, or supports it and there is SDP.
    /// With SDP that is our answer, or our offer to an INVITE without one. Nothing happens once a final answer was sent.
    pub fn progress(
        &mut self,
        now: Now,
        session: SessionId,
        status: u16,
        sdp: Option<Bytes>,
        out: &mut Vec<Output>,
    ) {
        self.with(now.instant, session, out, |session, cx| session.progress(cx, status, sdp));
    }

    /// Answer 200 to an incoming session. `sdp` may be `None` only where a reliable provisional answer already carried it. Waits for an
    /// outstanding PRACK first (RFC 3262 §3).
    pub fn accept(&mut self, now: Now, session: SessionId, sdp: Option<Bytes>, out: &mut Vec<Output>) {
        self.with(now.instant, session, out, |session, cx| session.accept(cx, sdp));
    }

    /// End a session in whatever state it is: refuse (an incoming one without a final answer), CANCEL (an outgoing one), BYE (one that is
    /// up; where the ACK is outstanding, after it: RFC 3261 §15). [`SessionEvent::Termination`] follows when the signalling is done; no other event after it.
    pub fn hangup(&mut self, now: Now, session: SessionId, hangup: HangupParams<'_>, out: &mut Vec<Output>) {
        self.with(now.instant, session, out, |session, cx| session.hangup(cx, &hangup));
    }

    /// Offer new SDP to the peer: by re-INVITE where the dialog is confirmed, by UPDATE where it is early and the peer allows that. Waits while
    /// another offer is under way, retries after 491 (RFC 3261 §14.1). [`SessionEvent::Answered`] or [`SessionEvent::OfferRefused`] follows.
    pub fn offer(&mut self, now: Now, session: SessionId, sdp: Bytes, out: &mut Vec<Output>) {
        self.with(now.instant, session, out, |session, cx| session.offer(cx, sdp));
    }

    /// Answer a [`SessionEvent::Offered`]: with SDP, or refuse it with a status (488).
    pub fn answer(
        &mut self,
        now: Now,
        session: SessionId,
        answer: Result<Bytes, u16>,
        out: &mut Vec<Output>,
    ) {
        self.with(now.instant, session, out, |session, cx| session.answer(cx, answer));
    }

    /// Send INFO within a session that is up.
    pub fn info(
        &mut self,
        now: Now,
        session: SessionId,
        content_type: &str,
        body: &[u8],
        out: &mut Vec<Output>,
    ) {
        self.with(now.instant, session, out, |session, cx| session.info(cx, content_type, body));
    }

    /// What a session's dialog must be remembered by so that [`Endpoint::restore_dialog`] can end it after a crash; `None` before it is confirmed.
    /// An opaque text of at most 4 KB, for the journal.
    pub fn dialog(&self, session: SessionId) -> Option<Vec<u8>> {
        self.sessions.get(slot(session)).filter(|s| s.id == session)?.journal()
    }

    /// Whether anything was heard of the INVITE of a session that is being called: `false` is silence.
    pub fn has_response(&self, session: SessionId) -> bool {
        let found = self.sessions.get(slot(session)).filter(|s| s.id == session);
        found.is_none_or(|session| session.is_heard(&self.core.transactions))
    }

    /// The Call-ID of a session.
    pub fn call_id(&self, session: SessionId) -> Option<&str> {
        self.sessions.get(slot(session)).filter(|s| s.id == session)?.call_id()
    }

    /// Take up a dialog from before a crash (see [`Endpoint::dialog`]), over `hop`. The CSeq goes on well above the last one.
    pub fn restore_dialog(&mut self, now: Now, dialog: &[u8], hop: Hop) -> Option<SessionId> {
        let id = self.next_session()?;
        let cx = Cx { now: now.instant, core: &mut self.core, out: &mut Vec::new() };
        let session = session::resume(&cx, id, dialog, hop)?;
        self.keep(session);
        Some(id)
    }

    // ---- keeping them --------------------------------------------------------------------------------------------------------

    /// The id that the next session gets; `None` where the cap is reached.
    fn next_session(&mut self) -> Option<SessionId> {
        if self.sessions.len() >= limits::SESSIONS {
            return None;
        }
        self.serial += 1;
        Some(SessionId(self.serial << SLOT_BITS | self.sessions.vacant_key() as u64))
    }

    fn keep(&mut self, session: Session) {
        let (id, key) = (session.id, session.key);
        let at = self.sessions.insert(session);
        debug_assert_eq!(at, slot(id));
        self.dialogs.insert(key, at as u32);
        self.arm(at);
    }

    fn arm(&mut self, at: usize) {
        if let Some(session) = self.sessions.get_mut(at) {
            let deadline = session.deadline();
            self.core.transactions.alarms.set(Timer::Session(at as u32), &mut session.timer_at, deadline);
        }
    }

    /// Let a session deal with something; afterwards it is armed anew, or forgotten if it is over.
    fn with<T>(
        &mut self,
        now: Instant,
        id: SessionId,
        out: &mut Vec<Output>,
        what: impl FnOnce(&mut Session, &mut Cx<'_>) -> T,
    ) -> Option<T> {
        let at = slot(id);
        let session = self.sessions.get_mut(at).filter(|session| session.id == id)?;
        let told = what(session, &mut Cx { now, core: &mut self.core, out });
        if session.is_over() {
            let mut session = self.sessions.remove(at);
            self.core.transactions.alarms.set(Timer::Session(at as u32), &mut session.timer_at, None);
            if self.dialogs.get(&session.key) == Some(&(at as u32)) {
                self.dialogs.remove(&session.key);
            }
        } else {
            self.arm(at);
        }
        Some(told)
    }
}

fn slot(id: SessionId) -> usize {
    (id.0 & ((1 << SLOT_BITS) - 1)) as usize
}
