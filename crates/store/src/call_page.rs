//! A page of calls, newest first, at a cost proportional to the page: each filter scans an index in its own order.
//!
//! The indexes cover the filter columns (migration 11), and full rows are fetched only for the calls of the page. Number prefixes are the hard
//! case, because an index is ordered by number or by time, not by both. Few calls match: sort all of them. Else a page is usually filled from
//! the newest thousands. Else few numbers match (merge the newest calls of each), or the scan continues from the newest.

use base::Timestamp;
use model::{CallId, UserId};
use sqlx::AssertSqlSafe;

use crate::StoreError;
use crate::calls::{CallPage, TABLE, read, with_legs};
use crate::limits::{FEW_CALLS, FEW_NUMBERS, SCAN_FACTOR};
use crate::pool::Pool;
use crate::row::TENANT;
use crate::sql::{Query, Row, Value, query};

/// Position in the list of calls: the last call of a page.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cursor {
    /// Its start time.
    pub started_at: Timestamp,
    /// Its id.
    pub id: CallId,
}

/// Filter of a page of calls.
#[derive(Clone, Debug, Default)]
pub struct CallFilter {
    /// Only those that this user may read; all where `None`.
    pub user: Option<UserId>,
    /// Only those from or to a number with this prefix.
    pub number: Option<String>,
    /// Only those that started at this time or later.
    pub since: Option<Timestamp>,
    /// Only those that started before this time.
    pub until: Option<Timestamp>,
    /// Only those after this position.
    pub cursor: Option<Cursor>,
    /// Maximum number of calls.
    pub limit: u32,
}

/// Parameter values and their placeholders.
#[derive(Default)]
struct Values(Vec<Value>);

impl Values {
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.0.push(value.into());
        format!("${}", self.0.len())
    }

    fn query(self, sql: String) -> Query {
        query(AssertSqlSafe(sql)).with(self.0)
    }
}

pub(crate) async fn page(pool: &Pool, filter: &CallFilter) -> Result<CallPage, StoreError> {
    let rows = find_rows(pool, filter).await?;
    let mut calls = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    calls.sort_unstable_by(|one, other| (other.started_at, &other.id).cmp(&(one.started_at, &one.id)));
    let more = calls.len() > filter.limit as usize;
    calls.truncate(filter.limit as usize);
    with_legs(pool, &mut calls).await?;
    let last = calls.last().map(|call| Cursor { started_at: call.started_at, id: call.id.clone() });
    Ok(CallPage { next: last.filter(|_| more), calls })
}

/// The columns that hold a number.
const NUMBERS: [&str; 2] = ["from_number", "to_number"];
/// The columns that hold a user.
const USERS: [&str; 2] = ["user_id", "other_user"];

/// Search strategy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SearchPlan {
    /// Scan in time order, all calls or a user's.
    TimeOrder,
    /// Few calls match the number prefix: sort all of them.
    FewCalls,
    /// Scan only some thousands of the newest calls: a result that does not fill a page may be incomplete.
    RecentScan,
    /// Few numbers match the prefix: merge the newest calls of each number, in `from_number` and in `to_number`.
    FewNumbers([Vec<String>; 2]),
}

/// The rows of a page, and one more where there is a next page.
async fn find_rows(pool: &Pool, filter: &CallFilter) -> Result<Vec<Row>, StoreError> {
    let run = async |search: SearchPlan| search.query(filter).fetch_all_json(TABLE.width(), pool).await;
    let Some(number) = &filter.number else { return run(SearchPlan::TimeOrder).await };
    if count_matches(number).fetch_one(pool).await?.try_get::<i64>(0)? < i64::from(FEW_CALLS) {
        return run(SearchPlan::FewCalls).await;
    }
    // A user has fewer calls than a frequent number.
    if filter.user.is_some() {
        return run(SearchPlan::TimeOrder).await;
    }
    let recent_scan = run(SearchPlan::RecentScan).await?;
    if recent_scan.len() > filter.limit as usize {
        return Ok(recent_scan);
    }
    run(few_numbers_or_time_order(pool, number).await?).await
}

