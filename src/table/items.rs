//! The lines of a fleet, one by one: JSON objects in, sites, clusters, appliances and services out.
//!
//! References to other lines stay names here, because lines come in any order; [`super::draft`]
//! resolves them. Every default of the table format is a constant of this file. Layer 3.

use super::findings::Findings;
use super::json::{Fields, Json};
use super::names;
use super::pending;
use crate::fleet::{
    Appliance, Binding, Class, ClusterId, ContentKey, Country, Families, GeoRules, Pathway, PathwayTarget,
    PlainHttp, Resolver, Scheme, Serves, Service, Site, Status,
};
use crate::prefix::Prefix;
use rustc_hash::FxHashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// `ttl_s` of a service that does not say.
pub const TTL_S: u32 = 30;
/// Largest `ttl_s`, a day.
pub const TTL_S_MAX: u32 = 86_400;
/// `answers_max` of a service that does not say.
pub const ANSWERS: u8 = 2;
/// Largest `answers_max`.
pub const ANSWERS_MAX: u8 = 16;
/// `capacity_mbps` of an appliance that does not say.
pub const CAPACITY_MBPS: u32 = 10_000;
/// Largest compiled content-key expression, in octets of memory.
const REGEX_SIZE_MAX: usize = 1 << 20;

/// Classes by name, best first.
pub(super) const CLASSES: [(&str, Class); 4] = [
    ("embedded", Class::Embedded),
    ("private_peering", Class::PrivatePeering),
    ("public_peering", Class::PublicPeering),
    ("transit", Class::Transit),
];
/// `serves` by name.
pub(super) const SERVES: [(&str, Serves); 2] = [("routed", Serves::Routed), ("any", Serves::Any)];
/// `status` by name.
pub(super) const STATUSES: [(&str, Status); 3] =
    [("active", Status::Active), ("draining", Status::Draining), ("disabled", Status::Disabled)];
/// `families` by name.
pub(super) const FAMILIES: [(&str, Families); 2] =
    [("independent", Families::Independent), ("together", Families::Together)];
/// `scheme` by name.
pub(super) const SCHEMES: [(&str, Scheme); 2] = [("http", Scheme::Http), ("https", Scheme::Https)];

/// `plain_http` by name.
pub(super) const PLAIN_HTTP: [(&str, PlainHttp); 3] =
    [("serve", PlainHttp::Serve), ("redirect", PlainHttp::Redirect), ("refuse", PlainHttp::Refuse)];
/// Longest time that browsers can be told to come by TLS only, seconds: two years, as preload lists ask for.
const HSTS_S_MAX: u32 = 63_072_000;

/// The name that `choices` has for `choice`.
pub(super) fn name_of<T: Copy + PartialEq>(choices: &[(&'static str, T)], choice: T) -> &'static str {
    choices.iter().find(|(_, each)| *each == choice).map_or("", |(name, _)| *name)
}

/// A cluster whose site is still a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ClusterItem {
    /// Unique name.
    pub(super) name: Box<str>,
    /// Code of its site.
    pub(super) site: Box<str>,
    /// How it is connected.
    pub(super) class: Class,
    /// Whom it may serve, the class's default filled in.
    pub(super) serves: Serves,
    /// Sorted, without duplicates.
    pub(super) tags: Box<[Box<str>]>,
}

/// An appliance whose cluster is still a name; `appliance.cluster` means nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ApplianceItem {
    /// All of it but the cluster.
    pub(super) appliance: Appliance,
    /// Name of its cluster.
    pub(super) cluster: Box<str>,
}

/// A service whose default clusters are still names; those inside `service` are empty.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ServiceItem {
    /// All of it but the default clusters.
    pub(super) service: Service,
    /// Names of its default clusters, in order.
    pub(super) default_clusters: Vec<Box<str>>,
}

/// The name under `key`, so that a bad line is still known by it.
fn name_at(json: &Json<'_>, key: &str, read: impl Fn(&str) -> Option<Box<str>>) -> Option<Box<str>> {
    let Json::Object(entries) = json else { return None };
    entries.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.as_text().and_then(read))
}

