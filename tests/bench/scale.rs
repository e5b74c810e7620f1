//! Four times the Internet, and a fleet of 100,000 appliances: what the model in `docs/scale.md` is
//! checked against.
//!
//! Expected, before measuring: memory by the octets of the model; an answer that misses the caches three
//! to five times more often than at a quarter of the size, so half as much again.

use crate::internet::Internet;
use crate::{answer, cpu_time, lpm, mix};
use std::time::Instant;

/// Prefixes of either family.
const PREFIXES: (usize, usize) = (4_000_000, 1_000_000);

/// Appliances in each of 500 clusters.
const APPLIANCES: usize = 200;

/// Measures a table `step` times smaller.
pub fn run(step: usize) {
    let blocks = lpm::Prefixes::read();
    let numbered = |text: Vec<String>| text.into_iter().enumerate().map(|(at, text)| (text, at as u32 * 97));
    let text = |blocks: Vec<String>| numbered(blocks).collect::<Vec<_>>();
    let v4 = blocks.v4(PREFIXES.0 / step).iter().map(ToString::to_string).collect();
    let v6 = blocks.v6(PREFIXES.1 / step).iter().map(ToString::to_string).collect();
    let internet = Internet { prefixes: [text(v4), text(v6)].concat() };
    let start = Instant::now();
    let world = answer::world(&internet, (APPLIANCES / step).max(1));
    let made = start.elapsed();
    let queries: Vec<_> = mix::clients(&mix::blocks(&internet), (1 << 18) / step)
        .into_iter()
        .enumerate()
        .map(|(id, client)| answer::Packet::of(&mix::query(id as u16, client)))
        .collect();
    let mut rounds: Vec<f64> = (0..5)
        .map(|_| {
            let start = cpu_time::thread();
            assert_eq!(answer::ask_all(&world, &queries), queries.len());
            (cpu_time::thread() - start).as_nanos() as f64 / queries.len() as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    let (table, view) = (world.table(), &world.compiled().views()[0]);
    println!(
        "scale    {} + {} routes, {} appliances: made in {:.1} s; view {:.1} MB, {} lists; routes {:.1} MB; answer {:.0} ns; resident {} MB",
        table.routes().v4.len(),
        table.routes().v6.len(),
        table.fleet().appliances().len(),
        made.as_secs_f64(),
        view.heap_bytes() as f64 / 1e6,
        view.list_count(),
        table.routes().heap_bytes() as f64 / 1e6,
        rounds[rounds.len() / 2],
        resident_mb(),
    );
}

/// Resident memory of this process.
fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() / 1024
}
