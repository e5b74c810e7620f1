//! Which reply a query gets. Layer 7; the replies themselves are written by `compose`.

use super::compose::{Composer, Negative};
use super::limit::{self, Ruling, Told};
use super::outcome::Outcome;
use super::{Answered, Context, Dropped, Scratch, Server, Transport, usual};
use crate::fleet::{Appliance, ServiceId};
use crate::prefix::{Client, Family};
use crate::snapshot::{Named, Snapshot};
use crate::steer::{self, Choice, Key, Question, Ranking, Verdict, Want};
use crate::wire::{
    CLASS_CH, CLASS_IN, Ede, NameBuf, Owner, Query, Rcode, Rdata, Reject, Rtype, Section, UDP_SIZE_PLAIN,
    compose_cookie, compose_reject,
};
use crate::zone::{Found, Node, Rrset, Zone};
use std::net::IpAddr;

/// Longest time that a negative answer made by steering may be kept, seconds (ruling 26).
const STEERED_NEGATIVE_TTL_S_MAX: u32 = 5;

/// TTL of an appliance's own addresses, seconds: they change with a table.
const APPLIANCE_TTL_S: u32 = 60;

/// Static aliases followed for one query, at most.
const CHAIN_MAX: usize = 8;

/// Answers one packet from `peer` into `out`.
///
/// Total: every packet has one [`Outcome`]. Equal arguments make equal bytes, unless the peer's network has
/// been told enough. At most the client's limit is written over UDP, and errors are at most 11 octets
/// longer than the packet (27 where it has a cookie).
pub fn answer(
    context: &Context<'_>,
    scratch: &mut Scratch,
    peer: IpAddr,
    transport: Transport,
    packet: &[u8],
    out: &mut [u8],
) -> Answered {
    (scratch.decided, scratch.is_verified) = (None, transport.is_stream());
    let answered = match usual::answer(context.world, scratch, transport, packet, out) {
        Some(answered) => answered,
        None => answer_any(context, scratch, peer, transport, packet, out),
    };
    if scratch.is_verified || answered.len == 0 || !context.server.limits.concern(peer) {
        return answered;
    }
    limited(context, scratch, peer, packet, answered, out)
}

/// [`answer`] the general way.
pub(super) fn answer_any(
    context: &Context<'_>,
    scratch: &mut Scratch,
    peer: IpAddr,
    transport: Transport,
    packet: &[u8],
    out: &mut [u8],
) -> Answered {
    let Context { world, server, now } = *context;
    let Scratch { qname, alias, ranking, decided, is_verified, .. } = scratch;
    *decided = None;
    let mut query = match Query::parse(packet, qname) {
        Ok(query) => query,
        Err(reject) => return refuse(context, peer, &reject, out),
    };
    if !transport.is_encrypted() {
        query.forget_padding();
    }
    let cookie = query.edns().and_then(|edns| edns.cookie);
    let Ok(shown) = cookie.map_or(Ok(None), |data| server.cookies.look(data, peer, now)) else {
        return refuse(context, peer, &Reject::FormErr(*query.echo()), out);
    };
    *is_verified |= shown.is_some_and(|shown| shown.is_valid);
    let limit = match transport {
        Transport::Udp => query.udp_limit(world.settings().udp_size_max),
        _ => usize::from(u16::MAX),
    };
    let cookie = shown.as_ref().map(|shown| &shown.reply[..]);
    let composer = Composer { query: &query, server, cookie, out, limit };
    if query.qclass() == CLASS_CH {
        return chaos(server, composer);
    }
    let is_transfer = matches!(query.qtype(), Rtype::AXFR | Rtype::IXFR);
    if query.qclass() != CLASS_IN || is_transfer {
        return composer.error(Outcome::Refused, Rcode::Refused, None, 0);
    }
    if world.is_ready()
        && let Some(Named::Service(id)) = world.names().exact(query.qname())
        && let Some((zone, node)) = world.home(id, query.qname())
    {
        let asked = Asked { query: &query, zone, peer };
        return asked.service(world, id, node, ranking, decided, alias, composer);
    }
    let Some(zone) = world.zones().find(query.qname()) else {
        return composer.error(Outcome::Refused, Rcode::Refused, None, 0);
    };
    let asked = Asked { query: &query, zone, peer };
    if world.is_ready() {
        asked.answer(world, ranking, decided, alias, composer)
    } else {
        asked.answer_without_table(composer)
    }
}

