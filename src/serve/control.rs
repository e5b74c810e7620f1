//! The push API's router on its listeners.
//!
//! One thread; what takes long (a push) runs on blocking threads that the router starts. Layer 8.

use crate::config;
use crate::control::{Peer, Secured};
use crate::metrics::Label;
use crate::serve::accept::{Entrance, accept};
use crate::serve::gate::Gate;
use crate::serve::http::{Limits, converse};
use crate::serve::life::Life;
use crate::serve::tls::Acceptor;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Connections at a time, at most; of them from one address that is not loopback.
const OPEN_MAX: usize = 1024;
/// See [`OPEN_MAX`].
const PEER_MAX: usize = 256;

/// Serves `router` on all `listeners` until the server closes, over TLS where there is an acceptor. Each request
/// carries its [`Peer`], and [`Secured`] over TLS.
pub(super) async fn serve(
    listeners: Vec<(TcpListener, Entrance)>,
    router: Router,
    tls: Option<Acceptor>,
    life: Life,
) {
    let greeter = tls.map(|acceptor| acceptor.greeter());
    let gate = Gate::new(OPEN_MAX, PEER_MAX, config::loopback());
    let mut loops = JoinSet::new();
    for (listener, entrance) in listeners {
        // A gate of its own: redirects do not keep operators out.
        let entrance = Entrance { gate: Arc::clone(&gate), ..entrance };
        let (router, greeter, closing) = (router.clone(), greeter.clone(), life.clone());
        let connection = move |stream, peer| {
            let (router, greeter, life) = (router.clone(), greeter.clone(), closing.clone());
            async move {
                let Some(greeter) = greeter else {
                    return talk(stream, Peer(peer), None, router, life).await;
                };
                if let Some(stream) = greeter.greet(stream).await {
                    let secured = Secured(stream.client_names());
                    talk(stream, Peer(peer), Some(secured), router, life).await;
                }
            }
        };
        let refused = |_| tracing::warn!("control: too many connections");
        loops.spawn_local(accept(listener, entrance, life.clone(), refused, connection));
    }
    while loops.join_next().await.is_some() {}
}

/// Answers one connection by `router`.
async fn talk<S>(stream: S, peer: Peer, secured: Option<Secured>, router: Router, life: Life)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = TowerToHyperService::new(router);
    let respond = move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        if let Some(secured) = &secured {
            request.extensions_mut().insert(secured.clone());
        }
        let answering = service.call(request);
        async move {
            match answering.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    if let Some(why) = converse(stream, Limits::CONTROL, life, respond).await {
        tracing::debug!(why = why.name(), "control: a connection was ended");
    }
}
