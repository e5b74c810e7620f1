//! One immutable generation: the only thing the data plane reads.
//!
//! A [`Snapshot`] joins a compiled table ([`Compiled`], shared by `Arc` between generations) with the
//! health of the moment, which is small. A push compiles a new table; a health flip only counts
//! standings anew. [`Compiler`] keeps what makes the next generation cheap.
//! Layer 5: no I/O, no clock; `publish` owns the pointer.
//!
//! | file | what |
//! |---|---|
//! | `view` | for every client a list of clusters, and for how wide a block it holds |
//! | `list` | a list, and how all of a view are kept |
//! | `lists` | how a list is made from routes, geography and defaults |
//! | `index` | the maps for that |
//! | `build` | the sweep that fills the tables |
//! | `standing` | health, counted by cluster |
//! | `names` | qname to service or appliance |
//! | `kept` | a compiled table as numbers, for the next start |
//! | `moved` | how much address space two generations send elsewhere |

mod build;
mod index;
mod kept;
mod list;
mod lists;
mod moved;
mod names;
mod standing;
mod view;

pub use build::Dirty;
pub use kept::KEPT_VERSION;
pub use list::{Kind, LISTS_MAX, List, Place};
pub use moved::{Moved, moved};
pub use names::{Named, Names, parent_of, wire_name};
pub use standing::{ClusterStanding, Counts, Standings, is_taken_out};
pub use view::{Found, Members, View, ViewSpec};

use crate::fleet::{ApplianceId, ClusterId, Fleet, ServiceId};
use crate::geo::Geography;
use crate::health::{self, Overlay};
use crate::lpm::Lpm;
use crate::metrics::{Tallies, Tally};
use crate::policy::rendezvous::{Contender, KeyHash};
use crate::table::Table;
use crate::units::Epoch;
use crate::wire::UDP_SIZE;
use crate::zone::{Node, Zone, ZoneId, Zones};
use build::ViewBuilder;
use lists::Sources;
use std::sync::Arc;

/// What config says about the decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Bits of an IPv4 client that spread DNS answers inside a large cluster, 0 to 32.
    pub spread_v4: u8,
    /// The same for IPv6, 0 to 128.
    pub spread_v6: u8,
    /// Appliances in a DNS answer when a query has no ECS option.
    pub answers_no_ecs: u8,
    /// Near clusters on a list.
    pub geo_candidates: usize,
    /// Share of a cluster that has to be up or draining for its health to be believed, 0.0 to 1.0;
    /// 0.0 also means that nothing is ever served that health calls down.
    pub fail_open_below: f64,
    /// The largest DNS reply over UDP, octets, at least 512.
    pub udp_size_max: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            spread_v4: 20,
            spread_v6: 44,
            answers_no_ecs: 8,
            geo_candidates: 8,
            fail_open_below: 0.5,
            udp_size_max: UDP_SIZE,
        }
    }
}

/// What a service is to the decision.
#[derive(Debug, Clone)]
struct Steered {
    /// Position in [`Compiled::views`].
    view: usize,
    /// Its name, hashed: the DNS key when the client is not a part of it.
    name_key: KeyHash,
}

/// A table compiled for lookups, health apart. Immutable.
#[derive(Debug)]
pub struct Compiled {
    table: Arc<Table>,
    geography: Arc<Geography>,
    settings: Settings,
    views: Vec<Arc<View>>,
    services: Vec<Steered>,
    contenders: Vec<Contender>,
    names: Arc<Names>,
    is_complete: bool,
}

impl Compiled {
    /// The table it was compiled from.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The geography it was compiled with.
    pub fn geography(&self) -> &Arc<Geography> {
        &self.geography
    }

    /// Whether it holds every list of clusters that the table makes. It does unless one view needs more
    /// than [`LISTS_MAX`]; then it is not to be served.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// All views.
    pub fn views(&self) -> &[Arc<View>] {
        &self.views
    }

