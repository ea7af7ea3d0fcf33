//! Which of several nodes registers at carriers: one, as the shell says. The others call out by the same trunks, and ask whether hosts live.

use crate::core::Core;
use base::Now;
use model::TrunkId;

use super::Alarm;
use crate::switch::Switch;
use crate::{Output, State};

impl Switch {
    /// From now on this node registers at carriers, or leaves that to another: two that register one account take its calls from each other.
    pub(crate) fn set_trunk_registration(&mut self, now: Now, on_duty: bool, out: &mut Vec<Output>) {
        if self.core.config.register_trunks == on_duty {
            return;
        }
        self.core.config.register_trunks = on_duty;
        if self.core.state != State::Running {
            return; // the listeners open first, or nothing is begun any more
        }
        if on_duty {
            let ids: Vec<TrunkId> = self.core.directory.trunks().map(|trunk| trunk.id.clone()).collect();
            for id in ids {
                self.core.trunks.set_only(now.instant, Alarm::Register(id));
            }
            self.trunk_alarms(now, out);
        } else {
            self.core.unregister_all(now);
        }
    }
}

impl Core {
    /// Register no more, and leave what is registered to lapse: another node may have registered the same account by now.
    pub(crate) fn suspend_trunk_registration(&mut self) {
        self.config.register_trunks = false;
    }
}
