//! Step functions over an address space, packed for lookups.
//!
//! A [`Trie`] maps every address to a *leaf*: 31 bits that mean nothing here. A node cuts its block
//! into 2^stride equal slots, 64 of them a [`Word`]; a slot holds a leaf or a child node. Equal
//! neighbours share one entry: the word's bitmap has a bit where a run of slots starts, so the entry
//! of a slot is found by counting bits. How many slots a node has follows from how many leaves meet
//! in it, so that what the Internet crowds together is found in as few steps as what is spread out.
//!
//! ```text
//! word    starts: u64 (bit i: a run starts at slot i; bit 0 is always set) | base: u32
//!         entry of slot i = entries[base + number of bits 0..=i]        (base is one too low)
//! entry   0 | leaf: 31 bits
//!         1 | stride: 5 bits | first word of the child: 26 bits
//! ```
//!
//! A [`Trie::replace`] writes anew what it touches and leaves the old parts behind, unreachable;
//! [`Trie::tidy`] packs it again when that is much. Invariants: a child's words come after its
//! parent's; every run of every word has its entry; each entry belongs to one word.

use crate::prefix::{Bits, Block};
use std::ops::{ControlFlow, RangeInclusive};

/// Slots of a word.
const WORD_SLOTS: usize = 64;

/// The bit of an entry that is a child.
const CHILD: u32 = 1 << 31;

/// Bits of a child's first word in its entry.
const OFFSET_BITS: u32 = 26;

/// A node gets up to 2^this slots for each leaf that begins in it.
const SPREAD_BITS: u8 = 3;

/// Bits that the root resolves, at most: what is announced on the Internet in IPv4 ends there, and in
/// IPv6, which is much sparser, most of what lies close together is told apart.
const fn root_stride_max<B: Bits>() -> u8 {
    if B::LEN == 32 { 24 } else { 22 }
}

/// With more leaves than this the root is as large as it may be.
const ROOT_FULL_FROM: usize = 1 << 14;

/// Bits that any other node resolves, at most.
const STRIDE_MAX: u8 = 20;

/// A leaf and the lowest address that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut<B> {
    /// Where it begins.
    pub(super) first: B,
    /// Below 2^31.
    pub(super) leaf: u32,
}

/// 64 slots, in 12 octets: there are a million of them where GeoIP knows cities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed(4))]
struct Word {
    /// Where runs of equal slots start.
    starts: u64,
    /// Position of the first run's entry, less one.
    base: u32,
}

impl Word {
    /// Position of the entry of a slot; of `slot` the last six bits count.
    #[inline]
    fn position(self, slot: u64) -> usize {
        // Of the starts only those up to the slot stay.
        let upto = self.starts << (!slot & 63);
        self.base.wrapping_add(upto.count_ones()) as usize
    }

    /// Position of the first entry.
    fn first_position(self) -> usize {
        self.base.wrapping_add(1) as usize
    }

    /// Runs.
    fn run_count(self) -> usize {
        self.starts.count_ones() as usize
    }
}

/// A node while it is walked or written.
#[derive(Debug, Clone, Copy)]
struct Node<B> {
    /// What it covers.
    block: Block<B>,
    /// Bits it resolves, 1 to 24.
    stride: u8,
    /// Its first word.
    offset: usize,
}

impl<B: Bits> Node<B> {
    /// The node that `entry` leads to.
    fn of(entry: u32, block: Block<B>) -> Self {
        let stride = (entry >> OFFSET_BITS & 31) as u8;
        Self { block, stride, offset: (entry & ((1 << OFFSET_BITS) - 1)) as usize }
    }

    /// The entry that leads to it.
    fn entry(self) -> u32 {
        let offset = u32::try_from(self.offset).expect("fewer words than 2^26");
        assert!(offset < 1 << OFFSET_BITS, "fewer words than 2^26");
        CHILD | u32::from(self.stride) << OFFSET_BITS | offset
    }

    /// Slots.
    fn slot_count(self) -> usize {
        1 << self.stride
    }

    /// Prefix length of a slot.
    fn slot_len(self) -> u8 {
        self.block.len() + self.stride
    }

    /// The slot of an address inside the node.
    fn slot_of(self, addr: B) -> usize {
        let rest = addr.widen() >> (B::LEN - self.slot_len());
        (rest & (self.slot_count() as u128 - 1)) as usize
    }

