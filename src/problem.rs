//! What is wrong with something an operator wrote, and where to put the cursor.
//!
//! Config, tables and zone files are read to their end and every problem is collected; one type
//! carries them all, so that `steerd check` and a 400 from the push API say the same thing. Bodies of JSON are
//! read here too, for what is wrong with them.
//! Layer 0: imports nothing of the crate.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// One thing wrong, as `file:line: key: found X, expected Y`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file as the operator named it; empty for a pushed body.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// 1-based line, blank lines counted; 0 when the problem is of the file as a whole.
    pub line: u64,
    /// The key at fault, dotted (`service.ttl_s`); may be empty.
    pub key: String,
    /// What stands there, shortened.
    pub found: String,
    /// What could stand there; for conflicts it names the first line.
    pub expected: String,
}

impl Problem {
    /// Longest `found` that is kept, in characters.
    const FOUND_MAX: usize = 120;

    /// Makes a problem at `line` (0: the whole file).
    pub fn at(
        line: u64,
        key: impl Into<String>,
        found: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        let mut found = found.to_string();
        if let Some((cut, _)) = found.char_indices().nth(Self::FOUND_MAX) {
            found.truncate(cut);
            found.push('…');
        }
        Self { file: String::new(), line, key: key.into(), found, expected: expected.into() }
    }

    /// The same problem, in `file`.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.file = file.into();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(out, "{}:", self.file)?;
        }
        if self.line > 0 {
            write!(out, "{}:", self.line)?;
        }
        if !self.file.is_empty() || self.line > 0 {
            out.write_str(" ")?;
        }
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        write!(out, "found {}, expected {}", self.found, self.expected)
    }
}

/// Reads one JSON value.
///
/// # Errors
/// The first problem.
pub fn read_json<T: DeserializeOwned>(octets: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(octets);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| problem_of(&error.path().to_string(), error.inner()))?;
    reader.end().map_err(|error| problem_of("", &error))?;
    Ok(value)
}

/// What serde says, as a problem: `invalid type: string "x", expected u64 at line 1 column 9`.
fn problem_of(path: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let said = text.rsplit_once(" at line ").map_or(text.as_str(), |(said, _)| said);
    let line = error.line() as u64;
    if !error.is_data() {
        return Problem::at(line, "", said, "JSON");
    }
    let path = if path == "." { "" } else { path };
    if let Some(field) = said.strip_prefix("missing field ") {
        let field = field.trim_matches('`');
        let key = if path.is_empty() { field.to_string() } else { format!("{path}.{field}") };
        return Problem::at(line, key, "nothing", "a value");
    }
    match said.split_once(", expected ") {
        Some((found, expected)) => {
            let kinds = ["invalid type: ", "invalid value: ", "invalid length "];
            let found = kinds.iter().find_map(|kind| found.strip_prefix(kind)).unwrap_or(found);
            Problem::at(line, path, found, expected)
        }
        None => {
            // Our own: `a load must be a number of at least 0`.
            let rule = said.split_once(" must be ").or_else(|| said.split_once(" must have "));
            Problem::at(line, path, "another value", rule.map_or(said, |(_, rule)| rule))
        }
    }
}
