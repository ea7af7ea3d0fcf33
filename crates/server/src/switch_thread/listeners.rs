//! The SIP listeners of the switch thread: opening them, their addresses, and closing them.

use std::io;
use std::net::{IpAddr, SocketAddr};

use sip::Transport;

use crate::config::Listen;
use crate::holder::{self, Protocol};
use crate::net::tcp;
use crate::net::udp::UdpListener;
use crate::tr;

/// The open SIP listeners.
#[derive(Debug, Default)]
pub(super) struct SipListeners {
    pub(super) udp: Vec<UdpListener>,
    pub(super) tcp: Vec<(u16, std::net::TcpListener)>,
    /// The tasks that accept TCP connections.
    pub(super) accepting: Vec<tokio::task::AbortHandle>,
}

impl SipListeners {
    /// Open all listeners of `listen`, or none.
    pub(super) fn open(listen: &[Listen], public: Option<IpAddr>) -> Result<SipListeners, StartError> {
        let mut listeners = SipListeners::default();
        for (index, listen) in (0..).zip(listen) {
            let failed = |source| StartError::Bind { listen: *listen, source };
            match listen.transport {
                Transport::Udp => {
                    listeners.udp.push(UdpListener::bind(index, listen.address, public).map_err(failed)?);
                }
                Transport::Tcp => {
                    listeners.tcp.push((index, tcp::bind(listen.address).map_err(failed)?));
                }
                Transport::Tls | Transport::Ws | Transport::Wss => {
                    return Err(failed(io::Error::new(
                        io::ErrorKind::Unsupported,
                        "not supported in this version",
                    )));
                }
            }
        }
        Ok(listeners)
    }

    /// The bound addresses, in the order of the listeners' numbers.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let udp = self.udp.iter().map(|listener| (listener.index(), listener.address()));
        let tcp = self.tcp.iter().filter_map(|(index, listener)| Some((*index, listener.local_addr().ok()?)));
        let mut all: Vec<(u16, SocketAddr)> = udp.chain(tcp).collect();
        all.sort_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, address)| address).collect()
    }
}

impl Drop for SipListeners {
    fn drop(&mut self) {
        for task in &self.accepting {
            task.abort();
        }
    }
}

/// The switch thread could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be opened.
    #[error("{}", cannot_open(listen, source))]
    Bind {
        /// The listener.
        listen: Listen,
        /// The error of the system.
        source: io::Error,
    },
    /// The operating system refused a thread.
    #[error("the switch thread cannot be started: {0}")]
    Thread(io::Error),
}

fn cannot_open(listen: &Listen, source: &io::Error) -> String {
    let protocol = if listen.transport == Transport::Udp { Protocol::Udp } else { Protocol::Tcp };
    let why = holder::why_not(protocol, listen.address, source);
    tr!("sip.listen: {listen} cannot be opened: {why}", "sip.listen: no se puede abrir {listen}: {why}")
}
