//! Recordings in the database (S177): fed from the journal, listed for their users, uploaded, deleted.

use crate::samples;

use std::time::Duration;

use centralita_store::{EventFilter, Place, RecordingFilter, Store};
use model::journal::Record;
use model::{CallId, Recording, RecordingFormat, RecordingId, RecordingState, UserId};
use samples::*;

fn recording(n: i64, state: RecordingState) -> Recording {
    let closed_record = state != RecordingState::Recording;
    Recording {
        id: RecordingId::parse(&format!("rec_{n}")).unwrap(),
        call: CallId::parse(&format!("session_{}", n / 10)).unwrap(),
        user: UserId::parse("ana").unwrap(),
        other_user: Some(UserId::parse("benito").unwrap()),
        extension: Some("1001".into()),
        state,
        started_at: at(n),
        ended_at: closed_record.then(|| at(n + 5)),
        format: RecordingFormat::Opus,
        bytes: if closed_record { 1_000 } else { 0 },
        millis: if closed_record { 5_000 } else { 0 },
        sha256: closed_record.then(|| "ab".repeat(32)),
        fault: (state == RecordingState::Failed).then(|| "disk_full".into()),
    }
}

async fn feed(store: &Store, rows: &[Recording]) {
    let records: Vec<_> = rows.iter().map(|row| Record::Recording(Box::new(row.clone()))).collect();
    store.feed(&records).await.unwrap();
}

fn all(limit: u32) -> RecordingFilter {
    RecordingFilter { user: None, call: None, state: None, cursor: None, limit }
}

async fn events(store: &Store) -> Vec<String> {
    let filter = EventFilter { kind: None, user: None, before: None, limit: 100 };
    let mut kinds: Vec<_> = store.events(&filter).await.unwrap().events.into_iter().map(|e| e.kind).collect();
    kinds.reverse();
    kinds
}

#[tokio::test]
async fn recordings_are_fed_from_the_journal_and_feeding_again_changes_nothing() {
    let folder = Folder::new();
    let store = folder.open().await;
    let (runs, done) = (recording(1, RecordingState::Recording), recording(1, RecordingState::Complete));
    feed(&store, std::slice::from_ref(&runs)).await;
    assert_eq!(store.recording(&runs.id).await.unwrap().unwrap().recording, runs);
    feed(&store, std::slice::from_ref(&done)).await;
    feed(&store, &[runs.clone(), done.clone()]).await;
    feed(&store, std::slice::from_ref(&runs)).await;
    let kept = store.recording(&runs.id).await.unwrap().unwrap();
    assert_eq!((kept.recording, kept.place, kept.tries), (done.clone(), Place::Folder, 0));
    // Start and end in one batch, and a failed recording.
    feed(&store, &[recording(2, RecordingState::Recording), recording(2, RecordingState::Failed)]).await;
    assert_eq!(
        events(&store).await,
        ["recording_started", "recording_completed", "recording_started", "recording_failed"]
    );
    // Once deleted, it is not restored by the journal.
    assert!(store.delete_recording(&done.id, audit("recording_deleted")).await.unwrap());
    assert!(!store.delete_recording(&done.id, audit("recording_deleted")).await.unwrap());
    feed(&store, &[runs, done.clone()]).await;
    assert_eq!(store.recording(&done.id).await.unwrap().unwrap().recording.state, RecordingState::Deleted);
    assert_eq!(events(&store).await.last().map(String::as_str), Some("recording_deleted"));
    assert_eq!(events(&store).await.len(), 5);
}

