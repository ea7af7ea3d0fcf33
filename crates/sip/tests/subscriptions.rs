//! Subscriptions of remote subscribers (RFC 6665): dialog, successive NOTIFYs, refresh, expiry.

use crate::network;

use bytes::Bytes;
use centralita_sip::{Config, HeaderName, Message, SubscriptionId};
use network::*;

const KIND: &str = "application/simple-message-summary";

struct Desk {
    world: World,
    id: SubscriptionId,
}

fn subscribe(branch: &str, cseq: u32, to_tag: &str, expires: u32) -> Vec<u8> {
    let lines = format!("Event: message-summary;id=7\r\nExpires: {expires}\r\n");
    request(&Line { method: "SUBSCRIBE", branch, cseq, to_tag, lines: &lines, body: b"" })
}

fn world() -> World {
    let allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, SUBSCRIBE".into();
    World::with(vec![Config { allow, ..config() }], 1)
}

/// B has a subscription for `expires` seconds and no NOTIFY yet.
fn subscribed(expires: u32) -> Desk {
    let mut world = world();
    world.say(B, A, subscribe("s1", 1, "", expires));
    world.run(ms(15));
    let incoming = world.parties[A].requests.remove(0);
    let time = secs(u64::from(expires));
    let id = world.act(A, |ep, now, out| ep.subscribe(now, &incoming, time, out)).unwrap();
    Desk { world, id }
}

impl Desk {
    fn tell(&mut self, body: &'static str) {
        let id = self.id;
        self.world.act(A, |ep, now, out| ep.notify(now, id, KIND, Bytes::from(body), out));
    }

    /// B responds to the last NOTIFY.
    fn answer(&mut self, status: u16) {
        let notify = self.notifies().pop().unwrap();
        self.world.say(B, A, respond(&notify, status, "", "", b""));
        self.world.run(ms(50));
    }

    fn notifies(&self) -> Vec<Message> {
        let is = |m: &&Message| m.status().is_none() && m.method().as_str() == "NOTIFY";
        self.world.parties[B].inbox.iter().filter(is).cloned().collect()
    }

    fn left(&self) -> usize {
        self.world.parties[A].endpoint.as_ref().unwrap().subscriptions()
    }
}

fn state(notify: &Message) -> &str {
    notify.header(HeaderName::SubscriptionState).unwrap()
}

#[test]
fn a_subscriber_is_confirmed_and_told_within_its_dialog() {
    let mut desk = subscribed(3600);
    desk.tell("Messages-Waiting: no\r\n");
    desk.world.run(ms(50));
    let ok = desk.world.got(B, "200 SUBSCRIBE");
    assert_eq!(
        (ok.header(HeaderName::Expires), ok.header(HeaderName::Contact)),
        (Some("3600"), Some("<sip:1001@10.0.0.1:5060>"))
    );
    let notify = desk.notifies().remove(0); // S72
    assert_eq!(notify.header(HeaderName::Event), Some("message-summary;id=7"));
    assert_eq!(state(&notify), "active;expires=3600");
    assert_eq!((notify.from_tag(), notify.call_id()), (ok.to_tag(), ok.call_id()));
    assert_eq!(notify.to_tag(), ok.from_tag());
    assert_eq!(notify.uri().unwrap().to_string(), "sip:1002@10.0.0.2:5060");
    assert_eq!(&*notify.body(), b"Messages-Waiting: no\r\n");
    assert_eq!(notify.header(HeaderName::ContentType), Some(KIND));
}

#[test]
fn while_a_notify_is_under_way_only_the_newest_state_waits() {
    let mut desk = subscribed(3600);
    desk.tell("one");
    desk.tell("two");
    desk.tell("three");
    desk.world.run(ms(50));
    assert_eq!(desk.notifies().len(), 1);
    desk.answer(200);
    desk.answer(200);
    desk.world.run(secs(1));
    let bodies: Vec<Bytes> = desk.notifies().iter().map(Message::body).collect();
    assert_eq!(bodies, ["one", "three"]);
    assert!(desk.notifies()[1].cseq().number > desk.notifies()[0].cseq().number);
    assert_eq!(desk.left(), 1);
}

