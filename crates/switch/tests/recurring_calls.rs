//! The scheduler with a failing store and crashing processes: each occurrence is dialled once or recorded as not dialled, never both and never
//! neither (S85).

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use base::{Instant, Rng};
use centralita_switch::schedule::{GRACE, Input};
use model::{Cause, Misfire, OccurrenceState, RecurringCall};

use world::{End, FAULTS, FaultRates, Side, Step, World, directory, now, recurring, schedule};

/// `count` daily calls, a third of them at nine.
fn recurring_calls(count: usize, rng: &mut Rng) -> Vec<RecurringCall> {
    let each = |n| {
        let second = rng.below(86_400);
        let time = match n % 3 {
            0 => "09:00".to_owned(),
            _ => format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60),
        };
        let mut recurring_call = recurring(n, &time);
        recurring_call.max_attempts = 1 + (n % 4 == 1) as u8 * 2;
        recurring_call.misfire = if n % 5 == 2 { Misfire::RunOnce } else { Misfire::Skip };
        recurring_call
    };
    (0..count).map(each).collect()
}

const DAY: Duration = Duration::from_hours(24);

#[test]
fn ten_thousand_occurrences_with_crashes_are_dialled_once_or_recorded_as_missed() {
    let (mut ends, mut crashes) = (BTreeMap::new(), BTreeMap::new());
    for seed in 0..10 {
        let nodes = 1 + seed as usize % 3;
        let recurring_calls = recurring_calls(500, &mut Rng::from_number(1000 + seed));
        let mut world = World::new(seed, FAULTS, nodes, recurring_calls);
        world.per_second = 20;
        let end = Instant::ZERO + DAY * 2;
        world.run(end);
        // Each occurrence has one outcome, which agrees with the calls made and with the outages: see `World::check_outcomes`.
        for (end, count) in world.check_outcomes(end) {
            *ends.entry(end).or_insert(0) += count;
        }
        for (step, count) in world.crashes {
            *crashes.entry(step).or_insert(0) += count;
        }
    }
    assert_eq!(ends.values().sum::<usize>(), 10_000, "{ends:?}");
    // The faults cover every common outcome, and a crash before and after every step.
    for end in [
        End::Done,
        End::Missed,
        End::Unsuccessful(Cause::Busy),
        End::Unsuccessful(Cause::NoAnswer),
        End::Crashed,
        End::CrashedAfterAnswer,
    ] {
        assert!(ends.contains_key(&end), "{end:?} did not occur: {ends:?}");
    }
    for step in Step::ALL {
        for side in [Side::Before, Side::After] {
            let count = crashes.get(&(step, side)).copied().unwrap_or(0);
            assert!(count >= 5, "{count} crashes at {step:?}, {side:?}: {crashes:?}");
        }
    }
}

#[test]
fn without_faults_every_occurrence_is_dialled_in_time_in_order_and_at_the_pace() {
    let recurring_calls: Vec<RecurringCall> = (0..100).map(|n| recurring(n, "09:00")).collect();
    let mut world = World::new(7, FaultRates::default(), 1, recurring_calls);
    let end = Instant::ZERO + DAY * 2;
    world.run(end);
    assert_eq!(world.check_outcomes(end), BTreeMap::from([(End::Done, 200)]));
    for day in world.dialled.chunks(100) {
        assert!(day.is_sorted_by_key(|(at, key)| (*at, key.0.clone())), "in order");
        for window in day.windows(6) {
            assert!(window[5].0.since(window[0].0) >= Duration::from_secs(1), "five a second");
        }
        let (first, last) = (now(day[0].0).wall, now(day[99].0).wall);
        assert!(first.since(day[0].1.1) < Duration::from_secs(1), "on time");
        assert!(last.since(first) < Duration::from_secs(22), "no slower than it may");
    }
}

