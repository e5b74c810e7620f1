//! What of health survives a restart, as bytes.
//!
//! JSON: states that are not up, recoveries under way, sequence numbers, overrides. Who calls writes
//! the bytes and reads them back; they are checked like any other input. Layer 2.
//!
//! An appliance that was down for its silence comes back as down by its last heartbeat, heard at the
//! restart: it says nothing about the feed before it had the time to speak.

use super::entry::{Entry, Told, Way};
use super::overrides::Overrides;
use super::{FROM_LEN_MAX, Health, LastPush, Override, State};
use crate::problem::Problem;
use crate::units::UnixMs;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The only form there is.
const FORMAT: u32 = 1;

/// Latest moment that is believed, in milliseconds: 2^53.
const MOMENT_MAX_MS: u64 = 1 << 53;

/// The whole file.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    /// [`FORMAT`].
    format: u32,
    /// Whether the fleet failed open.
    fleet_fail_open: bool,
    /// Last sequence number by source.
    seqs: BTreeMap<Box<str>, u64>,
    /// Overrides in the order they were set.
    overrides: Vec<Override>,
    /// Appliances, by name.
    states: Vec<SavedState>,
}

/// What one way told of an appliance.
#[derive(Debug, Serialize, Deserialize)]
struct SavedState {
    /// Its name.
    appliance: Box<str>,
    /// Its state; up only for a recovery under way.
    state: State,
    /// Since when, in milliseconds since 1970.
    since_ms: u64,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Box<str>>,
    /// Whether heartbeats told so, else a push.
    heartbeat: bool,
}

impl SavedState {
    /// As something told at `now`.
    fn told(self, now: UnixMs) -> Told {
        let since = UnixMs(self.since_ms).min(now);
        Told { state: self.state, since, reason: self.reason, load: None, heard: now }
    }
}

impl Health {
    /// What is to survive, as bytes: equal health gives equal bytes.
    pub fn save(&self) -> Vec<u8> {
        let mut names: Vec<_> = self.entries.iter().collect();
        names.sort_unstable_by_key(|(name, _)| *name);
        let saved = Saved {
            format: FORMAT,
            fleet_fail_open: self.fleet_fail_open,
            seqs: self.pushes.iter().map(|(source, last)| (source.clone(), last.seq)).collect(),
            overrides: self.overrides.list().to_vec(),
            states: names.iter().flat_map(|(name, entry)| self.states_of(name, entry)).collect(),
        };
        // Maps with text keys and numbers: nothing that JSON has no form for.
        serde_json::to_vec(&saved).unwrap_or_default()
    }

    /// What is to survive of one appliance: one line for each way that says other than up, or one
    /// for its recovery.
    fn states_of(&self, name: &str, entry: &Entry) -> Vec<SavedState> {
        let feed = self.feed();
        let line = |way: Way, state: State, since: UnixMs, reason: &Option<Box<str>>| SavedState {
            appliance: name.into(),
            state,
            since_ms: since.0,
            reason: reason.clone(),
            heartbeat: way == Way::Heartbeat,
        };
        if let (Some(since), Some((way, told))) = (entry.recovering_since, entry.ground()) {
            return vec![line(way, State::Up, since, &told.reason)];
        }
        let mut lines = Vec::new();
        if let Some(told) = entry.pushed.as_ref().filter(|told| told.state != State::Up) {
            lines.push(line(Way::Push, told.state, told.since, &told.reason));
        }
        if let Some(told) = &entry.beat {
            // The entry is down and nothing that was told says so: it is silent.
            let is_silent = entry.state == State::Down
                && told.state != State::Down
                && entry.pushed.as_ref().is_none_or(|pushed| pushed.state != State::Down);
            if is_silent {
                let since = UnixMs(told.heard.0.saturating_add(feed.stale_after_ms));
                lines.push(line(Way::Heartbeat, State::Down, since, &Some("no heartbeat".into())));
            } else if told.state != State::Up {
                lines.push(line(Way::Heartbeat, told.state, told.since, &told.reason));
            }
        }
        lines
    }

    /// Takes up what was saved, in place of everything known.
    ///
    /// # Errors
    /// What is wrong with the bytes; then nothing changes.
    pub fn restore(&mut self, octets: &[u8], now: UnixMs) -> Result<(), Problem> {
        let expected = "health as steerd saves it";
        let saved: Saved =
            serde_json::from_slice(octets).map_err(|error| Problem::at(0, "health", error, expected))?;
        if saved.format != FORMAT {
            return Err(Problem::at(0, "format", saved.format, "1"));
        }
        let mut pushes = BTreeMap::new();
        for (source, seq) in saved.seqs {
            if source.is_empty() || source.len() > FROM_LEN_MAX {
                return Err(Problem::at(0, "seqs", source, "names of 1 to 128 octets"));
            }
            pushes.insert(source, LastPush { seq, at: now });
        }
        let mut overrides = Overrides::default();
        for held in saved.overrides {
            let wrong = |error| Problem::at(0, "overrides", error, expected);
            overrides.add(held).map_err(wrong)?;
        }
        overrides.expire(now);
        let mut entries: FxHashMap<Box<str>, Entry> = FxHashMap::default();
        for state in saved.states {
            take_up(&mut entries, state, now)?;
        }
        (self.pushes, self.overrides, self.entries) = (pushes, overrides, entries);
        (self.fleet_fail_open, self.feed_broken_since) = (saved.fleet_fail_open, None);
        let feed = self.feed();
        self.entries.values_mut().for_each(|entry| entry.settle(feed, now));
        Ok(())
    }
}

/// Adds one saved line to `entries`.
///
/// # Errors
/// When it is of no appliance or of no moment, or was there already.
fn take_up(entries: &mut FxHashMap<Box<str>, Entry>, state: SavedState, now: UnixMs) -> Result<(), Problem> {
    if state.appliance.is_empty() || state.since_ms > MOMENT_MAX_MS {
        let found = format!("{} at {}", state.appliance, state.since_ms);
        return Err(Problem::at(0, "states", found, "an appliance and a moment"));
    }
    let entry = entries.entry(state.appliance.clone()).or_default();
    let (is_beat, is_up) = (state.heartbeat, state.state == State::Up);
    let (name, told) = (state.appliance.clone(), state.told(now));
    if is_up {
        entry.recovering_since = Some(told.since);
    }
    let place = if is_beat { &mut entry.beat } else { &mut entry.pushed };
    if place.replace(told).is_some() {
        return Err(Problem::at(0, "states", name, "each appliance once for each way"));
    }
    Ok(())
}
