//! Maintenance of finished recordings, driven by the database: files of interrupted recordings are repaired, files are moved to the object store,
//! and old or excess recordings are deleted. Each step is tried once per pass; the next attempt is scheduled in the database.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use api::{AudioFile, AudioStore, Clock};
use base::{Now, Timestamp};
use model::journal::Record;
use model::{Recording, RecordingFormat, RecordingState};
use store::{Audit, Kept, Place, Store, StoreError};

use super::writer::measure;
use super::{AudioFileStore, ogg_opus, wav};
use crate::clock::SteadyClock;

/// Interval between passes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Passes between two checks of age, quota and interrupted recordings.
const SWEEP_EVERY: u32 = 60;
/// The pass of the first such check: by then the journal has reported what ended before the crash.
const FIRST_SWEEP: u32 = 4;
/// Passes between two checks for audio without an owner.
const REMOVALS_EVERY: u32 = 5;
/// First retry delay after a failure; it doubles with each further one.
const RETRY: Duration = Duration::from_secs(2);
/// Longest retry delay.
const MAX_RETRY: Duration = Duration::from_secs(3_600);

/// Limits of age and size.
#[derive(Clone, Copy, Debug, Default)]
pub struct RetentionPolicy {
    /// Maximum age.
    pub max_age: Option<Duration>,
    /// Maximum bytes of all recordings; the oldest are deleted first.
    pub quota: Option<u64>,
}

/// The maintenance task.
pub struct RecordingRetention {
    store: Store,
    audio_store: AudioFileStore,
    clock: Clock,
    policy: RetentionPolicy,
    /// Sequence number up to which removed audio is deleted.
    removed: AtomicI64,
    steady_clock: Mutex<SteadyClock>,
    /// Start of this run of the process: recordings that started earlier are not in progress.
    began: Timestamp,
}

