//! What a server says and does of itself, whatever the table: set by config, replaced by a reload.
//! Layer 7.

use super::cookie::Cookies;
use super::limit::Limits;
use crate::dnssec::Keyrings;
use crate::prefix::Prefix;

/// A server's identity and its rules, the same for every zone.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// What it calls itself: the NSID option (RFC 5001) and `id.server` (RFC 4892), octets as they are
    /// sent, at most 128; empty: it does not say.
    pub identity: Box<str>,
    /// What `version.bind` says, at most 255 octets; empty: it does not say.
    pub version: Box<str>,
    /// Secrets of its cookies.
    pub cookies: Cookies,
    /// What one network of peers may make it send.
    pub limits: Limits,
    /// Keys of the zones that are signed.
    pub keyrings: Keyrings,
    /// Who is told how decisions are made; a zone that is not here has no names for that.
    pub explains: Vec<Audience>,
}

/// Who is told more about a zone than others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience {
    /// The zone's name in wire form.
    pub apex: Box<[u8]>,
    /// Networks of those who are told.
    pub peers: Box<[Prefix]>,
}

impl Server {
    /// Who is told how decisions about names of the zone at `apex` are made; `None`: there is no such name.
    pub(super) fn explains(&self, apex: &[u8]) -> Option<&[Prefix]> {
        self.explains.iter().find(|zone| *zone.apex == *apex).map(|zone| &*zone.peers)
    }
}
