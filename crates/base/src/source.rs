//! Who counts as one source where something is limited by the address that it comes from.

use std::net::{IpAddr, Ipv6Addr};

/// The source that an address belongs to: an address of IPv4, also where a socket of IPv6 shows it as `::ffff:192.0.2.1`; and a /64 of IPv6,
/// which is what one household, one phone or one rented machine gets (RFC 6177): whoever has it has all its addresses.
///
/// Every limit by source counts by this, and none by the bare address.
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
    fn one_network_of_ipv6_is_one_source_and_one_address_of_ipv4_is() {
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
