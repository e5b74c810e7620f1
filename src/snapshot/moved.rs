//! How much address space two compiled tables send to different first clusters (ruling 19).
//!
//! Both tables are walked together in address order, where they may differ. Space is counted in
//! addresses, once, however many services it moves for, and only where the served table has routes.

use super::build::{Dirty, outermost};
use super::view::{Value, View};
use super::{Compiled, Lpm};
use crate::fleet::ClusterId;
use crate::prefix::{Bits, Block};
use crate::table::{RouteSet, covered_space};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Prefix length of the parts that are compared one after the other.
const PART_LEN: u8 = 8;

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

/// Compares two compiled tables, service by service (those that both have). Where nothing else than
/// routes differs, `dirty` says where.
pub fn moved(old: &Compiled, new: &Compiled, dirty: Dirty) -> Moved {
    let differs_in_routes_only =
        Arc::ptr_eq(old.table.fleet(), new.table.fleet()) && Arc::ptr_eq(&old.geography, &new.geography);
    let dirty = if differs_in_routes_only { dirty } else { Dirty::all() };
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
    let (parts_v4, parts_v6) = (parts_of(dirty.v4), parts_of(dirty.v6));
    for (before, after) in pairs {
        differing((before, &before.v4), (after, &after.v4), &parts_v4, &names, &mut v4);
        differing((before, &before.v6), (after, &after.v6), &parts_v6, &names, &mut v6);
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

/// Adds the ranges of `blocks` where the first clusters differ.
fn differing<B: Bits>(
    (before, old): (&View, &Lpm<B>),
    (after, new): (&View, &Lpm<B>),
    blocks: &[Block<B>],
    names: &ClusterNames,
    out: &mut Vec<(B, B)>,
) {
    let first = |view: &View, value: u32| {
        let list = view.lists.get(Value::from_raw(value).list());
        list.first().map(|place| place.cluster)
    };
    let (mut old_values, mut new_values) = (Vec::new(), Vec::new());
    for &block in blocks {
        read_values(old, block, &mut old_values);
        read_values(new, block, &mut new_values);
        let (mut i, mut j) = (0, 0);
        let mut pos = block.first();
        loop {
            let old_last = old_values.get(i + 1).and_then(|n| n.0.prev()).unwrap_or_else(|| block.last());
            let new_last = new_values.get(j + 1).and_then(|n| n.0.prev()).unwrap_or_else(|| block.last());
            let last = old_last.min(new_last);
            if !names.is_same(first(before, old_values[i].1), first(after, new_values[j].1)) {
                out.push((pos, last));
            }
            i += usize::from(old_last == last);
            j += usize::from(new_last == last);
            match last.next().filter(|_| last < block.last()) {
                Some(next) => pos = next,
                None => break,
            }
        }
    }
}

/// Reads the values of a block with their first addresses.
fn read_values<B: Bits>(lpm: &Lpm<B>, block: Block<B>, values: &mut Vec<(B, u32)>) {
    values.clear();
    let _ = lpm.walk(block, |first, value| {
        values.push((first, value));
        ControlFlow::Continue(())
    });
}

/// `blocks`, those that are large cut into parts, so that one part at a time is compared.
fn parts_of<B: Bits>(blocks: Vec<Block<B>>) -> Vec<Block<B>> {
    let mut parts = Vec::new();
    let mut rest = outermost(blocks);
    rest.reverse();
    while let Some(block) = rest.pop() {
        match block.halves() {
            Some((low, high)) if block.len() < PART_LEN => rest.extend([high, low]),
            _ => parts.push(block),
        }
    }
    parts
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
