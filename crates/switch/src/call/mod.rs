//! Calls: the call, its legs, their media streams and its phases, and the timers of calls.

pub(crate) mod announce;
mod answer;
mod calls;
pub(crate) mod diversion;
mod events;
mod find_me;
mod flow_recovery;
pub(crate) mod fork;
pub(crate) mod incoming;
mod index;
pub(crate) mod media;
pub(crate) mod originate;
mod outbound_limits;
mod recording;
mod release;
mod renegotiate;
pub(crate) mod routing;

pub(crate) use calls::Calls;
pub(crate) use index::CallIndex;
pub(crate) use recording::Recordings;
pub use recording::{Beep, RecordingConfig};

use std::collections::BTreeMap;
use std::sync::Arc;

use ::media::StreamId;
use ::media::sdp::{Codec, LocalMedia, Negotiated, Offer, SessionDescription};
use base::{Instant, Now, Timestamp};
use bytes::Bytes;
use model::dialplan::{Application, Route};
use model::{CallRecord, Cause, LegRecord, LegRole, TrunkId};
use sip::{Headers, Hop, SessionId};

use crate::ladder::Ladder;
use crate::ports::Port;
use crate::trunk::OutboundAttempts;
use crate::voicemail::VoicemailSession;

pub(crate) use diversion::Diversion;
pub(crate) use fork::{ANONYMOUS, escaped};
pub(crate) use incoming::Caller;

/// Key of a call in this process. Slots of the table are reused with a new serial number, so a key kept beyond the end of its call finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct CallKey {
    serial: u64,
    slot: u32,
}

impl CallKey {
    pub(crate) fn new(serial: u64, slot: usize) -> CallKey {
        CallKey { serial, slot: slot as u32 }
    }
}

/// The RTP stream of one leg, on one local port.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) port: Port,
    pub(crate) local: LocalMedia,
    /// The peer's latest session description, offer or answer.
    pub(crate) theirs: Option<SessionDescription>,
    /// Our offer that the peer has not answered.
    pub(crate) ours: Option<Offer>,
    /// Our answer to the caller's INVITE, fixed at its first use: 183 and 200 carry the same SDP.
    pub(crate) answer: Option<Bytes>,
    pub(crate) negotiated: Option<Negotiated>,
    /// The media worker has been told to close it.
    pub(crate) closed: bool,
}

/// State of a leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LegState {
    /// INVITE sent or received, no final response yet.
    Trying,
    /// A provisional response of 180 or above was received from the callee; on the caller's leg, ringing or early media was sent.
    Ringing,
    /// Answered.
    Up,
    /// We have hung up; the session has not ended yet.
    Terminating,
    /// The session has ended.
    Terminated,
}

/// One party of a call.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) session: SessionId,
    pub(crate) hop: Hop,
    pub(crate) state: LegState,
    pub(crate) stream: Stream,
    /// Its entry in the call record.
    pub(crate) record: LegRecord,
    /// Re-INVITE of this leg's peer that waits for the other leg's answer.
    pub(crate) asking: PendingReinvite,
}

impl Leg {
    /// A leg in state [`LegState::Trying`].
    pub(crate) fn new(
        session: SessionId,
        hop: Hop,
        stream: Stream,
        role: LegRole,
        party: String,
        at: Timestamp,
    ) -> Leg {
        let record = LegRecord { address: Some(hop.remote), ..LegRecord::new(role, party, at) };
        Leg { session, hop, state: LegState::Trying, stream, record, asking: PendingReinvite::No }
    }

    /// Whether it has negotiated a codec that we cannot decode (any but G.711).
    pub(crate) fn is_unrecordable(&self) -> bool {
        self.stream.negotiated.as_ref().is_some_and(|agreed| !agreed.codec.is_g711())
    }

    /// Whether its peer's latest session description lists G.711.
    pub(crate) fn knows_g711(&self) -> bool {
        self.stream.theirs.as_ref().is_some_and(|theirs| theirs.codecs().iter().any(Codec::is_g711))
    }
}

/// A renegotiation begun by a leg's peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PendingReinvite {
    /// None.
    No,
    /// Its offer was forwarded to the other leg.
    Passed(Box<SessionDescription>),
}

