//! The policy by example, and by thousands of seeded nasty requests.

use super::*;
use crate::fleet::{ApplianceId, Fleet, Scheme, ServiceId};
use crate::geo::Geography;
use crate::health::{Overlay, State};
use crate::snapshot::{self, Compiler, Snapshot};
use crate::steer::Choice;
use crate::table::{Table, read_full};
use crate::units::Epoch;
use crate::zone::Zones;
use hyper::body::Bytes;
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri, Version};
use std::sync::Arc;

const TABLE: &str = r#"{"table":{"format":1,"epoch":42,"source":"test"}}
{"site":{"code":"ams1","lat":52.31,"lon":4.76}}
{"cluster":{"name":"ams1-isp","site":"ams1","class":"embedded"}}
{"cluster":{"name":"ams1-any","site":"ams1","class":"transit"}}
{"appliance":{"name":"isp-1","cluster":"ams1-isp","ipv4":"192.0.2.10","hostname":"isp-1.cdn.example","capacity_mbps":1000,"tags":["tls"]}}
{"appliance":{"name":"any-1","cluster":"ams1-any","ipv4":"192.0.2.20","ipv6":"2001:db8::20","capacity_mbps":1000}}
{"service":{"name":"video.cdn.example","ttl_s":30,"default_clusters":["ams1-any"]}}
{"service":{"name":"*.live.cdn.example","ttl_s":2,"default_clusters":[],"methods":["GET","HEAD"]}}
{"service":{"name":"alt.cdn.example","tags":["tls"],"scheme":"https","port":8443,"fallback_alias":"alt.other.example"}}
{"service":{"name":"plain.cdn.example","scheme":"http","port":8080,"default_clusters":["ams1-any"]}}
{"service":{"name":"geo.cdn.example","geo":{"allow":["NL"]},"default_clusters":["ams1-any"]}}
{"service":{"name":"safe.cdn.example","plain_http":"redirect","hsts_s":600,"default_clusters":["ams1-any"]}}
{"service":{"name":"*.strict.cdn.example","plain_http":"refuse","hsts_s":0,"default_clusters":["ams1-any"]}}
{"route":{"prefix":"198.51.100.0/24","via":[{"cluster":"ams1-isp"}]}}
"#;

/// Every host that a `Location` of [`TABLE`] may name.
const HOSTS: [&str; 6] = [
    "isp-1.cdn.example",
    "192.0.2.10",
    "192.0.2.20",
    "[2001:db8::20]",
    "alt.other.example",
    "safe.cdn.example",
];

/// Generation 7 of [`TABLE`], with everybody in `state`.
pub(crate) fn world(state: State) -> Snapshot {
    let table = Arc::new(read_full(TABLE.as_bytes()).expect("a valid table").table);
    let mut overlay = Overlay::all_up(table.fleet());
    for standing in &mut overlay.appliances {
        standing.state = state;
    }
    snapshot_of(table, overlay, |compiled, overlay, zones| Snapshot::new(7, compiled, overlay, zones))
}

/// Joins `table` and `overlay`.
fn snapshot_of(
    table: Arc<Table>,
    overlay: Overlay,
    join: fn(Arc<snapshot::Compiled>, Arc<Overlay>, Arc<Zones>) -> Snapshot,
) -> Snapshot {
    let geography = Arc::new(Geography::empty());
    // Failing open would hide what health does.
    let settings = snapshot::Settings { fail_open_below: 0.0, ..snapshot::Settings::default() };
    join(Compiler::new().compile(table, geography, settings), Arc::new(overlay), Arc::default())
}

/// Trusts 10/8, shows nothing.
pub(crate) fn settings() -> Settings {
    Settings {
        trust: Trust { proxies: vec!["10.0.0.0/8".parse().expect("a prefix")], forwarded: false },
        cors: false,
        decision_header: false,
        decision_query: None,
        locations_max: 8,
        blocked_by: Box::default(),
        secure_port: 443,
        http3: false,
        limits: limit::Limits::default(),
    }
}

/// An [`Answer`] with its response.
#[derive(Debug)]
struct Told {
    response: Response<Bytes>,
    outcome: HttpOutcome,
    service: Option<ServiceId>,
    choice: Option<Choice>,
    id: Option<DecisionId>,
    appliance: Option<ApplianceId>,
}

