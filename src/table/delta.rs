//! Changing a table: a delta's NDJSON on top of the table it names.
//!
//! A line of a delta replaces the whole object of its name, or adds it; `remove` takes one away.
//! Routes are merged, never sorted again: the million that stay are copied in runs. Ids of candidate
//! sets keep their meaning unless [`DeltaRoutes::vias_renumbered`] says otherwise. Layer 3.

use super::Table;
use super::draft::{ItemKind, still_referred};
use super::findings::Findings;
use super::pending::Settled;
use super::read::{Read, Reader, empty_text};
use super::routes::{RouteSet, Routes, ViaId, ViaPool};
use crate::fleet::{ClusterId, Fleet};
use crate::prefix::{Bits, Block, Prefix};
use crate::problem::Problem;
use crate::units::Epoch;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Sets of candidates below which a pool is not looked through for dead ones.
const POOL_SMALL: usize = 1 << 12;

/// Why a delta was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It is made on another epoch than the served one.
    #[error("the delta is made on epoch {base}, epoch {served} is served")]
    WrongBase {
        /// What the delta names.
        base: Epoch,
        /// What it was to be applied to.
        served: Epoch,
    },
    /// It does not validate; every problem, by line.
    #[error("the delta has {} problems", .0.len())]
    Problems(Vec<Problem>),
}

/// A delta that was applied.
#[derive(Debug)]
pub struct Delta {
    /// The table it led to.
    pub read: Read,
    /// What of the routes it changed.
    pub routes: DeltaRoutes,
}

/// What a delta changed, so that only that has to be compiled again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeltaRoutes {
    /// IPv4 prefixes added, removed, or leading elsewhere; sorted.
    pub v4: Vec<Block<u32>>,
    /// IPv6 prefixes added, removed, or leading elsewhere; sorted.
    pub v6: Vec<Block<u128>>,
    /// Whether anything but routes changed; if not, both tables share one [`Fleet`].
    pub fleet_changed: bool,
    /// Whether a [`ViaId`] of the old table may mean another set in the new one.
    pub vias_renumbered: bool,
}

/// Applies a delta to `base`.
///
/// # Errors
/// [`DeltaError::WrongBase`] whatever else is wrong with the text; else every problem.
pub fn read_delta(bytes: &[u8], base: &Table) -> Result<Delta, DeltaError> {
    let mut reader = Reader::of_delta();
    reader.push(bytes);
    reader.end();
    let Reader { mut out, draft, routes, removed, header, .. } = reader;
    if let Some(on) = header.as_ref().and_then(|header| header.base).filter(|on| *on != base.epoch()) {
        return Err(DeltaError::WrongBase { base: on, served: base.epoch() });
    }
    let removed_clusters: Vec<(Box<str>, u64)> =
        draft.removed_clusters().map(|(name, line)| (name.into(), line)).collect();
    let fleet = if draft.is_empty() {
        Ok(base.fleet().clone())
    } else {
        draft.over(&mut out, base.fleet()).finish(&mut out).map(Arc::new)
    };
    let fleet = fleet.map(|fleet| if fleet == *base.fleet() { base.fleet().clone() } else { fleet });
    let (mut vias, went) = match &fleet {
        Ok(fleet) => pool_for(base, fleet),
        Err(_) => (ViaPool::default(), None),
    };
    let (v4, v6) = routes.settle(&mut out, &mut vias, |name| match &fleet {
        Ok(fleet) => fleet.cluster_by_name(name),
        Err(draft) => draft.provisional_cluster(name),
    });
    let (removed_v4, removed_v6) = split_families(removed);
    let old = base.routes();
    let edits =
        Edits { v4: edits(&mut out, &old.v4, v4, removed_v4), v6: edits(&mut out, &old.v6, v6, removed_v6) };
    check_removed_clusters(&mut out, base, &removed_clusters, &edits);
    let (warnings, ignored) = out.settle().map_err(DeltaError::Problems)?;
    let (Ok(fleet), Some(header)) = (fleet, header) else {
        return Err(DeltaError::Problems(vec![empty_text("delta")]));
    };
    let (routes, changes) = apply(base, &fleet, vias, went, &edits);
    let source = header.source.unwrap_or_else(|| base.source().into());
    let table = Table::new(header.epoch, source, fleet, routes);
    Ok(Delta { read: Read { table, warnings, ignored }, routes: changes })
}

