//! Compares the cost per datagram of `udp` and `quinn-udp`: batches of SIP messages on loopback.
//!
//! `cargo run --release -p centralita-udp --example beside_quinn`. Results: `docs/adr/0009-own-code-or-a-library.md`.
#![allow(clippy::unwrap_used)]

use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use udp::batch::{Outgoing, Receiver, Sender};

const BATCH: usize = 64;
const BYTES: usize = 600;
const ROUNDS: u32 = 2_000;

/// Microseconds per datagram.
fn each(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(ROUNDS) / BATCH as f64
}

fn main() {
    let peers: Vec<UdpSocket> = (0..BATCH).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = peers.iter().map(|peer| peer.local_addr().unwrap()).collect();
    let empty = |peers: &[UdpSocket]| {
        for peer in peers {
            peer.recv(&mut [0; 1_500]).unwrap();
        }
    };
    let text = [b'x'; BYTES];
    let (ours, theirs) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let state = UdpSocketState::new((&theirs).into()).unwrap();
    theirs.set_nonblocking(true).unwrap();

    let mut sender = Sender::new(BATCH);
    let batch: Vec<_> = addresses.iter().map(|to| Outgoing { to: *to, from: None, bytes: &text }).collect();
    let (mut sent_by_us, mut sent_by_quinn) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        assert_eq!(sender.send(ours.as_fd(), &batch).unwrap(), BATCH);
        sent_by_us += begin.elapsed();
        empty(&peers);
        let begin = Instant::now();
        for to in &addresses {
            let transmit =
                Transmit { destination: *to, ecn: None, contents: &text, segment_size: None, src_ip: None };
            state.try_send((&theirs).into(), &transmit).unwrap();
        }
        sent_by_quinn += begin.elapsed();
        empty(&peers);
    }
    println!(
        "send to {BATCH} peers, each: udp {:.2} us, quinn-udp {:.2} us",
        each(sent_by_us),
        each(sent_by_quinn)
    );

    let mut receiver = Receiver::new(BATCH, 65_535);
    let mut buffers = vec![vec![0_u8; 65_535]; quinn_udp::BATCH_SIZE];
    let mut metas = vec![RecvMeta::default(); quinn_udp::BATCH_SIZE];
    let (mut got_by_us, mut got_by_quinn) = (Duration::ZERO, Duration::ZERO);
    let fill = |to: &UdpSocket| {
        let to = to.local_addr().unwrap();
        for peer in &peers {
            peer.send_to(&text, to).unwrap();
        }
    };
    for _ in 0..ROUNDS {
        fill(&ours);
        let begin = Instant::now();
        assert_eq!(receiver.receive(ours.as_fd()).unwrap(), BATCH);
        assert!((0..BATCH).all(|n| receiver.datagram(n).is_some_and(|got| got.bytes.len() == BYTES)));
        got_by_us += begin.elapsed();
        fill(&theirs);
        let (begin, mut got) = (Instant::now(), 0);
        while got < BATCH {
            let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            let count = state.recv((&theirs).into(), &mut slices, &mut metas).unwrap();
            got += metas[..count].iter().map(|meta| meta.len.div_ceil(meta.stride)).sum::<usize>();
        }
        got_by_quinn += begin.elapsed();
    }
    println!("receive, each: udp {:.2} us, quinn-udp {:.2} us", each(got_by_us), each(got_by_quinn));

    // A SIP message may exceed the MTU (RFC 3261 §18.1.1 sends it over TCP, which the peer may not support): then IP fragments it.
    let mtu = path_mtu_discovery(&theirs);
    println!(
        "path MTU discovery of the socket (1: IP cuts them where it must, 3: never): udp {}, quinn-udp {mtu}",
        path_mtu_discovery(&ours)
    );
}

/// `IP_MTU_DISCOVER` of a socket.
#[allow(unsafe_code)]
fn path_mtu_discovery(socket: &UdpSocket) -> i32 {
    use std::os::fd::AsRawFd;
    let (mut value, mut len) = (0_i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the value is an int, and its address and size are given.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    assert_eq!(done, 0);
    value
}
