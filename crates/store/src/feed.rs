//! Journal records into tables. Feeding the same records twice leaves the same rows and writes no event twice.

use std::collections::{BTreeMap, BTreeSet};

use model::journal::{Binding, CallEvent, DialogSnapshot, Record};
use model::{CallId, CallRecord, CallStatus, Cause, Recording, RecordingId};
use sqlx::AssertSqlSafe;

use crate::advisory_lock::AdvisoryLock;
use crate::event_builder::{self, BindingState, BindingStates};
use crate::pool::Conn;
use crate::row::{KEYS_AT_ONCE, TENANT, enum_text, placeholders, upsert};
use crate::sql::query;
use crate::{StoreError, bindings, calls, ladders, legs, outbound_call_time, recordings};

/// Final state of each key in a batch of records.
#[derive(Default)]
struct BatchState<'r> {
    bindings: BindingStates<'r>,
    calls: BTreeMap<&'r CallId, &'r CallRecord>,
    legs: BTreeMap<(&'r CallId, &'r [u8]), &'r DialogSnapshot>,
    ladders: BTreeMap<&'r CallId, &'r [u8]>,
    call_events: BTreeMap<&'r CallId, Vec<&'r CallEvent>>,
    other_events: Vec<&'r CallEvent>,
    recordings: BTreeMap<&'r RecordingId, &'r Recording>,
}

/// Append a state, merging successive refreshes and successive removals.
fn push_state<'r>(states: &mut Vec<BindingState<'r>>, state: BindingState<'r>) {
    match states.last_mut() {
        Some(last) if last.is_ok() == state.is_ok() => *last = state,
        Some(_) | None => states.push(state),
    }
}

fn batch_state(records: &[Record]) -> BatchState<'_> {
    let mut batch = BatchState::default();
    for record in records {
        match record {
            Record::Bound(binding) => {
                let key = (&*binding.username, binding.contact.as_str());
                push_state(batch.bindings.entry(key).or_default(), Ok(binding));
            }
            Record::Unbound { username, contact, at } => {
                push_state(batch.bindings.entry((username, contact)).or_default(), Err(*at));
            }
            Record::CallOpened(call) => {
                let last = batch.calls.entry(&call.id).or_insert(call);
                if last.ended_at.is_none() {
                    *last = call;
                }
            }
            Record::CallClosed(call) => {
                batch.calls.insert(&call.id, call);
            }
            Record::LegUp { call, leg } => {
                batch.legs.insert((call, &leg.dialog), leg);
            }
            Record::Ladder { call, blob } => {
                batch.ladders.insert(call, blob);
            }
            Record::Noted(event) => match event.call() {
                Some(call) => batch.call_events.entry(call).or_default().push(event),
                None => batch.other_events.push(event),
            },
            Record::Recording(recording) => {
                batch.recordings.insert(&recording.id, recording);
            }
            // `Alive` serves the recovery after a crash, `Voicemail` goes to the voicemail worker.
            Record::Alive { .. } | Record::Voicemail(_) => {}
        }
    }
    batch
}

/// Apply a batch of records. Returns the number of events written.
pub(crate) async fn feed(tx: &mut Conn, records: &[Record], node: &str) -> Result<usize, StoreError> {
    let mut batch = batch_state(records);
    let mut events = event_builder::registration_events(tx, &batch.bindings, node).await?;
    let (events_of_calls, marks) =
        event_builder::call_events_of(tx, &batch.calls, &batch.call_events).await?;
    events.extend(events_of_calls);
    events.extend(event_builder::authentication_events(tx, &batch.other_events).await?);
    events.extend(event_builder::spend_events(tx, &batch.other_events).await?);
    if !batch.recordings.is_empty() {
        // Before any row is touched: a transaction that holds row locks must not wait for one that holds the advisory lock.
        tx.lock(AdvisoryLock::Events).await?;
    }
    event_builder::write(tx, &events).await?;
    feed_bindings(tx, &batch.bindings, node).await?;

    let mut ended_calls =
        find_ended(tx, batch.calls.keys().copied().chain(batch.legs.keys().map(|(call, _)| *call))).await?;
    // An ended call stays ended, even if its opening is fed again, or a recovery that did not see its end closes it as crashed.
    let ends = |call: &CallRecord| call.ended_at.is_some() && call.cause != Some(Cause::Crash);
    batch.calls.retain(|id, call| ends(call) || !ended_calls.contains(*id));
    let records: Vec<&CallRecord> = batch.calls.values().copied().collect();
    upsert(tx, &calls::TABLE, &records, |call, query| calls::bind_at(node, call, query)).await?;
    let leg_rows: Vec<_> = records
        .iter()
        .flat_map(|call| call.legs.iter().enumerate().map(|(place, leg)| (&call.id, place, leg)))
        .collect();
    upsert(tx, &legs::TABLE, &leg_rows, legs::bind).await?;

    ended_calls.extend(records.iter().filter(|call| call.ended_at.is_some()).map(|call| call.id.clone()));
    batch.legs.retain(|(call, _), _| !ended_calls.contains(*call));
    let open_legs: Vec<_> = batch.legs.iter().map(|((call, _), leg)| (*call, *leg)).collect();
    upsert(tx, &legs::OPEN, &open_legs, legs::bind_open).await?;
    for some in ended_calls.iter().collect::<Vec<_>>().chunks(KEYS_AT_ONCE) {
        let sql = format!(
            "DELETE FROM open_legs WHERE tenant = $1 AND call_id IN ({})",
            placeholders(2, some.len())
        );
        let query = query(AssertSqlSafe(sql)).persistent(false).bind(TENANT);
        some.iter().fold(query, |query, call| query.bind(call.as_str())).execute(&mut *tx).await?;
    }
    let ladder_rows: Vec<_> = batch.ladders.iter().map(|(call, blob)| (*call, *blob)).collect();
    upsert(tx, &ladders::TABLE, &ladder_rows, ladders::bind).await?;
    for recording in batch.recordings.values() {
        recordings::feed(tx, recording, node).await?;
    }
    mark_answered(tx, &batch).await?;
    outbound_call_time::feed(tx, &batch.call_events, node).await?;
    event_builder::mark_written(tx, &marks).await?;
    Ok(events.len())
}