/// Answers `head` and says all of it.
fn tell(world: &Snapshot, settings: &Settings, scratch: &mut Scratch, head: &Head<'_>) -> Told {
    let Answer { outcome, service, choice, id, appliance } = respond(world, settings, scratch, head);
    Told { response: scratch.reply().to_response(), outcome, service, choice, id, appliance }
}

/// A request as `METHOD target|Header: value|…`, from 198.51.100.1 over plain HTTP/1.1.
fn ask_with(world: &Snapshot, settings: &Settings, request: &str) -> Told {
    let mut lines = request.split('|');
    let (method, target) = lines.next().and_then(|line| line.split_once(' ')).expect("a request line");
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a header line");
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a header name"),
            HeaderValue::from_str(value).expect("a header value"),
        );
    }
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let uri = target.parse::<Uri>().expect("a target");
    let peer = "198.51.100.1".parse().expect("an address");
    let head = Head::parsed(&method, &uri, Version::HTTP_11, &headers, peer);
    tell(world, settings, &mut Scratch::default(), &head)
}

/// The value of a response's header; empty when it is not there.
fn header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("a header of text"))
}

/// The body of a response, with `ID` for the decision's id, where that is told.
fn body(answer: &Told) -> String {
    let body = String::from_utf8_lossy(answer.response.body()).into_owned();
    answer.id.map_or_else(|| body.clone(), |id| body.replace(&id.to_string(), "ID"))
}

/// Asks and compares the status and what the outcome is about: `Location`, `Allow` or the body.
fn check(world: &Snapshot, request: &str, expected: &str) {
    let answer = ask_with(world, &settings(), request);
    let response = &answer.response;
    let about = match response.status().as_u16() {
        302 | 307 => header(response, "location").to_owned(),
        204 | 405 => header(response, "allow").to_owned(),
        503 => format!("retry-after {}", header(response, "retry-after")),
        200 => body(&answer),
        _ => String::new(),
    };
    let found = format!("{} {about}", response.status().as_u16());
    assert_eq!(found.trim_end(), expected, "{request}");
    assert_eq!(header(response, "cache-control"), "no-store", "{request}");
}

#[test]
fn outcomes_know_their_place() {
    for (index, outcome) in HttpOutcome::ALL.iter().enumerate() {
        assert_eq!(outcome.index(), index);
    }
}

#[test]
fn requests_are_sent_to_the_best_appliance() {
    let world = world(State::Up);
    let video =
        |line: &str, expected: &str| check(&world, &format!("{line}|Host: video.cdn.example"), expected);
    video("GET /a/b.ts?x=1&y=%0d", "302 http://isp-1.cdn.example/a/b.ts?x=1&y=%0d");
    video("HEAD /", "302 http://isp-1.cdn.example/");
    video("GET //evil.example/", "302 http://isp-1.cdn.example//evil.example/");
    video("GET /@evil.example", "302 http://isp-1.cdn.example/@evil.example");
    video("POST /up", "307 http://isp-1.cdn.example/up");
    video("GET http://VIDEO.cdn.example./x", "302 http://isp-1.cdn.example/x");
    video("GET http://other.example/x", "421");
    video("GET /caf\u{e9}", "400");
    video("GET *", "400");
    video("OPTIONS *", "204 GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE");
    check(&world, "GET /|Host: VIDEO.cdn.example.:8080", "302 http://isp-1.cdn.example/");
    check(&world, "GET /|Host: a|Host: a", "400");
    check(&world, "GET /", "400");
    check(&world, "GET /|Host: nobody.example", "421");
    check(&world, "GET /|Host: 192.0.2.10", "421");
    check(&world, "GET /|Host: *.live.cdn.example", "400");
    check(&world, "PUT /|Host: x.live.cdn.example", "405 GET, HEAD, OPTIONS");
    check(&world, "GET /|Host: x.live.cdn.example", "302 http://isp-1.cdn.example/");
    check(&world, "GET /|Host: geo.cdn.example", "451");
    check(&world, "GET /|Host: alt.cdn.example", "302 https://isp-1.cdn.example:8443/");
    check(&world, "GET /|Host: plain.cdn.example", "302 http://isp-1.cdn.example:8080/");
}

