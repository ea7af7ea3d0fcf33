//! The simulated directory: users, extensions and credentials, and the changes that an administrator makes during a run.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base::{Rng, Secret, Timestamp};
use model::{
    Change, Credential, DialledNumber, Directory, Extension, ExtensionId, ExtensionNumber, ExtensionStatus,
    FollowMe, FollowMode, FollowStep, Forwarding, ForwardingMode, Ha1, User, UserId,
};

use switch::{Setting, SettingChange};

use crate::phone::Account;
use crate::rng_ext::RngExt;

/// SIP domain of the switch.
pub(crate) const DOMAIN: &str = "office.test";

/// The directory and what is needed to change it.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) directory: Directory,
    extensions: Vec<Extension>,
    users: Vec<UserId>,
    usernames: Vec<Arc<str>>,
}

impl Site {
    /// Four extensions of two users, and a credential without an extension.
    pub(crate) fn new() -> Site {
        let mut site = Site {
            directory: Directory::default(),
            extensions: Vec::new(),
            users: ["ana", "benito"].iter().filter_map(|name| UserId::parse(name).ok()).collect(),
            usernames: Vec::new(),
        };
        for id in site.users.clone() {
            site.directory.apply(Change::User(User { id, created_at: Timestamp::default() }));
        }
        for (n, number) in ["1001", "1002", "1003", "1004"].into_iter().enumerate() {
            site.add_extension(n, number);
        }
        let credential = Credential {
            username: "user_1700000001".into(),
            user: site.users[0].clone(),
            extension: None,
            ha1: Ha1::new("user_1700000001", DOMAIN, &password("user_1700000001")),
            ha1_by_number: None,
            created_at: Timestamp::default(),
        };
        site.usernames.push(Arc::clone(&credential.username));
        site.directory.apply(Change::Credential(credential));
        site
    }

    fn add_extension(&mut self, n: usize, number: &str) {
        let username: Arc<str> = format!("phone{number}").into();
        let secret = password(&username);
        let (Ok(id), Ok(parsed)) =
            (ExtensionId::parse(&format!("ext_{number}")), ExtensionNumber::parse(number))
        else {
            return;
        };
        let user = self.users[n % 2].clone();
        let extension = Extension {
            id: id.clone(),
            user: user.clone(),
            number: parsed,
            display_name: format!("Extensión \"{number}\""),
            status: ExtensionStatus::Active,
            username: Arc::clone(&username),
            forwarding: initial_forwarding(n),
            voicemail_enabled: false,
            do_not_disturb: n == 3,
            call_waiting: n != 2,
            ring_seconds: if n == 2 { 10 } else { 30 },
            dial_permissions: model::DialPermissions::default(),
            follow_me: None,
            record_calls: model::RecordCalls::Default,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            timezone: None,
        };
        let credential = Credential {
            username: Arc::clone(&username),
            user,
            extension: Some(id),
            ha1: Ha1::new(&username, DOMAIN, &secret),
            ha1_by_number: Some(Ha1::new(number, DOMAIN, &secret)),
            created_at: Timestamp::default(),
        };
        self.directory.apply(Change::Extension(extension.clone()));
        self.directory.apply(Change::Credential(credential));
        self.extensions.push(extension);
        self.usernames.push(username);
    }

    /// The account of the n-th phone: the third shares the first one's, the second authenticates with its extension number (S39).
    pub(crate) fn account(n: usize) -> Account {
        let (user, login, owner) = match n {
            0 | 2 => ("phone1001", "phone1001", "phone1001"),
            1 => ("1002", "1002", "phone1002"),
            3 => ("user_1700000001", "user_1700000001", "user_1700000001"),
            _ => ("phone1003", "phone1003", "phone1003"),
        };
        Account {
            user: user.into(),
            login: login.into(),
            password: Secret::new(password(owner)),
            domain: DOMAIN.into(),
        }
    }

    /// All numbers that a phone dials.
    pub(crate) fn numbers() -> Vec<String> {
        let often = ["1001", "1002", "1003", "1001", "1002", "1003", "phone1001", "user_1700000001"];
        let seldom = ["1004", "*43", "*44", "9999", "+15551234567", "911", "nobody"];
        often.iter().chain(&seldom).map(ToString::to_string).collect()
    }

    pub(crate) fn user(&self, rng: &mut Rng) -> UserId {
        rng.pick(&self.users).clone()
    }

    pub(crate) fn usernames(&self) -> &[Arc<str>] {
        &self.usernames
    }

