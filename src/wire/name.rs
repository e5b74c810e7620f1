//! Domain names in wire form: labels with their lengths, ended by the root label.
//!
//! Canonical means lower-case ASCII letters (RFC 4343): two canonical names are equal when their
//! bytes are. A length octet is at most 63 and so never looks like a letter, which lets a whole
//! name be lowered and compared as bytes. Layer 1.

use super::{LABEL_LEN_MAX, NAME_LEN_MAX};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// A canonical name, owned. Orders and hashes as its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Why a text or some octets are no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or two dots in a row, or a leading dot.
    #[error("a label is empty")]
    EmptyLabel,
    /// A label above 63 octets.
    #[error("a label is longer than 63 octets")]
    LabelTooLong,
    /// A name above 255 octets.
    #[error("the name is longer than 255 octets")]
    NameTooLong,
    /// A backslash without a character or three digits up to 255 after it.
    #[error("a backslash is not followed by a character or three digits")]
    Escape,
    /// Octets that are no uncompressed name, or that go on after it.
    #[error("not one uncompressed name")]
    Wire,
}

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Takes one uncompressed name in wire form, in any case.
    ///
    /// # Errors
    /// [`NameError::Wire`] when `octets` is not exactly one name.
    pub fn of_wire(octets: &[u8]) -> Result<Self, NameError> {
        match wire_len(octets) {
            Some(len) if len == octets.len() => Ok(Self(octets.to_ascii_lowercase().into_boxed_slice())),
            _ => Err(NameError::Wire),
        }
    }

    /// The octets, the root label included.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// Labels from the left, the root label excluded.
    pub fn labels(&self) -> Labels<'_> {
        labels(&self.0)
    }

    /// Whether this is `other` or lies below it.
    pub fn is_subdomain_of(&self, other: &Self) -> bool {
        is_subdomain(&self.0, &other.0)
    }

    /// Whether the leftmost label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// The name without its leftmost label; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        parent(&self.0).map(|rest| Self(rest.into()))
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// Reads presentation form (RFC 1035 section 5.1): `\.` and `\DDD` escapes; with or without the
    /// final dot the name is absolute; letters are lowered.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self::root());
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut label = Vec::with_capacity(LABEL_LEN_MAX);
        let mut rest = text.as_bytes().iter().copied();
        while let Some(octet) = rest.next() {
            match octet {
                b'.' => push_label(&mut wire, &mut label)?,
                b'\\' => label.push(unescape(&mut rest)?),
                octet => label.push(octet.to_ascii_lowercase()),
            }
        }
        if !label.is_empty() || wire.is_empty() {
            push_label(&mut wire, &mut label)?;
        }
        wire.push(0);
        if wire.len() > NAME_LEN_MAX { Err(NameError::NameTooLong) } else { Ok(Self(wire.into())) }
    }
}

/// Moves a finished `label` behind `wire`, its length first.
fn push_label(wire: &mut Vec<u8>, label: &mut Vec<u8>) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel);
    }
    let len = u8::try_from(label.len()).ok().filter(|len| usize::from(*len) <= LABEL_LEN_MAX);
    wire.push(len.ok_or(NameError::LabelTooLong)?);
    wire.append(label);
    Ok(())
}

/// The octet that an escape stands for, lowered; the backslash is already taken.
fn unescape(rest: &mut impl Iterator<Item = u8>) -> Result<u8, NameError> {
    let first = rest.next().ok_or(NameError::Escape)?;
    if !first.is_ascii_digit() {
        return Ok(first.to_ascii_lowercase());
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = rest.next().filter(u8::is_ascii_digit).ok_or(NameError::Escape)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).map(|octet| octet.to_ascii_lowercase()).map_err(|_| NameError::Escape)
}

impl fmt::Display for Name {
    /// Presentation form without the final dot; the root is `.`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= 1 {
            return out.write_str(".");
        }
        for (index, label) in self.labels().enumerate() {
            if index > 0 {
                out.write_str(".")?;
            }
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                        write!(out, "\\{}", char::from(octet))?;
                    }
                    0x21..=0x7e => write!(out, "{}", char::from(octet))?,
                    _ => write!(out, "\\{octet:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Name({self})")
    }
}

/// Labels of a name in wire form, from the left, without the root label.
#[derive(Debug, Clone)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