#[test]
fn trusted_peers_say_who_asks_and_how() {
    let world = world(State::Up);
    let headers = HeaderMap::from_iter([
        (HeaderName::from_static("host"), HeaderValue::from_static("video.cdn.example")),
        (HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static("2001:db8:9::1")),
        (HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("https")),
    ]);
    let location = |peer: &str, host: &'static str| {
        let mut headers = headers.clone();
        headers.insert("host", HeaderValue::from_static(host));
        let (uri, peer) = (Uri::from_static("/x"), peer.parse().expect("an address"));
        let head = Head::parsed(&Method::GET, &uri, Version::HTTP_2, &headers, peer);
        let answer = tell(&world, &settings(), &mut Scratch::default(), &head);
        header(&answer.response, "location").to_owned()
    };
    // The client of the header is routed nowhere: the default cluster, by an address of its family.
    assert_eq!(location("10.0.0.1", "plain.cdn.example"), "http://[2001:db8::20]:8080/x");
    // Of that cluster nobody has a name, so there is no URL under https.
    assert_eq!(location("10.0.0.1", "video.cdn.example"), "");
    // A peer that is not trusted is the client.
    assert_eq!(location("198.51.100.1", "video.cdn.example"), "http://isp-1.cdn.example/x");
}

#[test]
fn json_is_the_ranked_list() {
    let world = world(State::Up);
    let both = r#"{"locations":["http://isp-1.cdn.example/a?x","http://192.0.2.20/a?x"],"ttl_s":30,"generation":7,"decision":"ID"}"#;
    let both = format!("200 {both}");
    let redirect = "302 http://isp-1.cdn.example/a?x";
    let accept = |accept: &str, expected: &str| {
        check(&world, &format!("GET /a?x|Host: video.cdn.example|Accept: {accept}"), expected);
    };
    check(&world, "GET /a?format=json&x|Host: video.cdn.example", &both);
    accept("application/json", &both);
    accept("text/html, Application/JSON;charset=utf-8;q=0.1", &both);
    accept("application/json;q=0.0, */*", redirect);
    accept("*/*", redirect);
    accept("application/*", redirect);
    check(&world, "POST /a?format=json&x|Host: video.cdn.example", "307 http://isp-1.cdn.example/a?x");

    let answer = ask_with(
        &world,
        &Settings { locations_max: 1, ..settings() },
        "GET /?format=json|Host: video.cdn.example",
    );
    let one = r#"{"locations":["http://isp-1.cdn.example/"],"ttl_s":30,"generation":7,"decision":"ID"}"#;
    assert_eq!(body(&answer), one);
    assert_eq!(header(&answer.response, "content-type"), "application/json");
    let answer = ask_with(&world, &settings(), "HEAD /?format=json|Host: video.cdn.example");
    assert!(answer.response.body().is_empty());
    assert_ne!(header(&answer.response, "content-length"), "0");
}

#[test]
fn health_leads_to_the_fallback_or_to_nobody() {
    let down = world(State::Down);
    check(&down, "GET /|Host: video.cdn.example", "503 retry-after 5");
    check(&down, "GET /|Host: x.live.cdn.example", "503 retry-after 2");
    check(&down, "GET /x?y|Host: alt.cdn.example", "302 https://alt.other.example/x?y");
    let list =
        r#"200 {"locations":["https://alt.other.example/x"],"ttl_s":30,"generation":7,"decision":"ID"}"#;
    check(&down, "GET /x?format=json|Host: alt.cdn.example", list);

    let epoch = Epoch::new(1).expect("an epoch");
    let empty = Arc::new(Table::empty(epoch, ""));
    let overlay = Overlay::all_up(&Fleet::default());
    let not_ready = snapshot_of(empty, overlay, Snapshot::not_ready);
    check(&not_ready, "GET /|Host: video.cdn.example", "503 retry-after 5");
}

