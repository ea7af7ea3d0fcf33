//! Builds events from journal records (S88–S95): each event once and, for one call, in order, in the transaction that writes the rows.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use model::journal::{Binding, CallEvent};
use model::{CallId, CallRecord, Cause, UserId};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::advisory_lock::AdvisoryLock;
use crate::pool::Conn;
use crate::row::{KEYS_AT_ONCE, TENANT, insert, placeholders};
use crate::sql::query;
use crate::{StoreError, events};

/// An event without a requesting API key.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct NewEvent {
    pub at: Timestamp,
    pub kind: &'static str,
    pub user: Option<UserId>,
    /// The user at the other end of a call, who may read it too.
    pub other_user: Option<UserId>,
    pub subject: String,
    pub detail: Value,
}

/// Bits of column `told` of a call: which of its events are written.
const STARTED: i64 = 1;
const RINGING: i64 = 2;
const ANSWERED: i64 = 4;
const ENDED: i64 = 8;
const EMERGENCY: i64 = 16;

/// The fields of a call that its events show, and its `told` bits.
#[derive(Clone)]
struct CallSummary {
    told: i64,
    user: Option<UserId>,
    other_user: Option<UserId>,
    direction: String,
    from: String,
    to: String,
}

/// The events of the calls in a batch, and the new values of column `told`. `calls` holds the last record of each call.
pub(crate) async fn call_events_of(
    tx: &mut Conn,
    calls: &BTreeMap<&CallId, &CallRecord>,
    journalled: &BTreeMap<&CallId, Vec<&CallEvent>>,
) -> Result<(Vec<NewEvent>, Vec<(CallId, i64)>), StoreError> {
    let ids: BTreeSet<&CallId> = calls.keys().chain(journalled.keys()).copied().collect();
    let mut stored = stored_calls(tx, &ids).await?;
    let (mut events, mut marks) = (Vec::new(), Vec::new());
    for id in ids {
        let record = calls.get(id).copied();
        let row = stored.remove(id.as_str());
        let before = row.as_ref().map_or(0, |call| call.told);
        let Some(call) = record.map(summary).or(row) else { continue };
        let mut told = before;
        let mut emit = |bit: i64, at: Timestamp, more: &[(&str, Value)]| {
            if told & (bit | ENDED) == 0 {
                told |= bit;
                events.push(call_event(id, &call, bit, at, more));
            }
        };
        if let Some(record) = record {
            emit(STARTED, record.started_at, &[]);
        }
        for entry in journalled.get(id).into_iter().flatten() {
            match entry {
                CallEvent::Ringing { at, .. } => emit(RINGING, *at, &[]),
                CallEvent::Answered { at, .. } => emit(ANSWERED, *at, &[]),
                CallEvent::Emergency { at, .. } => emit(EMERGENCY, *at, &[]),
                CallEvent::WrongAnswer { .. } | CallEvent::Outside(_) | CallEvent::SpendAlert { .. } => {}
            }
        }
        if let Some(record) = record.filter(|record| record.ended_at.is_some()) {
            if let Some(at) = record.answered_at {
                emit(ANSWERED, at, &[]);
            }
            let at = record.ended_at.unwrap_or_default();
            let more = [
                ("status", Value::from(record.status.as_str())),
                ("endReason", record.cause.map(Cause::code).into()),
                ("durationSeconds", record.duration_seconds(at).into()),
            ];
            emit(ENDED, at, &more);
        }
        if told != before {
            marks.push((id.clone(), told));
        }
    }
    Ok((events, marks))
}

fn summary(record: &CallRecord) -> CallSummary {
    CallSummary {
        told: 0,
        user: Some(record.user.clone()),
        other_user: record.other_user.clone(),
        direction: crate::row::enum_text(&record.direction),
        from: record.from_number.clone(),
        to: record.to_number.clone(),
    }
}

