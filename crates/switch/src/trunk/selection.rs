//! The order in which the hosts of a trunk are tried: by priority, and weighted random within a priority (S123, RFC 2782).

use base::Rng;
use model::{Trunk, TrunkHost};

/// Hosts in the order for one call or registration; only the outbound proxy if one is configured.
pub(super) fn in_order(trunk: &Trunk, rng: &mut Rng) -> Vec<TrunkHost> {
    if let Some(proxy) = &trunk.settings.outbound_proxy {
        return vec![proxy.clone()];
    }
    let mut left: Vec<&TrunkHost> = trunk.settings.hosts.iter().collect();
    // Hosts of weight 0 come first within their priority (RFC 2782).
    left.sort_by_key(|host| (host.priority, host.weight));
    let mut ordered = Vec::with_capacity(left.len());
    while let Some(first) = left.first() {
        let priority = first.priority;
        let group = left.iter().take_while(|host| host.priority == priority);
        let total: u64 = group.clone().map(|host| u64::from(host.weight)).sum();
        let drawn = rng.below(total.max(1)) + u64::from(total > 0);
        let mut sum = 0;
        let place = group
            .map(|host| {
                sum += u64::from(host.weight);
                sum
            })
            .position(|sum| sum >= drawn);
        ordered.push(left.remove(place.unwrap_or(0)).clone());
    }
    ordered
}
