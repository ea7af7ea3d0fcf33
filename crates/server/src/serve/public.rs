//! The address that is advertised to phones and people.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use anyhow::{Context, Result};

use crate::config::{Config, Loaded, Origin, PublicAddress};

/// The IP address of `public_address`, if set; a name is resolved once, at start.
pub fn public_ip(config: &Config) -> Result<Option<IpAddr>> {
    let PublicAddress::Host(host) = &config.public_address else { return Ok(None) };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        return Ok(Some(ip));
    }
    let mut found: Vec<IpAddr> = (bare, 0)
        .to_socket_addrs()
        .with_context(|| {
            format!("public_address: {host:?} cannot be resolved; write an address, or \"auto\"")
        })?
        .map(|address| address.ip())
        .collect();
    // If the name has both families, IPv4: most phones use it.
    found.sort_by_key(|ip| !ip.is_ipv4());
    Ok(found.first().copied())
}

/// The host advertised to people and phones (S43).
pub fn public_host(config: &Config) -> String {
    if let PublicAddress::Host(host) = &config.public_address {
        return host.clone();
    }
    let first = config.sip.listen.first().map(|listen| listen.address.ip());
    match first {
        Some(ip) if !ip.is_unspecified() => ip.to_string(),
        Some(_) | None => guess_address().to_string(),
    }
}

/// This machine's address on its default route. No packet is sent: the kernel only looks up the route.
pub fn guess_address() -> IpAddr {
    let lookup = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        // An address reserved for documentation (RFC 5737).
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    lookup().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// `--lan`: listeners on loopback listen on all interfaces.
pub(super) fn open_to_lan(loaded: &mut Loaded) {
    for listen in &mut loaded.config.sip.listen {
        if listen.address.ip().is_loopback() {
            let any = if listen.address.is_ipv4() { "0.0.0.0" } else { "::" };
            if let Ok(ip) = any.parse() {
                listen.address = SocketAddr::new(ip, listen.address.port());
            }
        }
    }
    loaded.origins.retain(|(key, _)| *key != "sip.listen");
    loaded.origins.push(("sip.listen", Origin::Option("--lan")));
}
