//! One stream: its negotiated media, latched source, routes, sender, and statistics.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::{Instant, Now, Rng};

use super::api::{Component, Report, Source, StreamId};
use super::dtmf::EventDetector;
use super::g711::Law;
use super::latching::RtpLatch;
use super::play_queue::PlayQueue;
use super::quality::{self, ReceiveStats};
use super::rtcp::Rtcp;
use super::rtp::PayloadKind;
use super::sender::RtpSender;
use super::tap::Tap;
use super::tone_generator::TonePlayer;
use crate::limits::PACKETS_PER_SECOND;
use crate::sdp::{Codec, Negotiated};

/// One leg's RTP and RTCP.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    /// Handling of received packets, by payload type.
    pub(super) routes: [Route; 128],
    /// `None` before the first negotiation: nothing is sent or accepted.
    pub(super) negotiation: Option<Negotiation>,
    /// Source of the audio sent to the peer.
    pub(super) source: Source,
    /// Slot of the stream whose peer receives this stream's packets.
    pub(super) sink: Option<usize>,
    pub(super) sender: RtpSender,
    pub(super) receive_stats: ReceiveStats,
    pub(super) event_detector: EventDetector,
    pub(super) rtcp: Rtcp,
    pub(super) tone_player: Option<TonePlayer>,
    /// Clips that are played in place of the source.
    pub(super) play_queue: PlayQueue,
    /// Consumers of decoded audio: recordings and in-band DTMF detection.
    pub(super) tap: Option<Box<Tap>>,
    pub(super) refused: u64,
    /// Time of the last accepted packet while the peer should send.
    pub(super) last_received: Instant,
    /// [`MediaEvent::RtpTimeout`](super::api::MediaEvent::RtpTimeout) was raised, and no packet came since.
    pub(super) timeout_raised: bool,
    /// This stream's entry in the engine's timers.
    pub(super) due: Option<Instant>,
    /// The current second and the packets counted in it.
    packet_rate: (u64, u16),
}

/// The negotiated media of a stream, with the values precomputed that are needed per packet.
#[derive(Debug)]
pub(super) struct Negotiation {
    pub(super) latch: RtpLatch,
    /// Destination of RTP; `None` where nothing may or can be sent.
    pub(super) target: Option<SocketAddr>,
    pub(super) receives: bool,
    pub(super) mux: bool,
    pub(super) clock: u32,
    /// Codec and payload type of generated audio; `None` where the peer accepts neither G.711 codec.
    pub(super) law: Option<(Law, u8)>,
    pub(super) negotiated: Box<Negotiated>,
}

/// Handling of the packets of one payload type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Route {
    pub(super) kind: PayloadKind,
    pub(super) forwarding: Forwarding,
}

/// How a packet is forwarded to the listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Forwarding {
    /// Not forwarded: there is no listener, or the listener did not negotiate the codec.
    #[default]
    Nowhere,
    /// With this payload type.
    Same(u8),
    /// Transcoded to this G.711 law, with this payload type.
    Transcoded(Law, u8),
}

impl Negotiation {
    /// The G.711 law of a payload type that the peer sends.
    pub(super) fn law_of(&self, payload_type: u8) -> Option<Law> {
        let (_, codec) = payload_types(&self.negotiated).find(|(known, _)| *known == payload_type)?;
        match codec {
            Codec::Pcmu => Some(Law::Mu),
            Codec::Pcma => Some(Law::A),
            Codec::Other(_) => None,
        }
    }
}

impl Stream {
    pub(super) fn new(now: Now, id: StreamId, rng: &mut Rng) -> Stream {
        Stream {
            id,
            routes: [Route::default(); 128],
            negotiation: None,
            source: Source::Nothing,
            sink: None,
            sender: RtpSender::new(rng),
            receive_stats: ReceiveStats::default(),
            event_detector: EventDetector::default(),
            rtcp: Rtcp::new(now, rng),
            tone_player: None,
            play_queue: PlayQueue::default(),
            tap: None,
            refused: 0,
            last_received: now.instant,
            timeout_raised: false,
            due: None,
            packet_rate: (0, 0),
        }
    }

    /// Apply the result of an offer/answer exchange, the first or a later one.
    pub(super) fn negotiate(&mut self, now: Now, signalling: IpAddr, negotiated: Box<Negotiated>) {
        let (remote, remote_rtcp) = (negotiated.remote, negotiated.remote_rtcp);
        let signalling = signalling.to_canonical();
        let previous = self.negotiation.take();
        let was_receiving = previous.as_ref().is_some_and(|a| a.receives);
        let latch = match previous {
            Some(Negotiation { mut latch, .. }) => {
                latch.renegotiate(signalling, remote, remote_rtcp);
                latch
            }
            None => RtpLatch::new(signalling, remote, remote_rtcp),
        };
        let clock = negotiated.codec.clock();
        self.sender.set_clock(clock);
        let receives = negotiated.direction.receives();
        if receives && !was_receiving {
            (self.last_received, self.timeout_raised) = (now.instant, false);
            self.receive_stats.restart();
        }
        let mux = negotiated.rtcp_mux;
        let law = tone_law(&negotiated);
        self.negotiation = Some(Negotiation { latch, target: None, receives, mux, clock, law, negotiated });
        self.update_target();
    }

    /// Recompute the destination of RTP.
    pub(super) fn update_target(&mut self) {
        if let Some(negotiation) = &mut self.negotiation {
            negotiation.target =
                negotiation.latch.target().filter(|_| negotiation.negotiated.direction.sends());
        }
    }

