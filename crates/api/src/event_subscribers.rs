//! Following events: what a client has not seen yet, page by page, until it goes, is too slow, or is no longer welcome.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::UserId;
use store::{Event, EventQuery};
use tokio::sync::watch;

use crate::App;
use crate::auth::Principal;
use crate::error::{ApiError, Fault};
use crate::limits::{FOLLOWER_PAGE, FOLLOWERS, FOLLOWERS_OF_USER};

/// How often we look whether other nodes have written events, and whether the key is still good.
const LOOK: Duration = Duration::from_secs(1);

/// Why a client is told nothing more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DisconnectReason {
    /// It reads too slowly: it may come back with its last id.
    TooSlow,
    /// Its key was switched off, has expired or is gone.
    Key,
    /// We are going down.
    Closing,
    /// The database does not answer.
    Store,
}

impl DisconnectReason {
    pub(crate) fn code(self) -> &'static str {
        match self {
            DisconnectReason::TooSlow => "too_slow",
            DisconnectReason::Key => "key_inactive",
            DisconnectReason::Closing => "draining",
            DisconnectReason::Store => "store_unavailable",
        }
    }
}

/// How many follow, by user.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventSubscribers {
    by_user: Arc<Mutex<HashMap<UserId, usize>>>,
}

/// A place among those who follow; it is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    followers: EventSubscribers,
    user: UserId,
}

impl EventSubscribers {
    pub(crate) fn seat(&self, user: &UserId) -> Result<ConnectionPermit, ApiError> {
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (by_user.values().sum::<usize>(), by_user.get(user).copied().unwrap_or(0));
        if all >= FOLLOWERS || own >= FOLLOWERS_OF_USER {
            return Err(Fault::TooManyFollowers.into());
        }
        *by_user.entry(user.clone()).or_default() += 1;
        Ok(ConnectionPermit { followers: self.clone(), user: user.clone() })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut by_user = self.followers.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                by_user.remove(&self.user);
            }
        }
    }
}

/// Somebody who follows.
pub(crate) struct EventSubscriber {
    app: App,
    principal: Principal,
    kinds: Vec<String>,
    user: Option<UserId>,
    /// The last event that was looked at.
    cursor: i64,
    told: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
    _seat: ConnectionPermit,
}

impl EventSubscriber {
    /// `cursor` is the last event that was seen; where there is none, only what happens from now on is told.
    pub(crate) async fn new(
        app: &App,
        principal: Principal,
        kinds: Vec<String>,
        user: Option<UserId>,
        cursor: Option<i64>,
    ) -> Result<EventSubscriber, ApiError> {
        let seat = app.followers().seat(principal.user())?;
        let told = app.directory_service().store().events_told();
        let newest = app.directory_service().store().newest_event().await?;
        // Who has seen more than there is has followed another database: what is new here would be old to it.
        let cursor = cursor.unwrap_or(newest);
        if cursor > newest {
            return Err(Fault::UnknownEvent.into());
        }
        let closing = app.closing();
        Ok(EventSubscriber { app: app.clone(), principal, kinds, user, cursor, told, closing, _seat: seat })
    }

    pub(crate) fn cursor(&self) -> i64 {
        self.cursor
    }

    /// What happened next: one event at least.
    pub(crate) async fn next(&mut self) -> Result<Vec<Event>, DisconnectReason> {
        loop {
            if !self.principal.is_still_welcome(&self.app) {
                return Err(DisconnectReason::Key);
            }
            let events = self.page().await.map_err(|error| {
                tracing::error!(%error, "events cannot be read");
                DisconnectReason::Store
            })?;
            if !events.is_empty() {
                return Ok(events);
            }
            tokio::select! {
                _ = self.told.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                _ = self.closing.wait_for(|closing| *closing) => return Err(DisconnectReason::Closing),
            }
        }
    }

    async fn page(&mut self) -> Result<Vec<Event>, store::StoreError> {
        let store = self.app.directory_service().store();
        // What is looked at is bounded above: events that are not for us are not looked at again.
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
            limit: FOLLOWER_PAGE,
            ..EventQuery::default()
        };
        let events = store.list_events(&query).await?;
        let full = events.len() == FOLLOWER_PAGE as usize;
        self.cursor = events.last().filter(|_| full).map_or(newest, |last| last.seq);
        Ok(events)
    }
}
