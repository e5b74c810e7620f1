//! Why a change was not made.

use crate::problem::Problem;
use crate::table::GuardHit;
use crate::units::Epoch;

/// Why a push, rollback, reload or health report changed nothing. What was served is served on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It does not validate: 400.
    #[error("{} problems, the first: {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Invalid(Vec<Problem>),
    /// Its epoch is not newer than what was accepted before: 409.
    #[error("epoch is not above {highest_epoch}, the highest accepted; serving {served_epoch:?}")]
    NotNewer {
        /// The epoch served now.
        served_epoch: Option<Epoch>,
        /// The highest epoch ever accepted.
        highest_epoch: Epoch,
        /// Digest of the served table.
        digest: String,
    },
    /// A delta against another epoch than the served one: 409.
    #[error("delta is based on epoch {base}, serving {served_epoch:?}")]
    WrongBase {
        /// What the delta names.
        base: Epoch,
        /// The epoch served now.
        served_epoch: Option<Epoch>,
        /// The highest epoch ever accepted.
        highest_epoch: Option<Epoch>,
        /// Digest of the served table; empty when there is none.
        digest: String,
    },
    /// `reset_epoch` does not name the highest epoch accepted: 409.
    #[error("reset_epoch is not {highest_epoch:?}, the highest accepted")]
    WrongReset {
        /// The highest epoch ever accepted.
        highest_epoch: Option<Epoch>,
    },
    /// It would change more than the guard rails let pass: 422.
    #[error("guard rails: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Guarded(Vec<GuardHit>),
    /// No kept epoch of this number: 404.
    #[error("epoch {epoch} is not kept")]
    NotKept {
        /// What was asked for.
        epoch: Epoch,
    },
    /// Health reports came out of order: 409.
    #[error("seq is not above {last}, the last one of {from}")]
    OldSeq {
        /// Who sent it.
        from: String,
        /// The last number taken from there.
        last: u64,
    },
    /// Another push is being made: 503.
    #[error("another push is being made")]
    Busy,
    /// It could not be made durable: 500.
    #[error("cannot write state: {0}")]
    Storage(String),
}
