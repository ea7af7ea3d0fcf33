//! Syntax of host names, and classification of IP addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a text is a usable IP address or a legal DNS name (RFC 1123 §2.1; underscores are accepted because private networks use them). A text
/// of digits and dots that is no IPv4 address is not a name (RFC 3986 §3.2.2: the last label of a name does not begin with a digit only).
pub fn is_host(text: &str) -> bool {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

/// Whether an address is globally reachable.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// IPv4 networks that are not public: IANA's special-purpose registry (RFC 6890), multicast, and reserved space.
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

/// Parts of the IPv6 global unicast space that are not public: protocol assignments (Teredo among them), documentation, and 6to4, which
/// embeds an IPv4 address.
const NOT_PUBLIC_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let global = ip.to_bits() >> 125 == 1; // 2000::/3
    global
        && NOT_PUBLIC_V6.iter().all(|(network, bits)| (ip.to_bits() ^ network.to_bits()) >> (128 - bits) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_special_purpose_address_is_public() {
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
    fn an_illegal_name_is_not_a_host() {
        for host in
            ["sip.carrier.example", "a", "sip_1.lan", "192.0.2.1", "2001:db8::1", "1und1.de", "x.example."]
        {
            assert!(is_host(host), "{host}");
        }
        for no in [
            "",
            ".",
            "a..b",
            "-a.example",
            "a-.example",
            "256.1.1.1",
            "1.2.3",
            "999",
            "a b",
            "a/b",
            "a:5060",
            "[::1]",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "exámple.com",
        ] {
            assert!(!is_host(no), "{no:?}");
        }
        assert!(!is_host(&"a".repeat(64)) && !is_host(&["a"; 128].join(".")));
    }
}