/// Replies to a packet that is no query to answer.
fn refuse(context: &Context<'_>, peer: IpAddr, reject: &Reject<'_>, out: &mut [u8]) -> Answered {
    let outcome = match reject {
        Reject::Drop(reason) => return Answered::dropped((*reason).into()),
        Reject::CookieOnly(echo, cookie) => {
            if let Ok(Some(shown)) = context.server.cookies.look(cookie, peer, context.now) {
                return match compose_cookie(echo, &shown.reply, out) {
                    Some(len) => Answered { outcome: Outcome::CookieOnly, len },
                    None => Answered::dropped(Dropped::NoRoom),
                };
            }
            Outcome::FormErr
        }
        Reject::FormErr(_) => Outcome::FormErr,
        Reject::NotImp(_) => Outcome::NotImp,
        Reject::BadVers(_) => Outcome::BadVers,
        Reject::NotAuth(..) => Outcome::NotAuth,
    };
    compose_reject(reject, out)
        .map_or_else(|| Answered::dropped(Dropped::NoRoom), |len| Answered { outcome, len })
}

/// Counts a reply that lies in `out` against the budgets of the peer's network, and replaces it where one
/// of them is spent.
#[inline(never)]
fn limited(
    context: &Context<'_>,
    scratch: &mut Scratch,
    peer: IpAddr,
    packet: &[u8],
    answered: Answered,
    out: &mut [u8],
) -> Answered {
    let Context { server, now, .. } = *context;
    let Scratch { qname, decided, ledger, .. } = scratch;
    let query = Query::parse(packet, qname);
    let what = what_is_told(answered.outcome, *decided, query.as_ref().ok());
    let told = Told { peer, what, query_len: packet.len(), reply_len: answered.len };
    let ruling = ledger.judge(&server.limits, &told, now);
    if ruling == Ruling::Send {
        return answered;
    }
    *decided = None;
    let (Ruling::Slip, Ok(query)) = (ruling, query) else { return Answered::dropped(Dropped::Limited) };
    let cookie = query.edns().and_then(|edns| edns.cookie);
    let shown = cookie.and_then(|data| server.cookies.look(data, peer, now).ok().flatten());
    let limit = query.udp_limit(UDP_SIZE_PLAIN);
    let cookie = shown.as_ref().map(|shown| &shown.reply[..]);
    let composer = Composer { query: &query, server, cookie, out, limit };
    match cookie {
        Some(_) => composer.error(Outcome::BadCookie, Rcode::BadCookie, None, 0),
        None => composer.truncated(),
    }
}

/// A number that equal answers share: those to one question for one client subnet, whoever made up the
/// labels under a wildcard service; all errors of one kind.
fn what_is_told(outcome: Outcome, decided: Option<(ServiceId, Choice)>, query: Option<&Query<'_>>) -> u64 {
    let name = match (outcome, query) {
        (
            Outcome::Steered
            | Outcome::Aliased
            | Outcome::Static
            | Outcome::Truncated
            | Outcome::NoData
            | Outcome::Referral
            | Outcome::NobodyUp,
            Some(query),
        ) => match decided {
            Some((service, _)) => limit::mix(service.index() as u64 + 1),
            None => query.qname().chunks(8).fold(0, |hash, chunk| {
                let mut octets = [0; 8];
                octets[..chunk.len()].copy_from_slice(chunk);
                limit::mix(hash ^ u64::from_le_bytes(octets))
            }),
        },
        _ => return limit::mix(outcome.index() as u64),
    };
    let subnet = query.and_then(Query::ecs).map_or(0, |ecs| {
        let bits = match ecs.address() {
            IpAddr::V4(addr) => u128::from(u32::from(addr)) << 96 | 4,
            IpAddr::V6(addr) => addr.into(),
        };
        limit::mix(limit::mix((bits >> 64) as u64) ^ bits as u64 ^ u64::from(ecs.source_len()) << 8)
    });
    limit::mix(name ^ subnet ^ u64::from(query.map_or(0, |query| query.qtype().0)) << 48)
}

