//! Connections that we open ourselves, to a carrier that is spoken with over TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};

use sip::Hop;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::tcp::{ConnEvent, ConnectionHandle, Inbox, Queued, converse};
use crate::limits::{ConnLimits, DIAL};

/// The exchange's end of a connection that is about to be opened: what is sent meanwhile waits. Run the task; where nobody answers it says
/// that the connection is closed, as at its end.
pub fn dial(
    hop: Hop,
    source: Option<IpAddr>,
    limits: ConnLimits,
    inbox: Inbox,
) -> (ConnectionHandle, impl Future<Output = ()>) {
    let (line, queued) = ConnectionHandle::new();
    line.settle(); // it is we who chose the peer
    (line, open(hop, source, limits, queued, inbox))
}

async fn open(hop: Hop, source: Option<IpAddr>, limits: ConnLimits, queued: Queued, inbox: Inbox) {
    match timeout(DIAL, connect(hop.remote, source)).await {
        Ok(Ok(stream)) => converse(stream, hop, limits, queued, inbox).await,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a host cannot be reached over TCP");
            inbox.put(ConnEvent::Closed(hop.flow)).await;
        }
        Err(_) => {
            inbox.put(ConnEvent::Closed(hop.flow)).await;
        }
    }
}

/// Connect, from the address that the peer knows us by.
async fn connect(to: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(to).await
}
