//! Voicemail takes what nobody took, and its owner hears it: the calls, the keys, what is recorded and what the shell is told (S72, S73).

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

use crate::office::line::Line;
use crate::office::sdp::{formats, sdp};
use crate::office::{Office, user};

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

/// An office in which 1002 has voicemail.
pub fn open() -> Office {
    let mut office = Office::open_with(|config| config.pin_key = key());
    office.change_extension("1002", |extension| extension.voicemail_enabled = true);
    office
}

impl Office {
    /// What is being said now.
    fn playing(&self) -> (StreamId, PlayId, usize) {
        let play = |command: &MediaCommand| match command {
            MediaCommand::Play { stream, play, clip } => Some((*stream, *play, clip.len())),
            _ => None,
        };
        self.media.iter().rev().find_map(play).expect("something is said")
    }

    /// It is said to its end.
    fn said(&mut self) {
        let (stream, play, _) = self.playing();
        self.feed(Input::Media(MediaEvent::PlaybackFinished { stream, play }));
    }

    fn press(&mut self, keys: &str) {
        let (stream, ..) = self.playing();
        for digit in keys.chars() {
            self.feed(Input::Media(MediaEvent::Digit { stream, digit, millis: 100 }));
        }
    }

    /// The recording that was begun last.
    fn recording(&self) -> StartRecording {
        let record = |command: &MediaCommand| match command {
            MediaCommand::StartRecording(record) => Some((**record).clone()),
            _ => None,
        };
        self.media.iter().rev().find_map(record).expect("something is recorded")
    }

    fn is_stopped(&self, recording: RecordingId) -> bool {
        self.media.contains(&MediaCommand::StopRecording { recording })
    }

    /// A recording ends with so much in it, and its file is closed.
    fn recorded(&mut self, millis: u32, sound_millis: u32) {
        let recording = self.recording().recording;
        let ended = Ended::Stopped;
        self.feed(Input::Media(MediaEvent::Recorded { recording, millis, sound_millis, ended }));
        let file = FileResult::Complete { bytes: 9, millis: u64::from(millis), sha256: [0; 32] };
        self.feed(Input::Media(MediaEvent::FileClosed { recording, file }));
    }

    /// 1001 calls 1002, which nobody answers, and hears the greeting.
    fn greeted(&mut self) -> Line {
        let ana = self.phone("1001");
        let mut caller = self.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0 101", "sendrecv")));
        let ok = self.last(&ana);
        self.acknowledge(&mut caller, &ok, None);
        caller
    }

    /// … and speaks.
    fn speaking(&mut self) -> Line {
        let caller = self.greeted();
        self.said();
        assert_eq!(self.playing().2, 3_200, "the beep");
        self.said();
        caller
    }

    /// 1002's phone dials a number and is answered.
    fn dials(&mut self, number: &str, formats: &str) -> Line {
        let phone = self.phone("1002");
        if self.registrations().is_empty() {
            self.register(&phone);
        }
        let mut line = self.call(&phone, number, Some(&sdp("10.0.0.12", 31_000, formats, "sendrecv")));
        let ok = self.last(&phone);
        self.acknowledge(&mut line, &ok, None);
        line
    }

    fn with_pin(&mut self, pin: &str) {
        let proof = Some(PinProof::new(&key(), &benito(), pin));
        self.change(vec![Change::Mailbox(Mailbox { pin: proof, ..Mailbox::of(benito()) })]);
    }
}

