//! The keys of a zone by their times: what is published at a moment, and who signs.
//!
//! All of it is a function of key files and time, cut beforehand into [`Phase`]s that begin where a key
//! changes. A phase is complete: the records at the apex that come from keys, and the keys that sign
//! each kind of set. Rules:
//!
//! - Keys of flags 257 sign the apex's keys, keys of flags 256 all else; where an algorithm has one
//!   kind only, it signs everything (a CSK).
//! - Every algorithm in the DNSKEY set signs everything (RFC 4035 section 2.2): a key that is published
//!   while no key of its algorithm signs stays out of the set.
//! - A phase in which nobody could sign continues the one before it. An unsigned zone with a DS at its
//!   parent is bogus for everyone; an old key is as good as it was (RFC 6781 section 4.1).
//!
//! Layer 3.

use super::key::{Algorithm, Flags, Key};
use super::times::{Event, UnixS};
use crate::problem::Problem;
use crate::wire::{Name, Rtype};
use ring::digest::{SHA256, digest};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// How the signatures of a zone are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Seconds that a new signature is valid, from now; at least four hours.
    pub validity_s: u32,
    /// Seconds over which the renewals of different sets are spread; at most half of the validity.
    pub jitter_s: u32,
}

impl Rules {
    /// Seconds from one renewal of a signature to the next.
    pub fn window_s(self) -> u32 {
        self.validity_s - self.validity_s / 4
    }

    /// Seconds that a signature is at least valid when it is handed out.
    pub fn valid_min_s(self) -> u32 {
        self.validity_s / 4
    }
}

/// Records of one type at the apex that come from keys; none: there is no such set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// Seconds.
    pub ttl_s: u32,
    /// Record data, in canonical order.
    pub rdatas: Vec<Box<[u8]>>,
}

/// What holds from one change of a key to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Phase {
    /// Its first second.
    from: UnixS,
    /// Nobody can sign by these times: it is a continuation.
    is_continued: bool,
    dnskey: Records,
    cds: Records,
    cdnskey: Records,
    /// Positions of keys that sign what comes from keys.
    key_signers: Vec<usize>,
    /// Positions of keys that sign all else.
    signers: Vec<usize>,
}

impl Phase {
    /// Its first second.
    pub fn from(&self) -> UnixS {
        self.from
    }

    /// Whether by its times nobody signs, so that it continues the phase before.
    pub fn is_continued(&self) -> bool {
        self.is_continued
    }

    /// The records of `rtype` that come from keys; `None` for other types and empty sets.
    pub fn records(&self, rtype: Rtype) -> Option<&Records> {
        let records = match rtype {
            Rtype::DNSKEY => &self.dnskey,
            Rtype::CDS => &self.cds,
            Rtype::CDNSKEY => &self.cdnskey,
            _ => return None,
        };
        (!records.rdatas.is_empty()).then_some(records)
    }

    /// Positions of the keys that sign sets of `rtype`.
    pub fn signers_of(&self, rtype: Rtype) -> &[usize] {
        match rtype {
            Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY => &self.key_signers,
            _ => &self.signers,
        }
    }
}

/// The keys of one zone.
#[derive(Debug)]
pub struct Keyring {
    apex: Name,
    keys: Vec<Key>,
    rules: Rules,
    /// By time; the first one is usable.
    phases: Vec<Phase>,
}

/// TTL of a DNSKEY set whose files do not say, seconds.
const DNSKEY_TTL_S: u32 = 3600;

impl Keyring {
    /// The keyring of `keys`, all of zone `apex`; `dir` is where they come from, for problems.
    ///
    /// # Errors
    /// No key, two that cannot be told apart, or none that has begun to sign by `now`.
    pub fn new(apex: Name, keys: Vec<Key>, rules: Rules, dir: &str, now: UnixS) -> Result<Self, Problem> {
        let fault = |found: String, expected: &str| {
            Err(Problem::at(0, "dns.zone.keys", found, expected).in_file(dir))
        };
        if keys.is_empty() {
            let expected = format!("a key of {apex} (steerd keys generate)");
            return fault("none".to_owned(), &expected);
        }
        for (at, key) in keys.iter().enumerate() {
            let is_same = |other: &Key| other.tag() == key.tag() && other.algorithm() == key.algorithm();
            if keys[..at].iter().any(is_same) {
                return fault(format!("two of {}", key.file_stem()), "keys with different tags");
            }
        }
        let mut keyring = Self { apex, keys, rules, phases: Vec::new() };
        keyring.phases = keyring.cut();
        match keyring.phases.first() {
            Some(first) if first.from <= now => Ok(keyring),
            Some(first) => fault(format!("no key that signs before {}", first.from), "one that signs now"),
            None => fault("no key that ever signs and is published".to_owned(), "one that signs now"),
        }
    }

