//! Why a client is steered as it is: the same [`steer_recorded`] with a recorder, put into words.
//!
//! The recorder says which clusters were passed over and why; what is added here is only what the
//! compiled table has forgotten because no decision needs it: through which prefix a cluster came
//! onto the list, how far away it is, and what BGP said of it.

use super::steer_recorded;
use super::{Choice, Key, Passed, Question, RANKED_MAX, Ranking, Recorder, Stage, Verdict, Want};
use crate::fleet::{Class, Cluster, Country, ServiceId};
use crate::geo::{self, Point};
use crate::metrics::Label as _;
use crate::prefix::{Bits, Block, Client, Family, special};
use crate::snapshot::{Counts, Found, Kind, Place, Snapshot};
use crate::table::{Candidate, Origin, RouteSet};
use serde::Serialize;
use std::net::IpAddr;

/// What is to be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask<'a> {
    /// The client, taken as the end user's own address.
    pub client: IpAddr,
    /// A service, or a host name under a wildcard service.
    pub service: &'a str,
    /// The content key of an HTTP request (already taken from its path); `None` asks as DNS does.
    pub key: Option<&'a [u8]>,
    /// A DNS answer of this family; `None` asks for the ranked list, the client's family first.
    pub family: Option<Family>,
}

/// No service of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no service of this name")]
pub struct UnknownService;

/// A decision in words. Serialised as `/v1/explain` and `steerd explain --json` print it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// As asked.
    pub client: IpAddr,
    /// The address that decided: the IPv4 client of a transition form, else the client itself.
    pub deciding_address: IpAddr,
    /// The service's name in the table.
    pub service: String,
    /// `A`, `AAAA` or `ranked`.
    pub asked: &'static str,
    /// The generation that decided.
    pub generation: u64,
    /// The epoch of its table.
    pub epoch: Option<u64>,
    /// Why the chosen cluster is on the list: `route`, `geo`, `default`; else `fallback` or `none`.
    #[serde(rename = "match")]
    pub matched: &'static str,
    /// The prefix of the route or the GeoIP network that put it there.
    pub prefix: Option<String>,
    /// How far the answer holds, in bits of the client's address as asked.
    pub scope_len: u8,
    /// Appliances, best first.
    pub chosen: Vec<String>,
    /// The cluster that serves.
    pub cluster: Option<String>,
    /// How health was read on the way: `healthy`, `shed_ignored`, `health_broken`, `draining`,
    /// `fail_open`; or why nobody serves.
    pub outcome: &'static str,
    /// The first on the list, when health moved the choice elsewhere.
    pub first_match: Option<FirstMatch>,
    /// Where a client goes when nobody serves.
    pub alias: Option<String>,
    /// Where GeoIP says the client is.
    pub location: Option<WhereReport>,
    /// As the source of an ECS query this client would decide nothing: its address is special.
    pub peer_decides: bool,
    /// What spreads the load: `service`, `service+client` or `content`.
    pub key: &'static str,
    /// The list in order.
    pub candidates: Vec<CandidateReport>,
}

/// The first cluster on a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirstMatch {
    /// `route`, `geo` or `default`.
    #[serde(rename = "match")]
    pub matched: &'static str,
    /// The prefix that put it there.
    pub prefix: Option<String>,
    /// Its name.
    pub cluster: String,
}

/// Where a client is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WhereReport {
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Degrees north.
    pub lat: Option<f64>,
    /// Degrees east.
    pub lon: Option<f64>,
    /// The GeoIP network.
    pub network: Option<String>,
}

/// One cluster of the list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CandidateReport {
    /// Its name.
    pub cluster: String,
    /// Its place on the list, from 1.
    pub rank: usize,
    /// `route`, `geo` or `default`.
    pub kind: Kind,
    /// Its class.
    pub class: Class,
    /// Its site's code.
    pub site: String,
    /// Whole kilometres from the client, where both places are known.
    pub distance_km: Option<u16>,
    /// The route's prefix, or the GeoIP network.
    pub prefix: Option<String>,
    /// What BGP said, of a route.
    pub route: Option<RouteReport>,
    /// Active appliances.
    pub active: u32,
    /// Those that are up.
    pub up: u32,
    /// Those that health calls draining.
    pub draining: u32,
    /// Whether it serves, and why or why not.
    pub why: String,
}

/// Attributes of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RouteReport {
    /// LOCAL_PREF.
    pub local_pref: u32,
    /// Length of AS_PATH.
    pub as_path_len: u32,
    /// ORIGIN.
    pub origin: Origin,
    /// MULTI_EXIT_DISC.
    pub med: u32,
}

