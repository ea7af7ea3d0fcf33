//! Credentials for challenges from carriers, and the rule where they may be sent (security.md row 5).

use base::{Rng, Secret};

use super::answer;
use super::params::{Params, after_scheme};
use crate::{HeaderName, Headers, Message, Method};

/// User name and password for a peer that challenges us. They are used only for a request that was created with them, so they are sent to no other
/// host than that request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// The user name.
    pub user: String,
    /// The password in clear text: the peer's realm differs from ours, so our HA1 does not fit.
    pub password: Secret<String>,
    /// If set, only challenges of this realm are answered.
    pub realm: Option<String>,
}

impl Account {
    /// The header line that answers the challenge in a 401 or 407; `None` if no challenge there can be answered.
    pub(crate) fn answer_challenge(
        &self,
        response: &Message,
        method: &Method,
        uri: &str,
        rng: &mut Rng,
    ) -> Option<Headers> {
        let (_, header) = headers(response)?;
        let line = challenges(response).find_map(|challenge| {
            let realm = self.realm.as_deref();
            answer(challenge, realm, method.as_str(), uri, &self.user, &self.password, rng)
        })?;
        let mut lines = Headers::new();
        lines.add(header, line);
        Some(lines)
    }
}

/// Whether a challenge says that only our nonce was stale (RFC 7616 §3.3).
pub(crate) fn is_stale(response: &Message) -> bool {
    challenges(response).any(|challenge| {
        let params = after_scheme(challenge).map(Params).into_iter().flatten();
        params.flatten().any(|p| p.name.eq_ignore_ascii_case("stale") && p.value.eq_ignore_ascii_case("true"))
    })
}

fn headers(response: &Message) -> Option<(HeaderName, &'static str)> {
    match response.status() {
        Some(401) => Some((HeaderName::WwwAuthenticate, "Authorization")),
        Some(407) => Some((HeaderName::ProxyAuthenticate, "Proxy-Authorization")),
        _ => None,
    }
}

fn challenges(response: &Message) -> impl Iterator<Item = &str> {
    let name = headers(response).map(|(name, _)| name);
    let lines = name.into_iter().flat_map(|name| response.header_lines(name));
    lines.filter_map(|line| std::str::from_utf8(line).ok()).map(str::trim)
}
