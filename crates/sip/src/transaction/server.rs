//! Server transactions (RFC 3261 §17.2, RFC 6026 §7.1): timers G, H, I, J and L.

use base::Instant;
use bytes::Bytes;

use super::{Expired, Key, Retransmission, Timer, Transactions};
use crate::{Hop, Output, SessionId, limits};

/// Id of a server transaction. Never reused (slot, serial).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ServerId(u32, u32);

#[derive(Debug)]
enum State {
    /// Trying or Proceeding, with the last provisional response.
    Proceeding(Option<Bytes>),
    /// A final response, sent again for each retransmission of the request.
    Completed(Bytes),
    /// The rejection of an INVITE was acknowledged.
    Confirmed,
    /// An INVITE got a 2xx: its retransmissions are absorbed, the session retransmits the 2xx.
    Accepted,
}

/// One server transaction: its state, where its responses go, and its timers.
#[derive(Debug)]
pub(crate) struct Server {
    serial: u32,
    key: Key,
    merged: Option<Key>,
    /// Where the responses go.
    hop: Hop,
    invite: bool,
    state: State,
    session: Option<SessionId>,
    timer_at: Option<Instant>,
    resend: Option<Retransmission>,
    until: Option<Instant>,
}

/// Effect of an ACK on the INVITE server transaction with its branch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AckOutcome {
    /// No transaction with a rejection: the ACK belongs to a 2xx, or to nothing.
    NoMatch,
    /// The first ACK of the rejection.
    First(ServerId, Option<SessionId>),
    /// A retransmission of that ACK.
    Retransmission(Option<SessionId>),
}

impl Transactions {
    /// Create the transaction of a request; responses go to `hop`. `None` if the limit is reached or the key exists.
    pub(crate) fn new_server(
        &mut self,
        key: Key,
        merged: Option<Key>,
        hop: Hop,
        invite: bool,
        session: Option<SessionId>,
    ) -> Option<ServerId> {
        if self.len() >= limits::TRANSACTIONS || self.server_keys.contains_key(&key) {
            return None;
        }
        let serial = self.next_serial();
        let state = State::Proceeding(None);
        let server = Server {
            serial,
            key,
            merged,
            hop,
            invite,
            state,
            session,
            timer_at: None,
            resend: None,
            until: None,
        };
        let slot = self.servers.insert(server) as u32;
        self.server_keys.insert(key, slot);
        if let Some(merged) = merged {
            self.merged.insert(merged, slot);
        }
        Some(ServerId(slot, serial))
    }

    fn server_mut(&mut self, ServerId(slot, serial): ServerId) -> Option<&mut Server> {
        self.servers.get_mut(slot as usize).filter(|s| s.serial == serial)
    }

    /// Whether the same request is being served over another path.
    pub(crate) fn is_merged(&self, merged: Key) -> bool {
        self.merged.contains_key(&merged)
    }

    /// If the request has a transaction, it is a retransmission: send the last response again, and return the session of the transaction.
    #[allow(clippy::option_option)] // no transaction, one without a session, one with a session
    pub(crate) fn on_retransmission(&mut self, key: Key, out: &mut Vec<Output>) -> Option<Option<SessionId>> {
        let server = self.servers.get(*self.server_keys.get(&key)? as usize)?;
        match &server.state {
            State::Proceeding(Some(bytes)) | State::Completed(bytes) => {
                out.push(Output::Transmit { hop: server.hop, bytes: bytes.clone(), session: server.session });
            }
            State::Proceeding(None) | State::Confirmed | State::Accepted => {}
        }
        Some(server.session)
    }

    /// The INVITE transaction that a CANCEL refers to: its id, its session, and whether it has no final response yet.
    pub(crate) fn find_invite_of_cancel(&self, key: Key) -> Option<(ServerId, Option<SessionId>, bool)> {
        let slot = *self.server_keys.get(&key)?;
        let server = self.servers.get(slot as usize)?;
        let (id, session) = (ServerId(slot, server.serial), server.session);
        match server.state {
            State::Proceeding(_) => Some((id, session, true)),
            State::Completed(_) | State::Confirmed | State::Accepted => Some((id, session, false)),
        }
    }

    /// Whether an INVITE was answered with 2xx. For CANCEL the transaction then no longer exists (RFC 3261 §17.2.1); state Accepted only absorbs
    /// retransmissions.
    pub(crate) fn is_accepted(&self, id: ServerId) -> bool {
        self.servers.get(id.0 as usize).is_some_and(|server| matches!(server.state, State::Accepted))
    }

