//! Effects of listener and trunk changes on trunks.

use base::Now;
use model::TrunkId;

use crate::switch::Switch;
use crate::trunk::Alarm;
use crate::{Output, State};

impl Switch {
    /// The listeners have opened or closed: start or stop probing and registering all trunks.
    pub(crate) fn trunks_listen(&mut self, now: Now, open: bool, out: &mut Vec<Output>) {
        let trunks: Vec<TrunkId> = self.core.directory.trunks().map(|t| t.id.clone()).collect();
        for id in trunks {
            if open {
                self.trunk_changed(now, &id, out);
            } else {
                self.core.trunks.watches.remove(&id);
                self.core.trunks.registrations.remove(&id);
                self.core.trunks.unset_all(&id);
            }
        }
    }

    /// A trunk was created, changed or removed.
    pub(crate) fn trunk_changed(&mut self, now: Now, id: &TrunkId, out: &mut Vec<Output>) {
        if self.core.state != State::Running {
            return;
        }
        let trunk = self.core.directory.trunk(id).filter(|trunk| trunk.enabled).cloned();
        self.core.unregister_unless(now, id, trunk.as_deref());
        let Some(trunk) = trunk else {
            self.core.trunks.watches.remove(id);
            self.core.trunks.unset_all(id);
            return;
        };
        self.core.trunks.watches.entry(id.clone()).or_default();
        self.core.trunks.set_only(now.instant, Alarm::Probe(id.clone()));
        if trunk.settings.register.is_some() {
            self.core.trunks.set_only(now.instant, Alarm::Register(id.clone()));
        }
        self.trunk_alarms(now, out);
    }
}
