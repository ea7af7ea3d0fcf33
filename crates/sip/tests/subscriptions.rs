//! Subscriptions of remote subscribers (RFC 6665): dialog, successive NOTIFYs, refresh, expiry.

use crate::network;

use bytes::Bytes;
use centralita_sip::{Config, HeaderName, Message, SubscriptionId};
use network::*;

const KIND: &str = "application/simple-message-summary";

struct TestSubscriber {
    world: World,
    id: SubscriptionId,
}

fn subscribe(branch: &str, cseq: u32, to_tag: &str, expires: u32) -> Vec<u8> {
    let lines = format!("Event: message-summary;id=7\r\nExpires: {expires}\r\n");
    request(&PeerRequest { method: "SUBSCRIBE", branch, cseq, to_tag, lines: &lines, body: b"" })
}

fn world() -> World {
    let allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, SUBSCRIBE".into();
    World::with(vec![Config { allow, ..config() }], 1)
}

/// B has a subscription for `expires` seconds and no NOTIFY yet.
fn subscribed(expires: u32) -> TestSubscriber {
    let mut world = world();
    world.peer_sends(B, A, subscribe("s1", 1, "", expires));
    world.run(ms(15));
    let incoming = world.parties[A].requests.remove(0);
    let time = secs(u64::from(expires));
    let id = world.act(A, |ep, now, out| ep.subscribe(now, &incoming, time, out)).unwrap();
    TestSubscriber { world, id }
}

impl TestSubscriber {
    fn notify(&mut self, body: &'static str) {
        let id = self.id;
        self.world.act(A, |ep, now, out| ep.notify(now, id, KIND, Bytes::from(body), out));
    }

    /// B responds to the last NOTIFY.
    fn respond_to_notify(&mut self, status: u16) {
        let notify = self.notifies().pop().unwrap();
        self.world.peer_sends(B, A, respond(&notify, status, "", "", b""));
        self.world.run(ms(50));
    }

    fn notifies(&self) -> Vec<Message> {
        let is = |m: &&Message| m.status().is_none() && m.method().as_str() == "NOTIFY";
        self.world.parties[B].inbox.iter().filter(is).cloned().collect()
    }

    fn subscription_count(&self) -> usize {
        self.world.parties[A].endpoint.as_ref().unwrap().subscriptions()
    }
}

fn state(notify: &Message) -> &str {
    notify.header(HeaderName::SubscriptionState).unwrap()
}

#[test]
fn a_subscriber_gets_200_and_notify_in_one_dialog() {
    let mut subscriber = subscribed(3600);
    subscriber.notify("Messages-Waiting: no\r\n");
    subscriber.world.run(ms(50));
    let ok = subscriber.world.last_received(B, "200 SUBSCRIBE");
    assert_eq!(
        (ok.header(HeaderName::Expires), ok.header(HeaderName::Contact)),
        (Some("3600"), Some("<sip:1001@10.0.0.1:5060>"))
    );
    let notify = subscriber.notifies().remove(0); // S72
    assert_eq!(notify.header(HeaderName::Event), Some("message-summary;id=7"));
    assert_eq!(state(&notify), "active;expires=3600");
    assert_eq!((notify.from_tag(), notify.call_id()), (ok.to_tag(), ok.call_id()));
    assert_eq!(notify.to_tag(), ok.from_tag());
    assert_eq!(notify.uri().unwrap().to_string(), "sip:1002@10.0.0.2:5060");
    assert_eq!(&*notify.body(), b"Messages-Waiting: no\r\n");
    assert_eq!(notify.header(HeaderName::ContentType), Some(KIND));
}

#[test]
fn while_a_notify_is_pending_only_the_newest_state_waits() {
    let mut subscriber = subscribed(3600);
    subscriber.notify("one");
    subscriber.notify("two");
    subscriber.notify("three");
    subscriber.world.run(ms(50));
    assert_eq!(subscriber.notifies().len(), 1);
    subscriber.respond_to_notify(200);
    subscriber.respond_to_notify(200);
    subscriber.world.run(secs(1));
    let bodies: Vec<Bytes> = subscriber.notifies().iter().map(Message::body).collect();
    assert_eq!(bodies, ["one", "three"]);
    assert!(subscriber.notifies()[1].cseq().number > subscriber.notifies()[0].cseq().number);
    assert_eq!(subscriber.subscription_count(), 1);
}

