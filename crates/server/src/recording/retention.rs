//! What is to be done with recordings that are over, as the database says it: files that a crash has left are closed, files go to the
//! object store, and what is too old or too much is deleted. Each is tried once a round; when to try again is written down.

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

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// Rounds between two looks at age and room, and for what a crash has left.
const SWEEP: u32 = 60;
/// The round in which the first such look is taken: the journal has told by then what ended before the crash.
const FIRST: u32 = 4;
/// Rounds between two looks for audio whose owner is gone.
const REMOVALS: u32 = 5;
/// After a failed attempt, doubled with each further one.
const RETRY: Duration = Duration::from_secs(2);
/// … up to this.
const LONGEST_RETRY: Duration = Duration::from_secs(3_600);

/// How long recordings are kept, and how much of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct RetentionPolicy {
    /// Older ones are deleted.
    pub longest: Option<Duration>,
    /// Bytes of all together; the oldest are deleted first.
    pub quota: Option<u64>,
}

/// See the module.
pub struct RecordingRetention {
    store: Store,
    warehouse: AudioFileStore,
    clock: Clock,
    keeping: RetentionPolicy,
    /// Up to which number what was removed is deleted.
    removed: AtomicI64,
    settled: Mutex<SteadyClock>,
    /// When this life of the process began: what ran before it runs no more.
    began: Timestamp,
}

impl std::fmt::Debug for RecordingRetention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("keeping", &self.keeping).finish_non_exhaustive()
    }
}

impl RecordingRetention {
    /// A keeper. Everything that ran before now counts as interrupted.
    pub fn new(
        store: Store,
        warehouse: AudioFileStore,
        clock: Clock,
        keeping: RetentionPolicy,
    ) -> RecordingRetention {
        let began = clock();
        RecordingRetention::since(began, store, warehouse, clock, keeping)
    }

    /// The same of a process that began then.
    pub fn since(
        began: Now,
        store: Store,
        warehouse: AudioFileStore,
        clock: Clock,
        keeping: RetentionPolicy,
    ) -> RecordingRetention {
        let settled = Mutex::new(SteadyClock::begin(began));
        let (removed, began) = (AtomicI64::new(0), began.wall);
        RecordingRetention { store, warehouse, clock, keeping, removed, settled, began }
    }

    /// Until it is dropped.
    pub async fn run(self) {
        let mut beat = tokio::time::interval(ROUND);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rounds = 0_u32;
        loop {
            beat.tick().await;
            let sweep = rounds % SWEEP == FIRST;
            if rounds.is_multiple_of(REMOVALS)
                && let Err(error) = self.remove_orphans().await
            {
                tracing::warn!(%error, "audio whose owner is gone cannot be deleted");
            }
            rounds = rounds.wrapping_add(1);
            if let Err(error) = self.round(sweep).await {
                tracing::warn!(%error, "recordings cannot be looked after");
            }
        }
    }

    /// Everything that is due; age, room and what a crash has left only with `sweep`.
    pub async fn round(&self, sweep: bool) -> Result<(), StoreError> {
        if sweep {
            for kept in self.store.interrupted_recordings(self.began).await? {
                let row = self.repaired(kept).await;
                self.store.feed(&[Record::Recording(Box::new(row))]).await?;
            }
        }
        let instant = (self.clock)();
        let now = instant.wall;
        if self.warehouse.has_objects() {
            for kept in self.store.recordings_to_move(now).await? {
                self.upload(&kept, now).await?;
            }
        }
        if sweep {
            let newest = self.store.newest_instant().await?;
            let settled = {
                let mut clock = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
                clock.is_settled(instant, newest)
            };
            if let Some(longest) = self.keeping.longest.filter(|_| settled) {
                let before = Timestamp::from_micros(now.as_micros() - longest.as_micros() as i64);
                self.delete(self.store.recordings_before(before).await?, "age").await?;
            }
            if let Some(quota) = self.keeping.quota {
                self.delete(self.store.recordings_beyond(quota).await?, "quota").await?;
            }
        }
        for kept in self.store.recordings_to_remove(now).await? {
            match self.warehouse.remove(AudioFile::from(&kept)).await {
                Ok(()) => self.store.recording_moved(&kept.recording.id, Place::Gone).await?,
                Err(error) => self.stays(&kept, now, &error).await?,
            }
        }
        Ok(())
    }

    /// Delete audio of voicemail whose extension or message is gone.
    async fn remove_orphans(&self) -> Result<(), StoreError> {
        loop {
            let page = self.store.removed_audio(self.removed.load(Ordering::Relaxed)).await?;
            let Some(last) = page.last().map(|removed| removed.seq) else { return Ok(()) };
            for removed in page {
                match self.warehouse.remove_all(&removed.name).await {
                    Ok(true) => tracing::debug!(seq = removed.seq, "audio whose owner is gone is deleted"),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(%error, "audio whose owner is gone stays");
                        return Ok(()); // tried again at the next look
                    }
                }
                self.removed.store(removed.seq, Ordering::Relaxed);
            }
            self.removed.store(last, Ordering::Relaxed);
        }
    }

    async fn upload(&self, kept: &Kept, now: Timestamp) -> Result<(), StoreError> {
        let file = AudioFile::from(kept);
        match self.warehouse.upload(&file).await {
            Ok(()) => {
                self.store.recording_moved(&kept.recording.id, Place::Objects).await?;
                // What cannot be removed now is found by nobody, but does no harm but take room.
                if let Err(error) = self.warehouse.remove(file).await {
                    tracing::warn!(%error, "the file of a recording that was uploaded stays");
                }
                Ok(())
            }
            Err(error) => self.stays(kept, now, &error).await,
        }
    }

    async fn stays(&self, kept: &Kept, now: Timestamp, error: &io::Error) -> Result<(), StoreError> {
        let wait = RETRY.saturating_mul(1 << kept.tries.min(16)).min(LONGEST_RETRY);
        tracing::warn!(%error, recording = %kept.recording.id, wait_s = wait.as_secs(), "a recording cannot be moved");
        self.store.recording_stays(kept, now, wait).await
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

    /// What a crash has left of a recording: as much as was written.
    async fn repaired(&self, kept: Kept) -> Recording {
        let (path, mut recording) = (self.warehouse.path(&AudioFile::from(&kept)), kept.recording);
        let format = recording.format;
        let repair = move || -> io::Result<(u64, u64, [u8; 32])> {
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
        let repaired = tokio::task::spawn_blocking(repair).await.map_err(io::Error::other).flatten();
        match repaired {
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
