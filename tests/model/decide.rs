//! The walk along the list with health, and the decision.

use super::{
    address::{Addr, Net, as_written, decode},
    list::{Asked, Entry, Place},
    mistakes::Mistake,
    rank,
    scope::{self, View},
    world::{Appliance, Health, State, World},
};
use std::{net::IpAddr, sync::Arc};

/// A question.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask<'a> {
    /// The service's name.
    pub service: &'a str,
    /// The client, as written.
    pub client: IpAddr,
    /// How it is asked.
    pub mode: Mode,
}

/// How the question is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Over DNS, for addresses of a family.
    Dns {
        /// 4 or 6.
        family: u8,
    },
    /// Over HTTP, for a content key.
    Http {
        /// The key.
        key: Vec<u8>,
    },
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Somebody serves.
    Serve,
    /// The alias to another CDN serves.
    Fallback,
    /// Country refused.
    Denied,
    /// Nobody has an address of this family.
    NoDataType,
    /// Nobody is on the list.
    NoDataPolicy,
    /// Somebody is on the list, and health lets none of them serve.
    NobodyHealth,
}

/// What health moved the client away from: the head of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstMatch {
    /// `route`, `geo` or `default`.
    pub match_: &'static str,
    /// The route's prefix or the GeoIP network.
    pub prefix: Option<String>,
    /// The cluster.
    pub cluster: String,
}

/// An answer with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Clusters in order, health ignored.
    pub list: Vec<String>,
    /// `route`, `geo` or `default` for each of them.
    pub kinds: Vec<&'static str>,
    /// `route`, `geo`, `default`, `fallback` or `none`.
    pub match_: &'static str,
    /// The route's prefix or the GeoIP network of the serving cluster.
    pub prefix: Option<String>,
    /// The head of the list, when it is not the one that serves.
    pub first_match: Option<FirstMatch>,
    /// The serving cluster.
    pub cluster: Option<String>,
    /// Appliances. DNS: all of the served set in rank order, before it is cut to `answers_max`.
    /// HTTP: the ranked list, at most 16.
    pub served: Vec<String>,
    /// How it ends.
    pub outcome: Outcome,
    /// How far it holds, in bits of the client's address as written.
    pub scope_len: u8,
    /// Whether, were this an ECS source, the peer's address would decide in its stead.
    pub peer_decides: bool,
}

/// The most appliances a ranked list has.
const RANKED_MAX: usize = 16;

/// Decides.
pub fn decide(world: &World, health: &Health, ask: &Ask<'_>) -> Decision {
    decide_with(world, health, ask, Mistake::None)
}

/// Decides with a planted mistake.
pub fn decide_with(world: &World, health: &Health, ask: &Ask<'_>, mistake: Mistake) -> Decision {
    let at = world.service(ask.service);
    let asked = Asked { world, service: &world.services[at], mistake };
    let (addr, form) = decode(Addr::from(ask.client));
    let list = asked.list(addr);
    let key = key_of(asked, ask, addr, &list);
    let walker = Walker { asked, health, list: &list, key: rank::xxh64(&key) };
    let mut end = match (&ask.mode, asked.is_denied(addr)) {
        (_, true) => End::without(Outcome::Denied),
        (Mode::Dns { family }, _) => walker.dns(*family == 6),
        (Mode::Http { .. }, _) => walker.http(addr.v6),
    };
    end.served.truncate(if matches!(ask.mode, Mode::Http { .. }) { RANKED_MAX } else { usize::MAX });
    let dns = matches!(ask.mode, Mode::Dns { .. });
    let scope_len = match (mistake, list.first().and_then(|e| e.prefix)) {
        (Mistake::MatchLengthAsScope, prefix) => prefix.map_or(0, |net| net.len),
        _ => scope::scope(asked, &view(asked, at), addr, dns),
    };
    let scope_len =
        if mistake == Mistake::ScopeNotAsWritten { scope_len } else { as_written(scope_len, form) };
    let peer_decides = matches!(asked.place(addr), Place::Uncovered(..));
    end.into_decision(world, &list, scope_len, peer_decides)
}

/// The identities of a service, computed once.
fn view(asked: Asked<'_>, service: usize) -> Arc<View> {
    // Mistakes elsewhere than in lists and scopes share the true view.
    let mistake = if asked.mistake.changes_views() { asked.mistake } else { Mistake::None };
    let mut views = asked.world.views.lock().expect("nobody panics while holding it");
    views.entry((service, mistake)).or_insert_with(|| Arc::new(View::new(Asked { mistake, ..asked }))).clone()
}

