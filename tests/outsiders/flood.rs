//! A flood in a victim's name, by raw packets between two network namespaces: what the victim would get of
//! it, octet by octet at the interface, and that nobody else feels it.
//!
//! The sender is this program again, run in the other namespace. Each kind of flood runs under the default
//! limits, while a client of another network asks on and must be answered. What is measured is printed:
//! `cargo test --test outsiders -- --nocapture flood`.
#![allow(clippy::disallowed_methods, reason = "it keeps a pace")]

use crate::are_installed;
use crate::harness::{self, Steerd, dns};
use crate::namespaces::Namespace;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where steerd listens, and the other end of the wire.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// In whose name a flood comes: one address, or all of a network.
const VICTIM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const RESOLVERS: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 0);

/// The default of `[dns.limits] gain_per_s`.
const GAIN_PER_S: u64 = 4_000_000;

/// What tells the sender what to send: kind, packets a second, seconds.
const ORDER: &str = "STEERD_FLOOD";

/// A kind of flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One question over and over.
    Same,
    /// Another name each time, none of which exists.
    RandomNames,
    /// What has the largest answers: ANY, and a TXT of 1,100 octets.
    Large,
    /// Another client subnet each time, and two IPv6 addresses for it.
    Subnets,
    /// Another client subnet each time, from all hosts of a network: a public resolver.
    Resolvers,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Same, Self::RandomNames, Self::Large, Self::Subnets, Self::Resolvers];

    /// Source and query of packet number `n`.
    fn packet(self, n: u32) -> (Ipv4Addr, Vec<u8>) {
        let id = n as u16;
        let scattered = n.wrapping_mul(0x9e37_79b1);
        match self {
            Self::Same => (VICTIM, question(id, "video.cdn.example", 1, false)),
            Self::RandomNames => (VICTIM, question(id, &format!("x{scattered:08x}.cdn.example"), 1, false)),
            Self::Large if n.is_multiple_of(2) => (VICTIM, question(id, "big.cdn.example", 16, true)),
            Self::Large => (VICTIM, question(id, "video.cdn.example", 255, true)),
            Self::Subnets | Self::Resolvers => {
                // As long as there are fewer than 327,680, none is in 10.0.0.0/8.
                let client = Ipv4Addr::from(0x0500_0000 + (n << 8));
                let source = match self {
                    Self::Resolvers => Ipv4Addr::from(u32::from(RESOLVERS) + (scattered >> 24)),
                    _ => VICTIM,
                };
                let mut query = dns::query(id, "video.cdn.example", client);
                if self == Self::Subnets {
                    // The low octet of the type, behind the header and a name of 19 octets.
                    query[32] = 28;
                }
                (source, query)
            }
        }
    }
}

/// A query of class IN without a client subnet, with an OPT of 4,096 octets or without.
fn question(id: u16, name: &str, qtype: u8, has_opt: bool) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(has_opt)]);
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, qtype, 0, 1]);
    if has_opt {
        packet.extend_from_slice(&[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
    }
    packet
}

/// An IPv4 and UDP packet to port 53 of the server; the kernel fills in its length and checksum.
fn datagram(source: Ipv4Addr, port: u16, query: &[u8]) -> Vec<u8> {
    let udp_len = 8 + query.len() as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&SERVER.octets());
    packet.extend_from_slice(&port.to_be_bytes());
    packet.extend_from_slice(&[0, 53]);
    packet.extend_from_slice(&udp_len.to_be_bytes());
    // No UDP checksum (RFC 768).
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(query);
    packet
}

