//! An operator's word over health (ruling 7).
//!
//! Owns what an override matches and which of several wins. Layer 2.
//!
//! Of the overrides that match an appliance the most specific wins: one that names the appliance,
//! then a pattern over appliances, then one on its cluster, then one on its site (in each a name
//! before a pattern); of equally specific ones the one set last.

use super::State;
use crate::fleet::{ApplianceId, ClusterId, Fleet};
use crate::units::UnixMs;
use serde::{Deserialize, Serialize};

/// Overrides that can be in force at once.
pub const OVERRIDES_MAX: usize = 1000;

/// Which appliances an override is on: `{"appliance":"ams1-*"}`. A `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// Appliances of this name or pattern.
    Appliance(Box<str>),
    /// Those of the cluster of this name or pattern.
    Cluster(Box<str>),
    /// Those at the site of this code or pattern.
    Site(Box<str>),
}

impl Match {
    /// The appliances that are meant.
    pub fn appliances(&self, fleet: &Fleet) -> Vec<ApplianceId> {
        let of_cluster = |id: ClusterId| fleet.appliances_of(id);
        match self {
            Self::Appliance(name) if !name.contains('*') => {
                fleet.appliance_by_name(name).into_iter().collect()
            }
            Self::Appliance(pattern) => {
                let all = fleet.appliances().iter().enumerate();
                all.filter(|(_, a)| fits(pattern, &a.name)).map(|(i, _)| ApplianceId::at(i)).collect()
            }
            Self::Cluster(pattern) => {
                let meant = fleet.cluster_ids().filter(|&id| fits(pattern, &fleet.cluster(id).name));
                meant.flat_map(of_cluster).collect()
            }
            Self::Site(pattern) => {
                let site = |id: ClusterId| fleet.site(fleet.cluster(id).site);
                let meant = fleet.cluster_ids().filter(|&id| fits(pattern, &site(id).code));
                meant.flat_map(of_cluster).collect()
            }
        }
    }

    /// How specific it is; greater wins.
    fn rank(&self) -> u8 {
        let (rank, pattern) = match self {
            Self::Appliance(pattern) => (4, pattern),
            Self::Cluster(pattern) => (2, pattern),
            Self::Site(pattern) => (0, pattern),
        };
        rank + u8::from(!pattern.contains('*'))
    }
}

/// Whether `name` is what `pattern` says, `*` standing for any characters, none included.
///
/// Cost: at most the product of the lengths.
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return pattern == name };
    // The ends must not share characters.
    if name.len() < first.len() + last.len() || !name.starts_with(first) || !name.ends_with(last) {
        return false;
    }
    let mut rest = &name[first.len()..name.len() - last.len()];
    parts.all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// What an operator asks for: `{"match":{"site":"ams1"},"state":"down","for_s":1800,"why":"…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// On which appliances.
    #[serde(rename = "match")]
    pub target: Match,
    /// What they are to be.
    pub state: State,
    /// For how long, in seconds; `None` until it is deleted.
    #[serde(default)]
    pub for_s: Option<u64>,
    /// For people.
    #[serde(default)]
    pub why: Box<str>,
}

/// An override in force; also its saved and its listed form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// On which appliances.
    #[serde(rename = "match")]
    pub target: Match,
    /// What they are.
    pub state: State,
    /// When it was set, in milliseconds since 1970.
    #[serde(rename = "set_ms", with = "ms")]
    pub set: UnixMs,
    /// When it ends, in milliseconds since 1970; `None` when it is deleted.
    #[serde(rename = "until_ms", with = "ms_option", default)]
    pub until: Option<UnixMs>,
    /// For people.
    pub why: Box<str>,
}

impl Override {
    /// Whether it holds at `now`.
    pub fn holds(&self, now: UnixMs) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// [`UnixMs`] as a number.
mod ms {
    use crate::units::UnixMs;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the number.
    pub(super) fn serialize<S: Serializer>(moment: &UnixMs, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(moment.0)
    }

    /// Reads the number.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(value: D) -> Result<UnixMs, D::Error> {
        u64::deserialize(value).map(UnixMs)
    }
}

/// An optional [`UnixMs`] as a number or null.
mod ms_option {
    use crate::units::UnixMs;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes the number or null.
    pub(super) fn serialize<S: Serializer>(moment: &Option<UnixMs>, out: S) -> Result<S::Ok, S::Error> {
        moment.map(|moment| moment.0).serialize(out)
    }

