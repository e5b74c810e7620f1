//! Where zones and a table contradict each other (ruling 15).
//!
//! Both are valid by themselves; these are problems of the pair, so they are looked for whenever
//! either changes. Layer 7; pure.

use super::{Rrset, Zone, Zones, type_name};
use crate::fleet::{Fleet, Service};
use crate::problem::Problem;
use crate::wire::{Name, Rtype};

/// Static aliases that are followed one after another, at most.
const CHAIN_MAX: usize = 8;

/// The types that a service or an appliance answers itself, so that no static record may.
const OWN_TYPES: [Rtype; 4] = [Rtype::A, Rtype::AAAA, Rtype::CNAME, Rtype::NS];

impl Zone {
    /// What is wrong with the zone beside `fleet`: static records that clash with a service or an
    /// appliance's host name, names of the table below a delegation, aliases at the apex, name
    /// servers in the zone that have no address.
    pub fn conflicts_with(&self, fleet: &Fleet) -> Vec<Problem> {
        let mut problems = Vec::new();
        for service in fleet.services() {
            self.clash(&service.name, "service", &mut problems);
            self.alias_at_apex(service, &mut problems);
        }
        for appliance in fleet.appliances().iter().filter(|appliance| !appliance.hostname.is_empty()) {
            self.clash(&appliance.hostname, "appliance's host name", &mut problems);
        }
        for (owner, node) in self.nodes() {
            if let Some(rrset) = node.rrset(Rtype::NS) {
                self.name_servers(owner, rrset, fleet, &mut problems);
            }
        }
        problems.sort_by(|a, b| (a.line, &a.key, &a.found).cmp(&(b.line, &b.key, &b.found)));
        problems
    }

    /// Notes static records at `name`, and a delegation at or over it.
    fn clash(&self, name: &str, what: &str, problems: &mut Vec<Problem>) {
        let Ok(wire) = name.parse::<Name>() else { return };
        if !wire.is_subdomain_of(self.apex()) {
            return;
        }
        let mut note = |owner: &Name, rrset: &Rrset| {
            let found = format!("{owner} {}", type_name(rrset.rtype));
            let expected = format!("no such record, as {name} is a {what}");
            problems.push(Problem::at(rrset.line, "", found, expected).in_file(self.file()));
        };
        let is_apex = wire == *self.apex();
        for rrset in self.node(wire.as_wire()).into_iter().flat_map(|node| node.rrsets()) {
            if OWN_TYPES.contains(&rrset.rtype) && !(is_apex && rrset.rtype == Rtype::NS) {
                note(&wire, rrset);
            }
        }
        if let Some((cut, node)) = self.cut_over(wire.as_wire()).filter(|(cut, _)| **cut != wire) {
            node.rrset(Rtype::NS).into_iter().for_each(|rrset| note(cut, rrset));
        }
    }

    /// Notes a service at the apex that can become an alias.
    fn alias_at_apex(&self, service: &Service, problems: &mut Vec<Problem>) {
        let aliases = [("fallback_alias", &service.fallback_alias), ("denied_alias", &service.denied_alias)];
        for (key, alias) in aliases {
            let is_apex = || service.name.parse::<Name>().is_ok_and(|name| name == *self.apex());
            if let Some(alias) = alias.as_ref().filter(|_| is_apex()) {
                let expected = format!("no alias, as {} is a zone's apex", service.name);
                problems.push(Problem::at(0, format!("service.{key}"), alias, expected));
            }
        }
    }

    /// Notes name servers in the zone without an address.
    fn name_servers(&self, owner: &Name, ns: &Rrset, fleet: &Fleet, problems: &mut Vec<Problem>) {
        for target in ns.targets().filter(|target| target.is_subdomain_of(self.apex())) {
            let node = self.node(target.as_wire());
            let has_static =
                node.is_some_and(|n| n.rrset(Rtype::A).is_some() || n.rrset(Rtype::AAAA).is_some());
            let host = target.to_string();
            let has_own = || {
                fleet.appliances().iter().any(|appliance| *appliance.hostname == host)
                    || fleet.service_by_name(&host).is_some()
            };
            if !has_static && !has_own() {
                let key = if ns.line == 0 { "dns.zone.ns" } else { "" };
                let expected = format!("an address for this name server of {owner}");
                let problem = Problem::at(ns.line, key, target, expected);
                problems.push(if ns.line == 0 { problem } else { problem.in_file(self.file()) });
            }
        }
    }
}

impl Zones {
    /// What is wrong with all zones beside `fleet`, aliases that lead back to a service included.
    pub fn conflicts_with(&self, fleet: &Fleet) -> Vec<Problem> {
        let mut zones: Vec<&Zone> = self.iter().collect();
        zones.sort_by_key(|zone| zone.apex());
        let mut problems: Vec<Problem> = zones.iter().flat_map(|zone| zone.conflicts_with(fleet)).collect();
        for service in fleet.services() {
            let aliases =
                [("fallback_alias", &service.fallback_alias), ("denied_alias", &service.denied_alias)];
            for (key, alias) in aliases {
                let Some(alias) = alias else { continue };
                if let Some(end) = self.leads_to_service(alias, fleet) {
                    let expected = format!("an alias that does not resolve to the service {end}");
                    problems.push(Problem::at(0, format!("service.{key}"), alias, expected));
                }
            }
        }
        problems
    }

    /// The service that the name `alias` resolves to, static aliases followed.
    fn leads_to_service(&self, alias: &str, fleet: &Fleet) -> Option<String> {
        let mut name = alias.parse::<Name>().ok()?;
        for _ in 0..CHAIN_MAX {
            let host = name.to_string();
            if let Some(id) = fleet.service_of_host(&host) {
                return Some(fleet.service(id).name.to_string());
            }
            let node = self.find(name.as_wire())?.node(name.as_wire())?;
            name = node.rrset(Rtype::CNAME)?.targets().next()?.clone();
        }
        None
    }

    /// Services outside every zone: they are served over HTTP only (ruling 26).
    pub fn services_outside<'f>(&self, fleet: &'f Fleet) -> Vec<&'f str> {
        let is_outside = |service: &&Service| {
            service.name.parse::<Name>().is_ok_and(|name| self.find(name.as_wire()).is_none())
        };
        fleet.services().iter().filter(is_outside).map(|service| &*service.name).collect()
    }
}
