//! A response on its way out: status, fields, body.
//!
//! One buffer each, used again for every request, so that the usual answer allocates nothing. It
//! leaves as a response of hyper's or, by [`super::octets`], as octets.

use hyper::body::Bytes;
use hyper::http::header::{self, HeaderName, HeaderValue};
use hyper::http::{Response, StatusCode};
use std::ops::Range;

/// The fields that answers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `Location`.
    Location,
    /// `Cache-Control`.
    CacheControl,
    /// `Content-Type`.
    ContentType,
    /// `Content-Length`, where it is not the body's.
    ContentLength,
    /// `Retry-After`.
    RetryAfter,
    /// `Allow`.
    Allow,
    /// `Vary`.
    Vary,
    /// `Strict-Transport-Security` (RFC 6797).
    StrictTransport,
    /// `Alt-Svc` (RFC 7838).
    AltSvc,
    /// `Link`.
    Link,
    /// `X-Steer-Decision`: how the decision was made.
    Decision,
    /// `Access-Control-Allow-Origin`.
    AllowOrigin,
    /// `Access-Control-Allow-Methods`.
    AllowMethods,
    /// `Access-Control-Allow-Headers`.
    AllowHeaders,
    /// `Access-Control-Max-Age`.
    MaxAge,
    /// `Access-Control-Expose-Headers`.
    ExposeHeaders,
}

impl Field {
    /// What stands before its value in HTTP/1: the end of the line before, and its name.
    pub(super) fn lead(self) -> &'static str {
        match self {
            Self::Location => "\r\nLocation: ",
            Self::CacheControl => "\r\nCache-Control: ",
            Self::ContentType => "\r\nContent-Type: ",
            Self::ContentLength => "\r\nContent-Length: ",
            Self::RetryAfter => "\r\nRetry-After: ",
            Self::Allow => "\r\nAllow: ",
            Self::Vary => "\r\nVary: ",
            Self::StrictTransport => "\r\nStrict-Transport-Security: ",
            Self::AltSvc => "\r\nAlt-Svc: ",
            Self::Link => "\r\nLink: ",
            Self::Decision => "\r\nX-Steer-Decision: ",
            Self::AllowOrigin => "\r\nAccess-Control-Allow-Origin: ",
            Self::AllowMethods => "\r\nAccess-Control-Allow-Methods: ",
            Self::AllowHeaders => "\r\nAccess-Control-Allow-Headers: ",
            Self::MaxAge => "\r\nAccess-Control-Max-Age: ",
            Self::ExposeHeaders => "\r\nAccess-Control-Expose-Headers: ",
        }
    }

    /// As hyper knows it.
    fn name(self) -> HeaderName {
        match self {
            Self::Location => header::LOCATION,
            Self::CacheControl => header::CACHE_CONTROL,
            Self::ContentType => header::CONTENT_TYPE,
            Self::ContentLength => header::CONTENT_LENGTH,
            Self::RetryAfter => header::RETRY_AFTER,
            Self::Allow => header::ALLOW,
            Self::Vary => header::VARY,
            Self::StrictTransport => header::STRICT_TRANSPORT_SECURITY,
            Self::AltSvc => header::ALT_SVC,
            Self::Link => header::LINK,
            Self::Decision => HeaderName::from_static("x-steer-decision"),
            Self::AllowOrigin => header::ACCESS_CONTROL_ALLOW_ORIGIN,
            Self::AllowMethods => header::ACCESS_CONTROL_ALLOW_METHODS,
            Self::AllowHeaders => header::ACCESS_CONTROL_ALLOW_HEADERS,
            Self::MaxAge => header::ACCESS_CONTROL_MAX_AGE,
            Self::ExposeHeaders => header::ACCESS_CONTROL_EXPOSE_HEADERS,
        }
    }
}

/// A response.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    status: StatusCode,
    /// Fields in the order set, and where in `text` their values are.
    fields: Vec<(Field, Range<usize>)>,
    /// The values, one after the other.
    text: String,
    /// Its body.
    body: Vec<u8>,
}

impl Reply {
    /// Begins anew: `status` without fields or body.
    pub fn start(&mut self, status: StatusCode) {
        self.status = status;
        self.fields.clear();
        self.text.clear();
        self.body.clear();
    }

    /// Sets a field that is not set yet.
    pub fn set(&mut self, field: Field, value: &str) {
        self.set_by(field, |text| {
            text.push_str(value);
            true
        });
    }

    /// Sets a field that is not set yet to what `write` appends; leaves it out when that says `false`,
    /// and when the value cannot stand in a header, which no checked value does. Whether it is set.
    pub fn set_by(&mut self, field: Field, write: impl FnOnce(&mut String) -> bool) -> bool {
        debug_assert!(self.fields.iter().all(|(set, _)| *set != field), "{field:?} twice");
        let start = self.text.len();
        let is_written = write(&mut self.text);
        // No early end: so that it takes many octets at a time.
        let is_clean = self.text[start..]
            .bytes()
            .fold(true, |all_clean, octet| all_clean & (b' '..0x7f).contains(&octet));
        debug_assert!(is_clean, "{field:?} of visible ASCII");
        if is_written && is_clean {
            self.fields.push((field, start..self.text.len()));
        } else {
            self.text.truncate(start);
        }
        is_written && is_clean
    }

    /// Puts `body` in.
    pub fn set_body(&mut self, body: &[u8]) {
        self.body.clear();
        self.body.extend_from_slice(body);
    }

    /// Makes it the answer to HEAD: it keeps its length but not its body (RFC 9110 section 9.3.2).
    pub(super) fn drop_body(&mut self) {
        let len = self.body.len();
        self.set(Field::ContentLength, &len.to_string());
        self.body.clear();
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its fields, in the order set.
    pub fn fields(&self) -> impl Iterator<Item = (Field, &str)> {
        self.fields.iter().map(|(field, at)| (*field, &self.text[at.clone()]))
    }

    /// Its body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// As hyper sends it.
    pub fn to_response(&self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::copy_from_slice(&self.body));
        *response.status_mut() = self.status;
        for (field, value) in self.fields() {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(field.name(), value);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_are_the_names() {
        let all = [
            Field::Location,
            Field::CacheControl,
            Field::ContentType,
            Field::ContentLength,
            Field::RetryAfter,
            Field::Allow,
            Field::Vary,
            Field::StrictTransport,
            Field::AltSvc,
            Field::Link,
            Field::Decision,
            Field::AllowOrigin,
            Field::AllowMethods,
            Field::AllowHeaders,
            Field::MaxAge,
            Field::ExposeHeaders,
        ];
        for field in all {
            let lead = format!("\r\n{}: ", field.name());
            assert!(field.lead().eq_ignore_ascii_case(&lead), "{field:?}");
        }
    }

    #[test]
    fn what_is_not_written_is_not_set() {
        let mut reply = Reply::default();
        reply.start(StatusCode::FOUND);
        reply.set(Field::CacheControl, "no-store");
        let is_set = reply.set_by(Field::Location, |text| {
            text.push_str("http://");
            false
        });
        assert!(!is_set);
        reply.set(Field::Allow, "GET");
        let fields: Vec<_> = reply.fields().collect();
        assert_eq!(fields, [(Field::CacheControl, "no-store"), (Field::Allow, "GET")]);
        reply.start(StatusCode::OK);
        assert_eq!((reply.fields().count(), reply.body()), (0, &b""[..]));
    }
}
