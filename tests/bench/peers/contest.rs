//! Rounds: a limit program, steerd and another server in turn, so that each sample has neighbours to
//! be divided by, and what else goes on in the machine falls on all three.
//!
//! A round counts when server and generator had nine tenths of the processor time they could use;
//! others are repeated a few times and left out. Where a machine never gives one, the disturbed rounds
//! are what there is: they are printed, their verdicts in parentheses. Ratios are medians of the
//! rounds' own ratios.

use crate::check::Seen;
use crate::process::{self, Usage};
use crate::server::Server;
use crate::stats::{interval, median};
use crate::table::Table;
use std::time::Duration;

/// How often a round is tried.
const ATTEMPTS: usize = 3;

/// A generator as a contest uses it.
pub trait Load {
    /// Asks as much as the server can do.
    fn full(&mut self, time: Duration) -> Seen;
    /// Asks at a rate that leaves the server idle most of the time.
    fn steady(&mut self, time: Duration) -> Seen;
    /// Waits for what is under way; says what was lost.
    fn drain(&mut self) -> Seen;
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds wanted.
    pub rounds: usize,
    /// A sample.
    pub sample: Duration,
    /// What goes before it and is not looked at.
    pub warm_up: Duration,
    /// Whether rounds count that were disturbed.
    pub takes_all: bool,
}

/// What a ratio of processor time an answer should be at most.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// Nothing is asked.
    None,
    /// This server over the limit program.
    Limit(f64),
    /// steerd over this server.
    Peer(f64),
    /// This server, a variant, over steerd.
    Variant(f64),
}

/// A server in a contest, and what came of it.
pub struct Entry<'a> {
    /// Who.
    server: &'a Server,
    /// Its generator.
    load: Box<dyn Load + 'a>,
    /// What is asked of it.
    goal: Goal,
    /// Whether it runs on the generator's processor too: never undisturbed, and of no use for latency.
    is_sharing: bool,
    /// Of undisturbed rounds, and of disturbed ones.
    records: [Record; 2],
    counts: Seen,
}

/// What came of the rounds of one kind.
#[derive(Default)]
struct Record {
    samples: Vec<Sample>,
    to_limit: Vec<f64>,
    to_steerd: Vec<f64>,
    /// Of steady runs: the median, the 99th and the 99.9th percentile, microseconds.
    latencies: Vec<[f64; 3]>,
}

/// One sample at full load.
#[derive(Debug, Clone, Copy)]
struct Sample {
    cpu_ns: f64,
    per_second: f64,
    usage: Usage,
    is_clean: bool,
}

impl<'a> Entry<'a> {
    /// One that was not measured yet.
    pub fn new(server: &'a Server, load: impl Load + 'a, goal: Goal) -> Self {
        Self {
            server,
            load: Box::new(load),
            goal,
            is_sharing: false,
            records: Default::default(),
            counts: Seen::default(),
        }
    }

    /// The same, on the generator's processor too.
    pub fn sharing(mut self) -> Self {
        self.is_sharing = true;
        self
    }

    /// Asks as much as it can do.
    fn sample(&mut self, plan: &Plan) -> Sample {
        let warm_up = self.load.full(plan.warm_up);
        self.counts.count(&warm_up);
        let before = Usage::of(self.server.pid);
        let seen = self.load.full(plan.sample);
        let usage = Usage::of(self.server.pid) - before;
        self.counts.count(&seen);
        let left = self.load.drain();
        self.counts.count(&left);
        Sample {
            cpu_ns: usage.run_ns as f64 / seen.answered.max(1) as f64,
            per_second: seen.answered as f64 / seen.elapsed.as_secs_f64(),
            usage,
            is_clean: self.is_sharing || usage.is_clean() && seen.usage.is_clean(),
        }
    }

    /// Asks at a steady rate; whether it was undisturbed.
    fn steady(&mut self, plan: &Plan) -> bool {
        let warm_up = self.load.steady(plan.warm_up);
        self.counts.count(&warm_up);
        let before = Usage::of(self.server.pid);
        let seen = self.load.steady(plan.sample);
        let usage = Usage::of(self.server.pid) - before;
        self.counts.count(&seen);
        let left = self.load.drain();
        self.counts.count(&left);
        let is_clean = plan.takes_all || usage.is_clean() && seen.usage.is_clean();
        let us = |share| seen.latency.percentile(share).as_nanos() as f64 / 1e3;
        self.records[usize::from(!is_clean)].latencies.push([us(0.5), us(0.99), us(0.999)]);
        is_clean
    }

