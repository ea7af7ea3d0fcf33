//! Responses to digest challenges (RFC 2617, MD5); the constant parts are cached.

use md5::{Digest as _, Md5};

use crate::message::parameter;

const CNONCE: &str = "0a4f113b";

/// The users of a run: `u000000`, `u000001` and so on, each with the password `pw_` followed by its name.
pub struct Users {
    realm: Vec<u8>,
    secrets: Vec<Option<[u8; 32]>>,
}

/// A user's name.
pub fn name(user: usize) -> String {
    format!("u{user:06}")
}

impl Users {
    /// `count` users.
    pub fn new(count: usize) -> Users {
        Users { realm: Vec::new(), secrets: vec![None; count] }
    }

    /// Number of users.
    pub fn count(&self) -> usize {
        self.secrets.len()
    }

    /// Append the credentials header for `challenge`, which came with `status`.
    pub fn answer(
        &mut self,
        user: usize,
        status: u16,
        challenge: &[u8],
        method: &str,
        uri: &str,
        out: &mut Vec<u8>,
    ) {
        let realm = parameter(challenge, "realm").unwrap_or_default();
        let nonce = parameter(challenge, "nonce").unwrap_or_default();
        if self.realm != realm {
            self.realm = realm.to_vec();
            self.secrets.fill(None);
        }
        let name = name(user);
        let secret = *self.secrets[user]
            .get_or_insert_with(|| hash(&[name.as_bytes(), realm, b"pw_", name.as_bytes()], &[2]));
        let request = hash(&[method.as_bytes(), uri.as_bytes()], &[]);
        let with_qop = parameter(challenge, "qop").is_some();
        let response = if with_qop {
            hash(&[&secret, nonce, b"00000001", CNONCE.as_bytes(), b"auth", &request], &[])
        } else {
            hash(&[&secret, nonce, &request], &[])
        };
        let header = if status == 401 { "Authorization" } else { "Proxy-Authorization" };
        for part in [header, ": Digest username=\"", &name, "\",realm=\""] {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(realm);
        if with_qop {
            for part in ["\",cnonce=\"", CNONCE, "\",nc=00000001,qop=auth,uri=\""] {
                out.extend_from_slice(part.as_bytes());
            }
        } else {
            out.extend_from_slice(b"\",uri=\"");
        }
        out.extend_from_slice(uri.as_bytes());
        out.extend_from_slice(b"\",nonce=\"");
        out.extend_from_slice(nonce);
        out.extend_from_slice(b"\",response=\"");
        out.extend_from_slice(&response);
        out.extend_from_slice(b"\",algorithm=MD5");
        if let Some(opaque) = parameter(challenge, "opaque") {
            out.extend_from_slice(b",opaque=\"");
            out.extend_from_slice(opaque);
            out.push(b'"');
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Hexadecimal MD5 of `parts`, joined by colons except after those whose index is in `glued`.
fn hash(parts: &[&[u8]], glued: &[usize]) -> [u8; 32] {
    let mut md5 = Md5::new();
    for (n, part) in parts.iter().enumerate() {
        md5.update(part);
        if n + 1 < parts.len() && !glued.contains(&n) {
            md5.update(b":");
        }
    }
    let mut text = [0; 32];
    for (byte, pair) in md5.finalize().iter().zip(text.chunks_exact_mut(2)) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    text
}

fn digit(value: u8) -> u8 {
    b"0123456789abcdef"[value as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_what_the_rfc_computes() {
        // Example of RFC 2617 §3.5; its cnonce is the same as ours.
        let secret = hash(&[b"Mufasa", b"testrealm@host.com", b"Circle Of Life"], &[]);
        let request = hash(&[b"GET", b"/dir/index.html"], &[]);
        let nonce: &[u8] = b"dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let response = hash(&[&secret, nonce, b"00000001", CNONCE.as_bytes(), b"auth", &request], &[]);
        assert_eq!(&response, b"6629fae49393a05397450978507c4ef1");
    }
}
