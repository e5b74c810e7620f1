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
//! | `clients` | who makes the certificates that clients show, and whom those are for |
//! | `pair` | one certificate and its key, read and checked |

pub mod certificates;
pub mod clients;
mod pair;

pub use certificates::{Certificates, Reloaded};

use crate::metrics::{Counters, Label, Writer};
use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier, version};
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

/// How long a handshake may take, where nothing else is said.
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
    /// The client showed a certificate that is not good here.
    Untrusted,
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
        Self::Untrusted,
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
            Self::Untrusted => "untrusted",
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
            Some(rustls::Error::InvalidCertificate(_)) => Self::Untrusted,
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
    /// Replaced as a whole.
    config: Arc<ArcSwap<ServerConfig>>,
    counters: Arc<Counters<Greeted>>,
    /// How long a handshake may take.
    handshake: Duration,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Acceptor")
            .field("protocols", &self.config.load().alpn_protocols.len())
            .finish_non_exhaustive()
    }
}

impl Acceptor {
    /// One thread's.
    pub(super) fn greeter(&self) -> Greeter {
        let (config, handshake) = (Arc::clone(&self.config), self.handshake);
        Greeter { config, counter: Tally::new(&self.counters), handshake }
    }

    /// The same with another time for a handshake.
    pub(super) fn within(self, handshake: Duration) -> Self {
        Self { handshake, ..self }
    }
}

/// Those of all listeners.
#[derive(Debug, Clone)]
pub struct Acceptors {
    /// DNS (RFC 7858).
    pub dns: Acceptor,
    /// HTTP/2 and HTTP/1.1.
    pub http: Acceptor,
    /// HTTP/3, whose handshake is in packets of QUIC (RFC 9001).
    #[cfg(feature = "http3")]
    pub http3: Acceptor,
    /// The same as `http`, where clients may show certificates.
    pub control: Acceptor,
    /// What is shown to clients.
    certificates: Arc<Certificates>,
}

/// What HTTP is called in a handshake.
const HTTP: [&str; 2] = ["h2", "http/1.1"];

impl Acceptors {
    /// They show what `certificates` say, and count into `counters`.
    ///
    /// # Errors
    /// When there are no random octets for the keys of tickets.
    pub fn new(certificates: &Arc<Certificates>, counters: &Arc<Counters<Greeted>>) -> io::Result<Self> {
        let resolver = Arc::clone(certificates) as _;
        let mut config = builder()?.with_no_client_auth().with_cert_resolver(resolver);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(io::Error::other)?;
        let acceptor = |config| Acceptor {
            config: Arc::new(ArcSwap::from_pointee(config)),
            counters: Arc::clone(counters),
            handshake: HANDSHAKE,
        };
        Ok(Self {
            dns: acceptor(speaking(config.clone(), &["dot"])),
            #[cfg(feature = "http3")]
            http3: acceptor(speaking(config.clone(), &["h3"])),
            http: acceptor(speaking(config, &HTTP)),
            control: acceptor(control_config(certificates, None)?),
            certificates: Arc::clone(certificates),
        })
    }

    /// Lets clients of the push API show certificates that `authorities` made, from now on; none at all
    /// without any. Who shows none is let in too, to be asked for a token.
    ///
    /// # Errors
    /// When nothing can be verified by them.
    pub fn trust(&self, authorities: Option<Arc<RootCertStore>>) -> io::Result<()> {
        self.control.config.store(Arc::new(control_config(&self.certificates, authorities)?));
        Ok(())
    }
}

/// How the push API greets. Who calls there is looked at anew for each connection, so nothing is resumed.
fn control_config(
    certificates: &Arc<Certificates>,
    authorities: Option<Arc<RootCertStore>>,
) -> io::Result<ServerConfig> {
    let builder = builder()?;
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = verifier.allow_unauthenticated().build().map_err(io::Error::other)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::clone(certificates) as _);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(speaking(config, &HTTP))
}

/// What encrypts.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The beginning of a config, with the versions that are spoken.
fn builder() -> io::Result<ConfigBuilder<ServerConfig, WantsVerifier>> {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(io::Error::other)
}

/// `config` for connections of these `protocols`.
fn speaking(mut config: ServerConfig, protocols: &[&str]) -> ServerConfig {
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
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
    config: Arc<ArcSwap<ServerConfig>>,
    counter: Tally,
    /// How long a handshake may take.
    pub handshake: Duration,
}

impl Greeter {
    /// What QUIC shakes hands by. It speaks none but TLS 1.3, whatever else is here.
    #[cfg(feature = "http3")]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Counts what became of a handshake, or how a connection ended.
    #[cfg(feature = "http3")]
    pub fn count(&self, greeted: Greeted) {
        self.counter.count(greeted);
    }

    /// Shakes hands over `stream`; `None` where that comes to nothing. Counts what came of it.
    pub async fn greet(&self, stream: TcpStream) -> Option<Farewell<TlsStream<TcpStream>>> {
        let acceptor = TlsAcceptor::from(self.config.load_full());
        let greeted = timeout(self.handshake, acceptor.accept(stream)).await;
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

impl Farewell<TlsStream<TcpStream>> {
    /// The names that the client's certificate says; none without one.
    pub fn client_names(&self) -> Arc<[Box<str>]> {
        let certificates = self.inner.get_ref().1.peer_certificates();
        certificates.and_then(<[_]>::first).map(clients::names_of).unwrap_or_default()
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
