//! The ranked list for a playback service, which asks on a player's behalf: `POST /v1/steer`.
//!
//! The same decision, and the same list, as a player gets that asks itself with `Accept: application/json`,
//! and with it what put it together. One pure function, for both listeners that offer it: whose word about a
//! client counts is for them to know.

use super::content_key::content_key;
use super::decision_id::DecisionId;
use super::head::Head;
use super::location::{Locator, Mark};
use super::places::Places;
use super::redirect::Settings;
use super::target::{self, without_mark};
use crate::fleet::Scheme;
use crate::prefix::{Client, Family};
use crate::problem::{Problem, read_json};
use crate::snapshot::Snapshot;
use crate::steer::explain::{Ask, Explanation, explain};
use crate::steer::{Key, Question, RANKED_MAX, Ranking, Want, steer};
use hyper::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::net::IpAddr;

/// Where it is asked for.
pub const PATH: &str = "/v1/steer";

/// Octets of a body, at most.
pub const BODY_LEN_MAX: usize = 64 << 10;

/// Whether a request asks for advice, and whether it may; `None` when it is one for something else.
///
/// It is one by method and path, where its host is no service: a service's own such path is redirected. Only
/// trusted peers may: who is asked for is in the body, not at the other end.
pub fn admit(
    world: &Snapshot,
    settings: &Settings,
    head: &Head<'_>,
) -> Option<Result<(), (StatusCode, Vec<u8>)>> {
    let path = head.asked.path_and_query?.split('?').next()?;
    let host = target::host(head).ok()?;
    if head.method != "POST" || path != PATH || world.fleet().service_of_host(&host).is_some() {
        return None;
    }
    if settings.trust.covers(head.peer) {
        return Some(Ok(()));
    }
    let message = "only http.trusted_proxies may ask for others";
    Some(Err(refusal(StatusCode::FORBIDDEN, "forbidden", message)))
}

/// What is asked, as it comes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    client: String,
    service: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    scheme: Option<Scheme>,
    #[serde(default)]
    count: Option<u64>,
    #[serde(default)]
    family: Option<u64>,
}

/// What is asked, checked.
#[derive(Debug)]
struct Checked {
    client: IpAddr,
    service: String,
    /// Path and query of the content.
    path: String,
    scheme: Option<Scheme>,
    count: Option<usize>,
    family: Option<Family>,
}

impl Asked {
    /// Checks it.
    ///
    /// # Errors
    /// Everything that is wrong.
    fn check(self) -> Result<Checked, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, found: String, expected: &str| {
            problems.push(Problem::at(1, key, found, expected));
        };
        let client = self.client.parse::<IpAddr>();
        if client.is_err() {
            wrong("client", format!("{:?}", self.client), "an address");
        }
        let path = self.path.unwrap_or_else(|| "/".to_owned());
        if !path.starts_with('/') || !path.bytes().all(|octet| octet.is_ascii_graphic()) {
            wrong("path", format!("{path:?}"), "a path of visible ASCII, as /title/1/master.m3u8");
        }
        let count = self.count.map(|count| (count, usize::try_from(count).unwrap_or(0)));
        if let Some((count, _)) = count.filter(|(_, count)| !(1..=RANKED_MAX).contains(count)) {
            wrong("count", count.to_string(), "1 to 16");
        }
        let family = match self.family {
            None => None,
            Some(4) => Some(Family::V4),
            Some(6) => Some(Family::V6),
            Some(other) => {
                wrong("family", other.to_string(), "4 or 6");
                None
            }
        };
        match client {
            Ok(client) if problems.is_empty() => Ok(Checked {
                client,
                service: self.service,
                path,
                scheme: self.scheme,
                count: count.map(|(_, count)| count),
                family,
            }),
            _ => Err(problems),
        }
    }
}

