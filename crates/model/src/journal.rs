//! Records of the write-ahead journal. The switch emits them before it answers, so that a crash loses nothing that was confirmed to a peer.
//!
//! The journal encodes these types by field name and variant name, and a later version must read the files of an earlier one. So a renamed
//! field or variant keeps its old name by `#[serde(rename)]`, a new field that is not an `Option` gets `#[serde(default)]`, and nothing is
//! removed. The golden files of `server/tests/golden` and the names pinned in `tests/journal_names.rs` check that.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CallId, CallRecord, LegRecord, Recording, UserId, voicemail};

/// A local listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerId {
    /// The listener bound to this address, with the transport stored beside it.
    Address(SocketAddr),
    /// Index into the configuration: the form of journals written before addresses were stored.
    Index(u16),
}

/// A registered contact binding (RFC 3261 §10).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Binding {
    /// User name of the credential: the address of record without its domain.
    pub username: Arc<str>,
    /// Contact URI as registered.
    pub contact: String,
    /// Path URIs (RFC 3327), topmost first.
    pub path: Vec<String>,
    /// Call-ID of the registration.
    pub call_id: String,
    /// CSeq of the last REGISTER.
    pub cseq: u32,
    /// Contact preference `q` in thousandths, 0 to 1000; 1000 where not given.
    pub q: u16,
    /// Expiry time.
    pub expires_at: Timestamp,
    /// Time of the first registration.
    pub created_at: Timestamp,
    /// `User-Agent` of the phone.
    pub user_agent: String,
    /// Transport: 0 UDP, 1 TCP, 2 TLS, 3 WS, 4 WSS.
    pub transport: u8,
    /// Listener that received the REGISTER.
    pub listener: ListenerId,
    /// Our address as the phone sees it.
    pub local: SocketAddr,
    /// Source address of the REGISTER.
    pub remote: SocketAddr,
    /// Connection of a stream transport (epoch, number).
    pub flow: (u32, u32),
    /// `+sip.instance` as the phone sent it (RFC 5626 §4.1).
    pub instance: Option<String>,
    /// `reg-id` (RFC 5626 §4.2).
    pub reg_id: Option<String>,
}

/// A leg of a call that is up: what is needed to send a BYE after a crash and to complete the call record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DialogSnapshot {
    /// Serialised dialog state, opaque to all but the SIP endpoint.
    #[serde(with = "serde_bytes")]
    pub dialog: Vec<u8>,
    /// Transport, encoded as in [`Binding`].
    pub transport: u8,
    /// Local listener.
    pub listener: ListenerId,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Index of the leg in the call record.
    pub place: Option<u32>,
    /// The leg's record so far.
    pub record: Option<Box<LegRecord>>,
}

/// One record of the journal.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)]
pub enum Record {
    /// A contact was registered or refreshed. Key: (username, contact).
    Bound(Binding),
    /// A contact expired or was removed.
    Unbound {
        /// User name of the credential.
        username: Arc<str>,
        /// Contact URI.
        contact: String,
        /// Time of the removal.
        at: Timestamp,
    },
    /// A call began.
    CallOpened(Box<CallRecord>),
    /// A leg of a call was confirmed (ACK received or sent).
    LegUp {
        /// Id of the call.
        call: CallId,
        /// Its dialog.
        leg: DialogSnapshot,
    },
    /// A call ended: the final CDR.
    CallClosed(Box<CallRecord>),
    /// SIP ladder of a call that ended, compressed (see the switch's `ladder`).
    Ladder {
        /// Id of the call.
        call: CallId,
        /// Compressed ladder.
        #[serde(with = "serde_bytes")]
        blob: Vec<u8>,
    },
    /// An event that is published and changes no state.
    Noted(CallEvent),
    /// A recording began or ended.
    Recording(Box<Recording>),
    /// Heartbeat: the process was alive at this time with calls up. Only the last one counts.
    Alive {
        /// Time of the heartbeat.
        at: Timestamp,
    },
    /// A change of a voicemail message or greeting. Kept until the voicemail worker has applied it.
    Voicemail(Box<voicemail::Fact>),
}

/// Events that the switch publishes besides its records, for event subscribers (S88–S95).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEvent {
    /// The callee's phone rings.
    Ringing {
        /// Id of the call.
        call: CallId,
        /// Time at which it began to ring.
        at: Timestamp,
    },
    /// The callee answered.
    Answered {
        /// Id of the call.
        call: CallId,
        /// Time of the answer.
        at: Timestamp,
    },
    /// A digest response was wrong; published at most once a minute per source and account.
    WrongAnswer {
        /// Source address.
        source: IpAddr,
        /// User name of the attempt, cut to 64 printable characters; the account need not exist.
        account: String,
        /// Time of the attempt.
        at: Timestamp,
        /// Length of the ban of the source in seconds; 0 where it was not banned.
        banned_seconds: u32,
    },
    /// An outbound leg was answered or ended: time charged to the user's daily allowance (security.md row 7).
    Outside(OutboundCallTime),
    /// An emergency number was dialled (security.md row 31).
    Emergency {
        /// Id of the call.
        call: CallId,
        /// Time of the call.
        at: Timestamp,
    },
    /// A user reached a level of the day's outbound minutes; published once a day per level (security.md row 7).
    SpendAlert {
        /// The user charged.
        user: UserId,
        /// Level reached in percent: 50, 80 or 100.
        percent: u8,
        /// The daily limit in minutes (100 %).
        limit_minutes: u32,
        /// Start of the day.
        day: Timestamp,
        /// Time at which the level was reached.
        at: Timestamp,
    },
}

/// Time that an outbound leg was up, and the user who is charged for it: the owner of the call, or the one who forwarded it to the outside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutboundCallTime {
    /// Id of the call.
    pub call: CallId,
    /// Index of the leg in the call record.
    pub leg: u32,
    /// The user charged.
    pub user: UserId,
    /// Time of the answer.
    pub since: Timestamp,
    /// Time of the end; `None` while the leg is up.
    pub until: Option<Timestamp>,
}

impl CallEvent {
    /// Id of the call that the event is about.
    pub fn call(&self) -> Option<&CallId> {
        match self {
            CallEvent::Ringing { call, .. }
            | CallEvent::Answered { call, .. }
            | CallEvent::Emergency { call, .. } => Some(call),
            CallEvent::Outside(time) => Some(&time.call),
            CallEvent::WrongAnswer { .. } | CallEvent::SpendAlert { .. } => None,
        }
    }
}
