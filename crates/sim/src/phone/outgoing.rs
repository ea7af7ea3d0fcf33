//! Outgoing calls of a phone: INVITE, challenge, provisional and final responses, CANCEL.

use base::Instant;
use bytes::Bytes;
use sip::{HeaderName, Message};

use super::client::Purpose;
use super::profile::Prack;
use super::sound::{self, Sdp};
use super::wire::{Draft, body_of, target_of};
use super::{Alarm, Call, PATIENCE, Phone, PhoneOutput, Stage};
use crate::rng_ext::Dice;

impl Phone {
    pub(super) fn new_sdp(&mut self) -> Sdp {
        let port = 20_000 + 2 * self.rng.below(5000) as u16;
        Sdp { session: self.rng.below(1 << 31) as u32, version: 1, port, direction: "sendrecv" }
    }

    pub(super) fn dial(&mut self, now: Instant, said: &mut PhoneOutput) {
        if self.closing {
            return;
        }
        let pause = self.rng.millis(self.habits.pause.0, self.habits.pause.1);
        self.alarm(now + pause, Alarm::Dial);
        if self.live_calls() >= 2 || self.contacts.is_empty() {
            return;
        }
        let domain = self.account.domain.clone();
        let target = format!("sip:{}@{domain}", self.rng.pick(&self.contacts));
        let call = Call {
            stage: Stage::Calling,
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
            challenged: 0,
            unwanted: false,
            refused: false,
            late: self.rng.odds(self.habits.late_offer),
            described: false,
            reliable: None,
            answering: false,
            rseq: 0,
            heard_rseq: 0,
            offering: false,
            sdp: self.new_sdp(),
            offered: None,
            updates: false,
            session: None,
            session_wish: self.habits.session_timer,
        };
        let id = self.new_call(call);
        said.count("dialled");
        self.invite(now, id, "", said);
        let patience = self.rng.millis(self.habits.patience.0, self.habits.patience.1);
        self.alarm(now + patience, Alarm::Cancel(id));
    }

    fn invite(&mut self, now: Instant, id: u32, authorization: &str, said: &mut PhoneOutput) {
        let branch = self.new_branch();
        let mut lines = String::from(self.allow());
        match self.habits.prack {
            Prack::No => {}
            Prack::Supported => lines.push_str("Supported: 100rel\r\n"),
            Prack::Required => lines.push_str("Require: 100rel\r\n"),
        }
        let (address, codecs) = (self.address, self.habits.codecs);
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(seconds) = call.session_wish {
            lines.push_str(&format!("Supported: timer\r\nSession-Expires: {seconds}\r\n"));
        }
        lines.push_str(authorization);
        call.cseq += 1;
        call.invite_cseq = call.cseq;
        call.invite = format!("{branch} INVITE");
        call.remote_tag.clear();
        call.offered = (!call.late).then(|| call.sdp.offer(address, codecs));
        let call = call.clone();
        let request = self.within(&call, "INVITE", &branch, call.cseq, &lines, call.offered.as_deref());
        self.send(now, &branch, request, Purpose::Invite(id), said);
    }