/// The key that ranks appliances.
fn key_of(asked: Asked<'_>, ask: &Ask<'_>, addr: Addr, list: &[Entry]) -> Vec<u8> {
    if let Mode::Http { key } = &ask.mode {
        return key.clone();
    }
    let mut key = asked.service.name.clone().into_bytes();
    let clusters: Vec<usize> = list.iter().map(|e| e.cluster).collect();
    if scope::is_spread(asked, &clusters) {
        key.push(0);
        let params = &asked.world.params;
        let len = if addr.v6 { params.spread_v6 } else { params.spread_v4 };
        let first = Net::around(addr, len).first;
        match addr.v6 {
            true => key.extend(first.to_be_bytes()),
            false => key.extend((first as u32).to_be_bytes()),
        }
    }
    key
}

/// Where a walk ended.
struct End<'a> {
    /// How.
    outcome: Outcome,
    /// Who serves: a place on the list.
    place: Option<usize>,
    /// With whom.
    served: Vec<&'a Appliance>,
}

impl<'a> End<'a> {
    /// An end at which nobody serves.
    fn without(outcome: Outcome) -> Self {
        Self { outcome, place: None, served: Vec::new() }
    }

    /// Puts the words to it.
    fn into_decision(self, world: &World, list: &[Entry], scope_len: u8, peer_decides: bool) -> Decision {
        let name = |e: &Entry| world.clusters[e.cluster].name.clone();
        let prefix = |e: &Entry| e.prefix.map(|net| net.to_string());
        let serving = self.place.map(|p| &list[p]);
        let first = list.first().filter(|_| self.outcome != Outcome::Denied && self.place != Some(0));
        Decision {
            list: list.iter().map(name).collect(),
            kinds: list.iter().map(|e| e.kind).collect(),
            match_: match serving {
                Some(entry) => entry.kind,
                None if self.outcome == Outcome::Fallback => "fallback",
                None => "none",
            },
            prefix: serving.and_then(prefix),
            first_match: first.map(|e| FirstMatch { match_: e.kind, prefix: prefix(e), cluster: name(e) }),
            cluster: serving.map(name),
            served: self.served.iter().map(|a| a.name.clone()).collect(),
            outcome: self.outcome,
            scope_len,
            peer_decides,
        }
    }
}

/// A list, and what is needed to walk it.
#[derive(Clone, Copy)]
struct Walker<'a> {
    /// Table and service.
    asked: Asked<'a>,
    /// Health.
    health: &'a Health,
    /// The list.
    list: &'a [Entry],
    /// XXH64 of the key.
    key: u64,
}

/// Appliances of a family; all of them without one.
fn fam(of: Vec<&Appliance>, v6: Option<bool>) -> Vec<&Appliance> {
    of.into_iter().filter(|a| v6.is_none_or(|v6| a.has(v6))).collect()
}

impl<'a> Walker<'a> {
    /// State and shed basis points of an appliance.
    fn health_of(self, appliance: &Appliance) -> (State, u16) {
        if self.asked.world.params.fleet_fail_open && self.asked.mistake != Mistake::FleetFailOpenIsIgnored {
            return (State::Up, 0);
        }
        self.health.get(&appliance.name).copied().unwrap_or((State::Up, 0))
    }

