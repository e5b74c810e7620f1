//! Calls that say how things are: status, metrics, readiness, explanations, the page for people.
//!
//! Layer 7.

use super::body::{self, Form};
use super::query::Query;
use super::refuse::Fault;
use super::{Shared, blocking, openapi, reply};
use crate::prefix::Family;
use crate::problem::Problem;
use crate::steer::explain::{Ask, explain as explain_client};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use ipnetwork::IpNetwork;
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Media type of plain words.
const TEXT: &str = "text/plain; charset=utf-8";

/// Media type of [`super::RenderMetrics`] (OpenMetrics 1.0.0).
pub const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a page may load: its own style and nothing else.
const PAGE_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");

/// `GET /healthz`: whoever can answer is alive.
pub(super) fn alive() -> Response {
    reply::with(StatusCode::OK, TEXT, "ok\n")
}

/// `GET /readyz`.
pub(super) fn ready(shared: &Shared) -> Response {
    let (status, word) = match readiness(shared) {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    };
    reply::with(status, TEXT, word)
}

/// Whether new clients are welcome, or why not.
fn readiness(shared: &Shared) -> Result<(), &'static str> {
    if shared.is_draining.load(Ordering::Relaxed) {
        Err("draining\n")
    } else if shared.publisher.load().is_ready() {
        Ok(())
    } else {
        Err("no table\n")
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(shared: &Arc<Shared>) -> Result<Response, Fault> {
    let render = Arc::clone(&shared.render_metrics);
    Ok(reply::with(StatusCode::OK, METRICS, blocking(move || Ok(render())).await?))
}

/// The body of `GET /v1/status`.
#[derive(Serialize)]
struct StatusReply<'a, S> {
    /// Who answers.
    node: &'a str,
    /// The version of the program.
    version: &'static str,
    /// Whether a shutdown is under way.
    draining: bool,
    /// The digest of the served table.
    digest: Option<String>,
    /// What the publisher says.
    #[serde(flatten)]
    published: S,
    /// Accepted writes that asked for guard rails to be overridden.
    forced_pushes: u64,
    /// Accepted tables that gave up the order of epochs.
    epoch_resets: u64,
}

/// `GET /v1/status`.
pub(super) async fn status(shared: &Arc<Shared>) -> Result<Response, Fault> {
    let shared = Arc::clone(shared);
    blocking(move || {
        let world = shared.publisher.load_full();
        let body = StatusReply {
            node: &shared.node,
            version: env!("CARGO_PKG_VERSION"),
            draining: shared.is_draining.load(Ordering::Relaxed),
            digest: world.is_ready().then(|| world.table().digest().to_string()),
            published: shared.publisher.status((shared.clock)()),
            forced_pushes: shared.audit.forced(),
            epoch_resets: shared.audit.resets(),
        };
        Ok(reply::json(StatusCode::OK, &body))
    })
    .await
}

/// `GET /v1/openapi.json`.
pub(super) fn openapi() -> Response {
    reply::json(StatusCode::OK, &openapi::document())
}

/// What `GET /v1/explain` is asked.
struct Asked {
    client: IpAddr,
    service: String,
    path: Option<String>,
    family: Option<Family>,
}

impl Asked {
    /// Reads the query.
    ///
    /// # Errors
    /// All values that are none.
    fn read(query: &Query) -> Result<Self, Fault> {
        let mut problems = Vec::new();
        let client = query.get("client").unwrap_or_default();
        let address = client.parse::<IpNetwork>().ok().map(|network| network.network());
        if address.is_none() {
            problems.push(Problem::at(0, "client", client, "an address, or a prefix as 192.0.2.0/24"));
        }
        let family = match query.get("type") {
            None => None,
            Some(text) if text.eq_ignore_ascii_case("a") => Some(Family::V4),
            Some(text) if text.eq_ignore_ascii_case("aaaa") => Some(Family::V6),
            Some(text) => {
                problems.push(Problem::at(0, "type", text, "A or AAAA"));
                None
            }
        };
        let service = query.get("service").unwrap_or_default().to_string();
        let path = query.get("path").map(ToString::to_string);
        match address {
            Some(client) if problems.is_empty() => Ok(Self { client, service, path, family }),
            _ => Err(Fault::Invalid(problems)),
        }
    }
}

