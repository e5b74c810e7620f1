//! Instructions of a piece of a bench, counted by callgrind.
//!
//! Times on shared machines wander by tens of per cent; an instruction count of the same binary and
//! input does not. The bench starts itself again under valgrind with a toy world, told by
//! [`IS_COUNTED`] which piece to run; only what happens inside a function named `counted` counts.

use std::env;
use std::process::Command;

/// The variable that names the piece to run under valgrind.
const IS_COUNTED: &str = "STEERD_BENCH_COUNTED";

/// The piece that this process is to run and nothing else, where it runs under valgrind.
pub fn asked_for() -> Option<String> {
    env::var(IS_COUNTED).ok()
}

/// Runs `work` where callgrind sees it.
#[inline(never)]
pub fn counted<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Instructions that `piece` spends inside [`counted`]; `None` where there is no valgrind.
///
/// # Panics
/// When the piece fails under valgrind.
pub fn count(piece: &str) -> Option<u64> {
    let program = env::current_exe().expect("this program has a path");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*instructions*counted*")
        .arg(program)
        .env(IS_COUNTED, piece)
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{piece} under valgrind: {said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected :"))?.1;
    collected.trim().parse().ok()
}
