//! Packets by the hundred million: one answer each, and what can be checked of it in passing. The
//! invariants of the fuzz target say more of each packet; this is for the number.

use super::invariants::{servers, snapshots};
use super::{Dice, mutate};
use std::net::IpAddr;
use steerd::dns::{Context, Dropped, Limits, Outcome, Scratch, Server, Transport, answer};
use steerd::snapshot::Snapshot;
use steerd::units::UnixMs;

/// What packets are thrown at.
pub struct Target {
    worlds: [&'static Snapshot; 3],
    servers: [Server; 2],
    scratch: Scratch,
    out: Vec<u8>,
    /// Packets so far, by outcome.
    pub outcomes: [u64; Outcome::ALL.len()],
}

impl Target {
    /// Servers whose limits concern every peer, of an unsigned and a signed zone, in each state that a
    /// node can be in.
    pub fn new() -> Self {
        let worlds = snapshots();
        let limits = Limits { same_per_s: 20, gain_per_s: 10_000, slip: 2, ..Limits::default() };
        let servers = servers().each_ref().map(|server| Server { limits: limits.clone(), ..server.clone() });
        Self { worlds, servers, scratch: Scratch::new(), out: vec![0; 65_535], outcomes: [0; _] }
    }

    /// Packets so far.
    pub fn count(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Answers one packet and checks the reply.
    fn take(&mut self, packet: &[u8], peer: IpAddr, transport: Transport) {
        let Self { worlds, servers, scratch, out, outcomes } = self;
        let count: u64 = outcomes.iter().sum();
        let (world, server) = (worlds[count as usize % 3], &servers[count as usize % 2]);
        let context = Context { world, server, now: UnixMs(1 << 40 | count >> 4) };
        let room = if transport == Transport::Udp { 4096 } else { out.len() };
        let answered = answer(&context, scratch, peer, transport, packet, &mut out[..room]);
        outcomes[answered.outcome.index()] += 1;
        let is_silent = matches!(answered.outcome, Outcome::Dropped(_));
        assert_eq!(answered.len == 0, is_silent, "{packet:02x?}");
        if is_silent {
            let is_none = packet.len() < 12 || packet[2] & 0x80 != 0;
            assert!(is_none || answered.outcome == Outcome::Dropped(Dropped::Limited), "{packet:02x?}");
            return;
        }
        check(packet, &out[..answered.len], answered.outcome, transport);
    }
}

/// Checks a reply: header, limits, and that its records end where it ends.
fn check(packet: &[u8], reply: &[u8], outcome: Outcome, transport: Transport) {
    let is_udp = transport == Transport::Udp;
    assert!(packet.len() >= 12 && packet[2] & 0x80 == 0, "{packet:02x?}");
    // RD comes back where the opcode is known (RFC 8906 section 3.1.4): it is QUERY alone.
    let repeated = if packet[2] & 0x78 == 0 { 0x79 } else { 0x78 };
    assert_eq!((&reply[..2], reply[2] & 0xf9), (&packet[..2], packet[2] & repeated | 0x80), "{packet:02x?}");
    let is_truncated = matches!(outcome, Outcome::Truncated | Outcome::Slipped);
    assert_eq!(reply[2] & 2 != 0, is_truncated, "{packet:02x?}");
    let rcode = outcome.rcode().map(|rcode| rcode.code() as u8 & 15);
    // In a signed zone the name that does not exist is denied as if it did (RFC 9824).
    // The reply has DO then, and SOA, NSEC and their signatures.
    let is_compact = outcome == Outcome::NxDomain && reply[3] == 0 && reply[9] == 4;
    assert!(Some(reply[3]) == rcode || is_compact, "{packet:02x?}: RA, AD and CD are clear");
    assert!(!is_udp || reply.len() <= 1232, "{packet:02x?}");
    let is_short = matches!(
        outcome,
        Outcome::FormErr | Outcome::NotImp | Outcome::BadVers | Outcome::NotAuth | Outcome::CookieOnly
    );
    // The server's cookie; and an extended error, where a type that nobody may ask for is refused.
    let growth_max = if outcome == Outcome::FormErr { 16 + 6 } else { 16 };
    assert!(!is_short || reply.len() <= packet.len() + growth_max, "{} for {packet:02x?}", reply.len());
    let word = |at: usize| usize::from(u16::from_be_bytes([reply[at], reply[at + 1]]));
    let mut at = 12;
    for _ in 0..word(4) {
        at = name_end(reply, at) + 4;
    }
    for _ in 0..word(6) + word(8) + word(10) {
        let head = name_end(reply, at);
        at = head + 10 + word(head + 8);
    }
    assert_eq!(at, reply.len(), "{packet:02x?}");
}

/// Where the name at `at` ends.
fn name_end(reply: &[u8], mut at: usize) -> usize {
    loop {
        match reply[at] {
            0 => return at + 1,
            len @ 1..=63 => at += 1 + usize::from(len),
            // A pointer goes back.
            _ => {
                assert!(usize::from(reply[at] & 0x3f) << 8 | usize::from(reply[at + 1]) < at);
                return at + 2;
            }
        }
    }
}

/// Throws `count` packets made of `seeds` at a target: each seed cut at every octet, then mutations.
pub fn run(seeds: &[Vec<u8>], count: u64, seed: u64) -> Target {
    let mut target = Target::new();
    let peer = |dice: &mut Dice| IpAddr::from([203, 0, dice.below(8) as u8, dice.below(256) as u8]);
    let mut dice = Dice(seed);
    for seed in seeds {
        for end in 0..=seed.len() {
            let peer = peer(&mut dice);
            target.take(&seed[..end], peer, Transport::Udp);
            target.take(&seed[..end], peer, Transport::Tcp);
        }
    }
    let mut packet = Vec::new();
    while target.count() < count {
        packet.clone_from(&seeds[dice.below(seeds.len())]);
        for _ in 0..dice.below(4) {
            mutate(&mut packet, seeds, &mut dice);
        }
        packet.truncate(2048);
        let transport = if dice.below(8) == 0 { Transport::Tcp } else { Transport::Udp };
        let peer = peer(&mut dice);
        target.take(&packet, peer, transport);
    }
    target
}
