//! What a lookup costs, alone and by the group, beside the bare arrays that cannot be beaten.
//!
//! Expected, before measuring: an IPv4 lookup is two loads from the third-level cache, which overlap
//! from one lookup to the next: 5 ns, as one load from an array of 32 MB. An IPv6 lookup is four to six
//! such loads and a branch that nobody can foresee, which costs its whole latency when alone: 60 ns;
//! sixteen side by side wait together: 20 ns.

use crate::internet::Internet;
use crate::{cpu_time, instructions};
use std::hint::black_box;
use steerd::lpm::{Identity, Lpm, Segment};
use steerd::prefix::{Bits, Block, Prefix};

/// Lookups in a round.
const LOOKUPS: usize = 1 << 21;

/// Lookups under valgrind.
const LOOKUPS_COUNTED: usize = 100_000;

/// Rounds.
const ROUNDS: usize = 7;

/// Measures tables of several sizes, `step` times smaller than they are called.
pub fn run(step: usize) {
    let prefixes = Prefixes::read();
    println!("lpm      family prefixes  entries     MB   one ns  group ns  bare ns  instructions  hash");
    for count in [10_000, 100_000, 1_000_000, 5_000_000] {
        measure(&prefixes.v4(count / step), count / step, bare_v4);
    }
    for count in [10_000, 50_000, 200_000, 1_000_000] {
        measure(&prefixes.v6(count / step), count / step, bare_v6);
    }
}

/// Runs what `piece` names if it is of this bench.
pub fn run_counted(piece: &str) -> bool {
    match piece.split_once(' ').filter(|(bench, _)| *bench == "lpm") {
        Some((_, "4")) => count_lookups(&Prefixes::read().v4(100_000)),
        Some((_, "6")) => count_lookups(&Prefixes::read().v6(20_000)),
        _ => return false,
    }
    true
}

/// Looks up under valgrind.
fn count_lookups<B: Bits>(blocks: &[Block<B>]) {
    let lpm = Lpm::build(segments(blocks));
    let addrs = addresses(blocks, LOOKUPS_COUNTED);
    instructions::counted(|| sum(&lpm, &addrs));
}

/// The announced prefixes, by family.
pub struct Prefixes {
    v4: Vec<Block<u32>>,
    v6: Vec<Block<u128>>,
}

impl Prefixes {
    /// Reads them.
    pub fn read() -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, _) in Internet::read().prefixes {
            match prefix.parse() {
                Ok(Prefix::V4(block)) => v4.push(block),
                Ok(Prefix::V6(block)) => v6.push(block),
                Err(error) => panic!("{prefix}: {error}"),
            }
        }
        Self { v4, v6 }
    }

    /// As many of IPv4.
    pub fn v4(&self, count: usize) -> Vec<Block<u32>> {
        resized(&self.v4, count)
    }

    /// As many of IPv6.
    pub fn v6(&self, count: usize) -> Vec<Block<u128>> {
        resized(&self.v6, count)
    }
}

/// `count` of `blocks`, evenly taken; where there are not as many, parts of them as well: what is
/// announced in ten years.
fn resized<B: Bits>(blocks: &[Block<B>], count: usize) -> Vec<Block<B>> {
    let longest = if B::LEN == 32 { 27 } else { 56 };
    let mut all = blocks.to_vec();
    let mut from = 0;
    while all.len() < count && from < all.len() {
        let block = all[from];
        if block.len() < longest
            && let Some((low, high)) = block.halves()
        {
            all.extend([low, high]);
        }
        from += 1;
    }
    all.sort_unstable();
    all.dedup();
    let len = all.len();
    (0..count.min(len)).map(|at| all[at * len / count.min(len)]).collect()
}

/// A generator: xorshift64*.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Each block with a value of its own out of 30,000, what is not covered with 0.
fn segments<B: Bits>(blocks: &[Block<B>]) -> Vec<Segment<B>> {
    let mut found: Vec<Segment<B>> = Vec::with_capacity(2 * blocks.len());
    let mut put = |first: B, value: u32| {
        if found.last().is_some_and(|last| last.first == first) {
            found.pop();
        }
        if found.last().is_none_or(|last| last.value != value) {
            found.push(Segment { first, value, identity: Identity::Is(value) });
        }
    };
    put(B::default(), 0);
    let mut open: Vec<(B, u32)> = Vec::new();
    let close = |open: &mut Vec<(B, u32)>, before: Option<B>, put: &mut dyn FnMut(B, u32)| {
        while let Some(&(last, _)) = open.last().filter(|(last, _)| before.is_none_or(|at| *last < at)) {
            open.pop();
            if let Some(after) = last.next() {
                put(after, open.last().map_or(0, |&(_, value)| value));
            }
        }
    };
    for (number, block) in blocks.iter().enumerate() {
        close(&mut open, Some(block.first()), &mut put);
        let value = 1 + (number as u32).wrapping_mul(2_654_435_761) % 30_000;
        put(block.first(), value);
        open.push((block.last(), value));
    }
    close(&mut open, None, &mut put);
    found
}

/// Random addresses inside random blocks.
fn addresses<B: Bits>(blocks: &[Block<B>], count: usize) -> Vec<B> {
    let mut rng = Rng(9);
    let address = |_| {
        let block = blocks[(rng.next() % blocks.len() as u64) as usize];
        let random = B::narrow((u128::from(rng.next()) << 64 | u128::from(rng.next())) >> (128 - B::LEN));
        block.first().or(random.and(B::mask(block.len()).not()))
    };
    (0..count).map(address).collect()
}

