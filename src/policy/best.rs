//! The few contenders of a cluster that serve a key at least cost.
//!
//! A cluster may have dozens of appliances and an answer names a handful, so nothing is sorted: one
//! pass keeps the best `count`. Where all capacities are equal the pass does not even need costs. The
//! cost of [`Contender::cost`] then falls as the drawn number `x` grows, so the largest `x` win; only
//! the rounding of the logarithm could put two of them in another order, which takes two draws less
//! than [`SAFE_GAP`] apart. Then, once in a billion decisions, costs decide as they do elsewhere.
//! Layer 4. The slow twin is in the tests below: it sorts.

use super::rendezvous::{Contender, KeyHash, draw};
use std::ops::Range;

/// Contenders kept, at most.
pub const KEPT_MAX: usize = 16;

/// Draws this far apart have different costs, and in the order of the draws.
///
/// With `y`, `n`, `frac` as the definition of the cost has them: between two draws of equal `n` that
/// differ by `d`, `y` differs by at least `d`; `frac` is linear between table entries, and the
/// smallest difference of neighbouring entries is above 2^39 over 2^55 values of `y`, so `frac`
/// differs by more than `d / 2^16`, less 1 for rounding: above 2^2 for 2^19. Of different `n` are
/// `n + 1 - frac` on either side of a whole number, and falls all the same.
const SAFE_GAP: u64 = 1 << 19;

/// Positions of the best contenders, best first.
#[derive(Debug, Clone, Copy)]
pub struct Best {
    kept: [u32; KEPT_MAX],
    len: usize,
}

impl Best {
    /// The positions.
    pub fn positions(&self) -> &[u32] {
        &self.kept[..self.len]
    }
}

/// Contenders in a row, their parts apart, so that numbers are drawn for several at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LineUp {
    hashes: Vec<u64>,
    inverses: Vec<u64>,
}

impl FromIterator<Contender> for LineUp {
    fn from_iter<I: IntoIterator<Item = Contender>>(contenders: I) -> Self {
        let (hashes, inverses) = contenders.into_iter().map(Contender::parts).unzip();
        Self { hashes, inverses }
    }
}

impl LineUp {
    /// The `count` (1 to [`KEPT_MAX`]) of the contenders in `range` that serve `key` at least cost,
    /// cheapest first, as positions in the range; equal costs fall to the lower position.
    /// `is_uniform`: all capacities are equal.
    pub fn best(&self, range: Range<usize>, is_uniform: bool, key: KeyHash, count: usize) -> Best {
        debug_assert!((1..=KEPT_MAX).contains(&count), "as many as an answer can name");
        let (hashes, inverses) = (&self.hashes[range.clone()], &self.inverses[range]);
        if is_uniform && let Some(best) = best_by_draw(hashes, key, count) {
            return best;
        }
        let mut row = Row::<u128>::new(u128::MAX, count);
        for (at, (&hash, &inverse)) in hashes.iter().zip(inverses).enumerate() {
            row.offer(Contender::of_parts(hash, inverse).cost(key), at as u32);
        }
        row.best(hashes.len())
    }
}

/// The same by drawn numbers, of contenders by their hashes; `None` when two of them are too close for that.
fn best_by_draw(contenders: &[u64], key: KeyHash, count: usize) -> Option<Best> {
    // One more than asked for: the first that loses must not be close either.
    let wanted = (count + 1).min(contenders.len().max(1));
    // Draws are evenly spread: about twice as many as are wanted lie below this, and the others are
    // passed over without luck deciding a branch. Where they are too few after all, all are offered.
    let share = u64::MAX / contenders.len().max(1) as u64;
    let mut row = Row::new(share.saturating_mul(2 * wanted as u64 + 2), wanted);
    offer_all(contenders, key, &mut row);
    if !row.is_full() {
        row = Row::new(u64::MAX, wanted);
        offer_all(contenders, key, &mut row);
    }
    let kept = &row.kept[..row.count.min(contenders.len())];
    let is_clear = kept.windows(2).all(|pair| pair[1].0 - pair[0].0 >= SAFE_GAP);
    is_clear.then(|| {
        let mut best = row.best(contenders.len());
        best.len = best.len.min(count);
        best
    })
}

/// Contenders whose numbers are drawn in one go.
const DRAWN_TOGETHER: usize = 32;

