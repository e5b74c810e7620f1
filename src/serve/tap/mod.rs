//! What is told beside the answers: events that a thread of their own writes.
//!
//! A worker makes an [`Event`] of every so many'th packet or request and offers it to a queue of fixed length;
//! when that is full the event is dropped and counted, and nobody waits. The thread looks at the
//! queue fifty times a second, because waking it would cost a worker a system call an event, and writes the
//! octets of each to a [`Sink`] that it opens again whenever that is gone. Layer 8.
//!
//! | file | where events go |
//! |---|---|
//! | `dnstap` | a file or a socket of dnstap frames |
//! | `lines` | standard output, a file, or syslog: a line each |

pub mod dnstap;
pub mod lines;

use crate::metrics::{Counters, Label, Writer};
use crate::serve::life::Life;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Events that may wait to be written.
const QUEUED_MAX: usize = 8192;

/// How long a reader may take for a greeting or a write.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long is waited before a sink that is gone is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// How long events may lie in the queue; it is full after that time at 400,000 events a second.
const LOOK: Duration = Duration::from_millis(20);

/// How long the thread waits for workers to end when the server closes, at most.
const LINGER: Duration = Duration::from_secs(8);

/// What is told, as a worker has it.
pub trait Event: fmt::Debug + Send + 'static {
    /// It as octets, which may be made in `room`, whatever is there.
    fn octets<'a>(&'a self, room: &'a mut Vec<u8>) -> &'a [u8];
}

/// What a worker has made octets of.
impl Event for Vec<u8> {
    fn octets<'a>(&'a self, _room: &'a mut Vec<u8>) -> &'a [u8] {
        self
    }
}

/// Somewhere that events go.
pub trait Sink: fmt::Debug + Send + 'static {
    /// What is written there, for operators.
    const WHAT: &'static str;

    /// It, open.
    type Open: Open;

    /// Opens it.
    ///
    /// # Errors
    /// When it cannot be written now.
    fn open(&self) -> io::Result<Self::Open>;
}

/// An open [`Sink`]. Nothing waits for longer than a few seconds. After an error it is dropped.
pub trait Open {
    /// Writes an event, now or with the next [`Open::flush`].
    ///
    /// # Errors
    /// When it is not taken.
    fn put(&mut self, event: &[u8]) -> io::Result<Put>;

    /// Lets go of what is buffered.
    ///
    /// # Errors
    /// When it is not taken.
    fn flush(&mut self) -> io::Result<()>;

    /// Ends it, as its readers expect.
    ///
    /// # Errors
    /// When what is buffered is not taken.
    fn end(self) -> io::Result<()>;
}

/// Where an event is that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Buffered, perhaps.
    Waiting,
    /// Gone, as all before it.
    Gone,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tapped {
    /// Handed over.
    Queued,
    /// Not: the queue is full.
    Dropped,
    /// Written.
    Written,
    /// Handed over, and lost: the file or socket did not take it.
    Lost,
}

impl Label for Tapped {
    const ALL: &'static [Self] = &[Self::Queued, Self::Dropped, Self::Written, Self::Lost];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dropped => "dropped",
            Self::Written => "written",
            Self::Lost => "lost",
        }
    }
}

/// Makes each thread's [`Tap`].
#[derive(Debug, Clone)]
pub struct Taps<E = Vec<u8>> {
    queue: SyncSender<E>,
    one_in: u32,
    counters: Arc<Counters<Tapped>>,
    reopen: Arc<AtomicBool>,
}

impl<E: Event> Taps<E> {
    /// A queue of events for one in so many packets, and the thread's work to be done with it: writing to
    /// `sink` until the server closes.
    pub fn new<S: Sink>(
        sink: S,
        one_in: u32,
        counters: &Arc<Counters<Tapped>>,
        life: Life,
    ) -> (Self, impl FnOnce() + Send + 'static) {
        let (queue, events) = sync_channel(QUEUED_MAX);
        let (counting, reopen) = (Arc::clone(counters), Arc::<AtomicBool>::default());
        let (counters, asked) = (Arc::clone(counters), Arc::clone(&reopen));
        let taps = Self { queue, one_in: one_in.max(1), counters, reopen };
        let work = move || {
            let counter = counting.writer();
            Tapper { sink, events, room: Vec::new(), unflushed: 0, counter, reopen: asked, life }.run();
        };
        (taps, work)
    }

