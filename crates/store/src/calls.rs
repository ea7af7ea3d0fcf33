//! Table `calls`: call records, live and ended.

use std::collections::BTreeMap;

use base::Timestamp;
use model::journal::{Binding, DialogSnapshot, OutboundCallTime};
use model::{CallId, CallRecord, UserId};
use sqlx::AssertSqlSafe;

use crate::limits::NUMBER_BYTES;
use crate::pool::Pool;
use crate::row::{KEYS_AT_ONCE, Query, Reader, TENANT, Table, enum_text, json, with_keys};
use crate::sql::{Row, query};
use crate::{Cursor, StoreError, legs};

/// Runtime state that the switch restores at start.
#[derive(Clone, Debug, Default)]
pub struct RuntimeState {
    /// Bindings, including expired ones.
    pub bindings: Vec<Binding>,
    /// Calls that have not ended, with their confirmed legs.
    pub open_calls: Vec<(CallRecord, Vec<DialogSnapshot>)>,
    /// Recent outbound time; see [`crate::Store::outside_since`].
    pub outside: Vec<OutboundCallTime>,
}

/// A page of calls, newest first.
#[derive(Clone, Debug, Default)]
pub struct CallPage {
    /// The calls.
    pub calls: Vec<CallRecord>,
    /// Position of the next page; `None` on the last page.
    pub next: Option<Cursor>,
}

pub(crate) const TABLE: Table = Table {
    name: "calls",
    key: &["id"],
    rest: &[
        "user_id",
        "other_user",
        "direction",
        "status",
        "from_number",
        "to_number",
        "device",
        "started_at",
        "answered_at",
        "ended_at",
        "cause",
        "trace",
        "node",
    ],
};

/// Bind a row with the node that has (or had) the call.
pub(crate) fn bind_at(node: &str, call: &CallRecord, query: Query) -> Query {
    bind(call, query).bind(node)
}

fn bind(call: &CallRecord, query: Query) -> Query {
    query
        .bind(call.id.as_str().to_owned())
        .bind(call.user.as_str().to_owned())
        .bind(call.other_user.as_ref().map(UserId::to_string))
        .bind(enum_text(&call.direction))
        .bind(enum_text(&call.status))
        .bind(indexed(&call.from_number))
        .bind(indexed(&call.to_number))
        .bind(call.device.clone())
        .bind(call.started_at.as_micros())
        .bind(call.answered_at.map(Timestamp::as_micros))
        .bind(call.ended_at.map(Timestamp::as_micros))
        .bind(call.cause.as_ref().map(enum_text))
        .bind(json(&call.trace))
}

/// The part of a number that fits into an index: a phone may dial a text of any length.
fn indexed(number: &str) -> &str {
    number.get(..number.floor_char_boundary(NUMBER_BYTES)).unwrap_or_default()
}

pub(crate) fn read(row: &Row) -> Result<CallRecord, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    Ok(CallRecord {
        as_of: None,
        id: row.id()?,
        user: row.id()?,
        other_user: row.id_or_none()?,
        direction: row.enum_text()?,
        status: row.enum_text()?,
        from_number: row.text()?,
        to_number: row.text()?,
        device: row.text_or_none()?,
        started_at: row.instant()?,
        answered_at: row.instant_or_none()?,
        ended_at: row.instant_or_none()?,
        cause: row.enum_or_none()?,
        trace: row.json()?,
        legs: Vec::new(),
    })
}

pub(crate) async fn one(pool: &Pool, id: &CallId) -> Result<Option<CallRecord>, StoreError> {
    let sql = format!("SELECT {} FROM calls WHERE tenant = $1 AND id = $2", TABLE.columns());
    let row = query(AssertSqlSafe(sql)).bind(TENANT).bind(id.as_str()).fetch_optional(pool).await?;
    let mut found = row.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    with_legs(pool, &mut found).await?;
    Ok(found.pop())
}

pub(crate) async fn open(pool: &Pool, node: &str) -> Result<Vec<CallRecord>, StoreError> {
    let sql = format!(
        "SELECT {} FROM calls WHERE tenant = $1 AND ended_at IS NULL AND node = $2 ORDER BY id",
        TABLE.columns()
    );
    let rows = query(AssertSqlSafe(sql)).bind(TENANT).bind(node).fetch_all(pool).await?;
    let mut found = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    with_legs(pool, &mut found).await?;
    Ok(found)
}

pub(crate) async fn with_legs(pool: &Pool, calls: &mut [CallRecord]) -> Result<(), StoreError> {
    let mut places: BTreeMap<CallId, usize> = BTreeMap::new();
    for (place, call) in calls.iter().enumerate() {
        places.insert(call.id.clone(), place);
    }
    let ids: Vec<CallId> = places.keys().cloned().collect();
    for some in ids.chunks(KEYS_AT_ONCE) {
        let rows = legs_of(some).fetch_all_json(legs::TABLE.width(), pool).await?;
        let mut legs = rows.iter().map(legs::read).collect::<Result<Vec<_>, _>>()?;
        legs.sort_unstable_by_key(|(_, place, _)| *place);
        for (call, _, leg) in legs {
            if let Some(call) = places.get(&call).and_then(|place| calls.get_mut(*place)) {
                call.legs.push(leg);
            }
        }
    }
    Ok(())
}

pub(crate) fn legs_of(calls: &[CallId]) -> Query {
    with_keys(calls, |keys| {
        format!("SELECT {} FROM legs WHERE tenant = $1 AND call_id IN ({keys})", legs::TABLE.columns())
    })
}
