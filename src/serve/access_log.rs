//! The access log: a line of JSON for a request or a query, beside its answer.
//!
//! Lines are made by the worker, of what it has at hand, and written by the thread of a [`Tap`]. What they say
//! is promised in `docs/access-log.md`. A field that has no value is left out. Layer 8. Tests: below, and
//! over sockets in `tests/outsiders/access_log.rs`.

use crate::config;
use crate::dns::{Outcome, Transport};
use crate::fleet::{ApplianceId, ServiceId};
use crate::health::rfc3339;
use crate::http::{self, Caller, DecisionId, Head};
use crate::metrics::Label;
use crate::prefix::Prefix;
use crate::serve::run::now;
use crate::serve::tap::{Tap, Taps};
use crate::snapshot::Snapshot;
use crate::steer::{Choice, Verdict};
use crate::units::Epoch;
use crate::wire::{Name, NameBuf, Query};
use hickory_proto::rr::RecordType;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

/// Leading bits of an address that are left when it is cut: what is usual for IPv4, and a site of IPv6.
const CUT_V4: u8 = 24;
/// The same for IPv6.
const CUT_V6: u8 = 48;

/// Octets of a host or a path that are logged, at most: a line of usual octets fits a piece of a pipe.
const TEXT_LEN_MAX: usize = 2048;

/// Octets that most lines have, at most.
const LINE_LEN_USUAL: usize = 512;

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct AccessLogs {
    taps: Taps,
    style: Style,
}

/// How lines look, and of what there are some.
#[derive(Debug, Clone, Copy)]
struct Style {
    has_paths: bool,
    is_cut: bool,
    has_dns: bool,
}

impl AccessLogs {
    /// As `config` says, written by `taps`.
    pub fn new(taps: Taps, config: &config::AccessLog) -> Self {
        let style = Style { has_paths: config.paths, is_cut: config.anonymise, has_dns: config.dns };
        Self { taps, style }
    }

    /// One for a thread that answers requests.
    pub fn of_http(&self) -> AccessLog {
        AccessLog { tap: self.taps.tap(), style: self.style }
    }

    /// One for a thread that answers DNS, if its queries are logged.
    pub fn of_dns(&self) -> Option<AccessLog> {
        self.style.has_dns.then(|| self.of_http())
    }
}

/// A thread's end of the log.
pub struct AccessLog {
    tap: Tap,
    style: Style,
}

/// A request that was answered.
pub struct Request<'a> {
    /// What it was answered from.
    pub world: &'a Snapshot,
    /// Whose word about the client was believed.
    pub trust: &'a http::Trust,
    /// Its head.
    pub head: &'a Head<'a>,
    /// What came of it.
    pub answer: &'a http::Answer,
    /// The status it was answered with.
    pub status: u16,
    /// The decision's id, where it came to one.
    pub id: Option<DecisionId>,
    /// When it was read.
    pub began: Instant,
}

/// A query that was answered.
pub struct Asked<'a> {
    /// What it was answered from.
    pub world: &'a Snapshot,
    /// Who sent it.
    pub peer: IpAddr,
    /// How.
    pub transport: Transport,
    /// It.
    pub query: &'a [u8],
    /// The reply, which may be none.
    pub reply: &'a [u8],
    /// What came of it.
    pub outcome: Outcome,
    /// What was decided, where it came to a decision.
    pub decided: Option<(ServiceId, Choice)>,
    /// Who serves, best first, where somebody does.
    pub served: &'a [ApplianceId],
    /// When it was read.
    pub began: Instant,
}

impl AccessLog {
    /// When the answer begins, if it is one to be logged.
    #[inline]
    pub fn begin(&mut self) -> Option<Instant> {
        self.tap.is_due().then(Instant::now)
    }

    /// Logs `request`.
    #[cold]
    pub fn request(&self, request: &Request<'_>) {
        self.offer(&self.style.request(request));
    }

