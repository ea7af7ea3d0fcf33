//! Connections: each is a task that cuts what it reads into messages, and writes what the exchange has queued for it.

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

use super::{LoopWaker, Shown};
use crate::limits::{ConnLimits, FRAMES_PER_CONNECTION};
use crate::supervisor::caught;

/// What connections tell the exchange.
#[derive(Debug)]
pub enum ConnEvent {
    /// A connection is there, and this is how to write to it.
    Opened {
        /// Its hop.
        hop: Hop,
        /// Its other end.
        line: ConnectionHandle,
    },
    /// One whole message.
    Frame {
        /// Where it came from.
        hop: Hop,
        /// The message.
        bytes: Bytes,
    },
    /// A connection is gone.
    Closed(Flow),
}

/// The exchange's end of a connection. Dropping it closes the connection after what is queued was written.
#[derive(Debug)]
pub struct ConnectionHandle {
    queue: mpsc::Sender<Bytes>,
    settled: Arc<AtomicBool>,
}

impl ConnectionHandle {
    /// The exchange's end of a connection, and the connection's end of its queue.
    pub(super) fn new() -> (ConnectionHandle, Queued) {
        let settled = Arc::new(AtomicBool::new(false));
        let (queue, messages) = mpsc::channel(FRAMES_PER_CONNECTION);
        (ConnectionHandle { queue, settled: Arc::clone(&settled) }, Queued { messages, settled })
    }

    /// Queue a message; `false` where the peer reads too slowly and the connection should be closed.
    pub fn send(&self, bytes: Bytes) -> bool {
        self.queue.try_send(bytes).is_ok()
    }

    /// The peer has proved who it is: it may be silent for longer.
    pub fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }
}

/// What a connection is to write, and how patient it may be with its peer.
#[derive(Debug)]
pub struct Queued {
    messages: mpsc::Receiver<Bytes>,
    settled: Arc<AtomicBool>,
}

/// Where connections put what they read.
#[derive(Clone, Debug)]
pub struct Inbox {
    events: mpsc::Sender<ConnEvent>,
    waker: Arc<LoopWaker>,
}

impl Inbox {
    /// An inbox of so many events, and where they come out.
    pub fn new(capacity: usize, waker: Arc<LoopWaker>) -> (Inbox, mpsc::Receiver<ConnEvent>) {
        let (events, out) = mpsc::channel(capacity);
        (Inbox { events, waker }, out)
    }

    /// Wait for room; `false` where the exchange is gone.
    pub(super) async fn put(&self, event: ConnEvent) -> bool {
        let taken = self.events.send(event).await.is_ok();
        self.waker.ring();
        taken
    }
}

/// What all listeners of a process share: the numbers of connections, and how many there are.
#[derive(Debug)]
pub struct Connections {
    limits: ConnLimits,
    epoch: u32,
    next: AtomicU32,
    /// By [`base::source_of`].
    seats: Mutex<HashMap<IpAddr, u32>>,
    taken: AtomicU32,
    refused: AtomicU32,
}

impl Connections {
    /// None yet. `epoch` is the number of this start of the process.
    pub fn new(epoch: u32, limits: ConnLimits) -> Arc<Connections> {
        Arc::new(Connections {
            limits,
            epoch,
            next: AtomicU32::new(0),
            seats: Mutex::default(),
            taken: AtomicU32::new(0),
            refused: AtomicU32::new(0),
        })
    }

    /// How many there are now, and how many were refused since the start.
    pub fn census(&self) -> (u32, u32) {
        (self.taken.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// What a connection may do.
    pub(crate) fn limits(&self) -> ConnLimits {
        self.limits
    }

    /// The number of this start of the process.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// A number for a connection, which none had before.
    pub(crate) fn flow(&self) -> Flow {
        let mut number = 0;
        while number == 0 {
            number = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        }
        Flow { epoch: self.epoch, number }
    }

    /// A seat for a connection from here, where one is left.
    pub fn seat(self: &Arc<Self>, ip: IpAddr) -> Option<Seat> {
        self.seat_within(ip, self.limits.per_source)
    }

    /// The same for a source that may have another number of them: behind a proxy are many clients.
    pub(crate) fn seat_within(self: &Arc<Self>, ip: IpAddr, per_source: u32) -> Option<Seat> {
        let source = base::source_of(ip);
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = seats.get(&source).copied().unwrap_or(0);
        if taken >= per_source || self.taken.load(Ordering::Relaxed) >= self.limits.total {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        seats.insert(source, taken + 1);
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Seat { of: Arc::clone(self), source })
    }
}

/// One connection among those that are allowed; dropping it makes room.
#[derive(Debug)]
pub struct Seat {
    of: Arc<Connections>,
    source: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.of.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = seats.get_mut(&self.source) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.source);
            }
        }
        self.of.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bind a TCP listener; it accepts nothing before [`accept`].
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the connections of the last run to fade.
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
    let shown = Shown::new(bound, public);
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors: others must close first.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(seat) = connections.seat(remote.ip()) else { continue };
        let reached = stream.local_addr().ok().map(|local| local.ip());
        let hop = Hop {
            transport: Transport::Tcp,
            listener: index,
            local: shown.to_peer(reached),
            remote,
            flow: connections.flow(),
        };
        tokio::spawn(receive(stream, hop, seat, inbox.clone()));
    }
}