    /// Send a response.
    pub(crate) fn respond(
        &mut self,
        now: Instant,
        id: ServerId,
        status: u16,
        bytes: Bytes,
        out: &mut Vec<Output>,
    ) {
        let timer_values = self.timer_values;
        let Some(server) = self.server_mut(id) else { return };
        if !matches!(server.state, State::Proceeding(_)) {
            return;
        }
        out.push(Output::Transmit { hop: server.hop, bytes: bytes.clone(), session: server.session });
        let unreliable = !server.hop.transport.is_reliable();
        if status < 200 {
            server.state = State::Proceeding(Some(bytes));
        } else if !server.invite {
            // Timer J.
            server.until = Some(if unreliable { now + timer_values.timeout } else { now });
            server.state = State::Completed(bytes);
        } else if status < 300 {
            // Timer L (RFC 6026 §7.1).
            server.until = Some(now + timer_values.timeout);
            server.state = State::Accepted;
        } else {
            // Timers G and H.
            server.resend = unreliable.then(|| Retransmission::first(now, timer_values.t1));
            server.until = Some(now + timer_values.timeout);
            server.state = State::Completed(bytes);
        }
        if server.until.is_some_and(|until| until <= now) {
            self.drop_server(id.0);
        } else {
            self.arm_server(id.0);
        }
    }

    /// Retransmit a response on behalf of a session: a provisional one until PRACK, a 2xx until ACK.
    pub(crate) fn retransmit(&mut self, id: ServerId, bytes: &Bytes, out: &mut Vec<Output>) {
        if let Some(server) = self.server_mut(id) {
            out.push(Output::Transmit { hop: server.hop, bytes: bytes.clone(), session: server.session });
        }
    }

    /// Handle an ACK with the branch of an INVITE.
    pub(crate) fn on_ack(&mut self, now: Instant, key: Key) -> AckOutcome {
        let t4 = self.timer_values.t4;
        let Some(&slot) = self.server_keys.get(&key) else { return AckOutcome::NoMatch };
        let Some(server) = self.servers.get_mut(slot as usize) else { return AckOutcome::NoMatch };
        let (id, session) = (ServerId(slot, server.serial), server.session);
        match server.state {
            State::Completed(_) if server.invite => {
                server.state = State::Confirmed;
                server.resend = None;
                if server.hop.transport.is_reliable() {
                    self.drop_server(slot);
                } else {
                    // Timer I.
                    server.until = Some(now + t4);
                    self.arm_server(slot);
                }
                AckOutcome::First(id, session)
            }
            State::Confirmed => AckOutcome::Retransmission(session),
            State::Proceeding(_) | State::Completed(_) | State::Accepted => AckOutcome::NoMatch,
        }
    }

    /// The timer of a server transaction expired.
    pub(crate) fn fire_server(&mut self, now: Instant, slot: u32, out: &mut Vec<Output>) -> Option<Expired> {
        let t2 = self.timer_values.t2;
        let server = self.servers.get_mut(slot as usize)?;
        server.timer_at = None;
        if server.until.is_some_and(|until| until <= now) {
            let unacknowledged = server.invite && matches!(server.state, State::Completed(_));
            let expired = Expired::Server { tx: ServerId(slot, server.serial), session: server.session };
            self.drop_server(slot);
            return unacknowledged.then_some(expired);
        }
        if let (Some(resend), State::Completed(bytes)) =
            (server.resend.filter(|r| r.at <= now), &server.state)
        {
            server.resend = Some(resend.next(now, t2));
            out.push(Output::Transmit { hop: server.hop, bytes: bytes.clone(), session: server.session });
        }
        self.arm_server(slot);
        None
    }

    fn arm_server(&mut self, slot: u32) {
        if let Some(server) = self.servers.get_mut(slot as usize) {
            let at = server.resend.map(|r| r.at).into_iter().chain(server.until).min();
            self.timers.set(Timer::Server(slot), &mut server.timer_at, at);
        }
    }

    fn drop_server(&mut self, slot: u32) {
        if let Some(mut server) = self.servers.try_remove(slot as usize) {
            self.timers.set(Timer::Server(slot), &mut server.timer_at, None);
            self.server_keys.remove(&server.key);
            if let Some(merged) = server.merged {
                self.merged.remove(&merged);
            }
        }
    }
}
