//! Signed replies: every set verified by another codec's canonical form and ring, on a table of all kinds
//! of answers and on random queries beside their unsigned twins. Layer 7, tests only.

use super::*;
use crate::dnssec::{Algorithm, Event, Flags, Key, KeyFiles, Keyring, Keyrings, NewKey, Rules, Times, UnixS};
use crate::wire::Name;
use domain::base::name::ToName;
use domain::base::rdata::ComposeRecordData;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use std::collections::BTreeMap;

/// When everything is asked.
const NOW_S: u64 = 1_700_000_000;

/// Static records beside those of the other tests.
const MORE: &str = "\
$TTL 300
plain NS ns.plain
ns.plain A 192.0.2.98
plain2 NS Ns1
mail MX 10 Mail.Example.
SRV SRV 1 2 3 Target.CDN.example.
text TXT b
text TXT a
text TXT \"\"
*.star.wild TXT star
";

/// A key of the zone, active from the beginning.
fn key(algorithm: Algorithm, flags: Flags) -> Key {
    let mut times = Times::default();
    times.set(Event::Publish, Some(UnixS(5)));
    times.set(Event::Activate, Some(UnixS(5)));
    if flags == Flags::Entry {
        times.set(Event::SyncPublish, Some(UnixS(5)));
    }
    let owner: Name = "cdn.example".parse().expect("a name");
    let new = NewKey::generate(&owner, algorithm, flags, 600, &times).expect("random numbers");
    let files = KeyFiles { public_name: "k", public: &new.public, private_name: "p", private: &new.private };
    files.read().expect("a key")
}

/// A stage whose zone is signed with `keys`, and the keys that are in its DNSKEY set, by tag.
fn stage(keys: Vec<Key>, per_s: u32) -> (Stage, BTreeMap<u16, Vec<u8>>) {
    let mut stage = Stage::new(&[]);
    let zones = Arc::new(Zones::build(&[settings(&format!("{RECORDS}{MORE}"))]).expect("a zone"));
    let table = Arc::new(table::read_full(TABLE.as_bytes()).expect("a table").table);
    let overlay = Arc::new(Health::default().overlay(table.fleet(), UnixMs(2)));
    let compiled = Compiler::new().compile(table, Arc::new(Geography::empty()), Settings::default());
    stage.snapshot = Snapshot::new(1, compiled, overlay, zones);
    let known = keys.iter().map(|key| (key.tag(), key.dnskey().to_vec())).collect();
    let rules = Rules { validity_s: 86_400, jitter_s: 3600 };
    let apex = "cdn.example".parse().expect("a name");
    let mut keyrings = Keyrings::new(per_s, 1000);
    keyrings.add(Keyring::new(apex, keys, rules, "keys", UnixS(NOW_S)).expect("a keyring"));
    stage.server.keyrings = keyrings;
    stage.now = UnixMs(NOW_S * 1000);
    (stage, known)
}

/// The keys of each way to sign: a CSK, a KSK with a ZSK, and two algorithms at once.
fn ways() -> [Vec<Key>; 3] {
    use Algorithm::{EcdsaP256Sha256, Ed25519};
    [
        vec![key(EcdsaP256Sha256, Flags::Entry)],
        vec![key(Ed25519, Flags::Entry), key(Ed25519, Flags::Zone)],
        vec![key(EcdsaP256Sha256, Flags::Entry), key(Ed25519, Flags::Entry)],
    ]
}

/// A query with an OPT whose flags are DO, and CO on demand.
fn signed_query(id: u16, name: &str, qtype: Rtype, ecs: Option<&str>, takes_nx: bool) -> Vec<u8> {
    let mut packet = query(id, name, qtype, Some(ecs.unwrap_or("")));
    // The OPT begins behind header and question; its flags are 7 octets on.
    let opt = 12 + name.parse::<Name>().expect("a name").as_wire().len() + 4;
    packet[opt + 7] = if takes_nx { 0xc0 } else { 0x80 };
    packet
}

/// One record as it came: owner, type, TTL, canonical data, and how it is shown.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    owner: Vec<u8>,
    rtype: u16,
    ttl_s: u32,
    data: Vec<u8>,
    shown: String,
}

