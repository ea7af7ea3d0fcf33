//! A simulated phone: a small user agent written from RFC 3261, which shares only the parser with the endpoint under test.

mod client;
mod dialog;
mod incoming;
mod outgoing;
mod profile;
mod registering;
mod sdp;
mod server;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use base::{Instant, Rng, Secret};
use bytes::Bytes;
use sip::{Message, Transport};

use crate::rng_ext::RngExt;
use client::Client;
pub(crate) use profile::PhoneProfile;
use registering::Registration;
use server::Server;

/// T1 of RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
/// T2 of RFC 3261 §17.1.2.2.
const T2: Duration = Duration::from_secs(4);
/// Timers B, F, H: 64·T1 (RFC 3261 §17).
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(32);

/// A timer of a phone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PhoneTimer {
    Register,
    Dial,
    /// Retransmission by a client transaction.
    RetransmitRequest(String),
    TransactionTimeout(String),
    /// Retransmission of a final response to INVITE by a server transaction.
    RetransmitFinal(String),
    /// Retransmission of a reliable provisional response.
    RetransmitReliable(u32),
    Ring(u32),
    Decide(u32),
    Cancel(u32),
    CancelTimeout(u32),
    Hangup(u32),
    MidDialogRequest(u32),
    Reoffer(u32),
    Refresh(u32),
    SessionExpiry(u32),
}

/// What a phone reports to the oracle.
#[derive(Clone, Debug)]
pub(crate) enum Observation {
    /// A final response to a request that was first sent at `since`; also reported for each retransmission.
    Final { request: String, since: Instant, status: u16, text: Bytes },
    /// The switch confirmed the binding at least until `until`.
    Bound { until: Instant },
    /// A new REGISTER is in progress or was rejected: the state of the binding is unknown.
    BindingUnknown,
    /// A violation: no phone may ever receive this.
    Violation(String),
    /// An event to count.
    Count(&'static str),
}

/// What a phone sends and reports in one step.
#[derive(Debug, Default)]
pub(crate) struct PhoneOutput {
    pub(crate) packets: Vec<Bytes>,
    pub(crate) observations: Vec<Observation>,
}

impl PhoneOutput {
    fn count(&mut self, what: &'static str) {
        self.observations.push(Observation::Count(what));
    }

    fn violation(&mut self, what: impl Into<String>) {
        self.observations.push(Observation::Violation(what.into()));
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
enum CallState {
    /// INVITE sent, no response but 100.
    Calling,
    /// Provisional response received.
    Proceeding,
    /// CANCEL sent.
    Cancelling,
    /// INVITE received, no final response sent.
    Incoming,
    /// 200 sent, no ACK yet.
    Answered,
    Confirmed,
    Terminated,
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
    state: CallState,
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
    challenges: u8,
    /// CANCEL is sent with the first provisional response.
    unwanted: bool,
    /// We rejected it: there is no dialog.
    rejected: bool,
    /// Our INVITE had no offer: the peer's response has one, and our answer goes in ACK or PRACK.
    without_offer: bool,
    /// Our description was sent in a reliable response or a PRACK.
    sdp_sent: bool,
    reliable: Option<Reliable>,
    /// The phone answers as soon as the outstanding PRACK arrives.
    answer_pending: bool,
    rseq: u32,
    /// Highest RSeq of the peer that was processed.
    remote_rseq: u32,
    /// Our re-INVITE or UPDATE is in progress.
    offer_in_progress: bool,
    sdp: sdp::Sdp,
    /// Our offer without an answer yet.
    pending_offer: Option<String>,
    /// The peer supports UPDATE.
    peer_allows_update: bool,
    /// Agreed Session-Expires in seconds.
    session: Option<u32>,
    /// Requested Session-Expires in seconds; a 422 raises it.
    requested_session: Option<u32>,
}

/// State of the phone.
#[derive(Debug)]
pub(crate) struct Phone {
    pub(crate) account: Account,
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) profile: PhoneProfile,
    /// Numbers that it calls.
    pub(crate) contacts: Vec<String>,
    rng: Rng,
    timers: BTreeMap<(Instant, u64), PhoneTimer>,
    next: u64,
    clients: BTreeMap<String, Client>,
    servers: BTreeMap<String, Server>,
    calls: BTreeMap<u32, Call>,
    /// Call-IDs of calls that it lost with its power.
    lost_calls: BTreeSet<String>,
    registration: Registration,
    /// The run is ending: no new calls, no refreshes.
    closing: bool,
    pub(crate) powered: bool,
    /// It is a host of a carrier: it does not register, and it fails as a gateway does.
    pub(crate) carrier: bool,
}

impl Phone {
    pub(crate) fn new(
        account: Account,
        address: SocketAddr,
        transport: Transport,
        profile: PhoneProfile,
        mut rng: Rng,
    ) -> Phone {
        Phone {
            registration: Registration::new(&mut rng),
            account,
            address,
            transport,
            profile,
            contacts: Vec::new(),
            rng,
            timers: BTreeMap::new(),
            next: 0,
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            calls: BTreeMap::new(),
            lost_calls: BTreeSet::new(),
            closing: false,
            powered: false,
            carrier: false,
        }
    }

    /// Power on.
    pub(crate) fn power_on(&mut self, now: Instant) {
        self.powered = true;
        self.registration = Registration::new(&mut self.rng);
        if !self.carrier {
            let soon = self.rng.millis(0, 3000);
            self.set_timer(now + soon, PhoneTimer::Register);
        }
        let later = self.rng.millis(1000, 20_000);
        self.set_timer(now + later, PhoneTimer::Dial);
    }

