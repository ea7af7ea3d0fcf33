//! The integration tests of this crate in one binary: it is linked once, and its tests share one pool of threads.
#![allow(clippy::unwrap_used)]

mod causes_are_explained;
mod dial_policy;
mod directory_difference;
mod journal_names;
mod parties;
mod recurrence;
