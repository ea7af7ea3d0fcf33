//! Incoming calls of a phone: ring, answer, reject, or do not respond.

use base::Instant;
use bytes::Bytes;
use sip::{HeaderName, Message};

use super::profile::Prack;
use super::wire::{body_of, target_of};
use super::{Alarm, Call, PATIENCE, Phone, PhoneOutput, Reliable, Stage, T1};
use crate::rng_ext::Dice;

impl Phone {
    pub(super) fn incoming(&mut self, now: Instant, key: &str, message: &Message, said: &mut PhoneOutput) {
        let sdp = self.new_sdp();
        let Some(target) = target_of(message) else {
            said.wrong("INVITE without Contact");
            return self.reply(now, key, 400, "", None, said);
        };
        if body_of(message).is_none() {
            said.wrong("INVITE to a phone without an offer");
        }
        let local_tag = self.rng.base36(8);
        let (cseq, rseq) = (self.rng.below(1000) as u32, self.rng.below(1000) as u32);
        let id = self.new_call(Call {
            stage: Stage::Incoming,
            call_id: message.call_id().into(),
            local_tag,
            remote_tag: message.from_tag().into(),
            local: message.to().uri.to_string(),
            remote: message.from().uri.to_string(),
            target,
            cseq,
            their_cseq: message.cseq().number,
            invite: key.into(),
            invite_cseq: message.cseq().number,
            challenged: 0,
            unwanted: false,
            refused: false,
            late: false,
            described: false,
            reliable: None,
            answering: false,
            rseq,
            heard_rseq: 0,
            offering: false,
            sdp,
            offered: None,
            updates: message.tokens(HeaderName::Allow).any(|m| m == "UPDATE"),
            session: None,
            session_wish: None,
        });
        self.belongs_to(key, id);
        said.count("calls that came in");
        if self.closing {
            return self.refuse(now, id, 480, said);
        }
        let roll = self.rng.below(100);
        let habits = &self.habits;
        let (answers, refuses) = (habits.answers, habits.answers + habits.refuses);
        let (rings, thinks) = (refuses + habits.rings_on, habits.thinks);
        if roll >= rings {
            said.count("INVITE that no phone answers at all");
            if let Some(call) = self.calls.get_mut(&id) {
                call.refused = true;
            }
            return self.over(id);
        }
        let soon = self.rng.millis(0, 400);
        self.alarm(now + soon, Alarm::Ring(id));
        if roll < refuses {
            if let Some(call) = self.calls.get_mut(&id) {
                call.unwanted = roll >= answers;
            }
            let later = self.rng.millis(thinks.0, thinks.1);
            self.alarm(now + later, Alarm::Decide(id));
        }
    }

    /// Send 180, or 183 with early media; reliably if both sides support 100rel.
    pub(super) fn ring(&mut self, now: Instant, id: u32, said: &mut PhoneOutput) {
        if self.stage(id) != Stage::Incoming {
            return;
        }
        let early = self.rng.odds(self.habits.early_media);
        let Some((key, request)) = self.invite_of(id) else { return };
        let extends = |name| request.tokens(name).any(|t| t.eq_ignore_ascii_case("100rel"));
        let reliable = self.habits.prack != Prack::No
            && (extends(HeaderName::Supported) || extends(HeaderName::Require));
        let (address, codecs) = (self.address, self.habits.codecs);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let offer = body_of(&request);
        let answer = offer.filter(|_| early).and_then(|offer| call.sdp.answer(address, codecs, &offer));
        let status = if answer.is_some() { 183 } else { 180 };
        if !reliable {
            return self.reply(now, &key, status, "", answer.as_deref(), said);
        }
        call.rseq += 1;
        call.described = answer.is_some();
        let rseq = call.rseq;
        let lines = format!("Require: 100rel\r\nRSeq: {rseq}\r\n");
        let before = said.packets.len();
        self.reply(now, &key, status, &lines, answer.as_deref(), said);
        let text: Bytes = said.packets.get(before).cloned().unwrap_or_default();
        if let Some(call) = self.calls.get_mut(&id) {
            call.reliable = Some(Reliable { rseq, text, wait: T1, since: now });
        }
        self.alarm(now + T1, Alarm::Reliable(id));
    }

