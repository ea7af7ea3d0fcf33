//! A page of calls, newest first, that costs what it shows and not what there is: each filter walks an index that has its order.

use base::Timestamp;
use model::{CallId, UserId};
use sqlx::AssertSqlSafe;

use crate::StoreError;
use crate::calls::{CallPage, TABLE, read, with_legs};
use crate::limits::RARE;
use crate::pool::Pool;
use crate::row::TENANT;
use crate::sql::{Query, Value, query};

/// A place in the list of calls: everything after it is older.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cursor {
    /// When the last call shown began.
    pub started_at: Timestamp,
    /// Its id.
    pub id: CallId,
}

/// Which calls.
#[derive(Clone, Debug, Default)]
pub struct CallFilter {
    /// Only those that this user may read; all where `None`.
    pub user: Option<UserId>,
    /// Only those from or to a number that begins so.
    pub number: Option<String>,
    /// Only those that began then or later.
    pub since: Option<Timestamp>,
    /// Only those that began before.
    pub until: Option<Timestamp>,
    /// Only those after this place.
    pub cursor: Option<Cursor>,
    /// At most so many.
    pub limit: u32,
}

/// Values, and the placeholders that stand for them.
#[derive(Default)]
struct Values(Vec<Value>);

impl Values {
    fn put(&mut self, value: impl Into<Value>) -> String {
        self.0.push(value.into());
        format!("${}", self.0.len())
    }

    fn query(self, sql: String) -> Query {
        query(AssertSqlSafe(sql)).with(self.0)
    }
}

pub(crate) async fn page(pool: &Pool, filter: &CallFilter) -> Result<CallPage, StoreError> {
    let rows = list(pool, filter).await?.fetch_all(pool).await?;
    let mut calls = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let more = calls.len() > filter.limit as usize;
    calls.truncate(filter.limit as usize);
    with_legs(pool, &mut calls).await?;
    let last = calls.last().map(|call| Cursor { started_at: call.started_at, id: call.id.clone() });
    Ok(CallPage { next: last.filter(|_| more), calls })
}

async fn list(pool: &Pool, filter: &CallFilter) -> Result<Query, StoreError> {
    let mut values = Values::default();
    let tenant = values.put(TENANT);
    let limit = values.put(i64::from(filter.limit) + 1);
    let range = range(&mut values, filter, "started_at");
    let newest = "ORDER BY started_at DESC, id DESC";
    let columns = TABLE.columns();
    let sql = match (&filter.user, &filter.number) {
        (None, None) => {
            format!("SELECT {columns} FROM calls WHERE tenant = {tenant} AND {range} {newest} LIMIT {limit}")
        }
        // Two ranges of two indexes: with OR, the database would walk all calls of all users.
        (Some(user), number) => {
            let user = values.put(user.as_str());
            let begins = number.as_ref().map_or(String::new(), |number| begins(&mut values, number));
            let of = |column| {
                format!(
                    "SELECT * FROM (SELECT {columns} FROM calls WHERE tenant = {tenant} AND {column} = {user} AND {range} \
                     {begins} {newest} LIMIT {limit}) AS {column}"
                )
            };
            format!("{} UNION {} {newest} LIMIT {limit}", of("user_id"), of("other_user"))
        }
        (None, Some(number)) if is_rare(pool, number).await? => return Ok(rare(filter, number)),
        // Many begin so: they are met soon on the way from the newest to the oldest.
        (None, Some(number)) => {
            let begins = begins(&mut values, number);
            format!(
                "SELECT {columns} FROM calls WHERE tenant = {tenant} AND {range} {begins} {newest} LIMIT {limit}"
            )
        }
    };
    Ok(values.query(sql))
}

/// After the cursor and within the time.
fn range(values: &mut Values, filter: &CallFilter, began: &str) -> String {
    let (started_at, id) = match &filter.cursor {
        Some(cursor) => (cursor.started_at.as_micros(), cursor.id.as_str()),
        None => (i64::MAX, ""),
    };
    let mut range = format!("({began}, id) < ({}, {})", values.put(started_at), values.put(id));
    if let Some(since) = filter.since {
        range.push_str(&format!(" AND {began} >= {}", values.put(since.as_micros())));
    }
    if let Some(until) = filter.until {
        range.push_str(&format!(" AND {began} < {}", values.put(until.as_micros())));
    }
    range
}

/// From or to a number that begins so, said so that no index on numbers is taken for it.
fn begins(values: &mut Values, number: &str) -> String {
    let (length, number) = (values.put(number.chars().count() as i64), values.put(number));
    let of = |column| format!("substr({column}, 1, CAST({length} AS INTEGER)) = {number}");
    format!("AND ({} OR {})", of("from_number"), of("to_number"))
}

/// From the first text that begins so to the last.
fn span(values: &mut Values, number: &str) -> (String, String) {
    (values.put(number), values.put(format!("{number}\u{10ffff}")))
}

/// Whether so few numbers begin so that all of their calls can be looked at: counted on the indexes, and not further than needed.
async fn is_rare(pool: &Pool, number: &str) -> Result<bool, StoreError> {
    let mut values = Values::default();
    let (tenant, (low, high), most) =
        (values.put(TENANT), span(&mut values, number), values.put(i64::from(RARE)));
    let count = |column| {
        format!(
            "(SELECT COUNT(*) FROM (SELECT 1 FROM calls WHERE tenant = {tenant} AND {column} >= {low} AND {column} < {high} \
             LIMIT {most}) AS {column})"
        )
    };
    let sql = format!("SELECT {}, {}", count("from_number"), count("to_number"));
    let row = values.query(sql).fetch_one(pool).await?;
    let (from, to): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(from < i64::from(RARE) && to < i64::from(RARE))
}

/// All calls of the numbers are sorted. `+started_at` keeps SQLite from walking all calls in their order instead.
fn rare(filter: &CallFilter, number: &str) -> Query {
    let mut values = Values::default();
    let (tenant, limit) = (values.put(TENANT), values.put(i64::from(filter.limit) + 1));
    let (low, high) = span(&mut values, number);
    let range = range(&mut values, filter, "+started_at");
    let newest = format!("ORDER BY began DESC, id DESC LIMIT {limit}");
    let of = |column| {
        format!(
            "SELECT * FROM (SELECT id, +started_at AS began FROM calls WHERE tenant = {tenant} AND {column} >= {low} \
             AND {column} < {high} AND {range} {newest}) AS {column}"
        )
    };
    let columns: Vec<String> =
        TABLE.key.iter().chain(TABLE.rest).map(|column| format!("c.{column}")).collect();
    let sql = format!(
        "SELECT {} FROM ({} UNION {} {newest}) AS m JOIN calls c ON c.tenant = {tenant} AND c.id = m.id \
         ORDER BY c.started_at DESC, c.id DESC",
        columns.join(", "),
        of("from_number"),
        of("to_number")
    );
    values.query(sql)
}
