//! What `/v1/status` tells.

use super::{Publisher, TableCounts};
use crate::health::Facts;
use crate::units::UnixMs;
use serde::Serialize;

/// The state of this node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// It has a table.
    pub ready: bool,
    /// The current generation.
    pub generation: u64,
    /// The epoch of the served table.
    pub epoch: Option<u64>,
    /// Who wrote it.
    pub source: String,
    /// Seconds since it was accepted.
    pub table_age_s: Option<u64>,
    /// Nobody has pushed or confirmed it for longer than `[table] stale_after_s`.
    pub table_stale: bool,
    /// What is in it.
    pub counts: TableCounts,
    /// Digest of the geography in use; empty without one.
    pub geography: String,
    /// Octets of the lookup tables.
    pub lookup_bytes: usize,
    /// Former generations that are still read.
    pub retired_generations: usize,
    /// Health, counted.
    pub health: Told,
    /// What is judged broken, in words; empty when all is well.
    pub judged_broken: Vec<String>,
    /// Clusters whose health is judged broken: some appliance is up, but too few to be believed.
    pub clusters_judged_broken: Vec<String>,
}

/// Health, counted over appliances in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Told {
    /// In service.
    pub in_service: u32,
    /// Up.
    pub up: u32,
    /// Draining by health.
    pub draining: u32,
    /// Down.
    pub down: u32,
    /// Under an operator's override.
    pub overridden: u32,
    /// Fed by heartbeats.
    pub heartbeat_fed: u32,
    /// Of these, silent.
    pub heartbeat_silent: u32,
}

impl Told {
    /// From an overlay's facts.
    pub fn of(facts: &Facts) -> Self {
        Self {
            in_service: facts.in_service,
            up: facts.up,
            draining: facts.draining,
            down: facts.down,
            overridden: facts.ordered,
            heartbeat_fed: facts.heartbeat_fed,
            heartbeat_silent: facts.heartbeat_silent,
        }
    }
}

impl Publisher {
    /// The state of this node at `now`.
    pub fn status(&self, now: UnixMs) -> Status {
        let (accepted_at, retired) = {
            let head = self.head();
            (head.accepted_at, head.retired.len())
        };
        let world = self.load_full();
        let facts = &world.overlay().facts;
        let mut judged_broken = Vec::new();
        if facts.feed_broken_since.is_some() {
            judged_broken.push("heartbeats: more than half are silent, last states hold".to_owned());
        }
        if facts.is_fleet_fail_open {
            judged_broken.push("fleet: too few appliances are up, health is ignored".to_owned());
        }
        let clusters = world.clusters_judged_broken();
        if !clusters.is_empty() {
            judged_broken.push(format!("clusters: {} have too few appliances up", clusters.len()));
        }
        Status {
            ready: world.is_ready(),
            generation: world.generation(),
            epoch: world.epoch().map(|epoch| epoch.get()),
            source: world.table().source().to_owned(),
            table_age_s: world.is_ready().then(|| now.since(accepted_at) / 1000),
            table_stale: world.is_stale(),
            counts: TableCounts::of(world.table()),
            geography: world.geography().digest.clone(),
            lookup_bytes: world.heap_bytes(),
            retired_generations: retired,
            health: Told::of(facts),
            judged_broken,
            clusters_judged_broken: clusters,
        }
    }
}
