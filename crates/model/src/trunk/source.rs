//! Source networks of a carrier: calls are attributed to a trunk by the socket's peer address, never by a header (security.md row 8).

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A network or a single address: `203.0.113.0/24`, `2001:db8::/32`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Source {
    network: IpAddr,
    bits: u8,
}

/// Why a text is not a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SourceError {
    /// Neither an address nor a network.
    #[error("a source is an address or a network like 203.0.113.0/24")]
    Syntax,
    /// The network is too large to be trusted.
    #[error("a source has at least 8 bits of IPv4 or 16 of IPv6")]
    TooWide,
}

impl Source {
    /// Parse an address or a network in CIDR notation.
    pub fn parse(text: &str) -> Result<Source, SourceError> {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().map_err(|_| SourceError::Syntax)?;
        let ip = ip.to_canonical();
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(text) if text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().map_err(|_| SourceError::Syntax)?
            }
            Some(_) => return Err(SourceError::Syntax),
        };
        if bits > width {
            return Err(SourceError::Syntax);
        }
        if bits < if ip.is_ipv4() { 8 } else { 16 } {
            return Err(SourceError::TooWide);
        }
        Ok(Source { network: masked(ip, bits), bits })
    }

    /// Whether the network contains an address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.network.is_ipv4() && masked(ip, self.bits) == self.network
    }
}

fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((ip.to_bits() & mask).into())
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

impl TryFrom<String> for Source {
    type Error = SourceError;
    fn try_from(text: String) -> Result<Self, SourceError> {
        Source::parse(&text)
    }
}

impl From<Source> for String {
    fn from(source: Source) -> String {
        source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses_and_no_other() {
        for (source, inside, outside) in [
            ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
            ("203.0.113.77/24", "203.0.113.255", "203.0.114.0"),
            ("54.172.60.0/30", "::ffff:54.172.60.3", "54.172.60.4"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
        ] {
            let source = Source::parse(source).unwrap();
            assert!(source.contains(inside.parse().unwrap()), "{source}");
            assert!(!source.contains(outside.parse().unwrap()), "{source}");
            assert_eq!(Source::parse(&source.to_string()), Ok(source));
        }
        assert!(!Source::parse("::/16").unwrap().contains("0.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_network_that_is_too_large_is_refused() {
        for (text, error) in [
            ("0.0.0.0/0", SourceError::TooWide),
            ("10.0.0.0/7", SourceError::TooWide),
            ("::/0", SourceError::TooWide),
            ("10.0.0.0/33", SourceError::Syntax),
            ("carrier.example", SourceError::Syntax),
            ("10.0.0.0/+8", SourceError::Syntax),
            ("", SourceError::Syntax),
        ] {
            assert_eq!(Source::parse(text), Err(error), "{text}"); // security.md row 8
        }
    }
}
