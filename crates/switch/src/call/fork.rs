//! Parallel forking: one leg for each contact of the callee; the first answer wins.

use std::sync::Arc;
use std::time::Duration;

use model::{Cause, LegRole, TraceStep};
use sip::{Headers, InviteParams, Target};

use super::diversion::Diversion;
use super::{Leg, LegState, Phase};
use crate::call::Call;
use crate::core::Cx;
use crate::location::Contact;
use crate::{Output, limits};

/// From of a caller who withholds the number (RFC 3323 §4.1.1.3).
pub(crate) const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

/// Identity headers of a leg's INVITE.
#[derive(Clone, Debug, Default)]
pub(crate) struct InviteIdentity {
    /// From without tag.
    pub(crate) from: String,
    /// To.
    pub(crate) to: String,
    /// Further header lines.
    pub(crate) lines: Headers,
}

/// A display name as a quoted string followed by a space; empty if the name is empty.
fn quoted(name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    let mut text = String::with_capacity(name.len() + 3);
    text.push('"');
    for c in name.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push_str("\" ");
    text
}

/// The user part of a URI: every byte that RFC 3261 §25.1 does not allow there is percent-encoded.
pub(crate) fn escaped(user: &str) -> String {
    let mut text = String::with_capacity(user.len());
    for byte in user.bytes() {
        let legal = byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte);
        match legal {
            true => text.push(char::from(byte)),
            false => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

impl Call {
    pub(crate) fn fork(&mut self, cx: &mut Cx<'_>, username: &Arc<str>, number: &str, ring_seconds: u64) {
        self.phase = Phase::Dialling;
        let lost = cx.core.location.has_closed_flow(cx.now.instant, username);
        match self.ring_phones(cx, username, number, None) {
            Ok(_) => self.set_timer(cx, cx.now.instant + Duration::from_secs(ring_seconds)),
            Err(Cause::Unreachable) if lost => {}
            Err(cause) => return self.on_no_answer(cx, cause),
        }
        if lost {
            self.await_flow(cx, username, number, ring_seconds);
        }
    }

    /// Ring all reachable contacts of a user name. Returns how many legs were started. `way` is a diversion that applies to these legs only.
    pub(crate) fn ring_phones(
        &mut self,
        cx: &mut Cx<'_>,
        username: &Arc<str>,
        number: &str,
        way: Option<&Diversion>,
    ) -> Result<usize, Cause> {
        let contacts: Vec<Contact> = cx.core.location.reachable(cx.now.instant, username).cloned().collect();
        let outcome = format!("{} reachable contacts of {username}", contacts.len());
        self.record.trace.push(TraceStep { rule: "bindings".into(), outcome });
        if contacts.is_empty() {
            return Err(Cause::Unreachable);
        }
        self.ring(cx, username, number, &contacts, way)
    }

    /// Ring these contacts of the callee. Returns how many legs were started; [`Cause::Overload`] if none.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn ring(
        &mut self,
        cx: &mut Cx<'_>,
        username: &Arc<str>,
        number: &str,
        contacts: &[Contact],
        way: Option<&Diversion>,
    ) -> Result<usize, Cause> {
        cx.core.index.join(self, username);
        self.routing.ringing_aors.push(Arc::clone(username));
        let like = self.leg(0).and_then(|leg| leg.stream.theirs.clone());
        let mut lines = self.diversion_headers(&cx.core.config.domain, way);
        if self.routing.hidden {
            lines.add("Privacy", "id");
        }
        let from = self.build_from_header(cx);
        let to = format!("<sip:{number}@{}>", cx.core.config.domain);
        let words = InviteIdentity { from, to, lines };
        let rang = contacts
            .iter()
            .filter(|contact| self.dial(cx, contact, username, like.as_ref(), words.clone()).is_some());
        match rang.count() {
            0 => Err(Cause::Overload),
            rang => Ok(rang),
        }
    }

    /// Ring one contact. Returns the index of its leg; `None` if a limit is reached.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn dial(
        &mut self,
        cx: &mut Cx<'_>,
        contact: &Contact,
        username: &str,
        like: Option<&media::sdp::SessionDescription>,
        InviteIdentity { from, to, lines }: InviteIdentity,
    ) -> Option<usize> {
        if self.legs.len() >= limits::LEGS_PER_CALL {
            return None;
        }
        let (worker, max_forwards) = (self.worker(), self.hops_left);
        let contact_user = self.shown_number().to_owned();
        let port = cx.core.ports.take(contact.hop.listener, worker)?;
        let mut stream = cx.core.open_stream(contact.hop, port, cx.out);
        let offer = self.restrict_to_recordable(cx, username, media::sdp::offer(&stream.local, like));
        let connect = InviteParams {
            target: Target { uri: contact.uri.clone(), hop: contact.hop, route: contact.path.to_vec() },
            from,
            to,
            contact_user,
            lines,
            offer: offer.bytes.clone(),
            credentials: None,
            max_forwards,
        };
        stream.ours = Some(offer);
        let Some(session) = cx.core.endpoint.connect(cx.now, connect, &mut cx.core.sip_out) else {
            let command = media::MediaCommand::Close { stream: stream.id };
            cx.out.push(Output::Media { worker: port.worker, command });
            return None;
        };
        let role = if self.legs.is_empty() { LegRole::Caller } else { LegRole::Callee };
        let mut leg = Leg::new(session, contact.hop, stream, role, username.into(), self.time(cx.now));
        leg.record.sip_call_id = cx.core.endpoint.call_id(session).unwrap_or_default().to_string();
        Some(cx.core.index.add_leg(self, leg))
    }

    /// From of the outgoing legs: the caller's configured name and number, never the content of its own From.
    fn build_from_header(&self, cx: &Cx<'_>) -> String {
        let caller = self.leg(0).map(|leg| &leg.record);
        let party = caller.map(|record| record.party.as_str()).unwrap_or_default();
        if self.routing.hidden {
            return ANONYMOUS.into();
        }
        if caller.is_some_and(|record| record.role == LegRole::Trunk) {
            return cx.core.trunk_from_uri(&self.record.from_number);
        }
        let name = cx
            .core
            .directory
            .credential(party)
            .and_then(|c| cx.core.extension_of(c))
            .map_or(String::new(), |extension| quoted(&extension.display_name));
        format!("{name}<sip:{}@{}>", escaped(&self.record.from_number), cx.core.config.domain)
    }

    /// Hang up one leg, with the cause in its Reason header, and close its stream.
    pub(crate) fn hangup_leg(&mut self, cx: &mut Cx<'_>, index: usize, cause: Cause) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        if !matches!(leg.state, LegState::Terminating | LegState::Terminated) {
            leg.state = LegState::Terminating;
            if leg.is_placeholder() {
                leg.state = LegState::Terminated;
                return;
            }
            let session = leg.session;
            let mut lines = std::mem::take(&mut cx.core.lines);
            lines.clear();
            crate::out_of_dialog::reason_line(cause, &mut lines);
            if cause.sip_status() == 503 {
                lines.add("Retry-After", 10);
            }
            let hangup =
                sip::HangupParams { status: cause.sip_status().max(300), phrase: None, lines: Some(&lines) };
            cx.core.endpoint.hangup(cx.now, session, hangup, &mut cx.core.sip_out);
            cx.core.lines = lines;
        }
        self.close_stream(cx, index);
    }
}
