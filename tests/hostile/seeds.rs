//! Inputs that are right, or wrong in one way, made from the formats' grammars: what mutations and the
//! fuzzer start from.

use std::net::IpAddr;
use steerd::table::journal::{self, Record};
use steerd::table::{self, artefact};
use steerd::units::Epoch;

use super::invariants::{TABLE, plain_text};

/// Seeds of the fuzz target `target`; none for one whose seeds are files.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "packet" => packets(),
        "ecs" => subnets(),
        "table_line" => lines(),
        "artefact" => artefacts(),
        "journal" => journals(),
        "http_head" => heads(),
        _ => Vec::new(),
    }
}

/// A query in parts, so that one of them can be wrong (RFC 1035 section 4.1, RFC 6891).
#[derive(Clone)]
struct Parts {
    flags: u16,
    counts: [u16; 4],
    name: Vec<u8>,
    qtype: u16,
    qclass: u16,
    /// After the question.
    rest: Vec<u8>,
}

impl Parts {
    /// A query with RD for `name`, written with dots.
    fn of(name: &str, qtype: u16) -> Self {
        let mut wire = Vec::new();
        for label in name.split('.').filter(|label| !label.is_empty()) {
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        Self { flags: 0x0100, counts: [1, 0, 0, 0], name: wire, qtype, qclass: 1, rest: Vec::new() }
    }

    /// The same with another additional record.
    fn with(mut self, record: &[u8]) -> Self {
        self.counts[3] += 1;
        self.rest.extend_from_slice(record);
        self
    }

    /// The same with an OPT of these options.
    fn opt(self, options: &[u8]) -> Self {
        self.with(&opt(1232, 0, options))
    }

    /// As octets.
    fn wire(&self) -> Vec<u8> {
        let mut out = vec![0xab, 0xcd];
        for number in [self.flags].iter().chain(&self.counts) {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.name);
        out.extend_from_slice(&self.qtype.to_be_bytes());
        out.extend_from_slice(&self.qclass.to_be_bytes());
        out.extend_from_slice(&self.rest);
        out
    }
}

/// An OPT record (RFC 6891 section 6.1.2).
fn opt(udp_size: u16, ttl: u32, options: &[u8]) -> Vec<u8> {
    record(&[0], 41, udp_size, ttl, options)
}

/// Any record.
fn record(owner: &[u8], rtype: u16, class: u16, ttl: u32, rdata: &[u8]) -> Vec<u8> {
    let mut out = owner.to_vec();
    out.extend_from_slice(&rtype.to_be_bytes());
    out.extend_from_slice(&class.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    out.extend_from_slice(rdata);
    out
}

/// An EDNS option.
fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
}

/// A TSIG record (RFC 8945 section 4.2) with `other` octets at its end.
fn tsig(class: u16, ttl: u32, other_len: u16, other: &[u8]) -> Vec<u8> {
    let mut rdata = b"\x0bhmac-sha256\0".to_vec();
    rdata.extend_from_slice(&[0, 0, 0x65, 0, 0, 0, 1, 44, 0, 4, 1, 2, 3, 4, 0xab, 0xcd, 0, 0]);
    rdata.extend_from_slice(&other_len.to_be_bytes());
    rdata.extend_from_slice(other);
    record(b"\x03key\0", 250, class, ttl, &rdata)
}

/// Names of the fixed world: one for each way of being found.
const NAMES: [&str; 26] = [
    "video.cdn.example",
    "ViDeO.CdN.ExAmPlE",
    "near.cdn.example",
    "wide.cdn.example",
    "nl.cdn.example",
    "x.live.cdn.example",
    "a.b.live.cdn.example",
    "live.cdn.example",
    "n1.cdn.example",
    "f1.cdn.example",
    "deep.inner.cdn.example",
    "inner.cdn.example",
    "www.cdn.example",
    "www2.cdn.example",
    "gone.cdn.example",
    "loop.cdn.example",
    "q.wild.cdn.example",
    "sub.cdn.example",
    "ns.sub.cdn.example",
    "mail.cdn.example",
    "srv.cdn.example",
    "big.cdn.example",
    "cdn.example",
    "",
    "other.example",
    "nope.cdn.example",
];

/// Queries: each name; then one with one thing at a time that is unusual or wrong.
fn packets() -> Vec<Vec<u8>> {
    let video = Parts::of("video.cdn.example", 1);
    let mut all: Vec<Parts> = Vec::new();
    for name in NAMES {
        all.extend([1, 28].map(|qtype| Parts::of(name, qtype)));
        all.push(Parts::of(name, 255));
        all.extend(
            [5, 6].map(|octet| Parts::of(name, 1).opt(&option(8, &[0, 1, 24, 0, octet, octet, octet]))),
        );
    }
    let ns1 = "ns1.cdn.example";
    for qtype in [0, 2, 5, 6, 12, 15, 16, 33, 41, 43, 65, 250, 251, 252, 255, 257, 65_535] {
        all.push(Parts::of("video.cdn.example", qtype));
        all.push(Parts::of(if qtype % 2 == 0 { ns1 } else { "cdn.example" }, qtype).opt(&[]));
    }
    for (name, qtype) in [
        ("big", 16),
        ("mail", 15),
        ("srv", 33),
        ("sub", 43),
        ("sub", 2),
        ("www", 5),
        ("fat", 1),
        ("fat", 28),
        ("off", 1),
    ] {
        all.push(Parts::of(&format!("{name}.cdn.example"), qtype));
        all.push(Parts::of(&format!("{name}.cdn.example"), qtype).opt(&[]));
    }
    all.extend([0, 3, 4, 254, 255].map(|qclass| Parts { qclass, ..video.clone() }));
    let flags = (0..16).map(|opcode| opcode << 11).chain((0..16).map(|bit| 1 << bit));
    all.extend(flags.map(|flags| Parts { flags, ..video.clone() }));
    let counts = [[0, 0, 0, 0], [2, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [1, 0, 0, 65_535]];
    all.extend(counts.map(|counts| Parts { counts, ..video.clone() }));
    all.extend(bad_names().into_iter().map(|name| Parts { name, ..video.clone() }));
    all.extend(edns(&video));
    let cookie = option(10, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let bare = Parts { counts: [0; 4], ..video.clone() };
    let mut out: Vec<Vec<u8>> = all.iter().map(Parts::wire).collect();
    // A cookie alone (RFC 7873 section 5.4), and the server's texts (RFC 4892).
    let bare = bare.opt(&cookie).wire();
    out.push([&bare[..12], &bare[12 + video.name.len() + 4..]].concat());
    for name in ["version.bind", "id.server"] {
        out.push(Parts { qclass: 3, ..Parts::of(name, 16) }.wire());
    }
    // A decision in words, and records that services make of themselves (RFC 9460).
    for name in ["_explain.video.cdn.example", "_explain.any.live.cdn.example", "_explain.cdn.example"] {
        out.extend([1, 16, 255].map(|qtype| Parts::of(name, qtype).opt(&[]).wire()));
    }
    out.extend([64, 65].map(|qtype| Parts::of("video.cdn.example", qtype).opt(&[]).wire()));
    let whole = video.opt(&option(8, &[0, 1, 24, 0, 5, 5, 5])).wire();
    out.extend([0, 1, 2, 11, 12, 13, 20, 31, 33, 40, 50].map(|len| whole[..len.min(whole.len())].to_vec()));
    out.push([&whole[..], b"\0"].concat());
    out
}

/// Names in wire form that are at a limit or beyond it (RFC 1035 sections 2.3.4 and 4.1.4).
fn bad_names() -> Vec<Vec<u8>> {
    let labels = |count: usize, len: usize| {
        let mut name = Vec::new();
        for _ in 0..count {
            name.push(len as u8);
            name.extend(std::iter::repeat_n(b'a', len));
        }
        name
    };
    let of = |parts: &[&[u8]]| parts.concat();
    vec![
        of(&[&labels(1, 63), b"\0"]),
        of(&[&labels(3, 63), &labels(1, 61), b"\0"]),
        of(&[&labels(3, 63), &labels(1, 62), b"\0"]),
        of(&[&labels(127, 1), b"\0"]),
        of(&[&labels(128, 1), b"\0"]),
        of(&[b"\xc0\x0c"]),
        of(&[b"\x05video\xc0\x0c"]),
        of(&[b"\x40a\0"]),
        of(&[b"\x80a\0"]),
        of(&[b"\x05video"]),
        of(&[b"\x05video\x03cdn\x07ex.mple\0"]),
        of(&[b"\x01\0\x03cdn\x07example\0"]),
        of(&[b"\x01*\x04live\x03cdn\x07example\0"]),
    ]
}

/// The same query with OPTs and TSIGs of all kinds.
fn edns(query: &Parts) -> Vec<Parts> {
    let subnet = option(8, &[0, 1, 24, 0, 5, 5, 5]);
    let (cookie, nsid) = (option(10, &[1, 2, 3, 4, 5, 6, 7, 8]), option(3, &[]));
    let mut all = vec![
        query.clone().opt(&[]),
        query.clone().opt(&cookie),
        query.clone().opt(&option(10, &[0; 40])),
        query.clone().opt(&nsid),
        query.clone().opt(&[&cookie[..], &subnet, &nsid, &option(65_001, b"any")].concat()),
        query.clone().opt(&[&subnet[..], &subnet].concat()),
        query.clone().opt(&option(12, &[0; 100])),
        query.clone().opt(&[&subnet[..], &[0, 8, 0]].concat()),
        query.clone().opt(&[0, 8, 0xff, 0xff, 0, 1]),
        query.clone().opt(&subnet).opt(&[]),
        query.clone().with(&record(b"\x01a\0", 41, 1232, 0, &[])),
        query.clone().with(&record(&[0], 1, 1, 0, &[1, 2, 3, 4])),
        query.clone().with(&opt(1232, 0, &subnet)[..9]),
        query.clone().with(&tsig(255, 0, 0, &[])),
        query.clone().with(&tsig(1, 0, 0, &[])),
        query.clone().with(&tsig(255, 1, 0, &[])),
        query.clone().with(&tsig(255, 0, 6, &[0; 6])),
        query.clone().with(&tsig(255, 0, 6, &[0; 5])),
        query.clone().with(&tsig(255, 0, 5, &[0; 6])),
        query.clone().opt(&subnet).with(&tsig(255, 0, 0, &[])),
        query.clone().with(&tsig(255, 0, 0, &[])).opt(&subnet),
        query.clone().with(&tsig(255, 0, 0, &[])).with(&tsig(255, 0, 0, &[])),
    ];
    for size in [0, 511, 512, 513, 1232, 4096, 65_535] {
        all.push(Parts::of("big.cdn.example", 16).with(&opt(size, 0, &[])));
    }
    for ttl in [0x8000, 0x0001_0000, 0x00ff_8000, 0x0100_0000, 0x7fff] {
        all.push(query.clone().with(&opt(1232, ttl, &subnet)));
    }
    all.extend(subnets().iter().map(|data| query.clone().opt(&option(8, data))));
    all
}

/// Client-subnet option data (RFC 7871 section 6): right ones of all sorts of clients, then wrong.
fn subnets() -> Vec<Vec<u8>> {
    let of = |text: &str, len: u8| {
        let (family, octets) = match text.parse().expect("an address") {
            IpAddr::V4(addr) => (1, addr.octets().to_vec()),
            IpAddr::V6(addr) => (2, addr.octets().to_vec()),
        };
        [&[0, family, len, 0][..], &octets[..usize::from(len.div_ceil(8))]].concat()
    };
    let right = [
        ("0.0.0.0", 0),
        ("5.5.5.0", 24),
        ("5.5.0.0", 16),
        ("5.5.5.5", 32),
        ("9.9.8.0", 21),
        ("8.0.0.0", 7),
        ("10.1.2.0", 24),
        ("10.0.0.0", 8),
        ("127.0.0.1", 32),
        ("6.6.6.0", 24),
        ("255.255.255.255", 32),
        ("::", 0),
        ("2a00:1::", 48),
        ("2a01:1::", 56),
        ("2001:db8::", 32),
        ("fe80::", 10),
        ("::1", 128),
        ("::ffff:5.5.5.0", 120),
        ("64:ff9b::505:500", 120),
        ("2002:505:500::", 40),
        ("2001:0:1::", 64),
        ("::", 96),
        ("2000::", 3),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 128),
    ];
    let mut all: Vec<Vec<u8>> = right.iter().map(|&(addr, len)| of(addr, len)).collect();
    let wrong: [&[u8]; 12] = [
        &[],
        &[0],
        &[0, 1, 24],
        &[0, 0, 0, 0],
        &[0, 3, 0, 0],
        &[1, 1, 24, 0, 5, 5, 5],
        &[0, 1, 24, 1, 5, 5, 5],
        &[0, 1, 24, 0, 5, 5],
        &[0, 1, 24, 0, 5, 5, 5, 0],
        &[0, 1, 20, 0, 5, 5, 1],
        &[0, 1, 33, 0, 5, 5, 5, 5, 0],
        &[0, 2, 129, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    all.extend(wrong.map(<[u8]>::to_vec));
    all
}

/// Tables, deltas, and lines after the fixed table.
fn lines() -> Vec<Vec<u8>> {
    let more = [
        r#"{"route":{"prefix":"203.0.113.0/24","via":[{"cluster":"near"}]}}"#,
        r#"{"route":{"prefix":"2001:db8::/32","via":[{"cluster":"near","local_pref":200,"as_path_len":3,"origin":"incomplete","med":4294967295}]}}"#,
        r#"{ "route" : { "via" : [ { "med" : 1 , "cluster" : "near" } ] , "prefix" : "203.0.113.0/25" } }"#,
        r#"{"route":{"prefix":"203.0.113.1/24","via":[{"cluster":"near"}]}}"#,
        r#"{"route":{"prefix":"5.5.0.0/16","via":[{"cluster":"near","local_pref":100,"as_path_len":1,"origin":"igp","med":0}]}}"#,
        r#"{"route":{"prefix":"5.5.0.0/16","via":[{"cluster":"far"}]}}"#,
        r#"{"route":{"prefix":"0.0.0.0/0","via":[{"cluster":"far"},{"cluster":"far"}]}}"#,
        r#"{"route":{"prefix":"1.0.0.0/33","via":[]}}"#,
        r#"{"route":{"prefix":"1.0.0.0/8","via":[{"cluster":"nobody"}]}}"#,
        r#"{"route":{"prefix":"1.0.0.0\/8","via":[{"cluster":"n\u0065ar"}]}}"#,
        r#"{"route":{"prefix":"1.0.0.0/8","via":[{"cluster":"near"}],"extra":1}}"#,
        r#"{"route":{"prefix":"1.0.0.0/8","prefix":"2.0.0.0/8","via":[{"cluster":"near"}]}}"#,
        r#"{"site":{"code":"x","lat":-90,"lon":180,"name":"\ud83d\ude00"}}"#,
        r#"{"site":{"code":"x","lat":1e400,"lon":-0.0,"name":""}}"#,
        r#"{"cluster":{"name":"c","site":"ams1","class":"private_peering"}}"#,
        r#"{"appliance":{"name":"a","cluster":"far","ipv4":"192.0.2.99","capacity_mbps":0,"status":"disabled"}}"#,
        r#"{"appliance":{"name":"a","cluster":"far","ipv4":"192.0.2.1","capacity_mbps":18446744073709551616}}"#,
        r#"{"service":{"name":"s.cdn.example","content_key":{"path_regex":"^/([^/]+)/"},"scheme":"https","port":8443,"methods":["GET"],"pathways":[{"id":"e","class":"embedded"},{"id":"o","alias":"o.example"}]}}"#,
        r#"{"service":{"name":"s.cdn.example","content_key":{"path_regex":"((((a{9}){9}){9}){9})"}}}"#,
        r#"{"service":{"name":"s.cdn.example","content_key":{"query":["id","id"]},"ttl_s":86401,"answers_max":17}}"#,
        r#"{"remove":{"route":"5.5.0.0/16"}}"#,
        r#"{"thing":{}}"#,
        "{}",
        "[]",
        "null",
        "{\"route\":",
        "\u{feff}",
        "\u{0}",
        "\"\\ud800\"",
        "1",
        "{\"a\":{\"a\":1}}",
    ];
    let mut all: Vec<Vec<u8>> = more.iter().map(|line| line.as_bytes().to_vec()).collect();
    all.push(more[..3].join("\r\n\r\n").into_bytes());
    all.push(TABLE.as_bytes().to_vec());
    all.push(
        TABLE
            .replace("\"format\":1", "\"format\":1,\"minor\":9")
            .replace("\"w\"]", "\"w\"],\"new\":1")
            .into_bytes(),
    );
    for head in
        [r#"{"table":{"format":2,"epoch":1}}"#, r#"{"table":{"format":1,"epoch":0}}"#, "{\"table\":{}}"]
    {
        all.push(head.as_bytes().to_vec());
    }
    for changes in [
        "",
        r#"{"remove":{"route":"5.5.0.0/16"}}"#,
        r#"{"remove":{"site":"ams1"}}"#,
        r#"{"remove":{"service":"nl.cdn.example"}}"#,
        r#"{"remove":{"appliance":"w3"}}"#,
        "{\"remove\":{\"cluster\":\"wide\"}}\n{\"remove\":{\"route\":\"::/0\"}}",
        more[0],
        more[4],
        more[5],
        "{\"route\":{\"prefix\":\"5.5.5.0/24\",\"via\":[{\"cluster\":\"far\"}]}}\n{\"remove\":{\"route\":\"2a00::/16\"}}",
        r#"{"appliance":{"name":"n1","cluster":"near","ipv4":"192.0.2.1","capacity_mbps":9}}"#,
    ] {
        let head = r#"{"delta":{"format":1,"base":7,"epoch":8}}"#;
        all.push(format!("{head}\n{changes}\n").into_bytes());
    }
    all.push(br#"{"delta":{"format":1,"base":6,"epoch":8}}"#.to_vec());
    all.push(br#"{"delta":{"format":1,"base":7,"epoch":7}}"#.to_vec());
    all
}

/// Artefacts: the fixed table, its fleet alone, nothing.
fn artefacts() -> Vec<Vec<u8>> {
    let plain = plain_text();
    let is_fleet = |line: &&str| !line.contains("\"route\"");
    let fleet: String = plain.lines().filter(is_fleet).map(|line| format!("{line}\n")).collect();
    let tiny = r#"{"table":{"format":1,"epoch":1}}
{"site":{"code":"s","lat":1,"lon":1,"name":"S"}}
{"cluster":{"name":"c","site":"s","class":"transit"}}
{"route":{"prefix":"1.0.0.0/8","via":[{"cluster":"c"}]}}
{"route":{"prefix":"1.1.0.0/16","via":[{"cluster":"c","med":1}]}}
{"route":{"prefix":"2a00::/12","via":[{"cluster":"c"}]}}
"#;
    let texts = [&plain[..], &fleet, tiny, r#"{"table":{"format":1,"epoch":1}}"#];
    let mut all: Vec<Vec<u8>> = texts
        .iter()
        .map(|text| artefact::write(&table::read_full(text.as_bytes()).expect("a table").table))
        .collect();
    let last = all[3].clone();
    all.push(last[..last.len() - 1].to_vec());
    all.push(last[..16].to_vec());
    all
}

/// Journals of each kind of record, alone and together, whole, cut and damaged.
fn journals() -> Vec<Vec<u8>> {
    let epoch = |number| Epoch::new(number).expect("an epoch");
    let delta = |text: &[u8]| Record::Delta { base: epoch(7), epoch: epoch(8), text: text.to_vec() };
    let records = [
        delta(b"{\"delta\":{\"format\":1,\"base\":7,\"epoch\":8}}\n"),
        delta(b""),
        delta(&b"{\"remove\":{\"route\":\"1.0.0.0/8\"}}\n".repeat(200)),
        Record::Rollback { from: epoch(8), to: epoch(7) },
        Record::Reset { highest: epoch(8) },
    ];
    let mut all: Vec<Vec<u8>> = records.iter().map(journal::append).collect();
    let together = all.concat();
    all.push(together[..together.len() - 3].to_vec());
    let mut damaged = together.clone();
    damaged[20] ^= 1;
    all.extend([together, damaged, b"SDJ1".to_vec(), Vec::new()]);
    all
}

/// Request heads: each form of target, host and forwarding (RFC 9112 section 3.2, RFC 7239).
fn heads() -> Vec<Vec<u8>> {
    let lines = [
        ("GET /a/b.mp4 HTTP/1.1", "Host: video.cdn.example"),
        ("GET /a/b?x=1&format=json&y HTTP/1.1", "Host: VIDEO.cdn.example.:80"),
        ("HEAD /title/x/seg HTTP/1.1", "Host: key.cdn.example:8080"),
        ("POST /title HTTP/1.1", "Host: key.cdn.example"),
        ("POST /?id=7&v=%20&id HTTP/1.1", "Host: id.cdn.example"),
        ("OPTIONS * HTTP/1.1", "Host: video.cdn.example"),
        ("OPTIONS / HTTP/1.1", "Host: key.cdn.example\r\nOrigin: https://a.example"),
        ("GET http://video.cdn.example/a HTTP/1.1", "Host: other.example"),
        ("GET https://u@video.cdn.example:1/?format=json HTTP/1.1", "Host: other.example"),
        ("GET http://video.cdn.example HTTP/2.0", "Accept: application/json;q=0.5, */*"),
        ("CONNECT video.cdn.example:443 HTTP/1.1", "Host: video.cdn.example"),
        ("GET / HTTP/1.0", ""),
        ("GET / HTTP/1.1", ""),
        ("GET / HTTP/1.1", "Host: video.cdn.example\r\nHost: video.cdn.example"),
        ("GET / HTTP/1.1", "Host: [2001:db8::1]:80"),
        ("GET / HTTP/1.1", "Host: x.live.cdn.example\r\nX-Forwarded-For: 5.5.5.5, 7.7.7.7"),
        ("GET //evil.example/ HTTP/1.1", "Host: wide.cdn.example\r\nX-Forwarded-For: 1.2.3.4:5, [2a00::1]:5"),
        (
            "GET /%0d%0aX:y HTTP/1.1",
            "Host: near.cdn.example\r\nX-Forwarded-For: 5.5.5.5,,10.1.1.1\r\nX-Forwarded-Proto: https",
        ),
        ("GET /a HTTP/1.1", "Host: nl.cdn.example\r\nX-Forwarded-For: 6.6.6.6, unknown"),
        (
            "GET /a HTTP/1.1",
            "Host: wide.cdn.example\r\nForwarded: for=\"[2a00::1]:7\";proto=https, for=10.2.2.2",
        ),
        ("GET /a HTTP/1.1", "Host: wide.cdn.example\r\nForwarded: for=_hidden;by=10.0.0.1, For=\"5.5.5.5\""),
        ("GET /a?format=json HTTP/1.1", "Host: wide.cdn.example\r\nAccept: application/json;q=0"),
        ("BREW /pot HTTP/1.1", "Host: video.cdn.example"),
        ("GET /steering/video.cdn.example?_HLS_pathway=%22a%22&_HLS_throughput=5000 HTTP/1.1", "Host: a"),
        (
            "GET /steering/wide.cdn.example?_DASH_pathway=\"a,b\"&_DASH_throughput=1,2&path=/x HTTP/1.1",
            "Host: a\r\nX-Forwarded-For: 5.5.5.5",
        ),
        ("GET /steering/wide.cdn.example?client=2a00::1&format=dash&session=AAAA HTTP/1.1", "Host: [::1]"),
        ("GET /steering/id.cdn.example?path=/?id=7 HTTP/1.1", "Host: steer.example"),
        ("OPTIONS /steering/nl.cdn.example HTTP/1.1", "Host: video.cdn.example"),
        ("GET /steering/nobody%2eexample HTTP/1.1", "Host: video.cdn.example"),
    ];
    lines.iter().map(|(first, rest)| format!("{first}\r\n{rest}\r\n\r\n").into_bytes()).collect()
}
