//! Carries out the actions of the voicemail state machines ([`IvrAction`]).

use std::time::Duration;

use base::Secret;
use media::{MediaCommand, PlayId};
use model::voicemail::Fact;
use model::{Cause, Extension, ExtensionNumber, MessageState};

use super::prompt::Prompt;
use super::session::{GRACE, Waiting};
use super::{Audio, Clip, Entry, IvrAction, IvrEvent, VoicemailEffect};
use crate::call::Call;
use crate::core::{Core, Cx};
use crate::{Output, limits};

impl Call {
    pub(super) fn perform(&mut self, cx: &mut Cx<'_>, acts: Vec<IvrAction>) {
        for act in acts {
            let Some(visit) = self.voicemail_session() else { return };
            let (language, extension, recording) = (visit.language, visit.extension.clone(), visit.recording);
            match act {
                IvrAction::Say(said) => {
                    let clip = cx.core.prompts.say(language, &said);
                    self.say(cx, clip);
                }
                IvrAction::SayAndPlay(said, audio) => self.fetch(cx, said, audio),
                IvrAction::StopPlayback => self.hush(cx),
                IvrAction::Wait(time) => self.wait(cx, Waiting::Key, time),
                IvrAction::Record(taken) => {
                    self.hush(cx);
                    let Some(extension) = extension else { continue };
                    let recording = self.take(cx, (&extension.id, &extension.user), taken);
                    if let Some(visit) = self.voicemail_session_mut() {
                        visit.recording = recording;
                    }
                    self.wait(cx, Waiting::Key, taken.longest() + GRACE);
                }
                IvrAction::Stop => {
                    if let (Some(recording), Some(leg)) = (recording, self.leg(0)) {
                        let command = MediaCommand::StopRecording { recording };
                        cx.out.push(Output::Media { worker: leg.stream.port.worker, command });
                    }
                }
                IvrAction::Keep | IvrAction::Forget => {
                    if let Some(recording) = recording {
                        cx.core.decide_voicemail_recording(recording, act == IvrAction::Keep, cx.out);
                    }
                    if let Some(visit) = self.voicemail_session_mut() {
                        visit.recording = None;
                    }
                }
                IvrAction::VerifyPin { number, pin } => {
                    let verdict = self.judge_pin(cx, number.as_deref(), &pin);
                    self.dispatch_ivr(cx, &verdict);
                }
                IvrAction::Mark(id, state) => {
                    let Some(extension) = extension else { continue };
                    let fact = Fact::Marked { extension: extension.id.clone(), id, state };
                    cx.out.push(Output::Voicemail(Box::new(VoicemailEffect::Fact(fact))));
                }
                IvrAction::Delete(id) => {
                    let Some(extension) = extension else { continue };
                    let fact = Fact::Deleted { extension: extension.id.clone(), id };
                    cx.out.push(Output::Voicemail(Box::new(VoicemailEffect::Fact(fact))));
                }
                IvrAction::HangUp => self.release(cx, Cause::Completed),
            }
        }
    }

    pub(crate) fn say(&mut self, cx: &mut Cx<'_>, clip: Clip) {
        self.hush(cx);
        let length = Duration::from_micros(clip.len() as u64 * 125);
        let Some(visit) = self.voicemail_session_mut() else { return };
        visit.play = PlayId(visit.play.0.wrapping_add(1));
        let play = visit.play;
        let Some(leg) = self.leg(0) else { return };
        let command = MediaCommand::Play { stream: leg.stream.id, play, clip };
        cx.out.push(Output::Media { worker: leg.stream.port.worker, command });
        self.wait(cx, Waiting::Said, length + GRACE);
    }

    fn hush(&self, cx: &mut Cx<'_>) {
        if let Some(leg) = self.leg(0) {
            let command = MediaCommand::StopPlay { stream: leg.stream.id };
            cx.out.push(Output::Media { worker: leg.stream.port.worker, command });
        }
    }

    fn fetch(&mut self, cx: &mut Cx<'_>, said: Vec<Prompt>, audio: Audio) {
        self.hush(cx);
        let token = cx.core.rng.u64();
        let Some(visit) = self.voicemail_session_mut() else { return };
        visit.fetching = Some((token, said));
        let Some(extension) = visit.extension.as_ref().map(|extension| extension.id.clone()) else { return };
        cx.core.index.expect(token, self.key);
        cx.out.push(Output::Voicemail(Box::new(VoicemailEffect::Fetch { token, extension, audio })));
        self.wait(cx, Waiting::File, GRACE);
    }

    pub(super) fn wait(&mut self, cx: &mut Cx<'_>, waits: Waiting, time: Duration) {
        let Some(visit) = self.voicemail_session_mut() else { return };
        visit.waits = waits;
        let due = (cx.now.instant + time).min(visit.ends);
        self.set_timer(cx, due);
    }

    /// Verify a PIN: of the mailbox of extension `number`, or of the session's mailbox. A wrong PIN counts against the caller's source address
    /// and the mailbox, like a wrong password.
    fn judge_pin(&mut self, cx: &mut Cx<'_>, number: Option<&str>, pin: &Secret<String>) -> IvrEvent {
        let Some(source) = self.leg(0).map(|leg| leg.hop.remote.ip()) else { return IvrEvent::Refused };
        let asked = match number {
            Some(number) => ExtensionNumber::parse(number)
                .ok()
                .and_then(|number| cx.core.directory.extension_by_number(&number).cloned()),
            None => self.voicemail_session().and_then(|visit| visit.extension.clone()),
        };
        let account = match (&asked, number) {
            (Some(extension), _) => format!("voicemail {}", extension.id),
            (None, number) => format!("voicemail {}", number.unwrap_or_default()),
        };
        let admitted = cx.core.auth.admits_pin(cx.now.instant, source, &account);
        let opened = asked.filter(|extension| {
            let mailbox = cx.core.directory.mailbox(&extension.id);
            let proved = mailbox
                .pin
                .as_ref()
                .is_some_and(|proof| proof.holds(&cx.core.config.pin_key, &extension.id, pin.expose()));
            proved && admitted
        });
        let Some(extension) = opened else {
            cx.core.auth.charge_pin(cx.now, source, &account);
            return IvrEvent::Refused;
        };
        let (entries, language) =
            (cx.core.entries(&extension), cx.core.directory.mailbox(&extension.id).language);
        if let Some(visit) = self.voicemail_session_mut() {
            (visit.extension, visit.language) = (Some(extension), language);
        }
        IvrEvent::Admitted(entries)
    }
}

impl Core {
    pub(super) fn entries(&self, extension: &Extension) -> Vec<Entry> {
        let all = self.directory.messages(&extension.id);
        let there = all.filter(|message| message.state != MessageState::Recording);
        there
            .map(|m| Entry { id: m.id.clone(), state: m.state, from: m.from_number.clone() })
            .take(limits::MENU_ENTRIES)
            .collect()
    }
}
