//! What is asked for: the host, and the path and query, as the request says it.

use super::head::{Asked, Head};
use hyper::http::Version;
use hyper::http::header::HOST;
use std::borrow::Cow;

/// Octets of the longest host name in text (RFC 1035 section 2.3.4).
const HOST_LEN_MAX: usize = 253;

/// Why no host can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadHost;

/// The host that is asked for: lower case, without port and final dot. Empty in HTTP/1.0 when none
/// is named, which is then nobody's.
///
/// An authority in the target (absolute form, or `:authority`) wins over `Host`, which in HTTP/1.1
/// must be there all the same (RFC 9112 section 3.2).
///
/// # Errors
/// `Host` is missing in HTTP/1.1 or repeated in any version, or what names the host is no authority.
pub(super) fn host<'a>(head: &Head<'a>) -> Result<Cow<'a, str>, BadHost> {
    let mut lines = head.fields.all(&HOST);
    let (first, second) = (lines.next(), lines.next());
    if second.is_some() || (first.is_none() && head.version == Version::HTTP_11) {
        return Err(BadHost);
    }
    let authority = match (head.asked.authority, first) {
        (Some(authority), _) => authority,
        (None, Some(line)) => std::str::from_utf8(line).map_err(|_| BadHost)?,
        (None, None) if head.version < Version::HTTP_11 => "",
        (None, None) => return Err(BadHost),
    };
    host_of_authority(authority)
}

/// The host that a request names, as it is written there, whatever that is.
pub fn named_host<'a>(head: &Head<'a>) -> Option<&'a [u8]> {
    head.asked.authority.map(str::as_bytes).or_else(|| head.fields.all(&HOST).next())
}

/// The host of `host[:port]`. An address literal is a host, though never a service's.
fn host_of_authority(authority: &str) -> Result<Cow<'_, str>, BadHost> {
    let is_bracketed = authority.starts_with('[');
    let (host, port) = if is_bracketed {
        let end = authority.find(']').ok_or(BadHost)? + 1;
        let rest = &authority[end..];
        let port = rest.strip_prefix(':').or_else(|| rest.is_empty().then_some("")).ok_or(BadHost)?;
        (&authority[..end], port)
    } else {
        // Octets are searched faster than text.
        match authority.bytes().position(|octet| octet == b':') {
            Some(colon) => (&authority[..colon], &authority[colon + 1..]),
            None => (authority, ""),
        }
    };
    let host = if is_bracketed { host } else { host.strip_suffix('.').unwrap_or(host) };
    let is_name = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    let is_literal = |octet: u8| octet.is_ascii_hexdigit() || matches!(octet, b':' | b'.' | b'[' | b']');
    let is_valid = if is_bracketed { host.bytes().all(is_literal) } else { host.bytes().all(is_name) };
    if !is_valid || host.len() > HOST_LEN_MAX || !port.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(BadHost);
    }
    if host.bytes().any(|octet| octet.is_ascii_uppercase()) {
        Ok(Cow::Owned(host.to_ascii_lowercase()))
    } else {
        Ok(Cow::Borrowed(host))
    }
}

/// The path and query of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// As sent, without `format=json` and what the id of a decision goes by: starts with `/`, visible ASCII
    /// only.
    pub path_and_query: Cow<'a, str>,
    /// Whether `format=json` was there.
    pub asks_json: bool,
}

impl<'a> Target<'a> {
    /// The target of what is `asked`, without parameters named `mark`; `None` when it has no path to go on
    /// with (`*`, authority form) or an octet that a URL in a header may not hold: control characters, space,
    /// anything not ASCII.
    pub(super) fn of(asked: &Asked<'a>, mark: Option<&str>) -> Option<Self> {
        let sent = asked.path_and_query?;
        let rooted = match sent.as_bytes().first() {
            None | Some(b'?') if asked.is_absolute => Cow::Owned(format!("/{sent}")),
            Some(b'/') => Cow::Borrowed(sent),
            _ => return None,
        };
        // No early end: so that it takes many octets at a time.
        if !rooted.bytes().fold(true, |all_graphic, octet| all_graphic & (octet > b' ') & (octet < 0x7f)) {
            return None;
        }
        let without = without(&rooted, |pair| pair == b"format=json");
        let asks_json = without.is_some();
        let mut path_and_query = without.map_or(rooted, Cow::Owned);
        if let Some(name) = mark
            && let Some(unmarked) = without_mark(&path_and_query, name)
        {
            path_and_query = Cow::Owned(unmarked);
        }
        Some(Self { path_and_query, asks_json })
    }
}

/// `target` without the query pairs that `is_ours`, and without `?` where nothing else is left; the
/// other octets stay as they are. `None` when there is no such pair.
fn without(target: &str, is_ours: impl Fn(&[u8]) -> bool) -> Option<String> {
    // Octets are searched faster than text.
    let (path, query) = target.split_at(target.bytes().position(|octet| octet == b'?')?);
    let query = &query[1..];
    if !query.as_bytes().split(|&octet| octet == b'&').any(&is_ours) {
        return None;
    }
    let rest: Vec<&str> = query.split('&').filter(|pair| !is_ours(pair.as_bytes())).collect();
    Some(if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) })
}

