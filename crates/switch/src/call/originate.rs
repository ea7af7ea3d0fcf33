//! Click-to-call (S48): ring a device of the user, then the destination, then bridge the two.

use crate::core::{Core, Cx};
use std::sync::Arc;
use std::time::Duration;

use base::Now;
use model::dialplan::{self, CallOrigin, Decision, DialContext, Route};
use model::{
    Action, Announcement, CallDirection, CallRecord, CallStatus, Cause, Credential, DialPermissions,
    TraceStep,
};

use super::fork::InviteIdentity;
use super::{Call, CallKey, Phase};
use crate::switch::Switch;
use crate::{Originate, Output, Reply, State, limits};

/// Which devices are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DeviceFilter {
    /// Those that could ring now.
    Registered,
    /// Those too that a call could wait for.
    All,
}

impl Switch {
    pub(crate) fn originate(&mut self, now: Now, wish: Originate, out: &mut Vec<Output>) -> Reply {
        if self.core.state != State::Running {
            return Reply::Refused(Cause::Draining);
        }
        if let Some(call) = wish.planned.as_ref().and_then(|planned| self.core.index.find(&planned.call)) {
            return self.calls.get(call).map_or(Reply::Unknown, |call| Reply::Call(call.cdr()));
        }
        if let Some((what, into_box)) = announcement(&wish) {
            return self.announce(now, &wish, &what, into_box, out);
        }
        let mut decision = self.core.route_of(now, &wish);
        if let Some(planned) = &wish.planned {
            let outcome = format!("{} was due at {}", planned.recurring, planned.due);
            decision.trace.insert(0, TraceStep { rule: "recurring_call".into(), outcome });
        }
        if let Route::Refused(cause) = decision.route {
            return Reply::Refused(cause);
        }
        if let Err(cause) = self.core.has_room(&wish.user) {
            return Reply::Refused(cause);
        }
        let device = self.core.device_for(now, &wish, &decision.route, DeviceFilter::Registered);
        if device.is_none() && (wish.require_device || self.core.index.waiting() >= limits::WAITING) {
            return Reply::Refused(Cause::NoRegisteredDevice);
        }
        let leaves = matches!(decision.route, Route::Trunk(_));
        if leaves && let Err(cause) = self.core.usage.admit(now, &wish.user) {
            return Reply::Refused(cause);
        }
        self.core.counters.calls_started += 1;
        let key = self.queue(now, wish, &decision.route, decision.trace, out);
        if let Some(call) = self.calls.get_mut(key) {
            call.routing.outbound_admitted = leaves;
        }
        self.on_call(now, key, out, |call, cx| call.journal_opening(cx));
        if let Some(device) = device {
            self.on_call(now, key, out, |call, cx| call.ring_device(cx, &device));
        }
        self.calls.get(key).map_or(Reply::Refused(Cause::Internal), |call| Reply::Call(call.cdr()))
    }

    /// A call that has no leg yet.
    fn queue(
        &mut self,
        now: Now,
        wish: Originate,
        route: &Route,
        trace: Vec<TraceStep>,
        out: &mut Vec<Output>,
    ) -> CallKey {
        let planned = wish.planned.as_ref().map(|planned| planned.call.clone());
        let id = planned.unwrap_or_else(|| model::CallId::new(now, &mut self.core.rng));
        let record = CallRecord {
            id,
            user: wish.user.clone(),
            other_user: self.core.owner_of(route),
            direction: CallDirection::Internal,
            status: CallStatus::Queued,
            from_number: self.core.shown_number(&wish),
            to_number: wish.to.clone(),
            device: self
                .core
                .device_for(now, &wish, route, DeviceFilter::All)
                .map(|device| device.username.to_string()),
            started_at: now.wall,
            answered_at: None,
            ended_at: None,
            cause: None,
            trace,
            legs: Vec::new(),
        };
        let patience = wish.ring_timeout;
        let device = wish.device.as_deref().and_then(|device| self.core.directory.credential(device));
        let (device, user) = (device.map(|device| Arc::clone(&device.username)), wish.user.clone());
        let key =
            self.calls.insert(now, &mut self.core.index, Call::new(record, Phase::Waiting(Box::new(wish))));
        self.core.index.wait(key, device, user);
        self.on_call(now, key, out, |call, cx| call.set_timer(cx, now.instant + patience));
        key
    }

    /// A phone has registered: the calls that wait for it, or for any of its owner's, look again.
    pub(crate) fn device_registered(&mut self, now: Now, username: &Arc<str>, out: &mut Vec<Output>) {
        if self.core.index.waiting() == 0 {
            return;
        }
        let owner = self.core.directory.credential(username).map(|credential| &credential.user);
        for key in self.core.index.waiting_for(username, owner) {
            let Some(Phase::Waiting(wish)) = self.calls.get(key).map(|call| &call.phase) else { continue };
            let route = self.core.route_of(now, wish).route;
            if let Some(device) = self.core.device_for(now, wish, &route, DeviceFilter::Registered) {
                self.on_call(now, key, out, |call, cx| call.ring_device(cx, &device));
            }
        }
    }
}

