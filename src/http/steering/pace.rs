//! How fast its pathways are to one session, from the throughput that its player reports: whether one of them
//! is so slow that another is to be tried.
//!
//! A report is what the player got, which its own line limits as the pathway does: a phone on a train is slow
//! by any pathway. So a session demotes one pathway only, and when the one it then uses is slow too, it was
//! not the pathway: the demotion ends, and there is no other until a fast report comes.
//!
//! ```text
//!          3 low reports of A in a row            6 polls, or a long silence
//! level ───────────────────────────────► A demoted ─────────────────────────► level
//!   ▲                                        │ 3 low reports of B in a row
//!   └──────── one fast report ──── slow line ◄┘
//! ```
//! Three, because players report a mean of a few segments: one low report is a tunnel, two are a coincidence.
//! Low is below the configured mark, fast a quarter above it; between them nothing changes, so that a pathway
//! at the mark does not flap. Six polls are half an hour at the default TTL, about as long as a peak lasts
//! that a cache is busy for. The state rides in the session's token: no server has to remember anybody.

use crate::metrics::Label;
use crate::policy::rendezvous::KeyHash;

/// Low reports in a row that demote.
const LOW_COUNT: u8 = 3;

/// Polls that a demotion lasts.
const DEMOTED_POLLS: u8 = 6;

/// Octets of a [`Pace`].
pub(super) const PACE_LEN: usize = 11;

/// A pathway's id, hashed; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PathwayHash(u32);

impl PathwayHash {
    /// Of a pathway's id.
    pub(super) fn of(id: &str) -> Self {
        Self((KeyHash::of(id.as_bytes()).bits() as u32).max(1))
    }
}

/// What is remembered of a session's throughput.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pace {
    /// Hash of the pathway that low reports were about; 0: none.
    watched: u32,
    /// Low reports about it in a row.
    low_count: u8,
    /// Hash of the pathway that is demoted; 0: none.
    demoted: u32,
    /// Polls until it is not.
    polls_left: u8,
    /// More than one pathway was slow.
    is_line_slow: bool,
}

/// What a poll changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demotion {
    /// A pathway is demoted.
    Demoted,
    /// Its time is over.
    Promoted,
    /// Another was slow too: it was not the pathway.
    SlowLine,
}

impl Label for Demotion {
    const ALL: &'static [Self] = &[Self::Demoted, Self::Promoted, Self::SlowLine];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Demoted => "demoted",
            Self::Promoted => "promoted",
            Self::SlowLine => "slow_line",
        }
    }
}

impl Pace {
    /// Takes one poll's `reports` of pathways and bits a second; below `low_bps` is low. What that changed,
    /// if it did.
    pub(super) fn poll(&mut self, reports: &[(PathwayHash, u64)], low_bps: u64) -> Option<Demotion> {
        let mut change = None;
        if self.demoted != 0 {
            self.polls_left = self.polls_left.saturating_sub(1);
            if self.polls_left == 0 {
                *self = Self::default();
                change = Some(Demotion::Promoted);
            }
        }
        let is_fast = |bps: u64| bps >= low_bps.saturating_add(low_bps / 4);
        let is_watched_told = reports.iter().any(|(pathway, _)| pathway.0 == self.watched);
        for &(PathwayHash(pathway), bps) in reports.iter().filter(|(pathway, _)| pathway.0 != self.demoted) {
            if is_fast(bps) {
                self.is_line_slow = false;
            }
            if pathway == self.watched {
                if is_fast(bps) {
                    self.low_count = 0;
                } else if bps < low_bps {
                    self.low_count = self.low_count.saturating_add(1).min(LOW_COUNT);
                }
            } else if bps < low_bps && !is_watched_told {
                (self.watched, self.low_count) = (pathway, 1);
            }
        }
        if self.low_count < LOW_COUNT || self.is_line_slow {
            return change;
        }
        self.low_count = 0;
        if self.demoted == 0 {
            (self.demoted, self.polls_left) = (self.watched, DEMOTED_POLLS);
            Some(Demotion::Demoted)
        } else {
            (self.demoted, self.is_line_slow) = (0, true);
            Some(Demotion::SlowLine)
        }
    }