/// Sends so many packets a second for so long; gives how many.
fn send(kind: Kind, per_s: u64, seconds: u64) -> u64 {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).expect("a raw socket");
    let server: SockAddr = SocketAddrV4::new(SERVER, 0).into();
    let (begin, mut sent) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_secs(seconds) {
        let due = begin.elapsed().as_micros() as u64 * per_s / 1_000_000;
        while sent < due {
            let (source, query) = kind.packet(sent as u32);
            let port = 1024 + (sent % 60_000) as u16;
            socket.send_to(&datagram(source, port, &query), &server).expect("a route");
            sent += 1;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    sent
}

/// Asks as a client of another network would until told to stop; gives questions, those that were never
/// answered in three tries, and tries that were not.
fn ask_on(stop: &AtomicBool) -> [u64; 3] {
    let socket = UdpSocket::bind((OTHER, 0)).expect("a socket");
    socket.connect((SERVER, 53)).expect("a route");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a time");
    let (mut asked, mut unanswered, mut lost) = (0, 0, 0);
    while !stop.load(Ordering::Relaxed) {
        asked += 1;
        let query = dns::query(asked as u16, "video.cdn.example", Ipv4Addr::new(193, 0, 6, asked as u8));
        let mut is_answered = || {
            socket.send(&query).expect("a route");
            let mut reply = [0; 1500];
            while let Ok(len) = socket.recv(&mut reply) {
                if let Ok((id, found)) = dns::addresses(&reply[..len])
                    && id == asked as u16
                {
                    return !found.is_empty();
                }
            }
            lost += 1;
            false
        };
        unanswered += u64::from(!(is_answered() || is_answered() || is_answered()));
        std::thread::sleep(Duration::from_millis(20));
    }
    [asked, unanswered, lost]
}

#[test]
#[ignore = "the other tests run it, in a namespace"]
fn sender() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let numbers: Vec<u64> = order.split(' ').map(|word| word.parse().expect("a number")).collect();
    let stop = AtomicBool::new(false);
    let (sent, [asked, unanswered, lost]) = std::thread::scope(|scope| {
        let client = scope.spawn(|| ask_on(&stop));
        let sent = send(Kind::ALL[numbers[0] as usize], numbers[1], numbers[2]);
        stop.store(true, Ordering::Relaxed);
        (sent, client.join().expect("it does not panic"))
    });
    println!("\nsent {sent} {asked} {unanswered} {lost}");
}

/// Two namespaces, a wire between them, steerd in one.
struct Wire {
    steerd: Steerd,
    server: Namespace,
    other: Namespace,
    _dir: tempfile::TempDir,
}

/// What a flood did.
#[derive(Debug)]
struct Flood {
    sent: u64,
    seconds: u64,
    /// Octets at the server's interface.
    octets_in: u64,
    octets_out: u64,
    /// Queries read from the socket, by outcome.
    steered: u64,
    limited: u64,
    read: u64,
    /// Of the client of another network: questions, those never answered, tries without an answer.
    client: [u64; 3],
}

impl Flood {
    /// Octets out for one in.
    fn amplification(&self) -> f64 {
        self.octets_out as f64 / self.octets_in as f64
    }
}

impl Wire {
    /// Lays it, steerd with the default limits but for what `limits` says; `None` where that cannot be.
    fn lay(limits: &str) -> Option<Self> {
        if !are_installed(&["curl"]) {
            return None;
        }
        let (server, other) = (Namespace::make()?, Namespace::make()?);
        server.ip(&format!("link add veth0 type veth peer name veth1 netns {}", other.pid()));
        server.ip(&format!("addr add {SERVER}/24 dev veth0"));
        server.ip("link set veth0 up");
        server.ip(&format!("route add default via {OTHER}"));
        other.ip(&format!("addr add {OTHER}/24 dev veth1"));
        other.ip("link set veth1 up");
        let dir = tempfile::tempdir().expect("a directory");
        let more = format!("[table]\nfile = \"table\"\n[dns.limits]\n{limits}");
        let config = harness::write_config_of(dir.path(), 0, &more);
        let text = std::fs::read_to_string(&config).expect("just written");
        let text = text.replacen("127.0.0.1:0", &format!("{SERVER}:53"), 1);
        let text = text.replacen("[http]", "records = \"zone\"\n[http]", 1);
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
        let text_of_220 = format!("\"{}\" ", "x".repeat(219));
        write("steerd.toml", &text);
        write("table", include_str!("../../data/fleet-small.ndjson"));
        write("zone", &format!("$TTL 300\nbig TXT {}\n", text_of_220.repeat(5)));
        let mut command = server.command(&harness::binary::path().to_string_lossy());
        command.args(["serve", "--config"]).arg(&config).env("RUST_LOG", "warn");
        let steerd = Steerd::start_as(&mut command);
        Some(Self { steerd, server, other, _dir: dir })
    }

