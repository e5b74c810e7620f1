//! What a server says and does of itself, whatever the table: set by config, replaced by a reload.
//! Layer 7.

use crate::config;
use crate::dnssec::Keyrings;

/// A server's identity and its rules, the same for every zone.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// What it calls itself: the NSID option (RFC 5001) and `id.server` (RFC 4892), octets as they are
    /// sent, at most 128; empty: it does not say.
    pub identity: Box<str>,
    /// What `version.bind` says, at most 255 octets; empty: it does not say.
    pub version: Box<str>,
    /// Keys of the zones that are signed.
    pub keyrings: Keyrings,
}

impl Server {
    /// What `dns` says of itself, with these keys.
    pub fn new(dns: &config::Dns, keyrings: Keyrings) -> Self {
        Self { identity: dns.identity.clone(), version: dns.version.clone(), keyrings }
    }
}
