//! The HTTP part: redirects over connections that stay, over one connection a request, and over HTTP/2.

use crate::Options;
use crate::check::{Anything, Check, Clusters, Seen};
use crate::contest::{Entry, Goal, Load, insist, play, report};
use crate::http_load::{HttpLoad, Requests};
use crate::peers;
use crate::process::Usage;
use crate::server::Server;
use crate::table::Table;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// Requests a second at steady load: on connections that stay, and one each.
const RPS: [u64; 2] = [10_000, 2_000];

/// Requests that h2load sends, and in a smoke run.
const H2_REQUESTS: [usize; 2] = [100_000, 2_000];

/// A generator and how it uses its connections.
struct Target<'a> {
    load: HttpLoad<'a>,
    is_once: bool,
}

impl<'a> Target<'a> {
    /// One for `server`.
    fn new(server: SocketAddr, requests: &'a Requests, check: impl Check + 'a, is_once: bool) -> Self {
        Self { load: HttpLoad::new(server, requests, check, is_once), is_once }
    }
}

impl Load for Target<'_> {
    fn full(&mut self, time: Duration) -> Seen {
        self.load.run(None, time)
    }

    fn steady(&mut self, time: Duration) -> Seen {
        self.load.run(Some(RPS[usize::from(self.is_once)]), time)
    }

    fn drain(&mut self) -> Seen {
        self.load.drain()
    }
}

/// Measures and prints.
pub fn run(options: &Options) {
    let (full, sampled) = (&options.full, &options.sampled);
    let (dir, processors) = (options.dir.path(), options.processors);
    let limit = Server::role("limit: epoll", "http-limit", false, processors);
    let hyper = Server::role("hyper static", "hyper-static", false, processors);
    let steerd = Server::steerd("steerd", full, (1, 1), &dir.join("steerd-http"), processors);
    let peers: Vec<_> = options
        .installed(&peers::HTTP)
        .map(|recipe| (recipe, Server::peer(recipe, sampled, false, dir, processors).0))
        .collect();
    let (all, some) = (Requests::new(&full.clients), Requests::new(&sampled.clients));
    for is_once in [false, true] {
        let clusters = Clusters { right: full.clusters_by_address(1), count: 1 };
        let goal = |goal| if is_once { Goal::None } else { goal };
        let mut entries = vec![
            Entry::new(&limit, Target::new(limit.http, &all, Anything, is_once), Goal::None),
            Entry::new(&steerd, Target::new(steerd.http, &all, clusters, is_once), goal(Goal::Limit(1.15))),
        ];
        for (recipe, server) in &peers {
            let right = sampled.clusters_by_address(1).into_iter().map(recipe.fold).collect();
            let target = Target::new(server.http, &some, Clusters { right, count: 1 }, is_once);
            let peer = if is_once { Goal::Peer(1.0) } else { Goal::Peer(recipe.goal) };
            entries.push(Entry::new(server, target, peer));
        }
        let target = Target::new(hyper.http, &all, Anything, is_once);
        entries.push(Entry::new(&hyper, target, Goal::Peer(1.0)));
        play(&mut entries, &options.plan);
        let title = if is_once {
            "HTTP, one connection a request; latency at 2,000 a second, connecting left out"
        } else {
            "HTTP over 64 connections that stay, clients by X-Forwarded-For; latency at 10,000 a second"
        };
        report(title, "requests", &entries, &options.plan);
        if options.is_smoke {
            insist(&entries);
        }
    }
    let servers: Vec<&Server> = [&steerd].into_iter().chain(peers.iter().map(|(_, server)| server)).collect();
    h2(options, &servers);
}

/// What h2load makes of each server, over both versions.
fn h2(options: &Options, servers: &[&Server]) {
    let Some(h2load) = peers::find("h2load") else {
        return println!("\nHTTP/2: h2load is not installed");
    };
    println!("\nh2load, 64 connections, one client");
    let mut table = Table::new(&["server", "version", "requests/s", "CPU us", "redirects"]);
    let count = H2_REQUESTS[usize::from(options.is_smoke)];
    for server in servers {
        for (version, at, flags) in
            [("HTTP/1.1", server.http, &["--h1"][..]), ("HTTP/2", server.h2, &["-m", "10"][..])]
        {
            let before = Usage::of(server.pid);
            let output = Command::new(&h2load)
                .args(flags)
                .args(["-c", "64", "-n", &count.to_string(), "-H", "X-Forwarded-For: 192.0.64.1"])
                // Over HTTP/1.1 it makes the `Host` of this.
                .args(["-H", ":authority: video.cdn.example"])
                .arg(format!("http://{at}/title/1/seg.m4s"))
                .output()
                .expect("a program that was found");
            let usage = Usage::of(server.pid) - before;
            let said = String::from_utf8_lossy(&output.stdout);
            let after = |word: &str| said.split_once(word).map_or("", |(_, after)| after);
            let redirects = after("2xx, ").split(' ').next().unwrap_or("").to_owned();
            let rate =
                after("finished in ").split(", ").nth(1).unwrap_or("").trim_end_matches(" req/s").to_owned();
            if options.is_smoke {
                assert_eq!(redirects, count.to_string(), "{}: {said}", server.name);
            }
            table.row([
                server.name.clone(),
                version.to_owned(),
                rate,
                format!("{:.2}", usage.run_ns as f64 / 1e3 / count as f64),
                format!("{redirects}/{count}"),
            ]);
        }
    }
    table.print();
}