    /// One for a thread.
    pub fn tap(&self) -> Tap<E> {
        let Self { queue, one_in, counters, .. } = self;
        Tap { queue: queue.clone(), one_in: *one_in, seen: 0, counter: counters.writer() }
    }

    /// When it is set, the sink is opened anew: a file that was moved away is begun again under its name.
    pub fn reopen(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reopen)
    }
}

/// Starts a thread for the work of [`Taps::new`].
///
/// # Errors
/// When the system gives none.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// A thread's end of the queue.
pub struct Tap<E = Vec<u8>> {
    queue: SyncSender<E>,
    one_in: u32,
    seen: u32,
    counter: Writer<Tapped>,
}

impl<E> Tap<E> {
    /// Counts a packet, and says whether it is one to be told of.
    #[inline]
    pub fn is_due(&mut self) -> bool {
        self.seen += 1;
        if self.seen < self.one_in {
            return false;
        }
        self.seen = 0;
        true
    }

    /// Hands an event over, or drops it.
    pub fn offer(&self, event: E) {
        self.counter.count(match self.queue.try_send(event) {
            Ok(()) => Tapped::Queued,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Tapped::Dropped,
        });
    }
}

/// Writes what is queued.
struct Tapper<S, E> {
    sink: S,
    events: Receiver<E>,
    /// For octets of an event; used again.
    room: Vec<u8>,
    /// Events put that may be in a buffer, and the one that is being put.
    unflushed: u64,
    counter: Writer<Tapped>,
    reopen: Arc<AtomicBool>,
    life: Life,
}

/// Why writing pauses.
enum Rest {
    /// The queue is empty.
    Empty,
    /// Nobody will queue any more.
    Over,
}

impl<S: Sink, E: Event> Tapper<S, E> {
    /// Writes until the server closes.
    fn run(mut self) {
        let mut was_open = true;
        while !self.life.is_closing() {
            let ended = self.sink.open().and_then(|open| {
                tracing::info!(sink = ?self.sink, "{} is written from now on", S::WHAT);
                was_open = true;
                self.write(open)
            });
            let Err(error) = ended else { break };
            self.counter.add(Tapped::Lost, std::mem::take(&mut self.unflushed));
            // Once for each time that it goes.
            if std::mem::take(&mut was_open) {
                tracing::warn!(%error, sink = ?self.sink, "{} cannot be written; trying again", S::WHAT);
            }
            thread::sleep(PAUSE);
        }
        let lost = self.events.try_iter().count();
        self.counter.add(Tapped::Lost, lost as u64);
    }

    /// Writes to an open sink until the workers have ended, and ends it.
    fn write(&mut self, mut open: S::Open) -> io::Result<()> {
        let mut closing = None;
        loop {
            let is_reopened = self.reopen.swap(false, Ordering::AcqRel);
            let rest = self.put_all(&mut open)?;
            if self.life.is_closing() {
                closing = closing.or_else(|| Some(Instant::now()));
            }
            if matches!(rest, Rest::Over) || closing.is_some_and(|since: Instant| since.elapsed() > LINGER) {
                open.end()?;
                self.flushed();
                return Ok(());
            }
            open.flush()?;
            self.flushed();
            // What was queued before goes where it belonged.
            if is_reopened {
                open = self.replace(open)?;
            }
            thread::sleep(LOOK);
        }
    }

    /// Writes all that is queued.
    fn put_all(&mut self, open: &mut S::Open) -> io::Result<Rest> {
        // Workers may be quicker than the sink: others have to be looked at in between.
        for _ in 0..QUEUED_MAX {
            match self.events.try_recv() {
                Ok(event) => {
                    self.unflushed += 1;
                    if open.put(event.octets(&mut self.room))? == Put::Gone {
                        self.flushed();
                    }
                }
                Err(TryRecvError::Empty) => return Ok(Rest::Empty),
                Err(TryRecvError::Disconnected) => return Ok(Rest::Over),
            }
        }
        Ok(Rest::Empty)
    }

