//! The client-subnet option (RFC 7871), one type for each direction.
//!
//! An [`EcsRequest`] has no scope and comes only from a checked parse; an [`EcsReply`] is made only
//! from a request and a scope, so that family, source length and address are always echoed.
//! Layer 1.

use crate::prefix::Family;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is wrong with a client-subnet option; each is answered FORMERR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EcsFault {
    /// Fewer than the four octets before the address.
    #[error("the option is shorter than four octets")]
    Short,
    /// A family other than IPv4 and IPv6, 0 included.
    #[error("the family is neither 1 nor 2")]
    Family,
    /// A source length above 32 or 128.
    #[error("the source length exceeds the family's")]
    SourceLen,
    /// A scope length in a query.
    #[error("the scope length of a query is not 0")]
    Scope,
    /// More or fewer address octets than the source length needs.
    #[error("the address has not as many octets as the source length needs")]
    Octets,
    /// Bits after the source length are set.
    #[error("address bits after the source length are set")]
    StrayBits,
}

/// A client subnet as a query asked for it, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EcsRequest {
    /// The lowest address of the subnet; its family is the option's.
    address: IpAddr,
    /// Leading bits that are known: 0 to 32, or 0 to 128.
    source_len: u8,
}

impl EcsRequest {
    /// Longest option data: four octets and an IPv6 address.
    pub const LEN_MAX: usize = 20;

    /// Reads option data (what follows OPTION-LENGTH), strictly (RFC 7871 sections 6 and 7.1.2).
    ///
    /// # Errors
    /// The first [`EcsFault`] met.
    #[inline]
    pub fn parse(data: &[u8]) -> Result<Self, EcsFault> {
        let Some((&[family_high, family_low, source_len, scope_len], octets)) = data.split_first_chunk()
        else {
            return Err(EcsFault::Short);
        };
        let family = match u16::from_be_bytes([family_high, family_low]) {
            1 => Family::V4,
            2 => Family::V6,
            _ => return Err(EcsFault::Family),
        };
        if source_len > family.bits() {
            return Err(EcsFault::SourceLen);
        }
        if scope_len != 0 {
            return Err(EcsFault::Scope);
        }
        if octets.len() != usize::from(source_len.div_ceil(8)) {
            return Err(EcsFault::Octets);
        }
        let bits = left_aligned(octets);
        let stray_bits = bits.checked_shl(u32::from(source_len)).unwrap_or(0) != 0;
        let address = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from((bits >> 96) as u32)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(bits)),
        };
        if stray_bits { Err(EcsFault::StrayBits) } else { Ok(Self { address, source_len }) }
    }

    /// The lowest address of the subnet.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The family, as the option wrote it: an IPv4-mapped address stays IPv6.
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// SOURCE PREFIX-LENGTH; 0 asks that the client's network play no part.
    pub fn source_len(&self) -> u8 {
        self.source_len
    }

    /// Octets of address in the option.
    fn address_len(&self) -> usize {
        usize::from(self.source_len.div_ceil(8))
    }
}

/// Up to 16 octets at the high end of a number, zeroes after them: read as two halves that may
/// overlap, so that no octet is looked at alone.
#[inline]
pub(super) fn left_aligned(octets: &[u8]) -> u128 {
    let len = octets.len();
    match (octets.first_chunk::<8>(), octets.last_chunk::<8>()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u64::from_be_bytes(*first), u64::from_be_bytes(*last));
            u128::from(first) << 64 | u128::from(last) << (128 - 8 * len.min(16))
        }
        _ => u128::from(left_aligned_half(octets)) << 64,
    }
}

/// The same of fewer than eight octets.
#[inline]
fn left_aligned_half(octets: &[u8]) -> u64 {
    match (octets.first_chunk::<4>(), octets.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u32::from_be_bytes(*first), u32::from_be_bytes(*last));
            u64::from(first) << 32 | u64::from(last) << (64 - 8 * octets.len())
        }
        _ => match *octets {
            [a, b, c] => u64::from(u32::from_be_bytes([a, b, c, 0])) << 32,
            [a, b] => u64::from(u32::from_be_bytes([a, b, 0, 0])) << 32,
            [a] => u64::from(a) << 56,
            _ => 0,
        },
    }
}

/// A client subnet as a reply carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EcsReply {
    request: EcsRequest,
    scope_len: u8,
}

impl EcsReply {
    /// Echoes `request` with SCOPE PREFIX-LENGTH `scope_len`, counted in the request's family.
    ///
    /// The scope may exceed the source length (RFC 7871 section 7.2.1). It is 0 when the source
    /// length is (section 7.1.2: the client's network must not matter), and is cut to the family's.
    pub fn to(request: &EcsRequest, scope_len: u8) -> Self {
        debug_assert!(scope_len <= request.family().bits(), "scope {scope_len} is of another family");
        let scope_len = if request.source_len == 0 { 0 } else { scope_len.min(request.family().bits()) };
        Self { request: *request, scope_len }
    }

