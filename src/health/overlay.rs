//! Health laid over one fleet: an array by appliance, and what was judged about the whole.
//!
//! Owns the judgements that take more than one appliance (the heartbeat feed, fail-open of the
//! fleet, clusters that come back whole). How a cluster's health decides an answer is not here: the
//! decision does that for each service and family. Layer 2.

use super::entry::{Feed, Told, Way};
use super::{Health, Override, State};
use crate::fleet::{ApplianceId, Fleet, Status};
use crate::units::{BasisPoints, UnixMs};

/// One appliance at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// What it is believed, or ordered, to be.
    pub state: State,
    /// The slice of the key space that it sheds; 0 unless it is up.
    pub shed_bp: BasisPoints,
    /// Whether an operator's override says so. Who is draining or down by such an order is treated
    /// as by its `status`: never counted and never revived by fail-open.
    pub is_ordered: bool,
}

/// What was judged about the whole, for metrics and status pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Appliances in service (active, of capacity above 0).
    pub in_service: u32,
    /// Those of them that are up, by health alone.
    pub up: u32,
    /// Those that are draining, by health alone.
    pub draining: u32,
    /// Those that are down, by health alone.
    pub down: u32,
    /// Appliances of any status that an override decides about.
    pub ordered: u32,
    /// Appliances that are not disabled and are fed by heartbeats.
    pub heartbeat_fed: u32,
    /// Those of them that were silent for too long.
    pub heartbeat_silent: u32,
    /// Since when the heartbeat feed is judged broken.
    pub feed_broken_since: Option<UnixMs>,
    /// Whether so few of the fleet are up that health is ignored everywhere.
    pub is_fleet_fail_open: bool,
}

/// Health laid over one fleet at one moment. Immutable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overlay {
    /// By [`ApplianceId`].
    pub appliances: Vec<Standing>,
    /// About the whole.
    pub facts: Facts,
}

impl Overlay {
    /// Everybody up, nobody shedding: no health is known.
    pub fn all_up(fleet: &Fleet) -> Self {
        Health::default().overlay(fleet, UnixMs(0))
    }

    /// One appliance.
    pub fn standing(&self, id: ApplianceId) -> Standing {
        self.appliances[id.index()]
    }
}

/// Where a state comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Nothing was told: unknown is up.
    Unknown,
    /// A health push.
    Push,
    /// The appliance's own heartbeat.
    Heartbeat,
    /// Its heartbeats are missing.
    Silence,
    /// An operator's override.
    Override,
    /// Health is ignored, because too few of the fleet are up.
    FleetFailOpen,
}

impl Source {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Push => "push",
            Self::Heartbeat => "heartbeat",
            Self::Silence => "silence",
            Self::Override => "override",
            Self::FleetFailOpen => "fleet_fail_open",
        }
    }
}

/// Why an appliance is what it is, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Why {
    /// What it is believed, or ordered, to be.
    pub state: State,
    /// Where that comes from.
    pub source: Source,
    /// Since when, as far as it was told.
    pub since: Option<UnixMs>,
    /// What was said with it; may be empty.
    pub reason: Box<str>,
    /// The load that was told last.
    pub load: Option<f64>,
}

impl Health {
    /// How the heartbeat feed stands.
    pub(super) fn feed(&self) -> Feed {
        Feed {
            stale_after_ms: u64::from(self.settings.stale_after_s) * 1000,
            broken_since: self.feed_broken_since,
        }
    }

    /// Brings everything up to `now` and lays it over `fleet`.
    ///
    /// The same `now` again gives the same overlay. Appliances of other fleets keep what is known of
    /// them. Cost: a few look-ups an appliance; allocates only the result and small marks.
    pub fn overlay(&mut self, fleet: &Fleet, now: UnixMs) -> Overlay {
        let mut facts = Facts::default();
        self.judge_feed(fleet, now, &mut facts);
        let feed = self.feed();
        let orders = self.overrides.by_appliance(fleet, now);
        let mut appliances = vec![Standing::default(); fleet.appliances().len()];
        let (mut free, mut usable) = (0, 0);
        for (index, appliance) in fleet.appliances().iter().enumerate() {
            let standing = &mut appliances[index];
            if let Some(entry) = self.entries.get_mut(&appliance.name) {
                entry.advance(&self.settings, now);
                entry.settle(feed, now);
                standing.state = entry.state;
            }
            let order = orders.get(index).copied().flatten();
            facts.ordered += u32::from(order.is_some());
            if appliance.is_in_service() {
                facts.in_service += 1;
                *facts.count_of(standing.state) += 1;
                free += u32::from(order.is_none());
                usable += u32::from(order.is_none() && standing.state != State::Down);
            }
            if let Some(order) = order {
                *standing = Standing { state: order.state, is_ordered: true, ..*standing };
            }
        }
        let (is_open, settings) = (self.fleet_fail_open, &self.settings);
        self.fleet_fail_open = settings.fails_open(is_open, facts.in_service, free, usable);
        facts.is_fleet_fail_open = self.fleet_fail_open;
        if self.fleet_fail_open {
            for standing in appliances.iter_mut().filter(|standing| !standing.is_ordered) {
                standing.state = State::Up;
            }
        } else {
            self.shed(fleet, now, &mut appliances);
        }
        Overlay { appliances, facts }
    }

