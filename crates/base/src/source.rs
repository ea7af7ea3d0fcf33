//! The unit that limits per source address count by.

use std::net::{IpAddr, Ipv6Addr};

/// The source of an address: the address itself for IPv4 (also when mapped to IPv6, `::ffff:192.0.2.1`), and its /64 network for IPv6. A /64 is what
/// one household, phone or rented machine gets (RFC 6177), with all its addresses.
///
/// Every limit per source counts by this value, none by the bare address.
pub fn source_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_64_is_one_source_and_so_is_an_ipv4_address() {
        let same =
            |one: &str, other: &str| source_of(one.parse().unwrap()) == source_of(other.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("::ffff:192.0.2.1", "::ffff:192.0.2.2"), "mapped addresses are not one network");
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(!same("::1", "127.0.0.1"));
    }
}
