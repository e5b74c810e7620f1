//! The ledger of RFC clauses, `docs/conformance.md`, against the sources: what it names is there, and what bears
//! an RFC's number is named.

use regex::Regex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The package's folder: as Cargo runs the tests, else as they were built.
fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// The names of all tests in `folder` and below, and of stories.
fn collect(folder: &Path, test: &Regex, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let is_of = |extension: &str| path.extension().is_some_and(|found| found == extension);
        if path.is_dir() {
            collect(&path, test, found);
        } else if is_of("rs") {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            found.extend(test.captures_iter(&text).map(|name| name[1].to_owned()));
        } else if is_of("txt") && folder.ends_with("scenarios") {
            found.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
}

#[test]
fn every_clause_has_a_test_that_is_there() {
    let test = Regex::new(r"#\[test\]\s+(?:#\[[^\n]*\]\s+)*fn ([a-z0-9_]+)\(\)").expect("a pattern");
    let mut tests = BTreeSet::new();
    ["src", "tests"].iter().for_each(|folder| collect(&root().join(folder), &test, &mut tests));
    let ledger = std::fs::read_to_string(root().join("docs/conformance.md")).expect("the ledger");
    let name = Regex::new(r"`([a-z0-9_]+)`").expect("a pattern");
    let (mut wrong, mut named, mut rows) = (Vec::new(), BTreeSet::new(), 0);
    for (at, line) in ledger.lines().enumerate() {
        // | clause | asks | held by |
        let cells: Vec<&str> = line.split(" | ").collect();
        let is_row = line.starts_with("| ") && cells.len() == 3 && cells[0] != "| clause";
        let held_by = if is_row { cells[2] } else { line };
        let names: Vec<&str> =
            name.captures_iter(held_by).filter_map(|name| Some(name.get(1)?.as_str())).collect();
        rows += usize::from(is_row);
        if is_row && names.is_empty() {
            wrong.push(format!("{}: no test for {line}", at + 1));
        }
        let is_name = |name: &&str| is_row || name.matches('_').count() > 2;
        for name in names.into_iter().filter(is_name) {
            named.insert(name.to_owned());
            if !tests.contains(name) {
                wrong.push(format!("{}: no test is called {name}", at + 1));
            }
        }
    }
    // Tests that bear the number of an RFC that the ledger has; others are of HTTP.
    let number = Regex::new(r"^rfc([0-9]+)_").expect("a pattern");
    for test in &tests {
        let Some(rfc) = number.captures(test) else { continue };
        let has_rfc = ledger.lines().any(|line| line.starts_with("## RFC") && line.contains(&rfc[1]));
        if has_rfc && !named.contains(test) {
            wrong.push(format!("{test} is in no row of RFC {}", &rfc[1]));
        }
    }
    assert!(wrong.is_empty(), "docs/conformance.md:\n{}", wrong.join("\n"));
    assert!(rows > 80, "{rows} rows");
}
