//! Nobody took the call: what next? The one place that decides it (S71, S73): an extension that a call reaches forwards it, looks for its
//! owner, rings, or falls back.

use std::sync::Arc;

use base::Now;
use media::{Source, Tone};
use model::dialplan::{self, CallOrigin, DialContext, Route};
use model::{Cause, Extension, ExtensionId, ForwardingMode, TraceStep, UserId};
use sip::{Message, Scheme};

use super::diversion::{Diversion, DiversionReason};
use super::find_me::RingSequence;
use super::{CallKey, LegState, Phase};
use crate::switch::Switch;
use crate::{Output, limits};

/// How a call came to where it is.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    /// The extensions that had the call and could not place it, the present one last.
    pub(crate) hops: Vec<RoutingHop>,
    /// Extensions that have had the call, or made it: none gets it twice.
    pub(crate) visited_extensions: Vec<ExtensionId>,
    /// How often it was diverted here, oldest first.
    pub(crate) diversions: Vec<Diversion>,
    /// How often it had been diverted before it came here.
    pub(crate) prior_diversions: usize,
    /// User names whose phones ring now.
    pub(crate) ringing_aors: Vec<Arc<str>>,
    /// Whose further call it is, besides its caller's (S29).
    pub(crate) charged_users: Vec<UserId>,
    /// The follow-me that is under way.
    pub(crate) ring_sequence: Option<RingSequence>,
    /// Its way outside was admitted already, before its device rang.
    pub(crate) outbound_admitted: bool,
    /// The leg whose early media the caller has been given.
    pub(crate) early_media_leg: Option<usize>,
    /// The caller does not want to be shown (`*67`).
    pub(crate) hidden: bool,
}

/// An extension that has the call, and what it has tried.
#[derive(Debug)]
pub(crate) struct RoutingHop {
    pub(crate) extension: Arc<Extension>,
    /// Where its phone sends callers to (302).
    deflected_to: Option<String>,
    /// It has passed the call on once.
    diverted: bool,
}

