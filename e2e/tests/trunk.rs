//! Outbound and inbound trunk calls: carriers that challenge, reject, do not respond or call, and two servers that are each other's carrier.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use e2e::raw::Raw;
use e2e::sipp::scenario;
use e2e::wire::register_port;
use e2e::{Account, Block, Phone, Server, Settings, soon};
use serde_json::{Value, json};

const MADRID: &str = "+34912345678";
/// Failover without delay, with slack for a busy machine. That the switch adds no delay is tested in simulated time
/// (`crates/switch/tests/exchange/outbound_calls.rs`).
const AT_ONCE: Duration = Duration::from_secs(2);

fn make(server: &Server, trunk: &Value) -> Value {
    let answer = server.admin().post("/api/v1/trunks", trunk).expect(200);
    answer["trunk"].clone()
}

fn host(port: u16, priority: u16) -> Value {
    json!({"host": "127.0.0.1", "port": port, "priority": priority})
}

/// A carrier's socket that sends to the server.
fn carrier(server: &Server) -> Raw {
    Raw::at(IpAddr::V4(Ipv4Addr::LOCALHOST), server.sip(), "carrier", "")
}

/// A trunk to these carriers, in order of priority.
fn trunk_to(server: &Server, carriers: &[&Raw]) -> Value {
    let hosts: Vec<Value> = carriers.iter().zip(1..).map(|(raw, n)| host(raw.local().port(), n)).collect();
    make(server, &json!({"name": "Carrier", "hosts": hosts, "callerNumber": "+34910000000", "probe": false}))
}

/// A registered phone.
fn phone(server: &Server, number: &str) -> Raw {
    let mut phone = Raw::new(server, &server.extension(number));
    phone.register();
    phone
}

// S107, S121
#[test]
fn a_carrier_that_challenges_gets_the_trunks_password_and_carries_the_call() {
    let server = Server::start();
    let port = server.spare_port(0);
    let carrier = scenario("carrier_challenges", server.sip(), port).key("user", "carrier").start();
    let made = make(
        &server,
        &json!({
            "name": "Carrier", "hosts": [host(port, 1)], "username": "trunkuser", "password": "trunk-pass",
            "callerNumber": "+34910000000", "probe": false,
        }),
    );
    assert_eq!((made["hasPassword"].as_bool(), made.get("password")), (Some(true), None));
    let one = server.extension("1001");
    scenario("caller", server.sip(), server.spare_port(10)).from(&one).to(MADRID).passes();
    let seen = carrier.passes();
    assert!(seen.contains(&format!("INVITE sip:{MADRID}@127.0.0.1:{port}")), "{seen}");
    assert!(seen.contains("From: <sip:+34910000000@"), "{seen}");
    let call = server.finished_call();
    assert_eq!((call["status"].as_str(), call["direction"].as_str()), (Some("completed"), Some("outbound")));
    assert_eq!(call["legs"][1]["role"], "trunk", "{call:#}");
    for file in ["centralita.db", "centralita.db-wal"] {
        let bytes = std::fs::read(server.data().join(file)).unwrap_or_default();
        assert!(!bytes.windows(10).any(|window| window == b"trunk-pass"), "{file} shows the password");
    }
    assert!(!server.log().contains("trunk-pass"));
}

// S106, S122
#[test]
fn only_a_carrier_may_call_the_extension_of_its_did() {
    let server = Server::start();
    let one = server.extension("1001");
    let trunk = json!({
        "name": "Carrier", "hosts": [{"host": "127.0.0.1", "port": 9}], "callerId": "own", "probe": false,
        "sources": ["127.0.0.1/32"], "dids": [{"number": "+34911000001", "extension": "1001"}],
    });
    let stranger = scenario("carrier_calls", server.sip(), server.spare_port(5)).to("+34911000001");
    let refused = std::panic::catch_unwind(|| stranger.passes());
    assert!(refused.is_err(), "without a trunk the caller is rejected");
    make(&server, &trunk);
    let port = server.spare_port(0);
    register_port(&server, &one, port);
    let callee = scenario("callee", server.sip(), port).key("user", &one.username).start();
    scenario("carrier_calls", server.sip(), server.spare_port(10)).to("+34911000001").passes();
    callee.passes();
    let call =
        soon("the call is over", || server.calls().into_iter().find(|call| call["endedAt"].is_string()));
    assert_eq!((call["status"].as_str(), call["direction"].as_str()), (Some("completed"), Some("inbound")));
    assert_eq!(call["fromNumber"], "+33142000000");
}

