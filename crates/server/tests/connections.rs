//! Limits of SIP connections: slowloris, idle peers, floods, malformed streams.

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

struct TestListener {
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

fn start_listener(limits: ConnLimits) -> TestListener {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(LoopWaker::new(poll.registry(), Token(0)).unwrap());
    let (inbox, events) = Inbox::new(64, waker);
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Connections::new(7, limits);
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(accept(Arc::new(listener), 3, None, Arc::clone(&connections), inbox));
    TestListener { address, events, connections, _poll: poll }
}

impl TestListener {
    async fn event(&mut self) -> ConnEvent {
        timeout(Duration::from_secs(10), self.events.recv()).await.expect("an event").unwrap()
    }

    async fn opened(&mut self) -> (TcpStream, Hop, ConnectionHandle) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        match self.event().await {
            ConnEvent::Opened { hop, connection } => (stream, hop, connection),
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

/// The bytes received until the peer closes.
async fn read_to_close(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset counts as a close.
    timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.expect("closed in time").ok();
    bytes
}

#[tokio::test]
async fn a_connection_gets_a_flow_number_and_its_messages_are_framed() {
    let mut listener = start_listener(quick());
    let (mut stream, hop, connection) = listener.opened().await;
    assert_eq!((hop.flow.epoch, hop.flow.number, hop.listener), (7, 1, 3));
    assert_eq!((hop.local, hop.remote), (listener.address, stream.local_addr().unwrap()));
    for byte in OPTIONS {
        stream.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(listener.frame().await, OPTIONS);
    stream.write_all(&[OPTIONS, OPTIONS].concat()).await.unwrap();
    assert_eq!((listener.frame().await, listener.frame().await), (OPTIONS.into(), OPTIONS.into()));
    assert!(connection.send(Bytes::from_static(b"answer")));
    drop(connection);
    assert_eq!(read_to_close(&mut stream).await, b"answer");
    assert!(matches!(listener.event().await, ConnEvent::Closed(flow) if flow == hop.flow));
}

#[tokio::test]
async fn a_ping_gets_its_pong() {
    let mut listener = start_listener(quick());
    let (mut stream, _, _line) = listener.opened().await;
    stream.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    timeout(Duration::from_secs(5), stream.read_exact(&mut pong)).await.unwrap().unwrap();
    assert_eq!(&pong, b"\r\n");
}

#[tokio::test]
async fn a_slowloris_message_is_cut_off_at_its_deadline() {
    let mut listener = start_listener(quick());
    let (stream, _, connection) = listener.opened().await;
    // An authenticated peer must complete its messages in time too.
    connection.mark_authenticated();
    let start = Instant::now();
    let (mut reader, mut writer) = stream.into_split();
    let dripping = tokio::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_millis(20));
        for byte in OPTIONS.iter().cycle() {
            interval.tick().await;
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
async fn an_idle_unauthenticated_peer_is_closed_and_a_registered_phone_stays() {
    let mut listener = start_listener(quick());
    let (mut unauthenticated, _, _stranger_line) = listener.opened().await;
    let (mut phone, _, phone_line) = listener.opened().await;
    phone_line.mark_authenticated();
    assert_eq!(read_to_close(&mut unauthenticated).await, b"");
    assert!(matches!(listener.event().await, ConnEvent::Closed(_)));
    phone.write_all(OPTIONS).await.unwrap();
    assert_eq!(listener.frame().await, OPTIONS);
}

#[tokio::test]
async fn connections_per_source_are_limited_and_a_closed_one_frees_its_slot() {
    let mut listener = start_listener(quick());
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(listener.opened().await);
    }
    let mut fifth = TcpStream::connect(listener.address).await.unwrap();
    assert_eq!(read_to_close(&mut fifth).await, b"");
    assert_eq!(listener.connections.counts(), (4, 1));
    drop(held.pop());
    assert!(matches!(listener.event().await, ConnEvent::Closed(_)));
    let connections = Arc::clone(&listener.connections);
    timeout(Duration::from_secs(5), async {
        while connections.counts().0 != 3 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("its slot is free again");
    listener.opened().await;
}

#[tokio::test]
async fn a_malformed_stream_closes_the_connection() {
    for nonsense in [
        [b"X-Endless: ".as_slice(), &vec![b'a'; 80 * 1024]].concat(),
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n".to_vec(),
    ] {
        let mut listener = start_listener(quick());
        let (mut stream, _, _line) = listener.opened().await;
        stream.write_all(&nonsense).await.ok();
        read_to_close(&mut stream).await;
        assert!(matches!(listener.event().await, ConnEvent::Closed(_)));
    }
}

#[tokio::test]
async fn a_connection_whose_peer_does_not_read_is_closed() {
    let mut listener = start_listener(quick());
    let (_deaf, hop, connection) = listener.opened().await;
    connection.mark_authenticated();
    let message = Bytes::from(vec![b'x'; 64 * 1024]);
    timeout(Duration::from_secs(10), async {
        while connection.send(message.clone()) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the queue is bounded");
    assert!(matches!(listener.event().await, ConnEvent::Closed(flow) if flow == hop.flow));
}

#[tokio::test]
async fn an_ipv6_64_network_counts_as_one_source() {
    let connections = Connections::new(7, quick());
    let acquire = |ip: String| connections.acquire(ip.parse().unwrap());
    let taken: Vec<_> = (0..50).filter_map(|n| acquire(format!("2001:db8::{n:x}"))).collect();
    assert_eq!(taken.len(), 4, "one /64 network, one limit");
    assert!(acquire("2001:db8:0:1::1".into()).is_some(), "the next network has its own");
    let mapped: Vec<_> = (0..8).filter_map(|n| acquire(format!("::ffff:192.0.2.{n}"))).collect();
    assert_eq!(mapped.len(), 8, "mapped addresses of IPv4 are as many sources");
    drop(taken);
    assert!(acquire("2001:db8::99".into()).is_some(), "a released slot can be used again");
}

#[tokio::test]
async fn only_a_registered_phone_may_send_a_large_body() {
    let large = sip::limits::UNAUTHENTICATED_BODY_BYTES + 1;
    let message = format!(
        "MESSAGE sip:localhost SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK2\r\nFrom: <sip:a@h>;tag=a\r\nTo: <sip:b@h>\r\n\
         Call-ID: large\r\nCSeq: 1 MESSAGE\r\nContent-Length: {large}\r\n\r\n{}",
        "x".repeat(large)
    );
    let mut listener =
        start_listener(ConnLimits { unauthenticated_idle: Duration::from_secs(20), ..quick() });
    let (mut unauthenticated, _, _line) = listener.opened().await;
    unauthenticated.write_all(message.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    timeout(Duration::from_secs(10), unauthenticated.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"SIP/2.0 513 ");
    assert!(matches!(listener.event().await, ConnEvent::Closed(_)));

    let (mut phone, _, connection) = listener.opened().await;
    connection.mark_authenticated();
    phone.write_all(message.as_bytes()).await.unwrap();
    match listener.event().await {
        ConnEvent::Frame { bytes, .. } => assert_eq!(bytes.len(), message.len()),
        event => panic!("{event:?}"),
    }
}
