//! Batched UDP I/O, and memory that the kernel reads and writes asynchronously.
//!
//! The unsafe code of UDP I/O is in this crate, apart from the packet logic, so that it can be tested alone: `cargo xtask memory` runs the tests
//! under Miri if that is installed, and under AddressSanitizer everywhere. The tests emulate the kernel.
#![deny(missing_docs)]

pub mod address;
pub mod batch;
mod control;
pub mod errors;
pub mod memory;
pub mod provided;
