//! What a change did, as the push API tells it.

use crate::snapshot::Moved;
use crate::table::{GuardHit, Table, TableDiff};
use serde::Serialize;

/// Things counted in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TableCounts {
    /// Sites.
    pub sites: usize,
    /// Clusters.
    pub clusters: usize,
    /// Appliances.
    pub appliances: usize,
    /// Services.
    pub services: usize,
    /// IPv4 routes.
    pub routes_v4: usize,
    /// IPv6 routes.
    pub routes_v6: usize,
}

/// What changed hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DiffReport {
    /// Prefixes that were not in the served table.
    pub prefixes_added: u64,
    /// Prefixes that are gone.
    pub prefixes_withdrawn: u64,
    /// Prefixes that lead elsewhere.
    pub prefixes_changed: u64,
    /// Appliances that were not in service before.
    pub appliances_added: u64,
    /// Appliances that are gone, not active any more, or of capacity 0.
    pub appliances_withdrawn: u64,
    /// IPv4 addresses whose first cluster differs for any service.
    pub addresses_moved_v4: u128,
    /// IPv6 addresses, likewise.
    pub addresses_moved_v6: u128,
}

impl TableCounts {
    /// Counts a table.
    pub fn of(table: &Table) -> Self {
        let (fleet, routes) = (table.fleet(), table.routes());
        Self {
            sites: fleet.sites().len(),
            clusters: fleet.clusters().len(),
            appliances: fleet.appliances().len(),
            services: fleet.services().len(),
            routes_v4: routes.v4.len(),
            routes_v6: routes.v6.len(),
        }
    }
}

impl DiffReport {
    /// Joins what the tables and what the compiled tables say.
    pub fn of(diff: &TableDiff, moved: &Moved) -> Self {
        Self {
            prefixes_added: diff.prefixes_added,
            prefixes_withdrawn: diff.prefixes_withdrawn,
            prefixes_changed: diff.prefixes_changed,
            appliances_added: diff.appliances_added,
            appliances_withdrawn: diff.appliances_withdrawn,
            addresses_moved_v4: moved.v4,
            addresses_moved_v6: moved.v6,
        }
    }
}

/// What a push did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PushReport {
    /// The table's epoch.
    pub epoch: u64,
    /// The generation that serves it; the served one for a dry run.
    pub generation: u64,
    /// What is in the table.
    pub counts: TableCounts,
    /// Milliseconds from parsed table to compiled snapshot.
    pub compile_ms: u64,
    /// Milliseconds spent reading and validating.
    pub parse_ms: u64,
    /// Milliseconds until it was durable.
    pub persist_ms: u64,
    /// What changed hands.
    pub diff: DiffReport,
    /// Guard rails that would have stopped it; only of a dry run or a forced push.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guards: Option<Vec<GuardHit>>,
    /// Warnings: identical duplicates and the like, and what a newer minor version brought.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<crate::problem::Problem>,
    /// Kinds and keys of a newer minor version that were ignored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
    /// Nothing was changed on purpose.
    pub dry_run: bool,
}
