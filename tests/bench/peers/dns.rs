//! The DNS part: steerd with one worker and the whole Internet's prefixes against peers with what they
//! can carry; clusters of several sizes; two workers.
//!
//! Expected, before measuring: receiving and sending a datagram on loopback costs the kernel three
//! microseconds; steering should cost a tenth of that.

use crate::Options;
use crate::check::{Anything, Check, Clusters, Seen};
use crate::contest::{Entry, Goal, Load, insist, play, report};
use crate::dns_load::{DnsLoad, Pace, Queries};
use crate::peers;
use crate::server::Server;
use std::time::Duration;

/// Appliances a cluster in further rows; the main one has one.
const SIZES: [usize; 3] = [3, 16, 64];

/// Appliances in an answer, at most: the default of a service.
const ANSWERS_MAX: usize = 2;

/// Queries under way at full load: what the smallest receive buffer among the servers holds.
const WINDOW: usize = 128;

/// Queries a second at steady load, and in a smoke run, which is to lose nothing on any machine.
const QPS: [u64; 2] = [20_000, 2_000];

/// Sockets that ask several workers, and queries under way on each.
const SPREAD: (usize, usize) = (8, 32);

/// One answer in so many is checked.
const CHECK_ONE_IN: u64 = 16;

/// A generator, the queries it keeps under way on a socket, and its steady rate.
struct Target<'a> {
    load: DnsLoad<'a>,
    window: usize,
    qps: u64,
}

impl Load for Target<'_> {
    fn full(&mut self, time: Duration) -> Seen {
        self.load.run(Pace::Closed { window: self.window }, time)
    }

    fn steady(&mut self, time: Duration) -> Seen {
        self.load.run(Pace::Open { qps: self.qps, is_sleeping: false }, time)
    }

    fn drain(&mut self) -> Seen {
        self.load.drain()
    }
}

/// A server that is asked on one socket.
fn one<'a>(
    server: &'a Server,
    queries: &'a Queries,
    check: impl Check + 'a,
    qps: u64,
    goal: Goal,
) -> Entry<'a> {
    let load = DnsLoad::new(server.dns, 1, queries, check, CHECK_ONE_IN);
    Entry::new(server, Target { load, window: WINDOW, qps }, goal)
}

/// Measures and prints.
pub fn run(options: &Options) {
    let (full, sampled) = (&options.full, &options.sampled);
    let (dir, processors) = (options.dir.path(), options.processors);
    let limit = Server::role("limit: batches", "dns-limit", true, processors);
    let hickory = Server::role("hickory static", "hickory-static", true, processors);
    let steerd = Server::steerd("steerd", full, (1, 1), &dir.join("steerd"), processors);
    let peers: Vec<_> = options
        .installed(&peers::DNS)
        .map(|recipe| (recipe, Server::peer(recipe, sampled, true, dir, processors).0))
        .collect();
    let sized = SIZES.map(|size| {
        let name = format!("steerd, {size} a cluster");
        (size, Server::steerd(&name, full, (1, size), &dir.join(format!("steerd-{size}")), processors))
    });
    let steerd_signed =
        Server::steerd_signed("steerd, signed", full, (1, 1), &dir.join("steerd-signed"), processors);
    let limit_two = Server::role_on_both("limit, 2 workers", "dns-limit-two", true, processors);
    let two = Server::steerd("steerd, 2 workers", full, (2, 1), &dir.join("steerd-two"), processors);

    let (all, some) = (Queries::new(&full.clients), Queries::new(&sampled.clients));
    let signed = Queries::signed(&full.clients);
    let qps = QPS[usize::from(options.is_smoke)];
    let clusters = |count| Clusters { right: full.clusters_by_subnet(1), count };
    let mut entries = vec![
        one(&limit, &all, Anything, qps, Goal::None),
        one(&steerd, &all, clusters(1), qps, Goal::Limit(1.10)),
    ];
    for (recipe, server) in &peers {
        let right = sampled.clusters_by_subnet(1).into_iter().map(recipe.fold).collect();
        let check = Clusters { right, count: 1 };
        entries.push(one(server, &some, check, qps, Goal::Peer(recipe.goal)));
    }
    entries.push(one(&hickory, &all, Anything, qps, Goal::Peer(0.52)));
    for (size, server) in &sized {
        let check = clusters(ANSWERS_MAX.min(*size));
        entries.push(one(server, &all, check, qps, Goal::Variant(1.1)));
    }
    entries.push(one(&steerd_signed, &signed, clusters(1), qps, Goal::Variant(1.5)));
    // What two workers cost beside the generator on two processors, whatever they do.
    let load = DnsLoad::new(limit_two.dns, SPREAD.0, &all, Anything, CHECK_ONE_IN);
    let target = Target { load, window: SPREAD.1, qps };
    entries.push(Entry::new(&limit_two, target, Goal::None).sharing());
    let load = DnsLoad::new(two.dns, SPREAD.0, &all, clusters(1), CHECK_ONE_IN);
    let target = Target { load, window: SPREAD.1, qps };
    entries.push(Entry::new(&two, target, Goal::Variant(1.1)).sharing());

    play(&mut entries, &options.plan);
    report(
        "DNS over UDP: a client subnet of its own in each query, one worker; latency at 20,000 a second",
        "answers",
        &entries,
        &options.plan,
    );
    println!("  user time of steerd: {}", entries[1].user_goal(250.0));
    if options.is_smoke {
        insist(&entries);
    }
}
