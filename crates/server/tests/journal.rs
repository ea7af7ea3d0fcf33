//! Durability of the journal: answered registrations and calls survive crashes, disk errors and database outages.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::Timestamp;
use model::journal::{Binding, CallEvent, DialogSnapshot, ListenerId, OutboundCallTime, Record};
use model::{CallDirection, CallId, CallRecord, CallStatus, UserId};
use server::journal::{Due, FeedIntervals, FeedResult, Journal, Opened, Pending, RecordSink, restore};
use store::{RuntimeState, StoreError};
use switch::Input;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("centralita-journal-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn segments(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn bytes(&self) -> u64 {
        self.segments().iter().map(|name| fs::metadata(self.0.join(name)).unwrap().len()).sum()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5060))
}

fn bound(username: &str, cseq: u32) -> Record {
    Record::Bound(Binding {
        username: username.into(),
        contact: format!("sip:{username}@127.0.0.1:5070"),
        path: Vec::new(),
        call_id: "a".into(),
        cseq,
        q: 1000,
        expires_at: Timestamp::from_micros(i64::from(cseq)),
        created_at: Timestamp::default(),
        user_agent: "phone".into(),
        transport: 0,
        listener: ListenerId::Address(address()),
        local: address(),
        remote: address(),
        flow: (0, 0),
        instance: None,
        reg_id: None,
    })
}

fn unbound(username: &str) -> Record {
    Record::Unbound {
        username: username.into(),
        contact: format!("sip:{username}@127.0.0.1:5070"),
        at: Timestamp::default(),
    }
}

fn call(id: &str, status: CallStatus) -> Box<CallRecord> {
    Box::new(CallRecord {
        as_of: None,
        id: CallId::parse(id).unwrap(),
        user: UserId::parse("u").unwrap(),
        other_user: None,
        direction: CallDirection::Internal,
        status,
        from_number: "1001".into(),
        to_number: "1002".into(),
        device: None,
        started_at: Timestamp::default(),
        answered_at: None,
        ended_at: None,
        cause: None,
        trace: Vec::new(),
        legs: Vec::new(),
    })
}

fn leg(id: &str, dialog: u8) -> Record {
    let leg = DialogSnapshot {
        dialog: vec![dialog],
        transport: 0,
        listener: ListenerId::Address(address()),
        local: address(),
        remote: address(),
        place: None,
        record: None,
    };
    Record::LegUp { call: CallId::parse(id).unwrap(), leg }
}

fn open(folder: &Folder) -> Opened {
    Journal::open(&folder.0, 1 << 20).unwrap()
}

/// User names with their CSeq, and calls with their number of legs.
type Restored = (Vec<(String, u32)>, Vec<(String, usize)>);

fn restored(stored: RuntimeState, pending: &Pending) -> Restored {
    let Input::Restore { bindings, calls, .. } = restore(stored, pending) else { panic!("no Restore") };
    (
        bindings.iter().map(|binding| (binding.username.to_string(), binding.cseq)).collect(),
        calls.iter().map(|call| (call.record.id.to_string(), call.legs.len())).collect(),
    )
}

fn replayed(folder: &Folder) -> Restored {
    restored(RuntimeState::default(), &open(folder).pending)
}

/// The only non-empty segment.
fn full_segment(folder: &Folder) -> PathBuf {
    let mut full = folder.segments().into_iter().map(|name| folder.0.join(name));
    full.find(|path| fs::metadata(path).unwrap().len() > 0).unwrap()
}

#[test]
fn written_records_are_restored_after_a_crash_repeatedly() {
    let folder = Folder::new("crash");
    let mut journal = open(&folder).journal;
    journal.append(vec![
        bound("a", 1),
        bound("b", 1),
        Record::CallOpened(call("session_1", CallStatus::Ringing)),
    ]);
    journal.append(vec![bound("a", 2), unbound("b"), leg("session_1", 1), leg("session_1", 2)]);
    journal.append(vec![
        Record::CallOpened(call("session_2", CallStatus::Ringing)),
        leg("session_2", 1),
        Record::CallClosed(call("session_2", CallStatus::Completed)),
    ]);
    drop(journal);
    let expected = (vec![("a".to_owned(), 2)], vec![("session_1".to_owned(), 2)]);
    assert_eq!(replayed(&folder), expected);
    assert_eq!(replayed(&folder), expected);
}

