//! Log lines about daily operation: registrations, ended calls, wrong passwords and bans, trunk states.
//!
//! They are written by the thread that feeds the database and by a task of their own, never by the switch thread.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use base::Timestamp;
use model::CallRecord;
use model::journal::{Binding, CallEvent, Record};
use switch::{Command, HealthState, Reply, TrunkRegistration, TrunkStatus};

use crate::masked::number;
use crate::switch_thread::SwitchHandle;

/// Log lines about registrations per batch of records; beyond it (a whole site comes back at once) the rest is summed up in one line.
const LINES_PER_BATCH: usize = 50;
/// Contacts that are remembered as logged; the location service holds no more.
const MAX_LOGGED: usize = 500_000;
/// Interval at which the trunk states are polled.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Logs journal records as they are written.
#[derive(Debug)]
pub struct DayLog {
    /// Bindings created earlier were logged by a previous run of the process.
    since: Timestamp,
    /// Hashes of the contacts whose registration was logged.
    logged: HashSet<u64>,
    lines: usize,
    suppressed: usize,
}

impl DayLog {
    /// A log that starts at `since`.
    pub fn new(since: Timestamp) -> DayLog {
        DayLog { since, logged: HashSet::new(), lines: 0, suppressed: 0 }
    }

    /// Log one record.
    pub fn log(&mut self, record: &Record) {
        match record {
            Record::Bound(binding) => self.bound(binding),
            Record::Unbound { username, contact, .. } => {
                self.logged.remove(&key(username, contact));
                if self.may_log() {
                    tracing::info!(user = %number(username), "phone unregistered");
                }
            }
            Record::CallClosed(call) => log_call(call),
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

    /// End of a batch: log the number of registrations that were left out.
    pub fn end_batch(&mut self) {
        if self.suppressed > 0 {
            tracing::info!(phones = self.suppressed, "further phones registered or unregistered");
        }
        (self.lines, self.suppressed) = (0, 0);
    }

    /// Logs the first registration of a contact, not its refreshes.
    fn bound(&mut self, binding: &Binding) {
        if binding.created_at < self.since {
            return;
        }
        if self.logged.len() >= MAX_LOGGED {
            self.logged.clear();
        }
        if self.logged.insert(key(&binding.username, &binding.contact)) && self.may_log() {
            let (user, address) = (number(&binding.username), binding.remote);
            tracing::info!(%user, %address, agent = binding.user_agent, "phone registered");
        }
    }

    fn may_log(&mut self) -> bool {
        self.lines += 1;
        let may = self.lines <= LINES_PER_BATCH;
        self.suppressed += usize::from(!may);
        may
    }
}

/// A collision only suppresses a line.
fn key(username: &str, contact: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (username, contact).hash(&mut hasher);
    hasher.finish()
}

fn log_call(call: &CallRecord) {
    let seconds = call.duration_seconds(call.ended_at.unwrap_or(call.started_at));
    let scores = call.legs.iter().filter_map(|leg| leg.quality.as_ref()).map(|quality| quality.mos);
    let mos = scores.filter(|mos| *mos > 0.0).min_by(f32::total_cmp);
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

/// Log each change of a trunk's health or registration state.
pub async fn watch_trunks(switch_handle: SwitchHandle) {
    let mut known: HashMap<String, (HealthState, TrunkRegistration)> = HashMap::new();
    let mut interval = tokio::time::interval(POLL_INTERVAL);
    loop {
        interval.tick().await;
        let Some(Reply::Trunks(trunks)) = switch_handle.ask(Command::Trunks).await else { continue };
        known.retain(|id, _| trunks.iter().any(|trunk| trunk.id.as_str() == id));
        for trunk in &trunks {
            let before = known.insert(trunk.id.to_string(), (trunk.life, trunk.registration));
            log_changes(trunk, before);
        }
    }
}

fn log_changes(trunk: &TrunkStatus, before: Option<(HealthState, TrunkRegistration)>) {
    let name = trunk.name.as_str();
    if before.is_none_or(|(health, _)| health != trunk.life) {
        match trunk.life {
            HealthState::Down => tracing::warn!(trunk = name, "trunk down: none of its hosts answers"),
            HealthState::Up => tracing::info!(trunk = name, "trunk up"),
            HealthState::Disabled => tracing::info!(trunk = name, "trunk disabled"),
            HealthState::Unknown => {}
        }
    }
    if before.is_none_or(|(_, registration)| registration != trunk.registration) {
        match trunk.registration {
            TrunkRegistration::Registered => tracing::info!(trunk = name, "trunk registered"),
            TrunkRegistration::Failed { status } => {
                tracing::warn!(trunk = name, status, "trunk registration failed; it will be retried");
            }
            TrunkRegistration::Elsewhere => {
                tracing::info!(trunk = name, "another node registers this trunk");
            }
            TrunkRegistration::Off | TrunkRegistration::Trying | TrunkRegistration::Leaving => {}
        }
    }
}
