//! One candidate list: whatever a client asks by, it is sent by the same list, and the same key leads to the same
//! appliances. Random tables, clients and health; a redirect, a ranked list, a playback service's list, a
//! steering manifest, a DNS answer and `explain` of each are compared.

use crate::differential::snapshots;
use crate::model::{Case, CaseAsk, Mode, generate};
use hyper::http::{HeaderMap, HeaderValue, Method, Uri, Version};
use serde_json::Value;
use std::net::IpAddr;
use steerd::config;
use steerd::fleet::{Scheme, ServiceId};
use steerd::http::steering::{self, Desk, SessionSecret};
use steerd::http::{self, DecisionIds, Head, Scratch, Trust, advice};
use steerd::prefix::Client;
use steerd::snapshot::Snapshot;
use steerd::steer::explain::{Ask, Explanation, explain};
use steerd::steer::{Key, Question, Ranking, Verdict, Want, steer};
use steerd::units::UnixMs;

/// Worlds, and questions asked of each.
const WORLDS: u64 = 120;
const ASKS: usize = 60;

/// A moment.
const NOW: UnixMs = UnixMs(1_764_000_000_000);

#[test]
fn every_way_of_asking_follows_one_list() {
    let (mut compared, mut served) = (0, 0);
    for seed in 1..=WORLDS {
        let mut case = generate(seed, ASKS);
        let named = snapshots(&case);
        // The same services, but for playlists that name no pathway: manifests then name appliances.
        case.table = case.table.replace("{\"service\":{", "{\"service\":{\"clone_base\":\".\",");
        let cloned = snapshots(&case);
        for asked in &case.asks {
            let worlds = [&named[asked.health], &cloned[asked.health]];
            served += u32::from(compare(&case, asked, worlds));
            compared += 1;
        }
    }
    assert!(served * 3 > compared, "only {served} of {compared} are served");
}

/// Compares the answers to one client; whether somebody serves it.
fn compare(case: &Case, asked: &CaseAsk, [named, cloned]: [&Snapshot; 2]) -> bool {
    let context = format!("seed {} {asked:?}", case.seed);
    let host = asked.service.replace('*', "any");
    let path = match &asked.mode {
        Mode::Http { key } => String::from_utf8(key.clone()).expect("a path"),
        Mode::Dns { .. } => "/title/7.mp4".to_owned(),
    };
    let told = explain(
        named,
        &Ask { client: asked.client, service: &asked.service, key: Some(path.as_bytes()), family: None },
    )
    .expect("a service of the table");
    let (status, location) = redirect(named, asked.client, &host, &path);
    let (listed_status, list) = redirect(named, asked.client, &host, &format!("{path}?format=json"));
    let advised = advised(named, asked.client, &host, &path);
    let target = format!("/steering/{}?path={path}", asked.service);
    if told.outcome == "denied" {
        assert_eq!((status, listed_status), (451, 451), "{context}");
        assert_eq!(manifest(named, asked.client, &target).0, 451, "{context}");
        assert_eq!(advised, [] as [String; 0], "{context}");
        return false;
    }
    let (status_steered, by_cluster) = manifest(named, asked.client, &target);
    assert!(status_steered == 200 || told.candidates.is_empty(), "{context}: {status_steered}");
    assert_eq!(priority(&by_cluster), clusters_in_turn(named, &told, &path), "{context}");
    let hosts: Vec<String> = list.lines().map(appliance_of).collect();
    assert_eq!(advised, hosts, "{context}");
    let is_ours = !told.chosen.is_empty() && told.outcome != "fallback";
    if !is_ours {
        return false;
    }
    assert_eq!((status, appliance_of(&location)), (302, told.chosen[0].clone()), "{context}");
    // All but the last of a list are the best; the last may be one that is elsewhere.
    let best = &told.chosen[..hosts.len() - 1];
    assert_eq!(&hosts[..hosts.len() - 1], best, "{context}");
    // A manifest's hosts: the best appliance of each cluster, as the list has them.
    let (_, by_appliance) = manifest(cloned, asked.client, &target);
    let best_of_each = firsts_by_cluster(named, &told.chosen);
    let cloned_hosts = clones(&by_appliance);
    let len = best_of_each.len();
    assert_eq!(cloned_hosts[..len], best_of_each, "{context}");
    // Without a path it is what DNS answers.
    let (_, like_dns) = manifest(cloned, asked.client, &format!("/steering/{}", asked.service));
    if let Some(by_dns) = first_by_dns(named, asked) {
        assert_eq!(clones(&like_dns)[0], by_dns, "{context}");
    }
    true
}

