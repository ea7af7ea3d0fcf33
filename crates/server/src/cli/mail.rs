//! `mail test TO`: checks the delivery of voicemail notifications.

use clap::Subcommand;
use model::voicemail::{Attempt, is_email};

use super::{Fault, Shared, reach, shape};
use crate::mail::{EmailMessage, Mailer, SmtpRelay};
use crate::tr;

/// Verbs of `mail`.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum MailVerb {
    /// Send a test e-mail through the configured server, and show its response
    Test {
        /// Recipient address
        to: String,
    },
}

pub(super) fn run(shared: &Shared, verb: MailVerb) -> Result<(), Fault> {
    let MailVerb::Test { to } = verb;
    if !is_email(&to) {
        return Err(Fault::Usage(tr!(
            "{to:?} is not an e-mail address; write ana@example.com",
            "{to:?} no es una dirección de correo; escriba ana@example.com"
        )));
    }
    let config = shared.loaded()?.config;
    let Some(smtp) = &config.mail.smtp else {
        return Err(Fault::Refused(tr!(
            "e-mail is not configured: set mail.smtp, as in mail.smtp = \"smtps://USER:PASSWORD@mail.example.com\"",
            "el correo no está configurado: defina mail.smtp, p. ej. mail.smtp = \"smtps://USUARIO:CONTRASEÑA@mail.example.com\""
        )));
    };
    let relay = SmtpRelay::parse(smtp.expose()).map_err(Fault::Refused)?;
    let from = config.mail.sender(&config.sip.domain);
    let message = EmailMessage::test(&from, &to).ok_or_else(|| {
        Fault::Refused(tr!(
            "{from} is not a valid sender: set mail.from",
            "{from} no es un remitente válido: defina mail.from"
        ))
    })?;
    let attempt = reach::block_on(async {
        let mailer = Mailer::new(&relay).map_err(|error| Fault::Refused(error.to_string()))?;
        Ok(mailer.attempt(message).await)
    })?;
    match attempt {
        Attempt::Sent => {
            shape::say(
                shared,
                &serde_json::json!({"sent": true, "to": to}),
                &tr!("sent to {to}", "enviado a {to}"),
            );
            Ok(())
        }
        Attempt::Later(why) | Attempt::Never(why) => Err(Fault::Refused(tr!(
            "the e-mail was not accepted: {why}",
            "el servidor no aceptó el correo: {why}"
        ))),
    }
}
