//! The DNS: each question of the exchange is put once, and what came of it is told. Retries and caches are the exchange's.

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

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is believed of a name without records whose zone does not say for how long.
const NOTHING_TTL: Duration = Duration::from_secs(30);

/// The way to the DNS.
#[derive(Clone)]
pub struct Dns {
    resolver: Option<Arc<TokioResolver>>,
    switch_handle: SwitchHandle,
}

impl Dns {
    /// Ask these servers; those of the system where there are none. Call it inside a tokio runtime.
    pub fn new(servers: &[SocketAddr], switch_handle: SwitchHandle) -> Dns {
        let built = if servers.is_empty() {
            Resolver::builder_tokio()
        } else {
            Ok(Resolver::builder_with_config(configured(servers), TokioRuntimeProvider::default()))
        };
        let resolver = built.and_then(|mut builder| {
            limit(builder.options_mut());
            builder.build()
        });
        match resolver {
            Ok(resolver) => Dns { resolver: Some(Arc::new(resolver)), switch_handle },
            Err(error) => {
                tracing::warn!(%error, "no DNS: carriers are reached by their addresses only");
                Dns { resolver: None, switch_handle }
            }
        }
    }

    /// Put a question; the answer comes in by the door.
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
                    let asked = tokio::time::timeout(PATIENCE, put(&resolver, &question));
                    // The exchange waits for an answer, whatever becomes of the question.
                    let asked = supervisor.once("dns", asked).await;
                    asked.and_then(Result::ok).unwrap_or(Answer::Failed)
                }
                None => Answer::Failed,
            };
            tracing::debug!(?question, ?answer, "DNS");
            switch_handle.put(SwitchMsg::Resolved { token, answer });
        });
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

fn configured(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let mut ways = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        ways.iter_mut().for_each(|way| way.port = address.port());
        NameServerConfig::new(address.ip(), true, ways)
    };
    ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect())
}

/// One attempt and no cache: both are decided elsewhere.
fn limit(options: &mut ResolverOpts) {
    (options.attempts, options.cache_size, options.timeout) = (1, 0, PATIENCE);
}

async fn put(resolver: &TokioResolver, question: &Question) -> Answer {
    match question {
        Question::Naptr(name) => one(resolver, name, RecordType::NAPTR).await,
        Question::Srv(name) => one(resolver, name, RecordType::SRV).await,
        Question::Address(name) => {
            let (v4, v6) =
                tokio::join!(one(resolver, name, RecordType::A), one(resolver, name, RecordType::AAAA));
            both(v4, v6)
        }
    }
}

/// Addresses of both families; one that fails does not hide the other.
fn both(v4: Answer, v6: Answer) -> Answer {
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

async fn one(resolver: &TokioResolver, name: &str, kind: RecordType) -> Answer {
    // With the dot at its end a name is looked up as it stands, without the search list.
    let Ok(name) = Name::from_ascii(format!("{name}.")) else {
        return Answer::Nothing { ttl: NOTHING_TTL };
    };
    match resolver.lookup(name, kind).await {
        Ok(found) => {
            let rows: Vec<&Row> = found.answers().iter().collect();
            let records: Vec<Record> = rows.iter().filter_map(|row| read(&row.data)).collect();
            let least = rows.iter().map(|row| row.ttl).min().unwrap_or(0);
            let ttl = Duration::from_secs(u64::from(least));
            if records.is_empty() {
                Answer::Nothing { ttl: NOTHING_TTL }
            } else {
                Answer::Found { records, ttl }
            }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => {
            let ttl = nothing.negative_ttl.map_or(NOTHING_TTL, |ttl| Duration::from_secs(u64::from(ttl)));
            Answer::Nothing { ttl }
        }
        Err(error) => {
            tracing::debug!(%error, "a question to the DNS failed");
            Answer::Failed
        }
    }
}

fn read(data: &RData) -> Option<Record> {
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
