//! THE decision: one generation, a service, a client and a key in; ranked appliances, a scope and
//! the reason out.
//!
//! Pure, total and without allocation once the [`Ranking`] has grown to the largest cluster. Knows
//! neither DNS nor HTTP: a caller says which address families count and what spreads the load.
//! [`explain`] is this same code with a [`Recorder`] that listens.
//! Layer 6. The slow twin is `tests/model`.
//!
//! A decision has two parts. The **list** comes from the view, and the scope with it: clusters in
//! order, health apart. The **walk** goes along the list in stages, each looser than the one before
//! (ruling 2), and the first stage that finds a cluster serves:
//!
//! | stage | the first cluster that | serves with |
//! |---|---|---|
//! | healthy | is believed and has an appliance up that keeps this key | those |
//! | shed ignored | is believed and has an appliance up | those that are up |
//! | health broken | has an appliance up | all active ones |
//! | draining | has a draining appliance | those |
//! | (fallback) | | the service's alias |
//! | fail open | has an active appliance, unless failing open is off | all active ones |

pub mod explain;

use crate::fleet::{ApplianceId, ClusterId, Families, Service, ServiceId};
use crate::health::State;
use crate::metrics::Label;
use crate::policy::KEPT_MAX;
use crate::policy::rendezvous::KeyHash;
use crate::prefix::{Client, Family, transition};
use crate::snapshot::{
    ClusterStanding, Found, Kind, List, Members, Place, Snapshot, Standings, is_taken_out,
};
use std::net::IpAddr;

/// Appliances in a ranked list, at most.
pub const RANKED_MAX: usize = 16;

/// Which appliances an answer can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// At most so many of one cluster that have this family: a DNS answer.
    Family(Family, u8),
    /// All, over clusters, those that have this family first: a list of URLs.
    Ranked(Family),
    /// The same, but as long as the client's list: the best [`RANKED_MAX`] of each of its clusters.
    Each(Family),
}

/// What spreads clients and content over a cluster (ruling 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// The service, and the client's truncated address where a cluster is larger than one answer.
    Dns,
    /// These octets.
    Content(&'a [u8]),
    /// What an earlier question was spread by ([`key_of`]).
    Hashed(KeyHash),
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// Of the snapshot's fleet.
    pub service: ServiceId,
    /// The end user's network.
    pub client: Client,
    /// Families and length.
    pub want: Want,
    /// The key.
    pub key: Key<'a>,
}

/// How loosely health was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// As it says.
    Healthy,
    /// Every candidate sheds the key, so load marks are ignored.
    ShedIgnored,
    /// The cluster's health is judged broken: too few are up.
    HealthBroken,
    /// Nobody is up; those that drain serve.
    Draining,
    /// Nothing is up at all: health is ignored.
    FailOpen,
}

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A cluster of the list; its appliances are in the [`Ranking`].
    Serve {
        /// The cluster and why it is on the list.
        place: Place,
        /// Its position on the list, from 0.
        position: usize,
        /// How it was found.
        stage: Stage,
    },
    /// The service's fallback alias.
    Fallback,
    /// Nobody: the client's country is denied.
    Denied,
    /// Nobody has the asked family, whatever the health.
    NoSuchFamily,
    /// Nobody may serve this client, whatever the health.
    NoCandidate,
    /// Nobody, because of health.
    NobodyUp,
}

impl Verdict {
    /// How whoever serves was found, or why nobody is.
    pub fn name(self) -> &'static str {
        match self {
            Self::Serve { stage: Stage::Healthy, .. } => "healthy",
            Self::Serve { stage: Stage::ShedIgnored, .. } => "shed_ignored",
            Self::Serve { stage: Stage::HealthBroken, .. } => "health_broken",
            Self::Serve { stage: Stage::Draining, .. } => "draining",
            Self::Serve { stage: Stage::FailOpen, .. } => "fail_open",
            Self::Fallback => "fallback",
            Self::Denied => "denied",
            Self::NoSuchFamily => "no_such_family",
            Self::NoCandidate => "no_candidate",
            Self::NobodyUp => "nobody_up",
        }
    }
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Who serves.
    pub verdict: Verdict,
    /// How far the list and the key hold, in bits of the address as the client wrote it
    /// (RFC 7871 section 7.2.1).
    pub scope_len: u8,
    /// The client is in a special block and no route inside that block covers it: as the source of
    /// an ECS query it decides nothing, and whoever asks goes on with the peer (ruling 10).
    pub peer_decides: bool,
}

