//! The total order over candidates, and the hash that spreads content over a cluster.
//!
//! [`rank()`] orders the clusters a route leads to; [`rendezvous`] ranks the appliances of one cluster,
//! and a [`LineUp`] finds the first few of them.
//! Layer 4: knows candidates, classes, distances, names and weights, never an address.

mod best;
pub mod rendezvous;

pub use best::{Best, KEPT_MAX, LineUp};

use crate::fleet::{Class, ClusterId};
use crate::table::{Candidate, Origin};
use crate::units::Km;
use std::cmp::Reverse;

/// What a candidate of a route is compared by, best first: the class of the cluster, then what BGP
/// compares (RFC 4271 section 9.1.2, in the order Open Connect publishes), then distance, then name
/// (cluster ids sort as names do).
pub type Rank = (Class, Reverse<u32>, u32, Origin, u32, Option<Km>, ClusterId);

/// The rank of `candidate`, a cluster of `class` that is `distance` from the client. When the
/// client's place is not known `distance` is `None` for every candidate, and decides nothing.
pub fn rank(candidate: &Candidate, class: Class, distance: Option<Km>) -> Rank {
    (
        class,
        Reverse(candidate.local_pref),
        candidate.as_path_len,
        candidate.origin,
        candidate.med,
        distance,
        candidate.cluster,
    )
}

/// Whether only distance and name tell the two apart.
pub fn is_tie_but_for_distance(a: &Rank, b: &Rank) -> bool {
    (a.0, a.1, a.2, a.3, a.4) == (b.0, b.1, b.2, b.3, b.4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates are written `(class, local_pref, as_path_len, origin, med, km)`; the first wins.
    type Written = (Class, u32, u32, Origin, u32, Option<u16>);

    fn check(better: Written, worse: Written) {
        let made = |(class, local_pref, as_path_len, origin, med, km): Written, cluster| {
            let candidate =
                Candidate { cluster: ClusterId::at(cluster), local_pref, as_path_len, origin, med };
            rank(&candidate, class, km.map(Km))
        };
        // The names speak for the worse one, so that they never decide.
        assert!(made(better, 1) < made(worse, 0), "{better:?} before {worse:?}");
    }

    #[test]
    fn each_attribute_outranks_all_after_it() {
        use Class::{Embedded, PublicPeering, Transit};
        use Origin::{Egp, Igp, Incomplete};
        check((Embedded, 0, 9, Incomplete, 9, Some(9)), (PublicPeering, 1, 0, Igp, 0, Some(0)));
        check((Transit, 200, 9, Incomplete, 9, Some(9)), (Transit, 100, 0, Igp, 0, Some(0)));
        check((Transit, 100, 1, Incomplete, 9, Some(9)), (Transit, 100, 2, Igp, 0, Some(0)));
        check((Transit, 100, 1, Igp, 9, Some(9)), (Transit, 100, 1, Egp, 0, Some(0)));
        check((Transit, 100, 1, Egp, 1, Some(9)), (Transit, 100, 1, Egp, 2, Some(0)));
        check((Transit, 100, 1, Egp, 1, Some(40)), (Transit, 100, 1, Egp, 1, Some(900)));
    }

    #[test]
    fn names_decide_last() {
        let candidate = |cluster| Candidate {
            cluster: ClusterId::at(cluster),
            local_pref: 100,
            as_path_len: 0,
            origin: Origin::Igp,
            med: 0,
        };
        assert!(rank(&candidate(0), Class::Transit, None) < rank(&candidate(1), Class::Transit, None));
    }
}