    /// Destination of RTCP, and the socket to send it from.
    pub(super) fn rtcp_target(&self) -> Option<(Component, SocketAddr)> {
        let negotiation = self.negotiation.as_ref()?;
        if negotiation.mux {
            return Some((Component::Rtp, negotiation.latch.target()?));
        }
        Some((Component::Rtcp, negotiation.latch.rtcp_target()?))
    }

    /// Count a packet; `true` if it exceeds the rate limit of this second.
    pub(super) fn exceeds_rate_limit(&mut self, now: Instant) -> bool {
        let second = now.as_micros() >> 20;
        if self.packet_rate.0 != second {
            self.packet_rate = (second, 0);
        }
        self.packet_rate.1 = self.packet_rate.1.saturating_add(1);
        self.packet_rate.1 > PACKETS_PER_SECOND
    }

    /// Rebuild the handling of each payload type; `listener` is what the listener negotiated.
    pub(super) fn rebuild_routes(&mut self, listener: Option<&Negotiated>) {
        self.routes = [Route::default(); 128];
        let Some(negotiation) = &self.negotiation else { return };
        for (payload_type, codec) in payload_types(&negotiation.negotiated) {
            let kind = if codec.is_dtmf() { PayloadKind::Event } else { PayloadKind::Audio };
            let forwarding = listener.map_or(Forwarding::Nowhere, |l| forwarding_to(codec, l));
            // The payload types of the peer take precedence over ours.
            if let Some(route) =
                self.routes.get_mut(usize::from(payload_type)).filter(|r| r.kind == PayloadKind::Unknown)
            {
                *route = Route { kind, forwarding };
            }
        }
    }

    /// When the next action of this stream is due.
    pub(super) fn next_due(&self, silence: Duration) -> Option<Instant> {
        let negotiation = self.negotiation.as_ref()?;
        let audio = self.play_queue.due().or_else(|| self.tone_player.as_ref().map(TonePlayer::due));
        let timeout = (negotiation.receives && !self.timeout_raised).then(|| self.last_received + silence);
        [audio, timeout, Some(self.rtcp.due)].into_iter().flatten().min()
    }

    /// Statistics for [`MediaEvent::Closed`](super::api::MediaEvent::Closed).
    pub(super) fn report(&self) -> Report {
        let clock = u64::from(self.negotiation.as_ref().map_or(8_000, |a| a.clock)).max(1);
        let micros =
            |units: u32| (u64::from(units) * 1_000_000).wrapping_div(clock).min(u64::from(u32::MAX)) as u32;
        let sent = self.sender.packets;
        let rtt_us = self.rtcp.rtt.map_or(0, |rtt| rtt.as_micros().min(u128::from(u32::MAX)) as u32);
        let jitter_us = micros(self.receive_stats.jitter());
        let mut report = Report {
            received: self.receive_stats.received,
            sent,
            lost: self.receive_stats.lost(),
            refused: self.refused,
            jitter_us,
            rtt_us,
            ..Report::default()
        };
        if report.received > 0 {
            report.mos = quality::mos(self.receive_stats.loss(), quality::one_way_ms(rtt_us, jitter_us));
        }
        if let Some(remote) = self.rtcp.remote.filter(|_| sent > 0) {
            let loss = remote.lost as f32 / sent as f32;
            report.remote_loss = (loss * 256.0).min(255.0) as u8;
            report.remote_jitter_us = micros(remote.jitter);
            report.remote_mos = quality::mos(loss, quality::one_way_ms(rtt_us, report.remote_jitter_us));
        }
        report
    }
}

/// All payload types of a negotiation with their codecs.
fn payload_types(negotiated: &Negotiated) -> impl Iterator<Item = (u8, &Codec)> {
    let main = std::iter::once((negotiated.payload_type, &negotiated.codec));
    let dtmf = negotiated.dtmf.iter().map(|payload_type| (*payload_type, telephone_event()));
    main.chain(dtmf).chain(negotiated.alternates.iter().map(|(payload_type, codec)| (*payload_type, codec)))
}

fn telephone_event() -> &'static Codec {
    static EVENT: std::sync::LazyLock<Codec> =
        std::sync::LazyLock::new(|| Codec::Other("telephone-event/8000".to_owned()));
    &EVENT
}

/// The payload type under which a peer accepts a codec.
fn payload_type_of(codec: &Codec, listener: &Negotiated) -> Option<u8> {
    payload_types(listener)
        .find(|(_, theirs)| theirs.same_as(codec) || (theirs.is_dtmf() && codec.is_dtmf()))
        .map(|(n, _)| n)
}

fn forwarding_to(codec: &Codec, listener: &Negotiated) -> Forwarding {
    if let Some(payload_type) = payload_type_of(codec, listener) {
        return Forwarding::Same(payload_type);
    }
    let transcoded = match codec {
        Codec::Pcmu => (Codec::Pcma, Law::A),
        Codec::Pcma => (Codec::Pcmu, Law::Mu),
        Codec::Other(_) => return Forwarding::Nowhere,
    };
    payload_type_of(&transcoded.0, listener)
        .map_or(Forwarding::Nowhere, |payload_type| Forwarding::Transcoded(transcoded.1, payload_type))
}

/// Codec and payload type for generated audio: the negotiated codec if it is G.711, else a G.711 alternate.
fn tone_law(negotiated: &Negotiated) -> Option<(Law, u8)> {
    payload_types(negotiated).find_map(|(payload_type, codec)| match codec {
        Codec::Pcmu => Some((Law::Mu, payload_type)),
        Codec::Pcma => Some((Law::A, payload_type)),
        Codec::Other(_) => None,
    })
}
