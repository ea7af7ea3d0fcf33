//! Click-to-call (S48): ring a device of the user, then the destination, then bridge the two.

use std::sync::Arc;
use std::time::Duration;

use base::Now;
use model::dialplan::{self, CallOrigin, Decision, DialContext, Route};
use model::{Action, Announcement, CallStatus, Cause, Credential, DialPermissions, TraceStep};

use super::fork::InviteIdentity;
use super::{Call, Phase};
use crate::Originate;
use crate::core::{Core, Cx};

/// The devices that [`Core::device_for`] considers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceFilter {
    /// Registered devices only.
    Registered,
    /// Also unregistered devices, for which the call can wait.
    All,
}

/// The announcement of a scheduled call, and whether it may be stored in the mailbox when the callee does not answer. `None` for calls without
/// announcement.
pub(crate) fn announcement(wish: &Originate) -> Option<(Announcement, bool)> {
    match &wish.planned.as_ref()?.action {
        Action::Connect => None,
        Action::Play(what) => Some((what.clone(), false)),
        Action::Message(what) => Some((what.clone(), true)),
    }
}

/// The dialplan origin of an originated call: schedule or API.
fn road(wish: &Originate) -> CallOrigin {
    if wish.planned.is_some() { CallOrigin::Schedule } else { CallOrigin::Api }
}

impl Call {
    pub(crate) fn ring_device(&mut self, cx: &mut Cx<'_>, device: &Credential) {
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
        let from = format!("<sip:{dialled}@{}>", cx.core.config.domain); // the device displays the callee
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
    /// Route the destination of a click-to-call with the dial permissions of the device that is rung first.
    pub(crate) fn route_of(&self, now: Now, wish: &Originate) -> Decision {
        let device = self.device_for(now, wish, &Route::Refused(Cause::Internal), DeviceFilter::All);
        let permissions = device.map_or_else(DialPermissions::default, |d| self.directory.permissions_of(&d));
        dialplan::route(&self.directory, DialContext { origin: road(wish), permissions }, &wish.to)
    }

    /// The caller number shown to the callee: `wish.from`, unless it is the user name of a device of another user. Empty when there is none; the
    /// number of the device is used then.
    pub(crate) fn shown_number(&self, wish: &Originate) -> String {
        let Some(from) = &wish.from else { return String::new() };
        match self.directory.credential(from) {
            Some(credential) if credential.user != wish.user => String::new(),
            Some(_) | None => from.clone(),
        }
    }

    /// The device to ring, selected in the order of S48; never the destination device. `None` when no device is allowed and matches `among`.
    pub(crate) fn device_for(
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
                && self.directory.is_allowed(credential)
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
