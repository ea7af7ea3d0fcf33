//! Address policy of webhooks against SSRF: public addresses only. Names are resolved here and the connection uses the checked addresses, so a
//! name cannot resolve differently for the check and for the request (DNS rebinding).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::is_public;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Timeout of name resolution: shorter than an attempt.
const DNS_TIMEOUT: Duration = Duration::from_secs(3);

/// Which addresses are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressPolicy {
    /// Public addresses only.
    Public,
    /// Loopback too, for tests.
    LoopbackToo,
}

/// Why a URL is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The address is private, loopback, or otherwise not public.
    #[error("the address is not public")]
    NotPublic,
    /// The scheme is not https.
    #[error("the URL is not https")]
    NotSecure,
    /// The URL is malformed.
    #[error("the URL is malformed")]
    Unreadable,
    /// The name has no address.
    #[error("DNS: the name does not exist")]
    NotFound,
    /// No DNS answer in time.
    #[error("DNS: no answer within 3 s")]
    DnsTimeout,
}

impl AddressPolicy {
    /// Check an address.
    pub fn allows(self, ip: IpAddr) -> bool {
        is_public(ip) || self == AddressPolicy::LoopbackToo && ip.to_canonical().is_loopback()
    }

    /// Check a URL, except for the addresses of its name.
    pub fn check(self, url: &str) -> Result<Url, Refused> {
        let url = Url::parse(url).map_err(|_| Refused::Unreadable)?;
        let host = url.host_str().ok_or(Refused::Unreadable)?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        if literal.is_some_and(|ip| !self.allows(ip)) {
            return Err(Refused::NotPublic);
        }
        match url.scheme() {
            "https" => Ok(url),
            // A name may resolve to loopback: its addresses are checked when it is resolved, and only loopback is allowed with http.
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

/// DNS resolver that returns allowed addresses only.
#[derive(Clone, Copy, Debug)]
pub(super) struct PolicyResolver(pub AddressPolicy);

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0;
        Box::pin(async move {
            let lookup = tokio::time::timeout(DNS_TIMEOUT, tokio::net::lookup_host((name.as_str(), 0))).await;
            let found: Vec<SocketAddr> = match lookup {
                Ok(Ok(found)) => found.collect(),
                Ok(Err(_)) => Vec::new(),
                Err(_) => return Err(Refused::DnsTimeout.into()),
            };
            if found.is_empty() {
                return Err(Refused::NotFound.into());
            }
            // One forbidden address refuses the name: its owner points it at us.
            if !found.iter().all(|address| policy.allows(address.ip())) {
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
            assert_eq!(AddressPolicy::Public.check(url), Err(Refused::NotPublic), "{url}");
        }
        assert_eq!(AddressPolicy::Public.check("http://crm.example/"), Err(Refused::NotSecure));
        assert_eq!(AddressPolicy::LoopbackToo.check("http://10.0.0.1/"), Err(Refused::NotPublic));
        assert_eq!(AddressPolicy::LoopbackToo.check("http://1.1.1.1/"), Err(Refused::NotSecure));
        assert!(
            AddressPolicy::LoopbackToo.check("http://127.0.0.1:9/").is_ok()
                && AddressPolicy::Public.check("https://crm.example/x").is_ok()
        );
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_followed() {
        let resolve = |policy| PolicyResolver(policy).resolve("localhost".parse().unwrap());
        assert_eq!(
            resolve(AddressPolicy::Public).await.err().map(|e| e.to_string()).as_deref(),
            Some("the address is not public")
        );
        assert!(resolve(AddressPolicy::LoopbackToo).await.is_ok());
    }
}