    /// Logs `asked`.
    #[cold]
    pub fn query(&self, asked: &Asked<'_>) {
        self.offer(&self.style.query(asked));
    }

    /// Hands `line` over.
    fn offer(&self, line: &Line<'_>) {
        let mut text = Vec::with_capacity(LINE_LEN_USUAL);
        // Text and numbers always serialise.
        if serde_json::to_writer(&mut text, line).is_ok() {
            text.push(b'\n');
            self.tap.offer(text);
        }
    }
}

impl Style {
    /// The line of a request.
    fn request<'a>(&self, request: &Request<'a>) -> Line<'a> {
        let Request { world, trust, head, answer, status, id, began } = *request;
        let path = head.asked.path_and_query.filter(|_| self.has_paths);
        let decided = answer.choice.as_ref();
        let decided = decided.map(|choice| Decided::of(world, choice, answer.appliance));
        Line {
            host: http::named_host(head).map(|host| cut(String::from_utf8_lossy(host))),
            method: Some(cut(head.method.into())),
            path: path.map(|path| cut(path.into())),
            status: Some(status),
            service: answer.service.map(|id| &*world.fleet().service(id).name),
            decided: decided.map(|decided| Decided { decision: id, ..decided }),
            ..Line::new(Every {
                kind: "http",
                over: head.scheme.as_str(),
                peer: self.network(head.peer),
                client: self.network(Caller::of(head.peer, head.fields, trust).addr),
                outcome: answer.outcome.name(),
                world,
                began,
            })
        }
    }

    /// The line of a query.
    fn query<'a>(&self, asked: &Asked<'a>) -> Line<'a> {
        let Asked { world, peer, transport, query, reply, outcome, decided, served, began } = *asked;
        let mut qname = NameBuf::default();
        let parsed = Query::parse(query, &mut qname).ok();
        let subnet = parsed.as_ref().and_then(|query| query.ecs()).filter(|ecs| ecs.source_len() > 0);
        let subnet = subnet.map(|ecs| Prefix::around(ecs.address(), ecs.source_len()));
        let name = parsed.as_ref().and_then(|query| Name::of_wire(query.qname()).ok());
        Line {
            qname: name.map(|name| name.to_string()),
            qtype: parsed.as_ref().map(|query| type_name(query.qtype().0)),
            rcode: rcode_name(outcome, reply),
            service: decided.map(|(id, _)| &*world.fleet().service(id).name),
            decided: decided.map(|(_, choice)| Decided::of(world, &choice, served.first().copied())),
            ..Line::new(Every {
                kind: "dns",
                over: transport.as_str(),
                peer: self.network(peer),
                client: subnet.map_or_else(|| self.network(peer), |subnet| self.subnet(subnet)),
                outcome: outcome.label(),
                world,
                began,
            })
        }
    }

    /// `addr` as lines show it.
    fn network(&self, addr: IpAddr) -> Network {
        if self.is_cut {
            let addr = addr.to_canonical();
            Network::Subnet(Prefix::around(addr, cut_len(addr)))
        } else {
            Network::Address(addr)
        }
    }

    /// `subnet` as lines show it.
    fn subnet(&self, subnet: Prefix) -> Network {
        let (first, len) = (subnet.first(), subnet.len());
        let len = if self.is_cut { len.min(cut_len(first)) } else { len };
        Network::Subnet(Prefix::around(first, len))
    }
}

/// Leading bits of `addr` that are left when it is cut.
fn cut_len(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => CUT_V4,
        IpAddr::V6(_) => CUT_V6,
    }
}

/// A line, in the order of its fields.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    kind: &'static str,
    over: &'static str,
    peer: Network,
    client: Network,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qtype: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rcode: Option<&'static str>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(flatten)]
    decided: Option<Decided<'a>>,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    took_ns: u64,
}

