//! The body of a request: what form it is in, and its octets under a cap.
//!
//! Nothing is trusted to be small: octets are counted as they come and as they are decompressed,
//! whatever `Content-Length` says. Decompression itself is `table`'s. Layer 7.

use super::refuse::Fault;
use crate::problem::Problem;
use crate::table::body::{BodyError, Encoding, decode_body};
use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use std::borrow::Cow;
use std::time::Duration;

/// Longest pause between two pieces of a body.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What of a body's announced length is reserved at once, in octets; the rest as it comes.
const RESERVED_MAX: u64 = 16 << 20;

/// The artefact's media type.
pub const ARTEFACT: &str = "application/vnd.steerd.table";

/// The media type of lines of JSON.
pub const LINES: &str = "application/x-ndjson";

/// What form a body is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `application/json`.
    Json,
    /// `application/x-ndjson`.
    Lines,
    /// `application/vnd.steerd.table`.
    Artefact,
    /// Not said, or what clients say that were told nothing: taken for what the call expects, except
    /// where a content type has to prove something.
    Unnamed,
}

impl Form {
    /// The form that `Content-Type` names; `None` for any that is not taken anywhere.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::CONTENT_TYPE).iter();
        let Some(value) = values.next() else { return Some(Self::Unnamed) };
        if values.next().is_some() {
            return None;
        }
        // Parameters (a charset) change nothing: JSON is UTF-8 (RFC 8259 section 8.1).
        let name = value.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase();
        match name.as_str() {
            "application/json" => Some(Self::Json),
            LINES | "application/ndjson" | "application/jsonl" => Some(Self::Lines),
            ARTEFACT => Some(Self::Artefact),
            "" | "text/plain" | "application/octet-stream" | "application/x-www-form-urlencoded" => {
                Some(Self::Unnamed)
            }
            _ => None,
        }
    }

    /// The form of a body that may be text, or also the artefact where `takes_artefact`.
    ///
    /// # Errors
    /// [`Fault::UnknownForm`].
    pub fn taken(headers: &HeaderMap, takes_artefact: bool) -> Result<Self, Fault> {
        match Self::of(headers) {
            Some(Self::Artefact) | None if !takes_artefact => {
                Err(unknown_form(headers, "content-type", "application/json or application/x-ndjson"))
            }
            None => Err(unknown_form(
                headers,
                "content-type",
                "application/x-ndjson, application/json or application/vnd.steerd.table",
            )),
            Some(form) => Ok(form),
        }
    }
}

/// That `name` says something that is not taken.
fn unknown_form(headers: &HeaderMap, name: &'static str, expected: &'static str) -> Fault {
    let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let found = values.collect::<Vec<_>>().join(", ").chars().take(120).collect();
    Fault::UnknownForm { header: name, found, expected }
}

/// How a body is compressed.
///
/// # Errors
/// [`Fault::UnknownForm`] for anything but gzip, zstd and identity, and for several of them.
pub fn encoding_of(headers: &HeaderMap) -> Result<Encoding, Fault> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(Encoding::Identity) };
    let encoding = value.to_str().ok().and_then(Encoding::from_name);
    match (encoding, values.next()) {
        (Some(encoding), None) => Ok(encoding),
        _ => Err(unknown_form(headers, "content-encoding", "gzip, zstd or identity")),
    }
}

/// Reads all of a body, at most `max` octets of it.
///
/// # Errors
/// [`Fault::TooLarge`], at once when it is announced; [`Fault::TooSlow`] when nothing comes for 30
/// seconds; [`Fault::BrokenOff`].
pub async fn read(body: Body, headers: &HeaderMap, max: u64) -> Result<Vec<u8>, Fault> {
    read_unless_pausing(body, headers, max, PAUSE_MAX).await
}

/// [`read`] with another longest pause.
async fn read_unless_pausing(
    mut body: Body,
    headers: &HeaderMap,
    max: u64,
    pause_max: Duration,
) -> Result<Vec<u8>, Fault> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let announced = announced.unwrap_or(0);
    if announced > max {
        return Err(Fault::TooLarge(max));
    }
    let mut octets = Vec::with_capacity(usize::try_from(announced.min(RESERVED_MAX)).unwrap_or(0));
    loop {
        let frame = tokio::time::timeout(pause_max, body.frame()).await.map_err(|_| Fault::TooSlow)?;
        let Some(frame) = frame else { return Ok(octets) };
        let Ok(frame) = frame else { return Err(Fault::BrokenOff) };
        // Trailers carry nothing that is wanted.
        let Ok(data) = frame.into_data() else { continue };
        if octets.len() as u64 + data.len() as u64 > max {
            return Err(Fault::TooLarge(max));
        }
        octets.extend_from_slice(&data);
    }
}

