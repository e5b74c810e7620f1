//! From the first signal handler to the last thread: the life of the process around a [`Server`].
//!
//! Signals and the service manager are here, and the two threads that do something every second.
//! Ruling 27: SIGTERM or SIGINT makes the server drain for a while, then close; a second one ends the
//! process at once. SIGHUP rereads. Layer 8.

use crate::serve::Server;
use crate::serve::life::{Life, Phase};
use crate::units::UnixMs;
use sd_notify::NotifyState;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

/// How often things are looked at that only time changes.
const SECOND: Duration = Duration::from_secs(1);

/// A chore: told the time, does not fail.
pub type Chore = Box<dyn FnMut(UnixMs) + Send>;

/// What is done beside answering.
pub struct Chores {
    /// Every second, in microseconds: staleness, ramps, the ends of overrides, counters.
    pub tick: Chore,
    /// Every second, and may take seconds itself: files that are watched.
    pub watch: Chore,
    /// On SIGHUP, and may take seconds: config, certificates, GeoIP. Says itself what went wrong.
    pub reload: Chore,
}

/// How the process was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Once: it drained, and all threads have ended.
    Drained,
    /// Twice: threads are still running.
    AtOnce,
}

/// Starts a server by `start`, tells `announce` one line a listener when all of them answer, and
/// serves for as long as nobody sends SIGTERM or SIGINT; then drains for `drain`.
///
/// # Errors
/// What `start` says; an [`io::Error`] when signals cannot be handled.
pub fn run<E: From<io::Error>>(
    drain: Duration,
    start: impl FnOnce(Life) -> Result<(Server, Chores), E>,
    mut announce: impl FnMut(&str),
) -> Result<Ended, E> {
    // Before anybody can think that we are ready, so that no signal is lost.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = Signals::install(&runtime)?;
    let (server, chores) = start(Life::new())?;
    let (reload, errands) = spawn_chores(chores)?;
    for line in server.lines() {
        announce(line);
    }
    notify(&[NotifyState::Ready]);
    let life = server.life().clone();
    let ended = runtime.block_on(async {
        // The thread that reloads lives as long as `reload`.
        signals.wait_for_end(|| _ = reload.send(())).await;
        tracing::info!(drain_s = drain.as_secs(), "draining");
        notify(&[NotifyState::Stopping]);
        life.enter(Phase::Draining);
        tokio::select! {
            biased;
            () = signals.end() => {
                server.abandon();
                return Ok(Ended::AtOnce);
            }
            () = sleep(drain) => {}
        }
        life.enter(Phase::Closing);
        let closed = tokio::task::spawn_blocking(move || server.stop());
        tokio::select! {
            biased;
            () = signals.end() => Ok(Ended::AtOnce),
            closed = closed => closed.map(|()| Ended::Drained).map_err(io::Error::other),
        }
    })?;
    match ended {
        Ended::AtOnce => runtime.shutdown_background(),
        Ended::Drained => {
            drop(reload);
            errands.into_iter().for_each(|thread| drop(thread.join()));
        }
    }
    Ok(ended)
}

/// The clock.
pub fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Signals that are handled.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Handles them from now on.
    fn install(runtime: &Runtime) -> io::Result<Self> {
        let _entered = runtime.enter();
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for SIGTERM or SIGINT; calls `reload` for each SIGHUP meanwhile.
    async fn wait_for_end(&mut self, reload: impl Fn()) {
        loop {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => reload(),
            }
        }
    }
}

/// Starts the threads that do `chores`; they end when the sender is dropped, which asks for a reload
/// otherwise.
fn spawn_chores(chores: Chores) -> io::Result<(Sender<()>, Vec<JoinHandle<()>>)> {
    let Chores { mut tick, mut watch, mut reload } = chores;
    let (sender, asked) = mpsc::channel();
    let (ticking, stopped) = mpsc::channel::<()>();
    let ticker = thread::Builder::new().name("tick".to_owned()).spawn(move || {
        every_second(&stopped, || guarded("tick", &mut tick), || {});
    })?;
    let errands = thread::Builder::new().name("errands".to_owned()).spawn(move || {
        // The ticker ends with this thread.
        let _ticking = ticking;
        let reload = || {
            notify_reloading();
            guarded("reload", &mut reload);
            notify(&[NotifyState::Ready]);
        };
        every_second(&asked, || guarded("watch", &mut watch), reload);
    })?;
    Ok((sender, vec![errands, ticker]))
}

