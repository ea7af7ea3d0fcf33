//! Mail about voicemail: what is due is read from the database, each mail is tried once at a time, and what came of it is written back. When it
//! is tried again is decided by the model.

mod letter;
mod relay;
mod worker;

pub use letter::{Letter, sender};
pub use relay::{Mailer, Relay, RelayError};
pub use worker::{Post, Worker};
