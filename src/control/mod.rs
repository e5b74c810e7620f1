//! The control API: tables and health in, state and reasons out, over HTTP.
//!
//! Owns what INTERFACE.md calls the control API: who may call ([`auth`]), what there is to call
//! ([`routes`], from which the router and the OpenAPI document are both made), how bodies are read
//! and refusals told. Whether a table is good is not decided here: the publisher does, and this
//! module passes its word on. Opens no sockets and reads no clock; `serve` brings both. Layer 7.
//!
//! | file | owns |
//! |---|---|
//! | `routes`, `openapi` | every call, once; the document made of them |
//! | `auth`, `audit` | who may; who did |
//! | `query`, `body`, `document` | what is asked: query, octets under a cap, JSON |
//! | `reply`, `refuse` | what is answered |
//! | `tables`, `beliefs`, `state` | the calls: tables; health and overrides; everything that only reads |

pub mod audit;
pub mod auth;
mod beliefs;
mod body;
mod document;
pub mod openapi;
mod query;
mod refuse;
mod reply;
pub mod routes;
mod state;
mod tables;

pub use audit::{Act, Audit, Outcome};
pub use auth::{Auth, Peer, Secured};
pub use refuse::Fault;

use crate::fleet::ContentKey;
use crate::publish::{Publisher, PushOptions, PushReport, Refusal};
use crate::snapshot::Snapshot;
use crate::units::UnixMs;
use arc_swap::ArcSwap;
use audit::Entry;
use auth::{Caller, Origin};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::on;
use http_body_util::BodyExt;
use query::Query;
use routes::{Call, ROUTES, Route};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Tables and deltas that are taken in at a time; further ones wait unread.
const TABLE_BODIES: usize = 2;

/// Tables that are sent at a time: each keeps a thread until its client has read it.
const TABLE_READERS: usize = 16;

/// Octets of a refused call's body that are read, at most, and for how long.
const DRAINED_MAX: usize = 4 << 20;
/// See [`DRAINED_MAX`].
const DRAINING: Duration = Duration::from_secs(5);

/// Writes the metrics in the text format of Prometheus.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Rereads the table file and the GeoIP files; `true` overrides guard rails. Blocks.
pub type Reload = Arc<dyn Fn(bool) -> Result<PushReport, Refusal> + Send + Sync>;

/// Takes the content key from path and query of a request, as the redirector does.
pub type TakeKey = for<'a> fn(&ContentKey, &'a str) -> Cow<'a, [u8]>;

/// Says where a client is to be sent: a status and JSON, for what a body of JSON asks.
pub type Advise = Arc<dyn Fn(&Snapshot, &[u8]) -> (StatusCode, Vec<u8>) + Send + Sync>;

/// What the calls work on.
pub struct ControlState {
    /// The one door for changes.
    pub publisher: Arc<Publisher>,
    /// Who may call; can be replaced while serving.
    pub auth: ArcSwap<Auth>,
    /// What was done, by whom.
    pub audit: Arc<Audit>,
    /// The time.
    pub clock: fn() -> UnixMs,
    /// For `/metrics`.
    pub render_metrics: RenderMetrics,
    /// For `/v1/table/reload`.
    pub reload: Reload,
    /// For `/v1/explain` with a path.
    pub take_key: TakeKey,
    /// For `/v1/steer`.
    pub advise: Advise,
    /// Set when a shutdown begins: `/readyz` says no from then on.
    pub is_draining: Arc<AtomicBool>,
    /// Most octets of a body, as sent and decompressed (`[control] body_max_mb`).
    pub body_octets_max: u64,
    /// The name of this node.
    pub node: String,
}

/// What handlers share.
struct Shared {
    /// What the calls work on.
    state: Arc<ControlState>,
    /// Room for bodies of tables.
    table_bodies: Semaphore,
    /// Room for readers of the table.
    table_readers: Arc<Semaphore>,
}

impl std::ops::Deref for Shared {
    type Target = ControlState;

    fn deref(&self) -> &ControlState {
        &self.state
    }
}

/// A write that was done.
struct Written {
    /// What the caller is told.
    reply: Response,
    /// The epoch it led to, of a table.
    epoch: Option<u64>,
    /// What it came to.
    outcome: Outcome,
    /// What else the audit should say.
    note: String,
}

/// The service that answers every call. Requests carry who sent them as a [`Peer`] extension; without
/// one they count as coming from another machine. Over TLS they carry [`Secured`] too.
pub fn router(state: Arc<ControlState>) -> Router {
    let shared = Arc::new(Shared {
        state,
        table_bodies: Semaphore::new(TABLE_BODIES),
        table_readers: Arc::new(Semaphore::new(TABLE_READERS)),
    });
    let add = |router: Router<Arc<Shared>>, route: &'static Route| {
        let handler = move |State(shared), request| answer(route, shared, request);
        router.route(route.path, on(route.verb.filter(), handler))
    };
    let nowhere = async |request: Request| {
        let path: String = request.uri().path().chars().take(120).collect();
        Fault::NotFound(format!("there is nothing at {path}; /v1/openapi.json lists what there is"))
    };
    let router = ROUTES.iter().fold(Router::new(), add).fallback(nowhere);
    router.method_not_allowed_fallback(async || Fault::MethodNotAllowed).with_state(shared)
}

