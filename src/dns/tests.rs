//! Queries through [`answer()`], replies read by another codec and compared as one line each.
//! Layer 7, tests only.

mod signed;

use super::*;
use crate::fleet::Country;
use crate::geo::{Geography, Location};
use crate::health::{Health, Report, State};
use crate::snapshot::{Compiler, Settings, Snapshot};
use crate::table;
use crate::units::UnixMs;
use crate::wire::Rtype;
use crate::zone::{Zones, tests::settings};
use domain::base::Message;
use domain::base::iana::Class;
use domain::base::message::RecordSection;
use domain::base::opt::{ClientSubnet, ExtendedError};
use domain::rdata::AllRecordData;
use std::net::IpAddr;
use std::sync::Arc;

/// One embedded cluster `near` with a route, one cluster `far` that serves anyone.
pub(super) const TABLE: &str = r#"{"table":{"format":1,"epoch":1,"source":"test"}}
{"site":{"code":"s","lat":52.0,"lon":4.0,"name":"S"}}
{"cluster":{"name":"near","site":"s","class":"embedded","serves":"routed","tags":["n"]}}
{"cluster":{"name":"far","site":"s","class":"transit","serves":"any"}}
{"appliance":{"name":"n1","cluster":"near","ipv4":"192.0.2.1","ipv6":"2001:db8::1","hostname":"n1.cdn.example","capacity_mbps":1000}}
{"appliance":{"name":"f1","cluster":"far","ipv4":"192.0.2.11","hostname":"f1.cdn.example","capacity_mbps":1000}}
{"appliance":{"name":"f2","cluster":"far","ipv4":"192.0.2.12","hostname":"f2.cdn.example","capacity_mbps":1000}}
{"appliance":{"name":"f3","cluster":"far","ipv4":"192.0.2.13","hostname":"deep.inner.cdn.example","capacity_mbps":1000}}
{"service":{"name":"video.cdn.example","ttl_s":30,"answers_max":2,"default_clusters":["far"]}}
{"service":{"name":"near.cdn.example","ttl_s":3,"tags":["n"]}}
{"service":{"name":"*.live.cdn.example","ttl_s":20,"tags":["n"],"fallback_alias":"Video.other.example"}}
{"service":{"name":"nl.cdn.example","ttl_s":60,"default_clusters":["far"],"geo":{"allow":[],"deny":["NL"]}}}
{"service":{"name":"nl2.cdn.example","ttl_s":60,"default_clusters":["far"],"geo":{"allow":["DE"],"deny":[]},"denied_alias":"no.other.example"}}
{"service":{"name":"outside.example","default_clusters":["far"]}}
{"route":{"prefix":"5.5.0.0/16","via":[{"cluster":"near"}]}}
{"route":{"prefix":"10.1.0.0/16","via":[{"cluster":"near"}]}}
"#;

