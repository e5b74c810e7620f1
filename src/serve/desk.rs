//! What production threads answer with: the current snapshot, buffers and counters.
//!
//! [`DnsDesk`] answers DNS for one thread, [`HttpDesk`] redirects. Each loads the snapshot once, a
//! batch or a request at a time, and passes it down. Layer 8.

use crate::dns::{self, Answered, Context, Transport};
use crate::dnssec::Counts;
use crate::dnstap::message::{Event, Protocol};
use crate::fleet::{Scheme, ServiceId};
use crate::http::limit::{Budgets, Pace};
use crate::http::steering::{self, Demotion, PathwayKind, Polled, SessionSeen};
use crate::http::{self, DecisionIds, Head, HttpOutcome, IdKey, Reply};
use crate::metrics::{HistogramWriter, Label, Unlabelled, Writer};
use crate::publish::Publisher;
use crate::serve::accept::Turned;
use crate::serve::access_log::{AccessLog, AccessLogs, Asked, Request};
use crate::serve::answer::{Answer, MakeAnswer, Mishap};
use crate::serve::http::{Cut, MakeRespond, Respond};
use crate::serve::meters::{Meters, Packet, Signed};
use crate::serve::run::now;
use crate::serve::tap::{Tap, Taps};
use crate::snapshot::Snapshot;
use crate::steer::{Choice, Match, Verdict};
use crate::units::UnixMs;
use arc_swap::{ArcSwap, Guard};
use hyper::StatusCode;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What all threads share.
#[derive(Debug, Clone)]
pub struct Desks {
    /// Owns the snapshot.
    pub publisher: Arc<Publisher>,
    /// What config says about DNS, whatever the table; replaced by a reload.
    pub server: Arc<ArcSwap<dns::Server>>,
    /// What config says about redirects; replaced by a reload.
    pub redirects: Arc<ArcSwap<http::Settings>>,
    /// What config says about content steering; replaced by a reload.
    pub steering: Arc<ArcSwap<steering::Settings>>,
    /// Where packets are told of, if they are.
    pub taps: Option<Taps>,
    /// The access log, if there is one.
    pub logs: Option<AccessLogs>,
    /// Counters.
    pub meters: Arc<Meters>,
    /// Numbers given to threads, so that each counts answers in a row of its own.
    pub threads: Arc<AtomicUsize>,
    /// What makes ids of decisions.
    pub id_key: IdKey,
    /// What client networks may ask for still.
    pub budgets: Arc<Budgets>,
    /// When the server started: their time counts from there.
    pub started: Instant,
}

/// Counts the decisions of one thread.
struct DecisionCounter {
    /// The thread's number.
    thread: usize,
    decisions: Writer<Match>,
    denied: Writer<Unlabelled>,
}

impl DecisionCounter {
    /// That of the next thread.
    fn new(desks: &Desks) -> Self {
        let thread = desks.threads.fetch_add(1, Ordering::Relaxed);
        let (decisions, denied) = (desks.meters.decisions.writer(), desks.meters.denied.writer());
        Self { thread, decisions, denied }
    }

    /// Counts `choice`, made for `service` of `world`.
    fn count(&self, world: &Snapshot, service: ServiceId, choice: &Choice) {
        self.decisions.count(choice.matched());
        if choice.verdict == Verdict::Denied {
            self.denied.count(Unlabelled);
        }
        world.count_answer(self.thread, service, choice.cluster());
    }
}

/// Answers DNS for one thread.
pub struct DnsDesk {
    publisher: Arc<Publisher>,
    server: Arc<ArcSwap<dns::Server>>,
    tap: Option<Tap>,
    log: Option<AccessLog>,
    scratch: dns::Scratch,
    udp: Writer<Packet>,
    tcp: Writer<Packet>,
    tls: Writer<Packet>,
    https: Writer<Packet>,
    signed: Writer<Signed>,
    mishaps: Writer<Mishap>,
    times: HistogramWriter,
    decided: DecisionCounter,
    /// When the batch began.
    began: Instant,
    /// The transport of the query being answered.
    transport: Transport,
}

impl fmt::Debug for DnsDesk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DnsDesk").finish_non_exhaustive()
    }
}

impl MakeAnswer for Desks {
    type Answer = DnsDesk;

    fn make(&self, _index: usize) -> DnsDesk {
        let meters = &self.meters;
        DnsDesk {
            publisher: Arc::clone(&self.publisher),
            server: Arc::clone(&self.server),
            tap: self.taps.as_ref().map(Taps::tap),
            log: self.logs.as_ref().and_then(AccessLogs::of_dns),
            scratch: dns::Scratch::new(),
            udp: meters.udp.writer(),
            tcp: meters.stream.writer(),
            tls: meters.tls.writer(),
            https: meters.https.writer(),
            signed: meters.signed.writer(),
            mishaps: meters.mishaps.writer(),
            times: meters.answer.writer(),
            decided: DecisionCounter::new(self),
            began: Instant::now(),
            transport: Transport::Udp,
        }
    }
}