    /// The block of a slot.
    fn slot(self, slot: usize) -> Block<B> {
        let bits = B::narrow((slot as u128) << (B::LEN - self.slot_len()));
        Block::around(self.block.first().or(bits), self.slot_len())
    }

    /// The slots that share an address with `block`.
    fn slots_of(self, block: Block<B>) -> RangeInclusive<usize> {
        if block.covers(self.block) {
            0..=self.slot_count() - 1
        } else {
            self.slot_of(block.first())..=self.slot_of(block.last())
        }
    }
}

/// A packed step function.
#[derive(Debug)]
pub(super) struct Trie<B> {
    root: Node<B>,
    words: Vec<Word>,
    entries: Vec<u32>,
    /// Words and entries when it was packed.
    packed: (usize, usize),
}

impl<B: Clone> Clone for Trie<B> {
    /// Copies both arrays, with room for some replacements.
    fn clone(&self) -> Self {
        let (mut words, mut entries) = (Vec::new(), Vec::new());
        words.reserve_exact(self.words.len() + self.words.len() / 16 + 1024);
        words.extend_from_slice(&self.words);
        entries.reserve_exact(self.entries.len() + self.entries.len() / 8 + 1024);
        entries.extend_from_slice(&self.entries);
        Self { root: self.root.clone(), words, entries, packed: self.packed }
    }
}

impl<B: Bits> Trie<B> {
    /// Packs `cuts`, which are in order and begin at the lowest address.
    pub(super) fn build(cuts: &[Cut<B>]) -> Self {
        assert_eq!(cuts.first().map(|cut| cut.first), Some(B::default()), "every address has a leaf");
        let stride =
            if cuts.len() > ROOT_FULL_FROM { root_stride_max::<B>() } else { stride_of(0, &cuts[1..]) };
        let root = Node { block: Block::all(), stride, offset: 0 };
        let mut trie =
            Self { root, words: Vec::new(), entries: Vec::with_capacity(2 * cuts.len()), packed: (0, 0) };
        trie.append(stride);
        trie.fill(root, 0..=root.slot_count() - 1, cuts);
        trie.words.shrink_to_fit();
        trie.entries.shrink_to_fit();
        trie.packed = (trie.words.len(), trie.entries.len());
        trie
    }

    /// The leaf of an address.
    ///
    /// Cost: two dependent loads a level; one level for IPv4 down to /24, two or three for IPv6.
    #[inline]
    pub(super) fn find(&self, addr: B) -> u32 {
        let (key, low) = addr.left_aligned();
        let entry = self.at_root(key);
        if entry < CHILD { entry } else { self.below(entry, key, low) }
    }

    /// The leaves of [`GROUP`] addresses, looked up side by side: while one waits for memory the
    /// others go on.
    pub(super) fn find_group(&self, addrs: &[B; GROUP]) -> [u32; GROUP] {
        // Plain loops over each step: the loads of one do not wait for each other.
        let stride = u32::from(self.root.stride);
        let mut steps = [Step { key: 0, low: 0, left: 64 - stride }; GROUP];
        let mut positions = [0; GROUP];
        for at in 0..GROUP {
            let (key, low) = addrs[at].left_aligned();
            let slot = key >> (64 - stride);
            positions[at] = self.words[(slot >> 6) as usize].position(slot);
            (steps[at].key, steps[at].low) = (key << stride, low);
        }
        let (mut entries, mut is_done) = ([0; GROUP], true);
        for at in 0..GROUP {
            entries[at] = self.entries[positions[at]];
            is_done &= entries[at] < CHILD;
        }
        if is_done {
            return entries;
        }
        // A leaf goes through the motions: it looks at some word and stays what it is.
        for _ in 0..GROUP_LEVELS {
            for at in 0..GROUP {
                positions[at] = self.position_below(entries[at], &mut steps[at]);
            }
            for at in 0..GROUP {
                let found = self.entries[positions[at]];
                entries[at] = if entries[at] < CHILD { entries[at] } else { found };
            }
        }
        for at in 0..GROUP {
            while entries[at] >= CHILD {
                let position = self.position_below(entries[at], &mut steps[at]);
                entries[at] = self.entries[position];
            }
        }
        entries
    }

