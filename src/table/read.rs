//! Reading a full table: NDJSON in, a frozen [`Table`] or every problem out.
//!
//! A text comes in pieces that may be cut anywhere, and none of it is kept but the line that a piece's
//! end cuts; a text at hand is one piece. Lines are taken in any order after the first. The reader keeps
//! going after a problem, so that an operator sees them all. Deltas share the line loop; see
//! [`super::delta`]. Layer 3.

use super::Table;
use super::draft::{Draft, ItemKind};
use super::findings::{Findings, Ignored};
use super::items::{self, Expressions};
use super::json::{Fields, Json};
use super::names;
use super::pending::{self, PendingRoutes};
use super::routes::{RouteSet, Routes, ViaPool};
use crate::prefix::Prefix;
use crate::problem::Problem;
use crate::units::Epoch;
use std::mem;
use std::sync::Arc;

/// The table format this reads and writes.
pub const FORMAT: u64 = 1;
/// Its minor version: a text of a higher one may have kinds and keys that are ignored.
pub const MINOR: u64 = 0;

/// A table that was accepted, and what there is to say about its text.
#[derive(Debug)]
pub struct Read {
    /// The table.
    pub table: Table,
    /// Identical duplicates and the like, by line.
    pub warnings: Vec<Problem>,
    /// Kinds and keys of a newer format, passed over.
    pub ignored: Vec<Ignored>,
}

/// The first line of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The epoch it brings.
    pub epoch: Epoch,
    /// For a delta, the epoch it is made on.
    pub base: Option<Epoch>,
    /// Who wrote it; `None` when it does not say.
    pub source: Option<Box<str>>,
}

/// A full table as its text has it.
#[derive(Debug)]
pub struct Full {
    /// The first line, or what is wrong with it, whatever the rest is.
    pub header: Result<Header, Vec<Problem>>,
    /// The table, or every problem of the text, by line, the first [`super::PROBLEMS_MAX`] of them.
    pub read: Result<Read, Vec<Problem>>,
}

/// Reads only the first line, of a table or a delta.
///
/// # Errors
/// What is wrong with that line.
pub fn read_header(bytes: &[u8]) -> Result<Header, Vec<Problem>> {
    let first = Lines::new(bytes, 0).next();
    first.map_or_else(|| Err(vec![empty_text("table")]), |(line, text)| header_alone(line, text))
}

/// Reads a first line by itself.
fn header_alone(line: u64, text: &[u8]) -> Result<Header, Vec<Problem>> {
    let mut out = Findings::default();
    let header = match Json::read(text) {
        Ok(json) => {
            let kind = if kind_of(&json) == Some("delta") { "delta" } else { "table" };
            header(&mut out, line, json, kind).unwrap_or(None)
        }
        Err(error) => {
            out.problem(not_json(line, error));
            None
        }
    };
    out.settle()?;
    header.ok_or_else(|| vec![empty_text("table")])
}

/// Reads a full table that is at hand.
///
/// # Errors
/// Every problem of the text, by line, the first [`super::PROBLEMS_MAX`] of them.
pub fn read_full(bytes: &[u8]) -> Result<Read, Vec<Problem>> {
    let mut reader = FullReader::default();
    reader.push(bytes);
    reader.finish().read
}

/// Reads a full table, every line as JSON: the slow twin of [`read_full`], for fuzzing.
///
/// # Errors
/// As [`read_full`].
#[cfg(feature = "fuzzing")]
pub fn read_full_thoroughly(bytes: &[u8]) -> Result<Read, Vec<Problem>> {
    let mut reader = FullReader(Reader { is_slow: true, ..Reader::default() });
    reader.push(bytes);
    reader.finish().read
}

/// Reads a full table whose text comes in pieces.
#[derive(Default)]
pub struct FullReader(Reader);

impl FullReader {
    /// Takes the next piece; it may begin and end in the middle of a line or a character.
    pub fn push(&mut self, piece: &[u8]) {
        self.0.push(piece);
    }

    /// Takes what was pushed for the whole text.
    pub fn finish(mut self) -> Full {
        self.0.end();
        let header = self.0.first.take().unwrap_or_else(|| Err(vec![empty_text("table")]));
        Full { header, read: self.0.table() }
    }
}

/// The lines of a text with their 1-based numbers, blank ones counted but not given.
struct Lines<'a> {
    rest: &'a [u8],
    line: u64,
}

impl<'a> Lines<'a> {
    /// Starts at a line before which there are `line`.
    fn new(bytes: &'a [u8], line: u64) -> Self {
        Self { rest: bytes, line }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = line_feed(self.rest);
            let text = &self.rest[..end];
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            self.line += 1;
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if !text.iter().all(u8::is_ascii_whitespace) {
                return Some((self.line, text));
            }
        }
        None
    }
}

/// Position of the first line feed, or the length; eight octets at a time.
fn line_feed(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let mut chunks = bytes.chunks_exact(8);
    let mut at = 0;
    for chunk in chunks.by_ref() {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or([b'\n'; 8])) ^ (ONES * u64::from(b'\n'));
        // A zero octet borrows; false hits only come above a true one, and the lowest is taken.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return at + (zeros.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let tail = chunks.remainder();
    at + tail.iter().position(|&b| b == b'\n').unwrap_or(tail.len())
}

/// What a first line of `kind` should be.
fn first_line_of(kind: &str) -> &'static str {
    match kind {
        "delta" => r#"a first line {"delta":{"format":1,"base":1,"epoch":2}}"#,
        _ => r#"a first line {"table":{"format":1,"epoch":1}}"#,
    }
}

/// The problem of a text without lines.
pub(super) fn empty_text(kind: &str) -> Problem {
    Problem::at(0, "", "an empty text", first_line_of(kind))
}

/// The problem of a line that is no JSON.
fn not_json(line: u64, error: String) -> Problem {
    Problem::at(line, "", error, "one JSON object a line")
}

