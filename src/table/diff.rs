//! What a new table changes: prefixes, appliances, services, by name.
//!
//! Ids of two tables mean nothing to each other, so clusters are matched by name first. Which clients
//! move is not known here; the snapshot layer asks [`covered_space`] for what to look at. Layer 3.

use super::Table;
use super::delta::DeltaRoutes;
use super::routes::{Candidate, RouteSet, ViaId};
use crate::fleet::{ClusterId, Fleet, Service};
use crate::prefix::{Bits, Block};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;
use std::cmp::Ordering;
use std::sync::Arc;

/// What a new table changes. "Before" counts are the old table's, which shares are shares of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableDiff {
    /// Prefixes of the old table.
    pub prefixes_before: u64,
    /// Prefixes that are new.
    pub prefixes_added: u64,
    /// Prefixes that are absent now.
    pub prefixes_withdrawn: u64,
    /// Prefixes with other candidates or attributes.
    pub prefixes_changed: u64,
    /// Appliances of the old table that were active and of capacity above 0.
    pub appliances_before: u64,
    /// Appliances that are in service now and were not.
    pub appliances_added: u64,
    /// Appliances that were in service and are absent, not active, or of capacity 0 (ruling 19).
    pub appliances_withdrawn: u64,
    /// Appliances in both tables that differ in anything.
    pub appliances_changed: u64,
    /// Clusters that are new.
    pub clusters_added: u64,
    /// Clusters that are absent now.
    pub clusters_removed: u64,
    /// Services that are new, by name.
    pub services_added: Vec<String>,
    /// Services that are absent now, by name.
    pub services_removed: Vec<String>,
    /// Services that differ in anything, by name.
    pub services_changed: Vec<String>,
}

impl TableDiff {
    /// Whether nothing counted here changed.
    pub fn is_empty(&self) -> bool {
        let before = Self {
            prefixes_before: self.prefixes_before,
            appliances_before: self.appliances_before,
            ..Self::default()
        };
        *self == before
    }
}

/// Compares `new` with `old`; without an old table everything is new. Linear in the routes.
pub fn diff(old: Option<&Table>, new: &Table) -> TableDiff {
    let nothing;
    let old = match old {
        Some(old) => old,
        None => {
            nothing = Table::empty(new.epoch(), "");
            &nothing
        }
    };
    let mut diff = TableDiff { prefixes_before: old.routes().len() as u64, ..TableDiff::default() };
    diff_fleets(old.fleet(), new.fleet(), &mut diff);
    if !Arc::ptr_eq(old.routes(), new.routes()) || diff.clusters_added + diff.clusters_removed > 0 {
        let mut same = SameVias::new(old, new);
        diff_routes(&old.routes().v4, &new.routes().v4, &mut same, &mut diff);
        diff_routes(&old.routes().v6, &new.routes().v6, &mut same, &mut diff);
    }
    diff
}

/// The same for a `new` that a delta made of `old` by `changes`: looks at nothing else of the routes.
pub fn diff_after(old: &Table, new: &Table, changes: &DeltaRoutes) -> TableDiff {
    let mut diff = TableDiff { prefixes_before: old.routes().len() as u64, ..TableDiff::default() };
    diff_fleets(old.fleet(), new.fleet(), &mut diff);
    count_changes(&old.routes().v4, &new.routes().v4, &changes.v4, &mut diff);
    count_changes(&old.routes().v6, &new.routes().v6, &changes.v6, &mut diff);
    diff
}

/// Counts what became of the prefixes that `changed`.
fn count_changes<B: Bits>(old: &RouteSet<B>, new: &RouteSet<B>, changed: &[Block<B>], diff: &mut TableDiff) {
    for &block in changed {
        match (old.position(block), new.position(block)) {
            (None, Some(_)) => diff.prefixes_added += 1,
            (Some(_), None) => diff.prefixes_withdrawn += 1,
            (Some(_), Some(_)) => diff.prefixes_changed += 1,
            (None, None) => {}
        }
    }
}

