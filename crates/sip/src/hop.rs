//! Where a message came from and where one goes to.

use std::net::SocketAddr;

/// A transport of SIP (RFC 3261 §18, RFC 7118).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Streams in the clear.
    Tcp,
    /// Streams under TLS.
    Tls,
    /// WebSocket in the clear.
    Ws,
    /// WebSocket under TLS.
    Wss,
}

impl Transport {
    /// As in a Via: `UDP`, `TCP`, `TLS`, `WS`, `WSS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// As in a URI's `transport` parameter: `udp`, `tcp`, `tls`, `ws`, `wss`.
    pub fn as_param(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }

    /// Whether the transport itself repeats what is lost (so that no timer of ours has to).
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }
}

/// One connection of one life of the process: `epoch` tells a flow of before a restart from one of now. UDP has flow 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Flow {
    /// Which start of the process opened it.
    pub epoch: u32,
    /// Which connection; 0 is none.
    pub number: u32,
}

/// One hop of a message: the socket it uses, and the peer at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Hop {
    /// The protocol that carries it.
    pub transport: Transport,
    /// Which of our listeners, by its place in the configuration.
    pub listener: u16,
    /// Our address as the peer must see it in Via, Contact and SDP.
    pub local: SocketAddr,
    /// The peer's address as the socket tells it, never as a header claims it.
    pub remote: SocketAddr,
    /// The connection, for streams.
    pub flow: Flow,
}