/// Static records of the zone.
const RECORDS: &str = "\
$TTL 300
ns1 A 192.0.2.53
video TXT hello
video CAA 0 issue \"ca.example\"
_acme-challenge.video TXT token
www CNAME video
www2 CNAME www3
www3 CNAME ns1
gone CNAME nowhere
loop CNAME loop
off CNAME a.other.example.
*.wild A 192.0.2.77
*.a.live TXT longer
t.b.live TXT here
sub NS ns.sub
sub NS ns.other.example.
sub DS 1 8 2 e2d3c916f6deeac73294e8268fb5885044a833fc5459588f4a9184cfc41a5766
ns.sub A 192.0.2.99
big TXT ( \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\" )
";

/// A world with these appliances down.
pub(super) struct Stage {
    pub(super) snapshot: Snapshot,
    pub(super) server: Server,
    pub(super) scratch: Scratch,
    pub(super) peer: IpAddr,
    pub(super) now: UnixMs,
}

impl Stage {
    /// Compiles [`TABLE`] and [`RECORDS`].
    pub(super) fn new(down: &[&str]) -> Self {
        Self::with(down, Settings::default())
    }

    /// The same with other settings.
    fn with(down: &[&str], settings_of_decision: Settings) -> Self {
        Self::of(TABLE, down, settings_of_decision)
    }

    /// The same of another table.
    pub(super) fn of(table: &str, down: &[&str], settings_of_decision: Settings) -> Self {
        let table = Arc::new(table::read_full(table.as_bytes()).expect("a table").table);
        let place = Location { country: Country::new("NL"), ..Location::UNKNOWN };
        let geography = Geography::from_networks([("6.6.0.0/16".parse().expect("a prefix"), place)]);
        let mut health = Health::default();
        let reports: Vec<Report> = down
            .iter()
            .map(|name| Report {
                appliance: (*name).into(),
                state: State::Down,
                load: None,
                since: None,
                reason: None,
            })
            .collect();
        health.push(None, &reports, table.fleet(), UnixMs(1)).expect("in order");
        let overlay = Arc::new(health.overlay(table.fleet(), UnixMs(2)));
        let compiled = Compiler::new().compile(table, Arc::new(geography), settings_of_decision);
        let zones = Arc::new(Zones::build(&[settings(RECORDS)]).expect("a zone"));
        Self {
            snapshot: Snapshot::new(1, compiled, overlay, zones),
            server: Server::default(),
            scratch: Scratch::new(),
            peer: "7.7.7.7".parse().expect("an address"),
            now: UnixMs(3),
        }
    }

    /// Answers `packet` and returns outcome and bytes.
    pub(super) fn send(&mut self, packet: &[u8], transport: Transport) -> (Outcome, Vec<u8>) {
        let mut out = vec![0xee; 65_535];
        let Self { snapshot, server, scratch, peer, now } = self;
        let context = Context { world: snapshot, server, now: *now };
        let answered = answer(&context, scratch, *peer, transport, packet, &mut out);
        out.truncate(answered.len);
        (answered.outcome, out)
    }

    /// Asks and prints outcome, flags, scope and records.
    pub(super) fn ask(&mut self, name: &str, qtype: Rtype, ecs: Option<&str>) -> String {
        let packet = query(7, name, qtype, ecs);
        let (outcome, reply) = self.send(&packet, Transport::Udp);
        assert!(reply.len() <= if ecs.is_some() { 1232 } else { 512 });
        print(outcome, &reply)
    }

    /// Asks and compares.
    pub(super) fn check(&mut self, name: &str, qtype: Rtype, ecs: Option<&str>, expected: &str) {
        assert_eq!(self.ask(name, qtype, ecs), expected, "{name} {} {ecs:?}", qtype.0);
    }
}

/// A query of class IN with RD; `ecs` is `address/length`, or empty for an OPT alone.
pub(super) fn query(id: u16, name: &str, qtype: Rtype, ecs: Option<&str>) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(ecs.is_some())]);
    packet.extend_from_slice(name.parse::<crate::wire::Name>().expect("a name").as_wire());
    packet.extend_from_slice(&qtype.0.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    if let Some(ecs) = ecs {
        let mut options = Vec::new();
        if let Some((addr, len)) = ecs.split_once('/') {
            let len: u8 = len.parse().expect("a length");
            let (family, octets) = match addr.parse().expect("an address") {
                IpAddr::V4(addr) => (1, addr.octets().to_vec()),
                IpAddr::V6(addr) => (2, addr.octets().to_vec()),
            };
            let octets = &octets[..usize::from(len.div_ceil(8))];
            options.extend_from_slice(&[0, 8, 0, 4 + octets.len() as u8, 0, family, len, 0]);
            options.extend_from_slice(octets);
        }
        packet.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, options.len() as u8]);
        packet.extend_from_slice(&options);
    }
    packet
}

/// A reply on one line: outcome, rcode, flags, scope, extended error, records by section.
pub(super) fn print(outcome: Outcome, reply: &[u8]) -> String {
    let message = Message::from_octets(reply).expect("a message");
    let mut line = format!("{} {}", outcome.label(), message.header().rcode());
    if message.header().aa() {
        line.push_str(" aa");
    }
    assert_eq!(message.header().tc(), outcome == Outcome::Truncated);
    if let Some(opt) = message.opt() {
        for subnet in opt.opt().iter::<ClientSubnet>().flatten() {
            line.push_str(&format!(" /{}", subnet.scope_prefix_len()));
        }
        for ede in opt.opt().iter::<ExtendedError<_>>().flatten() {
            line.push_str(&format!(" ede{}", ede.code().to_int()));
        }
    }
    let mut section = |mark: &str, records: Vec<String>| {
        records.iter().for_each(|record| line.push_str(&format!(" {mark} {record}")));
    };
    section("|", records(message.answer().expect("answers")));
    section("?", records(message.authority().expect("authority")));
    section("+", records(message.additional().expect("additional")));
    line
}

/// The records of a section but the OPT, names without the zone's.
fn records(section: RecordSection<'_, &[u8]>) -> Vec<String> {
    let mut lines = Vec::new();
    for record in section.limit_to::<AllRecordData<_, _>>() {
        let record = record.expect("a record");
        let data = match record.data() {
            AllRecordData::Opt(_) => continue,
            AllRecordData::Soa(soa) => format!("min{}", soa.minimum().as_secs()),
            other => other.to_string(),
        };
        let owner = record.owner().to_string().to_ascii_lowercase();
        let owner = owner.trim_end_matches("cdn.example").trim_end_matches('.');
        let data = data.trim_end_matches('.');
        lines.push(format!("{owner} {} {} {data}", record.ttl().as_secs(), record.rtype()));
    }
    lines
}

#[test]
fn ruling4_one_cluster_and_ruling9_counts() {
    let mut stage = Stage::new(&[]);
    stage.check(
        "near.cdn.example",
        Rtype::A,
        Some("5.5.1.0/24"),
        "steered NOERROR aa /16 | near 3 A 192.0.2.1",
    );
    stage.check(
        "near.cdn.example",
        Rtype::AAAA,
        Some("5.5.1.0/24"),
        "steered NOERROR aa /16 | near 3 AAAA 2001:db8::1",
    );
    let with_ecs = stage.ask("video.cdn.example", Rtype::A, Some("5.5.1.0/24"));
    assert_eq!(with_ecs.matches(" A 192.0.2.1").count(), 1, "near first: {with_ecs}");
    let with_ecs = stage.ask("video.cdn.example", Rtype::A, Some("9.9.9.0/24"));
    assert_eq!(with_ecs.matches("video 30 A 192.0.2.1").count(), 2, "answers_max: {with_ecs}");
    let without = stage.ask("video.cdn.example", Rtype::A, None);
    assert_eq!(without.matches("video 30 A 192.0.2.1").count(), 3, "answers_no_ecs: {without}");
}