/// Compares clusters, appliances and services.
fn diff_fleets(old: &Arc<Fleet>, new: &Arc<Fleet>, diff: &mut TableDiff) {
    diff.appliances_before = old.appliances().iter().filter(|a| a.is_in_service()).count() as u64;
    if Arc::ptr_eq(old, new) {
        return;
    }
    let is_new = |name: &&str| old.cluster_by_name(name).is_none();
    diff.clusters_added = new.clusters().iter().map(|c| &*c.name).filter(is_new).count() as u64;
    let is_gone = |name: &&str| new.cluster_by_name(name).is_none();
    diff.clusters_removed = old.clusters().iter().map(|c| &*c.name).filter(is_gone).count() as u64;
    for appliance in old.appliances() {
        let now = new.appliance_by_name(&appliance.name).map(|id| new.appliance(id));
        let is_withdrawn = appliance.is_in_service() && !now.is_some_and(|now| now.is_in_service());
        diff.appliances_withdrawn += u64::from(is_withdrawn);
        let Some(now) = now else { continue };
        let moved = old.cluster(appliance.cluster).name != new.cluster(now.cluster).name;
        let is_same = *appliance == crate::fleet::Appliance { cluster: appliance.cluster, ..now.clone() };
        diff.appliances_changed += u64::from(moved || !is_same);
    }
    for appliance in new.appliances().iter().filter(|a| a.is_in_service()) {
        let was = old.appliance_by_name(&appliance.name).map(|id| old.appliance(id));
        diff.appliances_added += u64::from(!was.is_some_and(|was| was.is_in_service()));
    }
    for service in old.services() {
        match new.service_by_name(&service.name).map(|id| new.service(id)) {
            None => diff.services_removed.push(service.name.to_string()),
            Some(now) if !is_same_service(old, service, new, now) => {
                diff.services_changed.push(service.name.to_string())
            }
            Some(_) => {}
        }
    }
    let added = new.services().iter().filter(|service| old.service_by_name(&service.name).is_none());
    diff.services_added.extend(added.map(|service| service.name.to_string()));
}

/// Whether two services of two fleets say the same.
fn is_same_service(old: &Fleet, a: &Service, new: &Fleet, b: &Service) -> bool {
    let names_a = a.default_clusters.iter().map(|&id| &old.cluster(id).name);
    let names_b = b.default_clusters.iter().map(|&id| &new.cluster(id).name);
    names_a.eq(names_b) && *a == Service { default_clusters: a.default_clusters.clone(), ..b.clone() }
}

/// Whether sets of candidates of two tables are the same, each pair worked out once.
struct SameVias<'a> {
    old: &'a Table,
    new: &'a Table,
    /// Where each cluster of the old table went.
    went: Vec<Option<ClusterId>>,
    known: FxHashMap<(ViaId, ViaId), bool>,
    last: Option<(ViaId, ViaId, bool)>,
}

impl<'a> SameVias<'a> {
    /// Nothing worked out yet.
    fn new(old: &'a Table, new: &'a Table) -> Self {
        let went = old.fleet().clusters().iter().map(|c| new.fleet().cluster_by_name(&c.name)).collect();
        Self { old, new, went, known: FxHashMap::default(), last: None }
    }

    /// Whether set `a` of the old table is set `b` of the new one.
    fn is_same(&mut self, a: ViaId, b: ViaId) -> bool {
        if let Some((_, _, same)) = self.last.filter(|last| (last.0, last.1) == (a, b)) {
            return same;
        }
        let same = *self.known.entry((a, b)).or_insert_with(|| {
            let (a, b) = (self.old.routes().vias.get(a), self.new.routes().vias.get(b));
            // Clusters sort by name in both fleets, so the order is the same too.
            let moved =
                |one: &Candidate| Some(Candidate { cluster: self.went[one.cluster.index()]?, ..*one });
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| moved(a) == Some(*b))
        });
        self.last = Some((a, b, same));
        same
    }
}

/// Walks both sorted sets side by side.
fn diff_routes<B: Bits>(old: &RouteSet<B>, new: &RouteSet<B>, same: &mut SameVias<'_>, diff: &mut TableDiff) {
    let (mut a, mut b) = (0, 0);
    while (a as usize) < old.len() && (b as usize) < new.len() {
        match old.block(a).cmp(&new.block(b)) {
            Ordering::Less => {
                diff.prefixes_withdrawn += 1;
                a += 1;
            }
            Ordering::Greater => {
                diff.prefixes_added += 1;
                b += 1;
            }
            Ordering::Equal => {
                diff.prefixes_changed += u64::from(!same.is_same(old.via(a), new.via(b)));
                a += 1;
                b += 1;
            }
        }
    }
    diff.prefixes_withdrawn += (old.len() - a as usize) as u64;
    diff.prefixes_added += (new.len() - b as usize) as u64;
}

/// The union of a set's prefixes as sorted ranges (first and last address) that do not touch.
pub fn covered_space<B: Bits>(set: &RouteSet<B>) -> impl Iterator<Item = (B, B)> + '_ {
    set.covered().iter().copied()
}

