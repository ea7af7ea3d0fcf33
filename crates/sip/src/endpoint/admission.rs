//! Checks on out-of-dialog requests before the user of the endpoint sees them (RFC 3261 §8.2).

use super::Core;
use crate::{HeaderName, Headers, Message, Method, Scheme, body};

/// The response to a request that fails a check.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) status: u16,
    pub(super) phrase: Option<&'static str>,
    pub(super) lines: Headers,
}

impl Rejection {
    fn new(status: u16) -> Rejection {
        Rejection { status, phrase: None, lines: Headers::new() }
    }

    fn with(mut self, name: &str, value: impl std::fmt::Display) -> Rejection {
        self.lines.add(name, value);
        self
    }
}

/// Whether `option` is an extension that a request may list in Require.
fn is_supported(option: &str, method: &Method) -> bool {
    let known: &[&str] = if *method == Method::Register { &["path"] } else { &["100rel", "timer"] };
    known.iter().any(|name| name.eq_ignore_ascii_case(option))
}

/// The option tags in Require and Proxy-Require that we do not support, as a value for `Unsupported`; empty if there are none (§8.2.2.3).
pub(super) fn unsupported(request: &Message) -> String {
    let required = request.tokens(HeaderName::Require).chain(request.tokens(HeaderName::ProxyRequire));
    let unknown: Vec<&str> = required.filter(|option| !is_supported(option, request.method())).collect();
    unknown.join(", ")
}

/// Whether the body has a Content-Encoding that we cannot decode (§8.2.3).
fn has_content_encoding(request: &Message) -> bool {
    !request.body().is_empty()
        && request.tokens(HeaderName::ContentEncoding).any(|coding| !coding.eq_ignore_ascii_case("identity"))
}

/// Check an out-of-dialog request in the order of §8.2. A method that is not in [`super::Config::allow`] passes: authentication comes first (§8.2), so the
/// user of the endpoint challenges the sender and rejects the method afterwards.
pub(super) fn admit(core: &Core, request: &Message) -> Result<(), Rejection> {
    let method = request.method();
    if !core.config.allow.split(',').any(|known| known.trim() == method.as_str()) {
        return Ok(());
    }
    if matches!(method, Method::Bye | Method::Prack | Method::Update | Method::Info) {
        return Err(Rejection::new(481));
    }
    if request.uri().is_some_and(|uri| matches!(uri.scheme(), Scheme::Other(_))) {
        return Err(Rejection::new(416));
    }
    let invite = *method == Method::Invite;
    if invite && core.transactions.is_merged(core.keys.merged(request)) {
        return Err(Rejection::new(482));
    }
    if request
        .header_lines(HeaderName::Require)
        .chain(request.header_lines(HeaderName::ProxyRequire))
        .next()
        .is_some()
    {
        let unknown = unsupported(request);
        if !unknown.is_empty() {
            return Err(Rejection::new(420).with("Unsupported", unknown));
        }
    }
    match request.number(HeaderName::MaxForwards) {
        Some(Ok(0)) if !matches!(method, Method::Options | Method::Register) => {
            return Err(Rejection::new(483));
        }
        Some(Err(())) => {
            return Err(Rejection { phrase: Some("Bad Max-Forwards"), ..Rejection::new(400) });
        }
        Some(Ok(_)) | None => {}
    }
    if has_content_encoding(request) {
        return Err(Rejection::new(415).with("Accept-Encoding", "identity"));
    }
    if invite {
        if request.contacts().is_err() {
            return Err(Rejection { phrase: Some("Bad Contact"), ..Rejection::new(400) });
        }
        if request.sdp().is_err() {
            return Err(Rejection::new(415).with("Accept", body::ACCEPT));
        }
    }
    Ok(())
}
