//! Table `events`: the audit trail and the events of subscribers (S74, S88–S95).

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use base::Timestamp;
use model::{ApiKeyId, UserId};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::advisory_lock::AdvisoryLock;
use crate::pool::{Conn, Pool};
use crate::row::{Reader, TENANT, Table};
use crate::sql::{On, Row, query};

/// An event to write in the transaction of a change.
#[derive(Clone, PartialEq, Debug)]
pub struct Audit {
    /// Time of the event.
    pub at: Timestamp,
    /// Event type, `voip_extension_created` (S89).
    pub kind: &'static str,
    /// Owner of the entity.
    pub user: Option<UserId>,
    /// Id of the entity; empty where there are several.
    pub subject: String,
    /// API key of the request; `None` for the command line and the first start.
    pub key: Option<ApiKeyId>,
    /// Client address of the request.
    pub ip: Option<IpAddr>,
    /// Request id; empty where there was none.
    pub request: String,
    /// The change, before and after; never a secret (S90).
    pub detail: serde_json::Value,
}

/// A stored event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Number: increases with each event.
    pub seq: i64,
    /// Time of the event.
    pub at: Timestamp,
    /// Event type.
    pub kind: String,
    /// Owner of the entity.
    pub user: Option<UserId>,
    /// Id of the entity.
    pub subject: String,
    /// API key of the request.
    pub key: Option<ApiKeyId>,
    /// Client address of the request.
    pub ip: Option<String>,
    /// Request id.
    pub request: String,
    /// The change.
    pub detail: serde_json::Value,
    /// The user at the other end of a call, who may read it too.
    #[serde(default)]
    pub other_user: Option<UserId>,
}

/// Filter of an event page.
#[derive(Clone, Debug)]
pub struct EventFilter {
    /// Event type; all where `None`.
    pub kind: Option<String>,
    /// Owner of the entity; all where `None`.
    pub user: Option<UserId>,
    /// Only events before this number.
    pub before: Option<i64>,
    /// Maximum number of events.
    pub limit: u32,
}

/// A page of events, newest first.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// Value of `before` for the next page; `None` on the last page.
    pub next: Option<i64>,
}

/// Append an event.
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

/// The number of the next event: the current time in microseconds, or the last number plus one where that is higher.
///
/// So a number is never reused, not even after a backup was restored: numbers given out meanwhile lie in the past, and a client that resumes
/// from one of them gets every new event.
pub(crate) async fn next<'c>(on: impl Into<On<'c>>) -> Result<i64, StoreError> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((newest(on).await? + 1).max(i64::try_from(clock.as_micros()).unwrap_or(0)))
}

pub(crate) const EVENTS: Table = Table {
    name: "events",
    key: &["seq"],
    rest: &["at", "kind", "user_id", "subject", "key_id", "ip", "request", "detail", "other_user"],
};

/// The columns that [`read`] expects.
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
