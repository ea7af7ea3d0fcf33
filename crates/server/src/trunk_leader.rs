//! Who of several nodes registers at carriers: the one that holds the lease in the database that they share.
//!
//! A node that cannot renew its lease does not know whether another one has taken it. So it stops by itself before the lease has run out, by the
//! clock that never jumps, and registers again when it holds the lease anew. What it has registered stays until it lapses: to take it back
//! could take away what the other node has registered meanwhile.

use std::time::Duration;

use base::Instant;
use store::{Store, StoreError};
use switch::{Command, Reply, State};
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::switch_thread::SwitchHandle;

/// The lease's name in the database.
const NAME: &str = "registrar";
/// A node that is silent for so long has lost its turn. (Registrations last far longer.)
const LEASE: Duration = Duration::from_secs(15);
/// How often the lease is renewed, or asked for.
const BEAT: Duration = Duration::from_secs(3);
/// So long before its lease has run out a node stops: longer than the exchange takes to hear of it.
const MARGIN: Duration = Duration::from_secs(2);

/// What this node is to the carriers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Duty {
    /// Another node registers.
    Off,
    /// This one does.
    On,
    /// It did, and does not know whether it still may.
    Suspended,
}

/// Ask for the lease and renew it, for as long as this is polled, and tell the exchange. Where nobody shares the database there is nothing to ask.
pub async fn watch(store: Store, switch_handle: SwitchHandle, clock: Clock) {
    if !store.is_shared() {
        return;
    }
    switch_handle.until_listening(true).await;
    let (mut duty, mut renewed) = (Duty::Off, Instant::ZERO);
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = async {
            beat.tick().await;
            let at = clock.now().instant;
            (at, ask(&store, &switch_handle, duty).await)
        };
        // A database that does not answer must not hold us up beyond our lease.
        let (at, asked) = tokio::select! {
            asked = asked => asked,
            () = tokio::time::sleep(clock.until(renewed + LEASE - MARGIN)), if duty == Duty::On => {
                if tell(&switch_handle, Command::SuspendRegistrar).await {
                    duty = Duty::Suspended;
                    tracing::warn!("the lease of who registers at carriers cannot be renewed: this node registers no more until it can");
                }
                continue;
            }
        };
        let wanted = match asked {
            Ok(Some(true)) => Duty::On,
            Ok(Some(false)) => Duty::Off,
            Ok(None) | Err(_) => continue,
        };
        if wanted == Duty::On {
            renewed = at;
        }
        if wanted != duty
            && tell(&switch_handle, Command::SetTrunkRegistration { on_duty: wanted == Duty::On }).await
        {
            duty = wanted;
            tracing::info!(on_duty = wanted == Duty::On, "which node registers at carriers has changed");
        }
    }
}

/// Whether the lease is ours; `None` where there is nothing to ask.
async fn ask(store: &Store, switch_handle: &SwitchHandle, duty: Duty) -> Result<Option<bool>, StoreError> {
    if is_running(switch_handle).await {
        store.acquire_lease(NAME, LEASE).await.map(Some)
    } else if duty == Duty::Off {
        Ok(None)
    } else {
        // Who lets calls end takes no new ones: the carriers' belong to another node now.
        store.release_lease(NAME).await.map(|()| Some(false))
    }
}

async fn tell(switch_handle: &SwitchHandle, command: Command) -> bool {
    let told = switch_handle.ask(command).await.is_some();
    if !told {
        tracing::warn!("the exchange does not hear that trunks are to be registered, or are no longer");
    }
    told
}

async fn is_running(switch_handle: &SwitchHandle) -> bool {
    matches!(switch_handle.ask(Command::Status).await, Some(Reply::Status(status)) if status.state == State::Running)
}

/// Let another node register at once instead of after the lease. Call it when nothing is registered any more.
pub async fn resign(store: &Store) {
    if store.is_shared()
        && let Err(error) = store.release_lease(NAME).await
    {
        tracing::debug!(%error, "the lease is not given back; it runs out");
    }
}
