//! The SIP endpoint: owns transactions, sessions and subscriptions, and dispatches between them.

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
use crate::{BodyPart, Flow, Headers, Hop, Message, Method, Reply, limits, wire};

pub(crate) use context::{Core, Cx, RequestSpec, ServerRequest, contact_lines};
use request::PendingRequest;
pub use request::{Request, RequestId};
use response_cache::ResponseCache;
use response_limit::ResponseLimiter;
use stateless::Peer;

/// Configuration of an [`Endpoint`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Value of the Server and User-Agent headers; `None` omits them.
    pub software: Option<String>,
    /// Prefix of every tag, branch and Call-ID that we generate: node and shard, so that in-dialog requests can be routed to their owner.
    pub id_prefix: String,
    /// T1 (RFC 3261 §17.1.1.1), default 500 ms; the other transaction timers are multiples of it.
    pub t1: Duration,
    /// Session-Expires that we request (RFC 4028), default 1800 s.
    pub session_expires: Duration,
    /// Min-SE that we require (RFC 4028), default 90 s.
    pub min_se: Duration,
    /// Supported methods, as the Allow header lists them. Out-of-dialog requests with another method are reported without any check.
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

/// An input of the endpoint.
#[derive(Clone, Debug)]
pub enum Input {
    /// A UDP datagram, or one frame of a stream ([`crate::Framer`]).
    Packet {
        /// The hop that it came over.
        hop: Hop,
        /// The bytes of the message.
        bytes: Bytes,
    },
    /// A connection has closed.
    FlowClosed(Flow),
    /// Sending failed (ICMP port unreachable, connection refused).
    Unreachable(Hop),
    /// [`Endpoint::deadline`] has passed.
    Tick,
}

/// An output of the endpoint.
#[derive(Clone, Debug)]
pub enum Output {
    /// A message to send.
    Transmit {
        /// The hop to send it over.
        hop: Hop,
        /// The complete message.
        bytes: Bytes,
        /// The session that it belongs to, for the ladder diagram.
        session: Option<SessionId>,
    },
    /// A received message belongs to this session, for the ladder diagram. The INVITE that opens a session is not reported here.
    Received {
        /// Id of the session.
        session: SessionId,
        /// The hop that it came over.
        hop: Hop,
        /// The complete message.
        bytes: Bytes,
    },
    /// An event for the user of the endpoint.
    Event(Event),
}

/// A received request that has no transaction yet.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The hop that it came over.
    pub hop: Hop,
    /// The parsed request.
    pub message: Message,
}

/// An event for the user of the endpoint.
#[derive(Clone, Debug)]
pub enum Event {
    /// An out-of-dialog request: REGISTER, OPTIONS, an initial INVITE, …. It has passed the checks of RFC 3261 §8.2 (scheme, Max-Forwards, Require,
    /// merged requests), unless its method is not in [`Config::allow`], and it is not a detectable retransmission. Respond before the next input,
    /// with [`Endpoint::respond_stateless`], [`Endpoint::respond_cached`] or [`Endpoint::start_uas`].
    Request(Incoming),
    /// An event of a session.
    Session {
        /// Id of the session.
        session: SessionId,
        /// The event.
        event: SessionEvent,
    },
    /// An in-dialog request with the right tags that came from another host than the session's peer: a phone that changed its address, or an attacker
    /// who knows the tags. Challenge it ([`Endpoint::respond_stateless`]), and pass it to [`Endpoint::accept_source`] once it has authenticated as
    /// the peer.
    SourceChanged {
        /// Id of the session that the tags belong to.
        session: SessionId,
        /// The request. Never an ACK or a CANCEL, which cannot be challenged and are ignored.
        request: Incoming,
    },
    /// An event of a subscription that a remote subscriber has with us.
    Subscription {
        /// Id of the subscription.
        subscription: SubscriptionId,
        /// The event.
        event: SubscriptionEvent,
    },
    /// The final response to an out-of-dialog request that we sent; `None` on timeout or transport failure.
    Response {
        /// Id of the request, as [`Endpoint::request`] returned it.
        request: RequestId,
        /// The final response.
        response: Option<Message>,
    },
}

