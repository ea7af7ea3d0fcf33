//! Client transactions (RFC 3261 §17.1, RFC 6026 §7.2): timers A, B, D, E, F, K and M.

use base::Instant;
use bytes::Bytes;

use super::{Expired, Key, Retransmission, Timer, Transactions};
use crate::{
    Flow, HeaderName, Hop, Message, Output, RequestId, SessionId, SubscriptionId, Transport, limits, wire,
};

/// Id of a client transaction. Never reused (slot, serial).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ClientId(u32, u32);

/// The receiver of the responses of a client transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    Session(SessionId),
    Request(RequestId),
    Subscription(SubscriptionId),
    /// No one. The messages still belong to the ladder diagram of that session.
    None(Option<SessionId>),
}

impl Owner {
    /// The session whose ladder diagram shows the messages.
    pub(crate) fn ladder_session(self) -> Option<SessionId> {
        match self {
            Owner::Session(session) => Some(session),
            Owner::Request(_) | Owner::Subscription(_) => None,
            Owner::None(session) => session,
        }
    }
}

#[derive(Debug)]
enum State {
    /// Calling or Trying.
    Sent,
    Proceeding,
    /// An INVITE got a final response of 300 to 699: `ack` is sent again for each retransmission of it. Empty for other methods.
    Completed {
        ack: Bytes,
    },
    /// An INVITE got a 2xx (RFC 6026). For each To tag, the ACK that is sent again for each retransmission of the 2xx.
    Accepted {
        acks: Vec<(Box<str>, Hop, Bytes)>,
    },
}

/// One client transaction: the request, its state and its timers.
#[derive(Debug)]
pub(crate) struct Client {
    serial: u32,
    key: Key,
    invite: bool,
    pub(crate) hop: Hop,
    pub(crate) request: Bytes,
    state: State,
    pub(crate) owner: Owner,
    timer_at: Option<Instant>,
    resend: Option<Retransmission>,
    until: Option<Instant>,
}

/// How a transaction handled a response.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ResponseOutcome {
    /// No transaction matches.
    Stray,
    /// A retransmission, or irrelevant in this state.
    Absorbed(Owner),
    /// The owner must handle it.
    Passed(ClientId, Owner),
}

