//! Table `deliveries`: deliveries of events to webhooks, with their state.

use base::{Id, Kind, Timestamp};
use model::{UserId, Webhook, WebhookId};
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::advisory_lock::AdvisoryLock;
use crate::pool::Conn;
use crate::row::{Query, Reader, TENANT, Table, placeholders, upsert};
use crate::sql::{Row, query};
use crate::webhooks::active_hooks;
use crate::{Audit, Event, Store, StoreError, events};

/// Id prefix of [`DeliveryId`].
#[derive(Clone, Copy, Debug)]
pub enum DeliveryKind {}

impl Kind for DeliveryKind {
    const PREFIX: &'static str = "dlv";
}

/// `dlv_…`: the same for every attempt, so that the receiver can recognise repeats.
pub type DeliveryId = Id<DeliveryKind>;

/// State of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryStatus {
    /// Waiting for its next attempt.
    Pending,
    /// Accepted by the receiver.
    Delivered,
    /// Given up: a dead letter.
    Dead,
}

impl DeliveryStatus {
    /// The name in the table and in JSON: `pending`, `delivered`, `dead`.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryStatus::Pending => "pending",
            DeliveryStatus::Delivered => "delivered",
            DeliveryStatus::Dead => "dead",
        }
    }

    /// The status with this name.
    pub fn parse(text: &str) -> Option<DeliveryStatus> {
        let all = [DeliveryStatus::Pending, DeliveryStatus::Delivered, DeliveryStatus::Dead];
        all.into_iter().find(|status| status.as_str() == text)
    }
}

/// Delivery of one event to one webhook.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub struct Delivery {
    pub id: DeliveryId,
    pub webhook: WebhookId,
    /// Number of the event.
    pub seq: i64,
    pub kind: String,
    /// Subject of the event; deliveries of the same subject are sent in order.
    pub subject: String,
    pub status: DeliveryStatus,
    pub attempts: u32,
    pub next_at: Timestamp,
    /// Request body, the same in every attempt.
    pub body: String,
    /// HTTP status of the last response.
    pub answer: Option<u16>,
    /// Reason of the last failure.
    pub fault: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Filter of a list of deliveries, newest first.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct DeliveryFilter {
    pub webhook: WebhookId,
    pub status: Option<DeliveryStatus>,
    /// Only those of events before this number.
    pub before: Option<i64>,
    pub limit: u32,
}

/// A delivery to send now.
#[derive(Clone, Debug)]
pub struct Due {
    /// The delivery.
    pub delivery: Delivery,
    /// Its webhook.
    pub webhook: Webhook,
}

/// Result of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// What follows.
    pub outcome: Outcome,
    /// HTTP status of the response, if any.
    pub answer: Option<u16>,
    /// Reason of a failure.
    pub fault: Option<String>,
    /// Time of the attempt.
    pub at: Timestamp,
}

/// What follows from an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Accepted by the receiver.
    Delivered,
    /// Retry at this time.
    Again(Timestamp),
    /// A dead letter; sent again only on request.
    Dead,
}

/// Events processed in one transaction.
const EVENTS_AT_ONCE: i64 = 200;
/// Maximum number of pending deliveries of one webhook; further ones become dead letters at once.
const MAX_PENDING: i64 = 10_000;
/// Event type without deliveries: it is about a delivery itself.
const WITHOUT_DELIVERY: &str = "webhook_delivery_retried";
/// Name of the mark that holds the last event turned into deliveries.
const MARK_NAME: &str = "webhooks";

const DELIVERIES: Table = Table {
    name: "deliveries",
    key: &["id"],
    rest: &[
        "webhook_id",
        "seq",
        "kind",
        "subject",
        "status",
        "attempts",
        "next_at",
        "body",
        "answer",
        "fault",
        "created_at",
        "updated_at",
    ],
};

fn bind_delivery(delivery: &Delivery, query: Query) -> Query {
    query
        .bind(delivery.id.to_string())
        .bind(delivery.webhook.to_string())
        .bind(delivery.seq)
        .bind(delivery.kind.clone())
        .bind(delivery.subject.clone())
        .bind(delivery.status.as_str())
        .bind(i64::from(delivery.attempts))
        .bind(delivery.next_at.as_micros())
        .bind(delivery.body.clone())
        .bind(delivery.answer.map(i64::from))
        .bind(delivery.fault.clone())
        .bind(delivery.created_at.as_micros())
        .bind(delivery.updated_at.as_micros())
}

fn read_delivery(row: &Row) -> Result<Delivery, StoreError> {
    let mut row = Reader::new(&DELIVERIES, row);
    Ok(Delivery {
        id: row.id()?,
        webhook: row.id()?,
        seq: row.number()?,
        kind: row.text()?,
        subject: row.text()?,
        status: DeliveryStatus::parse(&row.text()?).unwrap_or(DeliveryStatus::Dead),
        attempts: row.number()?,
        next_at: row.instant()?,
        body: row.text()?,
        answer: row.number_or_none()?,
        fault: row.text_or_none()?,
        created_at: row.instant()?,
        updated_at: row.instant()?,
    })
}

