//! What must hold for any input, one function per fuzz target. The crates' own tests replay the committed corpora through the same functions.

pub mod media;
pub mod sip;
