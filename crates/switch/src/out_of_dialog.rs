//! Requests outside sessions: authentication, OPTIONS, and refusals with a Reason header.

use std::borrow::Cow;
use std::sync::Arc;

use base::Now;
use model::{Cause, Credential, Language};
use sip::{Headers, Incoming, Reply};

use crate::auth::Verdict;
use crate::core::Core;

/// A refusal with a reason: operators complain most about a bare 403.
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

/// Add the Reason header (RFC 3326) of a cause.
pub(crate) fn reason_line(cause: Cause, lines: &mut Headers) {
    if cause == Cause::AnsweredElsewhere {
        // Phones understand this value as "no missed call" (RFC 3326).
        lines.add("Reason", "SIP;cause=200;text=\"Call completed elsewhere\"");
        return;
    }
    let text = cause.sentence(Language::English);
    lines.add("Reason", format_args!("Q.850;cause={};text=\"{text}\"", cause.q850()));
}

const METHODS: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, INFO, SUBSCRIBE";

impl Core {
    pub(crate) fn options(&mut self, now: Now, request: &Incoming) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        lines
            .add("Allow", METHODS)
            .add("Accept", "application/sdp, multipart/mixed")
            .add("Allow-Events", crate::mwi::PACKAGE)
            .add("Supported", "100rel, timer, path");
        self.endpoint.respond_stateless(now, request, Reply::new(200).lines(&lines), &mut self.sip_out);
        self.lines = lines;
    }

    pub(crate) fn refuse_authenticated(&mut self, now: Now, request: &Incoming, refusal: &Rejection) {
        if self.authenticate(now, request).is_some() {
            self.reject(now, request, refusal);
        }
    }

    /// The credential that a request authenticates; `None` if it was challenged (401 sent) or dropped.
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

    /// Refuse a request. The response is cached for retransmissions, because the nonce is already spent.
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

    /// Whether a host is one of our names or addresses (S41).
    pub(crate) fn is_ours(&self, host: &str, request: &Incoming) -> bool {
        self.config.is_ours(host, &request.hop)
    }
}
