//! Makes the lists of one view: from nested routes and a location to clusters in order.
//!
//! A [`ListMaker`] outlives one generation, so that a small change finds what it needs already made. It
//! numbers *chains* (the sets of candidates of the routes around an address, longest route first; routes
//! without a cluster on the list are left out), the rows of a list (see [`super::list`]), *lists*, and
//! *identities* (lists that hold the same clusters in the same order, whatever put them there).
//!
//! What a chain makes of its routes seldom depends on the place, because BGP's attributes mostly tell
//! candidates apart before distance does; and many locations have the same clusters nearby. So a list is
//! looked for by its two rows, and few are ever put together. Between two generations only numbers are
//! held: 4 octets for each location, some 10 for each list.

use super::index::{Index, Recent};
use super::list::{LISTS_MAX, ListId, Lists, Pair, Place, RowId, Rows};
use super::view::{Members, ViewSpec};
use crate::fleet::{ClusterId, Fleet, Serves};
use crate::geo::{self, Geography, LocationId, Point};
use crate::policy;
use crate::table::{Routes, ViaId};
use crate::units::Km;
use rustc_hash::FxBuildHasher;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::Arc;

/// The routes around an address, as a view sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ChainId(u32);

impl ChainId {
    /// No route.
    pub(super) const NONE: Self = Self(0);
}

/// Everything a list is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a> {
    /// Clusters, appliances, sites.
    pub(super) fleet: &'a Fleet,
    /// Candidates.
    pub(super) routes: &'a Routes,
    /// Locations.
    pub(super) geography: &'a Geography,
    /// How many near clusters a list gets.
    pub(super) geo_candidates: usize,
}

/// What a set of candidates means to a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Via {
    /// It has no cluster on the list.
    Dead,
    /// Its clusters have one order everywhere.
    Fixed,
    /// Which is best depends on the place.
    Placed,
}

/// A chain: a set of candidates inside another chain.
#[derive(Debug, Clone, Copy)]
struct Chain {
    rest: ChainId,
    via: ViaId,
    /// Whether the order of its clusters depends on the place.
    is_placed: bool,
    /// Its clusters, when that is not so and they were asked for before.
    routed: Option<RowId>,
}

/// What a location means to a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Near(u32);

impl Near {
    /// Not worked out yet.
    const UNKNOWN: Self = Self(u32::MAX);
    /// The country may not use the service.
    const DENIED: Self = Self(u32::MAX - 1);
}

/// A site with clusters that serve anyone.
#[derive(Debug)]
struct NearSite {
    point: Point,
    clusters: Vec<ClusterId>,
}

/// First identity that is a list's; the numbers below are for space of its own kind.
pub(super) const IDENTITY_MIN: u32 = 64;

/// Makes the lists of one view.
#[derive(Debug)]
pub(super) struct ListMaker {
    members: Arc<Members>,
    spec: ViewSpec,
    /// By set of candidates.
    vias: Vec<Via>,
    /// By number; entry 0 is [`ChainId::NONE`].
    chains: Vec<Chain>,
    chain_index: Index,
    site_points: Vec<Option<Point>>,
    near_sites: Vec<NearSite>,
    /// By location, as far as they were asked for: the row of the nearest clusters that serve anyone.
    near: Vec<Near>,
    routed_index: Index,
    near_index: Index,
    /// Lists, by the hash of their clusters: those of one identity are found together.
    list_index: Index,
    identity_of: Vec<u32>,
    lists: Arc<Lists>,
    /// Lists, at most.
    lists_max: usize,
    /// A list was left out because there are as many as table values can name.
    is_overfull: bool,
    /// Lists of pairs of rows.
    recent_lists: Recent,
    /// Routed rows of chains at locations.
    recent_routed: Recent,
    scratch: Scratch,
}

/// Room for what is being made.
#[derive(Debug, Default)]
struct Scratch {
    row: Vec<ClusterId>,
    ranked: Vec<policy::Rank>,
    cosines: Vec<f64>,
    sorted: Vec<f64>,
    found: Vec<(Km, ClusterId)>,
}

