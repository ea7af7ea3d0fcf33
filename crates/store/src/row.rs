//! Rows of any table: one upsert statement for one row or hundreds, and the encoding of values in columns.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use base::{Id, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::AssertSqlSafe;

use crate::StoreError;
use crate::pool::Conn;
pub(crate) use crate::sql::Query;
use crate::sql::{Column, Row, Value, query};

/// Every row belongs to a tenant; there is one so far.
pub(crate) const TENANT: &str = "default";

/// A table: `tenant` is the first key column and is not listed.
#[derive(Debug)]
pub(crate) struct Table {
    pub name: &'static str,
    pub key: &'static [&'static str],
    pub rest: &'static [&'static str],
}

impl Table {
    /// `INSERT` of `rows` rows, each beginning with the tenant. PostgreSQL needs numbered placeholders; SQLite looks up each numbered one by a
    /// linear search, so it gets plain `?`.
    fn insert(&self, rows: usize, numbered: bool) -> String {
        let width = self.width();
        let mut sql = format!(
            "INSERT INTO {} (tenant, {}, {}) VALUES ",
            self.name,
            self.key.join(", "),
            self.rest.join(", ")
        );
        for row in 0..rows {
            sql.push_str(if row == 0 { "(" } else { ", (" });
            if numbered {
                sql.push_str(&placeholders(row * (width + 1) + 1, width + 1));
            } else {
                sql.push('?');
                sql.extend(std::iter::repeat_n(", ?", width));
            }
            sql.push(')');
        }
        sql
    }

    /// The `ON CONFLICT` clause that replaces existing rows.
    fn replacing(&self) -> String {
        let updates: Vec<String> = self.rest.iter().map(|c| format!("{c} = excluded.{c}")).collect();
        format!(" ON CONFLICT (tenant, {}) DO UPDATE SET {}", self.key.join(", "), updates.join(", "))
    }

    /// Number of columns without the tenant.
    pub(crate) fn width(&self) -> usize {
        self.key.len() + self.rest.len()
    }

    /// All columns but the tenant, in the order of the upsert.
    pub(crate) fn columns(&self) -> String {
        format!("{}, {}", self.key.join(", "), self.rest.join(", "))
    }
}

/// Rows per statement.
const CHUNKS: [usize; 3] = [64, 8, 1];
/// Maximum number of keys in one `IN (…)`. More would be slower: SQLite looks up each numbered placeholder by a linear search.
pub(crate) const KEYS_AT_ONCE: usize = 200;
/// Sizes of `IN` lists; the last key is repeated to fill one: few variants, so that prepared statements can be cached.
const KEYS: [usize; 4] = [1, 16, 64, KEYS_AT_ONCE];

/// A query with `key IN ($2, …)`, at most [`KEYS_AT_ONCE`] keys; `$1` is the tenant.
pub(crate) fn with_keys<T>(keys: &[Id<T>], sql: impl Fn(String) -> String) -> Query {
    let size = KEYS.into_iter().find(|size| *size >= keys.len()).unwrap_or(keys.len());
    let filled = keys.iter().chain(std::iter::repeat_n(keys.last(), size - keys.len()).flatten());
    let query = query(AssertSqlSafe(sql(placeholders(2, size)))).bind(TENANT);
    filled.fold(query, |query, key| query.bind(key.as_str()))
}

/// Insert rows or replace those of the same key. Of several rows with the same key the last one is kept.
pub(crate) async fn upsert<T>(
    connection: &mut Conn,
    table: &Table,
    rows: &[T],
    bind: impl Fn(&T, Query) -> Query,
) -> Result<(), StoreError> {
    let mut rows: Vec<Vec<Value>> =
        rows.iter().map(|row| bind(row, query("").bind(TENANT)).into_values()).collect();
    if connection.is_postgres() {
        // PostgreSQL refuses a statement that writes a row twice.
        keep_last(&mut rows, 1 + table.key.len());
    }
    write_rows(connection, table, &mut rows, &table.replacing()).await
}

/// Insert rows with new keys; an existing key is an error.
pub(crate) async fn insert<T>(
    connection: &mut Conn,
    table: &Table,
    rows: impl Iterator<Item = T>,
    bind: impl Fn(T, Query) -> Query,
) -> Result<(), StoreError> {
    let mut rows: Vec<Vec<Value>> = rows.map(|row| bind(row, query("").bind(TENANT)).into_values()).collect();
    write_rows(connection, table, &mut rows, "").await
}

/// Write the rows in as few statements as possible: with SQLite each statement is a switch between two threads.
async fn write_rows(
    connection: &mut Conn,
    table: &Table,
    mut rows: &mut [Vec<Value>],
    conflict: &str,
) -> Result<(), StoreError> {
    for size in CHUNKS {
        if rows.len() < size {
            continue;
        }
        let sql: std::sync::Arc<str> = (table.insert(size, connection.is_postgres()) + conflict).into();
        while rows.len() >= size {
            let (chunk, later) = rows.split_at_mut(size);
            let values = chunk.iter_mut().flat_map(std::mem::take);
            query(AssertSqlSafe(std::sync::Arc::clone(&sql))).with(values).execute(&mut *connection).await?;
            rows = later;
        }
    }
    Ok(())
}