#[test]
fn answers_name_what_to_count() {
    use HttpOutcome as O;
    let (up, down) = (world(State::Up), world(State::Down));
    for (world, request, outcome, service, expected) in [
        (&up, "GET /|Host: video.cdn.example", O::Redirected, "video.cdn.example", "ams1-isp isp-1"),
        (&up, "GET /?format=json|Host: video.cdn.example", O::Listed, "video.cdn.example", "ams1-isp isp-1"),
        (&up, "OPTIONS /|Host: video.cdn.example", O::Options, "video.cdn.example", ""),
        (&up, "PUT /|Host: x.live.cdn.example", O::MethodNotAllowed, "*.live.cdn.example", ""),
        (&up, "GET /|Host: geo.cdn.example", O::Denied, "geo.cdn.example", ""),
        (&up, "GET /|Host: nobody.example", O::UnknownHost, "", ""),
        (&up, "GET /", O::BadRequest, "", ""),
        (&down, "GET /|Host: video.cdn.example", O::Nobody, "video.cdn.example", ""),
        (&down, "GET /|Host: alt.cdn.example", O::Fallback, "alt.cdn.example", ""),
    ] {
        let answer = ask_with(world, &settings(), request);
        let service_found = answer.service.map_or("", |id| &*world.fleet().service(id).name);
        let fleet = world.fleet();
        let cluster = answer.choice.and_then(|choice| choice.cluster());
        let cluster = cluster.map_or("", |id| &*fleet.cluster(id).name);
        let appliance = answer.appliance.map_or("", |id| &*fleet.appliance(id).name);
        let led = format!("{cluster} {appliance}");
        assert_eq!((answer.outcome, service_found, led.trim()), (outcome, service, expected), "{request}");
    }
}

#[test]
fn cors_and_the_decision_are_shown_where_configured() {
    let world = world(State::Up);
    let open = Settings { cors: true, decision_header: true, ..settings() };
    let answer = ask_with(&world, &open, "GET /|Host: video.cdn.example").response;
    let id = DecisionIds::default().next_id();
    assert_eq!(
        header(&answer, "x-steer-decision"),
        format!(
            "route; cluster=ams1-isp; appliance=isp-1; stage=healthy; epoch=42; generation=7; scope=24; id={id}"
        )
    );
    assert_eq!(header(&answer, "access-control-allow-origin"), "*");
    assert_eq!(header(&answer, "access-control-expose-headers"), "X-Steer-Decision");
    assert_eq!(places::in_header("a;b, m\u{fc}nchen%"), "a%3Bb%2C%20m%C3%BCnchen%25");
    let preflight = ask_with(&world, &open, "OPTIONS /|Host: x.live.cdn.example").response;
    assert_eq!(header(&preflight, "access-control-allow-methods"), "GET, HEAD, OPTIONS");
    let denied = ask_with(&world, &open, "GET /|Host: geo.cdn.example").response;
    assert!(header(&denied, "x-steer-decision").starts_with("none; epoch=42"));
    let closed = ask_with(&world, &settings(), "OPTIONS /|Host: video.cdn.example").response;
    assert!(closed.headers().keys().all(|name| !name.as_str().starts_with("access-control")));
}

