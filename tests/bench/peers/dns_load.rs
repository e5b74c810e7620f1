//! The DNS generator: queries by the batch on connected sockets, each with its own client subnet.
//!
//! Closed, it keeps a number of queries under way, for how much a server can do. Open, it sends on a
//! timetable whatever the server does, and an answer's time counts from when its query was *due*: a
//! server that stalls is charged for everybody who had to wait.

use crate::check::{Check, Seen, clock_ns};
use crate::harness::dns;
use crate::mix;
use crate::process::Usage;
use crate::system::{self, BATCH, Batch};
use crate::world;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// A query unanswered for as long is lost, where nothing else comes either.
const PATIENCE: Duration = Duration::from_secs(1);

/// Octets of a query, at most.
const QUERY_LEN: usize = 64;

/// When queries are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// As long as fewer than so many are under way, a socket.
    Closed {
        /// Queries under way.
        window: usize,
    },
    /// So many a second.
    Open {
        /// Queries a second.
        qps: u64,
        /// Sleeps until the next is due or an answer comes, instead of spinning: leaves the processor
        /// to others, and adds the wake-up to every latency.
        is_sleeping: bool,
    },
}

/// A query under way.
#[derive(Clone, Copy, Default)]
struct Pending {
    /// Nanoseconds when it was due; 0: no query.
    due: u64,
    /// Which client it was for.
    client: u32,
}

/// A socket and the queries under way on it, by id.
struct Lane {
    socket: UdpSocket,
    pending: Vec<Pending>,
    next_id: u16,
    under_way: usize,
    /// Nanoseconds of the last answer, or of the first query after giving up.
    heard: u64,
}

/// What is asked, ready to send.
pub struct Queries {
    packets: Vec<([u8; QUERY_LEN], u8)>,
}

impl Queries {
    /// One for each client.
    pub fn new(clients: &[IpAddr]) -> Self {
        let packet = |client: &IpAddr| {
            let query = mix::query(0, *client);
            let mut packet = [0; QUERY_LEN];
            packet[..query.len()].copy_from_slice(&query);
            (packet, query.len() as u8)
        };
        Self { packets: clients.iter().map(packet).collect() }
    }

    /// The same, asking for signatures (the DO bit).
    pub fn signed(clients: &[IpAddr]) -> Self {
        let mut queries = Self::new(clients);
        for (packet, len) in &mut queries.packets {
            let opt = packet[..usize::from(*len)].windows(3).position(|octets| octets == [0, 0, 41]);
            packet[opt.expect("an OPT") + 7] |= 0x80;
        }
        queries
    }
}

/// A generator for one server.
pub struct DnsLoad<'a> {
    lanes: Vec<Lane>,
    queries: &'a Queries,
    next: usize,
    sending: Batch,
    receiving: Batch,
    check: Box<dyn Check + 'a>,
    /// One answer in so many is checked.
    one_in: u64,
}

