//! HTTP connections on hyper: for the push API, and for redirects that are not of the usual kind.
//!
//! What a request is answered with comes from a [`Respond`] (redirects: synchronous, from the head
//! alone) or from the push API's router. Usual redirects are answered by `http1`, which hands
//! connections over to here. HTTP/1.1 with keep-alive and pipelining, and HTTP/2 with prior
//! knowledge, on one port.
//!
//! hyper's own timeouts leave gaps: nothing limits how long a connection takes to show which protocol
//! it speaks, nor a header block of HTTP/2, nor a response that the client does not read. So
//! a connection on which no request came to its end for `Limits::idle` is closed, whatever it does.
//! Layer 8. Tests: below.

use crate::fleet::Scheme;
use crate::http::{Head, Reply, doh::query};
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
use hyper::body::{Body, Bytes, Incoming};
use hyper::rt::{Executor, Read, Write};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, ready};
use std::io::Cursor;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, join};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Octets of an HTTP/1 request head, and of a header list in HTTP/2, at most.
pub(super) const HEAD_LEN_MAX: usize = 16 << 10;

/// Requests at a time on one HTTP/2 connection, at most.
const STREAMS_MAX: u32 = 64;

/// What a connection may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// For the head of a request to come in whole, counted from the request before: keep-alive ends
    /// with it too. Above the 60 s that load balancers keep idle connections by default, so that they,
    /// not we, close first.
    pub header: Duration,
    /// Without a request that was answered.
    pub idle: Duration,
}

impl Limits {
    /// For redirects: an answer takes no time.
    pub(super) const REDIRECTS: Self =
        Self { header: Duration::from_secs(75), idle: Duration::from_secs(90) };
    /// For the push API: a table may be long in coming.
    pub(super) const CONTROL: Self =
        Self { header: Duration::from_secs(75), idle: Duration::from_secs(1800) };
}

/// Answers requests from their heads; each thread has its own.
pub trait Respond: 'static {
    /// Answers the request with this `head`. Loads the snapshot once. Does not wait for anything.
    fn respond(&mut self, head: &Head<'_>) -> &Reply;

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
    redirects: Rc<RefCell<R>>,
    /// DNS, where that is answered over HTTPS.
    dns: Option<Rc<RefCell<Desk<A>>>>,
}

impl<R, A> Clone for Room<R, A> {
    fn clone(&self) -> Self {
        Self { redirects: Rc::clone(&self.redirects), dns: self.dns.clone() }
    }
}

impl<R: Respond, A: Answer> Room<R, A> {
    /// One with these desks.
    pub fn new(redirects: R, dns: Option<A>) -> Self {
        let dns = dns.map(|answer| Rc::new(RefCell::new(Desk::new(answer))));
        Self { redirects: Rc::new(RefCell::new(redirects)), dns }
    }

    /// Answers `request`, which came from `peer` by `scheme`.
    fn respond(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        scheme: Scheme,
    ) -> impl Future<Output = Response<Full<Bytes>>> + use<R, A> {
        let began = Instant::now();
        let (method, uri) = (request.method(), request.uri());
        let head = Head::parsed(method, uri, request.version(), request.headers(), peer.ip());
        let head = Head { scheme, ..head };
        let mut redirects = self.redirects.borrow_mut();
        if let Some(dns) = &self.dns
            && let Some(client) = redirects.dns_asker(&head)
        {
            // Behind a proxy, nobody knows the client's port.
            let port = if client == peer.ip() { peer.port() } else { 0 };
            let found = query(&head);
            let answering = doh::respond(request, found, SocketAddr::new(client, port), Rc::clone(dns));
            let counting = Rc::clone(&self.redirects);
            return Either::Right(Either::Left(async move {
                let response = answering.await;
                counting.borrow_mut().note_dns(response.status() == StatusCode::OK);
                response
            }));
        }
        if let Some(admitted) = redirects.admit_advice(&head) {
            let desk = Rc::clone(&self.redirects);
            return Either::Right(Either::Right(advice::respond(request, admitted, scheme, desk)));
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
    let respond = move |request| room.respond(request, peer, scheme);
    converse(TokioIo::new(stream), Limits::REDIRECTS, life, respond).await;
}

/// What happens on a connection.
#[derive(Debug, Default)]
struct Activity {
    /// Requests that are being answered.
    in_flight: Cell<usize>,
    /// Requests that were answered.
    answered: Cell<u64>,
}

/// Answers the requests of one connection by `respond`, until either side ends it.
pub(super) async fn converse<S, F, T, B>(stream: S, limits: Limits, life: Life, respond: F)
where
    S: Read + Write + Unpin + 'static,
    F: Fn(Request<Incoming>) -> T,
    T: Future<Output = Response<B>> + 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let activity = Rc::new(Activity::default());
    let service = service_fn(|request| {
        let activity = Rc::clone(&activity);
        activity.in_flight.set(activity.in_flight.get() + 1);
        let answering = respond(request);
        async move {
            let response = answering.await;
            activity.in_flight.set(activity.in_flight.get() - 1);
            activity.answered.set(activity.answered.get() + 1);
            Ok::<_, Infallible>(response)
        }
    });
    let builder = builder(limits);
    let connection = builder.serve_connection(stream, service);
    tokio::pin!(connection);
    let closing = life.closing();
    tokio::pin!(closing);
    let mut watch = interval(limits.idle);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once.
    watch.tick().await;
    let (mut is_closing, mut answered) = (false, 0);
    loop {
        tokio::select! {
            biased;
            // An error is the peer's: nobody is left to be told.
            _ = connection.as_mut() => return,
            () = &mut closing, if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = watch.tick() => {
                if activity.in_flight.get() == 0 && activity.answered.get() == answered {
                    return;
                }
                answered = activity.answered.get();
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
        .header_read_timeout(limits.header)
        // Not `pipeline_flush`: it keeps responses back while the start of a further request is read.
        .max_buf_size(HEAD_LEN_MAX)
        // A client that has sent its last request may close its side and still read the response.
        .half_close(true)
        .title_case_headers(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_LEN_MAX as u32)
        .keep_alive_interval(limits.header / 2)
        .keep_alive_timeout(limits.header / 4);
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
    const LONG: Limits = Limits { header: Duration::from_secs(60), idle: Duration::from_secs(60) };

    /// Runs `test` with the client's end of a connection that is answered with the request's path.
    fn with_connection<T>(limits: Limits, life: &Life, test: impl FnOnce(DuplexStream) -> T)
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
            let serving = spawn_local(converse(TokioIo::new(server), limits, life.clone(), respond));
            timeout(Duration::from_secs(10), test(client)).await.expect("an end in time");
            serving.await.expect("an end by itself");
        });
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
            let sent = [b"GET / HTTP/1.1\r\nhost: a\r\nx: ".to_vec(), vec![b'x'; HEAD_LEN_MAX]].concat();
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
        let by_header = Limits { header: short, ..LONG };
        let by_idle = Limits { idle: short, ..LONG };
        for (limits, sent) in [
            (by_idle, &b""[..]),
            // Not yet known which protocol.
            (by_idle, b"PRI * H"),
            (by_header, b"GET / HTTP/1.1\r\nhost: "),
            (by_idle, b"GET / HTTP/1.1\r\nhost: "),
        ] {
            with_connection(limits, &Life::new(), |mut client| async move {
                client.write_all(sent).await.expect("sent");
                let mut received = Vec::new();
                client.read_to_end(&mut received).await.expect("the end");
                assert!(!received.starts_with(b"HTTP/1.1 200"), "not answered");
            });
        }
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
