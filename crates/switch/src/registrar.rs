//! REGISTER (RFC 3261 §10.3): multiple contacts, q, expires with 423, wildcard removal, Path (RFC 3327), fetch. A request is applied as a whole.

use std::net::IpAddr;
use std::sync::Arc;

use base::Now;
use model::Credential;
use model::journal::Record;
use sip::{Contacts, HeaderName, Incoming, NameAddr, Reply, Scheme, Uri};

use crate::auth::canonical;
use crate::core::Core;
use crate::location::{Contact, Instance};
use crate::out_of_dialog::Rejection;
use crate::{JournalRoom, limits};

/// A parsed REGISTER, before any binding is changed.
pub(crate) enum RegisterRequest {
    Fetch,
    RemoveAll,
    Change(Vec<(Contact, u32)>),
}

/// A copy that does not keep the buffer of the whole message alive.
fn owned(uri: &Uri) -> Option<Uri> {
    Uri::parse(bytes::Bytes::copy_from_slice(uri.as_bytes())).ok()
}

/// Whether a contact is a SIP URI of a single host: calls must not be sent to a broadcast or multicast address.
fn is_unicast(uri: &Uri) -> bool {
    if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips) || uri.host().is_empty() {
        return false;
    }
    // `maddr` overrides the host as destination, so it is checked too.
    [Some(uri.host()), uri.param("maddr")].into_iter().flatten().all(|host| match host.parse::<IpAddr>() {
        Ok(ip) => match ip.to_canonical() {
            // 0.0.0.0/8 is "this network"; 240.0.0.0/4 is reserved (RFC 6890) and includes the broadcast address.
            IpAddr::V4(v4) => !v4.is_multicast() && !matches!(v4.octets(), [0 | 240.., ..]),
            IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unspecified(),
        },
        Err(_) => true,
    })
}

impl Core {
    /// The credential that a REGISTER authenticates and the address of record it may change; `None` if it was challenged, dropped or refused.
    pub(crate) fn admit_register(
        &mut self,
        now: Now,
        request: &Incoming,
    ) -> Option<(Arc<Credential>, Arc<str>)> {
        let credential = self.authenticate(now, request)?;
        if !self.is_ours(request.message.uri().map_or("", Uri::host), request) {
            let refusal = Rejection::status(404).why("this domain is not served here");
            self.reject(now, request, &refusal);
            return None;
        }
        let aor = canonical(&self.directory, &credential);
        let to = request.message.to();
        let owned = to.uri.user().is_some_and(|user| {
            let other = || self.directory.credential(&user);
            *user == *credential.username || other().is_some_and(|c| canonical(&self.directory, c) == aor)
        });
        if !owned || !self.is_ours(to.uri.host(), request) {
            let why = "the address of record is not that of the authenticated user";
            self.reject(now, request, &Rejection::status(403).why(why));
            return None;
        }
        if !self.directory.is_allowed(&credential) {
            let refusal = Rejection::cause(model::Cause::Inactive).with_status(403);
            self.reject(now, request, &refusal);
            return None; // S70
        }
        Some((credential, aor))
    }

    /// Change the bindings of an address of record. Returns the journal records of the change.
    pub(crate) fn apply(
        &mut self,
        now: Now,
        request: &Incoming,
        aor: &Arc<str>,
        wish: RegisterRequest,
    ) -> Result<Vec<Record>, Rejection> {
        let changes = match wish {
            RegisterRequest::Fetch => return Ok(Vec::new()),
            RegisterRequest::RemoveAll => {
                let all = self.location.contacts(aor).iter().cloned();
                all.map(|c| {
                    (
                        Contact {
                            cseq: request.message.cseq().number,
                            call_id: request.message.call_id().into(),
                            ..c
                        },
                        0,
                    )
                })
                .collect()
            }
            RegisterRequest::Change(changes) => changes,
        };
        if self.journal == JournalRoom::Spent && changes.iter().any(|(_, granted)| *granted > 0) {
            // A binding answered with 200 must survive a crash, and this one could not be written.
            return Err(Rejection::status(503).why("the disk is full"));
        }
        let live = || self.location.contacts(aor).iter().filter(|c| now.instant < c.expires);
        // A refresh replaces its contact, so only the others are copied.
        let mut contacts = Vec::with_capacity(live().count().max(changes.len()));
        contacts.extend(live().filter(|c| !changes.iter().any(|(new, _)| c.is_same(new))).cloned());
        let mut records = Vec::with_capacity(changes.len());
        for (mut contact, granted) in changes {
            let earlier = contacts.iter().position(|c: &Contact| c.is_same(&contact));
            let old = earlier
                .and_then(|place| contacts.get(place))
                .or_else(|| live().find(|c| c.is_same(&contact)));
            if let Some(old) = old {
                if old.call_id == contact.call_id && contact.cseq <= old.cseq {
                    return Err(
                        Rejection::status(500).why("CSeq is not higher than that of the registration before")
                    );
                }
                contact.created_at = old.created_at;
                if old.uri.as_bytes() == contact.uri.as_bytes() {
                    contact.mwi = old.mwi;
                }
                if granted > 0 && old.uri.as_bytes() != contact.uri.as_bytes() {
                    records.push(Record::Unbound {
                        username: Arc::clone(aor),
                        contact: old.uri.to_string(),
                        at: now.wall,
                    });
                }
            }
            if let Some(place) = earlier {
                contacts.remove(place);
            }
            if granted > 0 {
                records.push(Record::Bound(contact.record(aor, &self.config, now)));
                contacts.push(contact);
            } else {
                let contact = contact.uri.to_string();
                records.push(Record::Unbound { username: Arc::clone(aor), contact, at: now.wall });
            }
        }
        if contacts.len() > limits::BINDINGS_PER_AOR {
            return Err(Rejection::status(403).why("too many contacts of one address of record"));
        }
        if !self.location.has_room() && contacts.len() > self.location.contacts(aor).len() {
            return Err(Rejection::cause(model::Cause::Overload));
        }
        self.location.replace(aor, contacts);
        Ok(records)
    }

