//! Pushes through a [`Publisher`] with a state directory: what is accepted, what is refused and
//! changes nothing, and what a restart finds.

use super::*;
use crate::prefix::Client;
use crate::steer::explain;
use std::path::Path;

/// A table of two clusters and a route to the first; `routes` are added.
fn lines(epoch: u64, routes: &str) -> String {
    format!(
        r#"{{"table":{{"format":1,"epoch":{epoch},"source":"test"}}}}
{{"site":{{"code":"s","lat":52.0,"lon":4.0}}}}
{{"cluster":{{"name":"a","site":"s","class":"embedded"}}}}
{{"cluster":{{"name":"b","site":"s","class":"transit"}}}}
{{"appliance":{{"name":"a1","cluster":"a","ipv4":"192.0.2.1"}}}}
{{"appliance":{{"name":"b1","cluster":"b","ipv4":"192.0.2.2"}}}}
{{"service":{{"name":"v.cdn.example","default_clusters":["b"]}}}}
{{"route":{{"prefix":"20.0.0.0/16","via":[{{"cluster":"a"}}]}}}}
{{"route":{{"prefix":"30.0.0.0/8","via":[{{"cluster":"b"}}]}}}}
{routes}"#
    )
}

/// A delta of one route.
fn delta(base: u64, epoch: u64, prefix: &str, cluster: &str) -> String {
    format!(
        "{{\"delta\":{{\"format\":1,\"base\":{base},\"epoch\":{epoch}}}}}\n{{\"route\":{{\"prefix\":\"{prefix}\",\"via\":[{{\"cluster\":\"{cluster}\"}}]}}}}\n"
    )
}

/// A publisher on `dir`, and its warnings.
fn open(dir: &Path) -> (Publisher, Vec<String>) {
    let (store, recovered) = Store::open(dir, 3).expect("a directory that can be written");
    Publisher::open(
        Rules::default(),
        store,
        recovered,
        Arc::new(Geography::empty()),
        Arc::default(),
        UnixMs(1),
    )
}

/// Who serves a client.
fn cluster(publisher: &Publisher, client: &str) -> String {
    let client = client.parse().expect("an address");
    assert!(Client::of(client).is_native());
    let ask = explain::Ask { client, service: "v.cdn.example", key: None, family: None };
    explain::explain(&publisher.load(), &ask).expect("a service").cluster.unwrap_or_default()
}

fn put(publisher: &Publisher, text: &str, options: PushOptions) -> Result<PushReport, Refusal> {
    publisher.put(Pushed::text(text.as_bytes()), options, UnixMs(5))
}

const PLAIN: PushOptions = PushOptions { dry_run: false, force: false, reset_epoch: None };
const FORCE: PushOptions = PushOptions { force: true, ..PLAIN };
const DRY: PushOptions = PushOptions { dry_run: true, ..PLAIN };

fn epoch(publisher: &Publisher) -> Option<u64> {
    publisher.load().epoch().map(Epoch::get)
}

#[test]
fn a_push_is_served_and_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let (publisher, _) = open(dir.path());
    assert_eq!(epoch(&publisher), None);
    let report = put(&publisher, &lines(42, ""), PLAIN).expect("accepted");
    assert_eq!((report.epoch, report.counts.routes_v4, report.diff.prefixes_added), (42, 2, 2));
    assert_eq!(cluster(&publisher, "20.0.0.1"), "a");
    let report =
        publisher.patch(delta(42, 43, "40.0.0.0/8", "a").as_bytes(), PLAIN, UnixMs(6)).expect("accepted");
    assert_eq!((report.epoch, report.diff.prefixes_added), (43, 1));
    assert_eq!(cluster(&publisher, "40.0.0.1"), "a");
    let digest = publisher.load().table().digest().to_owned();
    drop(publisher);
    let (publisher, warnings) = open(dir.path());
    assert_eq!((epoch(&publisher), warnings), (Some(43), vec![]));
    assert_eq!(publisher.load().table().digest(), digest);
    assert_eq!(cluster(&publisher, "40.0.0.1"), "a");
}