#[test]
fn a_retransmitted_subscribe_gets_the_same_response_and_no_second_subscription() {
    let mut subscriber = subscribed(3600);
    subscriber.world.run(ms(50));
    subscriber.world.peer_sends(B, A, subscribe("s1", 1, "", 3600));
    subscriber.world.run(ms(50));
    assert_eq!((subscriber.world.count(B, "200 SUBSCRIBE"), subscriber.subscription_count()), (2, 1));
    assert!(subscriber.world.parties[A].requests.is_empty());
}

#[test]
fn a_refresh_extends_and_expires_zero_ends_with_a_last_notify() {
    let mut subscriber = subscribed(60);
    subscriber.world.run(secs(50));
    let tag = subscriber.world.last_received(B, "200 SUBSCRIBE").to_tag().to_owned();
    for (cseq, expires) in [(2, 60), (3, 0)] {
        subscriber.world.peer_sends(B, A, subscribe(&format!("s{cseq}"), cseq, &tag, expires));
        subscriber.world.run(ms(15));
        let refresh = subscriber.world.parties[A].requests.remove(0);
        let (id, time) = (subscriber.id, secs(u64::from(expires)));
        subscriber.world.act(A, |ep, now, out| ep.renew(now, id, &refresh, time, out));
        if expires > 0 {
            subscriber.world.run(secs(50)); // beyond the first minute
        }
        assert_eq!(subscriber.subscription_count(), 1);
    }
    subscriber.notify("last");
    subscriber.world.run(ms(50));
    let last = subscriber.notifies().pop().unwrap();
    assert_eq!((state(&last), &*last.body()), ("terminated;reason=timeout", &b"last"[..]));
    subscriber.respond_to_notify(200);
    assert_eq!(subscriber.subscription_count(), 0);
    // The subscription no longer exists: a refresh comes too late.
    subscriber.world.peer_sends(B, A, subscribe("s9", 9, &tag, 60));
    subscriber.world.run(ms(50));
    assert_eq!(subscriber.world.count(B, "481 SUBSCRIBE"), 1);
    subscriber.world.finish();
}

#[test]
fn a_refresh_with_an_older_number_changes_nothing() {
    let mut subscriber = subscribed(60);
    subscriber.world.run(ms(50));
    let tag = subscriber.world.last_received(B, "200 SUBSCRIBE").to_tag().to_owned();
    subscriber.world.peer_sends(B, A, subscribe("s5", 1, &tag, 3600));
    subscriber.world.run(ms(15));
    let refresh = subscriber.world.parties[A].requests.remove(0);
    let id = subscriber.id;
    subscriber.world.act(A, |ep, now, out| ep.renew(now, id, &refresh, secs(3600), out));
    subscriber.world.run(ms(50));
    assert_eq!(subscriber.world.count(B, "500 SUBSCRIBE"), 1);
    subscriber.world.run(secs(60));
    assert_eq!(subscriber.subscription_count(), 0, "the first minute still counts");
}

#[test]
fn a_subscription_without_refresh_expires_with_a_notify() {
    let mut subscriber = subscribed(60);
    subscriber.world.run(secs(61));
    let last = subscriber.notifies().pop().unwrap();
    assert_eq!(state(&last), "terminated;reason=timeout");
    assert_eq!(subscriber.world.parties[A].events, ["subscription ended"]);
    subscriber.respond_to_notify(200);
    subscriber.world.finish();
}

#[test]
fn a_subscriber_that_rejects_or_ignores_notify_is_removed() {
    let mut subscriber = subscribed(3600);
    subscriber.notify("one");
    subscriber.world.run(ms(50));
    subscriber.respond_to_notify(481);
    assert_eq!(
        (subscriber.subscription_count(), subscriber.world.parties[A].events.as_slice()),
        (0, &["subscription ended".to_owned()][..])
    );

    let mut subscriber = subscribed(3600);
    subscriber.notify("one");
    subscriber.world.run(secs(33)); // Timer F
    assert_eq!(subscriber.subscription_count(), 0);
    subscriber.world.finish();
}
