//! Makes the lists of one view: from nested routes and a location to clusters in order.
//!
//! A [`ListMaker`] outlives one generation, so that a small change finds the lists it needs already
//! made. It numbers three things: *chains* (the sets of candidates of the routes around an address,
//! longest route first; routes without a cluster on the list are left out), *lists*, and
//! *identities* (lists that hold the same clusters in the same order, whatever put them there).

use super::view::{Kind, LISTS_MAX, ListId, Lists, Members, Place, ViewSpec};
use crate::fleet::{ClusterId, Fleet, Serves};
use crate::geo::{self, Geography, LocationId, Point};
use crate::policy;
use crate::table::{Routes, ViaId};
use rustc_hash::{FxBuildHasher, FxHashMap};
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

/// What a location means to a view.
#[derive(Debug, Clone)]
struct Near {
    /// The country may not use the service.
    is_denied: bool,
    /// The nearest clusters that serve anyone, nearest first.
    clusters: Box<[ClusterId]>,
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
    /// Whether a set of candidates has a cluster on the list.
    via_is_live: Vec<bool>,
    chain_ids: FxHashMap<(ChainId, ViaId), ChainId>,
    /// For each chain the rest of it and its first set; entry 0 is [`ChainId::NONE`].
    chains: Vec<(ChainId, ViaId)>,
    site_points: Vec<Option<Point>>,
    near_sites: Vec<NearSite>,
    near: Vec<Option<Near>>,
    list_of: FxHashMap<(ChainId, LocationId), ListId>,
    /// Lists by the hash of their places; a hash that two lists share is probed upwards.
    list_ids: FxHashMap<u64, ListId>,
    identity_of: Vec<u32>,
    /// By the hash of their clusters a list of each identity, likewise.
    identities: FxHashMap<u64, ListId>,
    lists: Arc<Lists>,
    /// Lists, at most.
    lists_max: usize,
    /// A list was left out because there are as many as table values can name.
    is_overfull: bool,
    scratch: Vec<Place>,
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
        Self {
            members,
            spec,
            via_is_live: Vec::new(),
            chain_ids: FxHashMap::default(),
            chains: vec![(ChainId::NONE, ViaId::NONE)],
            site_points,
            near_sites,
            near: Vec::new(),
            list_of: FxHashMap::default(),
            list_ids: FxHashMap::default(),
            identity_of: vec![IDENTITY_MIN, IDENTITY_MIN],
            identities: FxHashMap::default(),
            lists: Arc::new(Lists::new()),
            lists_max: LISTS_MAX,
            is_overfull: false,
            scratch: Vec::new(),
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

    /// Whether a list was left out; what was built is not to be served then.
    pub(super) fn is_overfull(&self) -> bool {
        self.is_overfull
    }

    /// Learns the sets of candidates that the pool has and it does not know yet.
    pub(super) fn learn_vias(&mut self, routes: &Routes) {
        for at in self.via_is_live.len()..routes.vias.len() {
            let candidates = routes.vias.get(ViaId::at(at));
            self.via_is_live.push(candidates.iter().any(|c| self.members.is_on_list(c.cluster)));
        }
    }

    /// Whether a route to `via` counts for this view.
    pub(super) fn is_live(&self, via: ViaId) -> bool {
        self.via_is_live[via.index()]
    }

    /// The chain of a route to `via` inside the routes of `around`.
    pub(super) fn chain(&mut self, around: ChainId, via: ViaId) -> ChainId {
        if !self.is_live(via) {
            return around;
        }
        let next = ChainId(self.chains.len() as u32);
        let id = *self.chain_ids.entry((around, via)).or_insert(next);
        if id == next {
            self.chains.push((around, via));
        }
        id
    }

    /// The list of clients inside `chain` at `location`, and its identity.
    pub(super) fn list(&mut self, from: Sources<'_>, chain: ChainId, location: LocationId) -> (ListId, u32) {
        let id = match self.list_of.get(&(chain, location)) {
            Some(&id) => id,
            None => {
                let id = self.make(from, chain, location);
                self.list_of.insert((chain, location), id);
                id
            }
        };
        (id, self.identity(id))
    }

    /// The identity of a list.
    pub(super) fn identity(&self, id: ListId) -> u32 {
        self.identity_of[id.0 as usize]
    }

    /// Makes a list that was not asked for before.
    fn make(&mut self, from: Sources<'_>, chain: ChainId, location: LocationId) -> ListId {
        self.learn_location(from, location);
        let near = self.near[location.index()].as_ref().expect("learned just now");
        if near.is_denied {
            return ListId::DENIED;
        }
        let mut list = std::mem::take(&mut self.scratch);
        list.clear();
        let mut at = chain;
        while at != ChainId::NONE {
            let (rest, via) = self.chains[at.0 as usize];
            self.push_candidates(from, via, location, &mut list);
            at = rest;
        }
        for &cluster in &near.clusters {
            push_place(&mut list, cluster, Kind::Geo);
        }
        for &cluster in &self.spec.default_clusters {
            if self.members.is_on_list(cluster) {
                push_place(&mut list, cluster, Kind::Default);
            }
        }
        let id = self.intern(&list);
        self.scratch = list;
        id
    }

    /// Adds the candidates of one route, best first.
    fn push_candidates(&self, from: Sources<'_>, via: ViaId, location: LocationId, list: &mut Vec<Place>) {
        if let [only] = from.routes.vias.get(via) {
            // A chain holds no set without a cluster on the list.
            return push_place(list, only.cluster, Kind::Route);
        }
        let candidates = from.routes.vias.get(via).iter().filter(|c| self.members.is_on_list(c.cluster));
        let place = from.geography.location(location).point;
        let mut ranked: Vec<policy::Rank> = candidates
            .map(|candidate| {
                let cluster = from.fleet.cluster(candidate.cluster);
                let site = self.site_points[cluster.site.index()];
                let distance = place.and_then(|place| Some(geo::distance(&place, &site?)));
                policy::rank(candidate, cluster.class, distance)
            })
            .collect();
        ranked.sort_unstable();
        for (.., cluster) in ranked {
            push_place(list, cluster, Kind::Route);
        }
    }

    /// The number of a list with this content.
    fn intern(&mut self, list: &[Place]) -> ListId {
        let mut hash = FxBuildHasher.hash_one(list);
        while let Some(&id) = self.list_ids.get(&hash) {
            if self.lists.get(id) == list {
                return id;
            }
            hash = hash.wrapping_add(1);
        }
        if self.lists.len() >= self.lists_max {
            self.is_overfull = true;
            return ListId::TRANSITION;
        }
        let identity = self.identity_among_lists(list);
        let id = Arc::make_mut(&mut self.lists).push(list);
        self.list_ids.insert(hash, id);
        self.identity_of.push(identity.unwrap_or(IDENTITY_MIN + id.0));
        id
    }

    /// The identity of a list with the same clusters as `list`; where there is none, `list`, which is to
    /// be the next, becomes the first of it.
    fn identity_among_lists(&mut self, list: &[Place]) -> Option<u32> {
        let cluster = |place: &Place| place.cluster;
        let mut hasher = FxBuildHasher.build_hasher();
        list.iter().map(cluster).for_each(|cluster| cluster.hash(&mut hasher));
        let mut hash = hasher.finish();
        while let Some(&id) = self.identities.get(&hash) {
            if self.lists.get(id).iter().map(cluster).eq(list.iter().map(cluster)) {
                return Some(self.identity(id));
            }
            hash = hash.wrapping_add(1);
        }
        self.identities.insert(hash, ListId(self.lists.len() as u32));
        None
    }

    /// Works out what `location` means, once.
    fn learn_location(&mut self, from: Sources<'_>, location: LocationId) {
        if self.near.len() <= location.index() {
            self.near.resize(location.index() + 1, None);
        }
        if self.near[location.index()].is_some() {
            return;
        }
        let known = from.geography.location(location);
        let clusters = known.point.map(|point| self.nearest(&point, from.geo_candidates)).unwrap_or_default();
        let is_denied = !self.spec.geo.is_allowed(known.country);
        self.near[location.index()] = Some(Near { is_denied, clusters });
    }

    /// The `count` nearest clusters that serve anyone, by whole kilometres, then name.
    ///
    /// Only sites that can be among them are measured: those whose cosine is not below that of the
    /// `count`-th nearest site by more than two kilometres can make at any distance
    /// (2 km / 6371 km < 4e-4, and the cosine's slope is at most 1).
    fn nearest(&self, point: &Point, count: usize) -> Box<[ClusterId]> {
        if self.near_sites.is_empty() || count == 0 {
            return Box::default();
        }
        let cosines: Vec<f64> = self.near_sites.iter().map(|site| site.point.cosine_to(point)).collect();
        let mut sorted = cosines.clone();
        let nth = count.min(sorted.len()) - 1;
        let (_, limit, _) = sorted.select_nth_unstable_by(nth, |a, b| b.total_cmp(a));
        let limit = *limit - 4e-4;
        let mut found: Vec<_> = self
            .near_sites
            .iter()
            .zip(&cosines)
            .filter(|&(_, &cosine)| cosine >= limit)
            .flat_map(|(site, _)| {
                let km = geo::distance(&site.point, point);
                site.clusters.iter().map(move |&cluster| (km, cluster))
            })
            .collect();
        found.sort_unstable();
        found.into_iter().take(count).map(|(_, cluster)| cluster).collect()
    }
}

/// Adds a cluster unless it is on the list already.
fn push_place(list: &mut Vec<Place>, cluster: ClusterId, kind: Kind) {
    if !list.iter().any(|place| place.cluster == cluster) {
        list.push(Place { cluster, kind });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

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
            maker.learn_vias(table.routes());
            for at in 0..table.routes().vias.len() {
                let chain = maker.chain(ChainId::NONE, ViaId::at(at));
                maker.list(from, chain, LocationId::UNKNOWN);
            }
            assert_eq!(maker.is_overfull(), is_overfull, "four lists and two that have no places");
        }
    }
}