    /// The root's entry for a key.
    #[inline]
    fn at_root(&self, key: u64) -> u32 {
        let slot = key >> (64 - u32::from(self.root.stride));
        self.entries[self.words[(slot >> 6) as usize].position(slot)]
    }

    /// The leaf of an address whose entry in the root is a child.
    fn below(&self, mut entry: u32, key: u64, low: u64) -> u32 {
        let stride = u32::from(self.root.stride);
        let mut step = Step { key: key << stride, low, left: 64 - stride };
        while entry >= CHILD {
            entry = self.entries[self.position_below(entry, &mut step)];
        }
        entry
    }

    /// Position of the entry of an address in the node that `entry` leads to. Of a leaf, some
    /// position.
    #[inline]
    fn position_below(&self, entry: u32, step: &mut Step) -> usize {
        let is_child = u32::from(entry >= CHILD);
        let stride = (entry >> OFFSET_BITS & 31) * is_child;
        let offset = (entry & ((1 << OFFSET_BITS) - 1)) * is_child;
        let slot = step.take(stride);
        self.words[offset as usize + (slot >> 6) as usize].position(slot)
    }

    /// Gives `block` the leaves of `cuts`, which are in order, begin at its first address and stay
    /// inside it.
    pub(super) fn replace(&mut self, block: Block<B>, cuts: &[Cut<B>]) {
        debug_assert_eq!(cuts.first().map(|cut| cut.first), Some(block.first()), "all of it has a leaf");
        self.replace_in(self.root, block, cuts);
    }

    /// Calls `visit` for each leaf of `block` with the lowest address there, in order, equal
    /// neighbours once, until it breaks.
    pub(super) fn walk(
        &self,
        block: Block<B>,
        mut visit: impl FnMut(B, u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut last = None;
        self.walk_in(self.root, block, &mut |first, leaf| {
            if last.replace(leaf) == Some(leaf) { ControlFlow::Continue(()) } else { visit(first, leaf) }
        })
    }

    /// All leaves of `block` in order.
    pub(super) fn cuts(&self, block: Block<B>) -> Vec<Cut<B>> {
        let mut cuts = Vec::new();
        let _ = self.walk(block, |first, leaf| {
            cuts.push(Cut { first, leaf });
            ControlFlow::Continue(())
        });
        cuts
    }

    /// Packs it again when what replacements left behind is half as large as what is used.
    pub(super) fn tidy(&mut self) {
        let (words, entries) = self.packed;
        if self.words.len() > words + words / 2 + 4096 || self.entries.len() > entries + entries / 2 + 4096 {
            *self = Self::build(&self.cuts(Block::all()));
        }
    }

    /// The root's stride, the words in two columns, and the entries.
    pub(super) fn columns(&self) -> (u8, Vec<u64>, Vec<u32>, &[u32]) {
        let starts = self.words.iter().map(|word| word.starts).collect();
        let bases = self.words.iter().map(|word| word.base).collect();
        (self.root.stride, starts, bases, &self.entries)
    }

    /// From the same; `None` when they are no trie whose leaves `is_leaf` accepts.
    pub(super) fn of_columns(
        stride: u8,
        starts: Vec<u64>,
        bases: Vec<u32>,
        entries: Vec<u32>,
        is_leaf: impl Fn(u32) -> bool,
    ) -> Option<Self> {
        let words: Vec<Word> =
            starts.iter().zip(&bases).map(|(&starts, &base)| Word { starts, base }).collect();
        let root = Node { block: Block::all(), stride, offset: 0 };
        let is_root = (1..=root_stride_max::<B>()).contains(&stride) && bases.len() == starts.len();
        let trie = Self { root, packed: (words.len(), entries.len()), words, entries };
        (is_root && trie.is_sound(root, 0, &is_leaf)).then_some(trie)
    }

    /// Whether a node behind `used` bits and all below it can be searched. Each child lies behind its
    /// parent, so this ends.
    fn is_sound(&self, node: Node<B>, used: u8, is_leaf: &impl Fn(u32) -> bool) -> bool {
        let word_count = node.slot_count().div_ceil(WORD_SLOTS);
        let Some(words) = self.words.get(node.offset..node.offset + word_count) else { return false };
        let mask = if node.slot_count() < WORD_SLOTS { (1 << node.slot_count()) - 1 } else { u64::MAX };
        words.iter().enumerate().all(|(at, word)| {
            let begin = word.first_position();
            let runs = self.entries.get(begin..begin + word.run_count());
            let is_word = word.starts & 1 == 1 && word.starts & !mask == 0;
            is_word
                && runs.is_some_and(|runs| {
                    runs.iter().all(|&entry| {
                        if entry < CHILD {
                            return is_leaf(entry);
                        }
                        let child = Node::of(entry, node.block);
                        let used = used + node.stride;
                        let room =
                            if used < 64 && B::LEN > 64 { 64 - used } else { B::LEN.saturating_sub(used) };
                        (1..=room.min(STRIDE_MAX)).contains(&child.stride)
                            && child.offset > node.offset + at
                            && self.is_sound(child, used, is_leaf)
                    })
                })
        })
    }

    /// Entries, those left behind included.
    pub(super) fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// Octets on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.words.capacity() * size_of::<Word>() + self.entries.capacity() * size_of::<u32>()
    }

