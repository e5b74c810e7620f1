//! A whole address family cut into ranges, each with a location.
//!
//! A [`Ranges`] is two arrays: the sorted first addresses of the ranges and their locations. The
//! first range starts at 0 and the last ends with the family, so every address has a location,
//! perhaps [`LocationId::UNKNOWN`]. Neighbours differ: equal ones are merged while building.
//! Layer 2. Knows nothing of files; what a location is stands in [`super`].

use super::LocationId;
use crate::columns::{Sink, Source, damaged};
use crate::prefix::{Bits, Block};
use std::io::{self, Read, Write};

/// Every address of a family and where it is. Immutable.
///
/// Memory: 8 octets a range for IPv4; 12 for IPv6 where all ranges begin with a /64, as those of country
/// databases do, else 20.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges<B> {
    /// First addresses, ascending; the first is the lowest address.
    starts: Starts<B>,
    /// Locations, as many; neighbours differ.
    ids: Vec<LocationId>,
}

/// First addresses, in as few octets as they need.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Starts<B> {
    /// As they are.
    Whole(Vec<B>),
    /// Of IPv6: the upper halves of addresses whose lower halves are 0.
    Upper(Vec<u64>),
}

/// The address whose upper half this is.
fn from_upper<B: Bits>(upper: u64) -> B {
    B::narrow(u128::from(upper) << 64)
}

impl<B: Bits> Starts<B> {
    /// These addresses, halved where that loses nothing.
    fn of(whole: Vec<B>) -> Self {
        let fits = B::LEN == 128 && whole.iter().all(|start| start.widen() as u64 == 0);
        if fits {
            Self::Upper(whole.iter().map(|start| (start.widen() >> 64) as u64).collect())
        } else {
            Self::Whole(whole)
        }
    }

    /// How many.
    fn len(&self) -> usize {
        match self {
            Self::Whole(starts) => starts.len(),
            Self::Upper(starts) => starts.len(),
        }
    }

    /// The one at `at`.
    fn at(&self, at: usize) -> B {
        match self {
            Self::Whole(starts) => starts[at],
            Self::Upper(starts) => from_upper(starts[at]),
        }
    }

    /// The one at `at`, if there are so many.
    fn get(&self, at: usize) -> Option<B> {
        (at < self.len()).then(|| self.at(at))
    }

    /// How many of `within` are not above `addr`.
    fn count_to(&self, within: std::ops::Range<usize>, addr: B) -> usize {
        match self {
            Self::Whole(starts) => starts[within].partition_point(|&start| start <= addr),
            Self::Upper(starts) => {
                let upper = (addr.widen() >> 64) as u64;
                starts[within].partition_point(|&start| start <= upper)
            }
        }
    }

    /// Octets on the heap.
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Whole(starts) => starts.capacity() * size_of::<B>(),
            Self::Upper(starts) => starts.capacity() * 8,
        }
    }
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
        Self { starts: Starts::of(vec![B::default()]), ids: vec![LocationId::UNKNOWN] }
    }
}

/// Ranges by position, for whoever walks them in order.
impl<B: Bits> Ranges<B> {
    /// Position of the range around `addr`.
    pub fn position(&self, addr: B) -> usize {
        self.position_within(0..self.starts.len(), addr)
    }

    /// The same for an `addr` that lies in one of the ranges of `within`.
    // The first start is the lowest address, so at least one start is not above `addr`.
    pub fn position_within(&self, within: std::ops::Range<usize>, addr: B) -> usize {
        within.start + self.starts.count_to(within.clone(), addr) - 1
    }

    /// Lowest address of the range at `position`.
    pub fn first(&self, position: usize) -> B {
        self.starts.at(position)
    }

    /// Location of the range at `position`.
    pub fn id(&self, position: usize) -> LocationId {
        self.ids[position]
    }
}

impl<B: Bits> Ranges<B> {
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

    /// Where `addr` is. Cost: a binary search.
    pub fn lookup(&self, addr: B) -> LocationId {
        self.ids[self.position(addr)]
    }

    /// The range around `addr`.
    pub fn range_at(&self, addr: B) -> Range<B> {
        let index = self.position(addr);
        let after = self.starts.get(index + 1).and_then(Bits::prev);
        Range { first: self.starts.at(index), last: after.unwrap_or(B::MAX), id: self.ids[index] }
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
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (B, LocationId)> + '_ {
        (0..self.count()).map(|at| (self.starts.at(at), self.ids[at]))
    }

