//! E-mail notifications of voicemail: the worker reads due deliveries from the database, tries each once at a time, and writes the result back.
//! The model decides when a delivery is retried.

mod message;
mod smtp;
mod worker;

pub use message::{EmailMessage, sender};
pub use smtp::{Mailer, RelayError, SmtpRelay};
pub use worker::{MailConfig, Worker};
