//! HTTP connections on hyper: for the push API, and for redirects that are not of the usual kind.
//!
//! What a request is answered with comes from a [`Respond`] (redirects: synchronous, from the head
//! alone) or from the push API's router. Usual redirects are answered by `http1`, which hands
//! connections over to here. HTTP/1.1 with keep-alive and pipelining, and HTTP/2 with prior
//! knowledge, on one port.
//!
//! hyper's own timeouts leave gaps: nothing limits how long a connection takes to show which protocol
//! it speaks, nor a header block of HTTP/2, nor a response that the client does not read; and frames of HTTP/2
//! that ask for nothing cost nothing but our time. So each connection is `Watched`: what comes and does
//! not become a request that is answered is counted, what is not taken is timed, and whoever goes beyond
//! `Limits` is cut off, which is counted too, by [`Cut`]. The library under hyper sees to what is left:
//! resets (CVE-2023-44487), CONTINUATION (CVE-2024-27316), the size of header lists.
//! Layer 8. Tests: below.

use crate::config::HttpLimits;
use crate::fleet::Scheme;
use crate::http::{Head, Reply, doh::query};
use crate::metrics::Label;
use crate::serve::accept::{Entrance, GRACE, Turned, accept};
use crate::serve::advice;
use crate::serve::answer::Answer;
use crate::serve::doh;
use crate::serve::gate::Permit;
use crate::serve::life::Life;
use crate::serve::streams::Desk;
use crate::serve::tls::Acceptor;
use futures_util::future::Either;
use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, ready};
use std::io::{self, Cursor};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, join};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Octets of a request head of the push API.
pub(super) const HEAD_LEN: usize = 16 << 10;

/// Octets of a response that wait in an HTTP/2 stream, at most.
const SEND_BUFFER_LEN: usize = 64 << 10;

/// The longest time that hyper keeps a connection without a request, and between its PINGs.
const KEEP_MAX: Duration = Duration::from_secs(75);

/// What a connection may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Octets of an HTTP/1 request head, and of a header list in HTTP/2.
    pub head_len: usize,
    /// For the head of a request to come in whole, once it has begun.
    pub head: Duration,
    /// Without a request that was answered.
    pub idle: Duration,
    /// For the client to take what waits to be sent.
    pub send: Duration,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
    /// Octets that come without a request that is answered.
    pub unanswered_len: u64,
}

impl Limits {
    /// For the push API: a table may be long in coming and in going.
    pub(super) const CONTROL: Self = Self {
        head_len: HEAD_LEN,
        head: Duration::from_secs(75),
        idle: Duration::from_secs(1800),
        send: Duration::from_secs(600),
        streams: 64,
        unanswered_len: u64::MAX,
    };
}

impl From<&HttpLimits> for Limits {
    fn from(limits: &HttpLimits) -> Self {
        let seconds = |count: u32| Duration::from_secs(u64::from(count));
        Self {
            head_len: limits.head_octets as usize,
            head: seconds(limits.head_s),
            idle: seconds(limits.idle_s),
            send: seconds(limits.send_s),
            streams: limits.streams,
            unanswered_len: u64::from(limits.unanswered_octets),
        }
    }
}

/// Why a connection was ended, or not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// There are too many.
    Full,
    /// There are too many of its network.
    NetworkFull,
    /// It has no valid PROXY header where one has to be.
    NotIntroduced,
    /// A head did not come in whole in time.
    SlowHead,
    /// No request came in time.
    Idle,
    /// The client did not take what it was sent in time.
    SlowReader,
    /// Too much came that asked for nothing, or was taken back.
    Flood,
    /// What came is not the protocol.
    Protocol,
}

impl Label for Cut {
    const ALL: &'static [Self] = &[
        Self::Full,
        Self::NetworkFull,
        Self::NotIntroduced,
        Self::SlowHead,
        Self::Idle,
        Self::SlowReader,
        Self::Flood,
        Self::Protocol,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::NetworkFull => "network_full",
            Self::NotIntroduced => "not_introduced",
            Self::SlowHead => "slow_head",
            Self::Idle => "idle",
            Self::SlowReader => "slow_reader",
            Self::Flood => "flood",
            Self::Protocol => "protocol",
        }
    }
}

