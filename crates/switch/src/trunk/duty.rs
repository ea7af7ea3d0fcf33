//! Which of several nodes registers at carriers: one, as the shell says. The others call out by the same trunks, and ask whether hosts live.

use crate::core::Core;

impl Core {
    /// Register no more, and leave what is registered to lapse: another node may have registered the same account by now.
    pub(crate) fn suspend_trunk_registration(&mut self) {
        self.config.register_trunks = false;
    }
}
