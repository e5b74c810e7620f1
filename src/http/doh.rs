//! DNS over HTTPS (RFC 8484): the query in a request, and why there is none. What answers it is not known
//! here.
//!
//! A request is one for DNS by its path, where its host is no service: a service's own `/dns-query` is
//! redirected as everything else of it.

use super::client::Caller;
use super::head::Head;
use super::redirect::Settings;
use super::target;
use crate::snapshot::Snapshot;
use data_encoding::BASE64URL_NOPAD;
use hyper::http::StatusCode;
use hyper::http::header::CONTENT_TYPE;
use std::net::IpAddr;

/// Where queries are sent to.
pub const PATH: &str = "/dns-query";

/// What queries and replies are, as bodies.
pub const MEDIA_TYPE: &str = "application/dns-message";

/// Methods that queries come by.
pub const METHODS: &str = "GET, HEAD, POST";

/// Octets of a query, at most.
pub const QUERY_LEN_MAX: usize = u16::MAX as usize;

/// Where the query of a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// In the request's target.
    Here(Vec<u8>),
    /// It is the body.
    Body,
}

/// Whether `path_and_query` is a path for DNS.
pub fn is_path(path_and_query: &str) -> bool {
    path_and_query.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('?'))
}

/// On whose behalf a request asks for DNS; `None` when it is a request for something else.
pub fn asker(world: &Snapshot, settings: &Settings, head: &Head<'_>) -> Option<IpAddr> {
    head.asked.path_and_query.filter(|path| is_path(path))?;
    let host = target::host(head).ok()?;
    if world.is_ready() && world.fleet().service_of_host(&host).is_some() {
        return None;
    }
    Some(Caller::of(head.peer, head.fields, &settings.trust).addr)
}

/// Where the query of a request for DNS is.
///
/// # Errors
/// The status of the refusal: 400, 405, 413 or 415.
pub fn query(head: &Head<'_>) -> Result<Query, StatusCode> {
    match head.method {
        "GET" | "HEAD" => {
            let target = head.asked.path_and_query.unwrap_or_default();
            let pairs = target.split_once('?').map_or("", |(_, query)| query).split('&');
            let mut texts = pairs.filter_map(|pair| pair.strip_prefix("dns="));
            let (Some(text), None) = (texts.next(), texts.next()) else {
                return Err(StatusCode::BAD_REQUEST);
            };
            let octets = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)?;
            match octets.len() {
                0 => Err(StatusCode::BAD_REQUEST),
                1..=QUERY_LEN_MAX => Ok(Query::Here(octets)),
                _ => Err(StatusCode::PAYLOAD_TOO_LARGE),
            }
        }
        "POST" => {
            let mut types = head.fields.all(&CONTENT_TYPE);
            let is_dns = |value: &[u8]| {
                let essence = value.split(|&octet| octet == b';').next().unwrap_or_default();
                essence.trim_ascii().eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())
            };
            match (types.next(), types.next()) {
                (Some(value), None) if is_dns(value) => Ok(Query::Body),
                _ => Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            }
        }
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::State;
    use crate::http::tests::{settings, world};
    use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

    /// What `read` makes of a request with these fields, from 10.0.0.1, which is trusted.
    fn with<T>(method: &str, uri: &str, fields: &[(&str, &str)], read: impl Fn(&Head<'_>) -> T) -> T {
        let (method, uri): (Method, Uri) =
            (method.parse().expect("a method"), uri.parse().expect("a target"));
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let peer = "10.0.0.1".parse().expect("an address");
        read(&Head::parsed(&method, &uri, Version::HTTP_11, &headers, peer))
    }

    #[test]
    fn dns_is_asked_at_hosts_that_are_no_service() {
        let (world, settings) = (world(State::Up), settings());
        let ask = |host: &str, uri: &str| {
            let fields = [("host", host), ("x-forwarded-for", "203.0.113.9")];
            with("GET", uri, &fields, |head| asker(&world, &settings, head))
        };
        let client = "203.0.113.9".parse().ok();
        for (host, uri, expected) in [
            ("dns.cdn.example", "/dns-query?dns=AAAA", client),
            ("192.0.2.1:8443", "/dns-query", client),
            ("VIDEO.cdn.example", "/dns-query?dns=AAAA", None),
            ("dns.cdn.example", "/dns-query/more", None),
            ("dns.cdn.example", "/dns-queries", None),
            ("dns.cdn.example", "/", None),
            ("a b", "/dns-query", None),
        ] {
            assert_eq!(ask(host, uri), expected, "{host} {uri}");
        }
    }

    #[test]
    fn rfc8484_s4_1_queries_are_in_the_target_or_the_body() {
        let ask = |method, uri, fields: &[(&str, &str)]| with(method, uri, fields, query);
        let here = |octets: &[u8]| Ok(Query::Here(octets.to_vec()));
        for (uri, expected) in [
            ("/dns-query?dns=AAEC", here(&[0, 1, 2])),
            ("/dns-query?dns=_-8", here(&[0xff, 0xef])),
            ("/dns-query?ct&dns=AAEC&x=y", here(&[0, 1, 2])),
            ("/dns-query?dns=_-8=", Err(StatusCode::BAD_REQUEST)),
            ("/dns-query?dns=/+8", Err(StatusCode::BAD_REQUEST)),
            ("/dns-query?dns=AAEC&dns=AAEC", Err(StatusCode::BAD_REQUEST)),
            ("/dns-query?dns=", Err(StatusCode::BAD_REQUEST)),
            ("/dns-query?name=a.example", Err(StatusCode::BAD_REQUEST)),
            ("/dns-query", Err(StatusCode::BAD_REQUEST)),
        ] {
            assert_eq!(ask("GET", uri, &[]), expected, "{uri}");
            assert_eq!(ask("HEAD", uri, &[]), expected, "{uri}");
        }
        for (value, expected) in [
            (MEDIA_TYPE, Ok(Query::Body)),
            ("Application/DNS-Message; x=y", Ok(Query::Body)),
            ("application/json", Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        ] {
            assert_eq!(ask("POST", PATH, &[("content-type", value)]), expected, "{value}");
        }
        assert_eq!(ask("POST", PATH, &[]), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        assert_eq!(ask("PUT", PATH, &[]), Err(StatusCode::METHOD_NOT_ALLOWED));
    }
}
