//! Responses without a transaction.

use base::Instant;
use bytes::Bytes;

use super::{Endpoint, Output};
use crate::limits::RESPONSE_FACTOR;
use crate::session::SessionId;
use crate::wire;
use crate::{Hop, Message, Reply, Transport, write};

/// The sender of a request that gets a stateless response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peer {
    /// Not authenticated; the source address may be forged.
    Unauthenticated,
    /// Authenticated with a nonce that was sent to this address.
    Authenticated,
}

impl Endpoint {
    /// Respond without a transaction. An unauthenticated UDP sender gets at most [`RESPONSE_FACTOR`] times the length of its request. If the shortest
    /// response is longer than that, or if the source is over its limit ([`super::response_limit`]), nothing is sent and the result is empty. The To
    /// tag is `tag`, or one derived from the request.
    pub(super) fn answer_stateless(
        &mut self,
        now: Instant,
        request: &Message,
        hop: &Hop,
        peer: Peer,
        reply: Reply<'_>,
        tag: Option<&str>,
        session: Option<SessionId>,
        out: &mut Vec<Output>,
    ) -> Bytes {
        let limited = peer == Peer::Unauthenticated && hop.transport == Transport::Udp;
        if limited && !self.response_limiter.try_charge(now, hop.remote.ip()) {
            return Bytes::new();
        }
        let generated;
        let tag = if let Some(tag) = tag {
            tag
        } else {
            generated = self.stateless_tag(request);
            &generated
        };
        let software = self.core.config.software.as_deref();
        let mut buf = Vec::new();
        write::response(request, Some(hop), reply, Some(tag), software, &mut buf);
        if limited && buf.len() > RESPONSE_FACTOR * request.bytes().len() {
            // Without optional lines; a challenge is not optional. No real request is so short that even this does not fit.
            let lines = reply.lines.filter(|_| matches!(reply.status, 401 | 407));
            buf.clear();
            write::response(request, Some(hop), Reply { lines, ..reply }, Some(tag), None, &mut buf);
            if buf.len() > RESPONSE_FACTOR * request.bytes().len() {
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
