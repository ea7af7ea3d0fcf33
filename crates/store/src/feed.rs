//! Journal records into tables. Feeding the same records twice leaves the same rows and writes no event twice.

use std::collections::{BTreeMap, BTreeSet};

use model::journal::{Binding, CallEvent, DialogSnapshot, Record};
use model::{CallId, CallRecord, CallStatus, Cause, Recording, RecordingId};
use sqlx::AssertSqlSafe;

use crate::event_builder::{self, State, States};
use crate::pool::{AdvisoryLock, Conn};
use crate::row::{KEYS_AT_ONCE, TENANT, placeholders, upsert, word};
use crate::sql::query;
use crate::{StoreError, bindings, calls, ladders, legs, outbound_call_time, recordings};

/// Final state of each key in a batch of records.
#[derive(Default)]
struct Outcome<'r> {
    bindings: States<'r>,
    calls: BTreeMap<&'r CallId, &'r CallRecord>,
    legs: BTreeMap<(&'r CallId, &'r [u8]), &'r DialogSnapshot>,
    ladders: BTreeMap<&'r CallId, &'r [u8]>,
    call_notes: BTreeMap<&'r CallId, Vec<&'r CallEvent>>,
    notes: Vec<&'r CallEvent>,
    recordings: BTreeMap<&'r RecordingId, &'r Recording>,
}

/// Append a state, merging successive refreshes and successive removals.
fn then<'r>(states: &mut Vec<State<'r>>, state: State<'r>) {
    match states.last_mut() {
        Some(last) if last.is_ok() == state.is_ok() => *last = state,
        Some(_) | None => states.push(state),
    }
}

fn outcome(records: &[Record]) -> Outcome<'_> {
    let mut end = Outcome::default();
    for record in records {
        match record {
            Record::Bound(binding) => {
                let key = (&*binding.username, binding.contact.as_str());
                then(end.bindings.entry(key).or_default(), Ok(binding));
            }
            Record::Unbound { username, contact, at } => {
                then(end.bindings.entry((username, contact)).or_default(), Err(*at));
            }
            Record::CallOpened(call) => {
                let last = end.calls.entry(&call.id).or_insert(call);
                if last.ended_at.is_none() {
                    *last = call;
                }
            }
            Record::CallClosed(call) => {
                end.calls.insert(&call.id, call);
            }
            Record::LegUp { call, leg } => {
                end.legs.insert((call, &leg.dialog), leg);
            }
            Record::Ladder { call, blob } => {
                end.ladders.insert(call, blob);
            }
            Record::Noted(note) => match note.call() {
                Some(call) => end.call_notes.entry(call).or_default().push(note),
                None => end.notes.push(note),
            },
            Record::Recording(recording) => {
                end.recordings.insert(&recording.id, recording);
            }
            // `Alive` serves the recovery after a crash, `Voicemail` goes to the voicemail worker.
            Record::Alive { .. } | Record::Voicemail(_) => {}
        }
    }
    end
}

