//! The file as written: TOML tables out of which typed values are taken, key by key.
//!
//! A [`Table`] remembers every key it was asked for. What is left when it is finished is an unknown
//! key, so the set of keys is written once: where they are read. Nothing here stops at the first
//! problem; a value that is wrong is reported into [`Findings`] and its default goes on.
//! Owns text, lines and TOML types; knows no key of steerd's. Layer 1, part of `config`.

use crate::problem::Problem;
use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// What is written.
    pub value: T,
    /// 1-based line.
    pub line: u64,
}

/// The text being read and what is wrong with it so far.
#[derive(Debug)]
pub struct Findings<'t> {
    file: &'t str,
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Findings<'t> {
    /// Starts on `text`, the content of `file`, with no problem found.
    pub fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, problems: RefCell::default() }
    }

    /// Notes that `found` stands at `key` on `line` (0: the whole file) where `expected` should.
    pub fn add(
        &self,
        line: u64,
        key: impl Into<String>,
        found: impl fmt::Display,
        expected: impl Into<String>,
    ) {
        self.problems.borrow_mut().push(Problem::at(line, key, found, expected).in_file(self.file));
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// All problems, by line.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    /// The root table. Bad TOML is reported, once for every line of it; whoever calls then stops,
    /// because the rest of such a file is guesswork.
    pub fn parse(&self) -> Table<'_, 't> {
        let (root, errors) = DeTable::parse_recoverable(self.text);
        let mut lines_reported = Vec::new();
        for error in errors {
            let line = error.span().map_or(0, |span| self.line_of(span.start));
            if lines_reported.contains(&line) {
                continue;
            }
            lines_reported.push(line);
            let found = format!("bad TOML ({})", error.message().replace('\n', ", "));
            self.add(line, "", found, "TOML 1.0");
        }
        Table { findings: self, values: root.into_inner(), path: String::new(), line: 0, known: Vec::new() }
    }

    /// The 1-based line that the octet at `offset` is on.
    fn line_of(&self, offset: usize) -> u64 {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().filter(|&&octet| octet == b'\n').count() as u64
    }
}

/// One TOML table, and which of its keys were asked for.
#[derive(Debug)]
pub struct Table<'f, 't> {
    findings: &'f Findings<'t>,
    values: DeTable<'t>,
    /// Dotted path of this table; empty for the root.
    path: String,
    /// Line of its header; 0 for the root and for a table that is not there.
    line: u64,
    /// Keys asked for, in that order.
    known: Vec<&'static str>,
}

impl<'f, 't> Table<'f, 't> {
    /// The line of the table's header; 0 for the root and for a table that is not there.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The dotted path of `key` in this table.
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes that what stands at `key` on `line` is wrong.
    pub fn refuse(&self, line: u64, key: &str, found: impl fmt::Display, expected: impl Into<String>) {
        self.findings.add(line, self.key(key), found, expected);
    }

    /// Whether `key` is there; it is not taken.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The line that `key` stands on; the table's own when it is not there. It is not taken.
    pub fn line_of(&self, key: &str) -> u64 {
        let found = self.values.keys().find(|found| *found.get_ref() == key);
        found.map_or(self.line, |found| self.findings.line_of(found.span().start))
    }

