//! Names of decisions: what joins an appliance's log with the access log of whoever sent the client there.
//!
//! A thread counts its decisions in a range of its own, and a permutation of all 64-bit numbers, made by
//! a key that the process drew, turns the count into the id. So the ids of a process are distinct,
//! and whoever is told some of them, in order, cannot tell the next one, nor how many there are.
//!
//! ```text
//! thread (16 bits) | count (48 bits) ──► four rounds: (left, right) ← (right, left ^ hash(round, right)) ──► id
//! ```
//!
//! Four rounds of a keyed hash over halves are a strong pseudorandom permutation (Luby and Rackoff,
//! 1988); three would do for ids that are only told. Pure: the key is passed in. Tests: below.

use serde::{Serialize, Serializer};
use siphasher::sip::SipHasher13;
use std::fmt;

/// Bits of a number that count a thread's decisions; at a million a second they last for nine years.
const COUNT_BITS: u32 = 48;

/// Rounds of the permutation.
const ROUNDS: u8 = 4;

/// The key of a process's ids; random octets.
#[derive(Clone, Copy, Default)]
pub struct IdKey(pub [u8; 16]);

impl fmt::Debug for IdKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("IdKey(..)")
    }
}

/// The name of a decision: 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecisionId(u64);

impl fmt::Display for DecisionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl Serialize for DecisionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Gives a thread's decisions their ids.
#[derive(Debug, Clone)]
pub struct DecisionIds {
    hash: SipHasher13,
    /// The number of the next decision, the thread's in its upper bits.
    next: u64,
}

impl DecisionIds {
    /// For thread number `thread` of a process, the first 65,536 of which get ranges of their own.
    pub fn new(key: IdKey, thread: usize) -> Self {
        Self { hash: SipHasher13::new_with_key(&key.0), next: (thread as u64) << COUNT_BITS }
    }

    /// The id of the next decision.
    pub fn next_id(&mut self) -> DecisionId {
        let id = DecisionId(self.permute(self.next));
        self.next = self.next.wrapping_add(1);
        id
    }

    /// The number that `number` is sent to; no other is.
    fn permute(&self, number: u64) -> u64 {
        let (mut left, mut right) = ((number >> 32) as u32, number as u32);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.mix(round, right));
        }
        u64::from(left) << 32 | u64::from(right)
    }

    /// A number that nobody without the key knows.
    fn mix(&self, round: u8, half: u32) -> u32 {
        let [a, b, c, d] = half.to_le_bytes();
        self.hash.hash(&[a, b, c, d, round]) as u32
    }
}

/// Ids of a key that everybody knows, for tests and tools.
impl Default for DecisionIds {
    fn default() -> Self {
        Self::new(IdKey::default(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// What `ids` has made `id` of: the rounds, backwards.
    fn number_of(ids: &DecisionIds, id: DecisionId) -> u64 {
        let (mut left, mut right) = ((id.0 >> 32) as u32, id.0 as u32);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ ids.mix(round, left), left);
        }
        u64::from(left) << 32 | u64::from(right)
    }

    #[test]
    fn ids_of_all_threads_are_distinct_and_in_no_order() {
        let key = IdKey(*b"sixteen octets..");
        let (mut seen, mut ascents, mut set_bits) = (HashSet::new(), 0, 0);
        for thread in [0, 1, 2, 77, 65_535] {
            let mut ids = DecisionIds::new(key, thread);
            let mut before = DecisionId(0);
            for count in 0..10_000 {
                let id = ids.next_id();
                assert_eq!(number_of(&ids, id), (thread as u64) << COUNT_BITS | count);
                assert!(seen.insert(id), "{id} twice");
                ascents += u32::from(id.0 > before.0);
                set_bits += (id.0 ^ before.0).count_ones();
                before = id;
            }
        }
        // Of 50,000: half, and half of 64 bits each, give or take six standard deviations.
        assert!(ascents.abs_diff(25_000) < 700, "{ascents} ids are above the one before");
        assert!(set_bits.abs_diff(1_600_000) < 6_000, "{set_bits} bits differ from the id before");
    }

    #[test]
    fn another_key_gives_other_ids() {
        let mut ids = [IdKey([1; 16]), IdKey([2; 16])].map(|key| DecisionIds::new(key, 0));
        let of: Vec<HashSet<DecisionId>> =
            ids.iter_mut().map(|ids| (0..1000).map(|_| ids.next_id()).collect()).collect();
        assert!(of[0].is_disjoint(&of[1]));
    }

    #[test]
    fn an_id_is_sixteen_digits() {
        assert_eq!(DecisionId(0xab).to_string(), "00000000000000ab");
        assert_eq!(serde_json::to_string(&DecisionId(u64::MAX)).expect("text"), r#""ffffffffffffffff""#);
    }
}
