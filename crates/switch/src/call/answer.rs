//! Ringing and answering: what the called phones say, and what the caller is told of it.

use std::time::Duration;

use base::Now;
use bytes::Bytes;
use media::{Source, Tone};
use model::journal::{CallEvent, DialogSnapshot, Record};
use model::{CallDirection, CallStatus, Cause, LegRole};

use super::{CallKey, LegState, Phase};
use crate::Output;
use crate::location::transport_number;
use crate::switch::Switch;

impl Switch {
    pub(crate) fn progressed(
        &mut self,
        now: Now,
        key: CallKey,
        index: usize,
        status: u16,
        sdp: Option<Bytes>,
        out: &mut Vec<Output>,
    ) {
        self.test_hears(now, key, status);
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(leg) = call.legs.get_mut(index) else { return };
        let begins = leg.state == LegState::Trying && status >= 180;
        if begins {
            leg.state = LegState::Ringing;
        }
        if call.is_up() {
            return; // it was let go, and voicemail has the caller
        }
        call.record.status = CallStatus::Ringing;
        if !matches!(call.phase, Phase::Dialling) || index == 0 {
            return; // the device of a click-to-call rings: nobody else listens yet
        }
        if begins {
            let note = CallEvent::Ringing { call: call.record.id.clone(), at: call.time(now) };
            out.push(Output::Journal(Record::Noted(note)));
        }
        let early = sdp.is_some_and(|sdp| self.apply_answer(key, index, &sdp, out).is_ok());
        if self.is_leg_up(key, 0) {
            let source = match (early, self.calls.get(key).and_then(|c| c.leg(index))) {
                (true, Some(leg)) => Source::Stream(leg.stream.id),
                _ => Source::Tone(Tone::Ringback),
            };
            return self.set_source(key, 0, source, out);
        }
        self.tell_caller(now, key, index, early, out);
    }

    /// Pass ringing, or early media, to a caller that waits for an answer.
    fn tell_caller(&mut self, now: Now, key: CallKey, index: usize, early: bool, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let (Some(caller), Some(callee)) = (call.legs.first(), call.leg(index)) else { return };
        let (session, rang, has_answer) =
            (caller.session, caller.state == LegState::Ringing, caller.stream.answer.is_some());
        let partner = callee.stream.negotiated.clone();
        if let Some(caller) = call.legs.first_mut() {
            caller.state = LegState::Ringing;
        }
        let heard = self.calls.get(key).and_then(|c| c.leg(c.routing.early_media_leg?));
        let silent = heard.is_some_and(|leg| !matches!(leg.state, LegState::Trying | LegState::Ringing));
        if early && has_answer && silent {
            self.hear(key, index, out); // the phone that was heard before was let go
        }
        let can_hear = early
            && !has_answer
            && self.calls.get(key).is_some_and(|c| c.legs.first().is_some_and(|l| l.stream.theirs.is_some()));
        if can_hear && let Ok(answer) = self.answer_offer(key, 0, partner.as_ref(), out) {
            self.hear(key, index, out);
            self.core.endpoint.progress(now, session, 183, Some(answer), &mut self.core.sip_out);
        } else if !rang {
            self.core.endpoint.progress(now, session, 180, None, &mut self.core.sip_out);
        }
    }

    /// Let the caller hear what a phone sends before it answers.
    fn hear(&mut self, key: CallKey, index: usize, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.routing.early_media_leg = Some(index);
        let Some(source) = call.leg(index).map(|leg| Source::Stream(leg.stream.id)) else { return };
        self.set_source(key, 0, source, out);
    }

