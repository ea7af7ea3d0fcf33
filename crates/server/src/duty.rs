//! Who of several nodes registers at carriers: the one that holds the lease in the database that they share.
//!
//! While the database is away nobody can take the lease from anybody, so everything stays as it is: the carriers know the way to us.

use std::time::Duration;

use store::Store;
use switch::{Command, Reply, State};
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::exchange::Door;

/// The lease's name in the database.
const NAME: &str = "registrar";
/// A node that is silent for so long has lost its turn. (Registrations last far longer.)
const LEASE: Duration = Duration::from_secs(15);
/// How often the lease is renewed, or asked for.
const BEAT: Duration = Duration::from_secs(3);

/// Ask for the lease and renew it, for as long as this is polled, and tell the exchange. Where nobody shares the database there is nothing to ask.
pub async fn watch(store: Store, door: Door, clock: Clock) {
    if !store.is_shared() {
        return;
    }
    door.until_listening(true).await;
    let mut on_duty = false;
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let asked = if is_running(&door).await {
            let now = clock.now().wall;
            store.hold(NAME, now, now + LEASE).await
        } else if on_duty {
            // Who lets calls end takes no new ones: the carriers' belong to another node now.
            store.let_go(NAME).await.map(|()| false)
        } else {
            continue;
        };
        let Ok(ours) = asked else { continue };
        if ours == on_duty {
            continue;
        }
        match door.ask(Command::Registrar { on_duty: ours }).await {
            Some(_) => {
                on_duty = ours;
                tracing::info!(on_duty, "which node registers at carriers has changed");
            }
            None => tracing::warn!(
                "the exchange does not hear that trunks are to be registered, or are no longer"
            ),
        }
    }
}

async fn is_running(door: &Door) -> bool {
    matches!(door.ask(Command::Status).await, Some(Reply::Status(status)) if status.state == State::Running)
}

/// Let another node register at once instead of after the lease. Call it when nothing is registered any more.
pub async fn resign(store: &Store) {
    if store.is_shared()
        && let Err(error) = store.let_go(NAME).await
    {
        tracing::debug!(%error, "the lease is not given back; it runs out");
    }
}
