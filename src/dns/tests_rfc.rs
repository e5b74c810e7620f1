//! Clauses of RFCs that the other tests do not ask about; `docs/conformance.md` says which test holds
//! which. Layer 7, tests only.

use super::tests::{Stage, print, query};
use super::*;
use crate::prefix::special;
use crate::snapshot::Snapshot;
use crate::wire::Rtype;
use crate::zone::{ZoneSettings, Zones, tests::settings};
use domain::base::Message;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A stage with another zone.
fn stage_of(settings: &ZoneSettings) -> Stage {
    let mut stage = Stage::new(&[]);
    let zones = Zones::build(std::slice::from_ref(settings)).expect("a zone");
    let (compiled, overlay) = (stage.snapshot.compiled(), stage.snapshot.overlay());
    stage.snapshot = Snapshot::new(2, Arc::clone(compiled), Arc::clone(overlay), Arc::new(zones));
    stage
}

#[test]
fn rfc4343_s4_names_are_found_in_any_case_and_come_back_as_asked() {
    let mut stage = Stage::new(&[]);
    for (name, other, qtype) in [
        ("near.cdn.example", "NEAR.Cdn.eXample", Rtype::A),
        ("ns1.cdn.example", "Ns1.CDN.EXAMPLE", Rtype::A),
        ("n1.cdn.example", "N1.cdn.EXAMPLE", Rtype::AAAA),
        ("x.wild.cdn.example", "X.WILD.cdn.example", Rtype::A),
        ("x.live.cdn.example", "X.LiVe.cdn.example", Rtype::A),
        ("nope.cdn.example", "NOPE.cdn.example", Rtype::A),
        ("sub.cdn.example", "SUB.cdn.example", Rtype::DS),
    ] {
        let mut packet = query(7, name, qtype, Some("5.5.1.0/24"));
        let lower = stage.send(&packet, Transport::Udp).1;
        let mut at = 12;
        for label in other.split('.') {
            packet[at + 1..][..label.len()].copy_from_slice(label.as_bytes());
            at += 1 + label.len();
        }
        let reply = stage.send(&packet, Transport::Udp).1;
        assert_eq!(reply[12..at], packet[12..at], "{other}");
        assert_eq!(reply[at..], lower[at..], "{other}");
    }
    // No folding but that of ASCII: an octet above 127 is itself.
    let mut packet = query(7, "near.cdn.example", Rtype::A, None);
    packet[13] = b'n' | 0x80;
    assert_eq!(stage.send(&packet, Transport::Udp).0, Outcome::NxDomain);
}

#[test]
fn rfc2308_s3_a_negative_answer_is_kept_as_long_as_the_smaller_of_minimum_and_the_soas_ttl() {
    for (minimum, expected) in [(0, 0), (30, 30), (3600, 3600), (86_400, 3600)] {
        let mut settings = settings("a A 192.0.2.1");
        settings.soa.negative_ttl_s = minimum;
        let mut stage = stage_of(&settings);
        let soa = format!("?  {expected} SOA min{minimum}");
        stage.check("nope.cdn.example", Rtype::A, None, &format!("nxdomain NXDOMAIN aa {soa}"));
        stage.check("a.cdn.example", Rtype::TXT, None, &format!("nodata NOERROR aa {soa}"));
        stage.check("cdn.example", Rtype::SOA, None, &format!("static NOERROR aa |  3600 SOA min{minimum}"));
    }
}

