//! The OpenAPI 3.1 document, made of [`ROUTES`].
//!
//! A call's path, method, query, statuses and right are read off the table that the router is built
//! from; only the shapes of bodies are written down here. Layer 7.

use super::auth::word;
use super::body::{ARTEFACT, LINES};
use super::routes::{Access, BodyKind, Parameter, ROUTES, ReplyKind, Route};
use super::state::METRICS;
use serde_json::{Map, Value, json};

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.verb.method().as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "steerd control API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "certificate": { "type": "mutualTLS" },
            },
        },
    })
}

/// One call.
fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": format!("{:?}", route.call),
        "summary": route.summary,
        "responses": responses(route),
    });
    if !route.query.is_empty() {
        operation["parameters"] = route.query.iter().map(parameter).collect();
    }
    if let Some(body) = request_body(route.body) {
        operation["requestBody"] = body;
    }
    let rights: &[_] = match &route.access {
        Access::Open => &[],
        Access::Metrics | Access::Dashboard => &["read"],
        Access::Right(right) => &[word(*right)],
        Access::Either(one, other) => &[word(*one), word(*other)],
    };
    if !rights.is_empty() {
        // Without tokens the caller's address is what counts: hence the empty alternative.
        operation["security"] = json!([{ "token": [] }, { "certificate": [] }, {}]);
        operation["description"] = format!("Right: {}, or all.", rights.join(" or ")).into();
    }
    operation
}

/// One key of the query.
fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        // As it is written in a query.
        "boolean" => json!({ "type": "string", "enum": ["1", "0", "true", "false"] }),
        kind => json!({ "type": kind }),
    };
    json!({
        "name": parameter.name,
        "in": "query",
        "required": parameter.is_required,
        "description": parameter.description,
        "schema": schema,
    })
}

/// What a request carries; `None` for nothing.
fn request_body(kind: BodyKind) -> Option<Value> {
    let lines = json!({ "schema": { "type": "string" } });
    let octets = json!({ "schema": { "type": "string", "format": "binary" } });
    let content = match kind {
        BodyKind::Nothing => return None,
        BodyKind::Steer => of_schema("Steer"),
        BodyKind::Table => json!({ LINES: lines, ARTEFACT: octets }),
        BodyKind::Delta => json!({ LINES: lines }),
        BodyKind::Rollback => of_schema("Rollback"),
        BodyKind::Health => of_schema("HealthPush"),
        BodyKind::Heartbeat => of_schema("Report"),
        BodyKind::Override => of_schema("Override"),
        BodyKind::OverrideMatch => of_schema("OverrideEnd"),
    };
    Some(json!({
        "required": true,
        "description": "Content-Encoding may be gzip, zstd or identity",
        "content": content,
    }))
}

/// JSON of a named shape.
fn of_schema(name: &str) -> Value {
    json!({ "application/json": { "schema": reference(name) } })
}

/// A named shape.
fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Every answer of a call.
fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    for status in route.statuses {
        let response = match status {
            200 => json!({ "description": "Done", "content": reply_content(route.reply) }),
            304 => json!({ "description": "It has the digest that If-None-Match names" }),
            503 if route.reply == ReplyKind::Text => {
                json!({ "description": "Not ready", "content": reply_content(route.reply) })
            }
            _ => refusal(*status),
        };
        responses.insert(status.to_string(), response);
    }
    Value::Object(responses)
}

