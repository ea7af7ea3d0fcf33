//! Upcoming times of recurring calls, computed with the time zone data of the previous start: changes by newer data are reported.

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

/// Times stored per recurring call: two weeks of a daily one.
const TIMES_PER_CALL: usize = 16;

/// The stored times, as JSON in a file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Forecast {
    /// Release of the time zone data.
    zones: String,
    calls: BTreeMap<String, CallForecast>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CallForecast {
    /// Time of the schedule's last change, µs: a changed schedule is not a change of time zone rules.
    since: i64,
    /// Due times in µs since 1970, after the time of writing.
    due: Vec<i64>,
}

/// A recurring call whose due time was changed by new time zone data.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Moved {
    id: String,
    user: UserId,
    zone: String,
    was: Timestamp,
    next: Timestamp,
}

/// Path of the file in a data directory.
pub(super) fn file(data: &Path) -> PathBuf {
    data.join("schedules.forecast")
}

impl Forecast {
    /// Compute the forecast with the current time zone data.
    pub(super) fn of(directory: &Directory, now: Timestamp) -> Forecast {
        let enabled = directory.recurring_calls().filter(|call| call.enabled);
        let forecast_of = |call: &RecurringCall| {
            let mut due = Vec::with_capacity(TIMES_PER_CALL);
            let mut after = now.max(call.since);
            while let Some(next) = next_after(&call.schedule, after).filter(|_| due.len() < TIMES_PER_CALL) {
                due.push(next.as_micros());
                after = next;
            }
            CallForecast { since: call.since.as_micros(), due }
        };
        let calls = enabled.map(|call| (call.id.to_string(), forecast_of(call))).collect();
        Forecast { zones: tzdb_version().to_owned(), calls }
    }

    /// Read the forecast of the previous start; empty if the file is missing or unreadable.
    pub(super) fn read(file: &Path) -> Forecast {
        fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Write the file atomically.
    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        let draft = file.with_extension("forecast.new");
        let mut out = fs::File::create(&draft)?;
        out.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&draft, file)
    }

    /// For each recurring call, the first due time after `now` that differs in `new`.
    fn moved(&self, new: &Forecast, directory: &Directory, now: Timestamp) -> Vec<Moved> {
        if self.zones.is_empty() || self.zones == new.zones {
            return Vec::new();
        }
        let after = |planned: &CallForecast| -> Vec<i64> {
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

/// Compare the stored forecast with the current one, and report each recurring call that was moved by new time zone rules.
pub(super) async fn report_changes(store: &Store, file: &Path, directory: &Arc<Directory>, now: Timestamp) {
    let old = Forecast::read(file);
    let Some(new) = compute(Arc::clone(directory), now).await else { return };
    for moved in old.moved(&new, directory, now) {
        tracing::info!(
            recurring = moved.id,
            was = %moved.was,
            next = %moved.next,
            zone = moved.zone,
            zoneinfo = new.zones,
            "time zone rules changed: a recurring call is due at another time"
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
            // The file is kept, so that the next start reports it.
            tracing::error!(%error, "the event about a rescheduled recurring call cannot be written");
            return;
        }
    }
    write_logged(&new, file);
}

/// Store the current forecast for the next start.
pub(super) async fn store_current(file: PathBuf, directory: Arc<Directory>, now: Timestamp) {
    if let Some(forecast) = compute(directory, now).await {
        write_logged(&forecast, &file);
    }
}

/// Ten thousand recurring calls take some hundred milliseconds, so this runs on a blocking thread.
async fn compute(directory: Arc<Directory>, now: Timestamp) -> Option<Forecast> {
    tokio::task::spawn_blocking(move || Forecast::of(&directory, now)).await.ok()
}

fn write_logged(forecast: &Forecast, file: &Path) {
    if let Err(error) = forecast.write(file) {
        tracing::warn!(%error, file = %file.display(), "the forecast of recurring calls cannot be written");
    }
}
