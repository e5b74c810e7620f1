//! Two small maps for the making of lists: from content to number, and the answers given last.
//!
//! An [`Index`] finds the number of something by what it is and holds nothing but numbers, four octets
//! a slot, open addressing: what is kept elsewhere anyway is compared there. A [`Recent`] remembers some
//! answers and forgets the others, in room that does not grow. The slow twin of both is a map.

use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher as _;

/// A slot without a number.
const FREE: u32 = u32::MAX;

/// Numbers by the hash of what they stand for. Nothing is ever taken out.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// A power of two of them, three quarters taken at most.
    slots: Vec<u32>,
    /// Slots taken.
    count: usize,
}

impl Index {
    /// The numbers that may stand for something of this hash, those that do among them, in the order
    /// they came.
    pub(super) fn candidates(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let mask = self.slots.len().wrapping_sub(1);
        let start = slot_of(hash);
        (0..self.slots.len())
            .map(move |step| self.slots[start.wrapping_add(step) & mask])
            .take_while(|&n| n != FREE)
    }

    /// Adds `number`, which stands for something of this `hash`; `hash_of` says that of the others.
    pub(super) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            let mut wider = vec![FREE; (self.slots.len() * 2).max(64)];
            // From a free slot on, so that numbers of one hash stay in order.
            let start = self.slots.iter().position(|&n| n == FREE).unwrap_or(0);
            for &number in self.slots[start..].iter().chain(&self.slots[..start]).filter(|&&n| n != FREE) {
                place(&mut wider, hash_of(number), number);
            }
            self.slots = wider;
        }
        place(&mut self.slots, hash, number);
        self.count += 1;
    }

    /// Octets on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }
}

/// Puts `number` into the first free slot for its hash.
fn place(slots: &mut [u32], hash: u64, number: u32) {
    let mask = slots.len() - 1;
    let mut at = slot_of(hash) & mask;
    while slots[at] != FREE {
        at = (at + 1) & mask;
    }
    slots[at] = number;
}

/// Where to begin looking, before the mask: the hasher leaves its best bits at the low end.
fn slot_of(hash: u64) -> usize {
    hash as usize
}

/// Slots of a [`Recent`], as a power of two.
const RECENT_BITS: u32 = 16;

/// Answers to the last questions, each a pair of numbers.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Question and answer; empty before the first.
    slots: Vec<((u32, u32), u32)>,
}

impl Recent {
    /// Where a question is remembered.
    fn slot(question: (u32, u32)) -> usize {
        slot_of(FxBuildHasher.hash_one(question)) & ((1 << RECENT_BITS) - 1)
    }

    /// The answer, if it is remembered.
    pub(super) fn get(&self, question: (u32, u32)) -> Option<u32> {
        let &(held, answer) = self.slots.get(Self::slot(question))?;
        (held == question && answer != FREE).then_some(answer)
    }

    /// Remembers an answer, which is not 2^32 - 1, in the place of another.
    pub(super) fn put(&mut self, question: (u32, u32), answer: u32) {
        if self.slots.is_empty() {
            self.slots = vec![((0, 0), FREE); 1 << RECENT_BITS];
        }
        self.slots[Self::slot(question)] = (question, answer);
    }

    /// Forgets everything, room included.
    pub(super) fn clear(&mut self) {
        self.slots = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Seeded draws below a limit.
    fn draws() -> impl FnMut(u64) -> u64 {
        let mut state = 5u64;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        }
    }

    #[test]
    fn an_index_agrees_with_a_map() {
        let mut next = draws();
        for hashes in [1, 3, 1 << 40] {
            let (mut index, mut twin, mut contents) = (Index::default(), HashMap::new(), Vec::new());
            // Few hashes: many contents have the same one.
            let hash_of = |content: u64| FxBuildHasher.hash_one(content % hashes);
            for _ in 0..3_000 {
                let content = next(800);
                let hash = hash_of(content);
                let found = index.candidates(hash).find(|&n| contents[n as usize] == content);
                assert_eq!(found, twin.get(&content).copied());
                if found.is_none() {
                    let number = contents.len() as u32;
                    twin.insert(content, number);
                    contents.push(content);
                    index.insert(hash, number, |n| hash_of(contents[n as usize]));
                    let same: Vec<u32> =
                        index.candidates(hash).filter(|&n| hash_of(contents[n as usize]) == hash).collect();
                    assert!(same.is_sorted(), "those of one hash are found in the order they came");
                }
            }
            assert!(index.heap_bytes() >= 4 * contents.len());
        }
    }

    #[test]
    fn what_is_remembered_is_what_was_said() {
        let (mut next, mut recent, mut twin) = (draws(), Recent::default(), HashMap::new());
        let mut remembered = 0;
        for _ in 0..200_000 {
            let question = (next(400) as u32, next(400) as u32);
            if let Some(answer) = recent.get(question) {
                remembered += 1;
                assert_eq!(twin.get(&question), Some(&answer));
            }
            let answer = next(1000) as u32;
            recent.put(question, answer);
            twin.insert(question, answer);
        }
        assert!(remembered > 10_000);
        recent.clear();
        assert_eq!(recent.get((1, 1)), None);
    }
}
