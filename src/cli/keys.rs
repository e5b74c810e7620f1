//! `steerd keys`: keys of signed zones made, listed and rolled, as files.
//!
//! A running server takes changes with a reload (SIGHUP) and then moves by the times in the files. Private
//! keys go from the system's random numbers into their files and nowhere else. Layer 9.

use super::args::{self, Keys, Role};
use super::failure::Failure;
use crate::dnssec::{Algorithm, Event, Flags, Key, KeyFiles, Keyring, NewKey, Times, UnixS, ds};
use crate::problem::Problem;
use crate::serve::keys::{read_dir, read_key};
use crate::serve::run::now;
use crate::wire::Name;
use anyhow::Context;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Seconds between a change of files on the first server and on the last one, at most, that a roll allows
/// for beside TTLs.
const SPREAD_S: u64 = 3600;

/// Keys that are made until one has a tag of its own, at most.
const TRIES_MAX: usize = 100;

/// Does what `keys` says.
///
/// # Errors
/// Key files that are bad, and a directory that cannot be written.
pub fn keys(keys: &Keys, out: &mut dyn Write) -> Result<(), Failure> {
    let now = UnixS::from(now());
    match keys {
        Keys::Generate(args) => generate(args, now, out),
        Keys::List(args) => list(args, now, out),
        Keys::Ds(args) => show_ds(args, now, out),
        Keys::Roll(args) => roll(args, now, out),
        Keys::Retire(args) => retire(args, now, out),
    }
}

/// Makes a key.
fn generate(args: &args::KeysGenerate, now: UnixS, out: &mut dyn Write) -> Result<(), Failure> {
    let mut times = Times::default();
    times.set(Event::Created, Some(now));
    let written = [
        (Event::Publish, args.publish.or(Some(args::When::After(0)))),
        (Event::Activate, args.activate.or(Some(args::When::After(0)))),
        (Event::Inactive, args.inactive),
        (Event::Delete, args.delete),
        (Event::SyncPublish, args.sync_publish),
        (Event::SyncDelete, args.sync_delete),
    ];
    for (event, when) in written {
        times.set(event, when.and_then(|when| when.at(now)));
    }
    fs::create_dir_all(&args.dir).with_context(|| args.dir.display().to_string())?;
    let known = read_dir(&args.dir, Some(&args.zone))?.0;
    let flags = args.role.flags();
    let stem = make(&args.dir, &args.zone, args.algorithm.into(), flags, args.ttl_s, &times, &known)?.stem;
    Ok(writeln!(out, "{stem}")?)
}

/// Makes a key whose tag none of `known` has, and writes its files.
fn make(
    dir: &Path,
    zone: &Name,
    algorithm: Algorithm,
    flags: Flags,
    ttl_s: u32,
    times: &Times,
    known: &[Key],
) -> Result<NewKey, Failure> {
    for _ in 0..TRIES_MAX {
        let key = NewKey::generate(zone, algorithm, flags, ttl_s, times)
            .map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
        if known.iter().any(|other| other.tag() == key.tag) {
            continue;
        }
        // The private one first: a `.key` file without it would be a problem.
        write_file(dir, &format!("{}.private", key.stem), &key.private, 0o600)?;
        write_file(dir, &format!("{}.key", key.stem), &key.public, 0o644)?;
        return Ok(key);
    }
    Err(Failure::Failed(anyhow::anyhow!("no key with a tag of its own in {TRIES_MAX} tries")))
}

