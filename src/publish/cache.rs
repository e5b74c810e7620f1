//! What is worked out from other files and kept beside the tables, so that a restart need not do it
//! again: compiled GeoIP, and whatever else is large, slow to make and quick to read.
//!
//! ```text
//! cache/NAME.part     magic `STEERDPT`, the key (32 octets), then a stream of `columns`
//! ```
//! A part is one file under its name, replaced whole (temporary file, fsync, rename). Its **key** is a
//! digest of everything it was made from, the version of its form included: a part with another key is
//! as good as none. Nothing here is needed: a part that is missing, old or damaged is made again, and
//! the whole directory may be removed at any time. Layer 6.

use crate::columns::{Sink, Source, damaged};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// First octets of every part.
const MAGIC: [u8; 8] = *b"STEERDPT";
/// Octets before the stream.
const HEAD_LEN: usize = MAGIC.len() + size_of::<Key>();

/// Tells temporary files of one process apart.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// A digest of all that a part was made from.
pub type Key = [u8; 32];

/// The key of something made from `inputs`, each of which may be anything.
pub fn key_of<'a>(inputs: impl IntoIterator<Item = &'a [u8]>) -> Key {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for input in inputs {
        context.update(&(input.len() as u64).to_le_bytes());
        context.update(input);
    }
    let mut key = Key::default();
    key.copy_from_slice(context.finish().as_ref());
    key
}

/// The directory of parts.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    dir: Option<PathBuf>,
}

impl Cache {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// That of this state directory.
    pub fn of(state_dir: &Path) -> Self {
        Self { dir: Some(state_dir.join("cache")) }
    }

    /// Whether anything is kept.
    pub fn keeps(&self) -> bool {
        self.dir.is_some()
    }

    /// What `read` makes of the part called `name`; `None` when there is none with this `key`. One that
    /// is damaged is told of in the log.
    pub fn read<T>(
        &self,
        name: &str,
        key: &Key,
        read: impl FnOnce(&mut Source<File>) -> io::Result<T>,
    ) -> Option<T> {
        let path = self.path(name)?;
        match read_part(&path, key, read) {
            Ok(found) => found,
            // A state directory that cannot be one is told of by who needs it.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cannot be used and is made again");
                None
            }
        }
    }

    /// Keeps what `write` writes as the part called `name`, in the place of what was called so.
    ///
    /// # Errors
    /// When it cannot be written; what was there still is.
    pub fn write(
        &self,
        name: &str,
        key: &Key,
        write: impl FnOnce(&mut Sink<BufWriter<File>>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some((dir, path)) = self.dir.as_deref().zip(self.path(name)) else { return Ok(()) };
        fs::create_dir_all(dir)?;
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let temporary = dir.join(format!("{name}.{}.{number}.tmp", std::process::id()));
        let done = write_part(&temporary, key, write).and_then(|()| fs::rename(&temporary, &path));
        if done.is_err() {
            // It may not even have been made.
            drop(fs::remove_file(&temporary));
        }
        done?;
        File::open(dir)?.sync_all()?;
        self.clear_interrupted(name);
        Ok(())
    }

    /// Removes what processes that are gone left of this part half written.
    fn clear_interrupted(&self, name: &str) {
        let ours = format!("{name}.{}.", std::process::id());
        let entries = self.dir.as_deref().and_then(|dir| fs::read_dir(dir).ok());
        for entry in entries.into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let is_of_part = file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
            if is_of_part && file.ends_with(".tmp") && !file.starts_with(&ours) {
                // What cannot be removed is tried again next time.
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    /// The file of a part.
    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.dir.as_deref()?.join(format!("{name}.part")))
    }
}

/// Reads the part in `path`; `None` when its key is another.
fn read_part<T>(
    path: &Path,
    key: &Key,
    read: impl FnOnce(&mut Source<File>) -> io::Result<T>,
) -> io::Result<Option<T>> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut head = [0; HEAD_LEN];
    file.read_exact(&mut head)?;
    if head[..MAGIC.len()] != MAGIC {
        return Err(damaged("not a part"));
    }
    if head[MAGIC.len()..] != *key {
        return Ok(None);
    }
    let mut source = Source::new(file, len.saturating_sub(HEAD_LEN as u64))?;
    let made = read(&mut source)?;
    source.finish().map(|()| Some(made))
}

/// Writes a part to `path`, and waits until it is on the disk.
fn write_part(
    path: &Path,
    key: &Key,
    write: impl FnOnce(&mut Sink<BufWriter<File>>) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&MAGIC)?;
    file.write_all(key)?;
    let mut sink = Sink::new(file);
    write(&mut sink)?;
    sink.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache in a directory that lives as long as the first.
    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::of(dir.path());
        (dir, cache)
    }

    /// Keeps `numbers` as `name`.
    fn keep(cache: &Cache, name: &str, key: &Key, numbers: &[u32]) {
        cache.write(name, key, |sink| sink.array(numbers)).expect("a directory that can be written");
    }

    /// What is kept as `name`.
    fn kept(cache: &Cache, name: &str, key: &Key) -> Option<Vec<u32>> {
        cache.read(name, key, |source| source.array())
    }

    #[test]
    fn a_part_is_there_under_its_key_only_and_one_a_name() {
        let (dir, cache) = cache();
        let (old, new) = (key_of([&b"a"[..], b"bc"]), key_of([&b"ab"[..], b"c"]));
        assert_ne!(old, new, "inputs are told apart");
        assert_eq!(kept(&cache, "x", &old), None);
        keep(&cache, "x", &old, &[1, 2]);
        assert_eq!(kept(&cache, "x", &old), Some(vec![1, 2]));
        assert_eq!(kept(&cache, "y", &old), None);
        keep(&cache, "x", &new, &[3]);
        assert_eq!((kept(&cache, "x", &old), kept(&cache, "x", &new)), (None, Some(vec![3])));
        assert_eq!(fs::read_dir(dir.path().join("cache")).expect("made").count(), 1);
    }

    #[test]
    fn what_is_damaged_is_as_good_as_none() {
        let (dir, cache) = cache();
        let key = key_of([]);
        keep(&cache, "x", &key, &[1, 2, 3]);
        let path = dir.path().join("cache/x.part");
        let octets = fs::read(&path).expect("kept");
        for at in 0..octets.len() {
            let mut bad = octets.clone();
            bad[at] ^= 0x11;
            fs::write(&path, &bad).expect("written");
            assert_eq!(kept(&cache, "x", &key), None, "octet {at}");
            fs::write(&path, &octets[..at]).expect("written");
            assert_eq!(kept(&cache, "x", &key), None, "cut at {at}");
        }
        keep(&cache, "x", &key, &[4]);
        assert_eq!(kept(&cache, "x", &key), Some(vec![4]));
    }

    #[test]
    fn what_was_interrupted_goes_and_a_failure_leaves_what_was() {
        let (dir, cache) = cache();
        let key = key_of([]);
        keep(&cache, "x", &key, &[1]);
        let failed = cache.write("x", &key, |_| Err(io::Error::other("full")));
        assert!(failed.is_err());
        assert_eq!(kept(&cache, "x", &key), Some(vec![1]));
        fs::write(dir.path().join("cache/x.1.0.tmp"), b"half").expect("written");
        keep(&cache, "x", &key, &[2]);
        assert_eq!(fs::read_dir(dir.path().join("cache")).expect("made").count(), 1);
        keep(&Cache::none(), "x", &key, &[1]);
        assert_eq!(kept(&Cache::none(), "x", &key), None);
    }
}
