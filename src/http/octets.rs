//! HTTP/1.1 as octets: usual requests in, replies out.
//!
//! A request is [`Parsed::Usual`] only when nothing about it can be read in two ways: GET or HEAD,
//! HTTP/1.1, origin form, every line ended by CRLF, no body announced, no expectation, no upgrade.
//! All else is [`Parsed::Unusual`] and for hyper to judge, which is given the same octets: what is
//! refused, and how, is decided in one place. The library under hyper's own parser reads the lines.
//!
//! Why it is here, beside hyper: a redirect costs less than what hyper does around it. Instructions
//! in user space a request, keep-alive: see `serve::http1`. The tests hold both ways to equal replies.

use super::head::{Asked, Fields, Head};
use super::reply::{Field, Reply};
use crate::fleet::Scheme;
use hyper::http::Version;
use hyper::http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, TRANSFER_ENCODING, UPGRADE};
use std::io::Write;
use std::mem::MaybeUninit;
use std::net::IpAddr;

/// Header lines of a usual request, at most.
const LINES_MAX: usize = 64;

/// Fields that announce a body, or wish for more than an answer.
const UNUSUAL: [HeaderName; 4] = [CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT, UPGRADE];

/// Room for the lines of a head.
#[derive(Debug)]
pub struct Room<'a>([MaybeUninit<httparse::Header<'a>>; LINES_MAX]);

impl Room<'_> {
    /// Empty room.
    pub fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; LINES_MAX])
    }
}

impl Default for Room<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// What octets begin with.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// A whole head of the usual kind.
    Usual(Request<'a>),
    /// The start of a head.
    Partial,
    /// Anything else.
    Unusual,
}

/// A usual request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Octets of its head, which is all of it.
    pub len: usize,
    /// GET or HEAD.
    method: &'a str,
    path_and_query: &'a str,
    lines: &'a [httparse::Header<'a>],
    /// Whether the client wants no further answer on this connection.
    pub is_last: bool,
}

impl<'a> Request<'a> {
    /// Whether it asks for DNS, as far as its path says.
    pub fn is_dns(&self) -> bool {
        super::doh::is_path(self.path_and_query)
    }

    /// Its head, for the policy.
    pub fn head(&self, peer: IpAddr) -> Head<'a> {
        Head {
            method: self.method,
            asked: Asked::origin(self.path_and_query),
            version: Version::HTTP_11,
            fields: Fields::Lines(self.lines),
            peer,
            scheme: Scheme::Http,
        }
    }
}

/// Parses the first request of `octets`, whatever follows it.
pub fn parse<'a>(octets: &'a [u8], room: &'a mut Room<'a>) -> Parsed<'a> {
    let mut request = httparse::Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(octets, &mut room.0) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Unusual,
    };
    let lines: &'a [httparse::Header<'a>] = request.headers;
    let (Some(method @ ("GET" | "HEAD")), Some(path_and_query), Some(1)) =
        (request.method, request.path, request.version)
    else {
        return Parsed::Unusual;
    };
    // The library passes over empty lines before a request.
    if !octets[0].is_ascii_uppercase() {
        return Parsed::Unusual;
    }
    // No value of a parsed head holds a CR, so there are as many as lines where each ends in CRLF: the
    // request line, the fields, and the empty one.
    let crs = count_crs(&octets[..len]);
    if crs != lines.len() + 2 || !is_origin(path_and_query) {
        return Parsed::Unusual;
    }
    match is_last(lines) {
        Some(is_last) => Parsed::Usual(Request { len, method, path_and_query, lines, is_last }),
        None => Parsed::Unusual,
    }
}

/// Whether `octets`, the start of a head up to `known` before more came, may now hold a whole one: an
/// empty line is among what came. Spares parsing a head anew with each of its octets.
pub fn may_be_whole(octets: &[u8], known: usize) -> bool {
    let came = &octets[known.saturating_sub(3).min(octets.len())..];
    came.windows(2).any(|pair| pair == b"\n\n") || came.windows(3).any(|three| three == b"\n\r\n")
}

/// How many CRs there are; in parts that compilers turn into vector instructions.
fn count_crs(octets: &[u8]) -> usize {
    let count = |part: &[u8]| part.iter().map(|&octet| u8::from(octet == b'\r')).sum::<u8>();
    octets.chunks(usize::from(u8::MAX)).map(|part| usize::from(count(part))).sum()
}

