//! A table of Internet size, pushed and patched while clients ask without pause; and the process
//! killed in the middle of it.
//!
//! Every probe's prefix leads to one cluster at each epoch, and an appliance's address and host name
//! name its cluster: each answer tells which epoch it is from.

#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and says so")]

#[allow(dead_code, reason = "each test binary uses its part")]
mod harness;

use crate::harness::internet::{self, Internet, cluster_of};
use crate::harness::{Steerd, call, dns, write_config};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// UDP queries a second.
const UDP_QPS: u64 = 20_000;
/// HTTP requests a second.
const HTTP_RPS: u64 = 2_000;
/// TCP queries a second, each on its own connection.
const TCP_QPS: u64 = 100;

/// One test at a time: they share two cores with what they measure.
static ALONE: Mutex<()> = Mutex::new(());

const SERVICE: &str = "video.cdn.example";

/// A client, and the origin of its prefix.
#[derive(Clone, Copy)]
struct Probe {
    client: Ipv4Addr,
    origin: u32,
}

/// Clients of /24 prefixes with one candidate.
fn probes<'a>(prefixes: impl Iterator<Item = &'a (String, u32)>) -> Vec<Probe> {
    let probe = |(prefix, origin): &(String, u32)| {
        let first: Ipv4Addr =
            prefix.strip_suffix("/24").filter(|_| internet::is_single(*origin))?.parse().ok()?;
        Some(Probe { client: Ipv4Addr::from(u32::from(first) + 7), origin: *origin })
    };
    prefixes.filter_map(probe).collect()
}

/// What all clients share.
struct Judge {
    start: Instant,
    stop: AtomicBool,
    /// The epoch before the push under way.
    old: AtomicU64,
    /// Nanoseconds from `start` when an answer of the epoch after it was first received; 0: not yet.
    new_since: AtomicU64,
    sent: [AtomicU64; 3],
    answered: [AtomicU64; 3],
    faults: Mutex<Vec<String>>,
    /// Nanoseconds without a UDP answer, the worst.
    gap: AtomicU64,
}

impl Judge {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            stop: AtomicBool::new(false),
            old: AtomicU64::new(0),
            new_since: AtomicU64::new(0),
            sent: Default::default(),
            answered: Default::default(),
            faults: Mutex::default(),
            gap: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn fault(&self, what: String) {
        self.faults.lock().expect("nobody panics here").push(what);
    }

    /// Looks at an answer from `cluster` to a query of `probe` sent at `sent`.
    fn judge(&self, probe: Probe, cluster: u32, sent: u64) {
        // The time first: what is received later cannot be older than this.
        let new_since = self.new_since.load(Ordering::SeqCst);
        let old = self.old.load(Ordering::SeqCst);
        let (before, after) = (cluster_of(probe.origin, old), cluster_of(probe.origin, old + 1));
        if cluster == after && before != after {
            let _ = self.new_since.compare_exchange(0, self.now(), Ordering::SeqCst, Ordering::SeqCst);
        } else if cluster != before {
            self.fault(format!("{}: cluster {cluster} is neither {before} nor {after}", probe.client));
        } else if before != after && new_since != 0 && sent > new_since {
            self.fault(format!(
                "{}: an old answer to a query sent after a new one was received",
                probe.client
            ));
        }
    }

    /// A push begins at epoch `old`.
    fn begin(&self, old: u64) {
        self.new_since.store(0, Ordering::SeqCst);
        self.old.store(old, Ordering::SeqCst);
    }
}

/// Waits until `due` nanoseconds after the judge's start.
fn wait_until(judge: &Judge, due: u64) {
    let now = judge.now();
    if due > now {
        std::thread::sleep(Duration::from_nanos(due - now));
    }
}

/// The cluster in `10.{high}.{low}.n`.
fn cluster_of_address(addr: Ipv4Addr) -> u32 {
    let [_, high, low, _] = addr.octets();
    u32::from(high) * 256 + u32::from(low)
}

