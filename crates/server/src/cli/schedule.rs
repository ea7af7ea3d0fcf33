//! `schedule list|next|show|runs`

use clap::Subcommand;
use serde_json::Value;

use super::{Fault, Shared, reach, shape};

const LIST: [shape::Column; 7] = [
    ("ID", "id"),
    ("EXTENSION", "extensionId"),
    ("TO", "destinationNumber"),
    ("FREQUENCY", "schedule.frequency"),
    ("TIME", "schedule.time"),
    ("ZONE", "schedule.timezone"),
    ("NEXT", "nextExecution"),
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
}

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
            let columns = [("DUE", "at"), ("LOCAL", "local")];
            shape::rows(shared, &list(&answer["next"]), &columns);
        }
        ScheduleVerb::Show { id } => {
            let answer = get(&format!("/{}", checked(&id)?))?;
            shape::fields(
                shared,
                &answer["recurringCall"],
                &[
                    ("Id", "id"),
                    ("Extension", "extensionId"),
                    ("Calls", "destinationNumber"),
                    ("Frequency", "schedule.frequency"),
                    ("Time", "schedule.time"),
                    ("Day of week", "schedule.dayOfWeek"),
                    ("Days of week", "schedule.daysOfWeek"),
                    ("Day of month", "schedule.dayOfMonth"),
                    ("Zone", "schedule.timezone"),
                    ("Enabled", "enabled"),
                    ("Next", "nextExecution"),
                    ("After an absence", "misfire"),
                    ("Attempts", "maxAttempts"),
                    ("Minutes between", "retryMinutes"),
                ],
            );
        }
        ScheduleVerb::Runs { id, limit } => {
            let answer = get(&format!("/{}/runs?limit={limit}", checked(&id)?))?;
            let columns = [
                ("DUE", "due"),
                ("STATE", "state"),
                ("ATTEMPTS", "attempts"),
                ("CALL", "sessionId"),
                ("END", "endReason"),
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