fn call_event(id: &CallId, call: &CallSummary, bit: i64, at: Timestamp, more: &[(&str, Value)]) -> NewEvent {
    let (kind, status) = match bit {
        STARTED => ("call_started", "queued"),
        RINGING => ("call_ringing", "ringing"),
        ANSWERED => ("call_answered", "in-progress"),
        EMERGENCY => ("emergency_call", "ringing"),
        _ => ("call_ended", "completed"),
    };
    let mut detail = json!({
        "sessionId": id.as_str(), "status": status, "direction": call.direction,
        "fromNumber": call.from, "toNumber": call.to,
    });
    for (name, value) in more {
        detail[*name] = value.clone();
    }
    let other_user = call.other_user.clone().filter(|other| Some(other) != call.user.as_ref());
    NewEvent { at, kind, user: call.user.clone(), other_user, subject: id.to_string(), detail }
}

async fn stored_calls(
    tx: &mut Conn,
    ids: &BTreeSet<&CallId>,
) -> Result<BTreeMap<String, CallSummary>, StoreError> {
    let ids: Vec<&CallId> = ids.iter().copied().collect();
    let mut stored = BTreeMap::new();
    for some in ids.chunks(KEYS_AT_ONCE) {
        let sql = format!(
            "SELECT id, told, user_id, other_user, direction, from_number, to_number FROM calls \
             WHERE tenant = $1 AND id IN ({})",
            placeholders(2, some.len())
        );
        let query = query(AssertSqlSafe(sql)).persistent(false).bind(TENANT);
        let rows = some.iter().fold(query, |query, id| query.bind(id.as_str())).fetch_all(&mut *tx).await?;
        for row in rows {
            let user = |text: Option<String>| text.and_then(|text| UserId::parse(&text).ok());
            let call = CallSummary {
                told: row.try_get(1)?,
                user: user(row.try_get(2)?),
                other_user: user(row.try_get(3)?),
                direction: row.try_get(4)?,
                from: row.try_get(5)?,
                to: row.try_get(6)?,
            };
            stored.insert(row.try_get(0)?, call);
        }
    }
    Ok(stored)
}

/// Store which events of these calls are written.
pub(crate) async fn mark_written(tx: &mut Conn, marks: &[(CallId, i64)]) -> Result<(), StoreError> {
    let mut by_bits: BTreeMap<i64, Vec<&CallId>> = BTreeMap::new();
    for (call, told) in marks {
        by_bits.entry(*told).or_default().push(call);
    }
    for (told, calls) in by_bits {
        for some in calls.chunks(KEYS_AT_ONCE) {
            let sql = format!(
                "UPDATE calls SET told = $1 WHERE tenant = $2 AND id IN ({})",
                placeholders(3, some.len())
            );
            let query = query(AssertSqlSafe(sql)).persistent(false).bind(told).bind(TENANT);
            some.iter().fold(query, |query, call| query.bind(call.as_str())).execute(&mut *tx).await?;
        }
    }
    Ok(())
}

/// A binding, or the time of its removal.
pub(crate) type BindingState<'r> = Result<&'r Binding, Timestamp>;

/// States of each contact in order; successive refreshes are merged.
pub(crate) type BindingStates<'r> = BTreeMap<(&'r str, &'r str), Vec<BindingState<'r>>>;

