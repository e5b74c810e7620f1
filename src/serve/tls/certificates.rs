//! What is shown to whom: certificates by the name that the client asks for, and their files, watched.
//!
//! One that is wrong stops no other: what was good last is shown on, which the log and a metric say, and the
//! files are read again as soon as they change. A pair whose two files are replaced one after the other is
//! wrong for that moment, in this sense. Layer 8.

use super::pair::Pair;
use crate::config::{self, Config};
use crate::metrics::{Counters, Label, Writer};
use crate::problem::Problem;
use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What came of reading files again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// Another certificate is shown.
    Replaced,
    /// They are wrong; what was good last is shown on.
    Refused,
}

impl Label for Reloaded {
    const ALL: &'static [Self] = &[Self::Replaced, Self::Refused];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Refused => "refused",
        }
    }
}

/// What tells that a file is another one: its number, its length, when it was written (seconds and
/// nanoseconds).
type Stamp = (u64, u64, i64, i64);

/// One `[[tls]]` and what its files held.
#[derive(Debug, Clone)]
struct Kept {
    /// With paths as they are opened.
    tls: config::Tls,
    /// The files as they were when they were read last, the certificate's first.
    stamps: [Option<Stamp>; 2],
    /// What they held when they were good last.
    good: Option<Pair>,
    /// What is wrong with them now.
    problem: Option<Problem>,
}

impl Kept {
    /// Reads what `tls`, of which paths are resolved, names.
    fn read(tls: config::Tls) -> Self {
        // Before the files are read: what is written meanwhile is noticed the next time.
        let stamps = [&tls.cert, &tls.key].map(|path| stamp(path));
        match Pair::read(&tls) {
            Ok(pair) => Self { tls, stamps, good: Some(pair), problem: None },
            Err(problem) => Self { tls, stamps, good: None, problem: Some(problem) },
        }
    }

    /// Whether its files are not those that were read.
    fn is_changed(&self) -> bool {
        [&self.tls.cert, &self.tls.key].map(|path| stamp(path)) != self.stamps
    }

    /// The same, read again. Says in the log and by `counter` what came of it.
    fn again(&self, tls: config::Tls, counter: &Writer<Reloaded>) -> Self {
        let mut read = Self::read(tls);
        match &read.problem {
            None => {
                tracing::info!(cert = %read.tls.cert.display(), "a certificate is read");
                counter.count(Reloaded::Replaced);
            }
            Some(problem) => {
                let is_shown = self.good.is_some();
                tracing::error!(%problem, is_shown, "a certificate is not read; one that was good stays");
                counter.count(Reloaded::Refused);
                read.good.clone_from(&self.good);
            }
        }
        read
    }
}

/// What tells the file at `path` from another one; `None` where there is none.
fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}

/// Certificates by name.
#[derive(Debug, Default)]
struct Shown {
    /// By whole name.
    exact: FxHashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what follows the first label.
    wild: FxHashMap<Box<str>, Arc<CertifiedKey>>,
    /// For clients that ask for no name, or none of these.
    default: Option<Arc<CertifiedKey>>,
}

impl Shown {
    /// Of all that are good; of two for one name the first.
    fn of(kept: &[Kept]) -> Self {
        let mut shown = Self::default();
        for pair in kept.iter().filter_map(|kept| kept.good.as_ref()) {
            shown.default.get_or_insert_with(|| Arc::clone(&pair.certified));
            for name in &pair.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(above) => (&mut shown.wild, above),
                    None => (&mut shown.exact, &**name),
                };
                names.entry(name.into()).or_insert_with(|| Arc::clone(&pair.certified));
            }
        }
        shown
    }

    /// What is shown to who asks for `name`.
    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase);
        let found = name.as_deref().and_then(|name| {
            let wild = || self.wild.get(name.split_once('.')?.1);
            self.exact.get(name).or_else(wild)
        });
        found.or(self.default.as_ref()).cloned()
    }
}

