//! Server side of digest authentication: parsing an Authorization header and verifying its response.

use std::borrow::Cow;

use subtle::ConstantTimeEq;

use super::hash::{self, Qop};
use super::params::{Params, after_scheme, unescape};
use super::{Algorithm, Ha1};
use crate::limits;

/// The parameters of an Authorization header. `qop` must be `auth` (security.md row 4).
#[derive(Clone, Debug)]
pub struct Credentials<'a> {
    /// `username`, with quoted-pair escapes undone.
    pub username: Cow<'a, str>,
    /// `realm`.
    pub realm: &'a str,
    /// `nonce`.
    pub nonce: &'a str,
    /// `uri`, as written, because digest hashes the text.
    pub uri: &'a str,
    /// `response`, hex.
    pub response: &'a str,
    /// `algorithm`; MD5 where absent.
    pub algorithm: Algorithm,
    /// `cnonce`.
    pub cnonce: &'a str,
    /// `nc` as written, eight hex digits.
    pub nc: &'a str,
    /// `nc` as a number.
    pub count: u32,
}

impl<'a> Credentials<'a> {
    /// Parse `Digest username="…", …`; `None` if a required parameter is missing, repeated or malformed, or `qop` is not `auth`.
    pub fn parse(value: &'a str) -> Option<Credentials<'a>> {
        if value.len() > limits::CREDENTIALS_BYTES {
            return None;
        }
        let [
            mut username,
            mut realm,
            mut nonce,
            mut uri,
            mut response,
            mut algorithm,
            mut cnonce,
            mut qop,
            mut nc,
        ] = [None; 9];
        for param in Params(after_scheme(value)?) {
            let param = param?;
            let slot = match param.name {
                n if n.eq_ignore_ascii_case("username") => &mut username,
                n if n.eq_ignore_ascii_case("realm") => &mut realm,
                n if n.eq_ignore_ascii_case("nonce") => &mut nonce,
                n if n.eq_ignore_ascii_case("uri") => &mut uri,
                n if n.eq_ignore_ascii_case("response") => &mut response,
                n if n.eq_ignore_ascii_case("algorithm") => &mut algorithm,
                n if n.eq_ignore_ascii_case("cnonce") => &mut cnonce,
                n if n.eq_ignore_ascii_case("qop") => &mut qop,
                n if n.eq_ignore_ascii_case("nc") => &mut nc,
                _ => continue,
            };
            if slot.replace(param.value).is_some() {
                return None;
            }
        }
        let nc: &str = nc?;
        let digits = nc.len() == 8 && nc.bytes().all(|b| b.is_ascii_hexdigit());
        let algorithm = algorithm.map_or(Some(Algorithm::Md5), Algorithm::from_name)?;
        (digits && qop?.eq_ignore_ascii_case("auth")).then_some(())?;
        Some(Credentials {
            username: unescape(username.filter(|name| !name.is_empty())?),
            realm: realm?,
            nonce: nonce?,
            uri: uri?,
            response: response?,
            algorithm,
            cnonce: cnonce.filter(|cnonce| !cnonce.is_empty())?,
            nc,
            count: u32::from_str_radix(nc, 16).ok()?,
        })
    }

    /// Whether the response is correct for this method and HA1, compared in constant time.
    pub fn prove(&self, method: &str, ha1: &Ha1) -> bool {
        let qop = Some(Qop { nc: self.nc, cnonce: self.cnonce });
        let (expected, len) = hash::response(self.algorithm, ha1, method, self.uri, self.nonce, qop);
        // A response that is not hexadecimal costs the same hashes, and is never correct.
        let (given, valid) = hash::unhex(self.response, len).map_or(([0; 32], false), |given| (given, true));
        valid & bool::from(given.ct_eq(&expected))
    }
}