impl Store {
    /// Create the deliveries of new events, one per event and webhook. Returns whether more events may be waiting.
    pub async fn fan_out(&self, now: Timestamp) -> Result<bool, StoreError> {
        let active = self.webhooks(None).await?.into_iter().any(|hook| hook.active);
        if !active {
            return Ok(false);
        }
        let mut tx = self.writer.begin().await?;
        tx.lock(AdvisoryLock::Deliveries).await?;
        let hooks = active_hooks(&mut tx).await?;
        let first = hooks.iter().map(|hook| hook.since).min().unwrap_or(i64::MAX);
        let mark = query("SELECT seq FROM marks WHERE tenant = $1 AND name = $2")
            .bind(TENANT)
            .bind(MARK_NAME)
            .fetch_optional(&mut *tx)
            .await?;
        let done: i64 = mark.map(|row| row.try_get(0)).transpose()?.unwrap_or(0).max(first);
        let sql = format!(
            "SELECT {} FROM events WHERE tenant = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            events::columns()
        );
        let rows = query(AssertSqlSafe(sql)).bind(TENANT).bind(done).bind(EVENTS_AT_ONCE);
        let rows = rows.fetch_all(&mut *tx).await?;
        let events: Vec<Event> = rows.iter().map(events::read).collect::<Result<_, _>>()?;
        let Some(last) = events.last().map(|event| event.seq) else { return Ok(false) };
        for hook in &hooks {
            let made = deliveries_for(hook, &events, now);
            insert_deliveries(&mut tx, hook, made).await?;
        }
        query(
            "INSERT INTO marks (tenant, name, seq) VALUES ($1, $2, $3) \
             ON CONFLICT (tenant, name) DO UPDATE SET seq = excluded.seq",
        )
        .bind(TENANT)
        .bind(MARK_NAME)
        .bind(last)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(events.len() as i64 == EVENTS_AT_ONCE)
    }

    /// Take due deliveries: at most `most`, at most `each` per webhook, and only the first of each subject. They are hidden from other takers
    /// until `until`. Webhooks in `busy` are skipped. If the taker dies, the deliveries become due again at `until`: they are sent at least once.
    pub async fn take_due(
        &self,
        now: Timestamp,
        until: Timestamp,
        most: u32,
        each: u32,
        busy: &[WebhookId],
    ) -> Result<Vec<Due>, StoreError> {
        const FIRST: &str = "NOT EXISTS (SELECT 1 FROM deliveries e WHERE e.tenant = d.tenant AND e.webhook_id = d.webhook_id \
             AND e.subject = d.subject AND e.seq < d.seq AND e.status = 'pending')";
        let columns = DELIVERIES.columns();
        let mut busy: Vec<&WebhookId> = busy.iter().collect();
        busy.sort_unstable();
        busy.dedup();
        let idle = match busy.len() {
            0 => String::new(),
            some => format!(" AND webhook_id NOT IN ({})", placeholders(5, some)),
        };
        let sql = format!(
            "SELECT {columns} FROM (SELECT {columns}, ROW_NUMBER() OVER (PARTITION BY webhook_id ORDER BY next_at, seq) AS place \
             FROM deliveries d WHERE tenant = $1 AND status = 'pending' AND next_at <= $2{idle} AND {FIRST}) AS due \
             WHERE place <= $3 ORDER BY next_at, seq LIMIT $4"
        );
        let mut tx = self.writer.begin().await?;
        tx.lock(AdvisoryLock::Deliveries).await?;
        let first = query(AssertSqlSafe(sql))
            .bind(TENANT)
            .bind(now.as_micros())
            .bind(i64::from(each))
            .bind(i64::from(most));
        let first = busy.iter().fold(first, |query, hook| query.bind(hook.to_string()));
        let rows = first.fetch_all(&mut *tx).await?;
        let taken = rows.iter().map(read_delivery).collect::<Result<Vec<_>, _>>()?;
        let hooks = active_hooks(&mut tx).await?;
        let mut due = Vec::new();
        for delivery in taken {
            query("UPDATE deliveries SET next_at = $1 WHERE tenant = $2 AND id = $3")
                .bind(until.as_micros())
                .bind(TENANT)
                .bind(delivery.id.as_str())
                .execute(&mut *tx)
                .await?;
            if let Some(webhook) = hooks.iter().find(|hook| hook.id == delivery.webhook) {
                due.push(Due { delivery, webhook: webhook.clone() });
            }
        }
        tx.commit().await?;
        Ok(due)
    }