#[test]
fn ruling9_without_ecs_the_query_id_rotates() {
    let mut stage = Stage::new(&[]);
    let mut firsts = Vec::new();
    for id in 0..6 {
        let (outcome, reply) = stage.send(&query(id, "video.cdn.example", Rtype::A, None), Transport::Udp);
        firsts.push(print(outcome, &reply));
    }
    assert_eq!(firsts[0], firsts[3]);
    assert_ne!(firsts[0], firsts[1]);
    assert_ne!(firsts[1], firsts[2]);
    assert_ne!(firsts[0], firsts[2]);
    let once = stage.send(&query(1, "video.cdn.example", Rtype::A, Some("9.9.9.0/24")), Transport::Udp).1;
    let twice = stage.send(&query(2, "video.cdn.example", Rtype::A, Some("9.9.9.0/24")), Transport::Udp).1;
    assert_eq!(once[2..], twice[2..], "with ECS it does not");
}

#[test]
fn a_resolver_that_the_table_knows_is_answered_as_its_clients_are() {
    let resolvers = [
        r#"{"resolver":{"prefix":"8.0.0.0/8","clients":["9.9.9.0/24"]}}"#,
        // The first network has nobody for `near`, the second has.
        r#"{"resolver":{"prefix":"8.8.8.0/24","clients":["9.9.9.0/24","5.5.1.0/24"]}}"#,
        r#"{"resolver":{"prefix":"8.8.9.0/24","clients":["5.5.2.0/24"]}}"#,
    ];
    let table = format!("{TABLE}{}", resolvers.join("\n"));
    let mut stage = Stage::of(&table, &[], Settings::default());
    let near = "near.cdn.example";
    let (served, unserved) = ("steered NOERROR aa | near 3 A 192.0.2.1", "nodata NOERROR aa ?  3 SOA min30");
    for (peer, expected) in [
        ("8.8.8.8", served),
        ("8.8.9.9", served),
        ("8.8.7.7", unserved),
        ("5.5.9.9", served),
        ("9.9.9.9", unserved),
        ("2001:db8::1", unserved),
    ] {
        stage.peer = peer.parse().expect("an address");
        stage.check(near, Rtype::A, None, expected);
        // Who says for whom it asks is believed.
        stage.check(near, Rtype::A, Some("5.5.1.0/24"), "steered NOERROR aa /16 | near 3 A 192.0.2.1");
    }
    stage.peer = "8.8.8.8".parse().expect("an address");
    stage.check(near, Rtype::A, Some("5.5.1.0/0"), "steered NOERROR aa /0 | near 3 A 192.0.2.1");
}

#[test]
fn rfc9460_s7_3_hints_are_the_addresses_that_the_same_client_gets() {
    let services = [
        r#"{"service":{"name":"web.cdn.example","ttl_s":30,"default_clusters":["far"],"scheme":"https","port":8443,"https":{"alpn":["h2"]}}}"#,
        r#"{"service":{"name":"bare.cdn.example","default_clusters":["far"],"https":{"alpn":[],"hints":false}}}"#,
        r#"{"service":{"name":"other.cdn.example","tags":["n"],"fallback_alias":"video.other.example","https":{}}}"#,
    ];
    let table = format!("{TABLE}{}", services.join("\n"));
    let mut stage = Stage::of(&table, &[], Settings::default());
    let hints = |stage: &mut Stage, ecs: &str| {
        let packet = query(7, "web.cdn.example", Rtype::HTTPS, Some(ecs));
        let (outcome, reply) = stage.send(&packet, Transport::Udp);
        assert_eq!(outcome, Outcome::Steered);
        let mut address = |rtype| {
            let packet = query(7, "web.cdn.example", rtype, Some(ecs));
            let (outcome, reply) = stage.send(&packet, Transport::Udp);
            let message = Message::from_octets(reply).expect("a message");
            let records = message.answer().expect("answers").limit_to::<AllRecordData<_, _>>();
            let texts = records.map(|record| record.expect("a record").data().to_string());
            (outcome == Outcome::Steered).then(|| texts.collect::<Vec<_>>().join(","))
        };
        (print(outcome, &reply), address(Rtype::A), address(Rtype::AAAA))
    };
    for ecs in ["5.5.1.0/24", "9.9.9.0/24", "2a00::/48"] {
        let (told, v4, v6) = hints(&mut stage, ecs);
        assert!(told.contains("1 . alpn=h2 port=8443 "), "{told}");
        for (key, addresses) in [("ipv4hint=", v4), ("ipv6hint=", v6)] {
            let told =
                told.split(key).nth(1).map(|rest| rest.split(' ').next().unwrap_or_default().to_owned());
            assert_eq!(told, addresses, "{ecs} {key}");
        }
    }
    stage.check("bare.cdn.example", Rtype::HTTPS, None, "steered NOERROR aa | bare 30 HTTPS 1 . ");
    stage.check("video.cdn.example", Rtype::HTTPS, None, "nodata NOERROR aa ?  30 SOA min30");
    // Where nobody serves it is as for addresses.
    let mut down = Stage::of(&table, &["n1"], Settings { fail_open_below: 0.0, ..Settings::default() });
    let aliased = "aliased NOERROR aa | other 30 CNAME video.other.example";
    down.check("other.cdn.example", Rtype::A, None, aliased);
    down.check("other.cdn.example", Rtype::HTTPS, None, aliased);
}

