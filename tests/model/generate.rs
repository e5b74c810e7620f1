//! Seeded cases: valid tables, GeoIP networks, health and clients, made so that prefixes meet.
//!
//! Everything is drawn from a few small regions of address space, most of them beside or around a
//! special or a transition block, and new prefixes are mostly relatives (child, sibling, parent, host)
//! of earlier ones. Clients sit on the edges.

use super::{
    address::{Addr, Form, Net, TRANSITION_NETS, encode, specials, width},
    decide::{Ask, Mode},
    world::{GeoNet, Health, Params, State},
};
use serde_json::{Value, json};
use std::{collections::HashSet, net::IpAddr};

/// One world with its health and questions.
#[derive(Debug, Clone)]
pub struct Case {
    /// The seed it came from.
    pub seed: u64,
    /// A full table, NDJSON.
    pub table: String,
    /// GeoIP networks, disjoint. Those with a country alone have a code nobody knows the place of.
    pub geo: Vec<GeoNet>,
    /// Settings.
    pub params: Params,
    /// States of health.
    pub healths: Vec<Health>,
    /// Questions.
    pub asks: Vec<CaseAsk>,
}

/// A question of a case.
#[derive(Debug, Clone)]
pub struct CaseAsk {
    /// Which of the case's states of health applies.
    pub health: usize,
    /// The service's name in the table.
    pub service: String,
    /// The client, as written.
    pub client: IpAddr,
    /// How it is asked.
    pub mode: Mode,
}

impl CaseAsk {
    /// It as the model takes it.
    pub fn ask(&self) -> Ask<'_> {
        Ask { service: &self.service, client: self.client, mode: self.mode.clone() }
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    /// Sixty-four bits.
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is above 0.
    fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// A number from `low` to `high`.
    fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True `percent` times in a hundred.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `list`, which is not empty.
    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// A random address in `net`.
    fn address_in(&mut self, net: Net) -> Addr {
        let bits = (u128::from(self.bits()) << 64) | u128::from(self.bits());
        Addr { v6: net.v6, bits: net.first | (bits & (net.last() - net.first)) }
    }

    /// A random block of length `len` (at least that of `net`) in `net`.
    fn block_in(&mut self, net: Net, len: u8) -> Net {
        Net::around(self.address_in(net), len.clamp(net.len, width(net.v6)))
    }

    /// Puts `list` in random order.
    fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            list.swap(end, self.below(end + 1));
        }
    }
}

/// Where prefixes are drawn from.
const REGIONS: [&str; 17] = [
    "20.0.0.0/8",
    "20.1.0.0/16",
    "10.0.0.0/7",
    "192.0.0.0/20",
    "172.0.0.0/10",
    "100.0.0.0/8",
    "203.0.112.0/22",
    "198.51.96.0/20",
    "2a00:100::/24",
    "2a00:100:20::/44",
    "2001::/20",
    "2000::/14",
    "64:ff9b::/40",
    "2001:db8::/30",
    "fc00::/6",
    "::/80",
    "2400:8000::/28",
];

/// Sites: near and far, at both poles, on both sides of the antimeridian, at no place, twice the same.
const SITES: [(&str, f64, f64); 12] = [
    ("ams1", 52.31, 4.76),
    ("ams2", 52.31, 4.76),
    ("fra1", 50.03, 8.57),
    ("npl1", 90.0, 0.0),
    ("spl1", -90.0, 45.0),
    ("dat1", 0.0, 180.0),
    ("dat2", 0.0, -180.0),
    ("dat3", -17.75, -179.5),
    ("nul1", 0.0, 0.0),
    ("nyc1", 40.64, -73.78),
    ("syd1", -33.95, 151.18),
    ("akl1", -37.01, 174.79),
];

/// Countries that networks with a point are in.
const COUNTRIES: [&str; 4] = ["NL", "DE", "US", "NZ"];
/// Codes for private use, of networks without a point.
const NOWHERE: [&str; 2] = ["XA", "XB"];
/// Tags.
const TAGS: [&str; 2] = ["4k", "hdr"];

/// What tables are made of, so far.
struct Draft {
    /// Lines after the first.
    lines: Vec<Value>,
    /// Names of clusters.
    clusters: Vec<String>,
    /// Those of them that may be defaults.
    any: Vec<String>,
    /// Names of appliances.
    appliances: Vec<String>,
    /// Names of services.
    services: Vec<String>,
    /// Routes and their candidates.
    routes: Vec<(Net, Value)>,
}

