//! Usual HTTP/1.1 requests, answered by an event loop of this thread's own.
//!
//! Own code where hyper could do it, for its cost: with hyper on tokio a redirect took 20,700
//! instructions in user space and 1.86 times the CPU time of a program that only receives and sends;
//! here it takes 7,500 and 1.15 times (64 kept connections, 1.33 M prefixes). What is usual is said by
//! [`crate::http::octets`]: GET and HEAD of HTTP/1.1 without anything that could be read in two ways.
//! A connection that brings anything else goes, with what was read of it, to hyper on the thread
//! beside this one ([`super::http`]), for good. So HTTP/2, bodies, odd heads and all refusals of heads
//! are hyper's.
//!
//! ```text
//! for each that is ready: read ─► answer every whole head ─┐
//! then for each of them:  one write ◄── the thread's output┘
//!                           │ then, was there anything unusual: to hyper's thread
//!                           └ socket full: `Connection::unsent`, and nothing is read
//! ```
//!
//! Reading and writing take turns a batch at a time, so that a client that waits for several replies is
//! woken once, and processors find the code of either in their caches.
//!
//! A connection holds memory of its own only for the start of a head that is not whole yet (at most
//! `Limits::head_len`) and for what the client does not take (about [`OUTPUT_LEN`]; then nothing is read).
//! Events are edges (epoll(7)): a read that does not fill the buffer has emptied the socket.
//! Layer 8. Tests: below.

use crate::http::octets::{Parsed, Room, compose, may_be_whole, parse};
use crate::proxy::{self, Parsed as Introduction};
use crate::serve::accept::{Entrance, GRACE, REST, Turned, is_of_one_connection};
use crate::serve::gate::Permit;
use crate::serve::http::{Cut, Handed, Limits, Respond};
use crate::serve::life::Life;
use httpdate::HttpDate;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::SockRef;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::UnboundedSender;

/// Octets of replies after which they are written before further requests are answered.
const OUTPUT_LEN: usize = 16 << 10;

/// Events taken at a time.
const EVENTS: usize = 256;

/// Connections read from before they are written to, at most.
const BATCH: usize = 64;

/// Connections accepted before those that are open are served again.
const ACCEPTED_MAX: usize = 64;

/// How long the thread waits without looking at the server's phase.
const TICK: Duration = Duration::from_millis(100);

/// How often connections are looked at that have run out of time.
const SWEEP: Duration = Duration::from_secs(1);

/// One thread's redirects.
pub(super) struct Worker<R> {
    poll: Poll,
    /// Listening sockets, and what their connections are let in by.
    listeners: Vec<(TcpListener, Entrance)>,
    /// Listeners that are not asked before this moment: the process ran out of something.
    resting: Option<Instant>,
    /// Open connections. Their tokens come after those of the listeners.
    open: Slab<Connection>,
    /// Tokens of listeners.
    first_token: usize,
    desk: R,
    /// Whether requests may ask for DNS, which is not for us.
    has_dns: bool,
    life: Life,
    limits: Limits,
    /// Where connections go that are not for us.
    others: UnboundedSender<Handed>,
    is_closing: bool,
    /// Of the batch.
    now: Instant,
    /// Requests answered in the batch.
    answered: u64,
    date: DateText,
    /// What is read of one connection: two heads of the greatest length.
    input: Box<[u8]>,
    /// Replies to those in `due`, one after the other.
    output: Vec<u8>,
    /// Connections that were read from and are to be written to.
    due: Vec<Due>,
    /// Connections to be read from although nothing happened.
    again: Vec<usize>,
}

/// What is to be written to a connection, and what then.
#[derive(Debug, Clone, Copy)]
struct Due {
    key: usize,
    /// Where its replies start in the output; they end where the next ones start.
    from: usize,
    end: End,
    /// Whether there may be more to read: the buffer was filled, or the client has ended.
    has_more: bool,
}

/// A client.
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    /// Its place, held until it is closed.
    permit: Permit,
    /// Whether a PROXY header has to come first.
    is_unknown: bool,
    /// What it is registered for.
    interest: Option<Interest>,
    /// When what it waits for began: a request to come, a head to be whole, its replies to be taken.
    since: Instant,
    /// Read, but not answered: the start of a head, or what stood behind replies that were not taken.
    kept: Vec<u8>,
    /// Whether there may be whole heads in `kept`.
    is_unparsed: bool,
    /// Whether it is in [`Worker::due`].
    is_due: bool,
    /// Replies that the socket did not take yet.
    unsent: Vec<u8>,
    /// Whether it ends with them.
    is_last: bool,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It waits for more requests.
    Read,
    /// It may have more already.
    Again,
    /// It waits until the client takes what it was sent.
    Write,
    /// It is over.
    Close,
    /// It goes to hyper with what is in `kept`.
    HandOver,
}

/// Why no further request was answered from what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The rest is nothing or the start of a head.
    Partial,
    /// The rest is not for us.
    Unusual,
    /// It was the last one.
    Last,
    /// There is enough to be sent first.
    Enough,
}