/// What a line made: the name it stands for, if that can be told, and the item, if all of it is good.
pub(super) struct Made<T> {
    /// Also of a bad line, so that what refers to it is not told as well.
    pub(super) name: Option<Box<str>>,
    /// `None`: the line is bad, and told.
    pub(super) item: Option<T>,
}

/// Reads an object with `read` and drops what it makes if any problem was found meanwhile.
fn made<'a, T>(
    out: &mut Findings,
    (line, kind): (u64, &str),
    json: Json<'a>,
    name: Option<Box<str>>,
    read: impl FnOnce(&mut Findings, &mut Fields<'a>) -> Option<T>,
) -> Made<T> {
    let before = out.count();
    let item = Fields::new(out, line, kind, json).and_then(|mut fields| {
        let item = read(out, &mut fields);
        fields.finish(out);
        item
    });
    Made { name, item: item.filter(|_| out.count() == before) }
}

/// Reads `{"code","lat","lon","name"}`.
pub(super) fn site(out: &mut Findings, line: u64, json: Json<'_>) -> Made<Site> {
    let name = name_at(&json, "code", names::plain);
    made(out, (line, "site"), json, name, |out, fields| {
        let code = fields.need_text(out, "code", names::PLAIN, names::plain);
        let lat = fields.need_number(out, "lat", -90.0..=90.0);
        let lon = fields.need_number(out, "lon", -180.0..=180.0);
        let name = fields.text(out, "name", names::NOTE, names::note).unwrap_or_default();
        Some(Site { code: code?, lat: lat?, lon: lon?, name })
    })
}

/// Reads `{"name","site","class","serves","tags"}`.
pub(super) fn cluster(out: &mut Findings, line: u64, json: Json<'_>) -> Made<ClusterItem> {
    let name = name_at(&json, "name", names::plain);
    made(out, (line, "cluster"), json, name, |out, fields| {
        let name = fields.need_text(out, "name", names::PLAIN, names::plain);
        let site = fields.need_text(out, "site", "the code of a site", names::plain);
        let before = out.count();
        let class = fields.choice(out, "class", &CLASSES);
        if class.is_none() && out.count() == before {
            fields.problem(
                out,
                "class",
                "nothing",
                "one of embedded, private_peering, public_peering, transit",
            );
        }
        let serves = fields.choice(out, "serves", &SERVES);
        let tags = tags(out, fields);
        let class = class?;
        Some(ClusterItem {
            name: name?,
            site: site?,
            class,
            serves: serves.unwrap_or_else(|| Serves::default_of(class)),
            tags,
        })
    })
}

/// The list `tags`, sorted, duplicates dropped.
fn tags(out: &mut Findings, fields: &mut Fields<'_>) -> Box<[Box<str>]> {
    let mut tags = fields.texts(out, "tags", names::PLAIN, names::plain);
    tags.sort();
    tags.dedup();
    tags.into()
}

/// An IPv4 address that one machine can have.
fn unicast_v4(text: &str) -> Option<Ipv4Addr> {
    let addr: Ipv4Addr = text.parse().ok()?;
    (!addr.is_unspecified() && !addr.is_multicast() && !addr.is_broadcast()).then_some(addr)
}

/// An IPv6 address that one machine can have; an IPv4 address in disguise is none.
fn unicast_v6(text: &str) -> Option<Ipv6Addr> {
    let addr: Ipv6Addr = text.parse().ok()?;
    (!addr.is_unspecified() && !addr.is_multicast() && addr.to_ipv4_mapped().is_none()).then_some(addr)
}