impl Choice {
    /// The cluster that serves, where one does.
    pub fn cluster(&self) -> Option<ClusterId> {
        match self.verdict {
            Verdict::Serve { place, .. } => Some(place.cluster),
            _ => None,
        }
    }

    /// What put the serving cluster on the list.
    pub fn matched(&self) -> Match {
        match self.verdict {
            Verdict::Serve { place, .. } => match place.kind {
                Kind::Route => Match::Route,
                Kind::Geo => Match::Geo,
                Kind::Default => Match::Default,
            },
            Verdict::Fallback => Match::Fallback,
            _ => Match::None,
        }
    }
}

/// What put whoever serves on the list: the label of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// A route covers the client.
    Route,
    /// It is near.
    Geo,
    /// It is a default of the service.
    Default,
    /// Another CDN serves.
    Fallback,
    /// Nobody serves.
    None,
}

impl Label for Match {
    const ALL: &'static [Self] = &[Self::Route, Self::Geo, Self::Default, Self::Fallback, Self::None];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Geo => "geo",
            Self::Default => "default",
            Self::Fallback => "fallback",
            Self::None => "none",
        }
    }
}

/// Where ranked appliances are written; kept by a worker and used again.
#[derive(Debug, Default)]
pub struct Ranking {
    appliances: Vec<ApplianceId>,
    scored: Vec<(u128, ApplianceId)>,
}

impl Ranking {
    /// An empty ranking with room for the usual cluster.
    pub fn new() -> Self {
        Self { appliances: Vec::with_capacity(64), scored: Vec::with_capacity(64) }
    }

    /// The appliances, best first.
    pub fn appliances(&self) -> &[ApplianceId] {
        &self.appliances
    }

    /// Lets the appliance at `turn`, counted round and round, be the first, and those before it the
    /// last.
    pub fn begin_at(&mut self, turn: usize) {
        if let Some(turn) = turn.checked_rem(self.appliances.len()) {
            self.appliances.rotate_left(turn);
        }
    }
}

/// Listens to a decision being made.
pub trait Recorder {
    /// The list was looked up.
    fn found(&mut self, _found: &Found<'_>) {}
    /// `place` was passed over at `stage`.
    fn passed(&mut self, _place: Place, _stage: Stage, _why: Passed) {}
}

/// Why a cluster was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// No appliance of the asked family is up.
    NoneUp,
    /// Too few of its appliances are up for its health to be believed.
    TooFewUp,
    /// Every appliance of it that is up sheds this key.
    Shedding,
    /// No appliance of the asked family drains.
    NoneDraining,
    /// No active appliance has the asked family.
    NoneActive,
}

/// Listens to nothing.
struct Silent;

impl Recorder for Silent {}

/// Decides. The served appliances are in `ranking` afterwards, best first; it is empty when nobody
/// serves.
pub fn steer(world: &Snapshot, question: &Question<'_>, ranking: &mut Ranking) -> Choice {
    steer_recorded(world, question, ranking, &mut Silent)
}

/// [`steer`] with someone listening.
pub fn steer_recorded(
    world: &Snapshot,
    question: &Question<'_>,
    ranking: &mut Ranking,
    recorder: &mut impl Recorder,
) -> Choice {
    let found = world.view(question.service).find(question.client);
    walk_list(world, question, &found, ranking, recorder)
}

/// [`steer`] where the client's list was found before, in this world.
#[inline]
pub fn steer_found(
    world: &Snapshot,
    question: &Question<'_>,
    found: &Found<'_>,
    ranking: &mut Ranking,
) -> Choice {
    walk_list(world, question, found, ranking, &mut Silent)
}

/// What a question is spread by, the client's list having been found: the same question asked later with
/// [`Key::Hashed`] of it is spread as this one, wherever the client is by then.
pub fn key_of(world: &Snapshot, question: &Question<'_>, found: &Found<'_>) -> KeyHash {
    let service = world.fleet().service(question.service);
    key_and_scope(world, question, service, found, world.view(question.service).members()).0
}

/// Whether health keeps a client from what its list alone would give: the clusters are not reached in the
/// list's order, or the one that serves does so without an appliance of its own.
pub fn is_affected(
    world: &Snapshot,
    service: ServiceId,
    family: Family,
    found: &Found<'_>,
    choice: &Choice,
) -> bool {
    let standings = world.standings(service);
    let (serving, position) = match choice.verdict {
        Verdict::Serve { place, position, stage: Stage::Healthy } => (standings.of(place.cluster), position),
        Verdict::Serve { .. } | Verdict::Fallback | Verdict::NobodyUp => return true,
        Verdict::Denied | Verdict::NoSuchFamily | Verdict::NoCandidate => return false,
    };
    let is_passed = |(at, place): (usize, Place)| {
        let standing = standings.of(place.cluster);
        let has_lost =
            |family| standing.up.of(family) == 0 && (family.is_none() || standing.active.of(family) > 0);
        !standing.is_ok || has_lost(None) || has_lost(Some(family)) || (at < position && standing.is_shedding)
    };
    serving.up.all < serving.active.all || found.list.iter().enumerate().any(is_passed)
}

