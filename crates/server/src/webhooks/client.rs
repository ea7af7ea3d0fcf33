//! One attempt: sign, post, look at the answer.

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

use super::address::{AddressPolicy, Guarded, Refused};

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may take to stand, TLS and all.
const CONNECT_PATIENCE: Duration = Duration::from_secs(4);
/// How much of an answer is read: nobody looks at it, but a connection that was read to its end can be used again.
const ANSWER_BYTES: usize = 64 * 1024;

/// Posts messages.
#[derive(Clone, Debug)]
pub struct WebhookClient {
    /// Made for the first message: it reads the system's certificates, hundreds of files that a start need not wait for.
    client: OnceCell<Client>,
    reach: AddressPolicy,
}

/// What came of it: the status where there was an answer, and what was wrong.
pub type Answered = (Option<u16>, Result<(), String>);

impl WebhookClient {
    /// One for public addresses, or for this machine too.
    pub fn new(reach: AddressPolicy) -> WebhookClient {
        WebhookClient { client: OnceCell::new(), reach }
    }

    /// Attempt once.
    pub async fn attempt(&self, due: &Due, secrets: &[Secret<String>], now: Timestamp) -> Answered {
        let url = match self.reach.judge(&due.webhook.url) {
            Ok(url) => url,
            Err(refused) => return (None, Err(refused.to_string())),
        };
        let body = due.delivery.body.clone();
        let client = match self.client.get_or_try_init(|| async { client(self.reach) }).await {
            Ok(client) => client,
            Err(error) => return (None, Err(why(&error))),
        };
        let request = client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("centralita-delivery", due.delivery.id.as_str())
            .header("centralita-event", due.delivery.kind.as_str())
            .header("centralita-signature", signature(secrets, now, body.as_bytes()))
            .body(body);
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return (None, Err(why(&error))),
        };
        let status = answer.status();
        let mut left = ANSWER_BYTES;
        while let Ok(Some(chunk)) = answer.chunk().await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        let outcome = if status.is_success() { Ok(()) } else { Err(format!("answered {}", status.as_u16())) };
        (Some(status.as_u16()), outcome)
    }
}

fn client(reach: AddressPolicy) -> reqwest::Result<Client> {
    Client::builder()
        .dns_resolver(std::sync::Arc::new(Guarded(reach)))
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_PATIENCE)
        .timeout(PATIENCE)
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("Centralita/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// `t=1736937000,v1=…`: an HMAC-SHA256 over the time, a dot, and the body, so that an old message cannot be sent again as a new one. There
/// is a `v1` for each secret; that of the oldest stands last, where receivers that expect one alone find it.
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

/// What people can do something about, without the address, which may hold a token: whether it was the name, the connection or TLS.
fn why(error: &reqwest::Error) -> String {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return refused.to_string();
        }
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return format!("TLS: {}", of_tls(tls));
        }
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            if let Some(tls) = tls_within(io) {
                return format!("TLS: {}", of_tls(tls));
            }
            if error.is_connect() && io.get_ref().is_none() {
                return format!("connection: {}", of_stream(io.kind()));
            }
        }
        source = inner.source();
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => "connection: no answer within 4 s".into(),
        (true, false) => "connection: it was closed before a request was sent".into(),
        (false, true) => "no answer within 5 s".into(),
        (false, false) => "the connection broke before an answer was whole".into(),
    }
}

/// What rustls says lies inside of errors of a stream, and is not among their sources.
fn tls_within(io: &io::Error) -> Option<&rustls::Error> {
    let inner = io.get_ref()?;
    inner.downcast_ref().or_else(|| tls_within(inner.downcast_ref()?))
}

fn of_stream(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => "refused: nobody listens on that port",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "there is no way to that address"
        }
        io::ErrorKind::TimedOut => "no answer",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof => {
            "it was cut while it was opened"
        }
        _ => "it could not be opened",
    }
}

/// In the words of the library; only a name that a certificate is not for is left out, since those of a certificate can be long.
fn of_tls(error: &rustls::Error) -> String {
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
