//! What one connection may do, and what it may not (security.md row 16).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mio::{Poll, Token};
use server::limits::ConnLimits;
use server::net::LoopWaker;
use server::net::tcp::{ConnEvent, ConnectionHandle, Connections, Inbox, accept, bind};
use sip::Hop;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout};

const OPTIONS: &[u8] = b"OPTIONS sip:localhost SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\nContent-Length: 0\r\n\r\n";

struct House {
    address: SocketAddr,
    events: Receiver<ConnEvent>,
    connections: Arc<Connections>,
    _poll: Poll,
}

fn quick() -> ConnLimits {
    ConnLimits {
        head: Duration::from_millis(300),
        unauthenticated_idle: Duration::from_millis(600),
        idle: Duration::from_secs(20),
        write: Duration::from_millis(500),
        per_source: 4,
        total: 100,
    }
}

fn house(limits: ConnLimits) -> House {
    let poll = Poll::new().unwrap();
    let bell = Arc::new(LoopWaker::new(poll.registry(), Token(0)).unwrap());
    let (inbox, events) = Inbox::new(64, bell);
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Connections::new(7, limits);
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(accept(Arc::new(listener), 3, None, Arc::clone(&connections), inbox));
    House { address, events, connections, _poll: poll }
}

impl House {
    async fn event(&mut self) -> ConnEvent {
        timeout(Duration::from_secs(10), self.events.recv()).await.expect("an event").unwrap()
    }

    async fn opened(&mut self) -> (TcpStream, Hop, ConnectionHandle) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        match self.event().await {
            ConnEvent::Opened { hop, connection: line } => (stream, hop, line),
            event => panic!("{event:?}"),
        }
    }

    async fn frame(&mut self) -> Bytes {
        match self.event().await {
            ConnEvent::Frame { bytes, .. } => bytes,
            event => panic!("{event:?}"),
        }
    }
}

/// What the peer says until it closes.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is a close as well.
    timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.expect("closed in time").ok();
    bytes
}

