//! The kinds of reply, each written in one go. Layer 7; knows zones, not the table.

use super::outcome::{Dropped, Outcome};
use super::signing::{Present, Signatory, Signing};
use super::{Answered, Server, Transport};
use crate::dnssec::{Keyring, Payment, Purse, Subject, UnixS};
use crate::units::UnixMs;
use crate::wire::{
    CLASS_CH, EcsReply, Ede, Name, Opt, Owner, Query, Rcode, Rdata, Reply, Rtype, Section, is_subdomain,
};
use crate::zone::{Node, Rrset, TTL_S_DEFAULT, Zone};

/// TTL of the minimal answer to ANY, seconds (RFC 8482 section 4.2).
const ANY_TTL_S: u32 = 3600;

/// Where and how large a reply to a query may be, and who signs it.
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
    /// How the query came.
    pub(super) transport: Transport,
    /// When it came.
    pub(super) now: UnixMs,
    /// Who signs.
    pub(super) signatory: &'b mut Signatory,
    /// Keys of the zone that is asked for; `None`: it is not known yet, or not signed.
    pub(super) keyring: Option<&'a Keyring>,
    /// Whether anyone can invent the name that is asked for.
    pub(super) is_invented: bool,
    /// What is said of the reply in an extended error, whatever it is.
    pub(super) note: Option<Ede<'a>>,
}

/// A reply without data.
pub(super) struct Negative<'z> {
    /// Whose SOA it carries.
    pub(super) zone: &'z Zone,
    /// Seconds that it may be kept; the zone's negative TTL if that is less.
    pub(super) ttl_s: u32,
    /// What the name has.
    pub(super) present: Present<'z>,
    /// Scope of the ECS reply.
    pub(super) scope_len: u8,
}

impl<'z> Negative<'z> {
    /// The name exists, without data of that type, for everyone.
    pub(super) fn no_data(zone: &'z Zone, present: Present<'z>) -> Self {
        Self { zone, ttl_s: zone.negative_ttl_s(), present, scope_len: 0 }
    }

    /// The name does not exist, for anyone.
    pub(super) fn nx_domain(zone: &'z Zone) -> Self {
        Self::no_data(zone, Present::ABSENT)
    }
}

/// A reply being written, set by set, with the signatures of each.
pub(super) struct Draft<'a, 'b> {
    reply: Reply<'b, 'a>,
    /// `None`: it is not signed.
    signing: Option<Signing<'a, 'b>>,
    query: &'a Query<'a>,
    transport: Transport,
    /// A signature could not be paid for.
    is_spent: bool,
}

