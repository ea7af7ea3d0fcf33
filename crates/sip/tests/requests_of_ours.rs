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

fn ask(world: &mut World, request: Request) -> RequestId {
    let id = world.act(A, |ep, now, out| ep.request(now, request, out));
    world.run(ms(50));
    id
}

#[test]
fn a_request_says_what_it_was_given_and_its_answer_comes_back() {
    let mut world = World::scripted();
    let mut request = register(&world);
    request.method = Method::Message;
    request.contact_user = None;
    request.body = Some(("text/plain".into(), "hola".into()));
    ask(&mut world, request);
    let message = world.got(B, "MESSAGE");
    assert_eq!(message.uri().unwrap().as_str(), "sip:10.0.0.2:5060");
    assert_eq!(&message.body()[..], b"hola");
    assert_eq!(message.header(HeaderName::Contact), None);
    world.say(B, A, respond(&message, 100, "", "", b""));
    world.run(ms(50));
    assert!(world.story(A).is_empty(), "a provisional answer is no outcome");
    world.say(B, A, respond(&message, 202, "x", "", b""));
    world.say(B, A, respond(&message, 202, "x", "", b""));
    world.run(ms(50));
    assert_eq!(world.story(A), ["response Some(202)"]);
    world.finish();
}

#[test]
fn a_challenge_is_answered_once_and_again_only_where_the_nonce_was_stale() {
    for (status, ask_by, say) in
        [(401, "WWW-Authenticate", "Authorization"), (407, "Proxy-Authenticate", "Proxy-Authorization")]
    {
        let mut world = World::scripted();
        let mut request = register(&world);
        request.credentials = Some(account(None));
        request.row = Some(("the-row".into(), 41));
        ask(&mut world, request);
        let first = world.got(B, "REGISTER");
        assert!(first.header_named(say).is_none());
        assert_eq!(first.header(HeaderName::Contact), Some("<sip:trunk@10.0.0.1:5060>"));
        world.say(B, A, respond(&first, status, "x", &format!("{ask_by}: {CHALLENGE}\r\n"), b""));
        world.run(ms(50));
        let second = world.got(B, "REGISTER");
        assert_eq!((first.call_id(), second.call_id()), ("the-row", "the-row"));
        assert_eq!((first.cseq().number, second.cseq().number), (41, 42));
        let proof = Credentials::parse(second.header_named(say).unwrap()).unwrap();
        assert!(proof.prove("REGISTER", &Ha1::new("trunk", "carrier", "secret")));
        let stale = CHALLENGE.replace("abc", "new") + ", stale=TRUE";
        world.say(B, A, respond(&second, status, "y", &format!("{ask_by}: {stale}\r\n"), b""));
        world.run(ms(50));
        let third = world.got(B, "REGISTER");
        assert_eq!(Credentials::parse(third.header_named(say).unwrap()).unwrap().nonce, "new");
        world.say(B, A, respond(&third, status, "z", &format!("{ask_by}: {stale}\r\n"), b""));
        world.run(ms(50));
        assert_eq!(world.story(A), [format!("response Some({status})")]);
        assert_eq!(world.count(B, "REGISTER"), 3);
        world.finish();
    }
}

#[test]
fn a_wrong_password_is_tried_once() {
    let mut world = World::scripted();
    let mut request = register(&world);
    request.credentials = Some(account(Some("carrier")));
    ask(&mut world, request);
    for _ in 0..2 {
        let asked = world.got(B, "REGISTER");
        world.say(B, A, respond(&asked, 401, "x", &format!("WWW-Authenticate: {CHALLENGE}\r\n"), b""));
        world.run(ms(50));
    }
    assert_eq!(world.story(A), ["response Some(401)"]);
    assert_eq!(world.count(B, "REGISTER"), 2);
    world.finish();
}

// security.md row 5
#[test]
fn credentials_stay_with_the_realm_they_are_pinned_to_and_a_bare_request_has_none() {
    for credentials in [Some(account(Some("another"))), None] {
        let mut world = World::scripted();
        let mut request = register(&world);
        request.credentials = credentials;
        ask(&mut world, request);
        let asked = world.got(B, "REGISTER");
        world.say(B, A, respond(&asked, 401, "x", &format!("WWW-Authenticate: {CHALLENGE}\r\n"), b""));
        world.run(ms(50));
        assert_eq!(world.story(A), ["response Some(401)"]);
        assert_eq!(world.count(B, "REGISTER"), 1);
        world.finish();
    }
}

#[test]
fn silence_ends_with_timer_f_or_with_the_patience_of_who_asked() {
    for (patience, waited) in [(None, 32_000), (Some(secs(4)), 4_000)] {
        let mut world = World::scripted();
        let mut request = register(&world);
        request.patience = patience;
        ask(&mut world, request); // 50 ms pass
        world.run(ms(waited - 60));
        assert!(world.story(A).is_empty(), "too early");
        world.run(ms(20));
        assert_eq!(world.story(A), ["response None"]);
        world.finish();
    }
}

#[test]
fn a_host_that_cannot_be_reached_is_told_at_once() {
    let mut world = World::scripted();
    let request = register(&world);
    let hop = request.target.hop;
    ask(&mut world, request);
    world.act(A, |ep, now, out| ep.handle(now, Input::Unreachable(hop), out));
    assert_eq!(world.story(A), ["response None"]);
    world.finish();
}

#[test]
fn a_request_that_was_forgotten_tells_nothing() {
    let mut world = World::scripted();
    let mut request = register(&world);
    request.credentials = Some(account(None));
    let id = ask(&mut world, request);
    world.act(A, |ep, now, _| ep.forget(now, id));
    let asked = world.got(B, "REGISTER");
    world.say(B, A, respond(&asked, 401, "x", &format!("WWW-Authenticate: {CHALLENGE}\r\n"), b""));
    world.run(ms(50));
    assert!(world.story(A).is_empty());
    assert_eq!(world.count(B, "REGISTER"), 1);
    world.finish();
}
