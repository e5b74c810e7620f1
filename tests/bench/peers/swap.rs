//! The swap part: what clients notice while a server takes a new table, a delta, or a change of health;
//! and how soon it is back after a power cut.
//!
//! Clients keep asking at a steady rate, asleep between questions so that whoever pushes has a
//! processor too. Each answer is of the old table or of the new one; the longest silence is compared
//! with that of the same clients when nothing happens.

use crate::Options;
use crate::check::{Anything, Change, Moving, Seen, clock_ns};
use crate::dns_load::{DnsLoad, Pace, Queries};
use crate::harness::{Steerd, dns};
use crate::http_load::{HttpLoad, Requests};
use crate::mix;
use crate::peers::{self, Recipe};
use crate::process;
use crate::server::{Server, answers_dns};
use crate::stats::median;
use crate::system;
use crate::table::Table;
use crate::world;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Queries a second.
const QPS: u64 = 20_000;

/// Requests a second.
const RPS: u64 = 5_000;

/// How many times slower a smoke run is, which is to lose nothing on any machine.
const SLOWER: u64 = 10;

/// Appliances a cluster: one more than an answer has, so that health shows.
const SIZE: usize = 3;

/// Routes of a delta.
const DELTA: usize = 1000;

/// Health changes that are timed.
const FLIPS: usize = 9;

/// How long a server may take to serve a new table: gdnsd waits twelve seconds before it begins.
const SERVED_WITHIN: Duration = Duration::from_secs(60);

/// What clients noticed.
struct Noticed {
    quiet: Seen,
    busy: Seen,
    /// From the push to its acknowledgement.
    acknowledged: Duration,
    /// From the push to the first new answer.
    first_new: Option<Duration>,
    /// From the first new answer to the last old one.
    mixed: Duration,
    /// Old answers to questions asked after the acknowledgement.
    stale: u64,
}

/// Times in each phase of a run.
#[derive(Clone, Copy)]
struct Phases {
    /// Before the push, for comparison.
    quiet: Duration,
    /// After it.
    after: Duration,
    /// What the rates are divided by.
    slower: u64,
}

/// Clients that ask at a steady rate.
trait Clients {
    /// Asks as long as `goes_on` says so, then waits for what is under way.
    fn ask_while(&mut self, goes_on: &mut dyn FnMut(Duration) -> bool) -> Seen;
}

/// A generator and its rate a second.
struct Asking<L> {
    load: L,
    rate: u64,
}

impl Clients for Asking<DnsLoad<'_>> {
    fn ask_while(&mut self, goes_on: &mut dyn FnMut(Duration) -> bool) -> Seen {
        let mut seen = self.load.run_while(Pace::Open { qps: self.rate, is_sleeping: true }, goes_on);
        seen.count(&self.load.drain());
        seen
    }
}

impl Clients for Asking<HttpLoad<'_>> {
    fn ask_while(&mut self, goes_on: &mut dyn FnMut(Duration) -> bool) -> Seen {
        let mut seen = self.load.run_while(Some(self.rate), goes_on);
        seen.count(&self.load.drain());
        seen
    }
}

/// Pushes while the clients that `start` makes ask.
fn under_load<C: Clients>(
    phases: Phases,
    change: &Change,
    start: impl FnOnce() -> C + Send,
    push: impl FnOnce(),
) -> Noticed {
    let is_over = AtomicBool::new(false);
    let (tell_ready, ready) = mpsc::channel();
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            system::wake_on_time();
            let mut clients = start();
            clients.ask_while(&mut |elapsed| elapsed < phases.quiet / 5);
            let quiet = clients.ask_while(&mut |elapsed| elapsed < phases.quiet);
            tell_ready.send(()).expect("somebody waits");
            (quiet, clients.ask_while(&mut |_| !is_over.load(Ordering::Relaxed)))
        });
        ready.recv().expect("clients ask");
        let begin = clock_ns();
        push();
        let acknowledged = clock_ns();
        change.acknowledged.store(acknowledged, Ordering::SeqCst);
        let limit = Instant::now();
        while change.first_new.load(Ordering::SeqCst) == 0 && limit.elapsed() < SERVED_WITHIN {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(phases.after);
        is_over.store(true, Ordering::Relaxed);
        let (quiet, busy) = asking.join().expect("clients do not panic");
        let first_new = change.first_new.load(Ordering::SeqCst);
        let last_old = change.last_old.load(Ordering::SeqCst);
        Noticed {
            quiet,
            busy,
            acknowledged: Duration::from_nanos(acknowledged - begin),
            first_new: (first_new != 0).then(|| Duration::from_nanos(first_new.saturating_sub(begin))),
            mixed: Duration::from_nanos(last_old.saturating_sub(first_new)),
            stale: change.stale.load(Ordering::SeqCst),
        }
    })
}

