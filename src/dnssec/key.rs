//! One key, in the pair of files that BIND keeps it in.
//!
//! `Kcdn.example.+013+12345.key` is a DNSKEY record with its times as comments; `.private` holds the
//! private key and the times as fields (`Private-key-format: v1.3`). Both are read to their end and every
//! fault is a problem with file, line and field. [`NewKey`] makes a pair, [`KeyFiles::with_times`] changes the
//! times of one. The private key is in [`Key`] as something that signs; nothing prints it, `Debug`
//! included, and a problem never repeats it. Layer 3; reads and writes no file.

use super::times::{Event, Times, UnixS};
use crate::problem::Problem;
use crate::wire::Name;
use domain::utils::base64;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use std::fmt::{self, Write as _};
use xxhash_rust::xxh64::xxh64;

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// ECDSA with curve P-256 and SHA-256 (RFC 6605).
    EcdsaP256Sha256,
    /// Ed25519 (RFC 8080).
    Ed25519,
}

impl Algorithm {
    /// All.
    pub const ALL: [Self; 2] = [Self::EcdsaP256Sha256, Self::Ed25519];

    /// Its number (RFC 8624).
    pub fn number(self) -> u8 {
        match self {
            Self::EcdsaP256Sha256 => 13,
            Self::Ed25519 => 15,
        }
    }

    /// Its mnemonic.
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ECDSAP256SHA256",
            Self::Ed25519 => "ED25519",
        }
    }

    /// That of a number.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.number() == number)
    }

    /// Octets of a public key.
    fn public_len(self) -> usize {
        match self {
            Self::EcdsaP256Sha256 => 64,
            Self::Ed25519 => 32,
        }
    }
}

/// What a DNSKEY record says a key is for (RFC 4034 section 2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flags {
    /// 257, a secure entry point: what a DS points to. Signs keys, and data where no other key does.
    Entry,
    /// 256: signs data, and keys where no other key does.
    Zone,
}

impl Flags {
    /// As in the record.
    pub fn number(self) -> u16 {
        match self {
            Self::Entry => 257,
            Self::Zone => 256,
        }
    }
}

/// What signs.
enum Pair {
    /// With [`Algorithm::EcdsaP256Sha256`].
    Ecdsa(Box<EcdsaKeyPair>),
    /// With [`Algorithm::Ed25519`].
    Ed25519(Box<Ed25519KeyPair>),
}

impl Pair {
    /// The key pair of these octets; `None` when they do not belong together.
    fn new(algorithm: Algorithm, private: &[u8], public: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::EcdsaP256Sha256 => {
                // The uncompressed form of a point (SEC 1 section 2.3.3).
                let point = [&[4], public].concat();
                let (form, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
                let pair = EcdsaKeyPair::from_private_key_and_public_key(form, private, &point, &random);
                pair.ok().map(|pair| Self::Ecdsa(Box::new(pair)))
            }
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(private, public);
                pair.ok().map(|pair| Self::Ed25519(Box::new(pair)))
            }
        }
    }
}

/// One key of a zone, and its times.
pub struct Key {
    owner: Name,
    algorithm: Algorithm,
    flags: Flags,
    tag: u16,
    ttl_s: Option<u32>,
    times: Times,
    /// Record data of its DNSKEY.
    dnskey: Box<[u8]>,
    /// Tells it from all other keys.
    id: u64,
    pair: Pair,
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({} {} {})", self.owner, self.algorithm.name(), self.tag)
    }
}

/// Octets of a signature of either algorithm.
pub(super) const SIGNATURE_LEN: usize = 64;

impl Key {
    /// Whose key it is.
    pub fn owner(&self) -> &Name {
        &self.owner
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What it is for.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// Its tag.
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// TTL of its record, seconds, where its file says one.
    pub fn ttl_s(&self) -> Option<u32> {
        self.ttl_s
    }

    /// Its times.
    pub fn times(&self) -> &Times {
        &self.times
    }

    /// Record data of its DNSKEY.
    pub fn dnskey(&self) -> &[u8] {
        &self.dnskey
    }

    /// Tells it from all other keys.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// How its files are called, without `.key` or `.private`.
    pub fn file_stem(&self) -> String {
        file_stem(&self.owner, self.algorithm, self.tag)
    }

    /// Signs `message`; `None` when the system gives no random numbers, which ECDSA needs.
    pub(super) fn sign(&self, message: &[u8]) -> Option<[u8; SIGNATURE_LEN]> {
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&SystemRandom::new(), message).ok()?,
            Pair::Ed25519(pair) => pair.sign(message),
        };
        signature.as_ref().try_into().ok()
    }
}

