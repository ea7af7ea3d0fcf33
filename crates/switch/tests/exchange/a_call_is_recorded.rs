//! Calls are recorded by a command or by themselves, and what becomes of a recording never ends a call (S6, S177).

use std::time::Duration;

use centralita_switch::{Beep, Command, Input, RecordingAction, RecordingView, Reply};
use media::{Ended, FileFormat, Filed, MediaCommand, MediaEvent, Record as Tape, RecordingId};
use model::journal::Record;
use model::{CallId, RecordCalls, Recording, RecordingFormat, RecordingState};

use super::a_call_is_made::connected;
use crate::office::Office;

fn call(office: &mut Office) -> CallId {
    match office.ask(Command::Calls) {
        Reply::Calls(calls) => calls[0].id.clone(),
        other => panic!("{other:?}"),
    }
}

fn act(office: &mut Office, call: &CallId, action: RecordingAction) -> Option<RecordingView> {
    match office.ask(Command::Recording { call: call.clone(), action }) {
        Reply::Recording(view) => view,
        other => panic!("{other:?}"),
    }
}

/// What the worker was told to record since it was last asked.
fn tapes(office: &mut Office) -> Vec<Tape> {
    let tape = |command: MediaCommand| match command {
        MediaCommand::Record(tape) => Some(*tape),
        _ => None,
    };
    std::mem::take(&mut office.media).into_iter().filter_map(tape).collect()
}

fn written(office: &Office) -> Vec<Recording> {
    let row = |record: &Record| match record {
        Record::Recording(row) => Some((**row).clone()),
        _ => None,
    };
    office.journal.iter().filter_map(row).collect()
}

fn filed(office: &mut Office, recording: RecordingId, file: Filed) {
    office.feed(Input::Media(MediaEvent::Filed { recording, file }));
}

#[test]
fn a_recording_is_begun_paused_and_ended_by_commands_and_written_down_twice() {
    let mut office = Office::open();
    connected(&mut office);
    let id = call(&mut office);
    assert_eq!(act(&mut office, &id, RecordingAction::Pause), None, "nothing is recorded yet");
    let begun = act(&mut office, &id, RecordingAction::Start).unwrap();
    assert_eq!((begun.recording.state, begun.paused), (RecordingState::Recording, false));
    let tape = tapes(&mut office).pop().unwrap();
    assert_eq!((tape.format, &*tape.name), (FileFormat::Opus, begun.recording.name().as_str()));
    assert!(tape.right.is_some_and(|right| right.0 > tape.left.0), "the caller is on the left");
    assert_eq!(act(&mut office, &id, RecordingAction::Start).unwrap().recording.id, begun.recording.id);
    assert!(tapes(&mut office).is_empty());
    let recording = tape.recording;
    assert!(act(&mut office, &id, RecordingAction::Pause).unwrap().paused);
    assert!(act(&mut office, &id, RecordingAction::Show).unwrap().paused);
    assert!(!act(&mut office, &id, RecordingAction::Resume).unwrap().paused);
    let told = std::mem::take(&mut office.media);
    assert_eq!(told, [MediaCommand::PauseRecord { recording }, MediaCommand::ResumeRecord { recording }]);
    act(&mut office, &id, RecordingAction::Stop).unwrap();
    assert_eq!(office.media.pop(), Some(MediaCommand::StopRecord { recording }));
    // Another one may begin while the first one's file is being closed.
    let next = act(&mut office, &id, RecordingAction::Start).unwrap();
    assert!(next.recording.id != begun.recording.id);
    filed(&mut office, recording, Filed::Complete { bytes: 4_711, millis: 1_234, sha256: [0xab; 32] });
    let rows: Vec<_> = written(&office).into_iter().filter(|row| row.id == begun.recording.id).collect();
    assert_eq!(
        (rows.len(), rows[0].state, rows[1].state),
        (2, RecordingState::Recording, RecordingState::Complete)
    );
    assert_eq!(
        (rows[1].bytes, rows[1].millis, rows[1].sha256.as_deref()),
        (4_711, 1_234, Some(&*"ab".repeat(32)))
    );
    assert!(rows[1].ended_at.is_some() && rows[1].call == id);
}

#[test]
fn extensions_that_want_it_are_recorded_from_the_answer() {
    for (caller, callee, default, for_whom) in [
        (RecordCalls::Default, RecordCalls::Default, RecordCalls::None, None),
        (RecordCalls::Default, RecordCalls::Default, RecordCalls::All, Some("1001")),
        (RecordCalls::Default, RecordCalls::Default, RecordCalls::Inbound, Some("1002")),
        (RecordCalls::Outbound, RecordCalls::None, RecordCalls::None, Some("1001")),
        (RecordCalls::Inbound, RecordCalls::Outbound, RecordCalls::None, None),
        (RecordCalls::None, RecordCalls::All, RecordCalls::None, Some("1002")),
        (RecordCalls::None, RecordCalls::None, RecordCalls::All, None),
    ] {
        let mut office = Office::open_with(|config| {
            (config.recording.calls, config.recording.format) = (default, RecordingFormat::Wav);
        });
        office.change_extension("1001", |e| e.record_calls = caller);
        office.change_extension("1002", |e| e.record_calls = callee);
        connected(&mut office);
        let tapes = tapes(&mut office);
        let rows = written(&office);
        let found = rows.first().and_then(|row| row.extension.as_deref());
        assert_eq!(found, for_whom, "{caller:?} {callee:?} {default:?}");
        assert_eq!((tapes.len(), rows.len()), (usize::from(for_whom.is_some()), tapes.len()));
        assert!(tapes.iter().all(|tape| tape.format == FileFormat::Wav));
    }
}