    /// Cuts time into phases, from the first usable one on.
    fn cut(&self) -> Vec<Phase> {
        let times = self.keys.iter().flat_map(|key| key.times().iter());
        let mut moments: Vec<UnixS> = times.map(|(_, moment)| moment).chain([UnixS(0)]).collect();
        moments.sort_unstable();
        moments.dedup();
        let mut phases: Vec<Phase> = Vec::with_capacity(moments.len());
        for from in moments {
            let phase = match (self.phase_from(from), phases.last()) {
                (Some(phase), _) => phase,
                (None, Some(before)) => Phase { from, is_continued: true, ..before.clone() },
                (None, None) => continue,
            };
            let is_new =
                phases.last().is_none_or(|before| *before != Phase { from: before.from, ..phase.clone() });
            if is_new {
                phases.push(phase);
            }
        }
        phases
    }

    /// What the keys' times say of `moment`; `None` when no published key signs then.
    fn phase_from(&self, moment: UnixS) -> Option<Phase> {
        let mut phase = Phase { from: moment, ..Phase::default() };
        let mut published = Vec::new();
        for algorithm in Algorithm::ALL {
            let of_it = |at: &usize| self.keys[*at].algorithm() == algorithm;
            let active = |flags: Flags| {
                let is_it = move |at: &usize| {
                    let key = &self.keys[*at];
                    key.flags() == flags && key.times().is_active(moment)
                };
                (0..self.keys.len()).filter(of_it).filter(is_it).collect::<Vec<usize>>()
            };
            let (entry, zone) = (active(Flags::Entry), active(Flags::Zone));
            if entry.is_empty() && zone.is_empty() {
                continue;
            }
            phase.key_signers.extend(if entry.is_empty() { &zone } else { &entry });
            phase.signers.extend(if zone.is_empty() { &entry } else { &zone });
            let is_published = |at: &usize| self.keys[*at].times().is_published(moment);
            published.extend((0..self.keys.len()).filter(of_it).filter(is_published));
        }
        let is_trusted = |signers: &[usize]| signers.iter().any(|at| published.contains(at));
        if !is_trusted(&phase.key_signers) || !is_trusted(&phase.signers) {
            return None;
        }
        let ttl_s = published.iter().filter_map(|at| self.keys[*at].ttl_s()).min().unwrap_or(DNSKEY_TTL_S);
        let records = |keys: &mut dyn Iterator<Item = Box<[u8]>>| {
            let mut rdatas: Vec<Box<[u8]>> = keys.collect();
            rdatas.sort_unstable();
            Records { ttl_s, rdatas }
        };
        phase.dnskey = records(&mut published.iter().map(|at| self.keys[*at].dnskey().into()));
        let synced = || self.keys.iter().filter(|key| key.times().is_synced(moment));
        phase.cdnskey = records(&mut synced().map(|key| key.dnskey().into()));
        phase.cds = records(&mut synced().map(ds));
        Some(phase)
    }

    /// The zone.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// Its keys.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// How it is signed.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// What holds at `now`; before the first phase, the first.
    pub fn phase(&self, now: UnixS) -> &Phase {
        let later = self.phases.iter().rev().find(|phase| phase.from <= now);
        later.unwrap_or(&self.phases[0])
    }

    /// All phases, by time.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// When a key changes next, after `now`.
    pub fn next_change(&self, now: UnixS) -> Option<UnixS> {
        self.phases.iter().map(|phase| phase.from).find(|from| *from > now)
    }

    /// What is odd about the keys' times, at `now`: no key that signs by its times, now or later.
    pub fn warnings(&self, dir: &str, now: UnixS) -> Vec<Problem> {
        let found = self.phases.iter().filter(|phase| phase.is_continued);
        let current = self.phase(now).from;
        found
            .filter(|phase| phase.from >= current)
            .map(|phase| {
                let found = format!("no key of {} that signs from {} on", self.apex, phase.from);
                let expected = "a successor (steerd keys roll); until then the last key goes on";
                Problem::at(0, "Inactive", found, expected).in_file(dir)
            })
            .collect()
    }

