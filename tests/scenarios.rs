//! Scenarios: a fleet, what happens to it, and who serves then. Each file of `tests/scenarios` is one
//! story, played against a publisher without a disk.
//!
//! | line | does |
//! |---|---|
//! | `set fail_open_below 0.0` | a setting of decision or health; before the first push |
//! | `site CODE LAT LON` · `cluster NAME SITE CLASS [key=JSON…]` · `appliance NAME CLUSTER [v4] [v6] [key=JSON…]` | notes an item; it has both families unless one is named, and 1000 Mbit/s |
//! | `service NAME [key=JSON…]` · `route PREFIX CLUSTER [key=JSON…] [\| CLUSTER …]` | notes an item; the same name or prefix again replaces it |
//! | `remove KIND NAME` | takes a noted item back |
//! | `geo PREFIX COUNTRY [LAT LON]` | says where a network is; `-` for no country |
//! | `push` · `patch` | publishes all that is noted · what was noted since, as a delta |
//! | `health NAME STATE [LOAD]` · `heartbeat NAME STATE [LOAD]` | reports, a name may end in `*` |
//! | `override JSON` · `release JSON` | an operator's word, given and taken back |
//! | `wait SECONDS` | lets time pass, second by second |
//! | `ask CLIENT [SERVICE] [A\|AAAA] [key=K] => FIELD VALUE…, …` | what `explain` says; see [`Told::of`] |
//! | `query SUBNET TYPE from PEER => FIELD VALUE…, …` | what a DNS reply says; `-` sends no client subnet |
//! | `spread CLIENT => NAME LOW..HIGH, …` | percent of 2,000 content keys whose first appliance it is |
//!
//! `-` stands for nothing. The service is the first one noted unless named.

use domain::base::Message;
use domain::base::opt::ClientSubnet;
use domain::rdata::AllRecordData;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use steerd::dns::{self, Context, Scratch, Server, Transport};
use steerd::fleet::Country;
use steerd::geo::{Accuracy, Geography, Location, Point};
use steerd::health::{Match, Order, Report, State};
use steerd::prefix::{Family, Prefix};
use steerd::publish::store::{Recovered, Store};
use steerd::publish::{Publisher, PushOptions, Pushed, Rules};
use steerd::steer::explain::{Ask, Explanation, explain};
use steerd::units::UnixMs;
use steerd::wire::Name;
use steerd::zone::{SoaSettings, ZoneSettings, Zones};

/// Scenarios that have to be there.
const SCENARIOS_MIN: usize = 25;

/// Content keys that `spread` tries.
const KEYS: u32 = 2_000;

#[test]
fn scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= SCENARIOS_MIN, "{} scenarios", paths.len());
    let (mut failures, mut checked) = (Vec::new(), 0);
    for path in &paths {
        let text = std::fs::read_to_string(path).expect("a text");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut play = Play::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(wrong) = play.line(line) {
                failures.push(format!("{name}:{}: {line}\n    {wrong}", at + 1));
            }
        }
        checked += play.checked;
    }
    assert!(failures.is_empty(), "{} of {checked} differ:\n{}", failures.len(), failures.join("\n"));
    println!("{checked} expectations of {} scenarios hold", paths.len());
}

/// What is wrong with a line, or with what it found.
type Wrong = String;

/// One scenario while it is played.
struct Play {
    rules: Rules,
    /// What is noted: kind and name, with the line; in the order of first mention.
    items: Vec<(String, String, Value)>,
    /// Lines of the delta since the last publication.
    changes: Vec<Value>,
    networks: Vec<(Prefix, Location)>,
    publisher: Option<Publisher>,
    epoch: u64,
    now: u64,
    appliances: u8,
    checked: usize,
}

impl Default for Play {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            items: Vec::new(),
            changes: Vec::new(),
            networks: Vec::new(),
            publisher: None,
            epoch: 0,
            now: 1_795_000_000_000,
            appliances: 0,
            checked: 0,
        }
    }
}

