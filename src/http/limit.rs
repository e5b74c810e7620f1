//! How many requests a second one client network may make.
//!
//! One budget a network (an IPv4 address, a /64), refilled evenly as in the generic cell rate algorithm: a
//! network that was quiet may make a second's worth at once. All threads share the budgets, so that many
//! connections are no way around them: a table of atomic words of fixed size, without a lock. What is pushed
//! out of it is the budget closest to full, so that what is lost is a client's debt, never its right.
//! Time is passed in. Layer 7. Tests: below, against budgets in a map.

use crate::config;
use crate::prefix::Prefix;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Budgets that share a cache line.
const WAYS: usize = 8;

/// Cache lines: 256 KiB of them.
const LINES: usize = 1 << 12;

/// How long a budget that was not used adds up, microseconds.
const BURST_US: u64 = 1_000_000;

/// Bits of a word that say when a budget is full again, in microseconds: enough for eight years. The others
/// say whose it is.
const TIME_BITS: u32 = 48;

/// How often a budget is tried again that another thread changes at the same time.
const ATTEMPTS: usize = 4;

/// Limits on requests, and whom they do not concern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one network a second; 0: no limit.
    pub requests_per_s: u32,
    /// Peers that are trusted, and with them whomever they speak for.
    pub exempt: Vec<Prefix>,
}

impl From<&config::HttpLimits> for Limits {
    fn from(limits: &config::HttpLimits) -> Self {
        Self { requests_per_s: limits.requests_per_s, exempt: limits.exempt.clone() }
    }
}

impl Limits {
    /// Whether requests that came from `peer` are counted.
    #[inline]
    pub(super) fn concern(&self, peer: IpAddr) -> bool {
        self.requests_per_s != 0 && !self.exempt.iter().any(|prefix| prefix.contains(peer))
    }
}

/// Eight budgets.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

/// The budgets of all networks.
#[derive(Debug)]
pub struct Budgets(Box<[Line]>);

impl Default for Budgets {
    fn default() -> Self {
        Self((0..LINES).map(|_| Line::default()).collect())
    }
}

impl Budgets {
    /// Takes a request of `client` at `now_us` from its budget of `per_s` requests a second; whether there was
    /// one left.
    fn take(&self, client: IpAddr, per_s: u32, now_us: u64) -> bool {
        let key = mix(network(client));
        let Some(line) = self.0.get(key as usize % LINES) else { return true };
        // Never 0, which is nobody's.
        let whose = (key >> TIME_BITS).max(1) << TIME_BITS;
        let each_us = (1_000_000 / u64::from(per_s.max(1))).max(1);
        for _ in 0..ATTEMPTS {
            let (slot, word) = find(line, whose);
            let is_own = word & !TIME_MASK == whose;
            let full_at_us = if is_own { (word & TIME_MASK).max(now_us) } else { now_us };
            if full_at_us + each_us > now_us + BURST_US.max(each_us) {
                return false;
            }
            let next = whose | (full_at_us + each_us) & TIME_MASK;
            if slot.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
        // So many at the same moment: the next ones are counted.
        true
    }
}

/// The time in a word.
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// Where in `line` the budget is that is `whose`; else the one closest to full, to be pushed out. With what is
/// there.
fn find(line: &Line, whose: u64) -> (&AtomicU64, u64) {
    let mut fullest = (&line.0[0], u64::MAX);
    for slot in &line.0 {
        let word = slot.load(Ordering::Relaxed);
        if word & !TIME_MASK == whose {
            return (slot, word);
        }
        if word & TIME_MASK < fullest.1 & TIME_MASK || fullest.1 == u64::MAX {
            fullest = (slot, word);
        }
    }
    fullest
}

/// A number for the network of a client: its IPv4 address, or the /64 of its IPv6 one, which is one
/// machine's to fill.
fn network(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(addr) => u64::from(u32::from(addr)) | 4 << 32,
        IpAddr::V6(addr) => (u128::from(addr) >> 64) as u64,
    }
}

/// Spreads the bits of `value` over all of a word (the finaliser of MurmurHash3).
fn mix(mut value: u64) -> u64 {
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        value = (value ^ value >> 33).wrapping_mul(factor);
    }
    value ^ value >> 33
}

/// The budgets and the time, as a thread has them.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    budgets: Option<Arc<Budgets>>,
    /// Microseconds since the server started.
    pub now_us: u64,
}

impl Pace {
    /// With these budgets.
    pub fn of(budgets: &Arc<Budgets>) -> Self {
        Self { budgets: Some(Arc::clone(budgets)), now_us: 0 }
    }

