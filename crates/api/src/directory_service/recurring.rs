//! Creating, changing and removing recurring calls (S76–S84, S92–S94).

use std::sync::Arc;

use base::Id;
use model::recurrence::Schedule;
use model::{
    Action, Cause, Change, DialPermissions, Directory, ExtensionId, Misfire, RecurringCall, RecurringCallId,
    dialplan,
};
use serde_json::{Value, json};

use super::difference::difference;
use super::{Actor, ChangeSet, DirectoryError, DirectoryService, Event};
use crate::limits::RECURRING_PER_EXTENSION;

/// Parameters of a new recurring call.
#[derive(Clone, Debug)]
pub struct NewRecurringCall {
    /// The extension whose phone rings first.
    pub extension: ExtensionId,
    /// Number that is called then.
    pub destination: String,
    /// When it is due.
    pub schedule: Schedule,
    /// Whether it is active.
    pub enabled: bool,
    /// What to do about occurrences that passed while no server ran.
    pub misfire: Misfire,
    /// Maximum number of call attempts per occurrence.
    pub max_attempts: u8,
    /// Minutes between two attempts.
    pub retry_minutes: u16,
    /// Action when the call is due.
    pub action: Action,
}

/// Changes of a recurring call; `None` leaves a value unchanged (S83).
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct RecurringCallChanges {
    pub destination: Option<String>,
    pub schedule: Option<Schedule>,
    pub enabled: Option<bool>,
    pub misfire: Option<Misfire>,
    pub max_attempts: Option<u8>,
    pub retry_minutes: Option<u16>,
    pub action: Option<Action>,
}

impl DirectoryService {
    /// Create a recurring call.
    pub async fn create_recurring(
        &self,
        actor: Actor,
        wanted: NewRecurringCall,
    ) -> Result<RecurringCall, DirectoryError> {
        self.commit(actor, move |draft| {
            let extension = draft.directory.extension(&wanted.extension).ok_or(DirectoryError::NotFound)?;
            check_destination(draft.directory, extension.dial_permissions, &wanted.destination)?;
            if draft.directory.recurring_calls_of(&extension.id).count() >= RECURRING_PER_EXTENSION {
                return Err(DirectoryError::RecurringCallLimit);
            }
            let now = draft.now.wall;
            let call = RecurringCall {
                id: Id::new(draft.now, &mut draft.rng),
                extension: extension.id.clone(),
                user: extension.user.clone(),
                destination: wanted.destination,
                schedule: wanted.schedule,
                enabled: wanted.enabled,
                misfire: wanted.misfire,
                action: wanted.action,
                max_attempts: wanted.max_attempts,
                retry_minutes: wanted.retry_minutes,
                since: now,
                created_at: now,
                updated_at: now,
            };
            draft.changes.push(Change::Recurring(Box::new(call.clone())));
            let detail = json!({"after": snapshot(&call)});
            draft.audit("recurring_call_created", &call.user, call.id.as_str(), detail); // S92
            Ok(call)
        })
        .await
    }

    /// Change a recurring call. A new schedule, or an activation, counts from now.
    pub async fn change_recurring(
        &self,
        actor: Actor,
        id: RecurringCallId,
        wanted: RecurringCallChanges,
    ) -> Result<RecurringCall, DirectoryError> {
        self.commit(actor, move |draft| {
            let old = Arc::clone(draft.directory.recurring_call(&id).ok_or(DirectoryError::NotFound)?);
            let mut new = RecurringCall::clone(&old);
            new.destination = wanted.destination.unwrap_or(new.destination);
            new.schedule = wanted.schedule.unwrap_or(new.schedule);
            new.enabled = wanted.enabled.unwrap_or(new.enabled);
            new.misfire = wanted.misfire.unwrap_or(new.misfire);
            new.max_attempts = wanted.max_attempts.unwrap_or(new.max_attempts);
            new.retry_minutes = wanted.retry_minutes.unwrap_or(new.retry_minutes);
            new.action = wanted.action.unwrap_or(new.action);
            if new == *old {
                return Ok(new);
            }
            let extension = draft.directory.extension(&new.extension).ok_or(DirectoryError::NotFound)?;
            check_destination(draft.directory, extension.dial_permissions, &new.destination)?;
            new.updated_at = draft.now.wall;
            if new.schedule != old.schedule || new.enabled != old.enabled {
                new.since = draft.now.wall;
            }
            draft.changes.push(Change::Recurring(Box::new(new.clone())));
            let detail = difference(&snapshot(&old), &snapshot(&new));
            draft.audit("recurring_call_updated", &new.user, id.as_str(), detail); // S93
            Ok(new)
        })
        .await
    }

    /// Remove a recurring call. Its past occurrences are kept.
    pub async fn remove_recurring(&self, actor: Actor, id: RecurringCallId) -> Result<(), DirectoryError> {
        self.commit(actor, move |draft| {
            let old = Arc::clone(draft.directory.recurring_call(&id).ok_or(DirectoryError::NotFound)?);
            draft.changes.push(Change::RecurringGone(id));
            draft.event = deleted(&old);
            Ok(())
        })
        .await
    }
}

/// Remove all recurring calls of an extension, with an event for each (S68, S94).
pub(super) fn remove_all_of(draft: &mut ChangeSet<'_>, extension: &ExtensionId) {
    for call in draft.directory.recurring_calls_of(extension) {
        draft.changes.push(Change::RecurringGone(call.id.clone()));
        draft.more_events.push(deleted(call));
    }
}

fn deleted(call: &RecurringCall) -> Event {
    Event {
        kind: "recurring_call_deleted",
        user: Some(call.user.clone()),
        subject: call.id.to_string(),
        detail: json!({"before": snapshot(call)}),
    }
}

/// Reject a destination that a schedule may never call now rather than at the time of the call. A destination without a route is accepted, because
/// a trunk may be added later.
fn check_destination(
    directory: &Directory,
    permissions: DialPermissions,
    destination: &str,
) -> Result<(), DirectoryError> {
    let user = crate::routes::sessions::user_part(destination);
    let asker = dialplan::DialContext { origin: dialplan::CallOrigin::Schedule, permissions };
    match dialplan::route(directory, asker, user).route {
        dialplan::Route::Refused(cause) if cause == Cause::BadNumber || cause.http_status() == 403 => {
            Err(DirectoryError::ForbiddenNumber("destinationNumber", cause))
        }
        dialplan::Route::Refused(_)
        | dialplan::Route::Extension(_)
        | dialplan::Route::Username(_)
        | dialplan::Route::Trunk(_)
        | dialplan::Route::Application(_) => Ok(()),
    }
}

/// Snapshot of a recurring call for the audit.
fn snapshot(call: &RecurringCall) -> Value {
    json!({
        "extensionId": call.extension,
        "destinationNumber": call.destination,
        "schedule": call.schedule,
        "enabled": call.enabled,
        "misfire": call.misfire,
        "action": call.action,
        "maxAttempts": call.max_attempts,
        "retryMinutes": call.retry_minutes,
    })
}
