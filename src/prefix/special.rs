//! Blocks that are nobody's on the Internet: the IANA special-purpose address registries
//! (RFC 6890 and its updates, as of November 2026), entries that are not globally reachable.
//!
//! The blocks of a family do not overlap. [`holes_v4`] and [`holes_v6`] are entries inside
//! them that *are* globally reachable: ordinary address space. The transition blocks of
//! [`super::transition`] are not here; their clients are IPv4.

use super::{Bits, Block};
use std::net::IpAddr;
use std::sync::LazyLock;

/// Not globally reachable, IPv4, in address order.
const BLOCKS_V4: [(u32, u8); 13] = [
    (0x0000_0000, 8),  // this network, RFC 791
    (0x0a00_0000, 8),  // private use, RFC 1918
    (0x6440_0000, 10), // shared address space, RFC 6598
    (0x7f00_0000, 8),  // loopback, RFC 1122
    (0xa9fe_0000, 16), // link local, RFC 3927
    (0xac10_0000, 12), // private use, RFC 1918
    (0xc000_0000, 24), // IETF protocol assignments, RFC 6890
    (0xc000_0200, 24), // documentation, RFC 5737
    (0xc0a8_0000, 16), // private use, RFC 1918
    (0xc612_0000, 15), // benchmarking, RFC 2544
    (0xc633_6400, 24), // documentation, RFC 5737
    (0xcb00_7100, 24), // documentation, RFC 5737
    (0xf000_0000, 4),  // reserved, RFC 1112; holds the limited broadcast address
];

/// Globally reachable inside the blocks above.
const HOLES_V4: [(u32, u8); 2] = [
    (0xc000_0009, 32), // port control protocol anycast, RFC 7723
    (0xc000_000a, 32), // TURN anycast, RFC 8155
];

/// Not globally reachable, IPv6, in address order.
const BLOCKS_V6: [(u128, u8); 10] = [
    (0, 128),                     // unspecified, RFC 4291
    (1, 128),                     // loopback, RFC 4291
    (0x0064_ff9b_0001 << 80, 48), // local-use translation, RFC 8215
    (0x0100 << 112, 64),          // discard-only, RFC 6666
    (0x2001 << 112, 23),          // IETF protocol assignments, RFC 2928
    (0x2001_0db8 << 96, 32),      // documentation, RFC 3849
    (0x3fff << 112, 20),          // documentation, RFC 9637
    (0x5f00 << 112, 16),          // segment routing SIDs, RFC 9602
    (0xfc00 << 112, 7),           // unique local, RFC 4193
    (0xfe80 << 112, 10),          // link local, RFC 4291
];

/// Globally reachable inside the blocks above, and Teredo, which is a transition block.
const HOLES_V6: [(u128, u8); 8] = [
    (0x2001_0000 << 96, 32),        // Teredo, RFC 4380
    ((0x2001_0001 << 96) | 1, 128), // port control protocol anycast, RFC 7723
    ((0x2001_0001 << 96) | 2, 128), // TURN anycast, RFC 8155
    ((0x2001_0001 << 96) | 3, 128), // DNS-SD SRP anycast, RFC 9665
    (0x2001_0003 << 96, 32),        // AMT, RFC 7450
    (0x2001_0004_0112 << 80, 48),   // AS112-v6, RFC 7535
    (0x2001_0020 << 96, 28),        // ORCHIDv2, RFC 7343
    (0x2001_0030 << 96, 28),        // drone remote identification, RFC 9374
];

static V4: LazyLock<Vec<Block<u32>>> = LazyLock::new(|| blocks(&BLOCKS_V4));
static V4_HOLES: LazyLock<Vec<Block<u32>>> = LazyLock::new(|| blocks(&HOLES_V4));
static V6: LazyLock<Vec<Block<u128>>> = LazyLock::new(|| blocks(&BLOCKS_V6));
static V6_HOLES: LazyLock<Vec<Block<u128>>> = LazyLock::new(|| blocks(&HOLES_V6));

fn blocks<B: Bits>(list: &[(B, u8)]) -> Vec<Block<B>> {
    list.iter().map(|&(first, len)| Block::around(first, len)).collect()
}

/// The IPv4 blocks that are not globally reachable, disjoint, in address order.
pub fn blocks_v4() -> &'static [Block<u32>] {
    &V4
}

/// The globally reachable IPv4 blocks inside [`blocks_v4`], in address order.
pub fn holes_v4() -> &'static [Block<u32>] {
    &V4_HOLES
}

/// The IPv6 blocks that are not globally reachable, disjoint, in address order.
pub fn blocks_v6() -> &'static [Block<u128>] {
    &V6
}

/// The ordinary IPv6 blocks inside [`blocks_v6`], in address order.
pub fn holes_v6() -> &'static [Block<u128>] {
    &V6_HOLES
}

/// Whether `addr` is nobody's on the Internet: in one of the blocks and in none of the holes.
pub fn contains(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => is_in(u32::from(addr), blocks_v4(), holes_v4()),
        IpAddr::V6(addr) => is_in(u128::from(addr), blocks_v6(), holes_v6()),
    }
}

fn is_in<B: Bits>(addr: B, blocks: &[Block<B>], holes: &[Block<B>]) -> bool {
    let any = |list: &[Block<B>]| list.iter().any(|block| block.contains(addr));
    any(blocks) && !any(holes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order_and_apart<B: Bits>(list: &[Block<B>]) {
        for pair in list.windows(2) {
            assert!(pair[0].last() < pair[1].first(), "{} and {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn lists_are_ordered_disjoint_and_holes_lie_inside() {
        in_order_and_apart(blocks_v4());
        in_order_and_apart(holes_v4());
        in_order_and_apart(blocks_v6());
        in_order_and_apart(holes_v6());
        assert!(holes_v4().iter().all(|h| blocks_v4().iter().any(|b| b.covers(*h))));
        assert!(holes_v6().iter().all(|h| blocks_v6().iter().any(|b| b.covers(*h))));
        let names: Vec<String> = blocks_v6().iter().map(ToString::to_string).collect();
        assert_eq!(
            names.join(" "),
            "::/128 ::1/128 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 3fff::/20 5f00::/16 fc00::/7 fe80::/10"
        );
    }
}