impl<R: Respond> Worker<R> {
    /// One that will accept on `listeners`, answer by `desk`, and give what it cannot to `others`.
    ///
    /// # Errors
    /// When the system gives no event queue.
    pub(super) fn new(
        listeners: Vec<(std::net::TcpListener, Entrance)>,
        desk: R,
        has_dns: bool,
        life: Life,
        limits: Limits,
        others: UnboundedSender<Handed>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut ours = Vec::with_capacity(listeners.len());
        for (index, (listener, entrance)) in listeners.into_iter().enumerate() {
            listener.set_nonblocking(true)?;
            // Accepted sockets inherit it. Replies are written whole; waiting for more gains nothing.
            SockRef::from(&listener).set_tcp_nodelay(true)?;
            let mut listener = TcpListener::from_std(listener);
            poll.registry().register(&mut listener, Token(index), Interest::READABLE)?;
            ours.push((listener, entrance));
        }
        let now = Instant::now();
        Ok(Self {
            poll,
            first_token: ours.len(),
            listeners: ours,
            resting: None,
            open: Slab::new(),
            desk,
            has_dns,
            life,
            limits,
            others,
            is_closing: false,
            now,
            answered: 0,
            date: DateText { text: String::new(), until: now },
            input: vec![0; 2 * limits.head_len].into(),
            output: Vec::new(),
            due: Vec::with_capacity(BATCH),
            again: Vec::new(),
        })
    }

