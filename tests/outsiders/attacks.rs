//! Attacks on HTTP listeners, written octet by octet: heads, frames and handshakes that come slowly or never
//! end, floods of what asks for nothing, answers that nobody takes.
//!
//! Of each is asked that others are answered meanwhile, that memory stays under a bound, which is printed with
//! what was found, and that the connections are ended and counted. `STEERD_SOAK` makes each a minute long.

use super::harness::{Steerd, write_config};
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// One at a time: each measures memory and time.
static ALONE: Mutex<()> = Mutex::new(());

/// Takes its turn.
fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether tests run at full length.
fn is_soak() -> bool {
    std::env::var_os("STEERD_SOAK").is_some()
}

/// How long an attack lasts.
fn length() -> Duration {
    Duration::from_secs(if is_soak() { 60 } else { 2 })
}

/// How many connections an attack has.
fn many() -> usize {
    if is_soak() { 8000 } else { 1500 }
}

/// Limits with short times.
const SHORT: &str = "head_s = 2\nidle_s = 4\nsend_s = 2\nhandshake_s = 2\nunanswered_octets = 262144\n";

/// Serves the small demo fleet within these limits, over TLS too.
pub fn start(dir: &Path, limits: &str) -> Steerd {
    start_with(dir, "", limits)
}

/// The same with more lines in `[http]`.
pub fn start_with(dir: &Path, lines: &str, limits: &str) -> Steerd {
    let made = rcgen::generate_simple_self_signed(["video.cdn.example".to_owned()]).expect("a certificate");
    fs::write(dir.join("a.pem"), made.cert.pem()).expect("written");
    fs::write(dir.join("a.key"), made.signing_key.serialize_pem()).expect("written");
    let more = format!("[http.limits]\n{limits}\n[[tls]]\ncert = \"a.pem\"\nkey = \"a.key\"\n");
    let config = write_config(dir, &more);
    let text = fs::read_to_string(&config).expect("a config");
    let text = text.replace("[http]\n", &format!("[http]\nlisten_tls = [\"127.0.0.1:0\"]\n{lines}"));
    fs::write(&config, text).expect("written");
    let steerd = Steerd::start(&config);
    let table = include_bytes!("../../data/fleet-small.ndjson");
    assert_eq!(steerd.call("PUT", "/v1/table", table).status, 200);
    steerd
}

/// A connection from 127.0.0.`host`.
pub fn connect(to: SocketAddr, host: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
    socket.bind(&from.into()).expect("loopback");
    socket.connect(&to.into()).expect("a connection");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
    stream.set_write_timeout(Some(Duration::from_secs(20))).expect("a time");
    stream
}

/// A connection that takes little, and whose writes do not wait.
fn reluctant(to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("an option");
    socket.connect(&to.into()).expect("a connection");
    socket.set_nonblocking(true).expect("an option");
    TcpStream::from(socket)
}

/// What a request that is answered like any is.
const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: video.cdn.example\r\n\r\n";