/// The clusters of a client's list in the order of its ranked list, then those that nobody serves from.
fn clusters_in_turn(world: &Snapshot, told: &Explanation, path: &str) -> Vec<String> {
    let fleet = world.fleet();
    let id = fleet.service_by_name(&told.service).expect("a service");
    let client = Client::of(told.client);
    let (want, key) = (Want::Each(client.family()), Key::Content(path.as_bytes()));
    let mut ranking = Ranking::new();
    steer(world, &Question { service: id, client, want, key }, &mut ranking);
    let mut names: Vec<String> = Vec::new();
    let of = |id: &_| fleet.cluster(fleet.appliance(*id).cluster).name.to_string();
    let ranked = ranking.appliances().iter().map(of);
    for name in ranked.chain(told.candidates.iter().map(|candidate| candidate.cluster.clone())) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The first of `chosen` of each cluster.
fn firsts_by_cluster(world: &Snapshot, chosen: &[String]) -> Vec<String> {
    let fleet = world.fleet();
    let mut seen = Vec::new();
    let is_new = |name: &&String| {
        let id = fleet.appliance_by_name(name).expect("an appliance");
        let cluster = fleet.appliance(id).cluster;
        let is_new = !seen.contains(&cluster);
        seen.push(cluster);
        is_new
    };
    chosen.iter().filter(is_new).cloned().collect()
}

/// The first appliance of the DNS answer of the client's family.
fn first_by_dns(world: &Snapshot, asked: &CaseAsk) -> Option<String> {
    let service: ServiceId = world.fleet().service_by_name(&asked.service)?;
    let client = Client::of(asked.client);
    let mut ranking = Ranking::new();
    let question = Question { service, client, want: Want::Family(client.family(), 1), key: Key::Dns };
    let choice = steer(world, &question, &mut ranking);
    let first = ranking.appliances().first().filter(|_| matches!(choice.verdict, Verdict::Serve { .. }))?;
    Some(world.fleet().appliance(*first).name.to_string())
}

/// Asks for `target` at `host`: the status, and the `Location` or the list, a URL a line.
fn redirect(world: &Snapshot, client: IpAddr, host: &str, target: &str) -> (u16, String) {
    let settings = http::Settings::from(&config::Http::default());
    let mut scratch = Scratch::default();
    with_head(client, host, target, |head| http::respond(world, &settings, &mut scratch, head));
    let response = scratch.reply().to_response();
    let text = match response.headers().get("location") {
        Some(location) => location.to_str().expect("ASCII").to_owned(),
        None => match serde_json::from_slice::<Value>(response.body()) {
            Ok(list) => texts(&list["locations"]).join("\n"),
            Err(_) => String::new(),
        },
    };
    (response.status().as_u16(), text)
}

/// What a playback service is told: names of appliances.
fn advised(world: &Snapshot, client: IpAddr, host: &str, path: &str) -> Vec<String> {
    let body = serde_json::json!({ "client": client, "service": host, "path": path }).to_string();
    let settings = http::Settings::from(&config::Http::default());
    let id = DecisionIds::default().next_id();
    let (_, told) = advice::advise(world, &settings, Scheme::Http, id, body.as_bytes());
    let told: Value = serde_json::from_slice(&told).expect("JSON");
    texts(&told["locations"]).iter().map(|url| appliance_of(url)).collect()
}

/// Polls twice, the second time from elsewhere with the session: the status, and the manifest.
fn manifest(world: &Snapshot, client: IpAddr, target: &str) -> (u16, Value) {
    let settings = steering::Settings {
        secrets: vec![SessionSecret::new(&[1; SessionSecret::LEN])],
        ..steering::Settings::default()
    };
    let trust = Trust::default();
    let desk = Desk { world, trust: &trust, settings: &settings, now: NOW };
    let poll = |client, target: &str| {
        let mut scratch = Scratch::default();
        let polled =
            with_head(client, "steer.example", target, |head| steering::respond(&desk, &mut scratch, head));
        assert!(polled.is_some(), "{target}");
        let response = scratch.reply().to_response();
        let manifest = serde_json::from_slice::<Value>(response.body()).unwrap_or_default();
        (response.status().as_u16(), manifest)
    };
    let first = poll(client, target);
    if let Some(reload) = first.1["RELOAD-URI"].as_str() {
        let (status, again) = poll(client, reload);
        assert_eq!(status, 200, "{target}");
        for key in ["PATHWAY-PRIORITY", "PATHWAY-CLONES", "TTL"] {
            assert_eq!(again[key], first.1[key], "{client} {target}");
        }
    }
    first
}

/// Gives `read` the head of a GET by `client`.
fn with_head<T>(client: IpAddr, host: &str, target: &str, read: impl FnOnce(&Head<'_>) -> T) -> T {
    let uri: Uri = target.parse().expect("a target");
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_str(host).expect("a host"));
    read(&Head::parsed(&Method::GET, &uri, Version::HTTP_11, &headers, client))
}

/// The name of the appliance that a URL or a host leads to.
fn appliance_of(url: &str) -> String {
    let host = url.strip_prefix("http://").unwrap_or(url);
    host.split(['/', ':']).next().unwrap_or_default().trim_end_matches(".edge.cdn.example").to_owned()
}

/// An array of texts; nothing else has any.
fn texts(array: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    array.as_array().map(|array| array.iter().map(text).collect()).unwrap_or_default()
}

/// A manifest's order.
fn priority(manifest: &Value) -> Vec<String> {
    texts(&manifest["PATHWAY-PRIORITY"])
}

/// The appliances that a manifest's clones lead to, in the order of its pathways.
fn clones(manifest: &Value) -> Vec<String> {
    let clones = manifest["PATHWAY-CLONES"].as_array().cloned().unwrap_or_default();
    let host_of = |id: &String| {
        let clone = clones.iter().find(|clone| clone["ID"].as_str() == Some(id)).expect("a clone");
        appliance_of(clone["URI-REPLACEMENT"]["HOST"].as_str().expect("a text"))
    };
    priority(manifest).iter().map(host_of).collect()
}
