//! What each appliance is believed to be, from observations and the time.
//!
//! Pure: it reads no clock and opens no socket; who calls brings observations and `now`. Owns what
//! was told of appliances (by **name**, so that it outlives tables), operators' overrides, the slices
//! that load makes appliances shed, and the judgement that a signal is broken. Which appliance
//! answers a client is not decided here. Layer 2.
//!
//! | ruling | where |
//! |---|---|
//! | 2, fail-open of the fleet | [`Settings::fails_open`] |
//! | 3, ways of being told, silence, order of pushes | [`Health::push`], [`Health::heartbeat`], `entry` |
//! | 5, load marks and ramps | `entry`, [`Health::overlay`] |
//! | 7, overrides | [`overrides`] |
//!
//! Where both a push and heartbeats speak of an appliance, the worse state counts: a monitor's "down"
//! holds until a monitor says otherwise, whatever the appliance says of itself. A push about an
//! appliance whose heartbeats are missing ends its being fed by them, until the next one.
//!
//! Invariant: nothing told can make it panic or grow without bound; only appliances of the fleet
//! get an entry, and [`Health::retain`] drops those that are gone.

mod entry;
mod overlay;
pub mod overrides;
mod report;
pub mod rfc3339;
mod saved;

pub use overlay::{Facts, Overlay, Source, Standing, Why};
pub use overrides::{Match, Order, Override, TooMany};
pub use report::{FROM_LEN_MAX, Push, REASON_MAX, Report, State};

use crate::fleet::Fleet;
use crate::units::UnixMs;
use entry::{Entry, Way};
use overrides::Overrides;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Sources of pushes whose sequence numbers are remembered; the longest unheard goes first.
const SOURCES_MAX: usize = 1000;

/// How far above its threshold the fleet's fail-open ends (ruling 2).
const FAIL_OPEN_HYSTERESIS: f64 = 0.1;

/// How health is judged: `[health]` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Seconds of silence after which an appliance fed by heartbeats is down; 0: never.
    pub stale_after_s: u32,
    /// Share of a cluster below which its health is judged broken; used by the decision.
    pub fail_open_below: f64,
    /// Share of the fleet below which health is ignored everywhere; 0.0: never.
    pub fleet_fail_open_below: f64,
    /// Appliances in service from which a fleet can fail open.
    pub fleet_fail_open_min: u32,
    /// Load from which an appliance sheds.
    pub shed_above: f64,
    /// Load from which it sheds 5,000 basis points.
    pub shed_full: f64,
    /// Seconds in which a recovered appliance takes its share back; 0: at once.
    pub ramp_s: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stale_after_s: 30,
            fail_open_below: 0.5,
            fleet_fail_open_below: 0.0,
            fleet_fail_open_min: 50,
            shed_above: 0.85,
            shed_full: 0.98,
            ramp_s: 60,
        }
    }
}

impl Settings {
    /// Whether health is to be ignored everywhere, when `is_open` says whether it is now.
    ///
    /// `in_service` counts the appliances in service, `free` those of them that no override decides
    /// about, `usable` those of `free` that are up or draining.
    pub fn fails_open(&self, is_open: bool, in_service: u32, free: u32, usable: u32) -> bool {
        let below = self.fleet_fail_open_below;
        if below <= 0.0 || in_service < self.fleet_fail_open_min || free == 0 {
            return false;
        }
        let share = f64::from(usable) / f64::from(free);
        if is_open {
            // A whole fleet that is up ends it whatever the threshold; the last term is for rounding.
            share < (below + FAIL_OPEN_HYSTERESIS).min(1.0) - 1e-9
        } else {
            share < below
        }
    }
}

/// The last push of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LastPush {
    /// Its number.
    seq: u64,
    /// When it came.
    at: UnixMs,
}

/// What a health push did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Reports that were taken.
    pub applied: usize,
    /// Appliances that are not in the fleet, as written.
    pub ignored: Vec<String>,
}

/// A push whose number is not above the last of its source; nothing of it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sequence number is not above the last one, {last}")]
pub struct SeqRefused {
    /// The last number of this source.
    pub last: u64,
}

