//! Content steering by example, and by thousands of seeded nasty requests.

use super::*;
use crate::geo::Geography;
use crate::health::{Overlay, State};
use crate::http::tests::{Numbers, TARGETS};
use crate::snapshot::{self, Compiler};
use crate::table::read_full;
use hyper::body::Bytes;
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri, Version};
use serde_json::Value;
use std::sync::Arc;

const TABLE: &str = r#"{"table":{"format":1,"epoch":42,"source":"test"}}
{"site":{"code":"ams1","lat":52.31,"lon":4.76}}
{"site":{"code":"fra1","lat":50.1,"lon":8.6}}
{"cluster":{"name":"ams1-isp","site":"ams1","class":"embedded"}}
{"cluster":{"name":"ams1-any","site":"ams1","class":"transit"}}
{"cluster":{"name":"fra1-ä","site":"fra1","class":"transit"}}
{"appliance":{"name":"isp-1","cluster":"ams1-isp","ipv4":"192.0.2.10","hostname":"isp-1.cdn.example","capacity_mbps":1000,"tags":["tls"]}}
{"appliance":{"name":"isp-2","cluster":"ams1-isp","ipv4":"192.0.2.11","hostname":"isp-2.cdn.example","capacity_mbps":1000,"tags":["tls"]}}
{"appliance":{"name":"any-1","cluster":"ams1-any","ipv4":"192.0.2.20","ipv6":"2001:db8::20","hostname":"any-1.cdn.example","capacity_mbps":1000,"tags":["tls"]}}
{"appliance":{"name":"frä-1","cluster":"fra1-ä","ipv4":"192.0.2.30","capacity_mbps":1000}}
{"service":{"name":"video.cdn.example","default_clusters":["ams1-any","fra1-ä"]}}
{"service":{"name":"base.cdn.example","default_clusters":["ams1-any","fra1-ä"],"clone_base":"ams1-any","port":8080}}
{"service":{"name":"paths.cdn.example","default_clusters":["ams1-any","fra1-ä"],"fallback_alias":"back.other.example","pathways":[{"id":"other","alias":"x.other.example"},{"id":"back","alias":"back.other.example"},{"id":"far","clusters":["fra*"]},{"id":"emb","class":"embedded"},{"id":"any","cluster":"ams1-any"},{"id":"first","rank":1,"clone_of":"any"},{"id":"tenth","rank":10}]}}
{"service":{"name":"*.live.cdn.example","default_clusters":["ams1-any"]}}
{"service":{"name":"tls.cdn.example","tags":["tls"],"scheme":"https","default_clusters":["ams1-any"],"clone_base":"."}}
{"service":{"name":"geo.cdn.example","geo":{"allow":["NL"]},"default_clusters":["ams1-any"]}}
{"service":{"name":"nobody.cdn.example","tags":["4k"]}}
{"route":{"prefix":"198.51.100.0/24","via":[{"cluster":"ams1-isp"}]}}
{"route":{"prefix":"203.0.113.0/25","via":[{"cluster":"ams1-isp"}]}}
"#;

/// Every host that a manifest of [`TABLE`] may name, with ports.
const HOSTS: [&str; 10] = [
    "isp-1.cdn.example",
    "isp-2.cdn.example",
    "any-1.cdn.example",
    "192.0.2.30",
    "isp-1.cdn.example:8080",
    "isp-2.cdn.example:8080",
    "any-1.cdn.example:8080",
    "192.0.2.30:8080",
    "x.other.example",
    "back.other.example",
];

/// A moment.
const NOW: UnixMs = UnixMs(1_764_000_000_000);

/// [`TABLE`], with the appliances of `down` down.
fn world(down: &[&str]) -> Snapshot {
    let table = Arc::new(read_full(TABLE.as_bytes()).expect("a valid table").table);
    let mut overlay = Overlay::all_up(table.fleet());
    for name in down {
        let id = table.fleet().appliance_by_name(name).expect("an appliance");
        overlay.appliances[id.index()].state = State::Down;
    }
    let settings = snapshot::Settings { fail_open_below: 0.0, ..snapshot::Settings::default() };
    let compiled = Compiler::new().compile(table, Arc::new(Geography::empty()), settings);
    Snapshot::new(7, compiled, Arc::new(overlay), Arc::default())
}

