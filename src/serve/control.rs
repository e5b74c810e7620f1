//! The push API's router on its listeners.
//!
//! One thread; what takes long (a push) runs on blocking threads that the router starts. Layer 8.

use crate::control::Peer;
use crate::serve::accept::{Entrance, accept};
use crate::serve::gate::Gate;
use crate::serve::http::{Limits, converse};
use crate::serve::life::Life;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Connections at a time, at most; of them from one address that is not loopback.
const OPEN_MAX: usize = 1024;
/// See [`OPEN_MAX`].
const PEER_MAX: usize = 256;

/// Serves `router` on all `listeners` until the server closes. Each request carries its [`Peer`].
pub(super) async fn serve(listeners: Vec<(TcpListener, Entrance)>, router: Router, life: Life) {
    let gate = Gate::new(OPEN_MAX, PEER_MAX);
    let mut loops = JoinSet::new();
    for (listener, entrance) in listeners {
        // A gate of its own: redirects do not keep operators out.
        let entrance = Entrance { gate: Arc::clone(&gate), ..entrance };
        let service = TowerToHyperService::new(router.clone());
        let connection = {
            let life = life.clone();
            move |stream, peer| {
                let service = service.clone();
                let respond = move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(Peer(peer));
                    let answering = service.call(request);
                    async move {
                        match answering.await {
                            Ok(response) => response,
                            Err(never) => match never {},
                        }
                    }
                };
                converse(TokioIo::new(stream), Limits::CONTROL, life.clone(), respond)
            }
        };
        let refused = |_| tracing::warn!("control: too many connections");
        loops.spawn_local(accept(listener, entrance, life.clone(), refused, connection));
    }
    while loops.join_next().await.is_some() {}
}