/// How the files of a key are called, without `.key` or `.private`.
pub fn file_stem(owner: &Name, algorithm: Algorithm, tag: u16) -> String {
    format!("K{owner}.+{:03}+{tag:05}", algorithm.number())
}

/// The tag of a DNSKEY's record data (RFC 4034 appendix B).
pub(super) fn tag_of(dnskey: &[u8]) -> u16 {
    let words = dnskey.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let sum: u32 = words.fold(0, u32::wrapping_add);
    (sum.wrapping_add(sum >> 16) & 0xffff) as u16
}

/// The two files of a key: their names, for problems, and what is in them.
#[derive(Clone, Copy)]
pub struct KeyFiles<'a> {
    /// Name of the `.key` file.
    pub public_name: &'a str,
    /// Its text.
    pub public: &'a str,
    /// Name of the `.private` file.
    pub private_name: &'a str,
    /// Its text.
    pub private: &'a str,
}

impl fmt::Debug for KeyFiles<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("KeyFiles").field("public_name", &self.public_name).finish_non_exhaustive()
    }
}

/// What a `.key` file says.
struct PublicFile {
    owner: Name,
    ttl_s: Option<u32>,
    flags: Flags,
    algorithm: Algorithm,
    public: Vec<u8>,
}

/// What a `.private` file says.
#[derive(Default)]
struct PrivateFile {
    algorithm: Option<Algorithm>,
    private: Option<Vec<u8>>,
    times: Times,
}

