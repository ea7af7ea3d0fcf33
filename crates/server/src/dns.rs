//! DNS resolver: sends each question of the switch once and returns the result. Retries and caching are done in the switch.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, Record as Row, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use sip::resolve::{Answer, Question, Record};

use crate::supervisor::Supervisor;
use crate::switch_thread::{SwitchHandle, SwitchMsg};

/// Timeout of one question.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Negative TTL of a name whose zone gives none (no SOA).
const NEGATIVE_TTL: Duration = Duration::from_secs(30);

/// Handle of the resolver.
#[derive(Clone)]
pub struct Dns {
    resolver: Option<Arc<TokioResolver>>,
    switch_handle: SwitchHandle,
}

impl Dns {
    /// A resolver for these servers, or for those of the system if empty. Must be called inside a tokio runtime.
    pub fn new(servers: &[SocketAddr], switch_handle: SwitchHandle) -> Dns {
        let built = if servers.is_empty() {
            Resolver::builder_tokio()
        } else {
            Ok(Resolver::builder_with_config(resolver_config(servers), TokioRuntimeProvider::default()))
        };
        let resolver = built.and_then(|mut builder| {
            set_options(builder.options_mut());
            builder.build()
        });
        match resolver {
            Ok(resolver) => Dns { resolver: Some(Arc::new(resolver)), switch_handle },
            Err(error) => {
                tracing::warn!(%error, "DNS is not available: trunks are reached by IP address only");
                Dns { resolver: None, switch_handle }
            }
        }
    }

    /// Send a question; the answer arrives as [`SwitchMsg::Resolved`].
    pub(crate) fn ask(
        &self,
        runtime: &tokio::runtime::Handle,
        supervisor: &Supervisor,
        token: u64,
        question: Question,
    ) {
        let (resolver, switch_handle, supervisor) =
            (self.resolver.clone(), self.switch_handle.clone(), supervisor.clone());
        runtime.spawn(async move {
            let answer = match resolver {
                Some(resolver) => {
                    let queried = tokio::time::timeout(TIMEOUT, query(&resolver, &question));
                    // The switch waits for an answer, so a panic must produce one too.
                    let queried = supervisor.run_once("dns", queried).await;
                    queried.and_then(Result::ok).unwrap_or(Answer::Failed)
                }
                None => Answer::Failed,
            };
            tracing::debug!(?question, ?answer, "DNS");
            switch_handle.send(SwitchMsg::Resolved { token, answer });
        });
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

fn resolver_config(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let mut protocols = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        protocols.iter_mut().for_each(|protocol| protocol.port = address.port());
        NameServerConfig::new(address.ip(), true, protocols)
    };
    ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect())
}

/// One attempt and no cache: the switch does both.
fn set_options(options: &mut ResolverOpts) {
    (options.attempts, options.cache_size, options.timeout) = (1, 0, TIMEOUT);
}

async fn query(resolver: &TokioResolver, question: &Question) -> Answer {
    match question {
        Question::Naptr(name) => lookup(resolver, name, RecordType::NAPTR).await,
        Question::Srv(name) => lookup(resolver, name, RecordType::SRV).await,
        Question::Address(name) => {
            let (v4, v6) =
                tokio::join!(lookup(resolver, name, RecordType::A), lookup(resolver, name, RecordType::AAAA));
            merge(v4, v6)
        }
    }
}

/// Merge A and AAAA answers; a failure of one family does not hide the other.
fn merge(v4: Answer, v6: Answer) -> Answer {
    match (v4, v6) {
        (Answer::Found { mut records, ttl }, Answer::Found { records: more, ttl: other }) => {
            records.extend(more);
            Answer::Found { records, ttl: ttl.min(other) }
        }
        (found @ Answer::Found { .. }, _) | (_, found @ Answer::Found { .. }) => found,
        (Answer::Nothing { ttl }, Answer::Nothing { ttl: other }) => Answer::Nothing { ttl: ttl.min(other) },
        (Answer::Failed, _) | (_, Answer::Failed) => Answer::Failed,
    }
}

async fn lookup(resolver: &TokioResolver, name: &str, kind: RecordType) -> Answer {
    // The trailing dot makes the name absolute: no search list is applied.
    let Ok(name) = Name::from_ascii(format!("{name}.")) else {
        return Answer::Nothing { ttl: NEGATIVE_TTL };
    };
    match resolver.lookup(name, kind).await {
        Ok(found) => {
            let rows: Vec<&Row> = found.answers().iter().collect();
            let records: Vec<Record> = rows.iter().filter_map(|row| parse_record(&row.data)).collect();
            let least = rows.iter().map(|row| row.ttl).min().unwrap_or(0);
            let ttl = Duration::from_secs(u64::from(least));
            if records.is_empty() {
                Answer::Nothing { ttl: NEGATIVE_TTL }
            } else {
                Answer::Found { records, ttl }
            }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => {
            let ttl = nothing.negative_ttl.map_or(NEGATIVE_TTL, |ttl| Duration::from_secs(u64::from(ttl)));
            Answer::Nothing { ttl }
        }
        Err(error) => {
            tracing::debug!(%error, "DNS query failed");
            Answer::Failed
        }
    }
}

fn parse_record(data: &RData) -> Option<Record> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match data {
        RData::A(ip) => Some(Record::Address(ip.0.into())),
        RData::AAAA(ip) => Some(Record::Address(ip.0.into())),
        RData::SRV(srv) => Some(Record::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_ascii(),
        }),
        RData::NAPTR(naptr) => Some(Record::Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: text(&naptr.flags),
            service: text(&naptr.services),
            replacement: naptr.replacement.to_ascii(),
        }),
        _ => None,
    }
}
