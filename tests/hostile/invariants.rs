//! What has to hold whatever comes in. One function for each fuzz target, each total: it takes any
//! octets and panics only when an invariant is broken.
//!
//! `tests/hostile.rs` runs them over the corpora and over seeded mutations of these; `tests/fuzz` is
//! built from this same file. Where a checksum or digest would stop every mutation at the door, the
//! function also tries the octets with the checksum mended.
#![allow(dead_code)] // a fuzz target uses one of them

use domain::base::Message;
use domain::base::iana::OptRcode;
use domain::base::message::RecordSection;
use domain::base::opt::{AllOptData, ClientSubnet};
use domain::rdata::AllRecordData;
use hyper::body::Bytes;
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version, header};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, OnceLock};
use steerd::dns::{
    Answered, Audience, Context, Cookies, Limits, Outcome, Scratch, Secret, Server, Transport, answer,
};
use steerd::dnssec::{Algorithm, Flags, KeyFiles, Keyring, Keyrings, NewKey, Rules, Times, UnixS};
use steerd::fleet::{Country, Scheme};
use steerd::geo::{Accuracy, CountryPoints, Geography, Location, Point};
use steerd::health::{Overlay, Standing, State};
use steerd::http::steering;
use steerd::http::{self, Caller, Head, HttpOutcome, Trust};
use steerd::proxy::{self, Parsed};
use steerd::snapshot::{Compiler, Settings, Snapshot, wire_name};
use steerd::table::journal::{self, Tail};
use steerd::table::{self, PROBLEMS_MAX, Table, artefact as binary};
use steerd::units::UnixMs;
use steerd::wire::{EcsRequest, Name};
use steerd::zone::{SoaSettings, ZoneSettings, Zones};

/// A small table in which every kind of answer occurs.
pub const TABLE: &str = r#"{"table":{"format":1,"epoch":7,"source":"hostile"}}
{"site":{"code":"ams1","lat":52.31,"lon":4.76,"name":"Amsterdam"}}
{"site":{"code":"fra1","lat":50.03,"lon":8.57,"name":"Frankfurt"}}
{"cluster":{"name":"near","site":"ams1","class":"embedded","serves":"routed","tags":["n"]}}
{"cluster":{"name":"far","site":"fra1","class":"transit","serves":"any"}}
{"cluster":{"name":"wide","site":"fra1","class":"public_peering","serves":"any","tags":["w"]}}
{"appliance":{"name":"n1","cluster":"near","ipv4":"192.0.2.1","ipv6":"2001:db8::1","hostname":"n1.cdn.example","capacity_mbps":1000}}
{"appliance":{"name":"f1","cluster":"far","ipv4":"192.0.2.11","hostname":"f1.cdn.example","capacity_mbps":1000,"tags":["k"]}}
{"appliance":{"name":"f2","cluster":"far","ipv4":"192.0.2.12","hostname":"f2.cdn.example","capacity_mbps":2000,"status":"draining"}}
{"appliance":{"name":"w1","cluster":"wide","ipv4":"192.0.2.21","ipv6":"2001:db8::21","capacity_mbps":1000}}
{"appliance":{"name":"w2","cluster":"wide","ipv4":"192.0.2.22","ipv6":"2001:db8::22","capacity_mbps":1000}}
{"appliance":{"name":"w3","cluster":"wide","ipv4":"192.0.2.23","hostname":"deep.inner.cdn.example","capacity_mbps":1000}}
{"service":{"name":"video.cdn.example","ttl_s":30,"answers_max":2,"default_clusters":["far"]}}
{"service":{"name":"near.cdn.example","ttl_s":3,"tags":["n"]}}
{"service":{"name":"wide.cdn.example","ttl_s":9,"tags":["w"],"answers_max":16,"families":"together"}}
{"service":{"name":"*.live.cdn.example","ttl_s":20,"tags":["n"],"fallback_alias":"video.other.example"}}
{"service":{"name":"nl.cdn.example","ttl_s":60,"default_clusters":["far"],"geo":{"allow":[],"deny":["NL"]},"denied_alias":"no.other.example"}}
{"service":{"name":"key.cdn.example","tags":["k"],"default_clusters":["far"],"content_key":{"path_regex":"^/([^/]+)/(x)?"},"methods":["GET","HEAD"],"scheme":"https","port":8443}}
{"service":{"name":"id.cdn.example","default_clusters":["far"],"content_key":{"query":["id","v"]},"pathways":[{"id":"far","cluster":"far"},{"id":"best","rank":1,"clone_of":"far"},{"id":"o","alias":"o.example","clone_of":"far"}]}}
{"route":{"prefix":"5.5.0.0/16","via":[{"cluster":"near","local_pref":100,"as_path_len":1,"origin":"igp","med":0}]}}
{"route":{"prefix":"5.5.5.0/24","via":[{"cluster":"far"},{"cluster":"near","med":7}]}}
{"route":{"prefix":"10.1.0.0/16","via":[{"cluster":"near"}]}}
{"route":{"prefix":"2a00::/16","via":[{"cluster":"near"},{"cluster":"wide","origin":"egp"}]}}
{"route":{"prefix":"::/0","via":[{"cluster":"wide"}]}}
"#;

