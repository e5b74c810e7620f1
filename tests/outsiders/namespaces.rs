//! Networks of our own: namespaces that programs are run in, with the addresses that a test likes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// A network namespace with a loopback, kept by a process in it; gone when dropped.
pub struct Namespace(Child);

impl Namespace {
    /// Makes one; says so and gives `None` where nobody lets us.
    pub fn make() -> Option<Self> {
        if !crate::are_installed(&["unshare", "nsenter", "ip"]) {
            return None;
        }
        // It ends with the pipe that it reads from, so nothing stays behind when the test is killed.
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo up && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare is installed");
        let mut line = String::new();
        let read = BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line);
        if read.is_err() || line != "up\n" {
            eprintln!("SKIPPED: no network namespace can be made here (not root, or forbidden)");
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        Some(Self(child))
    }

    /// Process number of the process in it.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// A command that runs `program` in it, in the same process.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid())).arg(program);
        command
    }

    /// Runs `program` in it and gives what it prints.
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program).args(args).output().expect("nsenter is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{program} {args:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// `ip`, words apart by spaces.
    pub fn ip(&self, args: &str) {
        self.run("ip", &args.split(' ').collect::<Vec<_>>());
    }

    /// Octets received and sent on an interface.
    pub fn octets(&self, interface: &str) -> [u64; 2] {
        let text = std::fs::read_to_string(format!("/proc/{}/net/dev", self.pid())).expect("it runs");
        let counters = text.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
        let numbers: Vec<u64> = counters
            .expect("the interface")
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        [numbers[0], numbers[8]]
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
