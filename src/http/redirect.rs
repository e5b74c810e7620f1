//! The policy of a redirect: one request head to one response, for one generation.
//!
//! A player is sent to the best appliance (302, or 307 where the method has a body to keep), or
//! given the ranked list when it asks for JSON. Nothing is stored anywhere, so no answer may be
//! cached. Tests: `tests`.

use super::HttpOutcome;
use super::client::{Caller, Trust};
use super::content_key::content_key;
use super::decision_id::{DecisionId, DecisionIds};
use super::head::{Fields, Head};
use super::limit::{Limits, Pace};
use super::location::{Locator, Mark};
use super::places::{Led, Places};
use super::refuse::{RETRY_AFTER_S, denied, insecure, plain, retry_later};
use super::reply::{Field, Reply};
use super::target::{self, Target};
use crate::config;
use crate::fleet::{ApplianceId, PlainHttp, Scheme, Service, ServiceId};
use crate::prefix::Client;
use crate::snapshot::Snapshot;
use crate::steer::{Choice, Key, Question, Ranking, Verdict, Want, steer};
use hyper::http::StatusCode;
use hyper::http::header;
use serde::Serialize;
use std::fmt::Write;

/// Seconds after which a client that made too many requests may go on: its budget is what it may make in one.
const PAUSE_S: u32 = 1;
/// Seconds for which a client may remember that HTTP/3 is spoken: a day, as others say.
const ALTERNATIVE_S: u32 = 86_400;
/// Methods named where the service takes all.
const ALL_METHODS: &str = "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE";
/// What config says about redirects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whose word about the client is believed.
    pub trust: Trust,
    /// Whether any web page may read the answers.
    pub cors: bool,
    /// Whether answers say how the decision was made.
    pub decision_header: bool,
    /// The parameter of URLs to appliances that says which decision gave them.
    pub decision_query: Option<Box<str>>,
    /// Most entries of the ranked list, at least 1.
    pub locations_max: usize,
    /// Who keeps content from countries, as a URL; empty: it is not said.
    pub blocked_by: Box<str>,
    /// Port of URLs over TLS to this server.
    pub secure_port: u16,
    /// Whether HTTP/3 is spoken on that port.
    pub http3: bool,
    /// How many requests a client network may make.
    pub limits: Limits,
}

impl From<&config::Http> for Settings {
    fn from(http: &config::Http) -> Self {
        Self {
            trust: Trust { proxies: http.trusted_proxies.clone(), forwarded: http.forwarded },
            cors: http.cors,
            decision_header: http.decision_header,
            decision_query: http.decision_query.clone(),
            locations_max: usize::from(http.locations_max),
            blocked_by: http.blocked_by.clone(),
            secure_port: http.secure_port(),
            http3: http.http3,
            limits: Limits::from(&http.limits),
        }
    }
}

/// Buffers of a worker, used again for every request.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) ranking: Ranking,
    pub(super) reply: Reply,
    pub(super) ids: DecisionIds,
    /// What requests are counted by.
    pace: Pace,
}

impl Scratch {
    /// Those of a thread whose decisions are named by `ids`, and whose requests are taken from budgets.
    pub fn new(ids: DecisionIds, pace: Pace) -> Self {
        Self { ids, pace, ..Self::default() }
    }

    /// Forgets everything but which ids were given, and the budgets.
    pub fn forget(&mut self) {
        let Self { ranking, reply, ids: _, pace: _ } = self;
        (*ranking, *reply) = Default::default();
    }

    /// The id of the next decision.
    pub fn next_id(&mut self) -> DecisionId {
        self.ids.next_id()
    }

    /// Says that it is `now_us`, in microseconds since the server started.
    pub fn set_time(&mut self, now_us: u64) {
        self.pace.now_us = now_us;
    }

    /// The reply of the last [`respond`].
    pub fn reply(&self) -> &Reply {
        &self.reply
    }
}

/// What to count of a request.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// What became of it.
    pub outcome: HttpOutcome,
    /// The service asked for, where it is one.
    pub service: Option<ServiceId>,
    /// What was decided, where it came to a decision.
    pub choice: Option<Choice>,
    /// The id that the reply says the decision has, where it does.
    pub id: Option<DecisionId>,
    /// The appliance that the client is sent to, or that is the first of its list.
    pub appliance: Option<ApplianceId>,
}

/// The ranked list, as it is sent.
#[derive(Debug, Serialize)]
struct Ranked<'a> {
    locations: &'a [String],
    ttl_s: u32,
    generation: u64,
    decision: Option<DecisionId>,
}

/// Answers one request from one generation; the reply is in `scratch`.
pub fn respond(world: &Snapshot, settings: &Settings, scratch: &mut Scratch, head: &Head<'_>) -> Answer {
    let answer = decide(world, settings, scratch, head);
    finish(&mut scratch.reply, settings, head.is_head());
    answer
}