/// Phase of a call.
#[derive(Debug)]
pub(crate) enum Phase {
    /// A click-to-call waits for a device to register (S48).
    Waiting(Box<crate::Originate>),
    /// A click-to-call rings its own device; once that answers, the call takes this route.
    RingingDevice(Route),
    /// Callee legs ring, or outbound attempts are in progress.
    Dialling,
    /// Test call over a trunk: there is no caller, and the callee is hung up on when it answers.
    TrunkTest,
    /// `legs[.0]` and `legs[.1]` are bridged.
    Bridged(usize, usize),
    /// Connected to an application.
    InApplication(Application),
    /// The audio of an announcement is being loaded; then the call takes this route.
    LoadingAudio(Route),
    /// The announcement plays to `legs[.0]`.
    Announcing(usize),
    /// No answer: the announcement is being stored in a mailbox.
    StoringMessage,
    /// Connected to voicemail: message deposit or mailbox menu.
    Voicemail(Box<VoicemailSession>),
    /// Released: waits for the media reports (`true` while any is outstanding) and for its sessions to end.
    Released { reports: bool },
}

impl Phase {
    /// Whether callees, or a trunk under test, are being called and may still answer.
    pub(crate) fn is_dialling(&self) -> bool {
        matches!(self, Phase::Dialling | Phase::TrunkTest)
    }
}

/// The location of an emergency caller (RFC 6442).
#[derive(Debug)]
pub(crate) struct Location {
    /// `Geolocation` and `Geolocation-Routing`.
    pub(crate) headers: Headers,
    /// Body parts other than the SDP: PIDF-LO.
    pub(crate) parts: Vec<sip::BodyPart>,
}

/// A call.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its key in [`Calls`].
    pub(crate) key: CallKey,
    /// The call is finished; [`crate::Switch`] removes it from its table.
    pub(crate) gone: bool,
    /// Start on the monotonic clock; see [`Call::time`].
    pub(crate) began: Instant,
    /// Call record without its legs, each of which holds its own entry; see [`Call::cdr`].
    pub(crate) record: CallRecord,
    pub(crate) phase: Phase,
    /// Leg 0 is the caller's.
    pub(crate) legs: Vec<Leg>,
    pub(crate) ladder: Ladder,
    /// Max-Forwards of the outgoing legs.
    pub(crate) hops_left: u8,
    /// Timer of the current phase: due time and serial number.
    pub(crate) timer: Option<(Instant, u64)>,
    /// User names of the phones in the call; changed by [`CallIndex::join`] and [`CallIndex::part`].
    pub(crate) parties: Vec<Arc<str>>,
    /// Number of streams that their media worker has not closed yet.
    pub(crate) open_streams: usize,
    /// The most significant failure among the branches so far.
    pub(crate) best_cause: Option<Cause>,
    /// Its outbound attempts.
    pub(crate) outbound: OutboundAttempts,
    /// The trunk it came in on, one channel of which it occupies.
    pub(crate) channel: Option<TrunkId>,
    /// Emergency call: not counted, and no limit applies to it.
    pub(crate) is_emergency: bool,
    /// Location of an emergency caller as sent by its phone; forwarded to the trunk.
    pub(crate) location: Option<Box<Location>>,
    /// Its routing state.
    pub(crate) routing: routing::Routing,
    /// Present if the call is an announcement.
    pub(crate) announcement: Option<Box<announce::AnnouncementState>>,
}

impl Call {
    /// A call with only its record and phase: no legs and no outbound attempts.
    pub(crate) fn new(record: CallRecord, phase: Phase) -> Call {
        Call {
            key: CallKey::default(),
            gone: false,
            began: Instant::ZERO,
            record,
            phase,
            legs: Vec::new(),
            ladder: Ladder::default(),
            hops_left: 70, // RFC 3261 §8.1.1.6
            timer: None,
            parties: Vec::new(),
            open_streams: 0,
            best_cause: None,
            outbound: OutboundAttempts::default(),
            channel: None,
            is_emergency: false,
            location: None,
            routing: routing::Routing::default(),
            announcement: None,
        }
    }

    /// The current call record, with the entries of its legs.
    pub(crate) fn cdr(&self) -> CallRecord {
        CallRecord { legs: self.legs.iter().map(|leg| leg.record.clone()).collect(), ..self.record.clone() }
    }

