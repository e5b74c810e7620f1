//! The fleet of a table while it is read: items by name, then the checks that need all of them.
//!
//! [`Draft::finish`] resolves references, looks for clashes, and freezes a [`Fleet`]. An item whose
//! line is bad stays known by name, so that what refers to it is not told as well. Layer 3.

use super::findings::Findings;
use super::items::{ApplianceItem, ClusterItem, Made, ServiceItem};
use crate::fleet::{
    Appliance, Cluster, ClusterId, Fleet, FleetParts, PathwayTarget, Resolver, Scheme, Serves, Service, Site,
    SiteId,
};
use crate::problem::Problem;
use rustc_hash::{FxHashMap, FxHashSet};
use std::net::IpAddr;

/// Most sites of a table.
pub const SITES_MAX: usize = 100_000;
/// Most clusters of a table.
pub const CLUSTERS_MAX: usize = 100_000;
/// Most appliances of a table.
pub const APPLIANCES_MAX: usize = 1_000_000;
/// Most resolvers of a table.
pub const RESOLVERS_MAX: usize = 1_000_000;
/// Most services of a table: their ids are 16 bits.
pub const SERVICES_MAX: usize = 65_535;

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ItemKind {
    /// A site.
    Site,
    /// A cluster.
    Cluster,
    /// An appliance.
    Appliance,
    /// A service.
    Service,
    /// A resolver, named by its prefix.
    Resolver,
}

impl ItemKind {
    /// As on a line.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Cluster => "cluster",
            Self::Appliance => "appliance",
            Self::Service => "service",
            Self::Resolver => "resolver",
        }
    }

    /// The key of its name, dotted.
    fn name_key(self) -> String {
        let key = match self {
            Self::Site => "code",
            Self::Resolver => "prefix",
            Self::Cluster | Self::Appliance | Self::Service => "name",
        };
        format!("{}.{key}", self.as_str())
    }
}

/// An item and the line that wrote it; line 0: it comes from the table a delta is made on.
#[derive(Debug)]
struct Entry<T> {
    line: u64,
    name: Box<str>,
    /// `None`: the line is bad, and told.
    item: Option<T>,
}

/// The items of one kind.
#[derive(Debug)]
struct Kind<T> {
    entries: Vec<Entry<T>>,
    by_name: FxHashMap<Box<str>, usize>,
}

impl<T> Default for Kind<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), by_name: FxHashMap::default() }
    }
}

impl<T: PartialEq> Kind<T> {
    /// Adds an item, or replaces one of the same name from the table below a delta.
    fn put(&mut self, line: u64, name: Box<str>, item: Option<T>) {
        match self.by_name.get(&name) {
            Some(&at) => self.entries[at] = Entry { line, name, item },
            None => {
                self.by_name.insert(name.clone(), self.entries.len());
                self.entries.push(Entry { line, name, item });
            }
        }
    }

    /// Adds what a line made; a name that was there before is a warning or a problem.
    fn add(&mut self, out: &mut Findings, kind: ItemKind, line: u64, made: Made<T>) {
        let Some(name) = made.name else { return };
        let Some(&at) = self.by_name.get(&name) else { return self.put(line, name, made.item) };
        let entry = &self.entries[at];
        let found = format!("`{name}` again");
        if entry.item == made.item && made.item.is_some() {
            let expected = format!("each name once; line {} says the same", entry.line);
            out.warning(Problem::at(line, kind.name_key(), found, expected));
        } else {
            let expected = format!("each name once; line {} says otherwise", entry.line);
            out.problem(Problem::at(line, kind.name_key(), found, expected));
        }
    }

