//! HTTP client of webhooks: one attempt signs, posts, and checks the response.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use base::{Secret, Timestamp};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::redirect::Policy;
use reqwest::{Client, header};
use sha2::Sha256;
use store::Due;
use tokio::sync::OnceCell;

use super::address::{AddressPolicy, PolicyResolver, Refused};

/// Timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of connecting, including TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Bytes of a response that are read and discarded: a connection that was read to its end can be reused.
const DISCARD_BYTES: usize = 64 * 1024;

/// Client of all webhooks.
#[derive(Clone, Debug)]
pub struct WebhookClient {
    /// Created for the first delivery: it reads the system's certificates, hundreds of files that would delay the start.
    client: OnceCell<Client>,
    policy: AddressPolicy,
}

/// Result of an attempt: the HTTP status if there was a response, and the error.
pub type AttemptResult = (Option<u16>, Result<(), String>);

impl WebhookClient {
    /// A client with the given address policy.
    pub fn new(policy: AddressPolicy) -> WebhookClient {
        WebhookClient { client: OnceCell::new(), policy }
    }

    /// Deliver once.
    pub async fn attempt(&self, due: &Due, secrets: &[Secret<String>], now: Timestamp) -> AttemptResult {
        let url = match self.policy.check(&due.webhook.url) {
            Ok(url) => url,
            Err(refused) => return (None, Err(refused.to_string())),
        };
        let body = due.delivery.body.clone();
        let client = match self.client.get_or_try_init(|| async { client(self.policy) }).await {
            Ok(client) => client,
            Err(error) => return (None, Err(error_text(&error))),
        };
        let request = client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("centralita-delivery", due.delivery.id.as_str())
            .header("centralita-event", due.delivery.kind.as_str())
            .header("centralita-signature", signature(secrets, now, body.as_bytes()))
            .body(body);
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return (None, Err(error_text(&error))),
        };
        let status = response.status();
        let mut left = DISCARD_BYTES;
        while let Ok(Some(chunk)) = response.chunk().await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        let outcome = if status.is_success() { Ok(()) } else { Err(format!("answered {}", status.as_u16())) };
        (Some(status.as_u16()), outcome)
    }
}

fn client(policy: AddressPolicy) -> reqwest::Result<Client> {
    Client::builder()
        .dns_resolver(std::sync::Arc::new(PolicyResolver(policy)))
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("Centralita/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// `t=1736937000,v1=…`: HMAC-SHA256 over the time, a dot, and the body, so that an old message cannot be replayed as a new one. There is one
/// `v1` per secret; the oldest secret's is last, where receivers that expect a single one find it.
pub fn signature(secrets: &[Secret<String>], at: Timestamp, body: &[u8]) -> String {
    let seconds = at.as_secs().to_string();
    let mut text = format!("t={seconds}");
    for secret in secrets {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else { continue };
        mac.update(seconds.as_bytes());
        mac.update(b".");
        mac.update(body);
        text.push_str(",v1=");
        text.extend(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")));
    }
    text
}

/// Error text for the operator without the URL, which may contain a token: whether DNS, the connection or TLS failed.
fn error_text(error: &reqwest::Error) -> String {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return refused.to_string();
        }
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return format!("TLS: {}", tls_error(tls));
        }
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            if let Some(tls) = tls_within(io) {
                return format!("TLS: {}", tls_error(tls));
            }
            if error.is_connect() && io.get_ref().is_none() {
                return format!("connection: {}", connection_error(io.kind()));
            }
        }
        source = inner.source();
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => "connection: no answer within 4 s".into(),
        (true, false) => "connection: closed before the request was sent".into(),
        (false, true) => "no answer within 5 s".into(),
        (false, false) => "the connection was closed before the response was complete".into(),
    }
}

/// A rustls error inside an I/O error, which `source` does not return.
fn tls_within(io: &io::Error) -> Option<&rustls::Error> {
    let inner = io.get_ref()?;
    inner.downcast_ref().or_else(|| tls_within(inner.downcast_ref()?))
}

fn connection_error(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => "refused: no program listens on that port",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "no route to that address",
        io::ErrorKind::TimedOut => "no answer",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof => {
            "closed while it was being opened"
        }
        _ => "it could not be opened",
    }
}

/// The text of rustls; for a certificate of another name a short one, because its list of names can be long.
fn tls_error(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForNameContext { .. }) => {
            "the certificate is for another name".into()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_the_how_to_says() {
        // printf '1736937000.{"id":1}' | openssl dgst -sha256 -hmac whsec_test
        let at = Timestamp::from_micros(1_736_937_000_000_000);
        let [new, old] = ["whsec_new", "whsec_test"].map(|text| Secret::new(text.to_owned()));
        let signed = signature(std::slice::from_ref(&old), at, br#"{"id":1}"#);
        assert_eq!(
            signed,
            "t=1736937000,v1=1871cec4b4036e8db69c20dbeaa173d8fd68e0e865f78f0547cde170cf0cb5a0"
        );
        let alone = signature(std::slice::from_ref(&new), at, br#"{"id":1}"#);
        let both = signature(&[new, old], at, br#"{"id":1}"#);
        assert_eq!(both, format!("{alone},{}", signed.trim_start_matches("t=1736937000,")));
    }
}
