//! Table `mail_deliveries`: mails that are to be sent, and what became of those that were.

use base::Timestamp;
use model::ExtensionId;
use model::voicemail::Delivery;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};

use crate::StoreError;
use crate::row::{Query, Reader, TENANT, Table, upsert, word};

const TABLE: Table = Table {
    name: "mail_deliveries",
    key: &["id"],
    rest: &[
        "message_id",
        "extension_id",
        "recipient",
        "state",
        "attempts",
        "next_at",
        "created_at",
        "finished_at",
        "error",
    ],
};

fn bind(delivery: &Delivery, query: Query) -> Query {
    query
        .bind(delivery.id.as_str().to_owned())
        .bind(delivery.message.as_str().to_owned())
        .bind(delivery.extension.as_str().to_owned())
        .bind(delivery.recipient.clone())
        .bind(word(&delivery.state))
        .bind(i64::from(delivery.attempts))
        .bind(delivery.next_at.as_micros())
        .bind(delivery.created_at.as_micros())
        .bind(delivery.finished_at.map(Timestamp::as_micros))
        .bind(delivery.error.clone())
}

fn read(row: &SqliteRow) -> Result<Delivery, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    Ok(Delivery {
        id: row.id()?,
        message: row.id()?,
        extension: row.id()?,
        recipient: row.text()?,
        state: row.word()?,
        attempts: row.number()?,
        next_at: row.instant()?,
        created_at: row.instant()?,
        finished_at: row.instant_or_none()?,
        error: row.text_or_none()?,
    })
}

pub(crate) async fn write(tx: &mut SqliteConnection, mails: &[Delivery]) -> Result<(), StoreError> {
    upsert(tx, &TABLE, mails, bind).await
}

/// Mails whose next attempt is due, the longest waiting first; and when the next one after `now` is.
pub(crate) async fn due(pool: &SqlitePool, now: Timestamp, limit: u32) -> Result<Vec<Delivery>, StoreError> {
    let sql = format!(
        "SELECT {} FROM mail_deliveries WHERE tenant = $1 AND state = 'waiting' AND next_at <= $2 ORDER BY next_at LIMIT $3",
        TABLE.columns()
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(TENANT).bind(now.as_micros()).bind(i64::from(limit));
    query.fetch_all(pool).await?.iter().map(read).collect()
}

/// The mails of a box, newest first.
pub(crate) async fn of_box(
    pool: &SqlitePool,
    extension: &ExtensionId,
    limit: u32,
) -> Result<Vec<Delivery>, StoreError> {
    let sql = format!(
        "SELECT {} FROM mail_deliveries WHERE tenant = $1 AND extension_id = $2 ORDER BY id DESC LIMIT $3",
        TABLE.columns()
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(TENANT).bind(extension.as_str().to_owned());
    query.bind(i64::from(limit)).fetch_all(pool).await?.iter().map(read).collect()
}