#[test]
fn a_disk_that_is_full_ends_the_recording_and_not_the_call() {
    let mut office = Office::open();
    connected(&mut office);
    let id = call(&mut office);
    act(&mut office, &id, RecordingAction::Start);
    let recording = tapes(&mut office)[0].recording;
    filed(&mut office, recording, Filed::DiskFull);
    assert_eq!(office.media, [MediaCommand::StopRecord { recording }]);
    let row = written(&office).pop().unwrap();
    assert_eq!((row.state, row.fault.as_deref()), (RecordingState::Failed, Some("disk_full")));
    // The worker's own report comes after it.
    let ended = Ended::Stopped;
    office.feed(Input::Media(MediaEvent::Recorded { recording, millis: 5, sound_millis: 5, ended }));
    filed(&mut office, recording, Filed::Complete { bytes: 1, millis: 1, sha256: [0; 32] });
    assert_eq!(written(&office).len(), 2);
    assert_eq!(office.status().active_calls, 1);
    assert_eq!(act(&mut office, &id, RecordingAction::Stop), None);
}

#[test]
fn the_file_of_a_call_that_is_over_is_still_awaited() {
    let mut office = Office::open();
    connected(&mut office);
    let id = call(&mut office);
    act(&mut office, &id, RecordingAction::Start);
    let recording = tapes(&mut office)[0].recording;
    office.ask(Command::End { call: id.clone() });
    let ended = Ended::Left;
    office.feed(Input::Media(MediaEvent::Recorded { recording, millis: 700, sound_millis: 5, ended }));
    office.pass(Duration::from_secs(60));
    assert_eq!(office.ask(Command::Recording { call: id, action: RecordingAction::Start }), Reply::Unknown);
    filed(&mut office, recording, Filed::Complete { bytes: 9, millis: 700, sha256: [1; 32] });
    let row = written(&office).pop().unwrap();
    assert_eq!(row.state, RecordingState::Complete);
    assert!(row.ended_at.unwrap().since(row.started_at) < Duration::from_secs(1));
}

#[test]
fn both_parties_hear_that_they_are_recorded() {
    // S184
    let beeps = |office: &mut Office| {
        let all = std::mem::take(&mut office.media);
        let clip = |command: &MediaCommand| match command {
            MediaCommand::Play { stream, clip, .. } => {
                assert!((1_000..8_000).contains(&clip.len()) && clip.iter().any(|s| *s > 2_000));
                Some(stream.0)
            }
            _ => None,
        };
        let mut streams: Vec<u32> = all.iter().filter_map(clip).collect();
        streams.sort_unstable();
        streams
    };
    let mut office = Office::open_with(|config| config.recording.beep = Beep::Every(Duration::from_secs(15)));
    connected(&mut office);
    let id = call(&mut office);
    assert!(beeps(&mut office).is_empty());
    act(&mut office, &id, RecordingAction::Start);
    let both = beeps(&mut office);
    assert!(both.len() == 2 && both[0] != both[1]);
    office.pass(Duration::from_secs(14));
    assert!(beeps(&mut office).is_empty());
    office.pass(Duration::from_secs(16));
    assert_eq!(beeps(&mut office), [&both[..1], &both[..1], &both[1..], &both[1..]].concat());
    act(&mut office, &id, RecordingAction::Pause);
    office.pass(Duration::from_secs(15));
    assert!(beeps(&mut office).is_empty(), "nothing is recorded");
    act(&mut office, &id, RecordingAction::Resume);
    office.pass(Duration::from_secs(15));
    assert_eq!(beeps(&mut office), both);
    act(&mut office, &id, RecordingAction::Stop);
    filed(&mut office, RecordingId(1), Filed::Complete { bytes: 9, millis: 1, sha256: [1; 32] });
    office.pass(Duration::from_secs(100));
    assert!(beeps(&mut office).is_empty());

    let mut once = Office::open_with(|config| config.recording.beep = Beep::Once);
    connected(&mut once);
    let id = call(&mut once);
    act(&mut once, &id, RecordingAction::Start);
    assert_eq!(beeps(&mut once).len(), 2);
    once.pass(Duration::from_secs(100));
    assert!(beeps(&mut once).is_empty());
}
