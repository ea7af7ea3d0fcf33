//! An INVITE from a phone, step by step: identify, admit, normalise, route, plan, start.

use crate::core::{Core, Cx};
use std::sync::Arc;

use base::Now;
use media::sdp::SessionDescription;
use model::dialplan::{self, CallOrigin, Decision, DialContext, Route};
use model::journal::{CallEvent, Record};
use model::{
    CallDirection, CallRecord, CallStatus, Cause, Credential, DialledNumber, Extension, ExtensionId, LegRole,
    TraceStep, TrunkId, UserId, policy,
};
use sip::{HeaderName, Incoming, Uri};

use super::routing::Routing;
use super::{Call, Leg, Phase, diversion};
use crate::features::Read;
use crate::out_of_dialog::Rejection;
use crate::switch::Switch;
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

impl Switch {
    pub(crate) fn invite(&mut self, now: Now, request: Incoming, out: &mut Vec<Output>) {
        let trunks = self.core.trunks_by_source(&request.hop);
        if !trunks.is_empty() {
            return self.invite_from_trunk(now, request, &trunks, out);
        }
        let Some(caller) = self.core.authenticate(now, &request) else { return };
        if !self.core.is_ours(request.message.uri().map_or("", Uri::host), &request) {
            let refusal = Rejection::status(404).why("this domain is not served here");
            return self.core.reject(now, &request, &refusal);
        }
        let dialled = request.message.uri().and_then(Uri::user).unwrap_or_default().into_owned();
        let Read { dialled, route: feature, setting, hidden, trace: feature_trace } =
            self.core.read_feature(&caller, dialled);
        let help = self.core.calls_for_help(&dialled);
        if let Err(refusal) = self.core.admit(&caller, help) {
            return self.core.reject(now, &request, &refusal);
        }
        let asker = DialContext {
            origin: CallOrigin::Phone,
            permissions: self.core.directory.permissions_of(&caller),
        };
        let Decision { route, mut trace } = match feature {
            Some(route) => Decision { route, trace: Vec::new() },
            None => dialplan::route(&self.core.directory, asker, &dialled),
        };
        if let Some(step) = feature_trace {
            trace.insert(0, step);
        }
        trace.insert(
            0,
            TraceStep {
                rule: "identify".into(),
                outcome: format!("{} proved its password", caller.username),
            },
        );
        let record = self.core.record_of(now, &caller, dialled, &route, trace);
        let id = record.id.clone();
        self.core.wish_setting(&id, setting);
        let caller = Caller {
            role: LegRole::Caller,
            extension: caller.extension.clone(),
            party: caller.username.to_string(),
            aor: Some(crate::auth::canonical(&self.core.directory, &caller)),
            channel: None,
            codecs: Vec::new(),
            help,
            hidden,
        };
        self.start(now, request, caller, record, route, out);
        if self.core.index.find(&id).is_none() {
            self.core.forget_wish(&id); // there was no room for it
        }
    }

    pub(crate) fn start(
        &mut self,
        now: Now,
        request: Incoming,
        caller: Caller,
        record: CallRecord,
        route: Route,
        out: &mut Vec<Output>,
    ) {
        let hop = request.hop;
        let Some(port) = self.core.ports.take(hop.listener, None) else {
            self.core.trunks.release_channel(caller.channel);
            return self.core.reject(now, &request, &Rejection::cause(Cause::Overload));
        };
        let sip_call_id = request.message.call_id().to_string();
        let body = request.message.body();
        let is_sdp = request.message.header(HeaderName::ContentType).is_some_and(is_sdp);
        let invite = request.message.bytes().clone();
        let (hops_left, before) =
            (Switch::hops_left(&request), diversion::count_diversions(&request.message));
        let Some(session) = self.core.endpoint.start_uas(now, request, &mut self.core.sip_out) else {
            self.core.ports.add(port.worker, hop.listener, vec![port.number]);
            self.core.trunks.release_channel(caller.channel);
            return;
        };
        self.core.counters.calls_started += 1;
        let mut stream = self.core.open_stream(hop, port, out);
        let offer = match body.is_empty() {
            true => None, // a late offer: ours goes with the 200
            false if is_sdp => Some(SessionDescription::parse(&body)),
            false => Some(Err(media::sdp::SdpError::NoAudio)),
        };
        let malformed = matches!(offer, Some(Err(_)));
        stream.theirs = offer.and_then(Result::ok);
        if let Some(theirs) = &mut stream.theirs {
            theirs.keep_codecs(&caller.codecs);
        }
        let visited_extensions = caller.extension.into_iter().collect();
        let key = self.calls.insert(
            now,
            &mut self.core.index,
            Call {
                hops_left,
                parties: caller.aor.into_iter().collect(),
                channel: caller.channel,
                help: caller.help,
                routing: Routing {
                    visited_extensions,
                    prior_diversions: before,
                    hidden: caller.hidden,
                    ..Routing::default()
                },
                ..Call::new(record, Phase::Dialling)
            },
        );
        let mut leg = Leg::new(session, hop, stream, caller.role, caller.party, now.wall);
        leg.record.sip_call_id = sip_call_id;
        if let Some(call) = self.calls.get_mut(key) {
            self.core.index.add_leg(call, leg);
            call.ladder.note(now.wall, false, hop, &invite);
        }
        self.on_call(now, key, out, |call, cx| call.journal_opening(cx));
        self.on_call(now, key, out, |call, cx| call.tell_of_emergency(cx));
        if malformed {
            self.on_call(now, key, out, |call, cx| call.release(cx, Cause::BadMedia));
        } else if hops_left == 0 && !matches!(route, Route::Application(_)) {
            self.on_call(now, key, out, |call, cx| call.release(cx, Cause::Refused));
        } else {
            self.on_call(now, key, out, |call, cx| call.route_call(cx, route));
        }
    }
}

pub(crate) fn is_sdp(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case("application/sdp"))
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
    fn tell_of_emergency(&self, cx: &mut Cx<'_>) {
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
    fn calls_for_help(&self, dialled: &str) -> bool {
        let help = |number: &DialledNumber| policy::emergency(self.directory.rules(), number).is_some();
        DialledNumber::parse(&policy::normalise(dialled)).is_ok_and(|number| help(&number))
            && self.directory.credential(dialled).is_none()
    }

    /// Whether one more call of this user may begin. No limit and no shutting down stands in the way of one that calls for help.
    fn admit(&self, caller: &Credential, help: bool) -> Result<(), Rejection> {
        let open = self.state == State::Running || help && self.state == State::Draining;
        if !open {
            return Err(Rejection::cause(Cause::Draining));
        }
        if !self.directory.may_serve(caller) {
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

    fn record_of(
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
