//! What the API, the CLI and the scheduler may ask of the exchange, and what it answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use model::{Action, CallId, CallRecord, Cause, Recording, RecurringCallId, TraceStep, TrunkId, UserId};

use crate::ladder::Rung;

/// A call that we place ourselves: ring the caller's device, then the destination, then bridge them (S48).
#[derive(Clone, PartialEq, Debug)]
pub struct Originate {
    /// Whose call it is.
    pub user: UserId,
    /// `fromNumber`: names the device where it is an extension or user name of this user, and is shown to the callee.
    pub from: Option<String>,
    /// The device's user name, where it is already known (a call from an extension, S67).
    pub device: Option<Arc<str>>,
    /// `toNumber`: a number, an extension, a user name, or `*43` and its kin.
    pub to: String,
    /// How long to wait for a device to register, and then for it to answer.
    pub ring_timeout: Duration,
    /// Refuse at once where no device is registered (S48).
    pub require_device: bool,
    /// The occurrence that this is, of a recurring call.
    pub planned: Option<ScheduledOrigin>,
}

/// What is written down of an occurrence before it is dialled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScheduledOrigin {
    /// The id that the call will have. Asked for twice, it is made once.
    pub call: CallId,
    /// Of which recurring call.
    pub recurring: RecurringCallId,
    /// When it was due.
    pub due: Timestamp,
    /// What is done then.
    pub action: Action,
}

/// A request to the exchange.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// → [`Reply::Call`] or [`Reply::Refused`].
    Originate(Originate),
    /// End a call → [`Reply::Call`] with its final record, or [`Reply::Unknown`].
    End {
        /// Which.
        call: CallId,
    },
    /// A live call → [`Reply::Call`] or [`Reply::Unknown`].
    Show {
        /// Which.
        call: CallId,
    },
    /// Live calls, newest first → [`Reply::Calls`] with as many as were asked for, where there are so many.
    Calls {
        /// Whose.
        of: CallsOf,
        /// Only those behind this place of the list.
        after: Option<CallPlace>,
        /// No more than so many, and than [`crate::limits::CALLS_LISTED`].
        limit: usize,
    },
    /// Which of these calls are not over → [`Reply::Up`].
    Up {
        /// Which may be.
        calls: Vec<CallId>,
    },
    /// The ladder of a live call → [`Reply::Ladder`] or [`Reply::Unknown`].
    Ladder {
        /// Which.
        call: CallId,
    },
    /// Whether phones are registered and in calls → [`Reply::Presence`], in the same order.
    Presence {
        /// User names of credentials.
        usernames: Vec<Arc<str>>,
    },
    /// Bindings, all of a user name together → [`Reply::Registrations`].
    Registrations {
        /// Of whom.
        of: RegistrationsOf,
        /// No further user name once there are so many bindings, or [`crate::limits::NAMES_LISTED`] were looked at.
        limit: usize,
    },
    /// What is to be done with a call's recording → [`Reply::Recording`] or [`Reply::Unknown`].
    Recording {
        /// The call.
        call: CallId,
        /// What to do.
        action: RecordingAction,
    },
    /// → [`Reply::Status`].
    Status,
    /// How the trunks are doing → [`Reply::Trunks`].
    Trunks,
    /// Ask a trunk's hosts now whether they live → [`Reply::Trunks`] with that one as it was before, or [`Reply::Unknown`].
    ProbeTrunk {
        /// Which.
        trunk: TrunkId,
    },
    /// Whether this node registers at carriers, or another one does → [`Reply::Status`].
    SetTrunkRegistration {
        /// It is ours to register.
        on_duty: bool,
    },
    /// Another node may register at carriers from now on, for all that is known here: stop, and take nothing back → [`Reply::Status`].
    SuspendRegistrar,
    /// Call a number over one trunk, and hang up as soon as it answers → [`Reply::Call`], [`Reply::Refused`] or [`Reply::Unknown`].
    TestCall {
        /// Which trunk.
        trunk: TrunkId,
        /// Whose call it is.
        user: UserId,
        /// What to call.
        number: String,
        /// How long it may ring.
        patience: Duration,
    },
    /// What a test call has met so far → [`Reply::TestCall`], or [`Reply::Unknown`] where it was none or is long ago.
    Tested {
        /// Which.
        call: CallId,
    },
    /// Whose answers are not judged now, newest first → [`Reply::Bans`].
    Bans,
    /// End the bans of a source → [`Reply::Bans`] with those that were ended.
    LiftBans {
        /// The source; of IPv6 its /64 counts.
        source: IpAddr,
        /// Only that of this user name.
        account: Option<String>,
    },
    /// Start the SIP side again → [`Reply::Status`] (S34).
    Start,
    /// Let calls end (or end them, with `force`), then close the SIP listeners → [`Reply::Status`] at once (S35).
    Stop {
        /// End the calls that are up.
        force: bool,
    },
}

