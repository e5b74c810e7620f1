//! The binary form of a table: checked end to end, and quick to load.
//!
//! All numbers are little-endian.
//!
//! | octets | what |
//! |---|---|
//! | 0..8 | magic `STEERDTB` |
//! | 8..12 | version, 1 |
//! | 12..16 | number of sections, 4 |
//! | 16..112 | directory: for each section kind u32, CRC-32 u32, offset u64, length u64 |
//! | 112.. | sections in the order of the directory, end to end |
//! | last 32 | SHA-256 of all before |
//!
//! Section 1 is the canonical text of the first line and the fleet. Section 2 is the sets of
//! candidates: count u32, end of each u32, then candidates as five u32 (cluster, local_pref,
//! as_path_len, origin, med). Sections 3 and 4 are IPv4 and IPv6 routes: count u32, then columns of
//! first addresses (4 or 16 octets), lengths (1) and sets (u32). Sets are numbered by first use, so
//! that equal tables have equal artefacts. [`read`] trusts nothing: lengths, order, host bits, ids
//! and the fleet's text are all checked, as if no digest stood at the end. Layer 3.

use super::Table;
use super::read::{read_full, read_header};
use super::routes::{Candidate, Origin, RouteSet, Routes, ViaId, ViaPool};
use crate::fleet::ClusterId;
use crate::prefix::Bits;
use crate::problem::Problem;
use crate::units::Epoch;
use std::io::{self, Write};
use std::sync::Arc;

/// First octets of every artefact.
pub const MAGIC: [u8; 8] = *b"STEERDTB";
/// The version this reads and writes.
const VERSION: u32 = 1;
/// Section kinds, in order: fleet, candidates, IPv4, IPv6.
const SECTIONS: [&str; 4] = ["fleet", "candidates", "v4", "v6"];
/// Octets of one directory entry.
const ENTRY_LEN: usize = 24;
/// Octets before the first section.
const HEAD_LEN: usize = 16 + ENTRY_LEN * SECTIONS.len();
/// Octets of the digest at the end.
pub const DIGEST_LEN: usize = 32;
/// Octets of one candidate.
const CANDIDATE_LEN: usize = 20;
/// Items that are written at a time.
const ITEMS_AT_A_TIME: usize = 1 << 12;

/// Why bytes are no artefact that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtefactError {
    /// The magic is missing.
    #[error("not a table artefact")]
    Magic,
    /// Written by another version.
    #[error("artefact version {0}, this program reads version 1")]
    Version(u32),
    /// Shorter than it says.
    #[error("the artefact is cut short")]
    Short,
    /// The digest at the end does not fit.
    #[error("the artefact is damaged: its digest does not fit")]
    Digest,
    /// A section is not what it should be.
    #[error("the artefact is damaged: section {section}, {what}")]
    Section {
        /// Which one.
        section: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The fleet's lines do not validate.
    #[error("the artefact's fleet has {} problems", .0.len())]
    Fleet(Vec<Problem>),
}

/// Whether `bytes` begin as an artefact does.
pub fn is_artefact(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The artefact of `table`.
pub fn write(table: &Table) -> Vec<u8> {
    let mut out = Vec::new();
    write_to(table, &mut out).unwrap_or_else(|_| unreachable!("a vector takes everything"));
    out
}

/// Writes the artefact of `table`, little by little; the digest at its end comes back.
///
/// Sections are made twice: their lengths and checksums stand before them.
///
/// # Errors
/// Those of `out`.
pub fn write_to(table: &Table, out: &mut impl Write) -> io::Result<[u8; DIGEST_LEN]> {
    let sections = Sections::of(table);
    let mut head = Vec::with_capacity(HEAD_LEN);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&(SECTIONS.len() as u32).to_le_bytes());
    let mut offset = HEAD_LEN as u64;
    for kind in 1..=SECTIONS.len() as u32 {
        let mut measured = Measured::default();
        sections.write(kind, &mut measured)?;
        head.extend_from_slice(&kind.to_le_bytes());
        head.extend_from_slice(&measured.crc.finalize().to_le_bytes());
        head.extend_from_slice(&offset.to_le_bytes());
        head.extend_from_slice(&measured.len.to_le_bytes());
        offset += measured.len;
    }
    let mut out = Hashed { out, hash: ring::digest::Context::new(&ring::digest::SHA256) };
    out.write_all(&head)?;
    for kind in 1..=SECTIONS.len() as u32 {
        sections.write(kind, &mut out)?;
    }
    let digest = out.hash.finish();
    out.out.write_all(digest.as_ref())?;
    Ok(digest.as_ref().try_into().expect("SHA-256 has 32 octets"))
}