/// The list, and what put it together.
#[derive(Debug, Serialize)]
struct Advice<'a> {
    locations: &'a [String],
    ttl_s: u32,
    decision: DecisionId,
    generation: u64,
    epoch: Option<u64>,
    service: &'a str,
    client: IpAddr,
    cluster: Option<&'a str>,
    #[serde(rename = "match")]
    matched: &'static str,
    prefix: Option<&'a str>,
    scope_len: u8,
    why: &'static str,
}

/// Answers `body` from `world`: a status, and JSON. `settings` say how many URLs there are at most where that is
/// not asked, and whether they carry `id`, the decision's; `scheme` is theirs where neither the service nor the
/// body says.
///
/// | status | when |
/// |---|---|
/// | 200 | it is decided; `locations` is empty when nobody may or can serve, and `why` says that |
/// | 400 | the body is not what is asked for |
/// | 404 | no service of this name |
/// | 503 | no table yet |
pub fn advise(
    world: &Snapshot,
    settings: &Settings,
    scheme: Scheme,
    id: DecisionId,
    body: &[u8],
) -> (StatusCode, Vec<u8>) {
    let asked = match read_json::<Asked>(body).map_err(|problem| vec![problem]).and_then(Asked::check) {
        Ok(asked) => asked,
        Err(problems) => return invalid(&problems),
    };
    if !world.is_ready() {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "there is no table yet");
    }
    let host = asked.service.trim_end_matches('.').to_ascii_lowercase();
    let fleet = world.fleet();
    let Some(service_id) = fleet.service_by_name(&host).or_else(|| fleet.service_of_host(&host)) else {
        return refusal(StatusCode::NOT_FOUND, "not_found", "no service of this name");
    };
    let service = fleet.service(service_id);
    let client = Client::of(asked.client);
    let family = asked.family.unwrap_or_else(|| client.family());
    let key = content_key(&service.content_key, &asked.path);
    let mut ranking = Ranking::new();
    let question =
        Question { service: service_id, client, want: Want::Each(family), key: Key::Content(&key) };
    let choice = steer(world, &question, &mut ranking);
    let mark = settings.decision_query.as_deref();
    let unmarked = mark.and_then(|name| without_mark(&asked.path, name));
    let path = unmarked.as_deref().unwrap_or(&asked.path);
    let mark = mark.map(|name| Mark { name, id });
    let locator = Locator::new(service, asked.scheme.unwrap_or(scheme), family, path, mark);
    let places = Places { world, service, choice: &choice, ranking: &ranking, locator, id: Some(id) };
    let (locations, _) = places.list(asked.count.unwrap_or(settings.locations_max));
    let ask = Ask { client: asked.client, service: &host, key: Some(&key), family: None };
    match explain(world, &ask) {
        Ok(told) => (StatusCode::OK, advice(&locations, service.ttl_s, id, &told)),
        Err(unknown) => refusal(StatusCode::NOT_FOUND, "not_found", &unknown.to_string()),
    }
}

/// The body of an answer.
fn advice(locations: &[String], ttl_s: u32, decision: DecisionId, told: &Explanation) -> Vec<u8> {
    let advice = Advice {
        locations,
        ttl_s,
        decision,
        generation: told.generation,
        epoch: told.epoch,
        service: &told.service,
        client: told.client,
        cluster: told.cluster.as_deref(),
        matched: told.matched,
        prefix: told.prefix.as_deref(),
        scope_len: told.scope_len,
        why: told.outcome,
    };
    // Strings and numbers always serialise.
    serde_json::to_vec(&advice).unwrap_or_default()
}

/// A refusal in the form of the control API.
pub fn refusal(status: StatusCode, word: &str, message: &str) -> (StatusCode, Vec<u8>) {
    (status, json!({ "error": word, "message": message }).to_string().into_bytes())
}