    /// What `key` does at `now`, in a word.
    pub fn state_of(key: &Key, now: UnixS) -> &'static str {
        let times = key.times();
        match (times.is_published(now), times.is_active(now)) {
            (true, true) => "active",
            (false, true) => "signing unpublished",
            (true, false) if times.at(Event::Inactive).is_some_and(|at| at <= now) => "retired",
            (true, false) => "published",
            (false, false) if times.at(Event::Delete).is_some_and(|at| at <= now) => "removed",
            (false, false) => "waiting",
        }
    }
}

/// Record data of the DS that points to `key`: its digest with SHA-256 (RFC 4509).
pub fn ds(key: &Key) -> Box<[u8]> {
    let signed = [key.owner().as_wire(), key.dnskey()].concat();
    let [high, low] = key.tag().to_be_bytes();
    [&[high, low, key.algorithm().number(), 2], digest(&SHA256, &signed).as_ref()].concat().into()
}

/// The keyrings of all signed zones, and what signing may cost.
#[derive(Debug, Clone)]
pub struct Keyrings {
    by_apex: FxHashMap<Name, Arc<Keyring>>,
    /// Signatures that a worker may make a second for each purse.
    signatures_s_max: u32,
    /// Signatures that a worker keeps.
    signatures_kept: usize,
}

impl Default for Keyrings {
    fn default() -> Self {
        Self::new(1, 1)
    }
}

impl Keyrings {
    /// None yet. A worker may make `signatures_s_max` signatures a second for each purse, and keeps
    /// `signatures_kept`.
    pub fn new(signatures_s_max: u32, signatures_kept: usize) -> Self {
        Self { by_apex: FxHashMap::default(), signatures_s_max, signatures_kept }
    }

    /// Signatures that a worker may make a second for each purse.
    pub fn signatures_s_max(&self) -> u32 {
        self.signatures_s_max
    }

    /// Signatures that a worker keeps.
    pub fn signatures_kept(&self) -> usize {
        self.signatures_kept
    }

    /// Adds that of a zone.
    pub fn add(&mut self, keyring: Keyring) {
        self.by_apex.insert(keyring.apex.clone(), Arc::new(keyring));
    }

