//! A whole address family cut into ranges, each with a location.
//!
//! The first range starts at the lowest address and the last ends with the family, so every address has
//! a location, perhaps [`LocationId::UNKNOWN`]. Neighbours differ: equal ones are merged while building.
//!
//! City databases have millions of ranges, and only the making of views and the explaining of decisions
//! read them, so they are packed: in blocks of 64, of which the first address and the place of
//! the rest are in arrays.
//!
//! ```text
//! block    shift: u8 | location | (step, location) for each further range
//! step     varint: how far the range begins behind the one before, without `shift` low bits, which no
//!          step of the block has
//! location varint: 0 to 6, that of the 2nd to the 8th range before in the block; else its number and 7
//! ```
//! A varint is seven bits an octet, low ones first, the highest bit set when more follow. Layer 2. Knows
//! nothing of files; what a location is stands in [`super`]. The slow twin, plain arrays, is in the tests.

use super::LocationId;
use crate::columns::{Sink, Source, damaged};
use crate::prefix::{Bits, Block};
use std::io::{self, Read, Write};

/// Ranges of a block, except the last block.
const BLOCK_LEN: usize = 64;

/// Locations of a block that are named by how long ago they came.
const AGES: usize = 7;

/// Every address of a family and where it is. Immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges<B> {
    /// First addresses of blocks, ascending; the first is the lowest address.
    heads: Vec<B>,
    /// Where each block begins in `octets`.
    offsets: Vec<u32>,
    /// All blocks.
    octets: Vec<u8>,
    /// Number of ranges.
    count: usize,
}

/// One range of [`Ranges`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range<B> {
    /// Lowest address.
    pub first: B,
    /// Highest address.
    pub last: B,
    /// Where it is.
    pub id: LocationId,
}

impl<B: Bits> Default for Ranges<B> {
    /// Nothing is known.
    fn default() -> Self {
        RangesBuilder::default().finish()
    }
}

/// Takes a varint off the front of `octets`; `None` when they end before it does or it is too large.
fn take_varint(octets: &mut &[u8]) -> Option<u128> {
    let (&first, rest) = octets.split_first()?;
    *octets = rest;
    let mut number = u128::from(first & 0x7f);
    let (mut last, mut shift) = (first, 7);
    while last >= 0x80 {
        let (&next, rest) = octets.split_first()?;
        *octets = rest;
        let bits = u128::from(next & 0x7f);
        if shift >= 128 || bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        (last, shift) = (next, shift + 7);
    }
    Some(number)
}

/// Adds a varint.
fn put_varint(mut number: u128, octets: &mut Vec<u8>) {
    while number >= 0x80 {
        octets.push(number as u8 | 0x80);
        number >>= 7;
    }
    octets.push(number as u8);
}

/// Reads one block.
#[derive(Debug, Clone)]
struct Unpacked<'a, B> {
    /// What is left of the block, and what comes behind it.
    octets: &'a [u8],
    shift: u8,
    /// The range read last.
    first: B,
    /// Locations of the ranges read, by their position in the block modulo 8.
    ids: [LocationId; AGES + 1],
    /// Ranges read.
    read: usize,
}

impl<'a, B: Bits> Unpacked<'a, B> {
    /// Begins with the first range; `None` if there is none.
    fn new(head: B, mut octets: &'a [u8]) -> Option<Self> {
        let (&shift, rest) = octets.split_first()?;
        octets = rest;
        let ids = [LocationId::UNKNOWN; AGES + 1];
        let mut block = Self { octets, shift, first: head, ids, read: 0 };
        block.take_id().filter(|_| shift < B::LEN)?;
        Some(block)
    }

    /// Reads a location.
    fn take_id(&mut self) -> Option<()> {
        let number = take_varint(&mut self.octets)? as usize;
        self.ids[self.read % (AGES + 1)] = match number.checked_sub(AGES) {
            Some(id) => LocationId(u32::try_from(id).ok()?),
            None => self.ids[self.read.checked_sub(number + 2)? % (AGES + 1)],
        };
        self.read += 1;
        Some(())
    }

