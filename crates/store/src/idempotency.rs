//! Table `idempotency`: responses to requests with an idempotency key. The caller seals the responses, because they can contain secrets.

use std::time::Duration;

use base::Timestamp;

use crate::advisory_lock::AdvisoryLock;
use crate::row::TENANT;
use crate::sql::query;
use crate::{Store, StoreError};

/// Retention of a response.
const RETENTION: Duration = Duration::from_hours(24);
/// Maximum number of responses stored for one API key; the oldest ones are deleted first.
const MAX_PER_KEY: i64 = 10_000;

/// A request with an idempotency key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotentRequest {
    /// API key of the request.
    pub key: String,
    /// The idempotency key.
    pub name: String,
    /// Hash of the whole request.
    pub request: [u8; 32],
    /// Time of the request.
    pub at: Timestamp,
}

/// Result of the search for an earlier request with the same idempotency key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PriorRequest {
    /// None was found: this one is recorded now, and must be executed.
    Nothing,
    /// The earlier request was a different one.
    Other,
    /// The earlier request was begun, and its response is not known.
    Begun,
    /// The earlier request was answered.
    Answered {
        /// HTTP status.
        status: u16,
        /// Sealed response body.
        answer: Vec<u8>,
    },
}

impl Store {
    /// Look up an earlier request, and record this one where there is none.
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
            && asked.at.since(Timestamp::from_micros(row.try_get(1)?)) < RETENTION
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
        .bind(MAX_PER_KEY)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(PriorRequest::Nothing)
    }

    /// Store the response to a request that was begun.
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

    /// Delete the record of a refused request: it had no effect, and may be repeated with the same idempotency key.
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
