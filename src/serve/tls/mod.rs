//! TLS, for DNS and for redirects: which certificate is shown, how a connection is greeted, and what goes
//! wrong on the way.
//!
//! One [`Certificates`] answers for all listeners; they differ in the protocols they speak (ALPN) only. It
//! is asked at each handshake, so that another certificate is shown from then on and no connection ends
//! for it. TLS 1.2 and 1.3 by rustls with *ring*; clients resume by tickets that hold their state, so the
//! server keeps none, under keys that change by themselves every few hours. Layer 8.
//!
//! | file | owns |
//! |---|---|
//! | `certificates` | what is shown to whom, and its files, watched |
//! | `pair` | one certificate and its key, read and checked |

pub mod certificates;
mod pair;

pub use certificates::{Certificates, Reloaded};

use crate::metrics::{Counters, Label, Writer};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, version};
use std::fmt;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What becomes of a connection over TLS: one of the first of a handshake, the last two of what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeted {
    /// It is spoken over.
    Established,
    /// The handshake took too long.
    TimedOut,
    /// The client went away in the handshake.
    Gone,
    /// What came is no TLS.
    NotTls,
    /// Client and server have no version, cipher, key exchange or protocol in common.
    Incompatible,
    /// No certificate can be shown.
    NoCertificate,
    /// The client gave up, and said so: it did not like the certificate, in most cases.
    Alerted,
    /// Anything else.
    Failed,
    /// A connection that was established broke, by what came over it or by the network.
    Broken,
    /// A connection that was established ended without the client's farewell.
    Unclosed,
}

impl Label for Greeted {
    const ALL: &'static [Self] = &[
        Self::Established,
        Self::TimedOut,
        Self::Gone,
        Self::NotTls,
        Self::Incompatible,
        Self::NoCertificate,
        Self::Alerted,
        Self::Failed,
        Self::Broken,
        Self::Unclosed,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::TimedOut => "timed_out",
            Self::Gone => "gone",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::NoCertificate => "no_certificate",
            Self::Alerted => "alerted",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::Unclosed => "unclosed",
        }
    }
}

impl Greeted {
    /// Why a handshake failed with `error`.
    fn by(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            None if is_gone(error.kind()) => Self::Gone,
            Some(rustls::Error::InvalidMessage(_)) => Self::NotTls,
            Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
                Self::Incompatible
            }
            Some(rustls::Error::AlertReceived(_)) => Self::Alerted,
            // The resolver has nothing; there is no error of its own for that.
            Some(rustls::Error::General(what)) if what.contains("certificate") => Self::NoCertificate,
            _ => Self::Failed,
        }
    }
}

/// Whether an error says that the client is not there any more.
fn is_gone(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}

/// Greets the connections of listeners that speak the same protocols.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    counters: Arc<Counters<Greeted>>,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Acceptor")
            .field("protocols", &self.config.alpn_protocols.len())
            .finish_non_exhaustive()
    }
}

impl Acceptor {
    /// One thread's.
    pub(super) fn greeter(&self) -> Greeter {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        Greeter { acceptor, counter: Tally::new(&self.counters) }
    }
}

/// Those of all listeners.
#[derive(Debug, Clone)]
pub struct Acceptors {
    /// DNS (RFC 7858).
    pub dns: Acceptor,
    /// HTTP/2 and HTTP/1.1.
    pub http: Acceptor,
}

impl Acceptors {
    /// They show what `certificates` say, and count into `counters`.
    ///
    /// # Errors
    /// When there are no random octets for the keys of tickets.
    pub fn new(certificates: &Arc<Certificates>, counters: &Arc<Counters<Greeted>>) -> io::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(io::Error::other)?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(certificates) as _);
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(io::Error::other)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let speaking = |protocols: &[&str]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
            Acceptor { config: Arc::new(config), counters: Arc::clone(counters) }
        };
        Ok(Self { dns: speaking(&["dot"]), http: speaking(&["h2", "http/1.1"]) })
    }
}

/// What one thread counts by. Behind a lock, which nobody else takes, because the streams it goes with have to
/// be such that any thread could have them.
#[derive(Clone)]
struct Tally(Arc<Mutex<Writer<Greeted>>>);

impl Tally {
    /// One more writer of `counters`.
    fn new(counters: &Counters<Greeted>) -> Self {
        Self(Arc::new(Mutex::new(counters.writer())))
    }

    /// Counts one.
    fn count(&self, greeted: Greeted) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count(greeted);
    }
}

/// Greets the connections of one thread.
#[derive(Clone)]
pub(super) struct Greeter {
    acceptor: TlsAcceptor,
    counter: Tally,
}

impl Greeter {
    /// Shakes hands over `stream`; `None` where that comes to nothing. Counts what came of it.
    pub async fn greet(&self, stream: TcpStream) -> Option<Farewell<TlsStream<TcpStream>>> {
        let greeted = timeout(HANDSHAKE, self.acceptor.accept(stream)).await;
        let (outcome, stream) = match greeted {
            Err(_) => (Greeted::TimedOut, None),
            Ok(Err(error)) => (Greeted::by(&error), None),
            Ok(Ok(stream)) => (Greeted::Established, Some(stream)),
        };
        self.counter.count(outcome);
        stream.map(|inner| Farewell { inner, counter: self.counter.clone(), is_over: false })
    }
}

/// A stream that says farewell when it is dropped (RFC 8446 section 6.1), as far as the socket takes it at
/// once, and counts how it ended where that was not in order.
pub(super) struct Farewell<S: AsyncWrite + Unpin> {
    inner: S,
    counter: Tally,
    /// Whether nothing more is to be said.
    is_over: bool,
}

impl<S: AsyncWrite + Unpin> Farewell<S> {
    /// Counts `result` where it is an error, once.
    fn note<T>(&mut self, result: io::Result<T>) -> Poll<io::Result<T>> {
        if let Err(error) = &result
            && !std::mem::replace(&mut self.is_over, true)
        {
            let is_unclosed = error.kind() == ErrorKind::UnexpectedEof;
            self.counter.count(if is_unclosed { Greeted::Unclosed } else { Greeted::Broken });
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Farewell<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        self.note(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Farewell<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_write(context, octets));
        self.note(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.inner).poll_flush(context));
        self.note(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.inner).poll_shutdown(context));
        self.is_over = true;
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> Drop for Farewell<S> {
    fn drop(&mut self) {
        if !self.is_over {
            // Nobody waits for it: a client that does not read has no farewell.
            let _ = Pin::new(&mut self.inner).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}

#[cfg(test)]
mod tests;
