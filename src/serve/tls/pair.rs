//! One certificate and its key, read from PEM files and checked against each other. Layer 8.

use crate::config;
use crate::problem::Problem;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

/// A certificate that can be shown.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// Its chain and what signs with its key.
    pub certified: Arc<CertifiedKey>,
    /// Whom it is shown for: names in lower case, of which the first label may be `*`.
    pub names: Vec<Box<str>>,
    /// When it expires, in seconds since 1970.
    pub expires_s: i64,
}

impl Pair {
    /// Reads what `tls` names; its paths are those to open.
    ///
    /// # Errors
    /// What is wrong, on the line of `tls`.
    pub fn read(tls: &config::Tls) -> Result<Self, Problem> {
        let wrong = |key: &str, path: &Path, why: &dyn Display, expected: &str| {
            Problem::at(tls.line, format!("tls.{key}"), format!("{} ({why})", path.display()), expected)
        };
        let chain = read_chain(&tls.cert)
            .map_err(|why| wrong("cert", &tls.cert, &why, "a certificate's chain in PEM"))?;
        let own = chain.first().ok_or_else(|| {
            wrong("cert", &tls.cert, &"no certificate in it", "a certificate's chain in PEM")
        })?;
        let key = fs::read(&tls.key)
            .map_err(|error| error.to_string())
            .and_then(|pem| PrivateKeyDer::from_pem_slice(&pem).map_err(|error| error.to_string()))
            .map_err(|why| wrong("key", &tls.key, &why, "the certificate's private key in PEM"))?;
        let parsed = webpki::EndEntityCert::try_from(own)
            .map_err(|why| wrong("cert", &tls.cert, &why, "an X.509 certificate of version 3"))?;
        let own_names: Vec<Box<str>> =
            parsed.valid_dns_names().map(|name| name.to_ascii_lowercase().into()).collect();
        let expires_s = expiry_s(own).ok_or_else(|| {
            wrong("cert", &tls.cert, &"its end cannot be read", "a certificate with an end")
        })?;
        if let Some(name) = tls.names.iter().find(|name| !covers(&own_names, name)) {
            let expected = format!("names that {} is for: {}", tls.cert.display(), own_names.join(", "));
            return Err(Problem::at(tls.line, "tls.names", format!("{name:?}"), expected));
        }
        let signing = rustls::crypto::ring::sign::any_supported_type(&key)
            .map_err(|why| wrong("key", &tls.key, &why, "an ECDSA, Ed25519 or RSA key"))?;
        let certified = CertifiedKey::new(chain, signing);
        certified.keys_match().map_err(|_| {
            wrong("key", &tls.key, &"of another certificate", "the certificate's private key")
        })?;
        let names = if tls.names.is_empty() { own_names } else { tls.names.clone() };
        Ok(Self { certified: Arc::new(certified), names, expires_s })
    }
}

/// The certificates in a PEM file.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = fs::read(path).map_err(|error: io::Error| error.to_string())?;
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// Whether a certificate for `own` names is one for `name`.
fn covers(own: &[Box<str>], name: &str) -> bool {
    let above = name.split_once('.').map(|(_, above)| above);
    own.iter().any(|own| **own == *name || own.strip_prefix("*.").is_some_and(|rest| Some(rest) == above))
}

/// When a certificate expires, in seconds since 1970: `notAfter` of its validity (RFC 5280 section 4.1).
///
/// Read here because the library under rustls, which has checked the rest, does not tell it.
fn expiry_s(certificate: &[u8]) -> Option<i64> {
    /// SEQUENCE.
    const SEQUENCE: u8 = 0x30;
    /// The version, explicitly tagged.
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(certificate)?;
    let (SEQUENCE, mut rest, _) = element(certificate)? else { return None };
    if rest.first() == Some(&VERSION) {
        (_, _, rest) = element(rest)?;
    }
    // Serial number, signature algorithm, issuer; then the validity.
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (SEQUENCE, validity, _) = element(rest)? else { return None };
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    seconds_of(tag, time)
}

/// The first element of DER: its tag, its content, and what follows it.
pub(super) fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (octets.iter().fold(0, |len, &octet| len << 8 | usize::from(octet)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

/// A UTCTime or GeneralizedTime in seconds since 1970.
fn seconds_of(tag: u8, time: &[u8]) -> Option<i64> {
    let digits = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        // UTCTime: the years 1950 to 2049.
        0x17 => {
            let year: i64 = digits.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, digits.get(2..)?)
        }
        0x18 => (digits.get(..4)?.parse().ok()?, digits.get(4..)?),
        _ => return None,
    };
    let field = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (field(0)?, field(2)?);
    let (hour, minute, second) = (field(4)?, field(6)?, field(8)?);
    if rest.len() != 10 || !(1..=12).contains(&month) {
        return None;
    }
    Some(days_of(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar: years begin in March, so that a leap day is the
/// last of its year.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_as_the_calendar_has_them() {
        for (tag, text, expected) in [
            (0x17, "700101000000Z", Some(0)),
            (0x17, "000301000000Z", Some(951_868_800)),
            (0x17, "491231235959Z", Some(2_524_607_999)),
            (0x17, "500101000000Z", Some(-631_152_000)),
            (0x18, "20500101000000Z", Some(2_524_608_000)),
            (0x18, "99991231235959Z", Some(253_402_300_799)),
            (0x18, "20240229120000Z", Some(1_709_208_000)),
            (0x17, "7001010000Z", None),
            (0x17, "701301000000Z", None),
            (0x17, "700101000000", None),
            (0x16, "700101000000Z", None),
        ] {
            assert_eq!(seconds_of(tag, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let own = ["*.cdn.example", "cdn.example"].map(Box::<str>::from);
        for (name, expected) in [
            ("cdn.example", true),
            ("dns.cdn.example", true),
            ("*.cdn.example", true),
            ("a.b.cdn.example", false),
            ("*.dns.cdn.example", false),
            ("example", false),
        ] {
            assert_eq!(covers(&own, name), expected, "{name}");
        }
    }

    #[test]
    fn cut_der_is_no_certificate() {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
        let der = made.cert.der();
        assert!(expiry_s(der).expect("an end") > 2_524_607_999);
        for len in 0..der.len() {
            assert_eq!(expiry_s(&der[..len]), None);
        }
    }
}
