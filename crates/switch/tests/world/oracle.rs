//! Final checks: every occurrence has exactly one outcome, which agrees with the calls made and has a reason.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{Instant, Timestamp};
use centralita_switch::schedule::{GRACE, Key};
use model::recurrence::next_after;
use model::{Cause, Occurrence, OccurrenceState, RecurringCall};

use super::{SimCall, World, instant, now};

/// All possible outcomes of an occurrence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum End {
    /// The call was connected, once.
    Done,
    /// No phone rang: all nodes that could have dialled were down for (nearly) all of the grace period.
    Missed,
    /// Every attempt rang, and the last possible one was busy or not answered.
    Unsuccessful(Cause),
    /// The process that made the attempt crashed.
    Crashed,
    /// The call was connected, and the processes that knew it crashed before they stored it.
    CrashedAfterAnswer,
    /// A further attempt was due, and the switch rejected it until the end of the grace period.
    Rejected(Cause),
}

/// Uptime within the grace period in which a node may nevertheless not dial: it works off a queue at its pace (170 calls at nine, twenty per
/// second), the database did not respond, or the switch rejected the call and the scheduler backed off.
const SLACK: Duration = Duration::from_secs(15);

/// The calls made for one occurrence.
struct ObservedCalls<'w> {
    /// Each call with its node; `None` if that node's journal has lost it.
    calls: Vec<(Option<usize>, &'w SimCall)>,
}

impl ObservedCalls<'_> {
    fn ringing_count(&self) -> usize {
        self.calls.len()
    }

    fn answered_count(&self) -> usize {
        self.calls.iter().filter(|(_, call)| call.answered()).count()
    }

    /// Every call failed, and its process learnt it before any crash.
    fn all_unsuccessful(&self) -> bool {
        let in_vain = |call: &SimCall| {
            call.outcome.1.is_err()
                && call.interrupted.is_none_or(|interrupted| interrupted >= call.outcome.0)
        };
        self.calls.iter().all(|(_, call)| in_vain(call))
    }
}

impl World {
    /// Check each occurrence on its own. Returns the number of occurrences per outcome.
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
                let row = self.rows.get(&key).unwrap_or_else(|| panic!("{key:?} has no row"));
                assert_eq!(self.events.get(&key), Some(&1), "one event: {row:?}");
                let silence = ObservedCalls { calls: Vec::new() };
                let end = self.classify(recurring_call, row, observed.get(&key).unwrap_or(&silence));
                *ends.entry(end).or_default() += 1;
                checked += 1;
                due = next_after(&recurring_call.schedule, due).unwrap();
            }
        }
        let rows = self.rows.keys().filter(|key| key.1 <= now(end).wall).count();
        assert_eq!(rows, checked, "rows that were never due");
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
        assert!(answered_count <= 1, "answered {answered_count} times: {row:?}");
        assert!(attempts <= usize::from(recurring_call.max_attempts), "too many attempts: {row:?}");
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
                assert!(self.interrupted.contains(&key), "no process crashed during it: {row:?}");
                if answered_count == 0 {
                    return End::Crashed;
                }
                // Its node has lost its journal, or another node took over the row.
                let knew =
                    observed.calls.iter().filter(|(_, call)| call.answered()).find_map(|(node, _)| *node);
                let told_by = self.nodes.iter().position(|node| row.owner.starts_with(&node.name));
                assert!(knew.is_none() || knew != told_by, "the storing node knew of the answer: {row:?}");
                End::CrashedAfterAnswer
            }
            (OccurrenceState::Failed, Some(cause @ (Cause::ConcurrentCallLimit | Cause::Overload))) => {
                assert_eq!((answered_count, ringing_count), (0, attempts), "{row:?}");
                assert!(attempts > 0, "never dialled, so missed: {row:?}");
                self.assert_rejected(&key, cause, row);
                self.assert_was_down(row);
                End::Rejected(cause)
            }
            (state, cause) => panic!("impossible outcome {state:?} with {cause:?}: {row:?}"),
        }
    }

    fn assert_rejected(&self, key: &Key, cause: Cause, row: &Occurrence) {
        let refused = matches!(cause, Cause::ConcurrentCallLimit | Cause::Overload);
        assert!(refused && self.rejected.contains_key(key), "the switch never rejected it: {row:?}");
    }

    /// Every node that could have dialled was down within the grace period, except for [`SLACK`].
    fn assert_was_down(&self, row: &Occurrence) {
        let uptime_within_grace = self.uptime_within_grace(&row.key(), row.not_before);
        assert!(
            uptime_within_grace <= SLACK,
            "a node was up for {uptime_within_grace:?} and did not dial: {row:?}"
        );
    }

    /// Longest uptime of any node in the grace period after `from`, while it held the row's lease or no lease was valid.
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
