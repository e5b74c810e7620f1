//! Zones: the static names that are served beside services and appliances.
//!
//! A [`Zone`] is built from plain settings and a master file's text and is frozen then; every fault
//! is reported. Lookups take canonical names and allocate nothing. Who asks decides what comes
//! before static data (ruling 15). Layer 2; reads no file.
//!
//! ```text
//! apex ── SOA, NS (settings) + records of the file
//!  ├─ names with records            ─┐ nodes, found by their whole name
//!  ├─ names without, above others   ─┘ (empty non-terminals)
//!  ├─ *.name                         wildcards, found by `name` (RFC 4592)
//!  └─ name with NS                   delegations: nothing below them but glue
//! ```

mod conflicts;
mod master;

use self::master::Record;
pub use self::master::TTL_S_DEFAULT;
use crate::problem::Problem;
use crate::wire::{Name, Rdata, Rtype, Soa, parent};
use rustc_hash::FxHashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What config says of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneSettings {
    /// Apex, as written.
    pub name: String,
    /// Host names of its name servers; at least one.
    pub ns: Vec<String>,
    /// Start of authority.
    pub soa: SoaSettings,
    /// Further records: the file's name, for problems, and its text.
    pub records: Option<(String, String)>,
}

/// What config says of a zone's SOA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoaSettings {
    /// Primary name server, host name.
    pub mname: String,
    /// Mailbox as a name, or with an `@`.
    pub rname: String,
    /// Serial.
    pub serial: u32,
    /// Seconds.
    pub refresh_s: u32,
    /// Seconds.
    pub retry_s: u32,
    /// Seconds.
    pub expire_s: u32,
    /// Seconds that a negative answer may be kept.
    pub negative_ttl_s: u32,
}

/// Data of one record, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StaticRdata {
    /// A.
    A(Ipv4Addr),
    /// AAAA.
    Aaaa(Ipv6Addr),
    /// CNAME, NS, PTR.
    Name(Name),
    /// All else.
    Bytes(Box<[u8]>),
}

impl StaticRdata {
    /// Checks data of a type that has a form here; `None` when it has not that form.
    fn of(rtype: Rtype, rdata: &[u8]) -> Option<Self> {
        match rtype {
            Rtype::A => <[u8; 4]>::try_from(rdata).ok().map(|octets| Self::A(octets.into())),
            Rtype::AAAA => <[u8; 16]>::try_from(rdata).ok().map(|octets| Self::Aaaa(octets.into())),
            Rtype::CNAME | Rtype::NS | Rtype::PTR => Name::of_wire(rdata).ok().map(Self::Name),
            _ => Some(Self::Bytes(rdata.into())),
        }
    }

    /// For the reply writer.
    pub(crate) fn as_rdata(&self) -> Rdata<'_> {
        match self {
            Self::A(addr) => Rdata::A(*addr),
            Self::Aaaa(addr) => Rdata::Aaaa(*addr),
            Self::Name(name) => Rdata::Name(name.as_wire()),
            Self::Bytes(octets) => Rdata::Bytes(octets),
        }
    }
}

/// Records of one name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rrset {
    /// Type.
    pub(crate) rtype: Rtype,
    /// Seconds: the lowest of its records (RFC 2181 section 5.2).
    pub(crate) ttl_s: u32,
    /// Without duplicates, in the order written.
    pub(crate) rdatas: Vec<StaticRdata>,
    /// 1-based line of the first record; 0 when it comes from the settings.
    pub(crate) line: u64,
}

impl Rrset {
    /// Names that its records point to (NS, CNAME).
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Name> {
        self.rdatas.iter().filter_map(|rdata| match rdata {
            StaticRdata::Name(name) => Some(name),
            _ => None,
        })
    }
}

/// What one name has; nothing for an empty non-terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    rrsets: Vec<Rrset>,
}

impl Node {
    /// Without records.
    pub(crate) const EMPTY: Self = Self { rrsets: Vec::new() };

    /// Its records of `rtype`.
    pub(crate) fn rrset(&self, rtype: Rtype) -> Option<&Rrset> {
        self.rrsets.iter().find(|rrset| rrset.rtype == rtype)
    }