/// Names in `old` that are not in `new`, for messages; sorted.
pub fn appliances_withdrawn(old: &Table, new: &Table) -> Vec<String> {
    let serving: FxHashSet<&str> =
        new.fleet().appliances().iter().filter(|a| a.is_in_service()).map(|a| &*a.name).collect();
    let was = old.fleet().appliances().iter().filter(|a| a.is_in_service());
    let mut names: Vec<String> =
        was.map(|a| &*a.name).filter(|name| !serving.contains(name)).map(str::to_owned).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::read::tests::{SMALL, table};

    #[test]
    fn the_first_table_is_all_new() {
        let new = table(SMALL);
        let found = diff(None, &new);
        assert_eq!((found.prefixes_added, found.appliances_added, found.clusters_added), (3, 2, 2));
        assert_eq!(found.services_added, ["*.live.cdn.example", "video.cdn.example"]);
        assert_eq!((found.prefixes_before, found.prefixes_withdrawn, found.appliances_before), (0, 0, 0));
        assert!(diff(Some(&new), &new).is_empty() && diff(Some(&new), &table(SMALL)).is_empty());
    }

    #[test]
    fn withdrawn_is_absent_not_active_or_without_capacity() {
        let old = table(SMALL);
        let check = |from: &str, to: &str, expected: TableDiff| {
            assert!(SMALL.contains(from), "{from}");
            let new = table(&SMALL.replace(from, to));
            assert_eq!(
                diff(Some(&old), &new),
                TableDiff { prefixes_before: 3, appliances_before: 2, ..expected },
                "{to}"
            );
            assert_eq!(appliances_withdrawn(&old, &new).len() as u64, expected_withdrawn(&old, &new));
        };
        let withdrawn = TableDiff { appliances_withdrawn: 1, appliances_changed: 1, ..TableDiff::default() };
        check("\"status\":\"active\"", "\"status\":\"draining\"", withdrawn.clone());
        check("\"status\":\"active\"", "\"status\":\"disabled\"", withdrawn.clone());
        check("40000", "0", withdrawn.clone());
        check(
            "ams1-c001\"",
            "ams1-c002\"",
            TableDiff { appliances_added: 1, appliances_changed: 0, ..withdrawn },
        );
        let changed = TableDiff { prefixes_changed: 1, ..TableDiff::default() };
        check("\"as_path_len\":1", "\"as_path_len\":2", changed.clone());
        check(
            "198.51.100.0/24",
            "198.51.100.0/25",
            TableDiff { prefixes_added: 1, prefixes_withdrawn: 1, ..TableDiff::default() },
        );
        check(
            "fra1-any",
            "a-fra1-any",
            TableDiff {
                clusters_added: 1,
                clusters_removed: 1,
                prefixes_changed: 2,
                appliances_changed: 1,
                services_changed: vec!["*.live.cdn.example".into(), "video.cdn.example".into()],
                ..TableDiff::default()
            },
        );
        check(
            "video.cdn.example",
            "film.cdn.example",
            TableDiff {
                services_added: vec!["film.cdn.example".into()],
                services_removed: vec!["video.cdn.example".into()],
                ..TableDiff::default()
            },
        );
    }

    /// The count of the diff, to hold the list of names against.
    fn expected_withdrawn(old: &Table, new: &Table) -> u64 {
        diff(Some(old), new).appliances_withdrawn
    }

    #[test]
    fn covered_space_joins_neighbours() {
        let routes = ["10.0.0.0/9", "10.0.0.0/16", "10.128.0.0/9", "12.0.0.0/8", "255.0.0.0/8"];
        let text: String = routes
            .iter()
            .map(|prefix| {
                format!("{{\"route\":{{\"prefix\":\"{prefix}\",\"via\":[{{\"cluster\":\"fra1-any\"}}]}}}}\n")
            })
            .collect();
        let table = table(&format!("{}{text}", SMALL.replace("0.0.0.0/0", "255.255.0.0/16")));
        let v4: Vec<(u32, u32)> = covered_space(&table.routes().v4).collect();
        let net = |a: u32| a << 24;
        let expected = [
            (net(10), net(11) - 1),
            (net(12), net(13) - 1),
            (0xc633_6400, 0xc633_64ff),
            (net(255), u32::MAX),
        ];
        assert_eq!(v4, expected);
        assert_eq!(covered_space(&table.routes().v6).count(), 1);
    }
}
