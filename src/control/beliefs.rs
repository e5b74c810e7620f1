//! Calls about health: what monitors and appliances report, what operators override, what follows.
//!
//! Layer 7.

use super::audit::Outcome;
use super::refuse::Fault;
use super::{Shared, Written, blocking, document, reply};
use crate::health::{Applied, Match, Order, Override, Push, Report, Why, rfc3339};
use crate::problem::Problem;
use crate::units::UnixMs;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// Most octets of a health push: four times the states of 20,000 appliances with long reasons.
const HEALTH_LEN_MAX: u64 = 32 << 20;

/// Most octets of what is about one appliance or override.
const ONE_LEN_MAX: u64 = 64 << 10;

/// Longest time an override holds by itself, in seconds: ten years; without `for_s` it has no end.
const FOR_S_MAX: u64 = 10 * 366 * 24 * 3600;

/// Longest `why` of an override and longest name or pattern in its match, in octets.
const TEXT_LEN_MAX: usize = 1000;

/// `PUT /v1/health`.
pub(super) async fn put(shared: &Arc<Shared>, request: Request) -> Result<Written, Fault> {
    let push: Push = document::read(request, shared.body_octets_max.min(HEALTH_LEN_MAX)).await?;
    let shared = Arc::clone(shared);
    blocking(move || {
        let from = push.from.as_ref().map(|(from, seq)| (&**from, *seq));
        let applied = shared.publisher.push_health(from, &push.states, (shared.clock)())?;
        let note = match from {
            Some((from, seq)) => format!("{} applied, {from} {seq}", applied.applied),
            None => format!("{} applied", applied.applied),
        };
        Ok(taken(&applied, note))
    })
    .await
}

/// `POST /v1/heartbeat`.
pub(super) async fn heartbeat(shared: &Arc<Shared>, request: Request) -> Result<Written, Fault> {
    let report: Report = document::read(request, ONE_LEN_MAX).await?;
    let shared = Arc::clone(shared);
    blocking(move || {
        let note = format!("{} {}", report.appliance, report.state.as_str());
        let is_known = shared.publisher.heartbeat(&report, (shared.clock)());
        let ignored = if is_known { Vec::new() } else { vec![report.appliance.to_string()] };
        Ok(taken(&Applied { applied: usize::from(is_known), ignored }, note))
    })
    .await
}

/// What a report is answered with.
fn taken(applied: &Applied, note: String) -> Written {
    let body = json!({ "applied": applied.applied, "ignored": applied.ignored });
    Written { reply: reply::json(StatusCode::OK, &body), epoch: None, outcome: Outcome::Accepted, note }
}

/// The body of `GET /v1/health`.
#[derive(Debug, Serialize)]
struct Beliefs<'a> {
    /// Of which generation.
    generation: u64,
    /// In the order of the table's fleet.
    states: Vec<Belief<'a>>,
}

/// One appliance in `GET /v1/health`.
#[derive(Debug, Serialize)]
struct Belief<'a> {
    /// Its name.
    appliance: &'a str,
    /// `up`, `draining` or `down`.
    state: &'static str,
    /// On whose word.
    source: &'static str,
    /// Since when, RFC 3339.
    since: Option<String>,
    /// What was said with it.
    reason: Box<str>,
    /// The load that was told last.
    load: Option<f64>,
}

impl<'a> Belief<'a> {
    /// What is believed of `appliance`, in words.
    fn of(appliance: &'a str, why: Why) -> Self {
        Self {
            appliance,
            state: why.state.as_str(),
            source: why.source.as_str(),
            since: why.since.map(rfc3339::format),
            reason: why.reason,
            load: why.load,
        }
    }
}

/// `GET /v1/health`.
pub(super) async fn get(shared: &Arc<Shared>) -> Result<Response, Fault> {
    let shared = Arc::clone(shared);
    blocking(move || {
        let (world, whys) = shared.publisher.beliefs((shared.clock)());
        let appliances = world.fleet().appliances().iter();
        let states: Vec<_> = appliances.zip(whys).map(|(a, why)| Belief::of(&a.name, why)).collect();
        Ok(reply::json(StatusCode::OK, &Beliefs { generation: world.generation(), states }))
    })
    .await
}

