//! Routes as they are read: any order, clusters by name, and millions of them.
//!
//! A route line in its usual shape costs a prefix and one hash: its `via` text is looked up among
//! those seen before, because a million prefixes share a few thousand of them. Only new texts, and
//! lines of any other shape, go through JSON. [`PendingRoutes::settle`] resolves names once per
//! distinct `via`, sorts, and finds duplicates. Layer 3.

use super::findings::Findings;
use super::json::{Fields, Json};
use super::names;
use super::routes::{Candidate, Origin, ViaId, ViaPool};
use crate::fleet::ClusterId;
use crate::prefix::{Bits, Block, Prefix, PrefixError};
use crate::problem::Problem;
use rustc_hash::FxHashMap;
use serde::Deserialize;
use std::net::Ipv6Addr;

/// Largest number of candidates of one route.
pub const VIA_MAX: usize = 1_024;
/// LOCAL_PREF of a candidate that does not say.
pub const LOCAL_PREF: u32 = 100;
/// ORIGIN by name.
pub(super) const ORIGINS: [(&str, Origin); 3] =
    [("igp", Origin::Igp), ("egp", Origin::Egp), ("incomplete", Origin::Incomplete)];
/// What a prefix should be, for problems.
pub(super) const PREFIX: &str = "an address and a length, as 192.0.2.0/24 or 2001:db8::/32";

/// A candidate whose cluster is an index into [`RawVias::names`].
#[derive(Debug, Clone, Copy)]
struct Heard {
    name: u32,
    local_pref: u32,
    as_path_len: u32,
    origin: Origin,
    med: u32,
}

/// A candidate as the usual writer has it: borrowed, and no key that is not known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainCandidate<'a> {
    cluster: &'a str,
    #[serde(default = "default_local_pref")]
    local_pref: u32,
    #[serde(default)]
    as_path_len: u32,
    #[serde(default)]
    origin: Origin,
    #[serde(default)]
    med: u32,
}

/// [`LOCAL_PREF`], for serde.
fn default_local_pref() -> u32 {
    LOCAL_PREF
}

/// Sets of candidates in the order read, clusters still names.
#[derive(Debug, Default)]
struct RawVias {
    by_text: FxHashMap<Box<[u8]>, u32>,
    ends: Vec<u32>,
    items: Vec<Heard>,
    names: Vec<Box<str>>,
    by_name: FxHashMap<Box<str>, u32>,
}

impl RawVias {
    /// The index of a cluster's name.
    fn name(&mut self, name: &str) -> u32 {
        if let Some(&at) = self.by_name.get(name) {
            return at;
        }
        let at = self.names.len() as u32;
        self.names.push(name.into());
        self.by_name.insert(name.into(), at);
        at
    }

    /// Ends the set whose candidates were pushed onto `items`.
    fn end(&mut self) -> u32 {
        self.ends.push(u32::try_from(self.items.len()).expect("a text of less than 4 Gi candidates"));
        self.ends.len() as u32 - 1
    }

    /// The candidates of set `at`.
    fn get(&self, at: usize) -> &[Heard] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.items[start..self.ends[at] as usize]
    }

    /// The set that `text` writes, if it is in the usual shape and without a fault of its own.
    fn plain(&mut self, text: &[u8]) -> Option<u32> {
        if let Some(&at) = self.by_text.get(text) {
            return Some(at);
        }
        let list: Vec<PlainCandidate<'_>> = serde_json::from_slice(text).ok()?;
        let is_plain = |candidate: &PlainCandidate<'_>| names::plain(candidate.cluster).is_some();
        if list.is_empty() || list.len() > VIA_MAX || !list.iter().all(is_plain) {
            return None;
        }
        for candidate in list {
            let name = self.name(candidate.cluster);
            self.items.push(Heard {
                name,
                local_pref: candidate.local_pref,
                as_path_len: candidate.as_path_len,
                origin: candidate.origin,
                med: candidate.med,
            });
        }
        let at = self.end();
        self.by_text.insert(text.into(), at);
        Some(at)
    }
}

/// A route read: its prefix, its line, its set in [`RawVias`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pending<B> {
    block: Block<B>,
    line: u32,
    via: u32,
}

/// A route of a text that may stay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled<B> {
    /// Its prefix.
    pub(super) block: Block<B>,
    /// Its line.
    pub(super) line: u32,
    /// Where it leads.
    pub(super) via: ViaId,
}

/// Routes as they are read.
#[derive(Debug, Default)]
pub(super) struct PendingRoutes {
    v4: Vec<Pending<u32>>,
    v6: Vec<Pending<u128>>,
    vias: RawVias,
}

