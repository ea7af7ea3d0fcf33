//! Migrations: numbered, checksummed, forward only, run at start. All missing ones run in one transaction.

use sqlx::{AssertSqlSafe, SqlSafeStr as _};

use crate::StoreError;
use crate::advisory_lock::AdvisoryLock;
use crate::pool::Conn;
use crate::sql::{Row, query};

struct Migration {
    version: i64,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: include_str!("../migrations/0001_office.sql") },
    Migration { version: 2, sql: include_str!("../migrations/0002_calls_by_number.sql") },
    Migration { version: 3, sql: include_str!("../migrations/0003_forwarding.sql") },
    Migration { version: 4, sql: include_str!("../migrations/0004_trunks.sql") },
    Migration { version: 5, sql: include_str!("../migrations/0005_recordings.sql") },
    Migration { version: 6, sql: include_str!("../migrations/0006_voicemail.sql") },
    Migration { version: 7, sql: include_str!("../migrations/0007_recurring_calls.sql") },
    Migration { version: 8, sql: include_str!("../migrations/0008_events.sql") },
    Migration { version: 9, sql: include_str!("../migrations/0009_nodes.sql") },
    Migration { version: 10, sql: include_str!("../migrations/0010_sounds.sql") },
    Migration { version: 11, sql: include_str!("../migrations/0011_calls_at_speed.sql") },
    Migration { version: 12, sql: include_str!("../migrations/0012_webhook_secrets.sql") },
    Migration { version: 13, sql: include_str!("../migrations/0013_outside_time.sql") },
    Migration { version: 14, sql: include_str!("../migrations/0014_listeners.sql") },
    Migration { version: 15, sql: include_str!("../migrations/0015_installation.sql") },
];

/// Run the missing migrations, or refuse a database of another version. Nodes that start at the same time run one after the other.
pub(crate) async fn migrate(tx: &mut Conn) -> Result<(), StoreError> {
    tx.lock(AdvisoryLock::Migrate).await?;
    refuse_foreign(tx).await?;
    query("CREATE TABLE IF NOT EXISTS migrations (version BIGINT PRIMARY KEY, checksum BIGINT NOT NULL)")
        .execute(&mut *tx)
        .await?;
    let done = query(APPLIED).fetch_all(&mut *tx).await?;
    check(&done)?;
    for missing in MIGRATIONS.iter().skip(done.len()) {
        let script = if tx.is_postgres() { for_postgres(missing.sql) } else { missing.sql.to_owned() };
        tx.run_script(AssertSqlSafe(script).into_sql_str()).await?;
        query("INSERT INTO migrations (version, checksum) VALUES ($1, $2)")
            .bind(missing.version)
            .bind(checksum(missing.sql))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// The migrations that a database has run.
pub(crate) const APPLIED: &str = "SELECT version, checksum FROM migrations ORDER BY version";

/// Refuse migrations (rows of [`APPLIED`]) that this version does not have.
pub(crate) fn check(done: &[Row]) -> Result<(), StoreError> {
    for (place, row) in done.iter().enumerate() {
        let version: i64 = row.try_get(0)?;
        match MIGRATIONS.get(place) {
            Some(known) if known.version == version => {
                if checksum(known.sql) != row.try_get::<i64>(1)? {
                    return Err(StoreError::Migration { version, fault: "its text differs" });
                }
            }
            Some(_) => return Err(StoreError::Migration { version, fault: "it is unknown here" }),
            None => {
                let known = MIGRATIONS.last().map_or(0, |last| last.version);
                return Err(StoreError::Newer {
                    found: done.last().map_or(Ok(version), |row| row.try_get(0))?,
                    known,
                });
            }
        }
    }
    Ok(())
}

/// Refuse a database that has tables and no table of migrations, or one of another form: it belongs to another program.
async fn refuse_foreign(tx: &mut Conn) -> Result<(), StoreError> {
    let (tables, columns) = if tx.is_postgres() {
        (
            "SELECT CAST(tablename AS TEXT) FROM pg_catalog.pg_tables WHERE schemaname = current_schema() ORDER BY tablename",
            "SELECT CAST(column_name AS TEXT) FROM information_schema.columns WHERE table_schema = current_schema() \
             AND table_name = 'migrations'",
        )
    } else {
        (
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
            "SELECT name FROM pragma_table_info('migrations')",
        )
    };
    let mut names: Vec<String> = Vec::new();
    for row in query(tables).fetch_all(&mut *tx).await? {
        names.push(row.try_get(0)?);
    }
    let mut ours = Vec::new();
    for row in query(columns).fetch_all(&mut *tx).await? {
        ours.push(row.try_get::<String>(0)?);
    }
    ours.sort_unstable();
    match names.into_iter().next() {
        Some(table) if ours.is_empty() => Err(StoreError::Foreign { table }),
        Some(_) if ours != ["checksum", "version"] => Err(StoreError::Foreign { table: "migrations".into() }),
        Some(_) | None => Ok(()),
    }
}

/// SQLite compares text byte by byte, PostgreSQL by locale. Byte order is needed by pages that continue where the last one ended, and by
/// number prefixes.
fn for_postgres(sql: &str) -> String {
    sql.replace(" TEXT", " TEXT COLLATE \"C\"")
}

/// Detects a migration that was edited after it ran; not a protection against malice.
fn checksum(sql: &str) -> i64 {
    i64::from(crc32fast::hash(sql.as_bytes()))
}

/// The number of the last migration of this version.
pub(crate) fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |last| last.version)
}
