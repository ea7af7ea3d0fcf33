//! Server transactions of a phone (RFC 3261 §17.2): one response for all retransmissions; final responses to INVITE are repeated until the ACK.

use std::time::Duration;

use base::Instant;
use bytes::Bytes;
use sip::{Message, Method};

use super::{CallState, Phone, PhoneOutput, PhoneTimer, T1, T2, TRANSACTION_TIMEOUT};

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
    pub(super) fn request(&mut self, now: Instant, message: Message, out: &mut PhoneOutput) {
        let branch = String::from_utf8_lossy(&message.via().branch).into_owned();
        if *message.method() == Method::Ack {
            return self.on_ack(now, &branch, &message, out);
        }
        let key = format!("{branch} {}", message.method());
        if let Some(server) = self.servers.get(&key) {
            return out.packets.extend(server.response.clone());
        }
        let server = Server {
            request: message.clone(),
            response: None,
            status: None,
            acknowledged: false,
            wait: T1,
            until: now + TRANSACTION_TIMEOUT,
            call: None,
        };
        self.servers.insert(key.clone(), server);
        if !message.to_tag().is_empty() {
            return self.on_in_dialog_request(now, &key, &message, out);
        }
        match message.method() {
            Method::Invite => self.on_invite(now, &key, &message, out),
            Method::Cancel => self.on_cancel(now, &key, &format!("{branch} INVITE"), out),
            Method::Options => self.reply(now, &key, 200, "", None, out),
            _ => self.reply(now, &key, 481, "", None, out),
        }
    }

    fn on_in_dialog_request(&mut self, now: Instant, key: &str, message: &Message, out: &mut PhoneOutput) {
        let same_call = |id: &String| id == message.call_id();
        let Some(id) = self.dialog_of(message) else {
            let known =
                self.lost_calls.iter().any(same_call) || self.calls.values().any(|c| same_call(&c.call_id));
            if *message.method() == Method::Bye && !known {
                out.violation(format!("BYE for an unknown call: {}", message.call_id()));
            }
            return self.reply(now, key, 481, "", None, out);
        };
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.state == CallState::Terminated {
            if call.rejected && *message.method() == Method::Bye {
                out.violation(format!("BYE for a rejected call: {}", message.call_id()));
            }
            return self.reply(now, key, 481, "", None, out);
        }
        let cseq = message.cseq().number;
        if cseq < call.their_cseq {
            return self.reply(now, key, 500, "", None, out); // RFC 3261 §12.2.2: out of order
        }
        call.their_cseq = cseq;
        match message.method() {
            Method::Bye => {
                let open = self.servers.values().any(|s| s.call == Some(id) && s.status.is_none());
                let invite = self.calls.get(&id).map(|c| c.invite.clone()).unwrap_or_default();
                self.terminate(id);
                self.reply(now, key, 200, "", None, out);
                if open {
                    self.reply(now, &invite, 487, "", None, out);
                }
            }
            Method::Invite => self.on_reinvite(now, key, id, message, out),
            Method::Update => self.on_update(now, key, id, message, out),
            Method::Prack => self.on_prack(now, key, id, message, out),
            Method::Info | Method::Options => self.reply(now, key, 200, "", None, out),
            _ => self.reply(now, key, 405, "", None, out),
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
    pub(super) fn set_call(&mut self, key: &str, id: u32) {
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
        out: &mut PhoneOutput,
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
        let text = self.response_to(&request, status, &tag, lines, sdp);
        out.packets.push(text.clone());
        let Some(server) = self.servers.get_mut(key) else { return };
        server.response = Some(text);
        if status < 200 {
            return;
        }
        server.status = Some(status);
        server.until = now + TRANSACTION_TIMEOUT;
        // The 2xx to INVITE is retransmitted over reliable transports too (RFC 3261 §13.3.1.4).
        if *request.method() == Method::Invite && (status < 300 || !self.transport.is_reliable()) {
            self.set_timer(now + T1, PhoneTimer::RetransmitFinal(key.into()));
        }
    }

    /// Timer G, and its counterpart for 2xx (RFC 3261 §13.3.1.4).
    pub(super) fn retransmit_final(&mut self, now: Instant, key: &str, out: &mut PhoneOutput) {
        let Some(server) = self.servers.get_mut(key) else { return };
        if server.acknowledged {
            return;
        }
        if now >= server.until {
            let (status, call) = (server.status, server.call);
            if let (Some(200..300), Some(id)) = (status, call)
                && self.state(id) != CallState::Terminated
            {
                out.count("200 without ACK");
                self.send_bye(now, id, out);
            }
            return;
        }
        server.wait = (server.wait * 2).min(T2);
        let due = now + server.wait;
        out.packets.extend(server.response.clone());
        self.set_timer(due, PhoneTimer::RetransmitFinal(key.into()));
    }

    fn on_ack(&mut self, now: Instant, branch: &str, ack: &Message, out: &mut PhoneOutput) {
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
            self.on_first_ack(now, id, ack, out);
        }
    }
}