    /// Puts every item of `edits` on top, then takes away what `removed` names.
    fn overlay(&mut self, out: &mut Findings, edits: Self, kind: ItemKind, removed: &Removed) {
        let is_removed = |name: &str| removed.get(&(kind, Box::from(name))).copied();
        for entry in edits.entries {
            if let Some(line) = is_removed(&entry.name) {
                let (first, later) = (line.min(entry.line), line.max(entry.line));
                let (key, other) =
                    if later == line { (remove_key(kind), "changes") } else { (kind.name_key(), "removes") };
                let expected = format!("one change a name; line {first} {other} it");
                out.problem(Problem::at(later, key, format!("`{}` again", entry.name), expected));
            }
            self.put(entry.line, entry.name, entry.item);
        }
        let count = self.entries.len();
        self.entries.retain(|entry| is_removed(&entry.name).is_none());
        if self.entries.len() < count {
            self.by_name =
                self.entries.iter().enumerate().map(|(at, entry)| (entry.name.clone(), at)).collect();
        }
    }

    /// The items, all of which are good.
    fn into_items(self) -> impl Iterator<Item = T> {
        self.entries.into_iter().filter_map(|entry| entry.item)
    }

    /// The good items with their lines.
    fn good(&self) -> impl Iterator<Item = (u64, &T)> {
        self.entries.iter().filter_map(|entry| entry.item.as_ref().map(|item| (entry.line, item)))
    }

    /// A problem when there are more than `max`.
    fn check_count(&self, out: &mut Findings, kind: ItemKind, max: usize) {
        if self.entries.len() > max {
            let found = format!("{} lines", self.entries.len());
            out.problem(Problem::at(0, kind.as_str(), found, format!("at most {max}")));
        }
    }
}

/// The key of a remove line.
fn remove_key(kind: ItemKind) -> String {
    format!("remove.{}", kind.as_str())
}

/// Names a delta takes away, and the lines that say so.
pub(super) type Removed = FxHashMap<(ItemKind, Box<str>), u64>;

/// The fleet of a table while it is read.
#[derive(Debug, Default)]
pub(super) struct Draft {
    sites: Kind<Site>,
    clusters: Kind<ClusterItem>,
    appliances: Kind<ApplianceItem>,
    services: Kind<ServiceItem>,
    resolvers: Kind<Resolver>,
    removed: Removed,
}

impl Draft {
    /// Whether no line made or removed anything.
    pub(super) fn is_empty(&self) -> bool {
        self.sites.entries.is_empty()
            && self.clusters.entries.is_empty()
            && self.appliances.entries.is_empty()
            && self.services.entries.is_empty()
            && self.resolvers.entries.is_empty()
            && self.removed.is_empty()
    }

    /// Adds a site.
    pub(super) fn add_site(&mut self, out: &mut Findings, line: u64, made: Made<Site>) {
        self.sites.add(out, ItemKind::Site, line, made);
    }

    /// Adds a cluster.
    pub(super) fn add_cluster(&mut self, out: &mut Findings, line: u64, made: Made<ClusterItem>) {
        self.clusters.add(out, ItemKind::Cluster, line, made);
    }

    /// Adds an appliance.
    pub(super) fn add_appliance(&mut self, out: &mut Findings, line: u64, made: Made<ApplianceItem>) {
        self.appliances.add(out, ItemKind::Appliance, line, made);
    }

    /// Adds a service.
    pub(super) fn add_service(&mut self, out: &mut Findings, line: u64, made: Made<ServiceItem>) {
        self.services.add(out, ItemKind::Service, line, made);
    }

    /// Adds a resolver.
    pub(super) fn add_resolver(&mut self, out: &mut Findings, line: u64, made: Made<Resolver>) {
        self.resolvers.add(out, ItemKind::Resolver, line, made);
    }

    /// Notes that `line` of a delta takes `name` away.
    pub(super) fn remove(&mut self, out: &mut Findings, line: u64, kind: ItemKind, name: Box<str>) {
        let found = format!("`{name}` again");
        if let Some(first) = self.removed.insert((kind, name), line) {
            let expected = format!("each name once; line {first} says the same");
            out.warning(Problem::at(line, remove_key(kind), found, expected));
        }
    }

