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
/// Long enough for a busy machine; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

struct Office {
    workers: MediaWorkers,
    events: Receiver<MediaEvent>,
    free: Vec<u16>,
}

impl Office {
    fn open(ports: RangeInclusive<u16>, io_uring: bool) -> Office {
        let (told, events) = channel();
        let told = Mutex::new(told);
        let clock = Clock::start();
        let config =
            MediaConfig { listeners: vec![(0, LOOPBACK)], ports, workers: 1, io_uring, recordings: None };
        let workers = MediaWorkers::spawn(
            &config,
            Rng::from_number(1),
            Arc::new(move || clock.now()),
            Arc::new(move |event| drop(told.lock().unwrap().send(event))),
            &Supervisor::default(),
        );
        Office { workers: workers.unwrap(), events, free: Vec::new() }
    }

    fn port(&mut self) -> u16 {
        self.wait_for_ports(1);
        self.free.remove(0)
    }

    fn wait_for_ports(&mut self, count: usize) {
        while self.free.len() < count {
            match self.events.recv_timeout(PATIENCE).unwrap() {
                MediaEvent::Ports { worker: 0, listener: 0, ports } => self.free.extend(ports),
                other => panic!("{other:?}"),
            }
        }
    }

    /// A leg of a phone; the address that the phone sends to.
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
        self.workers.send_batch(0, commands);
        SocketAddr::new(LOOPBACK, port)
    }

    fn closed(&self, stream: StreamId) -> Report {
        loop {
            match self.events.recv_timeout(PATIENCE).unwrap() {
                MediaEvent::Closed { stream: closed, report } if closed == stream => return report,
                MediaEvent::Closed { .. } | MediaEvent::Ports { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn until(met: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !met() {
        assert!(start.elapsed() < PATIENCE, "it does not come about");
        std::thread::yield_now();
    }
}

fn phone() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn voice(n: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, n, 0, 0, n, 0, 1, 2, 3, 4];
    packet.extend([n; 160]);
    packet
}

/// The next packet with audio in it.
fn hear(phone: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2_048];
    loop {
        let (length, from) = phone.recv_from(&mut buffer).unwrap();
        if buffer[1] & 0x7f < 64 {
            return (buffer[..length].to_vec(), from);
        }
    }
}

#[test]
fn two_phones_hear_each_other_and_a_stranger_is_not_heard() {
    two_phones_hear_each_other_and_a_stranger_is_not_heard_by(22_000..=22_199, true);
}

#[test]
fn two_phones_hear_each_other_and_a_stranger_is_not_heard_by_epoll() {
    two_phones_hear_each_other_and_a_stranger_is_not_heard_by(22_400..=22_599, false);
}

fn two_phones_hear_each_other_and_a_stranger_is_not_heard_by(ports: RangeInclusive<u16>, io_uring: bool) {
    let mut office = Office::open(ports, io_uring);
    let (a, b, stranger) = (phone(), phone(), phone());
    let to_a = office.leg(A, &a, Source::Stream(B));
    let to_b = office.leg(B, &b, Source::Stream(A));
    for n in 1..=50 {
        stranger.send_to(&voice(200), to_a).unwrap();
        // Until the commands are carried out, packets fall into a socket that nobody opened yet.
        a.send_to(&voice(n), to_a).unwrap();
        b.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        if b.peek(&mut [0; 1]).is_ok() {
            break;
        }
    }
    b.set_read_timeout(Some(PATIENCE)).unwrap();
    let (packet, from) = hear(&b);
    assert_eq!((packet.len(), from), (172, to_b));
    assert_ne!(packet[12], 200);
    b.send_to(&voice(99), to_b).unwrap();
    let (packet, from) = hear(&a);
    assert_eq!((packet[12], from), (99, to_a));

    office.workers.send_batch(0, [A, B].map(|stream| MediaCommand::Close { stream }));
    let report = office.closed(A);
    assert!(report.received >= 1 && report.sent == 1 && report.refused >= 1, "{report:?}");
    let other = office.closed(B);
    let stats = office.workers.stats();
    let [stats] = stats.as_slice() else { panic!("{stats:?}") };
    assert_eq!((stats.worker, stats.streams, stats.ports_quarantined), (0, 0, 2));
    assert_eq!(stats.forwarded, report.sent + other.sent);
    // Packets that fell into sockets before the streams were opened never reached the worker.
    assert_eq!(stats.received, report.received + other.received + stats.dropped_refused);
    assert!(stats.dropped_refused >= report.refused && stats.dropped_unsent == 0, "{stats:?}");
    assert!(stats.iterations > 2 && !stats.busy.is_zero() && stats.ports_free > 0, "{stats:?}");
}

/// A worker that gets no processor while 500 calls of two legs begin has ports enough for them, and for the next within a moment.
#[test]
fn ports_for_a_burst_of_calls_lie_ready_and_are_made_good_at_once() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }).unwrap();
    let mut office = Office::open(24_000..=26_999, true);
    office.wait_for_ports(1_024);
    let ports = |office: &Office| {
        let stats = office.workers.stats()[0];
        (stats.ports_free, stats.ports_unbound)
    };
    until(|| ports(&office) == (1_024, 1_500 - 1_024));
    for (stream, port) in (0..1_000).zip(std::mem::take(&mut office.free)) {
        office.workers.send(0, MediaCommand::Open { stream: StreamId(stream), port });
    }
    until(|| office.workers.stats()[0].streams == 1_000);
    // As many as the range still has.
    until(|| ports(&office) == (500, 0));
    office.wait_for_ports(476);
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
    let mut office = Office::open(ports, io_uring);
    let a = phone();
    office.leg(A, &a, Source::Tone(Tone::Milliwatt));
    let start = std::time::Instant::now();
    let packets: Vec<_> = (0..26).map(|_| hear(&a).0).collect();
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    assert!(packets.windows(2).all(|pair| pair[1][3] == pair[0][3].wrapping_add(1)));
    let Office { workers, events, .. } = office;
    workers.stop();
    let last = events.try_iter().last();
    assert!(matches!(last, Some(MediaEvent::Closed { stream: A, report }) if report.sent >= 26), "{last:?}");
}

