//! An engine on a test desk: two phones, a clock that is moved by hand, a wire that remembers.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub)] // each test file uses its part

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use base::{Instant, Now, Rng, Timestamp};
pub use centralita_media::sdp::Negotiated;
use centralita_media::sdp::{Codec, Direction};
use centralita_media::{
    Component, Engine, Forward, MediaCommand, MediaEvent, MediaSink, RecordingId, Report, Source, StreamId,
};

pub const A: StreamId = StreamId(1);
pub const B: StreamId = StreamId(2);
/// Where the phones of streams A and B are.
pub const PHONE_A: &str = "198.51.100.1:4000";
pub const PHONE_B: &str = "198.51.100.2:5000";

pub fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// What G.711 phones at `remote` agree on.
pub fn g711(remote: &str, codec: Codec) -> Negotiated {
    let remote = at(remote);
    Negotiated {
        remote,
        remote_rtcp: SocketAddr::new(remote.ip(), remote.port() + 1),
        rtcp_mux: false,
        payload_type: if codec == Codec::Pcmu { 0 } else { 8 },
        codec,
        alternates: Vec::new(),
        dtmf: Some(101),
        direction: Direction::SendRecv,
        ptime_ms: 20,
    }
}

/// An RTP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtp {
    pub marker: bool,
    pub number: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: Vec<u8>,
}

impl Rtp {
    /// Packet `n` of a µ-law phone.
    pub fn voice(ssrc: u32, n: u16) -> Rtp {
        let payload = vec![n as u8; 160];
        Rtp { marker: false, number: 0, sequence: n, timestamp: u32::from(n) * 160, ssrc, payload }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x80, u8::from(self.marker) << 7 | self.number];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    pub fn read(bytes: &[u8]) -> Rtp {
        let word = |n: usize| u32::from_be_bytes(bytes[n..n + 4].try_into().unwrap());
        Rtp {
            marker: bytes[1] & 0x80 != 0,
            number: bytes[1] & 0x7f,
            sequence: word(0) as u16,
            timestamp: word(4),
            ssrc: word(8),
            payload: bytes[12..].to_vec(),
        }
    }
}

#[derive(Default)]
pub struct Sent(pub Vec<(StreamId, Component, SocketAddr, Vec<u8>)>, pub BTreeMap<RecordingId, Tape>);

/// What was handed out of a recording: both sides as long as each other, or nothing on the right.
#[derive(Default)]
pub struct Tape {
    pub left: Vec<i16>,
    pub right: Vec<i16>,
}

impl MediaSink for Sent {
    fn send(&mut self, stream: StreamId, channel: Component, to: SocketAddr, packet: &[u8]) {
        self.0.push((stream, channel, to, packet.to_vec()));
    }

    fn audio(&mut self, recording: RecordingId, at: u64, left: &[i16], right: Option<&[i16]>) {
        let tape = self.1.entry(recording).or_default();
        assert_eq!(at, tape.left.len() as u64, "a block follows the one before it");
        assert!(left.len() <= 800 && right.is_none_or(|right| right.len() == left.len()));
        tape.left.extend(left);
        tape.right.extend(right.unwrap_or_default());
    }
}

pub struct Desk {
    pub engine: Engine,
    pub now: Now,
    pub events: Vec<MediaEvent>,
    pub sent: Sent,
}

impl Desk {
    pub fn new() -> Desk {
        let now =
            Now { instant: Instant::from_micros(1), wall: Timestamp::from_micros(1_736_937_000_000_000) };
        Desk { engine: Engine::new(Rng::from_number(1)), now, events: Vec::new(), sent: Sent::default() }
    }

    /// A and B talk to each other.
    pub fn bridged(a: Negotiated, b: Negotiated) -> Desk {
        let mut desk = Desk::new();
        for (stream, other, negotiated) in [(A, B, a), (B, A, b)] {
            desk.command(MediaCommand::Open { stream, port: 10_000 });
            desk.agree(stream, negotiated);
            desk.feed(stream, Source::Stream(other));
        }
        desk
    }

