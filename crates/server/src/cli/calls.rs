//! `call originate|list|show|end|trace`

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Fault, Output, Shared, reach, shape};
use crate::{lang, tr};

const COLUMNS: [shape::Column; 7] = [
    ("ID", "ID", "sessionId"),
    ("STATUS", "ESTADO", "status"),
    ("FROM", "DE", "fromNumber"),
    ("TO", "A", "toNumber"),
    ("STARTED", "INICIO", "startedAt"),
    ("SECONDS", "SEGUNDOS", "durationSeconds"),
    ("END", "CAUSA", "endReason"),
];

const SHOWN: &[shape::Column] = &[
    ("Id", "Id", "sessionId"),
    ("Status", "Estado", "status"),
    ("Direction", "Sentido", "direction"),
    ("From", "De", "fromNumber"),
    ("To", "A", "toNumber"),
    ("User", "Usuario", "userId"),
    ("Started", "Inicio", "startedAt"),
    ("Answered", "Contestada", "answeredAt"),
    ("Ended", "Fin", "endedAt"),
    ("Seconds", "Segundos", "durationSeconds"),
    ("End", "Causa", "endReason"),
    ("Reason", "Motivo", "sentence"),
    ("MOS", "MOS", "quality.mos"),
    ("Recordings", "Grabaciones", "recordings"),
];
const LEGS: &[shape::Column] = &[
    ("ROLE", "FUNCIÓN", "role"),
    ("PARTY", "INTERLOCUTOR", "party"),
    ("ADDRESS", "DIRECCIÓN", "address"),
    ("ANSWERED", "CONTESTADA", "answeredAt"),
    ("END", "CAUSA", "endReason"),
    ("SIP", "SIP", "sipStatus"),
    ("CODEC", "CÓDEC", "codec"),
    ("MOS", "MOS", "quality.mos"),
];
const TRACE: &[shape::Column] = &[("RULE", "REGLA", "rule"), ("OUTCOME", "RESULTADO", "outcome")];

/// Verbs of `call`.
#[derive(Debug, Subcommand)]
pub(super) enum CallVerb {
    /// Ring a phone, then connect it: `originate 1001 1002`, `originate 1001 --app echo`
    Originate {
        /// Number that rings first; also `Local/NUMBER@context`
        from: String,
        /// Number called next; or the words `application NAME`
        #[arg(num_args = 0..=2, value_name = "TO")]
        to: Vec<String>,
        /// Connect to an application instead
        #[arg(long, value_enum)]
        app: Option<Application>,
        /// Owner of the call [default: the key's owner]
        #[arg(long)]
        user: Option<String>,
    },
    /// List calls, newest first
    List {
        /// Only those in progress
        #[arg(long)]
        active: bool,
        /// Maximum number of rows
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show one call
    Show {
        /// Id of the call, session_…
        id: String,
    },
    /// End a call
    End {
        /// Id of the call, session_…
        id: String,
    },
    /// Show every SIP message of a call
    Trace {
        /// Id of the call, session_…
        id: String,
    },
}

/// Applications that a call can be connected to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Application {
    /// Echoes the caller's audio
    Echo,
    /// A tone of 1004 Hz
    Milliwatt,
}

impl Application {
    fn number(self) -> &'static str {
        match self {
            Application::Echo => "*43",
            Application::Milliwatt => "*44",
        }
    }
}

pub(super) fn run(shared: &Shared, verb: CallVerb) -> Result<(), Fault> {
    match verb {
        CallVerb::Originate { from, to, app, user } => originate(shared, &from, &to, app, user),
        CallVerb::List { active, limit } => {
            let active = if active { "&active=true" } else { "" };
            let path = format!("/api/v1/calls?limit={limit}{active}");
            let answer = reach::client(shared)?.get(&path)?.json()?;
            shape::rows(shared, answer["calls"].as_array().map_or(&[], Vec::as_slice), &COLUMNS);
            Ok(())
        }
        CallVerb::Show { id } => {
            let answer =
                reach::client(shared)?.get(&format!("/api/v1/opensips/call/{}", parse_id(&id)?))?.json()?;
            show(shared, answer["session"].clone());
            Ok(())
        }
        CallVerb::End { id } => {
            let path = format!("/api/v1/opensips/call/{}/end", parse_id(&id)?);
            let answer = reach::client(shared)?.post(&path, None)?.json()?;
            shape::fields(shared, &answer["session"], &COLUMNS);
            Ok(())
        }
        CallVerb::Trace { id } => trace(shared, &id),
    }
}

