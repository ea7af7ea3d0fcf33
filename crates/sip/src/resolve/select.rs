//! RFC 3263 §4: from a URI to an ordered list of transports, addresses and ports. Each step uses known answers, and stops at the first unknown one.

use std::net::{IpAddr, SocketAddr};

use base::Rng;

use super::{Candidate, Question, Record, Records};
use crate::{Scheme, Transport, Uri, limits};

/// The parts of a URI that determine its destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Destination {
    host: String,
    port: Option<u16>,
    transport: Option<Transport>,
    secure: bool,
}

type AnswerLookup<'a> = dyn FnMut(Question) -> Result<Records, Question> + 'a;

impl Destination {
    /// `None` for a URI without host, or with an unknown transport.
    pub(super) fn of(uri: &Uri) -> Option<Destination> {
        let secure = match uri.scheme() {
            Scheme::Sip => false,
            Scheme::Sips => true,
            Scheme::Tel | Scheme::Other(_) => return None,
        };
        let host = uri.param("maddr").filter(|host| !host.is_empty()).unwrap_or(uri.host());
        let transport = match uri.param("transport").map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("udp") if !secure => Some(Transport::Udp),
            Some("tcp") => Some(if secure { Transport::Tls } else { Transport::Tcp }),
            Some("tls") => Some(Transport::Tls),
            Some("ws") => Some(if secure { Transport::Wss } else { Transport::Ws }),
            Some("wss") => Some(Transport::Wss),
            Some(_) => return None,
        };
        let host = host.trim_matches(|c| matches!(c, '[' | ']')).trim_end_matches('.').to_ascii_lowercase();
        (!host.is_empty()).then_some(Destination { host, port: uri.port(), transport, secure })
    }
}

fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Udp | Transport::Tcp => 5060,
        Transport::Tls => 5061,
        Transport::Ws => 80,
        Transport::Wss => 443,
    }
}

/// The SRV name of a transport at a domain (RFC 3263 §4.1, RFC 7118 §4).
fn service(transport: Transport, domain: &str) -> String {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._wss",
    };
    format!("{prefix}.{domain}")
}

/// The transport of a NAPTR service.
fn transport_of(service: &str) -> Option<Transport> {
    let known = [("SIP+D2U", Transport::Udp), ("SIP+D2T", Transport::Tcp), ("SIPS+D2T", Transport::Tls)];
    known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(service)).map(|(_, transport)| transport)
}

/// The candidates, or the question that must be answered first.
pub(super) fn candidates(
    destination: &Destination,
    transports: &[Transport],
    known_answer: &mut AnswerLookup<'_>,
    rng: &mut Rng,
) -> Result<Vec<Candidate>, Question> {
    let usable = |transport: Transport| {
        transports.contains(&transport)
            && (!destination.secure || matches!(transport, Transport::Tls | Transport::Wss))
    };
    let default_transport =
        destination.transport.unwrap_or(if destination.secure { Transport::Tls } else { Transport::Udp });
    if destination.transport.is_some_and(|transport| !usable(transport)) {
        return Ok(Vec::new());
    }
    // With an IP address or a port there is nothing to select (§4.1, §4.2).
    if let Ok(ip) = destination.host.parse::<IpAddr>() {
        let address = SocketAddr::new(ip, destination.port.unwrap_or(default_port(default_transport)));
        return Ok(if usable(default_transport) {
            vec![Candidate { transport: default_transport, address }]
        } else {
            Vec::new()
        });
    }
    if let Some(port) = destination.port {
        return if usable(default_transport) {
            addresses(&destination.host, default_transport, port, known_answer)
        } else {
            Ok(Vec::new())
        };
    }
    let mut found = Vec::new();
    let mut has_srv = false;
    for (transport, name) in services(destination, transports, &usable, known_answer)? {
        let records = known_answer(Question::Srv(name))?;
        has_srv |= !records.is_empty();
        for (target, port) in in_srv_order(&records, rng) {
            if found.len() < limits::CANDIDATES {
                found.extend(addresses(&target, transport, port, known_answer)?);
            }
        }
    }
    // No SRV records at all: the host itself, at the default port (§4.2).
    if !has_srv && usable(default_transport) {
        found =
            addresses(&destination.host, default_transport, default_port(default_transport), known_answer)?;
    }
    found.truncate(limits::CANDIDATES);
    Ok(found)
}