#[test]
fn the_journal_corrects_the_stored_state() {
    let mut pending = Pending::default();
    for record in [bound("a", 7), unbound("b"), leg("session_1", 1), leg("session_1", 2)] {
        pending.apply(1, record);
    }
    pending.apply(1, Record::CallClosed(call("session_2", CallStatus::Completed)));
    let binding = |record| match record {
        Record::Bound(binding) => binding,
        _ => panic!("no binding"),
    };
    let Record::LegUp { leg: first, .. } = leg("session_1", 1) else { panic!("no leg") };
    let stored = RuntimeState {
        bindings: vec![binding(bound("a", 1)), binding(bound("b", 1)), binding(bound("c", 1))],
        open_calls: vec![
            (*call("session_1", CallStatus::InProgress), vec![first]),
            (*call("session_2", CallStatus::InProgress), vec![]),
        ],
        ..RuntimeState::default()
    };
    let expected = (vec![("a".to_owned(), 7), ("c".to_owned(), 1)], vec![("session_1".to_owned(), 2)]);
    assert_eq!(restored(stored, &pending), expected);
}

#[test]
fn outbound_call_time_is_restored_when_the_database_has_only_the_starts() {
    let folder = Folder::new("outside");
    let second = |n: i64| Timestamp::from_micros(n * 1_000_000);
    let time = |id: &str, until: Option<i64>| OutboundCallTime {
        call: CallId::parse(id).unwrap(),
        leg: 1,
        user: UserId::parse("ana").unwrap(),
        since: second(10),
        until: until.map(second),
    };
    let noted = |time: OutboundCallTime| Record::Noted(CallEvent::Outside(time));
    let mut journal = open(&folder).journal;
    journal.append(vec![noted(time("session_1_a", Some(70))), noted(time("session_2_b", None))]);
    drop(journal);
    let stored = RuntimeState {
        outside: vec![time("session_1_a", None), time("session_3_c", Some(40))],
        ..RuntimeState::default()
    };
    let Input::Restore { outside, .. } = restore(stored, &open(&folder).pending) else {
        panic!("no Restore")
    };
    let expected = [time("session_1_a", Some(70)), time("session_2_b", None), time("session_3_c", Some(40))];
    assert_eq!(outside, expected); // toll fraud limits
}

#[test]
fn a_tail_torn_at_any_byte_costs_only_the_record_that_was_torn() {
    let folder = Folder::new("torn");
    let mut journal = open(&folder).journal;
    journal.append(vec![bound("a", 1)]);
    let path = full_segment(&folder);
    let whole = fs::metadata(&path).unwrap().len();
    journal.append(vec![bound("b", 1)]);
    drop(journal);
    let bytes = fs::read(&path).unwrap();
    for len in whole..bytes.len() as u64 {
        fs::write(&path, &bytes[..len as usize]).unwrap();
        let opened = open(&folder);
        assert_eq!(
            restored(RuntimeState::default(), &opened.pending).0,
            [("a".to_owned(), 1)],
            "cut at {len}"
        );
        assert_eq!(opened.faults, Vec::<String>::new(), "cut at {len}");
    }
}

#[test]
fn damage_in_the_middle_is_reported_and_skipped() {
    let folder = Folder::new("damage");
    let mut journal = open(&folder).journal;
    journal.append(vec![bound("a", 1)]);
    let path = full_segment(&folder);
    let (start, end) = (fs::metadata(&path).unwrap().len() as usize, {
        journal.append(vec![bound("b", 1)]);
        fs::metadata(&path).unwrap().len() as usize
    });
    journal.append(vec![bound("c", 1)]);
    drop(journal);
    let bytes = fs::read(&path).unwrap();
    for at in start..end {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        fs::write(&path, &damaged).unwrap();
        let opened = open(&folder);
        let names: Vec<String> =
            restored(RuntimeState::default(), &opened.pending).0.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "c"], "damaged at {at}");
        assert_eq!(opened.faults.len(), 1, "damaged at {at}: {:?}", opened.faults);
    }
}

#[test]
fn coalescing_keeps_the_latest_state_and_closes_a_call_once() {
    let mut pending = Pending::default();
    for cseq in 1..=1000 {
        pending.apply(1, bound("a", cseq));
    }
    pending.apply(1, Record::CallOpened(call("session_1", CallStatus::Ringing)));
    pending.apply(1, leg("session_1", 1));
    pending.apply(1, Record::CallClosed(call("session_1", CallStatus::Completed)));
    // A replay repeats the start; the call stays closed.
    pending.apply(1, Record::CallOpened(call("session_1", CallStatus::Ringing)));
    pending.apply(1, leg("session_1", 1));
    let records: Vec<Record> = pending.take(100, Due::All).into_iter().map(|(_, record)| record).collect();
    assert_eq!(records, [Record::CallClosed(call("session_1", CallStatus::Completed)), bound("a", 1000)]);
    assert!(pending.is_empty());
}

/// A database that can be made to fail.
#[derive(Default)]
struct Database {
    fails: Mutex<bool>,
    records: Mutex<Vec<Record>>,
    attempts: Mutex<usize>,
}

