//! The [`Store`]: opening, loading, writing with the outbox, and feeding from the journal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base::Timestamp;
use model::journal::Record;
use model::voicemail::Delivery;
use model::{ApiKeyId, CallId, CallRecord, Change, Directory, ExtensionId};
use sqlx::AssertSqlSafe;
use tokio::sync::watch;

use crate::advisory_lock::AdvisoryLock;
use crate::outbox::OutboxBatch;
use crate::pool::{Conn, Pool, Tx};
use crate::prune::{Pruned, Retention, prune};
use crate::row::{TENANT, Table, upsert};
use crate::sql::{Row, query};
use crate::{
    Audit, CallFilter, CallPage, EventFilter, EventPage, KeyUse, RuntimeState, StoreError, bindings,
    call_page, calls, credentials, events, extensions, feed, installation, key_uses, keys, ladders, legs,
    mailboxes, mails, messages, outbox, postgres, recurring, sqlite, trunks, users,
};

/// Handle to the database. Clones share the connections.
///
/// Every commit is synced to disk before it is acknowledged. (What cannot wait for a disk is written to the journal first and arrives by
/// [`Store::feed`].)
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) writer: Pool,
    pub(crate) readers: Pool,
    /// Name of this node among those that share the database; empty with SQLite.
    pub(crate) node: Arc<str>,
    /// Number of transactions that wrote events, for [`Store::event_signal`].
    pub(crate) event_signal: Arc<watch::Sender<u64>>,
}

impl Store {
    /// Open the database that `url` names, create it if needed, and migrate it. `sqlite:FILE` (a relative path is below `data_dir`) or
    /// `postgres://…`.
    pub async fn open(url: &str, data_dir: &Path) -> Result<Store, StoreError> {
        if postgres::is_postgres_url(url) {
            postgres::open(url, data_dir).await
        } else {
            sqlite::open(url, data_dir).await
        }
    }

    pub(crate) fn new(writer: Pool, readers: Pool, node: Arc<str>) -> Store {
        Store { writer, readers, node, event_signal: Arc::new(watch::Sender::new(0)) }
    }

    /// Whether other nodes may write to the same database (PostgreSQL).
    pub fn is_shared(&self) -> bool {
        matches!(self.writer, Pool::Postgres(..))
    }

    /// Update the planner's statistics of SQLite, so that it picks the most selective indexes. PostgreSQL does this by itself.
    pub async fn analyze(&self) -> Result<(), StoreError> {
        if !self.is_shared() {
            // Rows sampled per index: some milliseconds, whatever the size of the tables.
            query("PRAGMA analysis_limit = 400").execute(&self.writer).await?;
            query("ANALYZE").execute(&self.writer).await?;
        }
        Ok(())
    }

    /// Load the directory: everything that is looked up in memory.
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
        let recurring = |row: &Row| Ok(Change::Recurring(Box::new(recurring::read(row)?)));
        self.load(&recurring::TABLE, recurring, &mut directory).await?;
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

    /// Commit changes with their outbox rows and an event in one transaction. Returns the number of the last outbox row.
    pub async fn write(&self, changes: &[Change], audit: Audit) -> Result<i64, StoreError> {
        self.write_all(changes, &[], std::slice::from_ref(&audit)).await
    }

    /// As [`Store::write`], with notification mails to send and several events of the same time.
    pub async fn write_all(
        &self,
        changes: &[Change],
        mails: &[Delivery],
        audits: &[Audit],
    ) -> Result<i64, StoreError> {
        let mut tx = self.writer.begin().await?;
        tx.lock(AdvisoryLock::Outbox).await?;
        self.write_in(tx, changes, mails, audits).await
    }

    /// Write and commit in a transaction that holds the outbox lock.
    pub(crate) async fn write_in(
        &self,
        mut tx: Tx,
        changes: &[Change],
        mails: &[Delivery],
        audits: &[Audit],
    ) -> Result<i64, StoreError> {
        let at = audits.first().map(|audit| audit.at).unwrap_or_default();
        let mut left = changes;
        while let Some(first) = left.first() {
            let kind = std::mem::discriminant(first);
            let run = left.iter().take_while(|change| std::mem::discriminant(*change) == kind).count();
            let (now, later) = left.split_at(run);
            write_run(&mut tx, now, at).await?;
            left = later;
        }
        mails::write(&mut tx, mails, &self.node).await?;
        let reached = outbox::append(&mut tx, changes, at).await?;
        for audit in audits {
            events::insert(&mut tx, audit).await?;
        }
        self.commit_with_events(tx).await?;
        Ok(reached)
    }

