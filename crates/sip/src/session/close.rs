//! Ending a session (RFC 3261 §15): BYE, refusal, and what is lost.

use super::state::{Closing, Intent, Session, Stage, Waits};
use super::{Ended, Hangup};
use crate::endpoint::{Cx, Sending, Served};
use crate::transaction::{Owner, ServerId};
use crate::{HeaderLines, Method, Name, Reply};

impl Session {
    /// See [`crate::Endpoint::hangup`].
    pub(crate) fn hangup(&mut self, cx: &mut Cx<'_>, hangup: &Hangup<'_>) {
        let lines = hangup.lines.cloned().unwrap_or_default();
        match &mut self.stage {
            Stage::Calling(_) => self.cancel(cx, lines),
            Stage::Ringing(ringing) => {
                let reply = Reply {
                    status: if (300..700).contains(&hangup.status) { hangup.status } else { 480 },
                    phrase: hangup.phrase,
                    lines: hangup.lines,
                    body: None,
                };
                let (served, dialog) = (ringing.invite.clone(), ringing.dialog.clone());
                cx.respond(&served, &dialog.local_tag, reply, |_, _| {});
                self.withdraw(cx);
                self.stage = Stage::Closing(Box::new(Closing { dialog, waits: Waits::Ack(served.tx) }));
            }
            Stage::Up(up) if up.unacked.is_some() => {
                if up.bye.is_none() {
                    up.bye = Some(lines);
                }
                self.withdraw(cx);
            }
            Stage::Up(_) => self.bye(cx, lines),
            Stage::Closing(_) | Stage::Over => {}
        }
    }

    /// Send BYE; the session is over when it is answered.
    pub(crate) fn bye(&mut self, cx: &mut Cx<'_>, lines: HeaderLines) {
        self.withdraw(cx);
        let Stage::Up(up) = std::mem::replace(&mut self.stage, Stage::Over) else { return };
        self.stage = Stage::Closing(Box::new(Closing { dialog: up.dialog, waits: Waits::Bye }));
        if !self.request(cx, Intent::Bye { lines }, false) {
            self.end(cx, Ended::Here);
        }
    }

    /// Send a BYE that nobody waits for: the session is over already.
    pub(crate) fn last_bye(&mut self, cx: &mut Cx<'_>, own: &HeaderLines) {
        let id = self.id;
        let Some(dialog) = self.only_dialog() else { return };
        let what = Sending { method: &Method::Bye, cseq: dialog.next_seq(), max_forwards: 70, body: None };
        cx.send(dialog, what, Owner::Nobody(Some(id)), |lines, _| {
            lines.extend(own);
        });
    }

    /// The peer's BYE.
    pub(crate) fn on_bye(&mut self, cx: &mut Cx<'_>, served: &Served) {
        cx.respond(served, "", Reply::new(200), |_, _| {});
        let reason = served.request.header(Name::Reason).map(str::to_owned);
        let ended = match &self.stage {
            Stage::Ringing(ringing) => {
                let (invite, tag) = (ringing.invite.clone(), ringing.dialog.local_tag.clone());
                cx.respond(&invite, &tag, Reply::new(487), |_, _| {});
                Ended::Bye { reason }
            }
            // While calling, the 200 before it was lost or overtaken: what is left of the INVITE is cancelled with the end.
            Stage::Calling(_) | Stage::Up(_) => Ended::Bye { reason },
            Stage::Closing(_) => Ended::Here,
            Stage::Over => return,
        };
        self.end(cx, ended);
    }

    /// Our refusal of the INVITE was acknowledged, or its time is over.
    pub(crate) fn on_refusal_done(&mut self, cx: &mut Cx<'_>, tx: ServerId) {
        if let Stage::Closing(closing) = &self.stage
            && closing.waits == Waits::Ack(tx)
        {
            self.end(cx, Ended::Here);
        }
    }

    /// A request within the dialog got 408 or 481, or nothing: the dialog is dead (RFC 3261 §12.2.1.2). After silence a BYE goes out all
    /// the same, for the peer may hear what we do not.
    pub(crate) fn lose(&mut self, cx: &mut Cx<'_>, status: u16) {
        if status == 408 {
            self.last_bye(cx, &HeaderLines::new());
        }
        self.end(cx, Ended::Lost);
    }
}