#[test]
fn what_is_not_newer_is_refused_and_the_same_again_is_fine() {
    let dir = tempfile::tempdir().expect("a directory");
    let (publisher, _) = open(dir.path());
    put(&publisher, &lines(42, ""), PLAIN).expect("accepted");
    let generation = publisher.load().generation();
    let again = put(&publisher, &lines(42, ""), PLAIN).expect("the same again");
    assert_eq!((again.generation, again.diff), (generation, DiffReport::default()));
    let other =
        put(&publisher, &lines(42, r#"{"route":{"prefix":"50.0.0.0/8","via":[{"cluster":"b"}]}}"#), FORCE);
    assert!(matches!(other, Err(Refusal::NotNewer { .. })), "{other:?}");
    let older = put(&publisher, &lines(41, ""), FORCE);
    assert!(matches!(&older, Err(Refusal::NotNewer { highest_epoch, .. }) if highest_epoch.get() == 42));
    let first = delta(42, 43, "20.1.0.0/16", "b");
    publisher.patch(first.as_bytes(), PLAIN, UnixMs(6)).expect("accepted");
    publisher.patch(first.as_bytes(), PLAIN, UnixMs(6)).expect("the same delta again");
    let wrong = publisher.patch(delta(42, 44, "20.1.0.0/16", "b").as_bytes(), PLAIN, UnixMs(6));
    assert!(matches!(wrong, Err(Refusal::WrongBase { .. })), "{wrong:?}");
    assert_eq!(epoch(&publisher), Some(43));
}

#[test]
fn guards_stop_a_push_that_takes_too_much_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let (publisher, _) = open(dir.path());
    put(&publisher, &lines(1, ""), PLAIN).expect("a first table passes");
    let withdrawn =
        lines(2, "").replace("{\"route\":{\"prefix\":\"30.0.0.0/8\",\"via\":[{\"cluster\":\"b\"}]}}\n", "");
    let refused = put(&publisher, &withdrawn, PLAIN);
    assert!(
        matches!(&refused, Err(Refusal::Guarded(hits)) if hits[0].guard == "withdrawn_prefixes_max"),
        "{refused:?}"
    );
    let dry = put(&publisher, &withdrawn, DRY).expect("a dry run tells");
    assert_eq!(dry.guards.map(|hits| hits.len()), Some(1));
    assert_eq!(epoch(&publisher), Some(1));
    // A delta that moves everything: refused, and the next one is built right.
    let moved = publisher.patch(delta(1, 2, "30.0.0.0/8", "a").as_bytes(), PLAIN, UnixMs(6));
    assert!(
        matches!(&moved, Err(Refusal::Guarded(hits)) if hits[0].guard == "moved_addresses_max"),
        "{moved:?}"
    );
    assert_eq!(cluster(&publisher, "30.0.0.1"), "b");
    publisher
        .patch(delta(1, 2, "20.0.128.0/17", "b").as_bytes(), PLAIN, UnixMs(6))
        .expect("a small one passes");
    assert_eq!(
        (cluster(&publisher, "20.0.200.1"), cluster(&publisher, "20.0.0.1")),
        ("b".into(), "a".into())
    );
    let forced = put(&publisher, &withdrawn.replace("\"epoch\":2", "\"epoch\":3"), FORCE).expect("forced");
    assert_eq!((forced.epoch, forced.guards.map(|hits| hits.len())), (3, Some(1)));
}

#[test]
fn a_rollback_serves_the_old_epoch_and_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let (publisher, _) = open(dir.path());
    put(&publisher, &lines(1, ""), PLAIN).expect("accepted");
    publisher.patch(delta(1, 2, "20.0.0.0/24", "b").as_bytes(), PLAIN, UnixMs(6)).expect("accepted");
    let to = |number| Epoch::new(number).expect("an epoch");
    assert!(matches!(publisher.rollback(to(9), UnixMs(7)), Err(Refusal::NotKept { .. })));
    assert_eq!(publisher.rollback(to(1), UnixMs(7)).expect("kept").epoch, 1);
    assert_eq!(cluster(&publisher, "20.0.0.1"), "a");
    drop(publisher);
    let (publisher, _) = open(dir.path());
    assert_eq!(epoch(&publisher), Some(1));
    let used = put(&publisher, &lines(2, ""), FORCE);
    assert!(matches!(used, Err(Refusal::NotNewer { .. })), "{used:?}");
    put(&publisher, &lines(3, ""), FORCE).expect("above the highest");
    let epochs: Vec<u64> = publisher.history().expect("free").iter().map(|kept| kept.epoch).collect();
    assert_eq!(epochs, [2, 1, 3]);
}

