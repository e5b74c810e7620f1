//! steerd beside its peers, over sockets: `make bench`, or `cargo bench --bench peers -- --only dns`.
//!
//! This program is the conductor: it starts every server on one processor, asks from another, and
//! prints a table for each part. Told a role as its first argument it is one of the programs that
//! steerd is compared with.
//!
//! | part | what |
//! |---|---|
//! | `dns` | processor time an answer and latency beside a limit program and other name servers |
//! | `http` | the same for redirects |
//! | `swap` | what clients notice of a new table; restart, health, memory |
//!
//! `--rounds N` (9), `--only PART,PART`, `--smoke` for a toy table and checks instead of figures.
//! Answers are checked against a longest match over plain hash maps. What a machine with neighbours
//! can tell is ratios: absolute times are for orientation. Goals are printed with what was found, and
//! missing one does not fail the run.

#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and says so")]

mod check;
mod contest;
mod dns;
mod dns_load;
#[allow(dead_code, reason = "other tests use more of it")]
#[path = "../../harness/mod.rs"]
mod harness;
mod http;
mod http_load;
mod latency;
mod libraries;
mod limits;
#[path = "../mix.rs"]
mod mix;
mod peers;
mod process;
mod processors;
mod server;
mod stats;
mod swap;
#[allow(unsafe_code, reason = "the system calls of load generators and limit programs")]
mod system;
mod table;
mod world;

use crate::contest::Plan;
use crate::harness::internet;
use crate::peers::Recipe;
use crate::processors::Processors;
use crate::world::World;
use std::time::Duration;
use tempfile::TempDir;

/// Of how many prefixes a smoke run takes one.
const SMOKE_STEP: usize = 200;

/// What all parts are given.
pub struct Options {
    /// Rounds and samples.
    pub plan: Plan,
    /// Whether it is about correctness only.
    pub is_smoke: bool,
    /// What steerd carries.
    pub full: World,
    /// What peers carry.
    pub sampled: World,
    /// Where everybody runs.
    pub processors: Processors,
    /// Where servers keep their files.
    pub dir: TempDir,
}

impl Options {
    /// The peers that are here; says which are not.
    ///
    /// # Panics
    /// In a smoke run under CI, when one that it promises is missing.
    pub fn installed<'r>(&self, recipes: &'r [Recipe]) -> impl Iterator<Item = &'r Recipe> {
        let is_strict = self.is_smoke && std::env::var_os("CI").is_some();
        recipes.iter().filter(move |recipe| {
            let is_here = peers::find(recipe.program).is_some();
            if !is_here {
                println!("{} is left out: {} is not installed", recipe.name, recipe.program);
                assert!(!(is_strict && recipe.is_promised), "{} is not installed", recipe.program);
            }
            is_here
        })
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [role, at] = &args[..]
        && let Ok(at) = at.parse()
    {
        match role.as_str() {
            "dns-limit" => limits::dns(at),
            "dns-limit-two" => limits::dns_two(at),
            "http-limit" => limits::http(at),
            "hickory-static" => libraries::hickory(at),
            "hyper-static" => libraries::hyper(at),
            _ => panic!("no role is called {role}"),
        }
        return;
    }
    let value = |name: &str| args.iter().skip_while(|arg| *arg != name).nth(1);
    let is_smoke = args.iter().any(|arg| arg == "--smoke");
    let rounds = value("--rounds").map_or(9, |rounds| rounds.parse().expect("--rounds takes a number"));
    let only = value("--only");
    let wants = |part: &str| only.is_none_or(|only| only.split(',').any(|asked| asked == part));

    let processors = Processors::find();
    system::pin(&[processors.generator]);
    stats::check();
    latency::check();
    if is_smoke {
        println!("smoke: a toy table and no time; answers count, figures do not");
    }
    let (full, sampled) = World::both(if is_smoke { SMOKE_STEP } else { 1 });
    let plan = if is_smoke {
        let (sample, warm_up) = (Duration::from_millis(100), Duration::from_millis(20));
        Plan { rounds: 1, sample, warm_up, takes_all: true }
    } else {
        let (sample, warm_up) = (Duration::from_secs(2), Duration::from_millis(300));
        Plan { rounds, sample, warm_up, takes_all: false }
    };
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { plan, is_smoke, full, sampled, processors, dir };
    if wants("dns") {
        dns::run(&options);
    }
    if wants("http") {
        http::run(&options);
    }
    if wants("swap") {
        swap::run(&options);
    }
}