impl ListMaker {
    /// Begins a view of `fleet`.
    pub(super) fn new(spec: ViewSpec, fleet: &Fleet) -> Self {
        let members = Arc::new(Members::of(fleet, &spec.tags));
        let site_points: Vec<Option<Point>> =
            fleet.sites().iter().map(|site| Point::new(site.lat, site.lon)).collect();
        let mut clusters_at = vec![Vec::new(); site_points.len()];
        for id in fleet.cluster_ids() {
            let cluster = fleet.cluster(id);
            if cluster.serves == Serves::Any && members.is_on_list(id) {
                clusters_at[cluster.site.index()].push(id);
            }
        }
        let near_sites = site_points.iter().zip(clusters_at).filter(|(_, clusters)| !clusters.is_empty());
        let near_sites = near_sites
            .filter_map(|(point, clusters)| Some(NearSite { point: (*point)?, clusters }))
            .collect();
        let no_chain =
            Chain { rest: ChainId::NONE, via: ViaId::NONE, is_placed: false, routed: Some(RowId::EMPTY) };
        let lists = Arc::new(Lists::new(defaults_of(&spec, &members)));
        let (mut routed_index, mut near_index) = (Index::default(), Index::default());
        for index in [&mut routed_index, &mut near_index] {
            index.insert(hash_of([]), RowId::EMPTY.0, |_| hash_of([]));
        }
        Self {
            members,
            spec,
            vias: Vec::new(),
            chains: vec![no_chain],
            chain_index: Index::default(),
            site_points,
            near_sites,
            near: Vec::new(),
            routed_index,
            near_index,
            list_index: Index::default(),
            identity_of: vec![IDENTITY_MIN; ListId::OWN],
            lists,
            lists_max: LISTS_MAX,
            is_overfull: false,
            recent_lists: Recent::default(),
            recent_routed: Recent::default(),
            scratch: Scratch::default(),
        }
    }

    /// The view's spec.
    pub(super) fn spec(&self) -> &ViewSpec {
        &self.spec
    }

    /// Who may serve.
    pub(super) fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// All lists made so far.
    pub(super) fn lists(&self) -> Arc<Lists> {
        Arc::clone(&self.lists)
    }

    /// How many they are.
    pub(super) fn list_count(&self) -> usize {
        self.lists.len()
    }

    /// Whether a list was left out; what was built is not to be served then.
    pub(super) fn is_overfull(&self) -> bool {
        self.is_overfull
    }

    /// Octets held for the next generation, the lists not among them.
    pub(super) fn heap_bytes(&self) -> usize {
        let indices = [&self.chain_index, &self.routed_index, &self.near_index, &self.list_index];
        indices.iter().map(|index| index.heap_bytes()).sum::<usize>()
            + size_of_val(&*self.near)
            + size_of_val(&*self.chains)
            + size_of_val(&*self.vias)
            + size_of_val(&*self.identity_of)
    }

    /// Lets go of what only the generation being made needs.
    pub(super) fn rest(&mut self) {
        self.recent_lists.clear();
        self.recent_routed.clear();
    }

    /// Learns the sets of candidates that the pool has and it does not know yet.
    pub(super) fn learn_vias(&mut self, from: Sources<'_>) {
        for at in self.vias.len()..from.routes.vias.len() {
            self.rank(from, ViaId::at(at), None);
            let ranked = &self.scratch.ranked;
            let is_tie = |pair: &[policy::Rank]| policy::is_tie_but_for_distance(&pair[0], &pair[1]);
            let via = match ranked.len() {
                0 => Via::Dead,
                _ if ranked.windows(2).any(is_tie) => Via::Placed,
                _ => Via::Fixed,
            };
            self.vias.push(via);
        }
    }

    /// Whether a route to `via` counts for this view.
    pub(super) fn is_live(&self, via: ViaId) -> bool {
        self.vias[via.index()] != Via::Dead
    }

