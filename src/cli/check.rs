//! `steerd check`: everything that is wrong, at once.
//!
//! Problems are the result, so they go to standard output, one a line; what is only worth knowing
//! follows as `warning:` and `note:`. Layer 9.

use super::args;
use super::failure::{Failure, count};
use super::load::{self, BODY_OCTETS_MAX, ConfigFile};
use crate::config::Listen;
use crate::dnssec::{Keyrings, UnixS};
use crate::geo::Geography;
use crate::problem::Problem;
use crate::publish::TableCounts;
use crate::serve::run::now;
use crate::serve::tls::{Certificates, clients};
use crate::table::{Read, Table};
use crate::wire::Name;
use crate::zone::Zones;
use std::io::{self, Write};
use std::net::SocketAddr;

/// Services that are named in a note, at most.
const NAMED_MAX: usize = 5;

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    /// What is wrong.
    problems: Vec<Problem>,
    /// What may be meant.
    warnings: Vec<String>,
    /// What is worth knowing.
    notes: Vec<String>,
    /// What is fine, in words.
    fine: Vec<String>,
}

/// Checks what `args` names.
///
/// # Errors
/// [`Failure::Data`] when anything is wrong; all of it has been told to `out` then.
pub fn check(args: &args::Check, out: &mut dyn Write) -> Result<(), Failure> {
    let mut findings = Findings::default();
    match &args.config {
        Some(path) => match ConfigFile::read(path) {
            Ok(file) => findings.config(&file, args),
            Err(problems) => findings.problems = problems,
        },
        None => findings.table_file(args, BODY_OCTETS_MAX).map(drop).unwrap_or_default(),
    }
    findings.sort(args);
    let told = findings.tell(out);
    match findings.problems.len() as u64 {
        0 => Ok(told?),
        problems => Err(Failure::Data(format!("found {}", count(problems, "problem")))),
    }
}

impl Findings {
    /// Checks a config and what it points at.
    fn config(&mut self, file: &ConfigFile, args: &args::Check) {
        self.listeners(file);
        let geography = match file.geography() {
            Ok((geography, warnings)) => {
                self.warnings.extend(warnings.iter().map(ToString::to_string));
                Some(geography)
            }
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        };
        let zones = file.zones().map_err(|problems| self.problems.extend(problems)).ok();
        match file.keyrings() {
            Ok((keyrings, warnings)) => self.keys(&keyrings, &warnings),
            Err(problems) => self.problems.extend(problems),
        }
        self.certificates(file);
        if let Err(problems) = file.tokens() {
            self.problems.extend(problems);
        }
        let state_dir = file.resolve(&file.config.table.state_dir);
        if state_dir.exists() && !state_dir.is_dir() {
            let found = format!("{} (no directory)", state_dir.display());
            self.problems.push(file.problem(
                &["table", "state_dir"],
                found,
                "a directory, made when missing",
            ));
        }
        let table = if args.table.is_some() {
            self.table_file(args, file.config.control.body_octets_max())
        } else {
            let name = file.config.table.file.as_deref().map(|path| file.resolve(path));
            let name = name.map(|name| name.display().to_string()).unwrap_or_default();
            file.table().and_then(|read| self.table(&name, read))
        };
        if let (Some(zones), Some(table)) = (&zones, &table) {
            self.zones_and_table(file, zones, table);
        }
        if let Some(zones) = &zones {
            let names: usize = zones.iter().map(|zone| zone.nodes().count()).sum();
            let zones = zones.iter().count() as u64;
            self.fine.push(format!("{} with {}", count(zones, "zone"), count(names as u64, "name")));
        }
        self.geography(file, geography.as_deref());
        if table.is_none() && file.config.table.file.is_none() && self.problems.is_empty() {
            self.notes.push("no table.file: nothing is served until a table is pushed".to_owned());
        }
    }

    /// Says where the config listens.
    fn listeners(&mut self, file: &ConfigFile) {
        let config = &file.config;
        let of = |what: &str, addrs: Vec<String>| {
            (!addrs.is_empty()).then(|| format!("{what} on {}", addrs.join(", ")))
        };
        let listening = |listen: &[Listen]| listen.iter().map(|listen| listen.addr.to_string()).collect();
        self.fine.extend(of("DNS", listening(&config.dns.listen)));
        self.fine.extend(of("DNS over TLS", listening(&config.dns.listen_tls)));
        self.fine.extend(of("HTTP", listening(&config.http.listen)));
        self.fine.extend(of("HTTPS", listening(&config.http.listen_tls)));
        let plainly = |addrs: &[SocketAddr]| addrs.iter().map(ToString::to_string).collect();
        self.fine.extend(of("control", plainly(&config.control.listen)));
        self.fine.extend(of("control over TLS", plainly(&config.control.listen_tls)));
    }

    /// Checks certificates.
    fn certificates(&mut self, file: &ConfigFile) {
        let certificates = Certificates::read(&file.config);
        self.problems.extend(file.placed(certificates.problems()));
        let authorities = clients::read_authorities(&file.config);
        self.problems.extend(file.placed(authorities.err().into_iter().collect()));
        let now_s = (now().0 / 1000).cast_signed();
        let warnings = file.placed(certificates.warnings(now_s));
        self.warnings.extend(warnings.iter().map(ToString::to_string));
        if let Some(left_s) = certificates.expires_in_s(now_s) {
            let [shown, ..] = certificates.counts();
            let days = left_s.max(0).cast_unsigned() / 86_400;
            let certificates = count(shown as u64, "certificate");
            self.fine.push(format!("{certificates}, the first expires in {}", count(days, "day")));
        }
    }

