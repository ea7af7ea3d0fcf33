//! Table `api_keys`: hashes and prefixes of API keys, never a secret.

use base::Timestamp;
use model::ApiKey;

use crate::StoreError;
use crate::row::{Query, Reader, Table, json};
use crate::sql::Row;

pub(crate) const TABLE: Table = Table {
    name: "api_keys",
    key: &["id"],
    rest: &[
        "user_id",
        "name",
        "prefix",
        "hash",
        "permissions",
        "active",
        "requests_per_minute",
        "created_at",
        "expires_at",
    ],
};

pub(crate) fn bind(key: &ApiKey, query: Query) -> Query {
    query
        .bind(key.id.as_str().to_owned())
        .bind(key.user.as_str().to_owned())
        .bind(key.name.clone())
        .bind(key.prefix.clone())
        .bind(key.hash.to_vec())
        .bind(json(&key.permissions))
        .bind(i64::from(key.active))
        .bind(key.requests_per_minute.map(i64::from))
        .bind(key.created_at.as_micros())
        .bind(key.expires_at.map(Timestamp::as_micros))
}

pub(crate) fn read(row: &Row) -> Result<ApiKey, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    Ok(ApiKey {
        id: row.id()?,
        user: row.id()?,
        name: row.text()?,
        prefix: row.text()?,
        hash: row.array()?,
        permissions: row.json()?,
        active: row.flag()?,
        requests_per_minute: row.number_or_none()?,
        created_at: row.instant()?,
        expires_at: row.instant_or_none()?,
    })
}
