//! Pathways of a service in the order that one client's decision reaches them, and those that its playlist
//! never named.
//!
//! A pathway comes where the ranked list has the first appliance of it. So the order is the decision's own,
//! health and all, and the content key decides between pathways that share a cluster. In full:
//!
//! | turn | pathways | among each other |
//! |---|---|---|
//! | usable | with an appliance on the ranked list | as that list; then as configured |
//! | alias | to another CDN; first of all where the service has fallen back to it | as configured |
//! | demoted | slow for this session | |
//! | listed | all their appliances are out, but the client's list has the cluster | as that list |
//! | other | that this client's list does not know | as configured |

use super::pace::Pace;
use crate::fleet::{ApplianceId, Cluster, ClusterId, Pathway, PathwayTarget, Service};
use crate::metrics::Label;
use crate::snapshot::{Found, Snapshot};
use crate::steer::{Choice, Ranking, Verdict};
use std::borrow::Cow;

/// What a pathway is, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathwayKind {
    /// One cluster.
    Cluster,
    /// The clusters of a class.
    Class,
    /// Another CDN.
    Alias,
    /// None of the service's.
    Unknown,
}

impl Label for PathwayKind {
    const ALL: &'static [Self] = &[Self::Cluster, Self::Class, Self::Alias, Self::Unknown];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Class => "class",
            Self::Alias => "alias",
            Self::Unknown => "unknown",
        }
    }
}

/// When a pathway has its turn; see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// With an appliance on the ranked list.
    Usable,
    /// Another CDN.
    Alias,
    /// Slow for this session.
    Demoted,
    /// On the client's list, but nobody of it is usable.
    Listed,
    /// Not on the client's list.
    Other,
}

/// What one client's decision says, for ordering.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided<'a> {
    /// The generation.
    pub world: &'a Snapshot,
    /// Of it.
    pub service: &'a Service,
    /// The client's list.
    pub found: &'a Found<'a>,
    /// The decision.
    pub choice: &'a Choice,
    /// Every cluster's best appliances.
    pub ranking: &'a Ranking,
    /// How its session fares.
    pub pace: &'a Pace,
}

/// One pathway in its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way<'a> {
    /// Its id, as configured; a cluster's name where nothing is configured.
    pub id: Cow<'a, str>,
    /// What it is.
    pub kind: PathwayKind,
    turn: (Turn, usize),
}

impl<'a> Decided<'a> {
    /// All pathways of the service, best first. Without configured ones: the clusters of the client's list.
    pub(super) fn ways(&self) -> Vec<Way<'a>> {
        let mut ways: Vec<Way<'a>> = if self.service.pathways.is_empty() {
            let fleet = self.world.fleet();
            let way = |place: crate::snapshot::Place| Way {
                id: id_of(&fleet.cluster(place.cluster).name),
                kind: PathwayKind::Cluster,
                turn: self.turn_of(|id, _| id == place.cluster),
            };
            self.found.list.iter().map(way).collect()
        } else {
            self.service.pathways.iter().map(|pathway| self.way(pathway)).collect()
        };
        for way in &mut ways {
            if way.turn.0 < Turn::Demoted && self.pace.is_demoted(&way.id) {
                way.turn = (Turn::Demoted, 0);
            }
        }
        ways.sort_by_key(|way| way.turn);
        // Names that differ in what an id may not hold are one id.
        let mut at = 0;
        while at < ways.len() {
            if ways[..at].iter().any(|before| before.id == ways[at].id) {
                ways.remove(at);
            } else {
                at += 1;
            }
        }
        ways
    }

    /// A configured pathway.
    fn way(&self, pathway: &'a Pathway) -> Way<'a> {
        let (kind, turn) = match &pathway.target {
            PathwayTarget::Class(class) => {
                (PathwayKind::Class, self.turn_of(|_, cluster| cluster.class == *class))
            }
            PathwayTarget::Cluster(name) => {
                (PathwayKind::Cluster, self.turn_of(|_, cluster| cluster.name == *name))
            }
            PathwayTarget::Alias(alias) => (PathwayKind::Alias, self.turn_of_alias(alias)),
        };
        Way { id: Cow::Borrowed(&pathway.id), kind, turn }
    }

    /// The turn of the clusters that `is_of` says.
    fn turn_of(&self, is_of: impl Fn(ClusterId, &Cluster) -> bool) -> (Turn, usize) {
        let fleet = self.world.fleet();
        let is_of = |id: ClusterId| is_of(id, fleet.cluster(id));
        let is_its = |id: &ApplianceId| is_of(fleet.appliance(*id).cluster);
        if let Some(at) = self.ranking.appliances().iter().position(is_its) {
            return (Turn::Usable, at);
        }
        match self.found.list.iter().position(|place| is_of(place.cluster)) {
            Some(at) => (Turn::Listed, at),
            None => (Turn::Other, 0),
        }
    }

    /// The turn of another CDN.
    fn turn_of_alias(&self, alias: &str) -> (Turn, usize) {
        let is_fallback = self.choice.verdict == Verdict::Fallback
            && self.service.fallback_alias.as_deref() == Some(alias);
        if is_fallback { (Turn::Usable, 0) } else { (Turn::Alias, 0) }
    }
}

/// A name as an id: what an id may not hold (RFC 8216bis section 4.4.6.2) is written as `_` and two digits.
fn id_of(name: &str) -> Cow<'_, str> {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_');
    if name.bytes().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let written = |octet: u8| {
        if is_plain(octet) { char::from(octet).to_string() } else { format!("_{octet:02X}") }
    };
    Cow::Owned(name.bytes().map(written).collect())
}
