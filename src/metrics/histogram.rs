//! Durations in buckets that double: where a worker's time goes, sampled once a batch.
//!
//! Bucket *i* holds durations below 2^(i + 7) ns, so the first is below 128 ns and the last but one
//! below 2^33 ns, 8.6 seconds; the last holds the rest. Finding one is a count of leading zeros.

use super::{Row, locked};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

/// Bits of the first bucket's bound.
const FIRST_BITS: u32 = 7;
/// Buckets, the unbounded one included.
const BUCKETS: usize = 28;
/// Where a row keeps the sum of nanoseconds: after its buckets.
const SUM: usize = BUCKETS;

/// A histogram of durations over all workers.
#[derive(Debug, Default)]
pub struct Histogram {
    rows: Mutex<Vec<Arc<Row>>>,
}

/// What a histogram holds at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Upper bounds in seconds, the last one infinite, and how many durations are below each but not
    /// below the one before.
    pub buckets: Vec<(f64, u64)>,
    /// Seconds in all.
    pub sum_s: f64,
    /// Durations in all.
    pub count: u64,
}

impl Histogram {
    /// An empty one without a writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer for one more worker.
    pub fn writer(&self) -> HistogramWriter {
        let row = Arc::new(Row::new(BUCKETS + 1));
        locked(&self.rows).push(Arc::clone(&row));
        HistogramWriter { row, alone: PhantomData }
    }

    /// Adds up the workers.
    pub fn read(&self) -> Reading {
        let rows = locked(&self.rows);
        let sum = |index| rows.iter().fold(0_u64, |sum, row| sum.wrapping_add(row.get(index)));
        let buckets: Vec<(f64, u64)> = (0..BUCKETS).map(|index| (bound_s(index), sum(index))).collect();
        let count = buckets.iter().fold(0_u64, |count, bucket| count.wrapping_add(bucket.1));
        Reading { buckets, sum_s: sum(SUM) as f64 / 1e9, count }
    }
}

/// One worker's share of a histogram; not shared between threads.
#[derive(Debug)]
pub struct HistogramWriter {
    row: Arc<Row>,
    alone: PhantomData<Cell<()>>,
}

impl HistogramWriter {
    /// Notes `count` durations of `each_ns` nanoseconds: a batch and its mean.
    pub fn note(&self, each_ns: u64, count: u64) {
        self.row.add(bucket_of(each_ns), count);
        self.row.add(SUM, each_ns.wrapping_mul(count));
    }
}

/// The bucket of a duration.
fn bucket_of(nanoseconds: u64) -> usize {
    let bits = u64::BITS - nanoseconds.leading_zeros();
    (bits.saturating_sub(FIRST_BITS) as usize).min(BUCKETS - 1)
}

/// Upper bound of a bucket in seconds.
fn bound_s(bucket: usize) -> f64 {
    if bucket == BUCKETS - 1 { f64::INFINITY } else { (1_u64 << (bucket as u32 + FIRST_BITS)) as f64 / 1e9 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_below_their_bound_and_not_below_the_one_before() {
        for ns in [0, 1, 127, 128, 129, 255, 256, 1 << 20, (1 << 33) - 1, 1 << 33, u64::MAX] {
            let (bucket, seconds) = (bucket_of(ns), ns as f64 / 1e9);
            assert!(seconds < bound_s(bucket), "{ns} in {bucket}");
            assert!(bucket == 0 || seconds >= bound_s(bucket - 1), "{ns} in {bucket}");
        }
        assert_eq!((bucket_of(127), bucket_of(128), bucket_of(u64::MAX)), (0, 1, BUCKETS - 1));
    }

    #[test]
    fn batches_of_all_workers_add_up() {
        let histogram = Histogram::new();
        let (a, b) = (histogram.writer(), histogram.writer());
        a.note(100, 32);
        a.note(200, 1);
        b.note(200, 2);
        let reading = histogram.read();
        assert_eq!((reading.count, reading.sum_s), (35, 3.8e-6));
        assert_eq!(reading.buckets[..2], [(1.28e-7, 32), (2.56e-7, 3)]);
    }
}
