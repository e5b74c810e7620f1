//! Whom the benches ask for: clients all over the announced Internet, and the query of each.

use crate::internet::Internet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Announced blocks as numbers, IPv4 before IPv6, by address.
pub fn blocks(internet: &Internet) -> Vec<(IpAddr, u8)> {
    let mut blocks: Vec<(IpAddr, u8)> = internet
        .prefixes
        .iter()
        .map(|(prefix, _)| {
            let (addr, len) = prefix.split_once('/').expect("a prefix");
            (addr.parse().expect("an address"), len.parse().expect("a length"))
        })
        .collect();
    blocks.sort_unstable();
    blocks
}

/// `count` clients: 70 in 100 inside a block of IPv4, 10 anywhere in unicast IPv4 space, 20 inside a
/// block of IPv6. `blocks` as [`blocks`] sorts them.
pub fn clients(blocks: &[(IpAddr, u8)], count: usize) -> Vec<IpAddr> {
    let mut state = 7_u64;
    let mut next = |limit: u64| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    };
    let v6_from = blocks.partition_point(|(addr, _)| addr.is_ipv4()) as u64;
    let v6_count = blocks.len() as u64 - v6_from;
    (0..count)
        .map(|_| {
            let kind = next(10);
            let at = if kind < 8 { next(v6_from) } else { v6_from + next(v6_count) };
            let (addr, len) = blocks[at as usize];
            let host = u128::from(next(u64::MAX)) << 64 | u128::from(next(u64::MAX));
            match addr {
                IpAddr::V4(_) if kind == 0 => IpAddr::V4(Ipv4Addr::from((1 << 24) + next(223 << 24) as u32)),
                IpAddr::V4(addr) => {
                    let host = (host as u32).checked_shr(u32::from(len)).unwrap_or(0);
                    IpAddr::V4(Ipv4Addr::from(u32::from(addr) | host))
                }
                IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from(u128::from(addr) | host >> len)),
            }
        })
        .collect()
}

/// An A query for `video.cdn.example` with the /24 or /56 of `client`.
pub fn query(id: u16, client: IpAddr) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    packet.extend_from_slice(b"\x05video\x03cdn\x07example\0\0\x01\0\x01");
    let (family, source, octets) = match client {
        IpAddr::V4(addr) => (1, 24, addr.octets()[..3].to_vec()),
        IpAddr::V6(addr) => (2, 56, addr.octets()[..7].to_vec()),
    };
    let len = octets.len() as u8;
    // OPT of 1232 octets, no flags; then option 8, its length, family, source and scope.
    packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 8 + len]);
    packet.extend_from_slice(&[0, 8, 0, 4 + len, 0, family, source, 0]);
    packet.extend_from_slice(&octets);
    packet
}
