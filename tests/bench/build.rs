//! Building and swapping: parse, GeoIP, artefact, push, delta, restart, health.
//!
//! `STEERD_MMDB=a.mmdb:b.mmdb` measures with these databases instead of the demo's, `STEERD_VIEWS=3` with
//! three views instead of two.
//!
//! Expected, before measuring: parsing 1.33 M lines of 60 octets at 500 MB/s is 0.2 s; compiling them
//! touches about three segments a prefix at 30 ns, so a tenth of a second a view; a delta copies 20 MB
//! of routes, which is 5 ms, and must not look at the rest.

use crate::internet::Internet;
use crate::{cpu_time, instructions};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use steerd::geo::{CountryPoints, Geography};
use steerd::publish::cache::{Cache, key_of};
use steerd::publish::store::Store;
use steerd::publish::{Publisher, PushOptions, Pushed, Rules};
use steerd::snapshot::{Compiler, Settings};
use steerd::table::{self, Table, artefact};
use steerd::units::UnixMs;

/// Milliseconds since `start`.
fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Does `work`, says how long it took.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (start, cpu) = (Instant::now(), cpu_time::thread());
    let made = work();
    println!(
        "{what:<24} {:>8.1} ms  cpu {:>8.1} ms",
        ms(start),
        (cpu_time::thread() - cpu).as_secs_f64() * 1e3
    );
    made
}

