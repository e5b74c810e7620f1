//! dnstap as a sink: a file that is begun anew, or a socket that a reader listens on. Layer 8.

use super::{Open, PATIENCE, Put, Sink};
use crate::dnstap::frames;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Where dnstap events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dnstap {
    /// A file, begun anew.
    File(PathBuf),
    /// A Unix socket that a reader listens on.
    Socket(PathBuf),
}

/// An open one.
#[derive(Debug)]
pub enum OpenDnstap {
    /// A file.
    File(BufWriter<File>),
    /// A socket whose reader has greeted.
    Socket(BufWriter<UnixStream>),
}

impl Sink for Dnstap {
    const WHAT: &'static str = "dnstap";

    type Open = OpenDnstap;

    fn open(&self) -> io::Result<OpenDnstap> {
        match self {
            Self::File(path) => {
                let mut file = BufWriter::new(File::create(path)?);
                frames::begin_file(&mut file)?;
                Ok(OpenDnstap::File(file))
            }
            Self::Socket(path) => {
                let mut socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.set_write_timeout(Some(PATIENCE))?;
                frames::begin_socket(&mut socket)?;
                Ok(OpenDnstap::Socket(BufWriter::new(socket)))
            }
        }
    }
}

impl Open for OpenDnstap {
    fn put(&mut self, event: &[u8]) -> io::Result<Put> {
        match self {
            Self::File(out) => frames::put(out, event)?,
            Self::Socket(out) => frames::put(out, event)?,
        }
        Ok(Put::Waiting)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(out) => out.flush(),
            Self::Socket(out) => out.flush(),
        }
    }

    fn end(self) -> io::Result<()> {
        match self {
            Self::File(mut out) => {
                frames::end(&mut out)?;
                out.flush()
            }
            Self::Socket(mut out) => {
                frames::end(&mut out)?;
                out.flush()?;
                frames::wait_for_finish(out.get_mut())
            }
        }
    }
}
