//! DNS over TCP (RFC 7766) and TLS (RFC 7858), on hickory's framing.
//!
//! hickory-server reads and writes the length-prefixed messages, queues replies, holds reading back
//! while a reply is unsent, and cuts off peers that say nothing. Answers are made by the same
//! [`Answer`] as for UDP, from bytes to bytes.
//!
//! Its `Server`, which would accept the connections too, is not used for these reasons: a
//! `RequestHandler` gets no way to send a reply of ready-made bytes (`ResponseHandler` takes a
//! `MessageResponse` and encodes it anew, without our options and limits); queries that hickory's
//! decoder does not take are answered FORMERR without asking us (an unknown ECS family among them, and
//! then without OPT); it writes two log lines a query; and it accepts any number of connections.
//! Its decoder reads our replies in tests, as a second opinion.
//!
//! Queries of a connection may be sent without waiting (RFC 7766 section 6.2.1.1); they are answered
//! one by one, in their order. Layer 8. Tests: below.

use crate::dns::Transport;
use crate::serve::accept::{Entrance, Turned, accept};
use crate::serve::answer::{Answer, MakeAnswer, Mishap};
use crate::serve::life::Life;
use crate::serve::tls::Acceptor;
use futures_util::StreamExt;
use hickory_server::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_server::net::tcp::TcpStream as DnsStream;
use hickory_server::net::{BufDnsStreamHandle, DnsStreamHandle};
use hickory_server::proto::op::SerialMessage;
use hickory_server::server::TimeoutStream;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Octets of the largest message: what the length prefix can say.
const MESSAGE_LEN: usize = u16::MAX as usize;

/// Replies that may wait to be written on a connection: the next query is read after the last reply
/// is out.
const REPLIES_QUEUED_MAX: usize = 1;

/// What a thread's connections share: one answer, one buffer.
pub(super) struct Desk<A> {
    pub answer: A,
    reply: Box<[u8]>,
}

impl<A: Answer> Desk<A> {
    /// A desk with room for the largest reply.
    pub fn new(answer: A) -> Self {
        Self { answer, reply: vec![0; MESSAGE_LEN].into() }
    }

    /// The reply to `query`; `None` where there is to be none, and where the answer panicked.
    pub fn answer(&mut self, peer: SocketAddr, transport: Transport, query: &[u8]) -> Option<Vec<u8>> {
        let Self { answer, reply } = self;
        // What a panic leaves half done is not used again: `answer` is told.
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let world = answer.begin();
            let len = answer.answer(&world, peer, transport, query, reply);
            answer.finish(1);
            len
        }));
        match answered {
            Ok(len) => reply.get(..len).filter(|reply| !reply.is_empty()).map(<[u8]>::to_vec),
            Err(_) => {
                self.answer.recover();
                self.answer.count(Mishap::Panicked, 1);
                None
            }
        }
    }
}

/// Listening sockets, and what their connections are let in by.
pub(super) type Listeners<L> = Vec<(L, Entrance)>;

/// Serves all `listeners` of thread `index` until the server closes; over TLS where there is an acceptor.
pub(super) async fn serve<M: MakeAnswer>(
    index: usize,
    listeners: Listeners<TcpListener>,
    make: M,
    tls: Option<Acceptor>,
    idle: Duration,
    life: Life,
) {
    let desk = Rc::new(RefCell::new(Desk::new(make.make(index))));
    let greeter = tls.map(|acceptor| acceptor.greeter());
    let mut loops = JoinSet::new();
    for (listener, entrance) in listeners {
        let (life, desk, greeter) = (life.clone(), Rc::clone(&desk), greeter.clone());
        let refusing = Rc::clone(&desk);
        let refused = move |why| refusing.borrow_mut().answer.count(Mishap::from(why), 1);
        let closing = life.clone();
        let connection = move |stream, peer| {
            let (greeter, desk, life) = (greeter.clone(), Rc::clone(&desk), life.clone());
            async move {
                let Some(greeter) = greeter else {
                    return converse(stream, peer, Transport::Tcp, desk, idle, life).await;
                };
                if let Some(stream) = greeter.greet(stream).await {
                    converse(stream, peer, Transport::Tls, desk, idle, life).await;
                }
            }
        };
        loops.spawn_local(accept(listener, entrance, closing, refused, connection));
    }
    while loops.join_next().await.is_some() {}
}

impl From<Turned> for Mishap {
    fn from(why: Turned) -> Self {
        match why {
            Turned::Full | Turned::NetworkFull => Self::NotAccepted,
            Turned::NotIntroduced => Self::NotIntroduced,
        }
    }
}