/// How long something is, and its CRC-32.
#[derive(Default)]
struct Measured {
    len: u64,
    crc: crc32fast::Hasher,
}

impl Write for Measured {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.len += octets.len() as u64;
        self.crc.update(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is written on, and hashed.
struct Hashed<'a, W> {
    out: &'a mut W,
    hash: ring::digest::Context,
}

impl<W: Write> Write for Hashed<'_, W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let len = self.out.write(octets)?;
        self.hash.update(&octets[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The four sections of a table.
struct Sections<'a> {
    fleet: String,
    routes: &'a Routes,
    /// Sets of candidates by first use.
    vias: Vec<ViaId>,
    /// Their numbers, by id; `u32::MAX`: not used.
    numbers: Vec<u32>,
}

impl<'a> Sections<'a> {
    /// Those of `table`.
    fn of(table: &'a Table) -> Self {
        let routes = table.routes();
        let (mut vias, mut numbers) = (Vec::new(), vec![u32::MAX; routes.vias.len()]);
        for &via in routes.v4.columns().2.iter().chain(routes.v6.columns().2) {
            let number = &mut numbers[via.index()];
            if *number == u32::MAX {
                *number = vias.len() as u32;
                vias.push(via);
            }
        }
        Self { fleet: table.fleet_text(), routes, vias, numbers }
    }

    /// Writes the section of this kind.
    fn write(&self, kind: u32, out: &mut impl Write) -> io::Result<()> {
        match kind {
            1 => out.write_all(self.fleet.as_bytes()),
            2 => self.write_vias(out),
            3 => self.write_routes(&self.routes.v4, out),
            _ => self.write_routes(&self.routes.v6, out),
        }
    }

    /// The sets of candidates.
    fn write_vias(&self, out: &mut impl Write) -> io::Result<()> {
        let pool = &self.routes.vias;
        out.write_all(&(self.vias.len() as u32).to_le_bytes())?;
        let mut end = 0u32;
        put(&self.vias, out, |&id, piece| {
            end += pool.get(id).len() as u32;
            piece.extend_from_slice(&end.to_le_bytes());
        })?;
        put(&self.vias, out, |&id, piece| {
            for candidate in pool.get(id) {
                let Candidate { cluster, local_pref, as_path_len, origin, med } = *candidate;
                for number in [cluster.index() as u32, local_pref, as_path_len, origin as u32, med] {
                    piece.extend_from_slice(&number.to_le_bytes());
                }
            }
        })
    }

    /// The columns of one family.
    fn write_routes<B: Bits>(&self, set: &RouteSet<B>, out: &mut impl Write) -> io::Result<()> {
        let (firsts, lens, vias) = set.columns();
        let width = usize::from(B::LEN / 8);
        out.write_all(&(firsts.len() as u32).to_le_bytes())?;
        put(firsts, out, |first, piece| piece.extend_from_slice(&first.widen().to_le_bytes()[..width]))?;
        out.write_all(lens)?;
        put(vias, out, |via, piece| piece.extend_from_slice(&self.numbers[via.index()].to_le_bytes()))
    }
}

/// Writes `items`, as `octets` has each, in pieces that need no buffer.
fn put<T>(items: &[T], out: &mut impl Write, mut octets: impl FnMut(&T, &mut Vec<u8>)) -> io::Result<()> {
    let mut piece = Vec::new();
    for some in items.chunks(ITEMS_AT_A_TIME) {
        some.iter().for_each(|item| octets(item, &mut piece));
        out.write_all(&piece)?;
        piece.clear();
    }
    Ok(())
}

/// Reads an artefact.
///
/// # Errors
/// [`ArtefactError`].
pub fn read(bytes: &[u8]) -> Result<Table, ArtefactError> {
    let [fleet, vias, v4, v6] = read_sections(bytes)?;
    let read = read_full(fleet.rest).map_err(ArtefactError::Fleet)?.table;
    if !read.routes().is_empty() {
        return Err(fleet.fault("a route among its lines"));
    }
    let vias = read_vias(vias, read.fleet().clusters().len())?;
    let routes = Routes { v4: read_routes(v4, vias.len())?, v6: read_routes(v6, vias.len())?, vias };
    Ok(Table::new(read.epoch(), read.source(), read.fleet().clone(), Arc::new(routes)))
}

/// Checks that `bytes` are whole and reads only the table's epoch.
///
/// # Errors
/// [`ArtefactError`].
pub fn read_epoch(bytes: &[u8]) -> Result<Epoch, ArtefactError> {
    let [fleet, ..] = read_sections(bytes)?;
    read_header(fleet.rest).map(|header| header.epoch).map_err(ArtefactError::Fleet)
}

/// Octets at the beginning of an artefact that [`peek_epoch`] needs.
pub const PEEK_LEN: usize = HEAD_LEN + (1 << 12);

/// Reads the epoch off the beginning of an artefact, unchecked: good for a list of what there is.
///
/// # Errors
/// [`ArtefactError`] when it does not begin as an artefact does.
pub fn peek_epoch(beginning: &[u8]) -> Result<Epoch, ArtefactError> {
    if !is_artefact(beginning) {
        return Err(ArtefactError::Magic);
    }
    let lines = beginning.get(HEAD_LEN..).ok_or(ArtefactError::Short)?;
    let first = lines.split_inclusive(|octet| *octet == b'\n').next().unwrap_or_default();
    read_header(first).map(|header| header.epoch).map_err(ArtefactError::Fleet)
}

/// The digest at the end of an artefact; zeroes when there is none.
pub fn digest_of(bytes: &[u8]) -> [u8; DIGEST_LEN] {
    bytes.last_chunk().copied().unwrap_or_default()
}

/// Checks magic, version and digest, and finds the sections.
fn read_sections(bytes: &[u8]) -> Result<[Cursor<'_>; 4], ArtefactError> {
    if !is_artefact(bytes) {
        return Err(ArtefactError::Magic);
    }
    let mut head = Cursor { section: "head", rest: &bytes[MAGIC.len()..] };
    let version = head.u32().map_err(|_| ArtefactError::Short)?;
    if version != VERSION {
        return Err(ArtefactError::Version(version));
    }
    if bytes.len() < HEAD_LEN + DIGEST_LEN {
        return Err(ArtefactError::Short);
    }
    let (body, digest) = bytes.split_at(bytes.len() - DIGEST_LEN);
    if ring::digest::digest(&ring::digest::SHA256, body).as_ref() != digest {
        return Err(ArtefactError::Digest);
    }
    read_directory(head, body)
}

/// Bytes of one section that are not read yet.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    section: &'static str,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The error that says `what` is wrong here.
    fn fault(&self, what: &'static str) -> ArtefactError {
        ArtefactError::Section { section: self.section, what }
    }

    /// The next `count` items of `width` octets.
    fn take(&mut self, count: usize, width: usize) -> Result<&'a [u8], ArtefactError> {
        let taken = count.checked_mul(width).and_then(|len| self.rest.split_at_checked(len));
        let (taken, rest) = taken.ok_or_else(|| self.fault("shorter than it says"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next number.
    fn u32(&mut self) -> Result<u32, ArtefactError> {
        self.take(1, 4).map(le_u32)
    }

    /// The next number.
    fn u64(&mut self) -> Result<u64, ArtefactError> {
        let low = u64::from(self.u32()?);
        Ok(low | u64::from(self.u32()?) << 32)
    }

    /// Ends the section.
    fn finish(self) -> Result<(), ArtefactError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.fault("longer than it says")) }
    }
}

