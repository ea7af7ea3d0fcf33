//! `kill -9`, a panic of the switch thread and a panic of a media worker, repeatedly and during calls and registrations: no acknowledged data is
//! lost.
//!
//! Rounds of each: `CENTRALITA_KILLS`; the default is 20 of `kill -9` and 2 of each panic.

// A message is written with all its parts visible.
#![allow(clippy::format_collect, clippy::format_push_string, clippy::too_many_arguments)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::wire::{Challenge, Message, Wire};
use e2e::{Server, Settings, until};

const USERS: usize = 1000;
const CALLS: usize = 20;
/// Registrations of a burst: more than are answered before the kill.
const BURST: usize = 900;
/// Number of answered ones after which the kill happens.
const ANSWERED: usize = 60;
/// Simultaneous registrations of a burst: limited by the window of nonce counts.
const WINDOW: usize = 32;
const LIMIT: Duration = Duration::from_secs(5);
/// Downtime of the process: longer than the permitted error of a duration.
const DOWN: Duration = Duration::from_secs(2);
/// A message with this text makes the thread panic that handles it.
const MARK: &str = "centralita-fault-panic";

/// How the calls are interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interruption {
    /// `kill -9`.
    Kill,
    /// The switch thread panics: the process ends by itself.
    Exchange,
    /// The media worker of all calls panics: the process continues.
    Worker,
}

impl Interruption {
    /// Cause in the record of an interrupted call.
    fn cause(self) -> &'static str {
        match self {
            Interruption::Kill | Interruption::Exchange => "crash",
            Interruption::Worker => "internal",
        }
    }

    /// Interrupt all calls; `rtp` is the RTP port of one of them. Returns the interval in which it happened.
    fn interrupt(self, server: &mut Server, rtp: SocketAddr) -> [Instant; 2] {
        let stranger = Wire::udp_from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), server.sip());
        let Wire::Udp { socket, .. } = &stranger else { unreachable!("a UDP socket") };
        let begin = Instant::now();
        let mut end = begin;
        match self {
            Interruption::Kill => {
                server.kill();
                // The downtime must not count as talk time.
                std::thread::sleep(DOWN);
                server.restart();
            }
            Interruption::Exchange => {
                let text = e2e::wire::options(&stranger, 1).replacen(
                    "Max-Forwards",
                    &format!("X: {MARK}\r\nMax-Forwards"),
                    1,
                );
                socket.send_to(text.as_bytes(), server.sip()).expect("sent");
                assert_eq!(server.ends(), Some(70));
                end = Instant::now();
                server.restart();
            }
            Interruption::Worker => {
                let before = restarts(server);
                // A worker that opens a stream drops earlier packets: the call may be confirmed a moment before.
                until(LIMIT, "the worker begins anew", || {
                    socket.send_to(MARK.as_bytes(), rtp).expect("sent");
                    (restarts(server) > before).then_some(())
                });
            }
        }
        [begin, end]
    }
}

/// Number of restarts of the media worker.
fn restarts(server: &Server) -> u64 {
    let status = server.admin().get("/api/v1/opensips/status").expect(200);
    let tasks = status["tasks"].as_array().expect("tasks");
    let worker = tasks.iter().find(|task| task["name"] == "media-0").expect("a worker");
    worker["restarts"].as_u64().expect("a number")
}

/// Many phones behind one socket.
struct Phones {
    wire: Wire,
    number: u32,
}

/// One side of a confirmed call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Dialog(String);

