//! Client transactions of a phone (RFC 3261 §17.1): retransmission, ACK of final errors, timeout.

use std::time::Duration;

use base::Instant;
use bytes::Bytes;
use sip::Message;

use super::{Alarm, Observation, PATIENCE, Phone, PhoneOutput, T1, T2};

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
    fn invites(self) -> bool {
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
enum Heard {
    Nothing,
    Provisional,
    /// The ACK, which is repeated for each retransmission of the final response to INVITE.
    Final(Option<Bytes>),
    /// Timed out without final response.
    Silence,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) request: Bytes,
    purpose: Purpose,
    since: Instant,
    wait: Duration,
    heard: Heard,
}

impl Phone {
    pub(super) fn send(
        &mut self,
        now: Instant,
        branch: &str,
        request: Bytes,
        purpose: Purpose,
        said: &mut PhoneOutput,
    ) {
        let key = format!("{branch} {}", purpose.method());
        said.packets.push(request.clone());
        if !self.transport.is_reliable() {
            self.alarm(now + T1, Alarm::Resend(key.clone()));
        }
        self.alarm(now + PATIENCE, Alarm::GiveUp(key.clone()));
        self.clients.insert(key, Client { request, purpose, since: now, wait: T1, heard: Heard::Nothing });
    }

    /// Timers A and E (RFC 3261 §17.1.1.2, §17.1.2.2).
    pub(super) fn resend(&mut self, now: Instant, key: &str, said: &mut PhoneOutput) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match client.heard {
            Heard::Nothing => client.wait *= 2,
            Heard::Provisional if !client.purpose.invites() => client.wait = T2,
            Heard::Provisional | Heard::Final(_) | Heard::Silence => return,
        }
        if !client.purpose.invites() {
            client.wait = client.wait.min(T2);
        }
        said.packets.push(client.request.clone());
        let due = now + client.wait;
        self.alarm(due, Alarm::Resend(key.into()));
    }

    /// Timers B and F (RFC 3261 §17.1.1.2, §17.1.2.2).
    pub(super) fn give_up(&mut self, now: Instant, key: &str, said: &mut PhoneOutput) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match client.heard {
            Heard::Nothing => {}
            Heard::Provisional if !client.purpose.invites() => {}
            Heard::Provisional | Heard::Final(_) | Heard::Silence => return,
        }
        client.heard = Heard::Silence;
        let purpose = client.purpose;
        said.count("requests that nobody answered");
        match purpose {
            Purpose::Register => self.registered(now, None, said),
            Purpose::Invite(id) | Purpose::Bye(id) => self.over(id),
            Purpose::Reinvite(id) | Purpose::Update(id) => self.reoffered(now, id, None, said),
            Purpose::Cancel | Purpose::Prack | Purpose::Info(_) => {}
        }
    }

    pub(super) fn response(&mut self, now: Instant, message: &Message, said: &mut PhoneOutput) {
        let method = message.cseq().method.to_string();
        let key = format!("{} {method}", String::from_utf8_lossy(&message.via().branch));
        let Some(client) = self.clients.get_mut(&key) else { return };
        let Some(status) = message.status() else { return };
        let (purpose, since) = (client.purpose, client.since);
        if status < 200 {
            if matches!(client.heard, Heard::Nothing) {
                client.heard = Heard::Provisional;
            }
            if let (Heard::Provisional, Purpose::Invite(id)) = (&client.heard, purpose) {
                self.progressed(now, id, message, said);
            }
            return;
        }
        said.sights.push(Observation::Final {
            request: key.clone(),
            since,
            status,
            text: message.bytes().clone(),
        });
        match &client.heard {
            Heard::Final(ack) => return said.packets.extend(ack.clone()),
            // Apart from RFC 6026, a 2xx that arrives after the timeout still opens a dialog, which must be ended.
            Heard::Silence if !(purpose.invites() && status < 300) => return,
            Heard::Nothing | Heard::Provisional | Heard::Silence => {}
        }
        client.heard = Heard::Final(None);
        let request = client.request.clone();
        let ack = match purpose {
            Purpose::Invite(_) | Purpose::Reinvite(_) if status >= 300 => {
                Message::parse(request).ok().map(|invite| self.ack_of_refusal(&invite, message))
            }
            Purpose::Invite(id) | Purpose::Reinvite(id) => self.ack_of_answer(id, message, said),
            _ => None,
        };
        if let Some(ack) = ack {
            said.packets.push(ack.clone());
            if let Some(client) = self.clients.get_mut(&key) {
                client.heard = Heard::Final(Some(ack));
            }
        }
        match purpose {
            Purpose::Register => self.registered(now, Some(message), said),
            Purpose::Invite(id) => self.invited(now, id, message, said),
            Purpose::Reinvite(id) | Purpose::Update(id) => self.reoffered(now, id, Some(message), said),
            Purpose::Bye(id) => self.over(id),
            Purpose::Info(id) if matches!(status, 408 | 481) => self.hang_up(now, id, said),
            Purpose::Cancel | Purpose::Prack | Purpose::Info(_) => {}
        }
    }
}
