//! dnstap, beside the answers: every so many'th packet is handed to a thread that writes.
//!
//! A worker encodes an event and offers it to a queue of fixed length; when the queue is full the event is
//! dropped and counted, and nobody waits. The thread writes to a file, or to a socket that it connects to
//! again whenever it is gone. Layer 8.

use crate::dnstap::frames;
use crate::metrics::{Counters, Label, Writer};
use crate::serve::life::Life;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Events that may wait to be written.
const QUEUED_MAX: usize = 8192;

/// How long a socket's reader may take for a greeting or a write.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long is waited before a socket that is gone is connected to again; events are dropped meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// How long written events may lie in the buffer, and how soon the server's end is noticed.
const FLUSH: Duration = Duration::from_millis(200);

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// A file, begun anew.
    File(PathBuf),
    /// A Unix socket that a reader listens on.
    Socket(PathBuf),
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
pub struct Taps {
    queue: SyncSender<Vec<u8>>,
    one_in: u32,
    counters: Arc<Counters<Tapped>>,
}

impl Taps {
    /// A queue of events for one in so many packets, and the thread's work to be done with it: writing to
    /// `sink` until the server closes.
    pub fn new(
        sink: Sink,
        one_in: u32,
        counters: &Arc<Counters<Tapped>>,
        life: Life,
    ) -> (Self, impl FnOnce() + Send + 'static) {
        let (queue, events) = sync_channel(QUEUED_MAX);
        let counting = Arc::clone(counters);
        let taps = Self { queue, one_in: one_in.max(1), counters: Arc::clone(counters) };
        (taps, move || Tapper { sink, events, counter: counting.writer(), life }.run())
    }

    /// Starts that thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name("dnstap".to_owned()).spawn(work)
    }

    /// One for a thread.
    pub fn tap(&self) -> Tap {
        let Self { queue, one_in, counters } = self;
        Tap { queue: queue.clone(), one_in: *one_in, seen: 0, counter: counters.writer() }
    }
}

/// A thread's end of the queue.
pub struct Tap {
    queue: SyncSender<Vec<u8>>,
    one_in: u32,
    seen: u32,
    counter: Writer<Tapped>,
}

impl Tap {
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
    pub fn offer(&self, event: Vec<u8>) {
        self.counter.count(match self.queue.try_send(event) {
            Ok(()) => Tapped::Queued,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Tapped::Dropped,
        });
    }
}

/// An open sink.
enum Open {
    File(BufWriter<File>),
    Socket(BufWriter<UnixStream>),
}

impl Open {
    /// Opens `sink`.
    fn new(sink: &Sink) -> io::Result<Self> {
        match sink {
            Sink::File(path) => {
                let mut file = BufWriter::new(File::create(path)?);
                frames::begin_file(&mut file)?;
                Ok(Self::File(file))
            }
            Sink::Socket(path) => {
                let mut socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.set_write_timeout(Some(PATIENCE))?;
                frames::begin_socket(&mut socket)?;
                Ok(Self::Socket(BufWriter::new(socket)))
            }
        }
    }

    /// Writes an event.
    fn put(&mut self, event: &[u8]) -> io::Result<()> {
        match self {
            Self::File(out) => frames::put(out, event),
            Self::Socket(out) => frames::put(out, event),
        }
    }

    /// Lets go of what is buffered.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(out) => out.flush(),
            Self::Socket(out) => out.flush(),
        }
    }

    /// Ends it.
    fn end(self) -> io::Result<()> {
        match self {
            Self::File(mut out) => {
                frames::end(&mut out)?;
                out.flush()
            }
            Self::Socket(mut out) => {
                frames::end(&mut out)?;
                out.flush()?;
                frames::wait_for_finish(out.get_mut())
            }
        }
    }
}

/// Writes what is queued.
struct Tapper {
    sink: Sink,
    events: Receiver<Vec<u8>>,
    counter: Writer<Tapped>,
    life: Life,
}

impl Tapper {
    /// Writes until the server closes.
    fn run(self) {
        let mut was_open = true;
        while !self.life.is_closing() {
            let ended = Open::new(&self.sink).and_then(|open| {
                tracing::info!(sink = ?self.sink, "dnstap is written");
                was_open = true;
                self.write(open)
            });
            let Err(error) = ended else { return };
            // Once for each time that it goes.
            if std::mem::take(&mut was_open) {
                tracing::warn!(%error, sink = ?self.sink, "dnstap cannot be written; trying again");
            }
            thread::sleep(PAUSE);
            self.drain();
        }
    }

    /// Writes to an open sink until the server closes, and ends it.
    fn write(&self, mut open: Open) -> io::Result<()> {
        loop {
            match self.events.recv_timeout(FLUSH) {
                Ok(event) => {
                    let written = open.put(&event);
                    self.counter.count(if written.is_ok() { Tapped::Written } else { Tapped::Lost });
                    written?;
                }
                Err(RecvTimeoutError::Timeout) if !self.life.is_closing() => open.flush()?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return open.end(),
            }
        }
    }

    /// Throws away what waits: it is too old when the sink is back.
    fn drain(&self) {
        let lost = self.events.try_iter().count();
        self.counter.add(Tapped::Lost, lost as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::life::Phase;

    #[test]
    fn events_are_written_to_a_file_until_the_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tap");
        let (counters, life) = (Arc::default(), Life::new());
        let (taps, work) = Taps::new(Sink::File(path.clone()), 3, &counters, life.clone());
        let mut tap = taps.tap();
        let due: Vec<bool> = (0..6).map(|_| tap.is_due()).collect();
        assert_eq!(due, [false, false, true, false, false, true]);
        tap.offer(b"one".to_vec());
        tap.offer(b"two".to_vec());
        drop((taps, tap));
        Taps::start(work).expect("a thread").join().expect("no panic");
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
        let sink = Sink::Socket("/nowhere/at/all".into());
        let (taps, work) = Taps::new(sink, 1, &counters, Life::new());
        let tap = taps.tap();
        (0..QUEUED_MAX + 7).for_each(|_| tap.offer(vec![1]));
        assert_eq!(counters.get(Tapped::Dropped), 7);
        drop(work);
        tap.offer(vec![1]);
        assert_eq!(counters.get(Tapped::Dropped), 8);
    }

    #[test]
    fn a_closed_server_does_not_wait_for_a_socket() {
        let life = Life::new();
        let sink = Sink::Socket("/nowhere/at/all".into());
        let (_taps, work) = Taps::new(sink, 1, &Arc::default(), life.clone());
        life.enter(Phase::Closing);
        Taps::start(work).expect("a thread").join().expect("no panic");
    }
}