/// Whether `target` is a path and perhaps a query of octets that every parser of URLs leaves alone
/// (RFC 3986 section 3.3): no fragment, nothing that needs percent-encoding, nothing that is not ASCII.
fn is_origin(target: &str) -> bool {
    let is_plain = |octet: u8| {
        let is_visible = (octet > b' ') & (octet < 0x7f);
        b"\"#<>[\\]^`{|}".iter().fold(is_visible, |is_plain, other| is_plain & (octet != *other))
    };
    // No early end: so that it takes many octets at a time.
    target.as_bytes().first() == Some(&b'/')
        && target.bytes().fold(true, |all_plain, octet| all_plain & is_plain(octet))
}

/// Whether these are the lines of a client's last request; `None` when they are unusual.
fn is_last(lines: &[httparse::Header<'_>]) -> Option<bool> {
    let mut is_last = false;
    for line in lines {
        // By length first: few fields get further.
        match line.name.len() {
            10 if is(line, &CONNECTION) => {
                for option in line.value.split(|&octet| octet == b',') {
                    match option.trim_ascii() {
                        option if option.eq_ignore_ascii_case(b"close") => is_last = true,
                        option if option.eq_ignore_ascii_case(b"keep-alive") => {}
                        _ => return None,
                    }
                }
            }
            6 | 7 | 14 | 17 if UNUSUAL.iter().any(|name| is(line, name)) => return None,
            _ => {}
        }
    }
    Some(is_last)
}

/// Whether `line` is a field `name`.
fn is(line: &httparse::Header<'_>, name: &HeaderName) -> bool {
    line.name.eq_ignore_ascii_case(name.as_str())
}

/// Appends `reply` to `out` as the answer to a usual request: with the length of its body and the date,
/// and, when it `is_last`, the end of the connection announced.
pub fn compose(reply: &Reply, is_last: bool, date: &str, out: &mut Vec<u8>) {
    let status = reply.status();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    let mut is_len_set = false;
    for (field, value) in reply.fields() {
        is_len_set |= field == Field::ContentLength;
        out.extend_from_slice(field.lead().as_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    if is_last {
        out.extend_from_slice(b"\r\nConnection: close");
    }
    match reply.body().len() {
        _ if is_len_set => {}
        0 => out.extend_from_slice(b"\r\nContent-Length: 0"),
        // Writing to memory does not fail.
        len => _ = write!(out, "\r\nContent-Length: {len}"),
    }
    out.extend_from_slice(b"\r\nDate: ");
    out.extend_from_slice(date.as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(reply.body());
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::http::StatusCode;

    /// What `sent` begins with: `usual METHOD target`, with `last` where it is, or why not.
    fn parsed(sent: &[u8]) -> String {
        match parse(sent, &mut Room::new()) {
            Parsed::Usual(Request { len, method, path_and_query, is_last, .. }) => {
                assert!(sent[..len].ends_with(b"\r\n\r\n"));
                format!("usual {method} {path_and_query}{}", if is_last { " last" } else { "" })
            }
            Parsed::Partial => "partial".to_owned(),
            Parsed::Unusual => "unusual".to_owned(),
        }
    }

    /// Checks a request of `line` and `fields`, each of which brings its line's end.
    fn check(line: &str, fields: &str, expected: &str) {
        let sent = format!("{line}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(parsed(sent.as_bytes()), expected, "{sent:?}");
    }

    #[test]
    fn usual_requests_are_taken() {
        check("GET / HTTP/1.1", "", "usual GET /");
        check("HEAD /a/b.ts?x=1&y=%0d HTTP/1.1", "", "usual HEAD /a/b.ts?x=1&y=%0d");
        check("GET //x/ HTTP/1.1", "Accept: */*\r\n", "usual GET //x/");
        check("GET / HTTP/1.1", "Connection: keep-alive\r\n", "usual GET /");
        check("GET / HTTP/1.1", "connection:  Keep-Alive , CLOSE \r\n", "usual GET / last");
        check("GET / HTTP/1.1", "Connection: close\r\nConnection: keep-alive\r\n", "usual GET / last");
        // Judged by the policy, not here.
        check("GET / HTTP/1.1", "Host: b\r\n", "usual GET /");
        assert_eq!(parsed(b"GET / HTTP/1.1\r\n\r\nGET"), "usual GET /");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_unusual() {
        // RFC 9112 sections 6 and 7: bodies.
        check("GET / HTTP/1.1", "Content-Length: 0\r\n", "unusual");
        check("GET / HTTP/1.1", "content-length: 5\r\n", "unusual");
        check("GET / HTTP/1.1", "Content-Length: 5\r\nContent-Length: 6\r\n", "unusual");
        check("GET / HTTP/1.1", "Transfer-Encoding: chunked\r\n", "unusual");
        check("GET / HTTP/1.1", "transfer-encoding: identity\r\nContent-Length: 3\r\n", "unusual");
        check("GET / HTTP/1.1", "Expect: 100-continue\r\n", "unusual");
        check("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "unusual");
        check("GET / HTTP/1.1", "Upgrade: websocket\r\n", "unusual");
        check("GET / HTTP/1.1", "Connection: x-forwarded-for\r\n", "unusual");
        // Section 5: fields.
        check("GET / HTTP/1.1", "X : y\r\n", "unusual");
        check("GET / HTTP/1.1", " X: folded\r\n", "unusual");
        check("GET / HTTP/1.1", "X: y\r\n\tfolded\r\n", "unusual");
        check("GET / HTTP/1.1", "X: y\n", "unusual");
        check("GET / HTTP/1.1", "X: y\rz\r\n", "unusual");
        check("GET / HTTP/1.1", "X: y\0\r\n", "unusual");
        check("GET / HTTP/1.1", "X\r\n", "unusual");
        check("GET / HTTP/1.1", ": y\r\n", "unusual");
        // Sections 2 and 3: the request line.
        check("GET / HTTP/1.1\n", "", "unusual");
        check("\r\nGET / HTTP/1.1", "", "unusual");
        check("\nGET / HTTP/1.1", "", "unusual");
        check("GET  / HTTP/1.1", "", "unusual");
        check("GET / HTTP/1.1 ", "", "unusual");
        check("GET\t/ HTTP/1.1", "", "unusual");
        check("get / HTTP/1.1", "", "unusual");
        check("GET / HTTP/1.0", "", "unusual");
        check("GET / HTTP/2.0", "", "unusual");
        check("GET / HTTP/1.11", "", "unusual");
        check("GET /", "", "unusual");
        check("POST / HTTP/1.1", "", "unusual");
        check("OPTIONS * HTTP/1.1", "", "unusual");
        check("GET http://a/ HTTP/1.1", "", "unusual");
        check("GET /#x HTTP/1.1", "", "unusual");
        check("GET /a\\b HTTP/1.1", "", "unusual");
        check("GET /\u{e9} HTTP/1.1", "", "unusual");
        check("GET /\" HTTP/1.1", "", "unusual");
        let many = "X: y\r\n".repeat(LINES_MAX);
        check("GET / HTTP/1.1", &many, "unusual");
        assert_eq!(parsed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "unusual");
        assert_eq!(parsed(b"\x16\x03\x01"), "unusual");
    }

    #[test]
    fn plain_targets_are_plain() {
        for octet in 0..=u8::MAX {
            let text = format!("/{}", char::from(octet));
            let is_plain = octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&octet);
            assert_eq!(is_origin(&text), is_plain, "{text:?}");
        }
        assert!(!is_origin("a/") && !is_origin(""));
        assert_eq!(count_crs(&[b'\r'; 1000]), 1000);
        assert_eq!(count_crs(b"a\rb\n\r"), 2);
    }

    #[test]
    fn a_head_is_whole_with_its_empty_line() {
        let sent = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for len in 0..sent.len() {
            assert_eq!(parsed(&sent[..len]), "partial");
            assert!(!may_be_whole(&sent[..len], 0));
            assert!(may_be_whole(sent, len), "after {len}");
        }
        assert!(may_be_whole(b"GET / HTTP/1.1\n\n", 15));
        assert!(!may_be_whole(b"GET / HTTP/1.1\n\nHost: a", 20));
    }

    #[test]
    fn replies_are_framed() {
        let mut reply = Reply::default();
        reply.start(StatusCode::FOUND);
        reply.set(Field::Location, "http://a/");
        let mut out = b"before".to_vec();
        compose(&reply, false, "now", &mut out);
        let expected =
            "beforeHTTP/1.1 302 Found\r\nLocation: http://a/\r\nContent-Length: 0\r\nDate: now\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        reply.start(StatusCode::OK);
        reply.set_body(b"abc");
        out.clear();
        compose(&reply, true, "now", &mut out);
        let expected = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\nDate: now\r\n\r\nabc";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
