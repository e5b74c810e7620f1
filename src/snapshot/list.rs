//! A list of clusters in order, and all lists of a view in little room.
//!
//! A list has three parts: clusters whose routes cover the client, clusters that are near, and the
//! service's default clusters; a cluster counts at its first place. The third part is the view's, and
//! the other two are few in kind (routes know nothing of places, places nothing of routes), so a list is
//! two numbers: where its *routed row* begins and where its *near row* does. What comes twice is left
//! out when a list is read. A row is its length and its clusters; the row at 0 has none.
//!
//! The slow twin, which writes each list out, is in the tests of [`super::lists`].

use crate::fleet::ClusterId;
use crate::lpm::VALUE_BITS;
use serde::Serialize;
use std::iter;
use std::sync::Arc;

/// Why a cluster is on a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It heard a route that covers the client.
    Route,
    /// It is one of the nearest.
    Geo,
    /// It is one of the service's default clusters.
    Default,
}

/// A cluster on a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The cluster.
    pub cluster: ClusterId,
    /// Why it is there, at its first place.
    pub kind: Kind,
}

/// Clusters, best first.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    /// Those with a route; none twice.
    routed: &'a [ClusterId],
    /// The nearest; none twice. Looked at only where those with a route do not do: it lies elsewhere.
    near: Near<'a>,
    /// The view's defaults; none twice.
    defaults: &'a [ClusterId],
}

/// A row that has not been looked at.
#[derive(Debug, Clone, Copy)]
struct Near<'a> {
    cells: &'a [ClusterId],
    row: RowId,
}

impl<'a> Near<'a> {
    /// The row.
    #[inline]
    fn clusters(self) -> &'a [ClusterId] {
        row_at(self.cells, self.row)
    }
}

impl<'a> List<'a> {
    /// Nobody.
    pub(super) const EMPTY: Self =
        Self { routed: &[], near: Near { cells: &[], row: RowId::EMPTY }, defaults: &[] };

    /// All, best first.
    pub fn iter(self) -> impl Iterator<Item = Place> + use<'a> {
        let Self { routed, near, defaults } = self;
        let place = |kind| move |&cluster: &ClusterId| Place { cluster, kind };
        let near_only = iter::once_with(move || near.clusters()).flatten();
        let near_only = near_only.filter(move |cluster| !routed.contains(cluster));
        let is_before = move |cluster| routed.contains(cluster) || near.clusters().contains(cluster);
        let default_only = defaults.iter().filter(move |cluster| !is_before(cluster));
        let routed = routed.iter().map(place(Kind::Route));
        routed.chain(near_only.map(place(Kind::Geo))).chain(default_only.map(place(Kind::Default)))
    }

    /// The best.
    #[inline]
    pub fn first(self) -> Option<Place> {
        let of = |part: &[ClusterId], kind| part.first().map(|&cluster| Place { cluster, kind });
        of(self.routed, Kind::Route)
            .or_else(|| of(self.near.clusters(), Kind::Geo))
            .or_else(|| of(self.defaults, Kind::Default))
    }

    /// Whether there is nobody.
    pub fn is_empty(self) -> bool {
        self.first().is_none()
    }
}

impl PartialEq for List<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for List<'_> {}

/// A list of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ListId(pub(super) u32);

impl ListId {
    /// Nobody, because the client's country is denied.
    pub(super) const DENIED: Self = Self(0);
    /// Nobody, because the block stands for IPv4 clients and is never looked up.
    pub(super) const TRANSITION: Self = Self(1);
    /// Lists with a number of their own, which have no places.
    pub(super) const OWN: usize = 2;
}

/// Lists of a view, at most: as many as table values can name.
pub const LISTS_MAX: usize = 1 << (VALUE_BITS - 1);

/// Where a row begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RowId(pub(super) u32);

impl RowId {
    /// No cluster.
    pub(super) const EMPTY: Self = Self(0);
}

/// Rows of clusters, end to end, each behind its length.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// Lengths and clusters; a length is written as if it were a cluster.
    cells: Vec<ClusterId>,
}

impl Rows {
    /// The one without clusters.
    pub(super) fn new() -> Self {
        Self { cells: vec![ClusterId::at(0)] }
    }

    /// Those written so, if they are some: each ends where the next begins, and each cluster is below
    /// `clusters`. Comes with the rows' beginnings, in order.
    pub(super) fn of(cells: Vec<ClusterId>, clusters: usize) -> Option<(Self, Vec<u32>)> {
        let mut starts = Vec::new();
        let mut rest = &cells[..];
        while let Some((length, after)) = rest.split_first() {
            starts.push(u32::try_from(cells.len() - rest.len()).ok()?);
            let (row, next) = after.split_at_checked(length.index())?;
            if row.iter().any(|cluster| cluster.index() >= clusters) {
                return None;
            }
            rest = next;
        }
        (cells.first() == Some(&ClusterId::at(0))).then_some((Self { cells }, starts))
    }