    /// Adds the words of a node at the end.
    fn append(&mut self, stride: u8) -> usize {
        let offset = self.words.len();
        let count = (1_usize << stride).div_ceil(WORD_SLOTS);
        self.words.resize(offset + count, Word { starts: 0, base: 0 });
        offset
    }

    /// Writes the `slots` of a node from `cuts`, the first of which begins at or before the first of
    /// them and none of which begins after the last.
    fn fill(&mut self, node: Node<B>, slots: RangeInclusive<usize>, cuts: &[Cut<B>]) {
        let mut at = 0;
        for word in slots.start() / WORD_SLOTS..=slots.end() / WORD_SLOTS {
            let begin = word * WORD_SLOTS;
            let len = WORD_SLOTS.min(node.slot_count());
            let (low, high) = ((*slots.start()).max(begin), (*slots.end()).min(begin + len - 1));
            let next = cuts.get(at + 1).map_or(usize::MAX, |cut| node.slot_of(cut.first));
            let is_whole = low == begin && high == begin + len - 1;
            if is_whole && next > high {
                self.set(node.offset + word, &[cuts[at].leaf]);
                continue;
            }
            let mut row = [0; WORD_SLOTS];
            if !is_whole {
                self.read_row(node.offset + word, &mut row);
            }
            at = self.fill_row(node, low..=high, &cuts[at..], &mut row) + at;
            self.set(node.offset + word, &row[..len]);
        }
    }

    /// Writes `slots` of one word to `row`; says which of `cuts` is the last that begins in them.
    fn fill_row(
        &mut self,
        node: Node<B>,
        slots: RangeInclusive<usize>,
        cuts: &[Cut<B>],
        row: &mut [u32; WORD_SLOTS],
    ) -> usize {
        let (mut slot, high) = (*slots.start(), *slots.end());
        let mut at = 0;
        while slot <= high {
            let block = node.slot(slot);
            while cuts.get(at + 1).is_some_and(|next| next.first <= block.first()) {
                at += 1;
            }
            let next = cuts.get(at + 1).map_or(high + 1, |next| node.slot_of(next.first).min(high + 1));
            if next == slot {
                let begin = at;
                while cuts.get(at + 1).is_some_and(|next| next.first <= block.last()) {
                    at += 1;
                }
                row[slot % WORD_SLOTS] = self.child(block, &cuts[begin..=at]);
                slot += 1;
            } else {
                row[slot % WORD_SLOTS..=(next - 1) % WORD_SLOTS].fill(cuts[at].leaf);
                slot = next;
            }
        }
        at
    }

    /// A new node for `block`, in which `cuts` (the first of which may begin before it) meet.
    fn child(&mut self, block: Block<B>, cuts: &[Cut<B>]) -> u32 {
        let stride = stride_of(block.len(), &cuts[1..]);
        let node = Node { block, stride, offset: self.append(stride) };
        self.fill(node, 0..=node.slot_count() - 1, cuts);
        node.entry()
    }

    /// Reads a word slot by slot.
    fn read_row(&self, at: usize, row: &mut [u32; WORD_SLOTS]) {
        let word = self.words[at];
        for (slot, entry) in row.iter_mut().enumerate() {
            *entry = self.entries[word.position(slot as u64)];
        }
    }

