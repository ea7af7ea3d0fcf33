//! Digest hashes over several parts, without an intermediate buffer.

use md5::Md5;
use sha2::{Digest, Sha256};

use super::{Algorithm, Ha1};

/// MD5 over parts.
pub(super) fn md5(parts: &[&str]) -> [u8; 16] {
    hash_parts::<Md5>(parts).into()
}

/// SHA-256 over parts.
pub(super) fn sha256(parts: &[&str]) -> [u8; 32] {
    hash_parts::<Sha256>(parts).into()
}

fn hash_parts<D: Digest>(parts: &[&str]) -> digest_output::Of<D> {
    let mut hash = D::new();
    for part in parts {
        hash.update(part.as_bytes());
    }
    hash.finalize()
}

mod digest_output {
    /// The output of a hash function.
    pub(super) type Of<D> = sha2::digest::Output<D>;
}

/// The part of a response that `qop` adds (RFC 7616 §3.4.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Qop<'a> {
    pub(super) nc: &'a str,
    pub(super) cnonce: &'a str,
}

/// A response as raw bytes: the first 16 for MD5, all 32 for SHA-256.
pub(super) fn response(
    algorithm: Algorithm,
    ha1: &Ha1,
    method: &str,
    uri: &str,
    nonce: &str,
    qop: Option<Qop<'_>>,
) -> ([u8; 32], usize) {
    let (mut first, mut second) = ([0; 64], [0; 64]);
    let mut raw = [0; 32];
    let a2 = [method, ":", uri];
    let (ha1, ha2, len) = match algorithm {
        Algorithm::Md5 => (hex(ha1.md5.expose(), &mut first), hex(&md5(&a2), &mut second), 16),
        Algorithm::Sha256 => (hex(ha1.sha256.expose(), &mut first), hex(&sha256(&a2), &mut second), 32),
    };
    let with;
    let without;
    let parts: &[&str] = if let Some(Qop { nc, cnonce }) = qop {
        with = [ha1, ":", nonce, ":", nc, ":", cnonce, ":auth:", ha2];
        &with
    } else {
        without = [ha1, ":", nonce, ":", ha2];
        &without
    };
    match algorithm {
        Algorithm::Md5 => raw.iter_mut().zip(md5(parts)).for_each(|(to, from)| *to = from),
        Algorithm::Sha256 => raw = sha256(parts),
    }
    (raw, len)
}

/// Write `raw` as lower-case hexadecimal digits into `out`.
pub(super) fn hex<'a>(raw: &[u8], out: &'a mut [u8; 64]) -> &'a str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| DIGITS.get(usize::from(n & 15)).copied().unwrap_or(b'0');
    let (pairs, _) = out.as_chunks_mut::<2>();
    for ([high, low], byte) in pairs.iter_mut().zip(raw) {
        (*high, *low) = (digit(byte >> 4), digit(*byte));
    }
    out.get(..raw.len() * 2).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
}

/// Decode hexadecimal digits of either case; `None` if the text is not hexadecimal or not `len` bytes long.
pub(super) fn unhex(text: &str, len: usize) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != len || len > out.len() || !odd.is_empty() {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).map(|n| n as u8);
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}