#[test]
fn ids_ride_in_urls_to_appliances_where_configured() {
    let (up, down) = (world(State::Up), world(State::Down));
    let marked = Settings { decision_query: Some("steer".into()), ..settings() };
    let check = |world: &Snapshot, request: &str, expected: &str| {
        let answer = ask_with(world, &marked, request);
        let id = answer.id.map(|id| id.to_string()).unwrap_or_default();
        assert_eq!(header(&answer.response, "location").replace(&id, "ID"), expected, "{request}");
    };
    let video = |line: &str, expected: &str| check(&up, &format!("{line}|Host: video.cdn.example"), expected);
    video("GET /a", "http://isp-1.cdn.example/a?steer=ID");
    video("GET /a?", "http://isp-1.cdn.example/a?steer=ID");
    video("GET /a?x=1&y", "http://isp-1.cdn.example/a?x=1&y&steer=ID");
    video("POST /a?x", "http://isp-1.cdn.example/a?x&steer=ID");
    // Nobody forges one.
    video("GET /a?steer=0123456789abcdef&x=1", "http://isp-1.cdn.example/a?x=1&steer=ID");
    video("HEAD /a?S%74eer=0123456789abcdef", "http://isp-1.cdn.example/a?steer=ID");
    // Another CDN's caches do not know what to leave out.
    check(&down, "GET /x?steer=1&y|Host: alt.cdn.example", "https://alt.other.example/x?y");

    let list = ask_with(&up, &marked, "GET /a?format=json|Host: video.cdn.example");
    let both = r#"["http://isp-1.cdn.example/a?steer=ID","http://192.0.2.20/a?steer=ID"]"#;
    assert!(body(&list).starts_with(&format!(r#"{{"locations":{both}"#)), "{}", body(&list));

    // Two requests, two ids; none where nobody is told.
    let mut scratch = Scratch::default();
    let (uri, headers) = (Uri::from_static("http://video.cdn.example/"), HeaderMap::new());
    let peer = "198.51.100.1".parse().expect("an address");
    let head = Head::parsed(&Method::GET, &uri, Version::HTTP_2, &headers, peer);
    let ids = [&marked, &settings(), &marked].map(|settings| respond(&up, settings, &mut scratch, &head).id);
    let mut expected = DecisionIds::default();
    assert_eq!(ids, [Some(expected.next_id()), None, Some(expected.next_id())]);
}

#[test]
fn a_denied_client_is_told_of_what_and_where_it_is_taken_to_be() {
    let world = world(State::Up);
    let told = |request: &str| ask_with(&world, &settings(), &format!("{request}|Host: geo.cdn.example"));
    // There is no GeoIP here, and with an allow list an unknown country is denied.
    let text = told("GET /");
    assert_eq!(text.response.body(), "geo.cdn.example is not available in a country that is not known");
    assert_eq!(header(&text.response, "content-type"), "text/plain; charset=utf-8");
    assert_eq!(header(&text.response, "vary"), "Accept");
    assert_eq!(told("POST /").response.body(), text.response.body());
    let json = told("GET /?format=json");
    let expected = r#"{"error":"not available in this country","service":"geo.cdn.example","country":null}"#;
    assert_eq!(json.response.body(), expected);
    assert_eq!(header(&json.response, "content-type"), "application/json");
    let head = told("HEAD /").response;
    assert_eq!((head.body().len(), header(&head, "content-length")), (0, "63"));
}

/// A generator of numbers from a seed (SplitMix64).
pub(crate) struct Numbers(pub u64);

impl Numbers {
    /// The next number below `below`.
    pub(crate) fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }

    /// One of `of`.
    pub(crate) fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// Up to eight of `of`, one after the other, with a random octet now and then.
    pub(crate) fn text(&mut self, of: &[&str]) -> Vec<u8> {
        let mut text = Vec::new();
        for _ in 0..self.below(8) {
            if self.below(12) == 0 {
                text.push(self.below(256) as u8);
            } else {
                text.extend(self.pick(of).bytes());
            }
        }
        text
    }
}

/// Pieces of targets that mean something to somebody.
pub(crate) const TARGETS: [&str; 28] = [
    "/",
    "//",
    "evil.example",
    "@",
    ":",
    "\\",
    "?",
    "&",
    "=",
    "#",
    "format=json",
    "%0d%0a",
    "%00",
    "..",
    "http://",
    "https://",
    "video.cdn.example",
    "[::1]",
    "\r\n",
    "Set-Cookie: a=b",
    " ",
    "\t",
    "\0",
    "\u{e9}",
    "*",
    ";",
    "a",
    "%",
];
/// Pieces of hosts that mean something to somebody.
pub(crate) const NAMES: [&str; 15] = [
    "video.cdn.example",
    "x.live.cdn.example",
    "alt.cdn.example",
    "plain.cdn.example",
    "safe.cdn.example",
    ".",
    ":80",
    ":",
    "@",
    "evil.example",
    "VIDEO",
    ",",
    "/",
    "[::1]",
    "\r\nX: y",
];
/// Pieces of forwarding headers that mean something to somebody.
pub(crate) const HOPS: [&str; 13] = [
    "198.51.100.9",
    ",",
    ", ",
    "10.0.0.2",
    ":80",
    "[",
    "]",
    "2001:db8::1",
    "\"",
    "unknown",
    "https",
    "::ffff:10.0.0.1",
    "%",
];

/// A request made of such pieces, if hyper's types take it at all.
fn nasty(numbers: &mut Numbers) -> Option<(Uri, HeaderMap)> {
    let mut target = if numbers.below(3) > 0 { b"/".to_vec() } else { Vec::new() };
    target.extend(numbers.text(&TARGETS));
    let uri = Uri::try_from(target).ok()?;
    let mut headers = HeaderMap::new();
    for _ in 0..[1, 1, 1, 1, 0, 2][numbers.below(6)] {
        let is_plain = numbers.below(3) > 0;
        let host = if is_plain { numbers.pick(&NAMES[..5]).into() } else { numbers.text(&NAMES) };
        headers.append("host", HeaderValue::from_bytes(&host).ok()?);
    }
    for name in ["x-forwarded-for", "x-forwarded-proto", "forwarded", "accept"] {
        if numbers.below(2) == 0 {
            headers.append(name, HeaderValue::from_bytes(&numbers.text(&HOPS)).ok()?);
        }
    }
    Some((uri, headers))
}

/// What stands of a URL before and after its path: the host with its brackets but without its port,
/// and path and query.
fn host_and_rest(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).expect("a web URL");
    let (authority, path) = rest.split_at(rest.find('/').expect("a path"));
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => host,
        _ => authority,
    };
    (host, path)
}

