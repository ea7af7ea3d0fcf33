//! The store's door.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base::Timestamp;
use model::journal::Record;
use model::{ApiKeyId, CallId, CallRecord, Change, Directory};
use sqlx::AssertSqlSafe;

use crate::pen::News;
use crate::pool::{Conn, Pool, Turn, Tx};
use crate::prune::{Pruned, Retention, prune};
use crate::row::{TENANT, Table, upsert};
use crate::sql::{Row, query};
use crate::{
    Audit, CallFilter, CallPage, EventFilter, EventPage, KeyUse, Remembered, StoreError, audit, bindings,
    call_page, calls, credentials, extensions, feed, key_uses, keys, ladders, legs, lite, postgres, users,
};

/// The database. Clones share it.
///
/// Each commit is synced to the disk: what was acknowledged outlives the power. (What cannot wait for a disk goes through the journal and
/// comes here by [`Store::feed`].)
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) writer: Pool,
    pub(crate) readers: Pool,
    /// Who we are among the nodes that share the database; empty where nobody shares it.
    pub(crate) node: Arc<str>,
}

impl Store {
    /// Open (and make, and migrate) the database that `url` names: `sqlite:FILE`, where a relative path lies in `data_dir`, or `postgres://…`.
    pub async fn open(url: &str, data_dir: &Path) -> Result<Store, StoreError> {
        if postgres::speaks(url) {
            postgres::open(url, data_dir).await
        } else {
            lite::open(url, data_dir).await
        }
    }

    /// Whether other nodes may write to the same database.
    pub fn is_shared(&self) -> bool {
        matches!(self.writer, Pool::Postgres(_))
    }

    /// Everything that is looked up in memory.
    pub async fn load_directory(&self) -> Result<Directory, StoreError> {
        let mut directory = Directory::default();
        self.load(&users::TABLE, |row| Ok(Change::User(users::read(row)?)), &mut directory).await?;
        self.load(&keys::TABLE, |row| Ok(Change::Key(keys::read(row)?)), &mut directory).await?;
        self.load(&extensions::TABLE, |row| Ok(Change::Extension(extensions::read(row)?)), &mut directory)
            .await?;
        self.load(&credentials::TABLE, |row| Ok(Change::Credential(credentials::read(row)?)), &mut directory)
            .await?;
        Ok(directory)
    }

    async fn load(
        &self,
        table: &Table,
        read: impl Fn(&Row) -> Result<Change, StoreError>,
        directory: &mut Directory,
    ) -> Result<(), StoreError> {
        let sql = format!("SELECT {} FROM {} WHERE tenant = $1", table.columns(), table.name);
        let each = |row: &Row| {
            directory.apply(read(row)?);
            Ok(())
        };
        query(AssertSqlSafe(sql)).bind(TENANT).fetch_each(&self.writer, each).await
    }

    /// Commit changes, their outbox rows and their event in one transaction. The number of the outbox's last row.
    pub async fn write(&self, changes: &[Change], audit: Audit) -> Result<i64, StoreError> {
        let mut tx = self.writer.begin().await?;
        tx.take_turn(Turn::Outbox).await?;
        write(tx, changes, audit).await
    }

    /// The number of the outbox's last row. Read it before [`Store::load_directory`]: what comes later is told by [`Store::outbox_after`].
    pub async fn outbox_seq(&self) -> Result<i64, StoreError> {
        audit::last_change(&self.writer).await
    }

    /// What was committed after row `seq` of the outbox: a bounded number of rows, so ask again where there are some.
    pub async fn outbox_after(&self, seq: i64) -> Result<News, StoreError> {
        audit::news(&self.readers, seq).await
    }

    /// What the exchange of this node is told at start: what other nodes hold is theirs.
    pub async fn remembered(&self) -> Result<Remembered, StoreError> {
        let sql =
            format!("SELECT {} FROM bindings WHERE tenant = $1 AND node = $2", bindings::TABLE.columns());
        let mut remembered = Remembered::default();
        let each = |row: &Row| {
            remembered.bindings.push(bindings::read(row)?);
            Ok(())
        };
        query(AssertSqlSafe(sql)).bind(TENANT).bind(&*self.node).fetch_each(&self.writer, each).await?;
        let sql = format!("SELECT {} FROM open_legs WHERE tenant = $1", legs::OPEN.columns());
        let mut up: BTreeMap<CallId, Vec<_>> = BTreeMap::new();
        for row in query(AssertSqlSafe(sql)).bind(TENANT).fetch_all(&self.writer).await? {
            let (call, leg) = legs::read_open(&row)?;
            up.entry(call).or_default().push(leg);
        }
        for call in calls::open(&self.writer, &self.node).await? {
            let legs = up.remove(&call.id).unwrap_or_default();
            remembered.open_calls.push((call, legs));
        }
        Ok(remembered)
    }