/// Mark calls that were answered and have not ended, so that the record of a later crash has the time of the answer.
async fn mark_answered(tx: &mut Conn, batch: &BatchState<'_>) -> Result<(), StoreError> {
    let has_ended = |call: &CallId| batch.calls.get(call).is_some_and(|record| record.ended_at.is_some());
    let up = batch.call_events.iter().filter(|(call, _)| !has_ended(call)).filter_map(|(call, events)| {
        events.iter().find_map(|event| match event {
            CallEvent::Answered { at, .. } => Some((*call, *at)),
            CallEvent::Ringing { .. }
            | CallEvent::WrongAnswer { .. }
            | CallEvent::Outside(_)
            | CallEvent::Emergency { .. }
            | CallEvent::SpendAlert { .. } => None,
        })
    });
    for some in up.collect::<Vec<_>>().chunks(KEYS_AT_ONCE) {
        let when = |(n, _): (usize, &_)| format!("WHEN ${} THEN CAST(${} AS BIGINT) ", 3 + 2 * n, 4 + 2 * n);
        let times: String = some.iter().enumerate().map(when).collect();
        let sql = format!(
            "UPDATE calls SET status = $2, answered_at = CASE id {times}END WHERE tenant = $1 AND ended_at IS NULL \
             AND answered_at IS NULL AND id IN ({})",
            placeholders(3 + 2 * some.len(), some.len())
        );
        let query =
            query(AssertSqlSafe(sql)).persistent(false).bind(TENANT).bind(enum_text(&CallStatus::InProgress));
        let query =
            some.iter().fold(query, |query, (call, at)| query.bind(call.as_str()).bind(at.as_micros()));
        some.iter().fold(query, |query, (call, _)| query.bind(call.as_str())).execute(&mut *tx).await?;
    }
    Ok(())
}

async fn feed_bindings(tx: &mut Conn, contacts: &BindingStates<'_>, node: &str) -> Result<(), StoreError> {
    let present: Vec<&Binding> = contacts.values().filter_map(|states| states.last()?.ok()).collect();
    upsert(tx, &bindings::TABLE, &present, |binding, query| bindings::bind_at(node, binding, query)).await?;
    for ((username, contact), _) in
        contacts.iter().filter(|(_, states)| states.last().is_none_or(std::result::Result::is_err))
    {
        query("DELETE FROM bindings WHERE tenant = $1 AND username = $2 AND contact = $3 AND node = $4")
            .bind(TENANT)
            .bind(*username)
            .bind(*contact)
            .bind(node)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// Which of these calls have ended according to the database.
async fn find_ended<'r>(
    tx: &mut Conn,
    ids: impl Iterator<Item = &'r CallId>,
) -> Result<BTreeSet<CallId>, StoreError> {
    let ids: Vec<&CallId> = ids.collect::<BTreeSet<_>>().into_iter().collect();
    let mut ended_calls = BTreeSet::new();
    for some in ids.chunks(KEYS_AT_ONCE) {
        let sql = format!(
            "SELECT id FROM calls WHERE tenant = $1 AND ended_at IS NOT NULL AND id IN ({})",
            placeholders(2, some.len())
        );
        let query = query(AssertSqlSafe(sql)).persistent(false).bind(TENANT);
        let rows = some.iter().fold(query, |query, id| query.bind(id.as_str())).fetch_all(&mut *tx).await?;
        for row in rows {
            let text: String = row.try_get(0)?;
            ended_calls.extend(CallId::parse(&text));
        }
    }
    Ok(ended_calls)
}
