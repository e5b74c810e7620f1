//! What became of a packet: a closed list whose counters sum to the packets received. Layer 7.

use crate::wire::{DropReason, Rcode};

/// Why no reply was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// Shorter than a header.
    Short,
    /// A reply, not a query.
    Reply,
    /// The buffer for the reply is smaller than a header, the question and an OPT.
    NoRoom,
    /// The peer's network is told enough.
    Limited,
}

impl From<DropReason> for Dropped {
    fn from(reason: DropReason) -> Self {
        match reason {
            DropReason::Short => Self::Short,
            DropReason::Reply => Self::Reply,
        }
    }
}

/// The one thing that happened to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A service answered with addresses.
    Steered,
    /// A service answered with an alias: its fallback, or that of denied clients.
    Aliased,
    /// Static data, an appliance's own addresses, or what the server tells of itself.
    Static,
    /// The answer did not fit; TC is set.
    Truncated,
    /// The name exists, without data of that type or for that client.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// A delegation.
    Referral,
    /// Outside every zone, another class, a transfer, or not for this peer.
    Refused,
    /// Malformed.
    FormErr,
    /// Another opcode.
    NotImp,
    /// EDNS of another version.
    BadVers,
    /// Signed with a key that is not known.
    NotAuth,
    /// The peer's network is told enough: it is to come again with a cookie (RFC 7873 section 5.2.3).
    BadCookie,
    /// The peer's network is told enough: TC is set, so that it comes again by TCP.
    Slipped,
    /// Asked for nothing but a cookie (RFC 7873 section 5.4).
    CookieOnly,
    /// No table yet.
    NotReady,
    /// Nobody is up, and there is nothing to fall back to.
    NobodyUp,
    /// No signature could be made, over a connection.
    Unsigned,
    /// No reply.
    Dropped(Dropped),
}

impl Outcome {
    /// All, in the order of [`Outcome::index`].
    pub const ALL: [Self; 22] = [
        Self::Steered,
        Self::Aliased,
        Self::Static,
        Self::Truncated,
        Self::NoData,
        Self::NxDomain,
        Self::Referral,
        Self::Refused,
        Self::FormErr,
        Self::NotImp,
        Self::BadVers,
        Self::NotAuth,
        Self::BadCookie,
        Self::Slipped,
        Self::CookieOnly,
        Self::NotReady,
        Self::NobodyUp,
        Self::Unsigned,
        Self::Dropped(Dropped::Short),
        Self::Dropped(Dropped::Reply),
        Self::Dropped(Dropped::NoRoom),
        Self::Dropped(Dropped::Limited),
    ];

    /// Its position in [`Outcome::ALL`], for an array of counters.
    pub fn index(self) -> usize {
        match self {
            Self::Steered => 0,
            Self::Aliased => 1,
            Self::Static => 2,
            Self::Truncated => 3,
            Self::NoData => 4,
            Self::NxDomain => 5,
            Self::Referral => 6,
            Self::Refused => 7,
            Self::FormErr => 8,
            Self::NotImp => 9,
            Self::BadVers => 10,
            Self::NotAuth => 11,
            Self::BadCookie => 12,
            Self::Slipped => 13,
            Self::CookieOnly => 14,
            Self::NotReady => 15,
            Self::NobodyUp => 16,
            Self::Unsigned => 17,
            Self::Dropped(Dropped::Short) => 18,
            Self::Dropped(Dropped::Reply) => 19,
            Self::Dropped(Dropped::NoRoom) => 20,
            Self::Dropped(Dropped::Limited) => 21,
        }
    }

    /// As a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Steered => "steered",
            Self::Aliased => "aliased",
            Self::Static => "static",
            Self::Truncated => "truncated",
            Self::NoData => "nodata",
            Self::NxDomain => "nxdomain",
            Self::Referral => "referral",
            Self::Refused => "refused",
            Self::FormErr => "formerr",
            Self::NotImp => "notimp",
            Self::BadVers => "badvers",
            Self::NotAuth => "notauth",
            Self::BadCookie => "badcookie",
            Self::Slipped => "slipped",
            Self::CookieOnly => "cookie_only",
            Self::NotReady => "not_ready",
            Self::NobodyUp => "nobody_up",
            Self::Unsigned => "unsigned",
            Self::Dropped(Dropped::Short) => "dropped_short",
            Self::Dropped(Dropped::Reply) => "dropped_reply",
            Self::Dropped(Dropped::NoRoom) => "dropped_no_room",
            Self::Dropped(Dropped::Limited) => "dropped_limited",
        }
    }

    /// The response code that was sent; `None` when nothing was. A signed reply about a name that does
    /// not exist says NOERROR instead (RFC 9824).
    pub fn rcode(self) -> Option<Rcode> {
        Some(match self {
            Self::Steered
            | Self::Aliased
            | Self::Static
            | Self::Truncated
            | Self::NoData
            | Self::Referral
            | Self::Slipped
            | Self::CookieOnly => Rcode::NoError,
            Self::NxDomain => Rcode::NxDomain,
            Self::Refused => Rcode::Refused,
            Self::FormErr => Rcode::FormErr,
            Self::NotImp => Rcode::NotImp,
            Self::BadVers => Rcode::BadVers,
            Self::NotAuth => Rcode::NotAuth,
            Self::BadCookie => Rcode::BadCookie,
            Self::NotReady | Self::NobodyUp | Self::Unsigned => Rcode::ServFail,
            Self::Dropped(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_counter_and_label() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), index);
            assert_eq!(Outcome::ALL.iter().filter(|other| other.label() == outcome.label()).count(), 1);
        }
    }
}
