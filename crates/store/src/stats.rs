//! Figures about calls (S192), out of bounded parts of the tables.

use base::Timestamp;
use model::{Quality, UserId};
use sqlx::AssertSqlSafe;

use crate::row::TENANT;
use crate::sql;
use crate::{Store, StoreError};

/// Whose figures, and since when.
#[derive(Clone, Debug)]
pub struct StatsQuery {
    /// One user's; everybody's where `None`.
    pub user: Option<UserId>,
    /// Only of calls that began then or later.
    pub since: Timestamp,
}

/// Figures of one hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct Hour {
    /// When it begins.
    pub at: Timestamp,
    pub calls: u64,
    pub answered: u64,
}

/// Figures.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Stats {
    /// By hour, oldest first; hours without a call are left out.
    pub hours: Vec<Hour>,
    /// Calls that are over.
    pub ended: u64,
    /// Of these, how many were answered.
    pub answered: u64,
    /// How long they talked, together, in seconds.
    pub talk_seconds: u64,
    /// Why calls that were not answered ended, and how many, most frequent first.
    pub causes: Vec<(String, u64)>,
    /// Legs whose sound was measured, of the newest calls.
    pub measured: u64,
    /// The sum of their MOS.
    pub mos_sum: f64,
    /// How many of them were under 3.6.
    pub poor: u64,
    /// Whether there were more calls than are looked at.
    pub truncated: bool,
}

const HOUR_MICROS: i64 = 3_600_000_000;
/// Calls that are looked at, newest first.
const CALLS: i64 = 100_000;
/// Legs whose quality is looked at.
const LEGS: i64 = 5_000;
/// What people begin to complain about (ITU-T G.107, annex B).
const POOR: f32 = 3.6;

/// The newest calls of the query, as a table to select from: `$1` tenant, `$2` since, `$3` how many, `$4` the user.
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
    /// Figures about calls.
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