/// Dial a number outside.
fn dial(caller: &mut Raw) {
    let sdp = caller.sdp();
    let dialling = caller.invite(MADRID, "", &sdp);
    caller.send(dialling.text.as_bytes());
}

// security.md §4, "trunk down"
#[test]
fn a_503_leads_to_the_next_host_at_once() {
    let server = Server::start();
    let (first, second) = (carrier(&server), carrier(&server));
    trunk_to(&server, &[&first, &second]);
    let mut caller = phone(&server, "1001");
    dial(&mut caller);
    let invite = first.expect_request("INVITE");
    let began = Instant::now();
    first.answer(&invite, 503, "", "");
    let invite = second.expect_request("INVITE");
    let took = began.elapsed();
    assert!(took <= AT_ONCE, "{took:?}");
    second.answer(&invite, 486, "", "");
    let refusal = caller.expect_final("INVITE");
    assert_eq!(refusal.status(), Some(486));
    let call = server.finished_call();
    assert_eq!(call["legs"].as_array().map(Vec::len), Some(3), "{call:#}");
}

// security.md §4, "trunk down"
#[test]
fn a_silent_host_is_left_within_four_seconds_and_a_closed_port_at_once() {
    let server = Server::start();
    let (silent, second) = (carrier(&server), carrier(&server));
    let gone = carrier(&server).local().port(); // closed again
    trunk_to(&server, &[&silent, &second]);
    let mut caller = phone(&server, "1001");
    dial(&mut caller);
    silent.expect_request("INVITE");
    let began = Instant::now();
    let invite = second.expect_request("INVITE");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took <= Duration::from_secs(4), "{took:?}");
    // The silent host responds late, and gets CANCEL.
    let late = silent.expect_request("INVITE");
    silent.answer(&late, 180, "", "");
    silent.expect_request("CANCEL");
    second.answer(&invite, 486, "", "");
    assert_eq!(caller.expect_final("INVITE").status(), Some(486));

    let third = carrier(&server);
    make(
        &server,
        &json!({
            "name": "Better", "priority": 1, "hosts": [host(gone, 1), host(third.local().port(), 2)],
            "callerNumber": "+34910000000", "probe": false,
        }),
    );
    let mut caller = phone(&server, "1002");
    let began = Instant::now();
    dial(&mut caller);
    let invite = third.expect_request("INVITE");
    assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
    third.answer(&invite, 486, "", "");
}

// security.md row 7: no origin leads to a forbidden number
#[test]
fn a_forbidden_number_never_reaches_the_carrier() {
    let server = Server::start();
    let carrier = carrier(&server);
    trunk_to(&server, &[&carrier]);
    let one = server.extension("1001");
    let mut caller = Raw::new(&server, &one);
    caller.register();
    let forbidden = ["+882131234567", "00881612345678", "+19005551234", "+34803123456", "+87012345678"];
    for number in forbidden {
        let sdp = caller.sdp();
        let dialling = caller.invite(number, "", &sdp);
        caller.send(dialling.text.as_bytes());
        let refusal = caller.expect_final("INVITE");
        assert_eq!(refusal.status(), Some(403), "{number}: {}", refusal.text);
        let body = json!({"userId": "user_of_1001", "fromNumber": "1001", "toNumber": number});
        let answer = server.http(Some(&one.key)).post("/api/v1/opensips/call/initiate", &body);
        assert_eq!(answer.status, 403, "{number}: {}", answer.body);
    }
    for help in ["112", "911"] {
        let body = json!({"userId": "user_of_1001", "fromNumber": "1001", "toNumber": help});
        assert_eq!(server.http(Some(&one.key)).post("/api/v1/opensips/call/initiate", &body).status, 403);
    }
    // A permitted number does arrive, so the trunk was working all the time.
    dial(&mut caller);
    let invite = carrier.receive(e2e::raw::LIMIT).expect("the permitted call");
    assert!(invite.text.starts_with(&format!("INVITE sip:{MADRID}@")), "{}", invite.text);
}

// S194
#[test]
fn without_a_trunk_a_number_is_404_over_sip_and_over_the_api() {
    let server = Server::start();
    let one = server.extension("1001");
    let mut caller = Raw::new(&server, &one);
    caller.register();
    dial(&mut caller);
    let refusal = caller.expect_final("INVITE");
    assert_eq!(refusal.status(), Some(404));
    assert!(refusal.header("Reason").is_some_and(|reason| reason.contains("No trunk")));
    let body = json!({"userId": "user_of_1001", "fromNumber": "1001", "toNumber": MADRID});
    let answer = server.http(Some(&one.key)).post("/api/v1/opensips/call/initiate", &body);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("no_route")));
}

