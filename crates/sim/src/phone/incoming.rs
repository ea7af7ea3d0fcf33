//! Incoming calls of a phone: ring, answer, reject, or do not respond.

use base::Instant;
use bytes::Bytes;
use sip::{HeaderName, Message};

use super::profile::Prack;
use super::wire::{body, target_of};
use super::{Call, CallState, Phone, PhoneOutput, PhoneTimer, Reliable, T1, TRANSACTION_TIMEOUT};
use crate::rng_ext::RngExt;

impl Phone {
    pub(super) fn on_invite(&mut self, now: Instant, key: &str, message: &Message, out: &mut PhoneOutput) {
        let sdp = self.new_sdp();
        let Some(target) = target_of(message) else {
            out.violation("INVITE without Contact");
            return self.reply(now, key, 400, "", None, out);
        };
        if body(message).is_none() {
            out.violation("INVITE to a phone without an offer");
        }
        let local_tag = self.rng.base36(8);
        let (cseq, rseq) = (self.rng.below(1000) as u32, self.rng.below(1000) as u32);
        let id = self.new_call(Call {
            state: CallState::Incoming,
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
            challenges: 0,
            unwanted: false,
            rejected: false,
            without_offer: false,
            sdp_sent: false,
            reliable: None,
            answer_pending: false,
            rseq,
            remote_rseq: 0,
            offer_in_progress: false,
            sdp,
            pending_offer: None,
            peer_allows_update: message.tokens(HeaderName::Allow).any(|m| m == "UPDATE"),
            session: None,
            requested_session: None,
        });
        self.set_call(key, id);
        out.count("calls received");
        if self.closing {
            return self.reject(now, id, 480, out);
        }
        let roll = self.rng.below(100);
        let profile = &self.profile;
        let (answers, rejects) = (profile.answers, profile.answers + profile.rejects);
        let (rings, answer_delay) = (rejects + profile.rings_only, profile.answer_delay);
        if roll >= rings {
            out.count("INVITE without any response");
            if let Some(call) = self.calls.get_mut(&id) {
                call.rejected = true;
            }
            return self.terminate(id);
        }
        let soon = self.rng.millis(0, 400);
        self.set_timer(now + soon, PhoneTimer::Ring(id));
        if roll < rejects {
            if let Some(call) = self.calls.get_mut(&id) {
                call.unwanted = roll >= answers;
            }
            let later = self.rng.millis(answer_delay.0, answer_delay.1);
            self.set_timer(now + later, PhoneTimer::Decide(id));
        }
    }

    /// Send 180, or 183 with early media; reliably if both sides support 100rel.
    pub(super) fn ring(&mut self, now: Instant, id: u32, out: &mut PhoneOutput) {
        if self.state(id) != CallState::Incoming {
            return;
        }
        let early = self.rng.odds(self.profile.early_media);
        let Some((key, request)) = self.invite_of(id) else { return };
        let extends = |name| request.tokens(name).any(|t| t.eq_ignore_ascii_case("100rel"));
        let reliable = self.profile.prack != Prack::No
            && (extends(HeaderName::Supported) || extends(HeaderName::Require));
        let (address, codecs) = (self.address, self.profile.codecs);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let offer = body(&request);
        let answer = offer.filter(|_| early).and_then(|offer| call.sdp.answer(address, codecs, &offer));
        let status = if answer.is_some() { 183 } else { 180 };
        if !reliable {
            return self.reply(now, &key, status, "", answer.as_deref(), out);
        }
        call.rseq += 1;
        call.sdp_sent = answer.is_some();
        let rseq = call.rseq;
        let lines = format!("Require: 100rel\r\nRSeq: {rseq}\r\n");
        let before = out.packets.len();
        self.reply(now, &key, status, &lines, answer.as_deref(), out);
        let text: Bytes = out.packets.get(before).cloned().unwrap_or_default();
        if let Some(call) = self.calls.get_mut(&id) {
            call.reliable = Some(Reliable { rseq, text, wait: T1, since: now });
        }
        self.set_timer(now + T1, PhoneTimer::RetransmitReliable(id));
    }

    /// Retransmission of a reliable provisional response (RFC 3262 §3).
    pub(super) fn retransmit_reliable(&mut self, now: Instant, id: u32, out: &mut PhoneOutput) {
        let Some(reliable) = self.calls.get_mut(&id).and_then(|call| call.reliable.as_mut()) else { return };
        if now.since(reliable.since) >= TRANSACTION_TIMEOUT {
            return self.reject(now, id, 504, out);
        }
        out.packets.push(reliable.text.clone());
        reliable.wait *= 2;
        let due = now + reliable.wait;
        self.set_timer(due, PhoneTimer::RetransmitReliable(id));
    }

