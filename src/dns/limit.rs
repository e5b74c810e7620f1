//! How much one network of peers may make a server send over UDP, where the sender can be made up.
//!
//! Two budgets for each network that sent no valid cookie, both refilled evenly (a virtual schedule, as
//! in the generic cell rate algorithm): how often it is told the *same* thing, and how many octets it is
//! sent *beyond* what came in its name. The second is the amplification that a victim can be made to feel,
//! whatever the attacker varies. A resolver that asks for many client subnets is told many different
//! things, and never meets the first. What is over a budget is dropped, or every so often answered by a
//! truncated reply, upon which a real peer comes back by TCP; or, to who sent a client cookie, by
//! BADCOOKIE, upon which it comes back with a cookie.
//!
//! The state is a worker's own and of fixed size: an entry that is pushed out was the one closest to a full
//! budget. Layer 7. Tests: below, against budgets in a map.

use crate::config;
use crate::prefix::{Bits, Prefix};
use crate::units::UnixMs;
use std::net::IpAddr;

/// The budgets, and whom they do not concern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Times a second that one network is told the same thing, by all workers together; 0: no limit.
    pub same_per_s: u32,
    /// Octets a second that it is sent beyond what it sends, by all workers together; 0: no limit.
    pub gain_per_s: u32,
    /// Which of the replies over a budget becomes a truncated one: every so many'th; 0: none.
    pub slip: u32,
    /// Leading bits of a peer's address that make its network, IPv4.
    pub network_v4: u8,
    /// The same, IPv6.
    pub network_v6: u8,
    /// Peers that are trusted.
    pub exempt: Vec<Prefix>,
    /// Workers that queries are spread over: each has so many'th part of a budget.
    pub workers: u32,
}

impl Default for Limits {
    /// No limits.
    fn default() -> Self {
        Self {
            same_per_s: 0,
            gain_per_s: 0,
            slip: 0,
            network_v4: 24,
            network_v6: 56,
            exempt: Vec::new(),
            workers: 1,
        }
    }
}

impl Limits {
    /// Those of `dns`, by so many workers together.
    pub fn of(dns: &config::Dns, workers: usize) -> Self {
        let config::Limits { same_per_s, gain_per_s, slip, network_v4, network_v6, ref exempt } = dns.limits;
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        Self { same_per_s, gain_per_s, slip, network_v4, network_v6, exempt: exempt.clone(), workers }
    }

    /// Whether replies to `peer` are counted at all.
    #[inline]
    pub(super) fn concern(&self, peer: IpAddr) -> bool {
        (self.same_per_s != 0 || self.gain_per_s != 0)
            && !self.exempt.iter().any(|prefix| prefix.contains(peer))
    }

    /// A number for the network of `peer`.
    fn network(&self, peer: IpAddr) -> u64 {
        match peer {
            IpAddr::V4(addr) => mix(u64::from(u32::from(addr) & u32::mask(self.network_v4)) | 4 << 32),
            IpAddr::V6(addr) => {
                let bits = u128::from(addr) & u128::mask(self.network_v6);
                mix(mix((bits >> 64) as u64).wrapping_add(bits as u64))
            }
        }
    }
}

/// What becomes of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It is sent.
    Send,
    /// A truncated one is sent instead.
    Slip,
    /// Nothing is sent.
    Drop,
}

/// A reply about to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// To whom.
    pub(super) peer: IpAddr,
    /// What, as a number that equal things share.
    pub(super) what: u64,
    /// Octets of the query.
    pub(super) query_len: usize,
    /// Octets of the reply.
    pub(super) reply_len: usize,
}

/// Entries that a place can hold.
const WAYS: usize = 4;

/// Places.
const SETS: usize = 1 << 14;

/// How long a budget that was not used adds up, microseconds.
const BURST_US: u64 = 1_000_000;

/// A budget of one network.
#[derive(Debug, Clone, Copy, Default)]
struct Budget {
    /// Whose, and of what; 0: nobody's.
    key: u64,
    /// When all that was spent is earned again, microseconds.
    spent_until_us: u64,
}

/// The budgets of a worker, 1 MiB once there is a peer that they concern.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    sets: Box<[[Budget; WAYS]]>,
    /// Replies over a budget.
    over: u32,
}

