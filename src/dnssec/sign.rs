//! Signatures of record sets (RFC 4034 sections 3 and 6), each made once.
//!
//! A set is first written in the form in which it is signed: owner, type, TTL, then its data in canonical
//! order. That is the key under which its signature is kept. A new signature is made for the window of
//! time that the content is in; windows are three quarters of the validity long and begin at a moment
//! that is the content's own, so a signature that is handed out is valid for at least a quarter more.
//! Names in data must be canonical already, which those of zones and tables are. Layer 3.

use super::budget::{Budgets, Purse};
use super::cache::Cache;
use super::key::{Key, SIGNATURE_LEN};
use super::keyring::{Keyring, Keyrings, Rules};
use super::times::UnixS;
use crate::units::UnixMs;
use crate::wire::{CLASS_IN, Rdata, Rtype, labels};
use rustc_hash::FxHasher;
use std::fmt;
use std::hash::Hasher as _;
use std::net::IpAddr;
use xxhash_rust::xxh64::xxh64;

/// Seconds that a signature is valid before the moment it is made for: clocks differ.
const INCEPTION_BEFORE_S: u64 = 3600;

/// Octets of RRSIG data before the signer's name (RFC 4034 section 3.1).
const HEAD_LEN: usize = 18;

/// Octets of a content before the owner: whose key.
const KEY_LEN: usize = 8;

/// Nothing is left to pay for a signature, or the system gives no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent;

/// What signatures cost so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Signatures that were at hand.
    pub hits: u64,
    /// Signatures that were made.
    pub made: u64,
    /// Signatures that were not paid for.
    pub unpaid: u64,
}

/// A record set to be signed.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its owner, canonical.
    pub owner: &'a [u8],
    /// Its type.
    pub rtype: Rtype,
    /// Its TTL in the zone, seconds.
    pub ttl_s: u32,
}

/// Who asks for a signature.
#[derive(Debug, Clone, Copy)]
pub struct Payment {
    /// When.
    pub now: UnixMs,
    /// What pays for it.
    pub purse: Purse,
    /// The owner is a name that anyone can invent.
    pub is_invented: bool,
}

/// A worker's signatures, and what it needs to make them.
#[derive(Default)]
pub struct Signer {
    cache: Cache,
    budgets: Budgets,
    /// Key and set, in the form under which the signature is kept.
    content: Vec<u8>,
    owner_len: usize,
    /// Data of a set in the order given, and where each record's begins and ends.
    loose: Vec<u8>,
    order: Vec<(u32, u32)>,
    message: Vec<u8>,
    rrsig: Vec<u8>,
    counts: Counts,
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Signer").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// Appends record data in the form in which it is signed: names whole, in lower case.
#[inline]
fn push_rdata(out: &mut Vec<u8>, rdata: &Rdata<'_>) {
    match rdata {
        Rdata::A(address) => out.extend_from_slice(&address.octets()),
        Rdata::Aaaa(address) => out.extend_from_slice(&address.octets()),
        Rdata::Name(octets) | Rdata::Bytes(octets) => out.extend_from_slice(octets),
        Rdata::Soa(soa) => {
            out.extend_from_slice(soa.mname);
            out.extend_from_slice(soa.rname);
            soa.numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
        }
        Rdata::Text(text) => {
            for piece in text.chunks(255) {
                out.push(piece.len() as u8);
                out.extend_from_slice(piece);
            }
        }
    }
}

/// Sorts records of `N` octets each, and says whether all are different.
#[inline]
fn is_sorted_set<const N: usize>(data: &mut [u8]) -> bool {
    let (records, rest) = data.as_chunks_mut::<N>();
    records.sort_unstable();
    rest.is_empty() && records.windows(2).all(|pair| pair[0] != pair[1])
}

/// A window of time that a signature is made for.
struct Window {
    inception: u32,
    expiration: u32,
    end: UnixS,
}

impl Window {
    /// That of some content at `now`.
    fn of(content: &[u8], rules: Rules, now: UnixS) -> Self {
        let validity_s = u64::from(rules.validity_s);
        let len = u64::from(rules.window_s()).max(1);
        // The hash is of a fixed function: all servers renew a signature at the same moment.
        let offset = xxh64(content, 0) % (u64::from(rules.jitter_s) + 1);
        let begin = ((now.0 + offset) / len * len).saturating_sub(offset);
        Self {
            // Serial numbers (RFC 4034 section 3.1.5): they wrap in the year 2106.
            inception: begin.saturating_sub(INCEPTION_BEFORE_S) as u32,
            expiration: (begin + validity_s) as u32,
            end: UnixS(begin + len),
        }
    }
}

impl Signer {
    /// Makes room for as many signatures as `keyrings` say, if there is not.
    fn prepare(&mut self, keyrings: &Keyrings) {
        if !self.cache.is_for(keyrings.signatures_kept()) {
            self.cache = Cache::new(keyrings.signatures_kept());
        }
    }

