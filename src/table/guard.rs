//! Guard rails: whether a new table takes away too much to be believed (ruling 19).
//!
//! Pure arithmetic over a [`TableDiff`] and the shares of moved addresses that the snapshot layer
//! measured. Names of guards are the config keys of their limits. Layer 3.

use super::diff::TableDiff;
use serde::Serialize;
use std::fmt;

/// How much a push may take away before it needs force; shares from 0.0 to 1.0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Of the old table's prefixes.
    pub withdrawn_prefixes_max: f64,
    /// Of the old table's appliances in service.
    pub withdrawn_appliances_max: f64,
    /// Of the old table's routed address space, each family for itself.
    pub moved_addresses_max: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { withdrawn_prefixes_max: 0.10, withdrawn_appliances_max: 0.20, moved_addresses_max: 0.30 }
    }
}

/// Shares of the old table's routed address space whose first cluster differs, 0.0 to 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moved {
    /// Of IPv4.
    pub v4: f64,
    /// Of IPv6.
    pub v6: f64,
}

/// A guard that would stop the push.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GuardHit {
    /// The config key of the limit, or `removed_services`.
    pub guard: &'static str,
    /// The share, or the number of services.
    pub found: f64,
    /// The largest that passes.
    pub limit: f64,
}

impl fmt::Display for GuardHit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: found {:.4}, limit {}", self.guard, self.found, self.limit)
    }
}

/// The guards that `diff` and `moved` run into, none when the push may pass. Where there was nothing
/// before, nothing can be taken away: a first table always passes.
pub fn guard(diff: &TableDiff, moved: Moved, limits: &Limits) -> Vec<GuardHit> {
    let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let prefixes = share(diff.prefixes_withdrawn, diff.prefixes_before);
    let appliances = share(diff.appliances_withdrawn, diff.appliances_before);
    let all = [
        ("withdrawn_prefixes_max", prefixes, limits.withdrawn_prefixes_max),
        ("withdrawn_appliances_max", appliances, limits.withdrawn_appliances_max),
        ("moved_addresses_max", moved.v4.max(moved.v6), limits.moved_addresses_max),
        ("removed_services", diff.services_removed.len() as f64, 0.0),
    ];
    let hits = all.into_iter().filter(|(_, found, limit)| found > limit);
    hits.map(|(guard, found, limit)| GuardHit { guard, found, limit }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(diff: TableDiff, moved: Moved, expected: &[(&str, f64)]) {
        let hits = guard(&diff, moved, &Limits::default());
        let found: Vec<_> = hits.iter().map(|hit| (hit.guard, hit.found)).collect();
        assert_eq!(found, expected, "{diff:?}");
    }

    #[test]
    fn guards_stop_above_their_limit() {
        let still = Moved::default();
        let prefixes = |before, withdrawn| TableDiff {
            prefixes_before: before,
            prefixes_withdrawn: withdrawn,
            ..TableDiff::default()
        };
        check(prefixes(10, 1), still, &[]);
        check(prefixes(100, 11), still, &[("withdrawn_prefixes_max", 0.11)]);
        check(prefixes(0, 0), still, &[]);
        let appliances = TableDiff { appliances_before: 4, appliances_withdrawn: 1, ..TableDiff::default() };
        check(appliances, still, &[("withdrawn_appliances_max", 0.25)]);
        check(TableDiff::default(), Moved { v4: 0.3, v6: 0.0 }, &[]);
        check(TableDiff::default(), Moved { v4: 0.0, v6: 0.5 }, &[("moved_addresses_max", 0.5)]);
        let services = TableDiff { services_removed: vec!["a".into()], ..prefixes(1, 1) };
        check(services, still, &[("withdrawn_prefixes_max", 1.0), ("removed_services", 1.0)]);
    }
}
