//! Voicemail: deposit of messages, the user's menu, DTMF, recordings, and outputs to the server (S72, S73).

use std::sync::Arc;
use std::time::Duration;

use base::{Secret, Timestamp};
use centralita_switch::voicemail::{Audio, VoicemailEffect};
use centralita_switch::{CallsOf, Command, Input, RecordingAction, Reply, limits};
use media::sdp::Codec;
use media::{
    DtmfMode, Ended, FileFormat, FileResult, MediaCommand, MediaEvent, PlayId, RecordingId, StartRecording,
    StreamId,
};
use model::voicemail::{Fact, MESSAGES_PER_BOX, PinKey, PinProof};
use model::{CallStatus, Cause, Change, ExtensionId, Mailbox, MessageId, MessageState, VoicemailMessage};

use crate::test_switch::dialog::TestDialog;
use crate::test_switch::sdp::{formats, sdp};
use crate::test_switch::{TestSwitch, user};

const KEY: [u8; 32] = [5; 32];

fn key() -> PinKey {
    Secret::new(KEY)
}

fn benito() -> ExtensionId {
    ExtensionId::parse("ext_1002").unwrap()
}

pub fn message(name: &str, state: MessageState) -> VoicemailMessage {
    VoicemailMessage {
        id: MessageId::parse(name).unwrap(),
        extension: benito(),
        user: user("benito"),
        state,
        from_number: "1001".into(),
        call: None,
        left_at: Timestamp::default(),
        millis: 2_000,
        heard_at: None,
    }
}

/// A switch in which 1002 has voicemail.
pub fn open() -> TestSwitch {
    let mut pbx = TestSwitch::open_with(|config| config.pin_key = key());
    pbx.change_extension("1002", |extension| extension.voicemail_enabled = true);
    pbx
}

impl TestSwitch {
    /// Stream, playback and length of the clip that is played.
    fn playing(&self) -> (StreamId, PlayId, usize) {
        let play = |command: &MediaCommand| match command {
            MediaCommand::Play { stream, play, clip } => Some((*stream, *play, clip.len())),
            _ => None,
        };
        self.media.iter().rev().find_map(play).expect("a playback")
    }

    /// The playback ends.
    fn finish_playback(&mut self) {
        let (stream, play, _) = self.playing();
        self.feed(Input::Media(MediaEvent::PlaybackFinished { stream, play }));
    }

    fn press(&mut self, keys: &str) {
        let (stream, ..) = self.playing();
        for digit in keys.chars() {
            self.feed(Input::Media(MediaEvent::Digit { stream, digit, millis: 100 }));
        }
    }

    /// The recording that was started last.
    fn recording(&self) -> StartRecording {
        let record = |command: &MediaCommand| match command {
            MediaCommand::StartRecording(record) => Some((**record).clone()),
            _ => None,
        };
        self.media.iter().rev().find_map(record).expect("a recording")
    }

    fn is_stopped(&self, recording: RecordingId) -> bool {
        self.media.contains(&MediaCommand::StopRecording { recording })
    }

    /// A recording ends with this length, and its file is closed.
    fn recorded(&mut self, millis: u32, sound_millis: u32) {
        let recording = self.recording().recording;
        let ended = Ended::Stopped;
        self.feed(Input::Media(MediaEvent::Recorded { recording, millis, sound_millis, ended }));
        let file = FileResult::Complete { bytes: 9, millis: u64::from(millis), sha256: [0; 32] };
        self.feed(Input::Media(MediaEvent::FileClosed { recording, file }));
    }

    /// 1001 calls 1002, which does not answer, and is connected to the greeting.
    fn call_to_greeting(&mut self) -> TestDialog {
        let ana = self.phone("1001");
        let mut caller = self.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0 101", "sendrecv")));
        let ok = self.last(&ana);
        self.send_ack(&mut caller, &ok, None);
        caller
    }

