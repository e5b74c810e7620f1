//! What listeners ask of the DNS side: bytes in, bytes out, a batch at a time.
//!
//! The one implementation for production is in `desk`; tests of the listeners use an echo.
//! Layer 8; no I/O.

use crate::dns::Transport;
use std::net::SocketAddr;

/// What befell a packet outside of the answer. A received packet has one outcome from the answer or
/// one of those marked *instead*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mishap {
    /// *Instead:* it was longer than any query.
    Oversized,
    /// *Instead:* it came from port 0, or from a port that answers anything.
    NoPeer,
    /// *Instead:* the kernel did not say which address it was sent to.
    NoDestination,
    /// *Instead:* it had no valid PROXY header where one has to be, or came from nobody who may send one.
    NoHeader,
    /// *Instead:* the answer panicked.
    Panicked,
    /// It was answered, but the kernel did not take the reply.
    NotSent,
    /// The kernel could not receive: no packet.
    NotReceived,
    /// A connection was closed at once: there are too many. No packet.
    NotAccepted,
    /// A connection was closed: it did not begin with a valid PROXY header where one has to be, or came
    /// from nobody who may send one. No packet.
    NotIntroduced,
}

/// Answers queries; each thread has its own, with its buffers and counters.
pub trait Answer: 'static {
    /// What all queries of a batch are answered from: the snapshot of the moment.
    type World;

    /// Begins a batch: loads the snapshot, once, after the receive.
    fn begin(&mut self) -> Self::World;

    /// Looks at the `count` queries of a batch before they are answered one by one. Changes no answer.
    fn foresee<'q>(&mut self, _world: &Self::World, _count: usize, _queries: impl Iterator<Item = &'q [u8]>) {
    }

    /// Answers `query` into `out` (65,535 octets for a stream, [`DATAGRAM_LEN`] for a datagram) and
    /// says how many octets it wrote; 0 when there is to be no reply.
    ///
    /// [`DATAGRAM_LEN`]: super::udp::DATAGRAM_LEN
    fn answer(
        &mut self,
        world: &Self::World,
        peer: SocketAddr,
        transport: Transport,
        query: &[u8],
        out: &mut [u8],
    ) -> usize;

    /// Ends a batch of `count` packets, after the replies were sent.
    fn finish(&mut self, count: usize);

    /// Counts what happened outside of [`Answer::answer`].
    fn count(&mut self, mishap: Mishap, count: u64);

    /// Forgets what a panic in [`Answer::answer`] may have left half done, before the next query.
    fn recover(&mut self);
}

/// Makes each thread's [`Answer`].
pub trait MakeAnswer: Clone + Send + 'static {
    /// What it makes.
    type Answer: Answer;

    /// Makes the one of thread `index`, on that thread.
    fn make(&self, index: usize) -> Self::Answer;
}

#[cfg(test)]
pub(super) mod echo {
    //! An answer that repeats the query, for tests of the listeners.

    use super::{Answer, MakeAnswer, Mishap};
    use crate::dns::Transport;
    use std::collections::HashMap;
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};

    /// What echoes count, together.
    #[derive(Debug, Clone, Default)]
    pub struct Counts(Arc<Mutex<Inner>>);

    /// Numbers behind [`Counts`].
    #[derive(Debug, Default)]
    struct Inner {
        answered: u64,
        batches: u64,
        mishaps: HashMap<Mishap, u64>,
    }

    impl Counts {
        /// Replies.
        pub fn answered(&self) -> u64 {
            self.0.lock().expect("no panic").answered
        }

        /// Batches.
        pub fn batches(&self) -> u64 {
            self.0.lock().expect("no panic").batches
        }

        /// Mishaps of one kind.
        pub fn of(&self, mishap: Mishap) -> u64 {
            self.0.lock().expect("no panic").mishaps.get(&mishap).copied().unwrap_or_default()
        }
    }

    /// Replies `re` and the query.
    #[derive(Debug, Clone)]
    pub struct Echo(Counts);

    impl Echo {
        /// A query that makes it panic.
        pub const PANIC: &[u8] = b"panic!";
        /// A query that it does not answer.
        pub const SILENT: &[u8] = b"hush";

        /// One that counts into `counts`.
        pub fn counted(counts: &Counts) -> Self {
            Self(counts.clone())
        }

        /// What it replies.
        pub fn reply_to(query: &[u8]) -> Vec<u8> {
            [b"re", query].concat()
        }
    }

    impl MakeAnswer for Echo {
        type Answer = Self;

        fn make(&self, _index: usize) -> Self {
            self.clone()
        }
    }

    impl Answer for Echo {
        type World = ();

        fn begin(&mut self) {}

        fn answer(&mut self, (): &(), _: SocketAddr, _: Transport, query: &[u8], out: &mut [u8]) -> usize {
            assert_ne!(query, Self::PANIC, "told to");
            if query == Self::SILENT {
                return 0;
            }
            self.0.0.lock().expect("no panic").answered += 1;
            let reply = Self::reply_to(query);
            out[..reply.len()].copy_from_slice(&reply);
            reply.len()
        }

        fn finish(&mut self, _count: usize) {
            self.0.0.lock().expect("no panic").batches += 1;
        }

        fn count(&mut self, mishap: Mishap, count: u64) {
            *self.0.0.lock().expect("no panic").mishaps.entry(mishap).or_default() += count;
        }

        fn recover(&mut self) {}
    }
}
