//! Cache of DNS answers, limited by TTL and by number.

use std::collections::BTreeSet;
use std::time::Duration;

use base::{Instant, KeyedHash, KeyedMap, Rng};

use super::{Question, Records};
use crate::limits;

/// Maximum TTL of a negative answer.
pub(super) const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(300);
/// Maximum TTL of a record.
const MAX_TTL: Duration = Duration::from_secs(86_400);

#[derive(Debug)]
pub(super) struct Cache {
    answers: KeyedMap<Question, (Instant, Records)>,
    /// By expiry, so that the first one to expire is found without a scan.
    order: BTreeSet<(Instant, Question)>,
}

impl Cache {
    pub(super) fn new(rng: &mut Rng) -> Cache {
        Cache { answers: KeyedMap::with_hasher(KeyedHash::new(rng)), order: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    pub(super) fn get(&self, now: Instant, question: &Question) -> Option<Records> {
        self.answers.get(question).filter(|(until, _)| *until > now).map(|(_, records)| records.clone())
    }

    /// The last positive answer, even if expired: better than none while the DNS fails (RFC 8767).
    pub(super) fn get_stale(&self, question: &Question) -> Option<Records> {
        self.answers.get(question).filter(|(_, records)| !records.is_empty()).map(|(_, r)| r.clone())
    }

    pub(super) fn insert(&mut self, now: Instant, question: Question, records: Records, ttl: Duration) {
        let until = now + ttl.min(MAX_TTL);
        if let Some((old, _)) = self.answers.insert(question.clone(), (until, records)) {
            self.order.remove(&(old, question.clone()));
        }
        self.order.insert((until, question));
        while self.order.len() > limits::DNS_ANSWERS {
            if let Some((_, question)) = self.order.pop_first() {
                self.answers.remove(&question);
            }
        }
    }
}