/// Answers a query of class CH: what the server is called and which version it runs, where it says so
/// (RFC 4892).
fn chaos(server: &Server, composer: Composer<'_, '_>) -> Answered {
    let told = match composer.query.qname() {
        b"\x02id\x06server\x00" | b"\x08hostname\x04bind\x00" => &server.identity,
        b"\x07version\x06server\x00" | b"\x07version\x04bind\x00" => &server.version,
        _ => "",
    };
    match composer.query.qtype() {
        Rtype::TXT | Rtype::ANY if !told.is_empty() => composer.chaos(told.as_bytes()),
        _ => composer.error(Outcome::Refused, Rcode::Refused, None, 0),
    }
}

/// The family that an address type asks for.
fn family_of(qtype: Rtype) -> Option<Family> {
    match qtype {
        Rtype::A => Some(Family::V4),
        Rtype::AAAA => Some(Family::V6),
        _ => None,
    }
}

/// A query for a name of one of our zones.
struct Asked<'a> {
    query: &'a Query<'a>,
    zone: &'a Zone,
    peer: IpAddr,
}

impl<'a> Asked<'a> {
    /// Answers from table and zone.
    fn answer(
        &self,
        world: &Snapshot,
        ranking: &mut Ranking,
        decided: &mut Option<(ServiceId, Choice)>,
        alias: &mut NameBuf,
        composer: Composer<'_, '_>,
    ) -> Answered {
        let qname = self.query.qname();
        match world.names().exact(qname) {
            Some(Named::Appliance(id)) => {
                let appliance = world.fleet().appliance(id);
                return self.appliance(world, appliance, self.zone.node(qname), composer);
            }
            // A service in a zone was answered by its home.
            Some(Named::Service(_)) | None => {}
        }
        let exists = |name: &[u8]| world.names().is_inner(name) || world.names().exact(name).is_some();
        let found = self.zone.find(qname, exists);
        let wildcard_len = match found {
            Found::Exact(node) if !node.rrsets().is_empty() => {
                return self.static_data(Some(world), node, composer);
            }
            Found::Delegation(cut, node) => {
                // The parent side answers for DS at the cut (RFC 4035 section 3.1.4.1).
                let is_ds = self.query.qtype() == Rtype::DS && cut.as_wire() == qname;
                return match node.rrset(Rtype::NS) {
                    Some(ns) if !is_ds => composer.referral(self.zone, cut, ns),
                    _ => self.static_data(Some(world), node, composer),
                };
            }
            Found::Exact(node) => return self.static_data(Some(world), node, composer),
            Found::Wildcard(_, len) => len,
            Found::Nothing => 0,
        };
        if world.names().is_inner(qname) {
            return composer.negative(Negative::no_data(self.zone));
        }
        let service = world.names().wildcard(qname).filter(|id| {
            // A service's name has no escapes: in wire form it is two octets longer.
            world.fleet().service(*id).name.len() + 2 >= wildcard_len
        });
        let node = match found {
            Found::Wildcard(node, _) => Some(node),
            _ => None,
        };
        match (service, node) {
            (Some(id), node) => self.service(world, id, node, ranking, decided, alias, composer),
            (None, Some(node)) => self.static_data(Some(world), node, composer),
            (None, None) => composer.negative(Negative::nx_domain(self.zone)),
        }
    }

    /// Answers before there is a table: what is static is known, all else may be a service.
    fn answer_without_table(&self, composer: Composer<'_, '_>) -> Answered {
        let qtype = self.query.qtype();
        let is_apex = self.query.qname() == self.zone.apex().as_wire();
        match self.zone.find(self.query.qname(), |_| false) {
            Found::Delegation(cut, node) => {
                if let Some(ns) = node.rrset(Rtype::NS) {
                    return composer.referral(self.zone, cut, ns);
                }
            }
            Found::Exact(node) if node.rrset(qtype).is_some() || (is_apex && qtype == Rtype::SOA) => {
                return self.static_data(None, node, composer);
            }
            _ => {}
        }
        let ede = Ede { code: Ede::NOT_READY, text: "no table yet" };
        composer.error(Outcome::NotReady, Rcode::ServFail, Some(ede), 0)
    }