/// A prefix and where it leads from now on; `None`: nowhere.
type Edit<B> = (Block<B>, Option<ViaId>);

/// The changes of both families, sorted, each prefix once.
struct Edits {
    v4: Vec<Edit<u32>>,
    v6: Vec<Edit<u128>>,
}

/// Prefixes to remove with their lines.
type Removals<B> = Vec<(Block<B>, u64)>;

/// Parts `removed` by family, each sorted.
fn split_families(removed: Vec<(Prefix, u64)>) -> (Removals<u32>, Removals<u128>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (prefix, line) in removed {
        match prefix {
            Prefix::V4(block) => v4.push((block, line)),
            Prefix::V6(block) => v6.push((block, line)),
        }
    }
    v4.sort_unstable();
    v6.sort_unstable();
    (v4, v6)
}

/// The pool a delta starts from and, when ids move, where each old id went: with the clusters of
/// `fleet`, and without dead sets when those are most of it.
fn pool_for(base: &Table, fleet: &Arc<Fleet>) -> (ViaPool, Option<Vec<ViaId>>) {
    let (old, pool) = (base.fleet(), &base.routes().vias);
    let is_same = Arc::ptr_eq(old, fleet)
        || old.clusters().iter().map(|c| &c.name).eq(fleet.clusters().iter().map(|c| &c.name));
    if is_same && pool.len() < POOL_SMALL {
        return (pool.clone(), None);
    }
    let mut live = vec![false; pool.len()];
    for via in base.routes().v4.columns().2.iter().chain(base.routes().v6.columns().2) {
        live[via.index()] = true;
    }
    if is_same && live.iter().filter(|is_live| **is_live).count() * 2 >= pool.len() {
        return (pool.clone(), None);
    }
    let went: Vec<Option<ClusterId>> =
        old.clusters().iter().map(|cluster| fleet.cluster_by_name(&cluster.name)).collect();
    let (pool, went) = pool.remapped(|id| live[id.index()], |cluster| went[cluster.index()]);
    (pool, Some(went))
}

/// One sorted list of what `set` and `removed` ask for. A prefix in both is a problem, and so is
/// removing one that `base` does not have.
fn edits<B: Bits>(
    out: &mut Findings,
    base: &RouteSet<B>,
    set: Vec<Settled<B>>,
    removed: Removals<B>,
) -> Vec<Edit<B>> {
    let mut all: Vec<(Block<B>, Option<ViaId>, u64)> = Vec::with_capacity(set.len() + removed.len());
    let mut last: Option<(Block<B>, u64)> = None;
    for (block, line) in removed {
        if let Some((_, first)) = last.filter(|(same, _)| *same == block) {
            let expected = format!("one line a prefix; line {first} says the same");
            out.warning(Problem::at(line, "remove.route", format!("{block} again"), expected));
            continue;
        }
        last = Some((block, line));
        if base.position(block).is_none() {
            out.problem(Problem::at(line, "remove.route", block, "a route of the served table"));
        }
        all.push((block, None, line));
    }
    all.extend(set.into_iter().map(|route| (route.block, Some(route.via), u64::from(route.line))));
    all.sort_unstable();
    for pair in all.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let (first, later) = if pair[0].2 < pair[1].2 { (pair[0], pair[1]) } else { (pair[1], pair[0]) };
        let (key, other) =
            if later.1.is_some() { ("route.prefix", "removes") } else { ("remove.route", "sets") };
        let expected = format!("one change a prefix; line {} {other} it", first.2);
        out.problem(Problem::at(later.2, key, format!("{} again", later.0), expected));
    }
    all.into_iter().map(|(block, via, _)| (block, via)).collect()
}

