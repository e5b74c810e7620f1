//! The table file (`[table] file`): read at start, and again whenever it has changed.
//!
//! A change is told by the file's size, time and identity, looked at once a second by whoever calls
//! [`TableFile::poll`]; when to read is decided by [`should_read`] from these alone. While a file is
//! still being written, it keeps changing, and is left alone until two looks agree. What the publisher
//! refuses is logged with its problems and not offered again until the file changes; what was
//! accepted or refused before a rollback does not undo it, because its epoch is not newer (ruling 20).
//! Time is passed in. Layer 7.

use crate::problem::Problem;
use crate::publish::{Form, Publisher, PushOptions, PushReport, Pushed, Refusal};
use crate::table::body::{BodyError, Decoder, Encoding};
use crate::units::UnixMs;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Problems of a refused file that are logged, at most.
const LOGGED_MAX: usize = 20;

/// What a change of a file is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// Its size, in octets.
    pub len: u64,
    /// When its content was changed last: seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// When anything about it was changed last; a copy that keeps times cannot keep this one.
    pub changed: (i64, i64),
    /// Device and inode: another file of this name has others.
    pub identity: (u64, u64),
}

impl FileStat {
    /// That of an open file or a name.
    fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            identity: (metadata.dev(), metadata.ino()),
        }
    }
}

/// What was seen of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// As it was when it was read last.
    pub read: Option<FileStat>,
    /// As it was at the last look.
    pub before: Option<FileStat>,
}

/// Whether a file that looks like `now` is to be read: it is not what was read last, and it either
/// was never read or has stopped changing.
pub fn should_read(seen: Seen, now: Option<FileStat>) -> bool {
    let Some(now) = now else { return false };
    match seen.read {
        None => true,
        Some(read) => read != now && seen.before == Some(now),
    }
}

/// What a look at the file came to.
#[derive(Debug)]
pub enum Polled {
    /// Nothing to do.
    Unchanged,
    /// It is not there, or cannot be read; told once in the log.
    Missing,
    /// The publisher took it.
    Accepted(Box<PushReport>),
    /// The publisher did not.
    Refused(Refusal),
}

/// What is in a file, and why it could not be read.
struct Content<'a> {
    file: io::Take<&'a mut File>,
    failed: Option<io::Error>,
}

impl Read for Content<'_> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        self.file.read(piece).inspect_err(|error| {
            self.failed = Some(error.kind().into()).filter(|_| error.kind() != io::ErrorKind::Interrupted);
        })
    }
}

/// A table file that is watched.
#[derive(Debug)]
pub struct TableFile {
    path: PathBuf,
    /// Most octets it may have, as it is and decompressed.
    octets_max: u64,
    seen: Seen,
    /// That it is missing was logged.
    is_missing_told: bool,
}

