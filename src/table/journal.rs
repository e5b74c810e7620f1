//! The journal: what was accepted since the last artefact, as framed, checksummed records.
//!
//! | octets | what |
//! |---|---|
//! | 0..4 | mark `SDJ1` |
//! | 4..8 | CRC-32 of all that follows in the record, u32 |
//! | 8..12 | length of the payload, u32 |
//! | 12 | kind: 1 delta, 2 rollback, 3 reset |
//! | 13 | flags: 1 the payload is zstd |
//! | 14..22, 22..30 | two epochs, u64 (a delta's base and epoch; a rollback's from and to; a reset's highest, then 0) |
//! | 30.. | payload: the delta's text |
//!
//! Numbers are little-endian. A record that a crash cut short can only be the last: [`read`] calls
//! that [`Tail::Torn`] and says where to cut. A bad record with a good one behind it is
//! [`Tail::Damaged`]: something else than a crash happened. Layer 3.

use super::body::{Encoding, decode_body};
use crate::units::Epoch;

/// First octets of a record; what a search for later records looks for.
const MARK: [u8; 4] = *b"SDJ1";
/// Octets before the payload.
const HEAD_LEN: usize = 30;
/// Texts above this are compressed.
const PLAIN_MAX: usize = 1 << 12;
/// Flag: the payload is zstd.
const FLAG_ZSTD: u8 = 1;

/// Something that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A delta was applied.
    Delta {
        /// The epoch it was made on.
        base: Epoch,
        /// The epoch it led to.
        epoch: Epoch,
        /// Its text as accepted, decompressed.
        text: Vec<u8>,
    },
    /// An older epoch is served again (ruling 20).
    Rollback {
        /// What was served.
        from: Epoch,
        /// What is served now.
        to: Epoch,
    },
    /// Any epoch may follow (ruling 18, `reset_epoch`).
    Reset {
        /// The highest epoch accepted before.
        highest: Epoch,
    },
}

/// How a journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// With a whole record, or empty.
    Whole,
    /// With a record cut short: everything from `at` on is to be cut off.
    Torn {
        /// Octets of good records.
        at: usize,
    },
    /// With a bad record at `at` that has good ones behind it, which are not given.
    Damaged {
        /// Octets of good records before it.
        at: usize,
        /// Good records behind it.
        lost: usize,
    },
}

/// The octets to append for `record`.
///
/// # Panics
/// When a text is 4 GiB or more, which no body is.
pub fn append(record: &Record) -> Vec<u8> {
    let (kind, epochs, text): (u8, [u64; 2], &[u8]) = match record {
        Record::Delta { base, epoch, text } => (1, [base.get(), epoch.get()], text),
        Record::Rollback { from, to } => (2, [from.get(), to.get()], &[]),
        Record::Reset { highest } => (3, [highest.get(), 0], &[]),
    };
    let packed = (text.len() > PLAIN_MAX).then(|| zstd::bulk::compress(text, 1).ok()).flatten();
    let flags = if packed.is_some() { FLAG_ZSTD } else { 0 };
    let payload = packed.as_deref().unwrap_or(text);
    let mut out = Vec::with_capacity(HEAD_LEN + payload.len());
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&[0; 4]);
    let len = u32::try_from(payload.len()).expect("bodies are capped far below 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[kind, flags]);
    for epoch in epochs {
        out.extend_from_slice(&epoch.to_le_bytes());
    }
    out.extend_from_slice(payload);
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The records of a journal, up to the first that is bad, and how it ends.
pub fn read(bytes: &[u8]) -> (Vec<Record>, Tail) {
    let mut records = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let Some((record, len)) = record_at(&bytes[at..]) else {
            let lost = later_records(&bytes[at + 1..]);
            return (records, if lost == 0 { Tail::Torn { at } } else { Tail::Damaged { at, lost } });
        };
        records.push(record);
        at += len;
    }
    (records, Tail::Whole)
}