/// Key, scope and walk: all of the decision but the list.
#[inline]
fn walk_list(
    world: &Snapshot,
    question: &Question<'_>,
    found: &Found<'_>,
    ranking: &mut Ranking,
    recorder: &mut impl Recorder,
) -> Choice {
    ranking.appliances.clear();
    let view = world.view(question.service);
    let service = world.fleet().service(question.service);
    recorder.found(found);
    let (key, scope_len) = key_and_scope(world, question, service, found, view.members());
    let walk = Walk {
        world,
        service,
        members: view.members(),
        standings: world.standings(question.service),
        list: found.list,
        key,
    };
    let verdict = match question.want {
        _ if found.is_denied => Verdict::Denied,
        Want::Family(family, count) => walk.serve(family, usize::from(count), ranking, recorder),
        Want::Ranked(family) => walk.rank(family, RANKED_MAX, ranking, recorder),
        Want::Each(family) => walk.rank(family, usize::MAX, ranking, recorder),
    };
    Choice { verdict, scope_len: question.client.scope_as_written(scope_len), peer_decides: found.is_special }
}

/// The key of a question, and the scope of list and key together.
fn key_and_scope(
    world: &Snapshot,
    question: &Question<'_>,
    service: &Service,
    found: &Found<'_>,
    members: &Members,
) -> (KeyHash, u8) {
    let name_key = world.name_key(question.service);
    let key = match question.key {
        Key::Content(key) => return (KeyHash::of(key), found.scope_len),
        Key::Hashed(key) => return (key, found.scope_len),
        Key::Dns => found.list.first(),
    };
    let is_spread =
        key.is_some_and(|first| members.active_count(first.cluster) > u32::from(service.answers_max));
    if !is_spread {
        return (name_key, found.scope_len);
    }
    let settings = world.settings();
    let key = spread_key(&service.name, question.client, settings.spread_v4, settings.spread_v6);
    let spread_len = match question.client.family() {
        Family::V4 => settings.spread_v4,
        Family::V6 => settings.spread_v6,
    };
    // What a special block decides for itself is not a list's scope, and no answer is cached by it.
    let scope_len = if found.is_special { found.scope_len } else { found.scope_len.max(spread_len) };
    (key, clear_of_transition(question.client, scope_len))
}

/// The DNS key of a client in a cluster larger than one answer: the service's name, a zero octet,
/// and the client's address with all but its first bits cleared.
fn spread_key(service: &str, client: Client, v4_len: u8, v6_len: u8) -> KeyHash {
    // A name has at most 255 octets; the service names of a table are shorter than that. Nearly all
    // are a lot shorter, and a small array is cleared sooner.
    if service.len() <= 47 {
        return spread_key_in(&mut [0; 64], service, client, v4_len, v6_len);
    }
    spread_key_in(&mut [0; 255 + 1 + 16], service, client, v4_len, v6_len)
}

/// The same, put together in `octets`, which are zeroes and enough.
#[inline]
fn spread_key_in(octets: &mut [u8], service: &str, client: Client, v4_len: u8, v6_len: u8) -> KeyHash {
    let name = service.as_bytes();
    octets[..name.len()].copy_from_slice(name);
    let mut len = name.len() + 1;
    match client.truncated(v4_len, v6_len) {
        IpAddr::V4(addr) => {
            octets[len..len + 4].copy_from_slice(&addr.octets());
            len += 4;
        }
        IpAddr::V6(addr) => {
            octets[len..len + 16].copy_from_slice(&addr.octets());
            len += 16;
        }
    }
    KeyHash::of(&octets[..len])
}

/// Lengthens the scope of an IPv6 client until it holds no transition block: their clients have
/// IPv4 keys, which are never equal to its own.
fn clear_of_transition(client: Client, mut scope_len: u8) -> u8 {
    let IpAddr::V6(addr) = client.addr() else { return scope_len };
    for block in transition::blocks() {
        let shared = (u128::from(addr) ^ block.first()).leading_zeros() as u8;
        if scope_len <= shared.min(block.len()) {
            scope_len = shared + 1;
        }
    }
    scope_len
}

