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
//!
//! A pathway that playlists do not name is told as a clone of one that they do: the same URIs at another host,
//! that of its best appliance for this client. Players keep what they first learnt for an id, so the id of such
//! a pathway goes on with the appliance's name: another appliance is another id.

use super::pace::Pace;
use crate::fleet::{ApplianceId, Cluster, ClusterId, Pathway, PathwayTarget, Service};
use crate::health::overrides::fits;
use crate::http::location::Locator;
use crate::metrics::Label;
use crate::snapshot::{Found, Place, Snapshot};
use crate::steer::{Choice, Ranking, Verdict};
use std::borrow::Cow;

/// What a pathway is, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathwayKind {
    /// One cluster.
    Cluster,
    /// The clusters of a class.
    Class,
    /// Several clusters.
    Group,
    /// The appliance of a rank.
    Rank,
    /// Another CDN.
    Alias,
    /// None of the service's.
    Unknown,
}

impl Label for PathwayKind {
    const ALL: &'static [Self] =
        &[Self::Cluster, Self::Class, Self::Group, Self::Rank, Self::Alias, Self::Unknown];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Class => "class",
            Self::Group => "group",
            Self::Rank => "rank",
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
    /// How its appliances are reached.
    pub locator: Locator<'a>,
}

/// One pathway in its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way<'a> {
    /// Its id, as configured; a cluster's name where nothing is configured.
    pub id: Cow<'a, str>,
    /// As players know it.
    pub told: Cow<'a, str>,
    /// What it is.
    pub kind: PathwayKind,
    /// How players come to know it, where playlists do not name it.
    pub clone: Option<Cloned<'a>>,
    turn: (Turn, usize),
}

/// A pathway made of another by its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cloned<'a> {
    /// The id of the one that playlists name.
    pub base: &'a str,
    /// The host alone.
    pub host: String,
    /// `:` and the port, where that is not the scheme's.
    pub port: String,
}

/// Where a pathway leads for this client.
#[derive(Debug, Clone, Copy)]
enum Lead<'a> {
    /// To this appliance first.
    Appliance(ApplianceId),
    /// To another CDN.
    Alias(&'a str),
    /// To nobody now.
    Nobody,
}

