//! Faults on purpose, so that tests see what becomes of the real process: only in debug builds or with the feature `fault-injection`, and only
//! where the variable `CENTRALITA_FAULTS` names a folder.
//!
//! A file of a task's name in that folder makes the task panic. A SIP message or RTP packet that holds [`PANIC`] makes the thread panic that
//! handles it; one that holds [`STALL`] holds up the exchange for [`STALLED`].

#[cfg(any(debug_assertions, feature = "fault-injection"))]
pub(crate) use on::{in_message, in_packet, in_task, in_thread};

#[cfg(any(debug_assertions, feature = "fault-injection"))]
#[allow(clippy::panic)] // it is what this is for
mod on {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::time::Duration;

    const PANIC: &[u8] = b"centralita-fault-panic";
    const STALL: &[u8] = b"centralita-fault-stall";
    const STALLED: Duration = Duration::from_secs(2);
    /// How often a task looks for its file.
    const LOOK: Duration = Duration::from_millis(20);

    fn folder() -> Option<&'static PathBuf> {
        static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
        FOLDER.get_or_init(|| std::env::var_os("CENTRALITA_FAULTS").map(PathBuf::from)).as_ref()
    }

    fn holds(bytes: &[u8], mark: &[u8]) -> bool {
        folder().is_some() && bytes.windows(mark.len()).any(|window| window == mark)
    }

    /// The exchange is about to handle this.
    pub(crate) fn in_message(bytes: &[u8]) {
        if holds(bytes, STALL) {
            std::thread::sleep(STALLED);
        }
        in_packet(bytes);
    }

    /// A media worker is about to handle this.
    pub(crate) fn in_packet(bytes: &[u8]) {
        assert!(!holds(bytes, PANIC), "a fault was injected");
    }

    /// Never ends but by the panic that is wanted of the task.
    pub(crate) async fn in_task(name: &str) {
        let Some(folder) = folder() else {
            return std::future::pending::<()>().await;
        };
        loop {
            assert!(std::fs::remove_file(folder.join(name)).is_err(), "a fault was injected");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The same of a thread that calls this now and then.
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
