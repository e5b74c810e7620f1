//! How far a decision holds: every edge at which anything could change is tried.

use super::{
    address::{Addr, Form, Net, TRANSITION_NETS, decode, encode, specials, width},
    list::{Asked, Place},
    mistakes::Mistake,
};

/// What must be equal for two addresses to be decided equally, their keys apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    /// In a special block without routes: equal to everything.
    Any,
    /// In a special block with routes, covered by none of them.
    Other,
    /// Country refused.
    Denied,
    /// This list (an index into those of the view), and whether its DNS key has the address in it.
    List(usize, bool),
}

/// The identities of all addresses for one service.
///
/// Between two edges nothing changes, so one address of each piece stands for it.
#[derive(Debug)]
pub struct View {
    /// First address and identity of each piece of IPv4.
    v4: Vec<(u128, Identity)>,
    /// The same of IPv6; pieces in transition blocks are not looked at.
    v6: Vec<(u128, Identity)>,
    /// Addresses that stand for every piece of IPv6, in order: the pieces' first addresses, and in
    /// each transition block one address for every piece of IPv4.
    samples: Vec<u128>,
}

/// Every address of a family at which a route, GeoIP network, special block, hole or transition
/// block begins or has just ended; and 0.
fn edges(asked: Asked<'_>, v6: bool) -> Vec<u128> {
    let mut nets: Vec<Net> = asked.world.routes.iter().map(|r| r.net).collect();
    if asked.mistake != Mistake::GeographyIsLeftOutOfScope {
        nets.extend(asked.world.geo.iter().map(|g| g.net));
    }
    for (block, holes) in specials() {
        nets.push(*block);
        nets.extend(holes);
    }
    nets.extend(TRANSITION_NETS.iter().map(|(net, _)| *net));
    let mut edges: Vec<u128> = nets.iter().filter(|n| n.v6 == v6).flat_map(|n| n.edges()).collect();
    edges.push(0);
    edges.sort_unstable();
    edges.dedup();
    edges
}

impl View {
    /// Computes the identities of a service.
    pub fn new(asked: Asked<'_>) -> Self {
        let mut lists: Vec<Vec<usize>> = Vec::new();
        let mut pieces = |v6| -> Vec<(u128, Identity)> {
            edges(asked, v6)
                .iter()
                .map(|&bits| (bits, identity(asked, Addr { v6, bits }, &mut lists)))
                .collect()
        };
        let (v4, v6) = (pieces(false), pieces(true));
        let mut samples: Vec<u128> = v6.iter().map(|(first, _)| *first).collect();
        if asked.mistake != Mistake::TransitionIsLeftOutOfScope {
            for (_, form) in *TRANSITION_NETS {
                samples.extend(v4.iter().filter_map(|(first, _)| encode(*first as u32, form)));
            }
        }
        samples.sort_unstable();
        samples.dedup();
        Self { v4, v6, samples }
    }

    /// The identity of any address, transition forms included.
    fn identity(&self, addr: Addr) -> Identity {
        let (addr, _) = decode(addr);
        let pieces = if addr.v6 { &self.v6 } else { &self.v4 };
        pieces[pieces.partition_point(|(first, _)| *first <= addr.bits) - 1].1
    }

    /// Addresses that stand for all of `block`.
    fn samples(&self, block: Net) -> impl Iterator<Item = Addr> {
        let firsts: Box<dyn Iterator<Item = u128>> = match block.v6 {
            false => Box::new(from(&self.v4, block, |(first, _)| *first)),
            true => Box::new(from(&self.samples, block, |first| *first)),
        };
        let start = std::iter::once(block.first);
        start.chain(firsts).map(move |bits| Addr { v6: block.v6, bits })
    }
}

/// Those of a sorted list that lie in `block`.
fn from<'a, T>(
    sorted: &'a [T],
    block: Net,
    bits: impl Fn(&T) -> u128 + Copy + 'a,
) -> impl Iterator<Item = u128> + 'a {
    let start = sorted.partition_point(|t| bits(t) < block.first);
    sorted[start..].iter().map(bits).take_while(move |b| *b <= block.last())
}