impl<'a> Decided<'a> {
    /// All pathways of the service that can be told of, best first. Without configured ones: the clusters of
    /// the client's list.
    pub(super) fn ways(&self) -> Vec<Way<'a>> {
        let fleet = self.world.fleet();
        let mut ways: Vec<Way<'a>> = if self.service.pathways.is_empty() {
            let way = |place: Place| {
                let (turn, lead) = self.among(|id, _| id == place.cluster);
                let id = id_of(&fleet.cluster(place.cluster).name);
                self.way(id, PathwayKind::Cluster, None, turn, lead)
            };
            self.found.list.iter().filter_map(way).collect()
        } else {
            self.service.pathways.iter().filter_map(|pathway| self.configured(pathway)).collect()
        };
        ways.sort_by_key(|way| way.turn);
        // Names that differ in what an id may not hold are one id.
        let mut at = 0;
        while at < ways.len() {
            if ways[..at].iter().any(|before| before.told == ways[at].told) {
                ways.remove(at);
            } else {
                at += 1;
            }
        }
        ways
    }

    /// A configured pathway.
    fn configured(&self, pathway: &'a Pathway) -> Option<Way<'a>> {
        let (kind, (turn, lead)) = match &pathway.target {
            PathwayTarget::Class(class) => {
                (PathwayKind::Class, self.among(|_, cluster| cluster.class == *class))
            }
            PathwayTarget::Cluster(name) => {
                (PathwayKind::Cluster, self.among(|_, cluster| cluster.name == *name))
            }
            PathwayTarget::Clusters(names) => {
                let is_named = |cluster: &Cluster| names.iter().any(|name| fits(name, &cluster.name));
                (PathwayKind::Group, self.among(|_, cluster| is_named(cluster)))
            }
            PathwayTarget::Rank(rank) => (PathwayKind::Rank, self.at(usize::from(*rank).saturating_sub(1))),
            PathwayTarget::Alias(alias) => (PathwayKind::Alias, self.elsewhere(alias)),
        };
        self.way(Cow::Borrowed(&pathway.id), kind, pathway.clone_of.as_deref(), turn, lead)
    }

    /// The pathway `id`, which leads where `lead` says; `None` when players cannot be told of it.
    fn way(
        &self,
        id: Cow<'a, str>,
        kind: PathwayKind,
        clone_of: Option<&'a str>,
        turn: (Turn, usize),
        lead: Lead<'a>,
    ) -> Option<Way<'a>> {
        let base = clone_of.or(self.service.clone_base.as_deref()).filter(|base| *base != id);
        let is_demoted = turn.0 < Turn::Demoted && self.pace.is_demoted(&id);
        let turn = if is_demoted { (Turn::Demoted, 0) } else { turn };
        let Some(base) = base else {
            return Some(Way { told: id.clone(), id, kind, clone: None, turn });
        };
        let (mut host, mut port) = (String::new(), String::new());
        let told = match lead {
            Lead::Nobody => return None,
            Lead::Alias(alias) => {
                host.push_str(alias);
                id.clone()
            }
            Lead::Appliance(appliance) => {
                let appliance = self.world.fleet().appliance(appliance);
                if !self.locator.write_host(appliance, &mut host) {
                    return None;
                }
                self.locator.write_port(&mut port);
                Cow::Owned(format!("{id}.{}", id_of(&appliance.name)))
            }
        };
        Some(Way { id, told, kind, clone: Some(Cloned { base, host, port }), turn })
    }

    /// When the clusters that `is_of` names have their turn, and where they lead.
    fn among(&self, is_of: impl Fn(ClusterId, &Cluster) -> bool) -> ((Turn, usize), Lead<'a>) {
        let fleet = self.world.fleet();
        let is_its = |place: &(usize, Place)| is_of(place.1.cluster, fleet.cluster(place.1.cluster));
        let its: Vec<(usize, Place)> = self.found.list.iter().enumerate().filter(is_its).collect();
        let Some((listed_at, _)) = its.first() else { return ((Turn::Other, 0), Lead::Nobody) };
        let is_in = |id: &ApplianceId| {
            let cluster = fleet.appliance(*id).cluster;
            its.iter().any(|(_, place)| place.cluster == cluster)
        };
        match self.ranking.appliances().iter().position(is_in) {
            Some(at) => self.at(at),
            None => ((Turn::Listed, *listed_at), Lead::Nobody),
        }
    }

    /// The turn of the appliance at `position` of the ranked list.
    fn at(&self, position: usize) -> ((Turn, usize), Lead<'a>) {
        match self.ranking.appliances().get(position) {
            Some(id) => ((Turn::Usable, position), Lead::Appliance(*id)),
            None => ((Turn::Other, 0), Lead::Nobody),
        }
    }

    /// The turn of another CDN.
    fn elsewhere(&self, alias: &'a str) -> ((Turn, usize), Lead<'a>) {
        let is_fallback =
            self.choice.verdict == Verdict::Fallback && self.service.fallback_alias.as_deref() == Some(alias);
        (if is_fallback { (Turn::Usable, 0) } else { (Turn::Alias, 0) }, Lead::Alias(alias))
    }
}

/// The one of `ways` that a player calls `told`, perhaps after an appliance that was its best before.
pub(super) fn way_called<'w, 'a>(ways: &'w [Way<'a>], told: &str) -> Option<&'w Way<'a>> {
    let is_before = |way: &&Way<'_>| {
        way.clone.is_some() && told.strip_prefix(&*way.id).is_some_and(|rest| rest.starts_with('.'))
    };
    let same = ways.iter().find(|way| way.told == told || way.id == told);
    same.or_else(|| ways.iter().filter(is_before).max_by_key(|way| way.id.len()))
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
