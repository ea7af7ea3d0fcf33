//! Cache of final responses to requests without a transaction, with a fixed capacity so that unauthenticated senders cannot exhaust memory.

use std::collections::VecDeque;

use base::{Instant, KeyedHash, KeyedMap, Rng};
use bytes::Bytes;

use crate::limits::{CACHED_RESPONSE_BYTES, CACHED_RESPONSES};
use crate::transaction::Key;

/// Responses by request key, in insertion order; the oldest is evicted.
#[derive(Debug)]
pub(crate) struct ResponseCache {
    answers: KeyedMap<Key, (Instant, Bytes)>,
    order: VecDeque<(Instant, Key)>,
}

impl ResponseCache {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        ResponseCache { answers: KeyedMap::with_hasher(KeyedHash::new(rng)), order: VecDeque::new() }
    }

    /// Store a response until `until`, or until newer ones fill the cache. One longer than the limit is not stored.
    pub(crate) fn insert(&mut self, now: Instant, until: Instant, key: Key, answer: Bytes) {
        while let Some(&(oldest, old)) = self.order.front() {
            if oldest > now && self.order.len() < CACHED_RESPONSES {
                break;
            }
            self.order.pop_front();
            // A newer response to the same request stays.
            if self.answers.get(&old).is_some_and(|(kept, _)| *kept <= oldest) {
                self.answers.remove(&old);
            }
        }
        if answer.len() > CACHED_RESPONSE_BYTES {
            return;
        }
        self.answers.insert(key, (until, answer));
        self.order.push_back((until, key));
    }

    /// The response to a retransmission.
    pub(crate) fn get(&self, now: Instant, key: Key) -> Option<&Bytes> {
        self.answers.get(&key).filter(|(until, _)| *until > now).map(|(_, answer)| answer)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_the_newest_and_expires_entries() {
        let mut cache = ResponseCache::new(&mut Rng::from_number(1));
        let at = Instant::from_micros;
        for n in 0..=CACHED_RESPONSES as u64 {
            cache.insert(at(0), at(100), Key(n, n), Bytes::from_static(b"200"));
        }
        assert!(cache.get(at(0), Key(0, 0)).is_none());
        assert!(cache.get(at(99), Key(1, 1)).is_some());
        assert!(cache.get(at(100), Key(1, 1)).is_none());
        cache.insert(at(101), at(200), Key(7, 7), Bytes::from_static(b"200"));
        assert_eq!(cache.order.len(), 1);
    }
}
