//! Outgoing calls of a phone: INVITE, challenge, provisional and final responses, CANCEL.

use base::Instant;
use bytes::Bytes;
use sip::{HeaderName, Message};

use super::client::Purpose;
use super::profile::Prack;
use super::sdp::{self, Sdp};
use super::wire::{RequestParts, body, target_of};
use super::{Call, CallState, Phone, PhoneOutput, PhoneTimer, TRANSACTION_TIMEOUT};
use crate::rng_ext::RngExt;

impl Phone {
    pub(super) fn new_sdp(&mut self) -> Sdp {
        let port = 20_000 + 2 * self.rng.below(5000) as u16;
        Sdp { session: self.rng.below(1 << 31) as u32, version: 1, port, direction: "sendrecv" }
    }

    pub(super) fn dial(&mut self, now: Instant, out: &mut PhoneOutput) {
        if self.closing {
            return;
        }
        let call_pause = self.rng.millis(self.profile.call_pause.0, self.profile.call_pause.1);
        self.set_timer(now + call_pause, PhoneTimer::Dial);
        if self.live_calls() >= 2 || self.contacts.is_empty() {
            return;
        }
        let domain = self.account.domain.clone();
        let target = format!("sip:{}@{domain}", self.rng.pick(&self.contacts));
        let call = Call {
            state: CallState::Calling,
            call_id: format!("{}@{}", self.rng.base36(12), self.address.ip()),
            local_tag: self.rng.base36(8),
            remote_tag: String::new(),
            local: format!("sip:{}@{domain}", self.account.user),
            remote: target.clone(),
            target,
            cseq: self.rng.below(100) as u32,
            their_cseq: 0,
            invite: String::new(),
            invite_cseq: 0,
            challenges: 0,
            unwanted: false,
            rejected: false,
            without_offer: self.rng.odds(self.profile.late_offer),
            sdp_sent: false,
            reliable: None,
            answer_pending: false,
            rseq: 0,
            remote_rseq: 0,
            offer_in_progress: false,
            sdp: self.new_sdp(),
            pending_offer: None,
            peer_allows_update: false,
            session: None,
            requested_session: self.profile.session_timer,
        };
        let id = self.new_call(call);
        out.count("dialled");
        self.invite(now, id, "", out);
        let patience = self.rng.millis(self.profile.cancel_delay.0, self.profile.cancel_delay.1);
        self.set_timer(now + patience, PhoneTimer::Cancel(id));
    }

    fn invite(&mut self, now: Instant, id: u32, authorization: &str, out: &mut PhoneOutput) {
        let branch = self.new_branch();
        let mut lines = String::from(self.allow());
        match self.profile.prack {
            Prack::No => {}
            Prack::Supported => lines.push_str("Supported: 100rel\r\n"),
            Prack::Required => lines.push_str("Require: 100rel\r\n"),
        }
        let (address, codecs) = (self.address, self.profile.codecs);
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(seconds) = call.requested_session {
            lines.push_str(&format!("Supported: timer\r\nSession-Expires: {seconds}\r\n"));
        }
        lines.push_str(authorization);
        call.cseq += 1;
        call.invite_cseq = call.cseq;
        call.invite = format!("{branch} INVITE");
        call.remote_tag.clear();
        call.pending_offer = (!call.without_offer).then(|| call.sdp.offer(address, codecs));
        let call = call.clone();
        let request = self.in_dialog_request(
            &call,
            "INVITE",
            &branch,
            call.cseq,
            &lines,
            call.pending_offer.as_deref(),
        );
        self.send(now, &branch, request, Purpose::Invite(id), out);
    }