    /// The rounds that its figures are of: undisturbed ones where there are any.
    fn record(&self) -> &Record {
        &self.records[usize::from(self.is_disturbed())]
    }

    /// Whether no round was undisturbed.
    fn is_disturbed(&self) -> bool {
        self.records[0].samples.is_empty()
    }

    /// A goal against what was found.
    fn verdict(&self, found: f64, goal: f64) -> String {
        let verdict = verdict(found, goal);
        if self.is_disturbed() { format!("({verdict})") } else { verdict.to_owned() }
    }

    /// Nanoseconds in its own code an answer: scheduler ticks are few in a round, so the share is that
    /// of all rounds.
    fn user_ns(&self) -> f64 {
        let samples = &self.record().samples;
        let user: u64 = samples.iter().map(|sample| sample.usage.user_ticks).sum();
        let system: u64 = samples.iter().map(|sample| sample.usage.system_ticks).sum();
        self.cpu_ns() * user as f64 / (user + system) as f64
    }

    /// How its time in its own code compares with a goal.
    pub fn user_goal(&self, goal_ns: f64) -> String {
        let found = self.user_ns();
        format!("{} ns an answer, at most {goal_ns}: {}", number(found, 0), self.verdict(found, goal_ns))
    }

    /// Nanoseconds of processor time an answer.
    fn cpu_ns(&self) -> f64 {
        median(&self.record().samples.iter().map(|sample| sample.cpu_ns).collect::<Vec<_>>())
    }

    /// A percentile of latency by round: 0 the median, 1 the 99th, 2 the 99.9th.
    fn latency(&self, which: usize) -> Vec<f64> {
        let [clean, disturbed] = &self.records;
        let latencies = if clean.latencies.is_empty() { &disturbed.latencies } else { &clean.latencies };
        latencies.iter().map(|latency| latency[which]).collect()
    }
}

/// The limit program, steerd, and everybody else.
pub fn play(entries: &mut [Entry], plan: &Plan) {
    for round in 0..plan.rounds {
        for other in 2..entries.len().max(3) {
            let mut group: Vec<usize> = [0, 1, other].into_iter().filter(|&at| at < entries.len()).collect();
            // What drifts one way in one round drifts the other way in the next.
            if round % 2 == 1 {
                group.reverse();
            }
            for _ in 0..ATTEMPTS {
                let samples: Vec<(usize, Sample)> =
                    group.iter().map(|&at| (at, entries[at].sample(plan))).collect();
                let is_clean = plan.takes_all || samples.iter().all(|(_, sample)| sample.is_clean);
                keep(entries, &samples, is_clean);
                if is_clean {
                    break;
                }
            }
        }
        for entry in entries.iter_mut().filter(|entry| !entry.is_sharing) {
            let _ = (0..ATTEMPTS).find(|_| entry.steady(plan));
        }
        eprint!(".");
    }
    eprintln!();
}

/// Keeps the samples of a round, and their ratios.
fn keep(entries: &mut [Entry], samples: &[(usize, Sample)], is_clean: bool) {
    let of = |which: usize| samples.iter().find(|(at, _)| *at == which).map(|(_, sample)| sample.cpu_ns);
    let (Some(limit), Some(steerd)) = (of(0), of(1)) else { return };
    for (at, sample) in samples {
        let record = &mut entries[*at].records[usize::from(!is_clean)];
        record.samples.push(*sample);
        record.to_limit.push(sample.cpu_ns / limit);
        record.to_steerd.push(sample.cpu_ns / steerd);
    }
}