/// Every `[[tls]]`, and what counts reloads.
#[derive(Debug)]
struct All {
    kept: Vec<Kept>,
    counter: Writer<Reloaded>,
}

/// All certificates.
#[derive(Debug)]
pub struct Certificates {
    shown: ArcSwap<Shown>,
    all: Mutex<All>,
    /// What came of reading files again.
    pub reloads: Arc<Counters<Reloaded>>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.shown.load().find(hello.server_name())
    }
}

impl Certificates {
    /// Reads those that `config` names. What is wrong with some of them keeps none of the others from being
    /// shown: see [`Certificates::problems`].
    pub fn read(config: &Config) -> Arc<Self> {
        let kept: Vec<Kept> = resolved(config).map(Kept::read).collect();
        let shown = ArcSwap::from_pointee(Shown::of(&kept));
        let reloads = Arc::new(Counters::new());
        let all = Mutex::new(All { kept, counter: reloads.writer() });
        Arc::new(Self { shown, all, reloads })
    }

    /// What is wrong with files as they were read last.
    pub fn problems(&self) -> Vec<Problem> {
        self.locked().kept.iter().filter_map(|kept| kept.problem.clone()).collect()
    }

    /// What is odd about certificates at a time: those that have expired.
    pub fn warnings(&self, now_s: i64) -> Vec<Problem> {
        let is_over = |pair: &&Pair| pair.expires_s <= now_s;
        let all = self.locked();
        let expired = all.kept.iter().filter(|kept| kept.good.as_ref().filter(is_over).is_some());
        expired
            .map(|kept| {
                let found = format!("{} (expired)", kept.tls.cert.display());
                Problem::at(kept.tls.line, "tls.cert", found, "a certificate that is valid")
            })
            .collect()
    }

    /// Reads files that have changed.
    pub fn watch(&self) {
        let All { kept, counter } = &mut *self.locked();
        if !kept.iter().any(Kept::is_changed) {
            return;
        }
        for one in kept.iter_mut().filter(|one| one.is_changed()) {
            *one = one.again(one.tls.clone(), counter);
        }
        self.shown.store(Arc::new(Shown::of(kept)));
    }

    /// Reads those that `config` names now. Files that were good and are not any more are shown on.
    pub fn replace(&self, config: &Config) {
        let All { kept, counter } = &mut *self.locked();
        let read = resolved(config).map(|tls| {
            let is_same = |kept: &&Kept| (&kept.tls.cert, &kept.tls.key) == (&tls.cert, &tls.key);
            match kept.iter().find(is_same) {
                Some(before) => before.again(tls, counter),
                None => {
                    let new = Kept::read(tls);
                    if let Some(problem) = &new.problem {
                        tracing::error!(%problem, "a certificate is not read");
                        counter.count(Reloaded::Refused);
                    }
                    new
                }
            }
        });
        let read: Vec<Kept> = read.collect();
        self.shown.store(Arc::new(Shown::of(&read)));
        *kept = read;
    }

    /// Seconds until the first of those shown expires, below 0 when it has; `None` when none is.
    pub fn expires_in_s(&self, now_s: i64) -> Option<i64> {
        let all = self.locked();
        all.kept.iter().filter_map(|kept| kept.good.as_ref()).map(|pair| pair.expires_s - now_s).min()
    }

    /// How many there are: shown as their files are, shown although their files are wrong now, not shown.
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for kept in &self.locked().kept {
            let at = match (&kept.good, &kept.problem) {
                (Some(_), None) => 0,
                (Some(_), Some(_)) => 1,
                (None, _) => 2,
            };
            counts[at] += 1;
        }
        counts
    }

    /// What is kept, which a panic leaves as it was.
    fn locked(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `config` says, with paths as they are opened.
fn resolved(config: &Config) -> impl Iterator<Item = config::Tls> {
    config.tls.iter().map(|tls| {
        let (cert, key) = (config.resolve(&tls.cert), config.resolve(&tls.key));
        config::Tls { cert, key, ..tls.clone() }
    })
}
