//! Driver of the scheduler for recurring calls: executes the outputs of the state machine against the store and the switch, one at a time.

mod forecast;
mod start;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::DirectoryService;
use base::Rng;
use model::{Directory, Occurrence};
use serde_json::json;
use store::{Audit, Store, StoreError};
use switch::schedule::{Config, Dialled, Input, Output, Scheduler, WriteResult};
use switch::{Command, Reply};

use crate::clock::Clock;
use crate::journal::Pending;
use crate::limits::OCCURRENCES_PER_SWEEP;
use crate::switch_thread::SwitchHandle;

pub use start::{Identity, InitialState, identity};

/// Interval at which the directory is compared with the scheduler's: a recurring call that was just created may be due at once.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Pause after a failed database read.
const RETRY: Duration = Duration::from_secs(5);

/// Interval at which the forecast is written, for a start with other time zone data.
const FORECAST_INTERVAL: Duration = Duration::from_secs(3600);
/// The same interval after a change of the directory.
const FORECAST_INTERVAL_CHANGED: Duration = Duration::from_secs(60);

/// Resources of the scheduler.
#[derive(Debug)]
pub struct SchedulerContext {
    /// Database of occurrences.
    pub store: Store,
    /// Directory of recurring calls.
    pub directory_service: DirectoryService,
    /// Handle of the switch thread.
    pub switch_handle: SwitchHandle,
    /// The clocks.
    pub clock: Clock,
    /// The data directory.
    pub data: PathBuf,
}

/// Run the recurring calls until the task is aborted, which may be at any moment: open occurrences are in the store.
pub async fn run(context: SchedulerContext, config: Config, rng: Rng, initial: InitialState) {
    context.switch_handle.until_listening(true).await;
    let mut scheduler = Scheduler::new(config, rng);
    let mut directory = context.directory_service.directory();
    let file = forecast::file(&context.data);
    forecast::report_changes(&context.store, &file, &directory, context.clock.now().wall).await;
    let (mut last_forecast, mut changed) = (context.clock.now().instant, false);
    let mut inputs: VecDeque<Input> = VecDeque::from([
        Input::Begin { last: initial.last, open: initial.open },
        Input::Directory(Box::new(Directory::clone(&directory))),
    ]);
    let mut out = Vec::new();
    loop {
        while let Some(input) = inputs.pop_front() {
            scheduler.handle(context.clock.now(), input, &mut out);
            for output in out.drain(..) {
                inputs.push_back(context.execute(output).await);
            }
        }
        let now = context.clock.now();
        tokio::time::sleep(scheduler.deadline(now).since(now.instant).min(POLL_INTERVAL)).await;
        let latest = context.directory_service.directory();
        if !Arc::ptr_eq(&latest, &directory) {
            inputs.push_back(Input::Directory(Box::new(Directory::clone(&latest))));
            directory = latest;
            changed = true;
        }
        let interval = if changed { FORECAST_INTERVAL_CHANGED } else { FORECAST_INTERVAL };
        if now.instant.since(last_forecast) >= interval {
            (last_forecast, changed) = (now.instant, false);
            tokio::spawn(forecast::store_current(file.clone(), Arc::clone(&directory), now.wall));
        }
        inputs.push_back(Input::Tick);
    }
}

/// [`run`] with the initial state read at the start of the process, or without one after a panic of this task. Then it is read again, and calls
/// that may just have been started count as unknown: the database may lack journal records, and no one is dialled twice.
pub async fn run_from(
    initial: Option<InitialState>,
    identity: Identity,
    context: SchedulerContext,
    config: Config,
    rng: Rng,
) {
    let initial = match initial {
        Some(initial) => initial,
        None => {
            let identity = identity.of_another_boot();
            loop {
                match InitialState::read(&context.store, &Pending::default(), &identity).await {
                    Ok(initial) => break initial,
                    Err(error) => {
                        tracing::warn!(%error, "recurring calls are paused: the database cannot be read");
                    }
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    run(context, config, rng, initial).await;
}

impl SchedulerContext {
    /// Execute an output and return its result as input.
    async fn execute(&self, output: Output) -> Input {
        match output {
            Output::Locate(key, username) => {
                let reply = self.switch_handle.ask(Command::Presence { usernames: vec![username] }).await;
                let registered = match reply {
                    Some(Reply::Presence(found)) => found.first().is_some_and(|phone| phone.registered),
                    Some(_) | None => false,
                };
                Input::Located(key, registered)
            }
            Output::Claim { row, since } => {
                let done = self.store.claim(&row, since, event(&row)).await;
                Input::Written(row.key(), outcome(&row, done))
            }
            Output::Change(row) => {
                let done = self.store.change_occurrence(&row, event(&row)).await;
                Input::Written(row.key(), outcome(&row, done))
            }
            Output::Dial(key, originate) => {
                let dialled = match self.switch_handle.ask(Command::Originate(originate)).await {
                    Some(Reply::Call(_)) => Dialled::Placed,
                    Some(Reply::Refused(cause)) => Dialled::Refused(cause),
                    Some(_) | None => Dialled::NoReply,
                };
                Input::Dialled(key, dialled)
            }
            Output::Poll(key, call) => {
                let found = match self.switch_handle.ask(Command::Show { call: call.clone() }).await {
                    Some(Reply::Call(record)) => Some(record),
                    Some(_) | None => self.store.call(&call).await.unwrap_or_else(|error| {
                        tracing::warn!(%error, "the result of a recurring call cannot be read; it will be retried");
                        None
                    }),
                };
                Input::Polled(key, found.map(Box::new))
            }
            Output::Sweep => {
                let now = self.clock.now().wall;
                let rows = self.store.abandoned_occurrences(now, OCCURRENCES_PER_SWEEP).await;
                Input::Abandoned(rows.unwrap_or_else(|error| {
                    tracing::warn!(%error, "abandoned occurrences cannot be read");
                    Vec::new()
                }))
            }
        }
    }
}

fn outcome(row: &Occurrence, done: Result<bool, StoreError>) -> WriteResult {
    match done {
        Ok(true) => {
            if row.state.is_final() {
                tracing::info!(
                    recurring = row.recurring.as_str(),
                    due = %row.due,
                    state = row.state.as_str(),
                    attempts = row.attempts,
                    "recurring call finished"
                );
            }
            WriteResult::Applied
        }
        Ok(false) => WriteResult::Conflict,
        Err(error) => {
            tracing::warn!(%error, "an occurrence cannot be written; it will be retried");
            WriteResult::Failed
        }
    }
}

/// The event of an occurrence in a final state (S95).
fn event(row: &Occurrence) -> Option<Audit> {
    let detail = json!({
        "due": row.due.to_string(),
        "attempts": row.attempts,
        "sessionId": row.call,
        "endReason": row.cause.map(model::Cause::code),
    });
    Some(Audit {
        at: row.updated_at,
        kind: row.state.event()?,
        user: Some(row.user.clone()),
        subject: row.recurring.to_string(),
        key: None,
        ip: None,
        request: String::new(),
        detail,
    })
}