    /// The view of a service.
    pub fn view_of(&self, service: ServiceId) -> &Arc<View> {
        &self.views[self.services[service.index()].view]
    }

    /// How the clusters of each view stand under `overlay`.
    fn standings(&self, overlay: &Overlay) -> Arc<[Standings]> {
        let fleet = self.table.fleet();
        assert_eq!(overlay.appliances.len(), fleet.appliances().len(), "an overlay of this fleet");
        let below = self.settings.fail_open_below;
        let (healths, contenders) = (&overlay.appliances, &self.contenders);
        let standing = |view: &Arc<View>| Standings::count(fleet, view.members(), healths, contenders, below);
        self.views.iter().map(standing).collect()
    }

    /// Octets of the lookup tables on the heap, parts shared with other generations counted in full.
    pub fn heap_bytes(&self) -> usize {
        self.views.iter().map(|view| view.heap_bytes()).sum()
    }
}

/// Compiles tables, each building on the one before where it can.
#[derive(Debug, Default)]
pub struct Compiler {
    builders: Vec<ViewBuilder>,
    last: Option<Arc<Compiled>>,
    /// Lists of all builders right after the last full build.
    lists_at_full: usize,
}

impl Compiler {
    /// Nothing compiled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compiles `table` from nothing.
    pub fn compile(
        &mut self,
        table: Arc<Table>,
        geography: Arc<Geography>,
        settings: Settings,
    ) -> Arc<Compiled> {
        let from = Sources {
            fleet: table.fleet(),
            routes: table.routes(),
            geography: &geography,
            geo_candidates: settings.geo_candidates,
        };
        let (specs, services) = specs_of(table.fleet());
        let mut builders: Vec<ViewBuilder> =
            specs.into_iter().map(|spec| ViewBuilder::new(spec, from)).collect();
        let views = in_parallel(&mut builders, |_, builder| builder.build(from));
        self.builders = builders;
        self.lists_at_full = self.list_count();
        self.finish(table, geography, settings, services, views, None)
    }

    /// Compiles `table`, which differs from the last one in the routes of `dirty` only; falls back to
    /// a full compile where that is not so.
    pub fn compile_delta(
        &mut self,
        table: Arc<Table>,
        geography: Arc<Geography>,
        settings: Settings,
        dirty: &Dirty,
    ) -> Arc<Compiled> {
        // Lists of former generations are never dropped one by one.
        let is_worn = self.list_count() > 2 * self.lists_at_full + 10_000;
        let last = self.last.take().filter(|last| {
            !is_worn
                && Arc::ptr_eq(last.table.fleet(), table.fleet())
                && Arc::ptr_eq(&last.geography, &geography)
                && last.settings == settings
                && table.routes().vias.extends(&last.table.routes().vias)
        });
        let Some(last) = last else { return self.compile(table, geography, settings) };
        let from = Sources {
            fleet: table.fleet(),
            routes: table.routes(),
            geography: &geography,
            geo_candidates: settings.geo_candidates,
        };
        let views = in_parallel(&mut self.builders, |at, builder| {
            builder.rebuild(from, &last.views[at], dirty.clone())
        });
        let services = last.services.clone();
        self.finish(table, geography, settings, services, views, Some(last))
    }

    /// Octets that it holds for the next change, besides what it compiled.
    pub fn heap_bytes(&self) -> usize {
        self.builders.iter().map(ViewBuilder::heap_bytes).sum()
    }

    /// Lists that the builders hold.
    fn list_count(&self) -> usize {
        self.builders.iter().map(ViewBuilder::list_count).sum()
    }

