//! Sockets, threads and the life of the process: everything that waits.
//!
//! [`Server::start`] binds every listener before any of them answers, and starts the threads:
//!
//! | threads | what | made by |
//! |---|---|---|
//! | one a worker and DNS address | UDP, a batch at a time | [`udp`] |
//! | one a worker | DNS over TCP, on its own runtime and sockets | `streams` |
//! | one a worker, if wanted | the same over TLS | `streams`, [`tls`] |
//! | one a worker | redirects, on its own event loop and sockets | `http1` |
//! | one a worker | redirects of the unusual kind, HTTP/2 among them, handed over by that; DNS over HTTPS | [`http`], `doh` |
//! | one a worker, if wanted | both over TLS | [`http`], [`tls`] |
//! | one an address over TLS, if wanted | the same over HTTP/3 | `http3`, [`tls`] |
//! | one, and one over TLS, if wanted | the push API | `control`, [`tls`] |
//! | one each, if wanted | what was asked and answered, written as dnstap; the access log | [`tap`], [`access_log`] |
//! | two | the chores of every second | [`mod@run`] |
//!
//! [`node`] makes all of it from a config; [`mod@run`] adds signals and the service manager. What is
//! answered is decided below: listeners know bytes, peers and time only. Layer 8; the only module besides
//! `publish`, `distribution` and `cli` that reads a clock, and `udp` the only one besides `lpm` that may
//! hold `unsafe`.

#![allow(clippy::disallowed_methods, reason = "sockets and threads live by the clock")]

mod accept;
pub mod access_log;
mod advice;
pub mod answer;
pub mod bind;
mod control;
pub mod desk;
mod doh;
mod gate;
pub mod http;
mod http1;
#[cfg(feature = "http3")]
mod http3;
pub mod keys;
pub mod life;
pub mod load;
pub mod memory;
pub mod meters;
pub mod node;
pub mod places;
pub mod run;
mod streams;
pub mod tap;
pub mod tls;
#[allow(unsafe_code)]
pub mod udp;

use crate::config::{self, Config, HttpLimits, Listen};
use crate::proxy::Speakers;
use accept::Entrance;
use answer::MakeAnswer;
use axum::Router;
use bind::{BindError, Listener};
use gate::Gate;
use http::{Limits, MakeRespond, Room};
use life::{Life, Phase};
use run::Ended;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use streams::Listeners;
use tls::{Acceptor, Acceptors};
use tokio::sync::mpsc::unbounded_channel;
use udp::Worker;

/// The part of all connections that one peer may hold, as a divisor: nobody shuts the others out.
const PEER_SHARE: usize = 4;

/// Where to listen, and with how much.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Addresses for DNS over UDP and TCP. Port 0: one that is free for both.
    pub dns: Vec<Listen>,
    /// Addresses for DNS over TLS.
    pub dns_tls: Vec<Listen>,
    /// Who may speak for others there.
    pub dns_speakers: Arc<Speakers>,
    /// Whether addresses for redirects answer DNS too.
    pub doh: bool,
    /// Threads for DNS, at least 1: of UDP for each address, and of TCP and TLS for all.
    pub dns_workers: usize,
    /// Connections for DNS at a time, at most.
    pub dns_tcp_open_max: usize,
    /// Silence after which a connection for DNS is closed.
    pub dns_tcp_idle: Duration,
    /// Addresses for redirects.
    pub http: Vec<Listen>,
    /// The same over TLS.
    pub http_tls: Vec<Listen>,
    /// Whether they speak HTTP/3 too, on UDP; only with the feature of that name.
    pub http3: bool,
    /// Who may speak for others there.
    pub http_speakers: Arc<Speakers>,
    /// Threads for redirects, at least 1.
    pub http_workers: usize,
    /// What their connections may cost.
    pub http_limits: HttpLimits,
    /// Addresses for the push API.
    pub control: Vec<SocketAddr>,
    /// The same over TLS.
    pub control_tls: Vec<SocketAddr>,
}

/// What answers.
pub struct Parts<D, H> {
    /// DNS queries.
    pub dns: D,
    /// Requests to be redirected.
    pub http: H,
    /// The push API.
    pub control: Router,
    /// What greets connections over TLS.
    pub tls: Option<Acceptors>,
}

