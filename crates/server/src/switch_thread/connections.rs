//! The connections that are open now, by number.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use sip::{Flow, Hop};
use switch::Input;

use crate::limits::DIALLED;
use crate::net::tcp::ConnectionHandle;

/// See the module. Numbers are ours, so the maps need no secret.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    epoch: u32,
    by_number: HashMap<u32, (Hop, ConnectionHandle)>,
    by_peer: HashMap<SocketAddr, u32>,
    /// Those that we opened ourselves, by listener and host: the exchange names no connection there.
    by_host: HashMap<(u16, SocketAddr), u32>,
}

impl ConnectionTable {
    pub(super) fn new(epoch: u32) -> ConnectionTable {
        ConnectionTable { epoch, by_number: HashMap::new(), by_peer: HashMap::new(), by_host: HashMap::new() }
    }

    /// A connection is there.
    pub(super) fn open(&mut self, hop: Hop, line: ConnectionHandle) {
        self.by_peer.insert(hop.remote, hop.flow.number);
        self.by_number.insert(hop.flow.number, (hop, line));
    }

    /// A connection to a host is being opened.
    pub(super) fn dial(&mut self, hop: Hop, line: ConnectionHandle) {
        self.by_host.insert((hop.listener, hop.remote), hop.flow.number);
        self.open(hop, line);
    }

    /// The connection to a host, where we have opened one.
    pub(super) fn to_host(&self, hop: Hop) -> Option<Flow> {
        let number = *self.by_host.get(&(hop.listener, hop.remote))?;
        Some(Flow { epoch: self.epoch, number })
    }

    /// Whether one more may be opened.
    pub(super) fn may_dial(&self) -> bool {
        self.by_host.len() < DIALLED
    }

    /// A connection is gone; what the exchange must hear of it. Nothing where we had let go of it before.
    pub(super) fn close(&mut self, flow: Flow, later: &mut Vec<Input>) {
        if flow.epoch != self.epoch {
            return;
        }
        let Some((hop, _)) = self.by_number.remove(&flow.number) else { return };
        if self.by_peer.get(&hop.remote) == Some(&flow.number) {
            self.by_peer.remove(&hop.remote);
        }
        later.push(Input::FlowClosed(flow));
        let host = (hop.listener, hop.remote);
        if self.by_host.get(&host) == Some(&flow.number) {
            self.by_host.remove(&host);
            later.push(Input::Unreachable(Hop { flow: Flow::default(), ..hop }));
        }
    }

    /// Let go of all.
    pub(super) fn close_all(&mut self, later: &mut Vec<Input>) {
        let mut flows: Vec<Flow> = self.by_number.values().map(|(hop, _)| hop.flow).collect();
        flows.sort_unstable();
        for flow in flows {
            self.close(flow, later);
        }
    }

    /// Send. Where there is no such connection, or its peer does not read, it is closed.
    pub(super) fn send(&mut self, flow: Flow, bytes: Bytes, later: &mut Vec<Input>) {
        let line = self.by_number.get(&flow.number).filter(|_| flow.epoch == self.epoch);
        match line {
            Some((_, line)) if line.send(bytes) => {}
            Some(_) => self.close(flow, later),
            None => later.push(Input::FlowClosed(flow)),
        }
    }

    /// The phone on this connection has proved who it is.
    pub(super) fn settle(&self, flow: Flow) {
        if let Some((_, line)) = self.by_number.get(&flow.number).filter(|_| flow.epoch == self.epoch) {
            line.settle();
        }
    }

    /// The same, where only the peer's address is known.
    pub(super) fn settle_peer(&self, peer: SocketAddr) {
        if let Some(number) = self.by_peer.get(&peer) {
            self.settle(Flow { epoch: self.epoch, number: *number });
        }
    }
}
