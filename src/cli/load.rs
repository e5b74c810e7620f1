//! Config and everything it points at, read from disk.
//!
//! Every reader returns all that is wrong, as problems that name the file and, for what the config
//! points at, the config's own line. Nothing here changes anything on disk, so that `check` and
//! `explain` may run beside a steerd that serves. Layer 9.

use crate::config::{Config, Control};
use crate::dnssec::Keyrings;
use crate::geo::Geography;
use crate::problem::Problem;
use crate::publish::Rules;
use crate::publish::cache::Cache;
use crate::serve::run::now;
use crate::serve::{keys, load, places};
use crate::table::body::{Encoding, decode_body};
use crate::table::journal::{self, Record};
use crate::table::{self, Read, Table, artefact};
use crate::units::Epoch;
use crate::zone::Zones;
use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// Most octets of a table that is read without a config, decompressed.
pub const BODY_OCTETS_MAX: u64 = (Control::BODY_MAX_MB as u64) << 20;

/// A config and the file it stands in.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Its name, as given.
    pub name: String,
    /// Its text, to find lines in.
    text: String,
    /// What it says.
    pub config: Config,
}

impl ConfigFile {
    /// Reads `path`.
    ///
    /// # Errors
    /// All that is wrong with it by itself.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let name = path.display().to_string();
        let text = read_text(path).map_err(|problem| vec![problem])?;
        let config = Config::parse(&name, &text)?;
        Ok(Self { name, text, config })
    }

    /// A path of the config as the process opens it, and as people are told.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.config.resolve(path)
    }

    /// A problem of the value under `keys`; elements of lists are named by their number.
    pub fn problem(&self, keys: &[&str], found: impl std::fmt::Display, expected: &str) -> Problem {
        let is_name = |key: &&&str| key.parse::<usize>().is_err();
        let key: Vec<&str> = keys.iter().filter(is_name).copied().collect();
        Problem::at(self.line_of(keys), key.join("."), found, expected).in_file(&self.name)
    }

    /// The line of the value under `keys`, as far as the path exists; 0 when none of it does.
    fn line_of(&self, keys: &[&str]) -> u64 {
        let Ok(root) = DeTable::parse(&self.text) else { return 0 };
        let mut start = None;
        let mut rest = keys.iter();
        let mut value = rest.next().and_then(|key| root.get_ref().get(*key));
        while let Some(found) = value {
            start = Some(found.span().start);
            value = rest.next().and_then(|key| match found.get_ref() {
                DeValue::Table(table) => table.get(*key),
                DeValue::Array(list) => list.get(key.parse::<usize>().ok()?),
                _ => None,
            });
        }
        start.map_or(0, |start| 1 + self.text[..start].matches('\n').count() as u64)
    }

    /// A file that the value under `keys` names.
    ///
    /// # Errors
    /// That it cannot be read, pointing at the config.
    fn read_file(&self, keys: &[&str], path: &Path) -> Result<Vec<u8>, Problem> {
        let path = self.resolve(path);
        fs::read(&path).map_err(|error| {
            let found = format!("{} ({})", path.display(), said(&error));
            self.problem(keys, found, "a file that can be read")
        })
    }

    /// Where addresses are, and what is remarkable about that.
    ///
    /// # Errors
    /// All that is wrong with the files.
    pub fn geography(&self) -> Result<(Arc<Geography>, Vec<Problem>), Vec<Problem>> {
        // The files themselves, not what a running node keeps of them.
        let read = places::geography(&self.config, &Cache::none());
        let (geography, warnings) = read.map_err(|found| self.placed(found))?;
        Ok((geography.unwrap_or_else(|| Arc::new(Geography::empty())), self.placed(warnings)))
    }

    /// The zones.
    ///
    /// # Errors
    /// All that is wrong with them and their master files.
    pub fn zones(&self) -> Result<Zones, Vec<Problem>> {
        load::zones(&self.config).map_err(|found| self.placed(found))
    }

    /// The keys of signed zones, and what is odd about them.
    ///
    /// # Errors
    /// All that is wrong with the key files.
    pub fn keyrings(&self) -> Result<(Keyrings, Vec<Problem>), Vec<Problem>> {
        let read = keys::keyrings(&self.config, now().into());
        let (keyrings, warnings) = read.map_err(|found| self.placed(found))?;
        Ok((keyrings, self.placed(warnings)))
    }

    /// Checks the tokens of the push API.
    ///
    /// # Errors
    /// Files that cannot be read or hold no token.
    pub fn tokens(&self) -> Result<(), Vec<Problem>> {
        load::auth(&self.config).map(drop).map_err(|found| self.placed(found))
    }

    /// What the config says about publishing.
    pub fn rules(&self) -> Rules {
        load::rules(&self.config)
    }

    /// The same problems; those of a file that is not there, and of the config's own values, get the
    /// line of the config that names them.
    pub fn placed(&self, problems: Vec<Problem>) -> Vec<Problem> {
        problems.into_iter().map(|problem| self.place(problem)).collect()
    }

    /// Places one problem.
    fn place(&self, problem: Problem) -> Problem {
        if problem.file.is_empty() {
            let keys: Vec<&str> = problem.key.split('.').collect();
            let line = if problem.line > 0 { problem.line } else { self.line_of(&keys) };
            return Problem { line, ..problem.in_file(&self.name) };
        }
        let config = &self.config;
        let mut tokens = config.control.tokens.iter();
        if let Some(token) = tokens.find(|token| token.file.display().to_string() == problem.file) {
            let found = format!("{} ({})", problem.file, said(&problem.found));
            let key = "control.tokens".to_owned();
            return Problem { line: token.line, key, found, ..problem }.in_file(&self.name);
        }
        if problem.line > 0 || Path::new(&problem.file).exists() {
            return problem;
        }
        let is_it = |path: &Path| self.resolve(path).display().to_string() == problem.file;
        let found = said(&problem.found);
        let found = format!("{} ({found})", problem.file);
        let at = match &*problem.key {
            "geoip.files" => config.geoip.files.iter().position(|path| is_it(path)),
            "dns.zone.records" => {
                let mut zones = config.dns.zones.iter();
                zones.position(|zone| zone.records.as_deref().is_some_and(is_it))
            }
            "dns.zone.keys" => {
                let mut zones = config.dns.zones.iter();
                zones.position(|zone| zone.keys.as_deref().is_some_and(is_it))
            }
            "control.tokens" => {
                let token = config.control.tokens.iter().find(|token| is_it(&token.file));
                let line = token.map_or(0, |token| token.line);
                return Problem { line, found, ..problem }.in_file(&self.name);
            }
            _ => None,
        };
        let at = at.map(|at| at.to_string());
        let keys: Vec<&str> = match (&*problem.key, at.as_deref()) {
            ("geoip.files", Some(at)) => vec!["geoip", "files", at],
            ("dns.zone.records", Some(at)) => vec!["dns", "zone", at, "records"],
            ("dns.zone.keys", Some(at)) => vec!["dns", "zone", at, "keys"],
            (key, _) => key.split('.').collect(),
        };
        Problem { line: self.line_of(&keys), found, ..problem }.in_file(&self.name)
    }

    /// The table file, if the config names one.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn table(&self) -> Option<Result<Read, Vec<Problem>>> {
        let path = self.config.table.file.as_deref()?;
        let name = self.resolve(path).display().to_string();
        let octets = match self.read_file(&["table", "file"], path) {
            Ok(octets) => octets,
            Err(problem) => return Some(Err(vec![problem])),
        };
        Some(table_of(&name, &octets, self.config.control.body_octets_max()))
    }
}

