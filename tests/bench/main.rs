//! Benchmarks that stay: `make bench`, or `cargo bench -- NAME` for some of them, `--smoke` for toy
//! sizes. Fixed seeds; each prints what it measured and a hash of the results.
//!
//! Expected, before measuring: parsing 1.33 M lines of 60 octets at 200 MB/s is 0.4 s; compiling them
//! touches about three segments a prefix at 60 ns, so a quarter of a second a view.

#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and says so")]

mod answer;
mod cpu_time;
mod instructions;
#[path = "../harness/internet.rs"]
mod internet;
mod mix;

use internet::Internet;
use std::sync::Arc;
use std::time::Instant;
use steerd::geo::{CountryPoints, Geography};
use steerd::publish::store::Store;
use steerd::publish::{Body, Publisher, PushOptions, Rules};
use steerd::snapshot::{Compiler, Settings};
use steerd::table;
use steerd::units::UnixMs;

fn main() {
    if let Some(piece) = instructions::asked_for() {
        assert!(answer::run_counted(&piece), "no bench is called {piece}");
        return;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let step = if args.iter().any(|arg| arg == "--smoke") { 200 } else { 1 };
    let names: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let wants = |name: &str| names.is_empty() || names.iter().any(|asked| *asked == name);
    if wants("answer") {
        answer::run(step);
    }
    if wants("build") {
        build(step);
    }
}

/// Milliseconds since `start`.
fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Parse, compile, delta.
fn build(step: usize) {
    let mut internet = Internet::read();
    internet.prefixes = internet.prefixes.into_iter().step_by(step).collect();
    let text = internet.table(1);
    let start = Instant::now();
    let read = table::read_full(text.as_bytes()).expect("a valid table");
    let parse = ms(start);
    println!(
        "parse    {:>9} routes  {parse:>8.1} ms  {:>6.0} MB/s",
        read.table.routes().len(),
        text.len() as f64 / parse / 1e3
    );
    let start = Instant::now();
    let points =
        CountryPoints::parse(include_str!("../../data/country_points.csv")).expect("the built-in points");
    let file = (
        "iptoasn-country.mmdb".to_owned(),
        std::fs::read("data/iptoasn-country.mmdb").expect("the demo GeoIP"),
    );
    let geography = Arc::new(Geography::read(&[file], &points).expect("a good file").0);
    println!("geoip    {:>9} ranges  {:>8.1} ms", geography.v4.count() + geography.v6.count(), ms(start));
    let table = Arc::new(read.table);
    publish(&internet, &text, &geography);
    for round in 0..3 {
        let mut compiler = Compiler::new();
        let start = Instant::now();
        let compiled = compiler.compile(Arc::clone(&table), Arc::clone(&geography), Settings::default());
        println!("compile  {:>9} views   {:>8.1} ms  (round {round})", compiled.views().len(), ms(start));
        for view in compiled.views() {
            println!(
                "  view: {:?} entries, {} lists, {:.1} MB",
                view.entry_counts(),
                view.list_count(),
                view.heap_bytes() as f64 / 1e6
            );
        }
    }
}

/// A push, deltas and a restart through the publisher, state directory included.
fn publish(internet: &Internet, text: &str, geography: &Arc<Geography>) {
    let dir = tempfile::tempdir().expect("a directory");
    let open = || {
        let start = Instant::now();
        let (store, recovered) = Store::open(dir.path(), 5).expect("a directory that can be written");
        let read = ms(start);
        let (publisher, warnings) = Publisher::open(
            Rules::default(),
            store,
            recovered,
            Arc::clone(geography),
            Arc::default(),
            UnixMs(1),
        );
        assert!(warnings.is_empty(), "{warnings:?}");
        println!(
            "open     read {read:.1} ms, ready after {:.1} ms, epoch {:?}",
            ms(start),
            publisher.load().epoch()
        );
        publisher
    };
    let publisher = open();
    let start = Instant::now();
    let options = PushOptions { force: true, ..PushOptions::default() };
    let report = publisher.put(Body::Lines(text.as_bytes()), options, UnixMs(2)).expect("accepted");
    println!(
        "put      {:.1} ms: parse {} compile {} persist {}",
        ms(start),
        report.parse_ms,
        report.compile_ms,
        report.persist_ms
    );
    for base in 1..6 {
        let delta = internet.delta(base, 1000.min(internet.prefixes.len() / 4));
        let start = Instant::now();
        let report = publisher.patch(delta.as_bytes(), options, UnixMs(3)).expect("accepted");
        println!(
            "patch    {:.1} ms: parse {} compile {} persist {}  moved v4 {} v6 {}",
            ms(start),
            report.parse_ms,
            report.compile_ms,
            report.persist_ms,
            report.diff.addresses_moved_v4,
            report.diff.addresses_moved_v6
        );
    }
    drop(publisher);
    let publisher = open();
    let start = Instant::now();
    println!("digest   {} {:.1} ms", &publisher.load().table().digest()[..16], ms(start));
    let name = publisher.load().fleet().appliances()[0].name.clone();
    for state in ["down", "up"] {
        let report = serde_json::from_str(&format!(r#"{{"appliance":"{name}","state":"{state}"}}"#))
            .expect("a report");
        let start = Instant::now();
        publisher.push_health(None, &[report], UnixMs(4)).expect("taken");
        println!("health   {:.3} ms", ms(start));
    }
}