/// A case from a seed, with `count` questions.
pub fn generate(seed: u64, count: usize) -> Case {
    let mut random = Random(seed ^ 0x0073_7465_6572_6421);
    let rng = &mut random;
    let mut regions: Vec<Net> = REGIONS.iter().map(|r| Net::parse(r)).collect();
    rng.shuffle(&mut regions);
    regions.truncate(rng.between(2, 4));
    let draft = draft_table(rng, &regions);
    let geo = draft_geo(rng, &regions, &draft.routes);
    let params = Params {
        fail_open_below: rng.pick(&[0.0, 0.2, 0.3, 0.5, 0.5, 0.5, 0.75, 1.0]),
        geo_candidates: rng.pick(&[1, 2, 3, 8, 8]),
        spread_v4: rng.pick(&[20, 20, 16, 24]),
        spread_v6: rng.pick(&[44, 44, 32, 48]),
        fleet_fail_open: rng.chance(5),
    };
    let healths: Vec<Health> = (0..3).map(|_| draw_health(rng, &draft.appliances)).collect();
    let nets = landmarks(&regions, &draft.routes, &geo);
    let asks = (0..count)
        .map(|_| CaseAsk {
            health: rng.below(healths.len()),
            service: rng.pick(&draft.services),
            client: draw_client(rng, &nets),
            mode: match rng.below(3) {
                0 => Mode::Dns { family: 4 },
                1 => Mode::Dns { family: 6 },
                _ => Mode::Http { key: format!("/title/{}.mp4", rng.below(1000)).into_bytes() },
            },
        })
        .collect();
    Case { seed, table: write_table(rng, draft), geo, params, healths, asks }
}

/// Some of the tags, often none.
fn draw_tags(rng: &mut Random, percent: usize) -> Vec<&'static str> {
    TAGS.into_iter().filter(|_| rng.chance(percent)).collect()
}

/// Sites, clusters, appliances, services and routes.
fn draft_table(rng: &mut Random, regions: &[Net]) -> Draft {
    let mut draft = Draft {
        lines: Vec::new(),
        clusters: Vec::new(),
        any: Vec::new(),
        appliances: Vec::new(),
        services: Vec::new(),
        routes: Vec::new(),
    };
    let mut sites = SITES.to_vec();
    rng.shuffle(&mut sites);
    sites.truncate(rng.between(2, 5));
    for (code, lat, lon) in &sites {
        draft.lines.push(json!({"site": {"code": code, "lat": lat, "lon": lon}}));
    }
    for number in 0..rng.between(3, 12) {
        draft_cluster(rng, &mut draft, &sites, number);
    }
    let names = ["video.cdn.example", "*.live.cdn.example", "img.cdn.example", "dl.cdn.example"];
    for name in &names[..rng.between(1, 4)] {
        draft_service(rng, &mut draft, name);
    }
    draft_routes(rng, &mut draft, regions);
    draft
}

/// A cluster and its appliances.
fn draft_cluster(rng: &mut Random, draft: &mut Draft, sites: &[(&str, f64, f64)], number: usize) {
    let site = rng.pick(sites).0;
    // Names in no order of creation.
    let name = format!("{site}-{}{number}", rng.pick(&["isp", "ix", "any", "t"]));
    let class = rng.pick(&["embedded", "private_peering", "public_peering", "public_peering", "transit"]);
    let mut line = json!({"name": name, "site": site, "class": class});
    let mut any = class != "embedded";
    if rng.chance(40) {
        any = rng.chance(50);
        line["serves"] = json!(if any { "any" } else { "routed" });
    }
    if rng.chance(50) {
        line["tags"] = json!(draw_tags(rng, 50));
    }
    draft.lines.push(json!({"cluster": line}));
    let single_family = rng.chance(20);
    for machine in 0..rng.between(1, 6) {
        let appliance = format!("{name}-c{machine:02}");
        let serial = draft.appliances.len();
        let family = if single_family { number } else { rng.below(6) };
        let capacity = rng.pick(&[10_000, 40_000, 40_000, 100_000, 1]);
        let mut line = json!({
            "name": appliance, "cluster": name, "hostname": format!("{appliance}.edge.cdn.example"),
            "capacity_mbps": if rng.chance(10) { 0 } else { capacity },
        });
        if family % 3 != 1 || family == 4 {
            line["ipv4"] = json!(format!("45.0.{}.{}", serial / 200, serial % 200 + 1));
        }
        if family % 3 != 2 || family == 5 {
            line["ipv6"] = json!(format!("2a0f:45::{:x}", serial + 1));
        }
        if rng.chance(30) {
            line["status"] = json!(rng.pick(&["active", "draining", "disabled"]));
        }
        if rng.chance(30) {
            line["tags"] = json!(draw_tags(rng, 60));
        }
        draft.lines.push(json!({"appliance": line}));
        draft.appliances.push(appliance);
    }
    if any {
        draft.any.push(name.clone());
    }
    draft.clusters.push(name);
}

