//! Message waiting (RFC 3842): phones that subscribed, and phones that only registered.

use std::time::Duration;

use model::{Change, ExtensionId, MessageState};
use sip::{HeaderName, Message};

use crate::a_message_is_left::{message, open};
use crate::office::{Office, Phone};

impl Office {
    /// SUBSCRIBE, challenge and all; everything that the phone hears after that.
    fn subscribe(&mut self, phone: &Phone, uri: &str, lines: &str) -> Vec<Message> {
        let lines = format!("Contact: {}\r\n{lines}", phone.contact());
        let to = format!("<{uri}>");
        let text = self.request(phone, "SUBSCRIBE", uri, &to, &lines);
        self.send_from(phone.address, text);
        let challenge = self.last(phone);
        assert_eq!(challenge.status(), Some(401), "nobody subscribes unproved");
        let proof = self.authorization(phone, &challenge, "SUBSCRIBE", uri);
        let text = self.request(phone, "SUBSCRIBE", uri, &to, &format!("{proof}{lines}"));
        self.send_from(phone.address, text);
        self.heard(phone)
    }

    /// Answer a request that a phone heard.
    fn confirm(&mut self, phone: &Phone, request: &Message, status: u16) {
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
        self.heard(phone)
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

fn told(waiting: &str, count: &str) -> String {
    format!(
        "Messages-Waiting: {waiting}\r\nMessage-Account: sip:phone1002@localhost\r\nVoice-Message: {count} (0/0)\r\n"
    )
}

#[test]
fn a_subscriber_is_told_at_once_and_with_every_change() {
    let mut office = open();
    let phone = office.phone("1002");
    office.change(vec![Change::Message(message("vm_1", MessageState::Heard))]);
    let heard = office.subscribe(&phone, "sip:1002@localhost", EVENT);
    assert_eq!((heard[0].status(), heard[0].header(HeaderName::Expires)), (Some(200), Some("600")));
    assert_eq!(summary(&heard[1]), told("no", "0/1")); // S72, RFC 3842 §5.2
    office.confirm(&phone, &heard[1], 200);
    office.change(vec![Change::Message(message("vm_2", MessageState::New))]);
    let lit = office.notifies(&phone);
    assert_eq!(summary(&lit[0]), told("yes", "1/1"));
    office.confirm(&phone, &lit[0], 200);
    let gone = |id| Change::MessageGone { extension: ExtensionId::parse("ext_1002").unwrap(), id };
    office.change(vec![gone(message("vm_2", MessageState::New).id)]);
    let dark = office.notifies(&phone);
    assert_eq!(summary(&dark[0]), told("no", "0/1"));
    office.confirm(&phone, &dark[0], 200);
    office.pass(Duration::from_secs(600));
    let last = office.notifies(&phone);
    assert_eq!(last[0].header(HeaderName::SubscriptionState), Some("terminated;reason=timeout"));
    office.confirm(&phone, &last[0], 200);
    office.change(vec![Change::Message(message("vm_3", MessageState::New))]);
    assert_eq!(office.summary(&phone), "", "nobody asks any more, and no phone is registered");
}

#[test]
fn only_ones_own_mailbox_and_only_this_package() {
    let mut office = open();
    let phone = office.phone("1002");
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
        let heard = office.subscribe(&phone, uri, lines);
        assert_eq!(heard[0].status(), Some(status), "{uri} {lines}");
        if status == 489 {
            assert_eq!(heard[0].header(HeaderName::AllowEvents), Some("message-summary"));
        }
        if lines.contains("99999") {
            assert_eq!(heard[0].header(HeaderName::Expires), Some("3600")); // security.md row 14
        }
    }
}

#[test]
fn a_hundred_subscriptions_of_one_account_and_no_more() {
    let mut office = open();
    let statuses: Vec<_> = (0..101)
        .map(|n| {
            let phone = office.phone("1002").at(&format!("10.0.1.{n}:5060"));
            office.subscribe(&phone, "sip:1002@localhost", EVENT)[0].status().unwrap()
        })
        .collect();
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 100); // security.md row 14
    assert_eq!(statuses[100], 503);
}

#[test]
fn no_subscription_lasts_longer_than_an_hour() {
    let mut office = open();
    let phone = office.phone("1002");
    for asked in ["Expires: 86400", "Expires: 4294967295", "X-Without: Expires"] {
        let lines = format!("Event: message-summary\r\n{asked}\r\n");
        let answer = office.subscribe(&phone, "sip:1002@localhost", &lines).remove(0);
        assert_eq!(
            (answer.status(), answer.header(HeaderName::Expires)),
            (Some(200), Some("3600")),
            "{asked}"
        ); // security.md row 14
    }
}

#[test]
fn a_phone_that_only_registered_is_told_unasked_until_it_refuses() {
    let mut office = open();
    let phone = office.phone("1002");
    office.register(&phone);
    assert_eq!(office.summary(&phone), "", "a lamp is dark by itself");
    office.change(vec![Change::Message(message("vm_1", MessageState::New))]);
    let lit = office.notifies(&phone);
    assert_eq!((lit.len(), summary(&lit[0])), (1, told("yes", "1/0")));
    assert_eq!(lit[0].uri().unwrap().to_string(), "sip:phone1002@10.0.0.12:5060");
    assert_eq!(lit[0].header(HeaderName::Event), Some("message-summary"));
    assert_eq!(lit[0].to_tag(), "");
    office.confirm(&phone, &lit[0], 200);
    office.register(&phone);
    assert_eq!(office.notifies(&phone).len(), 0, "a refresh is no news");
    office.change(vec![Change::Message(message("vm_1", MessageState::Heard))]);
    let dark = office.notifies(&phone);
    assert_eq!(summary(&dark[0]), told("no", "0/1"));
    office.confirm(&phone, &dark[0], 489);
    office.change(vec![Change::Message(message("vm_2", MessageState::New))]);
    assert_eq!(office.notifies(&phone).len(), 0, "it has said that it does not want to hear this");
    office.is_at_rest();
}

#[test]
fn a_phone_that_registers_while_messages_wait_is_told() {
    let mut office = open();
    let phone = office.phone("1002");
    office.change(vec![Change::Message(message("vm_1", MessageState::New))]);
    let answer = {
        let lines = format!("Contact: {}\r\nExpires: 3600\r\n", phone.contact());
        let to = format!("<sip:{}@localhost>", phone.user);
        let text = office.request(&phone, "REGISTER", "sip:localhost", &to, &lines);
        office.send_from(phone.address, text);
        let challenge = office.last(&phone);
        let proof = office.authorization(&phone, &challenge, "REGISTER", "sip:localhost");
        let text = office.request(&phone, "REGISTER", "sip:localhost", &to, &format!("{proof}{lines}"));
        office.send_from(phone.address, text);
        office.heard(&phone)
    };
    assert_eq!(answer[0].status(), Some(200), "first the answer");
    assert_eq!(summary(&answer[1]), told("yes", "1/0"));
    office.confirm(&phone, &answer[1], 200);
    // Once it has subscribed nobody tells it unasked.
    let heard = office.subscribe(&phone, "sip:1002@localhost", EVENT);
    office.confirm(&phone, &heard[1], 200);
    office.change(vec![Change::Message(message("vm_2", MessageState::New))]);
    let told = office.notifies(&phone);
    assert_eq!(told.len(), 1);
    assert_ne!(told[0].to_tag(), "", "within the dialog");
}
