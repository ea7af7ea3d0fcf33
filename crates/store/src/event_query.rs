//! Reading table `events`: newest first for pages, oldest first for subscribers (S88).

use base::Timestamp;
use model::UserId;
use sqlx::AssertSqlSafe;
use tokio::sync::watch;

use crate::row::{TENANT, placeholders};
use crate::sql;
use crate::{Event, Store, StoreError, events};

/// Filter and order of a list of events.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Event types; all where empty.
    pub kinds: Vec<String>,
    /// Only events that this user may read; all where `None`.
    pub user: Option<UserId>,
    /// Only events at this time or later.
    pub since: Option<Timestamp>,
    /// Only events after this number.
    pub after: Option<i64>,
    /// Only events before this number.
    pub before: Option<i64>,
    /// Oldest first; newest first where `false`.
    pub ascending: bool,
    /// Maximum number of events.
    pub limit: u32,
}

impl EventQuery {
    /// One `SELECT`; `whose` is the column that must equal the user.
    fn arm(&self, whose: Option<&str>) -> String {
        let mut sql = format!(
            "SELECT {} FROM events WHERE tenant = $1 AND seq > $2 AND seq < $3 AND at >= $4",
            events::columns()
        );
        if let Some(column) = whose {
            sql.push_str(&format!(" AND {column} = $6"));
        }
        if !self.kinds.is_empty() {
            let first = if self.user.is_some() { 7 } else { 6 };
            sql.push_str(&format!(" AND kind IN ({})", placeholders(first, self.kinds.len())));
        }
        sql + &self.order()
    }

    fn order(&self) -> String {
        format!(" ORDER BY seq {} LIMIT $5", if self.ascending { "ASC" } else { "DESC" })
    }

    fn sql(&self) -> String {
        if self.user.is_none() {
            return self.arm(None);
        }
        // Two range scans of two indexes: with OR, the database would scan the events of all users.
        format!(
            "SELECT * FROM (SELECT * FROM ({}) AS own UNION SELECT * FROM ({}) AS other) AS both_ends{}",
            self.arm(Some("user_id")),
            self.arm(Some("other_user")),
            self.order()
        )
    }

    /// The statement with its parameters.
    pub(crate) fn query(&self) -> sql::Query {
        let mut statement = sql::query(AssertSqlSafe(self.sql()))
            .bind(TENANT)
            .bind(self.after.unwrap_or(0))
            .bind(self.before.unwrap_or(i64::MAX))
            .bind(self.since.map_or(i64::MIN, Timestamp::as_micros))
            .bind(i64::from(self.limit));
        if let Some(user) = &self.user {
            statement = statement.bind(user.to_string());
        }
        for kind in &self.kinds {
            statement = statement.bind(kind.clone());
        }
        statement
    }
}

impl Store {
    /// A list of events, at most `limit`.
    pub async fn list_events(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        query.query().fetch_all(&self.readers).await?.iter().map(events::read).collect()
    }

    /// The number of the newest event; 0 where there is none.
    pub async fn newest_event(&self) -> Result<i64, StoreError> {
        events::newest(&self.readers).await
    }

    /// The time of the newest event; `None` where there is none.
    pub async fn newest_instant(&self) -> Result<Option<Timestamp>, StoreError> {
        let newest = sql::query("SELECT MAX(at) FROM events WHERE tenant = $1").bind(TENANT);
        let row = newest.fetch_one(&self.readers).await?;
        Ok(row.try_get::<Option<i64>>(0)?.map(Timestamp::from_micros))
    }

    /// A counter that changes whenever this process has written events.
    pub fn event_signal(&self) -> watch::Receiver<u64> {
        self.event_signal.subscribe()
    }
}