/// Names of everybody.
const EVERYBODY: [&str; 4] = ["isp-1", "isp-2", "any-1", "frä-1"];

/// Short TTLs, a mark of 1000 kbit/s, one secret.
fn settings() -> Settings {
    let rules = config::Steering {
        ttl_s: 1000,
        ttl_unhealthy_s: 100,
        demote_below_kbps: 1000,
        ..config::Steering::default()
    };
    Settings { rules, secrets: vec![SessionSecret::new(&[7; SessionSecret::LEN])] }
}

/// Trusts 10/8.
fn trust() -> Trust {
    Trust { proxies: vec!["10.0.0.0/8".parse().expect("a prefix")], forwarded: false }
}

/// What was said to a request.
#[derive(Debug)]
struct Told {
    polled: Polled,
    response: Response<Bytes>,
}

impl Told {
    /// The manifest.
    fn manifest(&self) -> Value {
        serde_json::from_slice(self.response.body()).expect("a manifest")
    }

    /// The order of pathways.
    fn order(&self) -> String {
        let manifest = self.manifest();
        let ids = manifest["PATHWAY-PRIORITY"].as_array().expect("an array");
        ids.iter().map(|id| id.as_str().expect("a text")).collect::<Vec<_>>().join(" ")
    }

    /// What to ask next.
    fn reload(&self) -> String {
        self.manifest()["RELOAD-URI"].as_str().expect("a text").to_owned()
    }

    /// A header's value.
    fn header(&self, name: &str) -> &str {
        self.response.headers().get(name).map_or("", |value| value.to_str().expect("a header of text"))
    }
}

/// One player's requests.
struct Player {
    world: Snapshot,
    settings: Settings,
    now: UnixMs,
    /// `X-Forwarded-For` of the proxy that it asks through.
    addr: &'static str,
}

impl Player {
    /// One at an address, everybody but `down` being up.
    fn new(addr: &'static str, down: &[&str]) -> Self {
        Self { world: world(down), settings: settings(), now: NOW, addr }
    }

    /// Asks by `method` at a host that is no service; `None` where that is not for steering.
    fn ask_at(&self, method: &str, host: &str, target: &str) -> Option<Told> {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_str(host).expect("a host"));
        headers.insert("x-forwarded-for", HeaderValue::from_static(self.addr));
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let uri = target.parse::<Uri>().expect("a target");
        let peer = "10.0.0.1".parse().expect("an address");
        self.tell(&Head::parsed(&method, &uri, Version::HTTP_11, &headers, peer))
    }

    /// Answers `head`.
    fn tell(&self, head: &Head<'_>) -> Option<Told> {
        let (mut scratch, trust) = (Scratch::default(), trust());
        let desk = Desk { world: &self.world, trust: &trust, settings: &self.settings, now: self.now };
        let polled = respond(&desk, &mut scratch, head)?;
        Some(Told { polled, response: scratch.reply().to_response() })
    }

    /// Polls.
    fn ask(&self, target: &str) -> Told {
        self.ask_at("GET", "steer.example", target).expect("it is steering")
    }

    /// The order of the pathways of a service.
    fn order_of(&self, service: &str) -> String {
        self.ask(&format!("/steering/{service}")).order()
    }
}

/// An address in the ISP's network.
const ISP: &str = "198.51.100.7";

/// One that nobody's route covers.
const ELSEWHERE: &str = "192.88.1.9";

