//! A node from its config: everything wired together.
//!
//! [`start`] reads what the config points at, opens the state directory, offers the table file,
//! and starts a [`Server`]; [`Node`] is what keeps being done beside answering. What a reload may change
//! is replaced where it is used; listeners, threads and the state directory need a restart, and a
//! reload that would change them says so. A reload that fails changes nothing. Layer 8.

use crate::config::{Config, HttpLimits, Listen, LogTo};
use crate::control::{self, Audit, ControlState};
use crate::distribution::file::TableFile;
use crate::dns;
use crate::fleet::Scheme;
use crate::geo::Geography;
use crate::http::steering::{self, SessionSecret};
use crate::http::{self, DecisionIds};
use crate::problem::Problem;
use crate::proxy::Speakers;
use crate::publish::cache::Cache;
use crate::publish::store::{Recovered, Store};
use crate::publish::{Publisher, PushReport, Refusal};
use crate::serve::access_log::AccessLogs;
use crate::serve::desk::Desks;
use crate::serve::life::Life;
use crate::serve::load::Loaded;
use crate::serve::memory;
use crate::serve::meters::Meters;
use crate::serve::run::{Chores, now};
use crate::serve::tap::dnstap::Dnstap;
use crate::serve::tap::lines::Lines;
use crate::serve::tap::{self, Taps};
use crate::serve::tls::{Acceptors, Certificates, clients};
use crate::serve::{Layout, Parts, Server, StartError};
use crate::units::UnixMs;
use arc_swap::ArcSwap;
use ring::rand::{SecureRandom, SystemRandom};
use std::fs;
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

/// Problems that a reload logs, at most.
const LOGGED_MAX: usize = 20;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The config, or what it points at, is wrong.
    #[error("{} problems, the first: {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Invalid(Vec<Problem>),
    /// The state directory cannot be used.
    #[error("table.state_dir {path}: {source}")]
    State {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A listener could not be had, or the system gives no threads.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Signals cannot be handled.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a running node is made of, listeners apart.
pub struct Node {
    /// The config file, to be read again.
    file: PathBuf,
    /// As it was read last.
    config: Mutex<Config>,
    publisher: Arc<Publisher>,
    control: Arc<ControlState>,
    server: Arc<ArcSwap<dns::Server>>,
    secrets: Secrets,
    redirects: Arc<ArcSwap<http::Settings>>,
    steering: Arc<ArcSwap<steering::Settings>>,
    certificates: Arc<Certificates>,
    tls: Option<Acceptors>,
    table: Mutex<Option<TableFile>>,
    /// Set: the access log's file is opened anew.
    reopen_log: Option<Arc<AtomicBool>>,
}

/// What is used where config names no file of secrets.
struct Secrets {
    /// Makes cookies.
    cookies: dns::Secret,
    /// Signs sessions.
    sessions: SessionSecret,
}

/// Reads the config in `file`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_config(file: &Path) -> Result<Config, Vec<Problem>> {
    let name = file.display().to_string();
    match fs::read_to_string(file) {
        Ok(text) => Config::parse(&name, &text),
        Err(error) => Err(vec![Problem::at(0, "", error, "a file that can be read").in_file(name)]),
    }
}

