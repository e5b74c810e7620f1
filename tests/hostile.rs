//! Whatever comes in: the fuzz targets' invariants over their corpora, over seeds made from the
//! grammars, and over seeded mutations of both. `tests/fuzz/run.sh` goes on from here for hours.
//!
//! Corpora lie in `tests/corpora/TARGET`; they are what the fuzzer found worth keeping, minimised.
//! `STEERD_SEEDS=write` puts the seeds beside them; `STEERD_SEEDS=none` leaves seeds and mutations out, to
//! measure what the corpora alone reach.

mod invariants;
mod seeds;
mod storm;

use std::path::{Path, PathBuf};

/// One fuzz target: its name, what holds, mutations tried in `make test`, and further seed folders.
struct Target {
    name: &'static str,
    holds: fn(&[u8]),
    mutations: u32,
    folders: &'static [&'static str],
}

/// All targets; `run.sh` has the same list.
const TARGETS: [Target; 8] = [
    Target { name: "packet", holds: invariants::packet, mutations: 100_000, folders: &[] },
    Target { name: "ecs", holds: invariants::ecs, mutations: 50_000, folders: &[] },
    Target { name: "table_line", holds: invariants::table_line, mutations: 10_000, folders: &[] },
    Target { name: "artefact", holds: invariants::artefact, mutations: 10_000, folders: &[] },
    Target { name: "journal", holds: invariants::journal, mutations: 30_000, folders: &[] },
    Target { name: "http_head", holds: invariants::http_head, mutations: 30_000, folders: &[] },
    Target { name: "proxy_header", holds: invariants::proxy_header, mutations: 100_000, folders: &[] },
    Target {
        name: "mmdb",
        holds: invariants::mmdb,
        mutations: 1_000,
        folders: &["tests/data/mmdb/good", "tests/data/mmdb/bad", "tests/data/mmdb/limits"],
    },
];

#[test]
fn hostile_packets() {
    run("packet");
}

/// Three hundred thousand packets; with `STEERD_SOAK` a hundred million, on two threads.
#[test]
fn hostile_packets_by_number() {
    let target = TARGETS.iter().find(|target| target.name == "packet").expect("a target");
    let mut inputs = seeds::of("packet");
    inputs.extend(files(&corpus(target)).iter().map(|file| read(file)));
    let (threads, each) =
        if std::env::var_os("STEERD_SOAK").is_some() { (2_u64, 50_000_000) } else { (1, 300_000) };
    let inputs = &inputs;
    let targets: Vec<storm::Target> = std::thread::scope(|scope| {
        let run = |thread| scope.spawn(move || storm::run(inputs, each, 0x5eed_0000_u64 + thread));
        let threads: Vec<_> = (0..threads).map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("every packet has its reply")).collect()
    });
    let count: u64 = targets.iter().map(storm::Target::count).sum();
    println!("{count} packets of {} seeds cut and mutated, by outcome:", inputs.len());
    for outcome in steerd::dns::Outcome::ALL {
        let count: u64 = targets.iter().map(|target| target.outcomes[outcome.index()]).sum();
        println!("  {:16} {count}", outcome.label());
        let may_miss = matches!(outcome.label(), "dropped_no_room" | "unsigned");
        assert!(count > 0 || may_miss, "no packet was {}", outcome.label());
    }
}

#[test]
fn hostile_client_subnets() {
    run("ecs");
}

#[test]
fn hostile_table_lines() {
    run("table_line");
}

#[test]
fn hostile_artefacts() {
    run("artefact");
}

#[test]
fn hostile_journals() {
    run("journal");
}

#[test]
fn hostile_http_heads() {
    run("http_head");
}

#[test]
fn hostile_proxy_headers() {
    run("proxy_header");
}

#[test]
fn hostile_geoip_databases() {
    run("mmdb");
}

/// The targets here, in the fuzz crate and on disk are the same.
#[test]
fn every_fuzz_target_is_replayed() {
    let listed: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let manifest = std::fs::read_to_string(root().join("tests/fuzz/Cargo.toml")).expect("the manifest");
    let built: Vec<&str> = manifest
        .lines()
        .skip_while(|line| *line != "[[bin]]")
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .collect();
    assert_eq!(listed, built, "tests/fuzz/Cargo.toml");
    for target in &TARGETS {
        assert!(!files(&corpus(target)).is_empty(), "{} has a corpus", target.name);
    }
}

/// Holds a target's invariants over corpus, seeds and mutations of them.
fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let how = std::env::var_os("STEERD_SEEDS").unwrap_or_default();
    let mut inputs = seeds::of(name);
    if how == "write" {
        write(target, &inputs);
    } else if how == "none" {
        return files(&corpus(target)).iter().for_each(|file| (target.holds)(&read(file)));
    }
    inputs.extend(files(&corpus(target)).iter().map(|file| read(file)));
    for folder in target.folders {
        inputs.extend(files(&root().join(folder)).iter().map(|file| read(file)));
    }
    inputs.iter().for_each(|input| (target.holds)(input));
    let mut dice = Dice(0x5eed);
    for _ in 0..target.mutations {
        let mut input = inputs[dice.below(inputs.len())].clone();
        for _ in 0..=dice.below(4) {
            mutate(&mut input, &inputs, &mut dice);
        }
        // A panic prints what it was about; the input is found again by its place in the sequence.
        (target.holds)(&input);
    }
    println!("{name}: {} inputs and {} mutations", inputs.len(), target.mutations);
}

/// Changes `input` in one way.
fn mutate(input: &mut Vec<u8>, inputs: &[Vec<u8>], dice: &mut Dice) {
    const ODD: [u8; 8] = [0, 1, 0x7f, 0x80, 0xc0, 0xff, b'"', b'\n'];
    let at = dice.below(input.len().max(1));
    match dice.below(7) {
        0 if !input.is_empty() => input[at] ^= 1 << dice.below(8),
        1 if !input.is_empty() => input[at] = ODD[dice.below(ODD.len())],
        2 => input.truncate(at),
        3 => input.insert(at.min(input.len()), ODD[dice.below(ODD.len())]),
        4 if !input.is_empty() => drop(input.remove(at)),
        5 => {
            let other = &inputs[dice.below(inputs.len())];
            let from = dice.below(other.len().max(1));
            input.truncate(at);
            input.extend_from_slice(other.get(from..).unwrap_or_default());
        }
        _ => {
            let end = (at + 1 + dice.below(16)).min(input.len());
            let piece = input.get(at..end).unwrap_or_default().to_vec();
            let to = dice.below(input.len() + 1);
            input.splice(to..to, piece);
        }
    }
}

/// Numbers that are the same on every machine (SplitMix64).
struct Dice(u64);

impl Dice {
    /// The next number below `end`, which is above 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

/// The package's folder.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where a target's corpus lies.
fn corpus(target: &Target) -> PathBuf {
    root().join("tests/corpora").join(target.name)
}

/// The files of a folder by name; none when it is not there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// The octets of a file.
fn read(file: &Path) -> Vec<u8> {
    std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Puts a target's seeds into its corpus, by number.
fn write(target: &Target, inputs: &[Vec<u8>]) {
    let folder = corpus(target);
    std::fs::create_dir_all(&folder).expect("a folder");
    for (at, input) in inputs.iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{at:03}")), input).expect("a file");
    }
}
