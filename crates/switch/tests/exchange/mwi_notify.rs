//! Message waiting indication (RFC 3842), for phones that subscribed and for phones that only registered.

use std::time::Duration;

use model::{Change, ExtensionId, MessageState};
use sip::{HeaderName, Message};

use crate::test_switch::{Phone, TestSwitch};
use crate::voicemail::{message, open};

impl TestSwitch {
    /// SUBSCRIBE with authentication. Returns the messages that follow.
    fn subscribe(&mut self, phone: &Phone, uri: &str, lines: &str) -> Vec<Message> {
        let lines = format!("Contact: {}\r\n{lines}", phone.contact());
        let to = format!("<{uri}>");
        let text = self.request(phone, "SUBSCRIBE", uri, &to, &lines);
        self.send_from(phone.address, text);
        let challenge = self.last(phone);
        assert_eq!(challenge.status(), Some(401), "SUBSCRIBE is challenged");
        let authorization = self.authorization(phone, &challenge, "SUBSCRIBE", uri);
        let text = self.request(phone, "SUBSCRIBE", uri, &to, &format!("{authorization}{lines}"));
        self.send_from(phone.address, text);
        self.received(phone)
    }

    /// Respond to a request that a phone received.
    fn respond_to_notify(&mut self, phone: &Phone, request: &Message, status: u16) {
        let header = |name| request.header(name).unwrap();
        let text = format!(
            "SIP/2.0 {status} X\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=p\r\nCall-ID: {}\r\nCSeq: {}\r\nContent-Length: 0\r\n\r\n",
            header(HeaderName::Via),
            header(HeaderName::From),
            header(HeaderName::To).split(";tag").next().unwrap(),
            header(HeaderName::CallId),
            header(HeaderName::CSeq)
        );
        self.send_from(phone.address, text);
    }

    fn notifies(&mut self, phone: &Phone) -> Vec<Message> {
        self.received(phone)
            .into_iter()
            .filter(|m| m.method().as_str() == "NOTIFY" && m.status().is_none())
            .collect()
    }
}

const EVENT: &str =
    "Event: message-summary\r\nAccept: application/simple-message-summary\r\nExpires: 600\r\n";

fn summary(notify: &Message) -> String {
    assert_eq!(notify.header(HeaderName::ContentType), Some("application/simple-message-summary"));
    String::from_utf8(notify.body().to_vec()).unwrap()
}

fn expected_body(waiting: &str, count: &str) -> String {
    format!(
        "Messages-Waiting: {waiting}\r\nMessage-Account: sip:phone1002@localhost\r\nVoice-Message: {count} (0/0)\r\n"
    )
}

#[test]
fn a_subscriber_gets_a_notify_at_once_and_with_every_change() {
    let mut pbx = open();
    let phone = pbx.phone("1002");
    pbx.change(vec![Change::Message(message("vm_1", MessageState::Heard))]);
    let received = pbx.subscribe(&phone, "sip:1002@localhost", EVENT);
    assert_eq!((received[0].status(), received[0].header(HeaderName::Expires)), (Some(200), Some("600")));
    assert_eq!(summary(&received[1]), expected_body("no", "0/1")); // S72, RFC 3842 §5.2
    pbx.respond_to_notify(&phone, &received[1], 200);
    pbx.change(vec![Change::Message(message("vm_2", MessageState::New))]);
    let waiting_notify = pbx.notifies(&phone);
    assert_eq!(summary(&waiting_notify[0]), expected_body("yes", "1/1"));
    pbx.respond_to_notify(&phone, &waiting_notify[0], 200);
    let gone = |id| Change::MessageGone { extension: ExtensionId::parse("ext_1002").unwrap(), id };
    pbx.change(vec![gone(message("vm_2", MessageState::New).id)]);
    let cleared_notify = pbx.notifies(&phone);
    assert_eq!(summary(&cleared_notify[0]), expected_body("no", "0/1"));
    pbx.respond_to_notify(&phone, &cleared_notify[0], 200);
    pbx.advance(Duration::from_secs(600));
    let last = pbx.notifies(&phone);
    assert_eq!(last[0].header(HeaderName::SubscriptionState), Some("terminated;reason=timeout"));
    pbx.respond_to_notify(&phone, &last[0], 200);
    pbx.change(vec![Change::Message(message("vm_3", MessageState::New))]);
    assert_eq!(pbx.summary(&phone), "", "neither a subscription nor a binding");
}