/// Starts the node that `config`, which was read from `file`, describes. When it returns, every
/// listener answers.
///
/// # Errors
/// When anything is wrong; then nothing runs.
pub fn start(file: &Path, config: Config, life: Life) -> Result<(Server, Chores), Failure> {
    memory::give_back_large();
    let (loaded, (store, recovered)) = read_all(&config)?;
    let publisher = Arc::new(open_publisher(&loaded, store, recovered));
    let table = config.table.file.as_deref();
    let table = table.map(|file| TableFile::new(config.resolve(file), config.control.body_octets_max()));
    let secrets = Secrets { cookies: dns::Secret(random()?), sessions: SessionSecret::new(&random()?) };
    let steering = Arc::new(ArcSwap::from_pointee(with_session_secret(loaded.steering, &secrets.sessions)));
    let server = Arc::new(ArcSwap::from_pointee(with_secret(loaded.server, &config, secrets.cookies)));
    let redirects = Arc::new(ArcSwap::from_pointee(http::Settings::from(&config.http)));
    let (meters, audit) = (Arc::new(Meters::default()), Arc::new(Audit::new()));
    let (certificates, tls) = open_tls(&config, &meters)?;
    let layout = Layout::of(&config);
    let Outlets { taps, logs, work } = Outlets::open(&config, &meters, &life);
    let reopen_log = logs.as_ref().map(AccessLogs::reopen);
    let id_key = http::IdKey(random()?);
    let desks = Desks {
        publisher: Arc::clone(&publisher),
        server: Arc::clone(&server),
        redirects: Arc::clone(&redirects),
        steering: Arc::clone(&steering),
        taps,
        logs,
        meters,
        threads: Arc::default(),
        id_key,
        budgets: Arc::default(),
        started: Instant::now(),
    };
    let render = shown(&desks, &audit, &certificates);
    let node = Arc::new_cyclic(|node: &Weak<Node>| {
        let control = ControlState {
            publisher: Arc::clone(&publisher),
            auth: ArcSwap::from_pointee(loaded.auth),
            audit,
            clock: now,
            render_metrics: render,
            reload: reload_by(node.clone()),
            take_key: http::content_key,
            advise: advise_by(Arc::clone(&redirects), id_key),
            is_draining: Arc::clone(life.is_draining()),
            body_octets_max: config.control.body_octets_max(),
            node: host_name(),
        };
        Node {
            file: file.to_owned(),
            config: Mutex::new(config),
            publisher,
            control: Arc::new(control),
            server,
            secrets,
            redirects,
            steering,
            certificates,
            tls: tls.clone(),
            table: Mutex::new(table),
            reopen_log,
        }
    });
    // Served from the first answer on, if there is nothing newer in the state directory.
    node.watch(now());
    let control = control::router(Arc::clone(&node.control));
    let mut server = Server::start(&layout, Parts { dns: desks.clone(), http: desks, control, tls }, life)?;
    for (name, work) in work {
        server.adopt(tap::start(name, work)?);
    }
    Ok((server, node.chores()))
}

/// What a thread does.
type Work = Box<dyn FnOnce() + Send>;

/// Where requests and queries are told of, and what writes that down, each on a thread of its own.
struct Outlets {
    taps: Option<Taps>,
    logs: Option<AccessLogs>,
    work: Vec<(&'static str, Work)>,
}

impl Outlets {
    /// Those that `config` wants.
    fn open(config: &Config, meters: &Meters, life: &Life) -> Self {
        let mut outlets = Self { taps: None, logs: None, work: Vec::new() };
        if let Some(sink) = sink_of(config) {
            let (taps, work) = Taps::new(sink, config.dnstap.one_in, &meters.taps, life.clone());
            outlets.taps = Some(taps);
            outlets.work.push(("dnstap", Box::new(work)));
        }
        if let Some(sink) = lines_of(config) {
            let (logs, work) = AccessLogs::new(sink, &config.access_log, &meters.log_lines, life.clone());
            outlets.logs = Some(logs);
            outlets.work.push(("access-log", Box::new(work)));
        }
        outlets
    }
}

/// What writes the metrics of everything that is counted.
fn shown(desks: &Desks, audit: &Arc<Audit>, certificates: &Arc<Certificates>) -> control::RenderMetrics {
    let (publisher, server) = (Arc::clone(&desks.publisher), Arc::clone(&desks.server));
    Arc::new(desks.meters.expose(publisher, Arc::clone(audit), server, Arc::clone(certificates)))
}

/// What rereads the files of a node.
fn reload_by(node: Weak<Node>) -> control::Reload {
    Arc::new(move |force| match node.upgrade() {
        Some(node) => node.reload_data(force, now()),
        None => Err(Refusal::Busy),
    })
}

/// What says where a client is to be sent, as many places as redirects list.
fn advise_by(redirects: Arc<ArcSwap<http::Settings>>, key: http::IdKey) -> control::Advise {
    // The last range of ids: threads of redirects count from the first.
    let ids = Mutex::new(DecisionIds::new(key, usize::from(u16::MAX)));
    Arc::new(move |world, body| {
        let id = ids.lock().unwrap_or_else(PoisonError::into_inner).next_id();
        http::advice::advise(world, &redirects.load(), Scheme::Http, id, body)
    })
}

/// Reads what `config` points at and what the state directory holds, side by side: GeoIP and the last
/// table are both large, and a restart is quicker so.
///
/// # Errors
/// Of either.
fn read_all(config: &Config) -> Result<(Loaded, (Store, Recovered)), Failure> {
    let (loaded, state) = thread::scope(|scope| {
        let state = scope.spawn(|| open_state(config));
        (Loaded::read(config, &cache_of(config), now()), state.join())
    });
    let loaded = loaded.map_err(Failure::Invalid)?;
    for warning in loaded.warnings.iter().take(LOGGED_MAX) {
        tracing::warn!(%warning, "config");
    }
    let state = state.unwrap_or_else(|panic| resume_unwind(panic))?;
    Ok((loaded, state))
}

impl Node {
    /// What is to be done for it.
    fn chores(self: Arc<Self>) -> Chores {
        let (ticking, watching) = (Arc::clone(&self.publisher), Arc::clone(&self));
        Chores {
            tick: Box::new(move |now| ticking.tick(now)),
            watch: Box::new(move |now| watching.watch(now)),
            reload: Box::new(move |now| self.reload(now)),
        }
    }

