//! The state of a session, and the dispatch of each input to the operation that handles it.

use std::sync::Arc;

use base::Instant;
use bytes::Bytes;
use smallvec::SmallVec;

use super::accept::Ringing;
use super::connect::Calling;
use super::timer::SessionTimer;
use super::{SessionEvent, SessionId, Termination};
use crate::dialog::Dialog;
use crate::digest::Account;
use crate::endpoint::{Cx, ServerRequest};
use crate::transaction::{ClientId, Key, Retransmission, ServerId};
use crate::{HeaderName, Headers, Message, Method};

/// One INVITE session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// Its key in the dialog table.
    pub(crate) key: Key,
    pub(crate) timer_at: Option<Instant>,
    pub(crate) state: SessionState,
    pub(crate) offer_answer: OfferAnswerState,
    /// An offer of the user that cannot be sent yet; a later one replaces it.
    pub(crate) pending_offer: Option<Bytes>,
    /// In-dialog requests that we sent and that have no final response.
    pub(crate) pending: SmallVec<[InDialogRequest; 2]>,
    pub(crate) timer: SessionTimer,
    /// Our current SDP; a session refresh by re-INVITE repeats it.
    pub(crate) local_sdp: Option<Bytes>,
    pub(crate) remote_sdp: Option<Bytes>,
    pub(crate) peer: Peer,
    /// Whether we sent the INVITE, and so own the Call-ID (RFC 3261 §14.1).
    pub(crate) caller: bool,
    pub(crate) credentials: Option<Account>,
    /// The Authorization header of the last INVITE, which its ACK repeats (§22.1).
    pub(crate) auth: Option<Headers>,
}

/// Capabilities that the peer announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Peer {
    /// `Allow` lists UPDATE.
    pub(crate) allows_update: bool,
    /// `Supported` lists timer.
    pub(crate) supports_timer: bool,
}

/// The state of a session.
#[derive(Debug)]
pub(crate) enum SessionState {
    /// Our INVITE has no final response yet.
    InviteSent(Box<Calling>),
    /// The peer's INVITE has no final response yet.
    InviteReceived(Box<Ringing>),
    /// A 2xx was sent or received.
    Confirmed(Box<Up>),
    /// We ended it; BYE or the rejection is not complete yet.
    Terminating(Box<Closing>),
    /// Nothing is left to do; the endpoint removes the session.
    Terminated,
}

/// A dialog that is confirmed, or will be by an ACK.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) dialog: Dialog,
    /// Our 2xx that waits for its ACK.
    pub(crate) unacked: Option<Unacked>,
    /// BYE was requested, and waits for that ACK (RFC 3261 §15); the value is its header lines.
    pub(crate) bye: Option<Headers>,
}

/// A 2xx to an INVITE, retransmitted until its ACK arrives (§13.3.1.4).
#[derive(Debug)]
pub(crate) struct Unacked {
    pub(crate) tx: ServerId,
    pub(crate) cseq: u32,
    pub(crate) bytes: Bytes,
    pub(crate) resend: Retransmission,
    pub(crate) until: Instant,
    /// The 2xx carried an offer; the ACK carries the answer.
    pub(crate) offered: bool,
}

/// A session that we ended.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) dialog: Dialog,
    pub(crate) awaited: PendingReply,
}

/// The message that a session which we ended waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PendingReply {
    /// The response to BYE.
    Bye,
    /// The ACK of our rejection.
    Ack(ServerId),
}

/// State of offer/answer (RFC 3264 §4), except for the exchange that the initial INVITE started.
#[derive(Debug)]
pub(crate) enum OfferAnswerState {
    /// No offer is pending.
    Stable,
    /// The peer sent an offer; the user must answer it.
    RemoteOffer(ServerRequest),
    /// The peer asks for our offer by a re-INVITE without SDP.
    OfferRequested(ServerRequest),
    /// We sent an offer by re-INVITE or UPDATE.
    LocalOffer,
    /// We sent an offer in a reliable 183 or in a 200: PRACK or ACK carries the answer.
    LocalOfferInResponse,
    /// Our offer got 491 because the peer offered too; it is sent again at `at` (RFC 3261 §14.1).
    Glare { sdp: Bytes, tries: u8, at: Instant },
}

/// An in-dialog request that we sent.
#[derive(Debug)]
pub(crate) struct InDialogRequest {
    pub(crate) tx: ClientId,
    pub(crate) intent: Intent,
    /// A challenge was answered; a second one is not.
    pub(crate) auth_sent: bool,
}

/// The content of an in-dialog request: enough to send it again.
#[derive(Clone, Debug)]
pub(crate) enum Intent {
    /// An offer of the user, or with [`OfferReason::Refresh`] a session refresh.
    ReInvite {
        sdp: Bytes,
        reason: OfferReason,
    },
    Update {
        sdp: Option<Bytes>,
        reason: OfferReason,
    },
    Bye {
        lines: Headers,
    },
    Info {
        kind: Arc<str>,
        body: Bytes,
    },
    Prack {
        rack: (u32, u32),
        tag: Box<str>,
    },
}

