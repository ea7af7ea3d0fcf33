//! One SQL text for both databases: a [`Query`] collects its parameters, and the connection decides which driver binds them.
//!
//! Texts have the placeholders `$1`, `$2`, … PostgreSQL is strict where SQLite is not: a column is `TEXT`, `BIGINT` or `BYTEA`, and only
//! strings, `i64`s and bytes are bound, so that neither has to convert. (`SUM` of a `BIGINT` is a `NUMERIC` in PostgreSQL: write
//! `CAST(SUM(x) AS BIGINT)`.)

use futures_util::TryStreamExt as _;
use serde::de::DeserializeOwned;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite};

use crate::StoreError;
use crate::pool::{Conn, Pool, Tx, with_timeout};

/// A parameter value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! values {
    ($($of:ty => $kind:ident, |$value:ident| $made:expr;)*) => {
        $(impl From<$of> for Value {
            fn from($value: $of) -> Value {
                Value::$kind($made)
            }
        })*
    };
}

values! {
    &str => Text, |text| Some(text.to_owned());
    String => Text, |text| Some(text);
    &String => Text, |text| Some(text.clone());
    Option<&str> => Text, |text| text.map(str::to_owned);
    Option<String> => Text, |text| text;
    i64 => Number, |number| Some(number);
    Option<i64> => Number, |number| number;
    &[u8] => Bytes, |bytes| Some(bytes.to_vec());
    Vec<u8> => Bytes, |bytes| Some(bytes);
    Option<&[u8]> => Bytes, |bytes| bytes.map(<[u8]>::to_vec);
    Option<Vec<u8>> => Bytes, |bytes| bytes;
}

/// A statement and its parameters.
#[derive(Clone, Debug)]
#[must_use]
pub(crate) struct Query {
    sql: SqlStr,
    values: Vec<Value>,
    persistent: bool,
}

/// Start a statement.
pub(crate) fn query(sql: impl SqlSafeStr) -> Query {
    Query { sql: sql.into_sql_str(), values: Vec::new(), persistent: true }
}

/// Executor of a query: a transaction, or any connection of a pool.
pub(crate) enum On<'c> {
    Conn(&'c mut Conn),
    Pool(&'c Pool),
}

impl<'c> From<&'c mut Conn> for On<'c> {
    fn from(conn: &'c mut Conn) -> Self {
        On::Conn(conn)
    }
}

impl<'c> From<&'c mut Tx> for On<'c> {
    fn from(tx: &'c mut Tx) -> Self {
        On::Conn(&mut *tx)
    }
}

impl<'c> From<&'c Pool> for On<'c> {
    fn from(pool: &'c Pool) -> Self {
        On::Pool(pool)
    }
}

/// Number of rows affected by a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done(u64);

impl Done {
    pub(crate) fn rows_affected(self) -> u64 {
        self.0
    }
}

/// Run `$query.$run(…)` on either driver, and convert both results into one type.
macro_rules! on_either {
    ($query:expr, $on:expr, $run:ident, |$answer:ident| $sqlite:expr, $postgres:expr) => {
        match $on.into() {
            On::Conn(Conn::Sqlite(tx, monitor)) => {
                let answer = $query.sqlite().$run(&mut **tx).await.map_err(StoreError::from);
                let $answer = monitor.record_result(answer)?;
                Ok($sqlite)
            }
            On::Pool(Pool::Sqlite(file)) => {
                let answer = $query.sqlite().$run(&file.pool).await.map_err(StoreError::from);
                let $answer = file.monitor.record_result(answer)?;
                Ok($sqlite)
            }
            On::Conn(Conn::Postgres(tx, monitor)) => {
                let answer = with_timeout($query.postgres().$run(&mut **tx)).await;
                let $answer = monitor.record_result(answer)?;
                Ok($postgres)
            }
            On::Pool(Pool::Postgres(server)) => {
                let mut connection = server.monitor.record_result(server.connection().await)?;
                let answer = with_timeout($query.postgres().$run(&mut *connection)).await;
                let $answer = server.monitor.record_result(answer)?;
                Ok($postgres)
            }
        }
    };
}

