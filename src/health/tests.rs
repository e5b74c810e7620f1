//! Rulings 2, 3, 5 and 7 with scripted time, and a slow twin of the state machine.

use super::*;
use crate::fleet::{
    Appliance, ApplianceId, Class, Cluster, ClusterId, FleetParts, Serves, Site, SiteId, Status,
};
use crate::units::BasisPoints;

/// A fleet of `clusters` clusters (`a`, `b`, …) at a site each (`sa`, `sb`, …), `each` appliances
/// (`a0`, `a1`, …) in every one.
fn fleet(clusters: u8, each: usize) -> Fleet {
    fleet_with(clusters, each, |_| Status::Active)
}

/// The same, with the status of each appliance.
fn fleet_with(clusters: u8, each: usize, status: impl Fn(&str) -> Status) -> Fleet {
    let mut parts = FleetParts::default();
    for index in 0..usize::from(clusters) {
        let letter = char::from(b'a' + index as u8);
        parts.sites.push(Site { code: format!("s{letter}").into(), lat: 0.0, lon: 0.0, name: "".into() });
        parts.clusters.push(Cluster {
            name: letter.to_string().into(),
            site: SiteId::at(index),
            class: Class::Embedded,
            serves: Serves::Any,
            tags: [].into(),
            appliances: 0..0,
        });
        for number in 0..each {
            let name = format!("{letter}{number}");
            parts.appliances.push(Appliance {
                status: status(&name),
                name: name.into(),
                cluster: ClusterId::at(index),
                ipv4: None,
                ipv6: None,
                hostname: "".into(),
                capacity_mbps: 1,
                tags: [].into(),
            });
        }
    }
    Fleet::build(parts)
}

/// A report.
fn report(appliance: &str, state: State) -> Report {
    Report { appliance: appliance.into(), state, load: None, since: None, reason: None }
}

/// Health, a fleet and a clock that only the test moves.
struct Script {
    health: Health,
    fleet: Fleet,
    now: UnixMs,
}

impl Script {
    fn new(fleet: Fleet, settings: Settings) -> Self {
        Self { health: Health::new(settings), fleet, now: UnixMs(1_000_000_000) }
    }

    fn wait_ms(&mut self, ms: u64) -> &mut Self {
        self.now.0 += ms;
        self
    }

    fn push(&mut self, appliance: &str, state: State) -> &mut Self {
        self.tell(report(appliance, state))
    }

    fn tell(&mut self, report: Report) -> &mut Self {
        let done = self.health.push(None, &[report], &self.fleet, self.now);
        assert_eq!(done.map(|d| d.applied), Ok(1));
        self
    }

    fn load(&mut self, appliance: &str, load: Option<f64>) -> &mut Self {
        self.tell(Report { load, ..report(appliance, State::Up) })
    }

    fn beat(&mut self, appliances: &[&str]) -> &mut Self {
        for appliance in appliances {
            assert!(self.health.heartbeat(&report(appliance, State::Up), &self.fleet, self.now));
        }
        self
    }

    fn order(&mut self, target: Match, state: State, for_s: Option<u64>) -> &mut Self {
        let order = Order { target, state, for_s, why: "test".into() };
        self.health.set_override(order, self.now).expect("few overrides");
        self
    }

    fn overlay(&mut self) -> Overlay {
        self.health.overlay(&self.fleet, self.now)
    }

    fn id(&self, appliance: &str) -> ApplianceId {
        self.fleet.appliance_by_name(appliance).expect("an appliance of the test's fleet")
    }

    /// States in the order of ids, as letters: u, g (draining), d.
    fn states(&mut self) -> String {
        let letter = |s: &Standing| match s.state {
            State::Up => 'u',
            State::Draining => 'g',
            State::Down => 'd',
        };
        self.overlay().appliances.iter().map(letter).collect()
    }

    fn shed(&mut self, appliance: &str) -> u16 {
        let id = self.id(appliance);
        self.overlay().standing(id).shed_bp.get()
    }

    fn why(&self, appliance: &str) -> Why {
        self.health.why(&self.fleet, self.id(appliance), self.now)
    }
}

