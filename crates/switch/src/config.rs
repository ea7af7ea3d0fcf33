//! Configuration of the switch.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::SealKey;
use model::journal::{Binding, ListenerId};
use sip::digest::Algorithm;
use sip::{Hop, Transport};

use crate::RecordingConfig;
use crate::location::transport_of;

/// One configured listener; [`sip::Hop::listener`] is its index.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its transport.
    pub transport: Transport,
    /// The address it is bound to.
    pub address: SocketAddr,
}

/// What a held party hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub enum HoldTreatment {
    #[default]
    Silence,
    Music,
}

/// Configuration of the switch.
#[derive(Clone, Debug)]
pub struct Config {
    /// The digest realm and the domain of our SIP URIs (S41).
    pub domain: String,
    /// Further names and addresses accepted as our domain, besides every listening address.
    pub aliases: Vec<String>,
    /// The listeners; the order gives their indices.
    pub listeners: Vec<Listener>,
    /// The digest algorithms of a challenge, in this order (S136).
    pub digest: Vec<Algorithm>,
    /// Maximum number of simultaneous calls per user (S29).
    pub calls_per_user: u32,
    /// Maximum call duration, counted from the answer (S30).
    pub call_duration: Duration,
    /// Limits of one user's outbound calls (toll fraud).
    pub outside: crate::OutboundLimits,
    /// What a held party hears.
    pub hold: HoldTreatment,
    /// Address advertised in SDP; `None`: the local address of the leg's hop.
    pub media_address: Option<IpAddr>,
    /// Address advertised to trunks in place of the listener's own, if of the same family (`public_address`).
    pub public_address: Option<IpAddr>,
    /// Local address advertised to trunks for a listener bound to the unspecified address, if there is no public one.
    pub source_address: Option<IpAddr>,
    /// Key that decrypts the trunks' passwords.
    pub seal: SealKey,
    /// Lifetime of a binding if the REGISTER asks for none (RFC 3261 §10.3).
    pub default_expires: Duration,
    /// A shorter lifetime is refused with 423.
    pub min_expires: Duration,
    /// A longer lifetime is shortened to this.
    pub max_expires: Duration,
    /// SIP ladders kept per second; further calls keep none and are counted in `ladders_shed`.
    pub ladders_per_second: u32,
    /// Node and epoch, the prefix of our tags and Call-IDs.
    pub mark: String,
    /// How calls are recorded.
    pub recording: RecordingConfig,
    /// Feature codes: what users dial to switch a feature.
    pub features: crate::FeatureCodes,
    /// T1 of the SIP timers.
    pub t1: Duration,
    /// Key for verifying voicemail PINs.
    pub pin_key: model::voicemail::PinKey,
    /// Whether this node registers at carriers; in a cluster [`crate::Command::SetTrunkRegistration`] changes it later.
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
    /// The journal's reference to a listener: its address, which stays valid when listeners are added before it.
    pub(crate) fn listener_id(&self, index: u16) -> ListenerId {
        let listener = self.listeners.get(usize::from(index));
        listener.map_or(ListenerId::Index(index), |listener| ListenerId::Address(listener.address))
    }

    /// The listener that a binding of the journal came over; `None` if the configuration no longer has it.
    pub fn listener_of(&self, binding: &Binding) -> Option<u16> {
        self.listener_at(binding.listener, transport_of(binding.transport), binding.local)
    }

    /// The listener that a journal record refers to: the one bound to that address, else one bound to the unspecified address or to the IP of
    /// `local` (the address known to the peer), on the port of `local`.
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

    /// Whether a host is one of our names or addresses (S41), as a peer behind `hop` may write it.
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
