//! `schedule list|next|show|runs|say|sounds`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Fault, Shared, reach, shape};

const LIST: [shape::Column; 8] = [
    ("ID", "ID", "id"),
    ("EXTENSION", "EXTENSIÓN", "extensionId"),
    ("DOES", "HACE", "action"),
    ("TO", "A", "destinationNumber"),
    ("FREQUENCY", "FRECUENCIA", "schedule.frequency"),
    ("TIME", "HORA", "schedule.time"),
    ("ZONE", "ZONA", "schedule.timezone"),
    ("NEXT", "PRÓXIMA", "nextExecution"),
];

/// What can be done with recurring calls.
#[derive(Debug, Subcommand)]
pub(super) enum ScheduleVerb {
    /// List recurring calls
    List {
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show when a recurring call is due, in UTC and on the clocks of its zone
    Next {
        /// Its id, rc_…
        id: String,
        /// How many instants
        #[arg(long, default_value_t = 10)]
        count: u32,
    },
    /// Show one recurring call
    Show {
        /// Its id, rc_…
        id: String,
    },
    /// Show what became of the instants at which it was due, newest first
    Runs {
        /// Its id, rc_…
        id: String,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Let a recurring call say something to whoever answers, or connect again
    Say {
        /// Its id, rc_…
        id: String,
        /// What it does: play, message (the mailbox gets it where nobody answers) or connect
        #[arg(long, default_value = "play")]
        action: String,
        /// A prompt of the server, like goodbye
        #[arg(long, conflicts_with = "sound")]
        prompt: Option<String>,
        /// A sound of the extension, snd_…
        #[arg(long)]
        sound: Option<String>,
    },
    /// List the sounds of an extension
    Sounds {
        /// Its id, ext_…
        extension: String,
    },
}

const SHOWN: &[shape::Column] = &[
    ("Id", "Id", "id"),
    ("Extension", "Extensión", "extensionId"),
    ("Does", "Hace", "action"),
    ("Says the prompt", "Dice el aviso", "promptId"),
    ("Says the sound", "Dice el sonido", "audioId"),
    ("Calls", "Llama a", "destinationNumber"),
    ("Frequency", "Frecuencia", "schedule.frequency"),
    ("Time", "Hora", "schedule.time"),
    ("Day of week", "Día de la semana", "schedule.dayOfWeek"),
    ("Days of week", "Días de la semana", "schedule.daysOfWeek"),
    ("Day of month", "Día del mes", "schedule.dayOfMonth"),
    ("Zone", "Zona", "schedule.timezone"),
    ("Enabled", "Activo", "enabled"),
    ("Next", "Próxima", "nextExecution"),
    ("After an absence", "Tras una ausencia", "misfire"),
    ("Attempts", "Intentos", "maxAttempts"),
    ("Minutes between", "Minutos entre intentos", "retryMinutes"),
];

pub(super) fn run(shared: &Shared, verb: ScheduleVerb) -> Result<(), Fault> {
    let client = reach::client(shared)?;
    let get = |path: &str| client.get(&format!("/api/v1/voip/recurring-calls{path}"))?.json();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    match verb {
        ScheduleVerb::List { limit } => {
            let answer = get(&format!("?limit={limit}"))?;
            shape::rows(shared, &list(&answer["recurringCalls"]), &LIST);
        }
        ScheduleVerb::Next { id, count } => {
            let answer = get(&format!("/{}/next?count={count}", checked(&id)?))?;
            let columns = [("DUE", "TOCA", "at"), ("LOCAL", "HORA LOCAL", "local")];
            shape::rows(shared, &list(&answer["next"]), &columns);
        }
        ScheduleVerb::Show { id } => {
            let answer = get(&format!("/{}", checked(&id)?))?;
            shape::fields(shared, &answer["recurringCall"], SHOWN);
        }
        ScheduleVerb::Say { id, action, prompt, sound } => {
            let mut body = json!({ "action": action });
            for (name, value) in [("promptId", prompt), ("audioId", sound)] {
                if let Some(value) = value {
                    body[name] = value.into();
                }
            }
            let path = format!("/api/v1/voip/recurring-calls/{}", checked(&id)?);
            let answer = client.put(&path, &body)?.json()?;
            shape::fields(shared, &answer["recurringCall"], SHOWN);
        }
        ScheduleVerb::Sounds { extension } => {
            let id =
                model::ExtensionId::parse(&extension).map_err(|error| Fault::Usage(error.to_string()))?;
            let answer = client.get(&format!("/api/v1/voip/extensions/{id}/sounds"))?.json()?;
            let columns = [
                ("ID", "ID", "id"),
                ("NAME", "NOMBRE", "name"),
                ("MILLISECONDS", "MILISEGUNDOS", "milliseconds"),
            ];
            shape::rows(shared, &list(&answer["sounds"]), &columns);
        }
        ScheduleVerb::Runs { id, limit } => {
            let answer = get(&format!("/{}/runs?limit={limit}", checked(&id)?))?;
            let columns = [
                ("DUE", "TOCA", "due"),
                ("STATE", "ESTADO", "state"),
                ("ATTEMPTS", "INTENTOS", "attempts"),
                ("CALL", "LLAMADA", "sessionId"),
                ("END", "FIN", "endReason"),
            ];
            shape::rows(shared, &list(&answer["runs"]), &columns);
        }
    }
    Ok(())
}

/// An id that can stand in a path.
fn checked(id: &str) -> Result<String, Fault> {
    model::RecurringCallId::parse(id)
        .map(|id| id.to_string())
        .map_err(|error| Fault::Usage(error.to_string()))
}
