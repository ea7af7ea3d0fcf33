//! INVITE sessions: what a leg of a call does, verb by verb.

mod accept;
mod body;
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
pub(crate) use body::sdp_of;
pub(crate) use connect::{connect, end_stray};
pub(crate) use journal::resume;
pub(crate) use state::Session;
pub(crate) use timer::too_small;

/// One INVITE session of an [`crate::Endpoint`]; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// Where an INVITE goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The Request-URI: a binding's contact, or a number at a trunk.
    pub uri: Uri,
    /// The next hop: the flow that a phone registered over, or an address that was resolved.
    pub hop: Hop,
    /// Preloaded Route set (Path of a registration, RFC 3327), each `<sip:…;lr>`.
    pub route: Vec<Uri>,
}

/// A call to be made.
#[derive(Clone, Debug)]
pub struct InviteParams {
    /// Where to.
    pub target: Target,
    /// From without tag: `"Ana" <sip:1001@localhost>`.
    pub from: String,
    /// To: `<sip:1002@localhost>`.
    pub to: String,
    /// The user part of our Contact.
    pub contact_user: String,
    /// Further header lines, carried on purpose.
    pub lines: Headers,
    /// Our offer.
    pub offer: Bytes,
    /// For a trunk that challenges; never given to phones.
    pub credentials: Option<Account>,
    /// Max-Forwards: the caller's less one; 70 for a call of our own.
    pub max_forwards: u8,
}

/// How to end a session.
#[derive(Clone, Copy, Debug)]
pub struct HangupParams<'a> {
    /// The status where an INVITE has to be refused (486, 480, 603, …).
    pub status: u16,
    /// The phrase beside it; the standard one where `None`.
    pub phrase: Option<&'a str>,
    /// Further header lines: `Reason`, `Warning`, `Retry-After`.
    pub lines: Option<&'a Headers>,
}

/// Why a session is over.
#[derive(Clone, Debug)]
pub enum Termination {
    /// We ended it.
    Local,
    /// The peer said BYE. `reason` is its Reason header.
    Bye {
        /// The value of Reason.
        reason: Option<String>,
    },
    /// An incoming INVITE was cancelled. `reason` is CANCEL's Reason header.
    Cancelled {
        /// The value of Reason.
        reason: Option<String>,
    },
    /// An outgoing INVITE was refused.
    Refused {
        /// 300 to 699; 408 where nothing was heard, 503 where the transport broke.
        status: u16,
        /// The answer, where there was one.
        response: Option<Message>,
    },
    /// The 200 was never acknowledged (64·T1): BYE was sent.
    NoAck,
    /// The session timer ran out (RFC 4028): BYE was sent.
    SessionTimeout,
    /// An in-dialog request got 408 or 481, or nothing at all (RFC 3261 §12.2.1.2).
    DialogGone,
}

/// What happens in a session.
#[derive(Clone, Debug)]
pub enum SessionEvent {
    /// Outgoing: a provisional answer (never 100). SDP where it carried one: the answer to our offer on that fork. PRACK is sent by itself.
    Progress {
        /// 180, 183, ….
        status: u16,
        /// Which early dialog, counted from 0.
        fork: u8,
        /// SDP.
        sdp: Option<Bytes>,
    },
    /// Outgoing: answered with 2xx; ACK is sent by itself. `sdp` is the answer to our offer, or `None` where this fork's early answer stands.
    Accepted {
        /// Which early dialog, as in `Progress`.
        fork: u8,
        /// SDP.
        sdp: Option<Bytes>,
        /// The response.
        response: Message,
    },
    /// Incoming: the ACK of our 200 is here (also of a 200 to a re-INVITE). `sdp` is the peer's answer where the offer was ours.
    Confirmed {
        /// SDP.
        sdp: Option<Bytes>,
    },
    /// The peer makes an offer (re-INVITE, UPDATE, or PRACK); with `None` it asks us for one (re-INVITE without SDP). Answer with
    /// [`crate::Endpoint::answer`]; a re-INVITE gets 100 by itself. Session refreshes whose SDP did not change come here too.
    Offered {
        /// SDP.
        sdp: Option<Bytes>,
    },
    /// The peer answered our [`crate::Endpoint::offer`].
    Answered {
        /// SDP.
        sdp: Bytes,
    },
    /// The peer refused our offer; the session goes on as it was.
    OfferRefused {
        /// 488, 491 after all retries, ….
        status: u16,
    },
    /// INFO (answered 200 by itself): DTMF of phones that send it so.
    Info {
        /// Content-Type.
        content_type: String,
        /// Body.
        body: Bytes,
    },
    /// It is over, and nothing is left of it here.
    Ended(Termination),
}
