//! Client transactions of a phone (RFC 3261 §17.1): retransmission, ACK of final errors, timeout.

use std::time::Duration;

use base::Instant;
use bytes::Bytes;
use sip::Message;

use super::{Observation, Phone, PhoneOutput, PhoneTimer, T1, T2, TRANSACTION_TIMEOUT};

/// Purpose of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Register,
    Invite(u32),
    Reinvite(u32),
    Update(u32),
    Bye(u32),
    Cancel,
    Prack,
    Info(u32),
}

impl Purpose {
    fn is_invite(self) -> bool {
        matches!(self, Purpose::Invite(_) | Purpose::Reinvite(_))
    }

    fn method(self) -> &'static str {
        match self {
            Purpose::Register => "REGISTER",
            Purpose::Invite(_) | Purpose::Reinvite(_) => "INVITE",
            Purpose::Update(_) => "UPDATE",
            Purpose::Bye(_) => "BYE",
            Purpose::Cancel => "CANCEL",
            Purpose::Prack => "PRACK",
            Purpose::Info(_) => "INFO",
        }
    }
}

#[derive(Clone, Debug)]
enum Received {
    Nothing,
    Provisional,
    /// The ACK, which is repeated for each retransmission of the final response to INVITE.
    Final(Option<Bytes>),
    /// Timed out without final response.
    TimedOut,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) request: Bytes,
    purpose: Purpose,
    since: Instant,
    wait: Duration,
    received: Received,
}

impl Phone {
    pub(super) fn send(
        &mut self,
        now: Instant,
        branch: &str,
        request: Bytes,
        purpose: Purpose,
        out: &mut PhoneOutput,
    ) {
        let key = format!("{branch} {}", purpose.method());
        out.packets.push(request.clone());
        if !self.transport.is_reliable() {
            self.set_timer(now + T1, PhoneTimer::RetransmitRequest(key.clone()));
        }
        self.set_timer(now + TRANSACTION_TIMEOUT, PhoneTimer::TransactionTimeout(key.clone()));
        self.clients
            .insert(key, Client { request, purpose, since: now, wait: T1, received: Received::Nothing });
    }

    /// Timers A and E (RFC 3261 §17.1.1.2, §17.1.2.2).
    pub(super) fn retransmit_request(&mut self, now: Instant, key: &str, out: &mut PhoneOutput) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match client.received {
            Received::Nothing => client.wait *= 2,
            Received::Provisional if !client.purpose.is_invite() => client.wait = T2,
            Received::Provisional | Received::Final(_) | Received::TimedOut => return,
        }
        if !client.purpose.is_invite() {
            client.wait = client.wait.min(T2);
        }
        out.packets.push(client.request.clone());
        let due = now + client.wait;
        self.set_timer(due, PhoneTimer::RetransmitRequest(key.into()));
    }

    /// Timers B and F (RFC 3261 §17.1.1.2, §17.1.2.2).
    pub(super) fn on_transaction_timeout(&mut self, now: Instant, key: &str, out: &mut PhoneOutput) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match client.received {
            Received::Nothing => {}
            Received::Provisional if !client.purpose.is_invite() => {}
            Received::Provisional | Received::Final(_) | Received::TimedOut => return,
        }
        client.received = Received::TimedOut;
        let purpose = client.purpose;
        out.count("requests that timed out");
        match purpose {
            Purpose::Register => self.on_register_response(now, None, out),
            Purpose::Invite(id) | Purpose::Bye(id) => self.terminate(id),
            Purpose::Reinvite(id) | Purpose::Update(id) => self.on_reoffer_response(now, id, None, out),
            Purpose::Cancel | Purpose::Prack | Purpose::Info(_) => {}
        }
    }

    pub(super) fn response(&mut self, now: Instant, message: &Message, out: &mut PhoneOutput) {
        let method = message.cseq().method.to_string();
        let key = format!("{} {method}", String::from_utf8_lossy(&message.via().branch));
        let Some(client) = self.clients.get_mut(&key) else { return };
        let Some(status) = message.status() else { return };
        let (purpose, since) = (client.purpose, client.since);
        if status < 200 {
            if matches!(client.received, Received::Nothing) {
                client.received = Received::Provisional;
            }
            if let (Received::Provisional, Purpose::Invite(id)) = (&client.received, purpose) {
                self.on_provisional(now, id, message, out);
            }
            return;
        }
        out.observations.push(Observation::Final {
            request: key.clone(),
            since,
            status,
            text: message.bytes().clone(),
        });
        match &client.received {
            Received::Final(ack) => return out.packets.extend(ack.clone()),
            // Apart from RFC 6026, a 2xx that arrives after the timeout still opens a dialog, which must be ended.
            Received::TimedOut if !(purpose.is_invite() && status < 300) => return,
            Received::Nothing | Received::Provisional | Received::TimedOut => {}
        }
        client.received = Received::Final(None);
        let request = client.request.clone();
        let ack = match purpose {
            Purpose::Invite(_) | Purpose::Reinvite(_) if status >= 300 => {
                Message::parse(request).ok().map(|invite| self.ack_of_error(&invite, message))
            }
            Purpose::Invite(id) | Purpose::Reinvite(id) => self.ack_of_success(id, message, out),
            _ => None,
        };
        if let Some(ack) = ack {
            out.packets.push(ack.clone());
            if let Some(client) = self.clients.get_mut(&key) {
                client.received = Received::Final(Some(ack));
            }
        }
        match purpose {
            Purpose::Register => self.on_register_response(now, Some(message), out),
            Purpose::Invite(id) => self.on_invite_response(now, id, message, out),
            Purpose::Reinvite(id) | Purpose::Update(id) => {
                self.on_reoffer_response(now, id, Some(message), out);
            }
            Purpose::Bye(id) => self.terminate(id),
            Purpose::Info(id) if matches!(status, 408 | 481) => self.hang_up(now, id, out),
            Purpose::Cancel | Purpose::Prack | Purpose::Info(_) => {}
        }
    }
}
