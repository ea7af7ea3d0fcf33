//! Calls: what one is made of, and where its legs are found.

mod announce;
mod answer;
mod diversion;
mod events;
mod find_me;
mod flow_recovery;
mod fork;
mod incoming;
mod index;
mod media;
mod originate;
mod outbound_limits;
mod recording;
mod release;
mod renegotiate;
mod routing;

pub(crate) use recording::Recordings;
pub use recording::{Beep, RecordingConfig};

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use ::media::StreamId;
use ::media::sdp::{Codec, LocalMedia, Negotiated, Offer, SessionDescription};
use base::{Instant, KeyedHash, KeyedMap, Now, Rng, Timestamp};
use bytes::Bytes;
use model::dialplan::{Application, Route};
use model::{CallId, CallRecord, Cause, LegRecord, LegRole, TrunkId, UserId};
use sip::{Hop, SessionId};
use slab::Slab;

use crate::ladder::Ladder;
use crate::ports::Port;
use crate::trunk::OutboundAttempts;
use crate::voicemail::VoicemailSession;
use crate::{CallPlace, CallsOf, limits};

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

/// A call.
#[derive(Debug)]
pub(crate) struct CallState {
    /// Its own.
    pub(crate) key: CallKey,
    /// When it began, by the clock that never jumps; see [`CallState::time`].
    began: Instant,
    /// Without its legs, each of which has its own part: see [`CallState::cdr`].
    pub(crate) record: CallRecord,
    pub(crate) phase: Phase,
    /// The caller's first.
    pub(crate) legs: Vec<Leg>,
    pub(crate) ladder: Ladder,
    /// Max-Forwards for the legs that we make.
    pub(crate) hops_left: u8,
    /// The one timer that a phase has.
    pub(crate) timer: Option<(Instant, u64)>,
    /// The user names whose phones are in it; changed by [`Calls::join`] and [`Calls::part`].
    parties: Vec<Arc<str>>,
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
    /// How it came to where it is.
    pub(crate) routing: routing::Routing,
    /// What it is to say, where it is an announcement.
    pub(crate) announcement: Option<Box<announce::AnnouncementState>>,
}

/// All calls.
#[derive(Debug)]
pub(crate) struct Calls {
    slab: Slab<CallState>,
    sessions: KeyedMap<SessionId, (CallKey, usize)>,
    streams: KeyedMap<StreamId, (CallKey, usize)>,
    by_id: BTreeMap<CallId, CallKey>,
    by_user: BTreeMap<UserId, u32>,
    index: index::Index,
    live: usize,
    /// Of the next call.
    serial: u64,
    next_stream: u32,
    /// Entries that lists have passed: see [`crate::Switch::steps`].
    steps: Cell<u64>,
}

