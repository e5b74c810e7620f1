//! Cases worked by hand: the rulings and published tables, checked against the model.

use super::{
    address::Net,
    decide::{Ask, Decision, Mode, Outcome, decide},
    world::{GeoNet, Health, Params, State, World},
};
use serde_json::{Value, json};

/// A small table, and what is asked of it.
#[derive(Default)]
struct Small {
    /// Its lines.
    lines: Vec<Value>,
    /// GeoIP networks.
    geo: Vec<GeoNet>,
    /// Settings.
    params: Params,
    /// Health.
    health: Health,
}

/// The client near which most cases play.
const NEAR: (f64, f64) = (52.0, 5.0);

impl Small {
    /// A service `v` with these members beside its name.
    fn service(mut self, mut members: Value) -> Self {
        members["name"] = json!("v");
        self.lines.push(json!({"service": members}));
        self
    }

    /// A cluster `name` of `class` with `count` dual-stack appliances `name1`, …, `east_deg` degrees
    /// east of [`NEAR`].
    fn cluster(mut self, name: &str, class: &str, count: usize, east_deg: f64) -> Self {
        self.lines.push(json!({"site": {"code": name, "lat": NEAR.0, "lon": NEAR.1 + east_deg}}));
        self.lines.push(json!({"cluster": {"name": name, "site": name, "class": class}}));
        for n in 1..=count {
            self.lines.push(json!({"appliance": {
                "name": format!("{name}{n}"), "cluster": name, "capacity_mbps": 1000,
                "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
            }}));
        }
        self
    }

    /// A route.
    fn route(mut self, prefix: &str, via: Value) -> Self {
        self.lines.push(json!({"route": {"prefix": prefix, "via": via}}));
        self
    }

    /// A route with one candidate.
    fn to(self, prefix: &str, cluster: &str) -> Self {
        self.route(prefix, json!([{"cluster": cluster}]))
    }

    /// A GeoIP network at [`NEAR`].
    fn located(mut self, prefix: &str, country: &str) -> Self {
        self.geo.push(GeoNet { prefix: prefix.into(), country: Some(country.into()), point: Some(NEAR) });
        self
    }

    /// An appliance's health.
    fn is(mut self, appliance: &str, state: State) -> Self {
        self.health.insert(appliance.into(), (state, 0));
        self
    }

    /// The decision for an A query.
    fn a(&self, client: &str) -> Decision {
        self.ask(client, Mode::Dns { family: 4 })
    }

    /// The decision for a content key.
    fn key(&self, client: &str, key: &str) -> Decision {
        self.ask(client, Mode::Http { key: key.into() })
    }

    /// The decision.
    fn ask(&self, client: &str, mode: Mode) -> Decision {
        let table: Vec<String> = self.lines.iter().map(Value::to_string).collect();
        let world = World::parse(&table.join("\n"), &self.geo, &self.params);
        decide(&world, &self.health, &Ask { service: "v", client: client.parse().expect("an address"), mode })
    }

    /// Asserts the list, in one word each.
    fn lists(&self, client: &str, expected: &str) {
        assert_eq!(self.a(client).list.join(" "), expected, "{client}");
    }

    /// Asserts the scope.
    fn scopes(&self, client: &str, expected: u8) {
        assert_eq!(self.a(client).scope_len, expected, "{client}");
    }
}

/// A service without anything, and two peering clusters, near and far.
fn two() -> Small {
    Small::default().service(json!({})).cluster("far", "public_peering", 1, 40.0).cluster(
        "near",
        "public_peering",
        1,
        1.0,
    )
}

#[test]
fn open_connect_1_longest_prefix_before_all() {
    let via = |cluster, path, med| json!([{"cluster": cluster, "as_path_len": path, "med": med}]);
    let oc1 = two()
        .route("20.100.100.0/24", via("far", 3, 100))
        .route("20.100.96.0/20", via("near", 1, 0))
        .located("20.100.0.0/16", "NL");
    oc1.lists("20.100.100.77", "far near");
    // 6: its appliance is down.
    let oc6 = oc1.is("far1", State::Down);
    let d = oc6.a("20.100.100.77");
    assert_eq!((d.cluster.as_deref(), d.prefix.as_deref()), (Some("near"), Some("20.100.96.0/20")));
    let first = d.first_match.expect("health moved the choice");
    assert_eq!((first.cluster.as_str(), first.prefix.as_deref()), ("far", Some("20.100.100.0/24")));
    assert_eq!(d.scope_len, 24, "health ignored");
}