/// The same over DNS.
fn under_queries(
    server: &Server,
    queries: &Queries,
    tables: [&[u32]; 2],
    phases: Phases,
    push: impl FnOnce(),
) -> Noticed {
    let change = Change::default();
    let check = Moving { old: tables[0], new: tables[1], change: &change };
    let at = server.dns;
    let rate = QPS / phases.slower;
    let start = move || Asking { load: DnsLoad::new(at, 1, queries, check, 1), rate };
    under_load(phases, &change, start, push)
}

/// The same over HTTP.
fn under_requests(
    server: &Server,
    requests: &Requests,
    tables: [&[u32]; 2],
    phases: Phases,
    push: impl FnOnce(),
) -> Noticed {
    let change = Change::default();
    let check = Moving { old: tables[0], new: tables[1], change: &change };
    let at = server.http;
    let rate = RPS / phases.slower;
    let start = move || Asking { load: HttpLoad::new(at, requests, check, false), rate };
    under_load(phases, &change, start, push)
}

/// Milliseconds.
fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A line of the table of swaps.
fn row(table: &mut Table, name: &str, server: &Server, noticed: &Noticed) {
    let Noticed { quiet, busy, .. } = noticed;
    table.row([
        name.to_owned(),
        server.prefixes.to_string(),
        format!("{:.0}", ms(noticed.acknowledged)),
        noticed.first_new.map_or_else(|| "never".to_owned(), |time| format!("{:.0}", ms(time))),
        format!("{:.0}", ms(noticed.mixed)),
        noticed.stale.to_string(),
        format!("{:.1}", ms(quiet.silence)),
        format!("{:.1}", ms(busy.silence)),
        format!("{:.0}", busy.latency.percentile(0.99).as_secs_f64() * 1e6),
        busy.lost.to_string(),
        format!("{}/{}", busy.wrong, busy.checked),
        process::memory_mb(server.pid).0.to_string(),
    ]);
    if let Some(what) = &busy.first_wrong {
        println!("  {name} was wrong: {what}");
    }
}

/// The head of that table.
const HEAD: [&str; 12] = [
    "change",
    "prefixes",
    "told ms",
    "first new ms",
    "mixed ms",
    "old after told",
    "quiet: silence ms",
    "silence ms",
    "p99 us",
    "lost",
    "wrong/checked",
    "RSS MB",
];

/// Measures and prints.
pub fn run(options: &Options) {
    let phases = if options.is_smoke {
        Phases { quiet: Duration::from_millis(200), after: Duration::from_millis(50), slower: SLOWER }
    } else {
        Phases { quiet: Duration::from_secs(3), after: Duration::from_secs(1), slower: 1 }
    };
    println!("\nA new table under load: {QPS} queries or {RPS} requests a second");
    let mut table = Table::new(&HEAD);
    let mut goals = Vec::new();
    steerd(options, phases, &mut table, &mut goals);
    signed(options, phases, &mut table);
    if !options.is_smoke {
        for recipe in options.installed(&peers::DNS) {
            peer(options, recipe, true, phases, &mut table);
        }
        for recipe in options.installed(&peers::HTTP) {
            peer(options, recipe, false, phases, &mut table);
        }
    }
    table.print();
    for (what, found, goal, unit) in goals {
        let verdict = if found <= goal { "met" } else { "missed" };
        println!("  {what}: {found:.1} {unit}, at most {goal:.1}: {verdict}");
    }
}

/// What is measured, found, asked, and in which unit.
type Goals = Vec<(&'static str, f64, f64, &'static str)>;

