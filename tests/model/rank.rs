//! Numbers that every steering server must agree on: XXH64, the rendezvous cost, the shed slice, and
//! whole kilometres.

use std::sync::LazyLock;

/// XXH64's five primes.
const P: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];

/// One round of XXH64.
fn round(acc: u64, lane: u64) -> u64 {
    acc.wrapping_add(lane.wrapping_mul(P[1])).rotate_left(31).wrapping_mul(P[0])
}

/// XXH64 of `data`, seed 0.
pub fn xxh64(data: &[u8]) -> u64 {
    let lane = |b: &[u8]| b.iter().rev().fold(0u64, |n, &octet| (n << 8) | u64::from(octet));
    let mut stripes = data.chunks_exact(32);
    let mut h = P[4];
    if data.len() >= 32 {
        let mut acc = [P[0].wrapping_add(P[1]), P[1], 0, 0u64.wrapping_sub(P[0])];
        for stripe in stripes.by_ref() {
            for (a, b) in acc.iter_mut().zip(stripe.chunks_exact(8)) {
                *a = round(*a, lane(b));
            }
        }
        h = [1, 7, 12, 18].iter().zip(acc).fold(0u64, |n, (&by, a)| n.wrapping_add(a.rotate_left(by)));
        for a in acc {
            h = (h ^ round(0, a)).wrapping_mul(P[0]).wrapping_add(P[3]);
        }
    }
    h = h.wrapping_add(data.len() as u64);
    let mut eights = stripes.remainder().chunks_exact(8);
    for b in eights.by_ref() {
        h = (h ^ round(0, lane(b))).rotate_left(27).wrapping_mul(P[0]).wrapping_add(P[3]);
    }
    let mut rest = eights.remainder();
    if rest.len() >= 4 {
        h = (h ^ lane(&rest[..4]).wrapping_mul(P[0])).rotate_left(23).wrapping_mul(P[1]).wrapping_add(P[2]);
        rest = &rest[4..];
    }
    for &octet in rest {
        h = (h ^ u64::from(octet).wrapping_mul(P[4])).rotate_left(11).wrapping_mul(P[0]);
    }
    h = (h ^ (h >> 33)).wrapping_mul(P[1]);
    h = (h ^ (h >> 29)).wrapping_mul(P[2]);
    h ^ (h >> 32)
}

/// Spreads every bit of `z` over all 64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// log2(1 + j/256) in 48 fractional bits, j from 0 to 256.
static LOG2: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut table: Vec<u64> = (0..=255u128).map(log2_of).collect();
    table.push(1 << 48);
    table
});

/// One entry of [`LOG2`], bit by bit: squaring doubles the logarithm.
fn log2_of(j: u128) -> u64 {
    let (mut v, mut r) = ((256 + j) << 55, 0u64);
    for _ in 0..48 {
        v = (v * v) >> 63;
        r *= 2;
        if v >= 1 << 64 {
            v >>= 1;
            r += 1;
        }
    }
    r
}

/// What `name` of capacity `capacity_mbps` costs for a key; the cheapest appliance comes first.
/// `key` is the key's XXH64.
pub fn cost(name: &str, key: u64, capacity_mbps: u64) -> u128 {
    let x = mix(xxh64(name.as_bytes()) ^ key) | 1;
    let zeros = x.leading_zeros();
    let y = x << zeros;
    let (i, f) = (((y >> 55) & 255) as usize, y & ((1 << 55) - 1));
    let step = u128::from(LOG2[i + 1] - LOG2[i]);
    let frac = LOG2[i] + ((step * u128::from(f)) >> 55) as u64;
    let l = ((u64::from(zeros) + 1) << 48) - frac;
    u128::from(l) * u128::from(u64::MAX / capacity_mbps.max(1))
}

/// What separates the shed slice from the rank.
pub const SHED: u64 = 0x7368_6564_5f6b_6579;

/// Whether `name`, shedding `shed_bp` basis points, sheds a key whose XXH64 is `key`.
pub fn sheds(name: &str, key: u64, shed_bp: u16, constant: u64) -> bool {
    let slice = (u128::from(mix(xxh64(name.as_bytes()) ^ key ^ constant)) * 10_000) >> 64;
    slice < u128::from(shed_bp)
}

/// The mean radius of the earth, km.
const EARTH_KM: f64 = 6371.0088;

/// Great-circle distance in whole kilometres between two points in degrees.
///
/// The haversine formula; beyond a quarter of the way round it measures to the antipode, where the
/// formula is exact again.
pub fn km(a: (f64, f64), b: (f64, f64)) -> u16 {
    let haversine = |a: (f64, f64), b: (f64, f64)| {
        let (lat_a, lat_b) = (a.0.to_radians(), b.0.to_radians());
        let (south, east) = (((lat_b - lat_a) / 2.0).sin(), ((b.1 - a.1).to_radians() / 2.0).sin());
        south * south + lat_a.cos() * lat_b.cos() * east * east
    };
    let h = haversine(a, b);
    let angle = match h <= 0.5 {
        true => 2.0 * h.sqrt().asin(),
        false => std::f64::consts::PI - 2.0 * haversine(a, (-b.0, b.1 + 180.0)).sqrt().asin(),
    };
    (angle * EARTH_KM + 0.5).floor() as u16
}

#[test]
fn xxh64_matches_published_vectors() {
    for (text, hash) in [
        ("", 0xef46_db37_51d8_e999),
        ("a", 0xd24e_c4f1_a98c_6e5b),
        ("abc", 0x44bc_2cf5_ad77_0999),
        ("Nobody inspects the spammish repetition", 0xfbce_a83c_8a37_8bf1),
        ("xxhash", 0x32dd_3895_2c4b_c720),
    ] {
        assert_eq!(xxh64(text.as_bytes()), hash, "{text:?}");
    }
}

#[test]
fn logarithms_are_logarithms() {
    for (j, &l) in LOG2.iter().enumerate() {
        let float = (1.0 + j as f64 / 256.0).log2() * (1u64 << 48) as f64;
        assert!((l as f64 - float).abs() < 64.0, "{j}: {l} {float}");
    }
}

#[test]
fn capacity_is_share() {
    let first = (0..20_000u64).filter(|n| {
        let key = xxh64(&n.to_le_bytes());
        cost("a", key, 30_000) < cost("b", key, 10_000)
    });
    let share = first.count();
    assert!((14_700..15_300).contains(&share), "{share} of 20000, expected about 15000");
}

#[test]
fn distances() {
    let check = |a, b, expected| assert_eq!(km(a, b), expected, "{a:?} {b:?}");
    check((0.0, 0.0), (0.0, 0.0), 0);
    check((90.0, 0.0), (-90.0, 45.0), 20015);
    check((90.0, 10.0), (90.0, -170.0), 0);
    check((0.0, 180.0), (0.0, -180.0), 0);
    check((0.0, 179.5), (0.0, -179.5), 111);
    check((0.0, 0.0), (0.0, 180.0), 20015);
    check((0.0, 0.0), (0.0, 90.0), 10008);
    check((52.31, 4.76), (50.03, 8.57), 367);
}
