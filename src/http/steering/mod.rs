//! Content steering: the order of pathways for one player's session, as HLS and DASH players poll for it
//! (RFC 8216bis section 7, ETSI TS 103 998).
//!
//! `GET /steering/{service}` is answered at any host. It is the decision of a redirect asked for once in a
//! few minutes; what a player says with it is read leniently (`params`), and what has to be remembered of
//! it rides along signed (`session`). Why each kind of error is what it is: `docs/steering.md`.
//! Tests: `tests`, and of each part in its file.

mod pace;
mod params;
mod pathways;
mod session;
#[cfg(test)]
mod tests;

pub use pace::Demotion;
pub use pathways::PathwayKind;
pub use session::SessionSecret;

use super::client::{Caller, Trust};
use super::content_key::content_key;
use super::head::Head;
use super::location::Locator;
use super::redirect::{Answer, Scratch};
use super::refuse::{RETRY_AFTER_S, plain, retry_later};
use super::reply::{Field, Reply};
use super::{HttpOutcome, target};
use crate::config;
use crate::fleet::{Scheme, Service, ServiceId};
use crate::metrics::Label;
use crate::policy::rendezvous::KeyHash;
use crate::prefix::{Client, Family, Prefix};
use crate::snapshot::{Found, Snapshot, View};
use crate::steer::{Key, Question, Want, is_affected, key_of, steer_found};
use crate::units::UnixMs;
use hyper::http::StatusCode;
use pace::{Pace, PathwayHash};
use params::Params;
use pathways::{Cloned, Decided, Way, way_called};
use serde::Serialize;
use session::{Session, Unusable, seconds, since};
use std::borrow::Cow;
use std::fmt::Write;

/// What stands before the service in a path.
const PATH: &str = "/steering/";

/// Methods that are answered.
const METHODS: &str = "GET, HEAD, OPTIONS";

/// How long a session's network is taken from its token, seconds: three polls at the default TTL. A device
/// whose address flaps (two families, a carrier's pool) keeps its order; one that moves to another network is
/// followed a little later.
const NETWORK_HELD_S: i32 = 900;

/// Least bits of a client's network in a token (RFC 7871 section 11.1), for finer tables to come.
const NETWORK_LEN: [(Family, u8); 2] = [(Family::V4, 24), (Family::V6, 56)];

/// Silence after which a session's throughput is forgotten, seconds, where two TTLs are shorter.
const PACE_HELD_S: u32 = 1800;

/// What config says about content steering.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The TTLs, where players reach this server, and when a pathway is slow.
    pub rules: config::Steering,
    /// The first signs sessions, all are accepted.
    pub secrets: Vec<SessionSecret>,
}

/// What became of the session that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionSeen {
    /// It names none: a player's first request.
    None,
    /// It is ours.
    Valid,
    /// It was ours too long ago.
    Expired,
    /// It is not ours.
    Foreign,
}

impl Label for SessionSeen {
    const ALL: &'static [Self] = &[Self::None, Self::Valid, Self::Expired, Self::Foreign];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Foreign => "foreign",
        }
    }
}

/// What to count of a poll.
#[derive(Debug, Clone)]
pub struct Polled {
    /// As of any request.
    pub answer: Answer,
    /// What became of its session; `None` where it got no manifest.
    pub session: Option<SessionSeen>,
    /// What its reports were about.
    pub reports: Vec<PathwayKind>,
    /// What they changed.
    pub demotion: Option<Demotion>,
}

impl Polled {
    /// An answer that is no manifest.
    fn other(outcome: HttpOutcome, service: Option<ServiceId>) -> Self {
        let answer = Answer { outcome, service, choice: None, id: None, appliance: None };
        Self { answer, session: None, reports: Vec::new(), demotion: None }
    }
}

/// What polls are answered from.
#[derive(Debug, Clone, Copy)]
pub struct Desk<'a> {
    /// The generation.
    pub world: &'a Snapshot,
    /// Whose word about the client is believed.
    pub trust: &'a Trust,
    /// What config says.
    pub settings: &'a Settings,
    /// The time.
    pub now: UnixMs,
}