/// Why a re-INVITE or UPDATE is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OfferReason {
    /// An offer of the user; the number counts the 491 responses to it.
    User(u8),
    /// The session timer.
    Refresh,
}

impl Session {
    pub(crate) fn new(id: SessionId, key: Key, state: SessionState, caller: bool) -> Self {
        Session {
            id,
            key,
            timer_at: None,
            state,
            offer_answer: OfferAnswerState::Stable,
            pending_offer: None,
            pending: SmallVec::new(),
            timer: SessionTimer::default(),
            local_sdp: None,
            remote_sdp: None,
            peer: Peer::default(),
            caller,
            credentials: None,
            auth: None,
        }
    }

    /// The dialog with this remote tag; for an unanswered outgoing call, one of its early dialogs.
    pub(crate) fn dialog(&mut self, remote_tag: &str) -> Option<&mut Dialog> {
        let dialog = match &mut self.state {
            SessionState::InviteSent(calling) => {
                return calling
                    .forks
                    .iter_mut()
                    .map(|fork| &mut fork.dialog)
                    .find(|dialog| *dialog.remote_tag == *remote_tag);
            }
            SessionState::InviteReceived(ringing) => &mut ringing.dialog,
            SessionState::Confirmed(up) => &mut up.dialog,
            SessionState::Terminating(closing) => &mut closing.dialog,
            SessionState::Terminated => return None,
        };
        (*dialog.remote_tag == *remote_tag).then_some(dialog)
    }

    /// The dialog for requests of the user; `None` while several early dialogs exist.
    pub(crate) fn only_dialog(&mut self) -> Option<&mut Dialog> {
        match &mut self.state {
            SessionState::InviteSent(calling) => match calling.forks.as_mut_slice() {
                [one] => Some(&mut one.dialog),
                _ => None,
            },
            SessionState::InviteReceived(ringing) => Some(&mut ringing.dialog),
            SessionState::Confirmed(up) => Some(&mut up.dialog),
            SessionState::Terminating(closing) => Some(&mut closing.dialog),
            SessionState::Terminated => None,
        }
    }

    /// The Call-ID that all dialogs of the session share.
    pub(crate) fn call_id(&self) -> Option<&str> {
        match &self.state {
            SessionState::InviteSent(calling) => Some(&calling.base.call_id),
            SessionState::InviteReceived(ringing) => Some(&ringing.dialog.call_id),
            SessionState::Confirmed(up) => Some(&up.dialog.call_id),
            SessionState::Terminating(closing) => Some(&closing.dialog.call_id),
            SessionState::Terminated => None,
        }
    }

    /// Our tag in the dialog.
    pub(crate) fn local_tag(&mut self) -> Option<Arc<str>> {
        self.only_dialog().map(|dialog| dialog.local_tag.clone())
    }

    pub(crate) fn is_terminated(&self) -> bool {
        matches!(self.state, SessionState::Terminated)
    }

    /// Terminate the session: reject the peer's pending offer, detach pending transactions, report the end.
    pub(crate) fn terminate(&mut self, cx: &mut Cx<'_>, ended: Termination) {
        if self.is_terminated() {
            return;
        }
        self.reject_pending_offer(cx);
        if let SessionState::InviteSent(calling) = &self.state {
            let tx = calling.tx;
            if cx.core.transactions.is_proceeding(tx) {
                cx.cancel(tx, None, Some(self.id));
            }
            cx.core.transactions.detach(cx.now, tx);
        }
        for pending in &self.pending {
            cx.core.transactions.detach(cx.now, pending.tx);
        }
        self.state = SessionState::Terminated;
        cx.event(self.id, SessionEvent::Ended(ended));
    }

    /// Reject the peer's offer that the user has not answered.
    pub(crate) fn reject_pending_offer(&mut self, cx: &mut Cx<'_>) {
        match std::mem::replace(&mut self.offer_answer, OfferAnswerState::Stable) {
            OfferAnswerState::RemoteOffer(request) | OfferAnswerState::OfferRequested(request) => {
                cx.respond_status(&request, 487);
            }
            OfferAnswerState::Stable
            | OfferAnswerState::LocalOffer
            | OfferAnswerState::LocalOfferInResponse
            | OfferAnswerState::Glare { .. } => {}
        }
    }

    /// Read the peer's capabilities from a message.
    pub(crate) fn update_peer_capabilities(&mut self, message: &Message) {
        if message.header_lines(HeaderName::Allow).next().is_some() {
            self.peer.allows_update = message.tokens(HeaderName::Allow).any(|token| token == "UPDATE");
        }
        if message.header_lines(HeaderName::Supported).next().is_some() {
            self.peer.supports_timer =
                message.tokens(HeaderName::Supported).any(|token| token.eq_ignore_ascii_case("timer"));
        }
    }

