//! The one writer: accept, validate, guard, build, persist, swap.
//!
//! A [`Publisher`] owns the only pointer to the current [`Snapshot`] and the state directory. The
//! push API, a watched file, a GeoIP reload and a distributor all come through its one door; the data
//! plane only ever calls [`Publisher::load`]. Layer 6: the only module that does I/O for tables, and it
//! reads no clock (time is passed in).
//!
//! Two locks, never taken in the other order:
//!
//! | lock | held for | by |
//! |---|---|---|
//! | `writer` | a whole change of table, geography or settings: seconds | one push at a time |
//! | `head` | joining what is compiled with health, and the swap: microseconds | pushes at their end, every health flip |
//!
//! What was acknowledged is durable: a full table is an artefact (temporary file, fsync, rename,
//! directory fsync), a delta a checksummed journal record, before the swap and so before the reply.
//! Generations that nobody reads any more are freed here, not on the data plane: [`Publisher`] keeps
//! the last few until [`Publisher::tick`] finds that no worker holds them.

pub mod cache;
mod kept;
mod pushed;
mod refusal;
mod report;
mod status;
pub mod store;

pub use pushed::{Form, Pushed};
pub use refusal::Refusal;
pub use report::{DiffReport, PushReport, TableCounts};
pub use status::{Status, Told};

use crate::geo::Geography;
use crate::health::{self, Applied, Health};
use crate::problem::Problem;
use crate::snapshot::{
    AnswerTallies, Compiled, Compiler, Dirty, LISTS_MAX, Moved, Settings, Snapshot, moved,
};
use crate::table::journal::Record;
use crate::table::{self, Delta, DeltaError, DeltaRoutes, GuardHit, Limits, Table, TableDiff};
use crate::units::{Epoch, UnixMs};
use crate::zone::Zones;
use arc_swap::{ArcSwap, Guard};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use store::{Kept, Recovered, Store};

/// Pushes that wait for the one being made; one more is told to come back.
const WAITING_MAX: usize = 4;

/// How a push wants to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PushOptions {
    /// Say what would change; change nothing.
    pub dry_run: bool,
    /// Override guard rails; nothing else.
    pub force: bool,
    /// The highest epoch ever accepted: let any epoch follow (ruling 18).
    pub reset_epoch: Option<Epoch>,
}

/// What config says about publishing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rules {
    /// Of the decision.
    pub settings: Settings,
    /// Of health.
    pub health: health::Settings,
    /// Guard rails.
    pub limits: Limits,
    /// Seconds after which a table that nobody pushed or confirmed is stale; 0: never.
    pub stale_after_s: u32,
    /// Threads that count answers; fixed when the publisher is opened.
    pub workers: usize,
}

/// Owns the current snapshot and everything that makes the next.
#[derive(Debug)]
pub struct Publisher {
    current: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
    head: Mutex<Head>,
    answers: AnswerTallies,
    /// Pushes that hold or wait for `writer`.
    waiting: AtomicUsize,
}

/// What a change of table needs.
#[derive(Debug)]
struct Writer {
    compiler: Compiler,
    store: Store,
    rules: Rules,
    /// The highest epoch ever accepted.
    highest_epoch: Option<Epoch>,
    /// The delta accepted last: its epochs and the SHA-256 of its text, to know it when it comes
    /// again.
    last_delta: Option<(Epoch, Epoch, [u8; 32])>,
    kept: kept::Kept,
}

/// What a swap needs.
#[derive(Debug)]
struct Head {
    generation: u64,
    health: Health,
    /// Former generations that a worker may still hold.
    retired: Vec<Arc<Snapshot>>,
    accepted_at: UnixMs,
    /// When the table was accepted or pushed again; `None` before the first.
    confirmed_at: Option<UnixMs>,
    /// As in [`Rules`].
    stale_after_s: u32,
    /// Health changed since it was last written down.
    is_health_dirty: bool,
}

/// A table that was built and may be served.
struct Candidate {
    compiled: Arc<Compiled>,
    /// The compiler that built it, when it is not the publisher's own.
    compiler: Option<Compiler>,
    diff: TableDiff,
    moved: Moved,
    compile_ms: u64,
}

