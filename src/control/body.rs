//! The body of a request: what form it is in, and its octets under a cap.
//!
//! Nothing is trusted to be small: octets are counted as they come and as they are decompressed,
//! whatever `Content-Length` says. Decompression itself is `table`'s. Layer 7.

use super::refuse::Fault;
use crate::problem::Problem;
use crate::table::body::{BodyError, Encoding, decode_body};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use std::borrow::Cow;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;

/// Longest pause between two pieces of a body.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Pieces of a body that wait to be read.
const PIECES_WAITING: usize = 2;

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

/// A body as it comes.
struct Incoming {
    body: Body,
    /// Octets it says to have; 0 when it does not say.
    announced: u64,
    /// Octets it may have.
    max: u64,
    /// Octets that came.
    len: u64,
    /// Longest pause between two pieces.
    pause_max: Duration,
}

impl Incoming {
    /// Begins a body of at most `max` octets.
    ///
    /// # Errors
    /// [`Fault::TooLarge`] when more are announced.
    fn new(body: Body, headers: &HeaderMap, max: u64) -> Result<Self, Fault> {
        let announced = headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
        if announced > max {
            return Err(Fault::TooLarge(max));
        }
        Ok(Self { body, announced, max, len: 0, pause_max: PAUSE_MAX })
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`Fault::TooLarge`]; [`Fault::TooSlow`] when nothing comes for 30 seconds; [`Fault::BrokenOff`].
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let frame = tokio::time::timeout(self.pause_max, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| Fault::TooSlow)? else { return Ok(None) };
            let Ok(frame) = frame else { return Err(Fault::BrokenOff) };
            // Trailers carry nothing that is wanted.
            let Ok(data) = frame.into_data() else { continue };
            self.len += data.len() as u64;
            return if self.len > self.max { Err(Fault::TooLarge(self.max)) } else { Ok(Some(data)) };
        }
    }
}

/// Reads all of a body, at most `max` octets of it.
///
/// # Errors
/// [`Fault::TooLarge`], at once when it is announced; [`Fault::TooSlow`] when nothing comes for 30
/// seconds; [`Fault::BrokenOff`].
pub async fn read(body: Body, headers: &HeaderMap, max: u64) -> Result<Vec<u8>, Fault> {
    read_all(Incoming::new(body, headers, max)?).await
}

/// Collects a body.
async fn read_all(mut incoming: Incoming) -> Result<Vec<u8>, Fault> {
    let room = incoming.announced.min(RESERVED_MAX);
    let mut octets = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    while let Some(piece) = incoming.next().await? {
        octets.extend_from_slice(&piece);
    }
    Ok(octets)
}

/// Two ends of a body that one thread receives while another reads it.
pub fn channel() -> (Sender, Pieces) {
    let (sender, receiver) = mpsc::channel(PIECES_WAITING);
    (Sender(sender), Pieces { receiver, piece: Bytes::new(), is_whole: false })
}

/// Where the pieces of a body are received; `None` goes over when it was whole.
pub struct Sender(mpsc::Sender<Option<Bytes>>);

impl Sender {
    /// Receives a body, at most `max` octets of it. Goes on to its end when nobody reads it any more, so
    /// that whoever sends it gets to read the reply.
    ///
    /// # Errors
    /// As [`read`]; the other end learns that the body is not whole.
    pub async fn receive(self, body: Body, headers: &HeaderMap, max: u64) -> Result<(), Fault> {
        let mut incoming = Incoming::new(body, headers, max)?;
        while let Some(piece) = incoming.next().await? {
            // Refused when the reader has seen enough.
            let _ = self.0.send(Some(piece)).await;
        }
        let _ = self.0.send(None).await;
        Ok(())
    }
}

/// The pieces of a body, to be read on a thread that may block. A body that is not whole ends in an
/// error.
pub struct Pieces {
    receiver: mpsc::Receiver<Option<Bytes>>,
    /// What is left of the last one.
    piece: Bytes,
    is_whole: bool,
}

