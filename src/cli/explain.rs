//! `steerd explain`: a decision in words, then its candidates as a table.
//!
//! The decision is made by the library or by a running steerd; both come as the same JSON, which is
//! printed as it is or put into words here. Layer 9.

use super::args::{self, Qtype};
use super::check::conflicts;
use super::client::Client;
use super::failure::Failure;
use super::load::{self, BODY_OCTETS_MAX, ConfigFile, Saved};
use crate::geo::Geography;
use crate::health::Health;
use crate::http::content_key;
use crate::prefix::Family;
use crate::problem::Problem;
use crate::publish::Rules;
use crate::serve::run::now;
use crate::snapshot::{Compiler, Snapshot};
use crate::steer::explain::{Ask, explain as explain_client};
use crate::table::Table;
use crate::zone::Zones;
use anyhow::Context;
use comfy_table::{CellAlignment, ContentArrangement, Table as Grid, presets};
use ipnetwork::IpNetwork;
use serde::Deserialize;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;

/// Candidates that fit a small terminal.
const ROWS_MAX: usize = 12;

/// Columns where the terminal does not say.
const COLUMNS: u16 = 100;

/// A decision as JSON has it; see [`crate::steer::explain::Explanation`].
#[derive(Debug, Deserialize)]
struct Told {
    client: IpAddr,
    service: String,
    asked: String,
    generation: u64,
    epoch: Option<u64>,
    #[serde(rename = "match")]
    matched: String,
    prefix: Option<String>,
    scope_len: u8,
    chosen: Vec<String>,
    cluster: Option<String>,
    outcome: String,
    first_match: Option<First>,
    alias: Option<String>,
    location: Option<Place>,
    peer_decides: bool,
    key: String,
    candidates: Vec<Candidate>,
}

/// The first on the list, when another serves.
#[derive(Debug, Deserialize)]
struct First {
    cluster: String,
}

/// Where the client is.
#[derive(Debug, Deserialize)]
struct Place {
    country: Option<String>,
    lat: Option<f64>,
    lon: Option<f64>,
    network: Option<String>,
}

/// A cluster of the list.
#[derive(Debug, Deserialize)]
struct Candidate {
    cluster: String,
    rank: usize,
    kind: String,
    class: String,
    distance_km: Option<u16>,
    prefix: Option<String>,
    route: Option<Route>,
    active: u32,
    up: u32,
    why: String,
}

/// Attributes of a route.
#[derive(Debug, Deserialize)]
struct Route {
    local_pref: u32,
    as_path_len: u32,
    origin: String,
    med: u32,
}

/// Explains what `args` asks.
///
/// # Errors
/// Bad config or tables, a service that is not there, a server that does not answer.
pub fn explain(args: &args::Explain, out: &mut dyn Write) -> Result<(), Failure> {
    let is_from_disk = args.config.is_some() || args.table.is_some();
    let (json, from) = if is_from_disk {
        from_disk(args)?
    } else {
        let server = args.server.as_deref().unwrap_or(args::SERVER);
        let client = Client::new(server, &args.credentials)?;
        (client.get(&request(args))?, server.to_owned())
    };
    if args.json {
        return Ok(writeln!(out, "{}", json.trim_end())?);
    }
    let told: Told = serde_json::from_str(&json).context("the server's explanation is of another version")?;
    told.write(out, &from, !is_from_disk)?;
    Ok(())
}

/// The path and query that ask a server.
fn request(args: &args::Explain) -> String {
    let mut request = format!("/v1/explain?client={}&service={}", args.client, escaped(&args.service));
    if let Some(path) = &args.path {
        request += &format!("&path={}", escaped(path));
    }
    match args.qtype {
        Some(Qtype::A) => request += "&type=A",
        Some(Qtype::Aaaa) => request += "&type=AAAA",
        None => {}
    }
    request
}

/// `text` as a value of a query (RFC 3986 section 2.1).
fn escaped(text: &str) -> String {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~/".contains(&octet);
    let octet = |octet: u8| match is_plain(octet) {
        true => char::from(octet).to_string(),
        false => format!("%{octet:02X}"),
    };
    text.bytes().map(octet).collect()
}

