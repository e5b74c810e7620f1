//! DNS messages as bytes: what a query says, and how a reply is written.
//!
//! Owns the header, the question, EDNS with its client-subnet, cookie and error options, names in
//! wire form, and the truncation of replies. Knows nothing of zones, services or steering.
//! Nothing here allocates except [`Name`], nothing panics on hostile input (no indexing), and no
//! byte after the twelfth is trusted before it was counted. Layer 1; imports `prefix` for [`Family`].
//!
//! ```text
//!  0..2  ID      2..4  QR OPCODE AA TC RD RA Z AD CD RCODE
//!  4..6  QDCOUNT 6..8  ANCOUNT  8..10 NSCOUNT  10..12 ARCOUNT      (RFC 1035 section 4.1.1)
//! 12..   QNAME QTYPE QCLASS, then records
//! ```
//!
//! [`Family`]: crate::prefix::Family

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod ecs;
mod freshness;
mod name;
mod query;
mod reply;
mod usual;

pub use ecs::{EcsFault, EcsReply, EcsRequest};
pub use freshness::freshness_s;
pub use name::{Labels, Name, NameBuf, NameError, is_subdomain, labels, parent};
pub use query::{DropReason, Echo, Edns, Query, Reject, Tsig};
pub use reply::{Ede, Mark, Opt, Owner, Rdata, Reply, Section, Soa, compose_cookie, compose_reject};
pub use usual::{Glimpse, UsualQuery};

/// Octets of a message header (RFC 1035 section 4.1.1).
pub const HEADER_LEN: usize = 12;

/// The UDP payload size that replies advertise, octets: fits an IPv6 link of minimum MTU.
pub const UDP_SIZE: u16 = 1232;

/// The largest reply to a client that sent no OPT, octets (RFC 1035 section 2.3.4).
pub const UDP_SIZE_PLAIN: u16 = 512;

/// Octets of an OPT record without options (RFC 6891 section 6.1.2).
pub const OPT_LEN: usize = 11;

/// Longest name in wire form, octets (RFC 1035 section 2.3.4).
pub const NAME_LEN_MAX: usize = 255;

/// Longest label, octets.
pub const LABEL_LEN_MAX: usize = 63;

/// A record type, as its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rtype(pub u16);

impl Rtype {
    /// IPv4 address.
    pub const A: Self = Self(1);
    /// Name server.
    pub const NS: Self = Self(2);
    /// Alias.
    pub const CNAME: Self = Self(5);
    /// Start of authority.
    pub const SOA: Self = Self(6);
    /// Name of an address.
    pub const PTR: Self = Self(12);
    /// Host information; the minimal answer to ANY (RFC 8482).
    pub const HINFO: Self = Self(13);
    /// Mail exchanger.
    pub const MX: Self = Self(15);
    /// Text.
    pub const TXT: Self = Self(16);
    /// IPv6 address.
    pub const AAAA: Self = Self(28);
    /// Service location.
    pub const SRV: Self = Self(33);
    /// Alias of a subtree (RFC 6672).
    pub const DNAME: Self = Self(39);
    /// EDNS pseudo-record (RFC 6891).
    pub const OPT: Self = Self(41);
    /// Delegation signer.
    pub const DS: Self = Self(43);
    /// Signature (RFC 4034 section 3).
    pub const RRSIG: Self = Self(46);
    /// What a name has and which name comes next (RFC 4034 section 4).
    pub const NSEC: Self = Self(47);
    /// A zone's public key (RFC 4034 section 2).
    pub const DNSKEY: Self = Self(48);
    /// The DS that a zone wants its parent to have (RFC 7344).
    pub const CDS: Self = Self(59);
    /// The key that a zone wants its parent to point to (RFC 7344).
    pub const CDNSKEY: Self = Self(60);
    /// Service binding (RFC 9460).
    pub const SVCB: Self = Self(64);
    /// HTTPS binding (RFC 9460).
    pub const HTTPS: Self = Self(65);
    /// The mark of a name that does not exist, in an NSEC only (RFC 9824 section 2).
    pub const NXNAME: Self = Self(128);
    /// Transaction signature (RFC 8945).
    pub const TSIG: Self = Self(250);
    /// Incremental transfer (RFC 1995).
    pub const IXFR: Self = Self(251);
    /// Whole transfer (RFC 5936).
    pub const AXFR: Self = Self(252);
    /// Any type (RFC 8482).
    pub const ANY: Self = Self(255);
    /// Certification authority authorization (RFC 8659).
    pub const CAA: Self = Self(257);

    /// Whether the type exists only in messages or questions, never as data (RFC 6895 section 3.1).
    pub fn is_meta(self) -> bool {
        self == Self::OPT || (128..=255).contains(&self.0)
    }
}

/// Class IN.
pub const CLASS_IN: u16 = 1;
/// Class CH, in which servers tell about themselves (RFC 4892).
pub const CLASS_CH: u16 = 3;
/// Class ANY, which TSIG records carry.
pub const CLASS_ANY: u16 = 255;

/// A response code; those above 15 need an OPT (RFC 6891 section 6.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rcode {
    /// Answered, or there is no data of that type.
    NoError = 0,
    /// The query could not be understood.
    FormErr = 1,
    /// The server cannot answer now.
    ServFail = 2,
    /// The name does not exist.
    NxDomain = 3,
    /// The opcode is not supported.
    NotImp = 4,
    /// The server will not answer.
    Refused = 5,
    /// The transaction signature names a key that is not known (RFC 8945 section 5.2.1).
    NotAuth = 9,
    /// The EDNS version is not supported.
    BadVers = 16,
    /// The cookie is missing or wrong (RFC 7873 section 8).
    BadCookie = 23,
}

impl Rcode {
    /// The number, 12 bits.
    pub fn code(self) -> u16 {
        self as u16
    }
}

/// Numbers of EDNS options.
pub(crate) mod option {
    /// Name server identifier (RFC 5001).
    pub(crate) const NSID: u16 = 3;
    /// Client subnet (RFC 7871).
    pub(crate) const ECS: u16 = 8;
    /// Cookie (RFC 7873).
    pub(crate) const COOKIE: u16 = 10;
    /// Padding (RFC 7830).
    pub(crate) const PADDING: u16 = 12;
    /// Extended error (RFC 8914).
    pub(crate) const EDE: u16 = 15;
}

#[cfg(test)]
mod tests;
