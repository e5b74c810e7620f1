//! What a signed reply has beside an unsigned one: signatures behind each set, and proof of what is not
//! there. Layer 7; how it is signed is `dnssec`'s business.

use crate::dnssec::{Keyring, Keyrings, Payment, Phase, Signer, Spent, Subject, Types, nsec};
use crate::fleet::Service;
use crate::wire::{Owner, Rdata, Reply, Rtype, Section};
use crate::zone::Node;

/// A worker's signatures and buffers for denial.
#[derive(Debug, Default)]
pub(super) struct Signatory {
    /// Makes and keeps signatures.
    pub(super) signer: Signer,
    types: Types,
    nsec: Vec<u8>,
}

/// A node without records.
static NOTHING: Node = Node::EMPTY;

/// What kind of name it is whose types are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It does not exist.
    Absent,
    /// It has what its node has.
    Static,
    /// A delegation, of which the parent has NS and DS only.
    Cut,
    /// The table has it, with addresses of its own; a static alias is not served.
    Named,
}

/// What a name has, for the proof of what it has not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present<'z> {
    kind: Kind,
    node: &'z Node,
    /// Whether it has addresses of IPv4 and IPv6 from the table.
    addresses: [bool; 2],
    /// Whether it has records of types SVCB and HTTPS from the table.
    bindings: [bool; 2],
}

impl<'z> Present<'z> {
    /// The name does not exist.
    pub(super) const ABSENT: Self =
        Self { kind: Kind::Absent, node: &NOTHING, addresses: [false; 2], bindings: [false; 2] };
    /// The name exists, with nothing.
    pub(super) const EMPTY: Self =
        Self { kind: Kind::Static, node: &NOTHING, addresses: [false; 2], bindings: [false; 2] };

    /// What is static.
    pub(super) fn of(node: &'z Node) -> Self {
        Self { kind: Kind::Static, node, ..Self::EMPTY }
    }

    /// A delegation.
    pub(super) fn cut(node: &'z Node) -> Self {
        Self { kind: Kind::Cut, node, ..Self::EMPTY }
    }

    /// A name of the table with addresses of these families (IPv4, IPv6), and what is static beside.
    pub(super) fn named(node: Option<&'z Node>, addresses: [bool; 2]) -> Self {
        Self { kind: Kind::Named, node: node.unwrap_or(&NOTHING), addresses, bindings: [false; 2] }
    }

    /// A service, which may have addresses of both families.
    pub(super) fn service(node: Option<&'z Node>, service: &Service) -> Self {
        let bindings = [&service.svcb, &service.https].map(Option::is_some);
        Self { bindings, ..Self::named(node, [true; 2]) }
    }

    /// Whether there is something static of this type.
    pub(super) fn has(&self, rtype: Rtype) -> bool {
        self.node.rrset(rtype).is_some()
    }

    /// What is static there.
    pub(super) fn node(&self) -> &'z Node {
        self.node
    }

    /// Whether the name exists.
    pub(super) fn is_there(&self) -> bool {
        self.kind != Kind::Absent
    }

    /// Collects its types, but for the one that was asked for and is not there.
    fn collect(&self, types: &mut Types, asked: Rtype, apex: Option<&Phase>) {
        types.clear();
        let is_served = |rtype: Rtype| match self.kind {
            Kind::Absent => false,
            Kind::Static => true,
            Kind::Cut => matches!(rtype, Rtype::NS | Rtype::DS),
            Kind::Named => !matches!(rtype, Rtype::A | Rtype::AAAA | Rtype::CNAME),
        };
        let rtypes = self.node.rrsets().iter().map(|rrset| rrset.rtype);
        rtypes.filter(|rtype| is_served(*rtype)).for_each(|rtype| types.add(rtype));
        let ([v4, v6], [svcb, https]) = (self.addresses, self.bindings);
        let absent = !self.is_there();
        let of_table = [
            (v4, Rtype::A),
            (v6, Rtype::AAAA),
            (svcb, Rtype::SVCB),
            (https, Rtype::HTTPS),
            (absent, Rtype::NXNAME),
        ];
        for (has, rtype) in of_table {
            if has {
                types.add(rtype);
            }
        }
        if let Some(phase) = apex {
            types.add(Rtype::SOA);
            let of_keys = [Rtype::DNSKEY, Rtype::CDS, Rtype::CDNSKEY].into_iter();
            of_keys.filter(|rtype| phase.records(*rtype).is_some()).for_each(|rtype| types.add(rtype));
        }
        types.remove(asked);
        types.add(Rtype::RRSIG);
        types.add(Rtype::NSEC);
    }
}

/// The signing of one reply.
pub(super) struct Signing<'a, 'b> {
    /// All keys.
    pub(super) keyrings: &'a Keyrings,
    /// Those of the zone.
    pub(super) keyring: &'a Keyring,
    /// What holds now.
    pub(super) phase: &'a Phase,
    /// Who signs.
    pub(super) signatory: &'b mut Signatory,
    /// Who pays.
    pub(super) payment: Payment,
}

/// Octets of a record before its data, at least: the owner as a pointer.
const RECORD_HEAD_LEN: usize = 12;

impl Signing<'_, '_> {
    /// Writes the signatures of a set behind it, and says whether they fitted. `ttl_s` is that of the
    /// reply; the subject's is the zone's.
    pub(super) fn sign<'r>(
        &mut self,
        reply: &mut Reply<'_, '_>,
        section: Section,
        owner: Owner<'_>,
        ttl_s: u32,
        subject: Subject<'_>,
        rdatas: impl Iterator<Item = Rdata<'r>>,
    ) -> Result<bool, Spent> {
        let signer = &mut self.signatory.signer;
        signer.take(subject, rdatas);
        let len = RECORD_HEAD_LEN + Signer::rrsig_len(self.keyring.apex().as_wire());
        for &at in self.phase.signers_of(subject.rtype) {
            // What cannot be sent need not be made.
            if reply.room() < len {
                return Ok(false);
            }
            let rrsig = signer.signature(self.keyrings, self.keyring, at, self.payment)?;
            if !reply.rrset_if_room(section, owner, Rtype::RRSIG, ttl_s, [Rdata::Bytes(rrsig)]) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Record data of the NSEC at `name`, which has what `present` says and not `asked`. The buffer is
    /// to be given back.
    pub(super) fn nsec(&mut self, name: &[u8], present: Present<'_>, asked: Rtype) -> Vec<u8> {
        let Signatory { types, nsec: out, .. } = &mut *self.signatory;
        let apex = (name == self.keyring.apex().as_wire()).then_some(self.phase);
        present.collect(types, asked, apex);
        nsec(name, types, out);
        std::mem::take(out)
    }

    /// Takes the buffer of [`Signing::nsec`] back.
    pub(super) fn give_back(&mut self, buffer: Vec<u8>) {
        self.signatory.nsec = buffer;
    }
}
