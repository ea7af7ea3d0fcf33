//! Packets one by one through epoll, where the kernel has no io_uring for us.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

use super::packet::{Arrival, Packet, Token};
use super::packets::Losses;
use super::socket::{MediaSocket, Sent};

/// Ready sockets taken from the kernel at once.
const EVENTS: usize = 1_024;
/// Longer packets are no voice: the engine refuses them.
const BUFFER: usize = 2_048;

/// See the module.
pub(super) struct Poll {
    poll: OwnedFd,
    ready: Vec<Token>,
    buffer: Box<[u8; BUFFER]>,
    pub(super) losses: Losses,
}

impl Poll {
    pub(super) fn new(bell: &impl AsFd) -> io::Result<Poll> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&poll, bell, epoll::EventData::new_u64(Token::BELL.0), epoll::EventFlags::IN)?;
        let (ready, buffer) = (Vec::with_capacity(EVENTS), Box::new([0; BUFFER]));
        Ok(Poll { poll, ready, buffer, losses: Losses::default() })
    }

    pub(super) fn watch(&mut self, token: Token, socket: &MediaSocket) {
        if let Err(error) =
            epoll::add(&self.poll, socket, epoll::EventData::new_u64(token.0), epoll::EventFlags::IN)
        {
            tracing::error!(%error, "a stream's socket cannot be watched");
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
            let token = self.ready.pop()?;
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
