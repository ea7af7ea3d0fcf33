//! Where messages may go: to public addresses only (security.md row 24). Names are resolved by us, and the connection goes to what we have
//! looked at, so that a name cannot say one thing when it is judged and another when it is used.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::is_public;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// How long a name may take: less than an attempt.
const NAMES_PATIENCE: Duration = Duration::from_secs(3);

/// Which addresses are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressPolicy {
    /// Public ones.
    Public,
    /// This machine too, for trials.
    LoopbackToo,
}

/// Why nothing is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The address is private, or ours, or nobody's.
    #[error("the address is not public")]
    NotPublic,
    /// Only https is spoken.
    #[error("the address is not https")]
    NotSecure,
    /// It is no address.
    #[error("the address cannot be read")]
    Unreadable,
    /// The name has no address.
    #[error("DNS: the name is not found")]
    NotFound,
    /// No server for names answers in time.
    #[error("DNS: no answer within 3 s")]
    NoNames,
}

impl AddressPolicy {
    /// Judge an address.
    pub fn allows(self, ip: IpAddr) -> bool {
        is_public(ip) || self == AddressPolicy::LoopbackToo && ip.to_canonical().is_loopback()
    }

    /// Judge a URL, as far as that goes before its name is resolved.
    pub fn judge(self, url: &str) -> Result<Url, Refused> {
        let url = Url::parse(url).map_err(|_| Refused::Unreadable)?;
        let host = url.host_str().ok_or(Refused::Unreadable)?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        if literal.is_some_and(|ip| !self.allows(ip)) {
            return Err(Refused::NotPublic);
        }
        match url.scheme() {
            "https" => Ok(url),
            // A name may lead to loopback; what it leads to is judged when it is resolved, and there is no other way in this mode.
            "http"
                if self == AddressPolicy::LoopbackToo
                    && literal.is_none_or(|ip| ip.to_canonical().is_loopback()) =>
            {
                Ok(url)
            }
            _ => Err(Refused::NotSecure),
        }
    }
}

/// Resolves names, and answers nothing that must not be reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guarded(pub AddressPolicy);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let asking =
                tokio::time::timeout(NAMES_PATIENCE, tokio::net::lookup_host((name.as_str(), 0))).await;
            let found: Vec<SocketAddr> = match asking {
                Ok(Ok(found)) => found.collect(),
                Ok(Err(_)) => Vec::new(),
                Err(_) => return Err(Refused::NoNames.into()),
            };
            if found.is_empty() {
                return Err(Refused::NotFound.into());
            }
            // One that is not allowed spoils all: who owns the name points it at us.
            if !found.iter().all(|address| reach.allows(address.ip())) {
                return Err(Refused::NotPublic.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_an_address_do_not_help() {
        for url in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:7f00:1]/",
            "https://169.254.169.254/latest/meta-data",
            "https://0/",
        ] {
            assert_eq!(AddressPolicy::Public.judge(url), Err(Refused::NotPublic), "{url}");
        }
        assert_eq!(AddressPolicy::Public.judge("http://crm.example/"), Err(Refused::NotSecure));
        assert_eq!(AddressPolicy::LoopbackToo.judge("http://10.0.0.1/"), Err(Refused::NotPublic));
        assert_eq!(AddressPolicy::LoopbackToo.judge("http://1.1.1.1/"), Err(Refused::NotSecure));
        assert!(
            AddressPolicy::LoopbackToo.judge("http://127.0.0.1:9/").is_ok()
                && AddressPolicy::Public.judge("https://crm.example/x").is_ok()
        );
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_followed() {
        let resolve = |reach| Guarded(reach).resolve("localhost".parse().unwrap());
        assert_eq!(
            resolve(AddressPolicy::Public).await.err().map(|e| e.to_string()).as_deref(),
            Some("the address is not public")
        );
        assert!(resolve(AddressPolicy::LoopbackToo).await.is_ok());
    }
}