/// Answers one request.
async fn answer(route: &'static Route, shared: Arc<Shared>, request: Request) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let from = Origin { peer, secured: request.extensions().get() };
    let admitted = shared.auth.load().admit(route, request.uri(), request.headers(), from);
    let response = match (admitted, Act::of(route.call)) {
        (Ok(_), None) => read(route, &shared, request).await.unwrap_or_else(Fault::into_response),
        (Ok(caller), Some(act)) => write(route, act, caller, shared, request).await,
        (Err((caller, fault)), act) => {
            if let Some(act) = act {
                record(&shared, act, &caller, PushOptions::default(), &Err(fault.clone()));
            }
            // Whether it came to an end or not.
            let _ = timeout(DRAINING, drain(request.into_body())).await;
            fault.into_response()
        }
    };
    debug_assert!(route.may_answer(response.status()), "{} {}", route.path, response.status());
    response
}

/// Reads what comes with a call that is refused, up to [`DRAINED_MAX`] octets: some clients take an answer that
/// comes before they have sent everything for a broken connection (curl does over HTTP/2).
async fn drain(mut body: Body) {
    let mut left = DRAINED_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, |data| data.len())) else { return };
        left = rest;
    }
}

/// Makes a call that changes nothing.
async fn read(route: &Route, shared: &Arc<Shared>, request: Request) -> Result<Response, Fault> {
    let query = Query::read(route, request.uri())?;
    match route.call {
        Call::Page => Ok(state::page(shared)),
        Call::Alive => Ok(state::alive()),
        Call::Ready => Ok(state::ready(shared)),
        Call::Metrics => state::metrics(shared).await,
        Call::Status => state::status(shared).await,
        Call::OpenApi => Ok(state::openapi()),
        Call::Explain => state::explain(shared, &query).await,
        Call::Steer => state::steer(shared, request).await,
        Call::TableGet => tables::get(shared, request.headers()).await,
        Call::History => tables::history(shared).await,
        Call::HealthGet => beliefs::get(shared).await,
        Call::OverrideGet => beliefs::overrides(shared).await,
        Call::TablePut
        | Call::TablePatch
        | Call::Rollback
        | Call::Reload
        | Call::HealthPut
        | Call::Heartbeat
        | Call::OverridePut
        | Call::OverrideDelete => Err(Fault::Broken),
    }
}

/// Makes a call that changes something, and records it.
///
/// It runs on a task of its own to its end: who goes away while a table is being made does not keep
/// that from being recorded.
async fn write(
    route: &'static Route,
    act: Act,
    caller: Caller,
    shared: Arc<Shared>,
    request: Request,
) -> Response {
    let task = tokio::spawn(async move {
        let options = Query::read(route, request.uri()).and_then(|query| query.push_options());
        let (options, result) = match options {
            Ok(options) => (options, change(route.call, &shared, request, options).await),
            Err(fault) => (PushOptions::default(), Err(fault)),
        };
        record(&shared, act, &caller, options, &result);
        result.map_or_else(Fault::into_response, |written| written.reply)
    });
    task.await.unwrap_or_else(|error| {
        tracing::error!(act = act.as_str(), %error, "a write did not come to its end");
        Fault::Broken.into_response()
    })
}

/// Makes the change that `call` asks for.
async fn change(
    call: Call,
    shared: &Arc<Shared>,
    request: Request,
    options: PushOptions,
) -> Result<Written, Fault> {
    match call {
        Call::TablePut => tables::put(shared, request, options).await,
        Call::TablePatch => tables::patch(shared, request, options).await,
        Call::Rollback => tables::rollback(shared, request).await,
        Call::Reload => tables::reload(shared, options.force).await,
        Call::HealthPut => beliefs::put(shared, request).await,
        Call::Heartbeat => beliefs::heartbeat(shared, request).await,
        Call::OverridePut => beliefs::set_override(shared, request).await,
        Call::OverrideDelete => beliefs::delete_override(shared, request).await,
        Call::Page
        | Call::Alive
        | Call::Ready
        | Call::Metrics
        | Call::Status
        | Call::OpenApi
        | Call::Explain
        | Call::Steer
        | Call::TableGet
        | Call::History
        | Call::HealthGet
        | Call::OverrideGet => Err(Fault::Broken),
    }
}

/// Tells the audit of a write.
fn record(shared: &Shared, act: Act, caller: &Caller, options: PushOptions, result: &Result<Written, Fault>) {
    let (outcome, epoch, note) = match result {
        Ok(written) => (written.outcome, written.epoch, written.note.clone()),
        Err(fault) => (fault.outcome(), None, fault.message()),
    };
    shared.audit.record(&Entry {
        act,
        outcome,
        caller,
        epoch,
        is_forced: options.force,
        is_reset: options.reset_epoch.is_some(),
        note: &note,
    });
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a call did not come to its end");
        Err(Fault::Broken)
    })
}

#[cfg(test)]
mod tests;