/// Sends UDP queries at a steady pace and judges the answers.
fn udp_client(server: SocketAddr, probes: &[Probe], judge: &Judge) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).expect("a socket");
    // So that this side never loses what the server sent.
    socket.set_recv_buffer_size(8 << 20).expect("a size");
    let socket: UdpSocket = socket.into();
    socket.connect(server).expect("loopback");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time");
    let pending: Vec<(AtomicU64, AtomicU64)> = (0..=u16::MAX).map(|_| Default::default()).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 1500];
            let mut last = judge.now();
            let mut idle_since = None;
            loop {
                let Ok(len) = socket.recv(&mut buffer) else {
                    // After the last query, whatever comes within a second still counts.
                    let since = *idle_since.get_or_insert_with(Instant::now);
                    if judge.is_over() && since.elapsed() > Duration::from_secs(1) {
                        return;
                    }
                    continue;
                };
                idle_since = None;
                let now = judge.now();
                judge.gap.fetch_max(now - last, Ordering::Relaxed);
                last = now;
                match dns::addresses(&buffer[..len]) {
                    Ok((id, found)) if !found.is_empty() => {
                        let (sent, probe) = &pending[usize::from(id)];
                        let (sent, probe) = (sent.swap(0, Ordering::SeqCst), probe.load(Ordering::SeqCst));
                        if sent == 0 {
                            judge.fault("an answer to nothing".to_owned());
                            continue;
                        }
                        judge.answered[0].fetch_add(1, Ordering::Relaxed);
                        judge.judge(probes[probe as usize], cluster_of_address(found[0]), sent);
                    }
                    other => judge.fault(format!("udp: {other:?}")),
                }
            }
        });
        let mut count = 0u64;
        let begin = judge.now();
        while !judge.is_over() {
            let due = (judge.now() - begin) * UDP_QPS / 1_000_000_000;
            while count < due {
                let (id, probe) = (count as u16, (count * 7919) % probes.len() as u64);
                let packet = dns::query(id, SERVICE, probes[probe as usize].client);
                pending[usize::from(id)].1.store(probe, Ordering::SeqCst);
                if pending[usize::from(id)].0.swap(judge.now(), Ordering::SeqCst) != 0 {
                    judge.fault("udp: a query was never answered".to_owned());
                }
                socket.send(&packet).expect("loopback");
                judge.sent[0].fetch_add(1, Ordering::Relaxed);
                count += 1;
            }
            wait_until(judge, judge.now() + 500_000);
        }
    });
}

/// Asks for redirects on one connection at a steady pace.
fn http_client(server: SocketAddr, probes: &[Probe], judge: &Judge) {
    let stream = TcpStream::connect(server).expect("loopback");
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    let mut stream = stream;
    let begin = judge.now();
    for count in 0u64.. {
        if judge.is_over() {
            return;
        }
        wait_until(judge, begin + count * 1_000_000_000 / HTTP_RPS);
        let probe = probes[(count * 6007) as usize % probes.len()];
        let sent = judge.now();
        let request = format!(
            "GET /title/{count}/seg.m4s HTTP/1.1\r\nHost: {SERVICE}\r\nX-Forwarded-For: {}\r\n\r\n",
            probe.client
        );
        judge.sent[1].fetch_add(1, Ordering::Relaxed);
        stream.write_all(request.as_bytes()).expect("the connection stays");
        let (mut status, mut cluster, mut len) = (0u16, None, 0usize);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).expect("the connection stays") == 0 {
                return judge.fault("http: closed in the middle".to_owned());
            }
            let line = line.trim_end();
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            } else if let Some(rest) = line.to_ascii_lowercase().strip_prefix("location: http://c") {
                cluster = rest.get(..3).and_then(|digits| digits.parse().ok());
            } else if let Some(rest) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                len = rest.parse().unwrap_or(0);
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; len];
        reader.read_exact(&mut body).expect("a body");
        match cluster {
            Some(cluster) if status == 302 => {
                judge.answered[1].fetch_add(1, Ordering::Relaxed);
                judge.judge(probe, cluster, sent);
            }
            _ => judge.fault(format!("http: status {status}, cluster {cluster:?}")),
        }
    }
}

