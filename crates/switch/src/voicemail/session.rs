//! Voicemail session of a call: runs the deposit or menu state machine, and passes it DTMF digits, timeouts and media events.

use std::sync::Arc;
use std::time::Duration;

use base::Instant;
use media::{DtmfMode, MediaCommand, PlayId, RecordingId, Source};
use model::dialplan::Application;
use model::{CallDirection, Cause, Extension, Language, TraceStep, voicemail};

use super::deposit::Deposit;
use super::menu::Menu;
use super::prompt::Prompt;
use super::{IvrAction, IvrEvent};
use crate::call::{Call, Phase};
use crate::core::{Core, Cx};
use crate::switch::Switch;
use crate::{Output, limits};

/// Maximum duration of a voicemail session.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Margin after the length of a clip or recording for its end to be reported; also the timeout for reading a file or the prompts.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// The same digit received by RTP and by INFO within this time counts once.
const ONE_PRESS: Duration = Duration::from_millis(400);

/// State machine of a session.
#[derive(Debug)]
enum Dialogue {
    Deposit(Deposit),
    Menu(Menu),
}

/// Meaning of the session's timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiting {
    /// Timeout for a digit, or for the end of a recording.
    Key,
    /// Timeout for the end of a playback.
    Said,
    /// Timeout for reading a file.
    File,
    /// Timeout for the prompt audio, which is decoded in the first second after start-up.
    Prompts,
}

/// Transport of a DTMF digit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DtmfSource {
    /// RTP: telephone-event (RFC 4733) or an in-band tone.
    Media,
    /// SIP INFO.
    Signalling,
}

/// Voicemail session of a call.
#[derive(Debug)]
pub(crate) struct VoicemailSession {
    talk: Dialogue,
    pub(super) extension: Option<Arc<Extension>>,
    pub(crate) language: Language,
    /// Id of the current playback; the end of an earlier one is ignored.
    pub(crate) play: PlayId,
    /// Token of the file being read, and the prompts to play before it.
    pub(crate) fetching: Option<(u64, Vec<Prompt>)>,
    pub(crate) recording: Option<RecordingId>,
    /// First actions, deferred until the prompt audio has been decoded.
    pub(super) held: Vec<IvrAction>,
    pub(crate) waits: Waiting,
    pub(super) pressed: Option<(char, DtmfSource, Instant)>,
    pub(super) ends: Instant,
}

/// DTMF digit of an INFO body: `Signal=5` (`application/dtmf-relay`), or the digit alone (`application/dtmf`).
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
        "10" => Some('*'), // event codes of RFC 4733, sent by some phones
        "11" => Some('#'),
        one => {
            let mut letters = one.chars();
            let key = letters.next().filter(|c| "0123456789*#ABCDabcd".contains(*c))?;
            letters.next().is_none().then_some(key.to_ascii_uppercase())
        }
    }
}

impl Call {
    /// The call was not answered: connect the caller to the mailbox of `extension`.
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

    /// Start the mailbox menu: `*97` (the caller's mailbox) or `*98` (any mailbox).
    pub(crate) fn call_menu(&mut self, cx: &mut Cx<'_>, application: Application) {
        // An internal caller is authenticated; the caller number of an inbound call is not.
        let is_internal = self.record.direction == CallDirection::Internal;
        let party = self.leg(0).filter(|_| is_internal).map(|leg| leg.record.party.clone());
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
        // Early media of a callee may have been negotiated with another codec, which cannot be recorded.
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

    /// Whether a digit may be a false detection in speech: during a recording, an in-band tone must last at least
    /// [`limits::KEY_WITHIN_SPEECH_MILLIS`].
    pub(crate) fn may_be_a_voice(&self, millis: u16) -> bool {
        let speaks = self.voicemail_session().is_some_and(|visit| visit.recording.is_some());
        let leg = self.leg(0);
        let tones = leg.is_some_and(|leg| Switch::keys_come_as(leg) == DtmfMode::Tones);
        speaks && tones && millis < limits::KEY_WITHIN_SPEECH_MILLIS
    }

    /// A DTMF digit. Some phones send each digit both by RTP and by INFO; it counts once.
    pub(crate) fn key_pressed(&mut self, cx: &mut Cx<'_>, digit: char, road: DtmfSource) {
        let Some(visit) = self.voicemail_session_mut() else { return };
        if !visit.held.is_empty() {
            return; // the session has not played a prompt yet
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

    /// The session's timer has expired.
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

    /// Whether the caller is in voicemail.
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
    /// Number of messages in a mailbox. A message being recorded appears in the directory with a delay, so the recordings in progress are a lower
    /// bound.
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