/// Tells of routes that stay and lead to a cluster that goes; the first of each.
fn check_removed_clusters(out: &mut Findings, base: &Table, removed: &[(Box<str>, u64)], edits: &Edits) {
    let mut gone: FxHashMap<ClusterId, (&str, u64)> = FxHashMap::default();
    for (name, line) in removed {
        gone.extend(base.fleet().cluster_by_name(name).map(|id| (id, (&**name, *line))));
    }
    if gone.is_empty() {
        return;
    }
    let vias = &base.routes().vias;
    let leads: Vec<Vec<ClusterId>> = (0..vias.len() as u32)
        .map(|id| {
            vias.get(ViaId(id)).iter().map(|one| one.cluster).filter(|id| gone.contains_key(id)).collect()
        })
        .collect();
    tell_referrers(out, &base.routes().v4, &edits.v4, &leads, &mut gone);
    tell_referrers(out, &base.routes().v6, &edits.v6, &leads, &mut gone);
}

/// Tells of the routes of `base` that no edit touches and that lead to one of `gone`, which it then
/// takes out of that map.
fn tell_referrers<B: Bits>(
    out: &mut Findings,
    base: &RouteSet<B>,
    edits: &[Edit<B>],
    leads: &[Vec<ClusterId>],
    gone: &mut FxHashMap<ClusterId, (&str, u64)>,
) {
    for (block, via) in base.iter() {
        if leads[via.index()].is_empty() || edits.binary_search_by_key(&block, |edit| edit.0).is_ok() {
            continue;
        }
        for cluster in &leads[via.index()] {
            if let Some((name, line)) = gone.remove(cluster) {
                out.problem(still_referred(line, ItemKind::Cluster, name, "route", &block.to_string()));
            }
        }
    }
}

/// The routes after `edits`, and what changed. `went`: where the ids of `base` went in `vias`.
fn apply(
    base: &Table,
    fleet: &Arc<Fleet>,
    vias: ViaPool,
    went: Option<Vec<ViaId>>,
    edits: &Edits,
) -> (Arc<Routes>, DeltaRoutes) {
    let old = base.routes();
    let went = went.as_deref();
    let (v4, changed_v4) = merge(&old.v4, &edits.v4, went);
    let (v6, changed_v6) = merge(&old.v6, &edits.v6, went);
    let changes = DeltaRoutes {
        v4: changed_v4,
        v6: changed_v6,
        fleet_changed: !Arc::ptr_eq(base.fleet(), fleet),
        vias_renumbered: went.is_some(),
    };
    if went.is_none() && changes.v4.is_empty() && changes.v6.is_empty() {
        return (old.clone(), changes);
    }
    let v4 = v4.unwrap_or_else(|| old.v4.clone());
    let v6 = v6.unwrap_or_else(|| old.v6.clone());
    (Arc::new(Routes { v4, v6, vias }), changes)
}

/// A route set being merged: columns, and how much of the old set is in them.
struct Merging<'a, B> {
    base: &'a RouteSet<B>,
    went: Option<&'a [ViaId]>,
    copied: usize,
    firsts: Vec<B>,
    lens: Vec<u8>,
    vias: Vec<ViaId>,
}

impl<B: Bits> Merging<'_, B> {
    /// Where the old route at `at` leads, in the new pool.
    fn via(&self, at: usize) -> ViaId {
        let via = self.base.columns().2[at];
        self.went.map_or(via, |went| went[via.index()])
    }

    /// Copies the old routes up to `end`.
    fn copy_to(&mut self, end: usize) {
        let (firsts, lens, vias) = self.base.columns();
        let run = self.copied..end;
        self.firsts.extend_from_slice(&firsts[run.clone()]);
        self.lens.extend_from_slice(&lens[run.clone()]);
        match self.went {
            None => self.vias.extend_from_slice(&vias[run]),
            Some(went) => self.vias.extend(vias[run].iter().map(|via| went[via.index()])),
        }
        self.copied = end;
    }
}

