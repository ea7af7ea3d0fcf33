//! SMTP relay: its URL in the configuration, and one delivery attempt.

use std::time::Duration;

use base::Secret;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use model::voicemail::Attempt;

use crate::tr;

/// Timeout of one delivery.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Characters of the server's error message that are kept.
const MAX_ERROR_CHARS: usize = 300;

/// A relay URL is invalid.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", relay_syntax())]
pub struct RelayError;

fn relay_syntax() -> String {
    tr!(
        "write smtps://USER:PASSWORD@HOST, smtp://USER:PASSWORD@HOST:587 or, within a network of your own, smtp+plain://HOST:25",
        "escriba smtps://USUARIO:CONTRASEÑA@HOST, smtp://USUARIO:CONTRASEÑA@HOST:587 o, en una red propia, smtp+plain://HOST:25"
    )
}

/// Transport security of the relay connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Security {
    /// Implicit TLS (RFC 8314).
    Tls,
    /// STARTTLS, required.
    StartTls,
    /// Unencrypted.
    Plain,
}

/// A relay as configured.
#[derive(Clone, Debug)]
pub struct SmtpRelay {
    security: Security,
    host: String,
    port: u16,
    login: Option<(String, Secret<String>)>,
}

impl SmtpRelay {
    /// Parse `smtps://USER:PASSWORD@HOST:PORT`. User and password may be percent-encoded.
    pub fn parse(url: &str) -> Result<SmtpRelay, String> {
        let wrong = || RelayError.to_string();
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (security, default_port) = match scheme {
            "smtps" => (Security::Tls, 465),
            "smtp" => (Security::StartTls, 587),
            "smtp+plain" => (Security::Plain, 25),
            _ => return Err(wrong()),
        };
        let (login, place) = match rest.trim_end_matches('/').rsplit_once('@') {
            Some((login, place)) => {
                let (user, password) = login.split_once(':').ok_or_else(wrong)?;
                let (user, password) =
                    (unescape(user).ok_or_else(wrong)?, unescape(password).ok_or_else(wrong)?);
                (Some((user, Secret::new(password))), place)
            }
            None => (None, rest.trim_end_matches('/')),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() => (host, port.parse().map_err(|_| wrong())?),
            Some(_) => return Err(wrong()),
            None => (place, default_port),
        };
        if port == 0 || host.contains(['_', ':']) || !model::is_host(host) {
            return Err(wrong());
        }
        Ok(SmtpRelay { security, host: host.to_owned(), port, login })
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first == b'%' {
            let (pair, others) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
            rest = others;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// SMTP client of one relay.
#[derive(Clone, Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Mailer {
    /// A mailer for a relay. It connects when the first e-mail is sent.
    pub fn new(relay: &SmtpRelay) -> Result<Mailer, lettre::transport::smtp::Error> {
        let tls = match relay.security {
            Security::Tls => Tls::Wrapper(TlsParameters::new(relay.host.clone())?),
            Security::StartTls => Tls::Required(TlsParameters::new(relay.host.clone())?),
            Security::Plain => Tls::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&relay.host)
            .port(relay.port)
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let Some((user, password)) = &relay.login {
            transport = transport.credentials(Credentials::new(user.clone(), password.expose().clone()));
        }
        Ok(Mailer { transport: transport.build() })
    }

    /// Try to deliver one e-mail, once.
    pub async fn attempt(&self, mail: Message) -> Attempt {
        match self.transport.send(mail).await {
            Ok(_) => Attempt::Sent,
            Err(error) => {
                let mut text = error.to_string();
                let mut cause = std::error::Error::source(&error);
                while let Some(deeper) = cause {
                    text = format!("{text}: {deeper}");
                    cause = deeper.source();
                }
                let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_ERROR_CHARS).collect();
                // Authentication failures are permanent replies, but the operator can correct the password, so the e-mail is retried.
                let login = error.status().is_some_and(|code| [530, 534, 535].contains(&u16::from(code)));
                if error.is_permanent() && !login { Attempt::Never(text) } else { Attempt::Later(text) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relay_urls_are_parsed_and_invalid_ones_refused() {
        let relay = SmtpRelay::parse("smtps://ana%40example.com:p%3Ass@mail.example.com").unwrap();
        assert_eq!(
            (relay.security, relay.host.as_str(), relay.port),
            (Security::Tls, "mail.example.com", 465)
        );
        let (user, password) = relay.login.clone().unwrap();
        assert_eq!((user.as_str(), password.expose().as_str()), ("ana@example.com", "p:ss"));
        assert!(!format!("{relay:?}").contains("p:ss"));
        let relay = SmtpRelay::parse("smtp+plain://127.0.0.1:2525/").unwrap();
        assert_eq!((relay.security, relay.port, relay.login.is_none()), (Security::Plain, 2525, true));
        assert_eq!(SmtpRelay::parse("smtp://a:b@h").unwrap().port, 587);
        for no in [
            "",
            "mail.example.com",
            "http://h",
            "smtp://",
            "smtp://user@h",
            "smtp://h:x",
            "smtp://h h",
            "smtp://a:%x@h",
        ] {
            assert!(SmtpRelay::parse(no).is_err(), "{no}");
        }
    }
}