/// The only key of an object.
fn kind_of<'j>(json: &'j Json<'_>) -> Option<&'j str> {
    match json {
        Json::Object(entries) if entries.len() == 1 => Some(&entries[0].0),
        _ => None,
    }
}

/// Splits an object of one key.
fn split_kind(json: Json<'_>) -> Result<(std::borrow::Cow<'_, str>, Json<'_>), Json<'_>> {
    match json {
        Json::Object(mut entries) if entries.len() == 1 => Ok(entries.remove(0)),
        other => Err(other),
    }
}

/// Reads a first line, which has to be of `kind` (`table` or `delta`). `Err`: what follows is not
/// worth reading either, because it is of another kind or format.
fn header(
    out: &mut Findings,
    line: u64,
    json: Json<'_>,
    kind: &'static str,
) -> Result<Option<Header>, Foreign> {
    let expected = first_line_of(kind);
    let (found, json) = match split_kind(json) {
        Ok((key, json)) if key == kind => (key, json),
        Ok((key, _)) => {
            out.problem(Problem::at(line, "", format!("`{key}`"), expected));
            return if matches!(&*key, "table" | "delta") { Err(Foreign) } else { Ok(None) };
        }
        Err(other) => {
            out.problem(Problem::at(line, "", other, expected));
            return Ok(None);
        }
    };
    let Some(mut fields) = Fields::new(out, line, found, json) else { return Ok(None) };
    if fields.need(out, "format", "1").is_some_and(|format| format.as_count() != Some(FORMAT)) {
        fields.problem(out, "format", "another format", FORMAT.to_string());
        return Err(Foreign);
    }
    out.is_lenient = fields.count(out, "minor", 0..=Epoch::MAX).is_some_and(|minor| minor > MINOR);
    let new = epoch(out, &mut fields, "epoch");
    let base = if kind == "delta" { epoch(out, &mut fields, "base") } else { None };
    let source = fields.text(out, "source", names::NOTE, names::note);
    fields.finish(out);
    if let (Some(base), Some(new)) = (base, new)
        && base >= new
    {
        out.problem(Problem::at(line, "delta.epoch", new, "an epoch above `base`"));
    }
    Ok(new.map(|epoch| Header { epoch, base, source }))
}

/// A text of another kind or format than was asked for.
struct Foreign;

/// The epoch under `key`, which has to be there.
fn epoch(out: &mut Findings, fields: &mut Fields<'_>, key: &'static str) -> Option<Epoch> {
    let expected = format!("a whole number from 1 to {}", Epoch::MAX);
    let value = fields.need(out, key, &expected)?;
    fields.convert(out, key, &value, &expected, |value| value.as_count().and_then(Epoch::new))
}

/// What the lines of a text come to, before anything is resolved.
#[derive(Default)]
pub(super) struct Reader {
    /// The beginning of a line whose end is still to come.
    cut: Vec<u8>,
    /// Lines before it.
    line: u64,
    /// The first line by itself, once it was there.
    first: Option<Result<Header, Vec<Problem>>>,
    /// The first line as what was asked for.
    pub(super) header: Option<Header>,
    /// What was found.
    pub(super) out: Findings,
    /// The fleet's lines.
    pub(super) draft: Draft,
    /// The route lines.
    pub(super) routes: PendingRoutes,
    /// Prefixes that a delta takes away, with their lines.
    pub(super) removed: Vec<(Prefix, u64)>,
    /// Whether the text is a delta.
    is_delta: bool,
    /// Whether the first line says that the rest is none of ours.
    is_foreign: bool,
    expressions: Expressions,
    /// Tests only: every line takes the slow way.
    #[cfg(any(test, feature = "fuzzing"))]
    is_slow: bool,
}

impl Reader {
    /// A reader that also takes `remove` lines.
    pub(super) fn of_delta() -> Self {
        Self { is_delta: true, ..Self::default() }
    }

    /// Takes the next piece of the text, cut anywhere.
    pub(super) fn push(&mut self, piece: &[u8]) {
        let whole = piece.iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1);
        let (mut whole, rest) = piece.split_at(whole);
        if !self.cut.is_empty() && !whole.is_empty() {
            let (end, after) = whole.split_at(line_feed(whole) + 1);
            let mut line = mem::take(&mut self.cut);
            line.extend_from_slice(end);
            self.lines(&line);
            line.clear();
            (self.cut, whole) = (line, after);
        }
        self.lines(whole);
        self.cut.extend_from_slice(rest);
    }

    /// Takes what was pushed for the whole text.
    pub(super) fn end(&mut self) {
        let last = mem::take(&mut self.cut);
        self.lines(&last);
        if self.first.is_none() {
            self.out.problem(empty_text(self.kind()));
        }
    }

    /// What the first line has to be.
    fn kind(&self) -> &'static str {
        if self.is_delta { "delta" } else { "table" }
    }

    /// Reads lines that are whole.
    fn lines(&mut self, text: &[u8]) {
        let mut lines = Lines::new(text, self.line);
        for (line, text) in lines.by_ref() {
            if self.first.is_none() {
                self.first = Some(header_alone(line, text));
                self.first_line(line, text);
            } else if !self.is_foreign {
                self.line(line, text);
            }
        }
        self.line = lines.line;
    }

    /// What the lines of a full table come to; see [`Full::read`].
    fn table(self) -> Result<Read, Vec<Problem>> {
        let Self { mut out, draft, routes, header, .. } = self;
        let fleet = draft.finish(&mut out);
        let mut vias = ViaPool::default();
        let (v4, v6) = routes.settle(&mut out, &mut vias, |name| match &fleet {
            Ok(fleet) => fleet.cluster_by_name(name),
            Err(draft) => draft.provisional_cluster(name),
        });
        let (warnings, ignored) = out.settle()?;
        let (Ok(fleet), Some(header)) = (fleet, header) else { return Err(vec![empty_text("table")]) };
        let routes = Routes {
            v4: RouteSet::from_sorted(v4.into_iter().map(|route| (route.block, route.via))),
            v6: RouteSet::from_sorted(v6.into_iter().map(|route| (route.block, route.via))),
            vias,
        };
        let source = header.source.unwrap_or_default();
        let table = Table::new(header.epoch, source, Arc::new(fleet), Arc::new(routes));
        Ok(Read { table, warnings, ignored })
    }

    /// Reads the first line. When it is no header at all it is read as an ordinary line too; when it is
    /// one of another kind or format, the rest is not worth reading and `is_foreign` is set.
    fn first_line(&mut self, line: u64, text: &[u8]) {
        let json = match Json::read(text) {
            Ok(json) => json,
            Err(error) => return self.out.problem(not_json(line, error)),
        };
        let is_header = matches!(kind_of(&json), Some("table" | "delta"));
        let kind = self.kind();
        let read = header(&mut self.out, line, json, kind);
        self.is_foreign = read.is_err();
        self.header = read.unwrap_or(None);
        if !is_header {
            self.line(line, text);
        }
    }

    /// Reads one line: the usual route in passing, anything else as JSON.
    fn line(&mut self, line: u64, text: &[u8]) {
        #[cfg(any(test, feature = "fuzzing"))]
        if self.is_slow {
            return self.any_line(line, text);
        }
        if !self.routes.take_plain(line, text) {
            self.any_line(line, text);
        }
    }

    /// Reads one line of any kind.
    fn any_line(&mut self, line: u64, text: &[u8]) {
        let json = match Json::read(text) {
            Ok(json) => json,
            Err(error) => return self.out.problem(not_json(line, error)),
        };
        let (kind, json) = match split_kind(json) {
            Ok(split) => split,
            Err(other) => {
                let expected = "an object of one key, as {\"site\":{…}}";
                return self.out.problem(Problem::at(line, "", other, expected));
            }
        };
        let out = &mut self.out;
        match &*kind {
            "route" => self.routes.take(out, line, json),
            "site" => {
                let made = items::site(out, line, json);
                self.draft.add_site(out, line, made);
            }
            "cluster" => {
                let made = items::cluster(out, line, json);
                self.draft.add_cluster(out, line, made);
            }
            "appliance" => {
                let made = items::appliance(out, line, json);
                self.draft.add_appliance(out, line, made);
            }
            "service" => {
                let made = items::service(out, line, json, &mut self.expressions);
                self.draft.add_service(out, line, made);
            }
            "resolver" => {
                let made = items::resolver(out, line, json);
                self.draft.add_resolver(out, line, made);
            }
            "remove" if self.is_delta => self.remove(line, json),
            "table" | "delta" => {
                out.problem(Problem::at(line, "", format!("`{kind}`"), "one such line, the first"));
            }
            other => {
                let known: &[&str] = match self.is_delta {
                    true => &["site", "cluster", "appliance", "service", "resolver", "route", "remove"],
                    false => &["site", "cluster", "appliance", "service", "resolver", "route"],
                };
                out.unknown(line, other.to_owned(), known);
            }
        }
    }

    /// Reads `{"remove":{"route":"198.51.100.0/24"}}` and its like: one thing a line.
    fn remove(&mut self, line: u64, json: Json<'_>) {
        let out = &mut self.out;
        if kind_of(&json).is_none() && matches!(json, Json::Object(_)) {
            let expected = "one of site, cluster, appliance, service, resolver, route";
            return out.problem(Problem::at(line, "remove", "not one key", expected));
        }
        let Some(mut fields) = Fields::new(out, line, "remove", json) else { return };
        use ItemKind::{Appliance, Cluster, Resolver, Service, Site};
        for kind in [Site, Cluster, Appliance, Service, Resolver] {
            let read = |text: &str| match kind {
                Service => names::service(text),
                Resolver => Some(text.parse::<Prefix>().ok()?.to_string().into()),
                _ => names::plain(text),
            };
            if let Some(name) = fields.text(out, kind.as_str(), "a name", read) {
                self.draft.remove(out, line, kind, name);
            }
        }
        if let Some(value) = fields.take("route") {
            let prefix = pending::prefix(out, &fields, "route", &value);
            self.removed.extend(prefix.map(|prefix| (prefix, line)));
        }
        fields.finish(out);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A small table with one of everything.
    pub(in crate::table) const SMALL: &str = r#"{"table":{"format":1,"epoch":42,"source":"inventory-eu"}}
{"site":{"code":"ams1","lat":52.31,"lon":4.76,"name":"Amsterdam"}}
{"site":{"code":"fra1","lat":50,"lon":8.5}}
{"cluster":{"name":"ams1-isp7","site":"ams1","class":"embedded","serves":"routed","tags":["4k"]}}
{"cluster":{"name":"fra1-any","site":"fra1","class":"transit"}}
{"appliance":{"name":"ams1-c001","cluster":"ams1-isp7","ipv4":"192.0.2.10","ipv6":"2001:db8::10","hostname":"ams1-c001.cdn.example","capacity_mbps":40000,"status":"active"}}
{"appliance":{"name":"fra1-c001","cluster":"fra1-any","ipv4":"192.0.2.20","hostname":"FRA1-c001.cdn.example","tags":["4k","b","b"]}}
{"service":{"name":"video.cdn.example","ttl_s":30,"answers_max":2,"tags":["4k"],"default_clusters":["fra1-any"],"fallback_alias":"video.other-cdn.example"}}
{"service":{"name":"*.live.cdn.example","ttl_s":0,"scheme":"https","port":8443,"hsts_s":31536000,"plain_http":"redirect","families":"together","content_key":{"path_regex":"^/v/([^/]+)/"},"geo":{"allow":["nl","DE"]},"methods":["HEAD","GET"],"pathways":[{"id":"emb","class":"embedded"},{"id":"fra1","cluster":"fra1-any"},{"id":"other","alias":"x.other.example"},{"id":"far","clusters":["fra*","fra1-any"],"clone_of":"fra1"},{"id":"one","rank":1}],"clone_base":"emb","health_check":{"path":"/up","every_s":5},"denied_alias":"sorry.example"}}
{"route":{"prefix":"198.51.100.0/24","via":[{"cluster":"ams1-isp7","local_pref":100,"as_path_len":1,"origin":"igp","med":0}]}}
{"route":{"prefix":"0.0.0.0/0","via":[{"cluster":"fra1-any"}]}}
{"route": {"prefix": "2001:db8::/32", "via": [{"cluster": "fra1-any", "med": 7}, {"cluster": "ams1-isp7"}]}}
"#;

    /// Reads text that has to be good.
    pub(in crate::table) fn table(text: &str) -> Table {
        read_full(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:#?}")).table
    }

    /// The canonical text of `table`.
    pub(in crate::table) fn canonical_of(table: &Table) -> String {
        let mut out = Vec::new();
        table.write(&mut out).expect("a vector takes everything");
        String::from_utf8(out).expect("tables are UTF-8")
    }

    /// A route, told.
    fn told_route(block: impl std::fmt::Display, line: u32, via: &[crate::table::Candidate]) -> String {
        format!("{block} {line} {via:?}")
    }

    /// Reads `text` with every line on the slow way.
    fn read_slowly(text: &str) -> Result<Vec<String>, Vec<String>> {
        let both = [false, true].map(|is_slow| {
            let mut reader = Reader { is_slow, ..Reader::default() };
            reader.push(text.as_bytes());
            reader.end();
            let mut pool = ViaPool::default();
            let (v4, v6) = {
                let draft = &reader.draft;
                reader.routes.settle(&mut reader.out, &mut pool, |name| draft.provisional_cluster(name))
            };
            let told = |list: Vec<Problem>| list.iter().map(Problem::to_string).collect::<Vec<_>>();
            reader.out.settle().map_err(told).map(|(warnings, _)| {
                let mut all = told(warnings);
                all.extend(v4.iter().map(|route| told_route(route.block, route.line, pool.get(route.via))));
                all.extend(v6.iter().map(|route| told_route(route.block, route.line, pool.get(route.via))));
                all
            })
        });
        let [fast, slow] = both;
        assert_eq!(fast, slow, "{text}");
        fast
    }

    /// Expects exactly these problems of [`SMALL`] with `lines` after it, which starts at line 13.
    fn check(lines: &str, expected: &[&str]) {
        let text = format!("{SMALL}{lines}");
        let found = match read_full(text.as_bytes()) {
            Ok(read) => read.warnings.iter().map(|p| format!("warning {p}")).collect(),
            Err(problems) => problems.iter().map(Problem::to_string).collect::<Vec<_>>(),
        };
        assert_eq!(found, expected, "{lines}");
        let _ = read_slowly(&text);
    }

    /// Expects one problem of a route line.
    fn check_route(route: &str, expected: &str) {
        check(&format!("{{\"route\":{route}}}"), &[expected]);
    }

    /// Expects one problem of an item with these keys.
    fn check_item(item: &str, expected: &str) {
        check(item, &[expected]);
    }

    #[test]
    fn the_small_table_is_read() {
        let table = table(SMALL);
        assert_eq!((table.epoch().get(), table.source()), (42, "inventory-eu"));
        let fleet = table.fleet();
        assert_eq!(fleet.clusters().len(), 2);
        assert_eq!(fleet.clusters()[1].serves, crate::fleet::Serves::Any);
        let fra = &fleet.appliances()[1];
        assert_eq!(
            (&*fra.hostname, fra.capacity_mbps, fra.tags.len()),
            ("fra1-c001.cdn.example", CAPACITY, 2)
        );
        let live = fleet.service(fleet.service_by_name("*.live.cdn.example").expect("it is there"));
        assert_eq!(&*live.health_check, r#"{"every_s":5,"path":"/up"}"#);
        assert_eq!(&*live.methods[0], "GET");
        assert_eq!(live.geo.allow[0].as_str(), "DE");
        assert_eq!((table.routes().v4.len(), table.routes().v6.len()), (2, 1));
        let via = table.routes().vias.get(table.routes().v6.via(0));
        assert_eq!(via.iter().map(|c| (c.cluster.index(), c.med)).collect::<Vec<_>>(), [(0, 0), (1, 7)]);
    }

    /// The default capacity.
    const CAPACITY: u32 = crate::table::CAPACITY_MBPS;

    #[test]
    fn first_lines_are_checked() {
        let check = |text: &str, expected: &[&str]| {
            let found = read_full(text.as_bytes()).err().unwrap_or_default();
            assert_eq!(found.iter().map(Problem::to_string).collect::<Vec<_>>(), expected, "{text}");
        };
        let empty = r#"found an empty text, expected a first line {"table":{"format":1,"epoch":1}}"#;
        check("", &[empty]);
        check("\n\n", &[empty]);
        check("\n{\"table\":{\"format\":1,\"epoch\":1}}\n", &[]);
        check(
            r#"{"table":{"format":2,"epoch":1,"new":1}}"#,
            &["1: table.format: found another format, expected 1"],
        );
        check(r#"{"table":{"epoch":1}}"#, &["1: table.format: found nothing, expected 1"]);
        check(
            r#"{"table":{"format":1,"epoch":0}}"#,
            &["1: table.epoch: found 0, expected a whole number from 1 to 9007199254740991"],
        );
        check(
            r#"{"table":{"format":1,"epoch":9007199254740992}}"#,
            &["1: table.epoch: found 9007199254740992, expected a whole number from 1 to 9007199254740991"],
        );
        check(r#"{"table":{"format":1,"epoch":9007199254740991}}"#, &[]);
        check(
            "{\"table\":{\"format\":1}}\n7",
            &[
                "1: table.epoch: found nothing, expected a whole number from 1 to 9007199254740991",
                "2: found 7, expected an object of one key, as {\"site\":{…}}",
            ],
        );
        check(
            r#"{"table":{"format":1,"epoch":1.0}}"#,
            &["1: table.epoch: found 1.0, expected a whole number from 1 to 9007199254740991"],
        );
        check(
            r#"{"delta":{"format":1,"base":1,"epoch":2}}"#,
            &[r#"1: found `delta`, expected a first line {"table":{"format":1,"epoch":1}}"#],
        );
        check(
            "{\"site\":{\"code\":\"a\",\"lat\":91,\"lon\":0}}",
            &[
                r#"1: found `site`, expected a first line {"table":{"format":1,"epoch":1}}"#,
                "1: site.lat: found 91, expected a number from -90 to 90",
            ],
        );
        check("\u{feff}{}", &["1: found expected value at column 1, expected one JSON object a line"]);
    }

    #[test]
    fn routes_are_checked() {
        let prefix = "an address and a length, as 192.0.2.0/24 or 2001:db8::/32";
        let via = r#""via":[{"cluster":"fra1-any"}]"#;
        check(&format!(r#"{{"route":{{"prefix":"10.0.0.0/8",{via}}}}}"#), &[]);
        check_route(
            &format!(r#"{{"prefix":"10.1.0.0/8",{via}}}"#),
            "13: route.prefix: found \"10.1.0.0/8\", expected no host bits, as in 10.0.0.0/8",
        );
        for bad in
            ["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "010.0.0.0/8", "::/129", "::g/0", "10.0.0.0/08", ""]
        {
            let expected = format!("13: route.prefix: found \"{bad}\", expected {prefix}");
            check_route(&format!(r#"{{"prefix":"{bad}",{via}}}"#), &expected);
        }
        check_route(
            &format!(r#"{{"prefix":7,{via}}}"#),
            &format!("13: route.prefix: found 7, expected {prefix}"),
        );
        check_route(&format!("{{{via}}}"), &format!("13: route.prefix: found nothing, expected {prefix}"));
        let with_via = |via: &str, expected: &str| {
            check_route(&format!(r#"{{"prefix":"10.0.0.0/8","via":{via}}}"#), expected)
        };
        with_via("[]", "13: route.via: found 0 candidates, expected 1 to 1024 candidates");
        with_via("{}", "13: route.via: found an object, expected a list of one candidate or more");
        with_via("[1]", "13: route.via[0]: found 1, expected an object");
        with_via("[{}]", "13: route.via[0].cluster: found nothing, expected the name of a cluster");
        with_via(
            r#"[{"cluster":"fra1-any"},{"cluster":"nowhere"}]"#,
            "13: route.via[1].cluster: found \"nowhere\", expected the name of a cluster of this table",
        );
        with_via(
            r#"[{"cluster":"fra1-any"},{"cluster":"fra1-any","med":1}]"#,
            "13: route.via[1].cluster: found \"fra1-any\", expected each cluster once in a `via`",
        );
        with_via(
            r#"[{"cluster":"fra1-any","local_pref":4294967296}]"#,
            "13: route.via[0].local_pref: found 4294967296, expected a whole number from 0 to 4294967295",
        );
        with_via(
            r#"[{"cluster":"fra1-any","med":-1}]"#,
            "13: route.via[0].med: found -1, expected a whole number from 0 to 4294967295",
        );
        with_via(
            r#"[{"cluster":"fra1-any","as_path_len":null}]"#,
            "13: route.via[0].as_path_len: found null, expected a whole number from 0 to 4294967295",
        );
        with_via(
            r#"[{"cluster":"fra1-any","origin":"IGP"}]"#,
            "13: route.via[0].origin: found \"IGP\", expected one of igp, egp, incomplete",
        );
        with_via(
            r#"[{"cluster":"fra1-any","local_prf":1}]"#,
            "13: route.via[0].local_prf: found unknown key `local_prf`, expected `local_pref`, perhaps",
        );
        check_route(
            &format!(r#"{{"prefix":"10.0.0.0/8",{via},"colour":1}}"#),
            "13: route.colour: found unknown key `colour`, expected one of prefix, via",
        );
        check_route(
            r#"{"prefix":"10.0.0.0/8","via":[{"cluster":"fra1-any","cluster":"fra1-any"}]}"#,
            "13: found the key `cluster` twice at column 70, expected one JSON object a line",
        );
    }

    #[test]
    fn duplicates_name_both_lines() {
        check(
            r#"{"route":{"via":[{"cluster":"fra1-any","origin":"igp"}],"prefix":"0.0.0.0/0"}}"#,
            &[
                "warning 13: route.prefix: found 0.0.0.0/0 again, expected one line a prefix; line 11 says the same",
            ],
        );
        check(
            r#"{"route":{"prefix":"0.0.0.0/0","via":[{"cluster":"fra1-any","med":1}]}}"#,
            &["13: route.prefix: found 0.0.0.0/0 again, expected one line a prefix; line 11 says otherwise"],
        );
        check(
            "\n{\"site\":{\"lat\":50.0,\"lon\":8.5,\"code\":\"fra1\"}}",
            &["warning 14: site.code: found `fra1` again, expected each name once; line 3 says the same"],
        );
        check(
            r#"{"site":{"lat":51,"lon":8.5,"code":"fra1"}}"#,
            &["13: site.code: found `fra1` again, expected each name once; line 3 says otherwise"],
        );
        check(
            r#"{"service":{"name":"VIDEO.cdn.example."}}"#,
            &[
                "13: service.name: found `video.cdn.example` again, expected each name once; line 8 says otherwise",
            ],
        );
    }

    #[test]
    fn https_records_are_read_and_written() {
        check(
            r#"{"service":{"name":"a.example","https":{"alpn":["h2",""],"hints":1,"ech":""}}}"#,
            &[
                "13: service.https.alpn[1]: found \"\", expected an ALPN protocol id, as h2",
                "13: service.https.hints: found 1, expected true or false",
                "13: service.https.ech: found unknown key `ech`, expected one of alpn, hints",
            ],
        );
        let line = concat!(
            "{\"service\":{\"name\":\"a.example\",\"ttl_s\":30,\"answers_max\":2,\"https\":{\"alpn\":[\"h2\",\"h3\"],\"hints\":false},",
            "\"svcb\":{\"hints\":true}}}\n",
        );
        let read = read_full(format!("{SMALL}{line}").as_bytes()).expect("a table").table;
        assert!(canonical_of(&read).contains(line), "{}", canonical_of(&read));
    }

    #[test]
    fn resolvers_are_known_by_their_prefix() {
        check(
            "{\"resolver\":{\"prefix\":\"8.8.8.0/24\",\"clients\":[\"203.0.113.0/24\",\"2001:db8::/48\"]}}\n{\"resolver\":{\"prefix\":\"8.8.8.0/24\",\"clients\":[\"203.0.113.0/24\"]}}",
            &[
                "14: resolver.prefix: found `8.8.8.0/24` again, expected each name once; line 13 says otherwise",
            ],
        );
        check(
            r#"{"resolver":{"prefix":"8.8.8.1/24","clients":["203.0.113.0"]}}"#,
            &[
                "13: resolver.prefix: found \"8.8.8.1/24\", expected no host bits, as in 8.8.8.0/24",
                "13: resolver.clients[0]: found \"203.0.113.0\", expected an address and a length, as 192.0.2.0/24 or 2001:db8::/32",
                "13: resolver.clients: found 0 prefixes, expected 1 to 16 prefixes",
            ],
        );
        let line = "{\"resolver\":{\"prefix\":\"2001:db8:8::/48\",\"clients\":[\"203.0.113.0/24\"]}}\n";
        let read = read_full(format!("{SMALL}{line}").as_bytes()).expect("a table").table;
        assert!(canonical_of(&read).contains(line));
        let resolver = |addr: &str| read.fleet().resolver_at(addr.parse().expect("an address")).is_some();
        assert!(resolver("2001:db8:8:1::1") && !resolver("2001:db8:9::1") && !resolver("8.8.8.8"));
    }

    #[test]
    fn lines_that_are_none_are_told_by_number() {
        check(
            "[]\r\n\r\n{\"x\":",
            &[
                "13: found an empty list, expected an object of one key, as {\"site\":{…}}",
                "15: found EOF while parsing a value at column 5, expected one JSON object a line",
            ],
        );
        check(
            r#"{"sight":{}}"#,
            &[
                "13: sight: found unknown key `sight`, expected one of site, cluster, appliance, service, resolver, route",
            ],
        );
        check(r#"{"rout":{}}"#, &["13: rout: found unknown key `rout`, expected `route`, perhaps"]);
        check(r#"{"table":{}}"#, &["13: found `table`, expected one such line, the first"]);
        check(
            r#"{"remove":{}}"#,
            &[
                "13: remove: found unknown key `remove`, expected one of site, cluster, appliance, service, resolver, route",
            ],
        );
        let mut text = SMALL.as_bytes().to_vec();
        text.extend_from_slice(b"{\"site\":{\"code\":\"\xff\",\"lat\":0,\"lon\":0}}\n");
        let problems = read_full(&text).expect_err("it is not UTF-8");
        assert_eq!(
            problems[0].to_string(),
            "13: found octets that are not UTF-8 after column 17, expected one JSON object a line"
        );
    }

    #[test]
    fn fleet_items_are_checked() {
        let check = check_item;
        check(
            r#"{"site":{"code":"x","lat":-90.5,"lon":0}}"#,
            "13: site.lat: found -90.5, expected a number from -90 to 90",
        );
        check(
            r#"{"site":{"code":"x","lat":"1","lon":0}}"#,
            "13: site.lat: found \"1\", expected a number from -90 to 90",
        );
        check(
            r#"{"site":{"code":"x","lat":0}}"#,
            "13: site.lon: found nothing, expected a number from -180 to 180",
        );
        check(
            r#"{"cluster":{"name":"x","site":"ams2","class":"transit"}}"#,
            "13: cluster.site: found \"ams2\", expected the code of a site of this table",
        );
        check(
            r#"{"cluster":{"name":"x","site":"ams1","class":"peering"}}"#,
            "13: cluster.class: found \"peering\", expected one of embedded, private_peering, public_peering, transit",
        );
        check(
            r#"{"cluster":{"name":"x","site":"ams1"}}"#,
            "13: cluster.class: found nothing, expected one of embedded, private_peering, public_peering, transit",
        );
        let appliance = |keys: &str, expected: &str| {
            check(&format!(r#"{{"appliance":{{"name":"x","cluster":"fra1-any",{keys}}}}}"#), expected);
        };
        appliance(
            r#""hostname":"x.example""#,
            "13: appliance.ipv4: found nothing, expected an address under `ipv4`, `ipv6` or both",
        );
        appliance(
            r#""ipv4":"192.0.2.10","hostname":"x.example""#,
            "13: appliance.ipv4: found 192.0.2.10, expected each address once; appliance `ams1-c001` (line 6) has it",
        );
        appliance(
            r#""ipv6":"2001:DB8:0::10","hostname":"x.example""#,
            "13: appliance.ipv6: found 2001:db8::10, expected each address once; appliance `ams1-c001` (line 6) has it",
        );
        appliance(
            r#""ipv4":"192.0.2.1","hostname":"AMS1-c001.cdn.example""#,
            "13: appliance.hostname: found ams1-c001.cdn.example, expected each host name once; appliance `ams1-c001` (line 6) has it",
        );
        appliance(
            r#""ipv4":"192.0.2.1""#,
            "13: appliance.hostname: found nothing, expected a host name; service `*.live.cdn.example` (line 9) is https",
        );
        appliance(
            r#""ipv4":"192.0.2.1","hostname":"video.cdn.example""#,
            "13: appliance.hostname: found video.cdn.example, expected a name of its own; it is a service (line 8)",
        );
        appliance(
            r#""ipv4":"224.0.0.1","hostname":"x.example""#,
            "13: appliance.ipv4: found \"224.0.0.1\", expected the IPv4 address of one machine",
        );
        appliance(
            r#""ipv4":"192.0.2.1","hostname":"x.example","capacity_mbps":4294967296"#,
            "13: appliance.capacity_mbps: found 4294967296, expected a whole number from 0 to 4294967295",
        );
        appliance(
            r#""ipv4":"192.0.2.1","hostname":"x.example","status":"up""#,
            "13: appliance.status: found \"up\", expected one of active, draining, disabled",
        );
    }

    #[test]
    fn services_are_checked() {
        let service = |keys: &str, expected: &str| {
            check(&format!(r#"{{"service":{{"name":"x.example",{keys}}}}}"#), &[expected]);
        };
        service(
            r#""ttl_s":86401"#,
            "13: service.ttl_s: found 86401, expected a whole number from 0 to 86400",
        );
        service(
            r#""answers_max":0"#,
            "13: service.answers_max: found 0, expected a whole number from 1 to 16",
        );
        service(
            r#""answers_max":17"#,
            "13: service.answers_max: found 17, expected a whole number from 1 to 16",
        );
        service(r#""ttl":1"#, UNKNOWN_TTL);
        service(
            r#""default_clusters":["ams1-isp7"]"#,
            "13: service.default_clusters[0]: found \"ams1-isp7\", expected a cluster that serves `any`; line 4 says `routed`",
        );
        service(
            r#""default_clusters":["fra1-any","fra1-any"]"#,
            "13: service.default_clusters[1]: found \"fra1-any\", expected each cluster once",
        );
        service(
            r#""default_clusters":["nowhere"]"#,
            "13: service.default_clusters[0]: found \"nowhere\", expected the name of a cluster of this table",
        );
        service(
            r#""fallback_alias":"a.live.cdn.example""#,
            "13: service.fallback_alias: found \"a.live.cdn.example\", expected a name outside this table; service `*.live.cdn.example` (line 9) has it",
        );
        service(
            r#""denied_alias":"x.example""#,
            "13: service.denied_alias: found \"x.example\", expected a name outside this table; service `x.example` (line 13) has it",
        );
        service(
            r#""content_key":{"path_regex":"("}"#,
            "13: service.content_key.path_regex: found \"(\", expected a regular expression (unclosed group)",
        );
        service(
            r#""content_key":{"path_regex":"^/v/"}"#,
            "13: service.content_key.path_regex: found \"^/v/\", expected a capture, as in ^/v/([^/]+)/",
        );
        service(
            r#""content_key":{}"#,
            "13: service.content_key: found neither, expected either `path_regex` or a `query` of one name or more",
        );
        service(
            r#""geo":{"deny":["Netherlands"]}"#,
            "13: service.geo.deny[0]: found \"Netherlands\", expected a country of two letters (ISO 3166-1)",
        );
    }

    #[test]
    fn what_services_ask_of_http_is_checked() {
        let service = |keys: &str, expected: &str| {
            check(&format!(r#"{{"service":{{"name":"x.example",{keys}}}}}"#), &[expected]);
        };
        service(r#""scheme":"ftp""#, "13: service.scheme: found \"ftp\", expected one of http, https");
        service(r#""port":0"#, "13: service.port: found 0, expected a whole number from 1 to 65535");
        service(
            r#""plain_http":"upgrade""#,
            "13: service.plain_http: found \"upgrade\", expected one of serve, redirect, refuse",
        );
        service(r#""hsts_s":-1"#, "13: service.hsts_s: found -1, expected a whole number from 0 to 63072000");
        service(
            r#""methods":["get"]"#,
            "13: service.methods[0]: found \"get\", expected an HTTP method, as GET",
        );
        service(
            r#""pathways":[{"id":"a"}]"#,
            "13: service.pathways[0]: found 0 targets, expected one of `class`, `cluster`, `clusters`, `rank` and `alias`",
        );
        service(
            r#""pathways":[{"id":"a","class":"transit"},{"id":"a","class":"embedded"}]"#,
            "13: service.pathways[1].id: found `a` again, expected each id once",
        );
        service(
            r#""pathways":[{"id":"a","cluster":"nowhere"}]"#,
            "13: service.pathways[0].cluster: found \"nowhere\", expected the name of a cluster of this table",
        );
        service(
            r#""pathways":[{"id":"a","clusters":["fra*","nowhere"]}]"#,
            "13: service.pathways[0].clusters[1]: found \"nowhere\", expected the name of a cluster of this table",
        );
        service(
            r#""pathways":[{"id":"a","rank":0}]"#,
            "13: service.pathways[0].rank: found 0, expected a whole number from 1 to 16",
        );
        service(
            r#""pathways":[{"id":"a","rank":1,"clone_of":"a"}]"#,
            "13: service.pathways[0].clone_of: found \"a\", expected the id of another pathway",
        );
        service(
            r#""clone_base":"a b""#,
            "13: service.clone_base: found \"a b\", expected an id of letters, digits, `.`, `-` and `_`",
        );
        service(r#""health_check":"/up""#, "13: service.health_check: found \"/up\", expected an object");
        check(
            r#"{"service":{"name":"ams1-c001.cdn.example"}}"#,
            &[
                "13: service.name: found ams1-c001.cdn.example, expected a name of its own; it is the host name of appliance `ams1-c001` (line 6)",
            ],
        );
        check(
            r#"{"service":{"name":"a.*.example"}}"#,
            &[
                "13: service.name: found \"a.*.example\", expected a host name, or `*.` and one, as *.live.cdn.example",
            ],
        );
    }

    /// What an unknown `ttl` is told.
    const UNKNOWN_TTL: &str = "13: service.ttl: found unknown key `ttl`, expected one of name, ttl_s, answers_max, tags, \
        default_clusters, fallback_alias, denied_alias, families, content_key, geo, scheme, port, plain_http, hsts_s, methods, pathways, clone_base, https, svcb, health_check";

    #[test]
    fn a_bad_line_does_not_make_its_referrers_bad() {
        check(
            "{\"site\":{\"code\":\"x\",\"lat\":99,\"lon\":0}}\n{\"cluster\":{\"name\":\"c\",\"site\":\"x\",\"class\":\"bad\"}}\n{\"route\":{\"prefix\":\"10.0.0.0/8\",\"via\":[{\"cluster\":\"c\"}]}}",
            &[
                "13: site.lat: found 99, expected a number from -90 to 90",
                "14: cluster.class: found \"bad\", expected one of embedded, private_peering, public_peering, transit",
            ],
        );
    }

    #[test]
    fn the_fast_way_is_the_slow_way() {
        let start = SMALL.find("{\"route\"").expect("there are routes");
        for at in start..SMALL.len() {
            for byte in ['0', '9', '"', ' ', ',', '}', ']', ':', '/', '\\', 'x', '\n'] {
                let mut text = SMALL.to_owned();
                text.replace_range(at..at + 1, byte.encode_utf8(&mut [0; 4]));
                let _ = read_slowly(&text);
                text.insert(at, SMALL.as_bytes()[at].into());
                let _ = read_slowly(&text);
            }
            let mut text = SMALL.to_owned();
            text.remove(at);
            let _ = read_slowly(&text);
        }
    }

    /// All that reading a text comes to.
    fn told(full: Full) -> String {
        let Full { header, read } = full;
        let read = read.map(|Read { table, warnings, ignored }| (canonical_of(&table), warnings, ignored));
        format!("{header:?} {read:?}")
    }

    /// Reads `text` cut at the places that `len` says, one piece after the other.
    fn in_pieces(text: &[u8], mut len: impl FnMut() -> usize) -> String {
        let (mut reader, mut rest) = (FullReader::default(), text);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(len().min(rest.len()));
            reader.push(piece);
            rest = after;
        }
        told(reader.finish())
    }

    #[test]
    fn pieces_are_the_whole() {
        let site = "{\"site\":{\"code\":\"x\",\"lat\":1,\"lon\":1,\"name\":\"Zürich 東京 🚀\"}}";
        let bad = [
            "\r\n \r\n\n{\"site\":{}}\r\n\n{\"rout\":{}}",
            "{\"route\":{\"prefix\":\"0.0.0.0/0\",\"via\":[{\"cluster\":\"é\"}]}}\r\n7\r\n{\"table\":{}}",
        ];
        let mut texts: Vec<Vec<u8>> = [
            "",
            "\n",
            "\r",
            "\n\r\n \n",
            "7",
            "{\"delta\":{\"format\":1,\"base\":1,\"epoch\":2}}\n7\n",
            site,
            SMALL,
        ]
        .map(|text| text.as_bytes().to_vec())
        .into();
        texts.push(SMALL.replace('\n', "\r\n").into_bytes());
        texts.push(SMALL.replace("\"epoch\":42", "\"epoch\":0").into_bytes());
        texts.push(SMALL.replace("\"format\":1", "\"format\":2").into_bytes());
        texts.push(format!("\r\n{}\r\n{site}\r\n\r\n", SMALL.trim_end()).into_bytes());
        texts.extend(bad.map(|lines| format!("{SMALL}{site}\n{lines}\n{lines}").into_bytes()));
        texts.push([SMALL.as_bytes(), b"{\"site\":{\"code\":\"\xff\xe2\x82\"}}\r\n\xe2"].concat());
        let mut state = 20_261_126u64;
        let mut random = |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % limit
        };
        for text in texts {
            let whole = in_pieces(&text, || usize::MAX);
            assert_eq!(in_pieces(&text, || 1), whole, "octet by octet");
            for at in 0..=text.len() {
                let mut cuts = [at, usize::MAX].into_iter();
                assert_eq!(in_pieces(&text, || cuts.next().unwrap_or(1)), whole, "cut at {at}");
            }
            for longest in [2, 5, 30, 200, 2_000] {
                // Pieces of nothing are pieces too.
                (0..20).for_each(|_| assert_eq!(in_pieces(&text, || random(longest)), whole));
            }
        }
    }

    #[test]
    fn a_newer_minor_version_is_let_off() {
        let text = SMALL.replacen("\"format\":1", "\"format\":1,\"minor\":1", 1)
            + "{\"planet\":{}}\n{\"site\":{\"code\":\"x\",\"lat\":1,\"lon\":1,\"mood\":1}}\n{\"site\":{\"code\":\"y\",\"lat\":1,\"lon\":1,\"mood\":1}}\n";
        let read = read_full(text.as_bytes()).expect("a newer minor version is read");
        assert_eq!(
            read.ignored,
            [
                Ignored { line: 13, key: "planet".into(), count: 1 },
                Ignored { line: 14, key: "site.mood".into(), count: 2 },
            ]
        );
    }

    #[test]
    fn line_feeds_are_found_everywhere() {
        for len in 0..40 {
            for at in 0..len {
                let mut bytes = vec![b'\x0b'; len];
                bytes[at] = b'\n';
                assert_eq!(line_feed(&bytes), at);
            }
            assert_eq!(line_feed(&vec![0x8a; len]), len);
        }
    }
}
