//! The journal on a full disk: a tmpfs of this test's own.

use std::path::{Path, PathBuf};

use base::Timestamp;
use model::journal::{Binding, ListenerId, Record};
use model::{CallDirection, CallId, CallRecord, CallStatus, UserId};
use server::journal::{Journal, restore};
use store::RuntimeState;
use switch::{Input, JournalRoom};

#[allow(dead_code, unreachable_pub)]
#[path = "../../../e2e/src/mount.rs"]
mod mount;

use mount::Mount;

struct Disk {
    mount: Option<Mount>,
    path: PathBuf,
}

impl Disk {
    fn new(name: &str, megabytes: u32) -> Disk {
        let path = std::env::temp_dir().join(format!("centralita-full-{}-{name}", std::process::id()));
        Disk { mount: Some(Mount::tmpfs(&path, megabytes)), path }
    }

    fn mount(&self) -> &Mount {
        self.mount.as_ref().unwrap()
    }

    fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.mount.take());
        let _ = std::fs::remove_dir(&self.path);
    }
}

fn bound(n: usize) -> Record {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 5060));
    Record::Bound(Binding {
        username: format!("u{n:06}").into(),
        contact: format!("sip:u{n}@127.0.0.1:5070"),
        path: Vec::new(),
        call_id: "x".repeat(400),
        cseq: 1,
        q: 1000,
        expires_at: Timestamp::from_micros(1),
        created_at: Timestamp::default(),
        user_agent: "phone".into(),
        transport: 0,
        listener: ListenerId::Index(0),
        local: address,
        remote: address,
        flow: (0, 0),
        instance: None,
        reg_id: None,
    })
}

fn closed(n: usize) -> Record {
    Record::CallClosed(Box::new(CallRecord {
        as_of: None,
        id: CallId::parse(&format!("session_{n}")).unwrap(),
        user: UserId::parse("u").unwrap(),
        other_user: None,
        direction: CallDirection::Internal,
        status: CallStatus::Completed,
        from_number: "1001".into(),
        to_number: "1002".into(),
        device: None,
        started_at: Timestamp::default(),
        answered_at: None,
        ended_at: Some(Timestamp::default()),
        cause: None,
        trace: Vec::new(),
        legs: Vec::new(),
    }))
}

/// Numbers of bindings and calls that a reader finds, and the faults it reports.
fn replayed(path: &Path) -> (usize, usize, Vec<String>) {
    let opened = Journal::open(path, 1 << 24).unwrap();
    let calls = opened.pending.len().0;
    let Input::Restore { bindings, .. } = restore(RuntimeState::default(), &opened.pending) else { panic!() };
    (bindings.len(), calls, opened.faults)
}

#[test]
fn the_preallocated_space_keeps_every_accepted_record_until_nothing_new_is_accepted() {
    let disk = Disk::new("spent", 24);
    let mut journal = Journal::open(&disk.journal(), 1 << 24).unwrap().journal;
    assert_eq!(journal.room_changed(), None);
    let filling = disk.mount().fill();
    let mut seen = Vec::new();
    let mut accepted = 0;
    // The switch accepts registrations until it is told to stop.
    while !seen.contains(&JournalRoom::Spent) {
        journal.append(vec![bound(accepted)]);
        accepted += 1;
        seen.extend(journal.room_changed());
        assert!(accepted < 100_000, "never told: {seen:?}");
    }
    assert_eq!(seen, [JournalRoom::Low, JournalRoom::Spent]);
    assert!(accepted > 5_000, "{accepted}");
    // The ends of a thousand calls that are up fit into the reserved space.
    for n in 0..1_000 {
        journal.append(vec![closed(n)]);
    }
    let killed = disk.path.join("killed");
    std::mem::forget(journal); // a kill: no clean-up
    drop(filling);
    copy(&disk.journal(), &killed);
    assert_eq!(replayed(&killed), (accepted, 1_000, Vec::new()));
}

#[test]
fn a_record_torn_by_a_full_disk_is_rewritten_when_there_is_space() {
    let disk = Disk::new("torn", 40);
    let mut journal = Journal::open(&disk.journal(), 1 << 26).unwrap().journal;
    let filling = disk.mount().fill();
    let written = || -> u64 {
        std::fs::read_dir(disk.journal()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    let (mut accepted, mut room) = (0, None);
    // The warning is ignored until the last block is used and a batch does not fit.
    loop {
        let before = written();
        journal.append((0..50).map(|n| bound(accepted + n)).collect());
        accepted += 50;
        room = journal.room_changed().or(room);
        if written() == before {
            break;
        }
        assert!(accepted < 100_000, "the disk never ends");
    }
    assert_eq!(room, Some(JournalRoom::Spent));
    drop(filling);
    let started = std::time::Instant::now();
    while journal.room_changed() != Some(JournalRoom::Ample) {
        assert!(started.elapsed().as_secs() < 10, "the journal never has space again");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    journal.append(vec![bound(accepted)]);
    accepted += 1;
    drop(journal);
    let (bindings, _, faults) = replayed(&disk.journal());
    assert_eq!((bindings, faults), (accepted, Vec::new()));
}

#[test]
fn a_start_on_a_full_disk_accepts_nothing_until_there_is_space() {
    let disk = Disk::new("start", 16);
    std::fs::create_dir(disk.journal()).unwrap();
    let filling = disk.mount().fill();
    let mut journal = Journal::open(&disk.journal(), 1 << 24).unwrap().journal;
    assert_eq!(journal.room_changed(), Some(JournalRoom::Spent));
    journal.append(vec![bound(0)]); // a response that could not wait
    assert_eq!(journal.room_changed(), None);
    drop(filling);
    let started = std::time::Instant::now();
    while journal.room_changed() != Some(JournalRoom::Ample) {
        assert!(started.elapsed().as_secs() < 10, "the journal never has space again");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(journal);
    assert_eq!(replayed(&disk.journal()).0, 1);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