/// Reads an appliance; it needs an address of either family.
pub(super) fn appliance(out: &mut Findings, line: u64, json: Json<'_>) -> Made<ApplianceItem> {
    let name = name_at(&json, "name", names::plain);
    made(out, (line, "appliance"), json, name, |out, fields| {
        let name = fields.need_text(out, "name", names::PLAIN, names::plain);
        let cluster = fields.need_text(out, "cluster", "the name of a cluster", names::plain);
        let before = out.count();
        let ipv4 = fields.text(out, "ipv4", "the IPv4 address of one machine", unicast_v4);
        let ipv6 = fields.text(out, "ipv6", "the IPv6 address of one machine", unicast_v6);
        if ipv4.is_none() && ipv6.is_none() && out.count() == before {
            fields.problem(out, "ipv4", "nothing", "an address under `ipv4`, `ipv6` or both");
        }
        let hostname = fields.text(out, "hostname", names::HOST, names::host).unwrap_or_default();
        let capacity = fields.count(out, "capacity_mbps", 0..=u64::from(u32::MAX));
        let status = fields.choice(out, "status", &STATUSES).unwrap_or_default();
        let tags = tags(out, fields);
        let appliance = Appliance {
            name: name?,
            cluster: ClusterId::at(0),
            ipv4,
            ipv6,
            hostname,
            capacity_mbps: capacity.map_or(CAPACITY_MBPS, |mbps| mbps as u32),
            status,
            tags,
        };
        Some(ApplianceItem { appliance, cluster: cluster? })
    })
}

/// Most networks of a resolver's clients.
const CLIENTS_MAX: usize = 16;

/// Reads `{"prefix","clients"}`.
pub(super) fn resolver(out: &mut Findings, line: u64, json: Json<'_>) -> Made<Resolver> {
    let name = name_at(&json, "prefix", |text| Some(text.parse::<Prefix>().ok()?.to_string().into()));
    made(out, (line, "resolver"), json, name, |out, fields| {
        let value = fields.need(out, "prefix", pending::PREFIX);
        let prefix = value.and_then(|value| pending::prefix(out, fields, "prefix", &value));
        let clients = fields.texts(out, "clients", pending::PREFIX, |text| text.parse::<Prefix>().ok());
        if clients.is_empty() || clients.len() > CLIENTS_MAX {
            let found = format!("{} prefixes", clients.len());
            fields.problem(out, "clients", found, format!("1 to {CLIENTS_MAX} prefixes"));
        }
        Some(Resolver { prefix: prefix?, clients: clients.into() })
    })
}

/// Content-key expressions compiled so far; services often share one.
pub(super) type Expressions = FxHashMap<Box<str>, regex::Regex>;

/// Reads a service with its policy.
pub(super) fn service(
    out: &mut Findings,
    line: u64,
    json: Json<'_>,
    expressions: &mut Expressions,
) -> Made<ServiceItem> {
    let name = name_at(&json, "name", names::service);
    made(out, (line, "service"), json, name, |out, fields| {
        let name = fields.need_text(out, "name", names::SERVICE, names::service);
        let ttl_s = fields.count(out, "ttl_s", 0..=u64::from(TTL_S_MAX));
        let answers_max = fields.count(out, "answers_max", 1..=u64::from(ANSWERS_MAX));
        let tags = tags(out, fields);
        let default_clusters = fields.texts(out, "default_clusters", "the name of a cluster", names::plain);
        let fallback_alias = fields.text(out, "fallback_alias", names::HOST, names::host);
        let denied_alias = fields.text(out, "denied_alias", names::HOST, names::host);
        let families = fields.choice(out, "families", &FAMILIES).unwrap_or_default();
        let content_key = content_key(out, line, fields, expressions);
        let geo = geo(out, line, fields);
        let scheme = fields.choice(out, "scheme", &SCHEMES);
        let port = fields.count(out, "port", 1..=u64::from(u16::MAX)).map(|port| port as u16);
        let plain_http = fields.choice(out, "plain_http", &PLAIN_HTTP).unwrap_or_default();
        let hsts_s = fields.count(out, "hsts_s", 0..=u64::from(HSTS_S_MAX)).map(|seconds| seconds as u32);
        let methods = methods(out, fields);
        let pathways = pathways(out, line, fields);
        let clone_base = fields.text(out, "clone_base", PATHWAY_ID, pathway_id);
        let https = binding(out, line, fields, "https");
        let svcb = binding(out, line, fields, "svcb");
        let health_check = health_check(out, fields);
        let service = Service {
            name: name?,
            ttl_s: ttl_s.map_or(TTL_S, |ttl| ttl as u32),
            answers_max: answers_max.map_or(ANSWERS, |count| count as u8),
            tags,
            default_clusters: Box::default(),
            fallback_alias,
            denied_alias,
            families,
            content_key,
            geo,
            scheme,
            port,
            plain_http,
            hsts_s,
            methods,
            pathways,
            clone_base,
            https,
            svcb,
            health_check,
        };
        Some(ServiceItem { service, default_clusters })
    })
}