impl Play {
    /// Plays one line.
    fn line(&mut self, line: &str) -> Result<(), Wrong> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let "ask" | "query" | "spread" = command {
            let (asked, expected) = rest.split_once("=>").ok_or("no `=>`")?;
            self.checked += 1;
            let words: Vec<&str> = asked.split_whitespace().collect();
            return match command {
                "ask" => self.ask(&words)?.compare(expected),
                "query" => self.query(&words)?.compare(expected),
                _ => self.spread(&words, expected),
            };
        }
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (command, &words[..]) {
            ("site", [code, lat, lon]) => {
                let at = json!({"code": code, "lat": number(lat)?, "lon": number(lon)?, "name": code});
                self.note("site", code, at);
            }
            ("cluster", [name, site, class, more @ ..]) => {
                let item = with(json!({"name": name, "site": site, "class": class}), more)?;
                self.note("cluster", name, item);
            }
            ("appliance", [name, cluster, more @ ..]) => self.appliance(name, cluster, more)?,
            ("service", [name, more @ ..]) => self.note("service", name, with(json!({"name": name}), more)?),
            ("route", [prefix, via @ ..]) => {
                let via: Result<Vec<Value>, Wrong> = via.split(|word| *word == "|").map(candidate).collect();
                self.note("route", prefix, json!({"prefix": prefix, "via": via?}));
            }
            ("remove", [kind, name]) => self.remove(kind, name)?,
            ("geo", [prefix, country, place @ ..]) => self.geo(prefix, country, place)?,
            ("set", [key, value]) => self.set(key, number(value)?)?,
            ("push", []) => self.push()?,
            ("patch", []) => self.patch()?,
            ("health", [name, state, load @ ..]) => self.health(name, state, load, false)?,
            ("heartbeat", [name, state, load @ ..]) => self.health(name, state, load, true)?,
            ("override", _) => {
                let order: Order = serde_json::from_str(rest).map_err(|e| e.to_string())?;
                self.published()?.set_override(order, UnixMs(self.now)).map_err(|e| e.to_string())?;
            }
            ("release", _) => {
                let target: Match = serde_json::from_str(rest).map_err(|e| e.to_string())?;
                let was_there = self.published()?.delete_override(&target, UnixMs(self.now));
                was_there.then_some(()).ok_or("no such override")?;
            }
            ("wait", [seconds]) => {
                for _ in 0..number(seconds)? as u64 {
                    self.now += 1000;
                    self.published()?.tick(UnixMs(self.now));
                }
            }
            _ => return Err("no such line".into()),
        }
        Ok(())
    }

    /// Notes an item, for the next push and the next patch.
    fn note(&mut self, kind: &str, name: &str, item: Value) {
        let line = one(kind, item);
        self.changes.push(line.clone());
        match self.items.iter_mut().find(|(k, n, _)| k == kind && n == name) {
            Some(known) => known.2 = line,
            None => self.items.push((kind.into(), name.into(), line)),
        }
    }

    /// Notes an appliance with addresses of its own.
    fn appliance(&mut self, name: &str, cluster: &str, words: &[&str]) -> Result<(), Wrong> {
        let families: Vec<&&str> = words.iter().filter(|word| matches!(**word, "v4" | "v6")).collect();
        let more: Vec<&str> = words.iter().copied().filter(|word| !families.contains(&word)).collect();
        let known = self.items.iter().find(|(k, n, _)| k == "appliance" && n == name);
        let mut item = json!({"name": name, "cluster": cluster, "capacity_mbps": 1000});
        if let Some((.., known)) = known {
            for family in ["ipv4", "ipv6"] {
                if let Some(address) = known["appliance"].get(family) {
                    item[family] = address.clone();
                }
            }
        } else {
            self.appliances += 1;
            if families.is_empty() || families.contains(&&"v4") {
                item["ipv4"] = json!(format!("192.0.2.{}", self.appliances));
            }
            if families.is_empty() || families.contains(&&"v6") {
                item["ipv6"] = json!(format!("2001:db8::{:x}", self.appliances));
            }
        }
        self.note("appliance", name, with(item, &more)?);
        Ok(())
    }

    /// Takes an item back.
    fn remove(&mut self, kind: &str, name: &str) -> Result<(), Wrong> {
        let at = self.items.iter().position(|(k, n, _)| k == kind && n == name).ok_or("nothing to remove")?;
        self.items.remove(at);
        self.changes.push(one("remove", one(kind, json!(name))));
        Ok(())
    }

    /// Says where a network is.
    fn geo(&mut self, prefix: &str, country: &str, place: &[&str]) -> Result<(), Wrong> {
        let prefix: Prefix = prefix.parse().map_err(|_| "no prefix")?;
        let point = match place {
            [lat, lon] => Some(Point::new(number(lat)?, number(lon)?).ok_or("no place")?),
            _ => None,
        };
        let accuracy = if point.is_some() { Accuracy::City } else { Accuracy::CountryPoint };
        self.networks.push((prefix, Location { country: Country::new(country), point, accuracy }));
        Ok(())
    }

    /// Changes a setting.
    fn set(&mut self, key: &str, value: f64) -> Result<(), Wrong> {
        let (decision, health) = (&mut self.rules.settings, &mut self.rules.health);
        match key {
            "fail_open_below" => (decision.fail_open_below, health.fail_open_below) = (value, value),
            "spread_v4" => decision.spread_v4 = value as u8,
            "geo_candidates" => decision.geo_candidates = value as usize,
            "fleet_fail_open_below" => health.fleet_fail_open_below = value,
            "fleet_fail_open_min" => health.fleet_fail_open_min = value as u32,
            "stale_after_s" => health.stale_after_s = value as u32,
            "ramp_s" => health.ramp_s = value as u32,
            _ => return Err("no such setting".into()),
        }
        Ok(())
    }

    /// The publisher.
    fn published(&self) -> Result<&Publisher, Wrong> {
        self.publisher.as_ref().ok_or_else(|| "nothing is published yet".into())
    }

    /// Publishes all that is noted, whatever the guard rails say.
    fn push(&mut self) -> Result<(), Wrong> {
        self.epoch += 1;
        self.changes.clear();
        let mut text = format!("{{\"table\":{{\"format\":1,\"epoch\":{}}}}}\n", self.epoch);
        for (.., line) in &self.items {
            let _ = writeln!(text, "{line}");
        }
        let geography = Arc::new(Geography::from_networks(self.networks.iter().copied()));
        let now = UnixMs(self.now);
        if self.publisher.is_none() {
            let (store, recovered) = (Store::none(), Recovered::default());
            let zones = Arc::new(Zones::build(&[zone()]).map_err(|e| format!("{e:?}"))?);
            let rules = self.rules.clone();
            self.publisher = Some(Publisher::open(rules, store, recovered, geography.clone(), zones, now).0);
        }
        let publisher = self.published()?;
        publisher.reload_geography(geography, true, now).map_err(|e| e.to_string())?;
        let options = PushOptions { force: true, ..PushOptions::default() };
        publisher.put(Pushed::text(text.as_bytes()), options, now).map_err(|e| e.to_string())?;
        Ok(())
    }

    /// Publishes what was noted since, as a delta.
    fn patch(&mut self) -> Result<(), Wrong> {
        let head = json!({"delta": {"format": 1, "base": self.epoch, "epoch": self.epoch + 1}});
        self.epoch += 1;
        let mut text = format!("{head}\n");
        for line in self.changes.drain(..) {
            let _ = writeln!(text, "{line}");
        }
        let options = PushOptions { force: true, ..PushOptions::default() };
        let now = UnixMs(self.now);
        self.published()?.patch(text.as_bytes(), options, now).map_err(|e| e.to_string())?;
        Ok(())
    }

    /// Reports about appliances.
    fn health(&mut self, name: &str, state: &str, load: &[&str], is_beat: bool) -> Result<(), Wrong> {
        let state: State = serde_json::from_value(json!(state)).map_err(|e| e.to_string())?;
        let load = load.first().map(|load| number(load)).transpose()?;
        let fits = |known: &str| match name.strip_suffix('*') {
            Some(start) => known.starts_with(start),
            None => known == name,
        };
        let known = self.items.iter().filter(|(kind, name, _)| kind == "appliance" && fits(name));
        let report = |name: &str| Report { appliance: name.into(), state, load, since: None, reason: None };
        let reports: Vec<Report> = known.map(|(_, name, _)| report(name)).collect();
        let (publisher, now) = (self.published()?, UnixMs(self.now));
        if reports.is_empty() {
            return Err("no such appliance".into());
        }
        if is_beat {
            let is_known = reports.iter().all(|report| publisher.heartbeat(report, now));
            return is_known.then_some(()).ok_or_else(|| "not in the table".into());
        }
        let applied = publisher.push_health(None, &reports, now).map_err(|e| e.to_string())?;
        applied.ignored.is_empty().then_some(()).ok_or_else(|| "not in the table".into())
    }

    /// The service asked when none is named.
    fn first_service(&self) -> Result<&str, Wrong> {
        let first = self.items.iter().find(|(kind, ..)| kind == "service");
        first.map(|(_, name, _)| &**name).ok_or_else(|| "no service".into())
    }

    /// Explains a decision.
    fn ask(&self, words: &[&str]) -> Result<Told, Wrong> {
        let [client, options @ ..] = words else { return Err("no client".into()) };
        let world = self.published()?.load_full();
        let mut ask =
            Ask { client: address(client)?, service: self.first_service()?, key: None, family: None };
        for option in options {
            match (*option, option.strip_prefix("key=")) {
                ("A", _) => ask.family = Some(Family::V4),
                ("AAAA", _) => ask.family = Some(Family::V6),
                (_, Some(key)) => ask.key = Some(key.as_bytes()),
                (service, _) => ask.service = service,
            }
        }
        explain(&world, &ask).map(|told| Told::of(&told)).map_err(|e| e.to_string())
    }

    /// Asks over DNS.
    fn query(&self, words: &[&str]) -> Result<Told, Wrong> {
        let &[subnet, qtype, "from", peer] = words else { return Err("SUBNET TYPE from PEER".into()) };
        let world = self.published()?.load_full();
        let packet = packet(self.first_service()?, qtype, subnet)?;
        let mut reply = vec![0; 4096];
        let mut scratch = Scratch::new();
        let context = Context { world: &world, server: &Server::default(), now: UnixMs(0) };
        let answered =
            dns::answer(&context, &mut scratch, address(peer)?, Transport::Udp, &packet, &mut reply);
        reply.truncate(answered.len);
        let message = Message::from_octets(reply).map_err(|e| e.to_string())?;
        let mut told = Told::default();
        told.say("rcode", message.header().rcode());
        let mut answers = Vec::new();
        for record in message.answer().map_err(|e| e.to_string())?.limit_to::<AllRecordData<_, _>>() {
            match record.map_err(|e| e.to_string())?.data() {
                AllRecordData::Cname(cname) => told.say("alias", cname.cname()),
                data => answers.push(self.appliance_at(&data.to_string())),
            }
        }
        told.say_all("answers", &answers);
        let opt = message.opt();
        let subnet = opt.as_ref().and_then(|opt| opt.opt().iter::<ClientSubnet>().find_map(Result::ok));
        if let Some(subnet) = subnet {
            told.say("scope", subnet.scope_prefix_len());
        }
        Ok(told)
    }

    /// The name of the appliance with an address.
    fn appliance_at(&self, address: &str) -> String {
        let has = |line: &Value| ["ipv4", "ipv6"].iter().any(|f| line["appliance"][f] == address);
        self.items.iter().find(|(.., line)| has(line)).map_or(address, |(_, name, _)| name).to_owned()
    }

    /// Compares shares of content keys.
    fn spread(&self, words: &[&str], expected: &str) -> Result<(), Wrong> {
        let mut firsts: BTreeMap<String, u32> = BTreeMap::new();
        for key in 0..KEYS {
            let key = format!("key=/title/{key}");
            let told = self.ask(&[words, &[&key]].concat())?;
            let first = told.0.get("chosen").and_then(|c| c.split(' ').next()).unwrap_or("-").to_owned();
            *firsts.entry(first).or_default() += 1;
        }
        let percent = |name: &str| firsts.get(name).copied().unwrap_or(0) * 100 / KEYS;
        for part in expected.split(',') {
            let (name, range) = part.trim().split_once(' ').ok_or("NAME LOW..HIGH")?;
            let (low, high) = range.split_once("..").ok_or("LOW..HIGH")?;
            let found = f64::from(percent(name));
            if found < number(low)? || found > number(high)? {
                return Err(format!("{name} has {found} percent; of {KEYS}: {firsts:?}"));
            }
        }
        Ok(())
    }
}