    /// The record of a call in progress, for the API: with the time of the copy.
    pub(crate) fn live_record(&self, now: Now) -> CallRecord {
        let as_of = self.record.ended_at.is_none().then(|| self.time(now));
        CallRecord { as_of, ..self.cdr() }
    }

    /// Whether one of its open streams is on this media worker.
    pub(crate) fn is_on(&self, worker: u8) -> bool {
        self.legs.iter().any(|leg| leg.stream.port.worker == worker && !leg.stream.closed)
    }

    /// The caller's number as shown to callees: `anonymous` if the caller withholds it.
    pub(crate) fn shown_number(&self) -> &str {
        if self.routing.hidden { "anonymous" } else { &self.record.from_number }
    }

    /// Timestamp for the call record: the start by the wall clock plus the time elapsed on the monotonic clock. Setting the wall clock during
    /// a call therefore does not change its duration.
    pub(crate) fn time(&self, now: Now) -> Timestamp {
        self.record.started_at + now.instant.since(self.began)
    }

    pub(crate) fn leg(&self, index: usize) -> Option<&Leg> {
        self.legs.get(index)
    }

    /// The media worker of leg 0; `None` without a leg, or if leg 0 is a placeholder.
    pub(crate) fn worker(&self) -> Option<u8> {
        self.leg(0).filter(|leg| !leg.is_placeholder()).map(|leg| leg.stream.port.worker)
    }

    /// The leg bridged to a leg.
    pub(crate) fn partner(&self, index: usize) -> Option<usize> {
        match self.phase {
            Phase::Bridged(a, b) if a == index => Some(b),
            Phase::Bridged(a, b) if b == index => Some(a),
            Phase::Waiting(_)
            | Phase::RingingDevice(_)
            | Phase::Dialling
            | Phase::TrunkTest
            | Phase::Bridged(..)
            | Phase::InApplication(_)
            | Phase::LoadingAudio(_)
            | Phase::Announcing(_)
            | Phase::StoringMessage
            | Phase::Voicemail(_)
            | Phase::Released { .. } => None,
        }
    }

    /// The callee legs in state [`LegState::Trying`] or [`LegState::Ringing`].
    pub(crate) fn ringing(&self) -> impl Iterator<Item = usize> + '_ {
        let rings = |leg: &Leg| matches!(leg.state, LegState::Trying | LegState::Ringing);
        self.legs.iter().enumerate().skip(1).filter(move |(_, leg)| rings(leg)).map(|(index, _)| index)
    }

    /// The bridged legs that have negotiated a codec that cannot be recorded.
    pub(crate) fn unrecordable(&self) -> impl Iterator<Item = usize> + '_ {
        let talking = match self.phase {
            Phase::Bridged(a, b) => [Some(a), Some(b)],
            Phase::Waiting(_)
            | Phase::RingingDevice(_)
            | Phase::Dialling
            | Phase::TrunkTest
            | Phase::LoadingAudio(_)
            | Phase::Announcing(_)
            | Phase::StoringMessage
            | Phase::InApplication(_)
            | Phase::Voicemail(_)
            | Phase::Released { .. } => [None, None],
        };
        talking.into_iter().flatten().filter(|index| self.leg(*index).is_some_and(Leg::is_unrecordable))
    }

    /// Whether a callee can still answer: a leg rings, or an outbound attempt is in progress.
    pub(crate) fn is_rung(&self) -> bool {
        self.ringing().next().is_some() || !self.outbound.is_empty()
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(
            self.phase,
            Phase::Bridged(..) | Phase::InApplication(_) | Phase::Announcing(_) | Phase::Voicemail(_)
        )
    }
}

/// Deadlines of calls. Each call has at most one, which is cancelled when the call ends early.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeMap<(Instant, u64), CallKey>,
    next: u64,
}

impl Timers {
    pub(crate) fn first(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((due, _), _)| *due)
    }

    pub(crate) fn set(&mut self, due: Instant, key: CallKey) -> (Instant, u64) {
        self.next += 1;
        self.queue.insert((due, self.next), key);
        (due, self.next)
    }

    pub(crate) fn cancel(&mut self, timer: Option<(Instant, u64)>) {
        if let Some(timer) = timer {
            self.queue.remove(&timer);
        }
    }

    pub(crate) fn pop(&mut self, now: Instant) -> Option<CallKey> {
        let entry = self.queue.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