/// Decompresses a body to at most `max` octets. Blocks for as long as that takes.
///
/// # Errors
/// [`Fault::TooLarge`], or [`Fault::Invalid`] when it is not what `encoding` says.
pub fn decode(octets: Vec<u8>, encoding: Encoding, max: u64) -> Result<Vec<u8>, Fault> {
    let cap = usize::try_from(max).unwrap_or(usize::MAX);
    let decoded = decode_body(encoding, &octets, cap).map_err(|error| match error {
        BodyError::TooLarge { .. } => Fault::TooLarge(max),
        BodyError::Corrupt(found) => {
            Problem::at(0, "content-encoding", found, "a body that is compressed as it says").into()
        }
    })?;
    let other = match decoded {
        Cow::Owned(other) => Some(other),
        Cow::Borrowed(_) => None,
    };
    Ok(other.unwrap_or(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers with one of `name`.
    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(name, value.parse().expect("a header"));
        map
    }

    #[test]
    fn forms() {
        for (value, form) in [
            ("application/json", Some(Form::Json)),
            ("Application/JSON ; charset=utf-8", Some(Form::Json)),
            ("application/x-ndjson", Some(Form::Lines)),
            ("application/vnd.steerd.table", Some(Form::Artefact)),
            ("text/plain;charset=UTF-8", Some(Form::Unnamed)),
            ("application/x-www-form-urlencoded", Some(Form::Unnamed)),
            ("multipart/form-data", None),
            ("application/json, text/plain", None),
            ("application/jsonx", None),
        ] {
            assert_eq!(Form::of(&headers("content-type", value)), form, "{value}");
        }
        assert_eq!(Form::of(&HeaderMap::new()), Some(Form::Unnamed));
    }

    #[test]
    fn encodings() {
        for (value, encoding) in [
            ("gzip", Some(Encoding::Gzip)),
            ("X-GZIP", Some(Encoding::Gzip)),
            ("zstd", Some(Encoding::Zstd)),
            ("identity", Some(Encoding::Identity)),
            ("br", None),
            ("gzip, zstd", None),
        ] {
            assert_eq!(encoding_of(&headers("content-encoding", value)).ok(), encoding, "{value}");
        }
        assert_eq!(encoding_of(&HeaderMap::new()), Ok(Encoding::Identity));
        let mut twice = headers("content-encoding", "gzip");
        twice.append("content-encoding", "gzip".parse().expect("a header"));
        assert!(encoding_of(&twice).is_err());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_cap_holds_whatever_is_announced() {
        let take = async |octets: &'static [u8], announced: &str, max| {
            read(Body::from(octets), &headers("content-length", announced), max).await
        };
        assert_eq!(take(b"12345", "5", 5).await, Ok(b"12345".to_vec()));
        assert_eq!(take(b"12345", "5", 4).await, Err(Fault::TooLarge(4)));
        assert_eq!(take(b"12345", "1", 4).await, Err(Fault::TooLarge(4)));
        assert_eq!(take(b"1", "99999999999999", 1 << 30).await, Err(Fault::TooLarge(1 << 30)));
        assert_eq!(take(b"1", "no number", 4).await, Ok(b"1".to_vec()));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_body_that_stops_is_not_waited_for() {
        let (_sender, receiver) = tokio::sync::mpsc::channel(1);
        let body = Body::new(super::super::reply::Chunks(receiver));
        let headers = HeaderMap::new();
        let read = read_unless_pausing(body, &headers, 9, Duration::ZERO);
        assert_eq!(read.await, Err(Fault::TooSlow));
    }

    #[test]
    fn what_is_not_compressed_as_it_says_is_invalid() {
        let found = decode(b"plain".to_vec(), Encoding::Gzip, 100);
        assert!(matches!(found, Err(Fault::Invalid(problems)) if problems[0].key == "content-encoding"));
        assert_eq!(decode(b"plain".to_vec(), Encoding::Identity, 4), Err(Fault::TooLarge(4)));
    }
}