/// What every line has.
struct Every<'a> {
    kind: &'static str,
    over: &'static str,
    peer: Network,
    client: Network,
    outcome: &'static str,
    world: &'a Snapshot,
    began: Instant,
}

impl Line<'_> {
    /// A line of that.
    fn new(every: Every<'_>) -> Self {
        let Every { kind, over, peer, client, outcome, world, began } = every;
        Self {
            time: rfc3339::format(now()),
            kind,
            over,
            peer,
            client,
            host: None,
            method: None,
            path: None,
            status: None,
            qname: None,
            qtype: None,
            rcode: None,
            outcome,
            service: None,
            decided: None,
            generation: world.generation(),
            epoch: world.epoch().map(Epoch::get),
            took_ns: u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

/// What a line says of a decision.
#[derive(Debug, Serialize)]
struct Decided<'a> {
    #[serde(rename = "match")]
    matched: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    appliance: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    scope_len: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<DecisionId>,
}

impl<'a> Decided<'a> {
    /// Of `choice`, which sends to `appliance` where a cluster serves; without an id.
    fn of(world: &'a Snapshot, choice: &Choice, appliance: Option<ApplianceId>) -> Self {
        let fleet = world.fleet();
        let rank = match choice.verdict {
            Verdict::Serve { position, .. } => Some(position + 1),
            _ => None,
        };
        Self {
            matched: choice.matched().name(),
            reason: choice.verdict.name(),
            cluster: choice.cluster().map(|id| &*fleet.cluster(id).name),
            appliance: appliance.filter(|_| rank.is_some()).map(|id| &*fleet.appliance(id).name),
            rank,
            scope_len: choice.scope_len,
            decision: None,
        }
    }
}

/// An address, or all of a network.
#[derive(Debug, Clone, Copy)]
enum Network {
    /// One.
    Address(IpAddr),
    /// A network.
    Subnet(Prefix),
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addr) => addr.fmt(out),
            Self::Subnet(subnet) => subnet.fmt(out),
        }
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `text` up to a length that every reader takes, with `…` for the rest.
fn cut(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.len() <= TEXT_LEN_MAX {
        return text;
    }
    let mut end = TEXT_LEN_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}…", &text[..end]))
}

/// A record type's mnemonic, or `TYPE` and its number (RFC 3597 section 5).
fn type_name(number: u16) -> Cow<'static, str> {
    match RecordType::from(number) {
        RecordType::Unknown(_) => Cow::Owned(format!("TYPE{number}")),
        known => Cow::Borrowed(<&str>::from(known)),
    }
}

