//! Tests of cookies and of limits, from packets to replies.

use super::tests::{Stage, query};
use super::*;
use crate::wire::Rtype;
use domain::base::Message;
use domain::base::iana::OptRcode;
use domain::base::opt::Cookie;

/// A stage with a cookie secret and the limits of the default config.
fn stage() -> Stage {
    let mut stage = Stage::new(&[]);
    stage.server.cookies.secrets.push(Secret([7; 16]));
    stage.server.limits = Limits::of(&crate::config::Dns::default(), 1);
    stage
}

/// `packet`, whose OPT is its end, with an option more.
fn with_option(packet: &[u8], code: u8, data: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let opt_at = packet.windows(3).rposition(|octets| octets == [0, 0, 41]).expect("an OPT");
    packet[opt_at + 10] += 4 + data.len() as u8;
    packet.extend_from_slice(&[0, code, 0, data.len() as u8]);
    packet.extend_from_slice(data);
    packet
}

/// The response code and the cookie of a reply.
fn cookie_of(reply: &[u8]) -> (OptRcode, Option<Vec<u8>>) {
    let message = Message::from_octets(reply).expect("a message");
    let cookie = message.opt().and_then(|opt| opt.opt().first::<Cookie>()).map(|cookie| {
        let server = cookie.server().map(AsRef::as_ref).unwrap_or_default().to_vec();
        [cookie.client().as_ref(), &server].concat()
    });
    (message.opt_rcode(), cookie)
}

#[test]
fn rfc7873_s5_2_a_reply_brings_a_cookie_that_is_good_later() {
    let mut stage = stage();
    let plain = query(7, "video.cdn.example", Rtype::A, Some("5.5.1.0/24"));
    let (_, reply) = stage.send(&plain, Transport::Udp);
    assert_eq!(cookie_of(&reply), (OptRcode::NOERROR, None), "none was sent");
    let (outcome, reply) = stage.send(&with_option(&plain, 10, b"abcdefgh"), Transport::Udp);
    let (rcode, cookie) = cookie_of(&reply);
    let cookie = cookie.expect("a cookie");
    assert_eq!(
        (outcome, rcode, cookie.len(), &cookie[..8]),
        (Outcome::Steered, OptRcode::NOERROR, 24, &b"abcdefgh"[..])
    );
    assert!(!stage.scratch.is_verified);
    let (outcome, reply) = stage.send(&with_option(&plain, 10, &cookie), Transport::Udp);
    assert_eq!((outcome, cookie_of(&reply).1), (Outcome::Steered, Some(cookie.clone())));
    assert!(stage.scratch.is_verified);
    // Another address has another one; what is wrong is answered all the same.
    stage.peer = "7.7.7.8".parse().expect("an address");
    let (outcome, reply) = stage.send(&with_option(&plain, 10, &cookie), Transport::Udp);
    assert_eq!(outcome, Outcome::Steered);
    assert!(cookie_of(&reply).1.is_some_and(|new| new != cookie));
    assert!(!stage.scratch.is_verified);
    for len in [0, 7, 9, 15, 41] {
        let (outcome, reply) = stage.send(&with_option(&plain, 10, &vec![1; len]), Transport::Udp);
        assert_eq!((outcome, cookie_of(&reply)), (Outcome::FormErr, (OptRcode::FORMERR, None)), "{len}");
    }
}