    /// Retransmission of a reliable provisional response (RFC 3262 §3).
    pub(super) fn repeat_reliable(&mut self, now: Instant, id: u32, said: &mut PhoneOutput) {
        let Some(reliable) = self.calls.get_mut(&id).and_then(|call| call.reliable.as_mut()) else { return };
        if now.since(reliable.since) >= PATIENCE {
            return self.refuse(now, id, 504, said);
        }
        said.packets.push(reliable.text.clone());
        reliable.wait *= 2;
        let due = now + reliable.wait;
        self.alarm(due, Alarm::Reliable(id));
    }

    pub(super) fn pracked(
        &mut self,
        now: Instant,
        key: &str,
        id: u32,
        message: &Message,
        said: &mut PhoneOutput,
    ) {
        let (address, codecs) = (self.address, self.habits.codecs);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let rack = message.header(HeaderName::RAck).unwrap_or_default();
        let wanted = call.reliable.as_ref().map(|r| format!("{} {} INVITE", r.rseq, call.invite_cseq));
        if wanted.as_deref() != Some(rack) {
            return self.reply(now, key, 481, "", None, said);
        }
        call.reliable = None;
        let answering = std::mem::take(&mut call.answering);
        let answer = body_of(message).and_then(|offer| call.sdp.answer(address, codecs, &offer));
        said.count("PRACK heard");
        self.calm(&Alarm::Reliable(id));
        self.reply(now, key, 200, "", answer.as_deref(), said);
        if answering {
            self.pick_up(now, id, said);
        }
    }

    pub(super) fn decide(&mut self, now: Instant, id: u32, said: &mut PhoneOutput) {
        if self.calls.get(&id).is_some_and(|call| call.unwanted) {
            let status = match self.carrier {
                false => *self.rng.pick(&[486, 486, 603, 480, 404, 500, 600]),
                true => *self.rng.pick(&[503, 503, 500, 486, 404, 480, 603, 407]),
            };
            self.refuse(now, id, status, said);
        } else {
            self.pick_up(now, id, said);
        }
    }

    fn pick_up(&mut self, now: Instant, id: u32, said: &mut PhoneOutput) {
        let Some((key, request)) = self.invite_of(id) else { return };
        let (address, codecs) = (self.address, self.habits.codecs);
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.stage != Stage::Incoming {
            return;
        }
        if call.reliable.is_some() {
            call.answering = true;
            return;
        }
        let sdp = match body_of(&request) {
            _ if call.described => None,
            None => Some(call.sdp.offer(address, codecs)),
            Some(offer) => match call.sdp.answer(address, codecs, &offer) {
                Some(answer) => Some(answer),
                None => return self.refuse(now, id, 488, said),
            },
        };
        call.stage = Stage::Answered;
        self.calm(&Alarm::Ring(id));
        let lines = format!("{}{}", self.allow(), self.grant_session(now, id, &request));
        self.reply(now, &key, 200, &lines, sdp.as_deref(), said);
    }

    pub(super) fn refuse(&mut self, now: Instant, id: u32, status: u16, said: &mut PhoneOutput) {
        let Some((key, _)) = self.invite_of(id) else { return };
        if self.stage(id) != Stage::Incoming {
            return;
        }
        self.reply(now, &key, status, "", None, said);
        if let Some(call) = self.calls.get_mut(&id) {
            call.refused = true;
        }
        self.over(id);
    }

    pub(super) fn cancelled(&mut self, now: Instant, key: &str, invite: &str, said: &mut PhoneOutput) {
        let Some(server) = self.servers.get(invite) else {
            return self.reply(now, key, 481, "", None, said);
        };
        let open = server.status.is_none();
        self.reply(now, key, 200, "", None, said);
        let id = self.calls.iter().find(|(_, call)| call.invite == invite).map(|(id, _)| *id);
        if let (true, Some(id)) = (open, id) {
            said.count("CANCEL heard");
            self.refuse(now, id, 487, said);
        }
    }

    /// ACK of our 200 to INVITE or re-INVITE.
    pub(super) fn confirmed(&mut self, now: Instant, id: u32, _ack: &Message, _said: &mut PhoneOutput) {
        if self.stage(id) == Stage::Answered {
            if let Some(call) = self.calls.get_mut(&id) {
                call.stage = Stage::Up;
            }
            self.talk(now, id);
        }
    }

    /// Server transaction key and message of the INVITE that opened a call.
    fn invite_of(&self, id: u32) -> Option<(String, Message)> {
        let key = self.calls.get(&id)?.invite.clone();
        let request = self.servers.get(&key)?.request.clone();
        Some((key, request))
    }
}
