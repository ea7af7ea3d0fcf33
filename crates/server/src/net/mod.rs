//! Sockets: datagrams in batches, streams as tasks that cut them into messages. Nothing here knows what a message means.

mod buffer_pool;
pub mod dial;
pub mod tcp;
pub mod udp;
mod waker;

use std::net::{IpAddr, SocketAddr};

pub use waker::LoopWaker;

/// What a peer must be told of a listener's address.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Where the listener is bound.
    pub bound: SocketAddr,
    /// What the operator wants to be shown instead (`public_address`).
    pub public: Option<IpAddr>,
}

impl Shown {
    /// A listener's address; a public address of the other family cannot be shown for it.
    pub fn new(bound: SocketAddr, public: Option<IpAddr>) -> Shown {
        Shown { bound, public: public.filter(|ip| ip.is_ipv4() == bound.is_ipv4()) }
    }

    /// Our address as a peer sees it that reached us at `reached`.
    pub fn to_peer(&self, reached: Option<IpAddr>) -> SocketAddr {
        let ip = match (self.public, reached) {
            (Some(public), _) => public,
            (None, Some(reached)) if self.is_wildcard() => reached,
            (None, _) => self.bound.ip(),
        };
        SocketAddr::new(ip, self.bound.port())
    }

    /// Which address of ours a message must leave from, where the socket itself does not say.
    pub fn source(&self, local: SocketAddr) -> Option<IpAddr> {
        let learned = self.is_wildcard() && self.public.is_none() && !local.ip().is_unspecified();
        learned.then(|| local.ip())
    }

    /// Whether the listener takes whatever reaches the machine.
    pub fn is_wildcard(&self) -> bool {
        self.bound.ip().is_unspecified()
    }
}
