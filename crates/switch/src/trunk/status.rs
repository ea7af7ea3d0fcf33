//! Status of the trunks for the API: health, registration and calls.

use base::Now;
use model::TrunkId;

use super::health::Health;
use super::registration::Stage;
use crate::core::Core;
use crate::{HealthState, TrunkHostStatus, TrunkRegistration, TrunkStatus};

fn life(life: Health) -> HealthState {
    match life {
        Health::Unknown => HealthState::Unknown,
        Health::Up => HealthState::Up,
        Health::Down => HealthState::Down,
    }
}

impl Core {
    /// Status of all trunks, by priority.
    pub(crate) fn trunk_statuses(&self, now: Now) -> Vec<TrunkStatus> {
        let ids: Vec<TrunkId> = self.directory.trunks().map(|trunk| trunk.id.clone()).collect();
        ids.iter().filter_map(|id| self.trunk_status(now, id)).collect()
    }

    /// Status of one trunk; `None` when it does not exist.
    pub(crate) fn trunk_status(&self, now: Now, id: &TrunkId) -> Option<TrunkStatus> {
        let trunk = self.directory.trunk(id)?;
        let watch = self.trunks.watches.get(id);
        let hosts: Vec<TrunkHostStatus> = watch
            .into_iter()
            .flat_map(|watch| &watch.hosts)
            .map(|host| TrunkHostStatus {
                uri: host.name.clone(),
                address: host.address.address,
                transport: host.address.transport.as_param(),
                health: life(host.life),
                status: host.status,
                round_trip: host.round_trip,
                checked_at: host.checked,
            })
            .collect();
        let has = |life| hosts.iter().any(|host| host.health == life);
        let life = match trunk.enabled {
            false => HealthState::Disabled,
            true if has(HealthState::Up) => HealthState::Up,
            true if has(HealthState::Unknown) || (hosts.is_empty() && !trunk.settings.probe) => {
                HealthState::Unknown
            }
            true if hosts.is_empty() => HealthState::Unknown,
            true => HealthState::Down,
        };
        let registration = match (trunk.settings.register, self.trunks.registrations.get(id)) {
            (None, _) => TrunkRegistration::Off,
            (Some(_), None) if !self.config.register_trunks => TrunkRegistration::Elsewhere,
            (Some(_), None) => TrunkRegistration::Trying,
            (Some(_), Some(known)) => match known.stage {
                Stage::Trying if known.until.is_some() => TrunkRegistration::Registered,
                Stage::Trying => TrunkRegistration::Trying,
                Stage::Registered => TrunkRegistration::Registered,
                Stage::Failed(status) => TrunkRegistration::Failed { status },
                Stage::Leaving => TrunkRegistration::Leaving,
            },
        };
        let known = self.trunks.registrations.get(id).and_then(|known| known.until);
        Some(TrunkStatus {
            id: id.clone(),
            name: trunk.name.clone(),
            life,
            hosts,
            registration,
            registered_until: known
                .filter(|until| *until > now.instant)
                .map(|u| now.wall + u.since(now.instant)),
            calls: self.trunks.channels(id),
        })
    }
}