    /// Looks at the table file, and keeps the state directory quick to read.
    fn watch(&self, now: UnixMs) {
        self.publisher.fold();
        self.publisher.keep_views(now);
        self.certificates.watch();
        if let Some(table) = locked(&self.table).as_mut() {
            // It logs what came of it.
            table.poll(&self.publisher, now);
        }
    }

    /// Reads the config and what it points at again (SIGHUP).
    fn reload(&self, now: UnixMs) {
        // Whatever becomes of the rest: who moved the file away waits for the new one.
        self.reopen_log.iter().for_each(|reopen| reopen.store(true, Ordering::Release));
        let read = read_config(&self.file)
            .and_then(|config| Loaded::read(&config, &cache_of(&config), now).map(|loaded| (config, loaded)));
        let (config, loaded) = match read {
            Ok(read) => read,
            Err(problems) => {
                tracing::error!(problems = problems.len(), "not reloaded: the config is not valid");
                for problem in problems.iter().take(LOGGED_MAX) {
                    tracing::error!(%problem, "config");
                }
                return;
            }
        };
        for warning in loaded.warnings.iter().take(LOGGED_MAX) {
            tracing::warn!(%warning, "config");
        }
        if let Err(refusal) = self.publisher.reconfigure(loaded.rules, loaded.zones, now) {
            tracing::error!(%refusal, "not reloaded");
            return;
        }
        self.control.auth.store(Arc::new(loaded.auth));
        self.server.store(Arc::new(with_secret(loaded.server, &config, self.secrets.cookies)));
        self.redirects.store(Arc::new(http::Settings::from(&config.http)));
        self.steering.store(Arc::new(with_session_secret(loaded.steering, &self.secrets.sessions)));
        self.certificates.replace(&config);
        if let Some(tls) = &self.tls {
            trust_clients(&config, tls);
        }
        self.replace_table_file(&config);
        match self.reload_geography(loaded.geography, false, now) {
            Err(refusal) => tracing::error!(%refusal, "GeoIP is not reloaded; the rest is"),
            Ok(_) => tracing::info!("reloaded"),
        }
        let mut before = locked(&self.config);
        if needs_restart(&before, &config) {
            tracing::warn!("listeners, workers or the state directory have changed: restart to use them");
        }
        *before = config;
    }

