//! Table `recordings` (S177): one row per recording, while it runs, after its end, and after its audio is deleted.

use std::time::Duration;

use base::Timestamp;
use model::{CallId, Recording, RecordingId, RecordingState, UserId};
use sqlx::AssertSqlSafe;

use crate::advisory_lock::AdvisoryLock;
use crate::events::{self, Audit};
use crate::pool::Conn;
use crate::row::{KEYS_AT_ONCE, Reader, TENANT, Table, enum_text, with_keys};
use crate::sql::{Query, Row, Value, query};
use crate::{Store, StoreError};

/// Storage location of a recording's audio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the data directory.
    Folder,
    /// In the object store.
    Objects,
    /// Deleted.
    Gone,
}

impl Place {
    fn as_str(self) -> &'static str {
        match self {
            Place::Folder => "folder",
            Place::Objects => "objects",
            Place::Gone => "gone",
        }
    }
}

/// A recording with its storage location.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Metadata.
    pub recording: Recording,
    /// Location of the audio.
    pub place: Place,
    /// Failed attempts to upload it to the object store, or to delete it.
    pub tries: u32,
}

/// Position in the list: the last recording of a page.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RecordingCursor {
    /// Its start time.
    pub started_at: Timestamp,
    /// Its id.
    pub id: RecordingId,
}

/// Filter of a page of recordings.
#[derive(Clone, Debug)]
pub struct RecordingFilter {
    /// Only those that this user may hear; all where `None`.
    pub user: Option<UserId>,
    /// Only those of this call; all where `None`.
    pub call: Option<CallId>,
    /// Only those in this state; all but deleted ones where `None`.
    pub state: Option<RecordingState>,
    /// Only those after this position.
    pub cursor: Option<RecordingCursor>,
    /// Maximum number of recordings.
    pub limit: u32,
}

/// A page of recordings, newest first.
#[derive(Clone, Debug, Default)]
pub struct RecordingPage {
    /// The recordings.
    pub recordings: Vec<Kept>,
    /// Position of the next page; `None` on the last page.
    pub next: Option<RecordingCursor>,
}

impl RecordingFilter {
    /// The statement. Each filter scans an index in its own order: with `OR`, the database would scan the recordings of all users.
    pub(crate) fn query(&self) -> Query {
        let (before, id) =
            self.cursor.as_ref().map_or((i64::MAX, ""), |c| (c.started_at.as_micros(), c.id.as_str()));
        let mut values: Vec<Value> =
            vec![TENANT.into(), before.into(), id.into(), (i64::from(self.limit) + 1).into()];
        let mut put = |value: &str| {
            values.push(value.into());
            format!("${}", values.len())
        };
        let mut which = match &self.state {
            None => "state <> 'deleted'".to_owned(),
            Some(state) => format!("state = {}", put(&enum_text(state))),
        };
        if let Some(call) = &self.call {
            which.push_str(&format!(" AND call_id = {}", put(call.as_str())));
        }
        let columns = TABLE.columns();
        let newest = "ORDER BY started_at DESC, id DESC LIMIT $4";
        let arm = |whose: &str| {
            format!(
                "SELECT {columns} FROM recordings WHERE tenant = $1 AND {which}{whose} AND (started_at, id) < ($2, $3) {newest}"
            )
        };
        let sql = match &self.user {
            None => arm(""),
            Some(user) => {
                let user = put(user.as_str());
                let [own, other] =
                    ["user_id", "other_user"].map(|column| arm(&format!(" AND {column} = {user}")));
                format!("SELECT * FROM ({own}) AS own UNION SELECT * FROM ({other}) AS other {newest}")
            }
        };
        query(AssertSqlSafe(sql)).with(values)
    }
}

/// The recordings of calls, without deleted ones.
pub(crate) fn of_calls(calls: &[CallId]) -> Query {
    with_keys(calls, |keys| {
        format!(
            "SELECT {} FROM recordings WHERE tenant = $1 AND state <> 'deleted' AND call_id IN ({keys}) ORDER BY started_at, id",
            TABLE.columns()
        )
    })
}

const TABLE: Table = Table {
    name: "recordings",
    key: &["id"],
    rest: &[
        "call_id",
        "user_id",
        "other_user",
        "extension",
        "state",
        "started_at",
        "ended_at",
        "format",
        "bytes",
        "millis",
        "sha256",
        "fault",
        "place",
        "tries",
    ],
};

fn read(row: &Row) -> Result<Kept, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    let recording = Recording {
        id: row.id()?,
        call: row.id()?,
        user: row.id()?,
        other_user: row.id_or_none()?,
        extension: row.text_or_none()?,
        state: row.enum_text()?,
        started_at: row.instant()?,
        ended_at: row.instant_or_none()?,
        format: row.enum_text()?,
        bytes: row.number()?,
        millis: row.number()?,
        sha256: row.text_or_none()?,
        fault: row.text_or_none()?,
    };
    let place = match row.text()?.as_str() {
        "objects" => Place::Objects,
        "gone" => Place::Gone,
        _ => Place::Folder,
    };
    Ok(Kept { recording, place, tries: row.number()? })
}

