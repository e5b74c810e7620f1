//! Scopes from identities: which aligned blocks hold one identity only.
//!
//! Both levels of the table ask the same question of a row of areas, each with a summary: take the
//! maximal runs that agree with one identity ([`Summary::Any`] agrees with all, so a run of it
//! belongs to the runs on both sides), and cut each run into the fewest aligned blocks. Every address
//! lies in exactly one of them, and its length is the scope.

use super::{Chunk, Identity, Segment, Summary};
use crate::prefix::{Bits, Block};
use std::sync::Arc;

/// A maximal run of areas that agree with one identity.
struct Run {
    /// First area that agrees.
    start: usize,
    /// Area after the last.
    end: usize,
}

/// Calls `found` for each maximal run that has an identity, in order. Runs share only areas of
/// [`Summary::Any`]; an area of [`Summary::Many`] is in none.
fn runs(areas: &[Summary], mut found: impl FnMut(u32, Run)) {
    let mut at = 0;
    // First area after the last that disagrees with what comes next.
    let mut start = 0;
    while at < areas.len() {
        match areas[at] {
            Summary::Any => at += 1,
            Summary::Many => {
                at += 1;
                start = at;
            }
            Summary::One(id) => {
                let mut end = at;
                let mut after_last = at;
                while end < areas.len() && (areas[end] == Summary::Any || areas[end] == areas[at]) {
                    end += 1;
                    if areas[end - 1] != Summary::Any {
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

/// Cuts the segments of a block with several identities into entries `(first, value, scope)`.
pub(super) fn split<B: Bits>(block: Block<B>, segments: &[Segment<B>], mut emit: impl FnMut(B, u32, u8)) {
    let areas: Vec<Summary> = segments.iter().map(|s| Summary::of(s.identity)).collect();
    let last_of =
        |at: usize| segments.get(at + 1).and_then(|next| next.first.prev()).unwrap_or_else(|| block.last());
    let mut done = 0;
    runs(&areas, |_, run| {
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

/// The scope of each chunk that has one identity; 0 for the others, which never ask.
pub(super) fn of_chunks<B: Bits>(chunks: &[Arc<Chunk<B>>]) -> Box<[u8]> {
    let areas: Vec<Summary> = chunks.iter().map(|chunk| chunk.summary).collect();
    let mut scopes = vec![0; chunks.len()].into_boxed_slice();
    runs(&areas, |_, run| {
        let mut at = run.start;
        aligned_blocks(chunks[run.start].block.first(), chunks[run.end - 1].block.last(), |part| {
            while at < run.end && part.covers(chunks[at].block) {
                if areas[at] != Summary::Any {
                    scopes[at] = part.len();
                }
                at += 1;
            }
        });
    });
    scopes
}
