//! Routing of a call to an extension, and the next step when it is not answered (S71, S73): forwarding, follow-me, ringing, voicemail or
//! release. All of these decisions are made here.

use std::sync::Arc;

use media::{Source, Tone};
use model::dialplan::{self, CallOrigin, DialContext, Route};
use model::{Cause, Extension, ExtensionId, ForwardingMode, TraceStep, UserId};
use sip::{Message, Scheme};

use super::diversion::{Diversion, DiversionReason};
use super::find_me::RingSequence;
use super::{LegState, Phase};
use crate::call::Call;
use crate::core::Cx;
use crate::limits;
use crate::switch::Switch;

/// The routing state of a call.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    /// Extensions that the call was routed to, the current one last.
    pub(crate) hops: Vec<RoutingHop>,
    /// Extensions that have received the call, or placed it; a forwarded call is not routed to any of them again.
    pub(crate) visited_extensions: Vec<ExtensionId>,
    /// Diversions made by this server, oldest first.
    pub(crate) diversions: Vec<Diversion>,
    /// Number of diversions before the call reached this server.
    pub(crate) prior_diversions: usize,
    /// User names whose devices are ringing.
    pub(crate) ringing_aors: Vec<Arc<str>>,
    /// Users that the call is charged to, in addition to its own user (S29).
    pub(crate) charged_users: Vec<UserId>,
    /// The follow-me in progress.
    pub(crate) ring_sequence: Option<RingSequence>,
    /// Click-to-call: the outbound limits were checked before the device was rung.
    pub(crate) outbound_admitted: bool,
    /// The leg whose early media is sent to the caller.
    pub(crate) early_media_leg: Option<usize>,
    /// Last provisional response sent to the caller: 180 or 183; 0 for none.
    pub(crate) last_progress: u16,
    /// The caller number is withheld (`*67`).
    pub(crate) hidden: bool,
}

/// An extension that the call was routed to, and its diversion state.
#[derive(Debug)]
pub(crate) struct RoutingHop {
    pub(crate) extension: Arc<Extension>,
    /// Target of a 3xx response from one of its devices.
    deflected_to: Option<String>,
    /// It has diverted the call; this is done once.
    diverted: bool,
}

impl Call {
    /// Route the call to an extension. Unconditional forwarding takes precedence over every other setting (S73).
    pub(crate) fn route_to_extension(&mut self, cx: &mut Cx<'_>, extension: &Arc<Extension>) {
        self.phase = Phase::Dialling;
        self.best_cause = None;
        let diverted = !self.routing.diversions.is_empty();
        if diverted && self.routing.visited_extensions.contains(&extension.id) {
            let outcome = format!("{} has had this call already", extension.number);
            self.record.trace.push(TraceStep { rule: "loop".into(), outcome });
            return self.on_no_answer(cx, Cause::ForwardingLoop);
        }
        self.routing.visited_extensions.push(extension.id.clone());
        let stop = RoutingHop { extension: Arc::clone(extension), deflected_to: None, diverted: false };
        self.routing.hops.push(stop);
        self.remember_caller(cx, &extension.username);
        if extension.forwarding.mode == ForwardingMode::Always && self.forwards(Cause::Completed) {
            return self.divert(cx, DiversionReason::Always);
        }
        if extension.do_not_disturb {
            self.push_trace("do_not_disturb", format!("{} does not want to be disturbed", extension.number));
            return self.on_no_answer(cx, Cause::DoNotDisturb);
        }
        if !extension.call_waiting && cx.core.is_busy(&extension.username) {
            self.push_trace("call_waiting", format!("{} takes no second call", extension.number));
            return self.on_no_answer(cx, Cause::Busy); // S193
        }
        if let Some(follow_me) = extension.follow_me.clone() {
            return self.follow(cx, extension, follow_me);
        }
        let number = extension.number.to_string();
        let username = Arc::clone(&extension.username);
        self.fork(cx, &username, &number, u64::from(extension.ring_seconds.max(5)));
    }

