//! Whose request it is: the peer's, or that of whom a trusted peer names (ruling 23).
//!
//! Proxies append, so headers are walked from the right: as long as a hop is trusted, the entry to
//! its left is its word about who came before it. The first hop that is not trusted is the client;
//! an entry that cannot be read ends the walk at the hop before it; all trusted, the leftmost is it.

use super::head::Fields;
use crate::fleet::Scheme;
use crate::prefix::Prefix;
use hyper::http::HeaderName;
use hyper::http::header::FORWARDED;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The hops of a connection, each appended by the next.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme a client used.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whose word is believed, and in which header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// `[http] trusted_proxies`.
    pub proxies: Vec<Prefix>,
    /// `[http] forwarded`: `Forwarded` (RFC 7239), and then alone.
    pub forwarded: bool,
}

impl Trust {
    /// Whether `addr`, if need be the IPv4 address in it, is a trusted proxy's.
    pub fn covers(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        self.proxies.iter().any(|proxy| proxy.contains(addr))
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The client's address.
    pub addr: IpAddr,
    /// The scheme it used, where a trusted hop says so.
    pub scheme: Option<Scheme>,
}

impl Caller {
    /// Reads it from where the connection came from and what the peer says in `fields`.
    pub fn of(peer: IpAddr, fields: Fields<'_>, trust: &Trust) -> Self {
        if !trust.covers(peer) {
            Self { addr: peer, scheme: None }
        } else if trust.forwarded {
            Self::by_forwarded(peer, fields, trust)
        } else {
            Self::by_x_forwarded(peer, fields, trust)
        }
    }

    /// By `X-Forwarded-For`; the scheme is the last `X-Forwarded-Proto`.
    fn by_x_forwarded(peer: IpAddr, fields: Fields<'_>, trust: &Trust) -> Self {
        let mut addr = peer;
        for entry in entries_from_right(fields, &X_FORWARDED_FOR) {
            let Some(hop) = hop_address(entry) else { break };
            addr = hop;
            if !trust.covers(hop) {
                break;
            }
        }
        let scheme = entries_from_right(fields, &X_FORWARDED_PROTO).next().and_then(scheme);
        Self { addr, scheme }
    }

    /// By `Forwarded`; the scheme is that of the element that named the client.
    ///
    /// Elements are split at every comma, in quotes or not: no address has one, and whatever a client
    /// puts before the proxies' elements then cannot swallow them.
    fn by_forwarded(peer: IpAddr, fields: Fields<'_>, trust: &Trust) -> Self {
        let mut caller = Self { addr: peer, scheme: None };
        for element in entries_from_right(fields, &FORWARDED) {
            let Some(hop) = parameter(element, "for").and_then(hop_address) else { break };
            caller = Self { addr: hop, scheme: parameter(element, "proto").and_then(scheme) };
            if !trust.covers(hop) {
                break;
            }
        }
        caller
    }
}

/// The entries of all lines of a list header, last first, empty ones left out
/// (RFC 9110 section 5.6.1.2).
fn entries_from_right<'a, 'n>(
    fields: Fields<'a>,
    name: &'n HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
    let entries = fields.all(name).rev().flat_map(|line| line.rsplit(|&octet| octet == b','));
    entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty())
}

/// The value of the only parameter `name` of a `Forwarded` element, quotes taken off; `None` when it
/// is missing, repeated, or the element is no list of `name=value`.
fn parameter<'a>(element: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    for pair in element.split(|&octet| octet == b';') {
        let pair = pair.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let equals = pair.iter().position(|&octet| octet == b'=')?;
        let (key, value) = (&pair[..equals], &pair[equals + 1..]);
        if key.eq_ignore_ascii_case(name.as_bytes()) && found.replace(value).is_some() {
            return None;
        }
    }
    match found? {
        [b'"', inner @ .., b'"'] => Some(inner),
        value if value.contains(&b'"') => None,
        value => Some(value),
    }
}

/// An address as proxies write it: bare, in brackets (IPv6), and then perhaps with a port.
fn hop_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    // The standard library's reader takes a scope, as in [fe80::1%1]:80, which nobody else can use.
    let is_scoped = entry.contains(&b'%');
    text.parse::<IpAddr>().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip())).filter(|_| !is_scoped)
}