    /// Reads the number or null.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(value: D) -> Result<Option<UnixMs>, D::Error> {
        Ok(Option::<u64>::deserialize(value)?.map(UnixMs))
    }
}

/// The overrides in force, in the order they were set; one for each [`Match`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Overrides {
    /// At most [`OVERRIDES_MAX`], no two of one match.
    list: Vec<Override>,
}

impl Overrides {
    /// Sets `order`, in place of one with the same match.
    ///
    /// # Errors
    /// At [`OVERRIDES_MAX`].
    pub(super) fn set(&mut self, order: Order, now: UnixMs) -> Result<(), TooMany> {
        self.delete(&order.target);
        let until = order.for_s.map(|s| UnixMs(now.0.saturating_add(s.saturating_mul(1000))));
        self.add(Override { target: order.target, state: order.state, set: now, until, why: order.why })
    }

    /// Adds one as it was saved.
    ///
    /// # Errors
    /// At [`OVERRIDES_MAX`].
    pub(super) fn add(&mut self, new: Override) -> Result<(), TooMany> {
        if self.list.len() == OVERRIDES_MAX {
            return Err(TooMany);
        }
        self.list.push(new);
        Ok(())
    }

    /// Deletes the one of exactly this match; says whether there was one.
    pub(super) fn delete(&mut self, target: &Match) -> bool {
        let before = self.list.len();
        self.list.retain(|held| held.target != *target);
        self.list.len() < before
    }

    /// Drops those that have ended; says whether there were any.
    pub(super) fn expire(&mut self, now: UnixMs) -> bool {
        let before = self.list.len();
        self.list.retain(|held| held.holds(now));
        self.list.len() < before
    }

    /// All, in the order they were set.
    pub(super) fn list(&self) -> &[Override] {
        &self.list
    }

    /// The one that decides about each appliance at `now`, by [`ApplianceId`]; empty when there is
    /// none at all.
    ///
    /// Cost: a look-up for each name, a pass over the fleet's names for each pattern.
    pub(super) fn by_appliance(&self, fleet: &Fleet, now: UnixMs) -> Vec<Option<&Override>> {
        if self.list.is_empty() {
            return Vec::new();
        }
        let mut found: Vec<Option<&Override>> = vec![None; fleet.appliances().len()];
        for held in self.list.iter().filter(|held| held.holds(now)) {
            for id in held.target.appliances(fleet) {
                let place = &mut found[id.index()];
                // The list is in the order they were set: of equal ranks the later one wins.
                if place.is_none_or(|other| other.target.rank() <= held.target.rank()) {
                    *place = Some(held);
                }
            }
        }
        found
    }
}

/// There are [`OVERRIDES_MAX`] overrides already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1000 overrides are in force already")]
pub struct TooMany;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(fits(pattern, name), expected, "{pattern} on {name}");
        };
        check("ams1-c001", "ams1-c001", true);
        check("ams1-c001", "ams1-c0011", false);
        check("ams1-*", "ams1-c001", true);
        check("ams1-*", "ams1-", true);
        check("ams1-*", "ams2-c001", false);
        check("*", "", true);
        check("*-c001", "ams1-c001", true);
        check("a*a", "a", false);
        check("a*a", "aa", true);
        check("a*b*c", "aXbYc", true);
        check("a*b*c", "aXcYb", false);
        check("a*bb*b", "abbb", true);
        check("a*bb*b", "abb", false);
        check("**", "x", true);
        check("", "", true);
        check("", "x", false);
        check("é*", "éa", true);
    }

    #[test]
    fn orders_are_read() {
        let read = |json: &str| serde_json::from_str::<Order>(json);
        let order = read(r#"{"match":{"site":"ams1"},"state":"down","for_s":1800,"why":"works"}"#);
        let order = order.expect("the documented form");
        assert_eq!(order.target, Match::Site("ams1".into()));
        assert_eq!((order.state, order.for_s, &*order.why), (State::Down, Some(1800), "works"));
        assert!(read(r#"{"match":{"appliance":"ams1-*"},"state":"up"}"#).is_ok());
        assert!(read(r#"{"match":{"region":"eu"},"state":"up"}"#).is_err());
        assert!(read(r#"{"match":{"site":"a","cluster":"b"},"state":"up"}"#).is_err());
        assert!(read(r#"{"state":"up"}"#).is_err());
    }
}