impl<'a> Draft<'a, '_> {
    /// Adds a record set of the zone, or sets TC.
    pub(super) fn rrset<'r>(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: Rtype,
        ttl_s: u32,
        rdatas: impl IntoIterator<Item = Rdata<'r>, IntoIter: Clone>,
    ) {
        self.rrset_for(section, owner, rtype, (ttl_s, ttl_s), rdatas);
    }

    /// The same with a TTL for the reply, and that of the zone, which is what is signed.
    fn rrset_for<'r>(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: Rtype,
        (ttl_s, zone_ttl_s): (u32, u32),
        rdatas: impl IntoIterator<Item = Rdata<'r>, IntoIter: Clone>,
    ) {
        let rdatas = rdatas.into_iter();
        let Some(signing) = &mut self.signing else {
            self.reply.rrset(section, owner, rtype, ttl_s, rdatas);
            return;
        };
        let mark = self.reply.mark();
        if self.is_spent || !self.reply.rrset(section, owner, rtype, ttl_s, rdatas.clone()) {
            return;
        }
        let name = match owner {
            Owner::Qname => self.query.qname(),
            Owner::Name(name) => name,
        };
        let subject = Subject { owner: name, rtype, ttl_s: zone_ttl_s };
        match signing.sign(&mut self.reply, section, owner, ttl_s, subject, rdatas) {
            Ok(true) => {}
            // RFC 4035 section 3.1.1: the set goes with its signatures.
            Ok(false) => {
                self.reply.go_back(mark);
                self.reply.truncate();
            }
            Err(_) => self.is_spent = true,
        }
    }

    /// Adds records that the zone does not answer for: glue, and the name servers of a delegation.
    fn unsigned<'r>(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: Rtype,
        ttl_s: u32,
        rdatas: impl IntoIterator<Item = Rdata<'r>>,
    ) {
        self.reply.rrset(section, owner, rtype, ttl_s, rdatas);
    }

    /// Adds a set that the client can do without, with its signatures, where there is room for all.
    fn rrset_if_room<'r>(
        &mut self,
        owner: &[u8],
        rtype: Rtype,
        ttl_s: u32,
        is_signed: bool,
        rdatas: impl IntoIterator<Item = Rdata<'r>, IntoIter: Clone>,
    ) {
        let (section, rdatas) = (Section::Additional, rdatas.into_iter());
        let mark = self.reply.mark();
        let fits = self.reply.rrset_if_room(section, Owner::Name(owner), rtype, ttl_s, rdatas.clone());
        let Some(signing) = self.signing.as_mut().filter(|_| is_signed && fits) else { return };
        let subject = Subject { owner, rtype, ttl_s };
        let signed = signing.sign(&mut self.reply, section, Owner::Name(owner), ttl_s, subject, rdatas);
        if signed != Ok(true) {
            self.reply.go_back(mark);
        }
    }

    /// Adds the SOA of a negative answer, its TTL what the answer may be kept.
    pub(super) fn soa(&mut self, zone: &Zone, ttl_s: u32) {
        let owner = Owner::Name(zone.apex().as_wire());
        let ttl_s = ttl_s.min(zone.negative_ttl_s());
        let soa = [Rdata::Soa(zone.soa())];
        self.rrset_for(Section::Authority, owner, Rtype::SOA, (ttl_s, TTL_S_DEFAULT), soa);
    }

    /// Adds the proof that `owner` has what `present` says and not what was asked for; nothing where
    /// nothing is signed. It may be kept as long as the answer (RFC 9077).
    pub(super) fn denial(&mut self, owner: Owner<'_>, present: Present<'_>, zone: &Zone, ttl_s: u32) {
        let ttl_s = ttl_s.min(zone.negative_ttl_s());
        self.nsec(Section::Authority, owner, present, ttl_s);
    }

    /// Adds the proof that the delegation `owner` has no DS.
    fn nsec_of_cut(&mut self, owner: Owner<'_>, node: &Node, zone: &Zone) {
        self.nsec(Section::Authority, owner, Present::cut(node), zone.negative_ttl_s());
    }

    /// Adds the NSEC of `owner` to `section`.
    fn nsec(&mut self, section: Section, owner: Owner<'_>, present: Present<'_>, ttl_s: u32) {
        let name = match owner {
            Owner::Qname => self.query.qname(),
            Owner::Name(name) => name,
        };
        let Some(signing) = &mut self.signing else { return };
        let rdata = signing.nsec(name, present, self.query.qtype());
        self.rrset(section, owner, Rtype::NSEC, ttl_s, [Rdata::Bytes(&rdata)]);
        if let Some(signing) = &mut self.signing {
            signing.give_back(rdata);
        }
    }

    /// The response code of a name that is not there: compact denial says NOERROR unless the client
    /// takes NXDOMAIN with it (RFC 9824 section 5).
    pub(super) fn nx_domain(&self) -> Rcode {
        let takes_it = self.query.edns().is_some_and(|edns| edns.compact_ok);
        if self.signing.is_some() && !takes_it { Rcode::NoError } else { Rcode::NxDomain }
    }

    /// Ends a reply; one that did not fit is counted as such. Where signatures could not be paid for,
    /// nothing is answered: whoever asked over UDP is sent to TCP, which the sender of a packet with an
    /// invented address does not follow.
    pub(super) fn finish(mut self, outcome: Outcome, rcode: Rcode, is_authoritative: bool) -> Answered {
        if self.is_spent {
            self.reply.withdraw();
            if self.transport.is_stream() {
                let len = self.reply.finish(Rcode::ServFail, false);
                return Answered { outcome: Outcome::Unsigned, len };
            }
            self.reply.truncate();
            return Answered { outcome: Outcome::Truncated, len: self.reply.finish(Rcode::NoError, true) };
        }
        let outcome = if self.reply.is_truncated() { Outcome::Truncated } else { outcome };
        Answered { outcome, len: self.reply.finish(rcode, is_authoritative) }
    }
}

impl<'a, 'b> Composer<'a, 'b> {
    /// The same for a name in `zone`.
    pub(super) fn in_zone(mut self, zone: &Zone) -> Self {
        self.keyring = self.server.keyrings.find(zone.apex().as_wire());
        self
    }

    /// The same for a name that anyone can invent.
    pub(super) fn invented(self) -> Self {
        Self { is_invented: true, ..self }
    }

    /// The same with `note`, where there is one.
    pub(super) fn noting(self, note: Option<Ede<'a>>) -> Self {
        Self { note: note.or(self.note), ..self }
    }

    /// Whether the reply is signed.
    pub(super) fn signs(&self) -> bool {
        self.keyring.is_some() && self.query.edns().is_some_and(|edns| edns.dnssec_ok)
    }

