//! What commands print, held to transcripts in `tests/golden`.
//!
//! A transcript names the commands itself: each line `$ steerd …` is run from the repository's top,
//! and what follows has to be what it printed and its exit code. `STEERD_GOLDEN=write` (`make golden`)
//! rewrites what follows; a new case is a new `$` line. Inputs are in `tests/golden/input`.

use crate::binary;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The repository's top directory.
const TOP: &str = env!("CARGO_MANIFEST_DIR");

/// Runs one command line; what it printed, and its exit code.
fn run(line: &str) -> String {
    let output = Command::new(binary::path())
        .args(line.split_whitespace().skip(1))
        .current_dir(TOP)
        .env_remove("RUST_LOG")
        .output()
        .expect("the binary");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    for error in String::from_utf8_lossy(&output.stderr).lines() {
        writeln!(text, "! {error}").expect("a string");
    }
    writeln!(text, "=> {}", output.status.code().unwrap_or(-1)).expect("a string");
    text.lines().flat_map(|line| [redacted(line), "\n".to_owned()]).collect()
}

/// `line` without the number of a generation, which says nothing about the decision.
fn redacted(line: &str) -> String {
    let Some((before, after)) = line.split_once("\"generation\": ") else { return line.to_owned() };
    format!("{before}\"generation\": G{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}

/// Runs the commands of a transcript anew.
fn rerun(transcript: &str) -> String {
    let commands = transcript.lines().filter_map(|line| line.strip_prefix("$ "));
    let runs: Vec<String> = commands.map(|line| format!("$ {line}\n{}", run(line))).collect();
    runs.join("\n")
}

#[test]
fn golden() {
    let is_writing = std::env::var_os("STEERD_GOLDEN").is_some_and(|word| word == "write");
    let (mut count, mut differing) = (0, String::new());
    for entry in fs::read_dir(Path::new(TOP).join("tests/golden")).expect("the transcripts") {
        let path = entry.expect("a folder entry").path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        count += 1;
        let expected = fs::read_to_string(&path).expect("a transcript");
        let found = rerun(&expected);
        if is_writing {
            fs::write(&path, found).expect("written");
        } else if found != expected {
            let line = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
            let line = line.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
            let at = |text: &str| text.lines().nth(line).unwrap_or("(the end)").to_owned();
            let (found, expected) = (at(&found), at(&expected));
            writeln!(differing, "{}:{}\n  found    {found}\n  expected {expected}", path.display(), line + 1)
                .expect("a string");
        }
    }
    assert!(
        differing.is_empty(),
        "run `make golden` if this is meant, and read what it changes:\n{differing}"
    );
    assert!(count >= 4, "only {count} transcripts");
}
