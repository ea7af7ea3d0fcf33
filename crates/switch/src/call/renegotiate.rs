//! Renegotiation of an established call (hold, resume, codec change): offers are forwarded end to end, with our media relay in between.

use bytes::Bytes;
use media::sdp::{self, SessionDescription};

use super::{PendingReinvite, Phase};
use crate::call::Call;
use crate::core::Cx;

impl Call {
    /// A re-INVITE or UPDATE from the peer of a leg: with an offer, or without SDP (`None`), which requests an offer.
    pub(crate) fn on_offer(&mut self, cx: &mut Cx<'_>, index: usize, sdp: Option<Bytes>) {
        let Some(session) = self.leg(index).map(|leg| leg.session) else { return };
        let partner = self.partner(index);
        let busy = partner.and_then(|i| self.leg(i)).is_some_and(|leg| leg.asking != PendingReinvite::No);
        let answer = match sdp.map(|sdp| SessionDescription::parse(&sdp)) {
            None => self.reoffer(cx, index, partner).ok_or(488),
            Some(Err(_)) => Err(488),
            // Checked before the offer is forwarded: after a rejection the session stays unchanged for both parties (RFC 3261 §14.1).
            Some(Ok(theirs)) if theirs.check_audio().is_err() => Err(488),
            Some(Ok(_)) if busy => Err(491),
            Some(Ok(theirs)) => match partner {
                Some(other) if self.changes_media(index, &theirs) => {
                    return self.forward_offer(cx, index, other, theirs);
                }
                Some(_) | None => self.answer_locally(cx, index, theirs),
            },
        };
        cx.core.endpoint.answer(cx.now, session, answer, &mut cx.core.sip_out);
    }

    /// Whether an offer must be forwarded to the other party: its direction or its codecs have changed. A session refresh or a new address is
    /// answered locally.
    fn changes_media(&self, index: usize, theirs: &SessionDescription) -> bool {
        let before = self.leg(index).and_then(|leg| leg.stream.theirs.as_ref());
        before.is_none_or(|before| {
            before.direction() != theirs.direction() || before.codecs() != theirs.codecs()
        })
    }

    /// Our offer in response to a re-INVITE without SDP, modelled on the SDP of the other party. The answer comes in the ACK.
    fn reoffer(&mut self, cx: &mut Cx<'_>, index: usize, partner: Option<usize>) -> Option<Bytes> {
        let like = partner.and_then(|i| self.leg(i)).and_then(|leg| leg.stream.theirs.clone());
        self.legs.get_mut(index)?.stream.local.version += 1;
        self.make_offer(cx, index, like.as_ref())
    }

    /// Answer an offer without involving the other party. `Err` holds the SIP status: 481 without leg, 488 without common codec.
    fn answer_locally(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        theirs: SessionDescription,
    ) -> Result<Bytes, u16> {
        let partner = match self.phase {
            Phase::Dialling if index > 0 => Some(0),
            Phase::Dialling
            | Phase::TrunkTest
            | Phase::Bridged(..)
            | Phase::Waiting(_)
            | Phase::RingingDevice(_)
            | Phase::InApplication(_)
            | Phase::LoadingAudio(_)
            | Phase::Announcing(_)
            | Phase::StoringMessage
            | Phase::Voicemail(_)
            | Phase::Released { .. } => self.partner(index),
        };
        let codec = partner.and_then(|i| self.leg(i)).and_then(|leg| leg.stream.negotiated.clone());
        let leg = self.legs.get_mut(index).ok_or(481_u16)?;
        let before = leg.stream.theirs.replace(theirs);
        leg.stream.local.version += 1;
        match self.answer_offer(cx, index, codec.as_ref()) {
            Ok(answer) => {
                self.update_media_graph(cx);
                Ok(answer)
            }
            Err(_) => {
                if let Some(leg) = self.legs.get_mut(index) {
                    leg.stream.theirs = before;
                }
                Err(488)
            }
        }
    }

    /// Forward an offer to leg `other`; leg `index` is answered once `other` has answered.
    fn forward_offer(&mut self, cx: &mut Cx<'_>, index: usize, other: usize, theirs: SessionDescription) {
        if let Some(partner) = self.legs.get_mut(other) {
            partner.stream.local.version += 1;
            partner.stream.local.direction = theirs.direction();
        }
        let Some(session) = self.leg(other).map(|leg| leg.session) else { return };
        let Some(offer) = self.make_offer(cx, other, Some(&theirs)) else { return };
        if let Some(leg) = self.legs.get_mut(index) {
            leg.asking = PendingReinvite::Passed(Box::new(theirs));
        }
        cx.core.endpoint.offer(cx.now, session, offer, &mut cx.core.sip_out);
    }