/// Apply a batch of records. Returns the number of events written.
pub(crate) async fn feed(tx: &mut Conn, records: &[Record], node: &str) -> Result<usize, StoreError> {
    let mut end = outcome(records);
    let mut facts = event_builder::of_bindings(tx, &end.bindings, node).await?;
    let (told_calls, marks) = event_builder::of_calls(tx, &end.calls, &end.call_notes).await?;
    facts.extend(told_calls);
    facts.extend(event_builder::of_guard(tx, &end.notes).await?);
    facts.extend(event_builder::of_meters(tx, &end.notes).await?);
    if !end.recordings.is_empty() {
        // Before any row is touched: a transaction that holds row locks must not wait for one that holds the advisory lock.
        tx.lock(AdvisoryLock::Events).await?;
    }
    event_builder::write(tx, &facts).await?;
    feed_bindings(tx, &end.bindings, node).await?;

    let mut over = ended(tx, end.calls.keys().copied().chain(end.legs.keys().map(|(call, _)| *call))).await?;
    // An ended call stays ended, even if its opening is fed again, or a recovery that did not see its end closes it as crashed.
    let ends = |call: &CallRecord| call.ended_at.is_some() && call.cause != Some(Cause::Crash);
    end.calls.retain(|id, call| ends(call) || !over.contains(*id));
    let told: Vec<&CallRecord> = end.calls.values().copied().collect();
    upsert(tx, &calls::TABLE, &told, |call, query| calls::bind_at(node, call, query)).await?;
    let told_legs: Vec<_> = told
        .iter()
        .flat_map(|call| call.legs.iter().enumerate().map(|(place, leg)| (&call.id, place, leg)))
        .collect();
    upsert(tx, &legs::TABLE, &told_legs, legs::bind).await?;

    over.extend(told.iter().filter(|call| call.ended_at.is_some()).map(|call| call.id.clone()));
    end.legs.retain(|(call, _), _| !over.contains(*call));
    let up: Vec<_> = end.legs.iter().map(|((call, _), leg)| (*call, *leg)).collect();
    upsert(tx, &legs::OPEN, &up, legs::bind_open).await?;
    for some in over.iter().collect::<Vec<_>>().chunks(KEYS_AT_ONCE) {
        let sql = format!(
            "DELETE FROM open_legs WHERE tenant = $1 AND call_id IN ({})",
            placeholders(2, some.len())
        );
        let query = query(AssertSqlSafe(sql)).persistent(false).bind(TENANT);
        some.iter().fold(query, |query, call| query.bind(call.as_str())).execute(&mut *tx).await?;
    }
    let kept: Vec<_> = end.ladders.iter().map(|(call, blob)| (*call, *blob)).collect();
    upsert(tx, &ladders::TABLE, &kept, ladders::bind).await?;
    for recording in end.recordings.values() {
        recordings::feed(tx, recording, node).await?;
    }
    answered(tx, &end).await?;
    outbound_call_time::feed(tx, &end.call_notes, node).await?;
    event_builder::mark(tx, &marks).await?;
    Ok(facts.len())
}

/// Mark calls that were answered and have not ended, so that the record of a later crash has the time of the answer.
async fn answered(tx: &mut Conn, end: &Outcome<'_>) -> Result<(), StoreError> {
    let over = |call: &CallId| end.calls.get(call).is_some_and(|record| record.ended_at.is_some());
    let up = end.call_notes.iter().filter(|(call, _)| !over(call)).filter_map(|(call, notes)| {
        notes.iter().find_map(|note| match note {
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
            query(AssertSqlSafe(sql)).persistent(false).bind(TENANT).bind(word(&CallStatus::InProgress));
        let query =
            some.iter().fold(query, |query, (call, at)| query.bind(call.as_str()).bind(at.as_micros()));
        some.iter().fold(query, |query, (call, _)| query.bind(call.as_str())).execute(&mut *tx).await?;
    }
    Ok(())
}

async fn feed_bindings(tx: &mut Conn, told: &States<'_>, node: &str) -> Result<(), StoreError> {
    let there: Vec<&Binding> = told.values().filter_map(|states| states.last()?.ok()).collect();
    upsert(tx, &bindings::TABLE, &there, |binding, query| bindings::bind_at(node, binding, query)).await?;
    for ((username, contact), _) in
        told.iter().filter(|(_, states)| states.last().is_none_or(std::result::Result::is_err))
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
async fn ended<'r>(
    tx: &mut Conn,
    ids: impl Iterator<Item = &'r CallId>,
) -> Result<BTreeSet<CallId>, StoreError> {
    let ids: Vec<&CallId> = ids.collect::<BTreeSet<_>>().into_iter().collect();
    let mut over = BTreeSet::new();
    for some in ids.chunks(KEYS_AT_ONCE) {
        let sql = format!(
            "SELECT id FROM calls WHERE tenant = $1 AND ended_at IS NOT NULL AND id IN ({})",
            placeholders(2, some.len())
        );
        let query = query(AssertSqlSafe(sql)).persistent(false).bind(TENANT);
        let rows = some.iter().fold(query, |query, id| query.bind(id.as_str())).fetch_all(&mut *tx).await?;
        for row in rows {
            let text: String = row.try_get(0)?;
            over.extend(CallId::parse(&text));
        }
    }
    Ok(over)
}
