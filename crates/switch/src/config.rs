//! What the exchange must know before the first message.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::SealKey;
use model::journal::{Binding, ListenerId};
use sip::digest::Algorithm;
use sip::{Hop, Transport};

use crate::RecordingConfig;
use crate::location::transport_of;

/// One listener of the configuration; [`sip::Hop::listener`] is its index.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its protocol.
    pub transport: Transport,
    /// The address it is bound to.
    pub address: SocketAddr,
}

/// What a party hears that is put on hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub enum HoldTreatment {
    #[default]
    Silence,
    Music,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Config {
    /// The digest realm and the domain of our addresses (S41).
    pub domain: String,
    /// Further names and addresses that are accepted as our domain, besides every listening address.
    pub aliases: Vec<String>,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// The digest algorithms to challenge with, in this order (S136).
    pub digest: Vec<Algorithm>,
    /// Simultaneous calls of one user (S29).
    pub calls_per_user: u32,
    /// The longest call, from its answer (S30).
    pub call_duration: Duration,
    /// What one user may spend on calls to the outside (security.md row 7).
    pub outside: crate::OutboundLimits,
    /// What a held party hears.
    pub hold: HoldTreatment,
    /// Address to show in SDP; that of the leg's hop where `None`.
    pub media_address: Option<IpAddr>,
    /// Our address as the operator wants it shown, whatever the listeners' own are.
    pub public_address: Option<IpAddr>,
    /// Our address towards the world, for a listener that takes whatever reaches the machine.
    pub source_address: Option<IpAddr>,
    /// Opens the passwords of trunks.
    pub seal: SealKey,
    /// Contacts expire after this where the phone does not say (RFC 3261 §10.3).
    pub default_expires: Duration,
    /// Shorter ones are refused with 423.
    pub min_expires: Duration,
    /// Longer ones are cut.
    pub max_expires: Duration,
    /// Ladders kept per second; more calls than that keep none, and are counted.
    pub ladders_per_second: u32,
    /// Node and shard, in front of our tags and Call-IDs.
    pub mark: String,
    /// How calls are recorded.
    pub recording: RecordingConfig,
    /// What is dialled for the features that phones can switch.
    pub features: crate::FeatureCodes,
    /// T1 of the SIP timers.
    pub t1: Duration,
    /// Proves PINs of voicemail.
    pub pin_key: model::voicemail::PinKey,
    /// Whether trunks register from here; where several nodes share them, [`crate::Command::SetTrunkRegistration`] says so later.
    pub register_trunks: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            domain: "localhost".into(),
            aliases: Vec::new(),
            listeners: Vec::new(),
            digest: vec![Algorithm::Md5],
            calls_per_user: 50,
            call_duration: Duration::from_secs(4 * 3600),
            outside: crate::OutboundLimits::default(),
            hold: HoldTreatment::Silence,
            media_address: None,
            public_address: None,
            source_address: None,
            seal: SealKey::default(),
            default_expires: Duration::from_secs(3600),
            min_expires: Duration::from_secs(60),
            max_expires: Duration::from_secs(7200),
            ladders_per_second: 100,
            mark: "0".into(),
            recording: RecordingConfig::default(),
            features: crate::FeatureCodes::default(),
            t1: Duration::from_millis(500),
            pin_key: base::Secret::default(),
            register_trunks: true,
        }
    }
}

impl Config {
    /// What the journal says of a listener: its address, which stays right when others are put before it.
    pub(crate) fn listener_id(&self, index: u16) -> ListenerId {
        let listener = self.listeners.get(usize::from(index));
        listener.map_or(ListenerId::Index(index), |listener| ListenerId::Address(listener.address))
    }

    /// The listener that a binding of the journal came over; `None` where the configuration no longer has it.
    pub fn listener_of(&self, binding: &Binding) -> Option<u16> {
        self.listener_at(binding.listener, transport_of(binding.transport), binding.local)
    }

    /// The same of anything that the journal noted: the listener bound to that address, else one that takes what is sent to `local`, the
    /// address that the peer knows.
    pub(crate) fn listener_at(&self, id: ListenerId, transport: Transport, local: SocketAddr) -> Option<u16> {
        let mut listeners = (0..).zip(&self.listeners).filter(|(_, l)| l.transport == transport);
        match id {
            ListenerId::Index(index) => listeners.find(|(place, _)| *place == index),
            ListenerId::Address(address) => {
                let takes = |bound: SocketAddr| {
                    bound.port() == local.port() && (bound.ip() == local.ip() || bound.ip().is_unspecified())
                };
                let exact = listeners.clone().find(|(_, l)| l.address == address);
                exact.or_else(|| listeners.find(|(_, l)| takes(l.address)))
            }
        }
        .map(|(place, _)| place)
    }

    /// Whether a host is a name or an address of ours (S41), as a peer behind `hop` may write it.
    pub(crate) fn is_ours(&self, host: &str, hop: &Hop) -> bool {
        let host = host.trim_end_matches('.');
        let named = |name: &String| name.eq_ignore_ascii_case(host);
        if host.eq_ignore_ascii_case(&self.domain) || self.aliases.iter().any(named) {
            return true;
        }
        match host.parse::<IpAddr>() {
            Ok(ip) => {
                ip == hop.local.ip()
                    || self.media_address == Some(ip)
                    || self.listeners.iter().any(|l| l.address.ip() == ip)
            }
            Err(_) => host.eq_ignore_ascii_case("localhost") && hop.local.ip().is_loopback(),
        }
    }
}
