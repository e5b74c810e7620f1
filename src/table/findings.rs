//! What a reader of a table found: problems, warnings, and what a newer format was let off.
//!
//! Each list is capped, so that a text of a million bad lines is still answered with a page. Layer 3.

use crate::problem::Problem;
use rustc_hash::FxHashMap;
use serde::Serialize;

/// Problems, and warnings, that are told one by one; a closing line counts the rest.
pub const PROBLEMS_MAX: usize = 1_000;

/// Distinct ignored keys that are told one by one.
const IGNORED_MAX: usize = 1_000;

/// A key or kind of a newer format (`minor` above ours) that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// The first line that has it, 1-based.
    pub line: u64,
    /// The key, dotted; for a whole line the kind.
    pub key: String,
    /// Lines that have it.
    pub count: u64,
}

/// A list that keeps its first [`PROBLEMS_MAX`] entries and counts the others.
#[derive(Debug, Default)]
struct Capped {
    kept: Vec<Problem>,
    more: u64,
}

impl Capped {
    /// Keeps or counts `problem`.
    fn push(&mut self, problem: Problem) {
        if self.kept.len() < PROBLEMS_MAX {
            self.kept.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// The entries by line, and the closing line when some were only counted.
    fn into_sorted(mut self) -> Vec<Problem> {
        self.kept.sort_by_key(|problem| problem.line);
        if self.more > 0 {
            let found = format!("{} more like these", self.more);
            self.kept.push(Problem::at(0, "", found, format!("at most {PROBLEMS_MAX} to list")));
        }
        self.kept
    }
}

/// Collects what a reader finds.
#[derive(Debug, Default)]
pub(super) struct Findings {
    problems: Capped,
    warnings: Capped,
    ignored: Vec<Ignored>,
    ignored_at: FxHashMap<String, usize>,
    /// Set by a first line whose `minor` is above ours.
    pub(super) is_lenient: bool,
}

impl Findings {
    /// Adds a problem: the text is refused.
    pub(super) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Adds a warning.
    pub(super) fn warning(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }

    /// Number of problems so far; what a caller compares to learn whether a line was good.
    pub(super) fn count(&self) -> u64 {
        self.problems.kept.len() as u64 + self.problems.more
    }

    /// Notes that `key` on `line` is unknown: a problem, or ignored when the text is of a newer format.
    pub(super) fn unknown(&mut self, line: u64, key: String, known: &[&str]) {
        if !self.is_lenient {
            let name = key.rsplit('.').next().unwrap_or_default().to_owned();
            let expected = match nearest(&name, known) {
                Some(near) => format!("`{near}`, perhaps"),
                None => format!("one of {}", known.join(", ")),
            };
            return self.problem(Problem::at(line, key, format!("unknown key `{name}`"), expected));
        }
        if let Some(&at) = self.ignored_at.get(&key) {
            self.ignored[at].count += 1;
        } else if self.ignored.len() < IGNORED_MAX {
            self.ignored_at.insert(key.clone(), self.ignored.len());
            self.ignored.push(Ignored { line, key, count: 1 });
        }
    }

    /// The problems, if any; else warnings and what was ignored.
    pub(super) fn settle(self) -> Result<(Vec<Problem>, Vec<Ignored>), Vec<Problem>> {
        if self.count() > 0 {
            return Err(self.problems.into_sorted());
        }
        Ok((self.warnings.into_sorted(), self.ignored))
    }
}

/// The one of `known` at most two edits from `name`, and fewer than half of its letters.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let bound = 2.min(name.len() / 2);
    let near = known.iter().map(|&key| (edits(name, key), key)).min()?;
    (near.0 <= bound).then_some(near.1)
}

/// Edit distance of two short keys, in octets; anything longer than 64 is far from everything.
fn edits(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_keys_are_suggested() {
        let known = ["ttl_s", "tags", "answers_max"];
        assert_eq!(nearest("ttl", &known), None);
        assert_eq!(nearest("ttls", &known), Some("ttl_s"));
        assert_eq!(nearest("answer_max", &known), Some("answers_max"));
        assert_eq!(nearest("colour", &known), None);
    }

    #[test]
    fn lists_are_capped_and_sorted() {
        let mut findings = Findings::default();
        for line in (1..=1_500).rev() {
            findings.problem(Problem::at(line, "k", "x", "y"));
        }
        let problems = findings.settle().expect_err("there are problems");
        assert_eq!(problems.len(), PROBLEMS_MAX + 1);
        assert!(problems[..PROBLEMS_MAX].is_sorted_by_key(|p| p.line));
        assert_eq!(
            problems[PROBLEMS_MAX].to_string(),
            "found 500 more like these, expected at most 1000 to list"
        );
    }
}