    /// The same, up to the recording after the beep.
    fn call_to_recording(&mut self) -> TestDialog {
        let caller = self.call_to_greeting();
        self.finish_playback();
        assert_eq!(self.playing().2, 3_200, "the beep");
        self.finish_playback();
        caller
    }

    /// 1002's phone dials a number and is answered.
    fn dial_and_ack(&mut self, number: &str, formats: &str) -> TestDialog {
        let phone = self.phone("1002");
        if self.registrations().is_empty() {
            self.register(&phone);
        }
        let mut dialog = self.call(&phone, number, Some(&sdp("10.0.0.12", 31_000, formats, "sendrecv")));
        let ok = self.last(&phone);
        self.send_ack(&mut dialog, &ok, None);
        dialog
    }

    fn with_pin(&mut self, pin: &str) {
        let authorization = Some(PinProof::new(&key(), &benito(), pin));
        self.change(vec![Change::Mailbox(Mailbox { pin: authorization, ..Mailbox::of(benito()) })]);
    }
}

#[test]
fn an_unanswered_call_hears_greeting_and_beep_and_its_message_is_stored() {
    let mut pbx = open();
    let ana = pbx.phone("1001");
    let mut caller = pbx.call_to_recording();
    let record = pbx.recording(); // S72
    assert_eq!(
        (record.format, record.right, record.longest),
        (FileFormat::Opus, None, Some(Duration::from_secs(180)))
    );
    let [VoicemailEffect::Fact(Fact::Begun(begun))] = &pbx.voicemail_effects[..] else {
        panic!("{:?}", pbx.voicemail_effects)
    };
    assert_eq!(
        (&begun.extension, begun.state, begun.from_number.as_str()),
        (&benito(), MessageState::Recording, "1001")
    );
    assert_eq!(*record.name, format!("voicemail/ext_1002/{}", begun.id));
    let begun = begun.clone();

    pbx.advance(Duration::from_secs(9));
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    assert_eq!(pbx.summary(&ana), "200");
    assert_eq!(pbx.voicemail_effects.len(), 1, "not before the file is closed");
    pbx.recorded(9_000, 4_000);
    let left = VoicemailMessage { state: MessageState::New, millis: 9_000, ..begun };
    assert_eq!(pbx.voicemail_effects[1..], [VoicemailEffect::Fact(Fact::Left(left))]);
    let record = pbx.record();
    assert_eq!((record.status, record.cause), (CallStatus::Completed, Some(Cause::Completed)));
    assert!(
        record.trace.iter().any(|step| step.rule == "voicemail" && step.outcome.starts_with("unreachable"))
    );
    pbx.assert_idle();
}

#[test]
fn a_caller_before_the_prompts_are_loaded_hears_the_greeting_once_they_are() {
    let mut pbx = open(); // S72
    pbx.load_prompts = false;
    pbx.crash();
    let caller = pbx.call_to_greeting();
    let plays = |pbx: &TestSwitch| pbx.media.iter().any(|c| matches!(c, MediaCommand::Play { .. }));
    pbx.advance(Duration::from_secs(1));
    assert!(!plays(&pbx), "no prompts");
    pbx.feed(Input::Prompts(Arc::default()));
    assert!(plays(&pbx));
    pbx.finish_playback();
    assert_eq!(pbx.playing().2, 3_200, "the beep");
    drop(caller);
    // The prompts are never loaded: the message is recorded nevertheless.
    pbx.load_prompts = false;
    pbx.crash();
    pbx.call_to_greeting();
    pbx.advance(Duration::from_secs(6));
    pbx.finish_playback();
    assert_eq!(pbx.playing().2, 3_200, "the beep");
}

