//! GeoIP from its files, or from what an earlier start made of them.
//!
//! Walking a city database takes seconds, so what was compiled is kept ([`Cache`]) under a key of the
//! files' digests. Digests of large files take a tenth of a second themselves: they are kept too, each
//! with what the system says of the file (size, times, inode), and taken again when any of that differs
//! or is too young to be relied on. Layer 8.

use crate::columns::{Sink, Source, damaged};
use crate::config::Config;
use crate::geo::{CountryPoints, Geography};
use crate::problem::Problem;
use crate::publish::cache::{Cache, Key, key_of};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

/// Version of the form that a geography is kept in; goes into the key.
const VERSION: &[u8] = b"geography 2";

/// A file that changed less than this many seconds ago may change again within the same tick of its
/// file system's clock.
const YOUNG_S: i64 = 3;

/// Who a file is, as far as the system says without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp([i64; 7]);

impl Stamp {
    /// Of the file at `path`; `None` while it is young.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let data = fs::metadata(path)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let is_young = data.ctime().max(data.mtime()) > now as i64 - YOUNG_S;
        Ok((!is_young).then(|| {
            Self([
                data.dev() as i64,
                data.ino() as i64,
                data.size() as i64,
                data.mtime(),
                data.mtime_nsec(),
                data.ctime(),
                data.ctime_nsec(),
            ])
        }))
    }
}

/// A file's digest, and who the file was when it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    path: PathBuf,
    stamp: Stamp,
    digest: Key,
}

/// Digests of files that need not be read again.
#[derive(Debug, Default, PartialEq, Eq)]
struct Digests(Vec<Known>);

impl Digests {
    /// Those that are kept.
    fn kept(cache: &Cache) -> Self {
        cache.read("geoip-files", &key_of([VERSION]), Self::read).unwrap_or_default()
    }

    /// Keeps them.
    fn keep(&self, cache: &Cache) -> io::Result<()> {
        cache.write("geoip-files", &key_of([VERSION]), |out| self.write(out))
    }

    /// Reads what [`Digests::write`] wrote.
    fn read(from: &mut Source<impl Read>) -> io::Result<Self> {
        let count: u64 = from.number()?;
        let mut all = Vec::new();
        for _ in 0..count {
            let path = String::from_utf8(from.array()?).map_err(|_| damaged("a path that is none"))?;
            let mut stamp = Stamp([0; 7]);
            for number in &mut stamp.0 {
                *number = from.number::<u64>()? as i64;
            }
            let mut digest = Key::default();
            digest.copy_from_slice(&from.numbers::<u8>(size_of::<Key>() as u64)?);
            all.push(Known { path: path.into(), stamp, digest });
        }
        Ok(Self(all))
    }

    /// Writes all; a path that is not UTF-8 is left out, and read again each time.
    fn write(&self, out: &mut Sink<impl Write>) -> io::Result<()> {
        let all: Vec<(&str, &Known)> =
            self.0.iter().filter_map(|known| Some((known.path.to_str()?, known))).collect();
        out.number(all.len() as u64)?;
        for (path, known) in all {
            out.array(path.as_bytes())?;
            out.numbers(&known.stamp.0.map(|number| number as u64))?;
            out.numbers(&known.digest)?;
        }
        Ok(())
    }

    /// The digest of the file at `path`, which is read when it has to be; `None` in its stead: its octets.
    fn of(&self, path: &Path) -> io::Result<(Known, Option<Vec<u8>>)> {
        let (path, stamp) = (fs::canonicalize(path)?, Stamp::of(path)?);
        let is_it = |known: &&Known| known.path == path && Some(known.stamp) == stamp;
        if let Some(known) = self.0.iter().find(is_it) {
            return Ok((known.clone(), None));
        }
        let octets = fs::read(&path)?;
        let digest = key_of([&octets[..]]);
        // A stamp of zeros is nobody's.
        Ok((Known { path, stamp: stamp.unwrap_or(Stamp([0; 7])), digest }, Some(octets)))
    }
}

/// What GeoIP files say, if there are any, and what is odd about them.
pub type Found = (Option<Arc<Geography>>, Vec<Problem>);

/// The GeoIP files of `config` compiled, or what `cache` keeps of that; without files there is no
/// geography. What had to be compiled is kept, by a thread of its own.
///
/// # Errors
/// Of all files.
pub fn geography(config: &Config, cache: &Cache) -> Result<Found, Vec<Problem>> {
    let paths: Vec<PathBuf> = config.geoip.files.iter().map(|file| config.resolve(file)).collect();
    let (known, mut problems) = (Digests::kept(cache), Vec::new());
    let mut unreadable = |path: &Path, error: io::Error| {
        problems.push(super::load::unreadable("geoip.files", path, &error));
    };
    let mut files: Vec<(Known, Option<Vec<u8>>)> = Vec::new();
    for path in &paths {
        match known.of(path) {
            Ok(file) => files.push(file),
            Err(error) => unreadable(path, error),
        }
    }
    let points = points(config).map_err(|found| problems.extend(found)).ok();
    let Some((points, text)) = points.filter(|_| problems.is_empty()) else { return Err(problems) };
    if files.is_empty() {
        return Ok((None, Vec::new()));
    }
    let points_digest = key_of([text.as_bytes()]);
    let inputs = [VERSION, &points_digest[..]].into_iter();
    let key = key_of(inputs.chain(files.iter().map(|(known, _)| &known.digest[..])));
    if let Some(geography) = cache.read("geography", &key, Geography::load) {
        let warnings = geography.warnings();
        let digests = Digests(files.into_iter().map(|(known, _)| known).collect());
        if digests != known {
            in_background(move |cache| digests.keep(cache), cache);
        }
        return Ok((Some(Arc::new(geography)), warnings));
    }
    let mut digests = Digests::default();
    let mut named = Vec::new();
    for ((known, octets), path) in files.into_iter().zip(&paths) {
        let octets = octets.map_or_else(|| fs::read(path), Ok);
        let octets = octets.map_err(|error| vec![super::load::unreadable("geoip.files", path, &error)])?;
        named.push((path.display().to_string(), octets));
        digests.0.push(known);
    }
    let (geography, warnings) = Geography::read(&named, &points)?;
    drop(named);
    let geography = Arc::new(geography);
    let kept = Arc::clone(&geography);
    let keep = move |cache: &Cache| {
        cache.write("geography", &key, |out| kept.save(out))?;
        digests.keep(cache)
    };
    in_background(keep, cache);
    Ok((Some(geography), warnings))
}