/// Looks up one after the other.
fn sum<B: Bits>(lpm: &Lpm<B>, addrs: &[B]) -> u64 {
    let add = |sum: u64, &addr: &B| {
        let hit = lpm.lookup(addr);
        sum.wrapping_add(u64::from(hit.value) * 129 + u64::from(hit.scope_len))
    };
    addrs.iter().fold(0, add)
}

/// Nanoseconds a lookup of each of three ways, the median of rounds in turn.
fn measure<B: Bits>(blocks: &[Block<B>], count: usize, bare: impl Fn(&[Segment<B>]) -> Bare<B>) {
    let segments = segments(blocks);
    let (lpm, bare) = (Lpm::build(&segments), bare(&segments));
    let addrs = addresses(blocks, LOOKUPS.min(count * 64));
    let mut rounds = [Vec::new(), Vec::new(), Vec::new()];
    let mut sums = [0_u64; 3];
    for _ in 0..ROUNDS {
        let mut time = |at: usize, work: &mut dyn FnMut() -> u64| {
            let start = cpu_time::thread();
            sums[at] = black_box(work());
            rounds[at].push((cpu_time::thread() - start).as_nanos() as f64 / addrs.len() as f64);
        };
        time(0, &mut || sum(&lpm, &addrs));
        time(1, &mut || {
            let mut sum = 0_u64;
            lpm.lookup_all(&addrs, |hit| {
                sum = sum.wrapping_add(u64::from(hit.value) * 129 + u64::from(hit.scope_len));
            });
            sum
        });
        time(2, &mut || addrs.iter().fold(0, |sum, &addr| sum + u64::from(bare(addr))));
    }
    assert_eq!(sums[0], sums[1], "alone and in groups");
    let values = addrs.iter().fold(0, |sum, &addr| sum + u64::from(lpm.lookup(addr).value));
    assert_eq!(sums[2], values, "as the bare array");
    let median = rounds.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    });
    let family = if B::LEN == 32 { 4 } else { 6 };
    let counted = (count == 100_000 || count == 50_000)
        .then(|| instructions::count(&format!("lpm {family}")))
        .flatten()
        .map_or_else(|| "-".to_owned(), |total| (total / LOOKUPS_COUNTED as u64).to_string());
    println!(
        "lpm      IPv{family}   {:>8} {:>8} {:>6.1} {:>8.1} {:>9.1} {:>8.1} {counted:>13}  {:016x}",
        blocks.len(),
        lpm.entry_count(),
        lpm.heap_bytes() as f64 / 1e6,
        median[0],
        median[1],
        median[2],
        sums[0],
    );
}

/// A lookup without scopes.
type Bare<B> = Box<dyn Fn(B) -> u32>;

/// One array by the first 24 bits, and one of 256 for each of those that are divided (DIR-24-8).
fn bare_v4(segments: &[Segment<u32>]) -> Bare<u32> {
    let mut top = vec![0_u16; 1 << 24];
    let mut deep: Vec<u16> = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        let last = segments.get(at + 1).map_or(u32::MAX, |next| next.first - 1);
        let mut slot = segment.first >> 8;
        if segment.first & 255 != 0 {
            slot += 1;
        }
        let end = u64::from(last) + 1;
        for whole in u64::from(slot)..end >> 8 {
            top[whole as usize] = segment.value as u16;
        }
    }
    for window in segments.windows(2) {
        let first = window[1].first;
        if first & 255 != 0 && top[first as usize >> 8] < 1 << 15 {
            let (slot, begin) = (first >> 8, first >> 8 << 8);
            let mut at = segments.partition_point(|s| s.first <= begin) - 1;
            for addr in begin..=begin | 255 {
                while segments.get(at + 1).is_some_and(|next| next.first <= addr) {
                    at += 1;
                }
                deep.push(segments[at].value as u16);
            }
            top[slot as usize] = 1 << 15 | ((deep.len() >> 8) - 1).min((1 << 15) - 1) as u16;
        }
    }
    if deep.len() >> 8 > 1 << 15 || segments.iter().any(|s| s.value >= 1 << 15) {
        // Numbers do not fit in 15 bits: what such an array has to give up.
        return bare_search(segments);
    }
    Box::new(move |addr| match top[(addr >> 8) as usize] {
        value if value < 1 << 15 => u32::from(value),
        part => u32::from(deep[(usize::from(part & 0x7fff) << 8) | (addr & 255) as usize]),
    })
}

/// One array by the first 20 bits, and a search among the firsts behind it.
fn bare_v6(segments: &[Segment<u128>]) -> Bare<u128> {
    let firsts: Vec<u64> = segments.iter().map(|s| (s.first >> 64) as u64).collect();
    let values: Vec<u32> = segments.iter().map(|s| s.value).collect();
    let index: Vec<u32> = (0..=1_u64 << 20)
        .map(|top| firsts.partition_point(|&first| u128::from(first) < u128::from(top) << 44) as u32)
        .collect();
    Box::new(move |addr| {
        let key = (addr >> 64) as u64;
        let top = (key >> 44) as usize;
        let (low, high) = (index[top] as usize, index[top + 1] as usize);
        values[low + firsts[low..high].partition_point(|&first| first <= key) - 1]
    })
}

/// A search among all firsts.
fn bare_search<B: Bits>(segments: &[Segment<B>]) -> Bare<B> {
    let segments = segments.to_vec();
    Box::new(move |addr: B| segments[segments.partition_point(|s| s.first <= addr) - 1].value)
}
