//! `steerd table`: tables compared, compiled and printed.
//!
//! Layer 9.

use super::args;
use super::failure::{Failure, count, grouped};
use super::load::{self, BODY_OCTETS_MAX, ConfigFile};
use super::push::{blocks_v6, moved as moved_words};
use crate::geo::Geography;
use crate::problem::Problem;
use crate::publish::{DiffReport, Rules, TableCounts};
use crate::snapshot::{Compiler, Dirty, Moved, moved};
use crate::table::{self, DeltaError, GuardHit, Table, TableDiff, appliances_withdrawn, artefact};
use anyhow::Context;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names that are listed on one line, at most.
const NAMED_MAX: usize = 8;

/// What changes from one table to another.
#[derive(Debug, Serialize)]
struct Difference {
    /// The table before.
    old: Side,
    /// The table after.
    new: Side,
    /// What changes hands, as a push tells it.
    diff: DiffReport,
    /// Everything else that changes.
    details: TableDiff,
    /// Appliances that go out of service, by name.
    appliances_withdrawn: Vec<String>,
    /// Appliances that come into service, by name.
    appliances_added: Vec<String>,
    /// Address space that `diff` is a share of.
    addresses_routed_v4: u128,
    /// The same of IPv6.
    addresses_routed_v6: u128,
    /// Guard rails that would stop a push.
    guards: Vec<GuardHit>,
}

/// One of two tables.
#[derive(Debug, Serialize)]
struct Side {
    file: String,
    epoch: u64,
    digest: String,
    counts: TableCounts,
}

impl Side {
    /// That of `table`, which was read from `path`.
    fn of(path: &Path, table: &Table) -> Self {
        Self {
            file: path.display().to_string(),
            epoch: table.epoch().get(),
            digest: table.digest().to_owned(),
            counts: TableCounts::of(table),
        }
    }
}

/// Compares two tables.
///
/// # Errors
/// Config or tables that are bad.
pub fn diff(args: &args::TableDiff, out: &mut dyn Write) -> Result<(), Failure> {
    let (rules, geography, octets_max) = match &args.config {
        None => (Rules::default(), Arc::new(Geography::empty()), BODY_OCTETS_MAX),
        Some(path) => {
            let file = ConfigFile::read(path)?;
            (file.rules(), file.geography()?.0, file.config.control.body_octets_max())
        }
    };
    let old = load::read_table(&args.old, octets_max)?.table;
    let new = read_newer(&args.new, &old, octets_max)?;
    let difference = Difference::of(args, old, new, &rules, geography);
    if args.json {
        let json = serde_json::to_string_pretty(&difference).context("a difference that has no JSON")?;
        return Ok(writeln!(out, "{json}")?);
    }
    Ok(difference.write(out, args.config.is_some())?)
}

/// Reads the table after `old`: a table, or a delta on `old`.
fn read_newer(path: &Path, old: &Table, octets_max: u64) -> Result<Table, Vec<Problem>> {
    let name = path.display().to_string();
    let octets = load::read_octets(path).map_err(|problem| vec![problem])?;
    let text = load::unpacked(&name, &octets, octets_max).map_err(|problem| vec![problem])?;
    let is_delta = table::read_header(&text).is_ok_and(|header| header.base.is_some());
    if !is_delta {
        drop(text);
        return Ok(load::table_of(&name, &octets, octets_max)?.table);
    }
    match table::read_delta(&text, old) {
        Ok(delta) => Ok(delta.read.table),
        Err(DeltaError::Problems(problems)) => {
            Err(problems.into_iter().map(|problem| problem.in_file(&name)).collect())
        }
        Err(DeltaError::WrongBase { base, .. }) => {
            let expected = format!("{}, the epoch of the table before", old.epoch().get());
            Err(vec![Problem::at(1, "delta.base", base.get(), expected).in_file(name)])
        }
    }
}