/// What a wish is to say, and whether a mailbox may have it.
fn announcement(wish: &Originate) -> Option<(Announcement, bool)> {
    match &wish.planned.as_ref()?.action {
        Action::Connect => None,
        Action::Play(what) => Some((what.clone(), false)),
        Action::Message(what) => Some((what.clone(), true)),
    }
}

/// By which road a call comes that we place ourselves.
fn road(wish: &Originate) -> CallOrigin {
    if wish.planned.is_some() { CallOrigin::Schedule } else { CallOrigin::Api }
}

impl Call {
    fn ring_device(&mut self, cx: &mut Cx<'_>, device: &Credential) {
        cx.core.index.stop_waiting(self.key);
        let contact =
            cx.core.location.reachable(cx.now.instant, &device.username).max_by_key(|c| c.expires).cloned();
        let number = cx.core.number_of(device);
        let name = crate::call::fork::escaped(&number);
        let Some(Phase::Waiting(wish)) = Some(&self.phase) else { return };
        let route = cx.core.route_of(cx.now, wish).route;
        let Phase::Waiting(wish) = &self.phase else { return };
        let patience = wish.ring_timeout.max(Duration::from_secs(1));
        if self.record.from_number.is_empty() {
            self.record.from_number = number;
        }
        self.record.device = Some(device.username.to_string());
        self.record.status = CallStatus::Ringing;
        self.record
            .trace
            .push(TraceStep { rule: "device".into(), outcome: format!("{} is rung first", device.username) });
        self.routing.visited_extensions.extend(device.extension.clone());
        self.phase = Phase::RingingDevice(route);
        let dialled = crate::call::fork::escaped(&self.record.to_number);
        let from = format!("<sip:{dialled}@{}>", cx.core.config.domain); // the device shows whom it will talk with
        let to = format!("<sip:{name}@{}>", cx.core.config.domain);
        cx.core.index.join(self, &device.username);
        let words = InviteIdentity { from, to, ..InviteIdentity::default() };
        let rung = contact.and_then(|c| self.dial(cx, &c, &device.username, None, words));
        if rung.is_none() {
            return self.release(cx, Cause::Overload);
        }
        self.set_timer(cx, cx.now.instant + patience);
    }
}

impl Core {
    /// Where a wish leads, by what the device that is going to ring may dial.
    fn route_of(&self, now: Now, wish: &Originate) -> Decision {
        let device = self.device_for(now, wish, &Route::Refused(Cause::Internal), DeviceFilter::All);
        let permissions = device.map_or_else(DialPermissions::default, |d| self.directory.permissions_of(&d));
        dialplan::route(&self.directory, DialContext { origin: road(wish), permissions }, &wish.to)
    }

    /// The number that the callee is shown: what was asked for, unless it is that of somebody else here (security.md row 30). Where it is
    /// empty, the device's own takes its place.
    fn shown_number(&self, wish: &Originate) -> String {
        let Some(from) = &wish.from else { return String::new() };
        match self.directory.credential(from) {
            Some(credential) if credential.user != wish.user => String::new(),
            Some(_) | None => from.clone(),
        }
    }

    /// The device to ring, in the order of S48, and never the destination's own.
    fn device_for(
        &self,
        now: Now,
        wish: &Originate,
        route: &Route,
        among: DeviceFilter,
    ) -> Option<Arc<Credential>> {
        let destination = match route {
            Route::Extension(extension) => Some(&extension.username),
            Route::Username(username) => Some(username),
            Route::Application(_) | Route::Trunk(_) | Route::Refused(_) => None,
        };
        let usable = |credential: &&Arc<Credential>| {
            destination != Some(&credential.username)
                && self.directory.may_serve(credential)
                && (among == DeviceFilter::All
                    || self.location.is_registered(now.instant, &credential.username))
        };
        if let Some(device) = &wish.device {
            return self.directory.credential(device).filter(usable).cloned();
        }
        let named = wish.from.as_deref().and_then(|from| self.directory.credential(from));
        if let Some(device) = named.filter(|c| c.user == wish.user).filter(usable) {
            return Some(Arc::clone(device));
        }
        let mine: Vec<&Arc<Credential>> = self.directory.credentials_of(&wish.user).filter(usable).collect();
        let newest =
            mine.iter().filter(|c| c.extension.is_none()).max_by_key(|c| (c.created_at, &c.username));
        let lowest = || {
            let number = |c: &&&Arc<Credential>| self.extension_of(c).map(|e| e.number.clone());
            mine.iter().filter(|c| c.extension.is_some()).min_by_key(number)
        };
        newest.or_else(lowest).map(|c| Arc::clone(c))
    }
}
