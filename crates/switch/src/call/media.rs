//! Media of a call: opens streams, negotiates SDP, and sends the negotiated media and the sources of the streams to the media workers.

use media::sdp::{self, Direction, LocalMedia, Negotiated, SdpError, SessionDescription};
use media::{MediaCommand, Report, Source, Tone};
use model::Quality;
use model::dialplan::Application;
use sip::Hop;

use super::{LegState, Phase, Stream};
use crate::call::Call;
use crate::core::{Core, Cx};
use crate::ports::Port;
use crate::{HoldTreatment, Output};

pub(crate) fn quality(report: &Report) -> Quality {
    Quality {
        packets_received: report.received,
        packets_sent: report.sent,
        packets_lost: report.lost,
        jitter_ms: report.jitter_us as f32 / 1000.0,
        rtt_ms: report.rtt_us as f32 / 1000.0,
        mos: report.mos,
        remote_mos: report.remote_mos,
    }
}

impl Call {
    pub(crate) fn close_stream(&mut self, cx: &mut Cx<'_>, index: usize) {
        if let Some(leg) = self.legs.get_mut(index)
            && !leg.stream.closed
        {
            leg.stream.closed = true;
            let command = MediaCommand::Close { stream: leg.stream.id };
            cx.out.push(Output::Media { worker: leg.stream.port.worker, command });
        }
    }

    /// Answer the offer of a leg's peer, matching the codec negotiated with `partner`. The answer is kept, since 183 and 200 carry the same one.
    pub(crate) fn answer_offer(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        partner: Option<&Negotiated>,
    ) -> Result<bytes::Bytes, SdpError> {
        let leg = self.legs.get_mut(index).ok_or(SdpError::NoAudio)?;
        let theirs = leg.stream.theirs.as_ref().ok_or(SdpError::NoAudio)?;
        let (bytes, negotiated) = sdp::answer(theirs, &leg.stream.local, partner)?;
        leg.stream.answer = Some(bytes.clone());
        self.commit_media(cx, index, negotiated);
        Ok(bytes)
    }

    /// Make an offer for a leg, modelled on `like`, the session description of the other leg's peer.
    pub(crate) fn make_offer(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        like: Option<&SessionDescription>,
    ) -> Option<bytes::Bytes> {
        // Of two bridged legs the one with the higher index is the callee.
        let callee = index.max(self.partner(index).unwrap_or(0));
        let callee = self.legs.get(callee).map(|leg| &leg.record).map_or("", |leg| leg.party.as_str());
        let offer = self.restrict_to_recordable(cx, callee, sdp::offer(&self.leg(index)?.stream.local, like));
        let bytes = offer.bytes.clone();
        self.legs.get_mut(index)?.stream.ours = Some(offer);
        Some(bytes)
    }

    /// Apply the peer's answer to our offer.
    pub(crate) fn apply_answer(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        answer: &[u8],
    ) -> Result<(), SdpError> {
        let theirs = SessionDescription::parse(answer)?;
        let leg = self.legs.get_mut(index).ok_or(SdpError::NoAudio)?;
        let ours = leg.stream.ours.as_ref().ok_or(SdpError::NoAudio)?;
        let negotiated = sdp::apply_answer(&ours.description, &theirs)?;
        leg.stream.theirs = Some(theirs);
        self.commit_media(cx, index, negotiated);
        Ok(())
    }

    /// Store a leg's negotiated media, and send it to the media worker.
    fn commit_media(&mut self, cx: &mut Cx<'_>, index: usize, negotiated: Negotiated) {
        if let Some(record) = self.legs.get_mut(index).map(|leg| &mut leg.record) {
            record.codec = Some(negotiated.codec.name().into());
        }
        let Some(leg) = self.legs.get_mut(index) else { return };
        let command = MediaCommand::Negotiated {
            stream: leg.stream.id,
            signalling: leg.hop.remote.ip(),
            negotiated: Box::new(negotiated.clone()),
        };
        leg.stream.negotiated = Some(negotiated);
        cx.out.push(Output::Media { worker: leg.stream.port.worker, command });
    }

    pub(crate) fn set_source(&self, cx: &mut Cx<'_>, index: usize, source: Source) {
        // A placeholder leg has no media stream.
        if let Some(leg) = self.legs.get(index).filter(|leg| !leg.is_placeholder()) {
            let command = MediaCommand::SetSource { stream: leg.stream.id, source };
            cx.out.push(Output::Media { worker: leg.stream.port.worker, command });
        }
    }

    /// Set the source of each leg's stream according to the call's phase.
    pub(crate) fn update_media_graph(&self, cx: &mut Cx<'_>) {
        match self.phase {
            Phase::Bridged(a, b) => {
                for (speaker, listener) in [(a, b), (b, a)] {
                    let Some(leg) = self.leg(speaker) else { continue };
                    let holds = leg.stream.negotiated.as_ref().is_some_and(|n| !n.direction.sends());
                    let source = match (holds, cx.core.config.hold) {
                        (false, _) => Source::Stream(leg.stream.id),
                        (true, HoldTreatment::Silence) => Source::Silence,
                        (true, HoldTreatment::Music) => Source::Tone(Tone::Music),
                    };
                    self.set_source(cx, listener, source);
                }
            }
            Phase::InApplication(application) => {
                let source = match application {
                    Application::Echo => Source::Echo,
                    Application::Milliwatt => Source::Tone(Tone::Milliwatt),
                    Application::Voicemail | Application::AnyVoicemail | Application::Settings => {
                        Source::Silence
                    }
                };
                self.set_source(cx, 0, source);
            }
            Phase::Voicemail(_) => self.set_source(cx, 0, Source::Silence),
            Phase::Announcing(to) => self.set_source(cx, to, Source::Silence),
            Phase::Waiting(_)
            | Phase::RingingDevice(_)
            | Phase::Dialling
            | Phase::TrunkTest
            | Phase::LoadingAudio(_)
            | Phase::StoringMessage
            | Phase::Released { .. } => {}
        }
    }

    /// Whether a leg is up, so that tones that we play reach its peer.
    pub(crate) fn is_leg_up(&self, index: usize) -> bool {
        self.leg(index).is_some_and(|l| l.state == LegState::Up)
    }
}

impl Core {
    /// Open a stream on a port. Nothing is known of the peer yet.
    pub(crate) fn open_stream(&mut self, hop: Hop, port: Port, out: &mut Vec<Output>) -> Stream {
        let id = self.index.new_stream();
        out.push(Output::Media {
            worker: port.worker,
            command: MediaCommand::Open { stream: id, port: port.number },
        });
        let local = LocalMedia {
            address: self.config.media_address.unwrap_or(hop.local.ip()),
            port: port.number,
            session: self.rng.u64() >> 2, // fits a signed 64-bit integer, as which some phones parse it
            version: 1,
            direction: Direction::SendRecv,
        };
        Stream { id, port, local, theirs: None, ours: None, answer: None, negotiated: None, closed: false }
    }
}
