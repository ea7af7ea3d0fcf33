//! Tables `events` (who changed what, from where: S74, S88–S95) and `outbox` (the changes, for other nodes).

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use base::Timestamp;
use model::{ApiKeyId, Change, UserId};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::directory_lock::OutboxBatch;
use crate::pool::{AdvisoryLock, Conn, Pool};
use crate::row::{Reader, TENANT, Table, json};
use crate::sql::{On, Row, query};

/// An event to be written with a change, in the same transaction.
#[derive(Clone, PartialEq, Debug)]
pub struct Audit {
    /// When.
    pub at: Timestamp,
    /// What happened, `voip_extension_created` (S89).
    pub kind: &'static str,
    /// Whose things were touched.
    pub user: Option<UserId>,
    /// The id of the thing touched; empty where there are many.
    pub subject: String,
    /// The key that did it; none for the command line and the first start.
    pub key: Option<ApiKeyId>,
    /// Where the request came from.
    pub ip: Option<IpAddr>,
    /// The request's id; empty where there was none.
    pub request: String,
    /// What changed, before and after; never a secret (S90).
    pub detail: serde_json::Value,
}

/// An event that was written.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its number: later events have higher ones.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub kind: String,
    /// Whose things were touched.
    pub user: Option<UserId>,
    /// The id of the thing touched.
    pub subject: String,
    /// The key that did it.
    pub key: Option<ApiKeyId>,
    /// Where from.
    pub ip: Option<String>,
    /// The request's id.
    pub request: String,
    /// What changed.
    pub detail: serde_json::Value,
    /// Who may read it besides: the user at the other end of a call.
    #[serde(default)]
    pub other_user: Option<UserId>,
}

/// Which events.
#[derive(Clone, Debug)]
pub struct EventFilter {
    /// Only those of this kind.
    pub kind: Option<String>,
    /// Only those that touch this user.
    pub user: Option<UserId>,
    /// Only those before this number.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// Events, newest first.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// Ask with this as `before` for the rest; `None` where there is none.
    pub next: Option<i64>,
}

/// Changes in one row of the outbox.
const OUTBOX_ROW: usize = 500;
/// Rows of the outbox that are read at once.
const OUTBOX_ROWS: i64 = 100;

/// Write what other nodes will read: the changes, in rows of bounded size. The number of the last row.
///
/// Numbers are given in the order of commits, so that who has read up to one never misses a lower one: take [`AdvisoryLock::Outbox`] first.
pub(crate) async fn to_outbox(tx: &mut Conn, changes: &[Change], at: Timestamp) -> Result<i64, StoreError> {
    tx.lock(AdvisoryLock::Outbox).await?;
    let mut seq = last_change(&mut *tx).await?;
    for some in changes.chunks(OUTBOX_ROW) {
        seq += 1;
        query("INSERT INTO outbox (tenant, seq, at, changes) VALUES ($1, $2, $3, $4)")
            .bind(TENANT)
            .bind(seq)
            .bind(at.as_micros())
            .bind(json(&some))
            .execute(&mut *tx)
            .await?;
    }
    Ok(seq)
}

/// The number of the outbox's last row; 0 where there is none.
pub(crate) async fn last_change<'c>(on: impl Into<On<'c>>) -> Result<i64, StoreError> {
    query("SELECT COALESCE(MAX(seq), 0) FROM outbox").fetch_one(on).await?.try_get(0)
}