async fn few_numbers_or_time_order(pool: &Pool, number: &str) -> Result<SearchPlan, StoreError> {
    let mut found: [Vec<String>; 2] = Default::default();
    for (column, found) in NUMBERS.into_iter().zip(&mut found) {
        for row in distinct_numbers(column, number).fetch_all(pool).await? {
            found.push(row.try_get(0)?);
        }
        if found.len() > FEW_NUMBERS as usize {
            return Ok(SearchPlan::TimeOrder);
        }
    }
    let gone = found.iter().all(Vec::is_empty);
    Ok(if gone { SearchPlan::TimeOrder } else { SearchPlan::FewNumbers(found) })
}

/// The number of calls that match the number prefix, counted on the indexes and only up to the limit.
pub(crate) fn count_matches(number: &str) -> Query {
    let mut values = Values::default();
    let (tenant, (low, high)) = (values.bind(TENANT), prefix_range(&mut values, number));
    let some = NUMBERS.map(|column| {
        format!("SELECT 1 FROM calls WHERE tenant = {tenant} AND {column} >= {low} AND {column} < {high}")
    });
    values.query(format!("SELECT COUNT(*) FROM ({} LIMIT {FEW_CALLS}) AS found", some.join(" UNION ALL ")))
}

/// The distinct numbers of a column with this prefix, one more than the limit: each is found from the one before by an index seek.
pub(crate) fn distinct_numbers(column: &str, number: &str) -> Query {
    let mut values = Values::default();
    let (tenant, (low, high)) = (values.bind(TENANT), prefix_range(&mut values, number));
    let most = FEW_NUMBERS + 1;
    let least = |after: &str| {
        format!(
            "SELECT MIN({column}) FROM calls WHERE tenant = {tenant} AND {column} {after} AND {column} < {high}"
        )
    };
    let sql = format!(
        "WITH RECURSIVE found(n) AS ({} UNION ALL SELECT ({}) FROM found WHERE n IS NOT NULL) \
         SELECT n FROM found WHERE n IS NOT NULL LIMIT {most}",
        least(&format!(">= {low}")),
        least("> found.n"),
    );
    values.query(sql)
}

impl SearchPlan {
    /// The statement: the ids are found first, and full rows are read only for those of the page.
    pub(crate) fn query(&self, filter: &CallFilter) -> Query {
        let mut values = Values::default();
        let terms = Terms {
            tenant: values.bind(TENANT),
            limit: filter.limit.saturating_add(1),
            range: range(&mut values, filter),
        };
        let found = match self {
            SearchPlan::TimeOrder => time_order(&mut values, &terms, filter),
            SearchPlan::FewCalls => few_calls(&mut values, &terms, filter),
            SearchPlan::RecentScan => recent_scan(&mut values, &terms, filter),
            SearchPlan::FewNumbers(distinct_numbers) => few_numbers(&mut values, &terms, distinct_numbers),
        };
        let columns: Vec<String> =
            TABLE.key.iter().chain(TABLE.rest).map(|column| format!("c.{column}")).collect();
        let sql = format!(
            "SELECT {} FROM ({found} ORDER BY began DESC, id DESC LIMIT {}) AS found JOIN calls c \
             ON c.tenant = {} AND c.id = found.id",
            columns.join(", "),
            terms.limit,
            terms.tenant
        );
        // Statements with many arms have too many variants to be cached.
        values.query(sql).persistent(!matches!(self, SearchPlan::FewNumbers(_)))
    }
}

/// Parts shared by all arms of a statement: the placeholder of the tenant, the row limit and the condition of the time. (The limit is literal
/// text: SQLite re-plans a statement for each value bound to a limit.)
struct Terms {
    tenant: String,
    limit: u32,
    range: String,
}

impl Terms {
    /// The newest calls of one index range.
    fn arm(&self, which: &str, name: &str) -> String {
        let Terms { tenant, limit, range } = self;
        format!(
            "SELECT * FROM (SELECT id, started_at AS began FROM calls WHERE tenant = {tenant} AND {which} AND {range} \
             ORDER BY started_at DESC, id DESC LIMIT {limit}) AS {name}"
        )
    }
}

