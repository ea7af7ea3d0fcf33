//! Ending a session (RFC 3261 §15): BYE, rejection, and dialogs that the peer no longer knows.

use super::state::{Closing, Intent, PendingReply, Session, SessionState};
use super::{HangupParams, Termination};
use crate::endpoint::{Cx, RequestSpec, ServerRequest};
use crate::transaction::{Owner, ServerId};
use crate::{HeaderName, Headers, Method, Reply};

impl Session {
    /// See [`crate::Endpoint::hangup`].
    pub(crate) fn hangup(&mut self, cx: &mut Cx<'_>, hangup: &HangupParams<'_>) {
        let lines = hangup.lines.cloned().unwrap_or_default();
        match &mut self.state {
            SessionState::InviteSent(_) => self.cancel(cx, lines),
            SessionState::InviteReceived(ringing) => {
                let reply = Reply {
                    status: if (300..700).contains(&hangup.status) { hangup.status } else { 480 },
                    phrase: hangup.phrase,
                    lines: hangup.lines,
                    body: None,
                };
                let (request, dialog) = (ringing.invite.clone(), ringing.dialog.clone());
                cx.respond(&request, &dialog.local_tag, reply, |_, _| {});
                self.reject_pending_offer(cx);
                self.state = SessionState::Terminating(Box::new(Closing {
                    dialog,
                    awaited: PendingReply::Ack(request.tx),
                }));
            }
            SessionState::Confirmed(up) if up.unacked.is_some() => {
                if up.bye.is_none() {
                    up.bye = Some(lines);
                }
                self.reject_pending_offer(cx);
            }
            SessionState::Confirmed(_) => self.send_bye(cx, lines),
            SessionState::Terminating(_) | SessionState::Terminated => {}
        }
    }

    /// Send BYE; the session terminates with the response.
    pub(crate) fn send_bye(&mut self, cx: &mut Cx<'_>, lines: Headers) {
        self.reject_pending_offer(cx);
        let SessionState::Confirmed(up) = std::mem::replace(&mut self.state, SessionState::Terminated) else {
            return;
        };
        self.state =
            SessionState::Terminating(Box::new(Closing { dialog: up.dialog, awaited: PendingReply::Bye }));
        if !self.send_request(cx, Intent::Bye { lines }, false) {
            self.terminate(cx, Termination::Local);
        }
    }

    /// Send a BYE without waiting for its response, in a session that terminates now.
    pub(crate) fn send_final_bye(&mut self, cx: &mut Cx<'_>, own: &Headers) {
        let id = self.id;
        let Some(dialog) = self.only_dialog() else { return };
        let spec =
            RequestSpec { method: &Method::Bye, cseq: dialog.next_seq(), max_forwards: 70, body: None };
        cx.send(dialog, spec, Owner::None(Some(id)), |lines, _| {
            lines.extend(own);
        });
    }

    /// The peer's BYE.
    pub(crate) fn on_bye(&mut self, cx: &mut Cx<'_>, request: &ServerRequest) {
        cx.respond(request, "", Reply::new(200), |_, _| {});
        let reason = request.message.header(HeaderName::Reason).map(str::to_owned);
        let ended = match &self.state {
            SessionState::InviteReceived(ringing) => {
                let (invite, tag) = (ringing.invite.clone(), ringing.dialog.local_tag.clone());
                cx.respond(&invite, &tag, Reply::new(487), |_, _| {});
                Termination::Bye { reason }
            }
            // Before our INVITE is answered: its 200 was lost or reordered. Terminating the session cancels the INVITE.
            SessionState::InviteSent(_) | SessionState::Confirmed(_) => Termination::Bye { reason },
            SessionState::Terminating(_) => Termination::Local,
            SessionState::Terminated => return,
        };
        self.terminate(cx, ended);
    }

    /// Our rejection of the INVITE was acknowledged, or Timer H expired.
    pub(crate) fn on_rejection_complete(&mut self, cx: &mut Cx<'_>, tx: ServerId) {
        if let SessionState::Terminating(closing) = &self.state
            && closing.awaited == PendingReply::Ack(tx)
        {
            self.terminate(cx, Termination::Local);
        }
    }

    /// An in-dialog request got 408 or 481, or no response: the dialog is gone (RFC 3261 §12.2.1.2). After a timeout a BYE is sent all the same,
    /// because the peer may receive what we send.
    pub(crate) fn on_dialog_gone(&mut self, cx: &mut Cx<'_>, status: u16) {
        if status == 408 {
            self.send_final_bye(cx, &Headers::new());
        }
        self.terminate(cx, Termination::DialogGone);
    }
}