/// Asks over TCP, a connection a query, at a steady pace.
fn tcp_client(server: SocketAddr, probes: &[Probe], judge: &Judge) {
    let begin = judge.now();
    for count in 0u64.. {
        if judge.is_over() {
            return;
        }
        wait_until(judge, begin + count * 1_000_000_000 / TCP_QPS);
        let probe = probes[(count * 4001) as usize % probes.len()];
        let packet = dns::query(count as u16, SERVICE, probe.client);
        let sent = judge.now();
        judge.sent[2].fetch_add(1, Ordering::Relaxed);
        let ask = || -> std::io::Result<Vec<u8>> {
            let mut stream = TcpStream::connect(server)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(&[&(packet.len() as u16).to_be_bytes()[..], &packet].concat())?;
            let mut len = [0; 2];
            stream.read_exact(&mut len)?;
            let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut reply)?;
            Ok(reply)
        };
        match ask().map_err(|error| error.to_string()).and_then(|reply| dns::addresses(&reply)) {
            Ok((_, found)) if !found.is_empty() => {
                judge.answered[2].fetch_add(1, Ordering::Relaxed);
                judge.judge(probe, cluster_of_address(found[0]), sent);
            }
            other => judge.fault(format!("tcp: {other:?}")),
        }
    }
}

/// Runs `push` while clients ask, and says what they saw.
fn under_load(steerd: &Steerd, probes: &[Probe], old: u64, name: &str, push: impl FnOnce()) {
    let judge = Arc::new(Judge::new());
    judge.begin(old);
    let took = std::thread::scope(|scope| {
        scope.spawn(|| udp_client(steerd.dns, probes, &judge));
        scope.spawn(|| http_client(steerd.http, probes, &judge));
        scope.spawn(|| tcp_client(steerd.dns, probes, &judge));
        std::thread::sleep(Duration::from_millis(500));
        let quiet = judge.gap.swap(0, Ordering::Relaxed);
        let start = Instant::now();
        push();
        let took = start.elapsed();
        let busy = judge.gap.load(Ordering::Relaxed);
        // What is asked after the reply gets the new answers.
        let _ = judge.new_since.compare_exchange(0, judge.now(), Ordering::SeqCst, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(500));
        judge.stop.store(true, Ordering::SeqCst);
        println!(
            "{name}: {took:.1?}; longest gap between answers {:.1} ms before, {:.1} ms during",
            quiet as f64 / 1e6,
            busy as f64 / 1e6
        );
        took
    });
    let count = |counts: &[AtomicU64; 3]| counts.each_ref().map(|count| count.load(Ordering::SeqCst));
    let (sent, answered) = (count(&judge.sent), count(&judge.answered));
    println!(
        "  sent {sent:?} answered {answered:?} (udp, http, tcp); resident {} MB",
        steerd.resident_bytes() >> 20
    );
    let faults = judge.faults.lock().expect("nobody panicked");
    assert!(faults.is_empty(), "{} faults, the first: {:?}", faults.len(), &faults[..faults.len().min(5)]);
    assert_eq!(sent, answered, "{name}: nothing is lost");
    // The generator kept its pace: at least nine tenths of the rate over the whole time.
    let expected = (took.as_secs_f64() + 1.0) * UDP_QPS as f64;
    assert!(sent[0] as f64 > 0.9 * expected, "{name}: asked {} of {expected:.0}", sent[0]);
}

#[test]
fn pushes_under_load_lose_nothing_and_never_go_back() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let internet = Internet::read();
    let dir = tempfile::tempdir().expect("a directory");
    let config = write_config(dir.path(), "[table]\nstate_dir = \"state\"\n");
    let steerd = Steerd::start(&config);
    let first = steerd.call("PUT", "/v1/table", internet.table(100).as_bytes());
    assert_eq!(first.status, 200, "{first:?}");
    println!("first push: {}", first.body);
    println!("  resident {} MB with one generation", steerd.resident_bytes() >> 20);

    let body = internet.table(101);
    let all = probes(internet.prefixes.iter());
    let mut report = None;
    let mut took = Duration::ZERO;
    under_load(&steerd, &all, 100, "full push", || {
        let start = Instant::now();
        report = Some(steerd.call("PUT", "/v1/table?force=1", body.as_bytes()));
        took = start.elapsed();
    });
    let report = report.expect("pushed");
    assert_eq!(report.status, 200, "{report:?}");
    println!("  {}", report.body);
    assert!(took < Duration::from_secs(5), "served after {took:?}");

    let body = internet.delta(101, 1000);
    let changed = probes(internet.changed(101, 1000));
    under_load(&steerd, &changed, 101, "delta of 1,000 routes", || {
        let start = Instant::now();
        let report = steerd.call("PATCH", "/v1/table", body.as_bytes());
        took = start.elapsed();
        assert_eq!(report.status, 200, "{report:?}");
        println!("  {}", report.body);
    });
    assert!(took < Duration::from_secs(1), "served after {took:?}");
}