#[test]
fn hash_silence_and_the_maximum_length_end_a_message_and_the_call() {
    for end in ["hash", "quiet", "longest"] {
        let mut pbx = open();
        let ana = pbx.phone("1001");
        pbx.call_to_recording();
        let recording = pbx.recording().recording;
        match end {
            "hash" => pbx.press("#"),
            "quiet" => pbx.feed(Input::Media(MediaEvent::SilenceDetected { recording })),
            _ => {}
        }
        assert_eq!(pbx.is_stopped(recording), end != "longest", "{end}");
        pbx.recorded(180_000, 100_000);
        pbx.finish_playback();
        assert_eq!(pbx.summary(&ana), "BYE", "{end}");
        assert!(
            matches!(&pbx.voicemail_effects[1], VoicemailEffect::Fact(Fact::Left(m)) if m.millis == 180_000),
            "{end}"
        );
    }
}

#[test]
fn an_in_band_hash_ends_a_message_only_if_it_is_longer_than_talk_off() {
    for (events, mode, short, long) in
        [("0 101", DtmfMode::Events, true, true), ("0", DtmfMode::Tones, false, true)]
    {
        for (millis, ends) in [(limits::KEY_WITHIN_SPEECH_MILLIS - 1, short), (100, long)] {
            let mut pbx = open();
            let ana = pbx.phone("1001");
            let mut caller = pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, events, "sendrecv")));
            let ok = pbx.last(&ana);
            pbx.send_ack(&mut caller, &ok, None);
            let (stream, ..) = pbx.playing();
            assert!(pbx.media.contains(&MediaCommand::SetDtmfMode { stream, digits: mode })); // S72
            // It stops the greeting, however short it is.
            pbx.feed(Input::Media(MediaEvent::Digit { stream, digit: '#', millis: 45 }));
            assert_eq!(pbx.playing().2, 3_200, "the beep");
            pbx.finish_playback();
            pbx.feed(Input::Media(MediaEvent::Digit { stream, digit: '#', millis }));
            let recording = pbx.recording().recording;
            assert_eq!(pbx.is_stopped(recording), ends, "{events} {millis}");
        }
    }
}

#[test]
fn a_caller_with_early_media_in_another_codec_renegotiates_g711_for_voicemail() {
    let wide = |ip, codecs| sdp(ip, 30_000, codecs, "sendrecv") + "a=rtpmap:96 opus/48000/2\r\n";
    let mut pbx = open();
    let (ana, phone) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&phone);
    let mut caller = pbx.call(&ana, "1002", Some(&wide("10.0.0.11", "96 0 101")));
    let callee = pbx.expect_invite(&phone);
    pbx.answer(&callee, 183, Some(&wide("10.0.0.12", "96 101")));
    pbx.advance(Duration::from_secs(31));
    let ok = pbx.last(&ana);
    assert_eq!(formats(&ok.body()), "96 101", "as in the 183");
    pbx.send_ack(&mut caller, &ok, None);
    let reinvite = pbx.last(&ana);
    assert_eq!((reinvite.method().as_str(), &*formats(&reinvite.body())), ("INVITE", "0 101 8"));
    pbx.respond(&caller, &reinvite, 200, "", Some(&wide("10.0.0.11", "0 101")));
    let agreed = pbx.media.iter().rev().find_map(|command| match command {
        MediaCommand::Negotiated { negotiated, .. } => Some(negotiated.codec.clone()),
        _ => None,
    });
    assert_eq!(agreed, Some(Codec::Pcmu));
}

#[test]
fn a_silent_caller_leaves_no_message() {
    let mut pbx = open();
    let mut caller = pbx.call_to_recording();
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    pbx.recorded(5_000, limits::SOUND_MILLIS - 1);
    assert!(
        matches!(pbx.voicemail_effects[1..], [VoicemailEffect::Fact(Fact::Dropped(_))]),
        "{:?}",
        pbx.voicemail_effects
    );

    // A caller who hangs up before the beep leaves no message either.
    let mut pbx = open();
    let mut caller = pbx.call_to_greeting();
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    assert_eq!(pbx.voicemail_effects, []);
    pbx.assert_idle();
}

