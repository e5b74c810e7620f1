//! The query that resolvers of players send, and the reply to it, octet by octet.
//!
//! A [`UsualQuery`] has one question for an address, in the Internet class, and an OPT of version 0
//! with one client subnet and nothing else. Its shape is checked field by field in the order of the
//! packet; whatever differs is `None` and goes the general way of [`Query`](super::Query) and
//! [`Reply`](super::Reply), which read and write the same (the tests of `dns` hold the two equal).
//! It is own code because an answer's time is spent here: half of the instructions. Layer 1.

use super::ecs::{EcsRequest, left_aligned};
use super::name::{NameBuf, wire_len};
use super::{HEADER_LEN, OPT_LEN, Rtype, UDP_SIZE, UDP_SIZE_PLAIN};
use crate::prefix::Family;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// QTYPE and QCLASS.
const QUESTION_TAIL_LEN: usize = 4;

/// Octets of a record before its data, the owner a pointer to the question.
const RECORD_HEAD_LEN: usize = 12;

/// Octets of the subnet option before the address: code, length, family, two lengths.
const SUBNET_HEAD_LEN: usize = 8;

/// Where the client subnet of a query would be if it were of the usual shape, read without a check.
///
/// For a guess at what [`UsualQuery::parse`] is about to find: `name` tells names apart, more or less;
/// `address` is the subnet's lowest address, followed by whatever the packet goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glimpse {
    /// Made from the beginning of the question.
    pub name: u64,
    /// The address, in its family.
    pub address: IpAddr,
}

impl Glimpse {
    /// Looks at one message; `None` when it is too short or there is no subnet in that place.
    #[inline]
    pub fn of(packet: &[u8]) -> Option<Self> {
        let question = packet.get(HEADER_LEN..)?;
        let name = glimpsed_name(question)?;
        let option = question.get(wire_len(question)? + QUESTION_TAIL_LEN + OPT_LEN..)?;
        let (&[0, 8, _, _, 0, family, source_len, 0], octets) =
            option.split_first_chunk::<SUBNET_HEAD_LEN>()?
        else {
            return None;
        };
        let len = usize::from(source_len.div_ceil(8));
        let bits = left_aligned(octets.get(..len)?);
        let address = match family {
            1 => IpAddr::V4(Ipv4Addr::from((bits >> 96) as u32)),
            2 => IpAddr::V6(Ipv6Addr::from(bits)),
            _ => return None,
        };
        Some(Self { name, address })
    }
}

/// The beginning of a question, in any case.
#[inline]
fn glimpsed_name(question: &[u8]) -> Option<u64> {
    question.first_chunk().map(|octets| u64::from_ne_bytes(*octets) | u64::from_ne_bytes([0x20; 8]))
}

/// A query of the usual shape.
#[derive(Debug, Clone, Copy)]
pub struct UsualQuery<'a> {
    /// Header and question.
    head: &'a [u8],
    /// A or AAAA, as the family of the addresses asked for.
    family: Family,
    /// What the client takes over UDP, octets, as written.
    udp_size: u16,
    /// The octet of the OPT with the DO bit; its other bits are 0.
    dnssec_ok: u8,
    /// The subnet option, whole.
    subnet: &'a [u8],
    ecs: EcsRequest,
}

impl<'a> UsualQuery<'a> {
    /// Reads one message; `None` when it is not of the usual shape, malformed ones included.
    /// `qname` is overwritten with the canonical name.
    #[inline]
    pub fn parse(packet: &'a [u8], qname: &mut NameBuf) -> Option<Self> {
        let (&[_, _, flags, low_flags, counts @ ..], question) = packet.split_first_chunk::<HEADER_LEN>()?;
        // A query of opcode 0 with RD as it likes; one question and one additional record.
        if flags & !0x01 != 0 || low_flags & 0x80 != 0 || counts != [0, 1, 0, 0, 0, 0, 0, 1] {
            return None;
        }
        let name_len = wire_len(question)?;
        let (&[t0, t1, 0, 1], opt) = question.get(name_len..)?.split_first_chunk::<QUESTION_TAIL_LEN>()?
        else {
            return None;
        };
        let family = match Rtype(u16::from_be_bytes([t0, t1])) {
            Rtype::A => Family::V4,
            Rtype::AAAA => Family::V6,
            _ => return None,
        };
        let (&[0, 0, 41, s0, s1, 0, 0, dnssec_ok, 0, l0, l1], subnet) = opt.split_first_chunk::<OPT_LEN>()?
        else {
            return None;
        };
        let (&[0, 8, o0, o1], data) = subnet.split_first_chunk::<4>()? else { return None };
        let is_whole = usize::from(u16::from_be_bytes([l0, l1])) == subnet.len()
            && usize::from(u16::from_be_bytes([o0, o1])) == data.len();
        if !is_whole || dnssec_ok & 0x7f != 0 {
            return None;
        }
        let ecs = EcsRequest::parse(data).ok().filter(|ecs| ecs.source_len() > 0)?;
        qname.set_within(question, name_len);
        let head = packet.get(..HEADER_LEN + name_len + QUESTION_TAIL_LEN)?;
        Some(Self { head, family, udp_size: u16::from_be_bytes([s0, s1]), dnssec_ok, subnet, ecs })
    }