/// Keeps something on a thread of its own; a failure is logged, and costs the next start some time.
fn in_background(keep: impl FnOnce(&Cache) -> io::Result<()> + Send + 'static, cache: &Cache) {
    if !cache.keeps() {
        return;
    }
    let cache = cache.clone();
    let work = move || {
        if let Err(error) = keep(&cache) {
            tracing::warn!(%error, "compiled GeoIP is not kept for the next start");
        }
    };
    if let Err(error) = thread::Builder::new().name("keep-geoip".to_owned()).spawn(work) {
        tracing::warn!(%error, "no thread to keep compiled GeoIP");
    }
}

/// The country points and their text.
fn points(config: &Config) -> Result<(CountryPoints, String), Vec<Problem>> {
    let Some(path) = config.geoip.country_points.as_deref().map(|file| config.resolve(file)) else {
        return Ok((CountryPoints::built_in(), CountryPoints::BUILT_IN.to_owned()));
    };
    let text = fs::read_to_string(&path)
        .map_err(|error| vec![super::load::unreadable("geoip.country_points", &path, &error)])?;
    let points = CountryPoints::parse(&text).map_err(|found| {
        let file = path.display().to_string();
        found.into_iter().map(|problem| problem.in_file(&file)).collect::<Vec<_>>()
    })?;
    Ok((points, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A config in `dir` with this database.
    fn config(dir: &Path, mmdb: &str) -> Config {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mmdb/good").join(mmdb);
        fs::copy(source, dir.join("geo.mmdb")).expect("the test databases are in the repository");
        age(&dir.join("geo.mmdb"));
        let name = dir.join("steerd.toml").display().to_string();
        let text = "[geoip]\nfiles = [\"geo.mmdb\"]\n[dns]\nlisten = [\"127.0.0.1:0\"]\n";
        Config::parse(&name, text).expect("a valid config")
    }

    /// Makes a file look an hour old, as far as its own times go.
    fn age(path: &Path) {
        let file = fs::File::options().write(true).open(path).expect("just written");
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("a time");
    }

    /// Waits until the threads that keep things have done so: `kept` says whether they have.
    fn wait_for(kept: impl Fn() -> bool) {
        while !kept() {
            thread::yield_now();
        }
    }

    #[test]
    fn what_was_compiled_is_kept_until_a_file_says_otherwise() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::of(&dir.path().join("state"));
        let digests = dir.path().join("state/cache/geoip-files.part");
        let part = dir.path().join("state/cache/geography.part");
        let city = config(dir.path(), "GeoIP2-City-Test.mmdb");
        let read = |config: &Config| geography(config, &cache).expect("good files").0.expect("one file");
        let first = read(&city);
        wait_for(|| digests.exists());
        let before = fs::metadata(&part).expect("kept").ino();
        assert_eq!(*read(&city), *first);
        assert_eq!(fs::metadata(&part).expect("kept").ino(), before, "it was not made again");
        // Another file of the same name.
        let country = config(dir.path(), "GeoLite2-Country-Test.mmdb");
        let second = read(&country);
        assert_ne!(second.digest, first.digest);
        let plain = geography(&country, &Cache::none()).expect("good files").0.expect("one file");
        assert_eq!(*second, *plain);
        wait_for(|| fs::metadata(&part).is_ok_and(|data| data.ino() != before));
        // A damaged part is made again.
        let octets = fs::read(&part).expect("kept");
        fs::write(&part, &octets[..octets.len() / 2]).expect("written");
        assert_eq!(*read(&country), *plain);
    }

    #[test]
    fn digests_come_back_and_young_files_are_read_each_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::of(dir.path());
        let path = dir.path().join("file");
        fs::write(&path, "one").expect("written");
        let none = Digests::default();
        let (young, octets) = none.of(&path).expect("readable");
        assert_eq!((young.stamp, octets.as_deref()), (Stamp([0; 7]), Some(&b"one"[..])));
        let digests = Digests(vec![young]);
        digests.keep(&cache).expect("a directory that can be written");
        assert_eq!(Digests::kept(&cache), digests);
        assert!(digests.of(&path).expect("readable").1.is_some(), "read again");
        // The program itself is old enough.
        let old = std::env::current_exe().expect("a program");
        if Stamp::of(&old).expect("readable").is_some() {
            let digests = Digests(vec![none.of(&old).expect("readable").0]);
            assert!(digests.of(&old).expect("readable").1.is_none(), "known");
        }
    }
}
