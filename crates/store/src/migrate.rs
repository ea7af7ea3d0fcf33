//! Migrations: numbered, checksummed, forward only, run at start. All that are missing are one transaction.

use sqlx::{Row, SqlitePool};

use crate::StoreError;

struct Migration {
    version: i64,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: include_str!("../migrations/0001_office.sql") },
    Migration { version: 3, sql: include_str!("../migrations/0003_forwarding.sql") },
    Migration { version: 5, sql: include_str!("../migrations/0005_recordings.sql") },
    Migration { version: 6, sql: include_str!("../migrations/0006_voicemail.sql") },
];

/// Bring the database up to date, or refuse one that another version of us has written.
pub(crate) async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS migrations (version BIGINT PRIMARY KEY, checksum BIGINT NOT NULL)",
    )
    .execute(&mut *tx)
    .await?;
    let done =
        sqlx::query("SELECT version, checksum FROM migrations ORDER BY version").fetch_all(&mut *tx).await?;
    for (place, row) in done.iter().enumerate() {
        let version: i64 = row.try_get(0)?;
        match MIGRATIONS.get(place) {
            Some(known) if known.version == version => {
                if checksum(known.sql) != row.try_get::<i64, _>(1)? {
                    return Err(StoreError::Migration { version, fault: "its text differs" });
                }
            }
            Some(_) | None => return Err(StoreError::Migration { version, fault: "it is unknown here" }),
        }
    }
    for missing in MIGRATIONS.iter().skip(done.len()) {
        sqlx::raw_sql(missing.sql).execute(&mut *tx).await?;
        sqlx::query("INSERT INTO migrations (version, checksum) VALUES ($1, $2)")
            .bind(missing.version)
            .bind(checksum(missing.sql))
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Guards against a migration that was edited after it had run, not against malice.
fn checksum(sql: &str) -> i64 {
    i64::from(crc32fast::hash(sql.as_bytes()))
}
