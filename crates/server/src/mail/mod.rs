//! Mail about voicemail: what is due is read from the database, each mail is tried once at a time, and what came of it is written back. When it
//! is tried again is decided by the model.

mod message;
mod smtp;
mod worker;

pub use message::{EmailMessage, sender};
pub use smtp::{Mailer, RelayError, SmtpRelay};
pub use worker::{MailConfig, Worker};