    /// The range read last.
    fn here(&self) -> (B, LocationId) {
        (self.first, self.ids[(self.read - 1) % (AGES + 1)])
    }

    /// Goes on to the next range; `None` when what is there is none.
    fn step(&mut self) -> Option<()> {
        let step = take_varint(&mut self.octets)?;
        let first = self.first.widen().checked_add(step << self.shift)?;
        if step == 0 || step << self.shift >> self.shift != step || first > B::MAX.widen() {
            return None;
        }
        self.first = B::narrow(first);
        self.take_id()
    }
}

/// A place in [`Ranges`], for whoever walks them in order.
#[derive(Debug, Clone)]
pub struct Cursor<'a, B> {
    ranges: &'a Ranges<B>,
    /// Number of the block that holds what comes next, or else what is here.
    block: usize,
    /// Read up to what comes next, or else to what is here.
    unpacked: Unpacked<'a, B>,
    /// Location of the range here.
    id: LocationId,
    /// The next range.
    next: Option<(B, LocationId)>,
}

impl<B: Bits> Cursor<'_, B> {
    /// Where the range here is.
    pub fn id(&self) -> LocationId {
        self.id
    }

    /// Lowest address of the next range, if there is one.
    pub fn next_first(&self) -> Option<B> {
        self.next.map(|(first, _)| first)
    }

    /// Goes on to the next range; where there is none, stays.
    pub fn advance(&mut self) {
        let Some((_, id)) = self.next else { return };
        self.id = id;
        self.next = self.read();
    }

    /// Reads one more range.
    fn read(&mut self) -> Option<(B, LocationId)> {
        if self.unpacked.read == BLOCK_LEN {
            self.unpacked = self.ranges.unpacked(self.block + 1)?;
            self.block += 1;
        } else if self.block * BLOCK_LEN + self.unpacked.read == self.ranges.count {
            return None;
        } else {
            self.unpacked.step()?;
        }
        Some(self.unpacked.here())
    }
}

