//! Thousands of requests whose clients close the connection before the response, while the switch thread is busy.
//!
//! Number of requests: `CENTRALITA_UNFINISHED`, default 6,000; 60,000 take about a minute.

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::wire::{Wire, options};
use e2e::{Server, Settings, until};

/// Threads that send requests and close.
const CLIENTS: usize = 4;

/// Flood of OPTIONS from another address, so that no other client's rate limit is used up.
fn flood(server: &Server, over: &AtomicBool) -> usize {
    let socket = UdpSocket::bind("127.0.0.9:0").expect("a socket");
    let text = options(&Wire::udp(server.sip()), 7);
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        for _ in 0..50 {
            sent += usize::from(socket.send_to(text.as_bytes(), server.sip()).is_ok());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    sent
}

/// Keep the switch thread busy for two seconds, repeatedly, and check that it continues at the end. Datagrams of a flood may be lost.
fn stall(server: &Server, over: &AtomicBool) {
    let mut wire = Wire::udp(server.sip());
    let mut n = 100;
    while !over.load(Ordering::Relaxed) {
        n += 1;
        let stalling =
            options(&wire, n).replacen("Max-Forwards", "X: centralita-fault-stall\r\nMax-Forwards", 1);
        wire.send(stalling.as_bytes());
        wire.receive(Duration::from_secs(3));
    }
    until(Duration::from_secs(20), "the exchange goes on", || {
        n += 1;
        let asking = options(&wire, n);
        wire.send(asking.as_bytes());
        wire.receive(Duration::from_secs(3))
    });
}

#[test]
fn abandoned_requests_do_not_block_other_clients() {
    let total: usize =
        std::env::var("CENTRALITA_UNFINISHED").ok().and_then(|n| n.parse().ok()).unwrap_or(6_000);
    let server = Server::with(Settings { faults: true, ..Settings::default() });
    let key = server.admin_key();
    let asking =
        format!("GET /api/v1/opensips/health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n");
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&server, &over));
        scope.spawn(|| stall(&server, &over));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    while asked.load(Ordering::Relaxed) < total {
                        let Ok(mut stream) = TcpStream::connect(server.http_address()) else { continue };
                        let n = asked.fetch_add(1, Ordering::Relaxed);
                        let probe = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
                        let text = if n % 8 == 0 { probe } else { &asking };
                        let _ = stream.write_all(text.as_bytes());
                        // Long enough for the request to be read; the response is not awaited.
                        std::thread::sleep(Duration::from_millis(1));
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().expect("a client");
        }
        over.store(true, Ordering::Relaxed);
    });
    let begin = Instant::now();
    let ready = server.http(None).get("/readyz");
    assert_eq!(ready.status, 200, "{}", ready.body);
    let health = server.admin().get("/api/v1/opensips/health");
    assert_eq!(health.status, 200, "{}", health.body);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}
