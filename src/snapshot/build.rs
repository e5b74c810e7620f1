//! Compiles a view: sweeps routes, GeoIP ranges and special blocks into table chunks.
//!
//! The space is cut in halves until a piece has few boundaries; each piece is swept once, from its
//! lowest address up, with the routes around the current address on a stack. A later generation
//! that differs in a few routes sweeps only the chunks these touch.

use super::lists::{ChainId, IDENTITY_MIN, ListMaker, Sources};
use super::view::{ListId, SpecialPart, Value, View, ViewSpec, special_parts_v4, special_parts_v6};
use crate::geo::{LocationId, Ranges};
use crate::lpm::{Chunk, Identity, Lpm, Segment, Summary};
use crate::prefix::{Bits, Block, special, transition};
use crate::table::RouteSet;
use std::sync::Arc;

/// Boundaries in a chunk, at most (but for what lies on one address).
const CHUNK_BOUNDARIES: usize = 96;

/// Identity of the first IPv4 special block whose own routes leave parts of it uncovered.
const SPECIAL_V4: u32 = 0;
/// The same for IPv6.
const SPECIAL_V6: u32 = SPECIAL_V4 + 20;
/// Identity of a transition block whose clients do not all have one decision.
const TRANSITION: u32 = SPECIAL_V6 + 20;
const _: () = assert!(TRANSITION < IDENTITY_MIN);

/// Blocks whose routes differ from those a view was built from.
#[derive(Debug, Clone, Default)]
pub struct Dirty {
    /// IPv4, in any order.
    pub v4: Vec<Block<u32>>,
    /// IPv6, in any order.
    pub v6: Vec<Block<u128>>,
}

/// Compiles one view, generation after generation.
#[derive(Debug)]
pub(super) struct ViewBuilder {
    maker: ListMaker,
    /// For each special block, whether a route inside it counts.
    inside_v4: Vec<bool>,
    inside_v6: Vec<bool>,
    /// What stood for the transition blocks in the last build.
    transition: Identity,
}

impl ViewBuilder {
    /// Begins a view.
    pub(super) fn new(spec: ViewSpec, from: Sources<'_>) -> Self {
        Self {
            maker: ListMaker::new(spec, from.fleet),
            inside_v4: Vec::new(),
            inside_v6: Vec::new(),
            transition: Identity::Is(TRANSITION),
        }
    }

    /// The spec it builds for.
    pub(super) fn spec(&self) -> &ViewSpec {
        self.maker.spec()
    }

    /// Builds everything.
    pub(super) fn build(&mut self, from: Sources<'_>) -> View {
        self.update(from, None)
    }

    /// Builds what `dirty` touches and shares the rest with `last`, which this builder built from
    /// the same fleet and geography and whose candidate sets kept their numbers.
    pub(super) fn rebuild(&mut self, from: Sources<'_>, last: &View, dirty: Dirty) -> View {
        self.update(from, Some((last, dirty)))
    }

    /// Number of lists made so far, of this and earlier generations.
    pub(super) fn list_count(&self) -> usize {
        self.maker.lists().len()
    }

    fn update(&mut self, from: Sources<'_>, last: Option<(&View, Dirty)>) -> View {
        self.maker.learn_vias(from.routes);
        let (last, mut dirty) = match last {
            Some((view, dirty)) => (Some(view), dirty),
            None => (None, Dirty { v4: vec![Block::all()], v6: vec![Block::all()] }),
        };
        let inside_v4 = self.inside(&from.routes.v4, special::blocks_v4());
        let inside_v6 = self.inside(&from.routes.v6, special::blocks_v6());
        dirty.v4.extend(changed(special::blocks_v4(), &self.inside_v4, &inside_v4));
        dirty.v6.extend(changed(special::blocks_v6(), &self.inside_v6, &inside_v6));
        (self.inside_v4, self.inside_v6) = (inside_v4, inside_v6);

        let parts = parts_of(special_parts_v4(), special::blocks_v4(), &self.inside_v4, SPECIAL_V4);
        let side = Side { routes: &from.routes.v4, ranges: &from.geography.v4, parts };
        let v4 = self.build_side(from, &side, last.map(|view| &view.v4), dirty.v4);

        let transition = match v4.summary() {
            Summary::One(id) => Identity::Is(id),
            Summary::Any | Summary::Many => Identity::Is(TRANSITION),
        };
        if transition != self.transition {
            dirty.v6.extend(transition::blocks());
            self.transition = transition;
        }
        let mut parts = parts_of(special_parts_v6(), special::blocks_v6(), &self.inside_v6, SPECIAL_V6);
        parts.extend(transition::blocks().map(|block| Part {
            first: block.first(),
            last: block.last(),
            kind: PartKind::Transition(transition),
        }));
        parts.sort_by_key(|part| part.first);
        let side = Side { routes: &from.routes.v6, ranges: &from.geography.v6, parts };
        let v6 = self.build_side(from, &side, last.map(|view| &view.v6), dirty.v6);
        View {
            spec: self.spec().clone(),
            members: Arc::clone(self.maker.members()),
            lists: self.maker.lists(),
            v4,
            v6,
        }
    }