    /// All of its records.
    pub(crate) fn rrsets(&self) -> &[Rrset] {
        &self.rrsets
    }

    /// Adds a record; says whether it was new.
    fn add(&mut self, rtype: Rtype, ttl_s: u32, rdata: StaticRdata, line: u64) -> bool {
        match self.rrsets.iter_mut().find(|rrset| rrset.rtype == rtype) {
            None => self.rrsets.push(Rrset { rtype, ttl_s, rdatas: vec![rdata], line }),
            Some(rrset) => {
                rrset.ttl_s = rrset.ttl_s.min(ttl_s);
                if rrset.rdatas.contains(&rdata) {
                    return false;
                }
                rrset.rdatas.push(rdata);
            }
        }
        true
    }
}

/// What a zone has for a name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found<'z> {
    /// The name itself, with records or as an empty non-terminal.
    Exact(&'z Node),
    /// The name is at or below a delegation: the cut and its node.
    Delegation(&'z Name, &'z Node),
    /// A wildcard makes it: its node, and the octets of the wildcard's own name.
    Wildcard(&'z Node, usize),
    /// Nothing.
    Nothing,
}

/// One zone, frozen.
#[derive(Debug, Clone)]
pub struct Zone {
    apex: Name,
    mname: Name,
    rname: Name,
    /// Serial, refresh, retry, expire, negative TTL.
    soa_numbers: [u32; 5],
    /// Name of the records' file; empty when there is none.
    file: String,
    nodes: FxHashMap<Name, Node>,
    /// By the name under `*`.
    wildcards: FxHashMap<Name, Name>,
    has_cuts: bool,
}

impl Zone {
    /// Builds a zone.
    ///
    /// # Errors
    /// All that is wrong with the settings (line 0, keys as in the config) and the records' file.
    pub fn build(settings: &ZoneSettings) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut name_of = |key: &str, text: &str, expected: &str| {
            let name = text.parse::<Name>();
            name.map_err(|error| problems.push(Problem::at(0, key, text, format!("{expected}: {error}"))))
                .ok()
        };
        let apex = name_of("dns.zone.name", &settings.name, "a zone's name");
        let mname = name_of("dns.zone.soa.mname", &settings.soa.mname, "a host name");
        let rname = name_of("dns.zone.soa.rname", &mailbox(&settings.soa.rname), "a mailbox's name");
        let ns: Vec<Name> =
            settings.ns.iter().filter_map(|ns| name_of("dns.zone.ns", ns, "a host name")).collect();
        if settings.ns.is_empty() {
            problems.push(Problem::at(0, "dns.zone.ns", "none", "at least one name server"));
        }
        let (Some(apex), Some(mname), Some(rname)) = (apex, mname, rname) else { return Err(problems) };
        let soa = &settings.soa;
        let mut zone = Self {
            nodes: FxHashMap::default(),
            wildcards: FxHashMap::default(),
            has_cuts: false,
            soa_numbers: [soa.serial, soa.refresh_s, soa.retry_s, soa.expire_s, soa.negative_ttl_s],
            file: settings.records.as_ref().map(|(file, _)| file.clone()).unwrap_or_default(),
            apex,
            mname,
            rname,
        };
        let apex_node = zone.nodes.entry(zone.apex.clone()).or_default();
        for ns in ns {
            apex_node.add(Rtype::NS, TTL_S_DEFAULT, StaticRdata::Name(ns), 0);
        }
        if let Some((_, text)) = &settings.records {
            match master::read(text, &zone.apex) {
                Ok(records) => records.into_iter().for_each(|record| zone.add(record, &mut problems)),
                Err(faults) => problems.extend(faults.into_iter().map(|fault| fault.in_file(&zone.file))),
            }
        }
        zone.check(&mut problems);
        zone.freeze();
        if problems.is_empty() { Ok(zone) } else { Err(problems) }
    }

    /// Adds a record of the file.
    fn add(&mut self, record: Record, problems: &mut Vec<Problem>) {
        let Record { owner, rtype, ttl_s, rdata, line } = record;
        let mut fault = |expected: &str| {
            let found = format!("{owner} {}", type_name(rtype));
            problems.push(Problem::at(line, "", found, expected).in_file(&self.file));
        };
        if !owner.is_subdomain_of(&self.apex) {
            return fault(&format!("a name in {}", self.apex));
        }
        if rtype == Rtype::SOA {
            return fault("no SOA: it stands in the config");
        }
        if rtype == Rtype::DNAME || rtype.is_meta() || (46..=51).contains(&rtype.0) && rtype.0 != 49 {
            return fault("a type that can be served from a file");
        }
        let Some(data) = StaticRdata::of(rtype, &rdata) else { return fault("data of its type's form") };
        if rtype == Rtype::NS && owner == self.apex {
            let apex = self.nodes.get(&owner).and_then(|node| node.rrset(Rtype::NS));
            if !apex.is_some_and(|ns| ns.rdatas.contains(&data)) {
                fault("a name server that the config lists too");
            }
            return;
        }
        if rtype == Rtype::NS && owner.is_wildcard() {
            return fault("a delegation of one name (RFC 4592 section 4.2)");
        }
        self.nodes.entry(owner).or_default().add(rtype, ttl_s, data, line);
    }

    /// Finds what is wrong with the zone by itself: aliases beside data, data below a delegation.
    fn check(&self, problems: &mut Vec<Problem>) {
        let mut found = Vec::new();
        for (name, node) in &self.nodes {
            let mut fault = |rrset: &Rrset, expected: &str| {
                let what = format!("{name} {}", type_name(rrset.rtype));
                found.push(Problem::at(rrset.line, "", what, expected).in_file(&self.file));
            };
            if let Some(cname) = node.rrset(Rtype::CNAME) {
                if *name == self.apex {
                    fault(cname, "no alias at a zone's apex (RFC 1912 section 2.4)");
                } else if node.rrsets.len() > 1 {
                    fault(cname, "an alias alone at its name (RFC 1034 section 3.6.2)");
                }
                if cname.rdatas.len() > 1 {
                    fault(cname, "one alias a name (RFC 2181 section 10.1)");
                }
            }
            let cut = self.cut_over(name.as_wire());
            let is_below = cut.is_some_and(|(cut, _)| cut != name);
            for rrset in node.rrsets.iter().filter(|_| cut.is_some()) {
                let at_cut = !is_below && matches!(rrset.rtype, Rtype::NS | Rtype::DS);
                if !at_cut && !matches!(rrset.rtype, Rtype::A | Rtype::AAAA) {
                    fault(rrset, "only glue below a delegation, only NS and DS at one");
                }
            }
        }
        found.sort_by(|a, b| (a.line, &a.found).cmp(&(b.line, &b.found)));
        problems.extend(found);
    }

    /// Adds empty non-terminals and the indices.
    fn freeze(&mut self) {
        let names: Vec<Name> = self.nodes.keys().cloned().collect();
        for name in names {
            self.has_cuts |= name != self.apex && self.nodes[&name].rrset(Rtype::NS).is_some();
            if let Some(parent) = name.parent().filter(|_| name.is_wildcard()) {
                self.wildcards.insert(parent, name.clone());
            }
            let mut above = name.parent();
            while let Some(name) = above.filter(|name| name.is_subdomain_of(&self.apex)) {
                above = name.parent();
                self.nodes.entry(name).or_default();
            }
        }
    }

    /// The apex.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// Name of the file that records came from; empty when there is none.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The SOA record's data.
    pub(crate) fn soa(&self) -> Soa<'_> {
        Soa { mname: self.mname.as_wire(), rname: self.rname.as_wire(), numbers: self.soa_numbers }
    }

    /// Seconds that a negative answer may be kept: the smaller of the SOA's MINIMUM and its TTL (RFC 2308
    /// section 3).
    pub(crate) fn negative_ttl_s(&self) -> u32 {
        self.soa_numbers[4].min(TTL_S_DEFAULT)
    }

    /// All names, in no order.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&Name, &Node)> {
        self.nodes.iter()
    }

    /// The node of exactly `name`.
    pub(crate) fn node(&self, name: &[u8]) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// The highest delegation at or above `name`, a canonical name in the zone.
    pub(crate) fn cut_over(&self, name: &[u8]) -> Option<(&Name, &Node)> {
        let mut cut = None;
        let mut rest = name;
        while rest != self.apex.as_wire() {
            if let Some((name, node)) = self.nodes.get_key_value(rest)
                && node.rrset(Rtype::NS).is_some()
            {
                cut = Some((name, node));
            }
            rest = parent(rest)?;
        }
        cut
    }

    /// Looks up `name`, canonical and in the zone. `exists` says of a name whether the table has it
    /// or one below it, which stops a wildcard above it (RFC 4592 section 2.2.2).
    pub(crate) fn find(&self, name: &[u8], exists: impl Fn(&[u8]) -> bool) -> Found<'_> {
        if self.has_cuts
            && let Some((cut, node)) = self.cut_over(name)
        {
            return Found::Delegation(cut, node);
        }
        if let Some(node) = self.nodes.get(name) {
            return Found::Exact(node);
        }
        if self.wildcards.is_empty() {
            return Found::Nothing;
        }
        let mut encloser = parent(name);
        while let Some(above) = encloser {
            if let Some(wildcard) = self.wildcards.get(above) {
                let node = self.nodes.get(wildcard);
                return node.map_or(Found::Nothing, |node| Found::Wildcard(node, wildcard.as_wire().len()));
            }
            if self.nodes.contains_key(above) || exists(above) {
                return Found::Nothing;
            }
            encloser = parent(above);
        }
        Found::Nothing
    }
}