#[test]
fn rfc9471_s3_1_glue_below_the_cut_is_there_or_tc_is_set() {
    let mut records = String::new();
    for n in 0..20 {
        records.push_str(&format!("sub NS ns{n}.sub\nns{n}.sub A 192.0.2.{n}\n"));
        if n < 16 {
            records.push_str(&format!("beside NS ns{n}.inner\nns{n}.inner A 192.0.2.{n}\n"));
        }
    }
    let mut stage = stage_of(&settings(&records));
    let mut ask = |name: &str, ecs, transport| {
        let (outcome, reply) = stage.send(&query(7, name, Rtype::A, ecs), transport);
        let counts = Message::from_octets(&reply[..]).expect("a message").header_counts();
        (outcome, counts.nscount(), counts.arcount())
    };
    assert_eq!(ask("x.sub.cdn.example", None, Transport::Udp).0, Outcome::Truncated);
    assert_eq!(ask("x.sub.cdn.example", None, Transport::Tcp), (Outcome::Referral, 20, 20));
    assert_eq!(ask("x.sub.cdn.example", Some(""), Transport::Udp), (Outcome::Referral, 20, 21));
    // Other addresses of the zone only help: they are left out without a word.
    let (outcome, name_servers, _) = ask("x.beside.cdn.example", None, Transport::Udp);
    assert_eq!((outcome, name_servers), (Outcome::Referral, 16));
}

#[test]
fn rfc3597_s3_records_of_unknown_types_are_served_as_they_are() {
    let mut stage = stage_of(&settings("a TYPE65400 \\# 3 0a0B0c\n*.w TYPE65401 \\# 0"));
    let (outcome, reply) = stage.send(&query(7, "a.cdn.example", Rtype(65_400), None), Transport::Udp);
    assert_eq!(outcome, Outcome::Static);
    assert!(reply.ends_with(b"\xc0\x0c\xff\x78\x00\x01\x00\x00\x0e\x10\x00\x03\x0a\x0b\x0c"), "{reply:02x?}");
    let (outcome, reply) = stage.send(&query(7, "x.w.cdn.example", Rtype(65_401), None), Transport::Udp);
    assert_eq!(outcome, Outcome::Static);
    assert!(reply.ends_with(b"\xc0\x0c\xff\x79\x00\x01\x00\x00\x0e\x10\x00\x00"), "{reply:02x?}");
}

#[test]
fn rfc2181_s5_2_records_of_a_set_have_one_ttl() {
    let mut stage = stage_of(&settings("a 60 A 192.0.2.1\na 30 A 192.0.2.2\na 90 AAAA ::1"));
    stage.check("a.cdn.example", Rtype::A, None, "static NOERROR aa | a 30 A 192.0.2.1 | a 30 A 192.0.2.2");
    stage.check("a.cdn.example", Rtype::AAAA, None, "static NOERROR aa | a 90 AAAA ::1");
}

#[test]
fn rfc7871_s7_2_1_whoever_is_inside_a_scope_gets_the_same_answer() {
    let mut stage = Stage::new(&[]);
    let mut seed = 0x5eed_0005_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 16) % below
    };
    let mut scopes = std::collections::BTreeSet::new();
    // Half of the clients are near the edges of routes, special blocks and countries.
    let edges =
        ["5.5.0.0", "5.6.0.0", "6.6.0.0", "6.7.0.0", "10.1.0.0", "10.2.0.0", "192.0.2.0", "127.0.0.0"];
    for _ in 0..5_000 {
        let client = match random(2) {
            0 => random(1 << 32) as u32,
            _ => {
                let edge: Ipv4Addr = edges[random(8) as usize].parse().expect("an address");
                u32::from(edge).wrapping_add(random(512) as u32).wrapping_sub(256)
            }
        };
        let source_len = 1 + random(32) as u32;
        let client = client & u32::MAX << (32 - source_len);
        let name = ["video", "near", "nl", "nl2", "x.live"][random(5) as usize];
        let mut ask = |client: u32, source_len: u32| {
            let subnet = format!("{}/{source_len}", Ipv4Addr::from(client));
            let (outcome, reply) = stage
                .send(&query(7, &format!("{name}.cdn.example"), Rtype::A, Some(&subnet)), Transport::Udp);
            print(outcome, &reply)
        };
        let told = ask(client, source_len);
        let (_, rest) = told.split_once(" /").expect("a scope");
        let scope: u32 = rest.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
        scopes.insert(scope);
        // The lowest address of the subnet decided; anyone who shares so many bits with it is as good.
        let host_bits = u32::MAX.checked_shr(scope).unwrap_or(0);
        let other = client & !host_bits | random(1 << 32) as u32 & host_bits;
        // Nobody in a special block asks (ruling 10): they do not shorten the scopes around them.
        if special::contains(Ipv4Addr::from(other).into())
            && !special::contains(Ipv4Addr::from(client).into())
        {
            continue;
        }
        assert_eq!(ask(other, 32), told, "{name}: {} and {}", Ipv4Addr::from(client), Ipv4Addr::from(other));
    }
    assert!(scopes.len() > 10, "{scopes:?}");
}

