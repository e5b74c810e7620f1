//! Extended errors (RFC 8914), SVCB records of services, and decisions in words.

use super::tests::{Stage, print, query};
use super::{Audience, Outcome, Transport};
use crate::snapshot::wire_name;
use crate::wire::Rtype;

#[test]
fn rfc8914_s4_19_whom_it_is_not_for_is_told() {
    let mut stage = Stage::new(&[]);
    let subnet = Some("6.6.1.0/24");
    stage.check("nl.cdn.example", Rtype::A, subnet, "nodata NOERROR aa /16 ede18 ?  5 SOA min30");
    let alias = stage.ask("nl2.cdn.example", Rtype::A, subnet);
    assert!(alias.ends_with(" ede18 | nl2 60 CNAME no.other.example"), "{alias}");
    // Without EDNS nothing more can be said.
    stage.peer = "6.6.1.1".parse().expect("an address");
    stage.check("nl.cdn.example", Rtype::A, None, "nodata NOERROR aa ?  5 SOA min30");
    for rtype in [Rtype::AXFR, Rtype::IXFR] {
        stage.check("cdn.example", rtype, Some(""), "refused REFUSED ede18");
    }
}

#[test]
fn rfc8914_s4_21_other_names_are_not_ours() {
    let mut stage = Stage::new(&[]);
    stage.check("www.other.example", Rtype::A, Some(""), "refused REFUSED ede20");
    stage.check("www.other.example", Rtype::A, None, "refused REFUSED");
}

#[test]
fn rfc8914_s4_4_answers_from_a_stale_table_say_so() {
    let mut stage = Stage::new(&[]);
    let questions = [
        ("near.cdn.example", Rtype::A, Some("5.5.1.0/24")),
        ("near.cdn.example", Rtype::A, Some("9.9.9.0/24")),
        ("video.cdn.example", Rtype::AAAA, Some("5.5.1.0/24")),
        ("show.live.cdn.example", Rtype::A, Some("2a00::/48")),
    ];
    let fresh = questions.map(|(name, rtype, ecs)| stage.ask(name, rtype, ecs));
    let fixed =
        [("cdn.example", Rtype::SOA), ("video.cdn.example", Rtype::TXT), ("ns1.cdn.example", Rtype::A)];
    let fixed_fresh = fixed.map(|(name, rtype)| stage.ask(name, rtype, Some("")));
    stage.snapshot = stage.snapshot.clone().aged(true);
    for ((name, rtype, ecs), fresh) in questions.into_iter().zip(fresh) {
        let stale = stage.ask(name, rtype, ecs);
        assert!(stale.contains(" ede3 "), "{stale}");
        assert_eq!(stale.replace(" ede3", ""), fresh);
    }
    // What is static is not the table's.
    assert_eq!(fixed.map(|(name, rtype)| stage.ask(name, rtype, Some(""))), fixed_fresh);
    let denied = stage.ask("nl.cdn.example", Rtype::A, Some("6.6.1.0/24"));
    assert!(denied.contains(" ede18 "), "what is graver is said: {denied}");
    stage.check("near.cdn.example", Rtype::A, None, "nodata NOERROR aa ?  3 SOA min30");
}

#[test]
fn rfc9460_s2_services_have_svcb_records() {
    let services = [
        r#"{"service":{"name":"rtmp.cdn.example","default_clusters":["far"],"port":1935,"svcb":{"alpn":["x-rtmp"]}}}"#,
        r#"{"service":{"name":"both.cdn.example","default_clusters":["far"],"https":{"hints":false},"svcb":{"hints":false}}}"#,
    ];
    let mut stage =
        Stage::of(&format!("{}{}", super::tests::TABLE, services.join("\n")), &[], Default::default());
    let subnet = Some("9.9.9.0/24");
    let told = stage.ask("rtmp.cdn.example", Rtype::SVCB, subnet);
    assert!(told.starts_with("steered NOERROR aa /"), "{told}");
    assert!(told.contains("| rtmp 30 SVCB 1 . alpn=x-rtmp port=1935 ipv4hint=192.0.2.1"), "{told}");
    let none = stage.ask("rtmp.cdn.example", Rtype::HTTPS, subnet);
    assert!(none.starts_with("nodata NOERROR aa /0 "), "{none}");
    for (rtype, name) in [(Rtype::SVCB, "SVCB"), (Rtype::HTTPS, "HTTPS")] {
        let told = stage.ask("both.cdn.example", rtype, None);
        assert_eq!(told, format!("steered NOERROR aa | both 30 {name} 1 . "));
    }
}

#[test]
fn a_decision_is_told_to_whom_it_may_be_told() {
    let mut stage = Stage::new(&[]);
    let (name, subnet) = ("_explain.near.cdn.example", Some("5.5.1.0/24"));
    let nothing = stage.ask(name, Rtype::TXT, subnet);
    assert!(nothing.starts_with("nxdomain "), "it is off: {nothing}");
    let peers = ["7.7.7.0/24".parse().expect("a prefix")].into();
    stage.server.explains = vec![Audience { apex: wire_name("cdn.example"), peers }];
    let (outcome, reply) = stage.send(&query(7, name, Rtype::TXT, subnet), Transport::Tcp);
    let told = print(outcome, &reply);
    assert_eq!(outcome, Outcome::Static, "{told}");
    assert_eq!(told.matches("_explain.near 0 TXT \"asked=A").count(), 2, "{told}");
    for fact in [
        "\"asked=AAAA\"",
        "\"client=5.5.1.0\"",
        "\"match=route\"",
        "\"prefix=5.5.0.0/16\"",
        "\"cluster=near\"",
    ] {
        assert!(told.contains(fact), "{fact} in {told}");
    }
    stage.check(name, Rtype::A, subnet, "nodata NOERROR aa /0 ?  30 SOA min30");
    let wild = stage.ask("_explain.any.live.cdn.example", Rtype::TXT, Some(""));
    assert!(wild.contains("_explain.any.live 0 TXT "), "{wild}");
    let no_service = stage.ask("_explain.cdn.example", Rtype::TXT, Some(""));
    assert!(no_service.starts_with("nxdomain "), "{no_service}");
    stage.peer = "7.7.8.1".parse().expect("an address");
    stage.check(name, Rtype::TXT, subnet, "refused REFUSED /0 ede18");
}
