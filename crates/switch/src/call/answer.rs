//! Ringing and answering: responses of the callees, and the responses to the caller that follow from them.

use std::time::Duration;

use bytes::Bytes;
use media::{Source, Tone};
use model::journal::{CallEvent, DialogSnapshot, Record};
use model::{CallDirection, CallStatus, Cause, LegRole};

use super::{LegState, Phase};
use crate::Output;
use crate::call::Call;
use crate::core::Cx;
use crate::location::transport_number;

impl Call {
    pub(crate) fn progressed(&mut self, cx: &mut Cx<'_>, index: usize, status: u16, sdp: Option<Bytes>) {
        self.test_hears(cx, status);
        let Some(leg) = self.legs.get_mut(index) else { return };
        let begins = leg.state == LegState::Trying && status >= 180;
        if begins {
            leg.state = LegState::Ringing;
        }
        if self.is_up() {
            return; // this leg was cancelled; voicemail, for instance, has answered the caller
        }
        self.record.status = CallStatus::Ringing;
        if !matches!(self.phase, Phase::Dialling) || index == 0 {
            return; // the device of a click-to-call rings: there is no other leg to notify yet
        }
        if begins {
            let note = CallEvent::Ringing { call: self.record.id.clone(), at: self.time(cx.now) };
            cx.out.push(Output::Journal(Record::Noted(note)));
        }
        let early = sdp.is_some_and(|sdp| self.apply_answer(cx, index, &sdp).is_ok());
        if self.is_leg_up(0) {
            let source = match (early, self.leg(index)) {
                (true, Some(leg)) => Source::Stream(leg.stream.id),
                _ => Source::Tone(Tone::Ringback),
            };
            return self.set_source(cx, 0, source);
        }
        self.tell_caller(cx, index, status, early);
    }

    /// Send ringing, or early media, to a caller that waits for an answer. The latest response of the leg with early media counts: a 180 after a
    /// 183 lets the caller's phone generate local ringback while no media flows (RFC 3960 §3.2).
    fn tell_caller(&mut self, cx: &mut Cx<'_>, index: usize, status: u16, early: bool) {
        let (Some(caller), Some(callee)) = (self.legs.first(), self.leg(index)) else { return };
        let (session, rang, has_answer) =
            (caller.session, caller.state == LegState::Ringing, caller.stream.answer.is_some());
        let partner = callee.stream.negotiated.clone();
        if let Some(caller) = self.legs.first_mut() {
            caller.state = LegState::Ringing;
        }
        let heard = self.routing.early_media_leg.and_then(|index| self.leg(index));
        let silent = heard.is_some_and(|leg| !matches!(leg.state, LegState::Trying | LegState::Ringing));
        if early && has_answer && silent {
            self.hear(cx, index); // the leg whose early media was played before no longer rings
        }
        let can_hear = early && !has_answer && self.legs.first().is_some_and(|l| l.stream.theirs.is_some());
        if can_hear && let Ok(answer) = self.answer_offer(cx, 0, partner.as_ref()) {
            self.hear(cx, index);
            self.routing.last_progress = 183;
            cx.core.endpoint.progress(cx.now, session, 183, Some(answer), &mut cx.core.sip_out);
        } else if !rang {
            self.routing.last_progress = 180;
            cx.core.endpoint.progress(cx.now, session, 180, None, &mut cx.core.sip_out);
        } else if has_answer
            && self.routing.early_media_leg == Some(index)
            && matches!(status, 180 | 183)
            && status != self.routing.last_progress
        {
            self.routing.last_progress = status;
            cx.core.endpoint.progress(cx.now, session, status, None, &mut cx.core.sip_out);
        }
    }

    /// Play the early media of leg `index` to the caller.
    fn hear(&mut self, cx: &mut Cx<'_>, index: usize) {
        self.routing.early_media_leg = Some(index);
        let Some(source) = self.leg(index).map(|leg| Source::Stream(leg.stream.id)) else { return };
        self.set_source(cx, 0, source);
    }

    pub(crate) fn accepted(&mut self, cx: &mut Cx<'_>, index: usize, sdp: Option<Bytes>) {
        let at = self.time(cx.now);
        if let Some(record) = self.legs.get_mut(index).map(|leg| &mut leg.record) {
            record.answered_at = Some(at);
        }
        if matches!(self.phase, Phase::TrunkTest) {
            return self.test_answered(cx, index);
        }
        let wanted = matches!(self.phase, Phase::Dialling if index > 0)
            || matches!(self.phase, Phase::RingingDevice(_));
        let leaving = self.leg(index).is_none_or(|leg| leg.state == LegState::Terminating);
        if !wanted || leaving {
            // Another leg was answered first, or the caller has gone: CANCEL and 200 crossed, and the endpoint sends BYE.
            return self.hangup_leg(cx, index, Cause::Cancelled);
        }
        if let Some(leg) = self.legs.get_mut(index) {
            leg.state = LegState::Up;
        }
        let agreed = match sdp {
            Some(sdp) => self.apply_answer(cx, index, &sdp).is_ok(),
            None => self.leg(index).is_some_and(|l| l.stream.negotiated.is_some()),
        };
        if !agreed {
            return self.release(cx, Cause::IncompatibleMedia);
        }
        self.journal_leg(cx, index);
        if let Phase::RingingDevice(route) = &self.phase {
            let route = route.clone();
            self.phase = Phase::Dialling;
            return self.route_call(cx, route);
        }
        self.bridge(cx, index);
    }