    pub(super) fn on_prack(
        &mut self,
        now: Instant,
        key: &str,
        id: u32,
        message: &Message,
        out: &mut PhoneOutput,
    ) {
        let (address, codecs) = (self.address, self.profile.codecs);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let rack = message.header(HeaderName::RAck).unwrap_or_default();
        let wanted = call.reliable.as_ref().map(|r| format!("{} {} INVITE", r.rseq, call.invite_cseq));
        if wanted.as_deref() != Some(rack) {
            return self.reply(now, key, 481, "", None, out);
        }
        call.reliable = None;
        let answer_pending = std::mem::take(&mut call.answer_pending);
        let answer = body(message).and_then(|offer| call.sdp.answer(address, codecs, &offer));
        out.count("PRACK received");
        self.cancel_timers(&PhoneTimer::RetransmitReliable(id));
        self.reply(now, key, 200, "", answer.as_deref(), out);
        if answer_pending {
            self.pick_up(now, id, out);
        }
    }

    pub(super) fn decide(&mut self, now: Instant, id: u32, out: &mut PhoneOutput) {
        if self.calls.get(&id).is_some_and(|call| call.unwanted) {
            let status = match self.carrier {
                false => *self.rng.pick(&[486, 486, 603, 480, 404, 500, 600]),
                true => *self.rng.pick(&[503, 503, 500, 486, 404, 480, 603, 407]),
            };
            self.reject(now, id, status, out);
        } else {
            self.pick_up(now, id, out);
        }
    }

    fn pick_up(&mut self, now: Instant, id: u32, out: &mut PhoneOutput) {
        let Some((key, request)) = self.invite_of(id) else { return };
        let (address, codecs) = (self.address, self.profile.codecs);
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.state != CallState::Incoming {
            return;
        }
        if call.reliable.is_some() {
            call.answer_pending = true;
            return;
        }
        let sdp = match body(&request) {
            _ if call.sdp_sent => None,
            None => Some(call.sdp.offer(address, codecs)),
            Some(offer) => match call.sdp.answer(address, codecs, &offer) {
                Some(answer) => Some(answer),
                None => return self.reject(now, id, 488, out),
            },
        };
        call.state = CallState::Answered;
        self.cancel_timers(&PhoneTimer::Ring(id));
        let lines = format!("{}{}", self.allow(), self.grant_session(now, id, &request));
        self.reply(now, &key, 200, &lines, sdp.as_deref(), out);
    }

    pub(super) fn reject(&mut self, now: Instant, id: u32, status: u16, out: &mut PhoneOutput) {
        let Some((key, _)) = self.invite_of(id) else { return };
        if self.state(id) != CallState::Incoming {
            return;
        }
        self.reply(now, &key, status, "", None, out);
        if let Some(call) = self.calls.get_mut(&id) {
            call.rejected = true;
        }
        self.terminate(id);
    }

    pub(super) fn on_cancel(&mut self, now: Instant, key: &str, invite: &str, out: &mut PhoneOutput) {
        let Some(server) = self.servers.get(invite) else {
            return self.reply(now, key, 481, "", None, out);
        };
        let open = server.status.is_none();
        self.reply(now, key, 200, "", None, out);
        let id = self.calls.iter().find(|(_, call)| call.invite == invite).map(|(id, _)| *id);
        if let (true, Some(id)) = (open, id) {
            out.count("CANCEL received");
            self.reject(now, id, 487, out);
        }
    }

    /// ACK of our 200 to INVITE or re-INVITE.
    pub(super) fn on_first_ack(&mut self, now: Instant, id: u32, _ack: &Message, _said: &mut PhoneOutput) {
        if self.state(id) == CallState::Answered {
            if let Some(call) = self.calls.get_mut(&id) {
                call.state = CallState::Confirmed;
            }
            self.on_answered(now, id);
        }
    }

    /// Server transaction key and message of the INVITE that opened a call.
    fn invite_of(&self, id: u32) -> Option<(String, Message)> {
        let key = self.calls.get(&id)?.invite.clone();
        let request = self.servers.get(&key)?.request.clone();
        Some((key, request))
    }
}
