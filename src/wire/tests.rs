//! Clause by clause: what is accepted, what is refused and how, and that replies read back with
//! another codec. Layer 1, tests only.

use super::*;
use domain::base::iana::{OptRcode, Rtype as DomainRtype};
use domain::base::opt::{ClientSubnet, ExtendedError};
use domain::base::{Message, ToName};
use domain::rdata::{A, Aaaa, Cname, Soa as DomainSoa};
use std::net::{Ipv4Addr, Ipv6Addr};

/// `Video.CDN.example`, type A, class IN.
const QUESTION: &[u8] = b"\x05Video\x03CDN\x07example\x00\x00\x01\x00\x01";

/// An OPT of 1232 octets with `options`.
fn opt(options: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0];
    record.extend_from_slice(&(options.len() as u16).to_be_bytes());
    record.extend_from_slice(options);
    record
}

/// An option.
fn option_of(code: u16, data: &[u8]) -> Vec<u8> {
    let mut option = code.to_be_bytes().to_vec();
    option.extend_from_slice(&(data.len() as u16).to_be_bytes());
    option.extend_from_slice(data);
    option
}

/// A TSIG with key `k.`, algorithm `a.` and a MAC of four octets.
fn tsig() -> Vec<u8> {
    let mut record = b"\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x17".to_vec();
    record
        .extend_from_slice(b"\x01a\x00\x00\x00\x00\x00\x00\x07\x01\x2c\x00\x04MAC!\x12\x34\x00\x00\x00\x00");
    record
}

/// A message with these flags, counts and body.
fn message(flags: u16, counts: [u16; 4], body: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![0xab, 0xcd];
    packet.extend_from_slice(&flags.to_be_bytes());
    counts.iter().for_each(|count| packet.extend_from_slice(&count.to_be_bytes()));
    body.iter().for_each(|part| packet.extend_from_slice(part));
    packet
}

/// A query for [`QUESTION`] with these additional records.
fn query(additional: &[&[u8]]) -> Vec<u8> {
    let mut body = vec![QUESTION];
    body.extend_from_slice(additional);
    message(0x0100, [1, 0, 0, additional.len() as u16], &body)
}

/// Parses and says in a word what came of it; checks the error reply's bounds and rcode on the way.
fn verdict(packet: &[u8]) -> String {
    let mut qname = NameBuf::default();
    let mut out = [0u8; 70_000];
    match Query::parse(packet, &mut qname) {
        Ok(_) => "ok".to_owned(),
        Err(Reject::Drop(reason)) => {
            assert_eq!(compose_reject(&Reject::Drop(reason), &mut out), None);
            format!("{reason:?}")
        }
        Err(reject) => {
            let len = compose_reject(&reject, &mut out).expect("an error reply");
            assert!(len <= packet.len() + OPT_LEN, "{len} octets to {}", packet.len());
            let reply = Message::from_octets(&out[..len]).expect("a message");
            assert_eq!(reply.header().id(), 0xabcd);
            assert!(reply.header().qr() && !reply.header().aa());
            let rcode = reply.opt_rcode();
            let question = if reply.header_counts().qdcount() == 1 { "+question" } else { "" };
            let opt = if reply.opt().is_some() { "+opt" } else { "" };
            if let Some(opt) = reply.opt() {
                assert_eq!((opt.version(), opt.udp_payload_size()), (0, UDP_SIZE));
            }
            format!("{rcode}{question}{opt}")
        }
    }
}

/// One packet, one verdict.
fn check(packet: &[u8], expected: &str) {
    assert_eq!(verdict(packet), expected, "{packet:02x?}");
}

#[test]
fn rfc1035_s4_1_1_headers_that_are_none_are_dropped() {
    check(&[], "Short");
    check(&[0xab; 11], "Short");
    check(&message(0x8000, [1, 0, 0, 0], &[QUESTION]), "Reply");
    check(&message(0xffff, [0, 0, 0, 0], &[]), "Reply");
}

