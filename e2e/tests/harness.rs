//! Tests of the harness itself: two phones without a server are measured correctly, so that later results are due to the server.

use std::net::UdpSocket;
use std::time::Duration;

use e2e::{Account, Answering, Block, Nat, Phone, Transport, soon};

/// An account whose server is the other phone: it rejects the registration and accepts calls.
fn directly(name: &str, peer: u16, answering: Answering) -> Account {
    Account {
        username: name.to_owned(),
        password: "unused".to_owned(),
        domain: "localhost".to_owned(),
        server: ([127, 0, 0, 1], peer).into(),
        transport: Transport::Udp,
        answering,
        codec: "PCMU",
    }
}

#[test]
fn two_phones_hear_each_others_tone_until_one_holds() {
    let mut one = Phone::start("one", 440);
    let mut two = Phone::start("two", 1000);
    let (first, second) = (one.port(), two.port());
    one.account(&directly("one", second, Answering::OnCommand));
    two.account(&directly("two", first, Answering::AtOnce));
    two.expect("REGISTER_FAIL");
    one.dial(&format!("sip:two@127.0.0.1:{second}"));
    one.expect("CALL_ESTABLISHED");
    two.expect("CALL_ESTABLISHED");
    one.hears(1000);
    two.hears(440);
    one.hold();
    two.hears_nothing();
    two.hang_up();
    one.expect("CALL_CLOSED");
}

#[test]
fn two_blocks_never_share_a_port() {
    let (one, two) = (Block::take(), Block::take());
    assert!(one.port(0).abs_diff(two.port(0)) >= 200);
}

#[test]
fn the_nat_router_hides_the_phones_address_and_returns_responses() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let nat = Nat::start(server.local_addr().unwrap());
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let own = phone.local_addr().unwrap();
    phone
        .send_to(format!("REGISTER sip:x SIP/2.0\r\nContact: <sip:a@{own}>\r\n\r\n").as_bytes(), nat.inner())
        .unwrap();
    let mut buffer = [0_u8; 2048];
    let (count, seen) = server.recv_from(&mut buffer).unwrap();
    let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
    assert_ne!(seen, own);
    assert!(text.contains(&format!("sip:a@127.9.9.9:{}", own.port())), "{text}");
    let back = format!("INVITE sip:a@127.9.9.9:{} SIP/2.0\r\n\r\nm=audio 20000 RTP/AVP 0\r\n", own.port());
    server.send_to(back.as_bytes(), seen).unwrap();
    let (count, _) = phone.recv_from(&mut buffer).unwrap();
    let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
    assert!(text.contains(&format!("sip:a@{own}")) && !text.contains("m=audio 20000 "), "{text}");
    soon("the box has counted", || (nat.signalling_in() == 1).then_some(()));
}