#[test]
fn a_call_to_nobody_is_greeted_beeped_and_recorded_and_the_message_kept() {
    let mut office = open();
    let ana = office.phone("1001");
    let mut caller = office.speaking();
    let record = office.recording(); // S72
    assert_eq!(
        (record.format, record.right, record.longest),
        (FileFormat::Opus, None, Some(Duration::from_secs(180)))
    );
    let [VoicemailEffect::Fact(Fact::Begun(begun))] = &office.notes[..] else { panic!("{:?}", office.notes) };
    assert_eq!(
        (&begun.extension, begun.state, begun.from_number.as_str()),
        (&benito(), MessageState::Recording, "1001")
    );
    assert_eq!(*record.name, format!("voicemail/ext_1002/{}", begun.id));
    let begun = begun.clone();

    office.pass(Duration::from_secs(9));
    office.within(&mut caller, "BYE", "", None);
    assert_eq!(office.summary(&ana), "200");
    assert_eq!(office.notes.len(), 1, "not before it is in its file");
    office.recorded(9_000, 4_000);
    let left = VoicemailMessage { state: MessageState::New, millis: 9_000, ..begun };
    assert_eq!(office.notes[1..], [VoicemailEffect::Fact(Fact::Left(left))]);
    let record = office.record();
    assert_eq!((record.status, record.cause), (CallStatus::Completed, Some(Cause::Completed)));
    assert!(
        record.trace.iter().any(|step| step.rule == "voicemail" && step.outcome.starts_with("unreachable"))
    );
    office.is_at_rest();
}

#[test]
fn who_calls_before_the_prompts_are_read_is_greeted_when_they_are() {
    let mut office = open(); // S72
    office.speaks = false;
    office.crash();
    let caller = office.greeted();
    let plays = |office: &Office| office.media.iter().any(|c| matches!(c, MediaCommand::Play { .. }));
    office.pass(Duration::from_secs(1));
    assert!(!plays(&office), "there is nothing to say it with");
    office.feed(Input::Prompts(Arc::default()));
    assert!(plays(&office));
    office.said();
    assert_eq!(office.playing().2, 3_200, "the beep");
    drop(caller);
    // They never come: the caller can speak nevertheless.
    office.speaks = false;
    office.crash();
    office.greeted();
    office.pass(Duration::from_secs(6));
    office.said();
    assert_eq!(office.playing().2, 3_200, "the beep");
}

#[test]
fn hash_silence_and_the_longest_time_end_a_message_and_the_call() {
    for end in ["hash", "quiet", "longest"] {
        let mut office = open();
        let ana = office.phone("1001");
        office.speaking();
        let recording = office.recording().recording;
        match end {
            "hash" => office.press("#"),
            "quiet" => office.feed(Input::Media(MediaEvent::SilenceDetected { recording })),
            _ => {}
        }
        assert_eq!(office.is_stopped(recording), end != "longest", "{end}");
        office.recorded(180_000, 100_000);
        office.said();
        assert_eq!(office.summary(&ana), "BYE", "{end}");
        assert!(
            matches!(&office.notes[1], VoicemailEffect::Fact(Fact::Left(m)) if m.millis == 180_000),
            "{end}"
        );
    }
}

#[test]
fn a_hash_that_comes_as_a_tone_ends_a_message_if_it_is_held_longer_than_a_voice_sounds_like_one() {
    for (events, told, short, long) in
        [("0 101", DtmfMode::Events, true, true), ("0", DtmfMode::Tones, false, true)]
    {
        for (millis, ends) in [(limits::KEY_WITHIN_SPEECH_MILLIS - 1, short), (100, long)] {
            let mut office = open();
            let ana = office.phone("1001");
            let mut caller = office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, events, "sendrecv")));
            let ok = office.last(&ana);
            office.acknowledge(&mut caller, &ok, None);
            let (stream, ..) = office.playing();
            assert!(office.media.contains(&MediaCommand::SetDtmfMode { stream, digits: told })); // S72
            // It cuts the greeting short, however brief.
            office.feed(Input::Media(MediaEvent::Digit { stream, digit: '#', millis: 45 }));
            assert_eq!(office.playing().2, 3_200, "the beep");
            office.said();
            office.feed(Input::Media(MediaEvent::Digit { stream, digit: '#', millis }));
            let recording = office.recording().recording;
            assert_eq!(office.is_stopped(recording), ends, "{events} {millis}");
        }
    }
}