/// A manifest, as it is sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
struct Manifest<'a> {
    /// Of the format.
    version: u8,
    /// Seconds.
    ttl: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reload_uri: Option<String>,
    pathway_priority: &'a [&'a str],
    /// What drafts of DASH content steering called it, and some players still do.
    #[serde(skip_serializing_if = "Option::is_none")]
    service_location_priority: Option<&'a [&'a str]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pathway_clones: Vec<PathwayClone<'a>>,
}

/// A pathway that playlists do not name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
struct PathwayClone<'a> {
    base_id: &'a str,
    id: &'a str,
    uri_replacement: UriReplacement<'a>,
}

/// What is different in its URIs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
struct UriReplacement<'a> {
    host: Cow<'a, str>,
}

impl<'a> PathwayClone<'a> {
    /// How players are told of `way`; `None` where playlists do.
    ///
    /// The port is part of it in the form of DASH only: dash.js writes the clone's URL without the base's port.
    /// HLS players leave that port as it is, and take no host that has one (RFC 8216bis section 7.2).
    fn of(way: &'a Way<'_>, is_dash: bool) -> Option<Self> {
        let Cloned { base, host, port } = way.clone.as_ref()?;
        let host = if is_dash { Cow::Owned(format!("{host}{port}")) } else { Cow::Borrowed(host.as_str()) };
        Some(Self { base_id: base, id: &way.told, uri_replacement: UriReplacement { host } })
    }
}

/// Whether `path_and_query` may ask for content steering.
pub fn is_path(path_and_query: &str) -> bool {
    path_and_query.starts_with(PATH)
}

/// Answers a request for content steering into `scratch`; `None` when it is a request for something else.
///
/// It is one by its path, at any host. Where that names no service it is none at hosts that are services:
/// they may have such paths of their own.
pub fn respond(desk: &Desk<'_>, scratch: &mut Scratch, head: &Head<'_>) -> Option<Polled> {
    let rest = head.asked.path_and_query?.strip_prefix(PATH)?;
    let host = target::host(head).ok()?;
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    let name = params::decoded(name).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let (fleet, reply) = (desk.world.fleet(), &mut scratch.reply);
    let is_name = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'*');
    let found = fleet
        .service_by_name(name)
        .or_else(|| fleet.service_of_host(name).filter(|_| name.len() <= 253 && name.bytes().all(is_name)));
    let polled = if !desk.world.is_ready() {
        retry_later(reply, RETRY_AFTER_S, "no table yet");
        Polled::other(HttpOutcome::NotReady, None)
    } else if let Some(id) = found {
        poll(desk, scratch, head, id, query)
    } else if desk.world.has_departed(name) {
        plain(reply, StatusCode::GONE, "this service is no more");
        Polled::other(HttpOutcome::SteeringGone, None)
    } else if fleet.service_of_host(&host).is_some() {
        return None;
    } else {
        plain(reply, StatusCode::NOT_FOUND, "no service of this name");
        Polled::other(HttpOutcome::SteeringUnknown, None)
    };
    finish(&mut scratch.reply, head.is_head());
    Some(polled)
}

/// Answers a poll about the service `id`.
fn poll(desk: &Desk<'_>, scratch: &mut Scratch, head: &Head<'_>, id: ServiceId, query: &str) -> Polled {
    let reply = &mut scratch.reply;
    match head.method {
        "GET" | "HEAD" => {}
        "OPTIONS" => {
            reply.start(StatusCode::NO_CONTENT);
            reply.set(Field::Allow, METHODS);
            reply.set(Field::AllowMethods, METHODS);
            reply.set(Field::AllowHeaders, "*");
            reply.set(Field::MaxAge, "86400");
            return Polled::other(HttpOutcome::Options, Some(id));
        }
        _ => {
            plain(reply, StatusCode::METHOD_NOT_ALLOWED, "steering is asked for by GET");
            reply.set(Field::Allow, METHODS);
            return Polled::other(HttpOutcome::MethodNotAllowed, Some(id));
        }
    }
    let said = Params::of(query);
    let caller = Caller::of(head.peer, head.fields, desk.trust);
    let client = said.client.filter(|_| desk.trust.covers(head.peer)).unwrap_or(caller.addr);
    let here = desk.world.view(id).find(Client::of(client));
    if here.is_denied {
        plain(reply, StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS, "not available in your country");
        return Polled::other(HttpOutcome::Denied, Some(id));
    }
    let (session, seen) = match said.session.as_deref().map(|token| desk.open(id, token)) {
        None => (None, SessionSeen::None),
        Some(Ok(session)) => (Some(session), SessionSeen::Valid),
        Some(Err(Unusable::Expired)) => (None, SessionSeen::Expired),
        Some(Err(Unusable::Foreign)) => (None, SessionSeen::Foreign),
    };
    let scheme = caller.scheme.unwrap_or(head.scheme);
    let asked = Asked { id, client: Client::of(client), scheme, said, session };
    let polled = asked.answer(desk, scratch, here);
    Polled { session: Some(seen), ..polled }
}