    /// Counts what the sink has taken.
    fn flushed(&mut self) {
        self.counter.add(Tapped::Written, std::mem::take(&mut self.unflushed));
    }

    /// Opens the sink anew and ends `open`; stays with that where it cannot be.
    fn replace(&mut self, open: S::Open) -> io::Result<S::Open> {
        match self.sink.open() {
            Ok(next) => {
                open.end()?;
                self.flushed();
                Ok(next)
            }
            Err(error) => {
                let sink = &self.sink;
                tracing::warn!(%error, ?sink, "{} cannot be opened again; written on as it was", S::WHAT);
                Ok(open)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::dnstap::Dnstap;
    use super::*;
    use crate::dnstap::frames;
    use crate::serve::life::Phase;

    #[test]
    fn events_are_written_to_a_file_until_the_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tap");
        let (counters, life) = (Arc::default(), Life::new());
        let (taps, work) = Taps::new(Dnstap::File(path.clone()), 3, &counters, life.clone());
        let mut tap = taps.tap();
        let due: Vec<bool> = (0..6).map(|_| tap.is_due()).collect();
        assert_eq!(due, [false, false, true, false, false, true]);
        tap.offer(b"one".to_vec());
        tap.offer(b"two".to_vec());
        drop((taps, tap));
        start("tap", work).expect("a thread").join().expect("no panic");
        let mut expected = Vec::new();
        frames::begin_file(&mut expected).expect("written");
        frames::put(&mut expected, b"one").expect("written");
        frames::put(&mut expected, b"two").expect("written");
        frames::end(&mut expected).expect("written");
        assert_eq!(std::fs::read(path).expect("a file"), expected);
        assert_eq!((counters.get(Tapped::Queued), counters.get(Tapped::Written)), (2, 2));
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_nobody_waits() {
        let counters = Arc::default();
        let sink = Dnstap::Socket("/nowhere/at/all".into());
        let (taps, work) = Taps::new(sink, 1, &counters, Life::new());
        let tap = taps.tap();
        (0..QUEUED_MAX + 7).for_each(|_| tap.offer(vec![1]));
        assert_eq!(counters.get(Tapped::Dropped), 7);
        drop(work);
        tap.offer(vec![1]);
        assert_eq!(counters.get(Tapped::Dropped), 8);
    }

    /// A sink that takes two events at once, and then no more.
    #[derive(Debug)]
    struct Two;

    impl Sink for Two {
        const WHAT: &'static str = "a test";

        type Open = usize;

        fn open(&self) -> io::Result<usize> {
            Ok(2)
        }
    }

    impl Open for usize {
        fn put(&mut self, _event: &[u8]) -> io::Result<Put> {
            *self = self.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(Put::Gone)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn end(self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_gone_is_not_lost_when_the_sink_fails() {
        let (queue, events) = sync_channel(QUEUED_MAX);
        (0..5).for_each(|_| queue.try_send(vec![1]).expect("room"));
        let counters = Arc::<Counters<Tapped>>::default();
        let (counter, reopen) = (counters.writer(), Arc::default());
        let mut tapper =
            Tapper { sink: Two, events, room: Vec::new(), unflushed: 0, counter, reopen, life: Life::new() };
        let mut open = tapper.sink.open().expect("open");
        assert!(tapper.put_all(&mut open).is_err());
        let lost = std::mem::take(&mut tapper.unflushed);
        assert_eq!((counters.get(Tapped::Written), lost), (2, 1));
        // The others wait for the sink to be opened again.
        let mut open = tapper.sink.open().expect("open");
        assert!(tapper.put_all(&mut open).is_ok());
        assert_eq!(counters.get(Tapped::Written), 4);
    }

    #[test]
    fn a_closed_server_does_not_wait_for_a_socket() {
        let life = Life::new();
        let sink = Dnstap::Socket("/nowhere/at/all".into());
        let (_taps, work) = Taps::<Vec<u8>>::new(sink, 1, &Arc::default(), life.clone());
        life.enter(Phase::Closing);
        start("tap", work).expect("a thread").join().expect("no panic");
    }
}