impl Difference {
    /// Compares by content, and by what both decide when compiled.
    fn of(args: &args::TableDiff, old: Table, new: Table, rules: &Rules, geography: Arc<Geography>) -> Self {
        let details = table::diff(Some(&old), &new);
        let (sides, gone) =
            ((Side::of(&args.old, &old), Side::of(&args.new, &new)), appliances_withdrawn(&old, &new));
        let come = appliances_withdrawn(&new, &old);
        let compile =
            |table| Compiler::new().compile(Arc::new(table), Arc::clone(&geography), rules.settings.clone());
        let (before, after) = std::thread::scope(|scope| {
            let before = scope.spawn(|| compile(old));
            let after = compile(new);
            (before.join(), after)
        });
        let found = match before {
            Ok(before) => moved(&before, &after, Dirty::all()),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let shares = table::Moved { v4: found.share_v4(), v6: found.share_v6() };
        Self {
            old: sides.0,
            new: sides.1,
            diff: DiffReport::of(&details, &found),
            guards: table::guard(&details, shares, &rules.limits),
            details,
            appliances_withdrawn: gone,
            appliances_added: come,
            addresses_routed_v4: found.routed_v4,
            addresses_routed_v6: found.routed_v6,
        }
    }

    /// Writes it in a few lines.
    fn write(&self, out: &mut dyn Write, has_geography: bool) -> io::Result<()> {
        let (old, new) = (&self.old, &self.new);
        writeln!(out, "epoch {} ({}) → epoch {} ({})", old.epoch, old.file, new.epoch, new.file)?;
        if self.details.is_empty() {
            let same = self.diff.addresses_moved_v4 == 0 && self.diff.addresses_moved_v6 == 0;
            debug_assert!(same, "equal tables decide equally");
            let same = if old.digest == new.digest { "the same" } else { "the same but for the first line" };
            return writeln!(out, "{same}");
        }
        let details = &self.details;
        let routes = |counts: &TableCounts| (counts.routes_v4 + counts.routes_v6) as u64;
        writeln!(
            out,
            "prefixes    {} added, {} withdrawn, {} changed; now {} (was {})",
            number(details.prefixes_added),
            number(details.prefixes_withdrawn),
            number(details.prefixes_changed),
            number(routes(&new.counts)),
            number(routes(&old.counts)),
        )?;
        writeln!(
            out,
            "appliances  {} added, {} withdrawn, {} changed; now {} (was {})",
            number(details.appliances_added),
            number(details.appliances_withdrawn),
            number(details.appliances_changed),
            number(new.counts.appliances as u64),
            number(old.counts.appliances as u64),
        )?;
        names(out, "  added     ", &self.appliances_added)?;
        names(out, "  withdrawn ", &self.appliances_withdrawn)?;
        if details.clusters_added + details.clusters_removed > 0 {
            let (added, removed) = (details.clusters_added, details.clusters_removed);
            writeln!(out, "clusters    {} added, {} removed", number(added), number(removed))?;
        }
        names(out, "services +  ", &details.services_added)?;
        names(out, "services -  ", &details.services_removed)?;
        names(out, "services ~  ", &details.services_changed)?;
        self.write_moved(out)?;
        for guard in &self.guards {
            writeln!(out, "guard       {guard}: a push would need --force")?;
        }
        if !has_geography {
            writeln!(out, "note: without --config, so moves by geography are not seen")?;
        }
        Ok(())
    }

    /// Writes how much address space gets another first cluster.
    fn write_moved(&self, out: &mut dyn Write) -> io::Result<()> {
        let (v4, v6) = (self.diff.addresses_moved_v4, self.diff.addresses_moved_v6);
        let found =
            Moved { v4, v6, routed_v4: self.addresses_routed_v4, routed_v6: self.addresses_routed_v6 };
        if v4 == 0 && v6 == 0 {
            return writeln!(out, "clients     none gets another first cluster");
        }
        writeln!(out, "clients     {} get another first cluster", moved_words(v4, v6))?;
        writeln!(
            out,
            "            IPv4: {:.2} % of the {} addresses routed before; IPv6: {:.2} % of {}",
            found.share_v4() * 100.0,
            grouped(found.routed_v4),
            found.share_v6() * 100.0,
            blocks_v6(found.routed_v6),
        )
    }
}

/// A number in groups.
fn number(number: u64) -> String {
    grouped(u128::from(number))
}

/// Writes a line of names; nothing when there is none.
fn names(out: &mut dyn Write, what: &str, names: &[String]) -> io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let named = names[..names.len().min(NAMED_MAX)].join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => writeln!(out, "{what}{named}"),
        more => writeln!(out, "{what}{named} and {} more", number(more as u64)),
    }
}

/// Compiles a table into an artefact.
///
/// # Errors
/// A table that is bad, a file that cannot be written.
pub fn build(args: &args::TableBuild, out: &mut dyn Write) -> Result<(), Failure> {
    let table = load::read_table(&args.input, BODY_OCTETS_MAX)?.table;
    let octets = artefact::write(&table);
    write_whole(&args.output, &octets).with_context(|| format!("cannot write {}", args.output.display()))?;
    let counts = TableCounts::of(&table);
    Ok(writeln!(
        out,
        "{}: epoch {}, {}, {} octets, sha256 {}",
        args.output.display(),
        table.epoch().get(),
        count((counts.routes_v4 + counts.routes_v6) as u64, "route"),
        number(octets.len() as u64),
        table.digest(),
    )?)
}

/// Writes a file that is there whole or not at all.
fn write_whole(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let mut file = File::create(&temporary)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Prints a table as canonical NDJSON.
///
/// # Errors
/// A table that is bad.
pub fn show(args: &args::TableShow, out: &mut dyn Write) -> Result<(), Failure> {
    let table = load::read_table(&args.file, BODY_OCTETS_MAX)?.table;
    let mut out = BufWriter::with_capacity(1 << 18, out);
    table.write(&mut out)?;
    Ok(out.flush()?)
}
