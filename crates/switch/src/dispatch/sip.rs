//! Dispatch of session events and of requests and responses outside sessions.

use std::sync::Arc;

use base::Now;
use model::LegRole;
use model::journal::Record;
use sip::{HeaderName, Hop, Incoming, Method, Reply, SessionEvent, SessionId};

use crate::Output;
use crate::auth::canonical;
use crate::call::Phase;
use crate::call::originate::DeviceFilter;
use crate::core::Cx;
use crate::out_of_dialog::Rejection;
use crate::switch::Switch;
use crate::trunk::outbound::OutboundAttempt;

impl Switch {
    pub(crate) fn session_event(
        &mut self,
        now: Now,
        session: SessionId,
        event: SessionEvent,
        out: &mut Vec<Output>,
    ) {
        let Some((key, index)) = self.core.leg_of(session) else {
            return; // a leg restored after a crash, which is only ended with BYE
        };
        match event {
            SessionEvent::Progress { status, sdp, .. } => {
                self.on_call(now, key, out, |call, cx| call.progressed(cx, index, status, sdp));
            }
            SessionEvent::Accepted { sdp, .. } => {
                self.on_call(now, key, out, |call, cx| call.accepted(cx, index, sdp));
            }
            SessionEvent::Confirmed { sdp } => {
                self.on_call(now, key, out, |call, cx| call.confirmed(cx, index, sdp));
            }
            SessionEvent::Offered { sdp } => {
                self.on_call(now, key, out, |call, cx| call.on_offer(cx, index, sdp));
            }
            SessionEvent::Answered { sdp } => {
                self.on_call(now, key, out, |call, cx| call.answered(cx, index, &sdp));
            }
            SessionEvent::OfferRefused { status } => {
                self.on_call(now, key, out, |call, cx| call.offer_refused(cx, index, status));
            }
            SessionEvent::Info { content_type, body }
                if self.calls.get(key).is_some_and(crate::call::Call::is_in_voicemail) =>
            {
                if let Some(digit) = crate::voicemail::key_of_info(&content_type, &body) {
                    self.on_call(now, key, out, |call, cx| {
                        call.key_pressed(cx, digit, crate::voicemail::DtmfSource::Signalling);
                    });
                }
            }
            SessionEvent::Info { content_type, body } => {
                self.on_call(now, key, out, |call, cx| call.pass_info(cx, index, &content_type, &body));
            }
            SessionEvent::Ended(ended) => {
                self.on_call(now, key, out, |call, cx| call.ended(cx, index, &ended));
            }
        }
    }

    /// A phone has registered: add its contact to the calls that wait for flow recovery (RFC 5626).
    pub(crate) fn on_flow_recovered(&mut self, now: Now, username: &str, out: &mut Vec<Output>) {
        let calls = self.core.index.returning_to(username);
        if calls.is_empty() {
            return;
        }
        for (key, awaited) in calls {
            self.on_call(now, key, out, |call, cx| call.rejoin(cx, &awaited));
        }
    }

    /// A phone has registered: the calls that wait for it, or for any device of its owner, select a device again.
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

    pub(crate) fn request(&mut self, now: Now, request: Incoming, out: &mut Vec<Output>) {
        match request.message.method() {
            Method::Register => self.register(now, &request, out),
            Method::Invite => self.invite(now, request, out),
            Method::Options => self.core.options(now, &request),
            Method::Ack | Method::Cancel => {}
            // All other methods authenticate first, so that a stranger does not learn which ones are supported.
            Method::Bye | Method::Prack | Method::Update | Method::Info | Method::Notify => {
                let refusal = Rejection::status(481).why("there is no such call");
                self.core.refuse_authenticated(now, &request, &refusal);
            }
            Method::Subscribe => self.mwi.subscribe(&mut Cx::new(now, &mut self.core, out), &request),
            Method::Publish => {
                self.core.refuse_authenticated(
                    now,
                    &request,
                    &Rejection::status(489).why("no such event package"),
                );
            }
            Method::Message => {
                let refusal = Rejection::status(405).why("text messages are not delivered here");
                self.core.refuse_authenticated(now, &request, &refusal);
            }
            Method::Refer => {
                let refusal = Rejection::status(405).why("calls are not transferred by REFER here");
                self.core.refuse_authenticated(now, &request, &refusal);
            }
            Method::Other(_) => {
                let refusal = Rejection::status(501).why("this method is not known here");
                self.core.refuse_authenticated(now, &request, &refusal);
            }
        }
    }

    /// An in-dialog request from another source than the peer's. If it authenticates as the same user, the phone has moved; otherwise the sender has
    /// merely learned the dialog's tags, and is refused.
    pub(crate) fn on_source_changed(&mut self, now: Now, session: SessionId, request: Incoming) {
        // A carrier has several addresses and is identified by them.
        match self.is_from_trunk(session, &request.hop) {
            Some(true) => {
                self.core.endpoint.accept_source(now, session, request, &mut self.core.sip_out);
                return;
            }
            Some(false) => {
                self.core.endpoint.respond_stateless(now, &request, Reply::new(403), &mut self.core.sip_out);
                return;
            }
            None => {}
        }
        let Some(credential) = self.core.authenticate(now, &request) else { return };
        let party = self.core.leg_of(session).and_then(|(key, index)| {
            self.core.directory.credential(&self.calls.get(key)?.leg(index)?.record.party)
        });
        let aor = canonical(&self.core.directory, &credential);
        if party.is_some_and(|party| canonical(&self.core.directory, party) == aor) {
            self.core.endpoint.accept_source(now, session, request, &mut self.core.sip_out);
        } else {
            let refusal = Rejection::status(403).why("the call is not that of the authenticated user");
            self.core.reject(now, &request, &refusal);
        }
    }

    /// Max-Forwards for the outgoing request: the received value less one.
    pub(crate) fn hops_left(request: &Incoming) -> u8 {
        match request.message.number(HeaderName::MaxForwards) {
            Some(Ok(hops)) => hops.saturating_sub(1).min(70) as u8,
            _ => 69,
        }
    }

    pub(crate) fn register(&mut self, now: Now, request: &Incoming, out: &mut Vec<Output>) {
        let Some((credential, aor)) = self.core.admit_register(now, request) else { return };
        match self.core.wish(now, request).and_then(|wish| self.core.apply(now, request, &aor, wish)) {
            Err(refusal) => self.core.reject(now, request, &refusal),
            Ok(records) => {
                for record in &records {
                    if let Record::Unbound { username, contact, .. } = record {
                        self.mwi.gone(username, contact);
                    }
                }
                out.extend(records.into_iter().map(Output::Journal));
                self.core.counters.registrations_accepted += 1;
                self.core.confirm(now, request, &aor);
                let cx = &mut Cx::new(now, &mut self.core, out);
                self.mwi.on_registered(cx, &aor, credential.extension.as_ref());
                self.on_flow_recovered(now, &aor, out);
                self.device_registered(now, &aor, out);
            }
        }
    }

    /// Whether an in-dialog request comes from another address of the trunk that carries the leg; `None` if the leg is not a trunk leg.
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
