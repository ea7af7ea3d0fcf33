//! The scheduler's shell: asks the store and the exchange what the state machine wants to know, once each, one after the other.

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

pub use start::{Beginning, Identity, identity};

/// How often the directory is compared with the one that the scheduler knows: a recurring call that was just made may be due at once.
const BEAT: Duration = Duration::from_millis(100);
/// How long the database is left alone that could not be read.
const RETRY: Duration = Duration::from_secs(5);

/// How often it is written down when recurring calls are due, for a start with other time zone data.
const FORECAST: Duration = Duration::from_secs(3600);
/// The same where something may be due that was not.
const FORECAST_CHANGED: Duration = Duration::from_secs(60);

/// What the scheduler works with.
#[derive(Debug)]
pub struct SchedulerContext {
    /// Where occurrences are kept.
    pub store: Store,
    /// Where the directory is.
    pub directory_service: DirectoryService,
    /// The way to the exchange.
    pub switch_handle: SwitchHandle,
    /// The clocks.
    pub clock: Clock,
    /// The data folder.
    pub data: PathBuf,
}

/// Run the recurring calls until the task is aborted. That may be at any moment: what was begun is found in the store.
pub async fn run(desk: SchedulerContext, config: Config, rng: Rng, beginning: Beginning) {
    desk.switch_handle.until_listening(true).await;
    let mut scheduler = Scheduler::new(config, rng);
    let mut known = desk.directory_service.directory();
    let file = forecast::file(&desk.data);
    forecast::tell(&desk.store, &file, &known, desk.clock.now().wall).await;
    let (mut kept, mut changed) = (desk.clock.now().instant, false);
    let mut inputs: VecDeque<Input> = VecDeque::from([
        Input::Begin { last: beginning.last, open: beginning.open },
        Input::Directory(Box::new(Directory::clone(&known))),
    ]);
    let mut out = Vec::new();
    loop {
        while let Some(input) = inputs.pop_front() {
            scheduler.handle(desk.clock.now(), input, &mut out);
            for output in out.drain(..) {
                inputs.push_back(desk.perform(output).await);
            }
        }
        let now = desk.clock.now();
        tokio::time::sleep(scheduler.deadline(now).since(now.instant).min(BEAT)).await;
        let latest = desk.directory_service.directory();
        if !Arc::ptr_eq(&latest, &known) {
            inputs.push_back(Input::Directory(Box::new(Directory::clone(&latest))));
            known = latest;
            changed = true;
        }
        let rest = if changed { FORECAST_CHANGED } else { FORECAST };
        if now.instant.since(kept) >= rest {
            (kept, changed) = (now.instant, false);
            tokio::spawn(forecast::remember(file.clone(), Arc::clone(&known), now.wall));
        }
        inputs.push_back(Input::Tick);
    }
}

/// The same, with the beginning that was read at the start of the process; without one after a panic of this task. Then it is read anew, and
/// what was begun shortly before counts as unknown: the journal may not have told the database yet, and nobody is dialled twice.
pub async fn run_from(
    beginning: Option<Beginning>,
    identity: Identity,
    desk: SchedulerContext,
    config: Config,
    rng: Rng,
) {
    let beginning = match beginning {
        Some(beginning) => beginning,
        None => {
            let identity = identity.of_another_boot();
            loop {
                match Beginning::read(&desk.store, &Pending::default(), &identity).await {
                    Ok(beginning) => break beginning,
                    Err(error) => tracing::warn!(%error, "recurring calls wait for the database"),
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    run(desk, config, rng, beginning).await;
}

impl SchedulerContext {
    /// Do it, and tell the outcome.
    async fn perform(&self, output: Output) -> Input {
        match output {
            Output::Find(key, username) => {
                let asked = self.switch_handle.ask(Command::Presence { usernames: vec![username] }).await;
                let here = match asked {
                    Some(Reply::Presence(found)) => found.first().is_some_and(|phone| phone.registered),
                    Some(_) | None => false,
                };
                Input::Found(key, here)
            }
            Output::Claim { row, since } => {
                let done = self.store.claim(&row, since, event(&row)).await;
                Input::Written(row.key(), outcome(&row, done))
            }
            Output::Change(row) => {
                let done = self.store.change_occurrence(&row, event(&row)).await;
                Input::Written(row.key(), outcome(&row, done))
            }
            Output::Dial(key, wish) => {
                let dialled = match self.switch_handle.ask(Command::Originate(wish)).await {
                    Some(Reply::Call(_)) => Dialled::Placed,
                    Some(Reply::Refused(cause)) => Dialled::Refused(cause),
                    Some(_) | None => Dialled::Silent,
                };
                Input::Dialled(key, dialled)
            }
            Output::Look(key, call) => {
                let found = match self.switch_handle.ask(Command::Show { call: call.clone() }).await {
                    Some(Reply::Call(record)) => Some(record),
                    Some(_) | None => self.store.call(&call).await.unwrap_or_else(|error| {
                        tracing::warn!(%error, "the outcome of a recurring call cannot be read yet");
                        None
                    }),
                };
                Input::Looked(key, found.map(Box::new))
            }
            Output::Sweep => {
                let now = self.clock.now().wall;
                let rows = self.store.forsaken_occurrences(now, OCCURRENCES_PER_SWEEP).await;
                Input::Forsaken(rows.unwrap_or_else(|error| {
                    tracing::warn!(%error, "occurrences that nobody holds cannot be read");
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
                    "a recurring call"
                );
            }
            WriteResult::Won
        }
        Ok(false) => WriteResult::Lost,
        Err(error) => {
            tracing::warn!(%error, "an occurrence cannot be written; it is tried again");
            WriteResult::Failed
        }
    }
}

/// What is told of a row that has come to its end (S95).
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