    /// Counters of UDP queries: steered, kept back by a limit, all.
    fn counters(&self) -> [u64; 3] {
        let metrics = self.server.run("curl", &["-s", &format!("http://{}/metrics", self.steerd.control)]);
        let mut counters = [0; 3];
        for line in metrics.lines().filter(|line| line.starts_with("steerd_dns_udp_packets_total")) {
            let count: u64 = line.rsplit(' ').next().and_then(|word| word.parse().ok()).expect("a number");
            let is_of = |outcomes: &[&str]| outcomes.iter().any(|name| line.contains(&format!("\"{name}\"")));
            counters[0] += u64::from(is_of(&["steered"])) * count;
            counters[1] += u64::from(is_of(&["slipped", "dropped_limited", "badcookie"])) * count;
            counters[2] += count;
        }
        counters
    }

    /// Sends a flood, and prints what came of it.
    fn flood(&self, kind: Kind, per_s: u64, seconds: u64) -> Flood {
        let (octets, counters) = (self.server.octets("veth0"), self.counters());
        let index = Kind::ALL.iter().position(|other| *other == kind).expect("one of all");
        let exe = std::env::current_exe().expect("this program");
        let mut command = self.other.command(&exe.to_string_lossy());
        command.args(["--exact", "flood::sender", "--ignored", "--nocapture"]);
        let output = command.env(ORDER, format!("{index} {per_s} {seconds}")).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let said = text.lines().find_map(|line| line.strip_prefix("sent "));
        let said = said.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
        let said: Vec<u64> = said.split(' ').map(|word| word.parse().expect("a number")).collect();
        let (octets_after, counters_after) = (self.server.octets("veth0"), self.counters());
        let flood = Flood {
            sent: said[0],
            seconds,
            octets_in: octets_after[0] - octets[0],
            octets_out: octets_after[1] - octets[1],
            steered: counters_after[0] - counters[0],
            limited: counters_after[1] - counters[1],
            read: counters_after[2] - counters[2],
            client: [said[1], said[2], said[3]],
        };
        println!(
            "{kind:?}: {} packets a second, amplification {:.3}, {flood:?}",
            flood.sent / seconds,
            flood.amplification()
        );
        assert!(flood.client[0] > seconds, "the other client asked on");
        assert_eq!(flood.client[1], 0, "the other client is answered all the time");
        flood
    }
}

#[test]
fn a_flood_in_a_victims_name_comes_out_smaller_than_it_went_in() {
    let Some(wire) = Wire::lay("") else { return };
    for kind in [Kind::Same, Kind::RandomNames, Kind::Large] {
        let flood = wire.flood(kind, 40_000, 4);
        assert!(flood.amplification() < 1.0, "{kind:?} {flood:?}");
        assert!(flood.limited * 10 > flood.read * 9, "{kind:?} {flood:?}");
    }
    // Whoever asks for many subnets may be a public resolver: it is told all, up to a bound on what is gained.
    let flood = wire.flood(Kind::Subnets, 80_000, 4);
    let gain = flood.octets_out.saturating_sub(flood.octets_in);
    assert!(gain <= bound(GAIN_PER_S, &flood), "{gain} {flood:?}");
}

/// Octets that a victim may gain by a flood, at most: a second's budget is there at the start, and the other
/// client gains a little too.
fn bound(gain_per_s: u64, flood: &Flood) -> u64 {
    gain_per_s * (flood.seconds + 1) + 100 * flood.client[0]
}

#[test]
fn what_a_victim_gains_by_many_subnets_is_bounded() {
    let Some(wire) = Wire::lay("gain_per_s = 100000") else { return };
    let flood = wire.flood(Kind::Subnets, 40_000, 4);
    let gain = flood.octets_out.saturating_sub(flood.octets_in);
    assert!(flood.limited > flood.steered, "{flood:?}");
    assert!(gain <= bound(100_000, &flood), "{gain} {flood:?}");
    assert!(flood.amplification() < 1.0, "{flood:?}");
}

#[test]
fn a_public_resolver_asking_20000_subnets_a_second_is_never_limited() {
    let Some(wire) = Wire::lay("") else { return };
    let flood = wire.flood(Kind::Resolvers, 20_000, 2);
    assert_eq!(flood.limited, 0, "{flood:?}");
    assert_eq!(flood.steered, flood.read, "{flood:?}");
    assert!(flood.sent > 20_000 && flood.read * 2 > flood.sent, "{flood:?}");
}
