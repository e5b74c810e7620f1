//! The HTTP generator: requests of varying clients by `X-Forwarded-For`, one under way a connection.
//!
//! Closed, each connection asks again as soon as it is answered. Open, requests are sent on a timetable
//! by whichever connection is free, and a response's time counts from when its request was *due*.

use crate::check::{Check, Seen, clock_ns};
use crate::process::Usage;
use crate::system::Epoll;
use crate::world;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// Connections.
pub const CONNECTIONS: usize = 64;

/// A request unanswered for as long after the last one is lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// Octets of a response, at most.
const RESPONSE_LEN: usize = 4096;

/// Requests ready to send: on connections that stay, and on those that do not.
pub struct Requests([Vec<Vec<u8>>; 2]);

impl Requests {
    /// One for each client.
    pub fn new(clients: &[IpAddr]) -> Self {
        let requests = |more: &str| {
            let request = |(number, client): (usize, &IpAddr)| {
                format!(
                    "GET /title/{}/seg.m4s HTTP/1.1\r\nHost: video.cdn.example\r\nUser-Agent: player/1.0\r\nX-Forwarded-For: {client}\r\n{more}\r\n",
                    number % 1000
                )
                .into_bytes()
            };
            clients.iter().enumerate().map(request).collect()
        };
        Self([requests(""), requests("Connection: close\r\n")])
    }
}

/// A connection and what it waits for.
struct Connection {
    stream: TcpStream,
    /// What came of the response so far.
    response: Vec<u8>,
    /// When the request under way was due, in nanoseconds, and for which client.
    pending: Option<(u64, usize)>,
}

/// A generator for one server.
pub struct HttpLoad<'a> {
    server: SocketAddr,
    requests: &'a Requests,
    check: Box<dyn Check + 'a>,
    /// Whether a connection serves for one request only.
    is_once: bool,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    epoll: Epoll,
    next: usize,
}

impl<'a> HttpLoad<'a> {
    /// One with its connections open, which holds every response to `check`; `is_once`: a connection a
    /// request.
    pub fn new(server: SocketAddr, requests: &'a Requests, check: impl Check + 'a, is_once: bool) -> Self {
        let epoll = Epoll::new();
        let open = |token| Connection {
            stream: connect(server, &epoll, token),
            response: Vec::with_capacity(RESPONSE_LEN),
            pending: None,
        };
        let connections = (0..CONNECTIONS).map(open).collect();
        let idle = (0..CONNECTIONS).collect();
        Self { server, requests, check: Box::new(check), is_once, connections, idle, epoll, next: 0 }
    }

    /// Asks for `time`, at `rps` requests a second or at once when the last one is answered.
    pub fn run(&mut self, rps: Option<u64>, time: Duration) -> Seen {
        self.run_while(rps, |elapsed| elapsed < time)
    }

    /// Asks as long as `goes_on`, told the time since the beginning, says so.
    pub fn run_while(&mut self, rps: Option<u64>, mut goes_on: impl FnMut(Duration) -> bool) -> Seen {
        let mut seen = Seen::default();
        let usage = Usage::of_this_thread();
        let begin = clock_ns();
        let mut last = begin;
        let mut ready = Vec::new();
        loop {
            let now = clock_ns();
            if !goes_on(Duration::from_nanos(now - begin)) {
                break;
            }
            while !self.idle.is_empty() {
                let due = rps.map_or(now, |rps| begin + seen.sent * 1_000_000_000 / rps);
                if due > now {
                    break;
                }
                seen.sent += 1;
                self.ask(due, &mut seen);
            }
            ready.clear();
            ready.extend(self.epoll.wait(Some(0)));
            for &token in &ready {
                if self.take(token, &mut seen) {
                    let now = clock_ns();
                    seen.silence = seen.silence.max(Duration::from_nanos(now - last));
                    last = now;
                }
            }
        }
        seen.silence = seen.silence.max(Duration::from_nanos(clock_ns() - last));
        seen.elapsed = Duration::from_nanos(clock_ns() - begin);
        seen.usage = Usage::of_this_thread() - usage;
        seen
    }

