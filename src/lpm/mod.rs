//! Longest-prefix table that also says how far each answer holds.
//!
//! [`Lpm`] maps every address of a family to a value and a **scope**: the shortest prefix length
//! around the address inside which every address has the same *identity* (RFC 7871 section 7.2.1:
//! tailored answers must not overlap). Identity is coarser than value: two values may differ in what
//! is told about them and still be the same answer. [`Identity::Any`] marks space that nobody asks
//! from; it agrees with everything and so never shortens a neighbour's scope.
//!
//! The space is cut into aligned [`Chunk`]s of about a hundred entries, each built alone and shared
//! by `Arc`. A change rebuilds the chunks it touches; [`Lpm::assemble`] then only has to look at one
//! summary a chunk. That is enough because of how scopes nest: a chunk with two identities inside
//! bounds every scope inside it, and a chunk with one identity has one scope, found among chunks.
//!
//! ```text
//! index[top 16 bits] ─► chunk firsts ─► chunk ─► entry firsts ─► entry = value << 8 | scope
//! ```
//! Layer 1: knows neither routes nor clusters. The slow twin is in the tests below.

mod scopes;

use crate::prefix::{Bits, Block};
use std::sync::Arc;

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
    /// What a lookup returns, below 2^24.
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

/// An entry's scope is that of its whole chunk.
const SCOPE_OF_CHUNK: u8 = u8::MAX;

/// Bits of a value.
pub const VALUE_BITS: u32 = 24;

/// One aligned part of the space. Immutable.
#[derive(Debug)]
pub struct Chunk<B> {
    block: Block<B>,
    summary: Summary,
    firsts: Box<[B]>,
    /// `value << 8 | scope`, one for each of `firsts`.
    entries: Box<[u32]>,
}

impl<B: Bits> Chunk<B> {
    /// Freezes the segments of `block`.
    ///
    /// # Panics
    /// When `segments` are not in order, do not begin at the block's first address or leave it, or a
    /// value needs more than [`VALUE_BITS`] bits.
    pub fn build(block: Block<B>, segments: &[Segment<B>]) -> Self {
        assert_eq!(segments.first().map(|s| s.first), Some(block.first()), "a chunk is fully populated");
        assert!(segments.windows(2).all(|pair| pair[0].first < pair[1].first), "segments are in order");
        assert!(block.contains(segments[segments.len() - 1].first), "segments stay inside");
        let summary = segments.iter().fold(Summary::Any, |sum, s| sum.and(Summary::of(s.identity)));
        let mut chunk = ChunkBuilder {
            firsts: Vec::with_capacity(segments.len()),
            entries: Vec::with_capacity(segments.len()),
        };
        if summary == Summary::Many {
            scopes::split(block, segments, |first, value, scope_len| chunk.push(first, value, scope_len));
        } else {
            for segment in segments {
                let scope_len = match segment.identity {
                    Identity::Any { scope_len } => scope_len,
                    Identity::Is(_) => SCOPE_OF_CHUNK,
                };
                chunk.push(segment.first, segment.value, scope_len);
            }
        }
        Self { block, summary, firsts: chunk.firsts.into(), entries: chunk.entries.into() }
    }

    /// The part of the space it describes.
    pub fn block(&self) -> Block<B> {
        self.block
    }

    /// Values by first address, neighbours with different values or scopes apart.
    pub fn values(&self) -> impl ExactSizeIterator<Item = (B, u32)> + '_ {
        self.firsts.iter().zip(&self.entries).map(|(&first, &entry)| (first, entry >> 8))
    }

    /// Octets on the heap.
    fn heap_bytes(&self) -> usize {
        size_of_val(&*self.firsts) + size_of_val(&*self.entries) + size_of::<Self>()
    }
}

/// A chunk's columns while they grow.
struct ChunkBuilder<B> {
    firsts: Vec<B>,
    entries: Vec<u32>,
}

impl<B: Bits> ChunkBuilder<B> {
    /// Adds an entry, or lets the last one run on if it says the same.
    fn push(&mut self, first: B, value: u32, scope_len: u8) {
        assert!(value < 1 << VALUE_BITS, "who builds keeps values below 2^24");
        let entry = value << 8 | u32::from(scope_len);
        if self.entries.last() != Some(&entry) {
            self.firsts.push(first);
            self.entries.push(entry);
        }
    }
}

