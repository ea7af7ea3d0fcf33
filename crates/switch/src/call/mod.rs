//! Calls: what one is made of, and where its legs are found.

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

/// Names a call of this process. A place of the table is used again, with another serial number: what is kept beyond the call finds nothing.
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

/// One leg's RTP on one port of ours.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) port: Port,
    pub(crate) local: LocalMedia,
    /// What the peer said last, as offer or answer.
    pub(crate) theirs: Option<SessionDescription>,
    /// Our offer that the peer has not answered.
    pub(crate) ours: Option<Offer>,
    /// Our answer to the caller's INVITE, fixed at its first use: 183 and 200 say the same.
    pub(crate) answer: Option<Bytes>,
    pub(crate) negotiated: Option<Negotiated>,
    /// The worker was told to close it.
    pub(crate) closed: bool,
}

/// Where a leg is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LegState {
    /// INVITE is under way, no final answer.
    Trying,
    /// 180 or 183 was heard.
    Ringing,
    /// Answered.
    Up,
    /// We hung up; its last messages are still to come.
    Terminating,
    /// Its session is over.
    Terminated,
}

/// One party of a call.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) session: SessionId,
    pub(crate) hop: Hop,
    pub(crate) state: LegState,
    pub(crate) stream: Stream,
    /// Its part of the call's record.
    pub(crate) record: LegRecord,
    /// Renegotiation that this leg's peer asked for and that waits for the other leg, or for the ACK.
    pub(crate) asking: PendingReinvite,
}

impl Leg {
    /// A leg whose INVITE is under way.
    pub(crate) fn new(
        session: SessionId,
        hop: Hop,
        stream: Stream,
        role: LegRole,
        party: String,
        at: Timestamp,
    ) -> Leg {
        let record = LegRecord {
            role,
            party,
            address: Some(hop.remote),
            sip_call_id: String::new(),
            started_at: at,
            answered_at: None,
            ended_at: None,
            cause: None,
            sip_status: None,
            codec: None,
            quality: None,
        };
        Leg { session, hop, state: LegState::Trying, stream, record, asking: PendingReinvite::No }
    }

    /// Whether it has agreed on a codec that we do not decode.
    pub(crate) fn is_unrecordable(&self) -> bool {
        self.stream.negotiated.as_ref().is_some_and(|agreed| !agreed.codec.is_g711())
    }

    /// Whether its peer has said that it knows G.711.
    pub(crate) fn knows_g711(&self) -> bool {
        self.stream.theirs.as_ref().is_some_and(|theirs| theirs.codecs().iter().any(Codec::is_g711))
    }
}

/// A renegotiation that a leg's peer has begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PendingReinvite {
    /// None.
    No,
    /// Its offer was passed to the other leg.
    Passed(Box<SessionDescription>),
}

/// Where a call is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// A click-to-call waits for a device to register (S48).
    Waiting(Box<crate::Originate>),
    /// A click-to-call rings its own device; then it goes there.
    RingingDevice(Route),
    /// Legs of the callee ring.
    Dialling,
    /// A trunk is tested: there is no caller, and whoever answers is hung up on.
    TrunkTest,
    /// Bridged: `legs[.0]` and `legs[.1]`.
    Bridged(usize, usize),
    /// With an application.
    InApplication(Application),
    /// What is to be announced is being read; then it is rung there.
    LoadingAudio(Route),
    /// Whoever answered hears the announcement: `legs[.0]`.
    Announcing(usize),
    /// Nobody answered: the announcement is being put into a mailbox.
    StoringMessage,
    /// With voicemail, to leave a message or to hear some.
    Voicemail(Box<VoicemailSession>),
    /// Released: waits for the media reports (`true` while any is outstanding) and for the last messages.
    Released { reports: bool },
}

impl Phase {
    /// Whether somebody is being rung who may still answer.
    pub(crate) fn is_dialling(&self) -> bool {
        matches!(self, Phase::Dialling | Phase::TrunkTest)
    }
}