/// Everything, with each `step`th prefix.
pub fn run(step: usize) {
    let mut internet = Internet::read();
    internet.prefixes = internet.prefixes.into_iter().step_by(step).collect();
    let mut text = internet.table(1);
    if std::env::var("STEERD_VIEWS").is_ok_and(|views| views == "3") {
        // The service that shares a view gets one of its own.
        text = text.replacen(r#""ttl_s":60,"#, r#""ttl_s":60,"geo":{"deny":["BR","FR"]},"#, 1);
    }
    let start = Instant::now();
    let read = table::read_full(text.as_bytes()).expect("a valid table");
    let parse = ms(start);
    println!(
        "parse    {:>9} routes  {parse:>8.1} ms  {:>6.0} MB/s",
        read.table.routes().len(),
        text.len() as f64 / parse / 1e3
    );
    let table = Arc::new(read.table);
    let geography = geography();
    artefacts(&table);
    publish(&internet, &text, &geography);
    compile(&table, &geography);
    for what in ["parse", "compile"] {
        let total = (step == 1).then(|| instructions::count(&format!("build {what}"))).flatten();
        if let Some(total) = total {
            println!("{what:<24} {:>8} instructions a route", total / ROUTES_COUNTED);
        }
    }
}

/// Routes under valgrind: of how many one is taken, and how many that makes.
const STEP_COUNTED: usize = 50;
const ROUTES_COUNTED: u64 = 1_328_788 / STEP_COUNTED as u64;

/// Runs what `piece` names if it is of this bench.
pub fn run_counted(piece: &str) -> bool {
    let Some(what) = piece.strip_prefix("build ") else { return false };
    let mut internet = Internet::read();
    internet.prefixes = internet.prefixes.into_iter().step_by(STEP_COUNTED).collect();
    let text = internet.table(1);
    let read = || table::read_full(text.as_bytes()).expect("a valid table").table;
    match what {
        "parse" => drop(instructions::counted(read)),
        "compile" => {
            let (table, geography) = (Arc::new(read()), Arc::new(Geography::empty()));
            let compile = || Compiler::new().compile(table, geography, Settings::default());
            drop(instructions::counted(compile));
        }
        _ => return false,
    }
    true
}

/// Megabytes.
fn mb(octets: usize) -> f64 {
    octets as f64 / 1e6
}

/// Reads GeoIP.
fn geography() -> Arc<Geography> {
    let points =
        CountryPoints::parse(include_str!("../../data/country_points.csv")).expect("the built-in points");
    let names = std::env::var("STEERD_MMDB").unwrap_or_else(|_| "data/iptoasn-country.mmdb".to_owned());
    let read = |name: &str| (name.to_owned(), std::fs::read(name).expect("a GeoIP file"));
    let files: Vec<(String, Vec<u8>)> = names.split(':').map(read).collect();
    let geography = timed("geoip", || Geography::read(&files, &points).expect("good files").0);
    println!(
        "  {:.1} MB: {} IPv4 ranges {:.1} MB, {} IPv6 ranges {:.1} MB, {} locations {:.1} MB",
        mb(geography.heap_bytes()),
        geography.v4.count(),
        mb(geography.v4.heap_bytes()),
        geography.v6.count(),
        mb(geography.v6.heap_bytes()),
        geography.locations.len(),
        mb(geography.locations.heap_bytes())
    );
    let dir = tempfile::tempdir().expect("a directory");
    let (cache, key) = (Cache::of(dir.path()), key_of([]));
    timed("geoip keep", || cache.write("geography", &key, |out| geography.save(out)).expect("written"));
    for _ in 0..3 {
        let kept = timed("geoip kept", || cache.read("geography", &key, Geography::load).expect("kept"));
        assert_eq!(kept.digest, geography.digest);
    }
    Arc::new(geography)
}

/// The artefact there and back, and the digest.
fn artefacts(table: &Table) {
    let bytes = timed("artefact write", || artefact::write(table));
    println!("  {:.1} MB", bytes.len() as f64 / 1e6);
    for _ in 0..3 {
        timed("artefact read", || artefact::read(&bytes).expect("just written"));
    }
    println!("  {}", &timed("digest", || table.digest().to_owned())[..16]);
}

/// Compiles from nothing.
fn compile(table: &Arc<Table>, geography: &Arc<Geography>) {
    for round in 0..3 {
        let mut compiler = Compiler::new();
        let start = Instant::now();
        let compiled = compiler.compile(Arc::clone(table), Arc::clone(geography), Settings::default());
        println!("compile  {:>9} views   {:>8.1} ms  (round {round})", compiled.views().len(), ms(start));
        println!(
            "  {:.1} MB, and {:.1} MB for the next change",
            mb(compiled.heap_bytes()),
            mb(compiler.heap_bytes())
        );
        for view in compiled.views().iter().filter(|_| round == 0) {
            let [v4, v6, lists] = view.heap_parts().map(mb);
            println!(
                "  view: IPv4 {v4:.1} MB, IPv6 {v6:.1} MB, {} lists {lists:.1} MB; entries {:?}",
                view.list_count(),
                view.entry_counts()
            );
        }
    }
}

/// Opens the state directory as a start does.
fn open(dir: &Path, geography: &Arc<Geography>) -> Publisher {
    let start = Instant::now();
    let (store, recovered) = Store::open(dir, 5).expect("a directory that can be written");
    let read = ms(start);
    let (publisher, warnings) =
        Publisher::open(Rules::default(), store, recovered, Arc::clone(geography), Arc::default(), UnixMs(1));
    assert!(warnings.is_empty(), "{warnings:?}");
    println!(
        "open     read {read:.1} ms, ready after {:.1} ms, epoch {:?}",
        ms(start),
        publisher.load().epoch()
    );
    publisher
}

/// A push, deltas, a restart and health flips through the publisher, state directory included.
fn publish(internet: &Internet, text: &str, geography: &Arc<Geography>) {
    let dir = tempfile::tempdir().expect("a directory");
    let publisher = open(dir.path(), geography);
    let start = Instant::now();
    let options = PushOptions { force: true, ..PushOptions::default() };
    let report = publisher.put(Pushed::text(text.as_bytes()), options, UnixMs(2)).expect("accepted");
    println!(
        "put      {:.1} ms: parse {} compile {} persist {}",
        ms(start),
        report.parse_ms,
        report.compile_ms,
        report.persist_ms
    );
    let rounds = std::env::var("STEERD_DELTAS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    for base in 1..=rounds {
        let delta = internet.delta(base, 1000.min(internet.prefixes.len() / 4));
        let start = Instant::now();
        let cpu = cpu_time::thread();
        let report = publisher.patch(delta.as_bytes(), options, UnixMs(3)).expect("accepted");
        let cpu = (cpu_time::thread() - cpu).as_secs_f64() * 1e3;
        println!(
            "patch    {:.1} ms, cpu {cpu:.1} ms here: parse {} compile {} persist {}  moved v4 {} v6 {}",
            ms(start),
            report.parse_ms,
            report.compile_ms,
            report.persist_ms,
            report.diff.addresses_moved_v4,
            report.diff.addresses_moved_v6
        );
        publisher.tick(UnixMs(3));
    }
    drop(publisher);
    let publisher = open(dir.path(), geography);
    let name = publisher.load().fleet().appliances()[0].name.clone();
    for state in ["down", "up"] {
        let report = serde_json::from_str(&format!(r#"{{"appliance":"{name}","state":"{state}"}}"#))
            .expect("a report");
        let start = Instant::now();
        publisher.push_health(None, &[report], UnixMs(4)).expect("taken");
        println!("health   {:.3} ms", ms(start));
    }
}
