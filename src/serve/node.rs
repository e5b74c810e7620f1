//! A node from its config: everything wired together.
//!
//! [`start`] reads what the config points at, opens the state directory, offers the table file,
//! and starts a [`Server`]; [`Node`] is what keeps being done beside answering. What a reload may change
//! is replaced where it is used; listeners, threads and the state directory need a restart, and a
//! reload that would change them says so. A reload that fails changes nothing. Layer 8.

use crate::config::Config;
use crate::control::{self, Audit, Auth, ControlState};
use crate::distribution::file::TableFile;
use crate::geo::Geography;
use crate::http;
use crate::problem::Problem;
use crate::publish::store::Store;
use crate::publish::{PushReport, Publisher, Refusal};
use crate::serve::desk::Desks;
use crate::serve::life::Life;
use crate::serve::load::Loaded;
use crate::serve::meters::Meters;
use crate::serve::run::{Chores, now};
use crate::serve::{Layout, Parts, Server, StartError};
use crate::units::UnixMs;
use arc_swap::ArcSwap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

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
    redirects: Arc<ArcSwap<http::Settings>>,
    table: Mutex<Option<TableFile>>,
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
    let loaded = Loaded::read(&config).map_err(Failure::Invalid)?;
    for warning in loaded.warnings.iter().take(LOGGED_MAX) {
        tracing::warn!(%warning, "config");
    }
    let publisher = Arc::new(open_publisher(&config, &loaded)?);
    let table = config.table.file.as_deref();
    let table = table.map(|file| TableFile::new(config.resolve(file), config.control.body_octets_max()));
    let redirects = Arc::new(ArcSwap::from_pointee(http::Settings::from(&config.http)));
    let meters = Arc::new(Meters::default());
    let render = meters.expose(Arc::clone(&publisher));
    let layout = Layout::of(&config);
    let desks =
        Desks { publisher: Arc::clone(&publisher), redirects: Arc::clone(&redirects), meters };
    let node = Arc::new_cyclic(|node: &std::sync::Weak<Node>| {
        let reloader = node.clone();
        let reload = move |force| match reloader.upgrade() {
            Some(node) => node.reload_data(force, now()),
            None => Err(Refusal::Busy),
        };
        let control = ControlState {
            publisher: Arc::clone(&publisher),
            auth: ArcSwap::from_pointee(loaded.auth),
            audit: Arc::new(Audit::new()),
            clock: now,
            render_metrics: Arc::new(render),
            reload: Arc::new(reload),
            take_key: http::content_key,
            is_draining: Arc::clone(life.is_draining()),
            body_octets_max: config.control.body_octets_max(),
            node: host_name(),
        };
        Node {
            file: file.to_owned(),
            config: Mutex::new(config),
            publisher,
            control: Arc::new(control),
            redirects,
            table: Mutex::new(table),
        }
    });
    // Served from the first answer on, if there is nothing newer in the state directory.
    node.watch(now());
    let control = control::router(Arc::clone(&node.control));
    let server = Server::start(&layout, Parts { dns: desks.clone(), http: desks, control }, life)?;
    Ok((server, node.chores()))
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

    /// Looks at the table file.
    fn watch(&self, now: UnixMs) {
        if let Some(table) = locked(&self.table).as_mut() {
            // It logs what came of it.
            table.poll(&self.publisher, now);
        }
    }

    /// Reads the config and what it points at again (SIGHUP).
    fn reload(&self, now: UnixMs) {
        let read = read_config(&self.file)
            .and_then(|config| Loaded::read(&config).map(|loaded| (config, loaded)));
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
        self.redirects.store(Arc::new(http::Settings::from(&config.http)));
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
        let loaded = Loaded::read(&config).map_err(Refusal::Invalid)?;
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
            dns_workers: config.dns.workers.count(cores),
            dns_tcp_open_max: config.dns.tcp_connections_max as usize,
            dns_tcp_idle: Duration::from_secs(u64::from(config.dns.tcp_idle_s)),
            http: config.http.listen.iter().map(|listen| listen.addr).collect(),
            http_workers: config.http.workers.count(cores),
            control: config.control.listen.clone(),
        }
    }
}

/// Opens the state directory, and a publisher with what is in it.
///
/// # Errors
/// When the directory cannot be used.
fn open_publisher(config: &Config, loaded: &Loaded) -> Result<Publisher, Failure> {
    let path = config.resolve(&config.table.state_dir);
    let keep = config.table.keep as usize;
    let (store, recovered) =
        Store::open(&path, keep).map_err(|source| Failure::State { path: path.clone(), source })?;
    let (geography, zones) = (Arc::clone(&loaded.geography), Arc::clone(&loaded.zones));
    let (publisher, warnings) =
        Publisher::open(loaded.rules.clone(), store, recovered, geography, zones, now());
    for warning in warnings {
        tracing::warn!(dir = %path.display(), %warning, "state");
    }
    Ok(publisher)
}

/// Whether `after` asks for what only a restart brings.
fn needs_restart(before: &Config, after: &Config) -> bool {
    before.dns.listen != after.dns.listen
        || before.dns.workers != after.dns.workers
        || before.dns.tcp_connections_max != after.dns.tcp_connections_max
        || before.dns.tcp_idle_s != after.dns.tcp_idle_s
        || before.http.listen != after.http.listen
        || before.http.workers != after.http.workers
        || before.control.listen != after.control.listen
        || before.control.body_max_mb != after.control.body_max_mb
        || before.table.state_dir != after.table.state_dir
        || before.table.keep != after.table.keep
        || before.log != after.log
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
