//! Who changed what, and what came of it: one log event and one count for every write.
//!
//! Refused writes are told as well as accepted ones, whatever refused them. Counts are a closed set
//! of what was asked and what it came to, for `/metrics`. Layer 7.

use super::auth::Caller;
use super::refuse::Fault;
use super::routes::Call;
use crate::publish::Refusal;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::Level;

/// What a write asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// A full table.
    Table,
    /// A delta.
    Delta,
    /// An older epoch again.
    Rollback,
    /// Files again, because a caller asked.
    Reload,
    /// The watched file changed.
    File,
    /// States of appliances.
    Health,
    /// The state of one appliance.
    Heartbeat,
    /// An override, set.
    OverrideSet,
    /// An override, ended.
    OverrideEnded,
}

impl Act {
    /// All, in the order they are counted in.
    pub const ALL: [Self; 9] = [
        Self::Table,
        Self::Delta,
        Self::Rollback,
        Self::Reload,
        Self::File,
        Self::Health,
        Self::Heartbeat,
        Self::OverrideSet,
        Self::OverrideEnded,
    ];

    /// What `call` asks for; `None` when it only reads.
    pub fn of(call: Call) -> Option<Self> {
        match call {
            Call::TablePut => Some(Self::Table),
            Call::TablePatch => Some(Self::Delta),
            Call::Rollback => Some(Self::Rollback),
            Call::Reload => Some(Self::Reload),
            Call::HealthPut => Some(Self::Health),
            Call::Heartbeat => Some(Self::Heartbeat),
            Call::OverridePut => Some(Self::OverrideSet),
            Call::OverrideDelete => Some(Self::OverrideEnded),
            Call::Page
            | Call::Alive
            | Call::Ready
            | Call::Metrics
            | Call::Status
            | Call::OpenApi
            | Call::Explain
            | Call::Steer
            | Call::TableGet
            | Call::History
            | Call::HealthGet
            | Call::OverrideGet => None,
        }
    }

    /// As a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Delta => "delta",
            Self::Rollback => "rollback",
            Self::Reload => "reload",
            Self::File => "file",
            Self::Health => "health",
            Self::Heartbeat => "heartbeat",
            Self::OverrideSet => "override_set",
            Self::OverrideEnded => "override_ended",
        }
    }
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Done.
    Accepted,
    /// Not done, as wished.
    DryRun,
    /// It does not validate.
    Invalid,
    /// Something as new or newer was there already.
    NotNewer,
    /// A delta against another epoch.
    WrongBase,
    /// A guard rail stopped it.
    Guarded,
    /// No token, or an unknown one.
    Unauthorized,
    /// Not by this caller in this form.
    Forbidden,
    /// What it is about is not there.
    NotFound,
    /// Its body is too large.
    TooLarge,
    /// Its body is in a form that is not taken.
    UnknownForm,
    /// Its body did not come to an end.
    BrokenOff,
    /// Another one was being made.
    Busy,
    /// It could not be done for reasons of ours.
    Failed,
}

impl Outcome {
    /// All, in the order they are counted in.
    pub const ALL: [Self; 14] = [
        Self::Accepted,
        Self::DryRun,
        Self::Invalid,
        Self::NotNewer,
        Self::WrongBase,
        Self::Guarded,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::TooLarge,
        Self::UnknownForm,
        Self::BrokenOff,
        Self::Busy,
        Self::Failed,
    ];

    /// As a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::DryRun => "dry_run",
            Self::Invalid => "invalid",
            Self::NotNewer => "not_newer",
            Self::WrongBase => "wrong_base",
            Self::Guarded => "guarded",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::UnknownForm => "unsupported",
            Self::BrokenOff => "broken_off",
            Self::Busy => "busy",
            Self::Failed => "failed",
        }
    }
}

/// One write, for the log.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// What was asked.
    pub act: Act,
    /// What it came to.
    pub outcome: Outcome,
    /// Who asked.
    pub caller: &'a Caller,
    /// The epoch it led to, of a table.
    pub epoch: Option<u64>,
    /// Guard rails were overridden on request.
    pub is_forced: bool,
    /// The order of epochs was given up on request.
    pub is_reset: bool,
    /// What else there is to say: the refusal, or empty.
    pub note: &'a str,
}