    /// For each of `blocks`, whether a route inside it counts for the view.
    fn inside<B: Bits>(&self, routes: &RouteSet<B>, blocks: &[Block<B>]) -> Vec<bool> {
        let has_live = |block: &Block<B>| {
            let start = routes.lower_bound(*block);
            (start..routes.len() as u32)
                .take_while(|&at| block.covers(routes.block(at)))
                .any(|at| self.maker.is_live(routes.via(at)))
        };
        blocks.iter().map(has_live).collect()
    }

    fn build_side<B: Bits>(
        &mut self,
        from: Sources<'_>,
        side: &Side<'_, B>,
        last: Option<&Lpm<B>>,
        mut dirty: Vec<Block<B>>,
    ) -> Lpm<B> {
        dirty.sort();
        let mut sweep = Sweep { maker: &mut self.maker, from, side, open: Vec::new(), segments: Vec::new() };
        let mut chunks = Vec::new();
        let Some(last) = last else {
            sweep.cut(Block::all(), 0..side.routes.len() as u32, 0..side.ranges.count(), &mut chunks);
            return Lpm::assemble(chunks);
        };
        let mut next_dirty = 0;
        for chunk in last.chunks() {
            let block = chunk.block();
            while dirty.get(next_dirty).is_some_and(|d| d.last() < block.first()) {
                next_dirty += 1;
            }
            // A wide block sorts before the blocks inside it and may reach farther than they do.
            let touched = dirty[next_dirty..]
                .iter()
                .take_while(|d| d.first() <= block.last())
                .any(|d| d.last() >= block.first());
            if touched {
                let routes = side.routes.first_from(block.first())
                    ..block
                        .last()
                        .next()
                        .map_or(side.routes.len() as u32, |after| side.routes.first_from(after));
                let ranges = side.ranges.position(block.first())..side.ranges.position(block.last()) + 1;
                sweep.cut(block, routes, ranges, &mut chunks);
            } else {
                chunks.push(Arc::clone(chunk));
            }
        }
        Lpm::assemble(chunks)
    }
}

/// Those of `blocks` for which `old` and `new` differ; all when there is no `old` yet.
fn changed<B: Bits>(blocks: &[Block<B>], old: &[bool], new: &[bool]) -> Vec<Block<B>> {
    let differs = |&(at, _): &(usize, &Block<B>)| old.get(at) != new.get(at);
    blocks.iter().enumerate().filter(differs).map(|(_, block)| *block).collect()
}

/// One family's sources.
struct Side<'a, B> {
    routes: &'a RouteSet<B>,
    ranges: &'a Ranges<B>,
    parts: Vec<Part<B>>,
}

/// Space that is not ordinary.
#[derive(Debug, Clone, Copy)]
struct Part<B> {
    first: B,
    last: B,
    kind: PartKind,
}

/// What kind of space.
#[derive(Debug, Clone, Copy)]
enum PartKind {
    /// Not globally reachable.
    Special {
        /// Length of the special block it belongs to.
        block_len: u8,
        /// The identity of what routes inside the block leave uncovered, or that of all of it.
        uncovered: Identity,
    },
    /// Stands for IPv4 clients; never looked up.
    Transition(Identity),
}

fn parts_of<B: Bits>(
    parts: Vec<SpecialPart<B>>,
    blocks: &[Block<B>],
    inside: &[bool],
    identity_base: u32,
) -> Vec<Part<B>> {
    let part = |part: SpecialPart<B>| Part {
        first: part.first,
        last: part.last,
        kind: PartKind::Special {
            block_len: blocks[part.block].len(),
            uncovered: if inside[part.block] {
                Identity::Is(identity_base + part.block as u32)
            } else {
                Identity::Any { scope_len: part.first.xor(part.last).leading_zeros() }
            },
        },
    };
    parts.into_iter().map(part).collect()
}

/// A route around the current address.
struct Open<B> {
    last: B,
    chain: ChainId,
    /// Length of the longest route up to here that counts for the view.
    live_len: Option<u8>,
}

/// Sweeps pieces of one family's space.
struct Sweep<'a, 'b, B> {
    maker: &'a mut ListMaker,
    from: Sources<'a>,
    side: &'a Side<'b, B>,
    open: Vec<Open<B>>,
    segments: Vec<Segment<B>>,
}

