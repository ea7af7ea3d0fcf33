//! Runs of the simulator over many seeds: no invariant is violated, and two runs of one seed are equal.

use sim::{CARRIERS, CROWD, World};

/// Seeds that once violated an invariant. They are run for ever.
const REGRESSIONS: &[u64] = &[1, 2, 8, 13, 17, 194, 279, 384, 425, 803, 926, 927, 2771];

/// Number of seeds; `CENTRALITA_SIM_SEEDS` overrides it.
fn seeds() -> u64 {
    std::env::var("CENTRALITA_SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

fn run_seeds(seeds: impl Iterator<Item = u64>) {
    let mut failed = Vec::new();
    for seed in seeds {
        let outcome = World::run(seed);
        if !outcome.violations.is_empty() {
            eprintln!("seed {seed}:\n{}", outcome.log.join("\n"));
            eprintln!("seed {seed} violated:\n{}", outcome.violations.join("\n"));
            failed.push(seed);
        }
        if seed % 10 == 0 {
            assert_eq!(outcome.trace, World::run(seed).trace, "two runs of seed {seed} differ");
        }
    }
    assert!(failed.is_empty(), "failed seeds: {failed:?}");
}

#[test]
fn even_seeds_violate_no_invariant() {
    run_seeds((0..seeds()).step_by(2));
}

#[test]
fn odd_seeds_violate_no_invariant() {
    run_seeds((1..seeds()).step_by(2));
}

#[test]
fn seeds_with_carriers_violate_no_invariant() {
    run_seeds((0..seeds() / 2).map(|seed| seed | CARRIERS)); // these runs take longer
}

#[test]
fn no_input_costs_more_in_a_large_directory() {
    run_seeds((0..seeds() / 20).map(|seed| seed | CROWD | if seed % 2 == 0 { CARRIERS } else { 0 }));
}

#[test]
fn seeds_that_once_failed_violate_no_invariant() {
    run_seeds(REGRESSIONS.iter().copied());
}
