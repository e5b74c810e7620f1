//! Errors planted in the model on purpose: if the generated cases did not notice one of these, they
//! would not notice it in the program either.

use super::{
    decide::{decide, decide_with},
    generate::generate,
    world::World,
};

/// One planted error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// None: the model itself.
    None,
    /// The matching prefix's length is given as the scope.
    MatchLengthAsScope,
    /// MED compares before AS path and origin.
    MedBeforeAsPath,
    /// Class compares after local preference.
    ClassAfterLocalPref,
    /// Origin is not compared.
    OriginIsSkipped,
    /// Distance is not compared.
    DistanceIsSkipped,
    /// Equal candidates go by reverse name.
    TieByReverseName,
    /// Only the longest route with somebody to serve counts.
    LessSpecificRoutesAreForgotten,
    /// A cluster appears at each of its places.
    DuplicatesAreKept,
    /// Special blocks have a GeoIP location.
    GeographyInSpecialBlocks,
    /// Clusters for announced prefixes only are chosen by geography.
    RoutedServesByGeography,
    /// The nearest are counted without those already on the list.
    NearestAfterDuplicates,
    /// With an allow list, an unknown country passes.
    UnknownCountryIsAllowed,
    /// An appliance without capacity counts.
    CapacityZeroIsActive,
    /// An appliance drained by the inventory counts.
    DrainingStatusIsActive,
    /// Routes without anybody to serve count as inside a special block.
    UselessRoutesCountAsInside,
    /// The key's share in the scope is forgotten.
    SpreadIsLeftOutOfScope,
    /// GeoIP edges are forgotten in the scope.
    GeographyIsLeftOutOfScope,
    /// IPv6 scopes swallow transition blocks.
    TransitionIsLeftOutOfScope,
    /// Special blocks without routes shorten their neighbours' scopes.
    UnroutedSpecialBlocksCount,
    /// Scopes inside special blocks swallow the holes.
    HolesAreForgotten,
    /// The scope of a transition form counts from the IPv4 address.
    ScopeNotAsWritten,
    /// Whether a cluster's health is believed is asked per family.
    OkIsPerFamily,
    /// Health's draining counts as dead.
    HealthDrainingIsNotAlive,
    /// Shed slice and rank use the same hash.
    ShedByWrongConstant,
    /// A key that everybody sheds finds nobody.
    SheddingByAllCounts,
    /// Fail-open brings back what the inventory drained.
    FailOpenRevivesDrained,
    /// Fail-open comes before the fallback alias.
    FailOpenBeforeFallback,
    /// Fleet-wide fail-open does nothing.
    FleetFailOpenIsIgnored,
    /// Families always go apart.
    TogetherIsIgnored,
}

impl Mistake {
    /// All but [`Mistake::None`].
    pub const ALL: [Self; 29] = [
        Self::MatchLengthAsScope,
        Self::MedBeforeAsPath,
        Self::ClassAfterLocalPref,
        Self::OriginIsSkipped,
        Self::DistanceIsSkipped,
        Self::TieByReverseName,
        Self::LessSpecificRoutesAreForgotten,
        Self::DuplicatesAreKept,
        Self::GeographyInSpecialBlocks,
        Self::RoutedServesByGeography,
        Self::NearestAfterDuplicates,
        Self::UnknownCountryIsAllowed,
        Self::CapacityZeroIsActive,
        Self::DrainingStatusIsActive,
        Self::UselessRoutesCountAsInside,
        Self::SpreadIsLeftOutOfScope,
        Self::GeographyIsLeftOutOfScope,
        Self::TransitionIsLeftOutOfScope,
        Self::UnroutedSpecialBlocksCount,
        Self::HolesAreForgotten,
        Self::ScopeNotAsWritten,
        Self::OkIsPerFamily,
        Self::HealthDrainingIsNotAlive,
        Self::ShedByWrongConstant,
        Self::SheddingByAllCounts,
        Self::FailOpenRevivesDrained,
        Self::FailOpenBeforeFallback,
        Self::FleetFailOpenIsIgnored,
        Self::TogetherIsIgnored,
    ];

    /// Whether it changes lists or scopes; the others are in the walk alone.
    pub fn changes_views(self) -> bool {
        !matches!(
            self,
            Self::MatchLengthAsScope
                | Self::ScopeNotAsWritten
                | Self::SpreadIsLeftOutOfScope
                | Self::HolesAreForgotten
                | Self::OkIsPerFamily
                | Self::HealthDrainingIsNotAlive
                | Self::ShedByWrongConstant
                | Self::SheddingByAllCounts
                | Self::FailOpenRevivesDrained
                | Self::FailOpenBeforeFallback
                | Self::FleetFailOpenIsIgnored
                | Self::TogetherIsIgnored
        )
    }
}

#[test]
fn every_planted_mistake_is_caught() {
    let mut left = Mistake::ALL.to_vec();
    for seed in 0..400 {
        let case = generate(seed, 60);
        let world = World::parse(&case.table, &case.geo, &case.params);
        let truth: Vec<_> =
            case.asks.iter().map(|a| decide(&world, &case.healths[a.health], &a.ask())).collect();
        left.retain(|&mistake| {
            let mut pairs = case.asks.iter().zip(&truth);
            pairs.all(|(a, t)| decide_with(&world, &case.healths[a.health], &a.ask(), mistake) == *t)
        });
        if left.is_empty() {
            return;
        }
    }
    panic!("never noticed: {left:?}");
}
