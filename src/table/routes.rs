//! Routes as arrays: millions of prefixes, each pointing at a shared set of candidates.
//!
//! A [`RouteSet`] holds one family sorted by first address, then length, so that a route comes right
//! before those inside it; `parent` names the nearest route around each one. What a route leads to is
//! a [`ViaId`] into a pool, because a million prefixes share a few thousand sets of candidates.
//! Layer 3.

use crate::fleet::ClusterId;
use crate::prefix::{Bits, Block};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// BGP ORIGIN (RFC 4271 section 5.1.1), best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Learned inside the originating network.
    #[default]
    Igp,
    /// Learned by EGP.
    Egp,
    /// Learned otherwise.
    Incomplete,
}

/// One way to a prefix: a cluster and the attributes of the route it heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Candidate {
    /// The cluster that heard it.
    pub cluster: ClusterId,
    /// LOCAL_PREF; higher is better. Default 100.
    pub local_pref: u32,
    /// Length of AS_PATH; shorter is better. Default 0.
    pub as_path_len: u32,
    /// ORIGIN.
    pub origin: Origin,
    /// MULTI_EXIT_DISC; lower is better. Default 0.
    pub med: u32,
}

/// A set of candidates in a [`ViaPool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViaId(pub(crate) u32);

impl ViaId {
    /// No set of candidates.
    pub const NONE: Self = Self(u32::MAX);

    /// The set at `index` of a pool, which whoever calls took from its length.
    ///
    /// # Panics
    /// When `index` does not fit.
    pub fn at(index: usize) -> Self {
        Self(u32::try_from(index).expect("pools hold fewer than 2^32 sets"))
    }

    /// Position in the pool.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Distinct sets of candidates, each sorted by cluster.
///
/// Sets lie end to end in one array; they are found again by hash, and a hash that two sets share is
/// probed upwards, so that cloning a pool is copying arrays.
#[derive(Debug, Clone, Default)]
pub struct ViaPool {
    ends: Vec<u32>,
    items: Vec<Candidate>,
    by_hash: FxHashMap<u64, ViaId>,
}

impl ViaPool {
    /// The id of `candidates`, which it sorts by cluster; equal sets get one id.
    pub fn intern(&mut self, candidates: &mut [Candidate]) -> ViaId {
        candidates.sort_unstable();
        let mut hash = FxBuildHasher.hash_one(&*candidates);
        while let Some(&id) = self.by_hash.get(&hash) {
            if self.get(id) == candidates {
                return id;
            }
            hash = hash.wrapping_add(1);
        }
        let id = ViaId(u32::try_from(self.ends.len()).expect("fewer than 2^32 sets of candidates"));
        self.items.extend_from_slice(candidates);
        self.ends.push(u32::try_from(self.items.len()).expect("fewer than 2^32 candidates"));
        self.by_hash.insert(hash, id);
        id
    }

    /// The candidates of `id`, by cluster.
    pub fn get(&self, id: ViaId) -> &[Candidate] {
        let start = if id.0 == 0 { 0 } else { self.ends[id.index() - 1] };
        &self.items[start as usize..self.ends[id.index()] as usize]
    }

    /// Octets on the heap.
    fn heap_bytes(&self) -> usize {
        let hashed = self.by_hash.capacity() * size_of::<(u64, ViaId)>();
        size_of_val(&*self.ends) + size_of_val(&*self.items) + hashed
    }

    /// Whether this pool holds all sets of `older` under the same ids.
    pub fn extends(&self, older: &Self) -> bool {
        let (ends, items) = (older.ends.len(), older.items.len());
        self.ends.get(..ends) == Some(&older.ends[..]) && self.items.get(..items) == Some(&older.items[..])
    }

    /// A pool of those sets that `map` keeps, with their clusters mapped, and where each old id went.
    /// A set is left out, its new id meaningless, when `is_live` denies it or `map` loses a cluster.
    pub(super) fn remapped(
        &self,
        is_live: impl Fn(ViaId) -> bool,
        map: impl Fn(ClusterId) -> Option<ClusterId>,
    ) -> (Self, Vec<ViaId>) {
        let mut pool = Self::default();
        let mut went = Vec::with_capacity(self.len());
        let mut scratch: Vec<Candidate> = Vec::new();
        for id in (0..self.len() as u32).map(ViaId) {
            scratch.clear();
            let old = self.get(id);
            let mapped = |one: &Candidate| map(one.cluster).map(|cluster| Candidate { cluster, ..*one });
            scratch.extend(old.iter().filter_map(mapped));
            let is_kept = scratch.len() == old.len() && is_live(id);
            went.push(if is_kept { pool.intern(&mut scratch) } else { ViaId(u32::MAX) });
        }
        (pool, went)
    }