/// Static records beside it.
const RECORDS: &str = "\
$TTL 300
ns1 A 192.0.2.53
video TXT hello
www CNAME video
www2 CNAME www3
www3 CNAME ns1
gone CNAME nowhere
loop CNAME loop
*.wild A 192.0.2.77
sub NS ns.sub
sub NS ns.other.example.
ns.sub A 192.0.2.99
mail MX 10 ns1
srv SRV 1 2 3 ns1
off CNAME a.other.test.
fat NS a.name-server-of-some-length-that-does-not-compress.other-zone-01.test.
fat NS b.name-server-of-some-length-that-does-not-compress.other-zone-02.test.
fat NS c.name-server-of-some-length-that-does-not-compress.other-zone-03.test.
fat NS d.name-server-of-some-length-that-does-not-compress.other-zone-04.test.
fat NS e.name-server-of-some-length-that-does-not-compress.other-zone-05.test.
fat NS f.name-server-of-some-length-that-does-not-compress.other-zone-06.test.
fat NS ns.fat
ns.fat A 192.0.2.98
big TXT ( \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\" )
";

/// Octets of a server cookie that this server makes.
const COOKIE_LEN: usize = 16;

/// Octets by which an error reply may exceed the packet: an OPT.
const ERROR_GROWTH_MAX: usize = 11;

/// The table, read once.
fn base() -> &'static Arc<Table> {
    static BASE: OnceLock<Arc<Table>> = OnceLock::new();
    BASE.get_or_init(|| Arc::new(table::read_full(TABLE.as_bytes()).expect("a table").table))
}

/// The same without the regular expression, which takes longer to compile than all else to read.
pub fn plain_text() -> String {
    TABLE.lines().filter(|line| !line.contains("path_regex")).map(|line| format!("{line}\n")).collect()
}

/// That table, read once.
fn plain() -> &'static (String, Table) {
    static PLAIN: OnceLock<(String, Table)> = OnceLock::new();
    PLAIN.get_or_init(|| {
        let text = plain_text();
        let table = table::read_full(text.as_bytes()).expect("a table").table;
        (text, table)
    })
}

/// The table in each state that a node can be in.
struct Worlds {
    /// Everyone is up.
    up: Snapshot,
    /// Nobody is up, and health is believed all the same.
    down: Snapshot,
    /// There is no table yet.
    empty: Snapshot,
}

/// Zones and table compiled, once.
fn worlds() -> &'static Worlds {
    static WORLDS: OnceLock<Worlds> = OnceLock::new();
    WORLDS.get_or_init(|| {
        let nl = Location { country: Country::new("NL"), ..Location::UNKNOWN };
        let point = Point::new(50.0, 8.0);
        let de = Location { country: Country::new("DE"), point, accuracy: Accuracy::City };
        let network = |text: &str| text.parse().expect("a prefix");
        let networks = [(network("6.6.0.0/16"), nl), (network("8.0.0.0/7"), de), (network("2a01::/16"), de)];
        let geography = Arc::new(Geography::from_networks(networks));
        let compiled =
            |settings| Compiler::new().compile(Arc::clone(base()), Arc::clone(&geography), settings);
        let (believing, strict) =
            (Settings::default(), Settings { fail_open_below: 0.0, ..Settings::default() });
        let up = Overlay::all_up(base().fleet());
        let down_one = |standing: &Standing| Standing { state: State::Down, ..*standing };
        let down = Overlay { appliances: up.appliances.iter().map(down_one).collect(), ..up.clone() };
        let (up, down) = (Arc::new(up), Arc::new(down));
        let zones = Arc::new(Zones::build(&[zone()]).expect("a zone"));
        Worlds {
            empty: Snapshot::not_ready(compiled(believing.clone()), Arc::clone(&up), Arc::clone(&zones)),
            up: Snapshot::new(1, compiled(believing), up, Arc::clone(&zones)),
            down: Snapshot::new(2, compiled(strict), down, zones),
        }
    })
}

/// All three.
#[allow(dead_code, reason = "the fuzz targets do without")]
pub fn snapshots() -> [&'static Snapshot; 3] {
    let Worlds { up, down, empty } = worlds();
    [up, down, empty]
}

/// Where everyone is up.
fn world() -> &'static Snapshot {
    &worlds().up
}

/// The zone of all names.
fn zone() -> ZoneSettings {
    ZoneSettings {
        name: "cdn.example".into(),
        ns: vec!["ns1.cdn.example".into(), "ns2.other.example".into()],
        soa: SoaSettings {
            mname: "ns1.cdn.example".into(),
            rname: "hostmaster.cdn.example".into(),
            serial: 7,
            refresh_s: 3600,
            retry_s: 600,
            expire_s: 86400,
            negative_ttl_s: 30,
        },
        records: Some(("zone".into(), RECORDS.into())),
    }
}

