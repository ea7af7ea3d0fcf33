//! TCP connections: each is a task that frames the received stream into SIP messages and writes the messages that the switch has queued.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sip::{Flow, Frame, Framer, Hop, Transport};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::{AdvertisedAddress, LoopWaker};
use crate::limits::{ConnLimits, FRAMES_PER_CONNECTION};
use crate::supervisor::catch_async;

/// An event of a connection, for the event loop.
#[derive(Debug)]
pub enum ConnEvent {
    /// An inbound connection was accepted.
    Opened {
        /// Its hop.
        hop: Hop,
        /// Handle for writing to it.
        connection: ConnectionHandle,
    },
    /// A complete message.
    Frame {
        /// The hop that it was received from.
        hop: Hop,
        /// The message.
        bytes: Bytes,
    },
    /// A connection was closed.
    Closed(Flow),
}

/// The event loop's handle of a connection. Dropping it closes the connection after the queued messages are written.
#[derive(Debug)]
pub struct ConnectionHandle {
    queue: mpsc::Sender<Bytes>,
    authenticated: Arc<AtomicBool>,
}

impl ConnectionHandle {
    /// A handle, and the connection's end of its queue.
    pub(super) fn new() -> (ConnectionHandle, WriteQueue) {
        let authenticated = Arc::new(AtomicBool::new(false));
        let (queue, messages) = mpsc::channel(FRAMES_PER_CONNECTION);
        (
            ConnectionHandle { queue, authenticated: Arc::clone(&authenticated) },
            WriteQueue { messages, authenticated },
        )
    }

    /// Queue a message; `false` if the queue is full (the peer reads too slowly) and the connection should be closed.
    pub fn send(&self, bytes: Bytes) -> bool {
        self.queue.try_send(bytes).is_ok()
    }

    /// The peer has authenticated: the longer idle timeout applies.
    pub fn mark_authenticated(&self) {
        self.authenticated.store(true, Ordering::Relaxed);
    }
}

/// The connection's end of the write queue, and whether its peer has authenticated.
#[derive(Debug)]
pub struct WriteQueue {
    messages: mpsc::Receiver<Bytes>,
    authenticated: Arc<AtomicBool>,
}

/// Queue of connection events towards the event loop.
#[derive(Clone, Debug)]
pub struct Inbox {
    events: mpsc::Sender<ConnEvent>,
    waker: Arc<LoopWaker>,
}

impl Inbox {
    /// An inbox of `capacity` events, and its receiving end.
    pub fn new(capacity: usize, waker: Arc<LoopWaker>) -> (Inbox, mpsc::Receiver<ConnEvent>) {
        let (events, out) = mpsc::channel(capacity);
        (Inbox { events, waker }, out)
    }

    /// Queue an event, waiting for room; `false` if the event loop has ended.
    pub(super) async fn send(&self, event: ConnEvent) -> bool {
        let open = self.events.send(event).await.is_ok();
        self.waker.wake();
        open
    }
}

/// Connection numbers and counts, shared by all listeners of a process.
#[derive(Debug)]
pub struct Connections {
    limits: ConnLimits,
    epoch: u32,
    next: AtomicU32,
    /// By [`base::source_of`].
    per_source_counts: Mutex<HashMap<IpAddr, u32>>,
    open: AtomicU32,
    refused: AtomicU32,
}

impl Connections {
    /// No connections yet. `epoch` is the number of this start of the process.
    pub fn new(epoch: u32, limits: ConnLimits) -> Arc<Connections> {
        Arc::new(Connections {
            limits,
            epoch,
            next: AtomicU32::new(0),
            per_source_counts: Mutex::default(),
            open: AtomicU32::new(0),
            refused: AtomicU32::new(0),
        })
    }

