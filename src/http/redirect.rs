//! The policy of a redirect: one request head to one response, for one generation.
//!
//! A player is sent to the best appliance (302, or 307 where the method has a body to keep), or
//! given the ranked list when it asks for JSON. Nothing is stored anywhere, so no answer may be
//! cached. Tests: `tests`.

use super::HttpOutcome;
use super::client::{Caller, Trust};
use super::content_key::content_key;
use super::location::Locator;
use super::target::{self, Target};
use crate::config;
use crate::fleet::{Scheme, Service, ServiceId};
use crate::prefix::Client;
use crate::snapshot::{Kind, Snapshot};
use crate::steer::{Choice, Key, Question, Ranking, Stage, Verdict, Want, steer};
use hyper::body::Bytes;
use hyper::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::{Method, Response, StatusCode, Uri, Version};
use serde::Serialize;
use std::net::IpAddr;

/// Seconds after which a player may ask again when nobody serves: as long as a negative DNS answer
/// made by steering may be kept (ruling 26).
const RETRY_AFTER_S: u32 = 5;
/// Methods named where the service takes all.
const ALL_METHODS: &str = "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE";
/// The header that says how the decision was made.
const DECISION: HeaderName = HeaderName::from_static("x-steer-decision");

/// What config says about redirects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whose word about the client is believed.
    pub trust: Trust,
    /// Whether any web page may read the answers.
    pub cors: bool,
    /// Whether answers say how the decision was made.
    pub decision_header: bool,
    /// Most entries of the ranked list, at least 1.
    pub locations_max: usize,
}

impl From<&config::Http> for Settings {
    fn from(http: &config::Http) -> Self {
        Self {
            trust: Trust { proxies: http.trusted_proxies.clone(), forwarded: http.forwarded },
            cors: http.cors,
            decision_header: http.decision_header,
            locations_max: usize::from(http.locations_max),
        }
    }
}

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target, in any form.
    pub uri: &'a Uri,
    /// HTTP/1.0, 1.1 or 2.
    pub version: Version,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Where the connection came from.
    pub peer: IpAddr,
    /// The scheme it was spoken in.
    pub scheme: Scheme,
}

/// Buffers of a worker, used again for every request.
#[derive(Debug, Default)]
pub struct Scratch {
    ranking: Ranking,
}

/// A response, and what to count.
#[derive(Debug)]
pub struct Answer {
    /// To be sent.
    pub response: Response<Bytes>,
    /// What became of the request.
    pub outcome: HttpOutcome,
    /// The service asked for, where it is one.
    pub service: Option<ServiceId>,
    /// What was decided, where it came to a decision.
    pub choice: Option<Choice>,
}

/// The ranked list, as it is sent.
#[derive(Debug, Serialize)]
struct Ranked<'a> {
    locations: &'a [String],
    ttl_s: u32,
    generation: u64,
}

/// Answers one request from one generation.
pub fn respond(world: &Snapshot, settings: &Settings, scratch: &mut Scratch, head: &Head<'_>) -> Answer {
    let mut answer = decide(world, settings, scratch, head);
    let is_head = *head.method == Method::HEAD;
    finish(&mut answer.response, settings, is_head);
    answer
}

/// The response without what all responses have.
fn decide(world: &Snapshot, settings: &Settings, scratch: &mut Scratch, head: &Head<'_>) -> Answer {
    let Ok(host) = target::host(head.uri, head.version, head.headers) else {
        return plain(StatusCode::BAD_REQUEST, HttpOutcome::BadRequest, "one Host is needed");
    };
    if !world.is_ready() {
        return retry_later(HttpOutcome::NotReady, RETRY_AFTER_S, "no table yet");
    }
    let Some(id) = world.fleet().service_of_host(&host) else {
        return plain(
            StatusCode::MISDIRECTED_REQUEST,
            HttpOutcome::UnknownHost,
            "this host is not served here",
        );
    };
    let service = world.fleet().service(id);
    let answer = if *head.method == Method::OPTIONS {
        options(service, settings)
    } else if !takes(service, head.method) {
        let mut answer = plain(
            StatusCode::METHOD_NOT_ALLOWED,
            HttpOutcome::MethodNotAllowed,
            "not a method of this service",
        );
        set(&mut answer.response, header::ALLOW, &methods_of(service));
        answer
    } else if let Some(target) = Target::of(head.uri) {
        serve(world, settings, scratch, head, id, &target)
    } else {
        plain(StatusCode::BAD_REQUEST, HttpOutcome::BadRequest, "the path is not visible ASCII")
    };
    Answer { service: Some(id), ..answer }
}

