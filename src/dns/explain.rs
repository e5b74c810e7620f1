//! A decision in words, as the data of a TXT record: `_explain.<service>`. Layer 7.
//!
//! Each fact is a character-string `key=value`, as RFC 1464 writes attributes; the words are those of
//! `steerd explain`.

use crate::prefix::Family;
use crate::snapshot::{Named, Snapshot};
use crate::steer::explain::{Ask, explain};
use std::net::IpAddr;

/// The label above a service's name.
const LABEL: &[u8] = b"\x08_explain";

/// Octets of a character-string, at most (RFC 1035 section 3.3).
const STRING_LEN_MAX: usize = 255;

/// The service's name of which `qname` asks how it is decided for; both in wire form.
pub(super) fn service_of<'q>(world: &Snapshot, qname: &'q [u8]) -> Option<&'q [u8]> {
    let service = qname.strip_prefix(LABEL)?;
    let is_exact = matches!(world.names().exact(service), Some(Named::Service(_)));
    (is_exact || world.names().wildcard(service).is_some()).then_some(service)
}

/// Data of the record about addresses of `family` for `client`.
pub(super) fn rdata(world: &Snapshot, service: &[u8], client: IpAddr, family: Family) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |key: &str, value: &str| {
        if !value.is_empty() {
            let string = format!("{key}={value}");
            let string = &string.as_bytes()[..string.len().min(STRING_LEN_MAX)];
            out.push(string.len() as u8);
            out.extend_from_slice(string);
        }
    };
    let ask = Ask { client, service: &text_of(service), key: None, family: Some(family) };
    let Ok(told) = explain(world, &ask) else {
        // It was there a moment ago, in this generation.
        put("outcome", "none");
        return out;
    };
    put("asked", told.asked);
    put("client", &told.client.to_string());
    put("match", told.matched);
    put("prefix", told.prefix.as_deref().unwrap_or_default());
    put("scope", &told.scope_len.to_string());
    put("cluster", told.cluster.as_deref().unwrap_or_default());
    put("chosen", &told.chosen.join(","));
    put("outcome", told.outcome);
    if let Some(first) = &told.first_match {
        put("passed_over", &first.cluster);
    }
    put("alias", told.alias.as_deref().unwrap_or_default());
    put("country", told.location.and_then(|place| place.country).as_deref().unwrap_or_default());
    put("epoch", &told.epoch.map(|epoch| epoch.to_string()).unwrap_or_default());
    put("generation", &told.generation.to_string());
    out
}

/// A wire name that is a service's, or below a wildcard service's, as text. Octets that stand in no host name
/// are replaced, since a service below a wildcard is found by its parents.
fn text_of(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((&len, after)) = rest.split_first() {
        let (label, after) = after.split_at(usize::from(len).min(after.len()));
        if !text.is_empty() && !label.is_empty() {
            text.push('.');
        }
        let is_plain = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        text.extend(label.iter().map(|octet| if is_plain(octet) { char::from(*octet) } else { '_' }));
        rest = after;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_text() {
        assert_eq!(text_of(b"\x01a\x03cdn\x07example\x00"), "a.cdn.example");
        assert_eq!(text_of(b"\x03a.b\x03cdn\x00"), "a_b.cdn");
        assert_eq!(text_of(b"\x00"), "");
    }
}