    /// Joins the parts and remembers them.
    fn finish(
        &mut self,
        table: Arc<Table>,
        geography: Arc<Geography>,
        settings: Settings,
        services: Vec<Steered>,
        views: Vec<View>,
        last: Option<Arc<Compiled>>,
    ) -> Arc<Compiled> {
        let (names, contenders) = match last {
            Some(last) => (Arc::clone(&last.names), last.contenders.clone()),
            None => names_and_contenders(table.fleet()),
        };
        let views = views.into_iter().map(Arc::new).collect();
        let is_complete = !self.builders.iter().any(ViewBuilder::is_overfull);
        let compiled = Arc::new(Compiled {
            table,
            geography,
            settings,
            views,
            services,
            contenders,
            names,
            is_complete,
        });
        self.last = Some(Arc::clone(&compiled));
        compiled
    }
}

/// The names of a fleet, and its appliances as contenders.
fn names_and_contenders(fleet: &Fleet) -> (Arc<Names>, Vec<Contender>) {
    let contenders = fleet.appliances().iter().map(|a| Contender::new(&a.name, a.capacity_mbps)).collect();
    (Arc::new(Names::of(fleet)), contenders)
}

/// The distinct views of a fleet, and which one each service uses.
fn specs_of(fleet: &Fleet) -> (Vec<ViewSpec>, Vec<Steered>) {
    let mut specs: Vec<ViewSpec> = Vec::new();
    let steered = |service: &crate::fleet::Service| {
        let spec = ViewSpec::of(service);
        let view = specs.iter().position(|s| *s == spec).unwrap_or_else(|| {
            specs.push(spec);
            specs.len() - 1
        });
        Steered { view, name_key: KeyHash::of(service.name.as_bytes()) }
    };
    let services = fleet.services().iter().map(steered).collect();
    (specs, services)
}

