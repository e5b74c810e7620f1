//! Replies that send nobody to an appliance: refusals, and what came without TLS where it may not.

use super::HttpOutcome;
use super::head::Head;
use super::places::Places;
use super::redirect::Settings;
use super::reply::{Field, Reply};
use super::target::Target;
use crate::fleet::{Country, PlainHttp};
use crate::prefix::Client;
use hyper::http::StatusCode;
use serde::Serialize;
use std::fmt::Write;

/// Seconds after which a player may ask again when nobody serves: as long as a negative DNS answer
/// made by steering may be kept (ruling 26).
pub(super) const RETRY_AFTER_S: u32 = 5;

/// The type of what people read.
const PLAIN: &str = "text/plain; charset=utf-8";

/// A refusal that `text` explains to people.
pub(super) fn plain(reply: &mut Reply, status: StatusCode, text: &'static str) {
    reply.start(status);
    reply.set_body(text.as_bytes());
    reply.set(Field::ContentType, PLAIN);
}

/// 503 until `seconds` from now.
pub(super) fn retry_later(reply: &mut Reply, seconds: u32, text: &'static str) {
    plain(reply, StatusCode::SERVICE_UNAVAILABLE, text);
    reply.set_by(Field::RetryAfter, |value| write!(value, "{seconds}").is_ok());
}

/// What a client of a denied country is told, in the form that it asks for.
#[derive(Debug, Serialize)]
struct Denial<'a> {
    error: &'static str,
    service: &'a str,
    /// As GeoIP has it; `null` when it is not known.
    country: Option<&'a str>,
}

/// The refusal that a country rule makes (RFC 7725): of which service, where the client is taken to be, and by
/// whom.
pub(super) fn denied(
    reply: &mut Reply,
    settings: &Settings,
    places: &Places<'_>,
    client: Client,
    asks_json: bool,
) {
    let geography = places.world.geography();
    // An address that is nobody's on the Internet is nowhere.
    let location = Some(geography.lookup(client.addr())).filter(|_| !places.choice.peer_decides);
    let country = location.and_then(|id| geography.location(id).country);
    let (service, country) = (&*places.service.name, country.as_ref().map(Country::as_str));
    reply.start(StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS);
    if asks_json {
        let denial = Denial { error: "not available in this country", service, country };
        // Strings always serialise.
        reply.set_body(&serde_json::to_vec(&denial).unwrap_or_default());
        reply.set(Field::ContentType, "application/json");
    } else {
        let place = country.unwrap_or("a country that is not known");
        reply.set_body(format!("{service} is not available in {place}").as_bytes());
        reply.set(Field::ContentType, PLAIN);
    }
    if !settings.blocked_by.is_empty() {
        reply.set_by(Field::Link, |value| {
            write!(value, "<{}>; rel=\"blocked-by\"", settings.blocked_by).is_ok()
        });
    }
}

/// Sends a request that came without TLS to the same URL over it, or refuses it. The redirect is none of the
/// permanent kind: those are not known to every player, and nothing that we say is stored anyway.
pub(super) fn insecure(
    reply: &mut Reply,
    settings: &Settings,
    head: &Head<'_>,
    policy: PlainHttp,
    host: &str,
) -> HttpOutcome {
    let asked = head.asked.path_and_query.unwrap_or_default();
    if policy == PlainHttp::Refuse {
        plain(reply, StatusCode::FORBIDDEN, "this service is reached over https only");
        return HttpOutcome::NotSecure;
    }
    if Target::of(&head.asked, None).is_none() {
        plain(reply, StatusCode::BAD_REQUEST, "the path is not visible ASCII");
        return HttpOutcome::BadRequest;
    }
    let keeps_method = !matches!(head.method, "GET" | "HEAD");
    reply.start(if keeps_method { StatusCode::TEMPORARY_REDIRECT } else { StatusCode::FOUND });
    reply.set_by(Field::Location, |url| {
        url.push_str("https://");
        url.push_str(host);
        if settings.secure_port != 443 {
            // Writing to a string does not fail.
            let _ = write!(url, ":{}", settings.secure_port);
        }
        if !asked.starts_with('/') {
            url.push('/');
        }
        url.push_str(asked);
        true
    });
    HttpOutcome::Secured
}