/// What a merge brings: a set, unless it would be the same, and the prefixes that changed.
type Merged<B> = (Option<RouteSet<B>>, Vec<Block<B>>);

/// Merges `edits` that add and remove no prefix: only where prefixes lead is copied. `None` when they
/// do more than that.
fn redirect<B: Bits>(base: &RouteSet<B>, edits: &[Edit<B>], went: Option<&[ViaId]>) -> Option<Merged<B>> {
    let place = |&(block, via): &Edit<B>| Some((block, base.position(block)?, via?));
    let places: Vec<(Block<B>, u32, ViaId)> = edits.iter().map(place).collect::<Option<_>>()?;
    let now = |via: ViaId| went.map_or(via, |went| went[via.index()]);
    let moved = places.into_iter().filter(|&(_, at, via)| now(base.via(at)) != via);
    let moved: Vec<(Block<B>, u32, ViaId)> = moved.collect();
    let changed: Vec<Block<B>> = moved.iter().map(|(block, ..)| *block).collect();
    if changed.is_empty() && went.is_none() {
        return Some((None, changed));
    }
    let mut vias = base.columns().2.to_vec();
    if went.is_some() {
        vias.iter_mut().for_each(|via| *via = now(*via));
    }
    for (_, at, via) in moved {
        vias[at as usize] = via;
    }
    Some((Some(base.leading_to(vias)), changed))
}