#[test]
fn a_caller_who_heard_a_phone_in_another_codec_speaks_g711_to_voicemail() {
    let wide = |ip, codecs| sdp(ip, 30_000, codecs, "sendrecv") + "a=rtpmap:96 opus/48000/2\r\n";
    let mut office = open();
    let (ana, phone) = (office.phone("1001"), office.phone("1002"));
    office.register(&phone);
    let mut caller = office.call(&ana, "1002", Some(&wide("10.0.0.11", "96 0 101")));
    let callee = office.rung(&phone);
    office.answer(&callee, 183, Some(&wide("10.0.0.12", "96 101")));
    office.pass(Duration::from_secs(31));
    let ok = office.last(&ana);
    assert_eq!(formats(&ok.body()), "96 101", "as it was told with the 183");
    office.acknowledge(&mut caller, &ok, None);
    let reinvite = office.last(&ana);
    assert_eq!((reinvite.method().as_str(), &*formats(&reinvite.body())), ("INVITE", "0 101 8"));
    office.respond(&caller, &reinvite, 200, "", Some(&wide("10.0.0.11", "0 101")));
    let agreed = office.media.iter().rev().find_map(|command| match command {
        MediaCommand::Negotiated { negotiated, .. } => Some(negotiated.codec.clone()),
        _ => None,
    });
    assert_eq!(agreed, Some(Codec::Pcmu));
}

#[test]
fn a_caller_who_says_nothing_leaves_nothing() {
    let mut office = open();
    let mut caller = office.speaking();
    office.within(&mut caller, "BYE", "", None);
    office.recorded(5_000, limits::SOUND_MILLIS - 1);
    assert!(matches!(office.notes[1..], [VoicemailEffect::Fact(Fact::Dropped(_))]), "{:?}", office.notes);

    // Who hangs up before the beep leaves nothing either.
    let mut office = open();
    let mut caller = office.greeted();
    office.within(&mut caller, "BYE", "", None);
    assert_eq!(office.notes, []);
    office.is_at_rest();
}

#[test]
fn busy_declined_and_unanswered_calls_go_there_and_others_do_not() {
    for (status, seconds) in [(Some(486), 0), (Some(603), 0), (None, 31)] {
        let mut office = open();
        let (ana, phone) = (office.phone("1001"), office.phone("1002"));
        office.register(&phone);
        office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0 101", "sendrecv")));
        let callee = office.rung(&phone);
        office.answer(&callee, 180, None);
        if let Some(status) = status {
            office.answer(&callee, status, None);
        }
        office.pass(Duration::from_secs(seconds));
        let heard = office.summary(&ana);
        assert!(heard.starts_with("100 180 200"), "{status:?}: {heard}"); // S73
        assert_eq!(office.status().active_calls, 1);
    }
    let mut office = open();
    let (ana, phone) = (office.phone("1001"), office.phone("1002"));
    office.register(&phone);
    office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0 101", "sendrecv")));
    let callee = office.rung(&phone);
    office.answer(&callee, 488, None);
    assert_eq!(office.summary(&ana), "100 488");
    // And not where it is switched off.
    let ana = office.phone("1001");
    office.call(&ana, "1003", Some(&sdp("10.0.0.11", 30_000, "0 101", "sendrecv")));
    assert_eq!(office.summary(&ana), "100 480");
}

#[test]
fn a_late_answer_of_a_phone_finds_the_caller_with_voicemail() {
    let mut office = open();
    let (ana, phone) = (office.phone("1001"), office.phone("1002"));
    office.register(&phone);
    office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0 101", "sendrecv")));
    let callee = office.rung(&phone);
    office.answer(&callee, 180, None);
    office.pass(Duration::from_secs(31));
    office.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    assert!(office.summary(&phone).ends_with("ACK BYE"));
    assert_eq!(office.status().active_calls, 1, "the caller stays");
}

#[test]
fn the_owners_greeting_is_read_and_played_and_the_prompt_where_it_cannot_be_read() {
    for clip in [Some(vec![7_i16; 800].into()), None] {
        let mut office = open();
        let mailbox = Mailbox { greeting_at: Some(Timestamp::default()), ..Mailbox::of(benito()) };
        office.change(vec![Change::Mailbox(mailbox)]);
        office.greeted();
        let notes = office.notes.clone();
        let [VoicemailEffect::Fetch { token, extension, audio: Audio::Greeting }] = &notes[..] else {
            panic!("{:?}", office.notes)
        };
        assert_eq!(*extension, benito());
        let samples = clip.as_ref().map_or(0, |clip: &std::sync::Arc<[i16]>| clip.len());
        office.feed(Input::Fetched { token: *token, clip });
        assert_eq!(office.playing().2, samples);
        office.said();
        assert_eq!(office.playing().2, 3_200, "the beep");
    }
}

