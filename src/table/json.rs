//! One JSON value as a tree that borrows from its line, and the taking apart of objects.
//!
//! Unlike a derived reader, [`Fields`] finds every problem of a line, each with its dotted key; unlike
//! a plain JSON tree, it refuses an object that has a key twice. Layer 3.

use super::findings::Findings;
use crate::problem::Problem;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

/// Keys an object may have; keeps the search for duplicates short.
const KEYS_MAX: usize = 64;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number from 0.
    Count(u64),
    /// A whole number below 0.
    Negative(i64),
    /// Any other number; finite.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    List(Vec<Json<'a>>),
    /// An object, keys in the order written, each once.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads one value; the error is what is wrong, with its column.
    pub(super) fn read(text: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text)
            .map_err(|error| format!("octets that are not UTF-8 after column {}", error.valid_up_to()))?;
        serde_json::from_str(text).map_err(|error| {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            format!("{message} at column {}", error.column())
        })
    }

    /// Appends the value as compact JSON, keys sorted.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Count(value) => out.push_str(&value.to_string()),
            Self::Negative(value) => out.push_str(&value.to_string()),
            Self::Float(value) => out.push_str(&serde_json::Value::from(*value).to_string()),
            Self::Text(value) => write_text(out, value),
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    out.push(if index == 0 { '[' } else { ',' });
                    item.write(out);
                }
                out.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            Self::Object(entries) => {
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                for (index, (key, value)) in sorted.into_iter().enumerate() {
                    out.push(if index == 0 { '{' } else { ',' });
                    write_text(out, key);
                    out.push(':');
                    value.write(out);
                }
                out.push_str(if entries.is_empty() { "{}" } else { "}" });
            }
        }
    }
}

/// Appends `text` as a JSON string.
pub(super) fn write_text(out: &mut String, text: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// Shortly, as the `found` of a problem.
impl fmt::Display for Json<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(items) if items.is_empty() => out.write_str("an empty list"),
            Self::List(_) => out.write_str("a list"),
            Self::Object(_) => out.write_str("an object"),
            other => {
                let mut text = String::new();
                other.write(&mut text);
                out.write_str(&text)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

/// Builds [`Json`].
struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Json::Count(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(value).map_or(Json::Negative(value), Json::Count))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Json::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut entries: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        while let Some(key) = items.next_key::<Json<'de>>()? {
            let Json::Text(key) = key else { return Err(A::Error::custom("a key that is no string")) };
            if entries.iter().any(|(seen, _)| *seen == key) {
                return Err(A::Error::custom(format!("the key `{key}` twice")));
            }
            if entries.len() == KEYS_MAX {
                return Err(A::Error::custom(format!("an object of more than {KEYS_MAX} keys")));
            }
            entries.push((key, items.next_value()?));
        }
        Ok(Json::Object(entries))
    }
}