impl From<Turned> for Cut {
    fn from(why: Turned) -> Self {
        match why {
            Turned::Full => Self::Full,
            Turned::NetworkFull => Self::NetworkFull,
            Turned::NotIntroduced => Self::NotIntroduced,
        }
    }
}

impl Cut {
    /// Why hyper ended a connection with `error`; `None` where the client did.
    fn by(error: &(dyn Error + 'static)) -> Option<Self> {
        let error = error.downcast_ref::<hyper::Error>()?;
        if error.is_timeout() {
            return Some(Self::Idle);
        }
        match error.source().and_then(|source| source.downcast_ref::<h2::Error>()) {
            Some(of_h2) if of_h2.is_remote() || of_h2.is_io() => None,
            Some(of_h2) if of_h2.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) => Some(Self::Flood),
            Some(_) => Some(Self::Protocol),
            None => error.is_parse().then_some(Self::Protocol),
        }
    }
}

/// Answers requests from their heads; each thread has its own.
pub trait Respond: 'static {
    /// Answers the request with this `head`. Loads the snapshot once. Does not wait for anything.
    fn respond(&mut self, head: &Head<'_>) -> &Reply;

    /// Says what time it is, before a batch or a request is answered.
    fn at(&mut self, _now: Instant) {}

    /// Notes that answering took `each_ns` nanoseconds, `count` times: a batch and its mean.
    fn note(&mut self, _each_ns: u64, _count: u64) {}

    /// On whose behalf a request asks for DNS; `None` when it asks for something else.
    fn dns_asker(&mut self, _head: &Head<'_>) -> Option<IpAddr> {
        None
    }

    /// Counts a request for DNS, and whether it was answered.
    fn note_dns(&mut self, _is_answered: bool) {}

    /// Whether a request asks for advice ([`crate::http::advice`]), and whether it may; `None` when it asks for
    /// something else.
    fn admit_advice(&mut self, _head: &Head<'_>) -> Option<Result<(), (StatusCode, Vec<u8>)>> {
        None
    }

    /// Answers what `body` asks advice for, which came by `scheme`.
    fn advise(&mut self, _scheme: Scheme, _body: &[u8]) -> (StatusCode, Vec<u8>) {
        (StatusCode::NOT_FOUND, Vec::new())
    }

    /// Counts a request for advice, and whether it was given.
    fn note_advice(&mut self, _is_given: bool) {}

    /// Counts a connection that was closed at once, and why.
    fn refused(&mut self, _why: Turned) {}

    /// Counts a connection that was ended, and why.
    fn cut(&mut self, _why: Cut) {}

    /// Forgets what a panic in [`Respond::respond`] may have left half done, before the next request.
    fn recover(&mut self) {}
}

/// Makes each thread's [`Respond`].
pub trait MakeRespond: Clone + Send + 'static {
    /// What it makes.
    type Respond: Respond + Send;

    /// Makes the one of thread `index`.
    fn make(&self, index: usize) -> Self::Respond;
}

/// A connection that brought something unusual.
#[derive(Debug)]
pub(super) struct Handed {
    /// Not blocking.
    pub stream: std::net::TcpStream,
    /// Where it came from.
    pub peer: SocketAddr,
    /// Its place.
    pub permit: Permit,
    /// What was read of it and not answered.
    pub read: Vec<u8>,
}

/// What a thread's requests are answered by.
pub(super) struct Room<R, A> {
    /// Redirects.
    pub redirects: Rc<RefCell<R>>,
    /// DNS, where that is answered over HTTPS.
    dns: Option<Rc<RefCell<Desk<A>>>>,
    /// What their connections may cost.
    pub limits: Limits,
}

impl<R, A> Clone for Room<R, A> {
    fn clone(&self) -> Self {
        Self { redirects: Rc::clone(&self.redirects), dns: self.dns.clone(), limits: self.limits }
    }
}

/// A response that waits for something. In a box, so that those that wait for nothing stay small.
type Later = Pin<Box<dyn Future<Output = Response<Full<Bytes>>>>>;

impl<R: Respond, A: Answer> Room<R, A> {
    /// One with these desks, whose connections may cost what `limits` say.
    pub fn new(redirects: R, dns: Option<A>, limits: Limits) -> Self {
        let dns = dns.map(|answer| Rc::new(RefCell::new(Desk::new(answer))));
        Self { redirects: Rc::new(RefCell::new(redirects)), dns, limits }
    }

