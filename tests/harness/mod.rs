//! Runs the real binary on a temporary directory and talks to it over sockets.

pub mod binary;
pub mod dns;
pub mod internet;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running `steerd serve`; killed when dropped.
pub struct Steerd {
    child: Child,
    /// DNS over UDP and TCP.
    pub dns: SocketAddr,
    /// Redirects.
    pub http: SocketAddr,
    /// The push API.
    pub control: SocketAddr,
    /// DNS over TLS, where the config has it.
    #[allow(dead_code, reason = "each test binary uses its part")]
    pub dns_tls: Option<SocketAddr>,
    /// Redirects over TLS, where the config has them.
    #[allow(dead_code, reason = "each test binary uses its part")]
    pub https: Option<SocketAddr>,
    /// The push API over TLS, where the config has it.
    #[allow(dead_code, reason = "each test binary uses its part")]
    pub control_tls: Option<SocketAddr>,
}

/// A config that listens on free ports of loopback and keeps its state in `state` beside it.
pub fn write_config(dir: &Path, more: &str) -> PathBuf {
    write_config_of(dir, 1, more)
}

/// The same with a number of UDP workers.
pub fn write_config_of(dir: &Path, workers: usize, more: &str) -> PathBuf {
    let root = env!("CARGO_MANIFEST_DIR");
    let text = format!(
        r#"
drain_s = 0
[dns]
listen = ["127.0.0.1:0"]
workers = {workers}
[[dns.zone]]
name = "cdn.example"
ns = ["ns.other.example"]
soa = {{ mname = "ns.other.example", rname = "hostmaster.cdn.example" }}
[http]
listen = ["127.0.0.1:0"]
workers = 1
trusted_proxies = ["127.0.0.0/8"]
[control]
listen = "127.0.0.1:0"
[geoip]
files = ["{root}/data/iptoasn-country.mmdb"]
{more}
"#
    );
    let path = dir.join("steerd.toml");
    std::fs::write(&path, text).expect("a directory that can be written");
    path
}

impl Steerd {
    /// Starts the binary and waits until it says that it answers.
    pub fn start(config: &Path) -> Self {
        Self::start_as(&mut Self::command(config))
    }

    /// The command that starts it.
    pub fn command(config: &Path) -> Command {
        let mut command = Command::new(binary::path());
        // Every push is logged; here only what goes wrong is of interest.
        command.args(["serve", "--config"]).arg(config).env("RUST_LOG", "warn");
        command
    }

    /// Starts it by a command that the caller may have added to.
    pub fn start_as(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the binary under test");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        // The push API is told of last.
        let mut found = [None; 6];
        while found[..3].iter().any(Option::is_none) {
            let line = lines.next().expect("a line for each listener").expect("UTF-8");
            let addr = line.split_whitespace().find_map(|word| word.parse::<SocketAddr>().ok());
            let kinds = ["dns udp", "http ", "control ", "dns tls", "https", "control tls"];
            let kind = kinds.iter().rposition(|kind| line.starts_with(kind));
            if let (Some(kind), Some(addr)) = (kind, addr) {
                found[kind] = Some(addr);
            }
        }
        // Nobody reads on; the pipe must not fill or break.
        std::thread::spawn(move || lines.for_each(drop));
        let [dns, http, control, dns_tls, https, control_tls] = found;
        let [dns, http, control] = [dns, http, control].map(|addr| addr.expect("all found"));
        Self { child, dns, http, control, dns_tls, https, control_tls }
    }

    /// Process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end and waits for that.
    pub fn terminate(&mut self) {
        let pid = self.pid().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(told.success());
        assert!(self.child.wait().expect("a process that ends").success());
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().expect("a running process");
        self.child.wait().expect("a killed process");
    }

    /// Resident memory, octets.
    pub fn resident_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap_or_default();
        let pages: u64 = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
        pages * 4096
    }

    /// Calls the push API.
    pub fn call(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        call(self.control, method, path, body).expect("the push API answers")
    }

    /// A connection to its push API.
    #[allow(dead_code, reason = "not every test keeps one")]
    pub fn connect(&self) -> Connection {
        Connection::to(self.control).expect("the push API accepts")
    }
}

impl Drop for Steerd {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP response.
#[derive(Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One request on its own connection.
pub fn call(addr: SocketAddr, method: &str, path: &str, body: &[u8]) -> std::io::Result<Reply> {
    Connection::to(addr)?.ask(method, path, "close", body)
}

/// A connection to the push API.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Opens one.
    fn to(addr: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// One request; the connection stays.
    #[allow(dead_code, reason = "not every test keeps one")]
    pub fn call(&mut self, method: &str, path: &str, body: &[u8]) -> std::io::Result<Reply> {
        self.ask(method, path, "keep-alive", body)
    }

    /// Sends a request and reads its response.
    fn ask(&mut self, method: &str, path: &str, after: &str, body: &[u8]) -> std::io::Result<Reply> {
        let kind = if path.starts_with("/v1/table") && !path.contains("rollback") {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: {after}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let (mut head, mut line) = (String::new(), String::new());
        while self.0.read_line(&mut line)? > 2 {
            head.push_str(&line.to_ascii_lowercase());
            line.clear();
        }
        let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("no status in {head:?}")))?;
        let len =
            head.split_once("content-length: ").and_then(|(_, rest)| rest.split_once('\r')?.0.parse().ok());
        let mut text = Vec::new();
        match len {
            Some(len) => {
                text.resize(len, 0);
                self.0.read_exact(&mut text)?;
            }
            None => drop(self.0.read_to_end(&mut text)?),
        }
        let body = String::from_utf8_lossy(&text);
        let is_chunked = head.contains("transfer-encoding: chunked");
        let body = if is_chunked { dechunk(&body) } else { body.into_owned() };
        Ok(Reply { status, body })
    }
}

/// Takes the chunk sizes out of a body (RFC 9112 section 7.1).
fn dechunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        let Some((chunk, next)) = after.split_at_checked(size).filter(|_| size > 0) else { break };
        body.push_str(chunk);
        rest = next.strip_prefix("\r\n").unwrap_or(next);
    }
    body
}