/// Labels of `wire`; stops at the root label or at anything that is no label.
pub fn labels(wire: &[u8]) -> Labels<'_> {
    Labels { rest: wire }
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&len, rest) = self.rest.split_first()?;
        if len == 0 || usize::from(len) > LABEL_LEN_MAX {
            return None;
        }
        let (label, rest) = rest.split_at_checked(usize::from(len))?;
        self.rest = rest;
        Some(label)
    }
}

/// `wire` without its leftmost label; `None` for the root.
pub fn parent(wire: &[u8]) -> Option<&[u8]> {
    let (&len, rest) = wire.split_first()?;
    if len == 0 { None } else { rest.get(usize::from(len)..) }
}

/// Whether `wire` is `of` or lies below it; both canonical.
pub fn is_subdomain(wire: &[u8], of: &[u8]) -> bool {
    let mut rest = wire;
    while rest.len() > of.len() {
        match parent(rest) {
            Some(shorter) => rest = shorter,
            None => return false,
        }
    }
    rest == of
}

/// Octets of the uncompressed name that `octets` starts with, root label included; `None` when it
/// is cut, longer than 255 octets, compressed, or of another label type.
pub(crate) fn wire_len(octets: &[u8]) -> Option<usize> {
    let mut at = 0usize;
    loop {
        let len = usize::from(*octets.get(at)?);
        if len > LABEL_LEN_MAX {
            return None;
        }
        at += len + 1;
        if at > NAME_LEN_MAX {
            return None;
        }
        if len == 0 {
            return Some(at);
        }
    }
}

/// Eight octets with their ASCII capitals lowered, all at once.
#[inline]
fn lowered(word: u64) -> u64 {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = EACH * 0x80;
    let low_bits = word & !HIGH;
    // The high bit of an octet: at least `A`, above `Z`. Neither sum carries into the next octet.
    let from_a = low_bits + EACH * (0x80 - b'A' as u64);
    let above_z = low_bits + EACH * (0x7f - b'Z' as u64);
    let is_capital = from_a & !above_z & !word & HIGH;
    // 0x80 >> 2 is the bit that tells the cases apart.
    word | is_capital >> 2
}

/// Room for one canonical name, so that a worker lowers names without allocating.
#[derive(Debug, Clone)]
pub struct NameBuf {
    /// One more than a name has, so that it is whole words.
    octets: [u8; NAME_LEN_MAX + 1],
    len: usize,
}

impl Default for NameBuf {
    fn default() -> Self {
        Self { octets: [0; NAME_LEN_MAX + 1], len: 1 }
    }
}

impl NameBuf {
    /// Keeps `name` (wire form, at most 255 octets; what is beyond is cut), lowered.
    #[inline]
    pub fn set(&mut self, name: &[u8]) {
        let name = name.get(..NAME_LEN_MAX).unwrap_or(name);
        let mut words = name.chunks_exact(8);
        let mut room = self.octets.chunks_exact_mut(8);
        for (from, to) in words.by_ref().zip(room.by_ref()) {
            let word = from.try_into().map(u64::from_ne_bytes).unwrap_or_default();
            to.copy_from_slice(&lowered(word).to_ne_bytes());
        }
        if let Some(to) = room.next() {
            for (to, from) in to.iter_mut().zip(words.remainder()) {
                *to = from.to_ascii_lowercase();
            }
        }
        self.len = name.len();
    }

    /// Keeps the name of `len` octets (at most 255) that `octets` begin with, lowered. Where more octets
    /// follow, it is lowered by whole words.
    #[inline]
    pub fn set_within(&mut self, octets: &[u8], len: usize) {
        let (Some(from), Some(to)) =
            (octets.get(..len.next_multiple_of(8)), self.octets.get_mut(..len.next_multiple_of(8)))
        else {
            return self.set(octets.get(..len).unwrap_or(octets));
        };
        for (from, to) in from.as_chunks::<8>().0.iter().zip(to.as_chunks_mut::<8>().0) {
            *to = lowered(u64::from_ne_bytes(*from)).to_ne_bytes();
        }
        self.len = len;
    }

    /// Keeps the host name `text` (no escapes; final dot optional), lowered. Says whether it is a
    /// name; when not, nothing is kept.
    pub fn set_host(&mut self, text: &str) -> bool {
        self.len = 0;
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut at = 0usize;
        for label in text.split('.') {
            let end = at + 1 + label.len();
            let Some([len, octets @ ..]) = self.octets.get_mut(at..end) else { return false };
            if label.is_empty() || label.len() > LABEL_LEN_MAX {
                return false;
            }
            *len = label.len() as u8;
            octets.copy_from_slice(label.as_bytes());
            octets.make_ascii_lowercase();
            at = end;
        }
        let Some(root) = self.octets.get_mut(at).filter(|_| at < NAME_LEN_MAX) else { return false };
        *root = 0;
        self.len = at + 1;
        true
    }

