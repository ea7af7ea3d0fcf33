//! Call statistics (S192), computed from a bounded number of rows.

use base::Timestamp;
use model::{Quality, UserId};
use sqlx::AssertSqlSafe;

use crate::row::TENANT;
use crate::sql;
use crate::{Store, StoreError};

/// User and time range of the statistics.
#[derive(Clone, Debug)]
pub struct StatsQuery {
    /// Only calls that this user may read; all where `None`.
    pub user: Option<UserId>,
    /// Only calls that started at this time or later.
    pub since: Timestamp,
}

/// Number of calls in one hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct Hour {
    /// Start of the hour.
    pub at: Timestamp,
    pub calls: u64,
    pub answered: u64,
}

/// Call statistics.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Stats {
    /// By hour, oldest first; hours without calls are omitted.
    pub hours: Vec<Hour>,
    /// Calls that have ended.
    pub ended: u64,
    /// Those of them that were answered.
    pub answered: u64,
    /// Total talk time in seconds.
    pub talk_seconds: u64,
    /// Causes of unanswered calls with their number, most frequent first.
    pub causes: Vec<(String, u64)>,
    /// Legs with a measured quality, among the newest calls.
    pub measured: u64,
    /// Sum of their MOS.
    pub mos_sum: f64,
    /// Number of them with a MOS below 3.6.
    pub poor: u64,
    /// Whether there were more calls than the maximum evaluated.
    pub truncated: bool,
}

const HOUR_MICROS: i64 = 3_600_000_000;
/// Maximum number of calls evaluated, newest first.
const CALLS: i64 = 100_000;
/// Maximum number of legs whose quality is evaluated.
const LEGS: i64 = 5_000;
/// MOS below which many users are dissatisfied (ITU-T G.107, annex B).
const POOR: f32 = 3.6;

/// The newest calls of the query as a subquery: `$1` tenant, `$2` since, `$3` limit, `$4` the user.
fn newest(user: bool) -> String {
    let columns = "id, started_at, answered_at, ended_at, cause";
    let tail = "started_at >= $2 ORDER BY started_at DESC LIMIT $3";
    if !user {
        return format!("(SELECT {columns} FROM calls WHERE tenant = $1 AND {tail}) AS newest");
    }
    format!(
        "(SELECT * FROM (SELECT {columns} FROM calls WHERE tenant = $1 AND user_id = $4 AND {tail}) AS own \
         UNION SELECT * FROM (SELECT {columns} FROM calls WHERE tenant = $1 AND other_user = $4 AND {tail}) AS other) AS newest"
    )
}

impl Store {
    /// Compute call statistics.
    pub async fn stats(&self, query: &StatsQuery) -> Result<Stats, StoreError> {
        let newest = newest(query.user.is_some());
        let ask = |sql: String| {
            let statement =
                sql::query(AssertSqlSafe(sql)).bind(TENANT).bind(query.since.as_micros()).bind(CALLS);
            match &query.user {
                Some(user) => statement.bind(user.to_string()),
                None => statement,
            }
        };
        let mut stats = Stats::default();
        let sql = format!(
            "SELECT started_at / {HOUR_MICROS} AS hour, COUNT(*), COUNT(answered_at), COUNT(ended_at), \
             COUNT(CASE WHEN ended_at IS NOT NULL THEN answered_at END), \
             CAST(COALESCE(SUM(CASE WHEN answered_at IS NOT NULL AND ended_at IS NOT NULL THEN ended_at - answered_at END), 0) AS BIGINT) \
             FROM {newest} GROUP BY started_at / {HOUR_MICROS} ORDER BY hour"
        );
        let mut all = 0;
        for row in ask(sql).fetch_all(&self.readers).await? {
            let number = |place: usize| row.try_get::<i64>(place);
            let (calls, answered) = (number(1)? as u64, number(2)? as u64);
            stats.hours.push(Hour { at: Timestamp::from_micros(number(0)? * HOUR_MICROS), calls, answered });
            all += calls;
            stats.ended += number(3)? as u64;
            stats.answered += number(4)? as u64;
            stats.talk_seconds += (number(5)? / 1_000_000).max(0) as u64;
        }
        stats.truncated = all >= CALLS as u64;
        let sql = format!(
            "SELECT cause, COUNT(*) AS calls FROM {newest} WHERE ended_at IS NOT NULL AND answered_at IS NULL AND cause IS NOT NULL \
             GROUP BY cause ORDER BY calls DESC, cause"
        );
        for row in ask(sql).fetch_all(&self.readers).await? {
            stats.causes.push((row.try_get(0)?, row.try_get::<i64>(1)? as u64));
        }
        let sql = format!(
            "SELECT l.quality FROM {newest} JOIN legs l ON l.tenant = $1 AND l.call_id = newest.id \
             WHERE l.quality IS NOT NULL ORDER BY newest.started_at DESC LIMIT {LEGS}"
        );
        for row in ask(sql).fetch_all(&self.readers).await? {
            let text: String = row.try_get(0)?;
            let Ok(quality) = serde_json::from_str::<Quality>(&text) else { continue };
            if quality.mos >= 1.0 {
                stats.measured += 1;
                stats.mos_sum += f64::from(quality.mos);
                stats.poor += u64::from(quality.mos < POOR);
            }
        }
        Ok(stats)
    }
}
