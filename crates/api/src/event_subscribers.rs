//! Event subscriptions: pages of new events for a client, until it disconnects, is too slow or loses its permission.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::UserId;
use store::{Event, EventQuery};
use tokio::sync::watch;

use crate::App;
use crate::auth::Principal;
use crate::error::{ApiError, Fault};
use crate::limits::{SUBSCRIBER_PAGE, SUBSCRIBERS, SUBSCRIBERS_PER_USER};

/// Poll interval for events written by other nodes and for changes of the key.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Why a subscriber is disconnected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DisconnectReason {
    /// It reads too slowly. It may reconnect with its last event id.
    TooSlow,
    /// Its key is inactive, expired or deleted.
    Key,
    /// The server is shutting down.
    ShuttingDown,
    /// The database cannot be read.
    Store,
}

impl DisconnectReason {
    pub(crate) fn code(self) -> &'static str {
        match self {
            DisconnectReason::TooSlow => "too_slow",
            DisconnectReason::Key => "key_inactive",
            DisconnectReason::ShuttingDown => "draining",
            DisconnectReason::Store => "store_unavailable",
        }
    }
}

/// Number of subscribers, by user.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventSubscribers {
    by_user: Arc<Mutex<HashMap<UserId, usize>>>,
}

/// A place among the subscribers; released when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    subscribers: EventSubscribers,
    user: UserId,
}

impl EventSubscribers {
    pub(crate) fn acquire(&self, user: &UserId) -> Result<ConnectionPermit, ApiError> {
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (by_user.values().sum::<usize>(), by_user.get(user).copied().unwrap_or(0));
        if all >= SUBSCRIBERS || own >= SUBSCRIBERS_PER_USER {
            return Err(Fault::TooManySubscribers.into());
        }
        *by_user.entry(user.clone()).or_default() += 1;
        Ok(ConnectionPermit { subscribers: self.clone(), user: user.clone() })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut by_user = self.subscribers.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                by_user.remove(&self.user);
            }
        }
    }
}

/// A client that is subscribed to events.
pub(crate) struct EventSubscriber {
    app: App,
    principal: Principal,
    kinds: Vec<String>,
    user: Option<UserId>,
    /// Sequence number up to which events have been read.
    cursor: i64,
    event_signal: watch::Receiver<u64>,
    shutting_down: watch::Receiver<bool>,
    _permit: ConnectionPermit,
}

impl EventSubscriber {
    /// Subscribe to events after `cursor` (the last event that the client has seen), or to future events if it is `None`.
    pub(crate) async fn new(
        app: &App,
        principal: Principal,
        kinds: Vec<String>,
        user: Option<UserId>,
        cursor: Option<i64>,
    ) -> Result<EventSubscriber, ApiError> {
        let permit = app.event_subscribers().acquire(principal.user())?;
        let event_signal = app.directory_service().store().event_signal();
        let newest = app.directory_service().store().newest_event().await?;
        // A cursor beyond the newest event belongs to another database: its new events would look old.
        let cursor = cursor.unwrap_or(newest);
        if cursor > newest {
            return Err(Fault::UnknownEvent.into());
        }
        let shutting_down = app.shutting_down();
        Ok(EventSubscriber {
            app: app.clone(),
            principal,
            kinds,
            user,
            cursor,
            event_signal,
            shutting_down,
            _permit: permit,
        })
    }

    pub(crate) fn cursor(&self) -> i64 {
        self.cursor
    }

    /// The next events, at least one.
    pub(crate) async fn next(&mut self) -> Result<Vec<Event>, DisconnectReason> {
        loop {
            if !self.principal.is_still_valid(&self.app) {
                return Err(DisconnectReason::Key);
            }
            let events = self.page().await.map_err(|error| {
                tracing::error!(%error, "events could not be read; disconnecting the subscriber");
                DisconnectReason::Store
            })?;
            if !events.is_empty() {
                return Ok(events);
            }
            tokio::select! {
                _ = self.event_signal.changed() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                _ = self.shutting_down.wait_for(|shutting_down| *shutting_down) => return Err(DisconnectReason::ShuttingDown),
            }
        }
    }

    async fn page(&mut self) -> Result<Vec<Event>, store::StoreError> {
        let store = self.app.directory_service().store();
        // Bounded by the newest event: events that the filter excludes are not scanned again.
        let newest = store.newest_event().await?;
        if newest <= self.cursor {
            return Ok(Vec::new());
        }
        let query = EventQuery {
            kinds: self.kinds.clone(),
            user: self.user.clone(),
            after: Some(self.cursor),
            before: Some(newest + 1),
            ascending: true,
            limit: SUBSCRIBER_PAGE,
            ..EventQuery::default()
        };
        let events = store.list_events(&query).await?;
        let full = events.len() == SUBSCRIBER_PAGE as usize;
        self.cursor = events.last().filter(|_| full).map_or(newest, |last| last.seq);
        Ok(events)
    }
}
