//! Frame Streams: how events follow each other in a file, and how a socket's reader is greeted.
//!
//! Own code: the crate of that name writes files only, and was last touched in 2019. A frame is its length
//! (32 bits, big-endian) and its octets; a length of 0 announces a control frame.

use std::io::{self, Read, Write};

/// What the frames are.
pub const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";

/// Octets that a control frame may have.
const CONTROL_LEN_MAX: u32 = 512;

/// Kinds of control frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    /// The reader's answer to [`Control::Ready`].
    Accept = 1,
    /// Frames follow.
    Start = 2,
    /// No more frames follow.
    Stop = 3,
    /// A writer asks a reader.
    Ready = 4,
    /// The reader's answer to [`Control::Stop`].
    Finish = 5,
}

/// Writes a control frame; those that begin something name the content type.
fn put_control(out: &mut impl Write, control: Control) -> io::Result<()> {
    let mut frame = (control as u32).to_be_bytes().to_vec();
    if matches!(control, Control::Start | Control::Ready) {
        frame.extend_from_slice(&1_u32.to_be_bytes());
        frame.extend_from_slice(&(CONTENT_TYPE.len() as u32).to_be_bytes());
        frame.extend_from_slice(CONTENT_TYPE);
    }
    out.write_all(&0_u32.to_be_bytes())?;
    out.write_all(&(frame.len() as u32).to_be_bytes())?;
    out.write_all(&frame)
}

/// Reads a control frame, which has to be `expected`.
fn take_control(from: &mut impl Read, expected: Control) -> io::Result<()> {
    let mut word = || {
        let mut octets = [0; 4];
        from.read_exact(&mut octets)?;
        Ok::<_, io::Error>(u32::from_be_bytes(octets))
    };
    let (escape, len, kind) = (word()?, word()?, word()?);
    if escape != 0 || !(4..=CONTROL_LEN_MAX).contains(&len) || kind != expected as u32 {
        let found = format!("a frame of kind {kind} where {expected:?} was expected");
        return Err(io::Error::new(io::ErrorKind::InvalidData, found));
    }
    let mut rest = vec![0; len as usize - 4];
    from.read_exact(&mut rest)?;
    // A reader lists what it takes; one that lists nothing takes all.
    let is_taken = rest.is_empty() || rest.windows(CONTENT_TYPE.len()).any(|octets| octets == CONTENT_TYPE);
    if expected == Control::Accept && !is_taken {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the reader does not take dnstap"));
    }
    Ok(())
}

/// Begins a file.
///
/// # Errors
/// Those of `out`.
pub fn begin_file(out: &mut impl Write) -> io::Result<()> {
    put_control(out, Control::Start)
}

/// Greets the reader at the other end of a socket.
///
/// # Errors
/// Those of `socket`, and when what it says is no answer.
pub fn begin_socket(socket: &mut (impl Read + Write)) -> io::Result<()> {
    put_control(socket, Control::Ready)?;
    take_control(socket, Control::Accept)?;
    put_control(socket, Control::Start)
}

/// Writes one event; an empty one is nothing.
///
/// # Errors
/// Those of `out`.
pub fn put(out: &mut impl Write, event: &[u8]) -> io::Result<()> {
    if event.is_empty() {
        return Ok(());
    }
    let len = u32::try_from(event.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    out.write_all(&len.to_be_bytes())?;
    out.write_all(event)
}

/// Ends a file, or what is written to a socket.
///
/// # Errors
/// Those of `out`.
pub fn end(out: &mut impl Write) -> io::Result<()> {
    put_control(out, Control::Stop)
}

/// Waits for a socket's reader to say that it has everything.
///
/// # Errors
/// Those of `socket`, and when what it says is something else.
pub fn wait_for_finish(socket: &mut impl Read) -> io::Result<()> {
    take_control(socket, Control::Finish)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::thread;

    #[test]
    fn a_file_begins_has_frames_and_ends() {
        let mut file = Vec::new();
        begin_file(&mut file).expect("written");
        put(&mut file, b"one").expect("written");
        put(&mut file, b"").expect("written");
        end(&mut file).expect("written");
        let mut expected = vec![0, 0, 0, 0, 0, 0, 0, 34, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 22];
        expected.extend_from_slice(CONTENT_TYPE);
        expected.extend_from_slice(b"\0\0\0\x03one\0\0\0\0\0\0\0\x04\0\0\0\x03");
        assert_eq!(file, expected);
    }

    /// What a writer meets whose reader answers `accept`.
    fn greet(accept: Vec<u8>) -> io::Result<()> {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
        let reader = thread::spawn(move || {
            take_control(&mut theirs, Control::Ready)?;
            theirs.write_all(&accept)?;
            drop(accept);
            take_control(&mut theirs, Control::Start)
        });
        let greeted = begin_socket(&mut ours);
        drop(ours);
        let read = reader.join().expect("no panic");
        assert_eq!(greeted.is_ok(), read.is_ok());
        greeted
    }

    #[test]
    fn a_socket_is_greeted_and_a_reader_of_something_else_is_told_apart() {
        let mut accept = Vec::new();
        put_control(&mut accept, Control::Accept).expect("written");
        assert!(greet(accept).is_ok(), "whatever comes");
        let mut taken = vec![0, 0, 0, 0, 0, 0, 0, 34, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 22];
        taken.extend_from_slice(CONTENT_TYPE);
        assert!(greet(taken.clone()).is_ok());
        let last = taken.len() - 1;
        taken[last] ^= 1;
        assert!(greet(taken).is_err(), "something else");
        assert!(greet(vec![0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 3]).is_err(), "STOP");
        assert!(greet(vec![0, 0, 0, 0, 0xff, 0, 0, 4, 0, 0, 0, 1]).is_err(), "too long");
        assert!(greet(vec![0, 0, 0, 9, 0, 0, 0, 4, 0, 0, 0, 1]).is_err(), "no control frame");
    }
}
