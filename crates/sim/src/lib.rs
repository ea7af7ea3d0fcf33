//! Deterministic simulator: the switch, its phones and a lossy network in one thread, with a simulated clock.
//!
//! [`World::run`] runs one seed and reports the violated invariants. Nothing in it reads a clock or draws its own random numbers, so a seed that
//! failed once fails again.

mod attacker;
mod carriers;
mod crowd;
mod disk;
mod event_log;
pub mod fuzz;
mod network_conditions;
mod oracle;
mod phone;
mod rng_ext;
mod site;
mod worker;
mod world;

pub use carriers::CARRIERS;
pub use crowd::CROWD;
pub use oracle::Tally;
pub use world::{Outcome, World};