/// Scan from the newest to the oldest.
fn time_order(values: &mut Values, terms: &Terms, filter: &CallFilter) -> String {
    let number = filter.number.as_ref().map(|number| prefix_condition(values, number));
    match &filter.user {
        None => terms.arm(number.as_deref().unwrap_or("1 = 1"), "everybody"),
        // Two range scans of two indexes: with OR, the database would scan the calls of all users.
        Some(user) => {
            let (user, number) =
                (values.bind(user.as_str()), number.map_or(String::new(), |number| format!(" AND {number}")));
            USERS.map(|column| terms.arm(&format!("{column} = {user}{number}"), column)).join(" UNION ")
        }
    }
}

/// Sort all calls of the number prefix. `+started_at` keeps SQLite from scanning all calls in time order instead.
fn few_calls(values: &mut Values, terms: &Terms, filter: &CallFilter) -> String {
    let (low, high) = prefix_range(values, filter.number.as_deref().unwrap_or_default());
    let user = filter.user.as_ref().map_or(String::new(), |user| {
        let user = values.bind(user.as_str());
        format!(" AND (user_id = {user} OR other_user = {user})")
    });
    let Terms { tenant, limit, range } = terms;
    let range = range.replace("started_at", "+started_at");
    let of = |column| {
        format!(
            "SELECT * FROM (SELECT id, +started_at AS began FROM calls WHERE tenant = {tenant} AND {column} >= {low} \
             AND {column} < {high}{user} AND {range} ORDER BY began DESC, id DESC LIMIT {limit}) AS {column}"
        )
    };
    NUMBERS.map(of).join(" UNION ")
}

/// The newest calls, filtered by the number prefix.
fn recent_scan(values: &mut Values, terms: &Terms, filter: &CallFilter) -> String {
    let (low, high) = prefix_range(values, filter.number.as_deref().unwrap_or_default());
    let most = terms.limit.saturating_mul(SCAN_FACTOR);
    let prefix_condition =
        NUMBERS.map(|column| format!("({column} >= {low} AND {column} < {high})")).join(" OR ");
    let Terms { tenant, range, .. } = terms;
    format!(
        "SELECT id, began FROM (SELECT id, started_at AS began, from_number, to_number FROM calls \
         WHERE tenant = {tenant} AND {range} ORDER BY started_at DESC, id DESC LIMIT {most}) AS lately WHERE {prefix_condition}"
    )
}

/// Merge the newest calls of each number.
fn few_numbers(values: &mut Values, terms: &Terms, distinct_numbers: &[Vec<String>; 2]) -> String {
    let mut arms = Vec::new();
    for (column, distinct_numbers) in NUMBERS.into_iter().zip(distinct_numbers) {
        for number in distinct_numbers {
            let which = format!("{column} = {}", values.bind(number));
            arms.push(terms.arm(&which, &format!("arm{}", arms.len())));
        }
    }
    arms.join(" UNION ")
}

/// After the cursor and within the time range. The two upper bounds are merged into one: of two, a database would scan from the wrong one.
fn range(values: &mut Values, filter: &CallFilter) -> String {
    let until = filter.until.map(|until| (until.as_micros(), ""));
    let cursor = filter.cursor.as_ref().map(|cursor| (cursor.started_at.as_micros(), cursor.id.as_str()));
    let (started_at, id) = until.into_iter().chain(cursor).min().unwrap_or((i64::MAX, ""));
    let mut range = format!("(started_at, id) < ({}, {})", values.bind(started_at), values.bind(id));
    if let Some(since) = filter.since {
        range.push_str(&format!(" AND started_at >= {}", values.bind(since.as_micros())));
    }
    range
}

/// The prefix condition in a form that does not use the indexes on numbers.
fn prefix_condition(values: &mut Values, number: &str) -> String {
    let (length, number) = (values.bind(number.chars().count() as i64), values.bind(number));
    let of = |column| format!("substr({column}, 1, CAST({length} AS INTEGER)) = {number}");
    format!("({})", NUMBERS.map(of).join(" OR "))
}

/// The range of texts that begin with the prefix.
fn prefix_range(values: &mut Values, number: &str) -> (String, String) {
    (values.bind(number), values.bind(format!("{number}\u{10ffff}")))
}
