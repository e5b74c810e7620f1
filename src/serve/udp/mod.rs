//! DNS over UDP: one thread and one socket a worker, a batch at a time.
//!
//! A [`Worker`] receives a batch, begins it once (that is where the snapshot is loaded), answers each
//! datagram from bytes to bytes, and sends the batch. It allocates nothing, takes no lock, reads no
//! clock and writes no log for a query. What answers is an [`Answer`], made by the worker's thread.
//! `batch` owns the system calls, and all `unsafe`.
//!
//! A query that makes the answer panic costs that one query: the worker counts it and goes on with
//! the next datagram of the same batch. Layer 8. Tests: below.

mod batch;

use crate::dns::Transport;
use crate::proxy::Speakers;
use crate::serve::answer::{Answer, MakeAnswer, Mishap};
use crate::serve::life::Life;
use batch::{Batch, Sent, Unanswerable, Wait};
use std::io;
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

pub use batch::{BATCH, DATAGRAM_LEN};

/// How long a worker rests after a receive that failed for a reason of its own (no memory, the
/// interface gone), so that it does not spin.
const REST: Duration = Duration::from_millis(10);

/// Batches answered after the server began to close, at most: what had been received by then, and
/// not what a flood adds for ever.
const LAST_BATCHES_MAX: usize = 256;

/// Answers what comes in on one socket.
#[derive(Debug)]
pub struct Worker<M> {
    /// Its number, from 0.
    index: usize,
    socket: UdpSocket,
    /// Bound to all addresses of its family.
    is_wildcard: bool,
    /// Who may, and has to, say whose each datagram is.
    speakers: Option<Arc<Speakers>>,
    make: M,
    life: Life,
}

impl<M: MakeAnswer> Worker<M> {
    /// Prepares `socket`, which is bound and has its timeouts set. With `speakers`, every datagram has to
    /// begin with a PROXY header of theirs.
    ///
    /// # Errors
    /// When the kernel does not say which address a datagram was sent to.
    pub fn new(
        index: usize,
        socket: UdpSocket,
        speakers: Option<Arc<Speakers>>,
        make: M,
        life: Life,
    ) -> io::Result<Self> {
        let is_wildcard = socket.local_addr()?.ip().is_unspecified();
        if is_wildcard {
            batch::tell_destination(&socket)?;
        }
        if let Err(error) = batch::ignore_path_mtu(&socket) {
            tracing::debug!(%error, "path MTU discovery stays on");
        }
        Ok(Self { index, socket, is_wildcard, speakers, make, life })
    }

    /// Answers until the server closes; then what has been received already is answered still.
    pub fn run(self) {
        let mut batch = Batch::new(self.is_wildcard);
        let mut answer = self.make.make(self.index);
        let mut panics: u64 = 0;
        // What a panic leaves half done is not used again: `answer` is told, and `batch` changes only
        // between answers.
        while catch_unwind(AssertUnwindSafe(|| self.serve(&mut batch, &mut answer))).is_err() {
            answer.recover();
            answer.count(Mishap::Panicked, 1);
            panics += 1;
            if panics.is_power_of_two() {
                tracing::error!(worker = self.index, panics, "a query made a UDP worker panic; it goes on");
            }
        }
    }

    /// Receives and answers until the server closes and nothing is left.
    fn serve(&self, batch: &mut Batch, answer: &mut M::Answer) {
        let mut last_batches = 0;
        loop {
            // After a panic there is a rest of a batch.
            let is_new = batch.is_done() && batch.queued() == 0;
            if is_new {
                let is_closing = self.life.is_closing();
                last_batches += usize::from(is_closing);
                let wait = if is_closing { Wait::No } else { Wait::Timeout };
                match batch.receive(&self.socket, wait) {
                    Ok(_) if last_batches <= LAST_BATCHES_MAX => {}
                    Ok(_) => return,
                    Err(_) if is_closing => return,
                    Err(error) => {
                        rest_after(&error, answer);
                        continue;
                    }
                }
            }
            self.answer_batch(batch, is_new, answer);
        }
    }

