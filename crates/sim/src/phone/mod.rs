//! A simulated phone: a small user agent written from RFC 3261, which shares only the parser with the endpoint under test.

mod client;
mod dialog;
mod incoming;
mod outgoing;
mod profile;
mod registering;
mod server;
mod sound;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use base::{Instant, Rng, Secret};
use bytes::Bytes;
use sip::{Message, Transport};

use crate::rng_ext::Dice;
use client::Client;
pub(crate) use profile::PhoneProfile;
use registering::Registration;
use server::Server;

/// T1 of RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
/// T2 of RFC 3261 §17.1.2.2.
const T2: Duration = Duration::from_secs(4);
/// Timers B, F, H: 64·T1 (RFC 3261 §17).
const PATIENCE: Duration = Duration::from_secs(32);

/// A timer of a phone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Alarm {
    Register,
    Dial,
    /// Retransmission by a client transaction.
    Resend(String),
    GiveUp(String),
    /// Retransmission of a final response to INVITE by a server transaction.
    Repeat(String),
    /// Retransmission of a reliable provisional response.
    Reliable(u32),
    Ring(u32),
    Decide(u32),
    Cancel(u32),
    Abandon(u32),
    Hangup(u32),
    Chat(u32),
    Reoffer(u32),
    Refresh(u32),
    Expire(u32),
}

/// What a phone reports to the oracle.
#[derive(Clone, Debug)]
pub(crate) enum Observation {
    /// A final response to a request that was first sent at `since`; also reported for each retransmission.
    Final { request: String, since: Instant, status: u16, text: Bytes },
    /// The switch confirmed the binding at least until `until`.
    Bound { until: Instant },
    /// A new REGISTER is in progress or was rejected: the state of the binding is unknown.
    Unsure,
    /// A violation: no phone may ever receive this.
    Wrong(String),
    /// An event to count.
    Count(&'static str),
}

/// What a phone sends and reports in one step.
#[derive(Debug, Default)]
pub(crate) struct PhoneOutput {
    pub(crate) packets: Vec<Bytes>,
    pub(crate) sights: Vec<Observation>,
}

impl PhoneOutput {
    fn count(&mut self, what: &'static str) {
        self.sights.push(Observation::Count(what));
    }

    fn wrong(&mut self, what: impl Into<String>) {
        self.sights.push(Observation::Wrong(what.into()));
    }
}

/// Identity and credentials of a phone.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// User part of its address of record.
    pub(crate) user: String,
    /// The digest user name: the same, or the extension's number (S39).
    pub(crate) login: String,
    pub(crate) password: Secret<String>,
    pub(crate) domain: String,
}

/// State of a call, as the phone sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// INVITE sent, no response but 100.
    Calling,
    /// Provisional response received.
    Hearing,
    /// CANCEL sent.
    Cancelling,
    /// INVITE received, no final response sent.
    Incoming,
    /// 200 sent, no ACK yet.
    Answered,
    Up,
    Over,
}

/// A provisional response that is retransmitted until PRACK (RFC 3262 §3).
#[derive(Clone, Debug)]
struct Reliable {
    rseq: u32,
    text: Bytes,
    wait: Duration,
    since: Instant,
}

#[derive(Clone, Debug)]
struct Call {
    stage: Stage,
    call_id: String,
    local_tag: String,
    remote_tag: String,
    /// URIs of From and To without tag: ours and the peer's.
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    their_cseq: u32,
    /// Branch of our INVITE, or server transaction key of the peer's.
    invite: String,
    invite_cseq: u32,
    /// Number of challenges to our INVITE.
    challenged: u8,
    /// CANCEL is sent with the first provisional response.
    unwanted: bool,
    /// We rejected it: there is no dialog.
    refused: bool,
    /// Our INVITE had no offer: the peer's response has one, and our answer goes in ACK or PRACK.
    late: bool,
    /// Our description was sent in a reliable response or a PRACK.
    described: bool,
    reliable: Option<Reliable>,
    /// The phone answers as soon as the outstanding PRACK arrives.
    answering: bool,
    rseq: u32,
    /// Highest RSeq of the peer that was processed.
    heard_rseq: u32,
    /// Our re-INVITE or UPDATE is in progress.
    offering: bool,
    sdp: sound::Sdp,
    /// Our offer without an answer yet.
    offered: Option<String>,
    /// The peer supports UPDATE.
    updates: bool,
    /// Agreed Session-Expires in seconds.
    session: Option<u32>,
    /// Requested Session-Expires in seconds; a 422 raises it.
    session_wish: Option<u32>,
}

/// State of the phone.
#[derive(Debug)]
pub(crate) struct Phone {
    pub(crate) account: Account,
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) habits: PhoneProfile,
    /// Numbers that it calls.
    pub(crate) contacts: Vec<String>,
    rng: Rng,
    agenda: BTreeMap<(Instant, u64), Alarm>,
    next: u64,
    clients: BTreeMap<String, Client>,
    servers: BTreeMap<String, Server>,
    calls: BTreeMap<u32, Call>,
    /// Call-IDs of calls that it lost with its power.
    forgotten: BTreeSet<String>,
    registration: Registration,
    /// The run is ending: no new calls, no refreshes.
    closing: bool,
    pub(crate) there: bool,
    /// It is a host of a carrier: it does not register, and it fails as a gateway does.
    pub(crate) carrier: bool,
}

