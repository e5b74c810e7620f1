//! Servers made of the libraries that steerd stands on, with one static answer: what a handler costs
//! before it does anything.

use async_trait::async_trait;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::Metadata;
use hickory_server::proto::rr::rdata::A;
use hickory_server::proto::rr::{Name, RData, Record};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use tokio::net::{TcpListener, UdpSocket};

/// A hickory handler that sends one record.
struct Static(Record);

#[async_trait]
impl RequestHandler for Static {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut replies: R,
    ) -> ResponseInfo {
        let mut head = Metadata::response_from_request(&request.metadata);
        head.authoritative = true;
        let reply = MessageResponseBuilder::from_message_request(request);
        let reply = reply.build(head, [&self.0], [], [], []);
        replies.send_response(reply).await.expect("loopback takes a reply")
    }
}

/// Answers DNS over UDP with one address, for ever.
pub fn hickory(at: SocketAddr) {
    on_one_thread(async move {
        let name = Name::from_ascii("video.cdn.example.").expect("a name");
        let record = Record::from_rdata(name, 30, RData::A(A::new(10, 0, 0, 0)));
        let mut server = Server::new(Static(record));
        server.register_socket(UdpSocket::bind(at).await.expect("a free port"));
        server.block_until_done().await.expect("no end");
    });
}

/// Redirects every HTTP/1.1 request to one appliance, for ever.
pub fn hyper(at: SocketAddr) {
    on_one_thread(async move {
        let listener = TcpListener::bind(at).await.expect("a free port");
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            // Cannot fail on an open socket.
            let _ = stream.set_nodelay(true);
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service_fn(redirect));
            // How a connection ends is its own affair.
            tokio::spawn(async move { connection.await.ok() });
        }
    });
}

/// The static redirect; the path goes along.
async fn redirect(request: HttpRequest<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let location = format!("http://c000-a00.cdn.example{path}");
    let response = Response::builder().status(302).header("location", location);
    Ok(response.header("cache-control", "no-store").body(Empty::new()).expect("a valid response"))
}

/// Runs `server` on this thread alone.
fn on_one_thread(server: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(server);
}