/// What was said about a push's text.
#[derive(Default)]
struct Remarks {
    warnings: Vec<Problem>,
    ignored: Vec<String>,
    parse_ms: u64,
}

impl Publisher {
    /// Begins with what `recovered` holds, or not ready. Says in words what could not be restored.
    pub fn open(
        rules: Rules,
        store: Store,
        recovered: Recovered,
        geography: Arc<Geography>,
        zones: Arc<Zones>,
        now: UnixMs,
    ) -> (Self, Vec<String>) {
        let answers = AnswerTallies::new(rules.workers);
        let mut warnings = recovered.warnings;
        let mut health = Health::new(rules.health);
        if let Some(problem) = recovered.health.and_then(|bytes| health.restore(&bytes, now).err()) {
            warnings.push(format!("health is not restored: {problem}"));
        }
        let is_ready = recovered.table.is_some();
        let nothing = || Table::empty(Epoch::FIRST, "");
        let table = Arc::new(recovered.table.unwrap_or_else(nothing));
        let mut compiler = Compiler::new();
        let (compiled, kept) =
            kept::recover(&mut compiler, &store, &table, geography, rules.settings.clone());
        let overlay = Arc::new(health.overlay(table.fleet(), now));
        let snapshot = if is_ready {
            Snapshot::new(1, compiled, overlay, zones).counting(answers.open(table.fleet()))
        } else {
            Snapshot::not_ready(compiled, overlay, zones)
        };
        let head = Head {
            generation: snapshot.generation(),
            health,
            retired: Vec::new(),
            accepted_at: UnixMs(recovered.written_at_ms),
            confirmed_at: is_ready.then_some(UnixMs(recovered.written_at_ms)),
            stale_after_s: rules.stale_after_s,
            is_health_dirty: false,
        };
        let highest_epoch = recovered.highest_epoch;
        let writer = Writer { compiler, store, rules, highest_epoch, last_delta: None, kept };
        let publisher = Self {
            current: ArcSwap::from_pointee(snapshot),
            writer: Mutex::new(writer),
            head: Mutex::new(head),
            answers,
            waiting: AtomicUsize::new(0),
        };
        (publisher, warnings)
    }

    /// Answers by service and by cluster.
    pub fn answers(&self) -> &AnswerTallies {
        &self.answers
    }

