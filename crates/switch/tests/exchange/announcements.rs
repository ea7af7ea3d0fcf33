//! Recurring calls with an announcement: the destination is called, hears it, and the call ends; or the message goes to its mailbox (S86).

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

use crate::test_switch::carrier::trunk;
use crate::test_switch::dialog::TestDialog;
use crate::test_switch::sdp::sdp;
use crate::test_switch::{TestSwitch, user};

/// Length of the prompt in samples.
const PROMPT: usize = 8_000;
/// Silence before the prompt, in samples.
const LEAD_IN: usize = 4_000;

fn prompt() -> Announcement {
    Announcement::Prompt("goodbye".into())
}

fn sound() -> Announcement {
    Announcement::Audio(SoundId::parse("snd_1").unwrap())
}

/// A switch with a goodbye prompt.
fn open() -> TestSwitch {
    let mut pbx = TestSwitch::open();
    let mut prompts = PromptSet::default();
    prompts.insert(Language::Spanish, Prompt::Goodbye, vec![7; PROMPT].into());
    pbx.feed(Input::Prompts(Arc::new(prompts)));
    pbx
}

/// The scheduler's command for a recurring call of 1001.
fn ask(pbx: &mut TestSwitch, to: &str, action: Action) -> Reply {
    let planned = ScheduledOrigin {
        call: CallId::parse("session_1_planned").unwrap(),
        recurring: RecurringCallId::parse("rc_1").unwrap(),
        due: Timestamp::default(),
        action,
    };
    pbx.command(Command::Originate(Originate {
        user: user("ana"),
        from: Some("1001".into()),
        device: Some("phone1001".into()),
        to: to.into(),
        ring_timeout: Duration::from_secs(30),
        require_device: false,
        planned: Some(planned),
    }))
}

impl TestSwitch {
    /// Stream, playback and length of what is played.
    fn played(&self) -> Option<(StreamId, PlayId, usize)> {
        self.media.iter().rev().find_map(|command| match command {
            MediaCommand::Play { stream, play, clip } => Some((*stream, *play, clip.len())),
            _ => None,
        })
    }

    /// Playback ends, and the phone answers our BYE.
    fn finish_playback_and_hang_up(&mut self, dialog: &TestDialog) {
        let (stream, play, _) = self.played().expect("something is played");
        self.feed(Input::Media(MediaEvent::PlaybackFinished { stream, play }));
        let phone = dialog.phone.clone();
        let bye = self.last(&phone);
        assert_eq!(bye.method().as_str(), "BYE");
        self.respond(dialog, &bye, 200, "", None);
    }
}

fn answers(pbx: &mut TestSwitch, dialog: &TestDialog) {
    pbx.answer(dialog, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
}

#[test]
fn the_callee_hears_the_prompt_and_the_call_ends() {
    let mut pbx = open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&ana);
    pbx.register(&benito);
    assert!(matches!(ask(&mut pbx, "1002", Action::Play(prompt())), Reply::Call(_)));
    let dialog = pbx.expect_invite(&benito);
    assert!(dialog.remote.contains("<sip:1001@"), "{}", dialog.remote);
    assert!(pbx.played().is_none(), "no playback before the answer");
    answers(&mut pbx, &dialog);
    assert_eq!(pbx.played().map(|(_, _, length)| length), Some(LEAD_IN + PROMPT));
    let shown = pbx.command(Command::Show { call: CallId::parse("session_1_planned").unwrap() });
    let Reply::Call(record) = shown else { panic!("{shown:?}") };
    assert!(record.answered_at.is_some() && record.status == CallStatus::InProgress); // S86
    pbx.finish_playback_and_hang_up(&dialog);
    let record = pbx.record();
    assert_eq!((record.status, record.cause), (CallStatus::Completed, Some(Cause::Completed)));
    assert!(pbx.received(&ana).is_empty(), "the extension's own phone has nothing to do with it");
    pbx.assert_idle();
}

#[test]
fn the_audio_is_loaded_before_the_phone_rings() {
    let mut pbx = open();
    let benito = pbx.phone("1002");
    pbx.register(&benito);
    ask(&mut pbx, "1002", Action::Play(sound()));
    assert!(pbx.received(&benito).is_empty());
    let [VoicemailEffect::Fetch { token, audio, .. }] = &pbx.voicemail_effects[..] else {
        panic!("{:?}", pbx.voicemail_effects)
    };
    let (token, wanted) = (*token, Audio::Sound(SoundId::parse("snd_1").unwrap()));
    assert_eq!(*audio, wanted);
    pbx.feed(Input::Fetched { token, clip: Some(vec![3; 1_600].into()) });
    let dialog = pbx.expect_invite(&benito);
    answers(&mut pbx, &dialog);
    assert_eq!(pbx.played().map(|(_, _, length)| length), Some(LEAD_IN + 1_600));
    pbx.finish_playback_and_hang_up(&dialog);
    pbx.assert_idle();
}

