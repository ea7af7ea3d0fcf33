//! The RTP ports that media workers have bound and nobody uses.

use std::collections::{BTreeMap, VecDeque};

/// A port that was handed out, and where it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Port {
    pub(crate) worker: u8,
    pub(crate) number: u16,
}

/// Free ports by listener and worker, oldest first: a port rests as long as it can before it is used again.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    free: BTreeMap<(u16, u8), VecDeque<u16>>,
}

impl Ports {
    pub(crate) fn add(&mut self, worker: u8, listener: u16, ports: Vec<u16>) {
        self.free.entry((listener, worker)).or_default().extend(ports);
    }

    /// The ports of a worker that ended are no longer bound.
    pub(crate) fn forget(&mut self, worker: u8) {
        self.free.retain(|(_, of), _| *of != worker);
    }

    /// A port on the listener's address: on `worker` where the call already lives on one, else on the one with the most free ports.
    pub(crate) fn take(&mut self, listener: u16, worker: Option<u8>) -> Option<Port> {
        let key = match worker {
            Some(worker) => (listener, worker),
            None => {
                *self.free.range((listener, 0)..=(listener, u8::MAX)).max_by_key(|(_, ports)| ports.len())?.0
            }
        };
        let number = self.free.get_mut(&key)?.pop_front()?;
        Some(Port { worker: key.1, number })
    }
}