    /// Whether the pathway `id` is to come after others.
    pub(super) fn is_demoted(&self, id: &str) -> bool {
        self.demoted != 0 && PathwayHash::of(id).0 == self.demoted
    }

    /// For a token.
    pub(super) fn to_octets(self) -> [u8; PACE_LEN] {
        let [w0, w1, w2, w3] = self.watched.to_be_bytes();
        let [d0, d1, d2, d3] = self.demoted.to_be_bytes();
        [w0, w1, w2, w3, self.low_count, d0, d1, d2, d3, self.polls_left, u8::from(self.is_line_slow)]
    }

    /// From a token, which was ours.
    pub(super) fn of_octets(octets: [u8; PACE_LEN]) -> Self {
        let [w0, w1, w2, w3, low_count, d0, d1, d2, d3, polls_left, is_line_slow] = octets;
        Self {
            watched: u32::from_be_bytes([w0, w1, w2, w3]),
            low_count,
            demoted: u32::from_be_bytes([d0, d1, d2, d3]),
            polls_left,
            is_line_slow: is_line_slow == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays polls, written as `a900 b2000,c5`: pathways and kbit/s, `-` for a poll without a report, against
    /// a mark of 1000 kbit/s. What each changed, or which pathway of `a` to `c` is demoted then.
    fn play(polls: &str) -> String {
        let mut pace = Pace::default();
        let one = |poll: &str| {
            let report = |text: &str| {
                let (pathway, kbps) = text.split_at_checked(1)?;
                Some((PathwayHash::of(pathway), kbps.parse::<u64>().ok()? * 1000))
            };
            let reports: Vec<_> = poll.split(',').filter_map(report).collect();
            pace = Pace::of_octets(pace.to_octets());
            let change = pace.poll(&reports, 1_000_000);
            let demoted = ["a", "b", "c"].into_iter().find(|id| pace.is_demoted(id)).unwrap_or(".");
            change.map_or_else(|| demoted.to_owned(), |change| format!("{demoted}:{}", change.name()))
        };
        polls.split(' ').map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn one_low_report_changes_nothing() {
        assert_eq!(play("a900 a900 a5000 a900 a900 a1250"), ". . . . . .");
        // Near the mark it neither counts nor forgives.
        assert_eq!(play("a900 a1100 a900 a1249 a999"), ". . . . a:demoted");
        assert_eq!(play("a1000 a1000 a1000 a1000"), ". . . .");
        assert_eq!(play("- - a900 - a900 - - a900"), ". . . . . . . a:demoted");
    }

    #[test]
    fn a_demotion_lasts_six_polls() {
        assert_eq!(
            play("a1 a1 a1 b9000 b9000 b9000 - - b9000 a9000"),
            ". . a:demoted a a a a a .:promoted ."
        );
        // Whoever stays on it all the same is not told twice.
        assert_eq!(play("a1 a1 a1 a1 a1 a1 a1 a1 a1"), ". . a:demoted a a a a a .:promoted");
    }

    #[test]
    fn a_slow_line_demotes_nobody() {
        assert_eq!(play("a1 a1 a1 b1 b1 b1 a1 a1 a1 a1"), ". . a:demoted a a .:slow_line . . . .");
        // Until it is fast again.
        assert_eq!(
            play("a1 a1 a1 b1 b1 b1 b1 b9000 b1 b1 b1"),
            ". . a:demoted a a .:slow_line . . . . b:demoted"
        );
    }

    #[test]
    fn of_several_pathways_one_is_watched() {
        assert_eq!(play("a1,b9000 a1,b9000 a1,b9000"), ". . a:demoted");
        assert_eq!(play("a1,b1 a1,b1 a1,b1"), ". . b:demoted");
        assert_eq!(play("a1 b1 a1 b1 a1 b1"), ". . . . . .");
    }
}
