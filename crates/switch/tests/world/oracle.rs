//! What must hold in the end: every instant has its one end, the phones agree with it, and it has its reason.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{Instant, Timestamp};
use centralita_switch::schedule::{GRACE, Key};
use model::recurrence::next_after;
use model::{Cause, Occurrence, OccurrenceState, RecurringCall};

use super::{SimCall, World, instant, now};

/// The ends that an instant can have. There is no other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum End {
    /// The two were connected, once.
    Done,
    /// Nobody was rung: everybody who could have dialled was away for (nearly) all of the grace.
    Missed,
    /// Every attempt rang, and the last one that could be made met a phone that was busy, or that nobody took.
    Unsuccessful(Cause),
    /// The attempt was cut off by the end of the process that made it.
    Crashed,
    /// They were connected, and whoever knew of it did not live to tell.
    CrashedAfterAnswer,
    /// A further attempt was due, and the exchange had no room for it as long as the grace lasted.
    Rejected(Cause),
}

/// For so long altogether a node may be there within the grace and yet not have dialled: it has a queue to work off at its pace (170 calls at
/// nine, twenty a second), the
/// database did not answer, or the exchange turned it away and it stepped back.
const SLACK: Duration = Duration::from_secs(15);

/// What the phones know of one instant.
struct ObservedCalls<'w> {
    /// Each of its calls, with the node that made it; `None` where that node's journal has lost it.
    calls: Vec<(Option<usize>, &'w SimCall)>,
}

impl ObservedCalls<'_> {
    fn ringing_count(&self) -> usize {
        self.calls.len()
    }

    fn answered_count(&self) -> usize {
        self.calls.iter().filter(|(_, call)| call.answered()).count()
    }

    /// Every call was refused, and the process lived to hear it.
    fn all_unsuccessful(&self) -> bool {
        let in_vain = |call: &SimCall| {
            call.outcome.1.is_err()
                && call.interrupted.is_none_or(|interrupted| interrupted >= call.outcome.0)
        };
        self.calls.iter().all(|(_, call)| in_vain(call))
    }
}

impl World {
    /// Judge each instant by itself. Answers how many ended in each way.
    pub(crate) fn check_outcomes(&self, end: Instant) -> BTreeMap<End, usize> {
        let mut observed: BTreeMap<&Key, ObservedCalls<'_>> = BTreeMap::new();
        let kept = self.nodes.iter().enumerate();
        let kept = kept.flat_map(|(n, node)| node.calls.values().map(move |call| (Some(n), call)));
        for (node, call) in kept.chain(self.lost.iter().map(|call| (None, call))) {
            let observed = observed.entry(&call.key).or_insert(ObservedCalls { calls: Vec::new() });
            observed.calls.push((node, call));
        }
        let mut ends = BTreeMap::new();
        let mut checked = 0;
        for recurring_call in &self.recurring_calls {
            let mut due = next_after(&recurring_call.schedule, recurring_call.since).unwrap();
            while due <= now(end).wall {
                let key = (recurring_call.id.clone(), due);
                let row = self.rows.get(&key).unwrap_or_else(|| panic!("{key:?} is forgotten"));
                assert_eq!(self.events.get(&key), Some(&1), "told once: {row:?}");
                let silence = ObservedCalls { calls: Vec::new() };
                let end = self.classify(recurring_call, row, observed.get(&key).unwrap_or(&silence));
                *ends.entry(end).or_default() += 1;
                checked += 1;
                due = next_after(&recurring_call.schedule, due).unwrap();
            }
        }
        let rows = self.rows.keys().filter(|key| key.1 <= now(end).wall).count();
        assert_eq!(rows, checked, "rows of what was never due");
        for (at, key) in &self.dialled {
            assert!(now(*at).wall >= key.1, "{key:?} was dialled early");
        }
        ends
    }