    /// The call was not answered: busy, no answer, unreachable, rejected or not routable. The current extension (the last hop) diverts the call
    /// once if its forwarding applies to `cause`; otherwise voicemail takes it; otherwise the call is released.
    pub(crate) fn on_no_answer(&mut self, cx: &mut Cx<'_>, cause: Cause) {
        self.stop_ringing(cx, cause);
        if let Some(why) = self.diversion_for(cause) {
            return self.divert(cx, why);
        }
        let mailbox = self.voicemail_for(cause);
        if self.announcement.is_some() {
            return self.not_heard(cx, cause, mailbox);
        }
        match mailbox {
            Some(extension) => self.leave_message(cx, &extension, cause),
            None => self.release(cx, cause),
        }
    }

    /// The extension whose voicemail takes an unanswered call: the current hop or, if that has none, the closest earlier hop (S73). `None` when the
    /// caller has hung up.
    fn voicemail_for(&self, cause: Cause) -> Option<Arc<Extension>> {
        let waits =
            self.leg(0).is_some_and(|leg| !matches!(leg.state, LegState::Terminating | LegState::Terminated));
        let takes = |stop: &&RoutingHop| Switch::voicemail_takes(&stop.extension, cause, stop.diverted);
        self.routing.hops.iter().rev().find(takes).filter(|_| waits).map(|stop| Arc::clone(&stop.extension))
    }

    /// The reason with which the current extension diverts the call after this cause; `None` when it does not divert.
    fn diversion_for(&self, cause: Cause) -> Option<DiversionReason> {
        let stop = self.routing.hops.last()?;
        if stop.deflected_to.is_some() && !stop.diverted {
            return Some(DiversionReason::Deflected);
        }
        self.forwards(cause).then(|| DiversionReason::of(cause))
    }

    /// Whether the forwarding of the current extension is enabled, applies to this cause and has not been used for this call.
    fn forwards(&self, cause: Cause) -> bool {
        let Some(stop) = self.routing.hops.last() else { return false };
        let forwarding = &stop.extension.forwarding;
        let meant = match forwarding.mode {
            ForwardingMode::Always => true,
            ForwardingMode::Busy => matches!(cause, Cause::Busy | Cause::DoNotDisturb | Cause::Declined),
            ForwardingMode::NoAnswer => matches!(cause, Cause::NoAnswer | Cause::Refused),
            ForwardingMode::Unreachable => cause == Cause::Unreachable,
        };
        forwarding.enabled && forwarding.number.is_some() && meant && !stop.diverted
    }

