//! A view: for every client, the ranked list of clusters that a kind of service may use.
//!
//! Services with equal tags, geo rules and default clusters share one view. It says nothing of
//! health. Lists are shared by all addresses that have the same one; a table entry is a list number
//! and one bit for space that is not globally reachable.

use super::list::{List, ListId, Lists};
use crate::fleet::{ClusterId, Fleet, GeoRules, Service};
use crate::lpm::{Hit, Lpm};
use crate::prefix::{Client, special};
use std::net::IpAddr;
use std::sync::Arc;

/// What two services have in common when they share a view.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ViewSpec {
    /// What an appliance's and its cluster's tags must cover. Sorted.
    pub tags: Box<[Box<str>]>,
    /// Countries.
    pub geo: GeoRules,
    /// The end of every list.
    pub default_clusters: Box<[ClusterId]>,
}

impl ViewSpec {
    /// The view that `service` needs.
    pub fn of(service: &Service) -> Self {
        Self {
            tags: service.tags.clone(),
            geo: service.geo.clone(),
            default_clusters: service.default_clusters.clone(),
        }
    }
}

/// A table value: the list, and whether the address lies in space that is not globally reachable
/// and that no route inside that space covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value(u32);

impl Value {
    /// Joins the two.
    pub(super) fn new(list: ListId, is_special: bool) -> Self {
        Self(list.0 << 1 | u32::from(is_special))
    }

    /// From a lookup.
    pub(super) fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// For the table.
    pub(super) fn raw(self) -> u32 {
        self.0
    }

    /// The list.
    pub(super) fn list(self) -> ListId {
        ListId(self.0 >> 1)
    }

    /// The bit.
    pub(super) fn is_special(self) -> bool {
        self.0 & 1 != 0
    }
}

/// What a view knows of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// Clusters, best first.
    pub list: List<'a>,
    /// The client's country is denied; the list is empty.
    pub is_denied: bool,
    /// The address is nobody's on the Internet and no route inside its special block covers it: as
    /// an ECS source it decides nothing (RFC 7871 section 11.2).
    pub is_special: bool,
    /// How far the list holds, in bits of the deciding family.
    pub scope_len: u8,
}

/// For every client a list. Immutable, shared between generations.
#[derive(Debug)]
pub struct View {
    pub(super) spec: ViewSpec,
    pub(super) members: Arc<Members>,
    pub(super) lists: Arc<Lists>,
    pub(super) v4: Lpm<u32>,
    pub(super) v6: Lpm<u128>,
}

impl View {
    /// Finds the list of `client`.
    #[inline]
    pub fn find(&self, client: Client) -> Found<'_> {
        self.found(match client.addr() {
            IpAddr::V4(addr) => self.v4.lookup(u32::from(addr)),
            IpAddr::V6(addr) => self.v6.lookup(u128::from(addr)),
        })
    }

    /// What `hit`, found in this view, stands for.
    #[inline]
    pub fn found(&self, hit: Hit) -> Found<'_> {
        let value = Value::from_raw(hit.value);
        Found {
            list: self.lists.get(value.list()),
            is_denied: value.list() == ListId::DENIED,
            is_special: value.is_special(),
            scope_len: hit.scope_len,
        }
    }

    /// Looks many clients up, so that their waits for memory overlap, and reads where their lists begin.
    /// Calls `found` for each of `v4`, then of `v6`; gives something made of all that was read.
    pub fn find_all(&self, v4: &[u32], v6: &[u128], mut found: impl FnMut(Hit)) -> u32 {
        let mut made = 0_u32;
        let mut take = |hit: Hit| {
            let first = self.lists.get(Value::from_raw(hit.value).list()).first();
            made = made.wrapping_add(first.map_or(0, |place| place.cluster.index() as u32));
            found(hit);
        };
        self.v4.lookup_all(v4, &mut take);
        self.v6.lookup_all(v6, &mut take);
        made
    }

    /// What services of this view ask for.
    pub fn spec(&self) -> &ViewSpec {
        &self.spec
    }

    /// Who may serve them, health apart.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Number of distinct lists.
    pub fn list_count(&self) -> usize {
        self.lists.len()
    }

    /// Octets on the heap, parts shared with other generations counted in full.
    pub fn heap_bytes(&self) -> usize {
        self.heap_parts().iter().sum()
    }

    /// The same by part: the tables of IPv4 and IPv6, and the lists.
    pub fn heap_parts(&self) -> [usize; 3] {
        [self.v4.heap_bytes(), self.v6.heap_bytes(), self.lists.heap_bytes()]
    }

    /// Table entries, IPv4 and IPv6, parts that updates left behind included.
    pub fn entry_counts(&self) -> (usize, usize) {
        (self.v4.entry_count(), self.v6.entry_count())
    }
}