/// Why a server does not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system gives no threads, or its sockets lack what we need.
    #[error("cannot start {what}: {source}")]
    System {
        /// What was to be started.
        what: &'static str,
        /// Why it was not.
        source: io::Error,
    },
}

/// A running server. Stops when dropped.
#[derive(Debug)]
pub struct Server {
    /// Addresses that answer DNS over UDP, ports resolved.
    pub dns_udp: Vec<SocketAddr>,
    /// Addresses that answer DNS over TCP, the same as over UDP.
    pub dns_tcp: Vec<SocketAddr>,
    /// Addresses that answer DNS over TLS, ports resolved.
    pub dns_tls: Vec<SocketAddr>,
    /// Addresses that redirect, ports resolved.
    pub http: Vec<SocketAddr>,
    /// The same over TLS.
    pub http_tls: Vec<SocketAddr>,
    /// Addresses of the push API, ports resolved.
    pub control: Vec<SocketAddr>,
    /// The same over TLS.
    pub control_tls: Vec<SocketAddr>,
    /// One line a listener, for whoever started it.
    lines: Vec<String>,
    life: Life,
    threads: Vec<JoinHandle<()>>,
}

/// Serves what `config`, which was read from `file`, describes until a signal ends it; `announce` is
/// told one line a listener when all of them answer.
///
/// # Errors
/// Why it does not start.
pub fn run(file: &Path, config: Config, announce: impl FnMut(&str)) -> Result<Ended, node::Failure> {
    let drain = Duration::from_secs(u64::from(config.drain_s));
    run::run(drain, |life| node::start(file, config, life), announce)
}

/// Listening sockets of one kind, by worker and then by address.
type ByWorker = Vec<Listeners<TcpListener>>;

impl Server {
    /// Binds everything in `layout`, then starts to answer by `parts` until `life` is closing.
    ///
    /// # Errors
    /// When a listener cannot be had or the system gives no thread; then nothing runs.
    pub fn start<D, H>(layout: &Layout, parts: Parts<D, H>, life: Life) -> Result<Self, StartError>
    where
        D: MakeAnswer,
        H: MakeRespond,
    {
        let mut server = Self {
            dns_udp: Vec::new(),
            dns_tcp: Vec::new(),
            dns_tls: Vec::new(),
            http: Vec::new(),
            http_tls: Vec::new(),
            control: Vec::new(),
            control_tls: Vec::new(),
            lines: Vec::new(),
            life,
            threads: Vec::new(),
        };
        // A connection is one of a kind's, whatever it is spoken over.
        let open_max = layout.dns_tcp_open_max.max(1);
        let dns_gate = Gate::new(open_max, open_max.div_ceil(PEER_SHARE), config::loopback());
        let http_gate = http_gate(&layout.http_limits, &layout.http_speakers);
        let (dns_workers, http_workers) = (layout.dns_workers.max(1), layout.http_workers.max(1));
        let (dns_udp, dns_tcp) = server.bind_dns(layout, &dns_gate, &parts.dns)?;
        let dns = (&dns_gate, &layout.dns_speakers);
        let dns_tls = server.bind_tcp(Listener::DnsTls, &layout.dns_tls, dns_workers, dns)?;
        let redirects = (&http_gate, &layout.http_speakers);
        let http = server.bind_tcp(Listener::Http, &layout.http, http_workers, redirects)?;
        let https = server.bind_tcp(Listener::Https, &layout.http_tls, http_workers, redirects)?;
        #[cfg(feature = "http3")]
        let quic = server.bind_http3(layout)?;
        let (nobody, plainly) = (Arc::default(), |addrs: &[SocketAddr]| -> Vec<Listen> {
            addrs.iter().map(|addr| plain(*addr)).collect()
        });
        let control_tls = plainly(&layout.control_tls);
        let control_tls = server.bind_tcp(Listener::ControlTls, &control_tls, 1, (&http_gate, &nobody))?;
        let control = plainly(&layout.control);
        let control = server.bind_tcp(Listener::Control, &control, 1, (&http_gate, &nobody))?;
        // From here on everything is bound.
        for (index, worker) in dns_udp.into_iter().enumerate() {
            let name = format!("dns-udp-{index}");
            let thread = thread::Builder::new().name(name).spawn(move || worker.run());
            server.threads.push(thread.map_err(system("a UDP worker"))?);
        }
        let handshake = Duration::from_secs(u64::from(layout.http_limits.handshake_s));
        #[cfg(feature = "http3")]
        let quic_greeter = parts.tls.as_ref().map(|tls| tls.http3.clone().within(handshake));
        let (dns_greeter, http_greeter, control_greeter) = match parts.tls {
            Some(tls) => (Some(tls.dns), Some(tls.http.within(handshake)), Some(tls.control)),
            None => (None, None, None),
        };
        server.start_streams("dns-tcp", dns_tcp, &parts.dns, None, layout)?;
        if dns_greeter.is_some() {
            server.start_streams("dns-tls", dns_tls, &parts.dns, dns_greeter, layout)?;
        }
        let dns = layout.doh.then_some(&parts.dns);
        let limits = Limits::from(&layout.http_limits);
        server.start_http(http, &parts.http, dns, limits)?;
        if let Some(greeter) = http_greeter {
            server.start_https(https, &parts.http, dns, (&greeter, limits))?;
        }
        #[cfg(feature = "http3")]
        if let Some(greeter) = quic_greeter {
            server.start_http3(quic, &parts.http, dns, (&greeter, limits, &http_gate))?;
        }
        if control_greeter.is_some() {
            server.start_control("control-tls", control_tls, parts.control.clone(), control_greeter)?;
        }
        server.start_control("control", control, parts.control, None)?;
        Ok(server)
    }

