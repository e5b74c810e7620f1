//! Compiles a view: sweeps routes, GeoIP ranges and special blocks into a table.
//!
//! A sweep goes from the lowest address up, with the routes around the current address on a stack,
//! and writes a segment wherever the decision may change. A later generation that differs in a few
//! routes sweeps only the blocks of these, and updates a copy of the table.

use super::list::ListId;
use super::lists::{ChainId, IDENTITY_MIN, ListMaker, Sources};
use super::view::{SpecialPart, Value, View, ViewSpec, special_parts_v4, special_parts_v6};
use crate::geo::{LocationId, Ranges};
use crate::lpm::{Identity, Lpm, Segment, Summary};
use crate::prefix::{Bits, Block, special, transition};
use crate::table::RouteSet;
use std::sync::Arc;

/// When more than one in this many routes lie in blocks that changed, all of a family is swept.
const SWEPT_SHARE: usize = 4;

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

impl Dirty {
    /// Everything.
    pub fn all() -> Self {
        Self { v4: vec![Block::all()], v6: vec![Block::all()] }
    }
}

/// Those of `blocks` that no other covers, in order.
pub(super) fn outermost<B: Bits>(mut blocks: Vec<Block<B>>) -> Vec<Block<B>> {
    blocks.sort_unstable();
    let mut kept: Vec<Block<B>> = Vec::with_capacity(blocks.len());
    for block in blocks {
        if !kept.last().is_some_and(|last| last.covers(block)) {
            kept.push(block);
        }
    }
    kept
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

    /// Whether there were more lists than a table can name.
    pub(super) fn is_overfull(&self) -> bool {
        self.maker.is_overfull()
    }

    /// Number of lists made so far, of this and earlier generations.
    pub(super) fn list_count(&self) -> usize {
        self.maker.list_count()
    }

    /// Octets held for the next generation.
    pub(super) fn heap_bytes(&self) -> usize {
        self.maker.heap_bytes()
    }

    fn update(&mut self, from: Sources<'_>, last: Option<(&View, Dirty)>) -> View {
        self.maker.learn_vias(from);
        let (view, dirty) = match last {
            Some((view, dirty)) => (Some(view), dirty),
            None => (None, Dirty::default()),
        };
        let inside_v4 = self.inside(&from.routes.v4, special::blocks_v4());
        let inside_v6 = self.inside(&from.routes.v6, special::blocks_v6());
        // Where what a whole special block stands for changes, its neighbours change too: all is swept.
        let last_v4 = view.map(|view| &view.v4).filter(|_| inside_v4 == self.inside_v4);
        let last_v6 = view.map(|view| &view.v6).filter(|_| inside_v6 == self.inside_v6);
        (self.inside_v4, self.inside_v6) = (inside_v4, inside_v6);

        let parts = parts_of(special_parts_v4(), special::blocks_v4(), &self.inside_v4, SPECIAL_V4);
        let side = Side { routes: &from.routes.v4, ranges: &from.geography.v4, parts };
        let v4 = self.build_side(from, &side, last_v4, dirty.v4);

        let transition = match v4.summary(Block::all(), |at, value| side.identity(&self.maker, at, value)) {
            Summary::One(id) => Identity::Is(id),
            Summary::Any | Summary::Many => Identity::Is(TRANSITION),
        };
        let last_v6 = last_v6.filter(|_| transition == self.transition);
        self.transition = transition;
        let mut parts = parts_of(special_parts_v6(), special::blocks_v6(), &self.inside_v6, SPECIAL_V6);
        parts.extend(transition::blocks().map(|block| Part {
            first: block.first(),
            last: block.last(),
            kind: PartKind::Transition(transition),
        }));
        parts.sort_by_key(|part| part.first);
        let side = Side { routes: &from.routes.v6, ranges: &from.geography.v6, parts };
        let v6 = self.build_side(from, &side, last_v6, dirty.v6);
        self.maker.rest();
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

    /// The table of one family: `last` with the `dirty` blocks swept anew, or all of it swept.
    fn build_side<B: Bits>(
        &mut self,
        from: Sources<'_>,
        side: &Side<'_, B>,
        last: Option<&Lpm<B>>,
        dirty: Vec<Block<B>>,
    ) -> Lpm<B> {
        let dirty = outermost(dirty);
        let swept: usize = dirty.iter().map(|&block| side.routes.inside(block).len()).sum();
        let last = last.filter(|_| swept <= side.routes.len() / SWEPT_SHARE + dirty.len());
        let mut sweep = Sweep { maker: &mut self.maker, from, side, open: Vec::new(), segments: Vec::new() };
        let Some(last) = last else {
            sweep.sweep(Block::all());
            return Lpm::build(sweep.segments);
        };
        let mut lpm = last.clone();
        for block in dirty {
            sweep.sweep(block);
            lpm.update(block, &sweep.segments, |at, value| side.identity(sweep.maker, at, value));
        }
        lpm
    }
}

/// One family's sources.
struct Side<'a, B> {
    routes: &'a RouteSet<B>,
    ranges: &'a Ranges<B>,
    /// In address order.
    parts: Vec<Part<B>>,
}

impl<B: Bits> Side<'_, B> {
    /// What a value stands for at an address that has it.
    fn identity(&self, maker: &ListMaker, at: B, value: u32) -> Identity {
        let value = Value::from_raw(value);
        if value.is_special() || value.list() == ListId::TRANSITION {
            let part = self.parts[self.parts.partition_point(|part| part.last < at)];
            return match part.kind {
                PartKind::Special { uncovered, .. } => uncovered,
                PartKind::Transition(identity) => identity,
            };
        }
        Identity::Is(maker.identity(value.list()))
    }
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
    /// Writes the segments of `block`.
    fn sweep(&mut self, block: Block<B>) {
        let (routes, ranges) = (self.side.routes, self.side.ranges);
        self.segments.clear();
        self.open_around(block);
        let mut route = routes.lower_bound(block);
        if (route as usize) < routes.len() && routes.block(route) == block {
            route += 1;
        }
        let mut range = ranges.cursor(block.first());
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
            while range.next_first().is_some_and(|first| first <= pos) {
                range.advance();
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
            if let Some(first) = range.next_first() {
                stop_before(first);
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
            let (value, identity) = self.cell(here.map(|part| part.kind), range.id());
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
            Some(PartKind::Transition(identity)) => (Value::new(ListId::TRANSITION, false), identity),
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