    /// Serves until the server closes, and a moment longer those that are in the middle of something.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut swept = self.now;
        while !self.life.is_closing() {
            self.turn(&mut events, TICK);
            if self.now.duration_since(swept) >= SWEEP {
                swept = self.now;
                self.sweep();
            }
        }
        self.close();
        let until = self.now + GRACE;
        while !self.open.is_empty() && self.now < until {
            self.turn(&mut events, TICK);
        }
    }

    /// Waits at most `wait` for something to do, and does it.
    fn turn(&mut self, events: &mut Events, wait: Duration) {
        let rest = |until: Instant| until.saturating_duration_since(self.now);
        let wait = if self.again.is_empty() { wait } else { Duration::ZERO };
        let wait = self.resting.map_or(wait, |until| wait.min(rest(until)));
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                // No queue of ours can be in a state that makes this fail; do not spin if it is.
                tracing::error!(%error, "http: cannot wait for events");
                std::thread::sleep(wait);
            }
            Err(_) => events.clear(),
            Ok(()) => {}
        }
        self.now = Instant::now();
        self.desk.at(self.now);
        self.answered = 0;
        for key in std::mem::take(&mut self.again) {
            self.serve(key, true);
        }
        for event in events.iter() {
            match event.token().0.checked_sub(self.first_token) {
                None => self.accept(event.token().0),
                Some(key) => self.serve(key, event.is_read_closed()),
            }
        }
        if self.resting.is_some_and(|until| self.now >= until) {
            self.resting = None;
            (0..self.listeners.len()).for_each(|index| self.accept(index));
        }
        self.deliver();
        if self.answered > 0 {
            let each = self.now.elapsed().as_nanos() / u128::from(self.answered);
            self.desk.note(u64::try_from(each).unwrap_or(u64::MAX), self.answered);
        }
    }

    /// Accepts what waits at a listener.
    fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTED_MAX {
            let Some((listener, entrance)) = self.listeners.get(index) else { return };
            match listener.accept() {
                Ok((stream, peer)) => match entrance.enter(peer) {
                    Ok(permit) => {
                        let is_unknown = entrance.speakers.is_some();
                        let connection = Connection::new(stream, peer, permit, is_unknown, self.now);
                        let key = self.open.insert(connection);
                        // Most clients have sent by now; the others are waited for.
                        self.serve(key, false);
                    }
                    Err(why) => self.desk.refused(why),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    self.resting = Some(self.now + REST);
                    return;
                }
            }
        }
        // Others first; the listener is asked again with the next events.
        self.resting = Some(self.now);
    }

    /// Reads from a connection and answers. `is_ended`: there may be more to read than one read gets
    /// and no event for it, as when the client sends no more.
    fn serve(&mut self, key: usize, is_ended: bool) {
        if self.due.len() >= BATCH || self.open.get(key).is_some_and(|connection| connection.is_due) {
            self.deliver();
        }
        // It may be about a connection that was closed in this batch.
        if !self.open.contains(key) {
            return;
        }
        let from = self.output.len();
        // What a panic leaves half done is not used again: the connection is closed, the desk told.
        let next = catch_unwind(AssertUnwindSafe(|| self.receive(key, is_ended))).unwrap_or_else(|_| {
            self.output.truncate(from);
            self.desk.recover();
            Some(Next::Close)
        });
        if let Some(next) = next {
            self.settle(key, next);
        }
    }

    /// Reads from a connection that has taken all it was sent, and answers into the output. What
    /// becomes of it; `None` when it is due.
    fn receive(&mut self, key: usize, is_ended: bool) -> Option<Next> {
        let connection = &mut self.open[key];
        let was_stuck = !connection.unsent.is_empty();
        match connection.flush() {
            Err(_) => return Some(Next::Close),
            Ok(false) => return Some(Next::Write),
            Ok(true) if connection.is_last => return Some(Next::Close),
            Ok(true) if was_stuck => connection.since = self.now,
            Ok(true) => {}
        }
        let known = connection.kept.len();
        self.input[..known].copy_from_slice(&connection.kept);
        let (mut parsed, mut len) = if connection.is_unparsed {
            (0, known)
        } else {
            match connection.stream.read(&mut self.input[known..]) {
                Ok(0) => return Some(Next::Close),
                Ok(count) => (known, known + count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(Next::Read),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Some(Next::Again),
                Err(_) => return Some(Next::Close),
            }
        };
        let has_more = is_ended || connection.is_unparsed || len == self.input.len();
        if connection.is_unknown {
            match connection.introduce(&self.input[..len]) {
                Ok(Some(header_len)) => {
                    self.input.copy_within(header_len..len, 0);
                    (parsed, len) = (0, len - header_len);
                }
                Ok(None) => {
                    connection.kept = self.input[..len].to_vec();
                    return Some(if has_more { Next::Again } else { Next::Read });
                }
                Err(why) => {
                    self.desk.refused(why);
                    return Some(Next::Close);
                }
            }
        }
        let (from, peer) = (self.output.len(), connection.peer);
        let (used, end) = self.answer(peer, len, parsed);
        let connection = &mut self.open[key];
        // A head has begun where there was none, or after those that were answered.
        if used > 0 || known == 0 {
            connection.since = self.now;
        }
        connection.kept = self.input[used..len].to_vec();
        connection.is_unparsed = end == End::Enough;
        connection.is_due = true;
        self.due.push(Due { key, from, end, has_more });
        None
    }

    /// Writes what is due.
    fn deliver(&mut self) {
        let due = std::mem::take(&mut self.due);
        let ends = due.iter().skip(1).map(|next| next.from).chain([self.output.len()]);
        for (&Due { key, from, end, has_more }, to) in due.iter().zip(ends) {
            let connection = &mut self.open[key];
            connection.is_due = false;
            let next = match connection.send(&self.output[from..to]) {
                Err(_) => Next::Close,
                Ok(false) => {
                    // Whatever the end was, it is found again when the client has taken this.
                    connection.is_unparsed = true;
                    connection.is_last = end == End::Last;
                    connection.since = self.now;
                    Next::Write
                }
                Ok(true) => match end {
                    End::Last => Next::Close,
                    End::Unusual => Next::HandOver,
                    // hyper knows what to say to that.
                    End::Partial if connection.kept.len() >= self.limits.head_len => Next::HandOver,
                    End::Partial if !has_more => Next::Read,
                    End::Partial | End::Enough => Next::Again,
                },
            };
            self.settle(key, next);
        }
        self.output.clear();
        self.due = due;
        self.due.clear();
    }

    /// Waits for what comes `next` on a connection, or ends it.
    fn settle(&mut self, key: usize, next: Next) {
        let connection = &mut self.open[key];
        let wanted = match next {
            Next::Read if self.is_closing && connection.kept.is_empty() => None,
            Next::Read | Next::Again => Some(Interest::READABLE),
            Next::Write => Some(Interest::WRITABLE),
            Next::Close | Next::HandOver => None,
        };
        let (token, registry) = (Token(key + self.first_token), self.poll.registry());
        let is_registered = match (connection.interest, wanted) {
            (_, None) => false,
            (None, Some(interest)) => registry.register(&mut connection.stream, token, interest).is_ok(),
            (Some(old), Some(interest)) if old == interest => true,
            (Some(_), Some(interest)) => registry.reregister(&mut connection.stream, token, interest).is_ok(),
        };
        connection.interest = wanted;
        if next == Next::Again {
            self.again.push(key);
        }
        if !is_registered {
            let connection = self.open.remove(key);
            if next == Next::HandOver {
                self.hand_over(connection);
            }
        }
    }

    /// Gives a connection to hyper.
    fn hand_over(&self, mut connection: Connection) {
        // It may never have been registered.
        let _ = self.poll.registry().deregister(&mut connection.stream);
        let Connection { stream, peer, permit, kept, .. } = connection;
        // Nobody takes it any more when the server ends.
        let _ = self.others.send(Handed { stream: stream.into(), peer, permit, read: kept });
    }

    /// Answers the whole heads among the first `len` octets of the input into the output. `parsed` octets were parsed before without being a whole head. How many octets
    /// were answered, and why no more.
    fn answer(&mut self, peer: SocketAddr, len: usize, parsed: usize) -> (usize, End) {
        let from = self.output.len();
        let (input, head_len) = (&self.input[..len], self.limits.head_len);
        if parsed > 0 && !may_be_whole(input, parsed) {
            return (0, End::Partial);
        }
        let mut used = 0;
        while used < len {
            let mut room = Room::new();
            let request = match parse(&input[used..], &mut room) {
                Parsed::Usual(request) if self.has_dns && request.is_dns() => return (used, End::Unusual),
                Parsed::Usual(request) if request.len <= head_len => request,
                Parsed::Usual(_) | Parsed::Unusual => return (used, End::Unusual),
                Parsed::Partial => break,
            };
            used += request.len;
            self.answered += 1;
            let is_last = request.is_last || self.is_closing;
            let reply = self.desk.respond(&request.head(peer.ip()));
            compose(reply, is_last, self.date.at(self.now), &mut self.output);
            if is_last {
                return (used, End::Last);
            }
            if self.output.len() - from >= OUTPUT_LEN {
                return (used, End::Enough);
            }
        }
        (used, End::Partial)
    }

    /// Closes connections that have waited too long: each kind of wait has its limit.
    fn sweep(&mut self) {
        let Self { open, desk, limits, now, .. } = self;
        open.retain(|_, connection| {
            let (limit, why) = connection.patience(limits);
            let is_patient = now.duration_since(connection.since) < limit;
            if !is_patient {
                desk.cut(why);
            }
            is_patient
        });
    }

    /// Takes nothing new. What clients have sent by now is answered, then idle connections end.
    fn close(&mut self) {
        self.is_closing = true;
        self.listeners.clear();
        let keys: Vec<usize> = self.open.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.serve(key, false));
        self.deliver();
    }
}