    /// Watches another table file, if the config names another one.
    fn replace_table_file(&self, config: &Config) {
        let path = config.table.file.as_deref().map(|file| config.resolve(file));
        let mut table = locked(&self.table);
        if table.as_ref().map(TableFile::path) != path.as_deref() {
            *table = path.map(|path| TableFile::new(path, config.control.body_octets_max()));
        }
    }

    /// Serves with `geography`, if it is another one.
    ///
    /// # Errors
    /// Those of the publisher.
    fn reload_geography(
        &self,
        geography: Arc<Geography>,
        force: bool,
        now: UnixMs,
    ) -> Result<Option<PushReport>, Refusal> {
        if geography.digest == self.publisher.load().geography().digest {
            return Ok(None);
        }
        self.publisher.reload_geography(geography, force, now).map(Some)
    }

    /// Reads the GeoIP files and the table file again, as the push API asks.
    ///
    /// # Errors
    /// Those of the publisher, and of the files.
    fn reload_data(&self, force: bool, now: UnixMs) -> Result<PushReport, Refusal> {
        let config = locked(&self.config).clone();
        let loaded = Loaded::read(&config, &cache_of(&config), now).map_err(Refusal::Invalid)?;
        let report = self.reload_geography(loaded.geography, force, now)?;
        match (locked(&self.table).as_mut(), report) {
            (Some(table), _) => table.reload(&self.publisher, force, now),
            (None, Some(report)) => Ok(report),
            (None, None) => {
                let problem = Problem::at(0, "table.file", "no file, and GeoIP as before", "something new");
                Err(Refusal::Invalid(vec![problem]))
            }
        }
    }
}

impl Layout {
    /// As `config` says.
    pub fn of(config: &Config) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            dns: config.dns.listen.clone(),
            dns_tls: config.dns.listen_tls.clone(),
            dns_speakers: Arc::new(Speakers(config.dns.trusted_proxies.clone())),
            doh: config.dns.doh,
            dns_workers: config.dns.workers.count(cores),
            dns_tcp_open_max: config.dns.tcp_connections_max as usize,
            dns_tcp_idle: Duration::from_secs(u64::from(config.dns.tcp_idle_s)),
            http: config.http.listen.clone(),
            http_tls: config.http.listen_tls.clone(),
            http3: config.http.http3,
            http_speakers: Arc::new(Speakers(config.http.trusted_proxies.clone())),
            http_workers: config.http.workers.count(cores),
            http_limits: config.http.limits.clone(),
            control: config.control.listen.clone(),
            control_tls: config.control.listen_tls.clone(),
        }
    }

    /// Desks that answer, at most: UDP for each address, TCP, TLS, redirects of either kind, over TLS and for
    /// each address of HTTP/3, and DNS beside the latter three.
    pub fn threads(&self) -> usize {
        let has = |wanted: bool, count: usize| if wanted { count } else { 0 };
        let (dns, http, has_https) = (self.dns_workers, self.http_workers, !self.http_tls.is_empty());
        let http3 = has(self.http3, self.http_tls.len());
        self.dns.len() * dns
            + dns
            + has(!self.dns_tls.is_empty(), dns)
            + 2 * http
            + has(has_https, http)
            + http3
            + has(self.doh, http + has(has_https, http) + http3)
    }
}

/// What is shown over TLS and what greets there; what is wrong with certificates is logged, and keeps nothing
/// from starting.
///
/// # Errors
/// When the system has no random octets.
fn open_tls(config: &Config, meters: &Meters) -> io::Result<(Arc<Certificates>, Option<Acceptors>)> {
    let certificates = Certificates::read(config);
    for problem in certificates.problems() {
        tracing::error!(%problem, "a certificate is not read");
    }
    for warning in certificates.warnings((now().0 / 1000).cast_signed()) {
        tracing::warn!(%warning, "config");
    }
    let (dns, http, control) = (&config.dns.listen_tls, &config.http.listen_tls, &config.control.listen_tls);
    let is_wanted = !dns.is_empty() || !http.is_empty() || !control.is_empty();
    let acceptors = is_wanted.then(|| Acceptors::new(&certificates, &meters.greeted)).transpose()?;
    if let Some(acceptors) = &acceptors {
        trust_clients(config, acceptors);
    }
    Ok((certificates, acceptors))
}

