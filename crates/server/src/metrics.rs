//! Figures that are counted where things happen, with atomics only: whoever counts takes no lock and allocates nothing.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::MetricsPage;

/// Upper bounds of a histogram's buckets, in microseconds; one more takes the rest.
const BOUNDS: [u64; 11] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000];

/// How long something takes, counted in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// It took so long once more.
    pub fn observe(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Write it on a page, in seconds.
    pub fn write(&self, page: &mut MetricsPage<'_>, name: &str, help: &str) -> fmt::Result {
        let bounds = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        page.histogram(name, help, self.micros.load(Ordering::Relaxed) as f64 / 1e6, &buckets)
    }
}

/// How far the database is behind the journal. Written by the feeder.
#[derive(Debug, Default)]
pub struct FeederLag {
    waiting: AtomicU64,
    /// Microseconds for which the database has been behind without a break.
    age_micros: AtomicU64,
}

impl FeederLag {
    /// So many wait now, the oldest of them for so long.
    pub fn set(&self, waiting: usize, age: Duration) {
        self.waiting.store(waiting as u64, Ordering::Relaxed);
        self.age_micros.store(age.as_micros() as u64, Ordering::Relaxed);
    }

    /// How many wait, and how long the oldest has waited.
    pub fn get(&self) -> (u64, Duration) {
        let age = Duration::from_micros(self.age_micros.load(Ordering::Relaxed));
        (self.waiting.load(Ordering::Relaxed), age)
    }
}
