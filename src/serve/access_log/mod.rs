//! The access log: a line of JSON for a request or a query, beside its answer.
//!
//! A worker hands over a record of what it has at hand; the thread of a [`Tap`] makes the line of it and
//! writes that. Layer 8. Tests: below, and over sockets in `tests/outsiders/access_log.rs`.
//!
//! | file | holds |
//! |---|---|
//! | `record` | what the worker hands over |
//! | `line` | what is made of it |

mod line;
mod record;

use self::record::{Decided, Network, Record, Texts};
use crate::config;
use crate::dns::{Outcome, Transport};
use crate::fleet::{ApplianceId, ServiceId};
use crate::http::{self, Caller, DecisionId, Head};
use crate::metrics::Counters;
use crate::prefix::Prefix;
use crate::serve::life::Life;
use crate::serve::run::now;
use crate::serve::tap::{Sink, Tap, Tapped, Taps};
use crate::snapshot::Snapshot;
use crate::steer::Choice;
use crate::wire::{NameBuf, Query};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Leading bits of an address that are left when it is cut: what is usual for IPv4, and a site of IPv6.
const CUT_V4: u8 = 24;
/// The same for IPv6.
const CUT_V6: u8 = 48;

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct AccessLogs {
    taps: Taps<Record>,
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
    /// As `config` says, written to `sink` by the work that is to be done by a thread until the server closes.
    pub fn new<S: Sink>(
        sink: S,
        config: &config::AccessLog,
        counters: &Arc<Counters<Tapped>>,
        life: Life,
    ) -> (Self, impl FnOnce() + Send + 'static) {
        let style = Style { has_paths: config.paths, is_cut: config.anonymise, has_dns: config.dns };
        let (taps, work) = Taps::new(sink, config.one_in, counters, life);
        (Self { taps, style }, work)
    }

    /// When it is set, the sink is opened anew.
    pub fn reopen(&self) -> Arc<AtomicBool> {
        self.taps.reopen()
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
    tap: Tap<Record>,
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
        self.tap.offer(self.style.request(request));
    }

    /// Logs `asked`.
    #[cold]
    pub fn query(&self, asked: &Asked<'_>) {
        self.tap.offer(self.style.query(asked));
    }
}

impl Style {
    /// The record of a request.
    fn request(&self, request: &Request<'_>) -> Record {
        let Request { world, trust, head, answer, status, id, began } = *request;
        let mut texts = Texts::new();
        let path = head.asked.path_and_query.filter(|_| self.has_paths);
        let asked = record::Asked::Http {
            scheme: head.scheme,
            host: http::named_host(head).map(|host| texts.keep(host)),
            method: texts.keep(head.method.as_bytes()),
            path: path.map(|path| texts.keep(path.as_bytes())),
            status,
            outcome: answer.outcome,
            id,
        };
        let client = Caller::of(head.peer, head.fields, trust).addr;
        Record {
            time: now(),
            took: began.elapsed(),
            peer: self.network(head.peer),
            client: self.network(client),
            asked,
            decided: Decided::of(world.fleet(), answer.service, answer.choice, answer.appliance, &mut texts),
            generation: world.generation(),
            epoch: world.epoch(),
            texts,
        }
    }

    /// The record of a query.
    fn query(&self, asked: &Asked<'_>) -> Record {
        let Asked { world, peer, transport, query, reply, outcome, decided, served, began } = *asked;
        let (mut texts, mut qname) = (Texts::new(), NameBuf::default());
        let parsed = Query::parse(query, &mut qname).ok();
        let subnet = parsed.as_ref().and_then(|query| query.ecs()).filter(|ecs| ecs.source_len() > 0);
        let subnet = subnet.map(|ecs| Prefix::around(ecs.address(), ecs.source_len()));
        let (service, choice) = decided.unzip();
        Record {
            time: now(),
            took: began.elapsed(),
            peer: self.network(peer),
            client: subnet.map_or_else(|| self.network(peer), |subnet| self.subnet(subnet)),
            asked: record::Asked::Dns {
                transport,
                question: parsed.map(|query| (texts.keep(query.qname()), query.qtype().0)),
                rcode: reply.get(3).map(|flags| flags & 0x0f),
                outcome,
            },
            decided: Decided::of(world.fleet(), service, choice, served.first().copied(), &mut texts),
            generation: world.generation(),
            epoch: world.epoch(),
            texts,
        }
    }

    /// `addr` as lines show it.
    fn network(&self, addr: IpAddr) -> Network {
        if self.is_cut {
            let addr = addr.to_canonical();
            Network::subnet(Prefix::around(addr, cut_len(addr)))
        } else {
            Network::address(addr)
        }
    }

