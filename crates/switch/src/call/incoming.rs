//! Incoming calls: the caller, admission, the call record, and routing to the destination.

use std::sync::Arc;

use base::Now;
use model::dialplan::Route;
use model::journal::{CallEvent, Record};
use model::{
    CallDirection, CallRecord, CallStatus, Cause, Credential, DialledNumber, Extension, ExtensionId, LegRole,
    TraceStep, TrunkId, UserId, policy,
};

use super::Call;
use crate::core::{Core, Cx};
use crate::out_of_dialog::Rejection;
use crate::{JournalRoom, Output, State, limits};

/// The caller: a registered phone or a trunk.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) role: LegRole,
    /// User name of the phone, or name of the trunk.
    pub(crate) party: String,
    /// Address of record of the calling phone, which is busy from now on.
    pub(crate) aor: Option<Arc<str>>,
    /// Extension of the calling phone.
    pub(crate) extension: Option<ExtensionId>,
    /// Trunk whose channel the call occupies; the channel is counted already.
    pub(crate) channel: Option<TrunkId>,
    /// Codecs that may be negotiated with the caller; empty: all.
    pub(crate) codecs: Vec<String>,
    /// Emergency call.
    pub(crate) is_emergency: bool,
    /// The caller withholds its number.
    pub(crate) hidden: bool,
}

impl Call {
    /// Send a call along its route.
    pub(crate) fn route_call(&mut self, cx: &mut Cx<'_>, route: Route) {
        match route {
            Route::Refused(cause) => self.on_no_answer(cx, cause),
            Route::Application(application) => self.serve(cx, application),
            Route::Trunk(outside) => self.route_outbound(cx, outside),
            Route::Extension(extension) => self.route_to_extension(cx, &extension),
            Route::Username(username) => {
                let number = username.to_string();
                self.fork(cx, &username, &number, 60);
            }
        }
    }

    /// Journal an emergency call, before anything can fail.
    pub(crate) fn tell_of_emergency(&self, cx: &mut Cx<'_>) {
        if self.is_emergency {
            let note = CallEvent::Emergency { call: self.record.id.clone(), at: self.time(cx.now) };
            cx.out.push(Output::Journal(Record::Noted(note)));
        }
    }

    pub(crate) fn journal_opening(&self, cx: &mut Cx<'_>) {
        cx.out.push(Output::Journal(Record::CallOpened(Box::new(self.cdr()))));
    }
}

impl Core {
    /// Whether a dialled string is an emergency number, and not a user name.
    pub(crate) fn is_emergency_number(&self, dialled: &str) -> bool {
        let is_emergency =
            |number: &DialledNumber| policy::emergency(self.directory.rules(), number).is_some();
        DialledNumber::parse(&policy::normalise(dialled)).is_ok_and(|number| is_emergency(&number))
            && self.directory.credential(dialled).is_none()
    }

    /// Whether this user may start one more call. An emergency call is subject to no limit, and is admitted while the switch is draining.
    pub(crate) fn admit(&self, caller: &Credential, is_emergency: bool) -> Result<(), Rejection> {
        let open = self.state == State::Running || is_emergency && self.state == State::Draining;
        if !open {
            return Err(Rejection::cause(Cause::Draining));
        }
        if !self.directory.is_allowed(caller) {
            return Err(Rejection::cause(Cause::Inactive).with_status(403));
        }
        if is_emergency {
            return Ok(());
        }
        self.has_room(&caller.user).map_err(Rejection::cause)
    }

    /// The limits common to calls of every origin (S29).
    pub(crate) fn has_room(&self, user: &UserId) -> Result<(), Cause> {
        if self.journal == JournalRoom::Spent {
            return Err(Cause::Overload); // the call record could not be written
        }
        if self.index.of_user(user) >= self.config.calls_per_user {
            return Err(Cause::ConcurrentCallLimit);
        }
        if self.index.len() >= limits::CALLS { Err(Cause::Overload) } else { Ok(()) }
    }

    pub(crate) fn record_of(
        &mut self,
        now: Now,
        caller: &Credential,
        dialled: String,
        route: &Route,
        trace: Vec<TraceStep>,
    ) -> CallRecord {
        CallRecord {
            other_user: self.owner_of(route),
            status: CallStatus::Ringing,
            trace,
            ..CallRecord::new(
                model::CallId::new(now, &mut self.rng),
                caller.user.clone(),
                CallDirection::Internal,
                self.number_of(caller),
                dialled,
                now.wall,
            )
        }
    }

    pub(crate) fn owner_of(&self, route: &Route) -> Option<UserId> {
        match route {
            Route::Extension(extension) => Some(extension.user.clone()),
            Route::Username(username) => self.directory.credential(username).map(|c| c.user.clone()),
            Route::Application(_) | Route::Trunk(_) | Route::Refused(_) => None,
        }
    }

    /// The number shown for a credential: its extension's number, else its user name.
    pub(crate) fn number_of(&self, credential: &Credential) -> String {
        self.extension_of(credential)
            .map_or_else(|| credential.username.to_string(), |e| e.number.to_string())
    }

    pub(crate) fn extension_of(&self, credential: &Credential) -> Option<&Arc<Extension>> {
        self.directory.extension(credential.extension.as_ref()?)
    }

    /// Whether a phone of this user name is in a call.
    pub(crate) fn is_busy(&self, username: &str) -> bool {
        self.index.is_busy(username)
    }
}