/// The SIP endpoint of one process or shard: transactions, INVITE sessions, subscriptions and out-of-dialog requests. See the example of the crate.
#[derive(Debug)]
pub struct Endpoint {
    core: Core,
    sessions: Slab<Session>,
    dialogs: KeyedMap<Key, u32>,
    subscriptions: Subscriptions,
    subscription_dialogs: KeyedMap<Key, u32>,
    response_cache: ResponseCache,
    response_limiter: ResponseLimiter,
    /// Out-of-dialog requests that we sent and that have no final response yet.
    pending_requests: KeyedMap<RequestId, PendingRequest>,
    /// Number of sessions and requests ever started.
    serial: u64,
}

/// Bits of a [`SessionId`] that hold the slot; the upper bits are a serial number.
const SLOT_BITS: u32 = 20;
/// Maximum number of timers that one tick handles.
const TICK_BATCH: usize = 256;

impl Endpoint {
    /// An endpoint without transactions or sessions. `rng` seeds its tags, branches and hash keys.
    pub fn new(config: Config, mut rng: Rng) -> Endpoint {
        let response_cache = ResponseCache::new(&mut rng);
        let hash = KeyedHash::new(&mut rng);
        let response_limiter = ResponseLimiter::new(&mut rng);
        Endpoint {
            core: Core::new(config, rng),
            sessions: Slab::new(),
            dialogs: KeyedMap::with_hasher(hash),
            subscriptions: Subscriptions::default(),
            subscription_dialogs: KeyedMap::with_hasher(hash),
            response_cache,
            response_limiter,
            pending_requests: KeyedMap::with_hasher(hash),
            serial: 0,
        }
    }

