//! The decision against its slow model: the same tables, health and clients, every field compared,
//! scopes included.

use crate::model::{self, Ask, Case, Decision, FirstMatch, Health, Mode, Outcome, World, decide, generate};
use std::sync::Arc;
use steerd::fleet::Country;
use steerd::geo::{Accuracy, Geography, Location, Point};
use steerd::health::{self, Overlay};
use steerd::prefix::Family;
use steerd::snapshot::{Compiler, Settings, Snapshot};
use steerd::steer::explain::{self, Explanation};
use steerd::steer::{Choice, Key, Question, Ranking, Verdict, Want, steer};
use steerd::table;
use steerd::units::BasisPoints;

/// Questions asked of each generated world.
const ASKS: usize = 200;
/// (table, client, health) triples compared.
const TRIPLES: usize = 100_000;

#[test]
fn the_decision_agrees_with_the_model() {
    let mut compared = 0;
    let mut seed = 1;
    while compared < TRIPLES {
        let case = generate(seed, ASKS);
        compare(&case);
        compared += case.asks.len();
        seed += 1;
    }
    println!("{compared} decisions of {} worlds agree", seed - 1);
}

fn compare(case: &Case) {
    let world = World::parse(&case.table, &case.geo, &case.params);
    let snapshots = snapshots(case);
    for asked in &case.asks {
        let ask = asked.ask();
        let expected = decide(&world, &case.healths[asked.health], &ask);
        let found = decision(&snapshots[asked.health], &ask);
        assert_eq!(found, expected, "seed {} health {} asked {ask:?}", case.seed, asked.health);
    }
}

/// The real thing, once for each health of the case.
pub(crate) fn snapshots(case: &Case) -> Vec<Snapshot> {
    let table = match table::read_full(case.table.as_bytes()) {
        Ok(read) => Arc::new(read.table),
        Err(problems) => panic!("seed {}: {problems:?}", case.seed),
    };
    let network = |net: &model::GeoNet| {
        let location = Location {
            country: net.country.as_deref().and_then(Country::new),
            point: net.point.and_then(|(lat, lon)| Point::new(lat, lon)),
            accuracy: Accuracy::City,
        };
        (net.prefix.parse().expect("a prefix"), location)
    };
    let geography = Arc::new(Geography::from_networks(case.geo.iter().map(network)));
    let settings = Settings {
        spread_v4: case.params.spread_v4,
        spread_v6: case.params.spread_v6,
        geo_candidates: case.params.geo_candidates,
        fail_open_below: case.params.fail_open_below,
        ..Settings::default()
    };
    let compiled = Compiler::new().compile(Arc::clone(&table), geography, settings);
    let snapshot = |(at, health): (usize, &Health)| {
        let overlay = Arc::new(overlay(&table, health, case));
        Snapshot::new(at as u64 + 1, Arc::clone(&compiled), overlay, Arc::default())
    };
    case.healths.iter().enumerate().map(snapshot).collect()
}

fn overlay(table: &table::Table, health: &Health, case: &Case) -> Overlay {
    let standing = |appliance: &steerd::fleet::Appliance| {
        let known = health.get(&*appliance.name).filter(|_| !case.params.fleet_fail_open);
        let (state, shed) = known.copied().unwrap_or((model::State::Up, 0));
        health::Standing {
            state: match state {
                model::State::Up => health::State::Up,
                model::State::Draining => health::State::Draining,
                model::State::Down => health::State::Down,
            },
            shed_bp: BasisPoints::saturating(u32::from(shed)),
            is_ordered: false,
        }
    };
    Overlay { appliances: table.fleet().appliances().iter().map(standing).collect(), ..Overlay::default() }
}

/// Asks the real thing and puts its answer into the model's words.
fn decision(world: &Snapshot, ask: &Ask<'_>) -> Decision {
    let (family, key) = match &ask.mode {
        Mode::Dns { family } => (Some(if *family == 4 { Family::V4 } else { Family::V6 }), None),
        Mode::Http { key } => (None, Some(&key[..])),
    };
    let asked = explain::Ask { client: ask.client, service: ask.service, key, family };
    let told = explain::explain(world, &asked).expect("a service of the table");
    Decision {
        list: told.candidates.iter().map(|c| c.cluster.clone()).collect(),
        kinds: told.candidates.iter().map(|c| kind(c.kind)).collect(),
        match_: told.matched,
        prefix: told.prefix.clone(),
        first_match: told.first_match.as_ref().map(|first| FirstMatch {
            match_: first.matched,
            prefix: first.prefix.clone(),
            cluster: first.cluster.clone(),
        }),
        cluster: told.cluster.clone(),
        served: served(world, ask, family, key),
        outcome: outcome(&told),
        scope_len: told.scope_len,
        peer_decides: told.peer_decides,
    }
}

/// All appliances that the decision ranked, before DNS cuts them to an answer.
fn served(world: &Snapshot, ask: &Ask<'_>, family: Option<Family>, key: Option<&[u8]>) -> Vec<String> {
    let fleet = world.fleet();
    let client = steerd::prefix::Client::of(ask.client);
    let service = fleet.service_by_name(ask.service).or_else(|| fleet.service_of_host(ask.service));
    let mut ranking = Ranking::new();
    let mut ranked = |want: Want| -> (Choice, Vec<String>) {
        let question = Question {
            service: service.expect("a service of the table"),
            client,
            want,
            key: key.map_or(Key::Dns, Key::Content),
        };
        let choice = steer(world, &question, &mut ranking);
        let names = ranking.appliances().iter().map(|&id| fleet.appliance(id).name.to_string());
        (choice, names.collect())
    };
    let Some(family) = family else {
        let (choice, all) = ranked(Want::Ranked(client.family()));
        // A redirect asks for one only.
        let (first_choice, first) = ranked(Want::Family(client.family(), 1));
        if let Verdict::Serve { .. } = first_choice.verdict {
            assert_eq!((first_choice, first.first()), (choice, all.first()), "the first of all");
        }
        return all;
    };
    let (_, all) = ranked(Want::Family(family, u8::MAX));
    for count in [1, 2, 16] {
        let (_, some) = ranked(Want::Family(family, count));
        assert_eq!(some, all[..all.len().min(usize::from(count))], "the first of all");
    }
    all
}

fn kind(kind: steerd::snapshot::Kind) -> &'static str {
    match kind {
        steerd::snapshot::Kind::Route => "route",
        steerd::snapshot::Kind::Geo => "geo",
        steerd::snapshot::Kind::Default => "default",
    }
}

fn outcome(told: &Explanation) -> Outcome {
    match told.outcome {
        "fallback" => Outcome::Fallback,
        "denied" => Outcome::Denied,
        "no_such_family" => Outcome::NoDataType,
        "no_candidate" => Outcome::NoDataPolicy,
        "nobody_up" => Outcome::NobodyHealth,
        _ => Outcome::Serve,
    }
}