/// `{"path_regex":"…"}` or `{"query":["id"]}`; absent: the path.
fn content_key(
    out: &mut Findings,
    line: u64,
    fields: &mut Fields<'_>,
    expressions: &mut Expressions,
) -> ContentKey {
    let Some(json) = fields.take("content_key") else { return ContentKey::Path };
    let Some(mut inner) = Fields::new(out, line, fields.path("content_key"), json) else {
        return ContentKey::Path;
    };
    let regex = inner.take("path_regex");
    let query = inner.list(out, "query");
    let is_one = regex.is_some() == query.is_empty();
    let key = match regex {
        _ if !is_one => {
            let found = if query.is_empty() { "neither" } else { "both" };
            fields.problem(out, "content_key", found, "either `path_regex` or a `query` of one name or more");
            ContentKey::Path
        }
        None => {
            let mut names = Vec::new();
            for (index, item) in query.iter().enumerate() {
                let at = format!("query[{index}]");
                let read =
                    |item: &Json<'_>| item.as_text().filter(|text| !text.is_empty()).and_then(names::note);
                names.extend(inner.convert(out, &at, item, "the name of a query parameter", read));
            }
            ContentKey::Query(names.into())
        }
        Some(regex) => {
            path_regex(out, &inner, &regex, expressions).map_or(ContentKey::Path, ContentKey::PathRegex)
        }
    };
    inner.finish(out);
    key
}

/// Compiles the expression of a content key. One without captures would give every path one key.
fn path_regex(
    out: &mut Findings,
    fields: &Fields<'_>,
    json: &Json<'_>,
    expressions: &mut Expressions,
) -> Option<regex::Regex> {
    let Some(text) = json.as_text() else {
        fields.problem(out, "path_regex", json, "a regular expression");
        return None;
    };
    if let Some(regex) = expressions.get(text) {
        return Some(regex.clone());
    }
    match regex::RegexBuilder::new(text).size_limit(REGEX_SIZE_MAX).build() {
        Ok(regex) if regex.captures_len() > 1 => {
            expressions.insert(text.into(), regex.clone());
            return Some(regex);
        }
        Ok(_) => fields.problem(out, "path_regex", json, "a capture, as in ^/v/([^/]+)/"),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            fields.problem(out, "path_regex", json, format!("a regular expression ({reason})"));
        }
    }
    None
}

/// `{"allow":["NL"],"deny":[]}`, sorted.
fn geo(out: &mut Findings, line: u64, fields: &mut Fields<'_>) -> GeoRules {
    let Some(json) = fields.take("geo") else { return GeoRules::default() };
    let Some(mut inner) = Fields::new(out, line, fields.path("geo"), json) else {
        return GeoRules::default();
    };
    let mut countries = |key| {
        let mut list = inner.texts(out, key, "a country of two letters (ISO 3166-1)", Country::new);
        list.sort();
        list.dedup();
        list.into_boxed_slice()
    };
    let rules = GeoRules { allow: countries("allow"), deny: countries("deny") };
    inner.finish(out);
    rules
}

/// Most ALPN protocol ids of a service.
const ALPN_MAX: usize = 8;

/// `{"alpn":["h2"],"hints":true}`, at `key`.
fn binding(out: &mut Findings, line: u64, fields: &mut Fields<'_>, key: &'static str) -> Option<Binding> {
    let json = fields.take(key)?;
    let mut inner = Fields::new(out, line, fields.path(key), json)?;
    let read = |text: &str| {
        let is_id = (1..=255).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_graphic());
        is_id.then(|| Box::from(text))
    };
    let alpn = inner.texts(out, "alpn", "an ALPN protocol id, as h2", read);
    if alpn.len() > ALPN_MAX {
        inner.problem(out, "alpn", format!("{} ids", alpn.len()), format!("at most {ALPN_MAX} ids"));
    }
    let hints = inner.take("hints").and_then(|value| {
        inner.convert(out, "hints", &value, "true or false", |value| match value {
            Json::Bool(hints) => Some(*hints),
            _ => None,
        })
    });
    inner.finish(out);
    Some(Binding { alpn: alpn.into(), hints: hints.unwrap_or(true) })
}

