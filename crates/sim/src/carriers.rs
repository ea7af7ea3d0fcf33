//! Runs with carriers: two trunks whose hosts ring, answer, reject, fail or do not respond, and that deliver inbound calls.

use base::{Rng, Timestamp};
use model::trunk::{Did, NumberFormat, Source, Trunk, TrunkHost, TrunkSettings, TrunkTransport};
use model::{CallerId, Change, DialledNumber, ExtensionNumber, TrunkId};
use sip::Transport;

use crate::phone::{Account, Phone, PhoneProfile};
use crate::rng_ext::RngExt;
use crate::site::{DOMAIN, Site, peer};

/// A seed with this bit runs with carriers. Seeds without it are not affected by this module.
pub const CARRIERS: u64 = 1 << 32;

/// Last octets of the first trunk's hosts (two), then of the second's (one).
const HOSTS: [u8; 3] = [81, 82, 83];
/// Numbers that outside callers dial: three DIDs, and one number that nothing routes.
const DIDS: [&str; 4] = ["+34911000001", "+34911000002", "+34911000003", "+34999"];
/// Outside numbers that the extensions dial.
const OUTSIDE_NUMBERS: [&str; 4] = ["+34612345678", "+15551234567", "0034911000001", "+8821312345678"];

/// The carriers' hosts, as phones without a registration.
pub(crate) fn peers(rng: &mut Rng) -> Vec<Phone> {
    let peer = |n: &u8| {
        let account = Account {
            user: format!("carrier{n}"),
            login: format!("carrier{n}"),
            password: base::Secret::new(String::new()),
            domain: DOMAIN.into(),
        };
        // A carrier always sends its offer in the INVITE.
        let profile = PhoneProfile { late_offer: 0, ..PhoneProfile::of(rng) };
        let mut host = Phone::new(account, peer(*n), Transport::Udp, profile, rng.fork());
        host.carrier = true;
        host.contacts = DIDS.map(str::to_owned).to_vec();
        host
    };
    HOSTS.iter().map(peer).collect()
}

/// Numbers that phones dial in a run with carriers.
pub(crate) fn numbers() -> Vec<String> {
    Site::numbers().into_iter().chain(OUTSIDE_NUMBERS.map(str::to_owned)).collect()
}

/// The trunks of the run.
pub(crate) fn trunks(rng: &mut Rng) -> Vec<Trunk> {
    let [first, second] =
        [("one", &HOSTS[..2]), ("two", &HOSTS[2..])].map(|(name, hosts)| trunk(name, hosts, rng));
    first.into_iter().chain(second).collect()
}

fn trunk(name: &str, hosts: &[u8], rng: &mut Rng) -> Option<Trunk> {
    let number = |text: &str| DialledNumber::parse(text).ok();
    let hosts = hosts.iter().zip(1..).map(|(n, priority)| TrunkHost {
        host: peer(*n).ip().to_string(),
        port: Some(5060),
        transport: TrunkTransport::Udp,
        priority: if rng.odds(50) { priority } else { 1 },
        weight: 10,
    });
    let hosts = hosts.collect();
    let did = |(did, extension): (&str, &str)| {
        Some(Did { number: number(did)?, extension: ExtensionNumber::parse(extension).ok() })
    };
    Some(Trunk {
        id: TrunkId::parse(&format!("trunk_{name}")).ok()?,
        name: name.into(),
        enabled: true,
        priority: if name == "one" { 1 } else { 2 },
        settings: TrunkSettings {
            hosts,
            username: None,
            realm: None,
            register: None,
            outbound_proxy: None,
            sources: vec![Source::parse("10.0.0.80/29").ok()?],
            dids: DIDS.into_iter().zip(["1001", "1002", "1003"]).filter_map(did).collect(),
            default_extension: None,
            caller_id: *rng.pick(&[CallerId::Fixed, CallerId::Own, CallerId::Pass]),
            caller_number: number("+34910000000"),
            number_format: NumberFormat::E164,
            strip_prefix: None,
            add_prefix: None,
            codecs: Vec::new(),
            max_channels: *rng.pick(&[None, None, Some(1), Some(3)]),
            calls_per_second: *rng.pick(&[None, None, Some(1)]),
            probe: rng.odds(80),
            diversion: rng.odds(50),
        },
        password: None,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    })
}

/// One change that an administrator makes to a trunk.
pub(crate) fn change_trunk(trunk: &mut Trunk, rng: &mut Rng) -> Change {
    match rng.below(3) {
        0 => trunk.enabled = !trunk.enabled,
        1 => trunk.settings.max_channels = *rng.pick(&[None, Some(1), Some(2)]),
        _ => trunk.settings.hosts.reverse(),
    }
    Change::Trunk(Box::new(trunk.clone()))
}