    /// Commit a transaction that wrote events, and wake the event subscribers.
    pub(crate) async fn commit_with_events(&self, tx: Tx) -> Result<(), StoreError> {
        tx.commit().await?;
        self.event_signal.send_modify(|n| *n += 1);
        Ok(())
    }

    /// The number of the last outbox row. Read it before [`Store::load_directory`]; later changes come from [`Store::outbox_after`].
    pub async fn outbox_seq(&self) -> Result<i64, StoreError> {
        outbox::last_seq(&self.writer).await
    }

    /// Changes committed after outbox row `seq`, in batches of bounded size: call again while a batch has changes.
    pub async fn outbox_after(&self, seq: i64) -> Result<OutboxBatch, StoreError> {
        outbox::batch_after(&self.readers, seq).await
    }

    /// The runtime state of this node at start: its bindings and open calls, not those of other nodes.
    pub async fn load_runtime_state(&self) -> Result<RuntimeState, StoreError> {
        let sql =
            format!("SELECT {} FROM bindings WHERE tenant = $1 AND node = $2", bindings::TABLE.columns());
        let mut state = RuntimeState::default();
        let each = |row: &Row| {
            state.bindings.push(bindings::read(row)?);
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
            state.open_calls.push((call, legs));
        }
        Ok(state)
    }

    /// Write journal records in one transaction. Feeding the same records twice has no further effect. When this returns they are on disk.
    pub async fn feed(&self, records: &[Record]) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut tx = self.writer.begin().await?;
        match feed::feed(&mut tx, records, &self.node).await? {
            0 => tx.commit().await,
            _ => self.commit_with_events(tx).await,
        }
    }

    /// One call with its legs.
    pub async fn call(&self, id: &CallId) -> Result<Option<CallRecord>, StoreError> {
        calls::one(&self.readers, id).await
    }

    /// A page of calls, newest first.
    pub async fn calls(&self, filter: &CallFilter) -> Result<CallPage, StoreError> {
        call_page::page(&self.readers, filter).await
    }

    /// The compressed SIP ladder of a call that ended.
    pub async fn ladder(&self, id: &CallId) -> Result<Option<Vec<u8>>, StoreError> {
        ladders::one(&self.readers, id).await
    }

    /// The write pool, for the modules of single tables.
    pub(crate) fn writer(&self) -> &Pool {
        &self.writer
    }

    /// The read pool, for the modules of single tables.
    pub(crate) fn readers(&self) -> &Pool {
        &self.readers
    }

    /// Write an event that belongs to no change of the directory.
    pub async fn audit(&self, event: Audit) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        events::insert(&mut tx, &event).await?;
        self.commit_with_events(tx).await
    }

    /// A page of events, newest first.
    pub async fn events(&self, filter: &EventFilter) -> Result<EventPage, StoreError> {
        events::page(&self.readers, filter).await
    }

    /// Delete what is older than its retention, and bindings that expired more than an hour ago.
    pub async fn prune(&self, now: Timestamp, retention: &Retention) -> Result<Pruned, StoreError> {
        prune(&self.writer, now, retention).await
    }

    /// Write a consistent copy while the database is in use (SQLite only). `to` must not exist.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let Pool::Sqlite(_) = self.readers else {
            return Err(StoreError::Unsupported("a copy of a PostgreSQL database is made with pg_dump"));
        };
        let io = |source| StoreError::Io { path: to.to_owned(), source };
        if to.exists() {
            return Err(io(std::io::ErrorKind::AlreadyExists.into()));
        }
        sqlite::create_private(to)?;
        let target = to.to_str().ok_or_else(|| io(std::io::ErrorKind::InvalidFilename.into()))?;
        let copied = query("VACUUM INTO $1").bind(target).execute(&self.readers).await;
        if copied.is_err() {
            // A partial copy would block the next attempt, or be mistaken for a complete one.
            std::fs::remove_file(to).ok();
        }
        copied.map(drop)
    }

    /// Add to the usage counters of API keys.
    pub async fn key_used(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        if uses.is_empty() {
            return Ok(());
        }
        let mut tx = self.writer.begin().await?;
        key_uses::add(&mut tx, uses).await?;
        tx.commit().await
    }

    /// Time of the last use of each API key, as far as reported by [`Store::key_used`].
    pub async fn keys_last_used(&self) -> Result<BTreeMap<ApiKeyId, Timestamp>, StoreError> {
        key_uses::last(&self.readers).await
    }

    /// Mails of this node whose next attempt is due, at most `limit`.
    pub async fn due_mails(&self, now: Timestamp, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        mails::due(&self.readers, now, limit, &self.node).await
    }

    /// Store the result of an attempt to send a mail.
    pub async fn mail_tried(&self, mail: &Delivery) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        mails::write(&mut tx, std::slice::from_ref(mail), &self.node).await?;
        tx.commit().await
    }

    /// The newest mails about messages of an extension's mailbox.
    pub async fn mails_of(&self, extension: &ExtensionId, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        mails::of_box(&self.readers, extension, limit).await
    }

    /// Close the database after pending writes.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Write a run of changes of the same kind.
