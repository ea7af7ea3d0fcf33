//! Pool of free RTP ports that the media workers have bound.

use std::collections::{BTreeMap, VecDeque};

use crate::Listener;

/// An allocated RTP port, with the media worker that has bound it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Port {
    pub(crate) worker: u8,
    pub(crate) number: u16,
}

/// Free ports by listener and worker. First in, first out, so that a port is unused as long as possible before it is allocated again.
#[derive(Debug)]
pub(crate) struct Ports {
    /// For each listener, the index of the first listener with the same IP address: RTP ports are bound per address.
    first: Vec<u16>,
    free: BTreeMap<(u16, u8), VecDeque<u16>>,
}

impl Ports {
    pub(crate) fn new(listeners: &[Listener]) -> Ports {
        let first = (0..).zip(listeners).map(|(index, listener)| {
            let mut earlier = (0..index).zip(listeners);
            earlier.find(|(_, other)| other.address.ip() == listener.address.ip()).map_or(index, |(n, _)| n)
        });
        Ports { first: first.collect(), free: BTreeMap::new() }
    }

    fn listener(&self, index: u16) -> u16 {
        self.first.get(usize::from(index)).copied().unwrap_or(index)
    }

    pub(crate) fn add(&mut self, worker: u8, listener: u16, ports: Vec<u16>) {
        let listener = self.listener(listener);
        self.free.entry((listener, worker)).or_default().extend(ports);
    }

    /// Remove the ports of a worker that has ended.
    pub(crate) fn forget(&mut self, worker: u8) {
        self.free.retain(|(_, of), _| *of != worker);
    }

    /// Allocate a port on the listener's address: of `worker` if the call already has one, else of the worker with the most free ports. `None` if
    /// there is no free port.
    pub(crate) fn take(&mut self, listener: u16, worker: Option<u8>) -> Option<Port> {
        let listener = self.listener(listener);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_on_one_address_take_from_the_same_ports() {
        let listener =
            |address: &str| Listener { transport: sip::Transport::Udp, address: address.parse().unwrap() };
        let mut ports = Ports::new(&["192.0.2.1:5060", "192.0.2.2:5060", "192.0.2.1:5080"].map(listener));
        ports.add(0, 0, vec![10_000]);
        ports.add(1, 2, vec![10_002, 10_004]);
        assert_eq!(ports.take(1, None), None);
        assert_eq!(ports.take(0, None), Some(Port { worker: 1, number: 10_002 }), "the one with most");
        assert_eq!(ports.take(2, Some(0)), Some(Port { worker: 0, number: 10_000 }));
        assert_eq!((ports.take(2, Some(0)), ports.take(2, None).map(|p| p.number)), (None, Some(10_004)));
    }
}