    /// Time of the next due delivery.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let row = query("SELECT MIN(next_at) FROM deliveries WHERE tenant = $1 AND status = 'pending'")
            .bind(TENANT)
            .fetch_one(&self.readers)
            .await?;
        Ok(row.try_get::<Option<i64>>(0)?.map(Timestamp::from_micros))
    }

    /// Store the result of an attempt.
    pub async fn attempted(&self, id: &DeliveryId, attempt: &Attempt) -> Result<(), StoreError> {
        let (status, next_at) = match attempt.outcome {
            Outcome::Delivered => (DeliveryStatus::Delivered, attempt.at),
            Outcome::Again(at) => (DeliveryStatus::Pending, at),
            Outcome::Dead => (DeliveryStatus::Dead, attempt.at),
        };
        query(
            "UPDATE deliveries SET status = $1, attempts = attempts + 1, next_at = $2, answer = $3, fault = $4, updated_at = $5 \
             WHERE tenant = $6 AND id = $7 AND status = 'pending'",
        )
        .bind(status.as_str())
        .bind(next_at.as_micros())
        .bind(attempt.answer.map(i64::from))
        .bind(attempt.fault.clone())
        .bind(attempt.at.as_micros())
        .bind(TENANT)
        .bind(id.as_str())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Deliveries of a webhook, newest first.
    pub async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
        let which = if filter.status.is_some() { " AND status = $5" } else { "" };
        let sql = format!(
            "SELECT {} FROM deliveries WHERE tenant = $1 AND webhook_id = $2 AND seq < $3{which} ORDER BY seq DESC LIMIT $4",
            DELIVERIES.columns()
        );
        let mut query = query(AssertSqlSafe(sql))
            .bind(TENANT)
            .bind(filter.webhook.as_str())
            .bind(filter.before.unwrap_or(i64::MAX))
            .bind(i64::from(filter.limit));
        if let Some(status) = filter.status {
            query = query.bind(status.as_str());
        }
        query.fetch_all(&self.readers).await?.iter().map(read_delivery).collect()
    }

    /// One delivery.
    pub async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let sql = format!("SELECT {} FROM deliveries WHERE tenant = $1 AND id = $2", DELIVERIES.columns());
        let row =
            query(AssertSqlSafe(sql)).bind(TENANT).bind(id.as_str()).fetch_optional(&self.readers).await?;
        row.as_ref().map(read_delivery).transpose()
    }

    /// Send a dead letter again, with its attempts reset.
    pub async fn retry_delivery(
        &self,
        id: &DeliveryId,
        now: Timestamp,
        audit: Audit,
    ) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        tx.lock(AdvisoryLock::Events).await?;
        query(
            "UPDATE deliveries SET status = 'pending', attempts = 0, next_at = $1, updated_at = $1 \
             WHERE tenant = $2 AND id = $3 AND status = 'dead'",
        )
        .bind(now.as_micros())
        .bind(TENANT)
        .bind(id.as_str())
        .execute(&mut *tx)
        .await?;
        events::insert(&mut tx, &audit).await?;
        self.commit_with_events(tx).await
    }
}

fn deliveries_for(hook: &Webhook, events: &[Event], now: Timestamp) -> Vec<Delivery> {
    let wanted = events.iter().filter(|event| {
        event.seq > hook.since
            && event.kind != WITHOUT_DELIVERY
            && hook.wants(&event.kind, [event.user.as_ref(), event.other_user.as_ref()])
    });
    let made = wanted.filter_map(|event| {
        Some(Delivery {
            // Derived from webhook and event: creating it twice gives the same id.
            id: DeliveryId::parse(&format!(
                "dlv_{}_{}",
                hook.id.as_str().trim_start_matches("hook_"),
                event.seq
            ))
            .ok()?,
            webhook: hook.id.clone(),
            seq: event.seq,
            kind: event.kind.clone(),
            subject: event.subject.clone(),
            status: DeliveryStatus::Pending,
            attempts: 0,
            next_at: now,
            body: body_of(event),
            answer: None,
            fault: None,
            created_at: now,
            updated_at: now,
        })
    });
    made.collect()
}

/// Request body of an event: what every user who may read it may know. Keys and client addresses stay in the audit trail.
fn body_of(event: &Event) -> String {
    json!({
        "id": event.seq,
        "type": event.kind,
        "at": event.at.to_string(),
        "userId": event.user.as_ref().map(UserId::as_str),
        "subject": event.subject,
        "data": event.detail,
    })
    .to_string()
}

async fn insert_deliveries(tx: &mut Conn, hook: &Webhook, mut made: Vec<Delivery>) -> Result<(), StoreError> {
    if made.is_empty() {
        return Ok(());
    }
    let row =
        query("SELECT COUNT(*) FROM deliveries WHERE tenant = $1 AND webhook_id = $2 AND status = 'pending'")
            .bind(TENANT)
            .bind(hook.id.as_str())
            .fetch_one(&mut *tx)
            .await?;
    let room = (MAX_PENDING - row.try_get::<i64>(0)?).max(0) as usize;
    for late in made.iter_mut().skip(room) {
        late.status = DeliveryStatus::Dead;
        late.fault = Some("too many deliveries of this webhook are waiting".into());
    }
    upsert(tx, &DELIVERIES, &made, bind_delivery).await
}
