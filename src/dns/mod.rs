//! Query bytes in, reply bytes out.
//!
//! [`answer()`] is the whole of it: the same function answers a datagram, a stream's message and a
//! test. It reads one [`Snapshot`] and the zones, keeps nothing, and allocates nothing for address
//! queries to services. Precedence (ruling 15): a service or host name written exactly so, static
//! records, then wildcards, the longest first. Layer 7: no socket, no clock.
//!
//! | file | owns |
//! |---|---|
//! | `answer` | which reply a query gets |
//! | `compose` | each kind of reply |
//! | `outcome` | the closed list of what can happen |
//! | `zone`, `master` | static data; master files |
//! | `conflicts` | zones and a table that contradict each other |

mod answer;
mod compose;
mod conflicts;
mod master;
mod outcome;
mod zone;

pub use answer::answer;
pub use outcome::{Dropped, Outcome};
pub use zone::{SoaSettings, Zone, ZoneSettings, Zones};

use crate::snapshot::Snapshot;
use crate::steer::Ranking;
use crate::wire::{NameBuf, UDP_SIZE};

/// What queries are answered from.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The generation; `None` before the first table.
    pub snapshot: Option<&'a Snapshot>,
    /// Zones.
    pub zones: &'a Zones,
    /// The largest reply over UDP, octets, at least 512; [`UDP_SIZE`] unless configured.
    pub udp_size_max: u16,
}

impl<'a> World<'a> {
    /// With the usual UDP size.
    pub fn new(snapshot: Option<&'a Snapshot>, zones: &'a Zones) -> Self {
        Self { snapshot, zones, udp_size_max: UDP_SIZE }
    }
}

/// How a query came, which bounds its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A message of up to 65,535 octets on a connection (TCP, TLS, HTTPS).
    Stream,
}

/// A worker's buffers, used again for every query.
#[derive(Debug, Default)]
pub struct Scratch {
    qname: NameBuf,
    alias: NameBuf,
    ranking: Ranking,
}

impl Scratch {
    /// With room for usual rankings.
    pub fn new() -> Self {
        Self { qname: NameBuf::default(), alias: NameBuf::default(), ranking: Ranking::new() }
    }
}

/// What [`answer()`] did: what became of the packet, and how many octets of `out` to send (0: none).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// For the counters.
    pub outcome: Outcome,
    /// Octets of the reply.
    pub len: usize,
}

impl Answered {
    /// Nothing is sent.
    fn dropped(reason: Dropped) -> Self {
        Self { outcome: Outcome::Dropped(reason), len: 0 }
    }
}

#[cfg(test)]
mod tests;
