//! DNS over HTTPS (RFC 8484): a request answered by the same answer as a datagram.
//!
//! Replies are `private`: without a client subnet in the query they are for the client's address, which a
//! shared cache between us and its clients does not know. Layer 8. Tests: of the listeners.

use crate::dns::Transport;
use crate::http::doh::{MEDIA_TYPE, METHODS, QUERY_LEN_MAX, Query};
use crate::serve::answer::Answer;
use crate::serve::streams::Desk;
use crate::wire::freshness_s;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::cell::RefCell;
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;

/// Octets of a body that are read, at most: more than a query, because some clients take a refusal that comes
/// before they have sent everything for a broken connection.
const READ_LEN_MAX: usize = 4 * QUERY_LEN_MAX;

/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(10);

/// Answers `request`, whose query is where `found` says, for `client` by `desk`.
pub(super) async fn respond<A, B>(
    request: Request<B>,
    found: Result<Query, StatusCode>,
    client: SocketAddr,
    desk: Rc<RefCell<Desk<A>>>,
) -> Response<Full<Bytes>>
where
    A: Answer,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let is_head = request.method() == Method::HEAD;
    let query = match found {
        Ok(Query::Here(query)) => Ok(query),
        Ok(Query::Body) => body_of(request).await,
        Err(status) => {
            // What it is does not matter; see above.
            let _ = body_of(request).await;
            Err(status)
        }
    };
    let query = match query {
        Ok(query) => query,
        Err(status) => return refusal(status),
    };
    let reply = desk.borrow_mut().answer(client, Transport::Https, &query);
    match reply {
        Some(reply) => response(reply, is_head),
        // Not even an error can be said to that: it is no query.
        None => refusal(StatusCode::BAD_REQUEST),
    }
}

/// The body of `request`, whole.
async fn body_of<B>(request: Request<B>) -> Result<Vec<u8>, StatusCode>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let body = Limited::new(request.into_body(), READ_LEN_MAX);
    match timeout(BODY, body.collect()).await {
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Ok(Ok(collected)) => match collected.to_bytes() {
            body if body.len() > QUERY_LEN_MAX => Err(StatusCode::PAYLOAD_TOO_LARGE),
            body => Ok(body.to_vec()),
        },
    }
}

/// A reply, or its head alone.
fn response(reply: Vec<u8>, is_head: bool) -> Response<Full<Bytes>> {
    let cached = match freshness_s(&reply) {
        Some(seconds) => format!("private, max-age={seconds}"),
        None => "no-store".to_owned(),
    };
    let len = reply.len();
    let mut response = Response::new(Full::from(if is_head { Vec::new() } else { reply }));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    if let Ok(cached) = HeaderValue::from_str(&cached) {
        headers.insert(CACHE_CONTROL, cached);
    }
    response
}

/// Why there is no reply.
fn refusal(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
    }
    response
}
