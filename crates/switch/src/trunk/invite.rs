//! The INVITE to a carrier: request URI, caller identity, privacy and diversion headers.

use model::{CallerId, LegRole, Trunk};
use sip::digest::Account;
use sip::{Headers, InviteParams, Target, Uri};

use super::lookup::host_uri;
use super::outbound::{AttemptId, GatewayTarget, OutboundAttempt};
use crate::call::{ANONYMOUS, Call, Leg, escaped};
use crate::core::{Core, Cx};
use crate::{Output, limits};

impl Call {
    /// Send the INVITE to a carrier and add the leg to the call. No header of the caller's INVITE is copied except those added here. Returns the
    /// index of the leg; `None` when the INVITE cannot be built or sent.
    pub(super) fn send_invite(
        &mut self,
        cx: &mut Cx<'_>,
        id: AttemptId,
        spot: &GatewayTarget,
    ) -> Option<usize> {
        let hop = cx.core.hop_to(spot.address)?;
        let settings = &spot.trunk.settings;
        if self.legs.len() >= limits::LEGS_PER_CALL {
            return None;
        }
        let way = self.outbound.get(id)?;
        let number = way.outside.to_carrier_format(cx.core.directory.rules(), &spot.trunk).ok()?;
        let shown = cx.core.outbound_caller_id(self, way, &spot.trunk);
        let (worker, max_forwards) = (self.worker(), self.hops_left);
        let like = self.leg(0).and_then(|leg| leg.stream.theirs.clone());
        // With an outbound proxy the URIs still contain the carrier's host.
        let host = settings.hosts.iter().find(|host| **host == spot.host).or(settings.hosts.first())?;
        let uri = Uri::parse(host_uri(Some(&number), host).into()).ok()?;
        let credentials = match (&settings.username, &spot.trunk.password) {
            (Some(user), Some(sealed)) => Some(Account {
                user: user.clone(),
                password: sealed.open(&cx.core.config.seal, spot.trunk.id.as_str())?,
                realm: settings.realm.clone(),
            }),
            _ => None,
        };
        let mut lines = Headers::new();
        // An emergency service always receives the caller number.
        let hidden = self.routing.hidden && !way.outside.is_emergency;
        let from = match &shown {
            Some(shown) => {
                // The carrier is in the trust domain (RFC 3325 §7) and gets the number; `Privacy: id` forbids it to disclose it. The host is the
                // carrier's, which does not know our domain.
                lines.add("P-Asserted-Identity", format_args!("<sip:{shown}@{}>", host.in_uri()));
                if hidden {
                    lines.add("Privacy", "id");
                    ANONYMOUS.to_owned()
                } else {
                    format!("<sip:{shown}@{}>", host.in_uri())
                }
            }
            None => {
                lines.add("Privacy", "id");
                ANONYMOUS.to_owned()
            }
        };
        if let Some(location) = self.location.as_ref().filter(|_| way.outside.is_emergency) {
            lines.extend(&location.headers);
        }
        self.diversion_headers_for_trunk(
            &spot.trunk,
            way.step.as_ref(),
            &cx.core.config.domain,
            (&number, host),
            &mut lines,
        );
        let codecs = settings.codecs.clone();
        let port = cx.core.ports.take(hop.listener, worker)?;
        let mut stream = cx.core.open_stream(hop, port, cx.out);
        let offer = media::sdp::offer(&stream.local, like.as_ref()).restrict_codecs(&codecs);
        let offer = self.restrict_to_recordable(cx, &spot.trunk.name, offer);
        let connect = InviteParams {
            target: Target { uri, hop, route: Vec::new() },
            from,
            to: format!("<sip:{}@{}>", escaped(&number), host.in_uri()),
            contact_user: settings.username.clone().or(shown.filter(|_| !hidden)).unwrap_or_default(),
            lines,
            offer: offer.bytes.clone(),
            credentials,
            max_forwards,
        };
        stream.ours = Some(offer);
        let location = self.location.as_ref().filter(|_| way.outside.is_emergency);
        let parts = location.map_or(&[][..], |location| location.parts.as_slice());
        let Some(session) = cx.core.endpoint.connect_with_parts(cx.now, connect, parts, &mut cx.core.sip_out)
        else {
            let command = media::MediaCommand::Close { stream: stream.id };
            cx.out.push(Output::Media { worker: port.worker, command });
            return None;
        };
        let at = self.time(cx.now);
        let mut leg = Leg::new(session, hop, stream, LegRole::Trunk, spot.trunk.name.clone(), at);
        leg.record.sip_call_id = cx.core.endpoint.call_id(session).unwrap_or_default().to_string();
        Some(cx.core.index.add_leg(self, leg))
    }
}

impl Core {
    /// The caller number shown to the external callee, by the caller ID rule of the trunk.
    fn outbound_caller_id(&self, call: &Call, way: &OutboundAttempt, trunk: &Trunk) -> Option<String> {
        if let (CallerId::Own, Some(by)) = (trunk.settings.caller_id, &way.by) {
            return trunk.settings.caller_number(by.number.as_str(), Some(&by.number));
        }
        let device = call.leg(0).map(|leg| &leg.record).filter(|record| record.role != LegRole::Trunk);
        let credential = device.and_then(|record| self.directory.credential(&record.party));
        let extension = credential.and_then(|credential| self.extension_of(credential));
        trunk.settings.caller_number(&call.record.from_number, extension.map(|e| &e.number))
    }
}