/// Upper-case HTTP methods, sorted.
fn methods(out: &mut Findings, fields: &mut Fields<'_>) -> Box<[Box<str>]> {
    let read = |text: &str| {
        let is_method =
            (1..=24).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        is_method.then(|| Box::from(text))
    };
    let mut methods = fields.texts(out, "methods", "an HTTP method, as GET", read);
    methods.sort();
    methods.dedup();
    methods.into()
}

/// Content-steering pathways, in the order written; ids are unique.
fn pathways(out: &mut Findings, line: u64, fields: &mut Fields<'_>) -> Box<[Pathway]> {
    let mut pathways: Vec<Pathway> = Vec::new();
    for (index, json) in fields.list(out, "pathways").into_iter().enumerate() {
        let path = fields.path(&format!("pathways[{index}]"));
        let Some(mut inner) = Fields::new(out, line, path, json) else { continue };
        let id = inner.need_text(out, "id", PATHWAY_ID, pathway_id);
        let target = pathway_target(out, fields, &mut inner, index);
        let clone_of = inner.text(out, "clone_of", PATHWAY_ID, pathway_id);
        inner.finish(out);
        let (Some(id), Some(target)) = (id, target) else { continue };
        if pathways.iter().any(|pathway| pathway.id == id) {
            fields.problem(out, &format!("pathways[{index}].id"), format!("`{id}` again"), "each id once");
        }
        if clone_of.as_ref() == Some(&id) {
            let key = format!("pathways[{index}].clone_of");
            fields.problem(out, &key, format!("\"{id}\""), "the id of another pathway");
        }
        pathways.push(Pathway { id, target, clone_of });
    }
    pathways.into()
}

/// What [`pathway_id`] accepts, for problems.
const PATHWAY_ID: &str = "an id of letters, digits, `.`, `-` and `_`";

/// An id as content steering allows it.
fn pathway_id(text: &str) -> Option<Box<str>> {
    let is_id = (1..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    is_id.then(|| text.into())
}

/// Exactly one of `class`, `cluster`, `clusters`, `rank` and `alias`.
fn pathway_target(
    out: &mut Findings,
    service: &Fields<'_>,
    fields: &mut Fields<'_>,
    index: usize,
) -> Option<PathwayTarget> {
    let before = out.count();
    let class = fields.choice(out, "class", &CLASSES).map(PathwayTarget::Class);
    let cluster =
        fields.text(out, "cluster", "the name of a cluster", names::plain).map(PathwayTarget::Cluster);
    let clusters = fields.texts(out, "clusters", "the name of a cluster, or a glob as fra*", names::glob);
    let clusters = (!clusters.is_empty()).then(|| PathwayTarget::Clusters(clusters.into()));
    let rank =
        fields.count(out, "rank", 1..=u64::from(ANSWERS_MAX)).map(|rank| PathwayTarget::Rank(rank as u8));
    let alias = fields.text(out, "alias", names::HOST, names::host).map(PathwayTarget::Alias);
    let mut targets: Vec<_> = [class, cluster, clusters, rank, alias].into_iter().flatten().collect();
    if targets.len() != 1 && out.count() == before {
        let found = format!("{} targets", targets.len());
        let expected = "one of `class`, `cluster`, `clusters`, `rank` and `alias`";
        service.problem(out, &format!("pathways[{index}]"), found, expected);
    }
    targets.pop()
}

/// The object `health_check` as compact JSON, keys sorted.
fn health_check(out: &mut Findings, fields: &mut Fields<'_>) -> Box<str> {
    let Some(json) = fields.take("health_check") else { return Box::default() };
    if !matches!(json, Json::Object(_)) {
        fields.problem(out, "health_check", json, "an object");
        return Box::default();
    }
    let mut text = String::new();
    json.write(&mut text);
    text.into()
}