/// Whose calls are listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallsOf {
    /// All.
    Everybody,
    /// Those that this user may read: his own, and those in which his phones were called (S56).
    User(UserId),
    /// Those that a phone of this user name is in.
    Party(Arc<str>),
}

/// A place in the list of calls. The list is newest first, so what is less comes later.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CallPlace {
    /// When the call began.
    pub started_at: Timestamp,
    /// Which of those that began at that moment; before all of them where `None`, so that only older ones come after it.
    pub id: Option<CallId>,
}

impl CallPlace {
    /// Before all calls.
    pub(crate) const BEGIN: CallPlace = CallPlace { started_at: Timestamp::MAX, id: None };

    /// The place of a call.
    pub fn of(call: &CallRecord) -> CallPlace {
        CallPlace { started_at: call.started_at, id: Some(call.id.clone()) }
    }
}

/// Whose bindings are listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RegistrationsOf {
    /// Everybody's, by user name.
    Everybody {
        /// Only user names behind this one.
        after: Option<Arc<str>>,
    },
    /// Those of these user names, in this order.
    These(Vec<Arc<str>>),
}

/// What is to be done with the recording of a call (S177).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordingAction {
    /// Begin; nothing changes where one runs.
    Start,
    /// End it.
    Stop,
    /// Write silence from now on.
    Pause,
    /// Write again what is heard.
    Resume,
    /// Only show it.
    Show,
}

/// A recording that runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordingView {
    /// What is known of it.
    pub recording: Recording,
    /// Silence is written at present.
    pub paused: bool,
}

/// State of the SIP side (S36).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub enum State {
    #[default]
    Starting,
    Running,
    Draining,
    Stopped,
}

impl State {
    /// As in JSON: `running`, `stopped`, `starting`, `draining`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::Draining => "draining",
            State::Stopped => "stopped",
        }
    }
}

/// Room for what is written down before it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum JournalRoom {
    /// As much as is wanted.
    #[default]
    Ample,
    /// The disk is full; what was set aside for the journal is being used.
    Low,
    /// What is left is for the calls that are up: nothing new is taken on.
    Spent,
}

impl JournalRoom {
    /// As in JSON: `ok`, `low`, `full`.
    pub fn as_str(self) -> &'static str {
        match self {
            JournalRoom::Ample => "ok",
            JournalRoom::Low => "low",
            JournalRoom::Spent => "full",
        }
    }
}

/// What was counted since the start; labels for metrics are the field names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct Counters {
    pub messages_received: u64,
    pub messages_sent: u64,
    pub answers_withheld: u64,
    pub registrations_accepted: u64,
    pub challenges: u64,
    pub wrong_passwords: u64,
    pub banned: u64,
    pub calls_started: u64,
    pub calls_answered: u64,
    pub ladders_shed: u64,
    /// Calls that are over, by the code of their cause.
    pub calls_ended: std::collections::BTreeMap<&'static str, u64>,
}

/// How the exchange is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// The SIP side.
    pub state: State,
    /// Calls (not legs) alive.
    pub active_calls: usize,
    /// Bindings that have not expired.
    pub registrations: usize,
    /// RTP ports that are in use.
    pub ports_in_use: usize,
    /// SIP transactions and sessions alive.
    pub transactions: usize,
    /// SIP sessions alive.
    pub sessions: usize,
    /// The journal's room.
    pub journal: JournalRoom,
    /// Counted since the start.
    pub counters: Counters,
}

