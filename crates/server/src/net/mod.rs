//! Sockets: datagrams in batches, TCP connections as tasks that frame the stream into SIP messages. Nothing here interprets a message.

mod buffer_pool;
pub mod dial;
pub mod tcp;
pub mod udp;
mod waker;

use std::net::{IpAddr, SocketAddr};

pub use waker::LoopWaker;

/// The address of a listener as it is advertised to peers.
#[derive(Clone, Copy, Debug)]
pub struct AdvertisedAddress {
    /// The bound address.
    pub bound: SocketAddr,
    /// The address to advertise instead (`public_address`).
    pub public: Option<IpAddr>,
}

impl AdvertisedAddress {
    /// The advertised address of a listener; a public address of the other family is ignored.
    pub fn new(bound: SocketAddr, public: Option<IpAddr>) -> AdvertisedAddress {
        AdvertisedAddress { bound, public: public.filter(|ip| ip.is_ipv4() == bound.is_ipv4()) }
    }

    /// Our address as seen by a peer that reached us at `reached`.
    pub fn to_peer(&self, reached: Option<IpAddr>) -> SocketAddr {
        let ip = match (self.public, reached) {
            (Some(public), _) => public,
            (None, Some(reached)) if self.is_wildcard() => reached,
            (None, _) => self.bound.ip(),
        };
        SocketAddr::new(ip, self.bound.port())
    }

    /// The source address that a message must be sent from, if the socket's own is not specific.
    pub fn source(&self, local: SocketAddr) -> Option<IpAddr> {
        let learned = self.is_wildcard() && self.public.is_none() && !local.ip().is_unspecified();
        learned.then(|| local.ip())
    }

    /// Whether the listener is bound to all addresses.
    pub fn is_wildcard(&self) -> bool {
        self.bound.ip().is_unspecified()
    }
}