    /// What [`Glimpse::of`] calls its name.
    #[inline]
    pub fn glimpsed_name(&self) -> u64 {
        self.head.get(HEADER_LEN..).and_then(glimpsed_name).unwrap_or_default()
    }

    /// Whether it has the DO bit.
    pub fn wants_signatures(&self) -> bool {
        self.dnssec_ok != 0
    }

    /// The type asked for: A or AAAA.
    pub fn qtype(&self) -> Rtype {
        match self.family {
            Family::V4 => Rtype::A,
            Family::V6 => Rtype::AAAA,
        }
    }

    /// The family of the addresses asked for.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The client subnet; its source length is not 0.
    pub fn ecs(&self) -> &EcsRequest {
        &self.ecs
    }

    /// The largest reply over UDP, octets; see [`Query::udp_limit`](super::Query::udp_limit).
    pub fn udp_limit(&self, cap: u16) -> usize {
        usize::from(self.udp_size.clamp(UDP_SIZE_PLAIN, cap.max(UDP_SIZE_PLAIN)))
    }

    /// Writes the reply with `count` (below 255) addresses of the asked family and their signature
    /// (`rrsig`, record data; empty: none), and says how many octets it has; `None` when they are more
    /// than `limit` or than `out` has, or an address is of the other family or missing. `scope_len`
    /// counts in the subnet's family.
    #[inline]
    #[allow(clippy::too_many_arguments, reason = "what a reply is made of, each once")]
    pub fn reply(
        &self,
        out: &mut [u8],
        limit: usize,
        ttl_s: u32,
        scope_len: u8,
        count: usize,
        mut addresses: impl Iterator<Item = IpAddr>,
        rrsig: &[u8],
    ) -> Option<usize> {
        let address_len = usize::from(self.family.bits() / 8);
        let rrsig_len = if rrsig.is_empty() { 0 } else { RECORD_HEAD_LEN + rrsig.len() };
        let addresses_len = count * (RECORD_HEAD_LEN + address_len);
        let len = self.head.len() + addresses_len + rrsig_len + OPT_LEN + self.subnet.len();
        if len > limit {
            return None;
        }
        let (head, mut rest) = out.get_mut(..len)?.split_at_mut_checked(self.head.len())?;
        head.copy_from_slice(self.head);
        if let Some([_, _, flags, low_flags, _, _, _, answers, ..]) = head.first_chunk_mut::<HEADER_LEN>() {
            // QR and AA; RD stays; no error.
            (*flags, *low_flags) = (*flags | 0x84, 0);
            *answers = count as u8 + u8::from(rrsig_len > 0);
        }
        let [x0, x1, x2, x3] = ttl_s.to_be_bytes();
        for _ in 0..count {
            let (record, address);
            (record, rest) = rest.split_first_chunk_mut::<RECORD_HEAD_LEN>()?;
            (address, rest) = rest.split_at_mut_checked(address_len)?;
            let rtype = if address_len == 4 { Rtype::A } else { Rtype::AAAA }.0 as u8;
            *record = [0xc0, HEADER_LEN as u8, 0, rtype, 0, 1, x0, x1, x2, x3, 0, address_len as u8];
            match addresses.next()? {
                IpAddr::V4(v4) => address.first_chunk_mut().map(|place| *place = v4.octets())?,
                IpAddr::V6(v6) => address.first_chunk_mut().map(|place| *place = v6.octets())?,
            }
        }
        if rrsig_len > 0 {
            let (record, data);
            (record, rest) = rest.split_first_chunk_mut::<RECORD_HEAD_LEN>()?;
            (data, rest) = rest.split_at_mut_checked(rrsig.len())?;
            let ([t0, t1], [l0, l1]) = (Rtype::RRSIG.0.to_be_bytes(), (rrsig.len() as u16).to_be_bytes());
            *record = [0xc0, HEADER_LEN as u8, t0, t1, 0, 1, x0, x1, x2, x3, l0, l1];
            data.copy_from_slice(rrsig);
        }
        let (opt, subnet) = rest.split_first_chunk_mut::<OPT_LEN>()?;
        let [s0, s1] = UDP_SIZE.to_be_bytes();
        *opt = [0, 0, 41, s0, s1, 0, 0, self.dnssec_ok, 0, 0, self.subnet.len() as u8];
        subnet.copy_from_slice(self.subnet);
        *subnet.get_mut(SUBNET_HEAD_LEN - 1)? = scope_len;
        Some(len)
    }
}
