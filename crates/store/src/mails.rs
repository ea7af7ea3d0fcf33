//! Table `mail_deliveries`: notification mails, pending and finished.

use base::Timestamp;
use model::ExtensionId;
use model::voicemail::Delivery;
use sqlx::AssertSqlSafe;

use crate::StoreError;
use crate::pool::{Conn, Pool};
use crate::row::{Query, Reader, TENANT, Table, enum_text, upsert};
use crate::sql::{Row, query};

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
        "node",
    ],
};

/// Bind a row with the node that sends the mail: the node that recorded the message has its audio.
fn bind_at(node: &str, delivery: &Delivery, query: Query) -> Query {
    query
        .bind(delivery.id.as_str().to_owned())
        .bind(delivery.message.as_str().to_owned())
        .bind(delivery.extension.as_str().to_owned())
        .bind(delivery.recipient.clone())
        .bind(enum_text(&delivery.state))
        .bind(i64::from(delivery.attempts))
        .bind(delivery.next_at.as_micros())
        .bind(delivery.created_at.as_micros())
        .bind(delivery.finished_at.map(Timestamp::as_micros))
        .bind(delivery.error.clone())
        .bind(node)
}

fn read(row: &Row) -> Result<Delivery, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    Ok(Delivery {
        id: row.id()?,
        message: row.id()?,
        extension: row.id()?,
        recipient: row.text()?,
        state: row.enum_text()?,
        attempts: row.number()?,
        next_at: row.instant()?,
        created_at: row.instant()?,
        finished_at: row.instant_or_none()?,
        error: row.text_or_none()?,
    })
}

pub(crate) async fn write(tx: &mut Conn, mails: &[Delivery], node: &str) -> Result<(), StoreError> {
    upsert(tx, &TABLE, mails, |mail, query| bind_at(node, mail, query)).await
}

/// Mails of a node whose next attempt is due, longest waiting first.
pub(crate) async fn due(
    pool: &Pool,
    now: Timestamp,
    limit: u32,
    node: &str,
) -> Result<Vec<Delivery>, StoreError> {
    let sql = format!(
        "SELECT {} FROM mail_deliveries WHERE tenant = $1 AND state = 'waiting' AND next_at <= $2 AND node = $4 ORDER BY next_at LIMIT $3",
        TABLE.columns()
    );
    let query = query(AssertSqlSafe(sql)).bind(TENANT).bind(now.as_micros()).bind(i64::from(limit));
    query.bind(node).fetch_all(pool).await?.iter().map(read).collect()
}

/// The mails of a mailbox, newest first.
pub(crate) async fn of_box(
    pool: &Pool,
    extension: &ExtensionId,
    limit: u32,
) -> Result<Vec<Delivery>, StoreError> {
    let sql = format!(
        "SELECT {} FROM mail_deliveries WHERE tenant = $1 AND extension_id = $2 ORDER BY id DESC LIMIT $3",
        TABLE.columns()
    );
    let query = query(AssertSqlSafe(sql)).bind(TENANT).bind(extension.as_str().to_owned());
    query.bind(i64::from(limit)).fetch_all(pool).await?.iter().map(read).collect()
}