    pub(super) fn allow(&self) -> &'static str {
        if self.habits.update {
            "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, INFO, UPDATE\r\n"
        } else {
            "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, INFO\r\n"
        }
    }

    /// A provisional response (1xx).
    pub(super) fn progressed(&mut self, now: Instant, id: u32, message: &Message, said: &mut PhoneOutput) {
        let status = message.status().unwrap_or_default();
        let required = self.habits.prack == Prack::Required;
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.stage == Stage::Calling {
            call.stage = Stage::Hearing;
        }
        let unwanted = call.unwanted && call.stage == Stage::Hearing;
        if status > 100 && !message.to_tag().is_empty() {
            self.one_tag(id, message, said);
            let reliable = message.tokens(HeaderName::Require).any(|t| t.eq_ignore_ascii_case("100rel"));
            if reliable {
                self.prack(now, id, message, said);
            } else if required {
                said.wrong(format!("{status} is not reliable though 100rel was required"));
            }
        }
        if unwanted {
            self.cancel(now, id, said);
        }
    }

    /// The caller sees one dialog, although the call is forked to several phones.
    fn one_tag(&mut self, id: u32, message: &Message, said: &mut PhoneOutput) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.remote_tag.is_empty() {
            call.remote_tag = message.to_tag().into();
        } else if call.remote_tag != message.to_tag() {
            said.wrong(format!("two To-tags in one call: {} and {}", call.remote_tag, message.to_tag()));
        }
        if let Some(target) = target_of(message) {
            call.target = target;
        } else if message.status().is_some_and(|s| s >= 200) {
            said.wrong("200 without Contact");
        }
        call.updates = message.tokens(HeaderName::Allow).any(|m| m == "UPDATE");
    }

    fn prack(&mut self, now: Instant, id: u32, message: &Message, said: &mut PhoneOutput) {
        let Some(Ok(rseq)) = message.number(HeaderName::RSeq) else {
            return said.wrong("a reliable answer without RSeq");
        };
        let (address, codecs) = (self.address, self.habits.codecs);
        let branch = self.new_branch();
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.heard_rseq > 0 && rseq != call.heard_rseq + 1 {
            return; // a retransmission, or out of order (RFC 3262 §4)
        }
        call.heard_rseq = rseq;
        let mut sdp = None;
        if let Some(body) = body_of(message) {
            if call.late {
                call.late = false;
                call.described = true;
                sdp = call.sdp.answer(address, codecs, &body);
            } else if let Some(offer) = call.offered.take() {
                call.described = true;
                if let Err(why) = sound::fits(offer.as_bytes(), &body) {
                    said.wrong(format!("early answer: {why}"));
                }
            }
        }
        said.count("PRACK sent");
        call.cseq += 1;
        let call = call.clone();
        let lines = format!("RAck: {rseq} {} INVITE\r\n", call.invite_cseq);
        let request = self.within(&call, "PRACK", &branch, call.cseq, &lines, sdp.as_deref());
        self.send(now, &branch, request, Purpose::Prack, said);
    }

    /// The ACK of a 200 to INVITE or re-INVITE.
    pub(super) fn ack_of_answer(
        &mut self,
        id: u32,
        message: &Message,
        said: &mut PhoneOutput,
    ) -> Option<Bytes> {
        self.one_tag(id, message, said);
        let (address, codecs) = (self.address, self.habits.codecs);
        let branch = self.new_branch();
        let call = self.calls.get_mut(&id)?;
        let body = body_of(message);
        let mut sdp = None;
        if call.late {
            call.late = false;
            match &body {
                None => said.wrong("200 without an offer to an INVITE without one"),
                Some(body) => sdp = call.sdp.answer(address, codecs, body),
            }
        } else if let Some(offer) = call.offered.take() {
            match &body {
                None => said.wrong("200 without an answer to our offer"),
                Some(body) => {
                    if let Err(why) = sound::fits(offer.as_bytes(), body) {
                        said.wrong(why);
                    }
                }
            }
        }
        let call = call.clone();
        Some(self.within(&call, "ACK", &branch, message.cseq().number, "", sdp.as_deref()))
    }

    /// The final response to our INVITE.
    pub(super) fn invited(&mut self, now: Instant, id: u32, message: &Message, said: &mut PhoneOutput) {
        let status = message.status().unwrap_or_default();
        let Some(call) = self.calls.get_mut(&id) else { return };
        let wanted = matches!(call.stage, Stage::Calling | Stage::Hearing) && !call.unwanted;
        match status {
            200..300 if wanted => {
                call.stage = Stage::Up;
                said.count("calls that were answered");
                self.calm(&Alarm::Cancel(id));
                self.agree_on_session(now, id, message, said);
                self.talk(now, id);
            }
            200..300 => {
                said.count("200 that crossed our CANCEL");
                self.bye(now, id, said);
            }
            401 if wanted && call.challenged < 3 => {
                call.challenged += 1;
                call.stage = Stage::Calling;
                let target = call.target.clone();
                match self.authorization(message, "INVITE", &target) {
                    Some(line) => self.invite(now, id, &line, said),
                    None => said.wrong("a challenge that cannot be answered"),
                }
            }
            422 if wanted => {
                let Some(Ok(least)) = message.number(HeaderName::MinSe) else {
                    return said.wrong("422 without Min-SE");
                };
                said.count("422");
                (call.session_wish, call.challenged, call.stage) = (Some(least), 0, Stage::Calling);
                self.invite(now, id, "", said);
            }
            _ => {
                if status == 486 {
                    said.count("486 heard");
                }
                call.refused = true;
                self.over(id);
            }
        }
    }

    /// Cancel a call that is not answered.
    pub(super) fn cancel(&mut self, now: Instant, id: u32, said: &mut PhoneOutput) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match call.stage {
            Stage::Calling => call.unwanted = true, // not before a provisional response (RFC 3261 §9.1)
            Stage::Hearing => {
                call.unwanted = true;
                call.stage = Stage::Cancelling;
                let key = call.invite.clone();
                let Some(client) = self.clients.get(&key) else { return };
                let Ok(invite) = Message::parse(client.request.clone()) else { return };
                let branch = String::from_utf8_lossy(&invite.via().branch).into_owned();
                let request = self.write(&Draft {
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
                said.count("CANCEL sent");
                self.send(now, &branch, request, Purpose::Cancel, said);
                self.alarm(now + PATIENCE, Alarm::Abandon(id));
            }
            Stage::Cancelling | Stage::Incoming | Stage::Answered | Stage::Up | Stage::Over => {}
        }
    }
}
