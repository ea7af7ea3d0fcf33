//! Table `idempotency`: what was answered to a request that may be repeated. Answers are sealed by whoever asks, for they can hold secrets.

use std::time::Duration;

use base::Timestamp;

use crate::pool::AdvisoryLock;
use crate::row::TENANT;
use crate::sql::query;
use crate::{Store, StoreError};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_hours(24);
/// Answers that are kept for one key; an older one is forgotten for each that comes on top.
const OF_ONE_KEY: i64 = 10_000;

/// A request that carries a name of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotentRequest {
    /// The API key that asks.
    pub key: String,
    /// What it calls the request.
    pub name: String,
    /// A hash of all of the request.
    pub request: [u8; 32],
    /// When.
    pub at: Timestamp,
}

/// What is known of a request of that name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PriorRequest {
    /// Nothing: it is written down now, and is to be done.
    Nothing,
    /// It was another request.
    Other,
    /// It was begun, and no answer is known.
    Begun,
    /// It was answered so.
    Answered {
        /// HTTP status.
        status: u16,
        /// The sealed answer.
        answer: Vec<u8>,
    },
}

impl Store {
    /// Look for an earlier request of that name, and write this one down where there is none.
    pub async fn begin_request(&self, asked: &IdempotentRequest) -> Result<PriorRequest, StoreError> {
        let mut tx = self.writer.begin().await?;
        tx.lock(AdvisoryLock::Requests).await?;
        let row = query(
            "SELECT request, at, status, answer FROM idempotency WHERE tenant = $1 AND key_id = $2 AND name = $3",
        )
        .bind(TENANT)
        .bind(asked.key.as_str())
        .bind(asked.name.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(row) = row
            && asked.at.since(Timestamp::from_micros(row.try_get(1)?)) < KEPT
        {
            let request: Vec<u8> = row.try_get(0)?;
            if request != asked.request {
                return Ok(PriorRequest::Other);
            }
            let (status, answer): (Option<i64>, Option<Vec<u8>>) = (row.try_get(2)?, row.try_get(3)?);
            return Ok(match (status.and_then(|status| u16::try_from(status).ok()), answer) {
                (Some(status), Some(answer)) => PriorRequest::Answered { status, answer },
                (None, _) | (_, None) => PriorRequest::Begun,
            });
        }
        for sql in [
            "DELETE FROM idempotency WHERE tenant = $1 AND key_id = $2 AND name = $3",
            "INSERT INTO idempotency (tenant, key_id, name, request, at, status, answer) \
             VALUES ($1, $2, $3, $4, $5, NULL, NULL)",
        ] {
            let query = query(sql).bind(TENANT).bind(asked.key.as_str()).bind(asked.name.as_str());
            let query = if sql.starts_with("INSERT") {
                query.bind(asked.request.to_vec()).bind(asked.at.as_micros())
            } else {
                query
            };
            query.execute(&mut *tx).await?;
        }
        query(
            "DELETE FROM idempotency WHERE tenant = $1 AND key_id = $2 AND name IN (SELECT name FROM idempotency \
             WHERE tenant = $1 AND key_id = $2 ORDER BY at DESC, name LIMIT 100 OFFSET $3)",
        )
        .bind(TENANT)
        .bind(asked.key.as_str())
        .bind(OF_ONE_KEY)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(PriorRequest::Nothing)
    }

    /// Keep the answer to a request that was begun.
    pub async fn finish_request(
        &self,
        asked: &IdempotentRequest,
        status: u16,
        answer: &[u8],
    ) -> Result<(), StoreError> {
        query(
            "UPDATE idempotency SET status = $1, answer = $2 WHERE tenant = $3 AND key_id = $4 AND name = $5",
        )
        .bind(i64::from(status))
        .bind(answer.to_vec())
        .bind(TENANT)
        .bind(asked.key.as_str())
        .bind(asked.name.as_str())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// A request that was refused did nothing: it may be made anew under its name.
    pub async fn forget_request(&self, asked: &IdempotentRequest) -> Result<(), StoreError> {
        query("DELETE FROM idempotency WHERE tenant = $1 AND key_id = $2 AND name = $3")
            .bind(TENANT)
            .bind(asked.key.as_str())
            .bind(asked.name.as_str())
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}
