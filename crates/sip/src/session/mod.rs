//! INVITE sessions: the SIP side of a call leg, with one file per operation.

mod accept;
mod cancel;
mod close;
mod connect;
mod glare;
mod journal;
mod offer;
mod prack;
mod request;
mod state;
mod timer;

use bytes::Bytes;

use crate::digest::Account;
use crate::{Headers, Hop, Message, Uri};

pub(crate) use accept::receive;
pub(crate) use connect::{ack_and_bye_stray, connect};
pub(crate) use journal::restore;
pub(crate) use state::Session;
pub(crate) use timer::below_min_se;

/// Id of an INVITE session of an [`crate::Endpoint`]. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// Destination of an out-of-dialog request.
#[derive(Clone, Debug)]
pub struct Target {
    /// The Request-URI: the Contact of a binding, or a number at a trunk.
    pub uri: Uri,
    /// The next hop: the flow that a phone registered over, or a resolved address.
    pub hop: Hop,
    /// Preloaded route set (Path of a registration, RFC 3327), each `<sip:…;lr>`.
    pub route: Vec<Uri>,
}

/// Parameters of an outgoing INVITE.
#[derive(Clone, Debug)]
pub struct InviteParams {
    /// Request-URI, next hop and route set.
    pub target: Target,
    /// From value without tag: `"Ana" <sip:1001@localhost>`.
    pub from: String,
    /// To value: `<sip:1002@localhost>`.
    pub to: String,
    /// The user part of our Contact.
    pub contact_user: String,
    /// Additional header lines (`Diversion`, `P-Asserted-Identity`, …).
    pub lines: Headers,
    /// Our SDP offer.
    pub offer: Bytes,
    /// Credentials for a trunk that challenges; `None` for phones.
    pub credentials: Option<Account>,
    /// Max-Forwards: that of the incoming INVITE less one, or 70 for a call that we originate.
    pub max_forwards: u8,
}

/// How to end a session.
#[derive(Clone, Copy, Debug)]
pub struct HangupParams<'a> {
    /// Status for an INVITE that must be rejected (486, 480, 603, …).
    pub status: u16,
    /// Reason phrase for it; `None` means the standard one.
    pub phrase: Option<&'a str>,
    /// Additional header lines: `Reason`, `Warning`, `Retry-After`.
    pub lines: Option<&'a Headers>,
}

/// Why a session terminated.
#[derive(Clone, Debug)]
pub enum Termination {
    /// We ended it.
    Local,
    /// The peer sent BYE.
    Bye {
        /// Value of its Reason header.
        reason: Option<String>,
    },
    /// The peer cancelled its INVITE.
    Cancelled {
        /// Value of the CANCEL's Reason header.
        reason: Option<String>,
    },
    /// Our INVITE was rejected.
    Refused {
        /// Status, 300 to 699; 408 if there was no response, 503 on transport failure.
        status: u16,
        /// The final response, if there was one.
        response: Option<Message>,
    },
    /// Our 200 was not acknowledged within 64·T1; BYE was sent.
    NoAck,
    /// The session timer expired (RFC 4028); BYE was sent.
    SessionTimeout,
    /// An in-dialog request got 408 or 481, or no response (RFC 3261 §12.2.1.2).
    DialogGone,
}

/// An event of an INVITE session.
#[derive(Clone, Debug)]
pub enum SessionEvent {
    /// Outgoing call: a provisional response (never 100). The endpoint sends PRACK itself.
    Progress {
        /// Status: 180, 183, ….
        status: u16,
        /// Number of the early dialog, from 0.
        fork: u8,
        /// SDP of the response, if any: the answer to our offer on that early dialog.
        sdp: Option<Bytes>,
    },
    /// Outgoing call: a 2xx response. The endpoint sends ACK itself.
    Accepted {
        /// Number of the early dialog, as in `Progress`.
        fork: u8,
        /// The answer to our offer; `None` if the answer in an earlier response of this dialog stands.
        sdp: Option<Bytes>,
        /// The 2xx response.
        response: Message,
    },
    /// Incoming call: the ACK of our 200 arrived (also of a 200 to a re-INVITE).
    Confirmed {
        /// The peer's answer, if our 200 carried the offer.
        sdp: Option<Bytes>,
    },
    /// The peer sends an offer (re-INVITE, UPDATE or PRACK) or asks for ours (re-INVITE without SDP). Respond with [`crate::Endpoint::answer`]; the
    /// endpoint sends 100 to a re-INVITE itself. Session refreshes with unchanged SDP are reported too.
    Offered {
        /// The offer; `None` if the peer asks for ours.
        sdp: Option<Bytes>,
    },
    /// The peer answered our [`crate::Endpoint::offer`].
    Answered {
        /// The answer.
        sdp: Bytes,
    },
    /// The peer rejected our offer; the session continues unchanged.
    OfferRefused {
        /// Status: 488, 491 after all retries, ….
        status: u16,
    },
    /// INFO, for example DTMF by INFO. The endpoint responds 200 itself.
    Info {
        /// Value of Content-Type; empty if absent.
        content_type: String,
        /// The body.
        body: Bytes,
    },
    /// The session has terminated; its id is no longer valid.
    Ended(Termination),
}