/// The location of an emergency caller (RFC 6442).
#[derive(Debug)]
pub(crate) struct Location {
    /// Geolocation, and whether a server may route by it.
    pub(crate) headers: Headers,
    /// Body parts beside the SDP: PIDF-LO.
    pub(crate) parts: Vec<sip::BodyPart>,
}

/// A call.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its own.
    pub(crate) key: CallKey,
    /// Nothing of it is left to do: see [`crate::Switch`], which takes it out of its table.
    pub(crate) gone: bool,
    /// When it began, by the clock that never jumps; see [`Call::time`].
    pub(crate) began: Instant,
    /// Without its legs, each of which has its own part: see [`Call::cdr`].
    pub(crate) record: CallRecord,
    pub(crate) phase: Phase,
    /// The caller's first.
    pub(crate) legs: Vec<Leg>,
    pub(crate) ladder: Ladder,
    /// Max-Forwards for the legs that we make.
    pub(crate) hops_left: u8,
    /// The one timer that a phase has.
    pub(crate) timer: Option<(Instant, u64)>,
    /// The user names whose phones are in it; changed by [`CallIndex::join`] and [`CallIndex::part`].
    pub(crate) parties: Vec<Arc<str>>,
    /// Streams that the worker has not closed yet.
    pub(crate) open_streams: usize,
    /// The most telling refusal of a fork so far.
    pub(crate) best_cause: Option<Cause>,
    /// Its ways to the outside.
    pub(crate) outbound: OutboundAttempts,
    /// The trunk that delivered it, and that it takes up a channel of.
    pub(crate) channel: Option<TrunkId>,
    /// It calls for help: nothing counts it, and nothing stands in its way (security.md row 31).
    pub(crate) help: bool,
    /// Where an emergency caller is, as its phone says; passed on to the trunk.
    pub(crate) location: Option<Box<Location>>,
    /// How it came to where it is.
    pub(crate) routing: routing::Routing,
    /// What it is to say, where it is an announcement.
    pub(crate) announcement: Option<Box<announce::AnnouncementState>>,
}

impl Call {
    /// A call of which nothing is known but its record: no leg, nothing on its way.
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
            help: false,
            location: None,
            routing: routing::Routing::default(),
            announcement: None,
        }
    }

    /// Its record as of now, with the parts of its legs.
    pub(crate) fn cdr(&self) -> CallRecord {
        CallRecord { legs: self.legs.iter().map(|leg| leg.record.clone()).collect(), ..self.record.clone() }
    }

    /// Whether a leg of it is on this media worker.
    pub(crate) fn is_on(&self, worker: u8) -> bool {
        self.legs.iter().any(|leg| leg.stream.port.worker == worker && !leg.stream.closed)
    }

    /// The caller's number as others may see it.
    pub(crate) fn shown_number(&self) -> &str {
        if self.routing.hidden { "anonymous" } else { &self.record.from_number }
    }

    /// What its record says of now: its beginning by the wall clock, and what has passed since by the clock that never jumps. So a wall clock
    /// that is set meanwhile makes it neither longer nor shorter.
    pub(crate) fn time(&self, now: Now) -> Timestamp {
        self.record.started_at + now.instant.since(self.began)
    }

    pub(crate) fn leg(&self, index: usize) -> Option<&Leg> {
        self.legs.get(index)
    }

    /// The media worker that it lives on, where it has a stream already.
    pub(crate) fn worker(&self) -> Option<u8> {
        self.leg(0).filter(|leg| !leg.is_placeholder()).map(|leg| leg.stream.port.worker)
    }

    /// The leg that a leg talks with.
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

    /// The legs of called phones that have not answered yet.
    pub(crate) fn ringing(&self) -> impl Iterator<Item = usize> + '_ {
        let rings = |leg: &Leg| matches!(leg.state, LegState::Trying | LegState::Ringing);
        self.legs.iter().enumerate().skip(1).filter(move |(_, leg)| rings(leg)).map(|(index, _)| index)
    }

    /// The legs of those who talk that have agreed on a codec that cannot be recorded.
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

    /// Whether anybody can still answer: a leg that rings, or a way outside that looks for a host.
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

/// Deadlines of calls: one each, so that a call that ends early leaves nothing behind.
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
