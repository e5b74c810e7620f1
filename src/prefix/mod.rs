//! Address blocks in canonical form, and what a client's address means.
//!
//! A [`Block`] has no host bits by construction. [`Client`] is an address after the transition forms
//! of [`transition`] were taken off; [`special`] lists the blocks that are nobody's on the Internet.
//! Layer 0: imports nothing of the crate. Text goes through `ipnetwork`, whose own type keeps host
//! bits and therefore stays at the edge.

pub mod special;
pub mod transition;

use ipnetwork::IpNetwork;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

pub use transition::Client;

/// An address family that can be steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Bits of an address: 32 or 128.
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The family of `addr`.
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// An address as a number in host order: `u32` for IPv4, `u128` for IPv6.
pub trait Bits: Copy + Ord + std::hash::Hash + fmt::Debug + Default + Send + Sync + 'static {
    /// Bits of an address.
    const LEN: u8;
    /// The family.
    const FAMILY: Family;
    /// The highest address.
    const MAX: Self;
    /// Network mask of `len` bits, 0 to [`Bits::LEN`].
    fn mask(len: u8) -> Self;
    /// Bitwise and.
    fn and(self, other: Self) -> Self;
    /// Bitwise or.
    fn or(self, other: Self) -> Self;
    /// Bitwise exclusive or.
    fn xor(self, other: Self) -> Self;
    /// Bitwise complement.
    fn not(self) -> Self;
    /// Leading zero bits, 0 to [`Bits::LEN`].
    fn leading_zeros(self) -> u8;
    /// Trailing zero bits, 0 to [`Bits::LEN`].
    fn trailing_zeros(self) -> u8;
    /// The next address; `None` after the highest.
    fn next(self) -> Option<Self>;
    /// The address before; `None` before the lowest.
    fn prev(self) -> Option<Self>;
    /// The bits from the highest down, in two halves; what an address lacks is 0.
    fn left_aligned(self) -> (u64, u64);
    /// Widened to 128 bits, the value unchanged.
    fn widen(self) -> u128;
    /// From 128 bits, higher bits dropped.
    fn narrow(wide: u128) -> Self;
    /// As an address.
    fn to_ip(self) -> IpAddr;
}

macro_rules! bits {
    ($int:ty, $len:expr, $family:expr, $addr:ty, $variant:path) => {
        impl Bits for $int {
            const LEN: u8 = $len;
            const FAMILY: Family = $family;
            const MAX: Self = <$int>::MAX;
            fn mask(len: u8) -> Self {
                debug_assert!(len <= $len);
                if len == 0 { 0 } else { <$int>::MAX << ($len - len) }
            }
            fn and(self, other: Self) -> Self {
                self & other
            }
            fn or(self, other: Self) -> Self {
                self | other
            }
            fn xor(self, other: Self) -> Self {
                self ^ other
            }
            fn not(self) -> Self {
                !self
            }
            fn leading_zeros(self) -> u8 {
                <$int>::leading_zeros(self) as u8
            }
            fn trailing_zeros(self) -> u8 {
                <$int>::trailing_zeros(self) as u8
            }
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
            fn prev(self) -> Option<Self> {
                self.checked_sub(1)
            }
            #[inline]
            fn left_aligned(self) -> (u64, u64) {
                let wide = (self as u128) << (128 - $len);
                ((wide >> 64) as u64, wide as u64)
            }
            fn widen(self) -> u128 {
                self as u128
            }
            fn narrow(wide: u128) -> Self {
                wide as Self
            }
            fn to_ip(self) -> IpAddr {
                $variant(<$addr>::from(self))
            }
        }
    };
}
bits!(u32, 32, Family::V4, Ipv4Addr, IpAddr::V4);
bits!(u128, 128, Family::V6, Ipv6Addr, IpAddr::V6);

/// An aligned address block without host bits. Ordered by first address, then length: a block
/// comes right before the blocks inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block<B> {
    first: B,
    len: u8,
}

impl<B: Bits> Block<B> {
    /// Everything.
    pub fn all() -> Self {
        Self { first: B::default(), len: 0 }
    }

    /// The block of length `len` (0 to [`Bits::LEN`]) around `addr`.
    pub fn around(addr: B, len: u8) -> Self {
        Self { first: addr.and(B::mask(len)), len }
    }

    /// The block `first/len`; `None` when `len` is too large or `first` has host bits.
    pub fn new(first: B, len: u8) -> Option<Self> {
        (len <= B::LEN && first.and(B::mask(len).not()) == B::default()).then_some(Self { first, len })
    }

    /// Lowest address.
    pub fn first(self) -> B {
        self.first
    }

    /// Highest address.
    pub fn last(self) -> B {
        self.first.or(B::mask(self.len).not())
    }

    /// Prefix length in bits.
    #[allow(clippy::len_without_is_empty, reason = "no block is empty")]
    pub fn len(self) -> u8 {
        self.len
    }

    /// Whether `addr` lies inside.
    pub fn contains(self, addr: B) -> bool {
        addr.and(B::mask(self.len)) == self.first
    }

    /// Whether `other` lies wholly inside (or is the same block).
    pub fn covers(self, other: Self) -> bool {
        self.len <= other.len && self.contains(other.first)
    }

    /// The block twice as large around it, and its other half; `None` for all addresses.
    pub fn parent(self) -> Option<(Self, Self)> {
        let parent = Self::around(self.first, self.len.checked_sub(1)?);
        let bit = B::mask(self.len).xor(B::mask(parent.len));
        Some((parent, Self { first: self.first.xor(bit), len: self.len }))
    }

