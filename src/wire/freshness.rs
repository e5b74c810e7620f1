//! How long a reply may be kept, read from its octets. Layer 1.

use super::{HEADER_LEN, Rtype};

/// Seconds that `reply` may be kept: the lowest TTL of its answer, and for a negative one the lower of its
/// SOA's TTL and minimum (RFC 8484 section 5.1, RFC 2308 section 5). `None`: not at all, as for an error, a
/// referral, and what is no reply.
pub fn freshness_s(reply: &[u8]) -> Option<u32> {
    let (&[_, _, _, low_flags, q0, q1, a0, a1, n0, n1, ..], mut rest) =
        reply.split_first_chunk::<HEADER_LEN>()?;
    // NOERROR and NXDOMAIN.
    if !matches!(low_flags & 0x0f, 0 | 3) {
        return None;
    }
    let number = |high, low| u16::from_be_bytes([high, low]);
    for _ in 0..number(q0, q1) {
        rest = behind_name(rest)?.get(4..)?;
    }
    let mut lowest = None;
    for _ in 0..number(a0, a1) {
        let record;
        (record, rest) = Record::read(rest)?;
        lowest = Some(lowest.map_or(record.ttl_s, |lowest: u32| lowest.min(record.ttl_s)));
    }
    if lowest.is_some() {
        return lowest;
    }
    for _ in 0..number(n0, n1) {
        let record;
        (record, rest) = Record::read(rest)?;
        if record.rtype == Rtype::SOA {
            let minimum = record.data.last_chunk().map(|octets| u32::from_be_bytes(*octets))?;
            return Some(record.ttl_s.min(minimum));
        }
    }
    None
}

/// A record, as far as it matters.
struct Record<'a> {
    rtype: Rtype,
    ttl_s: u32,
    data: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first record, and what follows it.
    fn read(octets: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&[t0, t1, _, _, x0, x1, x2, x3, l0, l1], rest) = behind_name(octets)?.split_first_chunk()?;
        let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        let (rtype, ttl_s) = (Rtype(u16::from_be_bytes([t0, t1])), u32::from_be_bytes([x0, x1, x2, x3]));
        Some((Self { rtype, ttl_s, data }, rest))
    }
}

/// What follows a name, compressed or not.
fn behind_name(mut octets: &[u8]) -> Option<&[u8]> {
    loop {
        let (&len, rest) = octets.split_first()?;
        match len {
            0 => return Some(rest),
            0xc0.. => return rest.get(1..),
            _ => octets = rest.get(usize::from(len)..)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply of `rcode` to `a.b` with records of section, type, TTL and data.
    fn reply(rcode: u8, records: &[(usize, u16, u32, &[u8])]) -> Vec<u8> {
        let count = |section| records.iter().filter(|record| record.0 == section).count() as u8;
        let mut octets = vec![0, 1, 0x84, rcode, 0, 1, 0, count(0), 0, count(1), 0, count(2)];
        octets.extend_from_slice(b"\x01a\x01b\x00\x00\x01\x00\x01");
        for (_, rtype, ttl_s, data) in records {
            octets.extend_from_slice(&[0xc0, 12]);
            octets.extend_from_slice(&rtype.to_be_bytes());
            octets.extend_from_slice(&[0, 1]);
            octets.extend_from_slice(&ttl_s.to_be_bytes());
            octets.extend_from_slice(&(data.len() as u16).to_be_bytes());
            octets.extend_from_slice(data);
        }
        octets
    }

    #[test]
    fn rfc8484_s5_1_the_lowest_ttl_counts() {
        let soa = [&b"\x00\x00"[..], &[0; 16], &[0, 0, 0, 9]].concat();
        let (a, ns) = (&[192, 0, 2, 1][..], &b"\x00"[..]);
        for (octets, expected) in [
            (reply(0, &[(0, 1, 30, a), (0, 1, 20, a), (1, 2, 5, ns), (2, 41, 0, &[])]), Some(20)),
            (reply(0, &[(1, 6, 30, &soa)]), Some(9)),
            (reply(3, &[(1, 6, 5, &soa), (2, 41, 0, &[])]), Some(5)),
            (reply(0, &[(1, 2, 30, ns)]), None),
            (reply(0, &[]), None),
            (reply(2, &[(0, 1, 30, a)]), None),
        ] {
            assert_eq!(freshness_s(&octets), expected, "{octets:?}");
            for len in 0..octets.len() {
                // Cut anywhere, it is no reply or a shorter one.
                let _ = freshness_s(&octets[..len]);
            }
        }
    }
}