impl io::Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.is_whole {
            match self.receiver.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.is_whole = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let taken = self.piece.split_to(out.len().min(self.piece.len()));
        out[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

/// Decompresses a body to at most `max` octets. Blocks for as long as that takes.
///
/// # Errors
/// [`Fault::TooLarge`], or [`Fault::Invalid`] when it is not what `encoding` says.
pub fn decode(octets: Vec<u8>, encoding: Encoding, max: u64) -> Result<Vec<u8>, Fault> {
    let cap = usize::try_from(max).unwrap_or(usize::MAX);
    let decoded = decode_body(encoding, &octets, cap).map_err(|error| not_decoded(error, max))?;
    let other = match decoded {
        Cow::Owned(other) => Some(other),
        Cow::Borrowed(_) => None,
    };
    Ok(other.unwrap_or(octets))
}

/// That a body is not what its encoding says, or more than `max` octets.
pub fn not_decoded(error: BodyError, max: u64) -> Fault {
    match error {
        BodyError::TooLarge { .. } => Fault::TooLarge(max),
        BodyError::Corrupt(found) => {
            Problem::at(0, "content-encoding", found, "a body that is compressed as it says").into()
        }
    }
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
        let (_sender, receiver) = mpsc::channel(1);
        let body = Body::new(super::super::reply::Chunks(receiver));
        let mut incoming = Incoming::new(body, &HeaderMap::new(), 9).expect("nothing is announced");
        incoming.pause_max = Duration::ZERO;
        assert_eq!(read_all(incoming).await, Err(Fault::TooSlow));
    }

    /// Sends a body of `pieces`, at most 9 octets, and reads it on another thread.
    async fn sent(
        pieces: &[io::Result<&'static [u8]>],
    ) -> (Result<(), Fault>, Result<Vec<u8>, io::ErrorKind>) {
        let (sender, receiver) = mpsc::channel(9);
        for piece in pieces {
            let piece = piece.as_ref().map(|octets| Bytes::from_static(octets));
            let piece = piece.map_err(|error| io::Error::from(error.kind()));
            sender.send(piece).await.expect("there is room");
        }
        drop(sender);
        let (to, mut from) = channel();
        let read = tokio::task::spawn_blocking(move || {
            let mut octets = Vec::new();
            io::Read::read_to_end(&mut from, &mut octets).map_err(|error| error.kind()).map(|_| octets)
        });
        let body = Body::new(super::super::reply::Chunks(receiver));
        let received = to.receive(body, &HeaderMap::new(), 9).await;
        (received, read.await.expect("no panic"))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_not_whole_is_not_taken_for_whole() {
        assert_eq!(sent(&[Ok(b"1234"), Ok(b""), Ok(b"56789")]).await, (Ok(()), Ok(b"123456789".to_vec())));
        assert_eq!(sent(&[]).await, (Ok(()), Ok(Vec::new())));
        let aborted = Err(io::ErrorKind::ConnectionAborted);
        assert_eq!(sent(&[Ok(b"1234567890")]).await, (Err(Fault::TooLarge(9)), aborted.clone()));
        let broken = Err(io::ErrorKind::BrokenPipe.into());
        assert_eq!(sent(&[Ok(b"1234"), broken]).await, (Err(Fault::BrokenOff), aborted));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_body_that_nobody_reads_is_received_all_the_same() {
        let (to, from) = channel();
        drop(from);
        assert_eq!(to.receive(Body::from("12345"), &HeaderMap::new(), 5).await, Ok(()));
    }

    #[test]
    fn what_is_not_compressed_as_it_says_is_invalid() {
        let found = decode(b"plain".to_vec(), Encoding::Gzip, 100);
        assert!(matches!(found, Err(Fault::Invalid(problems)) if problems[0].key == "content-encoding"));
        assert_eq!(decode(b"plain".to_vec(), Encoding::Identity, 4), Err(Fault::TooLarge(4)));
    }
}
