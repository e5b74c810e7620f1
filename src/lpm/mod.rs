//! Longest-prefix table that also says how far each answer holds.
//!
//! [`Lpm`] maps every address of a family to a value and a **scope**: the shortest prefix length
//! around the address inside which every address has the same *identity* (RFC 7871 section 7.2.1:
//! tailored answers must not overlap). Identity is coarser than value: two values may differ in what
//! is told about them and still be the same answer. [`Identity::Any`] marks space that nobody asks
//! from; it agrees with everything and so never shortens a neighbour's scope.
//!
//! Values and scopes are worked out when the table is made ([`Lpm::build`]) and stored together, so
//! a lookup finds both at once. A change ([`Lpm::update`]) is local: outside of the block that changed,
//! scopes change only in the blocks beside it that have one identity, and the scopes stored there
//! tell how many of them to look at. So the table of the next generation is a copy with a few words
//! written anew.
//!
//! | file | what |
//! |---|---|
//! | `trie` | addresses to 31 bits, packed |
//! | `scopes` | from identities to scopes |
//! | `update` | scopes around a change |
//! | `kept` | a table as numbers, for the next start |
//!
//! Layer 1: knows neither routes nor clusters. The slow twin is in the tests.

mod kept;
mod scopes;
#[cfg(test)]
mod tests;
mod trie;
mod update;

use crate::prefix::{Bits, Block};
use std::ops::ControlFlow;
use trie::{GROUP, Trie};

/// What makes two addresses get the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Equal to everything; its own scope is given, 0 to the family's bits.
    Any {
        /// Scope of the addresses themselves.
        scope_len: u8,
    },
    /// Equal to the same number only.
    Is(u32),
}

/// Addresses from `first` up to the next segment's `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<B> {
    /// Lowest address.
    pub first: B,
    /// What a lookup returns, below 2^[`VALUE_BITS`].
    pub value: u32,
    /// What scopes are made from.
    pub identity: Identity,
}

/// What is known of all addresses of a block together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summary {
    /// Nothing but [`Identity::Any`].
    Any,
    /// This identity and perhaps [`Identity::Any`].
    One(u32),
    /// At least two identities.
    Many,
}

impl Summary {
    /// The summary of a segment.
    fn of(identity: Identity) -> Self {
        match identity {
            Identity::Any { .. } => Self::Any,
            Identity::Is(id) => Self::One(id),
        }
    }

    /// The summary of two areas together.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, x) | (x, Self::Any) => x,
            (Self::One(a), Self::One(b)) if a == b => self,
            _ => Self::Many,
        }
    }
}

/// What a lookup found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The segment's value.
    pub value: u32,
    /// The shortest length around the address with one identity, 0 to the family's bits.
    pub scope_len: u8,
}

/// Bits of a value.
pub const VALUE_BITS: u32 = 23;

/// Value and scope in one leaf.
fn leaf_of(value: u32, scope_len: u8) -> u32 {
    assert!(value < 1 << VALUE_BITS, "who builds keeps values below 2^23");
    value << 8 | u32::from(scope_len)
}

impl Hit {
    /// What a leaf says.
    #[inline]
    fn of(leaf: u32) -> Self {
        Self { value: leaf >> 8, scope_len: leaf as u8 }
    }
}

/// A longest-prefix table of one family.
#[derive(Debug, Clone)]
pub struct Lpm<B> {
    trie: Trie<B>,
}

impl<B: Bits> Lpm<B> {
    /// Makes the table of `segments`, which cover the space from the lowest address up. Those that it is
    /// given to keep are freed as soon as it needs them no more.
    ///
    /// Cost: linear in segments.
    ///
    /// # Panics
    /// When `segments` are not in order or do not begin at the lowest address, or a value needs more
    /// than [`VALUE_BITS`] bits.
    pub fn build(segments: impl AsRef<[Segment<B>]>) -> Self {
        let all = segments.as_ref();
        assert!(all.windows(2).all(|pair| pair[0].first < pair[1].first), "segments are in order");
        let cuts = scopes::cuts_of(Block::all(), all);
        drop(segments);
        Self { trie: Trie::build(&cuts) }
    }

    /// Finds the value of `addr` and how widely it holds.
    ///
    /// Total: there is no address without a value. No allocation. Cost: two dependent loads a level;
    /// one level for an IPv4 /24, two or three for IPv6.
    #[inline]
    pub fn lookup(&self, addr: B) -> Hit {
        Hit::of(self.trie.find(addr))
    }

    /// Finds many at once, in less time than one after the other: they wait for memory together.
    pub fn lookup_all(&self, addrs: &[B], mut found: impl FnMut(Hit)) {
        let (groups, rest) = addrs.as_chunks::<GROUP>();
        for group in groups {
            self.trie.find_group(group).iter().for_each(|&leaf| found(Hit::of(leaf)));
        }
        if let [first, ..] = *rest {
            let mut group = [first; GROUP];
            group[..rest.len()].copy_from_slice(rest);
            self.trie.find_group(&group)[..rest.len()].iter().for_each(|&leaf| found(Hit::of(leaf)));
        }
    }

    /// Calls `visit` for each value of `block` with the lowest address there, in order, until it
    /// breaks. Neighbours may have the same value with other scopes.
    pub fn walk(&self, block: Block<B>, mut visit: impl FnMut(B, u32) -> ControlFlow<()>) -> ControlFlow<()> {
        self.trie.walk(block, |first, leaf| visit(first, Hit::of(leaf).value))
    }

    /// What is known of all addresses of `block` together; `identity` says what an address and its
    /// value stand for.
    pub fn summary(&self, block: Block<B>, identity: impl Fn(B, u32) -> Identity) -> Summary {
        update::known(self, block, &identity).summary
    }

    /// Entries of the table, some of which an update may have left behind.
    pub fn entry_count(&self) -> usize {
        self.trie.entry_count()
    }

    /// Octets on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.trie.heap_bytes()
    }
}