#[test]
fn audio_that_cannot_be_loaded_rings_no_phone() {
    for answer in [Some(None), Some(Some(Vec::new())), None] {
        let mut pbx = open();
        let benito = pbx.phone("1002");
        pbx.register(&benito);
        ask(&mut pbx, "1002", Action::Play(sound()));
        let Some(VoicemailEffect::Fetch { token, .. }) = pbx.voicemail_effects.pop() else { panic!() };
        match answer {
            Some(clip) => pbx.feed(Input::Fetched { token, clip: clip.map(Into::into) }),
            None => pbx.advance(Duration::from_secs(11)),
        }
        assert_eq!(pbx.record().cause, Some(Cause::AudioMissing));
        assert!(pbx.received(&benito).is_empty());
        pbx.assert_idle();
    }
    let mut pbx = open();
    let unknown = Announcement::Prompt("no such prompt".into());
    assert_eq!(ask(&mut pbx, "1002", Action::Play(unknown)), Reply::Refused(Cause::AudioMissing));
    assert_eq!(ask(&mut pbx, "*43", Action::Play(prompt())), Reply::Refused(Cause::BadNumber));
    pbx.feed(Input::Prompts(Arc::default()));
    let soon = Reply::Refused(Cause::Overload); // the scheduler repeats the command
    assert_eq!(ask(&mut pbx, "1002", Action::Play(prompt())), soon);
    assert!(pbx.records().is_empty());
}

#[test]
fn a_callee_who_hangs_up_early_counts_as_called() {
    let mut pbx = open();
    let benito = pbx.phone("1002");
    pbx.register(&benito);
    ask(&mut pbx, "1002", Action::Play(prompt()));
    let mut dialog = pbx.expect_invite(&benito);
    answers(&mut pbx, &dialog);
    pbx.received(&benito);
    pbx.in_dialog_request(&mut dialog, "BYE", "", None);
    assert_eq!(pbx.record().status, CallStatus::Completed);
    pbx.assert_idle();
}

#[test]
fn without_answer_the_mailbox_gets_the_message_if_configured() {
    for (action, into_box) in [(Action::Message(prompt()), true), (Action::Play(prompt()), false)] {
        let mut pbx = open();
        pbx.change_extension("1002", |extension| extension.voicemail_enabled = true);
        let benito = pbx.phone("1002");
        pbx.register(&benito);
        ask(&mut pbx, "1002", action);
        let dialog = pbx.expect_invite(&benito);
        pbx.answer(&dialog, 486, None);
        if !into_box {
            assert_eq!(pbx.record().cause, Some(Cause::Busy));
            assert!(pbx.voicemail_effects.is_empty());
            pbx.assert_idle();
            continue;
        }
        let Some(VoicemailEffect::DepositClip { token, message, clip }) = pbx.voicemail_effects.pop() else {
            panic!()
        };
        assert_eq!((message.extension.as_str(), message.from_number.as_str()), ("ext_1002", "1001"));
        assert_eq!((message.state, message.millis, clip.len()), (MessageState::New, 1_000, PROMPT)); // S86
        assert!(pbx.records().is_empty(), "it is not done before the message lies there");
        pbx.feed(Input::Deposited { token, done: true });
        let record = pbx.record();
        assert_eq!((record.status, record.cause), (CallStatus::Completed, Some(Cause::Completed)));
        assert!(record.answered_at.is_some(), "{}", pbx.trace());
        pbx.assert_idle();
    }
}

#[test]
fn a_message_that_cannot_be_stored_leaves_the_call_unanswered() {
    // No phone is registered, and storing the message fails.
    let mut pbx = open();
    pbx.change_extension("1002", |extension| extension.voicemail_enabled = true);
    ask(&mut pbx, "1002", Action::Message(prompt()));
    let Some(VoicemailEffect::DepositClip { token, .. }) = pbx.voicemail_effects.pop() else { panic!() };
    pbx.feed(Input::Deposited { token, done: false });
    assert_eq!((pbx.record().answered_at, pbx.record().cause), (None, Some(Cause::Internal)));
    pbx.assert_idle();
    // The extension has no mailbox.
    let mut pbx = open();
    ask(&mut pbx, "1002", Action::Message(prompt()));
    assert_eq!(pbx.record().cause, Some(Cause::Unreachable));
    assert!(pbx.voicemail_effects.is_empty());
    pbx.assert_idle();
}

#[test]
fn an_extension_may_call_itself_and_forwarding_is_followed() {
    let mut pbx = open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&ana);
    pbx.register(&benito);
    // A wake-up call.
    ask(&mut pbx, "1001", Action::Play(prompt()));
    let dialog = pbx.expect_invite(&ana);
    answers(&mut pbx, &dialog);
    pbx.finish_playback_and_hang_up(&dialog);
    assert_eq!(pbx.record().status, CallStatus::Completed);
    pbx.assert_idle();

    let mut pbx = open();
    pbx.register(&benito);
    pbx.change_extension("1003", |extension| {
        extension.forwarding.enabled = true;
        extension.forwarding.mode = ForwardingMode::Always;
        extension.forwarding.number = Some(model::DialledNumber::parse("1002").unwrap());
    });
    ask(&mut pbx, "1003", Action::Play(prompt()));
    let dialog = pbx.expect_invite(&benito);
    answers(&mut pbx, &dialog);
    pbx.finish_playback_and_hang_up(&dialog);
    pbx.assert_idle();
}

#[test]
fn an_outside_number_hears_the_announcement_over_a_trunk() {
    let mut pbx = open();
    pbx.add_trunk(&trunk("Carrier", &[1]), &[1]);
    assert!(matches!(ask(&mut pbx, "+34911234567", Action::Play(prompt())), Reply::Call(_)));
    let dialog = pbx.expect_trunk_invite(1);
    answers(&mut pbx, &dialog);
    assert_eq!(pbx.played().map(|(_, _, length)| length), Some(LEAD_IN + PROMPT));
    pbx.finish_playback_and_hang_up(&dialog);
    assert_eq!(pbx.record().status, CallStatus::Completed);
}
