//! How many signatures a worker may make a second.
//!
//! A signature costs as much as tens of answers, and anyone can ask for names that have none yet. So
//! signing is paid from purses that fill at a fixed rate and hold what a second brings: one for queries
//! over UDP, whose sender may be invented, and one for connections, whose peer is real. Names that
//! anyone can invent leave half of a purse to names that exist. Layer 3; time is passed in.

use crate::units::UnixMs;

/// Which purse a signature is paid from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purse {
    /// Queries over UDP.
    Datagram,
    /// Queries over connections.
    Stream,
}

/// A purse: signatures that may be made, in thousandths.
#[derive(Debug, Clone, Copy)]
struct Purses {
    datagram: u64,
    stream: u64,
}

/// A worker's purses.
#[derive(Debug, Clone, Copy)]
pub struct Budgets {
    left: Option<Purses>,
    /// When they were filled last.
    filled: UnixMs,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { left: None, filled: UnixMs(0) }
    }
}

impl Budgets {
    /// Thousandths of one signature.
    const ONE: u64 = 1000;

    /// Pays for one signature at `now`, if `per_s` a second allow it. What is `invented` is paid only
    /// while more than half of the purse is left.
    pub fn pay(&mut self, purse: Purse, per_s: u32, is_invented: bool, now: UnixMs) -> bool {
        let full = u64::from(per_s) * Self::ONE;
        let left = self.left.get_or_insert(Purses { datagram: full, stream: full });
        // One signature in a thousandth of a second for each one a second is what a purse gains.
        let gained = now.since(self.filled).saturating_mul(u64::from(per_s));
        self.filled = now;
        left.datagram = left.datagram.saturating_add(gained).min(full);
        left.stream = left.stream.saturating_add(gained).min(full);
        let left = match purse {
            Purse::Datagram => &mut left.datagram,
            Purse::Stream => &mut left.stream,
        };
        let kept = if is_invented { full / 2 } else { 0 };
        let is_paid = *left >= kept + Self::ONE;
        *left -= if is_paid { Self::ONE } else { 0 };
        is_paid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signatures paid out of 100 wanted at `at_ms`.
    fn paid(budgets: &mut Budgets, purse: Purse, is_invented: bool, at_ms: u64) -> usize {
        (0..100).filter(|_| budgets.pay(purse, 10, is_invented, UnixMs(at_ms))).count()
    }

    #[test]
    fn purses_hold_a_second_and_invented_names_leave_half() {
        let mut budgets = Budgets::default();
        assert_eq!(paid(&mut budgets, Purse::Datagram, true, 1000), 5);
        assert_eq!(paid(&mut budgets, Purse::Datagram, false, 1000), 5);
        assert_eq!(paid(&mut budgets, Purse::Stream, false, 1000), 10, "a purse of its own");
        assert_eq!(paid(&mut budgets, Purse::Datagram, false, 1099), 0);
        assert_eq!(paid(&mut budgets, Purse::Datagram, false, 1101), 1);
        assert_eq!(paid(&mut budgets, Purse::Datagram, true, 1500), 0);
        assert_eq!(
            paid(&mut budgets, Purse::Datagram, false, 900),
            4,
            "a clock that goes back gives nothing"
        );
        assert_eq!(paid(&mut budgets, Purse::Datagram, false, 1_000_000), 10);
    }
}