impl KeyFiles<'_> {
    /// The key in the two files.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(&self) -> Result<Key, Vec<Problem>> {
        let mut problems = Vec::new();
        let public = self.read_public(&mut problems);
        let private = self.read_private(&mut problems);
        let (Some(public), Some(octets), true) = (public, private.private, problems.is_empty()) else {
            return Err(problems);
        };
        let PublicFile { owner, ttl_s, flags, algorithm, public } = public;
        let mismatch = |key: &str, found: String| {
            let expected = format!("the private key of {}", self.public_name);
            vec![Problem::at(0, key, found, expected).in_file(self.private_name)]
        };
        if private.algorithm != Some(algorithm) {
            let found = private.algorithm.map_or("none", Algorithm::name);
            return Err(mismatch("Algorithm", found.to_owned()));
        }
        let pair = Pair::new(algorithm, &octets, &public);
        let pair = pair.ok_or_else(|| mismatch("PrivateKey", "another key".to_owned()))?;
        let dnskey = dnskey_of(flags, algorithm, &public);
        let tag = tag_of(&dnskey);
        let id = xxh64(&[owner.as_wire(), &dnskey].concat(), 0);
        Ok(Key { owner, algorithm, flags, tag, ttl_s, times: private.times, dnskey, id, pair })
    }

    /// Reads the `.key` file: comments, and one DNSKEY record on a line.
    fn read_public(&self, problems: &mut Vec<Problem>) -> Option<PublicFile> {
        let mut fault = |line: u64, key: &str, found: &str, expected: &str| {
            problems.push(Problem::at(line, key, found, expected).in_file(self.public_name));
            None
        };
        let lines = (1..).zip(self.public.lines());
        let mut lines =
            lines.filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with(';'));
        let Some((line, text)) = lines.next() else { return fault(0, "", "nothing", "a DNSKEY record") };
        if let Some((line, text)) = lines.next() {
            return fault(line, "", text, "one DNSKEY record on one line");
        }
        let text = text.split(';').next().unwrap_or_default();
        let mut words = text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')')).peekable();
        let mut next = || words.find(|word| !word.is_empty());
        let owner = next().unwrap_or_default();
        let Ok(owner) = owner.parse::<Name>() else { return fault(line, "", owner, "a zone's name") };
        let mut word = next().unwrap_or_default();
        let ttl_s = word.parse::<u32>().ok();
        if ttl_s.is_some() {
            word = next().unwrap_or_default();
        }
        if word.eq_ignore_ascii_case("IN") {
            word = next().unwrap_or_default();
        }
        if !word.eq_ignore_ascii_case("DNSKEY") {
            return fault(line, "", text, "a DNSKEY record");
        }
        let flags = match next().unwrap_or_default() {
            "257" => Flags::Entry,
            "256" => Flags::Zone,
            found => return fault(line, "flags", found, "256 or 257"),
        };
        let protocol = next().unwrap_or_default();
        if protocol != "3" {
            return fault(line, "protocol", protocol, "3");
        }
        let number = next().unwrap_or_default();
        let Some(algorithm) = number.parse().ok().and_then(Algorithm::of_number) else {
            return fault(line, "algorithm", number, "13 (ECDSAP256SHA256) or 15 (ED25519)");
        };
        let encoded: String = std::iter::from_fn(next).collect();
        let public = base64::decode::<Vec<u8>>(&encoded).unwrap_or_default();
        if public.len() != algorithm.public_len() {
            let expected = format!("{} octets in base64", algorithm.public_len());
            return fault(line, "public key", &encoded, &expected);
        }
        Some(PublicFile { owner, ttl_s, flags, algorithm, public })
    }

    /// Reads the `.private` file: fields, a line each; those that are not known are left.
    fn read_private(&self, problems: &mut Vec<Problem>) -> PrivateFile {
        let mut found = PrivateFile::default();
        let mut has_format = false;
        let mut fault = |line: u64, key: &str, found: &str, expected: &str| {
            problems.push(Problem::at(line, key, found, expected).in_file(self.private_name));
        };
        for (line, text) in (1..).zip(self.private.lines()) {
            let Some((key, value)) = text.split_once(':').map(|(key, value)| (key.trim(), value.trim()))
            else {
                if !text.trim().is_empty() {
                    // It may be part of the key.
                    fault(line, "", "a line without a colon", "a field, as in Created: 20260101000000");
                }
                continue;
            };
            match key {
                "Private-key-format" => {
                    has_format = true;
                    if !value.starts_with("v1.") {
                        fault(line, key, value, "v1.3");
                    }
                }
                "Algorithm" => {
                    let number = value.split_whitespace().next().unwrap_or_default();
                    found.algorithm = number.parse().ok().and_then(Algorithm::of_number);
                    if found.algorithm.is_none() {
                        fault(line, key, value, "13 (ECDSAP256SHA256) or 15 (ED25519)");
                    }
                }
                "PrivateKey" => {
                    let octets = base64::decode::<Vec<u8>>(value).unwrap_or_default();
                    if octets.len() == 32 {
                        found.private = Some(octets);
                    } else {
                        fault(line, key, "something else", "32 octets in base64");
                    }
                }
                "Revoke" => fault(line, key, value, "no revocation (RFC 5011), which is not supported"),
                _ => {
                    let Some(event) = Event::named(key) else { continue };
                    let moment = UnixS::parse(value);
                    if moment.is_none() {
                        fault(line, key, value, "a time, as in 20260101000000");
                    }
                    found.times.set(event, moment);
                }
            }
        }
        if !has_format {
            fault(0, "Private-key-format", "none", "v1.3");
        }
        if found.private.is_none() && !self.private.contains("PrivateKey:") {
            fault(0, "PrivateKey", "none", "32 octets in base64");
        }
        found
    }

    /// The texts of both files with other times: `.key`, then `.private`. All else stays.
    pub fn with_times(&self, times: &Times) -> (String, String) {
        let is_time = |line: &str, mark: &str| {
            let field = line.strip_prefix(mark).and_then(|rest| rest.split_once(':'));
            field.is_some_and(|(key, _)| Event::named(key.trim()).is_some())
        };
        let kept = |line: &&str| !line.trim_start().starts_with(';');
        let comments =
            self.public.lines().filter(|line| line.trim_start().starts_with(';') && !is_time(line, ";"));
        let mut public: String = comments.map(|line| format!("{line}\n")).collect();
        write_times(&mut public, "; ", times);
        self.public.lines().filter(kept).for_each(|line| push_line(&mut public, line));
        let mut private = String::with_capacity(self.private.len() + 64);
        let fields = self.private.lines().filter(|line| !is_time(line, ""));
        fields.for_each(|line| push_line(&mut private, line));
        write_times(&mut private, "", times);
        (public, private)
    }
}

/// Appends a line.
fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Appends times, each on a line behind `mark`.
fn write_times(text: &mut String, mark: &str, times: &Times) {
    for (event, moment) in times.iter() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{mark}{}: {moment}", event.name());
    }
}

/// Record data of a DNSKEY.
fn dnskey_of(flags: Flags, algorithm: Algorithm, public: &[u8]) -> Box<[u8]> {
    let [high, low] = flags.number().to_be_bytes();
    [&[high, low, 3, algorithm.number()], public].concat().into()
}

/// A key that was just made, as the texts of its files.
pub struct NewKey {
    /// How its files are called, without `.key` or `.private`.
    pub stem: String,
    /// Its tag.
    pub tag: u16,
    /// What is to stand in the `.key` file.
    pub public: String,
    /// What is to stand in the `.private` file, for its owner's eyes only.
    pub private: String,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("NewKey").field("stem", &self.stem).finish_non_exhaustive()
    }
}

