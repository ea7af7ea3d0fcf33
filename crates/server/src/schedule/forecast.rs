//! When recurring calls will be due, as it was reckoned with the time zone data of an earlier start: what other data has changed is told.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Timestamp;
use model::recurrence::{next_after, tzdb_version};
use model::{Directory, RecurringCall, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Audit, Store};

/// Instants that are kept of each recurring call: two weeks of a daily one.
const INSTANTS: usize = 16;

/// See the module.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Forecast {
    /// The release that it was reckoned with.
    zones: String,
    calls: BTreeMap<String, Planned>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Planned {
    /// Since when the schedule holds: another one is no change of the clocks.
    since: i64,
    /// Microseconds since 1970, from the time at which the file was written.
    due: Vec<i64>,
}

/// A recurring call whose instants are others than they were.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Moved {
    id: String,
    user: UserId,
    zone: String,
    was: Timestamp,
    next: Timestamp,
}

/// The file in a data folder.
pub(super) fn file(data: &Path) -> PathBuf {
    data.join("schedules.forecast")
}

impl Forecast {
    /// What the data in force says.
    pub(super) fn of(directory: &Directory, now: Timestamp) -> Forecast {
        let enabled = directory.recurring_calls().filter(|call| call.enabled);
        let planned = |call: &RecurringCall| {
            let mut due = Vec::with_capacity(INSTANTS);
            let mut after = now.max(call.since);
            while let Some(next) = next_after(&call.schedule, after).filter(|_| due.len() < INSTANTS) {
                due.push(next.as_micros());
                after = next;
            }
            Planned { since: call.since.as_micros(), due }
        };
        let calls = enabled.map(|call| (call.id.to_string(), planned(call))).collect();
        Forecast { zones: tzdb_version().to_owned(), calls }
    }

    /// What an earlier start has written; nothing where there is none, or where it cannot be read.
    pub(super) fn read(file: &Path) -> Forecast {
        fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Write it in one piece.
    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        let draft = file.with_extension("forecast.new");
        let mut out = fs::File::create(&draft)?;
        out.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&draft, file)
    }

    /// The first instant after `now` of each recurring call that is another one in `new`.
    fn moved(&self, new: &Forecast, directory: &Directory, now: Timestamp) -> Vec<Moved> {
        if self.zones.is_empty() || self.zones == new.zones {
            return Vec::new();
        }
        let after = |planned: &Planned| -> Vec<i64> {
            planned.due.iter().copied().filter(|due| *due > now.as_micros()).collect()
        };
        let moved = |call: &RecurringCall| {
            let (old, new) = (self.calls.get(call.id.as_str())?, new.calls.get(call.id.as_str())?);
            let (was, next) = after(old)
                .into_iter()
                .zip(after(new))
                .find(|(was, next)| was != next && old.since == new.since)?;
            let (was, next) = (Timestamp::from_micros(was), Timestamp::from_micros(next));
            let zone = call.schedule.zone().name().to_owned();
            Some(Moved { id: call.id.to_string(), user: call.user.clone(), zone, was, next })
        };
        directory.recurring_calls().filter_map(|call| moved(call)).collect()
    }
}

/// Compare what an earlier start has reckoned with what holds now, and tell of each recurring call that other rules have moved.
pub(super) async fn tell(store: &Store, file: &Path, directory: &Arc<Directory>, now: Timestamp) {
    let old = Forecast::read(file);
    let Some(new) = reckoned(Arc::clone(directory), now).await else { return };
    for moved in old.moved(&new, directory, now) {
        tracing::info!(
            recurring = moved.id,
            was = %moved.was,
            next = %moved.next,
            zone = moved.zone,
            zoneinfo = new.zones,
            "the clocks of a zone have changed: a recurring call is due at another time"
        );
        let audit = Audit {
            at: now,
            kind: "recurring_call_rescheduled",
            user: Some(moved.user),
            subject: moved.id,
            key: None,
            ip: None,
            request: String::new(),
            detail: json!({
                "was": moved.was.to_string(), "nextExecution": moved.next.to_string(), "timezone": moved.zone,
                "tzdbVersion": new.zones, "tzdbVersionBefore": old.zones,
            }),
        };
        if let Err(error) = store.audit(audit).await {
            // The file stays as it is, so that the next start tells it.
            tracing::error!(%error, "a recurring call that was moved is not told");
            return;
        }
    }
    keep(&new, file);
}

/// Remember for the next start what holds now.
pub(super) async fn remember(file: PathBuf, directory: Arc<Directory>, now: Timestamp) {
    if let Some(forecast) = reckoned(directory, now).await {
        keep(&forecast, &file);
    }
}

/// Ten thousand recurring calls are some hundred milliseconds, which nobody shall wait for.
async fn reckoned(directory: Arc<Directory>, now: Timestamp) -> Option<Forecast> {
    tokio::task::spawn_blocking(move || Forecast::of(&directory, now)).await.ok()
}

fn keep(forecast: &Forecast, file: &Path) {
    if let Err(error) = forecast.write(file) {
        tracing::warn!(%error, file = %file.display(), "when recurring calls are due is not remembered");
    }
}