impl Phones {
    fn new(server: SocketAddr) -> Self {
        Phones { wire: Wire::udp_from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), server), number: 0 }
    }

    fn request(
        &mut self,
        method: &str,
        uri: &str,
        from: &str,
        to: &str,
        call_id: &str,
        more: &str,
        body: &str,
    ) -> String {
        self.number += 1;
        let local = self.wire.local();
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{}k{};rport\r\nMax-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\n\
             Call-ID: {call_id}\r\nContact: <sip:{}@{local}>\r\n{more}Content-Length: {}\r\n\r\n{body}",
            local.port(),
            self.number,
            from.split(['<', ':', '@']).nth(2).unwrap_or("x"),
            body.len()
        )
    }

    /// Send a request with authentication and retransmissions; `None` if the server is gone.
    fn ask(
        &mut self,
        method: &str,
        uri: &str,
        user: &str,
        to: &str,
        call_id: &str,
        more: &str,
        body: &str,
    ) -> Option<Message> {
        let from = format!("<sip:{user}@localhost>;tag=t{user}");
        let first =
            self.request(method, uri, &from, to, call_id, &format!("CSeq: 1 {method}\r\n{more}"), body);
        let challenged = self.exchange(&first, call_id, "1")?;
        let challenge = challenged.header("WWW-Authenticate").and_then(Challenge::parse)?;
        if method == "INVITE" {
            self.ack_error(&challenged, uri, &from, call_id, 1);
        }
        let answer = challenge.answer(user, &password(user), method, uri, 1);
        let more = format!("CSeq: 2 {method}\r\nAuthorization: {answer}\r\n{more}");
        let second = self.request(method, uri, &from, to, call_id, &more, body);
        let answered = self.exchange(&second, call_id, "2")?;
        if method == "INVITE" {
            self.ack_error(&answered, uri, &from, call_id, 2);
        }
        Some(answered)
    }

    fn exchange(&mut self, request: &str, call_id: &str, cseq: &str) -> Option<Message> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            self.wire.send(request.as_bytes());
            let pause = Instant::now() + Duration::from_millis(500);
            while let Some(message) = self.wire.receive(pause.saturating_duration_since(Instant::now())) {
                let ours = message.header("Call-ID") == Some(call_id)
                    && message.header("CSeq").is_some_and(|c| c.starts_with(cseq));
                if ours && message.status().is_some_and(|s| s >= 200) {
                    return Some(message);
                }
            }
        }
        None
    }

    fn ack_error(&mut self, answer: &Message, uri: &str, from: &str, call_id: &str, cseq: u32) {
        let to = answer.header("To").unwrap_or_default().to_string();
        let uri = match answer.header("Contact") {
            Some(contact) if answer.status() == Some(200) => contact.trim_matches(['<', '>']).to_string(),
            _ => uri.to_string(),
        };
        let ack = self.request("ACK", &uri, from, &to, call_id, &format!("CSeq: {cseq} ACK\r\n"), "");
        // The ACK of an error response belongs to the INVITE's transaction: same branch.
        let ack = match answer.status() {
            Some(200) => ack,
            _ => replace_line(&ack, "Via", answer.header("Via").unwrap_or_default()),
        };
        self.wire.send(ack.as_bytes());
    }

    fn register(&mut self, user: &str, call_id: &str) -> Option<Message> {
        self.ask(
            "REGISTER",
            "sip:localhost",
            user,
            &format!("<sip:{user}@localhost>"),
            call_id,
            "Expires: 3600\r\n",
            "",
        )
    }

    /// Respond to a request, with SDP in a 200 to INVITE.
    fn answer(&mut self, request: &Message, status: u16) {
        let local = self.wire.local();
        let body =
            if status == 200 && request.method() == Some("INVITE") { sdp(local) } else { String::new() };
        let mut text = format!("SIP/2.0 {status} OK\r\n");
        for via in request.headers("Via") {
            text.push_str(&format!("Via: {via}\r\n"));
        }
        for name in ["From", "Call-ID", "CSeq"] {
            text.push_str(&format!("{name}: {}\r\n", request.header(name).unwrap_or_default()));
        }
        let to = request.header("To").unwrap_or_default();
        let tag = if to.contains("tag=") { "" } else { ";tag=callee" };
        text.push_str(&format!("To: {to}{tag}\r\nContact: <sip:phone@{local}>\r\n"));
        if !body.is_empty() {
            text.push_str("Content-Type: application/sdp\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        self.wire.send(text.as_bytes());
    }
}

fn replace_line(message: &str, name: &str, value: &str) -> String {
    let line = |line: &str| {
        if line.starts_with(&format!("{name}:")) {
            format!("{name}: {value}\r\n")
        } else {
            format!("{line}\r\n")
        }
    };
    message.split("\r\n").map(line).collect::<String>().trim_end().to_string() + "\r\n\r\n"
}

fn sdp(local: SocketAddr) -> String {
    let port = local.port() & !1;
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )
}

fn user(index: usize) -> String {
    format!("u{index:04}")
}

fn password(user: &str) -> String {
    format!("pw-{user}-long-enough")
}