/// The records of a section but the OPT.
fn seen(section: RecordSection<'_, &[u8]>) -> Vec<Seen> {
    let mut found = Vec::new();
    for record in section.limit_to::<AllRecordData<_, _>>() {
        let record = record.expect("a record");
        let rtype = record.rtype();
        let mut owner = Vec::new();
        record.owner().compose_canonical(&mut owner).expect("room");
        let mut data = Vec::new();
        record.data().compose_canonical_rdata(&mut data).expect("room");
        let name = record.owner().to_string().to_ascii_lowercase();
        let name = name.trim_end_matches("cdn.example").trim_end_matches('.').to_owned();
        let shown = match record.data() {
            AllRecordData::Opt(_) => continue,
            AllRecordData::Soa(_) => format!("{name} SOA"),
            AllRecordData::Rrsig(rrsig) => format!("{name} RRSIG({})", rrsig.type_covered()),
            AllRecordData::Nsec(nsec) => {
                let owner: domain::base::Name<Vec<u8>> = record.owner().to_name();
                assert_eq!(nsec.next_name().to_string(), format!("\\000.{owner}"));
                let types: Vec<String> = nsec.types().iter().map(|rtype| rtype.to_string()).collect();
                format!("{name} NSEC {}", types.join(" ")).replace("TYPE128", "NXNAME")
            }
            AllRecordData::Dnskey(key) => format!("{name} DNSKEY {}", key.flags()),
            AllRecordData::Cds(_) | AllRecordData::Cdnskey(_) => format!("{name} {rtype}"),
            other => format!("{name} {rtype} {}", other.to_string().trim_end_matches('.')),
        };
        found.push(Seen { owner, rtype: rtype.to_int(), ttl_s: record.ttl().as_secs(), data, shown });
    }
    found
}

/// Whether `rrsig` (record data) is a signature of `set` by one of `keys`; the clauses are of RFC 4035
/// section 5.3.1.
fn is_verified(rrsig: &Seen, set: &[&Seen], keys: &BTreeMap<u16, Vec<u8>>) -> bool {
    let (head, rest) = rrsig.data.split_at(18);
    let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four octets"));
    let (apex, signature) = rest.split_at(rest.len() - 64);
    assert_eq!(apex, b"\x03cdn\x07example\x00");
    let labels = crate::wire::labels(&rrsig.owner).count() - usize::from(rrsig.owner.starts_with(b"\x01*"));
    assert_eq!(usize::from(head[3]), labels, "no wildcard is to be expanded");
    assert!(u64::from(number(12)) <= NOW_S && NOW_S + 21_600 <= u64::from(number(8)));
    assert!(set.iter().all(|record| record.ttl_s == rrsig.ttl_s && record.ttl_s <= number(4)));
    let Some(key) = keys.get(&u16::from_be_bytes([head[16], head[17]])) else { return false };
    let mut message = rrsig.data[..rrsig.data.len() - 64].to_vec();
    let mut datas: Vec<&[u8]> = set.iter().map(|record| &record.data[..]).collect();
    datas.sort_unstable();
    for data in datas {
        message.extend_from_slice(&rrsig.owner);
        message.extend_from_slice(&head[..2]);
        message.extend_from_slice(&[0, 1]);
        message.extend_from_slice(&head[4..8]);
        message.extend_from_slice(&(data.len() as u16).to_be_bytes());
        message.extend_from_slice(data);
    }
    match (key[3], head[2]) {
        (13, 13) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4], &key[4..]].concat())
            .verify(&message, signature)
            .is_ok(),
        (15, 15) => UnparsedPublicKey::new(&ED25519, &key[4..]).verify(&message, signature).is_ok(),
        _ => false,
    }
}

