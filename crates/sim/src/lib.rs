//! Whole days at the office in one thread: the exchange, its phones and a bad network under a clock of their own.
//!
//! [`World::run`] plays one day out of one number and says what it broke. Nothing in it reads a clock or draws chance of its own, so that
//! a number that ever broke something breaks it again.

mod carriers;
mod crowd;
mod dice;
mod disk;
pub mod fuzz;
mod intruder;
mod office;
mod oracle;
mod phone;
mod story;
mod weather;
mod worker;
mod world;

pub use carriers::CARRIERS;
pub use crowd::CROWD;
pub use oracle::Tally;
pub use world::{Outcome, World};