/// Whether a phone is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Presence {
    /// It has a binding.
    pub registered: bool,
    /// It is in a call.
    pub busy: bool,
}

/// One binding, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// The user name.
    pub username: Arc<str>,
    /// The contact URI.
    pub contact: String,
    /// Where it really is.
    pub remote: SocketAddr,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The phone's software.
    pub user_agent: String,
}

/// Whether a trunk, or a host of one, can be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum HealthState {
    Disabled,
    /// Nobody has asked yet, or nobody may.
    Unknown,
    Up,
    Down,
}

impl HealthState {
    /// As in JSON: `disabled`, `unknown`, `up`, `down`.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthState::Disabled => "disabled",
            HealthState::Unknown => "unknown",
            HealthState::Up => "up",
            HealthState::Down => "down",
        }
    }
}

/// Where the registration at a carrier is (S119).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum TrunkRegistration {
    Off,
    Trying,
    Registered,
    /// It is tried again later; the carrier's status, where it answered.
    Failed {
        status: Option<u16>,
    },
    Leaving,
    /// Another node registers.
    Elsewhere,
}

/// One address of a carrier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrunkHostStatus {
    /// The URI of the host that led to it.
    pub uri: String,
    /// Where it is.
    pub address: SocketAddr,
    /// `udp`, `tcp` or `tls`.
    pub transport: &'static str,
    /// Whether it lives.
    pub health: HealthState,
    /// What it answered last to OPTIONS.
    pub status: Option<u16>,
    /// How long that took.
    pub round_trip: Option<Duration>,
    /// When it was last heard of, or missed.
    pub checked_at: Option<Timestamp>,
}

/// How a trunk is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrunkStatus {
    /// Which.
    pub id: TrunkId,
    /// What people call it.
    pub name: String,
    /// Whether calls can go by it.
    pub life: HealthState,
    /// Its hosts.
    pub hosts: Vec<TrunkHostStatus>,
    /// Whether the carrier knows where we are.
    pub registration: TrunkRegistration,
    /// Until when.
    pub registered_until: Option<Timestamp>,
    /// Calls on it.
    pub calls: u32,
}

/// What a test call over a trunk has met.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TestedCall {
    /// What the carrier answered last.
    pub status: Option<u16>,
    /// When it began to ring, from the beginning of the call.
    pub rang: Option<Duration>,
    /// When it was answered.
    pub answered: Option<Duration>,
    /// Why it ended, once it has.
    pub cause: Option<Cause>,
    /// Which hosts were tried, and what became of that.
    pub trace: Vec<TraceStep>,
}

/// A source whose messages are dropped after too many wrong passwords (security.md row 1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ban {
    /// The address; of IPv6 the first of its /64.
    pub source: IpAddr,
    /// The user name that was tried, cut to 64 harmless characters; all of them where `None`.
    pub account: Option<Arc<str>>,
    /// When it ends.
    pub until: Timestamp,
}

impl Ban {
    /// The source as people read it: an address, or the network of IPv6 that counts as one.
    pub fn shown_source(&self) -> String {
        match self.source {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("{address}/64"),
        }
    }
}

/// The answer to a [`Command`].
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub enum Reply {
    Call(CallRecord),
    Calls(Vec<CallRecord>),
    Up(Vec<CallId>),
    Refused(Cause),
    Unknown,
    Ladder(Vec<Rung>),
    /// `None`: nothing of this call is recorded, or it is not up.
    Recording(Option<RecordingView>),
    /// The call is up, but only the house talks in it: voicemail, or an announcement.
    NothingToRecord,
    Presence(Vec<Presence>),
    Registrations {
        found: Vec<Registration>,
        /// The last user name that was looked at, where others follow.
        next: Option<Arc<str>>,
    },
    Status(Status),
    Trunks(Vec<TrunkStatus>),
    TestCall(TestedCall),
    Bans(Vec<Ban>),
}
