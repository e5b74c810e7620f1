//! House rules that a machine can hold: which module imports which, headers, lengths of functions,
//! and where unsafe code, clocks and panics may be.
//!
//! Each test reads the sources and names every place that breaks its rule, as `file:line: what`.
//! Test code (`#[cfg(test)]` items and files called `tests.rs`) is held only to headers and lengths.

use regex::Regex;
use std::path::{Path, PathBuf};

/// Modules from the bottom up; a module imports only from the rows above its own. The design's
/// section on modules says what each one is.
const LAYERS: &[&[&str]] = &[
    &["prefix", "units", "problem", "columns"],
    &["lpm", "wire", "proxy", "dnstap", "fleet", "config", "metrics"],
    &["geo", "health", "zone"],
    &["table", "dnssec"],
    &["policy"],
    &["snapshot"],
    &["steer", "publish"],
    &["dns", "http", "control", "distribution"],
    &["serve", "inventory", "plan"],
    &["cli"],
];

/// Imports inside one layer that are allowed, as (importer, imported).
const BESIDE: &[(&str, &str)] = &[];

/// Lines that a function may have.
const FUNCTION_LEN_MAX: usize = 70;

/// Functions that were longer when the rule came, as (file, function, lines): they may only shrink.
const LONGER: &[(&str, &str, usize)] = &[];

/// Where unsafe code may be: beginnings of paths.
const UNSAFE: &[&str] = &["src/lpm/", "src/lpm.rs", "src/serve/udp", "src/serve/memory.rs"];

/// Where clocks may be read: beginnings of paths.
const CLOCKS: &[&str] = &["src/serve", "src/publish", "src/distribution", "src/cli", "src/inventory"];

/// A source file.
struct Source {
    /// From the package's folder, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Its top-level module; `None` for the crate's roots.
    fn module(&self) -> Option<&str> {
        let name = self.path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
        (!matches!(name, "lib" | "main")).then_some(name)
    }

    /// Whether all of it is test code.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Numbered lines without comments and without test code.
    fn code(&self) -> Vec<(usize, String)> {
        if self.is_test() {
            return Vec::new();
        }
        let mut lines = self.text.lines().enumerate();
        let mut code = Vec::new();
        while let Some((at, line)) = lines.next() {
            if line.trim() == "#[cfg(test)]" {
                skip_item(&mut lines, indent(line));
                continue;
            }
            let line = without_comment(line);
            if !line.trim().is_empty() {
                code.push((at + 1, line.to_owned()));
            }
        }
        code
    }
}

/// Passes over the item behind an attribute that stood at `indent`.
fn skip_item<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>, indent: usize) {
    let mut is_open = false;
    for (_, line) in lines {
        let text = line.trim_end();
        is_open |= text.ends_with('{');
        let is_attribute = text.trim_start().starts_with('#');
        let is_end = if is_open {
            self::indent(line) == indent && text.trim_start().starts_with('}')
        } else {
            !is_attribute && (text.ends_with([';', ',', '}']))
        };
        if is_end {
            return;
        }
    }
}

/// Spaces before a line.
fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// A line up to its comment; a `//` inside a string, as in `http://`, is none.
fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(at) = line[from..].find("//").map(|at| at + from) {
        let is_in_string = line[..at].matches('"').count() % 2 == 1;
        if !is_in_string {
            return &line[..at];
        }
        from = at + 2;
    }
    line
}

/// The package's folder: as Cargo runs the tests, else as they were built.
fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// All files below `folder` that `wanted` takes, by path; build products and hidden folders left out.
fn files(folder: &str, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let is_ours = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        !name.starts_with(".git") && !matches!(name, "target" | "state" | "artifacts" | "coverage")
    };
    let (mut open, mut found) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true if is_ours(&path) => open.push(path),
                false if is_ours(&path) && wanted(&path) => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// A path from the package's folder.
fn relative(path: &Path) -> String {
    let path = path.strip_prefix(root()).unwrap_or(path);
    path.to_string_lossy().replace('\\', "/")
}

/// All sources below `folder`.
fn sources(folder: &str) -> Vec<Source> {
    let is_rust = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Source { path: relative(&path), text }
    };
    files(folder, is_rust).into_iter().map(read).collect()
}

/// Fails with all that was found, and what to do about it.
fn settle(found: &[String], what_to_do: &str) {
    assert!(found.is_empty(), "{} places; {what_to_do}:\n  {}", found.len(), found.join("\n  "));
}

/// Lines of code that `pattern` matches, except in files that begin with one of `allowed`.
fn places(pattern: &str, allowed: &[&str]) -> Vec<String> {
    let pattern = Regex::new(pattern).expect("a pattern");
    let mut found = Vec::new();
    for source in sources("src") {
        if allowed.iter().any(|allowed| source.path.starts_with(allowed)) {
            continue;
        }
        for (line, code) in source.code() {
            if pattern.is_match(&code) {
                found.push(format!("{}:{line}: {}", source.path, code.trim()));
            }
        }
    }
    found
}

/// The layer of a module.
fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// What is wrong with `module` naming `other`.
fn misplaced(module: &str, other: &str) -> Option<String> {
    let Some(mine) = layer(module) else {
        return Some(format!("`{module}` is in no layer: add it to LAYERS here and to the design"));
    };
    let theirs = layer(other)?;
    if module == other || theirs < mine || BESIDE.contains(&(module, other)) {
        return None;
    }
    let how = if theirs == mine { "the same" } else { "a higher" };
    Some(format!("`{module}` (layer {mine}) names `{other}` of {how} layer ({theirs})"))
}