/// A reply's response code by its mnemonic (RFC 6895 section 2.3); none without a reply.
fn rcode_name(outcome: Outcome, reply: &[u8]) -> Option<&'static str> {
    // These two have bits in the OPT.
    match outcome {
        Outcome::BadVers => return Some("BADVERS"),
        Outcome::BadCookie => return Some("BADCOOKIE"),
        _ => {}
    }
    Some(match reply.get(3)? & 0x0f {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        9 => "NOTAUTH",
        _ => "RESERVED",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::State;
    use crate::http::tests::{HOPS, NAMES, Numbers, TARGETS, settings, world};
    use crate::http::{Asked as AskedFor, Fields, Scratch, respond};
    use crate::metrics::Counters;
    use crate::serve::life::Life;
    use crate::serve::tap::Tapped;
    use crate::serve::tap::lines::Lines;
    use hyper::http::Version;
    use serde_json::Value;
    use std::sync::Arc;

    const OPEN: Style = Style { has_paths: true, is_cut: false, has_dns: true };

    /// `line` as others read it.
    fn read(line: &Line<'_>) -> Value {
        let text = serde_json::to_string(line).expect("a line");
        assert!(text.starts_with(r#"{"time":"2"#) && !text.contains('\n'), "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The line of a request for `path` at `host`, forwarded for `hops`, and what it was answered with.
    fn line_of(world: &Snapshot, style: Style, host: &[u8], path: &str, hops: &[u8]) -> (Value, String) {
        let lines = [
            httparse::Header { name: "Host", value: host },
            httparse::Header { name: "X-Forwarded-For", value: hops },
        ];
        let head = Head {
            method: "GET",
            asked: AskedFor::origin(path),
            version: Version::HTTP_11,
            fields: Fields::Lines(&lines),
            peer: [10, 0, 0, 1].into(),
            scheme: crate::fleet::Scheme::Http,
        };
        let (settings, mut scratch) = (settings(), Scratch::default());
        let answer = respond(world, &settings, &mut scratch, &head);
        let (trust, status) = (&settings.trust, scratch.reply().status().as_u16());
        let id = answer.choice.map(|_| scratch.next_id());
        let request =
            Request { world, trust, head: &head, answer: &answer, status, id, began: Instant::now() };
        (read(&style.request(&request)), id.map(|id| id.to_string()).unwrap_or_default())
    }

    #[test]
    fn a_request_is_logged_with_its_decision() {
        let world = world(State::Up);
        let (mut line, id) = line_of(&world, OPEN, b"video.cdn.example", "/a?x", b"198.51.100.7");
        let fields = line.as_object_mut().expect("an object");
        assert!(fields.remove("took_ns").is_some_and(|took| took.is_u64()));
        assert_eq!(fields.remove("time").map(|time| time.as_str().map(str::len)), Some(Some(24)));
        let expected = serde_json::json!({
            "kind": "http", "over": "http", "peer": "10.0.0.1", "client": "198.51.100.7",
            "host": "video.cdn.example", "method": "GET", "path": "/a?x", "status": 302,
            "outcome": "redirected", "service": "video.cdn.example", "match": "route", "reason": "healthy",
            "cluster": "ams1-isp", "appliance": "isp-1", "rank": 1, "scope_len": 24, "decision": id,
            "generation": 7, "epoch": 42,
        });
        assert_eq!(line, expected);
        let (line, _) = line_of(&world, OPEN, b"nobody.example", "/", b"");
        assert_eq!((&line["outcome"], &line["status"]), (&"unknown_host".into(), &421.into()));
        assert!(line.get("match").is_none() && line.get("decision").is_none(), "{line}");
        let (line, _) = line_of(&world, OPEN, b"geo.cdn.example", "/", b"");
        assert_eq!((&line["reason"], line.get("cluster")), (&"denied".into(), None));
    }

    #[test]
    fn what_is_personal_is_left_out_where_configured() {
        let world = world(State::Up);
        let shy = Style { has_paths: false, is_cut: true, has_dns: false };
        for (hop, client) in [("198.51.100.7", "198.51.100.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48")] {
            let (line, _) = line_of(&world, shy, b"video.cdn.example", "/title/42", hop.as_bytes());
            assert_eq!((&line["client"], &line["peer"]), (&client.into(), &"10.0.0.0/24".into()));
            assert!(!line.to_string().contains("title"), "{line}");
        }
        let shown = |text: &str| shy.subnet(text.parse().expect("a prefix")).to_string();
        assert_eq!(shown("198.51.0.0/16"), "198.51.0.0/16");
        assert_eq!(shown("2001:db8:1:200::/56"), "2001:db8:1::/48");
    }

    #[test]
    fn every_line_is_json_whatever_was_asked() {
        let world = world(State::Up);
        let mut numbers = Numbers(20_261_126);
        let texts = ["\u{1F4FA}", "\u{2028}", "\u{0}", "\u{7f}", "\"", "\\", "/"];
        for _ in 0..5_000 {
            let is_service = numbers.below(2) == 0;
            let host = if is_service { b"video.cdn.example".to_vec() } else { numbers.text(&NAMES) };
            let pieces = if numbers.below(2) == 0 { &TARGETS[..] } else { &texts };
            let path = String::from_utf8_lossy(&numbers.text(pieces)).into_owned();
            let (line, _) = line_of(&world, OPEN, &host, &format!("/{path}"), &numbers.text(&HOPS));
            assert_eq!(line["host"], *String::from_utf8_lossy(&host));
            assert_eq!(line["path"], format!("/{path}"));
        }
        let (line, _) = line_of(&world, OPEN, b"a", &"\u{e9}".repeat(5_000), b"");
        assert_eq!(line["path"], format!("{}\u{2026}", "\u{e9}".repeat(TEXT_LEN_MAX / 2)));
        let (line, _) = line_of(&world, OPEN, b"a", &format!("x{}", "\u{e9}".repeat(5_000)), b"");
        assert_eq!(line["path"].as_str().map(str::len), Some(TEXT_LEN_MAX - 1 + '\u{2026}'.len_utf8()));
    }

    /// The line of `query`, answered by `reply`.
    fn line_of_query(world: &Snapshot, query: &[u8], reply: &[u8], outcome: Outcome) -> Value {
        let (peer, transport, began) = ([192, 0, 2, 53].into(), Transport::Tls, Instant::now());
        let asked =
            Asked { world, peer, transport, query, reply, outcome, decided: None, served: &[], began };
        read(&OPEN.query(&asked))
    }

    #[test]
    fn queries_are_logged_whatever_they_are() {
        let world = world(State::Up);
        let mut query = b"\x00\x07\x00\x00\0\x01\0\0\0\0\0\x01\x05a.\"\\\xff\x00\x00\x41\x00\x01".to_vec();
        // ECS 198.51.100.0/24.
        query.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x0b\0\x08\0\x07\0\x01\x18\0\xc6\x33\x64");
        let mut reply = query.clone();
        (reply[2], reply[3]) = (0x84, 5);
        let line = line_of_query(&world, &query, &reply, Outcome::Refused);
        let found = ["kind", "over", "peer", "client", "qname", "qtype", "rcode", "outcome"]
            .map(|field| line[field].as_str().unwrap_or_default().to_owned());
        let name = r#"a\.\"\\\255"#;
        assert_eq!(
            found,
            ["dns", "tls", "192.0.2.53", "198.51.100.0/24", name, "HTTPS", "REFUSED", "refused"]
        );
        let line = line_of_query(&world, b"\0", b"", Outcome::Dropped(crate::dns::Dropped::Short));
        assert_eq!((line.get("qname"), line.get("rcode")), (None, None));
        let mut numbers = Numbers(20_261_126);
        for _ in 0..5_000 {
            let mut packet = query.clone();
            for _ in 0..numbers.below(4) {
                let at = numbers.below(packet.len());
                packet[at] = numbers.below(256) as u8;
            }
            packet.truncate(numbers.below(packet.len() * 4));
            let _ = line_of_query(&world, &packet, &packet, Outcome::FormErr);
        }
        assert_eq!(type_name(65_400), "TYPE65400");
    }

    #[test]
    fn lines_come_out_at_the_other_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let counters = Arc::<Counters<Tapped>>::default();
        let (taps, work) = Taps::new(Lines::File(path.clone()), 2, &counters, Life::new());
        let logs = AccessLogs::new(taps, &config::AccessLog::default());
        assert!(logs.of_dns().is_none());
        let mut log = logs.of_http();
        let world = world(State::Up);
        for _ in 0..5 {
            if let Some(began) = log.begin() {
                let line = Line::new(Every {
                    kind: "http",
                    over: "http",
                    peer: Network::Address([192, 0, 2, 1].into()),
                    client: Network::Address([192, 0, 2, 1].into()),
                    outcome: "redirected",
                    world: &world,
                    began,
                });
                log.offer(&line);
            }
        }
        drop((logs, log));
        work();
        let text = std::fs::read_to_string(path).expect("a file");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert_eq!((counters.get(Tapped::Queued), counters.get(Tapped::Written)), (2, 2));
    }
}
