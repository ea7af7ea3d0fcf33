//! Packet I/O with epoll, one packet at a time, for kernels without io_uring.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

use super::packet::{Arrival, Packet, Token};
use super::packet_io::Losses;
use super::socket::{MediaSocket, Sent};

/// Ready sockets per system call.
const EVENTS: usize = 1_024;
/// Bytes of the buffer. Longer packets are not voice: the engine refuses them.
const BUFFER: usize = 2_048;
/// Longest wait while a socket could not be registered.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// Packet I/O of a worker through epoll.
pub(super) struct Poll {
    poll: OwnedFd,
    ready: Vec<Token>,
    buffer: Box<[u8; BUFFER]>,
    pub(super) losses: Losses,
    /// Sockets that could not be registered: the worker is asked to retry, once per iteration.
    unregistered: Vec<Token>,
    retrying: Vec<Token>,
}

impl Poll {
    pub(super) fn new(waker: &impl AsFd) -> io::Result<Poll> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&poll, waker, epoll::EventData::new_u64(Token::WAKER.0), epoll::EventFlags::IN)?;
        let (ready, buffer) = (Vec::with_capacity(EVENTS), Box::new([0; BUFFER]));
        let (losses, unregistered, retrying) = (Losses::default(), Vec::new(), Vec::new());
        Ok(Poll { poll, ready, buffer, losses, unregistered, retrying })
    }

    pub(super) fn register(&mut self, token: Token, socket: &MediaSocket) {
        if let Err(error) =
            epoll::add(&self.poll, socket, epoll::EventData::new_u64(token.0), epoll::EventFlags::IN)
        {
            tracing::warn!(%error, "a media socket cannot be registered with epoll; it is retried");
            self.unregistered.push(token);
        }
    }

    pub(super) fn deregister(&mut self, socket: &MediaSocket) {
        // Fails only for a socket that is not registered, which needs no action.
        let _ = epoll::delete(&self.poll, socket);
    }

    pub(super) fn wait(&mut self, gather: Option<Duration>, timeout: Option<Duration>) -> io::Result<usize> {
        if let Some(gather) = gather {
            std::thread::sleep(gather);
        }
        std::mem::swap(&mut self.retrying, &mut self.unregistered);
        let timeout = match self.retrying.as_slice() {
            [] => timeout,
            [..] => Some(timeout.map_or(RETRY_INTERVAL, |timeout| timeout.min(RETRY_INTERVAL))),
        };
        let timeout = timeout.map(|t| Timespec { tv_sec: t.as_secs() as _, tv_nsec: t.subsec_nanos() as _ });
        let mut room = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        let ready = match epoll::wait(&self.poll, &mut room, timeout.as_ref()) {
            Ok((ready, _)) => ready,
            Err(rustix::io::Errno::INTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        self.ready.extend(ready.iter().rev().map(|event| Token(event.data.u64())));
        Ok(self.ready.len())
    }

    /// One packet of a ready socket; its next packet follows in the next iteration, so that no stream starves another.
    pub(super) fn next<'a>(&mut self, socket: impl Fn(Token) -> Option<&'a MediaSocket>) -> Option<Arrival> {
        loop {
            let Some(token) = self.ready.pop() else { return self.retrying.pop().map(Arrival::Rearm) };
            if token == Token::WAKER {
                return Some(Arrival::Waker);
            }
            let received = socket(token).and_then(|socket| socket.receive(&mut self.buffer[..]));
            if let Some((len, from)) = received {
                return Some(Arrival::Packet(Packet { token, from, buffer: 0, len }, false));
            }
        }
    }

    pub(super) fn bytes(&mut self, packet: &Packet) -> &mut [u8] {
        self.buffer.get_mut(..packet.len).unwrap_or_default()
    }

    pub(super) fn forward(&mut self, len: usize, socket: &MediaSocket, to: SocketAddr) {
        if socket.send(self.buffer.get(..len).unwrap_or_default(), to) == Sent::No {
            self.losses.unsent += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};

    use ::media::{Component, StreamId};
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    fn a_socket_that_cannot_be_registered_is_retried() {
        let waker = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        let mut poll = Poll::new(&waker).unwrap();
        let socket = MediaSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let token = Token::new(StreamId(3), 1, Component::Rtp);
        // /dev/null is not an epoll instance: registering fails, as in a kernel without memory.
        let working = std::mem::replace(&mut poll.poll, std::fs::File::open("/dev/null").unwrap().into());
        poll.register(token, &socket);
        poll.poll = working;
        poll.wait(None, Some(Duration::from_secs(5))).unwrap();
        let Some(Arrival::Rearm(unregistered)) = poll.next(|_| Some(&socket)) else { panic!("no event") };
        assert_eq!(unregistered, token);
        assert!(poll.next(|_| Some(&socket)).is_none());
        poll.register(unregistered, &socket);
        let to = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[1; 12], to).unwrap();
        assert_eq!(poll.wait(None, Some(Duration::from_secs(5))).unwrap(), 1);
        assert!(
            matches!(poll.next(|_| Some(&socket)), Some(Arrival::Packet(packet, _)) if packet.token == token)
        );
    }
}
