//! Delivers events to webhooks. Everything that must not be forgotten is a row: whoever dies, another start goes on where this one was.

pub mod address;
pub mod client;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Rng, Secret, Timestamp};
use model::{RetryPolicy, WebhookId};
use store::{Attempt, Due, Outcome, Store, StoreError};
use tokio::task::JoinSet;

use crate::clock::Clock;
use client::WebhookClient;

/// Messages on their way at once.
const AT_ONCE: usize = 32;
/// … to one webhook: a slow receiver does not hold up the others.
const EACH: u32 = 4;
/// For so long nobody else sends what we have taken; longer than an attempt may last.
const LEASE: Duration = Duration::from_secs(30);
/// How often we look without being called: other nodes write events too.
const LOOK: Duration = Duration::from_secs(2);
/// How long we rest when the database does not answer.
const REST: Duration = Duration::from_secs(5);

/// See the module.
pub struct WebhookDispatcher {
    store: Store,
    post: WebhookClient,
    key: Secret<[u8; 32]>,
    patience: RetryPolicy,
    clock: Clock,
    rng: Arc<Mutex<Rng>>,
}

impl WebhookDispatcher {
    /// A courier that signs with secrets derived from `key`.
    pub fn new(
        store: Store,
        post: WebhookClient,
        key: Secret<[u8; 32]>,
        patience: RetryPolicy,
        clock: Clock,
        rng: Rng,
    ) -> Self {
        WebhookDispatcher { store, post, key, patience, clock, rng: Arc::new(Mutex::new(rng)) }
    }

    /// Deliver, until the task is aborted. What is on its way then is sent again by the next start.
    pub async fn run(self) {
        let mut told = self.store.events_told();
        let mut flights: JoinSet<WebhookId> = JoinSet::new();
        let mut busy: Vec<WebhookId> = Vec::new();
        loop {
            let wait = match self.round(&mut flights, &mut busy).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(%error, "webhooks wait for the database");
                    REST
                }
            };
            tokio::select! {
                _ = told.changed() => {}
                () = tokio::time::sleep(wait) => {}
                Some(landed) = flights.join_next() => {
                    if let Ok(hook) = landed {
                        remove_one(&mut busy, &hook);
                    } else {
                        // A task that panicked says no name: nobody is kept waiting for it.
                        busy.clear();
                    }
                }
            }
        }
    }

    /// Turn events into deliveries, and send what is due. Answers how long there is nothing to do.
    async fn round(
        &self,
        flights: &mut JoinSet<WebhookId>,
        busy: &mut Vec<WebhookId>,
    ) -> Result<Duration, StoreError> {
        while self.store.fan_out(self.now()).await? {}
        let room = AT_ONCE.saturating_sub(flights.len());
        if room > 0 {
            let now = self.now();
            for due in self.store.take_due(now, now + LEASE, room as u32, EACH, busy).await? {
                busy.push(due.webhook.id.clone());
                flights.spawn(self.fly(due));
            }
        }
        let next = self.store.next_due().await?.map_or(LOOK, |next| next.since(self.now()));
        Ok(if next.is_zero() && !busy.is_empty() { LOOK } else { next.min(LOOK) })
    }

    fn fly(&self, due: Due) -> impl Future<Output = WebhookId> + Send + use<> {
        let (store, post, clock) = (self.store.clone(), self.post.clone(), self.clock);
        let (patience, rng) = (self.patience, Arc::clone(&self.rng));
        let key = self.key.clone();
        async move {
            let now = clock.now().wall;
            let numbers = due.webhook.signing_secrets(now);
            let secrets: Vec<_> =
                numbers.map(|number| api::webhook_secret(&key, &due.webhook.id, number)).collect();
            let (answer, outcome) = post.attempt(&due, &secrets, now).await;
            let at = clock.now().wall;
            let attempts = due.delivery.attempts + 1;
            let (outcome, fault) = match outcome {
                Ok(()) => (Outcome::Delivered, None),
                Err(fault) => {
                    let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
                    let again = patience.after(attempts, &mut rng).map(|wait| Outcome::Again(at + wait));
                    (again.unwrap_or(Outcome::Dead), Some(fault))
                }
            };
            let attempt = Attempt { outcome, answer, fault, at };
            if let Err(error) = store.attempted(&due.delivery.id, &attempt).await {
                tracing::error!(%error, delivery = %due.delivery.id, "a delivery is not written down and will be sent again");
            }
            tracing::debug!(delivery = %due.delivery.id, attempts, ?outcome, "a webhook was told");
            due.webhook.id
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now().wall
    }
}

fn remove_one(busy: &mut Vec<WebhookId>, hook: &WebhookId) {
    if let Some(place) = busy.iter().position(|id| id == hook) {
        busy.swap_remove(place);
    }
}
