//! `mail test TO`: whether mails about voicemail would arrive.

use clap::Subcommand;
use model::voicemail::{Attempt, is_email};

use super::{Fault, Shared, reach, shape};
use crate::mail::{EmailMessage, Mailer, SmtpRelay};
use crate::tr;

/// What is done with mail.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum MailVerb {
    /// Send a mail now, by the configured server, and say what that answered
    Test {
        /// To whom
        to: String,
    },
}

pub(super) fn run(shared: &Shared, verb: MailVerb) -> Result<(), Fault> {
    let MailVerb::Test { to } = verb;
    if !is_email(&to) {
        return Err(Fault::Usage(tr!(
            "{to:?} is no address of mail; write ana@example.com",
            "{to:?} no es una dirección de correo; escriba ana@example.com"
        )));
    }
    let config = shared.loaded()?.config;
    let Some(smtp) = &config.mail.smtp else {
        return Err(Fault::Refused(tr!(
            "no mail is sent: set mail.smtp, as in mail.smtp = \"smtps://USER:PASSWORD@mail.example.com\"",
            "no se envía correo: ponga mail.smtp, como mail.smtp = \"smtps://USUARIO:CLAVE@mail.example.com\""
        )));
    };
    let relay = SmtpRelay::parse(smtp.expose()).map_err(Fault::Refused)?;
    let from = config.mail.sender(&config.sip.domain);
    let letter = EmailMessage::test(&from, &to).ok_or_else(|| {
        Fault::Refused(tr!(
            "{from} cannot be a sender: set mail.from",
            "{from} no puede ser remitente: ponga mail.from"
        ))
    })?;
    let attempt = reach::block_on(async {
        let mailer = Mailer::new(&relay).map_err(|error| Fault::Refused(error.to_string()))?;
        Ok(mailer.attempt(letter).await)
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
        Attempt::Later(why) | Attempt::Never(why) => {
            Err(Fault::Refused(tr!("the mail was not taken: {why}", "el correo no fue aceptado: {why}")))
        }
    }
}
