//! What a batch of queries is about to ask memory for.
//!
//! A table of Internet size does not fit in the caches beside the kernel's work, and a lookup that
//! waits for memory is most of an answer's own time. The lookups of a batch need not wait one after the
//! other: a glimpse of each query tells the client, and which view a name has led to before; looking all
//! of them up at once brings what the answers will read. It is a guess with no say in any answer. Layer 7.

use super::Scratch;
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

/// Clients of one view.
#[derive(Debug, Clone, Copy, Default)]
struct Clients {
    v4: [u32; TOGETHER],
    v4_len: usize,
    v6: [u128; TOGETHER],
    v6_len: usize,
}

/// What a worker remembers to foresee with.
#[derive(Debug)]
pub(super) struct Foresight {
    /// The view that a name led to last, by a hash of it.
    views: [u8; NAMES],
    clients: [Clients; VIEWS_MAX],
    /// Made of all that was read, so that it is.
    made: u32,
}

impl Default for Foresight {
    fn default() -> Self {
        Self { views: [0; NAMES], clients: [Clients::default(); VIEWS_MAX], made: 0 }
    }
}

impl Foresight {
    /// Remembers that a name led to the view at `position`.
    #[inline]
    pub(super) fn learn(&mut self, name: u64, position: usize) {
        self.views[place_of(name)] = u8::try_from(position).unwrap_or(u8::MAX);
    }

    /// Takes a client of the view at `position` down, and looks up those there are when they are enough.
    fn expect(&mut self, world: &Snapshot, position: usize, client: Client) {
        let Some(clients) = self.clients.get_mut(position) else { return };
        match client.addr() {
            IpAddr::V4(addr) => {
                clients.v4[clients.v4_len] = addr.into();
                clients.v4_len += 1;
            }
            IpAddr::V6(addr) => {
                clients.v6[clients.v6_len] = addr.into();
                clients.v6_len += 1;
            }
        }
        if clients.v4_len == TOGETHER || clients.v6_len == TOGETHER {
            self.touch(world, position);
        }
    }

    /// Looks up the clients of the view at `position`.
    fn touch(&mut self, world: &Snapshot, position: usize) {
        let clients = &mut self.clients[position];
        if let Some(view) = world.compiled().views().get(position) {
            let made = view.touch(&clients.v4[..clients.v4_len], &clients.v6[..clients.v6_len]);
            self.made = self.made.wrapping_add(made);
        }
        (clients.v4_len, clients.v6_len) = (0, 0);
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
    if count < FEW || !world.is_ready() {
        return;
    }
    let foresight = &mut scratch.foresight;
    for glimpse in packets.filter_map(Glimpse::of) {
        let position = usize::from(foresight.views[place_of(glimpse.name)]);
        foresight.expect(world, position, Client::of(glimpse.address));
    }
    (0..VIEWS_MAX).for_each(|position| foresight.touch(world, position));
}
