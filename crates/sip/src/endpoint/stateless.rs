//! Answers that nothing is kept for.

use base::Instant;
use bytes::Bytes;

use super::{Endpoint, Output};
use crate::limits::ANSWER_FACTOR;
use crate::session::SessionId;
use crate::wire;
use crate::{Hop, Message, Reply, Transport, write};

/// Who is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peer {
    /// Anybody, whose source address may be forged.
    Unauthenticated,
    /// Whoever has proved a password with a nonce that we sent there.
    Authenticated,
}

impl Endpoint {
    /// Answer a request without a transaction; a stranger over UDP with no more than [`ANSWER_FACTOR`] times what he asked: where that is
    /// not enough, or where his address has had its share ([`super::budget`]), nothing is sent, and no bytes are returned. The To-tag is `tag`, or one that every repetition of the request gets again.
    pub(super) fn answer_stateless(
        &mut self,
        now: Instant,
        request: &Message,
        hop: &Hop,
        asker: Peer,
        reply: Reply<'_>,
        tag: Option<&str>,
        session: Option<SessionId>,
        out: &mut Vec<Output>,
    ) -> Bytes {
        let capped = asker == Peer::Unauthenticated && hop.transport == Transport::Udp;
        if capped && !self.budget.charge(now, hop.remote.ip()) {
            return Bytes::new();
        }
        let drawn;
        let tag = if let Some(tag) = tag {
            tag
        } else {
            drawn = self.stateless_tag(request);
            &drawn
        };
        let software = self.core.config.software.as_deref();
        let mut buf = Vec::new();
        write::response(request, Some(hop), reply, Some(tag), software, &mut buf);
        if capped && buf.len() > ANSWER_FACTOR * request.bytes().len() {
            // Without what can be spared; a challenge cannot. Nobody's real request is so short that it comes to silence.
            let lines = reply.lines.filter(|_| matches!(reply.status, 401 | 407));
            buf.clear();
            write::response(request, Some(hop), Reply { lines, ..reply }, Some(tag), None, &mut buf);
            if buf.len() > ANSWER_FACTOR * request.bytes().len() {
                return Bytes::new();
            }
        }
        let bytes = Bytes::from(buf);
        out.push(Output::Transmit { hop: wire::reply_hop(request, hop), bytes: bytes.clone(), session });
        bytes
    }

    fn stateless_tag(&self, request: &Message) -> String {
        let mut tag = Vec::with_capacity(self.core.config.id_prefix.len() + 13);
        tag.extend_from_slice(self.core.config.id_prefix.as_bytes());
        tag.push(b's');
        wire::base36(&mut tag, self.core.keys.tag(request), 12);
        String::from_utf8_lossy(&tag).into_owned()
    }
}
