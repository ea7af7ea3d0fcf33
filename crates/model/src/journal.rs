//! What the switch writes down before it answers, so that a crash forgets nothing that was promised.
//!
//! These types are what the journal's files say, field by field and variant by variant, by name: a later version must read what an earlier one
//! wrote. So a name that changes in Rust keeps its old one by `#[serde(rename)]`, a new field that is not an `Option` gets `#[serde(default)]`,
//! and nothing is taken away. The golden files of `server/tests/golden` and the names pinned in `tests/journal_names.rs` hold that.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CallId, CallRecord, LegRecord, Recording, UserId, voicemail};

/// Which of our listeners something came over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerId {
    /// The one that is bound to this address, with the transport that is noted beside it.
    Address(SocketAddr),
    /// Its index in the configuration: what was written before addresses were.
    Index(u16),
}

/// One contact that a phone has registered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Binding {
    /// The credential's user name: the address of record without its domain.
    pub username: Arc<str>,
    /// The contact URI as registered.
    pub contact: String,
    /// Path URIs (RFC 3327), topmost first.
    pub path: Vec<String>,
    /// Call-ID of the registration.
    pub call_id: String,
    /// Its last CSeq.
    pub cseq: u32,
    /// Preference in thousandths (`q`), 1000 where not given.
    pub q: u16,
    /// When it expires.
    pub expires_at: Timestamp,
    /// When it was first registered.
    pub created_at: Timestamp,
    /// The phone's software.
    pub user_agent: String,
    /// The transport, 0 UDP, 1 TCP, 2 TLS, 3 WS, 4 WSS.
    pub transport: u8,
    /// Which of our listeners it came over.
    pub listener: ListenerId,
    /// Our address as the phone sees it.
    pub local: SocketAddr,
    /// The address that the registration really came from.
    pub remote: SocketAddr,
    /// The connection (epoch, number), for streams.
    pub flow: (u32, u32),
    /// `+sip.instance` as the phone wrote it (RFC 5626 §4.1).
    pub instance: Option<String>,
    /// `reg-id` (RFC 5626 §4.2).
    pub reg_id: Option<String>,
}

/// A leg of a call that is up: what is needed to say BYE after a crash, and to write the call's record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DialogSnapshot {
    /// The dialog, opaque to all but the SIP endpoint.
    #[serde(with = "serde_bytes")]
    pub dialog: Vec<u8>,
    /// The transport, as in [`Binding`].
    pub transport: u8,
    /// The listener.
    pub listener: ListenerId,
    /// Our address.
    pub local: SocketAddr,
    /// The phone's address.
    pub remote: SocketAddr,
    /// Which leg of the call's record it is.
    pub place: Option<u32>,
    /// What the record says of it so far.
    pub record: Option<Box<LegRecord>>,
}

/// One line of the journal.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)]
pub enum Record {
    /// A contact was registered or refreshed. Key: (username, contact).
    Bound(Binding),
    /// A contact is gone.
    Unbound {
        /// The user name.
        username: Arc<str>,
        /// The contact URI.
        contact: String,
        /// When.
        at: Timestamp,
    },
    /// A call has begun.
    CallOpened(Box<CallRecord>),
    /// A leg of a call is confirmed.
    LegUp {
        /// The call.
        call: CallId,
        /// The leg.
        leg: DialogSnapshot,
    },
    /// A call is over: its CDR.
    CallClosed(Box<CallRecord>),
    /// The SIP ladder of a call that is over: compressed (see the switch's `ladder`).
    Ladder {
        /// The call.
        call: CallId,
        /// The blob.
        #[serde(with = "serde_bytes")]
        blob: Vec<u8>,
    },
    /// Something happened that is told and otherwise changes nothing.
    Noted(CallEvent),
    /// A recording has begun, or is over.
    Recording(Box<Recording>),
    /// The process lived at this time, and calls were up. Of several only the last one counts.
    Alive {
        /// When.
        at: Timestamp,
    },
    /// Something happened to a message or a greeting of voicemail. Kept until voicemail's part of the shell has done it.
    Voicemail(Box<voicemail::Fact>),
}

/// What the exchange notes besides its records, for those who follow events (S88–S95).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEvent {
    /// The callee's phone rings.
    Ringing {
        /// The call.
        call: CallId,
        /// Since when.
        at: Timestamp,
    },
    /// The callee has answered.
    Answered {
        /// The call.
        call: CallId,
        /// When.
        at: Timestamp,
    },
    /// Somebody gave a wrong answer to a challenge; told once a minute of one source and account at most.
    WrongAnswer {
        /// Where from.
        source: IpAddr,
        /// For whom, cut to 64 harmless characters; it need not exist.
        account: String,
        /// When.
        at: Timestamp,
        /// For how many seconds its messages are dropped now; 0 where they are not.
        banned_seconds: u32,
    },
    /// A call has been answered outside, or is over there: what its user is charged (security.md row 7).
    Outside(OutboundCallTime),
    /// Somebody calls for help (security.md row 31).
    Emergency {
        /// The call.
        call: CallId,
        /// When.
        at: Timestamp,
    },
    /// A user has used so much of the day's minutes to the outside; told once a day of each level (security.md row 7).
    SpendAlert {
        /// Who.
        user: UserId,
        /// The level that is reached: 50, 80 or 100.
        percent: u8,
        /// What 100 % is.
        limit_minutes: u32,
        /// When the day began.
        day: Timestamp,
        /// When it was reached.
        at: Timestamp,
    },
}

/// The time that a leg of a call was up outside, and who pays for it: whose call it is, or who has forwarded it there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutboundCallTime {
    /// The call.
    pub call: CallId,
    /// Which of its legs.
    pub leg: u32,
    /// Who pays.
    pub user: UserId,
    /// When it was answered.
    pub since: Timestamp,
    /// When it ended; `None` while it is up.
    pub until: Option<Timestamp>,
}

impl CallEvent {
    /// The call that it is about.
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