    /// The chain of a route to `via` inside the routes of `around`.
    pub(super) fn chain(&mut self, around: ChainId, via: ViaId) -> ChainId {
        if !self.is_live(via) {
            return around;
        }
        let hash = |rest: ChainId, via: ViaId| FxBuildHasher.hash_one((rest, via));
        let Self { chains, chain_index, vias, .. } = self;
        let is_it = |chain: &Chain| chain.rest == around && chain.via == via;
        if let Some(at) = chain_index.candidates(hash(around, via)).find(|&at| is_it(&chains[at as usize])) {
            return ChainId(at);
        }
        let is_placed = chains[around.0 as usize].is_placed || vias[via.index()] == Via::Placed;
        let id = ChainId(chains.len() as u32);
        chains.push(Chain { rest: around, via, is_placed, routed: None });
        chain_index.insert(hash(around, via), id.0, |at| {
            let chain = chains[at as usize];
            hash(chain.rest, chain.via)
        });
        id
    }

    /// The list of clients inside `chain` at `location`, and its identity.
    pub(super) fn list(&mut self, from: Sources<'_>, chain: ChainId, location: LocationId) -> (ListId, u32) {
        let near = self.near(from, location);
        if near == Near::DENIED {
            return (ListId::DENIED, self.identity(ListId::DENIED));
        }
        let routed = self.routed(from, chain, location);
        let question = (routed.0, near.0);
        let id = match self.recent_lists.get(question) {
            Some(id) => ListId(id),
            None => {
                let id = self.intern((routed, RowId(near.0)));
                self.recent_lists.put(question, id.0);
                id
            }
        };
        (id, self.identity(id))
    }

    /// The identity of a list.
    pub(super) fn identity(&self, id: ListId) -> u32 {
        self.identity_of[id.0 as usize]
    }

    /// The clusters of a chain's routes for clients at `location`.
    fn routed(&mut self, from: Sources<'_>, chain: ChainId, location: LocationId) -> RowId {
        let Chain { is_placed, routed, .. } = self.chains[chain.0 as usize];
        if let Some(row) = routed {
            return row;
        }
        let question = (chain.0, location.index() as u32);
        if let Some(row) = self.recent_routed.get(question).filter(|_| is_placed) {
            return RowId(row);
        }
        let place = if is_placed { from.geography.location(location).point } else { None };
        let mut row = std::mem::take(&mut self.scratch.row);
        row.clear();
        let mut at = chain;
        while at != ChainId::NONE {
            let Chain { rest, via, .. } = self.chains[at.0 as usize];
            self.rank(from, via, place);
            for &(.., cluster) in &self.scratch.ranked {
                if !row.contains(&cluster) {
                    row.push(cluster);
                }
            }
            at = rest;
        }
        let lists = Arc::make_mut(&mut self.lists);
        let id = intern_row(&row, &mut lists.routed, &mut self.routed_index);
        self.scratch.row = row;
        if is_placed {
            self.recent_routed.put(question, id.0);
        } else {
            self.chains[chain.0 as usize].routed = Some(id);
        }
        id
    }

    /// Puts the candidates of a set that are on the list into order, for clients at `place`.
    fn rank(&mut self, from: Sources<'_>, via: ViaId, place: Option<Point>) {
        let Self { members, site_points, scratch, .. } = self;
        let candidates = from.routes.vias.get(via).iter().filter(|c| members.is_on_list(c.cluster));
        scratch.ranked.clear();
        scratch.ranked.extend(candidates.map(|candidate| {
            let cluster = from.fleet.cluster(candidate.cluster);
            let site = site_points[cluster.site.index()];
            let distance = place.and_then(|place| Some(geo::distance(&place, &site?)));
            policy::rank(candidate, cluster.class, distance)
        }));
        scratch.ranked.sort_unstable();
    }

    /// The number of a list with this content.
    fn intern(&mut self, pair: Pair) -> ListId {
        let lists = &self.lists;
        let hash_of_pair = |pair| hash_of(lists.of(pair).iter().map(|place| place.cluster));
        let hash = hash_of_pair(pair);
        let mut identity = None;
        for id in self.list_index.candidates(hash).map(ListId) {
            let (new, old) = (lists.of(pair).iter(), lists.get(id).iter());
            match same(new, old) {
                Some(true) => return id,
                Some(false) if identity.is_none() => identity = Some(self.identity_of[id.0 as usize]),
                _ => {}
            }
        }
        if self.lists.len() >= self.lists_max {
            self.is_overfull = true;
            return ListId::TRANSITION;
        }
        let number = lists.len() as u32;
        self.list_index.insert(hash, number, |id| hash_of_pair(lists.pairs[id as usize]));
        let id = Arc::make_mut(&mut self.lists).push(pair);
        self.identity_of.push(identity.unwrap_or(IDENTITY_MIN + id.0));
        id
    }