    /// The fleet of `base` with the items of this draft on top and its removes taken away.
    /// Removing what is not there is a problem.
    pub(super) fn over(self, out: &mut Findings, base: &Fleet) -> Self {
        let mut whole = Self::of(base);
        for ((kind, name), line) in &self.removed {
            let is_there = match kind {
                ItemKind::Site => whole.sites.by_name.contains_key(name),
                ItemKind::Cluster => whole.clusters.by_name.contains_key(name),
                ItemKind::Appliance => whole.appliances.by_name.contains_key(name),
                ItemKind::Service => whole.services.by_name.contains_key(name),
                ItemKind::Resolver => whole.resolvers.by_name.contains_key(name),
            };
            if !is_there {
                let expected = format!("a {} of the served table", kind.as_str());
                out.problem(Problem::at(*line, remove_key(*kind), format!("\"{name}\""), expected));
            }
        }
        whole.sites.overlay(out, self.sites, ItemKind::Site, &self.removed);
        whole.clusters.overlay(out, self.clusters, ItemKind::Cluster, &self.removed);
        whole.appliances.overlay(out, self.appliances, ItemKind::Appliance, &self.removed);
        whole.services.overlay(out, self.services, ItemKind::Service, &self.removed);
        whole.resolvers.overlay(out, self.resolvers, ItemKind::Resolver, &self.removed);
        whole.removed = self.removed;
        whole
    }

    /// The items of `base`, all from line 0.
    fn of(base: &Fleet) -> Self {
        let mut whole = Self::default();
        for site in base.sites() {
            whole.sites.put(0, site.code.clone(), Some(site.clone()));
        }
        for cluster in base.clusters() {
            let Cluster { name, class, serves, tags, .. } = cluster.clone();
            let site = base.site(cluster.site).code.clone();
            whole.clusters.put(0, name.clone(), Some(ClusterItem { name, site, class, serves, tags }));
        }
        for appliance in base.appliances() {
            let cluster = base.cluster(appliance.cluster).name.clone();
            let appliance = Appliance { cluster: ClusterId::at(0), ..appliance.clone() };
            whole.appliances.put(0, appliance.name.clone(), Some(ApplianceItem { appliance, cluster }));
        }
        for service in base.services() {
            let name_of = |id: &ClusterId| base.cluster(*id).name.clone();
            let default_clusters = service.default_clusters.iter().map(name_of).collect();
            let service = Service { default_clusters: Box::default(), ..service.clone() };
            whole.services.put(0, service.name.clone(), Some(ServiceItem { service, default_clusters }));
        }
        for resolver in base.resolvers() {
            whole.resolvers.put(0, resolver.prefix.to_string().into(), Some(resolver.clone()));
        }
        whole
    }

    /// Clusters that were removed and are not there.
    pub(super) fn removed_clusters(&self) -> impl Iterator<Item = (&str, u64)> {
        self.removed
            .iter()
            .filter(|((kind, _), _)| *kind == ItemKind::Cluster)
            .map(|((_, name), line)| (&**name, *line))
    }

    /// Something to compare clusters by when the fleet could not be frozen: distinct for each name.
    pub(super) fn provisional_cluster(&self, name: &str) -> Option<ClusterId> {
        self.clusters.by_name.get(name).map(|&at| ClusterId::at(at))
    }

    /// Checks everything that needs all items, and freezes the fleet if nothing was found so far.
    pub(super) fn finish(self, out: &mut Findings) -> Result<Fleet, Box<Self>> {
        self.sites.check_count(out, ItemKind::Site, SITES_MAX);
        self.clusters.check_count(out, ItemKind::Cluster, CLUSTERS_MAX);
        self.appliances.check_count(out, ItemKind::Appliance, APPLIANCES_MAX);
        self.services.check_count(out, ItemKind::Service, SERVICES_MAX);
        self.resolvers.check_count(out, ItemKind::Resolver, RESOLVERS_MAX);
        let mut checker = Checker { draft: &self, told: FxHashSet::default() };
        checker.references(out);
        checker.services(out);
        check_addresses(out, &self);
        let hostnames = check_hostnames(out, &self);
        check_service_names(out, &self, &hostnames);
        check_aliases(out, &self);
        check_https(out, &self);
        if out.count() > 0 { Err(Box::new(self)) } else { Ok(self.freeze()) }
    }

