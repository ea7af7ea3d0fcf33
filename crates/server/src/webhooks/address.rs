//! Where messages may go: to public addresses only (security.md row 24). Names are resolved by us, and the connection goes to what we have
//! looked at, so that a name cannot say one thing when it is judged and another when it is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Which addresses are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
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
    #[error("the name is not found")]
    NotFound,
}

impl Reach {
    /// Judge an address.
    pub fn allows(self, ip: IpAddr) -> bool {
        is_public(ip) || self == Reach::LoopbackToo && ip.to_canonical().is_loopback()
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
                if self == Reach::LoopbackToo && literal.is_none_or(|ip| ip.to_canonical().is_loopback()) =>
            {
                Ok(url)
            }
            _ => Err(Refused::NotSecure),
        }
    }
}

/// Whether an address is one that anybody on the Internet may have.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Networks of IPv4 that are not public: the special-purpose registry of IANA (RFC 6890), multicast, and what is reserved.
const NOT_PUBLIC_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

fn is_public_v4(ip: Ipv4Addr) -> bool {
    NOT_PUBLIC_V4.iter().all(|(network, bits)| (ip.to_bits() ^ network.to_bits()) >> (32 - bits) != 0)
}

/// Parts of the global unicast space of IPv6 that are not public: protocol assignments (Teredo among them), documentation, and 6to4, which
/// carries an address of IPv4.
const NOT_PUBLIC_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let global = ip.segments()[0] >> 13 == 1; // 2000::/3
    global
        && NOT_PUBLIC_V6.iter().all(|(network, bits)| (ip.to_bits() ^ network.to_bits()) >> (128 - bits) != 0)
}

/// Resolves names, and answers nothing that must not be reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guarded(pub Reach);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
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
    fn nothing_inside_is_public() {
        for inside in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "2001:db8::1",
            "2001:0:1::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}"); // security.md row 24
        }
        for outside in
            ["1.1.1.1", "93.184.216.34", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"]
        {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

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
            assert_eq!(Reach::Public.judge(url), Err(Refused::NotPublic), "{url}");
        }
        assert_eq!(Reach::Public.judge("http://crm.example/"), Err(Refused::NotSecure));
        assert_eq!(Reach::LoopbackToo.judge("http://10.0.0.1/"), Err(Refused::NotPublic));
        assert_eq!(Reach::LoopbackToo.judge("http://1.1.1.1/"), Err(Refused::NotSecure));
        assert!(
            Reach::LoopbackToo.judge("http://127.0.0.1:9/").is_ok()
                && Reach::Public.judge("https://crm.example/x").is_ok()
        );
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_followed() {
        let resolve = |reach| Guarded(reach).resolve("localhost".parse().unwrap());
        assert_eq!(
            resolve(Reach::Public).await.err().map(|e| e.to_string()).as_deref(),
            Some("the address is not public")
        );
        assert!(resolve(Reach::LoopbackToo).await.is_ok());
    }
}
