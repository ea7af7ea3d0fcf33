//! Carriers around the office: addresses that answer OPTIONS by themselves and everything else as a test tells them to.

use std::net::SocketAddr;
use std::time::Duration;

use base::{Rng, Secret, Timestamp};
use model::{
    Change, DialledNumber, Did, ExtensionNumber, SealKey, SealedSecret, Source, Trunk, TrunkHost, TrunkId,
    TrunkSettings, TrunkTransport,
};
use sip::{HeaderName, Message};

use super::line::Line;
use super::{Office, Phone};

/// The address of the n-th carrier host.
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

/// A trunk to carrier hosts, tried in this order; it shows `+34910000000`.
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

/// Who answers a request outside calls.
fn outside_calls(phone: &Phone, request: &Message) -> Line {
    Line {
        phone: phone.clone(),
        call_id: String::new(),
        local: format!("{};tag=carrier", request.header(HeaderName::To).unwrap()),
        remote: String::new(),
        target: String::new(),
        cseq: 0,
        invite: request.clone(),
    }
}

impl Office {
    /// Make (or change) a trunk, and let its carriers say that they live.
    pub fn add_trunk(&mut self, trunk: &Trunk, alive: &[u8]) {
        self.change(vec![Change::Trunk(Box::new(trunk.clone()))]);
        self.tend(alive);
    }

    /// Carriers answer the OPTIONS that they have heard, and keep the rest.
    pub fn tend(&mut self, alive: &[u8]) {
        for n in alive {
            let phone = carrier(*n);
            for message in self.heard(&phone) {
                if message.status().is_none() && message.method().as_str() == "OPTIONS" {
                    self.reply(&phone, &message, 200, "", None);
                } else {
                    self.put_back(&phone, message);
                }
            }
        }
    }

    /// Let time go by in small steps, with carriers that answer OPTIONS.
    pub fn pass_with(&mut self, time: Duration, alive: &[u8]) {
        let step = Duration::from_millis(50);
        for _ in 0..time.as_millis() / step.as_millis() {
            self.pass(step);
            self.tend(alive);
        }
    }

    /// The requests and answers but OPTIONS that a carrier has heard since it was last asked.
    pub fn carried(&mut self, n: u8) -> Vec<Message> {
        let heard = self.heard(&carrier(n));
        heard.into_iter().filter(|message| message.method().as_str() != "OPTIONS").collect()
    }

    /// The same in short: `INVITE CANCEL`.
    pub fn carried_in_short(&mut self, n: u8) -> String {
        let name = |m: &Message| m.status().map_or_else(|| m.method().to_string(), |s| s.to_string());
        self.carried(n).iter().map(name).collect::<Vec<_>>().join(" ")
    }

    /// The one INVITE that a carrier has heard.
    pub fn invited(&mut self, n: u8) -> Line {
        let mut invites = self.carried(n);
        invites.retain(|message| message.method().as_str() == "INVITE" && message.status().is_none());
        assert!(!invites.is_empty(), "carrier {n} is called");
        let branches: std::collections::BTreeSet<_> =
            invites.iter().map(|i| i.via().branch.to_vec()).collect();
        assert_eq!(branches.len(), 1, "carrier {n} is called once");
        self.line_of(&carrier(n), invites.remove(0))
    }

    /// The callee's end of a call that an INVITE opens.
    pub fn line_of(&mut self, phone: &Phone, invite: Message) -> Line {
        let to = invite.header(HeaderName::To).unwrap();
        Line {
            phone: phone.clone(),
            call_id: invite.call_id().into(),
            local: format!("{to};tag={}", self.noise()),
            remote: invite.header(HeaderName::From).unwrap().into(),
            target: super::line::contact_of(&invite),
            cseq: 100,
            invite,
        }
    }

    /// Answer a request outside calls.
    pub fn reply(&mut self, phone: &Phone, request: &Message, status: u16, lines: &str, sdp: Option<&str>) {
        let line = outside_calls(phone, request);
        self.respond(&line, request, status, lines, sdp);
    }

    /// The same, with these contacts.
    pub fn reply_with_contact(&mut self, phone: &Phone, request: &Message, status: u16, contact: &str) {
        let line = outside_calls(phone, request);
        self.respond_with_contact(&line, request, status, contact);
    }

    /// A carrier delivers a call: INVITE without credentials.
    pub fn deliver(&mut self, from: &Phone, target: &str, caller: &str, sdp: &str) -> Line {
        let mut line = Line {
            phone: from.clone(),
            call_id: format!("outside-{}", self.noise()),
            local: format!("<sip:{caller}@carrier.test>;tag={}", self.noise()),
            remote: format!("<{target}>"),
            target: target.into(),
            cseq: 1,
            invite: Message::parse(bytes::Bytes::from_static(
                b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a>;tag=1\r\n\
                  To: <sip:b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n",
            ))
            .unwrap(),
        };
        self.invite(&mut line, "", Some(sdp));
        line
    }
}
