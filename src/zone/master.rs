//! Master files (RFC 1035 section 5, RFC 2308 `$TTL`, RFC 3597 generic data) as records with lines.
//!
//! Owns the cutting of a text into entries, so that every fault is found in one go and has its line;
//! what stands inside an entry is read by the `domain` crate, one entry at a time. Zones are not
//! known here: records are neither inside nor outside of one. Layer 7; reads no file.

use crate::problem::Problem;
use crate::wire::{Name, Rtype};
use domain::base::iana::Class;
use domain::base::name::ToName;
use domain::base::rdata::ComposeRecordData;
use domain::zonefile::inplace::{Entry as DomainEntry, ScannedRecord, Zonefile};
use std::borrow::Cow;

/// Seconds of a record's TTL when neither the record, one before it nor `$TTL` says.
pub const TTL_S_DEFAULT: u32 = 3600;

/// The longest TTL, seconds (RFC 2181 section 8).
const TTL_S_MAX: u32 = 0x7fff_ffff;

/// One record as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Owner, canonical.
    pub(super) owner: Name,
    /// Type.
    pub(super) rtype: Rtype,
    /// Seconds.
    pub(super) ttl_s: u32,
    /// Data in canonical form: names in it uncompressed and in lower case (RFC 4034 section 6.2).
    pub(super) rdata: Vec<u8>,
    /// 1-based line that its entry begins on.
    pub(super) line: u64,
}

/// One entry of a master file: a line, or several held together by parentheses or quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry<'a> {
    /// 1-based.
    line: u64,
    /// Without the line feed at its end.
    text: &'a str,
    /// Parentheses or a quote are still open at the end of the file.
    is_open: bool,
}

