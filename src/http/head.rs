//! The head of a request, as the policy reads it: borrowed from whoever parsed it.
//!
//! hyper's types and the lines of [`super::octets`] give the same [`Head`], so the policy cannot
//! tell by which way a request came.

use crate::fleet::Scheme;
use hyper::http::header::{HeaderMap, HeaderName, HeaderValue, ValueIter};
use hyper::http::{Method, Uri, Version};
use std::net::IpAddr;
use std::slice;

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Its method, which is case-sensitive.
    pub method: &'a str,
    /// What it asks for.
    pub asked: Asked<'a>,
    /// HTTP/1.0, 1.1, 2 or 3.
    pub version: Version,
    /// Its headers.
    pub fields: Fields<'a>,
    /// Where the connection came from.
    pub peer: IpAddr,
    /// The scheme it was spoken in.
    pub scheme: Scheme,
}

impl<'a> Head<'a> {
    /// What hyper has parsed, from `peer` over plain HTTP.
    pub fn parsed(
        method: &'a Method,
        uri: &'a Uri,
        version: Version,
        headers: &'a HeaderMap,
        peer: IpAddr,
    ) -> Self {
        Self {
            method: method.as_str(),
            asked: Asked::of(uri),
            version,
            fields: Fields::Map(headers),
            peer,
            scheme: Scheme::Http,
        }
    }

    /// Whether it asks for the head of a response only.
    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// A request target in any form (RFC 9112 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// In absolute and authority form, and in HTTP/2.
    pub authority: Option<&'a str>,
    /// Everything from the path on, which may be empty in absolute form; `*` in asterisk form, `None`
    /// in authority form.
    pub path_and_query: Option<&'a str>,
    /// Whether it is in absolute form.
    pub is_absolute: bool,
}

impl<'a> Asked<'a> {
    /// As hyper has parsed it.
    pub fn of(uri: &'a Uri) -> Self {
        Self {
            authority: uri.authority().map(|authority| authority.as_str()),
            path_and_query: uri.path_and_query().map(|rest| rest.as_str()),
            is_absolute: uri.scheme().is_some(),
        }
    }

    /// In origin form: a path that starts with `/`, and a query.
    pub fn origin(path_and_query: &'a str) -> Self {
        Self { authority: None, path_and_query: Some(path_and_query), is_absolute: false }
    }
}

/// Header fields by name.
#[derive(Debug, Clone, Copy)]
pub enum Fields<'a> {
    /// As hyper keeps them.
    Map(&'a HeaderMap),
    /// In the order sent.
    Lines(&'a [httparse::Header<'a>]),
}

impl<'a> Fields<'a> {
    /// The values of all fields `name`, in the order sent, without the whitespace around them.
    pub fn all(self, name: &HeaderName) -> Values<'a, '_> {
        match self {
            Self::Map(map) => Values::Map(map.get_all(name).iter()),
            Self::Lines(lines) => Values::Lines(lines.iter(), name.as_str()),
        }
    }
}

/// The values of one field, from either end.
#[derive(Debug)]
pub enum Values<'a, 'n> {
    /// Of a map.
    Map(ValueIter<'a, HeaderValue>),
    /// Those of lines that have this name.
    Lines(slice::Iter<'a, httparse::Header<'a>>, &'n str),
}

impl<'a> Iterator for Values<'a, '_> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Self::Map(values) => values.next().map(HeaderValue::as_bytes),
            Self::Lines(lines, name) => {
                lines.find(|line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
            }
        }
    }
}

impl DoubleEndedIterator for Values<'_, '_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Map(values) => values.next_back().map(HeaderValue::as_bytes),
            Self::Lines(lines, name) => {
                lines.rfind(|line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
            }
        }
    }
}