    /// Answers what was not taken yet, and sends. A new batch is looked at as a whole first.
    fn answer_batch(&self, batch: &mut Batch, is_new: bool, answer: &mut M::Answer) {
        let world = answer.begin();
        if is_new {
            answer.foresee(&world, batch.received(), batch.queries());
        }
        let mut count = 0;
        while let Some(slot) = batch.next() {
            count += 1;
            let peer = match batch.peer(slot) {
                Ok(peer) => peer,
                Err(reason) => {
                    answer.count(Mishap::from(reason), 1);
                    continue;
                }
            };
            let (query, reply) = batch.exchange(slot);
            let (peer, query) = match &self.speakers {
                None => (peer, query),
                Some(speakers) => match speakers.introduced(peer, query) {
                    Some(introduced) => introduced,
                    None => {
                        answer.count(Mishap::NoHeader, 1);
                        continue;
                    }
                },
            };
            let len = answer.answer(&world, peer, Transport::Udp, query, reply);
            if len > 0 {
                batch.queue(slot, len);
            }
        }
        let Sent { failed, .. } = batch.send(&self.socket);
        if failed > 0 {
            answer.count(Mishap::NotSent, failed as u64);
        }
        answer.finish(count);
    }
}

impl From<Unanswerable> for Mishap {
    fn from(reason: Unanswerable) -> Self {
        match reason {
            Unanswerable::Oversized => Self::Oversized,
            Unanswerable::NoPeer => Self::NoPeer,
            Unanswerable::NoDestination => Self::NoDestination,
        }
    }
}