    /// Answers `request`, which came from `peer` by `scheme`.
    pub fn respond<B>(
        &self,
        request: Request<B>,
        peer: SocketAddr,
        scheme: Scheme,
    ) -> impl Future<Output = Response<Full<Bytes>>> + use<R, A, B>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
    {
        let began = Instant::now();
        let (method, uri) = (request.method(), request.uri());
        let head = Head::parsed(method, uri, request.version(), request.headers(), peer.ip());
        let head = Head { scheme, ..head };
        let mut redirects = self.redirects.borrow_mut();
        redirects.at(began);
        if let Some(dns) = &self.dns
            && let Some(client) = redirects.dns_asker(&head)
        {
            // Behind a proxy, nobody knows the client's port.
            let port = if client == peer.ip() { peer.port() } else { 0 };
            let found = query(&head);
            let answering = doh::respond(request, found, SocketAddr::new(client, port), Rc::clone(dns));
            let counting = Rc::clone(&self.redirects);
            let later: Later = Box::pin(async move {
                let response = answering.await;
                counting.borrow_mut().note_dns(response.status() == StatusCode::OK);
                response
            });
            return Either::Right(later);
        }
        if let Some(admitted) = redirects.admit_advice(&head) {
            let desk = Rc::clone(&self.redirects);
            let later: Later = Box::pin(advice::respond(request, admitted, scheme, desk));
            return Either::Right(later);
        }
        let response = redirects.respond(&head).to_response();
        redirects.note(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX), 1);
        Either::Left(ready(response.map(Full::new)))
    }
}

/// Serves TLS connections on `listeners` until the server closes.
pub(super) async fn serve_tls<R: Respond, A: Answer>(
    listeners: Vec<(TcpListener, Entrance)>,
    room: Room<R, A>,
    acceptor: Acceptor,
    life: Life,
) {
    let greeter = acceptor.greeter();
    let mut loops = JoinSet::new();
    for (listener, entrance) in listeners {
        let (refusing, closing) = (Rc::clone(&room.redirects), life.clone());
        let refused = move |why| refusing.borrow_mut().refused(why);
        let (room, greeter, life) = (room.clone(), greeter.clone(), life.clone());
        let connection = move |stream, peer| {
            let (room, greeter, life) = (room.clone(), greeter.clone(), life.clone());
            async move {
                if let Some(stream) = greeter.greet(stream).await {
                    redirect(stream, peer, Scheme::Https, room, life).await;
                }
            }
        };
        loops.spawn_local(accept(listener, entrance, closing, refused, connection));
    }
    while loops.join_next().await.is_some() {}
}

/// Serves the connections that the thread beside this one hands over, until that thread has ended; then
/// waits a moment for those that are open.
pub(super) async fn serve<R: Respond, A: Answer>(
    room: Room<R, A>,
    mut handed: UnboundedReceiver<Handed>,
    life: Life,
) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = open.join_next(), if !open.is_empty() => {}
            next = handed.recv() => {
                let Some(Handed { stream, peer, permit, read }) = next else { break };
                let Ok(stream) = TcpStream::from_std(stream) else { continue };
                let (receive, send) = stream.into_split();
                let stream = join(Cursor::new(read).chain(receive), send);
                let connection = redirect(stream, peer, Scheme::Http, room.clone(), life.clone());
                open.spawn_local(async move {
                    connection.await;
                    drop(permit);
                });
            }
        }
    }
    // What is left after that is dropped with `open`.
    let _ = timeout(GRACE, async { while open.join_next().await.is_some() {} }).await;
}

/// Answers one connection from `peer` by `room`.
async fn redirect<S, R, A>(stream: S, peer: SocketAddr, scheme: Scheme, room: Room<R, A>, life: Life)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    R: Respond,
    A: Answer,
{
    let (limits, redirects) = (room.limits, Rc::clone(&room.redirects));
    let respond = move |request| room.respond(request, peer, scheme);
    if let Some(why) = converse(stream, limits, life, respond).await {
        redirects.borrow_mut().cut(why);
    }
}