    /// `subnet` as lines show it.
    fn subnet(&self, subnet: Prefix) -> Network {
        let (first, len) = (subnet.first(), subnet.len());
        let len = if self.is_cut { len.min(cut_len(first)) } else { len };
        Network::subnet(Prefix::around(first, len))
    }
}

/// Leading bits of `addr` that are left when it is cut.
fn cut_len(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => CUT_V4,
        IpAddr::V6(_) => CUT_V6,
    }
}

#[cfg(test)]
mod tests {
    use super::line::type_name;
    use super::record::SHOWN_LEN_MAX;
    use super::*;
    use crate::health::State;
    use crate::http::tests::{HOPS, NAMES, Numbers, TARGETS, settings, world};
    use crate::http::{Asked as AskedFor, Fields, Scratch, respond};
    use crate::serve::tap::Event;
    use crate::serve::tap::lines::Lines;
    use hyper::http::Version;
    use serde_json::Value;

    const OPEN: Style = Style { has_paths: true, is_cut: false, has_dns: true };

    /// The line of `record` as others read it.
    fn read(record: &Record) -> Value {
        let mut room = b"what was there before".to_vec();
        let text = std::str::from_utf8(record.octets(&mut room)).expect("UTF-8");
        let line = text.strip_suffix('\n').expect("a line");
        assert!(line.starts_with(r#"{"time":"2"#) && !line.contains('\n'), "{line}");
        serde_json::from_str(line).expect("JSON")
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
        assert_eq!(line["path"], format!("{}\u{2026}", "\u{e9}".repeat(SHOWN_LEN_MAX / 2)));
        let (line, _) = line_of(&world, OPEN, b"a", &format!("x{}", "\u{e9}".repeat(5_000)), b"");
        assert_eq!(line["path"].as_str().map(str::len), Some(SHOWN_LEN_MAX - 1 + '\u{2026}'.len_utf8()));
    }

    /// `query`, answered by `reply`.
    fn asked<'a>(
        world: &'a Snapshot,
        query: &'a [u8],
        reply: &'a [u8],
        outcome: Outcome,
        began: Instant,
    ) -> Asked<'a> {
        let (peer, transport) = ([192, 0, 2, 53].into(), Transport::Tls);
        Asked { world, peer, transport, query, reply, outcome, decided: None, served: &[], began }
    }

    /// The line of `query`, answered by `reply`.
    fn line_of_query(world: &Snapshot, query: &[u8], reply: &[u8], outcome: Outcome) -> Value {
        read(&OPEN.query(&asked(world, query, reply, outcome, Instant::now())))
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
    fn a_record_is_no_larger_than_documented() {
        assert!(size_of::<Record>() <= 256, "{}", size_of::<Record>());
        let (world, long) = (world(State::Up), "x".repeat(9_000));
        let lines = [httparse::Header { name: "Host", value: long.as_bytes() }];
        let head = Head {
            method: &long,
            asked: AskedFor::origin(&long),
            version: Version::HTTP_11,
            fields: Fields::Lines(&lines),
            peer: [10, 0, 0, 1].into(),
            scheme: crate::fleet::Scheme::Http,
        };
        let (settings, mut scratch) = (settings(), Scratch::default());
        let answer = respond(&world, &settings, &mut scratch, &head);
        let (world, trust, began) = (&world, &settings.trust, Instant::now());
        let request = Request { world, trust, head: &head, answer: &answer, status: 400, id: None, began };
        let texts = OPEN.request(&request).texts.octets();
        // Beside these, three names of 255 octets at most.
        assert!(texts + 3 * 255 <= 7_000, "{texts}");
    }

    #[test]
    fn lines_come_out_at_the_other_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let counters = Arc::<Counters<Tapped>>::default();
        let config = config::AccessLog { one_in: 2, ..config::AccessLog::default() };
        let (logs, work) = AccessLogs::new(Lines::File(path.clone()), &config, &counters, Life::new());
        assert!(logs.of_dns().is_none());
        let mut log = logs.of_http();
        let world = world(State::Up);
        for _ in 0..5 {
            if let Some(began) = log.begin() {
                log.query(&asked(&world, b"", b"", Outcome::Dropped(crate::dns::Dropped::Short), began));
            }
        }
        drop((logs, log));
        work();
        let text = std::fs::read_to_string(path).expect("a file");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert_eq!((counters.get(Tapped::Queued), counters.get(Tapped::Written)), (2, 2));
    }
}
