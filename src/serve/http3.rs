//! Redirects over HTTP/3 (RFC 9114): beside each listener over TLS, on UDP of the same port.
//!
//! quinn has the packets and h3 the streams; what a request is answered with is the [`Room`]'s, as over HTTP/2,
//! and so are limits, counters and certificates.
//!
//! An address has one socket and one thread. The kernel spreads packets over the sockets of a group by where
//! they come from, while a connection is known by its ID and outlives a change of network (RFC 9000 section 9):
//! with more sockets its packets would come to threads that do not know it. Who asks after such a change is
//! steered by the address of then.
//!
//! A handshake is not answered at length before the client has shown that it is where it says (RFC 9000
//! section 8); while many are under way a newcomer has to show it before anything is kept of it. There is no
//! 0-RTT: a redirect may be repeated without harm, but nobody has been shown to be at the address whose network
//! it is made for and counted to, and it saves a round trip only to who comes back within hours. Layer 8.
//! Tests: below, and by an independent client in `tests/outsiders/http3`.

use super::bind::{self, BindError};
use super::{Layout, Server, StartError, line, system};
use crate::fleet::Scheme;
use crate::serve::accept::GRACE;
use crate::serve::answer::{Answer, MakeAnswer};
use crate::serve::gate::Gate;
use crate::serve::http::{Cut, Limits, MakeRespond, Respond, Room};
use crate::serve::life::Life;
use crate::serve::tls::{Acceptor, Greeted, Greeter};
use h3::error::{Code, ConnectionError, LocalError, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http_body_util::BodyExt;
use hyper::body::{Body, Buf, Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, DATE, HeaderValue};
use hyper::{HeaderMap, Response};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use std::cell::Cell;
use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::net::UdpSocket;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Instant, SystemTime};
use tokio::runtime::{self, Runtime};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// QUIC version 1 (RFC 9000), the only one.
const VERSION: u32 = 1;

/// Streams that go one way only, at a time: three that HTTP/3 has (RFC 9114 section 6.2), and some that clients
/// open to see whether unknown ones are borne.
const ONE_WAY_STREAMS: u8 = 8;

/// Octets of a stream that may come unread: more than any head, and a body that is read.
const STREAM_WINDOW_LEN: u32 = 128 << 10;

/// The same of all streams of a connection.
const WINDOW_LEN: u32 = 256 << 10;

/// Octets that wait to be taken by a client, at most.
const SEND_WINDOW_LEN: u64 = 64 << 10;

/// Handshakes under way above which a client has to show first that it is where it says. A connection keeps some
/// 50 KB.
const UNPROVEN_MAX: usize = 1024;

/// Clients that wait to be greeted, at most: they are, as soon as the thread comes to it.
const WAITING_MAX: usize = 4096;

/// Octets that those may have sent beyond their first packet, each and in all.
const WAITING_LEN: (u64, u64) = (16 << 10, 16 << 20);

impl Server {
    /// Binds UDP beside each address for redirects over TLS, where `layout` wants it.
    ///
    /// # Errors
    /// When an address cannot be had.
    pub(super) fn bind_http3(&mut self, layout: &Layout) -> Result<Vec<UdpSocket>, BindError> {
        let addrs = if layout.http3 { self.http_tls.clone() } else { Vec::new() };
        let bind = |addr| {
            let socket = bind::quic(addr)?;
            self.lines.push(line("http3", addr, 1));
            Ok(socket)
        };
        addrs.into_iter().map(bind).collect()
    }

