//! A caller in voicemail: carries out what the conversation wants, and tells it what happens.

use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now};
use media::{DtmfMode, MediaCommand, MediaEvent, PlayId, RecordingId, Source, StreamId};
use model::dialplan::Application;
use model::{CallDirection, Cause, Extension, Language, TraceStep, voicemail};

use super::deposit::Deposit;
use super::menu::Menu;
use super::prompt::Prompt;
use super::{Clip, IvrAction, IvrEvent, PromptSet};
use crate::backlog::Task;
use crate::call::{CallKey, Leg, Phase};
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
pub(super) enum Waiting {
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
    pub(super) language: Language,
    /// What is being said; an earlier one's end means nothing.
    pub(super) play: PlayId,
    /// The file that is being read, and what is said before it.
    pub(super) fetching: Option<(u64, Vec<Prompt>)>,
    pub(super) recording: Option<RecordingId>,
    /// What is done first, once there is something to say it with.
    pub(super) held: Vec<IvrAction>,
    pub(super) waits: Waiting,
    pub(super) pressed: Option<(char, DtmfSource, Instant)>,
    pub(super) ends: Instant,
}

impl Switch {
    // ---- ways in -------------------------------------------------------------------------------------------------------------

    /// Whether the voicemail of an extension takes a call that came to nothing for this cause (S73). Where it was `diverted`, the number that
    /// it was sent on to may have failed in more ways than a phone can.
    pub(crate) fn voicemail_takes(extension: &Extension, cause: Cause, diverted: bool) -> bool {
        let phone = matches!(
            cause,
            Cause::Busy
                | Cause::NoAnswer
                | Cause::Unreachable
                | Cause::DoNotDisturb
                | Cause::Declined
                | Cause::Refused
        );
        let number = matches!(
            cause,
            Cause::ForwardingLoop
                | Cause::NoRoute
                | Cause::NotFound
                | Cause::BadNumber
                | Cause::Inactive
                | Cause::Forbidden
                | Cause::ConcurrentCallLimit
                | Cause::CallRateLimit
                | Cause::OutsideMinutesUsed
        );
        extension.voicemail_enabled && (phone || diverted && number)
    }

    /// Nobody took the call: its caller may leave a message.
    pub(crate) fn leave_message(
        &mut self,
        now: Now,
        key: CallKey,
        extension: &Arc<Extension>,
        cause: Cause,
        out: &mut Vec<Output>,
    ) {
        let mailbox = self.core.directory.mailbox(&extension.id);
        let full = self.held(extension) >= voicemail::MESSAGES_PER_BOX;
        let (deposit, acts) = Deposit::begin(mailbox.greeting_at.is_some(), full);
        let outcome = format!("{}: the voicemail of {} takes the call", cause.code(), extension.number);
        self.start_voicemail(
            now,
            key,
            Dialogue::Deposit(deposit),
            Some(Arc::clone(extension)),
            mailbox.language,
            outcome,
            acts,
            out,
        );
    }

    /// How many messages a box holds. Those that are being spoken are in the directory a moment later.
    pub(crate) fn held(&self, extension: &Extension) -> usize {
        self.core
            .directory
            .messages(&extension.id)
            .count()
            .max(self.core.voicemail_recordings.for_box(&extension.id))
    }

    /// `*97` and `*98`.
    pub(crate) fn call_menu(
        &mut self,
        now: Now,
        key: CallKey,
        application: Application,
        out: &mut Vec<Output>,
    ) {
        // A phone of ours has proved who it is; a number that comes from outside proves nothing.
        let own = self.calls.get(key).filter(|call| call.record.direction == CallDirection::Internal);
        let party = own.and_then(|call| Some(call.legs.first()?.record.party.clone()));
        let own = party
            .filter(|_| application == Application::Voicemail)
            .and_then(|party| self.extension_of(self.core.directory.credential(&party)?).cloned());
        let mailbox = own.as_ref().map(|extension| self.core.directory.mailbox(&extension.id));
        let language = mailbox.as_ref().map_or(Language::Spanish, |mailbox| mailbox.language);
        let (menu, acts) = match (&own, &mailbox) {
            (Some(extension), Some(mailbox)) if mailbox.pin.is_none() => Menu::open(self.entries(extension)),
            (Some(_), _) => Menu::own(),
            (None, _) => Menu::any(),
        };
        let outcome = match &own {
            Some(extension) => format!("the menu of the voicemail of {}", extension.number),
            None => "the menu of any voicemail".into(),
        };
        self.start_voicemail(now, key, Dialogue::Menu(menu), own, language, outcome, acts, out);
    }