#[test]
fn the_command_line_adds_lists_tests_and_removes_trunks() {
    let server = Server::start();
    let carrier = carrier(&server);
    let port = carrier.local().port();
    let run = |words: &[&str]| {
        let output = server.command(words);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let place = format!("127.0.0.1:{port},priority=1");
    let (code, made) = run(&["trunk", "add", "Carrier", "--host", &place, "--caller", "+34910000000"]);
    assert_eq!(code, Some(0), "{made}");
    let answering = std::thread::spawn(move || {
        while let Some(message) = carrier.receive(Duration::from_secs(3)) {
            if message.method() == Some("OPTIONS") {
                carrier.answer(&message, 200, "", "");
            }
        }
    });
    let (code, tested) = run(&["trunk", "test", "Carrier"]);
    assert!(code == Some(0) && tested.contains("up"), "{tested}");
    let (_, listed) = run(&["trunk", "list"]);
    assert!(listed.contains("Carrier") && listed.contains("up"), "{listed}");
    let (_, status) = run(&["status"]);
    assert!(status.contains("Carrier"), "{status}");
    let (code, _) = run(&["trunk", "remove", "Carrier"]);
    assert_eq!(code, Some(0));
    let (code, _) = run(&["trunk", "show", "Carrier"]);
    assert_eq!(code, Some(1));
    answering.join().expect("the carrier");
}

/// A server with one address for carriers, and 127.0.0.1 for phones.
struct Site {
    server: Server,
    outside: SocketAddr,
    phones: SocketAddr,
    _ports: Block,
}

fn start_site(ip: [u8; 4]) -> Site {
    let ports = Block::take();
    let (outside, phones) =
        (SocketAddr::from((ip, ports.port(5))), SocketAddr::from(([127, 0, 0, 1], ports.port(6))));
    let listen = ("CENTRALITA__SIP__LISTEN".to_owned(), format!("udp://{outside},udp://{phones}"));
    let server = Server::with(Settings { environment: vec![listen], ..Settings::default() });
    Site { server, outside, phones, _ports: ports }
}

impl Site {
    /// A trunk to the other server, after these hosts.
    fn trunk_to(&self, other: &Site, did: &str, before: &[SocketAddr]) {
        let host = |(place, n): (&SocketAddr, u16)| json!({"host": place.ip().to_string(), "port": place.port(), "priority": n});
        let hosts: Vec<Value> = before.iter().chain([&other.outside]).zip(1..).map(host).collect();
        let trunk = json!({
            "name": "The other site", "hosts": hosts, "probe": before.is_empty(),
            "sources": [other.outside.ip().to_string()], "dids": [{"number": did, "extension": "1001"}],
            "callerNumber": did,
        });
        make(&self.server, &trunk);
    }

    fn is_up(&self) {
        soon("the trunk is up", || {
            let status = self.server.admin().get("/api/v1/opensips/status").expect(200);
            (status["trunks"][0]["state"] == "up").then_some(())
        });
    }
}

#[test]
fn two_servers_are_each_others_carrier_and_their_phones_hear_each_other() {
    let (west, east) = (start_site([127, 0, 0, 2]), start_site([127, 0, 0, 3]));
    let (wanda, emil) = (west.server.extension("1001"), east.server.extension("1001"));
    west.trunk_to(&east, "+34911000001", &[]);
    east.trunk_to(&west, "+34922000002", &[]);
    west.is_up();
    east.is_up();
    let mut one = Phone::registered("west", 440, &Account::of(&wanda, west.phones));
    let mut two = Phone::registered("east", 1000, &Account::of(&emil, east.phones));
    one.dial("+34922000002");
    one.expect("CALL_ESTABLISHED");
    two.expect("CALL_ESTABLISHED");
    one.hears(1000);
    two.hears(440);
    one.hang_up();
    two.expect("CALL_CLOSED");
    let out = west.server.finished_call();
    assert_eq!((out["direction"].as_str(), out["status"].as_str()), (Some("outbound"), Some("completed")));
    let into = east.server.finished_call();
    assert_eq!(
        (into["direction"].as_str(), into["fromNumber"].as_str()),
        (Some("inbound"), Some("+34911000001"))
    );
    // And in the other direction.
    two.dial("+34911000001");
    two.expect("CALL_ESTABLISHED");
    two.hears(440);
    one.hears(1000);
    two.hang_up();
}

// security.md §4, "trunk down"
#[test]
fn a_call_rejected_by_the_first_host_is_connected_over_the_second() {
    let (west, east) = (start_site([127, 0, 0, 2]), start_site([127, 0, 0, 3]));
    let (wanda, emil) = (west.server.extension("1001"), east.server.extension("1001"));
    let refusing = Raw::at(IpAddr::from([127, 0, 0, 4]), west.outside, "carrier", "");
    west.trunk_to(&east, "+34911000001", &[refusing.local()]);
    east.trunk_to(&west, "+34922000002", &[]);
    let mut one = Phone::registered("west", 440, &Account::of(&wanda, west.phones));
    let two = Phone::registered("east", 1000, &Account::of(&emil, east.phones));
    one.dial("+34922000002");
    let invite = refusing.expect_request("INVITE");
    refusing.answer(&invite, 503, "", "");
    one.expect("CALL_ESTABLISHED");
    two.expect("CALL_ESTABLISHED");
    one.hears(1000);
    two.hears(440);
    one.hang_up();
    two.expect("CALL_CLOSED");
    let call = west.server.finished_call();
    assert_eq!((call["direction"].as_str(), call["status"].as_str()), (Some("outbound"), Some("completed")));
    assert_eq!(call["legs"].as_array().map(Vec::len), Some(3), "{call:#}");
}

// S71, S123: follow-me rings phones and outside numbers at once
#[test]
fn find_me_connects_the_mobile_and_cancels_the_other_branches() {
    let server = Server::start();
    let carrier = carrier(&server);
    trunk_to(&server, &[&carrier]);
    let bob = server.extension("1002");
    let mut caller = phone(&server, "1001");
    let desk = phone(&server, "1003");
    let path = format!("/api/v1/voip/extensions/{}", bob.id);
    let http = server.http(Some(&bob.key));
    let premium = json!({"followMe": {"numbers": [{"number": "+34803123456"}]}});
    assert_eq!(http.put(&path, &premium).status, 403, "it is not even kept");
    let numbers = json!([{"number": "1003", "ringSeconds": 30}, {"number": MADRID, "ringSeconds": 30},
        {"number": "+33142000001", "ringSeconds": 30}]);
    http.put(&path, &json!({"followMe": {"mode": "simultaneous", "numbers": numbers}})).expect(200);
    let sdp = caller.sdp();
    let dialling = caller.invite("1002", "", &sdp);
    caller.send(dialling.text.as_bytes());
    let inside = desk.expect_request("INVITE");
    desk.answer(&inside, 180, "", "");
    let (first, second) = (carrier.expect_request("INVITE"), carrier.expect_request("INVITE"));
    let is_mobile = |invite: &e2e::wire::Message| invite.text.starts_with(&format!("INVITE sip:{MADRID}@"));
    let (mobile, other) = if is_mobile(&first) { (first, second) } else { (second, first) };
    assert!(is_mobile(&mobile) && other.text.starts_with("INVITE sip:+33142000001@"), "{}", other.text);
    carrier.answer(&other, 180, "", "");
    carrier.answer(&mobile, 200, "", &carrier.sdp());
    let ok = caller.expect_final("INVITE");
    assert_eq!(ok.status(), Some(200), "{}", ok.text);
    let mut side = caller.send_ack(&dialling, &ok);
    let cancel = carrier.expect_request("CANCEL");
    assert_eq!(cancel.header("Call-ID"), other.header("Call-ID"));
    carrier.answer(&cancel, 200, "", "");
    carrier.answer(&other, 487, "", "");
    let cancel = desk.expect_request("CANCEL");
    desk.answer(&cancel, 200, "", "");
    desk.answer(&inside, 487, "", "");
    let trunks = || server.admin().get("/api/v1/opensips/status").expect(200)["trunks"].clone();
    assert_eq!(trunks()[0]["activeCalls"], 1, "only the line that was answered is in use");
    caller.hang_up(&mut side);
    let bye = carrier.expect_request("BYE");
    carrier.answer(&bye, 200, "", "");
    let call = server.finished_call();
    assert_eq!((&call["status"], &call["direction"]), (&json!("completed"), &json!("outbound")), "{call:#}");
    assert_eq!(call["legs"].as_array().map(Vec::len), Some(4), "{call:#}");
    assert_eq!(server.calls().len(), 1);
    assert_eq!(trunks()[0]["activeCalls"], 0);
}