/// Kills the process at random moments inside pushes; each restart serves at least what was
/// acknowledged, from the state directory alone, within a second.
#[test]
fn kill_at_any_moment_keeps_what_was_acknowledged() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let rounds = if std::env::var_os("STEERD_SOAK").is_some() { 500 } else { 50 };
    let internet = Internet::read();
    let dir = tempfile::tempdir().expect("a directory");
    let config = write_config(dir.path(), "[table]\nstate_dir = \"state\"\nkeep = 3\n");
    // Epochs of one width, so that a body is changed in place.
    let mut epoch = 1_000_000u64;
    let mut body = internet.table(epoch).into_bytes();
    let digits = body.windows(7).position(|w| w == b"1000000").expect("the first line has it");
    let mut steerd = Steerd::start(&config);
    let start = Instant::now();
    assert_eq!(steerd.call("PUT", "/v1/table", &body).status, 200);
    let full_ms = start.elapsed().as_millis() as u64;
    let start = Instant::now();
    assert_eq!(steerd.call("PATCH", "/v1/table", internet.delta(epoch, 1000).as_bytes()).status, 200);
    let delta_ms = start.elapsed().as_millis() as u64;
    epoch += 1;
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let (mut worst, mut unacknowledged) = (Duration::ZERO, 0);
    for round in 0..rounds {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let is_full = round % 2 == 0;
        let window_us = if is_full { full_ms * 1100 } else { delta_ms * 4000 };
        let moment = Duration::from_micros((random >> 33) % window_us);
        let control = steerd.control;
        let acknowledged = std::thread::scope(|scope| {
            let (body, internet) = (&mut body, &internet);
            let pusher =
                scope.spawn(move || push_until_killed(control, is_full, epoch, body, digits, internet));
            std::thread::sleep(moment);
            steerd.kill();
            pusher.join().expect("the pusher")
        });
        let start = Instant::now();
        steerd = Steerd::start(&config);
        let reply = dns_once(steerd.dns);
        let took = start.elapsed();
        worst = worst.max(took);
        let status = steerd.call("GET", "/v1/status", b"").json();
        let served = status["epoch"].as_u64().expect("a table is served");
        assert!(served >= acknowledged, "round {round}: serving {served}, acknowledged {acknowledged}");
        assert!(reply, "round {round}: the first query is answered");
        unacknowledged += u32::from(served > acknowledged);
        epoch = served;
    }
    println!(
        "{rounds} kills: worst restart to first answer {worst:.0?}; {unacknowledged} times newer than acknowledged"
    );
    if std::env::var_os("STEERD_BIN").is_some() {
        assert!(worst < Duration::from_secs(1), "a restart took {worst:?}");
    }
}

/// Pushes one full table, or deltas one after the other, until the other side is gone. Returns the
/// last epoch that was acknowledged.
fn push_until_killed(
    control: SocketAddr,
    is_full: bool,
    mut epoch: u64,
    body: &mut [u8],
    digits: usize,
    internet: &Internet,
) -> u64 {
    if is_full {
        body[digits..digits + 7].copy_from_slice((epoch + 1).to_string().as_bytes());
        return match call(control, "PUT", "/v1/table?force=1", body) {
            Ok(reply) if reply.status == 200 => epoch + 1,
            _ => epoch,
        };
    }
    loop {
        let delta = internet.delta(epoch, 1000);
        match call(control, "PATCH", "/v1/table?force=1", delta.as_bytes()) {
            Ok(reply) if reply.status == 200 => epoch += 1,
            _ => return epoch,
        }
    }
}

/// Whether a query is answered with an address.
fn dns_once(server: SocketAddr) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time");
    socket.send_to(&dns::query(7, SERVICE, Ipv4Addr::new(8, 8, 8, 8)), server).expect("loopback");
    let mut buffer = [0; 1500];
    let Ok(len) = socket.recv(&mut buffer) else { return false };
    matches!(dns::addresses(&buffer[..len]), Ok((7, found)) if !found.is_empty())
}
