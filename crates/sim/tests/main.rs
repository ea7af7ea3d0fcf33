//! The integration tests of this crate in one binary: it is linked once, and its tests share one pool of threads.

mod days_at_the_office;
mod switch_inputs;