/// A longest-prefix table of one family. Immutable; chunks are shared with other tables.
#[derive(Debug, Clone)]
pub struct Lpm<B> {
    /// For each value of the top 16 bits, the chunk that holds the first such address.
    index: Box<[u32]>,
    firsts: Box<[B]>,
    chunks: Box<[Arc<Chunk<B>>]>,
    /// Scope of chunks with one identity.
    chunk_scopes: Box<[u8]>,
    summary: Summary,
}

impl<B: Bits> Lpm<B> {
    /// Puts chunks together that cover the space in order, without gap or overlap.
    ///
    /// Cost: linear in chunks.
    ///
    /// # Panics
    /// When they do not cover it so.
    pub fn assemble(chunks: Vec<Arc<Chunk<B>>>) -> Self {
        let mut expected = Some(B::default());
        for chunk in &chunks {
            assert_eq!(expected, Some(chunk.block.first()), "chunks follow each other");
            expected = chunk.block.last().next();
        }
        assert_eq!(expected, None, "chunks reach the highest address");
        let firsts: Box<[B]> = chunks.iter().map(|chunk| chunk.block.first()).collect();
        let mut index = Vec::with_capacity(1 << 16);
        let mut at = 0;
        for top in 0..=u16::MAX {
            let lowest = B::narrow(u128::from(top) << (B::LEN - 16));
            while chunks[at].block.last() < lowest {
                at += 1;
            }
            index.push(at as u32);
        }
        Self {
            index: index.into(),
            firsts,
            chunk_scopes: scopes::of_chunks(&chunks),
            summary: chunks.iter().fold(Summary::Any, |sum, chunk| sum.and(chunk.summary)),
            chunks: chunks.into(),
        }
    }

    /// Finds the value of `addr` and how widely it holds.
    ///
    /// Total: there is no address without a value. No allocation; about six dependent loads.
    pub fn lookup(&self, addr: B) -> Hit {
        let at = self.chunk_at(addr);
        let chunk = &*self.chunks[at];
        let entry = chunk.entries[chunk.firsts.partition_point(|&first| first <= addr) - 1];
        let scope_len = match entry as u8 {
            SCOPE_OF_CHUNK => self.chunk_scopes[at],
            scope_len => scope_len,
        };
        Hit { value: entry >> 8, scope_len }
    }

    /// Position of the chunk that holds `addr`.
    fn chunk_at(&self, addr: B) -> usize {
        let top = usize::from(addr.top16());
        let low = self.index[top] as usize;
        let high = self.index.get(top + 1).map_or(self.chunks.len() - 1, |&next| next as usize);
        low + self.firsts[low + 1..=high].partition_point(|&first| first <= addr)
    }

    /// The chunks in address order.
    pub fn chunks(&self) -> &[Arc<Chunk<B>>] {
        &self.chunks
    }