    /// Answers a service's name; `node` is what is static there.
    #[allow(clippy::too_many_arguments, reason = "a worker's buffers, each borrowed for itself")]
    fn service(
        &self,
        world: &Snapshot,
        id: ServiceId,
        node: Option<&Node>,
        ranking: &mut Ranking,
        decided: &mut Option<(ServiceId, Choice)>,
        alias: &mut NameBuf,
        composer: Composer<'_, '_>,
    ) -> Answered {
        let Some(family) = family_of(self.query.qtype()) else {
            let empty = Node::default();
            return self.beside_own(world, node.unwrap_or(&empty), composer);
        };
        let service = world.fleet().service(id);
        let Decided { choice, scope_len, is_by_subnet } = self.decide(world, id, family, ranking);
        *decided = Some((id, choice));
        let negative = Negative {
            zone: self.zone,
            ttl_s: service.ttl_s.min(STEERED_NEGATIVE_TTL_S_MAX),
            rcode: Rcode::NoError,
            scope_len,
        };
        let other = match choice.verdict {
            Verdict::Serve { .. } => {
                // One resolver asks for many clients: each query begins elsewhere (ruling 9).
                if !is_by_subnet {
                    ranking.begin_at(usize::from(self.query.id()));
                }
                let addresses = ranking
                    .appliances()
                    .iter()
                    .filter_map(|id| world.fleet().address(*id, family).map(rdata_of));
                return composer.addresses(
                    Outcome::Steered,
                    self.query.qtype(),
                    service.ttl_s,
                    scope_len,
                    addresses,
                );
            }
            Verdict::Fallback => service.fallback_alias.as_deref(),
            Verdict::Denied => service.denied_alias.as_deref(),
            Verdict::NoSuchFamily | Verdict::NoCandidate => None,
            Verdict::NobodyUp => {
                let ede = Ede { code: Ede::NO_REACHABLE_AUTHORITY, text: "no appliance is up" };
                return composer.error(Outcome::NobodyUp, Rcode::ServFail, Some(ede), scope_len);
            }
        };
        match other {
            Some(host) if alias.set_host(host) => composer.alias(service.ttl_s, scope_len, alias.as_wire()),
            _ => composer.negative(negative),
        }
    }

    /// Decides for the query's client: its subnet's lowest address, or the peer (ruling 10).
    fn decide(&self, world: &Snapshot, service: ServiceId, family: Family, ranking: &mut Ranking) -> Decided {
        let mut ask = |client: IpAddr, count: u8| {
            let want = Want::Family(family, count);
            let question = Question { service, client: Client::of(client), want, key: Key::Dns };
            steer::steer(world, &question, ranking)
        };
        let no_ecs = world.settings().answers_no_ecs;
        let Some(ecs) = self.query.ecs().filter(|ecs| ecs.source_len() > 0) else {
            return Decided { choice: ask(self.peer, no_ecs), scope_len: 0, is_by_subnet: false };
        };
        let choice = ask(ecs.address(), world.fleet().service(service).answers_max);
        let scope_len = choice.scope_len;
        if choice.peer_decides {
            return Decided { choice: ask(self.peer, no_ecs), scope_len, is_by_subnet: false };
        }
        Decided { choice, scope_len, is_by_subnet: true }
    }

    /// Answers an appliance's host name; `node` is what is static there.
    fn appliance(
        &self,
        world: &Snapshot,
        appliance: &Appliance,
        node: Option<&Node>,
        composer: Composer<'_, '_>,
    ) -> Answered {
        let Some(family) = family_of(self.query.qtype()) else {
            let empty = Node::default();
            return self.beside_own(world, node.unwrap_or(&empty), composer);
        };
        match appliance.address(family) {
            Some(address) => composer.addresses(
                Outcome::Static,
                self.query.qtype(),
                APPLIANCE_TTL_S,
                0,
                std::iter::once(rdata_of(address)),
            ),
            None => composer.negative(Negative::no_data(self.zone)),
        }
    }

