//! Client address of a request: the peer of the connection, or the client that a trusted proxy reports.
//!
//! A proxy appends the address that it saw to `X-Forwarded-For` (or `Forwarded`, RFC 7239). Entries before that may be forged by the client. The
//! list is therefore read from the end: the first address that is not a trusted proxy is the client's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use ipnet::IpNet;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

/// Client address, used for rate limits, logs and the audit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Source(pub IpAddr);

impl Source {
    /// Client address of a request. Forwarding headers count only if the peer is in `trusted`.
    pub(crate) fn of(parts: &Parts, trusted: &[IpNet]) -> Source {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip());
        Source(client(peer.to_canonical(), &parts.headers, trusted))
    }
}

fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_proxy = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
    if !is_proxy(peer) {
        return peer;
    }
    let named = |hops: Vec<Option<IpAddr>>| {
        let mut nearest = peer;
        for hop in hops.into_iter().rev() {
            // Entries before an unidentified node (`unknown`, `_hidden`) cannot be trusted.
            let Some(hop) = hop else { return nearest };
            nearest = hop;
            if !is_proxy(hop) {
                return hop;
            }
        }
        nearest
    };
    let simple = headers.contains_key(X_FORWARDED_FOR).then(|| named(x_forwarded_for(headers)));
    let standard = headers.contains_key(FORWARDED).then(|| named(forwarded(headers)));
    match (simple, standard) {
        (Some(client), None) | (None, Some(client)) => client,
        // Most proxies write one of the two headers and pass on the other as the client sent it. Both are trusted only if they agree.
        (Some(simple), Some(standard)) if simple == standard => simple,
        (Some(_), Some(_)) | (None, None) => peer,
    }
}

/// The elements of a header that may be repeated; `None` for a value that is not text.
fn elements<'h>(headers: &'h HeaderMap, name: &'static str) -> impl Iterator<Item = Option<&'h str>> {
    headers.get_all(name).iter().flat_map(|value| match value.to_str() {
        Ok(text) => outside_quotes(text, ',').into_iter().map(Some).collect(),
        Err(_) => vec![None],
    })
}

fn x_forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    elements(headers, X_FORWARDED_FOR).map(|element| element.and_then(node)).collect()
}

fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let hop = |element: &str| {
        outside_quotes(element, ';').into_iter().find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| node(value))
        })?
    };
    elements(headers, FORWARDED).map(|element| element.and_then(hop)).collect()
}

/// Split at separators that are not inside a quoted string.
fn outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        let between = c == separator && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        between
    })
    .collect()
}

/// Parse a node: `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::1`, `"[2001:db8::1]:4711"` (RFC 7239 §6).
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let host = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match text.split_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            Some(_) | None => text,
        },
    };
    host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_client(peer: &str, sent: &[(&'static str, &str)], expected: &str) {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"].map(|network| network.parse().unwrap()).into();
        let found = client(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {sent:?}");
    }

    #[test]
    fn only_a_trusted_proxy_names_a_client() {
        assert_client("192.0.2.1", &[(X_FORWARDED_FOR, "203.0.113.7")], "192.0.2.1");
        assert_client("192.0.2.1", &[(FORWARDED, "for=203.0.113.7")], "192.0.2.1");
        assert_client("10.0.0.1", &[], "10.0.0.1");
        assert_client("10.0.0.1", &[(X_FORWARDED_FOR, "203.0.113.7")], "203.0.113.7");
        assert_client("fd00::1", &[(X_FORWARDED_FOR, "2001:db8::1")], "2001:db8::1");
    }

    #[test]
    fn forged_forwarding_headers_are_ignored() {
        assert_client("10.0.0.1", &[(X_FORWARDED_FOR, "1.1.1.1, 203.0.113.7")], "203.0.113.7");
        assert_client(
            "10.0.0.1",
            &[(X_FORWARDED_FOR, "1.1.1.1"), (X_FORWARDED_FOR, "203.0.113.7, 10.0.0.2")],
            "203.0.113.7",
        );
        assert_client("10.0.0.1", &[(X_FORWARDED_FOR, "1.1.1.1, nonsense, 10.0.0.2")], "10.0.0.2");
        assert_client("10.0.0.1", &[(X_FORWARDED_FOR, "10.0.0.3, 10.0.0.2")], "10.0.0.3");
        // A proxy that writes only one header passes on the other one.
        assert_client(
            "10.0.0.1",
            &[(X_FORWARDED_FOR, "203.0.113.7"), (FORWARDED, "for=1.1.1.1")],
            "10.0.0.1",
        );
        assert_client(
            "10.0.0.1",
            &[(X_FORWARDED_FOR, "203.0.113.7"), (FORWARDED, "for=203.0.113.7")],
            "203.0.113.7",
        );
    }

    #[test]
    fn nodes_of_rfc_7239_are_read() {
        assert_client("127.0.0.1", &[(FORWARDED, "for=192.0.2.60;proto=http;by=203.0.113.43")], "192.0.2.60");
        assert_client(
            "127.0.0.1",
            &[(FORWARDED, r#"proto=https;For="[2001:db8:cafe::17]:4711""#)],
            "2001:db8:cafe::17",
        );
        assert_client(
            "127.0.0.1",
            &[(FORWARDED, r#"for=1.1.1.1;by="a,b\",c", for="203.0.113.7:80""#)],
            "203.0.113.7",
        );
        assert_client("127.0.0.1", &[(FORWARDED, "for=203.0.113.7, for=unknown")], "127.0.0.1");
        assert_client("127.0.0.1", &[(FORWARDED, "for=_hidden")], "127.0.0.1");
        assert_client("127.0.0.1", &[(X_FORWARDED_FOR, "203.0.113.7:4711")], "203.0.113.7");
        assert_client("127.0.0.1", &[(X_FORWARDED_FOR, "::ffff:203.0.113.7")], "203.0.113.7");
    }
}
