//! UAC side of an INVITE: the request, its early dialogs, and the responses (RFC 3261 §13.2).

use bytes::Bytes;

use super::state::{Session, SessionState, Up};
use super::timer;
use super::{InviteParams, SessionEvent, SessionId, Termination};
use crate::dialog::Dialog;
use crate::endpoint::{Cx, RequestSpec, contact_lines};
use crate::headers::NameAddr;
use crate::transaction::{ClientId, Key, Owner};
use crate::{BodyPart, HeaderName, Headers, Message, Method, body, limits};

/// State of an outgoing INVITE before its final response.
#[derive(Debug)]
pub(crate) struct Calling {
    /// The dialog fields that the INVITE determines.
    pub(crate) base: Dialog,
    pub(crate) tx: ClientId,
    pub(crate) forks: Vec<Fork>,
    pub(crate) cancel: Cancel,
    lines: Headers,
    /// Content-Type and bytes.
    body: (Box<str>, Bytes),
    max_forwards: u8,
    auth_sent: bool,
    /// Number of times that 422 raised our Session-Expires.
    interval_raises: u8,
}

/// One early dialog.
#[derive(Debug)]
pub(crate) struct Fork {
    pub(crate) dialog: Dialog,
    /// RSeq of the last reliable provisional response that we acknowledged.
    pub(crate) rseq: Option<u32>,
    /// A reliable response carried SDP: the first offer/answer exchange is complete (RFC 3262 §5).
    pub(crate) initial_offer_complete: bool,
}

/// Whether the call is being cancelled.
#[derive(Debug)]
pub(crate) enum Cancel {
    No,
    /// Requested; sent with these header lines once a provisional response arrives (RFC 3261 §9.1).
    Wanted(Headers),
    Sent,
}

/// Send the INVITE of a new session; `None` if the limit on transactions is reached.
pub(crate) fn connect(
    cx: &mut Cx<'_>,
    id: SessionId,
    connect: InviteParams,
    parts: &[BodyPart],
) -> Option<Session> {
    let (call_id, local_tag) = (cx.core.random_id(b'-'), cx.core.random_id(b'd'));
    let base = Dialog {
        call_id,
        local_tag,
        remote_tag: "".into(),
        local: connect.from.into(),
        remote: connect.to.into(),
        contact_user: connect.contact_user.into(),
        local_seq: 1 + cx.below(1 << 16) as u32,
        remote_seq: None,
        route: connect.target.route,
        target: connect.target.uri,
        hop: connect.target.hop,
    };
    let key = cx.core.keys.dialog(&base.call_id, &base.local_tag);
    let refresh = timer::SessionTimer::requested(&cx.core.config);
    let (lines, offer, max_forwards) = (connect.lines, connect.offer, connect.max_forwards);
    let body = invite_body(cx, &offer, parts);
    let tx = invite(cx, id, &base, max_forwards, &lines, &body, &refresh, None)?;
    let calling = Calling {
        base,
        tx,
        forks: Vec::new(),
        cancel: Cancel::No,
        lines,
        body,
        max_forwards,
        auth_sent: false,
        interval_raises: 0,
    };
    let mut session = Session::new(id, key, SessionState::InviteSent(Box::new(calling)), true);
    session.credentials = connect.credentials;
    session.local_sdp = Some(offer);
    session.timer = refresh;
    Some(session)
}

/// The body of an INVITE: our offer, and further parts.
fn invite_body(cx: &mut Cx<'_>, offer: &Bytes, parts: &[BodyPart]) -> (Box<str>, Bytes) {
    if parts.is_empty() {
        return (body::SDP.into(), offer.clone());
    }
    let mut boundary = cx.core.random_id(b'p');
    while body::contains(offer, parts, &boundary) {
        boundary = cx.core.random_id(b'p');
    }
    body::join(offer, parts, &boundary)
}

#[allow(clippy::too_many_arguments)]
fn invite(
    cx: &mut Cx<'_>,
    id: SessionId,
    base: &Dialog,
    max_forwards: u8,
    own: &Headers,
    body: &(Box<str>, Bytes),
    refresh: &timer::SessionTimer,
    auth: Option<&Headers>,
) -> Option<ClientId> {
    let body = Some((&*body.0, body.1.as_ref()));
    let spec = RequestSpec { method: &Method::Invite, cseq: base.local_seq, max_forwards, body };
    cx.send(base, spec, Owner::Session(id), |lines, core| {
        contact_lines(lines, base, &core.config.allow);
        refresh.invite_headers(lines);
        lines.extend(own);
        if let Some(auth) = auth {
            lines.extend(auth);
        }
    })
}

