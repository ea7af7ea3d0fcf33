//! Delivers events to webhooks. All state is in database rows, so after a crash the next start resumes.

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

/// Concurrent deliveries.
const MAX_CONCURRENT: usize = 32;
/// Concurrent deliveries per webhook, so that a slow receiver does not delay the others.
const MAX_PER_WEBHOOK: u32 = 4;
/// Lease of a taken delivery: no other node sends it meanwhile. Longer than an attempt may take.
const LEASE: Duration = Duration::from_secs(30);
/// Poll interval, besides local notifications: other nodes write events too.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Pause after a database error.
const ERROR_PAUSE: Duration = Duration::from_secs(5);

/// The dispatcher.
pub struct WebhookDispatcher {
    store: Store,
    client: WebhookClient,
    key: Secret<[u8; 32]>,
    retry: RetryPolicy,
    clock: Clock,
    rng: Arc<Mutex<Rng>>,
}

impl WebhookDispatcher {
    /// A dispatcher that signs with secrets derived from `key`.
    pub fn new(
        store: Store,
        client: WebhookClient,
        key: Secret<[u8; 32]>,
        retry: RetryPolicy,
        clock: Clock,
        rng: Rng,
    ) -> Self {
        WebhookDispatcher { store, client, key, retry, clock, rng: Arc::new(Mutex::new(rng)) }
    }

    /// Deliver until the task is aborted. Deliveries in flight then are sent again by the next start.
    pub async fn run(self) {
        let mut new_events = self.store.event_signal();
        let mut in_flight: JoinSet<WebhookId> = JoinSet::new();
        let mut busy: Vec<WebhookId> = Vec::new();
        loop {
            let wait = match self.deliver_due(&mut in_flight, &mut busy).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(%error, "webhook deliveries are paused: the database cannot be read");
                    ERROR_PAUSE
                }
            };
            tokio::select! {
                _ = new_events.changed() => {}
                () = tokio::time::sleep(wait) => {}
                Some(finished) = in_flight.join_next() => {
                    if let Ok(hook) = finished {
                        remove_one(&mut busy, &hook);
                    } else {
                        // The id of a panicked task is unknown: unblock all webhooks.
                        busy.clear();
                    }
                }
            }
        }
    }

    /// Create deliveries from new events, and send those that are due. Returns the time until the next is due.
    async fn deliver_due(
        &self,
        in_flight: &mut JoinSet<WebhookId>,
        busy: &mut Vec<WebhookId>,
    ) -> Result<Duration, StoreError> {
        while self.store.fan_out(self.now()).await? {}
        let room = MAX_CONCURRENT.saturating_sub(in_flight.len());
        if room > 0 {
            let now = self.now();
            for due in self.store.take_due(now, now + LEASE, room as u32, MAX_PER_WEBHOOK, busy).await? {
                busy.push(due.webhook.id.clone());
                in_flight.spawn(self.deliver(due));
            }
        }
        let next = self.store.next_due().await?.map_or(POLL_INTERVAL, |next| next.since(self.now()));
        Ok(if next.is_zero() && !busy.is_empty() { POLL_INTERVAL } else { next.min(POLL_INTERVAL) })
    }

    fn deliver(&self, due: Due) -> impl Future<Output = WebhookId> + Send + use<> {
        let (store, client, clock) = (self.store.clone(), self.client.clone(), self.clock);
        let (retry, rng) = (self.retry, Arc::clone(&self.rng));
        let key = self.key.clone();
        async move {
            let now = clock.now().wall;
            let numbers = due.webhook.signing_secrets(now);
            let secrets: Vec<_> =
                numbers.map(|number| api::webhook_secret(&key, &due.webhook.id, number)).collect();
            let (answer, outcome) = client.attempt(&due, &secrets, now).await;
            let at = clock.now().wall;
            let attempts = due.delivery.attempts + 1;
            let (outcome, fault) = match outcome {
                Ok(()) => (Outcome::Delivered, None),
                Err(fault) => {
                    let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
                    let again = retry.after(attempts, &mut rng).map(|wait| Outcome::Again(at + wait));
                    (again.unwrap_or(Outcome::Dead), Some(fault))
                }
            };
            let attempt = Attempt { outcome, answer, fault, at };
            if let Err(error) = store.attempted(&due.delivery.id, &attempt).await {
                tracing::error!(%error, delivery = %due.delivery.id, "the result of a webhook delivery cannot be written; it will be sent again");
            }
            tracing::debug!(delivery = %due.delivery.id, attempts, ?outcome, "webhook delivery attempted");
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
