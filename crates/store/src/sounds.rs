//! Table `sounds`: audio for recurring calls. The audio is in the row: it is short, and every node that dials needs it.

use model::{ExtensionId, Sound, SoundId};
use sqlx::AssertSqlSafe;

use crate::row::{Reader, TENANT, Table, upsert};
use crate::sql::{Row, query};
use crate::{Audit, Store, StoreError, events};

const TABLE: Table = Table {
    name: "sounds",
    key: &["id"],
    rest: &["extension_id", "user_id", "name", "millis", "created_at", "audio"],
};
/// All columns but the audio.
const COLUMNS: &str = "id, extension_id, user_id, name, millis, created_at";

fn read(row: &Row) -> Result<Sound, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    Ok(Sound {
        id: row.id()?,
        extension: row.id()?,
        user: row.id()?,
        name: row.text()?,
        millis: row.number()?,
        created_at: row.instant()?,
    })
}

impl Store {
    /// Store a sound and its audio with an event. `false`, and nothing is stored, where the extension has `most` sounds already.
    pub async fn insert_sound(
        &self,
        sound: &Sound,
        sound_audio: &[u8],
        most: u32,
        event: Audit,
    ) -> Result<bool, StoreError> {
        let mut tx = self.writer.begin().await?;
        let held: i64 = query("SELECT COUNT(*) FROM sounds WHERE tenant = $1 AND extension_id = $2")
            .bind(TENANT)
            .bind(sound.extension.as_str())
            .fetch_one(&mut tx)
            .await?
            .try_get(0)?;
        if held >= i64::from(most) {
            return Ok(false);
        }
        upsert(&mut tx, &TABLE, &[sound], |sound, query| {
            query
                .bind(sound.id.as_str())
                .bind(sound.extension.as_str())
                .bind(sound.user.as_str())
                .bind(sound.name.clone())
                .bind(i64::from(sound.millis))
                .bind(sound.created_at.as_micros())
                .bind(sound_audio)
        })
        .await?;
        events::insert(&mut tx, &event).await?;
        self.commit_with_events(tx).await?;
        Ok(true)
    }

    /// The sounds of an extension, oldest first.
    pub async fn sounds(&self, extension: &ExtensionId) -> Result<Vec<Sound>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM sounds WHERE tenant = $1 AND extension_id = $2 ORDER BY id");
        let query = query(AssertSqlSafe(sql)).bind(TENANT).bind(extension.as_str());
        query.fetch_all(&self.readers).await?.iter().map(read).collect()
    }

    /// One sound.
    pub async fn sound(&self, id: &SoundId) -> Result<Option<Sound>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM sounds WHERE tenant = $1 AND id = $2");
        let query = query(AssertSqlSafe(sql)).bind(TENANT).bind(id.as_str());
        query.fetch_optional(&self.readers).await?.as_ref().map(read).transpose()
    }

    /// The audio of a sound: Opus in Ogg.
    pub async fn sound_audio(&self, id: &SoundId) -> Result<Option<Vec<u8>>, StoreError> {
        let query = query("SELECT audio FROM sounds WHERE tenant = $1 AND id = $2");
        let row = query.bind(TENANT).bind(id.as_str()).fetch_optional(&self.readers).await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    /// Delete a sound with an event. `false` where it does not exist.
    pub async fn remove_sound(&self, id: &SoundId, event: Audit) -> Result<bool, StoreError> {
        let mut tx = self.writer.begin().await?;
        let query = query("DELETE FROM sounds WHERE tenant = $1 AND id = $2");
        let gone = query.bind(TENANT).bind(id.as_str()).execute(&mut tx).await?;
        if gone.rows_affected() == 0 {
            return Ok(false);
        }
        events::insert(&mut tx, &event).await?;
        self.commit_with_events(tx).await?;
        Ok(true)
    }
}