/// A full push, a delta, health, a power cut.
fn steerd(options: &Options, phases: Phases, table: &mut Table, goals: &mut Goals) {
    let (world, dir, processors) =
        (&options.full, options.dir.path().join("steerd-swap"), options.processors);
    let server = Server::steerd("steerd", world, (1, SIZE), &dir, processors);
    let (loaded, loaded_peak) = process::memory_mb(server.pid);
    let queries = Queries::new(&world.clients);
    let tables: Vec<Vec<u32>> = (1..=2).map(|epoch| world.clusters_by_subnet(epoch)).collect();
    let mut accept = |name: &str, noticed: &Noticed, server: &Server| {
        row(table, name, server, noticed);
        if options.is_smoke {
            assert!(noticed.busy.wrong == 0, "{name}: {:?}", noticed.busy.first_wrong);
            assert_eq!((noticed.busy.lost, noticed.stale), (0, 0), "{name}: lost, stale");
            assert!(noticed.first_new.is_some(), "{name} was never served");
        }
    };

    let body = world.table(2, SIZE);
    let full = under_queries(&server, &queries, [&tables[0], &tables[1]], phases, || {
        put(server.as_steerd(), body.as_bytes());
    });
    accept("steerd, full push", &full, &server);
    goals.push(("full push to served", ms(full.acknowledged), 1500.0, "ms"));
    goals.push(("longest silence meanwhile", ms(full.busy.silence), 2.0 * ms(full.quiet.silence), "ms"));
    goals.push(("lost meanwhile", full.busy.lost as f64, 0.0, "queries"));
    let (swapped, swapped_peak) = process::memory_mb(server.pid);
    goals.push(("memory at most, of a generation", swapped_peak as f64 / loaded as f64, 2.5, "times"));

    let count = DELTA.min(world.internet.prefixes.len() / 4);
    let body = world.delta(2, count);
    let [after, after_by_address] = world.clusters_after_delta(2, count);
    let delta = under_queries(&server, &queries, [&tables[1], &after], phases, || {
        let reply = server.as_steerd().call("PATCH", "/v1/table", body.as_bytes());
        assert_eq!(reply.status, 200, "{reply:?}");
    });
    accept("steerd, delta of 1,000", &delta, &server);
    goals.push(("delta to served", ms(delta.acknowledged), 50.0, "ms"));

    let (body, by_address) = (world.table(4, SIZE), world.clusters_by_address(4));
    let requests = Requests::new(&world.clients);
    let http = under_requests(&server, &requests, [&after_by_address, &by_address], phases, || {
        put(server.as_steerd(), body.as_bytes());
    });
    accept("steerd, full push, HTTP", &http, &server);

    // A change of health is no change of table: meanwhile the served one is compiled and kept.
    let pushed = SystemTime::now();
    goals.push(("health to answers", median(&health(&server)), 1.0, "ms"));
    wait_until_kept(&dir, pushed);
    let restart = restart(server, options);
    goals.push(("from a power cut's restart to the first answer", restart, 150.0, "ms"));
    println!(
        "  steerd's memory: {loaded} MB loaded (peak {loaded_peak}), {swapped} MB after a swap (peak {swapped_peak})"
    );
}

/// A full push after which every signature is to be made anew, while everybody asks for signatures.
fn signed(options: &Options, phases: Phases, table: &mut Table) {
    let (world, dir) = (&options.full, options.dir.path().join("steerd-signed-swap"));
    let server = Server::steerd_signed("steerd, signed", world, (1, SIZE), &dir, options.processors);
    let queries = Queries::signed(&world.clients);
    let [old, new] = [1, 2].map(|epoch| world.clusters_by_subnet(epoch));
    let body = world.table_from(2, SIZE..2 * SIZE);
    let noticed = under_queries(&server, &queries, [&old, &new], phases, || {
        put(server.as_steerd(), body.as_bytes());
    });
    row(table, "steerd, full push, signed", &server, &noticed);
    let load = DnsLoad::new(server.dns, 1, &queries, Anything, 1);
    let mut asking = Asking { load, rate: QPS / phases.slower };
    let after = asking.ask_while(&mut |elapsed| elapsed < phases.quiet);
    let p99 = |seen: &Seen| seen.latency.percentile(0.99).as_secs_f64() * 1e6;
    println!(
        "  signed: p99 {:.0} us before, {:.0} us meanwhile, {:.0} us after; lost {}",
        p99(&noticed.quiet),
        p99(&noticed.busy),
        p99(&after),
        noticed.quiet.lost + noticed.busy.lost + after.lost,
    );
    if options.is_smoke {
        assert!(noticed.busy.wrong == 0, "signed: {:?}", noticed.busy.first_wrong);
    }
}

