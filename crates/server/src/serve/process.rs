//! What the process asks of the system for safety's sake.

/// A core dump would hold every password that is in memory (security.md row 20).
pub(super) fn leave_no_core() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "core dumps stay allowed");
    }
}
