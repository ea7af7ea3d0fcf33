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
    pub(super) agreed: Option<Agreed>,
    /// Source of the audio sent to the peer.
    pub(super) source: Source,
    /// Slot of the stream whose peer receives this stream's packets.
    pub(super) sink: Option<usize>,
    pub(super) output: RtpSender,
    pub(super) reception: ReceiveStats,
    pub(super) detector: EventDetector,
    pub(super) rtcp: Rtcp,
    pub(super) play: Option<TonePlayer>,
    /// Clips that are played in place of the source.
    pub(super) clips: PlayQueue,
    /// Consumers of decoded audio: recordings and in-band DTMF detection.
    pub(super) tap: Option<Box<Tap>>,
    pub(super) refused: u64,
    /// Time of the last accepted packet while the peer should send.
    pub(super) heard: Instant,
    /// [`MediaEvent::RtpTimeout`](super::api::MediaEvent::RtpTimeout) was raised, and no packet came since.
    pub(super) silent: bool,
    /// This stream's entry in the engine's timers.
    pub(super) due: Option<Instant>,
    /// The current second and the packets counted in it.
    rate: (u64, u16),
}

/// The negotiated media of a stream, with the values precomputed that are needed per packet.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) lock: RtpLatch,
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
    pub(super) kind: Kind,
    pub(super) forwarding: Forwarding,
}

/// What a payload type carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Kind {
    /// Not negotiated.
    #[default]
    Unknown,
    Audio,
    /// telephone-event/8000.
    Event,
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