    /// Says which zones are signed. That nobody signs now is wrong, although a running server goes on.
    fn keys(&mut self, keyrings: &Keyrings, warnings: &[Problem]) {
        let now = UnixS::from(now());
        self.warnings.extend(warnings.iter().map(ToString::to_string));
        for keyring in keyrings.iter() {
            let phase = keyring.phase(now);
            if phase.is_continued() {
                let found = format!("no key of {} that signs since {}", keyring.apex(), phase.from());
                self.problems.push(Problem::at(0, "dns.zone.keys", found, "a key that signs now"));
            }
            let keys = count(keyring.keys().len() as u64, "key");
            let next = keyring.next_change(now);
            let next = next.map_or_else(String::new, |next| format!(", the next change at {next}"));
            self.fine.push(format!("{} signed with {keys}{next}", keyring.apex()));
        }
    }

    /// Says what GeoIP knows.
    fn geography(&mut self, file: &ConfigFile, geography: Option<&Geography>) {
        let files = file.config.geoip.files.len() as u64;
        match geography {
            Some(_) if files == 0 => {
                let note = "no geoip.files: clients without a route go to default clusters";
                self.notes.push(note.to_owned());
            }
            Some(geography) => {
                let places = geography.locations.len().saturating_sub(1) as u64;
                self.fine.push(format!("{} with {}", count(files, "GeoIP file"), count(places, "place")));
            }
            None => {}
        }
    }

    /// Checks the table that was named by itself.
    fn table_file(&mut self, args: &args::Check, octets_max: u64) -> Option<Table> {
        let path = args.table.as_deref()?;
        self.table(&path.display().to_string(), load::read_table(path, octets_max))
    }

    /// Takes up what reading the table in file `name` brought.
    fn table(&mut self, name: &str, read: Result<Read, Vec<Problem>>) -> Option<Table> {
        let Read { table, warnings, ignored } =
            read.map_err(|problems| self.problems.extend(problems)).ok()?;
        self.warnings.extend(warnings.iter().map(ToString::to_string));
        let ignored = ignored.iter();
        self.warnings.extend(ignored.map(|key| format!("{name}:{}: {} is ignored", key.line, key.key)));
        let counts = TableCounts::of(&table);
        self.fine.push(format!(
            "table of epoch {}: {}, {}, {}, {}, {} and {}",
            table.epoch().get(),
            count(counts.sites as u64, "site"),
            count(counts.clusters as u64, "cluster"),
            count(counts.appliances as u64, "appliance"),
            count(counts.services as u64, "service"),
            count(counts.routes_v4 as u64, "IPv4 route"),
            count(counts.routes_v6 as u64, "IPv6 route"),
        ));
        Some(table)
    }

    /// Checks what zones and table say together.
    fn zones_and_table(&mut self, file: &ConfigFile, zones: &Zones, table: &Table) {
        for problem in conflicts(zones, table) {
            let is_placed = !problem.file.is_empty();
            self.problems.push(if is_placed { problem } else { problem.in_file(&file.name) });
        }
        if file.config.dns.listen.is_empty() {
            return;
        }
        let is_outside = |name: &&str| {
            let bare = name.strip_prefix("*.").unwrap_or(name);
            bare.parse::<Name>().is_ok_and(|name| zones.find(name.as_wire()).is_none())
        };
        let outside: Vec<&str> =
            table.fleet().services().iter().map(|service| &*service.name).filter(is_outside).collect();
        if !outside.is_empty() {
            let more = outside.len().saturating_sub(NAMED_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let named = outside[..outside.len().min(NAMED_MAX)].join(", ");
            self.notes.push(format!("outside every zone, so served over HTTP only: {named}{more}"));
        }
    }

    /// Puts the config's problems first, in the order of its lines.
    fn sort(&mut self, args: &args::Check) {
        let config = args.config.as_deref().map(|path| path.display().to_string());
        self.problems.sort_by_key(|problem| {
            let is_config = Some(&problem.file) == config.as_ref();
            (!is_config, if is_config { problem.line } else { 0 })
        });
    }

    /// Tells everything.
    fn tell(&self, out: &mut dyn Write) -> io::Result<()> {
        self.problems.iter().try_for_each(|problem| writeln!(out, "{problem}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(out, "warning: {warning}"))?;
        self.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))?;
        if self.problems.is_empty() {
            self.fine.iter().try_for_each(|fine| writeln!(out, "ok: {fine}"))?;
        }
        Ok(())
    }
}

/// Where zones and a table contradict each other, in the order of zones' names.
pub fn conflicts(zones: &Zones, table: &Table) -> Vec<Problem> {
    let mut zones: Vec<_> = zones.iter().collect();
    zones.sort_by_key(|zone| zone.apex().to_string());
    zones.iter().flat_map(|zone| zone.conflicts_with(table.fleet())).collect()
}