/// Cuts `text` into entries; blank and comment lines are entries too.
fn entries(text: &str) -> Vec<Entry<'_>> {
    let mut found = Vec::new();
    let (mut start, mut start_line, mut line) = (0, 1, 1);
    let (mut depth, mut is_quoted, mut is_comment, mut is_escaped) = (0u32, false, false, false);
    for (at, octet) in text.bytes().enumerate() {
        if octet == b'\n' {
            line += 1;
            is_comment = false;
            // A quote never ends with its entry open: an unclosed one is a fault of its own line.
            if depth == 0 || is_quoted {
                found.push(Entry { line: start_line, text: &text[start..at], is_open: is_quoted });
                (start, start_line, depth, is_quoted) = (at + 1, line, 0, false);
            }
            is_escaped = false;
        } else if is_escaped {
            is_escaped = false;
        } else if !is_comment {
            match octet {
                b'\\' => is_escaped = true,
                b'"' => is_quoted = !is_quoted,
                b';' if !is_quoted => is_comment = true,
                b'(' if !is_quoted => depth += 1,
                b')' if !is_quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
    found.push(Entry { line: start_line, text: &text[start..], is_open: depth > 0 || is_quoted });
    found
}

/// What carries over from entry to entry.
struct Reader {
    /// What relative names end in.
    origin: Name,
    /// Owner of the last record, absolute, in presentation form with the final dot.
    owner: Option<String>,
    /// `$TTL`, seconds.
    ttl_default: Option<u32>,
    /// The last TTL written, seconds.
    ttl_last: u32,
    records: Vec<Record>,
    problems: Vec<Problem>,
}

/// Reads a whole master file whose names are relative to `origin` at its start.
///
/// # Errors
/// Every faulty entry, by line; problems carry no file name.
pub(super) fn read(text: &str, origin: &Name) -> Result<Vec<Record>, Vec<Problem>> {
    let mut reader = Reader {
        origin: origin.clone(),
        owner: None,
        ttl_default: None,
        ttl_last: TTL_S_DEFAULT,
        records: Vec::new(),
        problems: Vec::new(),
    };
    for entry in entries(text) {
        reader.entry(entry);
    }
    if reader.problems.is_empty() { Ok(reader.records) } else { Err(reader.problems) }
}

impl Reader {
    /// Reads one entry.
    fn entry(&mut self, entry: Entry<'_>) {
        let key = entry.text.split_ascii_whitespace().next().unwrap_or_default();
        if key.is_empty() || (key.starts_with(';') && !entry.is_open) {
            return;
        }
        let is_indented = entry.text.starts_with([' ', '\t']);
        let text = entry.text.trim_end();
        if entry.is_open {
            return self.fault(entry.line, "", text, "parentheses and quotes that are closed");
        }
        if !is_indented && key.eq_ignore_ascii_case("$TTL") {
            return self.set_ttl(entry);
        }
        if !is_indented && key.eq_ignore_ascii_case("$INCLUDE") {
            return self.fault(entry.line, "$INCLUDE", text, "one file without includes");
        }
        let owner = match (&self.owner, is_indented) {
            (_, false) => "",
            (Some(owner), true) => owner,
            (None, true) => {
                return self.fault(entry.line, "", text, "an owner name: no record comes before this one");
            }
        };
        let default = self.ttl_default.unwrap_or(self.ttl_last);
        let origin = absolute(&self.origin);
        let text_before = format!("$ORIGIN {origin}\n$TTL {default}\n{owner}");
        let text_after = with_origin(entry.text, &origin);
        let mut file = Zonefile::from(format!("{text_before}{text_after}\n").as_str());
        file.set_default_class(Class::IN);
        match file.next_entry() {
            Ok(Some(DomainEntry::Record(record))) => self.record(entry, &record),
            Ok(Some(DomainEntry::Include { .. })) => {
                self.fault(entry.line, "$INCLUDE", text, "one file without includes");
            }
            Ok(None) => {
                if let Some(origin) = file.origin().ok().and_then(|o| Name::of_wire(o.as_slice()).ok()) {
                    self.origin = origin;
                }
            }
            Err(error) => self.syntax(entry, &error.to_string()),
        }
    }

    /// Takes a `$TTL` directive.
    fn set_ttl(&mut self, entry: Entry<'_>) {
        let bare = entry.text.split(';').next().unwrap_or_default();
        let mut words = bare.split_ascii_whitespace().skip(1);
        match (words.next().and_then(|word| word.parse::<u32>().ok()), words.next()) {
            (Some(ttl_s), None) if ttl_s <= TTL_S_MAX => self.ttl_default = Some(ttl_s),
            _ => self.fault(entry.line, "$TTL", bare.trim(), "seconds, 0 to 2147483647"),
        }
    }

    /// Takes a record that was read.
    fn record(&mut self, entry: Entry<'_>, record: &ScannedRecord) {
        let owner = record.owner().to_vec();
        let Ok(owner) = Name::of_wire(owner.as_slice()) else {
            return self.fault(entry.line, "", entry.text.trim(), "an owner name");
        };
        self.owner = Some(absolute(&owner));
        let mut rdata = Vec::new();
        if record.data().compose_canonical_rdata(&mut rdata).is_err() || rdata.len() > usize::from(u16::MAX) {
            return self.fault(entry.line, "", entry.text.trim(), "data of at most 65535 octets");
        }
        let ttl_s = record.ttl().as_secs();
        if ttl_s > TTL_S_MAX {
            return self.fault(entry.line, "ttl", ttl_s, "seconds, 0 to 2147483647");
        }
        if self.ttl_default.is_none() {
            self.ttl_last = ttl_s;
        }
        let rtype = Rtype(record.rtype().to_int());
        self.records.push(Record { owner, rtype, ttl_s, rdata, line: entry.line });
    }

    /// Notes a syntax error, whose `message` begins with line and column of what was read.
    fn syntax(&mut self, entry: Entry<'_>, message: &str) {
        let mut parts = message.splitn(3, ':');
        let line: Option<u64> = parts.next().and_then(|line| line.parse().ok());
        let what = parts.nth(1).unwrap_or(message).trim();
        // Two lines stand before the entry, so its own first line is the third; the scanner may
        // already have gone on to the line after.
        let rows = entry.text.lines().count().max(1) as u64;
        let row = line.unwrap_or(3).saturating_sub(3).min(rows - 1);
        let text = entry.text.lines().nth(row as usize).unwrap_or(entry.text).trim();
        self.fault(entry.line + row, "", text, format!("a record or directive ({what})"));
    }

    /// Notes a problem.
    fn fault(&mut self, line: u64, key: &str, found: impl std::fmt::Display, expected: impl Into<String>) {
        self.problems.push(Problem::at(line, key, found, expected));
    }
}

/// Types whose data are texts, where an `@` is only an `@`.
const TEXT_TYPES: [&str; 5] = ["TXT", "SPF", "HINFO", "CAA", "URI"];

/// An entry with its free-standing `@` written out as `origin` (RFC 1035 section 5.1), in its data
/// too, where the scanner would take them for a label.
fn with_origin<'t>(text: &'t str, origin: &str) -> Cow<'t, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let is_break = |c: char| c.is_ascii_whitespace() || c == '(' || c == ')';
    let (mut whole, mut rest, mut words) = (String::with_capacity(text.len() + origin.len()), text, 0);
    let mut is_text = false;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            ';' => rest.find('\n').unwrap_or(rest.len()),
            '"' => quoted_len(rest),
            c if is_break(c) => 1,
            _ => rest.find(|c| is_break(c) || c == ';' || c == '"').unwrap_or(rest.len()),
        };
        let (piece, after) = rest.split_at(len);
        whole.push_str(if piece == "@" && !is_text { origin } else { piece });
        let is_word = !is_break(first) && first != ';';
        let may_be_type = words > 0 || text.starts_with([' ', '\t']);
        is_text |= is_word && may_be_type && TEXT_TYPES.iter().any(|name| piece.eq_ignore_ascii_case(name));
        words += usize::from(is_word);
        rest = after;
    }
    Cow::Owned(whole)
}