#[test]
fn busy_declined_and_unanswered_calls_go_to_voicemail_and_others_do_not() {
    for (status, seconds) in [(Some(486), 0), (Some(603), 0), (None, 31)] {
        let mut pbx = open();
        let (ana, phone) = (pbx.phone("1001"), pbx.phone("1002"));
        pbx.register(&phone);
        pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0 101", "sendrecv")));
        let callee = pbx.expect_invite(&phone);
        pbx.answer(&callee, 180, None);
        if let Some(status) = status {
            pbx.answer(&callee, status, None);
        }
        pbx.advance(Duration::from_secs(seconds));
        let received = pbx.summary(&ana);
        assert!(received.starts_with("100 180 200"), "{status:?}: {received}"); // S73
        assert_eq!(pbx.status().active_calls, 1);
    }
    let mut pbx = open();
    let (ana, phone) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&phone);
    pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0 101", "sendrecv")));
    let callee = pbx.expect_invite(&phone);
    pbx.answer(&callee, 488, None);
    assert_eq!(pbx.summary(&ana), "100 488");
    // Nor with voicemail disabled.
    let ana = pbx.phone("1001");
    pbx.call(&ana, "1003", Some(&sdp("10.0.0.11", 30_000, "0 101", "sendrecv")));
    assert_eq!(pbx.summary(&ana), "100 480");
}

#[test]
fn an_answer_after_voicemail_took_the_call_gets_ack_and_bye() {
    let mut pbx = open();
    let (ana, phone) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&phone);
    pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0 101", "sendrecv")));
    let callee = pbx.expect_invite(&phone);
    pbx.answer(&callee, 180, None);
    pbx.advance(Duration::from_secs(31));
    pbx.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    assert!(pbx.summary(&phone).ends_with("ACK BYE"));
    assert_eq!(pbx.status().active_calls, 1, "the caller stays");
}

#[test]
fn the_users_greeting_is_played_or_the_prompt_if_it_cannot_be_loaded() {
    for clip in [Some(vec![7_i16; 800].into()), None] {
        let mut pbx = open();
        let mailbox = Mailbox { greeting_at: Some(Timestamp::default()), ..Mailbox::of(benito()) };
        pbx.change(vec![Change::Mailbox(mailbox)]);
        pbx.call_to_greeting();
        let voicemail_effects = pbx.voicemail_effects.clone();
        let [VoicemailEffect::Fetch { token, extension, audio: Audio::Greeting }] = &voicemail_effects[..]
        else {
            panic!("{:?}", pbx.voicemail_effects)
        };
        assert_eq!(*extension, benito());
        let samples = clip.as_ref().map_or(0, |clip: &std::sync::Arc<[i16]>| clip.len());
        pbx.feed(Input::Fetched { token: *token, clip });
        assert_eq!(pbx.playing().2, samples);
        pbx.finish_playback();
        assert_eq!(pbx.playing().2, 3_200, "the beep");
    }
}

#[test]
fn a_full_mailbox_accepts_no_message() {
    let mut pbx = open();
    let all =
        (0..MESSAGES_PER_BOX).map(|n| Change::Message(message(&format!("vm_{n:03}"), MessageState::Heard)));
    pbx.change(all.collect());
    pbx.call_to_greeting();
    pbx.finish_playback();
    assert_eq!(pbx.voicemail_effects, []);
    assert!(!pbx.media.iter().any(|command| matches!(command, MediaCommand::StartRecording(_))));
}