    /// An in-dialog request of the peer, other than ACK and CANCEL; its transaction exists.
    pub(crate) fn on_request(&mut self, cx: &mut Cx<'_>, request: ServerRequest) {
        let Some(dialog) = self.dialog(request.message.from_tag()) else {
            return cx.respond_status(&request, 481);
        };
        if !dialog.accepts(&request.message, request.hop) {
            return cx.respond_status(&request, 500);
        }
        let early = matches!(self.state, SessionState::InviteSent(_));
        let bye_requested = matches!(&self.state, SessionState::Confirmed(up) if up.bye.is_some());
        match request.message.method() {
            // The user has hung up, and BYE waits only for the ACK: no new offers.
            Method::Invite | Method::Update | Method::Info if bye_requested => {
                cx.respond_status(&request, 481);
            }
            Method::Bye => self.on_bye(cx, &request),
            Method::Invite if early => cx.respond_status(&request, 491),
            Method::Invite => self.on_reinvite(cx, request),
            Method::Update => self.on_update(cx, request),
            Method::Prack => self.on_prack(cx, request),
            Method::Info => self.on_info(cx, &request),
            Method::Options => cx.answer_options(&request),
            Method::Subscribe | Method::Notify => cx.respond_status(&request, 489),
            Method::Refer | Method::Message | Method::Publish | Method::Register => {
                cx.reject_method(&request, 405);
            }
            Method::Other(_) => cx.reject_method(&request, 501),
            Method::Ack | Method::Cancel => {}
        }
    }

    /// A response to one of our requests, or `Err` with 408 or 503 if there is none. `false` if no request of this session expects it.
    pub(crate) fn on_response(
        &mut self,
        cx: &mut Cx<'_>,
        tx: ClientId,
        answer: Result<&Message, u16>,
    ) -> bool {
        if let SessionState::InviteSent(calling) = &self.state
            && calling.tx == tx
        {
            self.on_invite_response(cx, answer);
            return true;
        }
        let Some(at) = self.pending.iter().position(|pending| pending.tx == tx) else { return false };
        let status = answer.map_or_else(|status| status, |message| message.status().unwrap_or(0));
        if status < 200 {
            if let Ok(message) = answer {
                self.prack_reinvite(cx, tx, message);
            }
            return true;
        }
        let pending = self.pending.remove(at);
        if let (401 | 407, Ok(message), false) = (status, answer, pending.auth_sent)
            && self.authorise(cx, message, pending.intent.method())
        {
            self.send_request(cx, pending.intent, true);
            return true;
        }
        match pending.intent {
            Intent::ReInvite { sdp, reason } => self.on_reinvite_response(cx, tx, answer, sdp, reason),
            Intent::Update { sdp, reason } => self.on_update_response(cx, answer, sdp, reason),
            Intent::Bye { .. } => {
                if matches!(self.state, SessionState::Terminating(_)) {
                    self.terminate(cx, Termination::Local);
                }
            }
            Intent::Info { .. } => {
                if matches!(status, 408 | 481) && matches!(self.state, SessionState::Confirmed(_)) {
                    self.on_dialog_gone(cx, status);
                }
            }
            Intent::Prack { .. } => {}
        }
        true
    }

    /// The time of the session's next timer.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let state = match &self.state {
            SessionState::InviteReceived(ringing) => ringing.deadline(),
            SessionState::Confirmed(up) => {
                up.unacked.as_ref().map(|unacked| unacked.resend.at.min(unacked.until))
            }
            SessionState::InviteSent(_) | SessionState::Terminating(_) | SessionState::Terminated => None,
        };
        let glare = match &self.offer_answer {
            OfferAnswerState::Glare { at, .. } => Some(*at),
            OfferAnswerState::Stable
            | OfferAnswerState::RemoteOffer(_)
            | OfferAnswerState::OfferRequested(_)
            | OfferAnswerState::LocalOffer
            | OfferAnswerState::LocalOfferInResponse => None,
        };
        let refresh =
            if matches!(self.state, SessionState::Confirmed(_)) { self.timer.deadline() } else { None };
        state.into_iter().chain(glare).chain(refresh).min()
    }

    /// The session's timer has expired.
    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>) {
        self.tick_reliable(cx);
        self.tick_unacked(cx);
        self.tick_glare(cx);
        self.tick_refresh(cx);
    }
}

impl Intent {
    pub(crate) fn method(&self) -> &'static Method {
        match self {
            Intent::ReInvite { .. } => &Method::Invite,
            Intent::Update { .. } => &Method::Update,
            Intent::Bye { .. } => &Method::Bye,
            Intent::Info { .. } => &Method::Info,
            Intent::Prack { .. } => &Method::Prack,
        }
    }
}