#[test]
fn open_connect_2_to_5_attributes_in_order() {
    let check = |far: Value, near: Value, expected: &str| {
        let (mut far, mut near) = (far, near);
        (far["cluster"], near["cluster"]) = (json!("far"), json!("near"));
        let world = two().route("20.100.100.0/24", json!([near, far])).located("20.100.0.0/16", "NL");
        world.lists("20.100.100.77", expected);
    };
    check(json!({"as_path_len": 1, "med": 100}), json!({"as_path_len": 2, "med": 0}), "far near");
    check(json!({"med": 10}), json!({"med": 50}), "far near");
    check(json!({}), json!({}), "near far");
    check(json!({"local_pref": 101}), json!({"as_path_len": 0}), "far near");
    check(json!({"local_pref": 101, "as_path_len": 9}), json!({}), "far near");
    check(json!({}), json!({"origin": "egp"}), "far near");
    check(json!({"origin": "egp"}), json!({"origin": "incomplete"}), "far near");
    check(json!({"as_path_len": 1}), json!({"origin": "incomplete"}), "near far");
    // 5: class before local preference, path and distance.
    let via = json!([{"cluster": "near", "local_pref": 300}, {"cluster": "isp", "as_path_len": 7}]);
    let oc5 = two().cluster("isp", "embedded", 1, 60.0).route("20.100.100.0/24", via);
    oc5.located("20.100.0.0/16", "NL").lists("20.100.100.77", "isp near far");
}

#[test]
fn without_location_ties_go_by_name() {
    let world = two().route("20.0.0.0/24", json!([{"cluster": "near"}, {"cluster": "far"}]));
    world.lists("20.0.0.1", "far near");
}

#[test]
fn open_connect_8_embedded_only_where_announced() {
    let world =
        two().cluster("isp", "embedded", 1, 0.0).to("20.0.0.0/24", "isp").located("20.0.0.0/16", "NL");
    world.lists("20.0.0.1", "isp near far");
    world.lists("20.0.1.1", "near far");
    assert_eq!(world.a("20.0.1.1").match_, "geo");
    assert_eq!(world.a("20.0.1.1").prefix.as_deref(), Some("20.0.0.0/16"));
    world.lists("21.0.0.1", "");
    assert_eq!(world.a("21.0.0.1").outcome, Outcome::NoDataPolicy);
}

#[test]
fn open_connect_10_withdrawal_moves_list_and_scope() {
    let covering = two().to("20.100.96.0/20", "near");
    covering.scopes("20.100.100.77", 20);
    let both = covering.to("20.100.100.0/24", "far");
    both.scopes("20.100.100.77", 24);
    both.scopes("20.100.101.77", 24);
    both.scopes("20.100.110.77", 21);
    both.lists("20.100.100.77", "far near");
}

#[test]
fn open_connect_11_keys_spread_over_a_cluster() {
    let world = Small::default()
        .service(json!({"answers_max": 2}))
        .cluster("a", "embedded", 4, 0.0)
        .to("20.0.0.0/8", "a");
    let mut firsts = [0; 4];
    for n in 0..400 {
        let d = world.key("20.0.0.1", &format!("/{n}"));
        assert_eq!(d, world.key("20.9.0.1", &format!("/{n}")), "same key, same answer");
        assert_eq!(d.served.len(), 4);
        firsts[d.served[0][1..].parse::<usize>().expect("a number") - 1] += 1;
    }
    assert!(firsts.iter().all(|n| (70..130).contains(n)), "{firsts:?}");
    // HTTP keys are not of the address; DNS keys of a cluster larger than an answer are.
    assert_eq!(world.key("20.0.0.1", "/").scope_len, 8);
    world.scopes("20.0.0.1", 20);
    assert_eq!(world.a("20.0.15.1").served, world.a("20.0.0.1").served);
    let others = (1..40).filter(|n| world.a(&format!("20.{n}.0.1")).served != world.a("20.0.0.1").served);
    assert!(others.count() > 20);
}