impl Session {
    /// A response to our INVITE, or `Err` with 408 or 503 if there is none.
    pub(crate) fn on_invite_response(&mut self, cx: &mut Cx<'_>, response: Result<&Message, u16>) {
        match response {
            Ok(response) => {
                self.update_peer_capabilities(response);
                match response.status().unwrap_or(0) {
                    0..=100 => self.cancel_if_wanted(cx),
                    101..=199 => self.on_provisional(cx, response),
                    200..=299 => self.on_success(cx, response),
                    status => self.on_rejection(cx, status, Some(response)),
                }
            }
            Err(status) => self.on_rejection(cx, status, None),
        }
    }

    fn on_provisional(&mut self, cx: &mut Cx<'_>, response: &Message) {
        let id = self.id;
        let SessionState::InviteSent(calling) = &mut self.state else { return };
        let fork = calling.fork(response);
        self.cancel_if_wanted(cx);
        let SessionState::InviteSent(calling) = &mut self.state else { return };
        let Some((at, fork)) = fork.and_then(|at| Some((at, calling.forks.get_mut(at)?))) else { return };
        fork.dialog.refresh(response);
        let reliable = response.tokens(HeaderName::Require).any(|token| token.eq_ignore_ascii_case("100rel"));
        let rseq = response.number(HeaderName::RSeq).and_then(Result::ok).filter(|_| reliable);
        let sdp = response.sdp().unwrap_or_default();
        if let Some(rseq) = rseq {
            // In order, and each one once (RFC 3262 §4).
            if fork.rseq.is_some_and(|last| rseq != last.wrapping_add(1)) {
                return;
            }
            fork.rseq = Some(rseq);
            fork.initial_offer_complete |= sdp.is_some();
            let tag = fork.dialog.remote_tag.clone();
            self.send_prack(cx, (rseq, response.cseq().number), tag);
        }
        let SessionState::InviteSent(calling) = &self.state else { return };
        if matches!(calling.cancel, Cancel::No) {
            let status = response.status().unwrap_or(0);
            cx.event(id, SessionEvent::Progress { status, fork: at as u8, sdp });
            self.offer_if_queued(cx);
        }
    }

    fn on_success(&mut self, cx: &mut Cx<'_>, response: &Message) {
        let id = self.id;
        let SessionState::InviteSent(calling) = &mut self.state else { return };
        let fork = calling.fork(response);
        let mut dialog = match fork.and_then(|at| calling.forks.get(at)) {
            Some(fork) => fork.dialog.clone(),
            None => calling.base.answered(response),
        };
        dialog.hop = calling.base.hop;
        dialog.take_route(response);
        dialog.refresh(response);
        let (tx, cseq, max_forwards) = (calling.tx, calling.base.local_seq, calling.max_forwards);
        let cancelled = !matches!(calling.cancel, Cancel::No);
        let spec = RequestSpec { method: &Method::Ack, cseq, max_forwards, body: None };
        cx.send_ack(&dialog, tx, spec, Some(id), self.auth.as_ref());
        let sdp = response.sdp().unwrap_or_default();
        if sdp.is_some() {
            self.remote_sdp.clone_from(&sdp);
        }
        self.timer.on_2xx(cx.now, response);
        self.state = SessionState::Confirmed(Box::new(Up { dialog, unacked: None, bye: None }));
        if cancelled {
            // CANCEL and 200 crossed (RFC 3261 §9.1): end the answered call with BYE.
            return self.send_bye(cx, Headers::new());
        }
        let fork = fork.unwrap_or(0) as u8;
        cx.event(id, SessionEvent::Accepted { fork, sdp, response: response.clone() });
        self.offer_if_queued(cx);
    }

    fn on_rejection(&mut self, cx: &mut Cx<'_>, status: u16, response: Option<&Message>) {
        let SessionState::InviteSent(calling) = &self.state else { return };
        if !matches!(calling.cancel, Cancel::No) {
            return self.terminate(cx, Termination::Local);
        }
        if let Some(response) = response
            && self.invite_again(cx, status, response)
        {
            return;
        }
        self.terminate(cx, Termination::Refused { status, response: response.cloned() });
    }