impl TableFile {
    /// Watches `path`, of which nothing was read yet.
    pub fn new(path: impl Into<PathBuf>, octets_max: u64) -> Self {
        Self { path: path.into(), octets_max, seen: Seen::default(), is_missing_told: false }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the file and brings it to `publisher` when it is new. Blocks for as long as a push
    /// takes. When another push is being made, the next look tries again.
    pub fn poll(&mut self, publisher: &Publisher, now: UnixMs) -> Polled {
        let stat = match std::fs::metadata(&self.path) {
            Ok(metadata) => Some(FileStat::of(&metadata)),
            Err(error) => return self.missing(&error),
        };
        let is_due = should_read(self.seen, stat);
        self.seen.before = stat;
        if !is_due {
            return Polled::Unchanged;
        }
        match self.push(publisher, false, now) {
            Ok(Ok(report)) => {
                self.tell_accepted(&report);
                Polled::Accepted(Box::new(report))
            }
            Ok(Err(refusal)) => {
                self.tell_refused(&refusal);
                Polled::Refused(refusal)
            }
            Err(error) => self.missing(&error),
        }
    }

    /// Brings the file to `publisher` whether it changed or not; `is_forced` overrides guard rails.
    /// Blocks for as long as a push takes.
    ///
    /// # Errors
    /// Those of the publisher, and [`Refusal::Invalid`] when the file cannot be read.
    pub fn reload(
        &mut self,
        publisher: &Publisher,
        is_forced: bool,
        now: UnixMs,
    ) -> Result<PushReport, Refusal> {
        self.push(publisher, is_forced, now).unwrap_or_else(|error| {
            let problem = Problem::at(0, "table.file", error, "a file that can be read");
            Err(Refusal::Invalid(vec![problem.in_file(self.name())]))
        })
    }

    /// Reads the file and pushes it.
    ///
    /// # Errors
    /// When it cannot be read.
    fn push(
        &mut self,
        publisher: &Publisher,
        force: bool,
        now: UnixMs,
    ) -> io::Result<Result<PushReport, Refusal>> {
        let mut file = File::open(&self.path)?;
        let stat = FileStat::of(&file.metadata()?);
        // One more octet than may be, so that what is too large is told from what just fits.
        let mut content = Content { file: (&mut file).take(self.octets_max.saturating_add(1)), failed: None };
        let pushed = self.read(&mut content);
        if let Some(error) = content.failed {
            return Err(error);
        }
        let options = PushOptions { force, ..PushOptions::default() };
        let result = pushed.and_then(|pushed| publisher.put(pushed, options, now));
        let may_pass = matches!(result, Err(Refusal::Busy | Refusal::Storage(_)));
        // What was written to meanwhile is read again.
        let is_whole = FileStat::of(&file.metadata()?) == stat;
        self.is_missing_told = false;
        if is_whole && !may_pass {
            self.seen.read = Some(stat);
        }
        Ok(result.map_err(|refusal| self.named(refusal)))
    }

    /// Reads the table in `content`; the end of the file's name says how it is compressed.
    fn read(&self, content: &mut Content<'_>) -> Result<Pushed, Refusal> {
        let encoding = match self.path.extension().and_then(|end| end.to_str()) {
            Some("gz") => Encoding::Gzip,
            Some("zst") => Encoding::Zstd,
            _ => Encoding::Identity,
        };
        let cap = usize::try_from(self.octets_max).unwrap_or(usize::MAX);
        let pushed = Decoder::new(encoding, content, cap)
            .and_then(|mut decoder| Pushed::read(&mut decoder, Form::Either));
        pushed.map_err(|error| {
            let expected = match error {
                BodyError::TooLarge { .. } => "at most control.body_max_mb",
                BodyError::Corrupt(_) => "a file that is compressed as its name says",
            };
            Refusal::Invalid(vec![Problem::at(0, "", error, expected)])
        })
    }

    /// `refusal`, its problems naming the file.
    fn named(&self, refusal: Refusal) -> Refusal {
        match refusal {
            Refusal::Invalid(problems) => {
                Refusal::Invalid(problems.into_iter().map(|problem| problem.in_file(self.name())).collect())
            }
            other => other,
        }
    }

    /// The file's name, for people.
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// That there is no file: a warning, once.
    fn missing(&mut self, error: &io::Error) -> Polled {
        self.seen.before = None;
        if !self.is_missing_told {
            self.is_missing_told = true;
            tracing::warn!(file = %self.path.display(), %error, "the table file cannot be read");
        }
        Polled::Missing
    }

    /// Logs what the file did.
    fn tell_accepted(&self, report: &PushReport) {
        let file = self.path.display();
        tracing::info!(%file, epoch = report.epoch, generation = report.generation, "table file accepted");
        for warning in report.warnings.iter().take(LOGGED_MAX) {
            tracing::warn!(%file, %warning, "table file");
        }
    }

    /// Logs why the file did nothing.
    fn tell_refused(&self, refusal: &Refusal) {
        let file = self.path.display();
        match refusal {
            Refusal::Busy => {}
            // Usual after a restart: what was pushed since is newer.
            Refusal::NotNewer { .. } => tracing::info!(%file, %refusal, "table file not taken"),
            Refusal::Invalid(problems) => {
                tracing::warn!(%file, problems = problems.len(), "table file refused");
                for problem in problems.iter().take(LOGGED_MAX) {
                    tracing::warn!(%problem, "table file");
                }
            }
            _ => tracing::warn!(%file, %refusal, "table file refused"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::Geography;
    use crate::publish::Rules;
    use crate::publish::store::{Recovered, Store};
    use std::io::Write;
    use std::sync::Arc;

    /// A file of `len` octets, changed at second `at`.
    fn stat(len: u64, at: i64) -> FileStat {
        FileStat { len, modified: (at, 0), changed: (at, 0), identity: (1, 1) }
    }

    #[test]
    fn a_file_is_read_once_and_again_when_it_has_settled() {
        let check = |read: Option<FileStat>, before: Option<FileStat>, now: Option<FileStat>, expected| {
            assert_eq!(should_read(Seen { read, before }, now), expected, "{read:?} {before:?} {now:?}");
        };
        let (old, new) = (Some(stat(1, 1)), Some(stat(2, 2)));
        check(None, None, None, false);
        check(None, None, new, true);
        check(old, old, old, false);
        check(old, old, None, false);
        check(old, old, new, false);
        check(old, new, new, true);
        check(old, Some(stat(3, 3)), new, false);
        check(new, new, new, false);
        // Same size and time, another file.
        let moved = new.map(|stat| FileStat { identity: (1, 2), ..stat });
        check(new, moved, moved, true);
        // Same size, same time of content, put there by a copy that keeps times.
        let kept = new.map(|stat| FileStat { changed: (9, 0), ..stat });
        check(new, kept, kept, true);
        // Gone and back.
        check(old, None, old, false);
    }

    /// A table at `epoch` with this many sites.
    fn table(epoch: u64, sites: usize) -> String {
        let mut text = format!("{{\"table\":{{\"format\":1,\"epoch\":{epoch}}}}}\n");
        for site in 0..sites {
            text.push_str(&format!("{{\"site\":{{\"code\":\"s{site}\",\"lat\":0,\"lon\":0}}}}\n"));
        }
        text
    }

    /// A publisher without a state directory.
    fn publisher() -> Publisher {
        let (geography, zones) = (Arc::new(Geography::empty()), Arc::default());
        let recovered = Recovered::default();
        Publisher::open(Rules::default(), Store::none(), recovered, geography, zones, UnixMs(1)).0
    }

    /// What a look at `file` came to, in a word.
    fn look(file: &mut TableFile, publisher: &Publisher) -> String {
        match file.poll(publisher, UnixMs(2)) {
            Polled::Unchanged => "unchanged".to_string(),
            Polled::Missing => "missing".to_string(),
            Polled::Accepted(report) => format!("accepted {}", report.epoch),
            Polled::Refused(refusal) => format!("refused: {refusal}"),
        }
    }

    #[test]
    fn a_file_is_followed_and_what_is_refused_is_not_tried_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fleet.ndjson");
        let (publisher, mut file) = (publisher(), TableFile::new(&path, 1000));
        let write = |text: &str| std::fs::write(&path, text).expect("a file");
        let mut look = || look(&mut file, &publisher);
        assert_eq!([look(), look()], ["missing", "missing"]);
        write(&table(5, 1));
        assert_eq!([look(), look()], ["accepted 5", "unchanged"]);
        write(&table(6, 2));
        assert_eq!([look(), look(), look()], ["unchanged", "accepted 6", "unchanged"]);
        write("nonsense, and longer than before");
        assert_eq!(look(), "unchanged");
        assert!(look().starts_with("refused: 1 problems, the first: "));
        assert_eq!([look(), look()], ["unchanged", "unchanged"]);
        write(&table(4, 3));
        assert_eq!(look(), "unchanged");
        assert!(look().starts_with("refused: epoch is not above 6"));
        write(&table(7, 100));
        assert_eq!(look(), "unchanged");
        assert!(look().contains("at most control.body_max_mb"));
        std::fs::remove_file(&path).expect("a file");
        assert_eq!(look(), "missing");
        write(&table(8, 1));
        assert_eq!([look(), look()], ["unchanged", "accepted 8"]);
    }

    #[test]
    fn a_reload_reads_what_did_not_change_and_names_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fleet.ndjson.gz");
        let (publisher, mut file) = (publisher(), TableFile::new(&path, 1000));
        let Err(Refusal::Invalid(problems)) = file.reload(&publisher, false, UnixMs(1)) else {
            panic!("there is no file")
        };
        assert_eq!(
            (problems[0].file.as_str(), problems[0].key.as_str()),
            (path.to_str().expect("a path"), "table.file")
        );
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(table(5, 1).as_bytes()).expect("memory");
        std::fs::write(&path, encoder.finish().expect("memory")).expect("a file");
        assert_eq!(look(&mut file, &publisher), "accepted 5");
        let again = file.reload(&publisher, false, UnixMs(3)).map(|report| report.epoch);
        assert_eq!(again, Ok(5));
        std::fs::write(&path, "plain").expect("a file");
        let Err(Refusal::Invalid(problems)) = file.reload(&publisher, false, UnixMs(4)) else {
            panic!("it is not compressed")
        };
        assert!(problems[0].file.ends_with(".gz"));
    }
}
