//! Transports, flows, and the hop of a message: local socket and remote peer.

use std::net::SocketAddr;

/// A transport of SIP (RFC 3261 §18, RFC 7118).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// Datagrams, in clear text.
    Udp,
    /// Streams, in clear text.
    Tcp,
    /// Streams over TLS.
    Tls,
    /// WebSocket, in clear text.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// The name in a Via: `UDP`, `TCP`, `TLS`, `WS`, `WSS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// The value of a URI's `transport` parameter: `udp`, `tcp`, `tls`, `ws`, `wss`.
    pub fn as_param(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }

    /// Whether the transport retransmits lost data itself, so that no SIP timer has to.
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }
}

/// Id of a connection. `epoch` tells connections of this process from those of an earlier one. UDP has the default value (0, 0).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Flow {
    /// Number of the process start that opened it.
    pub epoch: u32,
    /// Number of the connection; 0 means none.
    pub number: u32,
}

/// One hop of a message: the local socket and the remote peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Hop {
    /// The protocol that carries it.
    pub transport: Transport,
    /// Index of our listener in the configuration.
    pub listener: u16,
    /// Our address as the peer must see it in Via, Contact and SDP.
    pub local: SocketAddr,
    /// The peer's address as reported by the socket, never from a header.
    pub remote: SocketAddr,
    /// The connection, for stream transports.
    pub flow: Flow,
}