const UP: State = State::Up;
const DRAINING: State = State::Draining;
const DOWN: State = State::Down;
const YEAR_MS: u64 = 365 * 86_400_000;

#[test]
fn ruling_3_unknown_is_up_and_pushes_merge_and_hold() {
    let mut script = Script::new(fleet(1, 3), Settings::default());
    assert_eq!(script.states(), "uuu");
    assert_eq!(script.why("a0").source, Source::Unknown);
    script.push("a0", DOWN).push("a1", DRAINING);
    assert_eq!(script.states(), "dgu");
    script.wait_ms(YEAR_MS).push("a2", DOWN);
    assert_eq!(script.states(), "dgd");
    script.push("a0", UP);
    assert_eq!(script.states(), "ugd");
    assert_eq!(script.overlay().facts.down, 1);
}

#[test]
fn ruling_3_pushes_are_ordered_by_source() {
    let mut script = Script::new(fleet(1, 2), Settings::default());
    let (fleet, now) = (&script.fleet, script.now);
    let mut push = |from: Option<(&str, u64)>, appliance: &str, state: State| {
        script.health.push(from, &[report(appliance, state)], fleet, now).map(|done| done.applied)
    };
    assert_eq!(push(Some(("monitor-1", 77)), "a0", DOWN), Ok(1));
    assert_eq!(push(Some(("monitor-1", 77)), "a0", UP), Err(SeqRefused { last: 77 }));
    assert_eq!(push(Some(("monitor-1", 3)), "a0", UP), Err(SeqRefused { last: 77 }));
    assert_eq!(push(Some(("monitor-2", 1)), "a1", DOWN), Ok(1));
    assert_eq!(push(None, "a1", UP), Ok(1));
    assert_eq!(push(Some(("monitor-1", 78)), "a1", DRAINING), Ok(1));
    assert_eq!(push(Some(("monitor-3", 0)), "a1", DRAINING), Ok(1));
    assert_eq!(script.states(), "dg");
}

#[test]
fn ruling_3_unknown_appliances_are_listed_and_the_rest_applies() {
    let mut script = Script::new(fleet(1, 1), Settings::default());
    let reports = [report("x9", DOWN), report("a0", DOWN), report("", DOWN)];
    let done = script.health.push(None, &reports, &script.fleet, script.now);
    assert_eq!(done, Ok(Applied { applied: 1, ignored: vec!["x9".into(), "".into()] }));
    assert!(!script.health.heartbeat(&report("x9", UP), &script.fleet, script.now));
    assert_eq!(script.states(), "d");
}

#[test]
fn ruling_3_the_silent_are_down() {
    let mut script = Script::new(fleet(1, 4), Settings::default());
    script.beat(&["a0", "a1", "a2"]).wait_ms(29_999).beat(&["a0", "a1"]);
    assert_eq!(script.states(), "uuuu");
    script.wait_ms(1);
    assert_eq!(script.states(), "uudu");
    let why = script.why("a2");
    assert_eq!((why.source, &*why.reason), (Source::Silence, "no heartbeat for 30 s"));
    assert_eq!((script.overlay().facts.heartbeat_fed, script.overlay().facts.heartbeat_silent), (3, 1));
    script.beat(&["a2"]);
    assert_eq!(script.states(), "uuuu");
    // Who was never heard, or only pushed about, is not fed by heartbeats.
    script.push("a3", UP).wait_ms(25_000).beat(&["a0", "a1", "a2"]).wait_ms(25_000);
    assert_eq!(script.states(), "uuuu");
}

#[test]
fn ruling_3_when_more_than_half_are_silent_the_feed_is_broken() {
    let all = ["a0", "a1", "a2", "a3"];
    let mut script = Script::new(fleet(1, 4), Settings::default());
    script.beat(&all).wait_ms(30_000).beat(&["a2", "a3"]);
    assert_eq!(script.states(), "dduu", "half is not more than half");
    // The feed goes away: two follow within a second of each other.
    script.wait_ms(29_000).beat(&["a3"]).wait_ms(1000);
    assert_eq!(script.states(), "dduu", "three of four: last states hold, the long lost stay down");
    let since = script.now;
    assert_eq!(script.overlay().facts.feed_broken_since, Some(since));
    script.wait_ms(YEAR_MS);
    assert_eq!(script.states(), "dduu");
    assert_eq!(script.overlay().facts.heartbeat_silent, 4);
    assert_eq!(script.why("a3").source, Source::Heartbeat);
    script.beat(&["a1", "a2"]);
    assert_eq!(script.states(), "duud", "half are heard again: the feed is believed");
    assert_eq!(script.overlay().facts.feed_broken_since, None);
}

