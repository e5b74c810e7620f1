//! `POST /v1/steer` where redirects are listened for: the body read, the answer sent.
//!
//! Who may ask, and what is answered, is [`crate::http::advice`]'s. Layer 8. Tests: over sockets, in
//! `tests/outsiders/advice`.

use crate::fleet::Scheme;
use crate::http::advice::{BODY_LEN_MAX, refusal};
use crate::serve::http::Respond;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(10);

/// Answers `request`, which came by `scheme` from whom `admitted` says, by `desk`.
pub(super) async fn respond<R, B>(
    request: Request<B>,
    admitted: Result<(), (StatusCode, Vec<u8>)>,
    scheme: Scheme,
    desk: Rc<RefCell<R>>,
) -> Response<Full<Bytes>>
where
    R: Respond,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let body = body_of(request).await;
    let (status, told) = match (admitted, body) {
        (Ok(()), Ok(body)) => desk.borrow_mut().advise(scheme, &body),
        (Err(refused), _) | (Ok(()), Err(refused)) => refused,
    };
    desk.borrow_mut().note_advice(status == StatusCode::OK);
    let mut response = Response::new(Full::from(told));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The body of `request`, whole. It is read before a refusal too: some clients take one that comes before they
/// have sent everything for a broken connection.
async fn body_of<B>(request: Request<B>) -> Result<Bytes, (StatusCode, Vec<u8>)>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let body = Limited::new(request.into_body(), BODY_LEN_MAX);
    match timeout(BODY, body.collect()).await {
        Err(_) => Err(refusal(StatusCode::REQUEST_TIMEOUT, "timeout", "the body stopped coming")),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "a body has at most 65536 octets"))
        }
        Ok(Err(_)) => Err(refusal(StatusCode::BAD_REQUEST, "broken_off", "the body broke off")),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
    }
}
