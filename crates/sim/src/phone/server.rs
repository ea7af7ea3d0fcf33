//! Server transactions of a phone (RFC 3261 §17.2): one response for all retransmissions; final responses to INVITE are repeated until the ACK.

use std::time::Duration;

use base::Instant;
use bytes::Bytes;
use sip::{Message, Method};

use super::{Alarm, PATIENCE, Phone, PhoneOutput, Stage, T1, T2};

#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) request: Message,
    response: Option<Bytes>,
    /// Status of the final response.
    pub(super) status: Option<u16>,
    acknowledged: bool,
    wait: Duration,
    until: Instant,
    call: Option<u32>,
}

impl Phone {
    pub(super) fn request(&mut self, now: Instant, message: Message, said: &mut PhoneOutput) {
        let branch = String::from_utf8_lossy(&message.via().branch).into_owned();
        if *message.method() == Method::Ack {
            return self.acknowledged(now, &branch, &message, said);
        }
        let key = format!("{branch} {}", message.method());
        if let Some(server) = self.servers.get(&key) {
            return said.packets.extend(server.response.clone());
        }
        let server = Server {
            request: message.clone(),
            response: None,
            status: None,
            acknowledged: false,
            wait: T1,
            until: now + PATIENCE,
            call: None,
        };
        self.servers.insert(key.clone(), server);
        if !message.to_tag().is_empty() {
            return self.within_dialog(now, &key, &message, said);
        }
        match message.method() {
            Method::Invite => self.incoming(now, &key, &message, said),
            Method::Cancel => self.cancelled(now, &key, &format!("{branch} INVITE"), said),
            Method::Options => self.reply(now, &key, 200, "", None, said),
            _ => self.reply(now, &key, 481, "", None, said),
        }
    }

    fn within_dialog(&mut self, now: Instant, key: &str, message: &Message, said: &mut PhoneOutput) {
        let same_call = |id: &String| id == message.call_id();
        let Some(id) = self.dialog_of(message) else {
            let known =
                self.forgotten.iter().any(same_call) || self.calls.values().any(|c| same_call(&c.call_id));
            if *message.method() == Method::Bye && !known {
                said.wrong(format!("BYE for a call that it never had: {}", message.call_id()));
            }
            return self.reply(now, key, 481, "", None, said);
        };
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.stage == Stage::Over {
            if call.refused && *message.method() == Method::Bye {
                said.wrong(format!("BYE for a call that it refused: {}", message.call_id()));
            }
            return self.reply(now, key, 481, "", None, said);
        }
        let cseq = message.cseq().number;
        if cseq < call.their_cseq {
            return self.reply(now, key, 500, "", None, said); // RFC 3261 §12.2.2: out of order
        }
        call.their_cseq = cseq;
        match message.method() {
            Method::Bye => {
                let open = self.servers.values().any(|s| s.call == Some(id) && s.status.is_none());
                let invite = self.calls.get(&id).map(|c| c.invite.clone()).unwrap_or_default();
                self.over(id);
                self.reply(now, key, 200, "", None, said);
                if open {
                    self.reply(now, &invite, 487, "", None, said);
                }
            }
            Method::Invite => self.reinvited(now, key, id, message, said),
            Method::Update => self.updated(now, key, id, message, said),
            Method::Prack => self.pracked(now, key, id, message, said),
            Method::Info | Method::Options => self.reply(now, key, 200, "", None, said),
            _ => self.reply(now, key, 405, "", None, said),
        }
    }

    fn dialog_of(&self, message: &Message) -> Option<u32> {
        let is_it = |call: &super::Call| {
            call.call_id == message.call_id()
                && call.local_tag == message.to_tag()
                && (call.remote_tag.is_empty() || call.remote_tag == message.from_tag())
        };
        self.calls.iter().find(|(_, call)| is_it(call)).map(|(id, _)| *id)
    }

    /// Store the id of the call that an INVITE opened.
    pub(super) fn belongs_to(&mut self, key: &str, id: u32) {
        if let Some(server) = self.servers.get_mut(key) {
            server.call = Some(id);
        }
    }

    /// Send a response; each retransmission of the request gets the same one.
    pub(super) fn reply(
        &mut self,
        now: Instant,
        key: &str,
        status: u16,
        lines: &str,
        sdp: Option<&str>,
        said: &mut PhoneOutput,
    ) {
        let Some(server) = self.servers.get(key) else { return };
        if server.status.is_some() {
            return;
        }
        let request = server.request.clone();
        let tag = match server.call.and_then(|id| self.calls.get(&id)) {
            Some(call) => call.local_tag.clone(),
            None => self.rng.base36(8),
        };
        let text = self.answer_to(&request, status, &tag, lines, sdp);
        said.packets.push(text.clone());
        let Some(server) = self.servers.get_mut(key) else { return };
        server.response = Some(text);
        if status < 200 {
            return;
        }
        server.status = Some(status);
        server.until = now + PATIENCE;
        // The 2xx to INVITE is retransmitted over reliable transports too (RFC 3261 §13.3.1.4).
        if *request.method() == Method::Invite && (status < 300 || !self.transport.is_reliable()) {
            self.alarm(now + T1, Alarm::Repeat(key.into()));
        }
    }

    /// Timer G, and its counterpart for 2xx (RFC 3261 §13.3.1.4).
    pub(super) fn repeat(&mut self, now: Instant, key: &str, said: &mut PhoneOutput) {
        let Some(server) = self.servers.get_mut(key) else { return };
        if server.acknowledged {
            return;
        }
        if now >= server.until {
            let (status, call) = (server.status, server.call);
            if let (Some(200..300), Some(id)) = (status, call)
                && self.stage(id) != Stage::Over
            {
                said.count("200 that was never acknowledged");
                self.bye(now, id, said);
            }
            return;
        }
        server.wait = (server.wait * 2).min(T2);
        let due = now + server.wait;
        said.packets.extend(server.response.clone());
        self.alarm(due, Alarm::Repeat(key.into()));
    }

    fn acknowledged(&mut self, now: Instant, branch: &str, ack: &Message, said: &mut PhoneOutput) {
        if let Some(server) = self.servers.get_mut(&format!("{branch} INVITE"))
            && server.status.is_some_and(|status| status >= 300)
        {
            server.acknowledged = true;
            return;
        }
        let Some(id) = self.dialog_of(ack) else { return };
        let is_it = |server: &&mut Server| {
            server.call == Some(id)
                && server.request.cseq().number == ack.cseq().number
                && matches!(server.status, Some(200..300))
        };
        let Some(server) = self.servers.values_mut().find(is_it) else { return };
        let first = !std::mem::replace(&mut server.acknowledged, true);
        if first {
            self.confirmed(now, id, ack, said);
        }
    }
}
