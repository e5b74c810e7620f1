//! What a batch of queries is about to ask memory for.
//!
//! A table of Internet size does not fit in the caches beside the kernel's work, and a lookup that
//! waits for memory is most of an answer's own time. The lookups of a batch need not wait one after the
//! other: a glimpse of each query tells the client, and which view a name has led to before; looking all
//! of them up at once brings what the answers will read. It is a guess with no say in any answer. Layer 7.

use super::Scratch;
use crate::lpm::Hit;
use crate::prefix::Client;
use crate::snapshot::Snapshot;
use crate::wire::Glimpse;
use std::net::IpAddr;

/// Fewer queries than this gain nothing.
const FEW: usize = 4;

/// Clients that are looked up together.
const TOGETHER: usize = 16;

/// Views that are foreseen, at most; services of later ones do without.
const VIEWS_MAX: usize = 4;

/// Names that are remembered, each in one of so many places.
const NAMES: usize = 64;

/// Queries of one batch that are foreseen, at most.
const QUERIES_MAX: usize = 64;

/// Clients of one view and family, and the places of their queries in the batch.
#[derive(Debug, Clone, Copy)]
struct Group<B> {
    addrs: [B; TOGETHER],
    turns: [u8; TOGETHER],
    len: usize,
}

impl<B: Copy + Default> Default for Group<B> {
    fn default() -> Self {
        Self { addrs: [B::default(); TOGETHER], turns: [0; TOGETHER], len: 0 }
    }
}

impl<B: Copy> Group<B> {
    /// Adds one; says whether the group is full then.
    fn add(&mut self, addr: B, turn: u8) -> bool {
        self.addrs[self.len] = addr;
        self.turns[self.len] = turn;
        self.len += 1;
        self.len == TOGETHER
    }

    /// What was added; the group is empty then.
    fn take(&mut self) -> (&[B], &[u8]) {
        let len = std::mem::take(&mut self.len);
        (&self.addrs[..len], &self.turns[..len])
    }
}

/// What was looked up for one query.
#[derive(Debug, Clone, Copy)]
struct Foreseen {
    client: Client,
    /// The view's position.
    view: u8,
    hit: Hit,
}

/// What a worker remembers to foresee with, and what it foresaw.
#[derive(Debug)]
pub(super) struct Foresight {
    /// The view that a name led to last, by a hash of it.
    views: [u8; NAMES],
    v4: [Group<u32>; VIEWS_MAX],
    v6: [Group<u128>; VIEWS_MAX],
    /// By the place of the query in the batch.
    foreseen: [Option<Foreseen>; QUERIES_MAX],
    /// How many places are of this batch.
    len: usize,
    /// Queries of the batch that were answered.
    turn: usize,
    /// Of the snapshot that was looked into.
    generation: u64,
    /// Made of all that was read, so that it is.
    made: u32,
}

impl Default for Foresight {
    fn default() -> Self {
        Self {
            views: [0; NAMES],
            v4: [Group::default(); VIEWS_MAX],
            v6: [Group::default(); VIEWS_MAX],
            foreseen: [None; QUERIES_MAX],
            len: 0,
            turn: 0,
            generation: 0,
            made: 0,
        }
    }
}

impl Foresight {
    /// Remembers that a name led to the view at `position`.
    #[inline]
    pub(super) fn learn(&mut self, name: u64, position: usize) {
        self.views[place_of(name)] = u8::try_from(position).unwrap_or(u8::MAX);
    }

    /// Begins the next query of the batch; gives its turn.
    #[inline]
    pub(super) fn begin(&mut self) -> usize {
        let turn = self.turn;
        self.turn = turn.saturating_add(1);
        turn
    }

    /// What was found for the query at `turn`, if it was about `client` in the view at `position`.
    #[inline]
    pub(super) fn hit(&self, world: &Snapshot, turn: usize, position: usize, client: Client) -> Option<Hit> {
        let foreseen = self.foreseen[..self.len].get(turn)?.as_ref()?;
        let is_it = foreseen.client == client
            && usize::from(foreseen.view) == position
            && self.generation == world.generation();
        is_it.then_some(foreseen.hit)
    }

    /// How many lookups of this batch are kept.
    #[cfg(test)]
    pub(super) fn foreseen_count(&self) -> usize {
        self.foreseen[..self.len].iter().flatten().count()
    }

    /// Takes a client of the view at `position` down, and looks up those there are when they are enough.
    fn expect(&mut self, world: &Snapshot, turn: usize, position: usize, client: Client) {
        let (Some(v4), Some(v6)) = (self.v4.get_mut(position), self.v6.get_mut(position)) else { return };
        let nowhere = Hit { value: 0, scope_len: 0 };
        self.foreseen[turn] = Some(Foreseen { client, view: position as u8, hit: nowhere });
        let is_full = match client.addr() {
            IpAddr::V4(addr) => v4.add(addr.into(), turn as u8),
            IpAddr::V6(addr) => v6.add(addr.into(), turn as u8),
        };
        if is_full {
            self.look_up(world, position);
        }
    }

    /// Looks up the clients of the view at `position`.
    fn look_up(&mut self, world: &Snapshot, position: usize) {
        let Self { v4, v6, foreseen, made, .. } = self;
        let ((v4, v4_turns), (v6, v6_turns)) = (v4[position].take(), v6[position].take());
        let mut turns = v4_turns.iter().chain(v6_turns);
        let Some(view) = world.compiled().views().get(position) else {
            return turns.for_each(|&turn| foreseen[usize::from(turn)] = None);
        };
        let read = view.find_all(v4, v6, |hit| {
            if let Some(Some(foreseen)) = turns.next().map(|&turn| &mut foreseen[usize::from(turn)]) {
                foreseen.hit = hit;
            }
        });
        *made = made.wrapping_add(read);
    }
}

/// Where a name is remembered.
#[inline]
fn place_of(name: u64) -> usize {
    (name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - NAMES.trailing_zeros())) as usize
}

/// Looks at the `packets` that [`answer`](super::answer()) is going to be given, of which there are
/// `count`.
pub fn foresee<'p>(
    world: &Snapshot,
    scratch: &mut Scratch,
    count: usize,
    packets: impl Iterator<Item = &'p [u8]>,
) {
    let foresight = &mut scratch.foresight;
    (foresight.len, foresight.turn, foresight.generation) = (0, 0, world.generation());
    if count < FEW || !world.is_ready() {
        return;
    }
    foresight.len = count.min(QUERIES_MAX);
    foresight.foreseen[..foresight.len].fill(None);
    for (turn, packet) in packets.take(foresight.len).enumerate() {
        let Some(glimpse) = Glimpse::of(packet) else { continue };
        let position = usize::from(foresight.views[place_of(glimpse.name)]);
        foresight.expect(world, turn, position, Client::of(glimpse.address));
    }
    (0..VIEWS_MAX).for_each(|position| foresight.look_up(world, position));
}