#[test]
fn an_occurrence_past_its_grace_is_missed_or_run_once() {
    let mut once = recurring(1, "09:00");
    once.misfire = Misfire::RunOnce;
    let mut world = World::new(1, FaultRates::default(), 1, vec![recurring(0, "09:00"), once]);
    world.nodes[0].up_at = Instant::ZERO + DAY * 3; // nine o'clock has passed three times
    let end = Instant::ZERO + DAY * 3;
    world.run(end);
    let states = |n: usize| -> Vec<OccurrenceState> {
        let id = &world.recurring_calls[n].id;
        world.rows.values().filter(|row| row.recurring == *id).map(|row| row.state).collect()
    };
    let (done, missed) = (OccurrenceState::Done, OccurrenceState::Missed);
    assert_eq!((states(0), states(1)), (vec![missed; 3], vec![missed, missed, done]));
    world.check_outcomes(end);
}

#[test]
fn an_occurrence_within_its_grace_is_dialled_late() {
    for (late, state) in [
        (GRACE.checked_sub(Duration::from_secs(1)).unwrap(), OccurrenceState::Done),
        (GRACE + Duration::from_secs(1), OccurrenceState::Missed),
    ] {
        let mut world = World::new(1, FaultRates::default(), 1, vec![recurring(0, "09:00")]);
        world.nodes[0].up_at = Instant::ZERO + Duration::from_hours(9) + late;
        world.run(Instant::ZERO + Duration::from_hours(10));
        let states: Vec<_> = world.rows.values().map(|row| row.state).collect();
        assert_eq!(states, [state], "{late:?} late");
    }
}

#[test]
fn a_busy_line_is_tried_again_as_often_as_the_policy_says() {
    let mut recurring_call = recurring(0, "09:00");
    (recurring_call.max_attempts, recurring_call.retry_minutes) = (3, 10);
    let faults = FaultRates { busy: 1000, ..FaultRates::default() };
    let mut world = World::new(1, faults, 1, vec![recurring_call]);
    let nine = Instant::ZERO + Duration::from_hours(9);
    while world.at < nine + Duration::from_hours(1) {
        world.step(nine + Duration::from_hours(1));
    }
    let minutes: Vec<u64> = world.dialled.iter().map(|(at, _)| at.since(nine).as_secs() / 60).collect();
    assert_eq!(minutes, [0, 10, 20]); // S86
    let row = world.rows.values().next().unwrap();
    assert_eq!((row.state, row.attempts, row.cause), (OccurrenceState::Failed, 3, Some(Cause::Busy)));
}

#[test]
fn a_user_at_the_call_limit_misses_the_occurrence_when_the_grace_ends() {
    let faults = FaultRates { refused: 1000, ..FaultRates::default() };
    let mut world = World::new(1, faults, 1, vec![recurring(0, "09:00")]);
    let end = Instant::ZERO + Duration::from_hours(10);
    while world.at < end {
        world.step(end);
    }
    let row = world.rows.values().next().unwrap();
    let expected = (OccurrenceState::Missed, 0, Some(Cause::ConcurrentCallLimit)); // S29
    assert_eq!((row.state, row.attempts, row.cause), expected);
    assert!(row.version < 60, "it steps back further each time: {}", row.version);
}

#[test]
fn a_schedule_change_applies_from_then_on() {
    let mut world =
        World::new(1, FaultRates::default(), 1, vec![recurring(0, "09:00"), recurring(1, "09:00")]);
    let eight = Instant::ZERO + Duration::from_hours(8);
    while world.at < eight {
        world.step(eight);
    }
    world.recurring_calls[0].schedule = schedule("10:00");
    world.recurring_calls[0].since = now(world.at).wall;
    world.recurring_calls[1].enabled = false;
    world.recurring_calls[1].since = now(world.at).wall;
    let changed = directory(&world.recurring_calls);
    world.feed(0, Input::Directory(Box::new(changed)));
    world.run(Instant::ZERO + Duration::from_hours(12));
    let due: Vec<_> = world.rows.keys().map(|key| (key.0.as_str(), key.1.to_string())).collect();
    assert_eq!(due, [("rc_0000", "2025-01-01T10:00:00.000Z".to_owned())]); // S83
}
