//! Hold, resume and every other change of a call that is up: passed from end to end, with our media in the middle.

use base::Now;
use bytes::Bytes;
use media::sdp::{self, SessionDescription};

use super::{CallKey, PendingReinvite, Phase};
use crate::Output;
use crate::switch::Switch;

impl Switch {
    /// A party offers (re-INVITE, UPDATE), or asks for an offer.
    pub(crate) fn on_offer(
        &mut self,
        now: Now,
        key: CallKey,
        index: usize,
        sdp: Option<Bytes>,
        out: &mut Vec<Output>,
    ) {
        let Some(call) = self.calls.get(key) else { return };
        let Some(session) = call.leg(index).map(|leg| leg.session) else { return };
        let partner = call.partner(index);
        let busy = partner.and_then(|i| call.leg(i)).is_some_and(|leg| leg.asking != PendingReinvite::No);
        let answer = match sdp.map(|sdp| SessionDescription::parse(&sdp)) {
            None => self.reoffer(key, index, partner).ok_or(488),
            Some(Err(_)) => Err(488),
            Some(Ok(_)) if busy => Err(491),
            Some(Ok(theirs)) => match partner {
                Some(other) if self.changes_media(key, index, &theirs) => {
                    return self.forward_offer(now, key, index, other, theirs);
                }
                Some(_) | None => self.answer_locally(key, index, theirs, out),
            },
        };
        self.core.endpoint.answer(now, session, answer, &mut self.core.sip_out);
    }

    /// Whether an offer concerns the other party: another direction or other codecs. A session refresh and a new address do not.
    fn changes_media(&self, key: CallKey, index: usize, theirs: &SessionDescription) -> bool {
        let before =
            self.calls.get(key).and_then(|c| c.leg(index)).and_then(|leg| leg.stream.theirs.as_ref());
        before.is_none_or(|before| {
            before.direction() != theirs.direction() || before.codecs() != theirs.codecs()
        })
    }

    /// Re-INVITE without SDP: offer what we are, like the other party; the answer comes with the ACK.
    fn reoffer(&mut self, key: CallKey, index: usize, partner: Option<usize>) -> Option<Bytes> {
        let call = self.calls.get_mut(key)?;
        let like = partner.and_then(|i| call.leg(i)).and_then(|leg| leg.stream.theirs.clone());
        call.legs.get_mut(index)?.stream.local.version += 1;
        self.make_offer(key, index, like.as_ref())
    }

    /// Answer without the other party: nothing changes for it.
    fn answer_locally(
        &mut self,
        key: CallKey,
        index: usize,
        theirs: SessionDescription,
        out: &mut Vec<Output>,
    ) -> Result<Bytes, u16> {
        let call = self.calls.get_mut(key).ok_or(481_u16)?;
        let partner = match call.phase {
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
            | Phase::Released { .. } => call.partner(index),
        };
        let codec = partner.and_then(|i| call.leg(i)).and_then(|leg| leg.stream.negotiated.clone());
        let leg = call.legs.get_mut(index).ok_or(481_u16)?;
        let before = leg.stream.theirs.replace(theirs);
        leg.stream.local.version += 1;
        match self.answer_offer(key, index, codec.as_ref(), out) {
            Ok(answer) => {
                self.update_media_graph(key, out);
                Ok(answer)
            }
            Err(_) => {
                if let Some(leg) = self.calls.get_mut(key).and_then(|c| c.legs.get_mut(index)) {
                    leg.stream.theirs = before;
                }
                Err(488)
            }
        }
    }

