//! The names of a table, as they come in queries.
//!
//! Keys are canonical wire names: lower case, labels with their length before them, the root's zero
//! octet at the end (RFC 1035 section 3.1, RFC 4343 section 3).

use crate::fleet::{ApplianceId, Fleet, ServiceId};
use rustc_hash::FxHashMap;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// A service.
    Service(ServiceId),
    /// An appliance's host name.
    Appliance(ApplianceId),
}

/// Names of services and appliances.
#[derive(Debug, Default)]
pub struct Names {
    exact: FxHashMap<Box<[u8]>, Named>,
    /// By the name under the `*` label.
    wildcards: FxHashMap<Box<[u8]>, ServiceId>,
    /// Names between a zone's apex and a name of the table, which exist without data (RFC 8020).
    inner: FxHashMap<Box<[u8]>, ()>,
}

impl Names {
    /// Collects the names of `fleet`, which were checked to be host names.
    pub fn of(fleet: &Fleet) -> Self {
        let mut names = Self::default();
        for id in fleet.service_ids() {
            let name = &*fleet.service(id).name;
            match name.strip_prefix("*.") {
                Some(parent) => {
                    names.wildcards.insert(wire_name(parent), id);
                    names.add_inner(&wire_name(parent), true);
                }
                None => {
                    names.exact.insert(wire_name(name), Named::Service(id));
                    names.add_inner(&wire_name(name), false);
                }
            }
        }
        for (index, appliance) in fleet.appliances().iter().enumerate() {
            if !appliance.hostname.is_empty() {
                let name = wire_name(&appliance.hostname);
                names.add_inner(&name, false);
                names.exact.entry(name).or_insert_with(|| Named::Appliance(ApplianceId::at(index)));
            }
        }
        names
    }

    /// Notes all names above `name`, and itself when `with_itself`.
    fn add_inner(&mut self, name: &[u8], with_itself: bool) {
        let mut rest = if with_itself { Some(name) } else { parent_of(name) };
        while let Some(name) = rest.filter(|name| name.len() > 1) {
            if self.inner.insert(name.into(), ()).is_some() {
                break;
            }
            rest = parent_of(name);
        }
    }

    /// What exactly `qname` stands for.
    pub fn exact(&self, qname: &[u8]) -> Option<Named> {
        self.exact.get(qname).copied()
    }

    /// The wildcard service with the longest name over `qname`.
    pub fn wildcard(&self, qname: &[u8]) -> Option<ServiceId> {
        if self.wildcards.is_empty() {
            return None;
        }
        std::iter::successors(parent_of(qname), |name| parent_of(name))
            .find_map(|parent| self.wildcards.get(parent).copied())
    }

    /// Whether a name of the table lies below `qname`.
    pub fn is_inner(&self, qname: &[u8]) -> bool {
        self.inner.contains_key(qname)
    }
}

/// The name without its first label; `None` for the root and for what is no wire name.
pub fn parent_of(name: &[u8]) -> Option<&[u8]> {
    let len = usize::from(*name.first()?);
    if len == 0 { None } else { name.get(1 + len..) }
}

/// A host name in lower case as a wire name.
pub fn wire_name(text: &str) -> Box<[u8]> {
    let mut name = Vec::with_capacity(text.len() + 2);
    for label in text.split('.').filter(|label| !label.is_empty()) {
        // Tables are checked to hold labels of at most 63 octets.
        name.push(label.len() as u8);
        name.extend_from_slice(label.as_bytes());
    }
    name.push(0);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_names_have_parents() {
        let name = wire_name("a.cdn.example");
        assert_eq!(&*name, b"\x01a\x03cdn\x07example\x00");
        let parent = parent_of(&name).expect("below the root");
        assert_eq!(parent, &*wire_name("cdn.example"));
        assert_eq!(parent_of(b"\x00"), None);
        assert_eq!(parent_of(b""), None);
    }
}
