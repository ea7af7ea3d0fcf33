//! Commands that the API, the CLI and the scheduler send to the switch, and the replies.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use model::{Action, CallId, CallRecord, Cause, Recording, RecurringCallId, TraceStep, TrunkId, UserId};

use crate::ladder::Rung;

/// A call placed by the server: ring the caller's device, then the destination, then bridge the two (S48).
#[derive(Clone, PartialEq, Debug)]
pub struct Originate {
    /// Owner of the call.
    pub user: UserId,
    /// `fromNumber`: selects the device if it is an extension number or user name of this user; shown to the callee.
    pub from: Option<String>,
    /// User name of the device, if already known (a call from an extension, S67).
    pub device: Option<Arc<str>>,
    /// `toNumber`: a number, an extension, a user name, or a service code such as `*43`.
    pub to: String,
    /// How long to wait for a device to register, and then for it to answer.
    pub ring_timeout: Duration,
    /// Refuse at once if no device is registered (S48).
    pub require_device: bool,
    /// The scheduled occurrence of a recurring call that this call belongs to.
    pub planned: Option<ScheduledOrigin>,
}

/// One occurrence of a recurring call; written to the journal before it is dialled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScheduledOrigin {
    /// Id that the call will have. A second request with the same id does not start a second call.
    pub call: CallId,
    /// Id of the recurring call.
    pub recurring: RecurringCallId,
    /// When the occurrence was due.
    pub due: Timestamp,
    /// Action of the recurring call.
    pub action: Action,
}

/// A request to the switch.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Place a call → [`Reply::Call`] or [`Reply::Refused`].
    Originate(Originate),
    /// End a call → [`Reply::Call`] with its final record, or [`Reply::Unknown`].
    End {
        /// Id of the call to end.
        call: CallId,
    },
    /// Read a live call → [`Reply::Call`] or [`Reply::Unknown`].
    Show {
        /// Id of the call.
        call: CallId,
    },
    /// List live calls, newest first → [`Reply::Calls`] with at most `limit` records.
    Calls {
        /// Filter by user or party.
        of: CallsOf,
        /// Only calls after this position of the list.
        after: Option<CallPlace>,
        /// Maximum number of records; capped at [`crate::limits::CALLS_LISTED`].
        limit: usize,
    },
    /// Which of these calls have not ended → [`Reply::Up`].
    Up {
        /// Ids of the calls to check.
        calls: Vec<CallId>,
    },
    /// SIP ladder of a live call → [`Reply::Ladder`] or [`Reply::Unknown`].
    Ladder {
        /// Id of the call.
        call: CallId,
    },
    /// Whether devices are registered and in calls → [`Reply::Presence`], in the order of `usernames`.
    Presence {
        /// User names of credentials.
        usernames: Vec<Arc<str>>,
    },
    /// List bindings; all bindings of one user name stay in one reply → [`Reply::Registrations`].
    Registrations {
        /// All user names, or a list of them.
        of: RegistrationsOf,
        /// Stop before the next user name once this many bindings were found or [`crate::limits::NAMES_LISTED`] user names were examined.
        limit: usize,
    },
    /// Control or read the recording of a call → [`Reply::Recording`], [`Reply::NothingToRecord`], [`Reply::Refused`] or [`Reply::Unknown`].
    Recording {
        /// Id of the call.
        call: CallId,
        /// The action.
        action: RecordingAction,
    },
    /// State and counters → [`Reply::Status`].
    Status,
    /// State of all trunks → [`Reply::Trunks`].
    Trunks,
    /// Send OPTIONS to the hosts of a trunk now → [`Reply::Trunks`] with the state from before the probe, or [`Reply::Unknown`].
    ProbeTrunk {
        /// Id of the trunk.
        trunk: TrunkId,
    },
    /// Set whether this node registers at carriers; in a cluster exactly one node does → [`Reply::Status`].
    SetTrunkRegistration {
        /// `true`: this node registers; `false`: it unregisters and leaves registration to another node.
        on_duty: bool,
    },
    /// Stop registering at carriers without unregistering, because another node may have taken over → [`Reply::Status`].
    SuspendRegistrar,
    /// Call a number over one trunk and hang up as soon as it answers → [`Reply::Call`], [`Reply::Refused`] or [`Reply::Unknown`].
    TestCall {
        /// Id of the trunk.
        trunk: TrunkId,
        /// Owner of the call.
        user: UserId,
        /// Number to call.
        number: String,
        /// Ring timeout.
        patience: Duration,
    },
    /// Result of a test call so far → [`Reply::TestCall`], or [`Reply::Unknown`] if the id is not that of a recent test call.
    Tested {
        /// Id of the test call.
        call: CallId,
    },
    /// Active bans, newest first → [`Reply::Bans`].
    Bans,
    /// Lift the bans of a source → [`Reply::Bans`] with the bans that were lifted.
    LiftBans {
        /// Source address; for IPv6 its /64 is used.
        source: IpAddr,
        /// Lift only the ban of this user name.
        account: Option<String>,
    },
    /// Start the SIP side again → [`Reply::Status`] (S34).
    Start,
    /// Drain: wait for calls to end (or end them, with `force`), then close the SIP listeners → [`Reply::Status`] at once (S35).
    Stop {
        /// End the live calls.
        force: bool,
    },
}