/// The SRV names to query, in order: that of the URI's transport, those of the NAPTR records, or those of all transports.
fn services(
    destination: &Destination,
    transports: &[Transport],
    usable: &dyn Fn(Transport) -> bool,
    known_answer: &mut AnswerLookup<'_>,
) -> Result<Vec<(Transport, String)>, Question> {
    if let Some(transport) = destination.transport {
        return Ok(vec![(transport, service(transport, &destination.host))]);
    }
    let records = known_answer(Question::Naptr(destination.host.clone()))?;
    let mut named: Vec<(u16, u16, Transport, String)> = records
        .iter()
        .filter_map(|record| match record {
            Record::Naptr { order, preference, flags, service, replacement } => {
                let transport = transport_of(service).filter(|transport| usable(*transport))?;
                let name = replacement.trim_end_matches('.').to_ascii_lowercase();
                flags.eq_ignore_ascii_case("s").then_some((*order, *preference, transport, name))
            }
            Record::Srv { .. } | Record::Address(_) => None,
        })
        .collect();
    named.sort_by_key(|(order, preference, ..)| (*order, *preference));
    if !named.is_empty() {
        return Ok(named.into_iter().map(|(_, _, transport, name)| (transport, name)).collect());
    }
    let all = transports.iter().copied().filter(|transport| usable(*transport));
    Ok(all.map(|transport| (transport, service(transport, &destination.host))).collect())
}

/// SRV records in the order to try them: by priority, weighted random within one (RFC 2782).
fn in_srv_order(records: &[Record], rng: &mut Rng) -> Vec<(String, u16)> {
    let mut remaining: Vec<(u16, u16, u16, &str)> = records
        .iter()
        .filter_map(|record| match record {
            Record::Srv { priority, weight, port, target } if !target.trim_end_matches('.').is_empty() => {
                Some((*priority, *weight, *port, target.as_str()))
            }
            Record::Srv { .. } | Record::Naptr { .. } | Record::Address(_) => None,
        })
        .collect();
    // Weight 0 first within a priority, which gives it a small chance.
    remaining.sort_by_key(|(priority, weight, ..)| (*priority, *weight));
    remaining.truncate(limits::CANDIDATES);
    let mut ordered = Vec::with_capacity(remaining.len());
    while let Some((priority, ..)) = remaining.first().copied() {
        let group = remaining.iter().take_while(|(same, ..)| *same == priority);
        let total: u64 = group.clone().map(|(_, weight, ..)| u64::from(*weight)).sum();
        let drawn = rng.below(total + 1);
        let mut sum = 0;
        let at = group
            .map(|(_, weight, ..)| {
                sum += u64::from(*weight);
                sum
            })
            .position(|sum| sum >= drawn);
        let (_, _, port, target) = remaining.remove(at.unwrap_or(0));
        ordered.push((target.trim_end_matches('.').to_ascii_lowercase(), port));
    }
    ordered
}

fn addresses(
    host: &str,
    transport: Transport,
    port: u16,
    known_answer: &mut AnswerLookup<'_>,
) -> Result<Vec<Candidate>, Question> {
    let candidate = |ip: IpAddr| Candidate { transport, address: SocketAddr::new(ip, port) };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![candidate(ip)]);
    }
    let records = known_answer(Question::Address(host.to_owned()))?;
    let ips = records.iter().filter_map(|record| match record {
        Record::Address(ip) => Some(*ip),
        Record::Srv { .. } | Record::Naptr { .. } => None,
    });
    Ok(ips.map(candidate).collect())
}