/// A service.
fn draft_service(rng: &mut Random, draft: &mut Draft, name: &str) {
    let mut defaults = draft.any.clone();
    rng.shuffle(&mut defaults);
    defaults.truncate(rng.pick(&[0, 1, 1, 2, 3]));
    let mut line = json!({
        "name": name, "ttl_s": 30, "answers_max": rng.between(1, 4), "default_clusters": defaults,
    });
    if rng.chance(40) {
        line["tags"] = json!(draw_tags(rng, 50));
    }
    if rng.chance(40) {
        line["families"] = json!(rng.pick(&["together", "together", "independent"]));
    }
    if rng.chance(30) {
        line["fallback_alias"] = json!("video.other-cdn.example");
    }
    if rng.chance(30) {
        let mut codes = [COUNTRIES.as_slice(), &NOWHERE].concat();
        rng.shuffle(&mut codes);
        line["geo"] = match rng.below(3) {
            0 => json!({"allow": codes[..3]}),
            1 => json!({"deny": codes[..2]}),
            _ => json!({"allow": codes[..4], "deny": codes[4..5]}),
        };
    }
    draft.services.push(name.to_owned());
    draft.lines.push(json!({"service": line}));
}

/// The candidates of a route: several that differ in little.
fn draw_via(rng: &mut Random, clusters: &[String]) -> Value {
    let mut names = clusters.to_vec();
    rng.shuffle(&mut names);
    names.truncate(rng.pick(&[1, 1, 2, 3, 4]));
    let (equal, odd) = (rng.chance(30), rng.below(4));
    let mut via = Vec::new();
    for name in names {
        let mut one = json!({"cluster": name});
        let mut set = |rng: &mut Random, which: usize, key: &str, values: Vec<Value>| {
            let differs = !equal && (which == odd || rng.chance(15));
            if differs {
                one[key] = rng.pick(&values);
            }
        };
        set(rng, 0, "local_pref", vec![json!(100), json!(90), json!(200)]);
        set(rng, 1, "as_path_len", vec![json!(0), json!(1), json!(2), json!(5)]);
        set(rng, 2, "origin", vec![json!("igp"), json!("egp"), json!("incomplete")]);
        set(rng, 3, "med", vec![json!(0), json!(10), json!(50)]);
        via.push(one);
    }
    json!(via)
}

/// A relative of `net`: child, grandchild, sibling, parent or host.
fn relative(rng: &mut Random, net: Net) -> Net {
    let wide = width(net.v6);
    match rng.below(10) {
        0..=3 => {
            let longer = rng.between(1, 5) as u8;
            rng.block_in(net, net.len + longer)
        }
        4..=6 if net.len > 0 => {
            let bits = net.first ^ (1 << (wide - net.len));
            Net::around(Addr { v6: net.v6, bits }, net.len)
        }
        7 => {
            Net::around(Addr { v6: net.v6, bits: net.first }, net.len.saturating_sub(rng.between(1, 3) as u8))
        }
        8 => rng.block_in(net, wide),
        _ => Net::around(Addr { v6: net.v6, bits: net.last() }, (net.len + 3).min(wide)),
    }
}

