//! A table as the model holds it: read line by line, references resolved, nothing compiled.

use super::{address::Net, mistakes::Mistake, rank, scope::View};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// A GeoIP network. Networks may nest; the longest wins.
#[derive(Debug, Clone, PartialEq)]
pub struct GeoNet {
    /// As `20.0.0.0/8`.
    pub prefix: String,
    /// ISO 3166 code.
    pub country: Option<String>,
    /// Degrees north and east.
    pub point: Option<(f64, f64)>,
}

/// What the configuration adds to the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// `[health] fail_open_below`.
    pub fail_open_below: f64,
    /// `[geoip] candidates`.
    pub geo_candidates: usize,
    /// `[dns] spread_v4`.
    pub spread_v4: u8,
    /// `[dns] spread_v6`.
    pub spread_v6: u8,
    /// Whether the whole fleet's health is being ignored.
    pub fleet_fail_open: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self { fail_open_below: 0.5, geo_candidates: 8, spread_v4: 20, spread_v6: 44, fleet_fail_open: false }
    }
}

/// What health says of an appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Usable.
    Up,
    /// Finishing what it has.
    Draining,
    /// Not usable.
    Down,
}

/// Appliance name to state and shed basis points (0 to 10,000); who is not in it is up and sheds none.
pub type Health = HashMap<String, (State, u16)>;

/// One cache machine.
#[derive(Debug)]
pub struct Appliance {
    /// Unique name.
    pub name: String,
    /// Its own tags.
    pub tags: Vec<String>,
    /// Whether it has an IPv4 address.
    pub v4: bool,
    /// Whether it has an IPv6 address.
    pub v6: bool,
    /// Its weight.
    pub capacity_mbps: u64,
    /// `active`, `draining` or `disabled`.
    pub status: String,
}

impl Appliance {
    /// Whether it has an address of the family.
    pub fn has(&self, v6: bool) -> bool {
        if v6 { self.v6 } else { self.v4 }
    }
}

/// A cluster with its site's place and its appliances.
#[derive(Debug)]
pub struct Cluster {
    /// Unique name.
    pub name: String,
    /// Its site, degrees north and east.
    pub point: (f64, f64),
    /// 0 embedded, 1 private peering, 2 public peering, 3 transit.
    pub class: usize,
    /// Whether geography may choose it.
    pub serves_any: bool,
    /// Tags of all its appliances.
    pub tags: Vec<String>,
    /// Its appliances.
    pub appliances: Vec<Appliance>,
}

/// One candidate of a route.
#[derive(Debug)]
pub struct Via {
    /// Index of the cluster.
    pub cluster: usize,
    /// Higher is better.
    pub local_pref: u64,
    /// Lower is better.
    pub as_path_len: u64,
    /// 0 IGP, 1 EGP, 2 incomplete.
    pub origin: usize,
    /// Lower is better.
    pub med: u64,
}

/// A prefix and who announced it.
#[derive(Debug)]
pub struct Route {
    /// The prefix.
    pub net: Net,
    /// Its candidates, as written.
    pub via: Vec<Via>,
}

/// What clients ask for.
#[derive(Debug)]
pub struct Service {
    /// As in the table, a leading `*.` included.
    pub name: String,
    /// What an appliance must have.
    pub tags: Vec<String>,
    /// Appliances in a DNS answer.
    pub answers_max: usize,
    /// Whether families go together.
    pub together: bool,
    /// Countries served; empty: all.
    pub allow: Vec<String>,
    /// Countries not served.
    pub deny: Vec<String>,
    /// Clusters of last resort, by index.
    pub defaults: Vec<usize>,
    /// Another CDN.
    pub fallback: Option<String>,
}

/// A GeoIP network and how far it is from every cluster.
#[derive(Debug)]
pub struct Geo {
    /// The network.
    pub net: Net,
    /// ISO 3166 code.
    pub country: Option<String>,
    /// Kilometres to each cluster, in order of index; `None` without a point.
    pub km: Option<Vec<u16>>,
}

/// A table with GeoIP and parameters.
#[derive(Debug)]
pub struct World {
    /// All clusters, by name.
    pub clusters: Vec<Cluster>,
    /// All services.
    pub services: Vec<Service>,
    /// All routes.
    pub routes: Vec<Route>,
    /// All GeoIP networks.
    pub geo: Vec<Geo>,
    /// Settings.
    pub params: Params,
    /// Identities computed so far, by service and mistake.
    pub views: Mutex<HashMap<(usize, Mistake), Arc<View>>>,
}

/// A string member, which must be there.
fn text(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_else(|| panic!("{key} in {object}")).to_owned()
}