    /// Leg `other` answered an offer of ours: answer the forwarded offer of its partner, if there is one.
    pub(crate) fn answered(&mut self, cx: &mut Cx<'_>, other: usize, sdp: &[u8]) {
        if self.apply_answer(cx, other, sdp).is_err() {
            let asked = self.partner(other).and_then(|i| self.leg(i)).map(|leg| leg.asking.clone());
            self.offer_refused(cx, other, 488);
            if asked.is_some_and(|asked| asked != PendingReinvite::No) {
                self.offer_former(cx, other);
            }
            return;
        }
        let Some(agreed) = self.leg(other).and_then(|leg| leg.stream.negotiated.clone()) else { return };
        let Some(index) = self.partner(other) else { return };
        let Some(leg) = self.legs.get_mut(index) else { return };
        let PendingReinvite::Passed(theirs) = std::mem::replace(&mut leg.asking, PendingReinvite::No) else {
            if agreed.codec.is_g711() {
                self.ask_for_g711(cx, index); // both legs need the same codec
            }
            return self.update_media_graph(cx);
        };
        let session = leg.session;
        let before = leg.stream.theirs.replace(*theirs);
        leg.stream.local.version += 1;
        leg.stream.local.direction = agreed.direction.reversed();
        let answer = self.answer_offer(cx, index, Some(&agreed));
        if answer.is_err()
            && let Some(leg) = self.legs.get_mut(index)
        {
            leg.stream.theirs = before;
        }
        let refused = answer.is_err();
        cx.core.endpoint.answer(cx.now, session, answer.map_err(|_| 488), &mut cx.core.sip_out);
        if refused {
            self.offer_former(cx, other);
        }
        self.update_media_graph(cx);
    }

    /// Undo a change that leg `other` has accepted but whose offerer was rejected: re-offer the offerer's former SDP to `other`.
    fn offer_former(&mut self, cx: &mut Cx<'_>, other: usize) {
        let offerer = self.partner(other).and_then(|i| self.leg(i));
        let Some(former) = offerer.and_then(|leg| leg.stream.theirs.clone()) else { return };
        let Some(leg) = self.legs.get_mut(other) else { return };
        leg.stream.local.version += 1;
        leg.stream.local.direction = former.direction();
        let session = leg.session;
        if let Some(offer) = self.make_offer(cx, other, Some(&former)) {
            cx.core.endpoint.offer(cx.now, session, offer, &mut cx.core.sip_out);
        }
    }

    /// Offer only G.711 to a leg that uses another codec and supports G.711. No effect on other legs.
    pub(crate) fn ask_for_g711(&mut self, cx: &mut Cx<'_>, index: usize) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        if leg.is_unrecordable() && leg.knows_g711() {
            leg.stream.local.version += 1;
            // Keeps the peer's own payload type numbers.
            let offer = sdp::offer(&leg.stream.local, leg.stream.theirs.as_ref()).recordable();
            let (session, bytes) = (leg.session, offer.bytes.clone());
            leg.stream.ours = Some(offer);
            cx.core.endpoint.offer(cx.now, session, bytes, &mut cx.core.sip_out);
        }
    }

    /// Leg `other` rejected an offer of ours: the session stays unchanged, and a forwarded offer of its partner is rejected with `status`, at
    /// least 400.
    pub(crate) fn offer_refused(&mut self, cx: &mut Cx<'_>, other: usize, status: u16) {
        if let Some(leg) = self.legs.get_mut(other)
            && let Some(agreed) = &leg.stream.negotiated
        {
            leg.stream.local.direction = agreed.direction;
        }
        let Some(index) = self.partner(other) else { return };
        let Some(leg) = self.legs.get_mut(index) else { return };
        if std::mem::replace(&mut leg.asking, PendingReinvite::No) != PendingReinvite::No {
            let session = leg.session;
            cx.core.endpoint.answer(cx.now, session, Err(status.max(400)), &mut cx.core.sip_out);
        } else if self.recording_codec_failed(cx) {
            self.reoffer_codec_of(cx, index, other);
        }
    }

    /// Re-offer leg `index` the codec of leg `other`, if their negotiated codecs differ.
    fn reoffer_codec_of(&mut self, cx: &mut Cx<'_>, index: usize, other: usize) {
        let spoken = |index| self.leg(index).and_then(|leg| leg.stream.negotiated.as_ref());
        let differ = spoken(index).zip(spoken(other)).is_some_and(|(a, b)| !a.codec.same_as(&b.codec));
        if let Some(session) = self.leg(index).map(|leg| leg.session).filter(|_| differ)
            && let Some(offer) = self.reoffer(cx, index, Some(other))
        {
            cx.core.endpoint.offer(cx.now, session, offer, &mut cx.core.sip_out);
        }
    }
}