    /// Power off: all state is lost, and nothing is sent.
    pub(crate) fn power_off(&mut self) {
        self.powered = false;
        self.timers.clear();
        self.clients.clear();
        self.servers.clear();
        self.lost_calls.extend(std::mem::take(&mut self.calls).into_values().map(|call| call.call_id));
    }

    /// Its connection closed: it registers over a new one.
    pub(crate) fn disconnected(&mut self, now: Instant) {
        if self.powered && !self.closing {
            let soon = self.rng.millis(100, 4000);
            self.set_timer(now + soon, PhoneTimer::Register);
        }
    }

    /// The run is ending: end all calls, start none.
    pub(crate) fn close(&mut self, now: Instant, out: &mut PhoneOutput) {
        self.closing = true;
        for id in self.call_numbers() {
            match self.calls[&id].state {
                CallState::Calling | CallState::Proceeding => self.cancel(now, id, out),
                CallState::Incoming => self.reject(now, id, 480, out),
                CallState::Confirmed => self.hang_up(now, id, out),
                CallState::Answered => self.set_timer(now + Duration::from_secs(1), PhoneTimer::Hangup(id)),
                CallState::Cancelling | CallState::Terminated => {}
            }
        }
    }

    /// Time of the next [`Phone::tick`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((due, _), _)| *due)
    }

    pub(crate) fn tick(&mut self, now: Instant, out: &mut PhoneOutput) {
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let timer = entry.remove();
            self.on_timer(now, timer, out);
        }
    }

    fn on_timer(&mut self, now: Instant, timer: PhoneTimer, out: &mut PhoneOutput) {
        match timer {
            PhoneTimer::Register => self.register(now, out),
            PhoneTimer::Dial => self.dial(now, out),
            PhoneTimer::RetransmitRequest(branch) => self.retransmit_request(now, &branch, out),
            PhoneTimer::TransactionTimeout(branch) => self.on_transaction_timeout(now, &branch, out),
            PhoneTimer::RetransmitFinal(key) => self.retransmit_final(now, &key, out),
            PhoneTimer::RetransmitReliable(id) => self.retransmit_reliable(now, id, out),
            PhoneTimer::Ring(id) => self.ring(now, id, out),
            PhoneTimer::Decide(id) => self.decide(now, id, out),
            PhoneTimer::Cancel(id) => self.cancel(now, id, out),
            PhoneTimer::CancelTimeout(id) => self.terminate(id),
            PhoneTimer::Hangup(id) => self.hang_up(now, id, out),
            PhoneTimer::MidDialogRequest(id) => self.send_mid_dialog_request(now, id, out),
            PhoneTimer::Reoffer(id) => self.reoffer(now, id, out),
            PhoneTimer::Refresh(id) => self.refresh(now, id, out),
            PhoneTimer::SessionExpiry(id) => {
                out.count("session expired at a phone");
                self.hang_up(now, id, out);
            }
        }
    }

    /// A message arrives.
    pub(crate) fn receive(&mut self, now: Instant, bytes: &Bytes, out: &mut PhoneOutput) {
        match Message::parse(bytes.clone()) {
            Err(error) => out.violation(format!("cannot be parsed: {} in {:?}", error.what, bytes)),
            Ok(message) if message.status().is_some() => self.response(now, &message, out),
            Ok(message) => self.request(now, message, out),
        }
    }

    fn set_timer(&mut self, due: Instant, timer: PhoneTimer) {
        self.next += 1;
        self.timers.insert((due, self.next), timer);
    }

    /// Cancel all timers equal to this one.
    fn cancel_timers(&mut self, timer: &PhoneTimer) {
        self.timers.retain(|_, other| other != timer);
    }

    fn call_numbers(&self) -> Vec<u32> {
        self.calls.keys().copied().collect()
    }

    fn new_call(&mut self, call: Call) -> u32 {
        let id = self.calls.last_key_value().map_or(1, |(last, _)| last + 1);
        self.calls.insert(id, call);
        id
    }

    fn state(&self, id: u32) -> CallState {
        self.calls.get(&id).map_or(CallState::Terminated, |call| call.state)
    }

    fn terminate(&mut self, id: u32) {
        if let Some(call) = self.calls.get_mut(&id) {
            (call.state, call.reliable, call.offer_in_progress, call.session) =
                (CallState::Terminated, None, false, None);
        }
        self.timers.retain(|_, timer| {
            !matches!(timer, PhoneTimer::RetransmitReliable(i) | PhoneTimer::Ring(i)
                | PhoneTimer::Decide(i) | PhoneTimer::Cancel(i) | PhoneTimer::CancelTimeout(i)
                | PhoneTimer::Hangup(i) | PhoneTimer::MidDialogRequest(i) | PhoneTimer::Reoffer(i)
                | PhoneTimer::Refresh(i) | PhoneTimer::SessionExpiry(i) if *i == id)
        });
    }

    /// Whether the call with this Call-ID is confirmed at this phone.
    pub(crate) fn has_confirmed_call(&self, call_id: &str) -> bool {
        self.calls.values().any(|call| call.call_id == call_id && call.state == CallState::Confirmed)
    }

    /// Number of calls that have not ended: 0 at the end of a run.
    pub(crate) fn live_calls(&self) -> usize {
        self.calls.values().filter(|call| call.state != CallState::Terminated).count()
    }
}