/// Asks over `stream` and reads the head of the answer, which has no body.
fn ask(stream: &mut TcpStream) -> std::io::Result<String> {
    stream.write_all(GET)?;
    let (mut head, mut octet) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet)?;
        head.push(octet[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A counter as `/metrics` says it, from a connection of its own.
fn metric(steerd: &Steerd, name: &str) -> u64 {
    let text = steerd.call("GET", "/metrics", b"").body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name} in {text}")) as u64
}

/// Connections that were cut off so.
fn cut(steerd: &Steerd, why: &str) -> u64 {
    metric(steerd, &format!("steerd_http_connections_cut_total{{why=\"{why}\"}}"))
}

/// Runs `attack` while another client asks without pause, over a connection of each request and over one that
/// it keeps, and is answered each time; memory grows by `bound_kib` at most meanwhile. Prints what was found.
fn under(steerd: &Steerd, what: &str, bound_kib: u64, attack: impl FnOnce()) {
    let before = steerd.resident_bytes();
    let is_over = AtomicBool::new(false);
    let (answered, worst, peak) = thread::scope(|scope| {
        let bystander = scope.spawn(|| {
            let (mut answered, mut worst) = (0, Duration::ZERO);
            let mut kept = connect(steerd.http, 9);
            while !is_over.load(Ordering::Acquire) {
                for fresh in [false, true] {
                    let began = Instant::now();
                    let reply = if fresh { ask(&mut connect(steerd.http, 9)) } else { ask(&mut kept) };
                    let reply = reply.unwrap_or_else(|error| panic!("{what}: nobody answers: {error}"));
                    assert!(reply.starts_with("HTTP/1.1 302 "), "{what}: {reply}");
                    (answered, worst) = (answered + 1, worst.max(began.elapsed()));
                }
            }
            (answered, worst)
        });
        let watcher = scope.spawn(|| {
            let mut peak = 0;
            while !is_over.load(Ordering::Acquire) {
                peak = peak.max(steerd.resident_bytes());
                thread::yield_now();
            }
            peak
        });
        // Over in any case: a scope waits for its threads.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attack));
        is_over.store(true, Ordering::Release);
        let (answered, worst) = bystander.join().expect("all are answered");
        let peak = watcher.join().expect("no panic");
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
        (answered, worst, peak)
    });
    let grown = peak.saturating_sub(before) >> 10;
    println!(
        "{what}: {answered} answers to others, the slowest in {worst:?}; memory +{grown} KiB of {bound_kib}"
    );
    assert!(answered > 20, "{what}: {answered} answers");
    assert!(worst < Duration::from_secs(2), "{what}: {worst:?}");
    assert!(grown <= bound_kib, "{what}: memory grew by {grown} KiB, bound {bound_kib}");
}

/// Waits for the end of `stream`, whatever comes before.
fn wait_for_end(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer) {}
}

#[test]
fn slow_heads_are_ended() {
    let _turn = alone();
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path(), SHORT);
    let count = many();
    under(&steerd, "slow heads", 8 * 1024 + 4 * count as u64, || {
        let mut slow: Vec<TcpStream> = (0..count).map(|_| connect(steerd.http, 1)).collect();
        for octets in GET[..GET.len() - 2].chunks(1) {
            // Who is ended meanwhile is told so by the system.
            slow.iter_mut().for_each(|stream| _ = stream.write(octets));
        }
        slow.iter_mut().for_each(wait_for_end);
    });
    assert_eq!(cut(&steerd, "slow_head"), count as u64);
}

#[test]
fn answers_that_nobody_takes_are_dropped() {
    let _turn = alone();
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path(), SHORT);
    let count = many() / 50;
    // A connection may have 64 KiB of answers and of requests that wait.
    under(&steerd, "slow readers", 8 * 1024 + 128 * count as u64, || {
        let list = b"GET /a?format=json HTTP/1.1\r\nHost: video.cdn.example\r\n\r\n".repeat(500);
        let mut slow: Vec<(TcpStream, usize)> = (0..count).map(|_| (reluctant(steerd.http), 0)).collect();
        let began = Instant::now();
        while !slow.is_empty() && began.elapsed() < length() + Duration::from_secs(20) {
            slow.retain_mut(|(stream, at)| match stream.write(&list[*at % list.len()..]) {
                Ok(sent) => {
                    *at += sent;
                    true
                }
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            });
        }
        assert!(slow.is_empty(), "{} are not ended", slow.len());
    });
    assert_eq!(cut(&steerd, "slow_reader"), count as u64);
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What a client's connection begins with, and these settings.
pub fn preface(settings: &[u8]) -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, settings)[..]].concat()
}

/// The header block of a request (RFC 7541): of the static table what it has, the others as literals.
pub fn block(path: &str) -> Vec<u8> {
    let host = "video.cdn.example";
    let literal = |index: u8, value: &str| [&[index, value.len() as u8], value.as_bytes()].concat();
    [&[0x82, 0x86][..], &literal(4, path), &literal(1, host)].concat()
}

