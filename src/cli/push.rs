//! `steerd push`: a table or a delta to a running steerd, and what that changed.
//!
//! The file is sent as it comes from disk; only its beginning is looked at, to know what it is.
//! Layer 9.

use super::args;
use super::client::{Client, Content, Guard};
use super::failure::{Failure, count, grouped};
use super::load::{encoding_of, said};
use crate::problem::Problem;
use crate::table::artefact;
use crate::table::body::Encoding;
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;
use ureq::SendBody;
use ureq::http::Method;

/// Octets of a file, decompressed, that say what it is.
const HEAD_LEN: u64 = 4096;

/// Warnings of the server that are shown, at most.
const WARNINGS_MAX: usize = 20;

/// What a push came to, as the push API tells it.
#[derive(Debug, Deserialize)]
pub struct Report {
    epoch: u64,
    generation: u64,
    counts: Counts,
    #[serde(default)]
    compile_ms: u64,
    #[serde(default)]
    parse_ms: u64,
    #[serde(default)]
    persist_ms: u64,
    diff: Diff,
    #[serde(default)]
    guards: Vec<Guard>,
    #[serde(default)]
    warnings: Vec<Warning>,
    #[serde(default)]
    ignored: Vec<String>,
    #[serde(default)]
    dry_run: bool,
}

/// What is in the table.
#[derive(Debug, Deserialize)]
struct Counts {
    clusters: u64,
    appliances: u64,
    services: u64,
    routes_v4: u64,
    routes_v6: u64,
}

/// What changed hands.
#[derive(Debug, Deserialize)]
struct Diff {
    prefixes_added: u64,
    prefixes_withdrawn: u64,
    #[serde(default)]
    prefixes_changed: u64,
    appliances_added: u64,
    appliances_withdrawn: u64,
    addresses_moved_v4: u128,
    addresses_moved_v6: u128,
}

/// Something in the file that may not be meant.
#[derive(Debug, Deserialize)]
struct Warning {
    #[serde(default)]
    line: u64,
    #[serde(default)]
    key: String,
    found: String,
    expected: String,
}

/// What a file is to be sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    is_delta: bool,
    is_artefact: bool,
    encoding: Encoding,
}

impl Kind {
    /// What a file that begins with `head` is.
    fn of(head: &[u8]) -> Self {
        let encoding = encoding_of(head);
        let mut plain = Vec::new();
        // A head that breaks off is enough to know a file by; a damaged one is the server's to refuse.
        let taken = match encoding {
            Encoding::Identity => head.take(HEAD_LEN).read_to_end(&mut plain).map(drop),
            Encoding::Gzip => {
                flate2::read::MultiGzDecoder::new(head).take(HEAD_LEN).read_to_end(&mut plain).map(drop)
            }
            Encoding::Zstd => zstd::stream::read::Decoder::new(head)
                .and_then(|decoder| decoder.take(HEAD_LEN).read_to_end(&mut plain))
                .map(drop),
        };
        drop(taken);
        let first = String::from_utf8_lossy(&plain);
        let first: String = first.chars().filter(|character| !character.is_whitespace()).take(16).collect();
        Self {
            is_delta: first.starts_with("{\"delta\""),
            is_artefact: artefact::is_artefact(&plain),
            encoding,
        }
    }

    /// Media type.
    fn media_type(self) -> &'static str {
        if self.is_artefact { "application/vnd.steerd.table" } else { "application/x-ndjson" }
    }

    /// `Content-Encoding`.
    fn content_encoding(self) -> Option<&'static str> {
        match self.encoding {
            Encoding::Identity => None,
            Encoding::Gzip => Some("gzip"),
            Encoding::Zstd => Some("zstd"),
        }
    }
}

/// Pushes what `args` names.
///
/// # Errors
/// A file that cannot be read; a server that is not there, or refuses.
pub fn push(args: &args::Push, out: &mut dyn Write) -> Result<(), Failure> {
    let client = Client::new(&args.server.server, &args.server.credentials)?;
    let name = args.file.display().to_string();
    let (file, kind, len) = open(&args.file)
        .map_err(|error| vec![Problem::at(0, "", said(&error), "a file that can be read").in_file(&name)])?;
    let bar = progress(len)?;
    let reader = Watched { inner: BufReader::with_capacity(1 << 18, file), bar: bar.clone() };
    let content = Content {
        media_type: kind.media_type(),
        encoding: kind.content_encoding(),
        len,
        body: SendBody::from_owned_reader(reader),
    };
    let method = if kind.is_delta { Method::PATCH } else { Method::PUT };
    let reply = client.send(method, &path_of(args), content, &name);
    bar.finish_and_clear();
    let report: Report =
        serde_json::from_str(&reply?).context("the server took it, but its reply is of another version")?;
    Ok(report.write(out, &name)?)
}

