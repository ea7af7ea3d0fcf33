//! SIP without I/O: messages, transactions, dialogs, INVITE sessions, subscriptions and digest authentication. No socket, no clock.
//!
//! [`Endpoint`] is the entry point: the caller hands it received bytes and timer expiries, and it returns bytes to send and events. Bodies are opaque
//! bytes; the crate knows no media.
#![deny(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod dialog;
pub mod digest;
mod endpoint;
mod framing;
mod headers;
mod hop;
mod lexer;
pub mod limits;
mod lines;
mod message;
mod method;
mod name;
pub mod resolve;
mod session;
mod status;
mod subscription;
mod transaction;
mod uri;
mod wire;
mod write;

pub use endpoint::{Config, Endpoint, Event, Incoming, Input, Output, Request, RequestId};
pub use framing::{Frame, Framer};
pub use headers::{CSeq, Contacts, NameAddr, Via};
pub use hop::{Flow, Hop, Transport};
pub use message::{Message, ParseError, Start};
pub use method::Method;
pub use name::HeaderName;
pub(crate) use session::sdp_of;
pub use session::{HangupParams, InviteParams, SessionEvent, SessionId, Target, Termination};
pub use status::reason_phrase;
pub use subscription::{SubscriptionEvent, SubscriptionId};
pub use uri::{Scheme, Uri, UriError};
pub use write::{Headers, Quoted, Reply};
