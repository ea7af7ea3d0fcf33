//! Table `trunks`. Settings that are never searched by are one JSON column.

use model::{SealedSecret, Trunk};

use crate::StoreError;
use crate::row::{Query, Reader, Table, json};
use crate::sql::Row;

pub(crate) const TABLE: Table = Table {
    name: "trunks",
    key: &["id"],
    rest: &["name", "enabled", "priority", "settings", "password", "created_at", "updated_at"],
};

pub(crate) fn bind(trunk: &Trunk, query: Query) -> Query {
    query
        .bind(trunk.id.as_str().to_owned())
        .bind(trunk.name.clone())
        .bind(i64::from(trunk.enabled))
        .bind(i64::from(trunk.priority))
        .bind(json(&trunk.settings))
        .bind(trunk.password.as_ref().map(|sealed| sealed.bytes().to_vec()))
        .bind(trunk.created_at.as_micros())
        .bind(trunk.updated_at.as_micros())
}

pub(crate) fn read(row: &Row) -> Result<Trunk, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    Ok(Trunk {
        id: row.id()?,
        name: row.text()?,
        enabled: row.flag()?,
        priority: row.number()?,
        settings: row.json()?,
        password: row.bytes_or_none()?.map(SealedSecret::from_bytes),
        created_at: row.instant()?,
        updated_at: row.instant()?,
    })
}