impl Desk<'_> {
    /// The session of a token that was made for the service `id`.
    fn open(&self, id: ServiceId, token: &str) -> Result<Session, Unusable> {
        Session::open(token, &self.settings.secrets, &self.world.fleet().service(id).name, self.now)
    }
}

/// A poll that gets a manifest.
#[derive(Debug)]
struct Asked {
    id: ServiceId,
    client: Client,
    scheme: Scheme,
    said: Params,
    /// The session that it goes on with.
    session: Option<Session>,
}

impl Asked {
    /// Answers it. `here` is the list of the client as it asks.
    fn answer(&self, desk: &Desk<'_>, scratch: &mut Scratch, here: Found<'_>) -> Polled {
        let Scratch { ranking, reply, .. } = scratch;
        let world = desk.world;
        let service = world.fleet().service(self.id);
        let (network, learnt_s, client, found) = self.place(desk, here);
        let path = self.said.path.as_deref().map(|path| content_key(&service.content_key, path));
        let key = match (&self.session, &path) {
            (Some(session), _) => Key::Hashed(session.key),
            (None, Some(path)) => Key::Content(path),
            (None, None) => Key::Dns,
        };
        let question = Question { service: self.id, client, want: Want::Each(client.family()), key };
        let choice = steer_found(world, &question, &found, ranking);
        let key = key_of(world, &question, &found);
        let pace = self.session.map_or_else(Pace::default, |session| session.pace);
        let mut session = Session { issued_s: seconds(desk.now), network, learnt_s, key, pace };
        let locator = Locator::new(service, self.scheme, client.family(), "", None);
        let (found, choice, ranking) = (&found, &choice, &*ranking);
        let decided = |pace| Decided { world, service, found, choice, ranking, pace, locator };
        let ways = decided(&pace).ways();
        let (reports, demotion) = self.take_reports(desk, &ways, &mut session.pace);
        let ways = if session.pace == pace { ways } else { decided(&session.pace).ways() };
        let is_affected = is_affected(world, self.id, client.family(), found, choice);
        let ttl_s = ttl_s(&desk.settings.rules, is_affected, &session);
        let is_told = self.write(desk, reply, service, &ways, &session, ttl_s);
        let outcome = if is_told { HttpOutcome::Steered } else { HttpOutcome::Nobody };
        let appliance = ranking.appliances().first().copied();
        let answer = Answer { outcome, service: Some(self.id), choice: Some(*choice), id: None, appliance };
        Polled { answer, session: None, reports, demotion }
    }

