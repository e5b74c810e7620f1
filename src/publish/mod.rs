//! The one writer: accept, validate, guard, build, persist, swap.
//!
//! A [`Publisher`] owns the only pointer to the current [`Snapshot`] and the state directory. The
//! push API, a watched file, a GeoIP reload and a distributor all come through its one door; the data
//! plane only ever calls [`Publisher::load`]. Layer 6: the only module that does I/O for tables, and it
//! reads no clock (time is passed in).
//!
//! Two locks, never taken in the other order:
//!
//! | lock | held for | by |
//! |---|---|---|
//! | `writer` | a whole change of table, geography or settings: seconds | one push at a time |
//! | `head` | joining what is compiled with health, and the swap: microseconds | pushes at their end, every health flip |
//!
//! What was acknowledged is durable: a full table is an artefact (temporary file, fsync, rename,
//! directory fsync), a delta a checksummed journal record, before the swap and so before the reply.
//! Generations that nobody reads any more are freed here, not on the data plane: [`Publisher`] keeps
//! the last few until [`Publisher::tick`] finds that no worker holds them.

mod refusal;
mod report;
pub mod store;

pub use refusal::Refusal;
pub use report::{DiffReport, GuardReport, PushReport, TableCounts};

use crate::geo::Geography;
use crate::health::{Applied, Health, Override, OverrideMatch, Report};
use crate::problem::Problem;
use crate::snapshot::{Compiled, Compiler, Dirty, Moved, Settings, Snapshot, moved};
use crate::table::{self, Guards, Table};
use crate::units::{Epoch, UnixMs};
use crate::zone::Zones;
use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use store::{Kept, Store};

/// How a push wants to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PushOptions {
    /// Say what would change; change nothing.
    pub dry_run: bool,
    /// Override guard rails; nothing else.
    pub force: bool,
    /// The highest epoch ever accepted: let any epoch follow (ruling 18).
    pub reset_epoch: Option<Epoch>,
}

/// A pushed table, as it came.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// NDJSON of a full table.
    Lines(&'a [u8]),
    /// The artefact of a full table.
    Artefact(&'a [u8]),
}

/// Owns the current snapshot and everything that makes the next.
pub struct Publisher {
    current: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
    head: Mutex<Head>,
}

/// What a change of table needs.
struct Writer {
    compiler: Compiler,
    store: Store,
    guards: Guards,
    /// The highest epoch ever accepted.
    highest_epoch: Option<Epoch>,
    /// The delta accepted last, to know it when it comes again.
    last_delta: Option<LastDelta>,
}

/// A delta that was accepted.
struct LastDelta {
    base: Epoch,
    epoch: Epoch,
    bytes_digest: [u8; 32],
}

/// What a swap needs.
struct Head {
    generation: u64,
    health: Health,
    /// Former generations that a worker may still hold.
    retired: Vec<Arc<Snapshot>>,
    /// When the served table was accepted.
    accepted_at: UnixMs,
    /// Health changed since it was last written down.
    health_is_dirty: bool,
}
