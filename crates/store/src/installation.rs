//! Tables `installation` (whose database this is) and `removed_audio` (files whose owner is gone: only what stands there is deleted).

use base::Timestamp;

use crate::pool::{AdvisoryLock, Conn};
use crate::row::TENANT;
use crate::sql::query;
use crate::{Store, StoreError};

/// Names of one page.
const PAGE: i64 = 500;

/// Audio that was removed: a file of voicemail without its ending, `voicemail/EXTENSION/MESSAGE`, or the folder of an extension that is gone,
/// `voicemail/EXTENSION`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemovedAudio {
    /// Its number: what was removed later has a higher one.
    pub seq: i64,
    /// Its name below the data directory.
    pub name: String,
}

impl Store {
    /// The installation that this database belongs to; `None` before anybody has said so.
    pub async fn installation(&self) -> Result<Option<String>, StoreError> {
        let row = query("SELECT value FROM installation WHERE tenant = $1 AND name = 'id'")
            .bind(TENANT)
            .fetch_optional(&self.writer)
            .await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    /// Say which installation this database belongs to, unless that was said before. Which one it is then.
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

    /// Whether nothing was ever made in this database.
    pub async fn is_unused(&self) -> Result<bool, StoreError> {
        let row = query("SELECT (SELECT COUNT(*) FROM users) + (SELECT COUNT(*) FROM api_keys) + (SELECT COUNT(*) FROM events)")
            .fetch_one(&self.writer)
            .await?;
        Ok(row.try_get::<i64>(0)? == 0)
    }

    /// Audio that was removed after number `seq`, in the order of the numbers: a bounded part, so ask again where there is some.
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

/// Write down that audio is nobody's any more, in the transaction that makes it so.
pub(crate) async fn audio_removed(tx: &mut Conn, name: &str, at: Timestamp) -> Result<(), StoreError> {
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
