//! Inbound calls from carriers. A trunk is identified by the source address of the request, never by its headers.

use std::sync::Arc;

use model::{Trunk, TrunkTransport};
use sip::Hop;

use super::transport;
use crate::call::escaped;
use crate::core::Core;

impl Core {
    /// The enabled trunks with the transport of the hop whose `sources` contain its remote address, or whose registrar has that address,
    /// ordered by priority.
    pub(crate) fn trunks_by_source(&self, hop: &Hop) -> Vec<Arc<Trunk>> {
        let ip = hop.remote.ip();
        let speaks = |trunk: &Trunk| {
            let hosts = trunk.settings.hosts.iter().chain(&trunk.settings.outbound_proxy);
            let mut spoken: Vec<TrunkTransport> = hosts.map(|host| host.transport).collect();
            spoken.dedup();
            spoken.into_iter().any(|one| transport(one) == hop.transport)
        };
        let from = |trunk: &Trunk| {
            trunk.settings.sources.iter().any(|source| source.contains(ip))
                || self
                    .trunks
                    .registrar(&trunk.id)
                    .is_some_and(|at| at.address.ip().to_canonical() == ip.to_canonical())
        };
        let all = self.directory.trunks();
        all.filter(|trunk| trunk.enabled && from(trunk) && speaks(trunk)).cloned().collect()
    }

    /// The From URI of the legs of an inbound trunk call: the caller number at our own domain.
    pub(crate) fn trunk_from_uri(&self, number: &str) -> String {
        format!("<sip:{}@{}>", escaped(number), self.config.domain)
    }
}
