//! Connections accepted, introduced, counted and ended; what is said over them is others' business.
//!
//! Where a listener is behind proxies, a connection is that of whom its PROXY header names, and one without a
//! header is closed.
//! Every thread that serves connections has a runtime of its own and its own listening sockets, so a
//! connection stays on the thread that accepted it and its state needs no lock. Layer 8.

use crate::proxy::{self, Parsed, Speakers};
use crate::serve::gate::{Full, Gate, Permit};
use crate::serve::life::Life;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

/// How long open connections have to finish once the server closes.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// How long nothing is accepted after the process ran out of something (file descriptors, memory).
pub(super) const REST: Duration = Duration::from_millis(50);

/// How long a PROXY header may take to come.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// There are too many.
    Full,
    /// There are too many of its network.
    NetworkFull,
    /// It has no valid PROXY header where one has to be, or comes from nobody who may send one.
    NotIntroduced,
}

impl From<Full> for Turned {
    fn from(full: Full) -> Self {
        match full {
            Full::All => Self::Full,
            Full::Peer => Self::NetworkFull,
        }
    }
}

/// What connections are let in by.
#[derive(Debug, Clone)]
pub(super) struct Entrance {
    /// How many may be open.
    pub gate: Arc<Gate>,
    /// Who may, and has to, say whose each connection is.
    pub speakers: Option<Arc<Speakers>>,
}

impl Entrance {
    /// A place for a connection from `peer`.
    ///
    /// # Errors
    /// Why it gets none.
    pub fn enter(&self, peer: SocketAddr) -> Result<Permit, Turned> {
        match &self.speakers {
            None => self.gate.enter(peer.ip()).map_err(Turned::from),
            Some(speakers) if speakers.contain(peer.ip()) => self.gate.enter_unknown().map_err(Turned::from),
            Some(_) => Err(Turned::NotIntroduced),
        }
    }

    /// Whose connection it is that came from `peer`; takes the PROXY header off `stream` where there has to
    /// be one.
    async fn introduce(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        permit: &mut Permit,
    ) -> Result<SocketAddr, Turned> {
        if self.speakers.is_none() {
            return Ok(peer);
        }
        match timeout(INTRODUCTION, read_header(stream)).await {
            Ok(Ok(header)) => {
                let client = header.client.unwrap_or(peer);
                permit.assign(client.ip()).map(|()| client).map_err(Turned::from)
            }
            _ => Err(Turned::NotIntroduced),
        }
    }
}

/// Reads a PROXY header and not an octet more: what follows is for others to read, TLS among them.
async fn read_header(stream: &mut TcpStream) -> io::Result<proxy::Header> {
    let mut octets = vec![0; proxy::SHORTEST_LEN];
    stream.read_exact(&mut octets).await?;
    loop {
        match proxy::parse(&octets) {
            Parsed::Whole(header) => return Ok(header),
            Parsed::Wrong => return Err(io::ErrorKind::InvalidData.into()),
            Parsed::Partial => {
                let known = octets.len();
                octets.resize(known + proxy::missing(&octets), 0);
                stream.read_exact(&mut octets[known..]).await?;
            }
        }
    }
}

/// Runs `task` to its end, on a thread and a runtime of its own, with `listeners`.
///
/// # Errors
/// When the system gives no thread or no event queue.
pub(super) fn on_thread<F, T>(
    name: String,
    listeners: Vec<(std::net::TcpListener, Entrance)>,
    task: F,
) -> io::Result<JoinHandle<()>>
where
    F: FnOnce(Vec<(TcpListener, Entrance)>) -> T + Send + 'static,
    T: Future<Output = ()> + 'static,
{
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let listeners = {
        let _entered = runtime.enter();
        let listening = |(listener, entrance)| Ok((TcpListener::from_std(listener)?, entrance));
        listeners.into_iter().map(listening).collect::<io::Result<Vec<_>>>()?
    };
    thread::Builder::new().name(name).spawn(move || {
        let local = LocalSet::new();
        local.block_on(&runtime, async move { task(listeners).await });
    })
}

/// Accepts on `listener` and serves each connection that `entrance` lets in, as its client's, until the
/// server closes; then waits a moment for those that are open. `refused` is told of every one turned away.
pub(super) async fn accept<R, S, T>(
    listener: TcpListener,
    entrance: Entrance,
    life: Life,
    refused: R,
    serve: S,
) where
    R: Fn(Turned) + Clone + 'static,
    S: Fn(TcpStream, SocketAddr) -> T + Clone + 'static,
    T: Future<Output = ()> + 'static,
{
    let mut open = JoinSet::new();
    let closing = life.closing();
    tokio::pin!(closing);
    loop {
        tokio::select! {
            biased;
            () = &mut closing => break,
            Some(_) = open.join_next(), if !open.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((mut stream, peer)) => match entrance.enter(peer) {
                    Ok(mut permit) => {
                        // Replies are written whole; waiting for more to send gains nothing.
                        let _ = stream.set_nodelay(true);
                        let (entrance, refused, serve) = (entrance.clone(), refused.clone(), serve.clone());
                        open.spawn_local(async move {
                            match entrance.introduce(&mut stream, peer, &mut permit).await {
                                Ok(client) => serve(stream, client).await,
                                Err(why) => refused(why),
                            }
                            drop(permit);
                        });
                    }
                    Err(why) => refused(why),
                },
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    sleep(REST).await;
                }
            }
        }
    }
    drop(listener);
    // What is left after that is dropped with `open`.
    let _ = timeout(GRACE, async { while open.join_next().await.is_some() {} }).await;
}

/// Whether a failed accept is about the connection that was to be accepted, which is gone.
pub(super) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