/// Lets clients show the certificates that `config` says; a file that is wrong is logged and changes nothing,
/// which at start is that no certificate is asked for.
fn trust_clients(config: &Config, acceptors: &Acceptors) {
    match clients::read_authorities(config).map(|authorities| acceptors.trust(authorities)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "clients' certificates cannot be verified"),
        Err(problem) => tracing::error!(%problem, "control.client_ca is not read; those that were good stay"),
    }
}

/// Where `config` wants dnstap events.
fn sink_of(config: &Config) -> Option<Dnstap> {
    let file = config.dnstap.file.as_deref().map(|path| Dnstap::File(config.resolve(path)));
    let socket = config.dnstap.socket.as_deref().map(|path| Dnstap::Socket(config.resolve(path)));
    file.or(socket)
}

/// Where `config` wants lines of the access log.
fn lines_of(config: &Config) -> Option<Lines> {
    Some(match config.access_log.to.as_ref()? {
        LogTo::Stdout => Lines::Stdout,
        LogTo::File(path) => Lines::File(config.resolve(path)),
        LogTo::Syslog => Lines::Syslog {
            socket: config.resolve(&config.access_log.syslog_socket),
            facility: config.access_log.syslog_facility,
            host: host_name(),
        },
    })
}

/// Octets that nobody knows.
///
/// # Errors
/// When the system has no random octets.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    SystemRandom::new()
        .fill(&mut octets)
        .map_err(|_| io::Error::other("the system gives no random octets"))?;
    Ok(octets)
}

/// `settings` with `secret` for sessions, where config names none.
fn with_session_secret(mut settings: steering::Settings, secret: &SessionSecret) -> steering::Settings {
    if settings.secrets.is_empty() {
        settings.secrets.push(secret.clone());
    }
    settings
}

/// `server` with `secret` for its cookies, where `config` wants cookies and names no secrets.
fn with_secret(mut server: dns::Server, config: &Config, secret: dns::Secret) -> dns::Server {
    if config.dns.cookies && server.cookies.secrets.is_empty() {
        server.cookies.secrets.push(secret);
    }
    server
}

/// Opens the state directory and reads what is in it.
///
/// # Errors
/// When the directory cannot be used.
fn open_state(config: &Config) -> Result<(Store, Recovered), Failure> {
    let path = config.resolve(&config.table.state_dir);
    let keep = config.table.keep as usize;
    Store::open(&path, keep).map_err(|source| Failure::State { path, source })
}

/// What the state directory keeps of GeoIP.
fn cache_of(config: &Config) -> Cache {
    Cache::of(&config.resolve(&config.table.state_dir))
}

/// A publisher with what the state directory holds.
fn open_publisher(loaded: &Loaded, store: Store, recovered: Recovered) -> Publisher {
    let (geography, zones) = (Arc::clone(&loaded.geography), Arc::clone(&loaded.zones));
    let (publisher, warnings) =
        Publisher::open(loaded.rules.clone(), store, recovered, geography, zones, now());
    for warning in warnings {
        tracing::warn!(%warning, "state");
    }
    publisher
}