/// Checks that each set of a section but those in `unsigned` has its signatures right behind it, one of
/// each of `keys` that signs it.
fn verify_section(found: &[Seen], unsigned: &[u16], keys: &BTreeMap<u16, Vec<u8>>, each: usize) {
    let rrsig = Rtype::RRSIG.0;
    let mut rest = found;
    while let Some(first) = rest.first() {
        let is_set = |record: &&Seen| record.rtype == first.rtype && record.owner == first.owner;
        let len = rest.iter().take_while(is_set).count();
        let (set, after) = rest.split_at(len);
        let is_signature = |record: &&Seen| record.rtype == rrsig && record.owner == first.owner;
        let covers = |record: &&Seen| record.data[..2] == first.rtype.to_be_bytes();
        let count = after.iter().take_while(|record| is_signature(record) && covers(record)).count();
        rest = &after[count..];
        if unsigned.contains(&first.rtype) {
            assert_eq!(count, 0, "{found:#?}");
            continue;
        }
        if first.rtype == rrsig {
            // Asked for by itself.
            continue;
        }
        assert_eq!(count, each, "{found:#?}");
        let mut set: Vec<&Seen> = set.iter().collect();
        set.dedup_by(|a, b| a.data == b.data);
        let mut tags = Vec::new();
        for signature in &after[..count] {
            assert!(is_verified(signature, &set, keys), "{} {found:#?}", signature.shown);
            tags.push(&signature.data[16..18]);
        }
        tags.dedup();
        assert_eq!(tags.len(), count);
    }
}

/// A signed reply on one line, every set of it verified: outcome, rcode, flags, records by section.
fn verified(
    outcome: Outcome,
    reply: &[u8],
    keys: &BTreeMap<u16, Vec<u8>>,
    each: usize,
) -> (String, [Vec<Seen>; 3]) {
    let message = Message::from_octets(reply).expect("a message");
    let mut line = format!("{} {}", outcome.label(), message.header().rcode());
    assert!(!message.header().ad());
    assert!(message.opt().is_some_and(|opt| opt.dnssec_ok()));
    let sections = [
        seen(message.answer().expect("answers")),
        seen(message.authority().expect("authority")),
        seen(message.additional().expect("additional")),
    ];
    let at_cut: &[u16] = if outcome == Outcome::Referral { &[Rtype::NS.0] } else { &[] };
    verify_section(&sections[0], &[], keys, each);
    verify_section(&sections[1], at_cut, keys, each);
    for (mark, section) in ["|", "?", "+"].into_iter().zip(&sections) {
        for record in section.iter().filter(|record| record.rtype != Rtype::RRSIG.0 || mark == "+") {
            line.push_str(&format!(" {mark} {}", record.shown));
        }
    }
    (line, sections)
}

