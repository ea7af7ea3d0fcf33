//! The media workers over real sockets: ports, a bridged call, its end.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::Rng;
use media::sdp::{Codec, Direction, Negotiated};
use media::{MediaCommand, MediaEvent, Report, Source, StreamId, Tone};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use server::clock::Clock;
use server::media::{MediaConfig, MediaWorkers};
use server::supervisor::Supervisor;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const A: StreamId = StreamId(70_001);
const B: StreamId = StreamId(70_002);
/// Generous timeout; no test waits for it to pass.
const TIMEOUT: Duration = Duration::from_secs(20);

struct TestWorkers {
    inner: MediaWorkers,
    events: Receiver<MediaEvent>,
    free: Vec<u16>,
}

impl TestWorkers {
    fn open(ports: RangeInclusive<u16>, io_uring: bool) -> TestWorkers {
        let (sender, events) = channel();
        let sender = Mutex::new(sender);
        let clock = Clock::start();
        let config =
            MediaConfig { listeners: vec![(0, LOOPBACK)], ports, workers: 1, io_uring, recordings: None };
        let workers = MediaWorkers::spawn(
            &config,
            Rng::from_number(1),
            Arc::new(move || clock.now()),
            Arc::new(move |event| drop(sender.lock().unwrap().send(event))),
            &Supervisor::default(),
        );
        TestWorkers { inner: workers.unwrap(), events, free: Vec::new() }
    }

    fn port(&mut self) -> u16 {
        self.wait_for_ports(1);
        self.free.remove(0)
    }