#[test]
fn ruling10_source_0_and_special_blocks_leave_it_to_the_peer() {
    let mut stage = Stage::new(&[]);
    stage.peer = "5.5.9.9".parse().expect("an address");
    stage.check(
        "near.cdn.example",
        Rtype::A,
        Some("9.9.9.9/0"),
        "steered NOERROR aa /0 | near 3 A 192.0.2.1",
    );
    stage.check("near.cdn.example", Rtype::A, None, "steered NOERROR aa | near 3 A 192.0.2.1");
    let special = stage.ask("near.cdn.example", Rtype::A, Some("192.168.1.0/24"));
    assert!(special.ends_with("| near 3 A 192.0.2.1"), "{special}");
    let routed = stage.ask("near.cdn.example", Rtype::A, Some("10.1.2.0/24"));
    assert_eq!(routed, "steered NOERROR aa /16 | near 3 A 192.0.2.1");
    let mapped = stage.ask("near.cdn.example", Rtype::A, Some("::ffff:5.5.1.0/120"));
    assert_eq!(mapped, "steered NOERROR aa /112 | near 3 A 192.0.2.1");
    stage.peer = "::ffff:5.5.9.9".parse().expect("an address");
    stage.check("near.cdn.example", Rtype::A, None, "steered NOERROR aa | near 3 A 192.0.2.1");
}

#[test]
fn ruling26_negatives_by_steering_are_short_and_scoped() {
    let mut stage = Stage::new(&[]);
    let nobody = stage.ask("near.cdn.example", Rtype::A, Some("9.9.9.0/24"));
    assert!(nobody.starts_with("nodata NOERROR aa /"), "{nobody}");
    assert!(!nobody.contains(" /0 ") && nobody.ends_with("?  3 SOA min30"), "{nobody}");
    let no_family = stage.ask("video.cdn.example", Rtype::AAAA, Some("9.9.9.0/24"));
    assert!(no_family.ends_with("?  5 SOA min30"), "{no_family}");
}

#[test]
fn ruling16_denied_is_nodata_or_an_alias() {
    let mut stage = Stage::new(&[]);
    let denied = stage.ask("nl.cdn.example", Rtype::A, Some("6.6.1.0/24"));
    assert_eq!(denied, "nodata NOERROR aa /16 ede18 ?  5 SOA min30");
    let alias = stage.ask("nl2.cdn.example", Rtype::A, Some("6.6.1.0/24"));
    assert!(alias.ends_with("| nl2 60 CNAME no.other.example"), "{alias}");
    let allowed = stage.ask("nl.cdn.example", Rtype::A, Some("9.9.9.0/24"));
    assert!(allowed.starts_with("steered"), "{allowed}");
}

#[test]
fn ruling24_fallback_is_a_cname_and_ruling26_nobody_up_is_servfail_22() {
    let no_fail_open = Settings { fail_open_below: 0.0, ..Settings::default() };
    let mut stage = Stage::with(&["n1", "f1", "f2", "f3"], no_fail_open);
    let alias = stage.ask("Show.live.cdn.example", Rtype::A, Some("5.5.1.0/24"));
    assert_eq!(alias, "aliased NOERROR aa /16 | show.live 20 CNAME video.other.example");
    let nobody = stage.ask("near.cdn.example", Rtype::A, Some("5.5.1.0/24"));
    assert_eq!(nobody, "nobody_up SERVFAIL /16 ede22");
    stage.check("near.cdn.example", Rtype::A, None, "nodata NOERROR aa ?  3 SOA min30");
}

#[test]
fn ruling26_no_table_yet_is_servfail_14() {
    let mut stage = Stage::new(&[]);
    let world = &stage.snapshot;
    stage.snapshot = Snapshot::not_ready(
        Arc::clone(world.compiled()),
        Arc::clone(world.overlay()),
        Arc::clone(world.zones()),
    );
    stage.check("video.cdn.example", Rtype::A, Some("5.5.1.0/24"), "not_ready SERVFAIL /0 ede14");
    stage.check("x.cdn.example", Rtype::A, None, "not_ready SERVFAIL");
    stage.check("ns1.cdn.example", Rtype::A, None, "static NOERROR aa | ns1 300 A 192.0.2.53");
    stage.check("cdn.example", Rtype::SOA, None, "static NOERROR aa |  3600 SOA min30");
    stage.check("other.example", Rtype::A, None, "refused REFUSED");
}

