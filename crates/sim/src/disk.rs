//! The journal as it is on disk: exactly the records written before a crash are there after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Timestamp;
use model::CallId;
use model::journal::{Binding, CallEvent, OutboundCallTime, Record};
use switch::{Input, OpenCall};

/// All records written so far.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    records: Vec<Record>,
    /// Time of the last `Alive` record.
    alive: Option<Timestamp>,
}

impl Disk {
    pub(crate) fn write(&mut self, record: Record) {
        match record {
            Record::Alive { at } => self.alive = Some(at),
            record => self.records.push(record),
        }
    }

    /// Input for a restarted switch: the last state of each binding, and the calls that were opened and not closed, with their legs.
    pub(crate) fn replay(&self) -> Input {
        let mut bindings: BTreeMap<(Arc<str>, String), Binding> = BTreeMap::new();
        let mut calls: BTreeMap<CallId, OpenCall> = BTreeMap::new();
        let mut outside: BTreeMap<CallId, OutboundCallTime> = BTreeMap::new();
        for record in &self.records {
            match record {
                Record::Bound(binding) => {
                    let key = (Arc::clone(&binding.username), binding.contact.clone());
                    bindings.insert(key, binding.clone());
                }
                Record::Unbound { username, contact, .. } => {
                    bindings.remove(&(Arc::clone(username), contact.clone()));
                }
                Record::CallOpened(call) => {
                    calls.insert(call.id.clone(), OpenCall { record: (**call).clone(), legs: Vec::new() });
                }
                Record::LegUp { call, leg } => {
                    if let Some(open) = calls.get_mut(call) {
                        open.legs.push(leg.clone());
                    }
                }
                Record::CallClosed(call) => {
                    calls.remove(&call.id);
                }
                Record::Noted(CallEvent::Outside(time)) => {
                    drop(outside.insert(time.call.clone(), time.clone()));
                }
                Record::Noted(CallEvent::Answered { call, at }) => {
                    if let Some(open) = calls.get_mut(call) {
                        open.record.answered_at = Some(*at);
                    }
                }
                Record::Ladder { .. }
                | Record::Noted(_)
                | Record::Recording(_)
                | Record::Alive { .. }
                | Record::Voicemail(_) => {}
            }
        }
        Input::Restore {
            bindings: bindings.into_values().collect(),
            calls: calls.into_values().collect(),
            outside: outside.into_values().collect(),
            alive: self.alive,
        }
    }
}
