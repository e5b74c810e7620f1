//! Servers under test, each a process of its own that ends with us.

use crate::harness::{Steerd, binary, write_config_of};
use crate::mix;
use crate::peers::{Place, Recipe};
use crate::processors::Processors;
use crate::system::{self, Signal};
use crate::world::World;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long a server may take to be ready: a quarter of a million networks on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// How long one may take to end in order.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A process that is ended when this is dropped.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        system::signal(self.0.id(), Signal::Terminate);
        let begin = Instant::now();
        while begin.elapsed() < END_WITHIN {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // It may have ended meanwhile.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What keeps a server running.
pub enum Keeper {
    /// One of ours.
    Steerd(Steerd),
    /// Anything else.
    Process(Process),
}

/// A running server.
pub struct Server {
    /// As the tables call it.
    pub name: String,
    /// Prefixes that it carries; 0: the same answer for everybody.
    pub prefixes: usize,
    /// Its first process.
    pub pid: u32,
    /// Where it answers DNS, if it does.
    pub dns: SocketAddr,
    /// Where it answers HTTP/1.1, if it does.
    pub http: SocketAddr,
    /// Where it answers HTTP/2 without TLS, if it does.
    pub h2: SocketAddr,
    /// Its process.
    pub keeper: Keeper,
}

impl Server {
    /// A role of this program.
    pub fn role(name: &str, role: &str, is_dns: bool, processors: Processors) -> Self {
        Self::role_on(name, role, is_dns, false, processors)
    }

    /// A role of this program that runs on both processors.
    pub fn role_on_both(name: &str, role: &str, is_dns: bool, processors: Processors) -> Self {
        Self::role_on(name, role, is_dns, true, processors)
    }

    /// A role of this program.
    fn role_on(name: &str, role: &str, is_dns: bool, is_on_both: bool, processors: Processors) -> Self {
        let at = loopback(free_port());
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.args([role, &at.to_string()]);
        let child = processors.start(is_on_both, || system::end_with_us(&mut command).spawn());
        let process = Process(child.expect("this program starts"));
        let mut server = Self::new(name, 0, process, at, at);
        server.wait(is_dns, None);
        server
    }

    /// A peer with the table of epoch 1; its place is in `dir`.
    pub fn peer(
        recipe: &Recipe,
        world: &World,
        is_dns: bool,
        dir: &Path,
        processors: Processors,
    ) -> (Self, Place) {
        let dir = dir.join(recipe.program);
        for folder in ["run", "state", "db"] {
            fs::create_dir_all(dir.join(folder)).expect("a folder");
        }
        let place = Place { dir, port: free_port(), h2_port: free_port() };
        (recipe.configure)(&place);
        place.write(recipe.table_file, &(recipe.table)(world, 1));
        let log = place.dir.join("log");
        let file = File::create(&log).expect("a file");
        let mut command = (recipe.start)(&place);
        command.stdin(std::process::Stdio::null()).stderr(file.try_clone().expect("a file")).stdout(file);
        let child = processors.start(false, || system::end_with_us(&mut command).spawn());
        let process = Process(child.expect("a program that was found"));
        let (at, h2) = (loopback(place.port), loopback(place.h2_port));
        let mut server = Self::new(recipe.name, world.internet.prefixes.len(), process, at, h2);
        server.wait(is_dns, Some(&log));
        (server, place)
    }

    /// steerd with `workers` of each kind and the table of epoch 1, `size` appliances a cluster; its
    /// config and state are in `dir`. Several workers run on both processors.
    pub fn steerd(
        name: &str,
        world: &World,
        (workers, size): (usize, usize),
        dir: &Path,
        processors: Processors,
    ) -> Self {
        fs::create_dir_all(dir).expect("a folder");
        let config = write_config_of(dir, workers, "");
        Self::steerd_with(name, world, (workers, size), &config, processors)
    }

    /// steerd by `config`, with the first table.
    fn steerd_with(
        name: &str,
        world: &World,
        (workers, size): (usize, usize),
        config: &Path,
        processors: Processors,
    ) -> Self {
        let server = Self::steerd_as_left(name, world, config, workers > 1, processors);
        let reply = server.as_steerd().call("PUT", "/v1/table", world.table(1, size).as_bytes());
        assert_eq!(reply.status, 200, "{reply:?}");
        server
    }

    /// The same with its zone signed, by one key of ECDSA P-256.
    pub fn steerd_signed(
        name: &str,
        world: &World,
        (workers, size): (usize, usize),
        dir: &Path,
        processors: Processors,
    ) -> Self {
        fs::create_dir_all(dir).expect("a folder");
        let keys = dir.join("keys");
        let mut generate = Command::new(binary::path());
        let generated = generate.args(["keys", "generate", "cdn.example", "--dir"]).arg(&keys).output();
        assert!(generated.is_ok_and(|output| output.status.success()), "a key");
        let config = write_config_of(dir, workers, "");
        let text = fs::read_to_string(&config).expect("a config");
        let text = text.replace("[[dns.zone]]\n", "[[dns.zone]]\nkeys = \"keys\"\n");
        fs::write(&config, text).expect("a config");
        Self::steerd_with(name, world, (workers, size), &config, processors)
    }

    /// steerd with what its state directory holds.
    pub fn steerd_as_left(
        name: &str,
        world: &World,
        config: &Path,
        is_on_both: bool,
        processors: Processors,
    ) -> Self {
        let mut command = Steerd::command(config);
        let steerd = processors.start(is_on_both, || Steerd::start_as(system::end_with_us(&mut command)));
        Self {
            name: name.to_owned(),
            prefixes: world.internet.prefixes.len(),
            pid: steerd.pid(),
            dns: steerd.dns,
            http: steerd.http,
            h2: steerd.http,
            keeper: Keeper::Steerd(steerd),
        }
    }

    /// One with a single port for whatever it speaks.
    fn new(name: &str, prefixes: usize, process: Process, at: SocketAddr, h2: SocketAddr) -> Self {
        let pid = process.0.id();
        Self { name: name.to_owned(), prefixes, pid, dns: at, http: at, h2, keeper: Keeper::Process(process) }
    }

    /// The push API of ours.
    pub fn as_steerd(&self) -> &Steerd {
        match &self.keeper {
            Keeper::Steerd(steerd) => steerd,
            Keeper::Process(_) => panic!("{} is not steerd", self.name),
        }
    }

    /// Waits until it answers.
    fn wait(&mut self, is_dns: bool, log: Option<&Path>) {
        let begin = Instant::now();
        while !(if is_dns { answers_dns(self.dns) } else { answers_http(self.http) }) {
            let Keeper::Process(process) = &mut self.keeper else { return };
            let has_ended = !matches!(process.0.try_wait(), Ok(None));
            if has_ended || begin.elapsed() > READY_WITHIN {
                let said = log.and_then(|log| fs::read_to_string(log).ok()).unwrap_or_default();
                panic!("{} does not answer; it said:\n{said}", self.name);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether one query gets an answer with a record in it.
pub fn answers_dns(server: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let socket = UdpSocket::bind(loopback(0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.send(&mix::query(1, IpAddr::from([192, 0, 64, 0])))?;
        let mut reply = [0; 512];
        let len = socket.recv(&mut reply)?;
        Ok(len > 12 && reply[3] & 15 == 0 && reply[7] > 0)
    };
    ask().unwrap_or(false)
}

/// Whether one request is redirected.
fn answers_http(server: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: video.cdn.example\r\nX-Forwarded-For: 192.0.64.1\r\n\r\n")?;
        let mut reply = [0; 512];
        let len = stream.read(&mut reply)?;
        Ok(reply[..len].starts_with(b"HTTP/1.1 302"))
    };
    ask().unwrap_or(false)
}

/// A port of this machine's loopback.
fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A port that was free for UDP and TCP just now.
fn free_port() -> u16 {
    loop {
        let socket = UdpSocket::bind(loopback(0)).expect("a free port");
        let at = socket.local_addr().expect("a bound socket");
        if TcpListener::bind(at).is_ok() {
            return at.port();
        }
    }
}
