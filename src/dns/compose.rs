//! The kinds of reply, each written in one go. Layer 7; knows zones, not the table.

use super::outcome::{Dropped, Outcome};
use super::{Answered, Server};
use crate::wire::{
    CLASS_CH, EcsReply, Ede, Name, Opt, Owner, Query, Rcode, Rdata, Reply, Rtype, Section, is_subdomain,
};
use crate::zone::{Rrset, TTL_S_DEFAULT, Zone};

/// TTL of the minimal answer to ANY, seconds (RFC 8482 section 4.2).
const ANY_TTL_S: u32 = 3600;

/// Where and how large a reply to a query may be.
pub(super) struct Composer<'a, 'b> {
    /// What is replied to.
    pub(super) query: &'a Query<'a>,
    /// Who replies.
    pub(super) server: &'a Server,
    /// Data of the cookie option, where there is to be one.
    pub(super) cookie: Option<&'a [u8]>,
    /// Where it is written.
    pub(super) out: &'b mut [u8],
    /// Octets, at most.
    pub(super) limit: usize,
}

/// A reply without data.
pub(super) struct Negative<'z> {
    /// Whose SOA it carries.
    pub(super) zone: &'z Zone,
    /// Seconds that it may be kept; the zone's negative TTL if that is less.
    pub(super) ttl_s: u32,
    /// NOERROR or NXDOMAIN.
    pub(super) rcode: Rcode,
    /// Scope of the ECS reply.
    pub(super) scope_len: u8,
}

impl<'z> Negative<'z> {
    /// The name exists, without data of that type, for everyone.
    pub(super) fn no_data(zone: &'z Zone) -> Self {
        Self { zone, ttl_s: zone.negative_ttl_s(), rcode: Rcode::NoError, scope_len: 0 }
    }

    /// The name does not exist, for anyone.
    pub(super) fn nx_domain(zone: &'z Zone) -> Self {
        Self { rcode: Rcode::NxDomain, ..Self::no_data(zone) }
    }
}

impl<'a, 'b> Composer<'a, 'b> {
    /// Begins a reply with the query's OPT answered: its subnet with `scope_len`, and `ede`.
    pub(super) fn start(self, scope_len: u8, ede: Option<Ede<'a>>) -> Option<Reply<'b, 'a>> {
        let ecs = self.query.ecs().map(|ecs| EcsReply::to(ecs, scope_len.min(ecs.family().bits())));
        let wants_nsid = self.query.edns().is_some_and(|edns| edns.nsid.is_some());
        let nsid = Some(self.server.identity.as_bytes()).filter(|id| wants_nsid && !id.is_empty());
        let opt = Opt::to(self.query).map(|opt| Opt { ecs, ede, nsid, cookie: self.cookie, ..opt });
        Reply::start(self.out, self.limit, self.query, opt)
    }

    /// Ends a reply; one that did not fit is counted as such.
    pub(super) fn finish(
        reply: Reply<'_, '_>,
        outcome: Outcome,
        rcode: Rcode,
        is_authoritative: bool,
    ) -> Answered {
        let outcome = if reply.is_truncated() { Outcome::Truncated } else { outcome };
        Answered { outcome, len: reply.finish(rcode, is_authoritative) }
    }

    /// An error without records.
    pub(super) fn error(
        self,
        outcome: Outcome,
        rcode: Rcode,
        ede: Option<Ede<'a>>,
        scope_len: u8,
    ) -> Answered {
        let Some(reply) = self.start(scope_len, ede) else { return Answered::dropped(Dropped::NoRoom) };
        Self::finish(reply, outcome, rcode, false)
    }

    /// A reply that says no more than that there is one: TC is set.
    pub(super) fn truncated(self) -> Answered {
        let Some(mut reply) = self.start(0, None) else { return Answered::dropped(Dropped::NoRoom) };
        reply.truncate();
        Answered { outcome: Outcome::Slipped, len: reply.finish(Rcode::NoError, true) }
    }

    /// Addresses of the question's name.
    pub(super) fn addresses(
        self,
        outcome: Outcome,
        rtype: Rtype,
        ttl_s: u32,
        scope_len: u8,
        addresses: impl Iterator<Item = Rdata<'static>>,
    ) -> Answered {
        let Some(mut reply) = self.start(scope_len, None) else { return Answered::dropped(Dropped::NoRoom) };
        reply.rrset(Section::Answer, Owner::Qname, rtype, ttl_s, addresses);
        Self::finish(reply, outcome, Rcode::NoError, true)
    }

    /// A service's alias to another CDN.
    pub(super) fn alias(self, ttl_s: u32, scope_len: u8, target: &[u8]) -> Answered {
        let Some(mut reply) = self.start(scope_len, None) else { return Answered::dropped(Dropped::NoRoom) };
        reply.rrset(Section::Answer, Owner::Qname, Rtype::CNAME, ttl_s, [Rdata::Name(target)]);
        Self::finish(reply, Outcome::Aliased, Rcode::NoError, true)
    }