/// Filter of the list of calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallsOf {
    /// All calls.
    Everybody,
    /// Calls that this user may read: the user's own, and those in which one of the user's devices was called (S56).
    User(UserId),
    /// Calls with a leg to or from a device of this user name.
    Party(Arc<str>),
}

/// A position in the list of calls. The list is newest first, so a smaller value comes later.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CallPlace {
    /// When the call began.
    pub started_at: Timestamp,
    /// Id among the calls that began at that moment. `None` orders below all of them: only older calls come after it.
    pub id: Option<CallId>,
}

impl CallPlace {
    /// Position before all calls.
    pub(crate) const BEGIN: CallPlace = CallPlace { started_at: Timestamp::MAX, id: None };

    /// The position of a call.
    pub fn of(call: &CallRecord) -> CallPlace {
        CallPlace { started_at: call.started_at, id: Some(call.id.clone()) }
    }
}

/// Filter of the list of bindings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RegistrationsOf {
    /// All user names, in order.
    Everybody {
        /// Only user names after this one.
        after: Option<Arc<str>>,
    },
    /// These user names, in this order.
    These(Vec<Arc<str>>),
}

/// An action on the recording of a call (S177).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordingAction {
    /// Start recording; no effect if a recording is running.
    Start,
    /// Stop the recording.
    Stop,
    /// Write silence until resumed.
    Pause,
    /// Write audio again after a pause.
    Resume,
    /// Read only.
    Show,
}

/// A recording in progress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordingView {
    /// Its record.
    pub recording: Recording,
    /// The recording is paused: silence is written.
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
    /// JSON value: `running`, `stopped`, `starting`, `draining`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::Draining => "draining",
            State::Stopped => "stopped",
        }
    }
}

/// Disk space left for the journal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum JournalRoom {
    /// No shortage.
    #[default]
    Ample,
    /// The disk is full; the journal writes to its preallocated space.
    Low,
    /// The rest is reserved for live calls: new calls and registrations are refused.
    Spent,
}

impl JournalRoom {
    /// JSON value: `ok`, `low`, `full`.
    pub fn as_str(self) -> &'static str {
        match self {
            JournalRoom::Ample => "ok",
            JournalRoom::Low => "low",
            JournalRoom::Spent => "full",
        }
    }
}

/// Counters since start; the metrics use the field names as labels.
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
    /// Calls that have ended, by the code of their cause.
    pub calls_ended: std::collections::BTreeMap<&'static str, u64>,
}

/// State and counters of the switch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// State of the SIP side.
    pub state: State,
    /// Live calls (not legs).
    pub active_calls: usize,
    /// Bindings that have not expired.
    pub registrations: usize,
    /// RTP ports in use.
    pub ports_in_use: usize,
    /// SIP transactions alive.
    pub transactions: usize,
    /// SIP sessions alive.
    pub sessions: usize,
    /// Disk space left for the journal.
    pub journal: JournalRoom,
    /// Counters since start.
    pub counters: Counters,
}

