//! Received messages: parsed, matched to transactions, and dispatched.

use base::Instant;
use bytes::Bytes;

use super::stateless::Peer;
use super::{Cx, Endpoint, Event, Incoming, Output, ServerRequest, admission, slot, stun};
use crate::session::{self, SessionId};
use crate::transaction::{AckOutcome, ClientId, Owner, ResponseOutcome};
use crate::{Flow, Hop, Message, Method, Reply, Transport, wire};

impl Endpoint {
    pub(super) fn on_packet(&mut self, now: Instant, hop: Hop, bytes: Bytes, out: &mut Vec<Output>) {
        if hop.transport == Transport::Udp {
            // Keep-alives (RFC 5626 §4.4): an empty line needs no response over UDP, STUN does.
            if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
                return;
            }
            if stun::is_stun(&bytes) {
                if let Some(bytes) = stun::answer(&bytes, hop.remote) {
                    out.push(Output::Transmit { hop, bytes, session: None });
                }
                return;
            }
        }
        match Message::parse(bytes) {
            Ok(message) if message.status().is_some() => self.on_response(now, hop, &message, out),
            Ok(message) => self.on_request(now, hop, message, out),
            Err(error) => {
                let Some(request) = error.answerable else { return };
                if request.status().is_none() && *request.method() != Method::Ack {
                    let reply = Reply::new(error.status).phrase(error.what);
                    self.answer_stateless(now, &request, &hop, Peer::Unauthenticated, reply, None, None, out);
                }
            }
        }
    }

    // ---- responses -----------------------------------------------------------------------------------------------------------

    fn on_response(&mut self, now: Instant, hop: Hop, response: &Message, out: &mut Vec<Output>) {
        let key = self.core.keys.client(&response.via().branch, response.method());
        let at = out.len();
        let outcome = self.core.transactions.on_response(now, key, response, out);
        let owner = match outcome {
            ResponseOutcome::Stray => return,
            ResponseOutcome::Absorbed(owner) | ResponseOutcome::Passed(_, owner) => owner,
        };
        push_received(at, owner.ladder_session(), hop, response, out);
        let ResponseOutcome::Passed(tx, _) = outcome else { return };
        let status = response.status().unwrap_or(0);
        let expected = match owner {
            Owner::Session(id) => self
                .with_session(now, id, out, |session, cx| session.on_response(cx, tx, Ok(response)))
                .unwrap_or(false),
            Owner::Request(request) => {
                if status >= 200 {
                    self.on_final_response(now, request, Some(response), out);
                }
                true
            }
            Owner::Subscription(id) => {
                if status >= 200 {
                    self.on_notify_response(now, id, Some(status), out);
                }
                true
            }
            Owner::None(_) => false,
        };
        if !expected && *response.method() == Method::Invite && (200..300).contains(&status) {
            session::ack_and_bye_stray(&mut Cx { now, core: &mut self.core, out }, tx, response);
        }
    }

    /// A request that we sent gets no response: timeout (408) or transport failure (503).
    pub(super) fn on_no_response(
        &mut self,
        now: Instant,
        tx: ClientId,
        owner: Owner,
        status: u16,
        out: &mut Vec<Output>,
    ) {
        match owner {
            Owner::Session(id) => {
                self.with_session(now, id, out, |session, cx| session.on_response(cx, tx, Err(status)));
            }
            Owner::Request(request) => self.on_final_response(now, request, None, out),
            Owner::Subscription(id) => self.on_notify_response(now, id, None, out),
            Owner::None(_) => {}
        }
    }

    /// A connection closed (`peer` is `None`), or a peer is unreachable.
    pub(super) fn on_transport_failure(
        &mut self,
        now: Instant,
        flow: Flow,
        peer: Option<Hop>,
        out: &mut Vec<Output>,
    ) {
        if peer.is_none() && flow == Flow::default() {
            return; // UDP has no connection that could close
        }
        for (tx, owner) in self.core.transactions.remove_unreachable(flow, peer) {
            self.on_no_response(now, tx, owner, 503, out);
        }
    }

    // ---- requests ------------------------------------------------------------------------------------------------------------

    fn on_request(&mut self, now: Instant, hop: Hop, request: Message, out: &mut Vec<Output>) {
        let method = request.method();
        let in_dialog = !request.to_tag().is_empty() && *method != Method::Register;
        if *method == Method::Ack {
            return self.on_ack(now, hop, &request, out);
        }
        if *method == Method::Cancel {
            return self.on_cancel(now, hop, &request, out);
        }
        if in_dialog || *method == Method::Invite {
            let key = self.core.keys.server(&request, method, hop.remote.ip());
            let at = out.len();
            if let Some(label) = self.core.transactions.on_retransmission(key, out) {
                return push_received(at, label, hop, &request, out);
            }
        }
        if in_dialog {
            return self.on_in_dialog_request(now, hop, request, out);
        }
        if self.resend_cached(now, hop, &request, out) {
            return;
        }
        match admission::admit(&self.core, &request) {
            Ok(()) => out.push(Output::Event(Event::Request(Incoming { hop, message: request }))),
            Err(rejection) => {
                let reply = Reply {
                    phrase: rejection.phrase,
                    ..Reply::new(rejection.status).lines(&rejection.lines)
                };
                self.answer_stateless(now, &request, &hop, Peer::Unauthenticated, reply, None, None, out);
            }
        }
    }

    /// If the response to an out-of-dialog request is cached, the request is a retransmission: send the response again and return `true`.
    pub(super) fn resend_cached(
        &self,
        now: Instant,
        hop: Hop,
        request: &Message,
        out: &mut Vec<Output>,
    ) -> bool {
        if self.response_cache.is_empty() {
            return false;
        }
        let Some(bytes) = self.response_cache.get(now, self.core.keys.answer(request, hop.remote)) else {
            return false;
        };
        let response_hop = wire::reply_hop(request, &hop);
        out.push(Output::Transmit { hop: response_hop, bytes: bytes.clone(), session: None });
        true
    }

    /// An in-dialog request (RFC 3261 §12.2.2).
    fn on_in_dialog_request(&mut self, now: Instant, hop: Hop, request: Message, out: &mut Vec<Output>) {
        if self.on_in_dialog_subscribe(now, hop, &request, out) {
            return;
        }
        let peer =
            self.session_of(&request).and_then(|id| Some((id, self.is_peer(id, request.from_tag(), hop)?)));
        match peer {
            None => {
                drop(self.answer_stateless(
                    now,
                    &request,
                    &hop,
                    Peer::Unauthenticated,
                    Reply::new(481),
                    None,
                    None,
                    out,
                ));
            }
            Some((id, true)) => self.serve_in_dialog(now, id, Incoming { hop, message: request }, out),
            Some((session, false)) => {
                let request = Incoming { hop, message: request };
                out.push(Output::Event(Event::SourceChanged { session, request }));
            }
        }
    }

    /// Whether `hop` comes from the host of a session's peer; `None` if the From tag is not the peer's.
    fn is_peer(&mut self, id: SessionId, from_tag: &str, hop: Hop) -> Option<bool> {
        let dialog = self.sessions.get_mut(slot(id))?.dialog(from_tag)?;
        Some(dialog.hop.remote.ip().to_canonical() == hop.remote.ip().to_canonical())
    }

    /// Create the transaction of an in-dialog request, and let the session handle it.
    pub(super) fn serve_in_dialog(
        &mut self,
        now: Instant,
        id: SessionId,
        request: Incoming,
        out: &mut Vec<Output>,
    ) {
        let Incoming { hop, message } = request;
        push_received(out.len(), Some(id), hop, &message, out);
        let unknown = admission::unsupported(&message);
        let method = message.method();
        let key = self.core.keys.server(&message, method, hop.remote.ip());
        let response_hop = wire::reply_hop(&message, &hop);
        let tx =
            self.core.transactions.new_server(key, None, response_hop, *method == Method::Invite, Some(id));
        let Some(tx) = tx else {
            self.answer_stateless(
                now,
                &message,
                &hop,
                Peer::Unauthenticated,
                Reply::new(503),
                None,
                Some(id),
                out,
            );
            return;
        };
        let request = ServerRequest { tx, message, hop };
        self.with_session(now, id, out, |session, cx| {
            if unknown.is_empty() {
                session.on_request(cx, request);
            } else {
                cx.respond(&request, "", Reply::new(420), |lines, _| {
                    lines.add("Unsupported", unknown);
                });
            }
        });
    }

    fn on_ack(&mut self, now: Instant, hop: Hop, ack: &Message, out: &mut Vec<Output>) {
        let key = self.core.keys.server(ack, &Method::Invite, hop.remote.ip());
        match self.core.transactions.on_ack(now, key) {
            AckOutcome::First(tx, label) => {
                push_received(out.len(), label, hop, ack, out);
                if let Some(id) = label {
                    self.with_session(now, id, out, |session, cx| session.on_rejection_complete(cx, tx));
                }
            }
            AckOutcome::Retransmission(label) => push_received(out.len(), label, hop, ack, out),
            // The ACK of a 2xx, or of a stateless rejection, or of nothing we know: the last two are absorbed.
            AckOutcome::NoMatch => {
                // An ACK from another host is ignored: our 200 is retransmitted until the peer acknowledges it.
                if let Some(id) = self.session_of(ack)
                    && self.is_peer(id, ack.from_tag(), hop) == Some(true)
                {
                    push_received(out.len(), Some(id), hop, ack, out);
                    self.with_session(now, id, out, |session, cx| session.on_ack(cx, ack));
                }
            }
        }
    }

    fn on_cancel(&mut self, now: Instant, hop: Hop, cancel: &Message, out: &mut Vec<Output>) {
        if self.resend_cached(now, hop, cancel, out) {
            return;
        }
        let key = self.core.keys.server(cancel, &Method::Invite, hop.remote.ip());
        let Some((tx, label, open)) = self.core.transactions.find_invite_of_cancel(key) else {
            self.answer_stateless(now, cancel, &hop, Peer::Unauthenticated, Reply::new(481), None, None, out);
            return;
        };
        push_received(out.len(), label, hop, cancel, out);
        // The same To tag as in the responses to the INVITE (RFC 3261 §9.2).
        let tag =
            label.and_then(|id| self.with_session(now, id, out, |session, _| session.local_tag())).flatten();
        let status = if self.core.transactions.is_accepted(tx) { 481 } else { 200 };
        let answer = self.answer_stateless(
            now,
            cancel,
            &hop,
            Peer::Unauthenticated,
            Reply::new(status),
            tag.as_deref(),
            label,
            out,
        );
        let until = now + self.core.transactions.timer_values.timeout;
        if !answer.is_empty() {
            self.response_cache.insert(now, until, self.core.keys.answer(cancel, hop.remote), answer);
        }
        if let (Some(id), true) = (label, open) {
            self.with_session(now, id, out, |session, cx| session.on_cancel(cx, tx, cancel));
        }
    }

    fn session_of(&self, request: &Message) -> Option<SessionId> {
        let key = self.core.keys.dialog(request.call_id(), request.to_tag());
        let slot = *self.dialogs.get(&key)?;
        self.sessions.get(slot as usize).map(|session| session.id)
    }
}

/// Report a received message for the ladder diagram, before the outputs that it caused.
fn push_received(at: usize, label: Option<SessionId>, hop: Hop, message: &Message, out: &mut Vec<Output>) {
    if let Some(session) = label {
        out.insert(at.min(out.len()), Output::Received { session, hop, bytes: message.bytes().clone() });
    }
}