/// Names in the zone, types, subnets, and the answer on a line.
const CASES: &[(&str, Rtype, Option<&str>, &str)] = &[
    ("video", Rtype::A, Some("5.5.5.0/24"), "steered NOERROR | video A 192.0.2.1"),
    ("video", Rtype::TXT, None, "static NOERROR | video TXT \"hello\""),
    ("video", Rtype::MX, None, "nodata NOERROR ?  SOA ? video NSEC A TXT AAAA RRSIG NSEC CAA"),
    ("nl", Rtype::AAAA, Some("9.9.9.0/24"), "nodata NOERROR ?  SOA ? nl NSEC A RRSIG NSEC"),
    ("f1", Rtype::AAAA, None, "nodata NOERROR ?  SOA ? f1 NSEC A RRSIG NSEC"),
    ("n1", Rtype::TXT, None, "nodata NOERROR ?  SOA ? n1 NSEC A AAAA RRSIG NSEC"),
    ("x.live", Rtype::A, Some("5.5.5.0/24"), "steered NOERROR | x.live A 192.0.2.1"),
    ("x.live", Rtype::A, None, "aliased NOERROR | x.live CNAME video.other.example"),
    ("x.live", Rtype::MX, None, "nodata NOERROR ?  SOA ? x.live NSEC A AAAA RRSIG NSEC"),
    ("www", Rtype::A, None, "static NOERROR | www CNAME video.cdn.example"),
    (
        "www2",
        Rtype::A,
        None,
        "static NOERROR | www2 CNAME www3.cdn.example | www3 CNAME ns1.cdn.example | ns1 A 192.0.2.53",
    ),
    ("www3", Rtype::MX, None, "static NOERROR | www3 CNAME ns1.cdn.example ?  SOA ? ns1 NSEC A RRSIG NSEC"),
    (
        "gone",
        Rtype::A,
        None,
        "nxdomain NOERROR | gone CNAME nowhere.cdn.example ?  SOA ? nowhere NSEC RRSIG NSEC NXNAME",
    ),
    ("www", Rtype::NSEC, None, "static NOERROR | www NSEC CNAME RRSIG NSEC"),
    ("a.wild", Rtype::A, None, "static NOERROR | a.wild A 192.0.2.77"),
    ("*.wild", Rtype::A, None, "static NOERROR | *.wild A 192.0.2.77"),
    ("a.wild", Rtype::TXT, None, "nodata NOERROR ?  SOA ? a.wild NSEC A RRSIG NSEC"),
    ("star.wild", Rtype::A, None, "nodata NOERROR ?  SOA ? star.wild NSEC RRSIG NSEC"),
    ("inner", Rtype::A, None, "nodata NOERROR ?  SOA ? inner NSEC RRSIG NSEC"),
    ("no", Rtype::A, None, "nxdomain NOERROR ?  SOA ? no NSEC RRSIG NSEC NXNAME"),
    ("no", Rtype::NSEC, None, "static NOERROR | no NSEC RRSIG NSEC NXNAME"),
    ("mail", Rtype::MX, None, "static NOERROR | mail MX 10 mail.example"),
    ("srv", Rtype::SRV, None, "static NOERROR | srv SRV 1 2 3 target.cdn.example"),
    ("text", Rtype::TXT, None, "static NOERROR | text TXT \"b\" | text TXT \"a\" | text TXT \"\""),
    (
        "sub",
        Rtype::DS,
        None,
        "static NOERROR | sub DS 1 8 2 e2d3c916f6deeac73294e8268fb5885044a833fc5459588f4a9184cfc41a5766",
    ),
    (
        "a.sub",
        Rtype::A,
        None,
        "referral NOERROR ? sub NS ns.sub.cdn.example ? sub NS ns.other.example ? sub DS 1 8 2 e2d3c916f6deeac73294e8268fb5885044a833fc5459588f4a9184cfc41a5766 + ns.sub A 192.0.2.99",
    ),
    (
        "a.plain",
        Rtype::A,
        None,
        "referral NOERROR ? plain NS ns.plain.cdn.example ? plain NSEC NS RRSIG NSEC + ns.plain A 192.0.2.98",
    ),
    ("plain", Rtype::DS, None, "nodata NOERROR ?  SOA ? plain NSEC NS RRSIG NSEC"),
    ("", Rtype::SOA, None, "static NOERROR |  SOA"),
    ("", Rtype::DNSKEY, None, "static NOERROR |  DNSKEY 257"),
    ("", Rtype::CDS, None, "static NOERROR |  CDS"),
    ("", Rtype::CDNSKEY, None, "static NOERROR |  CDNSKEY"),
    ("", Rtype::MX, None, "nodata NOERROR ?  SOA ?  NSEC NS SOA RRSIG NSEC DNSKEY CDS CDNSKEY"),
    ("video", Rtype::ANY, None, "static NOERROR | video HINFO \"RFC8482\" \"\""),
    ("no", Rtype::NXNAME, None, "formerr FORMERR"),
];

#[test]
fn every_kind_of_answer_is_signed_and_proves_what_it_denies() {
    for (each, keys) in [1, 1, 2].into_iter().zip(ways()) {
        let (mut stage, known) = stage(keys, 10_000);
        for (name, qtype, ecs, expected) in CASES {
            let name = format!("{name}.cdn.example").trim_start_matches('.').to_owned();
            let packet = signed_query(7, &name, *qtype, *ecs, false);
            let (outcome, reply) = stage.send(&packet, Transport::Tcp);
            let (line, _) = verified(outcome, &reply, &known, each);
            let line = line.replace(" DNSKEY 256", " DNSKEY 257");
            // Sets of keys differ in size.
            let mut seen = Vec::new();
            let parts = line.split(" | ").filter(|part| {
                let is_new = !seen.contains(part);
                seen.push(*part);
                is_new
            });
            assert_eq!(parts.collect::<Vec<_>>().join(" | "), *expected, "{name} {}", qtype.0);
        }
    }
}