    /// Starts a thread for each of `sockets`, which redirects and answers DNS where there is somebody to.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub(super) fn start_http3<H: MakeRespond, D: MakeAnswer>(
        &mut self,
        sockets: Vec<UdpSocket>,
        make: &H,
        dns: Option<&D>,
        (tls, limits, gate): (&Acceptor, Limits, &Arc<Gate>),
    ) -> Result<(), StartError> {
        for (index, socket) in sockets.into_iter().enumerate() {
            let (make, dns, life, gate) = (make.clone(), dns.cloned(), self.life.clone(), Arc::clone(gate));
            let greeter = tls.greeter();
            let worker = open(socket, &greeter, limits).map_err(system("an HTTP/3 worker"))?;
            let thread = thread::Builder::new().name(format!("http3-{index}")).spawn(move || {
                let (runtime, endpoint) = worker;
                LocalSet::new().block_on(&runtime, async {
                    let room = Room::new(make.make(index), dns.map(|dns| dns.make(index)), limits);
                    let listener = Listener { endpoint, gate, greeter, unproven_max: UNPROVEN_MAX };
                    listener.serve(room, life).await;
                });
            });
            self.threads.push(thread.map_err(system("an HTTP/3 worker"))?);
        }
        Ok(())
    }
}

/// Makes a runtime, and on it an endpoint that listens on `socket`.
///
/// # Errors
/// When the system gives no event queue, or the socket cannot be used.
fn open(socket: UdpSocket, greeter: &Greeter, limits: Limits) -> io::Result<(Runtime, Endpoint)> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let endpoint = {
        let _entered = runtime.enter();
        let mut config = EndpointConfig::default();
        config.supported_versions(vec![VERSION]);
        let server = server_config(greeter, limits)?;
        Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime))?
    };
    Ok((runtime, endpoint))
}

/// How connections are greeted, and what they may cost of what quinn keeps of them.
fn server_config(greeter: &Greeter, limits: Limits) -> io::Result<ServerConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams))
        .max_concurrent_uni_streams(VarInt::from(ONE_WAY_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_LEN))
        .receive_window(VarInt::from_u32(WINDOW_LEN))
        .send_window(SEND_WINDOW_LEN)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(limits.idle.try_into().map_err(io::Error::other)?));
    let crypto = QuicServerConfig::try_from(greeter.config()).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(WAITING_MAX)
        .incoming_buffer_size(WAITING_LEN.0)
        .incoming_buffer_size_total(WAITING_LEN.1);
    Ok(config)
}

/// One address.
struct Listener {
    endpoint: Endpoint,
    /// How many connections may be open.
    gate: Arc<Gate>,
    greeter: Greeter,
    /// Handshakes under way above which newcomers have to show where they are.
    unproven_max: usize,
}

impl Listener {
    /// Serves connections by `room` until the server closes; then waits a moment for those that are open.
    async fn serve<R: Respond, A: Answer>(self, room: Room<R, A>, life: Life) {
        let mut open = JoinSet::new();
        let greeting = Rc::new(Cell::new(0));
        let mut closing = pin!(life.closing());
        loop {
            tokio::select! {
                biased;
                () = &mut closing => break,
                Some(_) = open.join_next(), if !open.is_empty() => {}
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else { break };
                    if greeting.get() >= self.unproven_max && incoming.may_retry() {
                        // It fails for those only that have shown it.
                        let _ = incoming.retry();
                        continue;
                    }
                    let permit = match self.gate.enter(incoming.remote_address().ip()) {
                        Ok(permit) => permit,
                        Err(full) => {
                            incoming.refuse();
                            room.redirects.borrow_mut().refused(full.into());
                            continue;
                        }
                    };
                    let (room, greeter, life) = (room.clone(), self.greeter.clone(), life.clone());
                    let greeting = Rc::clone(&greeting);
                    open.spawn_local(async move {
                        greeting.set(greeting.get() + 1);
                        let connection = greet(incoming, &greeter).await;
                        greeting.set(greeting.get() - 1);
                        if let Some(connection) = connection
                            && let Some(why) = converse(connection, &room, &life).await
                        {
                            room.redirects.borrow_mut().cut(why);
                        }
                        drop(permit);
                    });
                }
            }
        }
        // Newcomers are refused.
        self.endpoint.set_server_config(None);
        let _ = timeout(GRACE, async { while open.join_next().await.is_some() {} }).await;
        drop(open);
        self.endpoint.close(code(Code::H3_NO_ERROR), b"");
        let _ = timeout(GRACE / 2, self.endpoint.wait_idle()).await;
    }
}