/// END_STREAM and END_HEADERS of a HEADERS frame.
const WHOLE: u8 = 0x05;

/// Sends over new connections, one after the other, what `begin` and then, again and again, what `more` says,
/// for as long as an attack lasts. Nothing is read. How many connections were ended by the other side.
fn flood(to: SocketAddr, begin: &[u8], mut more: impl FnMut(u32) -> Vec<u8>) -> usize {
    let (began, mut ended) = (Instant::now(), 0);
    while began.elapsed() < length() {
        let mut stream = connect(to, 1);
        if stream.write_all(begin).is_err() {
            continue;
        }
        for number in 0.. {
            if began.elapsed() >= length() {
                break;
            }
            if stream.write_all(&more(number)).is_err() {
                ended += 1;
                break;
            }
        }
    }
    ended
}

/// What a flood may cost, KiB: a few connections' buffers, and what the allocator keeps.
const FLOOD_KIB: u64 = 12 * 1024;

/// Floods a server, which has to end connections and call that one of `whys`.
fn check_flood(what: &str, whys: &[&str], begin: &[u8], more: impl FnMut(u32) -> Vec<u8>) {
    let _turn = alone();
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path(), SHORT);
    let mut ended = 0;
    under(&steerd, what, FLOOD_KIB, || ended = flood(steerd.http, begin, more));
    let counted: u64 = whys.iter().map(|why| cut(&steerd, why)).sum();
    println!("{what}: {ended} connections were ended, {counted} are counted as {whys:?}");
    assert!(ended > 0 && counted > 0, "{what}: {ended} ended, {counted} counted");
}

#[test]
fn cve_2023_44487_rapid_resets_are_a_flood() {
    let cancel = 8_u32.to_be_bytes();
    check_flood("rapid reset", &["flood"], &preface(&[]), |number| {
        let streams = (0..100).map(|at| 2 * (number * 100 + at) + 1);
        streams
            .flat_map(|id| [frame(1, WHOLE, id, &block("/a")), frame(3, 0, id, &cancel)].concat())
            .collect()
    });
}

#[test]
fn cve_2024_27316_endless_continuation_is_refused() {
    let begin = [preface(&[]), frame(1, 1, 1, &block("/a"))].concat();
    // A field that is never whole, and one after the other.
    let fields: Vec<u8> = (0..100).flat_map(|_| [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat()).collect();
    check_flood("CONTINUATION flood", &["flood", "protocol"], &begin, |_| frame(9, 0, 1, &fields));
    check_flood("empty CONTINUATION flood", &["flood", "protocol"], &begin, |_| {
        frame(9, 0, 1, &[]).repeat(100)
    });
}

#[test]
fn frames_that_want_a_reply_are_a_flood() {
    let ping = frame(6, 0, 0, b"pingpong").repeat(200);
    check_flood("PING flood", &["flood", "slow_reader"], &preface(&[]), |_| ping.clone());
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 255, 255]).repeat(200);
    check_flood("SETTINGS flood", &["flood", "slow_reader"], &preface(&[]), |_| settings.clone());
    // RFC 9218 and what is unknown: passed over, each.
    let unknown = frame(0xfa, 0, 0, b"nothing").repeat(200);
    check_flood("unknown frames", &["flood"], &preface(&[]), |_| unknown.clone());
}

#[test]
fn a_header_that_grows_when_unpacked_is_not_unpacked() {
    // One entry of 4,000 octets in the table of both sides, then named once an octet.
    let mut bomb = [block("/a"), vec![0x40, 1, b'x', 0x7f, 0xa1, 0x1e]].concat();
    bomb.extend([b'y'; 4000]);
    bomb.extend([0xbe; 12_000]);
    let whole = bomb;
    check_flood("HPACK bomb", &["flood", "protocol"], &preface(&[]), |number| {
        frame(1, WHOLE, 2 * number + 1, &whole)
    });
}