    /// Counts who is silent and judges the heartbeat feed.
    fn judge_feed(&mut self, fleet: &Fleet, now: UnixMs, facts: &mut Facts) {
        let feed = self.feed();
        for (name, entry) in &self.entries {
            let Some(beat) = &entry.beat else { continue };
            let Some(id) = fleet.appliance_by_name(name) else { continue };
            // Who is out of service on purpose says nothing about the feed.
            if fleet.appliance(id).status != Status::Disabled {
                facts.heartbeat_fed += 1;
                facts.heartbeat_silent += u32::from(feed.is_silent(beat, now));
            }
        }
        if facts.heartbeat_silent * 2 > facts.heartbeat_fed {
            self.feed_broken_since.get_or_insert(now);
        } else {
            self.feed_broken_since = None;
        }
        facts.feed_broken_since = self.feed_broken_since;
    }

    /// Fills in what each appliance that is up sheds: the larger of its load's slice and its ramp.
    fn shed(&mut self, fleet: &Fleet, now: UnixMs, appliances: &mut [Standing]) {
        for cluster in fleet.cluster_ids() {
            let mut has_settled = false;
            for id in fleet.appliances_of(cluster) {
                let appliance = fleet.appliance(id);
                let standing = &mut appliances[id.index()];
                if standing.state != State::Up {
                    continue;
                }
                let entry = self.entries.get_mut(&appliance.name);
                let ramp =
                    entry.filter(|_| !standing.is_ordered).and_then(|e| e.ramp_bp(&self.settings, now));
                standing.shed_bp = ramp.unwrap_or_default();
                has_settled |= ramp.is_none() && appliance.is_in_service();
            }
            for id in fleet.appliances_of(cluster) {
                let standing = &mut appliances[id.index()];
                if !has_settled {
                    // The whole cluster comes back: there is nobody to leave its share to.
                    standing.shed_bp = BasisPoints::ZERO;
                }
                let entry = self.entries.get(&fleet.appliance(id).name);
                if let Some(entry) = entry.filter(|_| standing.state == State::Up) {
                    standing.shed_bp = standing.shed_bp.max(entry.slice_bp());
                }
            }
        }
    }

    /// Why each appliance of `fleet` was what it was in the last overlay, by [`ApplianceId`];
    /// overrides are those of `now`.
    pub fn whys(&self, fleet: &Fleet, now: UnixMs) -> Vec<Why> {
        let orders = self.overrides.by_appliance(fleet, now);
        let order = |index: usize| orders.get(index).copied().flatten();
        let all = fleet.appliances().iter().enumerate();
        all.map(|(index, appliance)| self.why_of(&appliance.name, order(index), now)).collect()
    }

    /// Why one appliance was what it was in the last overlay; see [`Health::whys`] for all of them.
    pub fn why(&self, fleet: &Fleet, id: ApplianceId, now: UnixMs) -> Why {
        let orders = self.overrides.by_appliance(fleet, now);
        let order = orders.get(id.index()).copied().flatten();
        self.why_of(&fleet.appliance(id).name, order, now)
    }

    /// Why the appliance `name`, about which `order` decides, was what it was.
    fn why_of(&self, name: &str, order: Option<&Override>, now: UnixMs) -> Why {
        let entry = self.entries.get(name);
        let load = entry.and_then(|entry| entry.load());
        let unknown = Why { state: State::Up, source: Source::Unknown, since: None, reason: "".into(), load };
        if let Some(order) = order {
            let (source, since) = (Source::Override, Some(order.set));
            return Why { state: order.state, source, since, reason: order.why.clone(), load };
        }
        if self.fleet_fail_open {
            let reason = "too few of the fleet are up: health is ignored".into();
            return Why { source: Source::FleetFailOpen, reason, ..unknown };
        }
        let Some((entry, (way, told))) = entry.and_then(|e| e.ground().map(|ground| (e, ground))) else {
            return unknown;
        };
        let (feed, state) = (self.feed(), entry.state);
        let is_worse = |told: &Told| told.state == State::Down;
        if let Some(beat) = entry.beat.as_ref().filter(|beat| feed.is_lost(beat, now))
            && !entry.pushed.as_ref().is_some_and(is_worse)
        {
            let reason = format!("no heartbeat for {} s", now.since(beat.heard) / 1000).into();
            return Why { state, source: Source::Silence, since: Some(beat.heard), reason, load };
        }
        let source = if way == Way::Push { Source::Push } else { Source::Heartbeat };
        Why { state, source, since: Some(told.since), reason: told.reason.clone().unwrap_or_default(), load }
    }
}

impl Facts {
    /// The count of appliances in `state`.
    fn count_of(&mut self, state: State) -> &mut u32 {
        match state {
            State::Up => &mut self.up,
            State::Draining => &mut self.draining,
            State::Down => &mut self.down,
        }
    }
}
