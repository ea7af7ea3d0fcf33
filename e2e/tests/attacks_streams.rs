//! Attacks with connections: slow heads, slow bodies, wrong lengths, and many connections at once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e::wire::{Wire, options};
use e2e::{Server, until};

/// Time until the server closed the connection; `None` if it did not in time.
fn hung_up(stream: &mut TcpStream, limit: Duration) -> Option<Duration> {
    let start = Instant::now();
    let mut buffer = [0; 4096];
    while start.elapsed() < limit {
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
        match stream.read(&mut buffer) {
            Ok(0) => return Some(start.elapsed()),
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return Some(start.elapsed()),
        }
    }
    None
}

#[test]
fn a_slow_message_is_cut_off_after_ten_seconds() {
    // security.md row 16, over SIP and HTTP, in head and body.
    let server = Server::start();
    let admin = server.admin_key();
    let head = |more: &str| {
        format!(
            "POST /api/v1/keys/voip/generate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin}\r\n{more}"
        )
    };
    let drips = [
        (server.sip(), "OPTIONS sip:localhost SIP/2.0\r\nX: ".to_owned()),
        (server.sip(), "OPTIONS sip:localhost SIP/2.0\r\nContent-Length: 16000\r\n\r\n".to_owned()),
        (server.http_address(), head("X: ")),
        (server.http_address(), head("Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n")),
    ];
    let start = Instant::now();
    let mut open: Vec<Option<TcpStream>> = Vec::new();
    for (address, begin) in &drips {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.write_all(begin.as_bytes()).expect("written");
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        open.push(Some(stream));
    }
    let mut ended = vec![Duration::MAX; drips.len()];
    while open.iter().any(Option::is_some) && start.elapsed() < Duration::from_secs(18) {
        for (place, ended) in open.iter_mut().zip(&mut ended) {
            let Some(stream) = place else { continue };
            let mut buffer = [0; 1024];
            let over = match stream.read(&mut buffer) {
                Ok(0) => true,
                Ok(_) => false,
                Err(e) => !matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
            };
            if over || stream.write_all(b"x").is_err() {
                (*ended, *place) = (start.elapsed(), None);
            }
        }
    }
    for ((_, begin), ended) in drips.iter().zip(&ended) {
        assert!((9..15).contains(&ended.as_secs()), "{ended:?}: {begin}");
    }
    assert!(e2e::wire::alive(server.sip()));
}

#[test]
fn one_source_has_thirty_two_connections_and_other_sources_are_not_affected() {
    // security.md rows 15 and 16
    let server = Server::start();
    let mut held: Vec<TcpStream> =
        (0..32).map(|_| TcpStream::connect(server.sip()).expect("a connection")).collect();
    // All of them are accepted, so all of them are counted.
    for stream in &mut held {
        stream.write_all(b"\r\n\r\n").expect("a ping");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
        assert_eq!(stream.read(&mut [0; 2]).expect("a pong"), 2);
    }
    for _ in 0..200 {
        let mut more = TcpStream::connect(server.sip()).expect("a connection");
        assert!(hung_up(&mut more, Duration::from_secs(5)).is_some(), "one too many");
    }
    // UDP and a connection of another source are served.
    assert!(e2e::wire::alive(server.sip()));
    held.pop();
    until(Duration::from_secs(5), "a seat that was left is free", || {
        let mut wire = Wire::tcp(server.sip());
        wire.send(options(&wire, 1).as_bytes());
        wire.final_response(Duration::from_secs(1)).and_then(|answer| answer.status()).filter(|s| *s == 200)
    });
}

#[test]
fn one_source_cannot_take_all_connections_of_the_api() {
    // security.md row 16
    let server = Server::start();
    let mut held: Vec<TcpStream> =
        (0..400).filter_map(|_| TcpStream::connect(server.http_address()).ok()).collect();
    held.iter().for_each(|stream| stream.set_nonblocking(true).expect("non-blocking"));
    // Long before the time limit for a request head.
    let start = Instant::now();
    while held.len() > 256 && start.elapsed() < Duration::from_secs(5) {
        held.retain_mut(|stream| {
            stream.read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        });
    }
    assert_eq!(held.len(), 256, "connections that one source may hold");
    drop(held);
    until(Duration::from_secs(5), "the API answers again", || {
        server.http(None).send("GET", "/healthz", "*/*", None).ok().filter(|answer| answer.status == 200)
    });
}

#[test]
fn an_impossible_content_length_ends_the_connection_with_a_response() {
    // security.md row 16
    let server = Server::start();
    for (length, status) in [
        ("", 400),
        ("Content-Length: 9223372036854775808\r\n", 513),
        ("Content-Length: 18446744073709551616\r\n", 400),
        ("Content-Length: 99999999999999999999999999999999999999\r\n", 400),
        ("Content-Length: 1073741824\r\n", 513),
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: 1e3\r\n", 400),
        ("Content-Length: 0x10\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("l: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length:\r\n", 400),
    ] {
        let mut wire = Wire::tcp(server.sip());
        let text = options(&wire, 1).replace("Content-Length: 0\r\n", length);
        wire.send(text.as_bytes());
        let answer =
            wire.final_response(Duration::from_secs(5)).unwrap_or_else(|| panic!("no answer to {length:?}"));
        let said = answer.status().unwrap_or_default();
        assert!(said == status || matches!(said, 400 | 413 | 513), "{length:?}: {}", answer.text);
        assert!(wire.closes(Duration::from_secs(5)), "{length:?}: the connection stays open");
    }
    let mut wire = Wire::tcp(server.sip());
    wire.send(b"OPTIONS sip:localhost SIP/2.0\r\n");
    for n in 0..9_000 {
        wire.send(format!("X-{n}: 1234567890\r\n").as_bytes());
    }
    assert!(wire.closes(Duration::from_secs(5)), "an endless head");
    assert!(e2e::wire::alive(server.sip()));
}
