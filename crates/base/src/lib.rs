//! Types that every other crate shares: time, random numbers, secrets and ids.
//!
//! Nothing here reads a clock or an entropy source. The caller does, and passes both in.
#![deny(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod id;
mod keyed;
mod now;
mod rng;
mod secret;
mod source;

pub use id::{Id, IdError, Kind};
pub use keyed::{KeyedHash, KeyedMap, KeyedSet};
pub use now::{Instant, Now, Timestamp};
pub use rng::Rng;
pub use secret::Secret;
pub use source::source_of;