/// Makes the decision here; the JSON, and what it was made from.
fn from_disk(args: &args::Explain) -> Result<(String, String), Failure> {
    let (world, from) = World::read(args)?.compile();
    let host = args.service.trim_end_matches('.').to_ascii_lowercase();
    let fleet = world.fleet();
    let service = fleet.service_by_name(&host).or_else(|| fleet.service_of_host(&host));
    let key = service.zip(args.path.as_deref());
    let key = key.map(|(id, path)| content_key(&fleet.service(id).content_key, path));
    let family = args.qtype.map(|qtype| match qtype {
        Qtype::A => Family::V4,
        Qtype::Aaaa => Family::V6,
    });
    let ask = Ask { client: args.client, service: &args.service, key: key.as_deref(), family };
    let explanation = explain_client(&world, &ask).map_err(|_| {
        let services: Vec<&str> = fleet.services().iter().map(|service| &*service.name).collect();
        let (named, more) = services.split_at(services.len().min(10));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        let named = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
        Failure::Data(format!("{} is no service of {from}; there is {named}{more}", args.service))
    })?;
    let json = serde_json::to_string_pretty(&explanation).context("a decision that has no JSON")?;
    Ok((json, from))
}

/// What a decision is made from.
struct World {
    table: Table,
    geography: Arc<Geography>,
    zones: Zones,
    rules: Rules,
    /// Saved health.
    health: Option<Vec<u8>>,
    /// Where the table is from, in words.
    from: String,
}

impl World {
    /// Reads everything that `args` names.
    fn read(args: &args::Explain) -> Result<Self, Failure> {
        let Some(config) = &args.config else {
            let path = args.table.as_deref().ok_or_else(|| Failure::Usage("nobody to ask".to_owned()))?;
            return Ok(Self {
                table: load::read_table(path, BODY_OCTETS_MAX)?.table,
                geography: Arc::new(Geography::empty()),
                zones: Zones::default(),
                rules: Rules::default(),
                health: None,
                from: path.display().to_string(),
            });
        };
        let file = ConfigFile::read(config)?;
        let mut problems = Vec::new();
        let geography = file.geography().map_err(|found| problems.extend(found)).ok();
        let zones = file.zones().map_err(|found| problems.extend(found)).ok();
        let saved = Saved::read(&file.resolve(&file.config.table.state_dir));
        let health = saved.health.clone();
        let table = served_table(args, &file, saved).map_err(|found| problems.extend(found)).ok();
        let (Some((geography, _)), Some(zones), Some((table, from))) = (geography, zones, table) else {
            return Err(Failure::Problems(problems));
        };
        let conflicts = conflicts(&zones, &table);
        if !conflicts.is_empty() {
            return Err(Failure::Problems(conflicts));
        }
        Ok(Self { table, geography, zones, rules: file.rules(), health, from })
    }

    /// Makes a generation of it, and says what it is made from.
    fn compile(self) -> (Snapshot, String) {
        let now = now();
        let mut health = Health::new(self.rules.health);
        let mut from = self.from;
        // Health that does not read is health that a restart would not have either.
        let is_restored = self.health.is_some_and(|saved| health.restore(&saved, now).is_ok());
        if is_restored {
            from += ", health as last saved";
        }
        let table = Arc::new(self.table);
        let geography = self.geography;
        let compiled = Compiler::new().compile(Arc::clone(&table), geography, self.rules.settings);
        let overlay = health.overlay(table.fleet(), now);
        (Snapshot::new(1, compiled, Arc::new(overlay), Arc::new(self.zones)), from)
    }
}