#[test]
fn ruling_3_who_fell_silent_first_when_the_feed_broke_is_not_lost() {
    let mut script = Script::new(fleet(1, 5), Settings::default());
    for appliance in ["a0", "a1", "a2", "a3", "a4"] {
        script.beat(&[appliance]).wait_ms(2000);
    }
    // a0 was heard 30 s ago after 20 s more, the others 2 s later each.
    script.wait_ms(20_000);
    assert_eq!(script.states(), "duuuu");
    script.wait_ms(2000);
    assert_eq!(script.states(), "dduuu");
    script.wait_ms(2000);
    assert_eq!(script.states(), "uuuuu");
    assert_eq!(script.shed("a0"), 0, "nobody recovered, so nobody ramps");
}

#[test]
fn ruling_3_the_disabled_say_nothing_about_the_feed() {
    let out = |name: &str| if name == "a0" { Status::Disabled } else { Status::Active };
    let mut script = Script::new(fleet_with(1, 3, out), Settings::default());
    script.beat(&["a0", "a1", "a2"]).wait_ms(30_000).beat(&["a2"]);
    let facts = script.overlay().facts;
    assert_eq!((facts.heartbeat_fed, facts.heartbeat_silent, facts.feed_broken_since), (2, 1, None));
    assert_eq!(script.states(), "ddu");
}

#[test]
fn ruling_3_of_two_ways_the_worse_counts() {
    let mut script = Script::new(fleet(1, 3), Settings::default());
    script.push("a0", DOWN).beat(&["a0", "a1", "a2"]);
    assert_eq!(script.states(), "duu");
    assert_eq!(script.why("a0").source, Source::Push);
    script.push("a0", UP);
    assert_eq!(script.states(), "uuu");
    // A push about a silent one: it is no longer fed by heartbeats.
    script.wait_ms(30_000).beat(&["a1", "a2"]);
    assert_eq!(script.states(), "duu");
    script.push("a0", UP);
    assert_eq!(script.states(), "uuu");
    assert_eq!(script.overlay().facts.heartbeat_fed, 2);
}

#[test]
fn ruling_3_silence_can_be_switched_off() {
    let mut script = Script::new(fleet(1, 3), Settings { stale_after_s: 0, ..Settings::default() });
    script.beat(&["a0", "a1", "a2"]).wait_ms(YEAR_MS).beat(&["a1", "a2"]);
    assert_eq!(script.states(), "uuu");
}

#[test]
fn ruling_3_states_survive_a_new_table_for_those_that_remain() {
    let mut script = Script::new(fleet(2, 2), Settings::default());
    script.push("a1", DOWN).push("b0", DOWN);
    script.fleet = fleet(1, 3);
    script.health.retain(&script.fleet);
    assert_eq!(script.states(), "udu");
    script.fleet = fleet(2, 2);
    assert_eq!(script.states(), "uduu", "who was gone comes back as unknown");
}

#[test]
fn ruling_3_states_survive_a_restart() {
    let settings = Settings { ramp_s: 600, ..Settings::default() };
    let mut script = Script::new(fleet(2, 4), settings);
    script.tell(Report { reason: Some("disk".into()), ..report("a0", DOWN) }).push("a1", DRAINING);
    script.push("a2", DOWN).wait_ms(1000).push("a2", UP);
    script.beat(&["b0", "b1", "b2"]).wait_ms(30_000).beat(&["b1", "b2"]);
    script.order(Match::Cluster("b".into()), DRAINING, Some(60)).order(Match::Site("x".into()), UP, None);
    script.health.push(Some(("m", 7)), &[], &script.fleet, script.now).expect("the first");
    let before = script.overlay();
    let saved = script.health.save();
    let mut again = Health::new(settings);
    assert_eq!(again.restore(&saved, script.now), Ok(()));
    let after = again.overlay(&script.fleet, script.now);
    assert_eq!(after.appliances, before.appliances);
    assert_eq!(&*again.why(&script.fleet, script.id("a0"), script.now).reason, "disk");
    assert_eq!(again.overrides(), script.health.overrides());
    assert_eq!(again.push(Some(("m", 7)), &[], &script.fleet, script.now), Err(SeqRefused { last: 7 }));
    assert_eq!(again.save(), saved);
    // The override ends; the silent one is still down until it is heard.
    script.wait_ms(60_000);
    (script.health, script.now) = (again, script.now);
    assert_eq!(script.states(), "dguuduuu");
    script.beat(&["b0"]);
    assert_eq!(script.states(), "dguuuuuu");
}

