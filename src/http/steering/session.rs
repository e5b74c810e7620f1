//! What a playback session is to this server, carried by the player: signed, so that it says what some
//! server of ours knew.
//!
//! Nothing is stored here, so any server that has the secret takes any session on, as anycast asks of it. The
//! player hands a token back with each poll and gets the next. It is opaque to it:
//!
//! ```text
//! version 1 · issued, s: 4 · learnt, s: 4 · key: 8 · pace: 11 · length of network: 1 · its octets: 0 to 16
//! · first 16 octets of HMAC-SHA-256 over the service's name, a zero octet, and all before      base64url
//! ```
//! Numbers are in network order, the network's octets as many as its length needs; lengths of IPv6 have 33
//! added, which is one more than those of IPv4 go. The first secret signs, all are accepted: rotation as that
//! of DNS cookies.

use super::pace::{PACE_LEN, Pace};
use crate::policy::rendezvous::KeyHash;
use crate::prefix::{Family, Prefix};
use crate::units::UnixMs;
use data_encoding::BASE64URL_NOPAD;
use ring::hmac::{self, HMAC_SHA256};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the octets are written by.
const VERSION: u8 = 1;

/// Octets of the signature: as hard to guess as an AES key.
const SIGNATURE_LEN: usize = 16;

/// Octets before the network.
const FIXED_LEN: usize = 1 + 4 + 4 + 8 + PACE_LEN + 1;

/// Age at which a token is no good any more, seconds: two of the longest TTLs.
pub(super) const AGE_MAX_S: u32 = 2 * 86_400;

/// How far another server's clock may be ahead, seconds.
const AHEAD_MAX_S: u32 = 300;

/// One secret of 256 bits.
#[derive(Clone)]
pub struct SessionSecret(hmac::Key);

impl fmt::Debug for SessionSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SessionSecret(…)")
    }
}

impl SessionSecret {
    /// Octets of one.
    pub const LEN: usize = 32;

    /// The secret of these octets.
    pub fn new(octets: &[u8; Self::LEN]) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, octets))
    }

    /// The secret written as 64 hexadecimal digits.
    pub fn of_hex(text: &str) -> Option<Self> {
        let octets = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
        <[u8; Self::LEN]>::try_from(octets).ok().as_ref().map(Self::new)
    }

    /// The signature of `body`, said to `service`.
    fn sign(&self, service: &str, body: &[u8]) -> [u8; SIGNATURE_LEN] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(service.as_bytes());
        context.update(&[0]);
        context.update(body);
        let mut signature = [0; SIGNATURE_LEN];
        signature.copy_from_slice(&context.sign().as_ref()[..SIGNATURE_LEN]);
        signature
    }
}

/// What is known of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    /// When it was last told to the player, seconds since 1970, modulo 2^32.
    pub issued_s: u32,
    /// The client's, as far as its decision depends on it.
    pub network: Prefix,
    /// When that was learnt, seconds since 1970, modulo 2^32.
    pub learnt_s: u32,
    /// What spreads it over a cluster.
    pub key: KeyHash,
    /// How fast its pathways are to it.
    pub pace: Pace,
}

/// Why a token counts as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It was ours, too long ago.
    Expired,
    /// It is not ours, or not of this service.
    Foreign,
}

impl Session {
    /// As a token of `service`, signed by the first of `secrets`; `None` without any.
    pub(super) fn seal(&self, secrets: &[SessionSecret], service: &str) -> Option<String> {
        let secret = secrets.first()?;
        let mut body = Vec::with_capacity(FIXED_LEN + 16 + SIGNATURE_LEN);
        body.push(VERSION);
        body.extend_from_slice(&self.issued_s.to_be_bytes());
        body.extend_from_slice(&self.learnt_s.to_be_bytes());
        body.extend_from_slice(&self.key.bits().to_be_bytes());
        body.extend_from_slice(&self.pace.to_octets());
        let len = self.network.len();
        let octets_len = usize::from(len.div_ceil(8));
        match self.network.first() {
            IpAddr::V4(addr) => {
                body.push(len);
                body.extend_from_slice(&addr.octets()[..octets_len]);
            }
            IpAddr::V6(addr) => {
                body.push(len + V6_FROM);
                body.extend_from_slice(&addr.octets()[..octets_len]);
            }
        }
        body.extend_from_slice(&secret.sign(service, &body));
        Some(BASE64URL_NOPAD.encode(&body))
    }

    /// The session of a `token` that was sealed for `service`.
    ///
    /// # Errors
    /// When it counts as none.
    pub(super) fn open(
        token: &str,
        secrets: &[SessionSecret],
        service: &str,
        now: UnixMs,
    ) -> Result<Self, Unusable> {
        let octets = BASE64URL_NOPAD.decode(token.as_bytes()).map_err(|_| Unusable::Foreign)?;
        let (body, signature) = octets.split_last_chunk::<SIGNATURE_LEN>().ok_or(Unusable::Foreign)?;
        let is_by = |secret: &SessionSecret| is_equal(&secret.sign(service, body), signature);
        if !secrets.iter().any(is_by) {
            return Err(Unusable::Foreign);
        }
        let session = Self::read(body).ok_or(Unusable::Foreign)?;
        let age_s = since(session.issued_s, now);
        if age_s > AGE_MAX_S.cast_signed() || age_s < -AHEAD_MAX_S.cast_signed() {
            return Err(Unusable::Expired);
        }
        Ok(session)
    }