/// The table that a steerd with this config would serve, or the one asked for, and where it is from.
fn served_table(
    args: &args::Explain,
    file: &ConfigFile,
    saved: Saved,
) -> Result<(Table, String), Vec<Problem>> {
    if let Some(path) = &args.table {
        let read = load::read_table(path, file.config.control.body_octets_max())?;
        return Ok((read.table, path.display().to_string()));
    }
    let state_dir = file.resolve(&file.config.table.state_dir);
    let of_state = saved.table.map(|table| (table, state_dir.display().to_string()));
    match (file.table(), of_state) {
        (Some(Ok(read)), of_state) => {
            let is_newer = saved.highest_epoch.is_none_or(|highest| read.table.epoch() > highest);
            let path = file.config.table.file.as_deref().map(|path| file.resolve(path));
            let name = path.map(|path| path.display().to_string()).unwrap_or_default();
            Ok(of_state.filter(|_| !is_newer).unwrap_or((read.table, name)))
        }
        // A restart would serve what was saved, too.
        (_, Some(of_state)) => Ok(of_state),
        (Some(Err(problems)), None) => Err(problems),
        (None, None) => {
            let found = format!("none, and no table in {}", state_dir.display());
            Err(vec![file.problem(&["table"], found, "table.file, or --table FILE")])
        }
    }
}

impl Told {
    /// Writes everything; `from` says who decided, `is_live` that it serves.
    fn write(&self, out: &mut dyn Write, from: &str, is_live: bool) -> io::Result<()> {
        writeln!(out, "{}", self.who())?;
        if let Some(why) = self.reason() {
            writeln!(out, "{why}")?;
        }
        for line in self.remarks() {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "{}", self.scope())?;
        let epoch = self.epoch.map_or_else(|| "no table".to_owned(), |epoch| format!("epoch {epoch}"));
        // Made from disk there is only one.
        let generation = if is_live { format!(", generation {}", self.generation) } else { String::new() };
        writeln!(out, "{epoch}{generation}, from {from}")?;
        if self.candidates.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        for line in self.grid().lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        match self.candidates.len().saturating_sub(ROWS_MAX) {
            0 => Ok(()),
            more => writeln!(out, "and {more} more (--json lists all)"),
        }
    }

    /// What was asked, in words.
    fn asked(&self) -> &str {
        match &*self.asked {
            "ranked" => "",
            qtype => qtype,
        }
    }

    /// Who serves whom.
    fn who(&self) -> String {
        let asked = if self.asked().is_empty() { String::new() } else { format!(" ({})", self.asked()) };
        let question = format!("{} for {}{asked}", self.client, self.service);
        let alias = self.alias.as_deref().map(|alias| format!(", sent to {alias}")).unwrap_or_default();
        match (&self.cluster, &*self.outcome) {
            (Some(cluster), _) => {
                let (first, rest) = self.chosen.split_at(self.chosen.len().min(3));
                let more = if rest.is_empty() { String::new() } else { format!(" +{}", rest.len()) };
                format!("{question} is served by {cluster}: {}{more}", first.join(", "))
            }
            (None, "denied") => {
                let country = self.location.as_ref().and_then(|place| place.country.as_deref());
                format!("{question} is denied (country {}){alias}", country.unwrap_or("unknown"))
            }
            (None, "fallback") => format!("{question} is served by nobody here{alias}"),
            (None, "no_such_family") => format!("{question} gets an empty answer: no addresses of this type"),
            (None, "no_candidate") => format!("{question} is served by nobody: no cluster is on the list"),
            (None, "nobody_up") => format!("{question} is served by nobody: nothing on the list is up"),
            (None, outcome) => format!("{question} is served by nobody: {outcome}"),
        }
    }

    /// Why the one that serves is on the list where it is.
    fn reason(&self) -> Option<String> {
        let serves = self.candidates.iter().find(|one| Some(&one.cluster) == self.cluster.as_ref())?;
        let prefix = self.prefix.as_deref().unwrap_or("?");
        Some(match (&*self.matched, &serves.route) {
            ("route", Some(route)) => format!(
                "because route {prefix} leads there: {}, {}",
                serves.class.replace('_', " "),
                route.in_words(),
            ),
            ("geo", _) => {
                let far = serves.distance_km.map_or_else(|| "near".to_owned(), |km| format!("{km} km away"));
                format!("because it is {far}: {}", self.place())
            }
            ("default", _) => format!("because it is a default of the service; {}", self.place()),
            (other, _) => format!("because of {other} {prefix}"),
        })
    }

