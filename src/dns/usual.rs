//! The usual query, from its octets to those of the reply, in one go: an address of a service, asked
//! on behalf of a client subnet, that somebody serves, its signature at hand where it needs one. What
//! is not of that kind on the way, whatever the reason, is answered from the start by `answer`, which
//! does the same and more; nothing here decides anything that it does not. Layer 7. Tests: the two give
//! the same octets.

use super::outcome::Outcome;
use super::{Answered, Context, Scratch, Transport};
use crate::dnssec::Subject;
use crate::prefix::Client;
use crate::snapshot::Named;
use crate::steer::{self, Key, Question, Verdict, Want};
use crate::wire::UsualQuery;

/// Answers `packet` into `out` if it is of the usual kind. Leaves `scratch` as undecided as it was
/// when it is not.
#[inline]
pub(super) fn answer(
    context: &Context<'_>,
    scratch: &mut Scratch,
    transport: Transport,
    packet: &[u8],
    out: &mut [u8],
) -> Option<Answered> {
    let Context { world, server, now } = *context;
    let turn = scratch.foresight.begin();
    let query =
        UsualQuery::parse(packet, &mut scratch.qname).filter(|_| world.is_ready() && !world.is_stale())?;
    let Some(Named::Service(id)) = world.names().exact(scratch.qname.as_wire()) else { return None };
    let zone = world.home_zone(id)?;
    let apex = zone.apex().as_wire();
    let keyring = if query.wants_signatures() { server.keyrings.find(apex) } else { None };
    let position = world.view_position(id);
    scratch.foresight.learn(query.glimpsed_name(), position);
    let service = world.fleet().service(id);
    let family = query.family();
    let client = Client::of(query.ecs().address());
    let want = Want::Family(family, service.answers_max);
    let question = Question { service: id, client, want, key: Key::Dns };
    let view = world.view(id);
    let found = match scratch.foresight.hit(world, turn, position, client) {
        Some(hit) => view.found(hit),
        None => view.find(client),
    };
    let choice = steer::steer_found(world, &question, &found, &mut scratch.ranking);
    if choice.peer_decides || !matches!(choice.verdict, Verdict::Serve { .. }) {
        return None;
    }
    let limit = match transport {
        Transport::Udp => query.udp_limit(world.settings().udp_size_max),
        _ => usize::from(u16::MAX),
    };
    let served = scratch.ranking.appliances();
    let addresses = served.iter().filter_map(|&appliance| world.fleet().address(appliance, family));
    let rrsig = match keyring {
        None => &[],
        Some(keyring) => {
            let rtype = query.qtype();
            let subject = Subject { owner: scratch.qname.as_wire(), rtype, ttl_s: service.ttl_s };
            let signer = &mut scratch.signatory.signer;
            if !signer.take_addresses(subject, addresses.clone()) {
                return None;
            }
            // One key, as it is but for rollovers, and a signature that is at hand.
            let &[at] = keyring.phase(now.into()).signers_of(rtype) else { return None };
            signer.kept(keyring, at, now.into())?
        }
    };
    let len = query.reply(out, limit, service.ttl_s, choice.scope_len, served.len(), addresses, rrsig)?;
    scratch.decided = Some((id, choice));
    Some(Answered { outcome: Outcome::Steered, len })
}