impl Connection {
    /// One that has come from `peer`.
    fn new(stream: TcpStream, peer: SocketAddr, permit: Permit, is_unknown: bool, now: Instant) -> Self {
        Self {
            stream,
            peer,
            permit,
            is_unknown,
            interest: None,
            since: now,
            kept: Vec::new(),
            is_unparsed: false,
            is_due: false,
            unsent: Vec::new(),
            is_last: false,
        }
    }

    /// How long it may wait for what it waits for, and what it is called when it waits longer.
    fn patience(&self, limits: &Limits) -> (Duration, Cut) {
        if !self.unsent.is_empty() {
            (limits.send, Cut::SlowReader)
        } else if self.kept.is_empty() && !self.is_unknown {
            (limits.idle, Cut::Idle)
        } else {
            (limits.head, Cut::SlowHead)
        }
    }

    /// Takes note of whose it is, as the header says that `octets` begin with, and says how long that is;
    /// `None` when it is not whole yet.
    ///
    /// # Errors
    /// It is no header, or that client has too many connections.
    fn introduce(&mut self, octets: &[u8]) -> Result<Option<usize>, Turned> {
        match proxy::parse(octets) {
            Introduction::Partial => Ok(None),
            Introduction::Wrong => Err(Turned::NotIntroduced),
            Introduction::Whole(header) => {
                self.peer = header.client.unwrap_or(self.peer);
                self.permit.assign(self.peer.ip())?;
                self.is_unknown = false;
                Ok(Some(header.len))
            }
        }
    }

    /// Sends `octets`; what the socket does not take is unsent. Whether it took all.
    ///
    /// # Errors
    /// When the connection is broken.
    fn send(&mut self, octets: &[u8]) -> io::Result<bool> {
        let taken = write_some(&mut self.stream, octets)?;
        self.unsent = octets[taken..].to_vec();
        Ok(self.unsent.is_empty())
    }

    /// Sends what is unsent. Whether nothing is any more.
    ///
    /// # Errors
    /// When the connection is broken.
    fn flush(&mut self) -> io::Result<bool> {
        if self.unsent.is_empty() {
            return Ok(true);
        }
        let taken = write_some(&mut self.stream, &self.unsent)?;
        self.unsent.drain(..taken);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        Ok(self.unsent.is_empty())
    }
}

