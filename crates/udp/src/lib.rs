//! Datagrams in batches, and the memory that the kernel reads and writes meanwhile.
//!
//! What is done with pointers lies here, apart from what decides about packets, so that it can be tested alone: `cargo xtask memory` runs the
//! tests under Miri where that is installed and under AddressSanitizer everywhere. The tests play the kernel's part themselves.
#![deny(missing_docs)]

pub mod address;
pub mod batch;
mod control;
pub mod errors;
pub mod memory;
pub mod provided;
