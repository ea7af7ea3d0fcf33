//! Which address others are told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use anyhow::{Context, Result};

use crate::config::{Config, Loaded, Origin, PublicAddress};

/// The address of `public_address`, where one is set; names are resolved once, at start.
pub fn public_ip(config: &Config) -> Result<Option<IpAddr>> {
    let PublicAddress::Host(host) = &config.public_address else { return Ok(None) };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        return Ok(Some(ip));
    }
    let mut found: Vec<IpAddr> = (bare, 0)
        .to_socket_addrs()
        .with_context(|| format!("public_address: {host:?} is not found; write an address, or \"auto\""))?
        .map(|address| address.ip())
        .collect();
    // Where a name has both, phones of today speak IPv4.
    found.sort_by_key(|ip| !ip.is_ipv4());
    Ok(found.first().copied())
}

/// The host that people and phones are told (S43).
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

/// The address that this machine uses towards others. No packet is sent: the kernel only looks up the route.
pub fn guess_address() -> IpAddr {
    let lookup = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        // An address that is reserved for documents (RFC 5737).
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    lookup().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// `--lan`: listeners on loopback listen everywhere.
pub(super) fn open_to_lan(loaded: &mut Loaded) {
    for listen in &mut loaded.config.sip.listen {
        if listen.address.ip().is_loopback() {
            let everywhere = if listen.address.is_ipv4() { "0.0.0.0" } else { "::" };
            if let Ok(ip) = everywhere.parse() {
                listen.address = SocketAddr::new(ip, listen.address.port());
            }
        }
    }
    loaded.origins.retain(|(key, _)| *key != "sip.listen");
    loaded.origins.push(("sip.listen", Origin::Option("--lan")));
}