/// Apply a journal record. A row that is complete, uploaded or deleted does not change: records are fed again after a crash.
pub(crate) async fn feed(tx: &mut Conn, recording: &Recording, node: &str) -> Result<(), StoreError> {
    let known = query("SELECT state FROM recordings WHERE tenant = $1 AND id = $2")
        .bind(TENANT)
        .bind(recording.id.as_str())
        .fetch_optional(&mut *tx)
        .await?;
    let known: Option<String> = known.map(|row| row.try_get(0)).transpose()?;
    let runs = recording.state == RecordingState::Recording;
    match known.as_deref() {
        None => {
            insert(tx, recording, node).await?;
            write_event(tx, recording, "recording_started", recording.started_at).await?;
        }
        Some("recording") if !runs => update(tx, recording).await?,
        Some(_) => return Ok(()),
    }
    if !runs {
        let kind = match recording.state {
            RecordingState::Failed => "recording_failed",
            RecordingState::Deleted => "recording_deleted",
            RecordingState::Recording | RecordingState::Complete => "recording_completed",
        };
        write_event(tx, recording, kind, recording.ended_at.unwrap_or(recording.started_at)).await?;
    }
    Ok(())
}

async fn insert(tx: &mut Conn, recording: &Recording, node: &str) -> Result<(), StoreError> {
    query(
        "INSERT INTO recordings (tenant, id, call_id, user_id, other_user, extension, started_at, format, state, ended_at, bytes, millis, \
         sha256, fault, node) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(TENANT)
    .bind(recording.id.as_str())
    .bind(recording.call.as_str())
    .bind(recording.user.as_str())
    .bind(recording.other_user.as_ref().map(UserId::to_string))
    .bind(recording.extension.as_deref())
    .bind(recording.started_at.as_micros())
    .bind(enum_text(&recording.format))
    .bind(enum_text(&recording.state))
    .bind(recording.ended_at.map(Timestamp::as_micros))
    .bind(recording.bytes as i64)
    .bind(recording.millis as i64)
    .bind(recording.sha256.as_deref())
    .bind(recording.fault.as_deref())
    .bind(node)
    .execute(tx)
    .await?;
    Ok(())
}

async fn update(tx: &mut Conn, recording: &Recording) -> Result<(), StoreError> {
    query(
        "UPDATE recordings SET state = $3, ended_at = $4, bytes = $5, millis = $6, sha256 = $7, fault = $8 WHERE tenant = $1 AND id = $2",
    )
    .bind(TENANT)
    .bind(recording.id.as_str())
    .bind(enum_text(&recording.state))
    .bind(recording.ended_at.map(Timestamp::as_micros))
    .bind(recording.bytes as i64)
    .bind(recording.millis as i64)
    .bind(recording.sha256.as_deref())
    .bind(recording.fault.as_deref())
    .execute(tx)
    .await?;
    Ok(())
}

async fn write_event(
    tx: &mut Conn,
    recording: &Recording,
    kind: &'static str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let event = Audit {
        at,
        kind,
        user: Some(recording.user.clone()),
        subject: recording.id.to_string(),
        key: None,
        ip: None,
        request: String::new(),
        detail: serde_json::json!({
            "sessionId": recording.call, "extension": recording.extension, "durationMs": recording.millis,
            "bytes": recording.bytes, "fault": recording.fault,
        }),
    };
    events::insert(tx, &event).await
}

impl Store {
    /// One recording.
    pub async fn recording(&self, id: &RecordingId) -> Result<Option<Kept>, StoreError> {
        let sql = format!("SELECT {} FROM recordings WHERE tenant = $1 AND id = $2", TABLE.columns());
        let row = query(AssertSqlSafe(sql)).bind(TENANT).bind(id.as_str());
        row.fetch_optional(self.readers()).await?.as_ref().map(read).transpose()
    }

    /// A page of recordings, newest first.
    pub async fn recordings(&self, filter: &RecordingFilter) -> Result<RecordingPage, StoreError> {
        let rows = filter.query().fetch_all(self.readers()).await?;
        let more = rows.len() > filter.limit as usize;
        let recordings: Vec<Kept> =
            rows.iter().take(filter.limit as usize).map(read).collect::<Result<_, _>>()?;
        let last = recordings.last().filter(|_| more).map(|kept| &kept.recording);
        let next = last.map(|r| RecordingCursor { started_at: r.started_at, id: r.id.clone() });
        Ok(RecordingPage { recordings, next })
    }

    /// The recordings of calls, without deleted ones, each with its call.
    pub async fn recordings_of(&self, calls: &[CallId]) -> Result<Vec<(CallId, RecordingId)>, StoreError> {
        let mut found = Vec::new();
        for some in calls.chunks(KEYS_AT_ONCE) {
            for row in of_calls(some).fetch_all(self.readers()).await? {
                let recording = read(&row)?.recording;
                found.push((recording.call, recording.id));
            }
        }
        Ok(found)
    }

