//! Digest access authentication (RFC 3261 §22, RFC 7616, RFC 8760), server and client side.

mod account;
mod answer;
mod credentials;
mod hash;
mod nonces;
mod params;

use std::fmt::Write as _;

use base::Secret;

pub use account::Account;
pub(crate) use account::is_stale;
pub use answer::answer;
pub use credentials::Credentials;
pub use nonces::{Freshness, Nonces};

/// A hash function of digest authentication.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// `MD5`, which browser phones and the phones in Debian support (S136).
    Md5,
    /// `SHA-256` (RFC 8760).
    Sha256,
}

impl Algorithm {
    /// The name in a header: `MD5`, `SHA-256`.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    fn from_name(name: &str) -> Option<Algorithm> {
        [Algorithm::Md5, Algorithm::Sha256].into_iter().find(|a| a.as_str().eq_ignore_ascii_case(name))
    }
}

/// H(user:realm:password) as raw bytes, for both algorithms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ha1 {
    /// MD5.
    pub md5: Secret<[u8; 16]>,
    /// SHA-256.
    pub sha256: Secret<[u8; 32]>,
}

impl Ha1 {
    /// Compute both hashes from a password.
    pub fn new(user: &str, realm: &str, password: &str) -> Ha1 {
        let parts = [user, ":", realm, ":", password];
        Ha1 { md5: Secret::new(hash::md5(&parts)), sha256: Secret::new(hash::sha256(&parts)) }
    }
}

/// The value of a WWW-Authenticate header.
pub fn challenge(realm: &str, nonce: &str, algorithm: Algorithm, stale: bool) -> String {
    let mut out = String::with_capacity(96 + realm.len());
    out.push_str("Digest realm=");
    params::quote(&mut out, realm);
    let _ = write!(out, ", nonce=\"{nonce}\", algorithm={}, qop=\"auth\"", algorithm.as_str());
    if stale {
        out.push_str(", stale=true");
    }
    out
}