#[test]
fn pathways_come_in_the_order_of_the_decision() {
    let (isp, elsewhere) = (Player::new(ISP, &[]), Player::new(ELSEWHERE, &[]));
    assert_eq!(isp.order_of("video.cdn.example"), "ams1-isp ams1-any fra1-_C3_A4");
    assert_eq!(elsewhere.order_of("video.cdn.example"), "ams1-any fra1-_C3_A4");
    let first = isp.ask("/steering/paths.cdn.example").order();
    let (emb, rest) = first.split_once(' ').expect("several");
    assert_eq!((emb, rest.split_once(' ').map(|(_, rest)| rest)), ("emb", Some("any far other back tenth")));
    assert!(rest.starts_with("first.isp-"), "{rest}");
    assert_eq!(
        elsewhere.order_of("paths.cdn.example"),
        "any first.any-1 far other back emb tenth",
        "the class is not on the list"
    );
}

#[test]
fn health_changes_the_order_and_shortens_the_ttl() {
    let order = |down: &[&str]| {
        let told = Player::new(ISP, down).ask("/steering/paths.cdn.example");
        let ttl_s = told.manifest()["TTL"].as_u64().expect("a number");
        let order = told.order().replace("first.isp-1", "first").replace("first.isp-2", "first");
        format!("{order} {}", if (90..=110).contains(&ttl_s) { "soon" } else { "late" })
    };
    assert_eq!(order(&[]), "emb first any far other back tenth late");
    assert_eq!(order(&["isp-1"]), "emb first any far other back tenth soon");
    assert_eq!(order(&["isp-1", "isp-2"]), "any first.any-1 far other back emb tenth soon");
    assert_eq!(order(&["any-1"]), "emb first far other back any tenth soon");
    // Everybody is out: the fallback, other CDNs, and all there is.
    assert_eq!(order(&EVERYBODY), "back other emb any far tenth soon");
    let all_down = Player::new(ISP, &EVERYBODY);
    assert_eq!(all_down.order_of("video.cdn.example"), "ams1-isp ams1-any fra1-_C3_A4");
}

#[test]
fn clones_tell_of_appliances_that_playlists_do_not_name() {
    let clones = |addr, target| Player::new(addr, &[]).ask(target).manifest()["PATHWAY-CLONES"].to_string();
    assert_eq!(
        clones(ELSEWHERE, "/steering/base.cdn.example"),
        r#"[{"BASE-ID":"ams1-any","ID":"fra1-_C3_A4.fr_C3_A4-1","URI-REPLACEMENT":{"HOST":"192.0.2.30"}}]"#
    );
    assert_eq!(
        clones(ELSEWHERE, "/steering/base.cdn.example?format=dash"),
        r#"[{"BASE-ID":"ams1-any","ID":"fra1-_C3_A4.fr_C3_A4-1","URI-REPLACEMENT":{"HOST":"192.0.2.30:8080"}}]"#
    );
    assert_eq!(
        clones(ELSEWHERE, "/steering/paths.cdn.example"),
        r#"[{"BASE-ID":"any","ID":"first.any-1","URI-REPLACEMENT":{"HOST":"any-1.cdn.example"}}]"#
    );
    assert_eq!(clones(ELSEWHERE, "/steering/video.cdn.example"), "null");
    assert_eq!(
        clones(ISP, "/steering/tls.cdn.example"),
        clones(ISP, "/steering/tls.cdn.example?format=dash"),
        "both forms have them"
    );
    // Who is out is no clone, and the others' ids stay.
    let player = Player::new(ELSEWHERE, &["frä-1"]);
    assert_eq!(player.order_of("base.cdn.example"), "ams1-any");
}

#[test]
fn the_forms_of_hls_and_dash() {
    let player = Player::new(ELSEWHERE, &[]);
    let told = player.ask("/steering/video.cdn.example?_HLS_pathway=a&_HLS_throughput=1");
    let manifest = told.manifest();
    assert_eq!(manifest["VERSION"], 1);
    assert_eq!(told.header("content-type"), "application/vnd.apple.steering-list");
    assert_eq!((told.header("cache-control"), told.header("access-control-allow-origin")), ("no-store", "*"));
    assert!(manifest.get("SERVICE-LOCATION-PRIORITY").is_none());
    assert!(told.reload().starts_with("/steering/video.cdn.example?session="), "{}", told.reload());
    for query in ["_DASH_pathway=%22a%22&_DASH_throughput=1", "format=dash"] {
        let told = player.ask(&format!("/steering/video.cdn.example?{query}"));
        assert_eq!(told.header("content-type"), "application/json");
        assert_eq!(told.manifest()["SERVICE-LOCATION-PRIORITY"], told.manifest()["PATHWAY-PRIORITY"]);
        assert_eq!(player.ask(&told.reload()).header("content-type"), "application/json");
    }
    let mut absolute = Player::new(ELSEWHERE, &[]);
    absolute.settings.rules.url = Some("https://steer.example/x".into());
    let reload = absolute.ask("/steering/a.live.cdn.example").reload();
    assert!(reload.starts_with("https://steer.example/x/steering/*.live.cdn.example?session="), "{reload}");
    let head = player.ask_at("HEAD", "steer.example", "/steering/video.cdn.example").expect("steering");
    assert!(head.response.body().is_empty() && head.header("content-length") != "0");
}

