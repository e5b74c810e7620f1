//! Sites, clusters, appliances and services as dense ids and arrays.
//!
//! A [`Fleet`] is the part of a table that is small: everything but the routes. It is frozen by
//! [`Fleet::build`], which sorts by name in byte order, so that **comparing ids compares names**:
//! the last tie rule of the decision is an integer comparison. Appliances are sorted by cluster
//! first, so that a cluster's appliances are one range. Ids of two fleets mean nothing to each other.
//! Layer 1. Knows nothing of health, routes or services' views.

use crate::prefix::{Family, Prefix};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($int);

        impl $name {
            /// Position in the fleet's array of its kind.
            pub fn index(self) -> usize {
                self.0 as usize
            }

            /// The id at `index`, which whoever calls took from a [`Fleet`].
            ///
            /// # Panics
            /// When `index` does not fit.
            pub fn at(index: usize) -> Self {
                Self(<$int>::try_from(index).expect("the fleet limits are checked when a table is read"))
            }
        }
    };
}

id!(
    /// A site of one fleet.
    SiteId, u32
);
id!(
    /// A cluster of one fleet.
    ClusterId, u32
);
id!(
    /// An appliance of one fleet.
    ApplianceId, u32
);
id!(
    /// A service of one fleet.
    ServiceId, u16
);

/// How a cluster is connected to its clients, best first: what Open Connect prefers by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Inside the client's own network.
    Embedded,
    /// Over a private interconnect.
    PrivatePeering,
    /// Over an exchange.
    PublicPeering,
    /// Over somebody else's network.
    Transit,
}

/// Which clients a cluster may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serves {
    /// Only those whose prefix was announced to it.
    Routed,
    /// Also those it is near to.
    Any,
}

impl Serves {
    /// What a cluster of `class` serves when its line does not say.
    pub fn default_of(class: Class) -> Self {
        if class == Class::Embedded { Self::Routed } else { Self::Any }
    }
}

/// What the inventory says of an appliance, apart from health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Serves.
    #[default]
    Active,
    /// Takes no new clients; never revived by fail-open.
    Draining,
    /// Out of service; never revived by fail-open.
    Disabled,
}

/// Whether an answer may leave a cluster because it lacks the asked family (ruling 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Families {
    /// A cluster without a usable appliance of the asked family is passed over for that type.
    #[default]
    Independent,
    /// NODATA rather than a farther cluster.
    Together,
}

/// A place.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Unique code, as `ams1`.
    pub code: Box<str>,
    /// Degrees north, −90 to 90.
    pub lat: f64,
    /// Degrees east, −180 to 180.
    pub lon: f64,
    /// For people to read; may be empty.
    pub name: Box<str>,
}

/// Appliances that hear the same routes and hold the same content.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Unique name.
    pub name: Box<str>,
    /// Where it is.
    pub site: SiteId,
    /// How it is connected.
    pub class: Class,
    /// Whom it may serve.
    pub serves: Serves,
    /// Sorted, without duplicates.
    pub tags: Box<[Box<str>]>,
    /// Its appliances: indices into [`Fleet::appliances`], set by [`Fleet::build`].
    pub appliances: Range<u32>,
}

/// One cache machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Appliance {
    /// Unique name; the only thing of it that rendezvous hashing takes.
    pub name: Box<str>,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address; one of the two is there.
    pub ipv6: Option<Ipv6Addr>,
    /// Host name, lower case without the final dot; empty when there is none.
    pub hostname: Box<str>,
    /// Weight inside the cluster; 0 gets no traffic.
    pub capacity_mbps: u32,
    /// What the inventory says.
    pub status: Status,
    /// Sorted, without duplicates; added to the cluster's.
    pub tags: Box<[Box<str>]>,
}

impl Appliance {
    /// Its address of `family`.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.ipv4.map(IpAddr::V4),
            Family::V6 => self.ipv6.map(IpAddr::V6),
        }
    }

    /// Whether it may get traffic when it is up: status active and capacity above 0.
    pub fn is_in_service(&self) -> bool {
        self.status == Status::Active && self.capacity_mbps > 0
    }
}

/// What a request's content key is (ruling 9): the default is the path.
#[derive(Debug, Clone)]
pub enum ContentKey {
    /// The path as sent, without the query.
    Path,
    /// The captures of the expression on the path, joined; the whole path when it does not match.
    PathRegex(regex::Regex),
    /// The values of these query parameters, in this order, joined by `&`.
    Query(Box<[Box<str>]>),
}

