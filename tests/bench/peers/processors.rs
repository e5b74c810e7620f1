//! Who runs where: the server under test alone on one processor, everything of ours on another.

use crate::system;

/// The two processors.
#[derive(Debug, Clone, Copy)]
pub struct Processors {
    /// Where servers run.
    pub server: usize,
    /// Where the generator runs, and this program.
    pub generator: usize,
}

impl Processors {
    /// The first and the last that we may use; says so where they are one.
    pub fn find() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let list = list.expect("Linux tells which processors are allowed").trim();
        let mut numbers = list.split([',', '-']).map(|number| number.parse().expect("a number"));
        let server = numbers.next().expect("a processor");
        let generator = numbers.next_back().unwrap_or(server);
        if server == generator {
            println!("one processor only: the generator shares it with the servers, and no round is clean");
        }
        Self { server, generator }
    }

    /// Runs `start` so that the processes it starts are on the servers' processor, or on both.
    pub fn start<T>(self, is_on_both: bool, start: impl FnOnce() -> T) -> T {
        let both = [self.server, self.generator];
        system::pin(if is_on_both { &both } else { &both[..1] });
        let started = start();
        system::pin(&[self.generator]);
        started
    }
}