/// Says in the reply that the same is to be had over HTTP/3, where it is (RFC 7838): to who came over TLS,
/// because others cannot know whether to believe it.
pub fn announce(settings: &Settings, scratch: &mut Scratch, head: &Head<'_>) {
    if head.scheme == Scheme::Https && settings.http3 {
        let (port, age_s) = (settings.secure_port, ALTERNATIVE_S);
        scratch.reply.set_by(Field::AltSvc, |value| write!(value, "h3=\":{port}\"; ma={age_s}").is_ok());
    }
}

/// The reply without what all replies have.
fn decide(world: &Snapshot, settings: &Settings, scratch: &mut Scratch, head: &Head<'_>) -> Answer {
    let undecided = |outcome, service| Answer { outcome, service, choice: None, id: None, appliance: None };
    let nothing = |outcome| undecided(outcome, None);
    let reply = &mut scratch.reply;
    let caller = Caller::of(head.peer, head.fields, &settings.trust);
    // A proxy that names nobody speaks for many.
    let is_exempt = || settings.trust.covers(caller.addr);
    if !scratch.pace.allows(&settings.limits, head.peer, caller.addr) && !is_exempt() {
        plain(reply, StatusCode::TOO_MANY_REQUESTS, "too many requests of your network");
        reply.set_by(Field::RetryAfter, |value| write!(value, "{PAUSE_S}").is_ok());
        return nothing(HttpOutcome::TooMany);
    }
    let Ok(host) = target::host(head) else {
        plain(reply, StatusCode::BAD_REQUEST, "one Host is needed");
        return nothing(HttpOutcome::BadRequest);
    };
    if !world.is_ready() {
        retry_later(reply, RETRY_AFTER_S, "no table yet");
        return nothing(HttpOutcome::NotReady);
    }
    let Some(id) = world.fleet().service_of_host(&host) else {
        plain(reply, StatusCode::MISDIRECTED_REQUEST, "this host is not served here");
        return nothing(HttpOutcome::UnknownHost);
    };
    let service = world.fleet().service(id);
    let undecided = |outcome| undecided(outcome, Some(id));
    let scheme = caller.scheme.unwrap_or(head.scheme);
    let answer = if scheme == Scheme::Http && service.plain_http != PlainHttp::Serve {
        undecided(insecure(reply, settings, head, service.plain_http, &host))
    } else if head.method == "OPTIONS" {
        options(reply, service, settings);
        undecided(HttpOutcome::Options)
    } else if !takes(service, head.method) {
        plain(reply, StatusCode::METHOD_NOT_ALLOWED, "not a method of this service");
        reply.set(Field::Allow, &methods_of(service));
        undecided(HttpOutcome::MethodNotAllowed)
    } else if let Some(target) = Target::of(&head.asked, settings.decision_query.as_deref()) {
        serve(world, settings, scratch, head, id, (&caller, &target))
    } else {
        plain(reply, StatusCode::BAD_REQUEST, "the path is not visible ASCII");
        undecided(HttpOutcome::BadRequest)
    };
    // Only a connection that is secure is believed, so only there it is said (RFC 6797 section 7.2).
    if let (Scheme::Https, Some(seconds)) = (scheme, service.hsts_s) {
        let write = |value: &mut String| write!(value, "max-age={seconds}").is_ok();
        scratch.reply.set_by(Field::StrictTransport, write);
    }
    answer
}

