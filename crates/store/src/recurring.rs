//! Table `recurring_calls`.

use model::RecurringCall;

use crate::StoreError;
use crate::row::{Query, Reader, Table, enum_text, json};
use crate::sql::Row;

pub(crate) const TABLE: Table = Table {
    name: "recurring_calls",
    key: &["id"],
    rest: &[
        "extension_id",
        "user_id",
        "destination",
        "schedule",
        "enabled",
        "misfire",
        "action",
        "max_attempts",
        "retry_minutes",
        "since",
        "created_at",
        "updated_at",
    ],
};

pub(crate) fn bind(call: &RecurringCall, query: Query) -> Query {
    query
        .bind(call.id.as_str().to_owned())
        .bind(call.extension.as_str().to_owned())
        .bind(call.user.as_str().to_owned())
        .bind(call.destination.clone())
        .bind(json(&call.schedule))
        .bind(i64::from(call.enabled))
        .bind(enum_text(&call.misfire))
        .bind(json(&call.action))
        .bind(i64::from(call.max_attempts))
        .bind(i64::from(call.retry_minutes))
        .bind(call.since.as_micros())
        .bind(call.created_at.as_micros())
        .bind(call.updated_at.as_micros())
}

pub(crate) fn read(row: &Row) -> Result<RecurringCall, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    Ok(RecurringCall {
        id: row.id()?,
        extension: row.id()?,
        user: row.id()?,
        destination: row.text()?,
        schedule: row.json()?,
        enabled: row.flag()?,
        misfire: row.enum_text()?,
        action: row.json()?,
        max_attempts: row.number()?,
        retry_minutes: row.number()?,
        since: row.instant()?,
        created_at: row.instant()?,
        updated_at: row.instant()?,
    })
}