/// A number of up to 16 octets.
fn le(octets: &[u8]) -> u128 {
    octets.iter().rev().fold(0, |number, octet| number << 8 | u128::from(*octet))
}

/// A number of four octets; shorter is padded.
fn le_u32(octets: &[u8]) -> u32 {
    octets.try_into().map_or_else(|_| le(octets) as u32, u32::from_le_bytes)
}

/// Checks that the directory names the four sections end to end, each with its CRC.
fn read_directory<'a>(mut head: Cursor<'a>, body: &'a [u8]) -> Result<[Cursor<'a>; 4], ArtefactError> {
    if head.u32()? as usize != SECTIONS.len() {
        return Err(head.fault("another number of sections"));
    }
    let mut sections = [Cursor { section: "", rest: &[] }; SECTIONS.len()];
    let mut rest = &body[HEAD_LEN..];
    for (index, (slot, section)) in sections.iter_mut().zip(SECTIONS).enumerate() {
        let (kind, crc) = (head.u32()?, head.u32()?);
        let (offset, len) = (head.u64()?, head.u64()?);
        let here = (body.len() - rest.len()) as u64;
        let split = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len));
        let cursor = Cursor { section, rest: split.map_or(&[], |(taken, _)| taken) };
        let Some((taken, after)) = split.filter(|_| kind as usize == index + 1 && offset == here) else {
            return Err(cursor.fault("not where it should be"));
        };
        if crc32fast::hash(taken) != crc {
            return Err(cursor.fault("its CRC does not fit"));
        }
        *slot = cursor;
        rest = after;
    }
    if !rest.is_empty() {
        return Err(head.fault("octets after the last section"));
    }
    Ok(sections)
}

