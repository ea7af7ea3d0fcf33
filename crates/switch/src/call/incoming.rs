//! An INVITE from a phone, step by step: identify, admit, normalise, route, plan, start.

use std::sync::Arc;

use crate::core::{Core, Cx};

use base::Now;
use model::dialplan::Route;
use model::journal::{CallEvent, Record};
use model::{
    CallDirection, CallRecord, CallStatus, Cause, Credential, DialledNumber, Extension, ExtensionId, LegRole,
    TraceStep, TrunkId, UserId, policy,
};

use super::Call;
use crate::out_of_dialog::Rejection;
use crate::{JournalRoom, Output, State, limits};

/// Who calls: a phone of ours, or a carrier.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) role: LegRole,
    /// A user name, or what the trunk is called.
    pub(crate) party: String,
    /// The address of record whose phone is in a call now.
    pub(crate) aor: Option<Arc<str>>,
    /// The extension whose phone it is.
    pub(crate) extension: Option<ExtensionId>,
    /// The trunk's, which is counted already.
    pub(crate) channel: Option<TrunkId>,
    /// The only codecs that are spoken with it; all where empty.
    pub(crate) codecs: Vec<String>,
    /// It calls for help.
    pub(crate) help: bool,
    /// It does not want its number to be shown.
    pub(crate) hidden: bool,
}

impl Call {
    /// Lead a call whose caller is there to where it was routed.
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

    /// Somebody calls for help: told before anything can go wrong with the call.
    pub(crate) fn tell_of_emergency(&self, cx: &mut Cx<'_>) {
        if let Some(call) = Some(self).filter(|call| call.help) {
            let note = CallEvent::Emergency { call: call.record.id.clone(), at: call.time(cx.now) };
            cx.out.push(Output::Journal(Record::Noted(note)));
        }
    }

    pub(crate) fn journal_opening(&self, cx: &mut Cx<'_>) {
        cx.out.push(Output::Journal(Record::CallOpened(Box::new(self.cdr()))));
    }
}

impl Core {
    /// Whether what a phone dialled calls for help.
    pub(crate) fn calls_for_help(&self, dialled: &str) -> bool {
        let help = |number: &DialledNumber| policy::emergency(self.directory.rules(), number).is_some();
        DialledNumber::parse(&policy::normalise(dialled)).is_ok_and(|number| help(&number))
            && self.directory.credential(dialled).is_none()
    }

    /// Whether one more call of this user may begin. No limit and no shutting down stands in the way of one that calls for help.
    pub(crate) fn admit(&self, caller: &Credential, help: bool) -> Result<(), Rejection> {
        let open = self.state == State::Running || help && self.state == State::Draining;
        if !open {
            return Err(Rejection::cause(Cause::Draining));
        }
        if !self.directory.is_allowed(caller) {
            return Err(Rejection::cause(Cause::Inactive).with_status(403));
        }
        if help {
            return Ok(());
        }
        self.has_room(&caller.user).map_err(Rejection::cause)
    }

    /// The limits that every road shares (S29).
    pub(crate) fn has_room(&self, user: &UserId) -> Result<(), Cause> {
        if self.journal == JournalRoom::Spent {
            return Err(Cause::Overload); // its record could not be written
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
            id: model::CallId::new(now, &mut self.rng),
            user: caller.user.clone(),
            other_user: self.owner_of(route),
            direction: CallDirection::Internal,
            status: CallStatus::Ringing,
            from_number: self.number_of(caller),
            to_number: dialled,
            device: None,
            started_at: now.wall,
            answered_at: None,
            ended_at: None,
            cause: None,
            trace,
            legs: Vec::new(),
        }
    }

    pub(crate) fn owner_of(&self, route: &Route) -> Option<UserId> {
        match route {
            Route::Extension(extension) => Some(extension.user.clone()),
            Route::Username(username) => self.directory.credential(username).map(|c| c.user.clone()),
            Route::Application(_) | Route::Trunk(_) | Route::Refused(_) => None,
        }
    }

    /// What others see of a credential: its extension's number, else its user name.
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
