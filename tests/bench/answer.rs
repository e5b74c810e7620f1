//! What a DNS query costs from bytes to bytes: the whole of steerd but the socket.
//!
//! Expected, before measuring: parse, one lookup that misses the caches, one rank, one compose: 250
//! nanoseconds on the whole Internet's prefixes, and under a thousand instructions. A signed answer takes
//! its signature from the worker's: the same and half again.

use crate::internet::Internet;
use crate::{cpu_time, instructions, mix};
use std::fmt::Write as _;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use steerd::dns::{self, Context, Outcome, Scratch, Server, Transport};
use steerd::dnssec::{Algorithm, Flags, KeyFiles, Keyring, Keyrings, NewKey, Rules, Times, UnixS};
use steerd::geo::Geography;
use steerd::health::Health;
use steerd::snapshot::{Compiler, Settings, Snapshot};
use steerd::table;
use steerd::units::UnixMs;
use steerd::zone::{SoaSettings, ZoneSettings, Zones};

/// Appliances of a cluster, in turn: one answer, as many as an answer has, more, many.
const SIZES: [usize; 4] = [1, 3, 16, 64];

/// Queries that are asked in turn.
const QUERIES: usize = 1 << 18;

/// Queries under valgrind.
const QUERIES_COUNTED: usize = 20_000;

/// Of how many routes one is taken under valgrind: instructions do not depend on caches.
const STEP_COUNTED: usize = 50;