#[test]
fn scope_is_not_the_matching_length() {
    let world = two().to("20.0.0.0/8", "near").to("20.1.0.0/16", "far");
    world.scopes("20.2.3.4", 15);
    world.scopes("20.1.3.4", 16);
    world.scopes("20.0.3.4", 16);
    world.scopes("20.128.3.4", 9);
    world.scopes("21.0.0.1", 8);
    world.scopes("128.0.0.1", 1);
    // The second of two halves that are alike, and a host in one of them.
    let halves = two().to("20.0.0.0/9", "near").to("20.128.0.0/9", "near");
    halves.scopes("20.0.0.1", 8);
    let host = halves.to("20.0.0.1/32", "far");
    host.scopes("20.0.0.1", 32);
    host.scopes("20.0.0.0", 32);
    host.scopes("20.0.0.2", 31);
    host.scopes("20.128.0.1", 9);
    // A route that changes nothing is not an edge.
    two().to("20.0.0.0/8", "near").to("20.1.0.0/16", "near").scopes("20.1.3.4", 8);
    assert_eq!(two().a("20.0.0.1").scope_len, 0);
}

#[test]
fn scope_includes_geography_and_countries() {
    let world = two().located("20.0.0.0/9", "NL");
    world.scopes("20.0.0.1", 9);
    world.scopes("20.128.0.1", 9);
    let mut denied =
        Small::default().service(json!({"geo": {"deny": ["DE"]}})).cluster("a", "transit", 1, 0.0);
    denied = denied.located("20.0.0.0/9", "NL").located("20.128.0.0/9", "DE").located("21.0.0.0/8", "US");
    denied.scopes("20.128.0.1", 9);
    assert_eq!(denied.a("20.128.0.1").outcome, Outcome::Denied);
    denied.scopes("21.0.0.1", 8);
    let allowed = Small::default().service(json!({"geo": {"allow": ["NL"]}})).cluster("a", "transit", 1, 0.0);
    let allowed = allowed.located("20.0.0.0/9", "NL");
    assert_eq!(allowed.a("99.0.0.1").outcome, Outcome::Denied, "unknown is not allowed");
    assert_eq!(allowed.a("20.0.0.1").outcome, Outcome::Serve);
}

#[test]
fn special_blocks() {
    let world = two().to("11.0.0.0/8", "near");
    // 10/8 is anything, so that only 8/7 on the other side ends the block.
    world.scopes("11.0.0.1", 7);
    world.scopes("10.2.3.4", 8);
    assert!(world.a("10.2.3.4").peer_decides);
    let inside = world.to("10.1.0.0/16", "far");
    inside.scopes("11.0.0.1", 8);
    inside.scopes("10.1.0.1", 16);
    assert!(!inside.a("10.1.0.1").peer_decides);
    inside.scopes("10.2.3.4", 15);
    assert!(inside.a("10.2.3.4").peer_decides);
    inside.scopes("10.0.3.4", 16);
    // Covered from outside is not inside.
    let outside = two().to("8.0.0.0/5", "near").located("8.0.0.0/5", "NL");
    assert!(outside.a("10.2.3.4").peer_decides);
    outside.lists("10.2.3.4", "near");
    outside.lists("11.2.3.4", "near far");
    outside.scopes("10.2.3.4", 8);
    // Holes are ordinary.
    let holes = two().to("192.0.0.0/16", "near");
    assert!(!holes.a("192.0.0.9").peer_decides);
    holes.scopes("192.0.0.9", 16);
    holes.scopes("192.0.0.8", 32);
    holes.scopes("192.0.0.128", 25);
}

