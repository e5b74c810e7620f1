//! Appliances: small HTTP/1.1 servers on loopback that hold the same files, each with its own manifests, and
//! keep an access log.
//!
//! The log is what the tests decide by: a player may say what it likes, who served a segment says who was asked.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Octets that a slow appliance sends at once.
const PIECE_LEN: usize = 1000;

/// A line of the access log.
#[derive(Debug, Clone)]
pub struct Access {
    /// When the request had been read.
    pub at: Instant,
    /// Host name of the appliance that was asked.
    pub host: Arc<str>,
    /// Path, without query.
    pub path: String,
    /// Status of the answer; 0: there was none.
    pub status: u16,
}

impl Access {
    /// Which stream it is a media segment of, `video` or `audio`; `None` for manifests and what begins a stream.
    pub fn segment_of(&self) -> Option<&str> {
        let is_segment = self.status == 200 && self.path.ends_with(".m4s");
        self.path[1..].split('/').next().filter(|_| is_segment)
    }
}

/// The access log of all appliances of a test, in the order of their requests.
#[derive(Default)]
pub struct Log {
    /// What was asked so far.
    lines: Mutex<Vec<Access>>,
    /// Told of each line.
    longer: Condvar,
}

impl Log {
    /// Adds a line.
    fn push(&self, line: Access) {
        self.lines.lock().expect("no panic while it is held").push(line);
        self.longer.notify_all();
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Access> {
        self.lines.lock().expect("no panic while it is held").clone()
    }

    /// Waits until `find` finds what it looks for; `None` when that is not before `until`.
    pub fn wait<T>(&self, until: Instant, find: impl Fn(&[Access]) -> Option<T>) -> Option<T> {
        let mut lines = self.lines.lock().expect("no panic while it is held");
        loop {
            if let Some(found) = find(&lines) {
                return Some(found);
            }
            let left = until.checked_duration_since(Instant::now())?;
            lines = self.longer.wait_timeout(lines, left).expect("no panic while it is held").0;
        }
    }

    /// The log as an operator would keep it; seconds count from `start`.
    pub fn text(&self, start: Instant) -> String {
        let mut text = String::new();
        for Access { at, host, path, status } in self.lines() {
            let at = at.saturating_duration_since(start).as_secs_f64();
            let _ = writeln!(text, "{at:8.3} {host:<24} {status} {path}");
        }
        text
    }
}

/// What one server holds.
#[derive(Default)]
pub struct Content {
    /// Text by path: what is its own.
    pub texts: HashMap<String, String>,
    /// Folders below which all other files are looked for, in this order.
    pub folders: Vec<PathBuf>,
    /// How it serves them.
    pub manner: Arc<Manner>,
}

/// How an appliance serves what it holds; changes as a test goes on.
#[derive(Default)]
pub struct Manner {
    /// Kbit/s at which it sends; 0: as fast as it can.
    pub pace_kbps: AtomicU32,
    /// It closes connections and answers nobody.
    pub is_out: AtomicBool,
}

impl Content {
    /// The file at `path`.
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        if let Some(text) = self.texts.get(path) {
            return Some(text.clone().into());
        }
        // Nothing outside is read, whatever a browser may ask for.
        let path = path.strip_prefix('/').filter(|path| !path.split('/').any(|part| part == ".."))?;
        self.folders.iter().find_map(|folder| std::fs::read(folder.join(path)).ok())
    }
}

/// Media type by the end of a name.
fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("m3u8") => "application/vnd.apple.mpegurl",
        Some("mpd") => "application/dash+xml",
        Some("mp4" | "m4s") => "video/mp4",
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        _ => "application/octet-stream",
    }
}

/// Serves `content` as `host` on a free port of loopback, until the process ends; each request is a line of `log`.
pub fn serve(host: &str, content: Content, log: Arc<Log>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let (host, content) = (Arc::from(host), Arc::new(content));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (host, content, log) = (Arc::clone(&host), Arc::clone(&content), Arc::clone(&log));
            // A browser that closes a connection, or cuts a request short, is no error of ours.
            std::thread::spawn(move || drop(answer(stream, &host, &content, &log)));
        }
    });
    addr
}

/// Answers one connection until the browser closes it.
fn answer(stream: TcpStream, host: &Arc<str>, content: &Content, log: &Log) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while stream.read_line(&mut header)? > 2 {
            header.clear();
        }
        let target = request.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let is_out = content.manner.is_out.load(Ordering::Relaxed);
        let body = content.read(path);
        let status = match &body {
            _ if is_out => 0,
            Some(_) => 200,
            None => 404,
        };
        log.push(Access { at: Instant::now(), host: Arc::clone(host), path: path.to_owned(), status });
        if is_out {
            return Ok(());
        }
        let body = body.unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status} Told\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             Access-Control-Allow-Origin: *\r\nTiming-Allow-Origin: *\r\n\r\n",
            media_type(path),
            body.len()
        );
        stream.get_mut().write_all(head.as_bytes())?;
        send(stream.get_mut(), &body, content.manner.pace_kbps.load(Ordering::Relaxed))?;
    }
}

/// Sends a body, in small pieces where it is to be slow.
fn send(stream: &mut TcpStream, body: &[u8], pace_kbps: u32) -> std::io::Result<()> {
    if pace_kbps == 0 {
        return stream.write_all(body);
    }
    for piece in body.chunks(PIECE_LEN) {
        stream.write_all(piece)?;
        // A bit a millisecond is a kilobit a second.
        std::thread::sleep(Duration::from_millis(piece.len() as u64 * 8 / u64::from(pace_kbps)));
    }
    Ok(())
}