/// `http` or `https`, in either case.
fn scheme(text: &[u8]) -> Option<Scheme> {
    [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|scheme| text.eq_ignore_ascii_case(scheme.as_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::http::{HeaderMap, HeaderValue};

    /// Trusts 10/8, 2001:db8::/32 and 192.0.2.7.
    fn trust(forwarded: bool) -> Trust {
        let proxies = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"];
        Trust { proxies: proxies.map(|text| text.parse().expect("a prefix")).to_vec(), forwarded }
    }

    /// `lines`: `name: value`, separated by `|`.
    fn headers(lines: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines.split('|').filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").expect("a header line");
            let name = HeaderName::from_bytes(name.trim().as_bytes()).expect("a header name");
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        }
        headers
    }

    fn check(forwarded: bool, peer: &str, lines: &str, expected: &str) {
        let peer = peer.parse().expect("an address");
        let headers = headers(lines);
        let caller = Caller::of(peer, Fields::Map(&headers), &trust(forwarded));
        let scheme = caller.scheme.map_or(String::new(), |scheme| format!(" {}", scheme.as_str()));
        assert_eq!(format!("{}{scheme}", caller.addr), expected, "{peer} {lines}");
    }

    #[test]
    fn x_forwarded_for_is_walked_from_the_right() {
        let xff = |peer, lines, expected| check(false, peer, lines, expected);
        // The peer is the client unless it is trusted.
        xff("198.51.100.1", "", "198.51.100.1");
        xff("198.51.100.1", "x-forwarded-for: 203.0.113.9", "198.51.100.1");
        xff("198.51.100.1", "x-forwarded-proto: https", "198.51.100.1");
        xff("10.0.0.1", "", "10.0.0.1");
        xff("10.0.0.1", "x-forwarded-for: 203.0.113.9", "203.0.113.9");
        xff("::ffff:10.0.0.1", "x-forwarded-for: 203.0.113.9", "203.0.113.9");
        xff("2001:db8::1", "x-forwarded-for: 2001:db9::9", "2001:db9::9");
        // The rightmost that is not trusted, over all lines.
        xff("10.0.0.1", "x-forwarded-for: 203.0.113.9, 198.51.100.7, 10.9.9.9", "198.51.100.7");
        xff(
            "10.0.0.1",
            "x-forwarded-for: 203.0.113.9|x-forwarded-for: 198.51.100.7,192.0.2.7",
            "198.51.100.7",
        );
        xff("10.0.0.1", "x-forwarded-for: 198.51.100.7|x-forwarded-for: 192.0.2.7", "198.51.100.7");
        xff("10.0.0.1", "x-forwarded-for: 10.0.0.3, 10.0.0.2", "10.0.0.3");
        // Ports and brackets.
        xff("10.0.0.1", "x-forwarded-for: 203.0.113.9:4711", "203.0.113.9");
        xff("10.0.0.1", "x-forwarded-for: [2001:db9::9]:4711", "2001:db9::9");
        xff("10.0.0.1", "x-forwarded-for: [2001:db9::9]", "2001:db9::9");
        // What cannot be read ends the walk.
        xff("10.0.0.1", "x-forwarded-for: unknown", "10.0.0.1");
        xff("10.0.0.1", "x-forwarded-for: 203.0.113.9, unknown, 10.0.0.2", "10.0.0.2");
        xff("10.0.0.1", "x-forwarded-for: 203.0.113.9, 10.0.0.300, 10.0.0.2", "10.0.0.2");
        xff("10.0.0.1", "x-forwarded-for: [203.0.113.9]", "10.0.0.1");
        xff("10.0.0.1", "x-forwarded-for: [203.0.113.9]:1", "10.0.0.1");
        xff("10.0.0.1", "x-forwarded-for: 203.0.113.9:", "10.0.0.1");
        xff("10.0.0.1", "x-forwarded-for: 203.0.113.9:65536", "10.0.0.1");
        xff("10.0.0.1", "x-forwarded-for: fe80::1%eth0", "10.0.0.1");
        xff("10.0.0.1", "x-forwarded-for: [fe80::1%2]:80", "10.0.0.1");
        xff("10.0.0.1", "x-forwarded-for: \"203.0.113.9\"", "10.0.0.1");
        xff("10.0.0.1", "x-forwarded-for: 203.0.113.9 198.51.100.7", "10.0.0.1");
        xff("10.0.0.1", "x-forwarded-for: 203.0.113.9, \u{e9}", "10.0.0.1");
        // Empty entries are none.
        xff("10.0.0.1", "x-forwarded-for: 203.0.113.9 ,\t, ", "203.0.113.9");
        xff("10.0.0.1", "x-forwarded-for: ,", "10.0.0.1");
        // Schemes; `Forwarded` does not count.
        xff("10.0.0.1", "x-forwarded-for: 203.0.113.9|x-forwarded-proto: HTTPS", "203.0.113.9 https");
        xff("10.0.0.1", "x-forwarded-proto: https, http", "10.0.0.1 http");
        xff("10.0.0.1", "x-forwarded-proto: gopher", "10.0.0.1");
        xff("10.0.0.1", "forwarded: for=203.0.113.9;proto=https", "10.0.0.1");
    }

    #[test]
    fn forwarded_is_walked_from_the_right() {
        let forwarded = |lines, expected| check(true, "10.0.0.1", lines, expected);
        check(true, "198.51.100.1", "forwarded: for=203.0.113.9", "198.51.100.1");
        forwarded("forwarded: for=203.0.113.9", "203.0.113.9");
        forwarded("forwarded: For=\"[2001:db9::9]:4711\";Proto=https;by=10.0.0.1", "2001:db9::9 https");
        forwarded("forwarded: for=198.51.100.7;proto=https, for=10.0.0.2;proto=http", "198.51.100.7 https");
        forwarded("forwarded: for=203.0.113.9|forwarded: for=198.51.100.7", "198.51.100.7");
        forwarded("forwarded: for=10.0.0.3, for=10.0.0.2", "10.0.0.3");
        // What cannot be read ends the walk.
        forwarded("forwarded: for=203.0.113.9, for=_hidden, for=10.0.0.2", "10.0.0.2");
        forwarded("forwarded: for=unknown", "10.0.0.1");
        forwarded("forwarded: proto=https", "10.0.0.1");
        forwarded("forwarded: for=203.0.113.9;for=203.0.113.8", "10.0.0.1");
        forwarded("forwarded: for=203.0.113.9;secret", "10.0.0.1");
        forwarded("forwarded: for=\"203.0.113.9", "10.0.0.1");
        // A client's open quote does not swallow what the proxy appended.
        forwarded("forwarded: for=\"1.2.3.4, for=203.0.113.9", "203.0.113.9");
        forwarded("forwarded: for=\"1.2.3.4, for=\"[2001:db9::9]\"", "2001:db9::9");
        // X-Forwarded-For and X-Forwarded-Proto do not count.
        forwarded("x-forwarded-for: 203.0.113.9|x-forwarded-proto: https", "10.0.0.1");
    }
}