/// A mailbox as a name: what stands before an `@` becomes one label.
fn mailbox(text: &str) -> String {
    match text.split_once('@') {
        Some((local, host)) => format!("{}.{host}", local.replace('.', "\\.")),
        None => text.to_owned(),
    }
}

/// A type as it is written.
pub(crate) fn type_name(rtype: Rtype) -> String {
    domain::base::iana::Rtype::from_int(rtype.0).to_string()
}

/// A zone of one [`Zones`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ZoneId(u32);

/// All zones, found by name.
#[derive(Debug, Clone, Default)]
pub struct Zones {
    zones: Vec<Zone>,
    by_apex: FxHashMap<Name, ZoneId>,
}

impl Zones {
    /// Builds all zones.
    ///
    /// # Errors
    /// The problems of all of them, and every zone that is written twice.
    pub fn build(settings: &[ZoneSettings]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut zones = Self::default();
        for settings in settings {
            match Zone::build(settings) {
                Err(faults) => problems.extend(faults),
                Ok(zone) => {
                    let id = ZoneId(zones.zones.len() as u32);
                    if zones.by_apex.insert(zone.apex.clone(), id).is_some() {
                        problems.push(Problem::at(0, "dns.zone.name", &settings.name, "each zone once"));
                    }
                    zones.zones.push(zone);
                }
            }
        }
        if problems.is_empty() { Ok(zones) } else { Err(problems) }
    }

