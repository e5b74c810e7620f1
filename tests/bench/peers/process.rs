//! What a process and its children cost: processor time and memory, as the kernel accounts for them.

use std::fs;
use std::ops::{AddAssign, Sub};

/// Processor time of a process, or of a thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Nanoseconds that it ran (`schedstat`, first field).
    pub run_ns: u64,
    /// Nanoseconds that it could have run and somebody else did (second field).
    pub delay_ns: u64,
    /// Scheduler ticks that found it in its own code.
    pub user_ticks: u64,
    /// Scheduler ticks that found it in the kernel.
    pub system_ticks: u64,
}

impl Usage {
    /// Whether it had nine tenths of the processor time that it could use.
    pub fn is_clean(&self) -> bool {
        self.run_ns * 10 >= (self.run_ns + self.delay_ns) * 9
    }

    /// Of the whole process tree below `pid`.
    pub fn of(pid: u32) -> Self {
        let mut sum = Self::default();
        for pid in tree(pid) {
            for task in tasks(pid) {
                sum += Self::of_task(&task);
            }
        }
        sum
    }

    /// Of the calling thread.
    pub fn of_this_thread() -> Self {
        Self::of_task("/proc/thread-self")
    }

    /// Of the thread whose folder is `task`; nothing when it has ended.
    fn of_task(task: &str) -> Self {
        let schedule = fs::read_to_string(format!("{task}/schedstat")).unwrap_or_default();
        let mut fields = schedule.split_whitespace().map(|field| field.parse().unwrap_or(0));
        let (run_ns, delay_ns) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
        let stat = fs::read_to_string(format!("{task}/stat")).unwrap_or_default();
        // The name may hold anything; fields are counted from the parenthesis that ends it.
        let after_name = stat.rsplit_once(") ").map_or("", |(_, after)| after);
        let mut fields = after_name.split_whitespace().skip(11).map(|field| field.parse().unwrap_or(0));
        let (user_ticks, system_ticks) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
        Self { run_ns, delay_ns, user_ticks, system_ticks }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.run_ns += other.run_ns;
        self.delay_ns += other.delay_ns;
        self.user_ticks += other.user_ticks;
        self.system_ticks += other.system_ticks;
    }
}

impl Sub for Usage {
    type Output = Self;

    /// What was used since `other`; a thread that ended meanwhile counts for nothing.
    fn sub(self, other: Self) -> Self {
        Self {
            run_ns: self.run_ns.saturating_sub(other.run_ns),
            delay_ns: self.delay_ns.saturating_sub(other.delay_ns),
            user_ticks: self.user_ticks.saturating_sub(other.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(other.system_ticks),
        }
    }
}

/// Resident memory of the largest process below `pid`: now and at its peak, in MB.
pub fn memory_mb(pid: u32) -> (u64, u64) {
    let of = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) >> 10
        };
        (field("VmRSS:"), field("VmHWM:"))
    };
    tree(pid).iter().map(of).max().unwrap_or_default()
}

/// A process and all its descendants.
fn tree(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(&pid) = found.get(at) {
        at += 1;
        for task in tasks(pid) {
            let children = fs::read_to_string(format!("{task}/children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    found
}

/// The folders of a process's threads.
fn tasks(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.map(|task| task.path().to_string_lossy().into_owned()).collect()
}