/// Print the call, its legs, and the trace of its routing.
fn show(shared: &Shared, mut session: Value) {
    if shared.output == Output::Json {
        return shape::say(shared, &session, "");
    }
    let code = session["endReason"].as_str().unwrap_or_default().to_owned();
    let cause = model::Cause::ALL.iter().find(|cause| cause.code() == code);
    let language = lang::current().pick(model::Language::English, model::Language::Spanish);
    session["sentence"] = cause.map(|cause| cause.sentence(language)).into();
    shape::fields(shared, &session, SHOWN);
    for (english, spanish, name, columns) in
        [("Legs", "Tramos", "legs", LEGS), ("Why it was routed so", "Enrutamiento", "trace", TRACE)]
    {
        let rows = session[name].as_array().cloned().unwrap_or_default();
        if !rows.is_empty() {
            shape::heading(shared, lang::current().pick(english, spanish));
            shape::rows(shared, &rows, columns);
        }
    }
}

fn originate(
    shared: &Shared,
    from: &str,
    to: &[String],
    app: Option<Application>,
    user: Option<String>,
) -> Result<(), Fault> {
    let to = destination(to, app)?;
    let mut body = json!({ "fromNumber": local_number(from), "toNumber": to, "useTwilio": false });
    if let Some(user) = user {
        body["userId"] = user.into();
    }
    let answer = reach::client(shared)?.post("/api/v1/opensips/call/initiate", Some(&body))?.json()?;
    let session = &answer["session"];
    shape::fields(
        shared,
        session,
        &[
            ("Id", "Id", "sessionId"),
            ("Status", "Estado", "status"),
            ("Phone", "Teléfono", "sipCredentials.username"),
        ],
    );
    Ok(())
}

/// `+1415` of `Local/+1415@from-internal`, as written in the seed documents (S114).
fn local_number(text: &str) -> &str {
    match text.strip_prefix("Local/") {
        Some(rest) => rest.split('@').next().unwrap_or(rest),
        None => text,
    }
}

fn destination(words: &[String], app: Option<Application>) -> Result<String, Fault> {
    let named = match words {
        [word, name] if word.eq_ignore_ascii_case("application") => {
            Some(Application::from_str(name, true).map_err(Fault::Usage)?)
        }
        _ => None,
    };
    match (words, app.or(named)) {
        ([] | [_, _], Some(app)) => Ok(app.number().into()),
        ([to], None) => Ok(local_number(to).into()),
        _ => Err(Fault::Usage(tr!(
            "give a number to call, or --app echo",
            "indique un número de destino, o --app echo"
        ))),
    }
}

fn trace(shared: &Shared, id: &str) -> Result<(), Fault> {
    let id = parse_id(id)?;
    let client = reach::client(shared)?;
    match shared.output {
        Output::Json => shape::say(shared, &client.get(&format!("/api/v1/calls/{id}/ladder"))?.json()?, ""),
        Output::Table => {
            let answer = client.get(&format!("/api/v1/calls/{id}/ladder?format=text"))?;
            if answer.status != 200 {
                answer.clone().json()?;
            }
            // Keep newlines, and replace other control characters: the text comes from phones.
            let shown = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
            let text: String = answer.text.replace('\r', "").chars().map(shown).collect();
            shape::say(shared, &Value::Null, &text);
        }
    }
    Ok(())
}

/// Check an id before it is put into a path.
fn parse_id(id: &str) -> Result<model::CallId, Fault> {
    model::CallId::parse(id).map_err(|error| Fault::Usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_originate_line_of_the_seed_documents_is_accepted() {
        let words: Vec<String> = ["application", "Echo"].map(str::to_owned).into(); // S114
        assert_eq!(destination(&words, None), Ok("*43".into()));
        assert_eq!(local_number("Local/+14155238886@from-internal"), "+14155238886");
        assert_eq!(destination(&[], Some(Application::Milliwatt)), Ok("*44".into()));
        assert_eq!(destination(&["1002".into()], None), Ok("1002".into()));
        assert!(destination(&[], None).is_err());
    }
}
