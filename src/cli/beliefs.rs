//! `steerd health` and `steerd override`: what is believed of appliances, and on whose word.
//!
//! Layer 9.

use super::args::{self, HealthAction, OverrideAction};
use super::client::{Client, Content};
use super::failure::{Failure, count};
use anyhow::Context;
use comfy_table::{ContentArrangement, Table as Grid, presets};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use ureq::http::Method;

/// Columns where the terminal does not say.
const COLUMNS: u16 = 120;

/// The reply to `GET /v1/health`.
#[derive(Debug, Deserialize)]
struct Beliefs {
    states: Vec<Belief>,
}

/// What is believed of an appliance.
#[derive(Debug, Deserialize)]
struct Belief {
    appliance: String,
    state: String,
    source: String,
    since: Option<String>,
    #[serde(default)]
    reason: String,
    load: Option<f64>,
}

/// The reply to `GET /v1/override`.
#[derive(Debug, Deserialize)]
struct Overrides {
    overrides: Vec<Held>,
}

/// An override that holds.
#[derive(Debug, Deserialize)]
struct Held {
    #[serde(rename = "match")]
    target: Map<String, Value>,
    state: String,
    set: Option<String>,
    until: Option<String>,
    #[serde(default)]
    why: String,
}

/// The reply to a health push.
#[derive(Debug, Deserialize)]
struct Applied {
    ignored: Vec<String>,
}

/// The reply to a new override.
#[derive(Debug, Deserialize)]
struct Set {
    matched: u64,
    until: Option<String>,
}

/// A client of a server named on the command line.
fn client(server: &args::Server) -> Result<Client, Failure> {
    Client::new(&server.server, &server.credentials)
}

/// Lists health, or says what an appliance is.
///
/// # Errors
/// A server that is not there or refuses; an appliance that it does not know.
pub fn health(args: &args::Health, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(HealthAction::Set(set)) = &args.action {
        return set_health(set, out);
    }
    let text = client(&args.server)?.get("/v1/health")?;
    if args.json {
        return Ok(writeln!(out, "{}", text.trim_end())?);
    }
    let beliefs: Beliefs = serde_json::from_str(&text).context("the server's list is of another version")?;
    let is_listed = |one: &&Belief| args.all || one.state != "up";
    let rows: Vec<_> = beliefs.states.iter().filter(is_listed).map(Belief::row).collect();
    write_rows(out, &["appliance", "state", "since", "load", "on the word of", "reason"], rows)?;
    let of = |state: &str| beliefs.states.iter().filter(|one| one.state == state).count();
    let all = count(beliefs.states.len() as u64, "appliance");
    Ok(writeln!(out, "{all}: {} up, {} draining, {} down", of("up"), of("draining"), of("down"))?)
}

impl Belief {
    /// One row of the list.
    fn row(&self) -> Vec<String> {
        let load = self.load.map_or(String::new(), |load| format!("{:.0} %", load * 100.0));
        let since = self.since.clone().unwrap_or_default();
        let source = self.source.replace('_', " ");
        vec![self.appliance.clone(), self.state.clone(), since, load, source, self.reason.clone()]
    }
}

/// Says what an appliance is.
fn set_health(args: &args::HealthSet, out: &mut dyn Write) -> Result<(), Failure> {
    let mut line = json!({ "appliance": args.appliance, "state": args.state.as_str() });
    if let Some(load) = args.load {
        line["load"] = json!(load);
    }
    if let Some(reason) = &args.reason {
        line["reason"] = json!(reason);
    }
    let body = json!([line]).to_string();
    let reply =
        client(&args.server)?.send(Method::PUT, "/v1/health", Content::json(&body), "the health push")?;
    let applied: Applied =
        serde_json::from_str(&reply).context("the server's reply is of another version")?;
    if applied.ignored.is_empty() {
        return Ok(writeln!(out, "{} is {}", args.appliance, args.state.as_str())?);
    }
    Err(Failure::Data(format!(
        "{} is no appliance of the served table; `steerd health --all` lists them",
        args.appliance
    )))
}

/// Lists, sets or deletes overrides.
///
/// # Errors
/// A server that is not there or refuses.
pub fn overrides(args: &args::Override, out: &mut dyn Write) -> Result<(), Failure> {
    match &args.action {
        None => list(&args.server, args.json, out),
        Some(OverrideAction::List(list_args)) => list(&list_args.server, args.json || list_args.json, out),
        Some(OverrideAction::Set(set)) => set_override(set, out),
        Some(OverrideAction::Delete(delete)) => {
            let body = json!({ "match": target(&delete.target) }).to_string();
            let content = Content::json(&body);
            client(&delete.server)?.send(Method::DELETE, "/v1/override", content, "the override")?;
            Ok(writeln!(out, "{}: health decides again", words(&target(&delete.target)))?)
        }
    }
}

/// Lists overrides.
fn list(server: &args::Server, is_json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let text = client(server)?.get("/v1/override")?;
    if is_json {
        return Ok(writeln!(out, "{}", text.trim_end())?);
    }
    let held: Overrides = serde_json::from_str(&text).context("the server's list is of another version")?;
    if held.overrides.is_empty() {
        return Ok(writeln!(out, "no overrides: health decides")?);
    }
    let row = |one: &Held| {
        let until = one.until.clone().unwrap_or_else(|| "no end".to_owned());
        vec![
            words(&one.target),
            one.state.clone(),
            one.set.clone().unwrap_or_default(),
            until,
            one.why.clone(),
        ]
    };
    let rows: Vec<_> = held.overrides.iter().map(row).collect();
    Ok(write_rows(out, &["on", "state", "set", "until", "why"], rows)?)
}

/// Sets an override.
fn set_override(args: &args::OverrideSet, out: &mut dyn Write) -> Result<(), Failure> {
    let target = target(&args.target);
    let mut body = json!({ "match": target, "state": args.state.as_str() });
    if let Some(for_s) = args.for_s {
        body["for_s"] = json!(for_s);
    }
    if let Some(why) = &args.why {
        body["why"] = json!(why);
    }
    let body = body.to_string();
    let reply =
        client(&args.server)?.send(Method::PUT, "/v1/override", Content::json(&body), "the override")?;
    let set: Set = serde_json::from_str(&reply).context("the server's reply is of another version")?;
    let until = set.until.unwrap_or_else(|| "deleted".to_owned());
    let matched = count(set.matched, "appliance");
    writeln!(out, "{}: {} until {until}, {matched} now", words(&target), args.state.as_str())?;
    if set.matched == 0 {
        writeln!(out, "note: no appliance of the served table matches; it holds for those that come")?;
    }
    Ok(())
}

/// What an override is on, as JSON has it.
fn target(target: &args::Target) -> Map<String, Value> {
    let of = |key: &str, glob: &Option<String>| glob.as_ref().map(|glob| (key.to_owned(), json!(glob)));
    let all = [of("site", &target.site), of("cluster", &target.cluster), of("appliance", &target.appliance)];
    all.into_iter().flatten().collect()
}

/// What an override is on, in words.
fn words(target: &Map<String, Value>) -> String {
    let one = |(key, glob): (&String, &Value)| format!("{key} {}", glob.as_str().unwrap_or("?"));
    target.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Writes rows in columns; nothing when there is none.
fn write_rows(out: &mut dyn Write, header: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if grid.width().is_none() {
        grid.set_width(COLUMNS);
    }
    grid.set_header(header).add_rows(rows);
    for column in grid.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for line in grid.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