/// Any packet, as a datagram and on a stream.
///
/// | holds | |
/// |---|---|
/// | a reply or a stump gets nothing | QR set, under 12 octets |
/// | a reply repeats ID and opcode, has QR set and is read whole by another codec | |
/// | a datagram's reply fits the client, and 1232 octets | RFC 6891 section 6.2.5 |
/// | what was not understood gets at most 11 octets more than it is long | no amplification |
/// | equal packets get equal bytes, whatever was answered before | |
/// | client subnet only if asked, and as asked | RFC 7871 section 7.2.1 |
pub fn packet(octets: &[u8]) {
    let v4 = IpAddr::V4(Ipv4Addr::new(7, 7, 7, 7));
    let v6 = IpAddr::V6(Ipv6Addr::new(0x2a00, 1, 2, 3, 4, 5, 6, 7));
    let Worlds { up, down, empty } = worlds();
    reply_to(up, octets, v4, Transport::Udp);
    reply_to(up, octets, v6, Transport::Tcp);
    reply_to(up, octets, v4, Transport::Tls);
    reply_to(down, octets, v4, Transport::Udp);
    reply_to(empty, octets, v4, Transport::Udp);
}

/// A server of an unsigned zone and one of the same zone signed, with an algorithm that makes equal
/// signatures.
pub fn servers() -> &'static [Server; 2] {
    static SERVERS: OnceLock<[Server; 2]> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let apex: Name = "cdn.example".parse().expect("a name");
        let new = NewKey::generate(&apex, Algorithm::Ed25519, Flags::Entry, 3600, &Times::default());
        let new = new.expect("random numbers");
        let files =
            KeyFiles { public_name: "", public: &new.public, private_name: "", private: &new.private };
        let rules = Rules { validity_s: 604_800, jitter_s: 86_400 };
        let keyring = Keyring::new(apex, vec![files.read().expect("a key")], rules, "", UnixS(0));
        let mut keyrings = Keyrings::new(1000, 8);
        keyrings.add(keyring.expect("a keyring"));
        // Without limits, which would make equal packets unequal.
        let server = |keyrings| Server {
            identity: "ams-1".into(),
            version: "1".into(),
            cookies: Cookies { secrets: vec![Secret([7; 16])] },
            limits: Limits::default(),
            keyrings,
            explains: vec![Audience {
                apex: wire_name("cdn.example"),
                peers: ["7.0.0.0/8".parse().expect("a prefix")].into(),
            }],
        };
        [server(Keyrings::default()), server(keyrings)]
    })
}

/// Answers `octets` as either server, checks and returns the reply of the unsigned zone.
fn reply_to(world: &Snapshot, octets: &[u8], peer: IpAddr, transport: Transport) -> (Outcome, Vec<u8>) {
    let [unsigned, signed] = servers();
    reply_of(signed, world, octets, peer, transport);
    reply_of(unsigned, world, octets, peer, transport)
}

/// Answers `octets` twice, checks and returns the reply.
fn reply_of(
    server: &Server,
    world: &Snapshot,
    octets: &[u8],
    peer: IpAddr,
    transport: Transport,
) -> (Outcome, Vec<u8>) {
    let room = if octets.len() > 4096 { 65_535 } else { 8192 };
    let mut out = vec![0u8; room];
    let mut scratch = Scratch::new();
    let context = Context { world, server, now: UnixMs(1_700_000_000_000) };
    let first = answer(&context, &mut scratch, peer, transport, octets, &mut out);
    assert!(first.len <= out.len());
    out.truncate(first.len);
    let mut again = vec![0xee; room];
    // A worker's scratch holds what was asked before.
    answer(&context, &mut scratch, peer, transport, OTHER_QUERY, &mut again);
    again.fill(0xdd);
    let second = answer(&context, &mut scratch, peer, transport, octets, &mut again);
    assert_eq!((first, &out[..]), (second, &again[..second.len]), "equal packets, equal bytes");
    check_reply(octets, transport, first, &out);
    (first.outcome, out)
}

/// A query of another kind, for between two equal ones.
const OTHER_QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01x\x04live\x03cdn\x07example\0\0\x1c\0\x01";