impl PartialEq for ContentKey {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Path, Self::Path) => true,
            (Self::PathRegex(a), Self::PathRegex(b)) => a.as_str() == b.as_str(),
            (Self::Query(a), Self::Query(b)) => a == b,
            _ => false,
        }
    }
}

/// A country as its ISO 3166-1 alpha-2 code, upper case ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country(pub [u8; 2]);

impl Country {
    /// Reads two ASCII letters, in either case.
    pub fn new(text: &str) -> Option<Self> {
        let code: [u8; 2] = text.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_alphabetic).then(|| Self(code.map(|b| b.to_ascii_uppercase())))
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("??")
    }
}

/// Which countries a service may be used from (ruling 16).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct GeoRules {
    /// When not empty, only these; an unknown country is then denied. Sorted.
    pub allow: Box<[Country]>,
    /// Not these. Sorted.
    pub deny: Box<[Country]>,
}

impl GeoRules {
    /// Whether clients in `country` (`None`: unknown) may use the service.
    pub fn is_allowed(&self, country: Option<Country>) -> bool {
        match country {
            Some(country) => {
                !self.deny.contains(&country) && (self.allow.is_empty() || self.allow.contains(&country))
            }
            None => self.allow.is_empty(),
        }
    }
}

/// A way through the CDN that a content-steering player can be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pathway {
    /// `[A-Za-z0-9._-]+`, unique in the service.
    pub id: Box<str>,
    /// What it leads to.
    #[serde(flatten)]
    pub target: PathwayTarget,
    /// The pathway that playlists name and that this one is made of by another host; `None`: as the service
    /// says. Not its own id.
    pub clone_of: Option<Box<str>>,
}

/// What a pathway leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathwayTarget {
    /// The clusters of a class.
    Class(Class),
    /// One cluster, by name.
    Cluster(Box<str>),
    /// Several clusters, each a name or a glob over names; at least one.
    Clusters(Box<[Box<str>]>),
    /// The appliance of this rank on a client's list, 1 to 16.
    Rank(u8),
    /// Another CDN, by host name.
    Alias(Box<str>),
}

/// A name that is steered, with its policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Lower case, without the final dot; may start with `*.`.
    pub name: Box<str>,
    /// Seconds an answer may be kept, 0 to 86400.
    pub ttl_s: u32,
    /// Appliances in a DNS answer, 1 to 16.
    pub answers_max: u8,
    /// What an appliance's and its cluster's tags must cover. Sorted, without duplicates.
    pub tags: Box<[Box<str>]>,
    /// Clusters at the end of every list, in order.
    pub default_clusters: Box<[ClusterId]>,
    /// Host name of another CDN when nobody is usable.
    pub fallback_alias: Option<Box<str>>,
    /// Host name for clients that geo rules deny.
    pub denied_alias: Option<Box<str>>,
    /// Whether families move apart.
    pub families: Families,
    /// What requests are spread by.
    pub content_key: ContentKey,
    /// Countries.
    pub geo: GeoRules,
    /// `http` or `https` in redirects; `None` follows the request.
    pub scheme: Option<Scheme>,
    /// Port in redirects; `None` is the scheme's.
    pub port: Option<u16>,
    /// What becomes of requests that come without TLS.
    pub plain_http: PlainHttp,
    /// Seconds that browsers are to come by TLS only (RFC 6797), told over TLS; `None`: not told.
    pub hsts_s: Option<u32>,
    /// Methods that are redirected, upper case; empty: all, and 307 for those that may have a body.
    pub methods: Box<[Box<str>]>,
    /// Content-steering pathways; empty: one a cluster.
    pub pathways: Box<[Pathway]>,
    /// The pathway that playlists name; all others are made of it by another host. `None`: they name all.
    pub clone_base: Option<Box<str>>,
    /// What its HTTPS record says (RFC 9460); `None`: it has none of its own.
    pub https: Option<Binding>,
    /// The same as an SVCB record, for clients of other protocols.
    pub svcb: Option<Binding>,
    /// Health-check parameters for whoever checks, kept as they came (JSON text); empty when absent.
    pub health_check: Box<str>,
}

/// What is known of a resolver that does not say for whom it asks: where its clients are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    /// The addresses it asks from.
    pub prefix: Prefix,
    /// Networks of its clients, the one with the most of them first; at least one.
    pub clients: Box<[Prefix]>,
}

/// Resolvers by their addresses; the longest prefix says it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Resolvers {
    all: Vec<Resolver>,
    by_prefix: FxHashMap<Prefix, u32>,
    /// Lengths that occur, the longest first, by family: a few.
    lens: [Vec<u8>; 2],
}

