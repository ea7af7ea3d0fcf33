//! The table of calls, and the lists of calls for the API.

use std::cell::Cell;

use base::Now;
use model::CallRecord;
use slab::Slab;

use super::{Call, CallIndex, CallKey};
use crate::{CallPlace, CallsOf, limits};

/// All calls, by key. Keys are looked up in [`CallIndex`].
#[derive(Debug, Default)]
pub(crate) struct Calls {
    slab: Slab<Call>,
    /// Serial number of the latest call.
    serial: u64,
    /// Number of entries visited by lists; see [`crate::Switch::steps`].
    steps: Cell<u64>,
}

impl Calls {
    /// Add a call to the table and to the index, and return its key.
    pub(crate) fn insert(&mut self, now: Now, index: &mut CallIndex, mut call: Call) -> CallKey {
        self.serial += 1;
        let entry = self.slab.vacant_entry();
        call.key = CallKey::new(self.serial, entry.key());
        call.began = now.instant;
        index.insert(&call);
        entry.insert(call).key
    }

    /// Remove a finished call from the table and from the index. `None` if the key finds no call.
    pub(crate) fn remove(&mut self, index: &mut CallIndex, key: CallKey) -> Option<Call> {
        self.get(key)?;
        let call = self.slab.try_remove(key.slot as usize)?;
        index.remove(&call);
        Some(call)
    }

    pub(crate) fn get(&self, key: CallKey) -> Option<&Call> {
        self.slab.get(key.slot as usize).filter(|call| call.key == key)
    }

    pub(crate) fn get_mut(&mut self, key: CallKey) -> Option<&mut Call> {
        self.slab.get_mut(key.slot as usize).filter(|call| call.key == key)
    }

    /// Records of the calls that are not released, newest first: those after the position `after`, at most `limit` (and [`limits::CALLS_LISTED`]).
    pub(crate) fn list(
        &self,
        now: Now,
        index: &CallIndex,
        of: &CallsOf,
        after: Option<&CallPlace>,
        limit: usize,
    ) -> Vec<CallRecord> {
        let limit = limit.min(limits::CALLS_LISTED);
        let record = |key: CallKey| {
            self.steps.set(self.steps.get() + 1);
            Some(self.get(key)?.live_record(now))
        };
        match of {
            CallsOf::Everybody => index.all(after).take(limit).filter_map(record).collect(),
            CallsOf::User(user) => index.readable_by(user, after).take(limit).filter_map(record).collect(),
            CallsOf::Party(party) => {
                let mut keys = index.of_party(party).to_vec();
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

    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }
}