/// Reads the sets of candidates; each is sorted by cluster and none appears twice.
fn read_vias(mut cursor: Cursor<'_>, clusters: usize) -> Result<ViaPool, ArtefactError> {
    let count = cursor.u32()? as usize;
    let ends = cursor.take(count, 4)?;
    let mut pool = ViaPool::default();
    let mut start = 0;
    let mut scratch: Vec<Candidate> = Vec::new();
    for end in ends.chunks_exact(4).map(le_u32) {
        let len =
            end.checked_sub(start).filter(|&len| len > 0).ok_or_else(|| cursor.fault("an empty set"))?;
        start = end;
        scratch.clear();
        for candidate in cursor.take(len as usize, CANDIDATE_LEN)?.chunks_exact(CANDIDATE_LEN) {
            let number = |at: usize| le_u32(&candidate[at * 4..at * 4 + 4]);
            let origin = match number(3) {
                0 => Origin::Igp,
                1 => Origin::Egp,
                2 => Origin::Incomplete,
                _ => return Err(cursor.fault("an unknown origin")),
            };
            if number(0) as usize >= clusters {
                return Err(cursor.fault("a cluster that is none"));
            }
            let cluster = ClusterId::at(number(0) as usize);
            scratch.push(Candidate {
                cluster,
                local_pref: number(1),
                as_path_len: number(2),
                origin,
                med: number(4),
            });
        }
        if !scratch.is_sorted_by(|a, b| a.cluster < b.cluster) {
            return Err(cursor.fault("a set that is not sorted"));
        }
        let before = pool.len();
        if pool.intern(&mut scratch).index() != before {
            return Err(cursor.fault("a set that is there twice"));
        }
    }
    cursor.finish()?;
    Ok(pool)
}

