//! Cutting a stream into messages (RFC 3261 §18.3), with caps on head and body.

use bytes::Bytes;
use memchr::memmem;

use crate::{Message, ParseError, Reply, limits, lines};

/// What a stream yields.
#[derive(Clone, Debug)]
pub enum Frame {
    /// One whole message, not yet parsed.
    Message(Bytes),
    /// A double CRLF keep-alive (RFC 5626 §4.4.1): answer it with one CRLF.
    Ping,
    /// A single CRLF: the answer to a ping of ours, or the first half of a ping. It comes at once, so that a pong is never held
    /// back for bytes that may not follow; where a second CRLF follows directly, [`Frame::Ping`] comes after it.
    Pong,
    /// Nothing can be made of what follows: send `answer` where there is one, then close.
    Broken {
        /// A complete response to be sent before closing, where the head could be read.
        answer: Option<Bytes>,
        /// Why, for counters and the ladder.
        why: &'static str,
    },
}

/// Gathers the bytes of one stream. Call [`Framer::push`] with what was read, then [`Framer::next`] until it is `None`.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes of the buffer that were handed out.
    taken: usize,
    /// Bytes after `taken` in which no end of a head was found.
    searched: usize,
    /// Length of the message that has begun, once its head was read.
    whole: Option<usize>,
    /// The last thing read was the first CRLF of what may be a ping.
    half_ping: bool,
    broken: bool,
    /// Nobody knows the peer yet: its bodies may be small ones only.
    stranger: bool,
}

impl Framer {
    /// A framer for a peer that has yet to prove who it is: until [`Framer::trust`] its bodies may have [`limits::STRANGER_BODY_BYTES`].
    pub fn of_stranger() -> Framer {
        Framer { stranger: true, ..Framer::default() }
    }

    /// The peer is known from now on.
    pub fn trust(&mut self) {
        self.stranger = false;
    }

    /// Append what was read from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame. After [`Frame::Broken`] there is none.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Frame> {
        if self.broken {
            return None;
        }
        if self.whole.is_none() {
            match self.rest() {
                [] | [b'\r'] => return None,
                [b'\r', b'\n', ..] => return Some(self.crlf()),
                _ => self.half_ping = false,
            }
            if let Err(frame) = self.head()? {
                return Some(frame);
            }
        }
        let whole = self.whole?;
        let bytes = self.rest().get(..whole).map(Bytes::copy_from_slice)?;
        self.take(whole);
        Some(Frame::Message(bytes))
    }

    /// Whether a message has begun and is not complete: the shell gives it 10 s (slowloris).
    pub fn is_midway(&self) -> bool {
        !self.rest().is_empty()
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    fn take(&mut self, count: usize) {
        self.taken += count;
        self.searched = 0;
        self.whole = None;
        if self.taken >= self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
            // One large message must not hold its memory for the life of the connection.
            self.buffer.shrink_to(16 * 1024);
        }
    }

    fn crlf(&mut self) -> Frame {
        self.take(2);
        self.half_ping = !self.half_ping;
        if self.half_ping { Frame::Pong } else { Frame::Ping }
    }

    /// Find the end of the head and the length of the message; `None` where more must be read first.
    fn head(&mut self) -> Option<Result<(), Frame>> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let from = self.searched.saturating_sub(3);
        let found = memmem::find(rest.get(from..).unwrap_or_default(), b"\r\n\r\n").map(|at| from + at + 4);
        self.searched = rest.len();
        let head = match found {
            Some(end) if end <= limits::HEAD_BYTES => rest.get(..end).unwrap_or_default(),
            None if rest.len() <= limits::HEAD_BYTES => return None,
            Some(_) | None => {
                let begun = Bytes::copy_from_slice(rest.get(..limits::HEAD_BYTES).unwrap_or_default());
                return Some(Err(self.give_up(begun, 513, "Head Too Large")));
            }
        };
        let most = if self.stranger { limits::STRANGER_BODY_BYTES } else { limits::BODY_BYTES };
        let (status, why) = match lines::body_length(head) {
            Ok(Some(length)) if length <= most as u64 => {
                self.whole = Some(head.len() + length as usize);
                return Some(Ok(()));
            }
            Ok(Some(_)) => (513, "Body Too Large"),
            Ok(None) => (400, "Missing Content-Length"),
            Err(why) => (400, why),
        };
        let head = Bytes::copy_from_slice(head);
        Some(Err(self.give_up(head, status, why)))
    }

    fn give_up(&mut self, head: Bytes, status: u16, why: &'static str) -> Frame {
        *self = Framer { broken: true, ..Framer::default() };
        let request = match Message::parse(head) {
            Ok(message) => message.status().is_none().then_some(message),
            Err(ParseError { answerable, .. }) => answerable.map(|message| *message),
        };
        let answer = request.filter(|message| *message.method() != crate::Method::Ack).map(|message| {
            // Every final answer has a To-tag (RFC 3261 §8.2.6.2); a stream that is at its end needs no better one.
            Reply::new(status).phrase(why).to(&message, None, Some("broken"))
        });
        Frame::Broken { answer, why }
    }
}
