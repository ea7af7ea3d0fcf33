//! Calls wherever they are: with the exchange, on their way through the journal, or in the database.

use std::time::Duration;

use base::{Kind as _, Timestamp};
use model::{CallId, CallRecord};
use switch::{Command, Presence, Reply};

use crate::App;
use crate::app::out_of_turn;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::limits::JOURNAL_PATIENCE;

const JOURNAL_POLL: Duration = Duration::from_millis(50);

/// Both users whose phones are in a call may read it (S56); for all others it does not exist.
pub(crate) fn may_read(caller: &Caller, call: &CallRecord) -> bool {
    caller.sees(&call.user) || call.other_user.as_ref().is_some_and(|other| caller.sees(other))
}

/// A call, alive or over.
pub(crate) async fn find_call(app: &App, id: &CallId) -> Result<Option<CallRecord>, ApiError> {
    if let Some(live) = live_call(app, id).await? {
        return Ok(Some(live));
    }
    let store = app.office().store();
    let mut kept = store.call(id).await?;
    // The exchange does not know it (any more), so it is over or never was: its ending may still be on its way to the database.
    let pending = |kept: &Option<CallRecord>| match kept {
        Some(call) => !call.status.is_final(),
        None => is_recent(id, app.office().now().wall),
    };
    if pending(&kept) {
        let arrival = async {
            while pending(&kept) {
                tokio::time::sleep(JOURNAL_POLL).await;
                kept = store.call(id).await?;
            }
            Ok::<(), ApiError>(())
        };
        if let Ok(failed) = tokio::time::timeout(JOURNAL_PATIENCE, arrival).await {
            failed?;
        }
    }
    Ok(kept)
}

/// The call as the exchange has it.
pub(crate) async fn live_call(app: &App, id: &CallId) -> Result<Option<CallRecord>, ApiError> {
    match app.ask(Command::Show { call: id.clone() }).await? {
        Reply::Call(call) => Ok(Some(call)),
        Reply::Unknown => Ok(None),
        other => Err(out_of_turn(&other)),
    }
}

/// All calls that are up.
pub(crate) async fn live_calls(app: &App) -> Result<Vec<CallRecord>, ApiError> {
    match app.ask(Command::Calls).await? {
        Reply::Calls(calls) => Ok(calls),
        other => Err(out_of_turn(&other)),
    }
}

/// Whether phones are there; nobody is where the exchange does not answer: lists are shown all the same.
pub(crate) async fn presence(app: &App, usernames: Vec<std::sync::Arc<str>>) -> Vec<Presence> {
    let count = usernames.len();
    let mut there = match app.ask(Command::Presence { usernames }).await {
        Ok(Reply::Presence(there)) => there,
        Ok(_) | Err(_) => Vec::new(),
    };
    there.resize(count, Presence::default());
    there
}

/// Whether an id was made within the last seconds: ids carry their second, and calls can be shorter than the journal's way.
fn is_recent(id: &CallId, now: Timestamp) -> bool {
    let mut parts = id.as_str().split('_');
    if parts.next() != Some(model::Call::PREFIX) {
        return false;
    }
    let second = parts.next().and_then(|digits| digits.parse::<i64>().ok());
    second.is_some_and(|second| (0..=JOURNAL_PATIENCE.as_secs() as i64).contains(&(now.as_secs() - second)))
}