    /// Where the client is: its network, when that was learnt, whoever stands for it, and their list.
    fn place<'a>(&self, desk: &Desk<'a>, here: Found<'a>) -> (Prefix, u32, Client, Found<'a>) {
        if let Some(session) = &self.session
            && since(session.learnt_s, desk.now) < NETWORK_HELD_S
        {
            let client = Client::of(session.network.first());
            let found = desk.world.view(self.id).find(client);
            if !found.is_denied {
                return (session.network, session.learnt_s, client, found);
            }
        }
        (network_of(desk.world.view(self.id), self.client, &here), seconds(desk.now), self.client, here)
    }

    /// Takes what the player says of pathways' throughput: what it was about, and what it changed.
    fn take_reports(
        &self,
        desk: &Desk<'_>,
        ways: &[Way<'_>],
        pace: &mut Pace,
    ) -> (Vec<PathwayKind>, Option<Demotion>) {
        let kind = |pathway: &str| way_called(ways, pathway).map_or(PathwayKind::Unknown, |way| way.kind);
        let kinds = self.said.reports.iter().map(|report| kind(&report.pathway)).collect();
        let low_bps = u64::from(desk.settings.rules.demote_below_kbps) * 1000;
        let silent_max_s = desk.settings.rules.ttl_s.saturating_mul(2).max(PACE_HELD_S);
        let is_old = self.session.is_some_and(|session| {
            u32::try_from(since(session.issued_s, desk.now)).is_ok_and(|age_s| age_s > silent_max_s)
        });
        if low_bps == 0 || is_old {
            *pace = Pace::default();
        }
        if low_bps == 0 {
            return (kinds, None);
        }
        let known =
            self.said.reports.iter().filter_map(|report| {
                Some((PathwayHash::of(&way_called(ways, &report.pathway)?.id), report.bps))
            });
        (kinds, pace.poll(&known.collect::<Vec<_>>(), low_bps))
    }

    /// Writes the manifest; `false`, with a refusal written, where there is no pathway.
    fn write(
        &self,
        desk: &Desk<'_>,
        reply: &mut Reply,
        service: &Service,
        ways: &[Way<'_>],
        session: &Session,
        ttl_s: u32,
    ) -> bool {
        let ids: Vec<&str> = ways.iter().map(|way| &*way.told).collect();

        if ids.is_empty() {
            retry_later(reply, RETRY_AFTER_S, "nobody may serve this client");
            return false;
        }
        let manifest = Manifest {
            version: 1,
            ttl: ttl_s,
            reload_uri: self.reload_uri(desk, service, session),
            pathway_priority: &ids,
            service_location_priority: self.said.is_dash.then_some(&ids),
            pathway_clones: ways.iter().filter_map(|way| PathwayClone::of(way, self.said.is_dash)).collect(),
        };
        reply.start(StatusCode::OK);
        // Strings and numbers always serialise.
        reply.set_body(&serde_json::to_vec(&manifest).unwrap_or_default());
        let hls = "application/vnd.apple.steering-list";
        reply.set(Field::ContentType, if self.said.is_dash { "application/json" } else { hls });
        true
    }

    /// What the player asks next time; `None` where nobody can sign: the same as this time.
    fn reload_uri(&self, desk: &Desk<'_>, service: &Service, session: &Session) -> Option<String> {
        let token = session.seal(&desk.settings.secrets, &service.name)?;
        let base = desk.settings.rules.url.as_deref().unwrap_or_default();
        let mut uri = format!("{base}{PATH}{}?session={token}", service.name);
        if self.said.is_dash {
            uri.push_str("&format=dash");
        }
        Some(uri)
    }
}

/// The network of a client as far as its list depends on it. What scopes do not hold for stays whole: space that
/// decides nothing for others, and networks whose first address is of such space, which does not shorten its
/// neighbours' scopes (ruling 10), or stands for somebody's of the other family.
fn network_of(view: &View, client: Client, found: &Found<'_>) -> Prefix {
    let (addr, bits) = (client.addr(), client.family().bits());
    let least = NETWORK_LEN.iter().find(|(of, _)| *of == client.family()).map_or(0, |(_, len)| *len);
    let network = Prefix::around(addr, found.scope_len.max(least).min(bits));
    let first = Client::of(network.first());
    let is_odd = first.addr() != network.first() || view.find(first).is_special;
    if found.is_special || is_odd { Prefix::around(addr, bits) } else { network }
}

/// Seconds until the player asks again: not all of a crowd at once, and each always after the same time.
fn ttl_s(rules: &config::Steering, is_affected: bool, session: &Session) -> u32 {
    let whole_s = if is_affected { rules.ttl_unhealthy_s } else { rules.ttl_s };
    let mut who = String::new();
    // Writing to a string does not fail.
    let _ = write!(who, "{} {:x}", session.network, session.key.bits());
    let per_mille = 900 + KeyHash::of(who.as_bytes()).bits() % 201;
    let jittered_s = (u64::from(whole_s) * per_mille + 500) / 1000;
    u32::try_from(jittered_s).unwrap_or(u32::MAX).max(1)
}

/// What all answers have: any web page may read them, nobody may keep them, and one to HEAD has no body.
fn finish(reply: &mut Reply, is_head: bool) {
    reply.set(Field::CacheControl, "no-store");
    reply.set(Field::AllowOrigin, "*");
    if is_head {
        reply.drop_body();
    }
}
