//! The phases of a running server, and who is told.
//!
//! One [`Life`] is shared by every thread: UDP workers look at a flag between batches, async tasks
//! wait for [`Life::closing`]. A phase never goes back. Layer 8.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::sync::watch;

/// What the server is doing (ruling 27).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Answers.
    Serving,
    /// Answers, and says that it will soon stop: `/readyz` is 503.
    Draining,
    /// Takes nothing new and finishes what it has.
    Closing,
}

/// A server's phase; clones are the same one.
#[derive(Debug, Clone)]
pub struct Life {
    /// [`Phase`] as a number, for threads that poll.
    phase: Arc<AtomicU8>,
    /// The same, for tasks that wait.
    changed: Arc<watch::Sender<Phase>>,
}

impl Default for Life {
    fn default() -> Self {
        Self::new()
    }
}

impl Life {
    /// A server that serves.
    pub fn new() -> Self {
        Self {
            phase: Arc::new(AtomicU8::new(Phase::Serving as u8)),
            changed: Arc::new(watch::Sender::new(Phase::Serving)),
        }
    }

    /// Enters `phase`, unless a later one was entered before.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Release);
        self.changed.send_if_modified(|now| {
            let is_later = phase > *now;
            *now = phase.max(*now);
            is_later
        });
    }

    /// Whether it is draining or closing: not ready for more work. One atomic load.
    pub fn is_draining(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= Phase::Draining as u8
    }

    /// Whether it takes nothing new. One atomic load.
    pub fn is_closing(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= Phase::Closing as u8
    }

    /// Waits until [`Phase::Closing`].
    pub async fn closing(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.changed.subscribe().wait_for(|phase| *phase == Phase::Closing).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_never_goes_back() {
        let life = Life::new();
        let seen = |life: &Life| (life.is_draining(), life.is_closing());
        assert_eq!(seen(&life), (false, false));
        life.enter(Phase::Draining);
        assert_eq!(seen(&life), (true, false));
        life.enter(Phase::Closing);
        life.clone().enter(Phase::Draining);
        assert_eq!(seen(&life), (true, true));
        assert_eq!(*life.changed.borrow(), Phase::Closing);
    }
}