    /// Begins the content of a set: no key yet, owner, type, TTL. Says where its data is to begin.
    #[inline]
    fn begin(&mut self, subject: Subject<'_>) -> usize {
        let Subject { owner, rtype, ttl_s } = subject;
        self.owner_len = owner.len();
        let content = &mut self.content;
        content.clear();
        content.extend_from_slice(&[0; KEY_LEN]);
        content.extend_from_slice(owner);
        let ([t0, t1], [x0, x1, x2, x3]) = (rtype.0.to_be_bytes(), ttl_s.to_be_bytes());
        content.extend_from_slice(&[t0, t1, x0, x1, x2, x3]);
        content.len()
    }

    /// [`Signer::take`] in one go for addresses of the subject's family; says whether all are different,
    /// without which it is to be done the general way.
    #[inline]
    pub fn take_addresses(&mut self, subject: Subject<'_>, addresses: impl Iterator<Item = IpAddr>) -> bool {
        let begin = self.begin(subject);
        for address in addresses {
            match address {
                IpAddr::V4(address) => {
                    let [a, b, c, d] = address.octets();
                    self.content.extend_from_slice(&[0, 4, a, b, c, d]);
                }
                IpAddr::V6(address) => {
                    self.content.extend_from_slice(&[0, 16]);
                    self.content.extend_from_slice(&address.octets());
                }
            }
        }
        let data = self.content.get_mut(begin..).unwrap_or_default();
        if subject.rtype == Rtype::A { is_sorted_set::<6>(data) } else { is_sorted_set::<18>(data) }
    }

    /// Takes up a set whose signatures are to be asked for.
    #[inline]
    pub fn take<'r>(&mut self, subject: Subject<'_>, rdatas: impl IntoIterator<Item = Rdata<'r>>) {
        self.loose.clear();
        self.order.clear();
        for rdata in rdatas {
            let start = self.loose.len() as u32;
            push_rdata(&mut self.loose, &rdata);
            self.order.push((start, self.loose.len() as u32));
        }
        let loose = &self.loose;
        let data = |&(start, end): &(u32, u32)| loose.get(start as usize..end as usize).unwrap_or_default();
        // RFC 4034 section 6.3: as octets, each once.
        self.order.sort_unstable_by(|a, b| data(a).cmp(data(b)));
        self.order.dedup_by(|a, b| data(a) == data(b));
        self.begin(subject);
        let loose = &self.loose;
        for &(start, end) in &self.order {
            let data = loose.get(start as usize..end as usize).unwrap_or_default();
            self.content.extend_from_slice(&(data.len() as u16).to_be_bytes());
            self.content.extend_from_slice(data);
        }
    }

    /// RRSIG data of the set that was taken up, by the key at `at` in `keyring`, if it is at hand.
    #[inline]
    pub fn kept(&mut self, keyring: &Keyring, at: usize, now: UnixS) -> Option<&[u8]> {
        let key = keyring.keys().get(at)?;
        let hash = self.hash_for(key);
        let found = self.cache.get(hash, &self.content, now)?;
        self.counts.hits += 1;
        Some(found)
    }