    /// What `location` means, worked out once.
    fn near(&mut self, from: Sources<'_>, location: LocationId) -> Near {
        let at = location.index();
        if self.near.len() <= at {
            let count = from.geography.locations.len().max(at + 1);
            self.near.reserve_exact(count - self.near.len());
            self.near.resize(count, Near::UNKNOWN);
        }
        if self.near[at] == Near::UNKNOWN {
            let known = from.geography.location(location);
            self.near[at] = if self.spec.geo.is_allowed(known.country) {
                self.find_nearest(known.point, from.geo_candidates)
            } else {
                Near::DENIED
            };
        }
        self.near[at]
    }

    /// The `count` nearest clusters that serve anyone, by whole kilometres, then name.
    ///
    /// Only sites that can be among them are measured: those whose cosine is not below that of the
    /// `count`-th nearest site by more than two kilometres can make at any distance
    /// (2 km / 6371 km < 4e-4, and the cosine's slope is at most 1).
    fn find_nearest(&mut self, point: Option<Point>, count: usize) -> Near {
        let Self { near_sites, scratch, lists, near_index, .. } = self;
        let Scratch { row, cosines, sorted, found, .. } = scratch;
        row.clear();
        if let Some(point) = point.filter(|_| !near_sites.is_empty() && count > 0) {
            cosines.clear();
            cosines.extend(near_sites.iter().map(|site| site.point.cosine_to(&point)));
            sorted.clone_from(cosines);
            let nth = count.min(sorted.len()) - 1;
            let (_, limit, _) = sorted.select_nth_unstable_by(nth, |a, b| b.total_cmp(a));
            let limit = *limit - 4e-4;
            found.clear();
            for (site, _) in near_sites.iter().zip(&*cosines).filter(|&(_, &cosine)| cosine >= limit) {
                let km = geo::distance(&site.point, &point);
                found.extend(site.clusters.iter().map(|&cluster| (km, cluster)));
            }
            found.sort_unstable();
            row.extend(found.iter().take(count).map(|&(_, cluster)| cluster));
        }
        let lists = Arc::make_mut(lists);
        Near(intern_row(row, &mut lists.near, near_index).0)
    }
}

/// The clusters at the end of every list of a view.
pub(super) fn defaults_of(spec: &ViewSpec, members: &Members) -> Box<[ClusterId]> {
    let mut defaults = Vec::new();
    for &cluster in &spec.default_clusters {
        if members.is_on_list(cluster) && !defaults.contains(&cluster) {
            defaults.push(cluster);
        }
    }
    defaults.into()
}

/// Whether two lists have the same places (`Some(true)`), or the same clusters for other reasons
/// (`Some(false)`).
fn same(mut a: impl Iterator<Item = Place>, mut b: impl Iterator<Item = Place>) -> Option<bool> {
    let mut are_kinds_equal = true;
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Some(are_kinds_equal),
            (Some(a), Some(b)) if a.cluster == b.cluster => are_kinds_equal &= a.kind == b.kind,
            _ => return None,
        }
    }
}

/// The hash of clusters in order.
fn hash_of(clusters: impl IntoIterator<Item = ClusterId>) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    clusters.into_iter().for_each(|cluster| cluster.hash(&mut hasher));
    hasher.finish()
}

/// The number of a row.
fn intern_row(row: &[ClusterId], rows: &mut Arc<Rows>, index: &mut Index) -> RowId {
    let hash = hash_of(row.iter().copied());
    if let Some(id) = index.candidates(hash).find(|&id| rows.get(RowId(id)) == row) {
        return RowId(id);
    }
    let id = Arc::make_mut(rows).push(row);
    index.insert(hash, id.0, |id| hash_of(rows.get(RowId(id)).iter().copied()));
    id
}

#[cfg(test)]
mod tests {
    use super::super::list::Kind;
    use super::*;
    use crate::fleet::Country;
    use crate::prefix::{Block, Prefix};
    use crate::table;
    use std::collections::HashMap;
    use std::net::IpAddr;