#[test]
fn a_full_box_takes_no_more() {
    let mut office = open();
    let all =
        (0..MESSAGES_PER_BOX).map(|n| Change::Message(message(&format!("vm_{n:03}"), MessageState::Heard)));
    office.change(all.collect());
    office.greeted();
    office.said();
    assert_eq!(office.notes, []);
    assert!(!office.media.iter().any(|command| matches!(command, MediaCommand::StartRecording(_))));
}

#[test]
fn the_owner_listens_saves_and_deletes_by_keys() {
    let mut office = open();
    office.with_pin("4711");
    let phone = office.phone("1002");
    office.register(&phone);
    office.change(vec![
        Change::Message(message("vm_1", MessageState::New)),
        Change::Message(message("vm_2", MessageState::New)),
    ]);
    office.dials("*97", "0 101");
    office.said();
    office.press("4711#1");
    let Some(VoicemailEffect::Fetch { token, audio, .. }) = office.notes.pop() else {
        panic!("{:?}", office.notes)
    };
    assert_eq!(audio, Audio::Message(MessageId::parse("vm_1").unwrap()));
    office.feed(Input::Fetched { token, clip: Some(vec![9; 1_000].into()) });
    assert_eq!(office.playing().2, 1_000);
    office.said();
    let heard = |id: &str, state| {
        VoicemailEffect::Fact(Fact::Marked { extension: benito(), id: MessageId::parse(id).unwrap(), state })
    };
    assert_eq!(office.notes, [heard("vm_1", MessageState::Heard)]);
    office.press("9");
    assert_eq!(office.notes[1], heard("vm_1", MessageState::Saved));
    office.press("7");
    let deleted = Fact::Deleted { extension: benito(), id: MessageId::parse("vm_2").unwrap() };
    assert_eq!(office.notes[3], VoicemailEffect::Fact(deleted));
    office.press("*#");
    office.said();
    let phone = office.phone("1002");
    assert_eq!(office.summary(&phone), "BYE");
}

#[test]
fn keys_come_as_events_as_info_and_as_tones() {
    for (kind, body) in
        [("application/dtmf-relay", "Signal=4\r\nDuration=160\r\n"), ("application/dtmf", "4")]
    {
        let mut office = open();
        office.with_pin("4711");
        let mut line = office.dials("*97", "0 101");
        assert!(
            office
                .media
                .iter()
                .any(|c| matches!(c, MediaCommand::SetDtmfMode { digits: DtmfMode::Events, .. }))
        );
        // One press that a phone sends by both roads is one.
        office.press("4");
        info(&mut office, &mut line, kind, body);
        office.pass(Duration::from_secs(1));
        info(&mut office, &mut line, kind, &body.replace('4', "7"));
        office.pass(Duration::from_secs(1));
        info(&mut office, &mut line, kind, &body.replace('4', "1"));
        info(&mut office, &mut line, kind, &body.replace('4', "1"));
        info(&mut office, &mut line, kind, &body.replace('4', "#"));
        // Two ones, so 4711: the menu is said, and listening leads to a message.
        office.change(vec![]);
        office.press("0");
        office.said();
        office.said();
        assert!(office.media.iter().any(|c| matches!(c, MediaCommand::StartRecording(_))), "{kind}"); // S72
    }
    let mut office = open();
    office.dials("*97", "0");
    assert!(
        office.media.iter().any(|c| matches!(c, MediaCommand::SetDtmfMode { digits: DtmfMode::Tones, .. }))
    );
}

fn info(office: &mut Office, line: &mut Line, kind: &str, body: &str) {
    line.cseq += 1;
    let text = format!(
        "INFO {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={};rport\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\n\
         CSeq: {} INFO\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        line.target,
        line.phone.address,
        office.branch(),
        line.local,
        line.remote,
        line.call_id,
        line.cseq,
        body.len()
    );
    office.send_from(line.phone.address, text);
}