#[test]
fn reset_lets_any_epoch_follow() {
    let dir = tempfile::tempdir().expect("a directory");
    let (publisher, _) = open(dir.path());
    put(&publisher, &lines(90, ""), PLAIN).expect("accepted");
    let reset = |number| PushOptions { reset_epoch: Epoch::new(number), force: true, ..PLAIN };
    assert!(matches!(put(&publisher, &lines(3, ""), reset(89)), Err(Refusal::WrongReset { .. })));
    put(&publisher, &lines(3, ""), reset(90)).expect("reset");
    drop(publisher);
    let (publisher, _) = open(dir.path());
    assert_eq!(epoch(&publisher), Some(3));
    put(&publisher, &lines(4, ""), PLAIN).expect("epochs go on from there");
}

#[test]
fn a_damaged_artefact_falls_back_to_the_one_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let (publisher, _) = open(dir.path());
    put(&publisher, &lines(1, ""), PLAIN).expect("accepted");
    publisher.patch(delta(1, 2, "20.0.0.0/24", "b").as_bytes(), PLAIN, UnixMs(6)).expect("accepted");
    put(&publisher, &lines(3, ""), FORCE).expect("accepted");
    drop(publisher);
    let newest = dir.path().join("0000000002.table");
    let mut bytes = std::fs::read(&newest).expect("written");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).expect("written");
    let (publisher, warnings) = open(dir.path());
    assert_eq!(epoch(&publisher), Some(2));
    assert!(warnings[0].contains("set aside"), "{warnings:?}");
    put(&publisher, &lines(4, ""), FORCE).expect("goes on");
}

#[test]
fn a_torn_journal_record_is_cut_off() {
    let dir = tempfile::tempdir().expect("a directory");
    let (publisher, _) = open(dir.path());
    put(&publisher, &lines(1, ""), PLAIN).expect("accepted");
    publisher.patch(delta(1, 2, "20.0.0.0/24", "b").as_bytes(), PLAIN, UnixMs(6)).expect("accepted");
    let journal = dir.path().join("0000000001.journal");
    let whole = std::fs::read(&journal).expect("written").len();
    publisher.patch(delta(2, 3, "20.0.1.0/24", "b").as_bytes(), PLAIN, UnixMs(6)).expect("accepted");
    drop(publisher);
    let bytes = std::fs::read(&journal).expect("written");
    for len in [bytes.len() - 1, whole + 20, whole + 1] {
        std::fs::write(&journal, &bytes[..len]).expect("written");
        let (publisher, warnings) = open(dir.path());
        assert_eq!((epoch(&publisher), warnings.len()), (Some(2), 1), "{len}: {warnings:?}");
        publisher.patch(delta(2, 3, "20.0.1.0/24", "b").as_bytes(), PLAIN, UnixMs(6)).expect("goes on");
        drop(publisher);
        assert_eq!(epoch(&open(dir.path()).0), Some(3));
    }
}

#[test]
fn a_restart_takes_the_compiled_table_that_was_kept_for_its_state_and_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let is_restored = |publisher: &Publisher| publisher.begin().expect("free").kept.is_of_a_state();
    let (publisher, _) = open(dir.path());
    put(&publisher, &lines(1, ""), PLAIN).expect("accepted");
    publisher.patch(delta(1, 2, "20.0.1.0/24", "b").as_bytes(), PLAIN, UnixMs(6)).expect("accepted");
    publisher.keep_views(UnixMs(1_000));
    publisher.keep_views(UnixMs(2_000));
    drop(publisher);

    let (publisher, warnings) = open(dir.path());
    assert_eq!((is_restored(&publisher), warnings), (true, vec![]));
    assert_eq!((cluster(&publisher, "20.0.1.1"), cluster(&publisher, "20.0.2.1")), ("b".into(), "a".into()));
    // The next change finds nothing to build on, and is right all the same.
    publisher.patch(delta(2, 3, "20.0.2.0/24", "b").as_bytes(), PLAIN, UnixMs(7)).expect("accepted");
    assert_eq!((cluster(&publisher, "20.0.1.1"), cluster(&publisher, "20.0.2.1")), ("b".into(), "b".into()));
    drop(publisher);

    let (publisher, _) = open(dir.path());
    assert!(!is_restored(&publisher), "what was kept is of epoch 2");
    assert_eq!(cluster(&publisher, "20.0.2.1"), "b");
    publisher.keep_views(UnixMs(100_000));
    publisher.keep_views(UnixMs(101_000));
    drop(publisher);
    assert!(is_restored(&open(dir.path()).0));
    for entry in std::fs::read_dir(dir.path().join("cache")).expect("parts").flatten() {
        let mut octets = std::fs::read(entry.path()).expect("a part");
        let at = octets.len() / 2;
        octets[at] ^= 1;
        std::fs::write(entry.path(), octets).expect("written");
    }
    let (publisher, _) = open(dir.path());
    assert!(!is_restored(&publisher), "damaged");
    assert_eq!(cluster(&publisher, "20.0.2.1"), "b");
}