    /// Freezes a draft without fault.
    fn freeze(self) -> Fleet {
        let site_at = |name: &str| SiteId::at(self.sites.by_name[name]);
        let cluster_at = |name: &str| ClusterId::at(self.clusters.by_name[name]);
        let clusters = self.clusters.entries.iter().filter_map(|entry| entry.item.as_ref());
        let clusters = clusters.map(|item| Cluster {
            name: item.name.clone(),
            site: site_at(&item.site),
            class: item.class,
            serves: item.serves,
            tags: item.tags.clone(),
            appliances: 0..0,
        });
        let clusters = clusters.collect();
        let appliances = self.appliances.into_items();
        let appliances = appliances
            .map(|item| Appliance { cluster: cluster_at(&item.cluster), ..item.appliance })
            .collect();
        let services = self.services.into_items().map(|item| Service {
            default_clusters: item.default_clusters.iter().map(|name| cluster_at(name)).collect(),
            ..item.service
        });
        let services = services.collect();
        let resolvers = self.resolvers.into_items().collect();
        let sites = self.sites.into_items().collect();
        Fleet::build(FleetParts { sites, clusters, appliances, services, resolvers })
    }
}

/// Who refers to something: its line (0: the table below a delta), the key, and what to call it.
struct Referrer<'a> {
    line: u64,
    key: String,
    kind: ItemKind,
    name: &'a str,
}

/// Finds references that lead nowhere.
struct Checker<'d> {
    draft: &'d Draft,
    /// Removed items already told of; one referrer is enough.
    told: FxHashSet<(ItemKind, &'d str)>,
}

impl<'d> Checker<'d> {
    /// Tells that nothing of this `kind` is called `name`.
    fn missing(&mut self, out: &mut Findings, kind: ItemKind, name: &'d str, referrer: Referrer<'_>) {
        if referrer.line > 0 {
            let noun = if kind == ItemKind::Site { "code" } else { "name" };
            let expected = format!("the {noun} of a {} of this table", kind.as_str());
            return out.problem(Problem::at(referrer.line, referrer.key, format!("\"{name}\""), expected));
        }
        let line = self.draft.removed.get(&(kind, Box::from(name))).copied().unwrap_or(0);
        if self.told.insert((kind, name)) {
            out.problem(still_referred(line, kind, name, referrer.kind.as_str(), referrer.name));
        }
    }

    /// Sites of clusters, clusters of appliances.
    fn references(&mut self, out: &mut Findings) {
        let draft = self.draft;
        for (line, item) in
            draft.clusters.good().filter(|(_, item)| !draft.sites.by_name.contains_key(&item.site))
        {
            let key = "cluster.site".to_owned();
            let referrer = Referrer { line, key, kind: ItemKind::Cluster, name: &item.name };
            self.missing(out, ItemKind::Site, &item.site, referrer);
        }
        for (line, item) in draft.appliances.good() {
            if !draft.clusters.by_name.contains_key(&item.cluster) {
                let key = "appliance.cluster".to_owned();
                let referrer = Referrer { line, key, kind: ItemKind::Appliance, name: &item.appliance.name };
                self.missing(out, ItemKind::Cluster, &item.cluster, referrer);
            }
        }
    }

