//! Packets one by one through epoll, where the kernel has no io_uring for us.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

use super::packet::{Arrival, Packet, Token};
use super::packet_io::Losses;
use super::socket::{MediaSocket, Sent};

/// Ready sockets taken from the kernel at once.
const EVENTS: usize = 1_024;
/// Longer packets are no voice: the engine refuses them.
const BUFFER: usize = 2_048;
/// How long a turn lasts at most while a socket is not watched.
const AGAIN: Duration = Duration::from_millis(5);

/// See the module.
pub(super) struct Poll {
    poll: OwnedFd,
    ready: Vec<Token>,
    buffer: Box<[u8; BUFFER]>,
    pub(super) losses: Losses,
    /// Sockets that could not be watched: the worker is asked to try again, once in each turn.
    deaf: Vec<Token>,
    again: Vec<Token>,
}

impl Poll {
    pub(super) fn new(waker: &impl AsFd) -> io::Result<Poll> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&poll, waker, epoll::EventData::new_u64(Token::BELL.0), epoll::EventFlags::IN)?;
        let (ready, buffer) = (Vec::with_capacity(EVENTS), Box::new([0; BUFFER]));
        let (losses, deaf, again) = (Losses::default(), Vec::new(), Vec::new());
        Ok(Poll { poll, ready, buffer, losses, deaf, again })
    }

    pub(super) fn watch(&mut self, token: Token, socket: &MediaSocket) {
        if let Err(error) =
            epoll::add(&self.poll, socket, epoll::EventData::new_u64(token.0), epoll::EventFlags::IN)
        {
            tracing::warn!(%error, "a stream's socket cannot be watched: it is tried again");
            self.deaf.push(token);
        }
    }

    pub(super) fn forget(&mut self, socket: &MediaSocket) {
        // Only a socket that is not watched can fail, and then nothing is to be done.
        let _ = epoll::delete(&self.poll, socket);
    }

    pub(super) fn wait(&mut self, gather: Option<Duration>, timeout: Option<Duration>) -> io::Result<usize> {
        if let Some(gather) = gather {
            std::thread::sleep(gather);
        }
        std::mem::swap(&mut self.again, &mut self.deaf);
        let timeout = match self.again.as_slice() {
            [] => timeout,
            [..] => Some(timeout.map_or(AGAIN, |timeout| timeout.min(AGAIN))),
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

    /// One packet of a socket that has some; its next one comes with the next turn, so that no stream starves another.
    pub(super) fn next<'a>(&mut self, socket: impl Fn(Token) -> Option<&'a MediaSocket>) -> Option<Arrival> {
        loop {
            let Some(token) = self.ready.pop() else { return self.again.pop().map(Arrival::Ended) };
            if token == Token::BELL {
                return Some(Arrival::Bell);
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
    fn a_socket_that_the_kernel_does_not_watch_is_asked_for_again() {
        let waker = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        let mut poll = Poll::new(&waker).unwrap();
        let socket = MediaSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let token = Token::new(StreamId(3), 1, Component::Rtp);
        // Nothing can be watched by what is no epoll, as nothing can be by one whose kernel has no memory.
        let working = std::mem::replace(&mut poll.poll, std::fs::File::open("/dev/null").unwrap().into());
        poll.watch(token, &socket);
        poll.poll = working;
        poll.wait(None, Some(Duration::from_secs(5))).unwrap();
        let Some(Arrival::Ended(deaf)) = poll.next(|_| Some(&socket)) else { panic!("nobody is told") };
        assert_eq!(deaf, token);
        assert!(poll.next(|_| Some(&socket)).is_none());
        poll.watch(deaf, &socket);
        let to = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[1; 12], to).unwrap();
        assert_eq!(poll.wait(None, Some(Duration::from_secs(5))).unwrap(), 1);
        assert!(
            matches!(poll.next(|_| Some(&socket)), Some(Arrival::Packet(packet, _)) if packet.token == token)
        );
    }
}
