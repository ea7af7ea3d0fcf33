//! Metrics that are updated on hot paths: atomics only, without lock or allocation.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::MetricsPage;

/// Upper bounds of the histogram's buckets, µs; one more bucket takes the rest.
const BOUNDS: [u64; 11] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000];

/// Histogram of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// Count one duration.
    pub fn observe(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Write the histogram to a page of metrics, in seconds.
    pub fn write(&self, page: &mut MetricsPage<'_>, name: &str, help: &str) -> fmt::Result {
        let bounds = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        page.histogram(name, help, self.micros.load(Ordering::Relaxed) as f64 / 1e6, &buckets)
    }
}

/// How far the database is behind the journal. Set by the feeder.
#[derive(Debug, Default)]
pub struct FeederLag {
    waiting: AtomicU64,
    /// Microseconds since the database was last up to date.
    age_micros: AtomicU64,
}

impl FeederLag {
    /// Set the number of waiting records and the age of the oldest.
    pub fn set(&self, waiting: usize, age: Duration) {
        self.waiting.store(waiting as u64, Ordering::Relaxed);
        self.age_micros.store(age.as_micros() as u64, Ordering::Relaxed);
    }

    /// The number of waiting records, and the age of the oldest.
    pub fn get(&self) -> (u64, Duration) {
        let age = Duration::from_micros(self.age_micros.load(Ordering::Relaxed));
        (self.waiting.load(Ordering::Relaxed), age)
    }
}