    fn wait_for_ports(&mut self, count: usize) {
        while self.free.len() < count {
            match self.events.recv_timeout(TIMEOUT).unwrap() {
                MediaEvent::Ports { worker: 0, listener: 0, ports } => self.free.extend(ports),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Open a stream for a phone. Returns the address that the phone sends to.
    fn leg(&mut self, stream: StreamId, phone: &UdpSocket, source: Source) -> SocketAddr {
        let port = self.port();
        let remote = phone.local_addr().unwrap();
        let negotiated = Negotiated {
            remote,
            remote_rtcp: remote,
            rtcp_mux: true,
            codec: Codec::Pcmu,
            payload_type: 0,
            alternates: Vec::new(),
            dtmf: None,
            direction: Direction::SendRecv,
            ptime_ms: 20,
        };
        let commands = [
            MediaCommand::Open { stream, port },
            MediaCommand::Negotiated { stream, signalling: remote.ip(), negotiated: Box::new(negotiated) },
            MediaCommand::SetSource { stream, source },
        ];
        self.inner.send_batch(0, commands);
        SocketAddr::new(LOOPBACK, port)
    }

    fn closed(&self, stream: StreamId) -> Report {
        loop {
            match self.events.recv_timeout(TIMEOUT).unwrap() {
                MediaEvent::Closed { stream: closed, report } if closed == stream => return report,
                MediaEvent::Closed { .. } | MediaEvent::Ports { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn wait_until(met: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !met() {
        assert!(start.elapsed() < TIMEOUT, "timeout");
        std::thread::yield_now();
    }
}

fn phone() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket
}

fn rtp_packet(n: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, n, 0, 0, n, 0, 1, 2, 3, 4];
    packet.extend([n; 160]);
    packet
}

/// Receive the next RTP packet with audio.
fn receive_audio(phone: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2_048];
    loop {
        let (length, from) = phone.recv_from(&mut buffer).unwrap();
        if buffer[1] & 0x7f < 64 {
            return (buffer[..length].to_vec(), from);
        }
    }
}

#[test]
fn two_phones_are_bridged_and_packets_of_another_source_are_dropped() {
    two_phones_are_bridged_and_packets_of_another_source_are_dropped_by(22_000..=22_199, true);
}

#[test]
fn two_phones_are_bridged_and_packets_of_another_source_are_dropped_by_epoll() {
    two_phones_are_bridged_and_packets_of_another_source_are_dropped_by(22_400..=22_599, false);
}

fn two_phones_are_bridged_and_packets_of_another_source_are_dropped_by(
    ports: RangeInclusive<u16>,
    io_uring: bool,
) {
    let mut workers = TestWorkers::open(ports, io_uring);
    let (a, b, attacker) = (phone(), phone(), phone());
    let to_a = workers.leg(A, &a, Source::Stream(B));
    let to_b = workers.leg(B, &b, Source::Stream(A));
    for n in 1..=50 {
        attacker.send_to(&rtp_packet(200), to_a).unwrap();
        // Packets sent before the commands are executed reach a socket that is not open yet.
        a.send_to(&rtp_packet(n), to_a).unwrap();
        b.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        if b.peek(&mut [0; 1]).is_ok() {
            break;
        }
    }
    b.set_read_timeout(Some(TIMEOUT)).unwrap();
    let (packet, from) = receive_audio(&b);
    assert_eq!((packet.len(), from), (172, to_b));
    assert_ne!(packet[12], 200);
    b.send_to(&rtp_packet(99), to_b).unwrap();
    let (packet, from) = receive_audio(&a);
    assert_eq!((packet[12], from), (99, to_a));

    workers.inner.send_batch(0, [A, B].map(|stream| MediaCommand::Close { stream }));
    let report = workers.closed(A);
    assert!(report.received >= 1 && report.sent == 1 && report.refused >= 1, "{report:?}");
    let other = workers.closed(B);
    let stats = workers.inner.stats();
    let [stats] = stats.as_slice() else { panic!("{stats:?}") };
    assert_eq!((stats.worker, stats.streams, stats.ports_quarantined), (0, 0, 2));
    assert_eq!(stats.forwarded, report.sent + other.sent);
    // Packets that arrived before the streams were opened were discarded.
    assert_eq!(stats.received, report.received + other.received + stats.dropped_refused);
    assert!(stats.dropped_refused >= report.refused && stats.dropped_unsent == 0, "{stats:?}");
    assert!(stats.iterations > 2 && !stats.busy.is_zero() && stats.ports_free > 0, "{stats:?}");
}

/// A worker that gets no CPU time while 500 calls of two legs start has enough free ports for them, and binds new ones quickly.
#[test]
fn ports_for_a_burst_of_calls_are_free_and_replaced_at_once() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }).unwrap();
    let mut workers = TestWorkers::open(24_000..=26_999, true);
    workers.wait_for_ports(1_024);
    let ports = |workers: &TestWorkers| {
        let stats = workers.inner.stats()[0];
        (stats.ports_free, stats.ports_unbound)
    };
    wait_until(|| ports(&workers) == (1_024, 1_500 - 1_024));
    for (stream, port) in (0..1_000).zip(std::mem::take(&mut workers.free)) {
        workers.inner.send(0, MediaCommand::Open { stream: StreamId(stream), port });
    }
    wait_until(|| workers.inner.stats()[0].streams == 1_000);
    // As many as are left in the range.
    wait_until(|| ports(&workers) == (500, 0));
    workers.wait_for_ports(476);
}

#[test]
fn a_tone_is_paced_and_its_report_arrives_when_the_worker_stops() {
    a_tone_is_paced_and_its_report_arrives_when_the_worker_stops_by(22_200..=22_299, true);
}

#[test]
fn a_tone_is_paced_and_its_report_arrives_when_the_worker_stops_by_epoll() {
    a_tone_is_paced_and_its_report_arrives_when_the_worker_stops_by(22_600..=22_699, false);
}

fn a_tone_is_paced_and_its_report_arrives_when_the_worker_stops_by(
    ports: RangeInclusive<u16>,
    io_uring: bool,
) {
    let mut workers = TestWorkers::open(ports, io_uring);
    let a = phone();
    workers.leg(A, &a, Source::Tone(Tone::Milliwatt));
    let start = std::time::Instant::now();
    let packets: Vec<_> = (0..26).map(|_| receive_audio(&a).0).collect();
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    assert!(packets.windows(2).all(|pair| pair[1][3] == pair[0][3].wrapping_add(1)));
    let TestWorkers { inner, events, .. } = workers;
    inner.stop();
    let last = events.try_iter().last();
    assert!(matches!(last, Some(MediaEvent::Closed { stream: A, report }) if report.sent >= 26), "{last:?}");
}

#[test]
fn a_closed_streams_port_is_reused_without_its_last_packets() {
    a_closed_streams_port_is_reused_without_its_last_packets_by(22_300..=22_303, true);
}

#[test]
fn a_closed_streams_port_is_reused_without_its_last_packets_by_epoll() {
    a_closed_streams_port_is_reused_without_its_last_packets_by(22_700..=22_703, false);
}

fn a_closed_streams_port_is_reused_without_its_last_packets_by(ports: RangeInclusive<u16>, io_uring: bool) {
    let mut workers = TestWorkers::open(ports, io_uring); // two pairs
    let (a, b) = (phone(), phone());
    let to_a = workers.leg(A, &a, Source::Echo);
    workers.leg(B, &b, Source::Silence);
    workers.inner.send(0, MediaCommand::Close { stream: A });
    workers.closed(A);
    for n in 0..20 {
        a.send_to(&rtp_packet(n), to_a).unwrap();
    }
    // The only port that can be released is A's.
    let again = workers.leg(A, &a, Source::Echo);
    assert_eq!(again, to_a);
    a.send_to(&rtp_packet(77), again).unwrap();
    while echo_or_resend(&a, again) != 77 {}
    workers.inner.send(0, MediaCommand::Close { stream: A });
    assert_eq!(workers.closed(A).lost, 0);
}

/// The first echoed packet; the packet is resent until the stream is open.
fn echo_or_resend(phone: &UdpSocket, to: SocketAddr) -> u8 {
    phone.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut buffer = [0; 2_048];
    loop {
        match phone.recv_from(&mut buffer) {
            Ok(_) if buffer[1] & 0x7f < 64 => return buffer[12],
            Ok(_) => {}
            Err(_) => drop(phone.send_to(&rtp_packet(77), to).unwrap()),
        }
    }
}
