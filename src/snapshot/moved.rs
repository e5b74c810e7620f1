//! How much address space two compiled tables send to different first clusters (ruling 19).
//!
//! Both tables are walked together in address order; chunks that the two share are skipped. Space is
//! counted in addresses, once, however many services it moves for, and only where the served table
//! has routes.

use super::view::{ListId, Value, View};
use super::{Compiled, Lpm};
use crate::fleet::ClusterId;
use crate::prefix::Bits;
use crate::table::{RouteSet, covered_space};
use std::sync::Arc;

/// Address space, in addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// IPv4 addresses whose first cluster differs for any service.
    pub v4: u128,
    /// IPv6 addresses, likewise; all of them saturate.
    pub v6: u128,
    /// IPv4 addresses that the old table has routes for.
    pub routed_v4: u128,
    /// IPv6 addresses that the old table has routes for.
    pub routed_v6: u128,
}

impl Moved {
    /// Share of the routed IPv4 space, 0.0 to 1.0; 0.0 when there is none.
    pub fn share_v4(&self) -> f64 {
        share(self.v4, self.routed_v4)
    }

    /// Share of the routed IPv6 space.
    pub fn share_v6(&self) -> f64 {
        share(self.v6, self.routed_v6)
    }
}

fn share(part: u128, whole: u128) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Compares two compiled tables, service by service (those that both have).
pub fn moved(old: &Compiled, new: &Compiled) -> Moved {
    let names = ClusterNames::of(old, new);
    let mut pairs: Vec<(&Arc<View>, &Arc<View>)> = Vec::new();
    for id in old.table.fleet().service_ids() {
        let name = &old.table.fleet().service(id).name;
        let Some(new_id) = new.table.fleet().service_by_name(name) else { continue };
        let pair = (old.view_of(id), new.view_of(new_id));
        if !pairs.iter().any(|p| Arc::ptr_eq(p.0, pair.0) && Arc::ptr_eq(p.1, pair.1)) {
            pairs.push(pair);
        }
    }
    let (routes, mut found) = (old.table.routes(), Moved::default());
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (before, after) in pairs {
        differing(before, after, &before.v4, &after.v4, &names, &mut v4);
        differing(before, after, &before.v6, &after.v6, &names, &mut v6);
    }
    (found.v4, found.routed_v4) = inside_routed(v4, &routes.v4);
    (found.v6, found.routed_v6) = inside_routed(v6, &routes.v6);
    found
}

/// For each cluster of the old fleet the one of the same name in the new fleet.
struct ClusterNames {
    new_of_old: Option<Vec<Option<ClusterId>>>,
}

impl ClusterNames {
    fn of(old: &Compiled, new: &Compiled) -> Self {
        let (old, new) = (old.table.fleet(), new.table.fleet());
        let translated = || old.clusters().iter().map(|cluster| new.cluster_by_name(&cluster.name)).collect();
        Self { new_of_old: (!Arc::ptr_eq(old, new)).then(translated) }
    }

    fn is_same(&self, old: Option<ClusterId>, new: Option<ClusterId>) -> bool {
        match (&self.new_of_old, old) {
            (Some(names), Some(old)) => names[old.index()].is_some() && names[old.index()] == new,
            _ => old == new,
        }
    }
}