    /// Send the INVITE again if the rejection names a curable fault: missing credentials (once), or too small a session interval.
    fn invite_again(&mut self, cx: &mut Cx<'_>, status: u16, response: &Message) -> bool {
        let SessionState::InviteSent(calling) = &self.state else { return false };
        let (auth_sent, interval_raises) = (calling.auth_sent, calling.interval_raises);
        match status {
            401 | 407 if !auth_sent && self.authorise(cx, response, &Method::Invite) => {}
            422 if interval_raises < 2 && self.timer.raise_interval(response) => {}
            _ => return false,
        }
        let SessionState::InviteSent(calling) = &mut self.state else { return false };
        if status == 422 {
            (calling.interval_raises, calling.auth_sent) = (calling.interval_raises + 1, false);
        } else {
            calling.auth_sent = true;
        }
        calling.forks.clear();
        calling.base.next_seq();
        let auth = self.auth.as_ref();
        let lines = (&calling.lines, &calling.body);
        let tx =
            invite(cx, self.id, &calling.base, calling.max_forwards, lines.0, lines.1, &self.timer, auth);
        if let Some(tx) = tx {
            calling.tx = tx;
        }
        tx.is_some()
    }

    /// Answer a challenge with the credentials given for this call, and with no others (security.md row 5). The header line is stored in `self.auth`.
    pub(crate) fn authorise(&mut self, cx: &mut Cx<'_>, response: &Message, method: &Method) -> bool {
        let Some(account) = &self.credentials else { return false };
        let uri = match &self.state {
            SessionState::InviteSent(calling) => calling.base.request_uri(),
            SessionState::Confirmed(up) => up.dialog.request_uri(),
            SessionState::Terminating(closing) => closing.dialog.request_uri(),
            SessionState::InviteReceived(_) | SessionState::Terminated => return false,
        };
        let Some(lines) = account.answer_challenge(response, method, &uri, &mut cx.core.rng) else {
            return false;
        };
        self.auth = Some(lines);
        true
    }
}

impl Calling {
    /// The index of the early dialog that a response belongs to; a new one is added. `None` beyond the limit.
    fn fork(&mut self, response: &Message) -> Option<usize> {
        let tag = response.to_tag();
        let known = self.forks.iter().position(|fork| *fork.dialog.remote_tag == *tag);
        if known.is_some() {
            return known;
        }
        // A peer whose first response had no tag has one now.
        if let Some((at, nameless)) =
            self.forks.iter_mut().enumerate().find(|(_, fork)| fork.dialog.remote_tag.is_empty())
        {
            nameless.dialog = self.base.answered(response);
            return Some(at);
        }
        if self.forks.len() >= limits::EARLY_DIALOGS {
            return None;
        }
        self.forks.push(Fork {
            dialog: self.base.answered(response),
            rseq: None,
            initial_offer_complete: false,
        });
        Some(self.forks.len() - 1)
    }
}

/// A 2xx that no session expects: another fork answered too, or the session has terminated. Send ACK, then BYE (RFC 3261 §13.2.2.4).
pub(crate) fn ack_and_bye_stray(cx: &mut Cx<'_>, tx: ClientId, response: &Message) {
    let Some(client) = cx.core.transactions.client(tx) else { return };
    let (hop, label) = (client.hop, client.owner.ladder_session());
    let Ok(invite) = Message::parse(client.request.clone()) else { return };
    let Some(target) = invite.uri().cloned() else { return };
    let base = Dialog {
        call_id: invite.call_id().into(),
        local_tag: invite.from_tag().into(),
        remote_tag: "".into(),
        local: crate::dialog::address_text(&invite, HeaderName::From),
        remote: crate::dialog::address_text(&invite, HeaderName::To),
        contact_user: "".into(),
        local_seq: invite.cseq().number,
        remote_seq: None,
        route: invite
            .addresses(HeaderName::Route)
            .unwrap_or_default()
            .into_iter()
            .map(|NameAddr { uri, .. }| uri)
            .collect(),
        target,
        hop,
    };
    let mut dialog = base.answered(response);
    let ack = RequestSpec { method: &Method::Ack, cseq: dialog.local_seq, max_forwards: 70, body: None };
    cx.send_ack(&dialog, tx, ack, label, None);
    let bye = RequestSpec { method: &Method::Bye, cseq: dialog.next_seq(), max_forwards: 70, body: None };
    cx.send(&dialog, bye, Owner::None(label), |_, _| {});
}

/// Key of a session in the dialog table.
pub(crate) fn dialog_key(cx: &Cx<'_>, dialog: &Dialog) -> Key {
    cx.core.keys.dialog(&dialog.call_id, &dialog.local_tag)
}