/// What was told, by field.
#[derive(Debug, Default)]
struct Told(BTreeMap<&'static str, String>);

impl Told {
    /// `cluster`, `chosen`, `match`, `prefix`, `scope`, `outcome`, `alias`, `key`, `list` (clusters in
    /// order), `kinds` (why each is there), `km` (how far each is), `first` (the first on the list, when
    /// health moved the choice), `decides` (`peer` or `client`, as the source of an ECS query), `at`
    /// (country).
    fn of(told: &Explanation) -> Self {
        let mut all = Self::default();
        all.say("cluster", told.cluster.as_deref().unwrap_or("-"));
        all.say_all("chosen", &told.chosen);
        all.say("match", told.matched);
        all.say("prefix", told.prefix.as_deref().unwrap_or("-"));
        all.say("scope", told.scope_len);
        all.say("outcome", told.outcome);
        all.say("alias", told.alias.as_deref().unwrap_or("-"));
        all.say("key", told.key);
        let each = |say: &dyn Fn(&steerd::steer::explain::CandidateReport) -> String| {
            told.candidates.iter().map(say).collect::<Vec<_>>()
        };
        all.say_all("list", &each(&|candidate| candidate.cluster.clone()));
        all.say_all("kinds", &each(&|candidate| format!("{:?}", candidate.kind).to_lowercase()));
        all.say_all("km", &each(&|c| c.distance_km.map_or_else(|| "-".to_owned(), |km| km.to_string())));
        all.say("first", told.first_match.as_ref().map_or("-", |first| &first.cluster));
        all.say("decides", if told.peer_decides { "peer" } else { "client" });
        let country = told.location.as_ref().and_then(|location| location.country.as_deref());
        all.say("at", country.unwrap_or("-"));
        all
    }

    fn say(&mut self, field: &'static str, value: impl ToString) {
        self.0.insert(field, value.to_string());
    }

    fn say_all(&mut self, field: &'static str, values: &[String]) {
        let all = values.join(" ");
        self.say(field, if all.is_empty() { "-" } else { &all });
    }

    /// Compares the fields that are expected.
    fn compare(&self, expected: &str) -> Result<(), Wrong> {
        for part in expected.split(',') {
            let (field, value) = part.trim().split_once(' ').ok_or("FIELD VALUE")?;
            let found = self.0.get(field).ok_or_else(|| format!("no field {field} in {:?}", self.0))?;
            if found != value.trim() {
                return Err(format!("{field} is {found}; told: {:?}", self.0));
            }
        }
        Ok(())
    }
}

/// An object of one key.
fn one(key: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), value)]))
}