/// Reads a table or artefact, compressed or not.
///
/// # Errors
/// All that is wrong with it.
pub fn read_table(path: &Path, octets_max: u64) -> Result<Read, Vec<Problem>> {
    let octets = read_octets(path).map_err(|problem| vec![problem])?;
    table_of(&path.display().to_string(), &octets, octets_max)
}

/// The table that `octets`, the content of file `name`, are.
///
/// # Errors
/// All that is wrong with it.
pub fn table_of(name: &str, octets: &[u8], octets_max: u64) -> Result<Read, Vec<Problem>> {
    let octets = unpacked(name, octets, octets_max).map_err(|problem| vec![problem])?;
    if !artefact::is_artefact(&octets) {
        let read = table::read_full(&octets).map_err(|problems| in_file(problems, name))?;
        return Ok(Read { warnings: in_file(read.warnings, name), ..read });
    }
    match artefact::read(&octets) {
        Ok(table) => Ok(Read { table, warnings: Vec::new(), ignored: Vec::new() }),
        Err(artefact::ArtefactError::Fleet(problems)) => Err(in_file(problems, name)),
        Err(error) => Err(vec![Problem::at(0, "", error, "a whole artefact").in_file(name)]),
    }
}

/// How octets are compressed, by how they begin.
pub fn encoding_of(octets: &[u8]) -> Encoding {
    match octets {
        [0x1f, 0x8b, ..] => Encoding::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Encoding::Zstd,
        _ => Encoding::Identity,
    }
}

/// Decompresses `octets`, the content of file `name`.
///
/// # Errors
/// That they are damaged, or more than `octets_max`.
pub fn unpacked<'a>(name: &str, octets: &'a [u8], octets_max: u64) -> Result<Cow<'a, [u8]>, Problem> {
    let cap = usize::try_from(octets_max).unwrap_or(usize::MAX);
    decode_body(encoding_of(octets), octets, cap).map_err(|error| {
        let expected = format!("gzip, zstd or neither, of at most {octets_max} octets (control.body_max_mb)");
        Problem::at(0, "", error, expected).in_file(name)
    })
}

/// Reads a file that was named on the command line.
///
/// # Errors
/// That it cannot be read.
pub fn read_octets(path: &Path) -> Result<Vec<u8>, Problem> {
    fs::read(path).map_err(|error| {
        Problem::at(0, "", said(&error), "a file that can be read").in_file(path.display().to_string())
    })
}