impl PendingRoutes {
    /// Takes a line in the usual shape; `false`: another shape, or something is wrong with it.
    pub(super) fn take_plain(&mut self, line: u64, text: &[u8]) -> bool {
        let Ok(line) = u32::try_from(line) else { return false };
        let Some((prefix, via)) = split_plain(text) else { return false };
        if let Some(block) = plain_v4(prefix) {
            let Some(via) = self.vias.plain(via) else { return false };
            self.v4.push(Pending { block, line, via });
        } else if let Some(block) = plain_v6(prefix) {
            let Some(via) = self.vias.plain(via) else { return false };
            self.v6.push(Pending { block, line, via });
        } else {
            return false;
        }
        true
    }

    /// Takes the object under `route` of any line; tells what is wrong with it.
    pub(super) fn take(&mut self, out: &mut Findings, line: u64, json: Json<'_>) {
        let before = out.count();
        let Some(mut fields) = Fields::new(out, line, "route", json) else { return };
        let prefix =
            fields.need(out, "prefix", PREFIX).and_then(|value| prefix(out, &fields, "prefix", &value));
        let list = fields.need(out, "via", "a list of one candidate or more");
        let start = self.vias.items.len();
        match list {
            Some(Json::List(list)) if (1..=VIA_MAX).contains(&list.len()) => {
                for (index, json) in list.into_iter().enumerate() {
                    let path = fields.path(&format!("via[{index}]"));
                    let heard = self.candidate(out, line, path, json);
                    self.vias.items.extend(heard);
                }
            }
            Some(Json::List(list)) => {
                let found = format!("{} candidates", list.len());
                fields.problem(out, "via", found, format!("1 to {VIA_MAX} candidates"));
            }
            Some(other) => fields.problem(out, "via", other, "a list of one candidate or more"),
            None => {}
        }
        fields.finish(out);
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        match prefix.filter(|_| out.count() == before) {
            Some(Prefix::V4(block)) => self.v4.push(Pending { block, line, via: self.vias.end() }),
            Some(Prefix::V6(block)) => self.v6.push(Pending { block, line, via: self.vias.end() }),
            None => self.vias.items.truncate(start),
        }
    }

    /// One object of a `via`.
    fn candidate(&mut self, out: &mut Findings, line: u64, path: String, json: Json<'_>) -> Option<Heard> {
        let mut fields = Fields::new(out, line, path, json)?;
        let cluster = fields.need_text(out, "cluster", "the name of a cluster", names::plain);
        let number = 0..=u64::from(u32::MAX);
        let local_pref = fields.count(out, "local_pref", number.clone());
        let as_path_len = fields.count(out, "as_path_len", number.clone());
        let origin = fields.choice(out, "origin", &ORIGINS).unwrap_or_default();
        let med = fields.count(out, "med", number);
        fields.finish(out);
        Some(Heard {
            name: self.vias.name(&cluster?),
            local_pref: local_pref.map_or(LOCAL_PREF, |n| n as u32),
            as_path_len: as_path_len.map_or(0, |n| n as u32),
            origin,
            med: med.map_or(0, |n| n as u32),
        })
    }

    /// Resolves, sorts, and finds duplicates: an identical one is a warning, another a problem.
    /// Sets of candidates go into `pool`. Routes come back sorted by prefix, each once.
    pub(super) fn settle(
        self,
        out: &mut Findings,
        pool: &mut ViaPool,
        resolve: impl Fn(&str) -> Option<ClusterId>,
    ) -> (Vec<Settled<u32>>, Vec<Settled<u128>>) {
        let resolved = resolve_vias(&self.vias, pool, resolve);
        let v4 = settle_family(out, self.v4, &resolved);
        let v6 = settle_family(out, self.v6, &resolved);
        (v4, v6)
    }
}

/// Reads `value`, the value of `key`, as a prefix.
pub(super) fn prefix(out: &mut Findings, fields: &Fields<'_>, key: &str, value: &Json<'_>) -> Option<Prefix> {
    match value.as_text().map(str::parse::<Prefix>) {
        Some(Ok(prefix)) => return Some(prefix),
        Some(Err(PrefixError::HostBits(meant))) => {
            fields.problem(out, key, value, format!("no host bits, as in {meant}"));
        }
        _ => fields.problem(out, key, value, PREFIX),
    }
    None
}

/// Something wrong with a set of candidates, to be told for each route that has it.
struct Fault {
    key: String,
    found: String,
    expected: &'static str,
}

/// For each set: where it went, or its faults.
type Resolved = Vec<Result<ViaId, Box<[Fault]>>>;

/// Finds the clusters of every set, and interns the sets without fault.
fn resolve_vias(vias: &RawVias, pool: &mut ViaPool, resolve: impl Fn(&str) -> Option<ClusterId>) -> Resolved {
    let clusters: Vec<Option<ClusterId>> = vias.names.iter().map(|name| resolve(name)).collect();
    let mut scratch = Vec::new();
    let mut resolved = Resolved::with_capacity(vias.ends.len());
    for at in 0..vias.ends.len() {
        let heard = vias.get(at);
        let faults = faults_of(vias, heard, &clusters);
        scratch.clear();
        for one in heard {
            if let Some(cluster) = clusters[one.name as usize] {
                let Heard { local_pref, as_path_len, origin, med, .. } = *one;
                scratch.push(Candidate { cluster, local_pref, as_path_len, origin, med });
            }
        }
        resolved.push(if faults.is_empty() { Ok(pool.intern(&mut scratch)) } else { Err(faults.into()) });
    }
    resolved
}