/// `GET /v1/override`.
pub(super) async fn overrides(shared: &Arc<Shared>) -> Result<Response, Fault> {
    let shared = Arc::clone(shared);
    blocking(move || {
        let (overrides, now) = (shared.publisher.overrides(), (shared.clock)());
        let listed: Vec<_> = overrides.iter().filter(|held| held.holds(now)).map(told).collect();
        Ok(reply::json(StatusCode::OK, &json!({ "overrides": listed })))
    })
    .await
}

/// An override in words.
fn told(held: &Override) -> Value {
    json!({
        "match": held.target,
        "state": held.state,
        "set": rfc3339::format(held.set),
        "until": held.until.map(rfc3339::format),
        "why": held.why,
    })
}

/// `PUT /v1/override`.
pub(super) async fn set_override(shared: &Arc<Shared>, request: Request) -> Result<Written, Fault> {
    let order: Order = document::read(request, ONE_LEN_MAX).await?;
    let problems = problems_of(&order);
    if !problems.is_empty() {
        return Err(Fault::Invalid(problems));
    }
    let shared = Arc::clone(shared);
    blocking(move || {
        let now = (shared.clock)();
        let until = order.for_s.map(|for_s| UnixMs(now.0 + for_s * 1000));
        let mut body = json!({
            "match": order.target,
            "state": order.state,
            "until": until.map(rfc3339::format),
        });
        let note = format!("{:?} {} {:?}", order.target, order.state.as_str(), order.why);
        let matched = shared.publisher.set_override(order, now);
        body["matched"] = matched.map_err(|full| Fault::TooMany(full.to_string()))?.into();
        Ok(Written {
            reply: reply::json(StatusCode::OK, &body),
            epoch: None,
            outcome: Outcome::Accepted,
            note,
        })
    })
    .await
}

/// What is wrong with an override beyond its form.
fn problems_of(order: &Order) -> Vec<Problem> {
    let mut problems = problems_of_match(&order.target);
    if let Some(for_s) = order.for_s.filter(|for_s| !(1..=FOR_S_MAX).contains(for_s)) {
        problems.push(Problem::at(0, "for_s", for_s, format!("1 to {FOR_S_MAX} seconds")));
    }
    if order.why.len() > TEXT_LEN_MAX {
        problems.push(Problem::at(0, "why", &order.why, format!("at most {TEXT_LEN_MAX} octets")));
    }
    problems
}

/// What is wrong with what an override is on.
fn problems_of_match(target: &Match) -> Vec<Problem> {
    let (key, pattern) = match target {
        Match::Appliance(pattern) => ("match.appliance", pattern),
        Match::Cluster(pattern) => ("match.cluster", pattern),
        Match::Site(pattern) => ("match.site", pattern),
    };
    let is_good = (1..=TEXT_LEN_MAX).contains(&pattern.len());
    if is_good { Vec::new() } else { vec![Problem::at(0, key, pattern, "a name, or a pattern with *")] }
}

/// The body of `DELETE /v1/override`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteAsk {
    /// The match of the override, exactly.
    #[serde(rename = "match")]
    target: Match,
}

/// `DELETE /v1/override`.
pub(super) async fn delete_override(shared: &Arc<Shared>, request: Request) -> Result<Written, Fault> {
    let ask: DeleteAsk = document::read(request, ONE_LEN_MAX).await?;
    let shared = Arc::clone(shared);
    blocking(move || {
        let note = format!("{:?}", ask.target);
        if !shared.publisher.delete_override(&ask.target, (shared.clock)()) {
            return Err(Fault::NotFound("there is no override of this match".to_string()));
        }
        Ok(Written {
            reply: reply::json(StatusCode::OK, &json!({ "deleted": 1, "match": ask.target })),
            epoch: None,
            outcome: Outcome::Accepted,
            note,
        })
    })
    .await
}
