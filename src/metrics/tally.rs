//! Counters by names that come and go: services and clusters of one table after the other.
//!
//! Each compiled table opens a [`Tally`]: one counter a name and worker, indexed by the dense ids of
//! that table, so that counting is a load and a store here too. The table's snapshots hold it. When
//! the last snapshot of a table is gone nobody can count into its tally any more; the next time
//! anybody looks, it is folded into totals by name and freed. Nothing is lost over a swap: a worker
//! that still answers from an old generation counts into the old tally, which is read until then.
//! Names stay in the totals for the life of the process, because a counter may not go back.
//! Cost: eight octets a name and worker, each row rounded up to 128.

use super::{Row, locked};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Counters of one table's names.
#[derive(Debug)]
pub struct Tally {
    names: Box<[Box<str>]>,
    rows: Box<[Row]>,
}

impl Tally {
    /// A tally that nobody reads, for decisions that are not to be counted.
    pub fn unread() -> Arc<Self> {
        Arc::new(Self { names: Box::default(), rows: Box::default() })
    }

    /// Counts one for the name at `index`, on behalf of the worker at `worker`, who alone may use
    /// that number. Indices outside what the tally was opened for count nothing.
    pub fn count(&self, worker: usize, index: usize) {
        if index < self.names.len()
            && let Some(row) = self.rows.get(worker)
        {
            row.add(index, 1);
        }
    }
}

/// What has been folded, and the tallies that may still grow.
#[derive(Debug, Default)]
struct Ledger {
    totals: BTreeMap<Box<str>, u64>,
    open: Vec<Arc<Tally>>,
}

impl Ledger {
    /// Moves tallies that only the ledger still holds into the totals.
    fn fold_retired(&mut self) {
        for tally in std::mem::take(&mut self.open) {
            // Succeeds for the last holder only, after everything that the others did.
            match Arc::try_unwrap(tally) {
                Ok(retired) => add_up(&retired, &mut self.totals),
                Err(tally) => self.open.push(tally),
            }
        }
    }
}

/// Counters by name, over all tables and workers.
#[derive(Debug)]
pub struct Tallies {
    workers: usize,
    ledger: Mutex<Ledger>,
}

impl Tallies {
    /// Counters for workers 0 to `workers` - 1.
    pub fn new(workers: usize) -> Self {
        Self { workers, ledger: Mutex::default() }
    }

    /// The tally of a new table, whose dense ids are the positions in `names`.
    pub fn open(&self, names: impl Iterator<Item = Box<str>>) -> Arc<Tally> {
        let names: Box<[Box<str>]> = names.collect();
        let rows = (0..self.workers).map(|_| Row::new(names.len())).collect();
        let tally = Arc::new(Tally { names, rows });
        let mut ledger = locked(&self.ledger);
        ledger.fold_retired();
        ledger.open.push(Arc::clone(&tally));
        tally
    }

    /// Every name that was ever counted for, and how often; names of open tallies at 0 too.
    pub fn read(&self) -> BTreeMap<Box<str>, u64> {
        let mut ledger = locked(&self.ledger);
        ledger.fold_retired();
        let mut totals = ledger.totals.clone();
        for tally in &ledger.open {
            add_up(tally, &mut totals);
        }
        totals
    }
}

/// Adds what `tally` holds to `totals`.
fn add_up(tally: &Tally, totals: &mut BTreeMap<Box<str>, u64>) {
    for (index, name) in tally.names.iter().enumerate() {
        let count = tally.rows.iter().fold(0_u64, |sum, row| sum.wrapping_add(row.get(index)));
        let total = totals.entry(name.clone()).or_default();
        *total = total.wrapping_add(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> impl Iterator<Item = Box<str>> {
        text.split_whitespace().map(Box::from)
    }

    fn shown(tallies: &Tallies) -> String {
        let pairs: Vec<String> = tallies.read().iter().map(|(name, n)| format!("{name}={n}")).collect();
        pairs.join(" ")
    }

    #[test]
    fn counts_survive_tables() {
        let tallies = Tallies::new(2);
        let old = tallies.open(names("a b"));
        old.count(0, 0);
        old.count(1, 0);
        old.count(1, 1);
        let new = tallies.open(names("b c"));
        new.count(0, 0);
        old.count(0, 1);
        assert_eq!(shown(&tallies), "a=2 b=3 c=0");
        drop(old);
        assert_eq!(shown(&tallies), "a=2 b=3 c=0", "folded");
        assert_eq!(locked(&tallies.ledger).open.len(), 1);
        assert_eq!(shown(&tallies), "a=2 b=3 c=0", "and not twice");
        new.count(1, 1);
        drop(new);
        let newest = tallies.open(names("a"));
        newest.count(0, 0);
        assert_eq!(shown(&tallies), "a=3 b=3 c=1");
    }

    #[test]
    fn strangers_count_nothing() {
        let tallies = Tallies::new(1);
        let tally = tallies.open(names("a"));
        tally.count(1, 0);
        tally.count(0, 1);
        Tally::unread().count(0, 0);
        assert_eq!(shown(&tallies), "a=0");
    }
}