#[test]
fn a_long_journal_is_folded_even_when_nobody_asks() {
    let dir = tempfile::tempdir().expect("a directory");
    let (publisher, _) = open(dir.path());
    put(&publisher, &lines(1, ""), PLAIN).expect("accepted");
    for base in 1..16 {
        let prefix = format!("20.0.{base}.0/24");
        publisher.patch(delta(base, base + 1, &prefix, "b").as_bytes(), PLAIN, UnixMs(6)).expect("accepted");
    }
    // 1 and twelve deltas, 14 and two.
    assert_eq!(files(dir.path(), "table"), 2);
    let epochs: Vec<u64> = publisher.history().expect("free").iter().map(|kept| kept.epoch).collect();
    assert_eq!(epochs, (1..=16).collect::<Vec<_>>());
    drop(publisher);
    let (publisher, warnings) = open(dir.path());
    assert_eq!((epoch(&publisher), warnings), (Some(16), vec![]));
    assert_eq!(
        (cluster(&publisher, "20.0.15.1"), cluster(&publisher, "20.0.16.1")),
        ("b".into(), "a".into())
    );
}

#[test]
fn health_flips_without_compiling_and_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let (publisher, _) = open(dir.path());
    put(&publisher, &lines(1, ""), PLAIN).expect("accepted");
    let before = publisher.load_full();
    let down = serde_json::from_str(r#"{"appliance":"a1","state":"down"}"#).expect("a report");
    let unknown = serde_json::from_str(r#"{"appliance":"zz","state":"down"}"#).expect("a report");
    let applied = publisher.push_health(Some(("m", 7)), &[down, unknown], UnixMs(8)).expect("in order");
    assert_eq!((applied.applied, applied.ignored), (1, vec!["zz".to_owned()]));
    assert_eq!(cluster(&publisher, "20.0.0.1"), "b");
    assert!(Arc::ptr_eq(before.compiled(), publisher.load().compiled()));
    assert!(publisher.load().generation() > before.generation());
    let old = publisher.push_health(Some(("m", 7)), &[], UnixMs(9));
    assert!(matches!(old, Err(Refusal::OldSeq { last: 7, .. })), "{old:?}");
    publisher.tick(UnixMs(9));
    drop(publisher);
    let (publisher, _) = open(dir.path());
    assert_eq!(cluster(&publisher, "20.0.0.1"), "b");
    // And it survives a push for the appliances that remain.
    put(&publisher, &lines(2, ""), PLAIN).expect("accepted");
    assert_eq!(cluster(&publisher, "20.0.0.1"), "b");
}

#[test]
fn invalid_bodies_change_nothing_and_name_every_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let (publisher, _) = open(dir.path());
    put(&publisher, &lines(1, ""), PLAIN).expect("accepted");
    let bad =
        lines(2, "{\"route\":{\"prefix\":\"1.2.3.4/8\",\"via\":[{\"cluster\":\"a\"}]}}\n{\"nonsense\":1}\n");
    match put(&publisher, &bad, FORCE) {
        Err(Refusal::Invalid(problems)) => {
            assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [10, 11], "{problems:?}");
        }
        other => panic!("{other:?}"),
    }
    let torn = publisher.put(Pushed::artefact(b"STEERDTB nonsense"), FORCE, UnixMs(5));
    assert!(matches!(torn, Err(Refusal::Invalid(_))), "{torn:?}");
    assert!(matches!(put(&publisher, &delta(1, 2, "1.0.0.0/8", "a"), FORCE), Err(Refusal::Invalid(_))));
    let full = publisher.patch(lines(2, "").as_bytes(), FORCE, UnixMs(5));
    assert!(matches!(full, Err(Refusal::Invalid(_))), "{full:?}");
    assert_eq!(epoch(&publisher), Some(1));
}