impl Switch {
    /// A call reaches an extension: where it is always forwarded it goes on at once, over everything else (S73).
    pub(crate) fn route_to_extension(
        &mut self,
        now: Now,
        key: CallKey,
        extension: &Arc<Extension>,
        out: &mut Vec<Output>,
    ) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.phase = Phase::Dialling;
        call.best_cause = None;
        let diverted = !call.routing.diversions.is_empty();
        if diverted && call.routing.visited_extensions.contains(&extension.id) {
            let outcome = format!("{} has had this call already", extension.number);
            call.record.trace.push(TraceStep { rule: "loop".into(), outcome });
            return self.on_no_answer(now, key, Cause::ForwardingLoop, out);
        }
        call.routing.visited_extensions.push(extension.id.clone());
        let stop = RoutingHop { extension: Arc::clone(extension), deflected_to: None, diverted: false };
        call.routing.hops.push(stop);
        self.remember_caller(key, &extension.username);
        if extension.forwarding.mode == ForwardingMode::Always && self.forwards(key, Cause::Completed) {
            return self.divert(now, key, DiversionReason::Always, out);
        }
        if extension.do_not_disturb {
            self.push_trace(
                key,
                "do_not_disturb",
                format!("{} does not want to be disturbed", extension.number),
            );
            return self.on_no_answer(now, key, Cause::DoNotDisturb, out);
        }
        if !extension.call_waiting && self.is_busy(&extension.username) {
            self.push_trace(key, "call_waiting", format!("{} takes no second call", extension.number));
            return self.on_no_answer(now, key, Cause::Busy, out); // S193
        }
        if let Some(follow_me) = extension.follow_me.clone() {
            return self.follow(now, key, extension, follow_me, out);
        }
        let number = extension.number.to_string();
        let username = Arc::clone(&extension.username);
        self.fork(now, key, &username, &number, u64::from(extension.ring_seconds.max(5)), out);
    }

    /// Nobody took the call, for this cause: busy, no answer, nobody there, not wanted, or nowhere to go. The extension that has it (the
    /// last of the journey's stops) passes it on once, where it says so; else voicemail takes it; else the call ends.
    pub(crate) fn on_no_answer(&mut self, now: Now, key: CallKey, cause: Cause, out: &mut Vec<Output>) {
        self.stop_ringing(now, key, cause, out);
        if let Some(why) = self.diversion_for(key, cause) {
            return self.divert(now, key, why, out);
        }
        let mailbox = self.voicemail_for(key, cause);
        if self.calls.get(key).is_some_and(|call| call.announcement.is_some()) {
            return self.not_heard(now, key, cause, mailbox, out);
        }
        match mailbox {
            Some(extension) => self.leave_message(now, key, &extension, cause, out),
            None => self.release(now, key, cause, out),
        }
    }

    /// Whose voicemail takes a call that nobody took: that of the extension that has it, else of one before it on its journey (S73).
    fn voicemail_for(&self, key: CallKey, cause: Cause) -> Option<Arc<Extension>> {
        let call = self.calls.get(key)?;
        let waits =
            call.leg(0).is_some_and(|leg| !matches!(leg.state, LegState::Terminating | LegState::Terminated));
        let takes = |stop: &&RoutingHop| Switch::voicemail_takes(&stop.extension, cause, stop.diverted);
        call.routing.hops.iter().rev().find(takes).filter(|_| waits).map(|stop| Arc::clone(&stop.extension))
    }

    /// Whether the extension that has the call passes it on after this cause, and why.
    fn diversion_for(&self, key: CallKey, cause: Cause) -> Option<DiversionReason> {
        let stop = self.calls.get(key)?.routing.hops.last()?;
        if stop.deflected_to.is_some() && !stop.diverted {
            return Some(DiversionReason::Deflected);
        }
        self.forwards(key, cause).then(|| DiversionReason::of(cause))
    }

    /// Whether the forwarding of the extension that has the call is on, has not been tried yet, and is meant for this cause.
    fn forwards(&self, key: CallKey, cause: Cause) -> bool {
        let Some(stop) = self.calls.get(key).and_then(|call| call.routing.hops.last()) else { return false };
        let forwarding = &stop.extension.forwarding;
        let meant = match forwarding.mode {
            ForwardingMode::Always => true,
            ForwardingMode::Busy => matches!(cause, Cause::Busy | Cause::DoNotDisturb | Cause::Declined),
            ForwardingMode::NoAnswer => matches!(cause, Cause::NoAnswer | Cause::Refused),
            ForwardingMode::Unreachable => cause == Cause::Unreachable,
        };
        forwarding.enabled && forwarding.number.is_some() && meant && !stop.diverted
    }

    /// Send the call on to where the extension that has it wants it: by the same policy and limits as any call of that extension.
    fn divert(&mut self, now: Now, key: CallKey, why: DiversionReason, out: &mut Vec<Output>) {
        let Some(stop) = self.calls.get_mut(key).and_then(|call| call.routing.hops.last_mut()) else {
            return;
        };
        stop.diverted = true;
        let extension = Arc::clone(&stop.extension);
        let target = match (why, stop.deflected_to.take()) {
            (DiversionReason::Deflected, Some(target)) => target,
            _ => extension.forwarding.number.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        self.push_trace(
            key,
            "forward",
            format!("{} forwards to {target}: {}", extension.number, why.description()),
        );
        if let Err(cause) = self.check_diversion(key, &extension) {
            return self.on_no_answer(now, key, cause, out);
        }
        let asker = DialContext { origin: CallOrigin::Forward, permissions: extension.dial_permissions };
        let decision = dialplan::route(&self.core.directory, asker, &target);
        let Some(call) = self.calls.get_mut(key) else { return };
        call.record.trace.extend(decision.trace);
        if let Route::Refused(cause) = decision.route {
            return self.on_no_answer(now, key, cause, out);
        }
        let from = extension.number.to_string();
        call.routing.diversions.push(Diversion { from, to: target, why });
        self.send_181(now, key, out);
        self.route_call(now, key, decision.route, out);
    }

    /// Whether one more diversion, and one more call of the extension's owner, may be (S29, S71). It is counted.
    pub(crate) fn check_diversion(&mut self, key: CallKey, extension: &Extension) -> Result<(), Cause> {
        let Some(call) = self.calls.get(key) else { return Err(Cause::Internal) };
        if call.routing.prior_diversions + call.routing.diversions.len() >= limits::DIVERSIONS {
            self.push_trace(key, "loop", format!("forwarded {} times already", limits::DIVERSIONS));
            return Err(Cause::ForwardingLoop);
        }
        let user = &extension.user;
        if call.record.user == *user || call.routing.charged_users.contains(user) {
            return Ok(());
        }
        if let Err(cause) = self.has_room(user) {
            self.push_trace(key, "limit", format!("the owner of {} has no call left", extension.number));
            return Err(cause);
        }
        if let Some(call) = self.calls.get_mut(key) {
            self.core.index.charge(call, user.clone());
        }
        Ok(())
    }

    /// 181 to a caller who waits, and ringing to one who hears us already.
    pub(crate) fn send_181(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        let Some(caller) = self.calls.get(key).and_then(|call| call.leg(0)) else { return };
        let (session, up, hears) =
            (caller.session, caller.state == LegState::Up, caller.stream.answer.is_some());
        if up || hears {
            self.set_source(key, 0, Source::Tone(Tone::Ringback), out);
        }
        if !up {
            self.core.endpoint.progress(now, session, 181, None, &mut self.core.sip_out);
        }
    }

    /// Let go of the phones that ring: they missed it, or it goes elsewhere.
    pub(crate) fn stop_ringing(&mut self, now: Now, key: CallKey, cause: Cause, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.routing.ring_sequence = None;
        let ringing_aors = std::mem::take(&mut call.routing.ringing_aors);
        self.core.index.part(call, &ringing_aors);
        let Some(call) = self.calls.get(key) else { return };
        let ringing: Vec<usize> = call.ringing().collect();
        for index in ringing {
            self.cancel_leg(now, key, index, cause, out);
        }
        self.drop_attempts_except(key, None);
        if let Some(call) = self.calls.get_mut(key) {
            self.core.timers.cancel(call.timer.take());
        }
    }

    /// Cancel one leg that rings.
    pub(crate) fn cancel_leg(
        &mut self,
        now: Now,
        key: CallKey,
        index: usize,
        cause: Cause,
        out: &mut Vec<Output>,
    ) {
        if let Some(call) = self.calls.get_mut(key) {
            let at = call.time(now);
            if let Some(record) = call.legs.get_mut(index).map(|leg| &mut leg.record) {
                record.ended_at.get_or_insert(at);
                record.cause.get_or_insert(cause);
            }
        }
        self.hangup_leg(now, key, index, cause, out);
    }

    /// A phone answers with 3xx: where it names a number, or somebody of our own domain, the extension passes the call on to there once
    /// no other phone rings.
    pub(crate) fn on_redirect_response(&mut self, key: CallKey, index: usize, response: &Message) {
        let Some(call) = self.calls.get(key).filter(|call| call.routing.ring_sequence.is_none()) else {
            return;
        };
        let Some(leg) = call.leg(index) else { return };
        let Ok(sip::Contacts::List(contacts)) = response.contacts() else { return };
        let target = contacts.iter().find_map(|contact| {
            let ours = match contact.uri.scheme() {
                Scheme::Tel => true,
                Scheme::Sip | Scheme::Sips => self.core.config.is_ours(contact.uri.host(), &leg.hop),
                Scheme::Other(_) => false,
            };
            contact.uri.user().filter(|_| ours).map(std::borrow::Cow::into_owned)
        });
        let Some(target) = target else {
            return self.push_trace(key, "deflect", "the phone names no place of ours to go to".into());
        };
        if let Some(stop) = self.calls.get_mut(key).and_then(|call| call.routing.hops.last_mut()) {
            stop.deflected_to = Some(target);
        }
    }

    /// Add a step to the answer to "why?".
    pub(crate) fn push_trace(&mut self, key: CallKey, rule: &str, outcome: String) {
        if let Some(call) = self.calls.get_mut(key) {
            call.record.trace.push(TraceStep { rule: rule.into(), outcome });
        }
    }
}