    /// Number of sets.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Routes of one family. Positions in it are `u32` and mean nothing in another set.
#[derive(Debug, Clone)]
pub struct RouteSet<B> {
    shape: Arc<Shape<B>>,
    vias: Vec<ViaId>,
}

/// Which prefixes there are: shared by sets that differ in where they lead only.
#[derive(Debug)]
struct Shape<B> {
    firsts: Vec<B>,
    lens: Vec<u8>,
    parents: Vec<u32>,
    /// Their union, as first and last addresses; worked out when first asked for.
    covered: OnceLock<Box<[(B, B)]>>,
}

impl<B> Default for RouteSet<B> {
    fn default() -> Self {
        let shape =
            Shape { firsts: Vec::new(), lens: Vec::new(), parents: Vec::new(), covered: OnceLock::new() };
        Self { shape: Arc::new(shape), vias: Vec::new() }
    }
}

impl<B: Bits> RouteSet<B> {
    /// No parent.
    const NONE: u32 = u32::MAX;

    /// Freezes routes that are sorted by block, each block once.
    ///
    /// # Panics
    /// When they are not.
    pub fn from_sorted(routes: impl IntoIterator<Item = (Block<B>, ViaId)>) -> Self {
        let routes = routes.into_iter();
        let (room, _) = routes.size_hint();
        let (mut firsts, mut lens) = (Vec::with_capacity(room), Vec::with_capacity(room));
        let mut vias = Vec::with_capacity(room);
        for (block, via) in routes {
            firsts.push(block.first());
            lens.push(block.len());
            vias.push(via);
        }
        Self::from_columns(firsts, lens, vias).expect("routes are sorted and unique")
    }

    /// Freezes routes given as columns of one length: first addresses, prefix lengths, where they
    /// lead. `None` when they are not sorted and unique, or a block is not one.
    pub(super) fn from_columns(firsts: Vec<B>, lens: Vec<u8>, vias: Vec<ViaId>) -> Option<Self> {
        let count = u32::try_from(firsts.len()).ok().filter(|&count| count < Self::NONE)?;
        if lens.len() != firsts.len() || vias.len() != firsts.len() {
            return None;
        }
        let mut parents = Vec::with_capacity(firsts.len());
        // The routes around the one at hand, widest first.
        let mut around: Vec<(Block<B>, u32)> = Vec::new();
        let mut last: Option<Block<B>> = None;
        for at in 0..count {
            let block =
                Block::new(firsts[at as usize], lens[at as usize]).filter(|&block| last < Some(block))?;
            last = Some(block);
            while around.last().is_some_and(|(outer, _)| !outer.covers(block)) {
                around.pop();
            }
            parents.push(around.last().map_or(Self::NONE, |&(_, at)| at));
            around.push((block, at));
        }
        Some(Self { shape: Arc::new(Shape { firsts, lens, parents, covered: OnceLock::new() }), vias })
    }

    /// First addresses, prefix lengths, and where the routes lead, in order.
    pub(super) fn columns(&self) -> (&[B], &[u8], &[ViaId]) {
        (&self.shape.firsts, &self.shape.lens, &self.vias)
    }

    /// The same prefixes, leading to `vias`, which are as many.
    pub(super) fn leading_to(&self, vias: Vec<ViaId>) -> Self {
        assert_eq!(vias.len(), self.len(), "one for each prefix");
        Self { shape: Arc::clone(&self.shape), vias }
    }

    /// The union of the prefixes as sorted ranges (first and last address) that do not touch.
    pub fn covered(&self) -> &[(B, B)] {
        self.shape.covered.get_or_init(|| {
            let mut ranges: Vec<(B, B)> = Vec::new();
            for at in (0..self.len() as u32).filter(|&at| self.parent(at).is_none()) {
                let block = self.block(at);
                match ranges.last_mut() {
                    Some((_, last)) if last.next() == Some(block.first()) => *last = block.last(),
                    _ => ranges.push((block.first(), block.last())),
                }
            }
            ranges.into()
        })
    }

    /// Number of routes.
    pub fn len(&self) -> usize {
        self.shape.firsts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shape.firsts.is_empty()
    }

    /// The prefix of the route at `at`.
    pub fn block(&self, at: u32) -> Block<B> {
        Block::around(self.shape.firsts[at as usize], self.shape.lens[at as usize])
    }

    /// Where the route at `at` leads.
    pub fn via(&self, at: u32) -> ViaId {
        self.vias[at as usize]
    }

