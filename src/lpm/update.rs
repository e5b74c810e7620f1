//! What a change of one block does to the scopes around it.
//!
//! The scope of an address outside the block changes only if one of the aligned blocks around it
//! holds both the address and the change, and has one identity before or after. Seen from the block
//! upwards: its sibling, its parent's sibling and so on are each as they were inside; what changes is
//! how far they agree with what they stand beside. As long as everything so far agrees, the block
//! that *joins* it grows, and all of it gets that block's length. From the first sibling that
//! disagrees on, a sibling with one identity has its own length as its scope; where that is what it
//! has already, the parent was divided before too, and nothing farther out can change.

use super::trie::Cut;
use super::{Hit, Identity, Lpm, Segment, Summary, leaf_of, scopes};
use crate::prefix::{Bits, Block};
use std::ops::ControlFlow;

/// What a table says of all addresses of a block together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Their identities.
    pub(super) summary: Summary,
    /// The scope stored for those that have one; `None` where none has.
    scope_len: Option<u8>,
}

/// What `lpm` says of `block`.
///
/// The first address with an identity tells: its scope is the widest block around it with no other,
/// so `block` has another one exactly if that is inside it.
pub(super) fn known<B: Bits>(lpm: &Lpm<B>, block: Block<B>, identity: &impl Fn(B, u32) -> Identity) -> Known {
    let mut known = Known { summary: Summary::Any, scope_len: None };
    let _ = lpm.trie.walk(block, |first, leaf| {
        let Hit { value, scope_len } = Hit::of(leaf);
        let Identity::Is(id) = identity(first, value) else { return ControlFlow::Continue(()) };
        let summary = if scope_len <= block.len() { Summary::One(id) } else { Summary::Many };
        known = Known { summary, scope_len: Some(scope_len) };
        ControlFlow::Break(())
    });
    known
}

impl<B: Bits> Lpm<B> {
    /// Gives `block` other `segments`, which are in order, begin at its first address and stay inside
    /// it. `identity` says what an address and its value stand for, of the rest of the table.
    ///
    /// # Panics
    /// As [`Lpm::build`] does.
    pub fn update(
        &mut self,
        block: Block<B>,
        segments: &[Segment<B>],
        identity: impl Fn(B, u32) -> Identity,
    ) {
        let summary = segments.iter().fold(Summary::Any, |sum, s| sum.and(Summary::of(s.identity)));
        let around = self.look_around(block, summary, &identity);
        let cuts = if summary == Summary::Many {
            scopes::cuts_of(block, segments)
        } else {
            with_scope(segments, around.joined.len())
        };
        self.trie.replace(block, &cuts);
        for (sibling, scope_len) in around.siblings {
            let mut cuts = self.trie.cuts(sibling);
            for cut in &mut cuts {
                let value = Hit::of(cut.leaf).value;
                if let Identity::Is(_) = identity(cut.first, value) {
                    cut.leaf = leaf_of(value, scope_len);
                }
            }
            self.trie.replace(sibling, &cuts);
        }
        self.trie.tidy();
    }

    /// Finds what changes around `block` when it has the identities of `summary`.
    fn look_around(
        &self,
        block: Block<B>,
        summary: Summary,
        identity: &impl Fn(B, u32) -> Identity,
    ) -> Around<B> {
        let (mut joined, mut joining, mut siblings) = (block, Vec::new(), Vec::new());
        let (mut sum, mut inside) = (summary, block);
        while let Some((parent, sibling)) = inside.parent() {
            let beside = known(self, sibling, identity);
            let with = sum.and(beside.summary);
            match (sum, with, beside.summary) {
                (Summary::Any | Summary::One(_), Summary::Any | Summary::One(_), _) => {
                    joined = parent;
                    joining.push((sibling, beside.scope_len));
                }
                (_, _, Summary::Many) => break,
                (_, _, Summary::One(_)) if beside.scope_len == Some(sibling.len()) => break,
                (_, _, Summary::One(_)) => siblings.push((sibling, sibling.len())),
                (_, _, Summary::Any) => {}
            }
            (sum, inside) = (with, parent);
        }
        let differs = |known: Option<u8>| known.is_some_and(|scope_len| scope_len != joined.len());
        let joining = joining.into_iter().filter(|&(_, known)| differs(known));
        siblings.extend(joining.map(|(sibling, _)| (sibling, joined.len())));
        Around { joined, siblings }
    }
}

/// What changes around a block.
struct Around<B> {
    /// The largest block around it with one identity; the block itself if it has several.
    joined: Block<B>,
    /// Blocks beside it whose scope changes, and to what.
    siblings: Vec<(Block<B>, u8)>,
}

/// Segments of one identity as cuts.
fn with_scope<B: Bits>(segments: &[Segment<B>], len: u8) -> Vec<Cut<B>> {
    let mut cuts = Vec::with_capacity(segments.len());
    for segment in segments {
        let scope_len = match segment.identity {
            Identity::Any { scope_len } => scope_len,
            Identity::Is(_) => len,
        };
        scopes::push(&mut cuts, segment.first, leaf_of(segment.value, scope_len));
    }
    cuts
}
