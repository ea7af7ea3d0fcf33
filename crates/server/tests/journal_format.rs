//! Every journal that was ever written can be read: the golden files are never rewritten, and each version of the format has its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use base::Timestamp;
use model::journal::{Binding, CallEvent, DialogSnapshot, ListenerId, OutboundCallTime, Record};
use model::voicemail::Fact;
use model::{
    CallDirection, CallId, CallRecord, CallStatus, Cause, ExtensionId, LegRecord, LegRole, MessageId,
    MessageState, Quality, Recording, RecordingFormat, RecordingId, RecordingState, TraceStep, UserId,
    VoicemailMessage,
};
use server::journal::{Journal, Opened, Pending};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
/// Bytes of the frame header: marker, version, length, CRC-32.
const HEADER: usize = 10;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("centralita-format-{}-{name}-{number}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn open(&self) -> Opened {
        Journal::open(&self.0, 1 << 20).unwrap()
    }

    fn segment(&self, bytes: &[u8]) {
        fs::write(self.0.join("0000000001.log"), bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

fn session(name: &str) -> CallId {
    CallId::parse(name).unwrap()
}

fn ana() -> UserId {
    UserId::parse("ana").unwrap()
}

fn call(name: &str) -> CallRecord {
    CallRecord {
        as_of: None,
        id: session(name),
        user: ana(),
        other_user: Some(UserId::parse("ben").unwrap()),
        direction: CallDirection::Outbound,
        status: CallStatus::InProgress,
        from_number: "1001".into(),
        to_number: "+34911234567".into(),
        device: Some("ana-desk".into()),
        started_at: at(1),
        answered_at: Some(at(2)),
        ended_at: None,
        cause: None,
        trace: vec![TraceStep { rule: "identify".into(), outcome: "it is ana".into() }],
        legs: vec![caller(), carrier()],
    }
}

fn caller() -> LegRecord {
    LegRecord {
        role: LegRole::Caller,
        party: "ana".into(),
        address: Some("192.0.2.7:5062".parse().unwrap()),
        sip_call_id: "c1@phone".into(),
        started_at: at(3),
        answered_at: Some(at(4)),
        ended_at: Some(at(5)),
        cause: Some(Cause::Completed),
        sip_status: Some(200),
        codec: Some("PCMA".into()),
        quality: Some(Quality {
            packets_received: 1,
            packets_sent: 2,
            packets_lost: 3,
            jitter_ms: 4.5,
            rtt_ms: 5.5,
            mos: 4.25,
            remote_mos: 4.0,
        }),
    }
}

fn carrier() -> LegRecord {
    LegRecord {
        role: LegRole::Trunk,
        party: "carrier".into(),
        address: Some("[2001:db8::1]:5060".parse().unwrap()),
        sip_call_id: "c2@us".into(),
        started_at: at(6),
        answered_at: None,
        ended_at: None,
        cause: None,
        sip_status: None,
        codec: None,
        quality: None,
    }
}

/// The causes of version 1, in the order of their indexes.
const CAUSES: [Cause; 39] = [
    Cause::Completed,
    Cause::Cancelled,
    Cause::EndedByApi,
    Cause::Busy,
    Cause::NoAnswer,
    Cause::Unreachable,
    Cause::DoNotDisturb,
    Cause::Declined,
    Cause::Refused,
    Cause::NotFound,
    Cause::NoRoute,
    Cause::TrunkDown,
    Cause::TrunkBusy,
    Cause::ForwardingLoop,
    Cause::BadNumber,
    Cause::Inactive,
    Cause::Forbidden,
    Cause::NotPermitted,
    Cause::NumberBlocked,
    Cause::EmergencyNotAllowed,
    Cause::IncompatibleMedia,
    Cause::CodecNotRecordable,
    Cause::BadMedia,
    Cause::ConcurrentCallLimit,
    Cause::Overload,
    Cause::Draining,
    Cause::MaxDuration,
    Cause::NoAck,
    Cause::SessionExpired,
    Cause::PeerLost,
    Cause::MediaTimeout,
    Cause::NoRegisteredDevice,
    Cause::TwilioNotConfigured,
    Cause::Crash,
    Cause::AudioMissing,
    Cause::Internal,
    Cause::CallRateLimit,
    Cause::OutsideMinutesUsed,
    Cause::EmergencyNoRoute,
];

/// The records of `journal-v1.log`.
fn version_1() -> Vec<Record> {
    let binding = Binding {
        username: "ana".into(),
        contact: "sip:ana@192.0.2.7:5062".into(),
        path: vec!["sip:p1@192.0.2.9;lr".into()],
        call_id: "r1".into(),
        cseq: 7,
        q: 500,
        expires_at: at(10),
        created_at: at(11),
        user_agent: "Yealink".into(),
        transport: 1,
        listener: ListenerId::Index(1),
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.7:40000".parse().unwrap(),
        flow: (3, 4),
        instance: None,
        reg_id: None,
    };
    let leg = DialogSnapshot {
        dialog: b"a dialog\xff\x00".to_vec(),
        transport: 0,
        listener: ListenerId::Index(2),
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.7:5062".parse().unwrap(),
        place: None,
        record: None,
    };
    let (id, ben) = (session("session_1"), "sip:ben@192.0.2.8");
    let mut records = vec![
        Record::Bound(binding),
        Record::Unbound { username: "ben".into(), contact: ben.into(), at: at(12) },
        Record::CallOpened(Box::new(call("session_1"))),
        Record::LegUp { call: id.clone(), leg },
    ];
    let bare = |name: String| CallRecord { legs: Vec::new(), trace: Vec::new(), ..call(&name) };
    let mut closed = |record: CallRecord| records.push(Record::CallClosed(Box::new(record)));
    for (n, cause) in CAUSES.into_iter().enumerate() {
        let record = bare(format!("session_cause_{n}"));
        closed(CallRecord { cause: Some(cause), ended_at: Some(at(20)), ..record });
    }
    for (n, status) in [
        CallStatus::Queued,
        CallStatus::Ringing,
        CallStatus::InProgress,
        CallStatus::Completed,
        CallStatus::Busy,
        CallStatus::Failed,
        CallStatus::NoAnswer,
        CallStatus::Canceled,
    ]
    .into_iter()
    .enumerate()
    {
        closed(CallRecord { status, ..bare(format!("session_status_{n}")) });
    }
    for (n, direction) in
        [CallDirection::Internal, CallDirection::Inbound, CallDirection::Outbound].into_iter().enumerate()
    {
        closed(CallRecord { direction, ..bare(format!("session_direction_{n}")) });
    }
    for (n, role) in [LegRole::Caller, LegRole::Callee, LegRole::Trunk].into_iter().enumerate() {
        let legs = vec![LegRecord { role, ..caller() }];
        closed(CallRecord { legs, ..bare(format!("session_role_{n}")) });
    }
    let time = OutboundCallTime { call: id.clone(), leg: 1, user: ana(), since: at(33), until: Some(at(34)) };
    records.push(Record::Ladder { call: id.clone(), blob: vec![0, 1, 2, 255] });
    records.extend(
        [
            CallEvent::Ringing { call: id.clone(), at: at(30) },
            CallEvent::Answered { call: id.clone(), at: at(31) },
            CallEvent::WrongAnswer {
                source: "2001:db8::9".parse().unwrap(),
                account: "eve".into(),
                at: at(32),
                banned_seconds: 60,
            },
            CallEvent::Outside(time),
            CallEvent::Emergency { call: id.clone(), at: at(35) },
            CallEvent::SpendAlert { user: ana(), percent: 80, limit_minutes: 300, day: at(36), at: at(37) },
        ]
        .map(Record::Noted),
    );
    for (n, (state, format)) in [
        (RecordingState::Recording, RecordingFormat::Opus),
        (RecordingState::Complete, RecordingFormat::Wav),
        (RecordingState::Failed, RecordingFormat::Opus),
        (RecordingState::Deleted, RecordingFormat::Wav),
    ]
    .into_iter()
    .enumerate()
    {
        records.push(Record::Recording(Box::new(Recording {
            id: RecordingId::parse(&format!("rec_{n}")).unwrap(),
            call: id.clone(),
            user: ana(),
            other_user: None,
            extension: Some("1001".into()),
            state,
            started_at: at(40),
            ended_at: Some(at(41)),
            format,
            bytes: 1000,
            millis: 2000,
            sha256: Some("ab".into()),
            fault: Some("disk_full".into()),
        })));
    }
    records
}

/// The records of `journal-v2.log`: those of version 1, and later additions.
fn version_2() -> Vec<Record> {
    let mut records = version_1();
    let address = "0.0.0.0:5060".parse().unwrap();
    if let Some(Record::Bound(binding)) = records.first().cloned() {
        records.push(Record::Bound(Binding {
            username: "carla".into(),
            listener: ListenerId::Address(address),
            instance: Some("\"<urn:uuid:1>\"".into()),
            reg_id: Some("2".into()),
            ..binding
        }));
    }
    if let Some(Record::LegUp { call, leg }) = records.get(3).cloned() {
        let (place, record) = (Some(1), Some(Box::new(carrier())));
        let leg = DialogSnapshot { listener: ListenerId::Address(address), place, record, ..leg };
        records.push(Record::LegUp { call, leg });
    }
    records.push(Record::Alive { at: at(50) });
    let extension = ExtensionId::parse("ext_1").unwrap();
    let message = |name: &str, state| VoicemailMessage {
        id: MessageId::parse(name).unwrap(),
        extension: extension.clone(),
        user: ana(),
        state,
        from_number: "1002".into(),
        call: Some(session("session_1")),
        left_at: at(51),
        millis: 4000,
        heard_at: Some(at(52)),
    };
    let id = MessageId::parse("vm_1").unwrap();
    let name: std::sync::Arc<str> = "voicemail/ext_1/greeting-1".into();
    let states = [MessageState::Recording, MessageState::New, MessageState::Heard, MessageState::Saved];
    let mut facts = vec![
        Fact::Begun(message("vm_1", MessageState::Recording)),
        Fact::Left(message("vm_1", MessageState::New)),
        Fact::Dropped(message("vm_2", MessageState::Heard)),
        Fact::Deleted { extension: extension.clone(), id: id.clone() },
        Fact::Greeting { extension: extension.clone(), name: name.clone() },
        Fact::GreetingDropped { name },
    ];
    facts.extend(states.map(|state| Fact::Marked { extension: extension.clone(), id: id.clone(), state }));
    records.extend(facts.into_iter().map(|fact| Record::Voicemail(Box::new(fact))));
    records
}

fn bytes_of(records: Vec<Record>) -> Vec<u8> {
    let folder = Folder::new("bytes");
    let mut journal = folder.open().journal;
    journal.append(records);
    drop(journal);
    fs::read(folder.0.join("0000000001.log")).unwrap()
}

/// The pending records and faults of a segment.
fn read(segment: &[u8]) -> (Pending, Vec<String>) {
    let folder = Folder::new("read");
    folder.segment(segment);
    let opened = folder.open();
    (opened.pending, opened.faults)
}

fn pending_of(records: Vec<Record>) -> Pending {
    let mut pending = Pending::default();
    records.into_iter().for_each(|record| pending.apply(1, record));
    pending
}

/// Everything in a journal, in a comparable form.
fn comparable(pending: Pending) -> (Vec<(u64, Record)>, Vec<Fact>, Option<Timestamp>) {
    let (facts, alive) = (pending.facts(), pending.alive());
    (sorted(pending.into_records()), facts, alive)
}

fn sorted(mut records: Vec<(u64, Record)>) -> Vec<(u64, Record)> {
    records.sort_by_key(|(_, record)| format!("{record:?}"));
    records
}

#[test]
fn a_journal_of_version_1_is_read_for_ever() {
    let golden = fs::read(Path::new(GOLDEN).join("journal-v1.log")).unwrap();
    let (pending, faults) = read(&golden);
    assert_eq!(faults, Vec::<String>::new());
    assert!(pending.alive().is_some(), "the file's modification time says when the process was alive");
    assert_eq!(sorted(pending.into_records()), sorted(pending_of(version_1()).into_records()));
}

#[test]
fn a_journal_of_version_2_is_read_for_ever() {
    let path = Path::new(GOLDEN).join("journal-v2.log");
    if std::env::var("CENTRALITA_GOLDEN").is_ok_and(|word| word == "write") {
        fs::write(&path, bytes_of(version_2())).unwrap(); // run by whoever adds a version
    }
    let (pending, faults) = read(&fs::read(&path).unwrap());
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(comparable(pending), comparable(pending_of(version_2())));
}

#[test]
fn records_round_trip() {
    let (pending, faults) = read(&bytes_of(version_2()));
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(comparable(pending), comparable(pending_of(version_2())));
}

/// The frame of a record, modified by `change`, which keeps its length.
fn frame(record: Record, version: u8, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = bytes_of(vec![record]);
    change(&mut bytes);
    bytes[1] = version;
    let crc = crc32fast::hash(&[&[version], &bytes[HEADER..]].concat());
    bytes[6..HEADER].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn opened(name: &str) -> Record {
    Record::CallOpened(Box::new(call(name)))
}

#[test]
fn frames_of_a_later_version_are_reported_and_kept_until_they_can_be_decoded() {
    let folder = Folder::new("later");
    let later = frame(opened("session_a"), 9, |_| {});
    let unknown = frame(opened("session_b"), 2, |bytes| {
        let word = bytes.windows(11).position(|word| word == b"call_opened").unwrap();
        bytes[word..word + 11].copy_from_slice(b"call_parked");
    });
    let field = frame(opened("session_c"), 2, |bytes| {
        // An unknown field is ignored, and our optional field may be missing.
        let word = bytes.windows(6).position(|word| word == b"device").unwrap();
        bytes[word..word + 6].copy_from_slice(b"gadget");
    });
    let known = frame(opened("session_d"), 2, |_| {});
    folder.segment(&[&*later, &*unknown, &*field, &*known].concat());
    let Opened { faults, pending, .. } = folder.open();
    assert_eq!(faults.iter().filter(|fault| fault.contains("cannot be decoded and is kept")).count(), 2);
    assert_eq!(faults[2..], ["2 records of a later version are kept for that version"]);
    let has = |name: &str| pending.has_call(&session(name));
    assert_eq!(["a", "b", "c", "d"].map(|n| has(&format!("session_{n}"))), [false, false, true, true]);
    // Opening again keeps them once, and the segment is not needed for it.
    drop(folder.open());
    fs::remove_file(folder.0.join("0000000001.log")).unwrap();
    assert_eq!(fs::read(folder.0.join("kept.frames")).unwrap(), [later.clone(), unknown.clone()].concat());
    // A version that can decode them: a call record is still valid, a registration is outdated.
    let binding = version_1().swap_remove(0);
    let since = [&*frame(opened("session_e"), 2, |_| {}), &*frame(binding, 2, |_| {}), &*later].concat();
    fs::write(folder.0.join("kept.frames"), since).unwrap();
    let Opened { faults, pending, .. } = folder.open();
    assert!(pending.has_call(&session("session_e")));
    assert_eq!(pending.len(), (1, 0));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(fs::read(folder.0.join("kept.frames")).unwrap(), later);
    assert!(folder.open().pending.has_call(&session("session_e")), "it is in a segment now");
}