impl DnsDesk {
    /// Counts the end of a packet.
    fn end(&self, packet: Packet, count: u64) {
        match self.transport {
            Transport::Udp => self.udp.add(packet, count),
            Transport::Tcp => self.tcp.add(packet, count),
            Transport::Tls => self.tls.add(packet, count),
            Transport::Https => self.https.add(packet, count),
        }
    }
}

/// What a batch is answered from.
#[derive(Debug)]
pub struct Batch {
    world: Guard<Arc<Snapshot>>,
    server: Guard<Arc<dns::Server>>,
    now: UnixMs,
}

impl Batch {
    /// For the answer.
    fn context(&self) -> Context<'_> {
        Context { world: &self.world, server: &self.server, now: self.now }
    }
}

/// Tells `tap` of a packet, with the decision made for it as JSON in the extra field.
#[cold]
fn tell(
    tap: &Tap,
    batch: &Batch,
    peer: SocketAddr,
    transport: Transport,
    query: &[u8],
    reply: &[u8],
    decided: Option<(ServiceId, Choice)>,
) {
    let fleet = batch.world.fleet();
    let extra = decided.map(|(service, choice)| {
        let cluster = choice.cluster().map(|id| &*fleet.cluster(id).name);
        let told = serde_json::json!({
            "service": fleet.service(service).name,
            "match": choice.matched().name(),
            "cluster": cluster,
            "scope_len": choice.scope_len,
            "generation": batch.world.generation(),
        });
        told.to_string()
    });
    let replied = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let event = Event {
        peer,
        protocol: match transport {
            Transport::Udp => Protocol::Udp,
            Transport::Tcp => Protocol::Tcp,
            Transport::Tls => Protocol::Dot,
            Transport::Https => Protocol::Doh,
        },
        asked: Duration::from_millis(batch.now.0),
        query,
        reply: Some((replied, reply)).filter(|_| !reply.is_empty()),
        identity: &batch.server.identity,
        extra: extra.as_deref().unwrap_or_default().as_bytes(),
    };
    tap.offer(event.encode());
}

impl Answer for DnsDesk {
    type World = Batch;

    fn begin(&mut self) -> Batch {
        self.began = Instant::now();
        Batch { world: self.publisher.load(), server: self.server.load(), now: now() }
    }

    fn foresee<'q>(&mut self, world: &Self::World, count: usize, queries: impl Iterator<Item = &'q [u8]>) {
        dns::foresee(&world.world, &mut self.scratch, count, queries);
    }

    fn answer(
        &mut self,
        world: &Self::World,
        peer: SocketAddr,
        transport: Transport,
        query: &[u8],
        out: &mut [u8],
    ) -> usize {
        self.transport = transport;
        let logged = self.log.as_mut().and_then(AccessLog::begin);
        let Answered { outcome, len } =
            dns::answer(&world.context(), &mut self.scratch, peer.ip(), transport, query, out);
        self.end(Packet::Answered(outcome), 1);
        let decided = self.scratch.decided();
        if let Some((service, choice)) = decided {
            self.decided.count(&world.world, service, &choice);
        }
        if let Some(tap) = &mut self.tap
            && tap.is_due()
        {
            tell(tap, world, peer, transport, query, &out[..len], decided);
        }
        if let (Some(log), Some(began)) = (&self.log, logged) {
            let (world, reply, served) = (&world.world, &out[..len], self.scratch.served());
            let peer = peer.ip();
            log.query(&Asked { world, peer, transport, query, reply, outcome, decided, served, began });
        }
        len
    }

    fn finish(&mut self, count: usize) {
        let Counts { hits, made, unpaid } = self.scratch.take_signed();
        if hits + made + unpaid > 0 {
            self.signed.add(Signed::Kept, hits);
            self.signed.add(Signed::Made, made);
            self.signed.add(Signed::Unpaid, unpaid);
        }
        let Some(each_ns) = self.began.elapsed().as_nanos().checked_div(count as u128) else { return };
        self.times.note(u64::try_from(each_ns).unwrap_or(u64::MAX), count as u64);
    }

    fn count(&mut self, mishap: Mishap, count: u64) {
        self.mishaps.add(mishap, count);
        match mishap {
            Mishap::Oversized
            | Mishap::NoPeer
            | Mishap::NoDestination
            | Mishap::NoHeader
            | Mishap::Panicked => {
                self.end(Packet::Lost(mishap), count);
            }
            Mishap::NotSent | Mishap::NotReceived | Mishap::NotAccepted | Mishap::NotIntroduced => {}
        }
    }

    fn recover(&mut self) {
        self.scratch = dns::Scratch::new();
    }
}

/// Redirects for one thread.
pub struct HttpDesk {
    publisher: Arc<Publisher>,
    settings: Arc<ArcSwap<http::Settings>>,
    log: Option<AccessLog>,
    steering: Arc<ArcSwap<steering::Settings>>,
    scratch: http::Scratch,
    requests: Writer<HttpOutcome>,
    polls: PollCounter,
    started: Instant,
    cuts: Writer<Cut>,
    refused: Writer<Unlabelled>,
    not_introduced: Writer<Unlabelled>,
    times: HistogramWriter,
    decided: DecisionCounter,
}

