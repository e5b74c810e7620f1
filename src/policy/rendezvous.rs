//! Weighted rendezvous hashing in integers (highest random weight, Thaler and Ravishankar 1998).
//!
//! Every appliance of a cluster draws a number from its name and the key; the smallest
//! `-log2(u) / capacity` wins, which gives each appliance its share by capacity, and losing one
//! moves only that one's keys. All servers on earth have to agree, so nothing here is floating point
//! or depends on a library's whim. The definition, in wrapping 64-bit arithmetic:
//!
//! ```text
//! A = XXH64(appliance name), K = XXH64(key), both with seed 0
//! mix(z): z ^= z >> 30; z *= bf58476d1ce4e5b9; z ^= z >> 27; z *= 94d049bb133111eb; z ^= z >> 31
//! x = mix(A ^ K) | 1          n = leading zeros of x          y = x << n
//! i = bits 55..62 of y        f = bits 0..54 of y
//! frac = LOG2[i] + ((LOG2[i + 1] - LOG2[i]) * f >> 55)        LOG2[j] = log2(1 + j / 256) * 2^48
//! cost = ((n + 1 << 48) - frac) * floor((2^64 - 1) / capacity)         in 128 bits; the least wins
//! ```
//! Ties fall to the name first in byte order. An appliance that sheds does so for the keys with
//! `mix(A ^ K ^ "shed_key") * 10000 >> 64` below its basis points: always the same keys, and more of
//! them as the slice grows.
//!
//! | name | key | capacity | cost | shed bucket |
//! |---|---|---|---|---|
//! | `ams1-c001` | `/title/1/seg1.m4s` | 10000 | 528890725485640474659823666265 | 1064 |
//! | `ams1-c002` | `/title/1/seg1.m4s` | 40000 | 842481889611076836603966547424 | 6272 |
//! | `ams1-c001` | `video.cdn.example` | 1 | 26609681815559655131786919210907350 | 2648 |
//! | `ams1-c001` | `video.cdn.example\0\xc1\0\0\0` | 100000 | 26813081070350824668588778590 | 5318 |

use crate::units::BasisPoints;
use xxhash_rust::xxh64::xxh64;

/// Bits after the binary point of a logarithm.
const FRACTION_BITS: u32 = 48;

/// `log2(1 + j / 256)` with [`FRACTION_BITS`] bits after the point, rounded down bit by bit.
static LOG2: [u64; 257] = log2_table();

const fn log2_table() -> [u64; 257] {
    let mut table = [0; 257];
    let mut j = 0;
    while j < 256 {
        // The argument as 1.63 fixed point; squaring doubles the logarithm and shifts out one bit.
        let mut v = (256 + j as u128) << 55;
        let mut bits = 0;
        let mut left = FRACTION_BITS;
        while left > 0 {
            v = (v * v) >> 63;
            bits <<= 1;
            if v >> 64 != 0 {
                v >>= 1;
                bits |= 1;
            }
            left -= 1;
        }
        table[j] = bits;
        j += 1;
    }
    table[256] = 1 << FRACTION_BITS;
    table
}

/// A key, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(u64);

impl KeyHash {
    /// Hashes the octets of a key.
    pub fn of(key: &[u8]) -> Self {
        Self(xxh64(key, 0))
    }

    /// As a number, for keeping.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// From the same.
    pub fn of_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// An appliance as rendezvous hashing sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contender {
    hash: u64,
    /// `floor((2^64 - 1) / capacity)`.
    inverse: u64,
}

impl Contender {
    /// The appliance `name` with `capacity_mbps`; a capacity of 0 counts as 1, and whoever calls
    /// leaves such appliances out.
    pub fn new(name: &str, capacity_mbps: u32) -> Self {
        Self { hash: xxh64(name.as_bytes(), 0), inverse: u64::MAX / u64::from(capacity_mbps.max(1)) }
    }

    /// What serving `key` costs here; the least cost wins.
    pub fn cost(self, key: KeyHash) -> u128 {
        u128::from(Self::cost_of_draw(draw(self.hash, key))) * u128::from(self.inverse)
    }

    /// Hash and inverse capacity.
    pub(super) fn parts(self) -> (u64, u64) {
        (self.hash, self.inverse)
    }

    /// From the same.
    pub(super) fn of_parts(hash: u64, inverse: u64) -> Self {
        Self { hash, inverse }
    }