/// An object being taken apart key by key. Every method that misses what it wants adds a problem;
/// whoever calls compares [`Findings::count`] to learn whether the whole was good.
pub(super) struct Fields<'a> {
    line: u64,
    path: String,
    entries: Vec<(Cow<'a, str>, Json<'a>)>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Starts on `json`, which stands at `path` on `line`; `None` and a problem when it is no object.
    pub(super) fn new(
        out: &mut Findings,
        line: u64,
        path: impl Into<String>,
        json: Json<'a>,
    ) -> Option<Self> {
        let path = path.into();
        match json {
            Json::Object(entries) => Some(Self { line, path, entries, known: Vec::new() }),
            other => {
                out.problem(Problem::at(line, path, other, "an object"));
                None
            }
        }
    }

    /// The dotted name of `key`.
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// Adds a problem at `key`.
    pub(super) fn problem(
        &self,
        out: &mut Findings,
        key: &str,
        found: impl fmt::Display,
        expected: impl Into<String>,
    ) {
        out.problem(Problem::at(self.line, self.path(key), found, expected));
    }

    /// The value of `key`, once.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Json<'a>> {
        self.known.push(key);
        let at = self.entries.iter().position(|(name, _)| name == key)?;
        Some(self.entries.swap_remove(at).1)
    }

    /// The value of `key`; a problem when it is not there.
    pub(super) fn need(&mut self, out: &mut Findings, key: &'static str, expected: &str) -> Option<Json<'a>> {
        let value = self.take(key);
        if value.is_none() {
            self.problem(out, key, "nothing", expected);
        }
        value
    }

    /// Converts `value`, the value of `key`, with `read`; a problem when that gives nothing.
    pub(super) fn convert<T>(
        &self,
        out: &mut Findings,
        key: &str,
        value: &Json<'a>,
        expected: &str,
        read: impl FnOnce(&Json<'a>) -> Option<T>,
    ) -> Option<T> {
        let converted = read(value);
        if converted.is_none() {
            self.problem(out, key, value, expected);
        }
        converted
    }

    /// What `read` makes of the string under `key`; `None` when absent, or bad and told.
    pub(super) fn text<T>(
        &mut self,
        out: &mut Findings,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        self.convert(out, key, &value, expected, |value| value.as_text().and_then(read))
    }

    /// Like [`Fields::text`], but absence is a problem too.
    pub(super) fn need_text<T>(
        &mut self,
        out: &mut Findings,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.need(out, key, expected)?;
        self.convert(out, key, &value, expected, |value| value.as_text().and_then(read))
    }

    /// The whole number under `key`, inside `range`; `None` when absent, or bad and told.
    pub(super) fn count(
        &mut self,
        out: &mut Findings,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.take(key)?;
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.convert(out, key, &value, &expected, |value| value.as_count().filter(|n| range.contains(n)))
    }

    /// The number under `key`, inside `range`; absence is a problem too.
    pub(super) fn need_number(
        &mut self,
        out: &mut Findings,
        key: &'static str,
        range: RangeInclusive<f64>,
    ) -> Option<f64> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let value = self.need(out, key, &expected)?;
        self.convert(out, key, &value, &expected, |value| value.as_number().filter(|n| range.contains(n)))
    }

    /// The one of `choices` that is named under `key`; `None` when absent, or bad and told.
    pub(super) fn choice<T: Copy>(
        &mut self,
        out: &mut Findings,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let value = self.take(key)?;
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of {}", names.join(", "));
        self.convert(out, key, &value, &expected, |value| {
            let text = value.as_text()?;
            choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice)
        })
    }

    /// The items of the list under `key`; empty when absent, or no list and told.
    pub(super) fn list(&mut self, out: &mut Findings, key: &'static str) -> Vec<Json<'a>> {
        match self.take(key) {
            None => Vec::new(),
            Some(Json::List(items)) => items,
            Some(other) => {
                self.problem(out, key, other, "a list");
                Vec::new()
            }
        }
    }

    /// What `read` makes of each string of the list under `key`; bad ones are told and left out.
    pub(super) fn texts<T>(
        &mut self,
        out: &mut Findings,
        key: &'static str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let items = self.list(out, key);
        let mut made = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let at = format!("{key}[{index}]");
            made.extend(self.convert(out, &at, item, expected, |item| item.as_text().and_then(&read)));
        }
        made
    }

    /// Ends the object: what is left over is unknown.
    pub(super) fn finish(self, out: &mut Findings) {
        for (key, _) in &self.entries {
            out.unknown(self.line, self.path(key), &self.known);
        }
    }
}

impl<'a> Json<'a> {
    /// The string, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number from 0, if it is one; `1.0` is none.
    pub(super) fn as_count(&self) -> Option<u64> {
        match self {
            Self::Count(count) => Some(*count),
            _ => None,
        }
    }

    /// Any number; −0 becomes 0.
    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Count(count) => Some(*count as f64),
            Self::Negative(count) => Some(*count as f64),
            Self::Float(number) => Some(number + 0.0),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let found = Json::read(text.as_bytes()).map(|json| {
            let mut out = String::new();
            json.write(&mut out);
            out
        });
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    }

    #[test]
    fn json_is_read_strictly_and_written_sorted() {
        check(r#" {"b":[1,-2,0.5,null],"a":{"x":"\n"}} "#, Ok(r#"{"a":{"x":"\n"},"b":[1,-2,0.5,null]}"#));
        check("{}", Ok("{}"));
        check("[]", Ok("[]"));
        check(r#"{"a":1,"a":1}"#, Err("the key `a` twice at column 10"));
        check(r#"{"a":1"#, Err("EOF while parsing an object at column 6"));
        check("", Err("EOF while parsing a value at column 0"));
        check("1e999", Err("number out of range at column 5"));
        check("NaN", Err("expected value at column 1"));
        assert_eq!(Json::read(b"\"\xff\""), Err("octets that are not UTF-8 after column 1".into()));
    }
}
