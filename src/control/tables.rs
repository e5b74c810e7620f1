//! Calls about tables: push, delta, history, rollback, reload, and the served table itself.
//!
//! Layer 7.

use super::audit::Outcome;
use super::body::{self, ARTEFACT, Form, LINES};
use super::refuse::Fault;
use super::{Shared, Written, blocking, document, reply};
use crate::publish::{self, PushOptions, PushReport, Pushed, Refusal};
use crate::table::artefact;
use crate::table::body::Decoder;
use crate::units::Epoch;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::SemaphorePermit;

/// Most octets of a rollback's body.
const ROLLBACK_LEN_MAX: u64 = 4096;

/// `PUT /v1/table`.
pub(super) async fn put(
    shared: &Arc<Shared>,
    request: Request,
    options: PushOptions,
) -> Result<Written, Fault> {
    let (head, content) = request.into_parts();
    let form = match Form::taken(&head.headers, true)? {
        Form::Artefact => publish::Form::Artefact,
        Form::Json | Form::Lines => publish::Form::Lines,
        Form::Unnamed => publish::Form::Either,
    };
    let encoding = body::encoding_of(&head.headers)?;
    let max = shared.body_octets_max;
    let cap = usize::try_from(max).unwrap_or(usize::MAX);
    let _room = room(shared).await?;
    let (sender, pieces) = body::channel();
    let pusher = Arc::clone(shared);
    let push = blocking(move || {
        let pushed = Decoder::new(encoding, pieces, cap).and_then(|mut text| Pushed::read(&mut text, form));
        let pushed = pushed.map_err(|error| body::not_decoded(error, max))?;
        Ok(pusher.publisher.put(pushed, options, (pusher.clock)())?)
    });
    // What is not whole is never put, and why it is not is for the receiver to say.
    let (received, report) = tokio::join!(sender.receive(content, &head.headers, max), push);
    received?;
    Ok(written(&report?))
}

/// Room for one more table on its way in.
async fn room(shared: &Shared) -> Result<SemaphorePermit<'_>, Fault> {
    // The semaphore is never closed.
    shared.table_bodies.acquire().await.map_err(|_| Fault::Broken)
}

/// `PATCH /v1/table`.
pub(super) async fn patch(
    shared: &Arc<Shared>,
    request: Request,
    options: PushOptions,
) -> Result<Written, Fault> {
    let (head, content) = request.into_parts();
    Form::taken(&head.headers, false)?;
    let encoding = body::encoding_of(&head.headers)?;
    let max = shared.body_octets_max;
    let _room = room(shared).await?;
    let octets = body::read(content, &head.headers, max).await?;
    let shared = Arc::clone(shared);
    let report = blocking(move || {
        let lines = body::decode(octets, encoding, max)?;
        Ok(shared.publisher.patch(&lines, options, (shared.clock)())?)
    });
    Ok(written(&report.await?))
}

/// The body of a rollback.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackAsk {
    /// Where to.
    epoch: u64,
}

/// `POST /v1/table/rollback`.
pub(super) async fn rollback(shared: &Arc<Shared>, request: Request) -> Result<Written, Fault> {
    let ask: RollbackAsk = document::read(request, ROLLBACK_LEN_MAX).await?;
    let Some(epoch) = Epoch::new(ask.epoch) else {
        return Err(Fault::NotFound(format!("epoch {} is not kept", ask.epoch)));
    };
    let shared = Arc::clone(shared);
    let report = blocking(move || Ok(shared.publisher.rollback(epoch, (shared.clock)())?)).await?;
    Ok(written(&report))
}

/// `POST /v1/table/reload`.
pub(super) async fn reload(shared: &Arc<Shared>, is_forced: bool) -> Result<Written, Fault> {
    let reload = Arc::clone(&shared.reload);
    let report = blocking(move || Ok(reload(is_forced)?)).await?;
    Ok(written(&report))
}

/// What a change of table is answered with.
fn written(report: &PushReport) -> Written {
    let diff = &report.diff;
    let note = format!(
        "prefixes +{} -{} ~{}, appliances +{} -{}, {} warnings",
        diff.prefixes_added,
        diff.prefixes_withdrawn,
        diff.prefixes_changed,
        diff.appliances_added,
        diff.appliances_withdrawn,
        report.warnings.len(),
    );
    let outcome = if report.dry_run { Outcome::DryRun } else { Outcome::Accepted };
    Written { reply: reply::json(StatusCode::OK, report), epoch: Some(report.epoch), outcome, note }
}

/// `GET /v1/table/history`.
pub(super) async fn history(shared: &Arc<Shared>) -> Result<Response, Fault> {
    let shared = Arc::clone(shared);
    let kept = blocking(move || Ok(shared.publisher.history()?)).await?;
    Ok(reply::json(StatusCode::OK, &serde_json::json!({ "epochs": kept })))
}

/// `GET /v1/table`.
pub(super) async fn get(shared: &Arc<Shared>, headers: &HeaderMap) -> Result<Response, Fault> {
    let world = shared.publisher.load_full();
    if !world.is_ready() {
        return Err(Fault::NotFound("there is no table yet".to_string()));
    }
    let table = Arc::clone(world.table());
    // The digest is worked out when it is first asked for.
    let digest = Arc::clone(&table);
    let digest = blocking(move || Ok(digest.digest().to_string())).await?;
    let is_artefact = wants_artefact(headers);
    // A tag names one representation (RFC 9110 section 8.8.3).
    let tag = if is_artefact { format!("\"{digest}-artefact\"") } else { format!("\"{digest}\"") };
    let mut response = if has_tag(headers, &tag) {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let room = Arc::clone(&shared.table_readers).try_acquire_owned();
        let room = room.map_err(|_| Fault::Push(Refusal::Busy))?;
        let media_type = if is_artefact { ARTEFACT } else { LINES };
        reply::stream(media_type, move |mut out| {
            let _room = room;
            if is_artefact { artefact::write_to(&table, &mut out).map(drop) } else { table.write(&mut out) }
        })
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Whether `Accept` names the artefact's media type. Weights are not compared: it is named by who
/// wants it and by nobody else.
fn wants_artefact(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut names = values.flat_map(|value| value.split(','));
    names.any(|name| name.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(ARTEFACT)))
}

/// Whether `If-None-Match` has `tag` (RFC 9110 section 13.1.2, weak comparison).
fn has_tag(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(','));
    tags.any(|known| matches!(known.trim(), "*") || known.trim().trim_start_matches("W/") == tag)
}