    /// Recordings of this node that were running when the previous process ended: they started before `began`.
    pub async fn interrupted_recordings(&self, began: Timestamp) -> Result<Vec<Kept>, StoreError> {
        self.own_recordings_where("state = 'recording' AND started_at < $2", began.as_micros(), 1_000).await
    }

    /// Completed recordings in the data directory of this node that are due to be uploaded to the object store.
    pub async fn recordings_to_move(&self, now: Timestamp) -> Result<Vec<Kept>, StoreError> {
        let due = "place = 'folder' AND state IN ('complete', 'failed') AND bytes > 0 AND next_try_at <= $2";
        self.own_recordings_where(due, now.as_micros(), 16).await
    }

    /// Deleted recordings of this node whose audio is still stored.
    pub async fn recordings_to_remove(&self, now: Timestamp) -> Result<Vec<Kept>, StoreError> {
        let due = "state = 'deleted' AND place <> 'gone' AND next_try_at <= $2";
        self.own_recordings_where(due, now.as_micros(), 100).await
    }

    /// Completed recordings that started before `at`.
    pub async fn recordings_before(&self, at: Timestamp) -> Result<Vec<Kept>, StoreError> {
        self.recordings_where("state IN ('complete', 'failed') AND started_at < $2", at.as_micros(), 100)
            .await
    }

    /// The oldest recordings that exceed a total of `quota` bytes.
    pub async fn recordings_beyond(&self, quota: u64) -> Result<Vec<Kept>, StoreError> {
        let kept = "tenant = $1 AND state IN ('complete', 'failed')";
        let sql = format!("SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM recordings WHERE {kept}");
        let row = query(AssertSqlSafe(sql)).bind(TENANT).fetch_one(self.readers()).await?;
        let mut excess = (row.try_get::<i64>(0)? as u64).saturating_sub(quota);
        if excess == 0 {
            return Ok(Vec::new());
        }
        let mut oldest =
            self.recordings_where("state IN ('complete', 'failed') AND bytes > $2", 0, 100).await?;
        oldest.retain(|kept| {
            let wanted = excess > 0;
            excess = excess.saturating_sub(kept.recording.bytes);
            wanted
        });
        Ok(oldest)
    }

    /// Recordings whose audio is, or was, in the data directory of this node: no other node can process them.
    async fn own_recordings_where(
        &self,
        which: &str,
        value: i64,
        most: u32,
    ) -> Result<Vec<Kept>, StoreError> {
        let sql = format!(
            "SELECT {} FROM recordings WHERE tenant = $1 AND node = $3 AND {which} ORDER BY started_at, id LIMIT {most}",
            TABLE.columns()
        );
        let query = query(AssertSqlSafe(sql)).bind(TENANT).bind(value).bind(&*self.node);
        query.fetch_all(self.readers()).await?.iter().map(read).collect()
    }

    async fn recordings_where(&self, which: &str, value: i64, most: u32) -> Result<Vec<Kept>, StoreError> {
        let sql = format!(
            "SELECT {} FROM recordings WHERE tenant = $1 AND {which} ORDER BY started_at, id LIMIT {most}",
            TABLE.columns()
        );
        let rows = query(AssertSqlSafe(sql)).bind(TENANT).bind(value).fetch_all(self.readers()).await?;
        rows.iter().map(read).collect()
    }

    /// Store the new location of a recording's audio.
    pub async fn recording_moved(&self, id: &RecordingId, place: Place) -> Result<(), StoreError> {
        query("UPDATE recordings SET place = $3, tries = 0, next_try_at = 0 WHERE tenant = $1 AND id = $2")
            .bind(TENANT)
            .bind(id.as_str())
            .bind(place.as_str())
            .execute(self.writer())
            .await?;
        Ok(())
    }

    /// An attempt to upload or delete the audio failed: retry after `wait`.
    pub async fn retry_recording_later(
        &self,
        kept: &Kept,
        now: Timestamp,
        wait: Duration,
    ) -> Result<(), StoreError> {
        query("UPDATE recordings SET tries = $3, next_try_at = $4 WHERE tenant = $1 AND id = $2")
            .bind(TENANT)
            .bind(kept.recording.id.as_str())
            .bind(i64::from(kept.tries) + 1)
            .bind((now + wait).as_micros())
            .execute(self.writer())
            .await?;
        Ok(())
    }

    /// Mark a recording as deleted; its audio is removed later. `false` where it is still running, or was deleted before.
    pub async fn delete_recording(&self, id: &RecordingId, event: Audit) -> Result<bool, StoreError> {
        let mut tx = self.writer().begin().await?;
        tx.lock(AdvisoryLock::Events).await?;
        let done = query(
            "UPDATE recordings SET state = 'deleted', tries = 0, next_try_at = 0 WHERE tenant = $1 AND id = $2 \
             AND state IN ('complete', 'failed')",
        )
        .bind(TENANT)
        .bind(id.as_str())
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        events::insert(&mut tx, &event).await?;
        self.commit_with_events(tx).await?;
        Ok(true)
    }
}