/// Files of a state directory with this ending.
fn files(dir: &Path, kind: &str) -> usize {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|end| end == kind)).count()
}

#[test]
fn deltas_are_folded_and_none_is_lost_at_any_step() {
    let dir = tempfile::tempdir().expect("a directory");
    let (publisher, _) = open(dir.path());
    put(&publisher, &lines(1, ""), PLAIN).expect("accepted");
    let patch = |epoch: u64| {
        let text = delta(epoch - 1, epoch, &format!("40.{epoch}.0.0/16"), "a");
        publisher.patch(text.as_bytes(), PLAIN, UnixMs(6)).expect("accepted");
    };
    (2..=4).for_each(patch);
    publisher.fold();
    assert_eq!(files(dir.path(), "table"), 1, "few deltas are not worth it");
    patch(5);
    publisher.fold();
    assert_eq!(files(dir.path(), "table"), 2);
    patch(6);
    let world = publisher.load_full();
    // A fold that pushes overtake: the delta that came meanwhile stays behind the artefact.
    (7..=9).for_each(patch);
    let (folding, table) = {
        let writer = publisher.begin().expect("nobody else writes");
        (writer.store.folding().expect("four deltas"), Arc::clone(publisher.load().table()))
    };
    folding.write(&table).expect("written");
    patch(10);
    let reopened = || {
        let copy = tempfile::tempdir().expect("a directory");
        for entry in std::fs::read_dir(dir.path()).expect("a directory").flatten() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
        }
        let (again, warnings) = open(copy.path());
        assert!(warnings.is_empty(), "{warnings:?}");
        (epoch(&again), again.load().table().digest().to_owned(), cluster(&again, "40.10.0.1"))
    };
    let expected = (Some(10), publisher.load().table().digest().to_owned(), "a".to_owned());
    assert_eq!(reopened(), expected, "a crash before the last step");
    publisher.begin().expect("nobody else writes").store.finish_folding(&folding).expect("written");
    assert_eq!(reopened(), expected, "and after it");
    assert_eq!(world.epoch().map(Epoch::get), Some(6));
    patch(11);
    let kept: Vec<u64> = publisher.history().expect("a turn").iter().map(|kept| kept.epoch).collect();
    assert_eq!(kept.last(), Some(&11), "{kept:?}");
    publisher.rollback(Epoch::new(10).expect("above 0"), UnixMs(7)).expect("it is kept");
    // A full table meanwhile: the fold is nobody's.
    folding.write(&table).expect("written");
    publisher.begin().expect("nobody else writes").store.finish_folding(&folding).expect("left alone");
    assert_eq!(files(dir.path(), "tmp"), 0);
    assert_eq!(epoch(&publisher), Some(10));
}

#[test]
fn a_table_that_nobody_confirms_goes_stale() {
    let dir = tempfile::tempdir().expect("a directory");
    let (publisher, _) = open(dir.path());
    let rules = Rules { stale_after_s: 60, ..Rules::default() };
    let reload = |now| publisher.reconfigure(rules.clone(), Arc::default(), now);
    let is_stale = |now| {
        publisher.tick(UnixMs(now));
        publisher.load().is_stale()
    };
    put(&publisher, &lines(1, ""), PLAIN).expect("accepted at 5 ms");
    assert!(!is_stale(70_000), "it is never stale by default");
    reload(UnixMs(70_000)).expect("settings");
    assert!(publisher.load().is_stale(), "at once where it is old already");
    let generation = publisher.load().generation();
    assert!(is_stale(80_000));
    assert_eq!(publisher.load().generation(), generation, "one change, one generation");
    let again = |now, options| publisher.put(Pushed::text(lines(1, "").as_bytes()), options, UnixMs(now));
    again(90_000, DRY).expect("unchanged");
    assert!(publisher.load().is_stale(), "a dry run confirms nothing");
    again(90_000, PLAIN).expect("unchanged");
    assert!(!publisher.load().is_stale() && !publisher.status(UnixMs(90_000)).table_stale);
    assert!(!is_stale(149_999));
    assert!(is_stale(150_000) && publisher.status(UnixMs(150_000)).table_stale);
    publisher.patch(delta(1, 2, "40.0.0.0/8", "a").as_bytes(), PLAIN, UnixMs(160_000)).expect("accepted");
    assert!(!publisher.load().is_stale() && !is_stale(160_000));
}
