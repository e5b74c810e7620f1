//! The state directory: what makes an acknowledged table outlive the process.
//!
//! ```text
//! 0000000012.table     artefact of a full table, as change 12 left it
//! 0000000012.journal   what was accepted since, in order; first of all what the epochs before it were
//! health.json          states, sequence numbers and overrides
//! cache/               what can be made again (`cache`)
//! ```
//! A change is durable before it is acknowledged: an artefact by temporary file, fsync, rename and
//! fsync of the directory; a delta by append and fsync. The rename of the `.table` file commits a full
//! table; its journal is there before it. A restart takes the newest artefact that reads, with the
//! deltas of its journal up to the first bad record, and says what it had to leave. When a journal has
//! grown, it is folded: the artefact of its last delta is written beside it, without a lock, and becomes
//! the newest one with the deltas that came meanwhile in its journal.
//! Without a directory nothing is kept, and nothing fails.

use super::cache::{Cache, Key, key_of};
use crate::table::artefact;
use crate::table::journal::{self, Record, Tail};
use crate::table::{Table, read_delta};
use crate::units::Epoch;
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// File with what is believed of appliances.
const HEALTH_FILE: &str = "health.json";

/// Deltas in a journal that make folding them into an artefact due: a restart applies them one by one,
/// and has to be quick.
const DELTAS_MANY: usize = 4;

/// Deltas in a journal, at most; the next one is written as a full table.
const DELTAS_MAX: usize = 12;

/// An epoch that can be served again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The epoch.
    pub epoch: u64,
    /// When its file was written, milliseconds since 1970.
    pub written_at_ms: u64,
    /// `full` or `delta`.
    pub kind: &'static str,
    /// Octets on disk.
    pub bytes: u64,
    /// It is the one served now.
    pub is_served: bool,
}

/// One artefact and the deltas after it.
#[derive(Debug, Clone)]
struct Series {
    number: u64,
    epoch: Epoch,
    artefact_bytes: u64,
    written_at_ms: u64,
    /// Epochs of its deltas and their octets, in order.
    deltas: Vec<(Epoch, u64)>,
    /// Names the content of artefact and deltas together; only the newest series knows it.
    state: Key,
}

/// The state directory of one process.
#[derive(Debug, Default)]
pub struct Store {
    dir: Option<PathBuf>,
    keep: usize,
    /// Oldest first.
    series: Vec<Series>,
    /// The newest series' journal.
    journal: Option<File>,
}

/// A fold under way: what was durable when it began.
#[derive(Debug)]
pub struct Folding {
    dir: PathBuf,
    /// The series it folds.
    number: u64,
    /// The last delta it takes in.
    epoch: Epoch,
}

impl Folding {
    /// Where the artefact waits until it counts.
    fn path(&self) -> PathBuf {
        self.dir.join("fold.tmp")
    }

    /// Writes the artefact of `table`, which is the one that was durable when the fold began. Needs no
    /// lock; one fold at a time.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, table: &Table) -> io::Result<()> {
        let mut file = File::create(self.path())?;
        artefact::write_to(table, &mut file)?;
        file.sync_all()
    }
}

/// What a restart found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The newest table that could be read.
    pub table: Option<Table>,
    /// The highest epoch ever accepted, as far as is known.
    pub highest_epoch: Option<Epoch>,
    /// When its file was written, milliseconds since 1970.
    pub written_at_ms: u64,
    /// What was saved of health.
    pub health: Option<Vec<u8>>,
    /// What had to be left, in words.
    pub warnings: Vec<String>,
}

impl Store {
    /// A store that keeps nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Opens `dir`, making it if need be, and reads what is there. `keep` artefacts are kept, at
    /// least 1.
    ///
    /// # Errors
    /// When the directory cannot be made, read or written. Damaged files are warnings: they are
    /// renamed to `*.damaged` and left for people to look at.
    pub fn open(dir: &Path, keep: usize) -> io::Result<(Self, Recovered)> {
        fs::create_dir_all(dir)?;
        let mut store = Self { dir: Some(dir.to_owned()), keep: keep.max(1), ..Self::default() };
        let mut recovered = Recovered::default();
        for number in store.numbers()?.into_iter().rev() {
            let is_newest = recovered.table.is_none();
            match store.read_series(number, is_newest, &mut recovered)? {
                Some(series) => store.series.push(series),
                None => store.set_aside(number)?,
            }
        }
        store.series.reverse();
        if let Some(last) = store.series.last() {
            let path = store.path(last.number, "journal");
            store.journal = Some(OpenOptions::new().append(true).create(true).open(path)?);
        }
        recovered.health = match fs::read(dir.join(HEALTH_FILE)) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok((store, recovered))
    }