    #[test]
    fn a_view_with_more_lists_than_it_can_number_says_so() {
        let clusters = ["a", "b", "c", "d"].map(|name| {
            format!(
                "{{\"cluster\":{{\"name\":\"{name}\",\"site\":\"s\",\"class\":\"embedded\"}}}}\n{{\"appliance\":{{\"name\":\"{name}1\",\"cluster\":\"{name}\",\"ipv4\":\"192.0.2.{}\",\"hostname\":\"{name}.example\",\"capacity_mbps\":1}}}}\n{{\"route\":{{\"prefix\":\"{}.0.0.0/8\",\"via\":[{{\"cluster\":\"{name}\"}}]}}}}\n",
                name.as_bytes()[0],
                name.as_bytes()[0],
            )
        });
        let text = format!(
            "{{\"table\":{{\"format\":1,\"epoch\":1,\"source\":\"test\"}}}}\n{{\"site\":{{\"code\":\"s\",\"lat\":52.0,\"lon\":4.0}}}}\n{{\"service\":{{\"name\":\"v.example\"}}}}\n{}",
            clusters.concat()
        );
        let table = table::read_full(text.as_bytes()).expect("a table").table;
        let geography = Geography::empty();
        let from = Sources {
            fleet: table.fleet(),
            routes: table.routes(),
            geography: &geography,
            geo_candidates: 8,
        };
        let service = &table.fleet().services()[0];
        for (lists_max, is_overfull) in [(6, false), (5, true)] {
            let mut maker = ListMaker::new(ViewSpec::of(service), table.fleet());
            maker.lists_max = lists_max;
            maker.learn_vias(from);
            for at in 0..table.routes().vias.len() {
                let chain = maker.chain(ChainId::NONE, ViaId::at(at));
                maker.list(from, chain, LocationId::UNKNOWN);
            }
            assert_eq!(maker.is_overfull(), is_overfull, "four lists and two that have no places");
        }
    }

    /// Twelve clusters at four sites, one of them tagged otherwise, two that serve routes only; sets of up
    /// to three candidates, of which some differ in distance alone.
    fn sample(next: &mut impl FnMut(u64) -> u64) -> table::Table {
        let mut text = "{\"table\":{\"format\":1,\"epoch\":1,\"source\":\"test\"}}\n".to_owned();
        for (site, lon) in [0, 2, 40, 90].into_iter().enumerate() {
            text += &format!("{{\"site\":{{\"code\":\"s{site}\",\"lat\":10.0,\"lon\":{lon}}}}}\n");
        }
        for n in 0..12 {
            let class = if n % 3 == 0 { "embedded" } else { "transit" };
            let (tags, serves) =
                (if n == 5 { "[]" } else { "[\"t\"]" }, if n % 6 == 2 { "routed" } else { "any" });
            text += &format!(
                "{{\"cluster\":{{\"name\":\"c{n:02}\",\"site\":\"s{}\",\"class\":\"{class}\",\"tags\":{tags},\"serves\":\"{serves}\"}}}}\n{{\"appliance\":{{\"name\":\"c{n:02}a\",\"cluster\":\"c{n:02}\",\"ipv4\":\"192.0.2.{n}\",\"hostname\":\"c{n:02}.example\",\"capacity_mbps\":1}}}}\n",
                n % 4
            );
        }
        text += "{\"service\":{\"name\":\"v.example\",\"tags\":[\"t\"],\"default_clusters\":[\"c07\",\"c05\",\"c01\"],\"geo\":{\"deny\":[\"FR\"]}}}\n";
        for n in 1..60 {
            let mut via: Vec<u64> = (0..1 + next(3)).map(|_| next(12)).collect();
            via.sort_unstable();
            via.dedup();
            let one = |c: &u64| format!("{{\"cluster\":\"c{c:02}\",\"med\":{}}}", n % 2 * c);
            let via = via.iter().map(one).collect::<Vec<_>>().join(",");
            text += &format!("{{\"route\":{{\"prefix\":\"{n}.0.0.0/8\",\"via\":[{via}]}}}}\n");
        }
        table::read_full(text.as_bytes()).expect("a table").table
    }