/// Pushes a full table that moves everybody.
fn put(steerd: &Steerd, body: &[u8]) {
    let reply = steerd.call("PUT", "/v1/table?force=1", body);
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// Milliseconds from sending a change of health to the first answer that follows it, each.
fn health(server: &Server) -> Vec<f64> {
    let (client, appliance) = ([192, 0, 64, 0], world::address(world::NOBODY, 0));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.connect(server.dns).expect("loopback");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
    // A client whom no route covers, so that one cluster is all there is.
    let is_answered = |id: u16| {
        socket.send(&mix::query(id, IpAddr::from(client))).expect("loopback");
        let mut reply = [0; 512];
        let len = socket.recv(&mut reply).expect("an answer");
        let (_, addresses) = dns::addresses(&reply[..len]).expect("addresses");
        assert!(!addresses.is_empty(), "nobody");
        addresses
    };
    let cluster = world::cluster_of_address(is_answered(0)[0]);
    let appliance = if cluster == world::NOBODY { appliance } else { world::address(cluster, 0) };
    // What watches a fleet keeps its connection.
    let mut monitor = server.as_steerd().connect();
    let flip = |round: usize| {
        let state = if round.is_multiple_of(2) { "down" } else { "up" };
        let body = format!(r#"[{{"appliance":"c{cluster:03}-a00","state":"{state}"}}]"#);
        let begin = Instant::now();
        let reply = monitor.call("PUT", "/v1/health", body.as_bytes()).expect("the push API answers");
        let addresses = is_answered(round as u16);
        let time = ms(begin.elapsed());
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(state == "up" || !addresses.contains(&appliance), "{addresses:?} after {body}");
        time
    };
    (0..FLIPS).map(flip).collect()
}

/// Waits until steerd has written what it compiled, which it does when pushes pause; not for ever.
fn wait_until_kept(dir: &Path, since: SystemTime) {
    let part = dir.join("state/cache/views.part");
    let is_kept = || part.metadata().and_then(|data| data.modified()).is_ok_and(|at| at > since);
    let begin = Instant::now();
    while !is_kept() && begin.elapsed() < Duration::from_secs(30) {
        thread::sleep(Duration::from_millis(100));
    }
}

/// Milliseconds from starting it again after it was killed to its first answer.
fn restart(server: Server, options: &Options) -> f64 {
    let config = options.dir.path().join("steerd-swap").join("steerd.toml");
    let mut server = server;
    if let crate::server::Keeper::Steerd(steerd) = &mut server.keeper {
        steerd.kill();
    }
    let begin = Instant::now();
    let again = Server::steerd_as_left("steerd", &options.full, &config, false, options.processors);
    assert!(answers_dns(again.dns), "the last table is served");
    ms(begin.elapsed())
}

/// A peer that is given another table.
fn peer(options: &Options, recipe: &Recipe, is_dns: bool, phases: Phases, table: &mut Table) {
    let (world, dir) = (&options.sampled, options.dir.path().join("swap"));
    let (server, place) = Server::peer(recipe, world, is_dns, &dir, options.processors);
    let text = (recipe.table)(world, 2);
    let push = || {
        place.write(recipe.table_file, &text);
        (recipe.reload)(&place, server.pid);
    };
    let tables = |epoch| {
        let clusters =
            if is_dns { world.clusters_by_subnet(epoch) } else { world.clusters_by_address(epoch) };
        clusters.into_iter().map(recipe.fold).collect::<Vec<u32>>()
    };
    let (old, new) = (tables(1), tables(2));
    let noticed = if is_dns {
        under_queries(&server, &Queries::new(&world.clients), [&old, &new], phases, push)
    } else {
        under_requests(&server, &Requests::new(&world.clients), [&old, &new], phases, push)
    };
    row(table, recipe.name, &server, &noticed);
}