#[test]
fn bytes_that_are_no_saved_health_change_nothing() {
    let mut script = Script::new(fleet(1, 1), Settings::default());
    script.push("a0", DOWN);
    let saved = script.health.save();
    let text = String::from_utf8(saved.clone()).expect("JSON is UTF-8");
    let state = r#"{"appliance":"a0","state":"down","since_ms":1,"heartbeat":false}"#;
    let body = |states: &str| {
        format!(r#"{{"format":1,"fleet_fail_open":false,"seqs":{{}},"overrides":[],"states":[{states}]}}"#)
    };
    for bad in [
        String::new(),
        "{}".into(),
        "[]".into(),
        text.replace("\"format\":1", "\"format\":2"),
        text.replace("down", "sideways"),
        text.replace("\"seqs\":{}", "\"seqs\":{\"\":1}"),
        text.replace("\"seqs\":{}", "\"seqs\":{\"m\":-1}"),
        body(&format!("{state},{state}")),
        body(&state.replace("a0", "")),
        body(&state.replace("\"since_ms\":1", "\"since_ms\":18446744073709551615")),
    ] {
        assert!(script.health.restore(bad.as_bytes(), script.now).is_err(), "{bad}");
        assert_eq!(script.health.save(), saved);
    }
    for len in 0..saved.len() {
        assert!(script.health.restore(&saved[..len], script.now).is_err());
    }
    assert_eq!(script.health.restore(body(state).as_bytes(), script.now), Ok(()));
}

#[test]
fn ruling_2_the_fleet_fails_open_and_closes_again_higher() {
    let settings = Settings { fleet_fail_open_below: 0.3, ramp_s: 0, ..Settings::default() };
    let mut script = Script::new(fleet(5, 10), settings);
    let names: Vec<String> = script.fleet.appliances().iter().map(|a| a.name.to_string()).collect();
    for name in &names[..35] {
        script.push(name, DOWN);
    }
    script.load("e9", Some(2.0)).wait_ms(20_000);
    assert!(!script.overlay().facts.is_fleet_fail_open, "15 of 50 is not below 0.3");
    assert_eq!(script.shed("e9"), 5000);
    script.push(&names[35], DOWN);
    let overlay = script.overlay();
    assert!(overlay.facts.is_fleet_fail_open);
    assert_eq!((overlay.facts.in_service, overlay.facts.up, overlay.facts.down), (50, 14, 36));
    assert_eq!(script.states(), "u".repeat(50));
    assert_eq!(script.shed("e9"), 0);
    assert_eq!(script.why("a0").source, Source::FleetFailOpen);
    for name in &names[31..36] {
        script.push(name, UP);
    }
    assert!(script.overlay().facts.is_fleet_fail_open, "19 of 50 is below 0.4");
    script.push(&names[30], UP);
    assert!(!script.overlay().facts.is_fleet_fail_open, "20 of 50 is 0.4");
    assert_eq!(script.states(), "d".repeat(30) + &"u".repeat(20));
}

#[test]
fn ruling_2_small_fleets_and_operators_words_do_not_open_it() {
    let check = |fleet: Fleet, below: f64, down: usize, order: bool, expected: bool| {
        let mut script = Script::new(fleet, Settings { fleet_fail_open_below: below, ..Settings::default() });
        let names: Vec<String> = script.fleet.appliances().iter().map(|a| a.name.to_string()).collect();
        for name in &names[..down] {
            if order {
                script.order(Match::Appliance(name.as_str().into()), DOWN, None);
            } else {
                script.push(name, DOWN);
            }
        }
        assert_eq!(script.overlay().facts.is_fleet_fail_open, expected, "{below} {down} {order}");
    };
    check(fleet(5, 10), 0.3, 50, false, true);
    check(fleet(7, 7), 0.3, 49, false, false);
    check(fleet(5, 10), 0.0, 50, false, false);
    check(fleet(5, 10), 0.3, 50, true, false);
    check(fleet(5, 10), 0.3, 40, true, false);
    let draining = |name: &str| if name == "a0" { Status::Draining } else { Status::Active };
    check(fleet_with(5, 10, draining), 0.3, 50, false, false);
    // Near 1.0 a whole fleet still ends it.
    let settings = Settings { fleet_fail_open_below: 0.95, ..Settings::default() };
    assert!(settings.fails_open(true, 50, 50, 49) && !settings.fails_open(true, 50, 50, 50));
}

#[test]
fn ruling_5_the_slice_grows_linearly_and_moves_slowly() {
    let mut script = Script::new(fleet(1, 2), Settings::default());
    let mut check = |load: Option<f64>, wait_ms: u64, expected: u16| {
        script.load("a0", load).wait_ms(wait_ms);
        assert_eq!(script.shed("a0"), expected, "{load:?} after {wait_ms} ms");
    };
    check(Some(0.98), 0, 0);
    check(Some(0.98), 1000, 500);
    check(Some(0.98), 1, 500);
    check(Some(0.98), 1, 501);
    check(Some(1.7), 60_000, 5000);
    check(Some(0.915), 1000, 4500);
    check(Some(0.915), 60_000, 2500);
    check(Some(0.863), 60_000, 500);
    check(Some(0.85), 500, 250);
    check(Some(0.0), 60_000, 0);
    check(Some(0.99), 60_000, 5000);
    check(None, 2000, 4000);
    check(None, 8000, 0);
    assert_eq!(script.shed("a1"), 0);
    script.load("a0", Some(1.0)).wait_ms(60_000).push("a0", DOWN);
    assert_eq!(script.shed("a0"), 0, "who is down sheds nothing: it is not asked");
}

#[test]
fn ruling_5_a_recovered_appliance_ramps_from_its_since() {
    let mut script = Script::new(fleet(1, 3), Settings::default());
    script.push("a0", DOWN).wait_ms(60_000);
    let since = script.now;
    script.wait_ms(15_000).tell(Report { since: Some(since), ..report("a0", UP) });
    assert_eq!(script.shed("a0"), 7500);
    script.wait_ms(15_000).load("a0", Some(0.9));
    assert_eq!(script.shed("a0"), 5000);
    // A monitor that sends the time of its last look does not start it anew.
    script.wait_ms(15_000);
    let now = script.now;
    script.tell(Report { since: Some(now), load: Some(0.98), ..report("a0", UP) });
    assert_eq!(script.shed("a0"), 2500);
    script.wait_ms(14_994);
    assert_eq!(script.shed("a0"), 5000, "the larger of ramp and load");
    script.load("a0", None).wait_ms(60_000);
    assert_eq!((script.shed("a0"), script.shed("a1")), (0, 0));
}

#[test]
fn ruling_5_who_does_not_ramp() {
    // Never known as anything but up.
    let mut script = Script::new(fleet(1, 3), Settings::default());
    script.push("a0", UP);
    assert_eq!(script.shed("a0"), 0);
    // A moment that is still to come counts from now.
    let future = UnixMs(script.now.0 + YEAR_MS);
    script.push("a0", DRAINING).tell(Report { since: Some(future), ..report("a0", UP) });
    assert_eq!(script.shed("a0"), 10_000);
    script.wait_ms(60_000);
    assert_eq!(script.shed("a0"), 0);
    // A whole cluster that comes back; one that was up all along changes that.
    script.push("a0", DOWN).push("a1", DOWN).push("a2", DOWN).push("a0", UP).push("a1", UP);
    assert_eq!((script.states(), script.shed("a0"), script.shed("a1")), ("uud".into(), 0, 0));
    script.order(Match::Appliance("a2".into()), UP, None);
    assert_eq!((script.shed("a0"), script.shed("a2")), (10_000, 0));
    // Alone in its cluster.
    let mut script = Script::new(fleet(2, 1), Settings::default());
    script.push("a0", DOWN).push("a0", UP);
    assert_eq!(script.shed("a0"), 0);
    // Switched off.
    let mut script = Script::new(fleet(1, 3), Settings { ramp_s: 0, ..Settings::default() });
    script.push("a0", DOWN).push("a0", UP);
    assert_eq!(script.shed("a0"), 0);
}

#[test]
fn ruling_5_who_was_silent_ramps() {
    let mut script = Script::new(fleet(1, 3), Settings::default());
    script.beat(&["a0", "a1", "a2"]).wait_ms(30_000).beat(&["a1", "a2"]);
    assert_eq!(script.states(), "duu");
    script.beat(&["a0"]);
    assert_eq!(script.shed("a0"), 10_000);
    script.wait_ms(15_000).beat(&["a0", "a1", "a2"]);
    assert_eq!(script.shed("a0"), 7500);
}

#[test]
fn ruling_7_overrides_outrank_health_until_they_end() {
    let mut script = Script::new(fleet(2, 2), Settings::default());
    script.push("b0", DOWN).order(Match::Site("sa".into()), DOWN, Some(1800));
    assert_eq!(script.states(), "dddu");
    let overlay = script.overlay();
    let ordered: Vec<bool> = overlay.appliances.iter().map(|s| s.is_ordered).collect();
    assert_eq!(ordered, [true, true, false, false]);
    assert_eq!((overlay.facts.ordered, overlay.facts.up, overlay.facts.down), (2, 3, 1));
    let why = script.why("a0");
    assert_eq!((why.state, why.source, &*why.reason), (DOWN, Source::Override, "test"));
    // The more specific wins, whatever came last.
    script.order(Match::Appliance("a0".into()), UP, None);
    script.order(Match::Appliance("*0".into()), DRAINING, None);
    script.order(Match::Cluster("b".into()), UP, None).order(Match::Cluster("*".into()), DOWN, None);
    assert_eq!(script.states(), "udgu");
    assert_eq!(script.health.overrides().len(), 5);
    // The same match again replaces; it is deleted by its match.
    script.order(Match::Appliance("*0".into()), UP, None);
    assert_eq!((script.states(), script.health.overrides().len()), ("uduu".into(), 5));
    assert!(script.health.delete_override(&Match::Appliance("*0".into())));
    assert!(!script.health.delete_override(&Match::Appliance("*0".into())));
    assert!(script.health.delete_override(&Match::Cluster("*".into())));
    assert_eq!(script.states(), "uduu");
    script.wait_ms(1_799_999);
    assert_eq!((script.states(), script.health.tick(script.now)), ("uduu".into(), false));
    script.wait_ms(1);
    assert_eq!((script.states(), script.health.tick(script.now)), ("uuuu".into(), true));
    assert_eq!(script.health.overrides().len(), 2);
}

#[test]
fn ruling_7_there_are_not_too_many() {
    let mut script = Script::new(fleet(1, 1), Settings::default());
    let order = |n: usize, for_s| Order {
        target: Match::Site(n.to_string().into()),
        state: UP,
        for_s,
        why: "".into(),
    };
    for n in 0..overrides::OVERRIDES_MAX {
        script.health.set_override(order(n, Some(n as u64)), script.now).expect("below the limit");
    }
    // The first ended at once, so one more fits; then none; a replacement always does.
    assert_eq!(script.health.set_override(order(5000, None), script.now), Ok(()));
    assert_eq!(script.health.set_override(order(5001, None), script.now), Err(TooMany));
    assert_eq!(script.health.set_override(order(5000, Some(u64::MAX)), script.now), Ok(()));
}

#[test]
fn sources_of_pushes_are_bounded() {
    let mut script = Script::new(fleet(1, 1), Settings::default());
    for n in 0..2 * SOURCES_MAX {
        let source = format!("m{n}");
        script.wait_ms(1);
        script.health.push(Some((&source, 5)), &[], &script.fleet, script.now).expect("new");
    }
    assert_eq!(script.health.pushes.len(), SOURCES_MAX);
    let last = format!("m{}", 2 * SOURCES_MAX - 1);
    assert!(script.health.push(Some((&last, 5)), &[], &script.fleet, script.now).is_err());
}

/// The slow twin: everything told so far, gone through from the start at each question.
mod golden {
    use super::*;

    /// What was told: when, by which way, of whom.
    pub(super) struct Log(pub(super) Vec<(u64, Way, Report)>);

    /// Steps of the twin's clock, in milliseconds.
    pub(super) const STEP_MS: u64 = 100;

    impl Log {
        /// The last thing told by `way` of `name`, at or before `at`.
        fn last(&self, way: Way, name: &str, at: u64) -> Option<&(u64, Way, Report)> {
            let of = |told: &&(u64, Way, Report)| told.0 <= at && told.1 == way && *told.2.appliance == *name;
            self.0.iter().rfind(of)
        }

        /// The state of `name` at `at` when nobody is ever silent: the worse of the two ways.
        pub(super) fn state(&self, name: &str, at: u64) -> State {
            let told = [Way::Push, Way::Heartbeat].map(|way| self.last(way, name, at).map(|t| t.2.state));
            told.into_iter().flatten().max().unwrap_or(UP)
        }

        /// The slice of `name` at `at`, step by step from 0.
        pub(super) fn slice_bp(&self, name: &str, at: u64) -> u16 {
            let mut slice = 0i64;
            for step in (0..at).step_by(STEP_MS as usize) {
                let told = self.0.iter().filter(|t| t.0 <= step && *t.2.appliance == *name);
                let mut ways =
                    told.filter(|t| self.last(t.1, name, step).is_some_and(|l| std::ptr::eq(l, *t)));
                let load = ways.rfind(|t| t.2.load.is_some()).and_then(|t| t.2.load);
                let wanted =
                    ((load.unwrap_or(0.0) - 0.85) / 0.13 * 5_000_000.0).clamp(0.0, 5_000_000.0) as i64;
                slice += (wanted - slice).clamp(-50_000, 50_000);
            }
            (slice / 1000) as u16
        }
    }
}

#[test]
fn agrees_with_the_slow_twin() {
    let settings = Settings { stale_after_s: 0, ramp_s: 0, ..Settings::default() };
    let mut state = 3u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..20 {
        let (mut health, fleet, mut log) = (Health::new(settings), fleet(1, 3), golden::Log(Vec::new()));
        let mut at = 0;
        for _ in 0..40 {
            at += golden::STEP_MS * next(60);
            let name = ["a0", "a1", "a2"][next(3) as usize];
            let load = (next(3) > 0).then(|| 0.8 + next(25) as f64 / 100.0);
            let told = Report { load, ..report(name, [UP, UP, UP, DRAINING, DOWN][next(5) as usize]) };
            let now = UnixMs(at);
            if next(2) == 0 {
                health.push(None, std::slice::from_ref(&told), &fleet, now).expect("a bare list");
                log.0.push((at, Way::Push, told));
            } else {
                assert!(health.heartbeat(&told, &fleet, now));
                log.0.push((at, Way::Heartbeat, told));
            }
            if next(2) == 0 {
                let overlay = health.overlay(&fleet, now);
                for (index, name) in ["a0", "a1", "a2"].into_iter().enumerate() {
                    let standing = overlay.appliances[index];
                    assert_eq!(standing.state, log.state(name, at), "{name} at {at}");
                    let slice = if standing.state == UP { log.slice_bp(name, at) } else { 0 };
                    let off = standing.shed_bp.get().abs_diff(slice);
                    assert!(off <= 1, "{name} at {at}: {:?} and {slice}", standing.shed_bp);
                }
                assert_eq!(health.overlay(&fleet, now), overlay, "the same moment, the same overlay");
            }
        }
    }
}

#[test]
fn a_fleet_without_health_is_up() {
    let overlay = Overlay::all_up(&fleet(2, 2));
    let up = Standing { state: UP, shed_bp: BasisPoints::ZERO, is_ordered: false };
    assert_eq!(overlay.appliances, vec![up; 4]);
    assert_eq!(overlay.facts.in_service, 4);
}