/// Whether `after` asks for what only a restart brings.
fn needs_restart(before: &Config, after: &Config) -> bool {
    let is_proxied = |listen: &[Listen]| listen.iter().any(|listen| listen.proxy_protocol);
    let is_dns_proxied = is_proxied(&after.dns.listen) || is_proxied(&after.dns.listen_tls);
    let is_http_proxied = is_proxied(&after.http.listen) || is_proxied(&after.http.listen_tls);
    before.dns.listen != after.dns.listen
        || before.dns.listen_tls != after.dns.listen_tls
        || before.dns.doh != after.dns.doh
        || (is_dns_proxied && before.dns.trusted_proxies != after.dns.trusted_proxies)
        || (is_http_proxied && before.http.trusted_proxies != after.http.trusted_proxies)
        || before.http.listen_tls != after.http.listen_tls
        || before.http.http3 != after.http.http3
        || before.dns.workers != after.dns.workers
        || before.dns.tcp_connections_max != after.dns.tcp_connections_max
        || before.dns.tcp_idle_s != after.dns.tcp_idle_s
        || before.http.listen != after.http.listen
        || before.http.workers != after.http.workers
        || fixed_of(&before.http.limits) != fixed_of(&after.http.limits)
        || before.control.listen != after.control.listen
        || before.control.listen_tls != after.control.listen_tls
        || before.control.body_max_mb != after.control.body_max_mb
        || before.table.state_dir != after.table.state_dir
        || before.table.keep != after.table.keep
        || before.dnstap != after.dnstap
        || before.access_log != after.access_log
        || before.log != after.log
}

/// Of `limits` those that a restart brings only.
fn fixed_of(limits: &HttpLimits) -> HttpLimits {
    HttpLimits { requests_per_s: 0, exempt: Vec::new(), ..limits.clone() }
}

/// The machine's name, for people who look at several.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "steerd".to_owned(),
        name => name.to_owned(),
    }
}

