//! SIP ladder of a call: all messages received and sent, in order, stored as one compressed blob when the call ends.
//!
//! Blobs stay in the database for years, so every version is readable (golden files in `tests/golden`). Version 2: magic bytes, version byte, LZ4 of
//! MessagePack with field names. Version 1: LZ4 of postcard (positional), without magic bytes.

use std::net::SocketAddr;

use base::Timestamp;
use serde::{Deserialize, Serialize};
use sip::Hop;

use crate::limits;

/// One message of a ladder, with credentials redacted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rung {
    /// Time at which the message was received or sent.
    pub at: Timestamp,
    /// `true` if this server sent it, `false` if it received it.
    pub sent: bool,
    /// Transport: `UDP`, `TCP`, ….
    pub transport: String,
    /// Address of this server.
    pub local: SocketAddr,
    /// Address of the peer.
    pub remote: SocketAddr,
    /// Text of the message; invalid UTF-8 is replaced.
    pub text: String,
}

/// Magic bytes at the start of a blob. Read as part of the length prefix of version 1 they would exceed the size limit.
const MARK: [u8; 3] = *b"LAD";
/// Format version, the byte after the magic bytes.
const VERSION: u8 = 2;

/// [`Rung`] of version 1, which was encoded by field order. It must never change.
#[derive(Deserialize)]
struct RungV1 {
    at: Timestamp,
    sent: bool,
    transport: String,
    local: SocketAddr,
    remote: SocketAddr,
    text: String,
}

/// Decode a blob; `None` if it is damaged, or of an unknown version.
pub fn decode(blob: &[u8]) -> Option<Vec<Rung>> {
    match blob.strip_prefix(&MARK) {
        Some([VERSION, packed @ ..]) => rmp_serde::from_slice(&unpack(packed)?).ok(),
        Some(_) => None,
        None => {
            let rungs: Vec<RungV1> = postcard::from_bytes(&unpack(blob)?).ok()?;
            Some(rungs.into_iter().map(Rung::from).collect())
        }
    }
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let length = u32::from_le_bytes(packed.first_chunk().copied()?) as usize;
    if length > 4 * limits::LADDER_BYTES {
        return None;
    }
    lz4_flex::decompress_size_prepended(packed).ok()
}

impl From<RungV1> for Rung {
    fn from(old: RungV1) -> Rung {
        let RungV1 { at, sent, transport, local, remote, text } = old;
        Rung { at, sent, transport, local, remote, text }
    }
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Timestamp,
    sent: bool,
    hop: Hop,
    end: usize,
}

/// Ladder of a live call: one buffer for all messages, so that it holds no reference to receive buffers.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    text: Vec<u8>,
    marks: Vec<Mark>,
}

impl Ladder {
    pub(crate) fn note(&mut self, at: Timestamp, sent: bool, hop: Hop, message: &[u8]) {
        if self.text.len() + message.len() > limits::LADDER_BYTES {
            return;
        }
        self.text.extend_from_slice(message);
        self.marks.push(Mark { at, sent, hop, end: self.text.len() });
    }

    pub(crate) fn rungs(&self) -> Vec<Rung> {
        let mut begin = 0;
        let rung = |mark: &Mark| {
            let raw = self.text.get(begin..mark.end).unwrap_or_default();
            begin = mark.end;
            Rung {
                at: mark.at,
                sent: mark.sent,
                transport: mark.hop.transport.as_str().into(),
                local: mark.hop.local,
                remote: mark.hop.remote,
                text: blot(&String::from_utf8_lossy(raw)),
            }
        };
        self.marks.iter().map(rung).collect()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut blob = MARK.to_vec();
        blob.push(VERSION);
        blob.extend(lz4_flex::compress_prepend_size(
            &rmp_serde::to_vec_named(&self.rungs()).unwrap_or_default(),
        ));
        blob
    }
}

/// Redact `Authorization` and `Proxy-Authorization`: a digest response would allow an offline attack on the password.
fn blot(message: &str) -> String {
    let mut clean = String::with_capacity(message.len());
    let mut secret = false;
    for line in message.split_inclusive('\n') {
        if secret && line.starts_with([' ', '\t']) {
            continue; // folded header line
        }
        let name = line.split(':').next().unwrap_or_default().trim_end();
        secret = ["authorization", "proxy-authorization"].iter().any(|s| name.eq_ignore_ascii_case(s));
        if secret {
            clean.push_str(name);
            clean.push_str(": ***\r\n");
        } else {
            clean.push_str(line);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::{Flow, Transport};

    #[test]
    fn a_ladder_comes_back_as_it_was_but_without_credentials() {
        let address = "127.0.0.1:5060".parse().unwrap();
        let hop = Hop {
            transport: Transport::Udp,
            listener: 0,
            local: address,
            remote: address,
            flow: Flow::default(),
        };
        let mut ladder = Ladder::default();
        ladder.note(
            Timestamp::from_micros(1),
            false,
            hop,
            b"INVITE x\r\nAuthorization: Digest\r\n\tresponse=\"f00\"\r\n\r\n",
        );
        ladder.note(Timestamp::from_micros(2), true, hop, b"SIP/2.0 200 OK\r\n\r\n");
        let rungs = decode(&ladder.encode()).unwrap();
        assert_eq!(rungs[0].text, "INVITE x\r\nAuthorization: ***\r\n\r\n");
        assert_eq!((rungs[1].sent, rungs[1].text.as_str()), (true, "SIP/2.0 200 OK\r\n\r\n"));
        assert_eq!(decode(b"garbage"), None);
    }

    /// Ladder stored in the golden files.
    fn golden() -> Ladder {
        let (local, remote) = ("192.0.2.1:5060".parse().unwrap(), "[2001:db8::1]:40000".parse().unwrap());
        let tcp = Hop { transport: Transport::Tcp, listener: 1, local, remote, flow: Flow::default() };
        let at = |micros: i64| Timestamp::from_micros(1_700_000_000_000_000 + micros);
        let invite = b"INVITE sip:1002@localhost SIP/2.0\r\nAuthorization: Digest x\r\n\r\n";
        let mut ladder = Ladder::default();
        ladder.note(at(1), false, tcp, invite);
        let udp = Hop { transport: Transport::Udp, ..tcp };
        ladder.note(at(2), true, udp, "SIP/2.0 486 Ocupado á\r\n\r\n".as_bytes());
        ladder
    }

    #[test]
    fn ladders_of_every_version_are_read_for_ever() {
        for (version, blob) in [
            (1, &include_bytes!("../tests/golden/ladder-v1.bin")[..]),
            (2, &include_bytes!("../tests/golden/ladder-v2.bin")[..]),
        ] {
            assert_eq!(decode(blob), Some(golden().rungs()), "version {version}");
        }
        let mut later = golden().encode();
        later[3] = 9;
        assert_eq!(decode(&later), None, "one of a later version is not taken for one of ours");
    }
}
