//! Calls are recorded by a command or by themselves, and what becomes of a recording never ends a call (S6, S177).

use std::time::Duration;

use centralita_switch::{Beep, CallsOf, Command, Input, RecordingAction, RecordingView, Reply};
use media::sdp::Codec;
use media::{Ended, FileFormat, FileResult, MediaCommand, MediaEvent, RecordingId, StartRecording as Tape};
use model::journal::Record;
use model::{CallId, Cause, RecordCalls, Recording, RecordingFormat, RecordingState};

use super::a_call_is_made::connected;
use crate::office::Office;
use crate::office::line::Line;
use crate::office::sdp::{formats, sdp};

fn call(office: &mut Office) -> CallId {
    match office.ask(Command::Calls { of: CallsOf::Everybody, after: None, limit: 10 }) {
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
        MediaCommand::StartRecording(tape) => Some(*tape),
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

fn filed(office: &mut Office, recording: RecordingId, file: FileResult) {
    office.feed(Input::Media(MediaEvent::FileClosed { recording, file }));
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
    assert_eq!(
        told,
        [MediaCommand::PauseRecording { recording }, MediaCommand::ResumeRecording { recording }]
    );
    act(&mut office, &id, RecordingAction::Stop).unwrap();
    assert_eq!(office.media.pop(), Some(MediaCommand::StopRecording { recording }));
    // Another one may begin while the first one's file is being closed.
    let next = act(&mut office, &id, RecordingAction::Start).unwrap();
    assert!(next.recording.id != begun.recording.id);
    filed(&mut office, recording, FileResult::Complete { bytes: 4_711, millis: 1_234, sha256: [0xab; 32] });
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
    filed(&mut office, recording, FileResult::DiskFull);
    assert_eq!(office.media, [MediaCommand::StopRecording { recording }]);
    let row = written(&office).pop().unwrap();
    assert_eq!((row.state, row.fault.as_deref()), (RecordingState::Failed, Some("disk_full")));
    // The worker's own report comes after it.
    let ended = Ended::Stopped;
    office.feed(Input::Media(MediaEvent::Recorded { recording, millis: 5, sound_millis: 5, ended }));
    filed(&mut office, recording, FileResult::Complete { bytes: 1, millis: 1, sha256: [0; 32] });
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
    filed(&mut office, recording, FileResult::Complete { bytes: 9, millis: 700, sha256: [1; 32] });
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
    filed(&mut office, RecordingId(1), FileResult::Complete { bytes: 9, millis: 1, sha256: [1; 32] });
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

/// A description with codecs beyond G.711: 9 is G.722, 96 Opus.
fn wide(host: u8, codecs: &str) -> String {
    sdp(&format!("10.0.0.{host}"), 30_000, codecs, "sendrecv") + "a=rtpmap:96 opus/48000/2\r\n"
}

/// A call of 1001 to 1002 that is up: what the caller offers, and what the callee answers.
fn connected_by(office: &mut Office, offered: &str, answered: &str) -> (Line, Line) {
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    let mut caller = office.call(&ana, "1002", Some(&wide(11, offered)));
    let callee = office.rung(&benito);
    office.answer(&callee, 200, Some(&wide(12, answered)));
    let ok = office.last(&ana);
    office.acknowledge(&mut caller, &ok, None);
    office.heard(&benito);
    (caller, callee)
}

/// What the streams have agreed on since it was last asked.
fn agreed(office: &mut Office) -> Vec<Codec> {
    let codec = |command: MediaCommand| match command {
        MediaCommand::Negotiated { negotiated, .. } => Some(negotiated.codec),
        _ => None,
    };
    std::mem::take(&mut office.media).into_iter().filter_map(codec).collect()
}

#[test]
fn a_call_that_will_be_recorded_speaks_g711_from_the_start_and_when_it_changes() {
    // S177
    for (caller_wants, callee_wants, to_callee) in [
        (RecordCalls::Default, RecordCalls::Default, "9 96 0 101 8"),
        (RecordCalls::Outbound, RecordCalls::Default, "0 101 8"),
        (RecordCalls::Default, RecordCalls::Inbound, "0 101 8"),
        (RecordCalls::Inbound, RecordCalls::Outbound, "9 96 0 101 8"),
    ] {
        let mut office = Office::open();
        office.change_extension("1001", |e| e.record_calls = caller_wants);
        office.change_extension("1002", |e| e.record_calls = callee_wants);
        let (ana, benito) = (office.phone("1001"), office.phone("1002"));
        office.register(&benito);
        let mut caller = office.call(&ana, "1002", Some(&wide(11, "9 96 0 101")));
        let callee = office.rung(&benito);
        assert_eq!(formats(&callee.invite.body()), to_callee, "{caller_wants:?} {callee_wants:?}");
        office.answer(&callee, 200, Some(&wide(12, to_callee)));
        let ok = office.last(&ana);
        office.acknowledge(&mut caller, &ok, None);
        office.heard(&benito);
        let recorded = to_callee == "0 101 8";
        assert_eq!(agreed(&mut office).iter().all(Codec::is_g711), recorded);
        // A phone that offers everything again, as with hold, changes nothing.
        let hold = wide(11, "9 96 0 101").replace("sendrecv", "sendonly");
        office.within(&mut caller, "INVITE", "", Some(&hold));
        assert_eq!(formats(&office.last(&benito).body()), to_callee);
    }
}

#[test]
fn phones_that_speak_something_else_are_asked_for_g711_when_a_recording_begins() {
    let mut office = Office::open();
    let (caller, callee) = connected_by(&mut office, "9 96 0 101", "9 0 101");
    assert!(agreed(&mut office).iter().all(|codec| codec.name() == "G722"));
    let id = call(&mut office);
    let begun = act(&mut office, &id, RecordingAction::Start).unwrap();
    assert_eq!(tapes(&mut office).len(), 1);
    assert!(office.heard(&caller.phone).is_empty(), "one after the other");
    for line in [&callee, &caller] {
        let reinvite = office.last(&line.phone);
        assert_eq!((reinvite.method().as_str(), &*formats(&reinvite.body())), ("INVITE", "0 101 8"));
        office.respond(line, &reinvite, 200, "", Some(&wide(11, "0 101")));
        assert_eq!(agreed(&mut office), [Codec::Pcmu]);
        assert_eq!(office.summary(&line.phone), "ACK");
    }
    assert_eq!(act(&mut office, &id, RecordingAction::Start).unwrap().recording.id, begun.recording.id);
    assert_eq!(office.summary(&callee.phone) + &office.summary(&caller.phone), "");
    filed(&mut office, RecordingId(1), FileResult::Complete { bytes: 9, millis: 1, sha256: [1; 32] });
    assert_eq!(written(&office).pop().unwrap().state, RecordingState::Complete);
}

#[test]
fn a_phone_that_refuses_g711_ends_the_recording_as_failed_and_keeps_its_call() {
    for refuses in ["callee", "caller"] {
        let mut office = Office::open();
        let (caller, callee) = connected_by(&mut office, "9 0 101", "9 0 101");
        let id = call(&mut office);
        act(&mut office, &id, RecordingAction::Start).unwrap();
        let recording = tapes(&mut office)[0].recording;
        let mut line = &callee;
        let mut reinvite = office.last(&line.phone);
        if refuses == "caller" {
            office.respond(line, &reinvite, 200, "", Some(&wide(12, "0 101")));
            office.heard(&callee.phone);
            line = &caller;
            reinvite = office.last(&line.phone);
        }
        office.respond(line, &reinvite, 488, "", None);
        assert!(office.media.contains(&MediaCommand::StopRecording { recording }), "{refuses}");
        filed(&mut office, recording, FileResult::Complete { bytes: 9, millis: 1, sha256: [1; 32] });
        let row = written(&office).pop().unwrap();
        assert_eq!((row.state, row.fault.as_deref()), (RecordingState::Failed, Some("codec_not_recordable")));
        if refuses == "caller" {
            let back = office.last(&callee.phone);
            assert_eq!(formats(&back.body()), "9 0 101 8", "they speak as before");
        }
        assert_eq!(office.status().active_calls, 1);
    }
}

#[test]
fn a_recording_of_phones_without_g711_is_refused_or_written_down_as_failed() {
    let mut office = Office::open();
    connected_by(&mut office, "96", "96");
    let id = call(&mut office);
    let start = Command::Recording { call: id.clone(), action: RecordingAction::Start };
    assert_eq!(office.ask(start), Reply::Refused(Cause::CodecNotRecordable));
    assert_eq!((tapes(&mut office).len(), written(&office).len()), (0, 0));

    let mut office = Office::open_with(|config| config.recording.calls = RecordCalls::All);
    connected_by(&mut office, "96", "96");
    assert!(tapes(&mut office).is_empty());
    let rows = written(&office);
    assert_eq!((rows.len(), rows[0].state), (1, RecordingState::Failed));
    assert_eq!((rows[0].fault.as_deref(), rows[0].ended_at.is_some()), (Some("codec_not_recordable"), true));
    assert_eq!(office.status().active_calls, 1);
}