/// Keep the last of the rows whose first `key` values are equal.
fn keep_last(rows: &mut Vec<Vec<Value>>, key: usize) {
    let mut seen = BTreeSet::new();
    let stays: Vec<bool> = rows.iter().rev().map(|row| seen.insert(row.get(..key))).collect();
    let mut stays = stays.into_iter().rev();
    drop(seen);
    rows.retain(|_| stays.next().unwrap_or(true));
}

/// `$from, $from+1, …`: `count` placeholders.
pub(crate) fn placeholders(from: usize, count: usize) -> String {
    let each: Vec<String> = (from..from + count).map(|n| format!("${n}")).collect();
    each.join(", ")
}

/// An enum as its JSON string.
pub(crate) fn enum_text<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// A value as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads a row column by column.
pub(crate) struct Reader<'r> {
    row: &'r Row,
    table: &'static str,
    next: usize,
}

impl<'r> Reader<'r> {
    pub(crate) fn new(table: &Table, row: &'r Row) -> Self {
        Reader { row, table: table.name, next: 0 }
    }

    fn take<T: Column<'r>>(&mut self) -> Result<T, StoreError> {
        let place = self.next;
        self.next += 1;
        self.row.try_get(place)
    }

    fn damaged(&self, fault: impl std::fmt::Display) -> StoreError {
        StoreError::Damaged { table: self.table, fault: format!("column {}: {fault}", self.next) }
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.take()
    }

    pub(crate) fn text_or_none(&mut self) -> Result<Option<String>, StoreError> {
        self.take()
    }

    pub(crate) fn number<N: TryFrom<i64>>(&mut self) -> Result<N, StoreError> {
        let number: i64 = self.take()?;
        N::try_from(number).map_err(|_| self.damaged("number out of range"))
    }

    pub(crate) fn number_or_none<N: TryFrom<i64>>(&mut self) -> Result<Option<N>, StoreError> {
        let number: Option<i64> = self.take()?;
        number.map(|n| N::try_from(n).map_err(|_| self.damaged("number out of range"))).transpose()
    }

    pub(crate) fn flag(&mut self) -> Result<bool, StoreError> {
        Ok(self.number::<i64>()? != 0)
    }

    pub(crate) fn instant(&mut self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_micros(self.number()?))
    }

    pub(crate) fn instant_or_none(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.number_or_none()?.map(Timestamp::from_micros))
    }

    pub(crate) fn id<T>(&mut self) -> Result<Id<T>, StoreError> {
        let text = self.text()?;
        Id::parse(&text).map_err(|fault| self.damaged(fault))
    }

    pub(crate) fn id_or_none<T>(&mut self) -> Result<Option<Id<T>>, StoreError> {
        let text = self.text_or_none()?;
        text.map(|text| Id::parse(&text).map_err(|fault| self.damaged(fault))).transpose()
    }

    /// An enum written by [`word`].
    pub(crate) fn enum_text<T: DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        let text = self.text()?;
        serde_json::from_value(serde_json::Value::String(text)).map_err(|fault| self.damaged(fault))
    }

    pub(crate) fn enum_or_none<T: DeserializeOwned>(&mut self) -> Result<Option<T>, StoreError> {
        let text = self.text_or_none()?;
        text.map(|text| {
            serde_json::from_value(serde_json::Value::String(text)).map_err(|fault| self.damaged(fault))
        })
        .transpose()
    }

    /// A value written by [`json`].
    pub(crate) fn json<T: DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        let text = self.text()?;
        serde_json::from_str(&text).map_err(|fault| self.damaged(fault))
    }

    pub(crate) fn json_or_none<T: DeserializeOwned>(&mut self) -> Result<Option<T>, StoreError> {
        let text = self.text_or_none()?;
        text.map(|text| serde_json::from_str(&text).map_err(|fault| self.damaged(fault))).transpose()
    }

    pub(crate) fn address(&mut self) -> Result<SocketAddr, StoreError> {
        self.text()?.parse().map_err(|fault| self.damaged(fault))
    }

    pub(crate) fn address_or_none(&mut self) -> Result<Option<SocketAddr>, StoreError> {
        let text = self.text_or_none()?;
        text.map(|text| text.parse().map_err(|fault| self.damaged(fault))).transpose()
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        self.take()
    }

    pub(crate) fn bytes_or_none(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        self.take()
    }

    pub(crate) fn array_or_none<const N: usize>(&mut self) -> Result<Option<[u8; N]>, StoreError> {
        let bytes = self.bytes_or_none()?;
        bytes.map(|bytes| bytes.try_into().map_err(|_| self.damaged("wrong length"))).transpose()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        self.bytes()?.try_into().map_err(|_| self.damaged("wrong length"))
    }
}
