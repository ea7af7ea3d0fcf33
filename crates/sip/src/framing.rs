//! Splits a byte stream into messages (RFC 3261 §18.3), with limits on head and body.

use bytes::Bytes;
use memchr::memmem;

use crate::{Message, ParseError, Reply, limits, lines};

/// An element of a stream.
#[derive(Clone, Debug)]
pub enum Frame {
    /// One whole message, not parsed.
    Message(Bytes),
    /// A double CRLF keep-alive (RFC 5626 §4.4.1): respond with one CRLF.
    Ping,
    /// A single CRLF: the response to our ping, or the first half of a ping. It is returned at once, so that a pong never waits for bytes that may
    /// not follow; if a second CRLF follows directly, [`Frame::Ping`] comes next.
    Pong,
    /// The stream cannot be parsed any further: send `answer` if there is one, then close.
    Broken {
        /// A complete response to send before closing, if the head could be parsed.
        answer: Option<Bytes>,
        /// The fault, for counters and the ladder diagram.
        why: &'static str,
    },
}

/// Buffers the bytes of one stream. Call [`Framer::push`] with received bytes, then [`Framer::next`] until it is `None`.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Number of bytes of the buffer that were returned already.
    consumed: usize,
    /// Number of bytes after `consumed` that contain no end of a head.
    searched: usize,
    /// Length of the current message, once its head is complete.
    message_len: Option<usize>,
    /// The last frame was the first CRLF of a possible ping.
    half_ping: bool,
    broken: bool,
    /// The peer has not authenticated: bodies are limited to [`limits::UNAUTHENTICATED_BODY_BYTES`].
    unauthenticated: bool,
}

impl Framer {
    /// A framer for a peer that has not authenticated: until [`Framer::set_authenticated`], bodies are limited to [`limits::UNAUTHENTICATED_BODY_BYTES`].
    pub fn unauthenticated() -> Framer {
        Framer { unauthenticated: true, ..Framer::default() }
    }

    /// The peer has authenticated: allow bodies of [`limits::BODY_BYTES`].
    pub fn set_authenticated(&mut self) {
        self.unauthenticated = false;
    }

    /// Append received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame. None follows a [`Frame::Broken`].
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Frame> {
        if self.broken {
            return None;
        }
        if self.message_len.is_none() {
            match self.rest() {
                [] | [b'\r'] => return None,
                [b'\r', b'\n', ..] => return Some(self.crlf()),
                _ => self.half_ping = false,
            }
            if let Err(frame) = self.head()? {
                return Some(frame);
            }
        }
        let message_len = self.message_len?;
        let bytes = self.rest().get(..message_len).map(Bytes::copy_from_slice)?;
        self.consume(message_len);
        Some(Frame::Message(bytes))
    }

    /// Whether an incomplete message is buffered: the server gives it 10 s (slowloris).
    pub fn is_midway(&self) -> bool {
        !self.rest().is_empty()
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.consumed..).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.consumed += count;
        self.searched = 0;
        self.message_len = None;
        if self.consumed >= self.buffer.len() {
            self.buffer.clear();
            self.consumed = 0;
            // A large message must not keep its memory for the lifetime of the connection.
            self.buffer.shrink_to(16 * 1024);
        }
    }

    fn crlf(&mut self) -> Frame {
        self.consume(2);
        self.half_ping = !self.half_ping;
        if self.half_ping { Frame::Pong } else { Frame::Ping }
    }

    /// Find the end of the head and the length of the message; `None` if more bytes are needed.
    fn head(&mut self) -> Option<Result<(), Frame>> {
        let rest = self.buffer.get(self.consumed..).unwrap_or_default();
        let from = self.searched.saturating_sub(3);
        let found = memmem::find(rest.get(from..).unwrap_or_default(), b"\r\n\r\n").map(|at| from + at + 4);
        self.searched = rest.len();
        let head = match found {
            Some(end) if end <= limits::HEAD_BYTES => rest.get(..end).unwrap_or_default(),
            None if rest.len() <= limits::HEAD_BYTES => return None,
            Some(_) | None => {
                let head = Bytes::copy_from_slice(rest.get(..limits::HEAD_BYTES).unwrap_or_default());
                return Some(Err(self.fail(head, 513, "Head Too Large")));
            }
        };
        let max_body =
            if self.unauthenticated { limits::UNAUTHENTICATED_BODY_BYTES } else { limits::BODY_BYTES };
        let (status, why) = match lines::body_length(head) {
            Ok(Some(length)) if length <= max_body as u64 => {
                self.message_len = Some(head.len() + length as usize);
                return Some(Ok(()));
            }
            Ok(Some(_)) => (513, "Body Too Large"),
            Ok(None) => (400, "Missing Content-Length"),
            Err(why) => (400, why),
        };
        let head = Bytes::copy_from_slice(head);
        Some(Err(self.fail(head, status, why)))
    }

    fn fail(&mut self, head: Bytes, status: u16, why: &'static str) -> Frame {
        *self = Framer { broken: true, ..Framer::default() };
        let request = match Message::parse(head) {
            Ok(message) => message.status().is_none().then_some(message),
            Err(ParseError { answerable, .. }) => answerable.map(|message| *message),
        };
        let answer = request.filter(|message| *message.method() != crate::Method::Ack).map(|message| {
            // Every final response has a To tag (RFC 3261 §8.2.6.2); it need not be unique on a stream that closes.
            Reply::new(status).phrase(why).to(&message, None, Some("broken"))
        });
        Frame::Broken { answer, why }
    }
}