/// Offers what contenders draw: the more, the cheaper.
#[inline]
fn offer_all(contenders: &[u64], key: KeyHash, row: &mut Row<u64>) {
    if contenders.len() <= DRAWN_TOGETHER / 4 {
        let costs = contenders.iter().map(|&hash| !draw(hash, key));
        return costs.enumerate().for_each(|(at, cost)| row.offer(cost, at as u32));
    }
    for (part, contenders) in contenders.chunks(DRAWN_TOGETHER).enumerate() {
        let mut costs = [u64::MAX; DRAWN_TOGETHER];
        for (cost, &hash) in costs.iter_mut().zip(contenders) {
            *cost = !draw(hash, key);
        }
        for (at, &cost) in costs[..contenders.len()].iter().enumerate() {
            row.offer(cost, (part * DRAWN_TOGETHER + at) as u32);
        }
    }
}

/// The smallest offers so far, smallest first.
struct Row<T> {
    kept: [(T, u32); KEPT_MAX + 1],
    count: usize,
}

impl<T: Copy + Ord> Row<T> {
    /// Nothing offered; `most` is above all offers.
    fn new(most: T, count: usize) -> Self {
        Self { kept: [(most, u32::MAX); KEPT_MAX + 1], count }
    }

    /// Takes an offer in if it is among the smallest; of equal ones the first stays ahead.
    #[inline]
    fn offer(&mut self, cost: T, at: u32) {
        let last = self.count - 1;
        if cost >= self.kept[last].0 {
            return;
        }
        let mut place = last;
        while place > 0 && cost < self.kept[place - 1].0 {
            self.kept[place] = self.kept[place - 1];
            place -= 1;
        }
        self.kept[place] = (cost, at);
    }

    /// Whether as many offers were taken as it keeps.
    fn is_full(&self) -> bool {
        self.kept[self.count - 1].1 != u32::MAX
    }

    /// The positions kept, of `offered`.
    fn best(&self, offered: usize) -> Best {
        let len = self.count.min(offered).min(KEPT_MAX);
        let mut kept = [0; KEPT_MAX];
        for (to, from) in kept.iter_mut().zip(&self.kept[..len]) {
            *to = from.1;
        }
        Best { kept, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow twin.
    fn sorted(contenders: &[Contender], key: KeyHash, count: usize) -> Vec<u32> {
        let mut all: Vec<(u128, u32)> =
            contenders.iter().enumerate().map(|(at, one)| (one.cost(key), at as u32)).collect();
        all.sort_unstable();
        all.into_iter().take(count).map(|(_, at)| at).collect()
    }

    #[test]
    fn agrees_with_sorting_all_by_cost() {
        for size in [1, 2, 3, 15, 16, 17, 64, 200] {
            for (is_uniform, capacity) in [(true, [40_000, 40_000]), (false, [10_000, 100_000])] {
                let contender = |n: usize| Contender::new(&format!("a{n:03}"), capacity[n % 2]);
                let contenders: Vec<_> = (0..size).map(contender).collect();
                let line_up: LineUp = contenders.iter().copied().collect();
                for number in 0..300_u32 {
                    let key = KeyHash::of(&number.to_le_bytes());
                    for count in [1, 2, 3, 8, 16] {
                        let found = line_up.best(0..size, is_uniform, key, count);
                        assert_eq!(found.positions(), sorted(&contenders, key, count), "{size} {count}");
                    }
                }
            }
        }
    }

    #[test]
    fn draws_too_close_to_tell_are_told_by_cost() {
        let twice = [Contender::new("a", 1), Contender::new("b", 1), Contender::new("a", 1)];
        let line_up: LineUp = twice.into_iter().collect();
        for number in 0..100_u32 {
            let key = KeyHash::of(&number.to_le_bytes());
            assert!(best_by_draw(&line_up.hashes, key, 2).is_none(), "one of the two is kept, or next");
            for count in 1..=3 {
                assert_eq!(line_up.best(0..3, true, key, count).positions(), sorted(&twice, key, count));
            }
        }
    }

    #[test]
    fn safe_gaps_are_safe() {
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..400_000_u32 {
            x = x.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(u64::from(round));
            // All magnitudes, and table borders.
            let low = (x >> (round % 40)) & (u64::MAX << (round % 3 * 20)) | 1;
            let Some(high) = low.checked_add(SAFE_GAP) else { continue };
            assert!(Contender::cost_of_draw(high) < Contender::cost_of_draw(low), "{low:#x}");
        }
    }
}