#[test]
fn rfc7871_s7_2_1_family_source_and_address_come_back_whatever_the_reply() {
    let mut stage = Stage::new(&[]);
    for name in ["video", "near", "ns1", "nope", "sub", "www", "big", "x.inner"] {
        for subnet in ["5.5.1.0/24", "5.5.1.7/32", "8.0.0.0/7", "2a00:1::/32", "::ffff:5.5.0.0/112", "::/0"] {
            let packet = query(7, &format!("{name}.cdn.example"), Rtype::A, Some(subnet));
            let (_, reply) = stage.send(&packet, Transport::Udp);
            let opt_at = packet.windows(3).rposition(|octets| octets == [0, 0, 41]).expect("an OPT");
            let mut option = packet[opt_at + 11..].to_vec();
            let at = reply.windows(7).rposition(|octets| octets == &option[..7]).expect("the option");
            // The scope is the reply's own.
            option[7] = reply[at + 7];
            assert_eq!(reply[at..], option, "{name} {subnet}");
            assert!(subnet != "::/0" || option[7] == 0);
        }
    }
}

#[test]
fn rfc7871_s7_4_delegations_and_names_that_are_not_there_are_for_everyone() {
    let mut stage = Stage::new(&[]);
    for name in ["x.sub", "nope", "x.inner"] {
        let told = stage.ask(&format!("{name}.cdn.example"), Rtype::A, Some("5.5.1.0/24"));
        assert!(told.contains(" /0 "), "{told}");
    }
}

#[test]
fn rfc7871_s10_addresses_of_private_space_are_the_resolvers_own() {
    let mut stage = Stage::new(&[]);
    stage.peer = "5.5.9.9".parse().expect("an address");
    for (subnet, scope) in [("192.168.7.0/24", 16), ("172.16.9.0/24", 12), ("fd00:1:2::/48", 7)] {
        let told = stage.ask("near.cdn.example", Rtype::A, Some(subnet));
        assert_eq!(told, format!("steered NOERROR aa /{scope} | near 3 A 192.0.2.1"), "{subnet}");
    }
}

#[test]
fn rfc8914_s3_the_reason_is_told_in_an_opt_only() {
    let mut stage = Stage::new(&[]);
    let world = &stage.snapshot;
    let (compiled, overlay) = (Arc::clone(world.compiled()), Arc::clone(world.overlay()));
    stage.snapshot = Snapshot::not_ready(compiled, overlay, Arc::clone(world.zones()));
    stage.check("video.cdn.example", Rtype::A, Some(""), "not_ready SERVFAIL ede14");
    stage.check("video.cdn.example", Rtype::A, None, "not_ready SERVFAIL");
}

#[test]
fn rfc2181_s10_3_a_name_server_that_is_an_alias_is_a_problem() {
    let zones = Zones::build(&[settings("ns1 CNAME a\na A 192.0.2.1")]).expect("a zone by itself");
    let stage = Stage::new(&[]);
    let found = zones.conflicts_with(stage.snapshot.fleet());
    assert!(found.iter().any(|problem| problem.found == "ns1.cdn.example"), "{found:?}");
}

#[test]
fn rfc2181_s8_ttls_have_31_bits() {
    assert!(Zones::build(&[settings("a 2147483647 A 192.0.2.1")]).is_ok());
    assert!(Zones::build(&[settings("a 2147483648 A 192.0.2.1")]).is_err());
}