impl NewKey {
    /// Makes a key of `owner`, from the system's random numbers. `ttl_s` is of its DNSKEY record, seconds.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate(
        owner: &Name,
        algorithm: Algorithm,
        flags: Flags,
        ttl_s: u32,
        times: &Times,
    ) -> Result<Self, ring::error::Unspecified> {
        let (private, public) = generate(algorithm)?;
        let tag = tag_of(&dnskey_of(flags, algorithm, &public));
        let role = if flags == Flags::Entry { "key-signing" } else { "zone-signing" };
        let (number, name) = (algorithm.number(), algorithm.name());
        let record = format!(
            "{owner}. {ttl_s} IN DNSKEY {} 3 {number} {}\n",
            flags.number(),
            base64::encode_string(&public)
        );
        let public = format!("; This is a {role} key, keyid {tag}, for {owner}.\n{record}");
        let private = format!(
            "Private-key-format: v1.3\nAlgorithm: {number} ({name})\nPrivateKey: {}\n",
            base64::encode_string(&private)
        );
        let files = KeyFiles { public_name: "", public: &public, private_name: "", private: &private };
        let (public, private) = files.with_times(times);
        Ok(Self { stem: file_stem(owner, algorithm, tag), tag, public, private })
    }
}

/// A private key and its public key.
fn generate(algorithm: Algorithm) -> Result<(Vec<u8>, Vec<u8>), ring::error::Unspecified> {
    let random = SystemRandom::new();
    match algorithm {
        Algorithm::Ed25519 => {
            let mut seed = [0; 32];
            random.fill(&mut seed)?;
            let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| ring::error::Unspecified)?;
            Ok((seed.to_vec(), pair.public_key().as_ref().to_vec()))
        }
        Algorithm::EcdsaP256Sha256 => {
            let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
            // ring's PKCS #8 of this curve (RFC 5915): the private key stands at octet 36, the point is
            // its end. Whether that is so is checked by making the pair again.
            let octets = document.as_ref();
            let private = octets.get(36..68).ok_or(ring::error::Unspecified)?;
            let public = octets.last_chunk::<64>().ok_or(ring::error::Unspecified)?;
            Pair::new(algorithm, private, public).ok_or(ring::error::Unspecified)?;
            Ok((private.to_vec(), public.to_vec()))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A key of `cdn.example` at these times.
    pub(in super::super) fn key(algorithm: Algorithm, flags: Flags, times: &[(Event, u64)]) -> Key {
        key_of("cdn.example", algorithm, flags, times)
    }

    /// A key of `owner` at these times.
    fn key_of(owner: &str, algorithm: Algorithm, flags: Flags, times: &[(Event, u64)]) -> Key {
        let owner = owner.parse().expect("a name");
        let mut set = Times::default();
        times.iter().for_each(|(event, at)| set.set(*event, Some(UnixS(*at))));
        let new = NewKey::generate(&owner, algorithm, flags, 3600, &set).expect("random numbers");
        let files =
            KeyFiles { public_name: "k", public: &new.public, private_name: "p", private: &new.private };
        let key = files.read().expect("what was written is read");
        assert_eq!((key.times(), key.tag(), key.file_stem()), (&set, new.tag, new.stem));
        key
    }

    #[test]
    fn keys_are_made_written_and_read() {
        for algorithm in Algorithm::ALL {
            for flags in [Flags::Entry, Flags::Zone] {
                let times = [(Event::Created, 5), (Event::Activate, 1 << 31), (Event::SyncDelete, 1 << 33)];
                let key = key_of("a-b.cdn.example", algorithm, flags, &times);
                assert_eq!((key.algorithm(), key.flags(), key.ttl_s()), (algorithm, flags, Some(3600)));
                assert_eq!(key.sign(b"message").map(|signature| signature.len()), Some(64));
                let shown = format!("{key:?}");
                assert_eq!(shown, format!("Key(a-b.cdn.example {} {})", algorithm.name(), key.tag()));
            }
        }
    }

    #[test]
    fn rfc4034_s5_4_the_tag_of_the_example() {
        let public = "AQOeiiR0GOMYkDshWoSKz9XzfwJr1AYtsmx3TGkJaNXVbfi/2pHm822aJ5iI9BMzNXxeYCmZDRD99WYwYqUSdjMm\
            mAphXdvxegXd/M5+X7OrzKBaMbCVdFLUUh6DhweJBjEVv5f2wwjM9XzcnOf+EPbtG9DMBmADjFDc2w/rljwvFw==";
        let public = base64::decode::<Vec<u8>>(public).expect("base64");
        assert_eq!(tag_of(&[&[1, 0, 3, 5], &public[..]].concat()), 60_485);
    }

    /// Problems of a pair of files as `file:line key`, after a replacement in one of them.
    fn problems(from: &str, to: &str) -> Vec<String> {
        let owner: Name = "cdn.example".parse().expect("a name");
        let mut times = Times::default();
        times.set(Event::Activate, Some(UnixS(1_700_000_000)));
        let new = NewKey::generate(&owner, Algorithm::Ed25519, Flags::Entry, 60, &times);
        let new = new.expect("random numbers");
        assert!(new.public.contains(from) || new.private.contains(from), "{from}");
        let (public, private) = (new.public.replace(from, to), new.private.replace(from, to));
        let files = KeyFiles { public_name: "k", public: &public, private_name: "p", private: &private };
        let secret = new.private.lines().find_map(|line| line.strip_prefix("PrivateKey: "));
        let found = files.read().err().unwrap_or_default();
        for problem in &found {
            assert!(!problem.to_string().contains(secret.expect("a key")), "{problem}");
        }
        found.iter().map(|problem| format!("{}:{} {}", problem.file, problem.line, problem.key)).collect()
    }

    #[test]
    fn every_fault_names_file_line_and_field() {
        assert_eq!(problems("Activate", "Activate"), [""; 0]);
        for (from, to, expected) in [
            ("IN DNSKEY", "DNSKEY", &[][..]),
            (" 60 IN DNSKEY", " DNSKEY", &[]),
            ("IN DNSKEY", "IN TXT", &["k:3 "]),
            ("DNSKEY 257", "DNSKEY 385", &["k:3 flags"]),
            ("257 3 15", "257 2 15", &["k:3 protocol"]),
            ("257 3 15", "257 3 8", &["k:3 algorithm"]),
            ("257 3 15 ", "257 3 15 AAAA", &["k:3 public key"]),
            ("257 3 15 ", "257 3 13 ", &["k:3 public key"]),
            ("cdn.example. 60", "a..b 60", &["k:3 "]),
            ("cdn.example. 60", "; cdn.example. 60", &["k:0 "]),
            ("Private-key-format: v1.3\n", "", &["p:0 Private-key-format"]),
            ("v1.3", "v2", &["p:1 Private-key-format"]),
            ("Algorithm: 15", "Algorithm: 8", &["p:2 Algorithm"]),
            ("Algorithm: 15", "Algorithm: 13", &["p:0 Algorithm"]),
            ("PrivateKey: ", "PrivateKey: AAAA", &["p:3 PrivateKey"]),
            ("PrivateKey: ", "Other: ", &["p:0 PrivateKey"]),
            ("PrivateKey: ", "PrivateKey ", &["p:3 ", "p:0 PrivateKey"]),
            ("Activate: 2023", "Activate: 20x3", &["p:4 Activate"]),
            ("Activate:", "Revoke:", &["p:4 Revoke"]),
        ] {
            assert_eq!(problems(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn another_private_key_is_a_problem() {
        for algorithm in Algorithm::ALL {
            let owner: Name = "cdn.example".parse().expect("a name");
            let make = || NewKey::generate(&owner, algorithm, Flags::Zone, 60, &Times::default());
            let (one, other) = (make().expect("random numbers"), make().expect("random numbers"));
            let files = KeyFiles {
                public_name: "k",
                public: &one.public,
                private_name: "p",
                private: &other.private,
            };
            let found = files.read().expect_err("another key");
            assert_eq!(
                found[0].to_string(),
                "p: PrivateKey: found another key, expected the private key of k"
            );
        }
    }

    #[test]
    fn times_are_changed_and_all_else_stays() {
        let public = "; This is a key\n; Created: 20200101000000 (Wed)\nx. IN DNSKEY 257 3 15 AA==\n";
        let private = "Private-key-format: v1.3\nCreated: 20200101000000\nEngine: 1\n";
        let files = KeyFiles { public_name: "", public, private_name: "", private };
        let mut times = Times::default();
        times.set(Event::Delete, Some(UnixS(0)));
        let (public, private) = files.with_times(&times);
        assert_eq!(public, "; This is a key\n; Delete: 19700101000000\nx. IN DNSKEY 257 3 15 AA==\n");
        assert_eq!(private, "Private-key-format: v1.3\nEngine: 1\nDelete: 19700101000000\n");
    }
}
