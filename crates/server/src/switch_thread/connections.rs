//! Table of the open connections, by number, peer, and trunk host.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use sip::{Flow, Hop};
use switch::Input;

use crate::limits::OUTBOUND_CONNECTIONS;
use crate::net::tcp::ConnectionHandle;

/// The open connections. Their numbers are chosen by us, so the maps need no keyed hash.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    epoch: u32,
    by_number: HashMap<u32, (Hop, ConnectionHandle)>,
    by_peer: HashMap<SocketAddr, u32>,
    /// Outbound connections, by listener and host: the switch addresses these by host, without a flow.
    by_host: HashMap<(u16, SocketAddr), u32>,
}

impl ConnectionTable {
    pub(super) fn new(epoch: u32) -> ConnectionTable {
        ConnectionTable { epoch, by_number: HashMap::new(), by_peer: HashMap::new(), by_host: HashMap::new() }
    }

    /// Add an inbound connection.
    pub(super) fn open(&mut self, hop: Hop, connection: ConnectionHandle) {
        self.by_peer.insert(hop.remote, hop.flow.number);
        self.by_number.insert(hop.flow.number, (hop, connection));
    }

    /// Add an outbound connection that is being opened.
    pub(super) fn dial(&mut self, hop: Hop, connection: ConnectionHandle) {
        self.by_host.insert((hop.listener, hop.remote), hop.flow.number);
        self.open(hop, connection);
    }

    /// The outbound connection to a host, if one is open.
    pub(super) fn to_host(&self, hop: Hop) -> Option<Flow> {
        let number = *self.by_host.get(&(hop.listener, hop.remote))?;
        Some(Flow { epoch: self.epoch, number })
    }

    /// Whether another outbound connection is allowed.
    pub(super) fn may_dial(&self) -> bool {
        self.by_host.len() < OUTBOUND_CONNECTIONS
    }

    /// Remove a connection and queue the inputs that report it. Does nothing if it was removed before.
    pub(super) fn close(&mut self, flow: Flow, deferred: &mut Vec<Input>) {
        if flow.epoch != self.epoch {
            return;
        }
        let Some((hop, _)) = self.by_number.remove(&flow.number) else { return };
        if self.by_peer.get(&hop.remote) == Some(&flow.number) {
            self.by_peer.remove(&hop.remote);
        }
        deferred.push(Input::FlowClosed(flow));
        let host = (hop.listener, hop.remote);
        if self.by_host.get(&host) == Some(&flow.number) {
            self.by_host.remove(&host);
            deferred.push(Input::Unreachable(Hop { flow: Flow::default(), ..hop }));
        }
    }

    /// Remove all connections.
    pub(super) fn close_all(&mut self, deferred: &mut Vec<Input>) {
        let mut flows: Vec<Flow> = self.by_number.values().map(|(hop, _)| hop.flow).collect();
        flows.sort_unstable();
        for flow in flows {
            self.close(flow, deferred);
        }
    }

    /// Queue bytes on a connection. A connection that does not exist, or whose queue is full, is closed.
    pub(super) fn send(&mut self, flow: Flow, bytes: Bytes, deferred: &mut Vec<Input>) {
        let connection = self.by_number.get(&flow.number).filter(|_| flow.epoch == self.epoch);
        match connection {
            Some((_, connection)) if connection.send(bytes) => {}
            Some(_) => self.close(flow, deferred),
            None => deferred.push(Input::FlowClosed(flow)),
        }
    }

    /// The peer of this connection has authenticated.
    pub(super) fn mark_authenticated(&self, flow: Flow) {
        if let Some((_, connection)) = self.by_number.get(&flow.number).filter(|_| flow.epoch == self.epoch) {
            connection.mark_authenticated();
        }
    }

    /// The same, by the peer's address.
    pub(super) fn mark_peer_authenticated(&self, peer: SocketAddr) {
        if let Some(number) = self.by_peer.get(&peer) {
            self.mark_authenticated(Flow { epoch: self.epoch, number: *number });
        }
    }
}