#[test]
fn windows_of_nothing_hold_little_and_not_for_long() {
    let _turn = alone();
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path(), SHORT);
    let count = many() / 10;
    // Of each connection 64 streams wait, with an answer of some hundred octets, at 6 KiB each.
    under(&steerd, "windows of 0", 8 * 1024 + 384 * count as u64, || {
        let mut octets = preface(&[0, 4, 0, 0, 0, 0]);
        octets.extend((0..64).flat_map(|at| frame(1, WHOLE, 2 * at + 1, &block("/a?format=json"))));
        let mut waiting: Vec<TcpStream> = (0..count).map(|_| connect(steerd.http, 1)).collect();
        waiting.iter_mut().for_each(|stream| stream.write_all(&octets).expect("sent"));
        waiting.iter_mut().for_each(wait_for_end);
    });
    // Nor is PING answered, which may be noticed first.
    assert_eq!(cut(&steerd, "slow_reader") + cut(&steerd, "idle"), count as u64);
}

#[test]
fn handshakes_that_stall_are_ended() {
    let _turn = alone();
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path(), SHORT);
    let count = many();
    let https = steerd.https.expect("a listener");
    under(&steerd, "stalled handshakes", 8 * 1024 + 32 * count as u64, || {
        // A record of 512 octets of which few come.
        let mut slow: Vec<TcpStream> = (0..count).map(|_| connect(https, 1)).collect();
        slow.iter_mut().for_each(|stream| stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252]).expect("sent"));
        slow.iter_mut().for_each(wait_for_end);
    });
    assert_eq!(metric(&steerd, "steerd_tls_connections_total{result=\"timed_out\"}"), count as u64);
}

#[test]
fn a_network_has_its_share_of_requests_and_connections() {
    let _turn = alone();
    let dir = tempfile::tempdir().expect("a directory");
    let limits = "requests_per_s = 200\nnetwork_connections = 20\nexempt = []\n";
    let steerd = start(dir.path(), limits);
    // Whom a trusted proxy does not speak for is counted: here nobody is trusted.
    let config = dir.path().join("steerd.toml");
    let text = fs::read_to_string(&config).expect("a config");
    drop(steerd);
    fs::write(&config, text.replace("trusted_proxies = [\"127.0.0.0/8\"]", "trusted_proxies = []"))
        .expect("written");
    let steerd = Steerd::start(&config);
    let mut greedy = connect(steerd.http, 1);
    let replies: Vec<String> = (0..600).map(|_| ask_any(&mut greedy)).collect();
    let refused: Vec<&String> = replies.iter().filter(|reply| reply.starts_with("HTTP/1.1 429 ")).collect();
    assert!(refused.len() > 100 && refused[0].contains("Retry-After: 1"), "{}", refused.len());
    assert!(
        replies[..200].iter().all(|reply| reply.starts_with("HTTP/1.1 302 ")),
        "a second's worth at once"
    );
    let told = metric(&steerd, "steerd_http_requests_total{outcome=\"too_many\"}");
    assert_eq!(told, refused.len() as u64);
    // Another network is none the worse.
    assert!(ask(&mut connect(steerd.http, 2)).expect("an answer").starts_with("HTTP/1.1 302 "));
    let mut held: Vec<TcpStream> = (0..30).map(|_| connect(steerd.http, 3)).collect();
    let is_ended = |stream: &mut TcpStream| ask(stream).is_err();
    assert_eq!(held.iter_mut().filter_map(|stream| is_ended(stream).then_some(())).count(), 10);
    assert_eq!(cut(&steerd, "network_full"), 10);
    assert!(ask(&mut connect(steerd.http, 2)).expect("an answer").starts_with("HTTP/1.1 302 "));
}

/// Asks and reads the answer, its body too.
fn ask_any(stream: &mut TcpStream) -> String {
    let head = ask(stream).expect("an answer");
    let len = head.split_once("Content-Length: ").and_then(|(_, rest)| rest.split_once('\r')?.0.parse().ok());
    stream.read_exact(&mut vec![0; len.unwrap_or(0)]).expect("a body");
    head
}