    /// The same; made, if it is not at hand and can be paid for.
    ///
    /// # Errors
    /// [`Spent`].
    pub fn signature(
        &mut self,
        keyrings: &Keyrings,
        keyring: &Keyring,
        at: usize,
        payment: Payment,
    ) -> Result<&[u8], Spent> {
        self.prepare(keyrings);
        let now = UnixS::from(payment.now);
        let key = &keyring.keys()[at];
        let hash = self.hash_for(key);
        if let Some(place) = self.cache.find(hash, &self.content, now) {
            self.counts.hits += 1;
            return self.cache.at(place).ok_or(Spent);
        }
        let Payment { purse, is_invented, .. } = payment;
        if !self.budgets.pay(purse, keyrings.signatures_s_max(), is_invented, payment.now) {
            self.counts.unpaid += 1;
            return Err(Spent);
        }
        let window = Window::of(&self.content, keyring.rules(), now);
        self.head(keyring, key, &window);
        self.message();
        let signature = key.sign(&self.message).ok_or(Spent)?;
        self.rrsig.extend_from_slice(&signature);
        self.counts.made += 1;
        self.cache.put(hash, &self.content, &self.rrsig, window.end);
        Ok(&self.rrsig)
    }

    /// Puts `key` into the content, and hashes it.
    #[inline]
    fn hash_for(&mut self, key: &Key) -> u64 {
        if let Some(place) = self.content.first_chunk_mut::<KEY_LEN>() {
            *place = key.id().to_be_bytes();
        }
        let mut hasher = FxHasher::default();
        hasher.write(&self.content);
        hasher.finish()
    }

    /// The content without its key: owner; type, TTL; data.
    fn parts(&self) -> (&[u8], &[u8], &[u8]) {
        let (owner, rest) = self.content[KEY_LEN..].split_at(self.owner_len);
        let (head, data) = rest.split_at(6);
        (owner, head, data)
    }

    /// Writes RRSIG data up to the signature.
    fn head(&mut self, keyring: &Keyring, key: &Key, window: &Window) {
        let mut rrsig = std::mem::take(&mut self.rrsig);
        rrsig.clear();
        let (owner, head, _) = self.parts();
        let (rtype, ttl) = head.split_at(2);
        // RFC 4034 section 3.1.3: without a leftmost asterisk.
        let is_wildcard = owner.starts_with(b"\x01*");
        let label_count = labels(owner).count() - usize::from(is_wildcard);
        rrsig.extend_from_slice(rtype);
        rrsig.extend_from_slice(&[key.algorithm().number(), label_count as u8]);
        rrsig.extend_from_slice(ttl);
        rrsig.extend_from_slice(&window.expiration.to_be_bytes());
        rrsig.extend_from_slice(&window.inception.to_be_bytes());
        rrsig.extend_from_slice(&key.tag().to_be_bytes());
        debug_assert_eq!(rrsig.len(), HEAD_LEN);
        rrsig.extend_from_slice(keyring.apex().as_wire());
        self.rrsig = rrsig;
    }

