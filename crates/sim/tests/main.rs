//! The integration tests of this crate in one binary: it is linked once, and its tests share one pool of threads.

mod seeds;
mod switch_inputs;