/// Checks a reply against its packet.
fn check_reply(packet: &[u8], transport: Transport, answered: Answered, reply: &[u8]) {
    let Answered { outcome, len } = answered;
    if packet.len() < 12 || packet[2] & 0x80 != 0 {
        assert_eq!(len, 0, "neither stumps nor replies are answered");
    }
    assert_eq!(len == 0, matches!(outcome, Outcome::Dropped(_)), "{outcome:?}");
    if len == 0 {
        return;
    }
    assert_eq!(reply[..2], packet[..2], "ID");
    assert_eq!(reply[2] & 0xf8, packet[2] & 0x78 | 0x80, "QR and opcode");
    let is_query = packet[2] & 0x78 == 0;
    assert_eq!(reply[2] & 1 != 0, is_query && packet[2] & 1 != 0, "RD");
    let is_unread =
        matches!(outcome, Outcome::FormErr | Outcome::NotImp | Outcome::BadVers | Outcome::NotAuth);
    if is_unread {
        assert!(len <= packet.len() + ERROR_GROWTH_MAX, "{len} octets for {}", packet.len());
    }
    if outcome == Outcome::CookieOnly {
        assert_eq!(reply[4..12], [0, 0, 0, 0, 0, 0, 0, 1], "an OPT alone");
        return assert!(len <= packet.len() + COOKIE_LEN, "{len} octets for {}", packet.len());
    }
    let query = Message::from_octets(packet).expect("12 octets are a message");
    let asked = (!is_unread).then(|| query.opt()).flatten();
    if transport == Transport::Udp && !is_unread {
        let takes = asked.as_ref().map_or(512, |opt| opt.udp_payload_size()).clamp(512, 1232);
        assert!(len <= usize::from(takes), "{len} octets for a client that takes {takes}");
    }
    let message = Message::from_octets(reply).expect("12 octets are a message");
    check_records(&message);
    assert_eq!(message.header().tc(), outcome == Outcome::Truncated);
    assert!(transport == Transport::Udp || outcome != Outcome::Truncated || len > 60_000);
    if !is_unread {
        let (mine, theirs) = (message.sole_question(), query.sole_question());
        assert_eq!(mine.expect("a question"), theirs.expect("a question"));
        check_opt(asked.map(|opt| subnet_of(opt.opt())), &message);
    }
}

/// The client subnet of an OPT.
fn subnet_of(opt: &domain::base::opt::Opt<impl domain::dep::octseq::Octets>) -> Option<ClientSubnet> {
    opt.iter::<ClientSubnet>().find_map(Result::ok)
}

/// Checks a reply's OPT against the query's: `asked` is `None` without OPT.
fn check_opt(asked: Option<Option<ClientSubnet>>, reply: &Message<&[u8]>) {
    let told = reply.opt();
    assert_eq!(asked.is_some(), told.is_some(), "an OPT if and only if one came");
    let (Some(asked), Some(told)) = (asked, told) else { return };
    assert_eq!(told.version(), 0);
    assert_ne!(told.rcode(reply.header()), OptRcode::BADVERS);
    for option in told.opt().iter::<AllOptData<_, _>>() {
        option.expect("options are read");
    }
    let told = subnet_of(told.opt());
    assert_eq!(asked.is_some(), told.is_some(), "a client subnet if and only if one came");
    let (Some(asked), Some(told)) = (asked, told) else { return };
    assert_eq!((asked.addr(), asked.source_prefix_len()), (told.addr(), told.source_prefix_len()));
    let bits = if told.addr().is_ipv4() { 32 } else { 128 };
    assert!(told.scope_prefix_len() <= bits);
    assert!(asked.source_prefix_len() > 0 || told.scope_prefix_len() == 0, "source 0, scope 0");
}

/// Reads all records of a message, to its last octet.
fn check_records(message: &Message<&[u8]>) {
    let read = |section: RecordSection<'_, &[u8]>| {
        for record in section.limit_to::<AllRecordData<_, _>>() {
            record.expect("records are read");
        }
    };
    read(message.answer().expect("answers"));
    read(message.authority().expect("authority"));
    read(message.additional().expect("additional"));
    let counts = message.header_counts();
    let mut end = message.question();
    for _ in 0..counts.qdcount() {
        end.next().expect("as many questions as it says").expect("questions are read");
    }
    let mut sections = end.answer().expect("answers");
    let mut seen = 0;
    loop {
        seen += sections.by_ref().count();
        match sections.next_section().expect("sections follow each other") {
            Some(next) => sections = next,
            None => break,
        }
    }
    let told = counts.ancount() + counts.nscount() + counts.arcount();
    assert_eq!(seen, usize::from(told), "as many records as it says");
}

/// What a connection behind a proxy begins with: a header is as long as it says whatever follows it, none of its
/// beginnings is one, and what is to be read next never goes past its end.
pub fn proxy_header(octets: &[u8]) {
    match proxy::parse(octets) {
        Parsed::Whole(header) => {
            assert!((proxy::SHORTEST_LEN..=proxy::LEN_MAX.min(octets.len())).contains(&header.len));
            assert_eq!(proxy::parse(&octets[..header.len]), Parsed::Whole(header), "whatever follows");
            for len in 0..header.len {
                assert_eq!(proxy::parse(&octets[..len]), Parsed::Partial, "{len} of {}", header.len);
                if len >= proxy::SHORTEST_LEN {
                    let missing = proxy::missing(&octets[..len]);
                    assert!((1..=header.len - len).contains(&missing), "{missing} after {len}");
                }
            }
        }
        // Nothing mends it.
        Parsed::Wrong => assert_eq!(proxy::parse(&[octets, &[0; 300]].concat()), Parsed::Wrong),
        Parsed::Partial => assert!(octets.len() < proxy::LEN_MAX),
    }
}