/// Counts a failed receive and rests, unless it only says that nothing came.
fn rest_after(error: &io::Error, answer: &mut impl Answer) {
    if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
        answer.count(Mishap::NotReceived, 1);
        thread::sleep(REST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::answer::echo::{Counts, Echo};
    use crate::serve::bind;
    use crate::serve::life::Phase;
    use std::net::SocketAddr;
    use std::thread::JoinHandle;

    /// Workers on a port of `addr`, and what ends them.
    struct Running {
        addr: SocketAddr,
        life: Life,
        counts: Counts,
        threads: Vec<JoinHandle<()>>,
    }

    impl Running {
        /// Starts `workers` echoes; `None` where the machine has no such address.
        fn start(addr: &str, workers: usize) -> Option<Self> {
            Self::start_behind(None, addr, workers)
        }

        /// The same behind proxies.
        fn start_behind(speakers: Option<Arc<Speakers>>, addr: &str, workers: usize) -> Option<Self> {
            let sockets = match bind::dns(addr.parse().expect("a socket address"), workers) {
                Ok(sockets) => sockets,
                Err(error) if addr.starts_with('[') && error.source.kind() != io::ErrorKind::AddrInUse => {
                    return None;
                }
                Err(error) => panic!("{error}"),
            };
            let (life, counts) = (Life::new(), Counts::default());
            let start = |(index, socket)| {
                let worker =
                    Worker::new(index, socket, speakers.clone(), Echo::counted(&counts), life.clone());
                thread::spawn(|| worker.expect("a prepared socket").run())
            };
            let threads = sockets.udp.into_iter().enumerate().map(start).collect();
            Some(Self { addr: sockets.addr, life, counts, threads })
        }

        /// A client that hears only what comes from `ip` and this server's port.
        fn client(&self, ip: &str) -> UdpSocket {
            let to = SocketAddr::new(ip.parse().expect("an address"), self.addr.port());
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let client = UdpSocket::bind(any).expect("a client");
            client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
            client.connect(to).expect("a route");
            client
        }

        /// Closes and says what happened.
        fn stop(self) -> Counts {
            self.life.enter(Phase::Closing);
            for thread in self.threads {
                thread.join().expect("a worker that ended by itself");
            }
            self.counts
        }
    }

    /// Asks and expects the echo.
    fn check(client: &UdpSocket, query: &[u8]) {
        client.send(query).expect("sent");
        let mut buffer = [0; DATAGRAM_LEN];
        let len = client.recv(&mut buffer).expect("a reply");
        assert_eq!(&buffer[..len], Echo::reply_to(query));
    }

    #[test]
    fn every_datagram_is_answered_by_some_worker() {
        let server = Running::start("127.0.0.1:0", 2).expect("IPv4");
        let clients: Vec<_> = (0..8).map(|_| server.client("127.0.0.1")).collect();
        for round in 0..40_u8 {
            for client in &clients {
                client.send(&[round, 1, 2]).expect("sent");
            }
        }
        for client in &clients {
            let mut seen: Vec<u8> = (0..40)
                .map(|_| {
                    let mut buffer = [0; 64];
                    let len = client.recv(&mut buffer).expect("a reply");
                    let query = [buffer[2], 1, 2];
                    assert_eq!(&buffer[..len], Echo::reply_to(&query));
                    query[0]
                })
                .collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..40).collect::<Vec<u8>>());
        }
        let counts = server.stop();
        assert_eq!(counts.answered(), 320);
        assert!(counts.batches() <= 320);
    }

    #[test]
    fn a_wildcard_socket_replies_from_the_address_it_was_asked_on() {
        let server = Running::start("0.0.0.0:0", 2).expect("IPv4");
        for ip in ["127.0.0.1", "127.0.0.2", "127.9.9.9"] {
            check(&server.client(ip), ip.as_bytes());
        }
        assert_eq!(server.stop().answered(), 3);
        for addr in ["[::]:0", "[::1]:0"] {
            if let Some(server) = Running::start(addr, 1) {
                check(&server.client("::1"), b"six");
                server.stop();
            }
        }
    }

    #[test]
    fn a_panic_costs_the_query_that_caused_it_only() {
        let server = Running::start("127.0.0.1:0", 1).expect("IPv4");
        let client = server.client("127.0.0.1");
        for query in [&b"before"[..], Echo::PANIC, b"after"] {
            client.send(query).expect("sent");
        }
        let mut buffer = [0; 64];
        for query in [b"before".as_slice(), b"after"] {
            let len = client.recv(&mut buffer).expect("a reply");
            assert_eq!(&buffer[..len], Echo::reply_to(query));
        }
        check(&client, b"much later");
        let counts = server.stop();
        assert_eq!((counts.answered(), counts.of(Mishap::Panicked)), (3, 1));
    }

    #[test]
    fn a_proxied_datagram_is_answered_without_its_header() {
        let speakers = Speakers(vec!["127.0.0.1/32".parse().expect("a prefix")]);
        let server = Running::start_behind(Some(Arc::new(speakers)), "127.0.0.1:0", 1).expect("IPv4");
        let client = server.client("127.0.0.1");
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x10\0\0\x35";
        client.send(b"bare").expect("sent");
        client.send(&[&header[..], b"query"].concat()).expect("sent");
        let mut buffer = [0; 64];
        let len = client.recv(&mut buffer).expect("a reply");
        assert_eq!(&buffer[..len], Echo::reply_to(b"query"));
        let counts = server.stop();
        assert_eq!((counts.answered(), counts.of(Mishap::NoHeader)), (1, 1));
    }

    #[test]
    fn what_cannot_be_answered_is_counted() {
        let server = Running::start("127.0.0.1:0", 1).expect("IPv4");
        let client = server.client("127.0.0.1");
        client.send(&[1; DATAGRAM_LEN + 1]).expect("sent");
        client.send(Echo::SILENT).expect("sent");
        check(&client, b"next");
        let counts = server.stop();
        assert_eq!((counts.answered(), counts.of(Mishap::Oversized)), (1, 1));
    }
}