/// Notes why clusters are passed over.
#[derive(Debug, Default)]
struct Notes {
    passed: Vec<(Place, Stage, Passed)>,
}

impl Recorder for Notes {
    fn passed(&mut self, place: Place, stage: Stage, why: Passed) {
        self.passed.push((place, stage, why));
    }
}

/// Explains a decision.
///
/// # Errors
/// When the service is not in the table.
pub fn explain(world: &Snapshot, ask: &Ask<'_>) -> Result<Explanation, UnknownService> {
    let host = ask.service.trim_end_matches('.').to_ascii_lowercase();
    let fleet = world.fleet();
    let service =
        fleet.service_by_name(&host).or_else(|| fleet.service_of_host(&host)).ok_or(UnknownService)?;
    let client = Client::of(ask.client);
    let question = Question {
        service,
        client,
        want: ask
            .family
            .map_or_else(|| Want::Ranked(client.family()), |family| Want::Family(family, u8::MAX)),
        key: ask.key.map_or(Key::Dns, Key::Content),
    };
    let (mut ranking, mut notes) = (Ranking::new(), Notes::default());
    let choice = steer_recorded(world, &question, &mut ranking, &mut notes);
    let found = world.view(service).find(client);
    Ok(Writer { world, service, client, choice, found, notes }.write(ask, &ranking))
}

/// Puts a decision into words.
struct Writer<'a> {
    world: &'a Snapshot,
    service: ServiceId,
    client: Client,
    choice: Choice,
    found: Found<'a>,
    notes: Notes,
}

