//! The table against a linear scan, made at once and changed bit by bit.

use super::*;
use crate::columns::{Sink, Source};
use std::io;

/// The slow twin: asks every segment, and widens the block until two identities meet.
fn golden<B: Bits>(segments: &[Segment<B>], addr: B) -> Hit {
    let at = segments.iter().rposition(|s| s.first <= addr).expect("the first segment starts at 0");
    let scope_len = match segments[at].identity {
        Identity::Any { scope_len } => scope_len,
        Identity::Is(_) => (0..=B::LEN)
            .find(|&len| {
                let block = Block::around(addr, len);
                segments.iter().enumerate().all(|(i, s)| {
                    let last = segments.get(i + 1).and_then(|n| n.first.prev()).unwrap_or(B::MAX);
                    let outside = last < block.first() || s.first > block.last();
                    outside
                        || matches!(s.identity, Identity::Any { .. })
                        || s.identity == segments[at].identity
                })
            })
            .expect("a single address has one identity"),
    };
    Hit { value: segments[at].value, scope_len }
}

/// A small generator: xorshift64*.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn random_segments<B: Bits>(rng: &mut Rng) -> Vec<Segment<B>> {
    let mut firsts = vec![B::default()];
    for _ in 0..rng.below(60) {
        let addr = B::narrow((u128::from(rng.next()) << 64 | u128::from(rng.next())) >> (128 - B::LEN));
        let near = firsts[rng.below(firsts.len() as u64) as usize];
        let keep = rng.below(u64::from(B::LEN) + 1) as u8;
        let mixed = near.and(B::mask(keep)).or(addr.and(B::mask(keep).not()));
        firsts.push(mixed.and(B::mask(rng.below(u64::from(B::LEN)) as u8 + 1)));
    }
    firsts.sort();
    firsts.dedup();
    let segment = |first| {
        let value = rng.below(4) as u32 * 10 + rng.below(2) as u32;
        Segment { first, value, identity: identity_of(value) }
    };
    firsts.into_iter().map(segment).collect()
}

/// What a value stands for in these tests.
fn identity_of(value: u32) -> Identity {
    match value / 10 {
        0 => Identity::Any { scope_len: 7 },
        id => Identity::Is(id),
    }
}

/// A block around, inside or beside what `segments` begin with.
fn random_block<B: Bits>(segments: &[Segment<B>], rng: &mut Rng) -> Block<B> {
    let near = segments[rng.below(segments.len() as u64) as usize].first;
    let addr = if rng.below(2) == 0 { near } else { near.prev().unwrap_or(near) };
    Block::around(addr, rng.below(u64::from(B::LEN) + 1) as u8)
}

/// `segments` with others inside `block`.
fn exchanged<B: Bits>(segments: &[Segment<B>], block: Block<B>, new: &[Segment<B>]) -> Vec<Segment<B>> {
    let mut all: Vec<_> = segments.iter().filter(|s| !block.contains(s.first)).copied().collect();
    all.extend_from_slice(new);
    if let Some(after) = block.last().next() {
        let at = segments.iter().rposition(|s| s.first <= after).expect("starts at 0");
        all.push(Segment { first: after, ..segments[at] });
    }
    all.sort_by_key(|s| s.first);
    all.dedup_by_key(|s| s.first);
    all
}

/// Asks at every edge and at random.
fn check<B: Bits>(lpm: &Lpm<B>, segments: &[Segment<B>], rng: &mut Rng) {
    let mut asked = vec![B::MAX];
    for segment in segments {
        let around = [Some(segment.first), segment.first.prev(), segment.first.next()];
        let random = B::narrow(u128::from(rng.next()) << 64 >> (128 - B::LEN));
        asked.extend(around.into_iter().flatten().chain([random]));
    }
    let mut together = Vec::new();
    lpm.lookup_all(&asked, |hit| together.push(hit));
    for (addr, hit) in asked.iter().zip(together) {
        assert_eq!(lpm.lookup(*addr), golden(segments, *addr), "{addr:?} in {segments:?}");
        assert_eq!(hit, lpm.lookup(*addr), "{addr:?} beside others");
    }
}

/// Cuts `segments` to `block`.
fn inside<B: Bits>(segments: &[Segment<B>], block: Block<B>) -> Vec<Segment<B>> {
    let from = segments.iter().rposition(|s| s.first <= block.first()).expect("starts at 0");
    let cut = segments[from..].iter().take_while(|s| s.first <= block.last());
    cut.map(|s| Segment { first: s.first.max(block.first()), ..*s }).collect()
}