/// Counts writes and logs them.
#[derive(Debug, Default)]
pub struct Audit {
    counts: [[AtomicU64; Outcome::ALL.len()]; Act::ALL.len()],
    forced: AtomicU64,
    resets: AtomicU64,
}

impl Audit {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one write and logs it: heartbeats that were accepted for debugging only, since each
    /// appliance sends them every few seconds; refusals as warnings.
    pub fn record(&self, entry: &Entry<'_>) {
        self.counts[entry.act as usize][entry.outcome as usize].fetch_add(1, Ordering::Relaxed);
        if entry.outcome == Outcome::Accepted {
            self.forced.fetch_add(u64::from(entry.is_forced), Ordering::Relaxed);
            self.resets.fetch_add(u64::from(entry.is_reset), Ordering::Relaxed);
        }
        match (entry.outcome, entry.act) {
            (Outcome::Accepted, Act::Heartbeat) => log(entry, Level::DEBUG),
            (Outcome::Accepted | Outcome::DryRun, _) => log(entry, Level::INFO),
            (Outcome::Failed, _) => log(entry, Level::ERROR),
            _ => log(entry, Level::WARN),
        }
    }

    /// Counts what the watched file came to; its log is written by who watches it.
    pub fn count_file(&self, result: Result<(), &Refusal>) {
        let outcome =
            result.map_or_else(|refusal| Fault::from(refusal.clone()).outcome(), |()| Outcome::Accepted);
        self.counts[Act::File as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Writes of one kind that came to one end.
    pub fn count(&self, act: Act, outcome: Outcome) -> u64 {
        self.counts[act as usize][outcome as usize].load(Ordering::Relaxed)
    }

    /// All counts, by act and outcome, those never seen included: `(act, outcome, count)`.
    pub fn counts(&self) -> impl Iterator<Item = (Act, Outcome, u64)> + '_ {
        let row = |act| Outcome::ALL.into_iter().map(move |outcome| (act, outcome));
        Act::ALL.into_iter().flat_map(row).map(|(act, outcome)| (act, outcome, self.count(act, outcome)))
    }

    /// Accepted writes that asked for guard rails to be overridden.
    pub fn forced(&self) -> u64 {
        self.forced.load(Ordering::Relaxed)
    }

    /// Accepted tables that gave up the order of epochs.
    pub fn resets(&self) -> u64 {
        self.resets.load(Ordering::Relaxed)
    }
}

/// One log event.
fn log(entry: &Entry<'_>, level: Level) {
    let (act, outcome) = (entry.act.as_str(), entry.outcome.as_str());
    let peer = entry.caller.peer.map(tracing::field::display);
    let (who, epoch, note) = (entry.caller.who.as_str(), entry.epoch, entry.note);
    let (forced, reset) = (entry.is_forced, entry.is_reset);
    // The macros take a level only as a constant.
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(Level::$level, act, outcome, who, peer, epoch, forced, reset, note, "write")
        };
    }
    match level {
        Level::DEBUG => event!(DEBUG),
        Level::INFO => event!(INFO),
        Level::ERROR => event!(ERROR),
        _ => event!(WARN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_counts_are_the_order_of_all() {
        assert!(Act::ALL.into_iter().enumerate().all(|(at, act)| act as usize == at));
        assert!(Outcome::ALL.into_iter().enumerate().all(|(at, outcome)| outcome as usize == at));
    }

    #[test]
    fn each_write_is_counted_once_and_force_only_where_it_was_used() {
        let audit = Audit::new();
        let caller = Caller { who: "push.token".to_string(), peer: None };
        let entry = |outcome| Entry {
            act: Act::Table,
            outcome,
            caller: &caller,
            epoch: Some(3),
            is_forced: true,
            is_reset: true,
            note: "",
        };
        audit.record(&entry(Outcome::Accepted));
        audit.record(&entry(Outcome::Guarded));
        assert_eq!(audit.count(Act::Table, Outcome::Accepted), 1);
        assert_eq!((audit.forced(), audit.resets()), (1, 1));
        audit.count_file(Err(&Refusal::Busy));
        assert_eq!(audit.count(Act::File, Outcome::Busy), 1);
        assert_eq!(audit.counts().map(|(_, _, count)| count).sum::<u64>(), 3);
        assert_eq!(audit.counts().count(), Act::ALL.len() * Outcome::ALL.len());
    }
}