    /// Writes what is signed: RRSIG data so far, then the records (RFC 4034 section 3.1.8.1).
    fn message(&mut self) {
        let mut message = std::mem::take(&mut self.message);
        message.clear();
        message.extend_from_slice(&self.rrsig);
        let (owner, head, mut data) = self.parts();
        let (rtype, ttl) = head.split_at(2);
        while let Some((len, rest)) = data.split_first_chunk::<2>() {
            let (rdata, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()));
            for part in [owner, rtype, &CLASS_IN.to_be_bytes(), ttl, len, rdata] {
                message.extend_from_slice(part);
            }
            data = rest;
        }
        self.message = message;
    }

    /// Octets of RRSIG data for zone `apex`.
    pub fn rrsig_len(apex: &[u8]) -> usize {
        HEAD_LEN + apex.len() + SIGNATURE_LEN
    }

    /// What was counted since it was asked last.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::KeyFiles;
    use super::super::keyring::ds;
    use super::*;
    use crate::wire::Name;
    use domain::utils::base64;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use std::net::Ipv4Addr;

    const RULES: Rules = Rules { validity_s: 604_800, jitter_s: 86_400 };

    /// The keyring of one key: its record and its private key.
    fn keyring(apex: &str, record: &str, algorithm: &str, private: &str) -> Keyring {
        let private = format!("Private-key-format: v1.2\nAlgorithm: {algorithm}\nPrivateKey: {private}\n");
        let public = format!("{apex}. 3600 IN DNSKEY {record}\n");
        let files = KeyFiles { public_name: "k", public: &public, private_name: "p", private: &private };
        let key = files.read().expect("a key");
        let apex = apex.parse().expect("a name");
        Keyring::new(apex, vec![key], RULES, "keys", UnixS(0)).expect("a keyring")
    }

    /// Octets written in hex.
    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// A set of `rdatas`, taken up.
    fn taken(owner: &str, rtype: Rtype, ttl_s: u32, rdatas: &[Rdata<'_>]) -> Signer {
        let owner: Name = owner.parse().expect("a name");
        let mut signer = Signer::default();
        signer.take(Subject { owner: owner.as_wire(), rtype, ttl_s }, rdatas.iter().copied());
        signer
    }

    #[test]
    fn rfc8080_s6_1_signatures_are_those_of_the_examples() {
        for (public, private, tag, digest, signature) in [
            (
                "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
                "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=",
                3613,
                "3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b",
                "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
            ),
            (
                "zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=",
                "DSSF3o0s0f+ElWzj9E/Osxw8hLpk55chkmx0LYN5WiY=",
                35217,
                "401781b934e392de492ec77ae2e15d70f6575a1c0bc59c5275c04ebe80c6614c",
                "zXQ0bkYgQTEFyfLyi9QoiY6D8ZdYo4wyUhVioYZXFdT410QPRITQSqJSnzQoSm5poJ7gD7AQR0O7KuI5k2pcBg==",
            ),
        ] {
            let keyring = keyring("example.com", &format!("257 3 15 {public}"), "15 (ED25519)", private);
            let key = &keyring.keys()[0];
            assert_eq!(key.tag(), tag);
            assert_eq!(hex(&ds(key)[4..]), digest);
            let mx = b"\x00\x0a\x04mail\x07example\x03com\x00";
            let mut signer = taken("example.com", Rtype::MX, 3600, &[Rdata::Bytes(mx)]);
            let window = Window { inception: 1_438_207_200, expiration: 1_440_021_600, end: UnixS(0) };
            signer.head(&keyring, key, &window);
            signer.message();
            let made = key.sign(&signer.message).expect("a signature");
            assert_eq!(base64::encode_string(&made), signature);
        }
    }

    #[test]
    fn rfc6605_s6_1_the_signature_of_the_example_verifies_and_so_do_ours() {
        let public =
            "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==";
        let record = format!("257 3 13 {public}");
        let private = "GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=";
        let keyring = keyring("example.net", &record, "13 (ECDSAP256SHA256)", private);
        let key = &keyring.keys()[0];
        assert_eq!(key.tag(), 55648);
        let digest = "b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17";
        assert_eq!(hex(&ds(key)[4..]), digest);
        let address = Rdata::A(Ipv4Addr::new(192, 0, 2, 1));
        let mut signer = taken("www.example.net", Rtype::A, 3600, &[address]);
        let seconds = |text| UnixS::parse(text).expect("a time").0 as u32;
        let (inception, expiration) = (seconds("20100812100439"), seconds("20100909100439"));
        signer.head(&keyring, key, &Window { inception, expiration, end: UnixS(0) });
        signer.message();
        let given =
            "qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==";
        let given = base64::decode::<Vec<u8>>(given).expect("base64");
        let point = [&[4], &key.dnskey()[4..]].concat();
        let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        verifier.verify(&signer.message, &given).expect("the example's signature");
        let ours = key.sign(&signer.message).expect("a signature");
        verifier.verify(&signer.message, &ours).expect("our signature");
    }

    #[test]
    fn rfc4034_s6_3_data_is_sorted_as_octets_and_each_once() {
        let [a, ab, b] = [&b"a"[..], b"ab", b"b"].map(Rdata::Bytes);
        let signer = taken("example", Rtype::TXT, 1, &[b, ab, a, b, a]);
        assert_eq!(signer.parts().2, b"\x00\x01a\x00\x02ab\x00\x01b");
        let again = taken("example", Rtype::TXT, 1, &[ab, a, b]);
        assert_eq!(signer.content, again.content);
    }

    #[test]
    fn addresses_are_taken_in_one_go_as_in_the_general_way() {
        let owner: Name = "a.example".parse().expect("a name");
        let mut random = 1_u32;
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random >> 8
        };
        for rtype in [Rtype::A, Rtype::AAAA] {
            for count in 0..40 {
                let address = |bits: u32| match rtype {
                    Rtype::A => IpAddr::V4((bits % 200).into()),
                    _ => IpAddr::V6((u128::from(bits % 200) << 100).into()),
                };
                let addresses: Vec<IpAddr> = (0..count).map(|_| address(next())).collect();
                let subject = Subject { owner: owner.as_wire(), rtype, ttl_s: count };
                let (mut one, mut other) = (Signer::default(), Signer::default());
                let are_different = one.take_addresses(subject, addresses.iter().copied());
                other.take(subject, addresses.iter().map(|address| Rdata::of(*address)));
                assert_eq!(are_different, one.content == other.content, "{addresses:?}");
                assert!(are_different || count > 1);
            }
        }
    }

    #[test]
    fn rfc4034_s3_1_3_labels_are_counted_without_the_root_and_an_asterisk() {
        let public = "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";
        let private = "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=";
        let keyring = keyring("example", &format!("257 3 15 {public}"), "15", private);
        for (owner, count) in [("example", 1), ("a.example", 2), ("*.a.example", 2), ("b.*.example", 3)] {
            let mut signer = taken(owner, Rtype::TXT, 1, &[]);
            let window = Window { inception: 0, expiration: 0, end: UnixS(0) };
            signer.head(&keyring, &keyring.keys()[0], &window);
            assert_eq!(signer.rrsig[3], count, "{owner}");
        }
    }

    #[test]
    fn a_signature_is_valid_and_its_window_does_not_end_before() {
        for content in [&b"a"[..], b"b", b"c"] {
            let mut ends = Vec::new();
            for now in (1_700_000_000_u64..1_703_000_000).step_by(9973) {
                let window = Window::of(content, RULES, UnixS(now));
                assert!(u64::from(window.inception) + INCEPTION_BEFORE_S <= now && now < window.end.0);
                assert!(u64::from(window.expiration) >= window.end.0 + u64::from(RULES.valid_min_s()));
                ends.push(window.end.0);
            }
            ends.dedup();
            assert!((6..=8).contains(&ends.len()), "{ends:?}");
            let each_s = u64::from(RULES.window_s());
            assert!(ends.windows(2).all(|pair| pair[1] - pair[0] == each_s), "{ends:?}");
        }
        let end = |content: &[u8]| Window::of(content, RULES, UnixS(1_700_000_000)).end;
        assert_ne!(end(b"a"), end(b"b"), "renewals are spread");
    }

    #[test]
    fn signatures_are_kept_paid_for_and_renewed() {
        let public = "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";
        let private = "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=";
        let keyring = keyring("example", &format!("257 3 15 {public}"), "15", private);
        let keyrings = Keyrings::new(2, 16);
        let mut signer = Signer::default();
        let mut ask = |owner: &str, at_s: u64, is_invented: bool| {
            let owner: Name = owner.parse().expect("a name");
            let subject = Subject { owner: owner.as_wire(), rtype: Rtype::TXT, ttl_s: 1 };
            signer.take(subject, [Rdata::Bytes(b"x")]);
            let payment = Payment { now: UnixMs(at_s * 1000), purse: Purse::Datagram, is_invented };
            let made = signer.signature(&keyrings, &keyring, 0, payment).map(<[u8]>::to_vec);
            (made, signer.take_counts())
        };
        let begin = 1_700_000_000;
        let (first, counts) = ask("a.example", begin, false);
        assert_eq!((first.is_ok(), counts), (true, Counts { made: 1, ..Counts::default() }));
        let (again, counts) = ask("a.example", begin, false);
        assert_eq!((again, counts), (first.clone(), Counts { hits: 1, ..Counts::default() }));
        let (_, counts) = ask("invented.example", begin, true);
        assert_eq!(counts, Counts { unpaid: 1, ..Counts::default() }, "half is left");
        let (second, counts) = ask("b.example", begin, false);
        assert_eq!((second.is_ok(), counts.made), (true, 1));
        assert_eq!(ask("c.example", begin, false).0, Err(Spent));
        let (renewed, counts) = ask("a.example", begin + u64::from(RULES.window_s()), false);
        assert_eq!(counts.made, 1);
        assert_ne!(renewed, first);
    }
}