/// An error code of HTTP/3 as QUIC writes it.
fn code(code: Code) -> VarInt {
    VarInt::from_u64(code.value()).unwrap_or_default()
}

/// Shakes hands with `incoming`; `None` where that comes to nothing. Counts what came of it.
async fn greet(incoming: Incoming, greeter: &Greeter) -> Option<Connection> {
    let greeted = timeout(greeter.handshake, incoming.into_future()).await;
    let (outcome, connection) = match greeted {
        Err(_) => (Greeted::TimedOut, None),
        Ok(Err(error)) => (greeted_by(&error), None),
        Ok(Ok(connection)) => (Greeted::Established, Some(connection)),
    };
    greeter.count(outcome);
    connection
}

/// Why a handshake failed with `error`; alerts of TLS are errors from 0x100 on (RFC 9001 section 4.8).
fn greeted_by(error: &quinn::ConnectionError) -> Greeted {
    use quinn::ConnectionError as Error;
    let alert = |code: u64| code.checked_sub(0x100).filter(|alert| *alert <= 0xff);
    match error {
        Error::TimedOut => Greeted::TimedOut,
        Error::VersionMismatch => Greeted::Incompatible,
        Error::ConnectionClosed(close) if alert(close.error_code.into()).is_some() => Greeted::Alerted,
        Error::ConnectionClosed(_) | Error::ApplicationClosed(_) | Error::Reset => Greeted::Gone,
        Error::TransportError(error) => match alert(error.code.into()) {
            // handshake_failure, protocol_version, missing_extension, no_application_protocol.
            Some(40 | 70 | 109 | 120) => Greeted::Incompatible,
            // access_denied: the resolver has nothing.
            Some(49) => Greeted::NoCertificate,
            Some(_) => Greeted::Failed,
            None => Greeted::NotTls,
        },
        Error::LocallyClosed | Error::CidsExhausted => Greeted::Failed,
    }
}

/// What happens on a connection.
struct Activity {
    connection: Connection,
    limits: Limits,
    /// When a request was last answered.
    answered: Cell<Instant>,
    /// Octets that had come then.
    came: Cell<u64>,
}

impl Activity {
    /// Of one that has just begun.
    fn new(connection: &Connection, limits: Limits) -> Self {
        let activity = Self {
            connection: connection.clone(),
            limits,
            answered: Cell::new(Instant::now()),
            came: Cell::default(),
        };
        activity.note_answer();
        activity
    }

    /// Octets that have come, in packets of all kinds.
    fn came(&self) -> u64 {
        self.connection.stats().udp_rx.bytes
    }

    /// Notes that a request has been answered.
    fn note_answer(&self) {
        self.answered.set(Instant::now());
        self.came.set(self.came());
    }

    /// Why the connection is to be ended, looked at now and then.
    fn overdue(&self, is_answering: bool) -> Option<Cut> {
        if self.is_flooded() {
            Some(Cut::Flood)
        } else if is_answering {
            None
        } else {
            (self.answered.get().elapsed() >= self.limits.idle).then_some(Cut::Idle)
        }
    }

    /// Whether too much has come without a request that was answered.
    fn is_flooded(&self) -> bool {
        self.came().saturating_sub(self.came.get()) > self.limits.unanswered_len
    }

    /// Waits for `future`, which reads: h3 keeps a frame until it has come in whole, however long it says that
    /// it is, so this is asked before each step.
    async fn within<T>(&self, future: impl Future<Output = T>) -> Result<T, Cut> {
        let mut future = pin!(future);
        poll_fn(|context| {
            if self.is_flooded() {
                return Poll::Ready(Err(Cut::Flood));
            }
            future.as_mut().poll(context).map(Ok)
        })
        .await
    }
}

