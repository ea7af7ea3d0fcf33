//! The lines of a day: who registered and who went, which calls ended and how, who guesses passwords, which trunk is down.
//!
//! They are written by the thread that feeds the database and by a task of their own, never by the thread of the exchange.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use base::Timestamp;
use model::CallRecord;
use model::journal::{Binding, CallEvent, Record};
use switch::{Command, HealthState, Reply, TrunkRegistration, TrunkStatus};

use crate::masked::number;
use crate::switch_thread::SwitchHandle;

/// Lines about phones from one batch of records; when a whole office comes back at once, the rest is one line.
const PHONES_AT_ONCE: usize = 50;
/// Phones that are remembered as told: the exchange holds no more.
const PHONES: usize = 500_000;
/// How often the trunks are looked at.
const TRUNKS: Duration = Duration::from_secs(5);

/// Tells of records as they are written down.
#[derive(Debug)]
pub struct DayLog {
    /// Bindings that are older were told of by an earlier life of the process.
    since: Timestamp,
    /// Those whose coming was told.
    there: HashSet<u64>,
    lines: usize,
    untold: usize,
}

impl DayLog {
    /// A log that begins now.
    pub fn new(since: Timestamp) -> DayLog {
        DayLog { since, there: HashSet::new(), lines: 0, untold: 0 }
    }

    /// Tell of one record.
    pub fn tell(&mut self, record: &Record) {
        match record {
            Record::Bound(binding) => self.bound(binding),
            Record::Unbound { username, contact, .. } => {
                self.there.remove(&key(username, contact));
                if self.may_tell() {
                    tracing::info!(user = %number(username), "phone gone");
                }
            }
            Record::CallClosed(call) => ended(call),
            Record::Noted(CallEvent::WrongAnswer { source, account, at, banned_seconds }) => {
                let user = number(account);
                match banned_seconds {
                    0 => tracing::info!(address = %source, %user, "wrong password"),
                    seconds => {
                        let until = *at + Duration::from_secs(u64::from(*seconds));
                        tracing::warn!(address = %source, %user, %until, "banned after too many wrong passwords");
                    }
                }
            }
            Record::CallOpened(_)
            | Record::LegUp { .. }
            | Record::Ladder { .. }
            | Record::Noted(_)
            | Record::Recording(_)
            | Record::Voicemail(_)
            | Record::Alive { .. } => {}
        }
    }

    /// The batch is told.
    pub fn rest(&mut self) {
        if self.untold > 0 {
            tracing::info!(phones = self.untold, "further phones registered or went");
        }
        (self.lines, self.untold) = (0, 0);
    }

    /// A refresh is not told: its phone was.
    fn bound(&mut self, binding: &Binding) {
        if binding.created_at < self.since {
            return;
        }
        if self.there.len() >= PHONES {
            self.there.clear();
        }
        if self.there.insert(key(&binding.username, &binding.contact)) && self.may_tell() {
            let (user, address) = (number(&binding.username), binding.remote);
            tracing::info!(%user, %address, agent = binding.user_agent, "phone registered");
        }
    }

    fn may_tell(&mut self) -> bool {
        self.lines += 1;
        let may = self.lines <= PHONES_AT_ONCE;
        self.untold += usize::from(!may);
        may
    }
}

/// Collisions cost a line that is not written.
fn key(username: &str, contact: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (username, contact).hash(&mut hasher);
    hasher.finish()
}

fn ended(call: &CallRecord) {
    let seconds = call.duration_seconds(call.ended_at.unwrap_or(call.started_at));
    let heard = call.legs.iter().filter_map(|leg| leg.quality.as_ref()).map(|quality| quality.mos);
    let mos = heard.filter(|mos| *mos > 0.0).min_by(f32::total_cmp);
    tracing::info!(
        call = %call.id,
        from = %number(&call.from_number),
        to = %number(&call.to_number),
        seconds,
        cause = call.cause.map_or("unknown", model::Cause::code),
        mos = mos.map(|mos| format!("{mos:.1}")),
        "call ended"
    );
}

/// Tell when a trunk, or its registration, becomes something else.
pub async fn watch_trunks(switch_handle: SwitchHandle) {
    let mut known: HashMap<String, (HealthState, TrunkRegistration)> = HashMap::new();
    let mut beat = tokio::time::interval(TRUNKS);
    loop {
        beat.tick().await;
        let Some(Reply::Trunks(trunks)) = switch_handle.ask(Command::Trunks).await else { continue };
        known.retain(|id, _| trunks.iter().any(|trunk| trunk.id.as_str() == id));
        for trunk in &trunks {
            let before = known.insert(trunk.id.to_string(), (trunk.life, trunk.registration));
            changed(trunk, before);
        }
    }
}

fn changed(trunk: &TrunkStatus, before: Option<(HealthState, TrunkRegistration)>) {
    let name = trunk.name.as_str();
    if before.is_none_or(|(life, _)| life != trunk.life) {
        match trunk.life {
            HealthState::Down => tracing::warn!(trunk = name, "trunk down: no host of it answers"),
            HealthState::Up => tracing::info!(trunk = name, "trunk up"),
            HealthState::Disabled => tracing::info!(trunk = name, "trunk disabled"),
            HealthState::Unknown => {}
        }
    }
    if before.is_none_or(|(_, registration)| registration != trunk.registration) {
        match trunk.registration {
            TrunkRegistration::Registered => tracing::info!(trunk = name, "trunk registered"),
            TrunkRegistration::Failed { status } => {
                tracing::warn!(trunk = name, status, "trunk not registered; it is tried again");
            }
            TrunkRegistration::Elsewhere => {
                tracing::info!(trunk = name, "trunk registered by another node");
            }
            TrunkRegistration::Off | TrunkRegistration::Trying | TrunkRegistration::Leaving => {}
        }
    }
}