/// Writes a file whole or not at all.
fn write_file(dir: &Path, name: &str, text: &str, mode: u32) -> Result<(), Failure> {
    let (path, beside) = (dir.join(name), dir.join(format!(".{name}.new")));
    let write = || {
        // One that a crash left behind would keep its mode.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    };
    Ok(write().with_context(|| path.display().to_string())?)
}

/// Changes the times of `key`'s files.
fn set_times(dir: &Path, key: &Key, times: &Times) -> Result<(), Failure> {
    let stem = key.file_stem();
    let (public_name, private_name) = (format!("{stem}.key"), format!("{stem}.private"));
    let read =
        |name: &str| fs::read_to_string(dir.join(name)).with_context(|| dir.join(name).display().to_string());
    let (public, private) = (read(&public_name)?, read(&private_name)?);
    let files = KeyFiles {
        public_name: &public_name,
        public: &public,
        private_name: &private_name,
        private: &private,
    };
    let (public, private) = files.with_times(times);
    write_file(dir, &private_name, &private, 0o600)?;
    write_file(dir, &public_name, &public, 0o644)
}

/// Says what each key does, and what comes next.
fn list(args: &args::KeysList, now: UnixS, out: &mut dyn Write) -> Result<(), Failure> {
    let (keys, warnings) = read_dir(&args.dir, args.zone.as_ref())?;
    for key in &keys {
        let (stem, algorithm, flags) = (key.file_stem(), key.algorithm().name(), key.flags().number());
        write!(out, "{stem}  {algorithm} {flags}  {}", Keyring::state_of(key, now))?;
        let mut next: Vec<_> = key.times().iter().filter(|(_, moment)| *moment > now).collect();
        next.sort_by_key(|(event, moment)| (*moment, *event));
        for (event, moment) in next {
            write!(out, ", {} {moment} (in {})", event.name(), length(moment.0 - now.0))?;
        }
        writeln!(out)?;
    }
    warnings.iter().try_for_each(|warning| writeln!(out, "warning: {warning}"))?;
    Ok(())
}

/// Prints the DS records of a zone's keys that are secure entry points and not over.
fn show_ds(args: &args::KeysOf, now: UnixS, out: &mut dyn Write) -> Result<(), Failure> {
    let keys = keys_of(&args.dir, &args.zone)?;
    let is_over = |key: &&Key| key.times().at(Event::Delete).is_some_and(|at| at <= now);
    let has_entry = keys.iter().any(|key| key.flags() == Flags::Entry);
    let is_entry = |key: &&Key| key.flags() == Flags::Entry || !has_entry;
    for key in keys.iter().filter(|key| !is_over(key)).filter(is_entry) {
        writeln!(out, "{}", ds_line(key))?;
    }
    Ok(())
}

/// The DS record of a key, as a zone file has it.
fn ds_line(key: &Key) -> String {
    let data = ds(key);
    let mut line = format!("{}. IN DS {} {} 2 ", key.owner(), key.tag(), key.algorithm().number());
    for octet in data.get(4..).unwrap_or_default() {
        // Writing to a string cannot fail.
        let _ = write!(line, "{octet:02X}");
    }
    line
}

/// The keys of a zone; at least one.
fn keys_of(dir: &Path, zone: &Name) -> Result<Vec<Key>, Failure> {
    let keys = read_dir(dir, Some(zone))?.0;
    if keys.is_empty() {
        let problem = Problem::at(0, "", "none", format!("a key of {zone} (steerd keys generate)"));
        return Err(Failure::Problems(vec![problem.in_file(dir.display().to_string())]));
    }
    Ok(keys)
}

/// A plan of a rollover: what its moments are.
struct Plan {
    /// Every resolver that will see the new key has it by then.
    known: UnixS,
    /// Every record set in a cache is younger than the beginning.
    seen: UnixS,
    ttl_s: u32,
}

impl Plan {
    /// For the keys of a zone whose longest TTL is `ttl_max_s`.
    fn new(keys: &[Key], ttl_max_s: u64, now: UnixS) -> Self {
        let ttl_s = keys.iter().filter_map(Key::ttl_s).max().unwrap_or(3600);
        let known = now.plus(u64::from(ttl_s) + SPREAD_S);
        Self { known, seen: now.plus(ttl_max_s + SPREAD_S), ttl_s }
    }
}

/// Makes successors, with the times of a rollover.
fn roll(args: &args::KeysRoll, now: UnixS, out: &mut dyn Write) -> Result<(), Failure> {
    let keys = keys_of(&args.dir, &args.zone)?;
    let active: Vec<&Key> = keys.iter().filter(|key| key.times().is_active(now)).collect();
    let Some(first) = active.first() else {
        return Err(Failure::Data(format!(
            "no key of {} is active: make one (steerd keys generate)",
            args.zone
        )));
    };
    let plan = Plan::new(&keys, args.ttl_max_s, now);
    let algorithm = args.algorithm.map_or_else(|| first.algorithm(), Algorithm::from);
    if !active.iter().any(|key| key.algorithm() == algorithm) {
        return roll_algorithm(args, algorithm, &keys, &plan, now, out);
    }
    let has_zone_key = active.iter().any(|key| key.flags() == Flags::Zone);
    let role = args.role.unwrap_or(if has_zone_key { Role::Zsk } else { Role::Csk });
    let flags = role.flags();
    let old = active.iter().find(|key| key.flags() == flags && key.algorithm() == algorithm);
    let Some(old) = old else {
        return Err(Failure::Data(format!("no active key of flags {} to succeed", flags.number())));
    };
    if let Some(at) = old.times().at(Event::Inactive) {
        let known = format!("{} is rolled already: it is inactive at {at}", old.file_stem());
        return Err(Failure::Data(known));
    }
    let mut times = Times::default();
    times.set(Event::Created, Some(now));
    times.set(Event::Publish, Some(now));
    if flags == Flags::Zone {
        return roll_zone_key(args, old, &keys, times, &plan, out);
    }
    // The new key signs from now on, too: both ways to trust the zone hold (RFC 6781 section 4.1.2).
    times.set(Event::Activate, Some(now));
    times.set(Event::SyncPublish, Some(plan.known));
    let new = make(&args.dir, &args.zone, algorithm, flags, plan.ttl_s, &times, &keys)?;
    stop_sync(&args.dir, old, plan.known)?;
    let successors = read_made(&args.dir, &[&new])?;
    tell_ds_step(out, &successors, &[old], &plan)
}

/// Rolls a zone-signing key by pre-publication (RFC 6781 section 4.1.1.1).
fn roll_zone_key(
    args: &args::KeysRoll,
    old: &Key,
    keys: &[Key],
    mut times: Times,
    plan: &Plan,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    times.set(Event::Activate, Some(plan.known));
    let new = make(&args.dir, &args.zone, old.algorithm(), Flags::Zone, plan.ttl_s, &times, keys)?;
    let mut over = *old.times();
    let delete = plan.known.plus(args.ttl_max_s + SPREAD_S);
    over.set(Event::Inactive, Some(plan.known));
    over.set(Event::Delete, Some(delete));
    set_times(&args.dir, old, &over)?;
    writeln!(out, "{} is published now and signs from {}", new.stem, plan.known)?;
    writeln!(out, "{} signs until then and is removed at {delete}", old.file_stem())?;
    Ok(writeln!(out, "Reload every server that has these files (SIGHUP). Nothing else is to be done.")?)
}

/// Rolls to another algorithm: its signatures come before its keys (RFC 6781 section 4.1.4).
fn roll_algorithm(
    args: &args::KeysRoll,
    algorithm: Algorithm,
    keys: &[Key],
    plan: &Plan,
    now: UnixS,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let old: Vec<&Key> = keys.iter().filter(|key| key.times().is_active(now)).collect();
    let mut times = Times::default();
    times.set(Event::Created, Some(now));
    times.set(Event::Activate, Some(now));
    times.set(Event::Publish, Some(plan.seen));
    let known = plan.seen.plus(u64::from(plan.ttl_s) + SPREAD_S);
    let mut made = Vec::new();
    if old.iter().any(|key| key.flags() == Flags::Zone) {
        made.push(make(&args.dir, &args.zone, algorithm, Flags::Zone, plan.ttl_s, &times, keys)?);
    }
    times.set(Event::SyncPublish, Some(known));
    made.push(make(&args.dir, &args.zone, algorithm, Flags::Entry, plan.ttl_s, &times, keys)?);
    for key in &old {
        stop_sync(&args.dir, key, known)?;
    }
    for key in &made {
        writeln!(out, "{} signs from now on and is published at {}", key.stem, plan.seen)?;
    }
    let made: Vec<&NewKey> = made.iter().collect();
    let successors = read_made(&args.dir, &made)?;
    tell_ds_step(out, &successors, &old, &Plan { known, ..*plan })
}

/// Ends at `at` that the parent is asked to point to `key`, if it is.
fn stop_sync(dir: &Path, key: &Key, at: UnixS) -> Result<(), Failure> {
    let mut times = *key.times();
    if times.at(Event::SyncPublish).is_none() || times.at(Event::SyncDelete).is_some() {
        return Ok(());
    }
    times.set(Event::SyncDelete, Some(at));
    set_times(dir, key, &times)
}

/// The keys that were just made, as their files say.
fn read_made(dir: &Path, made: &[&NewKey]) -> Result<Vec<Key>, Failure> {
    let read = |key: &&NewKey| read_key(&dir.join(format!("{}.key", key.stem)), &mut Vec::new());
    Ok(made.iter().map(read).collect::<Result<_, _>>()?)
}

/// Says what is to be done at the parent.
fn tell_ds_step(out: &mut dyn Write, new: &[Key], old: &[&Key], plan: &Plan) -> Result<(), Failure> {
    writeln!(out, "Reload every server that has these files (SIGHUP).")?;
    writeln!(
        out,
        "From {} on, and not before, put this DS at the parent in place of the old one",
        plan.known
    )?;
    writeln!(out, "(CDS and CDNSKEY ask for it then):")?;
    for key in new.iter().filter(|key| key.flags() == Flags::Entry) {
        writeln!(out, "  {}", ds_line(key))?;
    }
    writeln!(out, "When all servers of the parent have it, end the old key, which signs until then:")?;
    for key in old {
        writeln!(out, "  steerd keys retire {} {} --dir DIR", key.owner(), key.tag())?;
    }
    Ok(())
}

/// Ends a key whose DS is gone from the parent.
fn retire(args: &args::KeysRetire, now: UnixS, out: &mut dyn Write) -> Result<(), Failure> {
    let keys = keys_of(&args.dir, &args.zone)?;
    let Some(old) = keys.iter().find(|key| key.tag() == args.tag) else {
        return Err(Failure::Data(format!("no key of {} has the tag {}", args.zone, args.tag)));
    };
    let others = || keys.iter().filter(|key| key.tag() != args.tag);
    let is_used = |key: &&Key| key.times().is_active(now) && key.times().is_published(now);
    let is_alike = |key: &&Key| key.flags() == old.flags() || key.flags() == Flags::Entry;
    if !others().filter(is_used).any(|key| is_alike(&key)) {
        let text = format!("{} has no successor that signs now (steerd keys roll)", old.file_stem());
        return Err(Failure::Data(text));
    }
    // Until resolvers have forgotten the DS that points to it.
    let forgotten = now.plus(args.ds_ttl_s + SPREAD_S);
    let of_algorithm = |key: &&Key| key.algorithm() == old.algorithm();
    let is_last = !others().filter(is_used).any(|key| of_algorithm(&key));
    let ttl_s = u64::from(old.ttl_s().unwrap_or(3600));
    let (inactive, delete) = if is_last {
        // The algorithm's keys go first, its signatures when nobody knows the keys any more.
        (forgotten.plus(ttl_s + SPREAD_S), forgotten)
    } else {
        (forgotten, forgotten.plus(args.ttl_max_s + SPREAD_S))
    };
    let mut times = *old.times();
    times.set(Event::Inactive, Some(inactive));
    times.set(Event::Delete, Some(delete));
    set_times(&args.dir, old, &times)?;
    writeln!(out, "{} signs until {inactive} and is removed at {delete}", old.file_stem())?;
    Ok(writeln!(out, "Reload every server that has these files (SIGHUP).")?)
}

/// A length of time for people: its two largest units.
fn length(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::super::run;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// What a command prints.
    fn say(line: &str, dir: &Path) -> Result<String, String> {
        let dir = dir.display().to_string();
        let words = line.split(' ').map(|word| if word == "DIR" { dir.clone() } else { word.to_owned() });
        let mut out = Vec::new();
        let done =
            run(["steerd".to_owned(), "keys".to_owned()].into_iter().chain(words).map(Into::into), &mut out);
        done.map_err(|failure| format!("{failure:?}"))?;
        Ok(String::from_utf8(out).expect("text"))
    }

    /// The keyring in `dir` at `now`.
    fn keyring(dir: &Path, now: UnixS) -> Keyring {
        let apex: Name = "cdn.example".parse().expect("a name");
        let keys = read_dir(dir, Some(&apex)).expect("keys").0;
        let rules = crate::dnssec::Rules { validity_s: 604_800, jitter_s: 0 };
        Keyring::new(apex, keys, rules, "keys", now).expect("a keyring")
    }

    #[test]
    fn keys_are_made_for_their_owner_only_and_listed() {
        let dir = tempfile::tempdir().expect("a directory");
        let stem = say("generate cdn.example --dir DIR --inactive +7d", dir.path()).expect("a key");
        let stem = stem.trim();
        assert!(stem.starts_with("Kcdn.example.+013+"), "{stem}");
        let mode = |kind: &str| {
            let file = dir.path().join(format!("{stem}.{kind}"));
            fs::metadata(file).expect("a file").permissions().mode() & 0o777
        };
        assert_eq!((mode("private"), mode("key") & 0o600), (0o600, 0o600));
        let listed = say("list --dir DIR", dir.path()).expect("listed");
        assert!(listed.contains("ECDSAP256SHA256 257  active, Inactive 2"), "{listed}");
        let ds = say("ds cdn.example --dir DIR", dir.path()).expect("a DS");
        assert!(ds.starts_with("cdn.example. IN DS ") && ds.trim_end().len() > 90, "{ds}");
        assert!(say("ds other.example --dir DIR", dir.path()).is_err());
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 2, "nothing else is left");
    }

    #[test]
    fn a_zone_key_is_rolled_without_a_gap() {
        let dir = tempfile::tempdir().expect("a directory");
        say("generate cdn.example --dir DIR --role ksk --algorithm ed25519", dir.path()).expect("a key");
        say("generate cdn.example --dir DIR --role zsk --algorithm ed25519", dir.path()).expect("a key");
        say("roll cdn.example --dir DIR", dir.path()).expect("rolled");
        let now = UnixS::from(now());
        let keyring = keyring(dir.path(), now);
        let counts: Vec<usize> = keyring
            .phases()
            .iter()
            .map(|phase| phase.records(crate::wire::Rtype::DNSKEY).map_or(0, |keys| keys.rdatas.len()))
            .collect();
        // The keys may be of one second or of two.
        assert!(counts.ends_with(&[3, 3, 2]), "{counts:?}");
        assert!(keyring.phases().iter().all(|phase| !phase.is_continued()));
        assert!(say("roll cdn.example --dir DIR --role zsk", dir.path()).is_err(), "rolled already");
    }

    #[test]
    fn an_algorithm_is_rolled_and_the_old_one_ends_when_its_ds_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let old = say("generate cdn.example --dir DIR --sync-publish now", dir.path()).expect("a key");
        let told = say("roll cdn.example --dir DIR --algorithm ed25519", dir.path()).expect("rolled");
        assert!(told.contains("IN DS ") && told.contains("keys retire cdn.example "), "{told}");
        let tag = old.trim().rsplit('+').next().expect("a tag").trim_start_matches('0').to_owned();
        let retire = format!("retire cdn.example {tag} --dir DIR");
        assert!(say(&retire, dir.path()).is_err(), "the successor is not published yet");
        let now = UnixS::from(now());
        let before = keyring(dir.path(), now);
        let published = |at: UnixS| {
            let phase = before.phase(at);
            phase.records(crate::wire::Rtype::DNSKEY).map_or(0, |records| records.rdatas.len())
        };
        assert_eq!((published(now), published(now.plus(2 * 86_400))), (1, 2));
        let cds = |at: UnixS| before.phase(at).records(crate::wire::Rtype::CDS).cloned();
        assert_ne!(cds(now), cds(now.plus(3 * 86_400)), "the parent is asked for the new key");
    }

    #[test]
    fn lengths_are_short() {
        for (seconds, expected) in [(59, "59s"), (3599, "59m"), (3700, "1h1m"), (90_000, "1d1h")] {
            assert_eq!(length(seconds), expected);
        }
    }
}