    /// The current generation, for the data plane: once a batch, after the receive.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The current generation, to keep for longer.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Takes a full table.
    ///
    /// When it returns, the table is durable and every query that is sent later gets its answers.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn put(&self, pushed: Pushed, options: PushOptions, now: UnixMs) -> Result<PushReport, Refusal> {
        let Pushed { header, read, parse_ms } = pushed;
        let mut writer = self.begin()?;
        let world = self.load_full();
        let header = header?;
        let is_again = self.check_epoch(&writer, &world, header.epoch, options)?;
        let read = read?;
        let remarks = Remarks::of(&read.warnings, &read.ignored, parse_ms);
        if is_again {
            // The same epoch: fine if it is the same table, else somebody reused a number.
            if read.table.digest() != world.table().digest() {
                return Err(not_newer(&writer, &world));
            }
            self.confirm(options, now);
            return Ok(unchanged(&world, remarks, options));
        }
        let table = Arc::new(read.table);
        let geography = Arc::clone(world.compiled().geography());
        let candidate = aside(|| build_full(&writer.rules, &world, table, geography));
        let reset = options.reset_epoch.map(|highest| Record::Reset { highest });
        let highest = Some(header.epoch);
        self.finish(&mut writer, &world, candidate, remarks, options, now, |store, table| {
            store.save_full(table, reset.as_ref())?;
            Ok(highest)
        })
    }

    /// Takes a delta.
    ///
    /// # Errors
    /// As [`Publisher::put`]; [`Refusal::WrongBase`] when it is made on another epoch than the
    /// served one.
    pub fn patch(&self, lines: &[u8], options: PushOptions, now: UnixMs) -> Result<PushReport, Refusal> {
        let mut writer = self.begin()?;
        let world = self.load_full();
        let start = Instant::now();
        let header = table::read_header(lines).map_err(Refusal::Invalid)?;
        let Some(base) = header.base else {
            return Err(Refusal::Invalid(vec![Problem::at(
                1,
                "table",
                "a full table",
                "a first line with \"delta\"",
            )]));
        };
        let digest = sha256(lines);
        if writer.last_delta == Some((base, header.epoch, digest)) && world.epoch() == Some(header.epoch) {
            self.confirm(options, now);
            return Ok(unchanged(&world, Remarks::default(), options));
        }
        if world.epoch() != Some(base) {
            return Err(wrong_base(&writer, &world, base));
        }
        if self.check_epoch(&writer, &world, header.epoch, options)? {
            return Err(not_newer(&writer, &world));
        }
        let Delta { read, routes } =
            table::read_delta(lines, world.table()).map_err(|error| match error {
                DeltaError::WrongBase { base, .. } => wrong_base(&writer, &world, base),
                DeltaError::Problems(problems) => Refusal::Invalid(problems),
            })?;
        let remarks = Remarks::of(&read.warnings, &read.ignored, ms_of(start.elapsed()));
        let candidate = build_delta(&mut writer, &world, Arc::new(read.table), routes, options.dry_run);
        let done = self.finish(&mut writer, &world, candidate, remarks, options, now, |store, table| {
            // A delta is above all epochs accepted before, so the highest needs no record of its own.
            store.save_delta(base, lines, table)?;
            Ok(Some(header.epoch))
        });
        if done.is_err() {
            // The compiler has learned a table that is not served.
            writer.compiler = Compiler::new();
        } else if !options.dry_run {
            writer.last_delta = Some((base, header.epoch, digest));
        }
        done
    }

    /// Serves a kept epoch again (ruling 20). The next push must still exceed the highest epoch ever
    /// accepted. Guard rails do not apply: an operator asks for it by name.
    ///
    /// # Errors
    /// [`Refusal::NotKept`], [`Refusal::Storage`].
    pub fn rollback(&self, epoch: Epoch, now: UnixMs) -> Result<PushReport, Refusal> {
        let mut writer = self.begin()?;
        let world = self.load_full();
        if world.epoch() == Some(epoch) {
            return Ok(unchanged(&world, Remarks::default(), PushOptions::default()));
        }
        let start = Instant::now();
        let kept = writer.store.load(epoch).map_err(storage)?.ok_or(Refusal::NotKept { epoch })?;
        let remarks = Remarks::of(&[], &[], ms_of(start.elapsed()));
        let geography = Arc::clone(world.compiled().geography());
        let candidate = build_full(&writer.rules, &world, Arc::new(kept), geography);
        let highest = writer.highest_epoch;
        let options = PushOptions { force: true, ..PushOptions::default() };
        self.finish(&mut writer, &world, candidate, remarks, options, now, |store, table| {
            let record = highest.map(|from| Record::Rollback { from, to: table.epoch() });
            store.save_full(table, record.as_ref())?;
            Ok(highest)
        })
    }

    /// Serves the same table with another geography, within the guard rails.
    ///
    /// # Errors
    /// [`Refusal::Guarded`], [`Refusal::Busy`].
    pub fn reload_geography(
        &self,
        geography: Arc<Geography>,
        force: bool,
        now: UnixMs,
    ) -> Result<PushReport, Refusal> {
        let mut writer = self.begin()?;
        let world = self.load_full();
        let options = PushOptions { force, ..PushOptions::default() };
        if geography.digest == world.geography().digest {
            return Ok(unchanged(&world, Remarks::default(), options));
        }
        let candidate = build_full(&writer.rules, &world, Arc::clone(world.table()), geography);
        let highest = writer.highest_epoch;
        self.finish(&mut writer, &world, candidate, Remarks::default(), options, now, |_, _| Ok(highest))
    }

    /// Takes over changed rules and zones.
    ///
    /// # Errors
    /// [`Refusal::Busy`].
    pub fn reconfigure(&self, rules: Rules, zones: Arc<Zones>, now: UnixMs) -> Result<(), Refusal> {
        let mut writer = self.begin()?;
        let world = self.load_full();
        let mut compiled = Arc::clone(world.compiled());
        if writer.rules.settings != rules.settings {
            let (table, geography) = (Arc::clone(world.table()), Arc::clone(compiled.geography()));
            compiled = writer.compiler.compile(table, geography, rules.settings.clone());
        }
        let mut head = self.head();
        head.health.set_settings(rules.health);
        head.stale_after_s = rules.stale_after_s;
        writer.rules = rules;
        self.swap(&mut head, world.is_ready(), compiled, zones, now);
        Ok(())
    }

    /// The epochs that can be served again, oldest first.
    ///
    /// # Errors
    /// [`Refusal::Busy`].
    pub fn history(&self) -> Result<Vec<Kept>, Refusal> {
        Ok(self.begin()?.store.history(self.load().epoch()))
    }

    /// Takes health reports; appliances that are not in the table are listed.
    ///
    /// # Errors
    /// [`Refusal::OldSeq`] when `from` has a number that is not above its last one.
    pub fn push_health(
        &self,
        from: Option<(&str, u64)>,
        reports: &[health::Report],
        now: UnixMs,
    ) -> Result<Applied, Refusal> {
        let mut head = self.head();
        let world = self.load_full();
        let applied = head.health.push(from, reports, world.fleet(), now).map_err(|refused| {
            Refusal::OldSeq { from: from.map_or("", |from| from.0).to_owned(), last: refused.last }
        })?;
        self.swap_health(&mut head, &world, now);
        Ok(applied)
    }

    /// Takes an appliance's report about itself; false when it is not in the table.
    pub fn heartbeat(&self, report: &health::Report, now: UnixMs) -> bool {
        let mut head = self.head();
        let world = self.load_full();
        let is_known = head.health.heartbeat(report, world.fleet(), now);
        self.swap_health(&mut head, &world, now);
        is_known
    }

    /// Takes an operator's word; says how many appliances it is about.
    ///
    /// # Errors
    /// [`health::TooMany`].
    pub fn set_override(&self, order: health::Order, now: UnixMs) -> Result<usize, health::TooMany> {
        let mut head = self.head();
        let world = self.load_full();
        let matched = order.target.appliances(world.fleet()).len();
        head.health.set_override(order, now)?;
        self.swap_health(&mut head, &world, now);
        Ok(matched)
    }

    /// Takes an operator's word back; false when there is none for `target`.
    pub fn delete_override(&self, target: &health::Match, now: UnixMs) -> bool {
        let mut head = self.head();
        let world = self.load_full();
        let was_there = head.health.delete_override(target);
        self.swap_health(&mut head, &world, now);
        was_there
    }

    /// The operators' words that hold.
    pub fn overrides(&self) -> Vec<health::Override> {
        self.head().health.overrides().to_vec()
    }

    /// What is believed of each appliance, in the order of the fleet, and the generation it is from.
    pub fn beliefs(&self, now: UnixMs) -> (Arc<Snapshot>, Vec<health::Why>) {
        let head = self.head();
        let world = self.load_full();
        let whys = head.health.whys(world.fleet(), now);
        (world, whys)
    }

    /// Brings health up to `now`, writes it down if it changed, and frees generations that nobody reads.
    /// Once a second.
    pub fn tick(&self, now: UnixMs) {
        let mut head = self.head();
        let world = self.load_full();
        head.is_health_dirty |= head.health.tick(now);
        let overlay = head.health.overlay(world.fleet(), now);
        if overlay != **world.overlay() || head.is_stale(now) != world.is_stale() {
            self.swap_overlay(&mut head, &world, overlay, now);
        }
        let unread = |old: &Arc<Snapshot>| Arc::strong_count(old) > 1;
        let (kept, freed): (Vec<_>, Vec<_>) = std::mem::take(&mut head.retired).into_iter().partition(unread);
        head.retired = kept;
        let saved = std::mem::take(&mut head.is_health_dirty).then(|| head.health.save());
        drop(head);
        drop(freed);
        if let Some(saved) = saved {
            self.save_health(&saved);
        }
    }

    /// Folds deltas into an artefact when a restart would have many to apply. To be called now and then;
    /// takes a tenth of a second, in which pushes go on but for the last step.
    pub fn fold(&self) {
        let Ok(writer) = self.writer.try_lock() else { return };
        let Some(folding) = writer.store.folding() else { return };
        // With the writer's lock: what is served is what was made durable last.
        let table = Arc::clone(self.load().table());
        drop(writer);
        let done = folding.write(&table).and_then(|()| match self.begin() {
            Ok(mut writer) => writer.store.finish_folding(&folding),
            // Pushes come thick and fast: another time.
            Err(_) => Ok(()),
        });
        if let Err(error) = done {
            tracing::warn!(%error, "deltas are not folded; a restart takes longer");
        }
    }

    /// Writes health down; left for the next tick while a push is being made.
    fn save_health(&self, health: &[u8]) {
        let Ok(writer) = self.writer.try_lock() else {
            self.head().is_health_dirty = true;
            return;
        };
        if let Err(error) = writer.store.save_health(health) {
            tracing::warn!(%error, "health is not written down");
            self.head().is_health_dirty = true;
        }
    }

    /// The writer's lock, or a refusal when too many wait for it already.
    fn begin(&self) -> Result<Turn<'_>, Refusal> {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(Refusal::Busy);
        }
        // A push that panicked left the compiler in doubt, and everything else as it was.
        let guard = self.writer.lock().unwrap_or_else(|poisoned| {
            self.writer.clear_poison();
            let mut guard = poisoned.into_inner();
            guard.compiler = Compiler::new();
            guard
        });
        Ok(Turn { guard, waiting: &self.waiting })
    }

    /// The head's lock.
    fn head(&self) -> MutexGuard<'_, Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an epoch may come now: false when it is newer than all before, true when it is the
    /// served one again.
    fn check_epoch(
        &self,
        writer: &Writer,
        world: &Snapshot,
        epoch: Epoch,
        options: PushOptions,
    ) -> Result<bool, Refusal> {
        let Some(highest) = writer.highest_epoch else { return Ok(false) };
        match options.reset_epoch {
            Some(reset) if reset == highest => return Ok(false),
            Some(_) => return Err(Refusal::WrongReset { highest_epoch: Some(highest) }),
            None => {}
        }
        if epoch > highest {
            return Ok(false);
        }
        // After a rollback the epoch that was rolled back from is below nothing and still used up.
        if epoch == highest && world.epoch() == Some(epoch) {
            return Ok(true);
        }
        Err(not_newer(writer, world))
    }

    /// Guards, makes durable, swaps and reports.
    #[allow(clippy::too_many_arguments, reason = "the steps of one procedure, called from three places")]
    fn finish(
        &self,
        writer: &mut Writer,
        world: &Arc<Snapshot>,
        candidate: Candidate,
        remarks: Remarks,
        options: PushOptions,
        now: UnixMs,
        persist: impl FnOnce(&mut Store, &Table) -> std::io::Result<Option<Epoch>>,
    ) -> Result<PushReport, Refusal> {
        let Candidate { compiled, compiler, diff, moved, compile_ms } = candidate;
        if !compiled.is_complete() {
            return Err(too_many_lists());
        }
        let hits = guards(&writer.rules, world, &diff, &moved);
        let table = Arc::clone(compiled.table());
        let mut report = PushReport {
            epoch: table.epoch().get(),
            generation: world.generation(),
            counts: TableCounts::of(&table),
            compile_ms,
            parse_ms: remarks.parse_ms,
            persist_ms: 0,
            diff: DiffReport::of(&diff, &moved),
            guards: (options.dry_run || !hits.is_empty()).then(|| hits.clone()),
            warnings: remarks.warnings,
            ignored: remarks.ignored,
            dry_run: options.dry_run,
        };
        if options.dry_run {
            return Ok(report);
        }
        if !hits.is_empty() && !options.force {
            return Err(Refusal::Guarded(hits));
        }
        let start = Instant::now();
        writer.highest_epoch = persist(&mut writer.store, &table).map_err(storage)?;
        report.persist_ms = ms_of(start.elapsed());
        if let Some(compiler) = compiler {
            writer.compiler = compiler;
        }
        writer.last_delta = None;
        let mut head = self.head();
        head.health.retain(table.fleet());
        (head.accepted_at, head.confirmed_at) = (now, Some(now));
        // Zones may have changed since the push began.
        let zones = Arc::clone(self.load().zones());
        report.generation = self.swap(&mut head, true, compiled, zones, now);
        Ok(report)
    }

    /// Lays health over a compiled table and makes it the current generation.
    fn swap(
        &self,
        head: &mut Head,
        is_ready: bool,
        compiled: Arc<Compiled>,
        zones: Arc<Zones>,
        now: UnixMs,
    ) -> u64 {
        let overlay = Arc::new(head.health.overlay(compiled.table().fleet(), now));
        head.generation += 1;
        let snapshot = if is_ready {
            let current = self.current.load();
            let is_same_fleet = Arc::ptr_eq(current.table().fleet(), compiled.table().fleet());
            let answers = if is_same_fleet && current.is_ready() {
                Arc::clone(current.answers())
            } else {
                self.answers.open(compiled.table().fleet())
            };
            let snapshot = Snapshot::new(head.generation, compiled, overlay, zones).counting(answers);
            snapshot.aged(head.is_stale(now)).after(&current)
        } else {
            Snapshot::not_ready(compiled, overlay, zones)
        };
        head.retired.push(self.current.swap(Arc::new(snapshot)));
        head.generation
    }

    /// Lays health over the served table anew.
    fn swap_health(&self, head: &mut Head, world: &Arc<Snapshot>, now: UnixMs) {
        head.is_health_dirty = true;
        let overlay = head.health.overlay(world.fleet(), now);
        if overlay != **world.overlay() {
            self.swap_overlay(head, world, overlay, now);
        }
    }

    /// Makes the served table under `overlay`, as old as it is, the current generation.
    fn swap_overlay(&self, head: &mut Head, world: &Arc<Snapshot>, overlay: health::Overlay, now: UnixMs) {
        head.generation += 1;
        let next = world.with_overlay(head.generation, Arc::new(overlay)).aged(head.is_stale(now));
        head.retired.push(self.current.swap(Arc::new(next)));
    }

    /// Notes that the served table came again; a dry run says nothing.
    fn confirm(&self, options: PushOptions, now: UnixMs) {
        if options.dry_run {
            return;
        }
        let mut head = self.head();
        head.confirmed_at = Some(now);
        let world = self.load_full();
        if world.is_stale() {
            let overlay = head.health.overlay(world.fleet(), now);
            self.swap_overlay(&mut head, &world, overlay, now);
        }
    }
}