    /// A callee answered: cancel the other legs, answer the caller, and bridge the two.
    fn bridge(&mut self, cx: &mut Cx<'_>, index: usize) {
        let others = self.legs.len();
        for other in (1..others).filter(|other| *other != index) {
            self.cancel_leg(cx, other, Cause::AnsweredElsewhere);
        }
        self.drop_attempts_except(cx, Some(index));
        if self.announcement.is_some() {
            return self.speak(cx, index);
        }
        self.phase = Phase::Bridged(0, index);
        let outside =
            self.legs.get(index).map(|leg| &leg.record).is_some_and(|leg| leg.role == LegRole::Trunk);
        if outside && self.record.direction == CallDirection::Internal {
            self.record.direction = CallDirection::Outbound;
        }
        if !self.answer_caller(cx, Some(index)) {
            return self.release(cx, Cause::IncompatibleMedia);
        }
        self.outbound_call_begins(cx, index);
        self.up(cx);
    }

    /// Answer the caller's INVITE unless already answered. `false` if no answer or offer can be made for it.
    pub(crate) fn answer_caller(&mut self, cx: &mut Cx<'_>, partner: Option<usize>) -> bool {
        let Some(caller) = self.leg(0) else { return false };
        if caller.state == LegState::Up {
            return true; // the device of a click-to-call, or a placeholder
        }
        let session = caller.session;
        let theirs = partner.and_then(|i| self.leg(i)).map(|leg| &leg.stream);
        let negotiated = theirs.and_then(|s| s.negotiated.clone());
        let like = theirs.and_then(|s| s.theirs.clone());
        let sdp = if let Some(fixed) = caller.stream.answer.clone() {
            Some(fixed)
        } else if caller.stream.theirs.is_some() {
            self.answer_offer(cx, 0, negotiated.as_ref()).ok()
        } else {
            self.make_offer(cx, 0, like.as_ref()) // delayed offer: the ACK carries the answer
        };
        let Some(sdp) = sdp else { return false };
        cx.core.endpoint.accept(cx.now, session, Some(sdp), &mut cx.core.sip_out);
        if let Some(caller) = self.legs.first_mut() {
            caller.state = LegState::Up;
        }
        let at = self.time(cx.now);
        if let Some(record) = self.legs.first_mut().map(|leg| &mut leg.record) {
            record.answered_at = Some(at);
        }
        // Before the ACK: the phone may consider the call established as soon as our 200 is sent.
        self.journal_leg(cx, 0);
        true
    }

    /// Connect the call to an application, which answers it.
    pub(crate) fn serve(&mut self, cx: &mut Cx<'_>, application: model::dialplan::Application) {
        use model::dialplan::Application;
        if self.announcement.is_some() {
            return self.release(cx, Cause::Refused); // an announcement that was forwarded to an application
        }
        if matches!(application, Application::Voicemail | Application::AnyVoicemail) {
            return self.call_menu(cx, application);
        }
        if application == Application::Settings {
            return self.change_setting(cx);
        }
        self.phase = Phase::InApplication(application);
        if !self.answer_caller(cx, None) {
            return self.release(cx, Cause::IncompatibleMedia);
        }
        self.up(cx);
        self.ask_for_g711(cx, 0);
    }

    pub(crate) fn up(&mut self, cx: &mut Cx<'_>) {
        self.update_media_graph(cx);
        cx.core.counters.calls_answered += 1;
        self.record.status = CallStatus::InProgress;
        let at = self.time(cx.now);
        self.record.answered_at = Some(at);
        let note = CallEvent::Answered { call: self.record.id.clone(), at };
        cx.out.push(Output::Journal(Record::Noted(note)));
        let longest: Duration = cx.core.config.call_duration;
        self.set_timer(cx, cx.now.instant + longest);
        self.auto_record(cx);
    }

    /// The ACK of our 200 was received; if the 200 carried our offer, the ACK carries the answer.
    pub(crate) fn confirmed(&mut self, cx: &mut Cx<'_>, index: usize, sdp: Option<Bytes>) {
        let Some(leg) = self.leg(index) else { return };
        let owed = leg.stream.ours.is_some() && leg.stream.negotiated.is_none();
        match sdp {
            Some(sdp) => {
                if self.apply_answer(cx, index, &sdp).is_err() {
                    return self.release(cx, Cause::IncompatibleMedia);
                }
                self.update_media_graph(cx);
            }
            None if owed => self.release(cx, Cause::IncompatibleMedia),
            None => {}
        }
    }

    /// Journal a leg's dialog, to send BYE after a crash, and its entry in the call record.
    fn journal_leg(&self, cx: &mut Cx<'_>, index: usize) {
        let Some(leg) = self.leg(index) else { return };
        let Some(dialog) = cx.core.endpoint.dialog(leg.session) else { return };
        let open = DialogSnapshot {
            dialog,
            transport: transport_number(leg.hop.transport),
            listener: cx.core.config.listener_id(leg.hop.listener),
            local: leg.hop.local,
            remote: leg.hop.remote,
            place: Some(index as u32),
            record: self.legs.get(index).map(|leg| leg.record.clone()).map(Box::new),
        };
        cx.out.push(Output::Journal(Record::LegUp { call: self.record.id.clone(), leg: open }));
    }
}