    /// Apply a setting that a phone dialled. Returns the change, or `None` if the extension no longer exists.
    pub(crate) fn apply_setting(&mut self, change: &SettingChange) -> Option<Change> {
        let extension = self.extensions.iter_mut().find(|extension| extension.id == change.extension)?;
        self.directory.extension(&extension.id)?;
        match &change.to {
            Setting::ForwardTo(number) => {
                let (number, mode) = (Some(number.clone()), ForwardingMode::Always);
                extension.forwarding = Forwarding { enabled: true, number, mode };
            }
            Setting::ForwardOff => extension.forwarding.enabled = false,
            Setting::DoNotDisturb(on) => extension.do_not_disturb = *on,
        }
        let change = Change::Extension(extension.clone());
        self.directory.apply(change.clone());
        Some(change)
    }

    /// Feature codes that phones dial.
    pub(crate) fn feature_codes() -> impl Iterator<Item = String> {
        ["*721001", "*72", "*73", "*78", "*79", "*79", "*671001", "*671002", "*69"]
            .into_iter()
            .map(str::to_owned)
    }

    /// One change by the administrator: the changes and the username concerned.
    pub(crate) fn admin_change(&mut self, rng: &mut Rng) -> (Vec<Change>, Arc<str>) {
        let n = rng.below(self.extensions.len() as u64) as usize;
        let extension = &mut self.extensions[n];
        let mut changes = Vec::new();
        match rng.below(16) {
            0 if n == 2 => {
                changes.push(Change::CredentialGone(Arc::clone(&extension.username)));
                changes.push(Change::ExtensionGone(extension.id.clone()));
            }
            0..5 => {
                extension.status = match extension.status {
                    ExtensionStatus::Active => ExtensionStatus::Inactive,
                    ExtensionStatus::Inactive => ExtensionStatus::Active,
                };
                changes.push(Change::Extension(extension.clone()));
            }
            5..7 => {
                extension.do_not_disturb = !extension.do_not_disturb;
                changes.push(Change::Extension(extension.clone()));
            }
            7..10 => {
                extension.forwarding = forwarding(rng);
                changes.push(Change::Extension(extension.clone()));
            }
            10..13 => {
                extension.follow_me = follow_me(rng);
                changes.push(Change::Extension(extension.clone()));
            }
            _ => {
                extension.call_waiting = !extension.call_waiting;
                changes.push(Change::Extension(extension.clone()));
            }
        }
        for change in &changes {
            self.directory.apply(change.clone());
        }
        (changes, Arc::clone(&self.extensions[n].username))
    }
}

/// Targets of forwardings: phones, loops, applications and numbers that are not permitted.
const TARGETS: [&str; 8] = ["1001", "1002", "1003", "1003", "1004", "*43", "+15551234567", "911"];

fn forwarding(rng: &mut Rng) -> Forwarding {
    let modes =
        [ForwardingMode::Always, ForwardingMode::Busy, ForwardingMode::NoAnswer, ForwardingMode::Unreachable];
    Forwarding {
        enabled: rng.odds(80),
        number: DialledNumber::parse(rng.pick::<&str>(&TARGETS)).ok(),
        mode: *rng.pick(&modes),
    }
}

/// Forwarding at the start of a run: the third extension forwards to the first on no answer; the fourth, which has no phone, to the second on busy.
fn initial_forwarding(n: usize) -> Forwarding {
    let (number, mode) = match n {
        2 => ("1001", ForwardingMode::NoAnswer),
        3 => ("1002", ForwardingMode::Busy),
        _ => return Forwarding::default(),
    };
    Forwarding { enabled: true, number: DialledNumber::parse(number).ok(), mode }
}

fn follow_me(rng: &mut Rng) -> Option<FollowMe> {
    let mode = *rng.pick(&[FollowMode::Sequential, FollowMode::Simultaneous]);
    let count = rng.below(4);
    let step = |rng: &mut Rng| {
        let number = DialledNumber::parse(rng.pick::<&str>(&TARGETS)).ok()?;
        Some(FollowStep { number, ring_seconds: 1 + rng.below(20) as u16 })
    };
    let numbers: Vec<FollowStep> = (0..count).filter_map(|_| step(rng)).collect();
    (!numbers.is_empty()).then_some(FollowMe { mode, numbers })
}

fn password(username: &str) -> String {
    format!("secret of {username}")
}

/// Address of a simulated peer.
pub(crate) fn peer(n: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)), 5060)
}
