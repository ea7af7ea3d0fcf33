//! Trunk registration runs on one node of a cluster, selected by the shell. The other nodes place calls over the same trunks and probe hosts
//! with OPTIONS.

use crate::core::Core;

impl Core {
    /// Stop registering. Existing registrations are left to expire, because another node may have registered the same account already.
    pub(crate) fn suspend_trunk_registration(&mut self) {
        self.config.register_trunks = false;
    }
}
