//! One leg: what it agreed on, whom it believes, what it hears and what it carried.

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

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    /// Of each payload type that the peer may send: what to do with it.
    pub(super) routes: [Route; 128],
    /// What SDP said; nothing goes in or out before.
    pub(super) agreed: Option<Agreed>,
    /// What the peer hears.
    pub(super) source: Source,
    /// The slot of the stream whose peer hears this one.
    pub(super) sink: Option<usize>,
    pub(super) output: RtpSender,
    pub(super) reception: ReceiveStats,
    pub(super) detector: EventDetector,
    pub(super) rtcp: Rtcp,
    pub(super) play: Option<TonePlayer>,
    /// What is played instead, as long as there is any.
    pub(super) clips: PlayQueue,
    /// Who of us listens in: recordings, and ears for tones.
    pub(super) tap: Option<Box<Tap>>,
    pub(super) refused: u64,
    /// The last sign of life of a peer that should send.
    pub(super) heard: Instant,
    /// Silence was told, and nothing came since.
    pub(super) silent: bool,
    /// Its entry in the agenda.
    pub(super) due: Option<Instant>,
    /// The second that is being counted, and its packets.
    rate: (u64, u16),
}

/// The part of a negotiation that packets ask for, beside the whole.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) lock: RtpLatch,
    /// Where RTP goes; `None` where nothing may or can be sent.
    pub(super) target: Option<SocketAddr>,
    pub(super) receives: bool,
    pub(super) mux: bool,
    pub(super) clock: u32,
    /// The law and number that tones are played in.
    pub(super) law: Option<(Law, u8)>,
    pub(super) negotiated: Box<Negotiated>,
}

/// What is done with packets of one payload type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Route {
    pub(super) kind: Kind,
    pub(super) forwarding: Forwarding,
}

/// What a payload type carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Kind {
    /// Not agreed on.
    #[default]
    Unknown,
    Audio,
    /// telephone-event/8000.
    Event,
}

/// How it reaches the listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Forwarding {
    /// Not at all: nobody listens, or the listener does not know it.
    #[default]
    Nowhere,
    /// Under this number.
    Same(u8),
    /// Under this number in the other law.
    Transcoded(Law, u8),
}

impl Agreed {
    /// The law of a payload type that the peer sends.
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

    /// SDP spoke, first or anew.
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

    /// Find out anew where RTP goes.
    pub(super) fn aim(&mut self) {
        if let Some(agreed) = &mut self.agreed {
            agreed.target = agreed.lock.target().filter(|_| agreed.negotiated.direction.sends());
        }
    }

    /// Where RTCP goes, and by which socket.
    pub(super) fn rtcp_target(&self) -> Option<(Component, SocketAddr)> {
        let agreed = self.agreed.as_ref()?;
        if agreed.mux {
            return Some((Component::Rtp, agreed.lock.target()?));
        }
        Some((Component::Rtcp, agreed.lock.rtcp_target()?))
    }

    /// Count a packet; whether it is one too many in this second.
    pub(super) fn floods(&mut self, now: Instant) -> bool {
        let second = now.as_micros() >> 20;
        if self.rate.0 != second {
            self.rate = (second, 0);
        }
        self.rate.1 = self.rate.1.saturating_add(1);
        self.rate.1 > PACKETS_PER_SECOND
    }

    /// Rebuild what is done with the peer's packets, where `listener` hears them.
    pub(super) fn route(&mut self, listener: Option<&Negotiated>) {
        self.routes = [Route::default(); 128];
        let Some(agreed) = &self.agreed else { return };
        for (number, codec) in numbers(&agreed.negotiated) {
            let kind = if codec.is_dtmf() { Kind::Event } else { Kind::Audio };
            let way = listener.map_or(Forwarding::Nowhere, |l| way(codec, l));
            // The peer's own numbers come first; ours only where they are free.
            if let Some(route) = self.routes.get_mut(usize::from(number)).filter(|r| r.kind == Kind::Unknown)
            {
                *route = Route { kind, forwarding: way };
            }
        }
    }

    /// When something of this stream is due.
    pub(super) fn next_due(&self, silence: Duration) -> Option<Instant> {
        let agreed = self.agreed.as_ref()?;
        let play = self.clips.due().or_else(|| self.play.as_ref().map(TonePlayer::due));
        let silent = (agreed.receives && !self.silent).then(|| self.heard + silence);
        [play, silent, Some(self.rtcp.due)].into_iter().flatten().min()
    }

    /// What it carried.
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

/// Every payload type of a negotiation with its codec.
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

/// The number under which a peer wants a codec.
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

/// The law that a peer hears tones in: the one spoken, else one that it knows.
fn law_of(negotiated: &Negotiated) -> Option<(Law, u8)> {
    numbers(negotiated).find_map(|(number, codec)| match codec {
        Codec::Pcmu => Some((Law::Mu, number)),
        Codec::Pcma => Some((Law::A, number)),
        Codec::Other(_) => None,
    })
}