/// Steers a request of which host, method and target are in order.
fn serve(
    world: &Snapshot,
    settings: &Settings,
    scratch: &mut Scratch,
    head: &Head<'_>,
    id: ServiceId,
    target: &Target<'_>,
) -> Answer {
    let service = world.fleet().service(id);
    let caller = Caller::of(head.peer, head.headers, &settings.trust);
    let client = Client::of(caller.addr);
    let key = content_key(&service.content_key, &target.path_and_query);
    let want = Want::Ranked(client.family());
    let question = Question { service: id, client, want, key: Key::Content(&key) };
    let choice = steer(world, &question, &mut scratch.ranking);

    let scheme = caller.scheme.unwrap_or(head.scheme);
    let locator = Locator::new(service, scheme, client.family(), &target.path_and_query);
    let keeps_method = !matches!(*head.method, Method::GET | Method::HEAD);
    let is_list = !keeps_method && (target.asks_json || accepts_json(head.headers));
    let count = if is_list { settings.locations_max } else { 1 };
    let locations = locations(world, service, &choice, &scratch.ranking, &locator, count);

    let mut answer = match (choice.verdict, locations.first()) {
        (Verdict::Denied, _) => {
            let status = StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS;
            plain(status, HttpOutcome::Denied, "not available in your country")
        }
        (_, None) => {
            let retry_after_s = service.ttl_s.clamp(1, RETRY_AFTER_S);
            retry_later(HttpOutcome::Nobody, retry_after_s, "nobody can serve this now")
        }
        (verdict, Some(_)) if is_list => {
            answered(list(&locations, service.ttl_s, world.generation()), HttpOutcome::Listed, verdict)
        }
        (verdict, Some(best)) => answered(redirect(best, keeps_method), HttpOutcome::Redirected, verdict),
    };
    answer.choice = Some(choice);
    if settings.decision_header {
        set(&mut answer.response, DECISION, &decision_of(world, scratch, &choice));
    }
    answer
}

/// At most `count` URLs for `choice`, best first.
fn locations(
    world: &Snapshot,
    service: &Service,
    choice: &Choice,
    ranking: &Ranking,
    locator: &Locator<'_>,
    count: usize,
) -> Vec<String> {
    match choice.verdict {
        Verdict::Serve { .. } => {
            let appliances = ranking.appliances().iter().map(|id| world.fleet().appliance(*id));
            appliances.filter_map(|appliance| locator.on(appliance)).take(count).collect()
        }
        Verdict::Fallback => service.fallback_alias.iter().map(|alias| locator.on_alias(alias)).collect(),
        Verdict::Denied | Verdict::NoSuchFamily | Verdict::NoCandidate | Verdict::NobodyUp => Vec::new(),
    }
}

/// `response` with URLs in it: `outcome` where an appliance serves.
fn answered(response: Response<Bytes>, outcome: HttpOutcome, verdict: Verdict) -> Answer {
    let is_ours = matches!(verdict, Verdict::Serve { .. });
    let outcome = if is_ours { outcome } else { HttpOutcome::Fallback };
    Answer { response, outcome, service: None, choice: None }
}

/// A redirect to `location`, with the method kept or turned into GET.
fn redirect(location: &str, keeps_method: bool) -> Response<Bytes> {
    let status = if keeps_method { StatusCode::TEMPORARY_REDIRECT } else { StatusCode::FOUND };
    let mut response = with_status(status, Bytes::new());
    set(&mut response, header::LOCATION, location);
    response
}

/// The ranked list as JSON.
fn list(locations: &[String], ttl_s: u32, generation: u64) -> Response<Bytes> {
    // Strings and numbers always serialise.
    let body = serde_json::to_vec(&Ranked { locations, ttl_s, generation }).unwrap_or_default();
    let mut response = with_status(StatusCode::OK, body.into());
    set(&mut response, header::CONTENT_TYPE, "application/json");
    response
}

/// The answer to OPTIONS, which any method's preflight gets too.
fn options(service: &Service, settings: &Settings) -> Answer {
    let mut response = with_status(StatusCode::NO_CONTENT, Bytes::new());
    let methods = methods_of(service);
    set(&mut response, header::ALLOW, &methods);
    if settings.cors {
        set(&mut response, header::ACCESS_CONTROL_ALLOW_METHODS, &methods);
        set(&mut response, header::ACCESS_CONTROL_ALLOW_HEADERS, "*");
        set(&mut response, header::ACCESS_CONTROL_MAX_AGE, "86400");
    }
    Answer { response, outcome: HttpOutcome::Options, service: None, choice: None }
}