#[test]
fn ruling15_precedence() {
    let mut stage = Stage::new(&[]);
    let near = Some("5.5.1.0/24");
    stage.check("video.cdn.example", Rtype::TXT, near, "static NOERROR aa /0 | video 300 TXT \"hello\"");
    stage.check("video.cdn.example", Rtype::MX, near, "nodata NOERROR aa /0 ?  30 SOA min30");
    stage.check(
        "_acme-challenge.video.cdn.example",
        Rtype::TXT,
        near,
        "static NOERROR aa /0 | _acme-challenge.video 300 TXT \"token\"",
    );
    stage.check("n1.cdn.example", Rtype::AAAA, near, "static NOERROR aa /0 | n1 60 AAAA 2001:db8::1");
    stage.check("f1.cdn.example", Rtype::AAAA, near, "nodata NOERROR aa /0 ?  30 SOA min30");
    stage.check("x.live.cdn.example", Rtype::A, near, "steered NOERROR aa /16 | x.live 20 A 192.0.2.1");
    stage.check("x.y.live.cdn.example", Rtype::A, near, "steered NOERROR aa /16 | x.y.live 20 A 192.0.2.1");
    stage.check("t.b.live.cdn.example", Rtype::A, near, "nodata NOERROR aa /0 ?  30 SOA min30");
    stage.check("t.b.live.cdn.example", Rtype::TXT, near, "static NOERROR aa /0 | t.b.live 300 TXT \"here\"");
    stage.check(
        "x.a.live.cdn.example",
        Rtype::TXT,
        near,
        "static NOERROR aa /0 | x.a.live 300 TXT \"longer\"",
    );
    stage.check("x.wild.cdn.example", Rtype::A, near, "static NOERROR aa /0 | x.wild 300 A 192.0.2.77");
}

#[test]
fn rfc8020_empty_non_terminals_are_nodata_and_the_rest_nxdomain() {
    let mut stage = Stage::new(&[]);
    let nodata = "nodata NOERROR aa ?  30 SOA min30";
    for name in ["live", "inner", "wild", "b.live", "a.live"] {
        stage.check(&format!("{name}.cdn.example"), Rtype::A, None, nodata);
    }
    stage.check("nope.cdn.example", Rtype::A, None, "nxdomain NXDOMAIN aa ?  30 SOA min30");
    stage.check(
        "x.inner.cdn.example",
        Rtype::A,
        Some("5.5.1.0/24"),
        "nxdomain NXDOMAIN aa /0 ?  30 SOA min30",
    );
}

#[test]
fn static_aliases_are_followed_up_to_the_table() {
    let mut stage = Stage::new(&[]);
    stage.check(
        "www.cdn.example",
        Rtype::A,
        Some("5.5.1.0/24"),
        "static NOERROR aa /0 | www 300 CNAME video.cdn.example",
    );
    stage.check("www2.cdn.example", Rtype::A, None,
        "static NOERROR aa | www2 300 CNAME www3.cdn.example | www3 300 CNAME ns1.cdn.example | ns1 300 A 192.0.2.53");
    stage.check("www2.cdn.example", Rtype::MX, None,
        "static NOERROR aa | www2 300 CNAME www3.cdn.example | www3 300 CNAME ns1.cdn.example ?  30 SOA min30");
    stage.check(
        "www2.cdn.example",
        Rtype::CNAME,
        None,
        "static NOERROR aa | www2 300 CNAME www3.cdn.example",
    );
    stage.check(
        "gone.cdn.example",
        Rtype::A,
        None,
        "nxdomain NXDOMAIN aa | gone 300 CNAME nowhere.cdn.example ?  30 SOA min30",
    );
    stage.check("off.cdn.example", Rtype::A, None, "static NOERROR aa | off 300 CNAME a.other.example");
    let looped = stage.ask("loop.cdn.example", Rtype::A, None);
    assert!(looped.starts_with("static NOERROR aa | loop 300 CNAME loop.cdn.example"), "{looped}");
}

#[test]
fn rfc1034_s4_2_1_delegations_are_referrals_with_glue() {
    let mut stage = Stage::new(&[]);
    let referral = "referral NOERROR ? sub 300 NS ns.sub.cdn.example ? sub 300 NS ns.other.example + ns.sub 300 A 192.0.2.99";
    stage.check("sub.cdn.example", Rtype::A, None, referral);
    stage.check("sub.cdn.example", Rtype::NS, None, referral);
    stage.check("x.y.sub.cdn.example", Rtype::A, None, referral);
    assert!(stage.ask("sub.cdn.example", Rtype::DS, None).starts_with("static NOERROR aa | sub 300 DS"));
}

#[test]
fn the_apex_answers_soa_and_ns() {
    let mut stage = Stage::new(&[]);
    stage.check("cdn.example", Rtype::SOA, None, "static NOERROR aa |  3600 SOA min30");
    stage.check(
        "CDN.example",
        Rtype::NS,
        None,
        "static NOERROR aa |  3600 NS ns1.cdn.example |  3600 NS ns2.other.example + ns1 300 A 192.0.2.53",
    );
    stage.check("cdn.example", Rtype::A, None, "nodata NOERROR aa ?  30 SOA min30");
}

