//! Client side of SIP digest authentication (RFC 3261 §22, RFC 7616 with MD5).

use md5::{Digest as _, Md5};

/// Parameters of a `WWW-Authenticate` challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    pub stale: bool,
    pub qop_auth: bool,
}

impl Challenge {
    /// Parse the header value; `None` if it is not a digest challenge.
    pub fn parse(value: &str) -> Option<Self> {
        let rest = value.trim().strip_prefix("Digest ")?;
        let get = |key: &str| {
            split(rest).find_map(|part| {
                let (name, value) = part.split_once('=')?;
                name.trim().eq_ignore_ascii_case(key).then(|| value.trim().trim_matches('"').to_owned())
            })
        };
        Some(Self {
            realm: get("realm")?,
            nonce: get("nonce")?,
            opaque: get("opaque"),
            stale: get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
            qop_auth: get("qop").is_some_and(|qop| qop.split(',').any(|one| one.trim() == "auth")),
        })
    }

    /// Value of `Authorization` for a request; `count` is the nonce count, 1 for the first use of the nonce.
    pub fn answer(&self, username: &str, password: &str, method: &str, uri: &str, count: u32) -> String {
        let ha1 = hex(&format!("{username}:{}:{password}", self.realm));
        let ha2 = hex(&format!("{method}:{uri}"));
        let cnonce = "0a4f113b";
        let response = if self.qop_auth {
            hex(&format!("{ha1}:{}:{count:08x}:{cnonce}:auth:{ha2}", self.nonce))
        } else {
            hex(&format!("{ha1}:{}:{ha2}", self.nonce))
        };
        let mut value = format!(
            "Digest username=\"{username}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\", algorithm=MD5",
            self.realm, self.nonce
        );
        if self.qop_auth {
            value += &format!(", qop=auth, cnonce=\"{cnonce}\", nc={count:08x}");
        }
        if let Some(opaque) = &self.opaque {
            value += &format!(", opaque=\"{opaque}\"");
        }
        value
    }
}

/// Split at commas outside of quotes.
fn split(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    value.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

fn hex(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_2617_comes_out() {
        let challenge = Challenge::parse(
            "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5c\"",
        )
        .unwrap();
        assert!(challenge.qop_auth && !challenge.stale);
        assert_eq!(hex("Mufasa:testrealm@host.com:Circle Of Life"), "939e7578ed9e3c518a452acee763bce9");
        assert!(
            challenge.answer("Mufasa", "Circle Of Life", "GET", "/dir/index.html", 1).contains("nc=00000001")
        );
    }
}
