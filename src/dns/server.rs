//! What a server says and does of itself, whatever the table: set by config, replaced by a reload.
//! Layer 7.

use super::cookie::Cookies;
use super::limit::Limits;
use crate::dnssec::Keyrings;

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
}