impl Resolvers {
    /// Sorts and freezes `all`, no two of which have one prefix.
    fn build(mut all: Vec<Resolver>) -> Self {
        all.sort_by_key(|resolver| resolver.prefix);
        let mut lens = [Family::V4, Family::V6].map(|family| {
            let of_family = all.iter().filter(|resolver| resolver.prefix.family() == family);
            of_family.map(|resolver| resolver.prefix.len()).collect::<Vec<_>>()
        });
        for lens in &mut lens {
            lens.sort_unstable_by(|a, b| b.cmp(a));
            lens.dedup();
        }
        let by_prefix = (0..).zip(&all).map(|(at, resolver)| (resolver.prefix, at)).collect();
        Self { all, by_prefix, lens }
    }

    /// What is known of the one at `addr`.
    fn find(&self, addr: IpAddr) -> Option<&Resolver> {
        let lens = &self.lens[usize::from(addr.is_ipv6())];
        let found = lens.iter().find_map(|&len| self.by_prefix.get(&Prefix::around(addr, len)))?;
        self.all.get(*found as usize)
    }
}

/// A service's HTTPS or SVCB record (RFC 9460): of priority 1, for the name itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// ALPN protocol ids, each of 1 to 255 octets of ASCII; empty: what the scheme implies.
    pub alpn: Box<[Box<str>]>,
    /// Whether addresses are hinted at: those of the answers to A and AAAA.
    pub hints: bool,
}

/// What becomes of a request that comes without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlainHttp {
    /// It is answered as any.
    #[default]
    Serve,
    /// It is sent to the same URL over TLS.
    Redirect,
    /// It is refused.
    Refuse,
}

/// URL scheme of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Everything of a table but its routes. Immutable.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fleet {
    sites: Vec<Site>,
    clusters: Vec<Cluster>,
    appliances: Vec<Appliance>,
    services: Vec<Service>,
    /// The appliances' addresses once more, close together for the decision.
    ipv4: Box<[Option<Ipv4Addr>]>,
    ipv6: Box<[Option<Ipv6Addr>]>,
    site_by_code: FxHashMap<Box<str>, SiteId>,
    cluster_by_name: FxHashMap<Box<str>, ClusterId>,
    appliance_by_name: FxHashMap<Box<str>, ApplianceId>,
    service_by_name: FxHashMap<Box<str>, ServiceId>,
    resolvers: Resolvers,
}

/// A fleet's parts in any order, references by index into these arrays.
#[derive(Debug, Clone, Default)]
pub struct FleetParts {
    /// Sites.
    pub sites: Vec<Site>,
    /// Clusters; `site` indexes `sites`; `appliances` is ignored.
    pub clusters: Vec<Cluster>,
    /// Appliances; `cluster` indexes `clusters`.
    pub appliances: Vec<Appliance>,
    /// Services; `default_clusters` index `clusters`.
    pub services: Vec<Service>,
    /// Resolvers, each prefix once.
    pub resolvers: Vec<Resolver>,
}

impl Fleet {
    /// Sorts `parts` by name and freezes them. Who calls has checked that names are unique and that
    /// every reference is inside its array.
    pub fn build(parts: FleetParts) -> Self {
        let (sites, site_at) = sorted(parts.sites, |a, b| a.code.cmp(&b.code));
        let (mut clusters, cluster_at) = sorted(parts.clusters, |a, b| a.name.cmp(&b.name));
        for cluster in &mut clusters {
            cluster.site = SiteId::at(site_at[cluster.site.index()]);
        }
        let mut appliances = parts.appliances;
        for appliance in &mut appliances {
            appliance.cluster = ClusterId::at(cluster_at[appliance.cluster.index()]);
        }
        appliances.sort_by(|a, b| (a.cluster, &a.name).cmp(&(b.cluster, &b.name)));
        let mut next = 0;
        for (index, cluster) in clusters.iter_mut().enumerate() {
            let start = next;
            while next < appliances.len() && appliances[next].cluster.index() == index {
                next += 1;
            }
            cluster.appliances = start as u32..next as u32;
        }
        let (mut services, _) = sorted(parts.services, |a, b| a.name.cmp(&b.name));
        for service in &mut services {
            for id in &mut service.default_clusters {
                *id = ClusterId::at(cluster_at[id.index()]);
            }
        }
        Self {
            site_by_code: ids_by_name(sites.iter().map(|site| &site.code), SiteId::at),
            cluster_by_name: ids_by_name(clusters.iter().map(|cluster| &cluster.name), ClusterId::at),
            appliance_by_name: ids_by_name(
                appliances.iter().map(|appliance| &appliance.name),
                ApplianceId::at,
            ),
            service_by_name: ids_by_name(services.iter().map(|service| &service.name), ServiceId::at),
            ipv4: appliances.iter().map(|appliance| appliance.ipv4).collect(),
            ipv6: appliances.iter().map(|appliance| appliance.ipv6).collect(),
            sites,
            clusters,
            appliances,
            services,
            resolvers: Resolvers::build(parts.resolvers),
        }
    }