/// What the deciding address `addr` gets. `lists` are the lists seen so far.
fn identity(asked: Asked<'_>, addr: Addr, lists: &mut Vec<Vec<usize>>) -> Identity {
    match asked.place(addr) {
        Place::Uncovered(_, false) if asked.mistake != Mistake::UnroutedSpecialBlocksCount => {
            return Identity::Any;
        }
        Place::Uncovered(..) => return Identity::Other,
        Place::InsideRouted | Place::Ordinary => {}
    }
    if asked.is_denied(addr) {
        return Identity::Denied;
    }
    let list: Vec<usize> = asked.list(addr).iter().map(|e| e.cluster).collect();
    let spreads = is_spread(asked, &list);
    let index = lists.iter().position(|l| *l == list).unwrap_or_else(|| {
        lists.push(list);
        lists.len() - 1
    });
    Identity::List(index, spreads)
}

/// Whether the DNS key of clients with this list has their address in it: the first cluster is
/// larger than one answer.
pub fn is_spread(asked: Asked<'_>, list: &[usize]) -> bool {
    list.first().is_some_and(|&c| asked.active(c).len() > asked.service.answers_max)
}

/// The shortest length around the client `addr` inside which everybody gets the same decision.
///
/// `addr` is the deciding address. `dns` says whether the DNS key is part of the decision.
pub fn scope(asked: Asked<'_>, view: &View, addr: Addr, dns: bool) -> u8 {
    let place = asked.place(addr);
    if let Place::Uncovered(special, _) = place {
        return scope_uncovered(asked, special, addr);
    }
    let own = view.identity(addr);
    let spread_len = if addr.v6 { asked.world.params.spread_v6 } else { asked.world.params.spread_v4 };
    let spreads =
        dns && matches!(own, Identity::List(_, true)) && asked.mistake != Mistake::SpreadIsLeftOutOfScope;
    // A key of a native IPv6 client and one of an IPv4 client are never equal.
    let same = |at: Addr| {
        let identity = view.identity(at);
        identity == Identity::Any || (identity == own && !(spreads && decode(at).0.v6 != addr.v6))
    };
    // A block shorter than the key's length holds clients of other keys.
    let shortest = if spreads { spread_len } else { 0 };
    (shortest..=width(addr.v6))
        .find(|&len| view.samples(Net::around(addr, len)).all(same))
        .expect("an address decides as itself")
}

/// The shortest length inside `special` around `addr` that holds nothing routed inside it, and no hole.
fn scope_uncovered(asked: Asked<'_>, special: Net, addr: Addr) -> u8 {
    let mut taken = asked.inside_routes(special);
    let holes = specials().iter().find(|(b, _)| *b == special).map(|(_, holes)| holes);
    if asked.mistake != Mistake::HolesAreForgotten {
        taken.extend(holes.into_iter().flatten());
    }
    (special.len..=width(addr.v6))
        .find(|&len| !taken.iter().any(|t| t.overlaps(Net::around(addr, len))))
        .expect("the address itself is neither routed nor in a hole")
}

#[test]
fn samples_stand_for_every_form() {
    assert_eq!(encode(0x0a00_0001, Form::Native), None);
    let sorted = [1u128, 5, 9, 12];
    let block = Net { v6: false, first: 4, len: 30 };
    assert_eq!(from(&sorted, block, |b| *b).collect::<Vec<_>>(), [5]);
}

/// Looks at random addresses where [`View`] looks at edges: inside a scope all is as at the client.
#[test]
fn scopes_hold_at_random_addresses() {
    use super::{generate::generate, world::World};
    let mut probes = 0;
    for seed in 0..60 {
        let case = generate(seed, 25);
        let world = World::parse(&case.table, &case.geo, &case.params);
        for (number, ask) in case.asks.iter().enumerate() {
            let service = &world.services[world.service(&ask.service)];
            let asked = Asked { world: &world, service, mistake: Mistake::None };
            let view = View::new(asked);
            let (client, _) = decode(ask.client.into());
            if matches!(asked.place(client), Place::Uncovered(..)) {
                continue;
            }
            let block = Net::around(client, scope(asked, &view, client, false));
            let mut lists = Vec::new();
            let own = identity(asked, client, &mut lists);
            for probe in 1..40u128 {
                let random = u128::from(super::rank::xxh64(&[number as u8, probe as u8, seed as u8]));
                let random = ((random << 64) | random.rotate_left(17)) >> (probe % 30);
                let bits = block.first | (random & (block.last() - block.first));
                let (at, _) = decode(Addr { v6: block.v6, bits });
                let there = identity(asked, at, &mut lists);
                assert!(there == own || there == Identity::Any, "{at:?} in {block} of seed {seed}");
                probes += 1;
            }
        }
    }
    assert!(probes > 30_000, "{probes}");
}
