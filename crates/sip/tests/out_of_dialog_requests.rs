//! Out-of-dialog requests that we send (OPTIONS, REGISTER, NOTIFY, MESSAGE), and their results.

use crate::network;

use base::Secret;
use centralita_sip::digest::{Account, Credentials, Ha1};
use centralita_sip::{HeaderName, Input, Method, Request, RequestId, Target, Uri};
use network::*;

const CHALLENGE: &str = "Digest realm=\"carrier\", nonce=\"abc\", qop=\"auth\", algorithm=MD5";

fn register(world: &World) -> Request {
    let uri = Uri::sip(None, address(B), None);
    let target = Target { uri, hop: world.hop(A, B), route: Vec::new() };
    let own = "<sip:trunk@10.0.0.2>";
    let mut request = Request::new(Method::Register, target, own.into(), own.into());
    request.contact_user = Some("trunk".into());
    request.lines.add("Expires", 600);
    request
}

fn account(realm: Option<&str>) -> Account {
    Account { user: "trunk".into(), password: Secret::new("secret".into()), realm: realm.map(str::to_owned) }
}

fn send_request(world: &mut World, request: Request) -> RequestId {
    let id = world.act(A, |ep, now, out| ep.request(now, request, out));
    world.run(ms(50));
    id
}

#[test]
fn a_request_is_sent_as_given_and_its_final_response_is_reported() {
    let mut world = World::scripted();
    let mut request = register(&world);
    request.method = Method::Message;
    request.contact_user = None;
    request.body = Some(("text/plain".into(), "hola".into()));
    send_request(&mut world, request);
    let message = world.last_received(B, "MESSAGE");
    assert_eq!(message.uri().unwrap().as_str(), "sip:10.0.0.2:5060");
    assert_eq!(&message.body()[..], b"hola");
    assert_eq!(message.header(HeaderName::Contact), None);
    world.peer_sends(B, A, respond(&message, 100, "", "", b""));
    world.run(ms(50));
    assert!(world.take_events(A).is_empty(), "a provisional response is not reported");
    world.peer_sends(B, A, respond(&message, 202, "x", "", b""));
    world.peer_sends(B, A, respond(&message, 202, "x", "", b""));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["response Some(202)"]);
    world.finish();
}

#[test]
fn a_challenge_is_answered_once_and_again_only_if_the_nonce_was_stale() {
    for (status, challenge_header, auth_header) in
        [(401, "WWW-Authenticate", "Authorization"), (407, "Proxy-Authenticate", "Proxy-Authorization")]
    {
        let mut world = World::scripted();
        let mut request = register(&world);
        request.credentials = Some(account(None));
        request.row = Some(("the-series".into(), 41));
        send_request(&mut world, request);
        let first = world.last_received(B, "REGISTER");
        assert!(first.header_named(auth_header).is_none());
        assert_eq!(first.header(HeaderName::Contact), Some("<sip:trunk@10.0.0.1:5060>"));
        world.peer_sends(
            B,
            A,
            respond(&first, status, "x", &format!("{challenge_header}: {CHALLENGE}\r\n"), b""),
        );
        world.run(ms(50));
        let second = world.last_received(B, "REGISTER");
        assert_eq!((first.call_id(), second.call_id()), ("the-series", "the-series"));
        assert_eq!((first.cseq().number, second.cseq().number), (41, 42));
        let proof = Credentials::parse(second.header_named(auth_header).unwrap()).unwrap();
        assert!(proof.prove("REGISTER", &Ha1::new("trunk", "carrier", "secret")));
        let stale = CHALLENGE.replace("abc", "new") + ", stale=TRUE";
        world.peer_sends(
            B,
            A,
            respond(&second, status, "y", &format!("{challenge_header}: {stale}\r\n"), b""),
        );
        world.run(ms(50));
        let third = world.last_received(B, "REGISTER");
        assert_eq!(Credentials::parse(third.header_named(auth_header).unwrap()).unwrap().nonce, "new");
        world.peer_sends(
            B,
            A,
            respond(&third, status, "z", &format!("{challenge_header}: {stale}\r\n"), b""),
        );
        world.run(ms(50));
        assert_eq!(world.take_events(A), [format!("response Some({status})")]);
        assert_eq!(world.count(B, "REGISTER"), 3);
        world.finish();
    }
}

#[test]
fn a_wrong_password_is_tried_once() {
    let mut world = World::scripted();
    let mut request = register(&world);
    request.credentials = Some(account(Some("carrier")));
    send_request(&mut world, request);
    for _ in 0..2 {
        let asked = world.last_received(B, "REGISTER");
        world.peer_sends(B, A, respond(&asked, 401, "x", &format!("WWW-Authenticate: {CHALLENGE}\r\n"), b""));
        world.run(ms(50));
    }
    assert_eq!(world.take_events(A), ["response Some(401)"]);
    assert_eq!(world.count(B, "REGISTER"), 2);
    world.finish();
}

// security.md row 5
#[test]
fn credentials_are_sent_for_their_realm_only() {
    for credentials in [Some(account(Some("another"))), None] {
        let mut world = World::scripted();
        let mut request = register(&world);
        request.credentials = credentials;
        send_request(&mut world, request);
        let asked = world.last_received(B, "REGISTER");
        world.peer_sends(B, A, respond(&asked, 401, "x", &format!("WWW-Authenticate: {CHALLENGE}\r\n"), b""));
        world.run(ms(50));
        assert_eq!(world.take_events(A), ["response Some(401)"]);
        assert_eq!(world.count(B, "REGISTER"), 1);
        world.finish();
    }
}

#[test]
fn a_request_times_out_after_timer_f_or_its_own_timeout() {
    for (patience, waited) in [(None, 32_000), (Some(secs(4)), 4_000)] {
        let mut world = World::scripted();
        let mut request = register(&world);
        request.patience = patience;
        send_request(&mut world, request); // 50 ms pass
        world.run(ms(waited - 60));
        assert!(world.take_events(A).is_empty(), "too early");
        world.run(ms(20));
        assert_eq!(world.take_events(A), ["response None"]);
        world.finish();
    }
}

#[test]
fn an_unreachable_host_is_reported_at_once() {
    let mut world = World::scripted();
    let request = register(&world);
    let hop = request.target.hop;
    send_request(&mut world, request);
    world.act(A, |ep, now, out| ep.handle(now, Input::Unreachable(hop), out));
    assert_eq!(world.take_events(A), ["response None"]);
    world.finish();
}

#[test]
fn a_dropped_request_reports_nothing() {
    let mut world = World::scripted();
    let mut request = register(&world);
    request.credentials = Some(account(None));
    let id = send_request(&mut world, request);
    world.act(A, |ep, now, _| ep.forget(now, id));
    let asked = world.last_received(B, "REGISTER");
    world.peer_sends(B, A, respond(&asked, 401, "x", &format!("WWW-Authenticate: {CHALLENGE}\r\n"), b""));
    world.run(ms(50));
    assert!(world.take_events(A).is_empty());
    assert_eq!(world.count(B, "REGISTER"), 1);
    world.finish();
}