#[test]
fn the_user_listens_saves_and_deletes_by_dtmf() {
    let mut pbx = open();
    pbx.with_pin("4711");
    let phone = pbx.phone("1002");
    pbx.register(&phone);
    pbx.change(vec![
        Change::Message(message("vm_1", MessageState::New)),
        Change::Message(message("vm_2", MessageState::New)),
    ]);
    pbx.dial_and_ack("*97", "0 101");
    pbx.finish_playback();
    pbx.press("4711#1");
    let Some(VoicemailEffect::Fetch { token, audio, .. }) = pbx.voicemail_effects.pop() else {
        panic!("{:?}", pbx.voicemail_effects)
    };
    assert_eq!(audio, Audio::Message(MessageId::parse("vm_1").unwrap()));
    pbx.feed(Input::Fetched { token, clip: Some(vec![9; 1_000].into()) });
    assert_eq!(pbx.playing().2, 1_000);
    pbx.finish_playback();
    let heard_fact = |id: &str, state| {
        VoicemailEffect::Fact(Fact::Marked { extension: benito(), id: MessageId::parse(id).unwrap(), state })
    };
    assert_eq!(pbx.voicemail_effects, [heard_fact("vm_1", MessageState::Heard)]);
    pbx.press("9");
    assert_eq!(pbx.voicemail_effects[1], heard_fact("vm_1", MessageState::Saved));
    pbx.press("7");
    let deleted = Fact::Deleted { extension: benito(), id: MessageId::parse("vm_2").unwrap() };
    assert_eq!(pbx.voicemail_effects[3], VoicemailEffect::Fact(deleted));
    pbx.press("*#");
    pbx.finish_playback();
    let phone = pbx.phone("1002");
    assert_eq!(pbx.summary(&phone), "BYE");
}

#[test]
fn digits_arrive_as_rtp_events_as_info_and_in_band() {
    for (kind, body) in
        [("application/dtmf-relay", "Signal=4\r\nDuration=160\r\n"), ("application/dtmf", "4")]
    {
        let mut pbx = open();
        pbx.with_pin("4711");
        let mut dialog = pbx.dial_and_ack("*97", "0 101");
        assert!(
            pbx.media.iter().any(|c| matches!(c, MediaCommand::SetDtmfMode { digits: DtmfMode::Events, .. }))
        );
        // A digit that a phone sends both as RTP event and as INFO counts once.
        pbx.press("4");
        info(&mut pbx, &mut dialog, kind, body);
        pbx.advance(Duration::from_secs(1));
        info(&mut pbx, &mut dialog, kind, &body.replace('4', "7"));
        pbx.advance(Duration::from_secs(1));
        info(&mut pbx, &mut dialog, kind, &body.replace('4', "1"));
        info(&mut pbx, &mut dialog, kind, &body.replace('4', "1"));
        info(&mut pbx, &mut dialog, kind, &body.replace('4', "#"));
        // 4711 with two ones: the menu is played, and its first option plays a message.
        pbx.change(vec![]);
        pbx.press("0");
        pbx.finish_playback();
        pbx.finish_playback();
        assert!(pbx.media.iter().any(|c| matches!(c, MediaCommand::StartRecording(_))), "{kind}"); // S72
    }
    let mut pbx = open();
    pbx.dial_and_ack("*97", "0");
    assert!(pbx.media.iter().any(|c| matches!(c, MediaCommand::SetDtmfMode { digits: DtmfMode::Tones, .. })));
}

fn info(pbx: &mut TestSwitch, dialog: &mut TestDialog, kind: &str, body: &str) {
    dialog.cseq += 1;
    let text = format!(
        "INFO {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={};rport\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\n\
         CSeq: {} INFO\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        dialog.target,
        dialog.phone.address,
        pbx.branch(),
        dialog.local,
        dialog.remote,
        dialog.call_id,
        dialog.cseq,
        body.len()
    );
    pbx.send_from(dialog.phone.address, text);
}

/// Ban in seconds of a record of a failed authentication.
fn banned(record: &model::journal::Record) -> Option<u32> {
    match record {
        model::journal::Record::Noted(model::journal::CallEvent::WrongAnswer { banned_seconds, .. }) => {
            Some(*banned_seconds)
        }
        _ => None,
    }
}

