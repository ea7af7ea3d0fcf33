//! Outbound TCP connections to trunk hosts.

use std::io;
use std::net::{IpAddr, SocketAddr};

use sip::Hop;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::tcp::{ConnEvent, ConnectionHandle, Inbox, WriteQueue, serve_connection};
use crate::limits::{CONNECT_TIMEOUT, ConnLimits};

/// The handle of a connection that is about to be opened (messages sent meanwhile are queued), and the task that opens and serves it. If the host
/// does not answer, the task reports the connection as closed.
pub fn dial(
    hop: Hop,
    source: Option<IpAddr>,
    limits: ConnLimits,
    inbox: Inbox,
) -> (ConnectionHandle, impl Future<Output = ()>) {
    let (connection, queued) = ConnectionHandle::new();
    connection.mark_authenticated(); // we chose the peer
    (connection, open(hop, source, limits, queued, inbox))
}

async fn open(hop: Hop, source: Option<IpAddr>, limits: ConnLimits, queued: WriteQueue, inbox: Inbox) {
    match timeout(CONNECT_TIMEOUT, connect(hop.remote, source)).await {
        Ok(Ok(stream)) => serve_connection(stream, hop, limits, queued, inbox).await,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TCP connection to a trunk host failed");
            inbox.send(ConnEvent::Closed(hop.flow)).await;
        }
        Err(_) => {
            inbox.send(ConnEvent::Closed(hop.flow)).await;
        }
    }
}

/// Connect from the address that the peer expects.
async fn connect(to: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(to).await
}
