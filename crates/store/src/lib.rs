//! Keeps what must outlive the process, behind one [`Store`]: a file per table, one SQL text for SQLite and PostgreSQL.
#![deny(missing_docs)]

mod audit;
mod bindings;
mod call_page;
mod calls;
mod credentials;
mod error;
mod extensions;
mod feed;
mod key_uses;
mod keys;
mod ladders;
mod legs;
mod limits;
mod lite;
mod migrate;
mod moving;
mod pen;
mod pool;
mod postgres;
mod prune;
mod row;
mod sql;
mod store;
mod users;

pub use audit::{Audit, Event, EventFilter, EventPage};
pub use call_page::{CallFilter, Cursor};
pub use calls::{CallPage, Remembered};
pub use error::StoreError;
pub use key_uses::KeyUse;
pub use pen::{News, Pen};
pub use prune::{Pruned, Retention};
pub use store::Store;
