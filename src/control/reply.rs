//! Replies: JSON, text, and tables that are written while they are sent.
//!
//! Layer 7.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::body::{Bytes, Frame};
use serde::Serialize;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Pieces of a streamed reply that may wait to be sent.
const PIECES_WAITING: usize = 4;

/// Octets of a piece of a streamed reply.
const PIECE_LEN: usize = 64 << 10;

/// A reply with `body` as it is.
pub fn with(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// `value` as JSON, and a line feed for people at terminals.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut octets) => {
            octets.push(b'\n');
            with(status, "application/json", octets)
        }
        Err(error) => {
            tracing::error!(%error, "a reply that JSON cannot hold");
            with(StatusCode::INTERNAL_SERVER_ERROR, "application/json", "{\"error\":\"internal\"}\n")
        }
    }
}

/// A 200 whose body `write` makes on a thread of its own while it is sent. When `write` fails or the
/// client goes away, the body breaks off, which both versions of HTTP tell from an end.
pub fn stream(
    media_type: &'static str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Response {
    let (sender, receiver) = mpsc::channel(PIECES_WAITING);
    tokio::task::spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(PIECE_LEN, Pieces(sender.clone()));
        if let Err(error) = write(&mut out).and_then(|()| out.flush()) {
            // Nobody is there to hear it when the client went away.
            let _ = sender.blocking_send(Err(error));
        }
    });
    with(StatusCode::OK, media_type, Body::new(Chunks(receiver)))
}

/// Where pieces are written to be sent.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(octets);
        self.0.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body of pieces that come over a channel.
pub struct Chunks(pub mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
