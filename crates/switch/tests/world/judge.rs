//! What must hold in the end: every instant has its one end, and the phones agree.

use std::collections::BTreeMap;

use base::Instant;
use centralita_switch::schedule::Key;
use model::OccurrenceState;
use model::recurrence::next_after;

use super::{World, now};

impl World {
    /// Every instant has its one end, and the phones agree. Answers how many ended in each way.
    pub(crate) fn judge(&self, end: Instant) -> BTreeMap<OccurrenceState, usize> {
        let mut rang: BTreeMap<&Key, u8> = BTreeMap::new();
        for (_, key) in &self.begun {
            *rang.entry(key).or_default() += 1;
        }
        let made = self.nodes.iter().flat_map(|node| node.calls.values()).chain(&self.lost);
        let answered = made.filter(|call| call.answered());
        let mut talked: BTreeMap<&Key, u8> = BTreeMap::new();
        for call in answered {
            *talked.entry(&call.key).or_default() += 1;
        }
        let mut ends = BTreeMap::new();
        for plan in &self.plans {
            let mut due = next_after(&plan.schedule, plan.since).unwrap();
            while due <= now(end).wall {
                let key = (plan.id.clone(), due);
                let row = self.rows.get(&key).unwrap_or_else(|| panic!("{key:?} is forgotten"));
                let (rang, talked) =
                    (rang.get(&key).copied().unwrap_or(0), talked.get(&key).copied().unwrap_or(0));
                assert!(row.state.is_final(), "without an end: {row:?}");
                assert!(rang <= plan.max_attempts, "rung {rang} times: {row:?}");
                assert!(talked <= 1, "talked {talked} times: {row:?}");
                assert_eq!(self.events.get(&key), Some(&1), "told once: {row:?}");
                match row.state {
                    OccurrenceState::Done => assert_eq!(talked, 1, "{row:?}"),
                    OccurrenceState::Missed => assert_eq!(rang, 0, "{row:?}"),
                    OccurrenceState::Failed => assert!(row.cause.is_some(), "{row:?}"),
                    OccurrenceState::Claimed | OccurrenceState::Dialling => unreachable!(),
                }
                *ends.entry(row.state).or_default() += 1;
                due = next_after(&plan.schedule, due).unwrap();
            }
        }
        for (at, key) in &self.begun {
            assert!(now(*at).wall >= key.1, "{key:?} was dialled early");
        }
        ends
    }
}
