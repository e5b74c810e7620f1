//! How long answers took: a histogram with buckets of under two per cent.

use std::time::Duration;

/// Buckets of each doubling.
const STEPS: u64 = 64;

/// Nanoseconds, counted by bucket.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; 64 * STEPS as usize], total: 0 }
    }
}

impl Histogram {
    /// Counts one answer after `ns`.
    pub fn add(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.total += 1;
    }
    /// What `share` of the answers took at most; zero where there was none.
    pub fn percentile(&self, share: f64) -> Duration {
        let mut left = (self.total as f64 * share).ceil() as u64;
        for (at, &count) in self.counts.iter().enumerate() {
            if count >= left && self.total > 0 {
                return Duration::from_nanos(lowest(at as u64 + 1));
            }
            left -= count;
        }
        Duration::ZERO
    }
}

/// The bucket of a time: exact below [`STEPS`], then that many a doubling.
fn bucket(ns: u64) -> usize {
    let doublings = (ns / STEPS).checked_ilog2().map_or(0, |log| u64::from(log) + 1);
    let step = if doublings == 0 { ns } else { (ns >> (doublings - 1)) - STEPS };
    (doublings * STEPS + step) as usize
}

/// The lowest time in a bucket.
fn lowest(bucket: u64) -> u64 {
    match bucket / STEPS {
        0 => bucket,
        doublings => (STEPS + bucket % STEPS) << (doublings - 1),
    }
}

/// Holds the histogram to sorted times: no test harness runs in a bench.
///
/// # Panics
/// When a percentile is too low, or too high by more than a bucket.
pub fn check() {
    let times: Vec<u64> = (0..40_000_u64).map(|n| n * n).collect();
    let mut histogram = Histogram::default();
    times.iter().for_each(|&ns| histogram.add(ns));
    for share in [0.001, 0.5, 0.99, 0.999, 1.0] {
        let right = times[(times.len() as f64 * share).ceil() as usize - 1];
        let found = histogram.percentile(share).as_nanos() as u64;
        assert!(found >= right && found <= right + right / STEPS + 1, "{share}: {found} for {right}");
    }
    assert_eq!(Histogram::default().percentile(0.99), Duration::ZERO);
}