/// The events of registrations: added and removed contacts, not refreshes.
pub(crate) async fn registration_events(
    tx: &mut Conn,
    contacts: &BindingStates<'_>,
    node: &str,
) -> Result<Vec<NewEvent>, StoreError> {
    let holders = stored_contacts(tx, contacts).await?;
    let mut changes = Vec::new();
    for ((username, contact), states) in contacts {
        let holder = holders.get(&((*username).to_owned(), (*contact).to_owned()));
        let mut is_there = holder.is_some();
        // A phone that moved to another node is still registered, even if its old node reports the removal.
        let elsewhere = holder.is_some_and(|holder| holder != node);
        for state in states.iter().skip_while(|state| elsewhere && state.is_err()) {
            if is_there != state.is_ok() {
                changes.push((*username, *contact, *state, states.len() > 1));
            }
            is_there = state.is_ok();
        }
    }
    let owners = owners(tx, changes.iter().map(|(username, ..)| *username).collect()).await?;
    let mut events = Vec::new();
    for (username, contact, state, several) in changes {
        let user = match owners.get(username) {
            Some(user) => Some(user.clone()),
            None => last_owner(tx, username).await?,
        };
        let mut detail = json!({"username": username, "contact": contact});
        if let Ok(binding) = state {
            detail["address"] = binding.remote.to_string().into();
            detail["userAgent"] = binding.user_agent.as_str().into();
            detail["expiresAt"] = binding.expires_at.to_string().into();
        }
        let (kind, at) = match state {
            Ok(binding) => ("registration_added", binding.created_at),
            Err(at) => ("registration_removed", at),
        };
        let event = NewEvent { at, kind, user, other_user: None, subject: username.to_owned(), detail };
        // The row tells whether the last state is new, not whether the events of the states before it were written.
        if !several || !is_written(tx, &event).await? {
            events.push(event);
        }
    }
    Ok(events)
}