/// Adds the ranges where the first clusters differ.
fn differing<B: Bits>(
    before: &View,
    after: &View,
    old: &Lpm<B>,
    new: &Lpm<B>,
    names: &ClusterNames,
    out: &mut Vec<(B, B)>,
) {
    let first = |view: &View, value: u32| {
        let list = Value::from_raw(value).list();
        if list == ListId::DENIED { None } else { view.lists.get(list).first().map(|place| place.cluster) }
    };
    // List numbers only grow while one builder lives, so a shared chunk says the same in both views.
    let (mut old_at, mut new_at) = (0, 0);
    while old_at < old.chunks().len() && new_at < new.chunks().len() {
        let (a, b) = (&old.chunks()[old_at], &new.chunks()[new_at]);
        if Arc::ptr_eq(a, b) && names.new_of_old.is_none() {
            (old_at, new_at) = (old_at + 1, new_at + 1);
            continue;
        }
        // One of the two covers the other: chunks are aligned blocks.
        let covered = if a.block().covers(b.block()) { b.block() } else { a.block() };
        let old_values = cut(a.values(), covered.first(), covered.last());
        let new_values = cut(b.values(), covered.first(), covered.last());
        let (mut i, mut j) = (0, 0);
        let mut pos = covered.first();
        loop {
            let old_last = old_values.get(i + 1).and_then(|n| n.0.prev()).unwrap_or_else(|| covered.last());
            let new_last = new_values.get(j + 1).and_then(|n| n.0.prev()).unwrap_or_else(|| covered.last());
            let last = old_last.min(new_last);
            if !names.is_same(first(before, old_values[i].1), first(after, new_values[j].1)) {
                out.push((pos, last));
            }
            i += usize::from(old_last == last);
            j += usize::from(new_last == last);
            match last.next().filter(|_| last < covered.last()) {
                Some(next) => pos = next,
                None => break,
            }
        }
        old_at += usize::from(a.block().last() == covered.last());
        new_at += usize::from(b.block().last() == covered.last());
    }
}

/// The values that reach into `first..=last`, the first of them cut to it.
fn cut<B: Bits>(values: impl Iterator<Item = (B, u32)>, first: B, last: B) -> Vec<(B, u32)> {
    let mut kept: Vec<(B, u32)> = Vec::new();
    for (start, value) in values.take_while(|&(start, _)| start <= last) {
        if start <= first {
            kept.clear();
        }
        kept.push((start.max(first), value));
    }
    kept
}

/// How many addresses of `ranges` lie in routed space, and how many addresses are routed.
fn inside_routed<B: Bits>(mut ranges: Vec<(B, B)>, routes: &RouteSet<B>) -> (u128, u128) {
    ranges.sort();
    let mut inside = 0u128;
    let mut routed = 0u128;
    let mut next = 0;
    // Highest address counted so far, plus one.
    let mut counted: Option<B> = Some(B::default());
    for (first, last) in covered_space(routes) {
        routed = routed.saturating_add(size(first, last));
        while next < ranges.len() {
            let (from, to) = ranges[next];
            let from = from.max(first).max(counted.unwrap_or(B::MAX));
            let upto = to.min(last);
            if counted.is_some() && from <= upto {
                inside = inside.saturating_add(size(from, upto));
                counted = upto.next();
            }
            if to > last {
                break;
            }
            next += 1;
        }
    }
    (inside, routed)
}

/// Addresses in `first..=last`; the whole of IPv6 saturates.
fn size<B: Bits>(first: B, last: B) -> u128 {
    (last.widen() - first.widen()).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::Block;
    use crate::table::ViaId;

    /// Routes are 10/8 with 10.1/16 inside, 11/8 right behind, and 20/8; counted in addresses.
    fn check(ranges: &[(u32, u32)], inside: u128) {
        let blocks = [(0x0a00_0000, 8), (0x0a01_0000, 16), (0x0b00_0000, 8), (0x1400_0000, 8)];
        let routes = blocks.map(|(first, len)| (Block::around(first, len), ViaId::at(0)));
        let found = inside_routed(ranges.to_vec(), &RouteSet::<u32>::from_sorted(routes));
        assert_eq!(found, (inside, 3 << 24), "{ranges:x?}");
    }

    #[test]
    fn space_is_counted_once_and_only_where_routed() {
        check(&[], 0);
        check(&[(0x0a00_0000, 0x0a00_00ff)], 256);
        check(&[(0x0a00_0000, 0x0a00_00ff), (0x0a00_0080, 0x0a00_017f)], 384);
        check(&[(0x0a00_0000, 0x0a00_01ff), (0x0a00_0010, 0x0a00_001f)], 512);
        check(&[(0x0100_0000, 0x01ff_ffff), (0x3000_0000, u32::MAX)], 0);
        check(&[(0x0aff_ff00, 0x0b00_00ff)], 512);
        check(&[(0x0bff_ff00, 0x1400_00ff)], 512);
        check(&[(0, u32::MAX)], 3 << 24);
        check(&[(0, u32::MAX), (0, 0x0a00_0000), (0x1400_0000, u32::MAX)], 3 << 24);
    }
}
