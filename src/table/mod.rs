//! What an inventory service pushes, as bytes and types.
//!
//! A [`Table`] is everything pushed: a small [`Fleet`] and large [`Routes`], frozen, at an epoch.
//! Bytes become tables in three ways: [`read_full`] (NDJSON), [`read_delta`] (NDJSON on a table) and
//! [`artefact::read`] (our own binary form); each checks all of what the others check. Pure: it opens
//! no file and reads no clock; `publish` does. Layer 3.
//!
//! | file | owns |
//! |---|---|
//! | `json`, `names`, `findings` | one value; what names may be; problems, warnings, ignored keys |
//! | `items`, `draft` | fleet lines one by one; then all together |
//! | `pending`, `routes` | route lines as they come; routes frozen |
//! | `read`, `delta`, `write` | NDJSON, whole, changed, and canonical |
//! | `diff`, `guard` | what a new table changes, and whether that is too much |
//! | `artefact`, `journal`, `body` | binary form, journal framing, compressed bodies |

pub mod artefact;
pub mod body;
mod delta;
mod diff;
mod draft;
mod findings;
mod guard;
mod items;
pub mod journal;
mod json;
pub mod names;
mod pending;
mod read;
pub mod routes;
mod write;

use crate::fleet::Fleet;
use crate::units::Epoch;
use std::sync::{Arc, OnceLock};

pub use delta::{Delta, DeltaError, DeltaRoutes, read_delta};
pub use diff::{TableDiff, appliances_withdrawn, covered_space, diff, diff_after};
pub use draft::{APPLIANCES_MAX, CLUSTERS_MAX, SERVICES_MAX, SITES_MAX};
pub use findings::{Ignored, PROBLEMS_MAX};
pub use guard::{GuardHit, Limits, Moved, guard};
pub use items::{ANSWERS, ANSWERS_MAX, CAPACITY_MBPS, TTL_S, TTL_S_MAX};
pub use pending::{LOCAL_PREF, VIA_MAX};
#[cfg(feature = "fuzzing")]
pub use read::read_full_thoroughly;
pub use read::{FORMAT, Full, FullReader, Header, MINOR, Read, read_full, read_header};
pub use routes::{Candidate, Origin, RouteSet, Routes, ViaId, ViaPool};

/// Everything an inventory service pushed, at one epoch. Immutable; its parts are shared.
#[derive(Debug, Clone)]
pub struct Table {
    epoch: Epoch,
    source: Box<str>,
    fleet: Arc<Fleet>,
    routes: Arc<Routes>,
    digest: OnceLock<Box<str>>,
}

impl Table {
    /// A table of parts that fit: every cluster of `routes` is one of `fleet`.
    pub fn new(epoch: Epoch, source: impl Into<Box<str>>, fleet: Arc<Fleet>, routes: Arc<Routes>) -> Self {
        Self { epoch, source: source.into(), fleet, routes, digest: OnceLock::new() }
    }

    /// A table of nothing.
    pub fn empty(epoch: Epoch, source: impl Into<Box<str>>) -> Self {
        Self::new(epoch, source, Arc::default(), Arc::default())
    }

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Who wrote it, as its first line says; may be empty.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Everything but the routes.
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// The routes.
    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }
}

impl PartialEq for Table {
    /// Whether both say the same, epoch and source included.
    fn eq(&self, other: &Self) -> bool {
        self.epoch == other.epoch
            && self.source == other.source
            && (Arc::ptr_eq(&self.fleet, &other.fleet) || self.fleet == other.fleet)
            && (Arc::ptr_eq(&self.routes, &other.routes) || self.routes == other.routes)
    }
}