/// Answers the requests of one connection, until either side ends it; why, where it is cut off.
async fn converse<R: Respond, A: Answer>(
    connection: Connection,
    room: &Room<R, A>,
    life: &Life,
) -> Option<Cut> {
    let activity = Rc::new(Activity::new(&connection, room.limits));
    let mut builder = h3::server::builder();
    builder.max_field_section_size(room.limits.head_len as u64);
    let building = builder.build(h3_quinn::Connection::new(connection.clone()));
    let mut http3 = match timeout(room.limits.head, building).await {
        Err(_) => return Some(Cut::SlowHead),
        Ok(Err(error)) => return cut_by(&connection, &error),
        Ok(Ok(http3)) => http3,
    };
    let why = answer_all(&mut http3, &activity, room, life).await;
    if why == Some(Cut::Flood) {
        connection.close(code(Code::H3_EXCESSIVE_LOAD), b"");
    }
    // Without an error, where it is open still.
    drop(http3);
    why
}

/// A connection, as h3 has it.
type Http3 = h3::server::Connection<h3_quinn::Connection, Bytes>;

/// The same; the connection is left to be ended.
async fn answer_all<R: Respond, A: Answer>(
    http3: &mut Http3,
    activity: &Rc<Activity>,
    room: &Room<R, A>,
    life: &Life,
) -> Option<Cut> {
    let (limits, connection) = (room.limits, &activity.connection);
    let mut open = JoinSet::new();
    let mut closing = pin!(life.closing());
    let mut watch = interval(limits.head.min(limits.idle) / 2);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_closing = false;
    while !(is_closing && open.is_empty()) {
        tokio::select! {
            biased;
            // One that panicked ends its own stream.
            Some(answered) = open.join_next(), if !open.is_empty() => {
                if let Ok(Some(why)) = answered {
                    return Some(why);
                }
            }
            () = &mut closing, if !is_closing => {
                is_closing = true;
                // Says that requests after the last one are not answered (RFC 9114 section 5.2).
                let _ = http3.shutdown(1).await;
            }
            next = activity.within(http3.accept()) => match next {
                Err(why) => return Some(why),
                Ok(Err(error)) => return cut_by(connection, &error),
                Ok(Ok(None)) => break,
                Ok(Ok(Some(request))) => {
                    open.spawn_local(answer(request, Rc::clone(activity), room.clone()));
                }
            },
            _ = watch.tick() => {
                if let Some(why) = activity.overdue(!open.is_empty()) {
                    return Some(why);
                }
            }
        }
    }
    // What was sent last may have to be sent again; closing forgets it.
    sleep(connection.rtt() * 3).await;
    None
}

/// Why a connection was ended with `error`; `None` where the client did.
fn cut_by(connection: &Connection, error: &ConnectionError) -> Option<Cut> {
    match (connection.close_reason(), error) {
        (Some(quinn::ConnectionError::TimedOut), _) => Some(Cut::Idle),
        (Some(quinn::ConnectionError::TransportError(_)), _) => Some(Cut::Protocol),
        (_, ConnectionError::Local { error: LocalError::Application { code, .. }, .. }) => match *code {
            Code::H3_NO_ERROR => None,
            Code::H3_EXCESSIVE_LOAD => Some(Cut::Flood),
            _ => Some(Cut::Protocol),
        },
        _ => None,
    }
}

/// A request that has begun to come.
type Begun = RequestResolver<h3_quinn::Connection, Bytes>;