/// Merges `edits` into `base`; no set when it would be the same. Also the prefixes that changed.
fn merge<B: Bits>(base: &RouteSet<B>, edits: &[Edit<B>], went: Option<&[ViaId]>) -> Merged<B> {
    if let Some(done) = redirect(base, edits, went) {
        return done;
    }
    let mut changed = Vec::new();
    let room = if edits.is_empty() && went.is_none() { 0 } else { base.len() + edits.len() };
    let mut new = Merging {
        base,
        went,
        copied: 0,
        firsts: Vec::with_capacity(room),
        lens: Vec::with_capacity(room),
        vias: Vec::with_capacity(room),
    };
    for &(block, via) in edits {
        let at = base.lower_bound(block) as usize;
        let here = base.position(block).map(|at| new.via(at as usize));
        if here == via {
            continue;
        }
        changed.push(block);
        new.copy_to(at);
        new.copied += usize::from(here.is_some());
        if let Some(via) = via {
            new.firsts.push(block.first());
            new.lens.push(block.len());
            new.vias.push(via);
        }
    }
    if changed.is_empty() && went.is_none() {
        return (None, changed);
    }
    new.copy_to(base.len());
    let merged = RouteSet::from_columns(new.firsts, new.lens, new.vias);
    (Some(merged.expect("merging sorted routes keeps them sorted")), changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::read::tests::{SMALL, canonical_of, table};
    use crate::table::{artefact, diff, diff_after};
    use std::collections::BTreeSet;

    /// The first line of a delta on [`SMALL`].
    const FIRST: &str = "{\"delta\":{\"format\":1,\"base\":42,\"epoch\":43}}\n";

    /// Expects exactly these problems or warnings of `lines` after [`FIRST`], on [`SMALL`].
    fn check(lines: &str, expected: &[&str]) {
        let found = match read_delta(format!("{FIRST}{lines}").as_bytes(), &table(SMALL)) {
            Ok(delta) => delta.read.warnings.iter().map(|p| format!("warning {p}")).collect(),
            Err(DeltaError::Problems(problems)) => {
                problems.iter().map(Problem::to_string).collect::<Vec<_>>()
            }
            Err(other) => vec![other.to_string()],
        };
        assert_eq!(found, expected, "{lines}");
    }

    #[test]
    fn first_lines_are_checked() {
        let check = |text: &str, expected: &str| match read_delta(text.as_bytes(), &table(SMALL)) {
            Err(DeltaError::Problems(problems)) => assert_eq!(problems[0].to_string(), expected),
            Err(other) => assert_eq!(other.to_string(), expected),
            Ok(_) => panic!("{text} was accepted"),
        };
        check(
            "{\"delta\":{\"format\":1,\"base\":41,\"epoch\":43}}\nrubbish",
            "the delta is made on epoch 41, epoch 42 is served",
        );
        check(
            "{\"delta\":{\"format\":1,\"base\":42,\"epoch\":42}}",
            "1: delta.epoch: found 42, expected an epoch above `base`",
        );
        check(
            "{\"delta\":{\"format\":1,\"epoch\":42}}",
            "1: delta.base: found nothing, expected a whole number from 1 to 9007199254740991",
        );
        check(
            "{\"table\":{\"format\":1,\"epoch\":43}}",
            "1: found `table`, expected a first line {\"delta\":{\"format\":1,\"base\":1,\"epoch\":2}}",
        );
        check(
            "",
            "found an empty text, expected a first line {\"delta\":{\"format\":1,\"base\":1,\"epoch\":2}}",
        );
    }

    #[test]
    fn removes_are_checked() {
        check(r#"{"remove":{"route":"198.51.100.0/24"}}"#, &[]);
        check(
            r#"{"remove":{"route":"198.51.100.0/25"}}"#,
            &["2: remove.route: found 198.51.100.0/25, expected a route of the served table"],
        );
        check(
            r#"{"remove":{"route":"198.51.100.1/24"}}"#,
            &["2: remove.route: found \"198.51.100.1/24\", expected no host bits, as in 198.51.100.0/24"],
        );
        check(
            r#"{"remove":{"resolver":"8.8.8.0/24"}}"#,
            &["2: remove.resolver: found \"8.8.8.0/24\", expected a resolver of the served table"],
        );
        check(
            r#"{"remove":{"site":"x"}}"#,
            &["2: remove.site: found \"x\", expected a site of the served table"],
        );
        check(
            r#"{"remove":{"site":"ams1"}}"#,
            &["2: remove.site: found \"ams1\", expected nothing that refers to it; cluster `ams1-isp7` does"],
        );
        check(
            "{\"remove\":{\"cluster\":\"ams1-isp7\"}}\n{\"remove\":{\"appliance\":\"ams1-c001\"}}\n{\"remove\":{\"route\":\"198.51.100.0/24\"}}",
            &[
                "2: remove.cluster: found \"ams1-isp7\", expected nothing that refers to it; route `2001:db8::/32` does",
            ],
        );
        check(
            "{\"remove\":{\"cluster\":\"ams1-isp7\"}}\n{\"remove\":{\"appliance\":\"ams1-c001\"}}\n{\"remove\":{\"route\":\"198.51.100.0/24\"}}\n{\"remove\":{\"route\":\"2001:db8::/32\"}}\n{\"remove\":{\"site\":\"ams1\"}}",
            &[],
        );
        check(
            r#"{"remove":{}}"#,
            &[
                "2: remove: found not one key, expected one of site, cluster, appliance, service, resolver, route",
            ],
        );
        check(
            r#"{"remove":{"appliance":"ams1-c001","site":"ams1"}}"#,
            &[
                "2: remove: found not one key, expected one of site, cluster, appliance, service, resolver, route",
            ],
        );
        check(
            r#"{"remove":{"rout":"0.0.0.0/0"}}"#,
            &["2: remove.rout: found unknown key `rout`, expected `route`, perhaps"],
        );
    }

    #[test]
    fn a_delta_says_one_thing_of_each() {
        check(
            "{\"remove\":{\"route\":\"0.0.0.0/0\"}}\n{\"route\":{\"prefix\":\"0.0.0.0/0\",\"via\":[{\"cluster\":\"fra1-any\"}]}}",
            &["3: route.prefix: found 0.0.0.0/0 again, expected one change a prefix; line 2 removes it"],
        );
        check(
            "{\"site\":{\"code\":\"new\",\"lat\":1,\"lon\":1}}\n{\"remove\":{\"site\":\"new\"}}",
            &[
                "3: remove.site: found \"new\", expected a site of the served table",
                "3: remove.site: found `new` again, expected one change a name; line 2 changes it",
            ],
        );
        check(
            "{\"remove\":{\"route\":\"0.0.0.0/0\"}}\n{\"remove\":{\"route\":\"0.0.0.0/0\"}}",
            &[
                "warning 3: remove.route: found 0.0.0.0/0 again, expected one line a prefix; line 2 says the same",
            ],
        );
        check(
            "{\"route\":{\"prefix\":\"10.0.0.0/8\",\"via\":[{\"cluster\":\"x\"}]}}",
            &["2: route.via[0].cluster: found \"x\", expected the name of a cluster of this table"],
        );
        check(
            r#"{"cluster":{"name":"fra1-any","site":"fra1","class":"transit","serves":"routed"}}"#,
            &[
                "2: cluster.serves: found routed, expected `any`: service `video.cdn.example` has it among its default clusters",
            ],
        );
    }

    #[test]
    fn what_did_not_change_is_shared() {
        let base = table(SMALL);
        let run = |lines: &str| {
            read_delta(format!("{FIRST}{lines}").as_bytes(), &base)
                .unwrap_or_else(|error| panic!("{error:?}"))
        };
        let nothing = run(r#"{"site":{"code":"fra1","lat":50.0,"lon":8.5}}"#);
        assert!(Arc::ptr_eq(nothing.read.table.fleet(), base.fleet()));
        assert!(Arc::ptr_eq(nothing.read.table.routes(), base.routes()));
        assert_eq!(nothing.routes, DeltaRoutes::default());
        let route = run(r#"{"route":{"prefix":"0.0.0.0/0","via":[{"cluster":"ams1-isp7"}]}}"#);
        assert!(Arc::ptr_eq(route.read.table.fleet(), base.fleet()));
        assert_eq!((route.routes.v4.len(), route.routes.v6.len(), route.routes.fleet_changed), (1, 0, false));
        let site = run(r#"{"site":{"code":"fra1","lat":50.5,"lon":8.5}}"#);
        assert!(site.routes.fleet_changed && !site.routes.vias_renumbered);
        assert!(Arc::ptr_eq(site.read.table.routes(), base.routes()));
        let cluster = run(r#"{"cluster":{"name":"a","site":"fra1","class":"transit"}}"#);
        assert!(cluster.routes.vias_renumbered && cluster.routes.v4.is_empty());
        assert_eq!(cluster.read.table.source(), "inventory-eu");
    }

    /// A small random generator (splitmix64).
    struct Random(u64);

    impl Random {
        /// A number below `bound`.
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % bound
        }
    }

    /// The lines of a random table of `epoch`: names from a small stock, so that two overlap.
    fn random_table(random: &mut Random, epoch: u64) -> String {
        let mut lines = Vec::new();
        let clusters: Vec<u64> = (0..8).filter(|_| random.below(3) > 0).chain([8]).collect();
        for site in 0..3 {
            lines
                .push(format!("{{\"site\":{{\"code\":\"s{site}\",\"lat\":{},\"lon\":1}}}}", random.below(3)));
        }
        for &cluster in &clusters {
            let site = random.below(3);
            lines.push(format!(
                "{{\"cluster\":{{\"name\":\"c{cluster}\",\"site\":\"s{site}\",\"class\":\"transit\"}}}}"
            ));
            for n in 0..random.below(4) {
                let status = ["active", "draining"][random.below(2) as usize];
                lines.push(format!(
                    "{{\"appliance\":{{\"name\":\"a{cluster}-{n}\",\"cluster\":\"c{cluster}\",\"ipv4\":\"10.0.{cluster}.{}\",\"status\":\"{status}\"}}}}",
                    n + 1
                ));
            }
        }
        for service in 0..random.below(5) {
            let ttl = random.below(2);
            lines.push(format!("{{\"service\":{{\"name\":\"v{service}.example\",\"ttl_s\":{ttl},\"default_clusters\":[\"c8\"]}}}}"));
        }
        let mut prefixes = BTreeSet::new();
        for _ in 0..random.below(60) {
            let len = random.below(9) as u8;
            let v4 = Block::around(0x0a00_0000 | (random.below(16) as u32) << 20, 8 + len);
            let v6 = Block::around(0x2001_0db8 << 96 | u128::from(random.below(16)) << 84, 32 + len);
            prefixes.insert(if random.below(2) == 0 { v4.to_string() } else { v6.to_string() });
        }
        for prefix in prefixes {
            let start = random.below(clusters.len() as u64) as usize;
            let via: Vec<String> = clusters[start..]
                .iter()
                .take(1 + random.below(2) as usize)
                .map(|c| format!("{{\"cluster\":\"c{c}\",\"med\":{}}}", random.below(2)))
                .collect();
            lines.push(format!("{{\"route\":{{\"prefix\":\"{prefix}\",\"via\":[{}]}}}}", via.join(",")));
        }
        for at in (1..lines.len()).rev() {
            lines.swap(at, random.below(at as u64 + 1) as usize);
        }
        format!("{{\"table\":{{\"format\":1,\"epoch\":{epoch}}}}}\n{}\n", lines.join("\n"))
    }

    /// What a canonical line is of: kind and name.
    fn name_of(line: &str) -> (String, String) {
        let mut parts = line.split('"').filter(|part| !part.is_empty());
        let kind = parts.nth(1).expect("a kind").to_owned();
        (kind, parts.nth(3).expect("a name").to_owned())
    }

    /// The delta from one canonical text to another, in no particular order.
    fn delta_between(old: &Table, new: &Table) -> String {
        let (old_text, new_text) = (canonical_of(old), canonical_of(new));
        let old_lines: BTreeSet<&str> = old_text.lines().skip(1).collect();
        let new_lines: BTreeSet<&str> = new_text.lines().skip(1).collect();
        let new_names: BTreeSet<_> = new_lines.iter().map(|line| name_of(line)).collect();
        let mut text =
            format!("{{\"delta\":{{\"format\":1,\"base\":{},\"epoch\":{}}}}}\n", old.epoch(), new.epoch());
        for (kind, name) in
            old_lines.iter().map(|line| name_of(line)).filter(|name| !new_names.contains(name))
        {
            text.push_str(&format!("{{\"remove\":{{\"{kind}\":\"{name}\"}}}}\n"));
        }
        for line in new_lines.difference(&old_lines) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    #[test]
    fn a_delta_leads_to_the_full_table() {
        let mut random = Random(7);
        let mut base = table(&random_table(&mut random, 1));
        for epoch in 2..300 {
            let full = table(&random_table(&mut random, epoch));
            let text = delta_between(&base, &full);
            let delta =
                read_delta(text.as_bytes(), &base).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
            assert_eq!(delta.read.table, full, "{text}");
            assert_eq!(delta.read.table.digest(), full.digest());
            assert_eq!(artefact::write(&delta.read.table), artefact::write(&full));
            assert_eq!(artefact::read(&artefact::write(&full)).as_ref(), Ok(&full));
            let changes = diff(Some(&base), &full);
            let changed = changes.prefixes_added + changes.prefixes_withdrawn + changes.prefixes_changed;
            assert_eq!((delta.routes.v4.len() + delta.routes.v6.len()) as u64, changed);
            assert_eq!(diff_after(&base, &delta.read.table, &delta.routes), changes);
            let sets = (&full.routes().v4, &delta.read.table.routes().v4);
            assert_eq!(sets.0.covered(), sets.1.covered());
            base = delta.read.table;
        }
    }
}
