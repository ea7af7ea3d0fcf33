//! Dispatch of inputs to the parts of the switch. Only this module and `switch.rs` access calls, MWI and registrar together.

mod commands;
mod directory;
mod invite;
mod media;
mod shell;
mod sip;
mod timers;