/// A confirmed call from one user to another.
fn call(
    callers: &mut Phones,
    callees: &mut Phones,
    from: &str,
    to: &str,
    call_id: &str,
) -> Option<(Dialog, Dialog, SocketAddr)> {
    let uri = format!("sip:{to}@localhost");
    let from_line = format!("<sip:{from}@localhost>;tag=t{from}");
    let to_line = format!("<{uri}>");
    let body = sdp(callers.wire.local());
    let sdp_line = "Content-Type: application/sdp\r\n";
    let first = callers.request(
        "INVITE",
        &uri,
        &from_line,
        &to_line,
        call_id,
        &format!("CSeq: 1 INVITE\r\n{sdp_line}"),
        &body,
    );
    let challenged = callers.exchange(&first, call_id, "1")?;
    callers.ack_error(&challenged, &uri, &from_line, call_id, 1);
    let challenge = challenged.header("WWW-Authenticate").and_then(Challenge::parse)?;
    let answer = challenge.answer(from, &password(from), "INVITE", &uri, 1);
    let more = format!("CSeq: 2 INVITE\r\nAuthorization: {answer}\r\n{sdp_line}");
    let second = callers.request("INVITE", &uri, &from_line, &to_line, call_id, &more, &body);
    callers.wire.send(second.as_bytes());
    let invite = receive_request(callees, "INVITE")?;
    callees.answer(&invite, 200);
    let deadline = Instant::now() + LIMIT;
    loop {
        let message = callers.wire.receive(deadline.saturating_duration_since(Instant::now()))?;
        let ours = message.header("Call-ID") == Some(call_id)
            && message.header("CSeq").is_some_and(|c| c.starts_with('2'));
        if ours && message.status() == Some(200) {
            callers.ack_error(&message, &uri, &from_line, call_id, 2);
            break;
        }
    }
    receive_request(callees, "ACK")?;
    let rtp = e2e::raw::rtp_address(&e2e::raw::body_of(&invite));
    Some((Dialog(call_id.into()), Dialog(invite.header("Call-ID")?.into()), rtp))
}

fn receive_request(phones: &mut Phones, method: &str) -> Option<Message> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let message = phones.wire.receive(deadline.saturating_duration_since(Instant::now()))?;
        if message.method() == Some(method) {
            return Some(message);
        }
    }
}

/// Answer every BYE on a socket until each of the dialogs has got one.
fn answer_byes(phones: &mut Phones, mut expected: BTreeSet<Dialog>, who: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !expected.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(message) = phones.wire.receive(left) else {
            panic!("{} {who} of a call that was up got no BYE within 30 s: {expected:?}", expected.len());
        };
        if message.method() == Some("BYE") {
            phones.answer(&message, 200);
            expected.remove(&Dialog(message.header("Call-ID").unwrap_or_default().into()));
        }
    }
}

/// A registration of a burst: another contact of a user, from the burst's own socket.
fn burst_register(
    phones: &mut Phones,
    challenge: &Challenge,
    n: usize,
    count: usize,
    expires: u32,
    cseq: usize,
) {
    let (name, uri) = (user(n), "sip:localhost");
    let answer = challenge.answer(&name, &password(&name), "REGISTER", uri, count as u32);
    let address = format!("<sip:{name}@localhost>");
    let more = format!("CSeq: {cseq} REGISTER\r\nExpires: {expires}\r\nAuthorization: {answer}\r\n");
    let from = format!("{address};tag=b{name}");
    let call_id = format!("burst-{n}-{}", phones.wire.local().port());
    let text = phones.request("REGISTER", uri, &from, &address, &call_id, &more, "");
    phones.wire.send(text.as_bytes());
}

/// Register many users without waiting for each, until the server is gone or all are done. Returns the users whose REGISTER was answered with 200.
fn burst(phones: &mut Phones, answered: &AtomicUsize, killed: &AtomicBool) -> BTreeSet<usize> {
    let challenge = burst_challenge(phones);
    let (mut sent, mut done) = (0, BTreeSet::new());
    loop {
        while sent < BURST && sent < done.len() + WINDOW && !killed.load(Ordering::Relaxed) {
            burst_register(phones, &challenge, sent, sent + 1, 3600, 1);
            sent += 1;
        }
        match phones.wire.receive(Duration::from_millis(200)) {
            Some(message) => {
                let n = message.header("Call-ID").and_then(|id| id.split('-').nth(1)?.parse().ok());
                if let (Some(200), Some(n)) = (message.status(), n) {
                    done.insert(n);
                    answered.store(done.len(), Ordering::Relaxed);
                }
            }
            None if killed.load(Ordering::Relaxed) || done.len() == BURST => return done,
            None => {}
        }
    }
}

