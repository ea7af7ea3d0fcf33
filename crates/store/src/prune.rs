//! Retention: deletes old rows in small transactions, so that other writers do not wait long.

use std::time::Duration;

use base::Timestamp;

use crate::StoreError;
use crate::pool::Pool;
use crate::row::TENANT;
use crate::sql::query;

/// Retention periods; `None` keeps rows for ever.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    /// Calls and their legs.
    pub calls: Option<Duration>,
    /// SIP ladders.
    pub ladders: Option<Duration>,
    /// Events, API key usage, deliveries and occurrences.
    pub events: Option<Duration>,
}

/// Number of rows deleted by [`crate::Store::prune`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct Pruned {
    pub bindings: u64,
    pub calls: u64,
    pub ladders: u64,
    pub events: u64,
}

/// Expired bindings are deleted after this time.
const BINDING_GRACE: Duration = Duration::from_hours(1);
/// A node that was away longer than this loads the directory again.
const OUTBOX_RETENTION: Duration = Duration::from_hours(24);
/// Outbound time counts for its day; it is kept for a week for enquiries.
const OUTSIDE_RETENTION: Duration = Duration::from_hours(7 * 24);
/// A node that was away longer than this does not delete audio removed meanwhile; it moves it aside.
const REMOVED_RETENTION: Duration = Duration::from_hours(90 * 24);
/// Rows per transaction.
const BATCH: i64 = 1000;

const BINDINGS: &str = "DELETE FROM bindings WHERE tenant = $1 AND (username, contact) IN \
    (SELECT username, contact FROM bindings WHERE tenant = $1 AND expires_at < $2 LIMIT $3)";
const LEGS: &str = "DELETE FROM legs WHERE tenant = $1 AND call_id IN (SELECT id FROM calls \
    WHERE tenant = $1 AND started_at < $2 AND ended_at IS NOT NULL ORDER BY started_at, id LIMIT $3)";
const CALL_LADDERS: &str = "DELETE FROM ladders WHERE tenant = $1 AND call_id IN (SELECT id FROM calls \
    WHERE tenant = $1 AND started_at < $2 AND ended_at IS NOT NULL ORDER BY started_at, id LIMIT $3)";
const CALLS: &str = "DELETE FROM calls WHERE tenant = $1 AND id IN (SELECT id FROM calls \
    WHERE tenant = $1 AND started_at < $2 AND ended_at IS NOT NULL ORDER BY started_at, id LIMIT $3)";
const LADDERS: &str = "DELETE FROM ladders WHERE tenant = $1 AND call_id IN (SELECT l.call_id FROM ladders l \
    JOIN calls c ON c.tenant = l.tenant AND c.id = l.call_id WHERE l.tenant = $1 AND c.started_at < $2 LIMIT $3)";
// The highest number is kept: the next one is derived from it.
const EVENTS: &str = "DELETE FROM events WHERE tenant = $1 AND seq IN (SELECT seq FROM events \
    WHERE tenant = $1 AND at < $2 AND seq < (SELECT MAX(seq) FROM events) LIMIT $3)";
const OUTBOX: &str = "DELETE FROM outbox WHERE tenant = $1 AND seq IN (SELECT seq FROM outbox \
    WHERE tenant = $1 AND at < $2 AND seq < (SELECT MAX(seq) FROM outbox) LIMIT $3)";
// The last occurrence of each recurring call is kept: the next instant is computed from it.
const OCCURRENCES: &str = "DELETE FROM occurrences WHERE tenant = $1 AND (recurring_id, due) IN \
    (SELECT o.recurring_id, o.due FROM occurrences o WHERE o.tenant = $1 AND o.due < $2 AND o.state NOT IN ('claimed', 'dialling') \
    AND (o.due < (SELECT MAX(n.due) FROM occurrences n WHERE n.tenant = o.tenant AND n.recurring_id = o.recurring_id) \
    OR NOT EXISTS (SELECT 1 FROM recurring_calls r WHERE r.tenant = o.tenant AND r.id = o.recurring_id)) LIMIT $3)";
const KEY_USES: &str = "DELETE FROM key_uses WHERE tenant = $1 AND (key_id, day, route, ip, status) IN \
    (SELECT key_id, day, route, ip, status FROM key_uses WHERE tenant = $1 AND last_used < $2 LIMIT $3)";

const OUTSIDE_TIME: &str = "DELETE FROM outside_time WHERE tenant = $1 AND (call_id, leg) IN \
    (SELECT call_id, leg FROM outside_time WHERE tenant = $1 AND ended_at < $2 LIMIT $3)";
const DELIVERIES: &str = "DELETE FROM deliveries WHERE tenant = $1 AND id IN \
    (SELECT id FROM deliveries WHERE tenant = $1 AND updated_at < $2 AND status <> 'pending' LIMIT $3)";
// The highest number is kept: the next one is derived from it.
const REMOVED_AUDIO: &str = "DELETE FROM removed_audio WHERE tenant = $1 AND seq IN (SELECT seq FROM removed_audio \
    WHERE tenant = $1 AND at < $2 AND seq < (SELECT MAX(seq) FROM removed_audio) LIMIT $3)";
const REQUESTS: &str = "DELETE FROM idempotency WHERE tenant = $1 AND (key_id, name) IN \
    (SELECT key_id, name FROM idempotency WHERE tenant = $1 AND at < $2 LIMIT $3)";

pub(crate) async fn prune(pool: &Pool, now: Timestamp, retention: &Retention) -> Result<Pruned, StoreError> {
    let before = |age: Duration| now.as_micros().saturating_sub(age.as_micros() as i64);
    let mut pruned =
        Pruned { bindings: sweep(pool, &[BINDINGS], before(BINDING_GRACE)).await?, ..Pruned::default() };
    if let Some(age) = retention.ladders {
        pruned.ladders = sweep(pool, &[LADDERS], before(age)).await?;
    }
    if let Some(age) = retention.calls {
        pruned.calls = sweep(pool, &[LEGS, CALL_LADDERS, CALLS], before(age)).await?;
    }
    if let Some(age) = retention.events {
        pruned.events = sweep(pool, &[EVENTS], before(age)).await?;
        sweep(pool, &[KEY_USES], before(age)).await?;
        sweep(pool, &[DELIVERIES], before(age)).await?;
        sweep(pool, &[OCCURRENCES], before(age)).await?;
    }
    sweep(pool, &[OUTBOX], before(OUTBOX_RETENTION)).await?;
    sweep(pool, &[OUTSIDE_TIME], before(OUTSIDE_RETENTION)).await?;
    sweep(pool, &[REQUESTS], before(OUTBOX_RETENTION)).await?;
    sweep(pool, &[REMOVED_AUDIO], before(REMOVED_RETENTION)).await?;
    Ok(pruned)
}

/// Run the statements in transactions of [`BATCH`] rows until the last statement finds no more rows.
async fn sweep(pool: &Pool, statements: &[&'static str], before: i64) -> Result<u64, StoreError> {
    let mut total = 0;
    loop {
        let mut tx = pool.begin().await?;
        let mut rows = 0;
        for sql in statements {
            let query = query(*sql).bind(TENANT).bind(before).bind(BATCH);
            rows = query.execute(&mut *tx).await?.rows_affected();
        }
        tx.commit().await?;
        total += rows;
        if rows < BATCH as u64 {
            return Ok(total);
        }
    }
}