/// Answers `request`; why its connection is to be ended.
async fn answer<R: Respond, A: Answer>(request: Begun, on: Rc<Activity>, room: Room<R, A>) -> Option<Cut> {
    let read = timeout(on.limits.head, on.within(request.resolve_request())).await;
    let (request, stream) = match read {
        Err(_) => return Some(Cut::SlowHead),
        Ok(Err(why)) => return Some(why),
        // What is wrong with it has been said.
        Ok(Ok(Err(_))) => return None,
        Ok(Ok(Ok(request))) => request,
    };
    let (mut send, receive) = stream.split();
    // Where the client is now: it may have moved since the connection began.
    let peer = on.connection.remote_address();
    let request = request.map(|()| Coming(receive));
    let response = match on.within(room.respond(request, peer, Scheme::Https)).await {
        Err(why) => return Some(why),
        Ok(response) => response,
    };
    on.note_answer();
    let sending = async {
        let (mut head, body) = response.into_parts();
        let Ok(body) = body.collect().await.map(|body| body.to_bytes());
        complete(&mut head.headers, body.len());
        send.send_response(Response::from_parts(head, ())).await?;
        if !body.is_empty() {
            send.send_data(body).await?;
        }
        send.finish().await
    };
    match timeout(on.limits.send, sending).await {
        Err(_) => Some(Cut::SlowReader),
        // The client is not there any more, or does not want it.
        Ok(_) => None,
    }
}

/// Adds what hyper adds for other versions: the length of a body that is there, and the date (RFC 9110 sections
/// 8.6 and 6.6.1).
fn complete(headers: &mut HeaderMap, len: usize) {
    if len > 0 {
        headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(len));
    }
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now())) {
        headers.insert(DATE, date);
    }
}

/// The body of a request, as it comes. Whoever drops it does not want the rest.
struct Coming(RequestStream<h3_quinn::RecvStream, Bytes>);

impl Body for Coming {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let came = self.0.poll_recv_data(context).map(Result::transpose);
        came.map(|came| {
            came.map(|came| came.map(|mut data| Frame::data(data.copy_to_bytes(data.remaining()))))
        })
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        let came = self.0.poll_recv_data(&mut Context::from_waker(Waker::noop()));
        if !matches!(came, Poll::Ready(Ok(None))) {
            // RFC 9114 section 4.1: no error, the answer comes all the same.
            self.0.stop_sending(Code::H3_NO_ERROR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Tls};
    use crate::http::{Head, Reply};
    use crate::serve::accept::Turned;
    use crate::serve::answer::echo::Echo;
    use crate::serve::life::Phase;
    use crate::serve::tls::{Acceptors, Certificates};
    use hyper::{Request, StatusCode};
    use quinn::crypto::rustls::QuicClientConfig;
    use rustls::pki_types::CertificateDer;
    use rustls::{ClientConfig, RootCertStore};
    use std::cell::RefCell;
    use std::fs;
    use std::net::SocketAddr;
    use std::time::Duration;
    use tokio::net::UdpSocket as TokioSocket;
    use tokio::task::spawn_local;

    /// Long enough not to end a test.
    const LONG: Limits = Limits {
        head_len: 16 << 10,
        head: Duration::from_secs(60),
        idle: Duration::from_secs(60),
        send: Duration::from_secs(60),
        streams: 64,
        unanswered_len: u64::MAX,
    };

    /// Answers with the peer's address and the path, and keeps why connections were ended.
    #[derive(Default)]
    struct Tell {
        reply: Reply,
        ended: Rc<RefCell<Vec<String>>>,
    }

    impl Respond for Tell {
        fn respond(&mut self, head: &Head<'_>) -> &Reply {
            let path = head.asked.path_and_query.unwrap_or_default();
            self.reply.start(StatusCode::OK);
            self.reply.set_body(format!("{} {path}", head.peer).as_bytes());
            &self.reply
        }

        fn refused(&mut self, why: Turned) {
            self.ended.borrow_mut().push(format!("{why:?}"));
        }

        fn cut(&mut self, why: Cut) {
            self.ended.borrow_mut().push(format!("{why:?}"));
        }
    }

    /// A listener, as clients see it.
    struct Rig {
        addr: SocketAddr,
        /// Who made its certificate.
        root: CertificateDer<'static>,
        /// The client's end.
        client: Endpoint,
    }

    impl Rig {
        /// Connects to `addr`, which leads to the listener.
        async fn connect_to(&self, addr: SocketAddr) -> Result<Connection, quinn::ConnectionError> {
            let mut roots = RootCertStore::empty();
            roots.add(self.root.clone()).expect("a root");
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider);
            let builder = builder.with_safe_default_protocol_versions().expect("versions");
            let mut config = builder.with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = vec![b"h3".to_vec()];
            let crypto = QuicClientConfig::try_from(config).expect("a cipher suite");
            let config = quinn::ClientConfig::new(Arc::new(crypto));
            self.client.connect_with(config, addr, "a.example").expect("a name").await
        }

        /// Connects.
        async fn connect(&self) -> Connection {
            self.connect_to(self.addr).await.expect("a connection")
        }
    }