/// Answers the queries of one connection until the peer ends it, is silent for `idle`, sends what
/// gets no reply, or the server closes.
async fn converse<S, A>(
    stream: S,
    peer: SocketAddr,
    transport: Transport,
    desk: Rc<RefCell<Desk<A>>>,
    idle: Duration,
    life: Life,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
    A: Answer,
{
    // RFC 1035 section 4.2.2 has no ports that cannot be replied to, but UDP has: be the same.
    if peer.port() == 0 {
        return;
    }
    let (stream, mut replies): (_, BufDnsStreamHandle) =
        DnsStream::from_stream_with_buffer_size(AsyncIoTokioAsStd(stream), peer, REPLIES_QUEUED_MAX);
    let mut queries = TimeoutStream::new(stream, idle);
    let closing = life.closing();
    tokio::pin!(closing);
    loop {
        // Reading writes what is queued first, so a reply is out before the server's end is looked at.
        let next = tokio::select! {
            biased;
            next = queries.next() => next,
            () = &mut closing => return,
        };
        let Some(Ok(query)) = next else { return };
        let reply = desk.borrow_mut().answer(peer, transport, query.bytes());
        let Some(reply) = reply else { return };
        if replies.send(SerialMessage::new(reply, peer)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::answer::echo::{Counts, Echo};
    use crate::serve::life::Phase;
    use std::future::Future;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::runtime;
    use tokio::task::{LocalSet, spawn_local};
    use tokio::time::timeout;

    /// `message` behind its length.
    fn framed(message: &[u8]) -> Vec<u8> {
        let len = u16::try_from(message.len()).expect("a short message");
        [&len.to_be_bytes(), message].concat()
    }

    /// Runs `test` with the client's end of a connection, everything on this thread.
    fn with_connection<T>(idle: Duration, counts: &Counts, life: &Life, test: impl FnOnce(DuplexStream) -> T)
    where
        T: Future<Output = ()>,
    {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let desk = Rc::new(RefCell::new(Desk::new(Echo::counted(counts))));
        let (client, server) = duplex(1 << 20);
        let peer = SocketAddr::from(([192, 0, 2, 1], 4000));
        LocalSet::new().block_on(&runtime, async {
            let serving = spawn_local(converse(server, peer, Transport::Tcp, desk, idle, life.clone()));
            timeout(Duration::from_secs(10), test(client)).await.expect("an end in time");
            serving.await.expect("an end by itself");
        });
    }

    /// Long enough not to end a test.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn rfc7766_s6_2_1_1_queries_sent_without_waiting_are_all_answered() {
        let (counts, life) = (Counts::default(), Life::new());
        with_connection(LONG, &counts, &life, |mut client| async move {
            let queries: Vec<Vec<u8>> = (0..200).map(|n| vec![n; usize::from(n) + 1]).collect();
            let sent: Vec<u8> = queries.iter().flat_map(|query| framed(query)).collect();
            let expected: Vec<u8> = queries.iter().flat_map(|query| framed(&Echo::reply_to(query))).collect();
            client.write_all(&sent).await.expect("sent");
            // The peer has no more to ask and waits for the replies (RFC 7766 section 6.2.1).
            client.shutdown().await.expect("half closed");
            let mut replies = Vec::new();
            client.read_to_end(&mut replies).await.expect("replies");
            assert_eq!(replies, expected);
        });
        assert_eq!(counts.answered(), 200);
    }

    #[test]
    fn a_query_may_come_in_any_pieces() {
        let (counts, life) = (Counts::default(), Life::new());
        with_connection(LONG, &counts, &life, |mut client| async move {
            for octet in framed(b"slow") {
                client.write_all(&[octet]).await.expect("sent");
                tokio::task::yield_now().await;
            }
            let expected = framed(&Echo::reply_to(b"slow"));
            let mut reply = vec![0; expected.len()];
            client.read_exact(&mut reply).await.expect("a reply");
            assert_eq!(reply, expected);
        });
    }

    #[test]
    fn rfc7766_s6_2_3_a_silent_connection_is_closed() {
        let (counts, life) = (Counts::default(), Life::new());
        for sent in [&b""[..], &[0], &[0, 9, b'h', b'a', b'l', b'f']] {
            with_connection(Duration::from_millis(20), &counts, &life, |mut client| async move {
                client.write_all(sent).await.expect("sent");
                assert_eq!(client.read(&mut [0; 8]).await.expect("the end"), 0);
            });
        }
    }

    #[test]
    fn what_gets_no_reply_ends_the_connection() {
        let (counts, life) = (Counts::default(), Life::new());
        for query in [Echo::SILENT, Echo::PANIC, b""] {
            with_connection(LONG, &counts, &life, |mut client| async move {
                client.write_all(&[framed(b"one"), framed(query)].concat()).await.expect("sent");
                let mut replies = Vec::new();
                client.read_to_end(&mut replies).await.expect("replies");
                assert_eq!(replies, framed(&Echo::reply_to(b"one")));
            });
        }
        assert_eq!(counts.of(Mishap::Panicked), 1);
    }

    #[test]
    fn a_closing_server_ends_connections() {
        let (counts, life) = (Counts::default(), Life::new());
        let closer = life.clone();
        with_connection(LONG, &counts, &life, |mut client| async move {
            client.write_all(&framed(b"last")).await.expect("sent");
            let mut reply = vec![0; framed(&Echo::reply_to(b"last")).len()];
            client.read_exact(&mut reply).await.expect("a reply");
            closer.enter(Phase::Closing);
            assert_eq!(client.read(&mut reply).await.expect("the end"), 0);
        });
    }
}