    /// The lower and the upper half; `None` for a single address.
    pub fn halves(self) -> Option<(Self, Self)> {
        if self.len == B::LEN {
            return None;
        }
        let len = self.len + 1;
        let bit = B::mask(len).xor(B::mask(self.len));
        Some((Self { first: self.first, len }, Self { first: self.first.or(bit), len }))
    }
}

impl<B: Bits> fmt::Display for Block<B> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.first.to_ip(), self.len)
    }
}

/// A block of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// IPv4.
    V4(Block<u32>),
    /// IPv6.
    V6(Block<u128>),
}

/// Why a text is no prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not `address/length`.
    #[error("not an address and a length, as in 192.0.2.0/24")]
    Syntax,
    /// Bits are set after the prefix length; holds what was perhaps meant.
    #[error("host bits are set; perhaps {0} was meant")]
    HostBits(Prefix),
}

impl Prefix {
    /// The block `addr/len`; `None` when `len` is too large or host bits are set.
    pub fn new(addr: IpAddr, len: u8) -> Option<Self> {
        match addr {
            IpAddr::V4(addr) => Block::new(u32::from(addr), len).map(Self::V4),
            IpAddr::V6(addr) => Block::new(u128::from(addr), len).map(Self::V6),
        }
    }

    /// The block of `len` bits, at most the family's, around `addr`.
    pub fn around(addr: IpAddr, len: u8) -> Self {
        match addr {
            IpAddr::V4(addr) => Self::V4(Block::around(u32::from(addr), len)),
            IpAddr::V6(addr) => Self::V6(Block::around(u128::from(addr), len)),
        }
    }

    /// The lowest address.
    pub fn first(self) -> IpAddr {
        match self {
            Self::V4(block) => Ipv4Addr::from(block.first()).into(),
            Self::V6(block) => Ipv6Addr::from(block.first()).into(),
        }
    }

    /// The block of `network`, its host bits cleared.
    pub fn masked(network: IpNetwork) -> Self {
        match network {
            IpNetwork::V4(n) => Self::V4(Block::around(u32::from(n.ip()), n.prefix())),
            IpNetwork::V6(n) => Self::V6(Block::around(u128::from(n.ip()), n.prefix())),
        }
    }

    /// The family.
    pub fn family(self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    /// Prefix length in bits.
    #[allow(clippy::len_without_is_empty, reason = "no block is empty")]
    pub fn len(self) -> u8 {
        match self {
            Self::V4(block) => block.len(),
            Self::V6(block) => block.len(),
        }
    }

    /// Whether `addr` (of either family; a transition form is not looked through) lies inside.
    pub fn contains(self, addr: IpAddr) -> bool {
        match (self, addr) {
            (Self::V4(block), IpAddr::V4(addr)) => block.contains(u32::from(addr)),
            (Self::V6(block), IpAddr::V6(addr)) => block.contains(u128::from(addr)),
            _ => false,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(block) => block.fmt(out),
            Self::V6(block) => block.fmt(out),
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// Reads `address/length`; a bare address is a syntax error, host bits are refused.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (addr, len) = text.split_once('/').ok_or(PrefixError::Syntax)?;
        let addr: IpAddr = addr.parse().map_err(|_| PrefixError::Syntax)?;
        let digits = !len.is_empty() && len.len() <= 3 && len.bytes().all(|b| b.is_ascii_digit());
        if !digits || (len.len() > 1 && len.starts_with('0')) {
            return Err(PrefixError::Syntax);
        }
        let len: u8 = len.parse().map_err(|_| PrefixError::Syntax)?;
        if let Some(prefix) = Self::new(addr, len) {
            return Ok(prefix);
        }
        let network = IpNetwork::new(addr, len).map_err(|_| PrefixError::Syntax)?;
        Err(PrefixError::HostBits(Self::masked(network)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let found = text.parse::<Prefix>().map(|p| p.to_string()).map_err(|e| e.to_string());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    }

    #[test]
    fn prefixes_are_read_strictly() {
        let syntax = Err("not an address and a length, as in 192.0.2.0/24");
        check("0.0.0.0/0", Ok("0.0.0.0/0"));
        check("::/0", Ok("::/0"));
        check("2001:DB8::/32", Ok("2001:db8::/32"));
        check("10.1.2.3/8", Err("host bits are set; perhaps 10.0.0.0/8 was meant"));
        check("10.0.0.0/33", syntax);
        check("10.0.0.0/08", syntax);
        check("10.0.0.0/+8", syntax);
        check("10.0.0.0", syntax);
        check("10.0.0/8", syntax);
        check("", syntax);
    }

    #[test]
    fn a_block_comes_right_before_those_inside_it() {
        let mut blocks = [
            Block::around(0x0a01_0000u32, 16),
            Block::around(0x0a00_0000, 16),
            Block::around(0x0a00_0000, 8),
        ];
        blocks.sort();
        assert_eq!(blocks.map(|b| b.to_string()), ["10.0.0.0/8", "10.0.0.0/16", "10.1.0.0/16"]);
        let (low, high) = blocks[0].halves().expect("a /8 has halves");
        assert_eq!((low.to_string(), high.to_string()), ("10.0.0.0/9".into(), "10.128.0.0/9".into()));
        assert!(Block::around(1u128, 128).halves().is_none());
        assert_eq!(Block::<u128>::all().last(), u128::MAX);
    }
}