    /// All resolvers, by prefix.
    pub fn resolvers(&self) -> &[Resolver] {
        &self.resolvers.all
    }

    /// What is known of the resolver at `addr`.
    pub fn resolver_at(&self, addr: IpAddr) -> Option<&Resolver> {
        self.resolvers.find(addr)
    }

    /// All sites, by code.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// All clusters, by name.
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// All appliances, by cluster name, then name.
    pub fn appliances(&self) -> &[Appliance] {
        &self.appliances
    }

    /// All services, by name.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// One site.
    pub fn site(&self, id: SiteId) -> &Site {
        &self.sites[id.index()]
    }

    /// One cluster.
    pub fn cluster(&self, id: ClusterId) -> &Cluster {
        &self.clusters[id.index()]
    }

    /// One appliance.
    pub fn appliance(&self, id: ApplianceId) -> &Appliance {
        &self.appliances[id.index()]
    }

    /// The address of an appliance in `family`.
    #[inline]
    pub fn address(&self, id: ApplianceId, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.ipv4[id.index()].map(IpAddr::V4),
            Family::V6 => self.ipv6[id.index()].map(IpAddr::V6),
        }
    }

    /// One service.
    pub fn service(&self, id: ServiceId) -> &Service {
        &self.services[id.index()]
    }

    /// Ids of a cluster's appliances, in name order.
    pub fn appliances_of(&self, id: ClusterId) -> impl ExactSizeIterator<Item = ApplianceId> + use<> {
        self.cluster(id).appliances.clone().map(ApplianceId)
    }

    /// Ids of all clusters, in name order.
    pub fn cluster_ids(&self) -> impl ExactSizeIterator<Item = ClusterId> + use<> {
        (0..self.clusters.len() as u32).map(ClusterId)
    }

    /// Ids of all services, in name order.
    pub fn service_ids(&self) -> impl ExactSizeIterator<Item = ServiceId> + use<> {
        (0..self.services.len() as u16).map(ServiceId)
    }

    /// The site of this code.
    pub fn site_by_code(&self, code: &str) -> Option<SiteId> {
        self.site_by_code.get(code).copied()
    }

    /// The cluster of this name.
    pub fn cluster_by_name(&self, name: &str) -> Option<ClusterId> {
        self.cluster_by_name.get(name).copied()
    }

    /// The appliance of this name.
    pub fn appliance_by_name(&self, name: &str) -> Option<ApplianceId> {
        self.appliance_by_name.get(name).copied()
    }

    /// The service written exactly so (a wildcard by its `*.` form); lower case.
    pub fn service_by_name(&self, name: &str) -> Option<ServiceId> {
        self.service_by_name.get(name).copied()
    }

    /// The service that a host name asks for: the exact name, else the longest wildcard over it.
    /// `host` is lower case without the final dot.
    pub fn service_of_host(&self, host: &str) -> Option<ServiceId> {
        if let Some(id) = self.service_by_name(host) {
            return (!host.starts_with("*.")).then_some(id);
        }
        let mut rest = host;
        let mut wildcard = String::with_capacity(host.len() + 2);
        while let Some((_, parent)) = rest.split_once('.') {
            wildcard.clear();
            wildcard.push_str("*.");
            wildcard.push_str(parent);
            if let Some(id) = self.service_by_name(&wildcard) {
                return Some(id);
            }
            rest = parent;
        }
        None
    }
}

/// For each name its id.
fn ids_by_name<'a, Id>(
    names: impl Iterator<Item = &'a Box<str>>,
    at: impl Fn(usize) -> Id,
) -> FxHashMap<Box<str>, Id> {
    names.enumerate().map(|(index, name)| (name.clone(), at(index))).collect()
}

/// Sorts `items`; also says where each old index went.
fn sorted<T>(items: Vec<T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> (Vec<T>, Vec<usize>) {
    let mut tagged: Vec<(usize, T)> = items.into_iter().enumerate().collect();
    tagged.sort_by(|a, b| order(&a.1, &b.1));
    let mut moved = vec![0; tagged.len()];
    for (new, (old, _)) in tagged.iter().enumerate() {
        moved[*old] = new;
    }
    (tagged.into_iter().map(|(_, item)| item).collect(), moved)
}