impl Head {
    /// Whether the table is older at `now` than it should be.
    fn is_stale(&self, now: UnixMs) -> bool {
        let age_s = self.confirmed_at.map(|at| now.since(at) / 1000);
        self.stale_after_s > 0 && age_s.is_some_and(|age_s| age_s >= u64::from(self.stale_after_s))
    }
}

/// A turn at writing.
struct Turn<'a> {
    guard: MutexGuard<'a, Writer>,
    waiting: &'a AtomicUsize,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl std::ops::Deref for Turn<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.guard
    }
}

impl std::ops::DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Writer {
        &mut self.guard
    }
}

impl Remarks {
    /// Notes what reading brought, and how long it took.
    fn of(warnings: &[Problem], ignored: &[table::Ignored], parse_ms: u64) -> Self {
        let ignored = ignored.iter().map(|key| format!("line {}: {}", key.line, key.key)).collect();
        Self { warnings: warnings.to_vec(), ignored, parse_ms }
    }
}

/// How much less of a core than a thread that answers a thread gets that builds a full table, as a nice
/// value: about a third while both want it.
const BUILD_NICE: i32 = 3;

/// Does `work` on a thread that gives way to those that answer queries.
fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let polite = || {
        // The call is about this thread alone, and about those it starts. Refused, it is merely less polite.
        if let Err(error) = rustix::process::setpriority_process(None, BUILD_NICE) {
            tracing::debug!(%error, "building at usual priority");
        }
        work()
    };
    thread::scope(|scope| scope.spawn(polite).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// Builds a table from nothing, beside what is served.
fn build_full(rules: &Rules, world: &Snapshot, table: Arc<Table>, geography: Arc<Geography>) -> Candidate {
    let start = Instant::now();
    let mut compiler = Compiler::new();
    let diff = table::diff(world.is_ready().then(|| &**world.table()), &table);
    let compiled = compiler.compile(table, geography, rules.settings.clone());
    Candidate::compare(world, compiled, Some(compiler), diff, Dirty::all(), start)
}

/// Builds a table that differs in a few routes; a dry run leaves the publisher's compiler alone.
fn build_delta(
    writer: &mut Writer,
    world: &Snapshot,
    table: Arc<Table>,
    changes: DeltaRoutes,
    is_dry: bool,
) -> Candidate {
    let geography = Arc::clone(world.compiled().geography());
    if is_dry {
        return build_full(&writer.rules, world, table, geography);
    }
    let start = Instant::now();
    let settings = writer.rules.settings.clone();
    let diff = table::diff_after(world.table(), &table, &changes);
    let dirty = Dirty { v4: changes.v4, v6: changes.v6 };
    let compiled = writer.compiler.compile_delta(table, geography, settings, &dirty);
    Candidate::compare(world, compiled, None, diff, dirty, start)
}

impl Candidate {
    /// Compares what was built since `start`, and changes the table by `diff` and in the blocks of
    /// `dirty`, with what is served.
    fn compare(
        world: &Snapshot,
        compiled: Arc<Compiled>,
        compiler: Option<Compiler>,
        diff: TableDiff,
        dirty: Dirty,
        start: Instant,
    ) -> Self {
        let compile_ms = ms_of(start.elapsed());
        let moved =
            if world.is_ready() { moved(world.compiled(), &compiled, dirty) } else { Moved::default() };
        Self { compiled, compiler, diff, moved, compile_ms }
    }
}

/// The refusal of a table that makes more lists of clusters than a view can number.
fn too_many_lists() -> Refusal {
    let found = format!("more than {LISTS_MAX} different lists of clusters for the services of one view");
    let expected = "fewer: less varied routes, `geoip.candidates` or locations";
    Refusal::Invalid(vec![Problem::at(0, "table", found, expected)])
}

/// The guard rails that a change hits.
fn guards(rules: &Rules, world: &Snapshot, diff: &TableDiff, moved: &Moved) -> Vec<GuardHit> {
    if !world.is_ready() {
        return Vec::new();
    }
    let shares = table::Moved { v4: moved.share_v4(), v6: moved.share_v6() };
    table::guard(diff, shares, &rules.limits)
}

/// A report that nothing changed.
fn unchanged(world: &Snapshot, remarks: Remarks, options: PushOptions) -> PushReport {
    PushReport {
        epoch: world.table().epoch().get(),
        generation: world.generation(),
        counts: TableCounts::of(world.table()),
        compile_ms: 0,
        parse_ms: remarks.parse_ms,
        persist_ms: 0,
        diff: DiffReport::default(),
        guards: options.dry_run.then(Vec::new),
        warnings: remarks.warnings,
        ignored: remarks.ignored,
        dry_run: options.dry_run,
    }
}

fn not_newer(writer: &Writer, world: &Snapshot) -> Refusal {
    Refusal::NotNewer {
        served_epoch: world.epoch(),
        highest_epoch: writer.highest_epoch.unwrap_or_else(|| world.table().epoch()),
        digest: world.table().digest().to_owned(),
    }
}

fn wrong_base(writer: &Writer, world: &Snapshot, base: Epoch) -> Refusal {
    Refusal::WrongBase {
        base,
        served_epoch: world.epoch(),
        highest_epoch: writer.highest_epoch,
        digest: if world.is_ready() { world.table().digest().to_owned() } else { String::new() },
    }
}

fn storage(error: std::io::Error) -> Refusal {
    Refusal::Storage(error.to_string())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 octets")
}

/// Whole milliseconds.
fn ms_of(time: Duration) -> u64 {
    time.as_millis() as u64
}

#[cfg(test)]
mod tests;