impl Ledger {
    /// Counts a reply to a peer that `limits` concern, and says what becomes of it.
    pub(super) fn judge(&mut self, limits: &Limits, told: &Told, now: UnixMs) -> Ruling {
        if self.sets.is_empty() {
            self.sets = vec![[Budget::default(); WAYS]; SETS].into();
        }
        let now_us = now.0.saturating_mul(1000);
        let workers = u64::from(limits.workers.max(1));
        let network = limits.network(told.peer);
        let each_us = |per_s: u32| workers * 1_000_000 / u64::from(per_s.max(1));
        let is_same_over = limits.same_per_s != 0
            && !self.spend(mix(network ^ told.what), each_us(limits.same_per_s), now_us);
        let gain = told.reply_len.saturating_sub(told.query_len) as u64;
        let gain_us = (gain * workers * 1_000_000).checked_div(u64::from(limits.gain_per_s)).unwrap_or(0);
        let is_over = is_same_over || gain_us != 0 && !self.spend(network, gain_us, now_us);
        if !is_over {
            return Ruling::Send;
        }
        self.over = self.over.wrapping_add(1);
        match self.over.checked_rem(limits.slip) {
            Some(0) => Ruling::Slip,
            _ => Ruling::Drop,
        }
    }

    /// Spends what takes `cost_us` to be earned from the budget `key`; says whether it was there.
    fn spend(&mut self, key: u64, cost_us: u64, now_us: u64) -> bool {
        let key = key.max(1);
        let set = &mut self.sets[key as usize % SETS];
        let budget = match set.iter_mut().position(|budget| budget.key == key) {
            Some(at) => &mut set[at],
            None => {
                let fullest = set.iter_mut().min_by_key(|budget| budget.spent_until_us);
                let Some(budget) = fullest else { return true };
                *budget = Budget { key, spent_until_us: 0 };
                budget
            }
        };
        let spent_until_us = budget.spent_until_us.max(now_us);
        // What costs more than a burst is still told to who has told nothing yet.
        let is_there = spent_until_us == now_us || spent_until_us + cost_us <= now_us + BURST_US;
        if is_there {
            budget.spent_until_us = spent_until_us + cost_us;
        }
        is_there
    }
}