#[test]
fn refused_is_what_is_not_ours() {
    let mut stage = Stage::new(&[]);
    for name in ["outside.example", "example", ".", "xcdn.example"] {
        stage.check(name, Rtype::A, Some("5.5.1.0/24"), "refused REFUSED /0 ede20");
    }
    stage.check("cdn.example", Rtype::AXFR, None, "refused REFUSED");
    stage.check("cdn.example", Rtype::IXFR, None, "refused REFUSED");
    let mut chaos = query(1, "video.cdn.example", Rtype::TXT, None);
    let len = chaos.len();
    chaos[len - 1] = 3;
    let (outcome, reply) = stage.send(&chaos, Transport::Udp);
    assert_eq!((outcome, reply.len()), (Outcome::Refused, chaos.len()));
}

#[test]
fn rfc8482_s4_2_any_is_one_hinfo() {
    let mut stage = Stage::new(&[]);
    for name in ["video", "ns1", "n1", "x.live", "x.wild"] {
        let line = stage.ask(&format!("{name}.cdn.example"), Rtype::ANY, None);
        assert!(line.starts_with(&format!("static NOERROR aa | {name} 3600 HINFO")), "{line}");
    }
    stage.check("nope.cdn.example", Rtype::ANY, None, "nxdomain NXDOMAIN aa ?  30 SOA min30");
}

#[test]
fn rfc2181_s9_too_large_for_udp_is_truncated_and_whole_on_a_stream() {
    let mut stage = Stage::new(&[]);
    stage.check("big.cdn.example", Rtype::TXT, None, "truncated NOERROR aa");
    assert!(stage.ask("big.cdn.example", Rtype::TXT, Some("")).starts_with("static"));
    let packet = query(1, "big.cdn.example", Rtype::TXT, None);
    assert_eq!(stage.send(&packet, Transport::Tcp).0, Outcome::Static);
}

#[test]
fn rfc8467_s4_1_replies_are_padded_where_nobody_can_read_them() {
    let mut stage = Stage::new(&[]);
    let padded = |name: &str, qtype| {
        let mut packet = query(7, name, qtype, Some("5.5.5.0/24"));
        // The OPT is last: its length grows by an option of three octets.
        packet.extend_from_slice(&[0, 12, 0, 3, 0, 0, 0]);
        let at = packet.len() - 7 - 11 - 2;
        packet[at + 1] += 7;
        packet
    };
    let long = padded("big.cdn.example", Rtype::TXT);
    for (packet, len) in [
        (padded("near.cdn.example", Rtype::A), 468),
        (padded("nope.cdn.example", Rtype::A), 468),
        (long, 936),
    ] {
        for transport in [Transport::Tls, Transport::Https] {
            let (_, reply) = stage.send(&packet, transport);
            assert_eq!(reply.len(), len);
            let message = Message::from_octets(reply).expect("a message");
            let opt = message.opt().expect("an OPT");
            assert!(opt.opt().iter::<domain::base::opt::AllOptData<_, _>>().all(|option| option.is_ok()));
        }
        for transport in [Transport::Udp, Transport::Tcp] {
            let (_, reply) = stage.send(&packet, transport);
            assert!(!reply.len().is_multiple_of(468) && !reply.windows(4).any(|four| four == [0, 12, 0, 3]));
        }
    }
    let plain = query(7, "near.cdn.example", Rtype::A, Some("5.5.5.0/24"));
    assert_eq!(stage.send(&plain, Transport::Tls).1, stage.send(&plain, Transport::Tcp).1);
}

#[test]
fn every_packet_has_one_outcome_and_equal_packets_equal_bytes() {
    let mut stage = Stage::new(&["f2"]);
    let mut seed = 0x5eed_0002u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 16) as usize % below.max(1)
    };
    let names = ["video", "near", "x.live", "www2", "sub", "big", "nope", "n1", "x.wild", "live"];
    for _ in 0..30_000 {
        let name = format!("{}.cdn.example", names[random(names.len())]);
        let qtype = [Rtype::A, Rtype::AAAA, Rtype::TXT, Rtype::ANY, Rtype::NS][random(5)];
        let ecs = [None, Some(""), Some("5.5.1.0/24"), Some("2002:505:100::/48"), Some("::/0")][random(5)];
        let mut packet = query(random(65_536) as u16, &name, qtype, ecs);
        for _ in 0..random(3) {
            let at = random(packet.len());
            packet[at] ^= 1 << random(8);
        }
        let (outcome, reply) = stage.send(&packet, Transport::Udp);
        assert_eq!(
            (outcome, &reply),
            (stage.send(&packet, Transport::Udp).0, &stage.send(&packet, Transport::Udp).1)
        );
        assert_eq!(outcome.rcode().is_none(), reply.is_empty());
        if let Some(rcode) = outcome.rcode() {
            assert_eq!(u16::from(reply[3] & 0x0f), rcode.code() & 0x0f);
            assert!(Message::from_octets(&reply[..]).is_ok());
        }
    }
}

