//! Request head in, response out: redirects, ranked lists, and why not.
//!
//! Pure: no socket, no clock, no lock; `serve` brings heads, as octets of the usual kind or parsed by
//! hyper. What can be wrong with a request is an [`HttpOutcome`], not an error, and every request has exactly one.
//! Layer 7. Invariant: the host of a `Location` comes from the table alone (an appliance, another CDN, or
//! the service that was asked for itself, over TLS), and the rest of it is the request's own path and query,
//! octet for octet.
//!
//! | file | what |
//! |---|---|
//! | `octets` | usual requests parsed from octets, replies composed to octets |
//! | `head` | a request, however it was parsed |
//! | `reply` | a response, however it is sent |
//! | `client` | whose request it is, behind trusted proxies |
//! | `target` | host, path and query as asked |
//! | `content_key` | what of a request spreads it over a cluster |
//! | `decision_id` | names of decisions |
//! | `redirect` | the policy: what a request gets |
//! | `places` | where a decision sends to |
//! | `refuse` | replies that send nobody to an appliance |
//! | `diversity` | lists that are not all of one failure domain |
//! | `advice` | the ranked list for whoever asks on a player's behalf |
//! | `steering` | content steering: the order of pathways for a player's session |
//! | `limit` | how many requests a second one client network may make |
//! | `doh` | DNS over HTTPS: what is asked |
//! | `location` | URLs to appliances |

pub mod advice;
pub mod client;
pub mod content_key;
pub mod decision_id;
mod diversity;
pub mod doh;
mod head;
pub mod limit;
mod location;
pub mod octets;
mod places;
pub mod redirect;
mod refuse;
mod reply;
pub mod steering;
mod target;

pub use client::{Caller, Trust};
pub use content_key::content_key;
pub use decision_id::{DecisionId, DecisionIds, IdKey};
pub use head::{Asked, Fields, Head};
pub use redirect::{Answer, Scratch, Settings, announce, respond};
pub use reply::{Field, Reply};
pub use target::named_host;

use crate::metrics::Label;

/// What became of a request. The counters of these sum to the requests answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpOutcome {
    /// Sent to an appliance: 302, or 307 where the method has to stay.
    Redirected,
    /// Given the ranked list: 200.
    Listed,
    /// Sent to another CDN: 302 or 307, or a list of one.
    Fallback,
    /// 204 to OPTIONS.
    Options,
    /// Sent to the same URL over TLS: 302 or 307.
    Secured,
    /// It came without TLS, which the service does not take: 403.
    NotSecure,
    /// Not a request that can be answered: 400.
    BadRequest,
    /// A method that the service does not take: 405.
    MethodNotAllowed,
    /// Of a client network that makes too many: 429.
    TooMany,
    /// A host that is no service: 421.
    UnknownHost,
    /// The client's country is denied: 451.
    Denied,
    /// No appliance may or can serve: 503.
    Nobody,
    /// No table yet: 503.
    NotReady,
    /// Given the order of pathways: 200.
    Steered,
    /// Asked for the order of pathways of a service that is no more: 410.
    SteeringGone,
    /// Asked for that of a name that is no service: 404.
    SteeringUnknown,
    /// A playback service's question, answered: 200.
    Advised,
    /// A playback service's question that was none, or not from a trusted peer: 400, 403, 404, 408, 413 or 503.
    AdviceRefused,
    /// A DNS query, answered: 200.
    Dns,
    /// A DNS query that was none: 400, 405, 408, 413 or 415.
    DnsRefused,
}

impl Label for HttpOutcome {
    const ALL: &'static [Self] = &[
        Self::Redirected,
        Self::Listed,
        Self::Fallback,
        Self::Options,
        Self::Secured,
        Self::NotSecure,
        Self::BadRequest,
        Self::MethodNotAllowed,
        Self::TooMany,
        Self::UnknownHost,
        Self::Denied,
        Self::Nobody,
        Self::NotReady,
        Self::Steered,
        Self::SteeringGone,
        Self::SteeringUnknown,
        Self::Advised,
        Self::AdviceRefused,
        Self::Dns,
        Self::DnsRefused,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Redirected => "redirected",
            Self::Listed => "listed",
            Self::Fallback => "fallback",
            Self::Options => "options",
            Self::Secured => "secured",
            Self::NotSecure => "not_secure",
            Self::BadRequest => "bad_request",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooMany => "too_many",
            Self::UnknownHost => "unknown_host",
            Self::Denied => "denied",
            Self::Nobody => "nobody",
            Self::NotReady => "not_ready",
            Self::Steered => "steered",
            Self::SteeringGone => "steering_gone",
            Self::SteeringUnknown => "steering_unknown",
            Self::Advised => "advised",
            Self::AdviceRefused => "advice_refused",
            Self::Dns => "dns",
            Self::DnsRefused => "dns_refused",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