#[test]
fn rfc9824_s5_the_response_code_is_restored_for_those_who_take_it() {
    let [keys, ..] = ways();
    let (mut stage, known) = stage(keys, 10_000);
    for (takes_nx, rcode) in [(false, "NOERROR"), (true, "NXDOMAIN")] {
        let packet = signed_query(7, "no.cdn.example", Rtype::A, None, takes_nx);
        let (outcome, reply) = stage.send(&packet, Transport::Udp);
        let (line, _) = verified(outcome, &reply, &known, 1);
        assert_eq!(line, format!("nxdomain {rcode} ?  SOA ? no NSEC RRSIG NSEC NXNAME"));
        // The OPT is last; its flags stand before the length of no options.
        assert_eq!(reply[reply.len() - 4] & 0x40 != 0, takes_nx);
    }
    // Without DO nothing is compact.
    stage.check("no.cdn.example", Rtype::A, None, "nxdomain NXDOMAIN aa ?  30 SOA min30");
}

#[test]
fn rfc8482_and_rfc4035_signatures_can_be_asked_for() {
    let [keys, ..] = ways();
    let (mut stage, known) = stage(keys, 10_000);
    let packet = signed_query(7, "video.cdn.example", Rtype::RRSIG, None, false);
    let (outcome, reply) = stage.send(&packet, Transport::Udp);
    let (_, sections) = verified(outcome, &reply, &known, 1);
    assert_eq!(sections[0].last().map(|record| &*record.shown), Some("video RRSIG(NSEC)"));
    // Keys are there for everybody.
    assert!(
        stage
            .ask("cdn.example", Rtype::DNSKEY, None)
            .starts_with("static NOERROR aa |  600 DNSKEY 257 3 13 ")
    );
}

/// Seeded numbers below a bound.
fn numbers(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    }
}

#[test]
fn a_signed_reply_is_the_unsigned_one_and_signatures() {
    let names = [
        "video", "VIDEO", "near", "x.live", "y.live", "nl", "nl2", "n1", "f1", "www", "www2", "gone", "loop",
        "off", "q.wild", "no", "a.no", "sub", "a.sub", "plain", "b.plain", "plain2", "big", "inner", "text",
    ];
    let types = [Rtype::A, Rtype::AAAA, Rtype::TXT, Rtype::NS, Rtype::DS, Rtype::MX, Rtype::ANY, Rtype::SOA];
    let subnets = [None, Some("5.5.5.0/24"), Some("9.9.9.0/24"), Some("2001:db8::/48")];
    let mut random = numbers(1);
    let [keys, _, two] = ways();
    for (each, keys) in [(1, keys), (2, two)] {
        let (mut stage, known) = stage(keys, 100_000);
        let mut truncated = 0;
        for _ in 0..3000 {
            let name = format!("{}.cdn.example", names[random(names.len())]);
            let (qtype, ecs, id) =
                (types[random(types.len())], subnets[random(subnets.len())], random(9) as u16);
            let transport = [Transport::Udp, Transport::Tcp][random(2)];
            let (outcome, reply) = stage.send(&signed_query(id, &name, qtype, ecs, true), transport);
            let (plain_outcome, plain) =
                stage.send(&query(id, &name, qtype, Some(ecs.unwrap_or(""))), transport);
            if transport == Transport::Udp {
                assert!(reply.len() <= 1232);
            }
            if outcome == Outcome::Truncated {
                truncated += 1;
                assert!(transport == Transport::Udp);
                continue;
            }
            let (_, sections) = verified(outcome, &reply, &known, each);
            let message = Message::from_octets(&plain[..]).expect("a message");
            let read = |section: RecordSection<'_, &[u8]>| seen(section);
            let expected = [
                read(message.answer().expect("answers")),
                read(message.authority().expect("authority")),
                read(message.additional().expect("additional")),
            ];
            let is_plain =
                |record: &&Seen| !matches!(Rtype(record.rtype), Rtype::RRSIG | Rtype::NSEC | Rtype::DS);
            for (at, (found, expected)) in sections.iter().zip(&expected).enumerate() {
                let found: Vec<&Seen> = found.iter().filter(is_plain).collect();
                let expected: Vec<&Seen> = expected.iter().filter(is_plain).collect();
                // Glue that is not needed goes first where there is less room.
                if at < 2 {
                    assert_eq!(found, expected, "{name} {}", qtype.0);
                }
            }
            assert_eq!((outcome, reply[3] & 15), (plain_outcome, plain[3] & 15), "{name} {}", qtype.0);
        }
        assert!(truncated < 300, "{truncated}");
        let counts = stage.scratch.take_signed();
        assert!(counts.hits > counts.made * 20, "{counts:?}");
    }
}