/// What a 200 carries.
fn reply_content(kind: ReplyKind) -> Value {
    let text = json!({ "schema": { "type": "string" } });
    let octets = json!({ "schema": { "type": "string", "format": "binary" } });
    match kind {
        ReplyKind::Html => json!({ "text/html": text }),
        ReplyKind::Text => json!({ "text/plain": text }),
        ReplyKind::Metrics => json!({ METRICS: text }),
        ReplyKind::Table => json!({ LINES: text, ARTEFACT: octets }),
        ReplyKind::OpenApi => json!({ "application/json": { "schema": { "type": "object" } } }),
        ReplyKind::Status => of_schema("Status"),
        ReplyKind::Explanation => of_schema("Explanation"),
        ReplyKind::Advice => of_schema("Advice"),
        ReplyKind::PushReport => of_schema("PushReport"),
        ReplyKind::History => of_schema("History"),
        ReplyKind::Beliefs => of_schema("Beliefs"),
        ReplyKind::Applied => of_schema("Applied"),
        ReplyKind::Overrides => of_schema("Overrides"),
        ReplyKind::OverrideSet => of_schema("OverrideSet"),
        ReplyKind::OverrideDeleted => of_schema("OverrideDeleted"),
    }
}

/// A refusal of this status.
fn refusal(status: u16) -> Value {
    let (description, schema) = match status {
        400 => ("It does not validate", "Problems"),
        401 => ("No token, or an unknown one", "Refusal"),
        403 => ("Not with this token, from this place or in this form", "Refusal"),
        404 => ("There is no such thing", "Refusal"),
        408 => ("The body stopped coming", "Refusal"),
        409 => ("Not newer than what was accepted, or based on something else", "Conflict"),
        413 => ("Too large, as sent or decompressed", "Refusal"),
        415 => ("A content type or encoding that is not taken", "Refusal"),
        422 => ("A guard rail stopped it; force=1 overrides", "Guarded"),
        500 => ("It could not be made durable, or a bug", "Refusal"),
        503 => ("Not now; see Retry-After", "Refusal"),
        _ => ("Refused", "Refusal"),
    };
    json!({ "description": description, "content": of_schema(schema) })
}

/// An object of these properties, the first `required` of them always there.
fn object(required: usize, properties: &[(&str, Value)]) -> Value {
    let names: Vec<_> = properties.iter().take(required).map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).to_string(), schema.clone())).collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

/// A list of what `schema` says.
fn list(schema: Value) -> Value {
    json!({ "type": "array", "items": schema })
}

/// The shapes of bodies.
fn schemas() -> Value {
    let mut schemas = Map::new();
    for (name, schema) in
        refusal_schemas().into_iter().chain(table_schemas()).chain(health_schemas()).chain(steer_schemas())
    {
        schemas.insert(name.to_string(), schema);
    }
    Value::Object(schemas)
}

