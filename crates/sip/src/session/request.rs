//! In-dialog requests that we send, the first time and again after a challenge.

use super::state::{InDialogRequest, Intent, Session, SessionState};
use crate::body::SDP;
use crate::endpoint::{Cx, RequestSpec, contact_lines};
use crate::transaction::Owner;

impl Session {
    /// Send the request of `intent`, with the current credentials if `auth_sent`. `false` if it could not be sent.
    pub(crate) fn send_request(&mut self, cx: &mut Cx<'_>, intent: Intent, auth_sent: bool) -> bool {
        let id = self.id;
        if matches!(intent, Intent::ReInvite { .. }) && !auth_sent {
            self.auth = None;
        }
        let auth = if auth_sent { self.auth.clone() } else { None };
        let (refresh, up) = (self.timer, matches!(self.state, SessionState::Confirmed(_)));
        let dialog = match &intent {
            Intent::Prack { tag, .. } => self.dialog(tag),
            Intent::ReInvite { .. } | Intent::Update { .. } | Intent::Bye { .. } | Intent::Info { .. } => {
                self.only_dialog()
            }
        };
        let Some(dialog) = dialog else { return false };
        let cseq = dialog.next_seq();
        let body = match &intent {
            Intent::ReInvite { sdp, .. } | Intent::Update { sdp: Some(sdp), .. } => Some((SDP, sdp.as_ref())),
            Intent::Info { kind, body } => Some((&**kind, body.as_ref())),
            Intent::Update { sdp: None, .. } | Intent::Bye { .. } | Intent::Prack { .. } => None,
        };
        let spec = RequestSpec { method: intent.method(), cseq, max_forwards: 70, body };
        let dialog = &*dialog;
        let tx = cx.send(dialog, spec, Owner::Session(id), |lines, core| {
            match &intent {
                Intent::ReInvite { .. } | Intent::Update { .. } => {
                    contact_lines(lines, dialog, &core.config.allow);
                    if up {
                        refresh.refresh_headers(lines);
                    }
                }
                Intent::Bye { lines: own } => {
                    lines.extend(own);
                }
                Intent::Prack { rack: (rseq, invite), .. } => {
                    lines.add("RAck", format_args!("{rseq} {invite} INVITE"));
                }
                Intent::Info { .. } => {}
            }
            if let Some(auth) = &auth {
                lines.extend(auth);
            }
        });
        let Some(tx) = tx else { return false };
        self.pending.push(InDialogRequest { tx, intent, auth_sent });
        true
    }

    /// See [`crate::Endpoint::info`].
    pub(crate) fn info(&mut self, cx: &mut Cx<'_>, kind: &str, body: &[u8]) {
        if matches!(self.state, SessionState::Confirmed(_)) {
            let body = bytes::Bytes::copy_from_slice(body);
            self.send_request(cx, Intent::Info { kind: kind.into(), body }, false);
        }
    }

    /// The peer's INFO.
    pub(crate) fn on_info(&mut self, cx: &mut Cx<'_>, request: &crate::endpoint::ServerRequest) {
        if matches!(self.state, SessionState::Terminating(_)) {
            return cx.respond_status(request, 481);
        }
        cx.respond_status(request, 200);
        let request = &request.message;
        let content_type = request.header(crate::HeaderName::ContentType).unwrap_or_default().to_owned();
        cx.event(self.id, super::SessionEvent::Info { content_type, body: request.body() });
    }
}