    /// Begins a reply with the query's OPT answered: its subnet with `scope_len`, and the note.
    pub(super) fn start(self, scope_len: u8) -> Option<Draft<'a, 'b>> {
        let (query, transport, cookie, is_signed) = (self.query, self.transport, self.cookie, self.signs());
        let ede = self.note;
        let ecs = query.ecs().map(|ecs| EcsReply::to(ecs, scope_len.min(ecs.family().bits())));
        let wants_nsid = query.edns().is_some_and(|edns| edns.nsid.is_some());
        let nsid = Some(self.server.identity.as_bytes()).filter(|id| wants_nsid && !id.is_empty());
        let compact_ok = is_signed && query.edns().is_some_and(|edns| edns.compact_ok);
        let opt = Opt::to(query).map(|opt| Opt { ecs, ede, nsid, cookie, compact_ok, ..opt });
        let purse = match transport {
            Transport::Udp => Purse::Datagram,
            _ => Purse::Stream,
        };
        let payment = Payment { now: self.now, purse, is_invented: self.is_invented };
        let signing = self.keyring.filter(|_| is_signed).map(|keyring| Signing {
            keyrings: &self.server.keyrings,
            keyring,
            phase: keyring.phase(UnixS::from(self.now)),
            signatory: self.signatory,
            payment,
        });
        let reply = Reply::start(self.out, self.limit, query, opt)?;
        Some(Draft { reply, signing, query, transport, is_spent: false })
    }

    /// An error without records.
    pub(super) fn error(
        self,
        outcome: Outcome,
        rcode: Rcode,
        ede: Option<Ede<'a>>,
        scope_len: u8,
    ) -> Answered {
        let Some(draft) = self.noting(ede).start(scope_len) else {
            return Answered::dropped(Dropped::NoRoom);
        };
        draft.finish(outcome, rcode, false)
    }

    /// A refusal, and why.
    pub(super) fn refused(self, code: u16) -> Answered {
        self.error(Outcome::Refused, Rcode::Refused, Some(Ede::of(code)), 0)
    }

    /// A reply that says no more than that there is one: TC is set.
    pub(super) fn truncated(self) -> Answered {
        let Some(mut draft) = self.start(0) else { return Answered::dropped(Dropped::NoRoom) };
        draft.reply.truncate();
        Answered { outcome: Outcome::Slipped, len: draft.reply.finish(Rcode::NoError, true) }
    }