    pub(crate) fn accepted(
        &mut self,
        now: Now,
        key: CallKey,
        index: usize,
        sdp: Option<Bytes>,
        out: &mut Vec<Output>,
    ) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let at = call.time(now);
        if let Some(record) = call.legs.get_mut(index).map(|leg| &mut leg.record) {
            record.answered_at = Some(at);
        }
        if matches!(call.phase, Phase::TrunkTest) {
            return self.test_answered(now, key, index, out);
        }
        let wanted = matches!(call.phase, Phase::Dialling if index > 0)
            || matches!(call.phase, Phase::RingingDevice(_));
        let leaving = call.leg(index).is_none_or(|leg| leg.state == LegState::Terminating);
        if !wanted || leaving {
            // Another phone was quicker, or the caller has gone: CANCEL and 200 crossed, and the endpoint says BYE.
            return self.hangup_leg(now, key, index, Cause::Cancelled, out);
        }
        if let Some(leg) = call.legs.get_mut(index) {
            leg.state = LegState::Up;
        }
        let agreed = match sdp {
            Some(sdp) => self.apply_answer(key, index, &sdp, out).is_ok(),
            None => {
                self.calls.get(key).and_then(|c| c.leg(index)).is_some_and(|l| l.stream.negotiated.is_some())
            }
        };
        if !agreed {
            return self.release(now, key, Cause::IncompatibleMedia, out);
        }
        self.journal_leg(key, index, out);
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Phase::RingingDevice(route) = &call.phase {
            let route = route.clone();
            call.phase = Phase::Dialling;
            return self.route_call(now, key, route, out);
        }
        self.bridge(now, key, index, out);
    }

    /// A callee answered: the others are let go, the caller is answered, and the two hear each other.
    fn bridge(&mut self, now: Now, key: CallKey, index: usize, out: &mut Vec<Output>) {
        let others = self.calls.get(key).map_or(0, |call| call.legs.len());
        for other in (1..others).filter(|other| *other != index) {
            self.hangup_leg(now, key, other, Cause::Cancelled, out);
        }
        self.drop_attempts_except(key, Some(index));
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.announcement.is_some() {
            return self.speak(now, key, index, out);
        }
        call.phase = Phase::Bridged(0, index);
        let outside =
            call.legs.get(index).map(|leg| &leg.record).is_some_and(|leg| leg.role == LegRole::Trunk);
        if outside && call.record.direction == CallDirection::Internal {
            call.record.direction = CallDirection::Outbound;
        }
        if !self.answer_caller(now, key, Some(index), out) {
            return self.release(now, key, Cause::IncompatibleMedia, out);
        }
        self.outbound_call_begins(now, key, index, out);
        self.up(now, key, out);
    }

    /// Answer the caller's INVITE, where it waits for that. `false` where nothing goes with what it offered.
    pub(crate) fn answer_caller(
        &mut self,
        now: Now,
        key: CallKey,
        partner: Option<usize>,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(call) = self.calls.get(key) else { return false };
        let Some(caller) = call.leg(0) else { return false };
        if caller.state == LegState::Up {
            return true; // a click-to-call's device answered long ago
        }
        let session = caller.session;
        let theirs = partner.and_then(|i| call.leg(i)).map(|leg| &leg.stream);
        let negotiated = theirs.and_then(|s| s.negotiated.clone());
        let like = theirs.and_then(|s| s.theirs.clone());
        let sdp = if let Some(fixed) = caller.stream.answer.clone() {
            Some(fixed)
        } else if caller.stream.theirs.is_some() {
            self.answer_offer(key, 0, negotiated.as_ref(), out).ok()
        } else {
            self.make_offer(key, 0, like.as_ref()) // a late offer: its answer comes with the ACK
        };
        let Some(sdp) = sdp else { return false };
        self.core.endpoint.accept(now, session, Some(sdp), &mut self.core.sip_out);
        if let Some(caller) = self.calls.get_mut(key).and_then(|c| c.legs.first_mut()) {
            caller.state = LegState::Up;
        }
        if let Some(call) = self.calls.get_mut(key) {
            let at = call.time(now);
            if let Some(record) = call.legs.first_mut().map(|leg| &mut leg.record) {
                record.answered_at = Some(at);
            }
        }
        // Before the ACK: the phone believes the call to be up as soon as our 200 is on its way.
        self.journal_leg(key, 0, out);
        true
    }

    /// An application answers by itself.
    pub(crate) fn serve(
        &mut self,
        now: Now,
        key: CallKey,
        application: model::dialplan::Application,
        out: &mut Vec<Output>,
    ) {
        use model::dialplan::Application;
        if self.calls.get(key).is_some_and(|call| call.announcement.is_some()) {
            return self.release(now, key, Cause::Refused, out); // forwarded to where nobody listens
        }
        if matches!(application, Application::Voicemail | Application::AnyVoicemail) {
            return self.call_menu(now, key, application, out);
        }
        if application == Application::Settings {
            return self.change_setting(now, key, out);
        }
        let Some(call) = self.calls.get_mut(key) else { return };
        call.phase = Phase::InApplication(application);
        if !self.answer_caller(now, key, None, out) {
            return self.release(now, key, Cause::IncompatibleMedia, out);
        }
        self.up(now, key, out);
        self.ask_for_g711(now, key, 0);
    }

    pub(crate) fn up(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        self.update_media_graph(key, out);
        self.core.counters.calls_answered += 1;
        if let Some(call) = self.calls.get_mut(key) {
            call.record.status = CallStatus::InProgress;
            let at = call.time(now);
            call.record.answered_at = Some(at);
            let note = CallEvent::Answered { call: call.record.id.clone(), at };
            out.push(Output::Journal(Record::Noted(note)));
        }
        let longest: Duration = self.core.config.call_duration;
        self.set_timer(key, now.instant + longest);
        self.auto_record(now, key, out);
    }

    /// The ACK of our 200 is here; where the offer was ours it carries the answer.
    pub(crate) fn confirmed(
        &mut self,
        now: Now,
        key: CallKey,
        index: usize,
        sdp: Option<Bytes>,
        out: &mut Vec<Output>,
    ) {
        let Some(leg) = self.calls.get(key).and_then(|c| c.leg(index)) else { return };
        let owed = leg.stream.ours.is_some() && leg.stream.negotiated.is_none();
        match sdp {
            Some(sdp) => {
                if self.apply_answer(key, index, &sdp, out).is_err() {
                    return self.release(now, key, Cause::IncompatibleMedia, out);
                }
                self.update_media_graph(key, out);
            }
            None if owed => self.release(now, key, Cause::IncompatibleMedia, out),
            None => {}
        }
    }

    /// Write down what a leg's phone must be told goodbye with after a crash, and what the call's record says of it then.
    fn journal_leg(&self, key: CallKey, index: usize, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get(key) else { return };
        let Some(leg) = call.leg(index) else { return };
        let Some(dialog) = self.core.endpoint.dialog(leg.session) else { return };
        let open = DialogSnapshot {
            dialog,
            transport: transport_number(leg.hop.transport),
            listener: self.core.config.listener_id(leg.hop.listener),
            local: leg.hop.local,
            remote: leg.hop.remote,
            place: Some(index as u32),
            record: call.legs.get(index).map(|leg| leg.record.clone()).map(Box::new),
        };
        out.push(Output::Journal(Record::LegUp { call: call.record.id.clone(), leg: open }));
    }
}
