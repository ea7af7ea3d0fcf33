//! Recurring calls that say something: the destination alone is rung, hears it, and the call ends; or its mailbox gets it (S86).

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use centralita_switch::voicemail::{Audio, Prompt, PromptSet, VoicemailEffect};
use centralita_switch::{Command, Input, Originate, Reply, ScheduledOrigin};
use media::{MediaCommand, MediaEvent, PlayId, StreamId};
use model::{
    Action, Announcement, CallId, CallStatus, Cause, ForwardingMode, Language, MessageState, RecurringCallId,
    SoundId,
};

use crate::office::carrier::trunk;
use crate::office::line::Line;
use crate::office::sdp::sdp;
use crate::office::{Office, user};

/// Samples of the prompt.
const PROMPT: usize = 8_000;
/// Silence before it.
const LEAD_IN: usize = 4_000;

fn prompt() -> Announcement {
    Announcement::Prompt("goodbye".into())
}

fn sound() -> Announcement {
    Announcement::Audio(SoundId::parse("snd_1").unwrap())
}

/// An office whose exchange can say goodbye.
fn open() -> Office {
    let mut office = Office::open();
    let mut prompts = PromptSet::default();
    prompts.insert(Language::Spanish, Prompt::Goodbye, vec![7; PROMPT].into());
    office.feed(Input::Prompts(Arc::new(prompts)));
    office
}

/// What the scheduler asks for when a call of 1001 is due.
fn ask(office: &mut Office, to: &str, action: Action) -> Reply {
    let planned = ScheduledOrigin {
        call: CallId::parse("session_1_planned").unwrap(),
        recurring: RecurringCallId::parse("rc_1").unwrap(),
        due: Timestamp::default(),
        action,
    };
    office.ask(Command::Originate(Originate {
        user: user("ana"),
        from: Some("1001".into()),
        device: Some("phone1001".into()),
        to: to.into(),
        ring_timeout: Duration::from_secs(30),
        require_device: false,
        planned: Some(planned),
    }))
}

impl Office {
    /// What is played, to whom, and how long it is.
    fn announced(&self) -> Option<(StreamId, PlayId, usize)> {
        self.media.iter().rev().find_map(|command| match command {
            MediaCommand::Play { stream, play, clip } => Some((*stream, *play, clip.len())),
            _ => None,
        })
    }

    /// It is heard to its end, and the phone answers our BYE.
    fn heard_out(&mut self, line: &Line) {
        let (stream, play, _) = self.announced().expect("something is played");
        self.feed(Input::Media(MediaEvent::PlaybackFinished { stream, play }));
        let phone = line.phone.clone();
        let bye = self.last(&phone);
        assert_eq!(bye.method().as_str(), "BYE");
        self.respond(line, &bye, 200, "", None);
    }
}

fn answers(office: &mut Office, line: &Line) {
    office.answer(line, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
}

#[test]
fn who_answers_hears_the_prompt_and_the_call_ends() {
    let mut office = open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&ana);
    office.register(&benito);
    assert!(matches!(ask(&mut office, "1002", Action::Play(prompt())), Reply::Call(_)));
    let line = office.rung(&benito);
    assert!(line.remote.contains("<sip:1001@"), "{}", line.remote);
    assert!(office.announced().is_none(), "nobody listens yet");
    answers(&mut office, &line);
    assert_eq!(office.announced().map(|(_, _, length)| length), Some(LEAD_IN + PROMPT));
    let shown = office.ask(Command::Show { call: CallId::parse("session_1_planned").unwrap() });
    let Reply::Call(record) = shown else { panic!("{shown:?}") };
    assert!(record.answered_at.is_some() && record.status == CallStatus::InProgress); // S86
    office.heard_out(&line);
    let record = office.record();
    assert_eq!((record.status, record.cause), (CallStatus::Completed, Some(Cause::Completed)));
    assert!(office.heard(&ana).is_empty(), "the extension's own phone has nothing to do with it");
    office.is_at_rest();
}

#[test]
fn a_sound_is_read_before_anybody_is_rung() {
    let mut office = open();
    let benito = office.phone("1002");
    office.register(&benito);
    ask(&mut office, "1002", Action::Play(sound()));
    assert!(office.heard(&benito).is_empty());
    let [VoicemailEffect::Fetch { token, audio, .. }] = &office.notes[..] else {
        panic!("{:?}", office.notes)
    };
    let (token, wanted) = (*token, Audio::Sound(SoundId::parse("snd_1").unwrap()));
    assert_eq!(*audio, wanted);
    office.feed(Input::Fetched { token, clip: Some(vec![3; 1_600].into()) });
    let line = office.rung(&benito);
    answers(&mut office, &line);
    assert_eq!(office.announced().map(|(_, _, length)| length), Some(LEAD_IN + 1_600));
    office.heard_out(&line);
    office.is_at_rest();
}

