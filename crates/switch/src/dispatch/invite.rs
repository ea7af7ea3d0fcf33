//! An INVITE from a phone or a trunk, step by step: identify, admit, normalise, route, plan, start.

use std::sync::Arc;

use base::Now;
use media::sdp::SessionDescription;
use model::dialplan::{self, CallOrigin, Decision, DialContext, Route};
use model::{CallDirection, CallRecord, CallStatus, Cause, DialledNumber, LegRole, TraceStep, Trunk, trunk};
use sip::{HeaderName, Headers, Incoming, Message, Uri};

use crate::call::routing::Routing;
use crate::call::{Call, Caller, Leg, Location, Phase, diversion};
use crate::features::Read;
use crate::out_of_dialog::Rejection;
use crate::switch::Switch;
use crate::{Output, State};

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
        let hidden = hidden || wants_privacy(&request.message);
        let is_emergency = self.core.is_emergency_number(&dialled);
        if let Err(refusal) = self.core.admit(&caller, is_emergency) {
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
            is_emergency,
            hidden,
        };
        self.start(now, request, caller, record, route, out);
        if self.core.index.find(&id).is_none() {
            self.core.forget_wish(&id); // the call was not created
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
        let parts = request.message.body_parts();
        let mut headers = Headers::new();
        for name in ["Geolocation", "Geolocation-Routing"] {
            if let Some(value) = request.message.header_named(name) {
                headers.add(name, value);
            }
        }
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
        // An INVITE without SDP gets our offer in the 200. The SDP may be one part of a multipart body (RFC 5621).
        let offer = match &parts {
            Ok(parts) => parts.sdp.as_ref().map(|sdp| SessionDescription::parse(sdp)),
            Err(_) => Some(Err(media::sdp::SdpError::NoAudio)),
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
                is_emergency: caller.is_emergency,
                location: caller.is_emergency.then(|| {
                    Box::new(Location { parts: parts.map_or_else(|_| Vec::new(), |p| p.others), headers })
                }),
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

    /// An INVITE from one of these trunks: routed to an extension, or refused. It is never sent out over a trunk again.
    pub(crate) fn invite_from_trunk(
        &mut self,
        now: Now,
        request: Incoming,
        trunks: &[Arc<Trunk>],
        out: &mut Vec<Output>,
    ) {
        let dialled = request.message.uri().and_then(Uri::user).unwrap_or_default().into_owned();
        let to = request.message.to().uri.user().unwrap_or_default().into_owned();
        let mine = |trunk: &&Arc<Trunk>| trunk::names(trunk, &[&dialled]);
        let Some(trunk) = trunks.iter().find(mine).or(trunks.first()) else { return };
        // A carrier may send calls to the user name that we registered, with the called number in To.
        let registered = trunk.settings.username.as_deref() == Some(&*dialled);
        let named: &[&str] = if registered { &[&to] } else { &[&dialled] };
        let Decision { route, mut trace } = trunk::inbound(&self.core.directory, trunk, named);
        let outcome = format!("{} by its address {}", trunk.name, request.hop.remote.ip());
        trace.insert(0, TraceStep { rule: "identify".into(), outcome });
        let refusal = match &route {
            Route::Refused(cause) => Some(*cause),
            _ if self.core.state != State::Running => Some(Cause::Draining),
            Route::Extension(extension) => match self.core.has_room(&extension.user) {
                Ok(()) if !self.core.trunks.admit_inbound(trunk) => Some(Cause::TrunkBusy),
                Ok(()) => None,
                Err(cause) => Some(cause),
            },
            Route::Username(_) | Route::Application(_) | Route::Trunk(_) => Some(Cause::Forbidden),
        };
        let (None, Route::Extension(extension)) = (refusal, &route) else {
            let refusal = Rejection::cause(refusal.unwrap_or(Cause::Forbidden));
            return self.core.reject(now, &request, &refusal);
        };
        let from = request.message.from().uri.user().unwrap_or_default().into_owned();
        let from_number =
            DialledNumber::parse(&from).map_or("anonymous".into(), |number| number.as_str().to_owned());
        let record = CallRecord {
            status: CallStatus::Ringing,
            trace,
            ..CallRecord::new(
                model::CallId::new(now, &mut self.core.rng),
                extension.user.clone(),
                CallDirection::Inbound,
                from_number,
                if registered { to } else { dialled },
                now.wall,
            )
        };
        let caller = Caller {
            role: LegRole::Trunk,
            party: trunk.name.clone(),
            aor: None,
            extension: None,
            channel: Some(trunk.id.clone()),
            codecs: trunk.settings.codecs.clone(),
            is_emergency: false,
            hidden: wants_privacy(&request.message),
        };
        self.start(now, request, caller, record, route, out);
    }
}

/// Whether the caller withholds name and number: `Privacy` with `id`, `user` or `header` (RFC 3323 §4.2, RFC 3325 §9.3), or an anonymous From
/// (RFC 3323 §4.1.1.3).
fn wants_privacy(invite: &Message) -> bool {
    let header = invite.header(HeaderName::Privacy).unwrap_or_default();
    let asked = header.split([';', ',']).map(str::trim);
    let mut asked =
        asked.filter(|value| ["id", "user", "header"].iter().any(|p| p.eq_ignore_ascii_case(value)));
    let from = &invite.from().uri;
    asked.next().is_some() || from.host().eq_ignore_ascii_case("anonymous.invalid")
}