impl<B: Bits> Ranges<B> {
    /// The block of a number, its first range read.
    fn unpacked(&self, block: usize) -> Option<Unpacked<'_, B>> {
        let offset = *self.offsets.get(block)? as usize;
        Unpacked::new(self.heads[block], &self.octets[offset..])
    }

    /// Number of ranges in a block.
    fn count_in(&self, block: usize) -> usize {
        BLOCK_LEN.min(self.count - block * BLOCK_LEN)
    }

    /// At the range around `addr`. Cost: a binary search, and half a block is read.
    // The first head is the lowest address, so at least one is not above `addr`.
    pub fn cursor(&self, addr: B) -> Cursor<'_, B> {
        let block = self.heads.partition_point(|&head| head <= addr) - 1;
        let unpacked = self.unpacked(block).expect("whole since it was made or read");
        let id = unpacked.here().1;
        let mut cursor = Cursor { ranges: self, block, unpacked, id, next: None };
        cursor.next = cursor.read();
        while cursor.next_first().is_some_and(|first| first <= addr) {
            cursor.advance();
        }
        cursor
    }

    /// Flattens `networks`, which may nest: an address gets the location of the longest network
    /// around it, and of two equal networks that of the later one.
    pub fn from_networks(mut networks: Vec<(Block<B>, LocationId)>) -> Self {
        networks.sort_by_key(|&(block, _)| block);
        let mut builder = RangesBuilder::default();
        let mut open: Vec<(B, LocationId)> = Vec::new();
        for (block, id) in networks {
            close_before(&mut open, Some(block.first()), &mut builder);
            builder.start(block.first(), id);
            open.push((block.last(), id));
        }
        close_before(&mut open, None, &mut builder);
        builder.finish()
    }

    /// Where `addr` is. Cost: that of a cursor.
    pub fn lookup(&self, addr: B) -> LocationId {
        self.range_at(addr).id
    }

    /// The range around `addr`.
    pub fn range_at(&self, addr: B) -> Range<B> {
        let block = self.heads.partition_point(|&head| head <= addr) - 1;
        let mut unpacked = self.unpacked(block).expect("whole since it was made or read");
        let (mut first, mut id) = unpacked.here();
        let mut after = self.heads.get(block + 1).copied();
        for _ in 1..self.count_in(block) {
            unpacked.step().expect("whole since it was made or read");
            let (next, next_id) = unpacked.here();
            if next > addr {
                after = Some(next);
                break;
            }
            (first, id) = (next, next_id);
        }
        Range { first, last: after.and_then(Bits::prev).unwrap_or(B::MAX), id }
    }

    /// The largest aligned block around `addr` that lies inside its range: what a database would
    /// call its network; `None` where nothing is known.
    pub fn network_of(&self, addr: B) -> Option<Block<B>> {
        let range = self.range_at(addr);
        let fits = |block: &Block<B>| block.first() >= range.first && block.last() <= range.last;
        let block = (0..=B::LEN).map(|len| Block::around(addr, len)).find(fits);
        block.filter(|_| range.id != LocationId::UNKNOWN)
    }

    /// All ranges in address order, as first address and location.
    pub fn iter(&self) -> impl Iterator<Item = (B, LocationId)> + '_ {
        let mut cursor = self.cursor(B::default());
        let first = (B::default(), cursor.id);
        let rest = std::iter::from_fn(move || {
            let next = cursor.next;
            cursor.advance();
            next
        });
        std::iter::once(first).chain(rest.fuse())
    }

    /// Number of ranges, at least 1.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether nothing is known of any address.
    pub fn is_unknown(&self) -> bool {
        self.count == 1 && self.lookup(B::default()) == LocationId::UNKNOWN
    }

    /// The same ranges with other names for locations, different ones for different ones.
    pub(super) fn renamed(&self, mut name: impl FnMut(LocationId) -> LocationId) -> Self {
        let mut builder = RangesBuilder::default();
        self.iter().for_each(|(first, id)| builder.start(first, name(id)));
        builder.finish()
    }

    /// Octets on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.heads.capacity() * size_of::<B>() + self.offsets.capacity() * 4 + self.octets.capacity()
    }

    /// Writes all.
    pub(super) fn write(&self, out: &mut Sink<impl Write>) -> io::Result<()> {
        out.number(self.count as u64)?;
        out.array(&self.heads.iter().map(|head| head.widen()).collect::<Vec<_>>())?;
        out.numbers(&self.offsets)?;
        out.array(&self.octets)
    }

    /// Reads what [`Ranges::write`] wrote, checked, of a geography with `locations`.
    pub(super) fn read(from: &mut Source<impl Read>, locations: usize) -> io::Result<Self> {
        let count = usize::try_from(from.number::<u64>()?).map_err(|_| damaged("ranges without end"))?;
        let heads: Vec<u128> = from.array()?;
        let offsets: Vec<u32> = from.numbers(heads.len() as u64)?;
        let octets: Vec<u8> = from.array()?;
        let are_heads = heads.iter().all(|&head| head <= B::MAX.widen())
            && heads.first() == Some(&0)
            && heads.is_sorted_by(|a, b| a < b)
            && heads.len() == count.div_ceil(BLOCK_LEN);
        let ranges = Self { heads: heads.into_iter().map(B::narrow).collect(), offsets, octets, count };
        if are_heads && ranges.is_whole(locations) {
            Ok(ranges)
        } else {
            Err(damaged("ranges that are none"))
        }
    }

    /// Whether every range can be read, they are in order, neighbours differ, and their locations are
    /// some of so many.
    fn is_whole(&self, locations: usize) -> bool {
        let mut before: Option<LocationId> = None;
        let mut is_next = |id: LocationId| before.replace(id) != Some(id) && id.index() < locations;
        let mut end = 0;
        (0..self.heads.len()).all(|at| {
            if self.offsets[at] as usize != end || end >= self.octets.len() {
                return false;
            }
            let Some(mut block) = self.unpacked(at) else { return false };
            let is_sound = is_next(block.here().1)
                && (1..self.count_in(at)).all(|_| block.step().is_some() && is_next(block.here().1));
            end = self.octets.len() - block.octets.len();
            is_sound && self.heads.get(at + 1).is_none_or(|&next| block.first < next)
        }) && end == self.octets.len()
    }

    /// Combines two cuttings of the family: each address gets `combine(own location, other's)`.
    ///
    /// Cost: one pass over both; `combine` is called once a piece.
    pub fn zip_with(
        &self,
        other: &Self,
        mut combine: impl FnMut(LocationId, LocationId) -> LocationId,
    ) -> Self {
        let mut builder = RangesBuilder::default();
        let (mut left, mut right) = (self.cursor(B::default()), other.cursor(B::default()));
        let mut start = B::default();
        loop {
            builder.start(start, combine(left.id, right.id));
            let nexts = [left.next_first(), right.next_first()];
            let Some(next) = nexts.into_iter().flatten().min() else { return builder.finish() };
            if nexts[0] == Some(next) {
                left.advance();
            }
            if nexts[1] == Some(next) {
                right.advance();
            }
            start = next;
        }
    }
}

