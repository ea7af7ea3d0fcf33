//! Carriers over TCP: the server opens the connection, keeps it, and fails over to another host if it is closed.

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use e2e::raw::Raw;
use e2e::sipp::scenario;
use e2e::wire::{Message, Wire, register_port};
use e2e::{Server, soon, until};
use serde_json::{Value, json};

const MADRID: &str = "+34912345678";
const LIMIT: Duration = Duration::from_secs(5);

/// A host of a carrier.
struct Host {
    listener: TcpListener,
    address: SocketAddr,
}

impl Host {
    fn open() -> Host {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("its address");
        Host { listener, address }
    }

    /// The next connection that the server opens.
    fn accept(&self) -> Wire {
        let stream = until(LIMIT, "the server connects", || self.listener.accept().ok()).0;
        stream.set_nonblocking(false).expect("a connection that blocks");
        Wire::Tcp { stream, held: Vec::new() }
    }

    /// Whether a further connection is waiting.
    fn is_called_again(&self) -> bool {
        self.listener.accept().is_ok()
    }

    fn json(&self, priority: u16) -> Value {
        json!({"host": "127.0.0.1", "port": self.address.port(), "transport": "tcp", "priority": priority})
    }
}

/// The next request with this method; OPTIONS are answered.
fn hear(wire: &mut Wire, method: &str) -> Message {
    let deadline = Instant::now() + LIMIT;
    while let Some(message) = wire.receive(deadline.saturating_duration_since(Instant::now())) {
        if message.method() == Some(method) {
            return message;
        }
        if message.method() == Some("OPTIONS") {
            say(wire, &message, 200, "");
        }
    }
    panic!("{method} did not come");
}

fn say(wire: &mut Wire, request: &Message, status: u16, body: &str) {
    let mut text = format!("SIP/2.0 {status} Because\r\n");
    for via in request.headers("Via") {
        text += &format!("Via: {via}\r\n");
    }
    for name in ["From", "Call-ID", "CSeq"] {
        text += &format!("{name}: {}\r\n", request.header(name).unwrap_or_default());
    }
    let to = request.header("To").unwrap_or_default();
    let tag = if to.contains("tag=") { "" } else { ";tag=host" };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    text += &format!(
        "To: {to}{tag}\r\nContact: <sip:carrier@{};transport=tcp>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        wire.local(),
        body.len()
    );
    wire.send(text.as_bytes());
}

fn make(server: &Server, hosts: &[Value], probe: bool) -> String {
    let trunk = json!({"name": "Carrier", "hosts": hosts, "callerNumber": "+34910000000", "probe": probe});
    let made = server.admin().post("/api/v1/trunks", &trunk).expect(200);
    made["trunk"]["id"].as_str().expect("an id").to_owned()
}

fn phone(server: &Server, number: &str) -> Raw {
    let mut phone = Raw::new(server, &server.extension(number));
    phone.register();
    phone
}

// S8, S123
#[test]
fn probes_and_calls_share_one_connection_which_is_reopened_when_closed() {
    let server = Server::start();
    let host = Host::open();
    let id = make(&server, &[host.json(1)], true);
    let mut wire = host.accept();
    let options = hear(&mut wire, "OPTIONS");
    assert!(options.header("Via").is_some_and(|via| via.starts_with("SIP/2.0/TCP ")), "{}", options.text);
    say(&mut wire, &options, 200, "");
    let state = || server.admin().get(&format!("/api/v1/trunks/{id}")).expect(200)["trunk"]["status"].clone();
    soon("the host lives", || (state()["state"] == "up").then_some(()));
    assert_eq!(state()["hosts"][0]["transport"], "tcp");

    let mut caller = phone(&server, "1001");
    let sdp = caller.sdp();
    let dialling = caller.invite(MADRID, "", &sdp);
    caller.send(dialling.text.as_bytes());
    let invite = hear(&mut wire, "INVITE");
    assert!(invite.text.starts_with(&format!("INVITE sip:{MADRID}@127.0.0.1:")), "{}", invite.text);
    assert!(invite.header("Contact").is_some_and(|c| c.contains("transport=tcp")), "{}", invite.text);
    say(&mut wire, &invite, 180, "");
    say(&mut wire, &invite, 200, &sdp);
    hear(&mut wire, "ACK");
    let ok = caller.expect_final("INVITE");
    assert_eq!(ok.status(), Some(200), "{}", ok.text);
    let mut side = caller.send_ack(&dialling, &ok);
    assert!(!host.is_called_again(), "one connection is enough");
    // The carrier closes the connection during the call. Once the server has closed its side, BYE goes over a new one.
    if let Wire::Tcp { stream, .. } = &wire {
        stream.shutdown(Shutdown::Write).expect("half closed");
    }
    assert!(wire.closes(LIMIT), "the server closes its end");
    caller.hang_up(&mut side);
    let mut wire = host.accept();
    let bye = hear(&mut wire, "BYE");
    assert_eq!(bye.header("Call-ID"), invite.header("Call-ID"));
    say(&mut wire, &bye, 200, "");
    let call = server.finished_call();
    assert_eq!((call["status"].as_str(), call["direction"].as_str()), (Some("completed"), Some("outbound")));
}

