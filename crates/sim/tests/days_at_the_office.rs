//! Runs of the simulator over many seeds: no invariant is violated, and two runs of one seed are equal.

use sim::{CARRIERS, CROWD, World};

/// Seeds that once violated an invariant. They are run for ever.
const ONCE_BROKEN: &[u64] = &[1, 2, 8, 13, 17, 194, 279, 384, 425, 803, 926, 927, 2771];

/// Number of seeds; `CENTRALITA_SIM_SEEDS` overrides it.
fn days() -> u64 {
    std::env::var("CENTRALITA_SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

fn play(seeds: impl Iterator<Item = u64>) {
    let mut broken = Vec::new();
    for seed in seeds {
        let outcome = World::run(seed);
        if !outcome.broken.is_empty() {
            eprintln!("seed {seed}:\n{}", outcome.story.join("\n"));
            eprintln!("seed {seed} broke:\n{}", outcome.broken.join("\n"));
            broken.push(seed);
        }
        if seed % 10 == 0 {
            assert_eq!(outcome.trace, World::run(seed).trace, "seed {seed} went differently the second time");
        }
    }
    assert!(broken.is_empty(), "broken days: {broken:?}");
}

#[test]
fn no_day_of_an_even_number_breaks_a_promise() {
    play((0..days()).step_by(2));
}

#[test]
fn no_day_of_an_odd_number_breaks_a_promise() {
    play((1..days()).step_by(2));
}

#[test]
fn no_day_with_carriers_breaks_a_promise() {
    play((0..days() / 2).map(|day| day | CARRIERS)); // these runs take longer
}

#[test]
fn no_input_costs_more_for_a_crowd_that_it_is_not_about() {
    play((0..days() / 20).map(|day| day | CROWD | if day % 2 == 0 { CARRIERS } else { 0 }));
}

#[test]
fn no_day_that_was_mended_breaks_again() {
    play(ONCE_BROKEN.iter().copied());
}