    /// The zone that `name` (canonical) belongs to: the longest apex at or above it.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Zone> {
        self.id_of(name).map(|id| self.zone(id))
    }

    /// The same zone's number.
    pub(crate) fn id_of(&self, name: &[u8]) -> Option<ZoneId> {
        std::iter::successors(Some(name), |rest| parent(rest))
            .find_map(|rest| self.by_apex.get(rest).copied())
    }

    /// One zone.
    pub(crate) fn zone(&self, id: ZoneId) -> &Zone {
        &self.zones[id.0 as usize]
    }

    /// All zones, as configured.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.zones.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_apex.is_empty()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Settings of `cdn.example` with these records.
    pub(crate) fn settings(records: &str) -> ZoneSettings {
        ZoneSettings {
            name: "cdn.example".into(),
            ns: vec!["ns1.cdn.example".into(), "ns2.other.example".into()],
            soa: SoaSettings {
                mname: "ns1.cdn.example".into(),
                rname: "host.master@cdn.example".into(),
                serial: 7,
                refresh_s: 3600,
                retry_s: 600,
                expire_s: 86400,
                negative_ttl_s: 30,
            },
            records: Some(("zone".into(), records.into())),
        }
    }

    /// Problems of a file, as `line found`.
    fn check(records: &str, expected: &[&str]) {
        let found = Zone::build(&settings(records)).err().unwrap_or_default();
        let found: Vec<String> = found.iter().map(|p| format!("{} {}", p.line, p.found)).collect();
        assert_eq!(found, expected, "{records}");
    }

    #[test]
    fn ruling15_problems_have_lines() {
        check("a A 1.2.3.4\n", &[]);
        check("@ CNAME x", &["1 cdn.example CNAME"]);
        check(
            "a A 1.2.3.4\na CNAME x\nb CNAME x\nb CNAME y",
            &["2 a.cdn.example CNAME", "3 b.cdn.example CNAME"],
        );
        check("other.example. A 1.2.3.4", &["1 other.example A"]);
        check("@ SOA a b 1 2 3 4 5", &["1 cdn.example SOA"]);
        check("@ NS ns1\n@ NS ns9", &["2 cdn.example NS"]);
        check(
            "d NS ns.d\nns.d A 1.2.3.4\nx.d TXT x\nd A 1.2.3.4\nd TXT y",
            &["3 x.d.cdn.example TXT", "5 d.cdn.example TXT"],
        );
        check("*.w NS x", &["1 *.w.cdn.example NS"]);
        check("a DNAME b", &["1 a.cdn.example DNAME"]);
        check("a A 1.2\nb A 1.2", &["1 a A 1.2", "2 b A 1.2"]);
    }

    #[test]
    fn settings_are_checked_all_at_once() {
        let mut bad = settings("");
        bad.name = "a..b".into();
        bad.soa.mname = String::new();
        bad.ns = Vec::new();
        let keys: Vec<_> = Zone::build(&bad).expect_err("faults").into_iter().map(|p| p.key).collect();
        assert_eq!(keys, ["dns.zone.name", "dns.zone.soa.mname", "dns.zone.ns"]);
        let zone = Zone::build(&settings("")).expect("a zone");
        assert_eq!(zone.rname.to_string(), "host\\.master.cdn.example");
    }

    #[test]
    fn rfc4592_lookups() {
        let records = "*.w A 1.2.3.4\na.b.w A 1.2.3.4\nd NS ns.d\nns.d A 1.2.3.4\nx.y A 1.2.3.4";
        let zone = Zone::build(&settings(records)).expect("a zone");
        let find = |name: &str| {
            let name = name.parse::<Name>().expect("a name");
            match zone.find(name.as_wire(), |name| name == b"\x01t\x01w\x03cdn\x07example\x00") {
                Found::Exact(node) if node.rrsets().is_empty() => "empty",
                Found::Exact(_) => "exact",
                Found::Delegation(..) => "delegation",
                Found::Wildcard(..) => "wildcard",
                Found::Nothing => "nothing",
            }
        };
        for (name, expected) in [
            ("cdn.example", "exact"),
            ("a.b.w.cdn.example", "exact"),
            ("b.w.cdn.example", "empty"),
            ("w.cdn.example", "empty"),
            ("y.cdn.example", "empty"),
            ("q.w.cdn.example", "wildcard"),
            ("q.r.w.cdn.example", "wildcard"),
            ("*.w.cdn.example", "exact"),
            ("q.b.w.cdn.example", "nothing"),
            ("q.t.w.cdn.example", "nothing"),
            ("q.cdn.example", "nothing"),
            ("d.cdn.example", "delegation"),
            ("q.ns.d.cdn.example", "delegation"),
        ] {
            assert_eq!(find(name), expected, "{name}");
        }
    }

    #[test]
    fn the_longest_zone_wins() {
        let mut inner = settings("");
        inner.name = "live.cdn.example".into();
        let zones = Zones::build(&[settings(""), inner.clone()]).expect("zones");
        let apex = |name: &str| {
            let name = name.parse::<Name>().expect("a name");
            zones.find(name.as_wire()).map(|zone| zone.apex().to_string())
        };
        assert_eq!(apex("a.live.cdn.example").as_deref(), Some("live.cdn.example"));
        assert_eq!(apex("a.cdn.example").as_deref(), Some("cdn.example"));
        assert_eq!(apex("example"), None);
        assert!(Zones::build(&[inner.clone(), inner]).is_err());
    }
}
