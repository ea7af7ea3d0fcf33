//! Reading table `events`: newest first for people, oldest first for who follows (S88).

use base::Timestamp;
use model::UserId;
use sqlx::AssertSqlSafe;
use tokio::sync::watch;

use crate::row::{TENANT, placeholders};
use crate::sql;
use crate::{Event, Store, StoreError, audit};

/// Which events, and in which order.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Only of these kinds; of all where empty.
    pub kinds: Vec<String>,
    /// Only those that this user may read.
    pub user: Option<UserId>,
    /// Only those that happened then or later.
    pub since: Option<Timestamp>,
    /// Only those after this number.
    pub after: Option<i64>,
    /// Only those before this number.
    pub before: Option<i64>,
    /// Oldest first.
    pub ascending: bool,
    /// At most so many.
    pub limit: u32,
}

impl EventQuery {
    /// One arm of the statement: `whose` is the column that must name the user.
    fn arm(&self, whose: Option<&str>) -> String {
        let mut sql = format!(
            "SELECT {} FROM events WHERE tenant = $1 AND seq > $2 AND seq < $3 AND at >= $4",
            audit::columns()
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
        // Two ranges of two indexes: with OR, the database would walk all events of all users.
        format!(
            "SELECT * FROM (SELECT * FROM ({}) AS own UNION SELECT * FROM ({}) AS other) AS both_ends{}",
            self.arm(Some("user_id")),
            self.arm(Some("other_user")),
            self.order()
        )
    }

    /// The statement with its values.
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
    /// Events; one more than `limit` is never answered.
    pub async fn list_events(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        query.query().fetch_all(&self.readers).await?.iter().map(audit::read).collect()
    }

    /// The number of the newest event.
    pub async fn newest_event(&self) -> Result<i64, StoreError> {
        audit::newest(&self.readers).await
    }

    /// When the newest event happened; `None` where there is none.
    pub async fn newest_instant(&self) -> Result<Option<Timestamp>, StoreError> {
        let newest = sql::query("SELECT MAX(at) FROM events WHERE tenant = $1").bind(TENANT);
        let row = newest.fetch_one(&self.readers).await?;
        Ok(row.try_get::<Option<i64>>(0)?.map(Timestamp::from_micros))
    }

    /// Changes whenever this process has written events.
    pub fn events_told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }
}