/// Reads a text file that was named on the command line.
///
/// # Errors
/// That it cannot be read, or is no text.
fn read_text(path: &Path) -> Result<String, Problem> {
    String::from_utf8(read_octets(path)?).map_err(|error| {
        let octets = error.as_bytes();
        let valid = &octets[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|&&octet| octet == b'\n').count() as u64;
        Problem::at(line, "", "octets that are not UTF-8", "text").in_file(path.display().to_string())
    })
}

/// Reads the token in a file.
///
/// # Errors
/// That it cannot be read, or holds none.
pub fn read_token(path: &Path) -> Result<String, Problem> {
    let name = path.display().to_string();
    let found = fs::read(path).map_err(|error| {
        let found = format!("{name} ({})", said(&error));
        Problem::at(0, "", found, "a file that holds a token").in_file(&name)
    })?;
    let text = String::from_utf8_lossy(&found);
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
        // What was found is a secret, or most of one.
        let found = format!("{} octets that are none", found.len());
        let expected = "one token of visible ASCII characters without spaces";
        return Err(Problem::at(0, "", found, expected).in_file(name));
    }
    Ok(token.to_owned())
}

/// What an error of the system says, without its number.
pub fn said(error: impl ToString) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// The same problems, in `file` where they name none.
fn in_file(problems: Vec<Problem>, file: &str) -> Vec<Problem> {
    let named = |problem: Problem| if problem.file.is_empty() { problem.in_file(file) } else { problem };
    problems.into_iter().map(named).collect()
}

/// What a state directory holds.
#[derive(Debug, Default)]
pub struct Saved {
    /// The newest table that reads.
    pub table: Option<Table>,
    /// The highest epoch ever accepted, as far as is known.
    pub highest_epoch: Option<Epoch>,
    /// What was saved of health.
    pub health: Option<Vec<u8>>,
}

impl Saved {
    /// Reads what `dir` holds and leaves it as it is, unlike a restart, which also mends it.
    pub fn read(dir: &Path) -> Self {
        let number = |entry: fs::DirEntry| -> Option<u64> {
            entry.file_name().to_str()?.strip_suffix(".table")?.parse().ok()
        };
        let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        let mut numbers: Vec<u64> = entries.filter_map(number).collect();
        numbers.sort_unstable();
        let health = fs::read(dir.join("health.json")).ok();
        for number in numbers.into_iter().rev() {
            let file = |kind: &str| dir.join(format!("{number:010}.{kind}"));
            let Some(table) = fs::read(file("table")).ok().and_then(|octets| artefact::read(&octets).ok())
            else {
                continue;
            };
            let journal = fs::read(file("journal")).unwrap_or_default();
            return Self { health, ..Self::replayed(table, &journal) };
        }
        Self { health, ..Self::default() }
    }

    /// `table` with the deltas of its journal, up to the first that does not fit.
    fn replayed(mut table: Table, journal: &[u8]) -> Self {
        let mut highest_epoch = table.epoch();
        for record in journal::read(journal).0 {
            match record {
                Record::Delta { text, .. } => match table::read_delta(&text, &table) {
                    Ok(delta) => table = delta.read.table,
                    Err(_) => break,
                },
                Record::Rollback { from, .. } => highest_epoch = highest_epoch.max(from),
                Record::Reset { .. } => {}
            }
            highest_epoch = highest_epoch.max(table.epoch());
        }
        Self { table: Some(table), highest_epoch: Some(highest_epoch), health: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::store::Store;

    #[test]
    fn lines_of_keys_are_found() {
        let text = "[geoip]\nfiles = [\n  \"a\",\n  \"b\",\n]\n\n[[dns.zone]]\nname = \"x\"\n";
        let file = ConfigFile { name: "f".into(), text: text.into(), config: Config::default() };
        for (keys, expected) in [
            (&["geoip", "files", "1"][..], 4),
            (&["geoip", "files"], 2),
            (&["dns", "zone", "0", "name"], 8),
            (&["http"], 0),
        ] {
            assert_eq!(file.line_of(keys), expected, "{keys:?}");
        }
        let problem = file.problem(&["geoip", "files", "0"], "x", "y");
        assert_eq!(problem.to_string(), "f:3: geoip.files: found x, expected y");
    }

    #[test]
    fn saved_state_is_read_without_touching_it() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(Saved::read(&dir.path().join("none")).table.is_none());
        let (mut store, _) = Store::open(dir.path(), 5).expect("a store");
        let text =
            b"{\"table\":{\"format\":1,\"epoch\":4}}\n{\"site\":{\"code\":\"a\",\"lat\":1.0,\"lon\":2.0}}\n";
        let table = table::read_full(text).expect("a table").table;
        let record = Record::Rollback { from: Epoch::new(9).expect("an epoch"), to: table.epoch() };
        store.save_full(&table, Some(&record)).expect("saved");
        fs::write(dir.path().join("0000000007.table"), b"damaged").expect("written");
        fs::write(dir.path().join("0000000008.table.tmp"), b"half").expect("written");
        let saved = Saved::read(dir.path());
        assert_eq!(saved.table, Some(table));
        assert_eq!(saved.highest_epoch.map(Epoch::get), Some(9));
        assert!(dir.path().join("0000000008.table.tmp").exists());
        assert!(dir.path().join("0000000007.table").exists());
    }
}
