//! Call recording by command and automatic; the end or failure of a recording never ends its call (S6, S177).

use std::time::Duration;

use centralita_switch::{Beep, CallsOf, Command, Input, RecordingAction, RecordingView, Reply};
use media::sdp::Codec;
use media::{Ended, FileFormat, FileResult, MediaCommand, MediaEvent, RecordingId, StartRecording};
use model::journal::Record;
use model::{CallId, Cause, RecordCalls, Recording, RecordingFormat, RecordingState};

use super::basic_calls::connected;
use crate::test_switch::TestSwitch;
use crate::test_switch::dialog::TestDialog;
use crate::test_switch::sdp::{formats, sdp};

fn call(pbx: &mut TestSwitch) -> CallId {
    match pbx.command(Command::Calls { of: CallsOf::Everybody, after: None, limit: 10 }) {
        Reply::Calls(calls) => calls[0].id.clone(),
        other => panic!("{other:?}"),
    }
}

fn recording_command(pbx: &mut TestSwitch, call: &CallId, action: RecordingAction) -> Option<RecordingView> {
    match pbx.command(Command::Recording { call: call.clone(), action }) {
        Reply::Recording(view) => view,
        other => panic!("{other:?}"),
    }
}

/// The `StartRecording` commands since the last query.
fn started_recordings(pbx: &mut TestSwitch) -> Vec<StartRecording> {
    let start = |command: MediaCommand| match command {
        MediaCommand::StartRecording(start) => Some(*start),
        _ => None,
    };
    std::mem::take(&mut pbx.media).into_iter().filter_map(start).collect()
}

fn recording_rows(pbx: &TestSwitch) -> Vec<Recording> {
    let row = |record: &Record| match record {
        Record::Recording(row) => Some((**row).clone()),
        _ => None,
    };
    pbx.journal.iter().filter_map(row).collect()
}

fn file_closed(pbx: &mut TestSwitch, recording: RecordingId, file: FileResult) {
    pbx.feed(Input::Media(MediaEvent::FileClosed { recording, file }));
}