/// Ends the networks of `open` (innermost last) that end before `first` (`None`: all of them); the
/// network around each goes on after it.
fn close_before<B: Bits>(open: &mut Vec<(B, LocationId)>, first: Option<B>, builder: &mut RangesBuilder<B>) {
    while let Some(&(last, _)) = open.last()
        && first.is_none_or(|first| last < first)
    {
        open.pop();
        if let Some(after) = last.next() {
            builder.start(after, open.last().map_or(LocationId::UNKNOWN, |&(_, id)| id));
        }
    }
}

/// Makes [`Ranges`] from left to right.
#[derive(Debug)]
pub struct RangesBuilder<B> {
    /// What is packed so far.
    packed: Ranges<B>,
    /// The ranges after that, at least one; the last is open.
    rest: Vec<(B, LocationId)>,
}

impl<B: Bits> Default for RangesBuilder<B> {
    /// Nothing known yet.
    fn default() -> Self {
        let packed = Ranges { heads: Vec::new(), offsets: Vec::new(), octets: Vec::new(), count: 0 };
        Self { packed, rest: vec![(B::default(), LocationId::UNKNOWN)] }
    }
}

impl<B: Bits> RangesBuilder<B> {
    /// Says that from `first` on, which is not before the last such address, everything is `id`.
    ///
    /// # Panics
    /// In debug builds when `first` lies before an earlier one.
    pub fn start(&mut self, first: B, id: LocationId) {
        let Self { packed, rest } = self;
        debug_assert!(rest.last().is_some_and(|last| last.0 <= first), "ranges are made in order");
        if rest.last().is_some_and(|last| last.0 == first) {
            rest.pop();
        }
        if rest.last().is_none_or(|last| last.1 != id) {
            rest.push((first, id));
        }
        // Of the two that stay the last may still go, and the other says whether its successor differs.
        if rest.len() == BLOCK_LEN + 2 {
            packed.pack(&rest[..BLOCK_LEN]);
            rest.drain(..BLOCK_LEN);
        }
    }

    /// Says that `first` to `last` is `id` and that nothing is known after it.
    pub fn span(&mut self, first: B, last: B, id: LocationId) {
        self.start(first, id);
        if let Some(after) = last.next() {
            self.start(after, LocationId::UNKNOWN);
        }
    }

    /// The ranges, cut to size.
    pub fn finish(self) -> Ranges<B> {
        let Self { mut packed, rest } = self;
        rest.chunks(BLOCK_LEN).for_each(|block| packed.pack(block));
        packed.heads.shrink_to_fit();
        packed.offsets.shrink_to_fit();
        packed.octets.shrink_to_fit();
        packed
    }
}

