//! The key files of signed zones, from their directories.
//!
//! What is in a file is `dnssec`'s business; here is which files belong to which zone, and who else may
//! read them. Layer 8.

use crate::config::{self, Config};
use crate::dnssec::{Key, KeyFiles, Keyring, Keyrings, Rules, UnixS};
use crate::problem::Problem;
use crate::serve::load::unreadable;
use crate::wire::Name;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bits of a file's mode that let others than its owner read it.
const READABLE_BY_OTHERS: u32 = 0o044;

/// The keyrings of all signed zones, and what is odd about them.
///
/// # Errors
/// All that is wrong with the key files.
pub fn keyrings(config: &Config, now: UnixS) -> Result<(Keyrings, Vec<Problem>), Vec<Problem>> {
    let mut keyrings = Keyrings::new(config.dns.signatures_s_max, config.dns.signatures_kept as usize);
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for zone in &config.dns.zones {
        let Some(dir) = &zone.keys else { continue };
        match keyring(zone, &config.resolve(dir), now, &mut warnings) {
            Ok(keyring) => keyrings.add(keyring),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok((keyrings, warnings)) } else { Err(problems) }
}

/// The keyring of one zone.
fn keyring(
    zone: &config::Zone,
    dir: &Path,
    now: UnixS,
    warnings: &mut Vec<Problem>,
) -> Result<Keyring, Vec<Problem>> {
    let name = dir.display().to_string();
    let apex: Name = zone.name.parse().map_err(|error| {
        vec![Problem::at(zone.line, "dns.zone.name", &zone.name, format!("a zone's name: {error}"))]
    })?;
    let (keys, odd) = read_dir(dir, Some(&apex))?;
    warnings.extend(odd);
    let rules = Rules { validity_s: zone.signature_validity_s, jitter_s: zone.signature_jitter_s };
    let keyring = Keyring::new(apex, keys, rules, &name, now).map_err(|problem| vec![problem])?;
    warnings.extend(keyring.warnings(&name, now));
    Ok(keyring)
}

/// The keys of `apex` in `dir` (all, without one), by the names of their files, and what is odd about
/// the files.
///
/// # Errors
/// All that is wrong with the files, or that the directory cannot be read.
pub fn read_dir(dir: &Path, apex: Option<&Name>) -> Result<(Vec<Key>, Vec<Problem>), Vec<Problem>> {
    let entries = fs::read_dir(dir).map_err(|error| vec![unreadable("dns.zone.keys", dir, &error)])?;
    let prefix = apex.map_or_else(|| "K".to_owned(), |apex| format!("K{apex}.+"));
    let is_key = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(&prefix) && name.ends_with(".key")
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_key).collect();
    paths.sort();
    let (mut keys, mut warnings, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for path in paths {
        match read_key(&path, &mut warnings) {
            Ok(key) if apex.is_none_or(|apex| key.owner() == apex) => keys.push(key),
            Ok(key) => {
                let found = format!("a key of {}", key.owner());
                let expected = format!("one of {}", apex.map(ToString::to_string).unwrap_or_default());
                problems.push(Problem::at(0, "", found, expected).in_file(path.display().to_string()));
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok((keys, warnings)) } else { Err(problems) }
}

/// Reads the key whose `.key` file is `path`.
///
/// # Errors
/// All that is wrong with its files.
pub fn read_key(path: &Path, warnings: &mut Vec<Problem>) -> Result<Key, Vec<Problem>> {
    let beside = path.with_extension("private");
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| vec![unreadable("", path, &error)]);
    let (public, private) = (read(path)?, read(&beside)?);
    let (public_name, private_name) = (path.display().to_string(), beside.display().to_string());
    let mode = fs::metadata(&beside).map_or(0, |file| file.mode());
    if mode & READABLE_BY_OTHERS != 0 {
        let found = format!("mode {:03o}, which lets others read it", mode & 0o777);
        warnings.push(Problem::at(0, "", found, "a private key of mode 600").in_file(&private_name));
    }
    let files = KeyFiles {
        public_name: &public_name,
        public: &public,
        private_name: &private_name,
        private: &private,
    };
    files.read()
}
