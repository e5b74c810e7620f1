//! The phases of a running server, and who is told.
//!
//! One [`Life`] is shared by every thread: UDP workers look at a flag between batches, async tasks
//! wait for [`Life::closing`]. A phase never goes back. Layer 8.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Not [`Phase::Serving`] any more, for those that are asked.
    is_draining: Arc<AtomicBool>,
    /// [`Phase::Closing`], for threads that poll.
    is_closing: Arc<AtomicBool>,
    /// The phase, for tasks that wait.
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
            is_draining: Arc::default(),
            is_closing: Arc::default(),
            changed: Arc::new(watch::Sender::new(Phase::Serving)),
        }
    }

    /// Enters `phase`, unless a later one was entered before.
    pub fn enter(&self, phase: Phase) {
        self.is_draining.fetch_or(phase >= Phase::Draining, Ordering::Release);
        self.is_closing.fetch_or(phase == Phase::Closing, Ordering::Release);
        self.changed.send_if_modified(|now| {
            let is_later = phase > *now;
            *now = phase.max(*now);
            is_later
        });
    }

    /// Set as soon as the server drains: it is not ready for more work.
    pub fn is_draining(&self) -> &Arc<AtomicBool> {
        &self.is_draining
    }

    /// Whether it takes nothing new. One atomic load.
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
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
        let seen = |life: &Life| (life.is_draining().load(Ordering::Acquire), life.is_closing());
        assert_eq!(seen(&life), (false, false));
        life.enter(Phase::Draining);
        assert_eq!(seen(&life), (true, false));
        life.enter(Phase::Closing);
        life.clone().enter(Phase::Draining);
        assert_eq!(seen(&life), (true, true));
        assert_eq!(*life.changed.borrow(), Phase::Closing);
    }
}