    /// Takes a whole number inside `range`, counted in `unit` (empty: a bare count).
    pub fn number<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<u64>,
        unit: &str,
    ) -> T {
        let Some(value) = self.take(key) else { return default };
        let number = match value.get_ref() {
            DeValue::Integer(digits) => u64::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number)).and_then(|n| T::try_from(n).ok());
        number.unwrap_or_else(|| {
            let expected = format!("{} to {} {unit}", range.start(), range.end());
            self.refuse_value(key, &value, expected.trim_end());
            default
        })
    }

    /// Takes a share, 0.0 to 1.0.
    pub fn share(&mut self, key: &'static str, default: f64) -> f64 {
        let Some(value) = self.take(key) else { return default };
        let share = match value.get_ref() {
            DeValue::Integer(digits) if digits.radix() == 10 => digits.as_str().parse::<f64>().ok(),
            DeValue::Float(digits) => digits.as_str().parse::<f64>().ok(),
            _ => None,
        };
        share.filter(|share| (0.0..=1.0).contains(share)).unwrap_or_else(|| {
            self.refuse_value(key, &value, "0.0 to 1.0");
            default
        })
    }

    /// Takes `true` or `false`.
    pub fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.take(key) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.refuse_value(key, &value, "true or false");
            default
        })
    }

    /// Takes one of `words`.
    pub fn word<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        let Some(value) = self.take(key) else { return default };
        let found = value.get_ref().as_str();
        words.iter().find(|(word, _)| Some(*word) == found).map_or_else(
            || {
                self.refuse_value(key, &value, &alternatives(words));
                default
            },
            |(_, meaning)| *meaning,
        )
    }

    /// Takes a string that is not empty; `None` when it is not there or wrong.
    pub fn text(&mut self, key: &'static str) -> Option<At<String>> {
        let value = self.take(key)?;
        self.text_of(key, &value)
    }

    /// Takes strings, none of them empty, written as an array or as one string.
    pub fn texts(&mut self, key: &'static str) -> Vec<At<String>> {
        self.items(key).iter().filter_map(|item| self.text_of(key, item)).collect()
    }

    /// Takes strings of which each stands for one of `words`; an empty array is empty.
    pub fn words<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Vec<T> {
        let texts = self.texts(key);
        self.meanings(key, &texts, words)
    }

    /// What each of `texts`, found at `key`, stands for among `words`.
    pub fn meanings<T: Copy>(&self, key: &str, texts: &[At<String>], words: &[(&str, T)]) -> Vec<T> {
        let mut meanings = Vec::new();
        for text in texts {
            match words.iter().find(|(word, _)| *word == text.value) {
                Some((_, meaning)) => meanings.push(*meaning),
                None => self.refuse(text.line, key, format!("{:?}", text.value), alternatives(words)),
            }
        }
        meanings
    }

    /// Takes an array whose elements are strings or tables; a lone one counts as an array of one.
    pub fn texts_or_tables(&mut self, key: &'static str) -> Vec<TextOrTable<'f, 't>> {
        let mut elements = Vec::new();
        for item in self.items(key) {
            if let DeValue::Table(_) = item.get_ref() {
                elements.extend(self.table_of(key, item).map(TextOrTable::Table));
            } else {
                elements.extend(self.text_of(key, &item).map(TextOrTable::Text));
            }
        }
        elements
    }

    /// Takes a table; an empty one when it is not there, so that its defaults are read the same way.
    pub fn table(&mut self, key: &'static str) -> Table<'f, 't> {
        let found = self.take(key).and_then(|value| self.table_of(key, value));
        found.unwrap_or_else(|| Table {
            findings: self.findings,
            values: DeTable::new(),
            path: self.key(key),
            line: 0,
            known: Vec::new(),
        })
    }

    /// Takes an array of tables.
    pub fn tables(&mut self, key: &'static str) -> Vec<Table<'f, 't>> {
        let items = self.items(key);
        items.into_iter().filter_map(|item| self.table_of(key, item)).collect()
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self) {
        for key in self.values.keys() {
            let line = self.findings.line_of(key.span().start);
            let name: &str = key.get_ref();
            let expected = match nearest(name, &self.known) {
                Some(near) => format!("perhaps {near}"),
                None => format!("one of {}", self.known.join(", ")),
            };
            self.findings.add(line, self.key(name), "an unknown key", expected);
        }
    }

    /// Takes the value of `key` and remembers that the key exists.
    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.values.remove(key)
    }

    /// Takes the elements of an array, or what stands there as its only element.
    fn items(&mut self, key: &'static str) -> Vec<Spanned<DeValue<'t>>> {
        match self.take(key) {
            None => Vec::new(),
            Some(value) => {
                let span = value.span();
                match value.into_inner() {
                    DeValue::Array(items) => items.into_iter().collect(),
                    other => vec![Spanned::new(span, other)],
                }
            }
        }
    }

    /// `value` as a string that is not empty; else the problem is reported.
    fn text_of(&self, key: &str, value: &Spanned<DeValue<'t>>) -> Option<At<String>> {
        match value.get_ref().as_str() {
            Some(text) if !text.is_empty() => {
                Some(At { value: text.to_owned(), line: self.findings.line_of(value.span().start) })
            }
            _ => {
                self.refuse_value(key, value, "a string that is not empty");
                None
            }
        }
    }

    /// `value` as a table; else the problem is reported.
    fn table_of(&self, key: &str, value: Spanned<DeValue<'t>>) -> Option<Table<'f, 't>> {
        let line = self.findings.line_of(value.span().start);
        if !value.get_ref().is_table() {
            self.refuse_value(key, &value, "a table");
        }
        let DeValue::Table(values) = value.into_inner() else { return None };
        Some(Table { findings: self.findings, values, path: self.key(key), line, known: Vec::new() })
    }

    /// Reports that `value` is not what `key` may hold.
    fn refuse_value(&self, key: &str, value: &Spanned<DeValue<'t>>, expected: &str) {
        self.refuse(self.findings.line_of(value.span().start), key, shown(value.get_ref()), expected);
    }
}

/// An element of an array that mixes strings and tables.
#[derive(Debug)]
pub enum TextOrTable<'f, 't> {
    /// A string that is not empty.
    Text(At<String>),
    /// A table.
    Table(Table<'f, 't>),
}

/// `value` as it stands in a message.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(digits) => digits.to_string(),
        DeValue::Float(digits) => digits.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(moment) => moment.to_string(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The words a key can hold, as a sentence's end.
fn alternatives<T>(words: &[(&str, T)]) -> String {
    let quoted: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    quoted.join(" or ")
}

/// The one of `known` that `name` was perhaps meant to be: one letter in three wrong, at most three.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let near = known.iter().map(|known| (typing_distance(name, known), *known));
    near.filter(|&(distance, known)| distance <= (known.len() / 3).clamp(1, 3)).min().map(|(_, known)| known)
}

/// Letters inserted, left out, changed or swapped with their neighbour between two words.
fn typing_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let moved = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    moved.min(rows[i - 2][j - 2] + 1)
                } else {
                    moved
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_guessed_and_far_ones_are_not() {
        let known = ["listen", "workers", "spread_v4", "spread_v6", "keep"];
        for (name, expected) in [
            ("listne", Some("listen")),
            ("worker", Some("workers")),
            ("Listen", Some("listen")),
            ("spread_v5", Some("spread_v4")),
            ("spread-v6", Some("spread_v6")),
            ("kep", Some("keep")),
            ("kp", None),
            ("port", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &known), expected, "{name}");
        }
    }

    #[test]
    fn every_syntax_error_is_reported_with_its_line() {
        let findings = Findings::new("f.toml", "a = 1\nb = \n\n[c\nd = 2\na = 3\n");
        findings.parse().finish();
        let lines: Vec<u64> = findings.into_problems().iter().map(|p| p.line).collect();
        assert!(lines.contains(&2) && lines.contains(&4), "{lines:?}");
    }
}