    /// Whether a request that came from `peer` on behalf of `client` is within `limits`; counts it.
    #[inline]
    pub(super) fn allows(&self, limits: &Limits, peer: IpAddr, client: IpAddr) -> bool {
        let Some(budgets) = &self.budgets else { return true };
        !limits.concern(peer) || budgets.take(client, limits.requests_per_s, self.now_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// A generator of numbers that are the same each time.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(self.0) % end
        }
    }

    /// The same by fractions in a map: what is left, and when that was so.
    struct Slow(HashMap<IpAddr, (f64, u64)>);

    impl Slow {
        fn take(&mut self, client: IpAddr, per_s: u32, now_us: u64) -> bool {
            let most = f64::from(per_s);
            let (left, since) = self.0.entry(client).or_insert((most, now_us));
            *left = (*left + (now_us - *since) as f64 * most / 1e6).min(most);
            *since = now_us;
            let is_left = *left >= 1.0 - 1e-6;
            *left -= if is_left { 1.0 } else { 0.0 };
            is_left
        }
    }

    #[test]
    fn budgets_are_those_of_a_map() {
        for per_s in [1, 5, 100, 1000] {
            let (budgets, mut slow) = (Budgets::default(), Slow(HashMap::new()));
            let mut numbers = Numbers(u64::from(per_s));
            let (mut now_us, mut refused) = (5_000_000, 0);
            for step in 0..200_000 {
                now_us += numbers.below(2_000_000 / u64::from(per_s) / 8 + 1);
                let client = IpAddr::from(Ipv4Addr::from(0x0a00_0000 | numbers.below(4) as u32));
                let (found, expected) =
                    (budgets.take(client, per_s, now_us), slow.take(client, per_s, now_us));
                assert_eq!(found, expected, "{per_s} a second, step {step}");
                refused += u32::from(!found);
            }
            assert!(refused > 10_000, "{per_s}: {refused}");
        }
    }

    #[test]
    fn a_network_is_an_address_or_a_64() {
        let budgets = Budgets::default();
        let take = |client: &str| budgets.take(client.parse().expect("an address"), 1, 0);
        assert!(take("192.0.2.1") && !take("192.0.2.1") && take("192.0.2.2"));
        assert!(!take("::ffff:192.0.2.1"), "the same in its IPv6 form");
        assert!(take("2001:db8::1") && !take("2001:db8::2") && take("2001:db8:0:1::1"));
    }

    #[test]
    fn many_networks_push_out_those_that_owe_least() {
        let budgets = Budgets::default();
        let busy: IpAddr = "192.0.2.1".parse().expect("an address");
        assert!((0..1000).all(|_| budgets.take(busy, 1000, 0)) && !budgets.take(busy, 1000, 0));
        let mut numbers = Numbers(7);
        for _ in 0..100_000 {
            let bits = u128::from(numbers.below(u64::MAX)) << 64;
            assert!(budgets.take(Ipv6Addr::from(bits).into(), 1000, 0));
        }
        assert!(!budgets.take(busy, 1000, 0), "it owes more than any of them");
        assert!(budgets.take(busy, 1000, 2_000_000));
    }

    #[test]
    fn threads_share_a_budget() {
        let budgets = Budgets::default();
        let client: IpAddr = "192.0.2.1".parse().expect("an address");
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| budgets.take(client, 1000, 0)).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        // Those that lose a race many times in a row are let pass.
        assert!((1000..1100).contains(&taken), "{taken}");
    }

    #[test]
    fn who_is_trusted_is_not_counted() {
        let limits = Limits { requests_per_s: 1, exempt: vec!["127.0.0.0/8".parse().expect("a prefix")] };
        let pace = Pace::of(&Arc::default());
        let allows = |peer: [u8; 4], client: [u8; 4]| pace.allows(&limits, peer.into(), client.into());
        for _ in 0..5 {
            assert!(allows([127, 0, 0, 1], [192, 0, 2, 1]));
        }
        assert!(allows([198, 51, 100, 1], [192, 0, 2, 1]) && !allows([198, 51, 100, 1], [192, 0, 2, 1]));
        let none = Limits { requests_per_s: 0, exempt: Vec::new() };
        assert!((0..5).all(|_| pace.allows(&none, [192, 0, 2, 1].into(), [192, 0, 2, 1].into())));
        assert!((0..5).all(|_| Pace::default().allows(
            &limits,
            [192, 0, 2, 1].into(),
            [192, 0, 2, 1].into()
        )));
    }
}