impl Query {
    /// Bind the next placeholder.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Query {
        self.values.push(value.into());
        self
    }

    /// Whether the prepared statement is cached: not for texts with many variants.
    pub(crate) fn persistent(self, persistent: bool) -> Query {
        Query { persistent, ..self }
    }

    pub(crate) fn with(self, values: impl IntoIterator<Item = Value>) -> Query {
        Query { values: self.values.into_iter().chain(values).collect(), ..self }
    }

    pub(crate) fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// The same statement behind `EXPLAIN …`.
    #[cfg(test)]
    pub(crate) fn explain(self, how: &str) -> Query {
        let sql = sqlx::AssertSqlSafe(format!("{how} {}", self.sql.as_str())).into_sql_str();
        Query { sql, persistent: false, ..self }
    }

    pub(crate) async fn execute<'c>(self, on: impl Into<On<'c>>) -> Result<Done, StoreError> {
        on_either!(self, on, execute, |done| Done(done.rows_affected()), Done(done.rows_affected()))
    }

    pub(crate) async fn fetch_all<'c>(self, on: impl Into<On<'c>>) -> Result<Vec<Row>, StoreError> {
        on_either!(
            self,
            on,
            fetch_all,
            |rows| rows.into_iter().map(Row::Sqlite).collect(),
            rows.into_iter().map(Row::Postgres).collect()
        )
    }

    pub(crate) async fn fetch_optional<'c>(self, on: impl Into<On<'c>>) -> Result<Option<Row>, StoreError> {
        on_either!(self, on, fetch_optional, |row| row.map(Row::Sqlite), row.map(Row::Postgres))
    }

    pub(crate) async fn fetch_one<'c>(self, on: impl Into<On<'c>>) -> Result<Row, StoreError> {
        on_either!(self, on, fetch_one, |row| Row::Sqlite(row), Row::Postgres(row))
    }

    /// Fetch rows of `columns` text and number columns, unordered. SQLite's driver passes each row between two threads and copies each value,
    /// which would be most of the work for a page, so all rows are fetched as one JSON text.
    pub(crate) async fn fetch_all_json(self, columns: usize, pool: &Pool) -> Result<Vec<Row>, StoreError> {
        if matches!(pool, Pool::Postgres(_)) {
            return self.fetch_all(pool).await;
        }
        let text: String = self.into_json_array(columns).fetch_one(pool).await?.try_get(0)?;
        let rows: Vec<_> = serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(rows.into_iter().map(Row::Json).collect())
    }

    /// The statement wrapped so that SQLite returns all rows as one JSON array.
    pub(crate) fn into_json_array(self, columns: usize) -> Query {
        let names: Vec<String> = (0..columns).map(|n| format!("c{n}")).collect();
        let (names, sql) = (names.join(", "), self.sql.as_str());
        let sql = format!(
            "WITH gathered({names}) AS ({sql}) SELECT json_group_array(json_array({names})) FROM gathered"
        );
        Query { sql: sqlx::AssertSqlSafe(sql).into_sql_str(), ..self }
    }

    /// Stream the rows, for results too large to hold in memory.
    pub(crate) async fn fetch_each(
        self,
        pool: &Pool,
        mut each: impl FnMut(&Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match pool {
            Pool::Sqlite(file) => {
                let mut rows = self.sqlite().fetch(&file.pool);
                while let Some(row) = rows.try_next().await? {
                    each(&Row::Sqlite(row))?;
                }
            }
            Pool::Postgres(pool) => {
                let mut connection = pool.connection().await?;
                let mut rows = self.postgres().fetch(&mut *connection);
                while let Some(row) = with_timeout(rows.try_next()).await? {
                    each(&Row::Postgres(row))?;
                }
            }
        }
        Ok(())
    }

    fn sqlite(self) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
        let query = sqlx::query(self.sql).persistent(self.persistent);
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }

    fn postgres(self) -> sqlx::query::Query<'static, Postgres, PgArguments> {
        let query = sqlx::query(self.sql).persistent(self.persistent);
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Text(text) => query.bind(text.map(without_nul)),
            Value::Number(number) => query.bind(number),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }
}

/// PostgreSQL accepts no NUL in a text: replace it, so that text from an unauthenticated peer cannot block the feeder for ever.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// A row of either database.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
    /// A row decoded from SQLite's JSON array.
    Json(Vec<serde_json::Value>),
}

/// Types that can be read from a column: `String`, `i64`, `Vec<u8>` and their `Option`s.
pub(crate) trait Column<'r>:
    DeserializeOwned
    + sqlx::Decode<'r, Sqlite>
    + sqlx::Type<Sqlite>
    + sqlx::Decode<'r, Postgres>
    + sqlx::Type<Postgres>
{
}

impl<'r, T> Column<'r> for T where
    T: DeserializeOwned
        + sqlx::Decode<'r, Sqlite>
        + sqlx::Type<Sqlite>
        + sqlx::Decode<'r, Postgres>
        + sqlx::Type<Postgres>
{
}

impl Row {
    pub(crate) fn try_get<'r, T: Column<'r>>(&'r self, place: usize) -> Result<T, StoreError> {
        Ok(match self {
            Row::Sqlite(row) => row.try_get(place)?,
            Row::Postgres(row) => row.try_get(place)?,
            Row::Json(row) => {
                let value = row
                    .get(place)
                    .ok_or(sqlx::Error::ColumnIndexOutOfBounds { index: place, len: row.len() })?;
                T::deserialize(value).map_err(|error| sqlx::Error::Decode(error.into()))?
            }
        })
    }
}