    /// What is known of the whole space.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Entries in all chunks.
    pub fn entry_count(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.entries.len()).sum()
    }

    /// Octets on the heap, shared chunks counted in full.
    pub fn heap_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.heap_bytes()).sum();
        chunks
            + size_of_val(&*self.index)
            + size_of_val(&*self.firsts)
            + size_of_val(&*self.chunks)
            + self.chunk_scopes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow twin: asks every segment, and widens the block until two identities meet.
    fn golden<B: Bits>(segments: &[Segment<B>], addr: B) -> Hit {
        let at = segments.iter().rposition(|s| s.first <= addr).expect("the first segment starts at 0");
        let scope_len = match segments[at].identity {
            Identity::Any { scope_len } => scope_len,
            Identity::Is(_) => (0..=B::LEN)
                .find(|&len| {
                    let block = Block::around(addr, len);
                    segments.iter().enumerate().all(|(i, s)| {
                        let last = segments.get(i + 1).and_then(|n| n.first.prev()).unwrap_or(B::MAX);
                        let outside = last < block.first() || s.first > block.last();
                        outside
                            || matches!(s.identity, Identity::Any { .. })
                            || s.identity == segments[at].identity
                    })
                })
                .expect("a single address has one identity"),
        };
        Hit { value: segments[at].value, scope_len }
    }

    /// A small generator: xorshift64*.
    struct Rng(u64);

    impl Rng {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        fn below(&mut self, limit: u64) -> u64 {
            self.next() % limit
        }
    }

    fn random_segments<B: Bits>(rng: &mut Rng) -> Vec<Segment<B>> {
        let mut firsts = vec![B::default()];
        for _ in 0..rng.below(60) {
            let addr = B::narrow((u128::from(rng.next()) << 64 | u128::from(rng.next())) >> (128 - B::LEN));
            let near = firsts[rng.below(firsts.len() as u64) as usize];
            let keep = rng.below(u64::from(B::LEN) + 1) as u8;
            let mixed = near.and(B::mask(keep)).or(addr.and(B::mask(keep).not()));
            firsts.push(mixed.and(B::mask(rng.below(u64::from(B::LEN)) as u8 + 1)));
        }
        firsts.sort();
        firsts.dedup();
        let segment = |first| {
            let id = rng.below(4) as u32;
            let identity = if id == 0 { Identity::Any { scope_len: 7 } } else { Identity::Is(id) };
            Segment { first, value: id * 10 + rng.below(2) as u32, identity }
        };
        firsts.into_iter().map(segment).collect()
    }

    /// Cuts `segments` to `block`.
    fn inside<B: Bits>(segments: &[Segment<B>], block: Block<B>) -> Vec<Segment<B>> {
        let from = segments.iter().rposition(|s| s.first <= block.first()).expect("starts at 0");
        let cut = segments[from..].iter().take_while(|s| s.first <= block.last());
        cut.map(|s| Segment { first: s.first.max(block.first()), ..*s }).collect()
    }

    fn chunked<B: Bits>(
        segments: &[Segment<B>],
        block: Block<B>,
        rng: &mut Rng,
        out: &mut Vec<Arc<Chunk<B>>>,
    ) {
        let part = inside(segments, block);
        match block.halves() {
            Some((low, high)) if part.len() > 3 || rng.below(4) == 0 => {
                chunked(segments, low, rng, out);
                chunked(segments, high, rng, out);
            }
            _ => out.push(Arc::new(Chunk::build(block, &part))),
        }
    }

    fn agrees_with_golden<B: Bits>(seed: u64) {
        let mut rng = Rng(seed);
        for _ in 0..400 {
            let segments = random_segments::<B>(&mut rng);
            let mut chunks = Vec::new();
            chunked(&segments, Block::all(), &mut rng, &mut chunks);
            let lpm = Lpm::assemble(chunks);
            for segment in &segments {
                let around = [Some(segment.first), segment.first.prev(), segment.first.next()];
                let random = B::narrow(u128::from(rng.next()) << 64 >> (128 - B::LEN));
                for addr in around.into_iter().flatten().chain([random, B::MAX]) {
                    assert_eq!(lpm.lookup(addr), golden(&segments, addr), "{addr:?} in {segments:?}");
                }
            }
        }
    }

    #[test]
    fn v4_agrees_with_a_linear_scan() {
        agrees_with_golden::<u32>(42);
    }

    #[test]
    fn v6_agrees_with_a_linear_scan() {
        agrees_with_golden::<u128>(43);
    }

    #[test]
    fn scope_is_not_the_matching_prefix() {
        let is = |first, value| Segment { first, value, identity: Identity::Is(value) };
        let segments =
            [is(0u32, 0), is(0x0a00_0000, 1), is(0x0a01_0000, 2), is(0x0a02_0000, 1), is(0x0b00_0000, 0)];
        let lpm = Lpm::assemble(vec![Arc::new(Chunk::build(Block::all(), &segments))]);
        assert_eq!(lpm.lookup(0x0a02_0304), Hit { value: 1, scope_len: 15 });
        assert_eq!(lpm.lookup(0x0a01_0304), Hit { value: 2, scope_len: 16 });
        assert_eq!(lpm.lookup(0xc000_0000), Hit { value: 0, scope_len: 1 });
    }
}