    /// Asks for `path` of each of `paths` on `connection`, calling `between` after each; the answers.
    async fn ask(connection: &Connection, paths: &[&str], between: impl Fn()) -> Vec<String> {
        let http3 = h3_quinn::Connection::new(connection.clone());
        let (mut driver, mut requests) = h3::client::new(http3).await.expect("settings");
        let driving = spawn_local(async move { poll_fn(|context| driver.poll_close(context)).await });
        let mut answers = Vec::new();
        for path in paths {
            let request = Request::get(format!("https://a.example{path}")).body(()).expect("a request");
            let mut stream = requests.send_request(request).await.expect("sent");
            stream.finish().await.expect("sent");
            let response = stream.recv_response().await.expect("a response");
            assert_eq!(response.status(), StatusCode::OK);
            let mut body = Vec::new();
            while let Some(mut part) = stream.recv_data().await.expect("a body") {
                body.extend_from_slice(&part.copy_to_bytes(part.remaining()));
            }
            answers.push(String::from_utf8(body).expect("UTF-8"));
            between();
        }
        driving.abort();
        answers
    }

    /// Runs `test` with a listener that lets one connection in; why connections were ended.
    fn with_listener<T>(limits: Limits, unproven_max: usize, test: impl FnOnce(Rig) -> T) -> Vec<String>
    where
        T: Future<Output = ()>,
    {
        let dir = tempfile::tempdir().expect("a directory");
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).expect("a certificate");
        fs::write(dir.path().join("a.pem"), made.cert.pem()).expect("written");
        fs::write(dir.path().join("a.key"), made.signing_key.serialize_pem()).expect("written");
        let tls = Tls { cert: "a.pem".into(), key: "a.key".into(), names: Vec::new(), line: 1 };
        let config = Config { base: dir.path().to_owned(), tls: vec![tls], ..Config::default() };
        let acceptors = Acceptors::new(&Certificates::read(&config), &Arc::default()).expect("acceptors");
        let greeter = acceptors.http3.greeter();
        let socket = bind::quic(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let addr = socket.local_addr().expect("bound");
        let (runtime, endpoint) = open(socket, &greeter, limits).expect("an endpoint");
        let (ended, life) = (Rc::default(), Life::new());
        LocalSet::new().block_on(&runtime, async {
            let tell = Tell { ended: Rc::clone(&ended), ..Tell::default() };
            let room = Room::new(tell, None::<Echo>, limits);
            let listener = Listener { endpoint, gate: Gate::new(1, 1, Vec::new()), greeter, unproven_max };
            let serving = spawn_local(listener.serve(room, life.clone()));
            let client = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
            let rig = Rig { addr, root: made.cert.der().clone(), client };
            timeout(Duration::from_secs(20), test(rig)).await.expect("an end in time");
            life.enter(Phase::Closing);
            serving.await.expect("an end by itself");
        });
        ended.take()
    }

    #[test]
    fn who_moves_is_answered_as_the_network_of_then() {
        let ended = with_listener(LONG, UNPROVEN_MAX, |rig| async move {
            let connection = rig.connect().await;
            let elsewhere = || {
                let socket = UdpSocket::bind("127.0.0.2:0").expect("loopback");
                rig.client.rebind(socket).expect("a socket");
            };
            let answers = ask(&connection, &["/a", "/b"], elsewhere).await;
            assert_eq!(answers, ["127.0.0.1 /a", "127.0.0.2 /b"]);
        });
        assert_eq!(ended, [""; 0]);
    }

