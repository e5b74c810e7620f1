//! Cookies (RFC 7873) of the interoperable form (RFC 9018): a peer that shows one was not made up.
//!
//! A server cookie is a keyed hash of the client's cookie, its address and the time. Servers of one
//! anycast address share the secret, so that any of them knows the cookies of all. The first secret makes
//! cookies, every one of them is accepted: a new secret is added as a second one everywhere, then moved to
//! the front everywhere, and the old one is taken out an hour later (RFC 9018 section 5). Layer 7.

use crate::units::UnixMs;
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

/// Octets of a client's cookie.
const CLIENT_LEN: usize = 8;

/// Octets of an option that has both cookies: ours, and the client's before it.
pub(super) const COOKIE_LEN: usize = 24;

/// Octets that a server cookie of anyone's may have (RFC 7873 section 4.2).
const SERVER_LEN: std::ops::RangeInclusive<usize> = 8..=32;

/// Age at which a cookie is no good any more, seconds (RFC 9018 section 4.3).
const AGE_MAX_S: u32 = 3600;

/// Age from which the reply brings a new one, seconds.
const AGE_NEW_S: u32 = 1800;

/// How far another server's clock may be ahead, seconds.
const AHEAD_MAX_S: u32 = 300;

/// One secret of 128 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

impl Secret {
    /// The secret written as 32 hexadecimal digits.
    pub fn of_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return None;
        }
        let mut octets = [0; 16];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *octet = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Some(Self(octets))
    }

    /// The hash of a server cookie: of all of it that is not the hash, and the address.
    fn hash(&self, before: &[u8; 16], peer: IpAddr) -> [u8; 8] {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(before);
        match peer {
            IpAddr::V4(addr) => hasher.write(&addr.octets()),
            IpAddr::V6(addr) => hasher.write(&addr.octets()),
        }
        hasher.finish().to_le_bytes()
    }
}

/// The secrets of a server; none: it takes no part in cookies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cookies {
    /// The first makes cookies, all are accepted.
    pub secrets: Vec<Secret>,
}

/// What a query's cookie says of its peer, and what the reply carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    /// The peer has had a reply of ours at this address: it is who it says.
    pub(super) is_valid: bool,
    /// Data of the reply's option.
    pub(super) reply: [u8; COOKIE_LEN],
}

/// A cookie option of a length that no cookie has: the query is malformed (RFC 7873 section 5.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Cookies {
    /// Looks at the data of a query's option.
    ///
    /// # Errors
    /// [`Malformed`], whether or not there are secrets.
    pub(super) fn look(&self, data: &[u8], peer: IpAddr, now: UnixMs) -> Result<Option<Shown>, Malformed> {
        let Some((client, server)) = data.split_first_chunk::<CLIENT_LEN>() else { return Err(Malformed) };
        if !server.is_empty() && !SERVER_LEN.contains(&server.len()) {
            return Err(Malformed);
        }
        let Some(first) = self.secrets.first() else { return Ok(None) };
        // Serial arithmetic: seconds wrap in 2106 (RFC 9018 section 4.3).
        let now_s = (now.0 / 1000) as u32;
        let age = self.age_of(client, server, peer, now_s);
        let is_fresh = age.is_some_and(|age| age.seconds < AGE_NEW_S as i32 && age.is_of_first);
        let reply = match <[u8; 16]>::try_from(server) {
            Ok(server) if is_fresh => join(client, &server),
            _ => {
                let head = head_of(now_s);
                let hash = first.hash(&join16(client, &head), peer);
                join(client, &join16(&head, &hash))
            }
        };
        Ok(Some(Shown { is_valid: age.is_some(), reply }))
    }

    /// The age of a server cookie of ours that is still good.
    fn age_of(&self, client: &[u8; CLIENT_LEN], server: &[u8], peer: IpAddr, now_s: u32) -> Option<Age> {
        let (head, hash) = server.split_first_chunk::<8>()?;
        let &[1, _, _, _, t0, t1, t2, t3] = head else { return None };
        let seconds = now_s.wrapping_sub(u32::from_be_bytes([t0, t1, t2, t3])) as i32;
        if seconds > AGE_MAX_S as i32 || seconds < -(AHEAD_MAX_S as i32) {
            return None;
        }
        let before = join16(client, head);
        let of = self.secrets.iter().position(|secret| is_equal(&secret.hash(&before, peer), hash))?;
        Some(Age { seconds, is_of_first: of == 0 })
    }
}

/// How old a cookie of ours is.
#[derive(Debug, Clone, Copy)]
struct Age {
    seconds: i32,
    /// Whether the secret that makes cookies now made it.
    is_of_first: bool,
}

/// Version 1, three reserved octets, and the time.
fn head_of(now_s: u32) -> [u8; 8] {
    let [t0, t1, t2, t3] = now_s.to_be_bytes();
    [1, 0, 0, 0, t0, t1, t2, t3]
}

/// Two halves.
fn join16(first: &[u8; 8], second: &[u8; 8]) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(first);
    octets[8..].copy_from_slice(second);
    octets
}

/// The client's cookie and the server's.
fn join(client: &[u8; CLIENT_LEN], server: &[u8; 16]) -> [u8; COOKIE_LEN] {
    let mut octets = [0; COOKIE_LEN];
    octets[..CLIENT_LEN].copy_from_slice(client);
    octets[CLIENT_LEN..].copy_from_slice(server);
    octets
}