/// Appliances that have the first family (`None`: any) and lack the second (`None`: lack none).
type Part = (Option<Family>, Option<Family>);

/// One walk along a list.
struct Walk<'a> {
    world: &'a Snapshot,
    service: &'a Service,
    members: &'a Members,
    standings: &'a Standings,
    list: List<'a>,
    key: KeyHash,
}

impl Walk<'_> {
    /// The family that a cluster must have to be chosen; `None`: any.
    fn needed(&self, family: Family) -> Option<Family> {
        match self.service.families {
            Families::Independent => Some(family),
            Families::Together => None,
        }
    }

    /// Chooses one cluster and ranks the first `count` of its appliances that have `family`.
    fn serve(
        &self,
        family: Family,
        count: usize,
        ranking: &mut Ranking,
        recorder: &mut impl Recorder,
    ) -> Verdict {
        let verdict = self.choose(self.needed(family), recorder);
        if let Verdict::Serve { place, stage, .. } = verdict {
            if !self.take_best(place, stage, family, count, ranking) {
                self.collect(place, stage, (Some(family), None), count, ranking);
                ranking.appliances.truncate(count);
            }
            if ranking.appliances.is_empty() {
                return Verdict::NoSuchFamily;
            }
        }
        verdict
    }

    /// The usual case of [`Walk::collect`], without a look at every appliance: takes the best `count`
    /// of a healthy cluster in which nobody sheds and all have `family`. Says whether it is that case.
    fn take_best(
        &self,
        place: Place,
        stage: Stage,
        family: Family,
        count: usize,
        ranking: &mut Ranking,
    ) -> bool {
        let standing = self.standing_of(place);
        let is_usual = stage == Stage::Healthy
            && !standing.is_shedding
            && standing.up.of(Some(family)) == standing.up.all
            && (1..=KEPT_MAX).contains(&count);
        if is_usual {
            self.standings.best(standing, self.key, count, |id| ranking.appliances.push(id));
        }
        is_usual
    }

    /// Chooses as [`Walk::serve`] does and lists up to `count` appliances over all clusters, the best
    /// [`RANKED_MAX`] of each: those with `family`, then those without.
    fn rank(
        &self,
        family: Family,
        count: usize,
        ranking: &mut Ranking,
        recorder: &mut impl Recorder,
    ) -> Verdict {
        let other = match family {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        };
        let verdict = match self.service.families {
            Families::Together => {
                let verdict = self.choose(None, recorder);
                let parts = [(Some(family), None), (Some(other), Some(family))];
                self.list_all(verdict, None, &parts, count, ranking);
                verdict
            }
            Families::Independent => {
                let first = self.choose(Some(family), recorder);
                self.list_all(first, Some(family), &[(Some(family), None)], count, ranking);
                if first == Verdict::Fallback {
                    return first;
                }
                let second = self.choose(Some(other), &mut Silent);
                self.list_all(second, Some(other), &[(Some(other), Some(family))], count, ranking);
                if matches!(first, Verdict::Serve { .. }) { first } else { second }
            }
        };
        ranking.appliances.truncate(count);
        verdict
    }

    /// Lists the cluster that `verdict` chose, then the other healthy ones, then whatever is up.
    /// Of each cluster only those appliances count that keep the key; `parts` say which families they
    /// have and lack, in turn.
    fn list_all(
        &self,
        verdict: Verdict,
        needed: Option<Family>,
        parts: &[Part],
        count: usize,
        ranking: &mut Ranking,
    ) {
        let Verdict::Serve { place: chosen, stage, .. } = verdict else { return };
        for &part in parts {
            self.collect(chosen, stage, part, RANKED_MAX, ranking);
        }
        let others = || self.list.iter().filter(|place| place.cluster != chosen.cluster);
        let is_healthy = |place: &Place| self.check(*place, Stage::Healthy, needed).is_ok();
        for &part in parts {
            let healthy = others().filter(|place| is_healthy(place));
            for place in healthy.chain(others().filter(|place| !is_healthy(place))) {
                if ranking.appliances.len() >= count {
                    return;
                }
                self.collect(place, Stage::Healthy, part, RANKED_MAX, ranking);
            }
        }
    }

    /// Finds who serves.
    #[inline]
    fn choose(&self, needed: Option<Family>, recorder: &mut impl Recorder) -> Verdict {
        // Nearly always the best of the list is well, and nobody was passed over.
        match self.list.first() {
            Some(place) if self.check(place, Stage::Healthy, needed).is_ok() => {
                Verdict::Serve { place, position: 0, stage: Stage::Healthy }
            }
            _ => self.choose_by_stages(needed, recorder),
        }
    }

    /// Finds who serves, stage by stage.
    fn choose_by_stages(&self, needed: Option<Family>, recorder: &mut impl Recorder) -> Verdict {
        let has_active = |family| self.list.iter().any(|place| self.standing_of(place).active.of(family) > 0);
        for stage in [Stage::Healthy, Stage::ShedIgnored, Stage::HealthBroken, Stage::Draining] {
            if let Some(verdict) = self.first(stage, needed, recorder) {
                return verdict;
            }
        }
        if has_active(None) && !has_active(needed) {
            return Verdict::NoSuchFamily;
        }
        if self.service.fallback_alias.is_some() {
            return Verdict::Fallback;
        }
        if self.world.settings().fail_open_below > 0.0
            && let Some(verdict) = self.first(Stage::FailOpen, needed, recorder)
        {
            return verdict;
        }
        if self.list.is_empty() { Verdict::NoCandidate } else { Verdict::NobodyUp }
    }

    /// The first cluster that `stage` accepts.
    fn first(&self, stage: Stage, needed: Option<Family>, recorder: &mut impl Recorder) -> Option<Verdict> {
        for (position, place) in self.list.iter().enumerate() {
            match self.check(place, stage, needed) {
                Ok(()) => return Some(Verdict::Serve { place, position, stage }),
                Err(why) => recorder.passed(place, stage, why),
            }
        }
        None
    }

    /// Whether `stage` accepts a cluster.
    #[inline]
    fn check(&self, place: Place, stage: Stage, needed: Option<Family>) -> Result<(), Passed> {
        let standing = self.standing_of(place);
        let some = |count: u32, why| if count > 0 { Ok(()) } else { Err(why) };
        match stage {
            Stage::Healthy | Stage::ShedIgnored => {
                some(standing.up.of(needed), Passed::NoneUp)?;
                some(u32::from(standing.is_ok), Passed::TooFewUp)?;
                let may_shed = stage == Stage::Healthy && standing.is_shedding;
                if may_shed && !self.keeps_key(place, needed) { Err(Passed::Shedding) } else { Ok(()) }
            }
            Stage::HealthBroken => some(standing.up.of(needed), Passed::NoneUp),
            Stage::Draining => some(standing.draining.of(needed), Passed::NoneDraining),
            Stage::FailOpen => some(standing.active.of(needed), Passed::NoneActive),
        }
    }

    /// How a cluster stands.
    #[inline]
    fn standing_of(&self, place: Place) -> &ClusterStanding {
        self.standings.of(place.cluster)
    }

    /// Whether one of a cluster's appliances that are up does not shed the key.
    fn keeps_key(&self, place: Place, needed: Option<Family>) -> bool {
        self.world.fleet().appliances_of(place.cluster).any(|id| {
            self.takes_part(id, Stage::Healthy)
                && needed.is_none_or(|family| self.world.fleet().address(id, family).is_some())
        })
    }

    /// Whether an appliance serves when its cluster was accepted at `stage`.
    fn takes_part(&self, id: ApplianceId, stage: Stage) -> bool {
        let health = self.world.health(id);
        self.members.is_active(id)
            && !is_taken_out(health)
            && match stage {
                Stage::Healthy => {
                    health.state == State::Up && !self.world.contender(id).sheds(self.key, health.shed_bp)
                }
                Stage::ShedIgnored => health.state == State::Up,
                Stage::Draining => health.state == State::Draining,
                Stage::HealthBroken | Stage::FailOpen => true,
            }
    }

    /// Adds the best `most` of a cluster's appliances that take part at `stage` and belong to `part`, best
    /// first.
    fn collect(&self, place: Place, stage: Stage, (with, without): Part, most: usize, ranking: &mut Ranking) {
        let fleet = self.world.fleet();
        ranking.scored.clear();
        for id in fleet.appliances_of(place.cluster) {
            let has = |family| fleet.address(id, family).is_some();
            let fits = with.is_none_or(has) && !without.is_some_and(has);
            if fits && self.takes_part(id, stage) {
                ranking.scored.push((self.world.contender(id).cost(self.key), id));
            }
        }
        // Ids of a cluster sort as names do, so equal costs fall to the name.
        if (1..ranking.scored.len()).contains(&most) {
            ranking.scored.select_nth_unstable(most - 1);
            ranking.scored.truncate(most);
        }
        ranking.scored.sort_unstable();
        ranking.appliances.extend(ranking.scored.iter().map(|&(_, id)| id));
    }
}