    /// Where GeoIP says the client is.
    fn place(&self) -> String {
        let Some(place) = &self.location else { return "GeoIP does not know the client".to_owned() };
        let country = place.country.as_deref().unwrap_or("no country");
        let network = place.network.as_deref().unwrap_or("?");
        match (place.lat, place.lon) {
            (Some(lat), Some(lon)) => format!("GeoIP has {network} in {country} at {lat:.2}, {lon:.2}"),
            _ => format!("GeoIP has {network} in {country}, place unknown"),
        }
    }

    /// What else somebody who wonders should know.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(first) = self.first_match.as_ref().filter(|_| self.cluster.is_some()) {
            let why = self.candidates.iter().find(|one| one.cluster == first.cluster);
            let why = why.map_or("it is passed over", |one| &one.why);
            remarks.push(format!("although {} comes first: {why}", first.cluster));
        }
        let health = match &*self.outcome {
            "shed_ignored" => Some("every candidate sheds this key, so load marks are ignored"),
            "health_broken" => Some("too few of its appliances are up to believe its health: all are used"),
            "draining" => Some("nobody on the list is up: draining appliances serve"),
            "fail_open" => Some("nothing on the list is up: health is ignored"),
            _ => None,
        };
        remarks.extend(health.map(str::to_owned));
        if self.peer_decides {
            let remark = "as the ECS prefix of a query it is special and not used: the resolver's address is";
            remarks.push(remark.to_owned());
        }
        remarks
    }

    /// For whom the same answer holds.
    fn scope(&self) -> String {
        let holds = IpNetwork::new(self.client, self.scope_len);
        let holds = holds.ok().and_then(|net| IpNetwork::new(net.network(), self.scope_len).ok());
        let holds = holds.map_or_else(|| format!("/{}", self.scope_len), |holds| holds.to_string());
        let key = match &*self.key {
            "service" => "service name",
            "service+client" => "service name and client",
            "content" => "content key",
            other => other,
        };
        format!("answers for {holds}, spread by {key}")
    }

    /// Candidates in columns.
    fn grid(&self) -> Grid {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if grid.width().is_none() {
            grid.set_width(COLUMNS);
        }
        // On the narrowest of terminals every column counts.
        let gap = if grid.width().is_some_and(|columns| columns < COLUMNS) { 1 } else { 2 };
        let has_routes = self.candidates.iter().any(|one| one.route.is_some());
        let mut header = vec!["#", "cluster", "class", "because of", "km"];
        header.extend(has_routes.then_some("lp/as/or/med"));
        header.extend(["up", "why"]);
        grid.set_header(&header);
        for one in self.candidates.iter().take(ROWS_MAX) {
            let mut row = vec![
                one.rank.to_string(),
                one.cluster.clone(),
                one.class.trim_end_matches("_peering").to_owned(),
                format!("{} {}", one.kind, one.prefix.as_deref().unwrap_or("")),
                one.distance_km.map_or(String::new(), |km| km.to_string()),
            ];
            row.extend(has_routes.then(|| one.route.as_ref().map(Route::in_short).unwrap_or_default()));
            row.extend([format!("{}/{}", one.up, one.active), one.in_short().to_owned()]);
            grid.add_row(row);
        }
        for numbers in [0, 4] {
            if let Some(column) = grid.column_mut(numbers) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for column in grid.column_iter_mut() {
            column.set_padding((0, gap));
        }
        grid
    }
}

impl Candidate {
    /// Why it serves or not, in few words.
    fn in_short(&self) -> &str {
        match &*self.why {
            why if why.starts_with("serves") => "serves",
            "ranks after the one that serves" => "",
            "no appliance of the asked family is up" => "none up",
            "too few of its appliances are up" => "too few up",
            "all its appliances shed this key" => "sheds",
            "no appliance of the asked family is up or draining" => "none up",
            "no active appliance has the asked family" => "no address",
            why => why,
        }
    }
}

impl Route {
    /// Its attributes for a sentence.
    fn in_words(&self) -> String {
        format!(
            "local_pref {}, AS path of {}, origin {}, med {}",
            self.local_pref,
            self.as_path_len,
            self.origin.to_lowercase(),
            self.med
        )
    }

    /// Its attributes for a column.
    fn in_short(&self) -> String {
        format!("{}/{}/{}/{}", self.local_pref, self.as_path_len, self.origin.to_lowercase(), self.med)
    }
}