/// A connection that a peer opened.
async fn receive(stream: TcpStream, hop: Hop, seat: Seat, inbox: Inbox) {
    let (line, queued) = ConnectionHandle::new();
    if inbox.put(ConnEvent::Opened { hop, line }).await {
        converse(stream, hop, seat.of.limits, queued, inbox).await;
    }
}

/// One connection from its beginning to its end. The exchange hears of its end even where serving it panicked.
pub(super) async fn converse(stream: TcpStream, hop: Hop, limits: ConnLimits, queued: Queued, inbox: Inbox) {
    if caught(serve(stream, hop, limits, queued, inbox.clone())).await.is_err() {
        inbox.put(ConnEvent::Closed(hop.flow)).await;
    }
}

async fn serve(mut stream: TcpStream, hop: Hop, limits: ConnLimits, queued: Queued, inbox: Inbox) {
    stream.set_nodelay(true).ok();
    // A phone that lost its network never says so; the kernel finds out.
    let probes =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    SockRef::from(&stream).set_tcp_keepalive(&probes).ok();
    let Queued { messages, settled } = queued;
    let (pongs, ponged) = mpsc::channel(4);
    let (reader, mut writer) = stream.split();
    let last = {
        let mut writing = pin!(write(&mut writer, limits, messages, ponged));
        tokio::select! {
            last = read(reader, hop, &inbox, limits, &settled, pongs) => {
                // The exchange answers what it has heard, and then lets go of its end.
                inbox.put(ConnEvent::Closed(hop.flow)).await;
                timeout(limits.write, writing).await.ok();
                last
            }
            () = &mut writing => {
                inbox.put(ConnEvent::Closed(hop.flow)).await;
                None
            }
        }
    };
    if let Some(bytes) = last {
        timeout(limits.write, writer.write_all(&bytes)).await.ok();
    }
    timeout(limits.write, writer.shutdown()).await.ok();
}

/// Read until the connection ends; what must still be said to the peer is returned.
async fn read(
    reader: ReadHalf<'_>,
    hop: Hop,
    inbox: &Inbox,
    limits: ConnLimits,
    settled: &AtomicBool,
    pongs: mpsc::Sender<Bytes>,
) -> Option<Bytes> {
    let mut framer = Framer::of_stranger();
    let mut heard = Instant::now();
    let mut begun: Option<Instant> = None;
    loop {
        let patience = if settled.load(Ordering::Relaxed) { limits.idle } else { limits.stranger_idle };
        let deadline = begun.map_or(heard + patience, |begun| begun + limits.head);
        if timeout_at(deadline, reader.readable()).await.is_err() {
            // The peer may have registered since the deadline was set.
            let patience = if settled.load(Ordering::Relaxed) { limits.idle } else { limits.stranger_idle };
            if begun.is_some() || heard.elapsed() >= patience {
                return None;
            }
            continue;
        }
        match take(&reader, &mut framer) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return None,
        }
        heard = Instant::now();
        if settled.load(Ordering::Relaxed) {
            framer.trust();
        }
        let mut whole = false;
        while let Some(frame) = framer.next() {
            whole = true;
            match frame {
                Frame::Message(bytes) => {
                    if !inbox.put(ConnEvent::Frame { hop, bytes }).await {
                        return None;
                    }
                }
                // A peer that pings faster than it reads gets fewer pongs.
                Frame::Ping => drop(pongs.try_send(Bytes::from_static(b"\r\n"))),
                Frame::Pong => {}
                Frame::Broken { answer, why } => {
                    tracing::debug!(why, "a connection is closed");
                    return answer;
                }
            }
        }
        begun = match (framer.is_midway(), begun) {
            (false, _) => None,
            (true, Some(begun)) if !whole => Some(begun),
            (true, _) => Some(heard),
        };
    }
}

/// Read what there is. The buffer lives on the stack, so that ten thousand silent connections hold none.
fn take(reader: &ReadHalf<'_>, framer: &mut Framer) -> io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    let got = reader.try_read(&mut buffer)?;
    framer.push(&buffer[..got]);
    Ok(got)
}

/// Write what is queued until the exchange lets go of its end, or the peer does not read.
async fn write(
    writer: &mut WriteHalf<'_>,
    limits: ConnLimits,
    mut queued: mpsc::Receiver<Bytes>,
    mut ponged: mpsc::Receiver<Bytes>,
) {
    loop {
        let next = tokio::select! {
            biased;
            next = queued.recv() => next,
            Some(pong) = ponged.recv() => Some(pong),
        };
        let Some(bytes) = next else { return };
        match timeout(limits.write, writer.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
