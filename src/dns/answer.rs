//! Which reply a query gets. Layer 7; the replies themselves are written by `compose`.

use super::compose::{Composer, Negative};
use super::limit::{self, Ruling, Told};
use super::outcome::Outcome;
use super::signing::{Present, Signatory};
use super::{Answered, Context, Dropped, Scratch, Server, Transport, usual};
use super::{explain, svcb};
use crate::fleet::{Appliance, Binding, Scheme, Service, ServiceId};
use crate::prefix::{Client, Family, Prefix};
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

/// The port of https.
const HTTPS_PORT: u16 = 443;

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
    let answered = match usual::answer(context, scratch, transport, packet, out) {
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
    let Scratch { qname, alias, ranking, decided, is_verified, signatory, .. } = scratch;
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
    let composer = composer(context, &query, cookie, transport, limit, out, signatory);
    if query.qclass() == CLASS_CH {
        return chaos(server, composer);
    }
    let is_transfer = matches!(query.qtype(), Rtype::AXFR | Rtype::IXFR);
    if query.qclass() != CLASS_IN || is_transfer {
        return composer.refused(Ede::PROHIBITED);
    }
    if query.qtype() == Rtype::NXNAME {
        // RFC 9824 section 3.5.
        let ede = Ede::of(Ede::INVALID_QUERY_TYPE);
        return composer.error(Outcome::FormErr, Rcode::FormErr, Some(ede), 0);
    }
    if world.is_ready()
        && let Some(Named::Service(id)) = world.names().exact(query.qname())
        && let Some((zone, node)) = world.home(id, query.qname())
    {
        let asked = Asked { query: &query, zone, peer };
        return asked.service(world, id, node, ranking, decided, alias, composer.in_zone(zone));
    }
    let Some(zone) = world.zones().find(query.qname()) else {
        return composer.refused(Ede::NOT_AUTHORITATIVE);
    };
    let (asked, composer) = (Asked { query: &query, zone, peer }, composer.in_zone(zone));
    if world.is_ready() {
        asked.answer(world, ranking, decided, alias, composer)
    } else {
        asked.answer_without_table(composer)
    }
}

/// What writes the reply to `query`, in no zone so far.
fn composer<'a, 'b>(
    context: &Context<'a>,
    query: &'a Query<'a>,
    cookie: Option<&'a [u8]>,
    transport: Transport,
    limit: usize,
    out: &'b mut [u8],
    signatory: &'b mut Signatory,
) -> Composer<'a, 'b> {
    let Context { server, now, .. } = *context;
    Composer {
        query,
        server,
        cookie,
        out,
        limit,
        transport,
        now,
        signatory,
        keyring: None,
        is_invented: false,
        note: None,
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
    let Scratch { qname, decided, ledger, signatory, .. } = scratch;
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
    let composer = composer(context, &query, cookie, Transport::Udp, limit, out, signatory);
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
        _ => composer.refused(Ede::PROHIBITED),
    }
}

/// Whether the apex has records of this type that do not stand in the zone's file.
fn is_of_apex(qtype: Rtype) -> bool {
    matches!(qtype, Rtype::SOA | Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY)
}

/// The family that an address type asks for.
fn family_of(qtype: Rtype) -> Option<Family> {
    match qtype {
        Rtype::A => Some(Family::V4),
        Rtype::AAAA => Some(Family::V6),
        _ => None,
    }
}