#[test]
fn what_is_no_manifest_has_its_status() {
    let player = Player::new(ELSEWHERE, &[]);
    let status = |method: &str, host: &str, target: &str| {
        let told = player.ask_at(method, host, target)?;
        assert_eq!(told.header("access-control-allow-origin"), "*", "{target}");
        assert_eq!(told.header("cache-control"), "no-store", "{target}");
        Some((told.response.status().as_u16(), told.polled.answer.outcome.name()))
    };
    let at = |method: &str, target: &str| status(method, "steer.example", target).expect("steering");
    assert_eq!(at("OPTIONS", "/steering/video.cdn.example"), (204, "options"));
    assert_eq!(at("POST", "/steering/video.cdn.example"), (405, "method_not_allowed"));
    assert_eq!(at("GET", "/steering/geo.cdn.example"), (451, "denied"));
    assert_eq!(at("GET", "/steering/nobody.cdn.example"), (503, "nobody"));
    for nobody in
        ["", "x", "cdn.example", "video.cdn.example/", "video.cdn.example/x", "a%0a.live.cdn.example"]
    {
        assert_eq!(at("GET", &format!("/steering/{nobody}")), (404, "steering_unknown"), "{nobody}");
    }
    for name in ["VIDEO.cdn.example.", "video%2Ecdn.example", "video.cdn.example?", "%2a.live.cdn.example"] {
        assert_eq!(at("GET", &format!("/steering/{name}")), (200, "steered"), "{name}");
    }
    // At a service, what names none is the service's own.
    assert_eq!(status("GET", "video.cdn.example", "/steering/geo.cdn.example"), Some((451, "denied")));
    for target in ["/steering/", "/steering/x", "/steering", "/", "/steerings/video.cdn.example"] {
        assert_eq!(status("GET", "video.cdn.example", target), None, "{target}");
    }
}

#[test]
fn what_went_is_gone_and_what_never_was_is_unknown() {
    let mut player = Player::new(ELSEWHERE, &[]);
    let smaller = TABLE.replace("video.cdn.example", "film.cdn.example");
    let table = Arc::new(read_full(smaller.as_bytes()).expect("a valid table").table);
    let overlay = Arc::new(Overlay::all_up(table.fleet()));
    let geography = Arc::new(Geography::empty());
    let compiled = Compiler::new().compile(table, geography, snapshot::Settings::default());
    let next = Snapshot::new(8, compiled, overlay, Arc::default()).after(&player.world);
    let former = std::mem::replace(&mut player.world, next);
    let status =
        |player: &Player, name: &str| player.ask(&format!("/steering/{name}")).response.status().as_u16();
    assert_eq!(status(&player, "video.cdn.example"), 410);
    assert_eq!(status(&player, "film.cdn.example"), 200);
    assert_eq!(status(&player, "never.cdn.example"), 404);
    player.world = former.after(&player.world);
    assert_eq!(status(&player, "video.cdn.example"), 200, "it is back");
    assert_eq!(status(&player, "film.cdn.example"), 410);
}