/// What was committed after row `seq`. Rows are numbered without a gap; where there are fewer than `seq`, a backup was put back.
pub(crate) async fn news<'c>(on: impl Into<On<'c>>, seq: i64) -> Result<OutboxBatch, StoreError> {
    let rows = query(
        "SELECT seq, changes FROM outbox WHERE tenant = $1 \
         AND seq > CASE WHEN (SELECT COALESCE(MAX(seq), 0) FROM outbox) < $2 THEN -1 ELSE $2 END ORDER BY seq LIMIT $3",
    )
        .bind(TENANT)
        .bind(seq)
        .bind(OUTBOX_ROWS)
        .fetch_all(on)
        .await?;
    let (mut reached, mut changes) = (seq, Vec::new());
    for row in &rows {
        let next: i64 = row.try_get(0)?;
        if next != reached + 1 {
            return Ok(OutboxBatch::Truncated);
        }
        reached = next;
        let text: String = row.try_get(1)?;
        let told: Vec<Change> = serde_json::from_str(&text).map_err(|fault| StoreError::Damaged {
            table: "outbox",
            fault: format!("row {next}: {fault}"),
        })?;
        changes.extend(told);
    }
    Ok(OutboxBatch::Changes { reached, changes })
}

/// Write an event.
pub(crate) async fn insert(tx: &mut Conn, event: &Audit) -> Result<(), StoreError> {
    tx.lock(AdvisoryLock::Events).await?;
    let seq = next(&mut *tx).await?;
    query(
        "INSERT INTO events (tenant, seq, at, kind, user_id, subject, key_id, ip, request, detail) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(TENANT)
    .bind(seq)
    .bind(event.at.as_micros())
    .bind(event.kind)
    .bind(event.user.as_ref().map(UserId::to_string))
    .bind(event.subject.as_str())
    .bind(event.key.as_ref().map(ApiKeyId::to_string))
    .bind(event.ip.map(|ip| ip.to_string()))
    .bind(event.request.as_str())
    .bind(event.detail.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

/// The number of the last event; 0 where there is none.
pub(crate) async fn newest<'c>(on: impl Into<On<'c>>) -> Result<i64, StoreError> {
    query("SELECT COALESCE(MAX(seq), 0) FROM events").fetch_one(on).await?.try_get(0)
}

/// The number of the next event: the microsecond of the clock, or one more than the last where that is higher.
///
/// So a number never comes back, not even after a backup was put back: what was given out meanwhile lies in the past, and who asks for what
/// came after it gets all that is new.
pub(crate) async fn next<'c>(on: impl Into<On<'c>>) -> Result<i64, StoreError> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((newest(on).await? + 1).max(i64::try_from(clock.as_micros()).unwrap_or(0)))
}

pub(crate) const EVENTS: Table = Table {
    name: "events",
    key: &["seq"],
    rest: &["at", "kind", "user_id", "subject", "key_id", "ip", "request", "detail", "other_user"],
};

/// The columns that [`read`] wants.
pub(crate) fn columns() -> String {
    EVENTS.columns()
}

pub(crate) fn read(row: &Row) -> Result<Event, StoreError> {
    let mut row = Reader::new(&EVENTS, row);
    Ok(Event {
        seq: row.number()?,
        at: row.instant()?,
        kind: row.text()?,
        user: row.id_or_none()?,
        subject: row.text()?,
        key: row.id_or_none()?,
        ip: row.text_or_none()?,
        request: row.text()?,
        detail: row.json()?,
        other_user: row.id_or_none()?,
    })
}

pub(crate) async fn page(pool: &Pool, filter: &EventFilter) -> Result<EventPage, StoreError> {
    let limit = filter.limit as usize;
    let rows = query(
        "SELECT seq, at, kind, user_id, subject, key_id, ip, request, detail, other_user FROM events \
         WHERE tenant = $1 AND seq < $2 AND ($3 IS NULL OR kind = $3) AND ($4 IS NULL OR user_id = $4) \
         ORDER BY seq DESC LIMIT $5",
    )
    .bind(TENANT)
    .bind(filter.before.unwrap_or(i64::MAX))
    .bind(filter.kind.as_deref())
    .bind(filter.user.as_ref().map(UserId::to_string))
    .bind(limit as i64 + 1)
    .fetch_all(pool)
    .await?;
    let mut events = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let more = events.len() > limit;
    events.truncate(limit);
    let last = events.last().map(|event| event.seq);
    Ok(EventPage { next: last.filter(|_| more), events })
}