    /// SCOPE PREFIX-LENGTH.
    pub fn scope_len(&self) -> u8 {
        self.scope_len
    }

    /// Octets of option data.
    pub(crate) fn data_len(&self) -> usize {
        Self::HEAD_LEN + self.request.address_len()
    }

    /// Octets of option data before the address.
    pub(crate) const HEAD_LEN: usize = 4;

    /// FAMILY, SOURCE PREFIX-LENGTH and SCOPE PREFIX-LENGTH.
    pub(crate) fn head(&self) -> [u8; Self::HEAD_LEN] {
        let family = match self.request.address {
            IpAddr::V4(_) => 1,
            IpAddr::V6(_) => 2,
        };
        [0, family, self.request.source_len, self.scope_len]
    }

    /// The whole address; as many of its octets count as [`EcsReply::data_len`] leaves.
    pub(crate) fn octets(&self) -> [u8; 16] {
        match self.request.address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96).to_be_bytes(),
            IpAddr::V6(v6) => v6.octets(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses hex option data and compares address/source or the fault.
    fn check(data: &[u8], expected: Result<&str, EcsFault>) {
        let found = EcsRequest::parse(data).map(|e| format!("{}/{}", e.address(), e.source_len()));
        assert_eq!(found, expected.map(str::to_owned), "{data:02x?}");
    }

    #[test]
    fn rfc7871_s6_well_formed_options_are_read() {
        check(&[0, 1, 24, 0, 192, 0, 2], Ok("192.0.2.0/24"));
        check(&[0, 1, 32, 0, 192, 0, 2, 1], Ok("192.0.2.1/32"));
        check(&[0, 1, 20, 0, 192, 0, 0xf0], Ok("192.0.240.0/20"));
        check(&[0, 1, 1, 0, 0x80], Ok("128.0.0.0/1"));
        check(&[0, 2, 32, 0, 0x20, 1, 0x0d, 0xb8], Ok("2001:db8::/32"));
        check(&[0, 2, 0, 0], Ok("::/0"));
    }

    #[test]
    fn rfc7871_s7_1_2_source_0_is_legal_without_octets() {
        check(&[0, 1, 0, 0], Ok("0.0.0.0/0"));
        check(&[0, 1, 0, 0, 0], Err(EcsFault::Octets));
    }

    #[test]
    fn rfc7871_s6_stray_bits_are_formerr() {
        check(&[0, 1, 20, 0, 192, 0, 0xf1], Err(EcsFault::StrayBits));
        check(&[0, 1, 23, 0, 192, 0, 3], Err(EcsFault::StrayBits));
        check(&[0, 2, 1, 0, 0xc0], Err(EcsFault::StrayBits));
        check(&[0, 2, 127, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], Err(EcsFault::StrayBits));
    }

    #[test]
    fn rfc7871_s6_wrong_octet_counts_are_formerr() {
        check(&[], Err(EcsFault::Short));
        check(&[0, 1, 24], Err(EcsFault::Short));
        check(&[0, 1, 24, 0, 192, 0], Err(EcsFault::Octets));
        check(&[0, 1, 24, 0, 192, 0, 2, 0], Err(EcsFault::Octets));
        check(&[0, 1, 25, 0, 192, 0, 2], Err(EcsFault::Octets));
        check(&[0, 2, 128, 0, 1], Err(EcsFault::Octets));
    }

    #[test]
    fn rfc7871_s6_source_longer_than_the_family_is_formerr() {
        check(&[0, 1, 33, 0, 1, 2, 3, 4, 0], Err(EcsFault::SourceLen));
        check(&[0, 2, 129, 0], Err(EcsFault::SourceLen));
    }

    #[test]
    fn rfc7871_s6_scope_in_a_query_is_formerr() {
        check(&[0, 1, 24, 1, 192, 0, 2], Err(EcsFault::Scope));
    }

    #[test]
    fn unknown_families_are_formerr_family_0_whatever_its_length() {
        check(&[0, 0, 0, 0], Err(EcsFault::Family));
        check(&[0, 0, 24, 0, 1, 2, 3], Err(EcsFault::Family));
        check(&[0, 3, 0, 0], Err(EcsFault::Family));
        check(&[1, 1, 24, 0, 192, 0, 2], Err(EcsFault::Family));
    }

    #[test]
    fn every_source_length_survives_the_round_trip() {
        for (family, bits) in [(1u8, 32u8), (2, 128)] {
            for source_len in 0..=bits {
                let len = usize::from(source_len.div_ceil(8));
                let mut data = vec![0, family, source_len, 0];
                let ones = u128::MAX.checked_shl(128 - u32::from(source_len)).unwrap_or(0);
                data.extend_from_slice(&ones.to_be_bytes()[..len]);
                let request = EcsRequest::parse(&data).expect("well formed");
                let reply = EcsReply::to(&request, bits);
                data[3] = if source_len == 0 { 0 } else { bits };
                let data_of_reply = [&reply.head()[..], &reply.octets()].concat();
                assert_eq!(&data_of_reply[..reply.data_len()], &data[..]);
            }
        }
    }
}
