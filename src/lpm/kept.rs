//! A table as numbers, written and read back. Nothing that is read is trusted: every word has its
//! entries, every child its words, behind those of its parent, and no node asks for bits that an address
//! has not. So a lookup in what was accepted always ends.

use super::trie::Trie;
use super::{Hit, Lpm};
use crate::columns::{Sink, Source, damaged};
use crate::prefix::Bits;
use std::io::{self, Read, Write};

impl<B: Bits> Lpm<B> {
    /// Writes the table.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn save(&self, out: &mut Sink<impl Write>) -> io::Result<()> {
        let (stride, starts, bases, entries) = self.trie.columns();
        out.number(stride)?;
        out.array(&starts)?;
        out.array(&bases)?;
        out.array(entries)
    }

    /// Reads what [`Lpm::save`] wrote, with values that `is_value` accepts.
    ///
    /// # Errors
    /// Those of the stream; when it holds no table.
    pub fn load(from: &mut Source<impl Read>, is_value: impl Fn(u32) -> bool) -> io::Result<Self> {
        let (stride, starts, bases, entries) = (from.number()?, from.array()?, from.array()?, from.array()?);
        let trie = Trie::of_columns(stride, starts, bases, entries, |leaf| {
            let Hit { value, scope_len } = Hit::of(leaf);
            scope_len <= B::LEN && is_value(value)
        });
        Ok(Self { trie: trie.ok_or_else(|| damaged("a table that is none"))? })
    }
}
