//! Persistent storage behind one [`Store`]: a file per table, one SQL text for SQLite and PostgreSQL.
#![deny(missing_docs)]

mod advisory_lock;
mod bindings;
mod call_page;
mod calls;
mod copy;
mod credentials;
mod deliveries;
mod directory_lock;
mod error;
mod event_builder;
mod event_query;
mod events;
mod extensions;
mod feed;
mod health;
mod idempotency;
mod inspect;
mod installation;
mod key_uses;
mod keys;
mod ladders;
mod leases;
mod legs;
mod limits;
mod mailboxes;
mod mails;
mod messages;
mod migrate;
mod monitor;
mod node;
mod occurrence_ops;
mod occurrences;
mod outbound_call_time;
mod outbox;
mod parameters;
#[cfg(test)]
mod plans;
mod pool;
mod postgres;
mod probe;
mod prune;
mod recordings;
mod recurring;
mod row;
mod sounds;
mod sql;
mod sqlite;
mod stats;
mod store;
mod trunks;
mod users;
mod webhooks;

pub use call_page::{CallFilter, Cursor};
pub use calls::{CallPage, RuntimeState};
pub use deliveries::{
    Attempt, Delivery, DeliveryFilter, DeliveryId, DeliveryKind, DeliveryStatus, Due, Outcome,
};
pub use directory_lock::DirectoryLock;
pub use error::StoreError;
pub use event_query::EventQuery;
pub use events::{Audit, Event, EventFilter, EventPage};
pub use idempotency::{IdempotentRequest, PriorRequest};
pub use inspect::Contents;
pub use installation::RemovedAudio;
pub use key_uses::{KeyUse, UsedBy};
pub use monitor::Health;
pub use node::node_name;
pub use outbox::OutboxBatch;
pub use probe::{Found, probe};
pub use prune::{Pruned, Retention};
pub use recordings::{Kept, Place, RecordingCursor, RecordingFilter, RecordingPage};
pub use stats::{Hour, Stats, StatsQuery};
pub use store::Store;