    /// The slow twin: the places of a list, written out.
    fn written_out(from: Sources<'_>, spec: &ViewSpec, chain: &[ViaId], location: LocationId) -> Vec<Place> {
        let members = Members::of(from.fleet, &spec.tags);
        let at = from.geography.location(location).point;
        let km = |cluster: ClusterId| {
            let site = from.fleet.site(from.fleet.cluster(cluster).site);
            at.map(|at| geo::distance(&at, &Point::new(site.lat, site.lon).expect("a place")))
        };
        let mut all = Vec::new();
        for &via in chain.iter().rev() {
            let mut ranked: Vec<_> = from.routes.vias.get(via).to_vec();
            ranked.sort_by_key(|c| policy::rank(c, from.fleet.cluster(c.cluster).class, km(c.cluster)));
            all.extend(ranked.iter().map(|c| Place { cluster: c.cluster, kind: Kind::Route }));
        }
        let mut near: Vec<ClusterId> = from.fleet.cluster_ids().collect();
        near.retain(|&id| members.is_on_list(id) && from.fleet.cluster(id).serves == Serves::Any);
        near.sort_by_key(|&id| (km(id), id));
        near.truncate(if at.is_some() { from.geo_candidates } else { 0 });
        all.extend(near.iter().map(|&cluster| Place { cluster, kind: Kind::Geo }));
        all.extend(spec.default_clusters.iter().map(|&cluster| Place { cluster, kind: Kind::Default }));
        let mut list: Vec<Place> = Vec::new();
        for place in all {
            if members.is_on_list(place.cluster) && list.iter().all(|held| held.cluster != place.cluster) {
                list.push(place);
            }
        }
        list
    }

    /// Three cities in each of three countries, one of which is denied, and one that is nowhere.
    fn places() -> Geography {
        let location = |n: u32| geo::Location {
            country: Country::new(["NL", "DE", "FR"][n as usize % 3]),
            point: if n == 9 { None } else { Point::new(10.0, f64::from(n * 11)) },
            accuracy: geo::Accuracy::City,
        };
        let network = |n: u32| Prefix::V4(Block::around((n + 1) << 24, 8));
        Geography::from_networks((0..10).map(|n| (network(n), location(n))))
    }

    #[test]
    fn lists_and_their_numbers_are_those_of_lists_written_out() {
        let mut state = 17u64;
        let mut next = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let geography = places();
        for round in 0..20 {
            let table = sample(&mut next);
            let (fleet, routes) = (table.fleet(), table.routes());
            let from = Sources { fleet, routes, geography: &geography, geo_candidates: round % 5 };
            let spec = ViewSpec::of(&fleet.services()[0]);
            let mut maker = ListMaker::new(spec.clone(), fleet);
            maker.learn_vias(from);
            let (mut ids, mut identities) = (HashMap::new(), HashMap::new());
            for draw in 0..3_000 {
                if draw % 1_000 == 0 {
                    maker.rest();
                }
                let location = geography.lookup(IpAddr::from([next(11) as u8, 0, 0, 0]));
                let chain: Vec<ViaId> =
                    (0..next(4)).map(|_| ViaId::at(next(routes.vias.len() as u64) as usize)).collect();
                let chain_id = chain.iter().fold(ChainId::NONE, |around, &via| maker.chain(around, via));
                let found = maker.list(from, chain_id, location);
                if !spec.geo.is_allowed(geography.location(location).country) {
                    assert_eq!(found.0, ListId::DENIED);
                    continue;
                }
                let list = written_out(from, &spec, &chain, location);
                assert!(maker.lists.get(found.0).iter().eq(list.iter().copied()), "{list:?}");
                let number = (ListId::OWN + ids.len()) as u32;
                let clusters: Vec<ClusterId> = list.iter().map(|place| place.cluster).collect();
                let id = *ids.entry(list).or_insert(number);
                let identity = *identities.entry(clusters).or_insert(IDENTITY_MIN + id);
                assert_eq!(found, (ListId(id), identity));
            }
            assert!(ids.len() > 100 && identities.len() < ids.len(), "{} {}", ids.len(), identities.len());
        }
    }
}
