//! Properties that must hold for any input, one function per fuzz target. The tests of the crates replay the committed corpora through them.

pub mod media;
pub mod sip;