/// Answers the general way, whatever the query.
fn answer_generally(stage: &mut Stage, packet: &[u8], transport: Transport) -> (Outcome, Vec<u8>) {
    let mut out = vec![0xee; 65_535];
    let Stage { snapshot, server, scratch, peer, now } = stage;
    let context = Context { world: snapshot, server, now: *now };
    let answered = answer::answer_any(&context, scratch, *peer, transport, packet, &mut out);
    out.truncate(answered.len);
    (answered.outcome, out)
}

#[test]
fn the_usual_way_and_the_general_way_write_the_same_whatever_was_foreseen() {
    let mut seed = 0x5eed_0003u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 16) as usize % below.max(1)
    };
    let names = ["video", "near", "ViDeO", "nl", "nl2", "x.live", "n1"];
    let subnets = [
        "5.5.1.0/24",
        "5.5.0.0/15",
        "6.6.7.0/24",
        "10.1.0.0/16",
        "10.2.0.0/16",
        "9.0.0.0/8",
        "128.0.0.0/1",
        "2002:505:100::/48",
        "2a00::/56",
        "2a00:1234:5678:9abc:def0:1234:5678:9abc/128",
        "::ffff:5.5.0.0/112",
        "192.0.2.1/32",
        "::/0",
    ];
    let (mut usual, mut foreseen) = (0, 0);
    for down in [&["f2"][..], &["n1"], &["f1", "f2", "f3", "n1"], &[]] {
        let mut stage = Stage::new(down);
        for _ in 0..5_000 {
            let name = format!("{}.cdn.example", names[random(names.len())]);
            let qtype = [Rtype::A, Rtype::A, Rtype::AAAA, Rtype::TXT][random(4)];
            let mut packet = query(random(65_536) as u16, &name, qtype, Some(subnets[random(subnets.len())]));
            for _ in 0..random(3) {
                let at = random(packet.len());
                packet[at] ^= 1 << random(8);
            }
            let transport = [Transport::Udp, Transport::Tcp][random(2)];
            if random(2) == 0 {
                let batch = [&packet[..], &packet[..random(packet.len())], &[], &packet, &packet];
                foresee(&stage.snapshot, &mut stage.scratch, batch.len(), batch.into_iter());
                foreseen += stage.scratch.foresight.foreseen_count();
            }
            let mut out = [0; 4096];
            let context = Context { world: &stage.snapshot, server: &stage.server, now: UnixMs(3) };
            let in_one_go = usual::answer(&context, &mut stage.scratch, transport, &packet, &mut out);
            usual += usize::from(in_one_go.is_some());
            let found = stage.send(&packet, transport);
            let decided = stage.scratch.decided();
            assert_eq!(found, answer_generally(&mut stage, &packet, transport), "{packet:02x?}");
            assert_eq!(decided, stage.scratch.decided(), "{packet:02x?}");
            if let Some(answered) = in_one_go {
                assert_eq!((answered.outcome, &out[..answered.len]), (found.0, &found.1[..]));
            }
        }
    }
    assert!(usual > 1_000, "{usual} of 20,000 are usual");
    assert!(foreseen > 10_000, "{foreseen} lookups were foreseen");
}

#[test]
fn what_was_foreseen_is_taken_only_for_its_client_view_and_generation() {
    let mut stage = Stage::new(&[]);
    let packets: Vec<_> =
        (1..=5).map(|n| query(7, "video.cdn.example", Rtype::A, Some(&format!("5.5.{n}.0/24")))).collect();
    let batch = || packets.iter().map(|packet| &packet[..]);
    // The name leads to its view from the second batch on.
    stage.send(&packets[0], Transport::Udp);
    foresee(&stage.snapshot, &mut stage.scratch, packets.len(), batch());
    let service = stage.snapshot.fleet().service_by_name("video.cdn.example").expect("a service");
    let position = stage.snapshot.view_position(service);
    let hit = |world: &Snapshot, turn, position, address: &str| {
        let client = crate::prefix::Client::of(address.parse().expect("an address"));
        stage.scratch.foresight.hit(world, turn, position, client)
    };
    assert!(hit(&stage.snapshot, 2, position, "5.5.3.0").is_some());
    assert_eq!(hit(&stage.snapshot, 2, position, "5.5.4.0"), None);
    assert_eq!(hit(&stage.snapshot, 2, position + 1, "5.5.3.0"), None);
    assert_eq!(hit(&stage.snapshot, 5, position, "5.5.3.0"), None);
    let later = Snapshot::new(
        2,
        Arc::clone(stage.snapshot.compiled()),
        Arc::clone(stage.snapshot.overlay()),
        Arc::clone(stage.snapshot.zones()),
    );
    assert_eq!(hit(&later, 2, position, "5.5.3.0"), None);
    // Fewer than gain: nothing is left of the batch before.
    foresee(&stage.snapshot, &mut stage.scratch, 1, batch().take(1));
    assert_eq!(stage.scratch.foresight.foreseen_count(), 0);
}

