//! What answers are held to, and what a run of a generator saw.

use crate::latency::Histogram;
use crate::process::Usage;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nanoseconds since the first call, and one: 0 stands for never.
pub fn clock_ns() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64 + 1
}

/// What a run saw.
#[derive(Default, Clone)]
pub struct Seen {
    /// Questions sent.
    pub sent: u64,
    /// Answers.
    pub answered: u64,
    /// Questions that were given up, or whose connection ended.
    pub lost: u64,
    /// Answers looked at.
    pub checked: u64,
    /// Of those, how many were wrong.
    pub wrong: u64,
    /// What the first wrong one was.
    pub first_wrong: Option<String>,
    /// From when a question was due to its answer.
    pub latency: Histogram,
    /// The longest time without an answer.
    pub silence: Duration,
    /// How long the run was.
    pub elapsed: Duration,
    /// What the generator itself used.
    pub usage: Usage,
}

impl Seen {
    /// Counts a wrong answer, and keeps the first.
    pub fn wrong(&mut self, what: String) {
        self.wrong += 1;
        self.first_wrong.get_or_insert(what);
    }

    /// Adds the counts, not the times, of another run.
    pub fn count(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.lost += other.lost;
        self.checked += other.checked;
        self.wrong += other.wrong;
        if self.first_wrong.is_none() {
            self.first_wrong.clone_from(&other.first_wrong);
        }
    }
}

/// A judge of answers.
pub trait Check {
    /// Whether an answer that names `clusters`, one an appliance, is right for client number `client`.
    /// Its question was due, and it came, at these nanoseconds of [`clock_ns`].
    ///
    /// # Errors
    /// What is wrong.
    fn check(&mut self, client: usize, due: u64, now: u64, clusters: &[u32]) -> Result<(), String>;
}

/// Takes every answer: of servers that say the same to everybody.
pub struct Anything;

impl Check for Anything {
    fn check(&mut self, _: usize, _: u64, _: u64, clusters: &[u32]) -> Result<(), String> {
        if clusters.is_empty() { Err("no appliance".to_owned()) } else { Ok(()) }
    }
}

/// Holds answers to one table.
pub struct Clusters {
    /// By client.
    pub right: Vec<u32>,
    /// Appliances in an answer.
    pub count: usize,
}

impl Check for Clusters {
    fn check(&mut self, client: usize, _: u64, _: u64, clusters: &[u32]) -> Result<(), String> {
        let right = self.right[client];
        if clusters.len() == self.count && clusters.iter().all(|cluster| *cluster == right) {
            return Ok(());
        }
        Err(format!("client {client}: {clusters:?} instead of {} of {right}", self.count))
    }
}

/// What is known of a change of tables while it happens.
#[derive(Default)]
pub struct Change {
    /// When the first answer of the new table came; 0: not yet.
    pub first_new: AtomicU64,
    /// When the last answer of the old table came.
    pub last_old: AtomicU64,
    /// When the server said that it serves the new table; 0: not yet.
    pub acknowledged: AtomicU64,
    /// Old answers to questions that were asked later than that.
    pub stale: AtomicU64,
}

/// Holds answers to an old table or a new one.
pub struct Moving<'a> {
    /// By client.
    pub old: &'a [u32],
    /// By client.
    pub new: &'a [u32],
    /// What is found out.
    pub change: &'a Change,
}

impl Check for Moving<'_> {
    fn check(&mut self, client: usize, due: u64, now: u64, clusters: &[u32]) -> Result<(), String> {
        let (old, new) = (self.old[client], self.new[client]);
        let all = |right: u32| !clusters.is_empty() && clusters.iter().all(|cluster| *cluster == right);
        let change = self.change;
        match (all(old), all(new)) {
            (true, true) => {}
            (false, true) => {
                let _ = change.first_new.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
            }
            (true, false) => {
                change.last_old.store(now, Ordering::SeqCst);
                let acknowledged = change.acknowledged.load(Ordering::SeqCst);
                if acknowledged != 0 && due > acknowledged {
                    change.stale.fetch_add(1, Ordering::SeqCst);
                }
            }
            (false, false) => return Err(format!("client {client}: {clusters:?}, not {old} or {new}")),
        }
        Ok(())
    }
}