/// Steers a request of which host, method and target are in order.
fn serve(
    world: &Snapshot,
    settings: &Settings,
    scratch: &mut Scratch,
    head: &Head<'_>,
    id: ServiceId,
    (caller, target): (&Caller, &Target<'_>),
) -> Answer {
    let Scratch { ranking, reply, ids, .. } = scratch;
    let (service_id, service) = (id, world.fleet().service(id));
    let client = Client::of(caller.addr);
    let key = content_key(&service.content_key, &target.path_and_query);
    let scheme = caller.scheme.unwrap_or(head.scheme);
    let keeps_method = !matches!(head.method, "GET" | "HEAD");
    let is_list = !keeps_method && (target.asks_json || accepts_json(head.fields));
    let mark = settings.decision_query.as_deref();
    let id = (is_list || settings.decision_header || mark.is_some()).then(|| ids.next_id());
    let mark = mark.zip(id).map(|(name, id)| Mark { name, id });
    let locator = Locator::new(service, scheme, client.family(), &target.path_and_query, mark);
    let ask = |want| Question { service: service_id, client, want, key: Key::Content(&key) };
    // A redirect needs the first of the ranked list only, which costs less to find, and is written at
    // once. The whole list is ranked where that has no URL, or nobody of the client's family serves.
    if !is_list {
        let choice = steer(world, &ask(Want::Family(client.family(), 1)), ranking);
        let places = Places { world, service, choice: &choice, ranking, locator, id };
        if let Verdict::Serve { .. } = choice.verdict
            && let Some(led) = redirect(reply, &places, keeps_method)
        {
            vary(reply, keeps_method);
            decided(reply, settings, &places);
            let (outcome, appliance) = (HttpOutcome::Redirected, led.appliance());
            return Answer { outcome, service: Some(service_id), choice: Some(choice), id, appliance };
        }
    }
    let whole = if is_list { Want::Each(client.family()) } else { Want::Ranked(client.family()) };
    let choice = steer(world, &ask(whole), ranking);
    let places = Places { world, service, choice: &choice, ranking, locator, id };
    let led = if choice.verdict == Verdict::Denied {
        denied(reply, settings, &places, client, is_list);
        None
    } else if is_list {
        list(reply, &places, settings.locations_max)
    } else {
        redirect(reply, &places, keeps_method)
    };
    let outcome = match led {
        Some(Led::To(_)) if is_list => HttpOutcome::Listed,
        Some(Led::To(_)) => HttpOutcome::Redirected,
        Some(Led::Away) => HttpOutcome::Fallback,
        None if choice.verdict == Verdict::Denied => HttpOutcome::Denied,
        None => {
            retry_later(reply, service.ttl_s.clamp(1, RETRY_AFTER_S), "nobody can serve this now");
            HttpOutcome::Nobody
        }
    };
    vary(reply, keeps_method);
    decided(reply, settings, &places);
    let appliance = led.and_then(Led::appliance);
    Answer { outcome, service: Some(service_id), choice: Some(choice), id, appliance }
}

/// Says that it depends on what the client accepts whether it gets JSON; other methods are never asked.
fn vary(reply: &mut Reply, keeps_method: bool) {
    if !keeps_method {
        reply.set(Field::Vary, "Accept");
    }
}

/// Says how the decision was made, where config says so.
fn decided(reply: &mut Reply, settings: &Settings, places: &Places<'_>) {
    if settings.decision_header {
        reply.set(Field::Decision, &places.told());
    }
}

/// A redirect to the best of `places`, with the method kept or turned into GET, and where that is. `None`
/// when there is none.
fn redirect(reply: &mut Reply, places: &Places<'_>, keeps_method: bool) -> Option<Led> {
    reply.start(if keeps_method { StatusCode::TEMPORARY_REDIRECT } else { StatusCode::FOUND });
    let mut led = None;
    let is_set = reply.set_by(Field::Location, |url| {
        led = places.write_best(url);
        led.is_some()
    });
    led.filter(|_| is_set)
}

/// At most `count` of `places` as JSON, and where the first one is. `None` when there are none.
fn list(reply: &mut Reply, places: &Places<'_>, count: usize) -> Option<Led> {
    let (locations, led) = places.list(count);
    let (ttl_s, generation) = (places.service.ttl_s, places.world.generation());
    let ranked = Ranked { locations: &locations, ttl_s, generation, decision: places.id };
    reply.start(StatusCode::OK);
    // Strings and numbers always serialise.
    reply.set_body(&serde_json::to_vec(&ranked).unwrap_or_default());
    reply.set(Field::ContentType, "application/json");
    led
}

/// The answer to OPTIONS, which any method's preflight gets too.
fn options(reply: &mut Reply, service: &Service, settings: &Settings) {
    reply.start(StatusCode::NO_CONTENT);
    let methods = methods_of(service);
    reply.set(Field::Allow, &methods);
    if settings.cors {
        reply.set(Field::AllowMethods, &methods);
        reply.set(Field::AllowHeaders, "*");
        reply.set(Field::MaxAge, "86400");
    }
}

/// Whether `service` is asked with `method`.
fn takes(service: &Service, method: &str) -> bool {
    service.methods.is_empty() || service.methods.iter().any(|taken| **taken == *method)
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
fn accepts_json(fields: Fields<'_>) -> bool {
    // Most lines need no closer look.
    let may_name_json = |line: &&[u8]| line.iter().any(|octet| matches!(octet, b'j' | b'J'));
    let is_text = |octet: &u8| matches!(octet, b'\t' | 0x20..0x7f);
    let lines = fields.all(&header::ACCEPT).filter(may_name_json).filter(|line| line.iter().all(is_text));
    let lines = lines.filter_map(|line| std::str::from_utf8(line).ok());
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

/// What all replies have: nothing is cached, web pages may read them where config says so, and an
/// answer to HEAD has no body.
fn finish(reply: &mut Reply, settings: &Settings, is_head: bool) {
    reply.set(Field::CacheControl, "no-store");
    if settings.cors {
        reply.set(Field::AllowOrigin, "*");
        if settings.decision_header {
            reply.set(Field::ExposeHeaders, "X-Steer-Decision");
        }
    }
    if is_head {
        reply.drop_body();
    }
}