    /// Active appliances of a cluster.
    fn active(self, cluster: usize) -> Vec<&'a Appliance> {
        self.asked.active(cluster)
    }

    /// Active appliances of a cluster in a state.
    fn in_state(self, cluster: usize, state: State) -> Vec<&'a Appliance> {
        self.active(cluster).into_iter().filter(|a| self.health_of(a).0 == state).collect()
    }

    /// Up appliances of a cluster.
    fn up(self, cluster: usize) -> Vec<&'a Appliance> {
        self.in_state(cluster, State::Up)
    }

    /// Whether health is believed of a cluster: enough of it is alive. A quotient of small numbers and
    /// a decimal fraction round to the same double exactly when they are equal.
    fn is_ok(self, cluster: usize, v6: Option<bool>) -> bool {
        let v6 = if self.asked.mistake == Mistake::OkIsPerFamily { v6 } else { None };
        let mut alive = fam(self.up(cluster), v6).len();
        if self.asked.mistake != Mistake::HealthDrainingIsNotAlive {
            alive += fam(self.in_state(cluster, State::Draining), v6).len();
        }
        let active = fam(self.active(cluster), v6).len();
        alive as f64 / active as f64 >= self.asked.world.params.fail_open_below
    }

    /// `set` without those that shed the key.
    fn staying(self, set: Vec<&'a Appliance>) -> Vec<&'a Appliance> {
        let constant = if self.asked.mistake == Mistake::ShedByWrongConstant { 0 } else { rank::SHED };
        set.into_iter().filter(|a| !rank::sheds(&a.name, self.key, self.health_of(a).1, constant)).collect()
    }

    /// A set in rank order.
    fn ranked(self, mut set: Vec<&'a Appliance>) -> Vec<&'a Appliance> {
        set.sort_by_key(|a| (rank::cost(&a.name, self.key, a.capacity_mbps), &a.name));
        set
    }

    /// The first cluster for which `set` finds somebody.
    fn first(self, set: impl Fn(usize) -> Vec<&'a Appliance>) -> Option<End<'a>> {
        self.list.iter().enumerate().find_map(|(place, entry)| {
            let served = self.ranked(set(entry.cluster));
            (!served.is_empty()).then_some(End { outcome: Outcome::Serve, place: Some(place), served })
        })
    }

    /// Stage 1 of a cluster: believed, up, of the family, not shedding.
    fn stage_1(self, cluster: usize, v6: Option<bool>) -> Vec<&'a Appliance> {
        if self.is_ok(cluster, v6) { self.staying(fam(self.up(cluster), v6)) } else { Vec::new() }
    }

    /// The whole walk for a family, or for none.
    fn walk(self, v6: Option<bool>) -> End<'a> {
        let mistake = self.asked.mistake;
        let marks_ignored = |c| match self.is_ok(c, v6) && mistake != Mistake::SheddingByAllCounts {
            true => fam(self.up(c), v6),
            false => Vec::new(),
        };
        let distrusted = |c| match fam(self.up(c), v6).is_empty() {
            true => Vec::new(),
            false => fam(self.active(c), v6),
        };
        let found = self
            .first(|c| self.stage_1(c, v6))
            .or_else(|| self.first(marks_ignored))
            .or_else(|| self.first(distrusted))
            .or_else(|| self.first(|c| fam(self.in_state(c, State::Draining), v6)));
        if let Some(end) = found {
            return end;
        }
        let lacks_family = |e: &Entry| fam(self.active(e.cluster), v6).is_empty();
        if !self.list.is_empty() && self.list.iter().all(lacks_family) {
            return End::without(Outcome::NoDataType);
        }
        let fallback = self.asked.service.fallback.is_some().then_some(End::without(Outcome::Fallback));
        let everyone = |c| match mistake {
            Mistake::FailOpenRevivesDrained => fam([self.active(c), self.asked.drained(c)].concat(), v6),
            _ => fam(self.active(c), v6),
        };
        let fails_open = self.asked.world.params.fail_open_below > 0.0;
        let open = || if fails_open { self.first(everyone) } else { None };
        let end = match mistake {
            Mistake::FailOpenBeforeFallback => open().or(fallback),
            _ => fallback.or_else(open),
        };
        end.unwrap_or_else(|| {
            End::without(if self.list.is_empty() { Outcome::NoDataPolicy } else { Outcome::NobodyHealth })
        })
    }

    /// Whether the service's families go together.
    fn is_together(self) -> bool {
        self.asked.service.together && self.asked.mistake != Mistake::TogetherIsIgnored
    }

    /// The decision for one DNS type.
    fn dns(self, v6: bool) -> End<'a> {
        if !self.is_together() {
            return self.walk(Some(v6));
        }
        let mut end = self.walk(None);
        end.served = fam(end.served, Some(v6));
        if end.outcome == Outcome::Serve && end.served.is_empty() {
            return End::without(Outcome::NoDataType);
        }
        end
    }

    /// The decision over HTTP: a list that runs on over clusters, appliances of the client's family
    /// first.
    fn http(self, v6: bool) -> End<'a> {
        let (own, other) = match self.is_together() {
            true => {
                let (own, mut other) = (self.walk(None), self.walk(None));
                other.served.retain(|a| !a.has(v6));
                let own = End { served: own.served.into_iter().filter(|a| a.has(v6)).collect(), ..own };
                (own, other)
            }
            false => (self.walk(Some(v6)), self.walk(Some(!v6))),
        };
        let nobody =
            matches!(own.outcome, Outcome::NoDataType | Outcome::NoDataPolicy | Outcome::NobodyHealth);
        let (outcome, place) = if nobody { (other.outcome, other.place) } else { (own.outcome, own.place) };
        if outcome != Outcome::Serve {
            return End::without(outcome);
        }
        let mut listed = own.served;
        if self.is_together() {
            listed.extend(&other.served);
        }
        listed.extend(self.runs_on(v6));
        let rest = other.served.into_iter().chain(self.runs_on(!v6));
        listed.extend(rest.filter(|a| !a.has(v6)));
        let mut once: Vec<&Appliance> = Vec::new();
        for appliance in listed {
            if !once.iter().any(|a| a.name == appliance.name) {
                once.push(appliance);
            }
        }
        End { outcome, place, served: once }
    }

    /// What follows the serving cluster's: clusters that pass stage 1, then all that is up, neither
    /// with appliances that shed the key.
    fn runs_on(self, v6: bool) -> Vec<&'a Appliance> {
        let passing = self.list.iter().map(|e| self.stage_1(e.cluster, Some(v6)));
        let up = self.list.iter().map(|e| self.staying(fam(self.up(e.cluster), Some(v6))));
        passing.chain(up).flat_map(|set| self.ranked(set)).collect()
    }
}
