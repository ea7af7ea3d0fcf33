//! `schedule list|next|show|runs|say|sounds`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Fault, Shared, reach, shape};

const LIST: [shape::Column; 8] = [
    ("ID", "ID", "id"),
    ("EXTENSION", "EXTENSIÓN", "extensionId"),
    ("ACTION", "ACCIÓN", "action"),
    ("TO", "A", "destinationNumber"),
    ("FREQUENCY", "FRECUENCIA", "schedule.frequency"),
    ("TIME", "HORA", "schedule.time"),
    ("TIME ZONE", "ZONA HORARIA", "schedule.timezone"),
    ("NEXT", "PRÓXIMA", "nextExecution"),
];

/// Verbs of `schedule`.
#[derive(Debug, Subcommand)]
pub(super) enum ScheduleVerb {
    /// List recurring calls
    List {
        /// Maximum number of rows
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show when a recurring call is due, in UTC and in the local time of its zone
    Next {
        /// Id of the recurring call, rc_…
        id: String,
        /// Number of times to show
        #[arg(long, default_value_t = 10)]
        count: u32,
    },
    /// Show one recurring call
    Show {
        /// Id of the recurring call, rc_…
        id: String,
    },
    /// Show the past runs of a recurring call, newest first
    Runs {
        /// Id of the recurring call, rc_…
        id: String,
        /// Maximum number of rows
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Make a recurring call play a prompt or sound, or connect to a number again
    Say {
        /// Id of the recurring call, rc_…
        id: String,
        /// Action: play, message (goes to the mailbox if the call is not answered) or connect
        #[arg(long, default_value = "play")]
        action: String,
        /// A prompt of the server, such as goodbye
        #[arg(long, conflicts_with = "sound")]
        prompt: Option<String>,
        /// A sound of the extension, snd_…
        #[arg(long)]
        sound: Option<String>,
    },
    /// List the sounds of an extension
    Sounds {
        /// Id of the extension, ext_…
        extension: String,
    },
}

const SHOWN: &[shape::Column] = &[
    ("Id", "Id", "id"),
    ("Extension", "Extensión", "extensionId"),
    ("Action", "Acción", "action"),
    ("Says the prompt", "Locución", "promptId"),
    ("Says the sound", "Sonido", "audioId"),
    ("Calls", "Llama a", "destinationNumber"),
    ("Frequency", "Frecuencia", "schedule.frequency"),
    ("Time", "Hora", "schedule.time"),
    ("Day of week", "Día de la semana", "schedule.dayOfWeek"),
    ("Days of week", "Días de la semana", "schedule.daysOfWeek"),
    ("Day of month", "Día del mes", "schedule.dayOfMonth"),
    ("Time zone", "Zona horaria", "schedule.timezone"),
    ("Enabled", "Activa", "enabled"),
    ("Next", "Próxima", "nextExecution"),
    ("If missed", "Si se perdió", "misfire"),
    ("Attempts", "Intentos", "maxAttempts"),
    ("Minutes between attempts", "Minutos entre intentos", "retryMinutes"),
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
            let answer = get(&format!("/{}/next?count={count}", parse_id(&id)?))?;
            let columns = [("DUE", "PREVISTA", "at"), ("LOCAL", "HORA LOCAL", "local")];
            shape::rows(shared, &list(&answer["next"]), &columns);
        }
        ScheduleVerb::Show { id } => {
            let answer = get(&format!("/{}", parse_id(&id)?))?;
            shape::fields(shared, &answer["recurringCall"], SHOWN);
        }
        ScheduleVerb::Say { id, action, prompt, sound } => {
            let mut body = json!({ "action": action });
            for (name, value) in [("promptId", prompt), ("audioId", sound)] {
                if let Some(value) = value {
                    body[name] = value.into();
                }
            }
            let path = format!("/api/v1/voip/recurring-calls/{}", parse_id(&id)?);
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
            let answer = get(&format!("/{}/runs?limit={limit}", parse_id(&id)?))?;
            let columns = [
                ("DUE", "PREVISTA", "due"),
                ("STATE", "ESTADO", "state"),
                ("ATTEMPTS", "INTENTOS", "attempts"),
                ("CALL", "LLAMADA", "sessionId"),
                ("END", "CAUSA", "endReason"),
            ];
            shape::rows(shared, &list(&answer["runs"]), &columns);
        }
    }
    Ok(())
}

/// Check an id before it is put into a path.
fn parse_id(id: &str) -> Result<String, Fault> {
    model::RecurringCallId::parse(id)
        .map(|id| id.to_string())
        .map_err(|error| Fault::Usage(error.to_string()))
}
