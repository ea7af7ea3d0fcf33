//! Process settings for security.

/// Disable core dumps: one would contain every password in memory.
pub(super) fn disable_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "core dumps cannot be disabled");
    }
}
