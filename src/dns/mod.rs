//! Query bytes in, reply bytes out.
//!
//! [`answer()`] is the whole of it: the same function answers a datagram, a stream's message and a
//! test. It reads one [`Snapshot`], zones included, keeps nothing, and allocates nothing for address
//! queries to services. Precedence (ruling 15): a service or host name written exactly so, static
//! records, then wildcards, the longest first. Layer 7: no socket, no clock.
//!
//! | file | owns |
//! |---|---|
//! | `answer` | which reply a query gets |
//! | `foresight` | what a batch of queries will ask memory for |
//! | `usual` | the same for the query that players' resolvers send, in one go |
//! | `compose` | each kind of reply |
//! | `cookie` | whether a peer is who it says |
//! | `limit` | how much a network may make the server send |
//! | `svcb` | the data of an HTTPS or SVCB record |
//! | `explain` | a decision in words, as TXT |
//! | `signing` | what a signed reply has beside an unsigned one |
//! | `outcome` | the closed list of what can happen |
//! | `server` | what the server says of itself, whatever the table |

mod answer;
mod compose;
mod cookie;
mod explain;
mod foresight;
mod limit;
mod outcome;
mod server;
mod signing;
mod svcb;
mod usual;

pub use answer::answer;
pub use cookie::{Cookies, Secret};
pub use foresight::foresee;
pub use limit::Limits;
pub use outcome::{Dropped, Outcome};
pub use server::{Audience, Server};

use crate::dnssec;
use crate::fleet::{ApplianceId, ServiceId};
use crate::snapshot::Snapshot;
use crate::steer::{Choice, Ranking};
use crate::units::UnixMs;
use crate::wire::NameBuf;
use foresight::Foresight;
use limit::Ledger;
use signing::Signatory;

/// What the queries of a batch are answered from.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The generation.
    pub world: &'a Snapshot,
    /// The server.
    pub server: &'a Server,
    /// When the batch was received.
    pub now: UnixMs,
}

/// How a query came, which bounds its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A message of up to 65,535 octets on a connection.
    Tcp,
    /// The same over TLS (RFC 7858).
    Tls,
    /// The same as the body of a request or a response (RFC 8484).
    Https,
}

impl Transport {
    /// Its name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
        }
    }

    /// Whether the peer is who it says it is, and messages are as long as they like.
    #[inline]
    pub fn is_stream(self) -> bool {
        self != Self::Udp
    }

    /// Whether nobody on the way sees more of a message than its length.
    #[inline]
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }
}

/// A worker's buffers, used again for every query.
#[derive(Debug, Default)]
pub struct Scratch {
    qname: NameBuf,
    alias: NameBuf,
    ranking: Ranking,
    decided: Option<(ServiceId, Choice)>,
    foresight: Foresight,
    ledger: Ledger,
    /// Whether the peer of the packet answered last showed a valid cookie.
    is_verified: bool,
    signatory: Signatory,
}

impl Scratch {
    /// What was decided for the packet answered last, where it came to a decision.
    pub fn decided(&self) -> Option<(ServiceId, Choice)> {
        self.decided
    }

    /// Who serves by that decision, best first, where a cluster does.
    pub fn served(&self) -> &[ApplianceId] {
        self.ranking.appliances()
    }

    /// What signatures cost since it was asked last.
    pub fn take_signed(&mut self) -> dnssec::Counts {
        self.signatory.signer.take_counts()
    }

    /// With room for usual rankings.
    pub fn new() -> Self {
        Self { ranking: Ranking::new(), ..Self::default() }
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
#[cfg(test)]
mod tests_abuse;
#[cfg(test)]
mod tests_notes;
#[cfg(test)]
mod tests_rfc;