/// `target` without parameters that somebody might read as `name`: in either case, which some servers do
/// not tell apart, and percent-encoded. `None` when there are none.
#[cold]
pub(super) fn without_mark(target: &str, name: &str) -> Option<String> {
    without(target, |pair| {
        let named = pair.split(|&octet| octet == b'=').next().unwrap_or_default();
        decoded(named).eq_ignore_ascii_case(name.as_bytes())
    })
}

/// `text` with percent-encoded octets decoded (RFC 3986 section 2.1).
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let (mut octets, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((&first, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let octet = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let octet = octet.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match octet.filter(|_| first == b'%') {
            Some(octet) => {
                octets.push(octet);
                rest = &behind[2..];
            }
            None => {
                octets.push(first);
                rest = behind;
            }
        }
    }
    Cow::Owned(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::http::{HeaderMap, HeaderValue, Method, Uri};
    use std::net::Ipv4Addr;

    fn check_host(version: Version, target: &str, lines: &[&str], expected: Option<&str>) {
        let uri: Uri = target.parse().expect("a target");
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HOST, HeaderValue::from_bytes(line.as_bytes()).expect("a value"));
        }
        let head = Head::parsed(&Method::GET, &uri, version, &headers, Ipv4Addr::LOCALHOST.into());
        let found = host(&head).ok();
        assert_eq!(found.as_deref(), expected, "{version:?} {target} {lines:?}");
    }

    #[test]
    fn hosts_are_read_strictly() {
        let one = |line, expected| check_host(Version::HTTP_11, "/", &[line], expected);
        one("video.cdn.example", Some("video.cdn.example"));
        one("Video.CDN.example.:8080", Some("video.cdn.example"));
        one("video.cdn.example:", Some("video.cdn.example"));
        one("192.0.2.1:80", Some("192.0.2.1"));
        one("[2001:DB8::1]:80", Some("[2001:db8::1]"));
        one("[2001:db8::1]", Some("[2001:db8::1]"));
        one("", Some(""));
        for bad in
            ["a:b", "user@a", "a/b", "a b", "a,b", "a:80:90", "[::1", "[::1]80", "\u{e9}.example", "a%2e"]
        {
            one(bad, None);
        }
        one(&"a".repeat(254), None);
        let h11 = Version::HTTP_11;
        check_host(h11, "/", &[], None);
        check_host(h11, "/", &["a", "a"], None);
        check_host(h11, "http://b.example:81/", &["a"], Some("b.example"));
        check_host(h11, "http://b.example/", &[], None);
        check_host(h11, "http://u:p@b.example/", &["a"], None);
        check_host(Version::HTTP_10, "/", &[], Some(""));
        check_host(Version::HTTP_10, "/", &["a", "b"], None);
        check_host(Version::HTTP_2, "https://B.example/x", &[], Some("b.example"));
        check_host(Version::HTTP_2, "/x", &["a"], Some("a"));
        check_host(Version::HTTP_2, "/x", &[], None);
    }

    fn check_target(target: &str, expected: Option<(&str, bool)>) {
        let uri: Uri = target.parse().expect("a target");
        let asked = Asked::of(&uri);
        let found = Target::of(&asked, None);
        let found = found.as_ref().map(|target| (&*target.path_and_query, target.asks_json));
        assert_eq!(found, expected, "{target}");
    }

    #[test]
    fn targets_stay_as_sent_but_for_format_json() {
        for same in
            ["/", "//evil.example/x", "/a?", "/a?&&", "/a%0d%0a?b=%00", "/\\x", "/a?format=jsonp", "/;@:/"]
        {
            check_target(same, Some((same, false)));
        }
        check_target("/a?format=json", Some(("/a", true)));
        check_target("/a?x=1&format=json&y=2", Some(("/a?x=1&y=2", true)));
        check_target("/a?format=json&format=json&x", Some(("/a?x", true)));
        check_target("/a?&format=json", Some(("/a?", true)));
        check_target("http://h.example", Some(("/", false)));
        check_target("http://h.example?x=1", Some(("/?x=1", false)));
        check_target("*", None);
        check_target("h.example:443", None);
        check_target("/caf\u{e9}", None);
    }

    fn check_unmarked(target: &str, expected: &str) {
        let found = Target::of(&Asked::origin(target), Some("steer"));
        assert_eq!(found.expect("a target").path_and_query, expected, "{target}");
    }

    #[test]
    fn nobody_brings_an_id() {
        for same in
            ["/steer=1", "/?", "/?x=steer", "/?steers=1&asteer=2&s%teer=1", "/?%73tee%7=1", "/a?x=1&&y"]
        {
            check_unmarked(same, same);
        }
        check_unmarked("/a?steer=00", "/a");
        check_unmarked("/a?x=1&steer=00&y=2&steer&steer==", "/a?x=1&y=2");
        check_unmarked("/a?Steer=1&%73tee%72=2&%53%54EER=3&x", "/a?x");
        check_unmarked("/a?format=json&steer=1", "/a");
    }
}
