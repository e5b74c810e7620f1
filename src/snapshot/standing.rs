//! How the clusters of a view stand: health counted, so that a decision looks at a number and not at
//! every appliance, and who is up, laid out for rendezvous hashing to run over.
//!
//! Made anew with every change of health; costs one pass over the fleet a view.

use super::view::Members;
use crate::fleet::{ApplianceId, ClusterId, Fleet};
use crate::health::{Standing, State};
use crate::policy::LineUp;
use crate::policy::rendezvous::{Contender, KeyHash};
use crate::prefix::Family;

/// Appliances counted by the families they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All of them.
    pub all: u32,
    /// With an IPv4 address.
    pub v4: u32,
    /// With an IPv6 address.
    pub v6: u32,
}

impl Counts {
    /// Those that have `family`; `None` asks for any.
    pub fn of(self, family: Option<Family>) -> u32 {
        match family {
            None => self.all,
            Some(Family::V4) => self.v4,
            Some(Family::V6) => self.v6,
        }
    }
}

/// How one cluster stands in one view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClusterStanding {
    /// Active appliances (ruling 2), whatever their health.
    pub active: Counts,
    /// Those of them that are up.
    pub up: Counts,
    /// Those of them that health calls draining.
    pub draining: Counts,
    /// Enough of it is up or draining for its health to be believed.
    pub is_ok: bool,
    /// One of those that are up sheds a part of the key space.
    pub is_shedding: bool,
    /// Those that are up have one capacity.
    pub is_uniform: bool,
    /// Where those that are up begin in the line-up.
    first_up: u32,
}

/// Whether an operator took an appliance out: his word counts as its `status` does, so that failing
/// open never revives it (ruling 7).
pub fn is_taken_out(appliance: Standing) -> bool {
    appliance.is_ordered && appliance.state != State::Up
}

/// How the clusters of a view stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standings {
    clusters: Box<[ClusterStanding]>,
    /// The appliances that are up, cluster by cluster, in name order; and as contenders.
    up: Box<[ApplianceId]>,
    line_up: LineUp,
}

impl Standings {
    /// Counts `appliances`, which are in the order of `fleet`, as `contenders` are.
    pub fn count(
        fleet: &Fleet,
        members: &Members,
        appliances: &[Standing],
        contenders: &[Contender],
        fail_open_below: f64,
    ) -> Self {
        let mut line_up = Vec::with_capacity(appliances.len());
        let one = |id: ClusterId| {
            let first_up = line_up.len();
            let mut standing = ClusterStanding { first_up: first_up as u32, ..ClusterStanding::default() };
            for appliance_id in fleet.appliances_of(id).filter(|&id| members.is_active(id)) {
                let appliance = fleet.appliance(appliance_id);
                let health = appliances[appliance_id.index()];
                if is_taken_out(health) {
                    continue;
                }
                let add = |counts: &mut Counts| {
                    counts.all += 1;
                    counts.v4 += u32::from(appliance.ipv4.is_some());
                    counts.v6 += u32::from(appliance.ipv6.is_some());
                };
                add(&mut standing.active);
                match health.state {
                    State::Up => {
                        add(&mut standing.up);
                        standing.is_shedding |= health.shed_bp.get() > 0;
                        line_up.push(appliance_id);
                    }
                    State::Draining => add(&mut standing.draining),
                    State::Down => {}
                }
            }
            let alive = f64::from(standing.up.all + standing.draining.all);
            standing.is_ok =
                standing.active.all > 0 && alive / f64::from(standing.active.all) >= fail_open_below;
            let contender = |id: &ApplianceId| contenders[id.index()];
            let up = &line_up[first_up..];
            standing.is_uniform =
                up.windows(2).all(|pair| contender(&pair[0]).is_as_large_as(contender(&pair[1])));
            standing
        };
        let clusters = fleet.cluster_ids().map(one).collect();
        let contenders = line_up.iter().map(|id| contenders[id.index()]).collect();
        Self { clusters, up: line_up.into(), line_up: contenders }
    }

    /// Calls `found` for the `count` (1 to [`KEPT_MAX`](crate::policy::KEPT_MAX)) of the appliances
    /// that `standing`, one of these, counts as up which serve `key` best, best first, whatever they
    /// shed.
    #[inline]
    pub fn best(
        &self,
        standing: &ClusterStanding,
        key: KeyHash,
        count: usize,
        found: impl FnMut(ApplianceId),
    ) {
        let range = standing.first_up as usize..(standing.first_up + standing.up.all) as usize;
        let up = &self.up[range.clone()];
        if up.len() <= 1 {
            return up.iter().copied().for_each(found);
        }
        let best = self.line_up.best(range, standing.is_uniform, key, count);
        best.positions().iter().map(|&at| up[at as usize]).for_each(found);
    }

    /// How `cluster` stands.
    pub fn of(&self, cluster: ClusterId) -> &ClusterStanding {
        &self.clusters[cluster.index()]
    }
}