impl fmt::Debug for HttpDesk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("HttpDesk").finish_non_exhaustive()
    }
}

impl MakeRespond for Desks {
    type Respond = HttpDesk;

    fn make(&self, _index: usize) -> HttpDesk {
        let meters = &self.meters;
        let decided = DecisionCounter::new(self);
        HttpDesk {
            publisher: Arc::clone(&self.publisher),
            settings: Arc::clone(&self.redirects),
            log: self.logs.as_ref().map(AccessLogs::of_http),
            steering: Arc::clone(&self.steering),
            scratch: http::Scratch::new(
                DecisionIds::new(self.id_key, decided.thread),
                Pace::of(&self.budgets),
            ),
            started: self.started,
            cuts: meters.cuts.writer(),
            requests: meters.requests.writer(),
            polls: PollCounter::new(meters),
            refused: meters.refused.writer(),
            not_introduced: meters.not_introduced.writer(),
            times: meters.respond.writer(),
            decided,
        }
    }
}

impl HttpDesk {
    /// Answers a request for content steering; `None` when it is another.
    fn steer(&mut self, world: &Snapshot, settings: &http::Settings, head: &Head<'_>) -> Option<Polled> {
        // Few are, and only those need the time.
        head.asked.path_and_query.filter(|path| steering::is_path(path))?;
        let rules = self.steering.load();
        let desk = steering::Desk { world, trust: &settings.trust, settings: &rules, now: now() };
        steering::respond(&desk, &mut self.scratch, head)
    }
}

/// Counts what players say in polls.
struct PollCounter {
    sessions: Writer<SessionSeen>,
    reports: Writer<PathwayKind>,
    demotions: Writer<Demotion>,
}

impl PollCounter {
    /// That of one more thread.
    fn new(meters: &Meters) -> Self {
        let (sessions, reports) = (meters.sessions.writer(), meters.reports.writer());
        Self { sessions, reports, demotions: meters.demotions.writer() }
    }

    /// Counts `polled`.
    fn count(&self, polled: &Polled) {
        polled.session.into_iter().for_each(|seen| self.sessions.count(seen));
        polled.reports.iter().for_each(|kind| self.reports.count(*kind));
        polled.demotion.into_iter().for_each(|change| self.demotions.count(change));
    }
}

impl Respond for HttpDesk {
    fn respond(&mut self, head: &Head<'_>) -> &Reply {
        let world = self.publisher.load();
        let settings = self.settings.load();
        let logged = self.log.as_mut().and_then(AccessLog::begin);
        let answer = match self.steer(&world, &settings, head) {
            Some(polled) => {
                self.polls.count(&polled);
                polled.answer
            }
            None => http::respond(&world, &settings, &mut self.scratch, head),
        };
        http::announce(&settings, &mut self.scratch, head);
        self.requests.count(answer.outcome);
        if let (Some(service), Some(choice)) = (answer.service, &answer.choice) {
            self.decided.count(&world, service, choice);
        }
        if let (Some(log), Some(began)) = (&self.log, logged) {
            let id = answer.id.or_else(|| answer.choice.map(|_| self.scratch.next_id()));
            let (trust, status) = (&settings.trust, self.scratch.reply().status().as_u16());
            log.request(&Request { world: &world, trust, head, answer: &answer, status, id, began });
        }
        self.scratch.reply()
    }

    fn note(&mut self, each_ns: u64, count: u64) {
        self.times.note(each_ns, count);
    }

    fn dns_asker(&mut self, head: &Head<'_>) -> Option<IpAddr> {
        http::doh::asker(&self.publisher.load(), &self.settings.load(), head)
    }

    fn note_dns(&mut self, is_answered: bool) {
        self.requests.count(if is_answered { HttpOutcome::Dns } else { HttpOutcome::DnsRefused });
    }

    fn admit_advice(&mut self, head: &Head<'_>) -> Option<Result<(), (StatusCode, Vec<u8>)>> {
        http::advice::admit(&self.publisher.load(), &self.settings.load(), head)
    }

    fn advise(&mut self, scheme: Scheme, body: &[u8]) -> (StatusCode, Vec<u8>) {
        let id = self.scratch.next_id();
        http::advice::advise(&self.publisher.load(), &self.settings.load(), scheme, id, body)
    }

    fn note_advice(&mut self, is_given: bool) {
        self.requests.count(if is_given { HttpOutcome::Advised } else { HttpOutcome::AdviceRefused });
    }

    fn at(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.started).as_micros();
        self.scratch.set_time(u64::try_from(passed).unwrap_or(u64::MAX));
    }

    fn refused(&mut self, why: Turned) {
        match why {
            Turned::Full | Turned::NetworkFull => self.refused.count(Unlabelled),
            Turned::NotIntroduced => self.not_introduced.count(Unlabelled),
        }
        self.cuts.count(why.into());
    }

    fn cut(&mut self, why: Cut) {
        self.cuts.count(why);
    }

    fn recover(&mut self) {
        self.scratch.forget();
    }
}