/// A list of strings, empty when absent.
fn texts(object: &Value, key: &str) -> Vec<String> {
    object[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Where `name` stands in a list of words.
fn rank_of(words: &[&str], name: &str) -> usize {
    words.iter().position(|w| *w == name).unwrap_or_else(|| panic!("{name} is none of {words:?}"))
}

impl World {
    /// Reads a full table (assumed valid), GeoIP networks and settings.
    pub fn parse(table_ndjson: &str, geo: &[GeoNet], params: &Params) -> Self {
        let mut lines: Vec<Value> = Vec::new();
        for line in table_ndjson.lines().filter(|l| !l.trim().is_empty()) {
            let line = serde_json::from_str(line).expect("a line of JSON");
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let of = |kind: &'static str| lines.iter().filter_map(move |l| l.get(kind));
        let mut clusters: Vec<Cluster> =
            of("cluster").map(|c| read_cluster(c, of("site"), of("appliance"))).collect();
        clusters.sort_by(|a, b| a.name.cmp(&b.name));
        let index = |name: &str| {
            clusters.iter().position(|c| c.name == name).unwrap_or_else(|| panic!("no cluster {name}"))
        };
        let services = of("service").map(|s| read_service(s, index)).collect();
        let routes = of("route").map(|r| read_route(r, index)).collect();
        let geo = geo
            .iter()
            .map(|g| Geo {
                net: Net::parse(&g.prefix),
                country: g.country.clone(),
                km: g.point.map(|p| clusters.iter().map(|c| rank::km(p, c.point)).collect()),
            })
            .collect();
        Self { clusters, services, routes, geo, params: params.clone(), views: Mutex::default() }
    }

    /// The service called `name`, else the longest wildcard that fits it.
    pub fn service(&self, name: &str) -> usize {
        let fits =
            |s: &&Service| s.name == name || s.name.strip_prefix('*').is_some_and(|end| name.ends_with(end));
        let best = self.services.iter().filter(fits).max_by_key(|s| (s.name == name, s.name.len()));
        let best = best.unwrap_or_else(|| panic!("no service {name}"));
        self.services.iter().position(|s| s.name == best.name).expect("it came from the list")
    }
}

/// A cluster line with what refers to it and what it refers to.
fn read_cluster<'a>(
    line: &Value,
    mut sites: impl Iterator<Item = &'a Value>,
    appliances: impl Iterator<Item = &'a Value>,
) -> Cluster {
    let name = text(line, "name");
    let site = sites.find(|s| s["code"] == line["site"]).expect("the cluster's site");
    let class = rank_of(&["embedded", "private_peering", "public_peering", "transit"], &text(line, "class"));
    let serves_any = match line["serves"].as_str() {
        Some(serves) => serves == "any",
        None => class != 0,
    };
    let own = appliances.filter(|a| a["cluster"] == *name);
    let appliances = own
        .map(|a| Appliance {
            name: text(a, "name"),
            tags: texts(a, "tags"),
            v4: a["ipv4"].is_string(),
            v6: a["ipv6"].is_string(),
            capacity_mbps: a["capacity_mbps"].as_u64().expect("capacity"),
            status: a["status"].as_str().unwrap_or("active").to_owned(),
        })
        .collect();
    let degrees = |key: &str| site[key].as_f64().expect("degrees");
    Cluster {
        point: (degrees("lat"), degrees("lon")),
        class,
        serves_any,
        tags: texts(line, "tags"),
        appliances,
        name,
    }
}

/// A service line.
fn read_service(line: &Value, index: impl Fn(&str) -> usize) -> Service {
    Service {
        name: text(line, "name"),
        tags: texts(line, "tags"),
        answers_max: line["answers_max"].as_u64().unwrap_or(2) as usize,
        together: line["families"] == "together",
        allow: texts(&line["geo"], "allow"),
        deny: texts(&line["geo"], "deny"),
        defaults: texts(line, "default_clusters").iter().map(|name| index(name)).collect(),
        fallback: line["fallback_alias"].as_str().map(str::to_owned),
    }
}

/// A route line.
fn read_route(line: &Value, index: impl Fn(&str) -> usize) -> Route {
    let read_via = |via: &Value| Via {
        cluster: index(&text(via, "cluster")),
        local_pref: via["local_pref"].as_u64().unwrap_or(100),
        as_path_len: via["as_path_len"].as_u64().unwrap_or(0),
        origin: rank_of(&["igp", "egp", "incomplete"], via["origin"].as_str().unwrap_or("igp")),
        med: via["med"].as_u64().unwrap_or(0),
    };
    let via = line["via"].as_array().expect("via").iter().map(read_via).collect();
    Route { net: Net::parse(&text(line, "prefix")), via }
}
