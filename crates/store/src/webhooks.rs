//! Table `webhooks`: subscriptions to events. Signing secrets are derived and not stored; only the number of the current one is.

use base::Timestamp;
use model::{UserId, Webhook, WebhookId};
use sqlx::AssertSqlSafe;

use crate::advisory_lock::AdvisoryLock;
use crate::pool::Conn;
use crate::row::{Query, Reader, TENANT, Table, json, upsert};
use crate::sql::{Row, query};
use crate::{Audit, Store, StoreError, events};

const HOOKS: Table = Table {
    name: "webhooks",
    key: &["id"],
    rest: &["user_id", "url", "types", "everybody", "active", "since", "created_at", "updated_at"],
};

/// The columns to read. The secret's number is not written by an update, so that an update begun before a rotation does not undo it.
fn columns() -> String {
    format!("{}, secret_number, rotated_at", HOOKS.columns())
}

fn bind_hook(hook: &Webhook, query: Query) -> Query {
    query
        .bind(hook.id.to_string())
        .bind(hook.user.to_string())
        .bind(hook.url.clone())
        .bind(json(&hook.types))
        .bind(i64::from(hook.everybody))
        .bind(i64::from(hook.active))
        .bind(hook.since)
        .bind(hook.created_at.as_micros())
        .bind(hook.updated_at.as_micros())
}

fn read_hook(row: &Row) -> Result<Webhook, StoreError> {
    let mut row = Reader::new(&HOOKS, row);
    Ok(Webhook {
        id: row.id()?,
        user: row.id()?,
        url: row.text()?,
        types: row.json()?,
        everybody: row.flag()?,
        active: row.flag()?,
        since: row.number()?,
        created_at: row.instant()?,
        updated_at: row.instant()?,
        secret: row.number()?,
        rotated_at: row.instant_or_none()?,
    })
}

impl Store {
    /// Webhooks of one user or of all, by id.
    pub async fn webhooks(&self, user: Option<&UserId>) -> Result<Vec<Webhook>, StoreError> {
        let whose = if user.is_some() { " AND user_id = $2" } else { "" };
        let sql = format!("SELECT {} FROM webhooks WHERE tenant = $1{whose} ORDER BY id", columns());
        let mut query = query(AssertSqlSafe(sql)).bind(TENANT);
        if let Some(user) = user {
            query = query.bind(user.to_string());
        }
        query.fetch_all(&self.readers).await?.iter().map(read_hook).collect()
    }

    /// One webhook.
    pub async fn webhook(&self, id: &WebhookId) -> Result<Option<Webhook>, StoreError> {
        let sql = format!("SELECT {} FROM webhooks WHERE tenant = $1 AND id = $2", columns());
        let row =
            query(AssertSqlSafe(sql)).bind(TENANT).bind(id.as_str()).fetch_optional(&self.readers).await?;
        row.as_ref().map(read_hook).transpose()
    }

    /// Store a webhook, except its secret, with an event. With `fresh` (new, or activated again) only later events are delivered to it.
    pub async fn save_webhook(&self, hook: &Webhook, fresh: bool, audit: Audit) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        tx.lock(AdvisoryLock::Events).await?;
        let since = if fresh { events::newest(&mut tx).await? } else { hook.since };
        let hook = Webhook { since, ..hook.clone() };
        upsert(&mut tx, &HOOKS, &[&hook], |hook, query| bind_hook(hook, query)).await?;
        events::insert(&mut tx, &audit).await?;
        self.commit_with_events(tx).await
    }

    /// Rotate the signing secret of a webhook, with an event. Returns the webhook, or `None` where it does not exist.
    pub async fn rotate_webhook(
        &self,
        id: &WebhookId,
        now: Timestamp,
        audit: Audit,
    ) -> Result<Option<Webhook>, StoreError> {
        let mut tx = self.writer.begin().await?;
        tx.lock(AdvisoryLock::Events).await?;
        query(
            "UPDATE webhooks SET secret_number = secret_number + 1, rotated_at = $1, updated_at = $1 \
             WHERE tenant = $2 AND id = $3",
        )
        .bind(now.as_micros())
        .bind(TENANT)
        .bind(id.as_str())
        .execute(&mut *tx)
        .await?;
        let sql = format!("SELECT {} FROM webhooks WHERE tenant = $1 AND id = $2", columns());
        let row = query(AssertSqlSafe(sql)).bind(TENANT).bind(id.as_str()).fetch_optional(&mut *tx).await?;
        let Some(row) = row else { return Ok(None) };
        let hook = read_hook(&row)?;
        events::insert(&mut tx, &audit).await?;
        self.commit_with_events(tx).await?;
        Ok(Some(hook))
    }

    /// Delete a webhook and its deliveries.
    pub async fn delete_webhook(&self, id: &WebhookId, audit: Audit) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        tx.lock(AdvisoryLock::Events).await?;
        for sql in [
            "DELETE FROM deliveries WHERE tenant = $1 AND webhook_id = $2",
            "DELETE FROM webhooks WHERE tenant = $1 AND id = $2",
        ] {
            query(sql).bind(TENANT).bind(id.as_str()).execute(&mut *tx).await?;
        }
        events::insert(&mut tx, &audit).await?;
        self.commit_with_events(tx).await
    }
}

pub(crate) async fn active_hooks(tx: &mut Conn) -> Result<Vec<Webhook>, StoreError> {
    let sql = format!("SELECT {} FROM webhooks WHERE tenant = $1 AND active = 1", columns());
    let rows = query(AssertSqlSafe(sql)).bind(TENANT).fetch_all(tx).await?;
    rows.iter().map(read_hook).collect()
}