    fn forward_offer(
        &mut self,
        now: Now,
        key: CallKey,
        index: usize,
        other: usize,
        theirs: SessionDescription,
    ) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(partner) = call.legs.get_mut(other) {
            partner.stream.local.version += 1;
            partner.stream.local.direction = theirs.direction();
        }
        let Some(session) = call.leg(other).map(|leg| leg.session) else { return };
        let Some(offer) = self.make_offer(key, other, Some(&theirs)) else { return };
        if let Some(leg) = self.calls.get_mut(key).and_then(|c| c.legs.get_mut(index)) {
            leg.asking = PendingReinvite::Passed(Box::new(theirs));
        }
        self.core.endpoint.offer(now, session, offer, &mut self.core.sip_out);
    }

    /// The other party answered what we passed on.
    pub(crate) fn answered(
        &mut self,
        now: Now,
        key: CallKey,
        other: usize,
        sdp: &[u8],
        out: &mut Vec<Output>,
    ) {
        if self.apply_answer(key, other, sdp, out).is_err() {
            return self.offer_refused(now, key, other, 488, out);
        }
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(agreed) = call.leg(other).and_then(|leg| leg.stream.negotiated.clone()) else { return };
        let Some(index) = call.partner(other) else { return };
        let Some(leg) = call.legs.get_mut(index) else { return };
        let PendingReinvite::Passed(theirs) = std::mem::replace(&mut leg.asking, PendingReinvite::No) else {
            if agreed.codec.is_g711() {
                self.ask_for_g711(now, key, index); // or they would not understand each other
            }
            return self.update_media_graph(key, out);
        };
        let session = leg.session;
        let before = leg.stream.theirs.replace(*theirs);
        leg.stream.local.version += 1;
        leg.stream.local.direction = agreed.direction.reversed();
        let answer = self.answer_offer(key, index, Some(&agreed), out);
        if answer.is_err()
            && let Some(leg) = self.calls.get_mut(key).and_then(|c| c.legs.get_mut(index))
        {
            leg.stream.theirs = before;
        }
        self.core.endpoint.answer(now, session, answer.map_err(|_| 488), &mut self.core.sip_out);
        self.update_media_graph(key, out);
    }

    /// Offer a party G.711 alone, where it speaks something else that it could change for it.
    pub(crate) fn ask_for_g711(&mut self, now: Now, key: CallKey, index: usize) {
        let Some(leg) = self.calls.get_mut(key).and_then(|call| call.legs.get_mut(index)) else { return };
        if leg.is_unrecordable() && leg.knows_g711() {
            leg.stream.local.version += 1;
            // Its own codecs under its own numbers.
            let offer = sdp::offer(&leg.stream.local, leg.stream.theirs.as_ref()).recordable();
            let (session, bytes) = (leg.session, offer.bytes.clone());
            leg.stream.ours = Some(offer);
            self.core.endpoint.offer(now, session, bytes, &mut self.core.sip_out);
        }
    }

    /// The other party refused what we passed on: all stays as it was.
    pub(crate) fn offer_refused(
        &mut self,
        now: Now,
        key: CallKey,
        other: usize,
        status: u16,
        out: &mut Vec<Output>,
    ) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(leg) = call.legs.get_mut(other)
            && let Some(agreed) = &leg.stream.negotiated
        {
            leg.stream.local.direction = agreed.direction;
        }
        let Some(index) = call.partner(other) else { return };
        let Some(leg) = call.legs.get_mut(index) else { return };
        if std::mem::replace(&mut leg.asking, PendingReinvite::No) != PendingReinvite::No {
            let session = leg.session;
            self.core.endpoint.answer(now, session, Err(status.max(400)), &mut self.core.sip_out);
        } else if self.recording_codec_failed(now, key, out) {
            self.reoffer_codec_of(now, key, index, other);
        }
    }

    /// Offer a party again what the other one speaks.
    fn reoffer_codec_of(&mut self, now: Now, key: CallKey, index: usize, other: usize) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let spoken = |index| call.leg(index).and_then(|leg| leg.stream.negotiated.as_ref());
        let differ = spoken(index).zip(spoken(other)).is_some_and(|(a, b)| !a.codec.same_as(&b.codec));
        if let Some(session) = call.leg(index).map(|leg| leg.session).filter(|_| differ)
            && let Some(offer) = self.reoffer(key, index, Some(other))
        {
            self.core.endpoint.offer(now, session, offer, &mut self.core.sip_out);
        }
    }
}
