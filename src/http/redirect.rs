//! The policy of a redirect: one request head to one response, for one generation.
//!
//! A player is sent to the best appliance (302, or 307 where the method has a body to keep), or
//! given the ranked list when it asks for JSON. Nothing is stored anywhere, so no answer may be
//! cached. Tests: `tests`.

use super::HttpOutcome;
use super::client::{Caller, Trust};
use super::content_key::content_key;
use super::decision_id::{DecisionId, DecisionIds};
use super::diversity::diverse;
use super::head::{Fields, Head};
use super::limit::{Limits, Pace};
use super::location::{Locator, Mark};
use super::reply::{Field, Reply};
use super::target::{self, Target};
use crate::config;
use crate::fleet::{ApplianceId, Country, PlainHttp, Scheme, Service, ServiceId};
use crate::prefix::Client;
use crate::snapshot::{Kind, Snapshot};
use crate::steer::{Choice, Key, Question, Ranking, Stage, Verdict, Want, steer};
use hyper::http::StatusCode;
use hyper::http::header;
use serde::Serialize;
use std::fmt::Write;

/// Seconds after which a player may ask again when nobody serves: as long as a negative DNS answer
/// made by steering may be kept (ruling 26).
pub(super) const RETRY_AFTER_S: u32 = 5;
/// Seconds after which a client that made too many requests may go on: its budget is what it may make in one.
const PAUSE_S: u32 = 1;
/// Methods named where the service takes all.
const ALL_METHODS: &str = "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE";
/// The type of what people read.
const PLAIN: &str = "text/plain; charset=utf-8";
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

/// Where the first URL of a reply leads.
#[derive(Debug, Clone, Copy)]
enum Led {
    /// To an appliance.
    To(ApplianceId),
    /// To another CDN.
    Away,
}

impl Led {
    /// The appliance, where it is one.
    fn appliance(self) -> Option<ApplianceId> {
        match self {
            Self::To(id) => Some(id),
            Self::Away => None,
        }
    }
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

/// Sends a request that came without TLS to the same URL over it, or refuses it. The redirect is none of the
/// permanent kind: those are not known to every player, and nothing that we say is stored anyway.
fn insecure(
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
        reply.set(Field::Decision, &decision_of(places));
    }
}

/// Where a decision sends to.
struct Places<'a> {
    world: &'a Snapshot,
    service: &'a Service,
    choice: &'a Choice,
    ranking: &'a Ranking,
    locator: Locator<'a>,
    /// The decision's, where it is told.
    id: Option<DecisionId>,
}

impl Places<'_> {
    /// Appends the best URL to `url`, and says where it leads; `None`, with anything written, when there is
    /// none.
    fn write_best(&self, url: &mut String) -> Option<Led> {
        let start = url.len();
        match self.choice.verdict {
            Verdict::Serve { .. } => {
                let mut ids = self.ranking.appliances().iter();
                ids.find(|id| {
                    url.truncate(start);
                    self.locator.write_on(self.world.fleet().appliance(**id), url)
                })
                .map(|id| Led::To(*id))
            }
            Verdict::Fallback => self.service.fallback_alias.as_ref().map(|alias| {
                self.locator.write_on_alias(alias, url);
                Led::Away
            }),
            Verdict::Denied | Verdict::NoSuchFamily | Verdict::NoCandidate | Verdict::NobodyUp => None,
        }
    }

    /// At most `count` URLs, best first, not all of one failure domain where there are others; and where the
    /// first one leads.
    fn list(&self, count: usize) -> (Vec<String>, Option<Led>) {
        if !matches!(self.choice.verdict, Verdict::Serve { .. }) {
            let mut url = String::new();
            let led = self.write_best(&mut url);
            return (if led.is_some() { vec![url] } else { Vec::new() }, led);
        }
        let fleet = self.world.fleet();
        let url_of = |id: &ApplianceId| {
            let mut url = String::new();
            self.locator.write_on(fleet.appliance(*id), &mut url).then_some(url)
        };
        let ranked = self.ranking.appliances().iter().filter(|id| url_of(id).is_some());
        let ranked: Vec<ApplianceId> = ranked.copied().collect();
        let listed = diverse(fleet, &ranked, count);
        (listed.iter().filter_map(url_of).collect(), listed.first().map(|id| Led::To(*id)))
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
fn denied(reply: &mut Reply, settings: &Settings, places: &Places<'_>, client: Client, asks_json: bool) {
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

/// The value of `X-Steer-Decision`: why, then the generation, how far the list holds, and the decision's id.
fn decision_of(places: &Places<'_>) -> String {
    let Places { world, choice, ranking, .. } = places;
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
        let best = ranking.appliances().first();
        parts.extend(best.map(|id| format!("appliance={}", in_header(&fleet.appliance(*id).name))));
        parts.push(format!("stage={}", stage_name(stage)));
    }
    parts.extend(world.epoch().map(|epoch| format!("epoch={epoch}")));
    parts.push(format!("generation={}", world.generation()));
    parts.push(format!("scope={}", choice.scope_len));
    parts.extend(places.id.map(|id| format!("id={id}")));
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