#[test]
fn imports_go_down() {
    let path = Regex::new(r"\b(?:crate|super)::(\{|[a-z_][a-z0-9_]*)").expect("a pattern");
    let mut found = Vec::new();
    for source in sources("src") {
        let Some(module) = source.module() else { continue };
        let is_top = source.path.matches('/').count() == 1 || source.path.ends_with("/mod.rs");
        for (line, code) in source.code() {
            for name in path.captures_iter(&code) {
                let (whole, other) = (&name[0], &name[1]);
                let wrong = match (whole.starts_with("crate"), other) {
                    (true, "{") => Some("write one `use crate::…` a module".to_owned()),
                    // `super` of a module's own file is the crate; deeper down it is the module.
                    (false, _) if !is_top => None,
                    _ => misplaced(module, other),
                };
                found.extend(wrong.map(|wrong| format!("{}:{line}: {wrong}", source.path)));
            }
        }
    }
    settle(&found, "a module imports only from lower layers");
}

#[test]
fn the_layers_catch_a_wrong_import() {
    assert_eq!(misplaced("dns", "steer"), None);
    assert_eq!(misplaced("table", "table"), None);
    assert!(misplaced("wire", "dns").expect("wrong").contains("a higher layer"));
    assert!(misplaced("steer", "publish").expect("wrong").contains("the same layer"));
    assert!(misplaced("unheard_of", "wire").expect("wrong").contains("is in no layer"));
}

#[test]
fn test_code_and_comments_are_passed_over() {
    let text = "a\n// b\n#[cfg(test)]\nmod tests {\n    x\n}\nc // d\n    #[cfg(test)]\n    e: bool,\nf(\"http://g\")\n";
    let source = Source { path: "src/a.rs".into(), text: text.into() };
    let code: Vec<String> =
        source.code().into_iter().map(|(at, line)| format!("{at}{}", line.trim())).collect();
    assert_eq!(code, ["1a", "7c", "10f(\"http://g\")"]);
}

#[test]
fn every_file_says_what_it_owns() {
    // A file of one line owns nothing yet.
    let is_headless = |source: &Source| !source.text.starts_with("//!") && source.text.lines().count() > 1;
    let all = sources("src").into_iter().chain(sources("tests"));
    let found: Vec<String> = all.filter(is_headless).map(|source| source.path).collect();
    settle(&found, "begin each file with a `//!` header");
}

#[test]
fn functions_fit_a_screen() {
    let head = Regex::new(r"^ *(?:pub(?:\([a-z:_ ]+\))? )?(?:const |async |unsafe )*fn ([a-z0-9_]+)")
        .expect("a pattern");
    let mut found = Vec::new();
    for source in sources("src") {
        let mut open: Vec<(String, usize, usize)> = Vec::new();
        for (at, line) in source.text.lines().enumerate() {
            if let Some(name) = head.captures(line) {
                if !line.trim_end().ends_with([';', '}']) {
                    open.push((name[1].to_owned(), at, indent(line)));
                }
            } else if line.trim_end().trim_start() == "}" {
                let Some((name, from, _)) = open.pop_if(|(_, _, deep)| *deep == indent(line)) else {
                    continue;
                };
                let len = at - from + 1;
                let known =
                    LONGER.iter().find(|(path, function, _)| *path == source.path && *function == name);
                let max = known.map_or(FUNCTION_LEN_MAX, |(.., len)| *len);
                if len > max {
                    found.push(format!(
                        "{}:{}: {name} has {len} lines, at most {max}",
                        source.path,
                        from + 1
                    ));
                }
            }
        }
    }
    settle(&found, "split what is longer than a screen");
}

#[test]
fn unsafe_code_is_where_it_is_audited() {
    settle(
        &places(r"\bunsafe(?: (?:fn|impl|trait|extern)\b| ?[{(])", UNSAFE),
        "unsafe code belongs to the lookup table and the UDP worker",
    );
}

#[test]
fn nothing_unfinished_or_unchecked_is_left() {
    settle(&places(r"\b(dbg|todo|unimplemented)!", &[]), "finish it");
    settle(&places(r"\.unwrap\(\)", &[]), "handle it, or `expect` with the reason why it cannot fail");
}

#[test]
fn clocks_are_read_at_the_edge() {
    settle(&places(r"\b(Instant|SystemTime)::now\b", CLOCKS), "take the time as an argument");
}

#[test]
fn no_file_names_a_machine() {
    let mut places = vec!["/home/".to_owned(), "/root/".to_owned(), "/Users/".to_owned()];
    // Where this checkout lies, unless that is a place that documents name with good reason.
    let usual = ["/", "/usr/src", "/opt", "/srv", "/tmp", "/var/tmp", "/build"];
    places.extend(
        root().parent().and_then(Path::to_str).filter(|at| !usual.contains(at)).map(|at| format!("{at}/")),
    );
    let mut found = Vec::new();
    for path in files(".", |path| std::fs::metadata(path).is_ok_and(|file| file.len() < 1 << 20)) {
        let path = relative(&path);
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        for (at, line) in text.lines().enumerate() {
            let names = |place: &String| line.match_indices(&**place).any(|(at, _)| is_path_start(line, at));
            if path != "tests/tidy.rs" && places.iter().any(names) {
                found.push(format!("{path}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    settle(&found, "no absolute path of one machine in any file");
}

/// Whether a path can begin at `at`: not in the middle of a longer one, or of a URL.
fn is_path_start(line: &str, at: usize) -> bool {
    let before = line[..at].chars().next_back();
    before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '/' | '.' | '_' | '-' | '}' | ')'))
}
