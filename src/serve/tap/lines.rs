//! Lines as a sink: to standard output, to a file that others read and move away, to syslog.
//!
//! Whole lines are written at a time, as many as a pipe takes in one piece, so that a reader never sees
//! half of one of ours and half of another's. A file that ends in the middle of a line, as after a full
//! disk, is given the line's end first. A reader that takes nothing is waited for a moment, not for
//! ever. Layer 8. Tests: below.

use super::{Open, PATIENCE, Put, Sink};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process;

/// Octets that a pipe takes in one piece (`PIPE_BUF`, pipe(7)).
const PIECE_LEN: usize = 4096;

/// Who may read a file that is begun here: addresses of clients are in it.
const FILE_MODE: u32 = 0o640;

/// What a syslog line says of its kind (RFC 5424 section 6.2.7).
const MSGID: &str = "access";

/// Severity `informational` (RFC 5424 section 6.2.1).
const INFORMATIONAL: u8 = 6;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lines {
    /// Standard output.
    Stdout,
    /// A file, appended to, or a FIFO.
    File(PathBuf),
    /// The socket of a syslog daemon, and how it is told who writes.
    Syslog {
        /// A Unix datagram socket.
        socket: PathBuf,
        /// RFC 5424 section 6.2.1: 0 to 23.
        facility: u8,
        /// The machine's name; empty: it is not known.
        host: String,
    },
}

impl Sink for Lines {
    const WHAT: &'static str = "the access log";

    type Open = OpenLines;

    fn open(&self) -> io::Result<OpenLines> {
        match self {
            Self::Stdout => {
                let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
                Ok(OpenLines::Stream(Stream { out, waiting: Vec::new() }))
            }
            Self::File(path) => Ok(OpenLines::Stream(Stream { out: open_file(path)?, waiting: Vec::new() })),
            Self::Syslog { socket, facility, host } => {
                let out = UnixDatagram::unbound()?;
                out.connect(socket)?;
                out.set_write_timeout(Some(PATIENCE))?;
                let host = if host.is_empty() { "-" } else { host };
                let priority = facility * 8 + INFORMATIONAL;
                let (begin, pid) = (format!("<{priority}>1 "), process::id());
                let middle = format!(" {host} steerd {pid} {MSGID} - ");
                Ok(OpenLines::Syslog(Syslog { out, begin, middle, message: Vec::new() }))
            }
        }
    }
}

