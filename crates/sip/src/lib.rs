//! SIP without I/O: messages, transactions, dialogs, INVITE sessions, subscriptions and digest authentication. No socket, no clock.
//!
//! [`Endpoint`] is the entry point: the caller hands it received bytes and timer expiries, and it returns bytes to send and events. It finds the SDP
//! in a body, but does not interpret it: the crate knows no media.
//!
//! # Example: answer a REGISTER, place a call
//!
//! The caller owns socket and clock. Here the "socket" is a byte string, and the clock stands still.
//!
//! ```
//! use base::{Now, Rng};
//! use centralita_sip::{
//!     Config, Contacts, Endpoint, Event, Flow, Headers, Hop, Input, InviteParams, Message, Method, Output, Reply,
//!     SessionEvent, Target, Transport,
//! };
//!
//! let mut endpoint = Endpoint::new(Config::default(), Rng::from_seed([7; 32])); // in production: seed it from the kernel
//! let now = Now::default();
//! let phone = Hop {
//!     transport: Transport::Udp,
//!     listener: 0,
//!     local: "192.0.2.1:5060".parse()?,
//!     remote: "192.0.2.7:5071".parse()?,
//!     flow: Flow::default(),
//! };
//!
//! // A phone registers: its Contact is where calls for it go.
//! let register = "REGISTER sip:example.org SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP 192.0.2.7:5071;branch=z9hG4bK1;rport\r\n\
//!     From: <sip:1001@example.org>;tag=a\r\n\
//!     To: <sip:1001@example.org>\r\n\
//!     Call-ID: 1@192.0.2.7\r\n\
//!     CSeq: 1 REGISTER\r\n\
//!     Contact: <sip:1001@192.0.2.7:5071>\r\n\
//!     Content-Length: 0\r\n\r\n";
//! let mut out = Vec::new();
//! endpoint.handle(now, Input::Packet { hop: phone, bytes: register.into() }, &mut out);
//! let Some(Output::Event(Event::Request(request))) = out.pop() else { panic!("no request") };
//! assert_eq!(*request.message.method(), Method::Register);
//! let Ok(Contacts::List(contacts)) = request.message.contacts() else { panic!("no Contact") };
//! // A registrar checks the password first: `digest::Nonces`, `digest::Credentials`.
//! let mut lines = Headers::new();
//! lines.add("Contact", format_args!("<{}>;expires=3600", contacts[0].uri));
//! endpoint.respond_cached(now, &request, Reply::new(200).lines(&lines), &mut out);
//! let Some(Output::Transmit { bytes, hop, .. }) = out.pop() else { panic!("no response") };
//! assert!(bytes.starts_with(b"SIP/2.0 200 OK\r\n"));
//! assert_eq!(hop.remote, phone.remote);
//!
//! // Place a call to that phone.
//! let invite = InviteParams {
//!     target: Target { uri: contacts[0].uri.clone(), hop: phone, route: Vec::new() },
//!     from: "\"Ana\" <sip:1002@example.org>".into(),
//!     to: "<sip:1001@example.org>".into(),
//!     contact_user: "1002".into(),
//!     lines: Headers::new(),
//!     offer: "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n".into(),
//!     credentials: None,
//!     max_forwards: 70,
//! };
//! let call = endpoint.connect(now, invite, &mut out).ok_or("too many calls")?;
//! let Some(Output::Transmit { bytes, .. }) = out.pop() else { panic!("no INVITE") };
//! let invite = Message::parse(bytes).map_err(|error| error.what)?;
//! // Timer A: call `handle` with `Input::Tick` at this time if no response arrives earlier.
//! assert!(endpoint.deadline().is_some());
//!
//! // The phone rings: the response is an event of the session.
//! let ringing = Reply::new(180).to(&invite, None, Some("b"));
//! endpoint.handle(now, Input::Packet { hop: phone, bytes: ringing }, &mut out);
//! assert!(out.iter().any(|output| matches!(
//!     output,
//!     Output::Event(Event::Session { session, event: SessionEvent::Progress { status: 180, .. } }) if *session == call
//! )));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod body;
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

pub use body::{BodyPart, BodyParts};
pub use endpoint::{Config, Endpoint, Event, Incoming, Input, Output, Request, RequestId};
pub use framing::{Frame, Framer};
pub use headers::{CSeq, Contacts, NameAddr, Via};
pub use hop::{Flow, Hop, Transport};
pub use message::{Message, ParseError, Start};
pub use method::Method;
pub use name::HeaderName;
pub use session::{HangupParams, InviteParams, SessionEvent, SessionId, Target, Termination};
pub use status::reason_phrase;
pub use subscription::{SubscriptionEvent, SubscriptionId};
pub use uri::{Scheme, Uri, UriError};
pub use write::{Headers, Quoted, Reply};
