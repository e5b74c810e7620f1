//! Arrays of numbers as octets: written and read as a stream, with a checksum at its end.
//!
//! What large immutable things are kept in between two starts of the process ([`Sink`], [`Source`]).
//! Numbers are little-endian; an array is its length (u64) and its numbers; the last four octets are
//! the CRC-32 of all before. A [`Source`] trusts nothing: an array longer than what is left is an error
//! before room is made for it. What the numbers mean is for whoever reads them to check. Layer 0.

use std::io::{self, Read, Write};

/// Octets moved at a time: few enough to stay in the core's cache between copy and checksum.
const PIECE: usize = 1 << 16;
/// Octets of the checksum.
const CRC_LEN: u64 = 4;

/// A number of fixed width.
pub trait Number: Copy + Default {
    /// Octets of one.
    const WIDTH: usize;
    /// Appends `numbers` to `out`.
    fn put(numbers: &[Self], out: &mut Vec<u8>);
    /// Appends what `octets` say to `out`; they are a whole number of numbers.
    fn take(octets: &[u8], out: &mut Vec<Self>);
}

/// [`Number`] for a primitive.
macro_rules! number {
    ($($kind:ty),*) => {$(
        impl Number for $kind {
            const WIDTH: usize = size_of::<$kind>();

            fn put(numbers: &[Self], out: &mut Vec<u8>) {
                out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            }

            fn take(octets: &[u8], out: &mut Vec<Self>) {
                out.extend(octets.as_chunks().0.iter().map(|octets| Self::from_le_bytes(*octets)));
            }
        }
    )*};
}

number!(u8, u16, u32, u64, u128, f64);

/// Writes numbers.
#[derive(Debug)]
pub struct Sink<W> {
    to: W,
    crc: crc32fast::Hasher,
    piece: Vec<u8>,
}

impl<W: Write> Sink<W> {
    /// Writes to `to`, in pieces that need no buffer.
    pub fn new(to: W) -> Self {
        Self { to, crc: crc32fast::Hasher::new(), piece: Vec::with_capacity(2 * PIECE) }
    }

    /// Writes one number.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn number<T: Number>(&mut self, number: T) -> io::Result<()> {
        self.numbers(&[number])
    }

    /// Writes `numbers` and not how many they are.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn numbers<T: Number>(&mut self, numbers: &[T]) -> io::Result<()> {
        for some in numbers.chunks(PIECE / T::WIDTH) {
            T::put(some, &mut self.piece);
            if self.piece.len() >= PIECE {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes how many `numbers` are, and them.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn array<T: Number>(&mut self, numbers: &[T]) -> io::Result<()> {
        self.number(numbers.len() as u64)?;
        self.numbers(numbers)
    }

    /// Writes the checksum and gives the stream back.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.to.write_all(&self.crc.finalize().to_le_bytes())?;
        Ok(self.to)
    }

    /// Hands on what was collected.
    fn flush(&mut self) -> io::Result<()> {
        self.crc.update(&self.piece);
        self.to.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }
}

/// Reads numbers.
#[derive(Debug)]
pub struct Source<R> {
    from: R,
    /// Octets before the checksum that are not read yet.
    left: u64,
    crc: crc32fast::Hasher,
    piece: Vec<u8>,
}

impl<R: Read> Source<R> {
    /// Reads from `from`, which has `len` octets, in pieces that need no buffer.
    ///
    /// # Errors
    /// When that is too short for a checksum.
    pub fn new(from: R, len: u64) -> io::Result<Self> {
        let left = len.checked_sub(CRC_LEN).ok_or_else(|| damaged("cut short"))?;
        Ok(Self { from, left, crc: crc32fast::Hasher::new(), piece: vec![0; PIECE] })
    }

    /// Reads one number.
    ///
    /// # Errors
    /// Those of the stream; when it ends here.
    pub fn number<T: Number>(&mut self) -> io::Result<T> {
        Ok(self.numbers(1)?.pop().unwrap_or_default())
    }

    /// Reads `count` numbers.
    ///
    /// # Errors
    /// Those of the stream; when it has not that many.
    pub fn numbers<T: Number>(&mut self, count: u64) -> io::Result<Vec<T>> {
        let octets = count.checked_mul(T::WIDTH as u64).filter(|octets| *octets <= self.left);
        let mut rest = octets.ok_or_else(|| damaged("an array is longer than the rest"))?;
        self.left -= rest;
        let mut numbers = Vec::with_capacity(count as usize);
        while rest > 0 {
            let piece = &mut self.piece[..rest.min(PIECE as u64) as usize];
            self.from.read_exact(piece)?;
            self.crc.update(piece);
            T::take(piece, &mut numbers);
            rest -= piece.len() as u64;
        }
        Ok(numbers)
    }

    /// Reads an array.
    ///
    /// # Errors
    /// Those of the stream; when it is not whole.
    pub fn array<T: Number>(&mut self) -> io::Result<Vec<T>> {
        let count = self.number()?;
        self.numbers(count)
    }

    /// Checks that everything was read, and the checksum. Nothing that was read may be used before.
    ///
    /// # Errors
    /// When either is not so.
    pub fn finish(mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(damaged("longer than it says"));
        }
        let mut crc = [0; CRC_LEN as usize];
        self.from.read_exact(&mut crc)?;
        if u32::from_le_bytes(crc) == self.crc.finalize() {
            Ok(())
        } else {
            Err(damaged("its checksum does not fit"))
        }
    }
}

/// That what was read is not what was written.
pub fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some of each width, one array longer than a piece.
    fn written() -> Vec<u8> {
        let mut sink = Sink::new(Vec::new());
        sink.number(7u8).expect("a vector takes everything");
        sink.array(&(0..30_000u32).collect::<Vec<_>>()).expect("a vector takes everything");
        sink.array(&[u128::MAX, 1]).expect("a vector takes everything");
        sink.array(&[-0.5f64]).expect("a vector takes everything");
        sink.finish().expect("a vector takes everything")
    }

    /// What [`written`] wrote.
    type Written = (u8, Vec<u32>, Vec<u128>, Vec<f64>);

    /// Reads it.
    fn read(octets: &[u8]) -> io::Result<Written> {
        let mut source = Source::new(octets, octets.len() as u64)?;
        let all = (source.number()?, source.array()?, source.array()?, source.array()?);
        source.finish().map(|()| all)
    }

    #[test]
    fn numbers_come_back() {
        let (first, numbers, wide, real) = read(&written()).expect("just written");
        assert_eq!((first, numbers), (7, (0..30_000).collect()));
        assert_eq!((wide, real), (vec![u128::MAX, 1], vec![-0.5]));
    }

    #[test]
    fn every_flip_cut_and_addition_is_an_error() {
        let octets = written();
        for at in (0..octets.len()).step_by(97).chain(octets.len() - 90..octets.len()).chain(0..20) {
            let mut bad = octets.clone();
            bad[at] ^= 0x81;
            assert!(read(&bad).is_err(), "octet {at}");
            assert!(read(&octets[..at]).is_err(), "cut at {at}");
        }
        assert!(read(&[&octets[..], &[0; 5]].concat()).is_err());
    }

    #[test]
    fn no_room_is_made_for_what_cannot_be_there() {
        let mut sink = Sink::new(Vec::new());
        sink.number(u64::MAX).expect("a vector takes everything");
        let octets = sink.finish().expect("a vector takes everything");
        let mut source = Source::new(&octets[..], octets.len() as u64).expect("long enough");
        assert!(source.array::<u128>().is_err());
    }
}