    /// NODATA or NXDOMAIN, with the zone's SOA (RFC 2308 section 3).
    pub(super) fn negative(self, negative: Negative<'_>) -> Answered {
        let Some(mut reply) = self.start(negative.scope_len, None) else {
            return Answered::dropped(Dropped::NoRoom);
        };
        Self::write_soa(&mut reply, negative.zone, negative.ttl_s);
        let outcome = if negative.rcode == Rcode::NxDomain { Outcome::NxDomain } else { Outcome::NoData };
        Self::finish(reply, outcome, negative.rcode, true)
    }

    /// Adds the SOA of a negative answer, its TTL what the answer may be kept.
    pub(super) fn write_soa(reply: &mut Reply<'_, '_>, zone: &Zone, ttl_s: u32) {
        let owner = Owner::Name(zone.apex().as_wire());
        let ttl_s = ttl_s.min(zone.negative_ttl_s());
        reply.rrset(Section::Authority, owner, Rtype::SOA, ttl_s, [Rdata::Soa(zone.soa())]);
    }

    /// The zone's SOA as an answer.
    pub(super) fn soa(self, zone: &Zone) -> Answered {
        let Some(mut reply) = self.start(0, None) else { return Answered::dropped(Dropped::NoRoom) };
        let soa = [Rdata::Soa(zone.soa())];
        reply.rrset(Section::Answer, Owner::Qname, Rtype::SOA, TTL_S_DEFAULT, soa);
        Self::finish(reply, Outcome::Static, Rcode::NoError, true)
    }

    /// The minimal answer to ANY (RFC 8482 section 4.2).
    pub(super) fn any(self) -> Answered {
        let Some(mut reply) = self.start(0, None) else { return Answered::dropped(Dropped::NoRoom) };
        let hinfo = [Rdata::Bytes(b"\x07RFC8482\x00")];
        reply.rrset(Section::Answer, Owner::Qname, Rtype::HINFO, ANY_TTL_S, hinfo);
        Self::finish(reply, Outcome::Static, Rcode::NoError, true)
    }

    /// One text about the server, of class CH and TTL 0 (RFC 4892).
    pub(super) fn chaos(self, text: &[u8]) -> Answered {
        let Some(mut reply) = self.start(0, None) else { return Answered::dropped(Dropped::NoRoom) };
        reply.set_class(CLASS_CH);
        reply.rrset(Section::Answer, Owner::Qname, Rtype::TXT, 0, [Rdata::Text(text)]);
        Self::finish(reply, Outcome::Static, Rcode::NoError, true)
    }

    /// A static record set; addresses of name servers are added where there is room.
    pub(super) fn rrset(self, zone: &Zone, rrset: &Rrset) -> Answered {
        let Some(mut reply) = self.start(0, None) else { return Answered::dropped(Dropped::NoRoom) };
        let rdatas = rrset.rdatas.iter().map(|rdata| rdata.as_rdata());
        reply.rrset(Section::Answer, Owner::Qname, rrset.rtype, rrset.ttl_s, rdatas);
        if rrset.rtype == Rtype::NS {
            rrset.targets().for_each(|target| Self::write_glue(&mut reply, zone, target, false));
        }
        Self::finish(reply, Outcome::Static, Rcode::NoError, true)
    }

    /// A referral to the name servers of `cut`. Glue below the cut must be there, or TC is set
    /// (RFC 9471 section 3.1); other addresses of the zone are added where there is room.
    pub(super) fn referral(self, zone: &Zone, cut: &Name, ns: &Rrset) -> Answered {
        let Some(mut reply) = self.start(0, None) else { return Answered::dropped(Dropped::NoRoom) };
        let rdatas = ns.rdatas.iter().map(|rdata| rdata.as_rdata());
        reply.rrset(Section::Authority, Owner::Name(cut.as_wire()), Rtype::NS, ns.ttl_s, rdatas);
        let is_needed = |target: &&Name| is_subdomain(target.as_wire(), cut.as_wire());
        for target in ns.targets().filter(is_needed) {
            Self::write_glue(&mut reply, zone, target, true);
        }
        for target in ns.targets().filter(|target| !is_needed(target)) {
            Self::write_glue(&mut reply, zone, target, false);
        }
        Self::finish(reply, Outcome::Referral, Rcode::NoError, false)
    }

    /// Adds the static addresses of `target`.
    fn write_glue(reply: &mut Reply<'_, '_>, zone: &Zone, target: &Name, is_needed: bool) {
        let owner = Owner::Name(target.as_wire());
        for rtype in [Rtype::A, Rtype::AAAA] {
            let Some(rrset) = zone.node(target.as_wire()).and_then(|node| node.rrset(rtype)) else {
                continue;
            };
            let rdatas = rrset.rdatas.iter().map(|rdata| rdata.as_rdata());
            if is_needed {
                reply.rrset(Section::Additional, owner, rtype, rrset.ttl_s, rdatas);
            } else {
                reply.rrset_if_room(Section::Additional, owner, rtype, rrset.ttl_s, rdatas);
            }
        }
    }
}