impl Database {
    fn fail(&self, fails: bool) {
        *self.fails.lock().unwrap() = fails;
    }

    fn count(&self) -> usize {
        self.records.lock().unwrap().len()
    }

    fn pending(&self) -> Pending {
        let mut pending = Pending::default();
        self.records.lock().unwrap().iter().for_each(|record| pending.apply(0, record.clone()));
        pending
    }
}

impl RecordSink for Database {
    async fn feed(&self, records: &[Record]) -> Result<(), StoreError> {
        *self.attempts.lock().unwrap() += 1;
        if *self.fails.lock().unwrap() {
            return Err(StoreError::Url { url: "broken".into() });
        }
        self.records.lock().unwrap().extend_from_slice(records);
        Ok(())
    }
}

fn quick() -> FeedIntervals {
    FeedIntervals {
        calls: Duration::from_millis(5),
        bindings: Duration::from_millis(20),
        retry: Duration::from_millis(5),
        ..FeedIntervals::default()
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn dir_of(folder: &Folder) -> &Path {
    &folder.0
}

#[tokio::test]
async fn segments_are_deleted_only_after_the_database_has_them() {
    let folder = Folder::new("deletion");
    let Opened { mut journal, feeder, .. } = Journal::open(dir_of(&folder), 400).unwrap();
    let database = Arc::new(Database::default());
    database.fail(true);
    for cseq in 0..40 {
        journal.append(vec![bound(&format!("u{cseq}"), 1)]);
    }
    let written = folder.segments();
    assert!(written.len() > 5, "{written:?}");
    let feeding = tokio::spawn(feeder.run(Arc::clone(&database), quick()));
    until("three attempts", || *database.attempts.lock().unwrap() >= 3).await;
    assert_eq!(folder.segments(), written);
    database.fail(false);
    until("all is fed", || database.count() == 40).await;
    until("only the open segment is left", || folder.segments().len() == 1).await;
    drop(journal);
    assert_eq!(feeding.await.unwrap(), FeedResult::All);
    assert_eq!(folder.segments(), Vec::<String>::new());
    assert_eq!(restored(RuntimeState::default(), &database.pending()).0.len(), 40);
}

#[tokio::test]
async fn a_failing_database_loses_nothing_and_the_disk_stays_bounded() {
    let folder = Folder::new("bounded");
    let Opened { mut journal, feeder, .. } = Journal::open(dir_of(&folder), 4000).unwrap();
    let database = Arc::new(Database::default());
    database.fail(true);
    let intervals = FeedIntervals { waiting_bytes: 20_000, ..quick() };
    let feeding = tokio::spawn(feeder.run(Arc::clone(&database), intervals));
    let mut written = 0;
    for cseq in 1..=3000 {
        // Ten phones that keep refreshing, and one that registered and unregistered.
        let batch: Vec<Record> = (0..10).map(|n| bound(&format!("u{n}"), cseq)).collect();
        journal.append(batch);
        if cseq == 1 {
            journal.append(vec![bound("gone", 1)]);
        }
        if cseq == 2 {
            journal.append(vec![unbound("gone")]);
        }
        written += 10;
        if cseq % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    until("the segments are rewritten", || folder.segments().iter().any(|name| name.contains("base"))).await;
    until("the disk holds little", || folder.bytes() < 60_000).await;
    assert_eq!(written, 30_000);
    // The process is killed now: its journal has the latest state of each.
    let expected: Vec<(String, u32)> = (0..10).map(|n| (format!("u{n}"), 3000)).collect();
    feeding.abort();
    assert!(feeding.await.unwrap_err().is_cancelled());
    drop(journal);
    assert_eq!(replayed(&folder).0, expected);
    // The next run feeds them, after the database has recovered.
    database.fail(false);
    let Opened { journal, feeder, .. } = open(&folder);
    drop(journal);
    assert_eq!(feeder.run(Arc::clone(&database), quick()).await, FeedResult::All);
    assert_eq!(restored(RuntimeState::default(), &database.pending()).0, expected);
    assert_eq!(folder.segments(), Vec::<String>::new());
}

#[tokio::test]
async fn records_not_fed_at_the_end_wait_for_the_next_start() {
    let folder = Folder::new("end");
    let Opened { mut journal, feeder, .. } = open(&folder);
    let database = Arc::new(Database::default());
    database.fail(true);
    journal.append(vec![bound("a", 1), Record::CallClosed(call("session_1", CallStatus::Completed))]);
    drop(journal);
    assert_eq!(feeder.run(Arc::clone(&database), quick()).await, FeedResult::Part);
    assert_eq!(replayed(&folder).0, [("a".to_owned(), 1)]);
}