impl Agreed {
    /// The G.711 law of a payload type that the peer sends.
    pub(super) fn law_of(&self, payload_type: u8) -> Option<Law> {
        let (_, codec) = numbers(&self.negotiated).find(|(number, _)| *number == payload_type)?;
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
            agreed: None,
            source: Source::Nothing,
            sink: None,
            output: RtpSender::new(rng),
            reception: ReceiveStats::default(),
            detector: EventDetector::default(),
            rtcp: Rtcp::new(now, rng),
            play: None,
            clips: PlayQueue::default(),
            tap: None,
            refused: 0,
            heard: now.instant,
            silent: false,
            due: None,
            rate: (0, 0),
        }
    }

    /// Apply the result of an offer/answer exchange, the first or a later one.
    pub(super) fn agree(&mut self, now: Now, signalling: IpAddr, negotiated: Box<Negotiated>) {
        let (remote, remote_rtcp) = (negotiated.remote, negotiated.remote_rtcp);
        let signalling = signalling.to_canonical();
        let before = self.agreed.take();
        let received = before.as_ref().is_some_and(|a| a.receives);
        let lock = match before {
            Some(Agreed { mut lock, .. }) => {
                lock.renegotiate(signalling, remote, remote_rtcp);
                lock
            }
            None => RtpLatch::new(signalling, remote, remote_rtcp),
        };
        let clock = negotiated.codec.clock();
        self.output.set_clock(clock);
        let receives = negotiated.direction.receives();
        if receives && !received {
            (self.heard, self.silent) = (now.instant, false);
            self.reception.restart();
        }
        let mux = negotiated.rtcp_mux;
        let law = law_of(&negotiated);
        self.agreed = Some(Agreed { lock, target: None, receives, mux, clock, law, negotiated });
        self.aim();
    }

    /// Recompute the destination of RTP.
    pub(super) fn aim(&mut self) {
        if let Some(agreed) = &mut self.agreed {
            agreed.target = agreed.lock.target().filter(|_| agreed.negotiated.direction.sends());
        }
    }

    /// Destination of RTCP, and the socket to send it from.
    pub(super) fn rtcp_target(&self) -> Option<(Component, SocketAddr)> {
        let agreed = self.agreed.as_ref()?;
        if agreed.mux {
            return Some((Component::Rtp, agreed.lock.target()?));
        }
        Some((Component::Rtcp, agreed.lock.rtcp_target()?))
    }

    /// Count a packet; `true` if it exceeds the rate limit of this second.
    pub(super) fn floods(&mut self, now: Instant) -> bool {
        let second = now.as_micros() >> 20;
        if self.rate.0 != second {
            self.rate = (second, 0);
        }
        self.rate.1 = self.rate.1.saturating_add(1);
        self.rate.1 > PACKETS_PER_SECOND
    }

    /// Rebuild the handling of each payload type; `listener` is what the listener negotiated.
    pub(super) fn route(&mut self, listener: Option<&Negotiated>) {
        self.routes = [Route::default(); 128];
        let Some(agreed) = &self.agreed else { return };
        for (number, codec) in numbers(&agreed.negotiated) {
            let kind = if codec.is_dtmf() { Kind::Event } else { Kind::Audio };
            let way = listener.map_or(Forwarding::Nowhere, |l| way(codec, l));
            // The payload types of the peer take precedence over ours.
            if let Some(route) = self.routes.get_mut(usize::from(number)).filter(|r| r.kind == Kind::Unknown)
            {
                *route = Route { kind, forwarding: way };
            }
        }
    }

    /// When the next action of this stream is due.
    pub(super) fn next_due(&self, silence: Duration) -> Option<Instant> {
        let agreed = self.agreed.as_ref()?;
        let play = self.clips.due().or_else(|| self.play.as_ref().map(TonePlayer::due));
        let silent = (agreed.receives && !self.silent).then(|| self.heard + silence);
        [play, silent, Some(self.rtcp.due)].into_iter().flatten().min()
    }

    /// Statistics for [`MediaEvent::Closed`](super::api::MediaEvent::Closed).
    pub(super) fn report(&self) -> Report {
        let clock = u64::from(self.agreed.as_ref().map_or(8_000, |a| a.clock)).max(1);
        let micros =
            |units: u32| (u64::from(units) * 1_000_000).wrapping_div(clock).min(u64::from(u32::MAX)) as u32;
        let sent = self.output.packets;
        let rtt_us = self.rtcp.rtt.map_or(0, |rtt| rtt.as_micros().min(u128::from(u32::MAX)) as u32);
        let jitter_us = micros(self.reception.jitter());
        let mut report = Report {
            received: self.reception.received,
            sent,
            lost: self.reception.lost(),
            refused: self.refused,
            jitter_us,
            rtt_us,
            ..Report::default()
        };
        if report.received > 0 {
            report.mos = quality::mos(self.reception.loss(), quality::one_way_ms(rtt_us, jitter_us));
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
fn numbers(negotiated: &Negotiated) -> impl Iterator<Item = (u8, &Codec)> {
    let main = std::iter::once((negotiated.payload_type, &negotiated.codec));
    let dtmf = negotiated.dtmf.iter().map(|number| (*number, event()));
    main.chain(dtmf).chain(negotiated.alternates.iter().map(|(number, codec)| (*number, codec)))
}

fn event() -> &'static Codec {
    static EVENT: std::sync::LazyLock<Codec> =
        std::sync::LazyLock::new(|| Codec::Other("telephone-event/8000".to_owned()));
    &EVENT
}

/// The payload type under which a peer accepts a codec.
fn number_of(codec: &Codec, listener: &Negotiated) -> Option<u8> {
    numbers(listener)
        .find(|(_, theirs)| theirs.same_as(codec) || (theirs.is_dtmf() && codec.is_dtmf()))
        .map(|(n, _)| n)
}

fn way(codec: &Codec, listener: &Negotiated) -> Forwarding {
    if let Some(number) = number_of(codec, listener) {
        return Forwarding::Same(number);
    }
    let other = match codec {
        Codec::Pcmu => (Codec::Pcma, Law::A),
        Codec::Pcma => (Codec::Pcmu, Law::Mu),
        Codec::Other(_) => return Forwarding::Nowhere,
    };
    number_of(&other.0, listener)
        .map_or(Forwarding::Nowhere, |number| Forwarding::Transcoded(other.1, number))
}

/// Codec and payload type for generated audio: the negotiated codec if it is G.711, else a G.711 alternate.
fn law_of(negotiated: &Negotiated) -> Option<(Law, u8)> {
    numbers(negotiated).find_map(|(number, codec)| match codec {
        Codec::Pcmu => Some((Law::Mu, number)),
        Codec::Pcma => Some((Law::A, number)),
        Codec::Other(_) => None,
    })
}
