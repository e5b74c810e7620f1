//! The candidate list of an address for a service, health ignored, by linear scans.

use super::{
    address::{Addr, Net, special_of},
    mistakes::Mistake,
    world::{Appliance, Geo, Route, Service, Via, World},
};

/// A cluster's place on a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Index of the cluster.
    pub cluster: usize,
    /// `route`, `geo` or `default`.
    pub kind: &'static str,
    /// The route's prefix or the GeoIP network.
    pub prefix: Option<Net>,
}

/// Where an address lies as far as special blocks matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In no special block, or in a hole of one.
    Ordinary,
    /// In a special block, covered by a route inside that block.
    InsideRouted,
    /// In this special block and covered by no route inside it, and whether the block has such routes.
    Uncovered(Net, bool),
}

/// One service of a world, as decided with a planted mistake or none.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The table.
    pub world: &'a World,
    /// The service.
    pub service: &'a Service,
    /// The planted mistake.
    pub mistake: Mistake,
}

impl<'a> Asked<'a> {
    /// Whether the cluster's tags and the appliance's own cover the service's.
    fn is_eligible(self, cluster: usize, appliance: &Appliance) -> bool {
        let tags = &self.world.clusters[cluster].tags;
        self.service.tags.iter().all(|t| tags.contains(t) || appliance.tags.contains(t))
    }