    /// Numbers of the artefacts in the directory, ascending; clears what an interrupted write left.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let Some(dir) = &self.dir else { return Ok(Vec::new()) };
        let mut numbers = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".tmp") {
                fs::remove_file(dir.join(&*name))?;
            } else if let Some(number) = name.strip_suffix(".table").and_then(|n| n.parse().ok()) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads one series; the newest one's table goes to `recovered`. `None` when its artefact is
    /// damaged.
    fn read_series(
        &self,
        number: u64,
        is_newest: bool,
        recovered: &mut Recovered,
    ) -> io::Result<Option<Series>> {
        let path = self.path(number, "table");
        let written_at_ms = modified_ms(&path);
        // Older tables are only listed; they are read and checked when somebody wants them back.
        let mut state = Key::default();
        let epoch = if is_newest {
            let bytes = fs::read(&path)?;
            state = artefact::digest_of(&bytes);
            artefact::read(&bytes).map(|table| {
                let epoch = table.epoch();
                recovered.table = Some(table);
                epoch
            })
        } else {
            let mut beginning = Vec::new();
            File::open(&path)?.take(artefact::PEEK_LEN as u64).read_to_end(&mut beginning)?;
            artefact::peek_epoch(&beginning)
        };
        let epoch = match epoch {
            Ok(epoch) => epoch,
            Err(error) => {
                recovered.warnings.push(format!("{}: set aside: {error}", path.display()));
                return Ok(None);
            }
        };
        let artefact_bytes = fs::metadata(&path)?.len();
        let mut series = Series { number, epoch, artefact_bytes, written_at_ms, deltas: Vec::new(), state };
        let records = self.read_journal(number, is_newest, recovered)?;
        if is_newest {
            recovered.written_at_ms = written_at_ms;
            recovered.highest_epoch = Some(epoch);
        }
        for record in records {
            match record {
                Record::Delta { epoch, text, .. } => {
                    let bytes = text.len() as u64;
                    if is_newest && !apply(&text, recovered) {
                        break;
                    }
                    series.deltas.push((epoch, bytes));
                    series.state = after_delta(&series.state, &text);
                }
                Record::Rollback { from, .. } if is_newest => {
                    recovered.highest_epoch = recovered.highest_epoch.max(Some(from));
                }
                Record::Rollback { .. } | Record::Reset { .. } => {}
            }
        }
        Ok(Some(series))
    }

    /// The good records of a journal; cuts a torn end off the newest one.
    fn read_journal(
        &self,
        number: u64,
        is_newest: bool,
        recovered: &mut Recovered,
    ) -> io::Result<Vec<Record>> {
        let path = self.path(number, "journal");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let (records, tail) = journal::read(&bytes);
        let cut = match tail {
            Tail::Whole => None,
            Tail::Torn { at } => {
                Some((at, "its last record was cut short and never acknowledged".to_owned()))
            }
            Tail::Damaged { at, lost } => {
                fs::write(path.with_extension("journal.damaged"), &bytes)?;
                Some((at, format!("a record is damaged; {lost} good ones behind it are lost")))
            }
        };
        if let Some((at, what)) = cut.filter(|_| is_newest) {
            recovered.warnings.push(format!("{}: at octet {at}: {what}", path.display()));
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(at as u64)?;
            file.sync_all()?;
        }
        Ok(records)
    }

    /// Renames a damaged artefact, so that it is not tried again.
    fn set_aside(&self, number: u64) -> io::Result<()> {
        let path = self.path(number, "table");
        fs::rename(&path, path.with_extension("table.damaged"))
    }

    /// Makes a full table durable; `before` says what its epoch does not: that an older one is
    /// served again, or that epochs begin anew.
    ///
    /// # Errors
    /// When it cannot be written; what was durable before still is.
    pub fn save_full(&mut self, table: &Table, before: Option<&Record>) -> io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let number = self.series.last().map_or(1, |last| last.number + 1);
        let head = before.map(journal::append).unwrap_or_default();
        write_durably(&self.path(number, "journal"), |file| file.write_all(&head))?;
        let path = self.path(number, "table");
        let state = write_durably(&path, |file| artefact::write_to(table, file))?;
        sync_dir(dir)?;
        let journal = OpenOptions::new().append(true).open(self.path(number, "journal"))?;
        self.journal = Some(journal);
        self.series.push(Series {
            number,
            epoch: table.epoch(),
            artefact_bytes: fs::metadata(&path)?.len(),
            written_at_ms: modified_ms(&path),
            deltas: Vec::new(),
            state,
        });
        self.forget_old();
        Ok(())
    }

    /// Removes what is beyond the number to keep. What cannot be removed is tried again next time.
    fn forget_old(&mut self) {
        while self.series.len() > self.keep {
            let old = self.series.remove(0);
            // The artefact goes first: a journal alone means nothing.
            for kind in ["table", "journal"] {
                if let Err(error) = fs::remove_file(self.path(old.number, kind)) {
                    tracing::warn!(%error, path = %self.path(old.number, kind).display(), "cannot remove old state");
                }
            }
        }
    }

    /// Makes a delta durable that was accepted on the served table and led to `table`.
    ///
    /// # Errors
    /// When it cannot be written; the journal is then cut back to what it was.
    pub fn save_delta(&mut self, base: Epoch, text: &[u8], table: &Table) -> io::Result<()> {
        let (Some(journal), Some(series)) = (&mut self.journal, self.series.last_mut()) else {
            // Nothing is kept yet, or at all.
            return self.save_full(table, None);
        };
        if series.deltas.len() >= DELTAS_MAX {
            return self.save_full(table, None);
        }
        let record = journal::append(&Record::Delta { base, epoch: table.epoch(), text: text.to_vec() });
        let len = journal.metadata()?.len();
        if let Err(error) = journal.write_all(&record).and_then(|()| journal.sync_data()) {
            journal.set_len(len)?;
            return Err(error);
        }
        series.deltas.push((table.epoch(), record.len() as u64));
        series.state = after_delta(&series.state, text);
        Ok(())
    }

    /// What can be made again is kept here.
    pub fn cache(&self) -> Cache {
        self.dir.as_deref().map_or_else(Cache::none, Cache::of)
    }

    /// Names what a restart would find: two states with one name have one content. `None` while nothing
    /// is kept.
    pub fn state(&self) -> Option<Key> {
        self.series.last().map(|last| last.state)
    }

    /// Begins to fold the newest journal, if that is due.
    pub fn folding(&self) -> Option<Folding> {
        let (dir, last) = (self.dir.as_ref()?, self.series.last()?);
        let &(epoch, _) = last.deltas.last().filter(|_| last.deltas.len() >= DELTAS_MANY)?;
        Some(Folding { dir: dir.clone(), number: last.number, epoch })
    }

    /// Makes what was written the newest artefact, with the deltas that came meanwhile behind it. Nothing
    /// when a full table came meanwhile.
    ///
    /// # Errors
    /// When it cannot be written; what was durable before still is.
    pub fn finish_folding(&mut self, folding: &Folding) -> io::Result<()> {
        let Some(last) = self.series.last().filter(|last| last.number == folding.number) else {
            return fs::remove_file(folding.path());
        };
        let taken = last.deltas.iter().rposition(|&(epoch, _)| epoch == folding.epoch).map_or(0, |at| at + 1);
        let number = folding.number + 1;
        let (records, _) = journal::read(&fs::read(self.path(folding.number, "journal"))?);
        let deltas = records.iter().filter(|record| matches!(record, Record::Delta { .. }));
        let (mut rest, mut state) = (Vec::new(), end_of(&folding.path())?);
        for delta in deltas.skip(taken) {
            rest.extend_from_slice(&journal::append(delta));
            if let Record::Delta { text, .. } = delta {
                state = after_delta(&state, text);
            }
        }
        let deltas = last.deltas[taken..].to_vec();
        let path = self.path(number, "table");
        write_durably(&self.path(number, "journal"), |file| file.write_all(&rest))?;
        let journal = OpenOptions::new().append(true).open(self.path(number, "journal"))?;
        fs::rename(folding.path(), &path)?;
        sync_dir(&folding.dir)?;
        self.journal = Some(journal);
        let artefact_bytes = fs::metadata(&path)?.len();
        let written_at_ms = modified_ms(&path);
        self.series.push(Series {
            number,
            epoch: folding.epoch,
            artefact_bytes,
            written_at_ms,
            deltas,
            state,
        });
        self.forget_old();
        Ok(())
    }

    /// The epochs that can be served again, oldest first. `served` is the one served now.
    pub fn history(&self, served: Option<Epoch>) -> Vec<Kept> {
        let mut kept: Vec<Kept> = Vec::new();
        for series in &self.series {
            let written_at_ms = series.written_at_ms;
            let mut add = |epoch: Epoch, kind, bytes| {
                kept.retain(|old: &Kept| old.epoch != epoch.get());
                let is_served = Some(epoch) == served;
                kept.push(Kept { epoch: epoch.get(), written_at_ms, kind, bytes, is_served });
            };
            add(series.epoch, "full", series.artefact_bytes);
            for &(epoch, bytes) in &series.deltas {
                add(epoch, "delta", bytes);
            }
        }
        kept
    }

    /// Reads a kept table back; `None` when the epoch is not kept.
    ///
    /// # Errors
    /// When its files cannot be read or are damaged.
    pub fn load(&self, epoch: Epoch) -> io::Result<Option<Table>> {
        let has = |series: &&Series| {
            series.epoch == epoch || series.deltas.iter().any(|&(delta, _)| delta == epoch)
        };
        let Some(series) = self.series.iter().rev().find(has) else { return Ok(None) };
        let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let bytes = fs::read(self.path(series.number, "table"))?;
        let mut table = artefact::read(&bytes).map_err(|error| damaged(error.to_string()))?;
        let (records, _) = journal::read(&fs::read(self.path(series.number, "journal"))?);
        for record in records {
            if table.epoch() == epoch {
                break;
            }
            if let Record::Delta { text, .. } = record {
                table = read_delta(&text, &table).map_err(|error| damaged(error.to_string()))?.read.table;
            }
        }
        Ok(Some(table).filter(|table| table.epoch() == epoch))
    }

    /// Writes down what is believed of appliances.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_health(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        write_durably(&dir.join(HEALTH_FILE), |file| file.write_all(bytes))?;
        sync_dir(dir)
    }

    /// A file of the directory.
    fn path(&self, number: u64, kind: &str) -> PathBuf {
        let dir = self.dir.as_deref().unwrap_or_else(|| Path::new("."));
        dir.join(format!("{number:010}.{kind}"))
    }
}

