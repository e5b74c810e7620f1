//! What is known of one appliance: what was last told of it by each way, and what follows.
//!
//! Owns the transitions of one appliance; what depends on others stands in [`super`]. Layer 2.

use super::{Report, Settings, State};
use crate::units::{BasisPoints, UnixMs};

/// The most that load makes an appliance shed, in basis points (ruling 5).
const SHED_MAX_BP: u64 = 5000;

/// How fast the slice moves, in basis points a second (ruling 5); also thousandths of them a
/// millisecond.
const SHED_BP_PER_S: u64 = 500;

/// What was last told of an appliance by one way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    /// Its state.
    pub(super) state: State,
    /// Since when; never later than it was heard.
    pub(super) since: UnixMs,
    /// For people.
    pub(super) reason: Option<Box<str>>,
    /// Share of capacity in use.
    pub(super) load: Option<f64>,
    /// When it was told.
    pub(super) heard: UnixMs,
}

impl Told {
    /// What `report` says, heard at `now` after `before`. Without a `since` of its own it keeps that
    /// of an equal state.
    fn after(before: Option<&Self>, report: &Report, now: UnixMs) -> Self {
        let kept = before.filter(|told| told.state == report.state).map(|told| told.since);
        Self {
            state: report.state,
            since: report.since.or(kept).unwrap_or(now).min(now),
            reason: report.reason.clone(),
            load: report.load,
            heard: now,
        }
    }
}

/// By which way something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A health push.
    Push,
    /// The appliance's own heartbeat.
    Heartbeat,
}

/// One appliance.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Entry {
    /// By health pushes; holds until replaced.
    pub(super) pushed: Option<Told>,
    /// By its heartbeats; `None` when it is not fed by them.
    pub(super) beat: Option<Told>,
    /// What it is believed to be: the worse of the two, and down when it is silent.
    pub(super) state: State,
    /// Since when it is up again; `None` when it is not up, was never anything else, or has its
    /// whole share back.
    pub(super) recovering_since: Option<UnixMs>,
    /// The slice that load makes it shed, in thousandths of a basis point.
    slice: u64,
    /// When `slice` was right.
    slice_at: UnixMs,
}

impl Entry {
    /// Takes `report`, told by `way`. `feed` judges silence.
    pub(super) fn take(&mut self, way: Way, report: &Report, feed: Feed, settings: &Settings, now: UnixMs) {
        self.advance(settings, now);
        match way {
            Way::Heartbeat => self.beat = Some(Told::after(self.beat.as_ref(), report, now)),
            Way::Push => {
                // Told by another way while its heartbeats are missed: no longer fed by them.
                if self.beat.as_ref().is_some_and(|beat| feed.is_lost(beat, now)) {
                    self.beat = None;
                }
                self.pushed = Some(Told::after(self.pushed.as_ref(), report, now));
            }
        }
        let before = self.state;
        self.settle(feed, now);
        if self.state == State::Up {
            let since = report.since.unwrap_or(now).min(now);
            // Within one spell of being up the earliest moment counts, so that a monitor that sends
            // the time of its last look does not start the ramp anew.
            self.recovering_since = match (before, self.recovering_since) {
                (State::Up, Some(earlier)) if report.since.is_some() => Some(earlier.min(since)),
                (State::Up, kept) => kept,
                _ => Some(since),
            };
        }
    }

    /// Works out the state anew.
    pub(super) fn settle(&mut self, feed: Feed, now: UnixMs) {
        let beat =
            self.beat.as_ref().map(|beat| if feed.is_lost(beat, now) { State::Down } else { beat.state });
        let pushed = self.pushed.as_ref().map(|told| told.state);
        self.state = beat.max(pushed).unwrap_or_default();
        if self.state != State::Up {
            self.recovering_since = None;
        }
    }

    /// What the state comes from: the way, and what was told. `None` when nothing was.
    pub(super) fn ground(&self) -> Option<(Way, &Told)> {
        let beat = self.beat.as_ref().map(|told| (Way::Heartbeat, told));
        let pushed = self.pushed.as_ref().map(|told| (Way::Push, told));
        match (beat, pushed) {
            (Some(beat), Some(pushed)) => Some(if pushed.1.state > beat.1.state { pushed } else { beat }),
            (beat, pushed) => beat.or(pushed),
        }
    }

    /// Moves the slice towards what the load asks for, as far as the time allows.
    pub(super) fn advance(&mut self, settings: &Settings, now: UnixMs) {
        let step = now.since(self.slice_at).saturating_mul(SHED_BP_PER_S);
        let target = slice_of(self.load(), settings);
        self.slice = if target > self.slice {
            target.min(self.slice.saturating_add(step))
        } else {
            target.max(self.slice.saturating_sub(step))
        };
        self.slice_at = self.slice_at.max(now);
    }

    /// The load that was told last.
    pub(super) fn load(&self) -> Option<f64> {
        let told = [self.beat.as_ref(), self.pushed.as_ref()];
        let told = told.into_iter().flatten().filter(|told| told.load.is_some());
        told.max_by_key(|told| told.heard).and_then(|told| told.load)
    }

    /// The share of the key space that load makes it shed now.
    pub(super) fn slice_bp(&self) -> BasisPoints {
        BasisPoints::saturating((self.slice / 1000) as u32)
    }

    /// The share of the key space that it has not taken back yet; ends the ramp when it is over.
    pub(super) fn ramp_bp(&mut self, settings: &Settings, now: UnixMs) -> Option<BasisPoints> {
        let ramp_ms = u64::from(settings.ramp_s) * 1000;
        let elapsed = now.since(self.recovering_since?);
        if elapsed >= ramp_ms {
            self.recovering_since = None;
            return None;
        }
        Some(BasisPoints::saturating(((ramp_ms - elapsed) * 10_000 / ramp_ms) as u32))
    }
}

/// The slice that `load` asks for, in thousandths of a basis point.
fn slice_of(load: Option<f64>, settings: &Settings) -> u64 {
    let (above, full) = (settings.shed_above, settings.shed_full);
    match load {
        Some(load) if load >= full => SHED_MAX_BP * 1000,
        // Here above < load < full, so the fraction is inside 0 to 1.
        Some(load) if load > above => {
            ((load - above) / (full - above) * (SHED_MAX_BP * 1000) as f64).round() as u64
        }
        _ => 0,
    }
}

/// How heartbeats are judged as a whole (ruling 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Feed {
    /// Silence after which an appliance is down, in milliseconds; 0: never.
    pub(super) stale_after_ms: u64,
    /// Since when more than half are silent; `None` when they are not.
    pub(super) broken_since: Option<UnixMs>,
}

impl Feed {
    /// Whether nothing was heard for too long.
    pub(super) fn is_silent(self, beat: &Told, now: UnixMs) -> bool {
        self.stale_after_ms > 0 && now.since(beat.heard) >= self.stale_after_ms
    }

    /// Whether the silence means that the appliance is down.
    ///
    /// While the feed is broken, last states hold. As not all fall silent in one moment, those who
    /// did shortly before the feed was judged broken (one more `stale_after`) count as told last, too;
    /// who was lost before that stays down.
    pub(super) fn is_lost(self, beat: &Told, now: UnixMs) -> bool {
        let lost = UnixMs(beat.heard.0.saturating_add(self.stale_after_ms.saturating_mul(2)));
        self.is_silent(beat, now) && self.broken_since.is_none_or(|broken| lost <= broken)
    }
}