#[test]
fn a_recording_is_started_paused_and_stopped_by_commands_and_journalled_twice() {
    let mut pbx = TestSwitch::open();
    connected(&mut pbx);
    let id = call(&mut pbx);
    assert_eq!(recording_command(&mut pbx, &id, RecordingAction::Pause), None, "nothing is recorded yet");
    let begun = recording_command(&mut pbx, &id, RecordingAction::Start).unwrap();
    assert_eq!((begun.recording.state, begun.paused), (RecordingState::Recording, false));
    let start = started_recordings(&mut pbx).pop().unwrap();
    assert_eq!((start.format, &*start.name), (FileFormat::Opus, begun.recording.name().as_str()));
    assert!(start.right.is_some_and(|right| right.0 > start.left.0), "the caller is on the left");
    assert_eq!(
        recording_command(&mut pbx, &id, RecordingAction::Start).unwrap().recording.id,
        begun.recording.id
    );
    assert!(started_recordings(&mut pbx).is_empty());
    let recording = start.recording;
    assert!(recording_command(&mut pbx, &id, RecordingAction::Pause).unwrap().paused);
    assert!(recording_command(&mut pbx, &id, RecordingAction::Show).unwrap().paused);
    assert!(!recording_command(&mut pbx, &id, RecordingAction::Resume).unwrap().paused);
    let commands = std::mem::take(&mut pbx.media);
    assert_eq!(
        commands,
        [MediaCommand::PauseRecording { recording }, MediaCommand::ResumeRecording { recording }]
    );
    recording_command(&mut pbx, &id, RecordingAction::Stop).unwrap();
    assert_eq!(pbx.media.pop(), Some(MediaCommand::StopRecording { recording }));
    // A new recording may start while the file of the first one is being closed.
    let next = recording_command(&mut pbx, &id, RecordingAction::Start).unwrap();
    assert!(next.recording.id != begun.recording.id);
    file_closed(
        &mut pbx,
        recording,
        FileResult::Complete { bytes: 4_711, millis: 1_234, sha256: [0xab; 32] },
    );
    let rows: Vec<_> = recording_rows(&pbx).into_iter().filter(|row| row.id == begun.recording.id).collect();
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
fn extensions_with_automatic_recording_are_recorded_from_the_answer() {
    for (caller, callee, default, for_whom) in [
        (RecordCalls::Default, RecordCalls::Default, RecordCalls::None, None),
        (RecordCalls::Default, RecordCalls::Default, RecordCalls::All, Some("1001")),
        (RecordCalls::Default, RecordCalls::Default, RecordCalls::Inbound, Some("1002")),
        (RecordCalls::Outbound, RecordCalls::None, RecordCalls::None, Some("1001")),
        (RecordCalls::Inbound, RecordCalls::Outbound, RecordCalls::None, None),
        (RecordCalls::None, RecordCalls::All, RecordCalls::None, Some("1002")),
        (RecordCalls::None, RecordCalls::None, RecordCalls::All, None),
    ] {
        let mut pbx = TestSwitch::open_with(|config| {
            (config.recording.calls, config.recording.format) = (default, RecordingFormat::Wav);
        });
        pbx.change_extension("1001", |e| e.record_calls = caller);
        pbx.change_extension("1002", |e| e.record_calls = callee);
        connected(&mut pbx);
        let started_recordings = started_recordings(&mut pbx);
        let rows = recording_rows(&pbx);
        let found = rows.first().and_then(|row| row.extension.as_deref());
        assert_eq!(found, for_whom, "{caller:?} {callee:?} {default:?}");
        assert_eq!(
            (started_recordings.len(), rows.len()),
            (usize::from(for_whom.is_some()), started_recordings.len())
        );
        assert!(started_recordings.iter().all(|start| start.format == FileFormat::Wav));
    }
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_call() {
    let mut pbx = TestSwitch::open();
    connected(&mut pbx);
    let id = call(&mut pbx);
    recording_command(&mut pbx, &id, RecordingAction::Start);
    let recording = started_recordings(&mut pbx)[0].recording;
    file_closed(&mut pbx, recording, FileResult::DiskFull);
    assert_eq!(pbx.media, [MediaCommand::StopRecording { recording }]);
    let row = recording_rows(&pbx).pop().unwrap();
    assert_eq!((row.state, row.fault.as_deref()), (RecordingState::Failed, Some("disk_full")));
    // The worker's own event follows it.
    let ended = Ended::Stopped;
    pbx.feed(Input::Media(MediaEvent::Recorded { recording, millis: 5, sound_millis: 5, ended }));
    file_closed(&mut pbx, recording, FileResult::Complete { bytes: 1, millis: 1, sha256: [0; 32] });
    assert_eq!(recording_rows(&pbx).len(), 2);
    assert_eq!(pbx.status().active_calls, 1);
    assert_eq!(recording_command(&mut pbx, &id, RecordingAction::Stop), None);
}

#[test]
fn the_recording_of_an_ended_call_is_completed_when_its_file_closes() {
    let mut pbx = TestSwitch::open();
    connected(&mut pbx);
    let id = call(&mut pbx);
    recording_command(&mut pbx, &id, RecordingAction::Start);
    let recording = started_recordings(&mut pbx)[0].recording;
    pbx.command(Command::End { call: id.clone() });
    let ended = Ended::Left;
    pbx.feed(Input::Media(MediaEvent::Recorded { recording, millis: 700, sound_millis: 5, ended }));
    pbx.advance(Duration::from_secs(60));
    assert_eq!(pbx.command(Command::Recording { call: id, action: RecordingAction::Start }), Reply::Unknown);
    file_closed(&mut pbx, recording, FileResult::Complete { bytes: 9, millis: 700, sha256: [1; 32] });
    let row = recording_rows(&pbx).pop().unwrap();
    assert_eq!(row.state, RecordingState::Complete);
    assert!(row.ended_at.unwrap().since(row.started_at) < Duration::from_secs(1));
}

#[test]
fn both_parties_hear_the_recording_beep() {
    // S184
    let beeps = |pbx: &mut TestSwitch| {
        let all = std::mem::take(&mut pbx.media);
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
    let mut pbx =
        TestSwitch::open_with(|config| config.recording.beep = Beep::Every(Duration::from_secs(15)));
    connected(&mut pbx);
    let id = call(&mut pbx);
    assert!(beeps(&mut pbx).is_empty());
    recording_command(&mut pbx, &id, RecordingAction::Start);
    let both = beeps(&mut pbx);
    assert!(both.len() == 2 && both[0] != both[1]);
    pbx.advance(Duration::from_secs(14));
    assert!(beeps(&mut pbx).is_empty());
    pbx.advance(Duration::from_secs(16));
    assert_eq!(beeps(&mut pbx), [&both[..1], &both[..1], &both[1..], &both[1..]].concat());
    recording_command(&mut pbx, &id, RecordingAction::Pause);
    pbx.advance(Duration::from_secs(15));
    assert!(beeps(&mut pbx).is_empty(), "nothing is recorded");
    recording_command(&mut pbx, &id, RecordingAction::Resume);
    pbx.advance(Duration::from_secs(15));
    assert_eq!(beeps(&mut pbx), both);
    recording_command(&mut pbx, &id, RecordingAction::Stop);
    file_closed(&mut pbx, RecordingId(1), FileResult::Complete { bytes: 9, millis: 1, sha256: [1; 32] });
    pbx.advance(Duration::from_secs(100));
    assert!(beeps(&mut pbx).is_empty());

    let mut once = TestSwitch::open_with(|config| config.recording.beep = Beep::Once);
    connected(&mut once);
    let id = call(&mut once);
    recording_command(&mut once, &id, RecordingAction::Start);
    assert_eq!(beeps(&mut once).len(), 2);
    once.advance(Duration::from_secs(100));
    assert!(beeps(&mut once).is_empty());
}

/// An SDP with codecs beyond G.711: 9 is G.722, 96 Opus.
fn wideband_sdp(host: u8, codecs: &str) -> String {
    sdp(&format!("10.0.0.{host}"), 30_000, codecs, "sendrecv") + "a=rtpmap:96 opus/48000/2\r\n"
}

/// A confirmed call of 1001 to 1002, with the codecs of the offer and of the answer.
fn connected_by(pbx: &mut TestSwitch, offered: &str, answered: &str) -> (TestDialog, TestDialog) {
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    let mut caller = pbx.call(&ana, "1002", Some(&wideband_sdp(11, offered)));
    let callee = pbx.expect_invite(&benito);
    pbx.answer(&callee, 200, Some(&wideband_sdp(12, answered)));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut caller, &ok, None);
    pbx.received(&benito);
    (caller, callee)
}

/// The codecs negotiated since the last query.
fn negotiated_codecs(pbx: &mut TestSwitch) -> Vec<Codec> {
    let codec = |command: MediaCommand| match command {
        MediaCommand::Negotiated { negotiated, .. } => Some(negotiated.codec),
        _ => None,
    };
    std::mem::take(&mut pbx.media).into_iter().filter_map(codec).collect()
}

#[test]
fn a_call_that_will_be_recorded_negotiates_g711_at_the_start_and_in_re_invites() {
    // S177
    for (caller_wants, callee_wants, to_callee) in [
        (RecordCalls::Default, RecordCalls::Default, "9 96 0 101 8"),
        (RecordCalls::Outbound, RecordCalls::Default, "0 101 8"),
        (RecordCalls::Default, RecordCalls::Inbound, "0 101 8"),
        (RecordCalls::Inbound, RecordCalls::Outbound, "9 96 0 101 8"),
    ] {
        let mut pbx = TestSwitch::open();
        pbx.change_extension("1001", |e| e.record_calls = caller_wants);
        pbx.change_extension("1002", |e| e.record_calls = callee_wants);
        let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
        pbx.register(&benito);
        let mut caller = pbx.call(&ana, "1002", Some(&wideband_sdp(11, "9 96 0 101")));
        let callee = pbx.expect_invite(&benito);
        assert_eq!(formats(&callee.invite.body()), to_callee, "{caller_wants:?} {callee_wants:?}");
        pbx.answer(&callee, 200, Some(&wideband_sdp(12, to_callee)));
        let ok = pbx.last(&ana);
        pbx.send_ack(&mut caller, &ok, None);
        pbx.received(&benito);
        let recorded = to_callee == "0 101 8";
        assert_eq!(negotiated_codecs(&mut pbx).iter().all(Codec::is_g711), recorded);
        // A phone that offers all codecs again, as for hold, changes nothing.
        let hold = wideband_sdp(11, "9 96 0 101").replace("sendrecv", "sendonly");
        pbx.in_dialog_request(&mut caller, "INVITE", "", Some(&hold));
        assert_eq!(formats(&pbx.last(&benito).body()), to_callee);
    }
}

#[test]
fn phones_with_another_codec_get_a_g711_offer_when_a_recording_starts() {
    let mut pbx = TestSwitch::open();
    let (caller, callee) = connected_by(&mut pbx, "9 96 0 101", "9 0 101");
    assert!(negotiated_codecs(&mut pbx).iter().all(|codec| codec.name() == "G722"));
    let id = call(&mut pbx);
    let begun = recording_command(&mut pbx, &id, RecordingAction::Start).unwrap();
    assert_eq!(started_recordings(&mut pbx).len(), 1);
    assert!(pbx.received(&caller.phone).is_empty(), "one after the other");
    for dialog in [&callee, &caller] {
        let reinvite = pbx.last(&dialog.phone);
        assert_eq!((reinvite.method().as_str(), &*formats(&reinvite.body())), ("INVITE", "0 101 8"));
        pbx.respond(dialog, &reinvite, 200, "", Some(&wideband_sdp(11, "0 101")));
        assert_eq!(negotiated_codecs(&mut pbx), [Codec::Pcmu]);
        assert_eq!(pbx.summary(&dialog.phone), "ACK");
    }
    assert_eq!(
        recording_command(&mut pbx, &id, RecordingAction::Start).unwrap().recording.id,
        begun.recording.id
    );
    assert_eq!(pbx.summary(&callee.phone) + &pbx.summary(&caller.phone), "");
    file_closed(&mut pbx, RecordingId(1), FileResult::Complete { bytes: 9, millis: 1, sha256: [1; 32] });
    assert_eq!(recording_rows(&pbx).pop().unwrap().state, RecordingState::Complete);
}

#[test]
fn a_phone_that_rejects_g711_fails_the_recording_and_keeps_its_call() {
    for refuses in ["callee", "caller"] {
        let mut pbx = TestSwitch::open();
        let (caller, callee) = connected_by(&mut pbx, "9 0 101", "9 0 101");
        let id = call(&mut pbx);
        recording_command(&mut pbx, &id, RecordingAction::Start).unwrap();
        let recording = started_recordings(&mut pbx)[0].recording;
        let mut dialog = &callee;
        let mut reinvite = pbx.last(&dialog.phone);
        if refuses == "caller" {
            pbx.respond(dialog, &reinvite, 200, "", Some(&wideband_sdp(12, "0 101")));
            pbx.received(&callee.phone);
            dialog = &caller;
            reinvite = pbx.last(&dialog.phone);
        }
        pbx.respond(dialog, &reinvite, 488, "", None);
        assert!(pbx.media.contains(&MediaCommand::StopRecording { recording }), "{refuses}");
        file_closed(&mut pbx, recording, FileResult::Complete { bytes: 9, millis: 1, sha256: [1; 32] });
        let row = recording_rows(&pbx).pop().unwrap();
        assert_eq!((row.state, row.fault.as_deref()), (RecordingState::Failed, Some("codec_not_recordable")));
        if refuses == "caller" {
            let back = pbx.last(&callee.phone);
            assert_eq!(formats(&back.body()), "9 0 101 8", "they speak as before");
        }
        assert_eq!(pbx.status().active_calls, 1);
    }
}

#[test]
fn a_recording_of_phones_without_g711_is_rejected_or_fails() {
    let mut pbx = TestSwitch::open();
    connected_by(&mut pbx, "96", "96");
    let id = call(&mut pbx);
    let start = Command::Recording { call: id.clone(), action: RecordingAction::Start };
    assert_eq!(pbx.command(start), Reply::Refused(Cause::CodecNotRecordable));
    assert_eq!((started_recordings(&mut pbx).len(), recording_rows(&pbx).len()), (0, 0));

    let mut pbx = TestSwitch::open_with(|config| config.recording.calls = RecordCalls::All);
    connected_by(&mut pbx, "96", "96");
    assert!(started_recordings(&mut pbx).is_empty());
    let rows = recording_rows(&pbx);
    assert_eq!((rows.len(), rows[0].state), (1, RecordingState::Failed));
    assert_eq!((rows[0].fault.as_deref(), rows[0].ended_at.is_some()), (Some("codec_not_recordable"), true));
    assert_eq!(pbx.status().active_calls, 1);
}