/// Reads the columns of one family.
fn read_routes<B: Bits>(mut cursor: Cursor<'_>, vias: usize) -> Result<RouteSet<B>, ArtefactError> {
    let count = cursor.u32()? as usize;
    let width = usize::from(B::LEN / 8);
    let firsts = cursor.take(count, width)?.chunks_exact(width);
    let firsts: Vec<B> = match width {
        4 => firsts.map(|octets| B::narrow(u128::from(le_u32(octets)))).collect(),
        _ => firsts.map(|octets| B::narrow(octets.try_into().map_or(0, u128::from_le_bytes))).collect(),
    };
    let lens = cursor.take(count, 1)?.to_vec();
    let ids: Vec<ViaId> =
        cursor.take(count, 4)?.chunks_exact(4).map(|octets| ViaId(le_u32(octets))).collect();
    if ids.iter().any(|id| id.index() >= vias) {
        return Err(cursor.fault("a set of candidates that is none"));
    }
    cursor.finish()?;
    let set = RouteSet::from_columns(firsts, lens, ids);
    set.ok_or_else(|| cursor.fault("prefixes that are not sorted, unique and without host bits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::read::tests::{SMALL, table};

    /// Makes CRCs and digest fit again after a change, so that everything behind them is reached.
    fn reseal(bytes: &mut [u8]) {
        for at in 0..SECTIONS.len() {
            let entry = 16 + at * ENTRY_LEN;
            let number = |at: usize| le(&bytes[at..at + 8]) as usize;
            let (offset, len) = (number(entry + 8), number(entry + 16));
            let Some(section) = offset.checked_add(len).and_then(|end| bytes.get(offset..end)) else {
                continue;
            };
            let crc = crc32fast::hash(section);
            bytes[entry + 4..entry + 8].copy_from_slice(&crc.to_le_bytes());
        }
        let end = bytes.len() - DIGEST_LEN;
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes[..end]);
        bytes[end..].copy_from_slice(digest.as_ref());
    }

    #[test]
    fn tables_come_back_and_equal_ones_are_equal_bytes() {
        let small = table(SMALL);
        let bytes = write(&small);
        let back = read(&bytes).expect("it was just written");
        assert_eq!(back, small);
        assert_eq!(back.digest(), small.digest());
        assert_eq!(write(&back), bytes);
        let empty = Table::empty(small.epoch(), "");
        assert_eq!(read(&write(&empty)), Ok(empty));
    }

    #[test]
    fn every_flip_and_cut_is_an_error() {
        let bytes = write(&table(SMALL));
        for at in 0..bytes.len() {
            for bit in [1u8, 0x80] {
                let mut bad = bytes.clone();
                bad[at] ^= bit;
                assert!(read(&bad).is_err(), "octet {at}");
            }
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(read(b"STEERDTB\x02\0\0\0"), Err(ArtefactError::Version(2)));
        assert_eq!(read(b"{\"table\""), Err(ArtefactError::Magic));
    }

    #[test]
    fn behind_the_digest_nothing_is_trusted_either() {
        let bytes = write(&table(SMALL));
        let mut accepted = 0;
        for at in 8..bytes.len() - DIGEST_LEN {
            for change in [1u8, 0x10, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[at] ^= change;
                reseal(&mut bad);
                // A change that is accepted made another valid table, which must be sound throughout.
                if let Ok(other) = read(&bad) {
                    accepted += 1;
                    let other_text = crate::table::read::tests::canonical_of(&other);
                    assert_eq!(table(&other_text), other, "octet {at}");
                }
            }
            let mut short = bytes[..at].to_vec();
            short.extend_from_slice(&[0; DIGEST_LEN]);
            if short.len() > HEAD_LEN + DIGEST_LEN {
                reseal(&mut short);
                assert!(read(&short).is_err(), "cut at {at}");
            }
        }
        assert!(accepted > 100, "changes in names and numbers are valid tables: {accepted}");
    }
}
