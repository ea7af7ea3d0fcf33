//! Requests outside sessions: who may ask what, and how a refusal says why.

use crate::core::{Core, Cx};
use std::borrow::Cow;
use std::sync::Arc;

use base::Now;
use model::{Cause, Credential, Language};
use sip::{HeaderName, Headers, Incoming, Method, Reply, SessionId};

use crate::Output;
use crate::auth::{Verdict, canonical};
use crate::switch::Switch;

/// A refusal that says why: a bare 403 is the commonest complaint of the field.
#[derive(Clone, Debug)]
pub(crate) struct Rejection {
    status: u16,
    cause: Option<Cause>,
    why: Option<Cow<'static, str>>,
}

impl Rejection {
    pub(crate) fn status(status: u16) -> Self {
        Rejection { status, cause: None, why: None }
    }

    pub(crate) fn cause(cause: Cause) -> Self {
        Rejection { status: cause.sip_status(), cause: Some(cause), why: None }
    }

    pub(crate) fn with_status(self, status: u16) -> Self {
        Rejection { status, ..self }
    }

    pub(crate) fn why(self, why: impl Into<Cow<'static, str>>) -> Self {
        Rejection { why: Some(why.into()), ..self }
    }
}

/// The Reason line (RFC 3326) of a cause.
pub(crate) fn reason_line(cause: Cause, lines: &mut Headers) {
    let text = cause.sentence(Language::English);
    lines.add("Reason", format_args!("Q.850;cause={};text=\"{text}\"", cause.q850()));
}

const METHODS: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, INFO, SUBSCRIBE";

impl Switch {
    pub(crate) fn request(&mut self, now: Now, request: Incoming, out: &mut Vec<Output>) {
        match request.message.method() {
            Method::Register => self.register(now, &request, out),
            Method::Invite => self.invite(now, request, out),
            Method::Options => self.core.options(now, &request),
            Method::Ack | Method::Cancel => {}
            // Everything else proves who it is before it learns that we do not do it (security.md row 14).
            Method::Bye | Method::Prack | Method::Update | Method::Info | Method::Notify => {
                let refusal = Rejection::status(481).why("there is no such call");
                self.core.refuse_authenticated(now, &request, &refusal);
            }
            Method::Subscribe => self.mwi.subscribe(&mut Cx::new(now, &mut self.core, out), &request),
            Method::Publish => {
                self.core.refuse_authenticated(
                    now,
                    &request,
                    &Rejection::status(489).why("no such event package"),
                );
            }
            Method::Message => {
                let refusal = Rejection::status(405).why("text messages are not delivered here");
                self.core.refuse_authenticated(now, &request, &refusal);
            }
            Method::Refer => {
                let refusal = Rejection::status(405).why("calls are not transferred by REFER here");
                self.core.refuse_authenticated(now, &request, &refusal);
            }
            Method::Other(_) => {
                let refusal = Rejection::status(501).why("this method is not known here");
                self.core.refuse_authenticated(now, &request, &refusal);
            }
        }
    }

    /// A request within a call from another host than its phone: whoever proves to be that phone's owner is the phone, moved; all others
    /// have read the tags somewhere.
    pub(crate) fn on_source_changed(&mut self, now: Now, session: SessionId, request: Incoming) {
        // A carrier is known by its addresses, and has several.
        match self.is_from_trunk(session, &request.hop) {
            Some(true) => {
                self.core.endpoint.accept_source(now, session, request, &mut self.core.sip_out);
                return;
            }
            Some(false) => {
                self.core.endpoint.respond_stateless(now, &request, Reply::new(403), &mut self.core.sip_out);
                return;
            }
            None => {}
        }
        let Some(credential) = self.core.authenticate(now, &request) else { return };
        let party = self.core.leg_of(session).and_then(|(key, index)| {
            self.core.directory.credential(&self.calls.get(key)?.leg(index)?.record.party)
        });
        let aor = canonical(&self.core.directory, &credential);
        if party.is_some_and(|party| canonical(&self.core.directory, party) == aor) {
            self.core.endpoint.accept_source(now, session, request, &mut self.core.sip_out);
        } else {
            let refusal = Rejection::status(403).why("the call is not that of the authenticated user");
            self.core.reject(now, &request, &refusal);
        }
    }

    /// Max-Forwards of a request that we pass on, less one.
    pub(crate) fn hops_left(request: &Incoming) -> u8 {
        match request.message.number(HeaderName::MaxForwards) {
            Some(Ok(hops)) => hops.saturating_sub(1).min(70) as u8,
            _ => 69,
        }
    }
}

impl Core {
    fn options(&mut self, now: Now, request: &Incoming) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        lines
            .add("Allow", METHODS)
            .add("Accept", "application/sdp")
            .add("Allow-Events", crate::mwi::PACKAGE)
            .add("Supported", "100rel, timer, path");
        self.endpoint.respond_stateless(now, request, Reply::new(200).lines(&lines), &mut self.sip_out);
        self.lines = lines;
    }

    fn refuse_authenticated(&mut self, now: Now, request: &Incoming, refusal: &Rejection) {
        if self.authenticate(now, request).is_some() {
            self.reject(now, request, refusal);
        }
    }

    /// The credential that a request proves to have. Where there is none the challenge is on its way, or silence was chosen.
    pub(crate) fn authenticate(&mut self, now: Now, request: &Incoming) -> Option<Arc<Credential>> {
        let verdict = self.auth.judge(now, request, &self.directory, &self.location, &self.config);
        match verdict {
            Verdict::Known(credential) => Some(credential),
            Verdict::Drop => None,
            Verdict::Challenge { stale } => {
                self.counters.challenges += 1;
                let mut lines = std::mem::take(&mut self.lines);
                lines.clear();
                self.auth.challenge(now, stale, &mut lines);
                self.endpoint.respond_stateless(
                    now,
                    request,
                    Reply::new(401).lines(&lines),
                    &mut self.sip_out,
                );
                self.lines = lines;
                None
            }
        }
    }

    /// Refuse, and say the same to a retransmission: its nonce is spent.
    pub(crate) fn reject(&mut self, now: Now, request: &Incoming, refusal: &Rejection) {
        let lines = self.refusal_lines(refusal);
        self.endpoint.respond_cached(
            now,
            request,
            Reply::new(refusal.status).lines(&lines),
            &mut self.sip_out,
        );
        self.lines = lines;
    }

    fn refusal_lines(&mut self, refusal: &Rejection) -> Headers {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        match (&refusal.why, refusal.cause) {
            (Some(why), _) => {
                lines.add("Reason", format_args!("SIP;cause={};text=\"{why}\"", refusal.status));
            }
            (None, Some(cause)) => reason_line(cause, &mut lines),
            (None, None) => {}
        }
        match refusal.status {
            405 | 501 => lines.add("Allow", METHODS),
            489 => lines.add("Allow-Events", crate::mwi::PACKAGE),
            423 => lines.add("Min-Expires", self.config.min_expires.as_secs()),
            503 => lines.add("Retry-After", 10),
            _ => &mut lines,
        };
        lines
    }

    /// Whether a host is a name or an address of ours (S41).
    pub(crate) fn is_ours(&self, host: &str, request: &Incoming) -> bool {
        self.config.is_ours(host, &request.hop)
    }
}
