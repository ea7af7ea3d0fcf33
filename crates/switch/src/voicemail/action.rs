//! What the conversation with a caller in voicemail wants done.

use std::time::Duration;

use base::{Now, Secret};
use media::{MediaCommand, PlayId};
use model::voicemail::Fact;
use model::{Cause, Extension, ExtensionNumber, MessageState};

use super::prompt::Prompt;
use super::session::{GRACE, Waiting};
use super::{Audio, Clip, Entry, IvrAction, IvrEvent, VoicemailEffect};
use crate::call::CallKey;
use crate::switch::Switch;
use crate::{Output, limits};

impl Switch {
    pub(super) fn perform(&mut self, now: Now, key: CallKey, acts: Vec<IvrAction>, out: &mut Vec<Output>) {
        for act in acts {
            let Some(visit) = self.voicemail_session(key) else { return };
            let (language, extension, recording) = (visit.language, visit.extension.clone(), visit.recording);
            match act {
                IvrAction::Say(said) => {
                    let clip = self.core.prompts.say(language, &said);
                    self.say(now, key, clip, out);
                }
                IvrAction::SayAndPlay(said, audio) => self.fetch(now, key, said, audio, out),
                IvrAction::StopPlayback => self.hush(key, out),
                IvrAction::Wait(time) => self.wait(now, key, Waiting::Key, time),
                IvrAction::Record(taken) => {
                    self.hush(key, out);
                    let Some(extension) = extension else { continue };
                    let recording = self.take(now, key, (&extension.id, &extension.user), taken, out);
                    if let Some(visit) = self.voicemail_session_mut(key) {
                        visit.recording = recording;
                    }
                    self.wait(now, key, Waiting::Key, taken.longest() + GRACE);
                }
                IvrAction::Stop => {
                    if let (Some(recording), Some(leg)) =
                        (recording, self.calls.get(key).and_then(|c| c.leg(0)))
                    {
                        let command = MediaCommand::StopRecording { recording };
                        out.push(Output::Media { worker: leg.stream.port.worker, command });
                    }
                }
                IvrAction::Keep | IvrAction::Forget => {
                    if let Some(recording) = recording {
                        self.decide_voicemail_recording(recording, act == IvrAction::Keep, out);
                    }
                    if let Some(visit) = self.voicemail_session_mut(key) {
                        visit.recording = None;
                    }
                }
                IvrAction::VerifyPin { number, pin } => {
                    let verdict = self.judge_pin(now, key, number.as_deref(), &pin);
                    self.dispatch_ivr(now, key, &verdict, out);
                }
                IvrAction::Mark(id, state) => {
                    let Some(extension) = extension else { continue };
                    let fact = Fact::Marked { extension: extension.id.clone(), id, state };
                    out.push(Output::Voicemail(Box::new(VoicemailEffect::Fact(fact))));
                }
                IvrAction::Delete(id) => {
                    let Some(extension) = extension else { continue };
                    let fact = Fact::Deleted { extension: extension.id.clone(), id };
                    out.push(Output::Voicemail(Box::new(VoicemailEffect::Fact(fact))));
                }
                IvrAction::HangUp => self.release(now, key, Cause::Completed, out),
            }
        }
    }

    pub(super) fn say(&mut self, now: Now, key: CallKey, clip: Clip, out: &mut Vec<Output>) {
        self.hush(key, out);
        let length = Duration::from_micros(clip.len() as u64 * 125);
        let Some(visit) = self.voicemail_session_mut(key) else { return };
        visit.play = PlayId(visit.play.0.wrapping_add(1));
        let play = visit.play;
        let Some(leg) = self.calls.get(key).and_then(|call| call.leg(0)) else { return };
        let command = MediaCommand::Play { stream: leg.stream.id, play, clip };
        out.push(Output::Media { worker: leg.stream.port.worker, command });
        self.wait(now, key, Waiting::Said, length + GRACE);
    }

    fn hush(&self, key: CallKey, out: &mut Vec<Output>) {
        if let Some(leg) = self.calls.get(key).and_then(|call| call.leg(0)) {
            let command = MediaCommand::StopPlay { stream: leg.stream.id };
            out.push(Output::Media { worker: leg.stream.port.worker, command });
        }
    }

    fn fetch(&mut self, now: Now, key: CallKey, said: Vec<Prompt>, audio: Audio, out: &mut Vec<Output>) {
        self.hush(key, out);
        let token = self.core.rng.u64();
        let Some(visit) = self.voicemail_session_mut(key) else { return };
        visit.fetching = Some((token, said));
        let Some(extension) = visit.extension.as_ref().map(|extension| extension.id.clone()) else { return };
        self.core.index.expect(token, key);
        out.push(Output::Voicemail(Box::new(VoicemailEffect::Fetch { token, extension, audio })));
        self.wait(now, key, Waiting::File, GRACE);
    }

    pub(super) fn wait(&mut self, now: Now, key: CallKey, waits: Waiting, time: Duration) {
        let Some(visit) = self.voicemail_session_mut(key) else { return };
        visit.waits = waits;
        let due = (now.instant + time).min(visit.ends);
        self.set_timer(key, due);
    }

    /// Whether a PIN opens a box. Wrong ones are charged to the caller's address, as wrong passwords are (security.md row 1).
    fn judge_pin(&mut self, now: Now, key: CallKey, number: Option<&str>, pin: &Secret<String>) -> IvrEvent {
        let Some(call) = self.calls.get(key) else { return IvrEvent::Refused };
        let Some(source) = call.leg(0).map(|leg| leg.hop.remote.ip()) else { return IvrEvent::Refused };
        let asked = match number {
            Some(number) => ExtensionNumber::parse(number)
                .ok()
                .and_then(|number| self.core.directory.extension_by_number(&number).cloned()),
            None => self.voicemail_session(key).and_then(|visit| visit.extension.clone()),
        };
        let account = match (&asked, number) {
            (Some(extension), _) => format!("voicemail {}", extension.id),
            (None, number) => format!("voicemail {}", number.unwrap_or_default()),
        };
        let admitted = self.core.auth.admits_pin(now.instant, source, &account);
        let opened = asked.filter(|extension| {
            let mailbox = self.core.directory.mailbox(&extension.id);
            let proved = mailbox
                .pin
                .as_ref()
                .is_some_and(|proof| proof.holds(&self.core.config.pin_key, &extension.id, pin.expose()));
            proved && admitted
        });
        let Some(extension) = opened else {
            self.core.auth.charge_pin(now, source, &account);
            return IvrEvent::Refused;
        };
        let (entries, language) =
            (self.entries(&extension), self.core.directory.mailbox(&extension.id).language);
        if let Some(visit) = self.voicemail_session_mut(key) {
            (visit.extension, visit.language) = (Some(extension), language);
        }
        IvrEvent::Admitted(entries)
    }

    pub(super) fn entries(&self, extension: &Extension) -> Vec<Entry> {
        let all = self.core.directory.messages(&extension.id);
        let there = all.filter(|message| message.state != MessageState::Recording);
        there
            .map(|m| Entry { id: m.id.clone(), state: m.state, from: m.from_number.clone() })
            .take(limits::MENU_ENTRIES)
            .collect()
    }
}