    /// Divert the call to the forwarding target of the current extension, with the dial policy and limits of a call of that extension.
    fn divert(&mut self, cx: &mut Cx<'_>, why: DiversionReason) {
        let Some(stop) = self.routing.hops.last_mut() else {
            return;
        };
        stop.diverted = true;
        let extension = Arc::clone(&stop.extension);
        let target = match (why, stop.deflected_to.take()) {
            (DiversionReason::Deflected, Some(target)) => target,
            _ => extension.forwarding.number.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        self.push_trace(
            "forward",
            format!("{} forwards to {target}: {}", extension.number, why.description()),
        );
        if let Err(cause) = self.check_diversion(cx, &extension) {
            return self.on_no_answer(cx, cause);
        }
        let asker = DialContext { origin: CallOrigin::Forward, permissions: extension.dial_permissions };
        let decision = dialplan::route(&cx.core.directory, asker, &target);
        self.record.trace.extend(decision.trace);
        if let Route::Refused(cause) = decision.route {
            return self.on_no_answer(cx, cause);
        }
        let from = extension.number.to_string();
        self.routing.diversions.push(Diversion { from, to: target, why });
        self.send_181(cx);
        self.route_call(cx, decision.route);
    }

    /// Check the limit of diversions per call and the concurrent calls of the extension's owner (S29, S71), and charge the call to the owner.
    pub(crate) fn check_diversion(&mut self, cx: &mut Cx<'_>, extension: &Extension) -> Result<(), Cause> {
        if self.routing.prior_diversions + self.routing.diversions.len() >= limits::DIVERSIONS {
            self.push_trace("loop", format!("forwarded {} times already", limits::DIVERSIONS));
            return Err(Cause::ForwardingLoop);
        }
        let user = &extension.user;
        if self.record.user == *user || self.routing.charged_users.contains(user) {
            return Ok(());
        }
        if let Err(cause) = cx.core.has_room(user) {
            self.push_trace("limit", format!("the owner of {} has no call left", extension.number));
            return Err(cause);
        }
        cx.core.index.charge(self, user.clone());
        Ok(())
    }

    /// Send 181 to a caller that is not answered yet, and the ringback tone to a caller that has SDP from us (early media or answered).
    pub(crate) fn send_181(&mut self, cx: &mut Cx<'_>) {
        let Some(caller) = self.leg(0) else { return };
        let (session, up, hears) =
            (caller.session, caller.state == LegState::Up, caller.stream.answer.is_some());
        if up || hears {
            self.set_source(cx, 0, Source::Tone(Tone::Ringback));
        }
        if !up {
            cx.core.endpoint.progress(cx.now, session, 181, None, &mut cx.core.sip_out);
        }
    }

    /// Cancel all ringing legs and outbound attempts, the follow-me and the timer.
    pub(crate) fn stop_ringing(&mut self, cx: &mut Cx<'_>, cause: Cause) {
        self.routing.ring_sequence = None;
        let ringing_aors = std::mem::take(&mut self.routing.ringing_aors);
        cx.core.index.part(self, &ringing_aors);
        let ringing: Vec<usize> = self.ringing().collect();
        for index in ringing {
            self.cancel_leg(cx, index, cause);
        }
        self.drop_attempts_except(cx, None);
        cx.core.timers.cancel(self.timer.take());
    }

    /// Cancel one ringing leg and record `cause`, unless the leg has a cause already.
    pub(crate) fn cancel_leg(&mut self, cx: &mut Cx<'_>, index: usize, cause: Cause) {
        let at = self.time(cx.now);
        if let Some(record) = self.legs.get_mut(index).map(|leg| &mut leg.record) {
            record.ended_at.get_or_insert(at);
            record.cause.get_or_insert(cause);
        }
        self.hangup_leg(cx, index, cause);
    }

    /// A device responded with 3xx. A contact that is a tel URI or a SIP URI of our own domain becomes the diversion target of the extension; the
    /// call is diverted once no other device rings. 3xx is ignored during follow-me.
    pub(crate) fn on_redirect_response(&mut self, cx: &mut Cx<'_>, index: usize, response: &Message) {
        if self.routing.ring_sequence.is_some() {
            return;
        }
        let Some(leg) = self.leg(index) else { return };
        let Ok(sip::Contacts::List(contacts)) = response.contacts() else { return };
        let target = contacts.iter().find_map(|contact| {
            let ours = match contact.uri.scheme() {
                Scheme::Tel => true,
                Scheme::Sip | Scheme::Sips => cx.core.config.is_ours(contact.uri.host(), &leg.hop),
                Scheme::Other(_) => false,
            };
            contact.uri.user().filter(|_| ours).map(std::borrow::Cow::into_owned)
        });
        let Some(target) = target else {
            return self.push_trace("deflect", "the phone names no place of ours to go to".into());
        };
        if let Some(stop) = self.routing.hops.last_mut() {
            stop.deflected_to = Some(target);
        }
    }

    /// Append a step to the routing trace of the call.
    pub(crate) fn push_trace(&mut self, rule: &str, outcome: String) {
        self.record.trace.push(TraceStep { rule: rule.into(), outcome });
    }
}