/// Data of a client-subnet option: read as a model reads it, and echoed in the reply to a query.
pub fn ecs(data: &[u8]) {
    let expected = model_of_subnet(data);
    let found = EcsRequest::parse(data).map(|ecs| (ecs.address(), ecs.source_len()));
    assert_eq!(found.ok(), expected.ok(), "{data:02x?}: {found:?}, {expected:?}");
    let Ok(option_len) = u16::try_from(data.len() + 4) else { return };
    let mut query = OTHER_QUERY.to_vec();
    query[11] = 1;
    query.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0]);
    query.extend_from_slice(&option_len.to_be_bytes());
    query.extend_from_slice(&[0, 8]);
    query.extend_from_slice(&(option_len - 4).to_be_bytes());
    query.extend_from_slice(data);
    for (peer, transport) in [
        (IpAddr::V4(Ipv4Addr::new(5, 5, 5, 5)), Transport::Udp),
        (IpAddr::V6(Ipv6Addr::LOCALHOST), Transport::Tcp),
    ] {
        let (outcome, _) = reply_to(world(), &query, peer, transport);
        assert_eq!(expected.is_err(), outcome == Outcome::FormErr, "{data:02x?}: {outcome:?}");
    }
}

/// A client subnet by counting bits one by one (RFC 7871 section 6).
fn model_of_subnet(data: &[u8]) -> Result<(IpAddr, u8), &'static str> {
    if data.len() < 4 {
        return Err("short");
    }
    let bits: usize = match (data[0], data[1]) {
        (0, 1) => 32,
        (0, 2) => 128,
        _ => return Err("family"),
    };
    let source_len = usize::from(data[2]);
    if source_len > bits || data[3] != 0 || data.len() != 4 + source_len.div_ceil(8) {
        return Err("lengths");
    }
    let mut octets = [0u8; 16];
    for at in 0..(data.len() - 4) * 8 {
        let bit = data[4 + at / 8] >> (7 - at % 8) & 1;
        if bit == 1 && at >= source_len {
            return Err("stray bit");
        }
        octets[at / 8] |= bit << (7 - at % 8);
    }
    let v6 = Ipv6Addr::from(octets);
    let v4 = Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]);
    Ok((if bits == 32 { v4.into() } else { v6.into() }, data[2]))
}

/// Lines of a table, of a delta, or lines after the fixed table.
///
/// What is accepted is written and read back as the same; a delta leads where the whole text of its
/// result leads; what is refused says why. Read in pieces it is the same; in fuzz builds, the quick way
/// through a line and the thorough one agree.
pub fn table_line(text: &[u8]) {
    if text.len() > 1 << 16 {
        return;
    }
    if text.starts_with(b"{\"delta\"") {
        return delta(text);
    }
    let whole;
    let text = if text.starts_with(b"{\"table\"") {
        text
    } else {
        whole = [plain().0.as_bytes(), text].concat();
        &whole
    };
    let _ = table::read_header(text);
    let whole = told(table::read_full(text));
    assert_eq!(told(in_pieces(text)), whole, "in pieces");
    #[cfg(feature = "fuzzing")]
    assert_eq!(told(table::read_full_thoroughly(text)), whole, "thoroughly");
    match table::read_full(text) {
        Ok(read) => check_table(&read.table),
        Err(problems) => check_problems(text, &problems),
    }
}

/// A delta on the fixed table.
fn delta(text: &[u8]) {
    match table::read_delta(text, &plain().1) {
        Ok(delta) => {
            let table = &delta.read.table;
            check_table(table);
            let again = table::read_full(&text_of(table)).expect("what was written").table;
            assert_eq!(&again, table, "a delta leads where the whole text leads");
            assert!(delta.routes.v4.is_sorted() && delta.routes.v6.is_sorted());
            assert!(table.epoch() > plain().1.epoch());
        }
        Err(table::DeltaError::WrongBase { base: on, served }) => {
            assert_ne!(on, served);
        }
        Err(table::DeltaError::Problems(problems)) => check_problems(text, &problems),
    }
}

/// Every problem has a line of the text, and there are not too many.
fn check_problems(text: &[u8], problems: &[steerd::problem::Problem]) {
    assert!(!problems.is_empty() && problems.len() <= PROBLEMS_MAX + 1);
    let lines = text.split(|&b| b == b'\n').count() as u64;
    for problem in problems {
        assert!(problem.line <= lines, "{problem} of {lines} lines");
        assert!(!problem.to_string().is_empty());
    }
}

/// A table as it is written.
fn text_of(table: &Table) -> Vec<u8> {
    let mut text = Vec::new();
    table.write(&mut text).expect("a vector takes everything");
    text
}

/// A table survives both of its written forms, and they say the same.
fn check_table(table: &Table) {
    let text = text_of(table);
    let again = table::read_full(&text).unwrap_or_else(|problems| panic!("own text: {problems:?}"));
    assert!(again.warnings.is_empty() && again.ignored.is_empty());
    assert_eq!(&again.table, table, "text and table");
    assert_eq!(text_of(&again.table), text, "the text is canonical");
    let octets = binary::write(table);
    let again = binary::read(&octets).unwrap_or_else(|error| panic!("own artefact: {error}"));
    assert_eq!(text_of(&again), text, "artefact and text");
    assert_eq!(binary::write(&again), octets, "the artefact is canonical");
    assert_eq!(again.digest(), table.digest());
    assert_eq!(binary::read_epoch(&octets), Ok(table.epoch()));
}

