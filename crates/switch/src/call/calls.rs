//! The table of calls, and lists of them for the API.

use std::cell::Cell;

use base::Now;
use model::CallRecord;
use slab::Slab;

use super::{Call, CallIndex, CallKey};
use crate::{CallPlace, CallsOf, limits};

/// All calls, by key. What finds a key is the [`CallIndex`].
#[derive(Debug, Default)]
pub(crate) struct Calls {
    slab: Slab<Call>,
    /// Of the next call.
    serial: u64,
    /// Entries that lists have passed: see [`crate::Switch::steps`].
    steps: Cell<u64>,
}

impl Calls {
    /// Begin a call.
    pub(crate) fn insert(&mut self, now: Now, index: &mut CallIndex, mut call: Call) -> CallKey {
        self.serial += 1;
        let entry = self.slab.vacant_entry();
        call.key = CallKey::new(self.serial, entry.key());
        call.began = now.instant;
        index.insert(&call);
        entry.insert(call).key
    }

    /// Take out a call of which nothing is left.
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

    /// Calls that are not released, newest first: those behind the place `after`, and no more than `limit`.
    pub(crate) fn list(
        &self,
        index: &CallIndex,
        of: &CallsOf,
        after: Option<&CallPlace>,
        limit: usize,
    ) -> Vec<CallRecord> {
        let limit = limit.min(limits::CALLS_LISTED);
        let record = |key: CallKey| {
            self.steps.set(self.steps.get() + 1);
            Some(self.get(key)?.cdr())
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
