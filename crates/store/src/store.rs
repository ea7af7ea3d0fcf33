//! The store's door.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use futures_util::TryStreamExt as _;
use model::journal::Record;
use model::voicemail::Delivery;
use model::{ApiKeyId, CallId, CallRecord, Change, Directory, ExtensionId};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};
use tokio::sync::watch;

use crate::prune::{Pruned, Retention, prune};
use crate::row::{TENANT, Table, upsert};
use crate::{
    Audit, CallFilter, CallPage, EventFilter, EventPage, KeyUse, Remembered, StoreError, audit, bindings,
    calls, credentials, extensions, feed, key_uses, keys, ladders, legs, mailboxes, mails, messages, migrate,
    recurring, trunks, users,
};

/// Readers beside the one writer.
const READERS: u32 = 4;
/// How long a request waits for the database before it is told so.
const PATIENCE: Duration = Duration::from_secs(5);

/// The database. Clones share it.
///
/// One connection writes, so writers queue here and not on a busy database. Each commit is synced to the disk: what was acknowledged
/// outlives the power. (What cannot wait for a disk goes through the journal and comes here by [`Store::feed`].)
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    /// Counts the transactions that wrote events.
    pub(crate) told: Arc<watch::Sender<u64>>,
}

impl Store {
    /// Open (and make, and migrate) the database; a relative path lies in `data_dir`.
    pub async fn open(url: &str, data_dir: &Path) -> Result<Store, StoreError> {
        let path = path_of(url, data_dir)?;
        create_private(&path)?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(PATIENCE)
            .row_buffer_size(1024) // a start reads everything: fewer turns between two threads
            .foreign_keys(false);
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(PATIENCE)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        // The first commit waits for no disk, so that a start does not either: the first one that somebody was promised syncs it too.
        let writer = pool(1).connect_with(options.clone()).await?;
        migrate::migrate(&writer).await?;
        sqlx::query("PRAGMA synchronous = FULL").execute(&writer).await?;
        let readers = pool(READERS).connect_lazy_with(options.read_only(true));
        Ok(Store { writer, readers, told: Arc::new(watch::Sender::new(0)) })
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
        self.load(&trunks::TABLE, |row| Ok(Change::Trunk(Box::new(trunks::read(row)?))), &mut directory)
            .await?;
        self.load(&mailboxes::TABLE, |row| Ok(Change::Mailbox(mailboxes::read(row)?)), &mut directory)
            .await?;
        self.load(&messages::TABLE, |row| Ok(Change::Message(messages::read(row)?)), &mut directory).await?;
        let recurring = |row: &SqliteRow| Ok(Change::Recurring(Box::new(recurring::read(row)?)));
        self.load(&recurring::TABLE, recurring, &mut directory).await?;
        Ok(directory)
    }

    async fn load(
        &self,
        table: &Table,
        read: impl Fn(&SqliteRow) -> Result<Change, StoreError>,
        directory: &mut Directory,
    ) -> Result<(), StoreError> {
        let sql = format!("SELECT {} FROM {} WHERE tenant = $1", table.columns(), table.name);
        let mut rows = sqlx::query(AssertSqlSafe(sql)).bind(TENANT).fetch(&self.writer);
        while let Some(row) = rows.try_next().await? {
            directory.apply(read(&row)?);
        }
        Ok(())
    }

    /// Commit changes, their outbox rows and their event in one transaction.
    pub async fn write(&self, changes: &[Change], audit: Audit) -> Result<(), StoreError> {
        self.write_all(changes, &[], std::slice::from_ref(&audit)).await
    }

