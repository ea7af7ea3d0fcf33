//! Runs the simulator from the command line: `sim [--seeds N] [--first S] [--seed S] [--carriers] [--crowd] [--verbose]`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sim::{CARRIERS, CROWD, Outcome, Tally, World};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let verbose = args.iter().any(|word| word == "--verbose");
    let number = |flag: &str| {
        let at = args.iter().position(|word| word == flag)?;
        args.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(seed) = number("--seed") {
        let outcome = World::run_with_log(seed, if verbose { usize::MAX } else { 150 });
        return report(&outcome, verbose);
    }
    let flag = |flag: &str, bit: u64| if args.iter().any(|word| word == flag) { bit } else { 0 };
    let kind = flag("--carriers", CARRIERS) | flag("--crowd", CROWD);
    let (first, seeds) = (number("--first").unwrap_or(0) | kind, number("--seeds").unwrap_or(200));
    let (failed, tally) = run_seeds(first, seeds);
    for (what, count) in &tally {
        println!("{count:>10}  {what}");
    }
    println!("{seeds} seeds from {first} on, {} of them failed: {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Run every seed twice. Returns the seeds that violated an invariant or whose two runs differed, and the counts.
fn run_seeds(first: u64, seeds: u64) -> (Vec<u64>, Tally) {
    let next = AtomicU64::new(first);
    let sum: Mutex<(Vec<u64>, Tally)> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let (outcome, again) = (World::run(seed), World::run(seed));
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    if outcome.trace != again.trace {
                        println!("seed {seed}: two runs differ");
                    }
                    if report(&outcome, false) == ExitCode::FAILURE || outcome.trace != again.trace {
                        sum.0.push(seed);
                    }
                    for (what, count) in outcome.tally {
                        *sum.1.entry(what).or_default() += count;
                    }
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.0.sort_unstable();
    sum
}

fn report(outcome: &Outcome, verbose: bool) -> ExitCode {
    if verbose || !outcome.violations.is_empty() {
        for line in &outcome.log {
            println!("{line}");
        }
    }
    if verbose {
        for (what, count) in &outcome.tally {
            println!("{count:>10}  {what}");
        }
        println!("trace {:016x}", outcome.trace);
    }
    for fault in &outcome.violations {
        println!("seed {}: {fault}", outcome.seed);
    }
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
