//! Medians, and how sure they are.

/// The middle of `values`; not a number where there are none.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

/// An interval that holds the true median with 95 in 100, whatever the distribution: between two of the
/// values, as far from the ends as the binomial of a fair coin lets it. All values where they are few.
pub fn interval(values: &[f64]) -> (f64, f64) {
    let sorted = sorted(values);
    let Some(last) = sorted.len().checked_sub(1) else { return (f64::NAN, f64::NAN) };
    // The chance that at most `at` of the values are on one side of the median.
    let mut chance = 0.5_f64.powi(sorted.len() as i32);
    let mut below = chance;
    let mut at = 0;
    loop {
        chance *= (sorted.len() - at) as f64 / (at + 1) as f64;
        below += chance;
        if below > 0.025 || (at + 1) * 2 > last {
            return (sorted[at], sorted[last - at]);
        }
        at += 1;
    }
}

/// In order.
fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Holds the above to known values: no test harness runs in a bench.
///
/// # Panics
/// When one differs.
pub fn check() {
    let to = |count: u32| (1..=count).map(f64::from).collect::<Vec<_>>();
    assert!(median(&[]).is_nan() && interval(&[]).0.is_nan());
    assert_eq!((median(&to(1)), median(&to(4)), median(&to(9))), (1.0, 2.5, 5.0));
    // From tables of the binomial: two of nine and five of twenty may be beyond.
    let ends = [1, 5, 9, 20].map(|count| interval(&to(count)));
    assert_eq!(ends, [(1.0, 1.0), (1.0, 5.0), (2.0, 8.0), (6.0, 15.0)]);
}