impl<'a> DnsLoad<'a> {
    /// One that asks `server` on `sockets` sockets.
    pub fn new(
        server: SocketAddr,
        sockets: usize,
        queries: &'a Queries,
        check: impl Check + 'a,
        one_in: u64,
    ) -> Self {
        let lane = |_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None);
            let socket = socket.expect("a socket");
            // So that this side never loses what the server sent.
            socket.set_recv_buffer_size(8 << 20).expect("a size");
            socket.connect(&server.into()).expect("loopback");
            let pending = vec![Pending::default(); 1 << 16];
            Lane { socket: socket.into(), pending, next_id: 0, under_way: 0, heard: 0 }
        };
        Self {
            lanes: (0..sockets).map(lane).collect(),
            queries,
            next: 0,
            sending: Batch::new(false),
            receiving: Batch::new(false),
            check: Box::new(check),
            one_in,
        }
    }

    /// Asks for `time`. What is under way at the end stays so for the next run.
    pub fn run(&mut self, pace: Pace, time: Duration) -> Seen {
        self.run_while(pace, |elapsed| elapsed < time)
    }

    /// Asks as long as `goes_on`, told the time since the beginning, says so.
    pub fn run_while(&mut self, pace: Pace, mut goes_on: impl FnMut(Duration) -> bool) -> Seen {
        let mut seen = Seen::default();
        let usage = Usage::of_this_thread();
        let begin = clock_ns();
        let mut last = begin;
        loop {
            let now = clock_ns();
            if !goes_on(Duration::from_nanos(now - begin)) {
                break;
            }
            for lane in 0..self.lanes.len() {
                if self.receive(lane, &mut seen) > 0 {
                    let now = clock_ns();
                    seen.silence = seen.silence.max(Duration::from_nanos(now - last));
                    last = now;
                }
                match pace {
                    Pace::Closed { window } => self.fill(lane, window, &mut seen),
                    Pace::Open { qps, is_sleeping } => {
                        let next_due = self.keep_up(lane, qps, begin, &mut seen);
                        if is_sleeping {
                            let time = next_due.saturating_sub(clock_ns());
                            system::wait_readable(&self.lanes[lane].socket, Duration::from_nanos(time));
                        }
                    }
                }
            }
        }
        let end = clock_ns();
        seen.silence = seen.silence.max(Duration::from_nanos(end - last));
        seen.elapsed = Duration::from_nanos(end - begin);
        seen.usage = Usage::of_this_thread() - usage;
        seen
    }

    /// Waits for what is still under way; what does not come is lost.
    pub fn drain(&mut self) -> Seen {
        let mut seen = Seen::default();
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE && self.lanes.iter().any(|lane| lane.under_way > 0) {
            for lane in 0..self.lanes.len() {
                self.receive(lane, &mut seen);
            }
        }
        for lane in &mut self.lanes {
            seen.lost += lane.give_up();
        }
        seen
    }

    /// Tops the queries under way up to `window`, once a quarter of it is free: in batches, as a busy
    /// resolver's come.
    fn fill(&mut self, lane: usize, window: usize, seen: &mut Seen) {
        let under_way = self.lanes[lane].under_way;
        let room = window.saturating_sub(under_way).min(BATCH);
        if room > 0 && room >= (window / 4).min(BATCH) {
            let now = clock_ns();
            self.send(lane, room, |_| now, seen);
        } else if clock_ns() > self.lanes[lane].heard + PATIENCE.as_nanos() as u64 {
            seen.lost += self.lanes[lane].give_up();
            self.lanes[lane].heard = clock_ns();
        }
    }

    /// Sends what is due; says when the next is. One timetable for all lanes: only the first is used.
    fn keep_up(&mut self, lane: usize, qps: u64, begin: u64, seen: &mut Seen) -> u64 {
        let due_at = |number: u64| begin + number * 1_000_000_000 / qps;
        let due = (clock_ns() - begin) * qps / 1_000_000_000 + 1;
        let count = (due.saturating_sub(seen.sent) as usize).min(BATCH);
        if count > 0 {
            let first = seen.sent;
            self.send(lane, count, |slot| due_at(first + slot), seen);
        }
        due_at(seen.sent)
    }

    /// Sends `count` queries on a lane; `due` tells when each was due.
    fn send(&mut self, lane: usize, count: usize, due: impl Fn(u64) -> u64, seen: &mut Seen) {
        let lane = &mut self.lanes[lane];
        if lane.under_way == 0 {
            lane.heard = due(0);
        }
        for slot in 0..count {
            let (packet, len) = &self.queries.packets[self.next];
            let packet = &packet[..usize::from(*len)];
            let out = self.sending.write(slot, packet.len());
            out[..2].copy_from_slice(&lane.next_id.to_be_bytes());
            out[2..].copy_from_slice(&packet[2..]);
            let pending = &mut lane.pending[usize::from(lane.next_id)];
            if pending.due == 0 {
                lane.under_way += 1;
            } else {
                seen.lost += 1;
            }
            *pending = Pending { due: due(slot as u64), client: self.next as u32 };
            lane.next_id = lane.next_id.wrapping_add(1);
            self.next = (self.next + 1) % self.queries.packets.len();
        }
        seen.sent += count as u64;
        self.sending.send(&lane.socket, count);
    }

    /// Takes in the answers that are there; says how many.
    fn receive(&mut self, lane: usize, seen: &mut Seen) -> usize {
        let mut taken = 0;
        loop {
            let Ok(count) = self.receiving.receive(&self.lanes[lane].socket, false) else { return taken };
            let now = clock_ns();
            let lane = &mut self.lanes[lane];
            lane.heard = now;
            for slot in 0..count {
                let reply = self.receiving.datagram(slot);
                let id = reply.get(..2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
                let pending = std::mem::take(&mut lane.pending[usize::from(id)]);
                if pending.due == 0 {
                    continue;
                }
                lane.under_way -= 1;
                taken += 1;
                seen.answered += 1;
                seen.latency.add(now.saturating_sub(pending.due));
                let is_answer =
                    reply.len() > 12 && reply[2] & 0x80 != 0 && reply[3] & 15 == 0 && reply[7] > 0;
                if is_answer && !seen.answered.is_multiple_of(self.one_in) {
                    continue;
                }
                seen.checked += 1;
                let client = pending.client as usize;
                let right = clusters(reply)
                    .and_then(|clusters| self.check.check(client, pending.due, now, &clusters));
                if let Err(what) = right {
                    seen.wrong(what);
                }
            }
            if count < BATCH {
                return taken;
            }
        }
    }
}

impl Lane {
    /// Forgets all that is under way; says how much it was.
    fn give_up(&mut self) -> u64 {
        let lost = self.pending.iter().filter(|pending| pending.due != 0).count();
        self.pending.fill(Pending::default());
        self.under_way = 0;
        lost as u64
    }
}

/// The clusters of the appliances in a reply.
fn clusters(reply: &[u8]) -> Result<Vec<u32>, String> {
    let (_, addresses) = dns::addresses(reply)?;
    Ok(addresses.into_iter().map(world::cluster_of_address).collect())
}
