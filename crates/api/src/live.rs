//! Look-up of calls in all places where they can be: in the switch, in the journal on the way to the database, or in the database.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base::{Kind as _, Timestamp};
use model::{CallId, CallRecord};
use switch::limits::{CALLS_LISTED, NAMES_LISTED};
use switch::{CallPlace, CallsOf, Command, Presence, Reply};

use crate::App;
use crate::app::unexpected_reply;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::JOURNAL_TIMEOUT;

const JOURNAL_POLL: Duration = Duration::from_millis(50);

/// Whether the client may read a call: both users whose phones are in it may (S56). For all others the call does not exist.
pub(crate) fn may_read(principal: &Principal, call: &CallRecord) -> bool {
    principal.can_see(&call.user) || call.other_user.as_ref().is_some_and(|other| principal.can_see(other))
}

/// Find a call, active or ended.
pub(crate) async fn find_call(app: &App, id: &CallId) -> Result<Option<CallRecord>, ApiError> {
    if let Some(live) = live_call(app, id).await? {
        return Ok(Some(live));
    }
    let store = app.directory_service().store();
    let mut kept = store.call(id).await?;
    // Unknown to the switch, so the call has ended or never existed. Its final record may still be on the way to the database.
    let pending = |kept: &Option<CallRecord>| match kept {
        Some(call) => !call.status.is_final(),
        None => is_recent(id, app.directory_service().now().wall),
    };
    if pending(&kept) {
        let arrival = async {
            while pending(&kept) {
                tokio::time::sleep(JOURNAL_POLL).await;
                kept = store.call(id).await?;
            }
            Ok::<(), ApiError>(())
        };
        if let Ok(failed) = tokio::time::timeout(JOURNAL_TIMEOUT, arrival).await {
            failed?;
        }
    }
    Ok(kept)
}

/// The call as the switch has it; `None` if it is not active.
pub(crate) async fn live_call(app: &App, id: &CallId) -> Result<Option<CallRecord>, ApiError> {
    match app.ask(Command::Show { call: id.clone() }).await? {
        Reply::Call(call) => Ok(Some(call)),
        Reply::Unknown => Ok(None),
        other => Err(unexpected_reply(&other)),
    }
}

/// Active calls after the position `after`, newest first, for which `matches` holds. Stops at `limit` calls or at a call for which `stop_at` holds.
/// The switch is asked page by page, so that a long list does not delay call processing.
pub(crate) async fn live_calls(
    app: &App,
    of: CallsOf,
    mut after: Option<CallPlace>,
    limit: usize,
    matches: impl Fn(&CallRecord) -> bool,
    stop_at: impl Fn(&CallRecord) -> bool,
) -> Result<Vec<CallRecord>, ApiError> {
    let mut found = Vec::new();
    loop {
        let page = match app.ask(Command::Calls { of: of.clone(), after, limit: CALLS_LISTED }).await? {
            Reply::Calls(page) => page,
            other => return Err(unexpected_reply(&other)),
        };
        let last = page.last().filter(|last| page.len() >= CALLS_LISTED && !stop_at(last));
        after = last.map(CallPlace::of);
        found.extend(page.into_iter().filter(|call| matches(call)));
        if after.is_none() || found.len() >= limit {
            found.truncate(limit);
            return Ok(found);
        }
    }
}

/// Which of these calls are active.
pub(crate) async fn active_among(app: &App, ids: Vec<CallId>) -> Result<BTreeSet<CallId>, ApiError> {
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    match app.ask(Command::Up { calls: ids }).await? {
        Reply::Up(up) => Ok(up.into_iter().collect()),
        other => Err(unexpected_reply(&other)),
    }
}

/// Presence of phones. All are absent if the switch does not reply, so that lists can still be shown.
pub(crate) async fn presence(app: &App, usernames: Vec<Arc<str>>) -> Vec<Presence> {
    let mut there = Vec::with_capacity(usernames.len());
    for part in usernames.chunks(NAMES_LISTED) {
        let before = there.len();
        if let Ok(Reply::Presence(found)) = app.ask(Command::Presence { usernames: part.to_vec() }).await {
            there.extend(found);
        }
        there.resize(before + part.len(), Presence::default());
    }
    there
}

/// Whether an id was generated within the last seconds. Ids contain their second, and a call can be shorter than the delay of the journal.
fn is_recent(id: &CallId, now: Timestamp) -> bool {
    let mut parts = id.as_str().split('_');
    if parts.next() != Some(model::Call::PREFIX) {
        return false;
    }
    let second = parts.next().and_then(|digits| digits.parse::<i64>().ok());
    second.is_some_and(|second| (0..=JOURNAL_TIMEOUT.as_secs() as i64).contains(&(now.as_secs() - second)))
}
