//! Bodies as they were sent, decompressed under a cap, as they come or whole.
//!
//! Layer 3.

use std::borrow::Cow;
use std::io::{self, Read};

/// Largest zstd window that is accepted, as a power of two: 128 MiB, what `zstd --long` writes.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// `Content-Encoding` of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// RFC 1952, one member or more.
    Gzip,
    /// RFC 8878, one frame or more.
    Zstd,
}

impl Encoding {
    /// The encoding of this name (RFC 9110 section 8.4.1), in any case; empty is identity.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Why a body could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is more than `cap` octets, decompressed.
    #[error("the body is more than {cap} octets")]
    TooLarge {
        /// The cap.
        cap: usize,
    },
    /// It is not what its encoding says, or was cut short.
    #[error("the body cannot be decompressed: {0}")]
    Corrupt(String),
}

/// A body that is decompressed as it comes.
pub struct Decoder<'a> {
    from: Box<dyn Read + Send + 'a>,
    cap: usize,
    /// Octets that may still come.
    left: usize,
}

impl<'a> Decoder<'a> {
    /// Decompresses what `source` has, at most `cap` octets of it.
    ///
    /// # Errors
    /// When there is no room to begin.
    pub fn new(encoding: Encoding, source: impl Read + Send + 'a, cap: usize) -> Result<Self, BodyError> {
        let from: Box<dyn Read + Send + 'a> = match encoding {
            Encoding::Identity => Box::new(source),
            Encoding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(source)),
            Encoding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(source).map_err(corrupt)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(corrupt)?;
                Box::new(decoder)
            }
        };
        Ok(Self { from, cap, left: cap })
    }

    /// Fills `piece` from its beginning, as far as there is something at once; 0 at the end.
    ///
    /// # Errors
    /// [`BodyError`]; there is nothing more to be had then.
    pub fn read(&mut self, piece: &mut [u8]) -> Result<usize, BodyError> {
        let len = loop {
            match self.from.read(piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(corrupt)?,
            }
        };
        self.left = self.left.checked_sub(len).ok_or(BodyError::TooLarge { cap: self.cap })?;
        Ok(len)
    }

    /// Appends all that is left to `out`.
    ///
    /// # Errors
    /// As [`Decoder::read`].
    pub fn read_to_end(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        let before = out.len();
        let mut from = (&mut self.from).take((self.left as u64).saturating_add(1));
        from.read_to_end(out).map_err(corrupt)?;
        self.left = self.left.checked_sub(out.len() - before).ok_or(BodyError::TooLarge { cap: self.cap })?;
        Ok(())
    }
}

/// That `error` came of decompressing.
fn corrupt(error: io::Error) -> BodyError {
    BodyError::Corrupt(error.to_string())
}

/// Decompresses `bytes`, reading no further than one octet past `cap`.
///
/// # Errors
/// [`BodyError`].
pub fn decode_body(encoding: Encoding, bytes: &[u8], cap: usize) -> Result<Cow<'_, [u8]>, BodyError> {
    match encoding {
        Encoding::Identity if bytes.len() > cap => Err(BodyError::TooLarge { cap }),
        Encoding::Identity => Ok(Cow::Borrowed(bytes)),
        Encoding::Gzip | Encoding::Zstd => {
            let mut out = Vec::new();
            Decoder::new(encoding, bytes, cap)?.read_to_end(&mut out)?;
            Ok(Cow::Owned(out))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// `bytes` in gzip.
    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes everything")
    }

    /// `bytes` in zstd.
    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 1).expect("a vector takes everything")
    }

    #[test]
    fn bodies_come_back_up_to_the_cap() {
        let body = vec![b'x'; 100_000];
        for (encoding, sent) in
            [(Encoding::Identity, body.clone()), (Encoding::Gzip, gzip(&body)), (Encoding::Zstd, zstd(&body))]
        {
            assert_eq!(decode_body(encoding, &sent, body.len()).as_deref(), Ok(&*body));
            let cap = body.len() - 1;
            assert_eq!(decode_body(encoding, &sent, cap), Err(BodyError::TooLarge { cap }));
        }
        let twice = [gzip(b"a"), gzip(b"b")].concat();
        assert_eq!(decode_body(Encoding::Gzip, &twice, 9).as_deref(), Ok(&b"ab"[..]));
        let twice = [zstd(b"a"), zstd(b"b")].concat();
        assert_eq!(decode_body(Encoding::Zstd, &twice, 9).as_deref(), Ok(&b"ab"[..]));
    }

    #[test]
    fn cut_or_foreign_bodies_are_corrupt() {
        let body: Vec<u8> =
            (0..10_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for (encoding, sent) in [(Encoding::Gzip, gzip(&body)), (Encoding::Zstd, zstd(&body))] {
            for end in [1, 5, sent.len() / 2, sent.len() - 1] {
                let found = decode_body(encoding, &sent[..end], 1 << 20);
                assert!(matches!(found, Err(BodyError::Corrupt(_))), "{encoding:?} {end} {found:?}");
            }
            assert!(matches!(decode_body(encoding, b"{\"table\":{}}", 100), Err(BodyError::Corrupt(_))));
        }
    }

    #[test]
    fn encodings_have_names() {
        assert_eq!(Encoding::from_name("GZIP"), Some(Encoding::Gzip));
        assert_eq!(Encoding::from_name(""), Some(Encoding::Identity));
        assert_eq!(Encoding::from_name("zstd"), Some(Encoding::Zstd));
        assert_eq!(Encoding::from_name("br"), None);
    }
}
