//! A full table on its way in: read as it comes, before it has its turn.
//!
//! Of a text only the piece at hand is held, beside what was made of those before it. It is read without
//! the writer's lock, because it comes as slowly as whoever sends it likes; what is wrong with it is told
//! when its turn has come, after what is wrong with its epoch.

use super::{Refusal, aside, ms_of};
use crate::problem::Problem;
use crate::table::artefact::{self, ArtefactError};
use crate::table::body::{BodyError, Decoder};
use crate::table::{Full, FullReader, Header, Read};
use std::time::{Duration, Instant};

/// Octets that are taken at a time.
const PIECE_LEN: usize = 1 << 16;

/// The form of a full table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// NDJSON.
    Lines,
    /// The artefact.
    Artefact,
    /// Told by how it begins.
    Either,
}

/// A full table that was read, for better or worse.
#[derive(Debug)]
pub struct Pushed {
    /// What it says of itself.
    pub(super) header: Result<Header, Refusal>,
    /// What it comes to.
    pub(super) read: Result<Read, Refusal>,
    /// How long that took, without waiting for it.
    pub(super) parse_ms: u64,
}

impl Pushed {
    /// Reads a table as it comes, on a thread that gives way to those that answer queries. Blocks until
    /// all of it was there.
    ///
    /// # Errors
    /// Those of `source`; what is wrong with the table itself is for the publisher to tell.
    pub fn read(source: &mut Decoder<'_>, form: Form) -> Result<Self, BodyError> {
        aside(|| {
            let mut piece = vec![0; PIECE_LEN];
            let mut len = 0;
            // As much as tells both forms apart.
            while len < artefact::MAGIC.len() {
                match source.read(&mut piece[len..])? {
                    0 => break,
                    more => len += more,
                }
            }
            let is_artefact = match form {
                Form::Lines => false,
                Form::Artefact => true,
                Form::Either => artefact::is_artefact(&piece[..len]),
            };
            if is_artefact {
                piece.truncate(len);
                source.read_to_end(&mut piece)?;
                return Ok(Self::artefact(&piece));
            }
            let mut reading = Reading::default();
            while len > 0 {
                reading.push(&piece[..len]);
                len = source.read(&mut piece)?;
            }
            Ok(reading.finish())
        })
    }

    /// Reads a text that is at hand.
    pub fn text(octets: &[u8]) -> Self {
        let mut reading = Reading::default();
        reading.push(octets);
        reading.finish()
    }

    /// Reads an artefact.
    pub fn artefact(octets: &[u8]) -> Self {
        let start = Instant::now();
        let table = artefact::read(octets).map_err(artefact_problem);
        let header = match &table {
            Ok(table) => Ok(table.epoch()),
            Err(_) => artefact::read_epoch(octets).map_err(artefact_problem),
        };
        Self {
            header: header.map(|epoch| Header { epoch, base: None, source: None }),
            read: table.map(|table| Read { table, warnings: Vec::new(), ignored: Vec::new() }),
            parse_ms: ms_of(start.elapsed()),
        }
    }
}

/// A text that is being read, and for how long.
#[derive(Default)]
struct Reading {
    reader: FullReader,
    spent: Duration,
}

impl Reading {
    /// Takes the next piece.
    fn push(&mut self, piece: &[u8]) {
        let start = Instant::now();
        self.reader.push(piece);
        self.spent += start.elapsed();
    }

    /// That was all.
    fn finish(self) -> Pushed {
        let start = Instant::now();
        let Full { header, read } = self.reader.finish();
        Pushed {
            header: header.map_err(Refusal::Invalid).and_then(full_header),
            read: read.map_err(Refusal::Invalid),
            parse_ms: ms_of(self.spent + start.elapsed()),
        }
    }
}

/// A first line that is not that of a delta.
fn full_header(header: Header) -> Result<Header, Refusal> {
    match header.base {
        None => Ok(header),
        Some(_) => {
            let expected = "a first line with \"table\"; deltas are patched";
            Err(Refusal::Invalid(vec![Problem::at(1, "delta", "a delta", expected)]))
        }
    }
}

/// Why an artefact cannot be used, as a problem of the whole body.
fn artefact_problem(error: ArtefactError) -> Refusal {
    match error {
        ArtefactError::Fleet(problems) => Refusal::Invalid(problems),
        error => Refusal::Invalid(vec![Problem::at(0, "artefact", error, "a whole table artefact")]),
    }
}