    pub fn g711_call() -> Desk {
        Desk::bridged(g711(PHONE_A, Codec::Pcmu), g711(PHONE_B, Codec::Pcmu))
    }

    pub fn command(&mut self, command: MediaCommand) {
        self.engine.command(self.now, command, &mut self.sent, &mut self.events);
    }

    pub fn agree(&mut self, stream: StreamId, negotiated: Negotiated) {
        let signalling = negotiated.remote.ip();
        self.command(MediaCommand::Negotiated { stream, signalling, negotiated: Box::new(negotiated) });
    }

    pub fn feed(&mut self, stream: StreamId, source: Source) {
        self.command(MediaCommand::SetSource { stream, source });
    }

    pub fn close(&mut self, stream: StreamId) -> Report {
        self.command(MediaCommand::Close { stream });
        match self.events.pop() {
            Some(MediaEvent::Closed { stream: closed, report }) if closed == stream => report,
            other => panic!("{other:?}"),
        }
    }

    /// Let time pass without ticks.
    pub fn wait(&mut self, millis: u64) {
        let time = Duration::from_millis(millis);
        self.now = Now { instant: self.now.instant + time, wall: self.now.wall + time };
    }

    /// Let time pass, ticking whenever something is due. What was played meanwhile.
    pub fn play(&mut self, millis: u64) -> Vec<(StreamId, Component, SocketAddr, Vec<u8>)> {
        let end = self.now.instant + Duration::from_millis(millis);
        while let Some(due) = self.engine.deadline().filter(|due| *due <= end) {
            let step = due.since(self.now.instant);
            self.now = Now { instant: self.now.instant + step, wall: self.now.wall + step };
            self.engine.tick(self.now, &mut self.sent, &mut self.events);
        }
        let step = end.since(self.now.instant);
        self.now = Now { instant: end, wall: self.now.wall + step };
        std::mem::take(&mut self.sent.0)
    }

    /// The RTP part of [`Desk::play`].
    pub fn listen(&mut self, millis: u64) -> Vec<Rtp> {
        let sent = self.play(millis);
        sent.iter()
            .filter(|(_, channel, _, _)| *channel == Component::Rtp)
            .map(|(.., bytes)| Rtp::read(bytes))
            .collect()
    }

    pub fn receive(
        &mut self,
        stream: StreamId,
        channel: Component,
        from: &str,
        bytes: &mut [u8],
    ) -> Option<(Forward, Vec<u8>)> {
        let forward = self.engine.packet(self.now, stream, channel, at(from), bytes, &mut self.events)?;
        Some((forward, bytes[..forward.len].to_vec()))
    }

    /// One RTP packet arrives; what goes on, and to whom.
    pub fn rtp(&mut self, stream: StreamId, from: &str, packet: &Rtp) -> Option<(Forward, Rtp)> {
        let (forward, bytes) = self.receive(stream, Component::Rtp, from, &mut packet.bytes())?;
        Some((forward, Rtp::read(&bytes)))
    }

    /// Packets `range` of a phone, 20 ms apart; what goes on.
    pub fn talk(&mut self, stream: StreamId, from: &str, ssrc: u32, range: std::ops::Range<u16>) -> Vec<Rtp> {
        let mut out = Vec::new();
        for n in range {
            out.extend(self.rtp(stream, from, &Rtp::voice(ssrc, n)).map(|(_, packet)| packet));
            self.wait(20);
        }
        out
    }
}

/// Sequence and timestamps of what one listener gets: one SSRC, each number one more, time never back.
pub fn is_continuous(packets: &[Rtp]) -> bool {
    packets.windows(2).all(|pair| {
        let (a, b) = (&pair[0], &pair[1]);
        a.ssrc == b.ssrc
            && b.sequence == a.sequence.wrapping_add(1)
            && (1..=80_000).contains(&b.timestamp.wrapping_sub(a.timestamp))
    })
}
