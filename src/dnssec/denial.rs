//! What is not there: one NSEC record that says it of one name (RFC 9824).
//!
//! The record begins at the name that was asked for and ends right after it, so that it says nothing of
//! any other name and needs no chain. A name that does not exist is said to exist with the mark NXNAME
//! only. Layer 3.

use crate::wire::{LABEL_LEN_MAX, NAME_LEN_MAX, Rtype, labels, parent};

/// Types of a name, in order and each once.
#[derive(Debug, Clone, Default)]
pub struct Types(Vec<Rtype>);

impl Types {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds one.
    pub fn add(&mut self, rtype: Rtype) {
        if let Err(at) = self.0.binary_search(&rtype) {
            self.0.insert(at, rtype);
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, rtype: Rtype) {
        self.0.retain(|other| *other != rtype);
    }

    /// Appends them as windows of bits (RFC 4034 section 4.1.2).
    fn write(&self, out: &mut Vec<u8>) {
        let mut rest = &self.0[..];
        while let Some(first) = rest.first() {
            let window = (first.0 >> 8) as u8;
            let count = rest.iter().take_while(|rtype| (rtype.0 >> 8) as u8 == window).count();
            let (here, after) = rest.split_at(count);
            let mut bits = [0_u8; 32];
            let mut len = 0;
            for rtype in here {
                let low = usize::from(rtype.0 & 0xff);
                bits[low / 8] |= 0x80 >> (low % 8);
                len = low / 8 + 1;
            }
            out.extend_from_slice(&[window, len as u8]);
            out.extend_from_slice(&bits[..len]);
            rest = after;
        }
    }
}

/// Writes record data of the NSEC at `name` into `out`: the next name, and `types`.
pub fn nsec(name: &[u8], types: &Types, out: &mut Vec<u8>) {
    out.clear();
    successor(name, out);
    types.write(out);
}

/// Appends the name right after `name` in canonical order (RFC 4471 section 3.1.2): a label of one zero
/// octet before it. A name that is too long for that gets a zero octet at the end of its first label, or
/// that label counted up, and what cannot be counted up is left out.
pub fn successor(name: &[u8], out: &mut Vec<u8>) {
    if name.len() + 2 <= NAME_LEN_MAX {
        out.extend_from_slice(&[1, 0]);
        out.extend_from_slice(name);
        return;
    }
    let mut rest = name;
    while let (Some(label), Some(above)) = (labels(rest).next(), parent(rest)) {
        if rest.len() == name.len() && label.len() < LABEL_LEN_MAX && name.len() < NAME_LEN_MAX {
            out.push(label.len() as u8 + 1);
            out.extend_from_slice(label);
            out.push(0);
            out.extend_from_slice(above);
            return;
        }
        if let Some(at) = label.iter().rposition(|octet| *octet != 0xff) {
            out.push(at as u8 + 1);
            out.extend_from_slice(&label[..at]);
            // Capitals do not exist in canonical names.
            out.push(if label[at] == b'A' - 1 { b'Z' + 1 } else { label[at] + 1 });
            out.extend_from_slice(above);
            return;
        }
        rest = above;
    }
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;

    #[test]
    fn rfc4034_s4_3_types_of_the_example() {
        let mut types = Types::default();
        let written = [Rtype(1234), Rtype::NSEC, Rtype::MX, Rtype::A, Rtype::A, Rtype::RRSIG, Rtype::TXT];
        written.into_iter().for_each(|rtype| types.add(rtype));
        types.remove(Rtype::TXT);
        let mut out = Vec::new();
        types.write(&mut out);
        let mut expected = vec![0, 6, 0x40, 0x01, 0, 0, 0, 3, 4, 27];
        expected.extend([0; 26]);
        expected.push(0x20);
        assert_eq!(out, expected);
    }

    #[test]
    fn rfc9824_the_mark_of_a_name_that_does_not_exist() {
        let mut types = Types::default();
        [Rtype::NXNAME, Rtype::NSEC, Rtype::RRSIG].into_iter().for_each(|rtype| types.add(rtype));
        let name: Name = "a.example".parse().expect("a name");
        let mut out = vec![9];
        nsec(name.as_wire(), &types, &mut out);
        let mut expected = b"\x01\x00\x01a\x07example\x00".to_vec();
        expected.extend([0, 17, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80]);
        assert_eq!(out, expected);
    }

    /// Canonical order (RFC 4034 section 6.1).
    fn order(name: &[u8]) -> Vec<Vec<u8>> {
        let mut labels: Vec<Vec<u8>> = labels(name).map(<[u8]>::to_vec).collect();
        labels.reverse();
        labels
    }

    #[test]
    fn the_next_name_comes_after_even_the_longest() {
        let long = |first: usize, octet: u8| {
            let mut name = vec![first as u8];
            name.extend(vec![octet; first]);
            for len in [63, 63, 63] {
                name.push(len);
                name.extend(vec![b'a'; usize::from(len)]);
            }
            name.push(0);
            name
        };
        for name in [long(59, b'a'), long(60, b'a'), long(61, b'a'), long(61, b'@'), long(61, 0xff)] {
            let mut next = Vec::new();
            successor(&name, &mut next);
            assert!(next.len() <= NAME_LEN_MAX, "{}", name.len());
            assert_eq!(labels(&next).map(|label| label.len() + 1).sum::<usize>() + 1, next.len());
            assert!(order(&next) > order(&name), "{name:?} {next:?}");
            assert_eq!(next, next.to_ascii_lowercase());
        }
    }
}