impl Writer<'_> {
    fn write(&self, ask: &Ask<'_>, ranking: &Ranking) -> Explanation {
        let fleet = self.world.fleet();
        let service = fleet.service(self.service);
        let served = match self.choice.verdict {
            Verdict::Serve { place, .. } => Some(place),
            _ => None,
        };
        let first = self.found.list.first().filter(|first| Some(first.cluster) != served.map(|s| s.cluster));
        Explanation {
            client: ask.client,
            deciding_address: self.client.addr(),
            service: service.name.to_string(),
            asked: match ask.family {
                None => "ranked",
                Some(Family::V4) => "A",
                Some(Family::V6) => "AAAA",
            },
            generation: self.world.generation(),
            epoch: self.world.epoch().map(|epoch| epoch.get()),
            matched: self.choice.matched().name(),
            prefix: served.and_then(|place| self.prefix_of(place)),
            scope_len: self.choice.scope_len,
            chosen: self.chosen(ask, ranking),
            cluster: served.map(|place| fleet.cluster(place.cluster).name.to_string()),
            outcome: self.choice.verdict.name(),
            first_match: first.map(|place| FirstMatch {
                matched: kind_name(place.kind),
                prefix: self.prefix_of(place),
                cluster: fleet.cluster(place.cluster).name.to_string(),
            }),
            alias: match self.choice.verdict {
                Verdict::Fallback => service.fallback_alias.as_deref().map(str::to_owned),
                Verdict::Denied => service.denied_alias.as_deref().map(str::to_owned),
                _ => None,
            },
            location: self.location(),
            peer_decides: self.choice.peer_decides,
            key: self.key_name(ask),
            candidates: self.candidates(served),
        }
    }

    /// Whether the client is where no GeoIP counts.
    fn is_special(&self) -> bool {
        special::contains(self.client.addr())
    }

    /// Names of the chosen appliances: what a DNS answer holds, or the ranked list.
    fn chosen(&self, ask: &Ask<'_>, ranking: &Ranking) -> Vec<String> {
        let fleet = self.world.fleet();
        let max = match ask.family {
            Some(_) => usize::from(fleet.service(self.service).answers_max),
            None => RANKED_MAX,
        };
        ranking.appliances().iter().take(max).map(|&id| fleet.appliance(id).name.to_string()).collect()
    }

    /// What the load is spread by.
    fn key_name(&self, ask: &Ask<'_>) -> &'static str {
        let members = self.world.view(self.service).members();
        let answers_max = u32::from(self.world.fleet().service(self.service).answers_max);
        match (ask.key, self.found.list.first()) {
            (Some(_), _) => "content",
            (None, Some(first)) if members.active_count(first.cluster) > answers_max => "service+client",
            (None, _) => "service",
        }
    }

    fn location(&self) -> Option<WhereReport> {
        let geography = self.world.geography();
        let network = geography.network_of(self.client.addr()).filter(|_| !self.is_special())?;
        let known = geography.location(geography.lookup(self.client.addr()));
        Some(WhereReport {
            country: known.country.as_ref().map(Country::as_str).map(str::to_owned),
            lat: known.point.map(|point| point.lat()),
            lon: known.point.map(|point| point.lon()),
            network: Some(network.to_string()),
        })
    }

    fn candidates(&self, served: Option<Place>) -> Vec<CandidateReport> {
        let one = |(at, place): (usize, Place)| self.candidate(at + 1, place, served);
        self.found.list.iter().enumerate().map(one).collect()
    }

    fn candidate(&self, rank: usize, place: Place, served: Option<Place>) -> CandidateReport {
        let fleet = self.world.fleet();
        let cluster = fleet.cluster(place.cluster);
        let standing = self.world.standings(self.service).of(place.cluster);
        let count = |counts: Counts| counts.all;
        let route = (place.kind == Kind::Route).then(|| self.route_of(place)).flatten();
        CandidateReport {
            cluster: cluster.name.to_string(),
            rank,
            kind: place.kind,
            class: cluster.class,
            site: fleet.site(cluster.site).code.to_string(),
            distance_km: self.distance_km(cluster),
            prefix: self.prefix_of(place),
            route: route.map(|(_, candidate)| RouteReport {
                local_pref: candidate.local_pref,
                as_path_len: candidate.as_path_len,
                origin: candidate.origin,
                med: candidate.med,
            }),
            active: count(standing.active),
            up: count(standing.up),
            draining: count(standing.draining),
            why: self.why(place, served),
        }
    }

    /// Whether a cluster serves, and why or why not.
    fn why(&self, place: Place, served: Option<Place>) -> String {
        let last = self.notes.passed.iter().rev().find(|(p, ..)| p.cluster == place.cluster);
        if served.is_some_and(|s| s.cluster == place.cluster) {
            let how = match self.choice.verdict.name() {
                "healthy" => "serves",
                "shed_ignored" => "serves: every candidate sheds this key, so load marks are ignored",
                "health_broken" => {
                    "serves with all its active appliances: too few are up to believe its health"
                }
                "draining" => "serves with draining appliances: nobody is up",
                _ => "serves: nothing on the list is up, so health is ignored",
            };
            return how.to_owned();
        }
        match last.map(|(_, _, why)| why) {
            Some(Passed::NoneUp) => "no appliance of the asked family is up".to_owned(),
            Some(Passed::TooFewUp) => "too few of its appliances are up".to_owned(),
            Some(Passed::Shedding) => "all its appliances shed this key".to_owned(),
            Some(Passed::NoneDraining) => "no appliance of the asked family is up or draining".to_owned(),
            Some(Passed::NoneActive) => "no active appliance has the asked family".to_owned(),
            None => "ranks after the one that serves".to_owned(),
        }
    }

    fn distance_km(&self, cluster: &Cluster) -> Option<u16> {
        if self.is_special() {
            return None;
        }
        let site = self.world.fleet().site(cluster.site);
        let geography = self.world.geography();
        let client = geography.location(geography.lookup(self.client.addr())).point?;
        Some(geo::distance(&client, &Point::new(site.lat, site.lon)?).0)
    }

    /// What put a cluster on the list.
    fn prefix_of(&self, place: Place) -> Option<String> {
        match place.kind {
            Kind::Route => self.route_of(place).map(|(prefix, _)| prefix),
            Kind::Geo => self.world.geography().network_of(self.client.addr()).map(|n| n.to_string()),
            Kind::Default => None,
        }
    }

    /// The longest route around the client that leads to a cluster.
    fn route_of(&self, place: Place) -> Option<(String, Candidate)> {
        let routes = self.world.table().routes();
        let candidate = |via| routes.vias.get(via).iter().find(|c| c.cluster == place.cluster).copied();
        match self.client.addr() {
            IpAddr::V4(addr) => longest_to(&routes.v4, u32::from(addr), candidate),
            IpAddr::V6(addr) => longest_to(&routes.v6, u128::from(addr), candidate),
        }
    }
}

/// The longest route around `addr` that `candidate` knows.
fn longest_to<B: Bits>(
    routes: &RouteSet<B>,
    addr: B,
    candidate: impl Fn(crate::table::ViaId) -> Option<Candidate>,
) -> Option<(String, Candidate)> {
    let block = |at| -> Block<B> { routes.block(at) };
    routes.matches(addr).find_map(|at| Some((block(at).to_string(), candidate(routes.via(at))?)))
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Route => "route",
        Kind::Geo => "geo",
        Kind::Default => "default",
    }
}