#[test]
fn only_trusted_peers_say_for_whom() {
    let mut player = Player::new(ELSEWHERE, &[]);
    let target = "/steering/video.cdn.example?client=198.51.100.7";
    assert_eq!(player.ask(target).order(), "ams1-isp ams1-any fra1-_C3_A4");
    let uri = target.parse::<Uri>().expect("a target");
    let headers = HeaderMap::from_iter([(HeaderName::from_static("host"), HeaderValue::from_static("a"))]);
    let peer = "192.88.1.9".parse().expect("an address");
    let told = player.tell(&Head::parsed(&Method::GET, &uri, Version::HTTP_11, &headers, peer));
    assert_eq!(told.expect("steering").order(), "ams1-any fra1-_C3_A4");
    player.addr = ISP;
    assert_eq!(
        player.ask("/steering/video.cdn.example?client=nobody").order(),
        "ams1-isp ams1-any fra1-_C3_A4"
    );
}

#[test]
fn a_session_keeps_network_and_key() {
    let mut player = Player::new(ISP, &[]);
    let first = player.ask("/steering/paths.cdn.example?path=/v/1.m4s");
    assert_eq!(first.polled.session, Some(SessionSeen::None));
    // The address changes, and with it what a redirect would say; the session's order does not.
    player.addr = ELSEWHERE;
    let second = player.ask(&first.reload());
    assert_eq!((second.polled.session, second.order()), (Some(SessionSeen::Valid), first.order()));
    let ttl_s = |told: &Told| told.manifest()["TTL"].clone();
    assert_eq!(ttl_s(&second), ttl_s(&first), "one player's TTL is always the same");
    // Until it has stayed there for a while; its key stays for good.
    player.now.0 += u64::from(NETWORK_HELD_S.unsigned_abs()) * 1000;
    let third = player.ask(&second.reload());
    assert_eq!(third.order(), "any first.any-1 far other back emb tenth");
    player.addr = ISP;
    player.now.0 += u64::from(NETWORK_HELD_S.unsigned_abs()) * 1000;
    assert_eq!(player.ask(&third.reload()).order(), first.order());
    // What is not ours, or too old, is no session.
    let of_other = player.ask("/steering/video.cdn.example").reload();
    let (_, token) = of_other.split_once('=').expect("a token");
    let foreign = player.ask(&format!("/steering/paths.cdn.example?session={token}"));
    assert_eq!(foreign.polled.session, Some(SessionSeen::Foreign));
    player.now.0 += u64::from(session::AGE_MAX_S) * 1000;
    let expired = player.ask(&third.reload());
    assert_eq!(expired.polled.session, Some(SessionSeen::Expired));
    // Nobody is let in by the word of a session from where he is denied.
    let seal = |name: &str| {
        let network = "198.51.100.0/24".parse().expect("a prefix");
        let (now, key) = (seconds(player.now), KeyHash::of(b"x"));
        let session = Session { issued_s: now, network, learnt_s: now, key, pace: Pace::default() };
        session.seal(&player.settings.secrets, name).expect("a secret")
    };
    let denied = player.ask(&format!("/steering/geo.cdn.example?session={}", seal("geo.cdn.example")));
    assert_eq!(denied.response.status().as_u16(), 451);
}

#[test]
fn a_token_holds_no_more_of_the_address_than_the_decision_needs() {
    for (addr, expected) in [
        (ISP, "198.51.100.0/24"),
        // The scope is longer.
        ("203.0.113.9", "203.0.113.0/25"),
        ("2001:4860:1:2345::9", "2001:4860:1:2300::/56"),
        // Nobody's network.
        ("2001:db8:1:2345::9", "2001:db8:1:2345::9/128"),
        ("::ffff:198.51.100.9", "198.51.100.0/24"),
    ] {
        let player = Player::new(addr, &[]);
        let reload = player.ask("/steering/video.cdn.example").reload();
        let (_, token) = reload.split_once('=').expect("a token");
        let secrets = &player.settings.secrets;
        let session = Session::open(token, secrets, "video.cdn.example", NOW).expect("a session");
        assert_eq!(session.network.to_string(), expected);
    }
}