    /// Records of the question's name.
    pub(super) fn records<'r>(
        self,
        outcome: Outcome,
        rtype: Rtype,
        ttl_s: u32,
        scope_len: u8,
        rdatas: impl IntoIterator<Item = Rdata<'r>, IntoIter: Clone>,
    ) -> Answered {
        let Some(mut draft) = self.start(scope_len) else { return Answered::dropped(Dropped::NoRoom) };
        draft.rrset(Section::Answer, Owner::Qname, rtype, ttl_s, rdatas);
        draft.finish(outcome, Rcode::NoError, true)
    }

    /// A service's alias to another CDN.
    pub(super) fn alias(self, ttl_s: u32, scope_len: u8, target: &[u8]) -> Answered {
        self.records(Outcome::Aliased, Rtype::CNAME, ttl_s, scope_len, [Rdata::Name(target)])
    }

    /// NODATA or NXDOMAIN, with the zone's SOA (RFC 2308 section 3) and, where it is signed, proof.
    /// Every name of a signed zone has an NSEC and signatures, by which queries for them are answered.
    pub(super) fn negative(self, negative: Negative<'_>) -> Answered {
        let Negative { zone, ttl_s, present, scope_len } = negative;
        let (qtype, is_signed) = (self.query.qtype(), self.signs());
        let Some(mut draft) = self.start(scope_len) else { return Answered::dropped(Dropped::NoRoom) };
        if is_signed && matches!(qtype, Rtype::NSEC | Rtype::RRSIG) {
            draft.nsec(Section::Answer, Owner::Qname, present, ttl_s.min(zone.negative_ttl_s()));
            return draft.finish(Outcome::Static, Rcode::NoError, true);
        }
        draft.soa(zone, ttl_s);
        draft.denial(Owner::Qname, present, zone, ttl_s);
        if present.is_there() {
            return draft.finish(Outcome::NoData, Rcode::NoError, true);
        }
        let rcode = draft.nx_domain();
        draft.finish(Outcome::NxDomain, rcode, true)
    }

    /// The zone's SOA as an answer.
    pub(super) fn soa(self, zone: &Zone) -> Answered {
        self.records(Outcome::Static, Rtype::SOA, TTL_S_DEFAULT, 0, [Rdata::Soa(zone.soa())])
    }

    /// The minimal answer to ANY (RFC 8482 section 4.2).
    pub(super) fn any(self) -> Answered {
        let hinfo = [Rdata::Bytes(b"\x07RFC8482\x00")];
        self.records(Outcome::Static, Rtype::HINFO, ANY_TTL_S, 0, hinfo)
    }

    /// The records at the apex that come from keys, where there are some of the type asked for.
    pub(super) fn of_keys(self) -> Result<Answered, Self> {
        let phase = self.keyring.map(|keyring| keyring.phase(UnixS::from(self.now)));
        let qtype = self.query.qtype();
        let Some(records) = phase.and_then(|phase| phase.records(qtype)) else { return Err(self) };
        let rdatas = records.rdatas.iter().map(|rdata| Rdata::Bytes(rdata));
        Ok(self.records(Outcome::Static, qtype, records.ttl_s, 0, rdatas))
    }

    /// One text about the server, of class CH and TTL 0 (RFC 4892).
    pub(super) fn chaos(self, text: &[u8]) -> Answered {
        let Some(mut draft) = self.start(0) else { return Answered::dropped(Dropped::NoRoom) };
        draft.reply.set_class(CLASS_CH);
        draft.unsigned(Section::Answer, Owner::Qname, Rtype::TXT, 0, [Rdata::Text(text)]);
        draft.finish(Outcome::Static, Rcode::NoError, true)
    }

    /// A static record set; addresses of name servers are added where there is room.
    pub(super) fn rrset(self, zone: &Zone, rrset: &Rrset) -> Answered {
        let Some(mut draft) = self.start(0) else { return Answered::dropped(Dropped::NoRoom) };
        let rdatas = rrset.rdatas.iter().map(|rdata| rdata.as_rdata());
        draft.rrset(Section::Answer, Owner::Qname, rrset.rtype, rrset.ttl_s, rdatas);
        if rrset.rtype == Rtype::NS {
            rrset.targets().for_each(|target| Self::write_glue(&mut draft, zone, target, false));
        }
        draft.finish(Outcome::Static, Rcode::NoError, true)
    }

    /// A referral to the name servers of `cut`, whose node is `node`, with the DS there or the proof that
    /// there is none (RFC 4035 section 3.1.4). Glue below the cut must be there, or TC is set
    /// (RFC 9471 section 3.1); other addresses of the zone are added where there is room.
    pub(super) fn referral(self, zone: &Zone, cut: &Name, node: &Node, ns: &Rrset) -> Answered {
        let is_signed = self.signs();
        let Some(mut draft) = self.start(0) else { return Answered::dropped(Dropped::NoRoom) };
        let owner = Owner::Name(cut.as_wire());
        let rdatas = ns.rdatas.iter().map(|rdata| rdata.as_rdata());
        draft.unsigned(Section::Authority, owner, Rtype::NS, ns.ttl_s, rdatas);
        match node.rrset(Rtype::DS).filter(|_| is_signed) {
            Some(ds) => {
                let rdatas = ds.rdatas.iter().map(|rdata| rdata.as_rdata());
                draft.rrset(Section::Authority, owner, Rtype::DS, ds.ttl_s, rdatas);
            }
            None => draft.nsec_of_cut(owner, node, zone),
        }
        let is_needed = |target: &&Name| is_subdomain(target.as_wire(), cut.as_wire());
        for target in ns.targets().filter(is_needed) {
            Self::write_glue(&mut draft, zone, target, true);
        }
        for target in ns.targets().filter(|target| !is_needed(target)) {
            Self::write_glue(&mut draft, zone, target, false);
        }
        draft.finish(Outcome::Referral, Rcode::NoError, false)
    }

    /// Adds the static addresses of `target`.
    fn write_glue(draft: &mut Draft<'_, '_>, zone: &Zone, target: &Name, is_needed: bool) {
        let name = target.as_wire();
        for rtype in [Rtype::A, Rtype::AAAA] {
            let Some(rrset) = zone.node(name).and_then(|node| node.rrset(rtype)) else {
                continue;
            };
            let rdatas = rrset.rdatas.iter().map(|rdata| rdata.as_rdata());
            if is_needed {
                draft.unsigned(Section::Additional, Owner::Name(name), rtype, rrset.ttl_s, rdatas);
            } else {
                let is_glue = zone.cut_over(name).is_some();
                draft.rrset_if_room(name, rtype, rrset.ttl_s, !is_glue, rdatas);
            }
        }
    }
}