#[tokio::test]
async fn a_connection_is_numbered_read_and_answered() {
    let mut house = house(quick());
    let (mut stream, hop, line) = house.opened().await;
    assert_eq!((hop.flow.epoch, hop.flow.number, hop.listener), (7, 1, 3));
    assert_eq!((hop.local, hop.remote), (house.address, stream.local_addr().unwrap()));
    for byte in OPTIONS {
        stream.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(house.frame().await, OPTIONS);
    stream.write_all(&[OPTIONS, OPTIONS].concat()).await.unwrap();
    assert_eq!((house.frame().await, house.frame().await), (OPTIONS.into(), OPTIONS.into()));
    assert!(line.send(Bytes::from_static(b"answer")));
    drop(line);
    assert_eq!(rest(&mut stream).await, b"answer");
    assert!(matches!(house.event().await, ConnEvent::Closed(flow) if flow == hop.flow));
}

#[tokio::test]
async fn a_ping_gets_its_pong() {
    let mut house = house(quick());
    let (mut stream, _, _line) = house.opened().await;
    stream.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    timeout(Duration::from_secs(5), stream.read_exact(&mut pong)).await.unwrap().unwrap();
    assert_eq!(&pong, b"\r\n");
}

#[tokio::test]
async fn a_head_that_drips_is_cut_off_at_its_deadline() {
    let mut house = house(quick());
    let (stream, _, line) = house.opened().await;
    // Even one who has registered must finish what he begins.
    line.mark_authenticated();
    let start = Instant::now();
    let (mut reader, mut writer) = stream.into_split();
    let dripping = tokio::spawn(async move {
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        for byte in OPTIONS.iter().cycle() {
            beat.tick().await;
            if *byte != b'\r' && *byte != b'\n' && writer.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    });
    let mut bytes = Vec::new();
    timeout(Duration::from_secs(10), reader.read_to_end(&mut bytes)).await.expect("it is cut off").ok();
    let after = start.elapsed();
    assert!(after >= Duration::from_millis(300) && after < Duration::from_secs(3), "{after:?}");
    dripping.abort();
}

#[tokio::test]
async fn a_silent_stranger_is_shown_out_and_a_registered_phone_may_stay() {
    let mut house = house(quick());
    let (mut stranger, _, _stranger_line) = house.opened().await;
    let (mut phone, _, phone_line) = house.opened().await;
    phone_line.mark_authenticated();
    assert_eq!(rest(&mut stranger).await, b"");
    assert!(matches!(house.event().await, ConnEvent::Closed(_)));
    phone.write_all(OPTIONS).await.unwrap();
    assert_eq!(house.frame().await, OPTIONS);
}

#[tokio::test]
async fn one_source_gets_so_many_connections_and_a_closed_one_makes_room() {
    let mut house = house(quick());
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(house.opened().await);
    }
    let mut fifth = TcpStream::connect(house.address).await.unwrap();
    assert_eq!(rest(&mut fifth).await, b"");
    assert_eq!(house.connections.counts(), (4, 1));
    drop(held.pop());
    assert!(matches!(house.event().await, ConnEvent::Closed(_)));
    let connections = Arc::clone(&house.connections);
    timeout(Duration::from_secs(5), async {
        while connections.counts().0 != 3 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("its seat is free again");
    house.opened().await;
}

#[tokio::test]
async fn what_cannot_be_framed_ends_the_connection() {
    for nonsense in [
        [b"X-Endless: ".as_slice(), &vec![b'a'; 80 * 1024]].concat(),
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n".to_vec(),
    ] {
        let mut house = house(quick());
        let (mut stream, _, _line) = house.opened().await;
        stream.write_all(&nonsense).await.ok();
        rest(&mut stream).await;
        assert!(matches!(house.event().await, ConnEvent::Closed(_)));
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up() {
    let mut house = house(quick());
    let (_deaf, hop, line) = house.opened().await;
    line.mark_authenticated();
    let message = Bytes::from(vec![b'x'; 64 * 1024]);
    timeout(Duration::from_secs(10), async {
        while line.send(message.clone()) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the queue is bounded");
    assert!(matches!(house.event().await, ConnEvent::Closed(flow) if flow == hop.flow));
}

#[tokio::test]
async fn a_network_of_ipv6_has_the_connections_of_one_source() {
    let connections = Connections::new(7, quick());
    let seat = |ip: String| connections.acquire(ip.parse().unwrap());
    let taken: Vec<_> = (0..50).filter_map(|n| seat(format!("2001:db8::{n:x}"))).collect();
    assert_eq!(taken.len(), 4, "one household, one share");
    assert!(seat("2001:db8:0:1::1".into()).is_some(), "the next household has its own");
    let mapped: Vec<_> = (0..8).filter_map(|n| seat(format!("::ffff:192.0.2.{n}"))).collect();
    assert_eq!(mapped.len(), 8, "mapped addresses of IPv4 are as many sources");
    drop(taken);
    assert!(seat("2001:db8::99".into()).is_some(), "what is given back is there again");
}

#[tokio::test]
async fn a_stranger_may_not_send_a_large_body_and_a_registered_phone_may() {
    let large = sip::limits::STRANGER_BODY_BYTES + 1;
    let message = format!(
        "MESSAGE sip:localhost SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK2\r\nFrom: <sip:a@h>;tag=a\r\nTo: <sip:b@h>\r\n\
         Call-ID: large\r\nCSeq: 1 MESSAGE\r\nContent-Length: {large}\r\n\r\n{}",
        "x".repeat(large)
    );
    let mut house = house(ConnLimits { unauthenticated_idle: Duration::from_secs(20), ..quick() });
    let (mut stranger, _, _line) = house.opened().await;
    stranger.write_all(message.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    timeout(Duration::from_secs(10), stranger.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"SIP/2.0 513 ");
    assert!(matches!(house.event().await, ConnEvent::Closed(_)));

    let (mut phone, _, line) = house.opened().await;
    line.mark_authenticated();
    phone.write_all(message.as_bytes()).await.unwrap();
    match house.event().await {
        ConnEvent::Frame { bytes, .. } => assert_eq!(bytes.len(), message.len()),
        event => panic!("{event:?}"),
    }
}