impl<B: Bits> Ranges<B> {
    /// Adds a block; only the last has fewer than [`BLOCK_LEN`].
    fn pack(&mut self, block: &[(B, LocationId)]) {
        let steps = || block.windows(2).map(|pair| pair[1].0.widen() - pair[0].0.widen());
        let shift = steps().map(u128::trailing_zeros).min().unwrap_or(0);
        self.heads.push(block[0].0);
        self.offsets
            .push(u32::try_from(self.octets.len()).expect("a search tree has fewer than 2^29 leaves"));
        self.octets.push(shift as u8);
        let mut steps = steps();
        for (at, &(_, id)) in block.iter().enumerate() {
            if at > 0 {
                put_varint(steps.next().unwrap_or_default() >> shift, &mut self.octets);
            }
            let age = (2..AGES + 2).find(|&age| age <= at && block[at - age].1 == id);
            put_varint(age.map_or_else(|| id.index() + AGES, |age| age - 2) as u128, &mut self.octets);
        }
        self.count += block.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of the eight-bit toy space that the tests use: the top octet of an IPv4 address.
    fn block(octet: u32, len: u8) -> Block<u32> {
        Block::new(octet << 24, len).expect("test blocks are aligned")
    }

    fn show(ranges: &Ranges<u32>) -> String {
        let shown: Vec<String> =
            ranges.iter().map(|(start, id)| format!("{}:{}", start >> 24, id.index())).collect();
        shown.join(" ")
    }

    fn check(networks: &[(u32, u8, u32)], expected: &str) {
        let networks = networks.iter().map(|&(octet, len, id)| (block(octet, len), LocationId(id)));
        assert_eq!(show(&Ranges::from_networks(networks.collect())), expected);
    }

    #[test]
    fn nested_networks_are_flattened() {
        check(&[], "0:0");
        check(&[(0, 0, 1)], "0:1");
        check(&[(16, 8, 1)], "0:0 16:1 17:0");
        check(&[(16, 4, 1), (16, 8, 2)], "0:0 16:2 17:1 32:0");
        check(&[(16, 4, 1), (31, 8, 2)], "0:0 16:1 31:2 32:0");
        check(&[(16, 4, 1), (20, 8, 2), (21, 8, 2)], "0:0 16:1 20:2 22:1 32:0");
        check(&[(16, 4, 1), (20, 8, 1)], "0:0 16:1 32:0");
        check(&[(255, 8, 3), (0, 0, 1)], "0:1 255:3");
        check(&[(16, 8, 1), (16, 8, 2)], "0:0 16:2 17:0");
        check(&[(16, 8, 1), (17, 8, 1)], "0:0 16:1 18:0");
        check(&[(16, 4, 1), (16, 5, 0), (24, 5, 0)], "0:0");
    }

    #[test]
    fn ranges_and_networks_around_an_address() {
        let ranges =
            Ranges::from_networks(vec![(block(16, 4), LocationId(1)), (block(32, 8), LocationId(1))]);
        let range = ranges.range_at(0x1234_5678);
        assert_eq!((range.first, range.last, range.id), (0x1000_0000, 0x20ff_ffff, LocationId(1)));
        assert_eq!(ranges.range_at(u32::MAX).last, u32::MAX);
        assert_eq!(ranges.network_of(0x1234_5678).map(|b| b.to_string()), Some("16.0.0.0/4".into()));
        assert_eq!(ranges.network_of(0x2000_0001).map(|b| b.to_string()), Some("32.0.0.0/8".into()));
        assert_eq!(ranges.network_of(0x0100_0000), None);
        let all = Ranges::from_networks(vec![(Block::<u128>::all(), LocationId(5))]);
        assert_eq!(all.network_of(7).map(Block::len), Some(0));
    }

    #[test]
    fn agrees_with_a_scan_over_all_networks() {
        let mut state = 11u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let mut draw = || {
                let count = next(12);
                let one =
                    |_| (Block::around((next(256) as u32) << 24, next(9) as u8), LocationId(next(4) as u32));
                (0..count).map(one).collect::<Vec<_>>()
            };
            let (first, second) = (draw(), draw());
            let (a, b) = (Ranges::from_networks(first.clone()), Ranges::from_networks(second.clone()));
            let both = a.zip_with(&b, |x, y| LocationId(x.0 * 10 + y.0));
            assert!(both.iter().is_sorted_by(|a, b| a.0 < b.0 && a.1 != b.1));
            for octet in 0..256u32 {
                let addr = (octet << 24) | 0x00ff_00ff;
                let scan = |list: &[(Block<u32>, LocationId)]| {
                    let around = list.iter().filter(|(block, _)| block.contains(addr));
                    around.max_by_key(|(block, _)| block.len()).map_or(LocationId::UNKNOWN, |n| n.1)
                };
                let (x, y) = (scan(&first), scan(&second));
                assert_eq!((a.lookup(addr), b.lookup(addr)), (x, y));
                assert_eq!(both.lookup(addr), LocationId(x.0 * 10 + y.0));
            }
        }
    }