/// The table of a contest. `unit` is what is answered.
pub fn report(title: &str, unit: &str, entries: &[Entry], plan: &Plan) {
    println!("\n{title}");
    let mut table = Table::new(&[
        "server",
        "prefixes",
        "clean/all",
        &format!("{unit}/s"),
        "CPU us",
        "user ns",
        "over limit",
        "steerd over it",
        "goal",
        "",
        "p50 us",
        "p99",
        "p99.9",
        "RSS MB",
        "lost",
        "wrong/checked",
    ]);
    for entry in entries {
        let Record { samples, to_limit, to_steerd, .. } = entry.record();
        let [clean, disturbed] = entry.records.each_ref().map(|record| &record.samples);
        let ratios: Vec<f64> = match entry.goal {
            Goal::Peer(_) => to_steerd.iter().map(|ratio| 1.0 / ratio).collect(),
            _ => Vec::new(),
        };
        let (goal, verdict) = match entry.goal {
            Goal::None => (String::new(), String::new()),
            Goal::Limit(goal) => (format!("limit x {goal}"), entry.verdict(median(to_limit), goal)),
            Goal::Peer(goal) => (format!("{goal}"), entry.verdict(median(&ratios), goal)),
            Goal::Variant(goal) => (format!("steerd x {goal}"), entry.verdict(median(to_steerd), goal)),
        };
        let per_second: Vec<f64> = samples.iter().map(|sample| sample.per_second).collect();
        let variant = if let Goal::Variant(_) = entry.goal {
            ratio(to_steerd, "steerd x ")
        } else {
            ratio(&ratios, "")
        };
        let latency = |which| number(median(&entry.latency(which)), 0);
        table.row([
            entry.server.name.clone(),
            entry.server.prefixes.to_string(),
            format!("{}/{}", clean.len(), clean.len() + disturbed.len()),
            number(median(&per_second), 0),
            number(entry.cpu_ns() / 1e3, 2),
            number(entry.user_ns(), 0),
            ratio(to_limit, ""),
            variant,
            goal,
            verdict,
            latency(0),
            latency(1),
            latency(2),
            process::memory_mb(entry.server.pid).0.to_string(),
            entry.counts.lost.to_string(),
            format!("{}/{}", entry.counts.wrong, entry.counts.checked),
        ]);
    }
    table.print();
    if let [limit, steerd, ..] = entries {
        latency_goal(limit, steerd);
    }
    let least = entries.iter().map(|entry| entry.records[0].samples.len()).min().unwrap_or(0);
    if least < plan.rounds {
        println!(
            "  disturbed rounds were repeated; some rows have {least} clean ones of {} (none: those disturbed are shown)",
            plan.rounds
        );
    }
    for entry in entries {
        if let Some(what) = &entry.counts.first_wrong {
            println!("  {} was wrong: {what}", entry.server.name);
        }
    }
}

/// Whether steerd's 99th percentile is no worse than the limit program's by more than the spread of
/// that between rounds.
fn latency_goal(limit: &Entry, steerd: &Entry) {
    let (theirs, ours) = (limit.latency(1), median(&steerd.latency(1)));
    if theirs.is_empty() {
        return;
    }
    let spread = theirs.iter().copied().fold(0.0, f64::max) - theirs.iter().copied().fold(f64::MAX, f64::min);
    println!(
        "  p99 {ours:.0} us, the limit program's {:.0} us with a spread of {spread:.0}: {}",
        median(&theirs),
        steerd.verdict(ours, median(&theirs) + spread),
    );
}

/// Fails where an answer was wrong, nothing was answered, or steerd lost anything.
pub fn insist(entries: &[Entry]) {
    for entry in entries {
        let (name, counts, record) = (&entry.server.name, &entry.counts, entry.record());
        assert!(counts.wrong == 0, "{name}: {:?}", counts.first_wrong);
        assert!(counts.answered > 0 && counts.checked > 0, "{name} answered nothing");
        assert!(
            record.to_limit.iter().chain(&record.to_steerd).all(|ratio| ratio.is_finite()),
            "{name}: no ratio"
        );
        assert!(!name.starts_with("steerd") || counts.lost == 0, "{name} lost {}", counts.lost);
    }
}

/// A goal against what was found.
fn verdict(found: f64, goal: f64) -> &'static str {
    if found.is_nan() {
        "not measured"
    } else if found <= goal {
        "met"
    } else {
        "missed"
    }
}

/// A number to so many places; a dash where there is none.
fn number(value: f64, places: usize) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.places$}") }
}

/// A median with its interval.
fn ratio(values: &[f64], before: &str) -> String {
    if values.is_empty() {
        return String::new();
    }
    let (low, high) = interval(values);
    format!("{before}{:.3} [{low:.3}, {high:.3}]", median(values))
}