/// Opens the file at `path` for appending, at the start of a line.
fn open_file(path: &Path) -> io::Result<File> {
    // Opening a FIFO without a reader would wait for one.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(FILE_MODE).custom_flags(nonblocking);
    let is_fifo = path.metadata().is_ok_and(|found| found.file_type().is_fifo());
    let mut file = options.read(!is_fifo).open(path)?;
    if !is_fifo && file.metadata()?.is_file() && file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

/// Open [`Lines`].
#[derive(Debug)]
pub enum OpenLines {
    /// Standard output, a file, a FIFO.
    Stream(Stream),
    /// The socket of a syslog daemon.
    Syslog(Syslog),
}

impl Open for OpenLines {
    fn put(&mut self, event: &[u8]) -> io::Result<Put> {
        match self {
            Self::Stream(stream) => stream.put(event).map(|()| Put::Waiting),
            Self::Syslog(syslog) => syslog.send(event).map(|()| Put::Gone),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.send(),
            Self::Syslog(_) => Ok(()),
        }
    }

    fn end(mut self) -> io::Result<()> {
        self.flush()
    }
}

/// What octets are written to.
#[derive(Debug)]
pub struct Stream {
    out: File,
    /// Whole lines, or a long one.
    waiting: Vec<u8>,
}

impl Stream {
    /// Takes a line, with its end.
    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.waiting.len() + line.len() > PIECE_LEN {
            self.send()?;
        }
        self.waiting.extend_from_slice(line);
        Ok(())
    }

    /// Writes what is waiting.
    fn send(&mut self) -> io::Result<()> {
        let mut rest = &self.waiting[..];
        while !rest.is_empty() {
            wait_until_writable(&self.out)?;
            match self.out.write(&rest[..rest.len().min(PIECE_LEN)]) {
                Ok(count) => rest = &rest[count..],
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
        self.waiting.clear();
        Ok(())
    }
}

/// Waits until `out` takes a piece.
///
/// # Errors
/// It does not for a while.
fn wait_until_writable(out: &File) -> io::Result<()> {
    let mut asked = [PollFd::new(out, PollFlags::OUT)];
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    match poll(&mut asked, Some(&patience)) {
        Ok(0) => Err(io::Error::new(ErrorKind::TimedOut, "its reader takes nothing")),
        // A signal is no matter: the write that follows does not block but for a piece of a pipe.
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A connection to a syslog daemon.
#[derive(Debug)]
pub struct Syslog {
    out: UnixDatagram,
    /// What stands before a message's time, and between that and the line.
    begin: String,
    middle: String,
    /// Used again.
    message: Vec<u8>,
}

impl Syslog {
    /// Sends a line, which begins with its time, as a message (RFC 5424 section 6).
    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        self.message.clear();
        self.message.extend_from_slice(self.begin.as_bytes());
        self.message.extend_from_slice(time_of(line));
        self.message.extend_from_slice(self.middle.as_bytes());
        self.message.extend_from_slice(line.trim_ascii_end());
        self.out.send(&self.message).map(drop)
    }
}

/// The time that a line of JSON begins with; `-`, which is none, where it does not.
fn time_of(line: &[u8]) -> &[u8] {
    let time = line.strip_prefix(br#"{"time":""#).and_then(|rest| rest.split(|&octet| octet == b'"').next());
    time.unwrap_or(b"-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_are_appended_to_at_the_start_of_a_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        fs::write(&path, "{\"time\":\"2026").expect("written");
        let sink = Lines::File(path.clone());
        for line in [b"one\n", b"two\n"] {
            let mut open = sink.open().expect("a file");
            open.put(line).expect("taken");
            open.end().expect("written");
        }
        assert_eq!(fs::read_to_string(&path).expect("a file"), "{\"time\":\"2026\none\ntwo\n");
        let nowhere = Lines::File(dir.path().join("no/where"));
        assert_eq!(nowhere.open().expect_err("no directory").kind(), ErrorKind::NotFound);
    }

    #[test]
    fn pieces_are_whole_lines() {
        let dir = tempfile::tempdir().expect("a directory");
        let out = File::create(dir.path().join("log")).expect("a file");
        let mut stream = Stream { out, waiting: Vec::new() };
        let (short, long) = ([&[b'a'; 1499][..], b"\n"].concat(), [&[b'b'; 9999][..], b"\n"].concat());
        for (line, waiting) in
            [(&short, 1500), (&short, 3000), (&short, 1500), (&long, 10_000), (&short, 1500)]
        {
            stream.put(line).expect("taken");
            assert_eq!(stream.waiting.len(), waiting);
        }
        stream.send().expect("written");
        assert_eq!(fs::metadata(dir.path().join("log")).expect("a file").len(), 16_000);
    }

    #[test]
    fn rfc5424_s6_syslog_is_told_what_it_asks_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("log");
        let daemon = UnixDatagram::bind(&socket).expect("a socket");
        let sink = Lines::Syslog { socket, facility: 16, host: "ams-1".to_owned() };
        let mut open = sink.open().expect("a daemon");
        open.put(b"{\"time\":\"2026-11-26T01:02:03.004Z\",\"kind\":\"dns\"}\n").expect("taken");
        let mut message = [0; 256];
        let len = daemon.recv(&mut message).expect("a message");
        let pid = process::id();
        let expected = format!(
            "<134>1 2026-11-26T01:02:03.004Z ams-1 steerd {pid} access - \
             {{\"time\":\"2026-11-26T01:02:03.004Z\",\"kind\":\"dns\"}}"
        );
        assert_eq!(String::from_utf8_lossy(&message[..len]), expected);
        assert_eq!(time_of(b"{}"), b"-");
    }
}