#[test]
fn no_request_makes_a_location_that_is_not_of_the_table() {
    let worlds = [world(State::Up), world(State::Down)];
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS, Method::CONNECT];
    let mut scratch = Scratch::default();
    let mut numbers = Numbers(20_261_123);
    let (mut asked, mut located) = (0, 0);
    while asked < 20_000 {
        let Some((uri, headers)) = nasty(&mut numbers) else { continue };
        asked += 1;
        let mut settings = settings();
        settings.trust.forwarded = numbers.below(2) == 0;
        settings.decision_header = numbers.below(2) == 0;
        let method = &methods[numbers.below(methods.len())];
        let version = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2][numbers.below(3)];
        let peer = numbers.pick(&["10.0.0.1", "198.51.100.1", "::1", "::ffff:10.0.0.1"]);
        let peer = peer.parse().expect("an address");
        let mut head = Head::parsed(method, &uri, version, &headers, peer);
        head.scheme = if numbers.below(2) == 0 { Scheme::Http } else { Scheme::Https };
        let answer = tell(&worlds[numbers.below(2)], &settings, &mut scratch, &head);
        for value in answer.response.headers().values() {
            let is_clean = value.as_bytes().iter().all(|octet| (0x20..0x7f).contains(octet));
            assert!(is_clean, "{head:?} {answer:?}");
        }
        let Some(location) = answer.response.headers().get("location") else { continue };
        located += 1;
        let (host, rest) = host_and_rest(location.to_str().expect("visible ASCII"));
        assert!(HOSTS.contains(&host), "{head:?} {answer:?}");
        let sent = uri.path_and_query().map_or("", |sent| sent.as_str());
        let sent = if sent.starts_with('/') { sent.to_owned() } else { format!("/{sent}") };
        if !sent.contains("format=json") {
            assert_eq!(rest, sent, "{head:?}");
        }
    }
    assert!(located > 3000, "only {located} of {asked} led anywhere");
}

#[test]
fn what_comes_without_tls_is_served_sent_on_or_refused() {
    let world = world(State::Up);
    check(
        &world,
        "GET /a?b&format=json|Host: safe.cdn.example",
        "302 https://safe.cdn.example/a?b&format=json",
    );
    check(&world, "HEAD /|Host: Safe.CDN.example.:8080", "302 https://safe.cdn.example/");
    check(&world, "POST /a|Host: safe.cdn.example", "307 https://safe.cdn.example/a");
    check(&world, "GET http://safe.cdn.example?x|Host: safe.cdn.example", "302 https://safe.cdn.example/?x");
    check(&world, "GET *|Host: safe.cdn.example", "400");
    check(&world, "GET /|Host: a.strict.cdn.example", "403");
    let elsewhere = Settings { secure_port: 8443, ..settings() };
    let told = ask_with(&world, &elsewhere, "GET /a|Host: safe.cdn.example");
    assert_eq!(header(&told.response, "location"), "https://safe.cdn.example:8443/a");
    assert_eq!(
        (told.outcome, header(&told.response, "strict-transport-security")),
        (HttpOutcome::Secured, "")
    );
}