/// Presence of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Presence {
    /// It has a binding.
    pub registered: bool,
    /// It is in a call.
    pub busy: bool,
}

/// One binding, for display.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// The user name.
    pub username: Arc<str>,
    /// The Contact URI.
    pub contact: String,
    /// Source address of the REGISTER.
    pub remote: SocketAddr,
    /// When it expires.
    pub expires_at: Timestamp,
    /// `User-Agent` of the device.
    pub user_agent: String,
}

/// Reachability of a trunk or of one of its hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum HealthState {
    Disabled,
    /// Not probed yet, or probing is disabled.
    Unknown,
    Up,
    Down,
}

impl HealthState {
    /// JSON value: `disabled`, `unknown`, `up`, `down`.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthState::Disabled => "disabled",
            HealthState::Unknown => "unknown",
            HealthState::Up => "up",
            HealthState::Down => "down",
        }
    }
}

/// State of the registration at a carrier (S119).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum TrunkRegistration {
    Off,
    Trying,
    Registered,
    /// Failed, will be retried; `status` is the carrier's response, if there was one.
    Failed {
        status: Option<u16>,
    },
    Leaving,
    /// Another node registers.
    Elsewhere,
}

/// One resolved address of a carrier's host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrunkHostStatus {
    /// URI of the configured host that resolved to it.
    pub uri: String,
    /// The resolved address.
    pub address: SocketAddr,
    /// `udp`, `tcp` or `tls`.
    pub transport: &'static str,
    /// Reachability.
    pub health: HealthState,
    /// Status of the last response to OPTIONS.
    pub status: Option<u16>,
    /// Round-trip time of that OPTIONS.
    pub round_trip: Option<Duration>,
    /// When the host last answered, or failed to.
    pub checked_at: Option<Timestamp>,
}

/// State of a trunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrunkStatus {
    /// Id of the trunk.
    pub id: TrunkId,
    /// Display name.
    pub name: String,
    /// Whether calls can use the trunk.
    pub life: HealthState,
    /// Its resolved hosts.
    pub hosts: Vec<TrunkHostStatus>,
    /// Registration at the carrier.
    pub registration: TrunkRegistration,
    /// When the registration expires.
    pub registered_until: Option<Timestamp>,
    /// Live calls on the trunk.
    pub calls: u32,
}

/// Result of a test call over a trunk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TestedCall {
    /// Last status code from the carrier.
    pub status: Option<u16>,
    /// Time from the start of the call to ringing.
    pub rang: Option<Duration>,
    /// Time from the start of the call to the answer.
    pub answered: Option<Duration>,
    /// Cause of the end; `None` while the call is live.
    pub cause: Option<Cause>,
    /// The hosts that were tried, with the outcome of each.
    pub trace: Vec<TraceStep>,
}

/// A source whose messages are dropped after too many wrong passwords.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ban {
    /// The source address; for IPv6 the first address of its /64.
    pub source: IpAddr,
    /// The attempted user name, reduced to printable ASCII and at most 64 characters; `None` if the whole source is banned.
    pub account: Option<Arc<str>>,
    /// When the ban ends.
    pub until: Timestamp,
}

impl Ban {
    /// The source for display: an IPv4 address, or an IPv6 /64 prefix.
    pub fn shown_source(&self) -> String {
        match self.source {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("{address}/64"),
        }
    }
}

/// The reply to a [`Command`].
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub enum Reply {
    Call(CallRecord),
    Calls(Vec<CallRecord>),
    Up(Vec<CallId>),
    Refused(Cause),
    Unknown,
    Ladder(Vec<Rung>),
    /// `None`: the call has no recording, or is not live.
    Recording(Option<RecordingView>),
    /// The call is live, but has no second party: voicemail, or an announcement.
    NothingToRecord,
    Presence(Vec<Presence>),
    Registrations {
        found: Vec<Registration>,
        /// Set if user names remain: the last one that was examined.
        next: Option<Arc<str>>,
    },
    Status(Status),
    Trunks(Vec<TrunkStatus>),
    TestCall(TestedCall),
    Bans(Vec<Ban>),
}