/// Applies a journalled delta to the recovered table; false when it does not fit, which is told.
fn apply(text: &[u8], recovered: &mut Recovered) -> bool {
    let Some(table) = &recovered.table else { return false };
    match read_delta(text, table) {
        Ok(delta) => {
            recovered.highest_epoch = recovered.highest_epoch.max(Some(delta.read.table.epoch()));
            recovered.table = Some(delta.read.table);
            true
        }
        Err(error) => {
            recovered.warnings.push(format!("a journalled delta does not fit: {error}"));
            false
        }
    }
}

/// The name of a state after a delta.
fn after_delta(state: &Key, text: &[u8]) -> Key {
    key_of([state.as_slice(), text])
}

/// The digest at the end of an artefact's file.
fn end_of(path: &Path) -> io::Result<Key> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-(artefact::DIGEST_LEN as i64)))?;
    let mut digest = Key::default();
    file.read_exact(&mut digest)?;
    Ok(digest)
}

/// Has `write` fill a file so that it is there whole or not at all, also after a power cut.
fn write_durably<T>(path: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let mut file = File::create(&temporary)?;
    let written = write(&mut file)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    Ok(written)
}

/// Makes renames in `dir` durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// When a file was written, milliseconds since 1970; 0 where the system does not say.
fn modified_ms(path: &Path) -> u64 {
    let time = fs::metadata(path).and_then(|data| data.modified()).ok();
    time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_millis() as u64)
}