    /// Take in records of the journal, in one transaction. Taking the same ones in twice changes nothing. When this returns they are on the disk.
    pub async fn feed(&self, records: &[Record]) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut tx = self.writer.begin().await?;
        feed::feed(&mut tx, records, &self.node).await?;
        tx.commit().await
    }

    /// One call.
    pub async fn call(&self, id: &CallId) -> Result<Option<CallRecord>, StoreError> {
        calls::one(&self.readers, id).await
    }

    /// A page of calls, newest first.
    pub async fn calls(&self, filter: &CallFilter) -> Result<CallPage, StoreError> {
        call_page::page(&self.readers, filter).await
    }

    /// The compressed ladder of a call that is over.
    pub async fn ladder(&self, id: &CallId) -> Result<Option<Vec<u8>>, StoreError> {
        ladders::one(&self.readers, id).await
    }

    /// Write an event that changes nothing of the directory.
    pub async fn audit(&self, event: Audit) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        audit::insert(&mut tx, &event).await?;
        tx.commit().await
    }

    /// A page of events, newest first.
    pub async fn events(&self, filter: &EventFilter) -> Result<EventPage, StoreError> {
        audit::page(&self.readers, filter).await
    }

    /// Forget what is older than its retention, and bindings that expired an hour ago.
    pub async fn prune(&self, now: Timestamp, retention: &Retention) -> Result<Pruned, StoreError> {
        prune(&self.writer, now, retention).await
    }

    /// A consistent copy, while running. `to` must not exist.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let Pool::Lite(_) = self.readers else {
            return Err(StoreError::Unsupported("a copy of a PostgreSQL database is made with pg_dump"));
        };
        let io = |source| StoreError::Io { path: to.to_owned(), source };
        if to.exists() {
            return Err(io(std::io::ErrorKind::AlreadyExists.into()));
        }
        lite::create_private(to)?;
        let target = to.to_str().ok_or_else(|| io(std::io::ErrorKind::InvalidFilename.into()))?;
        query("VACUUM INTO $1").bind(target).execute(&self.readers).await?;
        Ok(())
    }

    /// Add to the count of keys' uses.
    pub async fn key_used(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        if uses.is_empty() {
            return Ok(());
        }
        let mut tx = self.writer.begin().await?;
        key_uses::add(&mut tx, uses).await?;
        tx.commit().await
    }

    /// When each key was last used, as far as it was told by [`Store::key_used`].
    pub async fn keys_last_used(&self) -> Result<BTreeMap<ApiKeyId, Timestamp>, StoreError> {
        key_uses::last(&self.readers).await
    }

    /// Close the database after what is being written is written.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Write and commit.
pub(crate) async fn write(mut tx: Tx, changes: &[Change], audit: Audit) -> Result<i64, StoreError> {
    let mut left = changes;
    while let Some(first) = left.first() {
        let kind = std::mem::discriminant(first);
        let run = left.iter().take_while(|change| std::mem::discriminant(*change) == kind).count();
        let (now, later) = left.split_at(run);
        write_run(&mut tx, now).await?;
        left = later;
    }
    let reached = audit::to_outbox(&mut tx, changes, audit.at).await?;
    audit::insert(&mut tx, &audit).await?;
    tx.commit().await?;
    Ok(reached)
}

/// Write changes that are all of one kind.
async fn write_run(tx: &mut Conn, run: &[Change]) -> Result<(), StoreError> {
    macro_rules! rows {
        ($kind:ident, $table:ident) => {{
            let rows: Vec<_> = run
                .iter()
                .filter_map(|c| if let Change::$kind(row) = c { Some(row) } else { None })
                .collect();
            upsert(tx, &$table::TABLE, &rows, |row, query| $table::bind(row, query)).await
        }};
    }
    macro_rules! gone {
        ($kind:ident, $sql:literal) => {{
            for change in run {
                if let Change::$kind(key) = change {
                    query($sql).bind(TENANT).bind(key.to_string()).execute(&mut *tx).await?;
                }
            }
            Ok(())
        }};
    }
    match run.first() {
        None => Ok(()),
        Some(Change::User(_)) => rows!(User, users),
        Some(Change::Key(_)) => rows!(Key, keys),
        Some(Change::Credential(_)) => rows!(Credential, credentials),
        Some(Change::Extension(_)) => rows!(Extension, extensions),
        Some(Change::KeyGone(_)) => gone!(KeyGone, "DELETE FROM api_keys WHERE tenant = $1 AND id = $2"),
        Some(Change::CredentialGone(_)) => {
            gone!(CredentialGone, "DELETE FROM credentials WHERE tenant = $1 AND username = $2")
        }
        Some(Change::ExtensionGone(_)) => {
            gone!(ExtensionGone, "DELETE FROM extensions WHERE tenant = $1 AND id = $2")
        }
    }
}