    /// As they are written.
    pub(super) fn cells(&self) -> &[ClusterId] {
        &self.cells
    }

    /// A row.
    #[inline]
    pub(super) fn get(&self, id: RowId) -> &[ClusterId] {
        row_at(&self.cells, id)
    }

    /// Adds a row that was not there.
    pub(super) fn push(&mut self, row: &[ClusterId]) -> RowId {
        let id = RowId(u32::try_from(self.cells.len()).expect("fewer than 2^32 places"));
        self.cells.push(ClusterId::at(row.len()));
        self.cells.extend_from_slice(row);
        id
    }

    /// Octets on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.cells)
    }
}

/// The row of `cells` that begins there; none where there are no cells.
#[inline]
fn row_at(cells: &[ClusterId], id: RowId) -> &[ClusterId] {
    let Some((length, rest)) = cells.get(id.0 as usize..).and_then(<[ClusterId]>::split_first) else {
        return &[];
    };
    &rest[..length.index()]
}

/// A list as it is kept: its routed row and its near row.
pub(super) type Pair = (RowId, RowId);

/// All lists of a view.
#[derive(Debug, Clone)]
pub(super) struct Lists {
    /// By list; the first two have numbers of their own.
    pub(super) pairs: Vec<Pair>,
    /// Clusters with routes.
    pub(super) routed: Arc<Rows>,
    /// Clusters nearby.
    pub(super) near: Arc<Rows>,
    /// The end of every list: those of the service's default clusters that can serve it.
    pub(super) defaults: Box<[ClusterId]>,
}

impl Lists {
    /// Only the two lists without places that have a number of their own.
    pub(super) fn new(defaults: Box<[ClusterId]>) -> Self {
        let pairs = vec![(RowId::EMPTY, RowId::EMPTY); ListId::OWN];
        Self { pairs, routed: Arc::new(Rows::new()), near: Arc::new(Rows::new()), defaults }
    }

    /// Number of lists.
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Adds a list.
    pub(super) fn push(&mut self, pair: Pair) -> ListId {
        let id = ListId(u32::try_from(self.pairs.len()).expect("fewer lists than table entries"));
        self.pairs.push(pair);
        id
    }

    /// The clusters of a list, best first.
    #[inline]
    pub(super) fn get(&self, id: ListId) -> List<'_> {
        let at = id.0 as usize;
        if at < ListId::OWN { List::EMPTY } else { self.of(self.pairs[at]) }
    }

    /// The list that these two rows make, whether or not it has a number.
    pub(super) fn of(&self, (routed, near): Pair) -> List<'_> {
        let near = Near { cells: &self.near.cells, row: near };
        List { routed: self.routed.get(routed), near, defaults: &self.defaults }
    }

    /// Octets on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.pairs) + self.routed.heap_bytes() + self.near.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters(ids: &[usize]) -> Vec<ClusterId> {
        ids.iter().map(|&id| ClusterId::at(id)).collect()
    }

    #[test]
    fn a_cluster_counts_at_its_first_place() {
        let (routed, near, defaults) = (clusters(&[5, 3]), clusters(&[3, 1, 5, 2]), clusters(&[2, 9, 5, 7]));
        let mut rows = Rows::new();
        let row = rows.push(&near);
        let near = Near { cells: rows.cells(), row };
        let nothing = List::EMPTY.near;
        let list = List { routed: &routed, near, defaults: &defaults };
        let found: Vec<_> = list.iter().map(|place| (place.cluster.index(), place.kind)).collect();
        let expected = [
            (5, Kind::Route),
            (3, Kind::Route),
            (1, Kind::Geo),
            (2, Kind::Geo),
            (9, Kind::Default),
            (7, Kind::Default),
        ];
        assert_eq!(found, expected);
        for list in
            [list, List { routed: &[], ..list }, List { near: nothing, routed: &[], ..list }, List::EMPTY]
        {
            assert_eq!(list.first(), list.iter().next());
            assert_eq!(list.is_empty(), list.iter().next().is_none());
        }
    }

    #[test]
    fn rows_are_taken_only_whole_and_of_the_fleet() {
        let mut rows = Rows::new();
        let ids = [&[4, 2][..], &[], &[0]].map(|row| rows.push(&clusters(row)));
        assert_eq!(ids.map(|id| rows.get(id).len()), [2, 0, 1]);
        assert_eq!(rows.get(RowId::EMPTY), []);
        let (again, starts) = Rows::of(rows.cells().to_vec(), 5).expect("rows");
        assert_eq!((again.cells(), starts), (rows.cells(), vec![0, 1, 4, 5]));
        for bad in [&[][..], &[1, 0], &[0, 2, 1], &[0, 1, 5]] {
            assert!(Rows::of(clusters(bad), 5).is_none(), "{bad:?}");
        }
    }
}