/// Whether `service` is asked with `method`.
fn takes(service: &Service, method: &Method) -> bool {
    service.methods.is_empty() || service.methods.iter().any(|taken| **taken == *method.as_str())
}

/// The methods of `service` and OPTIONS, as in `Allow`.
fn methods_of(service: &Service) -> String {
    if service.methods.is_empty() {
        return ALL_METHODS.to_owned();
    }
    let mut methods = service.methods.join(", ");
    if service.methods.iter().all(|method| &**method != "OPTIONS") {
        methods.push_str(", OPTIONS");
    }
    methods
}

/// Whether `application/json` itself is accepted, with a weight above 0 (RFC 9110 section 12.5.1).
fn accepts_json(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
        let is_refused = |part: &str| {
            let (name, weight) = part.split_once('=').unwrap_or((part, ""));
            name.trim().eq_ignore_ascii_case("q") && weight.trim().parse() == Ok(0.0_f32)
        };
        is_json && !parts.any(is_refused)
    })
}

/// The value of `X-Steer-Decision`: why, then the generation and how far the list holds.
fn decision_of(world: &Snapshot, scratch: &Scratch, choice: &Choice) -> String {
    let fleet = world.fleet();
    let mut parts = vec![match choice.verdict {
        Verdict::Serve { place, .. } => match place.kind {
            Kind::Route => "route".to_owned(),
            Kind::Geo => "geo".to_owned(),
            Kind::Default => "default".to_owned(),
        },
        Verdict::Fallback => "fallback".to_owned(),
        _ => "none".to_owned(),
    }];
    if let Verdict::Serve { place, stage, .. } = choice.verdict {
        parts.push(format!("cluster={}", in_header(&fleet.cluster(place.cluster).name)));
        let best = scratch.ranking.appliances().first();
        parts.extend(best.map(|id| format!("appliance={}", in_header(&fleet.appliance(*id).name))));
        parts.push(format!("stage={}", stage_name(stage)));
    }
    parts.extend(world.epoch().map(|epoch| format!("epoch={epoch}")));
    parts.push(format!("generation={}", world.generation()));
    parts.push(format!("scope={}", choice.scope_len));
    parts.join("; ")
}

/// `name`, which may hold any letter, for a header: octets that are not visible ASCII, and those that
/// part values there, percent-encoded (RFC 3986 section 2.1).
pub(super) fn in_header(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for octet in name.bytes() {
        if octet.is_ascii_graphic() && !matches!(octet, b'%' | b';' | b',' | b'"') {
            text.push(char::from(octet));
        } else {
            text.push_str(&format!("%{octet:02X}"));
        }
    }
    text
}

/// A stage as in `X-Steer-Decision`.
fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Healthy => "healthy",
        Stage::ShedIgnored => "shed_ignored",
        Stage::HealthBroken => "health_broken",
        Stage::Draining => "draining",
        Stage::FailOpen => "fail_open",
    }
}

/// A refusal that `text` explains to people.
fn plain(status: StatusCode, outcome: HttpOutcome, text: &'static str) -> Answer {
    let mut response = with_status(status, Bytes::from_static(text.as_bytes()));
    set(&mut response, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    Answer { response, outcome, service: None, choice: None }
}

/// 503 until `seconds` from now.
fn retry_later(outcome: HttpOutcome, seconds: u32, text: &'static str) -> Answer {
    let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, outcome, text);
    answer.response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    answer
}

/// An empty response of `status` with `body`.
fn with_status(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Sets a header; left out when `value` cannot stand in one, which no checked value is.
fn set(response: &mut Response<Bytes>, name: HeaderName, value: &str) {
    let value = HeaderValue::from_str(value);
    debug_assert!(value.is_ok(), "{name} of visible ASCII");
    if let Ok(value) = value {
        response.headers_mut().insert(name, value);
    }
}

/// What all responses have: nothing is cached, web pages may read them where config says so, and an
/// answer to HEAD keeps its length but not its body (RFC 9110 section 9.3.2).
fn finish(response: &mut Response<Bytes>, settings: &Settings, is_head: bool) {
    set(response, header::CACHE_CONTROL, "no-store");
    if settings.cors {
        set(response, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        if settings.decision_header {
            set(response, header::ACCESS_CONTROL_EXPOSE_HEADERS, "X-Steer-Decision");
        }
    }
    if is_head {
        let len = response.body().len();
        response.headers_mut().insert(header::CONTENT_LENGTH, len.into());
        *response.body_mut() = Bytes::new();
    }
}