    /// Handle one input; append the outputs to `out`.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        let now = now.instant;
        match input {
            Input::Packet { hop, bytes } => self.on_packet(now, hop, bytes, out),
            Input::FlowClosed(flow) => self.on_transport_failure(now, flow, None, out),
            Input::Unreachable(hop) => self.on_transport_failure(now, hop.flow, Some(hop), out),
            Input::Tick => self.on_tick(now, out),
        }
    }

    /// When to call [`Endpoint::handle`] with [`Input::Tick`] if no other input comes first; `None` if no timer is set.
    pub fn deadline(&self) -> Option<Instant> {
        self.core.transactions.timers.next()
    }

    /// The number of transactions and of sessions, for metrics and for leak checks in tests.
    pub fn counts(&self) -> (usize, usize) {
        (self.core.transactions.len(), self.sessions.len())
    }

    /// Number of responses that the limit for unauthenticated sources has suppressed.
    pub fn suppressed_responses(&self) -> u64 {
        self.response_limiter.suppressed
    }

    fn on_tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        for _ in 0..TICK_BATCH {
            let Some(timer) = self.core.transactions.timers.pop(now) else { break };
            let expired = match timer {
                Timer::Client(slot) => self.core.transactions.fire_client(now, slot, out),
                Timer::Server(slot) => self.core.transactions.fire_server(now, slot, out),
                Timer::Session(slot) => {
                    if let Some(session) = self.sessions.get_mut(slot as usize) {
                        session.timer_at = None;
                        let id = session.id;
                        self.with_session(now, id, out, Session::tick);
                    }
                    None
                }
                Timer::Subscription(slot) => {
                    self.subscription_expired(now, slot, out);
                    None
                }
            };
            match expired {
                Some(Expired::Client { tx, owner }) => self.on_no_response(now, tx, owner, 408, out),
                Some(Expired::Server { tx, session: Some(id) }) => {
                    self.with_session(now, id, out, |session, cx| session.on_rejection_complete(cx, tx));
                }
                Some(Expired::Server { session: None, .. }) | None => {}
            }
        }
    }

    // ---- requests outside sessions -------------------------------------------------------------------------------------------

    /// Respond without keeping state; a retransmission is reported as a new request. Over UDP the response is at most a few times as long as the
    /// request ([`crate::limits`]), and a source that never authenticated gets a limited number. The To tag is derived from the request, so every
    /// retransmission gets the same one. ACKs to such a response to an INVITE are absorbed without state.
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

    /// Respond to an authenticated sender, and cache the response for retransmissions of the request. The cache has a fixed capacity.
    pub fn respond_cached(&mut self, now: Now, request: &Incoming, reply: Reply<'_>, out: &mut Vec<Output>) {
        self.response_limiter.on_authenticated(now.instant, request.hop.remote.ip());
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
        let until = now.instant + self.core.transactions.timer_values.timeout;
        self.response_cache.insert(now.instant, until, key, bytes);
    }

    /// Let a session handle the request of an [`Event::SourceChanged`]. From now on the peer's address is the source of that request.
    pub fn accept_source(&mut self, now: Now, session: SessionId, request: Incoming, out: &mut Vec<Output>) {
        self.serve_in_dialog(now.instant, session, request, out);
    }

    // ---- sessions ------------------------------------------------------------------------------------------------------------

    /// Accept an INVITE as a UAS: create its transaction and session, send 100. `None` if the session limit is reached (503 was sent) or if its
    /// Session-Expires is below our Min-SE (422 was sent, RFC 4028 §9).
    pub fn start_uas(&mut self, now: Now, invite: Incoming, out: &mut Vec<Output>) -> Option<SessionId> {
        if let Some(least) = session::below_min_se(&self.core.config, &invite.message) {
            let mut lines = Headers::new();
            lines.add("Min-SE", least);
            self.respond_cached(now, &invite, Reply::new(422).lines(&lines), out);
            return None;
        }
        let Incoming { hop, message } = invite;
        let id = self.next_session();
        let key = self.core.keys.server(&message, &Method::Invite, hop.remote.ip());
        let merged = self.core.keys.merged(&message);
        let response_hop = wire::reply_hop(&message, &hop);
        let tx = match id {
            Some(id) => self.core.transactions.new_server(key, Some(merged), response_hop, true, Some(id)),
            None => None,
        };
        let (Some(id), Some(tx)) = (id, tx) else {
            let mut lines = Headers::new();
            lines.add("Retry-After", 5 + self.core.rng.below(6));
            self.respond_cached(now, &Incoming { hop, message }, Reply::new(503).lines(&lines), out);
            return None;
        };
        self.response_limiter.on_authenticated(now.instant, hop.remote.ip());
        let mut cx = Cx { now: now.instant, core: &mut self.core, out };
        let session = session::receive(&mut cx, id, ServerRequest { tx, message, hop });
        self.insert_session(session);
        Some(id)
    }

    /// Send an INVITE as a UAC. `None` if the limit on sessions or transactions is reached.
    pub fn connect(&mut self, now: Now, connect: InviteParams, out: &mut Vec<Output>) -> Option<SessionId> {
        self.connect_with_parts(now, connect, &[], out)
    }

    /// Like [`Endpoint::connect`], with further body parts beside the offer: then the body is `multipart/mixed` (RFC 5621). For the location of an
    /// emergency call (PIDF-LO, RFC 6442); [`Message::body_parts`] of the incoming INVITE returns them.
    pub fn connect_with_parts(
        &mut self,
        now: Now,
        connect: InviteParams,
        parts: &[BodyPart],
        out: &mut Vec<Output>,
    ) -> Option<SessionId> {
        let id = self.next_session()?;
        let mut cx = Cx { now: now.instant, core: &mut self.core, out };
        let session = session::connect(&mut cx, id, connect, parts)?;
        self.insert_session(session);
        Some(id)
    }

    /// Send 180 or 183 (181, 182) for an incoming session; reliably (RFC 3262) if the caller requires 100rel, or supports it and there is SDP. The
    /// SDP is our answer, or our offer if the INVITE had none. No effect after a final response.
    pub fn progress(
        &mut self,
        now: Now,
        session: SessionId,
        status: u16,
        sdp: Option<Bytes>,
        out: &mut Vec<Output>,
    ) {
        self.with_session(now.instant, session, out, |session, cx| session.progress(cx, status, sdp));
    }

    /// Send 200 for an incoming session. `sdp` may be `None` only if a reliable provisional response already carried it. Waits for an outstanding
    /// PRACK first (RFC 3262 §3).
    pub fn accept(&mut self, now: Now, session: SessionId, sdp: Option<Bytes>, out: &mut Vec<Output>) {
        self.with_session(now.instant, session, out, |session, cx| session.accept(cx, sdp));
    }

    /// End a session in any state: reject an incoming one without final response, CANCEL an outgoing one, send BYE in a confirmed one (if the ACK is
    /// outstanding, after it: RFC 3261 §15). [`SessionEvent::Ended`] follows when the signalling is complete, and is the last event.
    pub fn hangup(&mut self, now: Now, session: SessionId, hangup: HangupParams<'_>, out: &mut Vec<Output>) {
        self.with_session(now.instant, session, out, |session, cx| session.hangup(cx, &hangup));
    }

    /// Send an SDP offer: by re-INVITE if the dialog is confirmed, by UPDATE if it is early and the peer allows it. Waits while another offer is
    /// pending, retries after 491 (RFC 3261 §14.1). [`SessionEvent::Answered`] or [`SessionEvent::OfferRefused`] follows.
    pub fn offer(&mut self, now: Now, session: SessionId, sdp: Bytes, out: &mut Vec<Output>) {
        self.with_session(now.instant, session, out, |session, cx| session.offer(cx, sdp));
    }

    /// Respond to a [`SessionEvent::Offered`]: with an SDP answer, or reject it with a status (488).
    pub fn answer(
        &mut self,
        now: Now,
        session: SessionId,
        answer: Result<Bytes, u16>,
        out: &mut Vec<Output>,
    ) {
        self.with_session(now.instant, session, out, |session, cx| session.answer(cx, answer));
    }

    /// Send INFO in a confirmed session.
    pub fn info(
        &mut self,
        now: Now,
        session: SessionId,
        content_type: &str,
        body: &[u8],
        out: &mut Vec<Output>,
    ) {
        self.with_session(now.instant, session, out, |session, cx| session.info(cx, content_type, body));
    }

    /// A snapshot of a session's dialog, from which [`Endpoint::restore_dialog`] can end it after a crash; `None` before it is confirmed. Opaque text
    /// of at most 4 KB, for the journal.
    pub fn dialog(&self, session: SessionId) -> Option<Vec<u8>> {
        self.sessions.get(slot(session)).filter(|s| s.id == session)?.journal()
    }

    /// Whether the INVITE that we sent for a session got any response; `false` means none so far.
    pub fn has_response(&self, session: SessionId) -> bool {
        let found = self.sessions.get(slot(session)).filter(|s| s.id == session);
        found.is_none_or(|session| session.has_response(&self.core.transactions))
    }

    /// The Call-ID of a session, once its id is valid.
    pub fn call_id(&self, session: SessionId) -> Option<&str> {
        self.sessions.get(slot(session)).filter(|s| s.id == session)?.call_id()
    }

    /// Restore a dialog of an earlier process (see [`Endpoint::dialog`]) over `hop`. The CSeq continues well above the last one used.
    pub fn restore_dialog(&mut self, now: Now, dialog: &[u8], hop: Hop) -> Option<SessionId> {
        let id = self.next_session()?;
        let cx = Cx { now: now.instant, core: &mut self.core, out: &mut Vec::new() };
        let session = session::restore(&cx, id, dialog, hop)?;
        self.insert_session(session);
        Some(id)
    }

    // ---- session table -------------------------------------------------------------------------------------------------------

    /// The id of the next session; `None` if the limit is reached.
    fn next_session(&mut self) -> Option<SessionId> {
        if self.sessions.len() >= limits::SESSIONS {
            return None;
        }
        self.serial += 1;
        Some(SessionId(self.serial << SLOT_BITS | self.sessions.vacant_key() as u64))
    }

    fn insert_session(&mut self, session: Session) {
        let (id, key) = (session.id, session.key);
        let at = self.sessions.insert(session);
        debug_assert_eq!(at, slot(id));
        self.dialogs.insert(key, at as u32);
        self.schedule(at);
    }

    fn schedule(&mut self, at: usize) {
        if let Some(session) = self.sessions.get_mut(at) {
            let deadline = session.deadline();
            self.core.transactions.timers.set(Timer::Session(at as u32), &mut session.timer_at, deadline);
        }
    }

    /// Run `action` on a session; afterwards set its timer, or remove the session if it has terminated.
    fn with_session<T>(
        &mut self,
        now: Instant,
        id: SessionId,
        out: &mut Vec<Output>,
        action: impl FnOnce(&mut Session, &mut Cx<'_>) -> T,
    ) -> Option<T> {
        let at = slot(id);
        let session = self.sessions.get_mut(at).filter(|session| session.id == id)?;
        let result = action(session, &mut Cx { now, core: &mut self.core, out });
        if session.is_terminated() {
            let mut session = self.sessions.remove(at);
            self.core.transactions.timers.set(Timer::Session(at as u32), &mut session.timer_at, None);
            if self.dialogs.get(&session.key) == Some(&(at as u32)) {
                self.dialogs.remove(&session.key);
            }
        } else {
            self.schedule(at);
        }
        Some(result)
    }
}

fn slot(id: SessionId) -> usize {
    (id.0 & ((1 << SLOT_BITS) - 1)) as usize
}