    /// One line for each listener, that a person can read.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The phase, to be entered or asked.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// Takes over a thread that ends when the server closes.
    pub fn adopt(&mut self, thread: JoinHandle<()>) {
        self.threads.push(thread);
    }

    /// Takes nothing new, finishes what it has (at most a few seconds), and ends all threads.
    pub fn stop(mut self) {
        self.close();
    }

    /// Lets go of the threads: the process ends with them running.
    pub fn abandon(mut self) {
        self.life.enter(Phase::Closing);
        self.threads.clear();
    }

    /// Closes and waits for all threads.
    fn close(&mut self) {
        self.life.enter(Phase::Closing);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread ended by a panic");
            }
        }
    }

    /// Binds for DNS over UDP and TCP, and makes the workers of UDP.
    fn bind_dns<D: MakeAnswer>(
        &mut self,
        layout: &Layout,
        gate: &Arc<Gate>,
        make: &D,
    ) -> Result<(Vec<Worker<D>>, ByWorker), StartError> {
        let workers = layout.dns_workers.max(1);
        let mut dns_udp = Vec::new();
        let mut dns_tcp: ByWorker = (0..workers).map(|_| Vec::new()).collect();
        for listen in &layout.dns {
            let sockets = bind::dns(listen.addr, workers)?;
            self.dns_udp.push(sockets.addr);
            self.dns_tcp.push(sockets.addr);
            self.lines.push(line("dns udp+tcp", sockets.addr, workers));
            let speakers = listen.proxy_protocol.then(|| Arc::clone(&layout.dns_speakers));
            let entrance = Entrance { gate: Arc::clone(gate), speakers: speakers.clone() };
            for (socket, of_worker) in sockets.tcp.into_iter().zip(&mut dns_tcp) {
                of_worker.push((socket, entrance.clone()));
            }
            for socket in sockets.udp {
                let (make, life) = (make.clone(), self.life.clone());
                let worker = Worker::new(dns_udp.len(), socket, speakers.clone(), make, life);
                dns_udp.push(worker.map_err(system("a UDP worker"))?);
            }
        }
        Ok((dns_udp, dns_tcp))
    }

    /// Binds `listen` for TCP with a socket for each of `workers`, and remembers where. Connections are let
    /// in by this gate, where they are proxied as these speakers say.
    fn bind_tcp(
        &mut self,
        listener: Listener,
        listen: &[Listen],
        workers: usize,
        (gate, speakers): (&Arc<Gate>, &Arc<Speakers>),
    ) -> Result<ByWorker, StartError> {
        let mut by_worker: ByWorker = (0..workers).map(|_| Vec::new()).collect();
        for listen in listen {
            let sockets = bind::tcp(listener, listen.addr, workers)?;
            let at = sockets[0].local_addr().map_err(system("a listener"))?;
            match listener {
                Listener::Control => self.control.push(at),
                Listener::ControlTls => self.control_tls.push(at),
                Listener::DnsTls => self.dns_tls.push(at),
                Listener::Https => self.http_tls.push(at),
                _ => self.http.push(at),
            }
            self.lines.push(line(&listener.to_string(), at, workers));
            let speakers = listen.proxy_protocol.then(|| Arc::clone(speakers));
            let entrance = Entrance { gate: Arc::clone(gate), speakers };
            for (socket, of_worker) in sockets.into_iter().zip(&mut by_worker) {
                of_worker.push((socket, entrance.clone()));
            }
        }
        Ok(by_worker)
    }

    /// Starts a thread for each worker's DNS connections, over TLS where there is an acceptor.
    fn start_streams<D: MakeAnswer>(
        &mut self,
        name: &str,
        by_worker: ByWorker,
        make: &D,
        tls: Option<Acceptor>,
        layout: &Layout,
    ) -> Result<(), StartError> {
        let idle = layout.dns_tcp_idle;
        for (index, listeners) in by_worker.into_iter().enumerate().filter(|(_, l)| !l.is_empty()) {
            let (make, tls, life) = (make.clone(), tls.clone(), self.life.clone());
            // Numbers go on after those of the UDP workers.
            let number = layout.dns.len() * layout.dns_workers.max(1) + index;
            let task = move |listeners| streams::serve(number, listeners, make, tls, idle, life);
            let thread = accept::on_thread(format!("{name}-{index}"), listeners, task);
            self.threads.push(thread.map_err(system("a TCP worker"))?);
        }
        Ok(())
    }

    /// Starts a thread for each worker's redirects, and one beside it for what is unusual; that answers DNS
    /// too where there is somebody to.
    fn start_http<H: MakeRespond, D: MakeAnswer>(
        &mut self,
        by_worker: ByWorker,
        make: &H,
        dns: Option<&D>,
        limits: Limits,
    ) -> Result<(), StartError> {
        for (index, listeners) in by_worker.into_iter().enumerate().filter(|(_, l)| !l.is_empty()) {
            let (others, handed) = unbounded_channel();
            let (desk, life) = (make.make(index), self.life.clone());
            let worker = http1::Worker::new(listeners, desk, dns.is_some(), life, limits, others);
            let worker = worker.map_err(system("an HTTP worker"))?;
            let thread = thread::Builder::new().name(format!("http-{index}")).spawn(move || worker.run());
            self.threads.push(thread.map_err(system("an HTTP worker"))?);
            let (make, dns, life) = (make.clone(), dns.cloned(), self.life.clone());
            let task = move |_| async move {
                let room = Room::new(make.make(index), dns.map(|dns| dns.make(index)), limits);
                http::serve(room, handed, life).await;
            };
            let thread = accept::on_thread(format!("http-odd-{index}"), Vec::new(), task);
            self.threads.push(thread.map_err(system("an HTTP worker"))?);
        }
        Ok(())
    }

    /// Starts a thread for each worker's redirects over TLS, which answers DNS where there is somebody to.
    fn start_https<H: MakeRespond, D: MakeAnswer>(
        &mut self,
        by_worker: ByWorker,
        make: &H,
        dns: Option<&D>,
        (tls, limits): (&Acceptor, Limits),
    ) -> Result<(), StartError> {
        for (index, listeners) in by_worker.into_iter().enumerate().filter(|(_, l)| !l.is_empty()) {
            let (make, dns, tls, life) = (make.clone(), dns.cloned(), tls.clone(), self.life.clone());
            let task = move |listeners| async move {
                let room = Room::new(make.make(index), dns.map(|dns| dns.make(index)), limits);
                http::serve_tls(listeners, room, tls, life).await;
            };
            let thread = accept::on_thread(format!("https-{index}"), listeners, task);
            self.threads.push(thread.map_err(system("an HTTP worker"))?);
        }
        Ok(())
    }

    /// Starts a thread of the push API, over TLS where there is an acceptor.
    fn start_control(
        &mut self,
        name: &str,
        by_worker: ByWorker,
        router: Router,
        tls: Option<Acceptor>,
    ) -> Result<(), StartError> {
        for listeners in by_worker.into_iter().filter(|listeners| !listeners.is_empty()) {
            let (router, tls, life) = (router.clone(), tls.clone(), self.life.clone());
            let task = move |listeners| control::serve(listeners, router, tls, life);
            let thread = accept::on_thread(name.to_owned(), listeners, task);
            self.threads.push(thread.map_err(system("the push API"))?);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

/// What lets redirects' connections in. Proxies that are trusted open many each.
fn http_gate(limits: &HttpLimits, proxies: &Speakers) -> Arc<Gate> {
    let of_network = match limits.network_connections {
        0 => usize::MAX,
        count => count as usize,
    };
    let exempt = limits.exempt.iter().chain(&proxies.0).copied().collect();
    Gate::new(limits.connections as usize, of_network, exempt)
}

/// A listener that nobody has to be introduced at.
fn plain(addr: SocketAddr) -> Listen {
    Listen { addr, proxy_protocol: false }
}

/// What is said of a listener.
fn line(what: &str, addr: SocketAddr, workers: usize) -> String {
    match workers {
        1 => format!("{what} {addr}"),
        _ => format!("{what} {addr} ({workers} workers)"),
    }
}

/// Says what an error kept from starting.
fn system(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Peer;
    use crate::http::{Head, Reply};
    use answer::echo::{Counts, Echo};
    use axum::Extension;
    use axum::routing::get;
    use http::Respond;
    use hyper::StatusCode;
    use std::io::{Read, Write};
    use std::net::{TcpStream, UdpSocket};

    /// Answers every request with the peer's address, without its port.
    #[derive(Clone, Default)]
    struct TellPeer(Reply);

    impl MakeRespond for TellPeer {
        type Respond = Self;

        fn make(&self, _index: usize) -> Self {
            Self::default()
        }
    }

    impl Respond for TellPeer {
        fn respond(&mut self, head: &Head<'_>) -> &Reply {
            self.0.start(StatusCode::OK);
            self.0.set_body(head.peer.to_string().as_bytes());
            &self.0
        }
    }

    /// A server of echoes with two workers on `dns` and loopback ports for the rest.
    fn start(dns: SocketAddr) -> Result<Server, StartError> {
        start_with(dns, Life::new())
    }

    /// A server of echoes on free ports of loopback.
    pub(super) fn start_echo(life: Life) -> Result<Server, StartError> {
        start_with(SocketAddr::from(([127, 0, 0, 1], 0)), life)
    }

    /// A server of echoes on `dns`, of that phase.
    fn start_with(dns: SocketAddr, life: Life) -> Result<Server, StartError> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let layout = Layout {
            dns: vec![plain(dns)],
            dns_tls: Vec::new(),
            dns_speakers: Arc::default(),
            doh: false,
            dns_workers: 2,
            dns_tcp_open_max: 2,
            dns_tcp_idle: Duration::from_secs(10),
            http: vec![plain(any)],
            http_tls: Vec::new(),
            http3: false,
            http_speakers: Arc::default(),
            http_workers: 2,
            http_limits: HttpLimits::default(),
            control: vec![any],
            control_tls: Vec::new(),
        };
        let tell = |Extension(Peer(peer)): Extension<Peer>| async move { peer.to_string() };
        let parts = Parts {
            dns: Echo::counted(&Counts::default()),
            http: TellPeer::default(),
            control: Router::new().route("/peer", get(tell)),
            tls: None,
        };
        Server::start(&layout, parts, life)
    }

    /// A connection that waits at most five seconds.
    fn connect(addr: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(addr).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        stream
    }

    /// Asks `addr` over HTTP; the body, and the address it was asked from.
    fn fetch(addr: SocketAddr, path: &str) -> (String, String) {
        let mut stream = connect(addr);
        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        let body = response.split_once("\r\n\r\n").expect("a head and a body").1;
        (body.to_owned(), stream.local_addr().expect("connected").to_string())
    }

    #[test]
    fn every_listener_answers_until_the_server_stops() {
        let server = start(SocketAddr::from(([127, 0, 0, 1], 0))).expect("free ports");
        assert_eq!(server.dns_udp, server.dns_tcp);
        let (dns, http, control) = (server.dns_udp[0], server.http[0], server.control[0]);
        assert_eq!(
            server.lines(),
            [
                format!("dns udp+tcp {dns} (2 workers)"),
                format!("http {http} (2 workers)"),
                format!("control {control}"),
            ]
        );
        let client = UdpSocket::bind("127.0.0.1:0").expect("a client");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        client.send_to(b"udp", dns).expect("sent");
        let mut buffer = [0; 64];
        assert_eq!(client.recv_from(&mut buffer).expect("a reply"), (5, dns));
        let mut stream = connect(dns);
        stream.write_all(b"\0\x03tcp").expect("sent");
        stream.read_exact(&mut buffer[..7]).expect("a reply");
        assert_eq!(&buffer[..7], b"\0\x05retcp");
        for (addr, path) in [(http, "/"), (control, "/peer")] {
            let (body, from) = fetch(addr, path);
            // Redirects know the address only.
            assert!(!body.is_empty() && from.starts_with(&body), "{body} {from}");
        }
        server.stop();
        assert_eq!(stream.read(&mut buffer).expect("the end"), 0);
        for addr in [dns, http, control] {
            assert!(TcpStream::connect(addr).is_err(), "{addr} still listens");
        }
    }

    /// Sends `sent` to `addr`, ends that side, and gives what comes back.
    fn exchange(addr: SocketAddr, sent: &[u8]) -> String {
        let mut stream = connect(addr);
        stream.write_all(sent).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("half closed");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("a response");
        String::from_utf8_lossy(&received).into_owned()
    }

    #[test]
    fn redirects_go_on_where_requests_become_unusual() {
        let server = start(SocketAddr::from(([127, 0, 0, 1], 0))).expect("free ports");
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        let received = exchange(server.http[0], [get, get, post, get, post].concat().as_bytes());
        assert_eq!(received.matches("HTTP/1.1 200 OK\r\n").count(), 5, "{received}");
        let received = exchange(server.http[0], b"GET / HTTP/1.0\r\n\r\n");
        assert!(received.starts_with("HTTP/1.0 200 OK\r\n"), "{received}");
        let received = exchange(server.http[0], b"GET / HTTP/1.1\r\nHost : a\r\n\r\n");
        assert!(received.starts_with("HTTP/1.1 400 "), "{received}");
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(17 << 10));
        let received = exchange(server.http[0], [get, &long].concat().as_bytes());
        assert!(received.contains("HTTP/1.1 200 ") && received.contains("HTTP/1.1 431 "), "{received}");
        let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let received = exchange(server.http[0], settings);
        assert_eq!(received.as_bytes()[3], 4, "SETTINGS comes first (RFC 9113 section 3.4)");
    }

    #[test]
    fn a_taken_port_starts_nothing() {
        let first = start(SocketAddr::from(([127, 0, 0, 1], 0))).expect("free ports");
        let error = start(first.dns_udp[0]).expect_err("a port that is taken");
        assert!(error.to_string().starts_with("dns udp 127.0.0.1:"), "{error}");
    }

    #[test]
    fn too_many_connections_are_closed_at_once() {
        let server = start(SocketAddr::from(([127, 0, 0, 1], 0))).expect("free ports");
        let mut streams: Vec<TcpStream> = (0..2).map(|_| connect(server.dns_tcp[0])).collect();
        let mut buffer = [0; 8];
        for stream in &mut streams {
            stream.write_all(b"\0\x01x").expect("sent");
            stream.read_exact(&mut buffer[..5]).expect("a reply");
        }
        let mut third = connect(server.dns_tcp[0]);
        assert!(matches!(third.read(&mut buffer), Ok(0) | Err(_)), "turned away");
    }
}
