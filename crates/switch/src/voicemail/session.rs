//! A caller in voicemail: carries out what the conversation wants, and tells it what happens.

use std::sync::Arc;
use std::time::Duration;

use crate::call::Call;
use crate::core::{Core, Cx};

use base::Instant;
use media::{DtmfMode, MediaCommand, PlayId, RecordingId, Source};
use model::dialplan::Application;
use model::{CallDirection, Cause, Extension, Language, TraceStep, voicemail};

use super::deposit::Deposit;
use super::menu::Menu;
use super::prompt::Prompt;
use super::{IvrAction, IvrEvent};
use crate::call::Phase;
use crate::switch::Switch;
use crate::{Output, limits};

/// The longest visit to a menu.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// How much later than a clip's length its end may be told, and how long a file may take to be read.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// The same key by two roads within this time is one press.
const ONE_PRESS: Duration = Duration::from_millis(400);

/// Which of the two conversations.
#[derive(Debug)]
enum Dialogue {
    Deposit(Deposit),
    Menu(Menu),
}

/// What the visit's one timer means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiting {
    /// For a key, or for the end of a recording.
    Key,
    /// For the end of what is said.
    Said,
    /// For a file.
    File,
    /// For the prompts, which a start reads in its first second.
    Prompts,
}

/// By which road a key came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DtmfSource {
    /// RFC 4733, or a tone.
    Media,
    /// INFO.
    Signalling,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct VoicemailSession {
    talk: Dialogue,
    pub(super) extension: Option<Arc<Extension>>,
    pub(crate) language: Language,
    /// What is being said; an earlier one's end means nothing.
    pub(crate) play: PlayId,
    /// The file that is being read, and what is said before it.
    pub(crate) fetching: Option<(u64, Vec<Prompt>)>,
    pub(crate) recording: Option<RecordingId>,
    /// What is done first, once there is something to say it with.
    pub(super) held: Vec<IvrAction>,
    pub(crate) waits: Waiting,
    pub(super) pressed: Option<(char, DtmfSource, Instant)>,
    pub(super) ends: Instant,
}

/// The key in an INFO: `Signal=5` (application/dtmf-relay), or the key alone (application/dtmf).
pub(crate) fn key_of_info(content_type: &str, body: &[u8]) -> Option<char> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let text = std::str::from_utf8(body).ok()?;
    let value = if kind.eq_ignore_ascii_case("application/dtmf-relay") {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("signal").then_some(value)
        })?
    } else if kind.eq_ignore_ascii_case("application/dtmf") {
        text
    } else {
        return None;
    };
    match value.trim() {
        "10" => Some('*'), // as some phones number them
        "11" => Some('#'),
        one => {
            let mut letters = one.chars();
            let key = letters.next().filter(|c| "0123456789*#ABCDabcd".contains(*c))?;
            letters.next().is_none().then_some(key.to_ascii_uppercase())
        }
    }
}

impl Call {
    /// Nobody took the call: its caller may leave a message.
    pub(crate) fn leave_message(&mut self, cx: &mut Cx<'_>, extension: &Arc<Extension>, cause: Cause) {
        let mailbox = cx.core.directory.mailbox(&extension.id);
        let full = cx.core.held(extension) >= voicemail::MESSAGES_PER_BOX;
        let (deposit, acts) = Deposit::begin(mailbox.greeting_at.is_some(), full);
        let outcome = format!("{}: the voicemail of {} takes the call", cause.code(), extension.number);
        self.start_voicemail(
            cx,
            Dialogue::Deposit(deposit),
            Some(Arc::clone(extension)),
            mailbox.language,
            outcome,
            acts,
        );
    }

    /// `*97` and `*98`.
    pub(crate) fn call_menu(&mut self, cx: &mut Cx<'_>, application: Application) {
        // A phone of ours has proved who it is; a number that comes from outside proves nothing.
        let own = Some(&*self).filter(|call| call.record.direction == CallDirection::Internal);
        let party = own.and_then(|call| Some(call.legs.first()?.record.party.clone()));
        let own = party
            .filter(|_| application == Application::Voicemail)
            .and_then(|party| cx.core.extension_of(cx.core.directory.credential(&party)?).cloned());
        let mailbox = own.as_ref().map(|extension| cx.core.directory.mailbox(&extension.id));
        let language = mailbox.as_ref().map_or(Language::Spanish, |mailbox| mailbox.language);
        let (menu, acts) = match (&own, &mailbox) {
            (Some(extension), Some(mailbox)) if mailbox.pin.is_none() => {
                Menu::open(cx.core.entries(extension))
            }
            (Some(_), _) => Menu::own(),
            (None, _) => Menu::any(),
        };
        let outcome = match &own {
            Some(extension) => format!("the menu of the voicemail of {}", extension.number),
            None => "the menu of any voicemail".into(),
        };
        self.start_voicemail(cx, Dialogue::Menu(menu), own, language, outcome, acts);
    }