#[tokio::test]
async fn recordings_are_paged_newest_first_for_their_users() {
    let folder = Folder::new();
    let store = folder.open().await;
    let rows: Vec<_> = (0..25).map(|n| recording(n, RecordingState::Complete)).collect();
    feed(&store, &rows).await;
    let mut other = recording(99, RecordingState::Complete);
    (other.user, other.other_user) = (UserId::parse("carla").unwrap(), None);
    feed(&store, &[other]).await;
    for (user, count) in [("ana", 25), ("benito", 25), ("carla", 1), ("dora", 0)] {
        let (mut cursor, mut seen) = (None, Vec::new());
        loop {
            let user = Some(UserId::parse(user).unwrap());
            let page = store.recordings(&RecordingFilter { user, cursor, ..all(10) }).await.unwrap();
            seen.extend(page.recordings.into_iter().map(|kept| kept.recording));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), count, "{user}");
        assert!(seen.windows(2).all(|pair| pair[0].started_at > pair[1].started_at));
    }
    let of_call = RecordingFilter { call: Some(CallId::parse("session_1").unwrap()), ..all(100) };
    assert_eq!(store.recordings(&of_call).await.unwrap().recordings.len(), 10);
    store.delete_recording(&rows[3].id, audit("recording_deleted")).await.unwrap();
    assert_eq!(store.recordings(&all(100)).await.unwrap().recordings.len(), 25);
    let deleted = RecordingFilter { state: Some(RecordingState::Deleted), ..all(100) };
    assert_eq!(store.recordings(&deleted).await.unwrap().recordings[0].recording.id, rows[3].id);
    let calls = [CallId::parse("session_0").unwrap(), CallId::parse("session_7").unwrap()];
    let of = store.recordings_of(&calls).await.unwrap();
    assert_eq!((of.len(), &of[0].1, of.iter().any(|(_, id)| *id == rows[3].id)), (9, &rows[0].id, false));
}

#[tokio::test]
async fn pending_uploads_and_deletions_are_found_and_wait_after_a_failure() {
    let folder = Folder::new();
    let store = folder.open().await;
    let ids = |kept: Vec<centralita_store::Kept>| -> Vec<String> {
        kept.iter().map(|kept| kept.recording.id.to_string()).collect()
    };
    let mut rows = vec![recording(1, RecordingState::Recording), recording(90, RecordingState::Recording)];
    rows.extend([2, 3, 4].map(|n| recording(n, RecordingState::Complete)));
    feed(&store, &rows).await;
    assert_eq!(ids(store.interrupted_recordings(at(50)).await.unwrap()), ["rec_1"]);
    let due = store.recordings_to_move(at(100)).await.unwrap();
    assert_eq!(ids(due.clone()), ["rec_2", "rec_3", "rec_4"]);
    store.recording_moved(&due[0].recording.id, Place::Objects).await.unwrap();
    store.retry_recording_later(&due[1], at(100), Duration::from_secs(10)).await.unwrap();
    assert_eq!(ids(store.recordings_to_move(at(109)).await.unwrap()), ["rec_4"]);
    let again = store.recordings_to_move(at(110)).await.unwrap();
    assert_eq!((ids(again.clone()), again[0].tries), (vec!["rec_3".into(), "rec_4".into()], 1));
    // By age, and by quota: the oldest first.
    assert_eq!(ids(store.recordings_before(at(4)).await.unwrap()), ["rec_2", "rec_3"]);
    assert!(store.recordings_beyond(3_000).await.unwrap().is_empty());
    assert_eq!(ids(store.recordings_beyond(2_999).await.unwrap()), ["rec_2"]);
    assert_eq!(ids(store.recordings_beyond(500).await.unwrap()), ["rec_2", "rec_3", "rec_4"]);
    let gone = &due[0].recording.id;
    assert!(store.recordings_to_remove(at(200)).await.unwrap().is_empty());
    store.delete_recording(gone, audit("recording_deleted")).await.unwrap();
    let kept = store.recordings_to_remove(at(200)).await.unwrap();
    assert_eq!((ids(kept.clone()), kept[0].place), (vec!["rec_2".into()], Place::Objects));
    store.recording_moved(gone, Place::Gone).await.unwrap();
    assert!(store.recordings_to_remove(at(200)).await.unwrap().is_empty());
    // A running recording cannot be deleted.
    assert!(!store.delete_recording(&rows[1].id, audit("recording_deleted")).await.unwrap());
}