/// 400.
fn invalid(problems: &[Problem]) -> (StatusCode, Vec<u8>) {
    let message = problems.first().map(ToString::to_string).unwrap_or_default();
    let body = json!({ "error": "invalid", "message": message, "problems": problems });
    (StatusCode::BAD_REQUEST, body.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::State;
    use crate::http::DecisionIds;
    use crate::http::tests::{settings, world};

    /// Asks.
    fn ask(state: State, body: &str) -> (StatusCode, Vec<u8>) {
        let id = DecisionIds::default().next_id();
        advise(&world(state), &settings(), Scheme::Http, id, body.as_bytes())
    }

    /// Asks and compares status and body.
    fn check(state: State, body: &str, expected: &str) {
        let (status, answer) = ask(state, body);
        let found = format!("{} {}", status.as_u16(), String::from_utf8_lossy(&answer));
        let id = DecisionIds::default().next_id().to_string();
        assert_eq!(found.replace(&id, "DECISION"), expected, "{body}");
    }

    #[test]
    fn a_playback_service_gets_what_its_player_would() {
        check(
            State::Up,
            r#"{"client":"198.51.100.7","service":"Video.cdn.example.","path":"/a?x"}"#,
            r#"200 {"locations":["http://isp-1.cdn.example/a?x","http://192.0.2.20/a?x"],"ttl_s":30,"decision":"DECISION","generation":7,"epoch":42,"service":"video.cdn.example","client":"198.51.100.7","cluster":"ams1-isp","match":"route","prefix":"198.51.100.0/24","scope_len":24,"why":"healthy"}"#,
        );
        check(
            State::Up,
            r#"{"client":"198.51.100.7","service":"x.live.cdn.example","scheme":"https","count":1,"family":6}"#,
            r#"200 {"locations":["https://isp-1.cdn.example/"],"ttl_s":2,"decision":"DECISION","generation":7,"epoch":42,"service":"*.live.cdn.example","client":"198.51.100.7","cluster":"ams1-isp","match":"route","prefix":"198.51.100.0/24","scope_len":24,"why":"healthy"}"#,
        );
        let rest = r#""generation":7,"epoch":42,"service":"alt.cdn.example","client":"198.51.100.7","cluster":null,"match":"fallback","prefix":null,"scope_len":24,"why":"fallback"}"#;
        let alias = format!(
            r#"200 {{"locations":["https://alt.other.example/"],"ttl_s":30,"decision":"DECISION",{rest}"#
        );
        check(State::Down, r#"{"client":"198.51.100.7","service":"alt.cdn.example"}"#, &alias);
        let (status, body) = ask(State::Up, r#"{"client":"198.51.100.7","service":"geo.cdn.example"}"#);
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            (status, &body["locations"], &body["why"]),
            (StatusCode::OK, &json!([]), &json!("denied"))
        );
    }

    #[test]
    fn what_is_wrong_is_told_at_once() {
        let problems = |body: &str| {
            let (status, answer) = ask(State::Up, body);
            let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
            let text = |problem: &serde_json::Value| {
                let part = |key: &str| problem[key].as_str().expect("a text").to_owned();
                format!("{}: {}, not {}", part("key"), part("expected"), part("found"))
            };
            let list = answer["problems"].as_array().map(|list| list.iter().map(text).collect::<Vec<_>>());
            format!("{} {}", status.as_u16(), list.unwrap_or_default().join("; "))
        };
        for (body, expected) in [
            ("", "400 : JSON, not EOF while parsing a value"),
            (r#"{"service":"a"}"#, "400 client: a value, not nothing"),
            (
                r#"{"client":"x","service":"a","path":"a b","count":17,"family":5}"#,
                "400 client: an address, not \"x\"; path: a path of visible ASCII, as /title/1/master.m3u8, not \"a b\"; \
                 count: 1 to 16, not 17; family: 4 or 6, not 5",
            ),
            (r#"{"client":"::1","service":"nobody.example"}"#, "404 "),
        ] {
            assert_eq!(problems(body), expected, "{body}");
        }
        assert!(problems(r#"{"client":"::1","service":"a","x":1}"#).starts_with("400 x: "));
        let bad = r#"{"client":"::1","service":"a","path":"/\r\nSet-Cookie:a"}"#;
        assert!(problems(bad).starts_with("400 path: "), "no header or line is made of it");
    }
}
