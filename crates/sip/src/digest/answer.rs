//! Client side of digest authentication: answering a challenge.

use std::fmt::Write as _;

use base::{Rng, Secret};

use super::hash::{self, Qop};
use super::params::{Params, after_scheme, quote, unescape};
use super::{Algorithm, Ha1};
use crate::limits;

/// Answer a challenge (the value of WWW-Authenticate or Proxy-Authenticate). Returns the value of the Authorization header, or `None` if the
/// challenge cannot be answered (another realm than `realm`, unknown algorithm, qop without auth).
///
/// A challenge without `qop` is answered as RFC 2069 says, for old trunks.
pub fn answer(
    challenge: &str,
    realm: Option<&str>,
    method: &str,
    uri: &str,
    user: &str,
    password: &Secret<String>,
    rng: &mut Rng,
) -> Option<String> {
    if challenge.len() > limits::CREDENTIALS_BYTES {
        return None;
    }
    let [mut peer_realm, mut nonce, mut opaque, mut algorithm, mut qop] = [None; 5];
    for param in Params(after_scheme(challenge)?) {
        let param = param?;
        let slot = match param.name {
            n if n.eq_ignore_ascii_case("realm") => &mut peer_realm,
            n if n.eq_ignore_ascii_case("nonce") => &mut nonce,
            n if n.eq_ignore_ascii_case("opaque") => &mut opaque,
            n if n.eq_ignore_ascii_case("algorithm") => &mut algorithm,
            n if n.eq_ignore_ascii_case("qop") => &mut qop,
            _ => continue,
        };
        if slot.replace(param.value).is_some() {
            return None;
        }
    }
    let (peer_realm, nonce) = (peer_realm?, nonce?);
    let unescaped_realm = unescape(peer_realm);
    if realm.is_some_and(|ours| ours != unescaped_realm) {
        return None;
    }
    let given_algorithm = algorithm;
    let algorithm = algorithm.map_or(Some(Algorithm::Md5), Algorithm::from_name)?;
    let auth = match qop {
        None => false,
        Some(list) if list.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth")) => true,
        Some(_) => return None,
    };
    let cnonce = if auth { rng.base36(16) } else { String::new() };
    let ha1 = Ha1::new(user, &unescaped_realm, password.expose());
    let with = auth.then_some(Qop { nc: "00000001", cnonce: &cnonce });
    let (raw, len) = hash::response(algorithm, &ha1, method, uri, nonce, with);
    let mut digits = [0; 64];
    let response = hash::hex(raw.get(..len)?, &mut digits);

    let mut out = String::with_capacity(256 + challenge.len());
    out.push_str("Digest username=");
    quote(&mut out, user);
    // Quoted values are repeated unchanged, escapes included.
    let _ =
        write!(out, ", realm=\"{peer_realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\"");
    if given_algorithm.is_some() {
        let _ = write!(out, ", algorithm={}", algorithm.as_str());
    }
    if auth {
        let _ = write!(out, ", cnonce=\"{cnonce}\", qop=auth, nc=00000001");
    }
    if let Some(opaque) = opaque {
        let _ = write!(out, ", opaque=\"{opaque}\"");
    }
    Some(out)
}
