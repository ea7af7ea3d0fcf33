//! Test harness: an engine with two phones, a clock that the test advances, and a sink that keeps what was sent.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub)] // each test file uses a part of it

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::{Instant, Now, Rng, Timestamp};
pub use centralita_media::sdp::Negotiated;
use centralita_media::sdp::{Codec, Direction};
use centralita_media::{
    Component, Engine, Forward, MediaCommand, MediaEvent, MediaSink, RecordingId, Report, Source, StreamId,
};

pub const A: StreamId = StreamId(1);
pub const B: StreamId = StreamId(2);
/// RTP addresses of the phones of streams A and B.
pub const PHONE_A: &str = "198.51.100.1:4000";
pub const PHONE_B: &str = "198.51.100.2:5000";

pub fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// A negotiated G.711 leg with the peer at `remote`.
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
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: Vec<u8>,
}

impl Rtp {
    /// Packet `n` of a µ-law phone.
    pub fn voice(ssrc: u32, n: u16) -> Rtp {
        let payload = vec![n as u8; 160];
        Rtp { marker: false, payload_type: 0, sequence: n, timestamp: u32::from(n) * 160, ssrc, payload }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x80, u8::from(self.marker) << 7 | self.payload_type];
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
            payload_type: bytes[1] & 0x7f,
            sequence: word(0) as u16,
            timestamp: word(4),
            ssrc: word(8),
            payload: bytes[12..].to_vec(),
        }
    }
}

#[derive(Default)]
pub struct TestSink(
    pub Vec<(StreamId, Component, SocketAddr, Vec<u8>)>,
    pub BTreeMap<RecordingId, RecordedAudio>,
);

/// The emitted audio of a recording: both channels of equal length, or an empty right channel.
#[derive(Default)]
pub struct RecordedAudio {
    pub left: Vec<i16>,
    pub right: Vec<i16>,
}

impl MediaSink for TestSink {
    fn send(&mut self, stream: StreamId, channel: Component, to: SocketAddr, packet: &[u8]) {
        self.0.push((stream, channel, to, packet.to_vec()));
    }

    fn audio(&mut self, recording: RecordingId, at: u64, left: &[i16], right: Option<&[i16]>) {
        let audio = self.1.entry(recording).or_default();
        assert_eq!(at, audio.left.len() as u64, "blocks are contiguous");
        assert!(left.len() <= 800 && right.is_none_or(|right| right.len() == left.len()));
        audio.left.extend(left);
        audio.right.extend(right.unwrap_or_default());
    }
}

pub struct TestEngine {
    pub engine: Engine,
    pub now: Now,
    pub events: Vec<MediaEvent>,
    pub sent: TestSink,
}

impl TestEngine {
    pub fn new() -> TestEngine {
        let now =
            Now { instant: Instant::from_micros(1), wall: Timestamp::from_micros(1_736_937_000_000_000) };
        TestEngine {
            engine: Engine::new(Rng::from_number(1)),
            now,
            events: Vec::new(),
            sent: TestSink::default(),
        }
    }

    /// A call between A and B.
    pub fn bridged(a: Negotiated, b: Negotiated) -> TestEngine {
        let mut test = TestEngine::new();
        for (stream, other, negotiated) in [(A, B, a), (B, A, b)] {
            test.command(MediaCommand::Open { stream, port: 10_000 });
            test.negotiate(stream, negotiated);
            test.set_source(stream, Source::Stream(other));
        }
        test
    }

    pub fn g711_call() -> TestEngine {
        TestEngine::bridged(g711(PHONE_A, Codec::Pcmu), g711(PHONE_B, Codec::Pcmu))
    }

    pub fn command(&mut self, command: MediaCommand) {
        self.engine.command(self.now, command, &mut self.sent, &mut self.events);
    }

    /// Negotiate with signalling from the peer's own address.
    pub fn negotiate(&mut self, stream: StreamId, negotiated: Negotiated) {
        self.negotiate_from(stream, negotiated.remote.ip(), negotiated);
    }

    pub fn negotiate_from(&mut self, stream: StreamId, signalling: IpAddr, negotiated: Negotiated) {
        self.command(MediaCommand::Negotiated { stream, signalling, negotiated: Box::new(negotiated) });
    }

    pub fn set_source(&mut self, stream: StreamId, source: Source) {
        self.command(MediaCommand::SetSource { stream, source });
    }

    pub fn close(&mut self, stream: StreamId) -> Report {
        self.command(MediaCommand::Close { stream });
        match self.events.pop() {
            Some(MediaEvent::Closed { stream: closed, report }) if closed == stream => report,
            other => panic!("{other:?}"),
        }
    }

    /// Advance the clock without ticks.
    pub fn advance(&mut self, millis: u64) {
        let time = Duration::from_millis(millis);
        self.now = Now { instant: self.now.instant + time, wall: self.now.wall + time };
    }

    /// Advance the clock with a tick whenever one is due. Returns what was sent meanwhile.
    pub fn run(&mut self, millis: u64) -> Vec<(StreamId, Component, SocketAddr, Vec<u8>)> {
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

    /// The RTP packets of [`TestEngine::run`].
    pub fn run_rtp(&mut self, millis: u64) -> Vec<Rtp> {
        let sent = self.run(millis);
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

    /// Receive one RTP packet. Returns the forwarded packet and its destination.
    pub fn rtp(&mut self, stream: StreamId, from: &str, packet: &Rtp) -> Option<(Forward, Rtp)> {
        let (forward, bytes) = self.receive(stream, Component::Rtp, from, &mut packet.bytes())?;
        Some((forward, Rtp::read(&bytes)))
    }

    /// Receive packets `range` of a phone, 20 ms apart. Returns the forwarded packets.
    pub fn send_voice(
        &mut self,
        stream: StreamId,
        from: &str,
        ssrc: u32,
        range: std::ops::Range<u16>,
    ) -> Vec<Rtp> {
        let mut out = Vec::new();
        for n in range {
            out.extend(self.rtp(stream, from, &Rtp::voice(ssrc, n)).map(|(_, packet)| packet));
            self.advance(20);
        }
        out
    }
}

/// Whether the packets are one RTP stream: one SSRC, consecutive sequence numbers, timestamps that never go back.
pub fn is_continuous(packets: &[Rtp]) -> bool {
    packets.windows(2).all(|pair| {
        let (a, b) = (&pair[0], &pair[1]);
        a.ssrc == b.ssrc
            && b.sequence == a.sequence.wrapping_add(1)
            && (1..=80_000).contains(&b.timestamp.wrapping_sub(a.timestamp))
    })
}