    /// That of the zone `apex`, a canonical name; `None` when it is not signed.
    #[inline]
    pub fn find(&self, apex: &[u8]) -> Option<&Keyring> {
        if self.by_apex.is_empty() {
            return None;
        }
        self.by_apex.get(apex).map(|keyring| &**keyring)
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = &Keyring> {
        self.by_apex.values().map(|keyring| &**keyring)
    }

    /// Whether no zone is signed.
    pub fn is_empty(&self) -> bool {
        self.by_apex.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::key;
    use super::*;
    use Algorithm::{EcdsaP256Sha256 as Ecdsa, Ed25519};
    use Event::{Activate, Delete, Inactive, Publish, SyncDelete, SyncPublish};

    const RULES: Rules = Rules { validity_s: 604_800, jitter_s: 86_400 };

    /// A keyring at time 0.
    fn keyring(keys: Vec<Key>) -> Keyring {
        let apex = "cdn.example".parse().expect("a name");
        Keyring::new(apex, keys, RULES, "keys", UnixS(0)).expect("keys that sign")
    }

    /// Phases in letters, the first key being `a`: `from: published | who signs keys | who signs data`.
    fn shown(keyring: &Keyring) -> Vec<String> {
        let letter = |at: usize| char::from(b'a' + at as u8);
        let letters = |found: &[usize]| found.iter().map(|at| letter(*at)).collect::<String>();
        let shown = |phase: &Phase| {
            let is_in =
                |key: &Key, records: &Records| records.rdatas.iter().any(|data| **data == *key.dnskey());
            let of = |records: &Records| {
                let keys = keyring.keys().iter().enumerate();
                keys.filter(|(_, key)| is_in(key, records)).map(|(at, _)| letter(at)).collect::<String>()
            };
            assert_eq!(phase.cds.rdatas.len(), phase.cdnskey.rdatas.len());
            let mark = if phase.is_continued { "!" } else { "" };
            let (keys, data) = (letters(&phase.key_signers), letters(&phase.signers));
            format!("{}: {}|{keys}|{data}|{}{mark}", phase.from.0, of(&phase.dnskey), of(&phase.cdnskey))
        };
        keyring.phases().iter().map(shown).collect()
    }

    #[test]
    fn a_csk_signs_everything() {
        let keyring = keyring(vec![key(Ecdsa, Flags::Entry, &[])]);
        assert_eq!(shown(&keyring), ["0: a|a|a|"]);
        assert_eq!(keyring.phase(UnixS(9)).records(Rtype::DNSKEY).map(|found| found.ttl_s), Some(3600));
        assert_eq!(keyring.phase(UnixS(9)).records(Rtype::CDS), None);
        assert_eq!(keyring.next_change(UnixS(9)), None);
    }

    #[test]
    fn rfc6781_s4_1_1_1_a_zone_key_is_published_before_it_signs() {
        let keyring = keyring(vec![
            key(Ecdsa, Flags::Entry, &[(SyncPublish, 5), (SyncDelete, 7)]),
            key(Ecdsa, Flags::Zone, &[(Inactive, 20), (Delete, 30)]),
            key(Ecdsa, Flags::Zone, &[(Publish, 10), (Activate, 20)]),
        ]);
        let expected =
            ["0: ab|a|b|", "5: ab|a|b|a", "7: ab|a|b|", "10: abc|a|b|", "20: abc|a|c|", "30: ac|a|c|"];
        assert_eq!(shown(&keyring), expected);
        for (now, from) in [(0, 0), (19, 10), (20, 20), (u64::MAX, 30)] {
            assert_eq!(keyring.phase(UnixS(now)).from(), UnixS(from));
        }
        assert_eq!(keyring.next_change(UnixS(10)), Some(UnixS(20)));
        assert!(keyring.warnings("keys", UnixS(0)).is_empty());
    }

    #[test]
    fn rfc6781_s4_1_4_a_new_algorithm_signs_before_it_is_published_and_the_old_after() {
        let keyring = keyring(vec![
            key(Ecdsa, Flags::Entry, &[(Delete, 40), (Inactive, 50)]),
            key(Ed25519, Flags::Entry, &[(Activate, 10), (Publish, 20)]),
        ]);
        let expected = ["0: a|a|a|", "10: a|ab|ab|", "20: ab|ab|ab|", "40: b|ab|ab|", "50: b|b|b|"];
        assert_eq!(shown(&keyring), expected);
    }

    #[test]
    fn rfc4035_s2_2_every_algorithm_in_the_set_signs() {
        let keyring = keyring(vec![
            key(Ecdsa, Flags::Entry, &[]),
            key(Ed25519, Flags::Entry, &[(Publish, 10), (Activate, 20)]),
        ]);
        assert_eq!(shown(&keyring), ["0: a|a|a|", "20: ab|ab|ab|"]);
    }

    #[test]
    fn without_a_successor_the_last_key_goes_on() {
        let keys = vec![key(Ecdsa, Flags::Entry, &[(Inactive, 10), (Delete, 20)])];
        let keyring = keyring(keys);
        assert_eq!(shown(&keyring), ["0: a|a|a|", "10: a|a|a|!"]);
        let warnings = keyring.warnings("keys", UnixS(5));
        assert_eq!(
            warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["keys: Inactive: found no key of cdn.example that signs from 19700101000010 on, expected a \
              successor (steerd keys roll); until then the last key goes on"]
        );
    }

    #[test]
    fn a_zone_that_nobody_signs_yet_is_refused() {
        let refused = |keys: Vec<Key>| {
            let apex = "cdn.example".parse().expect("a name");
            Keyring::new(apex, keys, RULES, "keys", UnixS(5)).expect_err("refused").found
        };
        assert_eq!(refused(Vec::new()), "none");
        assert_eq!(
            refused(vec![key(Ecdsa, Flags::Entry, &[(Publish, 0), (Activate, 6)])]),
            "no key that signs before 19700101000006"
        );
        assert_eq!(
            refused(vec![key(Ecdsa, Flags::Entry, &[(Publish, 0)])]),
            "no key that ever signs and is published"
        );
        // Whoever signs is not published.
        assert_eq!(
            refused(vec![key(Ecdsa, Flags::Entry, &[(Publish, 9), (Activate, 1), (Inactive, 8)])]),
            "no key that ever signs and is published"
        );
    }
}