    /// The canonical octets.
    pub fn as_wire(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text in, canonical text out.
    fn check(text: &str, expected: Result<&str, NameError>) {
        let found = text.parse::<Name>().map(|n| n.to_string());
        assert_eq!(found, expected.map(str::to_owned), "{text:?}");
    }

    #[test]
    fn rfc1035_s5_1_names_are_read_and_printed() {
        check("Video.CDN.Example", Ok("video.cdn.example"));
        check("video.cdn.example.", Ok("video.cdn.example"));
        check(".", Ok("."));
        check("*.live.example", Ok("*.live.example"));
        check("a\\.b.example", Ok("a\\.b.example"));
        check("a\\065b.example", Ok("aab.example"));
        check("\\000.example", Ok("\\000.example"));
        check("a\\ b", Ok("a\\032b"));
        check("", Err(NameError::EmptyLabel));
        check("a..b", Err(NameError::EmptyLabel));
        check(".a", Err(NameError::EmptyLabel));
        check("a..", Err(NameError::EmptyLabel));
        check("a\\", Err(NameError::Escape));
        check("a\\25", Err(NameError::Escape));
        check("a\\256", Err(NameError::Escape));
    }

    #[test]
    fn rfc1035_s2_3_4_lengths_are_limits() {
        let label = "x".repeat(63);
        check(&label, Ok(&label));
        check(&"x".repeat(64), Err(NameError::LabelTooLong));
        let longest = format!("{label}.{label}.{label}.{}", "x".repeat(61));
        assert_eq!(longest.parse::<Name>().expect("255 octets").as_wire().len(), 255);
        check(&format!("{label}.{label}.{label}.{}", "x".repeat(62)), Err(NameError::NameTooLong));
    }

    #[test]
    fn hosts_are_kept_without_allocation_as_names_are_read() {
        let mut buf = NameBuf::default();
        let long = format!("{0}.{0}.{0}.{1}", "x".repeat(63), "y".repeat(61));
        for text in ["Video.CDN.example", "a.", "x", &long] {
            assert!(buf.set_host(text), "{text}");
            assert_eq!(buf.as_wire(), text.parse::<Name>().expect("a name").as_wire());
        }
        for text in ["", ".", "a..b", &"x".repeat(64), &format!("{long}y"), &format!("{long}.z")] {
            assert!(!buf.set_host(text), "{text}");
            assert!(buf.as_wire().is_empty());
        }
    }

    #[test]
    fn every_octet_is_lowered_as_ascii_is() {
        for len in 0..=NAME_LEN_MAX {
            let name: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
            let mut buf = NameBuf::default();
            buf.set(&name);
            assert_eq!(buf.as_wire(), name.to_ascii_lowercase());
        }
        let mut buf = NameBuf::default();
        buf.set(&[b'X'; 300]);
        assert_eq!(buf.as_wire(), [b'x'; NAME_LEN_MAX], "cut");
    }

    #[test]
    fn a_subdomain_ends_at_a_label() {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        for (below, above, expected) in [
            ("a.b", "b", true),
            ("b", "b", true),
            ("ab", "b", false),
            ("a.b", ".", true),
            (".", "b", false),
            ("b", "a.b", false),
            ("x.cdn.example", "dn.example", false),
        ] {
            assert_eq!(name(below).is_subdomain_of(&name(above)), expected, "{below} {above}");
        }
        assert_eq!(name("a.b").parent(), Some(name("b")));
        assert_eq!(name("b").parent(), Some(Name::root()));
        assert_eq!(Name::root().parent(), None);
    }

    #[test]
    fn wire_names_must_be_whole_and_uncompressed() {
        assert_eq!(Name::of_wire(b"\x01A\x00"), "a".parse());
        for bad in [&b""[..], b"\x01", b"\x01a", b"\xc0\x0c", b"\x01a\x00\x00", b"\x40", b"\x80a\x00"] {
            assert_eq!(Name::of_wire(bad), Err(NameError::Wire), "{bad:02x?}");
        }
    }
}