#[test]
fn the_usual_way_signs_as_the_general_way_does() {
    let mut random = numbers(2);
    let names = ["video", "near", "ViDeO", "nl", "x.live", "n1"];
    let subnets = ["5.5.1.0/24", "5.5.0.0/15", "9.9.9.0/24", "2001:db8::/48", "10.1.0.0/16"];
    let mut usual = 0;
    for keys in ways() {
        let (mut stage, _) = stage(keys, 100_000);
        for _ in 0..2000 {
            let name = format!("{}.cdn.example", names[random(names.len())]);
            let qtype = [Rtype::A, Rtype::A, Rtype::AAAA][random(3)];
            let subnet = Some(subnets[random(subnets.len())]);
            let packet = signed_query(random(99) as u16, &name, qtype, subnet, false);
            let transport = [Transport::Udp, Transport::Tcp][random(2)];
            // Whatever is made is made here.
            let general = answer_generally(&mut stage, &packet, transport);
            let mut out = [0; 4096];
            let context = Context { world: &stage.snapshot, server: &stage.server, now: stage.now };
            let in_one_go = usual::answer(&context, &mut stage.scratch, transport, &packet, &mut out);
            usual += usize::from(in_one_go.is_some());
            if let Some(answered) = in_one_go {
                assert_eq!((answered.outcome, &out[..answered.len]), (general.0, &general.1[..]));
            }
            assert_eq!(stage.send(&packet, transport), general, "{packet:02x?}");
        }
    }
    assert!(usual > 1000, "{usual} of 6,000 are usual");
}

#[test]
fn invented_names_are_sent_to_tcp_and_leave_signatures_to_those_that_exist() {
    let [keys, ..] = ways();
    let (mut stage, known) = stage(keys, 20);
    let mut outcomes: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for n in 0..100 {
        for transport in [Transport::Udp, Transport::Tcp] {
            let name = format!("x{n}.{}cdn.example", if n % 2 == 0 { "live." } else { "" });
            let (outcome, reply) = stage.send(&signed_query(7, &name, Rtype::A, None, true), transport);
            *outcomes.entry((outcome.label(), transport == Transport::Udp)).or_default() += 1;
            if outcome == Outcome::Truncated || outcome == Outcome::Unsigned {
                let message = Message::from_octets(&reply[..]).expect("a message");
                assert_eq!(message.header_counts().ancount() + message.header_counts().nscount(), 0);
                assert!(reply.len() < 60, "nothing to amplify");
            } else {
                verified(outcome, &reply, &known, 1);
            }
        }
    }
    assert!(outcomes[&("truncated", true)] > 80, "{outcomes:?}");
    assert!(outcomes[&("unsigned", false)] > 80, "{outcomes:?}");
    assert!(stage.scratch.take_signed().unpaid > 160);
    let packet = signed_query(7, "video.cdn.example", Rtype::A, None, true);
    let (outcome, reply) = stage.send(&packet, Transport::Udp);
    assert_eq!(outcome, Outcome::Steered);
    verified(outcome, &reply, &known, 1);
    // A second later there is more.
    stage.now = UnixMs(stage.now.0 + 1000);
    let packet = signed_query(7, "late.cdn.example", Rtype::A, None, true);
    assert_eq!(stage.send(&packet, Transport::Udp).0, Outcome::NxDomain);
}