/// Shapes of refusals.
fn refusal_schemas() -> Vec<(&'static str, Value)> {
    let (text, number, integer) =
        (json!({ "type": "string" }), json!({ "type": "number" }), json!({ "type": "integer" }));
    let epoch = json!({ "type": ["integer", "null"] });
    let problem =
        [("line", integer), ("key", text.clone()), ("found", text.clone()), ("expected", text.clone())];
    let guard = [("guard", text.clone()), ("found", number.clone()), ("limit", number)];
    let refused = [("error", text.clone()), ("message", text.clone())];
    let refused_with = |more: &[(&'static str, Value)], required| {
        let properties: Vec<_> = refused.iter().cloned().chain(more.iter().cloned()).collect();
        object(required, &properties)
    };
    let guards = ("guards", list(reference("Guard")));
    let conflict = [
        ("served_epoch", epoch.clone()),
        ("highest_epoch", epoch.clone()),
        ("digest", text),
        ("last", epoch),
    ];
    vec![
        ("Problem", object(4, &problem)),
        ("Guard", object(3, &guard)),
        ("Refusal", refused_with(&[], 2)),
        ("Problems", refused_with(&[("problems", list(reference("Problem")))], 2)),
        ("Guarded", refused_with(&guard.iter().cloned().chain([guards]).collect::<Vec<_>>(), 6)),
        ("Conflict", refused_with(&conflict, 2)),
    ]
}

/// Shapes of what is said about tables.
fn table_schemas() -> Vec<(&'static str, Value)> {
    let (text, integer, flag) =
        (json!({ "type": "string" }), json!({ "type": "integer" }), json!({ "type": "boolean" }));
    let numbers = |names: &[&'static str]| {
        let properties: Vec<_> = names.iter().map(|name| (*name, integer.clone())).collect();
        object(names.len(), &properties)
    };
    let counts = numbers(&["sites", "clusters", "appliances", "services", "routes_v4", "routes_v6"]);
    let diff = numbers(&[
        "prefixes_added",
        "prefixes_withdrawn",
        "prefixes_changed",
        "appliances_added",
        "appliances_withdrawn",
        "addresses_moved_v4",
        "addresses_moved_v6",
    ]);
    let report = [
        ("epoch", integer.clone()),
        ("generation", integer.clone()),
        ("counts", counts),
        ("compile_ms", integer.clone()),
        ("parse_ms", integer.clone()),
        ("persist_ms", integer.clone()),
        ("diff", diff),
        ("dry_run", flag.clone()),
        ("guards", list(reference("Guard"))),
        ("warnings", list(reference("Problem"))),
        ("ignored", list(text.clone())),
    ];
    let kept = [
        ("epoch", integer.clone()),
        ("written_at_ms", integer.clone()),
        ("kind", json!({ "type": "string", "enum": ["full", "delta"] })),
        ("bytes", integer.clone()),
        ("is_served", flag.clone()),
    ];
    let status = [
        ("node", text.clone()),
        ("version", text.clone()),
        ("ready", flag.clone()),
        ("draining", flag),
        ("generation", integer.clone()),
        ("judged_broken", list(text.clone())),
        ("epoch", json!({ "type": ["integer", "null"] })),
        ("digest", json!({ "type": ["string", "null"] })),
    ];
    let candidate = [("cluster", text.clone()), ("rank", integer.clone()), ("why", text.clone())];
    let matches = ["route", "geo", "default", "fallback", "none"];
    let explanation = [
        ("client", text.clone()),
        ("service", text.clone()),
        ("generation", integer.clone()),
        ("epoch", json!({ "type": ["integer", "null"] })),
        ("match", json!({ "type": "string", "enum": matches })),
        ("prefix", json!({ "type": ["string", "null"] })),
        ("scope_len", integer.clone()),
        ("chosen", list(text)),
        ("candidates", list(object(3, &candidate))),
    ];
    vec![
        ("Rollback", object(1, &[("epoch", integer)])),
        ("PushReport", object(8, &report)),
        ("History", object(1, &[("epochs", list(object(5, &kept)))])),
        ("Status", object(8, &status)),
        ("Explanation", object(9, &explanation)),
    ]
}

/// Shapes of `POST /v1/steer`.
fn steer_schemas() -> Vec<(&'static str, Value)> {
    let (text, integer) = (json!({ "type": "string" }), json!({ "type": "integer" }));
    let maybe_text = json!({ "type": ["string", "null"] });
    let asked = [
        ("client", text.clone()),
        ("service", text.clone()),
        ("path", text.clone()),
        ("scheme", json!({ "type": "string", "enum": ["http", "https"] })),
        ("count", json!({ "type": "integer", "minimum": 1, "maximum": 16 })),
        ("family", json!({ "type": "integer", "enum": [4, 6] })),
    ];
    let told = [
        ("locations", list(text.clone())),
        ("ttl_s", integer.clone()),
        ("generation", integer.clone()),
        ("epoch", json!({ "type": ["integer", "null"] })),
        ("service", text.clone()),
        ("client", text.clone()),
        ("cluster", maybe_text.clone()),
        ("match", text.clone()),
        ("prefix", maybe_text),
        ("scope_len", integer),
        ("why", text),
    ];
    vec![("Steer", object(2, &asked)), ("Advice", object(11, &told))]
}

/// Shapes of what is said about health.
fn health_schemas() -> Vec<(&'static str, Value)> {
    let (text, number, integer) =
        (json!({ "type": "string" }), json!({ "type": "number" }), json!({ "type": "integer" }));
    let moment = json!({ "type": "string", "format": "date-time" });
    let state = json!({ "type": "string", "enum": ["up", "draining", "down"] });
    let report = [
        ("appliance", text.clone()),
        ("state", state.clone()),
        ("load", number.clone()),
        ("since", moment.clone()),
        ("reason", text.clone()),
    ];
    let ordered = [("from", text.clone()), ("seq", integer.clone()), ("states", list(reference("Report")))];
    let push = json!({ "oneOf": [list(reference("Report")), object(3, &ordered)] });
    let maybe_moment = json!({ "type": ["string", "null"], "format": "date-time" });
    let belief = [
        ("appliance", text.clone()),
        ("state", state.clone()),
        ("source", text.clone()),
        ("since", maybe_moment.clone()),
        ("reason", text.clone()),
        ("load", json!({ "type": ["number", "null"] })),
    ];
    let one_of = |name| object(1, &[(name, text.clone())]);
    let target = json!({ "oneOf": [one_of("appliance"), one_of("cluster"), one_of("site")] });
    let asked = [
        ("match", reference("Match")),
        ("state", state.clone()),
        ("for_s", integer.clone()),
        ("why", text.clone()),
    ];
    let held = [
        ("match", reference("Match")),
        ("state", state.clone()),
        ("set", moment),
        ("until", maybe_moment.clone()),
        ("why", text.clone()),
    ];
    let set = [
        ("match", reference("Match")),
        ("state", state),
        ("until", maybe_moment),
        ("matched", integer.clone()),
    ];
    vec![
        ("Report", object(2, &report)),
        ("HealthPush", push),
        ("Applied", object(2, &[("applied", integer.clone()), ("ignored", list(text))])),
        ("Beliefs", object(2, &[("generation", integer.clone()), ("states", list(object(6, &belief)))])),
        ("Match", target),
        ("Override", object(2, &asked)),
        ("OverrideEnd", object(1, &[("match", reference("Match"))])),
        ("Overrides", object(1, &[("overrides", list(object(5, &held)))])),
        ("OverrideSet", object(4, &set)),
        ("OverrideDeleted", object(2, &[("deleted", integer), ("match", reference("Match"))])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `visit` on every value below `value`.
    fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Value)) {
        visit(value);
        match value {
            Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
            Value::Object(fields) => fields.values().for_each(|field| walk(field, visit)),
            _ => {}
        }
    }

    #[test]
    fn every_route_is_in_the_document_with_all_its_statuses() {
        let document = document();
        for route in ROUTES {
            let method = route.verb.method().as_str().to_ascii_lowercase();
            let responses = document["paths"][route.path][method]["responses"].as_object();
            let mut found: Vec<u16> = responses
                .expect("responses")
                .keys()
                .map(|status| status.parse().expect("a status"))
                .collect();
            found.sort_unstable();
            assert_eq!(found, route.statuses, "{}", route.path);
        }
        let operations = document["paths"].as_object().expect("paths").values();
        let count: usize = operations.map(|path| path.as_object().map_or(0, Map::len)).sum();
        assert_eq!(count, ROUTES.len());
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_shape_is_used() {
        let document = document();
        let mut names = Vec::new();
        walk(&document, &mut |value| {
            if let Some(name) = value["$ref"].as_str() {
                names.push(name.strip_prefix("#/components/schemas/").expect("a schema"));
            }
        });
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        for name in &names {
            assert!(schemas.contains_key(*name), "{name}");
        }
        for name in schemas.keys() {
            assert!(names.contains(&name.as_str()), "{name} is not used");
        }
    }

    #[test]
    fn names_of_operations_are_told_apart() {
        let document = document();
        let mut names = Vec::new();
        walk(&document, &mut |value| names.extend(value["operationId"].as_str()));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), count), (ROUTES.len(), ROUTES.len()));
    }
}