/// The path and query to push to.
fn path_of(args: &args::Push) -> String {
    let mut query = Vec::new();
    query.extend(args.dry_run.then(|| "dry_run=1".to_owned()));
    query.extend(args.force.then(|| "force=1".to_owned()));
    query.extend(args.reset_epoch.map(|epoch| format!("reset_epoch={epoch}")));
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/v1/table{mark}{}", query.join("&"))
}

/// Opens a file at its beginning, and looks what it is; its length in octets.
fn open(path: &Path) -> io::Result<(File, Kind, u64)> {
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    (&file).take(1 << 18).read_to_end(&mut head)?;
    file.rewind()?;
    let len = file.metadata()?.len();
    Ok((file, Kind::of(&head), len))
}

/// A bar on standard error; nothing where that is no terminal.
fn progress(len: u64) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(len);
    let style = "sending {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(style)?);
    Ok(bar)
}

/// A file whose reading is shown.
struct Watched<R> {
    inner: R,
    bar: ProgressBar,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.bar.inc(count as u64);
        if self.bar.position() >= self.bar.length().unwrap_or(0) && !self.bar.is_finished() {
            // All is sent: what follows is the server's work, of which nothing is seen.
            if let Ok(style) = ProgressStyle::with_template("{spinner} the server checks and compiles it") {
                self.bar.set_style(style);
                self.bar.enable_steady_tick(Duration::from_millis(100));
            }
        }
        Ok(count)
    }
}

impl Report {
    /// Writes what changed; `file` is what was pushed.
    fn write(&self, out: &mut dyn Write, file: &str) -> io::Result<()> {
        let Counts { clusters, appliances, services, routes_v4, routes_v6 } = self.counts;
        let served = match self.dry_run {
            true => "would be served".to_owned(),
            false => format!("is served, generation {}", self.generation),
        };
        writeln!(
            out,
            "epoch {} {served}: {}, {}, {}, {} and {}",
            self.epoch,
            count(clusters, "cluster"),
            count(appliances, "appliance"),
            count(services, "service"),
            count(routes_v4, "IPv4 route"),
            count(routes_v6, "IPv6 route"),
        )?;
        self.diff.write(out)?;
        writeln!(
            out,
            "took        {} ms to check, {} ms to compile, {} ms to make durable",
            self.parse_ms, self.compile_ms, self.persist_ms
        )?;
        for guard in &self.guards {
            let done = if self.dry_run { "would need --force" } else { "overridden" };
            writeln!(out, "guard       {} ({done})", guard.in_words())?;
        }
        for warning in self.warnings.iter().take(WARNINGS_MAX) {
            let Warning { line, key, found, expected } = warning;
            let warning = Problem::at(*line, key.as_str(), found, expected.as_str()).in_file(file);
            writeln!(out, "warning: {warning}")?;
        }
        if let Some(more) = self.warnings.len().checked_sub(WARNINGS_MAX).filter(|&more| more > 0) {
            writeln!(out, "warning: and {more} more")?;
        }
        self.ignored.iter().try_for_each(|key| writeln!(out, "warning: {file}: {key} is ignored"))
    }
}

impl Diff {
    /// Writes what changed.
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let plain = |number: u64| grouped(u128::from(number));
        let nothing = [
            self.prefixes_added,
            self.prefixes_withdrawn,
            self.prefixes_changed,
            self.appliances_added,
            self.appliances_withdrawn,
        ];
        let is_nothing = nothing.iter().all(|&number| number == 0);
        if is_nothing && self.addresses_moved_v4 == 0 && self.addresses_moved_v6 == 0 {
            return writeln!(out, "changes     nobody is steered elsewhere");
        }
        writeln!(
            out,
            "prefixes    {} added, {} withdrawn, {} changed",
            plain(self.prefixes_added),
            plain(self.prefixes_withdrawn),
            plain(self.prefixes_changed)
        )?;
        writeln!(
            out,
            "appliances  {} added, {} withdrawn",
            plain(self.appliances_added),
            plain(self.appliances_withdrawn)
        )?;
        writeln!(out, "moved       {}", moved(self.addresses_moved_v4, self.addresses_moved_v6))
    }
}