    /// Answers a type that a service or appliance has not itself, from what is static at its name;
    /// static aliases there are a problem that was reported and are not served.
    fn beside_own(&self, world: &Snapshot, node: &Node, composer: Composer<'_, '_>) -> Answered {
        if node.rrset(Rtype::CNAME).is_some() && self.query.qtype() != Rtype::ANY {
            return composer.negative(Negative::no_data(self.zone));
        }
        self.static_data(Some(world), node, composer)
    }

    /// Answers from a static node.
    fn static_data(&self, world: Option<&Snapshot>, node: &Node, composer: Composer<'_, '_>) -> Answered {
        let qtype = self.query.qtype();
        let is_apex = self.query.qname() == self.zone.apex().as_wire();
        if qtype == Rtype::SOA && is_apex {
            return composer.soa(self.zone);
        }
        if qtype == Rtype::ANY && (!node.rrsets().is_empty() || self.is_named(world)) {
            return composer.any();
        }
        if let Some(rrset) = node.rrset(qtype) {
            return composer.rrset(self.zone, rrset);
        }
        match node.rrset(Rtype::CNAME) {
            Some(cname) => self.chain(world, cname, composer),
            None => composer.negative(Negative::no_data(self.zone)),
        }
    }

    /// Whether the table has the name, exactly or by a wildcard.
    fn is_named(&self, world: Option<&Snapshot>) -> bool {
        let qname = self.query.qname();
        world.is_some_and(|world| {
            world.names().exact(qname).is_some()
                || (!world.names().is_inner(qname) && world.names().wildcard(qname).is_some())
        })
    }

    /// Answers with a static alias and what it leads to inside the zone. It ends where the table
    /// begins: a service's answer has a scope of its own, so the resolver asks for it by name.
    fn chain(&self, world: Option<&Snapshot>, first: &Rrset, composer: Composer<'_, '_>) -> Answered {
        let qtype = self.query.qtype();
        let Some(mut reply) = composer.start(0, None) else { return Answered::dropped(Dropped::NoRoom) };
        let mut owner = Owner::Qname;
        let mut cname = first;
        let mut rcode = Rcode::NoError;
        for _ in 0..CHAIN_MAX {
            let rdatas = cname.rdatas.iter().map(|rdata| rdata.as_rdata());
            reply.rrset(Section::Answer, owner, Rtype::CNAME, cname.ttl_s, rdatas);
            let Some(target) = cname.targets().next() else { break };
            let (Some(world), true) = (world, target.is_subdomain_of(self.zone.apex())) else { break };
            let names = world.names();
            if names.exact(target.as_wire()).is_some() || names.wildcard(target.as_wire()).is_some() {
                break;
            }
            let exists = |name: &[u8]| names.is_inner(name) || names.exact(name).is_some();
            let node = match self.zone.find(target.as_wire(), exists) {
                Found::Exact(node) | Found::Wildcard(node, _) => node,
                Found::Delegation(..) => break,
                Found::Nothing => {
                    // RFC 6604 section 3: the response code is of the chain's last name.
                    rcode = if names.is_inner(target.as_wire()) { Rcode::NoError } else { Rcode::NxDomain };
                    Composer::write_soa(&mut reply, self.zone, self.zone.negative_ttl_s());
                    break;
                }
            };
            owner = Owner::Name(target.as_wire());
            if let Some(rrset) = node.rrset(qtype) {
                let rdatas = rrset.rdatas.iter().map(|rdata| rdata.as_rdata());
                reply.rrset(Section::Answer, owner, qtype, rrset.ttl_s, rdatas);
                break;
            }
            let Some(next) = node.rrset(Rtype::CNAME) else {
                Composer::write_soa(&mut reply, self.zone, self.zone.negative_ttl_s());
                break;
            };
            cname = next;
        }
        let outcome = if rcode == Rcode::NxDomain { Outcome::NxDomain } else { Outcome::Static };
        Composer::finish(reply, outcome, rcode, true)
    }
}

/// A decision for a query.
struct Decided {
    choice: Choice,
    /// What an ECS reply says.
    scope_len: u8,
    /// The query's subnet decided, not the peer.
    is_by_subnet: bool,
}

/// An address as record data.
fn rdata_of(address: IpAddr) -> Rdata<'static> {
    match address {
        IpAddr::V4(address) => Rdata::A(address),
        IpAddr::V6(address) => Rdata::Aaaa(address),
    }
}