/// `GET /v1/explain`.
pub(super) async fn explain(shared: &Arc<Shared>, query: &Query) -> Result<Response, Fault> {
    let asked = Asked::read(query)?;
    let shared = Arc::clone(shared);
    blocking(move || {
        let world = shared.publisher.load_full();
        if !world.is_ready() {
            return Err(Fault::NotReady);
        }
        let host = asked.service.trim_end_matches('.').to_ascii_lowercase();
        let fleet = world.fleet();
        let service = fleet.service_by_name(&host).or_else(|| fleet.service_of_host(&host));
        let key = service.zip(asked.path.as_deref());
        let key = key.map(|(id, path)| (shared.take_key)(&fleet.service(id).content_key, path));
        let ask =
            Ask { client: asked.client, service: &asked.service, key: key.as_deref(), family: asked.family };
        match explain_client(&world, &ask) {
            Ok(explanation) => Ok(reply::json(StatusCode::OK, &explanation)),
            Err(unknown) => Err(Fault::NotFound(unknown.to_string())),
        }
    })
    .await
}

/// Octets of a body of `POST /v1/steer`, at most.
const STEER_LEN_MAX: u64 = 64 << 10;

/// `POST /v1/steer`.
pub(super) async fn steer(shared: &Arc<Shared>, request: Request) -> Result<Response, Fault> {
    let (head, content) = request.into_parts();
    Form::taken(&head.headers, false)?;
    let encoding = body::encoding_of(&head.headers)?;
    let octets = body::read(content, &head.headers, STEER_LEN_MAX).await?;
    let asked = body::decode(octets, encoding, STEER_LEN_MAX)?;
    let (status, told) = (shared.advise)(&shared.publisher.load_full(), &asked);
    Ok(reply::with(status, "application/json", told))
}

/// `GET /`.
pub(super) fn page(shared: &Shared) -> Response {
    let world = shared.publisher.load();
    let state = readiness(shared).map_or_else(str::trim_end, |()| "ready");
    let epoch = world.epoch().map_or_else(|| "none".to_string(), |epoch| epoch.to_string());
    let fleet = world.fleet();
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>steerd {node}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}}\
         th{{text-align:left;padding-right:2rem}}</style>\n\
         <h1>steerd {version}</h1>\n<table>\n\
         <tr><th>Node<td>{node}\n<tr><th>State<td>{state}\n<tr><th>Epoch<td>{epoch}\n\
         <tr><th>Generation<td>{generation}\n<tr><th>Sites<td>{sites}\n<tr><th>Clusters<td>{clusters}\n\
         <tr><th>Appliances<td>{appliances}\n<tr><th>Services<td>{services}\n</table>\n\
         <p><a href=\"/v1/status\">Status</a> · <a href=\"/v1/health\">Health</a> · \
         <a href=\"/v1/table/history\">Kept epochs</a> · <a href=\"/metrics\">Metrics</a> · \
         <a href=\"/v1/openapi.json\">OpenAPI</a></p>\n</html>\n",
        node = escaped(&shared.node),
        version = env!("CARGO_PKG_VERSION"),
        generation = world.generation(),
        sites = fleet.sites().len(),
        clusters = fleet.clusters().len(),
        appliances = fleet.appliances().len(),
        services = fleet.services().len(),
    );
    let mut response = reply::with(StatusCode::OK, "text/html; charset=utf-8", page);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    response
}

/// `text` as HTML shows it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_write_html() {
        assert_eq!(escaped("<b a=\"1\" c='2'>&é"), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;é");
    }
}
