//! URLs to appliances, and to the other CDN of a fallback.
//!
//! Scheme, host and port come from the table (the scheme, where the table leaves it open, from a
//! closed pair); the request gives the path and query, which [`super::target`] has checked.

use super::decision_id::DecisionId;
use crate::fleet::{Appliance, Scheme, Service};
use crate::prefix::Family;
use std::fmt::Write;
use std::net::IpAddr;

/// The port that a URL of `scheme` need not name.
fn usual_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

/// The id of a decision as a parameter of the URLs it gives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark<'a> {
    /// Its name, of letters that need no encoding.
    pub name: &'a str,
    /// Its value.
    pub id: DecisionId,
}

/// Everything of a URL but its host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Locator<'a> {
    scheme: Scheme,
    /// Named in URLs to appliances only when it is not the scheme's.
    port: u16,
    /// Address literals of this family are taken first.
    family: Family,
    path_and_query: &'a str,
    /// Of URLs to appliances: caches of somebody else would take each for another object.
    mark: Option<Mark<'a>>,
}

impl<'a> Locator<'a> {
    /// For `service`, asked with `asked_scheme` by a client of `family`. `path_and_query` starts with
    /// `/` and is visible ASCII, and has no parameter like that of `mark`.
    pub(super) fn new(
        service: &Service,
        asked_scheme: Scheme,
        family: Family,
        path_and_query: &'a str,
        mark: Option<Mark<'a>>,
    ) -> Self {
        let scheme = service.scheme.unwrap_or(asked_scheme);
        let port = service.port.unwrap_or_else(|| usual_port(scheme));
        Self { scheme, port, family, path_and_query, mark }
    }

    /// Appends the URL on `appliance` to `url`: by its host name, else by its address. `false`, with
    /// half a URL written, for an appliance without a name under `https`, because no certificate would
    /// fit (ruling 15), and for one without name and address, which no table has.
    pub(super) fn write_on(&self, appliance: &Appliance, url: &mut String) -> bool {
        self.write_scheme(url);
        let is_written = self.write_host(appliance, url);
        self.write_port(url);
        url.push_str(self.path_and_query);
        if let Some(Mark { name, id }) = self.mark {
            let joint = match self.path_and_query.split_once('?') {
                None => "?",
                Some((_, "")) => "",
                Some(_) => "&",
            };
            // Writing to a string does not fail.
            let _ = write!(url, "{joint}{name}={id}");
        }
        is_written
    }

    /// Appends the host of `appliance` to `out`; `false`, with anything written, as [`Locator::write_on`].
    pub(super) fn write_host(&self, appliance: &Appliance, out: &mut String) -> bool {
        if !appliance.hostname.is_empty() {
            out.push_str(&appliance.hostname);
        } else if self.scheme == Scheme::Https || self.write_address(appliance, out).is_none() {
            return false;
        }
        true
    }

    /// Appends `:` and the port to `out`, where that is not the scheme's.
    pub(super) fn write_port(&self, out: &mut String) {
        if self.port != usual_port(self.scheme) {
            // Writing to a string does not fail.
            let _ = write!(out, ":{}", self.port);
        }
    }

    /// Appends the address of `appliance` as a host; `None` when it has none.
    fn write_address(&self, appliance: &Appliance, url: &mut String) -> Option<()> {
        let other = match self.family {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        };
        match appliance.address(self.family).or_else(|| appliance.address(other))? {
            IpAddr::V4(addr) => write!(url, "{addr}"),
            IpAddr::V6(addr) => write!(url, "[{addr}]"),
        }
        .ok()
    }

    /// Appends the URL on another CDN to `url`: the port of the service's appliances is not its port.
    pub(super) fn write_on_alias(&self, alias: &str, url: &mut String) {
        self.write_scheme(url);
        url.push_str(alias);
        url.push_str(self.path_and_query);
    }

    /// Appends a URL up to its host.
    fn write_scheme(&self, url: &mut String) {
        url.push_str(self.scheme.as_str());
        url.push_str("://");
    }
}