    /// Octets of `ranges`, for the next start.
    fn written<B: Bits>(ranges: &Ranges<B>) -> Vec<u8> {
        let mut sink = Sink::new(Vec::new());
        ranges.write(&mut sink).expect("a vector takes everything");
        sink.finish().expect("a vector takes everything")
    }

    /// Checks `ranges` against the plain arrays of the same cutting.
    fn check_packed<B: Bits>(plain: &[(B, LocationId)]) {
        let mut builder = RangesBuilder::default();
        plain.iter().for_each(|&(first, id)| builder.start(first, id));
        let ranges = builder.finish();
        assert!(ranges.iter().eq(plain.iter().copied()), "{} ranges", plain.len());
        assert_eq!(ranges.count(), plain.len());
        for (at, &(first, id)) in plain.iter().enumerate() {
            let next = plain.get(at + 1).map(|next| next.0);
            let last = next.and_then(Bits::prev).unwrap_or(B::MAX);
            for addr in [first, last] {
                assert_eq!(ranges.range_at(addr), Range { first, last, id });
                let cursor = ranges.cursor(addr);
                assert_eq!((cursor.id(), cursor.next_first()), (id, next));
            }
        }
        let octets = written(&ranges);
        let mut from = Source::new(&octets[..], octets.len() as u64).expect("long enough");
        let locations = 1 + plain.iter().map(|range| range.1.index()).max().unwrap_or(0);
        assert_eq!(Ranges::read(&mut from, locations).expect("just written"), ranges);
        let mut from = Source::new(&octets[..], octets.len() as u64).expect("long enough");
        assert!(Ranges::<B>::read(&mut from, locations - 1).is_err(), "a location too many");
        // Whatever else is written there, reading it ends in ranges that can be walked, or in an error.
        for at in (0..octets.len() - 4).step_by(1 + octets.len() / 300) {
            let mut bad = octets.clone();
            bad[at] ^= 0x41;
            let mut from = Source::new(&bad[..], bad.len() as u64).expect("long enough");
            if let Ok(ranges) = Ranges::<B>::read(&mut from, locations) {
                assert_eq!(ranges.iter().count(), ranges.count());
                assert!(ranges.iter().is_sorted_by(|a, b| a.0 < b.0 && a.1 != b.1));
            }
        }
    }

    #[test]
    fn packed_ranges_are_the_plain_ones() {
        let mut state = 3u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for round in 0..300 {
            let count = [1, 2, 63, 64, 65, 66, 67, 128, 129, 130, 500][round % 11];
            let (few, low) = (2 + next(12) * next(40_000), next(121) as u32);
            let mut plain = vec![(0u128, LocationId(next(few) as u32))];
            while plain.len() < count {
                let (first, id) = plain[plain.len() - 1];
                let spread = next(5) * next(40);
                let step = u128::from(1 + next(1 << spread.min(31))) << low.min(120 - spread as u32 % 100);
                let new = LocationId(next(few) as u32);
                match first.checked_add(step) {
                    Some(next) if new != id => plain.push((next, new)),
                    None => break,
                    _ => {}
                }
            }
            check_packed(&plain);
            let narrow = plain.iter().map(|&(first, id)| ((first >> low) as u32, id));
            let mut narrow: Vec<_> = narrow.collect();
            narrow.dedup_by_key(|range| range.0);
            narrow.dedup_by_key(|range| range.1);
            if narrow.is_sorted_by(|a, b| a.0 < b.0) {
                check_packed(&narrow);
            }
        }
        let mut ends = vec![(0, LocationId(0)), (1, LocationId(1)), (u128::MAX, LocationId(0))];
        check_packed(&ends);
        ends[1].0 = 1 << 127;
        check_packed(&ends);
    }
}
