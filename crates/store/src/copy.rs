//! Copying a SQLite database to PostgreSQL: all tables in one transaction, so that an interrupted copy leaves nothing behind.

use std::path::Path;

use sqlx::AssertSqlSafe;

use crate::advisory_lock::AdvisoryLock;
use crate::limits::COPY_PARAMETERS;
use crate::pool::{Conn, Pool};
use crate::row::placeholders;
use crate::sql::{Row, Value, query};
use crate::{Store, StoreError, postgres};

/// A table as SQLite's schema describes it, so that no table can be forgotten here.
struct SourceTable {
    name: String,
    columns: Vec<(String, ColumnType)>,
}

/// Type of a column.
#[derive(Clone, Copy)]
enum ColumnType {
    Text,
    Number,
    Bytes,
}

impl Store {
    /// Copy all tables to the empty database that `url` names. Returns the total number of rows; `told` is called for each finished table.
    ///
    /// No process may write to either database meanwhile. The node of `data_dir` becomes the owner of calls, bindings and audio.
    pub async fn move_to(
        &self,
        url: &str,
        data_dir: &Path,
        mut on_table_done: impl FnMut(&str, u64) + Send,
    ) -> Result<u64, StoreError> {
        let Pool::Sqlite(_) = &self.writer else {
            return Err(StoreError::Unsupported("the database is a PostgreSQL database already"));
        };
        if !postgres::is_postgres_url(url) {
            return Err(StoreError::Unsupported(
                "the target must be PostgreSQL: write postgres://USER:PASSWORD@HOST/DATABASE",
            ));
        }
        let target = postgres::open(url, data_dir).await?;
        let mut tx = target.writer.begin().await?;
        // Two concurrent copies to the same target run one after the other, and the second finds it not empty.
        tx.lock(AdvisoryLock::Migrate).await?;
        let tables = self.tables().await?;
        for table in &tables {
            if count(&mut tx, &table.name).await? > 0 {
                return Err(StoreError::NotEmpty { table: table.name.clone() });
            }
        }
        let mut total = 0;
        for table in &tables {
            self.copy(table, &mut tx).await?;
            let (target_rows, source_rows) =
                (count(&mut tx, &table.name).await?, count(&self.readers, &table.name).await?);
            if target_rows != source_rows {
                let fault =
                    format!("table {} has {source_rows} rows here and {target_rows} there", table.name);
                return Err(StoreError::Damaged { table: "moved", fault });
            }
            total += source_rows as u64;
            on_table_done(&table.name, source_rows as u64);
        }
        // The node that owned open calls, bindings and audio files still does.
        for sql in [
            "UPDATE calls SET node = $1 WHERE ended_at IS NULL",
            "UPDATE bindings SET node = $1",
            "UPDATE recordings SET node = $1",
            "UPDATE mail_deliveries SET node = $1",
        ] {
            query(sql).bind(&*target.node).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        target.close().await;
        Ok(total)
    }

    async fn tables(&self) -> Result<Vec<SourceTable>, StoreError> {
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'migrations' \
                   ORDER BY name";
        let mut tables = Vec::new();
        for row in query(sql).fetch_all(&self.readers).await? {
            let name: String = row.try_get(0)?;
            let columns = query("SELECT name, type FROM pragma_table_info($1) ORDER BY cid")
                .bind(&name)
                .fetch_all(&self.readers)
                .await?;
            let columns = columns.iter().map(column).collect::<Result<_, _>>()?;
            tables.push(SourceTable { name, columns });
        }
        Ok(tables)
    }

    async fn copy(&self, table: &SourceTable, tx: &mut Conn) -> Result<(), StoreError> {
        let (name, width) = (&table.name, table.columns.len());
        let names: Vec<String> = table.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let names = names.join(", ");
        let read = format!("SELECT rowid, {names} FROM \"{name}\" WHERE rowid > $1 ORDER BY rowid LIMIT $2");
        let most = (COPY_PARAMETERS / width.max(1)).max(1);
        let mut after = i64::MIN;
        loop {
            let rows = query(AssertSqlSafe(read.clone())).bind(after).bind(most as i64);
            let rows = rows.fetch_all(&self.readers).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.try_get(0)?;
            let mut values = Vec::with_capacity(rows.len() * width);
            for row in &rows {
                for (place, (_, column_type)) in table.columns.iter().enumerate() {
                    values.push(value(row, place + 1, *column_type)?);
                }
            }
            let each: Vec<String> =
                (0..rows.len()).map(|row| format!("({})", placeholders(row * width + 1, width))).collect();
            let write = format!("INSERT INTO \"{name}\" ({names}) VALUES {}", each.join(", "));
            let full = rows.len() == most;
            query(AssertSqlSafe(write)).persistent(full).with(values).execute(&mut *tx).await?;
        }
    }
}

fn column(row: &Row) -> Result<(String, ColumnType), StoreError> {
    let (name, declared): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let column_type = match declared.as_str() {
        "TEXT" => ColumnType::Text,
        "BIGINT" => ColumnType::Number,
        "BYTEA" => ColumnType::Bytes,
        other => {
            return Err(StoreError::Damaged { table: "moved", fault: format!("column {name} is {other}") });
        }
    };
    Ok((name, column_type))
}

fn value(row: &Row, place: usize, column_type: ColumnType) -> Result<Value, StoreError> {
    Ok(match column_type {
        ColumnType::Text => Value::Text(row.try_get(place)?),
        ColumnType::Number => Value::Number(row.try_get(place)?),
        ColumnType::Bytes => Value::Bytes(row.try_get(place)?),
    })
}

async fn count<'c>(on: impl Into<crate::sql::On<'c>>, table: &str) -> Result<i64, StoreError> {
    query(AssertSqlSafe(format!("SELECT COUNT(*) FROM \"{table}\""))).fetch_one(on).await?.try_get(0)
}