impl Calls {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Calls {
            slab: Slab::new(),
            sessions: KeyedMap::with_hasher(KeyedHash::new(rng)),
            streams: KeyedMap::with_hasher(KeyedHash::new(rng)),
            by_id: BTreeMap::new(),
            by_user: BTreeMap::new(),
            index: index::Index::new(rng),
            live: 0,
            serial: 0,
            next_stream: 0,
            steps: Cell::new(0),
        }
    }

    pub(crate) fn begin(&mut self, now: Now, mut call: CallState) -> CallKey {
        call.began = now.instant;
        if !call.help {
            *self.by_user.entry(call.record.user.clone()).or_default() += 1;
        }
        self.live += 1;
        self.serial += 1;
        let entry = self.slab.vacant_entry();
        let key = CallKey::new(self.serial, entry.key());
        call.key = key;
        self.by_id.insert(call.record.id.clone(), key);
        self.index.begin(key, entry.insert(call));
        key
    }

    /// The call is no longer counted, though its last messages are still to come.
    pub(crate) fn retire(&mut self, key: CallKey) {
        let Some(call) = get_mut(&mut self.slab, key) else { return };
        self.index.retire(key, call);
        call.parties.clear();
        self.live -= 1;
        let own = (!call.help).then_some(&call.record.user);
        for user in call.routing.charged_users.iter().chain(own) {
            if let Some(count) = self.by_user.get_mut(user) {
                *count -= 1;
                if *count == 0 {
                    self.by_user.remove(user);
                }
            }
        }
    }

    /// Count a live call against one more user, who had it forwarded.
    pub(crate) fn count(&mut self, key: CallKey, user: UserId) {
        if let Some(call) = get_mut(&mut self.slab, key) {
            *self.by_user.entry(user.clone()).or_default() += 1;
            call.routing.charged_users.push(user);
        }
    }

    /// Nothing of the call is left.
    pub(crate) fn remove(&mut self, key: CallKey) -> Option<CallState> {
        self.get(key)?;
        let call = self.slab.try_remove(key.slot as usize)?;
        self.by_id.remove(&call.record.id);
        for leg in &call.legs {
            self.sessions.remove(&leg.session);
            // Its stream stays: a port that a slow worker has not given back is still in use.
        }
        Some(call)
    }

    pub(crate) fn get(&self, key: CallKey) -> Option<&CallState> {
        self.slab.get(key.slot as usize).filter(|call| call.key == key)
    }

    pub(crate) fn get_mut(&mut self, key: CallKey) -> Option<&mut CallState> {
        get_mut(&mut self.slab, key)
    }

    pub(crate) fn find(&self, id: &CallId) -> Option<CallKey> {
        self.by_id.get(id).copied()
    }

    /// Calls that are not over, newest first: those behind the place `after`, and no more than `limit`.
    pub(crate) fn list(&self, of: &CallsOf, after: Option<&CallPlace>, limit: usize) -> Vec<CallRecord> {
        let limit = limit.min(limits::CALLS_LISTED);
        let record = |key: CallKey| {
            self.steps.set(self.steps.get() + 1);
            Some(self.get(key)?.cdr())
        };
        match of {
            CallsOf::Everybody => self.index.all(after).take(limit).filter_map(record).collect(),
            CallsOf::User(user) => self.index.of_user(user, after).take(limit).filter_map(record).collect(),
            CallsOf::Party(party) => {
                let mut keys = self.index.of_party(party).to_vec();
                keys.sort_unstable();
                keys.dedup();
                let mut calls: Vec<CallRecord> = keys.into_iter().filter_map(record).collect();
                calls.sort_by_cached_key(|call| std::cmp::Reverse(CallPlace::of(call)));
                calls.retain(|call| after.is_none_or(|after| CallPlace::of(call) < *after));
                calls.truncate(limit);
                calls
            }
        }
    }

    /// Whether a call is there and not over.
    pub(crate) fn is_live(&self, id: &CallId) -> bool {
        let call = self.find(id).and_then(|key| self.get(key));
        call.is_some_and(|call| !matches!(call.phase, Phase::Released { .. }))
    }

    /// The call whose id comes next.
    pub(crate) fn next(&self, after: Option<&CallId>, until: &CallId) -> Option<(CallId, CallKey)> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        if after.is_some_and(|after| after >= until) {
            return None;
        }
        self.by_id.range((from, Bound::Included(until))).next().map(|(id, key)| (id.clone(), *key))
    }

    pub(crate) fn last_id(&self) -> Option<CallId> {
        self.by_id.last_key_value().map(|(id, _)| id.clone())
    }

    /// A phone of this user name is in a call now.
    pub(crate) fn join(&mut self, key: CallKey, username: &Arc<str>) {
        if let Some(call) = get_mut(&mut self.slab, key)
            && !matches!(call.phase, Phase::Released { .. })
        {
            call.parties.push(Arc::clone(username));
            self.index.join(key, username);
        }
    }

    /// The phones of these user names are not in a call any more.
    pub(crate) fn part(&mut self, key: CallKey, usernames: &[Arc<str>]) {
        let Some(call) = get_mut(&mut self.slab, key) else { return };
        let (gone, stay) = std::mem::take(&mut call.parties).into_iter().partition(|p| usernames.contains(p));
        call.parties = stay;
        let gone: Vec<Arc<str>> = gone;
        for party in &gone {
            self.index.part(key, party);
        }
    }

    /// Whether a phone of this user name is in a call.
    pub(crate) fn is_busy(&self, username: &str) -> bool {
        !self.index.of_party(username).is_empty()
    }

    /// The shell's answer with this token will be for this call.
    pub(crate) fn expect(&mut self, token: u64, key: CallKey) {
        self.index.expect(token, key);
    }

    /// The call that an answer of the shell is for, which may be another one's by now: its own token tells.
    pub(crate) fn expected(&mut self, token: u64) -> Option<CallKey> {
        self.index.expected(token)
    }

    /// A click-to-call waits for this device, or for any of this user's.
    pub(crate) fn wait(&mut self, key: CallKey, device: Option<Arc<str>>, user: UserId) {
        self.index.wait(key, device, user);
    }

    pub(crate) fn stop_waiting(&mut self, key: CallKey) {
        self.index.stop_waiting(key);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.index.waiting()
    }

    pub(crate) fn first_waiting(&self) -> Option<CallKey> {
        self.index.first_waiting()
    }

    pub(crate) fn waiting_for(&self, device: &Arc<str>, user: Option<&UserId>) -> Vec<CallKey> {
        self.index.waiting_for(device, user)
    }

    /// A visit to voicemail waits for the prompts.
    pub(crate) fn hold(&mut self, key: CallKey) {
        self.index.hold(key);
    }

    pub(crate) fn next_held(&mut self) -> Option<CallKey> {
        self.index.next_held()
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Calls that are not over.
    pub(crate) fn live_count(&self) -> usize {
        self.live
    }

    /// All calls, those too that are only waiting for their last messages.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn of_user(&self, user: &UserId) -> u32 {
        self.by_user.get(user).copied().unwrap_or(0)
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn leg_of(&self, session: SessionId) -> Option<(CallKey, usize)> {
        self.sessions.get(&session).copied()
    }

    pub(crate) fn stream_of(&self, stream: StreamId) -> Option<(CallKey, usize)> {
        self.streams.get(&stream).copied()
    }

    pub(crate) fn stream_closed(&mut self, stream: StreamId) -> Option<(CallKey, usize)> {
        self.streams.remove(&stream)
    }

    pub(crate) fn new_stream(&mut self) -> StreamId {
        self.next_stream = self.next_stream.wrapping_add(1);
        StreamId(self.next_stream)
    }

    /// Put a leg into its call and make its session and its stream known.
    pub(crate) fn add_leg(&mut self, key: CallKey, leg: Leg) -> usize {
        let Some(call) = get_mut(&mut self.slab, key) else { return 0 };
        let index = call.legs.len();
        self.sessions.insert(leg.session, (key, index));
        self.streams.insert(leg.stream.id, (key, index));
        call.legs.push(leg);
        call.open_streams += 1;
        index
    }

    /// Write a message into the ladder of the session's call.
    pub(crate) fn note(&mut self, now: Now, session: SessionId, sent: bool, hop: Hop, message: &[u8]) {
        if let Some((key, _)) = self.sessions.get(&session)
            && let Some(call) = get_mut(&mut self.slab, *key)
        {
            call.ladder.note(call.time(now), sent, hop, message);
        }
    }
}

fn get_mut(slab: &mut Slab<CallState>, key: CallKey) -> Option<&mut CallState> {
    slab.get_mut(key.slot as usize).filter(|call| call.key == key)
}

impl CallState {
    /// A call of which nothing is known but its record: no leg, nothing on its way.
    pub(crate) fn new(record: CallRecord, phase: Phase) -> CallState {
        CallState {
            key: CallKey::default(),
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
