//! CANCEL (RFC 3261 §9), sent and received.

use super::Termination;
use super::connect::Cancel;
use super::state::{OfferAnswerState, Session, SessionState};
use crate::endpoint::Cx;
use crate::transaction::{ServerId, Transactions};
use crate::{HeaderName, Headers, Message, Reply};

impl Session {
    /// The user cancels an outgoing call: send CANCEL once a provisional response allows it.
    pub(crate) fn cancel(&mut self, cx: &mut Cx<'_>, lines: Headers) {
        let SessionState::InviteSent(calling) = &mut self.state else { return };
        if matches!(calling.cancel, Cancel::No) {
            calling.cancel = Cancel::Wanted(lines);
            self.pending_offer = None;
            self.cancel_if_wanted(cx);
        }
    }

    /// See [`crate::Endpoint::has_response`].
    pub(crate) fn has_response(&self, transactions: &Transactions) -> bool {
        match &self.state {
            SessionState::InviteSent(calling) => transactions.is_proceeding(calling.tx),
            SessionState::InviteReceived(_)
            | SessionState::Confirmed(_)
            | SessionState::Terminating(_)
            | SessionState::Terminated => true,
        }
    }

    /// Send the requested CANCEL if the INVITE has a provisional response.
    pub(crate) fn cancel_if_wanted(&mut self, cx: &mut Cx<'_>) {
        let SessionState::InviteSent(calling) = &mut self.state else { return };
        if !cx.core.transactions.is_proceeding(calling.tx) {
            return;
        }
        if let Cancel::Wanted(lines) = &calling.cancel {
            cx.cancel(calling.tx, Some(lines), Some(self.id));
            calling.cancel = Cancel::Sent;
        }
    }

    /// The peer's CANCEL of an INVITE without final response. The CANCEL itself already has its response.
    pub(crate) fn on_cancel(&mut self, cx: &mut Cx<'_>, invite: ServerId, cancel: &Message) {
        if let SessionState::InviteReceived(ringing) = &mut self.state {
            if ringing.invite.tx != invite {
                return;
            }
            let (request, tag) = (ringing.invite.clone(), ringing.dialog.local_tag.clone());
            cx.respond(&request, &tag, Reply::new(487), |_, _| {});
            let reason = cancel.header(HeaderName::Reason).map(str::to_owned);
            return self.terminate(cx, Termination::Cancelled { reason });
        }
        // A cancelled re-INVITE: the session continues unchanged.
        let withdrawn = match &self.offer_answer {
            OfferAnswerState::RemoteOffer(request) | OfferAnswerState::OfferRequested(request) => {
                request.tx == invite
            }
            OfferAnswerState::Stable
            | OfferAnswerState::LocalOffer
            | OfferAnswerState::LocalOfferInResponse
            | OfferAnswerState::Glare { .. } => false,
        };
        if withdrawn {
            self.reject_pending_offer(cx);
            self.offer_if_queued(cx);
        }
    }
}
