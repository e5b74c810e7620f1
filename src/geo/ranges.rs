//! A whole address family cut into ranges, each with a location.
//!
//! A [`Ranges`] is two arrays: the sorted first addresses of the ranges and their locations. The
//! first range starts at 0 and the last ends with the family, so every address has a location,
//! perhaps [`LocationId::UNKNOWN`]. Neighbours differ: equal ones are merged while building.
//! Layer 2. Knows nothing of files; what a location is stands in [`super`].

use super::LocationId;
use crate::prefix::{Bits, Block};

/// Every address of a family and where it is. Immutable.
///
/// Memory: 8 octets a range for IPv4, 20 for IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges<B> {
    /// First addresses, ascending; the first is the lowest address.
    starts: Vec<B>,
    /// Locations, as many; neighbours differ.
    ids: Vec<LocationId>,
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
        Self { starts: vec![B::default()], ids: vec![LocationId::UNKNOWN] }
    }
}

/// Ranges by position, for whoever walks them in order.
impl<B: Bits> Ranges<B> {
    /// Position of the range around `addr`.
    pub fn position(&self, addr: B) -> usize {
        self.position_within(0..self.starts.len(), addr)
    }

    /// The same for an `addr` that lies in one of the ranges of `within`.
    pub fn position_within(&self, within: std::ops::Range<usize>, addr: B) -> usize {
        within.start + self.starts[within].partition_point(|&start| start <= addr) - 1
    }

    /// Lowest address of the range at `position`.
    pub fn first(&self, position: usize) -> B {
        self.starts[position]
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
        self.ids[self.index_of(addr)]
    }

    /// The range around `addr`.
    pub fn range_at(&self, addr: B) -> Range<B> {
        let index = self.index_of(addr);
        let after = self.starts.get(index + 1).and_then(|&start| start.prev());
        Range { first: self.starts[index], last: after.unwrap_or(B::MAX), id: self.ids[index] }
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
        self.starts.iter().copied().zip(self.ids.iter().copied())
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
            let start = self.starts[left].max(other.starts[right]);
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

    /// Index of the range around `addr`.
    fn index_of(&self, addr: B) -> usize {
        // The first start is the lowest address, so at least one start is not above `addr`.
        self.starts.partition_point(|&start| start <= addr) - 1
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
    /// What is made so far; its last range is open.
    ranges: Ranges<B>,
}

impl<B: Bits> Default for RangesBuilder<B> {
    /// Nothing known yet.
    fn default() -> Self {
        Self { ranges: Ranges::default() }
    }
}

impl<B: Bits> RangesBuilder<B> {
    /// Says that from `first` on, which is not before the last such address, everything is `id`.
    ///
    /// # Panics
    /// In debug builds when `first` lies before an earlier one.
    pub fn start(&mut self, first: B, id: LocationId) {
        let Ranges { starts, ids } = &mut self.ranges;
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
        self.ranges.starts.shrink_to_fit();
        self.ranges.ids.shrink_to_fit();
        self.ranges
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
            assert!(both.ids.windows(2).all(|w| w[0] != w[1]) && both.starts.is_sorted());
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