/// The contacts of these user names in the database, and the nodes that hold them.
async fn stored_contacts(
    tx: &mut Conn,
    contacts: &BindingStates<'_>,
) -> Result<BTreeMap<(String, String), String>, StoreError> {
    let names: Vec<&str> =
        contacts.keys().map(|(name, _)| *name).collect::<BTreeSet<_>>().into_iter().collect();
    let mut there = BTreeMap::new();
    for some in names.chunks(KEYS_AT_ONCE) {
        let sql = format!(
            "SELECT username, contact, node FROM bindings WHERE tenant = $1 AND username IN ({})",
            placeholders(2, some.len())
        );
        let query = query(AssertSqlSafe(sql)).persistent(false).bind(TENANT);
        let rows = some.iter().fold(query, |query, name| query.bind(*name)).fetch_all(&mut *tx).await?;
        for row in rows {
            there.insert((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?);
        }
    }
    Ok(there)
}

/// The owners of these user names.
async fn owners(tx: &mut Conn, names: BTreeSet<&str>) -> Result<BTreeMap<String, UserId>, StoreError> {
    let names: Vec<&str> = names.into_iter().collect();
    let mut owners = BTreeMap::new();
    for some in names.chunks(KEYS_AT_ONCE) {
        let sql = format!(
            "SELECT username, user_id FROM credentials WHERE tenant = $1 AND username IN ({})",
            placeholders(2, some.len())
        );
        let query = query(AssertSqlSafe(sql)).persistent(false).bind(TENANT);
        let rows = some.iter().fold(query, |query, name| query.bind(*name)).fetch_all(&mut *tx).await?;
        for row in rows {
            let user: String = row.try_get(1)?;
            if let Ok(user) = UserId::parse(&user) {
                owners.insert(row.try_get(0)?, user);
            }
        }
    }
    Ok(owners)
}

/// The former owner of a user name whose credential is deleted: its contacts are removed after it.
async fn last_owner(tx: &mut Conn, username: &str) -> Result<Option<UserId>, StoreError> {
    let row = query(
        "SELECT user_id FROM events WHERE tenant = $1 AND subject = $2 AND kind = 'registration_added' \
         ORDER BY seq DESC LIMIT 1",
    )
    .bind(TENANT)
    .bind(username)
    .fetch_optional(tx)
    .await?;
    let user: Option<String> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    Ok(user.and_then(|user| UserId::parse(&user).ok()))
}

/// The events of failed authentications. No row marks them as written: the events themselves are searched.
pub(crate) async fn authentication_events(
    tx: &mut Conn,
    journalled: &[&CallEvent],
) -> Result<Vec<NewEvent>, StoreError> {
    let mut events: Vec<NewEvent> = Vec::new();
    for entry in journalled {
        let CallEvent::WrongAnswer { source, account, at, banned_seconds } = entry else { continue };
        let kind = if *banned_seconds > 0 { "auth_banned" } else { "auth_failed" };
        let subject = source.to_string();
        let detail = match banned_seconds {
            0 => json!({"source": subject, "username": account}),
            seconds => json!({"source": subject, "username": account, "bannedSeconds": seconds}),
        };
        let event = NewEvent { at: *at, kind, user: None, other_user: None, subject, detail };
        if !events.contains(&event) && !is_written(tx, &event).await? {
            events.push(event);
        }
    }
    let owners =
        owners(tx, events.iter().filter_map(|event| event.detail["username"].as_str()).collect()).await?;
    for event in &mut events {
        event.user = event.detail["username"].as_str().and_then(|name| owners.get(name)).cloned();
    }
    Ok(events)
}

/// The events of outbound spending (security.md row 7): each level once a day, also where several nodes reach it, or one that restarted.
pub(crate) async fn spend_events(
    tx: &mut Conn,
    journalled: &[&CallEvent],
) -> Result<Vec<NewEvent>, StoreError> {
    let mut events: Vec<NewEvent> = Vec::new();
    for entry in journalled {
        let CallEvent::SpendAlert { user, percent, limit_minutes, day, at } = entry else { continue };
        let detail = json!({
            "userId": user.as_str(), "percent": percent, "limitMinutes": limit_minutes, "day": day.to_string(),
        });
        let (kind, subject) = ("spend_alert", user.to_string());
        let event = NewEvent { at: *at, kind, user: Some(user.clone()), other_user: None, subject, detail };
        let again = events.iter().any(|f| f.subject == event.subject && f.detail == event.detail);
        if !again && !is_written_at_any_time(tx, &event).await? {
            events.push(event);
        }
    }
    Ok(events)
}

async fn is_written_at_any_time(tx: &mut Conn, event: &NewEvent) -> Result<bool, StoreError> {
    let row = query(
        "SELECT 1 FROM events WHERE tenant = $1 AND kind = $2 AND subject = $3 AND detail = $4 LIMIT 1",
    )
    .bind(TENANT)
    .bind(event.kind)
    .bind(event.subject.as_str())
    .bind(event.detail.to_string())
    .fetch_optional(tx)
    .await?;
    Ok(row.is_some())
}

async fn is_written(tx: &mut Conn, event: &NewEvent) -> Result<bool, StoreError> {
    let row = query(
        "SELECT 1 FROM events WHERE tenant = $1 AND at = $2 AND kind = $3 AND subject = $4 AND detail = $5 LIMIT 1",
    )
    .bind(TENANT)
    .bind(event.at.as_micros())
    .bind(event.kind)
    .bind(event.subject.as_str())
    .bind(event.detail.to_string())
    .fetch_optional(tx)
    .await?;
    Ok(row.is_some())
}

/// Append the events to table `events`.
pub(crate) async fn write(tx: &mut Conn, events: &[NewEvent]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    for event in events {
        debug_assert!(model::event_type(event.kind).is_some(), "{} is not in model::EVENT_TYPES", event.kind);
    }
    // Number the events of a batch by time; those of one call and one instant keep their order.
    let mut events: Vec<&NewEvent> = events.iter().collect();
    events.sort_by_key(|event| event.at);
    tx.lock(AdvisoryLock::Events).await?;
    let first = events::next(&mut *tx).await?;
    insert(tx, &events::EVENTS, (first..).zip(events), |(seq, event), query| {
        query
            .bind(seq)
            .bind(event.at.as_micros())
            .bind(event.kind)
            .bind(event.user.as_ref().map(UserId::to_string))
            .bind(event.subject.as_str())
            .bind(None::<&str>)
            .bind(None::<&str>)
            .bind("")
            .bind(event.detail.to_string())
            .bind(event.other_user.as_ref().map(UserId::to_string))
    })
    .await
}