impl Phone {
    pub(crate) fn new(
        account: Account,
        address: SocketAddr,
        transport: Transport,
        habits: PhoneProfile,
        mut rng: Rng,
    ) -> Phone {
        Phone {
            registration: Registration::new(&mut rng),
            account,
            address,
            transport,
            habits,
            contacts: Vec::new(),
            rng,
            agenda: BTreeMap::new(),
            next: 0,
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            calls: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            closing: false,
            there: false,
            carrier: false,
        }
    }

    /// Power on.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.there = true;
        self.registration = Registration::new(&mut self.rng);
        if !self.carrier {
            let soon = self.rng.millis(0, 3000);
            self.alarm(now + soon, Alarm::Register);
        }
        let later = self.rng.millis(1000, 20_000);
        self.alarm(now + later, Alarm::Dial);
    }

    /// Power off: all state is lost, and nothing is sent.
    pub(crate) fn vanish(&mut self) {
        self.there = false;
        self.agenda.clear();
        self.clients.clear();
        self.servers.clear();
        self.forgotten.extend(std::mem::take(&mut self.calls).into_values().map(|call| call.call_id));
    }

    /// Its connection closed: it registers over a new one.
    pub(crate) fn disconnected(&mut self, now: Instant) {
        if self.there && !self.closing {
            let soon = self.rng.millis(100, 4000);
            self.alarm(now + soon, Alarm::Register);
        }
    }

    /// The run is ending: end all calls, start none.
    pub(crate) fn close(&mut self, now: Instant, said: &mut PhoneOutput) {
        self.closing = true;
        for id in self.call_numbers() {
            match self.calls[&id].stage {
                Stage::Calling | Stage::Hearing => self.cancel(now, id, said),
                Stage::Incoming => self.refuse(now, id, 480, said),
                Stage::Up => self.hang_up(now, id, said),
                Stage::Answered => self.alarm(now + Duration::from_secs(1), Alarm::Hangup(id)),
                Stage::Cancelling | Stage::Over => {}
            }
        }
    }

    /// Time of the next [`Phone::tick`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.agenda.first_key_value().map(|((due, _), _)| *due)
    }

    pub(crate) fn tick(&mut self, now: Instant, said: &mut PhoneOutput) {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let alarm = entry.remove();
            self.rings(now, alarm, said);
        }
    }

    fn rings(&mut self, now: Instant, alarm: Alarm, said: &mut PhoneOutput) {
        match alarm {
            Alarm::Register => self.register(now, said),
            Alarm::Dial => self.dial(now, said),
            Alarm::Resend(branch) => self.resend(now, &branch, said),
            Alarm::GiveUp(branch) => self.give_up(now, &branch, said),
            Alarm::Repeat(key) => self.repeat(now, &key, said),
            Alarm::Reliable(id) => self.repeat_reliable(now, id, said),
            Alarm::Ring(id) => self.ring(now, id, said),
            Alarm::Decide(id) => self.decide(now, id, said),
            Alarm::Cancel(id) => self.cancel(now, id, said),
            Alarm::Abandon(id) => self.over(id),
            Alarm::Hangup(id) => self.hang_up(now, id, said),
            Alarm::Chat(id) => self.chat(now, id, said),
            Alarm::Reoffer(id) => self.offer_anew(now, id, said),
            Alarm::Refresh(id) => self.refresh(now, id, said),
            Alarm::Expire(id) => {
                said.count("session expired at a phone");
                self.hang_up(now, id, said);
            }
        }
    }

    /// A message arrives.
    pub(crate) fn hear(&mut self, now: Instant, bytes: &Bytes, said: &mut PhoneOutput) {
        match Message::parse(bytes.clone()) {
            Err(error) => said.wrong(format!("cannot be read: {} in {:?}", error.what, bytes)),
            Ok(message) if message.status().is_some() => self.response(now, &message, said),
            Ok(message) => self.request(now, message, said),
        }
    }

    fn alarm(&mut self, due: Instant, alarm: Alarm) {
        self.next += 1;
        self.agenda.insert((due, self.next), alarm);
    }

    /// Cancel all timers equal to this one.
    fn calm(&mut self, alarm: &Alarm) {
        self.agenda.retain(|_, other| other != alarm);
    }

    fn call_numbers(&self) -> Vec<u32> {
        self.calls.keys().copied().collect()
    }

    fn new_call(&mut self, call: Call) -> u32 {
        let id = self.calls.last_key_value().map_or(1, |(last, _)| last + 1);
        self.calls.insert(id, call);
        id
    }

    fn stage(&self, id: u32) -> Stage {
        self.calls.get(&id).map_or(Stage::Over, |call| call.stage)
    }

    fn over(&mut self, id: u32) {
        if let Some(call) = self.calls.get_mut(&id) {
            (call.stage, call.reliable, call.offering, call.session) = (Stage::Over, None, false, None);
        }
        self.agenda.retain(|_, alarm| {
            !matches!(alarm, Alarm::Reliable(i) | Alarm::Ring(i) | Alarm::Decide(i) | Alarm::Cancel(i)
                | Alarm::Abandon(i) | Alarm::Hangup(i) | Alarm::Chat(i) | Alarm::Reoffer(i) | Alarm::Refresh(i)
                | Alarm::Expire(i) if *i == id)
        });
    }

    /// Whether the call with this Call-ID is confirmed at this phone.
    pub(crate) fn talks_in(&self, call_id: &str) -> bool {
        self.calls.values().any(|call| call.call_id == call_id && call.stage == Stage::Up)
    }

    /// Number of calls that have not ended: 0 at the end of a run.
    pub(crate) fn live_calls(&self) -> usize {
        self.calls.values().filter(|call| call.stage != Stage::Over).count()
    }
}