#[test]
fn what_cannot_be_said_rings_nobody() {
    for answer in [Some(None), Some(Some(Vec::new())), None] {
        let mut office = open();
        let benito = office.phone("1002");
        office.register(&benito);
        ask(&mut office, "1002", Action::Play(sound()));
        let Some(VoicemailEffect::Fetch { token, .. }) = office.notes.pop() else { panic!() };
        match answer {
            Some(clip) => office.feed(Input::Fetched { token, clip: clip.map(Into::into) }),
            None => office.pass(Duration::from_secs(11)),
        }
        assert_eq!(office.record().cause, Some(Cause::AudioMissing));
        assert!(office.heard(&benito).is_empty());
        office.is_at_rest();
    }
    let mut office = open();
    let unknown = Announcement::Prompt("no such prompt".into());
    assert_eq!(ask(&mut office, "1002", Action::Play(unknown)), Reply::Refused(Cause::AudioMissing));
    assert_eq!(ask(&mut office, "*43", Action::Play(prompt())), Reply::Refused(Cause::BadNumber));
    office.feed(Input::Prompts(Arc::default()));
    let soon = Reply::Refused(Cause::Overload); // the scheduler asks again
    assert_eq!(ask(&mut office, "1002", Action::Play(prompt())), soon);
    assert!(office.records().is_empty());
}

#[test]
fn who_hangs_up_in_the_middle_has_been_called_all_the_same() {
    let mut office = open();
    let benito = office.phone("1002");
    office.register(&benito);
    ask(&mut office, "1002", Action::Play(prompt()));
    let mut line = office.rung(&benito);
    answers(&mut office, &line);
    office.heard(&benito);
    office.within(&mut line, "BYE", "", None);
    assert_eq!(office.record().status, CallStatus::Completed);
    office.is_at_rest();
}

#[test]
fn nobody_answers_and_the_mailbox_gets_the_message_where_that_was_wanted() {
    for (action, into_box) in [(Action::Message(prompt()), true), (Action::Play(prompt()), false)] {
        let mut office = open();
        office.change_extension("1002", |extension| extension.voicemail_enabled = true);
        let benito = office.phone("1002");
        office.register(&benito);
        ask(&mut office, "1002", action);
        let line = office.rung(&benito);
        office.answer(&line, 486, None);
        if !into_box {
            assert_eq!(office.record().cause, Some(Cause::Busy));
            assert!(office.notes.is_empty());
            office.is_at_rest();
            continue;
        }
        let Some(VoicemailEffect::DepositClip { token, message, clip }) = office.notes.pop() else {
            panic!()
        };
        assert_eq!((message.extension.as_str(), message.from_number.as_str()), ("ext_1002", "1001"));
        assert_eq!((message.state, message.millis, clip.len()), (MessageState::New, 1_000, PROMPT)); // S86
        assert!(office.records().is_empty(), "it is not done before the message lies there");
        office.feed(Input::Deposited { token, done: true });
        let record = office.record();
        assert_eq!((record.status, record.cause), (CallStatus::Completed, Some(Cause::Completed)));
        assert!(record.answered_at.is_some(), "{}", office.why());
        office.is_at_rest();
    }
}

#[test]
fn a_mailbox_that_takes_nothing_leaves_the_call_unanswered() {
    // Nobody is registered, and the message cannot be written.
    let mut office = open();
    office.change_extension("1002", |extension| extension.voicemail_enabled = true);
    ask(&mut office, "1002", Action::Message(prompt()));
    let Some(VoicemailEffect::DepositClip { token, .. }) = office.notes.pop() else { panic!() };
    office.feed(Input::Deposited { token, done: false });
    assert_eq!((office.record().answered_at, office.record().cause), (None, Some(Cause::Internal)));
    office.is_at_rest();
    // There is no mailbox.
    let mut office = open();
    ask(&mut office, "1002", Action::Message(prompt()));
    assert_eq!(office.record().cause, Some(Cause::Unreachable));
    assert!(office.notes.is_empty());
    office.is_at_rest();
}

#[test]
fn an_extension_may_call_itself_and_forwarding_is_followed() {
    let mut office = open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&ana);
    office.register(&benito);
    // A wake-up call.
    ask(&mut office, "1001", Action::Play(prompt()));
    let line = office.rung(&ana);
    answers(&mut office, &line);
    office.heard_out(&line);
    assert_eq!(office.record().status, CallStatus::Completed);
    office.is_at_rest();

    let mut office = open();
    office.register(&benito);
    office.change_extension("1003", |extension| {
        extension.forwarding.enabled = true;
        extension.forwarding.mode = ForwardingMode::Always;
        extension.forwarding.number = Some(model::DialledNumber::parse("1002").unwrap());
    });
    ask(&mut office, "1003", Action::Play(prompt()));
    let line = office.rung(&benito);
    answers(&mut office, &line);
    office.heard_out(&line);
    office.is_at_rest();
}

#[test]
fn a_number_outside_hears_it_by_a_trunk() {
    let mut office = open();
    office.add_trunk(&trunk("Carrier", &[1]), &[1]);
    assert!(matches!(ask(&mut office, "+34911234567", Action::Play(prompt())), Reply::Call(_)));
    let line = office.invited(1);
    answers(&mut office, &line);
    assert_eq!(office.announced().map(|(_, _, length)| length), Some(LEAD_IN + PROMPT));
    office.heard_out(&line);
    assert_eq!(office.record().status, CallStatus::Completed);
}