// S123, security.md §4, "trunk down"
#[test]
fn a_refused_or_closed_connection_leads_to_the_next_host_at_once() {
    let server = Server::start();
    let (breaks, last) = (Host::open(), Host::open());
    let gone = Host::open().json(1); // closed again
    make(&server, &[gone, breaks.json(2), last.json(3)], false);
    let mut caller = phone(&server, "1001");
    let sdp = caller.sdp();
    let dialling = caller.invite(MADRID, "", &sdp);
    let began = Instant::now();
    caller.send(dialling.text.as_bytes());
    let mut wire = breaks.accept();
    hear(&mut wire, "INVITE");
    drop(wire);
    let mut wire = last.accept();
    let invite = hear(&mut wire, "INVITE");
    assert!(began.elapsed() <= Duration::from_secs(2), "{:?}", began.elapsed());
    say(&mut wire, &invite, 486, "");
    hear(&mut wire, "ACK");
    assert_eq!(caller.expect_final("INVITE").status(), Some(486));
    let call = server.finished_call();
    assert_eq!(call["legs"].as_array().map(Vec::len), Some(4), "{call:#}");
}

// S8, S106, security.md row 8
#[test]
fn an_inbound_tcp_call_is_accepted_only_if_its_trunk_uses_tcp() {
    let server = Server::start();
    let one = server.extension("1001");
    let mut trunk = json!({
        "name": "Carrier", "hosts": [{"host": "127.0.0.1", "port": 9}], "callerId": "own", "probe": false,
        "sources": ["127.0.0.1/32"], "dids": [{"number": "+34911000001", "extension": "1001"}],
    });
    let made = server.admin().post("/api/v1/trunks", &trunk).expect(200);
    let stranger =
        scenario("carrier_calls", server.sip(), server.spare_port(5)).over_tcp().to("+34911000001");
    let refused = std::panic::catch_unwind(|| stranger.passes());
    assert!(refused.is_err(), "a trunk over UDP says nothing of connections");
    trunk["hosts"][0]["transport"] = json!("tcp");
    let path = format!("/api/v1/trunks/{}", made["trunk"]["id"].as_str().expect("an id"));
    server.admin().put(&path, &trunk).expect(200);
    let port = server.spare_port(0);
    register_port(&server, &one, port);
    let callee = scenario("callee", server.sip(), port).key("user", &one.username).start();
    scenario("carrier_calls", server.sip(), server.spare_port(10)).over_tcp().to("+34911000001").passes();
    callee.passes();
    let call =
        soon("the call is over", || server.calls().into_iter().find(|call| call["endedAt"].is_string()));
    assert_eq!((call["status"].as_str(), call["direction"].as_str()), (Some("completed"), Some("inbound")));
}

// S8
#[test]
fn tls_to_a_carrier_is_rejected_with_the_supported_transports() {
    let server = Server::start();
    let trunk = json!({"name": "Carrier", "hosts": [{"host": "127.0.0.1", "transport": "tls"}]});
    let answer = server.admin().post("/api/v1/trunks", &trunk);
    assert_eq!(answer.status, 400, "{}", answer.body);
    let text = answer.json().to_string();
    assert!(text.contains("hosts") && text.contains("udp") && text.contains("tcp"), "{text}");
}
