//! What the decision costs without the message around it: for DNS, one cluster's best two; for HTTP, one
//! appliance, and a ranked list.
//!
//! Expected, before measuring: a lookup that misses the caches, a glance at one cluster, sixteen draws:
//! 100 nanoseconds and 400 instructions; a ranked list sorts every appliance of its clusters: five times
//! that.

use crate::internet::Internet;
use crate::{answer, cpu_time, instructions, mix};
use std::hint::black_box;
use steerd::fleet::ServiceId;
use steerd::prefix::{Client, Family};
use steerd::snapshot::Snapshot;
use steerd::steer::{self, Key, Question, Ranking, Verdict, Want};

/// Appliances of a cluster.
const SIZE: usize = 16;

/// Clients that are steered in turn.
const CLIENTS: usize = 1 << 18;

/// Decisions under valgrind, on a table so many times smaller.
const COUNTED: (usize, usize) = (20_000, 50);

/// What is asked for, and its name.
const WANTS: [(&str, Want, Key<'static>); 3] = [
    ("dns", Want::Family(Family::V4, 2), Key::Dns),
    ("redirect", Want::Family(Family::V4, 1), Key::Content(b"/title/80100172/segment-000017.m4s")),
    ("ranked", Want::Ranked(Family::V4), Key::Content(b"/title/80100172/segment-000017.m4s")),
];

/// Measures on every `step`-th prefix.
pub fn run(step: usize) {
    let (world, clients) = world(step, CLIENTS / step);
    for (name, want, key) in WANTS {
        let mut rounds: Vec<f64> = (0..7)
            .map(|_| {
                let start = cpu_time::thread();
                assert_eq!(steer_all(&world, &clients, want, key), clients.len());
                (cpu_time::thread() - start).as_nanos() as f64 / clients.len() as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        let counted = (step == 1).then(|| instructions::count(&format!("steer {name}"))).flatten();
        let counted = counted.map_or_else(
            || "not counted".to_owned(),
            |total| format!("{} instructions", total / COUNTED.0 as u64),
        );
        println!(
            "steer    {name:<9} {:>6.1} ns (fastest {:.1})  {counted}",
            rounds[rounds.len() / 2],
            rounds[0]
        );
    }
}

/// Runs what `piece` names if it is of this bench.
pub fn run_counted(piece: &str) -> bool {
    let Some(name) = piece.strip_prefix("steer ") else { return false };
    let Some(&(_, want, key)) = WANTS.iter().find(|(known, ..)| *known == name) else { return false };
    let (world, clients) = world(COUNTED.1, COUNTED.0);
    let steered = instructions::counted(|| steer_all(&world, &clients, want, key));
    assert_eq!(steered, clients.len());
    true
}

/// A generation, and whom to steer.
fn world(step: usize, count: usize) -> (Snapshot, Vec<Client>) {
    let mut internet = Internet::read();
    internet.prefixes = internet.prefixes.into_iter().step_by(step).collect();
    let clients = mix::clients(&mix::blocks(&internet), count).into_iter().map(Client::of).collect();
    (answer::world(&internet, SIZE), clients)
}

/// Decides for every client once; says for how many somebody serves.
fn steer_all(world: &Snapshot, clients: &[Client], want: Want, key: Key<'_>) -> usize {
    let service: ServiceId = world.fleet().service_ids().next().expect("a service");
    let mut ranking = Ranking::new();
    let steer = |&client: &Client| {
        let choice = steer::steer(world, &Question { service, client, want, key }, &mut ranking);
        black_box(&ranking);
        usize::from(matches!(choice.verdict, Verdict::Serve { .. }))
    };
    clients.iter().map(steer).sum()
}