#[test]
fn transition_forms_are_their_ipv4_client() {
    let world = two().to("20.0.0.0/8", "near").to("20.1.0.0/16", "far").to("::/0", "far");
    for (client, scope) in [
        ("20.2.0.1", 15),
        ("::ffff:20.2.0.1", 111),
        ("64:ff9b::1402:1", 111),
        ("2002:1402:1::9", 31),
        ("2001::ebfd:fffe", 128),
    ] {
        world.lists(client, "near");
        world.scopes(client, scope);
    }
    world.lists("::ffff:21.0.0.1", "");
    world.lists("2a00::1", "far");
    world.scopes("2a00::1", 5);
    // 2000::/3 holds 6to4 and Teredo; their clients are decided otherwise.
    world.scopes("2003::1", 16);
    // They are equal if both whole families go one way.
    let equal = two().to("0.0.0.0/0", "far").to("::/0", "far");
    equal.scopes("2003::1", 0);
    assert_eq!(Net::parse("2002:1402::/31").to_string(), "2002:1402::/31");
}

#[test]
fn walk_stages() {
    let world =
        || two().cluster("big", "public_peering", 4, 9.0).to("20.0.0.0/8", "big").to("20.0.0.0/7", "near");
    let ends = |small: Small, cluster: &str, served: usize| {
        let d = small.a("20.0.0.1");
        assert_eq!((d.cluster.as_deref(), d.served.len()), (Some(cluster), served), "{d:?}");
    };
    ends(world(), "big", 4);
    ends(world().is("big1", State::Down).is("big2", State::Down), "big", 2);
    let three = || world().is("big1", State::Down).is("big2", State::Down).is("big3", State::Down);
    ends(three(), "near", 1);
    // Nobody is believed: all of the first cluster that has anybody up.
    ends(three().is("near1", State::Down), "big", 4);
    // Health-draining appliances count as alive, and serve when nobody else does.
    ends(three().is("big3", State::Draining), "big", 1);
    let drained = || three().is("big4", State::Draining).is("near1", State::Down);
    ends(drained(), "big", 1);
    let dark = || three().is("big4", State::Down).is("near1", State::Down);
    ends(dark(), "big", 4);
    let never = Small { params: Params { fail_open_below: 0.0, ..Params::default() }, ..dark() };
    assert_eq!(never.a("20.0.0.1").outcome, Outcome::NobodyHealth);
    let all = Small { params: Params { fleet_fail_open: true, ..Params::default() }, ..dark() };
    ends(all, "big", 4);
}

#[test]
fn fallback_families_and_shedding() {
    let mut world =
        Small::default().service(json!({"fallback_alias": "other.example"})).cluster("a", "transit", 2, 0.0);
    world = world.to("20.0.0.0/8", "a").is("a1", State::Down).is("a2", State::Down);
    let d = world.a("20.0.0.1");
    assert_eq!((d.outcome, d.match_, d.cluster), (Outcome::Fallback, "fallback", None));
    assert_eq!(d.first_match.map(|f| f.cluster).as_deref(), Some("a"));
    assert_eq!(world.a("99.0.0.1").outcome, Outcome::Fallback, "an empty list falls back too");

    let single = |families: &str| {
        let mut small = two().to("20.0.0.0/8", "far").to("20.0.0.0/7", "near");
        small.lines[0]["service"]["families"] = json!(families);
        small.lines.retain(|l| l["appliance"]["name"] != "far1");
        small.lines.push(
            json!({"appliance": {"name": "f4", "cluster": "far", "capacity_mbps": 1, "ipv4": "192.0.2.9"}}),
        );
        small
    };
    let aaaa = Mode::Dns { family: 6 };
    assert_eq!(single("independent").ask("20.0.0.1", aaaa.clone()).cluster.as_deref(), Some("near"));
    assert_eq!(single("together").ask("20.0.0.1", aaaa).outcome, Outcome::NoDataType);
    assert_eq!(single("independent").key("20.0.0.1", "/").served, ["f4", "near1"]);

    let mut shedding =
        Small::default().service(json!({})).cluster("a", "transit", 2, 0.0).to("20.0.0.0/8", "a");
    shedding.health.insert("a1".into(), (State::Up, 10_000));
    assert_eq!(shedding.a("20.0.0.1").served, ["a2"]);
    shedding.health.insert("a2".into(), (State::Up, 10_000));
    assert_eq!(shedding.a("20.0.0.1").served.len(), 2, "marks are ignored for a key that all shed");
}
