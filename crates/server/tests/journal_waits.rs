//! A long database outage: waiting records are in the journal, and memory holds a bounded part of them (D10).

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::Timestamp;
use model::journal::{CallEvent, Record};
use model::voicemail::Fact;
use model::{CallDirection, CallId, CallRecord, CallStatus, Cause, LegRecord, LegRole, TraceStep, UserId};
use server::journal::{FeedIntervals, FeedResult, Journal, Opened, RecordSink};
use store::StoreError;

const CALLS: usize = 100_000;
/// Memory limit, bytes: less than a tenth of what all records would take.
const MEMORY: u64 = 150_000_000;

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

#[derive(Default)]
struct Database {
    away: Mutex<bool>,
    received: Mutex<Received>,
}

#[derive(Default)]
struct Received {
    attempts: usize,
    closed: BTreeSet<String>,
    ladders: BTreeSet<String>,
    answered: BTreeSet<String>,
}

impl RecordSink for Database {
    async fn feed(&self, records: &[Record]) -> Result<(), StoreError> {
        let mut received = self.received.lock().unwrap();
        received.attempts += 1;
        if *self.away.lock().unwrap() {
            return Err(StoreError::Url { url: "away".into() });
        }
        for record in records {
            match record {
                Record::CallClosed(call) if call.legs.len() == 2 => {
                    received.closed.insert(call.id.to_string());
                }
                Record::Ladder { call, blob } if blob.len() == 2_000 => {
                    received.ladders.insert(call.to_string());
                }
                Record::Noted(CallEvent::Answered { call, .. }) => {
                    received.answered.insert(call.to_string());
                }
                other => panic!("unexpected record: {other:?}"),
            }
        }
        Ok(())
    }
}

fn leg(role: LegRole) -> LegRecord {
    LegRecord {
        role,
        party: "somebody".into(),
        address: None,
        sip_call_id: "a84b4c76e66710a84b4c76e66710".into(),
        started_at: Timestamp::default(),
        answered_at: None,
        ended_at: None,
        cause: Some(Cause::Completed),
        sip_status: None,
        codec: Some("PCMA".into()),
        quality: None,
    }
}

fn records(n: usize) -> [Record; 3] {
    let id = CallId::parse(&format!("session_{n:08}")).unwrap();
    let trace = TraceStep { rule: "extension".into(), outcome: "1002 is an extension of somebody".into() };
    let call = CallRecord {
        as_of: None,
        id: id.clone(),
        user: UserId::parse("ana").unwrap(),
        other_user: None,
        direction: CallDirection::Internal,
        status: CallStatus::Completed,
        from_number: "1001".into(),
        to_number: "1002".into(),
        device: None,
        started_at: Timestamp::default(),
        answered_at: None,
        ended_at: Some(Timestamp::from_micros(1)),
        cause: Some(Cause::Completed),
        trace: vec![trace; 4],
        legs: vec![leg(LegRole::Caller), leg(LegRole::Callee)],
    };
    [
        Record::Noted(CallEvent::Answered { call: id.clone(), at: Timestamp::default() }),
        Record::CallClosed(Box::new(call)),
        Record::Ladder { call: id, blob: vec![7; 2_000] },
    ]
}

/// Resident memory of this process, bytes.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(120), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn intervals() -> FeedIntervals {
    FeedIntervals {
        calls: Duration::from_millis(5),
        retry: Duration::from_millis(5),
        ..FeedIntervals::default()
    }
}

fn all(database: &Database) -> [usize; 3] {
    let received = database.received.lock().unwrap();
    [received.closed.len(), received.ladders.len(), received.answered.len()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_calls_wait_on_the_disk_and_none_is_lost() {
    let folder =
        Folder(std::env::temp_dir().join(format!("centralita-journal-waits-{}", std::process::id())));
    let Opened { mut journal, feeder, done, .. } = Journal::open(&folder.0, 16 << 20).unwrap();
    let database = Arc::new(Database::default());
    *database.away.lock().unwrap() = true;
    let feeding = tokio::spawn(feeder.run(Arc::clone(&database), intervals()));
    let before = memory();
    let mut most = 0;
    let fact = Fact::GreetingDropped { name: "voicemail/ext_1/greeting-1".into() };
    for n in 0..CALLS {
        journal.append(records(n).into());
        if n == CALLS / 2 {
            // Executed while the feeder rereads segments: the completion must not be lost.
            journal.append(vec![Record::Voicemail(Box::new(fact.clone()))]);
            done.mark(fact.clone());
        }
        if n % 1_000 == 0 {
            let attempts = database.received.lock().unwrap().attempts;
            until("the feeder has looked", || database.received.lock().unwrap().attempts > attempts).await;
            most = most.max(memory());
        }
    }
    assert_eq!(all(&database), [0; 3]);
    assert!(most < before + MEMORY, "{} MB more than at the beginning", (most - before) / 1_000_000);
    // A crash now, and the next start.
    feeding.abort();
    assert!(feeding.await.unwrap_err().is_cancelled());
    drop(journal);
    let Opened { mut journal, feeder, pending, done, .. } = Journal::open(&folder.0, 16 << 20).unwrap();
    assert!(pending.has_call(&CallId::parse("session_00000007").unwrap()));
    assert_eq!(pending.facts(), std::slice::from_ref(&fact));
    drop(pending);
    done.mark(fact);
    let grown = memory().saturating_sub(before);
    assert!(grown < 2 * MEMORY, "{} MB more than at the beginning", grown / 1_000_000);
    *database.away.lock().unwrap() = false;
    let feeding = tokio::spawn(feeder.run(Arc::clone(&database), intervals()));
    until("it has them all", || all(&database) == [CALLS; 3]).await;
    // Later records are fed as usual.
    journal.append(records(CALLS).into());
    until("it has one more", || all(&database) == [CALLS + 1; 3]).await;
    drop((journal, done));
    assert_eq!(feeding.await.unwrap(), FeedResult::All);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0, "the journal is empty");
}