/// The record of `qtype` that a service makes of itself.
fn binding_of(service: &Service, qtype: Rtype) -> Option<&Binding> {
    match qtype {
        Rtype::HTTPS => service.https.as_ref(),
        Rtype::SVCB => service.svcb.as_ref(),
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
        if let Some(peers) = composer.server.explains(self.zone.apex().as_wire())
            && let Some(service) = explain::service_of(world, qname)
        {
            return self.explain(world, service, peers, composer);
        }
        let exists = |name: &[u8]| world.names().is_inner(name) || world.names().exact(name).is_some();
        let found = self.zone.find(qname, exists);
        let wildcard_len = match found {
            Found::Exact(node) if !node.rrsets().is_empty() => {
                return self.static_data(Some(world), Present::of(node), composer);
            }
            Found::Delegation(cut, node) => {
                // The parent side answers for DS at the cut (RFC 4035 section 3.1.4.1).
                let is_ds = self.query.qtype() == Rtype::DS && cut.as_wire() == qname;
                return match node.rrset(Rtype::NS) {
                    Some(ns) if !is_ds => composer.referral(self.zone, cut, node, ns),
                    _ => self.static_data(Some(world), Present::cut(node), composer),
                };
            }
            Found::Exact(node) => return self.static_data(Some(world), Present::of(node), composer),
            Found::Wildcard(_, len) => len,
            Found::Nothing => 0,
        };
        if world.names().is_inner(qname) {
            return composer.negative(Negative::no_data(self.zone, Present::EMPTY));
        }
        let composer = composer.invented();
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
            (None, Some(node)) => self.static_data(Some(world), Present::of(node), composer),
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
                    return composer.referral(self.zone, cut, node, ns);
                }
            }
            Found::Exact(node) if node.rrset(qtype).is_some() || (is_apex && is_of_apex(qtype)) => {
                return self.static_data(None, Present::of(node), composer);
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
        let (service, qtype) = (world.fleet().service(id), self.query.qtype());
        let present = Present::service(node, service);
        let stale = world.is_stale().then_some(Ede::of(Ede::STALE_ANSWER));
        let Some(family) = family_of(qtype) else {
            // What is written in the zone is served rather than what is made.
            return match binding_of(service, qtype).filter(|_| !present.has(qtype)) {
                Some(binding) => {
                    let composer = composer.noting(stale);
                    self.binding(world, id, binding, present, ranking, decided, alias, composer)
                }
                None => self.beside_own(world, present, composer),
            };
        };
        let composer = composer.noting(stale);
        let Decided { choice, scope_len, is_by_subnet } = self.decide(world, id, family, ranking);
        *decided = Some((id, choice));
        let Verdict::Serve { .. } = choice.verdict else {
            return self.unserved(service, &choice, scope_len, present, alias, composer);
        };
        // One resolver asks for many clients: each query begins elsewhere (ruling 9).
        if !is_by_subnet {
            ranking.begin_at(usize::from(self.query.id()));
        }
        let addresses =
            ranking.appliances().iter().filter_map(|id| world.fleet().address(*id, family).map(Rdata::of));
        composer.records(Outcome::Steered, qtype, service.ttl_s, scope_len, addresses)
    }

    /// Answers for a service where nobody serves the client.
    fn unserved(
        &self,
        service: &Service,
        choice: &Choice,
        scope_len: u8,
        present: Present<'_>,
        alias: &mut NameBuf,
        composer: Composer<'_, '_>,
    ) -> Answered {
        let other = match choice.verdict {
            Verdict::Fallback => service.fallback_alias.as_deref(),
            Verdict::Denied => service.denied_alias.as_deref(),
            Verdict::Serve { .. } | Verdict::NoSuchFamily | Verdict::NoCandidate => None,
            Verdict::NobodyUp => {
                let ede = Ede { code: Ede::NO_REACHABLE_AUTHORITY, text: "no appliance is up" };
                return composer.error(Outcome::NobodyUp, Rcode::ServFail, Some(ede), scope_len);
            }
        };
        let ttl_s = service.ttl_s.min(STEERED_NEGATIVE_TTL_S_MAX);
        let is_denied = choice.verdict == Verdict::Denied;
        let composer = composer.noting(is_denied.then_some(Ede::of(Ede::PROHIBITED)));
        match other {
            Some(host) if alias.set_host(host) => composer.alias(service.ttl_s, scope_len, alias.as_wire()),
            _ => composer.negative(Negative { zone: self.zone, ttl_s, present, scope_len }),
        }
    }

    /// Answers with a service's HTTPS or SVCB record (RFC 9460): this name itself, and hints at the addresses
    /// that the same client is answered with (section 7.3), so that it holds as far as both of them.
    #[allow(clippy::too_many_arguments, reason = "a worker's buffers, each borrowed for itself")]
    fn binding(
        &self,
        world: &Snapshot,
        id: ServiceId,
        binding: &Binding,
        present: Present<'_>,
        ranking: &mut Ranking,
        decided: &mut Option<(ServiceId, Choice)>,
        alias: &mut NameBuf,
        composer: Composer<'_, '_>,
    ) -> Answered {
        let service = world.fleet().service(id);
        let (mut scope_len, mut unserved) = (0, None);
        let mut hints: [Vec<IpAddr>; 2] = Default::default();
        for (family, hints) in [Family::V4, Family::V6].into_iter().zip(&mut hints) {
            let Decided { choice, scope_len: holds, is_by_subnet } = self.decide(world, id, family, ranking);
            scope_len = scope_len.max(holds);
            if !matches!(choice.verdict, Verdict::Serve { .. }) {
                unserved = unserved.or(Some(choice));
                continue;
            }
            *decided = decided.or(Some((id, choice)));
            if !is_by_subnet {
                ranking.begin_at(usize::from(self.query.id()));
            }
            let addresses = ranking.appliances().iter();
            hints.extend(addresses.filter_map(|id| world.fleet().address(*id, family)));
        }
        if let (Some(choice), true) = (unserved, hints.iter().all(Vec::is_empty)) {
            *decided = Some((id, choice));
            return self.unserved(service, &choice, scope_len, present, alias, composer);
        }
        let qtype = self.query.qtype();
        // Type HTTPS speaks of https, at its own port; what else SVCB may speak of has no port of its own.
        let is_said = |port: &u16| {
            qtype == Rtype::SVCB || (service.scheme == Some(Scheme::Https) && *port != HTTPS_PORT)
        };
        let hints = if binding.hints { hints } else { Default::default() };
        let rdata = svcb::rdata(&binding.alpn, service.port.filter(is_said), &hints);
        let rdatas = [Rdata::Bytes(&rdata)];
        composer.records(Outcome::Steered, qtype, service.ttl_s, scope_len, rdatas)
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
            let known = world.fleet().resolver_at(self.peer).map(|resolver| &*resolver.clients);
            let mut clients = known.unwrap_or_default().iter().map(|prefix| prefix.first());
            // The largest network that somebody serves, not by accident of where the resolver is.
            let is_served = |choice: &Choice| matches!(choice.verdict, Verdict::Serve { .. });
            let choice = clients
                .find_map(|client| Some(ask(client, no_ecs)).filter(is_served))
                .unwrap_or_else(|| ask(self.peer, no_ecs));
            return Decided { choice, scope_len: 0, is_by_subnet: false };
        };
        let choice = ask(ecs.address(), world.fleet().service(service).answers_max);
        let scope_len = choice.scope_len;
        if choice.peer_decides {
            return Decided { choice: ask(self.peer, no_ecs), scope_len, is_by_subnet: false };
        }
        Decided { choice, scope_len, is_by_subnet: true }
    }

    /// Tells whoever may know how the query's client is decided for, one record for each family.
    fn explain(
        &self,
        world: &Snapshot,
        service: &[u8],
        peers: &[Prefix],
        composer: Composer<'_, '_>,
    ) -> Answered {
        if !peers.iter().any(|prefix| prefix.contains(self.peer)) {
            return composer.refused(Ede::PROHIBITED);
        }
        if self.query.qtype() != Rtype::TXT {
            return composer.negative(Negative::no_data(self.zone, Present::EMPTY));
        }
        let subnet = self.query.ecs().filter(|ecs| ecs.source_len() > 0);
        let client = subnet.map_or(self.peer, |ecs| ecs.address());
        let told = [Family::V4, Family::V6].map(|family| explain::rdata(world, service, client, family));
        let scope_len = subnet.map_or(0, |ecs| ecs.source_len());
        let rdatas = told.iter().map(|rdata| Rdata::Bytes(rdata));
        composer.records(Outcome::Static, Rtype::TXT, 0, scope_len, rdatas)
    }

    /// Answers an appliance's host name; `node` is what is static there.
    fn appliance(
        &self,
        world: &Snapshot,
        appliance: &Appliance,
        node: Option<&Node>,
        composer: Composer<'_, '_>,
    ) -> Answered {
        let has = |family| appliance.address(family).is_some();
        let present = Present::named(node, [has(Family::V4), has(Family::V6)]);
        let Some(family) = family_of(self.query.qtype()) else {
            return self.beside_own(world, present, composer);
        };
        match appliance.address(family) {
            Some(address) => composer.records(
                Outcome::Static,
                self.query.qtype(),
                APPLIANCE_TTL_S,
                0,
                [Rdata::of(address)],
            ),
            None => composer.negative(Negative::no_data(self.zone, present)),
        }
    }

    /// Answers a type that a service or appliance has not itself, from what is static at its name;
    /// static aliases there are a problem that was reported and are not served.
    fn beside_own(&self, world: &Snapshot, present: Present<'_>, composer: Composer<'_, '_>) -> Answered {
        if present.node().rrset(Rtype::CNAME).is_some() && self.query.qtype() != Rtype::ANY {
            return composer.negative(Negative::no_data(self.zone, present));
        }
        self.static_data(Some(world), present, composer)
    }

    /// Answers from what is static at a name.
    fn static_data(
        &self,
        world: Option<&Snapshot>,
        present: Present<'_>,
        mut composer: Composer<'_, '_>,
    ) -> Answered {
        let (qtype, node) = (self.query.qtype(), present.node());
        let is_apex = self.query.qname() == self.zone.apex().as_wire();
        if is_apex && is_of_apex(qtype) {
            if qtype == Rtype::SOA {
                return composer.soa(self.zone);
            }
            composer = match composer.of_keys() {
                Ok(answered) => return answered,
                Err(composer) => composer,
            };
        }
        if qtype == Rtype::ANY && (!node.rrsets().is_empty() || self.is_named(world)) {
            return composer.any();
        }
        if let Some(rrset) = node.rrset(qtype) {
            return composer.rrset(self.zone, rrset);
        }
        // An alias has signatures and an NSEC of its own (RFC 4035 section 2.5).
        let is_own = composer.signs() && matches!(qtype, Rtype::NSEC | Rtype::RRSIG);
        match node.rrset(Rtype::CNAME).filter(|_| !is_own) {
            Some(cname) => self.chain(world, cname, composer),
            None => composer.negative(Negative::no_data(self.zone, present)),
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
        let Some(mut draft) = composer.start(0) else { return Answered::dropped(Dropped::NoRoom) };
        let negative_ttl_s = self.zone.negative_ttl_s();
        let mut owner = Owner::Qname;
        let mut cname = first;
        let (mut outcome, mut rcode) = (Outcome::Static, Rcode::NoError);
        for _ in 0..CHAIN_MAX {
            let rdatas = cname.rdatas.iter().map(|rdata| rdata.as_rdata());
            draft.rrset(Section::Answer, owner, Rtype::CNAME, cname.ttl_s, rdatas);
            let Some(target) = cname.targets().next() else { break };
            let (Some(world), true) = (world, target.is_subdomain_of(self.zone.apex())) else { break };
            let names = world.names();
            if names.exact(target.as_wire()).is_some() || names.wildcard(target.as_wire()).is_some() {
                break;
            }
            let exists = |name: &[u8]| names.is_inner(name) || names.exact(name).is_some();
            owner = Owner::Name(target.as_wire());
            let node = match self.zone.find(target.as_wire(), exists) {
                Found::Exact(node) | Found::Wildcard(node, _) => node,
                Found::Delegation(..) => break,
                Found::Nothing => {
                    // RFC 6604 section 3: the response code is of the chain's last name.
                    let is_inner = names.is_inner(target.as_wire());
                    let present = if is_inner { Present::EMPTY } else { Present::ABSENT };
                    if !is_inner {
                        (outcome, rcode) = (Outcome::NxDomain, draft.nx_domain());
                    }
                    draft.soa(self.zone, negative_ttl_s);
                    draft.denial(owner, present, self.zone, negative_ttl_s);
                    break;
                }
            };
            if let Some(rrset) = node.rrset(qtype) {
                let rdatas = rrset.rdatas.iter().map(|rdata| rdata.as_rdata());
                draft.rrset(Section::Answer, owner, qtype, rrset.ttl_s, rdatas);
                break;
            }
            let Some(next) = node.rrset(Rtype::CNAME) else {
                draft.soa(self.zone, negative_ttl_s);
                draft.denial(owner, Present::of(node), self.zone, negative_ttl_s);
                break;
            };
            cname = next;
        }
        draft.finish(outcome, rcode, true)
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