/// `item` with `key=JSON` words added.
fn with(mut item: Value, words: &[&str]) -> Result<Value, Wrong> {
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is no key=JSON"))?;
        item[key] = serde_json::from_str(value).map_err(|e| format!("{word}: {e}"))?;
    }
    Ok(item)
}

/// A route's candidate.
fn candidate(words: &[&str]) -> Result<Value, Wrong> {
    let [cluster, more @ ..] = words else { return Err("a candidate without a cluster".into()) };
    with(json!({"cluster": cluster}), more)
}

fn number(text: &str) -> Result<f64, Wrong> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn address(text: &str) -> Result<IpAddr, Wrong> {
    text.parse().map_err(|_| format!("`{text}` is no address"))
}

/// A query with RD; `subnet` is `address/length`, or `-` for no OPT.
fn packet(name: &str, qtype: &str, subnet: &str) -> Result<Vec<u8>, Wrong> {
    let qtype: u16 = match qtype {
        "A" => 1,
        "AAAA" => 28,
        _ => return Err("A or AAAA".into()),
    };
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(subnet != "-")];
    packet.extend_from_slice(name.parse::<Name>().map_err(|e| e.to_string())?.as_wire());
    packet.extend_from_slice(&qtype.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    if let Some((address, len)) = subnet.split_once('/') {
        let len: u8 = len.parse().map_err(|_| "no length")?;
        let (family, octets) = match self::address(address)? {
            IpAddr::V4(address) => (1, address.octets().to_vec()),
            IpAddr::V6(address) => (2, address.octets().to_vec()),
        };
        let octets = &octets[..usize::from(len.div_ceil(8))];
        let option_len = 4 + octets.len() as u8;
        packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, option_len + 4]);
        packet.extend_from_slice(&[0, 8, 0, option_len, 0, family, len, 0]);
        packet.extend_from_slice(octets);
    }
    Ok(packet)
}

/// The zone that services are in.
fn zone() -> ZoneSettings {
    ZoneSettings {
        name: "cdn.example".into(),
        ns: vec!["ns.other.example".into()],
        soa: SoaSettings {
            mname: "ns.other.example".into(),
            rname: "hostmaster.cdn.example".into(),
            serial: 1,
            refresh_s: 3600,
            retry_s: 600,
            expire_s: 86400,
            negative_ttl_s: 30,
        },
        records: None,
    }
}