    pub(super) fn allow(&self) -> &'static str {
        if self.profile.update {
            "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, INFO, UPDATE\r\n"
        } else {
            "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, INFO\r\n"
        }
    }

    /// A provisional response (1xx).
    pub(super) fn on_provisional(&mut self, now: Instant, id: u32, message: &Message, out: &mut PhoneOutput) {
        let status = message.status().unwrap_or_default();
        let required = self.profile.prack == Prack::Required;
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.state == CallState::Calling {
            call.state = CallState::Proceeding;
        }
        let unwanted = call.unwanted && call.state == CallState::Proceeding;
        if status > 100 && !message.to_tag().is_empty() {
            self.check_dialog(id, message, out);
            let reliable = message.tokens(HeaderName::Require).any(|t| t.eq_ignore_ascii_case("100rel"));
            if reliable {
                self.prack(now, id, message, out);
            } else if required {
                out.violation(format!("{status} is not reliable though 100rel was required"));
            }
        }
        if unwanted {
            self.cancel(now, id, out);
        }
    }

    /// The caller sees one dialog, although the call is forked to several phones.
    fn check_dialog(&mut self, id: u32, message: &Message, out: &mut PhoneOutput) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.remote_tag.is_empty() {
            call.remote_tag = message.to_tag().into();
        } else if call.remote_tag != message.to_tag() {
            out.violation(format!("two To-tags in one call: {} and {}", call.remote_tag, message.to_tag()));
        }
        if let Some(target) = target_of(message) {
            call.target = target;
        } else if message.status().is_some_and(|s| s >= 200) {
            out.violation("200 without Contact");
        }
        call.peer_allows_update = message.tokens(HeaderName::Allow).any(|m| m == "UPDATE");
    }

    fn prack(&mut self, now: Instant, id: u32, message: &Message, out: &mut PhoneOutput) {
        let Some(Ok(rseq)) = message.number(HeaderName::RSeq) else {
            return out.violation("a reliable provisional response without RSeq");
        };
        let (address, codecs) = (self.address, self.profile.codecs);
        let branch = self.new_branch();
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.remote_rseq > 0 && rseq != call.remote_rseq + 1 {
            return; // a retransmission, or out of order (RFC 3262 §4)
        }
        call.remote_rseq = rseq;
        let mut sdp = None;
        if let Some(body) = body(message) {
            if call.without_offer {
                call.without_offer = false;
                call.sdp_sent = true;
                sdp = call.sdp.answer(address, codecs, &body);
            } else if let Some(offer) = call.pending_offer.take() {
                call.sdp_sent = true;
                if let Err(why) = sdp::check_answer(offer.as_bytes(), &body) {
                    out.violation(format!("early answer: {why}"));
                }
            }
        }
        out.count("PRACK sent");
        call.cseq += 1;
        let call = call.clone();
        let lines = format!("RAck: {rseq} {} INVITE\r\n", call.invite_cseq);
        let request = self.in_dialog_request(&call, "PRACK", &branch, call.cseq, &lines, sdp.as_deref());
        self.send(now, &branch, request, Purpose::Prack, out);
    }

    /// The ACK of a 200 to INVITE or re-INVITE.
    pub(super) fn ack_of_success(
        &mut self,
        id: u32,
        message: &Message,
        out: &mut PhoneOutput,
    ) -> Option<Bytes> {
        self.check_dialog(id, message, out);
        let (address, codecs) = (self.address, self.profile.codecs);
        let branch = self.new_branch();
        let call = self.calls.get_mut(&id)?;
        let body = body(message);
        let mut sdp = None;
        if call.without_offer {
            call.without_offer = false;
            match &body {
                None => out.violation("200 without an offer to an INVITE without one"),
                Some(body) => sdp = call.sdp.answer(address, codecs, body),
            }
        } else if let Some(offer) = call.pending_offer.take() {
            match &body {
                None => out.violation("200 without an answer to our offer"),
                Some(body) => {
                    if let Err(why) = sdp::check_answer(offer.as_bytes(), body) {
                        out.violation(why);
                    }
                }
            }
        }
        let call = call.clone();
        Some(self.in_dialog_request(&call, "ACK", &branch, message.cseq().number, "", sdp.as_deref()))
    }

    /// The final response to our INVITE.
    pub(super) fn on_invite_response(
        &mut self,
        now: Instant,
        id: u32,
        message: &Message,
        out: &mut PhoneOutput,
    ) {
        let status = message.status().unwrap_or_default();
        let Some(call) = self.calls.get_mut(&id) else { return };
        let wanted = matches!(call.state, CallState::Calling | CallState::Proceeding) && !call.unwanted;
        match status {
            200..300 if wanted => {
                call.state = CallState::Confirmed;
                out.count("calls answered");
                self.cancel_timers(&PhoneTimer::Cancel(id));
                self.agree_on_session(now, id, message, out);
                self.on_answered(now, id);
            }
            200..300 => {
                out.count("200 that crossed our CANCEL");
                self.send_bye(now, id, out);
            }
            401 if wanted && call.challenges < 3 => {
                call.challenges += 1;
                call.state = CallState::Calling;
                let target = call.target.clone();
                match self.authorization(message, "INVITE", &target) {
                    Some(line) => self.invite(now, id, &line, out),
                    None => out.violation("a challenge without a supported algorithm"),
                }
            }
            422 if wanted => {
                let Some(Ok(least)) = message.number(HeaderName::MinSe) else {
                    return out.violation("422 without Min-SE");
                };
                out.count("422");
                (call.requested_session, call.challenges, call.state) = (Some(least), 0, CallState::Calling);
                self.invite(now, id, "", out);
            }
            _ => {
                if status == 486 {
                    out.count("486 received");
                }
                call.rejected = true;
                self.terminate(id);
            }
        }
    }

    /// Cancel a call that is not answered.
    pub(super) fn cancel(&mut self, now: Instant, id: u32, out: &mut PhoneOutput) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match call.state {
            CallState::Calling => call.unwanted = true, // not before a provisional response (RFC 3261 §9.1)
            CallState::Proceeding => {
                call.unwanted = true;
                call.state = CallState::Cancelling;
                let key = call.invite.clone();
                let Some(client) = self.clients.get(&key) else { return };
                let Ok(invite) = Message::parse(client.request.clone()) else { return };
                let branch = String::from_utf8_lossy(&invite.via().branch).into_owned();
                let request = self.write(&RequestParts {
                    method: "CANCEL",
                    uri: invite.uri().map_or("", sip::Uri::as_str),
                    branch: &branch,
                    from: invite.header(HeaderName::From).unwrap_or_default().into(),
                    to: invite.header(HeaderName::To).unwrap_or_default().into(),
                    call_id: invite.call_id(),
                    cseq: invite.cseq().number,
                    lines: "",
                    sdp: None,
                });
                out.count("CANCEL sent");
                self.send(now, &branch, request, Purpose::Cancel, out);
                self.set_timer(now + TRANSACTION_TIMEOUT, PhoneTimer::CancelTimeout(id));
            }
            CallState::Cancelling
            | CallState::Incoming
            | CallState::Answered
            | CallState::Confirmed
            | CallState::Terminated => {}
        }
    }
}