/// Writes as much of `octets` as `stream` takes. How many that was.
fn write_some(stream: &mut TcpStream, octets: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < octets.len() {
        match stream.write(&octets[taken..]) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// The date as replies say it, written anew every second.
#[derive(Debug)]
struct DateText {
    text: String,
    /// When the clock's second ends.
    until: Instant,
}

impl DateText {
    /// The date at `now`.
    fn at(&mut self, now: Instant) -> &str {
        if now >= self.until {
            let clock = SystemTime::now();
            let passed = clock.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
            self.text = HttpDate::from(clock).to_string();
            self.until = now + Duration::from_secs(1) - Duration::from_nanos(u64::from(passed));
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::HEAD_LEN;
    use super::*;
    use crate::health::State;
    use crate::http::tests::{HOPS, NAMES, Numbers, TARGETS, settings, world};
    use crate::http::{self, Head, Reply};
    use crate::proxy::Speakers;
    use crate::serve::gate::Gate;
    use crate::serve::http::converse;
    use crate::serve::life::Phase;
    use crate::snapshot::Snapshot;
    use http_body_util::Full;
    use hyper::StatusCode;
    use std::cell::RefCell;
    use std::future::ready;
    use std::net::{IpAddr, TcpStream as Client};
    use std::rc::Rc;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::runtime;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use tokio::task::LocalSet;

    /// Answers with the path asked for; panics at `/panic`.
    #[derive(Default)]
    struct TellPath {
        reply: Reply,
        answered: u64,
        refused: u64,
        not_introduced: u64,
        recovered: u64,
        cuts: Vec<Cut>,
        peer: Option<IpAddr>,
    }

    impl Respond for TellPath {
        fn respond(&mut self, head: &Head<'_>) -> &Reply {
            let path = head.asked.path_and_query.expect("a path");
            assert_ne!(path, "/panic", "told to");
            self.peer = Some(head.peer);
            self.reply.start(StatusCode::OK);
            self.reply.set_body(path.as_bytes());
            &self.reply
        }

        fn note(&mut self, _: u64, count: u64) {
            self.answered += count;
        }

        fn refused(&mut self, why: Turned) {
            match why {
                Turned::Full | Turned::NetworkFull => self.refused += 1,
                Turned::NotIntroduced => self.not_introduced += 1,
            }
        }

        fn cut(&mut self, why: Cut) {
            self.cuts.push(why);
        }

        fn recover(&mut self) {
            self.recovered += 1;
        }
    }

    /// A worker that does something only when told, and where what it hands over goes.
    struct Rig {
        worker: Worker<TellPath>,
        handed: UnboundedReceiver<Handed>,
        addr: SocketAddr,
        events: Events,
    }

    /// Long enough not to end a test.
    const LIMITS: Limits = Limits {
        head_len: HEAD_LEN,
        head: Duration::from_secs(60),
        idle: Duration::from_secs(90),
        send: Duration::from_secs(30),
        streams: 64,
        unanswered_len: u64::MAX,
    };

    /// What is read at a time.
    const INPUT_LEN: usize = 2 * HEAD_LEN;

    impl Rig {
        /// One that lets in `open_max` connections.
        fn new(open_max: usize) -> Self {
            Self::behind(None, open_max, false)
        }

        /// The same behind proxies, and beside somebody who answers DNS.
        fn behind(speakers: Option<&str>, open_max: usize, has_dns: bool) -> Self {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            let addr = listener.local_addr().expect("bound");
            let (others, handed) = unbounded_channel();
            let prefixes = |text: &str| vec![text.parse().expect("a prefix")];
            let speakers = speakers.map(|text| Arc::new(Speakers(prefixes(text))));
            let entrance = Entrance { gate: Gate::new(open_max, open_max, Vec::new()), speakers };
            let desk = TellPath::default();
            let worker = Worker::new(vec![(listener, entrance)], desk, has_dns, Life::new(), LIMITS, others);
            let worker = worker.expect("an event queue");
            Self { worker, handed, addr, events: Events::with_capacity(16) }
        }

        /// A client whose reads do not wait.
        fn connect(&self) -> Client {
            let client = Client::connect(self.addr).expect("loopback");
            client.set_nonblocking(true).expect("an option");
            client.set_nodelay(true).expect("an option");
            client
        }

        /// Lets the worker do what there is to do until `done` says something.
        fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
            for _ in 0..2_000 {
                self.worker.turn(&mut self.events, Duration::from_millis(5));
                if let Some(found) = done(self) {
                    return found;
                }
            }
            panic!("nothing happens");
        }

        /// What `client` receives until it has `count` octets or the end.
        fn read(&mut self, client: &mut Client, count: usize) -> String {
            let mut received = Vec::new();
            self.until(|_| {
                let mut buffer = [0; 4096];
                loop {
                    match client.read(&mut buffer) {
                        Ok(0) => return Some(()),
                        Ok(len) => received.extend_from_slice(&buffer[..len]),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                (received.len() >= count).then_some(())
            });
            String::from_utf8(received).expect("text")
        }

        /// All that `client` receives.
        fn read_all(&mut self, client: &mut Client) -> String {
            self.read(client, usize::MAX)
        }
    }

    /// A request for `path`.
    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
    }

    /// The bodies in a stream of responses, each of which is a path.
    fn paths(responses: &str) -> Vec<&str> {
        responses
            .split("HTTP/1.1 200 OK\r\n")
            .skip(1)
            .filter_map(|r| Some(r.split_once("\r\n\r\n")?.1))
            .collect()
    }

    #[test]
    fn rfc9112_s9_3_2_requests_sent_without_waiting_are_answered_in_order() {
        let mut rig = Rig::new(9);
        let mut client = rig.connect();
        client.write_all([get("/one"), get("/two"), get("/three")].concat().as_bytes()).expect("sent");
        client.shutdown(std::net::Shutdown::Write).expect("half closed");
        let received = rig.read_all(&mut client);
        assert_eq!(paths(&received), ["/one", "/two", "/three"]);
        assert_eq!((rig.worker.desk.answered, rig.worker.open.len()), (3, 0));
    }

    #[test]
    fn a_head_may_come_in_any_pieces() {
        let mut rig = Rig::new(9);
        let mut client = rig.connect();
        for octet in [get("/slow"), get("/and/again")].concat().into_bytes() {
            client.write_all(&[octet]).expect("sent");
            rig.worker.turn(&mut rig.events, Duration::from_millis(5));
        }
        let received = rig.read(&mut client, 2 * 80);
        assert_eq!(paths(&received), ["/slow", "/and/again"]);
        let (_, connection) = rig.worker.open.iter().next().expect("it is open");
        assert_eq!((connection.kept.capacity(), connection.unsent.capacity()), (0, 0), "idle, and small");
    }

    #[test]
    fn what_is_not_usual_is_handed_over_as_it_came() {
        for unusual in [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.0\r\n\r\n",
        ] {
            let mut rig = Rig::new(9);
            let mut client = rig.connect();
            client.write_all([&get("/first"), unusual].concat().as_bytes()).expect("sent");
            let handed = rig.until(|rig| rig.handed.try_recv().ok());
            assert_eq!(String::from_utf8_lossy(&handed.read), unusual);
            assert_eq!(handed.peer, client.local_addr().expect("connected"));
            assert_eq!(paths(&rig.read(&mut client, 80)), ["/first"], "before it was handed over");
            assert_eq!((rig.worker.open.len(), rig.worker.listeners[0].1.gate.count()), (0, 1));
        }
    }

    #[test]
    fn a_request_is_that_of_whom_the_proxy_names() {
        let mut rig = Rig::behind(Some("127.0.0.1/32"), 9, false);
        let mut client = rig.connect();
        let line = "PROXY TCP4 192.0.2.1 192.0.2.2 4096 80\r\n";
        let sent = [line, &get("/first"), &get("/second")].concat();
        // In pieces: within the header, at its end, behind it.
        for piece in
            [&sent[..9], &sent[9..line.len()], &sent[line.len()..line.len() + 5], &sent[line.len() + 5..]]
        {
            client.write_all(piece.as_bytes()).expect("sent");
            rig.worker.turn(&mut rig.events, Duration::from_millis(5));
        }
        assert_eq!(paths(&rig.read(&mut client, 2 * 80)), ["/first", "/second"]);
        assert_eq!(rig.worker.desk.peer, "192.0.2.1".parse().ok());
        // Handed over, it is that client's still.
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").expect("sent");
        let handed = rig.until(|rig| rig.handed.try_recv().ok());
        assert_eq!(handed.peer, "192.0.2.1:4096".parse().expect("an address"));
        let mut own = rig.connect();
        own.write_all(["PROXY UNKNOWN\r\n", &get("/the/proxys")].concat().as_bytes()).expect("sent");
        assert_eq!(paths(&rig.read(&mut own, 80)), ["/the/proxys"]);
        assert_eq!(rig.worker.desk.peer, "127.0.0.1".parse().ok());
        for bare in [get("/bare"), "PROXY TCP4 192.0.2.1\r\n".to_owned()] {
            let mut client = rig.connect();
            client.write_all(bare.as_bytes()).expect("sent");
            assert_eq!(rig.read_all(&mut client), "");
        }
        assert_eq!(rig.worker.desk.not_introduced, 2);
        let mut rig = Rig::behind(Some("10.0.0.0/8"), 9, false);
        let mut stranger = rig.connect();
        assert_eq!(rig.read_all(&mut stranger), "");
        assert_eq!(rig.worker.desk.not_introduced, 1);
    }

    #[test]
    fn what_asks_for_dns_is_handed_over_where_somebody_answers() {
        for (has_dns, path) in [(true, "/dns-query"), (true, "/dns-query?dns=AAAA")] {
            let mut rig = Rig::behind(None, 9, has_dns);
            let mut client = rig.connect();
            client.write_all(get(path).as_bytes()).expect("sent");
            let handed = rig.until(|rig| rig.handed.try_recv().ok());
            assert_eq!(String::from_utf8_lossy(&handed.read), get(path));
        }
        for (has_dns, path) in [(false, "/dns-query"), (true, "/dns-queries"), (true, "/a?/dns-query")] {
            let mut rig = Rig::behind(None, 9, has_dns);
            let mut client = rig.connect();
            client.write_all(get(path).as_bytes()).expect("sent");
            assert_eq!(paths(&rig.read(&mut client, 80)), [path]);
        }
    }

    #[test]
    fn a_head_above_the_limit_is_handed_over() {
        let whole = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(HEAD_LEN));
        for sent in [&whole[..HEAD_LEN], &whole] {
            let mut rig = Rig::new(9);
            let mut client = rig.connect();
            client.write_all(sent.as_bytes()).expect("sent");
            let handed = rig.until(|rig| rig.handed.try_recv().ok());
            assert!(handed.read.len() >= HEAD_LEN && handed.read.len() <= INPUT_LEN);
        }
    }

    #[test]
    fn a_client_that_does_not_read_is_not_read_from() {
        let mut rig = Rig::new(9);
        let mut client = rig.connect();
        let path = format!("/{}", "x".repeat(8_000));
        let requests = get(&path).repeat(2_000).into_bytes();
        let (mut sent, mut stuck) = (0, 0);
        // Until neither side moves.
        while stuck < 20 && sent < requests.len() {
            match client.write(&requests[sent..]) {
                Ok(count) => (sent, stuck) = (sent + count, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => stuck += 1,
                Err(error) => panic!("{error}"),
            }
            rig.worker.turn(&mut rig.events, Duration::from_millis(1));
        }
        assert!(sent < requests.len(), "16 MB are more than sockets hold");
        let (_, connection) = rig.worker.open.iter().next().expect("it is open");
        let held = connection.kept.len() + connection.unsent.len();
        assert!(!connection.unsent.is_empty() && held < 2 * OUTPUT_LEN + INPUT_LEN, "{held}");
        assert_eq!(connection.patience(&LIMITS), (LIMITS.send, Cut::SlowReader));
        // It reads after all.
        let mut received = Vec::new();
        rig.until(|_| {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count) = client.read(&mut buffer) {
                received.extend_from_slice(&buffer[..count]);
            }
            while sent < requests.len() {
                let Ok(count) = client.write(&requests[sent..]) else { break };
                sent += count;
            }
            (received.windows(5).filter(|five| five == b"\r\n\r\n/").count() == 2_000).then_some(())
        });
        assert!(received.ends_with(path.as_bytes()));
    }

    #[test]
    fn a_connection_without_requests_is_closed_in_time() {
        let mut rig = Rig::new(9);
        let mut clients: Vec<Client> = (0..3).map(|_| rig.connect()).collect();
        clients[1].write_all(b"GET / HTT").expect("sent");
        clients[2].write_all(get("/late").as_bytes()).expect("sent");
        rig.read(&mut clients[2], 80);
        rig.until(|rig| (rig.worker.open.len() == 3).then_some(()));
        let since: Vec<Instant> = rig.worker.open.iter().map(|(_, open)| open.since).collect();
        let last = *since.iter().max().expect("three");
        rig.worker.now = since[0].min(since[1]) + LIMITS.head - Duration::from_millis(1);
        rig.worker.sweep();
        assert_eq!(rig.worker.open.len(), 3);
        rig.worker.now = last + LIMITS.head;
        rig.worker.sweep();
        assert_eq!((rig.worker.open.len(), &rig.worker.desk.cuts[..]), (2, &[Cut::SlowHead][..]));
        rig.worker.now = last + LIMITS.idle;
        rig.worker.sweep();
        assert_eq!(rig.worker.desk.cuts[1..], [Cut::Idle, Cut::Idle]);
        assert_eq!((rig.worker.open.len(), rig.worker.listeners[0].1.gate.count()), (0, 0));
        for client in &mut clients {
            assert_eq!(rig.read_all(client), "", "not answered");
        }
    }

    #[test]
    fn a_closing_server_ends_connections_between_requests() {
        let mut rig = Rig::new(9);
        let (mut idle, mut middle, mut late) = (rig.connect(), rig.connect(), rig.connect());
        middle.write_all(b"GET /midd").expect("sent");
        rig.until(|rig| (rig.worker.open.len() == 3).then_some(()));
        rig.until(|rig| rig.worker.open.iter().any(|(_, open)| !open.kept.is_empty()).then_some(()));
        late.write_all(get("/late").as_bytes()).expect("sent");
        rig.worker.close();
        assert_eq!(rig.read_all(&mut idle), "");
        let received = rig.read_all(&mut late);
        assert!(received.contains("Connection: close") && received.ends_with("/late"), "{received}");
        middle.write_all(b"le HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
        let received = rig.read_all(&mut middle);
        assert!(received.contains("Connection: close") && received.ends_with("/middle"), "{received}");
        assert!(rig.worker.open.is_empty());
    }

    #[test]
    fn the_loop_ends_with_the_server() {
        let Rig { worker, .. } = Rig::new(9);
        worker.life.enter(Phase::Closing);
        worker.run();
    }

    #[test]
    fn a_panic_ends_one_connection() {
        let mut rig = Rig::new(9);
        let (mut bad, mut good) = (rig.connect(), rig.connect());
        bad.write_all(get("/panic").as_bytes()).expect("sent");
        assert_eq!(rig.read_all(&mut bad), "");
        good.write_all(get("/good").as_bytes()).expect("sent");
        assert_eq!(paths(&rig.read(&mut good, 80)), ["/good"]);
        assert_eq!(rig.worker.desk.recovered, 1);
    }

    #[test]
    fn too_many_connections_are_closed_at_once() {
        let mut rig = Rig::new(1);
        let (_inside, mut outside) = (rig.connect(), rig.connect());
        assert_eq!(rig.read_all(&mut outside), "");
        assert_eq!(rig.worker.desk.refused, 1);
    }

    #[test]
    fn more_than_one_batch_of_connections_is_accepted() {
        let mut rig = Rig::new(1_000);
        let _clients: Vec<Client> = (0..ACCEPTED_MAX + 20).map(|_| rig.connect()).collect();
        rig.until(|rig| (rig.worker.open.len() == ACCEPTED_MAX + 20).then_some(()));
    }

    #[test]
    fn the_date_follows_the_clock() {
        let mut date = DateText { text: String::new(), until: Instant::now() };
        let now = date.until;
        let first = date.at(now).to_owned();
        assert_eq!(first.len(), "Sun, 06 Nov 1994 08:49:37 GMT".len());
        assert!(date.until > now && date.until <= now + Duration::from_secs(1));
        date.text.clear();
        assert_eq!(date.at(now), "", "as it was");
        let later = date.until;
        assert_ne!(date.at(later), "");
    }

    /// Redirects from one generation, for the comparison below.
    struct Redirects {
        world: Snapshot,
        settings: http::Settings,
        scratch: http::Scratch,
    }

    impl Respond for Redirects {
        fn respond(&mut self, head: &Head<'_>) -> &Reply {
            // Anew, so that both ways give a decision the same id.
            self.scratch = http::Scratch::default();
            http::respond(&self.world, &self.settings, &mut self.scratch, head);
            self.scratch.reply()
        }
    }

    /// What is said here to the request that `sent` begins with, and its length; `None` when it is not
    /// usual.
    fn by_us(desk: &mut Redirects, sent: &[u8]) -> Option<(Vec<u8>, usize)> {
        let mut room = Room::new();
        let Parsed::Usual(request) = parse(sent, &mut room) else { return None };
        let mut out = Vec::new();
        let peer = "10.0.0.1".parse().expect("an address");
        compose(desk.respond(&request.head(peer)), request.is_last, "now", &mut out);
        Some((out, request.len))
    }

    /// What hyper says to `sent`, up to the end of the connection.
    async fn by_hyper(desk: Rc<RefCell<Redirects>>, sent: &[u8]) -> Vec<u8> {
        let (mut client, server) = duplex(1 << 20);
        let respond = move |request: hyper::Request<hyper::body::Incoming>| {
            let (method, uri) = (request.method(), request.uri());
            let peer = "10.0.0.1".parse().expect("an address");
            let head = Head::parsed(method, uri, request.version(), request.headers(), peer);
            ready(desk.borrow_mut().respond(&head).to_response().map(Full::new))
        };
        client.write_all(sent).await.expect("sent");
        client.shutdown().await.expect("half closed");
        let mut received = Vec::new();
        let serving = converse(server, LIMITS, Life::new(), respond);
        let (_, read) = tokio::join!(serving, client.read_to_end(&mut received));
        read.expect("a response");
        received
    }

    /// `response` with its date taken away.
    fn dateless(response: &[u8]) -> String {
        let text = String::from_utf8_lossy(response);
        let lines = text.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("date: "));
        lines.collect::<Vec<_>>().join("\r\n")
    }

    /// A request that is usual more often than not.
    fn request(numbers: &mut Numbers) -> Vec<u8> {
        let mut sent = numbers.pick(&["GET", "GET", "HEAD", "POST", "get"]).as_bytes().to_vec();
        sent.extend_from_slice(b" /");
        let plain: &[&str] = &["a", "?", "&", "format=json", "/", "%0d"];
        let pieces = if numbers.below(3) == 0 { &TARGETS[..] } else { plain };
        sent.extend(numbers.text(pieces));
        sent.extend_from_slice(b" HTTP/1.1");
        let mut field =
            |name: &str, value: &[u8]| sent.extend([b"\r\n", name.as_bytes(), b": ", value].concat());
        for _ in 0..[1, 1, 1, 1, 0, 2][numbers.below(6)] {
            let is_plain = numbers.below(4) > 0;
            let host = if is_plain { numbers.pick(&NAMES[..4]).into() } else { numbers.text(&NAMES) };
            field(numbers.pick(&["Host", "host", "HOST"]), &host);
        }
        for name in ["X-Forwarded-For", "x-forwarded-for", "X-Forwarded-Proto", "forwarded", "Accept"] {
            if numbers.below(3) == 0 {
                field(name, &numbers.text(&HOPS));
            }
        }
        if numbers.below(4) == 0 {
            field(
                "Accept",
                numbers.pick(&["application/json", "text/html, application/json;q=0", "*/*"]).as_bytes(),
            );
        }
        if numbers.below(4) == 0 {
            let options = ["close", "keep-alive", "Close, keep-alive", "upgrade", "", ","];
            field("Connection", numbers.pick(&options).as_bytes());
        }
        if numbers.below(20) == 0 {
            field(numbers.pick(&["Content-Length", "Transfer-Encoding", "Expect"]), b"0");
        }
        sent.extend_from_slice(b"\r\n\r\n");
        sent
    }

    /// Heads that fuzzing found worth keeping.
    fn corpus() -> impl Iterator<Item = Vec<u8>> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpora/http_head");
        let files = std::fs::read_dir(folder).expect("the corpus");
        files.map(|file| std::fs::read(file.expect("an entry").path()).expect("a file"))
    }

    #[test]
    fn hyper_says_the_same_to_what_is_usual() {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let local = LocalSet::new();
        let desk = |state, is_open: bool| {
            let decision_query = is_open.then(|| "steer".into());
            let settings =
                http::Settings { cors: is_open, decision_header: is_open, decision_query, ..settings() };
            Redirects { world: world(state), settings, scratch: http::Scratch::default() }
        };
        let desks = [desk(State::Up, false), desk(State::Up, true), desk(State::Down, true)];
        let desks = desks.map(|desk| Rc::new(RefCell::new(desk)));
        let mut numbers = Numbers(20_261_126);
        let generated: Vec<Vec<u8>> = (0..6_000).map(|_| request(&mut numbers)).collect();
        let mut compared = 0;
        for (index, sent) in generated.into_iter().chain(corpus()).enumerate() {
            let desk = &desks[index % desks.len()];
            let Some((ours, len)) = by_us(&mut desk.borrow_mut(), &sent) else { continue };
            let theirs = local.block_on(&runtime, by_hyper(Rc::clone(desk), &sent[..len]));
            assert_eq!(dateless(&ours), dateless(&theirs), "{}", String::from_utf8_lossy(&sent));
            compared += 1;
        }
        assert!(compared > 1_500, "only {compared} are usual");
    }
}
