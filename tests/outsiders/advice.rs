//! `POST /v1/steer` by `curl`, on both listeners that offer it: whom it is for, and what a player would be told.

use crate::harness::{Steerd, write_config};
use crate::{are_installed, run};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;

const TABLE: &str = r#"{"table":{"format":1,"epoch":1,"source":"test"}}
{"site":{"code":"ams1","lat":52.31,"lon":4.76}}
{"cluster":{"name":"ams1-isp","site":"ams1","class":"embedded"}}
{"cluster":{"name":"ams1-any","site":"ams1","class":"transit"}}
{"appliance":{"name":"isp-1","cluster":"ams1-isp","ipv4":"192.0.2.10","hostname":"isp-1.cdn.example","capacity_mbps":1000}}
{"appliance":{"name":"any-1","cluster":"ams1-any","ipv4":"192.0.2.20","hostname":"any-1.cdn.example","capacity_mbps":1000}}
{"service":{"name":"video.cdn.example","default_clusters":["ams1-any"]}}
{"route":{"prefix":"20.1.0.0/16","via":[{"cluster":"ams1-isp"}]}}
"#;

const BODY: &str = r#"{"client":"20.1.2.3","service":"video.cdn.example","path":"/title/7.m3u8"}"#;

/// What curl gets for `BODY` from `addr`, asked as `host`: the status, and JSON.
fn steer(addr: SocketAddr, host: &str, body: &str) -> (String, Value) {
    let (url, host) = (format!("http://{addr}/v1/steer"), format!("Host: {host}"));
    let json = "Content-Type: application/json";
    let args = ["-s", "-w", "\n%{http_code}", "-H", &host, "-H", json, "--data-binary", body, &url];
    let text = run("curl", &args).expect("curl is here");
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn a_playback_service_asks_for_its_players() {
    if !are_installed(&["curl"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = Steerd::start(&write_config(dir.path(), ""));
    assert_eq!(steerd.call("PUT", "/v1/table", TABLE.as_bytes()).status, 200);
    // What the player itself would be told.
    let url = format!("http://{}/title/7.m3u8", steerd.http);
    let from = [
        "-H",
        "Host: video.cdn.example",
        "-H",
        "X-Forwarded-For: 20.1.2.3",
        "-H",
        "Accept: application/json",
    ];
    let list = run("curl", &[&["-s"], &from[..], &[&url]].concat()).expect("curl is here");
    let list: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list["locations"][0], "http://isp-1.cdn.example/title/7.m3u8");
    let mut ids = vec![list["decision"].as_str().expect("an id").to_owned()];
    for (addr, host) in [(steerd.http, "steer.example"), (steerd.control, "127.0.0.1")] {
        let (status, told) = steer(addr, host, BODY);
        assert_eq!((status.as_str(), &told["locations"]), ("200", &list["locations"]), "{told}");
        assert_eq!((&told["match"], &told["prefix"]), (&"route".into(), &"20.1.0.0/16".into()), "{told}");
        assert_eq!((&told["ttl_s"], &told["generation"]), (&list["ttl_s"], &list["generation"]), "{told}");
        ids.push(told["decision"].as_str().expect("an id").to_owned());
        let (status, told) = steer(addr, host, r#"{"client":"x","service":"video.cdn.example"}"#);
        assert_eq!((status.as_str(), &told["problems"][0]["key"]), ("400", &"client".into()), "{told}");
        let (status, _) = steer(addr, host, r#"{"client":"20.1.2.3","service":"nobody.example"}"#);
        assert_eq!(status, "404");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3, "each decision has an id of its own");
    // A service's own path of that name is the service's.
    let (status, _) = steer(steerd.http, "video.cdn.example", BODY);
    assert_eq!(status, "307");
}

#[test]
fn nobody_else_asks_for_others() {
    if !are_installed(&["curl"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let config = write_config(dir.path(), "");
    let text = fs::read_to_string(&config).expect("a config");
    let fewer = text.replace("trusted_proxies = [\"127.0.0.0/8\"]", "trusted_proxies = [\"192.0.2.1/32\"]");
    assert_ne!(text, fewer);
    fs::write(&config, fewer).expect("written");
    let steerd = Steerd::start(&config);
    assert_eq!(steerd.call("PUT", "/v1/table", TABLE.as_bytes()).status, 200);
    let (status, told) = steer(steerd.http, "steer.example", BODY);
    assert_eq!((status.as_str(), &told["error"]), ("403", &"forbidden".into()), "{told}");
    let metrics = steerd.call("GET", "/metrics", b"").body;
    assert!(metrics.contains("steerd_http_requests_total{outcome=\"advice_refused\"} 1\n"), "{metrics}");
}
