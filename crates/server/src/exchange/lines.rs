//! The connections that are open now, by number.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use sip::{Flow, Hop};

use crate::net::stream::Line;

/// See the module. Numbers are ours, so the maps need no secret.
#[derive(Debug)]
pub(super) struct Lines {
    epoch: u32,
    by_number: HashMap<u32, (Hop, Line)>,
    by_peer: HashMap<SocketAddr, u32>,
}

impl Lines {
    pub(super) fn new(epoch: u32) -> Lines {
        Lines { epoch, by_number: HashMap::new(), by_peer: HashMap::new() }
    }

    /// A connection is there.
    pub(super) fn open(&mut self, hop: Hop, line: Line) {
        self.by_peer.insert(hop.remote, hop.flow.number);
        self.by_number.insert(hop.flow.number, (hop, line));
    }

    /// A connection is gone; `false` where we had let go of it before.
    pub(super) fn close(&mut self, flow: Flow) -> bool {
        if flow.epoch != self.epoch {
            return false;
        }
        let Some((hop, _)) = self.by_number.remove(&flow.number) else { return false };
        if self.by_peer.get(&hop.remote) == Some(&flow.number) {
            self.by_peer.remove(&hop.remote);
        }
        true
    }

    /// Let go of all, and name them.
    pub(super) fn close_all(&mut self) -> Vec<Flow> {
        self.by_peer.clear();
        let mut flows: Vec<Flow> = self.by_number.drain().map(|(_, (hop, _))| hop.flow).collect();
        flows.sort_unstable();
        flows
    }

    /// Send; `false` where there is no such connection, or its peer does not read. It is closed then.
    pub(super) fn send(&mut self, flow: Flow, bytes: Bytes) -> bool {
        let line = self.by_number.get(&flow.number).filter(|_| flow.epoch == self.epoch);
        if line.is_some_and(|(_, line)| line.send(bytes)) {
            return true;
        }
        self.close(flow);
        false
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
