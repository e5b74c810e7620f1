//! Connections accepted, counted and ended; what is said over them is others' business.
//!
//! Every thread that serves connections has a runtime of its own and its own listening sockets, so a
//! connection stays on the thread that accepted it and its state needs no lock. Layer 8.

use crate::serve::gate::Gate;
use crate::serve::life::Life;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

/// How long open connections have to finish once the server closes.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// How long nothing is accepted after the process ran out of something (file descriptors, memory).
pub(super) const REST: Duration = Duration::from_millis(50);

/// Runs `task` to its end, on a thread and a runtime of its own, with `listeners`.
///
/// # Errors
/// When the system gives no thread or no event queue.
pub(super) fn on_thread<F, T>(
    name: String,
    listeners: Vec<std::net::TcpListener>,
    task: F,
) -> io::Result<JoinHandle<()>>
where
    F: FnOnce(Vec<TcpListener>) -> T + Send + 'static,
    T: Future<Output = ()> + 'static,
{
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let listeners = {
        let _entered = runtime.enter();
        listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<Vec<_>>>()?
    };
    thread::Builder::new().name(name).spawn(move || {
        let local = LocalSet::new();
        local.block_on(&runtime, async move { task(listeners).await });
    })
}

/// Accepts on `listener` and serves each connection that `gate` lets in, until the server closes;
/// then waits a moment for those that are open. `refused` is told of every one turned away.
pub(super) async fn accept<S, T>(
    listener: TcpListener,
    gate: Arc<Gate>,
    life: Life,
    mut refused: impl FnMut(),
    mut serve: S,
) where
    S: FnMut(TcpStream, SocketAddr) -> T,
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
                Ok((stream, peer)) => match gate.enter(peer.ip()) {
                    Ok(permit) => {
                        // Replies are written whole; waiting for more to send gains nothing.
                        let _ = stream.set_nodelay(true);
                        let connection = serve(stream, peer);
                        open.spawn_local(async move {
                            connection.await;
                            drop(permit);
                        });
                    }
                    Err(_) => refused(),
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
