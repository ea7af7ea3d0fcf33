//! Simulated carriers: hosts that answer OPTIONS by themselves and everything else as the test says.

use std::net::SocketAddr;
use std::time::Duration;

use base::{Rng, Secret, Timestamp};
use model::{
    Change, DialledNumber, Did, ExtensionNumber, SealKey, SealedSecret, Source, Trunk, TrunkHost, TrunkId,
    TrunkSettings, TrunkTransport,
};
use sip::{HeaderName, Message};

use super::dialog::TestDialog;
use super::{Phone, TestSwitch};

/// The n-th carrier host.
pub fn carrier(n: u8) -> Phone {
    let address = SocketAddr::new([10, 9, 0, n].into(), 5060);
    let login = format!("carrier{n}");
    Phone { address, user: login.clone(), login, password: String::new() }
}

pub fn host(name: &str) -> TrunkHost {
    TrunkHost {
        host: name.into(),
        port: Some(5060),
        transport: TrunkTransport::Udp,
        priority: 10,
        weight: 10,
    }
}

/// A trunk to carrier hosts, in this order of priority, with the caller number `+34910000000`.
pub fn trunk(name: &str, carriers: &[u8]) -> Trunk {
    let hosts =
        carriers.iter().zip(1..).map(|(n, priority)| TrunkHost { priority, ..host(&format!("10.9.0.{n}")) });
    Trunk {
        id: TrunkId::parse(&format!("trunk_{name}")).unwrap(),
        name: name.into(),
        enabled: true,
        priority: 10,
        settings: TrunkSettings {
            hosts: hosts.collect(),
            caller_number: Some(DialledNumber::parse("+34910000000").unwrap()),
            ..TrunkSettings::default()
        },
        password: None,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    }
}

/// Give a trunk the account `trunkuser` with the password `trunk-pass`.
pub fn with_account(mut trunk: Trunk) -> Trunk {
    let secret = Secret::new("trunk-pass".to_owned());
    let key = SealKey::default();
    trunk.password = SealedSecret::seal(&key, trunk.id.as_str(), &secret, &mut Rng::from_number(3));
    trunk.settings.username = Some("trunkuser".into());
    trunk
}

pub fn did(number: &str, extension: Option<&str>) -> Did {
    Did {
        number: DialledNumber::parse(number).unwrap(),
        extension: extension.map(|number| ExtensionNumber::parse(number).unwrap()),
    }
}

pub fn source(text: &str) -> Source {
    Source::parse(text).unwrap()
}

/// The UAS side of a request outside of a dialog.
fn out_of_dialog(phone: &Phone, request: &Message) -> TestDialog {
    TestDialog {
        phone: phone.clone(),
        call_id: String::new(),
        local: format!("{};tag=carrier", request.header(HeaderName::To).unwrap()),
        remote: String::new(),
        target: String::new(),
        cseq: 0,
        invite: request.clone(),
    }
}

impl TestSwitch {
    /// Create or change a trunk; the hosts in `alive` answer its probes.
    pub fn add_trunk(&mut self, trunk: &Trunk, alive: &[u8]) {
        self.change(vec![Change::Trunk(Box::new(trunk.clone()))]);
        self.answer_options(alive);
    }

    /// The hosts in `alive` answer the OPTIONS that they have received, and keep other messages.
    pub fn answer_options(&mut self, alive: &[u8]) {
        for n in alive {
            let phone = carrier(*n);
            for message in self.received(&phone) {
                if message.status().is_none() && message.method().as_str() == "OPTIONS" {
                    self.reply(&phone, &message, 200, "", None);
                } else {
                    self.put_back(&phone, message);
                }
            }
        }
    }

    /// Advance the clock in steps of 50 ms; the hosts in `alive` answer OPTIONS.
    pub fn advance_with_probes(&mut self, time: Duration, alive: &[u8]) {
        let step = Duration::from_millis(50);
        for _ in 0..time.as_millis() / step.as_millis() {
            self.advance(step);
            self.answer_options(alive);
        }
    }

    /// Messages other than OPTIONS that a carrier has received since the last query.
    pub fn received_by_carrier(&mut self, n: u8) -> Vec<Message> {
        let received = self.received(&carrier(n));
        received.into_iter().filter(|message| message.method().as_str() != "OPTIONS").collect()
    }

    /// The same as a summary: `INVITE CANCEL`.
    pub fn carrier_summary(&mut self, n: u8) -> String {
        let name = |m: &Message| m.status().map_or_else(|| m.method().to_string(), |s| s.to_string());
        self.received_by_carrier(n).iter().map(name).collect::<Vec<_>>().join(" ")
    }

    /// The one INVITE that a carrier has received.
    pub fn expect_trunk_invite(&mut self, n: u8) -> TestDialog {
        let mut invites = self.received_by_carrier(n);
        invites.retain(|message| message.method().as_str() == "INVITE" && message.status().is_none());
        assert!(!invites.is_empty(), "carrier {n} is called");
        let branches: std::collections::BTreeSet<_> =
            invites.iter().map(|i| i.via().branch.to_vec()).collect();
        assert_eq!(branches.len(), 1, "carrier {n} is called once");
        self.dialog_of(&carrier(n), invites.remove(0))
    }

    /// The callee's dialog of an INVITE.
    pub fn dialog_of(&mut self, phone: &Phone, invite: Message) -> TestDialog {
        let to = invite.header(HeaderName::To).unwrap();
        TestDialog {
            phone: phone.clone(),
            call_id: invite.call_id().into(),
            local: format!("{to};tag={}", self.random_token()),
            remote: invite.header(HeaderName::From).unwrap().into(),
            target: super::dialog::contact_of(&invite),
            cseq: 100,
            invite,
        }
    }

    /// Answer a request outside of a dialog.
    pub fn reply(&mut self, phone: &Phone, request: &Message, status: u16, lines: &str, sdp: Option<&str>) {
        let dialog = out_of_dialog(phone, request);
        self.respond(&dialog, request, status, lines, sdp);
    }

    /// The same, with these contacts.
    pub fn reply_with_contact(&mut self, phone: &Phone, request: &Message, status: u16, contact: &str) {
        let dialog = out_of_dialog(phone, request);
        self.respond_with_contact(&dialog, request, status, contact);
    }

    /// An inbound call of a carrier: INVITE without credentials.
    pub fn inbound_call(&mut self, from: &Phone, target: &str, caller: &str, sdp: &str) -> TestDialog {
        let mut dialog = TestDialog {
            phone: from.clone(),
            call_id: format!("outside-{}", self.random_token()),
            local: format!("<sip:{caller}@carrier.test>;tag={}", self.random_token()),
            remote: format!("<{target}>"),
            target: target.into(),
            cseq: 1,
            invite: Message::parse(bytes::Bytes::from_static(
                b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a>;tag=1\r\n\
                  To: <sip:b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n",
            ))
            .unwrap(),
        };
        self.invite(&mut dialog, "", Some(sdp));
        dialog
    }
}