fn burst_challenge(phones: &mut Phones) -> Challenge {
    let id = format!("ask-{}-{}", phones.wire.local().port(), phones.number);
    let from = "<sip:u0000@localhost>;tag=ask";
    let text = phones.request(
        "REGISTER",
        "sip:localhost",
        from,
        "<sip:u0000@localhost>",
        &id,
        "CSeq: 1 REGISTER\r\n",
        "",
    );
    let refusal = phones.exchange(&text, &id, "1").expect("a challenge");
    refusal.header("WWW-Authenticate").and_then(Challenge::parse).expect("a digest challenge")
}

/// `kill -9` during a burst of registrations: all answered ones are still bound. Their contacts are removed afterwards.
fn kill_in_a_burst(
    server: &mut Server,
    round: usize,
    lasted: &mut Vec<[Duration; 2]>,
    began: &[Instant],
) -> usize {
    let mut interrupted = Instant::now();
    let mut phones = Phones::new(server.sip());
    let (answered, killed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = std::thread::scope(|scope| {
        let bursting = scope.spawn(|| burst(&mut phones, &answered, &killed));
        until(Duration::from_secs(30), "the burst is under way", || {
            (answered.load(Ordering::Relaxed) >= ANSWERED).then_some(())
        });
        interrupted = Instant::now();
        server.kill();
        killed.store(true, Ordering::Relaxed);
        bursting.join().expect("the burst ends")
    });
    assert!(
        (ANSWERED..BURST).contains(&done.len()),
        "round {round}: the kill missed the burst: {} answered",
        done.len()
    );
    server.restart();
    lasted.extend(began.iter().map(|began| [interrupted - *began; 2]));
    let there = contacts_at(server, phones.wire.local());
    let lost: Vec<usize> = done.iter().filter(|n| !there.contains(&user(**n))).copied().collect();
    assert!(lost.is_empty(), "round {round}: answered before the kill and gone after it: {lost:?}");
    let challenge = burst_challenge(&mut phones);
    for (count, name) in there.iter().enumerate() {
        let n: usize = name[1..].parse().expect("a user");
        burst_register(&mut phones, &challenge, n, count + 1, 0, 2);
        let gone = phones.wire.receive(LIMIT).expect("an answer");
        assert_eq!(gone.status(), Some(200), "{}", gone.text);
    }
    done.len()
}

/// The users with a contact at this address.
fn contacts_at(server: &Server, address: SocketAddr) -> BTreeSet<String> {
    let (mut found, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = server.admin().get(&format!("/api/v1/registrations?limit=1000{cursor}")).expect(200);
        for one in page["registrations"].as_array().expect("registrations") {
            if one["contact"].as_str().is_some_and(|contact| contact.ends_with(&format!("@{address}"))) {
                found.insert(one["username"].as_str().expect("a name").to_owned());
            }
        }
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// All calls of the API, page by page.
fn all_calls(server: &Server) -> Vec<serde_json::Value> {
    let (mut calls, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.admin().get(&format!("/api/v1/calls?limit=100{cursor}")).expect(200);
        calls.extend(page["calls"].as_array().expect("calls").iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return calls,
        }
    }
}

#[test]
fn kill_9_loses_no_acknowledged_data() {
    no_acknowledged_data_is_lost(Interruption::Kill, 20);
}

#[test]
fn a_panic_of_the_switch_thread_loses_no_acknowledged_data() {
    no_acknowledged_data_is_lost(Interruption::Exchange, 2);
}

#[test]
fn a_panic_of_a_media_worker_loses_no_acknowledged_data() {
    no_acknowledged_data_is_lost(Interruption::Worker, 2);
}

/// The duration of each interrupted call is right within a second. `lasted` has the order in which they were started.
fn check_durations(calls: &[serde_json::Value], cause: &str, lasted: &[[Duration; 2]]) {
    let mut interrupted: Vec<_> = calls.iter().filter(|call| call["endReason"] == cause).collect();
    interrupted.sort_by_key(|call| call["startedAt"].as_str());
    assert_eq!(interrupted.len(), lasted.len());
    for (call, [least, most]) in interrupted.iter().zip(lasted) {
        let written = call["durationSeconds"].as_f64().expect("a duration");
        let right = (least.as_secs_f64() - 1.0)..=(most.as_secs_f64() + 1.0);
        assert!(
            right.contains(&written),
            "{written} s are written of a call that lasted {least:?} to {most:?}: {call:#}"
        );
    }
}

fn no_acknowledged_data_is_lost(interruption: Interruption, rounds: usize) {
    let rounds: usize = std::env::var("CENTRALITA_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(rounds);
    let settings = Settings {
        more: "workers = 1\n[limits]\nrequests_per_minute = 100000\n".into(),
        faults: interruption != Interruption::Kill,
        ..Settings::default()
    };
    let mut server = Server::with(settings);
    let list = server.data().join("import.csv");
    let lines: String = (0..USERS)
        .map(|n| format!("{},{},{},owner{}\n", 10_000 + n, user(n), password(&user(n)), n % 50))
        .collect();
    std::fs::write(&list, format!("number,username,password,owner\n{lines}")).expect("the list is written");
    server.stop();
    let imported = server.command(&["extension", "import", list.to_str().expect("a path")]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    server.restart();

    let (mut callers, mut callees) = (Phones::new(server.sip()), Phones::new(server.sip()));
    for n in 0..USERS {
        let phones = if n % 2 == 0 { &mut callers } else { &mut callees };
        let answer = phones.register(&user(n), &format!("r{n}")).expect("an answer");
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
    }
    let (mut made, mut bursts, mut lasted) = (0, 0, Vec::new());
    for round in 0..rounds {
        let mut dialogs = (BTreeSet::new(), BTreeSet::new());
        let (mut began, mut rtp) = (Vec::new(), None);
        for n in 0..CALLS {
            let (from, to) = (user(2 * ((round * CALLS + n) % 500)), user(2 * n + 1));
            let up = call(&mut callers, &mut callees, &from, &to, &format!("c{round}-{n}@kill"))
                .expect("the call comes up");
            began.push(Instant::now());
            dialogs.0.insert(up.0);
            dialogs.1.insert(up.1);
            rtp = Some(up.2);
            made += 1;
        }
        // After SIGKILL the same data again; every other round registrations are in progress.
        if interruption == Interruption::Kill && round % 2 == 1 {
            bursts += kill_in_a_burst(&mut server, round, &mut lasted, &began);
        } else {
            let interrupted = interruption.interrupt(&mut server, rtp.expect("a call is up"));
            lasted.extend(began.iter().map(|began| interrupted.map(|end| end - *began)));
        }
        let registered = server.admin().get("/api/v1/opensips/status").expect(200)["registrations"].as_u64();
        assert_eq!(registered, Some(USERS as u64), "round {round}: registrations after the restart");
        answer_byes(&mut callers, dialogs.0, "callers");
        answer_byes(&mut callees, dialogs.1, "callees");
        let status = until(Duration::from_secs(10), "ports, calls and sessions return to 0", || {
            let status = server.admin().get("/api/v1/opensips/status").expect(200);
            (status["portsInUse"] == 0 && status["activeCalls"] == 0).then_some(status)
        });
        assert_eq!(status["activeCalls"], 0);
        // Calls to a few of the bindings, different ones each time, reach a phone.
        for n in 0..5 {
            let to = user(2 * ((round * 37 + n * 101) % 500) + 1);
            let id = format!("p{round}-{n}@kill");
            let (caller, callee, _) = call(&mut callers, &mut callees, &user(2 * n), &to, &id)
                .expect("a restored binding is callable");
            made += 1;
            let calls = server.admin().get("/api/v1/calls?active=true").expect(200);
            for live in calls["calls"].as_array().expect("calls") {
                let id = live["sessionId"].as_str().expect("an id");
                server
                    .admin()
                    .post(&format!("/api/v1/opensips/call/{id}/end"), &serde_json::json!({}))
                    .expect(200);
            }
            answer_byes(&mut callers, [caller].into(), "callers");
            answer_byes(&mut callees, [callee].into(), "callees");
        }
    }
    let calls = until(Duration::from_secs(15), "every call has its CDR", || {
        let calls = all_calls(&server);
        (calls.len() >= made && calls.iter().all(|c| !c["endedAt"].is_null())).then_some(calls)
    });
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    let ids: BTreeSet<&str> = calls.iter().filter_map(|c| c["sessionId"].as_str()).collect();
    for call in &calls {
        *ends.entry(call["endReason"].as_str().unwrap_or("none")).or_default() += 1;
    }
    assert_eq!((calls.len(), ids.len()), (made, made), "one CDR per call: {ends:?}");
    assert_eq!(ends.get(interruption.cause()), Some(&(rounds * CALLS)), "{ends:?}");
    check_durations(&calls, interruption.cause(), &lasted);
    println!(
        "{rounds} times {interruption:?}: {USERS} registrations, {bursts} more of bursts, and {made} calls, none lost, none doubled; ends: {ends:?}"
    );
}