    /// The same, with the mails that are to be sent because of it, and with several events, all of one instant.
    pub async fn write_all(
        &self,
        changes: &[Change],
        mails: &[Delivery],
        audits: &[Audit],
    ) -> Result<(), StoreError> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut left = changes;
        while let Some(first) = left.first() {
            let kind = std::mem::discriminant(first);
            let run = left.iter().take_while(|change| std::mem::discriminant(*change) == kind).count();
            let (now, later) = left.split_at(run);
            write_run(&mut tx, now).await?;
            left = later;
        }
        mails::write(&mut tx, mails).await?;
        let at = audits.first().map(|audit| audit.at).unwrap_or_default();
        audit::to_outbox(&mut tx, changes, at).await?;
        for audit in audits {
            audit::insert(&mut tx, audit).await?;
        }
        tx.commit().await?;
        self.told.send_modify(|n| *n += 1);
        Ok(())
    }

    /// A transaction of the one writer.
    pub(crate) async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// What the exchange is told at start.
    pub async fn remembered(&self) -> Result<Remembered, StoreError> {
        let sql = format!("SELECT {} FROM bindings WHERE tenant = $1", bindings::TABLE.columns());
        let mut remembered = Remembered::default();
        let mut rows = sqlx::query(AssertSqlSafe(sql)).bind(TENANT).fetch(&self.writer);
        while let Some(row) = rows.try_next().await? {
            remembered.bindings.push(bindings::read(&row)?);
        }
        drop(rows);
        let sql = format!("SELECT {} FROM open_legs WHERE tenant = $1", legs::OPEN.columns());
        let mut up: BTreeMap<CallId, Vec<_>> = BTreeMap::new();
        for row in sqlx::query(AssertSqlSafe(sql)).bind(TENANT).fetch_all(&self.writer).await? {
            let (call, leg) = legs::read_open(&row)?;
            up.entry(call).or_default().push(leg);
        }
        for call in calls::open(&self.writer).await? {
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
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let told = feed::feed(&mut tx, records).await?;
        tx.commit().await?;
        if told > 0 {
            self.told.send_modify(|n| *n += 1);
        }
        Ok(())
    }

    /// One call.
    pub async fn call(&self, id: &CallId) -> Result<Option<CallRecord>, StoreError> {
        calls::one(&self.readers, id).await
    }

    /// A page of calls, newest first.
    pub async fn calls(&self, filter: &CallFilter) -> Result<CallPage, StoreError> {
        calls::page(&self.readers, filter).await
    }

    /// The compressed ladder of a call that is over.
    pub async fn ladder(&self, id: &CallId) -> Result<Option<Vec<u8>>, StoreError> {
        ladders::one(&self.readers, id).await
    }

    /// The writer, for files that have a table of their own.
    pub(crate) fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    /// The readers, for the same.
    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Write an event that changes nothing of the directory.
    pub async fn audit(&self, event: Audit) -> Result<(), StoreError> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        audit::insert(&mut tx, &event).await?;
        tx.commit().await?;
        self.told.send_modify(|n| *n += 1);
        Ok(())
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
        let io = |source| StoreError::Io { path: to.to_owned(), source };
        if to.exists() {
            return Err(io(std::io::ErrorKind::AlreadyExists.into()));
        }
        create_private(to)?;
        let target = to.to_str().ok_or_else(|| io(std::io::ErrorKind::InvalidFilename.into()))?;
        sqlx::query("VACUUM INTO $1").bind(target).execute(&self.readers).await?;
        Ok(())
    }

    /// Add to the count of keys' uses.
    pub async fn key_used(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        if uses.is_empty() {
            return Ok(());
        }
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        key_uses::add(&mut tx, uses).await?;
        Ok(tx.commit().await?)
    }

    /// When each key was last used, as far as it was told by [`Store::key_used`].
    pub async fn keys_last_used(&self) -> Result<BTreeMap<ApiKeyId, Timestamp>, StoreError> {
        key_uses::last(&self.readers).await
    }

    /// Mails whose next attempt is due, at most `limit`.
    pub async fn mails_due(&self, now: Timestamp, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        mails::due(&self.readers, now, limit).await
    }

    /// What became of an attempt at a mail.
    pub async fn mail_tried(&self, mail: &Delivery) -> Result<(), StoreError> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        mails::write(&mut tx, std::slice::from_ref(mail)).await?;
        Ok(tx.commit().await?)
    }

    /// The newest mails about an extension's messages.
    pub async fn mails_of(&self, extension: &ExtensionId, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        mails::of_box(&self.readers, extension, limit).await
    }

    /// Close the database after what is being written is written.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Write changes that are all of one kind.
async fn write_run(tx: &mut SqliteConnection, run: &[Change]) -> Result<(), StoreError> {
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
                    sqlx::query($sql).bind(TENANT).bind(key.to_string()).execute(&mut *tx).await?;
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
        Some(Change::Recurring(_)) => rows!(Recurring, recurring),
        Some(Change::RecurringGone(_)) => {
            gone!(RecurringGone, "DELETE FROM recurring_calls WHERE tenant = $1 AND id = $2")
        }
        Some(Change::KeyGone(_)) => gone!(KeyGone, "DELETE FROM api_keys WHERE tenant = $1 AND id = $2"),
        Some(Change::CredentialGone(_)) => {
            gone!(CredentialGone, "DELETE FROM credentials WHERE tenant = $1 AND username = $2")
        }
        Some(Change::ExtensionGone(_)) => {
            for sql in [
                "DELETE FROM mailboxes WHERE tenant = $1 AND extension_id = $2",
                "DELETE FROM voicemail_messages WHERE tenant = $1 AND extension_id = $2",
                "DELETE FROM mail_deliveries WHERE tenant = $1 AND extension_id = $2",
            ] {
                for change in run {
                    if let Change::ExtensionGone(id) = change {
                        sqlx::query(sql).bind(TENANT).bind(id.to_string()).execute(&mut *tx).await?;
                    }
                }
            }
            gone!(ExtensionGone, "DELETE FROM extensions WHERE tenant = $1 AND id = $2")
        }
        Some(Change::Trunk(_)) => rows!(Trunk, trunks),
        Some(Change::TrunkGone(_)) => gone!(TrunkGone, "DELETE FROM trunks WHERE tenant = $1 AND id = $2"),
        Some(Change::Mailbox(_)) => rows!(Mailbox, mailboxes),
        Some(Change::Message(_)) => rows!(Message, messages),
        Some(Change::MessageGone { .. }) => {
            for change in run {
                if let Change::MessageGone { id, .. } = change {
                    sqlx::query("DELETE FROM voicemail_messages WHERE tenant = $1 AND id = $2")
                        .bind(TENANT)
                        .bind(id.to_string())
                        .execute(&mut *tx)
                        .await?;
                }
            }
            Ok(())
        }
    }
}

fn path_of(url: &str, data_dir: &Path) -> Result<PathBuf, StoreError> {
    let bad = || StoreError::Url { url: url.to_owned() };
    let path = url.strip_prefix("sqlite:").ok_or_else(bad)?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.starts_with(":memory:") || path.contains('?') {
        return Err(bad());
    }
    Ok(data_dir.join(path))
}

/// Make the file, and the folder it lies in, so that only we can read it: it holds digest secrets.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(io)?;
    Ok(())
}
