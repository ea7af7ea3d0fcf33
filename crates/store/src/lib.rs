//! Keeps what must outlive the process, behind one [`Store`]: a file per table, one SQL text for SQLite and PostgreSQL.
#![deny(missing_docs)]

mod audit;
mod bindings;
mod call_page;
mod calls;
mod credentials;
mod deliveries;
mod error;
mod events;
mod extensions;
mod facts;
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
mod lite;
mod mailboxes;
mod mails;
mod messages;
mod migrate;
mod moving;
mod node;
mod occasions;
mod occurrences;
mod outside_time;
mod parameters;
mod pen;
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
mod stats;
mod store;
mod trunks;
mod users;
mod webhooks;

pub use audit::{Audit, Event, EventFilter, EventPage};
pub use call_page::{CallFilter, Cursor};
pub use calls::{CallPage, Remembered};
pub use deliveries::{
    Attempt, Delivery, DeliveryFilter, DeliveryId, DeliveryKind, DeliveryStatus, Due, Outcome,
};
pub use error::StoreError;
pub use events::EventQuery;
pub use health::Health;
pub use idempotency::{Asked, Earlier};
pub use inspect::Contents;
pub use installation::RemovedAudio;
pub use key_uses::{KeyUse, UsedBy};
pub use node::node_name;
pub use pen::{News, Pen};
pub use probe::{Found, probe};
pub use prune::{Pruned, Retention};
pub use recordings::{Kept, Place, RecordingCursor, RecordingFilter, RecordingPage};
pub use stats::{Hour, Stats, StatsQuery};
pub use store::Store;