/// Unknown clusters, and clusters named twice.
fn faults_of(vias: &RawVias, heard: &[Heard], clusters: &[Option<ClusterId>]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let fault = |index: usize, name: u32, expected| Fault {
        key: format!("route.via[{index}].cluster"),
        found: format!("\"{}\"", vias.names[name as usize]),
        expected,
    };
    for (index, one) in heard.iter().enumerate() {
        if clusters[one.name as usize].is_none() {
            faults.push(fault(index, one.name, "the name of a cluster of this table"));
        }
    }
    if heard.len() > 1 {
        let mut order: Vec<(u32, usize)> = heard.iter().enumerate().map(|(at, one)| (one.name, at)).collect();
        order.sort_unstable();
        for pair in order.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            faults.push(fault(pair[1].1, pair[1].0, "each cluster once in a `via`"));
        }
    }
    faults
}

/// Sorts the routes of one family and tells faults and duplicates.
fn settle_family<B: Bits>(
    out: &mut Findings,
    mut pending: Vec<Pending<B>>,
    resolved: &Resolved,
) -> Vec<Settled<B>> {
    if !pending.is_sorted() {
        pending.sort_unstable();
    }
    let mut last: Option<(Block<B>, u32, Option<ViaId>)> = None;
    let settle = |Pending { block, line, via }: Pending<B>| {
        let at = u64::from(line);
        let via = match &resolved[via as usize] {
            Ok(via) => Some(*via),
            Err(faults) => {
                for fault in faults {
                    out.problem(Problem::at(at, fault.key.clone(), &fault.found, fault.expected));
                }
                None
            }
        };
        match last {
            Some((same, first, before)) if same == block => {
                let found = format!("{block} again");
                if before == via {
                    let expected = format!("one line a prefix; line {first} says the same");
                    out.warning(Problem::at(at, "route.prefix", found, expected));
                } else {
                    let expected = format!("one line a prefix; line {first} says otherwise");
                    out.problem(Problem::at(at, "route.prefix", found, expected));
                }
                None
            }
            _ => {
                last = Some((block, line, via));
                via.map(|via| Settled { block, line, via })
            }
        }
    };
    // Both kinds are of one size, so that this is done in the array that is there.
    pending.into_iter().filter_map(settle).collect()
}

/// Takes `literal`, then one space if there is one, off the front of `text`.
fn after<'a>(text: &'a [u8], literal: &[u8]) -> Option<&'a [u8]> {
    let rest = text.strip_prefix(literal)?;
    Some(rest.strip_prefix(b" ").unwrap_or(rest))
}

/// Splits `{"route":{"prefix":"…","via":[…]}}` into prefix and list, with or without a space after
/// each colon and comma. What is between is not looked at: who calls reads both strictly.
fn split_plain(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = after(text, b"{\"route\":")?;
    let text = after(text, b"{\"prefix\":")?.strip_prefix(b"\"")?;
    let end = text.iter().take(50).position(|&b| b == b'"')?;
    let rest = after(&text[end + 1..], b",")?;
    let via = after(rest, b"\"via\":")?.strip_suffix(b"}}")?;
    Some((&text[..end], via))
}

/// Reads an IPv4 prefix; `None`: none, or something is wrong with it.
fn plain_v4(text: &[u8]) -> Option<Block<u32>> {
    let mut addr = 0u32;
    let mut rest = text;
    for mark in [b'.', b'.', b'.', b'/'] {
        let (octet, after) = plain_number(rest)?;
        if octet > 255 || after.first() != Some(&mark) {
            return None;
        }
        addr = addr << 8 | octet;
        rest = &after[1..];
    }
    let (len, rest) = plain_number(rest)?;
    if !rest.is_empty() || len > 32 {
        return None;
    }
    Block::new(addr, len as u8)
}

/// Reads one to three digits without a leading zero.
fn plain_number(text: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0;
    let mut at = 0;
    while at < 3 && at < text.len() && text[at].is_ascii_digit() {
        number = number * 10 + u32::from(text[at] - b'0');
        at += 1;
    }
    let is_number = at > 0 && (at == 1 || text[0] != b'0');
    is_number.then(|| (number, &text[at..]))
}

/// Reads an IPv6 prefix; `None`: none, or something is wrong with it.
fn plain_v6(text: &[u8]) -> Option<Block<u128>> {
    let slash = text.iter().rposition(|&b| b == b'/')?;
    let (len, rest) = plain_number(&text[slash + 1..])?;
    if !rest.is_empty() || len > 128 {
        return None;
    }
    let addr: Ipv6Addr = std::str::from_utf8(&text[..slash]).ok()?.parse().ok()?;
    Block::new(u128::from(addr), len as u8)
}