    /// The nearest route around the one at `at`.
    pub fn parent(&self, at: u32) -> Option<u32> {
        let parent = self.shape.parents[at as usize];
        (parent != Self::NONE).then_some(parent)
    }

    /// Octets on the heap, parts shared with other generations counted in full.
    fn heap_bytes(&self) -> usize {
        let Shape { firsts, lens, parents, covered } = &*self.shape;
        let covered = covered.get().map_or(0, |covered| size_of_val(&**covered));
        size_of_val(&**firsts) + lens.len() + size_of_val(&**parents) + covered + size_of_val(&*self.vias)
    }

    /// All routes in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Block<B>, ViaId)> + '_ {
        (0..self.len() as u32).map(|at| (self.block(at), self.via(at)))
    }

    /// Position of the first route that begins at or after `addr`.
    pub fn first_from(&self, addr: B) -> u32 {
        self.shape.firsts.partition_point(|&first| first < addr) as u32
    }

    /// Positions of the routes whose blocks lie in `block`, itself included.
    pub fn inside(&self, block: Block<B>) -> Range<u32> {
        let end = block.last().next().map_or(self.len() as u32, |after| self.first_from(after));
        self.lower_bound(block)..end
    }

    /// Position of the first route that sorts at or after `block`.
    pub fn lower_bound(&self, block: Block<B>) -> u32 {
        let mut low = self.first_from(block.first()) as usize;
        while low < self.len()
            && self.shape.firsts[low] == block.first()
            && self.shape.lens[low] < block.len()
        {
            low += 1;
        }
        low as u32
    }

    /// Position of the route for exactly `block`.
    pub fn position(&self, block: Block<B>) -> Option<u32> {
        let at = self.lower_bound(block);
        ((at as usize) < self.len() && self.block(at) == block).then_some(at)
    }

    /// The longest route that covers all of `block`, if any.
    pub fn covering(&self, block: Block<B>) -> Option<u32> {
        let after = self.lower_bound(block);
        if (after as usize) < self.len() && self.block(after) == block {
            return Some(after);
        }
        let mut at = after.checked_sub(1);
        while let Some(here) = at {
            if self.block(here).covers(block) {
                break;
            }
            at = self.parent(here);
        }
        at
    }

    /// The routes that cover `addr`, longest first.
    pub fn matches(&self, addr: B) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(self.covering(Block::around(addr, B::LEN)), |&at| self.parent(at))
    }
}

/// The routes of a table.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// IPv4.
    pub v4: RouteSet<u32>,
    /// IPv6.
    pub v6: RouteSet<u128>,
    /// What they lead to.
    pub vias: ViaPool,
}

impl Routes {
    /// Number of routes of both families.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets on the heap, parts shared with other generations counted in full.
    pub fn heap_bytes(&self) -> usize {
        self.v4.heap_bytes() + self.v6.heap_bytes() + self.vias.heap_bytes()
    }
}

impl PartialEq for Routes {
    /// Whether both have the same prefixes with the same candidates; ids may differ.
    fn eq(&self, other: &Self) -> bool {
        let mut same_vias = FxHashSet::default();
        let mut same = |a: ViaId, b: ViaId| {
            same_vias.contains(&(a, b)) || {
                let same = self.vias.get(a) == other.vias.get(b);
                if same {
                    same_vias.insert((a, b));
                }
                same
            }
        };
        self.v4.len() == other.v4.len()
            && self.v6.len() == other.v6.len()
            && self.v4.iter().zip(other.v4.iter()).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
            && self.v6.iter().zip(other.v6.iter()).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> Block<u32> {
        match text.parse() {
            Ok(crate::prefix::Prefix::V4(block)) => block,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn matches_run_from_longest_to_shortest() {
        let texts = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.1.0.0/16", "10.1.2.0/24", "11.0.0.0/8"];
        let set = RouteSet::from_sorted(texts.map(|t| (block(t), ViaId(0))));
        let found = |addr: &str| {
            let addr = u32::from(addr.parse::<std::net::Ipv4Addr>().expect("an address"));
            set.matches(addr).map(|at| set.block(at).to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found("10.1.2.3"), "10.1.2.0/24 10.1.0.0/16 10.0.0.0/8 0.0.0.0/0");
        assert_eq!(found("10.0.0.255"), "10.0.0.0/24 10.0.0.0/8 0.0.0.0/0");
        assert_eq!(found("10.2.0.0"), "10.0.0.0/8 0.0.0.0/0");
        assert_eq!(found("12.0.0.0"), "0.0.0.0/0");
        assert_eq!(set.covering(block("10.1.0.0/17")), Some(3));
        assert_eq!(set.covering(block("10.0.0.0/7")), Some(0));
    }
}