/// Spreads a number's bits (the finalizer of splitmix64).
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Ten of the same a second, 1,000 octets gained.
    fn limits() -> Limits {
        Limits { same_per_s: 10, gain_per_s: 1000, slip: 2, ..Limits::default() }
    }

    /// A reply of 60 octets to as many.
    fn told(peer: &str, what: u64) -> Told {
        Told { peer: peer.parse().expect("an address"), what, query_len: 60, reply_len: 60 }
    }

    #[test]
    fn the_same_thing_is_told_to_a_network_so_often() {
        let (mut ledger, limits) = (Ledger::default(), limits());
        let mut ask = |peer: &str, what, ms| ledger.judge(&limits, &told(peer, what), UnixMs(ms));
        for _ in 0..10 {
            assert_eq!(ask("192.0.2.1", 7, 5000), Ruling::Send);
        }
        // Every second one over the budget slips, for all of the network.
        let over: Vec<_> = (1..=4).map(|n| ask(&format!("192.0.2.{n}"), 7, 5000)).collect();
        assert_eq!(over, [Ruling::Drop, Ruling::Slip, Ruling::Drop, Ruling::Slip]);
        assert_eq!(ask("192.0.2.1", 8, 5000), Ruling::Send, "something else");
        assert_eq!(ask("192.0.3.1", 7, 5000), Ruling::Send, "another network");
        assert_eq!(ask("192.0.2.1", 7, 5099), Ruling::Drop);
        assert_eq!(ask("192.0.2.1", 7, 5100), Ruling::Send, "a tenth of a second earns one");
        assert_eq!(ask("192.0.2.1", 7, 5100), Ruling::Slip);
    }

    #[test]
    fn what_is_gained_is_bounded_whatever_is_asked() {
        let (mut ledger, limits) = (Ledger::default(), limits());
        let mut sent = 0;
        for what in 0..1000 {
            let told = Told { reply_len: 160, ..told("2001:db8:0:7::1", what) };
            sent += usize::from(ledger.judge(&limits, &told, UnixMs(9)) == Ruling::Send);
        }
        assert_eq!(sent, 10);
        let no_more = told("2001:db8:0:1::9", 5000);
        assert_eq!(ledger.judge(&limits, &no_more, UnixMs(9)), Ruling::Send, "no octet is gained");
        let large = Told { reply_len: 4000, ..told("2001:db8:1::", 1) };
        assert_eq!(ledger.judge(&limits, &large, UnixMs(9)), Ruling::Send, "the first, however large");
        assert_ne!(ledger.judge(&limits, &large, UnixMs(9)), Ruling::Send);
        assert_ne!(ledger.judge(&limits, &large, UnixMs(3900)), Ruling::Send);
        assert_eq!(ledger.judge(&limits, &large, UnixMs(3949)), Ruling::Send);
    }

    #[test]
    fn by_default_a_public_resolver_is_never_slipped_and_loopback_is_not_concerned() {
        let dns = config::Dns::default();
        let limits = Limits::of(&dns, 2);
        assert!(!limits.concern("127.9.9.9".parse().expect("an address")));
        assert!(!limits.concern("::1".parse().expect("an address")));
        let mut ledger = Ledger::default();
        // Twenty thousand subnets a second, asked by the hosts of a /24, two IPv6 addresses an answer;
        // half of it falls to one of two workers.
        for n in 0..100_000_u64 {
            let peer = IpAddr::from([8, 8, 8, n as u8]);
            assert!(limits.concern(peer));
            let told = Told { peer, what: mix(n), query_len: 71, reply_len: 71 + 56 };
            assert_eq!(ledger.judge(&limits, &told, UnixMs(1_000_000 + n / 10)), Ruling::Send, "{n}");
        }
    }

    #[test]
    fn budgets_are_those_of_a_map_where_all_of_them_have_room() {
        let mut seed = 0x5eed_0004_u64;
        let mut random = |below: u64| {
            seed = mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
            seed % below
        };
        let limits = Limits { slip: 1, workers: 3, ..limits() };
        let mut ledger = Ledger::default();
        // Microseconds that each budget has left, and when it was looked at.
        let mut budgets: HashMap<(u64, Option<u64>), (u64, u64)> = HashMap::new();
        let mut now = 10_000;
        let mut seen = [0; 2];
        for _ in 0..50_000 {
            now += random(3);
            let network = random(40);
            let what = random(4);
            let gain = random(200);
            let peer = IpAddr::from([10, 0, network as u8, random(256) as u8]);
            let told = Told { peer, what, query_len: 60, reply_len: 60 + gain as usize };
            let mut spend = |key, cost: u64| {
                let (left, at) = budgets.entry(key).or_insert((BURST_US, now * 1000));
                *left = (*left + now * 1000 - *at).min(BURST_US);
                *at = now * 1000;
                let is_there = *left == BURST_US || *left >= cost;
                if is_there {
                    *left = left.saturating_sub(cost);
                }
                is_there
            };
            let expected = spend((network, Some(what)), 3 * 100_000)
                && (gain == 0 || spend((network, None), gain * 3 * 1_000_000 / 1000));
            let found = ledger.judge(&limits, &told, UnixMs(now));
            assert_eq!(found == Ruling::Send, expected);
            seen[usize::from(expected)] += 1;
        }
        assert!(seen.iter().all(|&count| count > 2_000), "{seen:?}");
    }

    #[test]
    fn a_flood_of_networks_pushes_out_those_with_the_fullest_budgets_first() {
        let (mut ledger, limits) =
            (Ledger::default(), Limits { same_per_s: 10, slip: 0, ..Limits::default() });
        let mut ask = |peer: IpAddr, ms| {
            let told = Told { peer, what: 1, query_len: 60, reply_len: 60 };
            ledger.judge(&limits, &told, UnixMs(ms))
        };
        let busy = IpAddr::from([192, 0, 2, 1]);
        (0..10).for_each(|_| _ = ask(busy, 1000));
        for n in 0..40_000_u32 {
            ask(IpAddr::from((n << 8).to_be_bytes()), 1000);
        }
        assert_eq!(ask(busy, 1000), Ruling::Drop);
    }
}