fn agrees_with_golden<B: Bits>(seed: u64) {
    let mut rng = Rng(seed);
    for _ in 0..400 {
        let mut segments = random_segments::<B>(&mut rng);
        let mut lpm = Lpm::build(&segments);
        check(&lpm, &segments, &mut rng);
        for _ in 0..4 {
            let block = random_block(&segments, &mut rng);
            let new = inside(&random_segments::<B>(&mut rng), block);
            segments = exchanged(&segments, block, &new);
            lpm.update(block, &new, |_, value| identity_of(value));
            check(&lpm, &segments, &mut rng);
        }
    }
}

#[test]
fn v4_agrees_with_a_linear_scan() {
    agrees_with_golden::<u32>(42);
}

#[test]
fn v6_agrees_with_a_linear_scan() {
    agrees_with_golden::<u128>(43);
}

#[test]
fn scope_is_not_the_matching_prefix() {
    let is = |first, value| Segment { first, value, identity: Identity::Is(value) };
    let segments =
        [is(0u32, 0), is(0x0a00_0000, 1), is(0x0a01_0000, 2), is(0x0a02_0000, 1), is(0x0b00_0000, 0)];
    let lpm = Lpm::build(segments);
    assert_eq!(lpm.lookup(0x0a02_0304), Hit { value: 1, scope_len: 15 });
    assert_eq!(lpm.lookup(0x0a01_0304), Hit { value: 2, scope_len: 16 });
    assert_eq!(lpm.lookup(0xc000_0000), Hit { value: 0, scope_len: 1 });
}

/// What was saved of a table.
fn saved<B: Bits>(lpm: &Lpm<B>) -> Vec<u8> {
    let mut sink = Sink::new(Vec::new());
    lpm.save(&mut sink).expect("a vector takes everything");
    sink.finish().expect("a vector takes everything")
}

/// What octets are read as.
fn loaded<B: Bits>(octets: &[u8]) -> io::Result<Lpm<B>> {
    let mut source = Source::new(octets, octets.len() as u64)?;
    let lpm = Lpm::load(&mut source, |value| value < 40)?;
    source.finish().map(|()| lpm)
}

fn comes_back<B: Bits>(seed: u64) {
    let mut rng = Rng(seed);
    for _ in 0..50 {
        let mut segments = random_segments::<B>(&mut rng);
        let mut lpm = Lpm::build(&segments);
        let block = random_block(&segments, &mut rng);
        let new = inside(&random_segments::<B>(&mut rng), block);
        segments = exchanged(&segments, block, &new);
        lpm.update(block, &new, |_, value| identity_of(value));
        check(&loaded(&saved(&lpm)).expect("just saved"), &segments, &mut rng);
    }
}

#[test]
fn what_was_saved_comes_back() {
    comes_back::<u32>(44);
    comes_back::<u128>(45);
}

#[test]
fn behind_the_checksum_nothing_is_trusted_either() {
    let mut rng = Rng(46);
    for _ in 0..20 {
        let segments = random_segments::<u128>(&mut rng);
        let octets = saved(&Lpm::build(&segments));
        let whole = octets.len() - 4;
        for _ in 0..2_000 {
            let mut bad = octets.clone();
            bad[rng.below(whole as u64) as usize] ^= 1 << rng.below(8);
            let crc = crc32fast::hash(&bad[..whole]);
            bad[whole..].copy_from_slice(&crc.to_le_bytes());
            let Ok(other) = loaded::<u128>(&bad) else { continue };
            // What is accepted can be asked anything.
            for segment in &segments {
                assert!(other.lookup(segment.first).value < 40);
            }
        }
    }
}

/// As many values as a 16-bit number cannot tell apart, in a table with the largest root.
#[test]
fn there_can_be_more_values_than_16_bits_tell_apart() {
    let count = 70_000_u32;
    let segment = |n| Segment { first: (n << 12) + n % 5, value: n, identity: Identity::Is(n) };
    let segments: Vec<Segment<u32>> = (0..count).map(segment).collect();
    let lpm = Lpm::build(&segments);
    for (n, pair) in segments.windows(2).enumerate() {
        assert_eq!(lpm.lookup(pair[0].first).value, n as u32);
        assert_eq!(lpm.lookup(pair[1].first - 1).value, n as u32);
    }
    let wide: Vec<Segment<u128>> =
        segments.iter().map(|s| Segment { first: u128::from(s.first) << 60, ..at_wide(s) }).collect();
    let lpm = Lpm::build(&wide);
    for (n, pair) in wide.windows(2).enumerate() {
        assert_eq!(lpm.lookup(pair[0].first).value, n as u32);
        assert_eq!(lpm.lookup(pair[1].first - 1).value, n as u32);
    }
}

/// The same segment at the lowest address of the other family.
fn at_wide(segment: &Segment<u32>) -> Segment<u128> {
    Segment { first: 0, value: segment.value, identity: segment.identity }
}