impl std::fmt::Debug for RecordingRetention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingRetention").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl RecordingRetention {
    /// Create the task. Recordings that started before now count as interrupted.
    pub fn new(
        store: Store,
        audio_store: AudioFileStore,
        clock: Clock,
        policy: RetentionPolicy,
    ) -> RecordingRetention {
        let began = clock();
        RecordingRetention::since(began, store, audio_store, clock, policy)
    }

    /// The same for a process that started at `began`.
    pub fn since(
        began: Now,
        store: Store,
        audio_store: AudioFileStore,
        clock: Clock,
        policy: RetentionPolicy,
    ) -> RecordingRetention {
        let steady_clock = Mutex::new(SteadyClock::begin(began));
        let (removed, began) = (AtomicI64::new(0), began.wall);
        RecordingRetention { store, audio_store, clock, policy, removed, steady_clock, began }
    }

    /// Run passes until the future is dropped.
    pub async fn run(self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut passes = 0_u32;
        loop {
            interval.tick().await;
            let sweep = passes % SWEEP_EVERY == FIRST_SWEEP;
            if passes.is_multiple_of(REMOVALS_EVERY)
                && let Err(error) = self.remove_orphans().await
            {
                tracing::warn!(%error, "audio of deleted messages cannot be deleted");
            }
            passes = passes.wrapping_add(1);
            if let Err(error) = self.run_pass(sweep).await {
                tracing::warn!(%error, "maintenance of recordings failed");
            }
        }
    }

    /// One pass: everything that is due; age, quota and interrupted recordings only with `sweep`.
    pub async fn run_pass(&self, sweep: bool) -> Result<(), StoreError> {
        if sweep {
            for stored in self.store.interrupted_recordings(self.began).await? {
                let row = self.repair(stored).await;
                self.store.feed(&[Record::Recording(Box::new(row))]).await?;
            }
        }
        let instant = (self.clock)();
        let now = instant.wall;
        if self.audio_store.has_objects() {
            for stored in self.store.recordings_to_move(now).await? {
                self.upload(&stored, now).await?;
            }
        }
        if sweep {
            let newest = self.store.newest_instant().await?;
            let is_settled = {
                let mut clock = self.steady_clock.lock().unwrap_or_else(PoisonError::into_inner);
                clock.is_settled(instant, newest)
            };
            if let Some(max_age) = self.policy.max_age.filter(|_| is_settled) {
                let before = Timestamp::from_micros(now.as_micros() - max_age.as_micros() as i64);
                self.delete(self.store.recordings_before(before).await?, "age").await?;
            }
            if let Some(quota) = self.policy.quota {
                self.delete(self.store.recordings_beyond(quota).await?, "quota").await?;
            }
        }
        for stored in self.store.recordings_to_remove(now).await? {
            match self.audio_store.remove(AudioFile::from(&stored)).await {
                Ok(()) => self.store.recording_moved(&stored.recording.id, Place::Gone).await?,
                Err(error) => self.retry_later(&stored, now, &error).await?,
            }
        }
        Ok(())
    }

    /// Delete voicemail audio whose extension or message was deleted.
    async fn remove_orphans(&self) -> Result<(), StoreError> {
        loop {
            let page = self.store.removed_audio(self.removed.load(Ordering::Relaxed)).await?;
            let Some(last) = page.last().map(|removed| removed.seq) else { return Ok(()) };
            for removed in page {
                match self.audio_store.remove_all(&removed.name).await {
                    Ok(true) => tracing::debug!(seq = removed.seq, "audio of a deleted message removed"),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(%error, "audio of a deleted message cannot be removed");
                        return Ok(()); // retried at the next check
                    }
                }
                self.removed.store(removed.seq, Ordering::Relaxed);
            }
            self.removed.store(last, Ordering::Relaxed);
        }
    }

    async fn upload(&self, stored: &Kept, now: Timestamp) -> Result<(), StoreError> {
        let file = AudioFile::from(stored);
        match self.audio_store.upload(&file).await {
            Ok(()) => {
                self.store.recording_moved(&stored.recording.id, Place::Objects).await?;
                // A file that cannot be removed now is not found again; it only uses disk space.
                if let Err(error) = self.audio_store.remove(file).await {
                    tracing::warn!(%error, "the local file of an uploaded recording cannot be deleted");
                }
                Ok(())
            }
            Err(error) => self.retry_later(stored, now, &error).await,
        }
    }

    async fn retry_later(&self, stored: &Kept, now: Timestamp, error: &io::Error) -> Result<(), StoreError> {
        let wait = RETRY.saturating_mul(1 << stored.tries.min(16)).min(MAX_RETRY);
        tracing::warn!(%error, recording = %stored.recording.id, wait_s = wait.as_secs(), "a recording cannot be moved or deleted; it will be retried");
        self.store.retry_recording_later(stored, now, wait).await
    }

    async fn delete(&self, recordings: Vec<Kept>, why: &str) -> Result<(), StoreError> {
        for Kept { recording, .. } in recordings {
            let event = Audit {
                at: (self.clock)().wall,
                kind: "recording_deleted",
                user: Some(recording.user.clone()),
                subject: recording.id.to_string(),
                key: None,
                ip: None,
                request: String::new(),
                detail: serde_json::json!({"by": why, "sessionId": recording.call}),
            };
            self.store.delete_recording(&recording.id, event).await?;
        }
        Ok(())
    }

    /// Repair an interrupted recording: the part that was written is kept.
    async fn repair(&self, stored: Kept) -> Recording {
        let (path, mut recording) = (self.audio_store.path(&AudioFile::from(&stored)), stored.recording);
        let format = recording.format;
        let read = move || -> io::Result<(u64, u64, [u8; 32])> {
            let path = path?;
            let millis = match format {
                RecordingFormat::Wav => {
                    let file = File::options().read(true).write(true).open(&path)?;
                    let (channels, bytes) = wav::repair(&file)?;
                    bytes / (2 * u64::from(channels)) / 8
                }
                RecordingFormat::Opus => ogg_opus::millis(io::BufReader::new(File::open(&path)?))?,
            };
            let (bytes, sha256) = measure(&path)?;
            Ok((millis, bytes, sha256))
        };
        let repair = tokio::task::spawn_blocking(read).await.map_err(io::Error::other).flatten();
        match repair {
            Ok((millis, bytes, sha256)) if millis > 0 => {
                recording.state = RecordingState::Complete;
                (recording.millis, recording.bytes) = (millis, bytes);
                recording.sha256 = Some(sha256.iter().map(|byte| format!("{byte:02x}")).collect());
            }
            Ok(_) | Err(_) => recording.state = RecordingState::Failed,
        }
        recording.fault = Some("interrupted".into());
        recording.ended_at = Some(recording.started_at + Duration::from_millis(recording.millis));
        recording
    }
}