#[test]
fn rfc6797_s7_only_a_secure_answer_says_to_come_by_tls() {
    let world = world(State::Up);
    let ask = |scheme, host: &str| {
        let mut headers = HeaderMap::new();
        headers.append("host", host.parse().expect("a value"));
        let (method, uri) = (Method::GET, Uri::from_static("/a"));
        let peer = "198.51.100.1".parse().expect("an address");
        let head = Head::parsed(&method, &uri, Version::HTTP_11, &headers, peer);
        tell(&world, &settings(), &mut Scratch::default(), &Head { scheme, ..head }).response
    };
    for (scheme, host, expected) in [
        (Scheme::Https, "safe.cdn.example", "302 max-age=600"),
        (Scheme::Https, "a.strict.cdn.example", "302 max-age=0"),
        (Scheme::Https, "video.cdn.example", "302 "),
        (Scheme::Http, "safe.cdn.example", "302 "),
        (Scheme::Http, "a.strict.cdn.example", "403 "),
        (Scheme::Https, "nobody.example", "421 "),
    ] {
        let response = ask(scheme, host);
        let told = header(&response, "strict-transport-security");
        assert_eq!(format!("{} {told}", response.status().as_u16()), expected, "{scheme:?} {host}");
    }
    // A trusted hop that ended TLS says so; nobody else is believed.
    let request = "GET /|Host: safe.cdn.example|X-Forwarded-Proto: https";
    assert_eq!(ask_with(&world, &settings(), request).outcome, HttpOutcome::Secured);
    let all = Settings {
        trust: Trust { proxies: vec!["198.51.100.0/24".parse().expect("a prefix")], forwarded: false },
        ..settings()
    };
    let told = ask_with(&world, &all, request);
    assert_eq!(told.outcome, HttpOutcome::Redirected);
    assert_eq!(header(&told.response, "strict-transport-security"), "max-age=600");
}

#[test]
fn answers_vary_by_what_is_accepted_and_a_denial_says_by_whom() {
    let world = world(State::Up);
    for (request, expected) in [
        ("GET /|Host: video.cdn.example", "Accept"),
        ("HEAD /|Host: video.cdn.example|Accept: application/json", "Accept"),
        ("GET /|Host: geo.cdn.example", "Accept"),
        ("POST /|Host: video.cdn.example", ""),
        ("OPTIONS /|Host: video.cdn.example", ""),
        ("GET /|Host: nobody.example", ""),
    ] {
        let told = ask_with(&world, &settings(), request);
        assert_eq!(header(&told.response, "vary"), expected, "{request}");
    }
    let named = Settings { blocked_by: "https://cdn.example/legal".into(), ..settings() };
    for (settings, link) in [(named, "<https://cdn.example/legal>; rel=\"blocked-by\""), (settings(), "")] {
        let told = ask_with(&world, &settings, "GET /|Host: geo.cdn.example");
        let response = &told.response;
        assert_eq!((response.status().as_u16(), header(response, "link")), (451, link));
    }
}

#[test]
fn too_many_requests_of_a_network_are_told_to_wait() {
    let world = world(State::Up);
    let limits = limit::Limits { requests_per_s: 2, exempt: Vec::new() };
    let settings = Settings { limits, ..settings() };
    let mut scratch = Scratch::new(DecisionIds::default(), limit::Pace::of(&Arc::default()));
    let mut ask = |peer: [u8; 4], path: &'static str, now_us: u64| {
        let mut headers = HeaderMap::new();
        headers.append("host", "video.cdn.example".parse().expect("a value"));
        let (method, uri) = (Method::GET, Uri::from_static(path));
        let head = Head::parsed(&method, &uri, Version::HTTP_11, &headers, peer.into());
        scratch.set_time(now_us);
        let told = tell(&world, &settings, &mut scratch, &head);
        (told.response.status().as_u16(), header(&told.response, "retry-after").to_owned())
    };
    let client = [198, 51, 100, 1];
    assert_eq!([ask(client, "/a", 0).0, ask(client, "/a", 0).0], [302, 302]);
    assert_eq!(ask(client, "/a", 0), (429, "1".to_owned()));
    assert_eq!(ask([198, 51, 100, 2], "/a", 0).0, 302);
    assert_eq!(ask(client, "/a", 1_000_000).0, 302);
    // A trusted proxy that names nobody speaks for many.
    assert!((0..9).all(|_| ask([10, 0, 0, 1], "/a", 0).0 == 302));
}