    fn classify(
        &self,
        recurring_call: &RecurringCall,
        row: &Occurrence,
        observed: &ObservedCalls<'_>,
    ) -> End {
        let (ringing_count, answered_count, attempts) =
            (observed.ringing_count(), observed.answered_count(), usize::from(row.attempts));
        let key = row.key();
        assert!(answered_count <= 1, "talked {answered_count} times: {row:?}");
        assert!(attempts <= usize::from(recurring_call.max_attempts), "tried too often: {row:?}");
        assert!(ringing_count <= attempts, "rang {ringing_count} times: {row:?}");
        match (row.state, row.cause) {
            (OccurrenceState::Done, None) => {
                assert_eq!((answered_count, ringing_count), (1, attempts), "{row:?}");
                End::Done
            }
            (OccurrenceState::Missed, cause) => {
                assert_eq!((ringing_count, attempts), (0, 0), "{row:?}");
                self.assert_was_down(row);
                if let Some(cause) = cause {
                    self.assert_rejected(&key, cause, row);
                }
                End::Missed
            }
            (OccurrenceState::Failed, Some(cause @ (Cause::Busy | Cause::NoAnswer))) => {
                assert_eq!((answered_count, ringing_count), (0, attempts), "{row:?}");
                assert!(observed.all_unsuccessful(), "{row:?}");
                let last = observed.calls.iter().max_by_key(|(_, call)| call.at).unwrap();
                assert_eq!(last.1.outcome.1, Err(cause), "{row:?}");
                if attempts < usize::from(recurring_call.max_attempts) {
                    self.assert_was_down(row); // when its next attempt was due
                }
                End::Unsuccessful(cause)
            }
            (OccurrenceState::Failed, Some(Cause::Crash)) => {
                assert!(self.interrupted.contains(&key), "nobody died over it: {row:?}");
                if answered_count == 0 {
                    return End::Crashed;
                }
                // Its node has lost its journal, or another one took the row from it.
                let knew =
                    observed.calls.iter().filter(|(_, call)| call.answered()).find_map(|(node, _)| *node);
                let told_by = self.nodes.iter().position(|node| row.owner.starts_with(&node.name));
                assert!(knew.is_none() || knew != told_by, "it knew that they talked: {row:?}");
                End::CrashedAfterAnswer
            }
            (OccurrenceState::Failed, Some(cause @ (Cause::ConcurrentCallLimit | Cause::Overload))) => {
                assert_eq!((answered_count, ringing_count), (0, attempts), "{row:?}");
                assert!(attempts > 0, "never dialled, so missed: {row:?}");
                self.assert_rejected(&key, cause, row);
                self.assert_was_down(row);
                End::Rejected(cause)
            }
            (state, cause) => panic!("no end is called {state:?} because of {cause:?}: {row:?}"),
        }
    }

    fn assert_rejected(&self, key: &Key, cause: Cause, row: &Occurrence) {
        let refused = matches!(cause, Cause::ConcurrentCallLimit | Cause::Overload);
        assert!(refused && self.rejected.contains_key(key), "the exchange never refused it: {row:?}");
    }

    /// Whoever could have dialled it was away while that was allowed, but for [`SLACK`].
    fn assert_was_down(&self, row: &Occurrence) {
        let uptime_within_grace = self.uptime_within_grace(&row.key(), row.not_before);
        assert!(
            uptime_within_grace <= SLACK,
            "somebody was there for {uptime_within_grace:?} and did not dial: {row:?}"
        );
    }

    /// How long within the grace after `from` the node that was there longest was up, while it held the row or nobody did.
    pub(crate) fn uptime_within_grace(&self, key: &Key, from: Timestamp) -> Duration {
        let (from, until) = (instant(from), instant(from + GRACE));
        let holds = self.holds.get(key).map(Vec::as_slice).unwrap_or_default();
        let first = holds.first().map_or(until, |hold| hold.from);
        let each = |n: usize| {
            let up = |a: Instant, b: Instant| -> Duration {
                let overlap = |(begin, end): &(Instant, Instant)| {
                    end.min(&b).min(&until).since(*begin.max(&a).max(&from))
                };
                self.nodes[n].uptimes.iter().map(overlap).sum()
            };
            let mut uptime_within_grace = up(Instant::ZERO, first);
            for (place, hold) in holds.iter().enumerate() {
                let next = holds.get(place + 1).map_or(until, |next| next.from);
                let free = if hold.node == n { hold.from } else { hold.lease };
                uptime_within_grace += up(free, next);
            }
            uptime_within_grace
        };
        (0..self.nodes.len()).map(each).max().unwrap_or_default()
    }
}
