//! Tables `installation` (id of the installation that owns the database) and `removed_audio` (files to delete; no other files are deleted).

use base::Timestamp;

use crate::advisory_lock::AdvisoryLock;
use crate::pool::Conn;
use crate::row::TENANT;
use crate::sql::query;
use crate::{Store, StoreError};

/// Rows per page.
const PAGE: i64 = 500;

/// Removed audio: a voicemail file without its file extension, `voicemail/EXTENSION/MESSAGE`, or the folder of a deleted extension,
/// `voicemail/EXTENSION`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemovedAudio {
    /// Number: increases with each removal.
    pub seq: i64,
    /// Path below the data directory.
    pub name: String,
}

impl Store {
    /// The id of the installation that owns this database; `None` where none was set.
    pub async fn installation(&self) -> Result<Option<String>, StoreError> {
        let row = query("SELECT value FROM installation WHERE tenant = $1 AND name = 'id'")
            .bind(TENANT)
            .fetch_optional(&self.writer)
            .await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    /// Set the id of the installation unless one is set. Returns the id in force.
    pub async fn name_installation(&self, id: &str) -> Result<String, StoreError> {
        let mut tx = self.writer.begin().await?;
        query(
            "INSERT INTO installation (tenant, name, value) VALUES ($1, 'id', $2) ON CONFLICT (tenant, name) DO NOTHING",
        )
        .bind(TENANT)
        .bind(id)
        .execute(&mut tx)
        .await?;
        let row = query("SELECT value FROM installation WHERE tenant = $1 AND name = 'id'")
            .bind(TENANT)
            .fetch_one(&mut tx)
            .await?;
        let id = row.try_get(0)?;
        tx.commit().await?;
        Ok(id)
    }

    /// Whether the database has never been used.
    pub async fn is_unused(&self) -> Result<bool, StoreError> {
        let row = query("SELECT (SELECT COUNT(*) FROM users) + (SELECT COUNT(*) FROM api_keys) + (SELECT COUNT(*) FROM events)")
            .fetch_one(&self.writer)
            .await?;
        Ok(row.try_get::<i64>(0)? == 0)
    }

    /// Audio removed after number `seq`, in order, one page: call again while there are rows.
    pub async fn removed_audio(&self, seq: i64) -> Result<Vec<RemovedAudio>, StoreError> {
        let rows =
            query("SELECT seq, name FROM removed_audio WHERE tenant = $1 AND seq > $2 ORDER BY seq LIMIT $3")
                .bind(TENANT)
                .bind(seq)
                .bind(PAGE)
                .fetch_all(&self.readers)
                .await?;
        rows.iter().map(|row| Ok(RemovedAudio { seq: row.try_get(0)?, name: row.try_get(1)? })).collect()
    }
}

/// Record the removal of audio, in the transaction that deletes its owner.
pub(crate) async fn record_removed_audio(tx: &mut Conn, name: &str, at: Timestamp) -> Result<(), StoreError> {
    tx.lock(AdvisoryLock::Outbox).await?;
    query(
        "INSERT INTO removed_audio (tenant, seq, name, at) \
         SELECT $1, COALESCE(MAX(seq), 0) + 1, $2, $3 FROM removed_audio",
    )
    .bind(TENANT)
    .bind(name)
    .bind(at.as_micros())
    .execute(tx)
    .await?;
    Ok(())
}