    /// What a signed `body` says.
    fn read(body: &[u8]) -> Option<Self> {
        let (&[version], rest) = body.split_first_chunk()?;
        let (issued, rest) = rest.split_first_chunk()?;
        let (learnt, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (pace, rest) = rest.split_first_chunk()?;
        let (&[len], octets) = rest.split_first_chunk()?;
        let session = Self {
            issued_s: u32::from_be_bytes(*issued),
            network: network(len, octets)?,
            learnt_s: u32::from_be_bytes(*learnt),
            key: KeyHash::of_bits(u64::from_be_bytes(*key)),
            pace: Pace::of_octets(*pace),
        };
        (version == VERSION).then_some(session)
    }
}

/// What is added to lengths of IPv6, so that no two networks are written alike: one more than IPv4's longest.
const V6_FROM: u8 = Family::V4.bits() + 1;

/// The network of a written length and its octets.
fn network(len: u8, octets: &[u8]) -> Option<Prefix> {
    match len.checked_sub(V6_FROM) {
        None => {
            let mut whole = [0; 4];
            whole.get_mut(..octets.len())?.copy_from_slice(octets);
            Prefix::new(Ipv4Addr::from(whole).into(), len)
        }
        Some(len) => {
            let mut whole = [0; 16];
            whole.get_mut(..octets.len())?.copy_from_slice(octets);
            Prefix::new(Ipv6Addr::from(whole).into(), len)
        }
    }
}

/// Seconds from `then` to `now`, by serial arithmetic: seconds wrap in 2106.
pub(super) fn since(then: u32, now: UnixMs) -> i32 {
    seconds(now).wrapping_sub(then).cast_signed()
}

/// Seconds since 1970, modulo 2^32.
pub(super) fn seconds(now: UnixMs) -> u32 {
    (now.0 / 1000) as u32
}

/// Compares in a time that does not tell where they differ.
fn is_equal(ours: &[u8; SIGNATURE_LEN], theirs: &[u8; SIGNATURE_LEN]) -> bool {
    ours.iter().zip(theirs).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment.
    const NOW: UnixMs = UnixMs(1_764_000_000_000);

    /// A secret of one octet, many times.
    fn secret(octet: u8) -> SessionSecret {
        SessionSecret::new(&[octet; SessionSecret::LEN])
    }

    /// A session of `network`.
    fn session(network: &str) -> Session {
        let network = network.parse().expect("a prefix");
        let pace = Pace::of_octets([1; PACE_LEN]);
        Session { issued_s: seconds(NOW), network, learnt_s: 77, key: KeyHash::of(b"key"), pace }
    }

    #[test]
    fn what_is_sealed_is_opened() {
        for network in [
            "0.0.0.0/0",
            "192.0.2.0/24",
            "192.0.2.7/32",
            "10.64.0.0/10",
            "::/0",
            "2001:db8::/56",
            "2001:db8::7/128",
        ] {
            let session = session(network);
            let token = session.seal(&[secret(1)], "a").expect("a secret");
            assert_eq!(Session::open(&token, &[secret(1)], "a", NOW), Ok(session), "{network}");
            assert!(token.len() <= 82, "{} octets", token.len());
        }
        assert_eq!(session("::/0").seal(&[], "a"), None);
    }

    #[test]
    fn what_is_not_ours_is_foreign() {
        let token = session("192.0.2.0/24").seal(&[secret(1)], "a").expect("a secret");
        let open = |token: &str, secrets: &[SessionSecret], service| {
            Session::open(token, secrets, service, NOW).err()
        };
        assert_eq!(open(&token, &[secret(1)], "a"), None);
        assert_eq!(open(&token, &[secret(2), secret(1)], "a"), None, "a secret that was replaced");
        assert_eq!(open(&token, &[secret(2)], "a"), Some(Unusable::Foreign));
        assert_eq!(open(&token, &[], "a"), Some(Unusable::Foreign));
        assert_eq!(open(&token, &[secret(1)], "b"), Some(Unusable::Foreign), "another service's");
        for text in ["", "a", "%", "AAAA", &token[1..], &token[..token.len() - 1], &format!("{token}AAAA")] {
            assert_eq!(open(text, &[secret(1)], "a"), Some(Unusable::Foreign), "{text}");
        }
        let octets = BASE64URL_NOPAD.decode(token.as_bytes()).expect("base64url");
        for at in 0..octets.len() * 8 {
            let mut changed = octets.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert_eq!(open(&BASE64URL_NOPAD.encode(&changed), &[secret(1)], "a"), Some(Unusable::Foreign));
        }
    }

    #[test]
    fn tokens_age() {
        let token = session("192.0.2.0/24").seal(&[secret(1)], "a").expect("a secret");
        let open = |after_s: i64| {
            let now = UnixMs(NOW.0.saturating_add_signed(after_s * 1000));
            Session::open(&token, &[secret(1)], "a", now).err()
        };
        let age_max = i64::from(AGE_MAX_S);
        for (after_s, expected) in [
            (-301, Some(Unusable::Expired)),
            (-300, None),
            (age_max, None),
            (age_max + 1, Some(Unusable::Expired)),
        ] {
            assert_eq!(open(after_s), expected, "{after_s}");
        }
    }

    #[test]
    fn secrets_are_64_hexadecimal_digits_and_not_shown() {
        assert!(SessionSecret::of_hex(&"e5".repeat(32)).is_some());
        assert!(SessionSecret::of_hex(&"E5".repeat(32)).is_some());
        assert!(SessionSecret::of_hex(&"e5".repeat(31)).is_none());
        assert!(SessionSecret::of_hex(&"eg".repeat(32)).is_none());
        assert_eq!(format!("{:?}", secret(7)), "SessionSecret(…)");
    }
}