/// Address space that moves, in words: addresses of IPv4, blocks of IPv6.
pub fn moved(v4: u128, v6: u128) -> String {
    match (v4, v6) {
        (0, 0) => "nobody".to_owned(),
        (_, 0) => format!("{} IPv4 addresses", grouped(v4)),
        (0, _) => format!("{} of IPv6", blocks_v6(v6)),
        _ => format!("{} IPv4 addresses, {} of IPv6", grouped(v4), blocks_v6(v6)),
    }
}

/// IPv6 space in the largest of usual blocks that it is a multiple of.
pub fn blocks_v6(addresses: u128) -> String {
    if addresses == u128::MAX {
        return "all".to_owned();
    }
    let of = |len: u32| addresses >> (128 - len);
    let is_whole = |len: u32| addresses == of(len) << (128 - len);
    match [32, 48, 64].into_iter().find(|&len| is_whole(len) && of(len) < 100_000) {
        _ if addresses == 0 => "nothing".to_owned(),
        Some(len) => format!("{} × /{len}", grouped(of(len))),
        None if of(48) > 0 => format!("about {} × /48", grouped(of(48))),
        None if of(64) > 0 => format!("about {} × /64", grouped(of(64))),
        None => format!("{} addresses", grouped(addresses)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_beginning() {
        let check = |octets: &[u8], method_media: (bool, &str), encoding| {
            let kind = Kind::of(octets);
            assert_eq!((kind.is_delta, kind.media_type()), method_media);
            assert_eq!(kind.content_encoding(), encoding);
        };
        let delta = b"{\"delta\":{\"format\":1,\"base\":1,\"epoch\":2}}\n";
        let full = b"{\"table\":{\"format\":1,\"epoch\":2}}\n";
        let ndjson = "application/x-ndjson";
        check(delta, (true, ndjson), None);
        check(b"\n { \"delta\" : {", (true, ndjson), None);
        check(full, (false, ndjson), None);
        check(b"", (false, ndjson), None);
        check(&zstd::bulk::compress(delta, 1).expect("compressed"), (true, ndjson), Some("zstd"));
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(full).expect("compressed");
        check(&encoder.finish().expect("compressed"), (false, ndjson), Some("gzip"));
        let table = crate::table::read_full(full).expect("a table").table;
        check(&artefact::write(&table), (false, "application/vnd.steerd.table"), None);
    }

    #[test]
    fn space_is_told_in_blocks() {
        for (addresses, expected) in [
            (0, "nothing"),
            (5, "5 addresses"),
            (3 << 80, "3 × /48"),
            (1 << 96, "1 × /32"),
            ((1 << 96) + (1 << 80), "65,537 × /48"),
            (1 << 64, "1 × /64"),
            ((1 << 64) + 1, "about 1 × /64"),
            (u128::MAX, "all"),
        ] {
            assert_eq!(blocks_v6(addresses), expected);
        }
    }

    #[test]
    fn a_report_is_a_few_lines() {
        let json = r#"{"epoch":43,"generation":7,"counts":{"sites":1,"clusters":2,"appliances":3,"services":1,
            "routes_v4":1333000,"routes_v6":0},"compile_ms":80,"parse_ms":12,"persist_ms":5,
            "diff":{"prefixes_added":12,"prefixes_withdrawn":0,"prefixes_changed":4,"appliances_added":1,
            "appliances_withdrawn":0,"addresses_moved_v4":1048576,"addresses_moved_v6":340282366920938463463374607431768211455},
            "guards":[],"dry_run":false}"#;
        let report: Report = serde_json::from_str(json).expect("a report");
        let mut out = Vec::new();
        report.write(&mut out, "f").expect("written");
        let expected = "epoch 43 is served, generation 7: 2 clusters, 3 appliances, 1 service, \
                        1,333,000 IPv4 routes and 0 IPv6 routes\n\
                        prefixes    12 added, 0 withdrawn, 4 changed\n\
                        appliances  1 added, 0 withdrawn\n\
                        moved       1,048,576 IPv4 addresses, all of IPv6\n\
                        took        12 ms to check, 80 ms to compile, 5 ms to make durable\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
