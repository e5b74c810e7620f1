//! Benchmarks that stay: `make bench`, or `cargo bench -- NAME` for some of them, `--smoke` for toy
//! sizes. Fixed seeds; each prints what it measured and a hash of the results.
//!
//! Expected, before measuring: parsing 1.33 M lines of 60 octets at 200 MB/s is 0.4 s; compiling them
//! touches about three segments a prefix at 60 ns, so a quarter of a second a view.

#[path = "../harness/internet.rs"]
mod internet;

use internet::Internet;
use std::sync::Arc;
use std::time::Instant;
use steerd::geo::{CountryPoints, Geography};
use steerd::snapshot::{Compiler, Settings};
use steerd::table;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_smoke = args.iter().any(|arg| arg == "--smoke");
    build(if is_smoke { 200 } else { 1 });
}

/// Milliseconds since `start`.
fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Parse, compile, delta.
fn build(step: usize) {
    let internet = Internet::read().thinned(step);
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