/// The frame that `bytes` begin with, if it is whole and its checksum fits: its head and payload.
fn frame_at(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let head = bytes.get(..HEAD_LEN)?;
    let len = usize::try_from(u32::from_le_bytes(head[8..12].try_into().ok()?)).ok()?;
    let whole = bytes.get(..HEAD_LEN.checked_add(len)?)?;
    let crc = u32::from_le_bytes(head[4..8].try_into().ok()?);
    (head[..4] == MARK && crc32fast::hash(&whole[8..]) == crc).then(|| whole.split_at(HEAD_LEN))
}

/// The record that `bytes` begin with, and its length.
fn record_at(bytes: &[u8]) -> Option<(Record, usize)> {
    let (head, payload) = frame_at(bytes)?;
    let epoch = |at: usize| Some(u64::from_le_bytes(head[at..at + 8].try_into().ok()?));
    let (first, second) = (epoch(14)?, epoch(22)?);
    let record = match (head[12], head[13]) {
        (1, flags @ (0 | FLAG_ZSTD)) => {
            let encoding = if flags == FLAG_ZSTD { Encoding::Zstd } else { Encoding::Identity };
            let text = decode_body(encoding, payload, usize::MAX).ok()?.into_owned();
            Record::Delta { base: Epoch::new(first)?, epoch: Epoch::new(second)?, text }
        }
        (2, 0) if payload.is_empty() => {
            Record::Rollback { from: Epoch::new(first)?, to: Epoch::new(second)? }
        }
        (3, 0) if payload.is_empty() && second == 0 => Record::Reset { highest: Epoch::new(first)? },
        _ => return None,
    };
    Some((record, HEAD_LEN + payload.len()))
}

/// Whole records anywhere in `bytes`.
fn later_records(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some(at) = bytes.windows(MARK.len()).position(|window| window == MARK) {
        let frame = frame_at(&bytes[at..]);
        count += usize::from(frame.is_some());
        let len = frame.map_or(1, |(head, payload)| head.len() + payload.len());
        bytes = &bytes[at + len..];
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The epoch `number`.
    fn epoch(number: u64) -> Epoch {
        Epoch::new(number).expect("above 0")
    }

    /// One of each, a delta large enough to be compressed among them.
    fn records() -> Vec<Record> {
        vec![
            Record::Delta { base: epoch(1), epoch: epoch(2), text: b"{}".to_vec() },
            Record::Delta { base: epoch(2), epoch: epoch(7), text: b"SDJ1 and more ".repeat(1_000) },
            Record::Rollback { from: epoch(7), to: epoch(2) },
            Record::Reset { highest: epoch(Epoch::MAX) },
        ]
    }

    #[test]
    fn records_come_back() {
        let bytes: Vec<u8> = records().iter().flat_map(append).collect();
        assert!(bytes.len() < 500, "large texts are compressed");
        assert_eq!(read(&bytes), (records(), Tail::Whole));
        assert_eq!(read(&[]), (Vec::new(), Tail::Whole));
    }

    #[test]
    fn a_torn_tail_is_told_from_damage() {
        let frames: Vec<Vec<u8>> = records().iter().map(append).collect();
        let bytes = frames.concat();
        let start = bytes.len() - frames[3].len();
        for end in start + 1..bytes.len() {
            assert_eq!(
                read(&bytes[..end]),
                (records()[..3].to_vec(), Tail::Torn { at: start }),
                "cut at {end}"
            );
        }
        let zeros = [&bytes[..start], &[0; 40]].concat();
        assert_eq!(read(&zeros), (records()[..3].to_vec(), Tail::Torn { at: start }));
        let second = frames[0].len();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            let (found, tail) = read(&bad);
            assert_eq!(found, records()[..found.len()], "octet {at}");
            match tail {
                Tail::Torn { at: cut } => assert!(cut == start && at >= start, "octet {at}"),
                Tail::Damaged { at: cut, lost } => assert_eq!(found.len() + 1 + lost, 4, "octet {at} {cut}"),
                Tail::Whole => panic!("octet {at} is not covered"),
            }
            if at < second {
                assert_eq!(tail, Tail::Damaged { at: 0, lost: 3 }, "octet {at}");
            }
        }
    }
}
