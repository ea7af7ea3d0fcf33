//! CANCEL (RFC 3261 §9), on both sides.

use super::Ended;
use super::connect::Cancel;
use super::state::{Exchange, Session, Stage};
use crate::endpoint::Cx;
use crate::transaction::{ServerId, Transactions};
use crate::{HeaderLines, Message, Name, Reply};

impl Session {
    /// The user gives up a call of ours: CANCEL, as soon as a provisional answer allows it.
    pub(crate) fn cancel(&mut self, cx: &mut Cx<'_>, lines: HeaderLines) {
        let Stage::Calling(calling) = &mut self.stage else { return };
        if matches!(calling.cancel, Cancel::No) {
            calling.cancel = Cancel::Wanted(lines);
            self.queued = None;
            self.cancel_if_wanted(cx);
        }
    }

    /// See [`crate::Endpoint::is_heard`].
    pub(crate) fn is_heard(&self, transactions: &Transactions) -> bool {
        match &self.stage {
            Stage::Calling(calling) => transactions.is_proceeding(calling.tx),
            Stage::Ringing(_) | Stage::Up(_) | Stage::Closing(_) | Stage::Over => true,
        }
    }

    /// Send the CANCEL that was wanted, if the INVITE was heard of.
    pub(crate) fn cancel_if_wanted(&mut self, cx: &mut Cx<'_>) {
        let Stage::Calling(calling) = &mut self.stage else { return };
        if !cx.core.transactions.is_proceeding(calling.tx) {
            return;
        }
        if let Cancel::Wanted(lines) = &calling.cancel {
            cx.cancel(calling.tx, Some(lines), Some(self.id));
            calling.cancel = Cancel::Sent;
        }
    }

    /// The peer's CANCEL of an INVITE without final answer; the CANCEL itself is answered already.
    pub(crate) fn on_cancel(&mut self, cx: &mut Cx<'_>, invite: ServerId, cancel: &Message) {
        if let Stage::Ringing(ringing) = &mut self.stage {
            if ringing.invite.tx != invite {
                return;
            }
            let (served, tag) = (ringing.invite.clone(), ringing.dialog.local_tag.clone());
            cx.respond(&served, &tag, Reply::new(487), |_, _| {});
            let reason = cancel.header(Name::Reason).map(str::to_owned);
            return self.end(cx, Ended::Cancelled { reason });
        }
        // A re-INVITE is withdrawn: the session goes on as it was.
        let withdrawn = match &self.exchange {
            Exchange::Theirs(served) | Exchange::Asked(served) => served.tx == invite,
            Exchange::Idle | Exchange::Ours | Exchange::Carried | Exchange::Glare { .. } => false,
        };
        if withdrawn {
            self.withdraw(cx);
            self.offer_if_queued(cx);
        }
    }
}
