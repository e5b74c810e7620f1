//! Scopes from identities: which aligned blocks hold one identity only.
//!
//! Take the maximal runs of segments that agree with one identity ([`Summary::Any`] agrees with all,
//! so a run of it belongs to the runs on both sides), and cut each run into the fewest aligned blocks.
//! Every address lies in exactly one of them, and its length is the scope.

use super::trie::Cut;
use super::{Identity, Segment, Summary, leaf_of};
use crate::prefix::{Bits, Block};

/// Values and scopes of the segments of `block`, neighbours apart. Right where the whole of `block`
/// has more than one identity, or is everything.
pub(super) fn cuts_of<B: Bits>(block: Block<B>, segments: &[Segment<B>]) -> Vec<Cut<B>> {
    let mut cuts: Vec<Cut<B>> = Vec::with_capacity(segments.len() + segments.len() / 2);
    split(block, segments, |first, value, scope_len| push(&mut cuts, first, leaf_of(value, scope_len)));
    cuts
}

/// Adds a cut, or lets the last one run on if it says the same.
pub(super) fn push<B: Bits>(cuts: &mut Vec<Cut<B>>, first: B, leaf: u32) {
    if cuts.last().is_none_or(|last| last.leaf != leaf) {
        cuts.push(Cut { first, leaf });
    }
}

/// A maximal run of areas that agree with one identity.
struct Run {
    /// First area that agrees.
    start: usize,
    /// Area after the last.
    end: usize,
}

/// Calls `found` for each maximal run of `count` areas that has an identity, in order. Runs share only
/// areas of [`Summary::Any`]; an area of [`Summary::Many`] is in none.
fn runs(count: usize, area: impl Fn(usize) -> Summary, mut found: impl FnMut(u32, Run)) {
    let mut at = 0;
    // First area after the last that disagrees with what comes next.
    let mut start = 0;
    while at < count {
        let here = area(at);
        match here {
            Summary::Any => at += 1,
            Summary::Many => {
                at += 1;
                start = at;
            }
            Summary::One(id) => {
                let mut end = at;
                let mut after_last = at;
                while end < count && (area(end) == Summary::Any || area(end) == here) {
                    end += 1;
                    if area(end - 1) != Summary::Any {
                        after_last = end;
                    }
                }
                found(id, Run { start, end });
                // What was Any at the end of this run may begin the next one.
                start = after_last;
                at = end;
            }
        }
    }
}

/// Calls `emit` for the fewest aligned blocks that make up `first..=last`, in order.
fn aligned_blocks<B: Bits>(first: B, last: B, mut emit: impl FnMut(Block<B>)) {
    let mut next = Some(first);
    while let Some(start) = next {
        let mut len = B::LEN - start.trailing_zeros();
        while Block::around(start, len).last() > last {
            len += 1;
        }
        let block = Block::around(start, len);
        emit(block);
        next = if block.last() < last { block.last().next() } else { None };
    }
}

/// Cuts the segments of a block into entries `(first, value, scope)`.
fn split<B: Bits>(block: Block<B>, segments: &[Segment<B>], mut emit: impl FnMut(B, u32, u8)) {
    let area = |at: usize| Summary::of(segments[at].identity);
    let last_of =
        |at: usize| segments.get(at + 1).and_then(|next| next.first.prev()).unwrap_or_else(|| block.last());
    let mut done = 0;
    runs(segments.len(), area, |_, run| {
        let mut at = done;
        let pass_any = |at: &mut usize, emit: &mut dyn FnMut(B, u32, u8)| {
            while *at < run.end {
                let Identity::Any { scope_len } = segments[*at].identity else { break };
                emit(segments[*at].first, segments[*at].value, scope_len);
                *at += 1;
            }
        };
        pass_any(&mut at, &mut emit);
        aligned_blocks(segments[run.start].first, last_of(run.end - 1), |part| {
            while at < run.end && segments[at].first <= part.last() {
                emit(segments[at].first.max(part.first()), segments[at].value, part.len());
                if last_of(at) > part.last() {
                    break;
                }
                at += 1;
                pass_any(&mut at, &mut emit);
            }
        });
        done = run.end;
    });
    for segment in &segments[done..] {
        if let Identity::Any { scope_len } = segment.identity {
            emit(segment.first, segment.value, scope_len);
        }
    }
}