/// For how long somebody is banned, where a record tells of a wrong answer.
fn banned(record: &model::journal::Record) -> Option<u32> {
    match record {
        model::journal::Record::Noted(model::journal::CallEvent::WrongAnswer { banned_seconds, .. }) => {
            Some(*banned_seconds)
        }
        _ => None,
    }
}

#[test]
fn three_wrong_pins_end_the_call_and_ten_close_the_door_to_that_address() {
    let mut office = open();
    office.with_pin("4711");
    let phone = office.phone("1002");
    for call in 0..3 {
        office.dials("*97", "0 101");
        for wrong in ["1111#", "2222#", "3333#"] {
            assert_eq!(office.status().active_calls, 1, "{call} {wrong}");
            office.press(wrong);
        }
        office.said();
        assert!(office.summary(&phone).ends_with("BYE"));
        assert_eq!(office.status().active_calls, 0);
        office.pass(Duration::from_secs(1));
    }
    assert_eq!(office.status().counters.wrong_passwords, 9);
    office.dials("*97", "0 101");
    office.press("9999#"); // the tenth
    let told: Vec<u32> = office.journal.iter().filter_map(banned).collect();
    assert_eq!(told, [0, 60], "the first, and the ban, are told"); // security.md row 1
    office.press("4711#0");
    office.said();
    office.said();
    assert!(
        !office.media.iter().any(|c| matches!(c, MediaCommand::StartRecording(_))),
        "the right one comes too late"
    );
}

#[test]
fn a_box_without_pin_opens_to_its_own_phone_only() {
    let mut office = open();
    office.dials("*97", "0 101");
    office.press("0");
    office.said();
    office.said();
    assert!(office.recording().name.starts_with("voicemail/ext_1002/greeting-"));

    let mut office = open();
    let ana = office.phone("1001");
    let mut line = office.call(&ana, "*98", Some(&sdp("10.0.0.11", 30_000, "0 101", "sendrecv")));
    let ok = office.last(&ana);
    office.acknowledge(&mut line, &ok, None);
    office.press("1002##*"); // a star begins the number anew
    office.said();
    office.said();
    assert!(!office.media.iter().any(|c| matches!(c, MediaCommand::StartRecording(_))));
    office.with_pin("4711");
    office.press("1002#4711#0");
    office.said();
    office.said();
    assert!(office.recording().name.starts_with("voicemail/ext_1002/greeting-"));
}

#[test]
fn a_greeting_counts_once_its_owner_has_said_so() {
    let mut office = open();
    let mut line = office.dials("*97", "0 101");
    office.press("0");
    office.said();
    office.said();
    let name = office.recording().name;
    office.press("#");
    office.recorded(3_000, 2_000);
    assert_eq!(office.notes, []);
    office.press("1");
    assert_eq!(office.notes, [VoicemailEffect::Fact(Fact::Greeting { extension: benito(), name })]);
    // The next one is recorded, and then the owner hangs up.
    office.press("0");
    office.said();
    office.said();
    let name = office.recording().name;
    office.press("#");
    office.recorded(3_000, 2_000);
    office.within(&mut line, "BYE", "", None);
    assert_eq!(office.notes[1..], [VoicemailEffect::Fact(Fact::GreetingDropped { name })]);
    office.is_at_rest();
}

#[test]
fn a_worker_that_tells_nothing_holds_no_caller_for_ever() {
    let mut office = open();
    office.greeted();
    office.pass(Duration::from_secs(40 * 60));
    assert_eq!(office.status().active_calls, 0);
}

#[test]
fn a_call_in_voicemail_is_up_and_is_not_recorded_as_a_call() {
    let mut office = open();
    office.speaking();
    let everybody = Command::Calls { of: CallsOf::Everybody, after: None, limit: 10 };
    let Reply::Calls(calls) = office.ask(everybody) else { panic!() };
    assert_eq!(calls[0].status, CallStatus::InProgress);
    let start = Command::Recording { call: calls[0].id.clone(), action: RecordingAction::Start };
    assert_eq!(office.ask(start), Reply::NothingToRecord);
}