#[test]
fn rfc7873_s5_4_a_cookie_may_be_all_that_is_asked_for() {
    let mut stage = stage();
    let mut bare = vec![0, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    let (outcome, reply) = stage.send(&bare, Transport::Udp);
    assert_eq!((outcome, reply[3] & 15), (Outcome::FormErr, 1), "no cookie (RFC 9619)");
    bare = with_option(&bare, 10, b"abcdefgh");
    let (outcome, reply) = stage.send(&bare, Transport::Udp);
    let (rcode, cookie) = cookie_of(&reply);
    assert_eq!(
        (outcome, rcode, &reply[4..12]),
        (Outcome::CookieOnly, OptRcode::NOERROR, &[0, 0, 0, 0, 0, 0, 0, 1][..])
    );
    assert_eq!(cookie.map(|cookie| cookie.len()), Some(24));
    stage.server.cookies.secrets.clear();
    assert_eq!(stage.send(&bare, Transport::Udp).0, Outcome::FormErr, "no cookies here");
}

#[test]
fn a_flood_in_the_name_of_a_victim_is_cut_and_who_is_real_comes_through() {
    let mut stage = stage();
    let plain = query(7, "video.cdn.example", Rtype::A, None);
    let (mut asked, mut told) = (0, 0);
    let mut outcomes = [0; Outcome::ALL.len()];
    for _ in 0..1000 {
        let (outcome, reply) = stage.send(&plain, Transport::Udp);
        assert!(reply.is_empty() || reply.len() <= plain.len() || outcome == Outcome::Steered);
        asked += plain.len();
        told += reply.len();
        outcomes[outcome.index()] += 1;
    }
    let count = |outcome: Outcome| outcomes[outcome.index()];
    assert_eq!(
        (count(Outcome::Steered), count(Outcome::Slipped), count(Outcome::Dropped(Dropped::Limited))),
        (100, 450, 450)
    );
    assert!(told < asked, "{told} octets for {asked}");
    // A truncated reply has the question and TC; by TCP the answer is there.
    let replies: Vec<_> = (0..2).map(|_| stage.send(&plain, Transport::Udp)).collect();
    let (_, slipped) = replies.iter().find(|(outcome, _)| *outcome == Outcome::Slipped).expect("one of two");
    assert_eq!((slipped.len(), slipped[2] & 0x02, &slipped[6..8]), (plain.len(), 0x02, &[0, 0][..]));
    assert_eq!(stage.scratch.decided(), None, "nothing was decided for anyone");
    assert_eq!(stage.send(&plain, Transport::Tcp).0, Outcome::Steered);
    // Who sent half a cookie is sent the other half, and is through with both.
    let asking = with_option(&query(7, "video.cdn.example", Rtype::A, Some("")), 10, b"abcdefgh");
    let replies: Vec<_> = (0..2).map(|_| stage.send(&asking, Transport::Udp)).collect();
    let (_, reply) = replies.iter().find(|(outcome, _)| *outcome == Outcome::BadCookie).expect("one of two");
    let (rcode, cookie) = cookie_of(reply);
    assert_eq!(rcode, OptRcode::BADCOOKIE);
    let mut showing = query(7, "video.cdn.example", Rtype::A, Some(""));
    showing = with_option(&showing, 10, &cookie.expect("a cookie"));
    for _ in 0..300 {
        assert_eq!(stage.send(&showing, Transport::Udp).0, Outcome::Steered);
    }
}

#[test]
fn errors_are_one_thing_and_client_subnets_are_many() {
    let mut stage = stage();
    let over = |stage: &mut Stage, packet: &[u8]| {
        matches!(stage.send(packet, Transport::Udp).0, Outcome::Slipped | Outcome::Dropped(Dropped::Limited))
    };
    for n in 0..3000 {
        let subnet = format!("5.{}.{}.0/24", n / 256, n % 256);
        assert!(!over(&mut stage, &query(7, "video.cdn.example", Rtype::A, Some(&subnet))), "{subnet}");
    }
    let of_random_names =
        (0..300).filter(|n| over(&mut stage, &query(7, &format!("x{n}.cdn.example"), Rtype::A, None)));
    assert_eq!(of_random_names.count(), 200);
    let under_a_wildcard =
        (0..300).filter(|n| over(&mut stage, &query(7, &format!("x{n}.live.cdn.example"), Rtype::A, None)));
    assert_eq!(under_a_wildcard.count(), 200);
    let malformed = (0..300).filter(|n| over(&mut stage, &[*n as u8, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(malformed.count(), 200);
    stage.peer = "127.0.0.1".parse().expect("an address");
    let plain = query(7, "video.cdn.example", Rtype::A, None);
    assert!((0..1000).all(|_| !over(&mut stage, &plain)), "loopback");
}