    fn start_voicemail(
        &mut self,
        now: Now,
        key: CallKey,
        talk: Dialogue,
        extension: Option<Arc<Extension>>,
        language: Language,
        outcome: String,
        acts: Vec<IvrAction>,
        out: &mut Vec<Output>,
    ) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.record.trace.push(TraceStep { rule: "voicemail".into(), outcome });
        call.phase = Phase::Voicemail(Box::new(VoicemailSession {
            talk,
            extension,
            language,
            play: PlayId(0),
            fetching: None,
            recording: None,
            held: Vec::new(),
            waits: Waiting::Said,
            pressed: None,
            ends: now.instant + LONGEST,
        }));
        if !self.answer_caller(now, key, None, out) {
            return self.release(now, key, Cause::IncompatibleMedia, out);
        }
        self.up(now, key, out);
        // What it heard of a phone that rang may have been another codec: nothing said in that could be recorded.
        self.ask_for_g711(now, key, 0);
        self.set_source(key, 0, Source::Silence, out);
        self.listen_for_keys(key, out);
        if self.core.prompts_read {
            return self.perform(now, key, acts, out);
        }
        if let Some(visit) = self.voicemail_session_mut(key) {
            visit.held = acts;
        }
        self.core.index.await_prompts(key);
        self.wait(now, key, Waiting::Prompts, GRACE);
    }

    /// The prompts are there: whoever waits for them is spoken to.
    pub(crate) fn prompts_are_read(&mut self, now: Now, prompts: Arc<PromptSet>, out: &mut Vec<Output>) {
        (self.core.prompts, self.core.prompts_read) = (prompts, true);
        self.do_in_parts(now, Task::Speak, out);
    }

    pub(crate) fn begin_to_speak(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        let held = self.voicemail_session_mut(key).map(|visit| std::mem::take(&mut visit.held));
        self.perform(now, key, held.unwrap_or_default(), out);
    }

    /// A phone that agreed on no telephone-event may still press keys: as INFO, or as tones.
    fn keys_come_as(leg: &Leg) -> DtmfMode {
        let events = leg.stream.negotiated.as_ref().is_some_and(|agreed| agreed.dtmf.is_some());
        if events { DtmfMode::Events } else { DtmfMode::Tones }
    }

    fn listen_for_keys(&self, key: CallKey, out: &mut Vec<Output>) {
        let Some(leg) = self.calls.get(key).and_then(|call| call.leg(0)) else { return };
        let digits = Switch::keys_come_as(leg);
        let command = MediaCommand::SetDtmfMode { stream: leg.stream.id, digits };
        out.push(Output::Media { worker: leg.stream.port.worker, command });
    }

    // ---- what happens --------------------------------------------------------------------------------------------------------

    /// A media event that concerns voicemail.
    pub(crate) fn voicemail_event(&mut self, now: Now, event: MediaEvent, out: &mut Vec<Output>) {
        match event {
            MediaEvent::Digit { stream, digit, millis } => {
                if let Some((key, 0)) = self.core.index.stream_of(stream)
                    && !self.may_be_a_voice(key, millis)
                {
                    self.key_pressed(now, key, digit, DtmfSource::Media, out);
                }
            }
            MediaEvent::PlaybackFinished { stream, play } => self.played(now, stream, play, out),
            MediaEvent::SilenceDetected { recording } => {
                let call = self
                    .core
                    .voicemail_recordings
                    .call_of(recording)
                    .and_then(|call| self.core.index.find(call));
                let is = |key: &CallKey| {
                    self.voicemail_session(*key).is_some_and(|v| v.recording == Some(recording))
                };
                if let Some(key) = call.filter(is) {
                    self.dispatch_ivr(now, key, &IvrEvent::Quiet, out);
                }
            }
            MediaEvent::Recorded { recording, millis, sound_millis, .. } => {
                self.voicemail_recorded(now, recording, millis, sound_millis, out);
            }
            MediaEvent::FileClosed { recording, file } => {
                self.voicemail_file_closed(recording, &file, out);
            }
            MediaEvent::Ports { .. }
            | MediaEvent::RtpTimeout { .. }
            | MediaEvent::WorkerGone { .. }
            | MediaEvent::Closed { .. } => {}
        }
    }

    /// Whether a press is a tone so short that a voice may have made it: of one who speaks a message keys have to be held longer.
    fn may_be_a_voice(&self, key: CallKey, millis: u16) -> bool {
        let speaks = self.voicemail_session(key).is_some_and(|visit| visit.recording.is_some());
        let leg = self.calls.get(key).and_then(|call| call.leg(0));
        let tones = leg.is_some_and(|leg| Switch::keys_come_as(leg) == DtmfMode::Tones);
        speaks && tones && millis < limits::KEY_WITHIN_SPEECH_MILLIS
    }

    fn played(&mut self, now: Now, stream: StreamId, play: PlayId, out: &mut Vec<Output>) {
        if self.said(now, stream, out) {
            return;
        }
        let Some((key, 0)) = self.core.index.stream_of(stream) else { return };
        if self.voicemail_session(key).is_some_and(|visit| visit.play == play && visit.waits == Waiting::Said)
        {
            self.dispatch_ivr(now, key, &IvrEvent::Played, out);
        }
    }

    /// A key, by whatever road; phones that send it by two press it once.
    pub(crate) fn key_pressed(
        &mut self,
        now: Now,
        key: CallKey,
        digit: char,
        road: DtmfSource,
        out: &mut Vec<Output>,
    ) {
        let Some(visit) = self.voicemail_session_mut(key) else { return };
        if !visit.held.is_empty() {
            return; // nobody was asked anything yet
        }
        let again = visit.pressed.is_some_and(|(before, by, at)| {
            before == digit && by != road && now.instant.since(at) < ONE_PRESS
        });
        if again {
            return;
        }
        visit.pressed = Some((digit, road, now.instant));
        self.dispatch_ivr(now, key, &IvrEvent::Digit(digit), out);
    }

    /// A file was read.
    pub(crate) fn fetched(&mut self, now: Now, token: u64, clip: Option<Clip>, out: &mut Vec<Output>) {
        let Some(key) = self.core.index.expected(token) else { return };
        if self.announcement_fetched(now, (key, token), clip.as_ref(), out) {
            return;
        }
        let fetches =
            |visit: &VoicemailSession| visit.fetching.as_ref().is_some_and(|(asked, _)| *asked == token);
        if !self.voicemail_session(key).is_some_and(fetches) {
            return;
        }
        let Some(visit) = self.voicemail_session_mut(key) else { return };
        let (language, said) =
            (visit.language, visit.fetching.take().map(|(_, said)| said).unwrap_or_default());
        match clip {
            Some(clip) => {
                let mut samples = self.core.prompts.say(language, &said).to_vec();
                samples.extend_from_slice(&clip);
                self.say(now, key, samples.into(), out);
            }
            None => self.dispatch_ivr(now, key, &IvrEvent::Missing, out),
        }
    }

    /// The timer of a visit.
    pub(crate) fn on_voicemail_timer(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        let Some(visit) = self.voicemail_session_mut(key) else { return };
        if now.instant >= visit.ends {
            return self.release(now, key, Cause::MaxDuration, out);
        }
        let heard = match visit.waits {
            Waiting::Prompts => return self.begin_to_speak(now, key, out),
            Waiting::Key => IvrEvent::Late,
            Waiting::Said => IvrEvent::Played,
            Waiting::File => {
                visit.fetching = None;
                IvrEvent::Missing
            }
        };
        self.dispatch_ivr(now, key, &heard, out);
    }

    pub(crate) fn dispatch_ivr(&mut self, now: Now, key: CallKey, heard: &IvrEvent, out: &mut Vec<Output>) {
        let Some(visit) = self.voicemail_session_mut(key) else { return };
        let acts = match &mut visit.talk {
            Dialogue::Deposit(deposit) => deposit.hear(heard),
            Dialogue::Menu(menu) => menu.hear(heard),
        };
        self.perform(now, key, acts, out);
    }

    /// Whether a call is with voicemail.
    pub(crate) fn is_in_voicemail(&self, key: CallKey) -> bool {
        self.voicemail_session(key).is_some()
    }

    pub(super) fn voicemail_session(&self, key: CallKey) -> Option<&VoicemailSession> {
        if let Phase::Voicemail(visit) = &self.calls.get(key)?.phase { Some(visit) } else { None }
    }

    pub(super) fn voicemail_session_mut(&mut self, key: CallKey) -> Option<&mut VoicemailSession> {
        if let Phase::Voicemail(visit) = &mut self.calls.get_mut(key)?.phase { Some(visit) } else { None }
    }
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