    /// Waits for what is under way; what does not come is lost.
    pub fn drain(&mut self) -> Seen {
        let mut seen = Seen::default();
        let begin = clock_ns();
        while self.idle.len() < CONNECTIONS && clock_ns() - begin < PATIENCE.as_nanos() as u64 {
            let ready: Vec<usize> = self.epoll.wait(Some(1)).collect();
            for token in ready {
                self.take(token, &mut seen);
            }
        }
        for token in 0..CONNECTIONS {
            if self.connections[token].pending.take().is_some() {
                seen.lost += 1;
                self.renew(token);
                self.idle.push(token);
            }
        }
        seen
    }

    /// Sends the next request on an idle connection.
    fn ask(&mut self, due: u64, seen: &mut Seen) {
        let token = self.idle.pop().expect("the caller looked");
        let requests = &self.requests.0[usize::from(self.is_once)];
        let client = self.next;
        self.next = (self.next + 1) % requests.len();
        self.connections[token].pending = Some((due, client));
        if self.connections[token].stream.write_all(&requests[client]).is_err() {
            // It was closed between two requests: ask again on a new one.
            self.renew(token);
            let again = self.connections[token].stream.write_all(&requests[client]);
            seen.lost += u64::from(again.is_err());
        }
    }

    /// Reads what a connection has; whether a response became whole.
    fn take(&mut self, token: usize, seen: &mut Seen) -> bool {
        let now = clock_ns();
        let connection = &mut self.connections[token];
        let mut buffer = [0; RESPONSE_LEN];
        let len = match connection.stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Ok(len) if len > 0 => len,
            _ => {
                // Ended by the server: in the middle of something, or while idle.
                let was_asked = connection.pending.take().is_some();
                seen.lost += u64::from(was_asked);
                self.renew(token);
                if was_asked {
                    self.idle.push(token);
                }
                return false;
            }
        };
        connection.response.extend_from_slice(&buffer[..len]);
        let Some((location, is_redirect)) = whole(&connection.response) else { return false };
        let Some((due, client)) = connection.pending.take() else { return false };
        seen.answered += 1;
        seen.latency.add(now.saturating_sub(due));
        seen.checked += 1;
        let cluster = world::cluster_of_location(location).filter(|_| is_redirect);
        let right = self.check.check(client, due, now, cluster.as_slice());
        if let Err(what) = right {
            seen.wrong(format!("{what}: {}", String::from_utf8_lossy(&connection.response)));
        }
        connection.response.clear();
        if self.is_once {
            self.renew(token);
        }
        self.idle.push(token);
        true
    }

    /// Opens a connection anew.
    fn renew(&mut self, token: usize) {
        let connection = &mut self.connections[token];
        connection.response.clear();
        connection.stream = connect(self.server, &self.epoll, token);
    }
}

/// Opens a connection that `epoll` calls `token`.
fn connect(server: SocketAddr, epoll: &Epoll, token: usize) -> TcpStream {
    let stream = (0..200).find_map(|_| {
        TcpStream::connect(server).inspect_err(|_| std::thread::sleep(Duration::from_millis(5))).ok()
    });
    let stream = stream.expect("the server listens");
    stream.set_nodelay(true).expect("a socket option");
    stream.set_nonblocking(true).expect("a socket option");
    // Closed without a wait, or thousands of connections a second would use up all ports.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket option");
    epoll.add(&stream, token);
    stream
}

/// The `Location` of a response and whether it is a 302, once all of it is there.
fn whole(response: &[u8]) -> Option<(&[u8], bool)> {
    let head = response.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let mut location: &[u8] = b"";
    let mut body = 0;
    for line in response[..head].split(|&octet| octet == b'\n') {
        let Some(colon) = line.iter().position(|&octet| octet == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"location") {
            location = value;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            body = std::str::from_utf8(value).ok()?.parse().ok()?;
        }
    }
    let is_redirect = response.get(9..12) == Some(b"302");
    (response.len() >= head + body).then_some((location, is_redirect))
}