#[test]
fn a_repeated_subscribe_gets_the_same_answer_and_no_second_subscription() {
    let mut desk = subscribed(3600);
    desk.world.run(ms(50));
    desk.world.say(B, A, subscribe("s1", 1, "", 3600));
    desk.world.run(ms(50));
    assert_eq!((desk.world.count(B, "200 SUBSCRIBE"), desk.left()), (2, 1));
    assert!(desk.world.parties[A].requests.is_empty());
}

#[test]
fn a_refresh_holds_it_up_and_zero_ends_it_with_a_last_word() {
    let mut desk = subscribed(60);
    desk.world.run(secs(50));
    let tag = desk.world.got(B, "200 SUBSCRIBE").to_tag().to_owned();
    for (cseq, expires) in [(2, 60), (3, 0)] {
        desk.world.say(B, A, subscribe(&format!("s{cseq}"), cseq, &tag, expires));
        desk.world.run(ms(15));
        let again = desk.world.parties[A].requests.remove(0);
        let (id, time) = (desk.id, secs(u64::from(expires)));
        desk.world.act(A, |ep, now, out| ep.renew(now, id, &again, time, out));
        if expires > 0 {
            desk.world.run(secs(50)); // beyond the first minute
        }
        assert_eq!(desk.left(), 1);
    }
    desk.tell("last");
    desk.world.run(ms(50));
    let last = desk.notifies().pop().unwrap();
    assert_eq!((state(&last), &*last.body()), ("terminated;reason=timeout", &b"last"[..]));
    desk.answer(200);
    assert_eq!(desk.left(), 0);
    // The subscription no longer exists: a refresh comes too late.
    desk.world.say(B, A, subscribe("s9", 9, &tag, 60));
    desk.world.run(ms(50));
    assert_eq!(desk.world.count(B, "481 SUBSCRIBE"), 1);
    desk.world.finish();
}

#[test]
fn a_refresh_with_an_older_number_changes_nothing() {
    let mut desk = subscribed(60);
    desk.world.run(ms(50));
    let tag = desk.world.got(B, "200 SUBSCRIBE").to_tag().to_owned();
    desk.world.say(B, A, subscribe("s5", 1, &tag, 3600));
    desk.world.run(ms(15));
    let again = desk.world.parties[A].requests.remove(0);
    let id = desk.id;
    desk.world.act(A, |ep, now, out| ep.renew(now, id, &again, secs(3600), out));
    desk.world.run(ms(50));
    assert_eq!(desk.world.count(B, "500 SUBSCRIBE"), 1);
    desk.world.run(secs(60));
    assert_eq!(desk.left(), 0, "the first minute still counts");
}

#[test]
fn one_that_nobody_renews_runs_out_and_says_so() {
    let mut desk = subscribed(60);
    desk.world.run(secs(61));
    let last = desk.notifies().pop().unwrap();
    assert_eq!(state(&last), "terminated;reason=timeout");
    assert_eq!(desk.world.parties[A].story, ["subscription over"]);
    desk.answer(200);
    desk.world.finish();
}

#[test]
fn a_subscriber_that_forgot_us_or_is_silent_is_let_go() {
    let mut desk = subscribed(3600);
    desk.tell("one");
    desk.world.run(ms(50));
    desk.answer(481);
    assert_eq!(
        (desk.left(), desk.world.parties[A].story.as_slice()),
        (0, &["subscription over".to_owned()][..])
    );

    let mut desk = subscribed(3600);
    desk.tell("one");
    desk.world.run(secs(33)); // Timer F
    assert_eq!(desk.left(), 0);
    desk.world.finish();
}
