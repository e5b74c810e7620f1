//! Benchmarks that stay: `make bench`, or `cargo bench -- NAME` for some of them, `--smoke` for toy
//! sizes. Fixed seeds; each prints what it measured and a hash of the results.

#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and says so")]

mod answer;
mod build;
mod cpu_time;
mod instructions;
#[path = "../harness/internet.rs"]
mod internet;
mod lpm;
mod mix;
mod scale;
mod steer;

fn main() {
    if let Some(piece) = instructions::asked_for() {
        let benches = [answer::run_counted, build::run_counted, lpm::run_counted, steer::run_counted];
        assert!(benches.iter().any(|run| run(&piece)), "no bench is called {piece}");
        return;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let step = if args.iter().any(|arg| arg == "--smoke") { 200 } else { 1 };
    let names: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let wants = |name: &str| names.is_empty() || names.iter().any(|asked| *asked == name);
    if wants("lpm") {
        lpm::run(step);
    }
    if wants("scale") {
        scale::run(step);
    }
    if wants("steer") {
        steer::run(step);
    }
    if wants("answer") {
        answer::run(step);
    }
    if wants("build") {
        build::run(step);
    }
}
