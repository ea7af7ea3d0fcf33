//! Fault injection for tests of the real process: only in debug builds or with the feature `fault-injection`, and only if the variable
//! `CENTRALITA_FAULTS` names a directory.
//!
//! A file with a task's name in that directory makes the task panic. A SIP message or RTP packet that contains [`PANIC`] makes the thread panic
//! that handles it; one that contains [`STALL`] blocks the switch thread for [`STALLED`].

#[cfg(any(debug_assertions, feature = "fault-injection"))]
pub(crate) use on::{in_message, in_packet, in_task, in_thread};

#[cfg(any(debug_assertions, feature = "fault-injection"))]
#[allow(clippy::panic)] // the purpose of this module
mod on {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::time::Duration;

    const PANIC: &[u8] = b"centralita-fault-panic";
    const STALL: &[u8] = b"centralita-fault-stall";
    const STALLED: Duration = Duration::from_secs(2);
    /// Interval at which a task checks for its file.
    const POLL_INTERVAL: Duration = Duration::from_millis(20);

    fn folder() -> Option<&'static PathBuf> {
        static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
        FOLDER.get_or_init(|| std::env::var_os("CENTRALITA_FAULTS").map(PathBuf::from)).as_ref()
    }

    fn contains(bytes: &[u8], mark: &[u8]) -> bool {
        folder().is_some() && bytes.windows(mark.len()).any(|window| window == mark)
    }

    /// Called before the switch handles a message.
    pub(crate) fn in_message(bytes: &[u8]) {
        if contains(bytes, STALL) {
            std::thread::sleep(STALLED);
        }
        in_packet(bytes);
    }

    /// Called before a media worker handles a packet.
    pub(crate) fn in_packet(bytes: &[u8]) {
        assert!(!contains(bytes, PANIC), "a fault was injected");
    }

    /// Pending until the file for this task exists, then panics.
    pub(crate) async fn in_task(name: &str) {
        let Some(folder) = folder() else {
            return std::future::pending::<()>().await;
        };
        loop {
            assert!(std::fs::remove_file(folder.join(name)).is_err(), "a fault was injected");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The same for a thread, which calls this periodically.
    pub(crate) fn in_thread(name: &str) {
        if let Some(folder) = folder() {
            assert!(std::fs::remove_file(folder.join(name)).is_err(), "a fault was injected");
        }
    }
}

#[cfg(not(any(debug_assertions, feature = "fault-injection")))]
pub(crate) use off::{in_message, in_packet, in_task, in_thread};

#[cfg(not(any(debug_assertions, feature = "fault-injection")))]
mod off {
    #[inline]
    pub(crate) fn in_message(_: &[u8]) {}

    #[inline]
    pub(crate) fn in_packet(_: &[u8]) {}

    pub(crate) async fn in_task(_: &str) {
        std::future::pending::<()>().await;
    }

    #[inline]
    pub(crate) fn in_thread(_: &str) {}
}
