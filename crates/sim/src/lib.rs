//! Whole days at the office in one thread: the exchange, its phones and a bad network under a clock of their own.
//!
//! [`World::run`] plays one day out of one number and says what it broke. Nothing in it reads a clock or draws chance of its own, so that
//! a number that ever broke something breaks it again.

mod attacker;
mod carriers;
mod crowd;
mod disk;
mod event_log;
pub mod fuzz;
mod network_conditions;
mod office;
mod oracle;
mod phone;
mod rng_ext;
mod worker;
mod world;

pub use carriers::CARRIERS;
pub use crowd::CROWD;
pub use oracle::Tally;
pub use world::{Outcome, World};
