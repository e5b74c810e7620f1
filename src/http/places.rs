//! Where a decision sends to: the best URL, a list of them, and how the decision was made, in words for a header.

use super::decision_id::DecisionId;
use super::diversity::diverse;
use super::location::Locator;
use crate::fleet::{ApplianceId, Service};
use crate::snapshot::{Kind, Snapshot};
use crate::steer::{Choice, Ranking, Stage, Verdict};

/// Where the first URL of a reply leads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Led {
    /// To an appliance.
    To(ApplianceId),
    /// To another CDN.
    Away,
}

impl Led {
    /// The appliance, where it is one.
    pub(super) fn appliance(self) -> Option<ApplianceId> {
        match self {
            Self::To(id) => Some(id),
            Self::Away => None,
        }
    }
}

/// Where a decision sends to.
pub(super) struct Places<'a> {
    pub(super) world: &'a Snapshot,
    pub(super) service: &'a Service,
    pub(super) choice: &'a Choice,
    pub(super) ranking: &'a Ranking,
    pub(super) locator: Locator<'a>,
    /// The decision's, where it is told.
    pub(super) id: Option<DecisionId>,
}

impl Places<'_> {
    /// Appends the best URL to `url`, and says where it leads; `None`, with anything written, when there is
    /// none.
    pub(super) fn write_best(&self, url: &mut String) -> Option<Led> {
        let start = url.len();
        match self.choice.verdict {
            Verdict::Serve { .. } => {
                let mut ids = self.ranking.appliances().iter();
                ids.find(|id| {
                    url.truncate(start);
                    self.locator.write_on(self.world.fleet().appliance(**id), url)
                })
                .map(|id| Led::To(*id))
            }
            Verdict::Fallback => self.service.fallback_alias.as_ref().map(|alias| {
                self.locator.write_on_alias(alias, url);
                Led::Away
            }),
            Verdict::Denied | Verdict::NoSuchFamily | Verdict::NoCandidate | Verdict::NobodyUp => None,
        }
    }

    /// At most `count` URLs, best first, not all of one failure domain where there are others; and where the
    /// first one leads.
    pub(super) fn list(&self, count: usize) -> (Vec<String>, Option<Led>) {
        if !matches!(self.choice.verdict, Verdict::Serve { .. }) {
            let mut url = String::new();
            let led = self.write_best(&mut url);
            return (if led.is_some() { vec![url] } else { Vec::new() }, led);
        }
        let fleet = self.world.fleet();
        let url_of = |id: &ApplianceId| {
            let mut url = String::new();
            self.locator.write_on(fleet.appliance(*id), &mut url).then_some(url)
        };
        let ranked = self.ranking.appliances().iter().filter(|id| url_of(id).is_some());
        let ranked: Vec<ApplianceId> = ranked.copied().collect();
        let listed = diverse(fleet, &ranked, count);
        (listed.iter().filter_map(url_of).collect(), listed.first().map(|id| Led::To(*id)))
    }

    /// The value of `X-Steer-Decision`: why, then the generation, how far the list holds, and the decision's id.
    pub(super) fn told(&self) -> String {
        let Self { world, choice, ranking, .. } = self;
        let fleet = world.fleet();
        let mut parts = vec![match choice.verdict {
            Verdict::Serve { place, .. } => match place.kind {
                Kind::Route => "route".to_owned(),
                Kind::Geo => "geo".to_owned(),
                Kind::Default => "default".to_owned(),
            },
            Verdict::Fallback => "fallback".to_owned(),
            _ => "none".to_owned(),
        }];
        if let Verdict::Serve { place, stage, .. } = choice.verdict {
            parts.push(format!("cluster={}", in_header(&fleet.cluster(place.cluster).name)));
            let best = ranking.appliances().first();
            parts.extend(best.map(|id| format!("appliance={}", in_header(&fleet.appliance(*id).name))));
            parts.push(format!("stage={}", stage_name(stage)));
        }
        parts.extend(world.epoch().map(|epoch| format!("epoch={epoch}")));
        parts.push(format!("generation={}", world.generation()));
        parts.push(format!("scope={}", choice.scope_len));
        parts.extend(self.id.map(|id| format!("id={id}")));
        parts.join("; ")
    }
}

/// `name`, which may hold any letter, for a header: octets that are not visible ASCII, and those that
/// part values there, percent-encoded (RFC 3986 section 2.1).
pub(super) fn in_header(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for octet in name.bytes() {
        if octet.is_ascii_graphic() && !matches!(octet, b'%' | b';' | b',' | b'"') {
            text.push(char::from(octet));
        } else {
            text.push_str(&format!("%{octet:02X}"));
        }
    }
    text
}

/// A stage as in `X-Steer-Decision`.
fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Healthy => "healthy",
        Stage::ShedIgnored => "shed_ignored",
        Stage::HealthBroken => "health_broken",
        Stage::Draining => "draining",
        Stage::FailOpen => "fail_open",
    }
}
