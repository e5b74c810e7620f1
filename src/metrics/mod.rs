//! Counters that cost the data plane a load and a store, and their text form.
//!
//! Every worker counts into memory of its own and nobody shares a cache line; reading adds the
//! workers up. Labels come from closed sets ([`Label`]), so a block is an array, and the counters of
//! a set of outcomes sum to what was counted. Names that come and go with tables are [`tally`]'s.
//! The text form is OpenMetrics, written by `prometheus-client` from these blocks ([`Exposition`]).
//! Layer 1: knows no outcome of anybody; reads no clock.

mod exposition;
mod histogram;
pub mod tally;

pub use exposition::Exposition;
pub use histogram::{Histogram, HistogramWriter};
pub use tally::{Tallies, Tally};

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A closed set of label values, in most cases an enum of outcomes.
pub trait Label: Copy + Send + Sync + 'static {
    /// All values, each at its own [`Label::index`].
    const ALL: &'static [Self];
    /// Position in [`Label::ALL`].
    fn index(self) -> usize;
    /// As the label's value is written; lower case.
    fn name(self) -> &'static str;
}

/// The set of one, for counters without a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unlabelled;

impl Label for Unlabelled {
    const ALL: &'static [Self] = &[Self];

    fn index(self) -> usize {
        0
    }

    fn name(self) -> &'static str {
        ""
    }
}

/// Counters on two cache lines: processors fetch lines in pairs.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Padded([AtomicU64; Padded::LEN]);

impl Padded {
    /// Counters in 128 octets.
    const LEN: usize = 16;
}

/// A row of counters that shares no cache line with any other memory.
#[derive(Debug)]
struct Row(Box<[Padded]>);

impl Row {
    /// `len` counters at 0.
    fn new(len: usize) -> Self {
        Self((0..len.div_ceil(Padded::LEN)).map(|_| Padded::default()).collect())
    }

    /// The counter at `index`, which is below the `len` of [`Row::new`].
    fn at(&self, index: usize) -> &AtomicU64 {
        &self.0[index / Padded::LEN].0[index % Padded::LEN]
    }

    /// Adds `count`. Only the row's one writer may: it is a load and a store, not one operation.
    fn add(&self, index: usize, count: u64) {
        let counter = self.at(index);
        counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// What the counter at `index` holds.
    fn get(&self, index: usize) -> u64 {
        self.at(index).load(Relaxed)
    }
}

/// Counters of one thing by `L`, over all workers.
pub struct Counters<L> {
    rows: Mutex<Vec<Arc<Row>>>,
    label: PhantomData<L>,
}

impl<L: Label> Default for Counters<L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: Label> Counters<L> {
    /// Counters without a writer yet.
    pub fn new() -> Self {
        debug_assert!(L::ALL.iter().enumerate().all(|(index, label)| label.index() == index));
        Self { rows: Mutex::default(), label: PhantomData }
    }

    /// A writer for one more worker. What a worker that ended has counted stays.
    pub fn writer(&self) -> Writer<L> {
        let row = Arc::new(Row::new(L::ALL.len()));
        locked(&self.rows).push(Arc::clone(&row));
        Writer { row, label: PhantomData }
    }

    /// What all workers have counted under `label`.
    pub fn get(&self, label: L) -> u64 {
        locked(&self.rows).iter().fold(0, |sum, row| sum.wrapping_add(row.get(label.index())))
    }

    /// What all workers have counted in all.
    pub fn total(&self) -> u64 {
        L::ALL.iter().fold(0, |sum, label| sum.wrapping_add(self.get(*label)))
    }
}

impl<L> fmt::Debug for Counters<L> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Counters").field("writers", &locked(&self.rows).len()).finish()
    }
}

/// One worker's counters by `L`. It can be sent to the worker's thread, and shared by none.
#[derive(Debug)]
pub struct Writer<L> {
    row: Arc<Row>,
    /// `Cell`: not `Sync`, so that there is one writer.
    label: PhantomData<Cell<L>>,
}

impl<L: Label> Writer<L> {
    /// Counts one.
    pub fn count(&self, label: L) {
        self.row.add(label.index(), 1);
    }

    /// Counts `count`.
    pub fn add(&self, label: L, count: u64) {
        self.row.add(label.index(), count);
    }
}

/// The content of `mutex`. Counting goes on after a panic elsewhere: there is no half-made state.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Seventeen would not fit one pair of cache lines; three do.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Colour {
        Red,
        Green,
        Blue,
    }

    impl Label for Colour {
        const ALL: &'static [Self] = &[Self::Red, Self::Green, Self::Blue];

        fn index(self) -> usize {
            self as usize
        }

        fn name(self) -> &'static str {
            ["red", "green", "blue"][self.index()]
        }
    }

    #[test]
    fn workers_count_apart_and_are_read_together() {
        let counters = Counters::<Colour>::new();
        let threads: Vec<_> = (1..=3)
            .map(|count| {
                let writer = counters.writer();
                std::thread::spawn(move || {
                    for _ in 0..1000 {
                        writer.count(Colour::Red);
                        writer.add(Colour::Blue, count);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("a counting thread");
        }
        let found: Vec<u64> = Colour::ALL.iter().map(|colour| counters.get(*colour)).collect();
        assert_eq!(found, [3000, 0, 6000]);
        assert_eq!(counters.total(), 9000);
    }

    #[test]
    fn rows_are_long_enough_and_start_on_a_line_of_their_own() {
        for len in [1, 15, 16, 17, 40] {
            let row = Row::new(len);
            row.add(len - 1, 7);
            row.add(len - 1, 1);
            assert_eq!((row.get(len - 1), row.get(0)), (8, if len == 1 { 8 } else { 0 }), "{len}");
            assert_eq!(std::ptr::from_ref(row.at(0)) as usize % 128, 0, "{len}");
        }
    }
}