#[test]
fn a_closed_streams_port_comes_back_without_its_last_packets() {
    a_closed_streams_port_comes_back_without_its_last_packets_by(22_300..=22_303, true);
}

#[test]
fn a_closed_streams_port_comes_back_without_its_last_packets_by_epoll() {
    a_closed_streams_port_comes_back_without_its_last_packets_by(22_700..=22_703, false);
}

fn a_closed_streams_port_comes_back_without_its_last_packets_by(ports: RangeInclusive<u16>, io_uring: bool) {
    let mut office = Office::open(ports, io_uring); // two pairs
    let (a, b) = (phone(), phone());
    let to_a = office.leg(A, &a, Source::Echo);
    office.leg(B, &b, Source::Silence);
    office.workers.send(0, MediaCommand::Close { stream: A });
    office.closed(A);
    for n in 0..20 {
        a.send_to(&voice(n), to_a).unwrap();
    }
    // The only port that can come back is A's.
    let again = office.leg(A, &a, Source::Echo);
    assert_eq!(again, to_a);
    a.send_to(&voice(77), again).unwrap();
    while hear_or_resend(&a, again) != 77 {}
    office.workers.send(0, MediaCommand::Close { stream: A });
    assert_eq!(office.closed(A).lost, 0);
}

/// What the echo returns first; the packet is repeated until the leg is there.
fn hear_or_resend(phone: &UdpSocket, to: SocketAddr) -> u8 {
    phone.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut buffer = [0; 2_048];
    loop {
        match phone.recv_from(&mut buffer) {
            Ok(_) if buffer[1] & 0x7f < 64 => return buffer[12],
            Ok(_) => {}
            Err(_) => drop(phone.send_to(&voice(77), to).unwrap()),
        }
    }
}