/// What happens on a connection.
#[derive(Debug, Default)]
struct Activity {
    /// Requests that are being answered.
    in_flight: Cell<usize>,
    /// Requests that were answered.
    answered: Cell<u64>,
    /// Octets that have come since the last answer.
    unanswered_len: Cell<u64>,
    /// When the first of them came.
    begun: Cell<Option<Instant>>,
    /// Since when the client takes nothing.
    stuck: Cell<Option<Instant>>,
    /// Bodies that wait to be taken: HTTP/2 has windows for each.
    bodies: Cell<usize>,
    /// Parts of bodies that were taken, and bodies that ended.
    taken: Cell<u64>,
    /// Whether what came first is the preface of HTTP/2 (RFC 9113 section 3.4).
    is_http2: Cell<bool>,
    /// Whether too much came unanswered.
    is_flooded: Cell<bool>,
}

impl Activity {
    /// Notes what came; whether more may.
    fn note(&self, came: &[u8], limit: u64) -> bool {
        if self.begun.get().is_none() {
            self.begun.set(Some(Instant::now()));
            if self.answered.get() == 0 && self.in_flight.get() == 0 {
                self.is_http2.set(came.starts_with(b"PRI"));
            }
        }
        self.unanswered_len.set(self.unanswered_len.get() + came.len() as u64);
        self.is_flooded.set(self.unanswered_len.get() > limit);
        !self.is_flooded.get()
    }

    /// Notes that a request has been answered.
    fn note_answer(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.answered.set(self.answered.get() + 1);
        self.unanswered_len.set(0);
        self.begun.set(None);
    }

    /// Why a connection is to be ended at `now`, on which something was last done as `last` says.
    fn overdue(&self, limits: &Limits, now: Instant, last: &mut Last) -> Option<Cut> {
        if self.answered.get() != last.answered || self.in_flight.get() > 0 {
            (last.answered, last.answered_at) = (self.answered.get(), now);
        }
        if self.taken.get() != last.taken || self.bodies.get() == 0 {
            (last.taken, last.taken_at) = (self.taken.get(), now);
        }
        let is_over = |since: Instant, limit| now.duration_since(since) >= limit;
        let is_stuck = self.stuck.get().is_some_and(|since| is_over(since, limits.send));
        if is_stuck || is_over(last.taken_at, limits.send) {
            return Some(Cut::SlowReader);
        }
        // Requests do not come one by one over HTTP/2: frames between them are no heads that begin.
        let has_head = !self.is_http2.get() || self.answered.get() == 0;
        let is_slow = self.begun.get().is_some_and(|since| is_over(since, limits.head));
        if self.in_flight.get() > 0 {
            None
        } else if has_head && is_slow {
            Some(Cut::SlowHead)
        } else {
            is_over(last.answered_at, limits.idle).then_some(Cut::Idle)
        }
    }
}

/// When something was last done on a connection, as far as was looked.
struct Last {
    /// As [`Activity::answered`] was.
    answered: u64,
    answered_at: Instant,
    /// As [`Activity::taken`] was.
    taken: u64,
    taken_at: Instant,
}

/// A body of which is noted when it is taken.
struct Taken<B> {
    inner: B,
    activity: Rc<Activity>,
}

impl<B> Taken<B> {
    /// `inner`, on the connection of `activity`.
    fn new(inner: B, activity: &Rc<Activity>) -> Self {
        activity.bodies.set(activity.bodies.get() + 1);
        Self { inner, activity: Rc::clone(activity) }
    }
}

impl<B: Body + Unpin> Body for Taken<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.activity.taken.set(self.activity.taken.get() + 1);
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for Taken<B> {
    fn drop(&mut self) {
        self.activity.bodies.set(self.activity.bodies.get() - 1);
        self.activity.taken.set(self.activity.taken.get() + 1);
    }
}

/// A stream whose activity is noted.
struct Watched<S> {
    inner: S,
    activity: Rc<Activity>,
    /// Octets that may come without a request that is answered.
    unanswered_len: u64,
}

