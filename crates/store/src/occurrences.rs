//! Table `occurrences`: claims of due instants of recurring calls (S85).
//!
//! A claim is one `INSERT` that has no effect where the row exists; an update names the version it read. So two nodes, or two processes of
//! one node, never both dial the same call.

use base::Timestamp;
use model::{Occurrence, OccurrenceState, RecurringCallId};
use sqlx::AssertSqlSafe;

use crate::StoreError;
use crate::pool::{Conn, Pool};
use crate::row::{Reader, TENANT, Table, enum_text};
use crate::sql::{Row, query};

const TABLE: Table = Table {
    name: "occurrences",
    key: &["recurring_id", "due"],
    rest: &[
        "user_id",
        "state",
        "version",
        "owner",
        "lease_until",
        "not_before",
        "attempts",
        "call_id",
        "cause",
        "updated_at",
    ],
};

// Only while the recurring call is unchanged since the claimer read it: another node may have just changed it.
const CLAIM: &str = "INSERT INTO occurrences (tenant, recurring_id, due, user_id, state, version, owner, lease_until, \
    not_before, attempts, call_id, cause, updated_at) \
    SELECT tenant, id, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 FROM recurring_calls \
    WHERE tenant = $1 AND id = $2 AND enabled = 1 AND since = $14 \
    ON CONFLICT (tenant, recurring_id, due) DO NOTHING RETURNING version";
const UPDATE: &str = "UPDATE occurrences SET user_id = $4, state = $5, version = $6, owner = $7, lease_until = $8, \
    not_before = $9, attempts = $10, call_id = $11, cause = $12, updated_at = $13 \
    WHERE tenant = $1 AND recurring_id = $2 AND due = $3 AND version = $14 RETURNING version";

/// Insert the row of a due instant. `false` where it exists already, or the recurring call has changed since `since`.
pub(crate) async fn claim(
    tx: &mut Conn,
    occurrence: &Occurrence,
    since: Timestamp,
) -> Result<bool, StoreError> {
    run(tx, CLAIM, occurrence, since.as_micros()).await
}

/// Update an occurrence from its previous version. `false` where the row has another version.
pub(crate) async fn change(tx: &mut Conn, occurrence: &Occurrence) -> Result<bool, StoreError> {
    run(tx, UPDATE, occurrence, occurrence.version as i64 - 1).await
}

async fn run(
    tx: &mut Conn,
    sql: &'static str,
    occurrence: &Occurrence,
    last: i64,
) -> Result<bool, StoreError> {
    let row = query(sql)
        .bind(TENANT)
        .bind(occurrence.recurring.as_str())
        .bind(occurrence.due.as_micros())
        .bind(occurrence.user.as_str())
        .bind(enum_text(&occurrence.state))
        .bind(occurrence.version as i64)
        .bind(&*occurrence.owner)
        .bind(occurrence.lease_until.as_micros())
        .bind(occurrence.not_before.as_micros())
        .bind(i64::from(occurrence.attempts))
        .bind(occurrence.call.as_ref().map(|id| id.as_str().to_owned()))
        .bind(occurrence.cause.map(|cause| enum_text(&cause)))
        .bind(occurrence.updated_at.as_micros())
        .bind(last)
        .fetch_optional(&mut *tx)
        .await?;
    Ok(row.is_some())
}

/// Whether exactly this row is stored: the reply to an earlier write of it may have been lost.
pub(crate) async fn is_stored(tx: &mut Conn, occurrence: &Occurrence) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT {} FROM occurrences WHERE tenant = $1 AND recurring_id = $2 AND due = $3",
        TABLE.columns()
    );
    let row = query(AssertSqlSafe(sql))
        .bind(TENANT)
        .bind(occurrence.recurring.as_str())
        .bind(occurrence.due.as_micros())
        .fetch_optional(&mut *tx)
        .await?;
    Ok(row.map(|row| read(&row)).transpose()?.as_ref() == Some(occurrence))
}

/// Open occurrences whose lease expired at `now`, the longest expired first.
pub(crate) async fn expired(pool: &Pool, now: Timestamp, limit: u32) -> Result<Vec<Occurrence>, StoreError> {
    let sql = format!(
        "SELECT {} FROM occurrences WHERE tenant = $1 AND state IN ('claimed', 'dialling') AND lease_until <= $2 \
         ORDER BY lease_until, recurring_id, due LIMIT $3",
        TABLE.columns()
    );
    let rows = query(AssertSqlSafe(sql))
        .bind(TENANT)
        .bind(now.as_micros())
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    rows.iter().map(read).collect()
}

/// Open occurrences whose last owner's name begins with `node`, whether or not the lease has expired.
pub(crate) async fn open_of(pool: &Pool, node: &str) -> Result<Vec<Occurrence>, StoreError> {
    let sql = format!(
        "SELECT {} FROM occurrences WHERE tenant = $1 AND state IN ('claimed', 'dialling') ORDER BY due, recurring_id",
        TABLE.columns()
    );
    let rows = query(AssertSqlSafe(sql)).bind(TENANT).fetch_all(pool).await?;
    let mut all = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    all.retain(|occurrence| occurrence.owner.starts_with(node));
    Ok(all)
}

/// The last instant of each recurring call that has an occurrence.
pub(crate) async fn last(pool: &Pool) -> Result<Vec<(RecurringCallId, Timestamp)>, StoreError> {
    let sql = "SELECT recurring_id, MAX(due) FROM occurrences WHERE tenant = $1 GROUP BY recurring_id";
    let rows = query(sql).bind(TENANT).fetch_all(pool).await?;
    let read = |row: &Row| {
        let damaged = |fault: &dyn std::fmt::Display| StoreError::Damaged {
            table: TABLE.name,
            fault: format!("column 1: {fault}"),
        };
        let (id, due): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok((RecurringCallId::parse(&id).map_err(|fault| damaged(&fault))?, Timestamp::from_micros(due)))
    };
    rows.iter().map(read).collect()
}

/// The occurrences of a recurring call that were due before `before`, newest first.
pub(crate) async fn page(
    pool: &Pool,
    recurring: &RecurringCallId,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<Occurrence>, StoreError> {
    let sql = format!(
        "SELECT {} FROM occurrences WHERE tenant = $1 AND recurring_id = $2 AND due < $3 ORDER BY due DESC LIMIT $4",
        TABLE.columns()
    );
    let rows = query(AssertSqlSafe(sql))
        .bind(TENANT)
        .bind(recurring.as_str())
        .bind(before.as_micros())
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Occurrence, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    Ok(Occurrence {
        recurring: row.id()?,
        due: row.instant()?,
        user: row.id()?,
        state: row.enum_text::<OccurrenceState>()?,
        version: row.number()?,
        owner: row.text()?.into(),
        lease_until: row.instant()?,
        not_before: row.instant()?,
        attempts: row.number()?,
        call: row.id_or_none()?,
        cause: row.enum_or_none()?,
        updated_at: row.instant()?,
    })
}