    /// Passes packets between one client and `server`, and counts those of type Retry (RFC 9000 section 17.2.5).
    async fn relay(between: TokioSocket, server: SocketAddr, retries: Rc<Cell<usize>>) {
        let (mut client, mut packet) = (server, [0; 2048]);
        loop {
            let (len, from) = between.recv_from(&mut packet).await.expect("a packet");
            if from == server {
                retries.set(retries.get() + usize::from(packet[0] & 0xf0 == 0xf0));
                between.send_to(&packet[..len], client).await.expect("sent");
            } else {
                client = from;
                between.send_to(&packet[..len], server).await.expect("sent");
            }
        }
    }

    #[test]
    fn rfc9000_s8_1_2_among_many_handshakes_a_newcomer_shows_where_it_is() {
        for (unproven_max, expected) in [(UNPROVEN_MAX, 0), (0, 1)] {
            let ended = with_listener(LONG, unproven_max, |rig| async move {
                let between = TokioSocket::bind("127.0.0.1:0").await.expect("a free port");
                let (addr, retries) = (between.local_addr().expect("bound"), Rc::new(Cell::new(0)));
                let passing = spawn_local(relay(between, rig.addr, Rc::clone(&retries)));
                let connection = rig.connect_to(addr).await.expect("a connection");
                assert_eq!(ask(&connection, &["/"], || {}).await, ["127.0.0.1 /"]);
                assert_eq!(retries.get(), expected);
                connection.close(VarInt::default(), b"");
                rig.client.wait_idle().await;
                passing.abort();
            });
            assert_eq!(ended, [""; 0]);
        }
    }

    #[test]
    fn one_too_many_is_refused() {
        let ended = with_listener(LONG, UNPROVEN_MAX, |rig| async move {
            let first = rig.connect().await;
            let second = rig.connect_to(rig.addr).await.expect_err("refused");
            assert!(matches!(second, quinn::ConnectionError::ConnectionClosed(_)), "{second}");
            assert_eq!(ask(&first, &["/"], || {}).await, ["127.0.0.1 /"]);
        });
        assert_eq!(ended, ["Full"]);
    }

    /// The beginning of HEADERS of 2^30 octets (RFC 9114 section 7.1, RFC 9000 section 16).
    const ENDLESS: [u8; 9] = [1, 0xc0, 0, 0, 0, 0x40, 0, 0, 0];

    #[test]
    fn a_head_without_an_end_is_a_flood() {
        let few = Limits { unanswered_len: 64 << 10, ..LONG };
        let ended = with_listener(few, UNPROVEN_MAX, |rig| async move {
            let connection = rig.connect().await;
            let (mut send, _receive) = connection.open_bi().await.expect("a stream");
            send.write_all(&ENDLESS).await.expect("sent");
            while send.write_all(&[0; 1024]).await.is_ok() {}
            let expected = code(Code::H3_EXCESSIVE_LOAD);
            let why = connection.closed().await;
            let quinn::ConnectionError::ApplicationClosed(close) = why else { panic!("{why}") };
            assert_eq!(close.error_code, expected);
        });
        assert_eq!(ended, ["Flood"]);
    }

    #[test]
    fn who_asks_nothing_is_cut_off() {
        let short = Duration::from_millis(200);
        for (limits, sent, expected) in [
            (Limits { idle: short, ..LONG }, &b""[..], "Idle"),
            (Limits { head: short, ..LONG }, &ENDLESS, "SlowHead"),
            // DATA before HEADERS.
            (LONG, &[0, 1, 0], "Protocol"),
        ] {
            let ended = with_listener(limits, UNPROVEN_MAX, |rig| async move {
                let connection = rig.connect().await;
                let (mut send, _receive) = connection.open_bi().await.expect("a stream");
                let _ = send.write_all(sent).await;
                connection.closed().await;
            });
            assert_eq!(ended, [expected], "{sent:?}");
        }
    }
}