#[test]
fn only_the_own_mailbox_and_only_message_summary_can_be_subscribed() {
    let mut pbx = open();
    let phone = pbx.phone("1002");
    for (uri, lines, status) in [
        ("sip:1001@localhost", EVENT, 403),
        ("sip:1002@elsewhere.example", EVENT, 403),
        ("sip:1002@localhost", "Event: presence\r\n", 489),
        ("sip:1002@localhost", "", 489),
        ("sip:1002@localhost", "Event: message-summary\r\nAccept: text/plain\r\n", 406),
        ("sip:1002@localhost", "Event: message-summary\r\nExpires: 5\r\n", 423),
        ("sip:*97@localhost", EVENT, 200),
        ("sip:phone1002@localhost", "Event: message-summary\r\nExpires: 99999\r\n", 200),
    ] {
        let received = pbx.subscribe(&phone, uri, lines);
        assert_eq!(received[0].status(), Some(status), "{uri} {lines}");
        if status == 489 {
            assert_eq!(received[0].header(HeaderName::AllowEvents), Some("message-summary"));
        }
        if lines.contains("99999") {
            assert_eq!(received[0].header(HeaderName::Expires), Some("3600")); // security.md row 14
        }
    }
}

#[test]
fn a_hundred_subscriptions_of_one_account_and_no_more() {
    let mut pbx = open();
    let statuses: Vec<_> = (0..101)
        .map(|n| {
            let phone = pbx.phone("1002").at(&format!("10.0.1.{n}:5060"));
            pbx.subscribe(&phone, "sip:1002@localhost", EVENT)[0].status().unwrap()
        })
        .collect();
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 100); // security.md row 14
    assert_eq!(statuses[100], 503);
}

#[test]
fn no_subscription_lasts_longer_than_an_hour() {
    let mut pbx = open();
    let phone = pbx.phone("1002");
    for asked in ["Expires: 86400", "Expires: 4294967295", "X-Without: Expires"] {
        let lines = format!("Event: message-summary\r\n{asked}\r\n");
        let answer = pbx.subscribe(&phone, "sip:1002@localhost", &lines).remove(0);
        assert_eq!(
            (answer.status(), answer.header(HeaderName::Expires)),
            (Some(200), Some("3600")),
            "{asked}"
        ); // security.md row 14
    }
}

#[test]
fn a_registered_phone_gets_unsolicited_notifies_until_it_rejects_one() {
    let mut pbx = open();
    let phone = pbx.phone("1002");
    pbx.register(&phone);
    assert_eq!(pbx.summary(&phone), "", "no NOTIFY without messages");
    pbx.change(vec![Change::Message(message("vm_1", MessageState::New))]);
    let waiting_notify = pbx.notifies(&phone);
    assert_eq!((waiting_notify.len(), summary(&waiting_notify[0])), (1, expected_body("yes", "1/0")));
    assert_eq!(waiting_notify[0].uri().unwrap().to_string(), "sip:phone1002@10.0.0.12:5060");
    assert_eq!(waiting_notify[0].header(HeaderName::Event), Some("message-summary"));
    assert_eq!(waiting_notify[0].to_tag(), "");
    pbx.respond_to_notify(&phone, &waiting_notify[0], 200);
    pbx.register(&phone);
    assert_eq!(pbx.notifies(&phone).len(), 0, "a refresh is no news");
    pbx.change(vec![Change::Message(message("vm_1", MessageState::Heard))]);
    let cleared_notify = pbx.notifies(&phone);
    assert_eq!(summary(&cleared_notify[0]), expected_body("no", "0/1"));
    pbx.respond_to_notify(&phone, &cleared_notify[0], 489);
    pbx.change(vec![Change::Message(message("vm_2", MessageState::New))]);
    assert_eq!(pbx.notifies(&phone).len(), 0, "no NOTIFY after a 489");
    pbx.assert_idle();
}

#[test]
fn a_phone_that_registers_with_messages_waiting_gets_a_notify() {
    let mut pbx = open();
    let phone = pbx.phone("1002");
    pbx.change(vec![Change::Message(message("vm_1", MessageState::New))]);
    let answer = {
        let lines = format!("Contact: {}\r\nExpires: 3600\r\n", phone.contact());
        let to = format!("<sip:{}@localhost>", phone.user);
        let text = pbx.request(&phone, "REGISTER", "sip:localhost", &to, &lines);
        pbx.send_from(phone.address, text);
        let challenge = pbx.last(&phone);
        let authorization = pbx.authorization(&phone, &challenge, "REGISTER", "sip:localhost");
        let text = pbx.request(&phone, "REGISTER", "sip:localhost", &to, &format!("{authorization}{lines}"));
        pbx.send_from(phone.address, text);
        pbx.received(&phone)
    };
    assert_eq!(answer[0].status(), Some(200), "first the answer");
    assert_eq!(summary(&answer[1]), expected_body("yes", "1/0"));
    pbx.respond_to_notify(&phone, &answer[1], 200);
    // After SUBSCRIBE there are no unsolicited notifies.
    let received = pbx.subscribe(&phone, "sip:1002@localhost", EVENT);
    pbx.respond_to_notify(&phone, &received[1], 200);
    pbx.change(vec![Change::Message(message("vm_2", MessageState::New))]);
    let notifies = pbx.notifies(&phone);
    assert_eq!(notifies.len(), 1);
    assert_ne!(notifies[0].to_tag(), "", "within the dialog");
}