/// What is believed of all appliances.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// How it is judged.
    settings: Settings,
    /// What was told, by appliance.
    entries: FxHashMap<Box<str>, Entry>,
    /// The order of pushes, by source; at most [`SOURCES_MAX`].
    pushes: BTreeMap<Box<str>, LastPush>,
    /// Operators' words.
    overrides: Overrides,
    /// Since when more than half of those fed by heartbeats are silent.
    feed_broken_since: Option<UnixMs>,
    /// Whether health is ignored everywhere; kept for its hysteresis.
    fleet_fail_open: bool,
}

impl Health {
    /// Nothing is known.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// How health is judged.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Judges by `settings` from now on.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Takes a health push. `from` names its source and its number; without one it is taken as it
    /// comes. States merge: appliances not told of keep theirs. Of two reports on one appliance the
    /// later counts.
    ///
    /// # Errors
    /// When the number is not above the last of that source; then nothing changes.
    pub fn push(
        &mut self,
        from: Option<(&str, u64)>,
        reports: &[Report],
        fleet: &Fleet,
        now: UnixMs,
    ) -> Result<Applied, SeqRefused> {
        if let Some((source, seq)) = from {
            self.order(source, seq, now)?;
        }
        let mut done = Applied::default();
        for report in reports {
            if self.take(Way::Push, report, fleet, now) {
                done.applied += 1;
            } else {
                done.ignored.push(report.appliance.to_string());
            }
        }
        Ok(done)
    }

    /// Takes an appliance's own heartbeat; says whether the fleet has that appliance.
    pub fn heartbeat(&mut self, report: &Report, fleet: &Fleet, now: UnixMs) -> bool {
        self.take(Way::Heartbeat, report, fleet, now)
    }

    /// Remembers that `source` pushed number `seq`.
    ///
    /// # Errors
    /// When it is not above the last one.
    fn order(&mut self, source: &str, seq: u64, now: UnixMs) -> Result<(), SeqRefused> {
        if let Some(last) = self.pushes.get(source)
            && seq <= last.seq
        {
            return Err(SeqRefused { last: last.seq });
        }
        if self.pushes.len() >= SOURCES_MAX && !self.pushes.contains_key(source) {
            let oldest = self.pushes.iter().min_by_key(|(_, last)| last.at);
            if let Some(oldest) = oldest.map(|(source, _)| source.clone()) {
                self.pushes.remove(&oldest);
            }
        }
        self.pushes.insert(source.into(), LastPush { seq, at: now });
        Ok(())
    }

    /// Takes one report; says whether the fleet has that appliance.
    fn take(&mut self, way: Way, report: &Report, fleet: &Fleet, now: UnixMs) -> bool {
        if fleet.appliance_by_name(&report.appliance).is_none() {
            return false;
        }
        let feed = self.feed();
        let entry = self.entries.entry(report.appliance.clone()).or_default();
        entry.take(way, report, feed, &self.settings, now);
        true
    }

    /// Sets an override, in place of one with the same match.
    ///
    /// # Errors
    /// When there are too many.
    pub fn set_override(&mut self, order: Order, now: UnixMs) -> Result<(), TooMany> {
        self.overrides.expire(now);
        self.overrides.set(order, now)
    }

    /// Deletes the override of exactly this match; says whether there was one.
    pub fn delete_override(&mut self, target: &Match) -> bool {
        self.overrides.delete(target)
    }

    /// The overrides, in the order they were set; those that ended are gone after
    /// [`Health::tick`].
    pub fn overrides(&self) -> &[Override] {
        self.overrides.list()
    }

    /// Drops what has ended; says whether there was anything, and the rest should be saved.
    pub fn tick(&mut self, now: UnixMs) -> bool {
        self.overrides.expire(now)
    }

    /// Forgets appliances that `fleet`, the one served now, does not have.
    pub fn retain(&mut self, fleet: &Fleet) {
        self.entries.retain(|name, _| fleet.appliance_by_name(name).is_some());
    }
}

#[cfg(test)]
mod tests;