    /// Clusters named by services. A default cluster that serves only routed clients is a problem
    /// (ruling 13), at the service's line or, when a delta changed the cluster alone, at that.
    fn services(&mut self, out: &mut Findings) {
        let draft = self.draft;
        for (line, item) in draft.services.good() {
            let name = &item.service.name;
            for (index, cluster) in item.default_clusters.iter().enumerate() {
                let key = format!("service.default_clusters[{index}]");
                let found = format!("\"{cluster}\"");
                if item.default_clusters[..index].contains(cluster) {
                    out.problem(Problem::at(line, key, found, "each cluster once"));
                    continue;
                }
                let Some(&at) = draft.clusters.by_name.get(cluster) else {
                    let referrer = Referrer { line, key, kind: ItemKind::Service, name };
                    self.missing(out, ItemKind::Cluster, cluster, referrer);
                    continue;
                };
                let entry = &draft.clusters.entries[at];
                if entry.item.as_ref().is_none_or(|item| item.serves == Serves::Any) {
                    continue;
                }
                out.problem(if line > 0 {
                    let expected =
                        format!("a cluster that serves `any`; {} says `routed`", place(entry.line));
                    Problem::at(line, key, found, expected)
                } else {
                    let expected = format!("`any`: service `{name}` has it among its default clusters");
                    Problem::at(entry.line, "cluster.serves", "routed", expected)
                });
            }
            for (index, pathway) in item.service.pathways.iter().enumerate() {
                let named: Vec<(String, &Box<str>)> = match &pathway.target {
                    PathwayTarget::Cluster(cluster) => vec![("cluster".to_owned(), cluster)],
                    PathwayTarget::Clusters(clusters) => {
                        let keys = (0..clusters.len()).map(|at| format!("clusters[{at}]"));
                        keys.zip(clusters).filter(|(_, name)| !name.contains('*')).collect()
                    }
                    _ => Vec::new(),
                };
                for (key, cluster) in named {
                    if draft.clusters.by_name.contains_key(cluster) {
                        continue;
                    }
                    let key = format!("service.pathways[{index}].{key}");
                    let referrer = Referrer { line, key, kind: ItemKind::Service, name };
                    self.missing(out, ItemKind::Cluster, cluster, referrer);
                }
            }
        }
    }
}

/// The problem of a remove line whose item is still referred to.
pub(super) fn still_referred(line: u64, kind: ItemKind, name: &str, by_kind: &str, by_name: &str) -> Problem {
    let expected = format!("nothing that refers to it; {by_kind} `{by_name}` does");
    Problem::at(line, remove_key(kind), format!("\"{name}\""), expected)
}

/// A line, in words.
fn place(line: u64) -> String {
    if line == 0 { "the served table".to_owned() } else { format!("line {line}") }
}

/// Two appliances with one address.
fn check_addresses(out: &mut Findings, draft: &Draft) {
    let mut seen: FxHashMap<IpAddr, (u64, &str)> = FxHashMap::default();
    for (line, item) in draft.appliances.good() {
        let appliance = &item.appliance;
        let v4 = appliance.ipv4.map(|addr| ("appliance.ipv4", IpAddr::V4(addr)));
        let v6 = appliance.ipv6.map(|addr| ("appliance.ipv6", IpAddr::V6(addr)));
        for (key, addr) in [v4, v6].into_iter().flatten() {
            if let Some(other) = seen.insert(addr, (line, &appliance.name)) {
                clash(out, key, &addr.to_string(), "each address once", (line, &appliance.name), other);
            }
        }
    }
}

/// Tells that two appliances have the same `value`, at the later line.
fn clash(out: &mut Findings, key: &str, value: &str, rule: &str, a: (u64, &str), b: (u64, &str)) {
    let (later, first) = if a.0 > b.0 { (a, b) } else { (b, a) };
    let expected = format!("{rule}; appliance `{}` ({}) has it", first.1, place(first.0));
    out.problem(Problem::at(later.0, key, value, expected));
}

/// Two appliances with one host name; what each host name belongs to.
fn check_hostnames<'d>(out: &mut Findings, draft: &'d Draft) -> FxHashMap<&'d str, (u64, &'d str)> {
    let mut seen: FxHashMap<&str, (u64, &str)> = FxHashMap::default();
    for (line, item) in draft.appliances.good() {
        let Appliance { name, hostname, .. } = &item.appliance;
        if hostname.is_empty() {
            continue;
        }
        if let Some(other) = seen.insert(hostname, (line, name)) {
            clash(out, "appliance.hostname", hostname, "each host name once", (line, name), other);
        }
    }
    seen
}