impl<S> Watched<S> {
    /// Notes whether the client takes what it is sent.
    fn note<T>(&self, result: Poll<T>) -> Poll<T> {
        let stuck = &self.activity.stuck;
        match result {
            Poll::Ready(_) => stuck.set(None),
            Poll::Pending if stuck.get().is_none() => stuck.set(Some(Instant::now())),
            Poll::Pending => {}
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let known = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(context, buffer);
        let came = &buffer.filled()[known..];
        if !came.is_empty() && !self.activity.note(came, self.unanswered_len) {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(context, octets);
        self.note(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(context);
        self.note(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// Answers the requests of one connection by `respond`, until either side ends it; why, where it is cut off.
pub(super) async fn converse<S, F, T, B>(stream: S, limits: Limits, life: Life, respond: F) -> Option<Cut>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Fn(Request<Incoming>) -> T,
    T: Future<Output = Response<B>> + 'static,
    B: Body + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let activity = Rc::new(Activity::default());
    let service = service_fn(|request| {
        let activity = Rc::clone(&activity);
        activity.in_flight.set(activity.in_flight.get() + 1);
        let answering = respond(request);
        async move {
            let response = answering.await;
            activity.note_answer();
            Ok::<_, Infallible>(response.map(|body| Taken::new(body, &activity)))
        }
    });
    let watched =
        Watched { inner: stream, activity: Rc::clone(&activity), unanswered_len: limits.unanswered_len };
    let builder = builder(limits);
    let connection = builder.serve_connection(TokioIo::new(watched), service);
    tokio::pin!(connection);
    let closing = life.closing();
    tokio::pin!(closing);
    let mut watch = interval(limits.head.min(limits.idle).min(limits.send) / 2);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once.
    watch.tick().await;
    let now = Instant::now();
    let (mut is_closing, mut last) = (false, Last { answered: 0, answered_at: now, taken: 0, taken_at: now });
    loop {
        tokio::select! {
            biased;
            // Nobody is left to be told of an error.
            ended = connection.as_mut() => {
                let flood = activity.is_flooded.get().then_some(Cut::Flood);
                return flood.or_else(|| Cut::by(&*ended.err()?));
            }
            () = &mut closing, if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = watch.tick() => {
                if let Some(why) = activity.overdue(&limits, Instant::now(), &mut last) {
                    return Some(why);
                }
            }
        }
    }
}

/// hyper, set up within `limits`.
fn builder(limits: Limits) -> auto::Builder<HereExecutor> {
    let mut builder = auto::Builder::new(HereExecutor);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle.min(KEEP_MAX))
        // Not `pipeline_flush`: it keeps responses back while the start of a further request is read.
        .max_buf_size(limits.head_len)
        // A client that has sent its last request may close its side and still read the response.
        .half_close(true)
        .title_case_headers(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_len).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER_LEN)
        .keep_alive_interval(limits.idle.min(KEEP_MAX) / 2)
        .keep_alive_timeout(limits.idle.min(KEEP_MAX) / 4);
    builder
}

/// Runs the streams of an HTTP/2 connection on the connection's thread.
#[derive(Debug, Clone, Copy)]
struct HereExecutor;

impl<F> Executor<F> for HereExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::life::Phase;
    use hyper::body::Bytes;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::runtime;
    use tokio::task::LocalSet;

    /// Long enough not to end a test.
    const LONG: Limits = Limits {
        head_len: HEAD_LEN,
        head: Duration::from_secs(60),
        idle: Duration::from_secs(60),
        send: Duration::from_secs(60),
        streams: 64,
        unanswered_len: u64::MAX,
    };

    /// Runs `test` with the client's end of a connection that is answered with the request's path; why the
    /// connection was cut off.
    fn with_connection<T>(limits: Limits, life: &Life, test: impl FnOnce(DuplexStream) -> T) -> Option<Cut>
    where
        T: Future<Output = ()>,
    {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (client, server) = duplex(1 << 20);
        let respond = |request: Request<Incoming>| {
            let path = request.uri().path().to_owned();
            ready(Response::new(Full::<Bytes>::from(path)))
        };
        LocalSet::new().block_on(&runtime, async {
            let serving = spawn_local(converse(server, limits, life.clone(), respond));
            timeout(Duration::from_secs(10), test(client)).await.expect("an end in time");
            serving.await.expect("an end by itself")
        })
    }

    /// Sends `sent`, ends that side, and gives what comes back.
    async fn exchange(mut client: DuplexStream, sent: &[u8]) -> String {
        client.write_all(sent).await.expect("sent");
        client.shutdown().await.expect("half closed");
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.expect("responses");
        String::from_utf8_lossy(&received).into_owned()
    }

    #[test]
    fn rfc9112_s9_3_2_requests_sent_without_waiting_are_answered_in_order() {
        with_connection(LONG, &Life::new(), |client| async {
            let sent = b"GET /one HTTP/1.1\r\nhost: a\r\n\r\nGET /two HTTP/1.1\r\nhost: a\r\n\r\n";
            let received = exchange(client, sent).await;
            let one = received.find("\r\n\r\n/one").expect("the first response");
            let two = received.find("\r\n\r\n/two").expect("the second response");
            assert!(one < two, "{received}");
        });
    }

    #[test]
    fn http2_is_spoken_to_who_knows() {
        with_connection(LONG, &Life::new(), |mut client| async move {
            client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
            let mut frame = [0; 9];
            client.read_exact(&mut frame).await.expect("a frame");
            assert_eq!(frame[3], 4, "SETTINGS comes first (RFC 9113 section 3.4)");
        });
    }

    #[test]
    fn a_head_above_the_limit_is_refused() {
        with_connection(LONG, &Life::new(), |mut client| async move {
            let sent = [b"GET / HTTP/1.1\r\nhost: a\r\nx: ".to_vec(), vec![b'x'; HEAD_LEN]].concat();
            client.write_all(&sent).await.expect("sent");
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.expect("a response");
            let received = String::from_utf8_lossy(&received);
            assert!(received.starts_with("HTTP/1.1 431 "), "{received:?}");
        });
    }

    #[test]
    fn a_connection_without_requests_is_closed() {
        let short = Duration::from_millis(20);
        let by_head = Limits { head: short, ..LONG };
        let by_idle = Limits { idle: short, ..LONG };
        for (limits, sent, expected) in [
            (by_idle, &b""[..], Cut::Idle),
            // Not yet known which protocol.
            (by_head, b"PRI * H", Cut::SlowHead),
            (by_idle, b"PRI * H", Cut::Idle),
            (by_head, b"GET / HTTP/1.1\r\nhost: ", Cut::SlowHead),
            (by_idle, b"GET / HTTP/1.1\r\nhost: ", Cut::Idle),
            (by_head, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", Cut::SlowHead),
        ] {
            let cut = with_connection(limits, &Life::new(), |mut client| async move {
                client.write_all(sent).await.expect("sent");
                let mut received = Vec::new();
                client.read_to_end(&mut received).await.expect("the end");
                assert!(!received.starts_with(b"HTTP/1.1 200"), "not answered");
            });
            assert_eq!(cut, Some(expected), "{}", String::from_utf8_lossy(sent));
        }
    }

    #[test]
    fn who_takes_nothing_is_cut_off() {
        let short = Limits { send: Duration::from_millis(20), ..LONG };
        let cut = with_connection(short, &Life::new(), |client| async move {
            let (mut receive, mut send) = tokio::io::split(client);
            // More responses than there is room for, and nobody reads them.
            let request = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(8000)).repeat(400);
            assert!(send.write_all(request.as_bytes()).await.is_err(), "the end comes first");
            receive.read_to_end(&mut Vec::new()).await.expect("the end");
        });
        assert_eq!(cut, Some(Cut::SlowReader));
    }

    #[test]
    fn frames_that_ask_for_nothing_are_a_flood() {
        let few = Limits { unanswered_len: 65_536, ..LONG };
        let cut = with_connection(few, &Life::new(), |client| async move {
            let (mut receive, mut send) = tokio::io::split(client);
            let reading = spawn_local(async move { receive.read_to_end(&mut Vec::new()).await.map(drop) });
            let _ = send.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
            let ping = b"\0\0\x08\x06\0\0\0\0\0pingpong".repeat(5000);
            let _ = send.write_all(&ping).await;
            reading.await.expect("no panic").expect("the end");
        });
        assert_eq!(cut, Some(Cut::Flood));
    }

    #[test]
    fn a_closing_server_ends_connections_between_requests() {
        let life = Life::new();
        let closer = life.clone();
        with_connection(LONG, &life, |mut client| async move {
            client.write_all(b"GET /last HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
            let mut received = vec![0; 4096];
            let count = client.read(&mut received).await.expect("a response");
            assert!(received[..count].ends_with(b"/last"));
            closer.enter(Phase::Closing);
            assert_eq!(client.read(&mut received).await.expect("the end"), 0);
        });
    }
}