    fn start_voicemail(
        &mut self,
        cx: &mut Cx<'_>,
        talk: Dialogue,
        extension: Option<Arc<Extension>>,
        language: Language,
        outcome: String,
        acts: Vec<IvrAction>,
    ) {
        self.record.trace.push(TraceStep { rule: "voicemail".into(), outcome });
        self.phase = Phase::Voicemail(Box::new(VoicemailSession {
            talk,
            extension,
            language,
            play: PlayId(0),
            fetching: None,
            recording: None,
            held: Vec::new(),
            waits: Waiting::Said,
            pressed: None,
            ends: cx.now.instant + LONGEST,
        }));
        if !self.answer_caller(cx, None) {
            return self.release(cx, Cause::IncompatibleMedia);
        }
        self.up(cx);
        // What it heard of a phone that rang may have been another codec: nothing said in that could be recorded.
        self.ask_for_g711(cx, 0);
        self.set_source(cx, 0, Source::Silence);
        self.listen_for_keys(cx);
        if cx.core.prompts_read {
            return self.perform(cx, acts);
        }
        if let Some(visit) = self.voicemail_session_mut() {
            visit.held = acts;
        }
        cx.core.index.await_prompts(self.key);
        self.wait(cx, Waiting::Prompts, GRACE);
    }

    pub(crate) fn begin_to_speak(&mut self, cx: &mut Cx<'_>) {
        let held = self.voicemail_session_mut().map(|visit| std::mem::take(&mut visit.held));
        self.perform(cx, held.unwrap_or_default());
    }

    fn listen_for_keys(&self, cx: &mut Cx<'_>) {
        let Some(leg) = self.leg(0) else { return };
        let digits = Switch::keys_come_as(leg);
        let command = MediaCommand::SetDtmfMode { stream: leg.stream.id, digits };
        cx.out.push(Output::Media { worker: leg.stream.port.worker, command });
    }

    /// Whether a press is a tone so short that a voice may have made it: of one who speaks a message keys have to be held longer.
    pub(crate) fn may_be_a_voice(&self, millis: u16) -> bool {
        let speaks = self.voicemail_session().is_some_and(|visit| visit.recording.is_some());
        let leg = self.leg(0);
        let tones = leg.is_some_and(|leg| Switch::keys_come_as(leg) == DtmfMode::Tones);
        speaks && tones && millis < limits::KEY_WITHIN_SPEECH_MILLIS
    }

    /// A key, by whatever road; phones that send it by two press it once.
    pub(crate) fn key_pressed(&mut self, cx: &mut Cx<'_>, digit: char, road: DtmfSource) {
        let Some(visit) = self.voicemail_session_mut() else { return };
        if !visit.held.is_empty() {
            return; // nobody was asked anything yet
        }
        let again = visit.pressed.is_some_and(|(before, by, at)| {
            before == digit && by != road && cx.now.instant.since(at) < ONE_PRESS
        });
        if again {
            return;
        }
        visit.pressed = Some((digit, road, cx.now.instant));
        self.dispatch_ivr(cx, &IvrEvent::Digit(digit));
    }

    /// The timer of a visit.
    pub(crate) fn on_voicemail_timer(&mut self, cx: &mut Cx<'_>) {
        let Some(visit) = self.voicemail_session_mut() else { return };
        if cx.now.instant >= visit.ends {
            return self.release(cx, Cause::MaxDuration);
        }
        let heard = match visit.waits {
            Waiting::Prompts => return self.begin_to_speak(cx),
            Waiting::Key => IvrEvent::Late,
            Waiting::Said => IvrEvent::Played,
            Waiting::File => {
                visit.fetching = None;
                IvrEvent::Missing
            }
        };
        self.dispatch_ivr(cx, &heard);
    }

    pub(crate) fn dispatch_ivr(&mut self, cx: &mut Cx<'_>, heard: &IvrEvent) {
        let Some(visit) = self.voicemail_session_mut() else { return };
        let acts = match &mut visit.talk {
            Dialogue::Deposit(deposit) => deposit.hear(heard),
            Dialogue::Menu(menu) => menu.hear(heard),
        };
        self.perform(cx, acts);
    }

    /// Whether a call is with voicemail.
    pub(crate) fn is_in_voicemail(&self) -> bool {
        self.voicemail_session().is_some()
    }

    pub(crate) fn voicemail_session(&self) -> Option<&VoicemailSession> {
        if let Phase::Voicemail(visit) = &self.phase { Some(visit) } else { None }
    }

    pub(crate) fn voicemail_session_mut(&mut self) -> Option<&mut VoicemailSession> {
        if let Phase::Voicemail(visit) = &mut self.phase { Some(visit) } else { None }
    }
}

impl Core {
    /// How many messages a box holds. Those that are being spoken are in the directory a moment later.
    pub(crate) fn held(&self, extension: &Extension) -> usize {
        self.directory.messages(&extension.id).count().max(self.voicemail_recordings.for_box(&extension.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_out_of_both_kinds_of_info() {
        for (kind, body, key) in [
            ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", Some('5')),
            ("Application/DTMF-Relay; x=y", "signal = #\nDuration=100", Some('#')),
            ("application/dtmf-relay", "Signal=11\r\n", Some('#')),
            ("application/dtmf", "*", Some('*')),
            ("application/dtmf", "7\r\n", Some('7')),
            ("application/dtmf", "77", None),
            ("application/dtmf-relay", "Duration=160", None),
            ("text/plain", "5", None),
            ("application/dtmf", "\u{fc}", None),
        ] {
            assert_eq!(key_of_info(kind, body.as_bytes()), key, "{kind} {body:?}"); // S72
        }
    }
}
