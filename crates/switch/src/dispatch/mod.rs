//! Where the switch leads inputs to the parts that they concern. Only this folder and `switch.rs` know calls, MWI and registrar together.

mod commands;
mod directory;
mod invite;
mod media;
mod shell;
mod sip;
mod timers;