    /// `-log2(x / 2^64)` of a drawn number, with [`FRACTION_BITS`] bits after the point.
    pub(super) fn cost_of_draw(x: u64) -> u64 {
        let zeros = x.leading_zeros();
        let y = x << zeros;
        let at = (y >> 55 & 0xff) as usize;
        let rest = y & ((1 << 55) - 1);
        let (low, high) = (LOG2[at], LOG2[at + 1]);
        let fraction = low + ((u128::from(high - low) * u128::from(rest)) >> 55) as u64;
        (u64::from(zeros + 1) << FRACTION_BITS) - fraction
    }

    /// Whether two contenders cost the same when they draw the same.
    pub fn is_as_large_as(self, other: Self) -> bool {
        self.inverse == other.inverse
    }

    /// Whether it gives `key` away while it sheds `slice` of the key space.
    pub fn sheds(self, key: KeyHash, slice: BasisPoints) -> bool {
        self.shed_bucket(key) < slice.get()
    }

    /// Where `key` lies in the slice, 0 to 9,999.
    fn shed_bucket(self, key: KeyHash) -> u16 {
        let drawn = mix(self.hash ^ key.0 ^ u64::from_be_bytes(*b"shed_key"));
        ((u128::from(drawn) * 10_000) >> 64) as u16
    }
}

/// `x`: the number that the contender of `hash` draws for `key`, odd.
#[inline]
pub(super) fn draw(hash: u64, key: KeyHash) -> u64 {
    mix(hash ^ key.0) | 1
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit depends on every bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_logarithm() {
        for (j, &entry) in LOG2.iter().enumerate() {
            let exact = (1.0 + j as f64 / 256.0).log2() * (1u64 << FRACTION_BITS) as f64;
            assert!((entry as f64 - exact).abs() < 128.0, "{j}: {entry} {exact}");
        }
        assert!(LOG2.is_sorted());
    }

    #[test]
    fn the_published_vectors_hold() {
        let check = |name, key: &[u8], capacity, cost, bucket| {
            let (contender, key) = (Contender::new(name, capacity), KeyHash::of(key));
            assert_eq!((contender.cost(key), contender.shed_bucket(key)), (cost, bucket), "{name}");
        };
        check("ams1-c001", b"/title/1/seg1.m4s", 10000, 528890725485640474659823666265, 1064);
        check("ams1-c002", b"/title/1/seg1.m4s", 40000, 842481889611076836603966547424, 6272);
        check("ams1-c001", b"video.cdn.example", 1, 26609681815559655131786919210907350, 2648);
        check("ams1-c001", b"video.cdn.example\0\xc1\0\0\0", 100000, 26813081070350824668588778590, 5318);
    }

    #[test]
    fn shares_follow_capacity() {
        let contenders =
            [("a", 1), ("b", 2), ("c", 5)].map(|(name, weight)| Contender::new(name, weight * 10_000));
        let mut wins = [0u32; 3];
        for key in 0..80_000u32 {
            let key = KeyHash::of(&key.to_le_bytes());
            let best = (0..3).min_by_key(|&i| contenders[i].cost(key)).expect("three of them");
            wins[best] += 1;
        }
        for (won, expected) in wins.into_iter().zip([10_000, 20_000, 50_000]) {
            assert!(won.abs_diff(expected) < 600, "{wins:?}");
        }
    }

    #[test]
    fn losing_one_moves_only_its_keys() {
        let names: Vec<String> = (0..16).map(|i| format!("ams1-c{i:03}")).collect();
        let contenders: Vec<Contender> = names.iter().map(|n| Contender::new(n, 40_000)).collect();
        for key in 0..2_000u32 {
            let key = KeyHash::of(&key.to_le_bytes());
            let best = |skip| (0..16).filter(|&i| Some(i) != skip).min_by_key(|&i| contenders[i].cost(key));
            let with_all = best(None).expect("sixteen of them");
            let lost = 5;
            if with_all != lost {
                assert_eq!(best(Some(lost)), Some(with_all));
            }
        }
    }

    #[test]
    fn shedding_more_sheds_the_same_keys_and_more() {
        let contender = Contender::new("ams1-c001", 40_000);
        let mut shed = 0;
        for key in 0..20_000u32 {
            let key = KeyHash::of(&key.to_le_bytes());
            let (quarter, half) = (BasisPoints::saturating(2_500), BasisPoints::saturating(5_000));
            assert!(!contender.sheds(key, quarter) || contender.sheds(key, half));
            assert!(contender.sheds(key, BasisPoints::ONE) && !contender.sheds(key, BasisPoints::ZERO));
            shed += u32::from(contender.sheds(key, quarter));
        }
        assert!(shed.abs_diff(5_000) < 300, "{shed}");
    }
}