/// Runs `build` for each of `builders`, on as many threads as there are cores.
fn in_parallel(
    builders: &mut [ViewBuilder],
    build: impl Fn(usize, &mut ViewBuilder) -> View + Sync,
) -> Vec<View> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if threads == 1 || builders.len() < 2 {
        return builders.iter_mut().enumerate().map(|(at, builder)| build(at, builder)).collect();
    }
    let share = builders.len().div_ceil(threads);
    let build = &build;
    std::thread::scope(|scope| {
        let handles: Vec<_> = builders
            .chunks_mut(share)
            .enumerate()
            .map(|(part, builders)| {
                scope.spawn(move || {
                    let one = |(at, builder): (usize, &mut ViewBuilder)| build(part * share + at, builder);
                    builders.iter_mut().enumerate().map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        let join = |handle: std::thread::ScopedJoinHandle<'_, Vec<View>>| match handle.join() {
            Ok(views) => views,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        handles.into_iter().flat_map(join).collect()
    })
}

/// One generation.
#[derive(Debug, Clone)]
pub struct Snapshot {
    generation: u64,
    compiled: Arc<Compiled>,
    overlay: Arc<Overlay>,
    standings: Arc<[Standings]>,
    zones: Arc<Zones>,
    /// For each service where it is in `zones`.
    homes: Arc<[Option<Home>]>,
    answers: Arc<AnswerTally>,
    departed: Arc<[Box<str>]>,
    is_ready: bool,
    /// Whether the table is older than it should be.
    is_stale: bool,
}

/// Names of services that are remembered after they went, at most.
const DEPARTED_MAX: usize = 4096;

/// Where a service's name is in the static data, so that no query has to look for that.
#[derive(Debug, Clone, Copy)]
struct Home {
    zone: ZoneId,
    /// Something is static at the name itself.
    has_node: bool,
}

impl Home {
    /// The home of a service; `None` outside of all zones, and for a wildcard, whose names are many.
    fn of(service: &str, zones: &Zones) -> Option<Self> {
        let name = wire_name(service);
        let zone = zones.id_of(&name).filter(|_| !service.starts_with('*'))?;
        Some(Self { zone, has_node: zones.zone(zone).node(&name).is_some() })
    }
}

/// Counters of one table's services and clusters.
#[derive(Debug)]
pub struct AnswerTally {
    services: Arc<Tally>,
    clusters: Arc<Tally>,
}

/// Answers by service and by cluster, over all tables.
#[derive(Debug)]
pub struct AnswerTallies {
    /// By service.
    pub services: Arc<Tallies>,
    /// By cluster.
    pub clusters: Arc<Tallies>,
}

impl AnswerTallies {
    /// For workers 0 to `workers` - 1.
    pub fn new(workers: usize) -> Self {
        let tallies = || Arc::new(Tallies::new(workers));
        Self { services: tallies(), clusters: tallies() }
    }

    /// For a table that begins to be served.
    pub fn open(&self, fleet: &Fleet) -> Arc<AnswerTally> {
        let services = self.services.open(fleet.services().iter().map(|service| service.name.clone()));
        let clusters = self.clusters.open(fleet.clusters().iter().map(|cluster| cluster.name.clone()));
        Arc::new(AnswerTally { services, clusters })
    }
}

impl AnswerTally {
    /// Counts nothing.
    fn unread() -> Arc<Self> {
        Arc::new(Self { services: Tally::unread(), clusters: Tally::unread() })
    }
}

impl Snapshot {
    /// Joins a compiled table and the health of its appliances, which `overlay` holds in the order
    /// of the table's fleet.
    ///
    /// # Panics
    /// When the overlay is of another fleet.
    pub fn new(generation: u64, compiled: Arc<Compiled>, overlay: Arc<Overlay>, zones: Arc<Zones>) -> Self {
        let standings = compiled.standings(&overlay);
        let services = compiled.table.fleet().services();
        let homes = services.iter().map(|service| Home::of(&service.name, &zones)).collect();
        let (answers, departed) = (AnswerTally::unread(), Arc::default());
        Self {
            generation,
            compiled,
            overlay,
            standings,
            zones,
            homes,
            answers,
            departed,
            is_ready: true,
            is_stale: false,
        }
    }

    /// The same generation, knowing which services went between `former` and it: those of `former` and
    /// those that had gone by then, unless they are back. Beyond 4096 of them some are forgotten.
    #[must_use]
    pub fn after(self, former: &Self) -> Self {
        if Arc::ptr_eq(former.compiled.table.fleet(), self.compiled.table.fleet()) {
            return Self { departed: Arc::clone(&former.departed), ..self };
        }
        let gone = former.fleet().services().iter().map(|service| &service.name).chain(&*former.departed);
        let gone = gone.filter(|name| self.fleet().service_by_name(name).is_none());
        let mut departed: Vec<Box<str>> = gone.take(DEPARTED_MAX).cloned().collect();
        departed.sort_unstable();
        Self { departed: departed.into(), ..self }
    }

    /// Whether `name` was a service of a table that this process served before, and is none now.
    pub fn has_departed(&self, name: &str) -> bool {
        self.departed.binary_search_by(|gone| (**gone).cmp(name)).is_ok()
    }

    /// The generation before the first table: it knows nobody, and says that it is not ready.
    pub fn not_ready(compiled: Arc<Compiled>, overlay: Arc<Overlay>, zones: Arc<Zones>) -> Self {
        Self { is_ready: false, ..Self::new(0, compiled, overlay, zones) }
    }

    /// The same table and zones under another health.
    pub fn with_overlay(&self, generation: u64, overlay: Arc<Overlay>) -> Self {
        let standings = self.compiled.standings(&overlay);
        Self { generation, overlay, standings, ..self.clone() }
    }

    /// The same generation, its answers counted in `answers`, which were opened for its fleet.
    #[must_use]
    pub fn counting(self, answers: Arc<AnswerTally>) -> Self {
        Self { answers, ..self }
    }

    /// The same generation, its table as old as it should be or older.
    #[must_use]
    pub fn aged(self, is_stale: bool) -> Self {
        Self { is_stale, ..self }
    }

    /// Where its answers are counted.
    pub fn answers(&self) -> &Arc<AnswerTally> {
        &self.answers
    }

    /// Counts an answer on behalf of a worker, who alone may use that number.
    pub fn count_answer(&self, worker: usize, service: ServiceId, cluster: Option<ClusterId>) {
        self.answers.services.count(worker, service.index());
        if let Some(cluster) = cluster {
            self.answers.clusters.count(worker, cluster.index());
        }
    }

    /// Names of clusters that have an appliance up, but too few to be believed, in any view.
    pub fn clusters_judged_broken(&self) -> Vec<String> {
        let is_broken = |id: &ClusterId| {
            self.standings.iter().any(|standings| {
                let standing = standings.of(*id);
                standing.up.all > 0 && !standing.is_ok
            })
        };
        let fleet = self.fleet();
        fleet.cluster_ids().filter(is_broken).map(|id| fleet.cluster(id).name.to_string()).collect()
    }

    /// The zone of `name`, a service's own name in wire form, and what is static there; `None` where
    /// the name is in no zone.
    pub(crate) fn home(&self, service: ServiceId, name: &[u8]) -> Option<(&Zone, Option<&Node>)> {
        let home = self.homes[service.index()]?;
        let zone = self.zones.zone(home.zone);
        Some((zone, if home.has_node { zone.node(name) } else { None }))
    }

    /// The zone that the service's own name lies in.
    pub(crate) fn home_zone(&self, service: ServiceId) -> Option<&Zone> {
        self.homes[service.index()].map(|home| self.zones.zone(home.zone))
    }

    /// Static zone data.
    pub fn zones(&self) -> &Arc<Zones> {
        &self.zones
    }

    /// Its number; grows with every change of table, geography or health.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether it has a table; before the first one nothing can be steered.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Whether nobody has pushed or confirmed its table for longer than config allows.
    #[inline]
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// The epoch of its table.
    pub fn epoch(&self) -> Option<Epoch> {
        self.is_ready.then(|| self.compiled.table.epoch())
    }

    /// The table.
    pub fn table(&self) -> &Arc<Table> {
        &self.compiled.table
    }

    /// Sites, clusters, appliances and services.
    pub fn fleet(&self) -> &Fleet {
        self.compiled.table.fleet()
    }

    /// Where clients are.
    pub fn geography(&self) -> &Geography {
        &self.compiled.geography
    }

    /// What config says about the decision.
    pub fn settings(&self) -> &Settings {
        &self.compiled.settings
    }

    /// The compiled table.
    pub fn compiled(&self) -> &Arc<Compiled> {
        &self.compiled
    }

    /// Health as it was when this generation began.
    pub fn overlay(&self) -> &Arc<Overlay> {
        &self.overlay
    }

    /// Names of services and appliances.
    pub fn names(&self) -> &Names {
        &self.compiled.names
    }

    /// The view of a service.
    pub fn view(&self, service: ServiceId) -> &View {
        self.compiled.view_of(service)
    }

    /// The position among all views of a service's.
    pub fn view_position(&self, service: ServiceId) -> usize {
        self.compiled.services[service.index()].view
    }

    /// How the clusters of a service's view stand.
    pub fn standings(&self, service: ServiceId) -> &Standings {
        &self.standings[self.compiled.services[service.index()].view]
    }

    /// The service's name as a key.
    pub fn name_key(&self, service: ServiceId) -> KeyHash {
        self.compiled.services[service.index()].name_key
    }

    /// What rendezvous hashing takes of an appliance.
    pub fn contender(&self, appliance: ApplianceId) -> Contender {
        self.compiled.contenders[appliance.index()]
    }

    /// The health of an appliance.
    pub fn health(&self, appliance: ApplianceId) -> health::Standing {
        self.overlay.standing(appliance)
    }

    /// Octets of the lookup tables.
    pub fn heap_bytes(&self) -> usize {
        self.compiled.heap_bytes()
    }
}