/// Compares in a time that does not tell where they differ.
fn is_equal(ours: &[u8; 8], theirs: &[u8]) -> bool {
    theirs.len() == 8 && ours.iter().zip(theirs).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets written in hexadecimal.
    fn octets(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
    }

    /// One secret.
    fn secret(hex: &str) -> Secret {
        Secret::of_hex(hex).expect("a secret")
    }

    /// Looks and gives validity and the reply.
    fn look(cookies: &Cookies, data: &str, peer: &str, now_s: u64) -> (bool, Vec<u8>) {
        let peer = peer.parse().expect("an address");
        let shown = cookies.look(&octets(data), peer, UnixMs(now_s * 1000)).expect("well formed");
        let shown = shown.expect("secrets");
        (shown.is_valid, shown.reply.to_vec())
    }

    #[test]
    fn rfc9018_appendix_a_1_and_a_2_a_new_cookie_and_the_same_again() {
        let cookies = Cookies { secrets: vec![secret("e5e973e5a6b2a43f48e7dc849e37bfcf")] };
        let made = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        let (is_valid, reply) = look(&cookies, "2464c4abcf10c957", "198.51.100.100", 1_559_731_985);
        assert_eq!((is_valid, reply), (false, octets(made)));
        // Forty minutes later: good, and a new one comes.
        let (is_valid, reply) = look(&cookies, made, "198.51.100.100", 1_559_734_385);
        let renewed = "2464c4abcf10c957010000005cf7a871d4a564a1442aca77";
        assert_eq!((is_valid, reply), (true, octets(renewed)));
    }

    #[test]
    fn rfc9018_appendix_a_3_another_server_set_the_reserved_octets() {
        let cookies = Cookies { secrets: vec![secret("e5e973e5a6b2a43f48e7dc849e37bfcf")] };
        let other = "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5";
        let (is_valid, reply) = look(&cookies, other, "203.0.113.203", 1_559_727_985);
        assert_eq!((is_valid, reply), (true, octets(other)));
        let (is_valid, reply) = look(&cookies, other, "203.0.113.203", 1_559_734_700);
        assert!(!is_valid, "older than an hour");
        assert_ne!(reply, octets(other));
    }

    #[test]
    fn rfc9018_appendix_a_4_ipv6_and_a_secret_that_was_replaced() {
        let old = secret("dd3bdf9344b678b185a6f5cb60fca715");
        let new = secret("445536bcd2513298075a5d379663c962");
        let cookies = Cookies { secrets: vec![new, old] };
        let shown = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
        let (is_valid, reply) = look(&cookies, shown, "2001:db8:220:1:59de:d0f4:8769:82b8", 1_559_741_961);
        assert!(is_valid);
        assert_eq!(reply, octets("22681ab97d52c298010000005cf7c609a6bb79d16625507a"));
        let alone = Cookies { secrets: vec![new] };
        assert!(!look(&alone, shown, "2001:db8:220:1:59de:d0f4:8769:82b8", 1_559_741_961).0);
    }

    #[test]
    fn what_is_not_ours_is_not_valid() {
        let cookies = Cookies { secrets: vec![secret("e5e973e5a6b2a43f48e7dc849e37bfcf")] };
        let made = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        let now = 1_559_731_985;
        assert!(look(&cookies, made, "198.51.100.100", now).0);
        assert!(!look(&cookies, made, "198.51.100.101", now).0, "another address");
        assert!(look(&cookies, made, "198.51.100.100", now - 300).0, "a clock ahead");
        assert!(!look(&cookies, made, "198.51.100.100", now - 301).0);
        assert!(look(&cookies, made, "198.51.100.100", now + 3600).0);
        assert!(!look(&cookies, made, "198.51.100.100", now + 3601).0);
        for at in (0..made.len()).step_by(2) {
            let mut data = made.to_owned();
            let flipped = if &made[at..at + 2] == "00" { "01" } else { "00" };
            data.replace_range(at..at + 2, flipped);
            assert!(!look(&cookies, &data, "198.51.100.100", now).0, "{data}");
        }
    }

    #[test]
    fn rfc7873_s5_2_2_lengths() {
        let peer = IpAddr::from([192, 0, 2, 1]);
        for cookies in [Cookies::default(), Cookies { secrets: vec![Secret([7; 16])] }] {
            for len in 0..=60 {
                let is_malformed = cookies.look(&vec![1; len], peer, UnixMs(0)).is_err();
                assert_eq!(is_malformed, !(len == 8 || (16..=40).contains(&len)), "{len}");
            }
        }
        assert_eq!(Cookies::default().look(&[1; 8], peer, UnixMs(0)), Ok(None));
    }

    #[test]
    fn secrets_are_32_hexadecimal_digits_and_not_shown() {
        assert!(Secret::of_hex("e5e973e5a6b2a43f48e7dc849e37bfc").is_none());
        assert!(Secret::of_hex("e5e973e5a6b2a43f48e7dc849e37bfcg").is_none());
        assert!(Secret::of_hex("é5e973e5a6b2a43f48e7dc849e37bfc").is_none());
        assert_eq!(format!("{:?}", secret("e5e973e5a6b2a43f48e7dc849e37bfcf")), "Secret(…)");
    }
}