/// Routes: nested, neighbouring, whole families, hosts, special and transition blocks.
fn draft_routes(rng: &mut Random, draft: &mut Draft, regions: &[Net]) {
    let mut seen = HashSet::new();
    let pool: Vec<Value> = (0..rng.between(2, 6)).map(|_| draw_via(rng, &draft.clusters)).collect();
    let mut add = |rng: &mut Random, net: Net, via: Option<Value>| {
        if seen.insert(net) {
            let via = via.unwrap_or_else(|| match rng.chance(60) {
                true => rng.pick(&pool),
                false => draw_via(rng, &draft.clusters),
            });
            draft.routes.push((net, via));
        }
        draft.routes.len()
    };
    for (whole, percent) in [("0.0.0.0/0", 20), ("::/0", 20)] {
        if rng.chance(percent) {
            add(rng, Net::parse(whole), None);
        }
    }
    for &region in regions {
        // A chain at least five deep.
        let mut net = region;
        for _ in 0..rng.between(5, 7) {
            let longer = rng.between(1, 4) as u8;
            net = rng.block_in(net, net.len + longer);
            add(rng, net, None);
        }
    }
    let special: Vec<Net> = specials().iter().map(|(b, _)| *b).collect();
    let transition: Vec<Net> = TRANSITION_NETS.iter().map(|(b, _)| *b).collect();
    let mut mine: Vec<Net> = regions.to_vec();
    for round in 0..rng.between(4, 40) {
        let base = match rng.below(20) {
            0 => rng.pick(&special),
            1 => rng.pick(&transition),
            2..=7 => rng.pick(regions),
            _ => rng.pick(&mine),
        };
        let net = if rng.chance(10) { base } else { relative(rng, base) };
        let via = (round % 3 == 0).then(|| rng.pick(&pool));
        add(rng, net, via);
        mine.push(net);
        if rng.chance(25) && net.len < width(net.v6) {
            // Both halves alike.
            let via = rng.pick(&pool);
            let half = Net { len: net.len + 1, ..net };
            let other = Net { first: net.first | (1 << (width(net.v6) - half.len)), ..half };
            add(rng, half, Some(via.clone()));
            add(rng, other, Some(via));
        }
    }
    let lines =
        draft.routes.iter().map(|(net, via)| json!({"route": {"prefix": net.to_string(), "via": via}}));
    draft.lines.extend(lines);
}

/// GeoIP networks, drawn nested and cut to be disjoint.
fn draft_geo(rng: &mut Random, regions: &[Net], routes: &[(Net, Value)]) -> Vec<GeoNet> {
    let special: Vec<Net> = specials().iter().map(|(b, _)| *b).collect();
    let low = Net::parse("::/96");
    let mut nets: Vec<Net> = Vec::new();
    for _ in 0..rng.between(0, 14) {
        let base = match rng.below(8) {
            0 => rng.pick(&special),
            1..=3 => rng.pick(regions),
            _ => rng.pick(routes).0,
        };
        let net = if rng.chance(30) { base } else { relative(rng, base) };
        // Databases keep IPv4 in ::/96, and none says one thing of half the Internet.
        if net.len >= 4 && !(net.v6 && net.overlaps(low)) && !nets.contains(&net) {
            nets.push(net);
        }
    }
    let mut geo = Vec::new();
    for (number, &net) in nets.iter().enumerate() {
        let (_, lat, lon) = rng.pick(&SITES);
        // No two alike, so that neighbours stay two networks.
        let shift = number as f64 / 4.0;
        let point = rng.chance(80).then(|| (lat - lat.signum() * shift, lon - lon.signum() * shift));
        let country = match point {
            Some(_) => rng.chance(90).then(|| rng.pick(&COUNTRIES)),
            None => Some(rng.pick(&NOWHERE)),
        };
        let inner: Vec<Net> = nets.iter().copied().filter(|n| *n != net && net.covers(*n)).collect();
        for piece in without(net, &inner) {
            geo.push(GeoNet { prefix: piece.to_string(), country: country.map(str::to_owned), point });
        }
    }
    geo
}

/// What is left of `net` without `inner`, in as few blocks as can be.
fn without(net: Net, inner: &[Net]) -> Vec<Net> {
    if inner.iter().any(|n| n.covers(net)) {
        return Vec::new();
    }
    if !inner.iter().any(|n| net.covers(*n)) {
        return vec![net];
    }
    let half = Net { len: net.len + 1, ..net };
    let other = Net { first: net.first | (1 << (width(net.v6) - half.len)), ..half };
    [without(half, inner), without(other, inner)].concat()
}

/// A state of health, each in its own mood.
fn draw_health(rng: &mut Random, appliances: &[String]) -> Health {
    let mood = rng.below(8);
    let mut health = Health::new();
    for name in appliances {
        let state = match mood {
            0 => State::Up,
            1 => State::Down,
            2 => State::Draining,
            3 => rng.pick(&[State::Down, State::Down, State::Draining]),
            4 => rng.pick(&[State::Up, State::Down, State::Down, State::Down]),
            _ => rng.pick(&[State::Up, State::Up, State::Down, State::Draining]),
        };
        let shed = match mood {
            0 => 10_000,
            _ => rng.pick(&[0, 0, 0, 1000, 5000, 10_000]),
        };
        if rng.chance(85) {
            health.insert(name.clone(), (state, shed));
        }
    }
    health
}

