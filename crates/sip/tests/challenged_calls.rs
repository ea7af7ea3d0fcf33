//! Challenged calls: credentials are sent only to the trunk that they were given for, and only once (security.md row 5).

use crate::network;

use base::Secret;
use centralita_sip::digest::{Account, Credentials, Ha1};
use centralita_sip::{HeaderName, SessionId};
use network::*;

fn trunk_call(world: &mut World, known: bool) -> SessionId {
    let mut connect = world.invite_params(A, B);
    connect.credentials = known.then(|| account(None));
    let session = world.act(A, |ep, now, out| ep.connect(now, connect, out)).unwrap();
    world.run(ms(50));
    session
}

fn account(realm: Option<&str>) -> Account {
    Account { user: "trunk".into(), password: Secret::new("secret".into()), realm: realm.map(str::to_owned) }
}

const CHALLENGE: &str = "Digest realm=\"carrier\", nonce=\"abc\", qop=\"auth\", algorithm=MD5";

#[test]
fn a_challenge_is_answered_once_with_a_new_branch_and_cseq() {
    for (status, challenge_header, auth_header) in
        [(401, "WWW-Authenticate", "Authorization"), (407, "Proxy-Authenticate", "Proxy-Authorization")]
    {
        let mut world = World::scripted();
        trunk_call(&mut world, true);
        let first = world.last_received(B, "INVITE");
        world.peer_sends(
            B,
            A,
            respond(&first, status, "x", &format!("{challenge_header}: {CHALLENGE}\r\n"), b""),
        );
        world.run(ms(50));
        let second = world.last_received(B, "INVITE");
        assert_eq!(second.call_id(), first.call_id());
        assert_eq!(second.from_tag(), first.from_tag());
        assert_eq!(second.cseq().number, first.cseq().number + 1);
        assert_ne!(second.via().branch, first.via().branch);
        assert_eq!(world.count(B, "ACK"), 1);
        let value = second.header_named(auth_header).unwrap();
        let credentials = Credentials::parse(value).unwrap();
        assert!(credentials.prove("INVITE", &Ha1::new("trunk", "carrier", "secret")));
        world.peer_sends(
            B,
            A,
            respond(&second, status, "y", &format!("{challenge_header}: {CHALLENGE}\r\n"), b""),
        );
        world.run(ms(50));
        assert_eq!(world.take_events(A), [format!("ended: refused {status}")]);
        assert_eq!(world.count(B, "INVITE"), 2);
        world.finish();
    }
}

#[test]
fn a_challenge_from_a_phone_is_not_answered() {
    let mut world = World::scripted();
    trunk_call(&mut world, false);
    let invite = world.last_received(B, "INVITE");
    world.peer_sends(B, A, respond(&invite, 407, "x", &format!("Proxy-Authenticate: {CHALLENGE}\r\n"), b""));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["ended: refused 407"]);
    assert_eq!(world.count(B, "INVITE"), 1);
    world.finish();
}

#[test]
fn a_challenge_of_another_realm_than_the_trunks_is_not_answered() {
    for (pinned, invites) in [("carrier", 2), ("another", 1)] {
        let mut world = World::scripted();
        let mut connect = world.invite_params(A, B);
        connect.credentials = Some(account(Some(pinned)));
        world.act(A, |ep, now, out| ep.connect(now, connect, out)).unwrap();
        world.run(ms(50));
        let first = world.last_received(B, "INVITE");
        world.peer_sends(B, A, respond(&first, 401, "x", &format!("WWW-Authenticate: {CHALLENGE}\r\n"), b""));
        world.run(ms(50));
        assert_eq!(world.count(B, "INVITE"), invites, "pinned to {pinned}");
        if invites == 2 {
            let second = world.last_received(B, "INVITE");
            world.peer_sends(B, A, respond(&second, 486, "y", "", b""));
        }
        world.finish();
    }
}

#[test]
fn the_ack_repeats_the_credentials_and_a_challenged_bye_is_answered() {
    let mut world = World::scripted();
    let session = trunk_call(&mut world, true);
    world.peer_sends(
        B,
        A,
        respond(
            &world.last_received(B, "INVITE"),
            401,
            "x",
            &format!("WWW-Authenticate: {CHALLENGE}\r\n"),
            b"",
        ),
    );
    world.run(ms(50));
    let invite = world.last_received(B, "INVITE");
    world.peer_sends(B, A, respond(&invite, 200, "y", "Contact: <sip:t@10.0.0.2>\r\n", ANSWER));
    world.run(ms(50));
    let ack = world.last_received(B, "ACK");
    assert_eq!(ack.header(HeaderName::Authorization), invite.header(HeaderName::Authorization)); // RFC 3261 §13.2.2.4
    world.hangup(A, session, 0);
    world.run(ms(50));
    let bye = world.last_received(B, "BYE");
    world.peer_sends(B, A, respond(&bye, 401, "", &format!("WWW-Authenticate: {CHALLENGE}\r\n"), b""));
    world.run(ms(50));
    let again = world.last_received(B, "BYE");
    assert!(again.cseq().number > bye.cseq().number);
    let credentials = Credentials::parse(again.header(HeaderName::Authorization).unwrap()).unwrap();
    assert!(credentials.prove("BYE", &Ha1::new("trunk", "carrier", "secret")));
    world.peer_sends(B, A, respond(&again, 200, "", "", b""));
    world.run(ms(50));
    assert_eq!(world.take_events(A).last().unwrap(), "ended: local");
    world.finish();
}
