//! Servers that are not ours, started from a temporary directory and stopped by their process number.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running server; killed when dropped.
pub struct Server(Child);

impl Server {
    /// Starts what `command` says; what it prints goes to `log` in `dir`.
    pub fn start(command: &mut Command, dir: &Path) -> Self {
        let log = || File::create(dir.join("log")).expect("a directory that can be written");
        let child = command.stdin(Stdio::null()).stdout(log()).stderr(log()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// The same, and waits until it prints `words`.
    pub fn start_saying(command: &mut Command, dir: &Path, words: &str) -> Self {
        let mut server = Self::start(command, dir);
        for _ in 0..1000 {
            if server.log(dir).contains(words) {
                return server;
            }
            server.check_on(command, dir);
        }
        panic!("{command:?} does not say {words:?}: {}", server.log(dir));
    }

    /// The same, and waits until it answers DNS at `addr`.
    pub fn start_dns(command: &mut Command, dir: &Path, addr: SocketAddr) -> Self {
        let mut server = Self::start(command, dir);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.connect(addr).expect("loopback");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time");
        let query =
            [b"\xa5\x5a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04test\x00", &[0, 1, 0, 1][..]].concat();
        for _ in 0..1000 {
            if socket.send(&query).is_ok() && socket.recv(&mut [0; 512]).is_ok() {
                return server;
            }
            // A port that nobody listens on yet refuses at once.
            server.check_on(command, dir);
        }
        panic!("{command:?} does not answer: {}", server.log(dir));
    }

    /// Fails if it has ended; else gives it some time.
    fn check_on(&mut self, command: &Command, dir: &Path) {
        let ended = self.0.try_wait().expect("a child");
        assert!(ended.is_none(), "{command:?} ended: {}", self.log(dir));
        std::thread::sleep(Duration::from_millis(10));
    }

    /// What it has printed.
    fn log(&self, dir: &Path) -> String {
        std::fs::read_to_string(dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address of loopback whose port nobody uses, over UDP or TCP.
pub fn free_address() -> SocketAddr {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let port = udp.local_addr().expect("bound").port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return (IpAddr::from(Ipv4Addr::LOCALHOST), port).into();
        }
    }
}
