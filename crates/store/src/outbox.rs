//! Table `outbox`: committed changes of the directory, for other nodes.

use base::Timestamp;
use model::Change;

use crate::StoreError;
use crate::advisory_lock::AdvisoryLock;
use crate::pool::Conn;
use crate::row::{TENANT, json};
use crate::sql::{On, query};

/// Changes committed after a row of the outbox.
#[derive(Clone, PartialEq, Debug)]
pub enum OutboxBatch {
    /// Changes in commit order.
    Changes {
        /// Number of the last row included; the requested row where there are no changes.
        reached: i64,
        /// The changes.
        changes: Vec<Change>,
    },
    /// Some rows are pruned already: the directory must be loaded again.
    Truncated,
}

/// Maximum number of changes in one outbox row.
const OUTBOX_ROW: usize = 500;
/// Outbox rows read in one batch.
const OUTBOX_ROWS: i64 = 100;

/// Append changes to the outbox, in rows of bounded size. Returns the number of the last row.
///
/// Rows are numbered in commit order under [`AdvisoryLock::Outbox`], so that a reader that has seen a number never misses a lower one.
pub(crate) async fn append(tx: &mut Conn, changes: &[Change], at: Timestamp) -> Result<i64, StoreError> {
    tx.lock(AdvisoryLock::Outbox).await?;
    let mut seq = last_seq(&mut *tx).await?;
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

/// The number of the last outbox row; 0 where there is none.
pub(crate) async fn last_seq<'c>(on: impl Into<On<'c>>) -> Result<i64, StoreError> {
    query("SELECT COALESCE(MAX(seq), 0) FROM outbox").fetch_one(on).await?.try_get(0)
}

/// Changes committed after row `seq`. Rows are numbered without gaps; where the last number is below `seq`, a backup was restored.
pub(crate) async fn batch_after<'c>(on: impl Into<On<'c>>, seq: i64) -> Result<OutboxBatch, StoreError> {
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
        let batch: Vec<Change> = serde_json::from_str(&text).map_err(|fault| StoreError::Damaged {
            table: "outbox",
            fault: format!("row {next}: {fault}"),
        })?;
        changes.extend(batch);
    }
    Ok(OutboxBatch::Changes { reached, changes })
}