#[test]
fn other_opcodes_are_notimp_with_a_bare_header() {
    for opcode in 1..16u16 {
        check(&message(opcode << 11, [1, 0, 0, 1], &[QUESTION, &opt(&[])]), "NOTIMP");
        check(&message(opcode << 11, [0, 0, 0, 0], &[]), "NOTIMP");
        // None of its flags is known, so none comes back.
        let (mut qname, mut out) = (NameBuf::default(), [0u8; 512]);
        let packet = message(opcode << 11 | 0x07f0, [1, 0, 0, 0], &[QUESTION]);
        let reject = Query::parse(&packet, &mut qname).expect_err("an opcode");
        let len = compose_reject(&reject, &mut out).expect("a reply");
        assert_eq!(out[2..len], [0x80 | (opcode as u8) << 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn rfc9619_s4_qdcount_other_than_1_is_formerr() {
    check(&message(0, [0, 0, 0, 0], &[]), "FORMERR");
    check(&message(0, [0, 0, 0, 1], &[&opt(&option_of(3, &[]))]), "FORMERR");
    // RFC 7873 section 5.4: where no cookie is made this is the reply.
    check(&message(0, [0, 0, 0, 1], &[&opt(&option_of(10, &[1; 8]))]), "FORMERR+opt");
    check(&message(0, [2, 0, 0, 0], &[QUESTION, QUESTION]), "FORMERR");
}

#[test]
fn rfc1035_s4_1_2_questions_are_read_whole() {
    check(&query(&[]), "ok");
    check(&message(0, [1, 0, 0, 0], &[]), "FORMERR");
    check(&message(0, [1, 0, 0, 0], &[&QUESTION[..QUESTION.len() - 1]]), "FORMERR");
    check(&message(0, [1, 0, 0, 0], &[b"\xc0\x0c\x00\x01\x00\x01"]), "FORMERR");
    check(&message(0, [1, 0, 0, 0], &[b"\x40aaa\x00\x00\x01\x00\x01"]), "FORMERR");
    check(&message(0, [1, 0, 0, 0], &[b"\x00\x00\x01\x00\x01"]), "ok");
    let long = [[63u8; 64]; 4].concat();
    check(&message(0, [1, 0, 0, 0], &[&long, b"\x00\x00\x01\x00\x01"]), "FORMERR");
    check(&message(0, [1, 0, 0, 0], &[&long[..192], &[61; 62], b"\x00\x00\x01\x00\x01"]), "ok");
}

#[test]
fn records_where_a_query_has_none_are_formerr() {
    let a = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x01\x02\x03\x04";
    check(&message(0, [1, 1, 0, 0], &[QUESTION, a]), "FORMERR+question");
    check(&message(0, [1, 0, 1, 0], &[QUESTION, a]), "FORMERR+question");
    check(&message(0, [1, 0, 0, 1], &[QUESTION, a]), "FORMERR+question");
    check(&message(0, [1, 0, 0, 1], &[QUESTION]), "FORMERR+question");
    check(&message(0, [1, 0, 0, 0], &[QUESTION, &[0]]), "FORMERR+question");
    check(&message(0, [1, 0, 0, 1], &[QUESTION, &opt(&[]), &[0]]), "FORMERR+question+opt");
}

#[test]
fn rfc6891_s6_1_1_opt_is_one_and_at_the_root() {
    check(&query(&[&opt(&[])]), "ok");
    check(&query(&[&opt(&[]), &opt(&[])]), "FORMERR+question");
    let mut owned = vec![1, b'a'];
    owned.extend_from_slice(&opt(&[]));
    check(&query(&[&owned]), "FORMERR+question");
}

#[test]
fn rfc6891_s6_1_2_options_are_counted_and_unknown_ones_ignored() {
    check(&query(&[&opt(&option_of(65001, &[1, 2, 3]))]), "ok");
    check(&query(&[&opt(&option_of(65001, &[]))]), "ok");
    check(&query(&[&opt(&[0xfd])]), "FORMERR+question");
    check(&query(&[&opt(&[0xfd, 0xe9, 0, 1])]), "FORMERR+question");
    let mut cut = opt(&option_of(65001, &[1, 2, 3]));
    cut.pop();
    check(&query(&[&cut]), "FORMERR+question");
}

#[test]
fn rfc6891_s6_1_3_badvers_whatever_the_options() {
    for options in [option_of(8, &[0, 9]), vec![0xfd], Vec::new()] {
        let mut record = opt(&options);
        record[6] = 1;
        check(&query(&[&record]), "BADVERS+question+opt");
    }
}

#[test]
fn rfc7871_s6_faults_are_formerr_with_the_opt() {
    let good = option_of(8, &[0, 1, 24, 0, 192, 0, 2]);
    check(&query(&[&opt(&good)]), "ok");
    check(&query(&[&opt(&[good.clone(), good.clone()].concat())]), "FORMERR+question+opt");
    for bad in [&[0u8, 0, 0, 0][..], &[0, 1, 24, 8, 192, 0, 2], &[0, 1, 23, 0, 192, 0, 3], &[0, 1]] {
        check(&query(&[&opt(&option_of(8, bad))]), "FORMERR+question+opt");
    }
}

#[test]
fn rfc8945_s5_2_1_unknown_keys_are_notauth_badkey_unsigned() {
    let packet = query(&[&opt(&[]), &tsig()]);
    check(&packet, "NOTAUTH+question+opt");
    check(&query(&[&tsig()]), "NOTAUTH+question");
    check(&query(&[&tsig(), &opt(&[])]), "FORMERR+question");
    check(&query(&[&tsig(), &tsig()]), "FORMERR+question");
    let (mut qname, mut out) = (NameBuf::default(), [0u8; 512]);
    let reject = Query::parse(&packet, &mut qname).expect_err("a TSIG");
    let len = compose_reject(&reject, &mut out).expect("a reply");
    let expected = b"\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x13\
        \x01a\x00\x00\x00\x00\x00\x00\x07\x01\x2c\x00\x00\x12\x34\x00\x11\x00\x00";
    assert_eq!(&out[len - expected.len()..len], expected);
}

#[test]
fn a_query_is_taken_apart() {
    let options = [
        option_of(3, &[]),
        option_of(8, &[0, 2, 32, 0, 0x20, 1, 0x0d, 0xb8]),
        option_of(10, &[7; 8]),
        option_of(12, &[0; 5]),
    ];
    let mut record = opt(&options.concat());
    record[7] = 0x80;
    let mut packet = query(&[&record]);
    packet[3] = 0x10;
    let mut qname = NameBuf::default();
    let query = Query::parse(&packet, &mut qname).expect("a query");
    assert_eq!(query.qname(), b"\x05video\x03cdn\x07example\x00");
    assert_eq!(query.question(), QUESTION);
    assert_eq!((query.qtype(), query.qclass(), query.id()), (Rtype::A, CLASS_IN, 0xabcd));
    assert!(query.echo().recursion_desired && query.checking_disabled());
    let edns = query.edns().expect("an OPT");
    assert_eq!((edns.udp_size, edns.dnssec_ok), (1232, true));
    assert_eq!((edns.nsid, edns.cookie), (Some(&[][..]), Some(&[7; 8][..])));
    let ecs = query.ecs().expect("a subnet");
    assert_eq!((ecs.address().to_string().as_str(), ecs.source_len()), ("2001:db8::", 32));
}

#[test]
fn rfc6891_s6_2_5_limits() {
    for (size, cap, expected) in
        [(None, 1232, 512), (Some(0), 1232, 512), (Some(1000), 1232, 1000), (Some(4096), 1232, 1232)]
    {
        let mut record = opt(&[]);
        if let Some(size) = size {
            record[3..5].copy_from_slice(&u16::to_be_bytes(size));
        }
        let packet = if size.is_some() { query(&[&record]) } else { query(&[]) };
        let mut qname = NameBuf::default();
        let query = Query::parse(&packet, &mut qname).expect("a query");
        assert_eq!(query.udp_limit(cap), expected, "{size:?}");
    }
}

/// Canonical wire form of `text`.
fn wire(text: &str) -> Name {
    text.parse().expect("a name")
}

#[test]
fn replies_read_back_with_another_codec() {
    let packet = query(&[&opt(&option_of(8, &[0, 1, 24, 0, 192, 0, 2]))]);
    let (mut qname, mut out) = (NameBuf::default(), [0u8; 1232]);
    let query = Query::parse(&packet, &mut qname).expect("a query");
    let ecs = query.ecs().map(|ecs| EcsReply::to(ecs, 27));
    let ede = Some(Ede { code: Ede::NOT_READY, text: "no table yet" });
    let opt = Opt::to(&query).map(|opt| Opt { ecs, ede, ..opt });
    let mut reply = Reply::start(&mut out, 1232, &query, opt).expect("room");
    let (alias, zone, mname) = (wire("video.other.example"), wire("cdn.example"), wire("ns1.cdn.example"));
    let owner = Owner::Name(alias.as_wire());
    assert!(reply.rrset(Section::Answer, Owner::Qname, Rtype::CNAME, 30, [Rdata::Name(alias.as_wire())]));
    assert!(reply.rrset(Section::Answer, owner, Rtype::A, 31, [Rdata::A(Ipv4Addr::new(192, 0, 2, 1))]));
    assert!(reply.rrset(Section::Answer, owner, Rtype::AAAA, 32, [Rdata::Aaaa(Ipv6Addr::LOCALHOST)]));
    let rname = wire("hostmaster.cdn.example");
    let soa = Soa { mname: mname.as_wire(), rname: rname.as_wire(), numbers: [1, 2, 3, 4, 5] };
    let zone_owner = Owner::Name(zone.as_wire());
    assert!(reply.rrset(Section::Authority, zone_owner, Rtype::SOA, 5, [Rdata::Soa(soa)]));
    assert!(reply.rrset(
        Section::Additional,
        zone_owner,
        Rtype::TXT,
        6,
        [Rdata::Text(&[b'x'; 300]), Rdata::Bytes(b"\x01a")]
    ));
    let len = reply.finish(Rcode::NoError, true);

    let read = Message::from_octets(&out[..len]).expect("a message");
    assert!(read.header().aa() && read.header().rd() && !read.header().tc() && !read.header().ad());
    assert_eq!(&out[12..12 + QUESTION.len()], QUESTION, "the case is echoed");
    let answer: Vec<_> = read.answer().expect("answers").flatten().collect();
    let cname = answer[0].to_record::<Cname<_>>().expect("reads").expect("is a CNAME");
    assert_eq!(cname.data().cname().to_vec().to_string(), "video.other.example");
    assert_eq!(cname.owner().to_vec().to_string(), "Video.CDN.example");
    let a = answer[1].to_record::<A>().expect("reads").expect("is an A");
    assert_eq!((a.data().addr(), a.ttl().as_secs()), (Ipv4Addr::new(192, 0, 2, 1), 31));
    assert_eq!(a.owner().to_vec().to_string(), "video.other.example");
    assert!(answer[2].to_record::<Aaaa>().expect("reads").is_some());
    let soa = read.authority().expect("authority").flatten().next().expect("a record");
    let soa = soa.to_record::<DomainSoa<_>>().expect("reads").expect("is an SOA");
    assert!(soa.data().mname().name_eq(&"ns1.cdn.example".parse::<domain::base::Name<Vec<u8>>>().unwrap()));
    assert_eq!(soa.data().serial().into_int(), 1);
    let types: Vec<_> = read.additional().expect("more").flatten().map(|r| r.rtype()).collect();
    assert_eq!(types, [DomainRtype::TXT, DomainRtype::TXT, DomainRtype::OPT]);
    let opt = read.opt().expect("an OPT");
    let subnet = opt.opt().iter::<ClientSubnet>().next().expect("ECS").expect("reads");
    assert_eq!((subnet.source_prefix_len(), subnet.scope_prefix_len()), (24, 27));
    assert_eq!(subnet.addr().to_string(), "192.0.2.0");
    let error = opt.opt().iter::<ExtendedError<_>>().next().expect("EDE").expect("reads");
    assert_eq!(error.code().to_int(), 14);
    assert_eq!(error.text().expect("a text").expect("UTF-8").to_string(), "no table yet");
    assert_eq!(opt.rcode(read.header()), OptRcode::NOERROR);
}

#[test]
fn names_are_compressed_at_label_boundaries_only() {
    // QNAME `a.\003com`, whose second label begins with an octet that looks like a length.
    let packet = message(0, [1, 0, 0, 0], &[b"\x01a\x04\x03com\x00\x00\x01\x00\x01"]);
    let (mut qname, mut out) = (NameBuf::default(), [0u8; 512]);
    let query = Query::parse(&packet, &mut qname).expect("a query");
    let mut reply = Reply::start(&mut out, 512, &query, None).expect("room");
    let target = wire("com");
    reply.rrset(Section::Answer, Owner::Qname, Rtype::CNAME, 0, [Rdata::Name(target.as_wire())]);
    let len = reply.finish(Rcode::NoError, true);
    assert_eq!(&out[len - 7..len], b"\x00\x05\x03com\x00");
}

#[test]
fn rfc2181_s9_sets_that_do_not_fit_are_dropped_whole_and_the_opt_stays() {
    let packet = query(&[&opt(&option_of(8, &[0, 1, 24, 0, 192, 0, 2]))]);
    for count in 0..40u8 {
        for limit in [60usize, 100, 200, 512] {
            let (mut qname, mut out) = (NameBuf::default(), [0u8; 512]);
            let query = Query::parse(&packet, &mut qname).expect("a query");
            let ecs = query.ecs().map(|ecs| EcsReply::to(ecs, 24));
            let opt = Opt::to(&query).map(|opt| Opt { ecs, ..opt });
            let Some(mut reply) = Reply::start(&mut out, limit, &query, opt) else {
                assert!(limit < 12 + QUESTION.len() + 22);
                continue;
            };
            let addrs = (0..count).map(|n| Rdata::A(Ipv4Addr::new(192, 0, 2, n)));
            let fits = reply.rrset(Section::Answer, Owner::Qname, Rtype::A, 30, addrs);
            assert_eq!(reply.rrset_if_room(Section::Additional, Owner::Qname, Rtype::A, 30, []), fits);
            let len = reply.finish(Rcode::NoError, true);
            let read = Message::from_octets(&out[..len]).expect("a message");
            assert!(len <= limit);
            assert_eq!(read.header().tc(), !fits);
            assert_eq!(fits, 12 + QUESTION.len() + 22 + usize::from(count) * 16 <= limit);
            assert_eq!(read.header_counts().ancount(), if fits { u16::from(count) } else { 0 });
            assert!(read.opt().is_some());
        }
    }
}

/// A fixed sequence of numbers (xorshift), so that a failure can be repeated.
struct Seeded(u64);

impl Seeded {
    /// The next number below `below`.
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % below.max(1)
    }
}

#[test]
fn mutated_packets_never_panic_and_never_amplify() {
    let mut badvers = opt(&[]);
    badvers[6] = 3;
    let seeds = [
        query(&[]),
        query(&[&opt(&option_of(8, &[0, 1, 24, 0, 192, 0, 2]))]),
        query(&[&opt(&[option_of(10, &[1; 24]), option_of(8, &[0, 2, 0, 0])].concat())]),
        query(&[&opt(&[]), &tsig()]),
        query(&[&badvers]),
        message(0x8000, [1, 0, 0, 0], &[QUESTION]),
    ];
    let mut random = Seeded(0x5eed_0001);
    for round in 0..60_000 {
        let mut packet = seeds[round % seeds.len()].clone();
        for _ in 0..=random.next(4) {
            let at = random.next(packet.len());
            match random.next(4) {
                0 => packet.truncate(at),
                1 => packet.insert(at, random.next(256) as u8),
                2 if at < packet.len() => packet[at] ^= 1 << random.next(8),
                _ if at < packet.len() => packet[at] = random.next(256) as u8,
                _ => {}
            }
        }
        let (first, second) = (outcome(&packet), outcome(&packet));
        assert_eq!(first, second, "same input, same bytes");
        let is_reply = packet.get(2).is_some_and(|flags| flags & 0x80 != 0);
        assert!(!(is_reply || packet.len() < 12) || first.is_none());
        if let Some(reply) = first {
            assert_eq!(reply[..2], packet[..2]);
            assert!(Message::from_octets(reply).is_ok());
        }
    }
}

/// The reply to `packet`: an error, or one address.
fn outcome(packet: &[u8]) -> Option<Vec<u8>> {
    let (mut qname, mut out) = (NameBuf::default(), vec![0xee; 4096]);
    let len = match Query::parse(packet, &mut qname) {
        Err(reject) => {
            let len = compose_reject(&reject, &mut out)?;
            assert!(len <= packet.len() + OPT_LEN);
            len
        }
        Ok(query) => {
            let limit = query.udp_limit(UDP_SIZE);
            let ecs = query.ecs().map(|ecs| EcsReply::to(ecs, ecs.family().bits()));
            let opt = Opt::to(&query).map(|opt| Opt { ecs, ..opt });
            let mut reply = Reply::start(&mut out, limit, &query, opt).expect("512 octets suffice");
            reply.rrset(Section::Answer, Owner::Qname, Rtype::A, 30, [Rdata::A(Ipv4Addr::LOCALHOST)]);
            let len = reply.finish(Rcode::NoError, true);
            assert!(len <= limit);
            len
        }
    };
    out.truncate(len);
    Some(out)
}
