//! Results of asynchronous requests to the shell: files, prompts, settings and DNS.

use std::sync::Arc;

use base::Now;
use media::StreamId;
use model::Cause;
use sip::resolve::{Answer, Candidate, LookupId};

use crate::Output;
use crate::backlog::Task;
use crate::call::{Call, CallKey, Phase};
use crate::switch::Switch;
use crate::trunk::lookup::Purpose;
use crate::voicemail::{Clip, IvrEvent, PromptSet, VoicemailSession};

impl Switch {
    /// The audio of an announcement was read; `false` if the call does not wait for this token.
    pub(crate) fn announcement_fetched(
        &mut self,
        now: Now,
        (key, token): (CallKey, u64),
        clip: Option<&Clip>,
        out: &mut Vec<Output>,
    ) -> bool {
        if !self.calls.get(key).is_some_and(|call| call.announces(token)) {
            return false;
        }
        self.on_call(now, key, out, |call, cx| {
            call.audio_is_read(cx, clip.filter(|clip| !clip.is_empty()).cloned());
        });
        true
    }

    /// Playback has finished; `false` if no announcement was playing on this stream.
    pub(crate) fn said(&mut self, now: Now, stream: StreamId, out: &mut Vec<Output>) -> bool {
        let Some((key, index)) = self.core.index.stream_of(stream) else { return false };
        let speaks = |call: &Call| matches!(call.phase, Phase::Announcing(to) if to == index);
        let over = self.calls.get(key).is_some_and(speaks);
        if over {
            self.on_call(now, key, out, |call, cx| call.release(cx, Cause::Completed));
        }
        over
    }

    /// The result of storing an announcement in a mailbox.
    pub(crate) fn deposited(&mut self, now: Now, token: u64, done: bool, out: &mut Vec<Output>) {
        let expected = self.core.index.expected(token);
        let Some(key) = expected.filter(|key| self.calls.get(*key).is_some_and(|call| call.announces(token)))
        else {
            return;
        };
        let Some(call) = self.calls.get_mut(key) else { return };
        if matches!(call.phase, Phase::StoringMessage) {
            if done {
                call.phase = Phase::Announcing(0);
                self.on_call(now, key, out, crate::call::Call::up);
            }
            let cause = if done { Cause::Completed } else { Cause::Internal };
            self.on_call(now, key, out, |call, cx| call.release(cx, cause));
        }
    }

    /// The result of storing a setting.
    pub(crate) fn setting_changed(&mut self, now: Now, token: u64, done: bool, out: &mut Vec<Output>) {
        if let Some(key) = self.core.index.expected(token) {
            self.on_call(now, key, out, |call, cx| call.setting_changed(cx, done));
        }
    }

    /// A DNS answer: continue all lookups that wait for it.
    pub(crate) fn resolved(&mut self, now: Now, token: u64, answer: &Answer, out: &mut Vec<Output>) {
        let lookups = self.core.trunks.answered(token);
        self.do_in_parts(now, Task::Resolved { lookups, answer: answer.clone() }, out);
    }

    /// Hand a DNS answer to one of the lookups that wait for it.
    pub(crate) fn lookup_answered(&mut self, now: Now, id: LookupId, answer: &Answer, out: &mut Vec<Output>) {
        let done = self.core.trunks.take_answer(now.instant, id, answer, out);
        self.looked_up(now, done, out);
    }

    pub(crate) fn looked_up(
        &mut self,
        now: Now,
        done: Option<(Purpose, Vec<Candidate>)>,
        out: &mut Vec<Output>,
    ) {
        if let Some((purpose, candidates)) = done {
            match purpose {
                Purpose::Call { call, attempt } => {
                    self.on_call(now, call, out, |call, cx| call.attempt_resolved(cx, attempt, candidates));
                }
                Purpose::Probe { trunk, host } => self.core.probe_all(now, &trunk, &host, &candidates),
                Purpose::Register(trunk) => self.core.registrar_resolved(now, &trunk, candidates, out),
            }
        }
    }

    /// The prompts are decoded: start speaking in the calls that wait for them.
    pub(crate) fn prompts_are_read(&mut self, now: Now, prompts: Arc<PromptSet>, out: &mut Vec<Output>) {
        (self.core.prompts, self.core.prompts_read) = (prompts, true);
        self.do_in_parts(now, Task::Speak, out);
    }

    /// The result of reading an audio file.
    pub(crate) fn fetched(&mut self, now: Now, token: u64, clip: Option<Clip>, out: &mut Vec<Output>) {
        let Some(key) = self.core.index.expected(token) else { return };
        if self.announcement_fetched(now, (key, token), clip.as_ref(), out) {
            return;
        }
        let fetches =
            |visit: &VoicemailSession| visit.fetching.as_ref().is_some_and(|(asked, _)| *asked == token);
        if !self.calls.get(key).and_then(|call| call.voicemail_session()).is_some_and(fetches) {
            return;
        }
        let Some(visit) = self.calls.get_mut(key).and_then(|call| call.voicemail_session_mut()) else {
            return;
        };
        let (language, said) =
            (visit.language, visit.fetching.take().map(|(_, said)| said).unwrap_or_default());
        match clip {
            Some(clip) => {
                let mut samples = self.core.prompts.say(language, &said).to_vec();
                samples.extend_from_slice(&clip);
                self.on_call(now, key, out, |call, cx| call.say(cx, samples.into()));
            }
            None => self.on_call(now, key, out, |call, cx| call.dispatch_ivr(cx, &IvrEvent::Missing)),
        }
    }
}