/// What reading a table comes to.
type Told = Result<(Vec<u8>, Vec<String>, String), Vec<String>>;

/// What was read, to be compared.
fn told(read: Result<table::Read, Vec<steerd::problem::Problem>>) -> Told {
    let said = |problems: Vec<steerd::problem::Problem>| problems.iter().map(ToString::to_string).collect();
    read.map(|read| (text_of(&read.table), said(read.warnings), format!("{:?}", read.ignored))).map_err(said)
}

/// Reads a table in pieces whose length the text has chosen.
fn in_pieces(text: &[u8]) -> Result<table::Read, Vec<steerd::problem::Problem>> {
    let len = 1 + text.iter().map(|octet| usize::from(*octet)).sum::<usize>() % 61;
    let mut reader = table::FullReader::default();
    text.chunks(len).for_each(|piece| reader.push(piece));
    reader.finish().read
}

/// An artefact as it is, and with its checksums and digest mended.
pub fn artefact(octets: &[u8]) {
    let mut mended = octets.to_vec();
    mend_artefact(&mut mended);
    for octets in [octets, &mended] {
        let epoch = binary::read_epoch(octets);
        match binary::read(octets) {
            Ok(table) => {
                check_table(&table);
                assert_eq!(epoch, Ok(table.epoch()));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// Puts the right checksums and digest where the directory wants them.
fn mend_artefact(octets: &mut [u8]) {
    for entry in (16..112).step_by(24) {
        let Some(head) = octets.get(entry..entry + 24) else { return };
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight octets"));
        let (Ok(from), Ok(len)) = (usize::try_from(number(8)), usize::try_from(number(16))) else { continue };
        let Some(section) = from.checked_add(len).and_then(|end| octets.get(from..end)) else { continue };
        let crc = crc32fast::hash(section);
        octets[entry + 4..entry + 8].copy_from_slice(&crc.to_le_bytes());
    }
    let Some(end) = octets.len().checked_sub(32) else { return };
    let (head, tail) = octets.split_at_mut(end);
    tail.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, head).as_ref());
}

/// A journal as it is, and with the checksums of its records mended.
///
/// What was read is written and read back as the same; cutting where it says leaves exactly that.
pub fn journal(octets: &[u8]) {
    let mut mended = octets.to_vec();
    mend_journal(&mut mended);
    for octets in [octets, &mended] {
        let (records, tail) = journal::read(octets);
        let good = match tail {
            Tail::Whole => octets.len(),
            Tail::Torn { at } => at,
            Tail::Damaged { at, lost } => {
                assert!(lost > 0);
                at
            }
        };
        assert!(good <= octets.len());
        assert_eq!(journal::read(&octets[..good]), (records.clone(), Tail::Whole), "cut where it says");
        let again: Vec<u8> = records.iter().flat_map(journal::append).collect();
        assert_eq!(journal::read(&again), (records.clone(), Tail::Whole), "written again");
        // A crash may cut anywhere: what was whole before stays. (Octets of a payload that are a record
        // themselves are another matter; no text of a delta can be, for its heads are no JSON.)
        let marks = octets.windows(4).filter(|four| four == b"SDJ1").count();
        if tail == Tail::Whole && !records.is_empty() && marks == records.len() {
            let (kept, tail) = journal::read(&octets[..octets.len() - 1]);
            assert_eq!(kept[..], records[..records.len() - 1]);
            assert!(matches!(tail, Tail::Torn { .. }), "{tail:?}");
        }
    }
}

/// Puts the right checksum at each record's head, as far as lengths lead.
fn mend_journal(octets: &mut [u8]) {
    let mut at = 0;
    while let Some(head) = octets.get(at..).and_then(|rest| rest.get(..30)) {
        let len = u32::from_le_bytes(head[8..12].try_into().expect("four octets")) as usize;
        let Some(end) = at.checked_add(30).and_then(|from| from.checked_add(len)) else { return };
        let Some(rest) = octets.get(at + 8..end) else { return };
        let crc = crc32fast::hash(rest);
        octets[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
}

/// A GeoIP database: refused in words, or compiled into ranges that answer for every address.
pub fn mmdb(octets: &[u8]) {
    static POINTS: OnceLock<CountryPoints> = OnceLock::new();
    let points = POINTS.get_or_init(|| {
        CountryPoints::parse(include_str!("../../data/country_points.csv")).expect("country points")
    });
    let file = [("fuzzed.mmdb".to_owned(), octets.to_vec())];
    let (geography, warnings) = match Geography::read(&file, points) {
        Ok(read) => read,
        Err(problems) => return assert_eq!(problems.len(), 1, "one file, one problem"),
    };
    assert!(warnings.len() <= 1, "a database that knows no place is refused");
    assert_eq!(geography.location(Default::default()), Location::UNKNOWN);
    let starts = geography.v4.iter().map(|(first, _)| IpAddr::V4(first.into()));
    let starts = starts.chain(geography.v6.iter().map(|(first, _)| IpAddr::V6(first.into())));
    for addr in starts.take(4096) {
        let id = geography.lookup(addr);
        assert!(id.index() < geography.locations.len());
        let network = geography.network_of(addr);
        assert_eq!(network.is_some(), id.index() > 0, "{addr}");
        assert!(network.is_none_or(|network| network.contains(addr)), "{addr}");
    }
    let firsts: Vec<u128> = geography.v6.iter().map(|(first, _)| first).collect();
    assert!(firsts.is_sorted_by(|a, b| a < b), "ranges follow each other");
    let twice = [file[0].clone(), file[0].clone()];
    let (again, _) = Geography::read(&twice, points).expect("read before");
    assert_eq!(again.digest, geography.digest, "a file laid over itself changes nothing");
}

/// The head of a request: a request line and header lines, as they are on the wire.
///
/// One outcome, with its status; equal heads get equal responses; a `Location` leads to a host of the
/// table and nowhere else, with the path and query that were asked for; nobody but a trusted peer says
/// who the client is.
pub fn http_head(octets: &[u8]) {
    let Some((method, uri, version, headers)) = read_head(octets) else { return };
    let proxies = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect("a prefix")).to_vec();
    for (peer, forwarded) in [("5.5.5.5", false), ("10.0.0.1", false), ("10.0.0.1", true)] {
        let peer: IpAddr = peer.parse().expect("an address");
        let trust = Trust { proxies: proxies.clone(), forwarded };
        let caller = Caller::of(peer, http::Fields::Map(&headers), &trust);
        if !trust.covers(peer) {
            assert_eq!((caller.addr, caller.scheme), (peer, None), "nobody else is believed");
        }
        let decision_query = forwarded.then(|| "steer".into());
        let settings = http::Settings {
            trust,
            cors: forwarded,
            decision_header: true,
            decision_query,
            ..http::Settings::from(&steerd::config::Http::default())
        };
        let mut head = Head::parsed(&method, &uri, version, &headers, peer);
        head.scheme = if forwarded { Scheme::Https } else { Scheme::Http };
        let mut scratch = http::Scratch::default();
        let answer = http::respond(world(), &settings, &mut scratch, &head);
        let first = scratch.reply().to_response();
        // From buffers that were used; but for its id, which no other has.
        let again = http::respond(world(), &settings, &mut scratch, &head);
        let second = scratch.reply().to_response();
        assert_eq!(answer.id.is_some(), answer.choice.is_some());
        assert!(answer.id.is_none() || answer.id != again.id, "{answer:?}");
        let shown = |response: &Response<Bytes>, id: Option<http::DecisionId>| {
            let text = format!("{:?} {:?}", response.headers(), response.body());
            id.map_or_else(|| text.clone(), |id| text.replace(&id.to_string(), "id"))
        };
        assert_eq!(shown(&first, answer.id), shown(&second, again.id));
        check_response(&head, answer.outcome, &first);
        let polls = steering::Settings {
            secrets: vec![steering::SessionSecret::new(&[7; steering::SessionSecret::LEN])],
            ..steering::Settings::default()
        };
        let now = UnixMs(1_800_000_000_000);
        let desk = steering::Desk { world: world(), trust: &settings.trust, settings: &polls, now };
        if let Some(polled) = steering::respond(&desk, &mut scratch, &head) {
            check_manifest(&head, polled.answer.outcome, &scratch.reply().to_response());
        }
    }
}

/// Checks an answer to a poll for content steering: it may be read by any page and kept by nobody, and names
/// pathways once each, and clones at appliances only.
fn check_manifest(head: &Head<'_>, outcome: HttpOutcome, response: &Response<Bytes>) {
    let (status, headers) = (response.status().as_u16(), response.headers());
    assert!(matches!(status, 200 | 204 | 404 | 405 | 410 | 451 | 503), "{status} for {outcome:?}");
    assert_eq!(status == 200, outcome == HttpOutcome::Steered);
    assert_eq!(headers.get(header::CACHE_CONTROL).map(HeaderValue::as_bytes), Some(&b"no-store"[..]));
    assert_eq!(headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(HeaderValue::as_bytes), Some(&b"*"[..]));
    assert!(!headers.contains_key(header::LOCATION));
    if status != 200 || head.method == "HEAD" {
        return;
    }
    let manifest: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
    assert_eq!(manifest["VERSION"], 1, "a number");
    assert!(manifest["TTL"].as_u64().is_some_and(|ttl_s| ttl_s > 0), "{manifest}");
    let ids = manifest["PATHWAY-PRIORITY"].as_array().expect("a list");
    let mut once: Vec<&str> = ids.iter().map(|id| id.as_str().expect("a text")).collect();
    once.sort_unstable();
    once.dedup();
    assert!(!ids.is_empty() && once.len() == ids.len(), "{manifest}");
    for clone in manifest["PATHWAY-CLONES"].as_array().into_iter().flatten() {
        let host = clone["URI-REPLACEMENT"]["HOST"].as_str().expect("a host");
        let host = host.trim_end_matches(":8443");
        let is_appliance = base().fleet().appliances().iter().any(|appliance| *appliance.hostname == *host);
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        assert!(is_appliance || is_address || host == "o.example", "{manifest}");
    }
}

/// Reads a head as HTTP/1.1 writes it; `None` for what hyper itself would refuse.
fn read_head(octets: &[u8]) -> Option<(Method, Uri, Version, HeaderMap)> {
    let mut lines = octets.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut words = lines.next()?.splitn(3, |&b| b == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let uri = Uri::try_from(words.next()?).ok()?;
    let version = match words.next()? {
        b"HTTP/1.0" => Version::HTTP_10,
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/2.0" => Version::HTTP_2,
        _ => return None,
    };
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()).take(100) {
        let colon = line.iter().position(|&b| b == b':')?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        headers.append(HeaderName::from_bytes(&line[..colon]).ok()?, value);
    }
    Some((method, uri, version, headers))
}

/// Checks a response against its request.
fn check_response(head: &Head<'_>, outcome: HttpOutcome, response: &Response<Bytes>) {
    let (status, headers) = (response.status(), response.headers());
    let statuses: &[u16] = match outcome {
        HttpOutcome::Redirected => &[302, 307],
        HttpOutcome::Listed => &[200],
        HttpOutcome::Fallback => &[200, 302, 307],
        HttpOutcome::Options => &[204],
        HttpOutcome::Secured => &[302, 307],
        HttpOutcome::NotSecure => &[403],
        HttpOutcome::TooMany => &[429],
        HttpOutcome::BadRequest => &[400],
        HttpOutcome::MethodNotAllowed => &[405],
        HttpOutcome::UnknownHost => &[421],
        HttpOutcome::Denied => &[451],
        HttpOutcome::Nobody | HttpOutcome::NotReady => &[503],
        // Not the policy's.
        HttpOutcome::Steered | HttpOutcome::SteeringGone | HttpOutcome::SteeringUnknown => &[],
        HttpOutcome::Advised | HttpOutcome::AdviceRefused => &[],
        HttpOutcome::Dns | HttpOutcome::DnsRefused => &[],
    };
    assert!(statuses.contains(&status.as_u16()), "{status} for {outcome:?}");
    assert_eq!(headers.get(header::CACHE_CONTROL).map(HeaderValue::as_bytes), Some(&b"no-store"[..]));
    assert!(head.method != "HEAD" || response.body().is_empty());
    assert_eq!(headers.contains_key(header::LOCATION), status.is_redirection());
    if let Some(location) = headers.get(header::LOCATION) {
        let location = location.to_str().expect("visible ASCII");
        if outcome == HttpOutcome::Secured {
            let host = location.strip_prefix("https://").and_then(|rest| rest.split('/').next());
            let is_service = host.is_some_and(|host| base().fleet().service_of_host(host).is_some());
            assert!(is_service, "{location} is a service's own");
        } else {
            check_location(head, location);
        }
    }
    if status == StatusCode::OK && head.method != "HEAD" {
        let list: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        let locations = list["locations"].as_array().expect("a list");
        assert!((1..=8).contains(&locations.len()));
        for location in locations {
            check_location(head, location.as_str().expect("a text"));
        }
    }
}

/// A URL leads to a host of the table, with what was asked for.
fn check_location(head: &Head<'_>, location: &str) {
    let (scheme, rest) = location.split_once("://").expect("an absolute URL");
    assert!(matches!(scheme, "http" | "https"), "{location}");
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let fleet = base().fleet();
    let is_host = |host: &str| authority == host || authority == format!("{host}:8443");
    let is_of_appliance = fleet.appliances().iter().any(|appliance| {
        let addresses = [
            appliance.ipv4.map(|address| address.to_string()),
            appliance.ipv6.map(|address| format!("[{address}]")),
        ];
        is_host(&appliance.hostname) || addresses.iter().flatten().any(|a| is_host(a))
    });
    let aliases =
        fleet.services().iter().flat_map(|s| [s.fallback_alias.as_deref(), s.denied_alias.as_deref()]);
    assert!(is_of_appliance || aliases.flatten().any(is_host), "{location} leads out of the table");
    let asked = head.asked.path_and_query.unwrap_or("/");
    let target = target.find("steer=").map_or(target, |mark| target[..mark].trim_end_matches(['?', '&']));
    let asked = asked.trim_end_matches(['?', '&']);
    let is_ours = |asked: &str| asked.contains("format=json") || asked.to_ascii_lowercase().contains("steer");
    let is_kept = asked == target.trim_end_matches(['?', '&']) || !asked.starts_with('/') || is_ours(asked);
    assert!(is_kept, "{asked} became {target}");
}