#[test]
fn three_wrong_pins_end_the_call_and_ten_ban_the_address() {
    let mut pbx = open();
    pbx.with_pin("4711");
    let phone = pbx.phone("1002");
    for call in 0..3 {
        pbx.dial_and_ack("*97", "0 101");
        for wrong in ["1111#", "2222#", "3333#"] {
            assert_eq!(pbx.status().active_calls, 1, "{call} {wrong}");
            pbx.press(wrong);
        }
        pbx.finish_playback();
        assert!(pbx.summary(&phone).ends_with("BYE"));
        assert_eq!(pbx.status().active_calls, 0);
        pbx.advance(Duration::from_secs(1));
    }
    assert_eq!(pbx.status().counters.wrong_passwords, 9);
    pbx.dial_and_ack("*97", "0 101");
    pbx.press("9999#"); // the tenth
    let bans: Vec<u32> = pbx.journal.iter().filter_map(banned).collect();
    assert_eq!(bans, [0, 60], "the first failure and the ban are reported"); // security.md row 1
    pbx.press("4711#0");
    pbx.finish_playback();
    pbx.finish_playback();
    assert!(
        !pbx.media.iter().any(|c| matches!(c, MediaCommand::StartRecording(_))),
        "the right one comes too late"
    );
}

#[test]
fn a_mailbox_without_pin_opens_to_its_own_phone_only() {
    let mut pbx = open();
    pbx.dial_and_ack("*97", "0 101");
    pbx.press("0");
    pbx.finish_playback();
    pbx.finish_playback();
    assert!(pbx.recording().name.starts_with("voicemail/ext_1002/greeting-"));

    let mut pbx = open();
    let ana = pbx.phone("1001");
    let mut dialog = pbx.call(&ana, "*98", Some(&sdp("10.0.0.11", 30_000, "0 101", "sendrecv")));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut dialog, &ok, None);
    pbx.press("1002##*"); // a star restarts the number
    pbx.finish_playback();
    pbx.finish_playback();
    assert!(!pbx.media.iter().any(|c| matches!(c, MediaCommand::StartRecording(_))));
    pbx.with_pin("4711");
    pbx.press("1002#4711#0");
    pbx.finish_playback();
    pbx.finish_playback();
    assert!(pbx.recording().name.starts_with("voicemail/ext_1002/greeting-"));
}

#[test]
fn a_greeting_is_used_once_its_user_has_confirmed_it() {
    let mut pbx = open();
    let mut dialog = pbx.dial_and_ack("*97", "0 101");
    pbx.press("0");
    pbx.finish_playback();
    pbx.finish_playback();
    let name = pbx.recording().name;
    pbx.press("#");
    pbx.recorded(3_000, 2_000);
    assert_eq!(pbx.voicemail_effects, []);
    pbx.press("1");
    assert_eq!(pbx.voicemail_effects, [VoicemailEffect::Fact(Fact::Greeting { extension: benito(), name })]);
    // The next message is recorded, and then the user hangs up.
    pbx.press("0");
    pbx.finish_playback();
    pbx.finish_playback();
    let name = pbx.recording().name;
    pbx.press("#");
    pbx.recorded(3_000, 2_000);
    pbx.in_dialog_request(&mut dialog, "BYE", "", None);
    assert_eq!(pbx.voicemail_effects[1..], [VoicemailEffect::Fact(Fact::GreetingDropped { name })]);
    pbx.assert_idle();
}

#[test]
fn a_silent_media_worker_does_not_hold_a_caller_for_ever() {
    let mut pbx = open();
    pbx.call_to_greeting();
    pbx.advance(Duration::from_secs(40 * 60));
    assert_eq!(pbx.status().active_calls, 0);
}

#[test]
fn a_call_in_voicemail_is_answered_and_has_no_call_recording() {
    let mut pbx = open();
    pbx.call_to_recording();
    let everybody = Command::Calls { of: CallsOf::Everybody, after: None, limit: 10 };
    let Reply::Calls(calls) = pbx.command(everybody) else { panic!() };
    assert_eq!(calls[0].status, CallStatus::InProgress);
    let start = Command::Recording { call: calls[0].id.clone(), action: RecordingAction::Start };
    assert_eq!(pbx.command(start), Reply::NothingToRecord);
}