/// Which appliances of a fleet are active for a view: eligible by tags, status active, capacity
/// above 0 (ruling 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    is_active: Box<[bool]>,
    active_counts: Box<[u32]>,
}

impl Members {
    /// Who may serve a service with `tags`, which are sorted.
    pub fn of(fleet: &Fleet, tags: &[Box<str>]) -> Self {
        let mut active_counts = vec![0; fleet.clusters().len()];
        let has = |set: &[Box<str>], tag: &str| set.binary_search_by(|one| (**one).cmp(tag)).is_ok();
        let mut is_active = |appliance: &crate::fleet::Appliance| {
            let cluster = fleet.cluster(appliance.cluster);
            let active = appliance.is_in_service()
                && tags.iter().all(|tag| has(&cluster.tags, tag) || has(&appliance.tags, tag));
            active_counts[appliance.cluster.index()] += u32::from(active);
            active
        };
        let is_active = fleet.appliances().iter().map(&mut is_active).collect();
        Self { is_active, active_counts: active_counts.into() }
    }

    /// Whether the appliance may serve when it is up.
    pub fn is_active(&self, appliance: crate::fleet::ApplianceId) -> bool {
        self.is_active[appliance.index()]
    }

    /// How many appliances of `cluster` are active.
    pub fn active_count(&self, cluster: ClusterId) -> u32 {
        self.active_counts[cluster.index()]
    }

    /// Whether `cluster` can be on a list.
    pub fn is_on_list(&self, cluster: ClusterId) -> bool {
        self.active_count(cluster) > 0
    }
}

/// A part of a family's space that is not ordinary, for the table's making.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpecialPart<B> {
    /// Lowest address.
    pub(super) first: B,
    /// Highest address.
    pub(super) last: B,
    /// Which special block of the family it belongs to; its number in [`special`].
    pub(super) block: usize,
}

/// The special blocks of a family with their holes cut out, in address order: the largest aligned
/// pieces, so that a piece is the widest a scope can be there.
pub(super) fn special_parts<B: crate::prefix::Bits>(
    blocks: &[crate::prefix::Block<B>],
    holes: &[crate::prefix::Block<B>],
) -> Vec<SpecialPart<B>> {
    let mut parts = Vec::new();
    for (number, &block) in blocks.iter().enumerate() {
        let mut rest = vec![block];
        while let Some(piece) = rest.pop() {
            if holes.iter().any(|hole| hole.covers(piece)) {
                continue;
            }
            match piece.halves() {
                Some((low, high)) if holes.iter().any(|hole| piece.covers(*hole)) => rest.extend([high, low]),
                _ => parts.push(SpecialPart { first: piece.first(), last: piece.last(), block: number }),
            }
        }
    }
    parts
}

/// The special blocks of IPv4, cut.
pub(super) fn special_parts_v4() -> Vec<SpecialPart<u32>> {
    special_parts(special::blocks_v4(), special::holes_v4())
}

/// The special blocks of IPv6, cut.
pub(super) fn special_parts_v6() -> Vec<SpecialPart<u128>> {
    special_parts(special::blocks_v6(), special::holes_v6())
}