/// Blocks on whose edges clients sit.
fn landmarks(regions: &[Net], routes: &[(Net, Value)], geo: &[GeoNet]) -> Vec<Net> {
    let mut nets = regions.to_vec();
    for _ in 0..3 {
        nets.extend(routes.iter().map(|(net, _)| *net));
    }
    nets.extend(geo.iter().map(|g| Net::parse(&g.prefix)));
    for (block, holes) in specials() {
        if regions.iter().any(|r| r.overlaps(*block)) {
            nets.push(*block);
            nets.extend(holes);
        }
    }
    nets.extend(
        TRANSITION_NETS.iter().map(|(net, _)| *net).filter(|t| regions.iter().any(|r| r.overlaps(*t))),
    );
    nets
}

/// A client: on an edge, inside, written in a transition form, or anywhere.
fn draw_client(rng: &mut Random, landmarks: &[Net]) -> IpAddr {
    let net = match rng.below(20) {
        0 => Net { v6: rng.chance(50), first: 0, len: 0 },
        1 => rng.pick(specials()).0,
        _ => rng.pick(landmarks),
    };
    let wide = width(net.v6);
    let keep = |bits: u128| if wide == 32 { bits & 0xffff_ffff } else { bits };
    let mut addr = rng.address_in(net);
    match rng.below(6) {
        0 => addr.bits = net.first,
        1 => addr.bits = net.last(),
        2 => addr.bits = keep(net.first.wrapping_sub(1)),
        3 => addr.bits = keep(net.last().wrapping_add(1)),
        _ => {}
    }
    if !addr.v6 && rng.chance(20) {
        let form = rng.pick(&[Form::Mapped, Form::Nat64, Form::SixToFour, Form::Teredo]);
        let bits = encode(addr.bits as u32, form).expect("a transition form");
        let noise = u128::from(rng.bits());
        addr = Addr {
            v6: true,
            bits: match form {
                Form::SixToFour => bits | noise,
                Form::Teredo => bits | (noise << 32),
                _ => bits,
            },
        };
    }
    addr.ip()
}

/// The table's text: first line first, the others in any order, now and then one twice.
fn write_table(rng: &mut Random, mut draft: Draft) -> String {
    rng.shuffle(&mut draft.lines);
    if rng.chance(10) {
        let again = rng.pick(&draft.lines);
        draft.lines.push(again);
    }
    let mut text = json!({"table": {"format": 1, "epoch": 1, "source": "model"}}).to_string();
    for line in draft.lines {
        text.push('\n');
        text.push_str(&line.to_string());
    }
    text.push('\n');
    text
}

#[test]
fn cases_repeat_and_networks_are_disjoint() {
    for seed in 0..50 {
        let (case, again) = (generate(seed, 20), generate(seed, 20));
        assert_eq!((case.seed, &case.table), (seed, &again.table));
        assert_eq!(case.geo, again.geo);
        assert!(case.asks.iter().zip(&again.asks).all(|(a, b)| a.ask() == b.ask()));
        let nets: Vec<Net> = case.geo.iter().map(|g| Net::parse(&g.prefix)).collect();
        for (i, a) in nets.iter().enumerate() {
            assert!(nets[i + 1..].iter().all(|b| !a.overlaps(*b)), "{a} of seed {seed}");
        }
    }
}

#[test]
fn cases_reach_everything() {
    use super::{decide::decide, world::World};
    use std::collections::BTreeMap;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..150 {
        let case = generate(seed, 40);
        let world = World::parse(&case.table, &case.geo, &case.params);
        for ask in &case.asks {
            let d = decide(&world, &case.healths[ask.health], &ask.ask());
            let form = super::address::decode(ask.client.into()).1;
            let mut count = |what: String| *seen.entry(what).or_default() += 1;
            count(format!("{:?}", d.outcome));
            count(format!("match {}", d.match_));
            count(format!("{form:?}"));
            count(format!("v6 {}", ask.client.is_ipv6()));
            count(format!("moved {}", d.first_match.is_some()));
            count(format!("peer decides {}", d.peer_decides));
            count(format!("list of {}", d.list.len().min(5)));
            count(format!("scope {}", d.scope_len / 8 * 8));
        }
    }
    // Six outcomes, five matches, five forms, three pairs, six lengths of list, seventeen of scope.
    let rare: Vec<_> = seen.iter().filter(|(_, n)| **n < 10).collect();
    assert!(seen.len() == 45 && rare.is_empty(), "{seen:#?}");
}