impl Transactions {
    /// Send a request in a new transaction; `None` if the limit is reached.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        key: Key,
        hop: Hop,
        request: Bytes,
        owner: Owner,
        out: &mut Vec<Output>,
    ) -> Option<ClientId> {
        if self.len() >= limits::TRANSACTIONS {
            return None;
        }
        let serial = self.next_serial();
        let invite = request.starts_with(b"INVITE ");
        let resend = (!hop.transport.is_reliable()).then(|| Retransmission::first(now, self.timer_values.t1));
        let until = Some(now + self.timer_values.timeout);
        out.push(Output::Transmit { hop, bytes: request.clone(), session: owner.ladder_session() });
        let client = Client {
            serial,
            key,
            invite,
            hop,
            request,
            state: State::Sent,
            owner,
            timer_at: None,
            resend,
            until,
        };
        let slot = self.clients.insert(client) as u32;
        self.client_keys.insert(key, slot);
        self.by_destination.insert((hop.flow, hop.remote, slot));
        self.arm_client(slot);
        Some(ClientId(slot, serial))
    }

    /// The transaction with this id, if it exists.
    pub(crate) fn client(&self, ClientId(slot, serial): ClientId) -> Option<&Client> {
        self.clients.get(slot as usize).filter(|c| c.serial == serial)
    }

    fn client_mut(&mut self, ClientId(slot, serial): ClientId) -> Option<&mut Client> {
        self.clients.get_mut(slot as usize).filter(|c| c.serial == serial)
    }

    /// Handle a response.
    pub(crate) fn on_response(
        &mut self,
        now: Instant,
        key: Key,
        response: &Message,
        out: &mut Vec<Output>,
    ) -> ResponseOutcome {
        let (Some(&slot), Some(status)) = (self.client_keys.get(&key), response.status()) else {
            return ResponseOutcome::Stray;
        };
        let (timeout, t2, t4) = (self.timer_values.timeout, self.timer_values.t2, self.timer_values.t4);
        let Some(client) = self.clients.get_mut(slot as usize) else { return ResponseOutcome::Stray };
        let (id, owner) = (ClientId(slot, client.serial), client.owner);
        let unreliable = !client.hop.transport.is_reliable();
        let outcome = match &mut client.state {
            State::Sent | State::Proceeding if status < 200 => {
                if client.invite && matches!(client.state, State::Sent) {
                    // Timers A and B end with the first 1xx (RFC 3261 §17.1.1.2); without an owner to give up, the 64·T1 limit stays.
                    client.resend = None;
                    client.until = matches!(owner, Owner::None(_)).then(|| now + timeout);
                } else if let Some(resend) = &mut client.resend {
                    // Timer E continues at T2 (§17.1.2.2).
                    resend.interval = t2;
                }
                client.state = State::Proceeding;
                ResponseOutcome::Passed(id, owner)
            }
            State::Sent | State::Proceeding if !client.invite => {
                client.resend = None;
                // Timer K.
                client.until = Some(if unreliable { now + t4 } else { now });
                client.state = State::Completed { ack: Bytes::new() };
                ResponseOutcome::Passed(id, owner)
            }
            State::Sent | State::Proceeding if status < 300 => {
                client.resend = None;
                // Timer M (RFC 6026 §7.2).
                client.until = Some(now + timeout);
                client.state = State::Accepted { acks: Vec::new() };
                ResponseOutcome::Passed(id, owner)
            }
            State::Sent | State::Proceeding => {
                let to = response.header_lines(HeaderName::To).next();
                let ack = wire::ack_or_cancel(&mut self.buf, &client.request, "ACK", to, b"");
                out.push(Output::Transmit {
                    hop: client.hop,
                    bytes: ack.clone(),
                    session: owner.ladder_session(),
                });
                client.resend = None;
                // Timer D.
                client.until = Some(if unreliable { now + timeout } else { now });
                client.state = State::Completed { ack };
                ResponseOutcome::Passed(id, owner)
            }
            State::Completed { ack } => {
                if client.invite && status >= 300 {
                    out.push(Output::Transmit {
                        hop: client.hop,
                        bytes: ack.clone(),
                        session: owner.ladder_session(),
                    });
                }
                ResponseOutcome::Absorbed(owner)
            }
            State::Accepted { acks } if (200..300).contains(&status) => {
                match acks.iter().find(|(tag, ..)| **tag == *response.to_tag()) {
                    Some((_, hop, ack)) => {
                        out.push(Output::Transmit {
                            hop: *hop,
                            bytes: ack.clone(),
                            session: owner.ladder_session(),
                        });
                        ResponseOutcome::Absorbed(owner)
                    }
                    None => ResponseOutcome::Passed(id, owner),
                }
            }
            State::Accepted { .. } => ResponseOutcome::Absorbed(owner),
        };
        self.remove_or_arm_client(now, slot);
        outcome
    }

    /// Store the ACK of a 2xx, to be sent again for each retransmission of it (RFC 3261 §13.2.2.4).
    pub(crate) fn store_ack(&mut self, id: ClientId, tag: &str, hop: Hop, ack: Bytes) {
        if let Some(Client { state: State::Accepted { acks }, .. }) = self.client_mut(id)
            && acks.len() < limits::EARLY_DIALOGS
        {
            acks.push((tag.into(), hop, ack));
        }
    }

    /// Whether an INVITE has a provisional response (so that CANCEL may be sent) and no final response.
    pub(crate) fn is_proceeding(&self, id: ClientId) -> bool {
        self.client(id).is_some_and(|c| matches!(c.state, State::Proceeding))
    }

    /// A CANCEL was sent: the INVITE has 64·T1 to get its final response (RFC 3261 §9.1).
    pub(crate) fn await_final(&mut self, now: Instant, id: ClientId) {
        let timeout = self.timer_values.timeout;
        if let Some(client) = self.client_mut(id)
            && matches!(client.state, State::Proceeding)
            && client.until.is_none()
        {
            client.until = Some(now + timeout);
            self.arm_client(id.0);
        }
    }

    /// Let the transaction time out at `until`, if that is earlier than its timer.
    pub(crate) fn shorten_timeout(&mut self, id: ClientId, until: Instant) {
        if let Some(client) = self.client_mut(id) {
            client.until = client.until.map(|usual| usual.min(until));
            self.arm_client(id.0);
        }
    }

    /// Remove the owner; the transaction has 64·T1 to end.
    pub(crate) fn detach(&mut self, now: Instant, id: ClientId) {
        if let Some(client) = self.client_mut(id) {
            client.owner = Owner::None(client.owner.ladder_session());
            self.await_final(now, id);
        }
    }

    /// The timer of a client transaction expired.
    pub(crate) fn fire_client(&mut self, now: Instant, slot: u32, out: &mut Vec<Output>) -> Option<Expired> {
        let (t2, timeout) = (self.timer_values.t2, self.timer_values.timeout);
        let client = self.clients.get_mut(slot as usize)?;
        client.timer_at = None;
        if client.until.is_some_and(|until| until <= now) {
            let waiting = matches!(client.state, State::Sent | State::Proceeding);
            let expired = Expired::Client { tx: ClientId(slot, client.serial), owner: client.owner };
            self.drop_client(slot);
            return waiting.then_some(expired);
        }
        if let Some(resend) = client.resend.filter(|r| r.at <= now) {
            // Timer A doubles without limit, timer E up to T2.
            client.resend = Some(resend.next(now, if client.invite { timeout } else { t2 }));
            let session = client.owner.ladder_session();
            out.push(Output::Transmit { hop: client.hop, bytes: client.request.clone(), session });
        }
        self.arm_client(slot);
        None
    }

    /// Remove the transactions that can get no response because their connection closed or their peer is unreachable (503, RFC 3261 §8.1.3.1).
    /// Returns their ids and owners.
    pub(crate) fn remove_unreachable(&mut self, flow: Flow, peer: Option<Hop>) -> Vec<(ClientId, Owner)> {
        let low = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let from = (flow, peer.map_or(low, |hop| hop.remote), 0);
        let matches = |(on, remote, _): &&(Flow, std::net::SocketAddr, u32)| {
            *on == flow && peer.is_none_or(|hop| hop.remote == *remote)
        };
        let slots: Vec<u32> =
            self.by_destination.range(from..).take_while(matches).map(|(_, _, slot)| *slot).collect();
        let mut removed = Vec::new();
        for slot in slots {
            let Some(client) = self.clients.get(slot as usize) else { continue };
            let transport = client.hop.transport;
            let same = peer.is_none_or(|hop| {
                hop.transport == transport
                    && (transport != Transport::Udp || hop.listener == client.hop.listener)
            });
            if same && matches!(client.state, State::Sent | State::Proceeding) {
                removed.push((ClientId(slot, client.serial), client.owner));
                self.drop_client(slot);
            }
        }
        removed
    }

    fn remove_or_arm_client(&mut self, now: Instant, slot: u32) {
        let Some(client) = self.clients.get(slot as usize) else { return };
        if matches!(client.state, State::Completed { .. }) && client.until.is_some_and(|until| until <= now) {
            self.drop_client(slot);
        } else {
            self.arm_client(slot);
        }
    }

    fn arm_client(&mut self, slot: u32) {
        if let Some(client) = self.clients.get_mut(slot as usize) {
            let at = client.resend.map(|r| r.at).into_iter().chain(client.until).min();
            self.timers.set(Timer::Client(slot), &mut client.timer_at, at);
        }
    }

    fn drop_client(&mut self, slot: u32) {
        if let Some(mut client) = self.clients.try_remove(slot as usize) {
            self.timers.set(Timer::Client(slot), &mut client.timer_at, None);
            self.client_keys.remove(&client.key);
            self.by_destination.remove(&(client.hop.flow, client.hop.remote, slot));
        }
    }
}