    pub(crate) fn wish(&self, now: Now, request: &Incoming) -> Result<RegisterRequest, Rejection> {
        let bad = |_| Rejection::status(400).why("malformed Contact");
        let expires = request.message.number(HeaderName::Expires);
        match request.message.contacts().map_err(bad)? {
            Contacts::None => Ok(RegisterRequest::Fetch),
            Contacts::Star if matches!(expires, Some(Ok(0))) => Ok(RegisterRequest::RemoveAll),
            Contacts::Star => Err(Rejection::status(400).why("Contact * needs Expires 0")),
            Contacts::List(list) if list.len() > limits::BINDINGS_PER_AOR => {
                Err(Rejection::status(403).why("too many contacts"))
            }
            Contacts::List(list) => {
                let path = match request.message.addresses(HeaderName::Path) {
                    Some(path) => path.into_iter().map(|p| owned(&p.uri)).collect::<Option<Box<[Uri]>>>(),
                    None => None,
                };
                let path = path.ok_or(Rejection::status(400).why("malformed Path"))?;
                if path.len() > limits::PATHS {
                    return Err(Rejection::status(403).why("too many proxies in Path"));
                }
                let expires = expires.and_then(Result::ok);
                let contact = |address: &NameAddr| self.contact(now, request, address, expires, &path);
                Ok(RegisterRequest::Change(list.iter().map(contact).collect::<Result<_, _>>()?))
            }
        }
    }

    fn contact(
        &self,
        now: Now,
        request: &Incoming,
        address: &NameAddr,
        expires: Option<u32>,
        path: &[Uri],
    ) -> Result<(Contact, u32), Rejection> {
        if !is_unicast(&address.uri) || self.is_listener(&address.uri, request) {
            return Err(
                Rejection::status(400).why("Contact must be a sip or sips URI of one host, and not ours")
            );
        }
        if address.uri.as_str().len() > limits::CONTACT_BYTES {
            return Err(Rejection::status(400).why("Contact is too long"));
        }
        let asked = match address.param("expires") {
            Some(text) => text.parse().ok(), // a malformed value counts as absent (RFC 3261 §10.2.1.1)
            None => expires,
        };
        let asked = asked.unwrap_or(self.config.default_expires.as_secs() as u32);
        let granted = match asked {
            0 => 0,
            short if u64::from(short) < self.config.min_expires.as_secs() => {
                return Err(Rejection::status(423));
            }
            long => long.min(self.config.max_expires.as_secs() as u32),
        };
        let agent = request.message.header(HeaderName::UserAgent).unwrap_or_default();
        let contact = Contact {
            uri: owned(&address.uri).ok_or(Rejection::status(400).why("malformed Contact"))?,
            path: path.into(),
            call_id: request.message.call_id().into(),
            cseq: request.message.cseq().number,
            q: address
                .param("q")
                .and_then(|q| q.parse::<f32>().ok())
                .map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16),
            instance: address
                .param("+sip.instance")
                .map(|urn| Instance { urn: urn.into(), reg_id: address.param("reg-id").map(Box::from) }),
            expires: now.instant + std::time::Duration::from_secs(u64::from(granted)),
            created_at: now.wall,
            user_agent: agent
                .char_indices()
                .nth(128)
                .map_or(agent, |(end, _)| agent.get(..end).unwrap_or_default())
                .into(),
            hop: request.hop,
            mwi: 0,
        };
        Ok((contact, granted))
    }

    /// Whether a contact is one of our own listeners: a call to it would loop back.
    fn is_listener(&self, uri: &Uri, request: &Incoming) -> bool {
        let port = uri.port().unwrap_or(if uri.scheme() == Scheme::Sips { 5061 } else { 5060 });
        self.is_ours(uri.host(), request) && self.config.listeners.iter().any(|l| l.address.port() == port)
    }

    pub(crate) fn confirm(&mut self, now: Now, request: &Incoming, aor: &Arc<str>) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        for contact in self.location.contacts(aor) {
            let left = contact.remaining(now.instant);
            match contact.q {
                1000 => lines.add("Contact", format_args!("<{}>;expires={left}", contact.uri)),
                q => lines.add(
                    "Contact",
                    format_args!("<{}>;expires={left};q={:.3}", contact.uri, f32::from(q) / 1000.0),
                ),
            };
        }
        for path in request.message.header_lines(HeaderName::Path) {
            lines.add("Path", String::from_utf8_lossy(path));
        }
        self.endpoint.respond_cached(now, request, Reply::new(200).lines(&lines), &mut self.sip_out);
        self.lines = lines;
    }
}