#[test]
fn the_key_is_that_of_dns_or_of_the_path() {
    let player = Player::new(ISP, &[]);
    let key_of = |target: &str| {
        let reload = player.ask(target).reload();
        let token = reload.split_once('=').expect("a token").1.to_owned();
        let secrets = &player.settings.secrets;
        Session::open(&token, secrets, "video.cdn.example", NOW).expect("a session").key
    };
    assert_eq!(key_of("/steering/video.cdn.example?path=/a%2Fb?x"), KeyHash::of(b"/a/b"));
    let id = player.world.fleet().service_by_name("video.cdn.example").expect("a service");
    assert_eq!(key_of("/steering/video.cdn.example"), player.world.name_key(id), "two fit in an answer");
}

#[test]
fn slow_pathways_are_demoted_for_their_session() {
    let mut player = Player::new(ISP, &[]);
    let poll = |player: &Player, told: &Told, pathway: &str, kbps: u32| {
        let throughput = u64::from(kbps) * 1000;
        player.ask(&format!("{}&_HLS_pathway={pathway}&_HLS_throughput={throughput}", told.reload()))
    };
    let mut told = player.ask("/steering/video.cdn.example");
    for _ in 0..2 {
        told = poll(&player, &told, "ams1-isp", 900);
        assert_eq!(told.order(), "ams1-isp ams1-any fra1-_C3_A4");
        assert_eq!(told.polled.reports, [PathwayKind::Cluster]);
    }
    told = poll(&player, &told, "%22ams1-isp%22", 900);
    assert_eq!(told.polled.demotion, Some(Demotion::Demoted));
    assert_eq!(told.order(), "ams1-any fra1-_C3_A4 ams1-isp");
    let demoted = poll(&player, &told, "ams1-any", 9000);
    assert_eq!(demoted.order(), "ams1-any fra1-_C3_A4 ams1-isp");
    // Six polls, or a silence.
    told = poll(&player, &demoted, "ams1-any", 9000);
    for _ in 0..4 {
        told = poll(&player, &told, "ams1-any", 9000);
    }
    assert_eq!(
        (told.polled.demotion, &*told.order()),
        (Some(Demotion::Promoted), "ams1-isp ams1-any fra1-_C3_A4")
    );
    player.now.0 += 2001 * 1000;
    assert_eq!(player.ask(&demoted.reload()).order(), "ams1-isp ams1-any fra1-_C3_A4");
    // Off by default, and a report about nothing of ours changes nothing.
    player.settings.rules.demote_below_kbps = 0;
    let mut told = player.ask("/steering/video.cdn.example");
    for _ in 0..5 {
        told = poll(&player, &told, "ams1-isp", 1);
    }
    assert_eq!(told.order(), "ams1-isp ams1-any fra1-_C3_A4");
    assert_eq!(poll(&player, &told, "elsewhere", 1).polled.reports, [PathwayKind::Unknown]);
}

#[test]
fn reports_about_clones_are_about_their_pathway() {
    let player = Player::new(ISP, &[]);
    for (pathway, kind) in [
        ("first.isp-1", PathwayKind::Rank),
        ("first.any-1", PathwayKind::Rank),
        ("emb", PathwayKind::Class),
        ("far", PathwayKind::Group),
        ("other", PathwayKind::Alias),
        ("any.any-1", PathwayKind::Unknown),
        (".", PathwayKind::Unknown),
    ] {
        let target = format!("/steering/paths.cdn.example?_DASH_pathway=%22{pathway}%22&_DASH_throughput=5");
        assert_eq!(player.ask(&target).polled.reports, [kind], "{pathway}");
    }
}

/// Pieces of steering requests that mean something to somebody.
const PIECES: [&str; 24] = [
    "video.cdn.example",
    "paths.cdn.example",
    "base.cdn.example",
    "evil.live.cdn.example",
    "evil.example",
    "geo.cdn.example",
    "?session=",
    "&session=AWsH4",
    "?client=198.51.100.7",
    "&client=",
    "&path=/v/1",
    "&path=//evil.example",
    "?_HLS_pathway=%22",
    "&_HLS_throughput=1",
    "&_DASH_pathway=emb,first.isp-1,evil.example",
    "&_DASH_throughput=1,2,",
    "&format=dash",
    "%22",
    "\"",
    ".",
    "%2a",
    "=",
    ",",
    "?",
];

