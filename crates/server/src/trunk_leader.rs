//! Election of the node that registers the trunks of a cluster: the holder of a lease in the shared database.
//!
//! A node that cannot renew its lease does not know whether another node has taken it. So it suspends registration before the lease expires, by
//! the monotonic clock, and resumes when it holds the lease again. Its existing registrations are left to expire: unregistering could remove
//! what the other node has registered meanwhile.

use std::time::Duration;

use base::Instant;
use store::{Store, StoreError};
use switch::{Command, Reply, State};
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::switch_thread::SwitchHandle;

/// Name of the lease in the database.
const NAME: &str = "registrar";
/// Duration of the lease. (Registrations last far longer.)
const LEASE: Duration = Duration::from_secs(15);
/// Interval at which the lease is renewed or requested.
const RENEW_INTERVAL: Duration = Duration::from_secs(3);
/// Registration is suspended this long before the lease expires: longer than the switch takes to act on it.
const MARGIN: Duration = Duration::from_secs(2);

/// Role of this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// Another node registers the trunks.
    Standby,
    /// This node registers the trunks.
    Leader,
    /// This node registered them, and does not know whether it still holds the lease.
    Suspended,
}

/// Acquire and renew the lease, and report the role to the switch, as long as this future is polled. Returns at once if the database is not shared.
pub async fn watch(store: Store, switch_handle: SwitchHandle, clock: Clock) {
    if !store.is_shared() {
        return;
    }
    switch_handle.until_listening(true).await;
    let (mut role, mut renewed) = (Role::Standby, Instant::ZERO);
    let mut interval = tokio::time::interval(RENEW_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let request = async {
            interval.tick().await;
            let at = clock.now().instant;
            (at, ask(&store, &switch_handle, role).await)
        };
        // A database that does not answer must not delay us beyond the end of our lease.
        let (at, held) = tokio::select! {
            held = request => held,
            () = tokio::time::sleep(clock.until(renewed + LEASE - MARGIN)), if role == Role::Leader => {
                if send_command(&switch_handle, Command::SuspendRegistrar).await {
                    role = Role::Suspended;
                    tracing::warn!("the trunk registration lease cannot be renewed: this node suspends trunk registration until it can");
                }
                continue;
            }
        };
        let wanted = match held {
            Ok(Some(true)) => Role::Leader,
            Ok(Some(false)) => Role::Standby,
            Ok(None) | Err(_) => continue,
        };
        if wanted == Role::Leader {
            renewed = at;
        }
        if wanted != role
            && send_command(&switch_handle, Command::SetTrunkRegistration { on_duty: wanted == Role::Leader })
                .await
        {
            role = wanted;
            tracing::info!(leader = wanted == Role::Leader, "trunk registration leadership changed");
        }
    }
}

/// Whether this node holds the lease; `None` if it neither holds nor wants it.
async fn ask(store: &Store, switch_handle: &SwitchHandle, role: Role) -> Result<Option<bool>, StoreError> {
    if is_running(switch_handle).await {
        store.acquire_lease(NAME, LEASE).await.map(Some)
    } else if role == Role::Standby {
        Ok(None)
    } else {
        // A draining node accepts no calls, so another node should register the trunks.
        store.release_lease(NAME).await.map(|()| Some(false))
    }
}

async fn send_command(switch_handle: &SwitchHandle, command: Command) -> bool {
    let confirmed = switch_handle.ask(command).await.is_some();
    if !confirmed {
        tracing::warn!("the switch did not confirm the change of trunk registration");
    }
    confirmed
}

async fn is_running(switch_handle: &SwitchHandle) -> bool {
    matches!(switch_handle.ask(Command::Status).await, Some(Reply::Status(status)) if status.state == State::Running)
}

/// Release the lease so that another node can register at once. Call it when no trunk is registered any more.
pub async fn resign(store: &Store) {
    if store.is_shared()
        && let Err(error) = store.release_lease(NAME).await
    {
        tracing::debug!(%error, "the lease could not be released; it will expire");
    }
}