#[test]
fn rfc4892_and_rfc5001_a_server_says_who_it_is_where_it_may() {
    let mut stage = Stage::new(&[]);
    let ask = |stage: &mut Stage, name: &str, qtype| {
        let mut packet = query(7, name, qtype, None);
        let class_at = packet.len() - 1;
        packet[class_at] = 3;
        let (outcome, reply) = stage.send(&packet, Transport::Udp);
        let message = Message::from_octets(&reply[..]).expect("a message");
        let mut records = message.answer().expect("answers").limit_to::<AllRecordData<_, _>>();
        let told = records.next().map(|record| record.expect("a record"));
        (outcome, told.map(|record| (record.class(), record.data().to_string())))
    };
    for name in ["version.bind", "id.server"] {
        assert_eq!(ask(&mut stage, name, Rtype::TXT), (Outcome::Refused, None), "{name}");
    }
    stage.server = Server { identity: "ams-1".into(), version: "7".into(), ..Server::default() };
    let told = |text: &str| (Outcome::Static, Some((Class::CH, format!("\"{text}\""))));
    for (name, text) in
        [("version.bind", "7"), ("VERSION.server", "7"), ("id.server", "ams-1"), ("hostname.bind", "ams-1")]
    {
        assert_eq!(ask(&mut stage, name, Rtype::TXT), told(text), "{name}");
        assert_eq!(ask(&mut stage, name, Rtype::ANY), told(text), "{name}");
        assert_eq!(ask(&mut stage, name, Rtype::A), (Outcome::Refused, None), "{name}");
    }
    assert_eq!(ask(&mut stage, "video.cdn.example", Rtype::TXT), (Outcome::Refused, None));
    // An empty NSID option asks; without it nothing is said.
    let mut packet = query(7, "video.cdn.example", Rtype::A, Some(""));
    assert!(!stage.send(&packet, Transport::Udp).1.windows(5).any(|octets| octets == b"ams-1"));
    let len_at = packet.len() - 1;
    packet[len_at] = 4;
    packet.extend_from_slice(&[0, 3, 0, 0]);
    assert!(stage.send(&packet, Transport::Udp).1.ends_with(b"\x00\x03\x00\x05ams-1"));
}

#[test]
fn ruling15_conflicts_with_a_table_are_problems() {
    let table = table::read_full(TABLE.as_bytes()).expect("a table").table;
    let check = |records: &str, expected: &[&str]| {
        let zones = Zones::build(&[settings(records)]).expect("a zone");
        let found = zones.conflicts_with(table.fleet());
        let found: Vec<_> = found.iter().map(|p| format!("{} {}", p.line, p.found)).collect();
        assert_eq!(found, expected, "{records}");
    };
    check("ns1 A 192.0.2.53", &[]);
    check("", &["0 ns1.cdn.example"]);
    check(
        "ns1 A 192.0.2.53\nvideo A 192.0.2.1\nnear CNAME x\nn1 AAAA ::1\nvideo TXT fine\n*.live A 192.0.2.1",
        &[
            "2 video.cdn.example A",
            "3 near.cdn.example CNAME",
            "4 n1.cdn.example AAAA",
            "6 *.live.cdn.example A",
        ],
    );
    check(
        "ns1 A 192.0.2.53\nlive NS n1\ninner NS ns.inner",
        &["2 live.cdn.example NS", "3 inner.cdn.example NS", "3 ns.inner.cdn.example"],
    );
    let zones = Zones::build(&[settings("")]).expect("a zone");
    assert_eq!(zones.services_outside(table.fleet()), ["outside.example"]);
}

#[test]
fn ruling15_aliases_to_services_and_at_an_apex_are_problems() {
    let text = "{\"table\":{\"format\":1,\"epoch\":1}}\n\
        {\"site\":{\"code\":\"s\",\"lat\":52.0,\"lon\":4.0}}\n\
        {\"cluster\":{\"name\":\"far\",\"site\":\"s\",\"class\":\"transit\"}}\n\
        {\"service\":{\"name\":\"cdn.example\",\"default_clusters\":[\"far\"],\"fallback_alias\":\"x.other.example\"}}\n\
        {\"service\":{\"name\":\"a.cdn.example\",\"default_clusters\":[\"far\"],\"denied_alias\":\"www.cdn.example\"}}\n";
    let table = table::read_full(text.as_bytes()).expect("a table").table;
    let zones = Zones::build(&[settings("ns1 A 192.0.2.53\nwww CNAME @")]).expect("a zone");
    let found: Vec<_> =
        zones.conflicts_with(table.fleet()).into_iter().map(|p| (p.key, p.found, p.expected)).collect();
    let text =
        |key: &str, found: &str, expected: &str| (key.to_owned(), found.to_owned(), expected.to_owned());
    assert_eq!(
        found,
        [
            text("service.fallback_alias", "x.other.example", "no alias, as cdn.example is a zone's apex"),
            text(
                "service.denied_alias",
                "www.cdn.example",
                "an alias that does not resolve to the service cdn.example"
            ),
        ]
    );
}