    /// The number of open connections, and of those refused since the start.
    pub fn counts(&self) -> (u32, u32) {
        (self.open.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Limits of each connection.
    pub(crate) fn limits(&self) -> ConnLimits {
        self.limits
    }

    /// The number of this start of the process.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// A new flow: its number was not used before in this run.
    pub(crate) fn flow(&self) -> Flow {
        let mut number = 0;
        while number == 0 {
            number = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        }
        Flow { epoch: self.epoch, number }
    }

    /// A permit for a connection from `ip`; `None` over the total or per-source limit.
    pub fn acquire(self: &Arc<Self>, ip: IpAddr) -> Option<ConnPermit> {
        self.acquire_within(ip, self.limits.per_source)
    }

    /// The same with another per-source limit: behind a proxy are many clients.
    pub(crate) fn acquire_within(self: &Arc<Self>, ip: IpAddr, per_source: u32) -> Option<ConnPermit> {
        let source = base::source_of(ip);
        let mut per_source_counts = self.per_source_counts.lock().unwrap_or_else(PoisonError::into_inner);
        let open = per_source_counts.get(&source).copied().unwrap_or(0);
        if open >= per_source || self.open.load(Ordering::Relaxed) >= self.limits.total {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        per_source_counts.insert(source, open + 1);
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(ConnPermit { connections: Arc::clone(self), source })
    }
}

/// Permit of one connection; dropping it releases the slot.
#[derive(Debug)]
pub struct ConnPermit {
    connections: Arc<Connections>,
    source: IpAddr,
}

impl Drop for ConnPermit {
    fn drop(&mut self) {
        let mut per_source_counts =
            self.connections.per_source_counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = per_source_counts.get_mut(&self.source) {
            *open -= 1;
            if *open == 0 {
                per_source_counts.remove(&self.source);
            }
        }
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bind a TCP listener; it accepts nothing before [`accept`].
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for connections of the last run in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// Accept connections for listener number `index`, until the task is aborted.
pub async fn accept(
    listener: Arc<TcpListener>,
    index: u16,
    public: Option<IpAddr>,
    connections: Arc<Connections>,
    inbox: Inbox,
) {
    let Ok(bound) = listener.local_addr() else { return };
    let advertised = AdvertisedAddress::new(bound, public);
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors: other connections must close first.
                tracing::warn!(%error, "accepting a SIP connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(permit) = connections.acquire(remote.ip()) else { continue };
        let reached = stream.local_addr().ok().map(|local| local.ip());
        let hop = Hop {
            transport: Transport::Tcp,
            listener: index,
            local: advertised.to_peer(reached),
            remote,
            flow: connections.flow(),
        };
        tokio::spawn(serve_inbound(stream, hop, permit, inbox.clone()));
    }
}

/// Serve an inbound connection.
async fn serve_inbound(stream: TcpStream, hop: Hop, permit: ConnPermit, inbox: Inbox) {
    let (connection, queued) = ConnectionHandle::new();
    if inbox.send(ConnEvent::Opened { hop, connection }).await {
        serve_connection(stream, hop, permit.connections.limits, queued, inbox).await;
    }
}

/// Serve a connection until it ends. Its end is reported even if serving it panicked.
pub(super) async fn serve_connection(
    stream: TcpStream,
    hop: Hop,
    limits: ConnLimits,
    queued: WriteQueue,
    inbox: Inbox,
) {
    if catch_async(serve(stream, hop, limits, queued, inbox.clone())).await.is_err() {
        inbox.send(ConnEvent::Closed(hop.flow)).await;
    }
}

async fn serve(mut stream: TcpStream, hop: Hop, limits: ConnLimits, queued: WriteQueue, inbox: Inbox) {
    stream.set_nodelay(true).ok();
    // A phone that lost its network does not close; keep-alive probes detect it.
    let probes =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    SockRef::from(&stream).set_tcp_keepalive(&probes).ok();
    let WriteQueue { messages, authenticated } = queued;
    let (pong_sender, pong_receiver) = mpsc::channel(4);
    let (reader, mut writer) = stream.split();
    let final_bytes = {
        let mut writing = pin!(write(&mut writer, limits, messages, pong_receiver));
        tokio::select! {
            final_bytes = read(reader, hop, &inbox, limits, &authenticated, pong_sender) => {
                // The switch answers what it has received, then drops its handle.
                inbox.send(ConnEvent::Closed(hop.flow)).await;
                timeout(limits.write, writing).await.ok();
                final_bytes
            }
            () = &mut writing => {
                inbox.send(ConnEvent::Closed(hop.flow)).await;
                None
            }
        }
    };
    if let Some(bytes) = final_bytes {
        timeout(limits.write, writer.write_all(&bytes)).await.ok();
    }
    timeout(limits.write, writer.shutdown()).await.ok();
}

/// Read until the connection ends. Returns bytes that must still be sent to the peer.
async fn read(
    reader: ReadHalf<'_>,
    hop: Hop,
    inbox: &Inbox,
    limits: ConnLimits,
    authenticated: &AtomicBool,
    pong_sender: mpsc::Sender<Bytes>,
) -> Option<Bytes> {
    let mut framer = Framer::unauthenticated();
    let mut last_read = Instant::now();
    let mut message_started: Option<Instant> = None;
    loop {
        let idle_timeout =
            if authenticated.load(Ordering::Relaxed) { limits.idle } else { limits.unauthenticated_idle };
        let deadline =
            message_started.map_or(last_read + idle_timeout, |message_started| message_started + limits.head);
        if timeout_at(deadline, reader.readable()).await.is_err() {
            // The peer may have authenticated since the deadline was set.
            let idle_timeout =
                if authenticated.load(Ordering::Relaxed) { limits.idle } else { limits.unauthenticated_idle };
            if message_started.is_some() || last_read.elapsed() >= idle_timeout {
                return None;
            }
            continue;
        }
        match read_available(&reader, &mut framer) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return None,
        }
        last_read = Instant::now();
        if authenticated.load(Ordering::Relaxed) {
            framer.set_authenticated();
        }
        let mut completed = false;
        while let Some(frame) = framer.next() {
            completed = true;
            match frame {
                Frame::Message(bytes) => {
                    if !inbox.send(ConnEvent::Frame { hop, bytes }).await {
                        return None;
                    }
                }
                // A peer that sends keep-alives faster than it reads gets fewer pongs.
                Frame::Ping => drop(pong_sender.try_send(Bytes::from_static(b"\r\n"))),
                Frame::Pong => {}
                Frame::Broken { answer, why } => {
                    tracing::debug!(why, "malformed SIP stream: the connection is closed");
                    return answer;
                }
            }
        }
        message_started = match (framer.is_midway(), message_started) {
            (false, _) => None,
            (true, Some(message_started)) if !completed => Some(message_started),
            (true, _) => Some(last_read),
        };
    }
}

/// Read what is available. The buffer is on the stack, so that ten thousand idle connections hold none.
fn read_available(reader: &ReadHalf<'_>, framer: &mut Framer) -> io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    let got = reader.try_read(&mut buffer)?;
    framer.push(&buffer[..got]);
    Ok(got)
}

/// Write queued messages until the handle is dropped or a write fails.
async fn write(
    writer: &mut WriteHalf<'_>,
    limits: ConnLimits,
    mut queued: mpsc::Receiver<Bytes>,
    mut pong_receiver: mpsc::Receiver<Bytes>,
) {
    loop {
        let next = tokio::select! {
            biased;
            next = queued.recv() => next,
            Some(pong) = pong_receiver.recv() => Some(pong),
        };
        let Some(bytes) = next else { return };
        match timeout(limits.write, writer.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