/// A service called like an appliance's host: both would have addresses of their own (ruling 15).
fn check_service_names(out: &mut Findings, draft: &Draft, hostnames: &FxHashMap<&str, (u64, &str)>) {
    for (line, item) in draft.services.good() {
        let name = &item.service.name;
        let Some((other, appliance)) = hostnames.get(&**name) else { continue };
        if line >= *other {
            let expected = format!(
                "a name of its own; it is the host name of appliance `{appliance}` ({})",
                place(*other)
            );
            out.problem(Problem::at(line, "service.name", name, expected));
        } else {
            let expected = format!("a name of its own; it is a service ({})", place(line));
            out.problem(Problem::at(*other, "appliance.hostname", name, expected));
        }
    }
}

/// Aliases that lead back into the table (ruling 15).
fn check_aliases(out: &mut Findings, draft: &Draft) {
    for (line, item) in draft.services.good() {
        let service = &item.service;
        let fallback =
            service.fallback_alias.iter().map(|alias| ("service.fallback_alias".to_owned(), alias));
        let denied = service.denied_alias.iter().map(|alias| ("service.denied_alias".to_owned(), alias));
        let pathways =
            service.pathways.iter().enumerate().filter_map(|(index, pathway)| match &pathway.target {
                PathwayTarget::Alias(alias) => Some((format!("service.pathways[{index}].alias"), alias)),
                _ => None,
            });
        for (key, alias) in fallback.chain(denied).chain(pathways) {
            let Some(at) = service_over(draft, alias) else { continue };
            let target = &draft.services.entries[at];
            let line = if line > 0 { line } else { target.line };
            let expected = format!(
                "a name outside this table; service `{}` ({}) has it",
                target.name,
                place(target.line)
            );
            out.problem(Problem::at(line, key, format!("\"{alias}\""), expected));
        }
    }
}

/// The service that a query for `host` would reach: exact, else under a wildcard.
fn service_over(draft: &Draft, host: &str) -> Option<usize> {
    let by_name = &draft.services.by_name;
    let parents = std::iter::successors(host.split_once('.'), |(_, parent)| parent.split_once('.'));
    by_name
        .get(host)
        .or_else(|| parents.map(|(_, parent)| format!("*.{parent}")).find_map(|name| by_name.get(&*name)))
        .copied()
}

/// Whether the sorted tags `have_a` and `have_b` together cover the sorted `need`.
fn covers(need: &[Box<str>], have_a: &[Box<str>], have_b: &[Box<str>]) -> bool {
    need.iter().all(|tag| have_a.binary_search(tag).is_ok() || have_b.binary_search(tag).is_ok())
}

/// Appliances without a host name that a service over `https` could choose (ruling 15).
fn check_https(out: &mut Findings, draft: &Draft) {
    let mut needs: FxHashMap<&[Box<str>], (u64, &str)> = FxHashMap::default();
    for (line, item) in draft.services.good().filter(|(_, item)| item.service.scheme == Some(Scheme::Https)) {
        needs.entry(&item.service.tags).or_insert((line, &item.service.name));
    }
    if needs.is_empty() {
        return;
    }
    let mut needs: Vec<_> = needs.into_iter().collect();
    needs.sort_by_key(|(_, service)| *service);
    for (line, item) in draft.appliances.good().filter(|(_, item)| item.appliance.hostname.is_empty()) {
        let cluster = draft
            .clusters
            .by_name
            .get(&item.cluster)
            .and_then(|&at| draft.clusters.entries[at].item.as_ref());
        let Some(cluster) = cluster else { continue };
        let need = needs.iter().find(|(tags, _)| covers(tags, &cluster.tags, &item.appliance.tags));
        let Some((_, (service_line, service))) = need else { continue };
        if line >= *service_line {
            let expected = format!("a host name; service `{service}` ({}) is https", place(*service_line));
            out.problem(Problem::at(line, "appliance.hostname", "nothing", expected));
        } else {
            let expected = format!(
                "host names on all its appliances; `{}` ({}) has none",
                item.appliance.name,
                place(line)
            );
            out.problem(Problem::at(*service_line, "service.scheme", "https", expected));
        }
    }
}