/// Does `regular` every second and `asked_for` whenever `asked` says so, until nobody can ask.
fn every_second(asked: &Receiver<()>, mut regular: impl FnMut(), mut asked_for: impl FnMut()) {
    loop {
        match asked.recv_timeout(SECOND) {
            Ok(()) => asked_for(),
            Err(RecvTimeoutError::Timeout) => regular(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Does a chore; one that panics is logged, and done again the next time.
fn guarded(name: &str, chore: &mut Chore) {
    if catch_unwind(AssertUnwindSafe(|| chore(now()))).is_err() {
        tracing::error!(chore = name, "a chore panicked; it goes on");
    }
}

/// Tells the service manager, if there is one.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// Tells the service manager that a reload begins; it wants to know since when (sd_notify(3)).
fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(since) => notify(&[NotifyState::Reloading, since]),
        Err(error) => tracing::debug!(%error, "no monotonic clock"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::tests::start_echo;
    use std::process::{self, Command};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Sends this process a signal.
    fn send(signal: &str) {
        let status = Command::new("kill").args([signal, &process::id().to_string()]).status();
        assert!(status.expect("kill runs").success(), "{signal}");
    }

    /// Runs a server of echoes that drains for `drain`, and sends `signals` once it answers, each
    /// when the one before has been noticed. Says how it ended and how often it was reloaded.
    fn run_and_send(drain: Duration, signals: &'static [&'static str]) -> (Ended, usize) {
        let reloads = Arc::new(AtomicUsize::new(0));
        let (of_chore, of_sender) = (Arc::clone(&reloads), Arc::clone(&reloads));
        let (ready, is_ready) = mpsc::channel();
        let (give_life, take_life) = mpsc::channel::<Life>();
        let sender = thread::spawn(move || {
            let life = take_life.recv().expect("a life");
            is_ready.recv().expect("a listener");
            for signal in signals {
                let before = of_sender.load(Ordering::Acquire);
                send(signal);
                let is_noticed = || {
                    life.is_draining().load(Ordering::Acquire) || of_sender.load(Ordering::Acquire) > before
                };
                while !is_noticed() {
                    thread::yield_now();
                }
            }
        });
        let start = |life: Life| {
            give_life.send(life.clone()).expect("the sender waits");
            let reload = Box::new(move |_| _ = of_chore.fetch_add(1, Ordering::AcqRel));
            let chores = Chores { tick: Box::new(|_| {}), watch: Box::new(|_| {}), reload };
            Ok::<_, io::Error>((start_echo(life).map_err(io::Error::other)?, chores))
        };
        let ended = run(drain, start, |_| _ = ready.send(())).expect("a run");
        sender.join().expect("all signals sent");
        (ended, reloads.load(Ordering::Acquire))
    }

    /// One test, because all runs of a process hear all its signals.
    #[test]
    fn ruling_27_signals_reload_drain_and_end_at_once() {
        let short = Duration::from_millis(20);
        assert_eq!(run_and_send(short, &["-HUP", "-TERM"]), (Ended::Drained, 1));
        assert_eq!(run_and_send(Duration::from_secs(600), &["-INT", "-TERM"]), (Ended::AtOnce, 0));
    }

    #[test]
    fn chores_survive_a_panic_and_end_when_nobody_can_ask() {
        let reloads = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&reloads);
        let chores = Chores {
            tick: Box::new(|_| {}),
            watch: Box::new(|_| {}),
            reload: Box::new(move |now| {
                assert!(now.0 > 1_600_000_000_000, "the time in milliseconds");
                assert_ne!(counter.fetch_add(1, Ordering::Relaxed), 0, "the first one panics");
            }),
        };
        let (reload, threads) = spawn_chores(chores).expect("threads");
        for _ in 0..3 {
            reload.send(()).expect("somebody listens");
        }
        drop(reload);
        for thread in threads {
            thread.join().expect("an end by itself");
        }
        assert_eq!(reloads.load(Ordering::Relaxed), 3);
    }
}