/// Octets of the quoted text that `text` begins with, both quotes included.
fn quoted_len(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Presentation form with the final dot.
fn absolute(name: &Name) -> String {
    if name.as_wire().len() <= 1 { ".".to_owned() } else { format!("{name}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `text` under `cdn.example` and prints records, or problems.
    fn check(text: &str, expected: &[&str]) {
        let origin = "cdn.example".parse().expect("a name");
        let found: Vec<String> = match read(text, &origin) {
            Ok(records) => records
                .iter()
                .map(|r| format!("{} {} {} {} {:02x?}", r.line, r.owner, r.ttl_s, r.rtype.0, r.rdata))
                .collect(),
            Err(problems) => problems.iter().map(|p| format!("{}: {}", p.line, p.found)).collect(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn rfc1035_s5_1_owners_and_origins() {
        check("www A 192.0.2.1", &["1 www.cdn.example 3600 1 [c0, 00, 02, 01]"]);
        check(
            "@ 5 IN A 1.2.3.4\n  IN 6 A 1.2.3.5 ; more",
            &["1 cdn.example 5 1 [01, 02, 03, 04]", "2 cdn.example 6 1 [01, 02, 03, 05]"],
        );
        check(
            "$ORIGIN a.example.\nB A 1.2.3.4\n$ORIGIN c\n@ A 1.2.3.4",
            &["2 b.a.example 3600 1 [01, 02, 03, 04]", "4 c.a.example 3600 1 [01, 02, 03, 04]"],
        );
        check(
            "\\$x\\.y A 1.2.3.4\n A 1.2.3.5",
            &[
                "1 \\$x\\.y.cdn.example 3600 1 [01, 02, 03, 04]",
                "2 \\$x\\.y.cdn.example 3600 1 [01, 02, 03, 05]",
            ],
        );
    }

    #[test]
    fn rfc1035_s5_1_free_standing_at_signs_are_the_origin() {
        check(
            "$ORIGIN b.\na CNAME @\n@ MX 10 @ ; @\nt TXT @ \"@ \\\" @\"\n TXT @\nx\\@ A 1.2.3.4",
            &[
                "2 a.b 3600 5 [01, 62, 00]",
                "3 b 3600 15 [00, 0a, 01, 62, 00]",
                "4 t.b 3600 16 [01, 40, 05, 40, 20, 22, 20, 40]",
                "5 t.b 3600 16 [01, 40]",
                "6 x\\@.b 3600 1 [01, 02, 03, 04]",
            ],
        );
    }

    #[test]
    fn rfc2308_s4_ttl_directive_and_rfc1035_last_stated_ttl() {
        check(
            "$TTL 60 ; a minute\na A 1.2.3.4\nb 7 A 1.2.3.4\nc A 1.2.3.4",
            &[
                "2 a.cdn.example 60 1 [01, 02, 03, 04]",
                "3 b.cdn.example 7 1 [01, 02, 03, 04]",
                "4 c.cdn.example 60 1 [01, 02, 03, 04]",
            ],
        );
        check(
            "a 7 A 1.2.3.4\nb A 1.2.3.4",
            &["1 a.cdn.example 7 1 [01, 02, 03, 04]", "2 b.cdn.example 7 1 [01, 02, 03, 04]"],
        );
    }

    #[test]
    fn parentheses_quotes_and_comments_hold_entries_together() {
        check(
            "\n; (\na TXT ( \"x;(\" ; y )\n  z )\n\nb A 1.2.3.4",
            &["3 a.cdn.example 3600 16 [03, 78, 3b, 28, 01, 7a]", "6 b.cdn.example 3600 1 [01, 02, 03, 04]"],
        );
    }

    #[test]
    fn types_are_read() {
        check(
            "a AAAA 2001:db8::1",
            &["1 a.cdn.example 3600 28 [20, 01, 0d, b8, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 01]"],
        );
        check(
            "a MX 10 b",
            &["1 a.cdn.example 3600 15 [00, 0a, 01, 62, 03, 63, 64, 6e, 07, 65, 78, 61, 6d, 70, 6c, 65, 00]"],
        );
        check("a SRV 1 2 3 .", &["1 a.cdn.example 3600 33 [00, 01, 00, 02, 00, 03, 00]"]);
        check("a CAA 0 issue \"ca\"", &["1 a.cdn.example 3600 257 [00, 05, 69, 73, 73, 75, 65, 63, 61]"]);
        check("a CNAME .", &["1 a.cdn.example 3600 5 [00]"]);
        check("a TYPE65400 \\# 3 0a0B0c", &["1 a.cdn.example 3600 65400 [0a, 0b, 0c]"]);
    }

    #[test]
    fn every_fault_has_its_line() {
        check(
            "a A 1.2.3\nb A 1.2.3.4\nc FOO x\n\nd TXT (\n \"a\"\n b \\999 )",
            &["1: a A 1.2.3", "3: c FOO x", "7: b \\999 )"],
        );
        check(" A 1.2.3.4", &["1:  A 1.2.3.4"]);
        check("a A 1.2.3.4 x", &["1: a A 1.2.3.4 x"]);
        check("a CH TXT x", &["1: a CH TXT x"]);
        check("$INCLUDE other", &["1: $INCLUDE other"]);
        check("$TTL 1h", &["1: $TTL 1h"]);
        check("$GENERATE 1-2 a A 1.2.3.4", &["1: $GENERATE 1-2 a A 1.2.3.4"]);
        check("a TXT \"x\nb A 1.2.3", &["1: a TXT \"x", "2: b A 1.2.3"]);
        check("a TXT ( x\nb A 1.2.3.4", &["1: a TXT ( x\nb A 1.2.3.4"]);
    }
}