/// The content of `mutex`, which a panic leaves as it was.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_server::proto::op::{Message, ResponseCode};
    use hickory_server::proto::rr::RData;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream, UdpSocket};
    use std::sync::atomic::Ordering;
    use tempfile::TempDir;

    /// A table of one appliance at 192.0.2.`host`, for 127.0.0.0/8.
    fn table(epoch: u64, host: u8) -> String {
        format!(
            r#"{{"table":{{"format":1,"epoch":{epoch},"source":"test"}}}}
{{"site":{{"code":"ams1","lat":52.3,"lon":4.8,"name":"Amsterdam"}}}}
{{"cluster":{{"name":"ams1-a","site":"ams1","class":"transit"}}}}
{{"appliance":{{"name":"a1","cluster":"ams1-a","ipv4":"192.0.2.{host}","hostname":"a1.cdn.example","capacity_mbps":1000,"status":"active"}}}}
{{"service":{{"name":"video.cdn.example","ttl_s":30}}}}
{{"route":{{"prefix":"127.0.0.0/8","via":[{{"cluster":"ams1-a"}}]}}}}
"#
        )
    }

    /// A config of all listeners on free ports, with `extra` lines in `[dns]`.
    fn config(extra: &str) -> String {
        format!(
            r#"[dns]
listen = ["127.0.0.1:0"]
workers = 2
{extra}
[[dns.zone]]
name = "cdn.example"
ns = ["ns1.other.example"]
[http]
listen = ["127.0.0.1:0"]
workers = 1
[control]
listen = "127.0.0.1:0"
[table]
file = "table.ndjson"
state_dir = "state"
"#
        )
    }

    /// Starts a node in a directory of its own.
    fn start_node() -> (TempDir, Server, Chores) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("steerd.toml");
        fs::write(&file, config("")).expect("written");
        fs::write(dir.path().join("table.ndjson"), table(1, 10)).expect("written");
        let config = read_config(&file).expect("valid");
        let (server, chores) = start(&file, config, Life::new()).expect("a node");
        (dir, server, chores)
    }

    /// A query for the A records of video.cdn.example.
    const QUERY: &[u8] = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x05video\x03cdn\x07example\0\0\x01\0\x01";

    /// The address in the reply over UDP.
    fn ask(to: SocketAddr) -> [u8; 4] {
        let client = UdpSocket::bind("127.0.0.1:0").expect("a client");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        client.send_to(QUERY, to).expect("sent");
        let mut reply = [0; 512];
        let len = client.recv(&mut reply).expect("a reply");
        address(&reply[..len])
    }

    /// The only address in a reply, as another codec reads it.
    fn address(reply: &[u8]) -> [u8; 4] {
        let message = Message::from_vec(reply).expect("a message");
        assert_eq!((&reply[..2], message.metadata.response_code), (&QUERY[..2], ResponseCode::NoError));
        let addresses: Vec<_> = message.answers.iter().map(|record| &record.data).collect();
        let [RData::A(address)] = addresses[..] else { panic!("one address: {addresses:?}") };
        address.0.octets()
    }

    /// The response to a request for `path` of `host`.
    fn fetch(addr: SocketAddr, host: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(addr).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        response
    }

    #[test]
    fn a_node_serves_its_table_file_over_every_listener() {
        let (_dir, server, _chores) = start_node();
        assert_eq!(ask(server.dns_udp[0]), [192, 0, 2, 10]);
        let mut stream = TcpStream::connect(server.dns_tcp[0]).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let framed = [&[0, QUERY.len() as u8], QUERY].concat();
        stream.write_all(&framed).expect("sent");
        let mut len = [0; 2];
        stream.read_exact(&mut len).expect("a length");
        let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut reply).expect("a reply");
        assert_eq!(address(&reply), [192, 0, 2, 10]);
        let redirect = fetch(server.http[0], "video.cdn.example", "/a/b?c=d");
        assert!(redirect.starts_with("HTTP/1.1 302 "), "{redirect}");
        assert!(redirect.contains("a1.cdn.example/a/b?c=d"), "{redirect}");
        let metrics = fetch(server.control[0], "localhost", "/metrics");
        for line in [
            "steerd_dns_udp_packets_total{outcome=\"steered\"} 1",
            "steerd_dns_stream_messages_total{outcome=\"steered\"} 1",
            "steerd_http_requests_total{outcome=\"redirected\"} 1",
            "steerd_table_epoch 1.0",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
        }
    }

    #[test]
    fn a_file_is_followed_and_a_bad_config_changes_nothing() {
        let (dir, server, mut chores) = start_node();
        let file = dir.path().join("steerd.toml");
        fs::write(&file, "[dns]\nlisten = 5").expect("written");
        (chores.reload)(now());
        fs::write(dir.path().join("table.ndjson"), table(2, 11)).expect("written");
        // Once to see that it changed, once to see that it does so no more.
        (chores.watch)(now());
        (chores.watch)(now());
        assert_eq!(ask(server.dns_udp[0]), [192, 0, 2, 11]);
        fs::write(&file, config("edns_udp_max = 1400").replace("cdn.example", "new.example"))
            .expect("written");
        (chores.reload)(now());
        (chores.tick)(now());
        // The service is in no zone any more.
        let client = UdpSocket::bind("127.0.0.1:0").expect("a client");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        client.send_to(QUERY, server.dns_udp[0]).expect("sent");
        let mut reply = [0; 512];
        client.recv(&mut reply).expect("a reply");
        assert_eq!(reply[3] & 15, 5, "REFUSED");
    }

    #[test]
    fn ruling_27_a_draining_node_is_not_ready_and_answers() {
        let (_dir, server, _chores) = start_node();
        let ready = |server: &Server| fetch(server.control[0], "localhost", "/readyz");
        assert!(ready(&server).starts_with("HTTP/1.1 200 "));
        server.life().enter(crate::serve::life::Phase::Draining);
        assert!(server.life().is_draining().load(Ordering::Relaxed));
        assert!(ready(&server).starts_with("HTTP/1.1 503 "));
        assert_eq!(ask(server.dns_udp[0]), [192, 0, 2, 10]);
    }

    #[test]
    fn everything_that_is_wrong_with_the_files_is_told_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("steerd.toml");
        let text = config("").replace("ns = [", "records = \"no.zone\"\nns = [")
            + "[geoip]\nfiles = [\"no.mmdb\"]\n";
        fs::write(&file, text).expect("written");
        let config = read_config(&file).expect("valid by itself");
        let problems = Loaded::read(&config, &Cache::none(), now()).expect_err("files that are not there");
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.to_string()).collect();
        assert_eq!(keys, ["geoip.files", "dns.zone.records"]);
    }
}
