//! The server that takes our mails: how it is written in the configuration, and one attempt at one mail.

use std::time::Duration;

use base::Secret;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use model::voicemail::Attempt;

/// How long a server may take for one mail.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a server says is kept up to so many characters.
const SAID: usize = 300;

/// Why an address of a relay is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "write smtps://USER:PASSWORD@HOST, smtp://USER:PASSWORD@HOST:587 or, within a network of your own, smtp+plain://HOST:25"
)]
pub struct RelayError;

/// How the way to a relay is kept private.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Privacy {
    /// TLS from the first byte.
    Tls,
    /// STARTTLS, or no mail.
    StartTls,
    /// Nothing.
    Plain,
}

/// A relay as configured.
#[derive(Clone, Debug)]
pub struct SmtpRelay {
    privacy: Privacy,
    host: String,
    port: u16,
    login: Option<(String, Secret<String>)>,
}

impl SmtpRelay {
    /// Read `smtps://USER:PASSWORD@HOST:PORT`. User and password may be escaped with `%`.
    pub fn parse(url: &str) -> Result<SmtpRelay, String> {
        let wrong = || RelayError.to_string();
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (privacy, usual) = match scheme {
            "smtps" => (Privacy::Tls, 465),
            "smtp" => (Privacy::StartTls, 587),
            "smtp+plain" => (Privacy::Plain, 25),
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
            None => (place, usual),
        };
        if port == 0 || host.contains(['_', ':']) || !model::is_host(host) {
            return Err(wrong());
        }
        Ok(SmtpRelay { privacy, host: host.to_owned(), port, login })
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

/// Hands mails to a relay.
#[derive(Clone, Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Mailer {
    /// A mailer for a relay; nothing is connected before the first mail.
    pub fn new(relay: &SmtpRelay) -> Result<Mailer, lettre::transport::smtp::Error> {
        let tls = match relay.privacy {
            Privacy::Tls => Tls::Wrapper(TlsParameters::new(relay.host.clone())?),
            Privacy::StartTls => Tls::Required(TlsParameters::new(relay.host.clone())?),
            Privacy::Plain => Tls::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&relay.host)
            .port(relay.port)
            .tls(tls)
            .timeout(Some(PATIENCE));
        if let Some((user, password)) = &relay.login {
            transport = transport.credentials(Credentials::new(user.clone(), password.expose().clone()));
        }
        Ok(Mailer { transport: transport.build() })
    }

    /// Try one mail, once.
    pub async fn attempt(&self, mail: Message) -> Attempt {
        match self.transport.send(mail).await {
            Ok(_) => Attempt::Sent,
            Err(error) => {
                let mut said = error.to_string();
                let mut cause = std::error::Error::source(&error);
                while let Some(deeper) = cause {
                    said = format!("{said}: {deeper}");
                    cause = deeper.source();
                }
                let said: String = said.chars().filter(|c| !c.is_control()).take(SAID).collect();
                // A wrong password is mended by the operator, not by forgetting the mail.
                let login = error.status().is_some_and(|code| [530, 534, 535].contains(&u16::from(code)));
                if error.is_permanent() && !login { Attempt::Never(said) } else { Attempt::Later(said) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_are_read_and_what_is_none_is_refused() {
        let relay = SmtpRelay::parse("smtps://ana%40example.com:p%3Ass@mail.example.com").unwrap();
        assert_eq!((relay.privacy, relay.host.as_str(), relay.port), (Privacy::Tls, "mail.example.com", 465));
        let (user, password) = relay.login.clone().unwrap();
        assert_eq!((user.as_str(), password.expose().as_str()), ("ana@example.com", "p:ss"));
        assert!(!format!("{relay:?}").contains("p:ss"));
        let relay = SmtpRelay::parse("smtp+plain://127.0.0.1:2525/").unwrap();
        assert_eq!((relay.privacy, relay.port, relay.login.is_none()), (Privacy::Plain, 2525, true));
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