    /// Number of ranges, at least 1.
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// Whether nothing is known of any address.
    pub fn is_unknown(&self) -> bool {
        self.ids == [LocationId::UNKNOWN]
    }

    /// The locations in address order, to be renamed one to one.
    pub(super) fn ids_mut(&mut self) -> &mut [LocationId] {
        &mut self.ids
    }

    /// Octets on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.starts.heap_bytes() + self.ids.capacity() * size_of::<LocationId>()
    }

    /// Writes all.
    pub(super) fn write(&self, out: &mut Sink<impl Write>) -> io::Result<()> {
        let ids: Vec<u32> = self.ids.iter().map(|id| id.0).collect();
        out.array(&ids)?;
        match &self.starts {
            Starts::Upper(starts) => {
                out.number(1u8)?;
                out.numbers(starts)
            }
            Starts::Whole(starts) if B::LEN == 32 => {
                out.number(0u8)?;
                out.numbers(&starts.iter().map(|start| start.widen() as u32).collect::<Vec<_>>())
            }
            Starts::Whole(starts) => {
                out.number(0u8)?;
                out.numbers(&starts.iter().map(|start| start.widen()).collect::<Vec<_>>())
            }
        }
    }

    /// Reads what [`Ranges::write`] wrote, checked, of a geography with `locations`.
    pub(super) fn read(from: &mut Source<impl Read>, locations: usize) -> io::Result<Self> {
        let ids: Vec<LocationId> = from.array::<u32>()?.into_iter().map(LocationId).collect();
        let count = ids.len() as u64;
        let starts = match from.number::<u8>()? {
            1 if B::LEN == 128 => Starts::Upper(from.numbers(count)?),
            0 if B::LEN == 32 => {
                let starts = from.numbers::<u32>(count)?.into_iter();
                Starts::Whole(starts.map(|start| B::narrow(u128::from(start))).collect())
            }
            0 => Starts::Whole(from.numbers::<u128>(count)?.into_iter().map(B::narrow).collect()),
            _ => return Err(damaged("ranges of no known kind")),
        };
        let is_sorted = match &starts {
            Starts::Whole(starts) => starts.is_sorted_by(|a, b| a < b),
            Starts::Upper(starts) => starts.is_sorted_by(|a, b| a < b),
        };
        let is_sound = starts.get(0) == Some(B::default())
            && is_sorted
            && ids.is_sorted_by(|a, b| a != b)
            && ids.iter().all(|id| id.index() < locations);
        if is_sound { Ok(Self { starts, ids }) } else { Err(damaged("ranges that are none")) }
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
        let (mut left, mut right) = (0, 0);
        loop {
            let start = self.starts.at(left).max(other.starts.at(right));
            builder.start(start, combine(self.ids[left], other.ids[right]));
            match (self.starts.get(left + 1), other.starts.get(right + 1)) {
                (None, None) => return builder.finish(),
                (Some(a), Some(b)) if a == b => (left, right) = (left + 1, right + 1),
                (Some(a), Some(b)) if a > b => right += 1,
                (None, Some(_)) => right += 1,
                (Some(_), _) => left += 1,
            }
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
    /// First addresses of what is made so far; the last range is open.
    starts: Vec<B>,
    /// Its locations.
    ids: Vec<LocationId>,
}

impl<B: Bits> Default for RangesBuilder<B> {
    /// Nothing known yet.
    fn default() -> Self {
        Self { starts: vec![B::default()], ids: vec![LocationId::UNKNOWN] }
    }
}

impl<B: Bits> RangesBuilder<B> {
    /// Says that from `first` on, which is not before the last such address, everything is `id`.
    ///
    /// # Panics
    /// In debug builds when `first` lies before an earlier one.
    pub fn start(&mut self, first: B, id: LocationId) {
        let Self { starts, ids } = self;
        debug_assert!(starts.last().is_some_and(|&last| last <= first), "ranges are made in order");
        if starts.last() == Some(&first) {
            starts.pop();
            ids.pop();
        }
        if ids.last() != Some(&id) {
            starts.push(first);
            ids.push(id);
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
    pub fn finish(mut self) -> Ranges<B> {
        self.starts.shrink_to_fit();
        self.ids.shrink_to_fit();
        Ranges { starts: Starts::of(self.starts), ids: self.ids }
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
            assert!(
                both.ids.windows(2).all(|w| w[0] != w[1]) && both.iter().is_sorted_by_key(|range| range.0)
            );
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
}