/// Measures all cluster sizes on every `step`-th prefix.
pub fn run(step: usize) {
    let internet = internet(step);
    for size in SIZES {
        let world = world(&internet, size);
        let queries = queries(&internet, QUERIES / step);
        let mut rounds: Vec<f64> = (0..7)
            .map(|_| {
                let start = cpu_time::thread();
                // As long for few queries as for many.
                for _ in 0..step {
                    assert_eq!(ask_all(&world, &queries), queries.len());
                }
                (cpu_time::thread() - start).as_nanos() as f64 / (step * queries.len()) as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        let counted =
            if step == 1 || size == 1 { instructions::count(&format!("answer {size}")) } else { None };
        let counted = counted.map_or_else(
            || "not counted".to_owned(),
            |total| format!("{} instructions", total / QUERIES_COUNTED as u64),
        );
        println!(
            "answer   {size:>3} appliances a cluster: {:>6.1} ns (fastest {:.1})  {counted}",
            rounds[rounds.len() / 2],
            rounds[0],
        );
    }
    run_signed(&internet, step);
}

/// Measures the same queries with the DO bit, answered from a zone that is not signed and one that is,
/// by turns. Every signature is at hand.
fn run_signed(internet: &Internet, step: usize) {
    let size = 16;
    let world = world(internet, size);
    let queries: Vec<Packet> =
        queries(internet, QUERIES / step).iter().map(Packet::wanting_signatures).collect();
    let servers = [Server::default(), signed_server()];
    let mut scratches = [Scratch::new(), Scratch::new()];
    let mut ratios: Vec<f64> = (0..9)
        .map(|_| {
            let [unsigned, signed] = [0, 1].map(|at| {
                // A first pass makes what is missing.
                assert_eq!(ask(&world, &servers[at], &mut scratches[at], &queries), queries.len());
                let start = cpu_time::thread();
                for _ in 0..step {
                    ask(&world, &servers[at], &mut scratches[at], &queries);
                }
                (cpu_time::thread() - start).as_nanos() as f64 / (step * queries.len()) as f64
            });
            signed / unsigned
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let counts = scratches[1].take_signed();
    let [unsigned, signed] =
        ["DO", "signed"].map(|kind| instructions::count(&format!("answer {kind} {size}")).unwrap_or(0));
    let each = QUERIES_COUNTED as u64;
    println!(
        "answer   signed, {size} a cluster: {:.2} times the time of unsigned ({:.2} to {:.2}), {} to {} \
         instructions ({:.2} times), {} signatures made",
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1],
        unsigned / each,
        signed / each,
        signed as f64 / unsigned.max(1) as f64,
        counts.made,
    );
}

/// A server whose zone is signed with a new key.
fn signed_server() -> Server {
    let apex: steerd::wire::Name = "cdn.example".parse().expect("a name");
    let algorithm = Algorithm::EcdsaP256Sha256;
    let new = NewKey::generate(&apex, algorithm, Flags::Entry, 3600, &Times::default());
    let new = new.expect("random numbers");
    let files = KeyFiles { public_name: "", public: &new.public, private_name: "", private: &new.private };
    let key = files.read().expect("a key");
    let rules = Rules { validity_s: 604_800, jitter_s: 86_400 };
    let mut keyrings = Keyrings::new(u32::MAX, 1 << 15);
    keyrings.add(Keyring::new(apex, vec![key], rules, "", UnixS(0)).expect("a keyring"));
    Server { keyrings, ..Server::default() }
}

/// Runs what `piece` names if it is of this bench.
pub fn run_counted(piece: &str) -> bool {
    let Some(kind) = piece.strip_prefix("answer ") else { return false };
    let (kind, size) = kind.split_once(' ').unwrap_or(("", kind));
    let Ok(size) = size.parse() else { return false };
    let internet = internet(STEP_COUNTED);
    let world = world(&internet, size);
    let mut queries = queries(&internet, QUERIES_COUNTED);
    if !kind.is_empty() {
        queries = queries.iter().map(Packet::wanting_signatures).collect();
    }
    let server = if kind == "signed" { signed_server() } else { Server::default() };
    let mut scratch = Scratch::new();
    // The counts of a second pass: nothing is met for the first time.
    ask(&world, &server, &mut scratch, &queries);
    let answered = instructions::counted(|| ask(&world, &server, &mut scratch, &queries));
    assert_eq!(answered, queries.len());
    true
}

/// Every `step`-th prefix.
fn internet(step: usize) -> Internet {
    let mut internet = Internet::read();
    internet.prefixes = internet.prefixes.into_iter().step_by(step).collect();
    internet
}

/// A query where the next one lies behind it, as a worker's batch does.
pub struct Packet {
    octets: [u8; 88],
    len: usize,
}

impl Packet {
    /// Takes a query of at most 88 octets.
    pub fn of(query: &[u8]) -> Self {
        let mut octets = [0; 88];
        octets[..query.len()].copy_from_slice(query);
        Self { octets, len: query.len() }
    }

    /// The same with the DO bit; the OPT of a query of [`mix`] begins at octet 35.
    fn wanting_signatures(&self) -> Self {
        let mut octets = self.octets;
        octets[42] = 0x80;
        Self { octets, len: self.len }
    }
}

/// Answers every query once; says how many were steered.
pub fn ask_all(world: &Snapshot, queries: &[Packet]) -> usize {
    ask(world, &Server::default(), &mut Scratch::new(), queries)
}

/// The same of a server, with a worker's buffers.
fn ask(world: &Snapshot, server: &Server, scratch: &mut Scratch, queries: &[Packet]) -> usize {
    let peer = IpAddr::from([127, 0, 0, 1]);
    let context = Context { world, server, now: UnixMs(1_000_000) };
    let mut out = vec![0; 4160];
    let answer = |query: &Packet| {
        let packet = &query.octets[..query.len];
        let answered = dns::answer(&context, scratch, peer, Transport::Udp, packet, &mut out);
        black_box(&out);
        usize::from(answered.outcome == Outcome::Steered)
    };
    queries.iter().map(answer).sum()
}

/// A generation of 500 clusters with `size` appliances each.
pub fn world(internet: &Internet, size: usize) -> Snapshot {
    let mut text = String::from("{\"table\":{\"format\":1,\"epoch\":1,\"source\":\"bench\"}}\n");
    text.push_str("{\"site\":{\"code\":\"s\",\"lat\":52.0,\"lon\":4.0}}\n");
    for cluster in 0..500 {
        writeln!(text, r#"{{"cluster":{{"name":"c{cluster:03}","site":"s","class":"transit"}}}}"#)
            .expect("writing to a string");
        for n in 0..size {
            let [high, low] = (cluster as u16).to_be_bytes();
            writeln!(text, r#"{{"appliance":{{"name":"c{cluster:03}-a{n:02}","cluster":"c{cluster:03}","ipv4":"10.{high}.{low}.{n}","ipv6":"2001:db8:{cluster:x}::{n:x}","hostname":"c{cluster:03}-a{n:02}.cdn.example","capacity_mbps":40000}}}}"#)
                .expect("writing to a string");
        }
    }
    text.push_str("{\"service\":{\"name\":\"video.cdn.example\",\"default_clusters\":[\"c001\"]}}\n");
    for (prefix, origin) in &internet.prefixes {
        let cluster = crate::internet::cluster_of(*origin, 1);
        writeln!(text, r#"{{"route":{{"prefix":"{prefix}","via":[{{"cluster":"c{cluster:03}"}}]}}}}"#)
            .expect("writing to a string");
    }
    let table = Arc::new(table::read_full(text.as_bytes()).expect("a valid table").table);
    let zone = ZoneSettings {
        name: "cdn.example".into(),
        ns: vec!["ns1.other.example".into()],
        soa: SoaSettings {
            mname: "ns1.other.example".into(),
            rname: "host.master.other.example".into(),
            serial: 1,
            refresh_s: 3600,
            retry_s: 600,
            expire_s: 86400,
            negative_ttl_s: 30,
        },
        records: None,
    };
    let overlay = Arc::new(Health::default().overlay(table.fleet(), UnixMs(1)));
    let zones = Arc::new(Zones::build(&[zone]).expect("a zone"));
    let compiled = Compiler::new().compile(table, Arc::new(Geography::empty()), Settings::default());
    Snapshot::new(1, compiled, overlay, zones)
}

/// An address query for each of `count` clients.
fn queries(internet: &Internet, count: usize) -> Vec<Packet> {
    let clients = mix::clients(&mix::blocks(internet), count);
    clients.into_iter().enumerate().map(|(id, client)| Packet::of(&mix::query(id as u16, client))).collect()
}
