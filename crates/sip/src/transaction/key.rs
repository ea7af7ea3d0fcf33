//! Keys of transactions and dialogs: header fields hashed to 128 bits under a secret key of this process.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use base::Rng;
use siphasher::sip128::{Hash128, Hasher128, SipHasher13};

use crate::{Message, Method};

/// The key of a transaction, dialog or cached response. Without the secret key nobody can construct a collision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key(pub(crate) u64, pub(crate) u64);

/// The kind of entity that a key identifies. It is the first byte of every hash, so that keys of different kinds never collide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Client = 1,
    Server,
    Merged,
    Dialog,
    Answer,
    Tag,
}

/// The secret hash key of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys(u64, u64);

impl Keys {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Keys(rng.u64(), rng.u64())
    }

    fn of(&self, kind: Kind, parts: &[&[u8]]) -> Key {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write_u8(kind as u8);
        for part in parts {
            hasher.write_u32(part.len() as u32);
            hasher.write(part);
        }
        let Hash128 { h1, h2 } = hasher.finish128();
        Key(h1, h2)
    }

    /// A client transaction: our branch, and whether it is the CANCEL, which shares the branch of its INVITE (RFC 3261 §17.1.3).
    pub(crate) fn client(&self, branch: &[u8], method: &Method) -> Key {
        let class: &[u8] = if *method == Method::Cancel { b"C" } else { b"" };
        self.of(Kind::Client, &[branch, class])
    }

    /// A server transaction (RFC 3261 §17.2.3): branch, sent-by and method, with ACK counting as INVITE; for RFC 2543 peers the fields that
    /// identified requests then; and the source host, so that another host that guesses a branch cannot cancel. `method` may differ from the
    /// request's: a CANCEL looks up its INVITE.
    pub(crate) fn server(&self, request: &Message, method: &Method, from: IpAddr) -> Key {
        let via = request.via();
        let from = ip_octets(from);
        let port = via.port.unwrap_or(0).to_be_bytes();
        let method = if *method == Method::Ack { &Method::Invite } else { method };
        let method = method.as_str().as_bytes();
        if via.branch.len() > 7 && via.branch.get(..7).is_some_and(|b| b.eq_ignore_ascii_case(b"z9hG4bK")) {
            return self.of(Kind::Server, &[&via.branch, &via.host, &port, method, &from]);
        }
        let number = request.cseq().number.to_be_bytes();
        let (id, tag) = (request.call_id().as_bytes(), request.from_tag().as_bytes());
        self.of(Kind::Server, &[&via.branch, &via.host, &port, method, &from, id, tag, &number])
    }

    /// Equal for copies of a request that arrived over several paths (RFC 3261 §8.2.2.2).
    pub(crate) fn merged(&self, request: &Message) -> Key {
        let cseq = request.cseq();
        let (id, from) = (request.call_id().as_bytes(), request.from_tag().as_bytes());
        self.of(Kind::Merged, &[id, from, &cseq.number.to_be_bytes(), cseq.method.as_str().as_bytes()])
    }

    /// A dialog: Call-ID and our tag. The session compares the peer's tag, because forks share ours.
    pub(crate) fn dialog(&self, call_id: &str, our_tag: &str) -> Key {
        self.of(Kind::Dialog, &[call_id.as_bytes(), our_tag.as_bytes()])
    }

    /// A request whose response is cached without a transaction.
    pub(crate) fn answer(&self, request: &Message, from: SocketAddr) -> Key {
        let Key(a, b) = self.server(request, request.method(), from.ip());
        let number = request.cseq().number.to_be_bytes();
        let port = from.port().to_be_bytes();
        let parts: [&[u8]; 5] =
            [&a.to_be_bytes(), &b.to_be_bytes(), request.call_id().as_bytes(), &number, &port];
        self.of(Kind::Answer, &parts)
    }

    /// Random bits for the To tag of a stateless response: the same for every retransmission of the request.
    pub(crate) fn tag(&self, request: &Message) -> u64 {
        let via = request.via();
        let (id, from) = (request.call_id().as_bytes(), request.from_tag().as_bytes());
        self.of(Kind::Tag, &[id, from, &via.branch, &request.cseq().number.to_be_bytes()]).0
    }
}

/// An address as sixteen bytes; IPv4 as IPv4-mapped IPv6.
fn ip_octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