/// Strings of a manifest that may be no host.
fn check_manifest(manifest: &Value, context: &str) {
    let object = manifest.as_object().expect("an object");
    assert_eq!(object["VERSION"], 1, "{context}");
    assert!(object["TTL"].as_u64().is_some_and(|ttl_s| (1..=1100).contains(&ttl_s)), "{context}");
    let reload = object["RELOAD-URI"].as_str().expect("a text");
    assert!(reload.starts_with("/steering/") && !reload.contains("evil"), "{context}: {reload}");
    let ids: Vec<&str> =
        object["PATHWAY-PRIORITY"].as_array().expect("an array").iter().filter_map(Value::as_str).collect();
    assert!(!ids.is_empty(), "{context}");
    for (at, id) in ids.iter().enumerate() {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b".-_".contains(&octet);
        assert!(
            id.bytes().all(is_plain) && !ids[..at].contains(id) && !id.contains("evil"),
            "{context}: {id}"
        );
    }
    for clone in object.get("PATHWAY-CLONES").and_then(Value::as_array).into_iter().flatten() {
        assert!(ids.contains(&clone["ID"].as_str().expect("a text")), "{context}");
        let host = clone["URI-REPLACEMENT"]["HOST"].as_str().expect("a text");
        assert!(HOSTS.contains(&host), "{context}: {host}");
    }
}

#[test]
fn no_request_gets_a_host_that_is_not_in_the_table() {
    let worlds = [&[][..], &["isp-1"], &["isp-1", "isp-2", "frä-1"], &EVERYBODY];
    let mut players = worlds.map(|down| Player::new(ELSEWHERE, down));
    let methods = [Method::GET, Method::GET, Method::HEAD, Method::OPTIONS, Method::POST];
    let mut numbers = Numbers(20_261_127);
    let (mut asked, mut steered, mut reload) = (0, 0, String::new());
    while asked < 20_000 {
        let pieces = if numbers.below(4) == 0 { &TARGETS[..] } else { &PIECES };
        let mut target = if numbers.below(3) == 0 { reload.clone().into_bytes() } else { PATH.into() };
        if numbers.below(2) == 0 {
            target.extend(numbers.pick(&PIECES[..6]).bytes());
        }
        target.extend(numbers.text(pieces));
        let Ok(uri) = Uri::try_from(target) else { continue };
        asked += 1;
        let mut headers = HeaderMap::new();
        let host = numbers.pick(&["steer.example", "video.cdn.example", "evil.example", "[::1]:80"]);
        headers.insert("host", HeaderValue::from_str(host).expect("a host"));
        let peer = numbers.pick(&["10.0.0.1", "198.51.100.1", "2001:db8::9"]).parse().expect("an address");
        let player = &mut players[numbers.below(4)];
        player.settings.rules.demote_below_kbps = numbers.below(2) as u32 * 1000;
        player.now.0 += numbers.below(400_000) as u64;
        let method = &methods[numbers.below(methods.len())];
        let mut head = Head::parsed(method, &uri, Version::HTTP_11, &headers, peer);
        head.scheme = if numbers.below(2) == 0 { Scheme::Http } else { Scheme::Https };
        let Some(told) = player.tell(&head) else { continue };
        for value in told.response.headers().values() {
            let is_clean = value.as_bytes().iter().all(|octet| (0x20..0x7f).contains(octet));
            assert!(is_clean && !value.as_bytes().windows(4).any(|part| part == b"evil"), "{uri} {told:?}");
        }
        assert!(!told.response.headers().contains_key("location"), "{uri}");
        assert_ne!(told.response.status().as_u16(), 429);
        if told.polled.answer.outcome == HttpOutcome::Steered && !head.is_head() {
            steered += 1;
            check_manifest(&told.manifest(), &uri.to_string());
            reload = told.reload();
        }
    }
    assert!(steered > 3000, "only {steered} of {asked} were steered");
}
