//! Calls that a carrier delivers: known by the address of the socket, never by what a header says (security.md row 8).

use crate::core::Core;
use std::sync::Arc;

use base::Now;
use model::dialplan::{Decision, Route};
use model::{
    CallDirection, CallRecord, CallStatus, Cause, DialledNumber, LegRole, TraceStep, Trunk, TrunkTransport,
    trunk,
};
use sip::{Hop, Incoming, SessionId, Uri};

use super::outbound::OutboundAttempt;
use super::transport;
use crate::call::{Caller, escaped};
use crate::out_of_dialog::Rejection;
use crate::switch::Switch;
use crate::{Output, State};

impl Switch {
    /// An INVITE from one of these trunks: to an extension, or refused. It never goes out again.
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
        // A carrier that we registered at may call what we registered, and name the number in To.
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
            id: model::CallId::new(now, &mut self.core.rng),
            user: extension.user.clone(),
            other_user: None,
            direction: CallDirection::Inbound,
            status: CallStatus::Ringing,
            from_number,
            to_number: if registered { to } else { dialled },
            device: None,
            started_at: now.wall,
            answered_at: None,
            ended_at: None,
            cause: None,
            trace,
            legs: Vec::new(),
        };
        let caller = Caller {
            role: LegRole::Trunk,
            party: trunk.name.clone(),
            aor: None,
            extension: None,
            channel: Some(trunk.id.clone()),
            codecs: trunk.settings.codecs.clone(),
            help: false,
            hidden: false,
        };
        self.start(now, request, caller, record, route, out);
    }

    /// Whether a request within a call comes from the trunk that carries it, though from another of its addresses.
    pub(crate) fn is_from_trunk(&self, session: SessionId, hop: &Hop) -> Option<bool> {
        let (key, index) = self.core.leg_of(session)?;
        let call = self.calls.get(key)?;
        if call.leg(index)?.record.role != LegRole::Trunk {
            return None;
        }
        let carrier = match index {
            0 if call.channel.is_some() => call.channel.as_ref(),
            _ => call
                .outbound
                .of_leg(index)
                .and_then(|id| call.outbound.get(id))
                .and_then(OutboundAttempt::carrier),
        };
        Some(self.core.trunks_by_source(hop).iter().any(|trunk| Some(&trunk.id) == carrier))
    }
}

impl Core {
    /// The trunks that may be behind a hop, in their order: those whose sources it comes from, and those we are registered at there.
    pub(crate) fn trunks_by_source(&self, hop: &Hop) -> Vec<Arc<Trunk>> {
        let ip = hop.remote.ip();
        let speaks = |trunk: &Trunk| {
            let hosts = trunk.settings.hosts.iter().chain(&trunk.settings.outbound_proxy);
            let mut spoken: Vec<TrunkTransport> = hosts.map(|host| host.transport).collect();
            spoken.dedup();
            spoken.into_iter().any(|one| transport(one) == hop.transport)
        };
        let from = |trunk: &Trunk| {
            trunk.settings.sources.iter().any(|source| source.contains(ip))
                || self
                    .trunks
                    .registrar(&trunk.id)
                    .is_some_and(|at| at.address.ip().to_canonical() == ip.to_canonical())
        };
        let all = self.directory.trunks();
        all.filter(|trunk| trunk.enabled && from(trunk) && speaks(trunk)).cloned().collect()
    }

    /// The From of the legs of a call that a trunk delivered.
    pub(crate) fn trunk_from_uri(&self, number: &str) -> String {
        format!("<sip:{}@{}>", escaped(number), self.config.domain)
    }
}