    /// Writes a word, over its old entries where they are enough.
    fn set(&mut self, at: usize, row: &[u32]) {
        let mut runs = [0; WORD_SLOTS];
        let (mut starts, mut count) = (0_u64, 0);
        for (slot, &entry) in row.iter().enumerate() {
            if slot == 0 || entry != row[slot - 1] {
                starts |= 1 << slot;
                runs[count] = entry;
                count += 1;
            }
        }
        let old = self.words[at];
        let begin = if old.run_count() >= count { old.first_position() } else { self.entries.len() };
        if begin == self.entries.len() {
            self.entries.extend_from_slice(&runs[..count]);
        } else {
            self.entries[begin..begin + count].copy_from_slice(&runs[..count]);
        }
        let base = u32::try_from(begin).expect("fewer entries than 2^32").wrapping_sub(1);
        self.words[at] = Word { starts, base };
    }

    /// Replaces `block`, which the node covers.
    fn replace_in(&mut self, node: Node<B>, block: Block<B>, cuts: &[Cut<B>]) {
        if block.len() <= node.slot_len() {
            return self.fill(node, node.slots_of(block), cuts);
        }
        let slot = node.slot_of(block.first());
        let (word, around) = (node.offset + slot / WORD_SLOTS, node.slot(slot));
        let entry = self.entries[self.words[word].position(slot as u64)];
        if entry >= CHILD {
            return self.replace_in(Node::of(entry, around), block, cuts);
        }
        // One leaf so far: it goes on before and after the block.
        let mut whole = Vec::with_capacity(cuts.len() + 2);
        if around.first() < block.first() {
            whole.push(Cut { first: around.first(), leaf: entry });
        }
        whole.extend_from_slice(cuts);
        if let Some(after) = block.last().next().filter(|_| block.last() < around.last()) {
            whole.push(Cut { first: after, leaf: entry });
        }
        whole.dedup_by_key(|cut| cut.leaf);
        self.fill(node, slot..=slot, &whole);
    }

    /// Visits the part of `block` that lies in the node.
    fn walk_in(
        &self,
        node: Node<B>,
        block: Block<B>,
        visit: &mut impl FnMut(B, u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let slots = node.slots_of(block);
        for at in slots.start() / WORD_SLOTS..=slots.end() / WORD_SLOTS {
            let word = self.words[node.offset + at];
            let (mut starts, mut position) = (word.starts, word.first_position());
            while starts != 0 {
                let slot = at * WORD_SLOTS + starts.trailing_zeros() as usize;
                starts &= starts - 1;
                let entry = self.entries[position];
                position += 1;
                let last_slot = if starts == 0 {
                    (at + 1) * WORD_SLOTS - 1
                } else {
                    at * WORD_SLOTS + starts.trailing_zeros() as usize - 1
                };
                if last_slot < *slots.start() || slot > *slots.end() {
                    continue;
                }
                let around = node.slot(slot);
                if entry >= CHILD {
                    self.walk_in(Node::of(entry, around), block, visit)?;
                } else {
                    visit(around.first().max(block.first()), entry)?;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Addresses that are looked up side by side.
pub(super) const GROUP: usize = 16;

/// Levels below the root that a group takes together.
const GROUP_LEVELS: usize = 2;

/// What of an address was not looked at yet.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// The next bits, at the high end.
    key: u64,
    /// Bits after those; no node takes some of both.
    low: u64,
    /// Bits of `key` that are left.
    left: u32,
}

impl Step {
    /// Takes `stride` bits, 0 to 24.
    #[inline]
    fn take(&mut self, stride: u32) -> u64 {
        if self.left == 0 {
            (self.key, self.left) = (self.low, 64);
        }
        let bits = self.key >> 32 >> (32 - stride);
        self.key <<= stride;
        self.left -= stride;
        bits
    }
}

/// Bits that a node behind `len` bits should resolve, in which `cuts` begin after its first address.
fn stride_of<B: Bits>(len: u8, cuts: &[Cut<B>]) -> u8 {
    let longest = cuts.iter().map(|cut| B::LEN - cut.first.trailing_zeros()).max().unwrap_or(len + 1);
    let wanted = (usize::BITS - cuts.len().leading_zeros()) as u8 + SPREAD_BITS;
    // No node takes bits of both halves of an address, which is looked up in halves.
    let room = if len < 64 && B::LEN > 64 { 64 - len } else { B::LEN - len };
    (longest - len).min(wanted.max(6)).min(STRIDE_MAX).min(room).max(1)
}