async fn write_run(tx: &mut Conn, run: &[Change], at: Timestamp) -> Result<(), StoreError> {
    macro_rules! rows {
        ($kind:ident, $table:ident) => {{
            let rows: Vec<_> = run
                .iter()
                .filter_map(|c| if let Change::$kind(row) = c { Some(row) } else { None })
                .collect();
            upsert(tx, &$table::TABLE, &rows, |row, query| $table::bind(row, query)).await
        }};
    }
    macro_rules! delete {
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
        Some(Change::Recurring(_)) => rows!(Recurring, recurring),
        Some(Change::RecurringGone(_)) => {
            delete!(RecurringGone, "DELETE FROM recurring_calls WHERE tenant = $1 AND id = $2")
        }
        Some(Change::KeyGone(_)) => delete!(KeyGone, "DELETE FROM api_keys WHERE tenant = $1 AND id = $2"),
        Some(Change::CredentialGone(_)) => {
            delete!(CredentialGone, "DELETE FROM credentials WHERE tenant = $1 AND username = $2")
        }
        Some(Change::ExtensionGone(_)) => {
            for change in run {
                if let Change::ExtensionGone(id) = change {
                    installation::record_removed_audio(tx, &format!("voicemail/{id}"), at).await?;
                }
            }
            for sql in [
                "DELETE FROM mailboxes WHERE tenant = $1 AND extension_id = $2",
                "DELETE FROM voicemail_messages WHERE tenant = $1 AND extension_id = $2",
                "DELETE FROM mail_deliveries WHERE tenant = $1 AND extension_id = $2",
                "DELETE FROM sounds WHERE tenant = $1 AND extension_id = $2",
            ] {
                for change in run {
                    if let Change::ExtensionGone(id) = change {
                        query(sql).bind(TENANT).bind(id.to_string()).execute(&mut *tx).await?;
                    }
                }
            }
            delete!(ExtensionGone, "DELETE FROM extensions WHERE tenant = $1 AND id = $2")
        }
        Some(Change::Trunk(_)) => rows!(Trunk, trunks),
        Some(Change::TrunkGone(_)) => delete!(TrunkGone, "DELETE FROM trunks WHERE tenant = $1 AND id = $2"),
        Some(Change::Mailbox(_)) => rows!(Mailbox, mailboxes),
        Some(Change::Message(_)) => rows!(Message, messages),
        Some(Change::MessageGone { .. }) => {
            for change in run {
                if let Change::MessageGone { extension, id } = change {
                    installation::record_removed_audio(tx, &format!("voicemail/{extension}/{id}"), at)
                        .await?;
                    query("DELETE FROM voicemail_messages WHERE tenant = $1 AND id = $2")
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