    /// The cluster's appliances that may serve at all.
    pub fn active(self, cluster: usize) -> Vec<&'a Appliance> {
        let counts = |a: &&Appliance| {
            let capacity = a.capacity_mbps > 0 || self.mistake == Mistake::CapacityZeroIsActive;
            let status = a.status == "active"
                || (a.status == "draining" && self.mistake == Mistake::DrainingStatusIsActive);
            self.is_eligible(cluster, a) && status && capacity
        };
        self.world.clusters[cluster].appliances.iter().filter(counts).collect()
    }

    /// The eligible appliances that the inventory drains.
    pub fn drained(self, cluster: usize) -> Vec<&'a Appliance> {
        let drained =
            |a: &&Appliance| self.is_eligible(cluster, a) && a.status == "draining" && a.capacity_mbps > 0;
        self.world.clusters[cluster].appliances.iter().filter(drained).collect()
    }

    /// Whether the cluster may appear on a list of the service.
    fn is_on_list(self, cluster: usize) -> bool {
        !self.active(cluster).is_empty()
    }

    /// The GeoIP network of `addr`: none in special blocks, else the longest.
    fn location(self, addr: Addr) -> Option<&'a Geo> {
        if special_of(addr).is_some() && self.mistake != Mistake::GeographyInSpecialBlocks {
            return None;
        }
        self.world.geo.iter().filter(|g| g.net.contains(addr)).max_by_key(|g| g.net.len)
    }

    /// Whether the client's country is refused.
    pub fn is_denied(self, addr: Addr) -> bool {
        match self.location(addr).and_then(|g| g.country.as_ref()) {
            Some(country) => {
                let allow = &self.service.allow;
                self.service.deny.contains(country) || !(allow.is_empty() || allow.contains(country))
            }
            None => !self.service.allow.is_empty() && self.mistake != Mistake::UnknownCountryIsAllowed,
        }
    }

    /// The clusters for `addr` (the deciding address), best first, each once; empty if denied.
    pub fn list(self, addr: Addr) -> Vec<Entry> {
        if self.is_denied(addr) {
            return Vec::new();
        }
        let mut all = self.routed(addr);
        all.extend(self.nearest(addr, &all));
        let defaults = self.service.defaults.iter().filter(|&&c| self.is_on_list(c));
        all.extend(defaults.map(|&cluster| Entry { cluster, kind: "default", prefix: None }));
        if self.mistake == Mistake::DuplicatesAreKept {
            return all;
        }
        let mut once: Vec<Entry> = Vec::new();
        for entry in all {
            if !once.iter().any(|e| e.cluster == entry.cluster) {
                once.push(entry);
            }
        }
        once
    }

    /// Candidates by route, longest prefix first.
    fn routed(self, addr: Addr) -> Vec<Entry> {
        let mut covering: Vec<&Route> = self.world.routes.iter().filter(|r| r.net.contains(addr)).collect();
        covering.sort_by_key(|r| std::cmp::Reverse(r.net.len));
        let km = self.location(addr).and_then(|g| g.km.as_ref());
        let mut entries = Vec::new();
        for route in covering {
            let mut via: Vec<&Via> = route.via.iter().filter(|v| self.is_on_list(v.cluster)).collect();
            via.sort_by(|a, b| self.key_of(a, km).cmp(&self.key_of(b, km)));
            if self.mistake == Mistake::TieByReverseName {
                via.reverse();
                via.sort_by_key(|v| self.attributes(v, km));
            }
            entries.extend(via.iter().map(|v| Entry {
                cluster: v.cluster,
                kind: "route",
                prefix: Some(route.net),
            }));
            if self.mistake == Mistake::LessSpecificRoutesAreForgotten && !entries.is_empty() {
                break;
            }
        }
        entries
    }

    /// What orders the candidates of one route: attributes, then the name.
    fn key_of(self, via: &Via, km: Option<&Vec<u16>>) -> ([u64; 6], &'a [u8]) {
        (self.attributes(via, km), self.world.clusters[via.cluster].name.as_bytes())
    }

    /// What orders the candidates of one route before their names do; lower is better.
    fn attributes(self, via: &Via, km: Option<&Vec<u16>>) -> [u64; 6] {
        let class = self.world.clusters[via.cluster].class as u64;
        let pref = u64::MAX - via.local_pref;
        let (path, origin, med) = (via.as_path_len, via.origin as u64, via.med);
        let km = km.map_or(0, |km| u64::from(km[via.cluster]));
        match self.mistake {
            Mistake::MedBeforeAsPath => [class, pref, med, path, origin, km],
            Mistake::ClassAfterLocalPref => [pref, class, path, origin, med, km],
            Mistake::DistanceIsSkipped => [class, pref, path, origin, med, 0],
            Mistake::OriginIsSkipped => [class, pref, path, 0, med, km],
            _ => [class, pref, path, origin, med, km],
        }
    }

    /// The nearest clusters that serve anyone. `listed` are those on the list already, which count
    /// towards the number all the same.
    fn nearest(self, addr: Addr, listed: &[Entry]) -> Vec<Entry> {
        let Some(geo) = self.location(addr) else { return Vec::new() };
        let Some(km) = &geo.km else { return Vec::new() };
        let may = |&c: &usize| {
            let any = self.world.clusters[c].serves_any || self.mistake == Mistake::RoutedServesByGeography;
            let new =
                self.mistake != Mistake::NearestAfterDuplicates || !listed.iter().any(|e| e.cluster == c);
            any && new && self.is_on_list(c)
        };
        let mut near: Vec<usize> = (0..self.world.clusters.len()).filter(may).collect();
        near.sort_by_key(|&c| (km[c], &self.world.clusters[c].name));
        near.truncate(self.world.params.geo_candidates);
        near.iter().map(|&cluster| Entry { cluster, kind: "geo", prefix: Some(geo.net) }).collect()
    }

    /// Whether `route` has somebody who may serve.
    fn is_of_use(self, route: &Route) -> bool {
        self.mistake == Mistake::UselessRoutesCountAsInside
            || route.via.iter().any(|v| self.is_on_list(v.cluster))
    }

    /// The routes inside a special block.
    pub fn inside_routes(self, block: Net) -> Vec<Net> {
        let inside = |r: &&Route| block.covers(r.net) && self.is_of_use(r);
        self.world.routes.iter().filter(inside).map(|r| r.net).collect()
    }

    /// Where `addr` (the deciding address) lies as far as special blocks matter.
    pub fn place(self, addr: Addr) -> Place {
        let Some((block, _)) = special_of(addr) else { return Place::Ordinary };
        let inside = self.inside_routes(*block);
        match inside.iter().any(|r| r.contains(addr)) {
            true => Place::InsideRouted,
            false => Place::Uncovered(*block, !inside.is_empty()),
        }
    }
}