impl<B: Bits> Sweep<'_, '_, B> {
    /// Cuts `block` until its parts are small and sweeps these. `routes` are those that begin in it,
    /// `ranges` those that reach into it.
    fn cut(
        &mut self,
        block: Block<B>,
        routes: std::ops::Range<u32>,
        ranges: std::ops::Range<usize>,
        chunks: &mut Vec<Arc<Chunk<B>>>,
    ) {
        let halves = block.halves().filter(|_| routes.len() + ranges.len() > CHUNK_BOUNDARIES);
        let Some((low, high)) = halves else {
            self.sweep(block);
            chunks.push(Arc::new(Chunk::build(block, &self.segments)));
            return;
        };
        let route = self.side.routes.first_from_within(routes.clone(), high.first());
        let range = self.side.ranges.position_within(ranges.clone(), high.first());
        let low_ends = if self.side.ranges.first(range) == high.first() { range } else { range + 1 };
        self.cut(low, routes.start..route, ranges.start..low_ends, chunks);
        self.cut(high, route..routes.end, range..ranges.end, chunks);
    }

    /// Writes the segments of `block`.
    fn sweep(&mut self, block: Block<B>) {
        let (routes, ranges) = (self.side.routes, self.side.ranges);
        self.segments.clear();
        self.open_around(block);
        let mut route = routes.lower_bound(block);
        if (route as usize) < routes.len() && routes.block(route) == block {
            route += 1;
        }
        let mut range = ranges.position(block.first());
        let mut part = self.side.parts.partition_point(|part| part.last < block.first());
        let mut pos = block.first();
        loop {
            while self.open.last().is_some_and(|open| open.last < pos) {
                self.open.pop();
            }
            while (route as usize) < routes.len() && routes.block(route).first() == pos {
                self.open_route(route);
                route += 1;
            }
            while range + 1 < ranges.count() && ranges.first(range + 1) <= pos {
                range += 1;
            }
            while self.side.parts.get(part).is_some_and(|part| part.last < pos) {
                part += 1;
            }
            let mut last = block.last();
            let mut stop_before = |first: B| {
                if let Some(before) = first.prev().filter(|_| first > pos) {
                    last = last.min(before);
                }
            };
            if (route as usize) < routes.len() {
                stop_before(routes.block(route).first());
            }
            if range + 1 < ranges.count() {
                stop_before(ranges.first(range + 1));
            }
            let here = self.side.parts.get(part).copied();
            if let Some(part) = here {
                stop_before(part.first);
            }
            if let Some(open) = self.open.last() {
                last = last.min(open.last);
            }
            let here = here.filter(|part| part.first <= pos);
            if let Some(part) = here {
                last = last.min(part.last);
            }
            let (value, identity) = self.cell(here.map(|part| part.kind), ranges.id(range));
            self.push(Segment { first: pos, value: value.raw(), identity });
            if last >= block.last() {
                return;
            }
            let Some(next) = last.next() else { return };
            pos = next;
        }
    }

    /// Puts the routes that cover all of `block` on the stack, shortest first.
    fn open_around(&mut self, block: Block<B>) {
        self.open.clear();
        let mut around: Vec<u32> =
            std::iter::successors(self.side.routes.covering(block), |&at| self.side.routes.parent(at))
                .collect();
        while let Some(at) = around.pop() {
            self.open_route(at);
        }
    }

    /// Puts a route on the stack.
    fn open_route(&mut self, at: u32) {
        let (block, via) = (self.side.routes.block(at), self.side.routes.via(at));
        let (around, live_len) =
            self.open.last().map_or((ChainId::NONE, None), |open| (open.chain, open.live_len));
        let live_len = if self.maker.is_live(via) { Some(block.len()) } else { live_len };
        self.open.push(Open { last: block.last(), chain: self.maker.chain(around, via), live_len });
    }

    /// The decision at the current address.
    fn cell(&mut self, part: Option<PartKind>, location: LocationId) -> (Value, Identity) {
        let (chain, live_len) =
            self.open.last().map_or((ChainId::NONE, None), |open| (open.chain, open.live_len));
        match part {
            None => {
                let (list, id) = self.maker.list(self.from, chain, location);
                (Value::new(list, false), Identity::Is(id))
            }
            Some(PartKind::Transition(identity)) => (Value::new(ListId::DENIED, false), identity),
            Some(PartKind::Special { block_len, uncovered }) => {
                let (list, id) = self.maker.list(self.from, chain, LocationId::UNKNOWN);
                if live_len.is_some_and(|len| len >= block_len) {
                    (Value::new(list, false), Identity::Is(id))
                } else {
                    (Value::new(list, true), uncovered)
                }
            }
        }
    }

    /// Adds a segment, or lets the last one run on if it is the same.
    fn push(&mut self, segment: Segment<B>) {
        let same = self
            .segments
            .last()
            .is_some_and(|last| last.value == segment.value && last.identity == segment.identity);
        if !same {
            self.segments.push(segment);
        }
    }
}
